//! Launches that are joined: the bits of single ones, on every adapter and in every class of kernels, in three runs of one
//! step.
#![allow(missing_docs, clippy::unwrap_used)]

mod common;

use std::collections::HashSet;

use wgrad::gpu::{Gpu, PlantedFault};
use wgrad::nn::{Cnn, Layer, Mlp};
use wgrad::ops::AdapterClass;
use wgrad::optim::{Adam, Optimizer};
use wgrad::{CompileOptions, Device, Graph, Init, Params, Precision, Rng};

/// What is read of a run: the launches of a step, losses, and all states by name.
type Trained = (usize, Vec<f32>, Vec<(String, Vec<f32>)>);

/// Three steps of Adam on 48 random images of 8 × 8, with running sums beside.
fn train(gpu: &Gpu, is_cnn: bool, precision: Precision) -> Trained {
    let params = Params::seeded(7);
    let mlp = Mlp::new(&params.at("mlp"), &[64, 32, 10]);
    let cnn = Cnn::new(&params.at("cnn"), [1, 8, 8], &[4, 8], 10);
    let g = Graph::new();
    let (x, y) = (g.input("x", [48, 1, 8, 8]), g.classes("y", [48]));
    let logits = if is_cnn { cnn.forward(x) } else { mlp.forward(x.reshape([48, 64])) };
    let loss = logits.softmax_cross_entropy(y);
    let own = params.at(if is_cnn { "cnn" } else { "mlp" });
    Adam::new(&params, 1e-3).minimize(loss, &own.trainable());
    // States that a small launch reads before another writes them, and that one reads afterwards.
    let (a, b) = (params.state("a", [3], Init::Constant(1.0)), params.state("b", [3], Init::Constant(2.0)));
    let before = g.param(&a) * 3.0 + g.param(&b);
    let new = g.param(&a).assign(before + loss);
    g.output("sum", g.param(&b).assign(new * 0.5 - g.param(&b)).sum_all());
    g.output("loss", loss);
    let device = Device::from(gpu.clone());
    let mut step = device.compile_with(&g, CompileOptions::new().precision(precision)).unwrap();
    let mut rng = Rng::new(3, "images");
    let images: Vec<f32> = (0..48 * 64).map(|_| rng.normal() as f32).collect();
    let classes: Vec<u32> = (0..48).map(|_| rng.below(10)).collect();
    step.feed("x", &images).unwrap();
    step.feed("y", &classes).unwrap();
    let mut losses = Vec::new();
    for _ in 0..3 {
        step.run().unwrap();
        losses.extend(["loss", "sum"].iter().flat_map(|name| step.values(name).unwrap()));
    }
    let states = params.all().into_iter().filter_map(|p| {
        let wgrad::Data::F32(values) = device.read_param(&p).ok()?.data().clone() else { return None };
        Some((p.name().to_string(), values))
    });
    (step.dispatches(), losses, states.collect())
}

#[test]
fn joined_launches_give_the_bits_of_single_ones() {
    let mut compared = 0;
    for gpu in common::gpus() {
        for class in HashSet::from([AdapterClass::Gpu, gpu.caps().class]) {
            let gpu = gpu.with_class(class);
            for (is_cnn, precision) in
                [(false, Precision::F32), (true, Precision::F32), (false, Precision::Mixed)]
            {
                if precision == Precision::Mixed && !gpu.has_f16() {
                    continue;
                }
                let (few, losses, states) = train(&gpu, is_cnn, precision);
                let (all, single_losses, single_states) = train(&gpu.unjoined(), is_cnn, precision);
                assert!(few + 2 < all, "{gpu:?}: {few} launches of {all}");
                assert!(losses.iter().all(|loss| loss.is_finite()), "{losses:?}");
                assert_eq!(losses, single_losses, "{gpu:?} as {class:?}");
                assert_eq!(states, single_states, "{gpu:?} as {class:?}");
                // Each kernel against its formula.
                assert_eq!(train(&gpu.checked(), is_cnn, precision).1, losses);
                compared += states.len();
            }
        }
    }
    println!("{compared} states compared");
}

