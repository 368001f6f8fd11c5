//! That what measures large copies works, with small ones.
#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    reason = "a test says what it expects by unwrapping it"
)]

mod program;

use std::path::Path;
use std::process::Command;

use program::{is_there, program};

#[test]
fn each_program_has_a_row_for_each_size_and_nothing_is_left() {
    if !is_there("python3") || !is_there("fincore") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let scale = Path::new(env!("CARGO_MANIFEST_DIR")).join("scale");
    let mut command = Command::new("timeout");
    command.arg("60").arg(scale).arg(directory.path());
    let measured = command.args(["1/1024", "3/1024"]).env("BRIGADE", program());
    let output = measured.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{errors}");
    for size in ["1/1024", "3/1024"] {
        for program in ["brigade", "cp && sync"] {
            let begin = format!("| {size} | {program} | ");
            let row = said.lines().find_map(|row| row.strip_prefix(&begin));
            let figures = row.unwrap().trim_end_matches('|').split('|');
            let figures: Vec<f64> = figures.map(|it| it.trim().parse().unwrap()).collect();
            let [seconds, ratio, ..] = figures[..] else {
                unreachable!("{said}");
            };
            assert!(seconds > 0.0 && ratio > 0.0, "{said}");
        }
    }
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
}
