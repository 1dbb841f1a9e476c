//! Optimizers step for step against PyTorch's numbers, on the CPU and on every adapter; what they all do alike.
#![allow(missing_docs, clippy::unwrap_used)]

#[path = "../common/mod.rs"]
mod common;
mod search;
mod trained;
mod wrappers;

use std::collections::BTreeMap;

use common::checked_devices as devices;
use wgrad::optim::{
    Adadelta, Adagrad, Adam, AdamW, Adamax, Averaged, Group, Lamb, Lion, LossScale, Muon, NAdam, Optimizer,
    RAdam, RmsProp, Rprop, Sgd,
};
use wgrad::{Device, Graph, Init, Param, Params, Tensor, Var};

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
    let rows = include_str!("../golden/optimizers.csv").lines().map(|line| {
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
    // Of two groups that a parameter is in the later one counts.
    let params = Params::seeded(1);
    let all = parameters(&params, &start);
    let sgd = Sgd::new(&params, 0.1).group(&all, Group::new().lr(7.0)).group(&all[1..], Group::new().lr(2.0));
    let g = recorded(&sgd, &all);
    let device = Device::cpu();
    let mut step = device.compile(&g).unwrap();
    step.run_with(&[("weight", (&ones).into()), ("bias", ones[..4].into())]).unwrap();
    let found = read(&device, &all);
    assert!((found[0] - 0.3).abs() < 1e-6 && (found[12] - 0.8).abs() < 1e-6, "{found:?}");
    // A mistake in a group is an error, not a step.
    let params = Params::seeded(1);
    let all = parameters(&params, &start);
    let g = Graph::new();
    let gradients = [g.input("weight", SHAPES[0]), g.input("bias", SHAPES[1])];
    Adam::new(&params, 0.1).group(&all[..1], Group::new().lr(f32::NAN)).apply(&g, &all, &gradients);
    assert!(g.error().unwrap().to_string().contains("the rate of a group must be 0 or more"));
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
