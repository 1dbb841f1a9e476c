//! Matrix products over threads.

use ndarray::linalg::general_mat_mul;
use ndarray::{ArrayView2, ArrayViewMut2, Axis, s};

use super::threads;
use crate::op::Real;

/// Multiply-adds below which a part is not worth a thread: some microseconds.
pub(crate) const PART: usize = 1 << 18;

/// Multiply-adds from which a thread gets two parts, so that one that comes late finds something.
const LARGE: usize = 1 << 23;

/// Rows and columns of a part are a multiple of this: the largest extent of a kernel's tile.
const TILE: usize = 16;

/// Rows and columns of the parts of an `m` × `n` result.
fn cut(m: usize, n: usize, k: usize, threads: usize) -> [usize; 2] {
    let work = m.saturating_mul(n).saturating_mul(k);
    let parts = match work / LARGE >= 2 * threads {
        true => 2 * threads,
        false => threads.min(work / PART),
    };
    let most = [m.div_ceil(TILE), n.div_ceil(TILE)];
    // Every part packs its rows of A and its columns of B again, so the least of both.
    let packed = |&down: &usize| n.saturating_mul(down) + m.saturating_mul(parts / down);
    let fits = |&down: &usize| parts.is_multiple_of(down) && down <= most[0] && parts / down <= most[1];
    let [rows, columns] = match (1..=parts).filter(fits).min_by_key(packed) {
        Some(down) => {
            [m.div_ceil(down).next_multiple_of(TILE), n.div_ceil(parts / down).next_multiple_of(TILE)]
        }
        None if parts > 1 && most[0] >= most[1] => [m.div_ceil(parts.min(most[0])).next_multiple_of(TILE), n],
        None if parts > 1 => [m, n.div_ceil(parts.min(most[1])).next_multiple_of(TILE)],
        None => [m, n],
    };
    [rows.min(m), columns.min(n)]
}

/// C = A B + `beta` C. Every element is one sum over k, cut at the same places however C is cut, so that its bits
/// do not depend on the number of threads.
pub(crate) fn product<T: Real>(
    a: &ArrayView2<'_, T>,
    b: &ArrayView2<'_, T>,
    beta: T,
    mut c: ArrayViewMut2<'_, T>,
) {
    let ((m, k), n) = (a.dim(), b.ncols());
    let threads = threads::available();
    let [rows, columns] = if threads == 1 { [m, n] } else { cut(m, n, k, threads) };
    if rows >= m && columns >= n {
        general_mat_mul(T::one(), a, b, beta, &mut c);
        return;
    }
    let mut parts = Vec::new();
    let mut below = c;
    for i in (0..m).step_by(rows) {
        let (mut right, rest) = below.split_at(Axis(0), rows.min(m - i));
        below = rest;
        for j in (0..n).step_by(columns) {
            let (part, rest) = right.split_at(Axis(1), columns.min(n - j));
            right = rest;
            parts.push((i, j, part));
        }
    }
    threads::share(parts.len(), parts.into_iter(), |parts| {
        for (i, j, mut c) in parts {
            let a = a.slice(s![i..i + c.nrows(), ..]);
            let b = b.slice(s![.., j..j + c.ncols()]);
            general_mat_mul(T::one(), &a, &b, beta, &mut c);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::threads::{Threads, with};
    use ndarray::Array2;
    use std::sync::Arc;

    #[test]
    fn parts_cover_the_result_and_are_as_many_as_there_is_work() {
        assert_eq!(cut(64, 10, 128, 2), [64, 10]);
        // Of the longer operand, no part is packed twice.
        assert_eq!(cut(64, 128, 784, 2), [64, 64]);
        assert_eq!(cut(784, 128, 64, 2), [400, 128]);
        assert_eq!(cut(1024, 1024, 1024, 2), [512, 512]);
        assert_eq!(cut(1, 5000, 5000, 3), [1, 1680]);
        for (m, n, k) in [(1, 1, 1), (17, 33, 4000), (5, 9, 100_000), (16, 100_000, 16), (3000, 7, 512)] {
            for threads in 1..20 {
                let [rows, columns] = cut(m, n, k, threads);
                assert!(rows > 0 && columns > 0 && m.div_ceil(rows) * n.div_ceil(columns) <= 2 * threads);
            }
        }
    }

    /// Extents around tiles, cuts and the block of k of the product.
    #[test]
    fn the_bits_are_those_of_one_thread() {
        for (m, n, k) in [(64, 128, 784), (257, 255, 300), (100, 1000, 513), (33, 4099, 64), (2050, 17, 256)]
        {
            let a = Array2::from_shape_fn((m, k), |(i, j)| ((i * 31 + j * 17) % 101) as f32 / 37.0 - 1.3);
            let b = Array2::from_shape_fn((n, k), |(i, j)| ((i * 13 + j * 29) % 103) as f32 / 41.0 - 1.2);
            for beta in [0.0, 1.0] {
                let run = |count| {
                    let mut c = Array2::from_elem((m, n), 0.3f32);
                    with(&Arc::new(Threads::new(count).unwrap()), || {
                        product(&a.view(), &b.t(), beta, c.view_mut());
                    });
                    c
                };
                let one = run(1);
                let sum = (0..k).map(|i| f64::from(a[[m - 1, i]]) * f64::from(b[[n - 1, i]])).sum::<f64>();
                let expected = sum + 0.3 * f64::from(beta);
                assert!((f64::from(one[[m - 1, n - 1]]) - expected).abs() < 1e-3 * (1.0 + expected.abs()));
                for count in [2, 3, 4, 7] {
                    assert!(run(count) == one, "{m} {n} {k}, {count} threads");
                }
            }
        }
    }
}
