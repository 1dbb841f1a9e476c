//! The training loop: the same bits from the same seed, stopped or not; files; errors; GPU against CPU.
#![allow(missing_docs, clippy::unwrap_used)]

#[path = "../common/mod.rs"]
mod common;
mod not_finite;
#[cfg(feature = "gpu")]
mod on_gpus;
mod stopped;
mod watched;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use common::devices;
use not_finite::refusal;
use wgrad::data::{Dataset, Holdout, Input, LastBatch, Split, TableOptions, Targets, digits, iris};
use wgrad::nn::{Dropout, Layer, Linear, Mlp};
use wgrad::optim::{Adam, Optimizer, Sgd};
use wgrad::train::{EpochRecord, Evaluator, Keep, Observer, Trainer, TrainingReport};
use wgrad::{Device, Error, Graph, Params, Result, Var};

/// A perceptron with dropout, so that its random stream is part of what is compared.
struct Net {
    fc1: Linear,
    drop: Dropout,
    fc2: Linear,
}

impl Net {
    fn new(params: &Params) -> Self {
        Net {
            fc1: Linear::new(&params.at("fc1"), 64, 24),
            drop: Dropout::new(&params.at("drop"), 0.2),
            fc2: Linear::new(&params.at("fc2"), 24, 10),
        }
    }
}

impl Layer for Net {
    fn forward<'g>(&self, x: Var<'g>) -> Var<'g> {
        self.fc2.forward(self.drop.forward(self.fc1.forward(x.flatten(1)).relu()))
    }
}

/// The first `n` digits to train on, 100 to validate with and 360 to test.
fn split(n: usize) -> Split {
    let (train, test) = digits().unwrap();
    let rows: Vec<u32> = (0..n as u32 + 100).collect();
    let shorter = train.select("some digits", &rows);
    Split::new(shorter.unwrap(), test, 100).unwrap()
}

/// What a run is: settings, and where it stops.
#[derive(Clone, Copy)]
struct Settings<'a> {
    epochs: usize,
    seed: u64,
    out: Option<&'a Path>,
    resume: Option<&'a Path>,
    stop_at: Option<usize>,
    keep: Keep,
}

const PLAIN: Settings<'_> =
    Settings { epochs: 4, seed: 7, out: None, resume: None, stop_at: None, keep: Keep::Best };

/// Raises the flag after a step, and keeps what it was told.
struct Watcher {
    flag: Arc<AtomicBool>,
    stop_at: Option<usize>,
    start: Option<(usize, usize)>,
    steps: Vec<usize>,
    epochs: Vec<EpochRecord>,
}

impl Observer for Watcher {
    fn on_start(&mut self, step: usize, of: usize) {
        self.start = Some((step, of));
    }
    fn on_step(&mut self, step: usize, _: usize) {
        self.steps.push(step);
        if self.stop_at == Some(step) {
            self.flag.store(true, Ordering::Relaxed);
        }
    }
    fn on_epoch(&mut self, record: &EpochRecord) {
        self.epochs.push(record.clone());
    }
}

/// Trains on 200 rows in batches of 48: four full ones and one of 8. Returns all states by name too.
fn run(
    device: &Device,
    settings: Settings<'_>,
) -> Result<(TrainingReport, Watcher, Vec<(String, wgrad::Data)>)> {
    let params = Params::seeded(settings.seed);
    let net = Net::new(&params);
    let adam = Adam::new(&params, 3e-3);
    let flag = Arc::new(AtomicBool::new(false));
    let mut trainer = Trainer::new(device, net, &params, adam, split(200))
        .epochs(settings.epochs)
        .batch(48)
        .seed(settings.seed)
        .keep(settings.keep)
        .schedule(|epoch, epochs| 1.0 - epoch as f32 / epochs as f32)
        .stop(flag.clone());
    if let Some(out) = settings.out {
        trainer = trainer.out(out);
    }
    if let Some(checkpoint) = settings.resume {
        trainer = trainer.resume(checkpoint);
    }
    let mut watcher =
        Watcher { flag, stop_at: settings.stop_at, start: None, steps: Vec::new(), epochs: Vec::new() };
    watcher.flag.store(settings.stop_at == Some(0), Ordering::Relaxed);
    let report = trainer.run(&mut watcher)?;
    let value = |p: wgrad::Param| (p.name().to_string(), device.read_param(&p).unwrap().data().clone());
    Ok((report, watcher, params.all().into_iter().map(value).collect()))
}

fn losses(report: &TrainingReport) -> Vec<(u64, Option<u64>)> {
    let bits = |r: &EpochRecord| (r.train.loss.to_bits(), r.validation.as_ref().map(|v| v.loss.to_bits()));
    report.epochs.iter().map(bits).collect()
}

