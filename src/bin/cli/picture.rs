//! Images: read from PNG files, fitted to a model's input, shown in the terminal.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use clap::ValueEnum;

use super::{Failure, Outcome};

/// Whether dark and light are exchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Invert {
    /// Where a grey image is light at its border, as ink on paper is
    Auto,
    Yes,
    No,
}

/// Channels of one size with values from 0 to 1, one after another.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Picture {
    pub(super) channels: usize,
    pub(super) height: usize,
    pub(super) width: usize,
    pub(super) values: Vec<f32>,
}

/// Widest picture in a terminal, in pixels of two columns.
const WIDEST: usize = 32;

/// Pixels of the largest file that is read: 64 × 2^20.
const LARGEST: u64 = 64 << 20;

/// From dark to light.
const SHADES: [char; 5] = [' ', '░', '▒', '▓', '█'];

impl Picture {
    /// Reads a PNG file with 1 or 3 channels; what is transparent becomes white.
    pub(super) fn read(path: &Path, channels: usize) -> Outcome<Self> {
        let show = path.display();
        let fail = |e: &dyn std::fmt::Display| Failure::new(format!("{show}: {e}"));
        let mut decoder = png::Decoder::new(BufReader::new(File::open(path).map_err(|e| fail(&e))?));
        decoder.set_transformations(png::Transformations::normalize_to_color8());
        let mut reader = decoder.read_info().map_err(|e| fail(&format!("not a PNG image: {e}")))?;
        // A header of a few bytes may promise more than there is memory for.
        let (width, height) = reader.info().size();
        if u64::from(width) * u64::from(height) > LARGEST {
            let most = LARGEST >> 20;
            return Err(fail(&format!(
                "an image of {width} x {height} pixels; {most} megapixels are the most"
            )));
        }
        let size = reader.output_buffer_size();
        let size = size.ok_or_else(|| fail(&"the image is too large"))?;
        let mut bytes = vec![0; size];
        let frame = reader.next_frame(&mut bytes).map_err(|e| fail(&format!("a broken PNG image: {e}")))?;
        let (width, height) = (frame.width as usize, frame.height as usize);
        let stored = match frame.color_type {
            png::ColorType::Grayscale => 1,
            png::ColorType::GrayscaleAlpha => 2,
            png::ColorType::Rgb => 3,
            png::ColorType::Rgba => 4,
            png::ColorType::Indexed => return Err(fail(&"a palette that was not resolved")),
        };
        let mut values = vec![0.0; channels * width * height];
        for (at, pixel) in bytes[..frame.buffer_size()].chunks_exact(stored).enumerate() {
            let part = |k: usize| f32::from(pixel[k]) / 255.0;
            let alpha = if stored % 2 == 0 { part(stored - 1) } else { 1.0 };
            let colour = |k: usize| part(if stored < 3 { 0 } else { k }) * alpha + (1.0 - alpha);
            if channels == 3 {
                (0..3).for_each(|k| values[k * width * height + at] = colour(k));
            } else {
                // Luma of ITU-R BT.601.
                values[at] = 0.299 * colour(0) + 0.587 * colour(1) + 0.114 * colour(2);
            }
        }
        Ok(Picture { channels, height, width, values })
    }

    /// Whether the border is lighter than half.
    pub(super) fn is_on_paper(&self) -> bool {
        let is_border = |i: usize| {
            let (v, u) = (i / self.width % self.height, i % self.width);
            v == 0 || u == 0 || v + 1 == self.height || u + 1 == self.width
        };
        let border: Vec<f32> =
            self.values.iter().enumerate().filter(|(i, _)| is_border(*i)).map(|(_, &v)| v).collect();
        border.iter().sum::<f32>() > 0.5 * border.len() as f32
    }

    pub(super) fn inverted(mut self) -> Self {
        self.values.iter_mut().for_each(|v| *v = 1.0 - *v);
        self
    }

