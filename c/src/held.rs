//! What C holds by a pointer: looked at on the way in, and used by one thread at a time.
//!
//! What cannot be found out from here: a pointer that never was one of ours, and one that was
//! freed, once its memory is used for something else. Two threads in the same object are found
//! out if one of them waits there, and else mostly.
//!
//! Blocks borrow their end, and C has no borrowing. So C has no tokens, but numbers: that of the
//! block, for which the library knows whether it is lent, and a serial number that tells it from
//! whatever is in the same place later, or in another end.
#![allow(
    unsafe_code,
    reason = "who is in an object is told by its state, which Rust has no word for"
)]

use std::cell::{Cell, OnceCell, UnsafeCell};
use std::ffi::CString;
use std::hint::black_box;
use std::mem::{self, ManuallyDrop, MaybeUninit};
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicU64, Ordering};

use engine::{DataBlock, EmptyBlock, Reader, Writer};

use crate::numbers::BRIGADE_OK;
use crate::status::{Failed, guard, misuse};
use crate::types::{brigade_data_block, brigade_empty_block};

const NULL: &str = "NULL in place of what the call is about";
const NO_BLOCK: &str = "NULL in place of a block";
const NO_PLACE: &str = "NULL in place of where the result is to go";
pub(crate) const NOT_OURS: &str = "the block was sent or given back, or is of another end";
const LEFT: &str = "this end is no more";

/// What an object's state is: that it is there,
const ALIVE: u64 = 0x6564_6167_6972_6221;
/// that a call which may wait is in it,
const IN_CALL: u64 = 0x6564_6167_6972_623f;
/// or that it was freed.
const DEAD: u64 = 0x6465_6164_6465_6164;

/// The inside of an object that C has a pointer to.
pub(crate) struct Object<T> {
    state: Cell<u64>,
    inside: UnsafeCell<T>,
}

/// An object that C has a pointer to.
pub(crate) trait Opaque {
    type Inside;
    fn object(&self) -> &Object<Self::Inside>;
}

impl<T> Object<T> {
    pub(crate) fn new(inside: T) -> Object<T> {
        Object {
            state: Cell::new(ALIVE),
            inside: UnsafeCell::new(inside),
        }
    }

    fn check(&self) -> Result<(), Failed> {
        match self.state.get() {
            ALIVE => Ok(()),
            IN_CALL => Err(misuse(
                "another thread is in a call for the same object, or this one is",
            )),
            _ => Err(misuse(
                "what the call is about was freed, or is none of brigade's",
            )),
        }
    }
}

impl<T> Drop for Object<T> {
    fn drop(&mut self) {
        self.state.set(DEAD);
        // Else nobody would store it.
        black_box(&self.state);
    }
}

/// The inside of an object, for a call that may wait: others are refused meanwhile.
pub(crate) struct Open<'o, T>(&'o Object<T>);

impl<T> Deref for Open<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: who finds `IN_CALL` stays out, and whoever is in a `brief` call of this
        // thread calls nobody who comes back here; two threads at once are the caller's
        // breach (brigade.h).
        unsafe { &*self.0.inside.get() }
    }
}

impl<T> DerefMut for Open<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as in `deref`, and `&mut self` is the only guard.
        unsafe { &mut *self.0.inside.get() }
    }
}

impl<T> Drop for Open<'_, T> {
    fn drop(&mut self) {
        self.0.state.set(ALIVE);
    }
}

/// Opens the object behind a pointer, for one call.
pub(crate) fn open<O: Opaque>(object: Option<&O>) -> Result<Open<'_, O::Inside>, Failed> {
    let object = object.ok_or_else(|| misuse(NULL))?.object();
    object.check()?;
    object.state.set(IN_CALL);
    Ok(Open(object))
}

/// Lets `use_it` use the inside of an object, if nobody is in it: it may not wait, nor call
/// anybody who comes back here. As fast as can be: it is not said that somebody is in it.
#[inline(always)]
pub(crate) fn briefly<O: Opaque, R>(
    object: Option<&O>,
    use_it: impl FnOnce(&mut O::Inside) -> R,
) -> Option<R> {
    let object = object?.object();
    match object.state.get() {
        // SAFETY: as in `Open::deref`: nobody else is in it, and nobody comes.
        ALIVE => Some(use_it(unsafe { &mut *object.inside.get() })),
        _ => None,
    }
}

/// Why an object could not be used briefly.
#[cold]
#[inline(never)]
pub(crate) fn why_not<O: Opaque>(object: Option<&O>) -> Failed {
    match open(object) {
        Err(failed) => failed,
        Ok(_) => misuse(NO_BLOCK),
    }
}

/// An object whose inside is for all threads.
pub(crate) fn look<O: Opaque<Inside = ()>>(object: Option<&O>) -> Result<&O, Failed> {
    let object = object.ok_or_else(|| misuse(NULL))?;
    object.object().check()?;
    Ok(object)
}

/// Frees an object, if nobody is in it: what is in use stays for ever.
pub(crate) fn free<O: Opaque>(object: Option<Box<O>>) {
    guard(|| {
        let Some(object) = object else {
            return Ok(BRIGADE_OK);
        };
        let is_free = object.object().check();
        match is_free {
            Ok(()) => drop(object),
            Err(_) => mem::forget(object),
        }
        is_free.map(|()| BRIGADE_OK)
    });
}

