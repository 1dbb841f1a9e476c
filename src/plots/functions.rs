//! Functions of one number.

use plotters::prelude::*;
use plotters::style::text_anchor::HPos;

use super::{GREY, GRID, INK, PALETTE, PLAIN, Text, failed, picture, short, text};
use crate::error::{Error, Result};

/// Names of lines beside each other, and the height of a row of them.
const IN_A_ROW: usize = 2;
const ROW: i32 = 20;

/// Functions of one number over the same points: names and values, of which those within `range` are shown. Lines after the first
/// are dashed, so that they are told apart without colour. There are six colours. The names stand above, two in a row.
///
/// # Errors
/// [`Error::Invalid`] without two points, or where one is not above the one before it, where a function has another number of values, or for a range without
/// extent.
pub fn functions(
    title: &str,
    axis: &str,
    x: &[f32],
    lines: &[(&str, &[f32])],
    [low, high]: [f32; 2],
) -> Result<String> {
    let is_range = |low: f32, high: f32| low.is_finite() && high.is_finite() && low < high;
    let is_ascending = x.len() > 1 && x.windows(2).all(|pair| is_range(pair[0], pair[1]));
    if !is_ascending || !is_range(low, high) || lines.iter().any(|(_, y)| y.len() != x.len()) {
        return Err(Error::Invalid(
            "a function of ascending points with a value at each has a picture".into(),
        ));
    }
    let (first, last) = (x[0], x[x.len() - 1]);
    let rows = lines.len().div_ceil(IN_A_ROW) as i32;
    let above = 64 + ROW * (rows - 1).max(0);
    let room = 0.05 * (high - low);
    let (low, high) = (f64::from(low - room), f64::from(high + room));
    picture((640, 356 + above as u32), |area| {
        text(area, &short(title, 70), (20, 20), Text { size: 16, ..PLAIN })?;
        let mut chart = ChartBuilder::on(area)
            .margin(16)
            .margin_top(above)
            .x_label_area_size(44)
            .y_label_area_size(56)
            .build_cartesian_2d(f64::from(first)..f64::from(last), low..high)
            .map_err(failed)?;
        chart
            .configure_mesh()
            .light_line_style(WHITE)
            .bold_line_style(GRID)
            .axis_style(GREY)
            .label_style(("sans-serif", 13).into_font().color(&INK))
            .x_desc(axis)
            .draw()
            .map_err(failed)?;
        let zeros = [[(f64::from(first), 0.0), (f64::from(last), 0.0)], [(0.0, low), (0.0, high)]];
        let is_inside = |(at, y): (f64, f64)| {
            (f64::from(first)..=f64::from(last)).contains(&at) && (low..=high).contains(&y)
        };
        for ends in zeros.into_iter().filter(|ends| ends.iter().all(|&end| is_inside(end))) {
            chart.draw_series([PathElement::new(ends.to_vec(), GREY.stroke_width(1))]).map_err(failed)?;
        }
        for (i, (name, y)) in lines.iter().enumerate() {
            let style = PALETTE[i % PALETTE.len()].stroke_width(2);
            let points = x.iter().zip(*y).map(|(&x, &y)| (f64::from(x), f64::from(y)));
            let points: Vec<(f64, f64)> = points.collect();
            // Parts that are shown, each a line of its own.
            for part in points.split(|&point| !is_inside(point)).filter(|part| part.len() > 1) {
                match i {
                    0 => chart.draw_series(LineSeries::new(part.iter().copied(), style)).map_err(failed)?,
                    _ => {
                        let dashed = DashedLineSeries::new(part.iter().copied(), 7, 5, style);
                        chart.draw_series(dashed).map_err(failed)?
                    }
                };
            }
            let (left, top) = (20 + 300 * (i % IN_A_ROW) as i32, 46 + ROW * (i / IN_A_ROW) as i32);
            area.draw(&PathElement::new(vec![(left, top), (left + 26, top)], style)).map_err(failed)?;
            text(area, &short(name, 34), (left + 34, top), Text { h: HPos::Left, ..PLAIN })?;
        }
        Ok(())
    })
}
