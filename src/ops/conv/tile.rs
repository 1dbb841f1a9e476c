//! Register tiles for software adapters, generated: a rectangle of outputs in named vectors of channels, no
//! workgroup memory, no barriers.
//!
//! With 8-lane subgroups one workgroup is one subgroup: each lane owns a vector of output channels and loads
//! some of the inputs that the tile needs, which the others get by `subgroupBroadcast`. Elsewhere each
//! invocation loads all inputs of its own tile.
//!
//! The forward direction and the gradient of the input are the same sum, over different arrays.

use std::fmt::Write;

use super::geometry::Geometry;
use crate::ops::{AdapterClass, Kernel};

/// out\[n, g m + j, oy, ox\] = Σ over i < c, ky, kx of in\[n, g c + i, uy / gap, ux / gap\] weight(g, j, i, ky, kx)
/// with u = o stride + k dilation - before, where gap divides u and the quotient is inside.
#[derive(Debug, Clone, Copy)]
pub(super) struct Correlation {
    pub(super) images: usize,
    pub(super) groups: usize,
    /// Channels of each group that are summed, and that come out.
    pub(super) c: usize,
    pub(super) m: usize,
    pub(super) h: usize,
    pub(super) w: usize,
    pub(super) oh: usize,
    pub(super) ow: usize,
    pub(super) kh: usize,
    pub(super) kw: usize,
    pub(super) stride: [usize; 2],
    pub(super) gap: [usize; 2],
    pub(super) dilation: [usize; 2],
    pub(super) before: [i64; 2],
    /// Elements from one group, one m and one c of the weight to the next, and whether its taps are reversed.
    pub(super) weight_steps: [usize; 3],
    pub(super) flip: bool,
}

impl Correlation {
    pub(super) fn forward(g: &Geometry) -> Self {
        Correlation {
            images: g.n,
            groups: g.groups,
            c: g.c,
            m: g.o,
            h: g.h,
            w: g.w,
            oh: g.oh,
            ow: g.ow,
            kh: g.kh,
            kw: g.kw,
            stride: g.stride,
            gap: [1, 1],
            dilation: g.dilation,
            before: [g.top as i64, g.left as i64],
            weight_steps: [g.o * g.depth(), g.depth(), g.taps()],
            flip: false,
        }
    }

    /// The gradient of the input: dy with gaps between its elements, by the weight with its taps reversed and
    /// its channels exchanged.
    pub(super) fn backward(g: &Geometry) -> Self {
        let before = |kernel: usize, axis: usize, padding: usize| {
            ((kernel - 1) * g.dilation[axis]) as i64 - padding as i64
        };
        Correlation {
            images: g.n,
            groups: g.groups,
            c: g.o,
            m: g.c,
            h: g.oh,
            w: g.ow,
            oh: g.h,
            ow: g.w,
            kh: g.kh,
            kw: g.kw,
            stride: [1, 1],
            gap: g.stride,
            dilation: g.dilation,
            before: [before(g.kh, 0, g.top), before(g.kw, 1, g.left)],
            weight_steps: [g.o * g.depth(), g.taps(), g.depth()],
            flip: true,
        }
    }
}

/// Uniform of the generated kernels.
#[repr(C)]
#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
pub(super) struct Params {
    images: u32,
    groups: u32,
    c: u32,
    m: u32,
    h: u32,
    w: u32,
    oh: u32,
    ow: u32,
    kh: u32,
    stride_y: u32,
    dilation_y: u32,
    gap_y: u32,
    /// Added to positions along y, so that they are not negative and multiples of the gap stay such, and
    /// the rows of the input which that is.
    lift: u32,
    lift_rows: u32,
    /// Columns of the input left of its first one where the first tile begins.
    left: i32,
    has_bias: u32,
    tiles_x: u32,
    tiles_y: u32,
    /// Channels that m is padded to in the packed weight.
    width: u32,
    _pad: u32,
}

