//! Predicted numbers against what they should be.

use plotters::prelude::*;
use plotters::style::text_anchor::HPos;

use super::{BLUE, Text, VERMILLION, failed, picture, ruled, short, text};
use crate::error::{Error, Result};

/// Points that are drawn at most: of more, as many at even steps.
const POINTS: usize = 2000;

/// Predictions against true numbers, given as pairs (true, predicted): the nearer to the diagonal, the better. `target` is
/// what they are numbers of, and their unit.
///
/// # Errors
/// [`Error::Invalid`] for no pairs of finite numbers.
pub fn predicted(pairs: &[(f64, f64)], target: &str) -> Result<String> {
    let pairs = drawn(pairs)?;
    let all = || pairs.iter().flat_map(|&(truth, predicted)| [truth, predicted]);
    let range = around(all());
    let diagonal = vec![(range.0, range.0), (range.1, range.1)];
    let name = short(target, 40);
    scatter(&pairs, range, range, &diagonal, [&format!("true {name}"), &format!("predicted {name}")])
}

/// How far predictions are off, predicted less true, against what is predicted; pairs are (true, predicted). Where the
/// points show a shape, the model misses something.
///
/// # Errors
/// [`Error::Invalid`] for no pairs of finite numbers.
pub fn residuals(pairs: &[(f64, f64)], target: &str) -> Result<String> {
    let points: Vec<(f64, f64)> =
        drawn(pairs)?.into_iter().map(|(truth, predicted)| (predicted, predicted - truth)).collect();
    let across = around(points.iter().map(|p| p.0));
    let most = points.iter().map(|p| p.1.abs()).fold(0.0, f64::max);
    let zero = vec![(across.0, 0.0), (across.1, 0.0)];
    let name = short(target, 40);
    scatter(
        &points,
        across,
        around([-most, most].into_iter()),
        &zero,
        [&format!("predicted {name}"), "predicted less true"],
    )
}

/// The pairs that can be drawn.
fn drawn(pairs: &[(f64, f64)]) -> Result<Vec<(f64, f64)>> {
    let finite: Vec<(f64, f64)> = pairs
        .iter()
        .copied()
        .filter(|(a, b)| a.is_finite() && b.is_finite() && (a - b).is_finite())
        .collect();
    if finite.is_empty() {
        return Err(Error::Invalid("there are no predictions to draw".into()));
    }
    let step = finite.len().div_ceil(POINTS);
    Ok(finite.into_iter().step_by(step).collect())
}

/// A range that holds all numbers, and some room.
fn around(numbers: impl Iterator<Item = f64> + Clone) -> (f64, f64) {
    let low = numbers.clone().fold(f64::INFINITY, f64::min);
    let high = numbers.fold(f64::NEG_INFINITY, f64::max);
    // Of one number alone, or of such as differ in their last digits.
    let room = (0.06 * (high - low)).max(1e-6 * low.abs().max(high.abs())).max(1e-9);
    (low - room, high + room)
}

fn scatter(
    points: &[(f64, f64)],
    across: (f64, f64),
    up: (f64, f64),
    line: &[(f64, f64)],
    [x, y]: [&str; 2],
) -> Result<String> {
    picture((560, 480), |area| {
        text(
            area,
            &format!("{y}, {} rows", points.len()),
            (70, 20),
            Text { size: 16, h: HPos::Left, ..super::PLAIN },
        )?;
        let mut chart = ChartBuilder::on(area)
            .margin_top(38)
            .margin_right(24)
            .margin_bottom(8)
            .margin_left(8)
            .x_label_area_size(42)
            .y_label_area_size(64)
            .build_cartesian_2d(across.0..across.1, up.0..up.1)
            .map_err(failed)?;
        ruled(&mut chart.configure_mesh(), 13)
            .x_desc(x)
            .x_labels(7)
            .y_labels(7)
            .x_label_formatter(&|x| number(*x))
            .y_label_formatter(&|y| number(*y))
            .draw()
            .map_err(failed)?;
        let ideal = LineSeries::new(line.iter().copied(), VERMILLION.stroke_width(1));
        chart.draw_series(ideal).map_err(failed)?;
        let mark = |p: &(f64, f64)| Circle::new(*p, 3, BLUE.mix(0.6).filled());
        chart.draw_series(points.iter().map(mark)).map_err(failed)?;
        Ok(())
    })
}

/// A label of an axis, shortly.
fn number(x: f64) -> String {
    match x.abs() {
        0.0 => "0".into(),
        1e-3..1e5 => format!("{}", (x * 1e4).round() / 1e4),
        _ => format!("{x:.1e}"),
    }
}
