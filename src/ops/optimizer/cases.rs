//! Updates that are checked.

use super::{
    Adadelta, Adagrad, Adam, Adamax, Average, Each, FlagNonFinite, LambDirection, Lion, MOST, MuonDirection,
    NAdam, NextScale, RAdam, RmsProp, Rprop, Rule, Sgd, Tick, Update,
};
use crate::ops::{Case, Fillings};

/// The usual settings.
pub(super) const ADAM: Adam = Adam { betas: [0.9, 0.999], eps: 1e-8, amsgrad: false };
pub(super) const SGD: Sgd = Sgd { momentum: 0.9, nesterov: false };
const LAMB: LambDirection = LambDirection { betas: [0.9, 0.999], eps: 1e-6, weight_decay: 0.01 };
const RMSPROP: RmsProp = RmsProp { alpha: 0.99, eps: 1e-8, momentum: 0.0, centered: false };

fn given(x: &[f64]) -> Fillings {
    Fillings::Given(x.to_vec())
}

impl<R: Rule> Update<R> {
    /// For so many parameters, without decay.
    pub(crate) fn of(rule: R, count: usize) -> Self {
        let each = (0..count).map(Each::plain).collect();
        Update { rule, decoupled: false, has_factor: false, each }
    }

    pub(crate) fn decaying(mut self, decay: f32, decoupled: bool) -> Self {
        self.each.iter_mut().for_each(|each| each.decay = decay);
        self.decoupled = decoupled;
        self
    }

    /// A step on parameters of these shapes, all at step `t`, with a factor of 1 where one is read. Every state is 0 or more,
    /// as second moments are, unless it is filled otherwise.
    pub(crate) fn case(self, shapes: &[&[usize]], lr: f64, t: u32) -> Case {
        let (count, kept, has_factor) = (shapes.len(), self.rule.kept(), self.has_factor);
        let rows = self.each.iter().map(|each| each.row + 1).max().unwrap_or(1);
        let row = |_| [&[lr, 1.0], &self.rule.scalars(t)[..], &[0.0; 3]].concat();
        let scalars: Vec<f64> = (0..rows).flat_map(row).collect();
        let length = [scalars.len()];
        let mut all = shapes.to_vec();
        match R::TICK {
            Some(_) => all.push(&length),
            None => all.extend(vec![&[1][..]; 1 + usize::from(has_factor)]),
        }
        let first = all.len();
        all.extend(shapes.iter().flat_map(|&shape| vec![shape; 1 + kept]));
        let mut case = Case::new(self, &all).no_gradient();
        case = case.fill(count, if R::TICK.is_some() { Fillings::Given(scalars) } else { given(&[lr]) });
        if has_factor && R::TICK.is_none() {
            case = case.fill(count + 1, given(&[1.0]));
        }
        // A mean of either sign, then second moments or steps.
        let of_state = |s: usize| match R::STATES[s] {
            "m" | "momentum" | "mean" | "before" | "direction" => Fillings::Uniform(-0.5, 0.5),
            _ => Fillings::Uniform(0.3, 2.0),
        };
        let states = (0..count).flat_map(|k| (0..kept).map(move |s| (k, s)));
        states.fold(case, |case, (k, s)| case.fill(first + (1 + kept) * k + 1 + s, of_state(s)))
    }
}

const SHAPES: [&[usize]; 6] = [&[], &[1], &[5], &[64], &[257], &[130, 33]];

