//! The text of a tile: where its sums are, the loops, and how they are stored.

use std::fmt::Write;

use super::{Inputs, Tile};
use crate::ops::text::{chosen, component, vector_type};

const PARAMS: &str = "struct Params {
    images: u32, groups: u32, c: u32, o: u32,
    h: u32, w: u32, oh: u32, ow: u32,
    kh: u32, stride_y: u32, dilation_y: u32, top: u32,
    left: u32, parts: u32, length: u32, width: u32,
}
";

impl Tile {
    pub(super) fn text(&self) -> String {
        let mut t = String::new();
        let _ = write!(
            t,
            "// {} rows of the kernel of {} input and {} output channels.\n{PARAMS}\n\
             @group(0) @binding(0) var<storage, read> x: array<{}>;\n\
             @group(0) @binding(1) var<storage, read> dy: array<{}>;\n\
             @group(0) @binding(2) var<storage, read_write> dw: array<{}>;\n\
             @group(0) @binding(4) var<uniform> p: Params;\n",
            self.rows,
            self.channels,
            self.lanes * if self.broadcast { 8 } else { 1 },
            vector_type("f32", self.inputs.unit),
            vector_type("f32", self.vector),
            vector_type("f32", if self.last { self.lanes } else { 1 }),
        );
        if self.bias {
            t.push_str("@group(0) @binding(3) var<storage, read_write> db: array<f32>;\n");
        }
        t.push('\n');
        self.place(&mut t);
        if self.bias {
            let _ = writeln!(t, "    var sum = {}();", vector_type("f32", self.lanes));
        }
        for c in 0..self.channels {
            for ky in 0..self.rows {
                for kx in 0..self.kw {
                    let _ = writeln!(t, "    var s{c}_{ky}_{kx} = {}();", vector_type("f32", self.lanes));
                }
            }
        }
        self.sum(&mut t);
        self.write(&mut t);
        t.push_str("}\n");
        t
    }

    fn place(&self, t: &mut String) {
        let Tile { lanes, channels, rows, .. } = *self;
        if self.broadcast {
            let _ = write!(
                t,
                "@compute @workgroup_size(8)\nfn conv2d_weight_tile(@builtin(workgroup_id) group: vec3<u32>,\n    \
                 @builtin(num_workgroups) groups: vec3<u32>, @builtin(subgroup_invocation_id) lane: u32) {{\n    \
                 let id = linear_workgroup(group, groups);\n    \
                 let o_tiles = (p.o + {}u) / {}u;\n    \
                 let o = (id % o_tiles) * {}u + lane * {lanes}u;\n",
                8 * lanes - 1,
                8 * lanes,
                8 * lanes,
            );
        } else {
            let _ = write!(
                t,
                "@compute @workgroup_size(8)\nfn conv2d_weight_tile(@builtin(global_invocation_id) global: vec3<u32>,\n    \
                 @builtin(num_workgroups) groups: vec3<u32>) {{\n    \
                 let id = linear_index(global, groups, 8u);\n    \
                 let o_tiles = (p.o + {}u) / {lanes}u;\n    \
                 let o = (id % o_tiles) * {lanes}u;\n",
                lanes - 1,
            );
        }
        let _ = write!(
            t,
            "    let c_tiles = (p.c + {}u) / {channels}u;\n    \
             let c = id / o_tiles % c_tiles * {channels}u;\n    \
             let k_tiles = (p.kh + {}u) / {rows}u;\n    \
             let ky = id / (o_tiles * c_tiles) % k_tiles * {rows}u;\n    \
             let rest = id / (o_tiles * c_tiles * k_tiles);\n    \
             let g = rest % p.groups;\n    let part = rest / p.groups;\n    \
             if (part >= p.parts) {{ return; }}\n",
            channels - 1,
            rows - 1,
        );
        let Inputs { unit, first, loads, whole, left } = self.inputs;
        for i in 0..self.loads() {
            // The channel, row of the kernel, and load of its row.
            let (channel, row, across) = match self.broadcast {
                true => {
                    let slot = format!("({}u + lane)", 8 * i);
                    (
                        format!("{slot} / {}u", loads * rows),
                        format!("{slot} / {loads}u % {rows}u"),
                        format!("{slot} % {loads}u"),
                    )
                }
                false => (
                    format!("{}u", i / (loads * rows)),
                    format!("{}u", i / loads % rows),
                    format!("{}u", i % loads),
                ),
            };
            let _ = write!(
                t,
                "    let c{i} = c + {channel};\n    \
                 let y{i} = (ky + {row}) * p.dilation_y - p.top;\n",
            );
            let _ = match (whole, unit) {
                (Some(_), _) => writeln!(t, "    let x{i} = {across} + {}u;", first as usize / unit),
                (None, 1) => writeln!(t, "    let x{i} = {across} - p.left;"),
                // Further left by one where the padding is odd.
                (None, _) => {
                    writeln!(t, "    let x{i} = {across} * {unit}u - p.left - {}u;", -first - left)
                }
            };
        }
    }

