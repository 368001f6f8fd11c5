//! The model as the checker wants it, and what must hold in all of its states.

use stateright::{Model, Property};

use crate::possible;
use crate::steps::{self, Step};
use crate::world::{
    BLOCKS, Bounds, Life, Outcome, PROCESSES, PairId, Place, Rules, Side, State, World, wrong,
};

/// Sessions at one name, within bounds.
pub struct Sessions {
    /// How far.
    pub bounds: Bounds,
    /// Which rules are kept.
    pub rules: Rules,
}

impl Model for Sessions {
    type State = World;
    type Action = Step;

    fn init_states(&self) -> Vec<World> {
        (0..=self.bounds.processes)
            .map(|writers| World::new(&self.bounds, writers))
            .collect()
    }

    fn actions(&self, world: &World, steps: &mut Vec<Step>) {
        // Nothing that follows from what must not be is of interest.
        if world.wrong == 0 {
            possible::all(world, &self.bounds, &self.rules, steps);
        }
    }

    fn next_state(&self, world: &World, step: Step) -> Option<World> {
        Some(steps::after(world, step, &self.rules))
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = self.always();
        properties.extend(match self.bounds.claims {
            true => claims(),
            false => takeovers(),
        });
        properties
    }
}

impl Sessions {
    fn always(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(
                "a pair has one Reader and one Writer at most",
                |_, world: &World| pairs_are_of_two(world),
            ),
            Property::always(
                "a verdict means that every item was applied",
                |model: &Sessions, world: &World| nothing_is_lost(world, model.bounds.items),
            ),
            Property::always(
                "no item is applied twice in one epoch",
                |_, world: &World| world.wrong & wrong::TWICE == 0,
            ),
            Property::always(
                "only what belongs to the pair is taken",
                |_, world: &World| world.wrong & wrong::FOREIGN == 0,
            ),
            Property::always(
                "items come in the order of the source",
                |_, world: &World| world.wrong & wrong::ORDER == 0,
            ),
            Property::always("a block has one token at most", |_, world: &World| {
                world.wrong & wrong::TOKEN == 0 && blocks_are_in_one_place(world)
            }),
            Property::always(
                "nobody takes an honest partner for a breach",
                |_, world: &World| world.wrong & wrong::BREACH == 0,
            ),
            Property::always("a verdict stands", |_, world: &World| {
                world.wrong & wrong::VERDICT == 0
            }),
            Property::always(
                "each letter is taken once, and in order",
                |_, world: &World| world.wrong & wrong::LETTER == 0,
            ),
            Property::always("every wait ends", |model: &Sessions, world: &World| {
                model.every_wait_ends(world)
            }),
            // And the model gets that far: what never happens breaks no rule either.
            Property::sometimes(
                "a third is refused while two are a pair",
                |_, world: &World| {
                    let is = |life| world.processes.iter().any(|process| process.life == life);
                    is(Life::Left(Outcome::Refused)) && is(Life::Paired)
                },
            ),
        ]
    }

    /// Where nothing can happen but by chance, nobody waits.
    fn every_wait_ends(&self, world: &World) -> bool {
        let mut possible = Vec::new();
        self.actions(world, &mut possible);
        let goes_on = world.wrong != 0 || possible.iter().any(|step| !step.is_chance());
        let processes = &world.processes[..self.bounds.processes.into()];
        goes_on || !processes.iter().any(|process| is_there(process.life))
    }
}

/// What happens where survivors arrive like everybody else.
fn takeovers() -> Vec<Property<Sessions>> {
    vec![
        Property::sometimes(
            "a takeover succeeds, the survivor being host",
            |_, world: &World| {
                (0..PROCESSES as u8)
                    .any(|number| succeeds(world, number) && world.seat == Some(number))
            },
        ),
        Property::sometimes(
            "a takeover succeeds, the survivor being second",
            |_, world: &World| {
                let is_second = |number: u8| world.process(number).pair.epoch == 1;
                (0..PROCESSES as u8).any(|number| succeeds(world, number) && is_second(number))
            },
        ),
    ]
}

