//! The example, as the two processes that it is: each checks itself.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test says what it expects by unwrapping it"
)]

mod common;

use std::process::{Child, Command, Stdio};

use common::{bounded, place};

/// Built with the tests, and beside them.
fn start(example: &str, arguments: &[&str]) -> Child {
    let own = std::env::current_exe().unwrap();
    let file = format!("{example}{}", std::env::consts::EXE_SUFFIX);
    let target = own.parent().unwrap().parent().unwrap();
    let program = target.join("examples").join(file);
    assert!(
        program.exists(),
        "{} is not built: see cargo build --examples",
        program.display()
    );
    Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
fn pictures_are_made_and_looked_at() {
    bounded(|| {
        let (_directory, name) = place();
        let both = [(); 2].map(|()| start("pictures", &[&name, "60"]));
        let mut said = both.map(|child| {
            let output = child.wait_with_output().unwrap();
            assert!(output.status.success());
            String::from_utf8(output.stdout).unwrap()
        });
        said.sort();
        assert!(
            said[0].starts_with("looker: 60 pictures looked at"),
            "{said:?}"
        );
        assert!(said[1].starts_with("maker: "), "{said:?}");
    });
}