    fn sum(&self, t: &mut String) {
        let Tile { lanes, channels, rows, kw, stride, dilation, pixels, vector, .. } = *self;
        let Inputs { unit, loads, whole, .. } = self.inputs;
        let _ = write!(
            t,
            "    let end = min((part + 1u) * p.length, p.images * p.oh);\n    \
             for (var row = part * p.length; row < end; row += 1u) {{\n        \
             let n = row / p.oh;\n        let oy = row % p.oh;\n        \
             let start = (n * p.groups + g) * p.c;\n        \
             let first = (n * p.groups + g) * p.o;\n"
        );
        for l in 0..lanes {
            let _ = writeln!(
                t,
                "        let dy{l} = ((first + min(o + {l}u, p.o - 1u)) * p.oh + oy) * p.ow / {vector}u;"
            );
        }
        for i in 0..self.loads() {
            let _ = writeln!(t, "        let iy{i} = oy * p.stride_y + y{i};");
            let _ = match whole {
                Some(columns) => write!(
                    t,
                    "        let in{i} = (iy{i} < p.h) & (c{i} < p.c);\n        \
                     let at{i} = ((start + c{i}) * p.h + iy{i}) * {}u + x{i};\n",
                    columns / unit
                ),
                None => write!(
                    t,
                    "        let w{i} = select(0u, p.w, (iy{i} < p.h) & (c{i} < p.c));\n        \
                     let at{i} = ((start + c{i}) * p.h + iy{i}) * p.w + x{i};\n"
                ),
            };
        }
        // A whole row is one step.
        let _ = match whole {
            Some(_) => writeln!(t, "        {{ let ox = 0u;"),
            None => writeln!(t, "        for (var ox = 0u; ox < p.ow; ox += {pixels}u) {{"),
        };
        for unit in 0..pixels / vector {
            for l in 0..lanes {
                let at = format!("ox / {vector}u + {unit}u");
                let value = format!("dy[dy{l} + min({at}, p.ow / {vector}u - 1u)]");
                let inside = format!("ox + {}u < p.ow", unit * vector);
                let value = if unit == 0 {
                    value
                } else {
                    format!("select({}(), {value}, {inside})", vector_type("f32", vector))
                };
                let _ = writeln!(t, "            let t{unit}_{l} = {value};");
            }
        }
        for pixel in 0..pixels {
            let parts: Vec<String> = (0..lanes)
                .map(|l| component(&format!("t{}_{l}", pixel / vector), vector, pixel % vector))
                .collect();
            let _ = writeln!(
                t,
                "            let d{pixel} = {}({});",
                vector_type("f32", lanes),
                parts.join(", ")
            );
        }
        if self.bias {
            let all: Vec<String> = (0..pixels).map(|pixel| format!("d{pixel}")).collect();
            let _ = writeln!(t, "            sum += {};", all.join(" + "));
        }
        let zero = if unit == 1 { "0.0".to_string() } else { format!("{}()", vector_type("f32", unit)) };
        for i in 0..self.loads() {
            if whole.is_some() {
                let _ =
                    writeln!(t, "            let v{i} = select({zero}, x[select(0u, at{i}, in{i})], in{i});");
                continue;
            }
            let at = match unit {
                1 => format!("at{i} + ox * {stride}u"),
                _ => format!("(at{i} + ox * {stride}u) / {unit}u"),
            };
            let _ = write!(
                t,
                "            let ix{i} = ox * {stride}u + x{i};\n            \
                 let in{i} = ix{i} < w{i};\n            \
                 let v{i} = select({zero}, x[select(0u, {at}, in{i})], in{i});\n"
            );
        }
        for c in 0..channels {
            for ky in 0..rows {
                for k in 0..=(pixels - 1) * stride + (kw - 1) * dilation {
                    let Some((load, place)) = self.inputs.place(k) else { continue };
                    let input = (c * rows + ky) * loads + load;
                    let b = format!("b{c}_{ky}_{k}");
                    let mut lines = String::new();
                    for pixel in 0..pixels {
                        for kx in (0..kw).filter(|kx| pixel * stride + kx * dilation == k) {
                            let s = format!("s{c}_{ky}_{kx}");
                            let _ = writeln!(lines, "            {s} = fma({b}, d{pixel}, {s});");
                        }
                    }
                    if lines.is_empty() {
                        continue;
                    }
                    let value = match self.broadcast {
                        true => {
                            let value = component(&format!("v{}", input / 8), unit, place);
                            format!("subgroupBroadcast({value}, {}u)", input % 8)
                        }
                        false => component(&format!("v{input}"), unit, place),
                    };
                    let _ = writeln!(t, "            let {b} = {}({value});", vector_type("f32", lanes));
                    t.push_str(&lines);
                }
            }
        }
        t.push_str("        }\n    }\n");
    }

