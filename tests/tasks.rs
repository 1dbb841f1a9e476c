//! Training for tasks other than classification: regressions, several labels, autoencoders, several inputs, and
//! objectives and metrics from outside the crate, on the CPU and on every adapter.
#![allow(missing_docs, clippy::unwrap_used)]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use common::devices;
use wgrad::data::{Dataset, Input, Split, Targets, Values, digits};
use wgrad::losses::Loss;
use wgrad::nn::{Activation, Embedding, Layer, Linear, Mlp, Sequential};
use wgrad::optim::Adam;
use wgrad::train::{
    Better, EpochRecord, Evaluator, Keep, Mae, Metric, Mse, Observer, Predictor, R2, Rmse, Scores, Sum, Task,
    Trainer, TrainingReport, model_fn, objective_fn,
};
use wgrad::{Device, Graph, Init, Params, Result, Rng, Tensor, Var};

/// `n` rows of two numbers and 3 x₀ − 2 x₁ + 1, with a little noise.
fn plane(n: usize, seed: u64) -> Dataset {
    let mut rng = Rng::new(seed, "plane");
    let x: Vec<f32> = (0..2 * n).map(|_| rng.normal() as f32).collect();
    let y =
        x.chunks(2).map(|x| 3.0 * x[0] - 2.0 * x[1] + 1.0 + 0.1 * rng.normal() as f32).collect::<Vec<_>>();
    Dataset::regression("plane/train", [2], x, [1], y).unwrap()
}

fn split(n: usize) -> Split {
    Split::new(plane(n, 1), plane(100, 2), n / 5).unwrap()
}

/// What a model makes of all rows, on the host in f64, against targets: mse, mae, R².
fn by_hand(predicted: &[f32], data: &Dataset) -> [f64; 3] {
    let target: Vec<f64> = (0..data.len()).map(|i| f64::from(data.target(i).unwrap()[0])).collect();
    let n = target.len() as f64;
    let wrong = |power: i32| {
        target.iter().zip(predicted).map(|(t, &p)| (t - f64::from(p)).abs().powi(power)).sum::<f64>() / n
    };
    let mean = target.iter().sum::<f64>() / n;
    let spread = target.iter().map(|t| (t - mean).powi(2)).sum::<f64>() / n;
    [wrong(2), wrong(1), 1.0 - wrong(2) / spread]
}

#[test]
fn a_plane_is_found_and_measured() {
    for device in devices() {
        let params = Params::seeded(3);
        let line = Linear::new(&params, 2, 1);
        let data = split(700);
        let report = Trainer::new(&device, &line, &params, Adam::new(&params, 0.05), data.clone())
            .epochs(12)
            .run(&mut ())
            .unwrap();
        let weight = device.read_param(line.weight()).unwrap();
        for (found, is) in weight.as_f32().iter().zip([3.0, -2.0]) {
            assert!((found - is).abs() < 0.05, "{device:?}: {weight:?}");
        }
        let names: Vec<&str> = report.test.metrics.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["mse", "mae", "r2"]);
        assert!(report.test.get("r2").unwrap() > 0.99);
        assert_eq!(report.epochs[11].validation.as_ref().unwrap().metrics.len(), 3);
        // The evaluator's sums are those of the predictions, over full batches and a short one.
        let mut predictor = Predictor::new(&device, &line, [2]).unwrap();
        for data in [&data.train, &data.test] {
            let scores = Evaluator::new(&device, &line, data).unwrap().run().unwrap().scores;
            let made = predictor.outputs_of(data).unwrap();
            assert_eq!(made.shape().dims(), [data.len(), 1]);
            let [mse, mae, r2] = by_hand(made.as_f32(), data);
            for (name, expected) in [("loss", mse), ("mse", mse), ("mae", mae), ("r2", r2)] {
                let found = scores.get(name).unwrap();
                assert!((found - expected).abs() < 2e-5 * (1.0 + expected), "{name}: {found} and {expected}");
            }
        }
    }
}

