//! What was meant: typed words become paths, a name and a side, and what cannot
//! work is refused before anything is touched.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::Path;
use std::time::Duration;

use brigade::Side;

use crate::failure::{Exit, Failure};
use crate::request::args::{Args, RoleArg};
use crate::request::endpoint::{Endpoint, enter_directory};
use crate::request::expected::Expected;
use crate::request::misuse;
use crate::request::same::{refuse_same_backup, refuse_same_file};
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
    /// The same, with what is left to the other half.
    pub(crate) whole: Settings,
    pub(crate) started_by_both: bool,
    /// It joins when that process says so.
    pub(crate) when_told: bool,
    /// How many times this process, which --both started, may start a partner in its turn.
    pub(crate) restarts: u32,
    pub(crate) quiet: bool,
    /// Events are told, by the process that --both starts, too.
    pub(crate) json: bool,
    /// The words that make the partner's command, for the user to type.
    pub(crate) partner_command: String,
    /// The same for who takes the partner's place: then all that says what is made must be
    /// the same.
    pub(crate) successor_command: Command,
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
            refuse_other_machine(source)?;
        }
        if let (Some(source), Some(Endpoint::Path(path))) = (&source, &mut destination) {
            enter_directory(path, source.file_name())?;
        }
        let mut settings = Settings::of(args);
        if settings.resume {
            refuse_streams(source.as_ref(), destination.as_ref())?;
        }
        let backup = settings.backup.as_deref();
        if let Some(suffix) = backup {
            refuse_suffix(suffix)?;
        }
        if let (Some(source), Some(destination)) = (&source, &destination) {
            refuse_same_file(source, destination, backup)?;
        }
        if let (Some(Endpoint::Path(source)), Some(Endpoint::Path(destination)), Some(suffix)) =
            (&source, &destination, backup)
        {
            refuse_same_backup(source, destination, suffix)?;
        }
        if args.both && args.blocks.is_none() && !settings.may_be_gone_on_with() {
            settings.blocks = blocks_for(source.as_ref(), &settings);
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
        let whole = settings;
        let mut words_of_partner = whole.words_for_both();
        if side == Some(Side::Reader) {
            words_of_partner.extend(whole.words_of_writer());
        }
        let words = whole.words();
        let mut settings = whole.clone();
        if args.started_by_both && side == Some(Side::Writer) {
            // The rate is limited, and what is expected of the source checked, once.
            settings.limit_rate = None;
            settings.expected = Expected::default();
        }
        Ok(Plan {
            name,
            source,
            destination,
            side,
            wait: args.wait,
            allow_user: args.allow_user.clone(),
            settings,
            whole,
            started_by_both: args.started_by_both,
            when_told: args.when_told,
            restarts: args.restarts,
            quiet: args.quiet,
            json: args.json,
            partner_command: Command::of_partner(args, words_of_partner).line(None),
            successor_command: Command::of_partner(args, words),
            umask,
        })
    }
}

