//! RESULTS.md.

use std::fmt::Write;

use crate::figures::{median, quantile};
use crate::report::rotation::{Figure, Measured, Round, Unit};
use crate::report::{Report, Section};

const READING: &str = "\
Each round runs every rival once; over the rounds, each is at each place and comes after each other one about equally often. A **ratio** is a rival's time divided by \
that of the first in its case (brigade), in the same round: above 1, brigade was faster. Figures are medians, with quartiles in parentheses. No figure \
stands for itself: machines differ, and this one changes from minute to minute, since its host moves virtual processors about and others \
work on it. So look at ratios, and at their quartiles.

Each round begins and ends with the bare ring, the best of three runs (spinning, nothing checked; for latencies and copies it is only a probe). Where the \
two differ by more than half, the machine was another one at the end of the round, and the ratios of that round say little: such rounds are in \
the columns \"moved\", apart from the others.
";

const BUSY: &str = "\
**More programs wanted to run than there are processors.** Then the two processes of a rival seldom run at the same time, and what spins (the \
bare ring, iceoryx2) spends its time slices waiting for a partner that does not run, while what sleeps gives its own away: the bare ring is \
no limit here, and the ratios say how the rivals fare on a busy machine. What they can do at best is to be measured on an idle one.
";

const NOT_MEASURED: &str = "\
- Slow devices, `--resume` and takeovers after deaths.
- Pools of other sizes than 4 MiB.
- Files of other sizes (`bench/scale`), machines with more processors.
- Windows. (`cargo run --release --manifest-path bench/Cargo.toml` measures ring and latencies there.)
- brigade against itself of another day: that is `--against` of the same program.
";

pub fn results(report: &Report) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = write_results(&mut text, report);
    // As one would type it after `cd`; the directory is gone.
    text.replace(&format!("{}/", report.work), "")
}

fn write_results(text: &mut String, report: &Report) -> std::fmt::Result {
    let quick = match report.is_quick {
        true => " The quick form: a hint, with few sizes and rounds.",
        false => "",
    };
    writeln!(text, "# brigade and its rivals, side by side\n")?;
    writeln!(
        text,
        "Written by `{}`, which repeats it; `bench/setup` installs the rivals. Raw figures of all rounds: \
         [results/raw.json](results/raw.json).{quick}\n\n## How to read it\n\n{READING}",
        report.command
    )?;
    write_machine(text, report)?;
    for section in &report.sections {
        write_section(text, section, report.is_quick)?;
    }
    writeln!(text, "## What is not measured here\n")?;
    for table in &report.too_late {
        writeln!(
            text,
            "- `{table}`: the machine was so busy that there was no time left for it."
        )?;
    }
    for table in &report.placeless {
        writeln!(
            text,
            "- `{table}`: takes a directory on a disk (`--directory`)."
        )?;
    }
    writeln!(text, "{NOT_MEASURED}")
}

fn write_machine(text: &mut String, report: &Report) -> std::fmt::Result {
    let (machine, begin, end) = (&report.machine, &report.begin, &report.end);
    let rounds = || {
        let cases = report.sections.iter().flat_map(|section| &section.cases);
        cases.flat_map(|case| &case.rounds)
    };
    let moved = rounds().filter(|round| round.has_moved()).count();
    let stolen =
        (end.stolen_ticks - begin.stolen_ticks) as f64 / (end.ticks - begin.ticks).max(1) as f64;
    writeln!(text, "## The machine\n")?;
    writeln!(
        text,
        "{} with {} processors, {} of memory, Linux {}. Load (1, 5, 15 minutes) at the begin, {}: {}; at the end, {}: {}. The host took \
         {:.1} % of the processors' time for others. In {moved} of {} rounds the bare ring moved.\n",
        machine.processor,
        machine.processors,
        machine.memory,
        machine.kernel,
        begin.time,
        begin.load,
        end.time,
        end.load,
        stolen * 100.0,
        rounds().count()
    )?;
    if begin.is_busier_than(machine.processors) || end.is_busier_than(machine.processors) {
        writeln!(text, "{BUSY}")?;
    }
    writeln!(text, "| What | Version |\n|---|---|")?;
    for (name, version) in &machine.versions {
        writeln!(text, "| {name} | {version} |")?;
    }
    writeln!(text)
}

