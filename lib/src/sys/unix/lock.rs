//! The seat of a name: `flock` on an empty file, which is removed by whoever holds it.
//!
//! **Why no two processes have the seat.** A file is the seat only for a process that
//! holds its lock and has seen, after it got the lock, that the path still leads to this
//! file. Only the holder removes the file, while it holds the lock, and as the last thing
//! that it does with the name. So whoever gets the lock of a removed file finds out, and
//! tries again; and as long as the holder has not removed it, the path leads to the file
//! whose lock it holds. If somebody else removes the file (one who cleans directories),
//! the holder finds out while it waits ([`Seat::is_there`]).
//!
//! **The claim of a second** is the lock of another file, made and removed in the same way.
//! Whoever has the seat may remove what a killed second left, too: under a lock that
//! excludes the holder's, so the same argument holds.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::fs::{FileType, FlockOperation, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::names::Name;
use super::users::User;
use crate::error::Error;
use crate::refusal::{Refusal, Refused};
use crate::sys::kernel::limits::failed;
use crate::sys::kernel::origin::Origin;

/// The lock of a file that stands for a name, held as long as this lives.
#[derive(Debug)]
struct Lock {
    path: PathBuf,
    /// The lock.
    file: OwnedFd,
    identity: Identity,
    /// Brigade made the file, so it may remove it.
    is_ours: bool,
    _directory: Option<OwnedFd>,
    origin: Origin,
}

impl Lock {
    /// Whether the path still leads to the file that is locked.
    fn is_there(&self) -> Result<bool, Error> {
        leads_to(&self.path, self.identity).map_err(|errno| look_failed(&self.path, errno))
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Under the lock, which is released after this. What cannot be looked at or
        // removed stays, and does no harm. A forked child's copy is not the lock's holder.
        if !self.origin.is_here() {
            return;
        }
        if self.is_ours && self.is_there().is_ok_and(|there| there) {
            let _ = rustix::fs::unlink(&self.path);
        }
        // To close it is not enough: a forked child may have a copy.
        let _ = rustix::fs::flock(&self.file, FlockOperation::Unlock);
    }
}

/// The name's first lock: its holder is the host.
#[derive(Debug)]
pub(crate) struct Seat {
    /// Another one, once somebody else has removed its file.
    lock: Mutex<Lock>,
    /// Where a second that was killed has left a file, if seconds have claims here.
    claims: Option<Claims>,
}

impl Seat {
    /// Whether the path still leads to the file that is locked.
    pub(super) fn is_there(&self) -> Result<bool, Error> {
        self.lock().is_there()
    }

    pub(crate) fn is_of(&self, name: &Name) -> bool {
        self.lock().path == name.lock()
    }

    /// Takes the seat of `name`, which this was, anew: its file was removed. False if
    /// another process has it, or a claim to it.
    pub(super) fn take_again(&self, name: &Name, guests: &[User]) -> Result<bool, Error> {
        let Some(lock) = Taking::new(name, name.lock(), guests).attempt()? else {
            return Ok(false);
        };
        if Claims::of(name, guests).look(true)? == Claimed::Held {
            return Ok(false);
        }
        *self.lock() = lock;
        Ok(true)
    }

    /// A panic while it was held leaves it valid: each use is a single step.
    fn lock(&self) -> MutexGuard<'_, Lock> {
        self.lock.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let lock = self.lock.get_mut().unwrap_or_else(PoisonError::into_inner);
        // Under the lock. What cannot be removed is found by the next host.
        if let Some(claims) = &self.claims
            && lock.origin.is_here()
            && lock.is_there().is_ok_and(|there| there)
        {
            let _ = claims.look(true);
        }
    }
}

/// The name's other lock: the second's, which keeps the seat for it if the host dies.
#[derive(Debug)]
pub(crate) struct Claim(Lock);

impl Claim {
    /// `None` if another process has it, or the file changed meanwhile: to be tried again.
    pub(crate) fn take(name: &Name, guests: &[User]) -> Result<Option<Claim>, Error> {
        let taken = Taking::new(name, name.claim(), guests).attempt()?;
        Ok(taken.map(Claim))
    }

    pub(crate) fn is_of(&self, name: &Name) -> bool {
        self.0.path == name.claim()
    }
}

/// Where the claim of a name is looked for.
#[derive(Clone, Debug)]
pub(super) struct Claims {
    name: Name,
    guests: Vec<User>,
}

