//! Pictures of runs and benches, as SVG: what a training run learnt, where its model is wrong, images that it made, what its first
//! layer looks for, which learning rates it takes, the paths of optimizers, functions of one number, and how long ops take by size.
//!
//! Every function takes plain records and returns the text of an SVG, which stands on white, so that it can be read on
//! pages of any colour. Colours are those of Okabe and Ito's palette (2008), told apart by colour-blind readers, and
//! lines differ in their marks too.
//!
//! ```
//! # fn main() -> wgrad::Result<()> {
//! let svg = wgrad::plots::confusion(&[vec![9, 1], vec![0, 10]], &["cat".into(), "dog".into()])?;
//! assert!(svg.starts_with("<svg") && svg.contains("19 of 20 right"));
//! # Ok(())
//! # }
//! ```

mod confusion;
mod curves;
mod functions;
mod images;
mod paths;
mod rates;
mod regression;
mod sizes;
#[cfg(test)]
mod tests;

pub use confusion::{MOST_CLASSES, confusion};
pub use curves::curves;
pub use functions::functions;
pub use images::{ImageRow, Mistake, filters, images, mistakes};
pub use paths::paths;
pub use rates::rates;
pub use regression::{predicted, residuals};
pub use sizes::{Quantity, SizeCurves, SizeLine, sizes};

use std::fmt::Display;
use std::path::Path;

use plotters::chart::MeshStyle;
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::error::{Error, Result};

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Okabe and Ito: blue, vermillion, bluish green, reddish purple, orange, sky blue.
const PALETTE: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
];
const BLUE: RGBColor = PALETTE[0];
const VERMILLION: RGBColor = PALETTE[1];
/// Text, and what is less than that.
const INK: RGBColor = RGBColor(34, 34, 34);
const GREY: RGBColor = RGBColor(110, 110, 110);
const GRID: RGBColor = RGBColor(225, 225, 225);

/// Writes a picture, by way of a temporary file, so that a crash leaves the old one.
///
/// # Errors
/// [`Error::Io`].
pub fn save(path: impl AsRef<Path>, svg: &str) -> Result<()> {
    crate::files::write_renamed(path.as_ref(), svg.as_bytes())
}

/// What plotters could not draw.
fn failed(error: impl Display) -> Error {
    Error::Invalid(format!("the picture cannot be drawn: {error}"))
}

/// An SVG of `size` pixels on white.
fn picture(size: (u32, u32), draw: impl FnOnce(&Area<'_>) -> Result<()>) -> Result<String> {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        area.fill(&WHITE).map_err(failed)?;
        draw(&area)?;
        area.present().map_err(failed)?;
    }
    Ok(svg)
}

/// The same, of rectangles that touch: without smoothing, which would show seams.
fn crisp(size: (u32, u32), draw: impl FnOnce(&Area<'_>) -> Result<()>) -> Result<String> {
    Ok(picture(size, draw)?.replacen("<svg ", "<svg shape-rendering=\"crispEdges\" ", 1))
}

/// How a text stands at its place.
#[derive(Clone, Copy)]
struct Text {
    size: u32,
    color: RGBColor,
    h: HPos,
    v: VPos,
    upwards: bool,
}

const PLAIN: Text = Text { size: 14, color: INK, h: HPos::Left, v: VPos::Center, upwards: false };

fn text(area: &Area<'_>, text: &str, at: (i32, i32), how: Text) -> Result<()> {
    let font = ("sans-serif", how.size).into_font();
    let font = if how.upwards { font.transform(FontTransform::Rotate270) } else { font };
    let style = TextStyle::from(font).color(&how.color).pos(Pos::new(how.h, how.v));
    area.draw_text(text, &style, at).map_err(failed)
}

/// The lines and letters of all charts, on the mesh of one.
fn ruled<'m, 'a, 'b, X: Ranged, Y: Ranged, DB: DrawingBackend>(
    mesh: &'m mut MeshStyle<'a, 'b, X, Y, DB>,
    size: u32,
) -> &'m mut MeshStyle<'a, 'b, X, Y, DB> {
    let label = ("sans-serif", size).into_font().color(&INK);
    mesh.light_line_style(WHITE).bold_line_style(GRID).axis_style(GREY).label_style(label)
}

fn rectangle(area: &Area<'_>, from: (i32, i32), to: (i32, i32), style: ShapeStyle) -> Result<()> {
    area.draw(&Rectangle::new([from, to], style)).map_err(failed)
}

/// A grid of squares of `cell` pixels from `at`. Neighbours of one colour in a row are one rectangle.
fn raster(
    area: &Area<'_>,
    at: (i32, i32),
    cell: i32,
    (rows, columns): (usize, usize),
    color: impl Fn(usize, usize) -> RGBColor,
) -> Result<()> {
    for row in 0..rows {
        let top = at.1 + row as i32 * cell;
        let mut column = 0;
        while column < columns {
            let shade = color(row, column);
            let start = column;
            while column < columns && color(row, column) == shade {
                column += 1;
            }
            let (left, right) = (at.0 + start as i32 * cell, at.0 + column as i32 * cell);
            rectangle(area, (left, top), (right, top + cell), shade.filled())?;
        }
    }
    let to = (at.0 + columns as i32 * cell, at.1 + rows as i32 * cell);
    rectangle(area, at, to, GREY.stroke_width(1))
}

/// Between two colours: `share` 0 is `from`, 1 is `to`. In 64 steps, which no eye tells apart.
fn blend(from: RGBColor, to: RGBColor, share: f64) -> RGBColor {
    let share = if share.is_finite() { (share.clamp(0.0, 1.0) * 63.0).round() / 63.0 } else { 0.0 };
    let mix = |a: u8, b: u8| (f64::from(a) + (f64::from(b) - f64::from(a)) * share).round() as u8;
    RGBColor(mix(from.0, to.0), mix(from.1, to.1), mix(from.2, to.2))
}

/// The name of a class; its number where it has none.
fn name(names: &[String], class: usize) -> String {
    names.get(class).cloned().unwrap_or_else(|| class.to_string())
}

/// At most `max` characters.
fn short(text: &str, max: usize) -> String {
    if text.chars().count() <= max {
        return text.into();
    }
    text.chars().take(max.saturating_sub(1)).chain(['…']).collect()
}

fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}
