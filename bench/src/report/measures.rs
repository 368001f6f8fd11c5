//! What is measured: tables of cases of rivals.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::clock::least;
use crate::figures::{median, quantile};
use crate::report::Places;
use crate::report::rotation::{Aim, Case, Figure, Pace, Rival, Unit, Work};

/// One section of the report.
pub struct Table {
    pub title: &'static str,
    /// What is done, for who reads the figures.
    pub about: &'static str,
    pub cases: Vec<Case>,
    pub pace: Pace,
}

/// Names of all tables, in the order of the report.
pub const TABLES: [&str; 11] = [
    "ring",
    "wake",
    "turns",
    "copy",
    "durable",
    "start",
    "verify",
    "sessions",
    "tasks",
    "languages",
    "bursty",
];

/// How much is measured.
#[derive(Clone, Copy)]
pub struct Scale {
    pub is_quick: bool,
    pub rounds: Option<usize>,
}

impl Scale {
    /// `rounds` of the whole, unless its minutes are over before.
    fn pace(self, rounds: usize, minutes: u64) -> Pace {
        let (rounds, seconds) = match self.is_quick {
            true => (ROUNDS_LEAST, 0),
            false => (rounds, minutes * 60),
        };
        Pace {
            rounds: self.rounds.unwrap_or(rounds),
            least: ROUNDS_LEAST,
            budget: Duration::from_secs(seconds),
        }
    }

    /// No table begins later than so long after the first.
    pub fn last_start(self) -> Duration {
        Duration::from_secs(self.either(120, 24 * 60))
    }

    fn either<T>(self, quick: T, whole: T) -> T {
        match self.is_quick {
            true => quick,
            false => whole,
        }
    }
}

/// With fewer rounds quartiles say nothing.
const ROUNDS_LEAST: usize = 11;

/// About how long a run of what is counted takes: longer than it takes to start it, and shorter than
/// the machine stays the same.
const AIM: Duration = Duration::from_millis(25);

/// Of a throughput, of which two thirds are not timed.
const AIM_LATE: Duration = Duration::from_millis(75);

const SIZES: [usize; 9] = [
    64,
    256,
    1 << 10,
    4 << 10,
    16 << 10,
    64 << 10,
    256 << 10,
    1 << 20,
    4 << 20,
];
const SIZES_QUICK: [usize; 3] = [64, 4 << 10, 256 << 10];

pub fn table(name: &'static str, places: &Places, scale: Scale) -> Table {
    match name {
        "ring" => ring(scale),
        "wake" => wake(scale),
        "turns" => turns(scale),
        "copy" => copy(places, scale),
        "durable" => durable(places, scale),
        "start" => start(places, scale),
        "verify" => verify(places, scale),
        "sessions" => sessions(scale),
        "languages" => languages(scale),
        "bursty" => bursty(scale),
        _ => tasks(scale),
    }
}

fn ring(scale: Scale) -> Table {
    let sizes = scale.either(&SIZES_QUICK[..], &SIZES[..]);
    let case = |&size: &usize| {
        let mut rivals = vec![
            counted("brigade", &[BENCH, "measure", "brigade"], size),
            counted("bare ring", &[BENCH, "measure", "bare"], size),
            counted(
                "bare ring, protected",
                &[BENCH, "measure", "bare-protected"],
                size,
            ),
            counted("brigade, batch", &[BENCH, "measure", "batch"], size),
            counted("brigade, detached", &[BENCH, "measure", "owned"], size),
            counted("pipe", &[BENCH, "measure", "pipe"], size),
            counted("Unix socket", &[BENCH, "measure", "socket"], size),
        ];
        for rival in ["iceoryx2", "ipc-channel"] {
            rivals.push(counted(rival, &[RIVALS, "measure", rival], size));
        }
        throughput(size, rivals)
    };
    Table {
        title: "Blocks copied in by one process, and out by the other",
        about: "One process copies the same bytes into each block, the other copies them out; 4 MiB, but at most \
                1024 blocks and at least two, lie between them where that can be chosen. The first two thirds of a run (some 50 ms) are not timed: until the system has given each \
                process a processor of its own. The program's own bytes begin in the middle of a page. The bare ring is the limit: two counters in shared \
                memory, no sleeping, no checks, no deaths; when both processes are not running at the same time, it spins in vain. Protected: \
                the same, but that who copies out has mapped the blocks for reading only, as with brigade, where no partner can change \
                what is the other one's. iceoryx2 \
                is asked again and again as in its own benchmark; brigade sleeps when there is nothing to do. In a batch, \
                32 blocks are sent with one store, and 32 given back; a quarter of the blocks that lie between, if that is less.",
        cases: sizes.iter().map(case).collect(),
        pace: scale.pace(31, 5),
    }
}

