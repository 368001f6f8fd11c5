//! Who may do what with a new file, and with one that could not get the owner of the
//! file that it replaces.
//!
//! A new file gets the mode that it is asked for with, without what the umask takes; but
//! in a directory that hands down an access list, that list limits the mode, and the
//! umask does not.
//!
//! In an old file's place, nobody may gain by the change. The one exception is the new
//! owner, the user of this process, who could give himself any right.
//!
//! | Lost | Whom else the new file's rights reach | So they shrink to |
//! |---|---|---|
//! | the group | Members of the new group were others, or members of the old group, too. Members of the old group are others now. | group and others: what the old group and the others both had |
//! | the user | The old owner is now a member of the group, or one of the others. | group and others: what the old owner had, too |
//!
//! An access list says the same for more parties. Its entry for the file's group shrinks
//! as above, and to what every named group has: members of the new group may be members
//! of those. Its mask limits all but the owner and the others, so it shrinks to what
//! the old owner had, too.

use std::io;

use crate::metadata::ExtendedAttribute;
use crate::sys;

/// Which parts of the old owner the new file did not get.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lost {
    pub(crate) user: bool,
    pub(crate) group: bool,
}

/// The plain permission bits that are left of `mode`, where no list is in force.
pub(crate) fn narrowed_mode(mode: u32, lost: Lost) -> u32 {
    let [user, mut group, mut others] = [6, 3, 0].map(|shift| mode >> shift & 0o7);
    if lost.group {
        group &= others;
        others = group;
    }
    if lost.user {
        group &= user;
        others &= user;
    }
    user << 6 | group << 3 | others
}

/// What a new file's mode comes from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NewMode {
    /// What the file is asked for with.
    pub(crate) asked: u32,
    /// What this process's new files do not get.
    pub(crate) umask: u32,
}

impl NewMode {
    /// That of a file called `entry`, as the system itself would make it.
    pub(crate) fn of(self, entry: &sys::Entry) -> io::Result<u32> {
        let Some(list) = entry.inherited_list()? else {
            return Ok(self.asked & !self.umask);
        };
        inherited_mode(&list, self.asked).ok_or_else(|| {
            let why = "its directory's default access list has an unknown form";
            io::Error::new(io::ErrorKind::InvalidData, why)
        })
    }
}

/// The mode that a new file gets which is asked for with `mode`, in a directory that
/// hands down this list: acl(5). The umask has no say there. `None` if the list has
/// an unknown form.
fn inherited_mode(list: &[u8], mode: u32) -> Option<u32> {
    Some(mode & List::parse(list)?.mode())
}

/// The same list with the rights that are left; `None` if it has an unknown form.
pub(crate) fn narrowed_list(list: &ExtendedAttribute, lost: Lost) -> Option<ExtendedAttribute> {
    let mut parsed = List::parse(&list.value)?;
    parsed.narrow(lost);
    Some(ExtendedAttribute {
        name: list.name.clone(),
        value: parsed.encode(),
    })
}

/// The bits that a mode may have where that list is not in force, without letting in
/// whom it keeps out. With a list, the bits for the group do not say what the group may
/// do, but what *any* entry gives at most; and whom the list names is then a member of
/// the group, or one of the others. A list of an unknown form leaves all to the owner.
pub(crate) fn mode_without(list: &ExtendedAttribute) -> u32 {
    const OWNER_AND_SPECIAL_BITS: u32 = 0o7700;
    let Some(list) = List::parse(&list.value) else {
        return OWNER_AND_SPECIAL_BITS;
    };
    let users = list.common(MASK) & list.common(NAMED_USER);
    let group = list.common(GROUP) & users;
    let others = match list.names_somebody() {
        true => users & list.common(NAMED_GROUP),
        false => 0o7,
    };
    OWNER_AND_SPECIAL_BITS | u32::from(group << 3 | others)
}

// As `linux/posix_acl_xattr.h` has it: a version, and then entries of kind,
// permissions and identifier, little-endian.
const VERSION_BYTES: usize = 4;
const ENTRY_BYTES: usize = 8;

// Kinds of entries.
const USER: u16 = 0x01;
const NAMED_USER: u16 = 0x02;
const GROUP: u16 = 0x04;
const NAMED_GROUP: u16 = 0x08;
const MASK: u16 = 0x10;
const OTHERS: u16 = 0x20;

/// An access control list.
struct List {
    version: [u8; VERSION_BYTES],
    entries: Vec<Entry>,
}

struct Entry {
    kind: u16,
    permissions: u16,
    id: [u8; 4],
}

