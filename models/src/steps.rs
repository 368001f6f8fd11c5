//! The steps of the processes, and what becomes of the world with each.
//!
//! Each step is named after what it does; the ids are those of `docs/protocol.md`.

use crate::world::{
    BLOCKS, Life, List, Outcome, PairId, Place, Region, Rules, SLOTS, Side, State, World, wrong,
};

/// A step of one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    // -- what nobody can count on ----------------------------------------------
    /// Dies, by whatever means.
    Die(u8),
    /// Dies, and leaves a child that shares its descriptors: the seat stays taken.
    DieWithChild(u8),
    /// Somebody shuts the link of a process that lives.
    HangUp(u8),
    /// The host drops its joiner, since its time is over (J10).
    Drop(u8),
    /// The joiner has waited long enough to be admitted (J17).
    Impatient(u8),
    /// A child of a dead Writer stores into the region that was the dead one's.
    StoreLate(u8),
    // -- joining -----------------------------------------------------------------
    /// The child of a dead host ends, and the seat is free.
    ChildEnds(u8),
    /// Takes the free seat and, if there are no claims, makes its region (J1, J3).
    TakeSeat(u8),
    /// Having the seat, looks whether another process has a claim to it, and gives it back
    /// then; otherwise makes its region (J67).
    LookAtClaim(u8),
    /// Reaches the host, which looks at nobody else now (J5).
    Reach(u8),
    /// Has found two in their places, long enough (J2).
    TooMany(u8),
    /// Checks the host's offer, takes its claim and makes its own offer, or is refused (J8,
    /// J11, J68).
    Answer(u8),
    /// The host checks what it was shown, and admits the joiner or goes on (J12).
    Admit(u8),
    /// The host finds an answer to what it showed in an earlier session of its own.
    FindOldAnswer(u8, u8),
    /// Was admitted (J14).
    Enter(u8),
    /// Was dropped, or its host has left (J16).
    StartAgain(u8),
    /// The host has waited long enough.
    NoPartner(u8),
    // -- the Reader ----------------------------------------------------------------
    /// Sends what was not given back before, or the next item (R3 to R7).
    Send(u8),
    /// Takes a block that was given back (R3 to R5).
    TakeBack(u8),
    /// Has sent everything (E5).
    Close(u8),
    /// Finds the Writer's verdict (E7).
    SeeVerdict(u8),
    // -- the Writer ----------------------------------------------------------------
    /// Takes a sent block (W4 to W6).
    Take(u8),
    /// Applies a block to the destination and gives it back, in any order (W7, W8).
    Return(u8, u8),
    /// Has drained everything (E9 to E12).
    GiveVerdict(u8),
    // -- both ------------------------------------------------------------------------
    /// Posts a letter.
    Post(u8),
    /// Takes a letter.
    TakeLetter(u8),
    /// Has found the partner gone, or that it gave up, and ends.
    GiveUp(u8),
    /// After a death: arrives again, a Reader with what was not given back; or opens again,
    /// if it has kept the seat.
    Rejoin(u8),
}

impl Step {
    /// Whether no wait may rely on this step.
    pub(crate) fn is_chance(self) -> bool {
        matches!(
            self,
            Step::Die(_)
                | Step::DieWithChild(_)
                | Step::HangUp(_)
                | Step::Drop(_)
                | Step::Impatient(_)
                | Step::StoreLate(_)
        )
    }
}

/// The world after `step`.
pub(crate) fn after(world: &World, step: Step, rules: &Rules) -> World {
    let mut next = *world;
    match step {
        Step::Die(number) => die(&mut next, number),
        Step::DieWithChild(number) => die_with_child(&mut next, number),
        Step::HangUp(number) => hang_up(&mut next, number),
        Step::Drop(host) => drop_joiner(&mut next, host),
        Step::Impatient(number) => impatient(&mut next, number),
        Step::StoreLate(number) => store_late(&mut next, number),
        Step::ChildEnds(number) => next.free_name_of(number),
        Step::TakeSeat(number) => take_seat(&mut next, number, rules),
        Step::LookAtClaim(number) => look_at_claim(&mut next, number, rules),
        Step::Reach(number) => reach(&mut next, number),
        Step::TooMany(number) => refuse(&mut next, number),
        Step::Answer(number) => answer(&mut next, number, rules),
        Step::Admit(host) => admit(&mut next, host, rules),
        Step::FindOldAnswer(host, joiner) => {
            next.process_mut(host).life = Life::Hosting {
                joiner: Some(joiner),
            };
        }
        Step::Enter(number) => enter(&mut next, number, rules),
        Step::StartAgain(number) => start_again(&mut next, number),
        Step::NoPartner(number) | Step::GiveUp(number) => give_up(&mut next, number),
        Step::Send(number) => send(&mut next, number, rules),
        Step::TakeBack(number) => take_back(&mut next, number),
        Step::Close(number) => next.own_mut(number).state = State::Ended,
        Step::SeeVerdict(number) => see_verdict(&mut next, number),
        Step::Rejoin(number) => rejoin(&mut next, number, rules),
        Step::Take(number) => take(&mut next, number),
        Step::Return(number, block) => give_back(&mut next, number, block),
        Step::GiveVerdict(number) => give_verdict(&mut next, number),
        Step::Post(number) => post(&mut next, number),
        Step::TakeLetter(number) => take_letter(&mut next, number),
    }
    next.forget();
    next
}

