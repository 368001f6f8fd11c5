//! What was meant: typed words become paths, a name and a side, and what cannot
//! work is refused before anything is touched.

use std::ffi::{OsStr, OsString};
use std::fs::{File, Metadata};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use brigade::{Options, Side};

use crate::args::{Args, DEFAULT_BLOCK_SIZE, DEFAULT_BLOCKS, RoleArg};
use crate::failure::{Failure, Status};
use crate::greeting::Greeting;

/// One end of the copy.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    /// Standard input or output.
    Standard,
    /// A path, absolute.
    Path(PathBuf),
}

/// All that a half needs to know.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) name: String,
    pub(crate) source: Option<Place>,
    pub(crate) destination: Option<Place>,
    pub(crate) block_size: usize,
    pub(crate) blocks: usize,
    pub(crate) sync: bool,
    pub(crate) started_by_both: bool,
    pub(crate) options: Options,
    /// The words that make the partner's command, for the user to type.
    pub(crate) partner_command: String,
    /// File mode creation mask of this process.
    pub(crate) umask: u32,
}

impl Plan {
    pub(crate) fn new(args: &Args) -> Result<Plan, Failure> {
        let (source, destination) = split(args)?;
        let source = source.map(|path| Place::new(path)).transpose()?;
        let mut destination = destination.map(|path| Place::new(path)).transpose()?;
        if let Some(source) = &source {
            source.refuse_directory()?;
        }
        if let (Some(source), Some(Place::Path(path))) = (&source, &mut destination) {
            enter_directory(path, source.file_name())?;
        }
        if let (Some(source), Some(destination)) = (&source, &destination) {
            refuse_same_file(source, destination)?;
        }
        let side = match (args.both, args.role) {
            (true, _) | (_, Some(RoleArg::Reader)) => Some(Side::Reader),
            (_, Some(RoleArg::Writer)) => Some(Side::Writer),
            (_, None) => None,
        };
        let name = match &args.name {
            Some(name) => name.clone(),
            None => derived_name(source.as_ref(), destination.as_ref(), args.both),
        };
        let mut options = Options::new()
            .block_size(args.block_size)
            .block_count(args.blocks)
            .greeting(&Greeting::of(source.as_ref()).encode());
        if let Some(side) = side {
            options = options.side(side);
        }
        if let Some(wait) = args.wait {
            options = options.wait(wait);
        }
        Ok(Plan {
            name,
            source,
            destination,
            block_size: args.block_size,
            blocks: args.blocks,
            sync: !args.no_sync,
            started_by_both: args.started_by_both,
            options,
            partner_command: partner_command(args),
            umask: umask(),
        })
    }
}

impl Place {
    fn new(path: &OsStr) -> Result<Place, Failure> {
        if path == "-" {
            return Ok(Place::Standard);
        }
        let path = Path::new(path);
        let absolute =
            std::path::absolute(path).map_err(|error| Failure::io("use the path", path, &error))?;
        Ok(Place::Path(absolute))
    }

    fn file_name(&self) -> Option<&OsStr> {
        match self {
            Place::Standard => None,
            Place::Path(path) => path.file_name(),
        }
    }

    fn refuse_directory(&self) -> Result<(), Failure> {
        let Place::Path(path) = self else {
            return Ok(());
        };
        match std::fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => Err(Failure::new(
                Status::Failed,
                format!("{} is a directory; brigade copies one file", path.display()),
            )),
            // Whoever opens it will say what is wrong with it.
            _ => Ok(()),
        }
    }
}

/// SOURCE and DESTINATION, as far as this process has them.
fn split(args: &Args) -> Result<(Option<&OsString>, Option<&OsString>), Failure> {
    let usage = |message: &str| Failure::new(Status::Usage, message);
    match (&args.paths[..], args.role) {
        ([source, destination], _) => Ok((Some(source), Some(destination))),
        ([_], Some(_)) if args.name.is_none() => Err(usage(
            "with one path, --name NAME is needed, so that the two processes find each other",
        )),
        ([source], Some(RoleArg::Reader)) => Ok((Some(source), None)),
        ([destination], Some(RoleArg::Writer)) => Ok((None, Some(destination))),
        _ => Err(usage("SOURCE and DESTINATION are needed; see --help")),
    }
}

