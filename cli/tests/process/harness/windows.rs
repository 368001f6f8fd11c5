//! What the tests ask of Windows; `unix.rs` offers the same.
#![expect(unsafe_code, reason = "the system's interface is all unsafe functions")]

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::windows::ffi::OsStrExt;
use std::os::windows::fs::OpenOptionsExt;
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::os::windows::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use windows_sys::Win32::Foundation::{
    ERROR_BROKEN_PIPE, ERROR_FILE_NOT_FOUND, ERROR_INVALID_HANDLE, ERROR_NO_DATA,
    ERROR_PATH_NOT_FOUND, ERROR_PIPE_NOT_CONNECTED, FILETIME, HANDLE, INVALID_HANDLE_VALUE,
    STILL_ACTIVE, WAIT_OBJECT_0,
};
use windows_sys::Win32::Security::Authorization::{
    ConvertStringSecurityDescriptorToSecurityDescriptorW, SDDL_REVISION_1,
};
use windows_sys::Win32::Security::{
    DACL_SECURITY_INFORMATION, GetFileSecurityW, PROTECTED_DACL_SECURITY_INFORMATION,
    SetFileSecurityW,
};
use windows_sys::Win32::Storage::FileSystem::{
    BY_HANDLE_FILE_INFORMATION, FILE_ATTRIBUTE_HIDDEN, FILE_ATTRIBUTE_SYSTEM, FILE_STANDARD_INFO,
    FileStandardInfo, GetCompressedFileSizeW, GetDiskFreeSpaceExW, GetFileAttributesW,
    GetFileInformationByHandle, GetFileInformationByHandleEx, INVALID_FILE_ATTRIBUTES,
    PIPE_ACCESS_INBOUND, PIPE_ACCESS_OUTBOUND, SetFileAttributesW,
};
use windows_sys::Win32::System::Console::{
    CTRL_BREAK_EVENT, GenerateConsoleCtrlEvent, GetConsoleCP,
};
use windows_sys::Win32::System::IO::DeviceIoControl;
use windows_sys::Win32::System::Ioctl::{
    FILE_ALLOCATED_RANGE_BUFFER, FSCTL_QUERY_ALLOCATED_RANGES,
};
use windows_sys::Win32::System::LibraryLoader::{GetModuleHandleW, GetProcAddress};
use windows_sys::Win32::System::Pipes::{
    ConnectNamedPipe, CreateNamedPipeW, DisconnectNamedPipe, PIPE_TYPE_BYTE, PIPE_WAIT,
};
use windows_sys::Win32::System::Threading::{
    CREATE_NEW_PROCESS_GROUP, GetExitCodeProcess, GetProcessTimes, OpenProcess,
    PROCESS_SYNCHRONIZE, WaitForSingleObject,
};

use super::{Half, Interruption, Place, Stream};

/// How often is often: under Wine, a process takes 60 to 90 ms to start, not one.
pub(crate) const MANY: usize = 25;

/// What an idle process may use in a second: a tick of the clock that counts it.
pub(crate) const IDLE: Duration = Duration::from_millis(20);

pub(crate) const NAMES_DIFFER_IN_CASE: bool = false;

/// Whether a session with a path as its name has a socket there.
pub(crate) const HAS_SOCKETS: bool = false;

/// A word with a space, as a shell reads it.
pub(crate) const QUOTED: &str = r#""a b""#;

/// A file name that turns the direction of reading: none can hold orders.
pub(crate) const HARMFUL_NAME: &str = "a\u{202e}txt";

/// Whether what a user would type can be read by a shell.
pub(crate) fn has_bash() -> bool {
    super::skip("no bash on Windows");
    false
}

// What goes wrong, by the system's numbers.
pub(crate) const NO_SUCH_FILE: i32 = ERROR_FILE_NOT_FOUND as i32;
pub(crate) const NO_SUCH_DIRECTORY: i32 = ERROR_PATH_NOT_FOUND as i32;
pub(crate) const CLOSED_STREAM: i32 = ERROR_INVALID_HANDLE as i32;
pub(crate) const BROKEN_PIPE: &[i32] = &[ERROR_NO_DATA as i32, ERROR_BROKEN_PIPE as i32];

