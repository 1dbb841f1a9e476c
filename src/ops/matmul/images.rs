//! Products with the matrices of many images that share one matrix: what convolutions by 1 × 1 kernels are, where
//! each image is a matrix of channels by pixels.

use super::{Extents, Form, MatMul, MatMulKernels, Params, tile};
use crate::error::Result;
use crate::ops::{AdapterClass, Caps, Chain, Kernel};

/// Workgroups that share the work evenly among cores.
const WORKGROUPS: usize = 16;

/// A tile's kernel with its parameters and its number of workgroups.
pub(in crate::ops) struct Launch {
    pub(in crate::ops) kernel: Kernel,
    pub(in crate::ops) params: Params,
    pub(in crate::ops) workgroups: usize,
    /// Of an invocation's loops.
    pub(in crate::ops) iterations: usize,
}

/// C\[image\] = W B\[image\], plus a number for each row with `bias`, for W `[m, k]`, or of Wᵀ with `transposed`,
/// for W `[k, m]`. Binds W, B, C and the bias.
pub(in crate::ops) fn shared(
    transposed: bool,
    [images, m, n, k]: [usize; 4],
    class: AdapterClass,
    chain: Option<&Chain>,
    bias: bool,
) -> Result<Launch> {
    let form = if transposed { Form::Tn } else { Form::Nn };
    let e = Extents { batch: images, m, n, k };
    let extras = tile::Extras { bias, ..Default::default() };
    let tile::Chosen { kernel, tiles } = tile::choose(form, &e, class, chain, extras)?;
    let params = Params { a_batch: 0, ..MatMul { form, kernels: MatMulKernels::Best }.params(&e) };
    Ok(Launch { kernel, params, workgroups: tiles, iterations: tile::loop_iterations(k) })
}

/// C\[part\] = Σ A\[image\] B\[image\]ᵀ over the images of each part; with `sums` those of A's rows too. Binds A, B, C and the
/// sums. Says how many parts there are.
pub(in crate::ops) fn summed(
    [images, m, n, k]: [usize; 4],
    caps: &Caps,
    sums: bool,
) -> Result<(Launch, usize)> {
    let form = Form::Nt;
    let extras = tile::Extras { sums, images: true, ..Default::default() };
    let tile::Chosen { kernel, tiles } =
        tile::choose(form, &Extents { batch: 1, m, n, k }, caps.class, None, extras)?;
    let iterations = |parts: usize| images / parts * (1 + tile::loop_iterations(k));
    let enough = |parts: &usize| {
        images.is_multiple_of(*parts) && tiles * parts >= WORKGROUPS && caps.allows(iterations(*parts))
    };
    let parts = (1..images).find(enough).unwrap_or(images);
    let e = Extents { batch: parts, m, n, k };
    let params = Params {
        images: (images / parts) as u32,
        ..MatMul { form, kernels: MatMulKernels::Best }.params(&e)
    };
    let of = Launch { kernel, params, workgroups: tiles * parts, iterations: iterations(parts) };
    Ok((of, parts))
}

/// Turns of loops of [`shared`] for an extent of k.
pub(in crate::ops) fn loop_iterations(k: usize) -> usize {
    tile::loop_iterations(k)
}
