//! The whole report: brigade and its rivals side by side, in rotation, as words, raw
//! figures and plots.

mod machine;
mod measures;
mod plots;
mod rotation;
mod words;

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Parser;
use serde::Serialize;

use crate::Outcome;
use machine::{Machine, Moment};
use measures::{Scale, TABLES};
use rotation::Measured;

/// Measures brigade and its rivals in turn, and writes RESULTS.md, the raw figures as JSON, and plots.
///
/// Rivals that `bench/setup` has not installed are named and skipped.
#[derive(Parser)]
#[command(name = "bench/run")]
struct Request {
    /// Fewer sizes and rounds: less than three minutes
    #[arg(long)]
    quick: bool,

    /// Only these tables
    #[arg(long, value_name = "TABLE", num_args = 1.., value_parser = TABLES)]
    only: Vec<String>,

    /// So many rounds of each table, unless its time is over after at least eleven
    #[arg(long)]
    rounds: Option<usize>,

    /// Copies files to this directory, too: one on a disk, say
    #[arg(long)]
    directory: Option<PathBuf>,

    /// Where RESULTS.md and the folder `results` are written
    #[arg(long, value_name = "DIRECTORY", default_value = "bench")]
    to: PathBuf,

    /// A directory in memory for what is copied; `bench/run` makes and removes it
    #[arg(long, hide = true)]
    work: PathBuf,
}

/// Where files to be copied are, and where to.
pub struct Places {
    work: PathBuf,
    directory: Option<PathBuf>,
    directory_name: String,
}

/// What was measured of one table.
#[derive(Serialize)]
pub struct Section {
    name: &'static str,
    title: &'static str,
    about: &'static str,
    cases: Vec<Measured>,
}

/// All that the report is made of.
#[derive(Serialize)]
pub struct Report {
    command: String,
    /// Where the files were that were copied.
    work: String,
    is_quick: bool,
    machine: Machine,
    begin: Moment,
    end: Moment,
    sections: Vec<Section>,
    /// Tables for which there was no time.
    too_late: Vec<&'static str>,
    /// Tables for which a directory has to be named.
    placeless: Vec<&'static str>,
}

/// Everything after the program's name.
pub fn report(args: &[&str]) -> Outcome<()> {
    let request = match Request::try_parse_from([&["bench/run"], args].concat()) {
        Ok(request) => request,
        Err(error) => error.exit(),
    };
    // Removed at the end.
    let on_disk = request.directory.as_ref().map(|directory| {
        tempfile::Builder::new()
            .prefix("brigade-report-")
            .tempdir_in(directory)
    });
    let on_disk = on_disk.transpose()?;
    let places = Places {
        work: request.work.clone(),
        directory: on_disk
            .as_ref()
            .map(|directory| directory.path().to_owned()),
        directory_name: request
            .directory
            .as_ref()
            .map_or_else(String::new, |directory| directory.display().to_string()),
    };
    make_sources(&places, request.quick)?;
    measure(&request, &places, args)
}

/// Writes after each table: who breaks off has those that were ready.
fn measure(request: &Request, places: &Places, args: &[&str]) -> Outcome<()> {
    let scale = Scale {
        is_quick: request.quick,
        rounds: request.rounds,
    };
    let shown = args.iter().copied().take_while(|&arg| arg != "--work");
    let mut report = Report {
        command: ["bench/run"]
            .into_iter()
            .chain(shown)
            .collect::<Vec<_>>()
            .join(" "),
        work: places.work.display().to_string(),
        is_quick: request.quick,
        machine: machine::machine()?,
        begin: machine::moment()?,
        end: machine::moment()?,
        sections: Vec::new(),
        too_late: Vec::new(),
        placeless: Vec::new(),
    };
    let start = Instant::now();
    for name in TABLES {
        if !request.only.is_empty() && !request.only.iter().any(|only| only == name) {
            continue;
        }
        if start.elapsed() > scale.last_start() {
            report.too_late.push(name);
            continue;
        }
        let table = measures::table(name, places, scale);
        if table.cases.is_empty() {
            report.placeless.push(name);
        } else {
            let tell = |what: String| eprintln!("{name}: {what}");
            report.sections.push(Section {
                name,
                title: table.title,
                about: table.about,
                cases: rotation::rotate(table.cases, table.pace, tell)?,
            });
        }
        report.end = machine::moment()?;
        write(&report, &request.to)?;
    }
    eprintln!("written: {}", request.to.join("RESULTS.md").display());
    Ok(())
}

