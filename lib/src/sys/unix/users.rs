//! Users, by their number; shown with the name.
#![expect(unsafe_code, reason = "the system's accounts are read by C functions")]

use std::ffi::{CStr, CString};
use std::fmt;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::OnceLock;

use crate::error::Error;

/// A user, by number; shown with the name, which is looked up only then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct User(u32);

impl User {
    pub(crate) fn own() -> User {
        User(rustix::process::geteuid().as_raw())
    }

    pub(in crate::sys) fn new(number: u32) -> User {
        User(number)
    }

    /// Whether the number stands for one user. Where not all users have numbers, in a user
    /// namespace, the overflow user's stands for all that have none; and if it cannot be
    /// found out which one that is (no `/proc`), any number may.
    pub(crate) fn is_certain(&self) -> bool {
        uncertain_user().is_some_and(|uncertain| uncertain != Some(self.0))
    }

    /// Who owns what `stat` is of.
    pub(super) fn of(stat: &rustix::fs::Stat) -> User {
        User(stat.st_uid)
    }

    pub(in crate::sys) fn number(self) -> u32 {
        self.0
    }

    pub(crate) fn as_number(self) -> Option<u32> {
        Some(self.0)
    }

    /// A number, or a name that the system knows.
    pub(crate) fn parse(text: &str) -> Result<User, Error> {
        if let Ok(number) = text.parse() {
            return Ok(User(number));
        }
        let unknown = || Error::InvalidOption(format!("there is no user {text:?}"));
        let name = CString::new(text).map_err(|_| unknown())?;
        // SAFETY: the name ends with a zero, the other pointers are to live objects of
        // the sizes given.
        let find = |entry: &mut libc::passwd, buffer: &mut [u8], found: &mut *mut _| unsafe {
            let (start, len) = (buffer.as_mut_ptr().cast(), buffer.len());
            libc::getpwnam_r(name.as_ptr(), entry, start, len, found)
        };
        account(find, |entry| User(entry.pw_uid)).ok_or_else(unknown)
    }

    fn name(self) -> Option<String> {
        // SAFETY: the pointers are to live objects of the sizes given.
        let find = |entry: &mut libc::passwd, buffer: &mut [u8], found: &mut *mut _| unsafe {
            let (start, len) = (buffer.as_mut_ptr().cast(), buffer.len());
            libc::getpwuid_r(self.0, entry, start, len, found)
        };
        account(find, |entry| {
            // SAFETY: a string that ends with a zero, within the buffer.
            let name = unsafe { CStr::from_ptr(entry.pw_name) };
            name.to_string_lossy().into_owned()
        })
    }
}

/// What `get` makes of the entry that `find` finds in the system's accounts.
fn account<T>(
    find: impl FnOnce(&mut libc::passwd, &mut [u8], &mut *mut libc::passwd) -> i32,
    get: impl FnOnce(&libc::passwd) -> T,
) -> Option<T> {
    let mut buffer = vec![0u8; 16 * 1024];
    // SAFETY: all-zero is a valid `passwd` (null pointers).
    let mut entry: libc::passwd = unsafe { MaybeUninit::zeroed().assume_init() };
    let mut found = ptr::null_mut();
    let status = find(&mut entry, &mut buffer, &mut found);
    (status == 0 && !found.is_null() && !entry.pw_name.is_null()).then(|| get(&entry))
}

impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => write!(f, "{name} ({})", self.0),
            None => write!(f, "{}", self.0),
        }
    }
}

/// Looked up once: later there may be no descriptor left to do so.
/// `None` if it cannot be, `Some(None)` if each number stands for one user.
fn uncertain_user() -> Option<Option<u32>> {
    static UNCERTAIN: OnceLock<Option<u32>> = OnceLock::new();
    if let Some(&known) = UNCERTAIN.get() {
        return Some(known);
    }
    let map = std::fs::read_to_string("/proc/self/uid_map").ok()?;
    let uncertain = if names_all_users(&map) {
        None
    } else {
        let text = std::fs::read_to_string("/proc/sys/kernel/overflowuid").ok()?;
        Some(text.trim().parse().ok()?)
    };
    Some(*UNCERTAIN.get_or_init(|| uncertain))
}

/// Whether `map`, of a process's user namespace, gives each user its own number: lines of
/// first number here, first number outside, and how many (user_namespaces(7)).
fn names_all_users(map: &str) -> bool {
    const ALL: [&str; 3] = ["0", "0", "4294967295"];
    let mut lines = map.lines();
    let is_all = |line: &str| line.split_ascii_whitespace().eq(ALL);
    lines.next().is_some_and(is_all) && lines.next().is_none()
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::names_all_users;

    #[test]
    fn only_a_namespace_that_names_all_users_has_no_overflow_user() {
        assert!(names_all_users("         0          0 4294967295\n"));
        for map in [
            "",
            "0 1000 1\n",
            "0 100000 65536\n",
            "0 0 4294967295\n1 1 1\n",
            "0 0 65534\n",
        ] {
            assert!(!names_all_users(map), "{map}");
        }
    }
}
