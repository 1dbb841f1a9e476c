//! Losses as objectives: every one that fits trains a classifier of the digits or a regression, and says which targets it
//! does not take.
#![allow(missing_docs, clippy::unwrap_used)]

#[cfg(feature = "gpu")]
#[path = "../common/mod.rs"]
mod common;
mod ctc;

use std::sync::Arc;

use wgrad::data::{Dataset, Split, Targets, digits};
use wgrad::losses::{Adaptive, Loss, NAMES};
use wgrad::nn::{Layer, Linear, Mlp};
use wgrad::optim::{Adam, Optimizer};
use wgrad::train::{InUnit, Keep, Objective, Task, Trainer};
use wgrad::{CompileOptions, Data, Device, Graph, Params, Rng};

/// 600 digits to train on and 150 to validate with.
fn some_digits() -> Split {
    let (train, test) = digits().unwrap();
    let rows: Vec<u32> = (0..750).collect();
    Split::new(train.select("some digits", &rows).unwrap(), test, 150).unwrap()
}

/// The validation accuracy after a few epochs.
fn accuracy(split: &Split, rate: f32, epochs: usize, task: impl Fn(&Params) -> Task) -> f64 {
    let params = Params::seeded(3);
    let net = Mlp::new(&params, &[64, 32, 10]);
    let task = task(&params);
    let adam = Adam::new(&params, rate);
    let trainer = Trainer::new(&Device::cpu(), net, &params, adam, split.clone()).epochs(epochs);
    let report = trainer.keep(Keep::Last).task(task).run(&mut ()).unwrap();
    report.epochs.last().unwrap().validation.as_ref().unwrap().accuracy()
}

/// Losses whose targets are no classes, with why.
const NOT_OF_CLASSES: [(&str, &str); 2] = [
    ("mape", "its targets are classes, and the loss `mape` takes numbers that are not 0"),
    ("kl-log-target", "takes logarithms of probabilities"),
];

#[test]
fn every_loss_that_fits_classes_trains_a_classifier() {
    let split = some_digits();
    let usual = Task::of(&split.train);
    for (name, _) in NAMES {
        // One that keeps away from its target teaches nothing.
        if NOT_OF_CLASSES.iter().any(|(other, _)| *other == name) || name == "variable-power" {
            continue;
        }
        let loss: Loss = name.parse().unwrap();
        let found = accuracy(&split, 0.01, 12, |_| usual.clone().minimizing(loss.clone()));
        println!("{name}: {found:.3}");
        assert!(found > 0.8, "{name}: {found}");
    }
    let found =
        accuracy(&split, 0.01, 12, |params| usual.clone().minimizing(Adaptive::new(&params.at("loss"), 10)));
    println!("adaptive: {found:.3}");
    assert!(found > 0.8, "adaptive: {found}");
    let options = Loss::cross_entropy().label_smoothing(0.1).class_weights(vec![1.5; 10]);
    let found = accuracy(&split, 0.01, 12, |_| usual.clone().minimizing(options.clone()));
    assert!(found > 0.8, "with options: {found}");
}

/// The same bits as the objective that is usual.
#[test]
fn the_usual_loss_by_name_is_the_usual_loss() {
    let split = some_digits();
    let usual = accuracy(&split, 0.01, 3, |_| Task::of(&split.train));
    let named = accuracy(&split, 0.01, 3, |_| Task::of(&split.train).minimizing(Loss::cross_entropy()));
    assert_eq!(usual.to_bits(), named.to_bits());
}

/// Rows of two numbers, and 20 + 3 x₀ - 2 x₁ with a little noise, times `size`.
fn plane(rows: usize, seed: u64, size: f32, mean: f32) -> Dataset {
    let mut rng = Rng::new(seed, "plane");
    let x: Vec<f32> = (0..2 * rows).map(|_| rng.normal() as f32).collect();
    let y = x.chunks(2).map(|x| (20.0 + 3.0 * x[0] - 2.0 * x[1] + 0.05 * rng.normal() as f32 - mean) / size);
    let y: Vec<f32> = y.collect();
    Dataset::regression("plane", [2], x, [1], y).unwrap()
}