/// The validation accuracy of an epoch.
fn validated(record: &EpochRecord) -> f64 {
    record.validation.as_ref().unwrap().accuracy()
}

#[test]
fn a_seed_gives_the_same_bits_and_another_gives_others() {
    for device in devices() {
        let (a, watcher, states) = run(&device, PLAIN).unwrap();
        let (b, _, again) = run(&device, PLAIN).unwrap();
        assert_eq!(losses(&a), losses(&b), "{device:?}");
        assert_eq!(states, again, "{device:?}");
        let (c, _, _) = run(&device, Settings { seed: 8, ..PLAIN }).unwrap();
        assert_ne!(losses(&a), losses(&c));

        assert_eq!((watcher.start, watcher.steps), (Some((0, 20)), (1..=20).collect()));
        assert_eq!((a.steps, a.stopped, a.epochs.len()), (20, false, 4));
        assert_eq!(a.epochs, watcher.epochs);
        assert!(a.epochs[3].train.loss < a.epochs[0].train.loss);
        assert!(a.test.accuracy() > 0.3 && a.steps_per_second > 0.0 && a.first_step_seconds > 0.0);
        let best = |r: &&EpochRecord| Some(r.epoch) == a.best_epoch;
        let best = a.epochs.iter().find(best).unwrap();
        assert!(best.is_best && a.epochs.iter().all(|r| validated(r) <= validated(best)));
    }
}

#[test]
fn a_resumed_run_ends_with_the_bits_of_an_unbroken_one() {
    for device in devices() {
        let (whole, _, expected) = run(&device, PLAIN).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let checkpoint = folder.path().join("checkpoint.safetensors");
        // After two epochs; in the middle of the third; before the short batch of the first.
        for steps in [10, 13, 4] {
            let (out, stop_at) = (Some(folder.path()), Some(steps));
            let (first, _, _) = run(&device, Settings { out, stop_at, ..PLAIN }).unwrap();
            assert_eq!((first.stopped, first.steps), (true, steps));
            let (second, watcher, states) =
                run(&device, Settings { resume: Some(&checkpoint), ..PLAIN }).unwrap();
            assert_eq!(watcher.start, Some((steps, 20)));
            assert_eq!((second.stopped, second.steps), (false, 20 - steps));
            assert_eq!(states, expected, "{device:?} after {steps} steps");
            let tail = losses(&whole)[steps / 5..].to_vec();
            assert_eq!(losses(&second), tail, "{device:?} after {steps} steps");
            assert_eq!(second.best_epoch, whole.best_epoch);
            assert_eq!(second.test.loss, whole.test.loss);
        }
    }
}

/// Without a schedule the number of epochs may grow: four epochs are two and two more.
#[test]
fn a_finished_run_can_be_made_longer() {
    let folder = tempfile::tempdir().unwrap();
    let device = Device::cpu();
    let train = |epochs: usize, resume: bool| {
        let params = Params::seeded(2);
        let (net, adam) = (Net::new(&params), Adam::new(&params, 3e-3));
        let trainer = Trainer::new(&device, net, &params, adam, split(200)).epochs(epochs).batch(48);
        let trainer = match resume {
            true => trainer.resume(folder.path().join("checkpoint.safetensors")),
            false => trainer.out(folder.path()),
        };
        let report = trainer.run(&mut ()).unwrap();
        let values = params.all().into_iter().map(|p| device.read_param(&p).unwrap());
        (report.best_epoch, report.test.loss, values.collect::<Vec<_>>())
    };
    let whole = train(4, false);
    train(2, false);
    assert_eq!(train(4, true), whole);
}

#[test]
fn a_finished_run_has_nothing_to_resume_and_is_tested_again() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoint = folder.path().join("checkpoint.safetensors");
    let device = Device::cpu();
    let (first, _, _) = run(&device, Settings { out: Some(folder.path()), ..PLAIN }).unwrap();
    let (again, _, _) = run(&device, Settings { resume: Some(&checkpoint), ..PLAIN }).unwrap();
    assert_eq!((again.steps, again.epochs.len(), again.best_epoch), (0, 0, first.best_epoch));
    assert_eq!(again.test.accuracy(), first.test.accuracy());
}

