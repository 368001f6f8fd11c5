//! Medians and spreads.

/// `values`, the least first.
fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

/// The value that `share` of the others are below; between two of them if need be.
pub fn quantile(values: &[f64], share: f64) -> f64 {
    let sorted = sorted(values);
    let at = (sorted.len() - 1) as f64 * share;
    let (below, above) = (sorted[at.floor() as usize], sorted[at.ceil() as usize]);
    below + (above - below) * at.fract()
}

pub fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5)
}

/// `ours` divided by `theirs`, round by round.
pub fn ratios(ours: &[f64], theirs: &[f64]) -> Vec<f64> {
    ours.iter().zip(theirs).map(|(a, b)| a / b).collect()
}

/// Median, least and most.
pub fn spread(values: &[f64], scale: f64, unit: &str) -> String {
    let [least, median, most] = [0.0, 0.5, 1.0].map(|share| quantile(values, share) / scale);
    format!("{median:.2}{unit} ({least:.2} to {most:.2})")
}

/// Median and quartiles.
pub fn quartiles(values: &[f64]) -> String {
    let [low, median, high] = [0.25, 0.5, 0.75].map(|share| quantile(values, share));
    format!("{median:.3} ({low:.3} to {high:.3})")
}
