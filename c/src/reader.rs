//! The end that fills blocks.
#![allow(unsafe_code, reason = "functions are exported by their names")]

use std::ffi::{c_char, c_int};
use std::mem::MaybeUninit;
use std::ptr;

use engine::{EmptyBlock, Error, Reader};

use crate::foreign;
use crate::held::{self, Held, Object, Opaque, open, place};
use crate::monitor::brigade_monitor;
use crate::numbers::{BRIGADE_END, BRIGADE_OK};
use crate::owned::brigade_owned_empty;
use crate::partner::brigade_partner;
use crate::status::{Failed, guard, guard_fast, guard_value, misuse};
use crate::types::{brigade_delivered, brigade_empty_block, brigade_letter};
use crate::wait::{self, Wait, brigade_handle};

pub struct brigade_reader(Object<Held<Reader>>);

impl Opaque for brigade_reader {
    type Inside = Held<Reader>;

    #[inline(always)]
    fn object(&self) -> &Object<Held<Reader>> {
        &self.0
    }
}

impl brigade_reader {
    pub(crate) fn boxed(reader: Reader) -> Option<Box<brigade_reader>> {
        let block_count = reader.block_count();
        Some(Box::new(brigade_reader(Object::new(Held::new(
            reader,
            block_count,
        )))))
    }
}

#[unsafe(no_mangle)]
pub extern "C" fn brigade_reader_free(reader: Option<Box<brigade_reader>>) {
    held::free(reader);
}

