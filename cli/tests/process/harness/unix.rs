//! What the tests ask of Linux; `windows.rs` offers the same.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use rustix::process::{Pid, Signal};

use super::{Half, Interruption, Place, Stream};

/// How often is often: pairs that are started, moments of a death.
pub(crate) const MANY: usize = 100;

/// What an idle process may use in a second.
pub(crate) const IDLE: Duration = Duration::from_millis(5);

pub(crate) const NAMES_DIFFER_IN_CASE: bool = true;

/// Whether a session with a path as its name has a socket there.
pub(crate) const HAS_SOCKETS: bool = true;

/// A word with a space, as a shell reads it.
pub(crate) const QUOTED: &str = "'a b'";

/// A file name with orders for a terminal, and one that turns the direction of reading.
pub(crate) const HARMFUL_NAME: &str = "a\x1b[2J\x07\u{9b}31m\n\r\u{202e}'txt";

/// Whether what a user would type can be read by a shell; says so if not.
pub(crate) fn has_bash() -> bool {
    let found = Command::new("bash").args(["-c", ":"]).output().is_ok();
    if !found {
        super::skip("no bash here");
    }
    found
}

// What goes wrong, by the system's numbers.
pub(crate) const NO_SUCH_FILE: i32 = 2;
pub(crate) const NO_SUCH_DIRECTORY: i32 = 2;
pub(crate) const CLOSED_STREAM: i32 = 9;
pub(crate) const BROKEN_PIPE: &[i32] = &[32];

pub(crate) const NULL_DEVICE: &str = "/dev/null";
pub(crate) const FULL_DEVICE: Option<&str> = Some("/dev/full");

/// Files that say that they are empty, or larger, than they are.
pub(crate) const LYING_FILES: &[&str] = &[
    "/proc/self/limits",
    "/sys/kernel/mm/transparent_hugepage/enabled",
];

/// A source that can be opened, but not read; and why not.
pub(crate) fn broken_source(_place: &Place) -> (String, String) {
    // Reading the memory of a process at address 0 is an I/O error.
    ("/proc/self/mem".to_owned(), super::why(5))
}

// ---- processes --------------------------------------------------------------

/// A process inherits what its parent ignores, but not what it handles. So what these
/// tests were started to ignore (in the background of a script, with nohup) has a
/// handler here that does nothing.
pub(crate) fn prepare(_command: &mut Command) {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
        let mask = u64::from_str_radix(mask.unwrap().trim(), 16).unwrap();
        let signals = INTERRUPTIONS.iter().map(|interruption| interruption.number);
        for signal in signals.filter(|signal| mask >> (signal - 1) & 1 == 1) {
            signal_hook::flag::register(signal as i32, std::sync::Arc::default()).unwrap();
        }
    });
}

/// The program, started to ignore SIGINT, as in the background of a script.
pub(crate) fn ignoring_interruptions(place: &Place, args: &[&str]) -> Option<Command> {
    let script = r#"trap "" INT; exec "$0" "$@""#;
    let shell = ["-c", script, env!("CARGO_BIN_EXE_brigade")];
    Some(place.command("sh".as_ref(), shell.iter().chain(args)))
}

/// One of these tests, as in the background of a script with nohup.
pub(crate) fn test_in_background(name: &str) -> Option<std::process::Output> {
    let script = r#"trap "" INT QUIT HUP TERM; exec "$0" --exact "$1""#;
    let mut command = Command::new("sh");
    command
        .args(["-c", script])
        .arg(std::env::current_exe().unwrap());
    Some(command.arg(name).output().unwrap())
}

pub(crate) const INTERRUPTIONS: &[Interruption] = &[
    interruption(Signal::INT, "SIGINT"),
    interruption(Signal::TERM, "SIGTERM"),
    interruption(Signal::HUP, "SIGHUP"),
    interruption(Signal::QUIT, "SIGQUIT"),
    interruption(Signal::ABORT, "SIGABRT"),
    interruption(Signal::ALARM, "SIGALRM"),
    interruption(Signal::VTALARM, "SIGVTALRM"),
    interruption(Signal::PROF, "SIGPROF"),
    interruption(Signal::USR1, "SIGUSR1"),
    interruption(Signal::USR2, "SIGUSR2"),
    interruption(Signal::XCPU, "SIGXCPU"),
    interruption(Signal::IO, "SIGIO"),
];