    /// The picture in another size: the means of what falls into each new pixel. Where the proportions differ,
    /// it is put in the middle, and the colour of its border's corner fills the rest.
    pub(super) fn fitted(&self, height: usize, width: usize) -> Picture {
        if (height, width) == (self.height, self.width) {
            return self.clone();
        }
        let scale = (height as f64 / self.height as f64).min(width as f64 / self.width as f64);
        let part = |full: usize, of: usize| ((of as f64 * scale).round() as usize).clamp(1, full);
        let (h, w) = (part(height, self.height), part(width, self.width));
        let (top, left) = ((height - h) / 2, (width - w) / 2);
        let mut values = Vec::with_capacity(self.channels * height * width);
        for plane in self.values.chunks_exact(self.height * self.width) {
            for v in 0..height {
                for u in 0..width {
                    let inside = (top..top + h).contains(&v) && (left..left + w).contains(&u);
                    values.push(match inside {
                        true => self.mean(plane, [v - top, h], [u - left, w]),
                        false => plane[0],
                    });
                }
            }
        }
        Picture { channels: self.channels, height, width, values }
    }

    /// The mean of `plane` over row `v` of `h` and column `u` of `w`, with fractions of pixels.
    fn mean(&self, plane: &[f32], [v, h]: [usize; 2], [u, w]: [usize; 2]) -> f32 {
        let span = |at: usize, of: usize, full: usize| {
            let step = full as f64 / of as f64;
            (at as f64 * step, (at + 1) as f64 * step)
        };
        let (rows, columns) = (span(v, h, self.height), span(u, w, self.width));
        let cover = |i: usize, (from, to): (f64, f64)| (to.min(i as f64 + 1.0) - from.max(i as f64)).max(0.0);
        let range = |(from, to): (f64, f64), full: usize| from as usize..(to.ceil() as usize).min(full);
        let (mut sum, mut area) = (0.0, 0.0);
        for i in range(rows, self.height) {
            for j in range(columns, self.width) {
                let share = cover(i, rows) * cover(j, columns);
                sum += share * f64::from(plane[i * self.width + j]);
                area += share;
            }
        }
        (sum / area.max(1e-12)) as f32
    }

    /// Lines of text, two columns a pixel; colours by their mean.
    pub(super) fn lines(&self) -> Vec<String> {
        let plane = self.height * self.width;
        let grey = |i: usize| {
            (0..self.channels).map(|c| self.values[c * plane + i]).sum::<f32>() / self.channels as f32
        };
        let grey = Picture { channels: 1, values: (0..plane).map(grey).collect(), ..self.clone() };
        let small = match self.width.max(self.height) {
            longest if longest > WIDEST => {
                let part = |n: usize| (n * WIDEST / longest).max(1);
                grey.fitted(part(self.height), part(self.width))
            }
            _ => grey,
        };
        let shade = |v: f32| SHADES[(v.clamp(0.0, 1.0) * (SHADES.len() - 1) as f32).round() as usize];
        let row = |row: &[f32]| row.iter().flat_map(|&v| [shade(v); 2]).collect();
        small.values.chunks_exact(small.width).map(row).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grey(height: usize, width: usize, values: &[f32]) -> Picture {
        Picture { channels: 1, height, width, values: values.to_vec() }
    }

    #[test]
    fn sizes_change_by_means() {
        let four = grey(2, 2, &[0.0, 1.0, 0.5, 0.5]);
        assert_eq!(four.fitted(1, 1).values, [0.5]);
        assert_eq!(four.fitted(4, 4).values[..4], [0.0, 0.0, 1.0, 1.0]);
        let three = grey(1, 3, &[0.0, 0.5, 1.0]);
        // A wide image keeps its proportions, in the middle.
        let y = grey(1, 4, &[0.25, 1.0, 1.0, 0.25]).fitted(3, 4);
        assert_eq!(y.values[..4], [0.25; 4]);
        assert_eq!(y.values[4..8], [0.25, 1.0, 1.0, 0.25]);
        let two = three.mean(&three.values, [0, 1], [0, 2]);
        assert!((two - 1.0 / 6.0).abs() < 1e-6, "{two}");
    }

    #[test]
    fn paper_is_light_at_the_border() {
        assert!(grey(3, 3, &[1.0, 1.0, 1.0, 1.0, 0.0, 1.0, 1.0, 1.0, 1.0]).is_on_paper());
        let ink = grey(3, 3, &[0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0]);
        assert!(!ink.is_on_paper() && ink.clone().inverted().is_on_paper());
    }

    #[test]
    fn pictures_are_lines_of_shades() {
        assert_eq!(grey(2, 2, &[0.0, 0.25, 0.75, 1.0]).lines(), ["  ░░", "▓▓██"]);
        assert_eq!(grey(64, 64, &vec![1.0; 64 * 64]).lines().len(), 32);
    }
}
