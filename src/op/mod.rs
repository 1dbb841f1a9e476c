//! What an op is: its types, derivative, formula, bound of error and kernels. The graph holds ops and ops are recorded in
//! graphs, so that the two modules use each other.

mod caps;
mod case;
mod chain;
mod dispatch;
mod functions;
mod kernel;
mod traits;
mod uniform;
mod value;
mod view;

use std::fmt::Debug;

pub(crate) use caps::Cut;
#[cfg(feature = "gpu")]
pub(crate) use caps::LLVMPIPE_ITERATIONS;
pub use caps::{AdapterClass, Caps};
#[doc(hidden)]
pub use caps::{Forms, Trial};
pub(crate) use case::float;
pub use case::{Case, Fillings};
pub use chain::{Chain, Pointwise};
pub(crate) use chain::{Operand, Step};
pub use dispatch::{Arg, Dispatch, Program};
pub(crate) use functions::sigmoid;
pub use kernel::{Fusion, Kernel, KernelContext};
pub(crate) use traits::Pattern;
pub use traits::{Below, Outputs, Traits};
pub(crate) use uniform::{Uniform, Words, uniform};
pub use value::{In, Out, Real, Slice, SliceMut};
pub(crate) use view::StridedCopy;
#[doc(hidden)]
pub use view::{Movement, View};

use crate::error::Result;
use crate::graph::Var;
use crate::shape::{DType, TensorType};

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

/// Where an op's derivative is taken.
#[derive(Debug, Clone, Copy)]
pub struct Backward<'a, 'g> {
    /// Its inputs.
    pub inputs: &'a [Var<'g>],
    /// Its outputs.
    pub outputs: &'a [Var<'g>],
    /// Cotangents of its outputs; `None` where nothing depends on one.
    pub upstream: &'a [Option<Var<'g>>],
    /// Which inputs' cotangents are asked for.
    pub needed: &'a [bool],
}

impl<'g> Backward<'_, 'g> {
    /// From what `formula` records, op by op, on copies of the inputs: a copy has no past, so that nothing flows into one
    /// input by way of another.
    pub(crate) fn of_formula<const N: usize>(
        self,
        formula: impl FnOnce(&[Var<'g>]) -> [Var<'g>; N],
    ) -> Gradients<'g> {
        let copies: Vec<Var<'g>> = self.inputs.iter().map(|v| v.copy()).collect();
        let terms = formula(&copies).into_iter().zip(self.upstream);
        let terms = terms.filter_map(|(v, u)| u.map(|u| (v * u).sum_all()));
        let Some(total) = terms.reduce(|a, b| a + b) else { return Ok(vec![None; copies.len()]) };
        let gradients = total.graph.gradients(total, &copies);
        Ok(gradients.into_iter().zip(self.needed).map(|(v, &needed)| needed.then_some(v)).collect())
    }
}

/// Cotangents of an op's inputs; `None` where the derivative is zero or not needed.
pub type Gradients<'g> = Result<Vec<Option<Var<'g>>>, String>;

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

    /// Cotangents of the inputs from those of the outputs, recorded as ops.
    ///
    /// # Errors
    /// An op that has no derivative says so: it is never taken for zero.
    fn grad<'g>(&self, of: Backward<'_, 'g>) -> Gradients<'g> {
        let _ = of;
        Err(format!("`{}` has no derivative", self.name()))
    }

    /// The kernels that compute it, with their arguments and grids, and with what `ctx` fuses with it.
    ///
    /// # Errors
    /// Where the adapter cannot run it.
    fn dispatch(&self, ctx: &KernelContext<'_>) -> Result<Program>;

    /// Whether its kernels can compute what `ctx` fuses with it, of which there is something. Asked often, so that it
    /// builds none.
    fn can_fuse(&self, ctx: &KernelContext<'_>) -> bool {
        self.traits().takes_epilogues && ctx.fusion.epilogue_alone().is_some_and(|chain| chain.follows(None))
    }

    /// What graph and planner need to know of it.
    fn traits(&self) -> Traits {
        Traits::default()
    }

    /// For each float output, the largest difference from the f64 reference that rounding in f32
    /// explains, per element. Inputs, with the old values of states at their end, and outputs are the reference's.
    fn error_bound(&self, inputs: &[In<'_, f64>], outputs: &[In<'_, f64>]) -> Vec<Vec<f64>> {
        let _ = inputs;
        outputs.iter().map(|o| relative_bound(o, 8.0)).collect()
    }

    /// Forms of its kernel for GPUs, if it has several of which trials can find the fastest.
    #[doc(hidden)]
    fn trial(&self, inputs: &[TensorType]) -> Option<Trial> {
        let _ = inputs;
        None
    }

    /// Floating-point operations, for summaries and benches; by default one for each element of the outputs, and none where
    /// elements only move or are a constant.
    fn flops(&self, inputs: &[TensorType], outputs: &[TensorType]) -> u64 {
        let _ = inputs;
        let Traits { moves, constant, .. } = self.traits();
        let each = u64::from(moves.is_none() && constant.is_none());
        outputs.iter().map(|o| each * o.shape.elements() as u64).sum()
    }

    /// The formula, if the op is one that is applied to each element: such ops can be fused.
    #[doc(hidden)]
    fn pointwise(&self) -> Option<&dyn Pointwise> {
        None
    }

    /// What it does, if it only moves elements: movements in a row can be one.
    #[doc(hidden)]
    fn movement(&self, inputs: &[TensorType]) -> Option<Movement> {
        let _ = inputs;
        None
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

/// For a sum of `terms` products in any order, off by at most as many roundoffs of Σ|a||b| (Higham, "Accuracy and Stability of
/// Numerical Algorithms", 2nd ed., section 3.1); one more for the products themselves. `op` is the sum.
pub(crate) fn bound_of_products(
    op: &dyn Reference<f64>,
    terms: usize,
    inputs: &[In<'_, f64>],
    outputs: &[In<'_, f64>],
) -> Vec<Vec<f64>> {
    vec![bound_of_sums(&magnitudes(op, inputs, &outputs[0]), (terms + 1) as f64)]
}

/// `units` roundoffs of each of these sums of magnitudes.
pub(crate) fn bound_of_sums(sums: &[f64], units: f64) -> Vec<f64> {
    sums.iter().map(|sum| units * UNIT * sum + TINY).collect()
}

/// What `op`, a sum, gives for the magnitudes of its float inputs.
pub(crate) fn magnitudes(op: &dyn Reference<f64>, inputs: &[In<'_, f64>], output: &In<'_, f64>) -> Vec<f64> {
    let absolute: Vec<Vec<f64>> = inputs.iter().map(|x| x.f().iter().map(|v| v.abs()).collect()).collect();
    let mut sizes: Vec<In<'_, f64>> = inputs.to_vec();
    for (x, absolute) in sizes.iter_mut().zip(&absolute).filter(|(x, _)| matches!(x.data, Slice::F(_))) {
        x.data = Slice::F(absolute);
    }
    let mut sums = vec![0.0; output.shape.elements()];
    // The inputs were accepted when the expected values were computed.
    let _ = op.eval_fast(&sizes, &mut [Out { shape: output.shape, data: SliceMut::F(&mut sums) }]);
    sums
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
