//! Which products are checked.

use super::{Form, MatMul, MatMulSum, gradient};
use crate::ops::block::Block;
use crate::ops::{Case, Kernels};

/// Products whose k one invocation of a tile cannot walk.
pub(crate) fn long_cases() -> Vec<Case> {
    let k = 140_001;
    let of = |form, a: &[usize], b: &[usize]| Case::new(MatMul { form, kernels: Kernels::Best }, &[a, b]);
    vec![
        of(Form::Nn, &[2, k], &[k, 3]).exact(),
        of(Form::Nn, &[2, 3, k + 3], &[2, k + 3, 4]).exact(),
        of(Form::Nt, &[5, k], &[2, k]).exact(),
        of(Form::Tn, &[k, 4], &[k, 4]).exact(),
        Case::new(MatMulSum, &[&[k, 3], &[k, 5]]).exact(),
    ]
}

pub(in crate::ops) fn cases() -> Vec<Case> {
    let mut cases = gradient::cases();
    // m, n, k: ones, primes, tile sizes and their neighbours, every alignment of the vector loads.
    let sizes = [
        (1, 1, 1),
        (2, 3, 4),
        (8, 32, 4),
        (7, 10, 5),
        // The row after the last would begin after the result.
        (12, 7, 9),
        (4, 35, 6),
        (9, 33, 13),
        (10, 128, 64),
        (16, 12, 8),
        (31, 28, 36),
        (32, 32, 32),
        (33, 36, 68),
        (64, 10, 128),
        (65, 67, 71),
        (64, 128, 100),
        (13, 64, 130),
        (100, 20, 6),
        // Full rows of tiles with one, two and three columns beyond the last vector.
        (12, 9, 8),
        (16, 10, 33),
        (20, 11, 12),
    ];
    for form in [Form::Nn, Form::Nt, Form::Tn] {
        let shapes = |batch: &[usize], m: usize, n: usize, k: usize| {
            let a = if form == Form::Tn { [k, m] } else { [m, k] };
            let b = if form == Form::Nt { [n, k] } else { [k, n] };
            ([batch, &a].concat(), [batch, &b].concat())
        };
        let by = |kernels, batch: &[usize], m, n, k| {
            let (a, b) = shapes(batch, m, n, k);
            Case::new(MatMul { form, kernels }, &[&a, &b])
        };
        let case = |plain, batch: &[usize], m, n, k| {
            by(if plain { Kernels::Plain } else { Kernels::Best }, batch, m, n, k)
        };
        for &(m, n, k) in &sizes {
            cases.extend([case(false, &[], m, n, k), case(false, &[], m, n, k).exact()]);
        }
        cases.push(case(false, &[3], 9, 12, 8));
        cases.push(case(false, &[2, 2], 5, 7, 3));
        cases.push(case(false, &[6], 5, 8, 12));
        cases.push(case(false, &[], 259, 260, 256).no_gradient());
        cases.push(case(false, &[], 260, 263, 258).no_gradient());
        cases.push(case(false, &[], 256, 300, 520).no_gradient());
        cases.push(case(false, &[3], 65, 36, 67).exact());
        cases.push(case(false, &[], 192, 199, 250).exact());
        cases.push(case(false, &[], 192, 200, 252).exact());
        cases.push(case(true, &[2], 9, 33, 13));
        cases.push(case(false, &[2], 67, 65, 33).no_gradient());
        for block in 0..Block::ALL.len() {
            // More than one block each way, with edges, aligned and not; several steps of k.
            cases.push(by(Kernels::Block(block), &[2], 131, 133, 67).no_gradient().exact());
            cases.push(by(Kernels::Block(block), &[], 132, 136, 68).no_gradient().exact());
        }
        // More than eight blocks below each other, and two beside.
        cases.push(by(Kernels::Block(0), &[], 131, 36, 4).no_gradient());
        // Few rows and few columns, aligned and not, in one split and in several, batches.
        for few in [1, 3, 8] {
            for (many, k) in [(131, 67), (132, 68)] {
                cases.push(by(Kernels::Thin, &[], few, many, k).no_gradient());
                cases.push(by(Kernels::Thin, &[], many, few, k).no_gradient().exact());
            }
            cases.push(by(Kernels::Thin, &[], few, 37, 1000).no_gradient().exact());
            cases.push(by(Kernels::Thin, &[], 260, few, 1029).no_gradient());
            cases.push(by(Kernels::Thin, &[2, 3], few, 40, 70).no_gradient());
            cases.push(by(Kernels::Thin, &[3], 17, few, 520).no_gradient().exact());
        }
        cases.push(case(false, &[], 2, 1028, 1024).no_gradient());
        cases.push(case(false, &[], 1051, 5, 1001).no_gradient().exact());
        // k is cut in splits.
        cases.push(case(false, &[], 33, 36, 1000).no_gradient());
        cases.push(case(false, &[], 5, 7, 517).exact().no_gradient());
        cases.push(case(true, &[], 64, 20, 130).no_gradient());
        cases.push(case(false, &[2], 6, 9, 1030).no_gradient());
    }
    cases
}
