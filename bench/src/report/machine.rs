//! Where it was measured, and with what.

use std::process::Command;

use serde::Serialize;

use crate::Outcome;
use crate::report::measures::{BRIGADE, PYTHON};

#[derive(Serialize)]
pub struct Machine {
    pub processor: String,
    pub processors: usize,
    pub memory: String,
    pub kernel: String,
    /// `rustc`'s, and what of brigade was measured.
    pub versions: Vec<(String, String)>,
}

/// How busy the machine is. Of one, five and fifteen minutes; of all time so far, the
/// share that the host gave to others.
#[derive(Serialize)]
pub struct Moment {
    pub time: String,
    pub load: String,
    pub stolen_ticks: u64,
    pub ticks: u64,
}

impl Moment {
    /// By the load of the last minute.
    pub fn is_busier_than(&self, processors: usize) -> bool {
        let load = self
            .load
            .split(',')
            .next()
            .and_then(|load| load.parse::<f64>().ok());
        load.is_some_and(|load| load > processors as f64)
    }
}

pub fn moment() -> Outcome<Moment> {
    let load = std::fs::read_to_string("/proc/loadavg")?;
    let stat = std::fs::read_to_string("/proc/stat")?;
    let ticks: Vec<u64> = stat
        .lines()
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect();
    Ok(Moment {
        time: said(&["date", "-u", "+%Y-%m-%d %H:%M UTC"]),
        load: load
            .split_whitespace()
            .take(3)
            .collect::<Vec<_>>()
            .join(", "),
        // User, nice, system, idle, waiting, two kinds of interrupts, stolen; those of guests are in the first two.
        stolen_ticks: ticks.get(7).copied().unwrap_or_default(),
        ticks: ticks.iter().take(8).sum(),
    })
}

pub fn machine() -> Outcome<Machine> {
    let processors = std::fs::read_to_string("/proc/cpuinfo")?;
    let memory = std::fs::read_to_string("/proc/meminfo")?;
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let field = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name));
        let value = line.and_then(|line| line.split_once(':'));
        value.map_or("unknown".into(), |(_, value)| value.trim().to_owned())
    };
    Ok(Machine {
        processor: field(&processors, "model name"),
        processors: std::thread::available_parallelism()?.get(),
        memory: field(&memory, "MemTotal"),
        kernel: kernel.trim().into(),
        versions: versions(),
    })
}

fn versions() -> Vec<(String, String)> {
    let mut versions = vec![
        ("brigade".into(), said(&[BRIGADE, "--version"])),
        (
            "commit".into(),
            said(&["git", "describe", "--always", "--dirty", "--exclude=*"]),
        ),
        ("Rust".into(), said(&["rustc", "--version"])),
        ("C".into(), said(&["cc", "--version"])),
    ];
    for program in ["cp", "dd", "cat", "mbuffer", "rsync", "pv", "b3sum"] {
        versions.push((program.into(), said(&[program, "--version"])));
    }
    // It has no option that tells.
    versions.push((
        "buffer".into(),
        said(&["dpkg-query", "-W", "-f", "${Version}", "buffer"]),
    ));
    for (crate_name, lock) in [
        ("iceoryx2", "bench/rivals/Cargo.lock"),
        ("ipc-channel", "bench/rivals/Cargo.lock"),
        ("tokio", "bench/Cargo.lock"),
    ] {
        versions.push((format!("{crate_name} (crate)"), locked(crate_name, lock)));
    }
    versions.push(("Python".into(), said(&[PYTHON, "--version"])));
    for package in ["numpy", "pyarrow", "iceoryx2"] {
        let script = format!("from importlib.metadata import version; print(version('{package}'))");
        versions.push((
            format!("{package} (Python)"),
            said(&[PYTHON, "-c", &script]),
        ));
    }
    versions
}

/// The version of a crate in a lock file.
fn locked(name: &str, lock: &str) -> String {
    let text = std::fs::read_to_string(lock).unwrap_or_default();
    let entry = text
        .split("[[package]]")
        .find(|entry| entry.contains(&format!("name = \"{name}\"\n")));
    let version = entry.and_then(|entry| entry.split("version = \"").nth(1));
    version
        .and_then(|rest| rest.split('"').next())
        .unwrap_or("not there")
        .into()
}

/// The first line that a command prints, wherever it prints it.
fn said(command: &[&str]) -> String {
    let Ok(output) = Command::new(command[0]).args(&command[1..]).output() else {
        return "not installed".into();
    };
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    match output.status.success() {
        true => said.trim().lines().next().unwrap_or_default().to_owned(),
        false => "not installed".into(),
    }
}