/// A destination that is a directory means the file of `name` in there.
pub(crate) fn enter_directory(path: &mut PathBuf, name: Option<&OsStr>) -> Result<(), Failure> {
    let is_directory = std::fs::metadata(&path).is_ok_and(|metadata| metadata.is_dir());
    let typed_as_directory = path.as_os_str().as_encoded_bytes().ends_with(b"/");
    if !is_directory {
        if typed_as_directory {
            let error = io::Error::from(io::ErrorKind::NotADirectory);
            return Err(Failure::io("write to", path, &error));
        }
        return Ok(());
    }
    let Some(name) = name else {
        return Err(Failure::new(
            Status::Failed,
            format!(
                "{} is a directory, and the source has no name to use in it",
                path.display()
            ),
        ));
    };
    path.push(name);
    if std::fs::metadata(&path).is_ok_and(|metadata| metadata.is_dir()) {
        let error = io::Error::from(io::ErrorKind::IsADirectory);
        return Err(Failure::io("write to", path, &error));
    }
    Ok(())
}

fn refuse_same_file(source: &Place, destination: &Place) -> Result<(), Failure> {
    let look = |place: &Place, standard: io::Result<OwnedFd>| match place {
        Place::Standard => File::from(standard?).metadata(),
        Place::Path(path) => std::fs::metadata(path),
    };
    let input = || io::stdin().as_fd().try_clone_to_owned();
    let output = || io::stdout().as_fd().try_clone_to_owned();
    let (Ok(a), Ok(b)) = (look(source, input()), look(destination, output())) else {
        return Ok(());
    };
    let show = |place: &Place, standard: &str| match place {
        Place::Standard => standard.to_owned(),
        Place::Path(path) => path.display().to_string(),
    };
    // A device read and written at once (a terminal, /dev/null) is no mistake.
    if a.is_file() && is_same_file(&a, &b) {
        return Err(Failure::new(
            Status::Failed,
            format!(
                "{} and {} are the same file",
                show(source, "standard input"),
                show(destination, "standard output")
            ),
        ));
    }
    Ok(())
}

#[cfg(unix)]
fn is_same_file(a: &Metadata, b: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    (a.dev(), a.ino()) == (b.dev(), b.ino())
}

/// A name from the two paths: the same for the same two files, however their
/// directories are written.
fn derived_name(source: Option<&Place>, destination: Option<&Place>, both: bool) -> String {
    let mut hash = blake3::Hasher::new();
    hash.update(b"brigade copy 1");
    let mut has_standard = false;
    for place in [source, destination].into_iter().flatten() {
        let path = match place {
            Place::Standard => {
                has_standard = true;
                PathBuf::from("-")
            }
            Place::Path(path) => canonical(path),
        };
        let bytes = path.as_os_str().as_encoded_bytes();
        hash.update(&(bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    }
    if both && has_standard {
        // Two pipelines with a '-' each are two copies; only --both can tell.
        hash.update(&std::process::id().to_le_bytes());
    }
    format!("copy-{}", &hash.finalize().to_hex()[..32])
}

/// The directory resolved, the last part as it is: it need not exist, and must
/// not mean something else once it does.
fn canonical(path: &Path) -> PathBuf {
    let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
        return path.to_path_buf();
    };
    match std::fs::canonicalize(directory) {
        Ok(directory) => directory.join(name),
        Err(_) => path.to_path_buf(),
    }
}

/// What to type for the partner: the same, or the other role with its path.
fn partner_command(args: &Args) -> String {
    let (role, path) = match args.role {
        None => return command_line(std::env::args_os()),
        Some(RoleArg::Reader) => ("writer", "DESTINATION"),
        Some(RoleArg::Writer) => ("reader", "SOURCE"),
    };
    let mut words: Vec<OsString> = ["brigade", "--as", role].map(OsString::from).to_vec();
    if let Some(name) = &args.name {
        words.push(format!("--name={name}").into());
    }
    // Both must have chosen alike.
    if args.block_size != DEFAULT_BLOCK_SIZE {
        words.push(format!("--block-size={}", args.block_size).into());
    }
    if args.blocks != DEFAULT_BLOCKS {
        words.push(format!("--blocks={}", args.blocks).into());
    }
    if args
        .paths
        .iter()
        .any(|path| path != "-" && path.as_encoded_bytes().starts_with(b"-"))
    {
        words.push("--".into());
    }
    match &args.paths[..] {
        [_, _] => words.extend(args.paths.iter().cloned()),
        _ => words.push(path.into()),
    }
    command_line(words.into_iter())
}

fn command_line(words: impl Iterator<Item = OsString>) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@%".contains(c);
    let quoted = words.map(|word| {
        let word = word.to_string_lossy().replace(char::is_control, "?");
        if !word.is_empty() && word.chars().all(plain) {
            return word;
        }
        format!("'{}'", word.replace('\'', r"'\''"))
    });
    quoted.collect::<Vec<_>>().join(" ")
}

/// Read by setting it, so before there are other threads.
#[cfg(unix)]
fn umask() -> u32 {
    use rustix::fs::Mode;
    let mask = rustix::process::umask(Mode::empty());
    rustix::process::umask(mask);
    mask.bits()
}
