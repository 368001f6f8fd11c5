//! A Writer that goes on once its Reader is gone.

use crate::error::Error;
use crate::join::Lone;
use crate::monitor::Monitor;
use crate::options::Options;
use crate::writer::Writer;

/// What is left of a [`Writer`] that has lost its Reader: made by
/// [`Writer::into_survivor`]. It can go on with another one.
///
/// With [`Options::takeover`] it keeps the Writer's place under the name, whatever
/// [`Survivor::rejoin`] comes to; dropped, it gives it up, and whoever joins then begins a
/// session.
#[derive(Debug)]
pub struct Survivor {
    lone: Lone,
}

impl Survivor {
    /// Joins another Reader under `name`, as [`join`](crate::join()) does, and waits for it:
    /// for [`Options::wait`] at most, and no longer than what is left of
    /// [`Options::takeover`]. Nothing of the old session comes through any more, whatever
    /// of the old Reader's process lives on.
    ///
    /// `options` must have the same blocks; the [side](Options::side) is the Writer's. The
    /// two processes are a new pair: counts ([`Writer::delivered`]), letters, figures and
    /// messages begin anew. What the new Reader is to send, it must learn from the
    /// application: by the greeting, or by a letter. It knows by [`Reader::epoch`] that it has
    /// taken somebody's place, and this process by [`Writer::epoch`] that it has met one that
    /// did.
    ///
    /// A block of the old pair that is still detached
    /// ([`OwnedDataBlock`](crate::OwnedDataBlock)) keeps its bytes until it is dropped, and
    /// with them the memory of the old pool; it is not given back to anybody.
    ///
    /// [`Reader::epoch`]: crate::Reader::epoch
    ///
    /// # Errors
    ///
    /// As [`join`](crate::join()), and [`Error::InvalidOption`] for other blocks. Nothing is
    /// lost then: it can be called again. [`Error::InvalidUse`] if it has succeeded before.
    pub fn rejoin(&mut self, name: &str, options: &Options) -> Result<Writer, Error> {
        self.rejoin_with(name, options, drop)
    }

    /// As [`Survivor::rejoin`]; once this process has its place, and before the partner is
    /// there, `seated` gets a handle on it for other threads: [`Monitor::abort`] ends the wait.
    ///
    /// # Errors
    ///
    /// As there, and [`Error::Aborted`]: it can be called again.
    pub fn rejoin_with(
        &mut self,
        name: &str,
        options: &Options,
        seated: impl FnOnce(Monitor),
    ) -> Result<Writer, Error> {
        let options = self.lone.options(options)?;
        let (core, pair) = self.lone.meet(name, &options, None, seated)?;
        Ok(Writer::new(core, pair))
    }
}

impl Writer {
    /// What can go on with another Reader, after this one's has died, given up or hung up,
    /// and all that it had sent was taken: [`Writer::data_block`] reports the loss only then.
    /// This end is over: [monitors](crate::Monitor) of it reach nobody any more.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidUse`] if the Reader is still there; if blocks that it sent were not
    /// taken, or a stream has left a part of one; if it had said that no more data will come
    /// (then nobody is missed, see [`Writer::finish`]); or if this process gave up before the
    /// Reader was found dead. [`Error::ProtocolViolation`] if what the Reader shows cannot
    /// be. The Writer is dropped then.
    pub fn into_survivor(self) -> Result<Survivor, Error> {
        self.check_lost()?;
        let end = self.end();
        // What came home is given back: the old Reader may live, and ask what was.
        end.pass_on();
        let lone = end.lone();
        end.leave("it goes on with another reader");
        Ok(Survivor { lone })
    }

    /// For who must not lose the Writer to a call that refuses: an error if
    /// [`Writer::into_survivor`] would be one.
    #[doc(hidden)]
    pub fn check_lost(&self) -> Result<(), Error> {
        let end = self.end();
        if end.has_ended() {
            return Err(Error::InvalidUse("the verdict was given"));
        }
        end.find_lost()?;
        if matches!(end.partner_ended(), Ok(true)) {
            return Err(Error::InvalidUse(
                "the reader has said that no more data will come",
            ));
        }
        if end.has_incoming() {
            return Err(Error::InvalidUse(
                "not all that the reader had sent was taken",
            ));
        }
        Ok(())
    }

    /// As [`Writer::into_survivor`], but it is this process that leaves the Reader, though
    /// that is still there: one that came in a lost one's place and is not fit for it, for
    /// instance. The Reader gets `reason` (cut to 1024 bytes) and `code`, a number of the
    /// application's choice, as [`Error::PartnerAborted`]. Blocks that were not taken are lost.
    ///
    /// A process that does not hear of it, because it is stopped for instance, still has
    /// what [`Options::takeover`] gave it. So long newcomers that have that option, too, are
    /// refused with [`Error::TooManyInstances`]; and if the one that was sent away had the
    /// first place, `rejoin` under the same name waits, and fails with that, too.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidUse`] if the verdict was given. The Writer is dropped then.
    pub fn dismiss(self, code: u32, reason: &str) -> Result<Survivor, Error> {
        let end = self.end();
        end.check_here()?;
        if end.has_ended() {
            return Err(Error::InvalidUse("the verdict was given"));
        }
        end.pass_on();
        let lone = end.dismiss(code, reason);
        end.leave("it goes on with another reader");
        Ok(Survivor { lone })
    }
}
