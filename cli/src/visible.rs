//! What others have written (names above all), so that it can be shown: a terminal
//! must not take it for orders, nor a reader for something else.

use std::ffi::OsStr;
use std::fmt::Write;

/// One line for a terminal: what would move the cursor, change colours, end the line
/// or turn the direction of reading is shown as `\n` or `\u{1b}`.
pub(crate) fn line(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            c if c.is_control() => shown.extend(c.escape_debug()),
            c if is_hidden(c) => shown.extend(c.escape_unicode()),
            c => shown.push(c),
        }
    }
    shown
}

/// A line of JSON: the same, in JSON's own way. Within its strings it has escaped most
/// of it already, and outside of them there is none.
pub(crate) fn json(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            // All of these are in the first plane.
            c if c.is_control() || is_hidden(c) => {
                let _ = write!(shown, "\\u{:04x}", u32::from(c));
            }
            c => shown.push(c),
        }
    }
    shown
}

/// A path or file name as text: bytes that are no UTF-8 as `\xff`.
pub(crate) fn name(name: impl AsRef<OsStr>) -> String {
    let mut shown = String::new();
    for chunk in name.as_ref().as_encoded_bytes().utf8_chunks() {
        shown.push_str(chunk.valid());
        for byte in chunk.invalid() {
            let _ = write!(shown, "\\x{byte:02x}");
        }
    }
    shown
}

/// Marks that change the direction of reading, and what ends a line or paragraph.
/// They let a name look like another one.
pub(crate) fn is_hidden(c: char) -> bool {
    matches!(
        c,
        '\u{61c}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_gets_no_orders_and_a_reader_no_tricks() {
        for (text, shown) in [
            ("plain äöü 日本 🎉", "plain äöü 日本 🎉"),
            ("a\nb\tc\rd", r"a\nb\tc\rd"),
            ("\x1b[2J\x07\x7f\u{9b}m", r"\u{1b}[2J\u{7}\u{7f}\u{9b}m"),
            ("exe.\u{202e}txt", r"exe.\u{202e}txt"),
            ("a\u{2028}b\u{2066}", r"a\u{2028}b\u{2066}"),
        ] {
            assert_eq!(line(text), shown);
        }
    }

    #[test]
    fn events_stay_json_with_the_same_content() {
        let name = "\x1b\n\u{9b}\u{7f}\u{202e}ä";
        let text = json(&serde_json::json!({ "a": name }).to_string());
        assert!(!text.contains(|c: char| c.is_control() || is_hidden(c)));
        let again: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
        assert_eq!(again["a"], name);
    }
}
