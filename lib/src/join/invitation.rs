//! Joining without a name: a process and one that it starts.

use std::process::{Child, Command};
use std::sync::Arc;

use super::host::{Door, Host, Showing};
use super::intent::Intent;
use super::seat::new_cores;
use super::{Role, Seat};
use crate::error::Error;
use crate::options::Options;
use crate::pair::Core;
use crate::sys;

/// A session to which a process that is yet to be started is invited: see [`invite`].
///
/// Dropped, it was none.
pub struct Invitation {
    invitation: sys::Invitation,
    showing: Showing,
    cores: Vec<Arc<Core>>,
    options: Options,
}

impl std::fmt::Debug for Invitation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Invitation")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

/// Makes a session for this process and one that it will start. There is no name, no file
/// and no third process that could come between: the started process inherits the way in,
/// and calls [`accept`]. This process is the first, so it is the Reader unless
/// [`Options::side`] says otherwise.
///
/// # Errors
///
/// [`Error::InvalidOption`], [`Error::OutOfMemory`], and what the system says.
///
/// # Example
///
/// ```no_run
/// use brigade::Options;
/// use std::process::Command;
///
/// let invitation = brigade::invite(&Options::new())?;
/// let (mut child, seat) = invitation.spawn(&mut Command::new("drain"))?;
/// let reader = seat.wait()?.into_reader().ok_or("who invites is the Reader")?;
/// let block = reader.empty_block()?;
/// block.send(0, 0)?;
/// reader.finish()?;
/// # drop(child.wait());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// And in `drain`:
///
/// ```no_run
/// use brigade::Options;
///
/// let role = brigade::accept(&Options::new())?;
/// let writer = role.into_writer().ok_or("who was invited is the Writer")?;
/// while let Some(block) = writer.data_block()? {
///     drop(block);
/// }
/// writer.finish()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn invite(options: &Options) -> Result<Invitation, Error> {
    check_invited(options)?;
    let showing = Showing::new(Intent::new(options, None)?)?;
    Ok(Invitation {
        invitation: sys::Invitation::new()?,
        showing,
        cores: new_cores(options.ways)?,
        options: options.clone(),
    })
}

impl Invitation {
    /// Starts `command` with this invitation, which it learns of by an environment variable,
    /// and which no other process that is started inherits. (On Windows one that is started
    /// in the same moment does, without knowing.) `command` is as it was then, and may be
    /// used again.
    ///
    /// Call [`Seat::wait`] soon: only there is the started process answered. It waits
    /// until that process, or one to which it has passed the invitation on, joins, and for
    /// [`Options::wait`] at most. It fails with [`Error::InvitationOver`] if the process ends or
    /// closes what it inherited before it has joined, and with [`Error::Refused`] if it does
    /// not fit: nobody else can come. (On Windows, what a process says that ends at once may be
    /// lost with it: then it has ended, and that is all.)
    ///
    /// A process that was forked off this one after [`invite`], and runs no program of its
    /// own, has a copy of what is inherited: the end of the started process is then noticed
    /// no sooner than that of the forked one.
    ///
    /// # Errors
    ///
    /// What the system says of `command`. [`Error::InvalidUse`] in a process that was forked
    /// off the one that invited.
    pub fn spawn(self, command: &mut Command) -> Result<(Child, Seat), Error> {
        self.cores[0].check_here()?;
        let (child, channel) = self.invitation.spawn(command)?;
        let host = Host::new(Door::Invited(channel), self.showing);
        Ok((child, Seat::of_host(host, &self.cores, &self.options)))
    }
}

/// Joins the session to which the process that started this one [invited](invite) it. The
/// options must fit that process's, as in [`join`](crate::join()): it is the first, this
/// one the second.
///
/// May be called once, and not after this process has passed the invitation on. What it
/// inherited is not passed on to processes that are started later.
///
/// # Errors
///
/// [`Error::InvalidUse`] if this process was not invited, or has accepted before;
/// [`Error::InvitationOver`] if the inviting process has ended or given up;
/// [`Error::NotAnswering`] if it has not come to wait within five seconds, or
/// [`Options::wait`] if that is longer; otherwise as [`join`](crate::join()).
pub fn accept(options: &Options) -> Result<Role, Error> {
    Seat::accept(options)?.wait()
}

/// Nobody could find a place that has no name.
pub(super) fn check_invited(options: &Options) -> Result<(), Error> {
    match options.takeover {
        None => Ok(()),
        Some(_) => Err(Error::InvalidOption(
            "nobody takes over the place of a process that was invited".into(),
        )),
    }
}
