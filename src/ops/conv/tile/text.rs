//! The text of a tile's kernel.

use std::fmt::Write;

use super::{Store, Strip, Tile, Whole};
use crate::ops::text::{chosen_component, component, vector_type};

const PARAMS: &str = "struct Params {
    images: u32, groups: u32, c: u32, m: u32,
    h: u32, w: u32, oh: u32, ow: u32,
    kh: u32, stride_y: u32, dilation_y: u32, gap_y: u32,
    lift: u32, lift_rows: u32, left: i32, has_bias: u32,
    tiles_x: u32, tiles_y: u32, width: u32, step_ky: u32,
}
";

impl Tile {
    /// The text; with `finishes`, results go through the function `finish`.
    pub(super) fn text(&self, finishes: bool) -> String {
        let mut t = String::new();
        let _ = write!(
            t,
            "// {} x {} outputs in {} channels.\n{PARAMS}\n\
             @group(0) @binding(0) var<storage, read> x: array<{}>;\n\
             @group(0) @binding(1) var<storage, read> weight: array<{}>;\n\
             @group(0) @binding(2) var<storage, read> bias: array<f32>;\n\
             @group(0) @binding(3) var<storage, read_write> y: array<{}>;\n\
             @group(0) @binding(4) var<uniform> p: Params;\n",
            self.rows,
            self.columns,
            self.lanes * self.vectors * if self.broadcast { 8 } else { 1 },
            vector_type("f32", self.strip().unit),
            vector_type("f32", self.lanes),
            vector_type("f32", self.store.vector()),
        );
        if self.window.is_some() {
            let element = vector_type("u32", self.store.vector());
            let _ = writeln!(t, "@group(0) @binding(5) var<storage, read_write> places: array<{element}>;");
        }
        t.push('\n');
        self.place(&mut t);
        let is_used = |i: &usize| i % self.columns < self.used_columns();
        for i in (0..self.rows * self.columns).filter(is_used) {
            for v in 0..self.vectors {
                let _ = writeln!(t, "    var c{i}_{v} = {}();", vector_type("f32", self.lanes));
            }
        }
        self.sum(&mut t);
        match self.window {
            Some(window) => self.write_maxima(&mut t, window, finishes),
            None => self.write(&mut t, finishes),
        }
        t.push_str("}\n");
        t
    }

    /// The entry point's head: which tile, which channels, which inputs.
    fn place(&self, t: &mut String) {
        let width = self.lanes * self.vectors;
        if self.broadcast {
            let _ = write!(
                t,
                "@compute @workgroup_size(8)\nfn conv2d_tile(@builtin(workgroup_id) group: vec3<u32>,\n    \
                 @builtin(num_workgroups) groups: vec3<u32>, @builtin(subgroup_invocation_id) lane: u32) {{\n    \
                 let id = linear_workgroup(group, groups);\n    \
                 let channel_tiles = (p.m + {}u) / {}u;\n    \
                 let channel = (id % channel_tiles) * {}u + lane * {width}u;\n",
                8 * width - 1,
                8 * width,
                8 * width,
            );
        } else {
            let _ = write!(
                t,
                "@compute @workgroup_size(8)\nfn conv2d_tile(@builtin(global_invocation_id) global: vec3<u32>,\n    \
                 @builtin(num_workgroups) groups: vec3<u32>) {{\n    \
                 let id = linear_index(global, groups, 8u);\n    \
                 let channel_tiles = (p.m + {}u) / {width}u;\n    \
                 let channel = (id % channel_tiles) * {width}u;\n",
                width - 1,
            );
        }
        let (rows, columns) = (self.rows, self.columns);
        let _ = write!(
            t,
            "    let tile = id / channel_tiles % (p.tiles_x * p.tiles_y);\n    \
             let plane = id / channel_tiles / (p.tiles_x * p.tiles_y);\n    \
             if (plane >= p.images * p.groups) {{ return; }}\n    \
             let ox = (tile % p.tiles_x) * {columns}u;\n    \
             let row = tile / p.tiles_x;\n    "
        );
        // Rows that lie a gap apart meet the same rows of the kernel.
        if self.gap_y {
            let _ = writeln!(t, "let oy = row / p.gap_y * (p.gap_y * {rows}u) + row % p.gap_y;");
            // The rows of the kernel that meet rows of the input, first and step: llvmpipe computes what a
            // `continue` leaves out.
            t.push_str(
                "    var first_ky = p.kh;\n    \
                 for (var i = p.gap_y; i > 0u; i -= 1u) {\n        \
                 let meets = (oy + (i - 1u) * p.dilation_y + p.lift) % p.gap_y == 0u;\n        \
                 first_ky = select(first_ky, i - 1u, meets);\n    }\n",
            );
        } else {
            let _ = writeln!(t, "let oy = row * {rows}u;");
        }
        let Strip { first, step, loads, .. } = self.strip();
        if self.whole.is_none() {
            let (stride, divisor) = (self.stride, self.gap * self.unit);
            let _ = writeln!(t, "    let ix = i32(ox * {stride}u / {divisor}u) - p.left;");
        }
        for i in 0..self.loads() {
            // Row and load of the row; which lanes have one.
            let (down, across, exists) = if self.broadcast {
                let at = format!("({}u + lane)", 8 * i);
                let all = 8 * (i + 1) <= rows * loads;
                let exists = if all { String::new() } else { format!(" & ({at} < {}u)", rows * loads) };
                (format!("{at} / {loads}u"), format!("{at} % {loads}u"), exists)
            } else {
                (format!("{}u", i / loads), format!("{}u", i % loads), String::new())
            };
            let _ = writeln!(t, "    let down{i} = i32({down} * p.stride_y);");
            if self.whole.is_some() {
                let _ = writeln!(t, "    let ix{i} = {first}u + {across};");
                let _ = match exists.strip_prefix(" & ") {
                    Some(exists) => writeln!(t, "    let h{i} = select(0u, p.h, {exists});"),
                    None => writeln!(t, "    let h{i} = p.h;"),
                };
            } else {
                let _ = writeln!(t, "    let ix{i} = ix + i32({across} * {step}u);");
                let _ = writeln!(
                    t,
                    "    let h{i} = select(0u, p.h, (u32(ix{i}) < p.w / {}u){exists});",
                    self.unit
                );
            }
        }
    }

