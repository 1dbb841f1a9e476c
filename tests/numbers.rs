//! Numbers at the edge of what floats can hold: NaN that must show, masks before what is infinite, squares beyond the
//! largest number, and what half precision has no numbers for. On every device, fused and not.
#![allow(missing_docs, clippy::unwrap_used)]

mod common;

use wgrad::data::{Split, digits};
use wgrad::losses::{binary_cross_entropy, half_squared_error, mae, mse};
use wgrad::nn::{Activation, Layer, Mlp};
use wgrad::ops::AdapterClass;
use wgrad::optim::{Adam, ClipNorm, LossScale, Optimizer, Sgd, clip_by_global_norm};
use wgrad::train::{Observer, Trainer};
use wgrad::{CompileOptions, Device, Error, Graph, Init, Param, Params, Precision, Tensor, Var};

/// Devices with how to compile: the CPU, and every adapter fused and not, in 32 bits and, where they can, mixed.
fn devices() -> Vec<(String, Device, CompileOptions)> {
    let mut all = vec![("cpu".to_string(), Device::cpu(), true)];
    for gpu in common::gpus() {
        let has_f16 = gpu.has_f16();
        for gpu in [gpu.with_class(AdapterClass::Gpu), gpu] {
            let name = format!("{gpu:?} as {:?}", gpu.caps().class);
            all.push((format!("{name}, unfused"), gpu.unfused().into(), has_f16));
            all.push((name, gpu.into(), has_f16));
        }
    }
    let forms = |(name, device, has_f16): (String, Device, bool)| {
        let mixed = CompileOptions::new().precision(Precision::Mixed);
        let mixed = has_f16.then(|| (format!("{name}, mixed"), device.clone(), mixed));
        [(name, device, CompileOptions::new())].into_iter().chain(mixed)
    };
    all.into_iter().flat_map(forms).collect()
}

/// Whether it is NaN: by its bits, as for all that compilers touch.
fn is_nan(x: &f32) -> bool {
    x.to_bits() & 0x7fff_ffff > 0x7f80_0000
}

#[test]
fn a_weight_that_is_nan_shows_in_every_loss() {
    for (name, device, options) in devices() {
        for activation in [Activation::Tanh, Activation::Relu, Activation::Sigmoid] {
            let params = Params::seeded(1);
            let model = Mlp::new(&params.at("mlp"), &[4, 64, 3]).activation(activation);
            let first = params.get("mlp.fc1.weight").unwrap();
            let mut weights = device.read_param(&first).unwrap().as_f32().to_vec();
            weights[5] = f32::NAN;
            device.write_param(&first, &weights).unwrap();
            let g = Graph::new();
            let (x, y) = (g.input("x", [8, 4]), g.classes("y", [8]));
            let loss = model.forward(x).softmax_cross_entropy(y);
            g.output("loss", loss);
            Sgd::new(&params, 0.1).minimize(loss, &params.trainable());
            let mut step = device.compile_with(&g, options).unwrap();
            step.feed("x", &[0.5f32; 32]).unwrap();
            step.feed("y", &[1u32; 8]).unwrap();
            for _ in 0..3 {
                step.run().unwrap();
                assert!(is_nan(&step.scalar("loss").unwrap()), "{name}, {activation:?}");
            }
        }
    }
}

/// Poisons a weight in the middle of a run.
struct Poison<'a>(&'a Device, Param);

impl Observer for Poison<'_> {
    fn on_step(&mut self, step: usize, _: usize) {
        if step == 3 {
            let mut weights = self.0.read_param(&self.1).unwrap().as_f32().to_vec();
            weights[70] = f32::NAN;
            self.0.write_param(&self.1, &weights).unwrap();
        }
    }
}

#[test]
fn training_ends_where_a_weight_becomes_nan() {
    for (name, device, _) in devices() {
        let params = Params::seeded(1);
        let model = Mlp::new(&params.at("mlp"), &[64, 16, 10]).activation(Activation::Tanh);
        let (train, test) = digits().unwrap();
        let split = Split::new(train, test, 100).unwrap();
        let trainer = Trainer::new(&device, &model, &params, Adam::new(&params, 1e-3), split).epochs(3);
        let error = trainer.run(&mut Poison(&device, params.get("mlp.fc1.weight").unwrap()));
        let error = error.expect_err(&name).to_string();
        assert!(error.contains("the training loss is NaN in epoch 1"), "{name}: {error}");
    }
}

