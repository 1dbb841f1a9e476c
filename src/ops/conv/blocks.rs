//! Convolutions on GPUs, by [`Block`]s: the forward direction and the gradient of the images as products of the weight
//! with a matrix that exists in workgroup memory alone, and the gradient of the weight as a sum over pixels.
//!
//! The extents of the usual kernels are in the text, since a division by an unknown number costs as much as many products;
//! those of others, and all else, are in the uniform.

pub(super) mod weight;

use std::fmt::Write;

use super::correlation::Correlation;
use crate::error::Result;
use crate::ops::block::{Along, Block, Body};
use crate::ops::elementwise::FIRST_BINDING;
use crate::ops::parts::{Parts, in_parts};
use crate::ops::{Arg, Chain, Dispatch, Kernel, KernelContext, Program, Trial};

/// Uniform of the forward direction and the gradient of the images: [`Correlation`].
#[repr(C)]
#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Params {
    images: u32,
    groups: u32,
    c: u32,
    m: u32,
    h: u32,
    w: u32,
    oh: u32,
    ow: u32,
    stride_y: u32,
    stride_x: u32,
    gap_y: u32,
    gap_x: u32,
    dilation_y: u32,
    dilation_x: u32,
    before_y: u32,
    before_x: u32,
    group_step: u32,
    m_step: u32,
    c_step: u32,
    has_bias: u32,
    kw: u32,
    taps: u32,
    /// Parts that the sum is cut into, and the extent of each.
    parts: u32,
    length: u32,
}

/// Where the tile of a workgroup is: its rows and columns, where its part of k begins, and the statement that says where it
/// ends.
fn tile_of(block: &Block, rows: &str, columns: &str, begin: &str, end: &str) -> String {
    let Block { rows: r, columns: c, .. } = *block;
    format!(
        "// Its first row and column, its part of k, and its group.\n\
         struct Tile {{ row: u32, column: u32, begin: u32, end: u32, group: u32, part: u32 }}\n\n\
         fn tile_of(id: u32) -> Tile {{\n    \
         let high = ({rows} + {}u) / {r}u;\n    let wide = ({columns} + {}u) / {c}u;\n    \
         let matrix = id / (high * wide);\n    let at = tile_in_order(id % (high * wide), high, wide);\n    \
         let part = matrix / p.groups;\n    {end}\n    \
         return Tile(at.x * {r}u, at.y * {c}u, {begin}, end, matrix % p.groups, part);\n}}\n\n",
        r - 1,
        c - 1,
    )
}

/// Four values from a binding at `at`, zero where `inside` is not.
fn gathered(binding: &str) -> String {
    format!(
        "    let o = select(vec4<u32>(), at, inside);\n    \
         return select(vec4<f32>(), vec4<f32>({binding}[o.x], {binding}[o.y], {binding}[o.z], {binding}[o.w]), inside);\n}}\n\n"
    )
}

/// The forms that can compute a correlation.
pub(super) fn trial(c: &Correlation) -> Trial {
    let gap = if c.gap == [1, 1] { "" } else { "g" };
    let name = format!("conv2d{}.k{}x{}{gap}", if c.flip { "_backward_input" } else { "" }, c.kh, c.kw);
    let pixels = c.images * c.oh * c.ow;
    Block::trial(&name, [c.m, pixels], c.groups, c.c * c.kh * c.kw, false)
}

/// The launch of a correlation, with `chain` behind it.
pub(super) fn correlate(
    c: &Correlation,
    forced: Option<usize>,
    has_bias: bool,
    ctx: &KernelContext<'_>,
    chain: Option<&Chain>,
) -> Result<Program> {
    let pixels = c.images * c.oh * c.ow;
    let block = Block::of(forced, &trial(c), ctx.caps);
    let depth = c.c * c.kh * c.kw;
    // The weight of a row is contiguous along k, and so is a vector of it.
    let in_line = !c.flip && c.weight_steps[1] == depth;
    let taps = Taps::of(c.kh, c.kw);
    let (parts, length) = Block::whole(depth, ctx.caps);
    let text = Text {
        block,
        taps,
        weight4: taps.is_known() && in_line && depth.is_multiple_of(4),
        rows_of_four: taps.is_known() && c.ow.is_multiple_of(4),
        has_gap: c.gap != [1, 1],
        flip: c.flip,
    };
    let params = Params {
        images: c.images as u32,
        groups: c.groups as u32,
        c: c.c as u32,
        m: c.m as u32,
        h: c.h as u32,
        w: c.w as u32,
        oh: c.oh as u32,
        ow: c.ow as u32,
        stride_y: c.stride[0] as u32,
        stride_x: c.stride[1] as u32,
        gap_y: c.gap[0] as u32,
        gap_x: c.gap[1] as u32,
        dilation_y: c.dilation[0] as u32,
        dilation_x: c.dilation[1] as u32,
        // Positions before the first wrap around, and are then beyond the last.
        before_y: c.before[0] as u32,
        before_x: c.before[1] as u32,
        group_step: c.weight_steps[0] as u32,
        m_step: c.weight_steps[1] as u32,
        c_step: c.weight_steps[2] as u32,
        has_bias: u32::from(has_bias),
        kw: c.kw as u32,
        taps: (c.kh * c.kw) as u32,
        parts: parts as u32,
        length: length as u32,
    };
    // Without a bias something has to be bound in its place.
    let bias = Arg::Input(if has_bias { 2 } else { 1 });
    let inputs = ctx.inputs.len();
    let elements = [c.groups * c.m * pixels];
    in_parts(&Parts::of(parts, &elements), ctx, chain.map(|c| (c, inputs)), |to, chain| {
        let mut args = [&[Arg::Input(0), Arg::Input(1), bias], to].concat();
        args.extend(chain.iter().flat_map(|chain| chain.args(inputs)));
        let grid = ctx.caps.grid(block.workgroups([c.m, pixels]) * c.groups * parts)?;
        Ok(Dispatch::new(text.kernel(chain), args, &params, grid)
            .loop_iterations(block.loop_iterations(length)))
    })
}

