//! Updates that are checked.

use super::{AdamTick, AdamUpdate, FlagNonFinite, NextScale, SgdUpdate};
use crate::ops::{Case, Fillings, Op};

/// The usual constants, for no parameters.
pub(super) const ADAM: AdamUpdate =
    AdamUpdate { beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.0, decoupled: false, rows: Vec::new() };

/// The same for one counter.
pub(super) const TICK: AdamTick = AdamTick { beta1: 0.9, beta2: 0.999, counts: 1, has_factor: false };

pub(in crate::ops) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let tick = |beta1, beta2, t: f64| {
        let case = Case::new(AdamTick { beta1, beta2, ..TICK }, &[&[1], &[1]]).no_gradient();
        case.fill(0, Fillings::Uniform(1e-4, 1e-1)).index(1, 1).fill(1, Fillings::Given(vec![t]))
    };
    // Around the ends of the series (y = 0.5) for both betas, past 2^24, and at the last number.
    for t in [
        0.0,
        1.0,
        3.0,
        4.0,
        5.0,
        99.0,
        498.0,
        499.0,
        500.0,
        1e4,
        16_777_217.0,
        4_294_967_294.0,
        4_294_967_295.0,
    ] {
        cases.push(tick(0.9, 0.999, t));
    }
    cases.extend([tick(0.0, 0.0, 0.0), tick(0.5, 0.999_999_9, 7.0), tick(0.999_999_9, 0.0, 1e6)]);

    let counters = |counts: usize, count: fn(f64) -> f64| {
        let case = Case::new(AdamTick { beta2: 0.99, counts, ..TICK }, &vec![&[1][..]; 1 + counts]);
        let fill = |case: Case, i| case.index(i, 1).fill(i, Fillings::Given(vec![count(i as f64)]));
        (1..=counts).fold(case.no_gradient(), fill)
    };
    cases.push(counters(6, |i| i * 17.0 - 17.0));
    // More than a kernel binds with WebGPU's limits.
    cases.push(counters(9, |i| i * 5.0));
    // Two of a tick's three parameters, in another order.
    let op = AdamUpdate { beta2: 0.99, eps: 1e-6, rows: vec![2, 0], ..ADAM };
    let shapes: [&[usize]; 9] = [&[5], &[70], &[12], &[5], &[5], &[5], &[70], &[70], &[70]];
    let scalars = [1e-3, 1.0, 1e-3, 1.0, f64::from(f32::MAX), 1.0, 1.0, 1.0, 5e-3, 2.0, 2e-3, 1.0];
    let case = Case::new(op, &shapes).no_gradient().fill(2, Fillings::Given(scalars.to_vec()));
    cases.push(case.fill(5, Fillings::Uniform(0.0, 2.0)).fill(8, Fillings::Uniform(0.0, 2.0)));
    // Several parameters in one launch, as many as the adapter binds, of all sizes around the 1024 elements of a workgroup.
    let lists: [&[&[usize]]; 4] = [
        &[&[33], &[8]],
        &[&[256], &[257], &[1]],
        &[&[3, 5], &[64, 17], &[], &[255], &[1030]],
        &[&[7], &[1023], &[9, 9], &[1025], &[4097], &[2]],
    ];
    for (shapes, decoupled) in lists.into_iter().zip([false, true, false, true]) {
        let count = shapes.len();
        let op = AdamUpdate { weight_decay: 0.01, decoupled, rows: (0..count).collect(), ..ADAM };
        let scalars = [4 * count];
        let mut all = shapes.to_vec();
        all.push(&scalars);
        all.extend(shapes.iter().flat_map(|&s| [s; 3]));
        let rows = (0..count).flat_map(|k| [2e-3 + 1e-3 * k as f64, 1.5 + k as f64, 1e-3, 1.0]);
        let mut case = Case::new(op, &all).no_gradient().fill(count, Fillings::Given(rows.collect()));
        for k in 0..count {
            case = case.fill(count + 3 + 3 * k, Fillings::Uniform(0.0, 2.0));
        }
        cases.push(case);
    }

    let shapes = [&[][..], &[1], &[5], &[64], &[257], &[130, 33]];
    let scalars = |t: f64, lr: f64| {
        let (c1, c2) = (1.0 - 0.9f64.powf(t), 1.0 - 0.999f64.powf(t));
        Fillings::Given(vec![lr / c1, 1.0 / c2.sqrt(), lr, 1.0])
    };
    let adam = |weight_decay, decoupled, shape: &[usize]| {
        let op = AdamUpdate { weight_decay, decoupled, rows: vec![0], ..ADAM };
        let case = Case::new(op, &[shape, &[4], shape, shape, shape]).no_gradient();
        case.fill(1, scalars(10.0, 1e-3)).fill(4, Fillings::Uniform(0.0, 2.0))
    };
    for shape in shapes {
        cases.push(adam(0.0, false, shape));
        cases.push(adam(0.1, false, shape));
        cases.push(adam(0.01, true, shape));
    }
    let zero = Fillings::Given(vec![0.0]);
    // The first step; no gradient ever; a vanishing one, whose square is no float; a huge one.
    cases
        .push(adam(0.0, false, &[65]).fill(1, scalars(1.0, 0.1)).fill(3, zero.clone()).fill(4, zero.clone()));
    cases.push(adam(0.01, true, &[65]).fill(0, zero.clone()).fill(3, zero.clone()).fill(4, zero.clone()));
    let tiny = Fillings::Given(vec![0.0, 1e-38, 1e-30, 1e-20, 1e-12]);
    cases.push(adam(0.0, false, &[65]).fill(0, tiny.clone()).fill(3, tiny.clone()).fill(4, tiny));
    let huge = Fillings::Given(vec![1e15, -1e10, 1.0]);
    cases.push(adam(0.0, false, &[65]).fill(0, huge).fill(3, zero.clone()).fill(4, zero));

    let sgd = |momentum, nesterov, weight_decay, shape: &[usize]| {
        let op = SgdUpdate { momentum, nesterov, weight_decay, has_factor: false };
        let mut all = vec![shape, &[1]];
        all.resize(2 + op.writes(), shape);
        Case::new(op, &all).no_gradient().fill(1, Fillings::Uniform(0.01, 0.5))
    };
    for shape in shapes {
        cases.push(sgd(0.0, false, 0.0, shape));
        cases.push(sgd(0.0, false, 0.1, shape));
        cases.push(sgd(0.9, false, 0.0, shape));
        cases.push(sgd(0.9, false, 0.1, shape));
        cases.push(sgd(0.9, true, 0.1, shape));
    }
    cases.extend(with_factor());
    cases.extend(scaled());
    cases
}

