//! Optimizers in the trainer.

use safetensors::SafeTensors;
use wgrad::data::{Split, digits};
use wgrad::nn::Mlp;
use wgrad::optim::{Accumulate, Adam, Averaged, Optimizer, OptimizerKind, Plateau, Sgd};
use wgrad::train::{Evaluator, Keep, Trainer};
use wgrad::{Device, Params};

/// 600 digits to train on and 150 to validate with.
fn some_digits() -> Split {
    let (train, test) = digits().unwrap();
    let rows: Vec<u32> = (0..750).collect();
    Split::new(train.select("some digits", &rows).unwrap(), test, 150).unwrap()
}

/// Digits with every optimizer by name, at the rate that goes with Adam's.
#[test]
fn every_optimizer_trains() {
    let (split, device) = (some_digits(), Device::cpu());
    for kind in OptimizerKind::all() {
        let params = Params::seeded(3);
        let net = Mlp::new(&params, &[64, 32, 10]);
        let optimizer = kind.build(&params, kind.rate(5e-3), None);
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
}

/// Averages, accumulation and plateaus in the trainer, resumed to the same bits.
#[test]
fn runs_resume_with_what_an_optimizer_keeps() {
    let (split, device) = (some_digits(), Device::cpu());
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

/// Where averages are kept, they are what is validated, saved and tested, and the checkpoint has both.
#[test]
fn averages_stand_for_the_weights() {
    let (split, device) = (some_digits(), Device::cpu());
    let plain = Params::seeded(3);
    let adam = Adam::new(&plain, 1e-2);
    let trainer = Trainer::new(&device, Mlp::new(&plain, &[64, 16, 10]), &plain, adam, split.clone());
    let plain = trainer.epochs(3).run(&mut ()).unwrap();
    for keep in [Keep::Last, Keep::Best] {
        let folder = tempfile::tempdir().unwrap();
        let params = Params::seeded(3);
        let net = Mlp::new(&params, &[64, 16, 10]);
        let averaged = Averaged::exponential(&params, Adam::new(&params, 1e-2), 0.95);
        let trainer = Trainer::new(&device, &net, &params, averaged, split.clone()).epochs(3);
        let report = trainer.keep(keep).out(folder.path()).run(&mut ()).unwrap();
        // Steps go by the weights themselves.
        for (epoch, plain) in report.epochs.iter().zip(&plain.epochs) {
            assert_eq!(epoch.train.loss, plain.train.loss);
        }
        let read = |file: &str| std::fs::read(folder.path().join(file)).unwrap();
        let (model, checkpoint) = (read("model.safetensors"), read("checkpoint.safetensors"));
        let [model, checkpoint] = [&model, &checkpoint].map(|file| SafeTensors::deserialize(file).unwrap());
        for name in ["fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias"] {
            let saved = model.tensor(name).unwrap();
            let saved = saved.data();
            assert_ne!(saved, checkpoint.tensor(name).unwrap().data(), "{name}");
            let on_device = device.read_param(&params.get(name).unwrap()).unwrap();
            assert_eq!(saved, bytemuck::cast_slice::<f32, u8>(on_device.as_f32()), "{name}");
            if report.best_epoch == Some(3) {
                let average = checkpoint.tensor(&format!("average.of.{name}")).unwrap();
                assert_eq!(saved, average.data(), "{name}");
            }
        }
        // What was measured is what is kept.
        let kept = &report.epochs[report.best_epoch.unwrap() - 1];
        let mut again = Evaluator::new(&device, &net, &split.validation).unwrap();
        assert_eq!(kept.validation.as_ref().unwrap().loss, again.run().unwrap().scores.loss);
        let mut again = Evaluator::new(&device, &net, &split.test).unwrap();
        assert_eq!(report.test.loss, again.run().unwrap().scores.loss);
    }
}

/// Rates too small to move anything: losses of the batches of an epoch, of which the last is short, make that of all rows.
#[test]
fn a_range_test_measures_each_batch() {
    let (split, device) = (some_digits(), Device::cpu());
    let params = Params::seeded(3);
    let net = Mlp::new(&params, &[64, 16, 10]);
    let rows = split.train.len();
    assert_eq!(rows, 600);
    let mut all = Evaluator::new(&device, &net, &split.train).unwrap();
    let expected = all.run().unwrap().scores.loss;
    // Two epochs of three batches: 256, 256 and 88 rows.
    let trainer = Trainer::new(&device, &net, &params, Sgd::new(&params, 0.5), split.clone()).batch(256);
    let test = trainer.find_rate(1e-20, 1e-18, 6).unwrap();
    for epoch in test.losses.chunks(3) {
        let mean: f64 = epoch.iter().zip([256.0, 256.0, 88.0]).map(|(loss, rows)| loss * rows).sum();
        assert!((mean / rows as f64 - expected).abs() < 1e-5, "{epoch:?} {expected}");
    }
    let ratio = |w: &[f32]| f64::from(w[1]) / f64::from(w[0]);
    assert!(test.rates.windows(2).all(|w| (ratio(w) - 100f64.powf(0.2)).abs() < 1e-4), "{:?}", test.rates);
    assert!(!test.diverged && test.losses.len() == 6);
    // A rate that blows it up ends it.
    let trainer = Trainer::new(&device, &net, &params, Sgd::new(&params, 0.5), split.clone()).batch(32);
    let test = trainer.find_rate(1e-3, 1e6, 200).unwrap();
    assert!(test.diverged && test.losses.len() < 200 && test.suggested.is_some(), "{test:?}");
}
