//! Cases: vectors and single elements, rows and columns of one, many rows, long ones, far from zero.

use super::{LayerNorm, LayerNormGrad};
use crate::ops::{Case, Fillings};

pub(in crate::ops) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let shapes: [(&[usize], bool); 18] = [
        (&[5], true),
        (&[8], true),
        (&[3, 1], true),
        (&[1, 4], true),
        (&[4, 7], true),
        (&[5, 12], true),
        (&[2, 3, 2, 5], true),
        (&[11, 20], true),
        (&[3, 64], true),
        (&[65, 33], false),
        (&[63, 40], false),
        (&[67, 68], false),
        (&[19, 259], false),
        (&[9, 1028], false),
        // Few long rows, and so many that their sums are cut.
        (&[3, 4097], false),
        (&[2, 8192], false),
        (&[1031, 36], false),
        (&[4111, 9], false),
    ];
    for (x, gradient) in shapes {
        let (outer, w) = x.split_at(x.len() - 1);
        let forward = Case::new(LayerNorm { eps: 1e-5 }, &[x, w, w]);
        let grad = Case::new(LayerNormGrad, &[x, w, outer, outer, x]).fill(3, Fillings::Uniform(0.1, 3.0));
        for case in [forward, grad] {
            cases.push(if gradient { case } else { case.no_gradient() });
        }
    }
    // Sums that any order gives, whole numbers: no term may be missing.
    for x in [[1031, 36], [4111, 9], [9001, 8]] {
        let (outer, w) = ([x[0]], [x[1]]);
        let whole = Case::new(LayerNormGrad, &[&x, &w, &outer, &outer, &x]);
        let given = |value: f64| Fillings::Given(vec![value]);
        let whole = whole.fill(0, Fillings::Whole(4)).fill(1, given(0.0)).fill(2, given(1.0));
        let mut whole = whole.fill(3, given(1.0)).fill(4, Fillings::Whole(4)).no_gradient();
        whole.exact = true;
        whole.name += " of whole numbers";
        cases.push(whole);
    }
    let forward = |x: &[usize; 2], filling: Fillings| {
        Case::new(LayerNorm { eps: 1e-5 }, &[x, &x[1..], &x[1..]]).fill(0, filling).no_gradient()
    };
    for x in [[5, 12], [4, 131], [3, 256], [2, 2050], [2, 8192]] {
        // A mean that is large beside the spread: the sum of squares would lose everything.
        let mut far = forward(&x, Fillings::Uniform(1000.0, 1001.0));
        far.name += " far from 0";
        cases.push(far);
        // The first element far from all others; no spread at all.
        let mut outlier = vec![-0.5, 0.25, 1.0, -1.25, 0.75, 0.5, -0.75];
        outlier.resize(x[1], 0.125);
        outlier[0] = 300.0;
        cases.push(forward(&x, Fillings::Given(outlier)));
        cases.push(forward(&x, Fillings::Given(vec![2.5])));
    }
    // An infinity in each of the elements that an invocation takes at once, and among those that it takes one by one: the
    // mean is it, with its sign.
    for (width, step) in [(7, 1), (28, 4), (259, 64), (1036, 256)] {
        let x = [7, width];
        let position = |row: usize| row.min(4) * step + if row == 5 { 2 } else { 0 };
        let value = |i: usize| match (i / width, i % width) {
            (row, at) if at == position(row) && row < 6 => {
                if row % 2 == 0 {
                    f64::INFINITY
                } else {
                    f64::NEG_INFINITY
                }
            }
            (_, at) => (at % 5) as f64,
        };
        cases.push(forward(&x, Fillings::Given((0..7 * width).map(value).collect())));
    }
    cases
}
