//! Every op in one place: its type rule, gradient, reference, kernels and test cases.
//!
//! To add one: a file here, a shader (or a function in a family) under `shaders/`, a line in
//! [`registry`], and its cases.

mod accumulate;
mod argmax;
mod assign;
mod augment;
mod batch_norm;
mod block;
mod cast;
mod classes;
mod conv;
pub(crate) mod cross_entropy;
mod dropout;
mod edge_cases;
pub(crate) mod elementwise;
mod fill;
mod fused;
mod fused_cases;
mod fused_pool;
pub(crate) mod kernel;
mod layer_norm;
mod long_cases;
pub(crate) mod matmul;
mod movement;
mod nonfinite_cases;
pub(crate) mod optimizer;
mod parts;
pub(crate) mod pool;
mod prologue;
mod reduce;
mod softmax;
#[cfg(test)]
mod tests;
mod text;
pub(crate) mod value;

use std::fmt::Debug;
use std::sync::Arc;

pub(crate) use augment::{AffineSample, RandomAffine};
pub(crate) use block::Block;
pub use conv::{Conv2dOptions, ConvKernels, Padding};
pub(crate) use dropout::{advance_random_counters, dropout, random_counter};
pub(crate) use elementwise::{Operand, Step as ChainStep, is_literal};
pub use elementwise::{Pointwise, chain::Chain};
pub(crate) use fill::Fill;
pub(crate) use fused::Fused;
#[cfg(feature = "gpu")]
pub(crate) use kernel::SOFTWARE_TURNS;
pub use kernel::{AdapterClass, Arg, Caps, Dispatch, Kernel, KernelContext, Program};
#[doc(hidden)]
pub use kernel::{Forms, Trial};
#[doc(hidden)]
pub use long_cases::{long_registry, stretched};
pub use matmul::MatMulKernels;
pub(crate) use matmul::MatMulSum;
pub(crate) use optimizer::{AdamTick, AdamUpdate, FlagNonFinite, MOST_SCALE, NextScale, SgdUpdate};
pub use pool::PoolOptions;
pub(crate) use prologue::Prologue;
pub use value::{In, Out, Real, Slice, SliceMut};

use crate::error::Result;
use crate::graph::Var;
use crate::shape::{DType, Shape, TensorType};

/// The formula of an op on the CPU, for one float type.
pub trait Reference<T: Real> {
    /// The plain reference, written from the formula: the truth that kernels are checked against.
    /// `outputs` ends with the states the op updates, holding their old values.
    ///
    /// # Errors
    /// Says which value makes no sense, such as a class outside its range.
    fn eval(&self, inputs: &[In<'_, T>], outputs: &mut [Out<'_, T>]) -> Result<(), String>;

    /// What the CPU device runs; ops with a faster path override it, and tests compare the two.
    ///
    /// # Errors
    /// As [`Reference::eval`].
    fn eval_fast(&self, inputs: &[In<'_, T>], outputs: &mut [Out<'_, T>]) -> Result<(), String> {
        self.eval(inputs, outputs)
    }
}

/// An operation of a graph. Pure, unless it updates states.
pub trait Op: Debug + Send + Sync + Reference<f32> + Reference<f64> {
    /// Short name, unique among ops.
    fn name(&self) -> &'static str;

    /// How many of the last inputs are states that it updates in place; the last outputs are their new
    /// versions.
    fn writes(&self) -> usize {
        0
    }

    /// Types of the outputs, or what is wrong with the inputs. The only shape check there is.
    ///
    /// # Errors
    /// One sentence for the user.
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, String>;

