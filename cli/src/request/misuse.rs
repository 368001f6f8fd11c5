//! Words that make no sense, and what was probably meant.

use clap::error::{ContextKind, ContextValue};

/// What other tools of the kind take, and what is done here instead.
const OTHERS: &[(&[&str], &str)] = &[
    (
        &["-r", "-R", "-a", "--recursive", "--archive"],
        "brigade copies one file; for a directory: tar -c DIR | brigade --both - FILE.tar",
    ),
    (
        &["-f", "--force"],
        "it is not needed: a destination that exists is replaced, unless --no-clobber says otherwise",
    ),
    (
        &["-i", "--interactive"],
        "--no-clobber keeps a destination that exists, --backup gives it another name",
    ),
];

/// An error of usage in one line.
pub(crate) fn explain(error: &clap::Error) -> String {
    let text = error.to_string();
    // The first paragraph says what is wrong; the rest is advice and usage.
    let lines = text.lines().take_while(|line| !line.trim().is_empty());
    let what = lines.map(str::trim).collect::<Vec<_>>().join(" ");
    let what = what.strip_prefix("error: ").unwrap_or(&what);
    let word = |kind| match error.get(kind) {
        Some(ContextValue::String(word)) => Some(word.as_str()),
        _ => None,
    };
    if let Some(typed) = word(ContextKind::InvalidArg)
        && let Some((_, advice)) = OTHERS.iter().find(|(words, _)| words.contains(&typed))
    {
        return format!("{what}: {advice}");
    }
    let suggested = word(ContextKind::SuggestedArg).or(word(ContextKind::SuggestedValue));
    match suggested {
        Some(suggested) => format!("{what}; did you mean {suggested}? see --help"),
        None => format!("{what}; see --help"),
    }
}

/// For a source that is not there: "host:path", as scp and rsync take it.
pub(crate) fn other_machine(path: &str) -> Option<String> {
    let (host, rest) = path.split_once(':')?;
    let is_host = !rest.is_empty() && host.len() > 1 && !host.contains(['/', '\\']);
    is_host.then(|| {
        format!(
            "{path} is not there; brigade copies on one machine: \
             brigade --both FILE - | ssh HOST 'brigade --both - FILE'"
        )
    })
}

/// What cp takes for `--backup=` and would be a suffix here.
pub(crate) const CONTROL_WORDS: &[&str] = &[
    "none", "off", "numbered", "t", "existing", "nil", "simple", "never",
];
