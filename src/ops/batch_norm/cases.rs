//! Cases: vectors and single elements, one position and many, one image, far from zero.

use super::{BatchNorm, BatchNormGrad, BatchNormInference};
use crate::ops::{Case, Fillings};

/// Channels that are gone over in chunks where loops are short, by vectors and not.
pub(crate) fn long_cases() -> Vec<Case> {
    let of = |x: [usize; 4]| {
        let c = [x[1]];
        let grad = Case::new(BatchNormGrad { eps: 1e-3 }, &[&x, &c, &c, &c, &x]);
        [Case::new(BatchNorm { eps: 1e-5 }, &[&x, &c, &c]), grad.fill(3, Fillings::Uniform(0.1, 3.0))]
    };
    [[2, 2, 251, 128], [2, 3, 67, 119]].into_iter().flat_map(of).collect()
}

pub(in crate::ops) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let shapes: [(&[usize], bool); 9] = [
        (&[2, 1], true),
        (&[1, 3, 2], true),
        (&[5, 3], true),
        (&[3, 2, 2, 2], true),
        (&[2, 3, 3, 5], true),
        (&[2, 2, 7], true),
        (&[67, 5], false),
        (&[9, 16, 8, 8], false),
        (&[3, 65, 5, 7], false),
    ];
    for (x, gradient) in shapes {
        let c: &[usize] = &[x[1]];
        let forward = Case::new(BatchNorm { eps: 1e-5 }, &[x, c, c]);
        let inference = Case::new(BatchNormInference { eps: 1e-3 }, &[x, c, c, c, c])
            .fill(4, Fillings::Uniform(0.1, 3.0));
        let grad =
            Case::new(BatchNormGrad { eps: 1e-3 }, &[x, c, c, c, x]).fill(3, Fillings::Uniform(0.1, 3.0));
        for case in [forward, inference, grad] {
            cases.push(if gradient { case } else { case.no_gradient() });
        }
    }
    // An infinity in each of the four elements that an invocation takes at once, and among those that are left: the mean is
    // it, with its sign. More than that of one channel is gone over in chunks where loops are short.
    for (x, step) in [([1, 5, 259], 64), ([1, 5, 1036], 256)] {
        let at = |c: usize| c * x[2] + c * step + 2;
        let infinity = |i: usize| {
            (0..x[1]).find(|c| at(*c) == i).map(|c| if c == 2 { f64::NEG_INFINITY } else { f64::INFINITY })
        };
        let values = (0..x[1] * x[2]).map(|i| infinity(i).unwrap_or((i % 7) as f64)).collect();
        let case = Case::new(BatchNorm { eps: 1e-5 }, &[&x, &x[1..2], &x[1..2]]);
        cases.push(case.fill(0, Fillings::Given(values)).no_gradient());
    }
    for x in [[1, 2, 16_501], [1, 2, 66_000]] {
        let n = x[1] * x[2];
        // Chunks of different means.
        let values = |first: f64| {
            let value =
                |i: usize| if i == 5 { first } else { (i % 7) as f64 * 1e-3 + (i * 8 / n) as f64 * 0.01 };
            Fillings::Given((0..n).map(value).collect())
        };
        let case = Case::new(BatchNorm { eps: 1e-5 }, &[&x, &x[1..2], &x[1..2]]).no_gradient();
        cases.extend([case.clone().fill(0, values(0.0)), case.fill(0, values(f64::NEG_INFINITY))]);
    }
    // A mean that is large beside the spread: the sum of squares would lose everything.
    let far = Fillings::Uniform(1000.0, 1001.0);
    cases.push(Case::new(BatchNorm { eps: 1e-5 }, &[&[8, 3, 4], &[3], &[3]]).fill(0, far).no_gradient());
    // Fours and what is left of them, in vectors and not, also where the first element is far from all others.
    for x in [[7, 3, 20, 12], [11, 2, 9, 9]] {
        cases.push(Case::new(BatchNorm { eps: 1e-5 }, &[&x, &[x[1]], &[x[1]]]).no_gradient());
        let mut outlier = vec![-0.5, 0.25, 1.0, -1.25, 0.75, 0.5, -0.75];
        outlier.resize(x.iter().product(), 0.125);
        outlier[0] = 300.0;
        let outlier = Fillings::Given(outlier);
        cases
            .push(Case::new(BatchNorm { eps: 1e-5 }, &[&x, &[x[1]], &[x[1]]]).fill(0, outlier).no_gradient());
    }
    // A constant channel has no spread at all.
    let flat = Fillings::Given(vec![2.5]);
    cases.push(Case::new(BatchNorm { eps: 1e-5 }, &[&[4, 2, 3], &[2], &[2]]).fill(0, flat).no_gradient());
    cases
}
