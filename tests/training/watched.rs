//! Layers that are looked at while they learn, and ops that give NaN.

use super::*;
use wgrad::nn::{Activation, Sequential};
use wgrad::optim::LossScale;
use wgrad::train::{Symptom, Watched, model_fn, objective_fn};
use wgrad::{CompileOptions, Precision};

/// Keeps what it is told of the layers.
#[derive(Default)]
struct Seen(Vec<Watched>);

impl Observer for Seen {
    fn on_watch(&mut self, watched: &Watched) {
        self.0.push(watched.clone());
    }
}

/// Bits of all states after three epochs of 200 rows in batches of 48, the records of the epochs, and what was seen.
fn trained(
    device: &Device,
    precision: Precision,
    with: impl Fn(Trainer<'_>) -> Trainer<'_>,
) -> (Vec<wgrad::Data>, TrainingReport, Vec<Watched>) {
    let params = Params::seeded(7);
    let net = Net::new(&params);
    let adam = Adam::new(&params, 3e-3);
    let optimizer: Box<dyn Optimizer> = match precision {
        Precision::Mixed => Box::new(LossScale::new(&params, adam)),
        _ => Box::new(adam),
    };
    let trainer = Trainer::new(device, net, &params, optimizer, split(200)).epochs(3).batch(48).seed(7);
    let mut seen = Seen::default();
    let report = with(trainer.precision(precision)).run(&mut seen).unwrap();
    let states = params.all().iter().map(|p| device.read_param(p).unwrap().data().clone()).collect();
    (states, report, seen.0)
}

#[test]
fn looking_changes_nothing() {
    for device in devices() {
        for precision in [Precision::F32, Precision::Mixed] {
            if Device::compile_with(&device, &Graph::new(), CompileOptions::new().precision(precision))
                .is_err()
            {
                continue;
            }
            let (plain, report, seen) = trained(&device, precision, |t| t);
            assert!(seen.is_empty() && report.epochs.iter().all(|r| r.watched.is_none()));
            let looks: [&dyn Fn(Trainer<'_>) -> Trainer<'_>; 3] =
                [&|t| t.watch(3), &|t| t.check_numerics(true), &|t| t.watch(1).check_numerics(true)];
            // What is checked is written, and on a GPU in mixed precision rounded, where it would stay in registers.
            let writes_more = precision == Precision::Mixed && device.info().name != "cpu";
            for (k, look) in looks.iter().enumerate().filter(|(k, _)| *k == 0 || !writes_more) {
                let (states, watched, _) = trained(&device, precision, look);
                assert!(states == plain, "{device:?} {precision:?} {k}");
                assert_eq!(losses(&watched), losses(&report), "{device:?} {precision:?} {k}");
                assert_eq!(watched.test, report.test);
            }
        }
    }
}

/// Four full batches an epoch: the third, sixth, ninth and twelfth of the run.
#[test]
fn every_third_full_batch_is_looked_at() {
    let (_, report, seen) = trained(&Device::cpu(), Precision::F32, |t| t.watch(3));
    let at: Vec<(usize, usize)> = seen.iter().map(|w| (w.epoch, w.step)).collect();
    assert_eq!(at, [(1, 3), (2, 2), (3, 1), (3, 4)]);
    let last: Vec<Option<usize>> = report.epochs.iter().map(|r| r.watched.as_ref().map(|w| w.step)).collect();
    assert_eq!(last, [Some(3), Some(2), Some(4)]);
    assert_eq!(seen[0].layers.iter().map(|l| &*l.name).collect::<Vec<_>>(), ["fc1", "fc2"]);
    assert_eq!(seen[0].layers.iter().map(|l| l.dead_share.is_some()).collect::<Vec<_>>(), [true, false]);
}

/// Euclidean norm.
fn norm<'a>(values: impl IntoIterator<Item = &'a f32>) -> f64 {
    values.into_iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt()
}

/// What the hidden layer gives, and the last.
fn forward<'g>(fc1: &Linear, fc2: &Linear, x: Var<'g>) -> [Var<'g>; 2] {
    let hidden = fc1.forward(x.flatten(1)).relu();
    [hidden, fc2.forward(hidden)]
}

