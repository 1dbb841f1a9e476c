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
    inputs: Inputs,
    /// Whether dy is summed up too.
    bias: bool,
}

/// How the inputs of a row that the pixels of a step meet are loaded.
#[derive(Debug, Clone, Copy)]
struct Inputs {
    /// Columns in a load: 1, 2 or 4.
    unit: usize,
    /// The first load's first column, from the column that the first pixel's stride leads to, and loads of a row.
    first: i64,
    loads: usize,
    /// Set where the step is a whole row: its columns, so that the text knows which inputs are padding.
    whole: Option<usize>,
    /// Columns of padding before a row.
    left: i64,
}

impl Inputs {
    fn of(g: &Geometry, pixels: usize, broadcast: bool) -> Self {
        let left = g.left as i64;
        let span = (pixels - 1) * g.stride[1] + (g.kw - 1) * g.dilation[1] + 1;
        let single = Inputs { unit: 1, first: -left, loads: span, whole: None, left };
        if !broadcast {
            return single;
        }
        if pixels == g.ow {
            let unit = widest(|n| g.w.is_multiple_of(n));
            // Of the row's loads those that are met.
            let met = |column: usize| usize::try_from(column as i64 - left).ok().filter(|&at| at < g.w);
            let column = |pixel, kx| pixel * g.stride[1] + kx * g.dilation[1];
            let all = (0..pixels).flat_map(|pixel| (0..g.kw).filter_map(move |kx| met(column(pixel, kx))));
            let first = all.clone().min().unwrap_or(0) / unit;
            let loads = all.max().unwrap_or(0) / unit + 1 - first;
            return Inputs { unit, first: (first * unit) as i64, loads, whole: Some(g.w), left };
        }
        // Pairs begin at even columns.
        if g.w.is_multiple_of(2) && (pixels * g.stride[1]).is_multiple_of(2) {
            let before = (left % 2) as usize;
            let loads = (before + span).div_ceil(2);
            return Inputs { unit: 2, first: -left - before as i64, loads, whole: None, left };
        }
        single
    }

    /// The load of its row that has the input which a pixel and an element of the kernel meet, and where in it.
    fn place(&self, column: usize) -> Option<(usize, usize)> {
        let at = column as i64 - self.left;
        if self.whole.is_some_and(|columns| !(0..columns as i64).contains(&at)) {
            return None;
        }
        let at = usize::try_from(at - self.first).ok()?;
        Some((at / self.unit, at % self.unit))
    }
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
        inputs: Inputs::of(g, pixels, broadcast),
        vector: widest(|v| [pixels, g.ow].iter().all(|n| n % v == 0)),
    };
    // Whole rows meet so much less padding, and load so much less, that twice the lines are worth it.
    let most = |pixels: usize| if broadcast && pixels == g.ow { 2 * lines } else { lines };
    let few = |pixels: &usize| *pixels == 1 || pixels * g.kw * rows * channels <= most(*pixels);
    let time = |tile: &Tile| g.ow.div_ceil(tile.pixels) * tile.time();
    let steps = [1, 2, 4, 8].into_iter().filter(|pixels| *pixels != g.ow).chain([g.ow]);
    let tile = steps.filter(few).map(tile).min_by_key(time)?;
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
            "conv2d_weight_tile.{channels}x{rows}x{pixels}v{lanes}{}.k{kw}s{stride}d{dilation}.{vector}{}{}",
            if self.broadcast { "b" } else { "" },
            match self.inputs {
                Inputs { whole: Some(columns), left, .. } => format!(".w{columns}l{left}"),
                Inputs { unit: 2, left, .. } => format!(".pairs{}", left % 2),
                _ => String::new(),
            },
            if self.bias { ".bias" } else { "" },
        );
        Kernel::generated(key, "conv2d_weight_tile", &self.text())
    }

    /// Roughly how long llvmpipe takes for one step, in tenths of a nanosecond: 8.6 ns a load of one float,
    /// 12 of two, 18 of four, 0.25 ns a multiply-add.
    fn time(&self) -> usize {
        let load = [86, 120, 0, 184][self.vector - 1];
        let sums = self.channels * self.rows * self.kw * self.pixels * self.lanes;
        let input = [100, 130, 0, 200][self.inputs.unit - 1];
        self.lanes * self.pixels / self.vector * load + self.loads() * input + sums * 5 / 2
    }

    fn text(&self) -> String {
        let mut t = String::new();
        let _ = write!(
            t,
            "// {} rows of the kernel of {} input and {} output channels.\n{PARAMS}\n\
             @group(0) @binding(0) var<storage, read> x: array<{}>;\n\
             @group(0) @binding(1) var<storage, read> dy: array<{}>;\n\
             @group(0) @binding(2) var<storage, read_write> dw: array<f32>;\n\
             @group(0) @binding(4) var<uniform> p: Params;\n",
            self.rows,
            self.channels,
            self.lanes * if self.broadcast { 8 } else { 1 },
            vector_type("f32", self.inputs.unit),
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
        let Inputs { unit, first, loads, whole, left } = self.inputs;
        for i in 0..self.loads() {
            let slot = match self.broadcast {
                true => format!("({}u + lane)", 8 * i),
                false => format!("{i}u"),
            };
            let _ = write!(
                t,
                "    let c{i} = c + {slot} / {all}u;\n    \
                 let y{i} = (ky + {slot} / {loads}u % {rows}u) * p.dilation_y - p.top;\n",
                all = loads * rows,
            );
            let _ = match (whole, unit) {
                (Some(_), _) => writeln!(t, "    let x{i} = {slot} % {loads}u + {}u;", first as usize / unit),
                (None, 1) => writeln!(t, "    let x{i} = {slot} % {loads}u - p.left;"),
                // Further left by one where the padding is odd.
                (None, _) => {
                    writeln!(t, "    let x{i} = {slot} % {loads}u * {unit}u - p.left - {}u;", -first - left)
                }
            };
        }
    }

    /// Loads of inputs that one invocation does in each step.
    fn loads(&self) -> usize {
        let inputs = self.channels * self.rows * self.inputs.loads;
        if self.broadcast { inputs.div_ceil(8) } else { inputs }
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
                        false => format!("v{input}"),
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