fn wake(scale: Scale) -> Table {
    let count = scale.either(40, 200);
    let rival = |name: &str, way: &str| Rival {
        name: name.into(),
        work: Work::Counted {
            command: words(&[BENCH, "measure", &format!("wake-{way}"), "0"]),
            count,
            aim: None,
            of: |seconds| vec![quantile(seconds, 0.5), quantile(seconds, 0.99)],
        },
    };
    let figures = ["p50", "p99"].map(|name| Figure {
        name,
        unit: Unit::Seconds,
        is_compared: true,
    });
    Table {
        title: "One way to a partner asleep for 2 ms",
        about: "From the call that says 64 bytes to the return of the call that waited for them, in the other process, which \
                has slept for 2 ms. Medians and 99th percentiles of each run (200 messages; quick: 40).",
        cases: vec![Case {
            name: "64 bytes".into(),
            figures: figures.to_vec(),
            rivals: ways(rival),
            limit: limit(64),
        }],
        pace: scale.pace(31, 2),
    }
}

fn turns(scale: Scale) -> Table {
    let rival = |name: &str, way: &str| Rival {
        name: name.into(),
        work: Work::Counted {
            command: words(&[BENCH, "measure", &format!("turns-{way}"), "0"]),
            count: 500,
            aim: Some(Aim {
                takes: AIM,
                least: 16,
            }),
            of: |seconds| vec![median(seconds)],
        },
    };
    Table {
        title: "There and back, again and again",
        about: "64 bytes to a partner that answers at once: the time of a round trip. With blocks, the answer is that the \
                one block comes back; both ways, it is a block as well, and 16 could be under way each way.",
        cases: vec![Case {
            name: "64 bytes".into(),
            figures: vec![time_of("round trip")],
            rivals: ways(rival),
            limit: limit(64),
        }],
        pace: scale.pace(41, 1),
    }
}

fn ways(rival: impl Fn(&str, &str) -> Rival) -> Vec<Rival> {
    let ways = [
        ("brigade, blocks", "blocks"),
        ("brigade, both ways", "both"),
        ("brigade, letters", "letters"),
        ("pipe", "pipe"),
        ("Unix socket", "socket"),
    ];
    ways.map(|(name, way)| rival(name, way)).into()
}

fn copy(places: &Places, scale: Scale) -> Table {
    let mut cases = vec![copies("tmpfs", places, &places.work.join("copy"), scale)];
    if let Some(directory) = &places.directory {
        let name = format!("to {}", places.directory_name);
        cases.push(copies(&name, places, &directory.join("copy"), scale));
    }
    Table {
        title: "A file copied, warm, and not synced",
        about: "1 GiB (quick: 128 MiB) of random bytes on tmpfs, each to a new file; times per GiB. Processor time is that of all processes of the copy. \
                brigade's two halves are processes that copy through shared memory, `--no-sync` because the others do not sync \
                either, but for mbuffer, which always does. Read, write: a program with two threads, of which one reads all of the source, \
                and the other writes as much, from memory that stays in the processor's cache; nothing goes from one to the other. \
                cp has the system copy, once, where both are on the same file system.",
        cases,
        pace: scale.pace(21, 4),
    }
}