impl List {
    fn parse(bytes: &[u8]) -> Option<List> {
        let (version, entries) = bytes.split_first_chunk()?;
        let (entries, rest) = entries.as_chunks::<ENTRY_BYTES>();
        let entry = |&[k0, k1, p0, p1, id @ ..]: &[u8; ENTRY_BYTES]| Entry {
            kind: u16::from_le_bytes([k0, k1]),
            permissions: u16::from_le_bytes([p0, p1]),
            id,
        };
        let list = List {
            version: *version,
            entries: entries.iter().map(entry).collect(),
        };
        let is_whole = [USER, GROUP, OTHERS]
            .iter()
            .all(|&kind| list.entries.iter().any(|entry| entry.kind == kind));
        (rest.is_empty() && is_whole).then_some(list)
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = self.version.to_vec();
        for entry in &self.entries {
            bytes.extend(entry.kind.to_le_bytes());
            bytes.extend(entry.permissions.to_le_bytes());
            bytes.extend(entry.id);
        }
        bytes
    }

    /// What all entries of this kind give; everything, if there is none.
    fn common(&self, kind: u16) -> u16 {
        let entries = self.entries.iter().filter(|entry| entry.kind == kind);
        entries.fold(0o7, |all, entry| all & entry.permissions)
    }

    fn names_somebody(&self) -> bool {
        let is_name = |entry: &Entry| matches!(entry.kind, NAMED_USER | NAMED_GROUP);
        self.entries.iter().any(is_name)
    }

    /// As the system shows it.
    fn mode(&self) -> u32 {
        let has_mask = self.entries.iter().any(|entry| entry.kind == MASK);
        let group = if has_mask { MASK } else { GROUP };
        let [user, group, others] = [USER, group, OTHERS].map(|kind| self.common(kind));
        u32::from(user << 6 | group << 3 | others)
    }

    fn narrow(&mut self, lost: Lost) {
        if lost.user {
            let user = self.common(USER);
            for kind in [GROUP, MASK, OTHERS] {
                self.shrink(kind, user);
            }
        }
        if lost.group {
            let both = self.common(GROUP) & self.common(OTHERS);
            self.shrink(GROUP, both & self.common(NAMED_GROUP));
            self.shrink(OTHERS, both & self.common(MASK));
        }
    }