const PARAMS: &str = "struct Params {
    images: u32, groups: u32, c: u32, m: u32,
    h: u32, w: u32, oh: u32, ow: u32,
    kh: u32, stride_y: u32, dilation_y: u32, gap_y: u32,
    lift: u32, lift_rows: u32, left: i32, has_bias: u32,
    tiles_x: u32, tiles_y: u32, width: u32,
}
";

/// A kernel with its grid, and the width of the packed weight it reads.
pub(super) struct Plan {
    pub(super) kernel: Kernel,
    pub(super) params: Params,
    pub(super) width: usize,
    pub(super) workgroups: usize,
}

/// How outputs lie in memory, so that several are stored at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Store {
    /// One by one.
    Single,
    /// This many neighbours of a row.
    Row(usize),
    /// This many neighbours of a plane: the tile has whole rows.
    Plane(usize),
}

impl Store {
    fn vector(self) -> usize {
        match self {
            Store::Single => 1,
            Store::Row(n) | Store::Plane(n) => n,
        }
    }
}

/// A variant of the kernel: what its text depends on.
#[derive(Debug, Clone, Copy)]
struct Tile {
    /// Whether lanes share inputs by broadcast.
    broadcast: bool,
    /// Output rows and columns of the tile.
    rows: usize,
    columns: usize,
    /// Channels in a vector (1, 2 or 4), and vectors of each invocation.
    lanes: usize,
    vectors: usize,
    kw: usize,
    stride: usize,
    dilation: usize,
    /// Gap along x, position of the first output relative to it, and whether there is a gap along y.
    gap: usize,
    phase: usize,
    gap_y: bool,
    store: Store,
}

const COMPONENTS: [&str; 4] = ["x", "y", "z", "w"];

/// Multiply-add lines of one kernel, which decide how long it compiles.
const LINES: usize = 112;

/// The best tile for a correlation; `None` where a kernel is too wide for any.
pub(super) fn plan(c: &Correlation, has_bias: bool, class: AdapterClass) -> Option<Plan> {
    let broadcast = class == AdapterClass::SoftwareLanes8 && c.m > 4;
    let (lanes, vectors) = channels(c.m, broadcast);
    let gap = c.gap[1];
    // Accumulators: the vector registers of a core, several times over.
    let most = match (broadcast, lanes) {
        (true, 4) => 32,
        (true, _) => 56,
        (false, 4) if vectors == 2 => 8,
        (false, _) => 16,
    };
    let most = most.min(LINES * gap / (c.kw * vectors)).max(gap);
    if c.kw * vectors > LINES || gap > 8 {
        return None;
    }
    let (rows, columns) = rectangle(c, most, broadcast);
    let store = store(c, rows, columns);
    let tile = Tile {
        broadcast,
        rows,
        columns,
        lanes,
        vectors,
        kw: c.kw,
        stride: c.stride[1],
        dilation: c.dilation[1],
        gap,
        phase: c.before[1].rem_euclid(gap as i64) as usize,
        gap_y: c.gap[0] > 1,
        store,
    };
    let group_of_channels = lanes * vectors * if broadcast { 8 } else { 1 };
    let width = c.m.next_multiple_of(group_of_channels).next_multiple_of(4);
    let tiles_x = c.ow.div_ceil(columns);
    let tiles_y = c.gap[0] * c.oh.div_ceil(c.gap[0] * rows);
    let lift = c.before[0].max(0).next_multiple_of_i64(c.gap[0] as i64);
    let params = Params {
        images: c.images as u32,
        groups: c.groups as u32,
        c: c.c as u32,
        m: c.m as u32,
        h: c.h as u32,
        w: c.w as u32,
        oh: c.oh as u32,
        ow: c.ow as u32,
        kh: c.kh as u32,
        stride_y: c.stride[0] as u32,
        dilation_y: c.dilation[0] as u32,
        gap_y: c.gap[0] as u32,
        lift: (lift - c.before[0]) as u32,
        lift_rows: (lift / c.gap[0] as i64) as u32,
        left: ((c.before[1] - tile.phase as i64) / gap as i64) as i32,
        has_bias: u32::from(has_bias),
        tiles_x: tiles_x as u32,
        tiles_y: tiles_y as u32,
        width: width as u32,
        _pad: 0,
    };
    let tiles = c.images * c.groups * c.m.div_ceil(group_of_channels) * tiles_x * tiles_y;
    let workgroups = if broadcast { tiles } else { tiles.div_ceil(8) };
    Some(Plan { kernel: tile.kernel(), params, width, workgroups })
}