#[test]
fn the_last_weights_can_be_kept_instead() {
    let device = Device::cpu();
    let (best, _, _) = run(&device, PLAIN).unwrap();
    let (last, _, _) = run(&device, Settings { keep: Keep::Last, ..PLAIN }).unwrap();
    let (short, _, _) = run(&device, Settings { epochs: 8, ..PLAIN }).unwrap();
    assert_eq!((last.best_epoch, losses(&last)), (Some(4), losses(&best)));
    assert_ne!(losses(&short)[1..4], losses(&best)[1..4], "the schedule has no effect");
    // Of epochs with the best accuracy, the last.
    for report in [best, short] {
        let accuracy = |r: &EpochRecord| (validated(r) * 1e6) as u64;
        let expected = report.epochs.iter().max_by_key(|r| (accuracy(r), r.epoch)).map(|r| r.epoch);
        assert_eq!(report.best_epoch, expected);
    }
}

#[test]
fn the_model_file_holds_the_best_weights_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let device = Device::cpu();
    let (report, _, _) = run(&device, Settings { out: Some(folder.path()), ..PLAIN }).unwrap();
    let content = std::fs::read(folder.path().join("model.safetensors")).unwrap();
    let file = safetensors::SafeTensors::deserialize(&content).unwrap();
    let mut names = file.names();
    names.sort_unstable();
    assert_eq!(names, ["fc1.bias", "fc1.weight", "fc2.bias", "fc2.weight"]);

    // Another device and another seed: all comes from the file.
    let (params, device) = (Params::seeded(99), Device::cpu());
    let net = Net::new(&params);
    device.load(&params.trainable(), folder.path().join("model.safetensors")).unwrap();
    let split = split(200);
    let evaluate = |data: &Dataset| Evaluator::new(&device, &net, data).unwrap().run().unwrap();
    let test = evaluate(&split.test);
    assert_eq!(test.scores, report.test);
    let rows: u32 = test.confusion.iter().flatten().sum();
    assert_eq!((rows, test.confusion.len()), (360, 10));
    let zeros = split.test.labels().iter().filter(|&&l| l == 0).count() as u32;
    assert_eq!(test.confusion[0].iter().sum::<u32>(), zeros);
    let best = report.epochs.iter().find(|r| Some(r.epoch) == report.best_epoch).unwrap();
    assert_eq!(Some(evaluate(&split.validation).scores), best.validation);
}

/// 1,200 rows: two full batches and a short one; by hand on the host.
#[test]
fn an_evaluation_is_the_mean_over_all_rows() {
    let (train, _) = digits().unwrap();
    let params = Params::seeded(3);
    let net = Mlp::new(&params, &[64, 10]);
    let rows = 1200;
    let data = train.select("rows", &(0..rows as u32).collect::<Vec<_>>()).unwrap();
    let value = |name: &str| match params.get(name).unwrap().initial() {
        wgrad::Data::F32(v) => v.into_iter().map(f64::from).collect::<Vec<f64>>(),
        _ => panic!("not floats"),
    };
    let (weight, bias) = (value("fc1.weight"), value("fc1.bias"));
    let (mut loss, mut correct) = (0.0, 0);
    for i in 0..rows {
        let x: Vec<f64> = data.row(i).unwrap().into_iter().map(f64::from).collect();
        let logit =
            |c: usize| bias[c] + weight[c * 64..][..64].iter().zip(&x).map(|(w, x)| w * x).sum::<f64>();
        let z: Vec<f64> = (0..10).map(logit).collect();
        let label = data.labels()[i] as usize;
        loss += z.iter().map(|z| z.exp()).sum::<f64>().ln() - z[label];
        correct += usize::from((0..10).all(|c| z[c] <= z[label]));
    }
    for device in devices() {
        let mut evaluator = Evaluator::new(&device, &net, &data).unwrap();
        for _ in 0..2 {
            let result = evaluator.run().unwrap();
            assert!((result.scores.loss / (loss / rows as f64) - 1.0).abs() < 1e-5, "{device:?}: {result:?}");
            assert_eq!(result.scores.accuracy(), correct as f64 / rows as f64, "{device:?}");
        }
    }
}

/// Floats and bytes of the same numbers train to the same bits: full batches, the short one, and evaluations.
#[test]
fn floats_train_as_bytes_do() {
    let bytes = split(200);
    let as_floats = |data: &Dataset| {
        let values = data.values().to_floats().into_owned();
        Dataset::new(data.name.clone(), data.shape(), values, data.labels().to_vec(), 10).unwrap()
    };
    let floats = Split {
        train: as_floats(&bytes.train),
        validation: as_floats(&bytes.validation),
        test: as_floats(&bytes.test),
    };
    for device in devices() {
        let train = |split: &Split| {
            let params = Params::seeded(4);
            let (net, adam) = (Net::new(&params), Adam::new(&params, 3e-3));
            let trainer = Trainer::new(&device, net, &params, adam, split.clone()).epochs(2).batch(48);
            let report = trainer.run(&mut ()).unwrap();
            (losses(&report), report.test.loss.to_bits(), report.test.accuracy())
        };
        assert_eq!(train(&bytes), train(&floats), "{device:?}");
    }
}

