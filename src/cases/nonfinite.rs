//! Cases with NaN and infinities, where their way through an op is promised: see `docs/NUMERICS.md`.

use crate::ops::argmax::ArgMax;
use crate::ops::cross_entropy::{CrossEntropy, CrossEntropyBoth};
use crate::ops::reduce::{Kind, Reduce};
use crate::ops::softmax::Softmax;
use crate::ops::{Case, Fillings, pool, upsample};

const NONE: f64 = f64::NEG_INFINITY;

/// Rows of which each tells something else: only −inf; −inf and one negative number; NaN first, last, twice, or between;
/// both infinities; negative numbers alone.
pub(super) fn rows(count: usize, columns: usize) -> Vec<f64> {
    let negative = |k: usize| -1.0 - (k * 7 % 13) as f64;
    let last = columns - 1;
    let at = |row: usize, k: usize| match row % 8 {
        0 => NONE,
        1 => {
            if k == last / 2 {
                -3.0
            } else {
                NONE
            }
        }
        2 => {
            if k == 0 {
                f64::NAN
            } else {
                negative(k)
            }
        }
        3 => {
            if k == last {
                f64::NAN
            } else {
                negative(k)
            }
        }
        4 => {
            if k == last / 3 || k == last {
                f64::NAN
            } else {
                NONE
            }
        }
        5 => {
            if k == last / 2 {
                f64::INFINITY
            } else if k == last {
                NONE
            } else {
                negative(k)
            }
        }
        6 => {
            if k == last / 2 {
                f64::NAN
            } else {
                f64::INFINITY
            }
        }
        _ => negative(k),
    };
    (0..count * columns).map(|i| at(i / columns, i % columns)).collect()
}

/// The same as columns.
fn columns(rows_: usize, count: usize) -> Vec<f64> {
    let all = rows(count, rows_);
    (0..rows_ * count).map(|i| all[i % count * rows_ + i / count]).collect()
}

fn given(case: Case, values: Vec<f64>) -> Case {
    let mut case = case.fill(0, Fillings::Given(values)).no_gradient();
    case.name += " of NaN and infinities";
    case
}

pub(super) fn cases() -> Vec<Case> {
    let max = |first| Reduce { kind: Kind::Max, first, count: 1, scale: 1.0 };
    let mut cases = Vec::new();
    // One invocation or 64 for a row, of vectors or not, in one piece or several.
    for shape in [[16, 2], [16, 8], [9, 37], [8, 64], [16, 300], [8, 5000], [4, 70_001]] {
        cases.push(given(Case::new(max(1), &[&shape]), rows(shape[0], shape[1])));
        cases.push(given(Case::new(ArgMax, &[&shape]), rows(shape[0], shape[1])));
    }
    // By single columns, four and 16, and in pieces.
    for shape in [[5, 9], [7, 12], [4100, 12], [33, 272], [4100, 16]] {
        cases.push(given(Case::new(max(0), &[&shape]), columns(shape[0], shape[1])));
    }
    for shape in [[8, 5], [8, 130]] {
        for log in [false, true] {
            cases.push(given(Case::new(Softmax { log }, &[&shape]), rows(8, shape[1])));
        }
        let losses = Case::new(CrossEntropy { soft: false }, &[&shape, &shape[..1]]).index(1, 5);
        cases.push(given(losses, rows(8, shape[1])));
        let both = Case::new(CrossEntropyBoth { share: 0.25 }, &[&shape, &shape[..1]]).index(1, 5);
        cases.push(given(both, rows(8, shape[1])));
    }
    let moved = pool::nonfinite_cases().into_iter().chain(upsample::nonfinite_cases());
    cases.extend(moved.map(|case| {
        let shape = case.inputs[0].0.shape;
        let width = shape.dim(shape.rank() - 1);
        given(case, rows(shape.elements() / width, width))
    }));
    cases
}
