//! The operating system, behind one contract, as in the library.
//!
//! A back end offers the items below under these names and signatures, and the
//! rest of the program uses nothing of the system but them and std. It
//! **translates** and **decides** nothing: what may be written where, and what is
//! told of it, is the callers' affair. A further back end can be written from this
//! page alone.
//!
//! Errors are the system's own, without the path: the caller names it.
//!
//! | Item | Contract |
//! |---|---|
//! | `standard_input()`, `standard_output()` | a handle of this process's own on the stream, unbuffered and binary; MUST be an error if the stream was closed |
//! | `forget_standard_input()` | from now on, it is at its end, by whatever name |
//! | `facts(file)` | [`Facts`] of an open file |
//! | `lasting(identity)` | what of it the file has even after a restart of the machine, among the files of one file system at least |
//! | `facts_at(path)` | the same of what `path` leads to; MUST NOT open what waits for a partner, or notices that it was opened |
//! | `resolve(path, follow)` | finds what `path` leads to, once: [`Resolved`], held open; MUST be an error for a link that leads nowhere, and SHOULD be one for another user's link in a directory that everybody can write to; an empty path is `NotFound` |
//! | `whereabouts(path)` | which name in which directory it is; for a directory itself, that and an empty name |
//! | `is_link(path)` | whether its last part is a symbolic link; not where nothing is |
//! | `Directory::resolve(name, follow)` | the same from a directory that is held |
//! | `Entry` | a name in a directory that is held open: whatever becomes of that directory's own name, these work in it |
//! | `Entry::hold()` | what has that name now, a link for itself; only "not found" MUST mean `None` |
//! | `Entry::create_new()` | makes a file for reading and writing, for nobody else to read if it can be so; `AlreadyExists` if anything has that name |
//! | `Entry::rename_to(entry, durably)` | gives the file that name, which MUST always name either the old file or the new one; if `durably`, this is on disk when `DirectorySync::sync` has returned |
//! | `Entry::rename_to_new(entry, durably)` | the same if nothing has that name yet; MUST be `AlreadyExists`, and change nothing, if something has |
//! | `Entry::link_to(entry)` | gives the file a second name; `Unsupported` if it can have but one |
//! | `Entry::remove()` | removes the name |
//! | `Entry::open_to_sync()`, `DirectorySync::sync(file)` | see `rename_to`; opened before, so that little can fail afterwards; `file` lies in the directory |
//! | `Entry::is_reached_by(path)` | whether `path` leads into the directory that is held |
//! | `Entry::{name_max, free_bytes}` | the longest name there, in the units of `name_len`; room on its file system, if it tells |
//! | `Entry::why_not_replaced(old)` | why `rename_to` would fail, as far as that can be seen before |
//! | `Held` | what a name led to; it opens, and is asked, for exactly that file, or fails |
//! | `Held::open_to_read()` | opens a source; may wait |
//! | `not_found()` | what the system says where nothing is |
//! | `Held::open_to_write()` | opens what is written in place; may wait; MUST NOT create or empty anything |
//! | `Held::open_to_read_and_write()` | the same, for reading, too |
//! | `Held::open_disk_alone()` | the same; `ResourceBusy` if others use the disk, as a file system on it does |
//! | `Held::may_write()` | an error if this process may not write the file, and if the system can tell already that it cannot be replaced |
//! | `Held::access()` | `Access::of_file` of it |
//! | `make_hole(file, offset, len)` | makes zeros of what was written there; `Unsupported` if they have to be written |
//! | `close(file)` | closes it, and tells what the system held back until then |
//! | `must_write_to_lock(error)` | whether a file that could not be locked has to be open for writing to be |
//! | `has_no_locks(error)` | whether the file system of a file that could not be locked has no locks |
//! | `expect_in_order(file)` | a hint that a regular file will be read from its beginning to its end; may do nothing |
//! | `capacity(file)` | bytes that a disk holds, if it tells; the position in it MUST be the same afterwards |
//! | `read(file, block)` | some of the next bytes; 0 MUST mean the end, and nothing else; `Interrupted` asks for another try, `WouldBlock` for one after `wait_until_ready` |
//! | `read_at(file, block, offset)` | the same of the bytes at `offset` of a file or disk, whatever other threads read; MAY move the file's position |
//! | `read_past_cache(file, block)` | the same, without the system keeping a copy; MUST be `Unsupported` if it would |
//! | `next_data(file, position)` | where a regular file has data at or after `position`, `None` if it has nothing but a hole; everywhere, if the system does not tell; MAY move the file's position |
//! | `is_in_hole(file, position)` | whether a regular file has a hole there, where `next_data` found nothing; false if `position` is not before its end |
//! | `may_lie_about_size(file)` | whether its file system makes up what is read, so that there may be less than it says |
//! | `metadata(file)` | what can be kept of a regular file beside its data: of its attributes the access list alone, without which its mode means something else |
//! | `attributes(file)` | its other extended attributes; none if it can have none |
//! | `is_ready(file)` | whether a read of a stream would return at once; false if that cannot be known |
//! | `wait_until_ready(file)` | returns when it would; may return early |
//! | `wait_to_read(file, limit)` | waits that long at most until a read of a stream would return at once: whether it would; true if that cannot be known |
//! | `wait_to_read_beside(file, handle)` | waits until a read of a stream would return at once, if that can be known, or an end of a session may have something, by its `handle`; may return early |
//! | `wait_until_room(file)` | returns when a write to a stream that was `WouldBlock` can go on, or fail; may return early |
//! | `handle_for_syncing(file)` | another handle, through which the file can be synced while it is written |
//! | `Entry::inherited_list()` | the access list, as an attribute holds it, that limits the mode of new files in that directory, if there is one |
//! | `Access::new(mode)` | who may do what with a file that does not exist yet |
//! | `Access::of_file(held)` | the same of exactly the file that is held open, which may be asked no more than that; only "not supported" MUST mean that it has no attributes, and `Unsupported` that the system shows them for no file that is held like this |
//! | `Access::begin(file)` | gives the partial file what is needed of that before there is data in it |
//! | `Access::kept()` | what can wait until all data is there: mode, owner, attributes; those that no file has here are `None` |
//! | `Access::is_new()` | whether there is no file yet |
//! | `owner(file)` | user and group; `None` if files have no numbers for these |
//! | `set_owner(file, user, group)` | gives the file away; may take special bits from it |
//! | `set_mode(file, mode)` | sets permission bits, the special ones too |
//! | `set_attribute(file, attribute)` | sets an extended attribute; an access list MUST be in force at once |
//! | `is_user_attribute(name)` | whether the attribute of that name is its user's own affair, and gives nobody any rights |
//! | `is_access_list(name)` | whether the attribute of that name is the list of who may do what with a file |
//! | `remove_access_list(file)` | leaves the mode alone to say that; no error if there is no list |
//! | `is_refusal(error)` | whether an owner, mode or attribute was not this user's to give, or nothing that the file system has; anything else went wrong |
//! | `expect_holes(file)` | what is skipped in a new file need not take room; may do nothing |
//! | `memory_bytes()` | the machine's memory, if it matters how large a file is beside it |
//! | `spare_memory()` | how much memory this process may take beside what it needs, 0 if it has limits of its own; `None` if that is not known |
//! | `forget_cached(file, offset, len)` | a hint that what is on disk of that range need not stay in memory; may do nothing |
//! | `is_in_use(error)` | whether it was another process's use of the file that was in the way, and may soon be no more |
//! | `name_len(name)`, `name_beginning(name, len)` | the length of a file name, in the system's own units, and the beginning of one; `NAME_MAX` is the usual limit |
//! | `name_to_bytes(name)` | a file name for a greeting, UTF-8 or what the system has instead, if it can be told so |
//! | `name_from_bytes(bytes)` | the same back; MUST be `None` if it could lead anywhere but to a file of that name in the directory that it is put into |
//! | `folded(path)` | bytes that are equal for paths that differ only in what the system's file names do not |
//! | `quoted(word)` | a word as the usual shells read it, in characters that can be typed; as it is, if nothing in it is special to them |
//! | `umask()` | permissions that new files do not get, 0 if there are none; called before there are threads |
//! | `own_user()` | this process's user, as `--allow-user` takes it, if other users can be let in at all |
//! | `own_program()`, `OWN_PROGRAM` | this very program, for starting another process of it; and where it is, for messages |
//! | `ignored_interruptions()` | what this process was started to ignore, as [`Ignored`]; none of it is its default |
//! | `hold_interruptions(tell)` | from now on, what would have ended this process from outside waits. Called before there are threads, but for those that have called `leave_interruptions` |
//! | `Interruptions::tell_all_but(ignored)` | and is told, from any thread; not what is `ignored` |
//! | `leave_interruptions()` | what ends this process is no affair of this thread |
//! | `survive_limits()` | from now on, a limit of this process makes a call fail, and does not end the process |
//! | `open_files_max()` | how many files this process may have open at once, after raising that as far as it may; `None` if there is no limit |
//! | `limit_behind(error)` | the limit of this process that made a call fail, as users set it |
//! | `testing::link` | for unit tests: makes a symbolic link; false if that is not possible here |

