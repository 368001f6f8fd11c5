//! What the caller sees the inside of, and the numbers that it compares.

use engine::{Delivered, Label};

use crate::numbers::BRIGADE_LETTER_MAX;

/// A block to be filled. All of it is plain data: any bytes are a value.
#[repr(C)]
pub struct brigade_empty_block {
    pub data: *mut u8,
    pub len: usize,
    pub tag: u64,
    pub kind: u16,
    pub more: u8,
    pub reserved: [u8; 1],
    pub slot: u32,
    pub serial: u64,
}

/// A filled block.
#[repr(C)]
pub struct brigade_data_block {
    pub data: *const u8,
    pub len: usize,
    pub tag: u64,
    pub kind: u16,
    pub more: u8,
    pub reserved: [u8; 1],
    pub slot: u32,
    pub serial: u64,
}

impl brigade_empty_block {
    pub(crate) const NONE: brigade_empty_block = brigade_empty_block {
        data: std::ptr::null_mut(),
        len: 0,
        tag: 0,
        kind: 0,
        more: 0,
        reserved: [0; 1],
        slot: 0,
        serial: 0,
    };

    #[inline(always)]
    pub(crate) fn label(&self) -> Label {
        Label {
            kind: self.kind,
            tag: self.tag,
            more: self.more != 0,
        }
    }
}

impl brigade_data_block {
    pub(crate) const NONE: brigade_data_block = brigade_data_block {
        data: std::ptr::null(),
        len: 0,
        tag: 0,
        kind: 0,
        more: 0,
        reserved: [0; 1],
        slot: 0,
        serial: 0,
    };

    /// One that is nobody's token: only to be looked at.
    #[inline(always)]
    pub(crate) fn view(bytes: &[u8], label: Label) -> brigade_data_block {
        brigade_data_block {
            data: bytes.as_ptr(),
            len: bytes.len(),
            tag: label.tag,
            kind: label.kind,
            more: label.more.into(),
            reserved: [0; 1],
            slot: 0,
            serial: 0,
        }
    }
}

/// A letter, in memory of the caller's.
#[repr(C)]
pub struct brigade_letter {
    pub len: usize,
    pub kind: u16,
    pub bytes: [u8; BRIGADE_LETTER_MAX],
}

impl brigade_letter {
    pub(crate) const NONE: brigade_letter = brigade_letter {
        len: 0,
        kind: 0,
        bytes: [0; BRIGADE_LETTER_MAX],
    };
}

impl From<engine::Letter> for brigade_letter {
    fn from(letter: engine::Letter) -> brigade_letter {
        let mut bytes = [0; BRIGADE_LETTER_MAX];
        // The library gives none that is longer.
        let len = letter.bytes.len().min(BRIGADE_LETTER_MAX);
        bytes[..len].copy_from_slice(&letter.bytes[..len]);
        brigade_letter {
            len,
            kind: letter.kind,
            bytes,
        }
    }
}

#[repr(C)]
pub struct brigade_delivered {
    pub blocks: u64,
    pub bytes: u64,
}

impl brigade_delivered {
    pub(crate) const NONE: brigade_delivered = brigade_delivered {
        blocks: 0,
        bytes: 0,
    };
}

impl From<Delivered> for brigade_delivered {
    fn from(delivered: Delivered) -> brigade_delivered {
        brigade_delivered {
            blocks: delivered.blocks,
            bytes: delivered.bytes,
        }
    }
}
