//! How a run is set up.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use super::task::{Objective, Task};
use super::{FolderLock, Keep, Trainer};
use crate::data::LastBatch;
use crate::device::Precision;
use crate::nn::Layer;
use crate::optim::Plateau;

impl<'a> Trainer<'a> {
    /// What is minimized, and measured beside: of the training rows at each step, of the others in evaluations.
    #[must_use]
    pub fn task(mut self, task: Task) -> Self {
        self.task = task;
        self
    }

    /// Minimizes `objective`, and measures what goes with it: `task(Task::new(objective))`.
    #[must_use]
    pub fn objective(self, objective: impl Objective + 'static) -> Self {
        self.task(Task::new(objective))
    }

    /// The number of the validation rows that [`Keep::Best`] and [`Trainer::early_stopping`] look at: `loss`, or the name
    /// of a metric. Unless one is named, the weights are chosen by the first metric, for classifiers the accuracy, and
    /// the end by the loss.
    #[must_use]
    pub fn choose_by(mut self, name: impl Into<String>) -> Self {
        self.choose_by = Some(name.into());
        self
    }

    /// How often the training rows are gone through, those before a resume counted.
    #[must_use]
    pub fn epochs(mut self, epochs: usize) -> Self {
        self.epochs = epochs;
        self
    }

    /// Rows of a step.
    #[must_use]
    pub fn batch(mut self, rows: usize) -> Self {
        self.batch = rows;
        self
    }

    /// Seed of the order of the rows. That of the initial weights and of dropout is the seed of `params`.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// What becomes of the rows that do not fill a batch. Where a single row is left that the model cannot be trained
    /// on alone, such as with [`crate::nn::BatchNorm1d`], it is left out of that epoch, with a warning.
    #[must_use]
    pub fn last_batch(mut self, last: LastBatch) -> Self {
        self.last = last;
        self
    }

    /// Which weights are tested and saved; the best, unless said otherwise.
    #[must_use]
    pub fn keep(mut self, keep: Keep) -> Self {
        self.keep = keep;
        self
    }

    /// A folder for `model.safetensors`, the kept weights under PyTorch's names, and
    /// `checkpoint.safetensors`, all states. That one is written after the first epoch and the last, at a stop,
    /// and after others once a second. The model is written when better weights are found; where none are compared, with
    /// the checkpoint, but never before the first epoch has ended: until then that of an earlier run stays. The folder is made if it is not there, and locked until the run ends
    /// ([`FolderLock`]).
    #[must_use]
    pub fn out(mut self, folder: impl Into<PathBuf>) -> Self {
        self.out = Some(folder.into());
        self.is_locked = false;
        self
    }

    /// As [`Trainer::out`], for a folder that the caller has locked, such as to write there before and afterwards.
    #[must_use]
    pub fn out_locked(mut self, lock: &'a FolderLock) -> Self {
        self.out = Some(lock.folder().into());
        self.is_locked = true;
        self
    }

    /// Keeps `text` under `key` in the metadata of `model.safetensors` and `checkpoint.safetensors`, such as what inputs
    /// go through before the model sees them: there it is always that of the run which wrote the weights.
    /// [`SavedRun`](super::SavedRun) reads it again.
    #[must_use]
    pub fn metadata(mut self, key: impl Into<String>, text: impl Into<String>) -> Self {
        self.metadata.insert(key.into(), text.into());
        self
    }

    /// Goes on from a `checkpoint.safetensors`, in the middle of an epoch if it was stopped there. Model and
    /// optimizer must be of the same kinds; the learning rate is that of the optimizer given now.
    #[must_use]
    pub fn resume(mut self, checkpoint: impl Into<PathBuf>) -> Self {
        self.resume = Some(checkpoint.into());
        self
    }

    /// A flag that ends the run after the current step once it is true: no step after it is submitted. The run then
    /// saves, tests and reports as always; before the end of the first epoch it saves the checkpoint alone, and where it
    /// did no step, none.
    #[must_use]
    pub fn stop(mut self, flag: Arc<AtomicBool>) -> Self {
        self.stop = flag;
        self
    }