/// One step of gradient descent on all rows, against a graph of its own.
#[test]
fn what_is_seen_is_what_the_layers_did() {
    for device in devices() {
        let params = Params::seeded(3);
        let (fc1, fc2) =
            (Linear::new(&params.at("net.fc1"), 64, 6), Linear::new(&params.at("net.fc2"), 6, 10));
        let split = split(64);
        // A third of the units gives 0 for whatever there is.
        let bias = params.get("net.fc1.bias").unwrap();
        let bias_values = [-1e3f32, 0.1, -1e3, 0.2, 0.3, 0.1];
        let all: Vec<u32> = (0..64).collect();
        let (pixels, labels) = split.train.gather(&all).unwrap();
        let g = Graph::new();
        let x = g.bytes("x", [64, 1, 8, 8]).to_f32_scaled(split.train.scale());
        let made = forward(&fc1, &fc2, x);
        let loss = made[1].softmax_cross_entropy(g.classes("y", [64]));
        let trainable = params.trainable();
        let vars: Vec<Var<'_>> = trainable.iter().map(|p| g.param(p)).collect();
        for (k, gradient) in g.gradients(loss, &vars).into_iter().enumerate() {
            g.output(&k.to_string(), gradient);
        }
        g.output("hidden", made[0]);
        g.output("logits", made[1]);
        let mut step = device.compile(&g).unwrap();
        device.write_param(&bias, &bias_values).unwrap();
        step.run_with(&[("x", (&pixels).into()), ("y", (&labels).into())]).unwrap();
        // Weight and bias of both layers.
        let of_layer =
            |name: &str| (0..4).filter(|&k| trainable[k].name().starts_with(name)).collect::<Vec<_>>();
        let mut gradient = |name: &str| {
            let values = of_layer(name).into_iter().map(|k| step.values(&k.to_string()).unwrap());
            norm(&values.flatten().collect::<Vec<f32>>())
        };
        let gradients = [gradient("net.fc1"), gradient("net.fc2")];
        let weight = |name: &str| {
            let values = of_layer(name)
                .into_iter()
                .map(|k| device.read_param(&trainable[k]).unwrap().as_f32().to_vec());
            norm(&values.flatten().collect::<Vec<f32>>())
        };
        let weights = [weight("net.fc1"), weight("net.fc2")];
        let rms = ["hidden", "logits"].map(|name| {
            let values = step.values(name).unwrap();
            norm(&values) / (values.len() as f64).sqrt()
        });

        let rate = 0.5;
        let mut seen = Seen::default();
        let model = model_fn(|inputs| forward(&fc1, &fc2, inputs.only())[1]);
        Trainer::new(&device, model, &params, Sgd::new(&params, rate), split)
            .epochs(1)
            .batch(64)
            .watch(1)
            .run(&mut seen)
            .unwrap();
        let [watched] = &seen.0[..] else { panic!("{:?}", seen.0) };
        for (k, layer) in watched.layers.iter().enumerate() {
            let expected = [gradients[k], weights[k], f64::from(rate) * gradients[k] / weights[k], rms[k]];
            let found = [layer.gradient_norm, layer.weight_norm, layer.update_ratio, layer.activation_rms];
            for (what, (found, expected)) in found.into_iter().zip(expected).enumerate() {
                assert!((found / expected - 1.0).abs() < 1e-4, "{device:?} {k} {what}: {found} {expected}");
            }
        }
        assert_eq!(watched.layers.len(), 2);
        assert!((watched.layers[0].dead_share.unwrap() - 1.0 / 3.0).abs() < 1e-6, "{watched:?}");
    }
}

