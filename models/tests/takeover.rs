//! All states of the sessions at one name, looked at; and that a broken rule is found.

use std::time::Instant;

use brigade_models::{Bounds, RULES, Rules, Sessions};
use stateright::{Checker, HasDiscoveries, Model};

/// Nothing but deaths.
const DEATHS: Bounds = Bounds {
    processes: 4,
    items: 3,
    letters: 0,
    rejoins: 2,
    claims: false,
    limits: 0,
    hang_ups: 0,
    late: 0,
};

/// Deaths, and one each of all that makes joining and dying harder.
const CHANCES: Bounds = Bounds {
    processes: 3,
    items: 2,
    rejoins: 1,
    limits: 1,
    hang_ups: 1,
    late: 1,
    ..DEATHS
};

/// Three letters of each end through two slots.
const LETTERS: Bounds = Bounds {
    processes: 3,
    items: 1,
    letters: 3,
    rejoins: 1,
    ..DEATHS
};

/// Survivors of both sides keep their places.
const CLAIMS: Bounds = Bounds {
    processes: 4,
    items: 2,
    rejoins: 1,
    claims: true,
    ..DEATHS
};

/// Likewise, and one each of what makes joining and dying harder.
const CLAIMS_AND_CHANCES: Bounds = Bounds {
    claims: true,
    items: 1,
    ..CHANCES
};

/// Looks at every state; the properties must hold.
fn check(name: &str, bounds: Bounds) {
    let start = Instant::now();
    let model = Sessions {
        bounds,
        rules: Rules::KEPT,
    };
    let checker = model.checker().threads(2).spawn_bfs().join();
    let (states, depth) = (checker.unique_state_count(), checker.max_depth());
    println!(
        "{name}: {states} states, {depth} steps at most, {:.1?}",
        start.elapsed()
    );
    checker.assert_properties();
}

#[test]
fn four_processes_that_die_at_any_step_lose_no_block_and_wait_for_nothing() {
    check("deaths", DEATHS);
}

#[test]
fn limits_hang_ups_and_children_of_the_dead_change_nothing() {
    check("chances", CHANCES);
}

#[test]
fn letters_arrive_once_and_none_of_another_epoch() {
    check("letters", LETTERS);
}

#[test]
fn a_survivor_s_place_is_its_own_whoever_comes_and_dies_when() {
    check("claims", CLAIMS);
}

#[test]
fn limits_hang_ups_and_children_of_the_dead_take_no_place_away() {
    check("claims and chances", CLAIMS_AND_CHANCES);
}

/// The property that a model without one of the rules breaks, and in how many steps.
fn failure(bounds: Bounds, rules: Rules) -> Option<(&'static str, usize)> {
    let model = Sessions { bounds, rules };
    let builder = model.checker().finish_when(HasDiscoveries::AnyFailures);
    let checker = builder.threads(2).spawn_bfs().join();
    let is_failure = |name| {
        checker
            .model()
            .property(name)
            .expectation
            .discovery_is_failure()
    };
    let mut found = checker.discoveries().into_iter();
    let (name, path) = found.find(|(name, _)| is_failure(name))?;
    Some((name, path.into_actions().len()))
}

#[test]
fn each_broken_rule_is_found() {
    for (rule, break_it) in RULES {
        let mut rules = Rules::KEPT;
        break_it(&mut rules);
        let found = [LETTERS, CHANCES, CLAIMS]
            .into_iter()
            .find_map(|bounds| failure(bounds, rules));
        let (property, steps) = found.unwrap_or_else(|| panic!("nothing fails without {rule}"));
        println!("without {rule}, after {steps} steps, not true: {property}");
    }
}
