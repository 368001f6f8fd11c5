//! The header, which is written by hand, against what is found in the source.
#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test says what it expects by unwrapping it"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use cbindgen::{Config, Language, Style};

fn directory() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// What cbindgen makes of the source.
fn generated() -> String {
    let config = Config {
        language: Language::C,
        style: Style::Both,
        documentation: false,
        no_includes: true,
        usize_is_size_t: true,
        ..Config::default()
    };
    let mut header = Vec::new();
    cbindgen::Builder::new()
        .with_config(config)
        .with_src(directory().join("src/lib.rs"))
        .with_parse_deps(false)
        .generate()
        .unwrap()
        .write(&mut header);
    String::from_utf8(header).unwrap()
}

/// `header` without its comments.
fn uncommented(header: &str) -> String {
    let mut rest = header;
    let mut kept = String::new();
    while let Some((before, comment)) = rest.split_once("/*") {
        kept.push_str(before);
        kept.push(' ');
        rest = comment.split_once("*/").unwrap().1;
    }
    kept + rest
}

/// What a header declares, each in a form that does not depend on how it is set.
fn declared(header: &str) -> BTreeSet<String> {
    let header = uncommented(header);
    let (directives, code): (Vec<_>, Vec<_>) = header
        .lines()
        .partition(|line| line.trim().starts_with('#'));
    let code = code.join("\n").replace("BRIGADE_API", " ");
    let code = match code.split_once("extern \"C\" {") {
        // Its end is the last one.
        Some((before, after)) => format!("{before}{}", after.rsplit_once('}').unwrap().0),
        None => code,
    };
    let defined = directives
        .iter()
        .filter_map(|line| line.trim().strip_prefix("#define "))
        .filter(|line| !line.starts_with("BRIGADE_API") && line.contains(' '))
        .map(|line| format!("#define {}", words(line)));
    defined.chain(declarations(&code)).collect()
}

fn declarations(code: &str) -> Vec<String> {
    let mut all = Vec::new();
    let (mut one, mut depth) = (String::new(), 0);
    for letter in code.chars() {
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            ';' if depth == 0 => {
                all.push(words(&std::mem::take(&mut one)));
                continue;
            }
            _ => {}
        }
        one.push(letter);
    }
    assert_eq!(one.trim(), "");
    all
}

/// The words and signs of `code`, one space between all. Objects of which C sees no inside
/// are the same with `const` and without: it would say nothing.
fn words(code: &str) -> String {
    let mut spaced = String::new();
    for letter in code.chars() {
        match letter.is_alphanumeric() || letter == '_' {
            true => spaced.push(letter),
            false => spaced.extend([' ', letter, ' ']),
        }
    }
    let words: Vec<_> = spaced
        .split_whitespace()
        .filter(|word| *word != "struct")
        .collect();
    let is_const = |index: usize| {
        words[index] == "const"
            && words
                .get(index + 1)
                .is_some_and(|next| OPAQUE.contains(next))
    };
    let kept = (0..words.len()).filter(|&index| !is_const(index));
    kept.map(|index| words[index]).collect::<Vec<_>>().join(" ")
}

const OPAQUE: [&str; 9] = [
    "brigade_monitor",
    "brigade_options",
    "brigade_owned_data",
    "brigade_owned_empty",
    "brigade_reader",
    "brigade_seat",
    "brigade_survivor",
    "brigade_unreturned",
    "brigade_writer",
];

#[test]
fn the_header_declares_what_is_found_in_the_source_and_nothing_else() {
    let by_hand = fs::read_to_string(directory().join("include/brigade.h")).unwrap();
    let (by_hand, found) = (declared(&by_hand), declared(&generated()));
    let list = |of: &BTreeSet<String>, but: &BTreeSet<String>| {
        let those: Vec<_> = of.difference(but).cloned().collect();
        those.join("\n  ")
    };
    assert!(found.len() > 100, "only {} are found", found.len());
    assert!(
        by_hand == found,
        "only in the header:\n  {}\nonly in the source:\n  {}",
        list(&by_hand, &found),
        list(&found, &by_hand)
    );
}