pub(crate) const NULL_DEVICE: &str = "NUL";
pub(crate) const FULL_DEVICE: Option<&str> = None;

/// Files that say that they are empty, or larger, than they are.
pub(crate) const LYING_FILES: &[&str] = &[];

/// A source that can be opened, but not read; and why not. It is a pipe whose other
/// end hangs up on everybody who comes.
pub(crate) fn broken_source(_place: &Place) -> (String, String) {
    let (path, pipe) = pipe("broken", PIPE_ACCESS_OUTBOUND);
    std::thread::spawn(move || {
        loop {
            // SAFETY: the handle is open. It fails if somebody is connected already.
            unsafe { ConnectNamedPipe(pipe.as_raw_handle(), ptr::null_mut()) };
            // SAFETY: as above.
            unsafe { DisconnectNamedPipe(pipe.as_raw_handle()) };
        }
    });
    (path, super::why(ERROR_PIPE_NOT_CONNECTED as i32))
}

// ---- processes --------------------------------------------------------------

/// Console events then reach the process and its children, but not the tests.
pub(crate) fn prepare(command: &mut Command) {
    command.creation_flags(CREATE_NEW_PROCESS_GROUP);
}

/// Ctrl-C cannot be sent to a group of processes.
pub(crate) const INTERRUPTIONS: &[Interruption] = &[Interruption {
    number: CTRL_BREAK_EVENT,
    code: 130,
    name: "Ctrl-Break",
}];

/// Events come from a console; says so if there is none.
/// The program, started to ignore interruptions.
pub(crate) fn ignoring_interruptions(_place: &Place, _args: &[&str]) -> Option<Command> {
    super::skip("Ctrl-Break cannot be ignored");
    None
}

/// One of these tests, started to ignore interruptions.
pub(crate) fn test_in_background(_name: &str) -> Option<std::process::Output> {
    super::skip("Ctrl-Break cannot be ignored");
    None
}

pub(crate) fn can_interrupt() -> bool {
    // SAFETY: no arguments.
    let code_page = unsafe { GetConsoleCP() };
    if code_page == 0 {
        super::skip("there is no console here");
    }
    code_page != 0
}

pub(crate) fn interrupt(child: &Child, interruption: &Interruption) {
    // SAFETY: plain values.
    let done = unsafe { GenerateConsoleCtrlEvent(interruption.number, child.id()) };
    check(done);
}

#[link(name = "ntdll")]
unsafe extern "system" {
    fn NtSuspendProcess(process: HANDLE) -> i32;
    fn NtResumeProcess(process: HANDLE) -> i32;
}

pub(crate) fn freeze(child: &Child) {
    // SAFETY: the handle is the child's own, with all access.
    assert_eq!(unsafe { NtSuspendProcess(child.as_raw_handle()) }, 0);
}

pub(crate) fn thaw(child: &Child) {
    // SAFETY: the handle is the child's own, with all access.
    assert_eq!(unsafe { NtResumeProcess(child.as_raw_handle()) }, 0);
}

/// Time that all its threads have run.
pub(crate) fn processor_time(child: &Child) -> Duration {
    let [mut created, mut ended, mut kernel, mut user] = [FILETIME::default(); 4];
    // SAFETY: the handle is the child's own, and the times live.
    let done = unsafe {
        GetProcessTimes(
            child.as_raw_handle(),
            &mut created,
            &mut ended,
            &mut kernel,
            &mut user,
        )
    };
    check(done);
    let ticks =
        |time: FILETIME| u64::from(time.dwHighDateTime) << 32 | u64::from(time.dwLowDateTime);
    Duration::from_nanos((ticks(kernel) + ticks(user)) * 100)
}

