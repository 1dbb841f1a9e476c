//! States that are updated from outside the crate: an optimizer, a moving average, a recurrent state. Fused into one
//! kernel each on GPUs, equal to a computation by hand, and checked by versions.
#![allow(missing_docs, clippy::unwrap_used)]

mod common;
#[allow(dead_code)]
#[path = "../examples/08_rmsprop.rs"]
mod rmsprop;

use common::checked_devices as devices;
use rmsprop::RmsProp;
use wgrad::optim::Optimizer;
use wgrad::{Device, Graph, Init, Params, Tensor, Var};

fn numbers(n: usize, from: f64) -> Vec<f32> {
    (0..n).map(|i| (from + (i as f64 * 0.7).sin()) as f32).collect()
}

/// Five steps against the formula in f64.
#[test]
fn rmsprop_is_what_its_formula_says() {
    for device in devices() {
        for shape in [&[1][..], &[7], &[65, 3]] {
            let n: usize = shape.iter().product();
            let params = Params::seeded(1);
            let start = numbers(n, 0.5);
            let values = Init::Values(Tensor::new(shape, start.clone()).unwrap().into());
            let w = params.param("w", shape, values);
            let optimizer = RmsProp { params: params.clone(), lr: 0.05, decay: 0.9, eps: 1e-8 };
            let g = Graph::new();
            // The gradient of Σ (w · x)² / 2 is w · x².
            let x = g.input("x", shape);
            optimizer.minimize((g.param(&w) * x).square().sum_all() * 0.5, &params.trainable());
            let mut step = device.compile(&g).unwrap();
            let (mut expected, mut square) =
                (start.iter().map(|&w| f64::from(w)).collect::<Vec<_>>(), vec![0.0; n]);
            for turn in 0..5 {
                let x = numbers(n, 0.3 * f64::from(turn));
                step.run_with(&[("x", (&x).into())]).unwrap();
                for i in 0..n {
                    let gradient = expected[i] * f64::from(x[i]).powi(2);
                    square[i] = 0.9 * square[i] + (1.0 - 0.9) * gradient * gradient;
                    expected[i] -= 0.05 * gradient / (square[i].sqrt() + 1e-8);
                }
            }
            let found = device.read_param(&w).unwrap();
            for (found, expected) in found.as_f32().iter().zip(&expected) {
                let is_near = (f64::from(*found) - expected).abs() < 2e-5 * (1.0 + expected.abs());
                assert!(is_near, "{device:?} {shape:?}: {found} and {expected}");
            }
            let names: Vec<String> = params.all().iter().map(|p| p.name().to_string()).collect();
            assert_eq!(names, ["w", "rmsprop.lr", "rmsprop.squares.w"]);
        }
    }
}

/// The formulas of each state are one kernel with its update.
#[test]
#[cfg(feature = "gpu")]
fn an_update_is_one_kernel_with_its_formulas() {
    for gpu in common::gpus() {
        let launches = |record: &dyn for<'g> Fn(&'g Graph, &Params)| {
            let (g, params) = (Graph::new(), Params::seeded(1));
            record(&g, &params);
            Device::from(gpu.unjoined()).compile(&g).unwrap().dispatches()
        };
        let rmsprop = launches(&|g, params| {
            let w = params.param("w", [33, 5], Init::Constant(1.0));
            let optimizer = RmsProp { params: params.clone(), lr: 0.05, decay: 0.9, eps: 1e-8 };
            optimizer.apply(g, &[w], &[g.input("gradient", [33, 5])]);
        });
        assert_eq!(rmsprop, 2);
        let average = launches(&|g, params| {
            let old = g.param(&params.state("average", [9], Init::Constant(0.0)));
            old.assign(old * 0.9 + g.input("x", [9]) * 0.1);
        });
        assert_eq!(average, 1);
        // A value that somebody else reads is made first, and a state that is read in another order.
        let read = launches(&|g, params| {
            let old = g.param(&params.state("average", [9], Init::Constant(0.0)));
            let new = old * 0.9 + g.input("x", [9]) * 0.1;
            g.output("new", new);
            old.assign(new);
        });
        assert_eq!(read, 2);
        let turned = launches(&|g, params| {
            let old = g.param(&params.state("s", [3, 3], Init::Constant(1.0)));
            old.assign(old + old.t());
        });
        assert_eq!(turned, 2);
    }
}

#[test]
fn a_recurrent_state_goes_on_from_run_to_run() {
    for device in devices() {
        let params = Params::seeded(3);
        let w = params.param("w", [4, 4], Init::Uniform(0.8));
        let hidden = params.state("hidden", [2, 4], Init::Constant(0.0));
        let g = Graph::inference();
        let old = g.param(&hidden);
        let new = old.assign((old.matmul(g.param(&w)) + g.input("x", [2, 4])).tanh());
        g.output("sum", new.sum_all());
        let mut step = device.compile(&g).unwrap();
        let weights: Vec<f64> = device.read_param(&w).unwrap().as_f32().iter().map(|&x| x.into()).collect();
        let mut expected = vec![0.0f64; 8];
        for turn in 0..4 {
            let x = numbers(8, f64::from(turn) * 0.2);
            step.run_with(&[("x", (&x).into())]).unwrap();
            let product =
                |i: usize| (0..4).map(|k| expected[i / 4 * 4 + k] * weights[k * 4 + i % 4]).sum::<f64>();
            expected = (0..8).map(|i| (product(i) + f64::from(x[i])).tanh()).collect();
            let found = device.read_param(&hidden).unwrap();
            for (a, b) in found.as_f32().iter().zip(&expected) {
                assert!((f64::from(*a) - b).abs() < 1e-5, "{device:?}, turn {turn}: {a} and {b}");
            }
            let sum: f64 = expected.iter().sum();
            assert!((f64::from(step.scalar("sum").unwrap()) - sum).abs() < 1e-4, "{device:?}");
        }
    }
}

/// What a state was is gone once it is assigned: the error names it and the caller's line.
#[test]
fn an_old_version_cannot_be_read() {
    let params = Params::seeded(1);
    let state = params.state("average", [2], Init::Constant(0.0));
    let g = Graph::new();
    let old: Var<'_> = g.param(&state);
    old.assign(old * 0.5);
    let line = line!() + 1;
    g.output("difference", old - 1.0);
    let text = Device::cpu().compile(&g).unwrap_err().to_string();
    assert!(text.contains("`average` as it was before an update"), "{text}");
    assert!(text.ends_with(&format!("assign.rs:{line}")), "{text}");
}

/// States swap their values by copies, and keep infinities and NaN.
#[test]
fn states_are_copied_exactly() {
    for device in devices().into_iter().filter(|d| d.info().name != "reference") {
        let params = Params::seeded(1);
        let values = [1.5f32, f32::INFINITY, -0.0];
        let a = params.state("a", [3], Init::Values(Tensor::new([3], values.to_vec()).unwrap().into()));
        let b = params.state("b", [3], Init::Constant(7.0));
        let g = Graph::new();
        let (was, other) = (g.param(&a).copy(), g.param(&b));
        g.param(&a).assign(other);
        g.param(&b).assign(was);
        device.compile(&g).unwrap().run().unwrap();
        let read = |p| device.read_param(p).unwrap().as_f32().iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        assert_eq!(read(&b), values.map(f32::to_bits), "{device:?}");
        assert_eq!(read(&a), [7f32.to_bits(); 3]);
    }
}