const fn interruption(signal: Signal, name: &'static str) -> Interruption {
    let number = signal.as_raw() as u32;
    Interruption {
        number,
        code: 128 + number as i32,
        name,
    }
}

pub(crate) fn can_interrupt() -> bool {
    true
}

pub(crate) fn interrupt(child: &Child, interruption: &Interruption) {
    let signal = Signal::from_named_raw(interruption.number as i32).unwrap();
    send(child, signal);
}

pub(crate) fn freeze(child: &Child) {
    send(child, Signal::STOP);
}

pub(crate) fn thaw(child: &Child) {
    send(child, Signal::CONT);
}

fn send(child: &Child, signal: Signal) {
    rustix::process::kill_process(Pid::from_child(child), signal).unwrap();
}

/// Time that all its threads have run.
pub(crate) fn processor_time(child: &Child) -> Duration {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", child.id())).unwrap();
    let run_ns = tasks.map(|task| {
        let path = task.unwrap().path().join("schedstat");
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let first = text.split(' ').next().unwrap_or("0");
        first.parse::<u64>().unwrap_or(0)
    });
    Duration::from_nanos(run_ns.sum())
}

/// What its threads are at: their state, and where in the kernel they wait.
pub(crate) fn whereabouts(child: &Child) -> String {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", child.id()));
    let tasks = tasks.into_iter().flatten().flatten().map(|task| {
        let read = |file: &str| std::fs::read_to_string(task.path().join(file));
        let [name, status, call, stack] =
            ["comm", "status", "syscall", "stack"].map(|file| read(file).unwrap_or_default());
        let state = status.lines().find(|line| line.starts_with("State:"));
        let (name, state) = (name.trim(), state.unwrap_or_default());
        format!("{name}: {state}, system call {call}{stack}")
    });
    tasks.collect()
}

pub(crate) fn tells_processor_time(_half: &Half) -> bool {
    true
}

/// Kills a process that a test's own has started; false if that cannot be done here.
pub(crate) fn kill(process_id: u32) -> bool {
    let id = rustix::process::Pid::from_raw(process_id.cast_signed()).unwrap();
    rustix::process::kill_process(id, rustix::process::Signal::KILL).unwrap();
    true
}

pub(crate) fn is_gone(process_id: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{process_id}/stat"));
    stat.map_or(true, |stat| stat.contains(") Z "))
}

/// The program with a standard stream closed.
pub(crate) fn without(place: &Place, stream: Stream, args: &[&str]) -> Command {
    let script = match stream {
        Stream::Input => r#"exec "$0" "$@" <&-"#,
        Stream::Output => r#"exec "$0" "$@" >&-"#,
    };
    let shell = ["-c", script, env!("CARGO_BIN_EXE_brigade")];
    place.command("sh".as_ref(), shell.iter().chain(args))
}

/// The program under a limit, as prlimit takes it; says why if there is none.
pub(crate) fn limited(place: &Place, limit: &str, args: &[&str]) -> Option<Command> {
    if Command::new("prlimit").arg("--version").output().is_err() {
        super::skip("no prlimit here");
        return None;
    }
    let program = [limit, env!("CARGO_BIN_EXE_brigade")];
    Some(place.command("prlimit".as_ref(), program.iter().chain(args)))
}

/// The same as a user who runs nothing else: root's processes are not counted.
pub(crate) fn limited_stranger(place: &Place, limit: &str, args: &[&str]) -> Option<Command> {
    if !is_root() || limited(place, limit, args).is_none() {
        return None;
    }
    let program = place.public_program();
    let user = ["--reuid", "54321", "--regid", "54321", "--clear-groups"];
    let program = ["prlimit", limit, program.to_str().unwrap()];
    let words = user.iter().chain(&program).chain(args);
    Some(place.command("setpriv".as_ref(), words))
}

/// The program after `script` has changed what it sees: file systems that are mounted
/// are mounted for it alone.
pub(crate) fn surrounded(place: &Place, script: &str, args: &[&str]) -> Option<Command> {
    if !is_root() {
        return None;
    }
    let tried = Command::new("unshare").args(["--mount", "true"]).output();
    if !tried.is_ok_and(|output| output.status.success()) {
        super::skip("no mounts of its own here");
        return None;
    }
    let script = format!(r#"{script}; exec "$0" "$@""#);
    let shell = [
        "--mount",
        "sh",
        "-c",
        &script,
        env!("CARGO_BIN_EXE_brigade"),
    ];
    Some(place.command("unshare".as_ref(), shell.iter().chain(args)))
}

/// Whether this test runs as root; says so if not.
pub(crate) fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        super::skip("needs root");
    }
    root
}

