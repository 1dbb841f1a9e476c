//! Updates of parameters in place, each by a [`Rule`]: a formula in Rust, in `rules`, and in WGSL, in
//! `shaders/optimizer.wgsl`. Kernels for as many parameters as bindings allow are made around it.

mod cases;
mod rule;
mod rules;
mod scale;
#[cfg(test)]
mod tests;
mod tick;
mod update;
mod wide;

use super::Real;
use super::number::Number;
use crate::graph::Var;
pub(super) use cases::cases;
pub(crate) use rule::Rule;
pub(crate) use rules::{
    Adadelta, Adagrad, Adam, Adamax, Average, LambDirection, Lion, MuonDirection, NAdam, RAdam, RmsProp,
    Rprop, Sgd,
};
pub(crate) use scale::{FlagNonFinite, MOST_SCALE, NextScale};
pub(crate) use tick::Tick;
pub(crate) use update::{Each, Update};

/// The most parameters of one op, in as many launches as the adapter's bindings make of them.
pub(crate) const MOST: usize = 24;
/// Scalars that a tick makes for each counter: the learning rate, the factor of gradients, those of the rule, and what is left
/// of two vectors.
const ROW: usize = 8;
const WORKGROUP: usize = 64;
/// Vectors of four that an invocation goes over where one launch is for several tensors, so that what all share is read once.
const VECTORS: usize = 4;

/// 0 for a denormal, which means nothing in a moment and costs some CPUs a hundred cycles.
#[inline(always)]
fn flush_denormal<T: Real>(x: T) -> T {
    if x.abs() < T::min_positive_value() { T::zero() } else { x }
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
