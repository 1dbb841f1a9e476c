//! Convolutions by 1 × 1 on software adapters: products of matrices, as each image is one of channels by pixels, and the weight
//! is shared.

pub(super) mod halved;

use super::geometry::Geometry;
use super::kernels::Asked;
use crate::error::Result;
use crate::ops::matmul::images;
use crate::ops::parts::{Parts, in_parts};
use crate::ops::{Arg, KernelContext, Program};

/// Images, rows and columns of the product, and what is summed.
fn extents(asked: &Asked<'_>) -> [usize; 4] {
    let (g, c) = (&asked.g, &asked.c);
    [g.n, c.m, g.oh * g.ow, c.c]
}

/// Rows that tiles of a product of `m` rows have.
fn rows_of_tiles(m: usize) -> usize {
    m.next_multiple_of(if m > 8 { 32 } else { 8 })
}

/// Whether the product has the better tiles: whole vectors, and not most of a tile beyond the product's edge. Its loops, and
/// those over the vectors of a row that is halved, must be none that an adapter ends early.
fn pays(asked: &Asked<'_>) -> bool {
    let [_, m, n, k] = extents(asked);
    let allowed = asked.caps.allows(images::loop_iterations(k).max(asked.g.w.div_ceil(4)));
    n.is_multiple_of(4) && 2 * m >= rows_of_tiles(m) && allowed
}

pub(super) fn fits(asked: &Asked<'_>) -> bool {
    asked.g.is_product() && pays(asked)
}

/// The forward direction, or the gradient of the images.
pub(super) fn launch(asked: &Asked<'_>, ctx: &KernelContext<'_>) -> Result<Program> {
    let (chain, has_bias) = (ctx.fusion.epilogue, asked.has_bias);
    let of = images::shared(asked.c.flip, extents(asked), ctx.caps.class, has_bias);
    let mut args = vec![Arg::Input(1), Arg::Input(0), Arg::Output(0)];
    args.extend(has_bias.then_some(Arg::Input(2)));
    args.extend(chain.iter().flat_map(|c| c.args(ctx.inputs.len())));
    Ok(of.dispatch(args, chain, ctx.caps)?.into())
}

fn summed_extents(g: &Geometry) -> [usize; 4] {
    [g.n, g.o, g.c, g.oh * g.ow]
}

pub(super) fn weight_fits(asked: &Asked<'_>) -> bool {
    let g = &asked.g;
    let padded = rows_of_tiles(g.o) * g.c.next_multiple_of(32);
    let pays = g.is_product() && (g.oh * g.ow).is_multiple_of(4) && 4 * g.o * g.c >= padded;
    let (of, parts) = images::summed(summed_extents(g), asked.caps, asked.has_bias);
    pays && asked.caps.allows(of.iterations.max(parts))
}

/// The gradient of the weight, which sums over images inside a tile.
pub(super) fn weight_launch(asked: &Asked<'_>, ctx: &KernelContext<'_>) -> Result<Program> {
    let g = &asked.g;
    let (of, parts) = images::summed(summed_extents(g), ctx.caps, asked.has_bias);
    in_parts(&Parts::of(parts, &g.gradients(asked.has_bias)), ctx, None, |to, _| {
        of.dispatch([&[Arg::Input(1), Arg::Input(0)], to].concat(), None, ctx.caps)
    })
}