/// The step that looks is not bound by the budget of the one that does not; what is frozen ends the layer before it.
#[test]
fn budgets_and_frozen_layers_stay_what_they_are() {
    let plain = trained(&Device::cpu(), Precision::F32, |t| t);
    let least = (plain.1.step_bytes / 2..plain.1.step_bytes).step_by(512);
    let fits = |bytes: &usize| {
        let params = Params::seeded(7);
        let (net, adam) = (Net::new(&params), Adam::new(&params, 3e-3));
        let run = Trainer::new(&Device::cpu(), net, &params, adam, split(200)).epochs(1).batch(48);
        run.memory_budget(*bytes).run(&mut ()).is_ok()
    };
    let budget = least.into_iter().find(fits).unwrap();
    let (states, _, seen) = trained(&Device::cpu(), Precision::F32, |t| t.memory_budget(budget).watch(2));
    assert!(states == plain.0 && seen.len() == 6);

    let watched = |frozen: bool| {
        let params = Params::seeded(7);
        let (net, sgd) = (Net::new(&params), Sgd::new(&params, 0.0));
        if frozen {
            params.at("fc2").freeze();
        }
        let mut seen = Seen::default();
        Trainer::new(&Device::cpu(), net, &params, sgd, split(200))
            .epochs(1)
            .batch(48)
            .watch(1)
            .run(&mut seen)
            .unwrap();
        seen.0.swap_remove(0).layers
    };
    let (free, frozen) = (watched(false), watched(true));
    assert_eq!((free.len(), frozen.len()), (2, 1));
    assert_eq!(free[0], frozen[0]);
}

/// Gradients are those of the loss, not of a multiple.
#[test]
fn a_loss_scale_is_taken_out() {
    for device in devices() {
        let norms = |precision: Precision| {
            let (_, _, seen) = trained(&device, precision, |t| t.watch(4));
            seen.iter().map(Watched::gradient_norm).collect::<Vec<f64>>()
        };
        if Device::compile_with(&device, &Graph::new(), CompileOptions::new().precision(Precision::Mixed))
            .is_err()
        {
            continue;
        }
        for (plain, mixed) in norms(Precision::F32).iter().zip(norms(Precision::Mixed)) {
            assert!((mixed / plain - 1.0).abs() < 0.05, "{device:?}: {mixed} {plain}");
        }
    }
}

/// The derivative of a sigmoid is at most a quarter: ten layers leave the first without a gradient, ReLUs do not.
#[test]
fn a_deep_network_of_sigmoids_is_told_that_its_gradients_vanish() {
    let symptoms = |activation: Activation| {
        let params = Params::seeded(5);
        let mut net = Sequential::new(&params).flatten();
        for k in 0..8 {
            net = net.linear(if k == 0 { 64 } else { 24 }, 24).activation(activation);
        }
        let net = net.linear(24, 10);
        let mut seen = Seen::default();
        let sgd = Sgd::new(&params, 0.1);
        Trainer::new(&Device::cpu(), net, &params, sgd, split(200))
            .epochs(1)
            .batch(48)
            .watch(1)
            .run(&mut seen)
            .unwrap();
        seen.0[0].symptoms(&[])
    };
    let said = symptoms(Activation::Sigmoid);
    assert!(
        matches!(&said[..], [Symptom::Vanishing { layer, last, .. }] if layer == "1" && last == "17"),
        "{said:?}"
    );
    assert!(said[0].to_string().starts_with("vanishing gradients: that of `1` is "), "{}", said[0]);
    let of_relu = symptoms(Activation::Relu);
    assert!(of_relu.iter().all(|s| !matches!(s, Symptom::Vanishing { .. })), "{of_relu:?}");
}

/// A learning rate far too large: weights are thrown about, then units are dead, and gradients have exploded before.
#[test]
fn too_large_a_rate_is_told() {
    let params = Params::seeded(7);
    let (net, adam) = (Net::new(&params), Adam::new(&params, 1.0));
    let mut seen = Seen::default();
    let trainer = Trainer::new(&Device::cpu(), net, &params, adam, split(200)).epochs(3).batch(48).watch(1);
    trainer.run(&mut seen).unwrap();
    let (mut large, mut dead) = (false, false);
    for watched in &seen.0 {
        for symptom in watched.symptoms(&[]) {
            large |= matches!(&symptom, Symptom::LargeUpdate { ratio, .. } if *ratio > 0.3);
            dead |= matches!(&symptom, Symptom::DeadUnits { share, .. } if *share > 0.5);
        }
    }
    assert!(large && dead, "{:?}", seen.0);
}

