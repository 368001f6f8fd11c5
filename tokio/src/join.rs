//! Two processes becoming a pair, as a future.
//!
//! Joining is a handful of short exchanges with a process that is not trusted to answer, and a
//! wait for it to come. The library does this by blocking; here, a thread of the runtime's pool
//! for such work does.

use std::future::Future;
use std::io;
use std::panic;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use brigade::{Error, Monitor, Options, Seat};
use tokio::task::JoinHandle;

use crate::{AsyncReader, AsyncWriter};

/// What this process became.
#[derive(Debug)]
pub enum Role {
    /// It fills blocks.
    Reader(AsyncReader),
    /// It drains blocks.
    Writer(AsyncWriter),
}

impl Role {
    /// The Reader, for who has said by [`Options::side`], or by inviting, that it is one.
    /// `None` if this process became the Writer, which is dropped then.
    pub fn into_reader(self) -> Option<AsyncReader> {
        match self {
            Role::Reader(reader) => Some(reader),
            Role::Writer(_) => None,
        }
    }

    /// The Writer; otherwise as [`Role::into_reader`].
    pub fn into_writer(self) -> Option<AsyncWriter> {
        match self {
            Role::Writer(writer) => Some(writer),
            Role::Reader(_) => None,
        }
    }
}

impl TryFrom<brigade::Role> for Role {
    type Error = Error;

    fn try_from(role: brigade::Role) -> Result<Role, Error> {
        Ok(match role {
            brigade::Role::Reader(reader) => Role::Reader(AsyncReader::new(reader)?),
            brigade::Role::Writer(writer) => Role::Writer(AsyncWriter::new(writer)?),
        })
    }
}

/// Both ends of a session in which data goes both ways: see [`brigade::BothWays`].
#[derive(Debug)]
pub struct BothWays {
    /// What this process sends with.
    pub reader: AsyncReader,
    /// What it receives with.
    pub writer: AsyncWriter,
    /// Whether this process came first.
    pub is_first: bool,
}

impl TryFrom<brigade::BothWays> for BothWays {
    type Error = Error;

    fn try_from(both: brigade::BothWays) -> Result<BothWays, Error> {
        Ok(BothWays {
            reader: AsyncReader::new(both.reader)?,
            writer: AsyncWriter::new(both.writer)?,
            is_first: both.is_first,
        })
    }
}

/// As [`brigade::join`]: joins the session `name` and waits for the partner.
///
/// Cancel-safe: a dropped future gives the place up, at once if it waits for a partner, and
/// after half a second at most (as a rule) if it is on its way to one. Until it is ready it takes one of the
/// runtime's threads for blocking work ([`max_blocking_threads`]).
///
/// [`max_blocking_threads`]: https://docs.rs/tokio/1/tokio/runtime/struct.Builder.html#method.max_blocking_threads
///
/// # Errors
///
/// As there, and [`Error::Os`] if the runtime is shut down.
///
/// # Panics
///
/// Outside of a Tokio runtime, and, on Unix, if that has no I/O (`enable_io`).
///
/// # Example
///
/// ```no_run
/// use brigade::{Error, Options};
/// use brigade_tokio::Role;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Error> {
/// match brigade_tokio::join("my-transfer", &Options::new()).await? {
///     Role::Reader(mut reader) => {
///         let mut block = reader.empty_block().await?;
///         block[..5].copy_from_slice(b"water");
///         reader.send_block(block, 5, 0)?;
///         reader.finish().await?; // the Writer has said that all is well
///     }
///     Role::Writer(mut writer) => {
///         while let Some(block) = writer.data_block().await? {
///             println!("{} bytes", block.len());
///         }
///         writer.finish()?;
///     }
/// }
/// # Ok(()) }
/// ```
pub fn join(
    name: &str,
    options: &Options,
) -> impl Future<Output = Result<Role, Error>> + Send + use<> {
    let (name, options) = (name.to_owned(), options.clone());
    let take = move |begun: Begun| Seat::take_with(&name, &options, begun);
    async { Joining::start(take, Seat::wait).await?.try_into() }
}

/// As [`brigade::Seat::wait`]: for a seat that was taken, by inviting or by an invitation, for
/// instance. Otherwise as [`join()`].
///
/// # Errors
///
/// As there.
///
/// # Panics
///
/// As there.
pub async fn wait(seat: Seat) -> Result<Role, Error> {
    Joining::start(of_taken(seat), Seat::wait).await?.try_into()
}