/// R² of the test rows.
fn r2(split: &Split, task: impl Fn(&Params) -> Task) -> f64 {
    let params = Params::seeded(3);
    let line = Linear::new(&params, 2, 1);
    let task = task(&params);
    let adam = Adam::new(&params, 0.05);
    let trainer = Trainer::new(&Device::cpu(), line, &params, adam, split.clone()).epochs(60);
    trainer.keep(Keep::Last).task(task).run(&mut ()).unwrap().test.get("r2").unwrap()
}

const OF_NUMBERS: [&str; 11] = [
    "mse",
    "mae",
    "msle",
    "mape",
    "huber",
    "smooth-l1",
    "log-cosh",
    "quantile",
    "robust",
    "robust=1.5,2",
    "poisson-nll",
];

#[test]
fn every_loss_of_numbers_finds_a_plane() {
    // As a table's targets are scaled: the mean is 20, the deviation 3.6.
    let (mean, size) = (20.0, 3.6);
    let split = Split::new(plane(300, 1, size, mean), plane(100, 2, size, mean), 0).unwrap();
    for name in OF_NUMBERS {
        let loss: Loss = name.parse().unwrap();
        let found = r2(&split, |_| {
            Task::of(&split.train).minimizing(InUnit::new(loss.clone(), mean.into(), size.into()))
        });
        println!("{name}: {found:.4}");
        assert!(found > 0.97, "{name}: {found}");
    }
    let found = r2(&split, |params| Task::of(&split.train).minimizing(Adaptive::new(&params.at("loss"), 1)));
    assert!(found > 0.97, "adaptive: {found}");
}

/// A loss is an objective on its own, and brings what is measured.
#[test]
fn a_loss_is_an_objective() {
    let split = Split::new(plane(200, 1, 1.0, 20.0), plane(50, 2, 1.0, 20.0), 0).unwrap();
    assert!(r2(&split, |_| Task::new(Loss::huber(1.0))) > 0.97);
    assert_eq!(Task::new(Loss::focal(2.0)).names(), ["loss", "accuracy"]);
    assert_eq!(Task::new(Loss::bce()).names(), ["loss", "accuracy"]);
    assert_eq!(Task::new(Loss::dice(1.0)).names(), ["loss"]);
}

/// A quantile of 0.9 lies above nine tenths of the rows.
#[test]
fn a_quantile_lies_above_its_share() {
    let mut rng = Rng::new(5, "noise");
    let rows = 400;
    let x: Vec<f32> = (0..rows).map(|i| (i % 2) as f32).collect();
    let y: Vec<f32> = x.iter().map(|x| x + rng.normal() as f32).collect();
    let data = Dataset::regression("noise", [1], x.clone(), [1], y.clone()).unwrap();
    let params = Params::seeded(3);
    let line = Linear::new(&params, 1, 1);
    let device = Device::cpu();
    let split = Split::new(data.clone(), data, 0).unwrap();
    let adam = Adam::new(&params, 0.02);
    let task = Task::of(&split.train).minimizing(Loss::quantile(0.9));
    let trainer = Trainer::new(&device, &line, &params, adam, split).epochs(80).task(task);
    trainer.keep(Keep::Last).schedule(|epoch, of| 1.0 - epoch as f32 / of as f32).run(&mut ()).unwrap();
    let (weight, bias) =
        (device.read_param(line.weight()).unwrap(), device.read_param(line.bias().unwrap()).unwrap());
    let said = |x: f32| weight.as_f32()[0] * x + bias.as_f32()[0];
    let below = x.iter().zip(&y).filter(|(x, y)| **y < said(**x)).count();
    assert!((340..=380).contains(&below), "{below} of {rows}");
}

