//! File names, and words as shells read them.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::windows::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, Prefix};

/// In UTF-16 units.
pub(crate) const NAME_MAX: usize = 255;

pub(crate) fn name_len(name: &OsStr) -> usize {
    name.encode_wide().count()
}

pub(crate) fn name_beginning(name: &OsStr, len: usize) -> OsString {
    let mut units: Vec<u16> = name.encode_wide().take(len).collect();
    if let Some(0xd800..0xdc00) = units.last() {
        // The first half of a character.
        units.pop();
    }
    OsString::from_wide(&units)
}

pub(crate) fn name_to_bytes(name: &OsStr) -> Option<&[u8]> {
    name.to_str().map(str::as_bytes)
}

/// The system itself tells what it makes of the name: devices (NUL), directories
/// and drives lead elsewhere, dots at the end are dropped. A colon stays in it, and
/// would open another stream of a file.
pub(crate) fn name_from_bytes(bytes: &[u8]) -> Option<OsString> {
    let name = std::str::from_utf8(bytes).ok()?;
    let here = std::path::absolute(".").ok()?;
    let path = std::path::absolute(name).ok()?;
    let plain = !name.contains([':', '\0'])
        && path.parent() == Some(&here)
        && path.file_name() == Some(OsStr::new(name));
    plain.then(|| name.into())
}

/// In capitals, as file systems compare names: one character for one.
pub(crate) fn folded(path: &Path) -> Vec<u8> {
    char::decode_utf16(path.as_os_str().encode_wide())
        .flat_map(|unit| match unit {
            Ok(c) => capital(c).encode_utf16(&mut [0; 2]).to_vec(),
            Err(half) => vec![half.unpaired_surrogate()],
        })
        .flat_map(u16::to_le_bytes)
        .collect()
}

/// Itself, if the capital is more than one character (ß).
fn capital(c: char) -> char {
    let mut capitals = c.to_uppercase();
    match (capitals.next(), capitals.next()) {
        (Some(capital), None) => capital,
        _ => c,
    }
}

/// In double quotes, which cmd and PowerShell both take, with backslashes as the
/// C runtime reads them: they stand for themselves, but before a quote.
pub(crate) fn quoted(word: &OsStr) -> String {
    let word = &*word.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || r"-_./\=:+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    let mut quoted = String::from('"');
    let mut backslashes = 0;
    for c in word.chars() {
        if c == '"' {
            quoted.extend(std::iter::repeat_n('\\', backslashes + 1));
        }
        backslashes = if c == '\\' { backslashes + 1 } else { 0 };
        quoted.push(c);
    }
    quoted.extend(std::iter::repeat_n('\\', backslashes));
    quoted.push('"');
    quoted
}

/// A path for raw calls: absolute, of any length, ended by a zero.
pub(super) fn verbatim(path: &Path) -> io::Result<Vec<u16>> {
    let path = std::path::absolute(path)?;
    let prefix = match path.components().next() {
        Some(Component::Prefix(prefix)) => Some(prefix.kind()),
        _ => None,
    };
    let (start, skipped) = match prefix {
        Some(Prefix::Disk(_)) => (r"\\?\", 0),
        // \\SERVER\SHARE becomes \\?\UNC\SERVER\SHARE.
        Some(Prefix::UNC(..)) => (r"\\?\UNC", 1),
        _ => ("", 0),
    };
    let rest = path.as_os_str().encode_wide().skip(skipped);
    Ok(start.encode_utf16().chain(rest).chain([0]).collect())
}

#[cfg(test)]
pub(crate) mod testing {
    use std::path::Path;

    /// Looks whether it is there, since Wine says that it made what it did not.
    pub(crate) fn link(target: &Path, link: &Path) -> bool {
        std::os::windows::fs::symlink_file(target, link).is_ok() && link.is_symlink()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_differ_only_in_case_are_one_name() {
        let [small, large] = [r"C:\dir\äa.txt", r"c:\DIR\ÄA.TXT"].map(|path| folded(path.as_ref()));
        assert_eq!(small, large);
        let [one, two] = [r"C:\ß", r"C:\SS"].map(|path| folded(path.as_ref()));
        assert_ne!(one, two);
    }

    #[test]
    fn cmd_and_powershell_read_a_quoted_word_as_it_was() {
        for (word, expected) in [
            (r"C:\a.txt", r"C:\a.txt"),
            ("", r#""""#),
            ("a b", r#""a b""#),
            (r"C:\a b\", r#""C:\a b\\""#),
            (r#"a\"b"#, r#""a\\\"b""#),
        ] {
            assert_eq!(quoted(word.as_ref()), expected);
        }
    }

    #[test]
    fn a_name_that_the_system_would_take_for_something_else_is_none() {
        for name in [
            "", ".", "..", "a/b", r"a\b", r"\a", "C:a", "a:b", "NUL", "con", "a.", "a\0",
        ] {
            assert_eq!(name_from_bytes(name.as_bytes()), None, "{name}");
        }
        for name in ["a", "ä b.txt", ".x", "NULL"] {
            assert_eq!(name_from_bytes(name.as_bytes()), Some(name.into()));
        }
    }

    #[test]
    fn devices_and_pipes_are_told_from_files_by_their_paths() {
        for (path, expected) in [
            ("NUL", true),
            (r"\\.\PhysicalDrive0", true),
            (r"\\.\pipe\x", true),
            (r"\\.\C:", true),
            (r"\\.\C:\x", false),
            (r"C:\x", false),
            (r"\\server\share\x", false),
        ] {
            let absolute = std::path::absolute(path).unwrap_or_default();
            assert_eq!(
                super::super::facts::is_device(&absolute),
                expected,
                "{path} is {absolute:?}"
            );
        }
    }

    #[test]
    fn paths_for_raw_calls_have_no_limit_on_their_length() {
        for (path, expected) in [
            (r"C:\a", r"\\?\C:\a"),
            (r"\\server\share\a", r"\\?\UNC\server\share\a"),
            (r"\\?\C:\a", r"\\?\C:\a"),
        ] {
            let expected: Vec<u16> = expected.encode_utf16().chain([0]).collect();
            assert!(verbatim(path.as_ref()).is_ok_and(|path| path == expected));
        }
    }

    #[test]
    fn a_name_is_never_cut_within_a_character() {
        let name = OsStr::new("a😀");
        assert_eq!(name_len(name), 3);
        assert_eq!(name_beginning(name, 2), "a");
    }
}
