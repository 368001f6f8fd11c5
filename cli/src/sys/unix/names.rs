//! File names, and words as shells read them.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use crate::visible::is_hidden;

/// In bytes: that of the usual file systems.
pub(crate) const NAME_MAX: usize = 255;

pub(crate) fn name_len(name: &OsStr) -> usize {
    name.len()
}

pub(crate) fn name_beginning(name: &OsStr, len: usize) -> OsString {
    let bytes = name.as_bytes();
    OsStr::from_bytes(&bytes[..len.min(bytes.len())]).to_owned()
}

pub(crate) fn name_to_bytes(name: &OsStr) -> Option<&[u8]> {
    Some(name.as_bytes())
}

pub(crate) fn name_from_bytes(bytes: &[u8]) -> Option<OsString> {
    let plain =
        !matches!(bytes, b"" | b"." | b"..") && !bytes.contains(&b'/') && !bytes.contains(&0);
    plain.then(|| OsString::from_vec(bytes.to_vec()))
}

/// All that differs makes another name.
pub(crate) fn folded(path: &Path) -> Vec<u8> {
    path.as_os_str().as_bytes().to_vec()
}

pub(crate) fn quoted(word: &OsStr) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@%".contains(c);
    let text = match word.to_str() {
        Some(text) if !text.contains(|c: char| c.is_control() || is_hidden(c)) => text,
        _ => return quoted_bytes(word.as_bytes()),
    };
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// What cannot be typed: $'...', which bash, zsh, ksh and newer shells read alike.
fn quoted_bytes(bytes: &[u8]) -> String {
    let inside = bytes.iter().map(|&byte| match byte {
        b'\'' | b'\\' => format!("\\{}", char::from(byte)),
        b'\n' => r"\n".to_owned(),
        b'\t' => r"\t".to_owned(),
        b' '..=b'~' => char::from(byte).to_string(),
        _ => format!("\\x{byte:02x}"),
    });
    format!("$'{}'", inside.collect::<String>())
}

#[cfg(test)]
pub(crate) mod testing {
    use std::path::Path;

    pub(crate) fn link(target: &Path, link: &Path) -> bool {
        std::os::unix::fs::symlink(target, link).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_differ_in_anything_are_different_names() {
        assert_ne!(folded(Path::new("/d/a")), folded(Path::new("/d/A")));
    }

    #[test]
    fn a_shell_reads_a_quoted_word_as_it_was() {
        for (word, expected) in [
            ("a", "a"),
            ("", "''"),
            ("a b", "'a b'"),
            ("it's", r"'it'\''s'"),
            ("$HOME", "'$HOME'"),
            ("a\n\x1b[2J'\\", r"$'a\n\x1b[2J\'\\'"),
            ("\u{202e}", r"$'\xe2\x80\xae'"),
        ] {
            assert_eq!(quoted(word.as_ref()), expected);
        }
        assert_eq!(quoted(OsStr::from_bytes(b"a\xff b")), r"$'a\xff b'");
    }
}
