//! Cases of shapes that faults planted in kernels showed to be unwatched: grids that fold, six axes, windows over edges. See
//! `tests/mutation`.

use super::edge::{given, recorded};
use crate::ops::argmax::ArgMax;
use crate::ops::cross_entropy::{CrossEntropy, CrossEntropyBoth};
use crate::ops::reduce::{Kind, Reduce};
use crate::ops::softmax::{Softmax, SoftmaxGrad};
use crate::ops::{Case, Fillings, PoolOptions};

pub(super) fn cases() -> Vec<Case> {
    let mut cases = folded();
    cases.extend(many_axes().into_iter().flatten());
    cases.extend(averages().into_iter().flatten());
    cases
}

/// Grids of five or eight workgroups, which fold with some of their last row left over where three are allowed.
pub(super) fn folded() -> Vec<Case> {
    let sum = |first| Reduce { kind: Kind::Sum, first, count: 1, scale: 1.0 };
    let mut cases = Vec::new();
    for rows in [5, 8] {
        let long = &[rows, 64][..];
        cases.push(Case::new(sum(1), &[long]).no_gradient());
        cases.push(Case::new(ArgMax, &[long]).no_gradient());
        for log in [false, true] {
            cases.push(Case::new(Softmax { log }, &[long]).no_gradient());
            cases.push(Case::new(SoftmaxGrad { log }, &[long, long]).no_gradient());
        }
        cases.push(Case::new(CrossEntropy { soft: false }, &[long, &[rows]]).index(1, 64).no_gradient());
        cases.push(Case::new(CrossEntropy { soft: true }, &[long, long]).no_gradient());
        cases.push(Case::new(CrossEntropyBoth { share: 0.5 }, &[long, &[rows]]).index(1, 64).no_gradient());
    }
    for rows in [300, 40] {
        let (short, labels) = (&[rows, 8][..], &[rows][..]);
        cases.push(Case::new(sum(1), &[short]).no_gradient());
        cases.push(Case::new(sum(1), &[&[rows, 7]]).no_gradient());
        cases.push(Case::new(ArgMax, &[short]).no_gradient());
        for log in [false, true] {
            cases.push(Case::new(Softmax { log }, &[short]).no_gradient());
            cases.push(Case::new(SoftmaxGrad { log }, &[short, short]).no_gradient());
        }
        cases.push(Case::new(CrossEntropy { soft: false }, &[short, labels]).index(1, 8).no_gradient());
        cases.push(Case::new(CrossEntropy { soft: true }, &[short, short]).no_gradient());
        cases.push(Case::new(CrossEntropyBoth { share: 0.5 }, &[short, labels]).index(1, 8).no_gradient());
    }
    let whole = recorded("one_hot", |g| g.output("y", g.classes("i", [100]).one_hot(3)));
    cases.extend(whole.map(|case| Case { exact: true, ..case.fill(0, Fillings::Whole(3)) }));
    let window = recorded("batch_rows", |g| {
        g.output("y", g.classes("order", [1000]).batch_rows(g.classes("counter", [1]), 300));
    });
    cases.extend(window.map(|case| case.fill(0, Fillings::Whole(1000)).fill(1, given(&[2.0]))));
    let bytes = true;
    for (rows, row, bytes) in [
        (300, 1, !bytes),
        (75, 4, !bytes),
        (300, 4, !bytes),
        (300, 4, bytes),
        (100, 13, bytes),
        (112, 3, bytes),
    ] {
        let take = recorded("take_rows", |g| {
            let table = if bytes { g.bytes("x", [7, row]) } else { g.input("x", [7, row]) };
            g.output("y", table.take_rows(g.classes("i", [rows])));
        });
        let take = take.map(|case| case.fill(1, Fillings::Whole(7)));
        cases.extend(take.map(|case| if bytes { case.fill(0, Fillings::Whole(256)) } else { case }));
    }
    let pick = recorded("pick", |g| g.output("y", g.input("x", [300, 3]).pick(g.classes("i", [300]))));
    cases.extend(pick.map(|case| case.fill(1, Fillings::Whole(3))));
    for row in [3, 4] {
        let scatter = recorded("scatter_rows", |g| {
            let (table, index) = (g.input("x", [300, row]), g.classes("i", [9]));
            g.output("dx", g.gradients(table.take_rows(index).square().sum_all(), &[table])[0]);
        });
        cases.extend(scatter.map(|case| case.fill(0, Fillings::Whole(300))));
    }
    cases
}

