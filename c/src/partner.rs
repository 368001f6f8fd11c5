//! Who is at the other end.

use std::cell::OnceCell;
use std::ffi::{CString, c_char, c_int};
use std::ptr;

use engine::{Partner, Side};

use crate::numbers::{BRIGADE_ANY_SIDE, BRIGADE_READER, BRIGADE_WRITER};
use crate::status::c_string;

#[repr(C)]
pub struct brigade_partner {
    pub side: c_int,
    pub process_id: u32,
    pub is_own_user: c_int,
    pub user_id: i64,
    pub user: *const c_char,
    pub greeting: *const u8,
    pub greeting_len: usize,
}

impl brigade_partner {
    pub(crate) const NONE: brigade_partner = brigade_partner {
        side: BRIGADE_ANY_SIDE,
        process_id: 0,
        is_own_user: 0,
        user_id: -1,
        user: ptr::null(),
        greeting: ptr::null(),
        greeting_len: 0,
    };

    /// What it points to is kept by the end: `partner` there, and `user` beside it.
    pub(crate) fn of(partner: &Partner, user: &OnceCell<CString>) -> brigade_partner {
        brigade_partner {
            side: side(partner.side()),
            process_id: partner.process_id(),
            is_own_user: partner.is_own_user().into(),
            user_id: partner.user_id().map_or(-1, i64::from),
            user: user.get_or_init(|| c_string(&partner.user())).as_ptr(),
            greeting: partner.greeting().as_ptr(),
            greeting_len: partner.greeting().len(),
        }
    }
}

pub(crate) fn side(side: Side) -> c_int {
    match side {
        Side::Reader => BRIGADE_READER,
        Side::Writer => BRIGADE_WRITER,
    }
}