/// No case if no directory was named.
fn durable(places: &Places, scale: Scale) -> Table {
    let case = |directory: &PathBuf| {
        let (from, to) = (directory.join("source"), directory.join("copy"));
        let (source, to_name) = (path(&from), path(&to));
        let commands = [
            (
                "brigade",
                words(&[BRIGADE, "--both", "-q", &source, &to_name]),
            ),
            (
                "cp && sync",
                words(&[
                    "sh",
                    "-c",
                    &format!("cp {source} {to_name} && sync {to_name}"),
                ]),
            ),
            (
                "the disk alone",
                words(&[BENCH, "least", "cached", &source, &to_name]),
            ),
            (
                "the disk alone, O_DIRECT",
                words(&[BENCH, "least", "direct", &source, &to_name]),
            ),
            (
                "dd bs=1M conv=fsync",
                words(&[
                    "dd",
                    "bs=1M",
                    "conv=fsync",
                    "status=none",
                    &format!("if={source}"),
                    &format!("of={to_name}"),
                ]),
            ),
            (
                "mbuffer",
                words(&["mbuffer", "-q", "-m", "64M", "-i", &source, "-o", &to_name]),
            ),
            (
                "rsync --fsync",
                words(&["rsync", "--fsync", &source, &to_name]),
            ),
        ];
        let share = scale.either(0.125, 1.0);
        let rival = |(name, command)| Rival {
            name: String::from(name),
            work: Work::Timed {
                command,
                times: 1,
                share,
                fresh: vec![to.clone()],
                cold: vec![from.clone()],
            },
        };
        Case {
            name: format!("within {}", places.directory_name),
            figures: vec![time_of("time"), time_of("processor time")],
            rivals: commands.map(rival).into(),
            limit: limit(64 << 10),
        }
    };
    Table {
        title: "A file copied on a disk, until it is durable",
        about: "1 GiB (quick: 128 MiB) of random bytes, not in the cache, to a new file in the same directory; times per GiB, until \
                the system says that the copy is on the disk. The disk alone: a program reads all of the source and \
                writes as much to the new file, both at once, and copies nothing.",
        cases: places.directory.iter().map(case).collect(),
        pace: scale.pace(21, 3),
    }
}

fn copies(name: &str, places: &Places, to: &Path, scale: Scale) -> Case {
    let source = path(&source(places, scale));
    let to_path = path(to);
    let to_name = to_path.as_str();
    let shell = |script: String| words(&["sh", "-c", &script]);
    let commands = [
        (
            "brigade",
            words(&[BRIGADE, "--both", "--no-sync", "-q", &source, to_name]),
        ),
        ("cp", words(&["cp", &source, to_name])),
        (
            "dd bs=256K",
            words(&[
                "dd",
                "bs=256K",
                "status=none",
                &format!("if={source}"),
                &format!("of={to_name}"),
            ]),
        ),
        (
            "mbuffer",
            words(&[
                "mbuffer", "-q", "-s", "256k", "-m", "4M", "-i", &source, "-o", to_name,
            ]),
        ),
        (
            "buffer",
            words(&[
                "buffer", "-s", "256k", "-m", "4m", "-i", &source, "-o", to_name,
            ]),
        ),
        ("cat | cat", shell(format!("cat {source} | cat >{to_name}"))),
        ("rsync", words(&["rsync", &source, to_name])),
        ("pv", shell(format!("pv -q {source} >{to_name}"))),
        (
            "read, write",
            words(&[BENCH, "least", "unsynced", &source, to_name]),
        ),
    ];
    let share = scale.either(0.125, 1.0);
    Case {
        name: name.into(),
        figures: vec![
            time_of("time"),
            time_of("processor time"),
            Figure {
                is_compared: false,
                ..time_of("user")
            },
            Figure {
                is_compared: false,
                ..time_of("system")
            },
        ],
        rivals: commands
            .into_iter()
            .map(|(name, command)| timed(name, command, 1, share, &[to]))
            .collect(),
        limit: limit(64 << 10),
    }
}

/// The file to copy; `run` has made both.
fn source(places: &Places, scale: Scale) -> PathBuf {
    places.work.join(scale.either("source-128M", "source-1G"))
}

