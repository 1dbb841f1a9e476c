//! Optimizers step for step against PyTorch's numbers, on the CPU and on every adapter; what they all do alike.
#![allow(missing_docs, clippy::unwrap_used)]

#[cfg(feature = "gpu")]
mod common;

use std::collections::BTreeMap;

use wgrad::data::{Split, digits};
use wgrad::nn::Mlp;
use wgrad::optim::{
    Accumulate, Adadelta, Adagrad, Adam, AdamW, Adamax, Averaged, ClipNorm, Group, Lamb, Lbfgs, Lion,
    LossScale, Muon, NAdam, Optimizer, OptimizerKind, Plateau, RAdam, RmsProp, Rprop, Sgd,
};
use wgrad::train::{Keep, Trainer};
use wgrad::{Device, Graph, Init, Param, Params, Tensor, Var};

/// The CPU, the reference, and every adapter with each kernel checked.
fn devices() -> Vec<Device> {
    #[cfg(feature = "gpu")]
    let adapters = common::gpus().into_iter().map(|gpu| Device::from(gpu.checked()));
    #[cfg(not(feature = "gpu"))]
    let adapters = [];
    [Device::cpu(), Device::reference()].into_iter().chain(adapters).collect()
}

/// What makes an optimizer for a store of parameters.
type Make = fn(&Params) -> Box<dyn Optimizer>;

/// Those of `scripts/golden/optimizers.py`, by the same names.
const GOLDEN: [(&str, Make); 26] = [
    ("sgd", |p| Box::new(Sgd::new(p, 0.1))),
    ("sgd decay", |p| Box::new(Sgd::new(p, 0.1).weight_decay(0.25))),
    ("momentum", |p| Box::new(Sgd::new(p, 0.1).momentum(0.875).weight_decay(0.25))),
    ("nesterov", |p| Box::new(Sgd::new(p, 0.1).momentum(0.875).nesterov())),
    ("adagrad", |p| Box::new(Adagrad::new(p, 0.1))),
    ("adagrad all", |p| Box::new(Adagrad::new(p, 0.1).lr_decay(0.125).weight_decay(0.25).initial_sum(0.5))),
    ("adadelta", |p| Box::new(Adadelta::new(p, 1.0))),
    ("adadelta all", |p| Box::new(Adadelta::new(p, 0.5).rho(0.75).eps(2f32.powi(-10)).weight_decay(0.25))),
    ("rmsprop", |p| Box::new(RmsProp::new(p, 0.01))),
    ("rmsprop all", |p| {
        let rmsprop = RmsProp::new(p, 0.01).alpha(0.9).eps(2f32.powi(-10)).weight_decay(0.25);
        Box::new(rmsprop.momentum(0.875).centered())
    }),
    ("rprop", |p| Box::new(Rprop::new(p, 0.01))),
    ("rprop all", |p| Box::new(Rprop::new(p, 0.0625).etas(0.25, 1.5).steps(2f32.powi(-8), 0.5))),
    ("adam", |p| Box::new(Adam::new(p, 0.01))),
    ("adam all", |p| {
        Box::new(Adam::new(p, 0.01).betas(0.75, 0.875).eps(2f32.powi(-10)).weight_decay(0.25).amsgrad())
    }),
    ("adamw", |p| Box::new(AdamW::new(p, 0.01).weight_decay(0.25))),
    ("adamw amsgrad", |p| Box::new(AdamW::new(p, 0.01).weight_decay(0.25).amsgrad())),
    ("adamax", |p| Box::new(Adamax::new(p, 0.01))),
    ("adamax all", |p| {
        Box::new(Adamax::new(p, 0.01).betas(0.75, 0.875).eps(2f32.powi(-10)).weight_decay(0.25))
    }),
    ("nadam", |p| Box::new(NAdam::new(p, 0.01))),
    ("nadam all", |p| {
        let nadam = NAdam::new(p, 0.01).betas(0.75, 0.875).eps(2f32.powi(-10)).weight_decay(0.25);
        Box::new(nadam.momentum_decay(0.125))
    }),
    ("radam", |p| Box::new(RAdam::new(p, 0.01))),
    ("radam all", |p| {
        Box::new(RAdam::new(p, 0.01).betas(0.75, 0.9375).eps(2f32.powi(-10)).weight_decay(0.25))
    }),
    ("lion", |p| Box::new(Lion::new(p, 0.01).weight_decay(0.1))),
    ("lamb", |p| Box::new(Lamb::new(p, 0.01).weight_decay(0.1))),
    ("muon", |p| Box::new(Muon::new(p, 0.01))),
    ("muon plain", |p| Box::new(Muon::new(p, 0.01).without_nesterov())),
];

