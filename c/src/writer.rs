//! The end that drains blocks.
#![allow(unsafe_code, reason = "functions are exported by their names")]

use std::ffi::{c_char, c_int};
use std::mem::MaybeUninit;
use std::ptr;

use engine::{DataBlock, Error, Writer};

use crate::foreign;
use crate::held::{self, Held, Object, Opaque, open, place};
use crate::monitor::brigade_monitor;
use crate::numbers::{BRIGADE_END, BRIGADE_OK};
use crate::owned::brigade_owned_data;
use crate::partner::brigade_partner;
use crate::status::{Failed, guard, guard_fast, guard_value, misuse};
use crate::types::{brigade_data_block, brigade_delivered, brigade_letter};
use crate::wait::{self, Wait, brigade_handle};

pub struct brigade_writer(Object<Held<Writer>>);

impl Opaque for brigade_writer {
    type Inside = Held<Writer>;

    #[inline(always)]
    fn object(&self) -> &Object<Held<Writer>> {
        &self.0
    }
}

impl brigade_writer {
    pub(crate) fn boxed(writer: Writer) -> Option<Box<brigade_writer>> {
        let block_count = writer.block_count();
        Some(Box::new(brigade_writer(Object::new(Held::new(
            writer,
            block_count,
        )))))
    }
}

#[unsafe(no_mangle)]
pub extern "C" fn brigade_writer_free(writer: Option<Box<brigade_writer>>) {
    held::free(writer);
}

