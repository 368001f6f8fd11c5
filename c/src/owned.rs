//! Blocks that any thread may have.
#![allow(unsafe_code, reason = "functions are exported by their names")]

use std::ffi::c_int;
use std::mem::MaybeUninit;

use engine::{Label, OwnedDataBlock, OwnedEmptyBlock};

use crate::held::{self, Object, Opaque, open, place};
use crate::numbers::BRIGADE_OK;
use crate::status::guard;
use crate::types::{brigade_data_block, brigade_empty_block};

/// Sent by then, if there is nothing in it.
pub struct brigade_owned_empty(Object<Option<OwnedEmptyBlock>>);

impl Opaque for brigade_owned_empty {
    type Inside = Option<OwnedEmptyBlock>;

    fn object(&self) -> &Object<Option<OwnedEmptyBlock>> {
        &self.0
    }
}

impl brigade_owned_empty {
    pub(crate) fn boxed(block: OwnedEmptyBlock) -> Option<Box<brigade_owned_empty>> {
        Some(Box::new(brigade_owned_empty(Object::new(Some(block)))))
    }
}

#[unsafe(no_mangle)]
pub extern "C" fn brigade_owned_empty_look(
    owned: Option<&brigade_owned_empty>,
    block: Option<&mut MaybeUninit<brigade_empty_block>>,
) -> c_int {
    guard(|| {
        let block = place(block, brigade_empty_block::NONE)?;
        if let Some(owned) = &mut *open(owned)? {
            (block.data, block.len) = (owned.as_mut_ptr(), owned.len());
        }
        Ok(BRIGADE_OK)
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn brigade_owned_empty_send(
    owned: Option<&mut Option<Box<brigade_owned_empty>>>,
    len: usize,
    tag: u64,
    kind: u16,
    more: c_int,
) -> c_int {
    guard(|| {
        let owned = held::take(owned)?;
        let more = more != 0;
        let label = Label { kind, tag, more };
        let block = open(Some(&*owned))?.take();
        block.map_or(Ok(()), |block| block.send_as(len, label))?;
        Ok(BRIGADE_OK)
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn brigade_owned_empty_free(owned: Option<Box<brigade_owned_empty>>) {
    held::free(owned);
}

pub struct brigade_owned_data(Object<OwnedDataBlock>);

impl Opaque for brigade_owned_data {
    type Inside = OwnedDataBlock;

    fn object(&self) -> &Object<OwnedDataBlock> {
        &self.0
    }
}

impl brigade_owned_data {
    pub(crate) fn boxed(block: OwnedDataBlock) -> Option<Box<brigade_owned_data>> {
        Some(Box::new(brigade_owned_data(Object::new(block))))
    }
}

#[unsafe(no_mangle)]
pub extern "C" fn brigade_owned_data_look(
    owned: Option<&brigade_owned_data>,
    block: Option<&mut MaybeUninit<brigade_data_block>>,
) -> c_int {
    guard(|| {
        let block = place(block, brigade_data_block::NONE)?;
        let owned = open(owned)?;
        *block = brigade_data_block::view(&owned, owned.label());
        Ok(BRIGADE_OK)
    })
}

#[unsafe(no_mangle)]
pub extern "C" fn brigade_owned_data_done(owned: Option<Box<brigade_owned_data>>) {
    held::free(owned);
}