/// Whether it runs, and with which code it ended.
pub(crate) fn whereabouts(child: &Child) -> String {
    let mut code = 0;
    // SAFETY: the handle is the child's own, and the code lives.
    check(unsafe { GetExitCodeProcess(child.as_raw_handle(), &mut code) });
    match code.cast_signed() {
        STILL_ACTIVE => "it runs".to_string(),
        _ => format!("its exit code is {code:#x}"),
    }
}

/// Whether `processor_time` is that of the process that was asked for; Wine tells that
/// of who asks. Says so if not.
pub(crate) fn tells_processor_time(half: &Half) -> bool {
    const WORK: Duration = Duration::from_millis(300);
    let before = half.processor_time();
    let start = Instant::now();
    while start.elapsed() < WORK {}
    let is_told = half.processor_time() - before < WORK / 4;
    if !is_told {
        super::skip("the system does not tell how long another process ran");
    }
    is_told
}

/// Not by its number alone.
pub(crate) fn kill(_process_id: u32) -> bool {
    false
}

pub(crate) fn is_gone(process_id: u32) -> bool {
    // SAFETY: plain values.
    let process = unsafe { OpenProcess(PROCESS_SYNCHRONIZE, 0, process_id) };
    if process.is_null() {
        return true;
    }
    // SAFETY: it was opened above, and nobody else has it.
    let process = unsafe { OwnedHandle::from_raw_handle(process) };
    // SAFETY: the handle is open.
    unsafe { WaitForSingleObject(process.as_raw_handle(), 0) == WAIT_OBJECT_0 }
}

/// The program with a standard stream closed.
pub(crate) fn without(place: &Place, stream: Stream, args: &[&str]) -> Command {
    let mut command = place.brigade(args);
    // SAFETY: std takes null for a standard stream that is not there.
    let nothing = unsafe { OwnedHandle::from_raw_handle(ptr::null_mut()) };
    match stream {
        Stream::Input => command.stdin(Stdio::from(nothing)),
        Stream::Output => command.stdout(Stdio::from(nothing)),
    };
    command
}

/// The program under a limit.
pub(crate) fn limited(_place: &Place, _limit: &str, _args: &[&str]) -> Option<Command> {
    super::skip("no limits of processes on Windows");
    None
}

pub(crate) fn limited_stranger(_place: &Place, _limit: &str, _args: &[&str]) -> Option<Command> {
    super::skip("no limits of processes on Windows");
    None
}

/// The program where file systems are mounted for it alone.
pub(crate) fn surrounded(_place: &Place, _script: &str, _args: &[&str]) -> Option<Command> {
    super::skip("no mounts on Windows");
    None
}

/// Whether this test runs as root; says so if not.
pub(crate) fn is_root() -> bool {
    super::skip("needs users and mounts as Unix has them");
    false
}

// ---- files ------------------------------------------------------------------

pub(crate) fn has_modes() -> bool {
    false
}

pub(crate) fn mode(_path: &Path) -> u32 {
    0
}

pub(crate) fn set_mode(_path: &Path, _mode: u32) {}

pub(crate) fn whole_mode(_path: &Path) -> u32 {
    0
}

pub(crate) fn owner(_path: &Path) -> (u32, u32) {
    (0, 0)
}

pub(crate) fn set_owner(_path: &Path, _user: u32, _group: u32) {}

/// Never asked for, since nobody is root.
pub(crate) fn as_nobody(place: &Place, args: &[&str]) -> Command {
    place.brigade(args)
}

/// Makes a file hidden, and one of the system's; false, with the reason said, where that
/// cannot be.
pub(crate) fn hide(path: &Path) -> bool {
    // SAFETY: the name ends in a zero and lives.
    let done = unsafe { SetFileAttributesW(wide(path).as_ptr(), HIDING) };
    let is_hidden = done != 0 && is_hidden(path);
    if !is_hidden {
        super::skip("no file can be hidden here");
    }
    is_hidden
}

const HIDING: u32 = FILE_ATTRIBUTE_HIDDEN | FILE_ATTRIBUTE_SYSTEM;

pub(crate) fn is_hidden(path: &Path) -> bool {
    use std::os::windows::fs::MetadataExt;
    let found = std::fs::metadata(path).unwrap().file_attributes();
    found & HIDING == HIDING
}