#[cfg(unix)]
mod unix;
#[cfg(unix)]
pub(crate) use unix::*;

#[cfg(windows)]
mod windows;
#[cfg(windows)]
pub(crate) use windows::*;

use crate::metadata::Stamp;

/// What a path can lead to, or a handle stand for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A regular file.
    File,
    Directory,
    /// A device that keeps what is written to it.
    Disk,
    /// Anything else that can be read or written: a pipe, a terminal.
    Stream,
}

/// Which file it is, by whatever name; of a directory, too, but of nothing else.
pub(crate) type Identity = (u64, u64);

/// What the system tells of a file.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    pub(crate) kind: Kind,
    /// A symbolic link, or something else that leads elsewhere.
    pub(crate) is_link: bool,
    /// Size in bytes, of a regular file.
    pub(crate) len: u64,
    /// Bytes that it takes on its file system, where that is told.
    pub(crate) allocated: Option<u64>,
    pub(crate) identity: Identity,
    /// How many names it has.
    pub(crate) names: u64,
    /// Permission bits, where there are any.
    pub(crate) mode: Option<u32>,
    /// When its content was changed last.
    pub(crate) modified: Option<Stamp>,
    /// When anything about it was changed last, names and permissions too.
    pub(crate) changed: Option<Stamp>,
    /// When it was made, where that is told; a later file of the same number was made later.
    /// Always the same where no later file has the same number.
    pub(crate) born: Option<Stamp>,
}

/// What should end this process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Interruption {
    /// The exit status that goes with it.
    pub(crate) code: u8,
    pub(crate) name: &'static str,
}

/// Whether a symbolic link that is the last part of a path stands for what it leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FollowLast {
    Yes,
    No,
}

/// What a path leads to.
#[derive(Debug)]
pub(crate) enum Resolved {
    /// A name, and what it stands for; nothing has it yet if `None`.
    Name(Entry, Option<Held>),
    Directory(Directory),
    /// Something that is open already, and reached by no name of its own.
    Open(Held),
}