fn start(places: &Places, scale: Scale) -> Table {
    let to = places.work.join("copy");
    let (source, to_name) = (path(&places.work.join("source-1K")), path(&to));
    let ours = words(&[BRIGADE, "--both", "--no-sync", "-q", &source, &to_name]);
    let starts = words(&[BENCH, "least", "start", BRIGADE, "--version"]);
    Table {
        title: "A file of 1 KiB: what it costs to start",
        about: "The mean of ten copies in a row. brigade starts two processes, which meet, and renames what they made. Two starts: \
                a program that only starts `brigade --version`, and waits for its end.",
        cases: vec![Case {
            name: "1 KiB".into(),
            figures: vec![time_of("time"), time_of("processor time")],
            rivals: vec![
                timed("brigade", ours, 10, 1.0, &[&to]),
                timed("cp", words(&["cp", &source, &to_name]), 10, 1.0, &[&to]),
                timed("two starts", starts, 10, 1.0, &[]),
            ],
            limit: limit(64 << 10),
        }],
        pace: scale.pace(101, 1),
    }
}

fn verify(places: &Places, scale: Scale) -> Table {
    let to = places.work.join("copy");
    let (source, to_name) = (path(&source(places, scale)), path(&to));
    let ours = words(&[
        BRIGADE,
        "--both",
        "--no-sync",
        "--verify",
        "-q",
        &source,
        &to_name,
    ]);
    let hashes = |options: &str| {
        let script = format!("cp {source} {to_name} && b3sum {options}{source} {to_name}");
        words(&["sh", "-c", &script])
    };
    let share = scale.either(0.125, 1.0);
    Table {
        title: "A copy that is compared with what was read",
        about: "1 GiB (quick: 128 MiB) on tmpfs, times per GiB: `--verify` hashes what it reads and reads again what it wrote; beside it, `cp`, and then `b3sum` \
                of both files, which hashes with a thread for each processor and maps the files, and the same with one thread.",
        cases: vec![Case {
            name: "tmpfs".into(),
            figures: vec![time_of("time"), time_of("processor time")],
            rivals: vec![
                timed("brigade --verify", ours, 1, share, &[&to]),
                timed("cp && b3sum", hashes(""), 1, share, &[&to]),
                timed(
                    "the same, one thread",
                    hashes("--num-threads 1 "),
                    1,
                    share,
                    &[&to],
                ),
            ],
            limit: limit(64 << 10),
        }],
        pace: scale.pace(21, 2),
    }
}

fn sessions(scale: Scale) -> Table {
    let rival = |what: &str, sessions: usize| Rival {
        name: format!("{sessions} sessions"),
        work: Work::Counted {
            command: words(&[BENCH, "measure", what, &sessions.to_string()]),
            count: scale.either(10, 30),
            aim: None,
            of: |seconds| vec![median(seconds)],
        },
    };
    let case = |(name, what): (&str, &str)| Case {
        name: name.into(),
        figures: vec![time_of("a session")],
        rivals: [10, 100, 1000].map(|sessions| rival(what, sessions)).into(),
        limit: limit(64),
    };
    let cases = [
        ("a wait for all, in vain", "sessions-wait"),
        ("a block in each", "sessions-round"),
        ("a look for all", "sessions-scan"),
    ];
    Table {
        title: "Many sessions at once",
        about: "Sessions between the same two processes, one thread in each; times for each session. Ratios are to ten sessions: \
                1, if a session costs the same however many there are.",
        cases: cases.map(case).into(),
        pace: scale.pace(21, 1),
    }
}

