//! A place for one test, and processes in it. What the system has to offer for that
//! is in a file for each, with the same items.

#[cfg(unix)]
pub(crate) mod unix;
#[cfg(windows)]
pub(crate) mod windows;

#[cfg(unix)]
pub(crate) use unix as sys;
#[cfg(windows)]
pub(crate) use windows as sys;

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// For what takes milliseconds, on a machine that is busy.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// What is promised after a death or a signal.
pub(crate) const PROMISED: Duration = Duration::from_secs(1);

/// What `b` is called until it is whole.
pub(crate) const PARTIAL: &str = ".b.brigade-partial";

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
        sys::prepare(&mut command);
        command
    }

    /// Both halves of a copy with the same `args`, started at once.
    pub(crate) fn twice(&self, args: &[&str]) -> [Half; 2] {
        [(); 2].map(|()| Half::start(self.brigade(args)))
    }

    /// A whole copy in one command, to its end.
    pub(crate) fn both(&self, options: &[&str], source: &str, destination: &str) -> Outcome {
        let args = [&["--both"], options, &[source, destination]].concat();
        Half::start(self.brigade(args)).end()
    }

    /// A copy with both halves from standard input to `b`, which has begun.
    pub(crate) fn begin(&self, options: &[&str]) -> Half {
        let mut command = self.brigade([&["--both"], options, &["-v", "-", "b"]].concat());
        command.stdin(Stdio::piped());
        let copy = Half::start(command);
        copy.hear("the partner is");
        let partial = self.path(PARTIAL);
        wait_until("a partial file", SOON, || partial.exists());
        copy
    }

    /// Waits until a copy to `b` has written something.
    #[track_caller]
    pub(crate) fn wait_for_data(&self) {
        let partial = self.path(PARTIAL);
        let has_data = || std::fs::metadata(&partial).is_ok_and(|found| found.len() > 0);
        wait_until("data", SOON, has_data);
    }

    /// Nothing of a session is left: no lock file, no socket, no partial file.
    pub(crate) fn assert_nothing_left(&self) {
        self.assert_none_ends_in(&[".lock", ".sock", ".brigade-partial", ".brigade-journal"]);
    }

    /// As after a `kill -9`, which leaves the lock file: nobody else may remove it.
    pub(crate) fn assert_only_locks_left(&self) {
        self.assert_none_ends_in(&[".sock", ".brigade-partial", ".brigade-journal"]);
    }

    pub(crate) fn assert_none_ends_in(&self, ends: &[&str]) {
        let mut left = Vec::new();
        for directory in [
            self.root().to_owned(),
            self.path("run"),
            self.path("run/brigade"),
        ] {
            for entry in std::fs::read_dir(directory).into_iter().flatten() {
                let name = entry.unwrap().file_name().into_string().unwrap();
                if ends.iter().any(|end| name.ends_with(end)) {
                    left.push(name);
                }
            }
        }
        assert!(left.is_empty(), "left behind: {left:?}");
    }

    /// The program where any user can run it, in a directory that any can enter.
    pub(crate) fn public_program(&self) -> PathBuf {
        sys::set_mode(self.root(), 0o777);
        sys::set_mode(&self.path("run"), 0o777);
        let (built, program) = (env!("CARGO_BIN_EXE_brigade"), self.path("brigade"));
        // A copy may not be run while it is open for writing, which a process that
        // another test starts in this moment inherits.
        if !program.exists() && std::fs::hard_link(built, &program).is_err() {
            std::fs::copy(built, &program).unwrap();
        }
        program
    }
}

/// What a partner says at joining that speaks the program's protocol.
pub(crate) const GREETING: &[u8] = b"protocol=4\n";

/// Kinds of letters, as the program has them.
pub(crate) const ASK: u16 = 1;
pub(crate) const ANSWER: u16 = 2;

/// As a Reader: tells `facts`, and hears that the copy begins.
pub(crate) fn ask(reader: &brigade::Reader, facts: &[u8]) -> Result<(), brigade::Error> {
    reader.post(ASK, facts)?;
    let answer = reader.letter()?.unwrap();
    assert_eq!(answer.kind, ANSWER);
    assert!(
        answer
            .bytes
            .starts_with(br#"{"answer":"begin","offset":0,"#)
    );
    Ok(())
}

/// Says that a test proves nothing here, or not all that it could.
pub(crate) fn skip(why: &str) {
    eprintln!("skipped: {why}");
}

/// The system's own words for what goes wrong.
pub(crate) fn why(code: i32) -> String {
    let text = std::io::Error::from_raw_os_error(code).to_string();
    let (why, _) = text.split_once(" (os error").unwrap();
    why.to_owned()
}

/// A path as the system writes it.
pub(crate) fn native(path: &str) -> String {
    path.replace('/', std::path::MAIN_SEPARATOR_STR)
}

/// Which half, as `--as` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Reader,
    Writer,
}

