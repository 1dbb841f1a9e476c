//! Cases at the edges that faults planted in kernels showed to be unwatched: start values of maxima, indices equal to the
//! count, ties, and rows around the extents at which kernels change. See `tests/mutation`.

use std::sync::Arc;

use crate::error::Result;
use crate::graph::{Graph, Var};
use crate::op::relative_bound;
use crate::ops::argmax::ArgMax;
use crate::ops::batch_norm::BatchNorm;
use crate::ops::cross_entropy::{CrossEntropy, CrossEntropyBoth, CrossEntropyGrad};
use crate::ops::layer_norm::LayerNorm;
use crate::ops::optimizer::{Adam, Rule, Update};
use crate::ops::pool::{MaxPoolGather, Windows};
use crate::ops::reduce::{Kind, Reduce};
use crate::ops::softmax::{Softmax, SoftmaxGrad};
use crate::ops::{
    Case, Fillings, In, KernelContext, Op, Out, PoolOptions, Program, Real, Reference, SliceMut, Traits,
};
use crate::shape::TensorType;

/// An op on inputs that its formula refuses, such as a class that does not exist, or whose differences are NaN in
/// `f32`, with the outputs that its kernels owe.
#[derive(Debug)]
struct Refused {
    op: Arc<dyn Op>,
    outputs: Vec<Vec<f64>>,
}

impl<T: Real> Reference<T> for Refused {
    fn eval(&self, _: &[In<'_, T>], outputs: &mut [Out<'_, T>]) -> Result<(), String> {
        for (out, values) in outputs.iter_mut().zip(&self.outputs) {
            match &mut out.data {
                SliceMut::F(y) => y.iter_mut().zip(values).for_each(|(y, x)| *y = T::of(*x)),
                SliceMut::U32(y) => y.iter_mut().zip(values).for_each(|(y, x)| *y = *x as u32),
                SliceMut::U8(y) => y.iter_mut().zip(values).for_each(|(y, x)| *y = *x as u8),
            }
        }
        Ok(())
    }
}

impl Op for Refused {
    fn name(&self) -> &'static str {
        self.op.name()
    }

    /// Of these shapes alone: the outputs are those of one case.
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, String> {
        let types = self.op.infer(inputs)?;
        let is_known = types.iter().zip(&self.outputs).all(|(ty, known)| ty.shape.elements() == known.len());
        if is_known { Ok(types) } else { Err("the outputs of these shapes are not known".into()) }
    }

    fn dispatch(&self, ctx: &KernelContext<'_>) -> Result<Program> {
        self.op.dispatch(ctx)
    }

    /// The exponentials, the sum and the logarithm of a loss of equal logits are off by 20 roundoffs.
    fn error_bound(&self, _: &[In<'_, f64>], outputs: &[In<'_, f64>]) -> Vec<Vec<f64>> {
        outputs.iter().map(|o| relative_bound(o, 32.0)).collect()
    }

    fn traits(&self) -> Traits {
        self.op.traits()
    }

    /// The outputs are those of the op alone.
    fn can_fuse(&self, _: &KernelContext<'_>) -> bool {
        false
    }
}

/// The case, with an index out of range, and with these outputs in the place of its reference's.
pub(super) fn refused(case: Case, outputs: &[&[f64]]) -> Case {
    owed(case, "index out of range", outputs.iter().map(|o| o.to_vec()).collect())
}

/// The case with these outputs in the place of its reference's.
fn owed(case: Case, why: &str, outputs: Vec<Vec<f64>>) -> Case {
    let name = format!("{}, {why}", case.name);
    Case { op: Arc::new(Refused { op: case.op, outputs }), name, ..case }.no_gradient()
}