/// Never asked for, since files have no modes.
pub(crate) fn make_file(_path: &Path, _mode: u32) {}

/// The same.
pub(crate) fn with_umask(place: &Place, _umask: u32, args: &[&str]) -> Command {
    place.brigade(args)
}

/// Never asked for, as above.
pub(crate) fn as_user(
    place: &Place,
    _user_and_group: (u32, u32),
    _others: &[u32],
    args: &[&str],
) -> Command {
    place.brigade(args)
}

pub(crate) fn with_faults(_place: &Place, _faults: &[&str], _args: &[&str]) -> Option<Command> {
    super::skip("no system call can be made to fail here");
    None
}

pub(crate) fn list(_entries: &[(u16, u16, u32)]) -> Vec<u8> {
    Vec::new()
}

pub(crate) fn mirrored(_directory: &Path, _options: &str) -> Option<Mounted> {
    super::skip("no file system can be mounted here");
    None
}

pub(crate) fn with_faults_of(
    place: &Place,
    _name: &str,
    faults: &[&str],
    args: &[&str],
) -> Option<Command> {
    with_faults(place, faults, args)
}

pub(crate) fn shell(_place: &Place, _script: &str) -> Option<Command> {
    super::skip("there is no shell as Unix has it");
    None
}

pub(crate) fn shell_of_mounts(place: &Place, script: &str) -> Option<Command> {
    shell(place, script)
}

pub(crate) fn make_null(_path: &Path) -> bool {
    super::skip("devices are no files here");
    false
}

pub(crate) fn is_character_device(_path: &Path) -> bool {
    false
}

pub(crate) fn set_owner_of_link(_path: &Path, _user: u32, _group: u32) {}

/// Two names cannot be exchanged here.
pub(crate) enum Exchanging {}

pub(crate) fn exchanging(_one: &Path, _other: &Path) -> Option<Exchanging> {
    super::skip("two names cannot be exchanged in one step here");
    None
}

impl Exchanging {
    pub(crate) fn end(self) -> u64 {
        match self {}
    }
}

pub(crate) fn set_attribute(_path: &Path, _name: &str, _value: &[u8]) -> bool {
    super::skip("files have no extended attributes here");
    false
}

pub(crate) fn attribute(_path: &Path, _name: &str) -> Option<Vec<u8>> {
    None
}

pub(crate) const ACCESS_LIST: &str = "";
pub(crate) const INHERITED_LIST: &str = "";

/// Bytes that a file takes on its disk. The first answer is the one that counts on
/// Windows; Wine takes the file's size for it, and has the second.
pub(crate) fn allocated_bytes(path: &Path) -> u64 {
    let mut high = 0;
    // SAFETY: the path ends in a zero, and `high` lives.
    let low = unsafe { GetCompressedFileSizeW(wide(path).as_ptr(), &mut high) };
    let file = File::open(path).unwrap();
    let mut found = FILE_STANDARD_INFO::default();
    // SAFETY: the handle is open, and `found` is as large as is said.
    let done = unsafe {
        GetFileInformationByHandleEx(
            file.as_raw_handle(),
            FileStandardInfo,
            (&raw mut found).cast(),
            size_of_val(&found) as u32,
        )
    };
    check(done);
    (u64::from(high) << 32 | u64::from(low)).min(found.AllocationSize as u64)
}

/// Whether a file's facts can be asked for without an access to its data; says so if
/// not. Wine reads the first bytes, to tell whether the file stands for a link.
pub(crate) fn looking_is_no_access() -> bool {
    // SAFETY: both names end in a zero; the library is in every process.
    let wine = unsafe {
        let library = GetModuleHandleW(wide("ntdll.dll".as_ref()).as_ptr());
        GetProcAddress(library, c"wine_get_version".as_ptr().cast())
    };
    if wine.is_some() {
        super::skip("times of access: Wine reads what is looked at");
    }
    wine.is_none()
}

