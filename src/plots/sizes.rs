//! How long ops take by size.

use plotters::prelude::*;

use super::{Area, PALETTE, PLAIN, Text, failed, picture, ruled, text};
use crate::error::{Error, Result};

/// One op on several devices.
#[derive(Debug, Clone, PartialEq)]
pub struct SizeCurves {
    /// What is computed.
    pub title: String,
    /// What a size counts.
    pub unit: String,
    /// What was measured.
    pub quantity: Quantity,
    /// One line for each device; the same devices in all panels of a picture.
    pub lines: Vec<SizeLine>,
}

/// What lines show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quantity {
    /// Seconds of a run.
    Seconds,
    /// Bytes of memory.
    Bytes,
}

/// One device's times, or its memory.
#[derive(Debug, Clone, PartialEq)]
pub struct SizeLine {
    /// The device.
    pub label: String,
    /// (size, seconds or bytes), by ascending size.
    pub points: Vec<(usize, f64)>,
}

/// Panels in a row.
const COLUMNS: usize = 3;
const PANEL: (i32, i32) = (380, 300);
const HEAD: i32 = 50;

/// Time or memory by size, both on logarithmic axes, one panel for each op. Lines of one place in their lists have one colour and
/// one mark, and the first panel's labels.
///
/// # Errors
/// [`Error::Invalid`] where there is no panel, a panel has no points, or a size or a time is not above 0.
pub fn sizes(panels: &[SizeCurves]) -> Result<String> {
    let Some(first) = panels.first() else {
        return Err(Error::Invalid("no op was timed, so that there is no picture".into()));
    };
    for panel in panels {
        let points = || panel.lines.iter().flat_map(|l| &l.points);
        let is_good = |&(size, seconds): &(usize, f64)| size > 0 && seconds > 0.0 && seconds.is_finite();
        if points().count() == 0 || !points().all(is_good) {
            return Err(Error::Invalid(format!("`{}` needs sizes and times above 0", panel.title)));
        }
    }
    let columns = panels.len().min(COLUMNS);
    let rows = panels.len().div_ceil(columns);
    let width = (columns as i32 * PANEL.0).max(640);
    let size = (width as u32, (HEAD + rows as i32 * PANEL.1) as u32);
    picture(size, |area| {
        let mut x = 20;
        for (k, line) in first.lines.iter().enumerate() {
            let style = PALETTE[k % PALETTE.len()].stroke_width(2);
            area.draw(&PathElement::new([(x, 24), (x + 28, 24)], style)).map_err(failed)?;
            let (at, fill) = ((x + 14, 24), style.filled());
            match k % 3 {
                0 => area.draw(&Circle::new(at, 4, fill)),
                1 => area.draw(&TriangleMarker::new(at, 6, fill)),
                _ => area.draw(&Cross::new(at, 4, style)),
            }
            .map_err(failed)?;
            text(area, &line.label, (x + 36, 24), PLAIN)?;
            x += 36 + 8 * line.label.chars().count() as i32 + 30;
        }
        for (n, panel) in panels.iter().enumerate() {
            let (column, row) = ((n % columns) as i32, (n / columns) as i32);
            let at = (column * PANEL.0, HEAD + row * PANEL.1);
            let part = area.clone().shrink(at, (PANEL.0, PANEL.1));
            draw(&part, panel)?;
        }
        Ok(())
    })
}

fn draw(area: &Area<'_>, panel: &SizeCurves) -> Result<()> {
    text(area, &panel.title, (66, 16), Text { size: 15, ..PLAIN })?;
    let points = || panel.lines.iter().flat_map(|l| &l.points);
    let ends = |value: &dyn Fn(&(usize, f64)) -> f64| {
        let of = points().map(value);
        (of.clone().fold(f64::INFINITY, f64::min), of.fold(0.0, f64::max))
    };
    let (left, right) = ends(&|p| p.0 as f64);
    let (low, high) = ends(&|p| p.1);
    let mut ticks: Vec<f64> = points().map(|p| p.0 as f64).collect();
    ticks.sort_by(f64::total_cmp);
    ticks.dedup();
    let mut chart = ChartBuilder::on(area)
        .margin_top(32)
        .margin_right(24)
        .margin_left(4)
        .x_label_area_size(44)
        .y_label_area_size(58)
        .build_cartesian_2d(
            (left / 1.2..right * 1.2).log_scale().with_key_points(ticks),
            (low / 1.6..high * 1.6).log_scale(),
        )
        .map_err(failed)?;
    ruled(&mut chart.configure_mesh(), 12)
        .x_desc(&panel.unit)
        .x_labels(7)
        .y_labels(6)
        .x_label_formatter(&|x| count(*x))
        .y_label_formatter(&|y| match panel.quantity {
            Quantity::Seconds => duration(*y),
            Quantity::Bytes => bytes(*y),
        })
        .draw()
        .map_err(failed)?;
    for (k, line) in panel.lines.iter().enumerate() {
        let at = || line.points.iter().map(|&(size, seconds)| (size as f64, seconds));
        let style = PALETTE[k % PALETTE.len()].stroke_width(2);
        chart.draw_series(LineSeries::new(at(), style)).map_err(failed)?;
        match k % 3 {
            0 => chart.draw_series(at().map(|p| Circle::new(p, 4, style.filled()))).map(drop),
            1 => chart.draw_series(at().map(|p| TriangleMarker::new(p, 6, style.filled()))).map(drop),
            _ => chart.draw_series(at().map(|p| Cross::new(p, 4, style))).map(drop),
        }
        .map_err(failed)?;
    }
    Ok(())
}

/// Powers of two with their prefix, 65,536 as 64 Ki; others with a decimal one.
fn count(x: f64) -> String {
    const KI: f64 = 1024.0;
    match x {
        x if x >= KI * KI && x % (KI * KI) == 0.0 => format!("{} Mi", x / (KI * KI)),
        x if x > KI && x % KI == 0.0 => format!("{} Ki", x / KI),
        x if x >= 1e6 => format!("{}M", x / 1e6),
        x if x >= 1e4 => format!("{}k", x / 1e3),
        x => format!("{x:.0}"),
    }
}

fn duration(seconds: f64) -> String {
    // Powers of ten come out of logarithms a little beside themselves.
    let round = |x: f64| (x * 1e3).round() / 1e3;
    match seconds {
        s if s >= 0.9995 => format!("{} s", round(s)),
        s if s >= 0.9995e-3 => format!("{} ms", round(s * 1e3)),
        s if s >= 0.9995e-6 => format!("{} µs", round(s * 1e6)),
        s => format!("{} ns", round(s * 1e9)),
    }
}

fn bytes(n: f64) -> String {
    match n {
        n if n >= 1e9 => format!("{:.0} GB", n / 1e9),
        n if n >= 1e6 => format!("{:.0} MB", n / 1e6),
        n if n >= 1e3 => format!("{:.0} kB", n / 1e3),
        n => format!("{n:.0} B"),
    }
}
