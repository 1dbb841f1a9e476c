//! Which kernels compute a convolution and its gradients: of a list, the first that the adapter's class runs and that fits the
//! extents.

use super::correlation::Correlation;
use super::geometry::Geometry;
use super::{Conv2d, Conv2dBackwardInput, Conv2dBackwardWeight, ConvKernels};
use super::{blocks, depthwise, plain, product, tile, weight_tile};
use crate::error::{Error, Result};
use crate::ops::{AdapterClass, Arg, Caps, KernelContext, Program, Trial};

/// What is to be computed.
pub(super) struct Asked<'a> {
    pub(super) g: Geometry,
    /// The sum of the forward direction, or of the gradient of the images.
    pub(super) c: Correlation,
    /// Whether there is a bias, or its gradient is wanted too.
    pub(super) has_bias: bool,
    pub(super) kernels: ConvKernels,
    pub(super) caps: &'a Caps,
    /// Extents of windows of which the maxima are stored.
    pub(super) window: Option<[usize; 2]>,
}

/// A way to compute it.
#[derive(Clone, Copy)]
struct Candidate {
    name: &'static str,
    classes: &'static [AdapterClass],
    fits: fn(&Asked<'_>) -> bool,
    launch: fn(&Asked<'_>, &KernelContext<'_>) -> Result<Program>,
}

const fn candidate(
    name: &'static str,
    classes: &'static [AdapterClass],
    fits: fn(&Asked<'_>) -> bool,
    launch: fn(&Asked<'_>, &KernelContext<'_>) -> Result<Program>,
) -> Candidate {
    Candidate { name, classes, fits, launch }
}

const GPU: &[AdapterClass] = &[AdapterClass::Gpu];
const SOFTWARE: &[AdapterClass] = &[AdapterClass::Software, AdapterClass::SoftwareLanes8];
const ALL: &[AdapterClass] = &[AdapterClass::Gpu, AdapterClass::Software, AdapterClass::SoftwareLanes8];

/// Of the forward direction and of the gradient of the images.
const IMAGES: [Candidate; 7] = [
    candidate("small", SOFTWARE, is_small, plain::images),
    candidate("depthwise", ALL, depthwise::fits, depthwise::launch),
    candidate("block", GPU, always, blocks::launch),
    candidate("product", SOFTWARE, product::fits, product::launch),
    candidate("product_of_half", SOFTWARE, product::halved::fits, product::halved::launch),
    candidate("tile", SOFTWARE, tile::fits, tile::launch),
    candidate("plain", ALL, always, plain::images),
];

/// Of the gradient of the weight, and of the bias.
const WEIGHT: [Candidate; 6] = [
    candidate("small", SOFTWARE, is_small, plain::weight),
    candidate("depthwise", ALL, depthwise::weight::fits, depthwise::weight::launch),
    candidate("block", GPU, always, blocks::weight::launch),
    candidate("product", SOFTWARE, product::weight_fits, product::weight_launch),
    candidate("tile", SOFTWARE, weight_tile::fits, weight_tile::launch),
    candidate("plain", ALL, always, plain::weight),
];

/// Multiply-adds below which the plain kernel takes less time than what tiles need besides: about 60 µs.
const WORTH_TILES: usize = 50_000;

fn is_small(asked: &Asked<'_>) -> bool {
    asked.g.multiplications() < WORTH_TILES
}

fn always(_: &Asked<'_>) -> bool {
    true
}

impl ConvKernels {
    fn allows(self, name: &str) -> bool {
        match self {
            ConvKernels::Best => true,
            ConvKernels::Plain => name == "plain",
            ConvKernels::Tiles | ConvKernels::Block(_) => name != "small",
        }
    }
}

impl Asked<'_> {
    /// The form of blocks that is asked for, or else measured or of the table.
    pub(super) fn form(&self) -> Option<usize> {
        match self.kernels {
            ConvKernels::Block(form) => Some(form),
            _ => None,
        }
    }

    /// The input with the bias; without one something has to be bound in its place.
    pub(super) fn bias(&self) -> Arg {
        Arg::Input(if self.has_bias { 2 } else { 1 })
    }

    /// The first candidate of a list that fits; the last always does.
    fn chosen(&self, list: &[Candidate]) -> Candidate {
        let fits = |c: &&Candidate| {
            self.kernels.allows(c.name) && c.classes.contains(&self.caps.class) && (c.fits)(self)
        };
        *list.iter().find(fits).unwrap_or(&list[list.len() - 1])
    }
}

fn dims<'a>(ctx: &KernelContext<'a>, input: usize) -> &'a [usize] {
    ctx.inputs[input].shape.dims()
}