/// Steps whose gradients are multiplied by a factor, of which 0 leaves them out.
fn with_factor() -> Vec<Case> {
    let mut cases = Vec::new();
    let given = |x: f64| Fillings::Given(vec![x]);
    for factor in [0.0, 1.0 / 65_536.0, 0.3] {
        for (counts, t) in [(1, 0.0), (3, 9.0), (AdamTick::MOST, 1e4)] {
            let op = AdamTick { counts, has_factor: true, ..TICK };
            let case = Case::new(op, &vec![&[1][..]; 2 + counts]).no_gradient();
            let case = case.fill(0, Fillings::Uniform(1e-4, 1e-1)).fill(1, given(factor));
            let count = |case: Case, i: usize| case.index(2 + i, 1).fill(2 + i, given(t + i as f64));
            cases.push((0..counts).fold(case, count));
        }
        for (momentum, nesterov) in [(0.0, false), (0.9, false), (0.9, true)] {
            let op = SgdUpdate { momentum, nesterov, weight_decay: 0.1, has_factor: true };
            let shape = &[5, 13][..];
            let mut all = vec![shape, &[1], &[1]];
            all.resize(3 + op.writes(), shape);
            let case = Case::new(op, &all).no_gradient().fill(1, Fillings::Uniform(0.01, 0.5));
            cases.push(case.fill(2, given(factor)));
        }
    }
    // Of three parameters the second is left out.
    let op = AdamUpdate { weight_decay: 0.1, decoupled: true, rows: vec![0, 1, 2], ..ADAM };
    let shapes: [&[usize]; 3] = [&[7], &[1030], &[64]];
    let mut all: Vec<&[usize]> = shapes.to_vec();
    all.push(&[12]);
    all.extend(shapes.iter().flat_map(|&s| [s; 3]));
    let rows = vec![2e-3, 1.5, 1e-3, 0.01, 0.0, 0.0, 0.0, 0.0, 3e-3, 1.2, 1e-3, 0.7];
    let mut case = Case::new(op, &all).no_gradient().fill(3, Fillings::Given(rows));
    for v in [6, 9, 12] {
        case = case.fill(v, Fillings::Uniform(0.0, 2.0));
    }
    cases.push(case);
    cases
}