/// The node with this op of a recording, as a case of its own. Tests demand that there is one.
pub(super) fn recorded(op: &str, record: impl for<'g> Fn(&'g Graph)) -> Option<Case> {
    let g = Graph::new();
    record(&g);
    let r = g.finish().ok()?;
    let node = r.nodes.iter().find(|n| n.op.name() == op)?;
    let inputs: Vec<_> = node.inputs.iter().map(|&v| (r.values[v as usize].ty, Fillings::Normal)).collect();
    let name = format!("{:?} {:?}", node.op, inputs.iter().map(|(ty, _)| ty.to_string()).collect::<Vec<_>>());
    Some(Case { name, op: node.op.clone(), inputs, gradient: false, exact: false })
}

pub(super) fn given(values: &[f64]) -> Fillings {
    Fillings::Given(values.to_vec())
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = rows_of_softmax();
    cases.extend(maxima());
    cases.extend(indices().into_iter().flatten());
    cases.extend(ties().into_iter().flatten());
    cases.extend(optimizers());
    cases.extend(means());
    cases
}

/// Means of numbers whose differences are beyond the largest: 2^127 and its negative in turn, along every way that sums are
/// taken, and one 0. Nothing else is a number then.
fn means() -> Vec<Case> {
    let large = 2f64.powi(127);
    let is_even = |i: usize| (i + i / 4 + i / 64 + i / 256).is_multiple_of(2);
    let value = |i: usize| if i == 2 { 0.0 } else { large * if is_even(i) { 1.0 } else { -1.0 } };
    let mut cases = Vec::new();
    for n in [8usize, 256, 1024] {
        let values = given(&(0..n).map(value).collect::<Vec<_>>());
        // The 0 is in the place of a positive number, or of a negative one.
        let mean = (0..n).map(value).sum::<f64>() / n as f64;
        let outputs = || vec![vec![f64::NAN; n], vec![mean], vec![f64::NAN]];
        let why = "differences beyond the largest number";
        let channel = Case::new(BatchNorm { eps: 1e-5 }, &[&[1, 1, n], &[1], &[1]]).fill(0, values.clone());
        cases.push(owed(channel, why, outputs()));
        let row = Case::new(LayerNorm { eps: 1e-5 }, &[&[1, n], &[n], &[n]]).fill(0, values);
        cases.push(owed(row, why, outputs()));
    }
    cases
}

/// Rows in which a wrong maximum takes all exponentials out of range.
fn rows_of_softmax() -> Vec<Case> {
    let mut cases = Vec::new();
    // All far below 0; the next row far above.
    let below = [-1000.0, -1001.0, -1002.0, 1000.0, 1001.0, 1002.0];
    // The one that counts is not the first, and lies at an odd index.
    let second = [0.0, 500.0, 1.0, 2.0];
    // It is the first, or the last, that another invocation of a workgroup looks at.
    let one_at =
        |n: usize, at: usize| (0..n).map(|k| if k == at { 500.0 } else { 0.0 }).collect::<Vec<f64>>();
    let rows: [(usize, usize, Vec<f64>); 7] = [
        (2, 3, below.to_vec()),
        (4, 4, second.to_vec()),
        (2, 150, one_at(150, 64)),
        (2, 150, one_at(150, 149)),
        (3, 128, one_at(128, 127)),
        // The rows have another maximum each; the last element is the next row's first.
        (3, 66, (0..198).map(|i| f64::from(i / 66 * 900 - 1000)).collect()),
        (2, 96, below.iter().copied().cycle().take(96).collect()),
    ];
    for (rows, columns, logits) in rows {
        let shape = &[rows, columns][..];
        let fill = |case: Case| case.fill(0, given(&logits)).no_gradient();
        cases.push(fill(Case::new(Softmax { log: false }, &[shape])));
        cases.push(fill(Case::new(Softmax { log: true }, &[shape])));
        let classes = |case: Case| case.index(1, columns as u32);
        cases.push(fill(classes(Case::new(CrossEntropy { soft: false }, &[shape, &[rows]]))));
        cases.push(fill(classes(Case::new(CrossEntropyBoth { share: 0.5 }, &[shape, &[rows]]))));
        let soft = Case::new(CrossEntropy { soft: true }, &[shape, shape]);
        cases.push(fill(soft.fill(1, Fillings::Uniform(0.0, 1.0))));
    }
    // More rows than columns, in kernels with a workgroup for each row.
    let shape = &[70, 64][..];
    for log in [false, true] {
        cases.push(Case::new(Softmax { log }, &[shape]).no_gradient());
        cases.push(Case::new(SoftmaxGrad { log }, &[shape, shape]).no_gradient());
    }
    let soft = Case::new(CrossEntropy { soft: true }, &[shape, shape]).no_gradient();
    cases.push(soft.fill(1, Fillings::Uniform(0.0, 1.0)));
    cases.push(Case::new(CrossEntropyBoth { share: 0.5 }, &[shape, &[70]]).index(1, 64).no_gradient());
    cases
}