const SHAPES: [&[usize]; 2] = [&[3, 4], &[4]];

/// A matrix of 12 numbers and a vector of 4 after it.
fn parameters(params: &Params, start: &[f32]) -> Vec<Param> {
    let (w, b) = start.split_at(12);
    let values = |shape: &[usize], x: &[f32]| Init::Values(Tensor::new(shape, x.to_vec()).unwrap().into());
    vec![
        params.param("weight", SHAPES[0], values(SHAPES[0], w)),
        params.param("bias", SHAPES[1], values(SHAPES[1], b)),
    ]
}

/// A graph whose gradients are fed.
fn recorded(optimizer: &dyn Optimizer, params: &[Param]) -> Graph {
    let g = Graph::new();
    let gradients: Vec<Var<'_>> = vec![g.input("weight", SHAPES[0]), g.input("bias", SHAPES[1])];
    optimizer.apply(&g, params, &gradients);
    assert!(g.error().is_none(), "{:?}", g.error());
    g
}

fn read(device: &Device, params: &[Param]) -> Vec<f32> {
    params.iter().flat_map(|p| device.read_param(p).unwrap().as_f32().to_vec()).collect()
}

/// The rows of the file: name, step, numbers.
fn golden() -> BTreeMap<(String, usize), Vec<f64>> {
    let rows = include_str!("golden/optimizers.csv").lines().map(|line| {
        let [name, step, numbers] = line.split(';').collect::<Vec<_>>()[..] else { panic!("{line}") };
        let numbers = numbers.split(' ').map(|x| x.parse().unwrap()).collect();
        ((name.to_string(), step.parse().unwrap()), numbers)
    });
    rows.collect()
}

#[test]
fn steps_are_pytorchs() {
    let golden = golden();
    let numbers = |name: &str, step: usize| -> Vec<f32> {
        golden[&(name.to_string(), step)].iter().map(|&x| x as f32).collect()
    };
    for device in devices() {
        let (mut compared, mut overall) = (0, 0.0f64);
        for (name, make) in GOLDEN {
            let params = Params::seeded(1);
            let all = parameters(&params, &numbers("start", 0));
            let g = recorded(&*make(&params), &all);
            let mut step = device.compile(&g).unwrap();
            for t in 1..=30 {
                let gradient = numbers("gradient", t);
                let (weight, bias) = gradient.split_at(12);
                step.run_with(&[("weight", weight.into()), ("bias", bias.into())]).unwrap();
                let Some(expected) = golden.get(&(name.to_string(), t)) else { continue };
                let found = read(&device, &all);
                let off = found.iter().zip(expected).map(|(a, e)| (f64::from(*a) - e).abs());
                let worst = off.fold(0.0, f64::max);
                overall = overall.max(worst);
                assert!(worst < 2e-6, "{name} after {t} steps on {device:?}: {worst:e} off");
                compared += 1;
            }
        }
        assert_eq!(compared, 4 * GOLDEN.len());
        println!("{:?}: {compared} rows, {overall:.1e} off", device.info().name);
    }
}

/// With a scale that finds an infinite gradient nothing moves, whatever the optimizer keeps; the next step is the first one.
#[test]
fn a_step_that_is_left_out_changes_nothing() {
    for device in devices() {
        for (name, make) in GOLDEN {
            let start: Vec<f32> = (0..16).map(|i| (i as f32 * 0.7).sin()).collect();
            let run = |with_bad: bool| {
                let params = Params::seeded(1);
                let all = parameters(&params, &start);
                let g = recorded(&LossScale::new(&params, make(&params)), &all);
                let mut step = device.compile(&g).unwrap();
                let bias = [0.5f32, -0.25, 1.0, 0.0].map(|x| x * 65_536.0);
                let mut weight: Vec<f32> = start.iter().take(12).map(|x| x * 65_536.0).collect();
                if with_bad {
                    let good = weight[5];
                    weight[5] = f32::INFINITY;
                    step.run_with(&[("weight", weight[..].into()), ("bias", (&bias).into())]).unwrap();
                    assert_eq!(read(&device, &all), start, "{name}");
                    weight[5] = good;
                    // The scale is half of what it was.
                    weight.iter_mut().for_each(|x| *x /= 2.0);
                    let bias = bias.map(|x| x / 2.0);
                    step.run_with(&[("weight", weight[..].into()), ("bias", (&bias).into())]).unwrap();
                } else {
                    step.run_with(&[("weight", weight[..].into()), ("bias", (&bias).into())]).unwrap();
                }
                read(&device, &all)
            };
            let (with, without) = (run(true), run(false));
            assert_eq!(with, without, "{name} on {device:?}");
            assert_ne!(with, start, "{name}");
        }
    }
}

