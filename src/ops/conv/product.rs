//! Convolutions by 1 × 1 on software adapters: products of matrices, as each image is one of channels by pixels, and the weight
//! is shared.

use super::kernels::Problem;
use crate::error::Result;
use crate::ops::matmul::images;
use crate::ops::split_k::{SplitK, split_k};
use crate::ops::{Arg, KernelContext, Program};

/// Images, rows and columns of the product, and what is summed.
fn extents(problem: &Problem) -> [usize; 4] {
    let (g, c) = (&problem.g, &problem.c);
    [g.n, c.m, g.oh * g.ow, c.c]
}

/// Rows that tiles of a product of `m` rows have.
fn rows_of_tiles(m: usize) -> usize {
    m.next_multiple_of(if m > 8 { 32 } else { 8 })
}

/// The forward direction, or the gradient of the images, where the product has the better tiles: whole vectors, and not most of
/// a tile beyond the product's edge.
pub(super) fn launch(problem: &Problem, ctx: &KernelContext<'_>) -> Result<Option<Program>> {
    let [images, m, n, k] = extents(problem);
    let pays = problem.g.is_product() && n.is_multiple_of(4) && 2 * m >= rows_of_tiles(m);
    let of = images::shared(problem.c.flip, [images, m, n, k], ctx.caps.class, problem.has_bias);
    if !pays || !ctx.caps.allows(of.iterations) {
        return Ok(None);
    }
    let mut args = vec![Arg::Input(1), Arg::Input(0), Arg::Output(0)];
    args.extend(problem.has_bias.then_some(Arg::Input(2)));
    args.extend(ctx.epilogue_args());
    Ok(Some(of.dispatch(args, ctx.fusion.epilogue, ctx)?.into()))
}

/// The gradient of the weight, which sums over images inside a tile.
pub(super) fn weight_launch(problem: &Problem, ctx: &KernelContext<'_>) -> Result<Option<Program>> {
    let g = &problem.g;
    let padded = rows_of_tiles(g.o) * g.c.next_multiple_of(32);
    let pays = g.is_product() && (g.oh * g.ow).is_multiple_of(4) && 4 * g.o * g.c >= padded;
    let (of, splits) = images::summed([g.n, g.o, g.c, g.oh * g.ow], ctx.caps, problem.has_bias);
    if !pays || !ctx.caps.allows(of.iterations.max(splits)) {
        return Ok(None);
    }
    let program = split_k(&SplitK::of(splits, &g.gradients(problem.has_bias)), ctx, |to, _| {
        of.dispatch([&[Arg::Input(1), Arg::Input(0)], to].concat(), None, ctx)
    });
    program.map(Some)
}