/// Maxima of negative numbers in every kernel; sums and maxima of rows around the shortest that a workgroup takes.
fn maxima() -> Vec<Case> {
    let max = |first, count| Reduce { kind: Kind::Max, first, count, scale: 1.0 };
    let sum = |first, count| Reduce { kind: Kind::Sum, ..max(first, count) };
    let mut cases = Vec::new();
    for (first, shape) in [
        (0, &[5, 7][..]),
        (0, &[9, 8]),
        (0, &[37, 256]),
        (1, &[3, 5, 64]),
        (1, &[6, 12]),
        (1, &[5, 17]),
        (1, &[5, 300]),
        (1, &[3, 8196]),
        (0, &[20_011, 3]),
        (0, &[4099, 12]),
        (0, &[4100, 272]),
    ] {
        let case = Case::new(max(first, 1), &[shape]).fill(0, Fillings::Uniform(-3.0, -1.0));
        cases.push(case.no_gradient());
    }
    for shape in [[33, 32], [5, 33], [7, 37], [3, 48], [65, 63], [2, 63], [70, 65]] {
        cases.push(Case::new(sum(1, 1), &[&shape]));
        cases.push(Case::new(sum(1, 1), &[&shape]).exact());
        cases.push(Case::new(max(1, 1), &[&shape]).no_gradient());
    }
    // Terms with an input along the row, or one for each row, in the workgroup's kernel.
    for dims in [&[40][..], &[5, 1]] {
        cases.extend(super::fused::case_of(&format!("sums of rows of 40 with {dims:?}"), |g| {
            g.output("y", (g.input("x", [5, 40]) - g.input("y", dims)).square().sum(&[1]));
        }));
    }
    // Two that tie share the gradient evenly, as central differences have it.
    let pairs = [1.0, 3.0, 3.0, 0.0, -1.0, -1.0, -5.0, -2.0, 7.0, 2.0, 7.0, 1.0];
    cases.push(Case::new(max(1, 1), &[&[3, 4]]).fill(0, given(&pairs)));
    cases.push(
        Case::new(max(0, 1), &[&[4, 3]])
            .fill(0, given(&[2.0, -1.0, 0.0, 2.0, -4.0, 0.0, 1.0, -1.0, -3.0, 0.0, -2.0, -5.0])),
    );
    cases
}

