//! The gradient of the weight, as a sum over pixels that workgroups cut among themselves.

use std::fmt::Write;

use super::{Taps, gathered, tile_of};
use crate::error::Result;
use crate::ops::block::{Along, Block, Body};
use crate::ops::conv::geometry::Geometry;
use crate::ops::parts::{Parts, in_parts};
use crate::ops::{Arg, Dispatch, Kernel, KernelContext, Program, Trial};

/// Uniform of the gradient of the weight.
#[repr(C)]
#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Params {
    images: u32,
    groups: u32,
    c: u32,
    o: u32,
    h: u32,
    w: u32,
    oh: u32,
    ow: u32,
    stride_y: u32,
    stride_x: u32,
    dilation_y: u32,
    dilation_x: u32,
    top: u32,
    left: u32,
    parts: u32,
    length: u32,
    kw: u32,
    taps: u32,
    _pad: [u32; 2],
}

/// The forms that can compute it.
pub(in crate::ops::conv) fn trial(g: &Geometry) -> Trial {
    let name = format!("conv2d_backward_weight.k{}x{}", g.kh, g.kw);
    Block::trial(&name, [g.o, g.depth()], g.groups, g.n * g.oh * g.ow, true)
}

/// The launches of the gradient of the weight and, with `bias`, of the bias.
pub(in crate::ops::conv) fn gradient(
    g: &Geometry,
    forced: Option<usize>,
    bias: bool,
    ctx: &KernelContext<'_>,
) -> Result<Program> {
    let (columns, pixels) = (g.depth(), g.n * g.oh * g.ow);
    let block = Block::of(forced, &trial(g), ctx.caps);
    let (parts, length) = Block::parts([g.o, columns], g.groups, pixels, ctx.caps);
    let params = Params {
        images: g.n as u32,
        groups: g.groups as u32,
        c: g.c as u32,
        o: g.o as u32,
        h: g.h as u32,
        w: g.w as u32,
        oh: g.oh as u32,
        ow: g.ow as u32,
        stride_y: g.stride[0] as u32,
        stride_x: g.stride[1] as u32,
        dilation_y: g.dilation[0] as u32,
        dilation_x: g.dilation[1] as u32,
        top: g.top as u32,
        left: g.left as u32,
        parts: parts as u32,
        length: length as u32,
        kw: g.kw as u32,
        taps: g.taps() as u32,
        _pad: [0; 2],
    };
    let sizes = [g.groups * g.o * columns, g.groups * g.o];
    let taps = Taps::of(g.kh, g.kw);
    let text = Text { block, taps, rows_of_four: taps.is_known() && g.ow.is_multiple_of(4), bias };
    in_parts(&Parts::of(parts, &sizes[..1 + usize::from(bias)]), ctx, None, |to, _| {
        let args = [&[Arg::Input(0), Arg::Input(1)], to].concat();
        let grid = ctx.caps.grid(block.workgroups([g.o, columns]) * g.groups * parts)?;
        Ok(Dispatch::new(text.kernel(), args, &params, grid).loop_iterations(block.loop_iterations(length)))
    })
}

/// What the text of the weight's gradient depends on.
struct Text {
    block: Block,
    taps: Taps,
    /// Whether four neighbouring pixels always are in one row.
    rows_of_four: bool,
    bias: bool,
}

impl Text {
    fn kernel(&self) -> Kernel {
        let entry = "conv2d_backward_weight_block";
        let (rows, bias) = (if self.rows_of_four { "r" } else { "" }, if self.bias { "b" } else { "" });
        let key = format!("{entry}.{}{}{rows}{bias}", self.block.name(), self.taps.key());
        let functions = self.functions();
        let body = Body { entry, functions: &functions, a: Along::K, b: Along::K, sums: self.bias };
        Kernel::generated(key, entry, &self.block.text(&body))
    }