/// Targets may be far from 0, in another unit, or flat beside a prediction `[n, 1]`.
#[test]
fn metrics_have_units_and_shapes_are_compared() {
    let device = Device::cpu();
    let params = Params::seeded(3);
    let line = Linear::new(&params, 1, 1);
    let x: Vec<f32> = (0..50).map(|i| i as f32 / 10.0).collect();
    let y: Vec<f32> = x.iter().map(|x| 1000.0 + 2.0 * x).collect();
    let data = Dataset::regression("far", [1], x, [], y).unwrap();
    let task = Task::new(Loss::mae())
        .metric(Mse::new().unit(10.0))
        .metric(Mae::new().unit(10.0))
        .metric(Rmse::new().unit(10.0))
        .metric(R2::about(1005.0));
    assert_eq!(task.names(), ["loss", "mse", "mae", "r2", "rmse"]);
    let scores = Evaluator::with(&device, &line, &data, &task).unwrap().run().unwrap().scores;
    let made = Predictor::new(&device, &line, [1]).unwrap().outputs_of(&data).unwrap();
    let [mse, mae, r2] = by_hand(made.as_f32(), &data);
    for (name, expected) in
        [("loss", mae), ("mse", 100.0 * mse), ("mae", 10.0 * mae), ("rmse", 10.0 * mse.sqrt()), ("r2", r2)]
    {
        let found = scores.get(name).unwrap();
        assert!((found / expected - 1.0).abs() < 1e-5, "{name}: {found} and {expected}");
    }
    // Unless it is told where they lie, rather nothing than what rounding made; what fits the data is told.
    let blind = Task::new(Loss::mae()).metric(R2::new());
    assert!(
        Evaluator::with(&device, &line, &data, &blind)
            .unwrap()
            .run()
            .unwrap()
            .scores
            .get("r2")
            .unwrap()
            .is_nan()
    );
    let usual = Evaluator::new(&device, &line, &data).unwrap().run().unwrap().scores.get("r2").unwrap();
    assert!((usual / r2 - 1.0).abs() < 1e-5, "{usual} and {r2}");
    // Two numbers for each target.
    let wide = Linear::new(&params.at("wide"), 1, 2);
    let text = Evaluator::new(&device, &wide, &data).unwrap_err().to_string();
    assert!(text.contains("the model makes [50, 2], and the targets are [50]"), "{text}");
}

/// Each pixel is dark or not: 64 labels a row.
#[test]
fn several_labels_a_row() {
    for device in devices() {
        let (train, test) = digits().unwrap();
        let labels = |data: &Dataset| {
            // Whether it is even, above 4, and a 0.
            let of = |&c: &u32| [c % 2 == 0, c > 4, c == 0].map(|is| f32::from(u8::from(is)));
            let values: Vec<f32> = data.labels().iter().flat_map(of).collect();
            let targets = Targets::Values { shape: vec![3], values: values.into() };
            Dataset { targets, ..data.clone() }
        };
        let params = Params::seeded(5);
        let net = Mlp::new(&params, &[64, 32, 3]);
        let split = Split::new(labels(&train), labels(&test), 144).unwrap();
        let report = Trainer::new(&device, &net, &params, Adam::new(&params, 5e-3), split.clone())
            .objective(Loss::bce())
            .epochs(6)
            .run(&mut ())
            .unwrap();
        assert!(report.test.accuracy() > 0.9, "{device:?}: {report:?}");
        let logits = Predictor::new(&device, &net, [1, 8, 8]).unwrap().outputs_of(&split.test).unwrap();
        let right = |i: usize| {
            let (row, target) = (&logits.as_f32()[3 * i..3 * i + 3], split.test.target(i).unwrap());
            row.iter().zip(target).filter(|(z, t)| (**z > 0.0) == (*t > 0.5)).count()
        };
        let expected = (0..split.test.len()).map(right).sum::<usize>() as f64 / (3 * split.test.len()) as f64;
        assert!((report.test.accuracy() - expected).abs() < 1e-6);
    }
}

#[test]
fn an_autoencoder_gives_its_input_back() {
    for device in devices() {
        let (train, test) = digits().unwrap();
        let params = Params::seeded(6);
        let net =
            Sequential::new(&params).flatten().linear(64, 16).activation(Activation::Tanh).linear(16, 64);
        let split = Split::new(train.to_reconstruct(), test.to_reconstruct(), 100).unwrap();
        let trainer = Trainer::new(&device, net, &params, Adam::new(&params, 1e-2), split);
        let report = trainer.epochs(6).run(&mut ()).unwrap();
        assert!(report.test.get("r2").unwrap() > 0.7, "{device:?}: {report:?}");
        assert!(report.test.loss < 0.4 * report.epochs[0].train.loss);
    }
}

/// The mean of the first words of a sentence, looked up in a table: words are integers, lengths a second input.
struct Sentences {
    words: Embedding,
    head: Linear,
}

