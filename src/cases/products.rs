//! Products of matrices whose last tile has two rows, all of them or all but one, in every alignment of the stores, alone
//! and with formulas after: what faults planted in the edges of tiles showed to be unwatched. See `tests/mutation`.

use super::edge::{given, recorded};
use super::fused::case_of;
use crate::graph::{Graph, Var};
use crate::ops::{Case, MatMulSum};

/// Rows, columns and extent of the sum. Tiles have 8 rows, or 32 from 2^19 multiply-adds on.
const SIZES: [[usize; 3]; 11] = [
    [15, 8, 4],
    [39, 136, 100],
    [39, 133, 103],
    [10, 12, 8],
    [16, 8, 4],
    [10, 11, 5],
    [16, 15, 17],
    [34, 132, 120],
    [64, 92, 92],
    [34, 133, 119],
    [64, 91, 93],
];

fn product<'g>(g: &'g Graph, form: &str, [m, n, k]: [usize; 3]) -> Var<'g> {
    match form {
        "nn" => g.input("a", [m, k]).matmul(g.input("b", [k, n])),
        "nt" => g.input("a", [m, k]).matmul_nt(g.input("b", [n, k])),
        _ => g.input("a", [k, m]).matmul_tn(g.input("b", [k, n])),
    }
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for [m, n, k] in SIZES {
        for (form, op) in [("nn", "matmul"), ("nt", "matmul_nt"), ("tn", "matmul_tn")] {
            cases.extend(recorded(op, |g| g.output("c", product(g, form, [m, n, k]))));
            cases.extend(case_of(&format!("{form} {m}x{n}x{k}, bias, relu and product"), |g| {
                let y = product(g, form, [m, n, k]) + g.input("bias", [n]);
                g.output("y", y.relu() * g.input("r", [m, n]));
            }));
        }
        cases.push(Case::new(MatMulSum, &[&[k, m], &[k, n]]).no_gradient());
    }
    // Sums of rows beside a product that is split along k, where loops are short.
    cases.push(Case::new(MatMulSum, &[&[1100, 11], &[1100, 5]]).exact().no_gradient());
    cases.extend(infinite().into_iter().flatten());
    cases
}

/// Infinities in the last k of two rows of A, or of two columns of B: what a kernel reads of them after k, to multiply it by a
/// zero, gives NaN.
fn infinite() -> Vec<Option<Case>> {
    let mut cases = Vec::new();
    for [m, n, k] in [[15, 8, 4], [10, 12, 8], [36, 92, 92], [10, 11, 5]] {
        for (form, op) in [("nn", "matmul"), ("nt", "matmul_nt"), ("tn", "matmul_tn")] {
            // `lines` lines that lie along k, or beside each other at each k.
            let values = |lines: usize, is_along_k: bool| {
                let value = |i: usize| match if is_along_k { (i / k, i % k) } else { (i % lines, i / lines) }
                {
                    (1, at) if at + 1 == k => f64::INFINITY,
                    (2, at) if at + 1 == k => f64::NEG_INFINITY,
                    _ => (i % 7) as f64 - 2.5,
                };
                given(&(0..lines * k).map(value).collect::<Vec<_>>())
            };
            let case = recorded(op, |g| g.output("c", product(g, form, [m, n, k])));
            cases.push(case.clone().map(|case| case.fill(0, values(m, form != "tn"))));
            // Of B, tiles on software adapters read the last row again where k is no multiple of four (docs/NUMERICS.md).
            if form == "nt" || k.is_multiple_of(4) {
                cases.push(case.map(|case| case.fill(1, values(n, form == "nt"))));
            }
        }
    }
    cases
}

#[cfg(test)]
mod tests {
    #[test]
    fn all_are_recorded() {
        assert_eq!(super::cases().len(), 7 * super::SIZES.len() + 1 + 22);
    }
}