/// What the text of a correlation depends on.
struct Text {
    block: Block,
    taps: Taps,
    /// Whether the weight is read as vectors along k.
    weight4: bool,
    /// Whether four neighbouring pixels always are in one row, and are stored as a vector.
    rows_of_four: bool,
    has_gap: bool,
    flip: bool,
}

/// The extents of a kernel, as a text knows them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Taps(Option<[usize; 2]>);

impl Taps {
    fn of(kh: usize, kw: usize) -> Self {
        Taps(Some([kh, kw]).filter(|extents| matches!(extents, [1, 1] | [3, 3])))
    }

    fn is_known(self) -> bool {
        self.0.is_some()
    }

    fn key(self) -> String {
        self.0.map(|[kh, kw]| format!(".k{kh}x{kw}")).unwrap_or_default()
    }

    /// `text` with its numbers of taps, and of taps in a row, in the place of `TAPS` and `KW`.
    fn put(self, text: &str) -> String {
        let [taps, kw] = match self.0 {
            Some([kh, kw]) => [format!("{}u", kh * kw), format!("{kw}u")],
            None => ["p.taps".to_string(), "p.kw".to_string()],
        };
        text.replace("TAPS", &taps).replace("KW", &kw)
    }
}

impl Text {
    fn kernel(&self, chain: Option<&Chain>) -> Kernel {
        let entry = if self.flip { "conv2d_backward_input_block" } else { "conv2d_block" };
        let letter = |is: bool, letter: &'static str| if is { letter } else { "" };
        let mut key = format!(
            "{entry}.{}{}{}{}{}",
            self.block.name(),
            self.taps.key(),
            letter(self.weight4, "w"),
            letter(self.rows_of_four, "r"),
            letter(self.has_gap, "g"),
        );
        let mut functions = self.functions(chain.is_some());
        if let Some(chain) = chain {
            key += &format!(".then.{}", chain.key(None));
            let finish = chain.finish(if self.rows_of_four { 4 } else { 1 }, FIRST_BINDING, None);
            functions = format!("{}{}\n{functions}", finish.bindings, finish.functions);
        }
        let body = Body { entry, functions: &functions, a: Along::K, b: Along::Lines, sums: false };
        Kernel::generated(key, entry, &self.block.text(&body))
    }

    fn functions(&self, finishes: bool) -> String {
        let element = |vectors: bool| if vectors { "vec4<f32>" } else { "f32" };
        let mut t = format!(
            "struct Params {{\n    images: u32, groups: u32, c: u32, m: u32,\n    h: u32, w: u32, oh: u32, ow: u32,\n    \
             stride_y: u32, stride_x: u32, gap_y: u32, gap_x: u32,\n    \
             dilation_y: u32, dilation_x: u32, before_y: u32, before_x: u32,\n    \
             group_step: u32, m_step: u32, c_step: u32, has_bias: u32, kw: u32, taps: u32,\n    parts: u32, length: u32,\n}}\n\n\
             @group(0) @binding(0) var<storage, read> input: array<f32>;\n\
             @group(0) @binding(1) var<storage, read> weight: array<{}>;\n\
             @group(0) @binding(2) var<storage, read> bias: array<f32>;\n\
             @group(0) @binding(3) var<storage, read_write> output: array<{}>;\n\
             @group(0) @binding(4) var<uniform> p: Params;\n\n",
            element(self.weight4),
            element(self.rows_of_four),
        );
        t += &tile_of(
            &self.block,
            "p.m",
            "(p.images * p.oh * p.ow)",
            "part * p.length",
            "let end = select(min((part + 1u) * p.length, p.c * TAPS), 0u, part >= p.parts);",
        );
        self.weight(&mut t);
        self.images(&mut t);
        self.store(&mut t, finishes);
        self.taps.put(&t)
    }

