//! What a call comes to: a number, and for a failure a record that the thread keeps until its
//! next one.
#![allow(unsafe_code, reason = "functions are exported by their names")]

use std::any::Any;
use std::cell::RefCell;
use std::ffi::{CString, c_char, c_int};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;

use engine::{Delivered, Error, Partner, Refusal};

use crate::numbers::{BRIGADE_DEFECT, BRIGADE_OK};
use crate::types::brigade_delivered;

/// What the last failure of a thread was.
#[repr(C)]
pub struct brigade_error {
    pub code: c_int,
    pub text: *const c_char,
    pub reason: *const c_char,
    pub reason_code: u32,
    pub partner_process_id: u32,
    pub delivered: brigade_delivered,
    pub os_error: i32,
}

/// The record, and what it points to.
struct Kept {
    text: CString,
    reason: CString,
    error: brigade_error,
}

thread_local! {
    static LAST: RefCell<Option<Box<Kept>>> = const { RefCell::new(None) };
}

/// The number of a failure that is on record. Not the failure itself, which is large and has
/// to be dropped: nothing of that is on the way of a call that succeeds.
#[derive(Debug)]
pub(crate) struct Failed(c_int);

impl From<Error> for Failed {
    #[cold]
    #[inline(never)]
    fn from(error: Error) -> Failed {
        Failed(keep(&error))
    }
}

/// What the caller did wrong.
#[cold]
#[inline(never)]
pub(crate) fn misuse(text: &'static str) -> Failed {
    Error::InvalidUse(text).into()
}

/// Makes `call`, and turns what comes of it into a number. Nothing unwinds out of here.
#[inline(always)]
pub(crate) fn guard(call: impl FnOnce() -> Result<c_int, Failed>) -> c_int {
    let judged = || match call() {
        Ok(status) | Err(Failed(status)) => status,
    };
    match catch_unwind(AssertUnwindSafe(judged)) {
        Ok(status) => status,
        Err(panic) => keep_panic(&*panic),
    }
}

/// Makes `try_it`, which is as fast as can be and says whether it has done anything; `None` if
/// it has not: the caller goes the long way, by a `guard` of its own, as the last thing that it
/// does. So nothing has to be kept for after a call.
#[inline(always)]
pub(crate) fn guard_fast(try_it: impl FnOnce() -> bool) -> Option<c_int> {
    match catch_unwind(AssertUnwindSafe(try_it)) {
        Ok(true) => Some(BRIGADE_OK),
        Ok(false) => None,
        Err(panic) => Some(keep_panic(&*panic)),
    }
}

/// As [`guard`], for a call that gives `otherwise` if it fails.
pub(crate) fn guard_value<T>(otherwise: T, call: impl FnOnce() -> Result<T, Failed>) -> T {
    let mut value = otherwise;
    guard(|| {
        value = call()?;
        Ok(BRIGADE_OK)
    });
    value
}

fn keep(error: &Error) -> c_int {
    let mut kept = Kept::new(error.code(), &error.to_string());
    match error {
        Error::PartnerDied { partner, delivered } => kept.tell(partner, *delivered),
        Error::PartnerAborted {
            partner,
            code,
            reason,
            delivered,
        } => {
            kept.tell(partner, *delivered);
            kept.give_reason(*code, reason);
        }
        Error::ProtocolViolation {
            partner, delivered, ..
        } => kept.tell(partner, *delivered),
        Error::Aborted { code, reason } => kept.give_reason(*code, reason),
        Error::Os { source, .. } | Error::Unsupported { source, .. } => {
            kept.error.os_error = source.raw_os_error().unwrap_or(0);
        }
        Error::Refused {
            reason: Refusal::OtherProcess { process_id },
            ..
        } => kept.error.partner_process_id = *process_id,
        _ => {}
    }
    kept.store()
}

#[cold]
#[inline(never)]
fn keep_panic(panic: &(dyn Any + Send)) -> c_int {
    let text = match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(text), _) => text,
        (None, Some(text)) => text.as_str(),
        (None, None) => "it panicked",
    };
    Kept::new(BRIGADE_DEFECT, &format!("a defect of brigade: {text}")).store()
}

impl Kept {
    fn new(code: c_int, text: &str) -> Kept {
        Kept {
            text: c_string(text),
            reason: CString::default(),
            error: brigade_error {
                code,
                text: ptr::null(),
                reason: ptr::null(),
                reason_code: 0,
                partner_process_id: 0,
                delivered: brigade_delivered::NONE,
                os_error: 0,
            },
        }
    }

    fn tell(&mut self, partner: &Partner, delivered: Delivered) {
        self.error.partner_process_id = partner.process_id();
        self.error.delivered = delivered.into();
    }

    fn give_reason(&mut self, code: u32, reason: &str) {
        self.error.reason_code = code;
        self.reason = c_string(reason);
    }

    /// Keeps it for the thread; not in one that is just ending.
    fn store(self) -> c_int {
        let code = self.error.code;
        let mut kept = Box::new(self);
        kept.error.text = kept.text.as_ptr();
        kept.error.reason = kept.reason.as_ptr();
        let _ = LAST.try_with(|last| last.replace(Some(kept)));
        code
    }
}

/// `text` up to its first NUL, which no text of the library's has but what others gave it.
pub(crate) fn c_string(text: &str) -> CString {
    let whole = text.split('\0').next().unwrap_or_default();
    CString::new(whole).unwrap_or_default()
}

#[unsafe(no_mangle)]
pub extern "C" fn brigade_last_error() -> *const brigade_error {
    const NONE: &brigade_error = &brigade_error {
        code: BRIGADE_OK,
        text: c"".as_ptr(),
        reason: c"".as_ptr(),
        reason_code: 0,
        partner_process_id: 0,
        delivered: brigade_delivered::NONE,
        os_error: 0,
    };
    let of = |kept: &Kept| &raw const kept.error;
    let found = LAST.try_with(|last| last.borrow().as_deref().map(of));
    found.ok().flatten().unwrap_or(NONE)
}

#[cfg(test)]
#[allow(
    clippy::panic,
    unsafe_code,
    reason = "a test lets its own code panic, and reads the record as C does"
)]
mod tests {
    use super::*;
    use std::ffi::CStr;

    /// As C sees it.
    fn last() -> (c_int, String) {
        // SAFETY: the record of this thread, which has no failure meanwhile.
        let (code, text) = unsafe {
            let last = &*brigade_last_error();
            (last.code, CStr::from_ptr(last.text))
        };
        (code, text.to_string_lossy().into_owned())
    }

    #[test]
    fn what_panics_is_a_defect_and_does_not_unwind() {
        assert_eq!(last(), (BRIGADE_OK, String::new()));
        assert_eq!(guard(|| panic!("one of {}", 7)), BRIGADE_DEFECT);
        let text = "a defect of brigade: one of 7".into();
        assert_eq!(last(), (BRIGADE_DEFECT, text));
        assert_eq!(guard(|| Ok(BRIGADE_OK)), BRIGADE_OK);
        assert_eq!(last().0, BRIGADE_DEFECT);
        assert_eq!(guard(|| Err(misuse("so"))), Error::InvalidUse("").code());
        assert_eq!(last(), (Error::InvalidUse("").code(), "so".into()));
    }
}
