//! A session in which data goes both ways: two lanes, joined as one.

use super::{Invitation, Seat, invite};
use crate::error::Error;
use crate::options::Options;
use crate::reader::Reader;
use crate::writer::Writer;

/// Both ends of a session in which data goes both ways: the Reader sends to the partner's
/// Writer, the Writer receives from the partner's Reader.
///
/// One joining, one name, one death: if the partner dies, or gives up with either of its
/// ends, both of these fail; and so do both of the partner's if one of these is aborted, or
/// dropped before its end. One that has ended well leaves the other as it is. The two may
/// go to two threads; one thread can wait for both with [`wait_any`](crate::wait_any).
///
/// Where both processes may send all they have before they listen, each [closes](Reader::close)
/// first, then drains, and waits for its [verdict](Reader::verdict) last.
#[derive(Debug)]
pub struct BothWays {
    /// What this process sends with.
    pub reader: Reader,
    /// What it receives with.
    pub writer: Writer,
    /// Whether this process came first.
    pub is_first: bool,
}

/// As [`join`](crate::join()), for a session in which data goes both ways. Each way has a
/// pool of its own, of the size that `options` say.
///
/// [`Options::side`] is not needed. If it is given, the two processes must give different
/// ones.
///
/// # Errors
///
/// As [`join`](crate::join()); [`Error::Refused`] with
/// [`Refusal::OtherWays`](crate::Refusal::OtherWays) if the other process wants one way.
///
/// # Example
///
/// A question and an answer; two threads stand in for the two processes:
///
/// ```
/// use brigade::{BothWays, Error, Options};
///
/// # let directory = tempfile::tempdir().unwrap();
/// # let name = format!("{}/example", directory.path().display());
/// # let other = name.clone();
/// # let thread = std::thread::spawn(move || run(&other).unwrap());
/// fn run(name: &str) -> Result<Vec<u8>, Error> {
///     let BothWays { reader, writer, is_first } = brigade::join_both_ways(name, &Options::new())?;
///     let heard = match is_first {
///         true => {
///             say(&reader, b"what?")?;
///             hear(&writer)?
///         }
///         false => {
///             let heard = hear(&writer)?;
///             say(&reader, b"that")?;
///             heard
///         }
///     };
///     reader.close()?; // no more to say, which does not wait
///     assert!(writer.data_block()?.is_none());
///     writer.finish()?; // all was heard
///     reader.verdict()?; // so has the partner
///     Ok(heard)
/// }
///
/// fn say(reader: &brigade::Reader, words: &[u8]) -> Result<(), Error> {
///     let mut block = reader.empty_block()?;
///     block[..words.len()].copy_from_slice(words);
///     block.send(words.len(), 0)
/// }
///
/// fn hear(writer: &brigade::Writer) -> Result<Vec<u8>, Error> {
///     let block = writer.data_block()?;
///     Ok(block.map_or_else(Vec::new, |block| block.to_vec()))
/// }
/// # let mut heard = [run(&name).unwrap(), thread.join().unwrap()];
/// # heard.sort();
/// # assert_eq!(heard, [b"that".to_vec(), b"what?".to_vec()]);
/// ```
pub fn join_both_ways(name: &str, options: &Options) -> Result<BothWays, Error> {
    Seat::take(name, &options.clone().both_ways())?.wait_both_ways()
}

/// As [`invite`](crate::invite), for a session in which data goes both ways: the seat that
/// [`Invitation::spawn`] gives is for [`Seat::wait_both_ways`], and the started process
/// calls [`accept_both_ways`].
///
/// # Errors
///
/// As [`invite`](crate::invite).
pub fn invite_both_ways(options: &Options) -> Result<Invitation, Error> {
    invite(&options.clone().both_ways())
}

/// As [`accept`](crate::accept), for a session in which data goes both ways.
///
/// # Errors
///
/// As [`accept`](crate::accept); [`Error::Refused`] with
/// [`Refusal::OtherWays`](crate::Refusal::OtherWays) if the other process wants one way.
pub fn accept_both_ways(options: &Options) -> Result<BothWays, Error> {
    Seat::accept(&options.clone().both_ways())?.wait_both_ways()
}