// ---- files ------------------------------------------------------------------

pub(crate) fn has_modes() -> bool {
    true
}

pub(crate) fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

pub(crate) fn set_mode(path: &Path, mode: u32) {
    let mode = std::fs::Permissions::from_mode(mode);
    std::fs::set_permissions(path, mode).unwrap();
}

/// With the special bits.
pub(crate) fn whole_mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

/// A name alone hides a file.
pub(crate) fn hide(_path: &Path) -> bool {
    super::skip("a file is hidden by its name alone here");
    false
}

pub(crate) fn is_hidden(_path: &Path) -> bool {
    false
}

/// A new file as the system makes it that is asked for this mode.
pub(crate) fn make_file(path: &Path, mode: u32) {
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = std::fs::File::options();
    options.write(true).create_new(true).mode(mode);
    options.open(path).unwrap();
}

/// The program, whose new files do not get these permissions.
pub(crate) fn with_umask(place: &Place, umask: u32, args: &[&str]) -> Command {
    let script = format!(r#"umask {umask:03o}; exec "$0" "$@""#);
    let shell = ["-c", &script, env!("CARGO_BIN_EXE_brigade")];
    place.command("sh".as_ref(), shell.iter().chain(args))
}

pub(crate) fn owner(path: &Path) -> (u32, u32) {
    let metadata = std::fs::metadata(path).unwrap();
    (metadata.uid(), metadata.gid())
}

pub(crate) fn set_owner(path: &Path, user: u32, group: u32) {
    std::os::unix::fs::chown(path, Some(user), Some(group)).unwrap();
}

/// The program as a user who may do nothing in particular.
pub(crate) fn as_nobody(place: &Place, args: &[&str]) -> Command {
    as_user(place, (65534, 65534), &[], args)
}

/// The program as this user and group, a member of `others`, too.
pub(crate) fn as_user(
    place: &Place,
    (user, group): (u32, u32),
    others: &[u32],
    args: &[&str],
) -> Command {
    let program = place.public_program();
    let others: Vec<String> = others.iter().map(u32::to_string).collect();
    let others = match others.is_empty() {
        true => "--clear-groups".to_owned(),
        false => format!("--groups={}", others.join(",")),
    };
    let [user, group] = [format!("--reuid={user}"), format!("--regid={group}")];
    let program = [user, group, others, program.to_str().unwrap().to_owned()];
    let args = args.iter().map(|arg| (*arg).to_owned());
    place.command("setpriv".as_ref(), program.into_iter().chain(args))
}

/// The program, with system calls that fail: `faults` as `strace --inject` takes them.
/// Says why if that is not possible here.
pub(crate) fn with_faults(place: &Place, faults: &[&str], args: &[&str]) -> Option<Command> {
    let mut command = faulty(place, faults)?;
    command.arg(env!("CARGO_BIN_EXE_brigade")).args(args);
    Some(command)
}

/// The same, but only for the file that is called `name`.
pub(crate) fn with_faults_of(
    place: &Place,
    name: &str,
    faults: &[&str],
    args: &[&str],
) -> Option<Command> {
    let mut command = faulty(place, faults)?;
    command.arg("-P").arg(place.path(name));
    command.arg(env!("CARGO_BIN_EXE_brigade")).args(args);
    Some(command)
}

fn faulty(place: &Place, faults: &[&str]) -> Option<Command> {
    let traced = Command::new("strace").args(["-qq", "true"]).output();
    if !traced.is_ok_and(|output| output.status.success()) {
        super::skip("no strace here, or it may not trace");
        return None;
    }
    let log = place.path("strace");
    // What is not traced does not fail.
    let calls: Vec<&str> = faults.iter().filter_map(|f| f.split(':').next()).collect();
    let trace = format!("trace={}", calls.join(","));
    let mut command = place.command("strace".as_ref(), ["-f", "-qq", "-e", &trace, "-o"]);
    command.arg(log);
    for fault in faults {
        command.args(["-e", &format!("inject={fault}")]);
    }
    Some(command)
}

/// A shell that runs `script`, with the program as its `$0`; it ends with 99 if what it
/// needs cannot be had here.
pub(crate) fn shell(place: &Place, script: &str) -> Option<Command> {
    let args = ["-euc", script, env!("CARGO_BIN_EXE_brigade")];
    Some(place.command("sh".as_ref(), args))
}

/// As `shell`, as root in a mount namespace of its own: what is mounted there ends with it.
pub(crate) fn shell_of_mounts(place: &Place, script: &str) -> Option<Command> {
    if !is_root() {
        return None;
    }
    let args = ["-m", "sh", "-euc", script, env!("CARGO_BIN_EXE_brigade")];
    Some(place.command("unshare".as_ref(), args))
}

/// A device of its own that is null; says why if none can be made.
pub(crate) fn make_null(path: &Path) -> bool {
    use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
    let made = mknodat(
        CWD,
        path,
        FileType::CharacterDevice,
        Mode::from_raw_mode(0o666),
        makedev(1, 3),
    );
    if made.is_err() {
        super::skip("no device can be made here");
    }
    made.is_ok()
}

pub(crate) fn is_character_device(path: &Path) -> bool {
    let found = std::fs::symlink_metadata(path).unwrap();
    std::os::unix::fs::FileTypeExt::is_char_device(&found.file_type())
}

/// Gives a link to another user.
pub(crate) fn set_owner_of_link(path: &Path, user: u32, group: u32) {
    std::os::unix::fs::lchown(path, Some(user), Some(group)).unwrap();
}

/// Exchanges two names again and again, as one who may write to their directory can.
pub(crate) struct Exchanging {
    stop: std::sync::Arc<std::sync::atomic::AtomicBool>,
    thread: Option<std::thread::JoinHandle<u64>>,
}

/// `None` where that is not possible.
pub(crate) fn exchanging(one: &Path, other: &Path) -> Option<Exchanging> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    use std::sync::atomic::{AtomicBool, Ordering};
    let (one, other) = (one.to_owned(), other.to_owned());
    let stop = std::sync::Arc::new(AtomicBool::new(false));
    let thread = std::thread::spawn({
        let stop = stop.clone();
        move || {
            let mut times = 0;
            while !stop.load(Ordering::Relaxed) {
                // One of them may be missing for a moment.
                times +=
                    u64::from(renameat_with(CWD, &one, CWD, &other, RenameFlags::EXCHANGE).is_ok());
                std::thread::sleep(Duration::from_micros(25));
            }
            times
        }
    });
    Some(Exchanging {
        stop,
        thread: Some(thread),
    })
}

