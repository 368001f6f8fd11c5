//! A process that a test starts and kills: it joins by the blocking library.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::thread;

use brigade::{Reader, Role, Writer};
use brigade_tokio::{AsyncReader, AsyncWriter, join};
use tempfile::TempDir;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::timeout;

use super::{LIMIT, options, place};

/// Under which name it joins, and what it does then.
const NAME: &str = "BRIGADE_OTHER_NAME";
const TASK: &str = "BRIGADE_OTHER_TASK";

/// Of its session.
pub(crate) const BLOCKS: usize = 4;

/// What the test has to say that is the process itself: nothing, in the test's own.
///
/// It says when it has done what it was started for, and waits to be killed.
pub(crate) fn run() {
    let (Ok(name), Ok(task)) = (std::env::var(NAME), std::env::var(TASK)) else {
        return;
    };
    let task = task.as_str();
    let side = match task {
        "read nothing" | "read" | "read on" | "close" => brigade::Side::Reader,
        _ => brigade::Side::Writer,
    };
    let options = options(8, BLOCKS).side(side);
    match brigade::join(&name, &options).unwrap() {
        Role::Reader(reader) => read(&reader, task),
        Role::Writer(writer) => write(&writer, task),
    }
}

fn read(reader: &Reader, task: &str) {
    match task {
        "read" => (0..3).for_each(|number| send(reader, number)),
        "read on" => {
            say();
            for number in 0.. {
                send(reader, number);
            }
        }
        "close" => {
            send(reader, 0);
            reader.close().unwrap();
        }
        _ => {}
    }
    say();
    wait_for_the_end();
}

fn send(reader: &Reader, number: u64) {
    let mut block = reader.empty_block().unwrap();
    block.copy_from_slice(&number.to_le_bytes());
    block.send(8, number).unwrap();
}

fn write(writer: &Writer, task: &str) {
    match task {
        "write" => {
            assert_eq!(writer.data_block().unwrap().unwrap().tag(), 0);
            std::mem::forget(writer.data_block().unwrap());
        }
        "write on" => {
            say();
            while writer.data_block().unwrap().is_some() {}
        }
        "write all" => while writer.data_block().unwrap().is_some() {},
        _ => {}
    }
    say();
    wait_for_the_end();
}

fn say() {
    // On a line of its own, whatever the harness says before it.
    let mut out = std::io::stdout().lock();
    writeln!(out, "\nother: done").unwrap();
    out.flush().unwrap();
}

/// It is killed, or ends with the test's process.
fn wait_for_the_end() {
    let mut line = String::new();
    let _ = std::io::stdin().read_line(&mut line);
}

/// The process, as the test has it; killed with it.
pub(crate) struct Other {
    child: Child,
    said: UnboundedReceiver<()>,
    _directory: TempDir,
}

impl Other {
    /// One that reads, and this process's end.
    pub(crate) async fn reading(task: &str) -> (Other, AsyncWriter) {
        let (other, name) = Other::start(task);
        let options = options(8, BLOCKS).side(brigade::Side::Writer);
        let role = timeout(LIMIT, join(&name, &options))
            .await
            .unwrap()
            .unwrap();
        (other, role.into_writer().unwrap())
    }

    /// One that writes, and this process's end.
    pub(crate) async fn writing(task: &str) -> (Other, AsyncReader) {
        let (other, name) = Other::start(task);
        let options = options(8, BLOCKS).side(brigade::Side::Reader);
        let role = timeout(LIMIT, join(&name, &options))
            .await
            .unwrap()
            .unwrap();
        (other, role.into_reader().unwrap())
    }

    fn start(task: &str) -> (Other, String) {
        let (directory, name) = place();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "the_process_that_other_tests_start"])
            .arg("--nocapture")
            .env(NAME, &name)
            .env(TASK, task)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (tell, said) = unbounded_channel();
        let out = BufReader::new(child.stdout.take().unwrap());
        thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                if line == "other: done" {
                    let _ = tell.send(());
                }
            }
        });
        let other = Other {
            child,
            said,
            _directory: directory,
        };
        (other, name)
    }

    /// Until it has done what it was started for, or has begun to do it without an end.
    pub(crate) async fn is_done(&mut self) {
        timeout(LIMIT, self.said.recv()).await.unwrap().unwrap();
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