impl Plan {
    /// Source and destination as they were typed, if they were.
    pub(crate) fn names(&self) -> [Option<String>; 2] {
        [&self.source, &self.destination].map(|end| end.as_ref().map(|end| end.words("-")))
    }

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
    if args.paths.iter().any(|path| path.is_empty()) {
        return Err(usage(
            "a path is empty; is a variable of the script not set?",
        ));
    }
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

/// As many blocks as a small file fills, and one more; to make all takes longer than to copy
/// it. One that grows meanwhile only has fewer of them on their way at a time.
fn blocks_for(source: Option<&Endpoint>, settings: &Settings) -> usize {
    let Some(Endpoint::Path(path)) = source else {
        return settings.blocks;
    };
    let facts = sys::facts_at(path).ok();
    let len = facts.and_then(|facts| (facts.kind == Kind::File).then_some(facts.len));
    let full = len.and_then(|len| len.checked_div(settings.block_size as u64));
    let needed = full.map(|full| full.saturating_add(2));
    let needed = needed.and_then(|needed| usize::try_from(needed).ok());
    needed.map_or(settings.blocks, |needed| needed.min(settings.blocks))
}

/// What goes by is not there to be gone on with.
fn refuse_streams(
    source: Option<&Endpoint>,
    destination: Option<&Endpoint>,
) -> Result<(), Failure> {
    let is_stream = |end: Option<&Endpoint>| matches!(end, Some(Endpoint::Standard));
    let what = match (is_stream(source), is_stream(destination)) {
        (true, _) => "standard input cannot be read again",
        (_, true) => "standard output is not kept",
        _ => return Ok(()),
    };
    let message = format!("--resume needs two files: {what}");
    Err(Failure::new(Exit::Usage, message))
}

/// A suffix that makes no file name beside the destination.
fn refuse_suffix(suffix: &OsStr) -> Result<(), Failure> {
    if misuse::CONTROL_WORDS.iter().any(|word| *word == suffix) {
        let message = format!(
            "--backup=SUFFIX takes the end of a name, not cp's word {}; for instance --backup=.old",
            visible::name(suffix)
        );
        return Err(Failure::new(Exit::Usage, message));
    }
    // By itself a suffix may be what no name can be: "." for instance.
    let mut name = OsString::from("x");
    name.push(suffix);
    let plain = sys::name_to_bytes(&name).and_then(sys::name_from_bytes);
    if !suffix.is_empty() && plain.is_some() {
        return Ok(());
    }
    let message = format!(
        "--backup: {:?} cannot be the end of a file name; for instance ~ or .old",
        suffix.display()
    );
    Err(Failure::new(Exit::Usage, message))
}

/// A name from the two paths: the same for the same two files, however their
/// directories are written.
fn derived_name(source: Option<&Endpoint>, destination: Option<&Endpoint>, both: bool) -> String {
    let mut hash = blake3::Hasher::new();
    hash.update(b"brigade copy 2");
    let mut has_standard = false;
    for place in [source, destination].into_iter().flatten() {
        let bytes = match place {
            Endpoint::Standard => {
                has_standard = true;
                b"-".to_vec()
            }
            Endpoint::Path(path) => place_bytes(path),
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

/// Which name in which directory, however the directory is written; the file need not
/// exist, and must not mean something else once it does.
fn place_bytes(path: &Path) -> Vec<u8> {
    match sys::whereabouts(path) {
        Ok((directory, name)) => {
            let (device, number) = directory;
            let identity = [device.to_le_bytes(), number.to_le_bytes()].concat();
            [identity, sys::folded(Path::new(&name))].concat()
        }
        // Whoever opens it says what is wrong with it.
        Err(_) => sys::folded(path),
    }
}

/// A name with a colon can be a file's; only if there is none, it was a machine's.
fn refuse_other_machine(source: &Endpoint) -> Result<(), Failure> {
    let Endpoint::Path(path) = source else {
        return Ok(());
    };
    let is_missing =
        sys::facts_at(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
    match path.to_str().and_then(misuse::other_machine) {
        Some(message) if is_missing => Err(Failure::new(Exit::Failed, message)),
        _ => Ok(()),
    }
}

/// What to type.
#[derive(Clone, Debug)]
pub(crate) struct Command {
    words: Vec<OsString>,
    /// What stands for a last word that this process does not know.
    unknown: Option<&'static str>,
}

impl Command {
    /// As a line, with `path` for what this process does not know.
    pub(crate) fn line(&self, path: Option<&str>) -> String {
        let last = self.unknown.map(|unknown| path.unwrap_or(unknown));
        let words = self.words.iter().map(OsString::as_os_str);
        let quoted = words.chain(last.map(OsStr::new)).map(sys::quoted);
        quoted.collect::<Vec<_>>().join(" ")
    }

    /// For the partner: the same, or the other role with its path and `settings`.
    fn of_partner(args: &Args, settings: Vec<OsString>) -> Command {
        let (role, path) = match args.role {
            None => {
                return Command {
                    words: std::env::args_os().collect(),
                    unknown: None,
                };
            }
            Some(RoleArg::Reader) => ("writer", "DESTINATION"),
            Some(RoleArg::Writer) => ("reader", "SOURCE"),
        };
        let mut words: Vec<OsString> = ["brigade", "--as", role].map(OsString::from).to_vec();
        if let Some(name) = &args.name {
            words.push(format!("--name={name}").into());
        }
        words.extend(settings);
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
        let unknown = match &args.paths[..] {
            [_, _] => {
                words.extend(args.paths.iter().cloned());
                None
            }
            _ => Some(path),
        };
        Command { words, unknown }
    }
}