impl Exchanging {
    /// How often it was done.
    pub(crate) fn end(mut self) -> u64 {
        self.stop.store(true, std::sync::atomic::Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap()
    }
}

impl Drop for Exchanging {
    fn drop(&mut self) {
        self.stop.store(true, std::sync::atomic::Ordering::Relaxed);
    }
}

/// Sets an extended attribute; false, with the reason said, where files have none.
pub(crate) fn set_attribute(path: &Path, name: &str, value: &[u8]) -> bool {
    let flags = rustix::fs::XattrFlags::empty();
    match rustix::fs::setxattr(path, name, value, flags) {
        Err(rustix::io::Errno::NOTSUP) => {
            super::skip(&format!("{} cannot have {name}", path.display()));
            false
        }
        set => set.map(|()| true).unwrap(),
    }
}

pub(crate) fn attribute(path: &Path, name: &str) -> Option<Vec<u8>> {
    let mut value = vec![0; 64 * 1024];
    let len = rustix::fs::getxattr(path, name, &mut value[..]).ok()?;
    value.truncate(len);
    Some(value)
}

/// The names of the attributes with an access control list: of a file, and what a
/// directory hands down to files.
pub(crate) const ACCESS_LIST: &str = "system.posix_acl_access";
pub(crate) const INHERITED_LIST: &str = "system.posix_acl_default";

/// Such a list, of entries of kind, permissions and identifier: linux/posix_acl_xattr.h.
pub(crate) fn list(entries: &[(u16, u16, u32)]) -> Vec<u8> {
    const VERSION: u32 = 2;
    let mut bytes = VERSION.to_le_bytes().to_vec();
    for (kind, permissions, id) in entries {
        bytes.extend(kind.to_le_bytes());
        bytes.extend(permissions.to_le_bytes());
        bytes.extend(id.to_le_bytes());
    }
    bytes
}

/// Bytes that a file takes on its disk.
pub(crate) fn allocated_bytes(path: &Path) -> u64 {
    std::fs::metadata(path).unwrap().blocks() * 512
}

/// Bytes of a file that lie in the system's cache, if that can be seen.
pub(crate) fn cached_bytes(path: &Path) -> Option<u64> {
    let mut command = Command::new("fincore");
    let Ok(output) = command.args(["-b", "-n", "-o", "RES"]).arg(path).output() else {
        super::skip("no fincore here");
        return None;
    };
    String::from_utf8(output.stdout)
        .unwrap()
        .trim()
        .parse()
        .ok()
}

/// Whether a file's facts can be asked for without an access to its data.
pub(crate) fn looking_is_no_access() -> bool {
    true
}

/// Whether the system says where a file has holes.
pub(crate) fn finds_holes(_path: &Path) -> bool {
    true
}

/// Whether a name is there.
pub(crate) fn exists(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

/// False if that is not possible here.
pub(crate) fn drop_from_cache(path: &Path) -> bool {
    let file = std::fs::File::open(path).unwrap();
    file.sync_all().unwrap();
    let advice = rustix::fs::Advice::DontNeed;
    rustix::fs::fadvise(&file, 0, None, advice).is_ok()
}

/// A file system of its own, unmounted when dropped.
pub(crate) struct Mounted {
    directory: tempfile::TempDir,
}

/// A new file system of `kind`, if this machine has it and lets this user mount it;
/// else says why not.
pub(crate) fn mounted(kind: &str) -> Option<Mounted> {
    if !is_root() {
        return None;
    }
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("root");
    std::fs::create_dir(&root).unwrap();
    let image = directory.path().join("image");
    let script = r#"
        case $0 in
            ramfs | tmpfs) exec mount -t "$0" none "$2" ;;
        esac
        truncate -s 400M "$1" && "mkfs.$0" -q "$1" && exec mount -o loop "$1" "$2"
    "#;
    let mut command = Command::new("sh");
    let command = command.args(["-c", script, kind]).arg(image).arg(&root);
    let output = command.output().unwrap();
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr);
        super::skip(&format!("no {kind} can be mounted here: {}", why.trim()));
        return None;
    }
    Some(Mounted { directory })
}

