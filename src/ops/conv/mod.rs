//! Two-dimensional convolution and its two gradients, each linear in both its arguments, so that every
//! further derivative is one of the three again. [`kernels`] lists their kernels.

mod blocks;
mod cases;
mod correlation;
mod depthwise;
mod fast;
mod geometry;
mod gradients;
mod kernels;
mod plain;
mod product;
mod reference;
#[cfg(test)]
mod tests;
mod tile;
mod weight_tile;

pub(super) use cases::cases;
pub use geometry::Padding;
pub(crate) use geometry::Window;

use super::{
    Backward, Gradients, In, KernelContext, Kernels, Op, Program, Traits, Trial, bound_of_products, expect,
};
use crate::error::Result;
use crate::graph::{Var, shape_rule};
use crate::shape::{DType, Shape, TensorType};
use correlation::Correlation;
use geometry::Geometry;

/// Stride, padding, dilation and groups of a convolution; by default 1, none, 1 and 1.
///
/// ```
/// use wgrad::ops::{Conv2dOptions, Padding};
/// let halved = Conv2dOptions { stride: [2, 2], padding: Padding::SameUpper, ..Default::default() };
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conv2dOptions {
    /// Steps from one output to the next: vertical, horizontal.
    pub stride: [usize; 2],
    /// Zeros around the images.
    pub padding: Padding,
    /// Steps from one element of the kernel to the next: vertical, horizontal.
    pub dilation: [usize; 2],
    /// Channels are split into this many groups that do not see each other; with as many groups as input
    /// channels, each channel is convolved alone (depthwise).
    pub groups: usize,
}

impl Default for Conv2dOptions {
    fn default() -> Self {
        Conv2dOptions { stride: [1, 1], padding: Padding::Valid, dilation: [1, 1], groups: 1 }
    }
}

/// y = x * weight + bias. Takes images `[n, c, h, w]`, a weight `[o, c / groups, kh, kw]` and, if there is
/// one, a bias `[o]`; gives `[n, o, oh, ow]`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Conv2d {
    pub(crate) window: Window,
    pub(crate) kernels: Kernels,
}

/// The gradient of images of `size` from dy `[n, o, oh, ow]` and the weight.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Conv2dBackwardInput {
    pub(crate) window: Window,
    pub(crate) size: [usize; 2],
    pub(crate) kernels: Kernels,
}

/// The gradient of a weight of extents `kernel` from the images and dy; with `bias` that of the bias too, the sum
/// of dy over images and pixels.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Conv2dBackwardWeight {
    pub(crate) window: Window,
    pub(crate) kernel: [usize; 2],
    pub(crate) bias: bool,
    pub(crate) kernels: Kernels,
}

impl Conv2dBackwardInput {
    /// The convolution whose output has the shape of `dy`.
    fn geometry(&self, dy: &[usize], weight: &[usize]) -> Result<Geometry, String> {
        let (&[n, ..], &[_, c, ..], [h, w]) = (dy, weight, self.size) else {
            return Err(format!("takes the gradient of images and a weight, got {dy:?} and {weight:?}"));
        };
        let channels = c.checked_mul(self.window.groups).ok_or_else(shape_rule)?;
        let g = self.window.geometry(&[n, channels, h, w], weight)?;
        fits(dy, g)
    }
}

impl Conv2dBackwardWeight {
    fn geometry(&self, x: &[usize], dy: &[usize]) -> Result<Geometry, String> {
        let (&[_, channels, ..], &[_, outputs, ..], [kh, kw]) = (x, dy, self.kernel) else {
            return Err(format!("takes images and the gradient of the output, got {x:?} and {dy:?}"));
        };
        let c = channels / self.window.groups.max(1);
        let g = self.window.geometry(x, &[outputs, c, kh, kw])?;
        fits(dy, g)
    }
}

/// `g`, if its output has the shape of `dy`.
fn fits(dy: &[usize], g: Geometry) -> Result<Geometry, String> {
    if dy != g.output() {
        return Err(format!("the output is {:?}, its gradient {dy:?}", g.output()));
    }
    Ok(g)
}

fn result(dims: &[usize]) -> Result<Vec<TensorType>, String> {
    Ok(vec![TensorType::f32(Shape::new(dims).ok_or_else(shape_rule)?)])
}

impl Op for Conv2d {
    fn name(&self) -> &'static str {
        "conv2d"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, String> {
        expect(inputs, &[DType::F32; 3][..inputs.len().clamp(2, 3)])?;
        let g = self.window.geometry(inputs[0].shape.dims(), inputs[1].shape.dims())?;
        if let Some(bias) = inputs.get(2)
            && bias.shape.dims() != [g.groups * g.o]
        {
            return Err(format!("{} output channels need a bias of as many, got {bias}", g.groups * g.o));
        }
        result(&g.output())
    }

    fn grad<'g>(&self, Backward { inputs, upstream, needed, .. }: Backward<'_, 'g>) -> Gradients<'g> {
        let Some(dy) = upstream[0] else { return Ok(vec![None; inputs.len()]) };
        let (x, weight) = (inputs[0], inputs[1]);
        let mut gradients = vec![needed[0].then(|| self.backward_input(dy, weight, x))];
        match needed[1..] {
            // Both read all of dy.
            [true, true] => {
                gradients.extend(self.backward_weight(x, dy, weight, true).into_iter().take(2).map(Some));
            }
            _ => {
                gradients.push(needed[1].then(|| self.backward_weight(x, dy, weight, false)[0]));
                gradients.extend(needed.get(2).map(|needed| needed.then(|| dy.sum(&[0, 2, 3]))));
            }
        }
        Ok(gradients)
    }

