//! Runs that are stopped, files that contradict themselves, and what is looked at before the first step.

use std::collections::HashMap;

use wgrad::Shape;
use wgrad::train::{Better, Metric, Predictor, Sum, Task, model_fn};

use super::*;

fn message<T>(result: Result<T>) -> String {
    result.map(|_| ()).unwrap_err().to_string()
}

/// A flag that is up before the first step: whatever lies in the folder stays.
#[test]
fn a_run_without_a_step_writes_no_checkpoint() {
    for device in devices() {
        let folder = tempfile::tempdir().unwrap();
        let (out, checkpoint) = (Some(folder.path()), folder.path().join("checkpoint.safetensors"));
        let (whole, _, expected) = run(&device, PLAIN).unwrap();
        run(&device, Settings { out, stop_at: Some(13), ..PLAIN }).unwrap();
        let middle = std::fs::read(&checkpoint).unwrap();
        let resumed = Settings { out, resume: Some(&checkpoint), ..PLAIN };
        let (report, ..) = run(&device, Settings { stop_at: Some(0), ..resumed }).unwrap();
        assert_eq!((report.steps, report.stopped), (0, true));
        assert_eq!(std::fs::read(&checkpoint).unwrap(), middle);
        // The sums of the epoch that it stands in are kept, and so are its loss and accuracy.
        let (rest, _, states) = run(&device, resumed).unwrap();
        assert_eq!((losses(&rest), states), (losses(&whole)[2..].to_vec(), expected), "{device:?}");
        let accuracies = |r: &TrainingReport| r.epochs.iter().map(|r| r.train.accuracy()).collect::<Vec<_>>();
        assert_eq!(accuracies(&rest), accuracies(&whole)[2..]);
        // Another run in the folder of a finished one.
        let finished = std::fs::read(&checkpoint).unwrap();
        let (report, ..) = run(&device, Settings { out, seed: 8, stop_at: Some(0), ..PLAIN }).unwrap();
        assert_eq!((report.best_epoch, report.steps_after_epoch), (None, 0));
        assert_eq!(std::fs::read(&checkpoint).unwrap(), finished);
    }
}

/// Where nothing is compared, what is tested and saved is what the stop left, and the report says so.
#[test]
fn steps_after_the_last_epoch_are_counted_where_their_weights_are_kept() {
    let device = Device::cpu();
    for (keep, after) in [(Keep::Last, 3), (Keep::Best, 0)] {
        let folder = tempfile::tempdir().unwrap();
        let settings = Settings { out: Some(folder.path()), stop_at: Some(13), keep, ..PLAIN };
        let (report, ..) = run(&device, settings).unwrap();
        assert!(report.best_epoch <= Some(2) && report.best_epoch >= Some(1));
        assert_eq!(report.steps_after_epoch, after);
        let params = Params::seeded(7);
        let net = Net::new(&params);
        device.load(&params.trainable(), folder.path().join("model.safetensors")).unwrap();
        let test = Evaluator::new(&device, &net, &split(200).test).unwrap().run().unwrap();
        assert_eq!(test.scores, report.test);
    }
    let (report, ..) = run(&device, Settings { stop_at: Some(2), ..PLAIN }).unwrap();
    assert_eq!((report.best_epoch, report.steps_after_epoch), (None, 2));
}

/// A number that the validation rows give no value in the first epochs.
struct Late;

impl Metric for Late {
    fn name(&self) -> &str {
        "late"
    }
    fn better(&self) -> Better {
        Better::Less
    }
    fn sums<'g>(&self, prediction: Var<'g>, target: Var<'g>) -> Vec<Sum<'g>> {
        vec![Sum::of(prediction.softmax_cross_entropy(target).reshape(Shape::scalar()))]
    }
    fn value(&self, sums: &[wgrad::Tensor], _: usize) -> f64 {
        let loss = f64::from(sums[0].as_f32()[0]);
        if loss > 2.0 { f64::NAN } else { loss }
    }
}

#[test]
fn no_number_is_not_the_best_one() {
    let params = Params::seeded(7);
    let (net, adam) = (Net::new(&params), Adam::new(&params, 3e-3));
    let task = Task::of(&split(200).train).metric(Late);
    let trainer = Trainer::new(&Device::cpu(), net, &params, adam, split(200)).task(task).choose_by("late");
    let report = trainer.epochs(12).batch(48).run(&mut ()).unwrap();
    let late = |r: &EpochRecord| r.validation.as_ref().unwrap().get("late").unwrap();
    assert!(late(&report.epochs[0]).is_nan() && !late(&report.epochs[11]).is_nan());
    let best = &report.epochs[report.best_epoch.unwrap() - 1];
    assert!(report.epochs.iter().all(|r| late(r).is_nan() || late(best) <= late(r)), "{report:?}");
}

