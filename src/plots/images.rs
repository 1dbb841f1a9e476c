//! Images that a model got wrong or made, and what its first layer looks for.

use plotters::prelude::*;
use plotters::style::text_anchor::HPos;

use super::{
    Area, BLUE, GREY, INK, PLAIN, Text, VERMILLION, blend, crisp, name, percent, raster, rectangle, short,
    text,
};
use crate::error::{Error, Result};

/// Tiles of a picture at most.
const TILES: usize = 64;
/// Images of a grid at most: a picture of more is larger than what shows it likes to open.
const GRID_IMAGES: usize = 1024;

/// An image that was taken for another class.
#[derive(Debug, Clone, PartialEq)]
pub struct Mistake {
    /// Its row in the data set.
    pub row: usize,
    /// Its values, `[channels, height, width]`, row-major; any scale.
    pub values: Vec<f32>,
    /// Its class.
    pub class: usize,
    /// How probable the model held it, from 0 to 1.
    pub probability: f64,
    /// The class it was taken for.
    pub taken_for: usize,
    /// How probable the model held that.
    pub taken_for_probability: f64,
}

/// Channels, height and width, none of them 0.
fn extents(shape: &[usize]) -> Result<[usize; 3]> {
    match *shape {
        [c, h, w] if c * h * w > 0 => Ok([c, h, w]),
        [h, w] if h * w > 0 => Ok([1, h, w]),
        _ => Err(Error::Invalid(format!("{shape:?} is no shape of an image: channels, height, width"))),
    }
}

/// Draws images on one scale, so that they can be compared.
struct Painter {
    shape: [usize; 3],
    low: f32,
    high: f32,
}

impl Painter {
    /// For images `[channels, height, width]` whose values are these: from the lowest to the highest of all.
    fn of<'v>(shape: [usize; 3], images: impl Iterator<Item = &'v [f32]>) -> Self {
        let fold = |[low, high]: [f32; 2], v: f32| [low.min(v), high.max(v)];
        let finite = images.flatten().copied().filter(|v| v.is_finite());
        let [low, high] = finite.fold([f32::INFINITY, f32::NEG_INFINITY], fold);
        Painter { shape, low, high }
    }

    /// Three channels are red, green and blue; of any other number the first is shown, high values dark.
    fn draw(&self, area: &Area<'_>, at: (i32, i32), cell: i32, values: &[f32]) -> Result<()> {
        let [channels, h, w] = self.shape;
        let share = |v: f32| f64::from((v - self.low) / (self.high - self.low).max(f32::MIN_POSITIVE));
        raster(area, at, cell, (h, w), |i, j| {
            let at = |c: usize| share(values[(c * h + i) * w + j]);
            match channels {
                3 => {
                    let [r, g, b] = [0, 1, 2].map(|c| (at(c).clamp(0.0, 1.0) * 255.0).round() as u8);
                    RGBColor(r, g, b)
                }
                _ => blend(WHITE, INK, at(0)),
            }
        })
    }
}

/// The images of `list`, in its order, at most 64, with class, what they were taken for, and both probabilities; `shape`
/// is `[channels, height, width]` or `[height, width]`. Three channels are red, green and blue; of any other number the
/// first is shown, high values dark.
///
/// # Errors
/// [`Error::Invalid`] where `shape` is none of these, or an image has another number of values.
pub fn mistakes(shape: &[usize], list: &[Mistake], names: &[String]) -> Result<String> {
    let [channels, h, w] = extents(shape)?;
    if let Some(bad) = list.iter().find(|m| m.values.len() != channels * h * w) {
        return Err(Error::Invalid(format!(
            "row {} has {} values; an image of {shape:?} has {}",
            bad.row,
            bad.values.len(),
            channels * h * w
        )));
    }
    if list.is_empty() {
        return crisp((360, 60), |area| text(area, "no mistakes", (16, 30), Text { size: 16, ..PLAIN }));
    }
    let list = &list[..list.len().min(TILES)];
    let painter = Painter::of([channels, h, w], list.iter().map(|m| &m.values[..]));

    let cell = (112 / w.max(h) as i32).max(1);
    let (tile_w, tile_h) = ((cell * w as i32).max(118) + 22, cell * h as i32 + 64);
    let columns = list.len().min(6);
    let rows = list.len().div_ceil(columns);
    let size = ((columns as i32 * tile_w + 22).max(620), rows as i32 * tile_h + 52);
    crisp((size.0 as u32, size.1 as u32), |area| {
        text(
            area,
            "the worst mistakes: what was said, and what is (probability)",
            (22, 22),
            Text { size: 16, ..PLAIN },
        )?;
        for (n, m) in list.iter().enumerate() {
            let x = 22 + (n % columns) as i32 * tile_w;
            let y = 46 + (n / columns) as i32 * tile_h;
            painter.draw(area, (x, y), cell, &m.values)?;
            let below = y + cell * h as i32;
            let line = |class: usize, p: f64, what: &str, color: RGBColor, dy: i32| {
                let label = format!("{what} {} ({})", short(&name(names, class), 10), percent(p));
                text(area, &label, (x, below + dy), Text { size: 13, color, ..PLAIN })
            };
            line(m.taken_for, m.taken_for_probability, "said", VERMILLION, 14)?;
            line(m.class, m.probability, "is", INK, 31)?;
        }
        Ok(())
    })
}