fn write_section(text: &mut String, section: &Section, is_quick: bool) -> std::fmt::Result {
    writeln!(text, "## {}\n\n{}\n", section.title, section.about)?;
    let quick = if is_quick { " --quick" } else { "" };
    let place = match section.name {
        "durable" => " --directory DIRECTORY",
        _ => "",
    };
    writeln!(
        text,
        "`bench/run{quick} --only {}{place}` repeats it.\n",
        section.name
    )?;
    if section.name == "ring" {
        writeln!(text, "![Bytes a second by block size](results/rates.svg)\n")?;
    }
    writeln!(text, "![Ratios](results/{}.svg)\n", section.name)?;
    let figures = &section.cases[0].figures;
    write!(text, "| Case | Rival |")?;
    for figure in figures {
        write!(text, " {} |", figure.name)?;
        if figure.is_compared {
            write!(text, " ÷ {} |", section.cases[0].rivals[0])?;
        }
    }
    writeln!(text, " rounds | moved: rounds | ratio |")?;
    writeln!(
        text,
        "|---|---{}",
        "|---".repeat(figures.iter().map(columns).sum::<usize>() + 3) + "|"
    )?;
    for case in &section.cases {
        for rival in 0..case.rivals.len() {
            write_row(text, case, rival)?;
        }
    }
    writeln!(text)?;
    write_skipped(text, section)?;
    writeln!(
        text,
        "<details><summary>The commands of single runs (the last numbers vary)</summary>\n\n```sh"
    )?;
    for case in &section.cases {
        writeln!(text, "# {}; limit: {}", case.name, case.limit)?;
        for command in &case.commands {
            writeln!(text, "{command}")?;
        }
    }
    writeln!(text, "```\n\n</details>\n")
}

fn columns(figure: &Figure) -> usize {
    1 + usize::from(figure.is_compared)
}

fn write_row(text: &mut String, case: &Measured, rival: usize) -> std::fmt::Result {
    // Not the end of a cell.
    let name = case.rivals[rival].replace('|', "\\|");
    write!(text, "| {} | {name} |", case.name)?;
    for (index, figure) in case.figures.iter().enumerate() {
        write!(
            text,
            " {} |",
            show(&values(case, rival, index, steady), figure.unit)
        )?;
        if figure.is_compared {
            write!(
                text,
                " {} |",
                show_ratios(&ratios(case, rival, index, steady))
            )?;
        }
    }
    let moved = ratios(case, rival, 0, Round::has_moved);
    let count = values(case, rival, 0, steady).len();
    writeln!(
        text,
        " {count} | {} | {} |",
        moved.len(),
        show_ratios(&moved)
    )
}

/// Who was not measured, or not always, and why.
fn write_skipped(text: &mut String, section: &Section) -> std::fmt::Result {
    for case in &section.cases {
        for (rival, why) in &case.skipped {
            writeln!(text, "Skipped in {}: {rival}: {why}.\n", case.name)?;
        }
        for (index, rival) in case.rivals.iter().enumerate() {
            let failures: Vec<&String> = case
                .rounds
                .iter()
                .filter_map(|r| r.measured[index].as_ref().err())
                .collect();
            if let Some(why) = failures.first() {
                writeln!(
                    text,
                    "Failed in {} rounds of {}: {rival}: {why}.\n",
                    failures.len(),
                    case.name
                )?;
            }
        }
    }
    Ok(())
}

pub fn steady(round: &Round) -> bool {
    !round.has_moved()
}

