//! Several elementwise formulas in a row: what a kernel computes besides its op.

use std::sync::Arc;

use super::Op;
use crate::shape::Shape;

/// An elementwise op without its type, for fusion.
pub trait Pointwise {
    /// The WGSL function is called `<name>_fn`.
    fn function(&self) -> &'static str;
    /// Number of tensor arguments.
    fn arity(&self) -> usize;
    /// Constants handed to the function after the arguments.
    fn attributes(&self) -> Vec<f32>;
    /// The function in f64.
    fn value(&self, x: [f64; 3]) -> f64;
    /// The largest error that f32 explains, given exact arguments and the result.
    fn bound(&self, x: [f64; 3], y: f64) -> f64;
    /// Whether it tells if its first two arguments are equal, which the least error of one changes.
    fn tells_equality(&self) -> bool {
        false
    }
}

/// What an argument of a step is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Operand {
    /// The result of the op that the chain stands after.
    Root,
    /// Input `i` of the chain.
    Input(usize),
    /// The result of step `i`.
    Step(usize),
    /// A number.
    Constant(f32),
}

/// One formula of a chain.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    /// The op, which is [`Pointwise`].
    pub op: Arc<dyn Op>,
    /// Its arguments.
    pub args: Vec<Operand>,
}

/// Formulas over the elements of one shape, each of earlier results and of inputs that broadcast to it.
#[derive(Debug, Clone)]
pub struct Chain {
    pub(crate) shape: Shape,
    pub(crate) inputs: Vec<Shape>,
    pub(crate) steps: Vec<Step>,
    /// Columns of the result that it goes on with, if those are its own columns: an input of so many is a bias.
    pub(crate) columns: Option<usize>,
    /// The input that is the old value of the state which the result is stored in.
    pub(crate) state: Option<usize>,
}
