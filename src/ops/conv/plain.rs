//! The plain kernels, one output per invocation: for small work on software adapters, for what nothing else fits, and as the
//! baseline of the other kernels. Their text is `shaders/conv2d.wgsl`.

use super::kernels::Problem;
use crate::error::Result;
use crate::ops::elementwise::library_then;
use crate::ops::split_k::{SplitK, split_k};
use crate::ops::{Arg, Cut, Kernel, KernelContext, Program, uniform};

/// The kernel `entry`, with one invocation per element of the output and split of its sum of `terms`.
fn launch(
    problem: &Problem,
    entry: &str,
    inputs: &[Arg],
    (outputs, terms): (usize, usize),
    ctx: &KernelContext<'_>,
) -> Result<Program> {
    let g = &problem.g;
    let Cut { pieces: splits, length } = ctx.caps.cut(terms, ctx.caps.max_loop_iterations as usize);
    let params = uniform! {
        n: g.n, groups: g.groups, c: g.c, o: g.o, h: g.h, w: g.w, oh: g.oh, ow: g.ow, kh: g.kh, kw: g.kw, stride_y: g.stride[0], stride_x: g.stride[1],
        dilation_y: g.dilation[0], dilation_x: g.dilation[1], top: g.top, left: g.left,
        has_bias: problem.has_bias, splits, length,
    };
    split_k(&SplitK::of(splits, &[outputs]), ctx, |to, chain| {
        let (kernel, args) = (library_then(entry, chain, None)?, [inputs, to].concat());
        let launch = ctx.launch(kernel, args, &params, (outputs * splits).div_ceil(8))?;
        Ok(launch.loop_iterations(length))
    })
}

/// The forward direction, or the gradient of the images.
pub(super) fn images(problem: &Problem, ctx: &KernelContext<'_>) -> Result<Program> {
    let (g, c) = (&problem.g, &problem.c);
    let inputs = [Arg::Input(0), Arg::Input(1), problem.bias()];
    let entry = if c.flip { "conv2d_backward_input_plain" } else { "conv2d_plain" };
    let outputs = c.images * c.groups * c.m * c.oh * c.ow;
    launch(problem, entry, &inputs, (outputs, c.c * g.taps()), ctx)
}

/// The gradient of the weight and, in a launch of its own, of the bias.
pub(super) fn weight(problem: &Problem, ctx: &KernelContext<'_>) -> Result<Program> {
    let g = &problem.g;
    let extents = (g.groups * g.o * g.depth(), g.n * g.oh * g.ow);
    let inputs = [Arg::Input(0), Arg::Input(1)];
    let of_weight = Problem { has_bias: false, ..*problem };
    let program = launch(&of_weight, "conv2d_backward_weight_plain", &inputs, extents, ctx)?;
    if problem.has_bias { Ok(program.then(bias(problem, ctx)?)) } else { Ok(program) }
}

/// The sum of dy over images and pixels, a workgroup per channel and split.
fn bias(problem: &Problem, ctx: &KernelContext<'_>) -> Result<Program> {
    let g = &problem.g;
    let (channels, all) = (g.groups * g.o, g.n * g.oh * g.ow);
    // What 64 invocations found is put together by six iterations.
    let most = 64 * (ctx.caps.max_loop_iterations as usize).saturating_sub(6);
    let Cut { pieces: splits, length } = ctx.caps.cut(all, most);
    let params = uniform! { images: g.n, channels, size: g.oh * g.ow, length };
    split_k(&SplitK { first: 1, ..SplitK::of(splits, &[channels]) }, ctx, |to, _| {
        let (kernel, args) = (Kernel::library("conv2d_backward_bias")?, [&[Arg::Input(1)], to].concat());
        let launch = ctx.launch(kernel, args, &params, channels * splits)?;
        Ok(launch.loop_iterations(length.div_ceil(64) + 6))
    })
}