/// A row of [`images`].
#[derive(Debug, Clone, PartialEq)]
pub struct ImageRow {
    /// What it shows, such as an epoch.
    pub label: String,
    /// The values of each image, `[channels, height, width]`, row-major; any scale.
    pub images: Vec<Vec<f32>>,
}

/// Images in rows, each after its label, all on one scale: reconstructions below what they are of, what a generator made of each
/// class by epoch. `shape` is `[channels, height, width]` or `[height, width]`, and `columns` says what the columns are, or is
/// empty. Three channels are red, green and blue; of any other number the first is shown, high values dark.
///
/// ```
/// use wgrad::plots::{ImageRow, images};
/// let row = |label: &str, value: f32| ImageRow { label: label.into(), images: vec![vec![value; 16]; 3] };
/// let svg = images("three squares", &[4, 4], &[], &[row("white", 0.0), row("black", 1.0)])?;
/// assert!(svg.starts_with("<svg") && svg.contains("black"));
/// # Ok::<(), wgrad::Error>(())
/// ```
///
/// # Errors
/// [`Error::Invalid`] where `shape` is none of these, an image has another number of values, there is no image, or there are more
/// than 1,024.
pub fn images(title: &str, shape: &[usize], columns: &[String], rows: &[ImageRow]) -> Result<String> {
    let [channels, h, w] = extents(shape)?;
    for row in rows {
        if let Some(at) = row.images.iter().position(|image| image.len() != channels * h * w) {
            return Err(Error::Invalid(format!(
                "image {at} of row `{}` has {} values; an image of {shape:?} has {}",
                row.label,
                row.images[at].len(),
                channels * h * w
            )));
        }
    }
    let across = rows.iter().map(|row| row.images.len()).max().unwrap_or(0);
    if across == 0 || across.saturating_mul(rows.len()) > GRID_IMAGES {
        return Err(Error::Invalid(format!(
            "{} rows of up to {across} images; a picture takes 1 to {GRID_IMAGES}",
            rows.len()
        )));
    }
    let painter = Painter::of([channels, h, w], rows.iter().flat_map(|row| &row.images).map(Vec::as_slice));
    let cell = (48 / w.max(h) as i32).max(1);
    let (tile_w, tile_h) = (cell * w as i32 + 6, cell * h as i32 + 6);
    // As wide as their letters at most are.
    let longest = rows.iter().map(|row| short(&row.label, 24).chars().count()).max().unwrap_or(0);
    let (left, top) = (30 + 8 * longest as i32, if columns.is_empty() { 44 } else { 62 });
    let width = (left + across as i32 * tile_w + 16).max(44 + 10 * title.chars().count() as i32);
    let height = top + rows.len() as i32 * tile_h + 12;
    crisp((width as u32, height as u32), |area| {
        text(area, title, (22, 22), Text { size: 16, ..PLAIN })?;
        for (i, column) in columns.iter().take(across).enumerate() {
            let at = (left + i as i32 * tile_w + cell * w as i32 / 2, 50);
            let room = (tile_w / 8).max(1) as usize;
            text(area, &short(column, room), at, Text { size: 13, h: HPos::Center, ..PLAIN })?;
        }
        for (n, row) in rows.iter().enumerate() {
            let y = top + n as i32 * tile_h;
            let middle = y + cell * h as i32 / 2;
            text(area, &short(&row.label, 24), (22, middle), Text { size: 13, color: GREY, ..PLAIN })?;
            for (i, image) in row.images.iter().enumerate() {
                painter.draw(area, (left + i as i32 * tile_w, y), cell, image)?;
            }
        }
        Ok(())
    })
}