    /// A is the weight `[m, c taps]` of the group.
    fn weight(&self, t: &mut String) {
        t.push_str(
            "// Where row `at` of the weight begins.\nfn of_a(tile: Tile, at: u32) -> u32 {\n    \
             return tile.group * p.group_step + min(at, p.m - 1u) * p.m_step;\n}\n\n\
             fn load_a(tile: Tile, place: u32, k: u32) -> vec4<f32> {\n",
        );
        if self.weight4 {
            t.push_str("    return select(vec4<f32>(), weight[(place + min(k, tile.end - 4u)) / 4u], k < tile.end);\n}\n\n");
            return;
        }
        let tap = if self.flip { "TAPS - 1u - all % TAPS" } else { "all % TAPS" };
        let _ = writeln!(
            t,
            "    let all = vec4<u32>(k, k + 1u, k + 2u, k + 3u);\n    let inside = all < vec4<u32>(tile.end);\n    \
             let at = place + all / TAPS * p.c_step + {tap};",
        );
        *t += &gathered("weight");
    }

    /// B is the input `[c taps, images oh ow]`, gathered.
    fn images(&self, t: &mut String) {
        let ty = if self.rows_of_four { "u32" } else { "vec4<u32>" };
        let pixels = match self.rows_of_four {
            true => "    let pixel = min(at, p.images * size - 1u);\n",
            false => {
                "    let pixel = min(vec4<u32>(at, at + 1u, at + 2u, at + 3u), vec4<u32>(p.images * size - 1u));\n"
            }
        };
        let across = match self.rows_of_four {
            true => "vec4<u32>(0u, 1u, 2u, 3u) + pixel % p.ow",
            false => "pixel % p.ow",
        };
        let _ = write!(
            t,
            "// The planes of four pixels, and where their first tap is: before the first element it wraps around.\n\
             struct Pixels {{ plane: {ty}, y: {ty}, x: vec4<u32> }}\n\n\
             fn of_b(tile: Tile, at: u32) -> Pixels {{\n    let size = p.oh * p.ow;\n{pixels}    \
             let plane = (pixel / size * p.groups + tile.group) * p.c * p.h * p.w;\n    \
             let y = pixel % size / p.ow * p.stride_y - p.before_y;\n    \
             return Pixels(plane, y, ({across}) * p.stride_x - p.before_x);\n}}\n\n\
             fn load_b(tile: Tile, place: Pixels, k: u32) -> vec4<f32> {{\n    \
             let tap = k % TAPS;\n    \
             let down = place.y + tap / KW * p.dilation_y;\n    let right = place.x + tap % KW * p.dilation_x;\n"
        );
        let all = |condition: &str| match self.rows_of_four {
            true => format!("vec4<bool>({condition})"),
            false => condition.to_string(),
        };
        let wide = |value: &str| match self.rows_of_four {
            true => value.to_string(),
            false => format!("vec4<u32>({value})"),
        };
        let met = match self.has_gap {
            true => {
                let _ = write!(
                    t,
                    "    let iy = down / p.gap_y;\n    let ix = right / p.gap_x;\n    \
                     let met_y = {};\n    let met_x = ix * p.gap_x == right;\n",
                    all("iy * p.gap_y == down")
                );
                " & met_y & met_x"
            }
            false => {
                t.push_str("    let iy = down;\n    let ix = right;\n");
                ""
            }
        };
        let _ = write!(
            t,
            "    let inside = vec4<bool>(k < tile.end) & {} & (ix < vec4<u32>(p.w)){met};\n    \
             let at = place.plane + k / TAPS * p.h * p.w + iy * p.w + ix;\n",
            all(&format!("(iy < {})", wide("p.h"))),
        );
        *t += &gathered("input");
    }

    fn store(&self, t: &mut String, finishes: bool) {
        let finish = |value: &str, at: &str| match finishes {
            true => format!("finish({value}, {at}, 0u)"),
            false => value.to_string(),
        };
        t.push_str(
            "fn store(tile: Tile, row: u32, column: u32, sum: vec4<f32>) {\n    let size = p.oh * p.ow;\n    \
             if (row >= p.m || column >= p.images * size) { return; }\n",
        );
        t.push_str(
            "    var value = sum;\n    if (p.has_bias != 0u && tile.part == 0u) { value += bias[tile.group * p.m + row]; }\n",
        );
        let place = "(((tile.part * p.images + image) * p.groups + tile.group) * p.m + row) * size";
        if self.rows_of_four {
            let _ = write!(
                t,
                "    let image = column / size;\n    let at = ({place} + column % size) / 4u;\n    \
                 output[at] = {};\n",
                finish("value", "at")
            );
        } else {
            t.push_str("    for (var j = 0u; j < 4u; j += 1u) {\n        let pixel = column + j;\n        let image = pixel / size;\n");
            let _ = write!(
                t,
                "        let at = {place} + pixel % size;\n        \
                 if (image < p.images) {{ output[at] = {}; }}\n    }}\n",
                finish("value[j]", "at")
            );
        }
        t.push_str("}\n\n");
    }
}