/// The system gives the seat back (J1).
fn die(world: &mut World, number: u8) {
    world.process_mut(number).life = Life::Dead;
    world.free_name_of(number);
}

fn refuse(world: &mut World, number: u8) {
    world.process_mut(number).life = Life::Left(Outcome::Refused);
    world.free_name_of(number);
}

fn die_with_child(world: &mut World, number: u8) {
    world.late_left -= 1;
    world.process_mut(number).life = Life::Dead;
}

fn hang_up(world: &mut World, number: u8) {
    world.hang_ups_left -= 1;
    world.process_mut(number).hung_up = true;
}

fn drop_joiner(world: &mut World, host: u8) {
    world.limits_left -= 1;
    world.process_mut(host).life = Life::Hosting { joiner: None };
}

fn impatient(world: &mut World, number: u8) {
    world.limits_left -= 1;
    refuse(world, number);
}

/// One more block given back, as far as the region says.
fn store_late(world: &mut World, number: u8) {
    world.late_left -= 1;
    let own = world.own_mut(number);
    own.published += 1;
    own.posted += 1;
}

/// J1. Whoever has the claim need not look.
fn take_seat(world: &mut World, number: u8, rules: &Rules) {
    world.seat = Some(number);
    match world.has_claims && world.claim != Some(number) {
        true => world.process_mut(number).life = Life::Looking,
        false => host(world, number, rules),
    }
}

/// J67.
fn look_at_claim(world: &mut World, number: u8, rules: &Rules) {
    if world.claim.is_none() || !rules.look_at_claim {
        return host(world, number, rules);
    }
    world.free_seat_of(number);
    let me = world.process_mut(number);
    me.life = Life::Arriving;
    me.gave_way = true;
}

/// J3, J4. Who rejoins goes on with its session, in the next epoch, and needs no claim.
fn host(world: &mut World, number: u8, rules: &Rules) {
    world.free_claim_of(number);
    let me = world.process_mut(number);
    me.life = Life::Hosting { joiner: None };
    me.side = match me.wish {
        Side::Writer => Side::Writer,
        _ => Side::Reader,
    };
    let pair = match me.pair {
        PairId { session: 0, .. } => PairId {
            session: number + 1,
            epoch: 1,
        },
        PairId { session, epoch } => PairId {
            session,
            epoch: epoch + 1,
        },
    };
    show(world, number, pair, rules);
}

/// Makes a region ready to be shown: all fields that change are zero (again), and so is what
/// the process knows of its own and the partner's counters.
fn show(world: &mut World, number: u8, pair: PairId, rules: &Rules) {
    let own = world.own_mut(number);
    let kept = Region { pair, ..*own };
    *own = match rules.reset_fields {
        true => Region {
            pair,
            content: own.content,
            ..Region::default()
        },
        false => kept,
    };
    let me = world.process_mut(number);
    (me.published, me.taken) = (0, 0);
    (me.posted, me.letters_taken) = (0, 0);
    (me.last_item, me.applied, me.hung_up) = (0, 0, false);
    let (side, again) = (me.side, me.again);
    let is_again = |block: usize| again.as_slice().contains(&(block as u8));
    me.places = std::array::from_fn(|block| match side {
        Side::Reader if is_again(block) => Place::Again,
        Side::Reader => Place::Empty,
        _ => Place::Partner,
    });
}

fn reach(world: &mut World, number: u8) {
    let Some(host) = world.seat else { return };
    world.process_mut(host).life = Life::Hosting {
        joiner: Some(number),
    };
    let joining = Life::Joining {
        host,
        answered: false,
        admitted: false,
    };
    world.process_mut(number).life = joining;
}

/// J16.
fn start_again(world: &mut World, number: u8) {
    let me = world.process_mut(number);
    me.life = Life::Arriving;
    (me.side, me.partner, me.theirs) = (me.wish, number, me.own);
    let (is_survivor, is_new) = (me.rejoins > 0, me.pair == PairId::default());
    if is_new {
        me.places = [Place::Partner; BLOCKS];
        *world.own_mut(number) = Region::default();
    }
    if !is_survivor {
        world.free_claim_of(number);
    }
}