/// The weights of a first layer as images, `shape` `[outputs, channels, height, width]`: one tile for each output and
/// channel, at most 64, on one scale. A linear layer's `[outputs, inputs]` can be shown this way where its inputs are an
/// image.
///
/// # Errors
/// [`Error::Invalid`] where the number of weights is not the product of `shape`, or there are none.
pub fn filters(weights: &[f32], shape: [usize; 4]) -> Result<String> {
    let [outputs, channels, h, w] = shape;
    if weights.is_empty() || weights.len() != shape.iter().product::<usize>() {
        return Err(Error::Invalid(format!("{} weights do not fill {shape:?}", weights.len())));
    }
    let largest = weights.iter().map(|w| w.abs()).filter(|w| w.is_finite()).fold(0.0f32, f32::max);
    let color = |weight: f32| {
        let share = f64::from(weight / largest.max(f32::MIN_POSITIVE));
        blend(WHITE, if share < 0.0 { BLUE } else { VERMILLION }, share.abs())
    };
    let count = (outputs * channels).min(TILES);
    let cell = (72 / w.max(h) as i32).max(1);
    let (tile_w, tile_h) = ((cell * w as i32).max(48) + 14, cell * h as i32 + 30);
    // A filter's channels side by side, if they fit.
    let columns = match channels {
        1 => count.min(8),
        c => c.min(16).min(count),
    };
    let rows = count.div_ceil(columns);
    let size = ((columns as i32 * tile_w + 30).max(420), rows as i32 * tile_h + 100);
    crisp((size.0 as u32, size.1 as u32), |area| {
        let shown = if count < outputs * channels {
            format!("the first {count} of {} filters, {h} × {w}", outputs * channels)
        } else {
            format!("{count} filters, {h} × {w}")
        };
        text(area, &format!("first layer: {shown}"), (22, 22), Text { size: 16, ..PLAIN })?;
        for n in 0..count {
            let x = 22 + (n % columns) as i32 * tile_w;
            let y = 46 + (n / columns) as i32 * tile_h;
            raster(area, (x, y), cell, (h, w), |i, j| color(weights[(n * h + i) * w + j]))?;
            let label = match channels {
                1 => n.to_string(),
                _ => format!("{}, channel {}", n / channels, n % channels),
            };
            let how = Text { size: 11, color: GREY, ..PLAIN };
            let label = if channels > 1 { label.replace(", channel ", "·") } else { label };
            text(area, &label, (x, y + cell * h as i32 + 9), how)?;
        }
        bar(area, (22, 46 + rows as i32 * tile_h + 8), largest, &color)
    })
}

/// The scale of the weights.
fn bar(area: &Area<'_>, (x, y): (i32, i32), largest: f32, color: &dyn Fn(f32) -> RGBColor) -> Result<()> {
    let (steps, width) = (63, 4);
    for i in 0..steps {
        let weight = largest * (2.0 * i as f32 / (steps - 1) as f32 - 1.0);
        let left = x + i * width;
        rectangle(area, (left, y), (left + width, y + 12), color(weight).filled())?;
    }
    let end = x + steps * width;
    rectangle(area, (x, y), (end, y + 12), GREY.stroke_width(1))?;
    for (at, value, h) in
        [(x, -largest, HPos::Left), ((x + end) / 2, 0.0, HPos::Center), (end, largest, HPos::Right)]
    {
        let label = if value == 0.0 { "0".into() } else { format!("{value:+.3}") };
        text(area, &label, (at, y + 24), Text { size: 12, h, ..PLAIN })?;
    }
    Ok(())
}
