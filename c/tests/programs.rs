//! Programs in C and C++, compiled by the system's compiler against the library as it is
//! installed, and run as they are, with AddressSanitizer, and under valgrind.
#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test says what it expects by unwrapping it, and why it is skipped"
)]

use std::ffi::OsStr;
use std::fs;
use std::io::Read;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use engine::{Delivered, Error, Label, Options, Side};
use tempfile::TempDir;

/// No program takes this long; one that does hangs. (Its own limit is shorter.)
const LIMIT: Duration = Duration::from_secs(300);

/// Between two looks at what cannot be waited for.
const PAUSE: Duration = Duration::from_millis(10);

/// Where C programs find the library: installed once for all tests of this process.
struct Installed {
    prefix: TempDir,
}

fn here() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn installed() -> &'static Installed {
    static INSTALLED: OnceLock<Installed> = OnceLock::new();
    INSTALLED.get_or_init(|| {
        let prefix = tempfile::tempdir().unwrap();
        succeed(
            Command::new(here().join("install.sh"))
                .arg(prefix.path())
                .env("BRIGADE_LIBRARIES", libraries()),
        );
        Installed { prefix }
    })
}

/// Builds both libraries, which no test is linked with, beside the tests.
fn libraries() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let profile = own.parent().unwrap().parent().unwrap();
    let target = profile.parent().unwrap();
    succeed(
        Command::new(env!("CARGO"))
            .args(["build", "--quiet", "--locked", "-p", "brigade-c"])
            .arg("--target-dir")
            .arg(target)
            .current_dir(here()),
    );
    target.join("debug")
}

impl Installed {
    fn path(&self, of: &str) -> PathBuf {
        self.prefix.path().join(of)
    }

    /// What pkg-config says, of the library as it is installed.
    fn pkg_config(&self, arguments: &[&str]) -> Vec<String> {
        let said = succeed(
            Command::new("pkg-config")
                .args(arguments)
                .arg("brigade")
                .env("PKG_CONFIG_PATH", self.path("lib/pkgconfig")),
        );
        said.split_whitespace().map(str::to_owned).collect()
    }
}

/// Whether `program` is there; says so if not.
fn has(program: &str) -> bool {
    let found = Command::new(program)
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    let has = found.is_ok_and(|status| status.success());
    if !has {
        println!("skipped: there is no {program}");
    }
    has
}

fn has_tools() -> bool {
    has("cc") && has("c++") && has("pkg-config")
}

/// Runs `command`, which must succeed; what it said.
fn succeed(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| {
        panic!("{command:?}: {error}");
    });
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}\n{said}{complaint}");
    said
}

/// How a program is compiled, and run.
#[derive(Clone, Copy, PartialEq)]
enum Way {
    Plain,
    Static,
    Sanitized,
    Valgrind,
}

