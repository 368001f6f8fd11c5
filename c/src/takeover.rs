//! Going on with another partner, once one is lost.
#![allow(unsafe_code, reason = "functions are exported by their names")]

use std::ffi::{c_char, c_int, c_void};
use std::mem::MaybeUninit;

use engine::{Reader, Survivor, Unreturned};

use crate::foreign;
use crate::held::{self, Object, Opaque, open, place};
use crate::numbers::BRIGADE_OK;
use crate::options::{Chosen, brigade_options};
use crate::reader::brigade_reader;
use crate::status::{Failed, guard, guard_value, misuse};
use crate::types::brigade_data_block;
use crate::writer::brigade_writer;

pub struct brigade_unreturned(Object<Unreturned>);

impl Opaque for brigade_unreturned {
    type Inside = Unreturned;

    fn object(&self) -> &Object<Unreturned> {
        &self.0
    }
}

impl brigade_unreturned {
    fn boxed(unreturned: Unreturned) -> Option<Box<brigade_unreturned>> {
        Some(Box::new(brigade_unreturned(Object::new(unreturned))))
    }
}

/// The Reader itself; blocks that C has are empty again.
fn end_of(reader: &brigade_reader) -> Result<Reader, Failed> {
    let mut held = open(Some(reader))?;
    held.take_all_back();
    held.take_end()
}

#[unsafe(no_mangle)]
pub extern "C" fn brigade_reader_into_unreturned(
    reader: Option<&mut Option<Box<brigade_reader>>>,
    unreturned: Option<&mut MaybeUninit<Option<Box<brigade_unreturned>>>>,
) -> c_int {
    guard(|| {
        let unreturned = place(unreturned, None)?;
        let reader = held::take(reader)?;
        let end = end_of(&reader)?;
        *unreturned = brigade_unreturned::boxed(end.into_unreturned()?);
        Ok(BRIGADE_OK)
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn brigade_reader_dismiss(
    reader: Option<&mut Option<Box<brigade_reader>>>,
    code: u32,
    reason: *const c_char,
    unreturned: Option<&mut MaybeUninit<Option<Box<brigade_unreturned>>>>,
) -> c_int {
    guard(|| {
        let unreturned = place(unreturned, None)?;
        let reason = foreign::text(reason, "NULL in place of a reason")?;
        let reader = held::take(reader)?;
        let end = end_of(&reader)?;
        *unreturned = brigade_unreturned::boxed(end.dismiss(code, reason)?);
        Ok(BRIGADE_OK)
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn brigade_unreturned_count(unreturned: Option<&brigade_unreturned>) -> usize {
    guard_value(0, || Ok(open(unreturned)?.len()))
}

#[unsafe(no_mangle)]
pub extern "C" fn brigade_unreturned_retain(
    unreturned: Option<&brigade_unreturned>,
    keep: Option<extern "C" fn(context: *mut c_void, block: *const brigade_data_block) -> c_int>,
    context: *mut c_void,
) -> c_int {
    guard(|| {
        let keep = keep.ok_or_else(|| misuse("NULL in place of a function"))?;
        open(unreturned)?.retain(|label, bytes| {
            let view = brigade_data_block::view(bytes, label);
            keep(context, &raw const view) != 0
        });
        Ok(BRIGADE_OK)
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn brigade_unreturned_is_closed(unreturned: Option<&brigade_unreturned>) -> c_int {
    guard_value(0, || Ok(open(unreturned)?.is_closed().into()))
}

#[unsafe(no_mangle)]
pub extern "C" fn brigade_unreturned_reopen(unreturned: Option<&brigade_unreturned>) -> c_int {
    guard(|| {
        open(unreturned)?.reopen();
        Ok(BRIGADE_OK)
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn brigade_unreturned_rejoin(
    unreturned: Option<&brigade_unreturned>,
    name: *const c_char,
    options: Option<&brigade_options>,
    reader: Option<&mut MaybeUninit<Option<Box<brigade_reader>>>>,
) -> c_int {
    guard(|| {
        let reader = place(reader, None)?;
        let name = foreign::text(name, "NULL in place of a name")?;
        let chosen = Chosen::of(options)?;
        let end = open(unreturned)?.rejoin(name, &chosen.options())?;
        *reader = brigade_reader::boxed(end);
        Ok(BRIGADE_OK)
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn brigade_unreturned_free(unreturned: Option<Box<brigade_unreturned>>) {
    held::free(unreturned);
}

pub struct brigade_survivor(Object<Survivor>);

impl Opaque for brigade_survivor {
    type Inside = Survivor;

    fn object(&self) -> &Object<Survivor> {
        &self.0
    }
}

impl brigade_survivor {
    fn boxed(survivor: Survivor) -> Option<Box<brigade_survivor>> {
        Some(Box::new(brigade_survivor(Object::new(survivor))))
    }
}

#[unsafe(no_mangle)]
pub extern "C" fn brigade_writer_into_survivor(
    writer: Option<&mut Option<Box<brigade_writer>>>,
    survivor: Option<&mut MaybeUninit<Option<Box<brigade_survivor>>>>,
) -> c_int {
    guard(|| {
        let survivor = place(survivor, None)?;
        let writer = held::take(writer)?;
        let end = open(Some(&*writer))?.take_end()?;
        *survivor = brigade_survivor::boxed(end.into_survivor()?);
        Ok(BRIGADE_OK)
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn brigade_writer_dismiss(
    writer: Option<&mut Option<Box<brigade_writer>>>,
    code: u32,
    reason: *const c_char,
    survivor: Option<&mut MaybeUninit<Option<Box<brigade_survivor>>>>,
) -> c_int {
    guard(|| {
        let survivor = place(survivor, None)?;
        let reason = foreign::text(reason, "NULL in place of a reason")?;
        let writer = held::take(writer)?;
        let end = open(Some(&*writer))?.take_end()?;
        *survivor = brigade_survivor::boxed(end.dismiss(code, reason)?);
        Ok(BRIGADE_OK)
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn brigade_survivor_rejoin(
    survivor: Option<&brigade_survivor>,
    name: *const c_char,
    options: Option<&brigade_options>,
    writer: Option<&mut MaybeUninit<Option<Box<brigade_writer>>>>,
) -> c_int {
    guard(|| {
        let writer = place(writer, None)?;
        let name = foreign::text(name, "NULL in place of a name")?;
        let chosen = Chosen::of(options)?;
        let end = open(survivor)?.rejoin(name, &chosen.options())?;
        *writer = brigade_writer::boxed(end);
        Ok(BRIGADE_OK)
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn brigade_survivor_free(survivor: Option<Box<brigade_survivor>>) {
    held::free(survivor);
}
