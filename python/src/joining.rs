//! Two processes becoming a pair, while signals are heeded.

use std::collections::HashMap;
use std::ffi::OsString;
use std::panic::{self, AssertUnwindSafe};
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Condvar, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use engine::{BothWays, Error, Role, Seat};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::errors::raised;
use crate::lock::Mutex;
use crate::options;
use crate::reader::Reader;
use crate::wait::{Limit, wait};
use crate::writer::Writer;

/// Joining, which a thread of its own does: it cannot be interrupted in all of its steps.
struct Joining<T> {
    state: std::sync::Mutex<State<T>>,
    changed: Condvar,
}

struct State<T> {
    /// Nobody wants to join any more.
    is_cancelled: bool,
    /// What ends the wait for the partner, once it has begun.
    seat: Option<engine::Monitor>,
    joined: Option<Result<T, Error>>,
}

const DEFECT: Error = Error::InvalidUse("a defect of brigade: joining panicked");

const INTERRUPTED: &str = "it was interrupted before it had a partner";

/// How long an interrupted call waits until the name is free again.
const LEAVING: Duration = Duration::from_millis(40);

impl<T> Joining<T> {
    fn state(&self) -> MutexGuard<'_, State<T>> {
        // Nobody panics with it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_seated(&self, monitor: engine::Monitor) {
        let mut state = self.state();
        match state.is_cancelled {
            true => monitor.abort(INTERRUPTED),
            false => state.seat = Some(monitor),
        }
    }

    fn has_joined(&self, joined: Result<T, Error>) {
        let mut state = self.state();
        let is_wanted = !state.is_cancelled;
        state.joined = is_wanted.then_some(joined);
        self.changed.notify_all();
    }

    fn wait_until(&self, until: Option<Instant>) -> Result<T, Error> {
        let mut state = self.state();
        loop {
            if let Some(joined) = state.joined.take() {
                return joined;
            }
            let rest = until.map(|until| until.saturating_duration_since(Instant::now()));
            state = match rest {
                Some(Duration::ZERO) => return Err(Error::TimedOut),
                Some(rest) => self.changed_within(state, rest),
                None => (self.changed.wait(state)).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    fn changed_within<'s>(
        &self,
        state: MutexGuard<'s, State<T>>,
        limit: Duration,
    ) -> MutexGuard<'s, State<T>> {
        let waited = self.changed.wait_timeout(state, limit);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    fn cancel(&self) {
        let mut state = self.state();
        state.is_cancelled = true;
        if let Some(monitor) = state.seat.take() {
            monitor.abort(INTERRUPTED);
        }
        let mut state = self.changed_within(state, LEAVING);
        // What has come meanwhile is nobody's.
        let joined = state.joined.take();
        drop(state);
        drop(joined);
    }
}

/// Lets another thread `join`, which gives what ends its wait to what it is called with; waits
/// for it.
pub(crate) fn join_in_thread<T: Send + 'static>(
    py: Python<'_>,
    join: impl FnOnce(&dyn Fn(engine::Monitor)) -> Result<T, Error> + Send + 'static,
) -> PyResult<T> {
    let joining = Arc::new(Joining {
        state: std::sync::Mutex::new(State {
            is_cancelled: false,
            seat: None,
            joined: None,
        }),
        changed: Condvar::new(),
    });
    let theirs = Arc::clone(&joining);
    thread::Builder::new()
        .name("brigade join".into())
        .spawn(move || {
            let join = || join(&|monitor| theirs.is_seated(monitor));
            // Else somebody would wait for this thread for ever.
            let joined = panic::catch_unwind(AssertUnwindSafe(join));
            theirs.has_joined(joined.unwrap_or(Err(DEFECT)));
        })?;
    let joined = wait(py, Limit::Forever, |until| {
        match joining.wait_until(until) {
            // That of the session, which is another one than that of this wait.
            Err(Error::TimedOut) => Err(Error::TimedOut),
            joined => Ok(joined),
        }
    });
    match joined {
        Ok(joined) => joined.map_err(|error| raised(py, error)),
        Err(interrupted) => {
            py.detach(|| joining.cancel());
            Err(interrupted)
        }
    }
}

fn wait_for(seat: Seat, seated: &dyn Fn(engine::Monitor)) -> Result<Role, Error> {
    seated(seat.monitor());
    seat.wait()
}

fn wait_both_ways(seat: Seat, seated: &dyn Fn(engine::Monitor)) -> Result<BothWays, Error> {
    seated(seat.monitor());
    seat.wait_both_ways()
}