#[test]
fn nan_is_found_and_its_gradient_is_kept_out() {
    for (name, device, options) in devices() {
        let params = Params::seeded(1);
        let w = params.param("w", [300], Init::Constant(2.0));
        let g = Graph::new();
        let x = g.input("x", [300]);
        let y = x.is_nan().select(g.scalar(0.0), (x * g.param(&w)).tanh());
        g.output("nan", x.is_nan());
        g.output("finite", x.is_finite());
        g.output("y", y);
        let gradients = g.gradients((y * y + x.is_nan() + x.is_finite()).sum_all(), &[g.param(&w), x]);
        g.output("dw", gradients[0]);
        g.output("dx", gradients[1]);
        let mut step = device.compile_with(&g, options).unwrap();
        let mut values = [0.0f32; 300];
        values[..4].copy_from_slice(&[
            f32::NAN,
            f32::INFINITY,
            f32::NEG_INFINITY,
            f32::from_bits(0xff80_0001),
        ]);
        step.run_with(&[("x", (&values).into())]).unwrap();
        let first = |step: &mut wgrad::Step, output| step.values(output).unwrap()[..5].to_vec();
        assert_eq!(first(&mut step, "nan"), [1.0, 0.0, 0.0, 1.0, 0.0], "{name}");
        assert_eq!(first(&mut step, "finite"), [0.0, 0.0, 0.0, 0.0, 1.0], "{name}");
        assert_eq!(first(&mut step, "y"), [0.0, 1.0, -1.0, 0.0, 0.0], "{name}");
        // tanh'(±∞) is 0, and so no product with it is anything else.
        assert_eq!(first(&mut step, "dw"), [0.0; 5], "{name}");
        assert_eq!(first(&mut step, "dx"), [0.0; 5], "{name}");
    }
}