trait NextMultiple {
    fn next_multiple_of_i64(self, of: i64) -> i64;
}

impl NextMultiple for i64 {
    fn next_multiple_of_i64(self, of: i64) -> i64 {
        (self + of - 1) / of * of
    }
}

/// Channels in a vector and vectors of an invocation, for `m` channels.
fn channels(m: usize, broadcast: bool) -> (usize, usize) {
    if !broadcast {
        return match m {
            1 => (1, 1),
            2 => (2, 1),
            3 | 4 => (4, 1),
            _ => (4, 2),
        };
    }
    // Time per channel with 4, 2 and 1 in each lane: fewer share a load.
    let cost = |lanes: usize, each: usize| m.next_multiple_of(8 * lanes) * each;
    let all = [(4, cost(4, 16)), (2, cost(2, 20)), (1, cost(1, 30))];
    (all.into_iter().min_by_key(|(_, cost)| *cost).map_or(4, |(lanes, _)| lanes), 1)
}

/// Rows and columns of a tile of at most `most` outputs: whole rows of the image where they fit.
fn rectangle(c: &Correlation, most: usize, broadcast: bool) -> (usize, usize) {
    let gap = c.gap[1];
    let columns = if c.ow <= most {
        c.ow.next_multiple_of(gap)
    } else {
        // Stored four or two at a time where rows allow.
        let unit = if c.ow.is_multiple_of(4) { 4 } else { 1 };
        let unit = if gap > 1 { gap } else { unit.min(most) };
        let across = c.ow.div_ceil(most);
        let columns = c.ow.div_ceil(across).next_multiple_of(unit);
        if columns <= most { columns } else { most / unit * unit }
    };
    if !broadcast && c.gap[0] == 1 && c.ow >= 8 {
        return (1, columns);
    }
    let possible = (most / columns).clamp(1, c.oh.div_ceil(c.gap[0]));
    let down = c.oh.div_ceil(possible * c.gap[0]);
    (c.oh.div_ceil(down * c.gap[0]), columns)
}

fn store(c: &Correlation, rows: usize, columns: usize) -> Store {
    let whole_rows = columns == c.ow && c.gap[0] == 1;
    for n in [4, 2] {
        if whole_rows && (rows * columns).is_multiple_of(n) && (c.oh * c.ow).is_multiple_of(n) {
            return Store::Plane(n);
        }
        if columns.is_multiple_of(n) && c.ow.is_multiple_of(n) {
            return Store::Row(n);
        }
    }
    Store::Single
}

/// The type of `n` floats.
fn vector_type(n: usize) -> String {
    if n == 1 { "f32".into() } else { format!("vec{n}<f32>") }
}

/// Component `i` of a vector of `n`.
fn component(name: &str, n: usize, i: usize) -> String {
    if n == 1 { name.into() } else { format!("{name}.{}", COMPONENTS[i]) }
}

impl Tile {
    fn kernel(&self) -> Kernel {
        let Tile { rows, columns, lanes, vectors, kw, stride, dilation, gap, phase, .. } = *self;
        let store = match self.store {
            Store::Single => "1".to_string(),
            Store::Row(n) => format!("r{n}"),
            Store::Plane(n) => format!("p{n}"),
        };
        let key = format!(
            "conv2d_tile.{rows}x{columns}x{vectors}v{lanes}{}.k{kw}s{stride}d{dilation}g{gap}p{phase}{}.{store}",
            if self.broadcast { "b" } else { "" },
            if self.gap_y { "y" } else { "" },
        );
        Kernel::generated(key, "conv2d_tile", &self.text())
    }

