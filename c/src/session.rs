//! Two processes becoming a pair.
#![allow(unsafe_code, reason = "functions are exported by their names")]

use std::ffi::{c_char, c_int};
use std::mem::MaybeUninit;
use std::process::Command;

use engine::{BothWays, Role, Seat, Side};

use crate::foreign;
use crate::held::{self, Object, Opaque, open, place};
use crate::monitor::brigade_monitor;
use crate::numbers::{BRIGADE_ANY_SIDE, BRIGADE_OK};
use crate::options::{Chosen, brigade_options};
use crate::partner;
use crate::reader::brigade_reader;
use crate::status::{Failed, guard, guard_value, misuse};
use crate::writer::brigade_writer;

/// Where the end goes that this process gets: one of two places, or the only one.
pub(crate) struct Places<'a> {
    reader: Option<&'a mut Option<Box<brigade_reader>>>,
    writer: Option<&'a mut Option<Box<brigade_writer>>>,
}

/// What C has for a place for an end.
type Place<'a, T> = Option<&'a mut MaybeUninit<Option<Box<T>>>>;

impl<'a> Places<'a> {
    fn new(
        reader: Place<'a, brigade_reader>,
        writer: Place<'a, brigade_writer>,
    ) -> Result<Places<'a>, Failed> {
        if reader.is_none() && writer.is_none() {
            return Err(misuse("NULL in place of where either end is to go"));
        }
        Ok(Places {
            reader: reader.map(|place| place.write(None)),
            writer: writer.map(|place| place.write(None)),
        })
    }

    /// The side that there is a place for, if it is one.
    fn side(&self) -> Option<Side> {
        match (&self.reader, &self.writer) {
            (Some(_), None) => Some(Side::Reader),
            (None, Some(_)) => Some(Side::Writer),
            _ => None,
        }
    }

    /// An error if there is no place for `side`.
    fn check(&self, side: Option<Side>) -> Result<(), Failed> {
        match (self.side(), side) {
            (Some(place), Some(side)) if place != side => Err(misuse(
                "NULL in place of where the end of this side is to go",
            )),
            _ => Ok(()),
        }
    }

    fn put(self, role: Role) -> Result<c_int, Failed> {
        match (role, self.reader, self.writer) {
            (Role::Reader(reader), Some(place), _) => *place = brigade_reader::boxed(reader),
            (Role::Writer(writer), _, Some(place)) => *place = brigade_writer::boxed(writer),
            _ => return Err(misuse("the end has another side")),
        }
        Ok(BRIGADE_OK)
    }
}

/// Options for who has these places, and no others.
fn fitting(options: Option<&brigade_options>, places: &Places) -> Result<Chosen, Failed> {
    let mut chosen = Chosen::of(options)?;
    places.check(chosen.side)?;
    chosen.side = chosen.side.or(places.side());
    Ok(chosen)
}

#[unsafe(no_mangle)]
pub extern "C" fn brigade_prepare() {
    guard(|| {
        engine::prepare();
        Ok(BRIGADE_OK)
    });
}