    /// Counts the time to the first step from `instant`, such as the start of the process.
    #[must_use]
    pub fn started(mut self, instant: Instant) -> Self {
        self.started = Some(instant);
        self
    }

    /// Multiplies the optimizer's learning rate by `factor(epoch, epochs)` before each epoch, counted from 0:
    /// `|epoch, epochs| 1.0 - epoch as f32 / epochs as f32` lowers it evenly to nothing. A run that resumes
    /// goes on where it stood, as long as the number of epochs is the same. A factor below 0, or NaN, ends
    /// the run before its first step.
    #[must_use]
    pub fn schedule(mut self, factor: impl Fn(usize, usize) -> f32 + 'a) -> Self {
        self.schedule = Some(Box::new(factor));
        self
    }

    /// Multiplies the learning rate of an epoch by what `plateau` makes of the epochs before: of their validation loss, or what
    /// [`Trainer::choose_by`] names. It takes validation rows. A schedule multiplies it as well.
    #[must_use]
    pub fn plateau(mut self, plateau: Plateau) -> Self {
        self.plateau = Some(plateau);
        self
    }

    /// Passes the first input of the training rows through `layer` before the model, such as
    /// [`crate::nn::RandomAffine`]; rows that are validated and tested stay as they are, and so does a target that is the
    /// input ([`Targets::Input`](crate::data::Targets::Input)): an autoencoder then learns to undo what the layer does,
    /// such as noise. It runs on the device, as a part of each step. A layer that draws random numbers should be made
    /// with the model's store of parameters, so that a run that resumes draws on.
    #[must_use]
    pub fn augment(mut self, layer: impl Layer + 'a) -> Self {
        self.augment = Some(Box::new(layer));
        self
    }

    /// Ends the run once the validation loss, or what [`Trainer::choose_by`] names, has not been better than ever before
    /// for `patience` epochs, at least one. It takes validation rows. [`Keep`] says which weights stay.
    #[must_use]
    pub fn early_stopping(mut self, patience: usize) -> Self {
        self.patience = Some(patience.max(1));
        self
    }

    /// Bytes that may be planned for intermediate values of a training step: activations that do not fit are computed
    /// again ([`Device::compile_within`]), which changes no result.
    #[must_use]
    pub fn memory_budget(mut self, bytes: usize) -> Self {
        self.options = self.options.memory_budget(bytes);
        self
    }

    /// How a training step stores the values between its kernels; validation and tests stay in `f32`. With
    /// [`Precision::Mixed`] the optimizer should be a [`crate::optim::LossScale`].
    #[must_use]
    pub fn precision(mut self, precision: Precision) -> Self {
        self.options = self.options.precision(precision);
        self
    }

    /// Looks at the layers at every `every`th full batch, counted over all epochs: norms of weights, gradients and outputs,
    /// how far the update went, dead ReLUs. They are computed on the device, in a step that is compiled besides and does
    /// what any other does, and given to [`Observer::on_watch`](super::Observer::on_watch) and the
    /// [`EpochRecord`](super::EpochRecord). That step takes memory of its own; 0 looks at none. Every 100th costs two
    /// percent at most (docs/BENCHMARKS.md).
    ///
    /// Gradients are those of the loss, before an optimizer clips, accumulates or averages anything.
    #[must_use]
    pub fn watch(mut self, every: usize) -> Self {
        self.watch = every;
        self
    }

    /// Looks at all that a training step computes ([`Graph::check_numerics`](crate::Graph::check_numerics)): where NaN or an
    /// infinity arises the run ends with [`Error::Numerics`](crate::Error::Numerics), which names op, layer and step. A
    /// step takes up to twice as long (docs/BENCHMARKS.md), and is waited for.
    #[must_use]
    pub fn check_numerics(mut self, is_on: bool) -> Self {
        self.checks_numerics = is_on;
        self
    }
}