/// Compiles `source`, a path from here, for `way`. All that a compiler warns of is an error.
fn compile(source: &str, way: Way, to: &Path) -> PathBuf {
    let is_cxx = source.ends_with("cpp");
    let program = to.join(Path::new(source).file_stem().unwrap());
    let (compiler, standard) = match is_cxx {
        true => ("c++", "-std=c++11"),
        false => ("cc", "-std=gnu99"),
    };
    let mut command = Command::new(compiler);
    command
        .args([
            standard,
            "-g",
            "-O1",
            "-Wall",
            "-Wextra",
            "-Wpedantic",
            "-Werror",
        ])
        .args(installed().pkg_config(&["--cflags"]));
    if way == Way::Sanitized {
        command.args(["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]);
    }
    command.arg(here().join(source)).arg("-o").arg(&program);
    match way {
        Way::Static => command
            .arg(installed().path("lib/libbrigade.a"))
            .args(system_libraries()),
        _ => command.args(installed().pkg_config(&["--libs"])),
    };
    succeed(command.arg("-pthread"));
    program
}

/// What the static library needs beside itself.
fn system_libraries() -> Vec<String> {
    let mut all = installed().pkg_config(&["--libs-only-l", "--static"]);
    all.retain(|library| library != "-lbrigade");
    all
}

/// A process that ends with the test, however that ends.
struct Process {
    what: String,
    child: Child,
    output: Vec<JoinHandle<String>>,
    start: Instant,
}

impl Process {
    fn start<S: AsRef<OsStr>>(program: &Path, way: Way, arguments: &[S]) -> Process {
        let mut command = match way {
            Way::Valgrind => {
                let mut valgrind = Command::new("valgrind");
                valgrind
                    .args(["--quiet", "--error-exitcode=99", "--leak-check=full"])
                    .args([
                        "--errors-for-leak-kinds=definite",
                        "--child-silent-after-fork=no",
                    ])
                    .arg(program);
                valgrind
            }
            _ => Command::new(program),
        };
        command
            .args(arguments)
            .env("LD_LIBRARY_PATH", installed().path("lib"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        Process {
            what: format!("{command:?}"),
            output: vec![
                collect(child.stdout.take().unwrap()),
                collect(child.stderr.take().unwrap()),
            ],
            child,
            start: Instant::now(),
        }
    }

    /// What it said, when it has ended well.
    fn succeed(&mut self) -> String {
        let status = loop {
            match self.child.try_wait().unwrap() {
                Some(status) => break status,
                None if self.start.elapsed() > LIMIT => panic!("{} hangs", self.what),
                None => thread::sleep(PAUSE),
            }
        };
        let said = self.output.drain(..).map(|thread| thread.join().unwrap());
        let said: String = said.collect();
        assert!(status.success(), "{}: {status}\n{said}", self.what);
        said
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn collect(mut from: impl Read + Send + 'static) -> JoinHandle<String> {
    thread::spawn(move || {
        let mut said = Vec::new();
        from.read_to_end(&mut said).unwrap();
        String::from_utf8_lossy(&said).into_owned()
    })
}

/// The programs that check themselves, each with a name.
const PROGRAMS: [&str; 5] = ["session", "misuse", "threads", "losses", "ways"];

fn run_all(way: Way) {
    if !has_tools() {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    for program in PROGRAMS {
        let compiled = compile(&format!("tests/{program}.c"), way, place.path());
        let name = place.path().join(format!("{program}-name"));
        Process::start(&compiled, way, &[name]).succeed();
    }
}

#[test]
fn programs_in_c_find_all_that_the_header_promises() {
    run_all(Way::Plain);
}

#[test]
fn what_was_freed_is_found_out_while_its_memory_is_not_used_again() {
    if !has_tools() {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let freed = compile("tests/freed.c", Way::Plain, place.path());
    Process::start(&freed, Way::Plain, &[place.path().join("name")]).succeed();
}

#[test]
fn programs_in_c_can_be_linked_with_the_static_library() {
    run_all(Way::Static);
}

#[test]
fn programs_in_c_touch_no_memory_that_is_not_theirs_by_address_sanitizer() {
    run_all(Way::Sanitized);
}

#[test]
fn programs_in_c_touch_no_memory_that_is_not_theirs_by_valgrind() {
    if has("valgrind") {
        run_all(Way::Valgrind);
    }
}

#[test]
fn blocks_flow_between_c_and_rust_both_ways() {
    if !has_tools() {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let flow = compile("tests/flow.c", Way::Plain, place.path());
    let start = |what: &str, name: &str| Process::start(&flow, Way::Plain, &[what, name]);
    let name = |name: &str| place.path().join(name).display().to_string();

    let [one, two, three] = ["c-c", "c-rust", "rust-c"].map(name);
    let mut processes = [start("fill", &one), start("drain", &one)];
    processes
        .iter_mut()
        .for_each(|process| drop(process.succeed()));

    let mut filling = start("fill", &two);
    drain(&two);
    filling.succeed();

    let mut draining = start("drain", &three);
    fill(&three);
    draining.succeed();
}

/// As flow.c has them.
const SIZE: usize = 1000;
const SENT: usize = 2000;

fn options(side: Side) -> Options {
    let options = Options::new().block_size(SIZE).block_count(8);
    options.wait(LIMIT).side(side)
}

fn label(number: usize) -> Label {
    Label {
        kind: (number / 2) as u16,
        tag: number as u64,
        more: number % 2 == 1,
    }
}

fn fill(name: &str) {
    let role = engine::join(name, &options(Side::Reader)).unwrap();
    let reader = role.into_reader().unwrap();
    let deadline = Instant::now() + LIMIT;
    for number in 0..SENT {
        let mut block = reader.empty_block_until(deadline).unwrap();
        block.fill(number as u8);
        block.send_as(number % SIZE, label(number)).unwrap();
    }
    reader.close().unwrap();
    let letter = reader.letter_until(deadline).unwrap().unwrap();
    assert_eq!((letter.kind, &letter.bytes[..]), (1, &b"all"[..]));
    reader.verdict_until(deadline).unwrap();
}

fn drain(name: &str) {
    let role = engine::join(name, &options(Side::Writer)).unwrap();
    let writer = role.into_writer().unwrap();
    let deadline = Instant::now() + LIMIT;
    let mut number = 0;
    while let Some(block) = writer.data_block_until(deadline).unwrap() {
        assert_eq!(block.label(), label(number));
        assert_eq!(&block[..], vec![number as u8; number % SIZE]);
        number += 1;
    }
    assert_eq!(number, SENT);
    writer.post_until(1, b"all", deadline).unwrap();
    writer.finish().unwrap();
}

#[test]
fn the_example_in_cxx_sums_up_what_its_other_process_sends() {
    if !has_tools() {
        return;
    }
    for way in [Way::Plain, Way::Sanitized] {
        let place = tempfile::tempdir().unwrap();
        let sum = compile("examples/sum.cpp", way, place.path());
        let name = [place.path().join("name")];
        let mut both = [0, 1].map(|_| Process::start(&sum, way, &name));
        let said: String = both.iter_mut().map(Process::succeed).collect();
        assert!(said.contains("all numbers are summed up"), "{said}");
        assert!(said.contains("the sum is 499999500000"), "{said}");
    }
}

/// As waves.c has them, in the place of python/examples/waves.py.
const SAMPLES: u64 = 65536;
const TOTAL: u16 = 1;

/// Sends blocks of samples which are all 1, and says that their sum is `total`.
fn send_waves(name: &str, blocks: u64, total: f64) -> Result<Delivered, Error> {
    let options = Options::new().block_size(8 * SAMPLES as usize).wait(LIMIT);
    let role = engine::join(name, &options.side(Side::Reader)).unwrap();
    let reader = role.into_reader().unwrap();
    let deadline = Instant::now() + LIMIT;
    for number in 0..blocks {
        let mut block = reader.empty_block_until(deadline).unwrap();
        for sample in block.chunks_exact_mut(8) {
            sample.copy_from_slice(&1f64.to_ne_bytes());
        }
        block.send(8 * SAMPLES as usize, number * SAMPLES).unwrap();
    }
    let letter = [(blocks * SAMPLES).to_ne_bytes(), total.to_ne_bytes()];
    reader
        .post_until(TOTAL, letter.as_flattened(), deadline)
        .unwrap();
    reader.finish_until(deadline)
}

#[test]
fn samples_are_summed_up_where_they_lie_and_a_wrong_sum_is_no_success() {
    if !has_tools() {
        return;
    }
    for way in [Way::Plain, Way::Sanitized] {
        let place = tempfile::tempdir().unwrap();
        let waves = compile("examples/waves.c", way, place.path());
        let name = |name: &str| place.path().join(name).display().to_string();

        let mut sums = Process::start(&waves, way, &[name("right")]);
        let all = 20 * SAMPLES;
        send_waves(&name("right"), 20, all as f64).unwrap();
        let said = sums.succeed();
        assert!(
            said.contains(&format!("{all} samples, whose sum is {all}.0")),
            "{said}"
        );

        let _sums = Process::start(&waves, way, &[name("wrong")]);
        match send_waves(&name("wrong"), 20, 7.0) {
            Err(Error::PartnerAborted { reason, .. }) => assert_eq!(reason, "the sum is not right"),
            other => panic!("{other:?}"),
        }
    }
}

/// The lines of the README that a shell runs: the first block that is set off.
fn readme_lines() -> String {
    let readme = fs::read_to_string(here().join("README.md")).unwrap();
    let lines = readme
        .lines()
        .skip_while(|line| !line.starts_with("    "))
        .map_while(|line| line.strip_prefix("    "));
    lines.map(|line| format!("{line}\n")).collect()
}

#[test]
fn the_lines_of_the_readme_work_as_they_are_written() {
    if !has_tools() {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    symlink(here(), place.path().join("c")).unwrap();
    let lines = readme_lines();
    assert_eq!(lines.lines().count(), 5, "{lines}");
    // The camera runs beside; in the end it is waited for.
    let script = format!("set -e\n{lines}wait $!\n");
    let said = succeed(
        Command::new("timeout")
            .args(["300", "bash", "-c", &script])
            .current_dir(place.path())
            // Built already; and a place where nobody else has a camera.
            .env("BRIGADE_LIBRARIES", libraries())
            .env("HOME", place.path())
            .env("XDG_RUNTIME_DIR", place.path()),
    );
    for what in ["camera: ", "encoder: 300 frames encoded", "10 key frames"] {
        assert!(said.contains(what), "not said: {what}\n{said}");
    }
}

#[test]
fn what_is_installed_has_the_names_and_the_version_that_it_should() {
    if !has_tools() {
        return;
    }
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(installed().pkg_config(&["--modversion"]), [version]);
    let lib = installed().path("lib");
    let leads_to = |link: &str| fs::read_link(lib.join(link)).unwrap();
    assert_eq!(leads_to("libbrigade.so"), Path::new("libbrigade.so.0"));
    let whole = format!("libbrigade.so.{version}");
    assert_eq!(leads_to("libbrigade.so.0"), Path::new(&whole));
    let by_hand = fs::read(here().join("include/brigade.h")).unwrap();
    assert_eq!(
        fs::read(installed().path("include/brigade.h")).unwrap(),
        by_hand
    );
    // A program asks for it by that name.
    if has("readelf") {
        let library = lib.join("libbrigade.so");
        let said = succeed(Command::new("readelf").arg("-d").arg(library));
        assert!(said.contains("[libbrigade.so.0]"), "{said}");
    }
}

#[test]
fn the_header_is_whole_by_itself_in_every_language_and_for_windows() {
    if !has_tools() {
        return;
    }
    let mut compilers = vec![
        ("cc", "c", "-std=c99"),
        ("cc", "c", "-std=c11"),
        ("c++", "c++", "-std=c++11"),
        ("c++", "c++", "-std=c++20"),
    ];
    if has("x86_64-w64-mingw32-gcc") {
        compilers.push(("x86_64-w64-mingw32-gcc", "c", "-std=c99"));
    }
    for (compiler, language, standard) in compilers {
        succeed(
            Command::new(compiler)
                .args([standard, "-x", language, "-fsyntax-only"])
                .args(["-Wall", "-Wextra", "-pedantic-errors", "-Werror"])
                .arg(here().join("include/brigade.h")),
        );
    }
}
