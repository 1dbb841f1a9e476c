//! Networks of images: every executor against f64 over whole training steps, augmentation, early stopping.
#![allow(missing_docs, clippy::unwrap_used)]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use common::devices;
use wgrad::data::{Split, digits};
use wgrad::nn::{Cnn, Layer, RandomAffine, ResNet};
use wgrad::optim::{Adam, ClipNorm, Optimizer, Schedule, Sgd};
use wgrad::train::{Keep, Observer, Trainer, TrainingReport};
use wgrad::{Device, Error, Graph, Params, Result};

/// Losses of ten steps on batches of 16 digits.
fn losses(device: &Device, make: &dyn Fn(&Params) -> Box<dyn Layer>) -> Vec<f32> {
    let (train, _) = digits().unwrap();
    let params = Params::seeded(3);
    let model = make(&params);
    let sgd = ClipNorm::new(Sgd::new(&params, 0.05).momentum(0.9).weight_decay(1e-4), 2.0);
    let g = Graph::new();
    let x = g.bytes("x", [16, 1, 8, 8]).to_f32_scaled(train.scale());
    // Moving by whole pixels is exact, so that all executors see the same images.
    let x = RandomAffine::new(&params.at("augment")).shift(1).forward(x);
    let loss = model.forward(x).softmax_cross_entropy(g.classes("y", [16]));
    sgd.minimize(loss, &params.trainable());
    g.output("loss", loss);
    let mut step = device.compile(&g).unwrap();
    let run = |k: u32| {
        let (x, y) = train.gather(&(k * 16..(k + 1) * 16).collect::<Vec<u32>>()).unwrap();
        step.run_with(&[("x", (&x).into()), ("y", (&y).into())]).unwrap();
        step.scalar("loss").unwrap()
    };
    (0..10).map(run).collect()
}

#[test]
fn ten_losses_agree_with_double_precision() {
    let models: [(&str, &dyn Fn(&Params) -> Box<dyn Layer>); 2] = [
        ("cnn", &|p| Box::new(Cnn::new(p, [1, 8, 8], &[6, 10], 10).dropout(0.3))),
        ("resnet", &|p| Box::new(ResNet::new(p, 1, &[4, 8], 1, 10))),
    ];
    for (name, make) in models {
        let truth = losses(&Device::reference(), make);
        assert!(truth[9] < truth[0], "{name} learns nothing: {truth:?}");
        for device in devices() {
            for (k, (loss, truth)) in losses(&device, make).iter().zip(&truth).enumerate() {
                let off = (loss - truth).abs() / truth.abs();
                assert!(off < 2e-5, "{name} on {device:?}, step {k}: {loss} for {truth}");
            }
        }
    }
}

struct StopAt(Arc<AtomicBool>, usize);

impl Observer for StopAt {
    fn on_step(&mut self, step: usize, _: usize) {
        if step == self.1 {
            self.0.store(true, Ordering::Relaxed);
        }
    }
}

fn split(rows: usize) -> Split {
    let (train, test) = digits().unwrap();
    let (rest, _) = train.clone().split_validation(train.len() - rows).unwrap();
    Split::new(rest, test, 60).unwrap()
}

/// Trains a small network on moved images; `stop_at` a step and `resume` there.
fn augmented(
    device: &Device,
    folder: &std::path::Path,
    stop_at: Option<usize>,
    resume: bool,
) -> TrainingReport {
    let params = Params::seeded(5);
    let model = Cnn::new(&params, [1, 8, 8], &[4], 10).dropout(0.2);
    let flag = Arc::new(AtomicBool::new(false));
    let moved = RandomAffine::new(&params.at("augment")).shift(1).rotate(15.0).scale(0.1);
    let mut trainer = Trainer::new(device, model, &params, Adam::new(&params, 3e-3), split(260))
        .epochs(3)
        .batch(48)
        .augment(moved)
        .schedule(|epoch, epochs| Schedule::Cosine.factor(epoch, epochs))
        .out(folder)
        .stop(flag.clone());
    if resume {
        trainer = trainer.resume(folder.join("checkpoint.safetensors"));
    }
    trainer.run(&mut StopAt(flag, stop_at.unwrap_or(usize::MAX))).unwrap()
}

#[test]
fn moved_images_come_again_with_the_seed_and_after_a_stop() {
    let bits = |r: &TrainingReport| {
        let last = r.epochs.last().unwrap();
        (last.train.loss.to_bits(), r.test.loss.to_bits())
    };
    for device in devices() {
        let folder = tempfile::tempdir().unwrap();
        let whole = augmented(&device, folder.path(), None, false);
        assert_eq!(bits(&whole), bits(&augmented(&device, folder.path(), None, false)), "{device:?}");
        // In the middle of the second epoch of five steps.
        assert!(augmented(&device, folder.path(), Some(7), false).stopped);
        let resumed = augmented(&device, folder.path(), None, true);
        assert_eq!(bits(&whole), bits(&resumed), "{device:?}");
    }
}

