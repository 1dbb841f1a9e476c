//! Texts: models of what comes next, carried states, resuming, and writing on.
#![allow(missing_docs, clippy::unwrap_used)]

mod common;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use common::devices;
use wgrad::data::{Dataset, Input, Reading, Split, Targets, Text, TextParts, Unit, Values, alice};
use wgrad::losses::Loss;
use wgrad::nn::{LanguageModel, Layer, RecurrentKind, RecurrentOptions, Sampler, TransformerOptions};
use wgrad::optim::{Adam, LossScale, Optimizer};
use wgrad::train::{Evaluator, Generator, Observer, Task, Trainer, TrainingReport};
use wgrad::{Device, Graph, Params, Precision, Result, Var};

const IN_ORDER: Reading = Reading::InOrder { length: 16, rows: 8 };
const SHUFFLED: Reading = Reading::Shuffled { length: 16, stride: 8 };

/// The first 6,000 characters of the novel.
fn some() -> Text {
    let text = alice(Unit::Characters).unwrap();
    let start = text.vocabulary().decode(&text.symbols()[..6000]);
    Text::new("some", &start, Unit::Characters).unwrap()
}

fn split(reading: &Reading) -> Split {
    some().split(&TextParts::default(), reading).unwrap()
}

fn lstm(params: &Params, classes: usize) -> LanguageModel {
    let options = RecurrentOptions::default().dropout(0.2);
    LanguageModel::recurrent(params, classes, RecurrentKind::Lstm, 24, options).carrying(params)
}

fn transformer(params: &Params, classes: usize) -> LanguageModel {
    LanguageModel::transformer(params, classes, 2, &TransformerOptions::new(16, 2).dropout(0.1))
}

/// Ends a run after so many steps.
struct StopAfter(usize, Arc<AtomicBool>);

impl Observer for StopAfter {
    fn on_step(&mut self, step: usize, _: usize) {
        if step == self.0 {
            self.1.store(true, Ordering::Relaxed);
        }
    }
}

/// How a run goes.
#[derive(Clone, Copy)]
struct Plan<'a> {
    reading: Reading,
    make: fn(&Params, usize) -> LanguageModel,
    precision: Precision,
    epochs: usize,
    out: Option<&'a Path>,
    resumes: bool,
    stop: usize,
}

const PLAN: Plan<'static> = Plan {
    reading: IN_ORDER,
    make: lstm,
    precision: Precision::F32,
    epochs: 3,
    out: None,
    resumes: false,
    stop: usize::MAX,
};

/// What came of it, and all states after it.
fn train(device: &Device, plan: &Plan<'_>) -> Result<(TrainingReport, Vec<(String, Vec<u32>)>)> {
    let split = split(&plan.reading);
    let params = Params::seeded(3);
    let model = (plan.make)(&params, split.train.classes());
    let adam = Adam::new(&params, 0.01);
    let optimizer: Box<dyn Optimizer> = match plan.precision {
        Precision::Mixed => Box::new(LossScale::new(&params, adam)),
        _ => Box::new(adam),
    };
    let flag = Arc::new(AtomicBool::new(false));
    let mut trainer = Trainer::new(device, &model, &params, optimizer, split)
        .epochs(plan.epochs)
        .precision(plan.precision)
        .stop(flag.clone());
    if let Some(out) = plan.out {
        trainer = trainer.out(out);
        if plan.resumes {
            trainer = trainer.resume(out.join("checkpoint.safetensors"));
        }
    }
    let report = trainer.run(&mut StopAfter(plan.stop, flag))?;
    let bits = |values: &[f32]| values.iter().map(|x| x.to_bits()).collect();
    let read =
        |param: &wgrad::Param| (param.name().to_string(), bits(device.read_param(param).unwrap().as_f32()));
    Ok((report, params.trainable().iter().map(read).collect()))
}

#[test]
fn models_learn_on_every_device_and_in_mixed_precision() {
    for device in devices() {
        for (reading, make) in
            [(IN_ORDER, lstm as fn(&Params, usize) -> LanguageModel), (SHUFFLED, transformer)]
        {
            for precision in [Precision::F32, Precision::Mixed] {
                let Ok((report, _)) = train(&device, &Plan { reading, make, precision, ..PLAN }) else {
                    // An adapter without 16 bits says so.
                    assert_ne!(precision, Precision::F32);
                    continue;
                };
                let bits = |scores: &wgrad::train::Scores| scores.get("bits").unwrap();
                let (first, last) = (&report.epochs[0], &report.epochs[2]);
                assert!(
                    bits(&last.train) < bits(&first.train) && bits(&last.train) < 4.6,
                    "{device:?} {report:?}"
                );
                let test = &report.test;
                approx::assert_relative_eq!(bits(test), test.loss / 2f64.ln(), max_relative = 1e-5);
                approx::assert_relative_eq!(
                    test.get("perplexity").unwrap(),
                    test.loss.exp(),
                    max_relative = 1e-5
                );
                assert!((0.05..1.0).contains(&test.accuracy()), "{report:?}");
            }
        }
    }
}

