//! Which kernels compute a convolution and its gradients: of a list, the first that the adapter's class runs and that fits the
//! extents.

use super::correlation::Correlation;
use super::geometry::Geometry;
use super::{Conv2d, Conv2dBackwardInput, Conv2dBackwardWeight};
use super::{blocks, depthwise, plain, product, tile, weight_tile};
use crate::error::{Error, Result};
use crate::ops::candidates::{ALL, Candidate, GPU, SOFTWARE};
use crate::ops::{AdapterClass, Arg, Caps, KernelContext, Kernels, Program, Trial};

/// What is to be computed.
pub(super) struct Problem {
    pub(super) g: Geometry,
    /// The sum of the forward direction, or of the gradient of the images.
    pub(super) c: Correlation,
    /// Whether there is a bias, or its gradient is wanted too.
    pub(super) has_bias: bool,
    pub(super) kernels: Kernels,
}

/// Of the forward direction and of the gradient of the images.
const IMAGES: [Candidate<Problem>; 6] = [
    Candidate::new("small", SOFTWARE, |p, ctx| p.is_small().then(|| plain::images(p, ctx)).transpose()),
    Candidate::new("depthwise", ALL, depthwise::launch),
    Candidate::new("block", GPU, |p, ctx| blocks::launch(p, ctx).map(Some)),
    Candidate::new("product", SOFTWARE, product::launch),
    Candidate::new("tile", SOFTWARE, tile::launch),
    Candidate::new("plain", ALL, |p, ctx| plain::images(p, ctx).map(Some)),
];

/// Of the gradient of the weight, and of the bias.
const WEIGHT: [Candidate<Problem>; 6] = [
    Candidate::new("small", SOFTWARE, |p, ctx| p.is_small().then(|| plain::weight(p, ctx)).transpose()),
    Candidate::new("depthwise", ALL, depthwise::weight::launch),
    Candidate::new("block", GPU, |p, ctx| blocks::weight::launch(p, ctx).map(Some)),
    Candidate::new("product", SOFTWARE, product::weight_launch),
    Candidate::new("tile", SOFTWARE, weight_tile::launch),
    Candidate::new("plain", ALL, |p, ctx| plain::weight(p, ctx).map(Some)),
];

/// Multiply-adds below which the plain kernel takes less time than what tiles need besides: about 60 µs.
const WORTH_TILES: usize = 50_000;

impl Problem {
    /// The input with the bias; without one something has to be bound in its place.
    pub(super) fn bias(&self) -> Arg {
        Arg::Input(if self.has_bias { 2 } else { 1 })
    }

    fn is_small(&self) -> bool {
        self.g.multiplications() < WORTH_TILES
    }
}

fn dims<'a>(ctx: &KernelContext<'a>, input: usize) -> &'a [usize] {
    ctx.inputs[input].shape.dims()
}

pub(super) fn forward(op: &Conv2d, ctx: &KernelContext<'_>) -> Result<Program> {
    // `infer` accepted the shapes.
    let g = op.window.geometry(dims(ctx, 0), dims(ctx, 1)).map_err(Error::Invalid)?;
    let alone = Problem::alone(g, Correlation::forward(&g), op.kernels);
    Candidate::launch(&IMAGES, op.kernels, &Problem { has_bias: ctx.inputs.len() == 3, ..alone }, ctx)
}

pub(super) fn backward_input(op: &Conv2dBackwardInput, ctx: &KernelContext<'_>) -> Result<Program> {
    let g = op.geometry(dims(ctx, 0), dims(ctx, 1)).map_err(Error::Invalid)?;
    let alone = Problem::alone(g, Correlation::backward(&g), op.kernels);
    Candidate::launch(&IMAGES, op.kernels, &Problem { has_bias: ctx.inputs.len() == 3, ..alone }, ctx)
}

pub(super) fn backward_weight(op: &Conv2dBackwardWeight, ctx: &KernelContext<'_>) -> Result<Program> {
    let g = op.geometry(dims(ctx, 0), dims(ctx, 1)).map_err(Error::Invalid)?;
    let alone = Problem::alone(g, Correlation::forward(&g), op.kernels);
    Candidate::launch(&WEIGHT, op.kernels, &Problem { has_bias: op.bias, ..alone }, ctx)
}

impl Problem {
    /// Without a bias.
    fn alone(g: Geometry, c: Correlation, kernels: Kernels) -> Self {
        Problem { g, c, has_bias: false, kernels }
    }
}

/// Whether blocks of GPUs compute what has no kernel of its own, and none of them is asked for.
fn tries_blocks(kernels: Kernels) -> bool {
    kernels.form().is_none() && kernels.allows("block")
}

/// The forms of blocks that can compute a correlation of `g`; none where it has a kernel of its own, or one is asked for.
pub(super) fn trial(kernels: Kernels, c: &Correlation) -> Option<Trial> {
    let caps = Caps::default_of(AdapterClass::Gpu);
    (tries_blocks(kernels) && depthwise::plan(c, false, &caps).is_none()).then(|| blocks::trial(c))
}

/// The same for the gradient of a weight.
pub(super) fn weight_trial(kernels: Kernels, g: &Geometry) -> Option<Trial> {
    let caps = Caps::default_of(AdapterClass::Gpu);
    (tries_blocks(kernels) && depthwise::weight::plan(g, &caps, false).is_none())
        .then(|| blocks::weight::trial(g))
}