fn languages(scale: Scale) -> Table {
    let mut cases = Vec::new();
    for &size in scale.either(&[64, 64 << 10][..], &[64, 4 << 10, 64 << 10, 1 << 20][..]) {
        let mut case = throughput(
            size,
            vec![
                counted("Rust", &[BENCH, "measure", "brigade"], size),
                counted("C", &[RING_IN_C, "measure", "brigade"], size),
            ],
        );
        case.name = format!("C, {}", case.name);
        cases.push(case);
    }
    for &size in scale.either(&[1 << 20][..], &[64 << 10, 1 << 20, 6_000_000][..]) {
        let rivals_quick = ["brigade", "shared-memory", "pipe"];
        let rivals = [
            "brigade",
            "brigade-copies",
            "brigade-asyncio",
            "shared-memory",
            "pipe",
            "arrow",
            "iceoryx2",
            "iceoryx2-events",
        ];
        let rivals = scale.either(&rivals_quick[..], &rivals[..]);
        let seconds = scale.either("0.1", "0.3");
        let rival = |&name: &&str| Rival {
            name: name.into(),
            work: Work::Rate {
                command: words(&[
                    PYTHON,
                    "bench/python/rivals.py",
                    "--run",
                    name,
                    &size.to_string(),
                    seconds,
                ]),
                bytes: size,
            },
        };
        cases.push(Case {
            name: format!("Python, {}", bytes(size)),
            figures: vec![rate_of(size)],
            rivals: rivals.iter().map(rival).collect(),
            limit: limit(size.min(1 << 20).next_power_of_two()),
        });
    }
    Table {
        title: "The same from C and from Python",
        about: "C: the ring's table, by a program in C through the shared library. Python: numpy arrays copied into the link and out of it; \
                `bench/python/links.py` shows how each rival is used.",
        cases,
        pace: scale.pace(15, 4),
    }
}

fn tasks(scale: Scale) -> Table {
    let mut cases = Vec::new();
    for &size in scale.either(&[64 << 10][..], &[4 << 10, 64 << 10, 1 << 20][..]) {
        cases.push(throughput(
            size,
            vec![
                counted("brigade, threads", &[BENCH, "measure", "brigade"], size),
                counted("tasks, one thread", &[BENCH, "measure", "task"], size),
                counted(
                    "tasks, several threads",
                    &[BENCH, "measure", "task-multi"],
                    size,
                ),
            ],
        ));
    }
    let count = scale.either(20, 100);
    let asked = |name: &str, what: &str| Rival {
        name: name.into(),
        work: Work::Counted {
            command: words(&[BENCH, "measure", what, "0"]),
            count,
            aim: None,
            of: |seconds| vec![median(seconds)],
        },
    };
    cases.push(Case {
        name: "asked, asleep for 2 ms".into(),
        figures: vec![time_of("there and back")],
        rivals: vec![
            asked("brigade's blocks", "asked-blocks"),
            asked("Tokio's pipe", "asked-pipe"),
        ],
        limit: limit(64),
    });
    Table {
        title: "Tasks of Tokio",
        about: "The ring's table by tasks; and a question to a task that has waited for 2 ms, with its answer.",
        cases,
        pace: scale.pace(31, 2),
    }
}

/// What both ends of a pipeline give and take in a second, when they do.
const PACED_RATE: &str = "50e6";

/// So many rounds are enough where clocks say how long it takes, and all that there is time for.
const ROUNDS_PACED: usize = 3;

fn bursty(scale: Scale) -> Table {
    let all = &PIPES[..];
    let large: Vec<_> = all.iter().filter(|pipe| pipe.is_large).copied().collect();
    let cases = scale.either(
        vec![pipeline(
            "half apart",
            40,
            "1000/1000/0",
            "1000/1000/500",
            &large,
        )],
        vec![
            pipeline("steady", 50, "steady", "steady", all),
            pipeline("half apart", 90, "1000/1000/0", "1000/1000/500", all),
            pipeline("by turns", 90, "1000/1000/0", "1000/1000/1000", &large),
        ],
    );
    Table {
        title: "Both ends of a pipeline are slow, and come in bursts",
        about: "A source that gives 50 MB/s, and a destination that takes 50 MB/s; neither makes up for more than 10 ms. Steady: 50 MB, without a pause. \
                Half apart and by turns: 90 MB, each end 1 s on and 1 s off; the destination begins half a second after the source (quick: 40 MB), \
                or a second, when the source pauses. Who has no room for a second's bytes would take minutes for the last, and is not asked. \
                The slower end alone is the destination, with a source that does not pause. Three rounds (quick: one): clocks decide here, and \
                figures hardly differ.",
        cases,
        pace: Pace {
            rounds: scale.rounds.unwrap_or(scale.either(1, ROUNDS_PACED)),
            least: 1,
            budget: Duration::from_secs(3 * 60),
        },
    }
}

/// What stands between the two ends.
#[derive(Clone, Copy)]
struct Pipe {
    name: &'static str,
    command: &'static str,
    /// It has room for a second's bytes.
    is_large: bool,
}