/// Rates and decays of a group, in one launch with the others.
#[test]
fn groups_have_settings_of_their_own() {
    let start = [1.0f32; 16];
    let ones = [1.0f32; 12];
    type Grouped = fn(&Params, &[Param]) -> Box<dyn Optimizer>;
    let group = Group::new().lr(0.5).weight_decay(0.0);
    // What a weight and a bias of 1 become.
    let cases: [(Grouped, f32, f32); 3] = [
        (
            |p, b| {
                Box::new(Sgd::new(p, 0.1).weight_decay(0.5).group(b, Group::new().lr(0.5).weight_decay(0.0)))
            },
            0.85,
            0.95,
        ),
        (
            |p, b| {
                Box::new(
                    AdamW::new(p, 0.1).weight_decay(0.5).group(b, Group::new().lr(0.5).weight_decay(0.0)),
                )
            },
            0.85,
            0.95,
        ),
        (
            |p, b| Box::new(Muon::new(p, 0.1).weight_decay(0.5).group(b, Group::new().lr(0.5))),
            f32::NAN,
            0.925,
        ),
    ];
    assert_eq!(group, Group::new().weight_decay(0.0).lr(0.5));
    for device in devices() {
        for (make, weight, bias) in cases {
            let params = Params::seeded(1);
            let all = parameters(&params, &start);
            let g = recorded(&*make(&params, &all[1..]), &all);
            let mut step = device.compile(&g).unwrap();
            step.run_with(&[("weight", (&ones).into()), ("bias", ones[..4].into())]).unwrap();
            let found = read(&device, &all);
            assert!(found[12..].iter().all(|b| (b - bias).abs() < 1e-6), "{found:?}");
            assert!(weight.is_nan() || found[..12].iter().all(|w| (w - weight).abs() < 1e-6), "{found:?}");
        }
    }
    // The decay of a group is taken once where a direction is made first: without gradients it is all that moves a matrix.
    for device in devices() {
        let makes: [(Grouped, f32); 2] = [
            (|p, b| Box::new(Muon::new(p, 0.1).group(b, Group::new().weight_decay(0.5))), 0.95),
            // Of a direction that is the decay alone, as long as the parameter.
            (|p, b| Box::new(Lamb::new(p, 0.1).group(b, Group::new().weight_decay(0.5))), 0.9),
        ];
        for (make, expected) in makes {
            let params = Params::seeded(1);
            let all = parameters(&params, &start);
            let g = recorded(&*make(&params, &all[..1]), &all);
            let mut step = device.compile(&g).unwrap();
            step.run_with(&[("weight", (&[0.0f32; 12]).into()), ("bias", (&[0.0f32; 4]).into())]).unwrap();
            let found = read(&device, &all);
            assert!(found[..12].iter().all(|w| (w - expected).abs() < 1e-6), "{expected}: {found:?}");
        }
    }
    // What would see scaled gradients is refused.
    let params = Params::seeded(1);
    let all = parameters(&params, &start);
    let g = Graph::new();
    let gradients = [g.input("weight", SHAPES[0]), g.input("bias", SHAPES[1])];
    let scaled = LossScale::new(&params, Sgd::new(&params, 0.1));
    Averaged::exponential(&params, scaled, 0.9).apply(&g, &all, &gradients);
    assert!(
        g.error()
            .unwrap()
            .to_string()
            .contains("put it inside: LossScale::new(params, Averaged::exponential(")
    );
    // A mistake in a group is an error, not a step.
    let params = Params::seeded(1);
    let all = parameters(&params, &start);
    let g = Graph::new();
    let gradients = [g.input("weight", SHAPES[0]), g.input("bias", SHAPES[1])];
    Adam::new(&params, 0.1).group(&all[..1], Group::new().lr(f32::NAN)).apply(&g, &all, &gradients);
    assert!(g.error().unwrap().to_string().contains("the rate of a group must be 0 or more"));
}