/// J8 and J11: the second takes the side that is left, and the host's numbers.
fn answer(world: &mut World, number: u8, rules: &Rules) {
    let Life::Joining { host, .. } = world.process(number).life else {
        return;
    };
    let shown = world.own(host).pair;
    let left = match world.process(host).side {
        Side::Reader => Side::Writer,
        _ => Side::Reader,
    };
    let region = world.process(host).own;
    let me = world.process_mut(number);
    if me.wish != Side::Any && me.wish != left {
        // Both know: the host goes on with the next.
        return refuse(world, number);
    }
    if world.has_claims && rules.claim_before_admission {
        match world.claim {
            // Somebody else has it, too long.
            Some(other) if other != number => return refuse(world, number),
            _ => world.claim = Some(number),
        }
    }
    let me = world.process_mut(number);
    me.side = left;
    me.life = Life::Joining {
        host,
        answered: true,
        admitted: false,
    };
    me.partner = host;
    me.theirs = region;
    show(world, number, shown, rules);
}

/// J12. Whoever has left, or shows the wrong numbers, is not admitted.
fn admit(world: &mut World, host: u8, rules: &Rules) {
    let Life::Hosting {
        joiner: Some(joiner),
    } = world.process(host).life
    else {
        return;
    };
    if !world.has_answered(joiner, host) {
        world.process_mut(host).life = Life::Hosting { joiner: None };
        return;
    }
    if rules.compare_epoch && world.own(joiner).pair != world.own(host).pair {
        world.process_mut(host).life = Life::Hosting { joiner: None };
        return refuse(world, joiner);
    }
    world.process_mut(joiner).life = Life::Joining {
        host,
        answered: true,
        admitted: true,
    };
    let theirs = world.process(joiner).own;
    // What it is to send, it learns from a Writer that has gone on.
    let (rejoins, goes_on) = (world.process(host).rejoins, world.process(host).goes_on);
    let newcomer = world.process_mut(joiner);
    if newcomer.side == Side::Reader && rejoins > 0 && newcomer.rejoins == 0 {
        newcomer.next_item = goes_on;
    }
    let pair = world.own(host).pair;
    let me = world.process_mut(host);
    me.life = Life::Paired;
    me.pair = pair;
    me.partner = joiner;
    if me.rejoins == 0 || rules.leave_old_region {
        me.theirs = theirs;
    }
}

/// J14.
fn enter(world: &mut World, number: u8, rules: &Rules) {
    if world.has_claims && !rules.claim_before_admission && world.claim.is_none() {
        world.claim = Some(number);
    }
    let pair = world.own(number).pair;
    let me = world.process_mut(number);
    me.life = Life::Paired;
    me.pair = pair;
}

/// The end aborts, or its wait for a partner was in vain.
fn give_up(world: &mut World, number: u8) {
    if world.process(number).side == Side::Reader
        && world.process(number).life == Life::Paired
        && world.theirs(number).state == State::Ended
    {
        world.wrong |= wrong::VERDICT;
    }
    world.own_mut(number).state = State::Aborted;
    world.process_mut(number).life = Life::Left(Outcome::Failed);
    world.free_name_of(number);
}

/// R6, R7. What was not given back goes first, as it is; then the next item.
fn send(world: &mut World, number: u8, rules: &Rules) {
    let me = *world.process(number);
    let fresh = me.places.iter().position(|&place| place == Place::Empty);
    let block = match (me.again.as_slice().first(), fresh) {
        (Some(&block), None) => block,
        (Some(&block), Some(_)) if rules.again_first => block,
        (_, Some(block)) => {
            world.own_mut(number).content[block] = me.next_item;
            world.process_mut(number).next_item += 1;
            block as u8
        }
        (None, None) => return,
    };
    let own = world.own_mut(number);
    own.queue[usize::from(me.published) % BLOCKS] = block;
    own.published = me.published + 1;
    let me = world.process_mut(number);
    me.published += 1;
    me.places[usize::from(block)] = Place::Partner;
    me.again.remove(block);
    me.out.push(block);
}

/// R3 to R5.
fn take_back(world: &mut World, number: u8) {
    let (me, theirs) = (*world.process(number), *world.theirs(number));
    // What the partner has really published in this pair.
    let partner = world.process(me.partner);
    let lives = partner.life == Life::Paired && partner.pair == me.pair;
    if theirs.pair != me.pair || (lives && partner.published <= me.taken) {
        world.wrong |= wrong::FOREIGN;
    }
    if theirs.published.wrapping_sub(me.taken) > me.published - me.taken {
        world.wrong |= wrong::BREACH;
    }
    let block = theirs.queue[usize::from(me.taken) % BLOCKS];
    if me.places[usize::from(block)] != Place::Partner {
        world.wrong |= wrong::TOKEN;
    }
    let me = world.process_mut(number);
    me.taken = me.taken.wrapping_add(1);
    me.places[usize::from(block)] = Place::Empty;
    me.out.remove(block);
}