    /// Cotangents of the inputs from those of the outputs, recorded as ops; `None` where the derivative
    /// is zero or not `needed`.
    ///
    /// # Errors
    /// An op that has no derivative says so: it is never taken for zero.
    fn grad<'g>(
        &self,
        inputs: &[Var<'g>],
        outputs: &[Var<'g>],
        upstream: &[Option<Var<'g>>],
        needed: &[bool],
    ) -> Result<Vec<Option<Var<'g>>>, String> {
        let _ = (inputs, outputs, upstream, needed);
        Err(format!("`{}` has no derivative", self.name()))
    }

    /// The kernels that compute it, with their arguments and grids.
    ///
    /// # Errors
    /// Where the adapter cannot run it.
    fn dispatch(&self, ctx: &KernelContext<'_>) -> Result<Program>;

    /// For each float output, the largest difference from the f64 reference that rounding in f32
    /// explains, per element. Inputs and outputs are the reference's.
    fn error_bound(&self, inputs: &[In<'_, f64>], outputs: &[In<'_, f64>]) -> Vec<Vec<f64>> {
        let _ = inputs;
        outputs.iter().map(|o| relative_bound(o, 8.0)).collect()
    }

    /// Whether output `i` can be differentiated; outputs kept for the backward pass alone cannot.
    fn differentiable_output(&self, i: usize) -> bool {
        let _ = i;
        true
    }

    /// Forms of its kernel for GPUs, if it has several of which trials can find the fastest.
    #[doc(hidden)]
    fn trial(&self, inputs: &[TensorType]) -> Option<Trial> {
        let _ = inputs;
        None
    }

    /// Floating-point operations, for summaries and benches.
    fn flops(&self, inputs: &[TensorType], outputs: &[TensorType]) -> u64 {
        let _ = inputs;
        outputs.iter().map(|o| o.shape.elements() as u64).sum()
    }

    /// Inputs that hold indices, with the number they must stay below.
    fn index_bounds(&self, inputs: &[TensorType]) -> Vec<(usize, u32)> {
        let _ = inputs;
        Vec::new()
    }

    /// The input whose elements the output consists of, if the op only moves elements.
    fn moves_input(&self) -> Option<usize> {
        None
    }

    /// Whether output `i` stays in 32 bits in mixed precision, because it adds up much, has a range beyond that of half
    /// precision, or is read again by a later launch of the op.
    fn keeps_f32(&self, i: usize) -> bool {
        let _ = i;
        false
    }

    /// The number that every element of the output holds, for a constant.
    fn fill_value(&self) -> Option<f32> {
        None
    }

    /// The cotangent of logits from the losses' as an op that computes the losses too, if that of each loss is
    /// `share`.
    #[doc(hidden)]
    fn with_losses(&self, share: f32) -> Option<Arc<dyn Op>> {
        let _ = share;
        None
    }

    /// What the planner knows it as; names are not enough, since ops from outside may have any.
    #[doc(hidden)]
    fn pattern(&self) -> Option<Pattern> {
        None
    }

    /// The formula, if the op is one that is applied to each element: such ops can be fused.
    #[doc(hidden)]
    fn pointwise(&self) -> Option<&dyn Pointwise> {
        None
    }

    /// Whether the kernels of the op can go on with elementwise formulas before they store the first output.
    #[doc(hidden)]
    fn can_precede(&self, chain: &Chain) -> bool {
        let _ = chain;
        false
    }

    /// As [`Op::dispatch`], with the formulas of `chain` applied to the first output. The chain's inputs are
    /// bound as inputs behind the op's own.
    ///
    /// # Errors
    /// Where the adapter, or the op, cannot do that.
    #[doc(hidden)]
    fn dispatch_then(&self, ctx: &KernelContext<'_>, chain: &Chain) -> Result<Program> {
        let _ = (ctx, chain);
        Err(crate::error::Error::Invalid(format!("nothing can be fused behind `{}`", self.name())))
    }

    /// As [`Op::dispatch`], with the formulas of `chain` applied to the first output, and of the result only the maxima
    /// of windows of these extents, which lie side by side and cover each plane, and where in the plane they are: both
    /// as max pooling gives them, in the place of the op's outputs. `None` where no kernel does that.
    ///
    /// # Errors
    /// Where the adapter cannot run it.
    #[doc(hidden)]
    fn dispatch_pooled(
        &self,
        ctx: &KernelContext<'_>,
        chain: Option<&Chain>,
        window: [usize; 2],
    ) -> Result<Option<Program>> {
        let _ = (ctx, chain, window);
        Ok(None)
    }

    /// For each output of whole numbers, what elements may be besides what the reference gives, because rounding in
    /// f32 can decide otherwise: pairs of an element and a number, in order.
    #[doc(hidden)]
    fn other_numbers(&self, inputs: &[In<'_, f64>], outputs: &[In<'_, f64>]) -> Vec<Vec<(usize, u32)>> {
        let _ = inputs;
        vec![Vec::new(); outputs.len()]
    }

    /// Whether the op's kernels can compute input `i` by elementwise formulas where they read it, so that it needs no
    /// memory.
    #[doc(hidden)]
    fn can_follow(&self, i: usize, chain: &Chain, ctx: &KernelContext<'_>) -> bool {
        let _ = (i, chain, ctx);
        false
    }

    /// As [`Op::dispatch`], with input `i` computed by the formulas of `before`, and those of `then` applied to the
    /// first output. Inputs of `before` are bound as inputs behind the op's own, then those of `then`.
    ///
    /// # Errors
    /// Where the adapter, or the op, cannot do that.
    #[doc(hidden)]
    fn dispatch_behind(
        &self,
        ctx: &KernelContext<'_>,
        i: usize,
        before: &Chain,
        then: Option<&Chain>,
    ) -> Result<Program> {
        let _ = (ctx, i, before, then);
        Err(crate::error::Error::Invalid(format!("nothing can be fused before `{}`", self.name())))
    }

    /// For each float output, how much it changes at most where the elements of input `i` are off by `errors`: for ops
    /// that can follow formulas.
    #[doc(hidden)]
    fn carried(
        &self,
        i: usize,
        errors: &[f64],
        inputs: &[In<'_, f64>],
        outputs: &[In<'_, f64>],
    ) -> Vec<Vec<f64>> {
        let _ = (i, errors, inputs);
        // No number allows nothing.
        outputs.iter().map(|o| vec![f64::NAN; o.shape.elements()]).collect()
    }

    /// Whether the output is the input under another shape, so that both can share memory.
    fn is_alias(&self) -> bool {
        false
    }
}

/// Ops that the planner treats together with others.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pattern {
    /// C = Aᵀ B.
    MatMulTn,
    /// The sum of the rows of a matrix, unscaled.
    SumOfRows,
    /// dy where the result of ReLU is positive.
    ReluGrad,
    /// Maxima of windows, and where they are. The extents are those of windows that lie side by side, without padding.
    MaxPool(Option<[usize; 2]>),
    /// The gradient of what the maxima were taken of.
    MaxPoolBackward,
}

/// Unit roundoff of f32: half the distance from 1 to the next number.
pub const UNIT: f64 = 1.0 / (1u64 << 24) as f64;

/// Smallest normal f32; errors below it are denormals, which an adapter may flush.
pub const TINY: f64 = f32::MIN_POSITIVE as f64;

/// `units` roundoffs of each element's magnitude.
pub(crate) fn relative_bound(output: &In<'_, f64>, units: f64) -> Vec<f64> {
    match &output.data {
        Slice::F(v) => v.iter().map(|y| units * UNIT * y.abs() + TINY).collect(),
        _ => Vec::new(),
    }
}

/// Whether `b` takes the place of `a` as the largest so far: it is larger, or the first NaN. The shaders' `beats`.
#[inline(always)]
pub(crate) fn beats<T: Real>(b: T, a: T) -> bool {
    b > a || (b.is_nan() && !a.is_nan())
}

/// The larger of two, the first of equal ones, and NaN where one of them is. The shaders' `larger`.
#[inline(always)]
pub(crate) fn larger<T: Real>(a: T, b: T) -> T {
    if b > a || b.is_nan() { b } else { a }
}

/// How a case's input is filled.
#[derive(Debug, Clone, PartialEq)]
pub enum Fillings {
    /// Standard normal.
    Normal,
    /// Uniform in a range.
    Uniform(f64, f64),
    /// Standard normal, pushed away from zero by this much: for functions with a kink there.
    AwayFromZero(f64),
    /// Whole numbers in `0..n`, for class and row indices, or as floats.
    Whole(u32),
    /// These values, repeated as needed.
    Given(Vec<f64>),
}

/// One configuration of an op to be checked: on every adapter against the f64 reference and, where
/// `gradient` is set, its derivative against central differences.
#[derive(Debug, Clone)]
pub struct Case {
    /// What is special about it.
    pub name: String,
    /// The op.
    pub op: Arc<dyn Op>,
    /// Types and fillings of its inputs, states included.
    pub inputs: Vec<(TensorType, Fillings)>,
    /// Whether the derivative is checked.
    pub gradient: bool,
    /// Whether the result is exact in any order of rounding: whole numbers whose sums stay below 2^24. A
    /// bound for a long sum cannot see one missing term; equality can.
    pub exact: bool,
}

impl Case {
    /// A case whose inputs are all standard normal floats, with its gradient checked.
    pub(crate) fn new(op: impl Op + 'static, shapes: &[&[usize]]) -> Self {
        let inputs: Vec<_> = shapes.iter().map(|s| (float(s), Fillings::Normal)).collect();
        let name =
            format!("{op:?} {}", shapes.iter().map(|s| format!("{s:?}")).collect::<Vec<_>>().join(" "));
        Case { name, op: Arc::new(op), inputs, gradient: true, exact: false }
    }

    /// Fills input `i` otherwise.
    pub(crate) fn fill(mut self, i: usize, filling: Fillings) -> Self {
        self.inputs[i].1 = filling;
        self
    }

    /// Makes input `i` whole numbers below `n`.
    pub(crate) fn index(mut self, i: usize, n: u32) -> Self {
        self.inputs[i].0.dtype = DType::U32;
        self.inputs[i].1 = Fillings::Whole(n);
        self
    }

    /// Fills all inputs with small whole numbers and demands equality.
    pub(crate) fn exact(mut self) -> Self {
        self.inputs.iter_mut().for_each(|i| i.1 = Fillings::Whole(4));
        self.exact = true;
        self.name += " of whole numbers";
        self.no_gradient()
    }

    /// Leaves the derivative out: the op has none, or the inputs sit on a kink.
    pub(crate) fn no_gradient(mut self) -> Self {
        self.gradient = false;
        self
    }
}

/// A float type from extents known to be a shape.
pub(crate) fn float(dims: &[usize]) -> TensorType {
    TensorType::f32(Shape::new(dims).unwrap_or_else(Shape::scalar))
}

/// Every op with its cases: what `wgrad check` and the tests run.
pub fn registry() -> Vec<Case> {
    let mut cases = Vec::new();
    cases.extend(elementwise::cases());
    cases.extend(matmul::cases());
    cases.extend(conv::cases());
    cases.extend(reduce::cases());
    cases.extend(argmax::cases());
    cases.extend(softmax::cases());
    cases.extend(cross_entropy::cases());
    cases.extend(movement::cases());
    cases.extend(classes::cases());
    cases.extend(cast::cases());
    cases.extend(fill::cases());
    cases.extend(dropout::cases());
    cases.extend(pool::cases());
    cases.extend(batch_norm::cases());
    cases.extend(layer_norm::cases());
    cases.extend(augment::cases());
    cases.extend(optimizer::cases());
    cases.extend(accumulate::cases());
    cases.extend(assign::cases());
    cases.extend(fused_cases::cases());
    cases.extend(long_cases::cases());
    cases.extend(nonfinite_cases::cases());
    cases.extend(edge_cases::cases());
    cases
}

/// Checks an op's number of inputs and their element types.
pub(crate) fn expect(inputs: &[TensorType], dtypes: &[DType]) -> Result<(), String> {
    if inputs.len() != dtypes.len() {
        return Err(format!("takes {} inputs, got {}", dtypes.len(), inputs.len()));
    }
    match inputs.iter().zip(dtypes).position(|(i, d)| i.dtype != *d) {
        Some(at) => {
            Err(format!("input {at} must be {}, got {}{}", dtypes[at], inputs[at], hint(inputs[at].dtype)))
        }
        None => Ok(()),
    }
}

fn hint(got: DType) -> &'static str {
    match got {
        DType::U8 | DType::U32 => "; convert it with to_f32 if numbers are meant",
        DType::F32 | DType::F16 => "; class and row numbers are u32 (graph.classes)",
    }
}