    /// The column of the input, counted from the tile's first, that an output column and an element of the
    /// kernel meet, if they meet one.
    fn meets(&self, column: usize, kx: usize) -> Option<usize> {
        let u = column * self.stride + kx * self.dilation;
        (u >= self.phase && (u - self.phase).is_multiple_of(self.gap)).then(|| (u - self.phase) / self.gap)
    }

    /// Columns of the input that a tile needs: their greatest common step, and how many.
    fn strip(&self) -> (usize, usize) {
        let (mut last, mut step) = (0, 0);
        for column in 0..self.columns {
            for at in (0..self.kw).filter_map(|kx| self.meets(column, kx)) {
                last = last.max(at);
                step = greatest_common_divisor(step, at);
            }
        }
        let step = step.max(1);
        (step, last / step + 1)
    }

    fn text(&self) -> String {
        let mut t = String::new();
        let _ = write!(
            t,
            "// {} x {} outputs in {} channels.\n{PARAMS}\n\
             @group(0) @binding(0) var<storage, read> x: array<f32>;\n\
             @group(0) @binding(1) var<storage, read> weight: array<{}>;\n\
             @group(0) @binding(2) var<storage, read> bias: array<f32>;\n\
             @group(0) @binding(3) var<storage, read_write> y: array<{}>;\n\
             @group(0) @binding(4) var<uniform> p: Params;\n\n",
            self.rows,
            self.columns,
            self.lanes * self.vectors * if self.broadcast { 8 } else { 1 },
            vector_type(self.lanes),
            vector_type(self.store.vector()),
        );
        self.place(&mut t);
        for i in 0..self.rows * self.columns {
            for v in 0..self.vectors {
                let _ = writeln!(t, "    var c{i}_{v} = {}();", vector_type(self.lanes));
            }
        }
        self.sum(&mut t);
        self.write(&mut t);
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
        } else {
            let _ = writeln!(t, "let oy = row * {rows}u;");
        }
        let _ = writeln!(t, "    let ix = i32(ox * {}u / {}u) - p.left;", self.stride, self.gap);
        let (step, length) = self.strip();
        for i in 0..self.loads() {
            if self.broadcast {
                let _ = write!(
                    t,
                    "    let down{i} = i32(({from}u + lane) / {length}u * p.stride_y);\n    \
                     let ix{i} = ix + i32(({from}u + lane) % {length}u * {step}u);\n    \
                     let h{i} = select(0u, p.h, (u32(ix{i}) < p.w) & ({from}u + lane < {}u));\n",
                    rows * length,
                    from = 8 * i,
                );
            } else {
                let (down, across) = (i / length, i % length * step);
                let _ = write!(
                    t,
                    "    let down{i} = i32({down}u * p.stride_y);\n    let ix{i} = ix + {across};\n    \
                     let h{i} = select(0u, p.h, u32(ix{i}) < p.w);\n"
                );
            }
        }
    }

    /// Loads of inputs that one invocation does for each channel and row of the kernel.
    fn loads(&self) -> usize {
        let inputs = self.rows * self.strip().1;
        if self.broadcast { inputs.div_ceil(8) } else { inputs }
    }

    fn sum(&self, t: &mut String) {
        let vectors = vector_type(self.lanes);
        let _ = write!(
            t,
            "    let pitch = p.width / {}u;\n    \
             var next = plane % p.groups * p.c * p.kh * {}u * pitch + channel / {}u;\n    \
             for (var c = 0u; c < p.c; c += 1u) {{\n        \
             let start = (plane * p.c + c) * p.h * p.w;\n        \
             for (var ky = 0u; ky < p.kh; ky += 1u) {{\n            \
             let at = next;\n            next += {}u * pitch;\n",
            self.lanes, self.kw, self.lanes, self.kw
        );
        if self.gap_y {
            t.push_str(
                "            let u = oy + ky * p.dilation_y + p.lift;\n            \
                 if (u % p.gap_y != 0u) { continue; }\n            \
                 let iy = i32(u / p.gap_y) - i32(p.lift_rows);\n",
            );
        } else {
            t.push_str(
                "            let iy = i32(oy * p.stride_y + ky * p.dilation_y + p.lift) - i32(p.lift_rows);\n",
            );
        }
        for kx in 0..self.kw {
            for v in 0..self.vectors {
                let _ = writeln!(t, "            let w{kx}_{v} = weight[at + {kx}u * pitch + {v}u];");
            }
        }
        for i in 0..self.loads() {
            let _ = write!(
                t,
                "            let iy{i} = iy + down{i};\n            \
                 let in{i} = u32(iy{i}) < h{i};\n            \
                 let x{i} = select(0.0, x[select(0u, start + u32(iy{i}) * p.w + u32(ix{i}), in{i})], in{i});\n"
            );
        }
        let (step, length) = self.strip();
        for row in 0..self.rows {
            for k in 0..length {
                let input = row * length + k;
                let mut lines = String::new();
                for column in 0..self.columns {
                    for kx in (0..self.kw).filter(|&kx| self.meets(column, kx) == Some(k * step)) {
                        for v in 0..self.vectors {
                            let c = format!("c{}_{v}", row * self.columns + column);
                            let _ = writeln!(lines, "            {c} = fma(v{input}, w{kx}_{v}, {c});");
                        }
                    }
                }
                if lines.is_empty() {
                    continue;
                }
                let value = match self.broadcast {
                    true => format!("subgroupBroadcast(x{}, {}u)", input / 8, input % 8),
                    false => format!("x{input}"),
                };
                let _ = writeln!(t, "            let v{input} = {vectors}({value});");
                t.push_str(&lines);
            }
        }
        t.push_str("        }\n    }\n");
    }

    /// Adds the bias and stores the tile, channel by channel.
    fn write(&self, t: &mut String) {
        let n = self.store.vector();
        t.push_str("    let first = plane % p.groups * p.m;\n");
        for v in 0..self.vectors {
            for l in 0..self.lanes {
                let offset = v * self.lanes + l;
                let _ = write!(
                    t,
                    "    if (channel + {offset}u < p.m) {{\n        \
                     let has_bias = p.has_bias != 0u;\n        \
                     let b = select(0.0, bias[select(0u, first + channel + {offset}u, has_bias)], has_bias);\n        \
                     let to = ((plane * p.m + channel + {offset}u) * p.oh + oy) * p.ow + ox;\n"
                );
                for unit in 0..self.rows * self.columns / n {
                    let (row, column) = (unit * n / self.columns, unit * n % self.columns);
                    let values: Vec<String> =
                        (0..n).map(|i| component(&format!("c{}_{v}", unit * n + i), self.lanes, l)).collect();
                    let value = match n {
                        1 => format!("{} + b", values[0]),
                        _ => format!("{}({}) + b", vector_type(n), values.join(", ")),
                    };
                    let down = if self.gap_y { format!("{row}u * p.gap_y") } else { format!("{row}u") };
                    let (inside, at) = match self.store {
                        Store::Plane(_) => (
                            format!("oy * p.ow + {}u < p.oh * p.ow", unit * n),
                            format!("to / {n}u + {unit}u"),
                        ),
                        _ => (
                            format!("oy + {down} < p.oh && ox + {column}u < p.ow"),
                            match n {
                                1 => format!("to + {down} * p.ow + {column}u"),
                                _ => format!("(to + {down} * p.ow + {column}u) / {n}u"),
                            },
                        ),
                    };
                    let _ = writeln!(t, "        if ({inside}) {{ y[{at}] = {value}; }}");
                }
                t.push_str("    }\n");
            }
        }
    }
}

fn greatest_common_divisor(a: usize, b: usize) -> usize {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}
