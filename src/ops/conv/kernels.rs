//! Which kernels compute a convolution and its gradients: of a list, the first that the adapter's class runs and that fits the
//! extents.

use super::correlation::Correlation;
use super::geometry::Geometry;
use super::{Conv2d, Conv2dBackwardInput, Conv2dBackwardWeight};
use super::{blocks, depthwise, plain, product, tile, weight_tile};
use crate::error::{Error, Result};
use crate::ops::candidates::{ALL, Candidate, GPU, SOFTWARE, always};
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
    Candidate::new("small", SOFTWARE, is_small, plain::images),
    Candidate::new("depthwise", ALL, depthwise::fits, depthwise::launch),
    Candidate::new("block", GPU, always, blocks::launch),
    Candidate::new("product", SOFTWARE, product::fits, product::launch),
    Candidate::new("tile", SOFTWARE, tile::fits, tile::launch),
    Candidate::new("plain", ALL, always, plain::images),
];

/// Of the gradient of the weight, and of the bias.
const WEIGHT: [Candidate<Problem>; 6] = [
    Candidate::new("small", SOFTWARE, is_small, plain::weight),
    Candidate::new("depthwise", ALL, depthwise::weight::fits, depthwise::weight::launch),
    Candidate::new("block", GPU, always, blocks::weight::launch),
    Candidate::new("product", SOFTWARE, product::weight_fits, product::weight_launch),
    Candidate::new("tile", SOFTWARE, weight_tile::fits, weight_tile::launch),
    Candidate::new("plain", ALL, always, plain::weight),
];

/// Multiply-adds below which the plain kernel takes less time than what tiles need besides: about 60 µs.
const WORTH_TILES: usize = 50_000;

fn is_small(problem: &Problem, _: &Caps) -> bool {
    problem.g.multiplications() < WORTH_TILES
}

impl Problem {
    /// The input with the bias; without one something has to be bound in its place.
    pub(super) fn bias(&self) -> Arg {
        Arg::Input(if self.has_bias { 2 } else { 1 })
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
    let problem = Problem::alone(g, Correlation::backward(&g), op.kernels);
    Candidate::launch(&IMAGES, op.kernels, &problem, ctx)
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

    /// Whether blocks of GPUs compute it, of which none is asked for.
    fn tries_blocks(&self, list: &[Candidate<Problem>]) -> bool {
        let caps = Caps::default_of(AdapterClass::Gpu);
        self.kernels.form().is_none() && Candidate::first(list, self.kernels, self, &caps).name == "block"
    }
}

/// The forms of blocks that can compute a correlation of `g`; none where it has a kernel of its own, or one is asked for.
pub(super) fn trial(kernels: Kernels, g: Geometry, c: Correlation) -> Option<Trial> {
    Problem::alone(g, c, kernels).tries_blocks(&IMAGES).then(|| blocks::trial(&c))
}

pub(super) fn weight_trial(kernels: Kernels, g: Geometry) -> Option<Trial> {
    let problem = Problem::alone(g, Correlation::forward(&g), kernels);
    problem.tries_blocks(&WEIGHT).then(|| blocks::weight::trial(&g))
}