#[test]
fn targets_that_a_loss_does_not_take_are_named_with_their_row() {
    let refusal =
        |data: &Dataset, objective: Arc<dyn Objective>| objective.check(data).unwrap_err().to_string();
    let of = |name: &str| -> Arc<dyn Objective> { Arc::new(name.parse::<Loss>().unwrap()) };
    let values = |y: &[f32]| Dataset::regression("some", [1], vec![0.0; y.len()], [1], y.to_vec()).unwrap();
    let text = refusal(&values(&[1.0, -1.0, 0.0]), of("hinge"));
    assert!(
        text.contains("data set `some`: row 2 has the target 0, and the loss `hinge` takes -1 or 1"),
        "{text}"
    );
    assert!(of("hinge").check(&values(&[1.0, -1.0])).is_ok());
    let text = refusal(&values(&[0.5, 1.5]), of("bce"));
    assert!(
        text.contains("row 1 has the target 1.5, and the loss `bce` takes numbers between 0 and 1"),
        "{text}"
    );
    let text = refusal(&values(&[0.5, -1.5]), of("msle"));
    assert!(text.contains("row 1 has the target -1.5") && text.contains("from 0 up"), "{text}");
    assert!(refusal(&values(&[0.5]), of("focal")).contains("takes class numbers"));
    assert!(refusal(&values(&[0.5]), of("cosine-similarity")).contains("compares directions"));
    // In the unit of the target.
    let in_unit =
        |name: &str| -> Arc<dyn Objective> { Arc::new(InUnit::new(name.parse().unwrap(), 2.0, 4.0)) };
    let text = refusal(&values(&[-0.5, 0.0, -0.75]), in_unit("poisson-nll"));
    assert!(text.contains("row 2 has the target -1,"), "{text}");
    assert!(in_unit("msle").check(&values(&[-0.5])).is_ok());
    assert!(refusal(&values(&[-0.5]), in_unit("mape")).contains("numbers that are not 0"));
    assert!(in_unit("huber").check(&values(&[-5.0])).is_ok());
    let (digits, _) = digits().unwrap();
    for (name, why) in NOT_OF_CLASSES {
        let text = refusal(&digits, of(name));
        assert!(text.contains(why), "{text}");
    }
    // The trainer asks before its first step.
    let params = Params::seeded(1);
    let split = some_digits();
    let net = Mlp::new(&params, &[64, 10]);
    let adam = Adam::new(&params, 0.01);
    let trainer = Trainer::new(&Device::cpu(), net, &params, adam, split.clone());
    let text = trainer.objective(Loss::mape()).run(&mut ()).unwrap_err().to_string();
    assert!(text.contains("the loss `mape`"), "{text}");
    assert!(matches!(split.train.targets, Targets::Classes { .. }));
}

/// The program.
#[cfg(feature = "cli")]
#[path = "../common/program.rs"]
mod program;

#[cfg(feature = "cli")]
mod of_the_program {
    use super::program::on_cpu::{objects, refused, text, wgrad};
    use std::path::Path;

    /// The last object that a run prints.
    fn run(folder: &Path, more: &[&str]) -> serde_json::Value {
        let usual = ["train", "--data", "iris", "--epochs", "15", "--no-pictures"];
        objects(folder, &[&usual, more].concat()).pop().unwrap()
    }

    #[test]
    fn a_loss_is_kept_with_the_model() {
        let folder = tempfile::tempdir().unwrap();
        let here = folder.path();
        let args = ["--loss", "focal=1.5", "--class-weights", "balanced"];
        let trained = run(here, &args);
        assert_eq!(trained["loss"], "focal=1.5");
        assert_eq!(trained["class_weights"].as_array().unwrap().len(), 3);
        let tested = objects(here, &["eval"]).pop().unwrap();
        assert_eq!(
            (&tested["test_loss"], &tested["test_accuracy"]),
            (&trained["test_loss"], &trained["test_accuracy"])
        );
        let resumed = run(here, &["--resume"]);
        assert_eq!(
            (&resumed["loss"], &resumed["class_weights"]),
            (&trained["loss"], &trained["class_weights"])
        );
        // The default says nothing of a loss.
        assert!(run(here, &["--out", "plain"]).get("loss").is_none());
        let smoothed = run(here, &["--out", "smooth", "--label-smoothing", "0.1"]);
        assert_eq!(smoothed["label_smoothing"], 0.1);
    }