fn end(py: Python<'_>, role: Role) -> PyResult<Py<PyAny>> {
    match role {
        Role::Reader(reader) => Ok(Py::new(py, Reader::new(reader))?.into_any()),
        Role::Writer(writer) => Ok(Py::new(py, Writer::new(writer))?.into_any()),
    }
}

fn ends(py: Python<'_>, both: BothWays) -> PyResult<(Py<Reader>, Py<Writer>, bool)> {
    let reader = Py::new(py, Reader::new(both.reader))?;
    let writer = Py::new(py, Writer::new(both.writer))?;
    Ok((reader, writer, both.is_first))
}

/// Joins the session `name` and waits for the partner.
///
/// The first process becomes the Reader and the second the Writer, unless `side` says otherwise. A name with a
/// separator in it is a path, for processes that share a directory; others are private to the user.
///
/// Raises TooManyInstances, NoPartner after `timeout`, Refused, InvalidOption, and what the system says.
#[pyfunction]
#[pyo3(signature = (name, **options))]
pub(crate) fn join(
    py: Python<'_>,
    name: PathBuf,
    options: Option<&Bound<'_, PyDict>>,
) -> PyResult<Py<PyAny>> {
    let (name, options) = (options::name(name)?, options::options(options)?);
    let role = join_in_thread(py, move |seated| {
        wait_for(Seat::take(&name, &options)?, seated)
    })?;
    end(py, role)
}

/// As `join`, for a session in which data goes both ways: what this process sends with, what it receives
/// with, and whether it came first.
#[pyfunction]
#[pyo3(signature = (name, **options))]
pub(crate) fn join_both_ways(
    py: Python<'_>,
    name: PathBuf,
    options: Option<&Bound<'_, PyDict>>,
) -> PyResult<(Py<Reader>, Py<Writer>, bool)> {
    let (name, options) = (options::name(name)?, options::options(options)?);
    let options = options.both_ways();
    let both = join_in_thread(py, move |seated| {
        wait_both_ways(Seat::take(&name, &options)?, seated)
    })?;
    ends(py, both)
}

/// Joins the session to which the process that started this one invited it.
#[pyfunction]
#[pyo3(signature = (**options))]
pub(crate) fn accept(py: Python<'_>, options: Option<&Bound<'_, PyDict>>) -> PyResult<Py<PyAny>> {
    let options = options::options(options)?;
    let role = join_in_thread(py, move |seated| wait_for(Seat::accept(&options)?, seated))?;
    end(py, role)
}

/// As `accept`, for a session in which data goes both ways.
#[pyfunction]
#[pyo3(signature = (**options))]
pub(crate) fn accept_both_ways(
    py: Python<'_>,
    options: Option<&Bound<'_, PyDict>>,
) -> PyResult<(Py<Reader>, Py<Writer>, bool)> {
    let options = options::options(options)?.both_ways();
    let both = join_in_thread(py, move |seated| {
        wait_both_ways(Seat::accept(&options)?, seated)
    })?;
    ends(py, both)
}

/// A place in the session `name`, whose partner may be yet to come.
#[pyfunction]
#[pyo3(signature = (name, **options))]
pub(crate) fn take(
    py: Python<'_>,
    name: PathBuf,
    options: Option<&Bound<'_, PyDict>>,
) -> PyResult<Taken> {
    let (name, options) = (options::name(name)?, options::options(options)?);
    let seat = py.detach(|| Seat::take(&name, &options));
    let seat = seat.map_err(|error| raised(py, error))?;
    Ok(Taken {
        monitor: seat.monitor(),
        seat: Mutex::new(Some(seat)),
    })
}

/// For who joins in a thread and shall be able to end that: see `brigade.aio`. Its wait heeds no signals.
#[pyclass(frozen, name = "Seat", module = "brigade._brigade")]
pub(crate) struct Taken {
    seat: Mutex<Option<Seat>>,
    monitor: engine::Monitor,
}

#[pymethods]
impl Taken {
    /// Waits for the partner; once.
    fn wait(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let waited = Error::InvalidUse("this place was waited in before");
        let seat = self.seat.lock().take();
        let seat = seat.ok_or_else(|| raised(py, waited))?;
        let role = py.detach(|| seat.wait());
        end(py, role.map_err(|error| raised(py, error))?)
    }

    /// Leaves the place, or the session; ends the wait of another thread.
    fn abort(&self, py: Python<'_>, reason: &str) {
        py.detach(|| self.monitor.abort(reason));
    }
}