fn patient(out: Option<&std::path::Path>, resume: bool, validation: bool) -> Result<TrainingReport> {
    let params = Params::seeded(1);
    let model = Cnn::new(&params, [1, 8, 8], &[8], 10);
    let mut data = split(200);
    if !validation {
        data = Split::new(data.train, data.test, 0).unwrap();
    }
    // A rate that overshoots, so that the validation loss soon rises.
    let sgd = Sgd::new(&params, 0.5).momentum(0.9);
    let mut trainer = Trainer::new(&Device::cpu(), model, &params, sgd, data)
        .epochs(200)
        .early_stopping(3)
        .keep(Keep::Best);
    if let Some(out) = out {
        trainer = trainer.out(out);
        if resume {
            trainer = trainer.resume(out.join("checkpoint.safetensors"));
        }
    }
    trainer.run(&mut ())
}

#[test]
fn training_ends_when_the_validation_loss_falls_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let report = patient(Some(folder.path()), false, true).unwrap();
    assert!(report.stopped_early && !report.stopped);
    let losses: Vec<f64> = report.epochs.iter().map(|e| e.validation.as_ref().unwrap().loss).collect();
    let lowest = (0..losses.len()).min_by(|&a, &b| losses[a].total_cmp(&losses[b])).unwrap();
    assert_eq!(losses.len(), lowest + 1 + 3, "{losses:?}");
    // It stays ended.
    let again = patient(Some(folder.path()), true, true).unwrap();
    assert!(again.stopped_early && again.epochs.is_empty());
    assert_eq!(again.test.loss.to_bits(), report.test.loss.to_bits());
    match patient(None, false, false) {
        Err(Error::Invalid(message)) => {
            assert!(message.contains("validation rows, and there are none"), "{message}")
        }
        other => panic!("{other:?}"),
    }
}

fn one_left_over(out: &std::path::Path, stop_at: Option<usize>, resume: bool) -> Result<TrainingReport> {
    let params = Params::seeded(5);
    let net = ResNet::new(&params, 1, &[2, 2, 2, 2], 1, 10);
    let flag = Arc::new(AtomicBool::new(false));
    let mut trainer = Trainer::new(&Device::cpu(), net, &params, Sgd::new(&params, 0.01), split(261))
        .epochs(2)
        .batch(50)
        .keep(Keep::Last)
        .out(out)
        .stop(flag.clone());
    if resume {
        trainer = trainer.resume(out.join("checkpoint.safetensors"));
    }
    trainer.run(&mut LeftOver { flag, stop_at })
}

struct LeftOver {
    flag: Arc<AtomicBool>,
    stop_at: Option<usize>,
}

impl Observer for LeftOver {
    fn on_step(&mut self, step: usize, of: usize) {
        assert_eq!(of, 8);
        if self.stop_at == Some(step) {
            self.flag.store(true, Ordering::Relaxed);
        }
    }
}

#[test]
fn one_row_left_over_that_batch_norm_refuses_is_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let whole = one_left_over(folder.path(), None, false).unwrap();
    assert_eq!(whole.steps, 8);
    // All of the 200 rows seen count: an accuracy is a whole number of two hundredths.
    for epoch in &whole.epochs {
        let right = epoch.train.accuracy() * 200.0;
        assert!((right - right.round()).abs() < 1e-6, "{right}");
    }
    assert!(one_left_over(folder.path(), Some(6), false).unwrap().stopped);
    let resumed = one_left_over(folder.path(), None, true).unwrap();
    assert_eq!(resumed.steps, 2);
    assert_eq!(resumed.test.loss.to_bits(), whole.test.loss.to_bits());
    assert_eq!(resumed.epochs[0].train.loss.to_bits(), whole.epochs[1].train.loss.to_bits());
}

#[test]
fn a_patience_of_no_epochs_is_one_of_one() {
    let losses = |patience: usize| {
        let folder = tempfile::tempdir().unwrap();
        let params = Params::seeded(1);
        let model = Cnn::new(&params, [1, 8, 8], &[8], 10);
        let sgd = Sgd::new(&params, 0.5).momentum(0.9);
        let report = Trainer::new(&Device::cpu(), model, &params, sgd, split(200))
            .epochs(200)
            .early_stopping(patience)
            .out(folder.path())
            .run(&mut ())
            .unwrap();
        assert!(report.stopped_early);
        // The checkpoint is that of the last epoch: one that resumes has nothing left to do.
        let params = Params::seeded(1);
        let model = Cnn::new(&params, [1, 8, 8], &[8], 10);
        let sgd = Sgd::new(&params, 0.5).momentum(0.9);
        let again = Trainer::new(&Device::cpu(), model, &params, sgd, split(200))
            .epochs(200)
            .early_stopping(patience)
            .resume(folder.path().join("checkpoint.safetensors"))
            .run(&mut ())
            .unwrap();
        assert!(again.stopped_early && again.epochs.is_empty(), "{}", again.epochs.len());
        report.epochs.iter().map(|e| e.train.loss.to_bits()).collect::<Vec<u64>>()
    };
    assert_eq!(losses(0), losses(1));
}
