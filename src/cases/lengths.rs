//! Labels and lengths of the CTC loss that are out of range.

use super::edge::{given, refused};
use crate::op::Case;
use crate::ops::ctc::{Ctc, CtcGrad};

const NAN: f64 = f64::NAN;

/// An item with a label that is no class has no loss and no gradient, and others are as without it.
pub(super) fn labels_out_of_range() -> Vec<Case> {
    // One time. The label is no class or the blank, the second label is no class and out of reach, a length is beyond the
    // tensor, and nothing is wrong.
    let shapes: [&[usize]; 4] = [&[6, 1, 2], &[6, 2], &[6], &[6]];
    let fill = |case: Case| {
        let case = case.index(1, 1).index(2, 1).index(3, 1).fill(0, given(&[-1.0, -2.0]));
        let targets = [2.0, 1.0, 0.0, 1.0, 1.0, 2.0, 1.0, 1.0, 1.0, 1.0, 1.0, 2.0];
        let case = case.fill(1, given(&targets)).fill(2, given(&[1.0, 1.0, 1.0, 2.0, 1.0, 1.0]));
        case.fill(3, given(&[1.0, 1.0, 2.0, 1.0, 3.0, 1.0]))
    };
    let row = |first: f64, second: f64| [vec![first, second], vec![f64::NEG_INFINITY; 3]].concat();
    let right = || row(-1.0, -2.0);
    let alpha = [row(-1.0, NAN), row(-1.0, -1.0), right(), right(), right(), right()].concat();
    let losses = [NAN, NAN, NAN, NAN, NAN, 2.0];
    let forward = refused(fill(Case::new(Ctc { blank: 0 }, &shapes)), &[&losses, &alpha]);
    let shapes = [&shapes[..], &[&[6, 1, 5], &[6], &[6]]].concat();
    let case = fill(Case::new(CtcGrad { blank: 0 }, &shapes)).fill(4, given(&alpha)).fill(5, given(&losses));
    let backward = refused(case.fill(6, given(&[1.0])), &[&[&[NAN; 10][..], &[0.0, -1.0]].concat()]);
    // Among more labels than invocations, the first that comes after as many is no class.
    let mut labels = vec![1.0; 66];
    labels[64] = 2.0;
    let case =
        Case::new(Ctc { blank: 0 }, &[&[1, 1, 2], &[1, 66], &[1], &[1]]).index(1, 1).index(2, 1).index(3, 1);
    let case = case
        .fill(0, given(&[-1.0, -2.0]))
        .fill(1, given(&labels))
        .fill(2, given(&[1.0]))
        .fill(3, given(&[65.0]));
    let alpha = [vec![-1.0, -2.0], vec![f64::NEG_INFINITY; 131]].concat();
    vec![forward, backward, refused(case, &[&[NAN], &alpha])]
}