/// Indices of the count itself, and beyond. By hand: of n equal logits each loss is ln n, and each share 1 / n.
pub(super) fn indices() -> Vec<Option<Case>> {
    const NAN: f64 = f64::NAN;
    let zeros = given(&[0.0]);
    let mut cases = Vec::new();
    for columns in [3usize, 64] {
        let n = columns as f64;
        let (l, classes) = (n.ln(), given(&[n, 0.0, 4e9, n - 1.0]));
        let stats = [0.0, l, 0.0, l, 0.0, l, 0.0, l];
        let shape = &[4, columns][..];
        let fill = |case: Case| case.index(1, 1).fill(0, zeros.clone()).fill(1, classes.clone());
        let loss = fill(Case::new(CrossEntropy { soft: false }, &[shape, &[4]]));
        cases.push(Some(refused(loss, &[&[NAN, l, NAN, l], &stats])));
        // dz of a cotangent of 1.
        let row = |class: Option<usize>| {
            (0..columns).map(move |k| match class {
                None => NAN,
                Some(class) => 1.0 / n - if k == class { 1.0 } else { 0.0 },
            })
        };
        let four = |a, b, c, d| -> Vec<f64> { row(a).chain(row(b)).chain(row(c)).chain(row(d)).collect() };
        let dz = four(None, Some(0), None, Some(columns - 1));
        let both = fill(Case::new(CrossEntropyBoth { share: 1.0 }, &[shape, &[4]]));
        cases.push(Some(refused(both, &[&[NAN, l, NAN, l], &dz])));
        let grad = fill(Case::new(CrossEntropyGrad { soft: false }, &[shape, &[4], &[4, 2], &[4]]));
        // With m = L = 0, e^0 is 1 in any precision: 0 at the class, 1 elsewhere.
        let grad = grad.fill(2, zeros.clone()).fill(3, given(&[1.0]));
        let ones: Vec<f64> = dz.iter().map(|d| if *d > 0.0 { 1.0 } else { d * 0.0 }).collect();
        cases.push(Some(refused(grad, &[&ones])));
    }
    cases.extend(super::lengths::labels_out_of_range().into_iter().map(Some));
    // Rows 0, 1, 2 of a table hold 1, 2, 3; words, vectors of four and bytes.
    for (row, bytes) in [(1usize, false), (3, false), (4, false), (8, false), (3, true), (4, true), (5, true)]
    {
        let index = [3.0, 2.0, 4e9, 0.0, 3.0];
        let take = recorded("take_rows", |g| {
            let table = if bytes { g.bytes("x", [3, row]) } else { g.input("x", [3, row]) };
            g.output("y", table.take_rows(g.classes("i", [5])));
        });
        let spread = |values: &[f64]| values.iter().flat_map(|v| vec![*v; row]).collect::<Vec<f64>>();
        let missing = if bytes { 0.0 } else { NAN };
        let taken = spread(&[missing, 3.0, missing, 1.0, missing]);
        let table = given(&spread(&[1.0, 2.0, 3.0]));
        cases.push(take.map(|case| refused(case.fill(0, table).fill(1, given(&index)), &[&taken])));
    }
    let pick = recorded("pick", |g| g.output("y", g.input("x", [4, 3]).pick(g.classes("i", [4]))));
    let elements: Vec<f64> = (0..12).map(f64::from).collect();
    cases.push(pick.map(|case| {
        let case = case.fill(0, given(&elements)).fill(1, given(&[3.0, 2.0, 4e9, 0.0]));
        refused(case, &[&[NAN, 5.0, NAN, 9.0]])
    }));
    // Two planes of four elements: the index 4 is not the first element of the second one.
    let windows = Windows::Fixed { kernel: [1, 2], stride: [1, 2], padding: [0; 4], dilation: [1; 2] };
    let gather = Case::new(MaxPoolGather { windows }, &[&[2, 1, 4], &[2, 1, 2]]).index(1, 1);
    let gather = gather.fill(0, given(&elements[..8])).fill(1, given(&[4.0, 2.0, 0.0, 4e9]));
    cases.push(Some(refused(gather, &[&[NAN, 2.0, 4.0, NAN]])));
    let hot = recorded("one_hot", |g| g.output("y", g.classes("i", [3]).one_hot(3)));
    let rows = [NAN, NAN, NAN, 0.0, 0.0, 1.0, NAN, NAN, NAN];
    cases.push(hot.map(|case| refused(case.fill(0, given(&[3.0, 2.0, 4e9])), &[&rows])));
    // A row that is added nowhere: 1 + 16 to row 0, 4 to row 2, and none to row 1.
    for row in [1usize, 4] {
        let scatter = recorded("scatter_rows", |g| {
            let (table, index) = (g.input("x", [3, row]), g.classes("i", [5]));
            g.output("dx", g.gradients(table.take_rows(index).square().sum_all(), &[table])[0]);
        });
        let spread = |values: &[f64]| values.iter().flat_map(|v| vec![*v; row]).collect::<Vec<f64>>();
        let x = given(&spread(&[1.0, 2.0, 4.0, 8.0, 16.0]));
        let sums = spread(&[17.0, 0.0, 4.0]);
        cases.push(
            scatter.map(|case| refused(case.fill(0, given(&[0.0, 3.0, 2.0, 4e9, 0.0])).fill(1, x), &[&sums])),
        );
    }
    // The same where there are so many that they are sorted: 40 times 1 to row 0, 4 to row 2, and 16 to the last.
    let many = recorded("scatter_rows", |g| {
        let (table, index) = (g.input("x", [1000, 4]), g.classes("i", [200]));
        g.output("dx", g.gradients(table.take_rows(index).square().sum_all(), &[table])[0]);
    });
    let sum =
        |r: usize| [(0, 40.0), (2, 160.0), (999, 640.0)].iter().find(|(at, _)| *at == r).map_or(0.0, |s| s.1);
    let sums: Vec<f64> = (0..4000).map(|i| sum(i / 4)).collect();
    let x: Vec<f64> = [1.0, 2.0, 4.0, 8.0, 16.0].iter().flat_map(|v| [*v; 4]).collect();
    let numbers = given(&[0.0, 1000.0, 2.0, 4e9, 999.0]);
    cases.push(many.map(|case| refused(case.fill(0, numbers).fill(1, given(&x)), &[&sums])));
    cases
}

