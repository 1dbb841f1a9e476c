//! Register tiles for the gradient of the weight on software adapters, generated. Each invocation owns a
//! vector of output channels and sums, over the pixels of its part of the batch, what dy and the inputs make
//! of some rows of the kernel and some input channels. With 8-lane subgroups the lanes load different inputs
//! and share them by `subgroupBroadcast`.

use std::fmt::Write;

use super::geometry::Geometry;
use crate::ops::text::{component, vector_type, widest};
use crate::ops::{AdapterClass, Kernel};

/// Uniform of the generated kernels.
#[repr(C)]
#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
pub(super) struct Params {
    images: u32,
    groups: u32,
    c: u32,
    o: u32,
    h: u32,
    w: u32,
    oh: u32,
    ow: u32,
    kh: u32,
    stride_y: u32,
    dilation_y: u32,
    top: u32,
    left: u32,
    /// Parts that the rows of all images' outputs are cut into, and rows of each.
    parts: u32,
    length: u32,
    _pad: u32,
}

const PARAMS: &str = "struct Params {
    images: u32, groups: u32, c: u32, o: u32,
    h: u32, w: u32, oh: u32, ow: u32,
    kh: u32, stride_y: u32, dilation_y: u32, top: u32,
    left: u32, parts: u32, length: u32,
}
";

/// A kernel with its grid, and the parts it writes.
pub(super) struct Plan {
    pub(super) kernel: Kernel,
    pub(super) params: Params,
    pub(super) parts: usize,
    pub(super) workgroups: usize,
}

/// A variant of the kernel: what its text depends on.
#[derive(Debug, Clone, Copy)]
struct Tile {
    broadcast: bool,
    /// Output channels in a vector: 1, 2 or 4.
    lanes: usize,
    /// Input channels and rows of the kernel of one tile.
    channels: usize,
    rows: usize,
    kw: usize,
    stride: usize,
    dilation: usize,
    /// Output pixels of a row in each step, and how many of them load at once.
    pixels: usize,
    vector: usize,
    /// Whether dy is summed up too.
    bias: bool,
}

/// Vectors of sums in one invocation, and multiply-add lines of one kernel, which decide how long it compiles.
/// Tried on llvmpipe with 3×3 kernels, 16 to 32 channels: half the sums cost 1.3 times the time, twice the sums or
/// lines gain nothing.
const SUMS: usize = 36;
const LINES: usize = 144;
/// The same where each invocation loads all inputs itself. On llvmpipe 36 and 144 are some 5 to 10 % faster
/// still, and take twice as long to compile.
const OWN_SUMS: usize = 18;
const OWN_LINES: usize = 72;
/// Workgroups that share the work evenly among cores.
const WORKGROUPS: usize = 16;

/// The best tile; `None` where a kernel is too wide for any.
pub(super) fn plan(g: &Geometry, class: AdapterClass, bias: bool) -> Option<Plan> {
    if g.kw > SUMS {
        return None;
    }
    let broadcast = class == AdapterClass::SoftwareLanes8 && g.o > 4;
    let lanes = match (broadcast, g.o) {
        (true, 0..=8) | (false, 1) => 1,
        (true, 9..=16 | 33..=48) | (false, 2) => 2,
        _ => 4,
    };
    let (sums, lines) = if broadcast { (SUMS, LINES) } else { (OWN_SUMS, OWN_LINES) };
    // As many as fit, evenly.
    let rows = g.kh.div_ceil(g.kh.div_ceil((sums / g.kw).max(1)));
    let channels = (sums / (g.kw * rows)).clamp(1, if g.taps() == 1 { 8 } else { 4 });
    let channels = g.c.div_ceil(g.c.div_ceil(channels));
    let tile = |pixels: usize| Tile {
        broadcast,
        lanes,
        channels,
        rows,
        kw: g.kw,
        stride: g.stride[1],
        dilation: g.dilation[1],
        pixels,
        bias,
        vector: widest(|v| [pixels, g.ow].iter().all(|n| n % v == 0)),
    };
    let few = |pixels: &usize| *pixels == 1 || pixels * g.kw * rows * channels <= lines;
    let time = |tile: &Tile| g.ow.div_ceil(tile.pixels) * tile.time();
    let tile = [1, 2, 4, 8].into_iter().filter(few).map(tile).min_by_key(time)?;
    let width = lanes * if broadcast { 8 } else { 1 };
    let tiles = g.groups * g.o.div_ceil(width) * g.c.div_ceil(channels) * g.kh.div_ceil(rows);
    let workgroups = |parts: usize| if broadcast { tiles * parts } else { (tiles * parts).div_ceil(8) };
    // Each part of some work, and enough of them.
    let all_rows = g.n * g.oh;
    let enough = if broadcast { WORKGROUPS.div_ceil(tiles) } else { (8 * WORKGROUPS).div_ceil(tiles) };
    let length = all_rows.div_ceil(enough.clamp(1, (all_rows / 8).max(1)));
    let parts = all_rows.div_ceil(length);
    let params = Params {
        images: g.n as u32,
        groups: g.groups as u32,
        c: g.c as u32,
        o: g.o as u32,
        h: g.h as u32,
        w: g.w as u32,
        oh: g.oh as u32,
        ow: g.ow as u32,
        kh: g.kh as u32,
        stride_y: g.stride[0] as u32,
        dilation_y: g.dilation[0] as u32,
        top: g.top as u32,
        left: g.left as u32,
        parts: parts as u32,
        length: length as u32,
        _pad: 0,
    };
    Some(Plan { kernel: tile.kernel(), params, parts, workgroups: workgroups(parts) })
}