/// Whether the system says where a file has holes; says so if not.
pub(crate) fn finds_holes(path: &Path) -> bool {
    let file = File::open(path).unwrap();
    let asked = FILE_ALLOCATED_RANGE_BUFFER {
        FileOffset: 0,
        Length: i64::MAX,
    };
    let mut found = [FILE_ALLOCATED_RANGE_BUFFER::default(); 16];
    let mut len = 0;
    // SAFETY: the handle is open, both buffers are live and of the sizes given.
    let done = unsafe {
        DeviceIoControl(
            file.as_raw_handle(),
            FSCTL_QUERY_ALLOCATED_RANGES,
            (&raw const asked).cast(),
            size_of_val(&asked) as u32,
            (&raw mut found).cast(),
            size_of_val(&found) as u32,
            &mut len,
            ptr::null_mut(),
        )
    };
    if done == 0 {
        super::skip("the system does not say where holes are");
    }
    done != 0
}

/// Whether a name is there. Nothing is opened: a file that is open cannot be replaced.
pub(crate) fn exists(path: &Path) -> bool {
    // SAFETY: the path ends in a zero.
    unsafe { GetFileAttributesW(wide(path).as_ptr()) != INVALID_FILE_ATTRIBUTES }
}

pub(crate) fn drop_from_cache(_path: &Path) -> bool {
    false
}

pub(crate) fn cached_bytes(_path: &Path) -> Option<u64> {
    super::skip("what is cached cannot be seen here");
    None
}

/// None can be mounted.
pub(crate) struct Mounted;

pub(crate) fn mounted(_kind: &str) -> Option<Mounted> {
    super::skip("no file system can be mounted here");
    None
}

impl Mounted {
    pub(crate) fn path(&self) -> std::path::PathBuf {
        std::path::PathBuf::new()
    }
}

/// None can be mounted.
pub(crate) struct Powered;

pub(crate) fn powered(_kind: &str) -> Option<Powered> {
    super::skip("no file system can be mounted here");
    None
}

impl Powered {
    pub(crate) fn path(&self) -> std::path::PathBuf {
        std::path::PathBuf::new()
    }

    pub(crate) fn cut(&self, _number: usize) {}

    pub(crate) fn unmount(&self) {}

    pub(crate) fn mount_cut(&self, _number: usize) {}
}

/// None can be made.
pub(crate) struct Disk;

pub(crate) fn disk(_file: &Path) -> Option<Disk> {
    super::skip("no file can be a disk here");
    None
}

impl Disk {
    pub(crate) fn path(&self) -> &str {
        ""
    }
}

pub(crate) fn has_access_lists() -> bool {
    true
}

/// Gives everybody all access and says that nothing is inherited: what no directory
/// of tests hands down.
pub(crate) fn protect(path: &Path) {
    let list = wide("D:P(A;;FA;;;WD)".as_ref());
    let mut descriptor = ptr::null_mut();
    // SAFETY: the text ends in a zero; what is made is freed with this process.
    let done = unsafe {
        ConvertStringSecurityDescriptorToSecurityDescriptorW(
            list.as_ptr(),
            SDDL_REVISION_1,
            &mut descriptor,
            ptr::null_mut(),
        )
    };
    check(done);
    let what = DACL_SECURITY_INFORMATION | PROTECTED_DACL_SECURITY_INFORMATION;
    // SAFETY: the path ends in a zero; the descriptor was made above.
    let done = unsafe { SetFileSecurityW(wide(path).as_ptr(), what, descriptor) };
    check(done);
}

pub(crate) fn access_list(path: &Path) -> Vec<u8> {
    let mut list = vec![0; 4096];
    let mut len = 0;
    // SAFETY: the path ends in a zero; `list` is as long as is said.
    let done = unsafe {
        GetFileSecurityW(
            wide(path).as_ptr(),
            DACL_SECURITY_INFORMATION,
            list.as_mut_ptr().cast(),
            list.len() as u32,
            &mut len,
        )
    };
    check(done);
    list.truncate(len as usize);
    list
}