    fn functions(&self) -> String {
        let dy = if self.rows_of_four { "vec4<f32>" } else { "f32" };
        let mut t = format!(
            "struct Params {{\n    images: u32, groups: u32, c: u32, o: u32,\n    h: u32, w: u32, oh: u32, ow: u32,\n    \
             stride_y: u32, stride_x: u32, dilation_y: u32, dilation_x: u32,\n    \
             top: u32, left: u32, parts: u32, length: u32, kw: u32, taps: u32,\n}}\n\n\
             @group(0) @binding(0) var<storage, read> input: array<f32>;\n\
             @group(0) @binding(1) var<storage, read> dy: array<{dy}>;\n\
             @group(0) @binding(2) var<storage, read_write> dw: array<f32>;\n\
             @group(0) @binding(4) var<uniform> p: Params;\n{}\n",
            if self.bias { "@group(0) @binding(3) var<storage, read_write> db: array<f32>;\n" } else { "" },
        );
        t += &tile_of(
            &self.block,
            "p.o",
            "(p.c * TAPS)",
            "part * p.length",
            "let end = select(min((part + 1u) * p.length, p.images * p.oh * p.ow), 0u, part >= p.parts);",
        );
        // A is dy [o, images oh ow] of the group.
        t.push_str(
            "// Where the plane of row `at` begins in an image.\nfn of_a(tile: Tile, at: u32) -> u32 {\n    \
             return (tile.group * p.o + min(at, p.o - 1u)) * p.oh * p.ow;\n}\n\n\
             fn load_a(tile: Tile, place: u32, k: u32) -> vec4<f32> {\n    let size = p.oh * p.ow;\n",
        );
        if self.rows_of_four {
            t.push_str(
                "    let pixel = min(k, tile.end - 4u);\n    \
                 let at = pixel / size * p.groups * p.o * size + place + pixel % size;\n    \
                 return select(vec4<f32>(), dy[at / 4u], k < tile.end);\n}\n\n",
            );
        } else {
            t.push_str(
                "    let pixel = vec4<u32>(k, k + 1u, k + 2u, k + 3u);\n    let inside = pixel < vec4<u32>(tile.end);\n    \
                 let at = pixel / size * (p.groups * p.o * size) + place + pixel % size;\n",
            );
            t += &gathered("dy");
        }
        // B is the input [images oh ow, c taps], gathered.
        let (pixel, across, all) = match self.rows_of_four {
            true => ("k", "vec4<u32>(0u, 1u, 2u, 3u) + pixel % p.ow", "vec4<bool>(iy < p.h)"),
            false => ("vec4<u32>(k, k + 1u, k + 2u, k + 3u)", "pixel % p.ow", "(iy < vec4<u32>(p.h))"),
        };
        let within = match self.rows_of_four {
            true => "vec4<bool>(k < tile.end)",
            false => "(pixel < vec4<u32>(tile.end))",
        };
        let _ = write!(
            t,
            "// The plane of a column within its image, and where its tap is from the first pixel on.\n\
             struct Column {{ plane: u32, y: u32, x: u32 }}\n\n\
             fn of_b(tile: Tile, at: u32) -> Column {{\n    let column = min(at, p.c * TAPS - 1u);\n    \
             let tap = column % TAPS;\n    \
             return Column((tile.group * p.c + column / TAPS) * p.h * p.w, tap / KW * p.dilation_y - p.top,\n        \
             tap % KW * p.dilation_x - p.left);\n}}\n\n\
             fn load_b(tile: Tile, place: Column, k: u32) -> vec4<f32> {{\n    let size = p.oh * p.ow;\n    \
             let pixel = {pixel};\n    \
             let iy = pixel % size / p.ow * p.stride_y + place.y;\n    let ix = ({across}) * p.stride_x + place.x;\n    \
             let inside = {within} & {all} & (ix < vec4<u32>(p.w));\n    \
             let at = pixel / size * (p.groups * p.c * p.h * p.w) + place.plane + iy * p.w + ix;\n",
        );
        t += &gathered("input");
        t.push_str(
            "fn store(tile: Tile, row: u32, column: u32, value: vec4<f32>) {\n    if (row >= p.o) { return; }\n    \
             let columns = p.c * TAPS;\n    let o = ((tile.part * p.groups + tile.group) * p.o + row) * columns;\n    \
             for (var j = 0u; j < 4u; j += 1u) {\n        \
             if (column + j < columns) { dw[o + column + j] = value[j]; }\n    }\n}\n\n",
        );
        if self.bias {
            t.push_str(
                "fn store_sums(tile: Tile, row: u32, value: vec4<f32>) {\n    if (tile.column > 0u) { return; }\n    \
                 let o = (tile.part * p.groups + tile.group) * p.o;\n    \
                 for (var j = 0u; j < 4u; j += 1u) {\n        \
                 if (row + j < p.o) { db[o + row + j] = value[j]; }\n    }\n}\n\n",
            );
        }
        self.taps.put(&t)
    }
}
