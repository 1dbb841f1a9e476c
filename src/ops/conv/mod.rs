//! Two-dimensional convolution and its two gradients, each linear in both its arguments, so that every
//! further derivative is one of the three again; [`kernels`] lists their kernels. Convolutions along one and three axes, and
//! transposed ones, are recorded as these ([`methods`]).

mod blocks;
mod cases;
mod correlation;
mod depthwise;
mod fast;
mod geometry;
mod gradients;
mod kernels;
mod methods;
mod options;
mod plain;
mod product;
mod reference;
#[cfg(test)]
mod tests;
mod tile;
mod unfold;
mod weight_tile;

pub(super) use cases::cases;
pub(crate) use geometry::Window;
pub use options::{
    Conv1dOptions, Conv2dOptions, Conv3dOptions, ConvOptions, ConvTranspose1dOptions, ConvTranspose2dOptions,
    ConvTranspose3dOptions, ConvTransposeOptions, Padding,
};

use super::{
    Backward, Gradients, In, KernelContext, Kernels, Op, Program, Traits, Trial, bound_of_products, expect,
};
use crate::error::Result;
use crate::graph::{Var, shape_rule};
use crate::shape::{DType, Shape, TensorType};
use correlation::Correlation;
use geometry::Geometry;

/// y = x * weight + bias. Takes images `[n, c, h, w]`, a weight `[o, c / groups, kh, kw]` and, if there is
/// one, a bias `[o]`; gives `[n, o, oh, ow]`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Conv2d {
    pub(crate) window: Window,
    pub(crate) kernels: Kernels,
}

/// The gradient of images of `size` from dy `[n, o, oh, ow]` and the weight, plus a bias `[c]`, if there is one: then it is a
/// transposed convolution.
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

/// Refuses a bias that has not one number for each output channel.
fn fits_bias(bias: Option<&TensorType>, channels: usize) -> Result<(), String> {
    match bias {
        Some(bias) if bias.shape.dims() != [channels] => {
            Err(format!("{channels} output channels need a bias of as many, got {bias}"))
        }
        _ => Ok(()),
    }
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
        fits_bias(inputs.get(2), g.groups * g.o)?;
        result(&g.output())
    }

    fn grad<'g>(&self, Backward { inputs, upstream, needed, .. }: Backward<'_, 'g>) -> Gradients<'g> {
        let Some(dy) = upstream[0] else { return Ok(vec![None; inputs.len()]) };
        let (x, weight) = (inputs[0], inputs[1]);
        let mut gradients =
            vec![needed[0].then(|| self.backward_input(dy, weight, None, [x.dim(2), x.dim(3)]))];
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
    fn forward<'g>(self, x: Var<'g>, weight: Var<'g>, bias: Option<Var<'g>>) -> Var<'g> {
        let inputs: Vec<Var<'g>> = [x, weight].into_iter().chain(bias).collect();
        x.graph.record_one(self, &inputs)
    }

    /// The gradient of images of `size`, plus a bias.
    #[track_caller]
    fn backward_input<'g>(
        self,
        dy: Var<'g>,
        weight: Var<'g>,
        bias: Option<Var<'g>>,
        size: [usize; 2],
    ) -> Var<'g> {
        let Conv2d { window, kernels } = self;
        let inputs: Vec<Var<'g>> = [dy, weight].into_iter().chain(bias).collect();
        dy.graph.record_one(Conv2dBackwardInput { window, size, kernels }, &inputs)
    }

    /// The gradient of `weight`, of which only the extents matter, and with `bias` that of the bias.
    #[track_caller]
    fn backward_weight<'g>(self, x: Var<'g>, dy: Var<'g>, weight: Var<'g>, bias: bool) -> Vec<Var<'g>> {
        let Conv2d { window, kernels } = self;
        let op = Conv2dBackwardWeight { window, kernel: [weight.dim(2), weight.dim(3)], bias, kernels };
        x.graph.record(op, &[x, dy])
    }
}