pub(in crate::ops) fn cases() -> Vec<Case> {
    let mut cases = ticks();
    for amsgrad in [false, true] {
        cases.extend(updates(Adam { amsgrad, ..ADAM }, 1e-3));
        cases.extend(updates(Adam { betas: [0.0, 0.5], eps: 1e-3, amsgrad }, 0.1));
    }
    for (momentum, nesterov) in [(0.0, false), (0.9, false), (0.9, true)] {
        cases.extend(updates(Sgd { momentum, nesterov }, 0.1));
        cases.extend(updates(MuonDirection { momentum, nesterov }, 0.1));
    }
    cases.extend(updates(Lion { betas: [0.9, 0.99] }, 1e-3));
    for average in [Average { decay: Some(0.9), after: 0 }, Average { decay: None, after: 2 }] {
        cases.extend(updates(average, 1.0));
        cases.push(Update::of(average, 1).case(&[&[65]], 1.0, 1));
    }
    cases.extend(updates(Adagrad { lr_decay: 0.1, eps: 1e-10, initial_sum: 0.0 }, 0.05));
    cases.extend(updates(Adadelta { rho: 0.9, eps: 1e-6 }, 1.0));
    for (momentum, centered) in [(0.0, false), (0.9, false), (0.0, true), (0.9, true)] {
        cases.extend(updates(RmsProp { momentum, centered, ..RMSPROP }, 1e-2));
    }
    cases.extend(updates(Rprop { etas: [0.5, 1.2], steps: [1e-6, 50.0], first: 0.0 }, 1e-2));
    cases.extend(updates(Rprop { etas: [0.25, 2.0], steps: [0.5, 1.0], first: 0.0 }, 1e-2));
    cases.extend(updates(Adamax { betas: [0.9, 0.999], eps: 1e-8 }, 2e-3));
    cases.extend(updates(NAdam { betas: [0.9, 0.999], eps: 1e-8, momentum_decay: 4e-3 }, 2e-3));
    // With and without what makes a step Adam's.
    cases.extend(updates(RAdam { betas: [0.9, 0.999], eps: 1e-8 }, 1e-3));
    cases.push(Update::of(RAdam { betas: [0.9, 0.999], eps: 1e-8 }, 1).case(&[&[65]], 1e-3, 3));
    cases.extend(updates(LAMB, 1e-3));
    cases.extend(groups());
    cases.extend(extremes());
    cases.extend(scaled());
    cases
}

/// All shapes, with the decay of either kind; several parameters in one launch, as many as the adapter binds, of all sizes around
/// the 1024 elements of a workgroup; factors of gradients, of which 0 leaves the step out.
fn updates<R: Rule>(rule: R, lr: f64) -> Vec<Case> {
    let mut cases = Vec::new();
    for (shape, decay) in SHAPES.iter().zip([0.0, 0.1, 0.01].into_iter().cycle()) {
        cases.push(Update::of(rule, 1).decaying(decay, false).case(&[shape], lr, 10));
        cases.push(Update::of(rule, 1).decaying(decay, true).case(&[shape], lr, 1));
    }
    let lists: [&[&[usize]]; 4] = [
        &[&[256], &[257], &[1]],
        &[&[7], &[1023], &[9, 9], &[1025], &[4097], &[2]],
        &[&[33], &[8]],
        &[&[3, 5], &[64, 17], &[], &[255], &[1030]],
    ];
    // How many there are is nothing to the formula.
    let lists = if R::NAME == Adam::NAME { &lists[..] } else { &lists[..2] };
    for (shapes, decoupled) in lists.iter().zip([false, true].into_iter().cycle()) {
        cases.push(Update::of(rule, shapes.len()).decaying(0.01, decoupled).case(shapes, lr, 5));
    }
    for factor in [0.0, 1.0 / 65_536.0, 0.3] {
        let op = Update { has_factor: true, ..Update::of(rule, 2).decaying(0.1, false) };
        let case = op.case(&[&[5, 13], &[40]], lr, 7);
        cases.push(match R::TICK {
            None => case.fill(3, given(&[factor])),
            Some(_) => {
                let row = [&[lr, factor], &rule.scalars(7)[..], &[0.0; 3]].concat();
                case.fill(2, Fillings::Given([row.clone(), row].concat()))
            }
        });
    }
    cases
}