/// As [`brigade::Seat::wait_both_ways`], otherwise as [`wait`].
///
/// # Errors
///
/// As there.
///
/// # Panics
///
/// As there.
pub async fn wait_both_ways(seat: Seat) -> Result<BothWays, Error> {
    let joining = Joining::start(of_taken(seat), Seat::wait_both_ways);
    joining.await?.try_into()
}

/// As [`brigade::join_both_ways`], otherwise as [`join()`].
///
/// # Errors
///
/// As there.
///
/// # Panics
///
/// As there.
pub fn join_both_ways(
    name: &str,
    options: &Options,
) -> impl Future<Output = Result<BothWays, Error>> + Send + use<> {
    let (name, options) = (name.to_owned(), options.clone().both_ways());
    let take = move |begun: Begun| Seat::take_with(&name, &options, begun);
    async { Joining::start(take, Seat::wait_both_ways).await?.try_into() }
}

/// As [`brigade::accept`], otherwise as [`join()`].
///
/// # Errors
///
/// As there.
///
/// # Panics
///
/// As there.
pub fn accept(options: &Options) -> impl Future<Output = Result<Role, Error>> + Send + use<> {
    let options = options.clone();
    let accept = move |begun: Begun| Seat::accept_with(&options, begun);
    async { Joining::start(accept, Seat::wait).await?.try_into() }
}

/// As [`brigade::accept_both_ways`], otherwise as [`join()`].
///
/// # Errors
///
/// As there.
///
/// # Panics
///
/// As there.
pub fn accept_both_ways(
    options: &Options,
) -> impl Future<Output = Result<BothWays, Error>> + Send + use<> {
    let options = options.clone().both_ways();
    let accept = move |begun: Begun| Seat::accept_with(&options, begun);
    async {
        Joining::start(accept, Seat::wait_both_ways)
            .await?
            .try_into()
    }
}

/// To be told once joining can be given up.
type Begun = Box<dyn FnOnce(Monitor) + Send>;

fn of_taken(seat: Seat) -> impl FnOnce(Begun) -> Result<Seat, Error> + Send {
    |begun| {
        begun(seat.monitor());
        Ok(seat)
    }
}

/// A thread that joins, and gives up when this is dropped.
struct Joining<T> {
    thread: JoinHandle<Result<T, Error>>,
    place: Arc<Mutex<Place>>,
}

/// What the thread is about.
#[derive(Default)]
struct Place {
    monitor: Option<Monitor>,
    is_given_up: bool,
}

const GIVEN_UP: &str = "it gave up its place";

impl<T: Send + 'static> Joining<T> {
    fn start(
        take: impl FnOnce(Begun) -> Result<Seat, Error> + Send + 'static,
        wait: impl FnOnce(Seat) -> Result<T, Error> + Send + 'static,
    ) -> Joining<T> {
        let place = Arc::new(Mutex::new(Place::default()));
        let same = Arc::clone(&place);
        let begun = move |monitor: Monitor| {
            let mut place = locked(&same);
            match place.is_given_up {
                true => monitor.abort(GIVEN_UP),
                false => place.monitor = Some(monitor),
            }
        };
        let join = move || wait(take(Box::new(begun))?);
        Joining {
            thread: tokio::task::spawn_blocking(join),
            place,
        }
    }
}

/// A panic while it was held leaves it valid: each use is a single step.
fn locked(place: &Mutex<Place>) -> MutexGuard<'_, Place> {
    place.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<T> Future for Joining<T> {
    type Output = Result<T, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<T, Error>> {
        let joined = match ready!(Pin::new(&mut self.thread).poll(cx)) {
            Ok(joined) => joined,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => panic::resume_unwind(panic),
                Err(cancelled) => Err(Error::Os {
                    operation: "join in a thread of the runtime's".to_owned(),
                    source: io::Error::other(cancelled),
                }),
            },
        };
        // What it became belongs to who gets it.
        locked(&self.place).monitor = None;
        Poll::Ready(joined)
    }
}

impl<T> Drop for Joining<T> {
    fn drop(&mut self) {
        // If it has yet to begin, it does not.
        self.thread.abort();
        let mut place = locked(&self.place);
        place.is_given_up = true;
        if let Some(monitor) = place.monitor.take() {
            monitor.abort(GIVEN_UP);
        }
    }
}