impl Sentences {
    fn predict<'g>(&self, words: Var<'g>, lengths: Var<'g>) -> Var<'g> {
        let g = words.graph();
        let rows = words.dim(0);
        let places = g.constant(Tensor::new([4], vec![0.0f32, 1.0, 2.0, 3.0]).unwrap());
        let lengths = lengths.reshape([rows, 1]);
        let counts = lengths.greater(places).reshape([rows, 4, 1]);
        let vectors = self.words.forward(words) * counts;
        self.head.forward(vectors.sum(&[1]) / lengths)
    }
}

#[test]
fn a_sequence_and_its_lengths() {
    let mut rng = Rng::new(9, "sentences");
    let n = 300;
    let words: Vec<u32> = (0..4 * n).map(|_| rng.below(10)).collect();
    let lengths: Vec<f32> = (0..n).map(|_| (1 + rng.below(4)) as f32).collect();
    // The mean of the words that count.
    let target: Vec<f32> = (0..n)
        .map(|i| {
            let count = lengths[i] as usize;
            words[4 * i..4 * i + count].iter().map(|&w| w as f32 / 5.0 - 1.0).sum::<f32>() / count as f32
        })
        .collect();
    let inputs = vec![Input::new("words", [4], Values::Indices(words)), Input::new("lengths", [], lengths)];
    let targets = Targets::Values { shape: vec![1], values: target.into() };
    let data = Dataset::from_parts("sentences/train", inputs, targets).unwrap();
    let rows = |from: u32, to: u32| data.select("rows", &(from..to).collect::<Vec<_>>()).unwrap();
    for device in devices() {
        let params = Params::seeded(2);
        let words = Embedding::with(&params.at("words"), 10, 3, Init::Normal(0.5));
        let net = Sentences { words, head: Linear::new(&params.at("head"), 3, 1) };
        let model = model_fn(|x| net.predict(x.get("words"), x.get("lengths")));
        let split = Split::new(rows(0, 250), rows(250, 300), 30).unwrap();
        let trainer = Trainer::new(&device, model, &params, Adam::new(&params, 2e-2), split.clone());
        let report = trainer.epochs(15).run(&mut ()).unwrap();
        assert!(report.test.get("r2").unwrap() > 0.95, "{device:?}: {:?}", report.test);
        let made = Predictor::of(&device, model, &split.test).unwrap().outputs_of(&split.test).unwrap();
        let [mse, ..] = by_hand(made.as_f32(), &split.test);
        assert!((report.test.loss / mse - 1.0).abs() < 1e-3);
    }
    // A layer takes one input, and names are looked up.
    let params = Params::seeded(2);
    let split = Split::new(rows(0, 250), rows(250, 300), 30).unwrap();
    let train = |model: Box<dyn wgrad::train::Model + '_>| {
        let fixed = model_fn(move |x| model.predict(x));
        let trainer = Trainer::new(&Device::cpu(), fixed, &params, Adam::new(&params, 1e-2), split.clone());
        trainer.run(&mut ()).unwrap_err().to_string()
    };
    let layer = Linear::new(&params, 4, 1);
    let text = train(Box::new(&layer));
    assert!(text.contains("a layer takes one input, and the data set has 2"), "{text}");
    let text = train(Box::new(model_fn(|x| layer.forward(x.get("sentence")))));
    assert!(text.contains("no input `sentence`; the data set has `words`, `lengths`"), "{text}");
}

/// Share of the rows that are predicted within 0.5: two sums, one of them of three numbers.
struct Near;

impl Metric for Near {
    fn name(&self) -> &str {
        "near"
    }
    fn better(&self) -> Better {
        Better::More
    }
    fn sums<'g>(&self, prediction: Var<'g>, target: Var<'g>) -> Vec<Sum<'g>> {
        let g = prediction.graph();
        let near = g.scalar(0.5).greater((prediction - target).abs());
        let ones = g.full([3], 2.0);
        vec![Sum::of(near.sum_all()), Sum::of(ones)]
    }
    fn value(&self, sums: &[Tensor], rows: usize) -> f64 {
        assert_eq!(sums[1].shape().dims(), [3]);
        f64::from(sums[0].as_f32()[0]) / rows as f64
    }
}

fn huber() -> impl wgrad::train::Objective {
    objective_fn("huber", |prediction, target| {
        let d = (prediction - target).abs();
        let small = d.minimum(d.graph().scalar(1.0));
        (small * (d - small * 0.5)).mean_all()
    })
}

struct StopAt {
    flag: Arc<AtomicBool>,
    step: usize,
}