/// Parameters whose settings are their own, and rows of a tick in another order.
fn groups() -> Vec<Case> {
    let each = |settings: &[(usize, f32, f32)]| -> Vec<Each> {
        settings.iter().map(|&(row, lr, decay)| Each { row, lr, decay }).collect()
    };
    let shapes: [&[usize]; 3] = [&[5], &[70], &[1030]];
    let mut cases = Vec::new();
    for decoupled in [false, true] {
        let groups = each(&[(2, 1.0, 0.1), (0, 0.25, 0.0), (1, 0.0, 0.3)]);
        let adam = Update { rule: ADAM, decoupled, has_factor: false, each: groups.clone() };
        let mut rows = Vec::new();
        // Of three parameters the one with the second row is left out.
        for (t, factor) in [(1, 1.0), (9, 0.0), (40, 0.5)] {
            rows.extend([&[2e-3, factor], &ADAM.scalars(t)[..], &[0.0; 3]].concat());
        }
        cases.push(adam.case(&shapes, 1e-3, 1).fill(3, Fillings::Given(rows)));
        cases.push(Update { rule: SGD, decoupled, has_factor: true, each: groups }.case(&shapes, 0.1, 1));
    }
    cases
}

/// The first step; no gradient ever; a vanishing one, whose square is no float; a huge one.
fn extremes() -> Vec<Case> {
    let zero = given(&[0.0]);
    let tiny = given(&[0.0, 1e-38, 1e-30, 1e-20, 1e-12]);
    let huge = given(&[1e15, -1e10, 1.0]);
    let adam = |decay, decoupled, lr, t| Update::of(ADAM, 1).decaying(decay, decoupled).case(&[&[65]], lr, t);
    let mut cases = vec![
        adam(0.0, false, 0.1, 1).fill(3, zero.clone()).fill(4, zero.clone()),
        adam(0.01, true, 1e-3, 10).fill(0, zero.clone()).fill(3, zero.clone()).fill(4, zero.clone()),
        adam(0.0, false, 1e-3, 10).fill(0, tiny.clone()).fill(3, tiny.clone()).fill(4, tiny.clone()),
        adam(0.0, false, 1e-3, 10).fill(0, huge.clone()).fill(3, zero.clone()).fill(4, zero.clone()),
    ];
    let radam = Update::of(RAdam { betas: [0.9, 0.999], eps: 1e-8 }, 1).case(&[&[65]], 1e-3, 1000);
    cases.push(radam.fill(0, huge.clone()).fill(3, zero.clone()).fill(4, zero.clone()));
    let adadelta = Update::of(Adadelta { rho: 0.9, eps: 1e-6 }, 1).case(&[&[65]], 1.0, 1);
    cases.push(adadelta.clone().fill(3, zero.clone()).fill(4, zero.clone()));
    cases.push(adadelta.fill(0, tiny.clone()).fill(3, tiny.clone()).fill(4, tiny.clone()));
    let lion = Update::of(Lion { betas: [0.9, 0.99] }, 1).case(&[&[65]], 1e-3, 1);
    cases.push(lion.fill(0, zero.clone()).fill(3, zero.clone()));
    let rprop =
        Update::of(Rprop { etas: [0.5, 1.2], steps: [1e-6, 50.0], first: 0.0 }, 1).case(&[&[65]], 1e-2, 1);
    cases.push(rprop.clone().fill(0, tiny).fill(3, given(&[1e-30, -1e-20, 0.0])));
    cases.push(rprop.fill(0, zero.clone()).fill(3, zero));
    cases.push(Update::of(SGD, 1).case(&[&[65]], 0.1, 1).fill(0, huge));
    cases
}

