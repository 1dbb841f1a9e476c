//! Products with the matrices of many images that share one matrix: what convolutions by 1 × 1 kernels are, where
//! each image is a matrix of channels by pixels.

use super::kernels::params;
use super::{Extents, Form, tile};
use crate::error::Result;
use crate::ops::{AdapterClass, Arg, Caps, Chain, Dispatch, Uniform};

/// Workgroups that share the work evenly among cores.
const WORKGROUPS: usize = 16;

/// A tile with its parameters and its number of workgroups.
pub(in crate::ops) struct Launch {
    chosen: tile::Chosen,
    params: Uniform,
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
        Ok(Dispatch::by_name(kernel, args, &self.params, grid).loop_iterations(self.iterations))
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
    let params = params(form, &e, 0).with("images", 1_usize);
    Launch { chosen, params, workgroups: chosen.tiles, iterations: tile::loop_iterations(k) }
}

/// C\[split\] = Σ A\[image\] B\[image\]ᵀ over the images of each split; with `sums` those of A's rows too. Binds A, B, C and the
/// sums. Says how many splits there are.
pub(in crate::ops) fn summed([images, m, n, k]: [usize; 4], caps: &Caps, sums: bool) -> (Launch, usize) {
    let form = Form::Nt;
    let extras = tile::Extras { sums, images: true, ..Default::default() };
    let chosen = tile::choose(form, &Extents { batch: 1, m, n, k }, caps.class, extras);
    let iterations = |splits: usize| images / splits * (1 + tile::loop_iterations(k));
    let enough = |splits: &usize| {
        images.is_multiple_of(*splits)
            && chosen.tiles * splits >= WORKGROUPS
            && caps.allows(iterations(*splits))
    };
    let splits = (1..images).find(enough).unwrap_or(images);
    let e = Extents { batch: splits, m, n, k };
    let params = params(form, &e, m * k).with("images", images / splits);
    let workgroups = chosen.tiles * splits;
    (Launch { chosen, params, workgroups, iterations: iterations(splits) }, splits)
}

/// Loop iterations of [`shared`] for an extent of k.
pub(in crate::ops) fn loop_iterations(k: usize) -> usize {
    tile::loop_iterations(k)
}