    fn write(&self, t: &mut String) {
        let Tile { lanes, channels, rows, kw, .. } = *self;
        let to = match self.last {
            true => {
                format!("((((part * p.groups + g) * p.c + c) * p.kh + ky) * {kw}u) * p.width + o / {lanes}u")
            }
            false => format!("(((part * p.groups + g) * p.o + o) * p.c + c) * p.kh * {kw}u + ky * {kw}u"),
        };
        let _ = writeln!(t, "    let to = {to};");
        // One tile of each part and channel is the first.
        for l in (0..lanes).filter(|_| self.bias) {
            let value = component("sum", lanes, l);
            let _ = writeln!(
                t,
                "    if (o + {l}u < p.o && c == 0u && ky == 0u) {{ db[(part * p.groups + g) * p.o + o + {l}u] = {value}; }}"
            );
        }
        // A loop compiles in a fraction of the time of the stores of all channels; but not one of many conditions.
        let in_turn = self.last && rows <= 10;
        if in_turn {
            let _ = writeln!(
                t,
                "    let channels = min({channels}u, p.c - c);\n    \
                 for (var i = 0u; i < channels; i += 1u) {{"
            );
            for ky in 0..rows {
                let _ = writeln!(
                    t,
                    "        if (ky + {ky}u < p.kh) {{\n            \
                     let at = to + (i * p.kh + {ky}u) * {kw}u * p.width;"
                );
                for kx in 0..kw {
                    let sums: Vec<String> = (0..channels).map(|c| format!("s{c}_{ky}_{kx}")).collect();
                    let _ = writeln!(t, "            dw[at + {kx}u * p.width] = {};", chosen(&sums, "i"));
                }
                t.push_str("        }\n");
            }
            t.push_str("    }\n");
        }
        let each = (0..channels).flat_map(|c| (0..rows).map(move |ky| (c, ky)));
        for (c, ky) in each.filter(|_| self.last && !in_turn) {
            let _ = writeln!(
                t,
                "    if (c + {c}u < p.c && ky + {ky}u < p.kh) {{\n        \
                 let at = to + ({c}u * p.kh + {ky}u) * {kw}u * p.width;"
            );
            for kx in 0..kw {
                let _ = writeln!(t, "        dw[at + {kx}u * p.width] = s{c}_{ky}_{kx};");
            }
            t.push_str("    }\n");
        }
        for l in (0..lanes).filter(|_| !self.last) {
            for c in 0..channels {
                for ky in 0..rows {
                    let _ = writeln!(
                        t,
                        "    if (o + {l}u < p.o && c + {c}u < p.c && ky + {ky}u < p.kh) {{\n        \
                         let at = to + ({l}u * p.c + {c}u) * p.kh * {kw}u + {}u;",
                        ky * kw,
                    );
                    for kx in 0..kw {
                        let value = component(&format!("s{c}_{ky}_{kx}"), lanes, l);
                        let _ = writeln!(t, "        dw[at + {kx}u] = {value};");
                    }
                    t.push_str("    }\n");
                }
            }
        }
    }
}