/// The rows of a table, on every device: scaled, drawn from all classes, learnt.
#[test]
fn iris_is_learnt_from_its_training_rows() {
    for device in devices() {
        let accuracy = |seed: u64| {
            let holdout = Holdout { seed, ..Holdout::default() };
            let (split, _) = iris().unwrap().split(&TableOptions::default(), &holdout).unwrap();
            let params = Params::seeded(seed);
            let (net, adam) = (Mlp::new(&params, &[4, 32, 3]), Adam::new(&params, 5e-3));
            let trainer =
                Trainer::new(&device, net, &params, adam, split).epochs(60).batch(16).keep(Keep::Last);
            trainer.run(&mut ()).unwrap().test.accuracy()
        };
        let mut of_seeds: Vec<f64> = (1..=5).map(accuracy).collect();
        of_seeds.sort_by(f64::total_cmp);
        assert!(of_seeds[2] >= 0.93, "{device:?}: {of_seeds:?}");
    }
}

#[test]
fn the_last_batch_can_be_dropped_and_a_batch_may_be_all_rows() {
    let steps = |batch: usize, last: LastBatch| {
        let params = Params::seeded(1);
        let (net, sgd) = (Mlp::new(&params, &[64, 10]), Sgd::new(&params, 0.1));
        let trainer = Trainer::new(&Device::cpu(), net, &params, sgd, split(200));
        let report = trainer.epochs(2).batch(batch).last_batch(last).run(&mut ())?;
        // Sums over the rows seen: a loss near ln 10, an accuracy that is a share.
        assert!(report.epochs[0].train.loss < 3.0 && report.epochs[0].train.loss > 1.0);
        assert!(report.epochs.iter().all(|r| r.train.accuracy() <= 1.0));
        Ok::<usize, Error>(report.steps)
    };
    assert_eq!(steps(48, LastBatch::Drop).unwrap(), 8);
    assert_eq!(steps(50, LastBatch::Keep).unwrap(), 8);
    assert_eq!(steps(200, LastBatch::Drop).unwrap(), 2);
    assert_eq!(steps(1000, LastBatch::Keep).unwrap(), 2);
    assert!(steps(1000, LastBatch::Drop).unwrap_err().to_string().contains("smaller batch"));
    assert!(steps(0, LastBatch::Keep).unwrap_err().to_string().contains("batch of 0 rows"));
}

#[test]
fn without_validation_rows_the_last_weights_count() {
    let (train, test) = digits().unwrap();
    let params = Params::seeded(1);
    let (net, adam) = (Mlp::new(&params, &[64, 10]), Adam::new(&params, 3e-3));
    let device = Device::cpu();
    let split = Split::new(train, test.clone(), 0).unwrap();
    let trainer = Trainer::new(&device, net.clone(), &params, adam, split);
    let report = trainer.epochs(3).batch(64).run(&mut ()).unwrap();
    assert_eq!(report.best_epoch, Some(3));
    assert!(report.epochs.iter().all(|r| r.validation.is_none() && r.is_best));
    let now = Evaluator::new(&device, &net, &test).unwrap().run().unwrap();
    assert_eq!(now.scores, report.test);
}

#[test]
fn a_loss_that_is_no_number_ends_the_run_and_the_files_stay() {
    let folder = tempfile::tempdir().unwrap();
    let device = Device::cpu();
    run(&device, Settings { epochs: 1, out: Some(folder.path()), ..PLAIN }).unwrap();
    let before = std::fs::read(folder.path().join("checkpoint.safetensors")).unwrap();
    let params = Params::seeded(7);
    let net = Net::new(&params);
    let trainer = Trainer::new(&device, net, &params, Sgd::new(&params, 1e30), split(200));
    let message = trainer.epochs(3).batch(48).out(folder.path()).run(&mut ()).unwrap_err().to_string();
    assert!(message.contains("in epoch 1") && message.contains("lower the learning rate"), "{message}");
    assert_eq!(std::fs::read(folder.path().join("checkpoint.safetensors")).unwrap(), before);
}

