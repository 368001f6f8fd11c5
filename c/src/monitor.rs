//! The handle on a session for other threads.
#![allow(unsafe_code, reason = "functions are exported by their names")]

use std::ffi::{c_char, c_int};
use std::mem::MaybeUninit;

use engine::Monitor;

use crate::foreign;
use crate::held::{self, Object, Opaque, look, place};
use crate::numbers::{BRIGADE_FIGURES, BRIGADE_OK};
use crate::status::{guard, misuse};
use crate::types::brigade_delivered;
use crate::wait::Wait;

pub struct brigade_monitor {
    object: Object<()>,
    monitor: Monitor,
}

impl Opaque for brigade_monitor {
    type Inside = ();

    fn object(&self) -> &Object<()> {
        &self.object
    }
}

impl brigade_monitor {
    pub(crate) fn boxed(monitor: Monitor) -> Option<Box<brigade_monitor>> {
        let object = Object::new(());
        Some(Box::new(brigade_monitor { object, monitor }))
    }
}

/// How far a session has come.
#[repr(C)]
pub struct brigade_progress {
    pub delivered: brigade_delivered,
    pub blocks_under_way: u64,
    pub waited_ns: u64,
    pub figures: [u64; BRIGADE_FIGURES],
    pub partner_figures: [u64; BRIGADE_FIGURES],
}

impl brigade_progress {
    const NONE: brigade_progress = brigade_progress {
        delivered: brigade_delivered::NONE,
        blocks_under_way: 0,
        waited_ns: 0,
        figures: [0; BRIGADE_FIGURES],
        partner_figures: [0; BRIGADE_FIGURES],
    };
}

#[unsafe(no_mangle)]
pub extern "C" fn brigade_monitor_free(monitor: Option<Box<brigade_monitor>>) {
    held::free(monitor);
}

#[unsafe(no_mangle)]
pub extern "C" fn brigade_monitor_abort(
    monitor: Option<&brigade_monitor>,
    code: u32,
    reason: *const c_char,
) -> c_int {
    guard(|| {
        let reason = foreign::text(reason, "NULL in place of a reason")?;
        look(monitor)?.monitor.abort_with(code, reason);
        Ok(BRIGADE_OK)
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn brigade_monitor_watch(
    monitor: Option<&brigade_monitor>,
    timeout_ms: i64,
) -> c_int {
    guard(|| {
        let monitor = &look(monitor)?.monitor;
        match Wait::for_ms(timeout_ms) {
            Wait::Forever => monitor.watch()?,
            Wait::Until(deadline) => monitor.watch_until(deadline)?,
            Wait::Not => monitor.watch_until(std::time::Instant::now())?,
        }
        Ok(BRIGADE_OK)
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn brigade_monitor_progress(
    monitor: Option<&brigade_monitor>,
    progress: Option<&mut MaybeUninit<brigade_progress>>,
) -> c_int {
    guard(|| {
        let progress = place(progress, brigade_progress::NONE)?;
        let monitor = &look(monitor)?.monitor;
        *progress = brigade_progress {
            delivered: monitor.delivered().into(),
            blocks_under_way: monitor.blocks_under_way(),
            waited_ns: monitor.waited().as_nanos().try_into().unwrap_or(u64::MAX),
            figures: monitor.figures(),
            partner_figures: monitor.partner_figures(),
        };
        Ok(BRIGADE_OK)
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn brigade_monitor_set_figure(
    monitor: Option<&brigade_monitor>,
    index: usize,
    value: u64,
) -> c_int {
    guard(|| {
        let monitor = &look(monitor)?.monitor;
        if index >= BRIGADE_FIGURES {
            return Err(misuse("there is no such figure"));
        }
        monitor.set_figure(index, value);
        Ok(BRIGADE_OK)
    })
}