    fn dispatch(&self, ctx: &KernelContext<'_>) -> Result<Program> {
        kernels::forward(self, ctx)
    }

    fn error_bound(&self, inputs: &[In<'_, f64>], outputs: &[In<'_, f64>]) -> Vec<Vec<f64>> {
        let weight = inputs[1].shape;
        let depth = weight.elements() / weight.dim(0) + usize::from(inputs.len() == 3);
        bound_of_products(self, depth, inputs, outputs)
    }

    fn trial(&self, inputs: &[TensorType]) -> Option<Trial> {
        let g = self.window.geometry(inputs[0].shape.dims(), inputs[1].shape.dims()).ok()?;
        kernels::trial(self.kernels, &Correlation::forward(&g))
    }

    fn flops(&self, inputs: &[TensorType], outputs: &[TensorType]) -> u64 {
        let weight = inputs[1].shape;
        let each = 2 * weight.elements() / weight.dim(0) + usize::from(inputs.len() == 3);
        outputs[0].shape.elements() as u64 * each as u64
    }

    fn traits(&self) -> Traits {
        Traits::default().taking_epilogues()
    }
}

/// The three directions of one convolution.
impl Conv2d {
    #[track_caller]
    fn forward<'g>(self, x: Var<'g>, weight: Var<'g>) -> Var<'g> {
        x.graph.record_one(self, &[x, weight])
    }

    /// The gradient of `x`, of which only the extents matter.
    #[track_caller]
    fn backward_input<'g>(self, dy: Var<'g>, weight: Var<'g>, x: Var<'g>) -> Var<'g> {
        let Conv2d { window, kernels } = self;
        let op = Conv2dBackwardInput { window, size: [x.dim(2), x.dim(3)], kernels };
        dy.graph.record_one(op, &[dy, weight])
    }

    /// The gradient of `weight`, of which only the extents matter, and with `bias` that of the bias.
    #[track_caller]
    fn backward_weight<'g>(self, x: Var<'g>, dy: Var<'g>, weight: Var<'g>, bias: bool) -> Vec<Var<'g>> {
        let Conv2d { window, kernels } = self;
        let op = Conv2dBackwardWeight { window, kernel: [weight.dim(2), weight.dim(3)], bias, kernels };
        x.graph.record(op, &[x, dy])
    }
}

impl Conv2dOptions {
    /// The window over images of shape `x` with a weight of shape `weight`.
    fn window(&self, x: &Shape, weight: &Shape) -> Result<Window, String> {
        let (extent, kernel) = ([x.dim(2), x.dim(3)], [weight.dim(2), weight.dim(3)]);
        let padding = self.padding.resolve(extent, kernel, self.stride, self.dilation).ok_or_else(|| {
            format!(
                "{:?} padding makes no sense for extents {extent:?}, kernel {kernel:?}, stride {:?} and \
                 dilation {:?}",
                self.padding, self.stride, self.dilation
            )
        })?;
        Ok(Window { stride: self.stride, padding, dilation: self.dilation, groups: self.groups })
    }
}

impl<'g> Var<'g> {
    /// Convolution of images `[n, c, h, w]` with a weight `[o, c / groups, kh, kw]`, which is not flipped,
    /// plus a bias `[o]`: `[n, o, oh, ow]`, where oh is (h + top + bottom - (kh - 1) dilation - 1) / stride + 1,
    /// rounded down.
    #[track_caller]
    pub fn conv2d(self, weight: Var<'g>, bias: Option<Var<'g>>, options: &Conv2dOptions) -> Var<'g> {
        self.conv2d_by(weight, bias, options, Kernels::Best)
    }

    /// The same by chosen kernels, and its gradients too: for benches and tests.
    #[doc(hidden)]
    #[track_caller]
    pub fn conv2d_by(
        self,
        weight: Var<'g>,
        bias: Option<Var<'g>>,
        options: &Conv2dOptions,
        kernels: Kernels,
    ) -> Var<'g> {
        let window = match options.window(&self.shape(), &weight.shape()) {
            Ok(window) => window,
            Err(message) if weight.is_poisoned() => return self.graph.refuse("conv2d", message, weight),
            Err(message) => return self.graph.refuse("conv2d", message, self),
        };
        let inputs: Vec<Var<'g>> = [self, weight].into_iter().chain(bias).collect();
        self.graph.record_one(Conv2d { window, kernels }, &inputs)
    }

    /// One gradient of the convolution of this with `weight`, from that of its output: of the weight, or
    /// of this. For benches, which time one direction alone.
    #[doc(hidden)]
    #[track_caller]
    pub fn conv2d_gradient(
        self,
        weight: Var<'g>,
        dy: Var<'g>,
        of_weight: bool,
        options: &Conv2dOptions,
        kernels: Kernels,
    ) -> Var<'g> {
        match options.window(&self.shape(), &weight.shape()) {
            Ok(window) if of_weight => Conv2d { window, kernels }.backward_weight(self, dy, weight, false)[0],
            Ok(window) => Conv2d { window, kernels }.backward_input(dy, weight, self),
            Err(message) => self.graph.refuse("conv2d", message, self),
        }
    }
}
