//! The name by which a program asks for the shared library: its first number is that of the
//! interface, and changes with each incompatible change. What `cargo cinstall` says is the
//! same (`package.metadata.capi.library` in Cargo.toml).

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os == "linux") {
        println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,libbrigade.so.0");
    }
}