/// Random bytes: a file system that compresses has no better time than others.
fn make_sources(places: &Places, is_quick: bool) -> Outcome<()> {
    let (name, size) = match is_quick {
        true => ("source-128M", 128 << 20),
        false => ("source-1G", 1 << 30),
    };
    let mut sources = vec![
        (places.work.join("source-1K"), 1 << 10),
        (places.work.join(name), size),
    ];
    sources.extend((places.directory.iter()).map(|directory| (directory.join("source"), size)));
    for (path, size) in sources {
        let mut random = File::open("/dev/urandom")?.take(size);
        let mut source = File::create(path)?;
        std::io::copy(&mut random, &mut source)?;
        // What has not been written cannot leave the cache.
        source.sync_all()?;
    }
    Ok(())
}

fn write(report: &Report, to: &Path) -> Outcome<()> {
    let results = to.join("results");
    std::fs::create_dir_all(&results)?;
    let raw = File::create(results.join("raw.json"))?;
    serde_json::to_writer(std::io::BufWriter::new(raw), report)?;
    for section in &report.sections {
        plots::ratios(section, &results.join(format!("{}.svg", section.name)))?;
        if section.name == "ring" {
            plots::rates(section, &results.join("rates.svg"))?;
        }
    }
    Ok(std::fs::write(
        to.join("RESULTS.md"),
        words::results(report),
    )?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_typed_is_understood_and_tables_that_are_not_there_are_refused() {
        let parsed = |args: &[&str]| Request::try_parse_from([&["bench/run"], args].concat());
        let request = parsed(&["--quick", "--only", "ring", "copy", "--work", "/w"]).unwrap();
        assert!(request.quick);
        assert_eq!(request.only, ["ring", "copy"]);
        assert_eq!(request.to, Path::new("bench"));
        assert!(parsed(&["--only", "rings", "--work", "/w"]).is_err());
    }

    #[test]
    fn a_report_is_words_raw_figures_and_plots() {
        let round = |ours: f64| rotation::Round {
            limit_before: 1.0,
            limit_after: 1.0,
            measured: vec![Ok(vec![ours]), Ok(vec![2.0 * ours])],
        };
        let case = Measured {
            name: "64 B".into(),
            figures: vec![rotation::Figure {
                name: "rate",
                unit: rotation::Unit::BytesPerSecond(64),
                is_compared: true,
            }],
            rivals: vec!["brigade".into(), "cat | cat".into()],
            commands: vec!["measure".into(), "cat /work/source | cat".into()],
            limit: "bare".into(),
            rounds: vec![round(1e-7), round(1e-6), round(1e-8)],
            skipped: vec![("pv".into(), "not found".into())],
        };
        let report = Report {
            command: "bench/run".into(),
            work: "/work".into(),
            is_quick: false,
            machine: machine::machine().unwrap(),
            begin: machine::moment().unwrap(),
            end: machine::moment().unwrap(),
            sections: vec![Section {
                name: "ring",
                title: "Title",
                about: "About.",
                cases: vec![case],
            }],
            too_late: vec!["copy"],
            placeless: vec!["durable"],
        };
        let to = tempfile::tempdir().unwrap();
        write(&report, to.path()).unwrap();
        let words = std::fs::read_to_string(to.path().join("RESULTS.md")).unwrap();
        for expected in [
            "| 64 B | cat \\| cat | 0.320 GB/s (",
            "| 2.00 (2.00 to 2.00) | 3 | 0 |  |",
            "Skipped in 64 B: pv: not found.",
            "cat source | cat\n",
            "- `copy`: ",
            "- `durable`: ",
        ] {
            assert!(words.contains(expected), "no {expected} in {words}");
        }
        for plot in ["ring.svg", "rates.svg"] {
            let plot = std::fs::read_to_string(to.path().join("results").join(plot)).unwrap();
            assert!(plot.contains("64 B"), "{plot}");
        }
    }
}