/// Counts of one parameter and of several, at their beginning and their end.
fn ticks() -> Vec<Case> {
    let mut cases = Vec::new();
    // Around the ends of the series of Adam (y = 0.5) for both betas, past 2^24, and at the last number.
    let adam = [
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
    ];
    cases.extend(adam.map(|t| tick(ADAM, &[t])));
    cases.extend([
        tick(Adam { betas: [0.0, 0.0], ..ADAM }, &[0.0]),
        tick(Adam { betas: [0.5, 0.999_999_9], ..ADAM }, &[7.0]),
        tick(Adam { betas: [0.999_999_9, 0.0], ..ADAM }, &[1e6]),
        tick(Adam { betas: [0.9, 0.99], ..ADAM }, &[0.0, 17.0, 34.0, 51.0, 68.0, 85.0]),
        // More than a kernel binds with WebGPU's limits.
        tick(Adam { betas: [0.9, 0.99], ..ADAM }, &[0.0, 5.0, 10.0, 15.0, 20.0, 25.0, 30.0, 35.0, 40.0]),
    ]);
    for t in [0.0, 1.0, 2.0, 9.0, 100.0, 999.0, 1000.0, 1e4, 1e6, 4_294_967_295.0] {
        cases.push(tick(Adagrad { lr_decay: 0.01, eps: 0.0, initial_sum: 0.0 }, &[t, t / 2.0]));
        cases.push(tick(Average { decay: Some(0.999), after: 0 }, &[t]));
        cases.push(tick(Average { decay: None, after: 100 }, &[t, t / 3.0]));
        cases.push(tick(Adamax { betas: [0.9, 0.999], eps: 1e-8 }, &[t]));
        let nadam = NAdam { betas: [0.9, 0.999], eps: 1e-8, momentum_decay: 4e-3 };
        cases.extend([
            tick(nadam, &[t]),
            tick(NAdam { betas: [0.99, 0.9], momentum_decay: 0.0, ..nadam }, &[t]),
            tick(NAdam { betas: [0.5, 0.99], momentum_decay: 1.0, ..nadam }, &[t, 3.0]),
        ]);
        for beta2 in [0.999, 0.9999, 0.99, 0.5, 0.0] {
            cases.push(tick(RAdam { betas: [0.9, beta2], eps: 1e-8 }, &[t]));
        }
    }
    // From the last plain step of RAdam to the first of its own.
    for t in [3.0, 4.0, 5.0, 6.0, 7.0] {
        cases.push(tick(RAdam { betas: [0.9, 0.999], eps: 1e-8 }, &[t]));
    }
    for factor in [0.0, 1.0 / 65_536.0, 0.3] {
        for (counts, t) in [(1, 0.0), (3, 9.0), (MOST, 1e4)] {
            let op = Tick { rule: ADAM, counts, has_factor: true };
            let case = Case::new(op, &vec![&[1][..]; 2 + counts]).no_gradient();
            let case = case.fill(0, Fillings::Uniform(1e-4, 1e-1)).fill(1, given(&[factor]));
            let count = |case: Case, i: usize| case.index(2 + i, 1).fill(2 + i, given(&[t + i as f64]));
            cases.push((0..counts).fold(case, count));
        }
    }
    cases
}

/// A tick whose counts are these before it.
fn tick(rule: impl Rule, counts: &[f64]) -> Case {
    let op = Tick { rule, counts: counts.len(), has_factor: false };
    let case = Case::new(op, &vec![&[1][..]; 1 + counts.len()]).no_gradient();
    let case = case.fill(0, Fillings::Uniform(1e-4, 1e-1));
    counts
        .iter()
        .enumerate()
        .fold(case, |case, (i, &t)| case.index(1 + i, 1).fill(1 + i, given(&[t.floor()])))
}

/// Gradients that are finite and such that are not, and scales.
fn scaled() -> Vec<Case> {
    let mut cases = Vec::new();
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
        let plain = Case::new(FlagNonFinite { count, mark: 5 }, &all).no_gradient().index(count, 10);
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
        let found = plain.clone().fill(count, given(&[1.0]));
        cases.extend([plain.clone().fill(0, given(&[3e38])), plain, found]);
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
        cases.push(case.fill(0, given(&[scale])).fill(1, given(&[steps])).fill(2, given(&[found])));
    }
    cases
}