    fn shrink(&mut self, kind: u16, most: u16) {
        let entries = self.entries.iter_mut().filter(|entry| entry.kind == kind);
        entries.for_each(|entry| entry.permissions &= most);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const USER_LOST: Lost = Lost {
        user: true,
        group: false,
    };
    const GROUP_LOST: Lost = Lost {
        user: false,
        group: true,
    };
    const BOTH_LOST: Lost = Lost {
        user: true,
        group: true,
    };
    const EACH: [Lost; 3] = [USER_LOST, GROUP_LOST, BOTH_LOST];

    /// Somebody who is not the new owner.
    #[derive(Clone, Copy, Debug)]
    struct Person {
        is_old_owner: bool,
        is_named: bool,
        in_old_group: bool,
        in_new_group: bool,
        in_named_group: bool,
    }

    fn everybody() -> impl Iterator<Item = Person> {
        (0..32).map(|bits: u32| {
            let bit = |n: u32| bits >> n & 1 == 1;
            Person {
                is_old_owner: bit(0),
                is_named: bit(1),
                in_old_group: bit(2),
                in_new_group: bit(3),
                in_named_group: bit(4),
            }
        })
    }

    /// What each entry gives: to the owner, a user by name, the group, a group by name,
    /// at most to these three, to others.
    type Given = [u16; 6];

    /// Whether all of `asked` is allowed: acl(5), "access check algorithm". `None` for
    /// who is no owner.
    fn allows(
        given: Given,
        has_names: bool,
        is_owner: bool,
        person: Person,
        in_group: bool,
        asked: u16,
    ) -> bool {
        let [user, named, group, named_group, mask, others] = given;
        let mask = if has_names { mask } else { 0o7 };
        if is_owner {
            return user & asked == asked;
        }
        if has_names && person.is_named {
            return named & mask & asked == asked;
        }
        let mut groups = Vec::new();
        groups.extend(in_group.then_some(group));
        groups.extend((has_names && person.in_named_group).then_some(named_group));
        match groups.is_empty() {
            true => others & asked == asked,
            false => groups.iter().any(|group| group & mask & asked == asked),
        }
    }

    fn assert_nobody_gains(old: Given, new: Given, [old_names, new_names]: [bool; 2], lost: Lost) {
        for person in everybody() {
            for asked in 1..0o10 {
                let is_owner = person.is_old_owner;
                let before = allows(old, old_names, is_owner, person, person.in_old_group, asked);
                let in_group = match lost.group {
                    true => person.in_new_group,
                    false => person.in_old_group,
                };
                let is_owner = is_owner && !lost.user;
                let after = allows(new, new_names, is_owner, person, in_group, asked);
                assert!(
                    before || !after,
                    "{lost:?} {old:?} {new:?} {asked}: {person:?}"
                );
            }
        }
    }

    fn of_mode(mode: u32) -> Given {
        let [user, group, others] = [6, 3, 0].map(|shift| (mode >> shift & 0o7) as u16);
        [user, 0, group, 0, 0, others]
    }

    fn list(given: Given) -> ExtendedAttribute {
        let kinds = [USER, NAMED_USER, GROUP, NAMED_GROUP, MASK, OTHERS];
        let entries = kinds.iter().zip(given).map(|(&kind, permissions)| Entry {
            kind,
            permissions,
            id: [7; 4],
        });
        let list = List {
            version: [2, 0, 0, 0],
            entries: entries.collect(),
        };
        ExtendedAttribute {
            name: b"list".to_vec(),
            value: list.encode(),
        }
    }

    fn lists() -> impl Iterator<Item = Given> {
        let some = |bits: u32, n: u32| [0, 2, 4, 6][(bits >> (2 * n) & 3) as usize];
        (0..1 << 12).map(move |bits| [0, 1, 2, 3, 4, 5].map(|n| some(bits, n)))
    }

    #[test]
    fn nobody_gains_by_a_mode_whose_owner_or_group_was_lost() {
        for mode in 0..=0o777 {
            assert_eq!(narrowed_mode(mode, Lost::default()), mode);
            for lost in EACH {
                let new = of_mode(narrowed_mode(mode, lost));
                assert_nobody_gains(of_mode(mode), new, [false; 2], lost);
            }
        }
    }

    #[test]
    fn what_gives_nobody_more_is_kept() {
        for (mode, left) in [
            (0o660, 0o600),
            (0o606, 0o600),
            (0o664, 0o644),
            (0o644, 0o644),
            (0o755, 0o755),
        ] {
            assert_eq!(narrowed_mode(mode, BOTH_LOST), left);
            assert_eq!(narrowed_mode(mode, USER_LOST), mode);
        }
    }

    #[test]
    fn nobody_gains_by_a_list_whose_owner_or_group_was_lost() {
        for given in lists() {
            for lost in EACH {
                let narrowed =
                    narrowed_list(&list(given), lost).and_then(|list| List::parse(&list.value));
                let new = narrowed.map(|list| {
                    [USER, NAMED_USER, GROUP, NAMED_GROUP, MASK, OTHERS]
                        .map(|kind| list.common(kind))
                });
                assert_nobody_gains(given, new.unwrap_or([7; 6]), [true; 2], lost);
            }
        }
    }

    #[test]
    fn nobody_gains_by_a_mode_that_takes_a_list_s_place() {
        for given in lists() {
            let [user, _, _, _, mask, others] = given;
            let mode = u32::from(user << 6 | mask << 3 | others);
            let new = of_mode(mode & mode_without(&list(given)));
            assert_nobody_gains(given, new, [true, false], Lost::default());
        }
    }

    #[test]
    fn a_list_that_is_handed_down_limits_the_mode_and_the_umask_does_not() {
        let value = list([7, 7, 0, 7, 6, 4]).value;
        assert_eq!(inherited_mode(&value, 0o666), Some(0o664));
        assert_eq!(inherited_mode(&value, 0o600), Some(0o600));
        // Without a mask, the entry for the group is what the mode shows.
        let plain: Vec<u8> = [0, 1, 3, 6]
            .iter()
            .flat_map(|&n| match n {
                0 => value[..4].to_vec(),
                n => value[4 + 8 * (n - 1)..4 + 8 * n].to_vec(),
            })
            .collect();
        assert_eq!(inherited_mode(&plain, 0o666), Some(0o604));
    }

    #[test]
    fn bytes_that_are_no_list_leave_all_to_the_owner() {
        let value = list([6; 6]).value;
        for bytes in [&value[..3], &value[..value.len() - 1], &value[..12], &[]] {
            let broken = ExtendedAttribute {
                name: Vec::new(),
                value: bytes.to_vec(),
            };
            assert_eq!(mode_without(&broken), 0o7700);
            assert_eq!(inherited_mode(bytes, 0o666), None);
            assert_eq!(narrowed_list(&broken, USER_LOST), None);
        }
    }
}