fn command(
    arguments: &[PathBuf],
    env: Option<HashMap<OsString, OsString>>,
    cwd: Option<PathBuf>,
) -> PyResult<Command> {
    let (program, arguments) = arguments
        .split_first()
        .ok_or_else(|| PyValueError::new_err("no program"))?;
    let mut command = Command::new(program);
    command.args(arguments);
    if let Some(env) = env {
        command.env_clear().envs(env);
    }
    if let Some(cwd) = cwd {
        command.current_dir(cwd);
    }
    Ok(command)
}

/// Starts a process that this one invites to a session without a name, and waits for it to `accept`. This
/// process is the Reader, unless `side` says otherwise. If it fails, the process is killed.
#[pyfunction]
#[pyo3(signature = (args, *, env=None, cwd=None, **options))]
pub(crate) fn invite(
    py: Python<'_>,
    args: Vec<PathBuf>,
    env: Option<HashMap<OsString, OsString>>,
    cwd: Option<PathBuf>,
    options: Option<&Bound<'_, PyDict>>,
) -> PyResult<(Child, Py<PyAny>)> {
    forget_those_that_ended();
    let mut command = command(&args, env, cwd)?;
    let invitation = engine::invite(&options::options(options)?);
    let invitation = invitation.map_err(|error| raised(py, error))?;
    let (child, seat) = invitation
        .spawn(&mut command)
        .map_err(|error| raised(py, error))?;
    let child = Child::new(child);
    let role = join_in_thread(py, move |seated| wait_for(seat, seated));
    match role.and_then(|role| end(py, role)) {
        Ok(end) => Ok((child, end)),
        // Nobody else would end it, nor ask how it ended.
        Err(error) => {
            py.detach(|| child.end())?;
            Err(error)
        }
    }
}

/// A process that was invited.
#[pyclass(frozen, weakref, module = "brigade")]
pub(crate) struct Child {
    pid: u32,
    child: Arc<Mutex<std::process::Child>>,
}

/// Children whose objects are gone, and that have not ended: asked for at the next invitation, so
/// that the system may forget those that have.
static LEFT: Mutex<Vec<Arc<Mutex<std::process::Child>>>> = Mutex::new(Vec::new());

/// How often a child that is waited for is looked at.
const LOOK: Duration = Duration::from_millis(5);

impl Child {
    fn new(child: std::process::Child) -> Child {
        Child {
            pid: child.id(),
            child: Arc::new(Mutex::new(child)),
        }
    }

    fn look(&self) -> Result<Option<i32>, Error> {
        let status = self.child.lock().try_wait();
        let failed = |source| failed("ask how the invited process ended", source);
        Ok(status.map_err(failed)?.map(returncode))
    }

    fn end(&self) -> PyResult<()> {
        let mut child = self.child.lock();
        child.kill()?;
        child.wait()?;
        Ok(())
    }
}

#[pymethods]
impl Child {
    #[getter]
    fn pid(&self) -> u32 {
        self.pid
    }

    /// How it ended, as `subprocess` says it; None if it has not.
    fn poll(&self, py: Python<'_>) -> PyResult<Option<i32>> {
        self.look().map_err(|error| raised(py, error))
    }

    #[pyo3(signature = (timeout=None))]
    fn wait(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<i32> {
        wait(py, Limit::new(timeout)?, |until| {
            loop {
                if let Some(returncode) = self.look()? {
                    return Ok(returncode);
                }
                if until.is_some_and(|until| until <= Instant::now()) {
                    return Err(Error::TimedOut);
                }
                thread::sleep(LOOK);
            }
        })
    }

    fn kill(&self, py: Python<'_>) -> PyResult<()> {
        let killed = self.child.lock().kill();
        killed.map_err(|source| raised(py, failed("kill the invited process", source)))
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // In a forked child, or if a fork came just then, it is not this process's affair.
        if let (Ok(None), Some(mut left)) = (self.child.lock().try_wait(), LEFT.try_lock()) {
            left.push(Arc::clone(&self.child));
        }
    }
}

fn forget_those_that_ended() {
    if let Some(mut left) = LEFT.try_lock() {
        left.retain(|child| matches!(child.lock().try_wait(), Ok(None)));
    }
}

fn failed(operation: &str, source: std::io::Error) -> Error {
    Error::Os {
        operation: operation.into(),
        source,
    }
}

fn returncode(status: std::process::ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| -signal(status))
}

#[cfg(unix)]
fn signal(status: std::process::ExitStatus) -> i32 {
    std::os::unix::process::ExitStatusExt::signal(&status).unwrap_or_default()
}

#[cfg(windows)]
fn signal(_: std::process::ExitStatus) -> i32 {
    0
}
