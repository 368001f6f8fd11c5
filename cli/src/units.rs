//! Sizes and durations, as users read them.

use std::time::Duration;

/// "1.5 GiB". Without a logarithm: for that alone, each process would load the library of
/// mathematics.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let power = count.checked_ilog2().unwrap_or(0) / 10;
    let unit = UNITS[power as usize];
    match power {
        0 => format!("{count} {unit}"),
        _ => format!(
            "{:.1} {unit}",
            count as f64 / (1_u64 << (10 * power)) as f64
        ),
    }
}

/// "1.5 s", "2 min 30 s", "3 h": as precise as a reader can use.
pub(crate) fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0 if duration < Duration::from_millis(10) => {
            format!("{} ms", (duration.as_secs_f64() * 1e6).round() / 1e3)
        }
        0..10 => format!("{} s", (duration.as_secs_f64() * 1e2).round() / 1e2),
        10..60 => format!("{seconds} s"),
        _ => parts(seconds),
    }
}

/// The two largest units that are not 0.
fn parts(seconds: u64) -> String {
    let units = [
        (seconds / 86_400, "d"),
        (seconds / 3600 % 24, "h"),
        (seconds / 60 % 60, "min"),
        (seconds % 60, "s"),
    ];
    let largest = units.iter().skip_while(|(count, _)| *count == 0).take(2);
    let shown = largest.filter(|(count, _)| *count > 0);
    let words: Vec<String> = shown
        .map(|(count, unit)| format!("{count} {unit}"))
        .collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_in_the_largest_unit_of_which_they_have_one() {
        for (count, words) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1536, "1.5 KiB"),
            ((1 << 20) - 1, "1024.0 KiB"),
            (1 << 20, "1.0 MiB"),
            ((3 << 30) / 2, "1.5 GiB"),
            (1 << 40, "1.0 TiB"),
            (1 << 50, "1.0 PiB"),
            (u64::MAX, "16.0 EiB"),
        ] {
            assert_eq!(bytes(count), words);
        }
    }

    #[test]
    fn durations_are_as_precise_as_a_reader_can_use() {
        for (ms, words) in [
            (0, "0 ms"),
            (1, "1 ms"),
            (250, "0.25 s"),
            (1000, "1 s"),
            (1001, "1 s"),
            (1500, "1.5 s"),
            (59_999, "59 s"),
            (60_000, "1 min"),
            (150_000, "2 min 30 s"),
            (3_600_000, "1 h"),
            (3_601_000, "1 h"),
            (90_000_000, "1 d 1 h"),
        ] {
            assert_eq!(duration(Duration::from_millis(ms)), words);
        }
    }
}
