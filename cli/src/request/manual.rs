//! The manual page and the shells' completions, from the one definition of the options.

use std::io::{self, Write};

use clap::{Command, CommandFactory};
use clap_complete::Shell;

use crate::request::args::Args;

/// When the manual page was changed last.
const DATE: &str = "2026-11-28";

/// The sections that the options do not tell: files, exit status, examples.
const SECTIONS: &str = include_str!("manual.roff");

/// Writes the manual page, in roff: `brigade --man | man -l -`.
pub(crate) fn man(output: &mut impl Write) -> io::Result<()> {
    // `build` adds --help and --version.
    let mut command = Args::command();
    command.build();
    let page = clap_mangen::Man::new(command)
        .title("BRIGADE")
        .date(DATE)
        .manual("User Commands");
    let mut made = Vec::new();
    page.render_title(&mut made)?;
    page.render_name_section(&mut made)?;
    page.render_synopsis_section(&mut made)?;
    page.render_description_section(&mut made)?;
    page.render_options_section(&mut made)?;
    output.write_all(tidy(&String::from_utf8_lossy(&made)).as_bytes())?;
    output.write_all(SECTIONS.as_bytes())
}

/// The same page, as `mandoc -T lint` wants it: short lines, and one request for an
/// empty line.
fn tidy(page: &str) -> String {
    let mut tidied = String::new();
    let mut is_tag = false;
    for line in page.replace(".br\n\n.br\n", ".sp\n").lines() {
        // A tag ends with its line, and so does a request.
        let stays = is_tag || line.starts_with('.');
        is_tag = line == ".TP";
        let mut length = 0;
        for word in line.trim_end().split(' ') {
            let is_request = word.starts_with(['.', '\'']);
            if length > 0 {
                let breaks = !stays && !is_request && length + 1 + word.len() > 79;
                tidied.push(if breaks { '\n' } else { ' ' });
                length = if breaks { 0 } else { length + 1 };
            }
            tidied.push_str(word);
            length += word.len();
        }
        tidied.push('\n');
    }
    tidied
}

/// Writes what `shell` reads to complete options: for bash, for instance,
/// `source <(brigade --completions bash)`.
pub(crate) fn completions(shell: Shell, output: &mut impl Write) -> io::Result<()> {
    // Without the hidden option, which the generator would offer, too.
    let all = Args::command();
    let shown = all.get_arguments().filter(|arg| !arg.is_hide_set());
    let mut command = Command::new("brigade").version(env!("CARGO_PKG_VERSION"));
    command = command.args(shown.cloned());
    // It cannot tell of errors, so it writes to memory.
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut command, "brigade", &mut text);
    output.write_all(&text)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use clap::ValueEnum;

    /// Every option that is not hidden.
    fn options() -> Vec<String> {
        let command = Args::command();
        let shown = command.get_arguments().filter(|arg| !arg.is_hide_set());
        shown
            .filter_map(|arg| arg.get_long().map(str::to_owned))
            .collect()
    }

    #[test]
    fn the_manual_page_tells_of_every_option() {
        let mut page = Vec::new();
        man(&mut page).unwrap();
        // roff writes a hyphen that is to be copied as "\-".
        let page = String::from_utf8(page).unwrap().replace(r"\-", "-");
        for option in options() {
            assert!(page.contains(&format!("--{option}")), "{option}");
        }
        for option in ["help", "version"] {
            assert!(page.contains(&format!("--{option}")), "{option}");
        }
    }

    #[test]
    fn the_manual_page_tells_of_every_exit_status_and_every_file() {
        let mut page = Vec::new();
        man(&mut page).unwrap();
        let page = String::from_utf8(page).unwrap();
        let section = |name: &str| {
            let (_, rest) = page.split_once(&format!(".SH {name}\n")).unwrap();
            rest.split(".SH ").next().unwrap().to_owned()
        };
        for status in ["0", "1", "2", "3", "4", "5", "6"] {
            let tag = format!(".TP\n.B {status}\n");
            assert!(section("\"EXIT STATUS\"").contains(&tag), "{status}");
        }
        for file in ["brigade\\-partial", ".lock", ".sock"] {
            assert!(section("FILES").contains(file), "{file}");
        }
        assert!(section("ENVIRONMENT").contains("XDG_RUNTIME_DIR"));
        assert!(section("EXAMPLES").contains("\\-\\-both"));
    }

    #[test]
    fn lines_of_the_manual_page_are_short_and_no_word_is_lost() {
        let long = format!("{}.end {}\n", "word ".repeat(30), "'quoted".repeat(20));
        let page = format!(".TP\n{long}{long}.br\n\n.br\nmore \n");
        let tidied = tidy(&page);
        let words = |text: &str| {
            text.split_whitespace()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        assert_eq!(words(&tidied), words(&page.replace(".br\n\n.br", ".sp")));
        assert_eq!(tidied.lines().nth(1), long.lines().next());
        let wrapped = tidied.lines().skip(2);
        assert!(wrapped.clone().count() > 3);
        for line in wrapped.filter(|line| !line.contains("quoted")) {
            assert!(line.len() < 80 && !line.ends_with(' '), "{line}");
        }
    }

    #[test]
    fn every_shell_s_completions_tell_of_every_option() {
        for shell in Shell::value_variants() {
            let mut script = Vec::new();
            completions(*shell, &mut script).unwrap();
            let script = String::from_utf8(script).unwrap();
            for option in options() {
                assert!(script.contains(&option), "{shell}: {option}");
            }
            assert!(
                !script.contains("started-by-both") || *shell == Shell::Elvish,
                "{shell}"
            );
        }
    }
}