fn forward_asked<'a>(op: &Conv2d, ctx: &KernelContext<'a>) -> Result<Asked<'a>> {
    // `infer` accepted the shapes.
    let g = op.window.geometry(dims(ctx, 0), dims(ctx, 1)).map_err(Error::Invalid)?;
    let (c, has_bias) = (Correlation::forward(&g), ctx.inputs.len() == 3);
    Ok(Asked { g, c, has_bias, kernels: op.kernels, caps: ctx.caps, window: None })
}

pub(super) fn forward(op: &Conv2d, ctx: &KernelContext<'_>) -> Result<Program> {
    let asked = forward_asked(op, ctx)?;
    match ctx.fusion.max_pooling {
        Some(_) => tile::launch(&Asked { window: ctx.fusion.max_pooling, ..asked }, ctx),
        None => (asked.chosen(&IMAGES).launch)(&asked, ctx),
    }
}

pub(super) fn backward_input(op: &Conv2dBackwardInput, ctx: &KernelContext<'_>) -> Result<Program> {
    let g = op.geometry(dims(ctx, 0), dims(ctx, 1)).map_err(Error::Invalid)?;
    let asked = Asked::alone(g, Correlation::backward(&g), op.kernels, ctx.caps);
    (asked.chosen(&IMAGES).launch)(&asked, ctx)
}

pub(super) fn backward_weight(op: &Conv2dBackwardWeight, ctx: &KernelContext<'_>) -> Result<Program> {
    let g = op.geometry(dims(ctx, 0), dims(ctx, 1)).map_err(Error::Invalid)?;
    let alone = Asked::alone(g, Correlation::forward(&g), op.kernels, ctx.caps);
    let asked = Asked { has_bias: op.bias, ..alone };
    (asked.chosen(&WEIGHT).launch)(&asked, ctx)
}

impl<'a> Asked<'a> {
    /// Without a bias.
    fn alone(g: Geometry, c: Correlation, kernels: ConvKernels, caps: &'a Caps) -> Self {
        Asked { g, c, has_bias: false, kernels, caps, window: None }
    }
}

/// Whether register tiles compute the forward direction, and can store of it the maxima of windows.
pub(super) fn can_pool(op: &Conv2d, ctx: &KernelContext<'_>, window: [usize; 2]) -> bool {
    let Ok(asked) = forward_asked(op, ctx) else { return false };
    asked.chosen(&IMAGES).name == "tile" && tile::fits(&Asked { window: Some(window), ..asked })
}

/// The forms of blocks that can compute a correlation of `g`; none where it has a kernel of its own, or one is asked for.
pub(super) fn trial(kernels: ConvKernels, g: Geometry, c: Correlation) -> Option<Trial> {
    let caps = Caps::default_of(AdapterClass::Gpu);
    let asked = Asked::alone(g, c, kernels, &caps);
    (asked.form().is_none() && asked.chosen(&IMAGES).name == "block").then(|| blocks::trial(&c))
}

pub(super) fn weight_trial(kernels: ConvKernels, g: Geometry) -> Option<Trial> {
    let caps = Caps::default_of(AdapterClass::Gpu);
    let asked = Asked::alone(g, Correlation::forward(&g), kernels, &caps);
    (asked.form().is_none() && asked.chosen(&WEIGHT).name == "block").then(|| blocks::weight::trial(&g))
}
