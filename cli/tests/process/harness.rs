//! A place for one test, and processes in it.

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// For what takes milliseconds, on a machine that is busy.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// What is promised after a death or a signal.
pub(crate) const PROMISED: Duration = Duration::from_secs(1);

/// Directories of one test: files in `path`, the private directory of names in
/// `run`.
pub(crate) struct Place {
    directory: tempfile::TempDir,
}

impl Place {
    pub(crate) fn new() -> Place {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("run")).unwrap();
        Place { directory }
    }

    pub(crate) fn root(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root().join(name)
    }

    pub(crate) fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    /// A path to be a session's name.
    pub(crate) fn name(&self) -> String {
        self.path("run/session").to_str().unwrap().to_owned()
    }

    /// The program, with `args`; standard input is empty.
    pub(crate) fn brigade<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        self.command(Path::new(env!("CARGO_BIN_EXE_brigade")), args)
    }

    pub(crate) fn command<S: AsRef<OsStr>>(
        &self,
        program: &Path,
        args: impl IntoIterator<Item = S>,
    ) -> Command {
        let mut command = Command::new(program);
        command
            .args(args)
            .env("XDG_RUNTIME_DIR", self.path("run"))
            .current_dir(self.root())
            .stdin(Stdio::null());
        command
    }

    /// Both halves of a copy with the same `args`, started at once.
    pub(crate) fn twice(&self, args: &[&str]) -> [Half; 2] {
        [(); 2].map(|()| Half::start(self.brigade(args)))
    }

    /// Nothing of a session is left but lock files: no socket, no partial file.
    pub(crate) fn assert_nothing_left(&self) {
        let mut left = Vec::new();
        for directory in [
            self.root().to_owned(),
            self.path("run"),
            self.path("run/brigade"),
        ] {
            for entry in std::fs::read_dir(directory).into_iter().flatten() {
                let name = entry.unwrap().file_name().into_string().unwrap();
                if name.ends_with(".sock") || name.ends_with(".brigade-partial") {
                    left.push(name);
                }
            }
        }
        assert!(left.is_empty(), "left behind: {left:?}");
    }

    /// The program where any user can run it, in a directory that any can enter.
    pub(crate) fn public_program(&self) -> PathBuf {
        let everyone = std::fs::Permissions::from_mode(0o777);
        std::fs::set_permissions(self.root(), everyone.clone()).unwrap();
        std::fs::set_permissions(self.path("run"), everyone).unwrap();
        let program = self.path("brigade");
        std::fs::copy(env!("CARGO_BIN_EXE_brigade"), &program).unwrap();
        program
    }
}

/// Whether this test runs as root; says so if not.
pub(crate) fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("skipped: needs root");
    }
    root
}

/// A process, killed when dropped.
pub(crate) struct Half {
    child: Child,
    said: Arc<Mutex<String>>,
    listener: Option<JoinHandle<()>>,
    output: Option<JoinHandle<Vec<u8>>>,
}

/// How a process ended.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) code: Option<i32>,
    pub(crate) said: String,
    pub(crate) output: Vec<u8>,
}

impl Half {
    pub(crate) fn start(mut command: Command) -> Half {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let said = Arc::new(Mutex::new(String::new()));
        let mut stderr = child.stderr.take().unwrap();
        let listener = std::thread::spawn({
            let said = Arc::clone(&said);
            move || {
                let mut buffer = [0; 4096];
                while let Ok(len @ 1..) = stderr.read(&mut buffer) {
                    let text = String::from_utf8_lossy(&buffer[..len]);
                    said.lock().unwrap().push_str(&text);
                }
            }
        });
        Half {
            child,
            said,
            listener: Some(listener),
            output: None,
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Reads its standard output to the end, in the background.
    pub(crate) fn collect_output(&mut self) {
        let mut stdout = self.child.stdout.take().unwrap();
        self.output = Some(std::thread::spawn(move || {
            let mut output = Vec::new();
            stdout.read_to_end(&mut output).unwrap();
            output
        }));
    }

    /// Its standard input, if it was piped.
    pub(crate) fn input(&mut self) -> std::process::ChildStdin {
        self.child.stdin.take().unwrap()
    }

    /// Writes `bytes` to its standard input and closes it, in the background.
    pub(crate) fn feed(&mut self, bytes: Vec<u8>) {
        let mut input = self.input();
        std::thread::spawn(move || {
            // It may have ended.
            let _ = input.write_all(&bytes);
        });
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    pub(crate) fn said(&self) -> String {
        self.said.lock().unwrap().clone()
    }

    /// Waits until it has said `text`.
    pub(crate) fn hear(&self, text: &str) {
        let deadline = Instant::now() + SOON;
        while !self.said().contains(text) {
            assert!(
                Instant::now() < deadline,
                "process {} did not say {text:?}, but: {}",
                self.pid(),
                self.said()
            );
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Its end, within `limit`.
    pub(crate) fn end_within(mut self, limit: Duration) -> Outcome {
        let deadline = Instant::now() + limit;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(
                Instant::now() < deadline,
                "process {} has not ended within {limit:?}; it said: {}",
                self.pid(),
                self.said()
            );
            std::thread::sleep(Duration::from_millis(1));
        };
        let _ = self.listener.take().unwrap().join();
        let output = self.output.take().map(|thread| thread.join().unwrap());
        Outcome {
            code: status.code(),
            said: self.said(),
            output: output.unwrap_or_default(),
        }
    }

    pub(crate) fn end(self) -> Outcome {
        self.end_within(SOON)
    }

    /// Time that all its threads have run.
    pub(crate) fn processor_time(&self) -> Duration {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.pid())).unwrap();
        let run_ns = tasks.map(|task| {
            let path = task.unwrap().path().join("schedstat");
            let text = std::fs::read_to_string(path).unwrap_or_default();
            let first = text.split(' ').next().unwrap_or("0");
            first.parse::<u64>().unwrap_or(0)
        });
        Duration::from_nanos(run_ns.sum())
    }
}

impl Drop for Half {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Outcome {
    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Outcome {
        assert_eq!(self.code, Some(code), "{self:?}");
        self
    }

    /// One line, which says all of `parts`.
    #[track_caller]
    pub(crate) fn expect_line(self, code: i32, parts: &[&str]) {
        let outcome = self.expect(code);
        let errors = outcome
            .said
            .lines()
            .filter(|line| !line.contains("waiting for"));
        assert_eq!(errors.count(), 1, "{outcome:?}");
        for part in parts {
            assert!(outcome.said.contains(part), "no {part:?} in {outcome:?}");
        }
    }
}

/// Bytes that repeat nowhere soon.
pub(crate) fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64 ^ len as u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let words = (0..len.div_ceil(8)).flat_map(|_| next().to_le_bytes());
    words.take(len).collect()
}
