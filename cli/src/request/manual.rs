//! The manual page and the shells' completions, from the one definition of the options.

use std::io::{self, Write};

use clap::{Command, CommandFactory};
use clap_complete::Shell;

use crate::request::args::Args;

/// Writes the manual page, in roff: `brigade --man | man -l -`.
pub(crate) fn man(output: &mut impl Write) -> io::Result<()> {
    clap_mangen::Man::new(Args::command()).render(output)
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
        assert!(page.contains("Exit status"));
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
