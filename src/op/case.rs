//! One configuration of an op to be checked.

use std::sync::Arc;

use super::Op;
use crate::shape::{DType, Shape, TensorType};

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
