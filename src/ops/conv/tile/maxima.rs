//! The end of a tile's kernel that stores the maxima of windows and their places instead of the outputs.

use std::fmt::Write;

use super::{Store, Tile, in_a_row};
use crate::ops::text::{component, vector_type};

impl Tile {
    /// Adds the bias, applies what follows, and stores the first of the largest of each window, channel by channel. The
    /// tile consists of whole windows, and so does the plane.
    pub(super) fn write_maxima(&self, t: &mut String, [height, width]: [usize; 2], finishes: bool) {
        let n = self.store.vector();
        let across = self.columns / width;
        let windows = self.rows / height * across;
        let _ = write!(
            t,
            "    let first = plane % p.groups * p.m;\n    let inner = oy * p.ow + ox;\n    \
             let pooled_ow = p.ow / {width}u;\n    let pooled = p.oh / {height}u * pooled_ow;\n    \
             let pooled_inner = oy / {height}u * pooled_ow + ox / {width}u;\n",
        );
        for i in 1..height * width {
            let _ = writeln!(t, "    let step{i} = {}u * p.ow + {}u;", i / width, i % width);
        }
        t.push_str("    let has_bias = p.has_bias != 0u;\n");
        let blocks = |v| self.channels(v, windows / n).into_iter().map(move |(head, l)| (head, (v, l)));
        for (head, channel) in (0..self.vectors).flat_map(blocks) {
            t.push_str(&head);
            t.push_str(
                "        \
                 let b = select(0.0, bias[select(0u, first + at_channel, has_bias)], has_bias);\n        \
                 let whole = plane * p.m + at_channel;\n        \
                 let origin = whole * p.oh * p.ow + inner;\n        \
                 let to = whole * pooled + pooled_inner;\n",
            );
            for unit in 0..windows / n {
                let (row, column) = (unit * n / across, unit * n % across);
                let down = format!("{}u", row * height);
                let inside = self.inside([row, column * width], &down);
                let at = match (self.store, n) {
                    (Store::Plane(_), _) => format!("to / {n}u + {unit}u"),
                    (_, 1) => format!("to + {row}u * pooled_ow + {column}u"),
                    _ => format!("(to + {row}u * pooled_ow + {column}u) / {n}u"),
                };
                let _ = match inside.filter(|_| !self.exact) {
                    None => writeln!(t, "        {{"),
                    Some(inside) => writeln!(t, "        if ({inside}) {{"),
                };
                let (mut values, mut places) = (Vec::new(), Vec::new());
                for window in unit * n..unit * n + n {
                    let corner = (window / across * height, window % across * width);
                    let (value, place) = self.largest(t, [height, width], corner, channel, finishes);
                    values.push(value);
                    places.push(place);
                }
                let vector = |element: &str, values: Vec<String>| match n {
                    1 => values.concat(),
                    _ => format!("{}({})", vector_type(element, n), values.join(", ")),
                };
                let _ = writeln!(t, "            y[{at}] = {};", vector("f32", values));
                let _ = writeln!(t, "            places[{at}] = {};\n        }}", vector("u32", places));
            }
            t.push_str("    }\n");
        }
    }

    /// The largest of the window at `row` and `column` of the tile in a channel, and its place in the plane.
    /// Only what is larger, or the first NaN, replaces what was found before, as in the kernels of max pooling.
    fn largest(
        &self,
        t: &mut String,
        [height, width]: [usize; 2],
        (row, column): (usize, usize),
        (v, l): (usize, Option<usize>),
        finishes: bool,
    ) -> (String, String) {
        let n = in_a_row(width);
        let name = format!("{row}_{column}");
        let mut elements = Vec::new();
        for y in row..row + height {
            for x in (column..column + width).step_by(n) {
                let sum = |i: usize| self.channel(&format!("c{}_{v}", y * self.columns + x + i), l);
                let value = match n {
                    1 => format!("{} + b", sum(0)),
                    _ => {
                        let sums: Vec<String> = (0..n).map(sum).collect();
                        format!("{}({}) + b", vector_type("f32", n), sums.join(", "))
                    }
                };
                let at = match n {
                    1 => format!("origin + {y}u * p.ow + {x}u"),
                    _ => format!("(origin + {y}u * p.ow + {x}u) / {n}u"),
                };
                let value = if finishes { format!("finish({value}, {at}, 0u)") } else { value };
                let _ = writeln!(t, "            let f{y}_{x} = {value};");
                elements.extend((0..n).map(|i| component(&format!("f{y}_{x}"), n, i)));
            }
        }
        let (mut best, mut step) = (elements[0].clone(), "0u".to_string());
        for (i, value) in elements.iter().enumerate().skip(1) {
            let _ = write!(
                t,
                "            let larger{name}_{i} = beats({value}, {best});\n            \
                 let best{name}_{i} = select({best}, {value}, larger{name}_{i});\n            \
                 let place{name}_{i} = select({step}, step{i}, larger{name}_{i});\n"
            );
            (best, step) = (format!("best{name}_{i}"), format!("place{name}_{i}"));
        }
        (best, format!("inner + {row}u * p.ow + {column}u + {step}"))
    }
}