    #[test]
    fn what_the_adaptive_loss_learns_is_saved() {
        let folder = tempfile::tempdir().unwrap();
        let here = folder.path();
        let trained = run(here, &["--loss", "adaptive"]);
        let tested = objects(here, &["eval"]).pop().unwrap();
        assert_eq!(tested["test_loss"], trained["test_loss"]);
        let resumed = run(here, &["--resume"]);
        assert_eq!(resumed["loss"], "adaptive");
        assert!(wgrad(here, &["predict", "--rows", "0..3"]).status.success());
    }

    #[test]
    fn numbers_of_a_table_are_compared_in_their_unit() {
        let folder = tempfile::tempdir().unwrap();
        let here = folder.path();
        let row = |i: usize| format!("{},{}\n", i % 40, 1000 + 25 * (i % 40) + i % 3);
        let rows: String = (0..160).map(row).collect();
        std::fs::write(here.join("prices.csv"), format!("area,price\n{rows}")).unwrap();
        let train = |loss: &str| {
            let args =
                ["train", "--data", "prices.csv", "--task", "regression", "--epochs", "60", "--lr", "0.01"];
            let more = ["--target", "price", "--loss", loss, "--no-pictures"];
            objects(here, &[&args[..], &more].concat()).pop().unwrap()
        };
        for loss in
            ["huber", "mape", "msle", "poisson-nll", "log-cosh", "quantile=0.5", "adaptive", "robust=0,0.5"]
        {
            let result = train(loss);
            assert!(result["test_r2"].as_f64().unwrap() > 0.9, "{loss}: {result}");
            let tested = objects(here, &["eval"]).pop().unwrap();
            assert_eq!(tested["test_loss"], result["test_loss"], "{loss}");
        }
        let weighted = ["train", "--data", "prices.csv", "--target", "price", "--class-weights", "balanced"];
        let weighted = [&weighted[..], &["--task", "regression"]].concat();
        refused(here, &weighted, 2, "--class-weights is for classes");
        // It is at least 1, where the error is, so that nothing is learnt; but it is finite, and a name like others.
        let away = train("variable-power");
        assert!(away["test_loss"].as_f64().unwrap() >= 1.0, "{away}");
        assert_eq!(away["loss"], "variable-power=1");
        // Percents: of prices from 1000 up, not of scaled ones around 0.
        assert!(train("mape")["test_loss"].as_f64().unwrap() < 10.0);
        let hinge =
            ["train", "--data", "prices.csv", "--task", "regression", "--target", "price", "--loss", "hinge"];
        refused(here, &hinge, 1, "the loss `hinge` takes -1 or 1");
    }

    #[test]
    fn a_wrong_loss_is_told_what_there_is() {
        let folder = tempfile::tempdir().unwrap();
        let here = folder.path();
        let train = |args: &[&str], words: &str| {
            let args = [&["train", "--data", "iris"], args].concat();
            let output = wgrad(here, &args);
            let text = text(&output);
            assert!(
                !output.status.success() && text.contains(words) && !text.contains("panicked"),
                "{args:?}: {text}"
            );
        };
        train(&["--loss", "hubber"], "did you mean `huber`?");
        train(&["--loss", "xyz"], "adaptive");
        train(&["--loss", "huber=-1"], "delta is -1");
        train(&["--loss", "mape"], "the loss `mape` takes numbers that are not 0");
        train(&["--class-weights", "1,2"], "2 class weights for 3 classes");
        train(&["--class-weights", "1,x,2"], "`x` is no number");
        train(&["--loss", "huber", "--label-smoothing", "0.1"], "no label smoothing in this loss");
    }
}