/// Three batches of one row are one of three, whatever the optimizer; a step that is left out counts for nothing.
#[test]
fn accumulated_gradients_are_those_of_a_larger_batch() {
    let start: Vec<f32> = (0..16).map(|i| (i as f32 * 0.7).sin()).collect();
    let gradient = |k: usize| -> Vec<f32> { (0..16).map(|i| ((i * 5 + k * 3) as f32 * 0.9).cos()).collect() };
    for device in devices() {
        for (name, make) in GOLDEN {
            let run = |together: bool, scaled: bool| {
                let params = Params::seeded(1);
                let all = parameters(&params, &start);
                let one = |p: &Params| ClipNorm::new(make(p), 1.0);
                let g = match (together, scaled) {
                    (true, _) => recorded(&one(&params), &all),
                    (false, false) => recorded(&Accumulate::new(&params, one(&params), 3), &all),
                    (false, true) => {
                        let inner = Accumulate::new(&params, one(&params), 3);
                        recorded(&LossScale::new(&params, inner), &all)
                    }
                };
                let mut step = device.compile(&g).unwrap();
                let mut feed = |x: &[f32]| {
                    step.run_with(&[("weight", x[..12].into()), ("bias", x[12..].into())]).unwrap();
                };
                let mut scale = if scaled { 65_536.0 } else { 1.0 };
                for round in 0..2 {
                    let batch: Vec<Vec<f32>> = (0..3).map(|k| gradient(3 * round + k)).collect();
                    if together {
                        let mean = |i: usize| batch.iter().map(|g| g[i]).sum::<f32>() / 3.0;
                        feed(&(0..16).map(mean).collect::<Vec<f32>>());
                        continue;
                    }
                    for (k, g) in batch.iter().enumerate() {
                        if scaled && k == 1 {
                            feed(&[f32::NAN; 16]);
                            scale /= 2.0;
                        }
                        let before = read(&device, &all);
                        feed(&g.iter().map(|x| x * scale).collect::<Vec<f32>>());
                        assert_eq!(before == read(&device, &all), k < 2, "{name} {round} {k}");
                    }
                }
                read(&device, &all)
            };
            let expected = run(true, false);
            for scaled in [false, true] {
                let found = run(false, scaled);
                let off = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                assert!(off < 2e-5, "{name} on {device:?}, scaled {scaled}: {off:e}");
            }
        }
    }
}

/// EMA and SWA by their definitions, in one launch; steps that are left out do not count.
#[test]
fn averages_are_what_they_say() {
    let start = [1.0f32; 16];
    for device in devices() {
        for (is_mean, name) in [(false, "ema"), (true, "swa")] {
            let params = Params::seeded(1);
            let all = parameters(&params, &start);
            let sgd = Sgd::new(&params, 1.0);
            let averaged = match is_mean {
                false => Averaged::exponential(&params, sgd, 0.75),
                true => Averaged::mean(&params, sgd, 2),
            };
            let scaled = LossScale::new(&params, averaged);
            assert!(scaled.averages(&all).is_empty(), "before they are recorded");
            let g = recorded(&scaled, &all);
            let averages = scaled.averages(&all);
            assert_eq!(averages.len(), 2);
            let text = g.to_string();
            assert_eq!(
                text.lines().filter(|line| line.contains("Update { rule: Average")).count(),
                1,
                "{text}"
            );
            // Before a step there is nothing to exchange.
            let mut exchange = Averaged::exchange(&device, &averages).unwrap();
            exchange.run().unwrap();
            assert_eq!(read(&device, &all), start);
            let mut step = device.compile(&g).unwrap();
            let (mut w, mut expected) = (1.0, 0.0);
            for t in 0..6 {
                let x = 0.25 * (t + 1) as f32;
                let factor = if t < 4 { 65_536.0 } else { 32_768.0 };
                if t == 4 {
                    step.run_with(&[("weight", (&[f32::NAN; 12]).into()), ("bias", (&[0.0f32; 4]).into())])
                        .unwrap();
                }
                step.run_with(&[("weight", (&[x * factor; 12]).into()), ("bias", (&[x * factor; 4]).into())])
                    .unwrap();
                w -= x;
                expected = match (is_mean, t) {
                    (_, 0) => w,
                    (false, _) => 0.75 * expected + 0.25 * w,
                    (true, 1 | 2) => w,
                    // The third step is the first of the mean.
                    (true, t) => expected + (w - expected) / (t - 1) as f32,
                };
                let found: Vec<Param> = averages.iter().map(|a| a.average.clone()).collect();
                let off = read(&device, &found).iter().map(|a| (a - expected).abs()).fold(0.0, f32::max);
                assert!(off < 1e-6, "{name} after {t}: {off:e}, {expected}");
            }
            // Exchanged and back.
            let before = read(&device, &all);
            exchange.run().unwrap();
            assert!(read(&device, &all).iter().all(|x| (x - expected).abs() < 1e-6));
            exchange.run().unwrap();
            assert_eq!(read(&device, &all), before);
        }
    }
    let g = Graph::new();
    let params = Params::seeded(1);
    let all = parameters(&params, &start);
    let gradients = [g.input("weight", SHAPES[0]), g.input("bias", SHAPES[1])];
    Averaged::exponential(&params, Sgd::new(&params, 1.0), 1.0).apply(&g, &all, &gradients);
    assert!(g.error().unwrap().to_string().contains("must be in [0, 1), got 1"));
}

