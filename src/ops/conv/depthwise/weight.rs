//! The gradient of the weight: an invocation sums all elements of one channel's kernel over some of the images, and
//! walks down strips of them as the forward direction does. The sum of dy falls off there.

use std::fmt::Write;

use super::super::geometry::Geometry;
use super::strip::Strip;
use super::{LINES, OUTPUTS, ROWS, Schedule, Shape, columns, vector};
use crate::ops::text::{component, vector_type};
use crate::ops::{Caps, Kernel};

/// Uniform of the generated kernels.
#[repr(C)]
#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
pub(in super::super) struct Params {
    images: u32,
    /// Output channels of an image, and of a group.
    channels: u32,
    m: u32,
    tiles_x: u32,
    h: u32,
    w: u32,
    oh: u32,
    ow: u32,
    /// Steps of each walk, those of a piece, and pieces.
    steps: u32,
    length: u32,
    pieces: u32,
    /// Pieces of strips of phases of images that one part sums, and parts.
    items: u32,
    parts: u32,
    lift: i32,
    _pad: [u32; 2],
}

const PARAMS: &str = "struct Params {
    images: u32, channels: u32, m: u32, tiles_x: u32,
    h: u32, w: u32, oh: u32, ow: u32,
    steps: u32, length: u32, pieces: u32, items: u32,
    parts: u32, lift: i32,
}
";

/// A kernel with its grid, and the parts it writes.
pub(in super::super) struct Plan {
    pub(in super::super) kernel: Kernel,
    pub(in super::super) params: Params,
    pub(in super::super) parts: usize,
    pub(in super::super) workgroups: usize,
    /// Of an invocation's loops.
    pub(in super::super) iterations: usize,
}

struct Walk {
    workgroup: usize,
    schedule: Schedule,
    strip: Strip,
    kernel: [usize; 2],
    stride_y: usize,
    /// Elements of dy loaded at once, and columns of the last tile of a row.
    vector: usize,
    tail: usize,
    bias: bool,
}

/// Most parts: they are added one after the other.
const PARTS: usize = 256;

/// The kernel for groups of one input channel; `None` for others, and where its text would be too long.
pub(in super::super) fn plan(g: &Geometry, caps: &Caps, bias: bool) -> Option<Plan> {
    if g.c != 1 || g.o > OUTPUTS {
        return None;
    }
    let shape = Shape::of(caps.class);
    let schedule = Schedule::new(g.kh, g.stride[0], g.dilation[0], 1);
    let unit = vector(&[g.ow]);
    let columns = columns(g.ow, unit, shape.columns.min(LINES / g.taps()));
    if columns * g.taps() > LINES || schedule.window > ROWS || g.taps() > 64 {
        return None;
    }
    let tiles_x = g.ow.div_ceil(columns);
    let strip = Strip::new(columns, g.kw, [g.stride[1], 1, g.dilation[1]], g.left as i64, g.w, tiles_x);
    let steps = g.oh.div_ceil(schedule.phases);
    let channels = g.groups * g.o;
    let wanted = shape.invocations.div_ceil(channels).min(PARTS);
    let walks = g.n * schedule.phases * tiles_x;
    let pieces = wanted.div_ceil(walks).min(steps / (2 * schedule.kept() + 1)).max(1);
    let length = steps.div_ceil(pieces);
    let pieces = steps.div_ceil(length);
    if !caps.allows(1 + length) {
        return None;
    }
    let needed = caps.pieces(walks * pieces, caps.max_loop_iterations as usize / (1 + length));
    let items = (walks * pieces).div_ceil(wanted.max(needed));
    let parts = (walks * pieces).div_ceil(items);
    let params = Params {
        images: g.n as u32,
        channels: channels as u32,
        m: g.o as u32,
        tiles_x: tiles_x as u32,
        h: g.h as u32,
        w: g.w as u32,
        oh: g.oh as u32,
        ow: g.ow as u32,
        steps: steps as u32,
        length: length as u32,
        pieces: pieces as u32,
        items: items as u32,
        parts: parts as u32,
        lift: g.top as i32,
        _pad: [0; 2],
    };
    let key = format!(
        "conv2d_depthwise_weight.s{}x{}d{}x{}b{}.{}x{}.{}.{columns}x{}.{unit}.w{}{}",
        g.stride[0],
        g.stride[1],
        g.dilation[0],
        g.dilation[1],
        g.left,
        g.kh,
        g.kw,
        strip.vector,
        g.ow - (tiles_x - 1) * columns,
        shape.workgroup,
        if bias { ".bias" } else { "" },
    );
    let walk = Walk {
        workgroup: shape.workgroup,
        schedule,
        strip,
        kernel: [g.kh, g.kw],
        stride_y: g.stride[0],
        vector: unit,
        tail: g.ow - (tiles_x - 1) * columns,
        bias,
    };
    let kernel = Kernel::generated(key, "conv2d_depthwise_weight", &walk.text());
    let workgroups = (channels * parts).div_ceil(shape.workgroup);
    Some(Plan { kernel, params, parts, workgroups, iterations: items * (1 + length) })
}

