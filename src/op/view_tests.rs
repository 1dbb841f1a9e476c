use proptest::prelude::*;

use super::{StridedCopy, View};

/// All places that a view reads, by its definition.
fn places(view: &View) -> Vec<usize> {
    let place = |i: usize| {
        let mut rest = i;
        let along = view.axes.iter().rev().map(|&(extent, stride)| {
            let index = rest % extent;
            rest /= extent;
            index * stride
        });
        view.base + along.sum::<usize>()
    };
    (0..view.elements()).map(place).collect()
}

#[test]
fn nothing_is_copied_of_no_elements() {
    let none = View::new([(3, 4), (0, 1)], 0);
    let copy = StridedCopy::new(&none, &View::in_order(0)).unwrap();
    copy.each(|_, _| unreachable!());
    assert_eq!((none.through(&View::in_order(9)), StridedCopy::new(&none, &View::in_order(1))), (None, None));
}

#[test]
fn what_has_no_axes_in_common_is_not_copied_at_once() {
    let (read, write) = (View::new([(2, 10), (3, 1)], 0), View::new([(3, 10), (2, 1)], 0));
    assert_eq!(StridedCopy::new(&read, &write), None);
    // Half of an axis is one as well.
    let halves = View::new([(2, 11), (2, 5), (3, 1)], 0);
    let quarters = View::new([(4, 7), (3, 2)], 1);
    let axes = vec![(2, [11, 14]), (2, [5, 7]), (3, [1, 2])];
    assert_eq!(StridedCopy::new(&halves, &quarters), Some(StridedCopy { axes, bases: [0, 1] }));
}

#[test]
fn a_part_of_an_axis_is_taken_apart_and_permuted() {
    // [2, 5, 24], of which 8 columns from 16 on as [2, 5, 2, 4], permuted to [2, 2, 5, 4].
    let part = View::new([(10, 24), (8, 1)], 16);
    let permuted = View::new([(2, 40), (2, 4), (5, 8), (4, 1)], 0);
    let both = permuted.through(&part).unwrap();
    assert_eq!(both, View::new([(2, 120), (2, 4), (5, 24), (4, 1)], 16));
    // And back: in order, but for the columns that were left out.
    let back = View::new([(2, 40), (5, 4), (2, 20), (4, 1)], 0);
    assert_eq!(back.through(&permuted), Some(View::in_order(80)));
    // Three columns of eight, again and again, are linear along no few axes.
    assert_eq!(View::new([(26, 3)], 0).through(&part), None);
}

/// Axes and a base that stay below `elements`.
fn view(elements: usize) -> impl Strategy<Value = View> {
    let axis = (1usize..5, prop::sample::select(vec![0usize, 1, 2, 3, 4, 6, 8, 12, 24]));
    (prop::collection::vec(axis, 0..4), 0usize..12).prop_map(move |(axes, base)| {
        let mut last = base % elements;
        let base = last;
        let fits = axes.into_iter().filter(|(extent, stride)| {
            let fits = last + (extent - 1) * stride < elements;
            last += if fits { (extent - 1) * stride } else { 0 };
            fits
        });
        View::new(fits.collect::<Vec<_>>(), base)
    })
}

proptest! {
    /// Whatever is moved of elements in order is one view, and a permutation of a permutation too.
    #[test]
    fn simple_views_are_composed((outer, order) in (view(96), Just([0usize, 1, 2, 3]).prop_shuffle())) {
        prop_assert_eq!(outer.through(&View::in_order(96)), Some(outer.clone()));
        let dims = [2, 3, 4, 5];
        let strides = [60, 20, 5, 1];
        let permuted = View::new(order.map(|k| (dims[k], strides[k])), 7);
        // Back again.
        let own: Vec<usize> = (0..4).map(|k| order[k + 1..].iter().map(|&j| dims[j]).product()).collect();
        let back = (0..4).map(|k| order.iter().position(|&j| j == k).unwrap());
        let back = View::new(back.map(|at| (dims[order[at]], own[at])), 0);
        prop_assert_eq!(back.through(&permuted), Some(View::new([(120, 1)], 7)));
        prop_assert!(StridedCopy::new(&outer, &View::in_order(outer.elements())).is_some());
    }

    /// One view reads what two read one after the other, where there is one.
    #[test]
    fn views_of_views_read_the_same(
        (inner, outer) in view(96).prop_flat_map(|inner| (Just(inner.clone()), view(inner.elements())))
    ) {
        if let Some(both) = outer.through(&inner) {
            let inner = places(&inner);
            let expected: Vec<usize> = places(&outer).into_iter().map(|i| inner[i]).collect();
            prop_assert_eq!(places(&both), expected);
        }
    }

    #[test]
    fn copies_go_from_one_view_to_another((read, write) in (view(96), view(96))) {
        if let Some(copied) = StridedCopy::new(&read, &write) {
            let mut pairs = Vec::new();
            copied.each(|from, to| pairs.push((from, to)));
            let expected: Vec<(usize, usize)> = places(&read).into_iter().zip(places(&write)).collect();
            prop_assert_eq!(pairs, expected);
        }
    }
}
