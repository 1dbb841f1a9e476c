//! Updates of parameters in place, by PyTorch's formulas. Kernels: `shaders/optimizer.wgsl`.
//!
//! Adam: Kingma and Ba, ICLR 2015, algorithm 1; decoupled weight decay: Loshchilov and Hutter, ICLR 2019,
//! algorithm 2. Momentum: PyTorch's `SGD` without dampening.

mod adam;
mod cases;
mod scale;
mod sgd;
#[cfg(test)]
mod tests;
mod tick;
mod wide;

use super::{Arg, In, Kernel, KernelContext, Out, Program, Real, Uniform};
use crate::error::Result;
use crate::graph::Var;
use crate::shape::TensorType;
pub(crate) use adam::AdamUpdate;
pub(super) use cases::cases;
pub(crate) use scale::{FlagNonFinite, MOST_SCALE, NextScale};
pub(crate) use sgd::SgdUpdate;
pub(crate) use tick::AdamTick;

const WORKGROUP: usize = 64;
/// Vectors of four that an invocation goes over where one launch is for several tensors, so that what all share is read once.
const VECTORS: usize = 4;

/// 0 for a denormal, which means nothing in a moment and costs some CPUs a hundred cycles.
#[inline(always)]
fn flush_denormal<T: Real>(x: T) -> T {
    if x.abs() < T::min_positive_value() { T::zero() } else { x }
}

/// The four scalars of a counter.
fn scalars_of<T: Real>(input: &In<'_, T>, row: usize) -> Result<[T; 4], String> {
    let row = input.f().get(4 * row..4 * row + 4).and_then(|r| r.try_into().ok());
    row.ok_or_else(|| "takes four scalars".to_string())
}

/// The elements of `N` float states.
fn states_of<'a, T, const N: usize>(outputs: &'a mut [Out<'_, T>]) -> Result<[&'a mut [T]; N], String> {
    let states: Vec<&mut [T]> = outputs.iter_mut().map(Out::f).collect();
    states.try_into().map_err(|_| format!("updates {N} states"))
}

/// Fails unless the gradient and the states have one shape; and for a bad `decay`.
fn check_update(gradient: TensorType, states: &[TensorType], decay: f32) -> Result<(), String> {
    if !(decay.is_finite() && decay >= 0.0) {
        return Err(format!("the weight decay must be 0 or more, got {decay}"));
    }
    match states.iter().find(|s| s.shape != gradient.shape) {
        Some(s) => Err(format!("the gradient {gradient} and a state {s} differ in shape")),
        None => Ok(()),
    }
}

/// Nothing flows back through an update: as in PyTorch, a loss computed from the new value of a parameter has
/// that value as a leaf, whatever its update was computed from.
fn leaf<'g>(inputs: &[Var<'g>]) -> Vec<Option<Var<'g>>> {
    vec![None; inputs.len()]
}

/// Of tensors of so many units the units and the workgroups up to their last, where each workgroup has `each` of them; and all
/// workgroups.
fn extents<const N: usize>(units: impl Iterator<Item = usize>, each: usize) -> ([[u32; 2]; N], usize) {
    let (mut extents, mut workgroups) = ([[0; 2]; N], 0);
    for (units, extent) in units.zip(&mut extents) {
        workgroups += units.div_ceil(each);
        *extent = [units as u32, workgroups as u32];
    }
    (extents, workgroups)
}

/// What reads the factor of gradients, bound as `binding`.
fn factor(binding: usize) -> String {
    format!(
        "@group(0) @binding({binding}) var<storage, read> factor_in: array<f32>;\n\n\
         fn gradient_factor() -> f32 {{\n    return factor_in[0];\n}}\n\n"
    )
}

/// A kernel over the vec4s of the updated states; the factor of the gradient, if there is one, is the last of `args`.
fn launch(
    ctx: &KernelContext<'_>,
    entry: &str,
    has_factor: bool,
    args: &[Arg],
    params: impl FnOnce(usize) -> Uniform,
) -> Result<Program> {
    let vectors = ctx.inputs[0].shape.elements().div_ceil(4);
    let kernel = match has_factor {
        false => Kernel::library(entry)?,
        true => {
            let text = factor(args.len());
            Kernel::library_with(entry, format!("{entry}.factor"), &["gradient_factor"], &text)?
        }
    };
    Ok(ctx.launch(kernel, args, &params(vectors), vectors.div_ceil(WORKGROUP))?.into())
}