#[test]
fn an_explosion_is_more_than_there_ever_was() {
    let (_, _, seen) = trained(&Device::cpu(), Precision::F32, |t| t.watch(4));
    let norm = seen[0].gradient_norm();
    let told = |before: &[f64]| {
        let symptoms = seen[0].symptoms(before);
        symptoms.into_iter().find(|symptom| matches!(symptom, Symptom::Exploding { .. }))
    };
    let small = norm / 200.0;
    assert_eq!(told(&[small, small, norm / 2.0]), Some(Symptom::Exploding { norm, usual: small }));
    // Not the first measurement, nor what was 0 before, nor what was as large once, nor twice as much.
    for before in [&[][..], &[0.0; 5], &[small, small, 2.0 * norm], &[norm / 2.0; 3]] {
        assert_eq!(told(before), None, "{before:?}");
    }
}

/// One row whose logarithm is none: the step that takes it is named, on every device.
#[test]
fn the_step_that_gives_nan_is_named() {
    let rows = 100;
    for device in devices() {
        for bad in [0, 41, 97] {
            let values: Vec<f32> = (0..rows).map(|k| if k == bad { -1.0 } else { 1.0 }).collect();
            let data = Dataset::regression("logarithms", [1], values, [1], vec![0.0; rows]).unwrap();
            let test = Dataset::regression("others", [1], vec![1.0; 4], [1], vec![0.0; 4]).unwrap();
            let params = Params::seeded(2);
            let line = Linear::new(&params.at("line"), 1, 1);
            let model = model_fn(|inputs| line.forward(inputs.only().log()));
            let squares = objective_fn("squares", |p, t| (p - t).square().mean_all());
            let sgd = Sgd::new(&params, 0.1);
            let error = Trainer::new(&device, model, &params, sgd, Split::new(data, test, 0).unwrap())
                .objective(squares)
                .batch(16)
                .check_numerics(true)
                .run(&mut ())
                .unwrap_err();
            // Six full batches, and one of four rows.
            let order = wgrad::data::epoch_order(rows, 42, 0);
            let step = order.iter().position(|&row| row as usize == bad).unwrap() / 16 + 1;
            let Error::Numerics(error) = error else { panic!("{error}") };
            assert_eq!((error.step, &*error.op), (Some((1, step)), "log"), "{device:?}");
            assert!(error.to_string().starts_with(&format!("epoch 1, step {step}: op `log`")), "{error}");
        }
    }
}

#[test]
fn parameters_that_no_gradient_reaches_are_named() {
    let params = Params::seeded(1);
    let layer = |name: &str| Linear::new(&params.at(name), 4, 4);
    let (used, left_out, behind_a_step) = (layer("used"), layer("left_out"), layer("behind_a_step"));
    layer("frozen");
    params.at("frozen").freeze();
    let g = Graph::new();
    let x = g.input("x", [2, 4]);
    let _ = left_out.forward(x);
    let loss = (used.forward(x) + behind_a_step.forward(x).sign()).square().sum_all();
    Sgd::new(&params, 0.1).minimize(loss, &params.trainable());
    let step = Device::cpu().compile(&g).unwrap();
    let expected = ["behind_a_step.bias", "behind_a_step.weight", "left_out.bias", "left_out.weight"];
    assert_eq!(step.without_gradient(), expected);
    // What another loss reaches is none of them.
    let g = Graph::new();
    let x = g.input("x", [2, 4]);
    let (a, b) = (used.forward(x).square().sum_all(), left_out.forward(x).square().sum_all());
    let sgd = Sgd::new(&params, 0.1);
    for loss in [a, b] {
        sgd.minimize(loss, &[params.at("used").trainable(), params.at("left_out").trainable()].concat());
    }
    assert!(Device::cpu().compile(&g).unwrap().without_gradient().is_empty());
}