#[test]
fn what_does_not_fit_is_said_before_training() {
    let device = Device::cpu();
    let message = |widths: &[usize], epochs: usize, resume: Option<&Path>| {
        let params = Params::seeded(1);
        let net = Mlp::new(&params, widths);
        let mut trainer =
            Trainer::new(&device, net, &params, Sgd::new(&params, 0.1), split(50)).epochs(epochs);
        if let Some(path) = resume {
            trainer = trainer.resume(path);
        }
        trainer.run(&mut ()).unwrap_err().to_string()
    };
    assert!(message(&[64, 10], 0, None).contains("0 epochs"));
    let text = message(&[64, 9], 1, None);
    assert!(text.contains("class 9") && text.contains("9 classes"), "{text}");
    let text = message(&[63, 10], 1, None);
    assert!(text.contains("matmul"), "{text}");

    let folder = tempfile::tempdir().unwrap();
    run(&device, Settings { epochs: 1, out: Some(folder.path()), ..PLAIN }).unwrap();
    let text = message(&[64, 10], 2, Some(&folder.path().join("model.safetensors")));
    assert!(text.contains("holds no training to go on with"), "{text}");
    // A checkpoint of another model, and of an epoch cut otherwise.
    let checkpoint = folder.path().join("checkpoint.safetensors");
    let text = message(&[64, 10], 2, Some(&checkpoint));
    assert!(text.contains("fc1.weight"), "{text}");
    run(&device, Settings { out: Some(folder.path()), stop_at: Some(2), ..PLAIN }).unwrap();
    let other = Settings { seed: 9, resume: Some(&checkpoint), ..PLAIN };
    let text = run(&device, other).map(|_| ()).unwrap_err().to_string();
    assert!(text.contains("in the middle of an epoch"), "{text}");
    std::fs::write(&checkpoint, b"no tensors").unwrap();
    let text = message(&[64, 10], 2, Some(&checkpoint));
    assert!(text.contains("not a safetensors file"), "{text}");
    let text = message(&[64, 10], 2, Some(&folder.path().join("absent")));
    assert!(text.contains("absent"), "{text}");
}

#[test]
fn rows_of_one_class_are_refused() {
    let text = refusal(
        |s| {
            if let Targets::Classes { labels, .. } = &mut s.train.targets {
                labels.fill(3);
            }
        },
        |t| t,
    );
    assert!(text.contains("all 50 rows have the class 3; there is nothing to tell apart"), "{text}");
}

#[test]
fn a_checkpoint_of_another_optimizer_is_told_by_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let device = Device::cpu();
    let checkpoint = folder.path().join("checkpoint.safetensors");
    let train = |make: &dyn Fn(&Params) -> Box<dyn Optimizer>, resume: bool| {
        let params = Params::seeded(7);
        let net = Net::new(&params);
        let trainer = Trainer::new(&device, net, &params, make(&params), split(100)).epochs(1).batch(48);
        let trainer = if resume { trainer.resume(&checkpoint) } else { trainer.out(folder.path()) };
        trainer.run(&mut ()).map(|_| ()).map_err(|e| e.to_string())
    };
    let adam = |p: &Params| -> Box<dyn Optimizer> { Box::new(Adam::new(p, 1e-3)) };
    let sgd = |p: &Params| -> Box<dyn Optimizer> { Box::new(Sgd::new(p, 1e-3)) };
    let momentum = |p: &Params| -> Box<dyn Optimizer> { Box::new(Sgd::new(p, 1e-3).momentum(0.9)) };
    train(&adam, false).unwrap();
    // Plain SGD has no state that could be missing.
    for other in [&sgd as &dyn Fn(&Params) -> Box<dyn Optimizer>, &momentum] {
        let text = train(other, true).unwrap_err();
        assert!(text.contains("a run with the optimizer `adam`, and this one has `sgd`"), "{text}");
        assert!(text.contains("go on with `adam`"), "{text}");
    }
    train(&adam, true).unwrap();
    train(&sgd, false).unwrap();
    let text = train(&momentum, true).unwrap_err();
    assert!(
        text.contains("has no `sgd.momentum.fc1.") && text.contains("another optimizer, momentum"),
        "{text}"
    );
}

/// Two runs in one folder: the second is refused, and changes nothing.
#[test]
fn a_folder_is_for_one_run_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let lock = wgrad::train::FolderLock::acquire(folder.path()).unwrap();
    let device = Device::cpu();
    let error =
        run(&device, Settings { epochs: 1, out: Some(folder.path()), ..PLAIN }).map(|_| ()).unwrap_err();
    assert!(matches!(error, Error::Locked { process: Some(_), .. }), "{error}");
    assert!(!folder.path().join("model.safetensors").exists());
    drop(lock);
    run(&device, Settings { epochs: 1, out: Some(folder.path()), ..PLAIN }).unwrap();
    run(&device, Settings { epochs: 1, out: Some(folder.path()), ..PLAIN }).unwrap();
}