/// What is found of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Claimed {
    /// There is none.
    No,
    /// A process that is gone, or its file, had one: a second was killed.
    Left,
    /// A process has it, or is just about to take or to leave it.
    Held,
}

impl Claims {
    pub(super) fn of(name: &Name, guests: &[User]) -> Claims {
        Claims {
            name: name.clone(),
            guests: guests.to_vec(),
        }
    }

    /// Looks; and removes what was left if this process `is_host`.
    pub(super) fn look(&self, is_host: bool) -> Result<Claimed, Error> {
        let path = self.name.claim();
        let taking = Taking::new(&self.name, path, &self.guests);
        let Some(file) = taking.open_existing()? else {
            return Ok(Claimed::No);
        };
        let stat = rustix::fs::fstat(&file).map_err(|errno| look_failed(path, errno))?;
        // Removed since it was opened, by its holder: that one is leaving.
        if stat.st_nlink == 0 {
            return Ok(Claimed::Held);
        }
        taking.check(&stat)?;
        // Shared, so that two that look do not take each other for a holder.
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Ok(Claimed::Held),
            Err(errno) => return Err(lock_failed(path, errno)),
        }
        // Nobody has it, nor gets it before this lock is released; removed when dropped.
        drop(taking.locked(file, &stat, is_host && taking.may_remove(&stat))?);
        Ok(Claimed::Left)
    }
}

/// Which file something is, on this machine, while somebody holds it open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    device: u64,
    number: u64,
}

impl Identity {
    pub(super) fn of(stat: &Stat) -> Identity {
        Identity {
            device: stat.st_dev,
            number: stat.st_ino,
        }
    }
}

