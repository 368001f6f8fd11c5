//! What is told in JSON is one object.

use serde::de::DeserializeOwned;

/// `None` if `bytes` are anything else. (An array in the order of the fields would do for
/// what is derived.)
pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    let is_object = bytes.trim_ascii_start().starts_with(b"{");
    serde_json::from_slice(bytes).ok().filter(|_| is_object)
}