    /// Loads of inputs that one invocation does for each channel and row of the kernel.
    fn loads(&self) -> usize {
        let inputs = self.rows * self.strip().loads;
        if self.broadcast { inputs.div_ceil(8) } else { inputs }
    }

    fn sum(&self, t: &mut String) {
        let vectors = vector_type("f32", self.lanes);
        let (lanes, kw) = (self.lanes, self.kw);
        let _ = writeln!(t, "    let pitch = p.width / {lanes}u;");
        if self.gap_y {
            let _ = write!(
                t,
                "    let first_row = plane % p.groups * p.c * p.kh;\n    \
                 for (var c = 0u; c < p.c; c += 1u) {{\n        \
                 let start = (plane * p.c + c) * p.h * p.w;\n        \
                 for (var ky = first_ky; ky < p.kh; ky += p.step_ky) {{\n            \
                 let at = (first_row + c * p.kh + ky) * {kw}u * pitch + channel / {lanes}u;\n            \
                 let u = oy + ky * p.dilation_y + p.lift;\n            \
                 let iy = i32(u / p.gap_y) - i32(p.lift_rows);\n",
            );
        } else {
            let _ = write!(
                t,
                "    var next = plane % p.groups * p.c * p.kh * {kw}u * pitch + channel / {lanes}u;\n    \
                 for (var c = 0u; c < p.c; c += 1u) {{\n        \
                 let start = (plane * p.c + c) * p.h * p.w;\n        \
                 for (var ky = 0u; ky < p.kh; ky += 1u) {{\n            \
                 let at = next;\n            next += {kw}u * pitch;\n            \
                 let iy = i32(oy * p.stride_y + ky * p.dilation_y + p.lift) - i32(p.lift_rows);\n",
            );
        }
        for kx in 0..self.kw {
            for v in 0..self.vectors {
                let _ = writeln!(t, "            let w{kx}_{v} = weight[at + {kx}u * pitch + {v}u];");
            }
        }
        let strip = self.strip();
        let zero = match strip.unit {
            1 => "0.0".to_string(),
            n => format!("{}()", vector_type("f32", n)),
        };
        for i in 0..self.loads() {
            let at = match self.whole {
                Some(Whole { columns, unit, .. }) => {
                    format!("start / {unit}u + u32(iy{i}) * {}u + ix{i}", columns / unit)
                }
                None => {
                    let unit = self.unit;
                    format!("start / {unit}u + u32(iy{i}) * (p.w / {unit}u) + u32(ix{i})")
                }
            };
            let _ = write!(
                t,
                "            let iy{i} = iy + down{i};\n            let in{i} = u32(iy{i}) < h{i};\n            \
                 let x{i} = select({zero}, x[select(0u, {at}, in{i})], in{i});\n"
            );
        }
        for row in 0..self.rows {
            let mut shared = std::collections::BTreeSet::new();
            for column in 0..self.used_columns() {
                // All products of an output follow each other, so that its sum stays in registers for them.
                for (kx, at) in (0..self.kw).filter_map(|kx| Some((kx, self.meets(column, kx)?))) {
                    if shared.insert(at) {
                        let (load, part) = strip.place(at);
                        let load = row * strip.loads + load;
                        let value = match self.broadcast {
                            true => format!(
                                "subgroupBroadcast({}, {}u)",
                                component(&format!("x{}", load / 8), strip.unit, part),
                                load % 8
                            ),
                            false => component(&format!("x{load}"), strip.unit, part),
                        };
                        let _ = writeln!(t, "            let v{row}_{at} = {vectors}({value});");
                    }
                    for v in 0..self.vectors {
                        let c = format!("c{}_{v}", row * self.columns + column);
                        let _ = writeln!(t, "            {c} = fma(v{row}_{at}, w{kx}_{v}, {c});");
                    }
                }
            }
        }
        t.push_str("        }\n    }\n");
    }

