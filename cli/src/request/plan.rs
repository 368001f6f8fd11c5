//! What was meant: typed words become paths, a name and a side, and what cannot
//! work is refused before anything is touched.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use brigade::Side;

use crate::failure::{Exit, Failure};
use crate::request::args::{Args, RoleArg};
use crate::request::endpoint::{Endpoint, enter_directory};
use crate::request::settings::Settings;
use crate::sys::{self, Kind};
use crate::visible;

/// All that a half needs to know.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) name: String,
    pub(crate) source: Option<Endpoint>,
    pub(crate) destination: Option<Endpoint>,
    /// The side that this process takes, if that was asked for.
    pub(crate) side: Option<Side>,
    /// How long it waits for its partner; for ever without.
    pub(crate) wait: Option<Duration>,
    pub(crate) allow_user: Vec<String>,
    pub(crate) settings: Settings,
    pub(crate) started_by_both: bool,
    /// Events are told, by the process that --both starts, too.
    pub(crate) json: bool,
    /// The words that make the partner's command, for the user to type.
    pub(crate) partner_command: String,
    /// File mode creation mask of this process.
    pub(crate) umask: u32,
}

impl Plan {
    pub(crate) fn new(args: &Args, umask: u32) -> Result<Plan, Failure> {
        let (source, destination) = split(args)?;
        let source = source.map(|path| Endpoint::new(path)).transpose()?;
        let mut destination = destination.map(|path| Endpoint::new(path)).transpose()?;
        if let Some(source) = &source {
            source.refuse_directory()?;
        }
        if let (Some(source), Some(Endpoint::Path(path))) = (&source, &mut destination) {
            enter_directory(path, source.file_name())?;
        }
        if let (Some(source), Some(destination)) = (&source, &destination) {
            refuse_same_file(source, destination)?;
        }
        let settings = Settings::of(args);
        if let Some(suffix) = &settings.backup {
            refuse_backup(suffix, source.as_ref(), destination.as_ref())?;
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
        Ok(Plan {
            name,
            source,
            destination,
            side,
            wait: args.wait,
            allow_user: args.allow_user.clone(),
            settings,
            started_by_both: args.started_by_both,
            json: args.json,
            partner_command: partner_command(args),
            umask,
        })
    }
}

impl Plan {
    /// Where it is read from, and written to, as far as this process knows.
    pub(crate) fn source_words(&self) -> String {
        let words = |place: &Endpoint| place.words("standard input");
        self.source.as_ref().map_or("its source".to_owned(), words)
    }

    pub(crate) fn destination_words(&self) -> String {
        let words = |place: &Endpoint| place.words("standard output");
        self.destination
            .as_ref()
            .map_or("its destination".to_owned(), words)
    }
}

/// SOURCE and DESTINATION, as far as this process has them.
fn split(args: &Args) -> Result<(Option<&OsString>, Option<&OsString>), Failure> {
    let usage = |message: &str| Failure::new(Exit::Usage, message);
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

fn refuse_same_file(source: &Endpoint, destination: &Endpoint) -> Result<(), Failure> {
    let look = |place: &Endpoint, standard: fn() -> io::Result<File>| match place {
        Endpoint::Standard => sys::facts(&standard()?),
        Endpoint::Path(path) => sys::facts_at(path),
    };
    let source_facts = look(source, sys::standard_input);
    let destination_facts = look(destination, sys::standard_output);
    let (Ok(a), Ok(b)) = (source_facts, destination_facts) else {
        return Ok(());
    };
    // A device read and written at once (a terminal, /dev/null) is no mistake.
    if a.kind == Kind::File && a.identity == b.identity {
        return Err(Failure::new(
            Exit::Failed,
            format!(
                "{} and {} are the same file",
                source.words("standard input"),
                destination.words("standard output")
            ),
        ));
    }
    Ok(())
}

/// A suffix that makes no file name beside the destination, and a backup that would
/// replace the source.
fn refuse_backup(
    suffix: &OsStr,
    source: Option<&Endpoint>,
    destination: Option<&Endpoint>,
) -> Result<(), Failure> {
    // By itself a suffix may be what no name can be: "." for instance.
    let mut name = OsString::from("x");
    name.push(suffix);
    let plain = sys::name_to_bytes(&name).and_then(sys::name_from_bytes);
    if suffix.is_empty() || plain.is_none() {
        let message = format!(
            "--backup: {:?} cannot be the end of a file name; for instance ~ or .old",
            suffix.display()
        );
        return Err(Failure::new(Exit::Usage, message));
    }
    let (Some(Endpoint::Path(source)), Some(Endpoint::Path(destination))) = (source, destination)
    else {
        return Ok(());
    };
    let backup = backup_path(destination, suffix);
    let [source_facts, backup_facts] = [source, &backup].map(|path| sys::facts_at(path));
    let (Ok(a), Ok(b)) = (source_facts, backup_facts) else {
        return Ok(());
    };
    match a.kind == Kind::File && a.identity == b.identity {
        true => Err(Failure::new(
            Exit::Failed,
            format!(
                "the backup of {} would replace the source {}; choose another suffix with --backup=SUFFIX",
                visible::name(destination),
                visible::name(source)
            ),
        )),
        false => Ok(()),
    }
}

/// The name that a destination is kept under when it is replaced.
pub(crate) fn backup_path(destination: &Path, suffix: &OsStr) -> PathBuf {
    let mut path = destination.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}

/// A name from the two paths: the same for the same two files, however their
/// directories are written.
fn derived_name(source: Option<&Endpoint>, destination: Option<&Endpoint>, both: bool) -> String {
    let mut hash = blake3::Hasher::new();
    hash.update(b"brigade copy 1");
    let mut has_standard = false;
    for place in [source, destination].into_iter().flatten() {
        let bytes = match place {
            Endpoint::Standard => {
                has_standard = true;
                b"-".to_vec()
            }
            Endpoint::Path(path) => sys::folded(&canonical(path)),
        };
        hash.update(&(bytes.len() as u64).to_le_bytes());
        hash.update(&bytes);
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
    words.extend(Settings::of(args).words_for_both());
    if !args.allow_user.is_empty() {
        words.extend(sys::own_user().map(|user| format!("--allow-user={user}").into()));
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
    let quoted = words.map(|word| sys::quoted(&word));
    quoted.collect::<Vec<_>>().join(" ")
}
