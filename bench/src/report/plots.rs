//! Plots of what was measured, as SVG.

use std::path::Path;

use plotters::prelude::*;

use crate::Outcome;
use crate::figures::{median, quantile};
use crate::report::Section;
use crate::report::measures::bytes;
use crate::report::rotation::{Measured, Round, Unit};
use crate::report::words::{ratios as ratios_of, steady, values};

const WIDTH: u32 = 900;

const CAPTION: (&str, u32) = ("sans-serif", 18);
const LABELS: (&str, u32) = ("sans-serif", 12);

/// Of rounds in which the machine changed.
const GREY: RGBColor = RGBColor(150, 150, 150);

/// A rival's ratio in one case: quartiles.
struct Row {
    label: String,
    /// Blue, or grey if all rounds moved.
    color: RGBColor,
    quartiles: [f64; 3],
}

/// Each rival's ratio to the first one, with its quartiles: where it is on the right, brigade was faster.
pub fn ratios(section: &Section, to: &Path) -> Outcome<()> {
    let rows: Vec<Row> = section.cases.iter().rev().flat_map(rows).collect();
    if rows.is_empty() {
        return Ok(());
    }
    let all = rows.iter().flat_map(|row| row.quartiles);
    let (low, high) = all.fold((0.5f64, 2.0f64), |(low, high), value| {
        (low.min(value), high.max(value))
    });
    let (low, high) = (low / 1.2, high * 1.2);
    let height = 22 * rows.len() as u32 + 140;
    let area = SVGBackend::new(to, (WIDTH, height)).into_drawing_area();
    area.fill(&WHITE)?;
    let (bottom, top) = (-1, rows.len() as i32);
    let mut chart = ChartBuilder::on(&area)
        .caption(section.title, CAPTION)
        .margin(12)
        .set_label_area_size(LabelAreaPosition::Left, 250)
        .set_label_area_size(LabelAreaPosition::Bottom, 45)
        .build_cartesian_2d(
            (low..high).log_scale().with_key_points(marks(low, high)),
            bottom..top,
        )?;
    let label = |&at: &i32| {
        let row = usize::try_from(at).ok().and_then(|row| rows.get(row));
        row.map_or(String::new(), |row| row.label.clone())
    };
    chart
        .configure_mesh()
        .label_style(LABELS)
        .y_labels(rows.len() + 2)
        .y_label_formatter(&label)
        .x_label_formatter(&|ratio| format!("{ratio}"))
        .x_desc("time / brigade's time in the same round: median and quartiles (grey: the machine changed in all rounds)")
        .disable_y_mesh()
        .draw()?;
    chart.draw_series(LineSeries::new([(1.0, bottom), (1.0, top)], BLACK))?;
    for (index, row) in rows.iter().enumerate() {
        let at = |ratio| (ratio, index as i32);
        let [low, middle, high] = row.quartiles;
        chart.draw_series(LineSeries::new(
            [at(low), at(high)],
            row.color.stroke_width(2),
        ))?;
        chart.draw_series([Circle::new(at(middle), 4, row.color.filled())])?;
    }
    area.present()?;
    Ok(())
}

/// 1, 2, 5, 10, and so on between these two, for a logarithmic axis.
fn marks(low: f64, high: f64) -> Vec<f64> {
    let decades = (-9..9).flat_map(|power| [1.0, 2.0, 5.0].map(|digit| (digit, power)));
    // Parsed, so that it is printed as it is written.
    let all = decades.filter_map(|(digit, power)| format!("{digit}e{power}").parse().ok());
    all.filter(|mark| (low..high).contains(mark)).collect()
}

/// The first rival is the measure; from below.
fn rows(case: &Measured) -> Vec<Row> {
    let rivals = (1..case.rivals.len()).rev();
    rivals
        .filter_map(|rival| {
            let steady = ratios_of(case, rival, 0, steady);
            let (ratios, color) = match steady.is_empty() {
                true => (ratios_of(case, rival, 0, Round::has_moved), GREY),
                false => (steady, BLUE),
            };
            (!ratios.is_empty()).then(|| Row {
                color,
                label: format!("{}: {}", case.name, case.rivals[rival]),
                quartiles: [0.25, 0.5, 0.75].map(|share| quantile(&ratios, share)),
            })
        })
        .collect()
}

/// Bytes a second by the size of the blocks, a line for each rival.
pub fn rates(section: &Section, to: &Path) -> Outcome<()> {
    let lines = rates_of(section);
    let points = || lines.iter().flat_map(|(_, points)| points);
    let Some(&(smallest, _)) = points().min_by(|a, b| a.0.total_cmp(&b.0)) else {
        return Ok(());
    };
    let largest = points().fold(smallest, |most, point| most.max(point.0));
    let low = points().fold(f64::MAX, |least, point| least.min(point.1));
    let high = points().fold(low, |most, point| most.max(point.1));
    let (low, high) = (low / 1.3, high * 1.3);
    let mut sizes: Vec<f64> = points().map(|point| point.0).collect();
    sizes.sort_by(f64::total_cmp);
    sizes.dedup();
    let area = SVGBackend::new(to, (WIDTH, 520)).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .caption("Medians; copied in and copied out", CAPTION)
        .margin(12)
        .set_label_area_size(LabelAreaPosition::Left, 60)
        .set_label_area_size(LabelAreaPosition::Bottom, 45)
        .build_cartesian_2d(
            (smallest / 1.3..largest * 1.3)
                .log_scale()
                .with_key_points(sizes),
            (low..high).log_scale().with_key_points(marks(low, high)),
        )?;
    chart
        .configure_mesh()
        .label_style(LABELS)
        .x_label_formatter(&|&size| bytes(size as usize))
        .y_label_formatter(&|rate| format!("{rate}"))
        .x_desc("size of a block")
        .y_desc("GB/s")
        .draw()?;
    for (index, (name, points)) in lines.into_iter().enumerate() {
        let color = Palette99::pick(index).to_rgba();
        chart
            .draw_series(LineSeries::new(points, color.stroke_width(2)).point_size(3))?
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], color.stroke_width(2)));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::LowerRight)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK)
        .draw()?;
    area.present()?;
    Ok(())
}

type Line = (String, Vec<(f64, f64)>);

/// Of each rival, the size of each case and the median of its rates in GB/s.
fn rates_of(section: &Section) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    for case in &section.cases {
        let Unit::BytesPerSecond(size) = case.figures[0].unit else {
            continue;
        };
        for (rival, name) in case.rivals.iter().enumerate() {
            let mut seconds = values(case, rival, 0, steady);
            if seconds.is_empty() {
                seconds = values(case, rival, 0, Round::has_moved);
            }
            if seconds.is_empty() {
                continue;
            }
            let point = (size as f64, size as f64 / median(&seconds) * 1e-9);
            match lines.iter_mut().find(|line| line.0 == *name) {
                Some(line) => line.1.push(point),
                None => lines.push((name.clone(), vec![point])),
            }
        }
    }
    lines
}
