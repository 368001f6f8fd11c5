//! Strings and bytes of the caller's.
#![allow(
    unsafe_code,
    reason = "what the caller points to has to become references"
)]

use std::ffi::{CStr, c_char};
use std::slice;

use engine::Error;

use crate::status::{Failed, misuse};

/// The caller's text; `what` it is, for the error.
pub(crate) fn text<'a>(text: *const c_char, what: &'static str) -> Result<&'a str, Failed> {
    if text.is_null() {
        return Err(misuse(what));
    }
    // SAFETY: not NULL, and so a string that ends, and stays as it is while the call lasts:
    // the caller's word (brigade.h).
    let text = unsafe { CStr::from_ptr(text) };
    let not_utf8 = || Error::InvalidOption("a text is not UTF-8".into());
    text.to_str().map_err(|_| not_utf8().into())
}

/// The caller's bytes, which may be none.
pub(crate) fn bytes<'a>(bytes: *const u8, len: usize) -> Result<&'a [u8], Failed> {
    match (bytes.is_null(), len) {
        (_, 0) => Ok(&[]),
        (true, _) => Err(misuse("NULL in place of bytes")),
        // No memory is as large, and the library takes no pieces that are.
        (false, len) if len > isize::MAX as usize => Err(misuse("the length cannot be")),
        // SAFETY: not NULL, and so `len` bytes that stay as they are while the call lasts: the
        // caller's word (brigade.h).
        (false, len) => Ok(unsafe { slice::from_raw_parts(bytes, len) }),
    }
}

/// The caller's list of texts, which ends with NULL.
pub(crate) fn texts<'a>(list: *const *const c_char) -> Result<Vec<&'a str>, Failed> {
    if list.is_null() {
        return Err(misuse("NULL in place of a list of arguments"));
    }
    let mut texts = Vec::new();
    loop {
        // SAFETY: the list goes on up to its NULL, which was not seen yet: the caller's word
        // (brigade.h).
        let next = unsafe { *list.add(texts.len()) };
        if next.is_null() {
            return Ok(texts);
        }
        texts.push(text(next, "NULL in place of an argument")?);
    }
}
