//! Updates of parameters in place, by PyTorch's formulas. Kernels: `shaders/optimizer.wgsl`.
//!
//! Adam: Kingma and Ba, ICLR 2015, algorithm 1; decoupled weight decay: Loshchilov and Hutter, ICLR 2019,
//! algorithm 2. Momentum: PyTorch's `SGD` without dampening.

mod adam;
mod scale;
mod sgd;
#[cfg(test)]
mod tests;
mod tick;
mod wide;

use super::{Arg, Case, Dispatch, Fillings, In, Kernel, KernelContext, Op, Out, Program, Real, Uniform};
use crate::error::Result;
use crate::graph::Var;
use crate::shape::TensorType;
pub(crate) use adam::AdamUpdate;
pub(crate) use scale::{FlagNonFinite, MOST_SCALE, NextScale};
pub(crate) use sgd::SgdUpdate;
pub(crate) use tick::AdamTick;

const WORKGROUP: usize = 64;

/// 0 for a denormal, which means nothing in a moment and costs some CPUs a hundred cycles.
#[inline(always)]
fn flush_denormal<T: Real>(x: T) -> T {
    if x.abs() < T::min_positive_value() { T::zero() } else { x }
}

/// The four scalars of a counter.
fn scalars_of<T: Real>(input: &In<'_, T>, row: usize) -> Result<[T; 4], String> {
    let row = input.f().get(4 * row..4 * row + 4).and_then(|r| r.try_into().ok());
    row.ok_or_else(|| "takes four scalars".to_string())
}

/// The elements of `N` float states.
fn states_of<'a, T, const N: usize>(outputs: &'a mut [Out<'_, T>]) -> Result<[&'a mut [T]; N], String> {
    let states: Vec<&mut [T]> = outputs.iter_mut().map(Out::f).collect();
    states.try_into().map_err(|_| format!("updates {N} states"))
}

/// Fails unless the gradient and the states have one shape; and for a bad `decay`.
fn check_update(gradient: TensorType, states: &[TensorType], decay: f32) -> Result<(), String> {
    if !(decay.is_finite() && decay >= 0.0) {
        return Err(format!("the weight decay must be 0 or more, got {decay}"));
    }
    match states.iter().find(|s| s.shape != gradient.shape) {
        Some(s) => Err(format!("the gradient {gradient} and a state {s} differ in shape")),
        None => Ok(()),
    }
}

/// Nothing flows back through an update: as in PyTorch, a loss computed from the new value of a parameter has
/// that value as a leaf, whatever its update was computed from.
fn leaf<'g>(inputs: &[Var<'g>]) -> Vec<Option<Var<'g>>> {
    vec![None; inputs.len()]
}

/// What reads the factor of gradients, bound as `binding`.
fn factor(binding: usize) -> String {
    format!(
        "@group(0) @binding({binding}) var<storage, read> factor_in: array<f32>;\n\n\
         fn gradient_factor() -> f32 {{\n    return factor_in[0];\n}}\n\n"
    )
}

/// A kernel over the vec4s of the updated states; the factor of the gradient, if there is one, is the last of `args`.
fn launch(
    ctx: &KernelContext<'_>,
    entry: &str,
    has_factor: bool,
    args: &[Arg],
    params: impl FnOnce(usize) -> Uniform,
) -> Result<Program> {
    let vectors = ctx.inputs[0].shape.elements().div_ceil(4);
    let kernel = match has_factor {
        false => Kernel::library(entry)?,
        true => {
            let text = factor(args.len());
            Kernel::library_with(entry, format!("{entry}.factor"), &["gradient_factor"], &text)?
        }
    };
    let grid = ctx.caps.grid(vectors.div_ceil(WORKGROUP))?;
    Ok(Dispatch::by_name(kernel, args.to_vec(), &params(vectors), grid).into())
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let tick = |beta1, beta2, t: f64| {
        let case =
            Case::new(AdamTick { beta1, beta2, counts: 1, has_factor: false }, &[&[1], &[1]]).no_gradient();
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

    let mut six =
        Case::new(AdamTick { beta1: 0.9, beta2: 0.99, counts: 6, has_factor: false }, &[&[1][..]; 7])
            .no_gradient();
    for i in 1..7 {
        six = six.index(i, 1).fill(i, Fillings::Given(vec![i as f64 * 17.0 - 17.0]));
    }
    cases.push(six);
    // More than a kernel binds with WebGPU's limits.
    let many = Case::new(AdamTick { beta1: 0.9, beta2: 0.99, counts: 9, has_factor: false }, &[&[1][..]; 10]);
    cases.push(
        (1..10).fold(many.no_gradient(), |case, i| {
            case.index(i, 1).fill(i, Fillings::Given(vec![i as f64 * 5.0]))
        }),
    );
    // Two of a tick's three parameters, in another order.
    let rows = vec![2, 0];
    let op = AdamUpdate { beta1: 0.9, beta2: 0.99, eps: 1e-6, weight_decay: 0.0, decoupled: false, rows };
    let shapes: [&[usize]; 9] = [&[5], &[70], &[12], &[5], &[5], &[5], &[70], &[70], &[70]];
    let scalars = [1e-3, 1.0, 1e-3, 1.0, f64::from(f32::MAX), 1.0, 1.0, 1.0, 5e-3, 2.0, 2e-3, 1.0];
    let case = Case::new(op, &shapes).no_gradient().fill(2, Fillings::Given(scalars.to_vec()));
    cases.push(case.fill(5, Fillings::Uniform(0.0, 2.0)).fill(8, Fillings::Uniform(0.0, 2.0)));
    // Several parameters in one launch, as many as the adapter binds, of all sizes around the 1024 elements of a workgroup.
    let (beta1, beta2, eps) = (0.9, 0.999, 1e-8);
    let lists: [&[&[usize]]; 4] = [
        &[&[33], &[8]],
        &[&[256], &[257], &[1]],
        &[&[3, 5], &[64, 17], &[], &[255], &[1030]],
        &[&[7], &[1023], &[9, 9], &[1025], &[4097], &[2]],
    ];
    for (shapes, decoupled) in lists.into_iter().zip([false, true, false, true]) {
        let count = shapes.len();
        let op = AdamUpdate { beta1, beta2, eps, weight_decay: 0.01, decoupled, rows: (0..count).collect() };
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
        let op = AdamUpdate { beta1, beta2, eps, weight_decay, decoupled, rows: vec![0] };
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
            let op = AdamTick { beta1: 0.9, beta2: 0.999, counts, has_factor: true };
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
    let op = AdamUpdate {
        beta1: 0.9,
        beta2: 0.999,
        eps: 1e-8,
        weight_decay: 0.1,
        decoupled: true,
        rows: vec![0, 1, 2],
    };
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
