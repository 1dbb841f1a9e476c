//! Loss and a metric by epoch.

use plotters::coord::ranged1d::{AsRangedCoord, ValueFormatter};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::{Area, BLUE, GREY, GRID, INK, Text, VERMILLION, failed, picture, ruled, text};
use crate::error::{Error, Result};
use crate::train::EpochRecord;

/// With more epochs than this, points are not marked.
const MARKS: usize = 40;

/// One line: its name, colour, and (epoch, value) pairs.
struct Line {
    name: &'static str,
    color: RGBColor,
    points: Vec<(f64, f64)>,
}

/// The loss and the metric called `metric` of the training and validation rows by epoch, with a mark at `kept`, the epoch
/// whose weights were kept ([`crate::train::TrainingReport::best_epoch`]). The loss is that of the objective `loss`
/// ([`crate::train::Objective::name`]); a metric that no record has is left out.
///
/// The loss has a logarithmic axis where it falls to less than a tenth, and so has a metric other than the accuracy,
/// which is in percent. Training values are those of the steps as they
/// went, before each update and with dropout, so that early ones are often worse than validation's.
///
/// # Errors
/// [`Error::Invalid`] for no epochs.
pub fn curves(records: &[EpochRecord], kept: Option<usize>, loss: &str, metric: &str) -> Result<String> {
    if records.is_empty() {
        return Err(Error::Invalid("no epoch was finished, so that there are no curves".into()));
    }
    let title = format!("{loss} loss");
    let points = |value: &dyn Fn(&EpochRecord) -> Option<f64>| -> Vec<(f64, f64)> {
        let of = |r: &EpochRecord| Some((r.epoch as f64, value(r)?));
        records.iter().filter_map(of).filter(|p| p.1.is_finite()).collect()
    };
    let is_accuracy = metric == "accuracy";
    let factor = if is_accuracy { 100.0 } else { 1.0 };
    let lines = |name: &str, factor: f64| {
        let train = points(&|r| r.train.get(name).map(|x| factor * x));
        let validation = points(&|r| r.validation.as_ref()?.get(name).map(|x| factor * x));
        let lines = [
            Line { name: "training", color: BLUE, points: train },
            Line { name: "validation", color: VERMILLION, points: validation },
        ];
        lines.into_iter().filter(|l| !l.points.is_empty()).collect::<Vec<_>>()
    };
    let (loss, measured) = (lines("loss", 1.0), lines(metric, factor));
    let kept = kept.filter(|k| records.iter().any(|r| r.epoch == *k));
    let epochs = epochs(records);

    picture((1000, 400), |area| {
        let (left, right) = area.split_horizontally(500);
        free(&left, &title, &loss, epochs, kept)?;
        if measured.is_empty() {
            return Ok(());
        }
        if !is_accuracy {
            return free(&right, metric, &measured, epochs, kept);
        }
        let (low, high) = bounds(&measured);
        let margin = ((high - low) * 0.08).max(0.5);
        let range = (low - margin).max(0.0)..(high + margin).min(100.0 + margin / 2.0);
        panel(&right, "accuracy, %", &measured, epochs, range, kept, false)
    })
}

/// A panel of numbers that may have any size: on a logarithmic axis where they fall to less than a tenth.
fn free(area: &Area<'_>, title: &str, lines: &[Line], epochs: (f64, f64), kept: Option<usize>) -> Result<()> {
    let (low, high) = bounds(lines);
    if low > 0.0 && high / low > 10.0 {
        let decades = (low / 1.3..high * 1.3).log_scale().with_key_points(one_two_five(low, high));
        return panel(area, title, lines, epochs, decades, kept, true);
    }
    let margin = ((high - low) * 0.08).max(1e-6);
    let lowest = if low >= 0.0 { 0.0 } else { f64::NEG_INFINITY };
    let range = (low - margin).max(lowest)..high + margin;
    panel(area, title, lines, epochs, range, kept, true)
}

fn epochs(records: &[EpochRecord]) -> (f64, f64) {
    let all = records.iter().map(|r| r.epoch as f64);
    let (low, high) = (all.clone().fold(f64::INFINITY, f64::min), all.fold(0.0, f64::max));
    if high > low { (low, high) } else { (low - 0.5, high + 0.5) }
}