/// Figure `figure` of a rival, in those rounds that `which` chooses.
pub fn values(case: &Measured, rival: usize, figure: usize, which: fn(&Round) -> bool) -> Vec<f64> {
    let rounds = case.rounds.iter().filter(|round| which(round));
    rounds
        .filter_map(|round| Some(round.measured[rival].as_ref().ok()?[figure]))
        .collect()
}

/// The same, divided by that of the first rival in the same round.
pub fn ratios(case: &Measured, rival: usize, figure: usize, which: fn(&Round) -> bool) -> Vec<f64> {
    let rounds = case.rounds.iter().filter(|round| which(round));
    rounds
        .filter_map(|round| {
            let ours = round.measured[0].as_ref().ok()?[figure];
            Some(round.measured[rival].as_ref().ok()?[figure] / ours)
        })
        .collect()
}

fn show(values: &[f64], unit: Unit) -> String {
    if values.is_empty() {
        return "".into();
    }
    let [low, middle, high] = [0.25, 0.5, 0.75].map(|share| quantile(values, share));
    match unit {
        Unit::Seconds => {
            // The median may be nothing, as that of a short time that is counted in ticks.
            let (scale, name) = match if middle > 0.0 { middle } else { high } {
                ..1e-6 => (1e-9, "ns"),
                ..1e-3 => (1e-6, "µs"),
                ..1.0 => (1e-3, "ms"),
                _ => (1.0, "s"),
            };
            let [low, middle, high] = [low, middle, high].map(|value| short(value / scale));
            format!("{middle} {name} ({low} to {high})")
        }
        Unit::BytesPerSecond(bytes) => {
            let [low, middle, high] =
                [high, middle, low].map(|value| short(bytes as f64 / value * 1e-9));
            format!("{middle} GB/s ({low} to {high})")
        }
    }
}

fn show_ratios(ratios: &[f64]) -> String {
    match ratios.is_empty() {
        true => "".into(),
        false => {
            let [low, high] = [0.25, 0.75].map(|share| short(quantile(ratios, share)));
            format!("{} ({low} to {high})", short(median(ratios)))
        }
    }
}

/// About three digits.
fn short(value: f64) -> String {
    match value {
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        1.0.. => format!("{value:.2}"),
        0.0 => "0".into(),
        _ => format!("{value:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case() -> Measured {
        let round = |after, theirs: Result<Vec<f64>, String>| Round {
            limit_before: 1.0,
            limit_after: after,
            measured: vec![Ok(vec![2.0]), theirs],
        };
        Measured {
            name: "case".into(),
            figures: Vec::new(),
            rivals: vec!["ours".into(), "theirs".into()],
            commands: Vec::new(),
            limit: String::new(),
            rounds: vec![
                round(1.0, Ok(vec![4.0])),
                round(1.0, Err("it failed".into())),
                round(9.0, Ok(vec![20.0])),
            ],
            skipped: Vec::new(),
        }
    }

    #[test]
    fn ratios_are_of_the_same_round_and_moved_rounds_are_apart() {
        assert_eq!(ratios(&case(), 1, 0, steady), [2.0]);
        assert_eq!(ratios(&case(), 1, 0, Round::has_moved), [10.0]);
        assert_eq!(values(&case(), 1, 0, steady), [4.0]);
    }

    #[test]
    fn figures_have_about_three_digits_and_a_unit_that_fits() {
        let seconds = [0.0011, 0.0012, 0.0130];
        assert_eq!(show(&seconds, Unit::Seconds), "1.20 ms (1.15 to 7.10)");
        let rates = [1e-9, 1e-9, 1e-9];
        assert_eq!(
            show(&rates, Unit::BytesPerSecond(64)),
            "64.0 GB/s (64.0 to 64.0)"
        );
        assert_eq!(show(&[], Unit::Seconds), "");
        assert_eq!(show(&[0.0, 0.0, 0.2], Unit::Seconds), "0 ms (0 to 100)");
    }
}