fn see_verdict(world: &mut World, number: u8) {
    if world.own(number).state != State::Ended {
        world.wrong |= wrong::BREACH;
    }
    world.process_mut(number).life = Life::Left(Outcome::Success);
    world.free_name_of(number);
}

/// After the partner's death: what was not given back, in order of sending, is kept. A Writer
/// has nothing to keep but how far it has come.
fn rejoin(world: &mut World, number: u8, rules: &Rules) {
    if world.process(number).side == Side::Reader && world.theirs(number).state == State::Ended {
        world.wrong |= wrong::VERDICT;
    }
    if rules.death_not_hang_up && !world.partner_has_died(number) {
        copy_region(world, number);
    }
    let me = world.process_mut(number);
    let sent = me.out.as_slice().iter().chain(me.again.as_slice());
    me.again = match rules.send_again {
        true => sent.copied().collect(),
        false => List::default(),
    };
    me.out = List::default();
    me.rejoins += 1;
    me.wish = me.side;
    if me.side == Side::Writer && me.last_item > 0 {
        me.goes_on = me.last_item;
    }
    let is_host = world.seat == Some(number);
    if world.has_claims && is_host && rules.host_keeps_seat {
        return host(world, number, rules);
    }
    world.process_mut(number).life = Life::Arriving;
    world.free_seat_of(number);
    if !rules.claim_until_seat {
        world.free_claim_of(number);
    }
}

/// The old region stays as it is, for a partner that still looks at it.
fn copy_region(world: &mut World, number: u8) {
    let old = *world.own(number);
    let new = world.regions_used;
    world.regions[usize::from(new)] = old;
    world.regions_used += 1;
    world.process_mut(number).own = new;
}

/// W4 to W6.
fn take(world: &mut World, number: u8) {
    let (me, theirs) = (*world.process(number), *world.theirs(number));
    let partner = world.process(me.partner);
    let lives = partner.life == Life::Paired && partner.pair == me.pair;
    if theirs.pair != me.pair || (lives && partner.published <= me.taken) {
        world.wrong |= wrong::FOREIGN;
    }
    let here = me.taken - me.published;
    if theirs.published.wrapping_sub(me.taken) > BLOCKS as u8 - here {
        world.wrong |= wrong::BREACH;
    }
    let block = theirs.queue[usize::from(me.taken) % BLOCKS];
    if me.places[usize::from(block)] != Place::Partner {
        world.wrong |= wrong::TOKEN;
    }
    let item = theirs.content[usize::from(block)] + 1;
    if item <= me.last_item {
        world.wrong |= wrong::ORDER;
    }
    let me = world.process_mut(number);
    me.taken = me.taken.wrapping_add(1);
    me.last_item = item;
    me.places[usize::from(block)] = Place::Full;
}

/// W7, W8. The item is applied to the destination just before.
fn give_back(world: &mut World, number: u8, block: u8) {
    let bit = 1 << world.theirs(number).content[usize::from(block)];
    if world.process(number).applied & bit != 0 {
        world.wrong |= wrong::TWICE;
    }
    world.process_mut(number).applied |= bit;
    world.applied |= bit;
    let published = world.process(number).published;
    let own = world.own_mut(number);
    own.queue[usize::from(published) % BLOCKS] = block;
    own.published = published + 1;
    let me = world.process_mut(number);
    me.published += 1;
    me.places[usize::from(block)] = Place::Partner;
}

fn give_verdict(world: &mut World, number: u8) {
    if world.theirs(number).pair != world.process(number).pair {
        world.wrong |= wrong::FOREIGN;
    }
    world.own_mut(number).state = State::Ended;
    world.process_mut(number).life = Life::Left(Outcome::Success);
    world.free_name_of(number);
}

fn post(world: &mut World, number: u8) {
    let posted = world.process(number).posted;
    let own = world.own_mut(number);
    own.slots[usize::from(posted % SLOTS)] = posted;
    own.posted = posted + 1;
    world.process_mut(number).posted += 1;
}

fn take_letter(world: &mut World, number: u8) {
    let (me, theirs) = (*world.process(number), *world.theirs(number));
    let partner = world.process(me.partner);
    let lives = partner.life == Life::Paired && partner.pair == me.pair;
    if theirs.pair != me.pair || (lives && partner.posted <= me.letters_taken) {
        world.wrong |= wrong::FOREIGN;
    }
    if theirs.slots[usize::from(me.letters_taken % SLOTS)] != me.letters_taken {
        world.wrong |= wrong::LETTER;
    }
    let taken = me.letters_taken + 1;
    world.own_mut(number).letters_taken = taken;
    world.process_mut(number).letters_taken = taken;
}