fn bounds(lines: &[Line]) -> (f64, f64) {
    let values = lines.iter().flat_map(|l| &l.points).map(|p| p.1);
    let (low, high) =
        (values.clone().fold(f64::INFINITY, f64::min), values.fold(f64::NEG_INFINITY, f64::max));
    if low.is_finite() { (low, high) } else { (0.0, 1.0) }
}

fn panel<Y>(
    area: &Area<'_>,
    title: &str,
    lines: &[Line],
    (first, last): (f64, f64),
    range: Y,
    kept: Option<usize>,
    legend_above: bool,
) -> Result<()>
where
    Y: AsRangedCoord<Value = f64>,
    Y::CoordDescType: Ranged<ValueType = f64> + ValueFormatter<f64>,
{
    let how = Text { size: 16, h: HPos::Left, ..super::PLAIN };
    text(area, title, (62, 20), how)?;
    let mut chart = ChartBuilder::on(area)
        .margin_top(38)
        .margin_right(22)
        .margin_bottom(8)
        .margin_left(8)
        .x_label_area_size(42)
        .y_label_area_size(54)
        .build_cartesian_2d(first..last, range)
        .map_err(failed)?;
    ruled(&mut chart.configure_mesh(), 13)
        .x_desc("epoch")
        .x_labels(9)
        .y_labels(7)
        .x_label_formatter(&|x| if x.fract().abs() < 1e-6 { format!("{x:.0}") } else { String::new() })
        .y_label_formatter(&|y| number(*y))
        .draw()
        .map_err(failed)?;
    // The kept epoch below the lines.
    if let Some(kept) = kept {
        let x = kept as f64;
        let (low, high) = (chart.y_range().start, chart.y_range().end);
        let dash = DashedLineSeries::new([(x, low), (x, high)], 4, 4, GREY.stroke_width(1));
        chart.draw_series(dash).map_err(failed)?;
    }
    for line in lines {
        let style = line.color.stroke_width(2);
        chart
            .draw_series(LineSeries::new(line.points.iter().copied(), style))
            .map_err(failed)?
            .label(line.name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 22, y)], style));
        let is_validation = line.name == "validation";
        let marked = line.points.iter().filter(|p| {
            line.points.len() <= MARKS || (is_validation && kept.is_some_and(|k| p.0 == k as f64))
        });
        let mark = |p: &(f64, f64)| Circle::new(*p, if is_validation { 4 } else { 2 }, line.color.filled());
        chart.draw_series(marked.map(mark)).map_err(failed)?;
    }
    let position =
        if legend_above { SeriesLabelPosition::UpperRight } else { SeriesLabelPosition::LowerRight };
    chart
        .configure_series_labels()
        .position(position)
        .background_style(WHITE.mix(0.85))
        .border_style(GRID)
        .label_font(("sans-serif", 13).into_font().color(&INK))
        .draw()
        .map_err(failed)?;
    if let Some(kept) = kept {
        let x = chart.backend_coord(&(kept as f64, chart.y_range().start)).0;
        let at = (x - area.get_base_pixel().0, 30);
        // Inside the panel, whichever end the epoch is at.
        let h = if kept as f64 > 0.5 * (first + last) { HPos::Right } else { HPos::Left };
        let style =
            TextStyle::from(("sans-serif", 12).into_font()).color(&GREY).pos(Pos::new(h, VPos::Center));
        area.draw_text(&format!("kept: epoch {kept}"), &style, at).map_err(failed)?;
    }
    Ok(())
}

/// 1, 2 and 5 times the powers of ten between two positive numbers; with more than three decades, the powers alone.
fn one_two_five(low: f64, high: f64) -> Vec<f64> {
    let (from, to) = (low.log10().floor() as i32, high.log10().ceil() as i32);
    let steps: &[f64] = if to - from > 3 { &[1.0] } else { &[1.0, 2.0, 5.0] };
    let decade = |power: i32| steps.iter().map(move |step| step * 10f64.powi(power));
    (from..=to).flat_map(decade).filter(|x| (low / 1.3..=high * 1.3).contains(x)).collect()
}

/// As many digits as tell an axis's labels apart.
fn number(x: f64) -> String {
    match x.abs() {
        a if a >= 10.0 || a == 0.0 => format!("{}", (x * 10.0).round() / 10.0),
        a if a >= 0.1 => format!("{}", (x * 100.0).round() / 100.0),
        a if a >= 1e-4 => format!("{}", (x * 1e5).round() / 1e5),
        _ => format!("{x:.0e}"),
    }
}