/// A second optimizer over the states of a first one, whose schedule ended at a rate of 0.
#[test]
fn a_run_starts_at_the_rate_of_its_optimizer() {
    for device in devices() {
        let train = |first: bool| {
            let params = Params::seeded(7);
            let net = Mlp::new(&params, &[64, 10]);
            let run = |schedule: fn(usize, usize) -> f32| {
                let trainer =
                    Trainer::new(&device, &net, &params, Sgd::new(&params, 0.1), split(100)).epochs(1);
                trainer.schedule(schedule).run(&mut ()).unwrap();
            };
            if first {
                run(|_, _| 0.0);
            }
            let trainer = Trainer::new(&device, &net, &params, Sgd::new(&params, 0.1), split(100));
            losses(&trainer.epochs(2).run(&mut ()).unwrap())
        };
        assert_eq!(train(true), train(false), "{device:?}");
    }
}

#[test]
fn test_rows_are_looked_at_before_the_first_step() {
    struct Steps;
    impl Observer for Steps {
        fn on_step(&mut self, step: usize, _: usize) {
            panic!("step {step} was done");
        }
    }
    let refused = |change: &dyn Fn(&mut Split), by_name: bool| {
        let params = Params::seeded(1);
        let (net, sgd) = (Mlp::new(&params, &[64, 10]), Sgd::new(&params, 0.1));
        let mut split = split(50);
        change(&mut split);
        let net = model_fn(move |x| net.forward(if by_name { x.get("x") } else { x.only() }));
        message(Trainer::new(&Device::cpu(), net, &params, sgd, split).run(&mut Steps))
    };
    let none = refused(&|s| s.test = s.test.select("no digits", &[]).unwrap(), false);
    assert!(none.contains("data set `no digits` has no rows to test on"), "{none}");
    let renamed = refused(&|s| s.test.inputs[0].name = "pixels".into(), true);
    assert!(renamed.contains("`x` [1, 8, 8] of") && renamed.contains("`pixels` [1, 8, 8] of"), "{renamed}");
    let scaled = refused(&|s| s.test = s.test.clone().with_scale(1.0).unwrap(), false);
    assert!(scaled.contains("differ"), "{scaled}");
    let numbers = |s: &mut Split| {
        s.test.targets = Targets::Values { shape: vec![1], values: vec![0.5; s.test.len()].into() };
    };
    assert!(refused(&numbers, false).contains("10 classes and targets [1] of floats"));
}

/// The metadata of a checkpoint with some of it replaced.
fn rewritten(from: &Path, to: &Path, changes: &[(&str, &str)]) {
    let content = std::fs::read(from).unwrap();
    let (_, header) = safetensors::SafeTensors::read_metadata(&content).unwrap();
    let mut metadata: HashMap<String, String> = header.metadata().clone().unwrap();
    metadata.extend(changes.iter().map(|(key, value)| (key.to_string(), value.to_string())));
    let file = safetensors::SafeTensors::deserialize(&content).unwrap();
    let bytes = safetensors::serialize(file.tensors(), Some(metadata)).unwrap();
    std::fs::write(to, bytes).unwrap();
}

#[test]
fn a_checkpoint_that_contradicts_itself_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let device = Device::cpu();
    run(&device, Settings { out: Some(folder.path()), stop_at: Some(13), ..PLAIN }).unwrap();
    let (whole, crafted) = (folder.path().join("checkpoint.safetensors"), folder.path().join("crafted"));
    let resume = |changes: &[(&str, &str)], keep: Keep| {
        rewritten(&whole, &crafted, changes);
        run(&device, Settings { resume: Some(&crafted), keep, ..PLAIN })
    };
    assert!(resume(&[], Keep::Best).is_ok());
    for (key, value, part) in [
        ("epochs", "18446744073709551615", "18446744073709551615 epochs"),
        ("epochs", "18446744073709551616", "out of range"),
        ("epochs", "3", "records of 2 epochs, and 3 are done"),
        ("epochs", "1", "the best of 1 epochs is number 2"),
        ("since_lowest", "18446744073709551615", "epochs of 2 since the best"),
        ("lowest_loss", "NaN", "since the best number, NaN"),
        ("best_epoch", "7", "the best of 2 epochs is number 7"),
        ("best_epoch", "0", "is number 0"),
        ("step", "18446744073709551615", "stands at step"),
        ("records", "[]", "records of 0 epochs"),
    ] {
        let said =
            resume(&[(key, value)], Keep::Best).map(|_| String::new()).unwrap_or_else(|e| e.to_string());
        // A file without records is one of an earlier version.
        assert!(said.contains(part) || (key, value) == ("records", "[]"), "{key} {value}: {said}");
    }
    // Nothing is asked of what is not kept.
    assert!(resume(&[("best_epoch", "7")], Keep::Last).is_ok());
}