impl Mounted {
    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().join("root")
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.path()).status();
    }
}

/// A file system whose power can be cut: of the file that is its disk, a copy is made in one
/// moment, as it is then.
pub(crate) struct Powered {
    directory: tempfile::TempDir,
}

/// A new one of `kind`, if this machine has it and lets this user mount it; else says why
/// not.
pub(crate) fn powered(kind: &str) -> Option<Powered> {
    if !is_root() {
        return None;
    }
    let directory = tempfile::tempdir().unwrap();
    // XFS copies a file in one moment. On the inner one it takes more room for a file that grows
    // than that has, and keeps it if the power is cut: there is enough for two such.
    let script = r#"
        cd "$1" && mkdir disks root && truncate -s 4G outer && mkfs.xfs -q outer &&
        mount -o loop outer disks && truncate -s 700M disks/whole && "mkfs.$0" -q disks/whole &&
        mount -o loop disks/whole root
    "#;
    let mut command = Command::new("sh");
    let command = command.args(["-c", script, kind]).arg(directory.path());
    let output = command.output().unwrap();
    let powered = Powered { directory };
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr);
        super::skip(&format!("no {kind} can be mounted here: {}", why.trim()));
        return None;
    }
    Some(powered)
}

impl Powered {
    /// Where it is mounted; and again, as it was when the power was cut.
    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().join("root")
    }

    /// What is on the disk in this moment.
    pub(crate) fn cut(&self, number: usize) {
        let disks = self.directory.path().join("disks");
        let mut command = Command::new("cp");
        let command = command.arg("--reflink=always").arg(disks.join("whole"));
        let status = command.arg(disks.join(number.to_string())).status();
        assert!(status.unwrap().success());
    }

    pub(crate) fn unmount(&self) {
        let is_unmounted = || {
            let status = Command::new("umount").arg(self.path()).status();
            status.unwrap().success()
        };
        super::wait_until("unmounted", super::SOON, is_unmounted);
    }

    pub(crate) fn mount_cut(&self, number: usize) {
        let image = self.directory.path().join(format!("disks/{number}"));
        let mut command = Command::new("mount");
        let command = command.args(["-o", "loop"]).arg(image).arg(self.path());
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }
}