impl Side {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Side::Reader => "reader",
            Side::Writer => "writer",
        }
    }

    pub(crate) fn other(self) -> Side {
        match self {
            Side::Reader => Side::Writer,
            Side::Writer => Side::Reader,
        }
    }
}

/// A standard stream.
#[derive(Clone, Copy)]
pub(crate) enum Stream {
    Input,
    Output,
}

/// Waits until `is_so`.
#[track_caller]
pub(crate) fn wait_until(what: &str, limit: Duration, is_so: impl Fn() -> bool) {
    let since = Instant::now();
    while !is_so() {
        assert!(since.elapsed() < limit, "not within {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// What ends a process and lets it clean up.
pub(crate) struct Interruption {
    /// As the system counts them.
    pub(crate) number: u32,
    /// The exit status that it leads to.
    pub(crate) code: i32,
    pub(crate) name: &'static str,
}

/// A process, killed when dropped.
pub(crate) struct Half {
    child: Child,
    killed: bool,
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

/// Starts a process, which Wine now and then cannot when it does much else: "internal error".
fn spawn(command: &mut Command) -> Child {
    const INTERNAL_ERROR: i32 = 1359;
    for _ in 0..20 {
        match command.spawn() {
            Err(error) if cfg!(windows) && error.raw_os_error() == Some(INTERNAL_ERROR) => {
                std::thread::sleep(Duration::from_millis(100));
            }
            spawned => return spawned.unwrap(),
        }
    }
    command.spawn().unwrap()
}

impl Half {
    pub(crate) fn start(mut command: Command) -> Half {
        command.stdout(Stdio::piped());
        Half::start_as_it_is(command)
    }

    /// Its standard output goes where `command` says.
    pub(crate) fn start_as_it_is(mut command: Command) -> Half {
        let mut child = spawn(command.stderr(Stdio::piped()));
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
            killed: false,
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
        let mut stdout = self.output();
        self.output = Some(std::thread::spawn(move || {
            let mut output = Vec::new();
            stdout.read_to_end(&mut output).unwrap();
            output
        }));
    }

    /// Its standard output, if that is a pipe that nobody reads yet.
    pub(crate) fn output(&mut self) -> std::process::ChildStdout {
        self.child.stdout.take().unwrap()
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

    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Without a chance to clean up.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.killed = true;
    }

    pub(crate) fn interrupt(&self, interruption: &Interruption) {
        sys::interrupt(&self.child, interruption);
    }

    pub(crate) fn freeze(&self) {
        sys::freeze(&self.child);
    }

    pub(crate) fn thaw(&self) {
        sys::thaw(&self.child);
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
                "process {} did not say {text:?}, but: {}\n{}",
                self.pid(),
                self.said(),
                sys::whereabouts(&self.child)
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
                "process {} has not ended within {limit:?}; it said: {}\n{}",
                self.pid(),
                self.said(),
                sys::whereabouts(&self.child)
            );
            std::thread::sleep(Duration::from_millis(1));
        };
        let _ = self.listener.take().unwrap().join();
        // What is for the program's authors alone is not for its users; but no program has the last
        // word where a few bytes are missing.
        let is_out_of_memory = self.said().contains("memory allocation of");
        for words in ["os error", "panicked", "RUST_BACKTRACE", "internal error"] {
            let is_said = self.said().contains(words);
            assert!(!is_said || is_out_of_memory, "{}", self.said());
        }
        let output = self.output.take().map(|thread| thread.join().unwrap());
        Outcome {
            // Where who is killed has a code, it means no more than that.
            code: status.code().filter(|code| !self.killed || *code == 0),
            said: self.said(),
            output: output.unwrap_or_default(),
        }
    }

    pub(crate) fn end(self) -> Outcome {
        self.end_within(SOON)
    }

    /// Time that all its threads have run.
    pub(crate) fn processor_time(&self) -> Duration {
        sys::processor_time(&self.child)
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

    /// Not a word but that it waits.
    #[track_caller]
    pub(crate) fn expect_silence(self, code: i32) {
        let outcome = self.expect(code);
        let is_silent = outcome
            .said
            .lines()
            .all(|line| line.contains("waiting for"));
        assert!(is_silent, "{outcome:?}");
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
