//! What becomes of the loss values.

use super::Values;
use crate::graph::Var;

/// What becomes of the loss values, one per element or row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reduction {
    /// Their mean: of values that have class weights of their rows, as [`Loss::class_weights`](super::Loss::class_weights)
    /// says.
    #[default]
    Mean,
    /// Their sum.
    Sum,
    /// They stay as they are.
    None,
}

impl Reduction {
    #[track_caller]
    pub(super) fn of<'g>(self, name: &str, values: Values<'g>, weights: Option<Var<'g>>) -> Var<'g> {
        let Values { each, share } = values;
        let each = match weights {
            Some(weights) => each * per_row(name, weights, each),
            None => each,
        };
        match (self, share) {
            (Reduction::None, _) => each,
            (Reduction::Sum, _) => each.sum_all(),
            (Reduction::Mean, Some(share)) => each.sum_all() / share.sum_all(),
            (Reduction::Mean, None) => each.mean_all(),
        }
    }
}

/// Weights `[rows]` in a shape that broadcasts over what each row of `each` has.
#[track_caller]
fn per_row<'g>(name: &str, weights: Var<'g>, each: Var<'g>) -> Var<'g> {
    let (shape, own) = (each.shape(), weights.shape());
    if each.is_poisoned() || weights.is_poisoned() {
        return weights;
    }
    if shape.rank() == 0 || own.dims() != [shape.dim(0)] {
        let message =
            format!("weights {own} of the rows of loss values {shape}; give one number for each row");
        return each.graph().refuse(name, message, weights);
    }
    let mut dims = vec![1; shape.rank()];
    dims[0] = shape.dim(0);
    weights.reshape(&dims[..])
}