/// A function with its derivative at some places; where the mask is 0 they are 0.
type Masked = (&'static str, for<'g> fn(Var<'g>) -> Var<'g>, [f32; 3]);

/// The branch that was not taken is infinite, or has an infinite derivative, or is NaN.
#[test]
fn a_mask_keeps_out_the_gradient_of_what_it_did_not_take() {
    // At -1, 0 and 4, of which only the last is taken.
    let functions: [Masked; 11] = [
        ("sqrt", |x| x.sqrt(), [0.0, 0.0, 0.25]),
        ("log", |x| x.log(), [0.0, 0.0, 0.25]),
        ("recip", |x| x.recip(), [0.0, 0.0, -0.0625]),
        ("div", |x| (x + 2.0) / x, [0.0, 0.0, -0.125]),
        ("powf", |x| x.powf(-0.5), [0.0, 0.0, -0.0625]),
        ("pow", |x| x.pow(x * 0.5), [0.0, 0.0, 16.0 * (0.5 + 0.5 * 1.386_294_4)]),
        ("x log x", |x| x * x.log(), [0.0, 0.0, 1.0 + 1.386_294_4]),
        ("overflow", |x| (x * -200.0 + 800.0).exp(), [0.0, 0.0, -200.0]),
        ("product of both", |x| x.log() * x.sqrt() + x.sqrt().log(), [0.0, 0.0, 0.5 + 0.346_573_6 + 0.125]),
        ("norm", |x| (x * x * x).sqrt() / x, [0.0, 0.0, 0.25]),
        ("bce", |x| x.log() * -1.0 - (x * -1.0 + 1.0).abs().log() * 0.0, [0.0, 0.0, -0.25]),
    ];
    for (name, device, options) in devices() {
        for (function, f, expected) in functions {
            let g = Graph::new();
            let x = g.input("x", [300]);
            let y = x.greater(g.scalar(0.0)).select(f(x), g.scalar(0.0));
            g.output("y", y);
            g.output("dx", g.gradients(y.sum_all(), &[x])[0]);
            let mut step = device.compile_with(&g, options).unwrap();
            let values: Vec<f32> = (0..300).map(|i| [-1.0, 0.0, 4.0][i % 3]).collect();
            step.run_with(&[("x", (&values).into())]).unwrap();
            let found = step.values("dx").unwrap();
            // Half precision has three digits.
            let close = |(a, e): (&f32, &f32)| (a - e).abs() <= 2e-3 * e.abs();
            assert!(found[..3].iter().zip(&expected).all(close), "{function} on {name}: {:?}", &found[..3]);
        }
    }
}

/// What gathers or takes the largest spreads its cotangent by a choice, not by a product with 0.
#[test]
fn an_infinite_cotangent_reaches_what_was_taken_alone() {
    for (name, device, options) in devices() {
        let g = Graph::new();
        let (p, y) = (g.input("p", [1, 3]), g.classes("y", [1]));
        let picked = p.pick(y).log();
        g.output("picked", g.gradients(picked.sum_all(), &[p])[0]);
        let x = g.input("x", [2, 3]);
        let largest = x.max(&[1]);
        g.output("largest", g.gradients(largest.log().sum_all(), &[x])[0]);
        // Of a row of NaN nothing is the largest, and a mask leaves nothing of it.
        let z = g.input("z", [2, 2]);
        let m = z.max(&[1]);
        let masked = m.is_nan().select(g.full([2], 0.0), m);
        g.output("masked", g.gradients(masked.sum_all(), &[z])[0]);
        let mut step = device.compile_with(&g, options).unwrap();
        step.feed("p", &[0.0f32, 1.0, 0.5]).unwrap();
        step.feed("y", &[0u32]).unwrap();
        step.feed("x", &[0.0f32, -1.0, -2.0, 2.0, 4.0, 4.0]).unwrap();
        step.feed("z", &[f32::NAN, f32::NAN, 1.0, 2.0]).unwrap();
        step.run().unwrap();
        let inf = f32::INFINITY;
        assert_eq!(step.values("picked").unwrap(), [inf, 0.0, 0.0], "{name}");
        assert_eq!(step.values("largest").unwrap(), [inf, 0.0, 0.0, 0.0, 0.125, 0.125], "{name}");
        assert_eq!(step.values("masked").unwrap(), [0.0, 0.0, 0.0, 1.0], "{name}");
    }
}

#[test]
fn states_that_are_not_trained_may_be_infinite_in_a_file() {
    let params = Params::seeded(1);
    let mask = params.state("mask", [2], Init::Constant(f32::NEG_INFINITY));
    let weight = params.param("weight", [2], Init::Constant(f32::INFINITY));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("states.safetensors");
    let device = Device::cpu();
    device.save(&params.all(), &path).unwrap();
    device.load(std::slice::from_ref(&mask), &path).unwrap();
    assert_eq!(device.read_param(&mask).unwrap().as_f32(), [f32::NEG_INFINITY; 2]);
    let error = device.load(&[weight], &path).unwrap_err();
    assert!(matches!(&error, Error::NotFinite { name, .. } if name == "weight"), "{error}");
}

/// A cotangent of 0 that is no mask's: derivatives of gradients are those of the formulas.
#[test]
fn second_derivatives_where_a_gradient_is_zero() {
    for (name, device, options) in devices() {
        let g = Graph::new();
        let x = g.input("x", [3]);
        // (x² - 1)², with a first derivative of 0 at 1, and a second of 12 x² - 4.
        let first = g.gradients((x.square() + -1.0).square().sum_all(), &[x])[0];
        g.output("squares", g.gradients(first.sum_all(), &[x])[0]);
        // (ln x)², second derivative 2 (1 - ln x) / x².
        let first = g.gradients(x.log().square().sum_all(), &[x])[0];
        g.output("logs", g.gradients(first.sum_all(), &[x])[0]);
        // (√x - 1)², second derivative x^-1.5 / 2.
        let first = g.gradients((x.sqrt() + -1.0).square().sum_all(), &[x])[0];
        g.output("roots", g.gradients(first.sum_all(), &[x])[0]);
        // d³ + d² e^d with d = x - 1, second derivative 2 at 1.
        let d = x + -1.0;
        let first = g.gradients((d * d * d + d.exp() * d.square()).sum_all(), &[x])[0];
        g.output("products", g.gradients(first.sum_all(), &[x])[0]);
        let mut step = device.compile_with(&g, options).unwrap();
        step.run_with(&[("x", (&[1.0f32, 4.0, 0.25]).into())]).unwrap();
        let mut compare = |output: &str, expected: &[f32]| {
            let found = step.values(output).unwrap();
            let close = |(a, e): (&f32, &f32)| (a - e).abs() <= 1e-5 * e.abs();
            assert!(found.iter().zip(expected).all(close), "{output} on {name}: {found:?}");
        };
        compare("squares", &[8.0, 188.0, -3.25]);
        compare("logs", &[2.0, -0.048_286_8, 76.361_42]);
        compare("roots", &[0.5, 0.0625, 4.0]);
        compare("products", &[2.0]);
    }
}

#[test]
fn a_target_of_zero_counts_nothing() {
    let inf = f32::INFINITY;
    for (name, device, options) in devices() {
        // An invocation a row, and 64.
        for columns in [2, 70] {
            let g = Graph::new();
            let (z, t) = (g.input("z", [2, columns]), g.input("t", [2, columns]));
            let losses = z.soft_cross_entropy_per_row(t);
            g.output("losses", losses);
            g.output("dz", g.gradients(losses.sum_all(), &[z])[0]);
            let mut step = device.compile_with(&g, options).unwrap();
            let row = |first: f32, rest: f32, last: f32| {
                let mut row = vec![rest; columns];
                (row[0], row[columns - 1]) = (first, last);
                row
            };
            // The second row's target is NaN, which must show.
            let z = [row(-inf, -inf, 1.0), row(0.0, 0.0, 0.0)].concat();
            let t = [row(0.0, 0.0, 1.0), row(f32::NAN, 0.0, 1.0)].concat();
            step.run_with(&[("z", (&z).into()), ("t", (&t).into())]).unwrap();
            let losses = step.values("losses").unwrap();
            assert!(losses[0] == 0.0 && is_nan(&losses[1]), "{columns} on {name}: {losses:?}");
            assert!(step.values("dz").unwrap()[..columns].iter().all(|d| *d == 0.0), "{columns} on {name}");
        }
        let g = Graph::new();
        let (z, y) = (g.input("z", [4]), g.input("y", [4]));
        let loss = binary_cross_entropy(z, y);
        g.output("loss", loss);
        g.output("dz", g.gradients(loss, &[z])[0]);
        let mut step = device.compile_with(&g, options).unwrap();
        // Sure of it and right; 0.5 costs ln 2, a quarter of which is the mean.
        step.run_with(&[("z", (&[inf, -inf, inf, 0.0]).into()), ("y", (&[1.0f32, 0.0, 1.0, 0.5]).into())])
            .unwrap();
        let loss = step.scalar("loss").unwrap();
        assert!((loss - 0.173_286_8).abs() < 1e-6, "{name}: {loss}");
        assert_eq!(step.values("dz").unwrap(), [0.0; 4], "{name}");
    }
}

#[test]
fn gradients_are_clipped_at_any_magnitude() {
    let (inf, nan) = (f32::INFINITY, f32::NAN);
    let root = 0.5f32.sqrt();
    let cases = [
        ([3.0, 4.0], 1.0, [0.6, 0.8]),
        ([3e19, 4e19], 1.0, [0.6, 0.8]),
        ([3e37, -4e37], 0.5, [0.3, -0.4]),
        // A norm beyond the largest number.
        ([3.3e38, 3.3e38], 1.0, [root, root]),
        ([3.3e38, 1.0], 1e3, [1e3, 0.0]),
        ([1e20, 1e-20], 2e20, [1e20, 1e-20]),
        ([3e12, 4e12], 1.0, [0.6, 0.8]),
        // Around where they are scaled: 2^40.
        ([1_099_511_627_776.0, 0.0], 8.0, [8.0, 0.0]),
        ([1_099_511_759_000.0, 0.0], 8.0, [8.0, 0.0]),
        ([3e-25, 4e-25], 1.0, [3e-25, 4e-25]),
        ([0.0, 0.0], 1.0, [0.0, 0.0]),
        // What is not finite shows.
        ([nan, 1.0], 1.0, [nan, nan]),
        ([inf, 1.0], 1.0, [nan, 0.0]),
    ];
    for (name, device, options) in devices() {
        for (values, most, expected) in cases {
            let g = Graph::new();
            // Over enough elements that half precision would store them.
            let v: Vec<Var<'_>> = ["a", "b"].map(|n| g.input(n, [512])).to_vec();
            for (name, v) in ["x", "y"].iter().zip(clip_by_global_norm(&v, most)) {
                g.output(name, v);
            }
            let mut step = device.compile_with(&g, options).unwrap();
            let mut feed = |name: &str, x: f32| {
                let mut values = [0.0f32; 512];
                values[77] = x;
                step.feed(name, &values).unwrap();
            };
            feed("a", values[0]);
            feed("b", values[1]);
            step.run().unwrap();
            for (output, e) in ["x", "y"].iter().zip(expected) {
                let found = step.values(output).unwrap()[77];
                let close = (is_nan(&found) && e.is_nan()) || (found - e).abs() <= 2e-6 * e.abs() + 1e-33;
                assert!(close, "{values:?} to {most} on {name}: {output} is {found}, not {e}");
            }
        }
        // Inside loss scaling, where the factor goes into the update.
        let params = Params::seeded(1);
        let w = params.param("w", [2], Init::Constant(0.0));
        let sgd = LossScale::new(&params, ClipNorm::new(Sgd::new(&params, 1.0), 1.0)).initial(1.0);
        let g = Graph::new();
        let loss = (g.param(&w) * g.constant(Tensor::new([2], vec![3e19f32, -4e19]).unwrap())).sum_all();
        sgd.minimize(loss, &params.trainable());
        let mut step = device.compile_with(&g, options).unwrap();
        step.run().unwrap();
        let w = device.read_param(&w).unwrap().as_f32().to_vec();
        assert!((w[0] + 0.6).abs() < 1e-6 && (w[1] - 0.8).abs() < 1e-6, "{name}: {w:?}");
    }
}

/// Squares, powers, exponentials and losses of what half precision holds are beyond its 65,504.
#[test]
fn what_leaves_half_precision_is_kept_in_32_bits() {
    for (name, device, options) in devices() {
        let compare = |what: &str, expected: &dyn Fn(f64) -> f64, record: for<'g> fn(Var<'g>) -> Var<'g>| {
            let g = Graph::new();
            // Of a product, so that it is stored in 16 bits.
            g.output("y", record(g.input("x", [4, 128]) * 1.0));
            let mut step = device.compile_with(&g, options).unwrap();
            let values: Vec<f32> = (0..512).map(|i| 300.0 + (i % 128) as f32 * 0.25).collect();
            step.run_with(&[("x", (&values).into())]).unwrap();
            for (x, y) in values.iter().zip(step.values("y").unwrap()) {
                let e = expected(f64::from(*x));
                let close = (f64::from(y) - e).abs() <= 2e-3 * e.abs().max(1.0);
                assert!(close, "{what} on {name}: {y} at {x}, not {e}");
            }
        };
        // 300 to 331.75: the mean of 0, 0.25, .. 31.75 and their variance.
        let (mean, variance) = (315.875, (128.0 * 128.0 - 1.0) / 12.0 / 16.0);
        let normal = |x: f64| (x - mean) / f64::sqrt(variance);
        compare("layer norm", &normal, |x| {
            let d = x - x.mean_keep(&[1]);
            d / d.square().mean_keep(&[1]).sqrt()
        });
        compare("mean square", &|x| x / f64::sqrt(mean * mean + variance), |x| {
            x / (x * x).mean_keep(&[1]).sqrt()
        });
        compare("squares", &|x| x, |x| x.powf(2.0).sqrt());
        compare("powers", &|x| x, |x| (x.square() * x * 2.0).powf(1.0 / 3.0) * 0.793_700_5);
        compare("exponentials", &|x| x * 0.1, |x| (x * 0.1).exp().log());
        compare("small ones", &|x| x * -0.1, |x| (x * -0.1).exp().log());
        for sign in [1.0f32, -1.0] {
            let g = Graph::new();
            let x = g.input("x", [512]);
            let y = (x * sign * 0.1).exp().log();
            g.output("dx", g.gradients(y.sum_all(), &[x])[0]);
            let mut step = device.compile_with(&g, options).unwrap();
            step.run_with(&[("x", (&[300.0f32; 512]).into())]).unwrap();
            let dx = step.values("dx").unwrap();
            assert!(dx.iter().all(|d| (d - sign * 0.1).abs() < 1e-3), "{name}: {}", dx[0]);
        }
        // Losses of targets beyond half precision.
        type Loss = for<'g> fn(Var<'g>, Var<'g>) -> Var<'g>;
        let losses: [(&str, Loss, f32, f32); 3] = [
            ("mse", mse, 1e10, -2e5 / 512.0),
            ("half", half_squared_error, 2.56e12, -1e5),
            ("mae", mae, 1e5, -1.0 / 512.0),
        ];
        for (what, loss, expected, gradient) in losses {
            let g = Graph::new();
            let x = g.input("x", [512]);
            let loss = loss(x * 1.0, g.input("t", [512]));
            g.output("loss", loss);
            g.output("dx", g.gradients(loss, &[x])[0]);
            let mut step = device.compile_with(&g, options).unwrap();
            step.run_with(&[("x", (&[0.0f32; 512]).into()), ("t", (&[1e5f32; 512]).into())]).unwrap();
            let (found, dx) = (step.scalar("loss").unwrap(), step.values("dx").unwrap()[9]);
            let close = |a: f32, e: f32| (a - e).abs() <= 1e-3 * e.abs();
            assert!(close(found, expected) && close(dx, gradient), "{what} on {name}: {found}, {dx}");
        }
    }
}