/// An open file that nobody else may open.
pub(crate) fn open_alone(path: &Path) -> Option<File> {
    Some(
        OpenOptions::new()
            .read(true)
            .share_mode(0)
            .open(path)
            .unwrap(),
    )
}

/// False if there is none afterwards: Wine says that it made it.
pub(crate) fn link(target: &str, link: &Path) -> bool {
    let made = std::os::windows::fs::symlink_file(target, link).is_ok() && link.is_symlink();
    if !made {
        super::skip("no symbolic link can be made here");
    }
    made
}

/// Which file it is, by whatever name: its number in its volume.
pub(crate) fn identity(path: &Path) -> (u64, u64) {
    let file = File::open(path).unwrap();
    let mut found = BY_HANDLE_FILE_INFORMATION::default();
    // SAFETY: the handle is open, and `found` lives.
    check(unsafe { GetFileInformationByHandle(file.as_raw_handle(), &mut found) });
    let number = u64::from(found.nFileIndexHigh) << 32 | u64::from(found.nFileIndexLow);
    (found.dwVolumeSerialNumber.into(), number)
}

/// Takes a name from a file that a process has open. Wine does not remove it before
/// it is closed.
pub(crate) fn take_name(path: &Path) {
    std::fs::rename(path, path.with_file_name("taken away")).unwrap();
}

pub(crate) fn free_bytes(path: &Path) -> u64 {
    let mut free = 0;
    // SAFETY: the path ends in a zero, and `free` lives.
    let done = unsafe {
        GetDiskFreeSpaceExW(
            wide(path).as_ptr(),
            &mut free,
            ptr::null_mut(),
            ptr::null_mut(),
        )
    };
    check(done);
    free
}

/// Something that listens where a session's socket would be: here is none.
pub(crate) fn listen(path: &Path) -> File {
    File::open(path).unwrap()
}

/// A pipe with a path.
pub(crate) struct Fifo {
    path: String,
    pipe: File,
}

impl Fifo {
    pub(crate) fn new(_place: &Place) -> Fifo {
        let (path, pipe) = pipe("fifo", PIPE_ACCESS_INBOUND);
        Fifo { path, pipe }
    }

    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// It goes with its handle.
    pub(crate) fn remove(self) {}

    /// All that one writer writes.
    pub(crate) fn read(mut self, _writer: &Half) -> Vec<u8> {
        let (sender, read) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            // SAFETY: the handle is open. It fails if somebody is connected already.
            unsafe { ConnectNamedPipe(self.pipe.as_raw_handle(), ptr::null_mut()) };
            let mut bytes = Vec::new();
            self.pipe.read_to_end(&mut bytes).unwrap();
            sender.send(bytes).unwrap();
        });
        let read = read.recv_timeout(super::SOON);
        assert!(read.is_ok(), "nobody wrote");
        read.unwrap()
    }
}

/// A new one that one client at a time can open, and its path.
fn pipe(what: &str, direction: u32) -> (String, File) {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let process = std::process::id();
    let path = format!(r"\\.\pipe\brigade-test-{what}-{process}-{count}");
    // SAFETY: the path ends in a zero.
    let pipe = unsafe {
        CreateNamedPipeW(
            wide(path.as_ref()).as_ptr(),
            direction,
            PIPE_TYPE_BYTE | PIPE_WAIT,
            1,
            4096,
            4096,
            0,
            ptr::null(),
        )
    };
    assert_ne!(pipe, INVALID_HANDLE_VALUE);
    // SAFETY: it was made above, and nobody else has it.
    let pipe = unsafe { File::from_raw_handle(pipe) };
    (path, pipe)
}

fn wide(path: &Path) -> Vec<u16> {
    path.as_os_str().encode_wide().chain([0]).collect()
}

#[track_caller]
fn check(done: i32) {
    assert!(done != 0, "{}", std::io::Error::last_os_error());
}

pub(crate) fn stream_that_does_not_wait() -> Option<(std::process::Stdio, std::fs::File)> {
    super::skip("standard output always waits here");
    None
}