/// Takes the object behind the caller's pointer, which is NULL from then on.
pub(crate) fn take<O: Opaque>(object: Option<&mut Option<Box<O>>>) -> Result<Box<O>, Failed> {
    let place = object.ok_or_else(|| misuse(NULL))?;
    let object = place.as_ref().ok_or_else(|| misuse(NULL))?;
    object.object().check()?;
    place.take().ok_or_else(|| misuse(NULL))
}

/// The caller's place for a result, which is `none` until there is one.
pub(crate) fn place<T>(place: Option<&mut MaybeUninit<T>>, none: T) -> Result<&mut T, Failed> {
    place
        .map(|place| place.write(none))
        .ok_or_else(|| misuse(NO_PLACE))
}

/// An end, and what tells the blocks that C has from others.
pub(crate) struct Held<E> {
    /// `None` once it has become something else.
    end: Option<E>,
    /// For each block by its number: the serial number with which C has it, or will have it
    /// next.
    serials: Box<[u64]>,
    /// The partner's user, once it was asked for.
    pub(crate) user: OnceCell<CString>,
}

/// How far the serial numbers of two ends are apart: no block is lent as often.
const SERIALS: u64 = 1 << 40;

/// None is zero, as what the caller never got is.
static NEXT_SERIALS: AtomicU64 = AtomicU64::new(SERIALS);

impl<E> Held<E> {
    pub(crate) fn new(end: E, block_count: usize) -> Held<E> {
        let first = NEXT_SERIALS.fetch_add(SERIALS, Ordering::Relaxed);
        Held {
            end: Some(end),
            serials: vec![first; block_count].into(),
            user: OnceCell::new(),
        }
    }

    #[inline(always)]
    pub(crate) fn end(&self) -> Result<&E, Failed> {
        self.end.as_ref().ok_or_else(|| misuse(LEFT))
    }

    /// The end, where it is not asked why there is none.
    #[inline(always)]
    pub(crate) fn present_end(&self) -> Option<&E> {
        self.end.as_ref()
    }

    /// With which C gets block `number`.
    #[inline(always)]
    fn serial(&self, number: usize) -> u64 {
        // The library has no others.
        self.serials.get(number).copied().unwrap_or(0)
    }

    pub(crate) fn take_end(&mut self) -> Result<E, Failed> {
        self.end.take().ok_or_else(|| misuse(LEFT))
    }
}

impl Held<Reader> {
    /// What C gets of `token`, a block of this end's.
    #[inline(always)]
    pub(crate) fn lend(&self, token: EmptyBlock<'_>) -> brigade_empty_block {
        // Nothing on the way drops it: so it stays in registers.
        let mut token = ManuallyDrop::new(token);
        let bytes: &mut [u8] = &mut token;
        let (data, len) = (bytes.as_mut_ptr(), bytes.len());
        let number = ManuallyDrop::into_inner(token).lend();
        brigade_empty_block {
            data,
            len,
            slot: number as u32,
            serial: self.serial(number),
            ..brigade_empty_block::NONE
        }
    }

    /// The block that C has, which it has no more.
    #[inline(always)]
    pub(crate) fn take_back(&mut self, block: &brigade_empty_block) -> Option<EmptyBlock<'_>> {
        let number = block.slot as usize;
        let serial = self.serials.get_mut(number)?;
        if *serial != block.serial {
            return None;
        }
        *serial += 1;
        self.end.as_ref()?.lent(number)
    }

    /// Sends the block that C has, if nothing is in the way; false if nothing has happened.
    #[inline(always)]
    pub(crate) fn send(&mut self, block: &brigade_empty_block, len: usize) -> bool {
        let number = block.slot as usize;
        let (Some(serial), Some(reader)) = (self.serials.get_mut(number), &self.end) else {
            return false;
        };
        let is_ours = *serial == block.serial;
        let is_sent = is_ours && reader.send_lent(number, len, block.label());
        *serial += u64::from(is_sent);
        is_sent
    }

    /// All that C has is empty again.
    pub(crate) fn take_all_back(&self) {
        if let Some(reader) = &self.end {
            (0..self.serials.len()).for_each(|number| drop(reader.lent(number)));
        }
    }
}

impl Held<Writer> {
    /// What C gets of `token`, a block of this end's.
    #[inline(always)]
    pub(crate) fn lend(&self, token: DataBlock<'_>) -> brigade_data_block {
        let token = ManuallyDrop::new(token);
        let view = brigade_data_block::view(&token, token.label());
        let number = ManuallyDrop::into_inner(token).lend();
        brigade_data_block {
            slot: number as u32,
            serial: self.serial(number),
            ..view
        }
    }

    /// Gives the block back that C has; false if nothing has happened.
    #[inline(always)]
    pub(crate) fn done(&mut self, block: &brigade_data_block) -> bool {
        self.take_back(block).map(DataBlock::done).is_some()
    }

    /// The block that C has, which it has no more.
    #[inline(always)]
    pub(crate) fn take_back(&mut self, block: &brigade_data_block) -> Option<DataBlock<'_>> {
        let number = block.slot as usize;
        let serial = self.serials.get_mut(number)?;
        if *serial != block.serial {
            return None;
        }
        *serial += 1;
        self.end.as_ref()?.lent(number)
    }
}
