//! Normalizations, noise, penalties and constraints within whole trainings: resumed to the same bits, and what they do.
#![allow(missing_docs, clippy::unwrap_used)]

mod common;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use common::devices;
use wgrad::data::{Split, digits};
use wgrad::losses::{elastic_net_penalty, weights};
use wgrad::nn::{
    Activation, AlphaDropout, Conv2d, Cutout, GaussianNoise, GroupNorm, Linear, Mixup, Mlp, ModelOptions,
    Norm, RandomAffine, Sequential, SpatialDropout, SpectralNorm, WeightNorm,
};
use wgrad::optim::{Adam, ClipValue, MaxNorm, Sgd};
use wgrad::train::{Observer, Trainer, TrainingReport};
use wgrad::{Device, Params, Precision};

/// Raises a flag after a step.
struct StopAt(Arc<AtomicBool>, usize);

impl Observer for StopAt {
    fn on_step(&mut self, step: usize, _: usize) {
        self.0.store(step >= self.1, Ordering::Relaxed);
    }
}

fn split(rows: usize) -> Split {
    let (train, test) = digits().unwrap();
    let (rest, _) = train.clone().split_validation(train.len() - rows).unwrap();
    Split::new(rest, test, 60).unwrap()
}

/// A network with a bit of everything that draws, keeps states or changes weights.
fn network(params: &Params) -> Sequential {
    Sequential::new(&params.at("net"))
        .with(|p| SpectralNorm::new(p, |p| Conv2d::new(p, 1, 8, [3, 3])))
        .with(|p| GroupNorm::new(p, 2, 8))
        .activation(Activation::Selu)
        .with(|p| SpatialDropout::new(p, 0.1))
        .flatten()
        .with(|p| AlphaDropout::new(p, 0.1))
        .with(|p| WeightNorm::new(p, |p| Linear::new(p, 8 * 6 * 6, 10)))
}

fn train(device: &Device, folder: &Path, stop_at: Option<usize>, resume: bool) -> TrainingReport {
    let params = Params::seeded(5);
    let model = network(&params);
    let flag = Arc::new(AtomicBool::new(false));
    let at = params.at("augment");
    let augment = Sequential::new(&at)
        .with(|p| RandomAffine::new(p).shift(1))
        .with(|p| Cutout::new(p, 2))
        .with(|p| GaussianNoise::new(p, 0.05));
    let optimizer = ClipValue::new(MaxNorm::new(Adam::new(&params, 0.01), 2.0), 0.5);
    let penalized = weights(&params.trainable());
    let mut trainer = Trainer::new(device, model, &params, optimizer, split(260))
        .epochs(3)
        .batch(48)
        .augment(augment)
        .mixup(Mixup::new(&params.at("mixup"), 0.4))
        .penalty(move |g| elastic_net_penalty(g, &penalized, 1e-5, 1e-4))
        .out(folder)
        .stop(flag.clone());
    if resume {
        trainer = trainer.resume(folder.join("checkpoint.safetensors"));
    }
    trainer.run(&mut StopAt(flag, stop_at.unwrap_or(usize::MAX))).unwrap()
}

#[test]
fn trainings_with_all_of_them_are_resumed_to_the_same_bits() {
    let bits = |r: &TrainingReport| {
        let last = r.epochs.last().unwrap();
        (last.train.loss.to_bits(), r.test.loss.to_bits())
    };
    for device in devices() {
        let folder = tempfile::tempdir().unwrap();
        let whole = train(&device, folder.path(), None, false);
        let (first, last) = (&whole.epochs[0].train, &whole.epochs[2].train);
        assert!(last.loss < 0.95 * first.loss, "{device:?}: {} {}", first.loss, last.loss);
        // In the middle of the second epoch of five steps.
        assert!(train(&device, folder.path(), Some(7), false).stopped);
        assert_eq!(bits(&whole), bits(&train(&device, folder.path(), None, true)), "{device:?}");
    }
}

/// The sum of the magnitudes and of the squares of all weights after a training.
fn sizes(l1: f32, l2: f32) -> [f32; 2] {
    let params = Params::seeded(2);
    let mlp = Mlp::new(&params, &[64, 16, 10]);
    let penalized = weights(&params.trainable());
    let device = Device::cpu();
    let adam = Adam::new(&params, 3e-3);
    let trainer = Trainer::new(&device, mlp, &params, adam, split(200)).epochs(4);
    trainer.penalty(|g| elastic_net_penalty(g, &penalized, l1, l2)).run(&mut ()).unwrap();
    let values: Vec<f32> =
        penalized.iter().flat_map(|p| device.read_param(p).unwrap().as_f32().to_vec()).collect();
    [values.iter().map(|w| w.abs()).sum(), values.iter().map(|w| w * w).sum()]
}

#[test]
fn penalties_make_weights_small() {
    let [free, l1, l2] = [sizes(0.0, 0.0), sizes(0.01, 0.0), sizes(0.0, 0.01)];
    assert!(l1[0] < 0.9 * free[0] && l2[1] < 0.9 * free[1], "{free:?} {l1:?} {l2:?}");
}

#[test]
fn no_row_is_longer_than_allowed() {
    let params = Params::seeded(2);
    let mlp = Mlp::new(&params, &[64, 16, 10]);
    let device = Device::cpu();
    let sgd = MaxNorm::new(Sgd::new(&params, 0.5), 0.5);
    let report = Trainer::new(&device, mlp, &params, sgd, split(200)).epochs(4).run(&mut ()).unwrap();
    for weight in weights(&params.trainable()) {
        let columns = weight.shape().dim(1);
        let values = device.read_param(&weight).unwrap();
        let longest =
            values.as_f32().chunks(columns).map(|row| row.iter().map(|w| w * w).sum::<f32>().sqrt());
        let longest = longest.fold(0.0, f32::max);
        assert!(longest <= 0.5 + 1e-5 && longest > 0.49, "{longest}");
    }
    assert!(report.test.accuracy() > 0.2, "{}", report.test.accuracy());
}

/// In 16 bits with scaled losses, on what can: normalized networks learn as in 32.
#[test]
fn normalized_networks_train_in_mixed_precision() {
    for norm in [Norm::Layer, Norm::Group(None), Norm::Rms] {
        let run = |precision| {
            let params = Params::seeded(2);
            let mlp = Mlp::with(&params, &[64, 32, 10], &ModelOptions::default().norm(norm));
            let adam = wgrad::optim::LossScale::new(&params, ClipValue::new(Adam::new(&params, 0.01), 1.0));
            let trainer = Trainer::new(&Device::cpu(), mlp, &params, adam, split(260));
            trainer.epochs(6).precision(precision).run(&mut ()).unwrap().test
        };
        let (wide, mixed) = (run(Precision::F32), run(Precision::Mixed));
        assert!(wide.accuracy() > 0.7 && (wide.loss - mixed.loss).abs() < 0.1, "{norm}: {wide:?} {mixed:?}");
    }
}