/// A least-squares fit that gradient descent would take thousands of steps for; losses that are no numbers far away.
#[test]
fn lbfgs_finds_minima_in_few_evaluations() {
    for device in devices() {
        let params = Params::seeded(1);
        let w = params.param("w", [8, 1], Init::Constant(0.0));
        let g = Graph::new();
        let (x, y) = (g.input("x", [32, 8]), g.input("y", [32, 1]));
        let loss = (x.matmul(g.param(&w)) - y).square().mean_all();
        let mut lbfgs = Lbfgs::new(&device, &g, loss, &params.trainable()).unwrap().tolerance(1e-5);
        // Columns of very different sizes.
        let rows: Vec<f32> =
            (0..256).map(|i| ((i * 37 % 101) as f32 * 0.7).sin() * 3f32.powi((i % 8) / 2)).collect();
        let truth: Vec<f32> = (0..8).map(|j| (j as f32 * 1.3).cos()).collect();
        let of = |row: &[f32]| row.iter().zip(&truth).map(|(a, b)| a * b).sum::<f32>();
        let targets: Vec<f32> = rows.chunks(8).map(of).collect();
        lbfgs.feed("x", &rows).unwrap();
        lbfgs.feed("y", &targets).unwrap();
        let first = lbfgs.minimize(5).unwrap();
        assert_eq!(first.iterations, 5);
        let found = lbfgs.minimize(100).unwrap();
        assert!(found.converged && found.loss < 1e-8 && found.loss < first.loss, "{found:?}");
        assert!(first.evaluations + found.evaluations < 120, "{first:?} {found:?}");
        let off = read(&device, &[w]).iter().zip(&truth).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(off < 1e-3, "{off}");
    }
    let params = Params::seeded(1);
    let x = params.param("x", [1], Init::Constant(4.0));
    let g = Graph::new();
    // x - ln x, which is no number below 0, where the first steps lead.
    let loss = g.param(&x) - g.param(&x).log();
    let found = Lbfgs::new(&Device::cpu(), &g, loss, &params.trainable()).unwrap().minimize(50).unwrap();
    assert!((found.loss - 1.0).abs() < 1e-6 && found.converged, "{found:?}");
    // A start that is no number is an error.
    let g = Graph::new();
    let loss = (g.param(&x) * 0.0).log();
    let error = Lbfgs::new(&Device::cpu(), &g, loss, &params.trainable()).unwrap().minimize(5).unwrap_err();
    assert!(
        error.to_string().contains("starts from parameters whose loss and gradient are finite"),
        "{error}"
    );
    let g = Graph::new();
    let error = Lbfgs::new(&Device::cpu(), &g, g.full([1], 1.0), &params.trainable()).unwrap_err();
    assert!(error.to_string().contains("does not depend on any"), "{error}");
}

