//! Cases of the cross-entropy and its gradient.

use super::super::softmax::stats;
use super::super::{Case, Fillings};
use super::{CrossEntropy, CrossEntropyGrad, stats_per_row};

/// Numbers spread over `low..high` by the golden ratio.
fn spread(n: usize, low: f64, high: f64) -> Vec<f64> {
    (0..n).map(|i| low + (high - low) * (0.618_033_988_749_895 * (i + 1) as f64).fract()).collect()
}

/// The gradient's inputs belong together: what the loss keeps of each row follows from the logits, so
/// differences in one input alone would be no derivative. The gradient of the loss's gradient is tested.
fn grad_case(soft: bool, rows: usize, columns: usize, logits: &[f64]) -> Case {
    let round = |x: f64| f64::from(x as f32);
    let z: Vec<f64> = logits.iter().copied().cycle().take(rows * columns).map(round).collect();
    let targets: Vec<f64> = spread(rows * columns, 0.0, 0.4).into_iter().map(round).collect();
    let mut kept = Vec::new();
    for (z, t) in z.chunks_exact(columns).zip(targets.chunks_exact(columns)) {
        let (m, s) = stats(z);
        kept.extend([m, s.ln(), t.iter().sum()].into_iter().take(stats_per_row(soft)));
    }
    let labels: &[usize] = if soft { &[rows, columns] } else { &[rows] };
    let shapes = [&[rows, columns][..], labels, &[rows, stats_per_row(soft)], &[rows]];
    let case = Case::new(CrossEntropyGrad { soft }, &shapes).no_gradient();
    let case = case.fill(0, Fillings::Given(z)).fill(2, Fillings::Given(kept));
    if soft { case.fill(1, Fillings::Given(targets)) } else { case.index(1, columns as u32) }
}

pub(in crate::ops) fn cases() -> Vec<Case> {
    let extremes: [(usize, usize, Vec<f64>); 6] = [
        (4, 10, vec![2.5]),
        (4, 3, vec![1e4, -1e4, 0.0]),
        (5, 10, vec![-1e4, 9999.0, 1e4, 1e4]),
        (3, 130, vec![1e4, -1e4, -9999.5]),
        (2, 6, vec![-100.0, 0.0, -87.5, -90.0, -1e4, 3.0]),
        (2, 5, vec![-1e30, 1e30, 7.0]),
    ];
    let mut cases = super::both::cases(&extremes);
    for soft in [false, true] {
        let case = |rows: usize, columns: usize| {
            let labels: &[usize] = if soft { &[rows, columns] } else { &[rows] };
            let case = Case::new(CrossEntropy { soft }, &[&[rows, columns], labels]);
            if soft { case.fill(1, Fillings::Uniform(0.0, 1.0)) } else { case.index(1, columns as u32) }
        };
        for (rows, columns) in [(1, 1), (5, 1), (1, 2), (7, 3), (13, 10), (3, 64), (65, 5)] {
            cases.push(case(rows, columns));
        }
        for (rows, columns) in [(63, 65), (64, 63), (65, 64), (2, 2011), (4099, 10)] {
            cases.push(case(rows, columns).no_gradient());
            cases.push(grad_case(soft, rows, columns, &spread(rows * columns, -4.0, 4.0)));
        }
        for (rows, columns) in [(1, 1), (1, 7), (13, 10)] {
            cases.push(grad_case(soft, rows, columns, &spread(rows * columns, -4.0, 4.0)));
        }
        for (rows, columns, logits) in &extremes {
            cases.push(case(*rows, *columns).fill(0, Fillings::Given(logits.clone())).no_gradient());
            cases.push(grad_case(soft, *rows, *columns, logits));
        }
    }
    // One-hot and empty targets.
    for targets in [vec![0.0, 1.0, 0.0, 0.0, 0.0], vec![0.0]] {
        let case = Case::new(CrossEntropy { soft: true }, &[&[4, 5], &[4, 5]]);
        cases.push(case.fill(1, Fillings::Given(targets)));
    }
    cases
}
