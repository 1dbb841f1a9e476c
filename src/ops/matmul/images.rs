//! Products with the matrices of many images that share one matrix: what convolutions by 1 × 1 kernels are, where
//! each image is a matrix of channels by pixels.

use super::{Extents, Form, MatMul, MatMulKernels, Params, tile};
use crate::error::Result;
use crate::ops::{AdapterClass, Arg, Caps, Chain, Dispatch};

/// Workgroups that share the work evenly among cores.
const WORKGROUPS: usize = 16;

/// A tile with its parameters and its number of workgroups.
pub(in crate::ops) struct Launch {
    chosen: tile::Chosen,
    params: Params,
    workgroups: usize,
    /// Of an invocation's loops.
    pub(in crate::ops) iterations: usize,
}

impl Launch {
    pub(in crate::ops) fn dispatch(
        &self,
        args: Vec<Arg>,
        chain: Option<&Chain>,
        caps: &Caps,
    ) -> Result<Dispatch> {
        let grid = caps.grid(self.workgroups)?;
        let kernel = self.chosen.kernel(chain)?;
        Ok(Dispatch::new(kernel, args, &self.params, grid).loop_iterations(self.iterations))
    }
}

/// C\[image\] = W B\[image\], plus a number for each row with `bias`, for W `[m, k]`, or of Wᵀ with `transposed`,
/// for W `[k, m]`. Binds W, B, C and the bias.
pub(in crate::ops) fn shared(
    transposed: bool,
    [images, m, n, k]: [usize; 4],
    class: AdapterClass,
    bias: bool,
) -> Launch {
    let form = if transposed { Form::Tn } else { Form::Nn };
    let e = Extents { batch: images, m, n, k };
    let extras = tile::Extras { bias, ..Default::default() };
    let chosen = tile::choose(form, &e, class, extras);
    let params = Params { a_batch: 0, ..MatMul { form, kernels: MatMulKernels::Best }.params(&e) };
    Launch { chosen, params, workgroups: chosen.tiles, iterations: tile::loop_iterations(k) }
}

/// C\[part\] = Σ A\[image\] B\[image\]ᵀ over the images of each part; with `sums` those of A's rows too. Binds A, B, C and the
/// sums. Says how many parts there are.
pub(in crate::ops) fn summed([images, m, n, k]: [usize; 4], caps: &Caps, sums: bool) -> (Launch, usize) {
    let form = Form::Nt;
    let extras = tile::Extras { sums, images: true, ..Default::default() };
    let chosen = tile::choose(form, &Extents { batch: 1, m, n, k }, caps.class, extras);
    let iterations = |parts: usize| images / parts * (1 + tile::loop_iterations(k));
    let enough = |parts: &usize| {
        images.is_multiple_of(*parts) && chosen.tiles * parts >= WORKGROUPS && caps.allows(iterations(*parts))
    };
    let parts = (1..images).find(enough).unwrap_or(images);
    let e = Extents { batch: parts, m, n, k };
    let params = Params {
        images: (images / parts) as u32,
        ..MatMul { form, kernels: MatMulKernels::Best }.params(&e)
    };
    let workgroups = chosen.tiles * parts;
    (Launch { chosen, params, workgroups, iterations: iterations(parts) }, parts)
}

/// Turns of loops of [`shared`] for an extent of k.
pub(in crate::ops) fn loop_iterations(k: usize) -> usize {
    tile::loop_iterations(k)
}