#[unsafe(no_mangle)]
pub extern "C" fn brigade_join(
    name: *const c_char,
    options: Option<&brigade_options>,
    reader: Option<&mut MaybeUninit<Option<Box<brigade_reader>>>>,
    writer: Option<&mut MaybeUninit<Option<Box<brigade_writer>>>>,
) -> c_int {
    guard(|| {
        let places = Places::new(reader, writer)?;
        let name = foreign::text(name, "NULL in place of a name")?;
        let chosen = fitting(options, &places)?;
        places.put(engine::join(name, &chosen.options())?)
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn brigade_accept(
    options: Option<&brigade_options>,
    reader: Option<&mut MaybeUninit<Option<Box<brigade_reader>>>>,
    writer: Option<&mut MaybeUninit<Option<Box<brigade_writer>>>>,
) -> c_int {
    guard(|| {
        let places = Places::new(reader, writer)?;
        let chosen = fitting(options, &places)?;
        places.put(engine::accept(&chosen.options())?)
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn brigade_join_both_ways(
    name: *const c_char,
    options: Option<&brigade_options>,
    reader: Option<&mut MaybeUninit<Option<Box<brigade_reader>>>>,
    writer: Option<&mut MaybeUninit<Option<Box<brigade_writer>>>>,
    is_first: Option<&mut MaybeUninit<c_int>>,
) -> c_int {
    guard(|| {
        let (reader, writer) = (place(reader, None)?, place(writer, None)?);
        let name = foreign::text(name, "NULL in place of a name")?;
        let chosen = Chosen::of(options)?;
        let ends: BothWays = engine::join_both_ways(name, &chosen.options())?;
        *reader = brigade_reader::boxed(ends.reader);
        *writer = brigade_writer::boxed(ends.writer);
        // Who does not need to know needs no place for it.
        if let Some(is_first) = is_first {
            is_first.write(ends.is_first.into());
        }
        Ok(BRIGADE_OK)
    })
}

/// Taken by the wait, if there is nothing in it.
pub struct brigade_seat(Object<Option<Seat>>);

impl Opaque for brigade_seat {
    type Inside = Option<Seat>;

    fn object(&self) -> &Object<Option<Seat>> {
        &self.0
    }
}

impl brigade_seat {
    fn boxed(seat: Seat) -> Option<Box<brigade_seat>> {
        Some(Box::new(brigade_seat(Object::new(Some(seat)))))
    }
}

#[cold]
fn no_seat() -> Failed {
    misuse("the seat was given up")
}

#[unsafe(no_mangle)]
pub extern "C" fn brigade_seat_take(
    name: *const c_char,
    options: Option<&brigade_options>,
    seat: Option<&mut MaybeUninit<Option<Box<brigade_seat>>>>,
) -> c_int {
    guard(|| {
        let seat = place(seat, None)?;
        let name = foreign::text(name, "NULL in place of a name")?;
        let chosen = Chosen::of(options)?;
        *seat = brigade_seat::boxed(Seat::take(name, &chosen.options())?);
        Ok(BRIGADE_OK)
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn brigade_invite(
    options: Option<&brigade_options>,
    arguments: *const *const c_char,
    process_id: Option<&mut MaybeUninit<u32>>,
    seat: Option<&mut MaybeUninit<Option<Box<brigade_seat>>>>,
) -> c_int {
    guard(|| {
        let (process_id, seat) = (place(process_id, 0)?, place(seat, None)?);
        let arguments = foreign::texts(arguments)?;
        let (program, rest) = arguments
            .split_first()
            .ok_or_else(|| misuse("there is no program to start"))?;
        let invitation = engine::invite(&Chosen::of(options)?.options())?;
        // To wait for the child is the caller's affair, by its id.
        let (child, taken) = invitation.spawn(Command::new(program).args(rest))?;
        *process_id = child.id();
        *seat = brigade_seat::boxed(taken);
        Ok(BRIGADE_OK)
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn brigade_seat_side(seat: Option<&brigade_seat>) -> c_int {
    guard_value(BRIGADE_ANY_SIDE, || {
        let seat = open(seat)?;
        Ok(partner::side(seat.as_ref().ok_or_else(no_seat)?.side()))
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn brigade_seat_is_first(seat: Option<&brigade_seat>) -> c_int {
    guard_value(0, || {
        let seat = open(seat)?;
        Ok(seat.as_ref().ok_or_else(no_seat)?.is_first().into())
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn brigade_seat_monitor(
    seat: Option<&brigade_seat>,
    monitor: Option<&mut MaybeUninit<Option<Box<brigade_monitor>>>>,
) -> c_int {
    guard(|| {
        let monitor = place(monitor, None)?;
        let seat = open(seat)?;
        *monitor = brigade_monitor::boxed(seat.as_ref().ok_or_else(no_seat)?.monitor());
        Ok(BRIGADE_OK)
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn brigade_seat_wait(
    seat: Option<&mut Option<Box<brigade_seat>>>,
    reader: Option<&mut MaybeUninit<Option<Box<brigade_reader>>>>,
    writer: Option<&mut MaybeUninit<Option<Box<brigade_writer>>>>,
) -> c_int {
    guard(|| {
        let places = Places::new(reader, writer)?;
        let seat = held::take(seat)?;
        let seat = open(Some(&*seat))?.take().ok_or_else(no_seat)?;
        places.check(Some(seat.side()))?;
        places.put(seat.wait()?)
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn brigade_seat_free(seat: Option<Box<brigade_seat>>) {
    held::free(seat);
}
