//! What each process can do next.

use crate::steps::Step;
use crate::world::{
    Bounds, Life, PairId, Place, Process, REGIONS, Rules, SLOTS, Side, State, World,
};

/// All steps that are possible.
pub(crate) fn all(world: &World, bounds: &Bounds, rules: &Rules, steps: &mut Vec<Step>) {
    for number in 0..bounds.processes {
        match world.process(number).life {
            Life::Arriving => arriving(world, number, steps),
            Life::Looking => steps.push(Step::LookAtClaim(number)),
            Life::Hosting { joiner } => hosting(world, number, joiner, steps),
            Life::Joining { .. } => joining(world, number, steps),
            Life::Paired => paired(world, bounds, rules, number, steps),
            Life::Dead => dead(world, number, steps),
            Life::Left(_) => continue,
        }
        deaths(world, number, steps);
    }
}

fn deaths(world: &World, number: u8, steps: &mut Vec<Step>) {
    let me = world.process(number);
    // Who has shown nothing, and holds nothing, may as well not have come.
    if me.is_new() || me.life == Life::Dead {
        return;
    }
    steps.push(Step::Die(number));
    if world.late_left > 0 && holds_name(world, number) {
        steps.push(Step::DieWithChild(number));
    }
}

fn holds_name(world: &World, number: u8) -> bool {
    [world.seat, world.claim].contains(&Some(number))
}

/// Of processes that are alike, the first goes first: nothing is gained by looking at others.
fn arriving(world: &World, number: u8, steps: &mut Vec<Step>) {
    let me = world.process(number);
    let alike = |other: &Process| other.is_new() && other.wish == me.wish;
    if me.is_new() && world.processes[..number.into()].iter().any(alike) {
        return;
    }
    // Who gave way does so again, and comes to nothing in the end.
    let gives_way = me.gave_way && world.claim.is_some_and(|claimant| claimant != number);
    match world.seat {
        None if gives_way => steps.push(Step::TooMany(number)),
        None => steps.push(Step::TakeSeat(number)),
        Some(host) => match world.process(host).life {
            Life::Hosting { joiner: None } => steps.push(Step::Reach(number)),
            Life::Hosting { .. } => {}
            _ => steps.push(Step::TooMany(number)),
        },
    }
}

fn hosting(world: &World, number: u8, joiner: Option<u8>, steps: &mut Vec<Step>) {
    steps.push(Step::NoPartner(number));
    let Some(joiner) = joiner else {
        let old =
            (0..world.processes.len() as u8).filter(|&other| world.has_answered(other, number));
        return steps.extend(old.map(|other| Step::FindOldAnswer(number, other)));
    };
    // Admit notices as well that the joiner has left.
    let there = matches!(world.process(joiner).life, Life::Joining { host, .. } if host == number);
    if !there || world.has_answered(joiner, number) {
        steps.push(Step::Admit(number));
    }
    if world.limits_left > 0 {
        steps.push(Step::Drop(number));
    }
}

fn joining(world: &World, number: u8, steps: &mut Vec<Step>) {
    let Life::Joining {
        host,
        answered,
        admitted,
    } = world.process(number).life
    else {
        return;
    };
    let looked_at = world.process(host).life
        == Life::Hosting {
            joiner: Some(number),
        };
    match (admitted, looked_at, answered) {
        (true, _, _) => steps.push(Step::Enter(number)),
        (false, false, _) => steps.push(Step::StartAgain(number)),
        (false, true, false) => steps.push(Step::Answer(number)),
        (false, true, true) => {}
    }
    if world.limits_left > 0 && answered {
        steps.push(Step::Impatient(number));
    }
}

fn paired(world: &World, bounds: &Bounds, rules: &Rules, number: u8, steps: &mut Vec<Step>) {
    let me = world.process(number);
    match me.side {
        Side::Reader => reader(world, bounds, rules, number, steps),
        _ => writer(world, bounds, rules, number, steps),
    }
    if world.hang_ups_left > 0 && !me.hung_up {
        steps.push(Step::HangUp(number));
    }
    let slot = !rules.wait_for_slot || me.posted - world.theirs(number).letters_taken < SLOTS;
    if me.posted < bounds.letters && slot && world.own(number).state == State::Running {
        steps.push(Step::Post(number));
    }
    if world.theirs(number).posted > me.letters_taken {
        steps.push(Step::TakeLetter(number));
    }
}

fn reader(world: &World, bounds: &Bounds, rules: &Rules, number: u8, steps: &mut Vec<Step>) {
    let (me, own, theirs) = (
        world.process(number),
        world.own(number),
        world.theirs(number),
    );
    let more = me.next_item < bounds.items && me.places.contains(&Place::Empty);
    let again = !me.again.as_slice().is_empty();
    let running = own.state == State::Running;
    if running && (again || more) {
        steps.push(Step::Send(number));
    }
    if running && !again && me.next_item == bounds.items {
        steps.push(Step::Close(number));
    }
    if theirs.published != me.taken {
        return steps.push(Step::TakeBack(number));
    }
    if theirs.state == State::Ended {
        steps.push(Step::SeeVerdict(number));
        if rules.last_look {
            return;
        }
    }
    let gone = rules.death_ends_waits && world.is_gone(number);
    if theirs.state == State::Aborted || gone {
        steps.push(Step::GiveUp(number));
        if may_rejoin(world, bounds, number) {
            steps.push(Step::Rejoin(number));
        }
    }
}

fn may_rejoin(world: &World, bounds: &Bounds, number: u8) -> bool {
    let room = usize::from(world.regions_used) < REGIONS;
    world.process(number).rejoins < bounds.rejoins && (room || world.partner_has_died(number))
}

fn writer(world: &World, bounds: &Bounds, rules: &Rules, number: u8, steps: &mut Vec<Step>) {
    let (me, theirs) = (world.process(number), world.theirs(number));
    for (block, place) in (0..).zip(me.places) {
        if place == Place::Full {
            steps.push(Step::Return(number, block));
        }
    }
    if theirs.published != me.taken {
        return steps.push(Step::Take(number));
    }
    if me.taken != me.published {
        return;
    }
    if theirs.state == State::Ended {
        steps.push(Step::GiveVerdict(number));
    } else if theirs.state == State::Aborted || (rules.death_ends_waits && world.is_gone(number)) {
        steps.push(Step::GiveUp(number));
        if bounds.claims && may_rejoin(world, bounds, number) {
            steps.push(Step::Rejoin(number));
        }
    }
}

fn dead(world: &World, number: u8, steps: &mut Vec<Step>) {
    if holds_name(world, number) {
        steps.push(Step::ChildEnds(number));
    }
    let me = world.process(number);
    // What comes before the survivor's last look is the dead one's own word.
    let left = me.pair != PairId::default() && !world.has_partner_of(number);
    if world.late_left > 0 && (me.side == Side::Writer || world.has_claims) && left {
        steps.push(Step::StoreLate(number));
    }
}