impl Walk {
    fn text(&self) -> String {
        let Walk { workgroup, schedule: s, strip, kernel: [kh, kw], vector, .. } = self;
        let mut t = String::new();
        let _ = write!(
            t,
            "// The whole kernel of one channel, from strips of {} columns.\n{PARAMS}\n\
             @group(0) @binding(0) var<storage, read> x: array<{}>;\n\
             @group(0) @binding(1) var<storage, read> dy: array<{}>;\n\
             @group(0) @binding(2) var<storage, read_write> dw: array<f32>;\n\
             @group(0) @binding(4) var<uniform> p: Params;\n",
            strip.columns,
            vector_type("f32", strip.vector),
            vector_type("f32", *vector),
        );
        if self.bias {
            t.push_str("@group(0) @binding(3) var<storage, read_write> db: array<f32>;\n");
        }
        let _ = write!(
            t,
            "\n@compute @workgroup_size({workgroup})\n\
             fn conv2d_depthwise_weight(@builtin(global_invocation_id) global: vec3<u32>,\n    \
             @builtin(num_workgroups) groups: vec3<u32>) {{\n    \
             let id = linear_index(global, groups, {workgroup}u);\n    \
             let channel = id % p.channels;\n    let part = id / p.channels;\n    \
             if (part >= p.parts) {{ return; }}\n"
        );
        for (ky, kx) in (0..*kh).flat_map(|ky| (0..*kw).map(move |kx| (ky, kx))) {
            let _ = writeln!(t, "    var s{ky}_{kx} = 0.0;");
        }
        if self.bias {
            t.push_str("    var sum = 0.0;\n");
        }
        let _ = write!(
            t,
            "    let items = p.images * p.tiles_x * p.pieces * {phases}u;\n    \
             let end = min((part + 1u) * p.items, items);\n    \
             for (var item = part * p.items; item < end; item += 1u) {{\n        \
             let tile = item % p.tiles_x;\n        let ox = tile * {}u;\n        \
             let first = item / p.tiles_x % p.pieces * p.length;\n        \
             let phase = item / (p.tiles_x * p.pieces) % {phases}u;\n        \
             let plane = item / (p.tiles_x * p.pieces * {phases}u) * p.channels + channel;\n        \
             let start = plane / p.m * p.h * p.w;\n        \
             var iy = i32(phase * {}u + first * {}u) - p.lift;\n",
            strip.columns,
            self.stride_y,
            s.advance,
            phases = s.phases,
        );
        let inner = "        ";
        strip.place(&mut t, inner);
        strip.declare(&mut t, s.window, inner);
        for slot in 0..s.kept() {
            strip.load(&mut t, slot, &format!("iy + {}", slot * s.spacing), inner);
        }
        t.push_str(
            "        let last = min(first + p.length, p.steps);\n        \
             for (var step = first; step < last; step += 1u) {\n",
        );
        let inner = "            ";
        for slot in s.kept()..s.window {
            strip.load(&mut t, slot, &format!("iy + {}", slot * s.spacing), inner);
        }
        self.row(&mut t);
        let _ = writeln!(t, "{inner}iy += {};", s.advance);
        for slot in 0..s.kept() {
            strip.shift(&mut t, slot, slot + s.shift, inner);
        }
        t.push_str("        }\n    }\n");
        for (ky, kx) in (0..*kh).flat_map(|ky| (0..*kw).map(move |kx| (ky, kx))) {
            let _ = writeln!(
                t,
                "    dw[(part * p.channels + channel) * {}u + {}u] = s{ky}_{kx};",
                kh * kw,
                ky * kw + kx
            );
        }
        if self.bias {
            t.push_str("    db[part * p.channels + channel] = sum;\n");
        }
        t.push_str("}\n");
        t
    }

    /// Loads a row of dy and adds its products.
    fn row(&self, t: &mut String) {
        let Walk { schedule: s, strip, kernel: [kh, kw], vector, .. } = self;
        let ty = vector_type("f32", *vector);
        let _ = write!(
            t,
            "            let oy = phase + step * {}u;\n            let in_y = oy < p.oh;\n            \
             let dy_row = (plane * p.oh + select(0u, oy, in_y)) * p.ow;\n",
            s.step
        );
        for unit in 0..strip.columns / vector {
            let at = format!("ox + {}u", unit * vector);
            // The last tile of a row may reach beyond it.
            let (at, inside) = match unit * vector < self.tail {
                true => (at, "in_y".to_string()),
                false => (format!("min({at}, p.ow - {vector}u)"), format!("in_y & ({at} < p.ow)")),
            };
            let _ = writeln!(
                t,
                "            let d{unit} = select({ty}(), dy[(dy_row + {at}) / {vector}u], {inside});"
            );
        }
        let d = |column: usize| component(&format!("d{}", column / vector), *vector, column % vector);
        if self.bias {
            let all: Vec<String> = (0..strip.columns).map(d).collect();
            let _ = writeln!(t, "            sum += {};", all.join(" + "));
        }
        for column in 0..strip.columns {
            for (ky, kx) in (0..*kh).flat_map(|ky| (0..*kw).map(move |kx| (ky, kx))) {
                let Some(at) = strip.meets(column, kx) else { continue };
                let (value, d, sum) = (strip.element(ky, at), d(column), format!("s{ky}_{kx}"));
                let _ = writeln!(t, "            {sum} = fma({value}, {d}, {sum});");
            }
        }
    }
}
