//! Training and evaluation: data that stays on the device, sums that are read once an epoch, the best weights kept, files
//! that a run can go on from.
//!
//! A classifier:
//!
//! ```
//! use wgrad::data::{Split, digits};
//! use wgrad::nn::Mlp;
//! use wgrad::optim::Adam;
//! use wgrad::train::Trainer;
//! use wgrad::{Device, Params};
//!
//! let (train, test) = digits()?;
//! let params = Params::seeded(42);
//! let mlp = Mlp::new(&params, &[64, 32, 10]);
//! let adam = Adam::new(&params, 3e-3);
//! let split = Split::new(train, test, 144)?;
//! let report = Trainer::new(&Device::cpu(), mlp, &params, adam, split).epochs(3).run(&mut ())?;
//! assert!(report.test.accuracy() > 0.5);
//! # Ok::<(), wgrad::Error>(())
//! ```
//!
//! What is minimized goes by the targets, unless a [`Task`] says otherwise: a regression, and an autoencoder, are as
//! short; of several labels a row, `.objective(Loss::bce())` is all that is added.
//!
//! ```
//! use wgrad::data::{Dataset, Split};
//! use wgrad::nn::Mlp;
//! use wgrad::optim::Adam;
//! use wgrad::train::Trainer;
//! use wgrad::{Device, Params};
//!
//! // y = 3 x - 1
//! let x: Vec<f32> = (0..60).map(|i| i as f32 / 30.0 - 1.0).collect();
//! let y: Vec<f32> = x.iter().map(|x| 3.0 * x - 1.0).collect();
//! let data = Dataset::regression("line", [1], x, [1], y)?;
//! let params = Params::seeded(42);
//! let adam = Adam::new(&params, 0.05);
//! let split = Split::new(data.clone(), data, 0)?;
//! let line = Mlp::new(&params, &[1, 1]);
//! let report = Trainer::new(&Device::cpu(), line, &params, adam, split).epochs(100).run(&mut ())?;
//! assert!(report.test.get("r2") > Some(0.99));
//! # Ok::<(), wgrad::Error>(())
//! ```

mod batch;
mod beside;
mod checkpoint;
mod checks;
mod evaluate;
mod files;
mod generate;
mod loss;
mod measures;
mod model;
mod pieces;
mod predict;
mod predictions;
mod rate_test;
mod record;
mod run;
mod saved;
mod settings;
mod task;
mod trainer;
mod watch;

use serde::{Deserialize, Serialize};

pub use crate::files::FolderLock;
pub use evaluate::{Evaluation, Evaluator};
pub use generate::Generator;
pub use loss::InUnit;
pub use measures::{Accuracy, BinaryAccuracy, BitsPerSymbol, Mae, Mse, Perplexity, R2, Rmse};
pub use model::{Inputs, Model, ModelFn, model_fn};
pub use predict::Predictor;
pub use predictions::Predictions;
pub use rate_test::RateTest;
pub use saved::SavedRun;
pub use task::{Better, Metric, Objective, Scores, Sum, Task, objective_fn};
pub use trainer::Trainer;
pub use watch::{Symptom, Watched, WatchedLayer};

/// What is told how training goes. Every method does nothing unless it is written; `()` ignores everything.
pub trait Observer {
    /// Before the first step: `step` steps were done by the run that is resumed, `of` there are in all.
    fn on_start(&mut self, step: usize, of: usize) {
        let _ = (step, of);
    }

    /// After step `step` (from 1) of `of`. On a GPU the step was submitted and may still run, or will be together
    /// with the next ones, so that a parameter read here can be that of some steps before. Called once a step, so
    /// it should be cheap.
    fn on_step(&mut self, step: usize, of: usize) {
        let _ = (step, of);
    }

    /// After a step whose layers were looked at ([`Trainer::watch`]).
    fn on_watch(&mut self, watched: &Watched) {
        let _ = watched;
    }

    /// After each epoch, its validation and its checkpoint.
    fn on_epoch(&mut self, record: &EpochRecord) {
        let _ = record;
    }
}

impl Observer for () {}

/// Which weights of a run are tested at its end and saved as its model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Keep {
    /// Those with the best validation accuracy, or whatever is measured first ([`Trainer::choose_by`]); of several alike
    /// the latest, since few rows tie often and the first of them is early by chance. Without validation rows, the
    /// last.
    #[default]
    Best,
    /// Those of the last epoch: where a schedule lets the learning rate fall to nothing, they are better than
    /// what a small validation set chooses.
    Last,
}

/// One epoch of training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EpochRecord {
    /// Number of the epoch, from 1.
    pub epoch: usize,
    /// Epochs in all.
    pub epochs: usize,
    /// Loss and metrics of the training rows, each as its step saw it: before the update, with dropout.
    pub train: Scores,
    /// Those of the validation rows after the epoch, if there are any.
    pub validation: Option<Scores>,
    /// Whether these weights are the ones to keep, so far.
    pub is_best: bool,
    /// Training rows per second, without validation and saving.
    pub samples_per_second: f64,
    /// Seconds the epoch took, with validation and saving.
    pub seconds: f64,
    /// The layers as they were looked at last in the epoch, where they were ([`Trainer::watch`]).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watched: Option<Watched>,
}

/// What came of a run.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct TrainingReport {
    /// The epochs that this run finished; those before a resume are not among them.
    pub epochs: Vec<EpochRecord>,
    /// The epoch (from 1) whose weights were tested and saved. `None` if no epoch was finished: then those after the last
    /// step were tested, and none were saved as the model.
    pub best_epoch: Option<usize>,
    /// Steps of the next epoch that these weights have gone through as well: not 0 only where a stop ended the run in the
    /// middle of an epoch, and no weights are compared ([`Keep`]).
    pub steps_after_epoch: usize,
    /// Loss and metrics of the test rows, with the weights kept.
    pub test: Scores,
    /// Seconds from the start of the run to its last step, with compilation, validation and saving; without
    /// the test.
    pub train_seconds: f64,
    /// Seconds from the start of the run, or from [`Trainer::started`], until the first step was done.
    pub first_step_seconds: f64,
    /// Steps that this run did.
    pub steps: usize,
    /// Steps per second of training time after the first step; 0 where there was no other.
    pub steps_per_second: f64,
    /// Bytes planned for the intermediate values of the training steps, of full and short batches, and of the validation,
    /// which lie on the device at once; weights and data come on top.
    pub planned_bytes: usize,
    /// Those of the training step of full batches alone, which [`Trainer::memory_budget`] bounds.
    pub step_bytes: usize,
    /// Whether the stop flag ended it.
    pub stopped: bool,
    /// Whether it ended before its last epoch because the validation got no better.
    pub stopped_early: bool,
}