/// A batch's share of each epoch that is stopped and gone on with: the same weights to the bit.
#[test]
fn resumed_runs_are_the_same_to_the_bit() {
    for device in devices() {
        for (reading, make) in
            [(IN_ORDER, lstm as fn(&Params, usize) -> LanguageModel), (SHUFFLED, transformer)]
        {
            let plan = Plan { reading, make, ..PLAN };
            let (whole, weights) = train(&device, &plan).unwrap();
            for stop in [20, 50] {
                let folder = tempfile::tempdir().unwrap();
                let out = Some(folder.path());
                let (first, _) = train(&device, &Plan { stop, out, ..plan }).unwrap();
                assert!(first.stopped);
                let (rest, resumed) = train(&device, &Plan { resumes: true, out, ..plan }).unwrap();
                assert_eq!(resumed, weights, "{stop}");
                assert_eq!(rest.test, whole.test, "{stop}");
            }
        }
    }
}

/// The evaluation of rows that go on from batch to batch is that of each passage as a whole, and the next one begins anew.
#[test]
fn carried_evaluations_are_those_of_whole_passages() {
    let text = some();
    let data = text.to_test(0..6000, &Reading::InOrder { length: 20, rows: 4 }).unwrap();
    assert_eq!((data.streams, data.len()), (Some(1), 299));
    let params = Params::seeded(9);
    let model = lstm(&params, data.classes());
    // What is around a model says nothing of its states.
    struct Around<'m>(&'m LanguageModel);
    impl Layer for Around<'_> {
        fn forward<'g>(&self, x: Var<'g>) -> Var<'g> {
            self.0.forward(x)
        }
    }
    for device in devices() {
        let mut evaluator = Evaluator::new(&device, &model, &data).unwrap();
        let scores = evaluator.run().unwrap().scores;
        assert_eq!(evaluator.run().unwrap().scores, scores);
        let mut around = Evaluator::new(&device, Around(&model), &data).unwrap();
        assert_eq!(
            [around.run().unwrap().scores, around.run().unwrap().scores],
            [scores.clone(), scores.clone()]
        );
        // The passage in one sequence, by a model that begins each row anew.
        let whole = LanguageModel::recurrent(
            &params.shared(),
            data.classes(),
            RecurrentKind::Lstm,
            24,
            RecurrentOptions::default(),
        );
        let pick = |shift: usize| text.symbols()[shift..shift + 5980].to_vec();
        let (labels, classes) = (pick(1), data.classes());
        let targets = Targets::Sequences { labels, length: 5980, classes, names: Vec::new() };
        let one =
            Dataset::from_parts("one", vec![Input::new("x", [5980], Values::Indices(pick(0)))], targets)
                .unwrap();
        let expected = Evaluator::new(&device, &whole, &one).unwrap().run().unwrap().scores;
        approx::assert_relative_eq!(scores.loss, expected.loss, max_relative = 2e-6);
        assert_eq!(scores.accuracy(), expected.accuracy());
    }
}

/// Losses and metrics of sequences against sums over the logits on the host.
#[test]
fn scores_are_those_of_all_places() {
    let data = split(&SHUFFLED).validation;
    let params = Params::seeded(4);
    let model = transformer(&params, data.classes());
    let device = Device::cpu();
    let task = Task::of(&data).minimizing(Loss::cross_entropy().label_smoothing(0.1));
    let scores = Evaluator::with(&device, &model, &data, &task).unwrap().run().unwrap().scores;
    let g = Graph::inference();
    g.output("y", model.forward(g.classes("x", [data.len(), 16])));
    let mut step = device.compile(&g).unwrap();
    step.feed("x", data.values()).unwrap();
    step.run().unwrap();
    let (logits, classes) = (step.values("y").unwrap(), data.classes());
    let (mut nats, mut right, mut smoothed) = (0.0, 0, 0.0);
    // Of each window the last half.
    let measured = logits.chunks(classes).enumerate().filter(|(at, _)| at % 16 >= 8).map(|(_, row)| row);
    for (row, &label) in measured.zip(data.labels()) {
        let sum: f64 = row.iter().map(|&z| f64::from(z).exp()).sum();
        let loss = |class: usize| sum.ln() - f64::from(row[class]);
        nats += loss(label as usize);
        smoothed += 0.9 * loss(label as usize) + 0.1 * (0..classes).map(loss).sum::<f64>() / classes as f64;
        let best = (0..classes).max_by(|&a, &b| row[a].total_cmp(&row[b])).unwrap();
        right += usize::from(best == label as usize);
    }
    let places = data.labels().len() as f64;
    assert_eq!(places as usize, data.len() * 8);
    approx::assert_relative_eq!(scores.loss, smoothed / places, max_relative = 1e-5);
    approx::assert_relative_eq!(scores.get("bits").unwrap(), nats / places / 2f64.ln(), max_relative = 1e-5);
    approx::assert_relative_eq!(
        scores.get("perplexity").unwrap(),
        (nats / places).exp(),
        max_relative = 1e-5
    );
    approx::assert_relative_eq!(scores.accuracy(), right as f64 / places, max_relative = 1e-12);
}