#[unsafe(no_mangle)]
pub extern "C" fn brigade_writer_partner(
    writer: Option<&brigade_writer>,
    partner: Option<&mut MaybeUninit<brigade_partner>>,
) -> c_int {
    guard(|| {
        let partner = place(partner, brigade_partner::NONE)?;
        let held = open(writer)?;
        *partner = brigade_partner::of(held.end()?.partner(), &held.user);
        Ok(BRIGADE_OK)
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn brigade_writer_epoch(writer: Option<&brigade_writer>) -> u64 {
    guard_value(0, || Ok(open(writer)?.end()?.epoch()))
}

#[unsafe(no_mangle)]
pub extern "C" fn brigade_writer_block_size(writer: Option<&brigade_writer>) -> usize {
    guard_value(0, || Ok(open(writer)?.end()?.block_size()))
}

#[unsafe(no_mangle)]
pub extern "C" fn brigade_writer_block_count(writer: Option<&brigade_writer>) -> usize {
    guard_value(0, || Ok(open(writer)?.end()?.block_count()))
}

#[unsafe(no_mangle)]
pub extern "C" fn brigade_writer_delivered(
    writer: Option<&brigade_writer>,
    delivered: Option<&mut MaybeUninit<brigade_delivered>>,
) -> c_int {
    guard(|| {
        let delivered = place(delivered, brigade_delivered::NONE)?;
        *delivered = open(writer)?.end()?.delivered().into();
        Ok(BRIGADE_OK)
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn brigade_writer_monitor(
    writer: Option<&brigade_writer>,
    monitor: Option<&mut MaybeUninit<Option<Box<brigade_monitor>>>>,
) -> c_int {
    guard(|| {
        let monitor = place(monitor, None)?;
        *monitor = brigade_monitor::boxed(open(writer)?.end()?.monitor());
        Ok(BRIGADE_OK)
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn brigade_writer_data_block(
    writer: Option<&brigade_writer>,
    timeout_ms: i64,
    block: Option<&mut MaybeUninit<brigade_data_block>>,
) -> c_int {
    let Some(block) = block else {
        return no_block(writer);
    };
    let take = || {
        let lent = held::briefly(writer, |held| {
            let token = held.present_end()?.data_block_at_hand()?;
            Some(held.lend(token))
        });
        lent.flatten().map(|lent| block.write(lent)).is_some()
    };
    match guard_fast(take) {
        Some(status) => status,
        None => wait_for_data_block(writer, timeout_ms, block),
    }
}

#[cold]
#[inline(never)]
fn no_block(writer: Option<&brigade_writer>) -> c_int {
    guard(|| Err(held::why_not(writer)))
}

#[cold]
#[inline(never)]
fn wait_for_data_block(
    writer: Option<&brigade_writer>,
    timeout_ms: i64,
    block: &mut MaybeUninit<brigade_data_block>,
) -> c_int {
    guard(|| {
        let block = block.write(brigade_data_block::NONE);
        let held = open(writer)?;
        let writer = held.end()?;
        let token = match Wait::for_ms(timeout_ms) {
            Wait::Forever => writer.data_block()?,
            Wait::Until(deadline) => writer.data_block_until(deadline)?,
            Wait::Not => writer.try_data_block()?,
        };
        match token {
            Some(token) => *block = held.lend(token),
            None => return nothing(writer),
        }
        Ok(BRIGADE_OK)
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn brigade_writer_newest_block(
    writer: Option<&brigade_writer>,
    timeout_ms: i64,
    block: Option<&mut MaybeUninit<brigade_data_block>>,
    skipped: Option<&mut MaybeUninit<usize>>,
) -> c_int {
    guard(|| {
        let block = place(block, brigade_data_block::NONE)?;
        let skipped = place(skipped, 0)?;
        let held = open(writer)?;
        let writer = held.end()?;
        let newest = match Wait::for_ms(timeout_ms) {
            Wait::Forever => writer.newest_block()?,
            Wait::Until(deadline) => writer.newest_block_until(deadline)?,
            Wait::Not => writer.try_newest_block()?,
        };
        match newest {
            Some(newest) => {
                *block = held.lend(newest.block);
                *skipped = newest.skipped;
            }
            None => return nothing(writer),
        }
        Ok(BRIGADE_OK)
    })
}

/// Why there is no block: the end of the data, or a wait that is over.
#[cold]
#[inline(never)]
fn nothing(writer: &Writer) -> Result<c_int, Failed> {
    match writer.at_end() {
        true => Ok(BRIGADE_END),
        false => Err(Error::TimedOut.into()),
    }
}

/// Lets `use_it` use up a block that C has, and that it has no more.
#[inline(always)]
fn spend<R>(
    writer: Option<&brigade_writer>,
    block: Option<&mut brigade_data_block>,
    use_it: impl FnOnce(DataBlock<'_>) -> R,
) -> Result<R, Failed> {
    let Some(block) = block else {
        return Err(held::why_not(writer));
    };
    let used = held::briefly(writer, |held| held.take_back(block).map(use_it));
    match used {
        Some(Some(used)) => {
            block.data = ptr::null();
            Ok(used)
        }
        Some(None) => Err(misuse(held::NOT_OURS)),
        None => Err(held::why_not(writer)),
    }
}

#[unsafe(no_mangle)]
pub extern "C" fn brigade_writer_done(
    writer: Option<&brigade_writer>,
    block: Option<&mut brigade_data_block>,
) -> c_int {
    let Some(block) = block else {
        return no_block(writer);
    };
    let give_back = || {
        let is_done = held::briefly(writer, |held| held.done(block)) == Some(true);
        if is_done {
            block.data = ptr::null();
        }
        is_done
    };
    match guard_fast(give_back) {
        Some(status) => status,
        None => why_not_done(writer, block),
    }
}

#[cold]
#[inline(never)]
fn why_not_done(writer: Option<&brigade_writer>, block: &mut brigade_data_block) -> c_int {
    guard(|| {
        spend(writer, Some(block), |token| token.done())?;
        Ok(BRIGADE_OK)
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn brigade_writer_detach(
    writer: Option<&brigade_writer>,
    block: Option<&mut brigade_data_block>,
    owned: Option<&mut MaybeUninit<Option<Box<brigade_owned_data>>>>,
) -> c_int {
    guard(|| {
        let owned = place(owned, None)?;
        let detached = spend(writer, block, |token| token.detach())?;
        *owned = brigade_owned_data::boxed(detached);
        Ok(BRIGADE_OK)
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn brigade_writer_finish(
    writer: Option<&brigade_writer>,
    delivered: Option<&mut MaybeUninit<brigade_delivered>>,
) -> c_int {
    guard(|| {
        let found = open(writer)?.end()?.finish()?;
        // Who only wants to know that it is good needs no place for it.
        if let Some(delivered) = delivered {
            delivered.write(found.into());
        }
        Ok(BRIGADE_OK)
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn brigade_writer_check(writer: Option<&brigade_writer>) -> c_int {
    guard(|| {
        open(writer)?.end()?.check()?;
        Ok(BRIGADE_OK)
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn brigade_writer_abort(
    writer: Option<&brigade_writer>,
    code: u32,
    reason: *const c_char,
) -> c_int {
    guard(|| {
        let reason = foreign::text(reason, "NULL in place of a reason")?;
        // The end stays, to be freed: so it is not the library's `abort`, which drops it.
        open(writer)?.end()?.monitor().abort_with(code, reason);
        Ok(BRIGADE_OK)
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn brigade_writer_arm(
    writer: Option<&brigade_writer>,
    interests: c_int,
    is_armed: Option<&mut MaybeUninit<c_int>>,
) -> c_int {
    guard(|| {
        let is_armed = place(is_armed, 0)?;
        let interest = wait::interest(interests)?;
        *is_armed = open(writer)?.end()?.arm(interest)?.into();
        Ok(BRIGADE_OK)
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn brigade_writer_disarm(writer: Option<&brigade_writer>) -> c_int {
    guard(|| {
        open(writer)?.end()?.disarm()?;
        Ok(BRIGADE_OK)
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn brigade_writer_handle(
    writer: Option<&brigade_writer>,
    handle: Option<&mut MaybeUninit<brigade_handle>>,
) -> c_int {
    guard(|| {
        let handle = place(handle, wait::NO_HANDLE)?;
        *handle = wait::raw(open(writer)?.end()?.handle()?);
        Ok(BRIGADE_OK)
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn brigade_writer_post(
    writer: Option<&brigade_writer>,
    timeout_ms: i64,
    kind: u16,
    bytes: *const u8,
    len: usize,
) -> c_int {
    guard(|| {
        let bytes = foreign::bytes(bytes, len)?;
        let held = open(writer)?;
        let end = held.end()?;
        match Wait::for_ms(timeout_ms) {
            Wait::Forever => end.post(kind, bytes)?,
            Wait::Until(deadline) => end.post_until(kind, bytes, deadline)?,
            Wait::Not => match end.try_post(kind, bytes)? {
                true => {}
                false => return Err(Error::TimedOut.into()),
            },
        }
        Ok(BRIGADE_OK)
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn brigade_writer_letter(
    writer: Option<&brigade_writer>,
    timeout_ms: i64,
    letter: Option<&mut MaybeUninit<brigade_letter>>,
) -> c_int {
    guard(|| {
        let letter = place(letter, brigade_letter::NONE)?;
        let held = open(writer)?;
        let end = held.end()?;
        let found = match Wait::for_ms(timeout_ms) {
            Wait::Forever => end.letter()?,
            Wait::Until(deadline) => end.letter_until(deadline)?,
            Wait::Not => end.try_letter()?,
        };
        match found {
            Some(found) => *letter = found.into(),
            None if end.have_letters_ended() => return Ok(BRIGADE_END),
            None => return Err(Error::TimedOut.into()),
        }
        Ok(BRIGADE_OK)
    })
}