/// What must hold, and happens, where they keep their places.
fn claims() -> Vec<Property<Sessions>> {
    vec![
        Property::always(
            "nobody begins a session while another one goes on",
            |_, world: &World| there_is_one_session(world),
        ),
        Property::sometimes(
            "a Reader goes on with another Writer and succeeds",
            |_, world: &World| (0..PROCESSES as u8).any(|number| succeeds(world, number)),
        ),
        Property::sometimes(
            "a Writer goes on with another Reader and succeeds",
            |_, world: &World| (0..PROCESSES as u8).any(|number| is_about_to_judge(world, number)),
        ),
        Property::sometimes(
            "one that came too early takes the place all the same",
            |_, world: &World| {
                let took = |process: &crate::world::Process| {
                    process.gave_way && process.life == Life::Paired && process.pair.epoch > 1
                };
                world.processes.iter().any(took)
            },
        ),
    ]
}

/// Of all that are in one, wait for one as its host, or go on from one, while they live.
fn there_is_one_session(world: &World) -> bool {
    let session = |number: u8| {
        let me = world.process(number);
        match me.life {
            Life::Paired | Life::Joining { admitted: true, .. } | Life::Hosting { .. } => {
                Some(world.own(number).pair.session)
            }
            _ if me.life != Life::Looking && me.rejoins > 0 && is_there(me.life) => {
                Some(me.pair.session)
            }
            _ => None,
        }
    };
    let mut sessions = (0..PROCESSES as u8).filter_map(session);
    let first = sessions.next();
    sessions.all(|session| Some(session) == first)
}

fn is_there(life: Life) -> bool {
    !matches!(life, Life::Dead | Life::Left(_))
}

/// A Writer that has rejoined, and taken something since, is about to give its verdict.
fn is_about_to_judge(world: &World, number: u8) -> bool {
    let me = world.process(number);
    let ended = world.theirs(number).state == State::Ended && me.taken == me.published;
    me.is_paired_as(Side::Writer) && me.rejoins > 0 && me.published > 0 && ended
}

/// A Reader that has rejoined, and sent something again, is about to find the verdict.
fn succeeds(world: &World, number: u8) -> bool {
    let me = world.process(number);
    let verdict = world.theirs(number).state == State::Ended && me.taken == me.published;
    me.is_paired_as(Side::Reader) && me.rejoins > 0 && me.published > 0 && verdict
}

/// Whoever ever was in a pair still has its numbers.
fn pairs_are_of_two(world: &World) -> bool {
    let members = |pair: PairId, side: Side| {
        let is_member = |process: &&crate::world::Process| {
            process.pair == pair && process.side == side && process.life == Life::Paired
        };
        world.processes.iter().filter(is_member).count()
    };
    world.processes.iter().all(|process| {
        process.life != Life::Paired
            || (members(process.pair, Side::Reader) <= 1
                && members(process.pair, Side::Writer) <= 1)
    })
}

fn nothing_is_lost(world: &World, items: u8) -> bool {
    let good = world
        .processes
        .iter()
        .any(|process| process.life == Life::Left(Outcome::Success));
    !good || world.applied == (1 << items) - 1
}

/// Of each Reader that lives in a pair and its Writer: no block is used by both.
fn blocks_are_in_one_place(world: &World) -> bool {
    (0..PROCESSES as u8).all(|number| {
        let me = world.process(number);
        if !me.is_paired_as(Side::Reader) || !world.has_partner(number) {
            return true;
        }
        let partner = world.process(me.partner);
        (0..BLOCKS).all(|block| {
            let here = me.places[block] != Place::Partner;
            let there = partner.places[block] == Place::Full;
            !(here && there)
        })
    })
}

/// How to break a rule.
pub type Break = fn(&mut Rules);

/// Each rule that can be broken, by its name.
pub const RULES: [(&str, Break); 13] = [
    ("compare_epoch", |rules| rules.compare_epoch = false),
    ("reset_fields", |rules| rules.reset_fields = false),
    ("death_not_hang_up", |rules| rules.death_not_hang_up = false),
    ("last_look", |rules| rules.last_look = false),
    ("leave_old_region", |rules| rules.leave_old_region = false),
    ("send_again", |rules| rules.send_again = false),
    ("death_ends_waits", |rules| rules.death_ends_waits = false),
    ("again_first", |rules| rules.again_first = false),
    ("wait_for_slot", |rules| rules.wait_for_slot = false),
    ("look_at_claim", |rules| rules.look_at_claim = false),
    ("claim_before_admission", |rules| {
        rules.claim_before_admission = false;
    }),
    ("claim_until_seat", |rules| rules.claim_until_seat = false),
    ("host_keeps_seat", |rules| rules.host_keeps_seat = false),
];
