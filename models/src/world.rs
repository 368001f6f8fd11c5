//! What there is: processes, regions, the seat of one name, and a destination.

/// Processes that may come to the name.
pub(crate) const PROCESSES: usize = 4;
/// Blocks of a Reader.
pub(crate) const BLOCKS: usize = 2;
/// Slots for letters. The protocol has 16; what matters is that they are used again.
pub(crate) const SLOTS: u8 = 2;
/// One for each process, and for Readers that must not use theirs again.
pub(crate) const REGIONS: usize = PROCESSES + 2;

/// How far a model goes.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Processes that come, 4 at most.
    pub processes: u8,
    /// Items that the source has, 8 at most.
    pub items: u8,
    /// Letters that each end posts in each pair, at most.
    pub letters: u8,
    /// How often a Reader rejoins; with claims, an end of either side.
    pub rejoins: u8,
    /// Whether survivors keep their places: seconds have claims to the seat.
    pub claims: bool,
    /// How often a limit of time ends a step of joining.
    pub limits: u8,
    /// How often a link is hung up though both its processes live.
    pub hang_ups: u8,
    /// How often a child of a dead process does something.
    pub late: u8,
}

/// The rules of the protocol that can be broken, to see that the model notices.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// The host compares session and epoch of the second's region with its own.
    pub compare_epoch: bool,
    /// The changing fields are zero again before a region is shown again.
    pub reset_fields: bool,
    /// A region is shown again only if the partner's process has ended.
    pub death_not_hang_up: bool,
    /// The survivor looks once more after it has learned of a death.
    pub last_look: bool,
    /// After a death nothing is loaded from the dead one's region any more.
    pub leave_old_region: bool,
    /// What was not given back is sent again.
    pub send_again: bool,
    /// It is sent again before anything new, in order of sending.
    pub again_first: bool,
    /// A death or hang-up ends the partner's waits.
    pub death_ends_waits: bool,
    /// A letter is posted only into a slot whose last letter was taken.
    pub wait_for_slot: bool,
    /// Who has the free seat gives it back if another process has a claim to it.
    pub look_at_claim: bool,
    /// A second has its claim before it can be admitted, and not after.
    pub claim_before_admission: bool,
    /// A survivor lets go of its claim only when it has the seat.
    pub claim_until_seat: bool,
    /// A survivor that is the host keeps the seat.
    pub host_keeps_seat: bool,
}

impl Rules {
    /// All of them are kept.
    pub const KEPT: Rules = Rules {
        compare_epoch: true,
        reset_fields: true,
        death_not_hang_up: true,
        last_look: true,
        leave_old_region: true,
        send_again: true,
        again_first: true,
        death_ends_waits: true,
        wait_for_slot: true,
        look_at_claim: true,
        claim_before_admission: true,
        claim_until_seat: true,
        host_keeps_seat: true,
    };
}

/// What identifies a pair. Zeros: none yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct PairId {
    pub(crate) session: u8,
    pub(crate) epoch: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Side {
    /// The first is the Reader, the second takes what is left.
    Any,
    Reader,
    Writer,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Outcome {
    Success,
    Failed,
    Refused,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Life {
    Arriving,
    /// Has the seat, and is yet to look whether another process has a claim to it.
    Looking,
    /// Has the seat, waits for a partner; looks at one joiner at a time.
    Hosting {
        joiner: Option<u8>,
    },
    /// Has reached `host`; may have answered its offer; may have been admitted.
    Joining {
        host: u8,
        answered: bool,
        admitted: bool,
    },
    Paired,
    Dead,
    Left(Outcome),
}

/// Where a block is, as its process knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Place {
    /// The Reader's, with nothing of worth in it.
    Empty,
    /// The Reader's, to be sent again.
    Again,
    /// The partner's.
    Partner,
    /// The Writer's.
    Full,
}

/// Blocks in an order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct List {
    len: u8,
    blocks: [u8; BLOCKS],
}

impl List {
    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.blocks[..self.len.into()]
    }

    pub(crate) fn push(&mut self, block: u8) {
        self.blocks[usize::from(self.len)] = block;
        self.len += 1;
    }

    pub(crate) fn remove(&mut self, block: u8) {
        let kept = self.as_slice().iter().copied().filter(|&b| b != block);
        *self = kept.collect();
    }
}

impl FromIterator<u8> for List {
    fn from_iter<I: IntoIterator<Item = u8>>(blocks: I) -> List {
        let mut list = List::default();
        for block in blocks {
            list.push(block);
        }
        list
    }
}