const PIPES: [Pipe; 6] = [
    Pipe {
        name: "brigade",
        command: "target/release/brigade --both -q - -",
        is_large: true,
    },
    Pipe {
        name: "brigade --blocks 16",
        command: "target/release/brigade --both -q --blocks 16 - -",
        is_large: false,
    },
    Pipe {
        name: "mbuffer",
        command: "mbuffer -q",
        is_large: true,
    },
    Pipe {
        name: "mbuffer -m 64M",
        command: "mbuffer -q -m 64M",
        is_large: true,
    },
    Pipe {
        name: "buffer",
        command: "buffer",
        is_large: false,
    },
    Pipe {
        name: "cat | cat",
        command: "cat | cat",
        is_large: false,
    },
];

fn pipeline(name: &str, megabytes: u64, gives: &str, takes: &str, pipes: &[Pipe]) -> Case {
    let bytes = megabytes * 1_000_000;
    let rival = |name: &str, source: String| {
        let script = format!("{source} | {BENCH} take {bytes} {PACED_RATE} {takes}");
        timed(name, words(&["sh", "-c", &script]), 1, 1.0, &[])
    };
    let through = |pipe: &Pipe| {
        let source = format!(
            "{BENCH} give {bytes} {PACED_RATE} {gives} | {}",
            pipe.command
        );
        rival(pipe.name, source)
    };
    let mut rivals: Vec<_> = pipes.iter().map(through).collect();
    let alone = format!("head -c {bytes} /dev/zero");
    rivals.push(rival("the slower end alone", alone));
    Case {
        name: name.into(),
        figures: vec![time_of("time"), time_of("processor time")],
        rivals,
        limit: limit(64 << 10),
    }
}

/// The programs that measure, as seen from the project's folder.
const BENCH: &str = "bench/target/release/brigade-bench";
const RIVALS: &str = "bench/rivals/target/release/brigade-rivals";
const RING_IN_C: &str = "bench/target/c/ring";
pub const PYTHON: &str = "bench/target/python/bin/python";
pub const BRIGADE: &str = "target/release/brigade";

fn throughput(size: usize, rivals: Vec<Rival>) -> Case {
    Case {
        name: bytes(size),
        figures: vec![rate_of(size)],
        rivals,
        limit: limit(size),
    }
}

/// The bare ring; blocks of this size.
fn limit(size: usize) -> Rival {
    counted("bare ring", &[BENCH, "measure", "bare"], size)
}

fn counted(name: &str, command: &[&str], size: usize) -> Rival {
    let mut command = words(command);
    command.push(size.to_string());
    Rival {
        name: name.into(),
        work: Work::Counted {
            command,
            count: (FIRST_BYTES / size as u64).clamp(least(size), FIRST_MOST),
            aim: Some(Aim {
                takes: AIM_LATE,
                least: least(size),
            }),
            of: |seconds| vec![median(seconds)],
        },
    }
}

/// How much the first run moves, by which the next ones are set.
const FIRST_BYTES: u64 = 16 << 20;
const FIRST_MOST: u64 = 64 << 10;

fn timed(name: &str, command: Vec<String>, times: u32, share: f64, fresh: &[&Path]) -> Rival {
    Rival {
        name: name.into(),
        work: Work::Timed {
            command,
            times,
            share,
            fresh: fresh.iter().map(|&path| path.to_owned()).collect(),
            cold: Vec::new(),
        },
    }
}

fn time_of(name: &'static str) -> Figure {
    Figure {
        name,
        unit: Unit::Seconds,
        is_compared: true,
    }
}

fn rate_of(size: usize) -> Figure {
    Figure {
        name: "rate",
        unit: Unit::BytesPerSecond(size),
        is_compared: true,
    }
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.into()).collect()
}

fn path(path: &Path) -> String {
    path.display().to_string()
}

pub fn bytes(size: usize) -> String {
    match size {
        _ if size.is_multiple_of(1 << 20) => format!("{} MiB", size >> 20),
        _ if size.is_multiple_of(1 << 10) => format!("{} KiB", size >> 10),
        _ => format!("{size} B"),
    }
}