/// Six axes, where sizes and strides of the last two lie in a second vector of the uniform; and columns of a product that is split along k.
pub(super) fn many_axes() -> Vec<Option<Case>> {
    let shape = [2, 3, 2, 3, 2, 5];
    let pad = recorded("pad", |g| {
        g.output("y", g.input("x", shape).pad(&[1, 0, 1, 2, 1, 3], &[0, 1, 1, 1, 2, 1], 0.5));
    });
    let permuted = recorded("permute", |g| g.output("y", g.input("x", shape).permute(&[5, 2, 4, 0, 3, 1])));
    let broadcast = recorded("add", |g| {
        g.output("y", g.input("a", [2, 1, 2, 1, 2, 1]) + g.input("b", [1, 3, 1, 3, 1, 5]));
    });
    let some = recorded("mul", |g| {
        g.output("y", g.input("a", [2, 3, 1, 3, 1, 4]) * g.input("b", [2, 1, 2, 3, 2, 1]));
    });
    // A long product, which GPUs split along k, with something for each column after it.
    let split = super::fused::case_of("a long product of 5 columns, bias and relu", |g| {
        let y = g.input("a", [3, 20_000]).matmul(g.input("b", [20_000, 5])) + g.input("bias", [5]);
        g.output("y", y.relu());
    });
    // Neighbours differ in each of four inputs that are read by their strides.
    let strided = super::fused::case_of("four inputs by strides", |g| {
        let one = |name: &str| g.input(name, [3, 1, 8]);
        g.output("y", ((g.input("x", [3, 4, 8]) * one("a") + one("b")) * one("c") - one("d")).relu());
    });
    vec![pad, permuted, broadcast, some, split, strided]
}

/// Averages of windows that hang over each edge by another width, in planes that are no squares.
pub(super) fn averages() -> Vec<Option<Case>> {
    let mut cases = Vec::new();
    for (shape, kernel, stride, padding) in [
        ([2, 5, 16], [2, 4], [2, 5], [1, 0, 1, 2]),
        ([2, 16, 5], [4, 2], [5, 2], [2, 1, 0, 1]),
        ([2, 4, 9], [3, 3], [2, 3], [1, 1, 1, 1]),
        ([2, 9, 4], [3, 3], [3, 2], [0, 1, 1, 0]),
        ([3, 6, 8], [2, 2], [2, 2], [1, 1, 1, 1]),
        ([3, 8, 3], [3, 1], [2, 1], [1, 0, 0, 0]),
        ([2, 9, 6], [2, 4], [2, 5], [0, 1, 2, 1]),
        ([2, 9, 7], [2, 4], [2, 5], [0, 1, 2, 1]),
        ([2, 6, 9], [4, 2], [5, 2], [1, 2, 0, 1]),
        ([2, 9, 4], [3, 3], [2, 3], [1, 1, 1, 1]),
        ([2, 4, 9], [3, 3], [3, 2], [1, 0, 0, 1]),
        ([3, 8, 6], [2, 2], [2, 2], [1, 1, 1, 1]),
        ([3, 3, 8], [3, 1], [2, 1], [0, 1, 0, 0]),
        // A window's last element is the first beyond the edge, or the last before it.
        ([3, 4, 8], [3, 1], [2, 1], [0, 1, 0, 0]),
        ([3, 8, 4], [1, 3], [1, 2], [0, 0, 0, 1]),
        ([2, 15, 5], [4, 2], [5, 2], [2, 1, 0, 1]),
        ([2, 5, 15], [2, 4], [2, 5], [0, 1, 2, 1]),
        ([2, 5, 7], [2, 3], [1, 2], [1, 0, 1, 1]),
    ] {
        let options = PoolOptions { kernel, stride, padding, dilation: [1, 1] };
        for count_padding in [false, true] {
            for op in ["avg_pool2d", "avg_pool2d_backward"] {
                cases.push(recorded(op, |g| {
                    let x = g.input("x", shape);
                    let y = x.avg_pool2d(options, count_padding);
                    let loss = (y * g.input("w", y.shape())).sum_all();
                    g.output("y", y);
                    g.output("dx", g.gradients(loss, &[x])[0]);
                }));
            }
        }
    }
    cases
}