impl Observer for StopAt {
    fn on_step(&mut self, step: usize, _: usize) {
        if step == self.step {
            self.flag.store(true, Ordering::Relaxed);
        }
    }
}

/// Stopped in the middle of an epoch and resumed, with an objective and a metric from outside.
#[test]
fn own_objectives_and_metrics_resume_to_the_same_bits() {
    for device in devices() {
        let folder = tempfile::tempdir().unwrap();
        let task = Task::new(huber()).metric(Near).metric(Mae::new());
        let train = |out: bool, resume: bool, stop: usize| -> Result<TrainingReport> {
            let params = Params::seeded(8);
            let net = Mlp::new(&params, &[2, 8, 1]);
            let flag = Arc::new(AtomicBool::new(false));
            let mut trainer = Trainer::new(&device, net, &params, Adam::new(&params, 1e-2), split(200))
                .task(task.clone())
                .choose_by("near")
                .epochs(5)
                .stop(flag.clone());
            if out {
                trainer = trainer.out(folder.path());
            }
            if resume {
                trainer = trainer.resume(folder.path().join("checkpoint.safetensors"));
            }
            trainer.run(&mut StopAt { flag, step: stop })
        };
        let whole = train(false, false, 0).unwrap();
        let near: Vec<f64> =
            whole.epochs.iter().map(|r| r.validation.as_ref().unwrap().get("near").unwrap()).collect();
        let best = (0..5).rev().max_by(|&a, &b| near[a].total_cmp(&near[b]).then(a.cmp(&b))).unwrap();
        assert_eq!(whole.best_epoch, Some(best + 1), "{near:?}");
        // 160 rows are five steps an epoch.
        for stop in [8, 15] {
            assert!(train(true, false, stop).unwrap().stopped);
            let rest = train(true, true, 0).unwrap();
            assert_eq!(rest.test, whole.test, "{device:?}");
            assert_eq!(rest.best_epoch, whole.best_epoch);
            let scores = |r: &EpochRecord| (r.train.clone(), r.validation.clone());
            let tail: Vec<(Scores, Option<Scores>)> = whole.epochs[stop / 5..].iter().map(scores).collect();
            assert_eq!(rest.epochs.iter().map(scores).collect::<Vec<_>>(), tail, "{device:?}");
        }
    }
}

