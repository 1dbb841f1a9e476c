//! Axes resized up, down, to one element and from one, between axes of all kinds of extents.

use super::axis::Interpolation;
use super::resize::{Resize, ResizeBackward};
use crate::ops::{Case, Fillings};

const WAYS: [Interpolation; 3] = [
    Interpolation::Nearest,
    Interpolation::Linear { align_corners: false },
    Interpolation::Linear { align_corners: true },
];

/// Both directions of x `[outer, extent, inner]` to so many.
fn both(outer: usize, [extent, outputs]: [usize; 2], inner: usize, how: Interpolation) -> [Case; 2] {
    [
        Case::new(Resize { axis: 1, outputs, how }, &[&[outer, extent, inner]]),
        Case::new(ResizeBackward { axis: 1, extent, how }, &[&[outer, outputs, inner]]),
    ]
}

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for how in WAYS {
        for (outer, sizes, inner) in [
            (1, [1, 1], 1),
            (2, [1, 4], 1),
            (3, [1, 3], 8),
            (3, [5, 10], 1),
            (2, [5, 8], 1),
            (2, [4, 12], 4),
            (3, [4, 9], 6),
            (2, [7, 15], 12),
            (2, [7, 3], 5),
            // The last output is not the last element.
            (2, [7, 3], 2),
            (3, [9, 4], 1),
            (1, [6, 1], 2),
            (2, [8, 2], 4),
            (5, [7, 16], 1),
            (3, [5, 11], 3),
        ] {
            cases.extend(both(outer, sizes, inner, how));
        }
        // More workgroups than a folded grid has in a row.
        for (outer, sizes, inner) in [(72, [30, 64], 1), (9, [30, 61], 7), (9, [30, 61], 8)] {
            cases.extend(both(outer, sizes, inner, how).map(Case::no_gradient));
        }
    }
    cases
}

/// An element that has no share in an output does not reach it, whatever it is.
pub(crate) fn nonfinite_cases() -> Vec<Case> {
    let all = WAYS.into_iter().flat_map(|how| [both(8, [6, 9], 1, how), both(4, [7, 5], 8, how)]);
    all.flatten().collect()
}

/// One element with more copies than a loop takes.
pub(crate) fn long_cases() -> Vec<Case> {
    let of = |inner: usize, how| {
        let [forward, backward] = both(1, [2, 140_006], inner, how);
        let rising: Vec<f64> = (0..140_006 * inner).map(|i| i as f64 / (140_006 * inner) as f64).collect();
        [forward, backward.fill(0, Fillings::Given(rising))].map(Case::no_gradient)
    };
    [of(1, Interpolation::Nearest), of(4, WAYS[1])].concat()
}
