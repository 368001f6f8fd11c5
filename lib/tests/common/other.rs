//! A process that a test starts, speaks with and kills: it joins, and outlives its partners.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use brigade::{Error, Options, Reader, Role, Seat, Side, Writer};

use super::LIMIT;

/// Under which name it joins, as which side ("any" for none), and whether it keeps its place.
const NAME: &str = "BRIGADE_OTHER_NAME";
const SIDE: &str = "BRIGADE_OTHER_SIDE";
const KEEPS: &str = "BRIGADE_OTHER_KEEPS";

/// How long a place is kept: longer than any test takes.
const KEPT: Duration = Duration::from_secs(300);

pub(crate) fn options() -> Options {
    Options::new().block_size(8).block_count(4).wait(KEPT)
}

pub(crate) fn keeping() -> Options {
    options().takeover(KEPT)
}

/// What the test has to say that is the process itself: nothing, in the test's own.
///
/// It says each of its steps in a line, and makes the next one when it is told to, but for
/// joining the first time.
pub(crate) fn run() {
    let Ok(name) = std::env::var(NAME) else {
        return;
    };
    let options = match std::env::var_os(KEEPS) {
        Some(_) => keeping(),
        None => options(),
    };
    let options = match std::env::var(SIDE).unwrap().as_str() {
        "reader" => options.side(Side::Reader),
        "writer" => options.side(Side::Writer),
        _ => options,
    };
    let joined = || {
        let seat = Seat::take(&name, &options)?;
        say(if seat.is_first() { "first" } else { "second" });
        seat.wait()
    };
    let role = loop {
        match joined() {
            // A busy machine decides nothing.
            Err(Error::NotAnswering { .. }) => {}
            role => break role,
        }
    };
    match role {
        Err(error) => say(&format!("refused {}", error.code())),
        Ok(Role::Reader(reader)) => read(reader, &name, &options),
        Ok(Role::Writer(writer)) => write(writer, &name, &options),
    }
}

fn read(mut reader: Reader, name: &str, options: &Options) {
    say(&format!("paired {}", reader.epoch()));
    let mut tag = 0u64;
    loop {
        match next_word().as_str() {
            "send" => {
                let mut block = reader.empty_block().unwrap();
                block.copy_from_slice(&tag.to_le_bytes());
                block.send(8, tag).unwrap();
                tag += 1;
                say("sent");
            }
            "lose" => {
                let watched = reader.monitor().watch();
                assert!(
                    matches!(watched, Err(Error::PartnerDied { .. })),
                    "{watched:?}"
                );
                say("lost");
            }
            "go on" => {
                let mut unreturned = reader.into_unreturned().unwrap();
                say("going on");
                reader = unreturned.rejoin(name, options).unwrap();
                say(&format!("paired {}", reader.epoch()));
            }
            "finish" => {
                reader.finish().unwrap();
                return say("finished");
            }
            _ => return,
        }
    }
}

fn write(mut writer: Writer, name: &str, options: &Options) {
    say(&format!("paired {}", writer.epoch()));
    loop {
        match next_word().as_str() {
            "take" => {
                let block = writer.data_block().unwrap().unwrap();
                say(&format!("took {}", block.tag()));
            }
            "hold" => {
                let block = writer.data_block().unwrap().unwrap();
                std::mem::forget(block);
                say("holds");
            }
            "lose" => {
                let watched = writer.monitor().watch();
                assert!(
                    matches!(watched, Err(Error::PartnerDied { .. })),
                    "{watched:?}"
                );
                say("lost");
            }
            "go on" => {
                let mut survivor = writer.into_survivor().unwrap();
                say("going on");
                writer = survivor.rejoin(name, options).unwrap();
                say(&format!("paired {}", writer.epoch()));
            }
            "finish" => {
                assert!(writer.data_block().unwrap().is_none());
                writer.finish().unwrap();
                return say("finished");
            }
            _ => return,
        }
    }
}

fn say(what: &str) {
    // On a line of its own, whatever the harness says before it.
    let mut out = std::io::stdout().lock();
    writeln!(out, "\nother: {what}").unwrap();
    out.flush().unwrap();
}

fn next_word() -> String {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
    line.trim().to_owned()
}

/// The process, as the test has it; killed with it.
pub(crate) struct Other {
    pub(crate) child: Child,
    input: ChildStdin,
    said: Receiver<String>,
}

impl Other {
    /// One that keeps its place.
    pub(crate) fn keeping(name: &str, side: &str) -> Other {
        Other::start(name, side, true)
    }

    pub(crate) fn start(name: &str, side: &str, keeps: bool) -> Other {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["--exact", "the_process_that_other_tests_start"])
            .arg("--nocapture")
            .env(NAME, name)
            .env(SIDE, side)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        if keeps {
            command.env(KEEPS, "");
        }
        let mut child = command.spawn().unwrap();
        let (tell, said) = mpsc::channel();
        let out = BufReader::new(child.stdout.take().unwrap());
        thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                if let Some(what) = line.strip_prefix("other: ") {
                    let _ = tell.send(what.to_owned());
                }
            }
        });
        Other {
            input: child.stdin.take().unwrap(),
            child,
            said,
        }
    }

    /// What it says next; "" if it has ended.
    pub(crate) fn hear(&self) -> String {
        match self.said.recv_timeout(LIMIT) {
            Ok(said) => said,
            Err(mpsc::RecvTimeoutError::Timeout) => panic!("it says nothing"),
            Err(mpsc::RecvTimeoutError::Disconnected) => String::new(),
        }
    }

    #[track_caller]
    pub(crate) fn expect(&self, what: &str) {
        assert_eq!(self.hear(), what);
    }

    pub(crate) fn tell(&mut self, what: &str) {
        writeln!(self.input, "{what}").unwrap();
    }

    /// Tells it, and waits for the answer.
    #[track_caller]
    pub(crate) fn ask(&mut self, what: &str, answer: &str) {
        self.tell(what);
        self.expect(answer);
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