#[unsafe(no_mangle)]
pub extern "C" fn brigade_reader_partner(
    reader: Option<&brigade_reader>,
    partner: Option<&mut MaybeUninit<brigade_partner>>,
) -> c_int {
    guard(|| {
        let partner = place(partner, brigade_partner::NONE)?;
        let held = open(reader)?;
        *partner = brigade_partner::of(held.end()?.partner(), &held.user);
        Ok(BRIGADE_OK)
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn brigade_reader_epoch(reader: Option<&brigade_reader>) -> u64 {
    guard_value(0, || Ok(open(reader)?.end()?.epoch()))
}

#[unsafe(no_mangle)]
pub extern "C" fn brigade_reader_block_size(reader: Option<&brigade_reader>) -> usize {
    guard_value(0, || Ok(open(reader)?.end()?.block_size()))
}

#[unsafe(no_mangle)]
pub extern "C" fn brigade_reader_block_count(reader: Option<&brigade_reader>) -> usize {
    guard_value(0, || Ok(open(reader)?.end()?.block_count()))
}

#[unsafe(no_mangle)]
pub extern "C" fn brigade_reader_delivered(
    reader: Option<&brigade_reader>,
    delivered: Option<&mut MaybeUninit<brigade_delivered>>,
) -> c_int {
    guard(|| {
        let delivered = place(delivered, brigade_delivered::NONE)?;
        *delivered = open(reader)?.end()?.delivered().into();
        Ok(BRIGADE_OK)
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn brigade_reader_monitor(
    reader: Option<&brigade_reader>,
    monitor: Option<&mut MaybeUninit<Option<Box<brigade_monitor>>>>,
) -> c_int {
    guard(|| {
        let monitor = place(monitor, None)?;
        *monitor = brigade_monitor::boxed(open(reader)?.end()?.monitor());
        Ok(BRIGADE_OK)
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn brigade_reader_empty_block(
    reader: Option<&brigade_reader>,
    timeout_ms: i64,
    block: Option<&mut MaybeUninit<brigade_empty_block>>,
) -> c_int {
    let Some(block) = block else {
        return no_block(reader);
    };
    let take = || {
        let lent = held::briefly(reader, |held| {
            let token = held.present_end()?.empty_block_at_hand()?;
            Some(held.lend(token))
        });
        lent.flatten().map(|lent| block.write(lent)).is_some()
    };
    match guard_fast(take) {
        Some(status) => status,
        None => wait_for_empty_block(reader, timeout_ms, block),
    }
}

#[cold]
#[inline(never)]
fn no_block(reader: Option<&brigade_reader>) -> c_int {
    guard(|| Err(held::why_not(reader)))
}

#[cold]
#[inline(never)]
fn wait_for_empty_block(
    reader: Option<&brigade_reader>,
    timeout_ms: i64,
    block: &mut MaybeUninit<brigade_empty_block>,
) -> c_int {
    guard(|| {
        let block = block.write(brigade_empty_block::NONE);
        let held = open(reader)?;
        let reader = held.end()?;
        let token = match Wait::for_ms(timeout_ms) {
            Wait::Forever => reader.empty_block()?,
            Wait::Until(deadline) => reader.empty_block_until(deadline)?,
            Wait::Not => reader.try_empty_block()?.ok_or(Error::TimedOut)?,
        };
        *block = held.lend(token);
        Ok(BRIGADE_OK)
    })
}

/// Lets `use_it` use up a block that C has, and that it has no more.
#[inline(always)]
fn spend<R>(
    reader: Option<&brigade_reader>,
    block: Option<&mut brigade_empty_block>,
    use_it: impl FnOnce(EmptyBlock<'_>) -> R,
) -> Result<R, Failed> {
    let Some(block) = block else {
        return Err(held::why_not(reader));
    };
    let used = held::briefly(reader, |held| held.take_back(block).map(use_it));
    match used {
        Some(Some(used)) => {
            block.data = ptr::null_mut();
            Ok(used)
        }
        Some(None) => Err(misuse(held::NOT_OURS)),
        None => Err(held::why_not(reader)),
    }
}

#[unsafe(no_mangle)]
pub extern "C" fn brigade_reader_send(
    reader: Option<&brigade_reader>,
    block: Option<&mut brigade_empty_block>,
    len: usize,
) -> c_int {
    let Some(block) = block else {
        return no_block(reader);
    };
    let send = || {
        let is_sent = held::briefly(reader, |held| held.send(block, len)) == Some(true);
        if is_sent {
            block.data = ptr::null_mut();
        }
        is_sent
    };
    match guard_fast(send) {
        Some(status) => status,
        None => send_or_find_why_not(reader, block, len),
    }
}

#[cold]
#[inline(never)]
fn send_or_find_why_not(
    reader: Option<&brigade_reader>,
    block: &mut brigade_empty_block,
    len: usize,
) -> c_int {
    let label = block.label();
    guard(|| {
        let send = |token: EmptyBlock<'_>| token.send_as(len, label).map_err(Failed::from);
        spend(reader, Some(block), send)??;
        Ok(BRIGADE_OK)
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn brigade_reader_give_back(
    reader: Option<&brigade_reader>,
    block: Option<&mut brigade_empty_block>,
) -> c_int {
    guard(|| {
        spend(reader, block, |token| drop(token))?;
        Ok(BRIGADE_OK)
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn brigade_reader_detach(
    reader: Option<&brigade_reader>,
    block: Option<&mut brigade_empty_block>,
    owned: Option<&mut MaybeUninit<Option<Box<brigade_owned_empty>>>>,
) -> c_int {
    guard(|| {
        let owned = place(owned, None)?;
        let detached = spend(reader, block, |token| token.detach())?;
        *owned = brigade_owned_empty::boxed(detached);
        Ok(BRIGADE_OK)
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn brigade_reader_close(reader: Option<&brigade_reader>) -> c_int {
    guard(|| {
        open(reader)?.end()?.close()?;
        Ok(BRIGADE_OK)
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn brigade_reader_verdict(
    reader: Option<&brigade_reader>,
    timeout_ms: i64,
    delivered: Option<&mut MaybeUninit<brigade_delivered>>,
) -> c_int {
    guard(|| {
        let held = open(reader)?;
        let reader = held.end()?;
        let found = match Wait::for_ms(timeout_ms) {
            Wait::Forever => reader.verdict(),
            Wait::Until(deadline) => reader.verdict_until(deadline),
            Wait::Not => reader
                .try_verdict()
                .and_then(|found| found.ok_or(Error::TimedOut)),
        }?;
        // Who only wants to know that it is good needs no place for it.
        if let Some(delivered) = delivered {
            delivered.write(found.into());
        }
        Ok(BRIGADE_OK)
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn brigade_reader_finish(
    reader: Option<&brigade_reader>,
    timeout_ms: i64,
    delivered: Option<&mut MaybeUninit<brigade_delivered>>,
) -> c_int {
    match brigade_reader_close(reader) {
        BRIGADE_OK => brigade_reader_verdict(reader, timeout_ms, delivered),
        failure => failure,
    }
}

#[unsafe(no_mangle)]
pub extern "C" fn brigade_reader_check(reader: Option<&brigade_reader>) -> c_int {
    guard(|| {
        open(reader)?.end()?.check()?;
        Ok(BRIGADE_OK)
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn brigade_reader_abort(
    reader: Option<&brigade_reader>,
    code: u32,
    reason: *const c_char,
) -> c_int {
    guard(|| {
        let reason = foreign::text(reason, "NULL in place of a reason")?;
        // The end stays, to be freed: so it is not the library's `abort`, which drops it.
        open(reader)?.end()?.monitor().abort_with(code, reason);
        Ok(BRIGADE_OK)
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn brigade_reader_arm(
    reader: Option<&brigade_reader>,
    interests: c_int,
    is_armed: Option<&mut MaybeUninit<c_int>>,
) -> c_int {
    guard(|| {
        let is_armed = place(is_armed, 0)?;
        let interest = wait::interest(interests)?;
        *is_armed = open(reader)?.end()?.arm(interest)?.into();
        Ok(BRIGADE_OK)
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn brigade_reader_disarm(reader: Option<&brigade_reader>) -> c_int {
    guard(|| {
        open(reader)?.end()?.disarm()?;
        Ok(BRIGADE_OK)
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn brigade_reader_handle(
    reader: Option<&brigade_reader>,
    handle: Option<&mut MaybeUninit<brigade_handle>>,
) -> c_int {
    guard(|| {
        let handle = place(handle, wait::NO_HANDLE)?;
        *handle = wait::raw(open(reader)?.end()?.handle()?);
        Ok(BRIGADE_OK)
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn brigade_reader_post(
    reader: Option<&brigade_reader>,
    timeout_ms: i64,
    kind: u16,
    bytes: *const u8,
    len: usize,
) -> c_int {
    guard(|| {
        let bytes = foreign::bytes(bytes, len)?;
        let held = open(reader)?;
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
pub extern "C" fn brigade_reader_letter(
    reader: Option<&brigade_reader>,
    timeout_ms: i64,
    letter: Option<&mut MaybeUninit<brigade_letter>>,
) -> c_int {
    guard(|| {
        let letter = place(letter, brigade_letter::NONE)?;
        let held = open(reader)?;
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