/// Rules for equal elements: the first index counts. And slopes at 0.
pub(super) fn ties() -> Vec<Option<Case>> {
    let mut cases = Vec::new();
    for (shape, filling) in [
        ([5, 7], Fillings::Whole(2)),
        ([66, 3], Fillings::Whole(2)),
        ([3, 100], Fillings::Whole(3)),
        ([70, 64], Fillings::Whole(2)),
        ([2, 130], given(&[-2.0])),
        // The last of the shortest row that has a workgroup.
        ([3, 64], Fillings::Given((0..64).map(|k| if k == 63 { 2.0 } else { 1.0 }).collect())),
        // The largest at the first index of one invocation and a later one of the invocation before it.
        ([1, 130], Fillings::Given((0..130).map(|k| if k == 66 || k == 127 { 1.0 } else { -1.0 }).collect())),
    ] {
        cases.push(Some(Case::new(ArgMax, &[&shape]).fill(0, filling).no_gradient()));
    }
    // Where a row of several pieces ends, the next begins with larger elements.
    let rising = Fillings::Given((0..2 * 16_400).map(|k| f64::from(k) / 16.0).collect());
    cases.push(Some(Case::new(ArgMax, &[&[2, 16_400]]).fill(0, rising).no_gradient()));
    // The largest is in the second piece of four, and what is after it is larger than what is before it.
    let peak = |k: i32| if k < 14_000 { f64::from(k) / 16.0 } else { 874.0 - f64::from(k - 14_000) / 1024.0 };
    let peak = Fillings::Given((0..48_300).map(peak).collect());
    cases.push(Some(Case::new(ArgMax, &[&[2, 48_300]]).fill(0, peak).no_gradient()));
    // It is in the first piece.
    let early = |k: i32| if k == 5 { 1.0 } else { f64::from(-k) / 1024.0 };
    let early = Fillings::Given((0..16_400).map(early).collect());
    cases.push(Some(Case::new(ArgMax, &[&[2, 16_400]]).fill(0, early).no_gradient()));
    let mut pool = |shape: [usize; 3], values: Fillings, record: &dyn for<'g> Fn(Var<'g>) -> Var<'g>| {
        let case = recorded("max_pool2d", |g| g.output("y", record(g.input("x", shape))));
        cases.push(case.map(|case| case.fill(0, values)));
    };
    let forms = [
        ([2, 8, 8], PoolOptions::square(2)),
        ([2, 7, 9], PoolOptions::square(3).stride(2).padding(1)),
        ([2, 6, 12], PoolOptions::square(3)),
        ([2, 5, 6], PoolOptions::square(2).stride(1)),
    ];
    for (shape, options) in forms {
        pool(shape, Fillings::Whole(2), &|x| x.max_pool2d(options));
        pool(shape, given(&[-2.0]), &|x| x.max_pool2d(options));
        // The largest of them all is below 0.
        pool(shape, Fillings::Uniform(-3.0, -1.0), &|x| x.max_pool2d(options));
    }
    pool([2, 7, 9], Fillings::Whole(2), &|x| x.adaptive_max_pool2d([3, 4]));
    pool([2, 7, 9], Fillings::Uniform(-3.0, -1.0), &|x| x.adaptive_max_pool2d([3, 4]));
    for shape in [&[7][..], &[5, 8]] {
        let around = given(&[0.0, -0.0, 1.0, -1.0, 0.0]);
        for name in ["relu_grad", "leaky_relu_grad"] {
            let case = recorded(name, |g| {
                let x = g.input("x", shape);
                let y = if name == "relu_grad" { x.relu() } else { x.leaky_relu(0.25) };
                g.output("dx", g.gradients((y * g.input("w", shape)).sum_all(), &[x])[0]);
            });
            // Either argument may be the one that decides: it is at 0, and at neither.
            cases.push(case.clone().map(|case| case.fill(0, around.clone())));
            cases.push(case.map(|case| case.fill(1, around.clone())));
        }
        for name in ["sign", "relu"] {
            let values = [0.0, -0.0, 0.5, -0.5, 3.0, -3.0, f64::INFINITY, f64::NEG_INFINITY];
            let case = recorded(name, |g| {
                let x = g.input("x", shape);
                g.output("y", if name == "relu" { x.relu() } else { x.sign() });
            });
            cases.push(case.map(|case| case.fill(0, given(&values))));
        }
        let case = recorded("pow", |g| g.output("y", g.input("a", shape).pow(g.input("b", shape))));
        let a = [0.0, 0.0, -2.0, -2.0, -1.5, 0.5, -1.0, f64::INFINITY, f64::INFINITY];
        let b = [-1.0, 0.5, 5.0, -5.0, 7.0, 3.0, -3.0, 0.5, -0.5];
        cases.push(case.map(|case| case.fill(0, given(&a)).fill(1, given(&b))));
        // The largest and the smallest normal number, and what is next to 1.
        let case = recorded("log", |g| g.output("y", g.input("x", shape).log()));
        let numbers = [f64::from(f32::MAX), f64::from(f32::MIN_POSITIVE), 1.0, 2.0, 0.5];
        cases.push(case.map(|case| case.fill(0, given(&numbers))));
        let case = recorded("leaky_relu", |g| g.output("y", g.input("x", shape).leaky_relu(0.25)));
        cases.push(case.map(|case| case.fill(0, around.clone())));
    }
    cases
}

/// Adam where its ε is as large as the root beside it, for one parameter and for several.
fn optimizers() -> Vec<Case> {
    let mut cases = Vec::new();
    for (eps, decoupled) in [(0.5f32, false), (1e-3, true)] {
        let rule = Adam { betas: [0.9, 0.99], eps, amsgrad: false };
        let small = Fillings::Uniform(0.0, 4.0 * f64::from(eps * eps));
        let one = Update::of(rule, 1).decaying(0.1, decoupled).case(&[&[37]], 1e-2, 6).fill(4, small.clone());
        cases.push(one.clone());
        // A step that is left out.
        let row = [&[1e-2, 0.0], &rule.scalars(6)[..], &[0.0; 3]].concat();
        cases.push(one.fill(1, given(&row)));
        let two = Update::of(rule, 2).decaying(0.1, decoupled).case(&[&[5], &[1030]], 1e-2, 20);
        cases.push(two.fill(5, small.clone()).fill(8, small));
    }
    cases
}