    /// How the channels of vector `v` are stored one after the other: heads of blocks with `at_channel`, and which
    /// channel of the vector that is where the text says it. A loop compiles in a fraction of the time of a block for
    /// each; but not one of many conditions, which SwiftShader takes every way through.
    pub(super) fn channels(&self, v: usize, stores: usize) -> Vec<(String, Option<usize>)> {
        let Tile { lanes, .. } = *self;
        if lanes > 1 && (self.exact || stores <= 10) {
            let first = v * lanes;
            let head = format!(
                "    for (var at_channel = channel + {first}u; at_channel < min(channel + {}u, p.m); at_channel += 1u) {{\n        \
                 let l = at_channel - channel - {first}u;\n",
                first + lanes
            );
            return vec![(head, None)];
        }
        let block = |l: usize| {
            let at = v * lanes + l;
            (
                format!("    if (channel + {at}u < p.m) {{\n        let at_channel = channel + {at}u;\n"),
                Some(l),
            )
        };
        (0..lanes).map(block).collect()
    }

    /// A channel of a vector: `l` as [`Self::channels`] gives it.
    pub(super) fn channel(&self, vector: &str, l: Option<usize>) -> String {
        match l {
            Some(l) => component(vector, self.lanes, l),
            None => chosen_component(vector, self.lanes, "l"),
        }
    }

    /// The condition that a place of the tile, `down` rows below its first, is inside the plane; `None` where it always is:
    /// in the first row, unless rows lie a gap apart, and in the first column.
    pub(super) fn inside(&self, [row, column]: [usize; 2], down: &str) -> Option<String> {
        let row = Some(format!("oy + {down} < p.oh")).filter(|_| row > 0 || self.gap_y);
        let column = Some(format!("ox + {column}u < p.ow")).filter(|_| column > 0 && self.across.is_none());
        match (row, column) {
            (Some(row), Some(column)) => Some(format!("({row}) & ({column})")),
            (row, column) => row.or(column),
        }
    }

    /// Adds the bias and stores the tile, channel by channel.
    fn write(&self, t: &mut String, finishes: bool) {
        let n = self.store.vector();
        if !self.has_gap() {
            t.push_str("    let first = plane % p.groups * p.m;\n    let has_bias = p.has_bias != 0u;\n");
        }
        let bias = if self.has_gap() { "" } else { " + b" };
        let stores = self.rows * self.columns / n;
        for v in 0..self.vectors {
            for (head, l) in self.channels(v, stores) {
                t.push_str(&head);
                if !self.has_gap() {
                    t.push_str(
                        "        let b = select(0.0, bias[select(0u, first + at_channel, has_bias)], has_bias);\n",
                    );
                }
                t.push_str("        let to = ((plane * p.m + at_channel) * p.oh + oy) * p.ow + ox;\n");
                for unit in 0..stores {
                    let (row, column) = (unit * n / self.columns, unit * n % self.columns);
                    if column >= self.used_columns() {
                        continue;
                    }
                    let values: Vec<String> =
                        (0..n).map(|i| self.channel(&format!("c{}_{v}", unit * n + i), l)).collect();
                    let value = match n {
                        1 => format!("{}{bias}", values[0]),
                        _ => format!("{}({}){bias}", vector_type("f32", n), values.join(", ")),
                    };
                    let down = if self.gap_y { format!("{row}u * p.gap_y") } else { format!("{row}u") };
                    let (inside, at) = match self.store {
                        Store::Plane(_) => (
                            Some(format!("oy * p.ow + {}u < p.oh * p.ow", unit * n)).filter(|_| unit > 0),
                            format!("to / {n}u + {unit}u"),
                        ),
                        _ => (
                            self.inside([row, column], &down),
                            match n {
                                1 => format!("to + {down} * p.ow + {column}u"),
                                _ => format!("(to + {down} * p.ow + {column}u) / {n}u"),
                            },
                        ),
                    };
                    let value = if finishes { format!("finish({value}, {at}, 0u)") } else { value };
                    let _ = match inside.filter(|_| !self.exact) {
                        None => writeln!(t, "        y[{at}] = {value};"),
                        Some(inside) => writeln!(t, "        if ({inside}) {{ y[{at}] = {value}; }}"),
                    };
                }
                t.push_str("    }\n");
            }
        }
    }
}
