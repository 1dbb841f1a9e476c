//! Paths of optimizers over a function of two numbers.

use plotters::prelude::*;
use plotters::style::text_anchor::HPos;

use super::{GREY, INK, PALETTE, PLAIN, Text, blend, failed, picture, raster, short, text};
use crate::error::{Error, Result};

/// Cells of a side, and their pixels.
const CELLS: usize = 110;
const CELL: i32 = 4;
/// Steps of shade from the lowest values to the highest: their edges are the contour lines.
const LEVELS: f64 = 16.0;
/// Where the map begins.
const AT: (i32, i32) = (56, 40);

/// Paths over the map of `f(x, y)`, darker where it is lower, with levels in equal shares of the area: the valleys stay visible
/// whatever the scale of the function. `x` and `y` are the ends of its sides. A path is a name and its points; what leaves
/// the map is drawn at its edge. There are six colours.
///
/// # Errors
/// [`Error::Invalid`] for sides without extent, or where `f` is nowhere finite.
pub fn paths(
    title: &str,
    f: impl Fn(f64, f64) -> f64,
    x: [f64; 2],
    y: [f64; 2],
    paths: &[(String, Vec<[f64; 2]>)],
) -> Result<String> {
    let is_range = |[low, high]: [f64; 2]| low.is_finite() && high.is_finite() && low < high;
    if !is_range(x) || !is_range(y) {
        return Err(Error::Invalid(format!("a map has an extent along both sides, got {x:?} and {y:?}")));
    }
    let center = |[low, high]: [f64; 2], i: usize| low + (high - low) * (i as f64 + 0.5) / CELLS as f64;
    let value = |row: usize, column: usize| f(center(x, column), center(y, CELLS - 1 - row));
    let all: Vec<f64> = (0..CELLS * CELLS).map(|i| value(i / CELLS, i % CELLS)).collect();
    let mut sorted: Vec<f64> = all.iter().copied().filter(|v| v.is_finite()).collect();
    sorted.sort_by(f64::total_cmp);
    if sorted.is_empty() {
        return Err(Error::Invalid("the function is nowhere finite there".into()));
    }
    let shade = |row: usize, column: usize| {
        let value = all[row * CELLS + column];
        let share = sorted.partition_point(|v| *v < value) as f64 / sorted.len() as f64;
        blend(RGBColor(120, 150, 185), WHITE, (share * LEVELS).floor() / (LEVELS - 1.0))
    };
    let side = CELLS as i32 * CELL;
    let place = |p: &[f64; 2]| {
        let along =
            |v: f64, [low, high]: [f64; 2]| ((v - low) / (high - low)).clamp(0.0, 1.0) * f64::from(side);
        (AT.0 + along(p[0], x).round() as i32, AT.1 + side - along(p[1], y).round() as i32)
    };
    let height = (AT.1 + side + 56).max(AT.1 + 22 * (paths.len() as i32 + 2)) as u32;
    picture(((AT.0 + side + 190) as u32, height), |area| {
        text(area, &short(title, 60), (AT.0, 20), Text { size: 16, ..PLAIN })?;
        raster(area, AT, CELL, (CELLS, CELLS), shade)?;
        for (i, (name, points)) in paths.iter().enumerate() {
            let color = PALETTE[i % PALETTE.len()];
            let style = color.stroke_width(2);
            let finite = points.iter().filter(|p| p.iter().all(|v| v.is_finite()));
            let line: Vec<(i32, i32)> = finite.map(place).collect();
            if let Some(&end) = line.last() {
                area.draw(&Circle::new(end, 4, color.filled())).map_err(failed)?;
            }
            area.draw(&PathElement::new(line, style)).map_err(failed)?;
            let (left, top) = (AT.0 + side + 14, AT.1 + 10 + 22 * i as i32);
            area.draw(&PathElement::new(vec![(left, top), (left + 22, top)], style)).map_err(failed)?;
            text(area, &short(name, 20), (left + 30, top), PLAIN)?;
        }
        if let Some(start) = paths.iter().find_map(|(_, points)| points.first()) {
            area.draw(&Circle::new(place(start), 5, INK.stroke_width(2))).map_err(failed)?;
        }
        let small = Text { size: 12, color: GREY, ..PLAIN };
        let below = AT.1 + side + 14;
        text(area, &format!("{}", x[0]), (AT.0, below), small)?;
        text(area, &format!("{}", x[1]), (AT.0 + side, below), Text { h: HPos::Right, ..small })?;
        text(area, &format!("{}", y[0]), (AT.0 - 6, AT.1 + side - 6), Text { h: HPos::Right, ..small })?;
        text(area, &format!("{}", y[1]), (AT.0 - 6, AT.1 + 6), Text { h: HPos::Right, ..small })
    })
}
