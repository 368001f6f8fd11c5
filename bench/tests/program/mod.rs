//! The programs that tests start.

use std::path::{Path, PathBuf};
use std::process::Command;

/// brigade itself, built.
pub fn program() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut build = Command::new(env!("CARGO"));
    build.args([
        "build",
        "--quiet",
        "--locked",
        "--package",
        "brigade-cli",
        "--target-dir",
        "target",
    ]);
    // Another workspace's.
    build.env_remove("CARGO_TARGET_DIR").current_dir(&root);
    assert!(build.status().unwrap().success());
    root.join("target/debug/brigade")
}

/// Whether this machine has it.
pub fn is_there(program: &str) -> bool {
    let is_there = Command::new(program).arg("--version").output().is_ok();
    if !is_there {
        eprintln!("skipped: needs {program}");
    }
    is_there
}
