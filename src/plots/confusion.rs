//! The confusion matrix.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

use super::{
    BLUE, GREY, GRID, INK, PLAIN, Text, VERMILLION, blend, crisp, name, percent, rectangle, short, text,
};
use crate::error::{Error, Result};

/// Characters of a class's name that are shown.
const NAME: usize = 14;

/// Classes beyond which cells have no counts.
const COUNTED: usize = 40;

/// Classes of a picture at most: cells of more are too small to tell apart, and the file grows with their square.
pub const MOST_CLASSES: usize = 200;

/// How often rows of each class were taken for each class: `counts[i][j]` of class `i` for `j`, as
/// [`crate::train::Evaluation::confusion`] has them. Classes are called by `names`; those without one by their number.
///
/// What is right is blue, what is wrong vermillion, both by their share of the class; beside each row stands the share
/// that is right.
///
/// # Errors
/// [`Error::Invalid`] where the matrix is empty, not square, or of more than [`MOST_CLASSES`] classes.
pub fn confusion(counts: &[Vec<u32>], names: &[String]) -> Result<String> {
    let k = counts.len();
    if k == 0 || counts.iter().any(|row| row.len() != k) {
        return Err(Error::Invalid("a confusion matrix has as many rows as columns, at least one".into()));
    }
    if k > MOST_CLASSES {
        return Err(Error::Invalid(format!(
            "a picture shows the confusion of {MOST_CLASSES} classes at most, and there are {k}; draw some of them, or \
             print the counts"
        )));
    }
    let total = |row: &[u32]| row.iter().map(|&c| u64::from(c)).sum::<u64>();
    let all: u64 = counts.iter().map(|row| total(row)).sum();
    let right: u64 = counts.iter().enumerate().map(|(i, row)| u64::from(row[i])).sum();
    let names: Vec<String> = (0..k).map(|c| short(&name(names, c), NAME)).collect();
    let longest = names.iter().map(|n| n.chars().count()).max().unwrap_or(1) as i32;

    // A cell holds its count, and classes of many digits more than few.
    let widest = counts.iter().flatten().max().map_or(1, |c| c.to_string().len()) as i32;
    let cell = match k {
        k if k > COUNTED => 12,
        k => (560 / k as i32).clamp(24, 52).max(9 * widest + 8),
    };
    let font = ((cell * 2 / 5) as u32).clamp(9, 16);
    let label = font.min(14);
    let beside = longest * (label as i32) * 6 / 10 + 14;
    let upwards = longest > 3;
    let above = if upwards { beside } else { label as i32 + 12 };
    let (left, top) = (34 + beside, 78 + above);
    let side = cell * k as i32;
    let size = ((left + side + 74).max(360) as u32, (top + side + 20) as u32);

    crisp(size, |area| {
        let title = format!("{right} of {all} right ({})", percent(right as f64 / all.max(1) as f64));
        text(area, &title, (16, 22), Text { size: 16, ..PLAIN })?;
        let middle = left + side / 2;
        let centred = Text { h: HPos::Center, color: GREY, ..PLAIN };
        text(area, "taken for", (middle, 56), centred)?;
        text(area, "class", (18, top + side / 2), Text { upwards: true, ..centred })?;
        text(area, "right", (left + side + 10, top - 12), Text { color: GREY, size: label, ..PLAIN })?;
        for i in 1..k as i32 {
            let (x, y) = (left + i * cell, top + i * cell);
            rectangle(area, (left, y), (left + side, y), GRID.stroke_width(1))?;
            rectangle(area, (x, top), (x, top + side), GRID.stroke_width(1))?;
        }
        for (i, row) in counts.iter().enumerate() {
            let y = top + i as i32 * cell;
            let of_class = total(row).max(1) as f64;
            let beside = Text { h: HPos::Right, size: label, ..PLAIN };
            text(area, &names[i], (left - 8, y + cell / 2), beside)?;
            let x = left + i as i32 * cell + cell / 2;
            let above = match upwards {
                true => Text { upwards: true, size: label, ..PLAIN },
                false => Text { h: HPos::Center, v: VPos::Bottom, size: label, ..PLAIN },
            };
            text(area, &names[i], (x, top - 8), above)?;
            let share = f64::from(row[i]) / of_class;
            let shown = if total(row) == 0 { "–".into() } else { percent(share) };
            text(area, &shown, (left + side + 10, y + cell / 2), Text { size: label, ..PLAIN })?;
            for (j, &count) in row.iter().enumerate().filter(|(_, count)| **count > 0) {
                let x = left + j as i32 * cell;
                let share = f64::from(count) / of_class;
                // Errors are few beside correct predictions, so shade by the square root, from a fifth on.
                let depth = 0.2 + 0.8 * share.sqrt();
                let color = blend(WHITE, if i == j { BLUE } else { VERMILLION }, depth);
                rectangle(area, (x, y), (x + cell, y + cell), color.filled())?;
                rectangle(area, (x, y), (x + cell, y + cell), GRID.stroke_width(1))?;
                if k <= COUNTED {
                    let color = if depth > 0.55 { WHITE } else { INK };
                    let how = Text { size: font, color, h: HPos::Center, ..PLAIN };
                    text(area, &count.to_string(), (x + cell / 2, y + cell / 2), how)?;
                }
            }
        }
        rectangle(area, (left, top), (left + side, top + side), GREY.stroke_width(1))
    })
}
