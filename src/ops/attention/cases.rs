//! Cases: heads that share keys, more queries than keys and fewer, widths of vectors and single columns, items of several lengths,
//! masks, scores so far apart that weights vanish, and axes that loops are cut along.

use super::super::{Case, Fillings};
use super::{Attention, AttentionGrad, Layout};

/// What is seen: causal, lengths, mask.
type Seen<'a> = (bool, Option<&'a [f64]>, Option<&'a [usize]>);

const ALL: Seen<'_> = (false, None, None);
const CAUSAL: Seen<'_> = (true, None, None);

/// Extents of a case: batch, heads of queries, heads of keys, queries, keys, columns of keys and of values.
type Extents = [usize; 7];

/// Attention and its gradient.
fn both(layout: fn([usize; 2]) -> Layout, extents: Extents, seen: Seen<'_>) -> [Case; 2] {
    let [batch, heads, kv, n, m, d, e] = extents;
    let (causal, lengths, mask) = seen;
    let layout = layout([heads, kv]);
    let (o, mut shapes): (Vec<usize>, Vec<Vec<usize>>) = match layout {
        Layout::Heads => (
            vec![batch, heads, n, e],
            vec![vec![batch, heads, n, d], vec![batch, kv, m, d], vec![batch, kv, m, e]],
        ),
        Layout::Rows { .. } => (
            vec![batch, n, heads * e],
            vec![vec![batch, n, heads * d], vec![batch, m, kv * d], vec![batch, m, kv * e]],
        ),
        Layout::Packed { .. } => (vec![batch, n, heads * d], vec![vec![batch, n, (heads + 2 * kv) * d]]),
    };
    let tensors = shapes.len();
    shapes.extend(lengths.map(|_| vec![batch]));
    shapes.extend(mask.map(<[usize]>::to_vec));
    let own = shapes.len();
    let op = Attention { layout, scale: None, causal, lengths: lengths.is_some(), mask: mask.is_some() };
    let filled = |case: Case| match lengths {
        Some(lengths) => case.index(tensors, 1).fill(tensors, Fillings::Given(lengths.to_vec())),
        None => case,
    };
    let views = |shapes: &[Vec<usize>]| shapes.to_vec();
    let make = |shapes: Vec<Vec<usize>>, op: Result<Attention, AttentionGrad>| {
        let shapes: Vec<&[usize]> = shapes.iter().map(Vec::as_slice).collect();
        match op {
            Ok(op) => Case::new(op, &shapes),
            Err(op) => Case::new(op, &shapes),
        }
    };
    let mut forward = filled(make(views(&shapes), Ok(op.clone())));
    // The mask has no derivative.
    forward.gradient = mask.is_none();
    shapes.extend([o.clone(), vec![batch, heads, n], o]);
    let backward = filled(make(shapes, Err(AttentionGrad(op)))).no_gradient();
    [forward, backward.fill(own + 1, Fillings::Uniform(1.0, 4.0))]
}

fn heads(_: [usize; 2]) -> Layout {
    Layout::Heads
}

fn rows(heads: [usize; 2]) -> Layout {
    Layout::Rows { heads }
}

fn packed(heads: [usize; 2]) -> Layout {
    Layout::Packed { heads }
}

pub(in crate::ops) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |layout, extents, seen| cases.extend(both(layout, extents, seen));
    // One of everything; single columns; vectors; other widths of values.
    for extents in [
        [1, 1, 1, 1, 1, 1, 1],
        [1, 1, 1, 3, 5, 2, 3],
        [2, 1, 1, 5, 4, 4, 4],
        [1, 2, 2, 9, 7, 6, 8],
        [1, 4, 2, 11, 13, 8, 5],
        [2, 2, 1, 33, 35, 7, 12],
    ] {
        add(heads, extents, ALL);
        add(heads, extents, CAUSAL);
    }
    for seen in [ALL, CAUSAL] {
        add(rows, [2, 3, 1, 10, 14, 4, 8], seen);
        add(rows, [1, 4, 4, 37, 21, 5, 3], seen);
        add(packed, [2, 2, 2, 17, 17, 4, 4], seen);
        add(packed, [1, 4, 2, 6, 6, 3, 3], seen);
    }
    // Around tiles of 64 queries, of 32 rows of software adapters and of the blocks of keys.
    for (n, m) in [(8, 32), (65, 31), (64, 64), (67, 130), (129, 33), (1, 70), (140, 1)] {
        add(heads, [1, 2, 1, n, m, 8, 8], CAUSAL);
        add(rows, [1, 2, 2, n, m, 12, 4], ALL);
    }
    // Widths that change how many vectors an invocation holds and how many places lie in workgroup memory.
    for width in [16, 31, 32, 64, 100, 128, 256] {
        add(heads, [1, 1, 1, 40, 37, width, width], CAUSAL);
    }
    add(packed, [2, 4, 4, 40, 40, 32, 32], CAUSAL);
    // Items that are full, short, of one key, and empty.
    let lengths: &[f64] = &[9.0, 4.0, 1.0, 0.0];
    for (layout, causal) in [(heads as fn([usize; 2]) -> Layout, false), (rows, true), (heads, true)] {
        add(layout, [4, 2, 1, 7, 9, 4, 4], (causal, Some(lengths), None));
        add(layout, [4, 2, 2, 12, 9, 5, 8], (causal, Some(lengths), None));
    }
    add(packed, [4, 2, 1, 9, 9, 4, 4], (true, Some(lengths), None));
    // Masks that broadcast along each axis, with lengths or not.
    for mask in [&[2, 4, 6, 10][..], &[6, 10], &[4, 6, 10], &[2, 1, 1, 10], &[1, 1, 6, 10], &[10]] {
        add(heads, [2, 4, 2, 6, 10, 4, 4], (false, None, Some(mask)));
        add(rows, [2, 4, 2, 6, 10, 3, 8], (true, Some(&[10.0, 3.0]), Some(mask)));
    }
    // What is not seen by -infinity, in some rows all.
    for mut case in both(heads, [1, 2, 1, 5, 9, 4, 4], (false, None, Some(&[5, 9]))) {
        let hidden = |i: usize| i / 9 == 2 || (i * 7).is_multiple_of(3);
        let values = (0..45).map(|i| if hidden(i) { f64::NEG_INFINITY } else { (i % 4) as f64 - 1.0 });
        case = case.fill(3, Fillings::Given(values.collect()));
        case.name += " of -infinity";
        cases.push(case);
    }
    // Scores from -200 to 200: weights vanish, and the largest comes late.
    for mut case in both(heads, [1, 1, 1, 9, 67, 4, 4], ALL) {
        let rising = (0..67 * 4).map(|i| (i / 4) as f64 * 0.5 - 16.0);
        case = case.fill(0, Fillings::Uniform(1.0, 3.0)).fill(1, Fillings::Given(rising.collect()));
        if case.inputs.len() > 3 {
            case = case.fill(4, Fillings::Uniform(170.0, 180.0));
        }
        case.name += " of large scores";
        cases.push(case.no_gradient());
    }
    cases
}

/// More places than loops may go along.
pub(crate) fn long_cases() -> Vec<Case> {
    let mut cases = Vec::new();
    cases.extend(both(heads, [1, 1, 1, 2, 140_003, 4, 4], CAUSAL));
    cases.extend(both(heads, [1, 1, 1, 140_003, 2, 4, 4], ALL));
    cases.extend(both(heads, [1, 2, 1, 40_003, 2, 1, 1], ALL));
    cases
}