/// Gradients that are finite and such that are not, and scales.
fn scaled() -> Vec<Case> {
    let mut cases = Vec::new();
    let given = |x: f64| Fillings::Given(vec![x]);
    let lists: [&[&[usize]]; 5] = [
        &[&[]],
        &[&[2000]],
        &[&[257], &[1]],
        &[&[3, 5], &[64, 17], &[1030]],
        &[&[7], &[1023], &[9, 9], &[1025], &[4097], &[14], &[2000]],
    ];
    for shapes in lists {
        let count = shapes.len();
        let all = [shapes, &[&[1]]].concat();
        let plain = Case::new(FlagNonFinite { count }, &all).no_gradient().index(count, 1);
        // At the end of each gradient.
        for (k, shape) in shapes.iter().enumerate() {
            let mut values = vec![1.5; shape.iter().product()];
            if let Some(last) = values.last_mut() {
                *last = [f64::INFINITY, f64::NEG_INFINITY, f64::NAN][k % 3];
            }
            cases.push(plain.clone().fill(k, Fillings::Given(values)));
        }
        // In each of the vectors that one invocation looks at, and in the first and the last of the second workgroup.
        for (k, shape) in shapes.iter().enumerate() {
            let n = shape.iter().product();
            for at in [5, 64 * 4 + 2, 2 * 64 * 4 + 1, 3 * 64 * 4 + 5, 4 * 64 * 4 + 1, 7 * 64 * 4 + 21]
                .into_iter()
                .filter(|at| at + 4 < n)
            {
                let values = (0..n).map(|i| if i == at { f64::INFINITY } else { 1.5 });
                cases.push(plain.clone().fill(k, Fillings::Given(values.collect())));
            }
        }
        let found = plain.clone().fill(count, given(1.0));
        cases.extend([plain.clone().fill(0, given(3e38)), plain, found]);
    }
    for (scale, steps, found) in [
        (65_536.0, 0.0, 0.0),
        (65_536.0, 1998.0, 0.0),
        (65_536.0, 1999.0, 0.0),
        (65_536.0, 1999.0, 1.0),
        (1e-7, 5.0, 1.0),
        (3e38, 1999.0, 0.0),
        // To the largest there is, and no further.
        (549_755_813_888.0, 1999.0, 0.0),
        (1_099_511_627_776.0, 1999.0, 0.0),
        (3.7, 7.0, 0.0),
    ] {
        let op = NextScale { growth: 2.0, backoff: 0.5, interval: 2000 };
        let case = Case::new(op, &[&[], &[1], &[1]]).no_gradient().index(1, 1).index(2, 1);
        cases.push(case.fill(0, given(scale)).fill(1, given(steps)).fill(2, given(found)));
    }
    cases
}
