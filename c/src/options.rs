//! How to join.
#![allow(unsafe_code, reason = "functions are exported by their names")]

use std::ffi::{c_char, c_int};
use std::mem;
use std::time::Duration;

use engine::{Error, Options, Side};

use crate::foreign;
use crate::held::{self, Object, Opaque, open};
use crate::numbers::{BRIGADE_ANY_SIDE, BRIGADE_OK, BRIGADE_READER, BRIGADE_WRITER};
use crate::status::{Failed, guard};
use crate::wait;

/// What a caller has chosen.
#[derive(Clone, Default)]
pub(crate) struct Chosen {
    rest: Options,
    /// What can be taken back, is told last.
    pub(crate) side: Option<Side>,
    wait: Option<Duration>,
    takeover: Option<Duration>,
}

impl Chosen {
    /// What was chosen; without options, the defaults.
    pub(crate) fn of(options: Option<&brigade_options>) -> Result<Chosen, Failed> {
        match options {
            None => Ok(Chosen::default()),
            some => Ok(open(some)?.clone()),
        }
    }

    pub(crate) fn options(&self) -> Options {
        let options = self.rest.clone();
        let options = self.side.iter().fold(options, |o, side| o.side(*side));
        let options = self.wait.iter().fold(options, |o, limit| o.wait(*limit));
        let takeover = self.takeover.iter();
        takeover.fold(options, |o, limit| o.takeover(*limit))
    }

    fn change(&mut self, change: impl FnOnce(Options) -> Options) {
        self.rest = change(mem::take(&mut self.rest));
    }
}

pub struct brigade_options(Object<Chosen>);

impl Opaque for brigade_options {
    type Inside = Chosen;

    fn object(&self) -> &Object<Chosen> {
        &self.0
    }
}

fn change(
    options: Option<&brigade_options>,
    change: impl FnOnce(&mut Chosen) -> Result<(), Failed>,
) -> c_int {
    guard(|| {
        change(&mut *open(options)?)?;
        Ok(BRIGADE_OK)
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn brigade_options_new() -> Option<Box<brigade_options>> {
    Some(Box::new(brigade_options(Object::new(Chosen::default()))))
}

#[unsafe(no_mangle)]
pub extern "C" fn brigade_options_free(options: Option<Box<brigade_options>>) {
    held::free(options);
}

#[unsafe(no_mangle)]
pub extern "C" fn brigade_options_blocks(
    options: Option<&brigade_options>,
    size: usize,
    count: usize,
) -> c_int {
    change(options, |chosen| {
        chosen.change(|options| options.block_size(size).block_count(count));
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn brigade_options_side(options: Option<&brigade_options>, side: c_int) -> c_int {
    change(options, |chosen| {
        chosen.side = match side {
            BRIGADE_ANY_SIDE => None,
            BRIGADE_READER => Some(Side::Reader),
            BRIGADE_WRITER => Some(Side::Writer),
            _ => return Err(Error::InvalidOption("there is no such side".into()).into()),
        };
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn brigade_options_wait(
    options: Option<&brigade_options>,
    timeout_ms: i64,
) -> c_int {
    change(options, |chosen| {
        chosen.wait = wait::limit(timeout_ms);
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn brigade_options_greeting(
    options: Option<&brigade_options>,
    bytes: *const u8,
    len: usize,
) -> c_int {
    change(options, |chosen| {
        let bytes = foreign::bytes(bytes, len)?;
        chosen.change(|options| options.greeting(bytes));
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn brigade_options_allow_user(
    options: Option<&brigade_options>,
    user: *const c_char,
) -> c_int {
    change(options, |chosen| {
        let user = foreign::text(user, "NULL in place of a user")?;
        chosen.change(|options| options.allow_user(user));
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn brigade_options_expect_process(
    options: Option<&brigade_options>,
    process_id: u32,
) -> c_int {
    change(options, |chosen| {
        chosen.change(|options| options.expect_process(process_id));
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn brigade_options_takeover(
    options: Option<&brigade_options>,
    limit_ms: i64,
) -> c_int {
    change(options, |chosen| {
        chosen.takeover = Some(wait::limit(limit_ms).unwrap_or(Duration::MAX));
        Ok(())
    })
}