/// What only the process itself knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Process {
    pub(crate) life: Life,
    /// What it was told to be, and what it is.
    pub(crate) wish: Side,
    pub(crate) side: Side,
    pub(crate) partner: u8,
    /// The pair that it is in, or was in last.
    pub(crate) pair: PairId,
    /// Its region, and the one that it looks at.
    pub(crate) own: u8,
    pub(crate) theirs: u8,
    pub(crate) published: u8,
    pub(crate) taken: u8,
    pub(crate) places: [Place; BLOCKS],
    /// The Reader's next item of the source.
    pub(crate) next_item: u8,
    /// The Reader's blocks that are to be sent again, and those that are sent and not given
    /// back, both in order of sending.
    pub(crate) again: List,
    pub(crate) out: List,
    /// The Writer's last item, and one.
    pub(crate) last_item: u8,
    /// The items that the Writer has applied in this pair, a bit for each.
    pub(crate) applied: u8,
    pub(crate) posted: u8,
    pub(crate) letters_taken: u8,
    /// Its end of the link was hung up, by whom ever.
    pub(crate) hung_up: bool,
    pub(crate) rejoins: u8,
    /// It has given the seat back, since another process had a claim.
    pub(crate) gave_way: bool,
    /// Of a Writer that has rejoined: the first item that it needs.
    pub(crate) goes_on: u8,
}

impl Process {
    fn arriving(number: u8, wish: Side) -> Process {
        Process {
            life: Life::Arriving,
            wish,
            side: wish,
            partner: number,
            pair: PairId::default(),
            own: number,
            theirs: number,
            published: 0,
            taken: 0,
            places: [Place::Partner; BLOCKS],
            next_item: 0,
            again: List::default(),
            out: List::default(),
            last_item: 0,
            applied: 0,
            posted: 0,
            letters_taken: 0,
            hung_up: false,
            rejoins: 0,
            gave_way: false,
            goes_on: 0,
        }
    }

    /// Whether it has shown nothing yet: all such processes with the same wish are alike.
    pub(crate) fn is_new(&self) -> bool {
        self.life == Life::Arriving && self.pair == PairId::default() && !self.gave_way
    }

    pub(crate) fn is_paired_as(&self, side: Side) -> bool {
        self.life == Life::Paired && self.side == side
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum State {
    #[default]
    Running,
    Ended,
    Aborted,
}

/// What a process shows its partner.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Region {
    pub(crate) pair: PairId,
    pub(crate) published: u8,
    /// Numbers of blocks.
    pub(crate) queue: [u8; BLOCKS],
    /// The item in each block (of a Reader's region).
    pub(crate) content: [u8; BLOCKS],
    pub(crate) state: State,
    pub(crate) posted: u8,
    pub(crate) letters_taken: u8,
    /// The number of the letter in it.
    pub(crate) slots: [u8; SLOTS as usize],
}

/// What must never happen, as soon as it has.
pub(crate) mod wrong {
    /// Something was taken that does not belong to the pair: from a region of another
    /// session or epoch, or not published in this pair by the partner.
    pub(crate) const FOREIGN: u8 = 1;
    /// A second token for one block.
    pub(crate) const TOKEN: u8 = 2;
    /// An honest partner looks like one that breaks the protocol.
    pub(crate) const BREACH: u8 = 4;
    /// An item was applied twice in one epoch.
    pub(crate) const TWICE: u8 = 8;
    /// Items came in another order than that of the source.
    pub(crate) const ORDER: u8 = 16;
    /// A verdict was given, and the Reader does not take it.
    pub(crate) const VERDICT: u8 = 32;
    /// A letter was lost or came twice.
    pub(crate) const LETTER: u8 = 64;
}

/// A state of everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct World {
    pub(crate) processes: [Process; PROCESSES],
    pub(crate) regions: [Region; REGIONS],
    pub(crate) regions_used: u8,
    /// Who has the seat. A dead one, if a child of its keeps it taken.
    pub(crate) seat: Option<u8>,
    /// Who has the claim to it, likewise.
    pub(crate) claim: Option<u8>,
    /// There are claims.
    pub(crate) has_claims: bool,
    /// The items that are in the destination, a bit for each.
    pub(crate) applied: u8,
    pub(crate) limits_left: u8,
    pub(crate) hang_ups_left: u8,
    pub(crate) late_left: u8,
    /// Bits of [`wrong`].
    pub(crate) wrong: u8,
}