/// Heads of attention with their gradients, and concatenations: of parts in vectors and not, of an empty one, of more than one
/// launch has members. The number of launches, and what comes of them.
fn parts(device: &Device, precision: Precision) -> (usize, Vec<Vec<f32>>) {
    let g = Graph::new();
    let x = g.input("x", [3, 5, 24]);
    let [q, k, v] = [0, 8, 16].map(|at| x.slice(2, at, 8).reshape([3, 5, 2, 4]).permute(&[0, 2, 1, 3]));
    let y = q.matmul_nt(k).softmax(3).matmul(v);
    g.output("dx", g.gradients(y.square().sum_all(), &[x])[0]);
    let rows = x.slice(2, 0, 7).reshape([15, 7]);
    let [a, b] = [rows.slice(1, 0, 4), rows.slice(1, 4, 3)];
    g.output("vectors", a.concat(&[g.full([15, 0], 0.0), b * 2.0, rows.slice(1, 0, 1)], 1));
    let many: Vec<_> = (0..15).map(|i| rows.slice(0, 14 - i, 1) * (i as f32)).collect();
    g.output("many", many[0].concat(&many[1..], 0));
    g.output("none", x.slice(2, 0, 1).broadcast_to([0, 3, 5, 1]).permute(&[1, 0, 2, 3]));
    let mut step = device.compile_with(&g, CompileOptions::new().precision(precision)).unwrap();
    let mut rng = Rng::new(5, "parts");
    let values: Vec<f32> = (0..360).map(|_| rng.normal() as f32).collect();
    step.feed("x", &values).unwrap();
    (0..3).for_each(|_| step.run().unwrap());
    let launches = step.dispatches();
    let mut read = |name| step.values(name).unwrap();
    (launches, ["dx", "vectors", "many", "none"].map(&mut read).to_vec())
}

#[test]
fn parts_that_are_put_together_are_joined() {
    let (_, expected) = parts(&Device::reference(), Precision::F32);
    assert!(expected[3].is_empty() && expected[2].len() == 105);
    for gpu in common::gpus() {
        for class in HashSet::from([AdapterClass::Gpu, gpu.caps().class]) {
            let gpu = gpu.with_class(class);
            for precision in [Precision::F32, Precision::Mixed] {
                if precision == Precision::Mixed && !gpu.has_f16() {
                    continue;
                }
                let (few, joined) = parts(&gpu.clone().into(), precision);
                let (all, single) = parts(&gpu.unjoined().into(), precision);
                assert!(
                    few + if class == AdapterClass::Gpu { 10 } else { 0 } < all,
                    "{gpu:?}: {few} launches of {all}"
                );
                assert_eq!(joined, single, "{gpu:?} as {class:?}");
                assert_eq!(parts(&gpu.checked().into(), precision).1, joined);
                let tolerance = if precision == Precision::F32 { 1e-5 } else { 3e-2 };
                for (a, b) in joined.iter().flatten().zip(expected.iter().flatten()) {
                    approx::assert_abs_diff_eq!(a, b, epsilon = tolerance);
                }
            }
        }
    }
}

/// A member that is wrong is named, whatever it is joined to.
#[test]
fn a_fault_in_a_member_is_named() {
    let Some(gpu) = common::gpu() else { return };
    let fault = PlantedFault::Shader {
        key: "in_order[",
        from: "fn one_minus_exp",
        to: "fn unused() {}\nfn one_minus_exp",
    };
    // What changes nothing is no fault.
    assert!(train_checked(&gpu.with_fault(fault)).is_ok());
    let fault = PlantedFault::Shader {
        key: "in_order[",
        from: "one_minus_exp(-c.y * t)",
        to: "one_minus_exp(-c.x * t)",
    };
    match train_checked(&gpu.with_fault(fault)) {
        Err(wgrad::Error::Check(error)) => assert_eq!(error.op, "adam_tick"),
        other => panic!("{other:?}"),
    }
}

fn train_checked(gpu: &Gpu) -> wgrad::Result<()> {
    let params = Params::seeded(1);
    let mlp = Mlp::new(&params, &[6, 3]);
    let g = Graph::new();
    let loss = mlp.forward(g.input("x", [5, 6])).softmax_cross_entropy(g.classes("y", [5]));
    Adam::new(&params, 1e-3).minimize(loss, &params.trainable());
    g.output("loss", loss);
    let mut step = Device::from(gpu.clone()).compile(&g)?;
    step.feed("x", &[0.5f32; 30])?;
    step.feed("y", &[0u32, 1, 2, 0, 1])?;
    step.run()
}

/// What the first of two updates of a state leaves is gone when both have run: the check could not compare it.
#[test]
fn two_updates_of_a_state_are_two_launches() {
    for gpu in common::gpus() {
        let params = Params::seeded(1);
        let state = params.state("s", [3], Init::Constant(1.0));
        let g = Graph::new();
        let x = g.input("x", [3]);
        g.output("first", g.param(&state).assign(x.softmax(0)).sum_all());
        g.output("second", g.param(&state).assign(x.log_softmax(0)).sum_all());
        let mut step = Device::from(gpu.checked()).compile(&g).unwrap();
        step.feed("x", &[0.5f32, -1.0, 2.0]).unwrap();
        step.run().unwrap_or_else(|e| panic!("{gpu:?}: {e}"));
        let [first, second] = ["first", "second"].map(|name| step.values(name).unwrap()[0]);
        assert!((first - 1.0).abs() < 1e-6 && second < -2.0, "{first} {second}");
    }
}