#[test]
fn generators_say_what_whole_texts_say() {
    let text = some();
    let symbols = &text.symbols()[200..264];
    for device in devices() {
        let params = Params::seeded(8);
        let classes = text.vocabulary().len();
        for (name, model) in
            [("a", lstm(&params.at("a"), classes)), ("b", transformer(&params.at("b"), classes))]
        {
            let mut generator = Generator::new(&device, &model, 64).unwrap();
            let begin_anew = LanguageModel::clone(&model);
            let last = |symbols: &[u32]| {
                let g = Graph::inference();
                g.output("y", begin_anew.forward(g.classes("x", [1, symbols.len()])));
                let mut step = device.compile(&g).unwrap();
                step.feed("x", symbols).unwrap();
                for state in begin_anew.carried() {
                    device.write_param(&state, &state.initial()).unwrap();
                }
                step.run().unwrap();
                step.values("y").unwrap()[(symbols.len() - 1) * classes..].to_vec()
            };
            for _ in 0..2 {
                generator.read(&symbols[..40]).unwrap();
                for (a, b) in generator.logits().iter().zip(last(&symbols[..40])) {
                    approx::assert_abs_diff_eq!(*a, b, epsilon = 2e-5);
                }
                generator.forget().unwrap();
                assert!(generator.logits().is_empty(), "{name}");
            }
        }
    }
}

/// Beyond its context a transformer goes on from the last half of it.
#[test]
fn a_full_context_is_halved() {
    let params = Params::seeded(8);
    let model = transformer(&params, 10);
    let symbols: Vec<u32> = (0..40).map(|i| i * 7 % 10).collect();
    let device = Device::cpu();
    let said = |context: usize, symbols: &[u32]| {
        let mut generator = Generator::new(&device, &model, context).unwrap();
        generator.read(symbols).unwrap();
        generator.logits().to_vec()
    };
    assert_eq!(said(8, &symbols[..8]), said(9, &symbols[..8]));
    // The ninth is read after the last four of the eight before it; the thirteenth after four of those.
    assert_eq!(said(8, &symbols[..9]), said(16, &symbols[4..9]));
    assert_eq!(said(8, &symbols[..12]), said(16, &symbols[4..12]));
    assert_eq!(said(8, &symbols[..13]), said(16, &symbols[8..13]));
    assert_eq!(said(7, &symbols[..8]), said(16, &symbols[4..8]));
    let mut generator = Generator::new(&device, &model, 8).unwrap();
    let refused = generator.write(&mut Sampler::greedy()).unwrap_err().to_string();
    assert!(refused.contains("nothing was read"), "{refused}");
    assert!(generator.read(&[10]).unwrap_err().to_string().contains("symbol 10"));
    assert!(Generator::new(&device, &model, 1).unwrap_err().to_string().contains("2 symbols or more"));
    // One seed writes one text.
    let write = |seed| {
        let mut generator = Generator::new(&device, &model, 8).unwrap();
        generator.read(&[1]).unwrap();
        let mut sampler = Sampler::new(seed);
        (0..50).map(|_| generator.write(&mut sampler).unwrap()).collect::<Vec<u32>>()
    };
    assert_eq!(write(1), write(1));
    assert_ne!(write(1), write(2));
}

#[test]
fn what_does_not_fit_is_refused() {
    let device = Device::cpu();
    let message = |split: Split, model: &LanguageModel, params: &Params, batch: usize| {
        let adam = Adam::new(params, 0.01);
        let trainer = Trainer::new(&device, model, params, adam, split).epochs(1).batch(batch);
        trainer.run(&mut ()).unwrap_err().to_string()
    };
    let params = Params::seeded(1);
    let classes = split(&SHUFFLED).train.classes();
    let carrying = lstm(&params, classes);
    assert!(message(split(&SHUFFLED), &carrying, &params, 8).contains("do not go on from batch to batch"));
    assert!(message(split(&IN_ORDER), &carrying, &params, 4).contains("8 rows side by side"));
    let narrow = transformer(&params.at("narrow"), classes);
    let mut mixed = split(&SHUFFLED);
    mixed.test = split(&IN_ORDER).test;
    assert!(message(mixed, &narrow, &params, 8).contains("rows each for itself and in order"));
    let few = transformer(&params.at("few"), classes / 2);
    assert!(message(split(&SHUFFLED), &few, &params, 8).contains("tells"));
    // Labels of other lengths.
    let x = Input::new("x", [2], Values::Indices(vec![0, 1, 1, 0]));
    let made = |labels: Vec<u32>, length| {
        let targets = Targets::Sequences { labels, length, classes: 2, names: Vec::new() };
        Dataset::from_parts("d", vec![x.clone()], targets)
    };
    assert!(made(vec![0, 1, 1, 0], 2).is_ok());
    assert!(
        made(vec![0, 1, 1], 2).unwrap_err().to_string().contains("3 labels are no sequences of length 2")
    );
    assert!(made(vec![0, 1, 1, 2], 2).unwrap_err().to_string().contains("row 1 has label 2"));
    assert!(made(vec![0, 1], 0).is_err());
}