/// Whether there is a file at `path`, and it is this one.
pub(super) fn leads_to(path: &Path, identity: Identity) -> Result<bool, Errno> {
    match rustix::fs::lstat(path) {
        Ok(found) => Ok(Identity::of(&found) == identity),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// What says that brigade made a lock file, from the moment that it is there: the sticky
/// bit, which means nothing on a file (chmod(2)). So whoever has the lock last may remove
/// it, though another process may have made it, or a killed one left it.
const MARK: Mode = Mode::SVTX;

/// Mode of a lock file that only its owner can take, and of one that others can, to
/// whom being allowed to read is enough.
const LOCK_MODE: Mode = MARK.union(Mode::RUSR).union(Mode::WUSR);
const SHARED_LOCK_MODE: Mode = LOCK_MODE.union(Mode::RGRP).union(Mode::ROTH);

/// How long somebody who looks whether a lock is held may have it: a few calls.
const LOOK_LIMIT: Duration = Duration::from_millis(1);

/// What is known of a name while a process tries to take one of its locks.
struct Taking<'n> {
    name: &'n Name,
    /// Of the lock's file.
    path: &'n Path,
    guests: &'n [User],
}

/// Tries to take the seat of `name`. `None` if another process has it, or the file changed
/// meanwhile: to be tried again. With `claims`, seconds have claims to it.
pub(super) fn take_seat(
    name: &Name,
    guests: &[User],
    has_claims: bool,
) -> Result<Option<Seat>, Error> {
    let taken = Taking::new(name, name.lock(), guests).attempt()?;
    Ok(taken.map(|lock| Seat {
        lock: Mutex::new(lock),
        claims: has_claims.then(|| Claims::of(name, guests)),
    }))
}

fn is_marked(stat: &Stat) -> bool {
    Mode::from_raw_mode(stat.st_mode).contains(MARK)
}

/// A lock file that was opened.
struct Opened {
    file: OwnedFd,
    made_here: bool,
}

impl<'n> Taking<'n> {
    fn new(name: &'n Name, path: &'n Path, guests: &'n [User]) -> Taking<'n> {
        Taking { name, path, guests }
    }

    fn mode(&self) -> Mode {
        match self.guests {
            [] => LOCK_MODE,
            _ => SHARED_LOCK_MODE,
        }
    }

    /// `None` if another process has the lock, or the file changed meanwhile: to be
    /// tried again.
    fn attempt(&self) -> Result<Option<Lock>, Error> {
        let path = self.path;
        let Some(Opened { file, made_here }) = self.open()? else {
            return Ok(None);
        };
        // What was made for nothing does not stay.
        let undo = || {
            if made_here {
                let _ = rustix::fs::unlink(path);
            }
        };
        let stat = rustix::fs::fstat(&file).map_err(|errno| {
            undo();
            look_failed(path, errno)
        })?;
        if !made_here {
            self.check(&stat)?;
        }
        let lock = || rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive);
        let locked = match lock() {
            // Nobody may have it but one that looks: it does not stay for nothing.
            Err(Errno::WOULDBLOCK) if made_here => {
                std::thread::sleep(LOOK_LIMIT);
                lock()
            }
            locked => locked,
        };
        match locked {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Ok(None),
            Err(errno) => {
                undo();
                return Err(lock_failed(path, errno));
            }
        }
        if made_here {
            // The process's mask may have taken some of it away. A guest that finds it so
            // tries again.
            rustix::fs::fchmod(&file, self.mode()).map_err(|errno| {
                undo();
                mode_failed(path, errno)
            })?;
        } else {
            self.open_to_guests(&file, &stat)?;
        }
        let mut lock = self.locked(file, &stat, made_here || self.may_remove(&stat))?;
        if !lock.is_there()? {
            return Ok(None);
        }
        if self.name.is_private() {
            lock._directory = hold_directory(path);
        }
        Ok(Some(lock))
    }

    fn may_remove(&self, stat: &Stat) -> bool {
        is_marked(stat) || self.name.is_private()
    }

    fn locked(&self, file: OwnedFd, stat: &Stat, is_ours: bool) -> Result<Lock, Error> {
        Ok(Lock {
            path: self.path.to_owned(),
            file,
            identity: Identity::of(stat),
            is_ours,
            _directory: None,
            origin: Origin::here()?,
        })
    }

    /// `None` if the file came or went between two looks.
    fn open(&self) -> Result<Option<Opened>, Error> {
        if let Some(file) = self.open_existing()? {
            return Ok(Some(Opened {
                file,
                made_here: false,
            }));
        }
        let path = self.path;
        let made = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | CAREFUL;
        match rustix::fs::open(path, made, self.mode()) {
            Ok(file) => Ok(Some(Opened {
                file,
                made_here: true,
            })),
            Err(Errno::EXIST) => Ok(None),
            Err(errno) => Err(self.name.cannot_be_made(open_failed(path, errno))),
        }
    }

    /// `None` if there is no file.
    fn open_existing(&self) -> Result<Option<OwnedFd>, Error> {
        let path = self.path;
        match self.open_for_lock() {
            Ok(file) => Ok(Some(file)),
            Err(Errno::NOENT) => Ok(None),
            Err(Errno::ACCESS | Errno::PERM) => {
                Err(foreign(path).unwrap_or(open_failed(path, Errno::ACCESS)))
            }
            Err(Errno::LOOP) => Err(no_lock(path, "is a symbolic link")),
            Err(Errno::ISDIR) => Err(no_lock(path, "is a directory")),
            Err(errno) => Err(open_failed(path, errno)),
        }
    }

    fn open_for_lock(&self) -> Result<OwnedFd, Errno> {
        match rustix::fs::open(self.path, OFlags::RDWR | CAREFUL, Mode::empty()) {
            // Another user's, which can be locked all the same.
            Err(Errno::ACCESS) if !self.guests.is_empty() => {
                rustix::fs::open(self.path, OFlags::RDONLY | CAREFUL, Mode::empty())
            }
            opened => opened,
        }
    }

    /// Whether a file that was there can be a lock of brigade: somebody else's file of
    /// this name must be left alone, whatever it is.
    fn check(&self, stat: &Stat) -> Result<(), Error> {
        let path = self.path;
        let (owner, own) = (User::of(stat), User::own());
        if owner != own && !self.guests.contains(&owner) {
            return Err(foreign(path).unwrap_or(look_failed(path, Errno::ACCESS)));
        }
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(no_lock(path, "is no regular file"));
        }
        if stat.st_size != 0 {
            return Err(no_lock(path, "is not empty"));
        }
        if stat.st_nlink > 1 {
            return Err(no_lock(path, "has a second name (a hard link)"));
        }
        Ok(())
    }

    /// A file that was there may be one that no guest could take. If brigade made it, a
    /// process that allowed nobody was killed; the mode of others is left alone.
    fn open_to_guests(&self, file: &OwnedFd, stat: &Stat) -> Result<(), Error> {
        let path = self.path;
        let mode = Mode::from_raw_mode(stat.st_mode);
        if self.guests.is_empty() || mode.union(MARK).contains(SHARED_LOCK_MODE) {
            return Ok(());
        }
        if !is_marked(stat) {
            return Err(in_the_way(
                path,
                "was left from earlier, and other users cannot open it; remove it",
            ));
        }
        rustix::fs::fchmod(file, self.mode()).map_err(|errno| mode_failed(path, errno))
    }
}

