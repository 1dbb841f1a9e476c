//! The plain kernels, one output per invocation: for small work on software adapters, what nothing else fits, and the yardstick.
//! Their text is `shaders/conv2d.wgsl`.

use super::geometry::Extents;
use super::kernels::Asked;
use crate::error::Result;
use crate::ops::elementwise::library_then;
use crate::ops::parts::{Parts, in_parts};
use crate::ops::{Arg, Chain, Cut, Dispatch, Kernel, KernelContext, Program};

/// Uniform of the plain kernels.
#[repr(C)]
#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Params {
    extents: Extents,
    kh: u32,
    kw: u32,
    stride_y: u32,
    stride_x: u32,
    dilation_y: u32,
    dilation_x: u32,
    top: u32,
    left: u32,
    has_bias: u32,
    /// Parts that the sum is cut into, and terms of each.
    parts: u32,
    length: u32,
    _pad: u32,
}

/// The kernel `entry`, with one invocation per element of the output and part of its sum of `terms`.
fn launch(
    asked: &Asked<'_>,
    (entry, chain): (&str, Option<&Chain>),
    inputs: &[Arg],
    (outputs, terms): (usize, usize),
    ctx: &KernelContext<'_>,
) -> Result<Program> {
    let (g, own) = (&asked.g, ctx.inputs.len());
    let Cut { parts, length } = ctx.caps.cut(terms, ctx.caps.max_loop_iterations as usize);
    let params = Params {
        extents: Extents::of(g),
        kh: g.kh as u32,
        kw: g.kw as u32,
        stride_y: g.stride[0] as u32,
        stride_x: g.stride[1] as u32,
        dilation_y: g.dilation[0] as u32,
        dilation_x: g.dilation[1] as u32,
        top: g.top as u32,
        left: g.left as u32,
        has_bias: u32::from(asked.has_bias),
        parts: parts as u32,
        length: length as u32,
        _pad: 0,
    };
    in_parts(&Parts::of(parts, &[outputs]), ctx, chain.map(|c| (c, own)), |to, chain| {
        let mut args = [inputs, to].concat();
        args.extend(chain.iter().flat_map(|c| c.args(own)));
        let grid = ctx.caps.grid((outputs * parts).div_ceil(8))?;
        Ok(Dispatch::new(library_then(entry, chain, None)?, args, &params, grid).loop_iterations(length))
    })
}

/// The forward direction, or the gradient of the images.
pub(super) fn images(asked: &Asked<'_>, ctx: &KernelContext<'_>) -> Result<Program> {
    let (g, c) = (&asked.g, &asked.c);
    let inputs = [Arg::Input(0), Arg::Input(1), asked.bias()];
    let (entry, inputs) = match c.flip {
        false => ("conv2d_plain", &inputs[..]),
        true => ("conv2d_backward_input_plain", &inputs[..2]),
    };
    let outputs = c.images * c.groups * c.m * c.oh * c.ow;
    launch(asked, (entry, ctx.fusion.epilogue), inputs, (outputs, c.c * g.taps()), ctx)
}

/// The gradient of the weight and, in a launch of its own, of the bias.
pub(super) fn weight(asked: &Asked<'_>, ctx: &KernelContext<'_>) -> Result<Program> {
    let g = &asked.g;
    let extents = (g.groups * g.o * g.depth(), g.n * g.oh * g.ow);
    let inputs = [Arg::Input(0), Arg::Input(1)];
    let of_weight = Asked { has_bias: false, ..*asked };
    let program = launch(&of_weight, ("conv2d_backward_weight_plain", None), &inputs, extents, ctx)?;
    if asked.has_bias { Ok(program.then(bias(asked, ctx)?)) } else { Ok(program) }
}

/// The sum of dy over images and pixels, a workgroup per channel and part.
fn bias(asked: &Asked<'_>, ctx: &KernelContext<'_>) -> Result<Program> {
    let g = &asked.g;
    let (channels, all) = (g.groups * g.o, g.n * g.oh * g.ow);
    // What 64 invocations found is put together by six iterations.
    let most = 64 * (ctx.caps.max_loop_iterations as usize).saturating_sub(6);
    let Cut { parts, length } = ctx.caps.cut(all, most);
    let params = [g.n as u32, channels as u32, (g.oh * g.ow) as u32, length as u32];
    in_parts(&Parts { first: 1, ..Parts::of(parts, &[channels]) }, ctx, None, |to, _| {
        let args = [&[Arg::Input(1)], to].concat();
        let (kernel, grid) = (Kernel::library("conv2d_backward_bias")?, ctx.caps.grid(channels * parts)?);
        Ok(Dispatch::new(kernel, args, &params, grid).loop_iterations(length.div_ceil(64) + 6))
    })
}
