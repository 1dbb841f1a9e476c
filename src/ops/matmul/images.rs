//! Products with the matrices of many images that share one matrix: what convolutions by 1 × 1 kernels are, where
//! each image is a matrix of channels by pixels.

use super::kernels::params;
use super::tile::loop_iterations;
use super::{Extents, Form, tile};
use crate::error::Result;
use crate::ops::candidates::WORKGROUPS;
use crate::ops::{AdapterClass, Arg, Caps, Chain, Dispatch, KernelContext, Uniform};

/// A tile with its parameters and its number of workgroups.
pub(in crate::ops) struct Launch {
    tile: tile::Tile,
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
        ctx: &KernelContext<'_>,
    ) -> Result<Dispatch> {
        let launch = ctx.launch(self.tile.kernel(chain)?, args, &self.params, self.workgroups)?;
        Ok(launch.loop_iterations(self.iterations))
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
    let (tile, tiles) = tile::choose(form, &e, class, extras);
    let params = params(form, &e, 0).with("images", 1_usize);
    Launch { tile, params, workgroups: tiles, iterations: loop_iterations(k) }
}

/// C\[split\] = Σ A\[image\] B\[image\]ᵀ over the images of each split; with `sums` those of A's rows too. Binds A, B, C and the
/// sums. Says how many splits there are.
pub(in crate::ops) fn summed([images, m, n, k]: [usize; 4], caps: &Caps, sums: bool) -> (Launch, usize) {
    let form = Form::Nt;
    let extras = tile::Extras { sums, images: true, ..Default::default() };
    let (tile, tiles) = tile::choose(form, &Extents { batch: 1, m, n, k }, caps.class, extras);
    let iterations = |splits: usize| images / splits * (1 + loop_iterations(k));
    let enough = |splits: &usize| {
        images.is_multiple_of(*splits) && tiles * splits >= WORKGROUPS && caps.allows(iterations(*splits))
    };
    let splits = (1..images).find(enough).unwrap_or(images);
    let e = Extents { batch: splits, m, n, k };
    let params = params(form, &e, m * k).with("images", images / splits);
    let workgroups = tiles * splits;
    (Launch { tile, params, workgroups, iterations: iterations(splits) }, splits)
}