#[test]
fn what_is_chosen_by_is_measured() {
    let train = |task: Task, by: Option<&str>, change: &dyn Fn(Trainer<'_>) -> Trainer<'_>| {
        let params = Params::seeded(8);
        let net = Mlp::new(&params, &[2, 8, 1]);
        let device = Device::cpu();
        let trainer = Trainer::new(&device, net, &params, Adam::new(&params, 1e-2), split(200)).task(task);
        let trainer = match by {
            Some(name) => trainer.choose_by(name),
            None => trainer,
        };
        change(trainer.epochs(4)).run(&mut ()).map_err(|e| e.to_string())
    };
    let text = train(Task::new(Loss::mse()), Some("rmse"), &|t| t).unwrap_err();
    assert!(text.contains("`rmse` is not measured; there is loss, mse, mae, r2"), "{text}");
    struct NamedLoss;
    impl Metric for NamedLoss {
        fn name(&self) -> &str {
            "loss"
        }
        fn better(&self) -> Better {
            Better::Less
        }
        fn sums<'g>(&self, _: Var<'g>, _: Var<'g>) -> Vec<Sum<'g>> {
            Vec::new()
        }
        fn value(&self, _: &[Tensor], _: usize) -> f64 {
            0.0
        }
    }
    let text = train(Task::new(Loss::mse()).metric(NamedLoss), None, &|t| t).unwrap_err();
    assert!(text.contains("a metric is called `loss`"), "{text}");
    let rows = objective_fn("rows", |prediction, target| (prediction - target).square());
    let text = train(Task::new(rows), None, &|t| t).unwrap_err();
    assert!(text.contains("the objective `rows` gives [32, 1]; a loss is one number"), "{text}");
    // A learning rate of nothing makes nothing better, so that patience ends the run.
    let report =
        train(Task::new(Loss::mse()), Some("r2"), &|t| t.early_stopping(2).schedule(|_, _| 0.0)).unwrap();
    assert_eq!((report.epochs.len(), report.stopped_early), (3, true));
    let report = train(Task::new(Loss::mse()).without_metrics(), None, &|t| t.keep(Keep::Last)).unwrap();
    assert!(report.test.metrics.is_empty() && report.test.accuracy().is_nan());
}

/// Inputs and targets that are larger than a tensor may be are fed in pieces, to the same bits.
#[test]
#[cfg(feature = "gpu")]
fn several_tensors_are_fed_in_pieces_to_the_same_bits() {
    let Some(gpu) = common::gpu() else { return };
    let both = |data: &Dataset| {
        let mut inputs = data.inputs.clone();
        inputs.push(Input::new("row", [], (0..data.len()).map(|i| (i % 7) as f32).collect::<Vec<_>>()));
        Dataset { inputs, ..data.clone() }
    };
    let train = |bytes: u64| {
        let device = Device::from(gpu.with_largest_tensor(bytes));
        let params = Params::seeded(4);
        let (line, shift) = (Linear::new(&params, 2, 1), Linear::new(&params.at("shift"), 1, 1));
        let model = model_fn(|x| {
            let row = x.get("row");
            line.forward(x.get("x")) + shift.forward(row.reshape([row.dim(0), 1]))
        });
        let data = split(5003);
        let split =
            Split { train: both(&data.train), validation: both(&data.validation), test: both(&data.test) };
        let report = Trainer::new(&device, model, &params, Adam::new(&params, 1e-2), split)
            .epochs(2)
            .batch(64)
            .run(&mut ())
            .unwrap();
        report.epochs.iter().map(|r| r.train.clone()).collect::<Vec<_>>()
    };
    // 4,003 rows of two numbers have 32,024 bytes: 31 batches of 512 fit 16,000, and 19 fit 10,000.
    let whole = train(1 << 20);
    assert_eq!(train(16_000), whole);
    assert_eq!(train(10_000), whole);
}

/// What measuring costs of a step.
#[test]
#[cfg(feature = "gpu")]
fn a_regression_adds_few_launches() {
    let Some(gpu) = common::gpu() else { return };
    let device = Device::from(gpu);
    let params = Params::seeded(1);
    let net = Linear::new(&params, 2, 1);
    let g = Graph::new();
    let (x, y) = (g.input("x", [32, 2]), g.input("y", [32, 1]));
    let made = net.forward(x);
    wgrad::optim::Optimizer::minimize(
        &Adam::new(&params, 1e-2),
        wgrad::losses::mse(made, y),
        &params.trainable(),
    );
    let alone = device.compile(&g).unwrap().dispatches();
    let profile = Trainer::new(&device, &net, &params, Adam::new(&params, 1e-2), split(200)).profile(1, None);
    let launches = profile.unwrap().launches.len();
    // Rows, targets, a counter, the targets about their center, and six sums with what they are of.
    assert!(launches <= alone + 19, "{launches} launches, {alone} of the step alone");
}

/// Several numbers of a target each have their own mean, far from the others'.
#[test]
fn r2_of_several_numbers_is_that_of_scikit_learn() {
    // sklearn.metrics.r2_score(t, p, multioutput="variance_weighted") of the same numbers, by its definition in f64.
    let rows = 40;
    let t: Vec<[f64; 2]> = (0..rows).map(|i| [f64::from(i % 7), 5000.0 + f64::from(i % 5)]).collect();
    let x: Vec<f32> = t.iter().flat_map(|t| [t[0] as f32 * 0.5, (t[1] - 5000.0) as f32 * 0.25]).collect();
    let y: Vec<f32> = t.iter().flatten().map(|&t| t as f32).collect();
    let data = Dataset::regression("two", [2], x.clone(), [2], y).unwrap();
    let model = wgrad::train::model_fn(|inputs| {
        let x = inputs.only();
        let far = x.graph().constant(wgrad::Tensor::new([2], vec![0.0f32, 5000.0]).unwrap());
        x + far
    });
    let mean = |k: usize| t.iter().map(|t| t[k]).sum::<f64>() / f64::from(rows);
    let means = [mean(0), mean(1)];
    let (mut wrong, mut spread) = (0.0, 0.0);
    for (t, x) in t.iter().zip(x.chunks(2)) {
        for k in 0..2 {
            let p = f64::from(x[k]) + [0.0, 5000.0][k];
            wrong += (t[k] - p).powi(2);
            spread += (t[k] - means[k]).powi(2);
        }
    }
    for device in devices() {
        let scores = Evaluator::new(&device, model, &data).unwrap().run().unwrap().scores;
        let found = scores.get("r2").unwrap();
        assert!(
            (found - (1.0 - wrong / spread)).abs() < 1e-4,
            "{device:?}: {found} and {}",
            1.0 - wrong / spread
        );
    }
}