impl World {
    /// The first `writers` of all processes were told to be Writers, the others nothing.
    pub(crate) fn new(bounds: &Bounds, writers: u8) -> World {
        let wish = |number| match number < writers {
            true => Side::Writer,
            false => Side::Any,
        };
        let process = |number| Process::arriving(number, wish(number));
        World {
            processes: std::array::from_fn(|number| process(number as u8)),
            regions: [Region::default(); REGIONS],
            regions_used: PROCESSES as u8,
            seat: None,
            claim: None,
            has_claims: bounds.claims,
            applied: 0,
            limits_left: bounds.limits,
            hang_ups_left: bounds.hang_ups,
            late_left: bounds.late,
            wrong: 0,
        }
    }

    pub(crate) fn process(&self, number: u8) -> &Process {
        &self.processes[usize::from(number)]
    }

    pub(crate) fn process_mut(&mut self, number: u8) -> &mut Process {
        &mut self.processes[usize::from(number)]
    }

    pub(crate) fn own(&self, number: u8) -> &Region {
        &self.regions[usize::from(self.process(number).own)]
    }

    pub(crate) fn own_mut(&mut self, number: u8) -> &mut Region {
        &mut self.regions[usize::from(self.process(number).own)]
    }

    pub(crate) fn theirs(&self, number: u8) -> &Region {
        &self.regions[usize::from(self.process(number).theirs)]
    }

    /// Whether `number`'s partner is in the same pair, or about to enter it.
    pub(crate) fn has_partner(&self, number: u8) -> bool {
        let me = self.process(number);
        let partner = self.process(me.partner);
        let admitted = matches!(partner.life, Life::Joining { admitted: true, .. });
        let there = admitted || (partner.life == Life::Paired && partner.partner == number);
        there && self.own(me.partner).pair == me.pair
    }

    /// What a wait of `number` learns from the link: the partner died or hung up.
    pub(crate) fn is_gone(&self, number: u8) -> bool {
        let me = self.process(number);
        me.hung_up || !self.has_partner(number) || self.process(me.partner).hung_up
    }

    /// Forgets what nobody can see any more, so that worlds that differ only in that are one.
    pub(crate) fn forget(&mut self) {
        for number in 0..PROCESSES as u8 {
            let me = *self.process(number);
            if !matches!(me.life, Life::Dead | Life::Left(_)) {
                continue;
            }
            let blank = Process {
                life: me.life,
                ..Process::arriving(number, Side::Any)
            };
            let sees = |other: &Process| other.life == Life::Paired && other.partner == number;
            let matters = self.late_left > 0 || self.processes.iter().any(sees);
            *self.process_mut(number) = match matters {
                true => Process {
                    side: me.side,
                    pair: me.pair,
                    partner: me.partner,
                    own: me.own,
                    ..blank
                },
                false => blank,
            };
            let own = usize::from(me.own);
            let looks =
                |other: &Process| other.life == Life::Paired && usize::from(other.theirs) == own;
            if self.late_left == 0 && !self.processes.iter().any(looks) {
                self.regions[own] = Region::default();
            }
        }
    }

    /// The same, from the other side: whether somebody is still in the pair of `number`.
    pub(crate) fn has_partner_of(&self, number: u8) -> bool {
        let me = self.process(number);
        let partner = self.process(me.partner);
        // By its region: it may have died before it entered.
        let pair = self.own(number).pair;
        partner.life == Life::Paired && partner.partner == number && partner.pair == pair
    }

    /// Whether `number` has answered an offer of `host` and was told nothing since.
    pub(crate) fn has_answered(&self, number: u8, host: u8) -> bool {
        let life = self.process(number).life;
        life == Life::Joining {
            host,
            answered: true,
            admitted: false,
        }
    }

    /// Whether the system says that the partner's process has ended: not only its link.
    pub(crate) fn partner_has_died(&self, number: u8) -> bool {
        self.process(self.process(number).partner).life == Life::Dead
    }

    pub(crate) fn free_seat_of(&mut self, number: u8) {
        if self.seat == Some(number) {
            self.seat = None;
        }
    }

    pub(crate) fn free_claim_of(&mut self, number: u8) {
        if self.claim == Some(number) {
            self.claim = None;
        }
    }

    /// It has nothing of the name any more.
    pub(crate) fn free_name_of(&mut self, number: u8) {
        self.free_seat_of(number);
        self.free_claim_of(number);
    }
}