#[test]
fn names_that_a_checkpoint_could_not_tell_apart_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let train = |path: &str, save: bool| {
        let params = Params::seeded(1);
        let (net, sgd) = (Mlp::new(&params.at(path), &[64, 10]), Sgd::new(&params, 0.1));
        let trainer = Trainer::new(&Device::cpu(), net, &params, sgd, split(50)).epochs(1);
        if save { trainer.out(folder.path()) } else { trainer }.run(&mut ()).map(|_| ())
    };
    let text = message(train("best", true));
    assert!(text.contains("under names that begin with `best.`, as `best.fc1.weight` does"), "{text}");
    train("best", false).unwrap();
    train("bester", true).unwrap();
}

/// A metric called as a key of the file.
struct Epoch;

impl Metric for Epoch {
    fn name(&self) -> &str {
        "epoch"
    }
    fn better(&self) -> Better {
        Better::Less
    }
    fn sums<'g>(&self, prediction: Var<'g>, target: Var<'g>) -> Vec<Sum<'g>> {
        vec![Sum::of_mean(prediction.softmax_cross_entropy(target), target.dim(0))]
    }
    fn value(&self, sums: &[wgrad::Tensor], rows: usize) -> f64 {
        f64::from(sums[0].as_f32()[0]) / rows as f64
    }
}

#[test]
fn a_metric_may_be_called_as_a_key_of_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let train = |epochs: usize, resume: bool| {
        let params = Params::seeded(7);
        let (net, adam) = (Net::new(&params), Adam::new(&params, 3e-3));
        let task = Task::of(&split(50).train).metric(Epoch);
        let trainer = Trainer::new(&Device::cpu(), net, &params, adam, split(100)).task(task);
        let trainer = trainer.choose_by("epoch").epochs(epochs).out(folder.path());
        let checkpoint = folder.path().join("checkpoint.safetensors");
        let report = if resume { trainer.resume(checkpoint) } else { trainer }.run(&mut ()).unwrap();
        (report.best_epoch, report.test)
    };
    let whole = train(4, false);
    train(2, false);
    assert_eq!(train(4, true), whole);
}

/// Bytes and floats are one to a predictor, whichever it was made for.
#[test]
fn a_predictor_takes_bytes_and_floats() {
    let params = Params::seeded(3);
    let net = Mlp::new(&params, &[64, 10]);
    let (_, test) = digits().unwrap();
    let bytes = test.select("some", &[3, 1, 4, 1, 5]).unwrap();
    let floats: Vec<f32> = (0..5).flat_map(|i| bytes.row(i).unwrap()).collect();
    let mut as_floats = bytes.clone();
    as_floats.inputs = vec![Input::new("pixels", [1, 8, 8], floats.clone())];
    for device in devices() {
        let make = |data: &Dataset| Predictor::of(&device, &net, data).unwrap();
        let by_shape = Predictor::new(&device, &net, [1, 8, 8]).unwrap();
        for mut predictor in [make(&bytes), make(&as_floats), by_shape] {
            let expected = predictor.outputs(&floats).unwrap();
            assert_eq!(predictor.outputs_of(&bytes).unwrap(), expected);
            assert_eq!(predictor.outputs_of(&as_floats).unwrap(), expected);
            let none = bytes.select("none", &[]).unwrap();
            assert!(message(predictor.predict_dataset(&none)).contains("there are no rows"));
            assert!(message(predictor.outputs(&[])).contains("0 values are no rows"));
        }
    }
    let words = Input::new("x", [3], wgrad::data::Values::Indices(vec![1, 2, 3]));
    let words = Dataset::from_parts("words", vec![words], Targets::Input).unwrap();
    let table = Params::seeded(1).param("table", [9, 4], wgrad::Init::HeUniform);
    let rows = model_fn(move |x| {
        let words = x.only();
        words
            .graph()
            .param(&table)
            .take_rows(words.reshape([words.shape().elements()]))
            .reshape([words.dim(0), 12])
    });
    let mut predictor = Predictor::of(&Device::cpu(), rows, &words).unwrap();
    assert_eq!(predictor.outputs_of(&words).unwrap().shape().dims(), [1, 12]);
    assert!(message(predictor.outputs(&[1.0, 2.0, 3.0])).contains("give rows of them as a data set"));
    assert!(message(predictor.outputs_of(&bytes)).contains("`x` [3] of indices; those of data set `some`"));
}
