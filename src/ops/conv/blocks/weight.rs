//! The gradient of the weight, as a sum over pixels that workgroups cut among themselves. Its text is
//! `shaders/gpu/conv2d_weight_block.wgsl.jinja`.

use minijinja::context;

use super::taps;
use crate::error::Result;
use crate::ops::block::{Along, Block};
use crate::ops::conv::geometry::Geometry;
use crate::ops::conv::kernels::Problem;
use crate::ops::split_k::{SplitK, split_k};
use crate::ops::text::rendered;
use crate::ops::{Arg, Kernel, KernelContext, Program, Trial, uniform};

/// The forms that can compute it.
pub(in crate::ops::conv) fn trial(g: &Geometry) -> Trial {
    let name = format!("conv2d_backward_weight.k{}x{}", g.kh, g.kw);
    Block::trial(&name, [g.o, g.depth()], g.groups * splits(g), g.n * g.oh * g.ow)
}

/// How many splits of the pixels are wanted.
fn splits(g: &Geometry) -> usize {
    Block::splits_of_pixels([g.o, g.depth()], g.groups, g.n * g.oh * g.ow)
}

/// The gradient of the weight and, if it is asked for, of the bias.
pub(in crate::ops::conv) fn launch(problem: &Problem, ctx: &KernelContext<'_>) -> Result<Program> {
    let (g, bias) = (&problem.g, problem.has_bias);
    let (columns, pixels) = (g.depth(), g.n * g.oh * g.ow);
    let block = Block::of(problem.kernels.form(), &trial(g), ctx.caps);
    let (splits, length) = Block::cut(pixels, splits(g), ctx.caps);
    let params = g.uniform().and(uniform! {
        stride_y: g.stride[0], stride_x: g.stride[1], dilation_y: g.dilation[0],
        dilation_x: g.dilation[1], top: g.top, left: g.left, splits, length, kw: g.kw, taps: g.taps(),
    });
    split_k(&SplitK::of(splits, &g.gradients(bias)), ctx, |to, _| {
        let args = [&[Arg::Input(0), Arg::Input(1)], to].concat();
        let workgroups = block.workgroups([g.o, columns]) * g.groups * splits;
        let launch = ctx.launch(kernel(g, &block, bias)?, args, &params, workgroups)?;
        Ok(launch.loop_iterations(block.loop_iterations(length)))
    })
}

/// The variant of the kernel.
fn kernel(g: &Geometry, block: &Block, bias: bool) -> Result<Kernel> {
    let entry = "conv2d_backward_weight_block";
    let (k, [taps, kw], is_known) = taps(g.kh, g.kw);
    // Whether four neighbouring pixels always are in one row.
    let rows_of_four = is_known && g.ow.is_multiple_of(4);
    let (r, b) = (if rows_of_four { "r" } else { "" }, if bias { "b" } else { "" });
    let key = format!("{entry}.{}{k}{r}{b}", block.name());
    let block = block.variant(entry, Along::K, Along::K, bias);
    rendered("gpu/conv2d_weight_block", key, entry, context! { taps, kw, rows_of_four, ..block }, None)
}