/// Never follows a link, never waits for a pipe's other end.
const CAREFUL: OFlags = OFlags::CLOEXEC
    .union(OFlags::NOFOLLOW)
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY);

fn no_lock(path: &Path, why: &str) -> Error {
    in_the_way(
        path,
        &format!("{why}, so it is no lock of brigade; choose another name"),
    )
}

/// The refusal for a name where something else has its place.
pub(super) fn in_the_way(path: &Path, why: &str) -> Error {
    let reason = Refusal::InTheWay { path: path.into() };
    Refused::new(reason, format!("{} {why}", path.display())).into()
}

fn open_failed(path: &Path, errno: Errno) -> Error {
    failed(format!("open the lock file {}", path.display()), errno)
}

fn look_failed(path: &Path, errno: Errno) -> Error {
    failed(format!("look at {}", path.display()), errno)
}

fn mode_failed(path: &Path, errno: Errno) -> Error {
    failed(format!("set the mode of {}", path.display()), errno)
}

fn lock_failed(path: &Path, errno: Errno) -> Error {
    let path = path.display();
    // By number: some of these names stand for one number on one system, and for two on
    // another.
    let unsupported = [Errno::NOLCK, Errno::NOTSUP, Errno::OPNOTSUPP, Errno::NOSYS];
    if unsupported.contains(&errno) {
        return failed(
            format!("lock {path} (its file system has no locks; give a name in another directory)"),
            errno,
        );
    }
    failed(format!("lock {path}"), errno)
}

/// Whoever cleans /tmp leaves alone a directory that somebody has locked
/// (tmpfiles.d(5)). Nothing depends on it: a host also notices that its files are gone.
fn hold_directory(lock: &Path) -> Option<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | CAREFUL;
    let directory = rustix::fs::open(lock.parent()?, flags, Mode::empty()).ok()?;
    let shared = FlockOperation::NonBlockingLockShared;
    rustix::fs::flock(&directory, shared).ok()?;
    Some(directory)
}

/// The refusal for a name whose file is another user's; `None` if it is not.
pub(super) fn foreign(path: &Path) -> Option<Error> {
    let owner = User::of(&rustix::fs::lstat(path).ok()?);
    let own = User::own();
    (owner != own).then(|| {
        let text = format!(
            "the name is in use by user {owner}, this process runs as user {own} ({} is theirs); \
             choose another name, or let each of the two processes allow the other's user",
            path.display()
        );
        let user = owner.to_string();
        Refused::new(Refusal::OtherUser { user }, text).into()
    })
}

#[cfg(all(test, not(loom)))]
#[allow(
    clippy::unwrap_used,
    reason = "a test says what it expects by unwrapping it"
)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn of_many_that_come_and_go_no_two_have_the_seat_though_its_file_is_removed_each_time() {
        let directory = tempfile::tempdir().unwrap();
        let name = Name::parse(&format!("{}/n", directory.path().display())).unwrap();
        let (holders, taken) = (AtomicUsize::new(0), AtomicUsize::new(0));
        // Some two seconds; on a busy machine what it takes, unless nothing happens at all.
        const TAKEN: usize = 200;
        let limit = Instant::now() + Duration::from_secs(300);
        let goes_on = || taken.load(Ordering::SeqCst) < TAKEN && Instant::now() < limit;
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    while goes_on() {
                        if let Some(seat) = take_seat(&name, &[], false).unwrap() {
                            assert_eq!(holders.fetch_add(1, Ordering::SeqCst), 0);
                            taken.fetch_add(1, Ordering::SeqCst);
                            std::thread::yield_now();
                            holders.fetch_sub(1, Ordering::SeqCst);
                            drop(seat);
                        }
                    }
                });
            }
        });
        assert!(taken.into_inner() >= TAKEN, "the seat is not given back");
        let left = std::fs::read_dir(directory.path()).unwrap().count();
        assert!(left <= 1, "{left}");
    }
}