/// Digits with every optimizer by name, at the rate that goes with Adam's; averages and plateaus in the trainer, resumed to the same
/// bits.
#[test]
fn every_optimizer_trains_and_runs_resume_with_what_it_keeps() {
    let (train, test) = digits().unwrap();
    let rows: Vec<u32> = (0..750).collect();
    let split = Split::new(train.select("some digits", &rows).unwrap(), test, 150).unwrap();
    let device = Device::cpu();
    for kind in OptimizerKind::all() {
        let params = Params::seeded(3);
        let net = Mlp::new(&params, &[64, 32, 10]);
        let optimizer = kind.build(&params, 5e-3 * kind.rate_beside_adam(), None);
        // Rprop is for all rows at once.
        let (batch, epochs) = if kind == OptimizerKind::Rprop { (600, 60) } else { (32, 12) };
        let trainer =
            Trainer::new(&device, net, &params, optimizer, split.clone()).batch(batch).epochs(epochs);
        let report = trainer.keep(Keep::Last).run(&mut ()).unwrap();
        let found = report.epochs.last().unwrap().validation.as_ref().unwrap().accuracy();
        println!("{kind}: {found:.3}");
        assert!(found > 0.8, "{kind}: {found}");
        assert_eq!(kind.name().parse::<OptimizerKind>().unwrap(), kind);
    }
    let folder = tempfile::tempdir().unwrap();
    let run = |name: &str, epochs: usize, stop_after: Option<usize>| {
        let out = folder.path().join(name);
        let go = |epochs: usize, resume: bool| {
            let params = Params::seeded(3);
            let net = Mlp::new(&params, &[64, 16, 10]);
            let optimizer = Averaged::exponential(&params, Adam::new(&params, 3e-2), 0.9);
            let optimizer = Accumulate::new(&params, optimizer, 4);
            let plateau = Plateau { patience: 0, factor: 0.5, threshold: 0.5, ..Plateau::default() };
            let trainer =
                Trainer::new(&device, net, &params, optimizer, split.clone()).epochs(epochs).keep(Keep::Last);
            let trainer = trainer.plateau(plateau).out(&out);
            let trainer = if resume { trainer.resume(out.join("checkpoint.safetensors")) } else { trainer };
            let report = trainer.run(&mut ()).unwrap();
            (report.test.loss, device.read_param(&params.get("adam.lr").unwrap()).unwrap().as_f32()[0])
        };
        if let Some(first) = stop_after {
            go(first, false);
            return (go(epochs, true), std::fs::read(out.join("model.safetensors")).unwrap());
        }
        (go(epochs, false), std::fs::read(out.join("model.safetensors")).unwrap())
    };
    let (whole, resumed) = (run("whole", 8, None), run("resumed", 8, Some(3)));
    assert_eq!(whole, resumed);
    assert!(whole.0.1 < 3e-2, "no plateau in {:?}", whole.0);
    // Another optimizer, and the same without what it kept.
    let resumed_by = |make: &dyn Fn(&Params) -> Box<dyn Optimizer>| {
        let params = Params::seeded(3);
        let net = Mlp::new(&params, &[64, 16, 10]);
        let trainer = Trainer::new(&device, net, &params, make(&params), split.clone()).epochs(20);
        trainer
            .resume(folder.path().join("amsgrad/checkpoint.safetensors"))
            .run(&mut ())
            .unwrap_err()
            .to_string()
    };
    {
        let params = Params::seeded(3);
        let net = Mlp::new(&params, &[64, 16, 10]);
        let adam = Adam::new(&params, 3e-3).amsgrad();
        let trainer = Trainer::new(&device, net, &params, adam, split.clone()).epochs(1);
        trainer.out(folder.path().join("amsgrad")).run(&mut ()).unwrap();
    }
    let text = resumed_by(&|p| Box::new(Adam::new(p, 3e-3)));
    assert!(text.contains("which this run would lose"), "{text}");
    let text = resumed_by(&|p| Box::new(Averaged::exponential(p, Adam::new(p, 3e-3).amsgrad(), 0.9)));
    assert!(text.contains("or without accumulation or averages"), "{text}");
}

/// All parameters of a model are updated together, whichever the optimizer.
#[test]
fn many_parameters_take_few_updates() {
    for (name, make) in GOLDEN {
        let params = Params::seeded(1);
        let all: Vec<Param> =
            (0..20).map(|i| params.param(&format!("p{i}"), [3], Init::Constant(1.0))).collect();
        let g = Graph::new();
        let gradients: Vec<Var<'_>> = all.iter().map(|p| g.input(p.name(), [3])).collect();
        make(&params).apply(&g, &all, &gradients);
        assert!(g.error().is_none(), "{:?}", g.error());
        let text = g.to_string();
        let updates = text.lines().filter(|line| line.contains("Update {")).count();
        assert_eq!(updates, if name == "lamb" { 2 } else { 1 }, "{name}: {text}");
        assert!(text.lines().filter(|line| line.contains("Tick {")).count() <= 1, "{text}");
    }
}