impl Tile {
    fn kernel(&self) -> Kernel {
        let Tile { lanes, channels, rows, kw, stride, dilation, pixels, vector, .. } = *self;
        let key = format!(
            "conv2d_weight_tile.{channels}x{rows}x{pixels}v{lanes}{}.k{kw}s{stride}d{dilation}.{vector}{}",
            if self.broadcast { "b" } else { "" },
            if self.bias { ".bias" } else { "" },
        );
        Kernel::generated(key, "conv2d_weight_tile", &self.text())
    }

    /// Roughly how long llvmpipe takes for one step, in tenths of a nanosecond: 8.6 ns a load of one float,
    /// 12 of two, 18 of four, 0.25 ns a multiply-add.
    fn time(&self) -> usize {
        let load = [86, 120, 0, 184][self.vector - 1];
        let sums = self.channels * self.rows * self.kw * self.pixels * self.lanes;
        self.lanes * self.pixels / self.vector * load + self.loads() * 100 + sums * 5 / 2
    }

    /// Inputs of one row that the pixels of a step meet.
    fn strip(&self) -> usize {
        (self.pixels - 1) * self.stride + (self.kw - 1) * self.dilation + 1
    }

    fn text(&self) -> String {
        let mut t = String::new();
        let _ = write!(
            t,
            "// {} rows of the kernel of {} input and {} output channels.\n{PARAMS}\n\
             @group(0) @binding(0) var<storage, read> x: array<f32>;\n\
             @group(0) @binding(1) var<storage, read> dy: array<{}>;\n\
             @group(0) @binding(2) var<storage, read_write> dw: array<f32>;\n\
             @group(0) @binding(4) var<uniform> p: Params;\n",
            self.rows,
            self.channels,
            self.lanes * if self.broadcast { 8 } else { 1 },
            vector_type("f32", self.vector),
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
        let strip = self.strip();
        for i in 0..self.loads() {
            let slot = match self.broadcast {
                true => format!("({}u + lane)", 8 * i),
                false => format!("{i}u"),
            };
            let _ = write!(
                t,
                "    let c{i} = c + {slot} / {all}u;\n    \
                 let y{i} = (ky + {slot} / {strip}u % {rows}u) * p.dilation_y - p.top;\n    \
                 let x{i} = {slot} % {strip}u - p.left;\n",
                all = strip * rows,
            );
        }
    }

    /// Loads of inputs that one invocation does in each step.
    fn loads(&self) -> usize {
        let inputs = self.channels * self.rows * self.strip();
        if self.broadcast { inputs.div_ceil(8) } else { inputs }
    }

    fn sum(&self, t: &mut String) {
        let Tile { lanes, channels, rows, kw, stride, dilation, pixels, vector, .. } = *self;
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
            let _ = write!(
                t,
                "        let iy{i} = oy * p.stride_y + y{i};\n        \
                 let w{i} = select(0u, p.w, (iy{i} < p.h) & (c{i} < p.c));\n        \
                 let at{i} = ((start + c{i}) * p.h + iy{i}) * p.w + x{i};\n"
            );
        }
        let _ = writeln!(t, "        for (var ox = 0u; ox < p.ow; ox += {pixels}u) {{");
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
        for i in 0..self.loads() {
            let _ = write!(
                t,
                "            let ix{i} = ox * {stride}u + x{i};\n            \
                 let in{i} = ix{i} < w{i};\n            \
                 let v{i} = select(0.0, x[select(0u, at{i} + ox * {stride}u, in{i})], in{i});\n"
            );
        }
        let strip = self.strip();
        for c in 0..channels {
            for ky in 0..rows {
                for k in 0..strip {
                    let input = (c * rows + ky) * strip + k;
                    let mut lines = String::new();
                    for pixel in 0..pixels {
                        for kx in (0..kw).filter(|kx| pixel * stride + kx * dilation == k) {
                            let s = format!("s{c}_{ky}_{kx}");
                            let _ = writeln!(lines, "            {s} = fma(b{input}, d{pixel}, {s});");
                        }
                    }
                    if lines.is_empty() {
                        continue;
                    }
                    let value = match self.broadcast {
                        true => format!("subgroupBroadcast(v{}, {}u)", input / 8, input % 8),
                        false => format!("v{input}"),
                    };
                    let _ = writeln!(t, "            let b{input} = {}({value});", vector_type("f32", lanes));
                    t.push_str(&lines);
                }
            }
        }
        t.push_str("        }\n    }\n");
    }

    fn write(&self, t: &mut String) {
        let Tile { lanes, channels, rows, kw, .. } = *self;
        let _ = writeln!(
            t,
            "    let to = (((part * p.groups + g) * p.o + o) * p.c + c) * p.kh * {kw}u + ky * {kw}u;"
        );
        // One tile of each part and channel is the first.
        for l in (0..lanes).filter(|_| self.bias) {
            let value = component("sum", lanes, l);
            let _ = writeln!(
                t,
                "    if (o + {l}u < p.o && c == 0u && ky == 0u) {{ db[(part * p.groups + g) * p.o + o + {l}u] = {value}; }}"
            );
        }
        for l in 0..lanes {
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