impl Drop for Powered {
    fn drop(&mut self) {
        for name in ["root", "disks"] {
            let path = self.directory.path().join(name);
            let _ = Command::new("umount").arg(path).output();
        }
    }
}

/// A new directory, and another view of it, as bindfs makes it with these options; says
/// why if it cannot.
pub(crate) fn mirrored(directory: &Path, options: &str) -> Option<Mounted> {
    if !is_root() {
        return None;
    }
    std::fs::create_dir(directory).unwrap();
    let mounted = tempfile::tempdir().unwrap();
    let root = mounted.path().join("root");
    std::fs::create_dir(&root).unwrap();
    let mut command = Command::new("bindfs");
    let output = command
        .args(["-o", options])
        .arg(directory)
        .arg(&root)
        .output();
    match output {
        Ok(output) if output.status.success() => Some(Mounted { directory: mounted }),
        _ => {
            super::skip("no bindfs here, or it may not mount");
            None
        }
    }
}

/// A disk that is a file, detached when dropped.
pub(crate) struct Disk(String);

/// The disk whose content is that of `file`; says why if there is none.
pub(crate) fn disk(file: &Path) -> Option<Disk> {
    if !is_root() {
        return None;
    }
    let mut command = Command::new("losetup");
    let output = command.args(["--find", "--show"]).arg(file).output();
    match output {
        Ok(output) if output.status.success() => {
            let path = String::from_utf8(output.stdout).unwrap();
            Some(Disk(path.trim().to_owned()))
        }
        _ => {
            super::skip("no file can be a disk here");
            None
        }
    }
}

impl Disk {
    pub(crate) fn path(&self) -> &str {
        &self.0
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("losetup").args(["--detach", &self.0]).status();
    }
}

/// Modes take their place.
pub(crate) fn has_access_lists() -> bool {
    false
}

pub(crate) fn protect(_path: &Path) {}

pub(crate) fn access_list(_path: &Path) -> Vec<u8> {
    Vec::new()
}

/// An open file that nobody else may open.
pub(crate) fn open_alone(_path: &Path) -> Option<std::fs::File> {
    None
}

pub(crate) fn link(target: &str, link: &Path) -> bool {
    std::os::unix::fs::symlink(target, link).unwrap();
    true
}

/// Which file it is, by whatever name.
pub(crate) fn identity(path: &Path) -> (u64, u64) {
    let metadata = std::fs::symlink_metadata(path).unwrap();
    (metadata.dev(), metadata.ino())
}

/// Takes a name from a file that a process has open.
pub(crate) fn take_name(path: &Path) {
    std::fs::remove_file(path).unwrap();
}

pub(crate) fn free_bytes(path: &Path) -> u64 {
    let free = rustix::fs::statvfs(path).unwrap();
    free.f_bavail * free.f_frsize
}

/// Something that listens where a session's socket would be.
pub(crate) fn listen(path: &Path) -> std::os::unix::net::UnixListener {
    std::os::unix::net::UnixListener::bind(path).unwrap()
}

/// A pipe with a path.
pub(crate) struct Fifo(PathBuf);

impl Fifo {
    pub(crate) fn new(place: &Place) -> Fifo {
        let path = place.path("fifo");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &path,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
            0,
        )
        .unwrap();
        Fifo(path)
    }

    pub(crate) fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }

    /// All that one writer writes.
    pub(crate) fn read(self, _writer: &Half) -> Vec<u8> {
        std::fs::read(&self.0).unwrap()
    }

    pub(crate) fn remove(self) {
        std::fs::remove_file(&self.0).unwrap();
    }
}

/// What a process may write to, which says so when it has no room; and the other end.
pub(crate) fn stream_that_does_not_wait() -> Option<(std::process::Stdio, impl std::io::Read)> {
    let (input, output) = std::os::unix::net::UnixStream::pair().unwrap();
    output.set_nonblocking(true).unwrap();
    let output = std::os::fd::OwnedFd::from(output);
    Some((output.into(), input))
}
