//! Convolutions by 1 × 1 with stride 2, as the shortcuts of residual networks have: products of matrices over every
//! second pixel, which a launch before takes together, or one behind spreads. The weight's gradient stays with register
//! tiles, which are as fast.

use super::super::geometry::Geometry;
use super::super::kernels::Asked;
use super::{extents, pays};
use crate::error::Result;
use crate::ops::elementwise::FIRST_BINDING;
use crate::ops::matmul::images as products;
use crate::ops::{Arg, Chain, Dispatch, Kernel, KernelContext, Program};

/// Uniform of the kernels that move pixels.
#[repr(C)]
#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Params {
    /// Rows of all planes of half the height, and vectors of four in a row of the others.
    rows: u32,
    vectors: u32,
    _pad: [u32; 2],
}

/// Moves pixels between planes `[n, c, h, w]` and those of half the extents.
fn moving(kernel: Kernel, args: Vec<Arg>, g: &Geometry, ctx: &KernelContext<'_>) -> Result<Dispatch> {
    let rows = g.n * g.c * g.oh;
    let params = Params { rows: rows as u32, vectors: (g.w / 4) as u32, _pad: [0; 2] };
    Ok(Dispatch::new(kernel, args, &params, ctx.caps.grid(rows.div_ceil(8))?).loop_iterations(g.w / 4))
}

pub(in super::super) fn fits(asked: &Asked<'_>) -> bool {
    asked.g.is_product_of_half() && pays(asked)
}

/// The forward direction, or the gradient of the images.
pub(in super::super) fn launch(asked: &Asked<'_>, ctx: &KernelContext<'_>) -> Result<Program> {
    let (g, chain, has_bias, transposed) = (&asked.g, ctx.fusion.epilogue, asked.has_bias, asked.c.flip);
    let others = chain.iter().flat_map(|c| c.args(ctx.inputs.len()));
    let of = products::shared(transposed, extents(asked), ctx.caps.class, has_bias);
    let dispatches = if transposed {
        let product = of.dispatch(vec![Arg::Input(1), Arg::Input(0), Arg::Scratch(0)], None, ctx.caps)?;
        let args = [Arg::ScratchRead(0), Arg::Output(0)].into_iter().chain(others).collect();
        vec![product, moving(spread(chain)?, args, g, ctx)?]
    } else {
        let mut args = vec![Arg::Input(1), Arg::ScratchRead(0), Arg::Output(0)];
        args.extend(has_bias.then_some(Arg::Input(2)));
        args.extend(others);
        let take = vec![Arg::Input(0), Arg::Scratch(0)];
        let take = moving(Kernel::library("conv2d_take_pixels")?, take, g, ctx)?;
        vec![take, of.dispatch(args, chain, ctx.caps)?]
    };
    let bytes = 4 * g.n * g.c * g.oh * g.ow;
    Ok(Program { dispatches, scratch: vec![bytes] })
}

fn spread(chain: Option<&Chain>) -> Result<Kernel> {
    let entry = "conv2d_spread_pixels";
    let Some(chain) = chain else { return Kernel::library(entry) };
    let finish = chain.finish4(FIRST_BINDING);
    let key = format!("{entry}.then.{}", chain.key(None));
    Kernel::library_with(entry, key, &["finish4"], &format!("{}{}", finish.bindings, finish.functions))
}
