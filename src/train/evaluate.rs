//! Loss and metrics of a model on a data set.

use super::Model;
use super::batch::{Seen, prediction, tables};
use super::pieces::{Rows, within_limits};
use super::record::{begin_anew, weights_and_carried};
use super::task::{Scores, Sums, Task};
use crate::data::Dataset;
use crate::device::{Device, Step};
use crate::error::{Error, Result};
use crate::graph::{Graph, Param, Params};
use crate::tensor::{Data, Tensor};

/// Rows of a full batch, where the device can hold what the model makes of so many.
const BATCH: usize = 512;
/// Places of all rows of a batch of sequences.
const PLACES: usize = 4096;

/// How a model does on a data set.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Evaluation {
    /// Loss and metrics.
    pub scores: Scores,
    /// Rows of class `i` that were taken for class `j`, at `[i][j]`; empty where no metric tells.
    pub confusion: Vec<Vec<u32>>,
}

/// A model compiled to be evaluated on a data set, again and again. The data set lies on the device, or, where it is larger
/// than one buffer there may be, is uploaded in pieces each time. The sums are made on the device, and an evaluation reads
/// them once.
#[derive(Debug)]
pub struct Evaluator {
    device: Device,
    /// For full batches.
    full: Option<Full>,
    /// For the rows left over.
    short: Option<Step>,
    task: Task,
    /// The number of the next batch.
    batch: Param,
    /// In a store of their own: they are no part of the model.
    sums: Sums,
    /// Rows, or places of all rows.
    targets: usize,
    /// States that the model carries from batch to batch: each evaluation begins with the first ones.
    carried: Vec<Param>,
}

/// The step of full batches.
#[derive(Debug)]
struct Full {
    step: Step,
    batches: usize,
    /// Rows of a batch.
    size: usize,
    rows: Rows,
    /// What pieces are made of, and its order; nothing where the rows are resident.
    data: Option<(Dataset, Vec<u32>)>,
}

impl Full {
    /// Runs all batches.
    fn run(&mut self) -> Result<()> {
        let mut at = 0;
        while at < self.batches {
            if let (0, Some((data, order))) = (self.rows.ready(at), &self.data) {
                self.rows.load(&mut self.step, data, order, at, self.size)?;
            }
            let together = self.rows.ready(at).clamp(1, self.batches - at);
            self.step.run_many(together)?;
            at += together;
        }
        Ok(())
    }
}

impl Evaluator {
    /// Compiles the inference graphs of `model` for `data`, to measure what is usual for its targets ([`Task::of`]).
    ///
    /// # Errors
    /// [`Error::Invalid`] if there are no rows or the model gives something else than the targets need, such as one
    /// number per class; the first recording mistake; or a limit of the device.
    pub fn new(device: &Device, model: impl Model, data: &Dataset) -> Result<Self> {
        Evaluator::with(device, model, data, &Task::of(data))
    }

    /// As [`Evaluator::new`], to measure what `task` says.
    ///
    /// # Errors
    /// As [`Evaluator::new`].
    pub fn with(device: &Device, model: impl Model, data: &Dataset, task: &Task) -> Result<Self> {
        Evaluator::of(device, &model, data, task)
    }

    pub(super) fn of(device: &Device, model: &dyn Model, data: &Dataset, task: &Task) -> Result<Self> {
        if data.is_empty() {
            return Err(Error::Invalid(format!("data set `{}` has no rows to evaluate", data.name)));
        }
        task.check()?;
        data.check()?;
        let made = |batch| Evaluator::in_batches(device, model, data, task, batch);
        match data.streams {
            // Fewer rows would not go on.
            Some(streams) => made(streams),
            None => Ok(within_limits(BATCH.min(PLACES / data.targets.places()).max(1), made)?.0),
        }
    }

    fn in_batches(
        device: &Device,
        model: &dyn Model,
        data: &Dataset,
        task: &Task,
        size: usize,
    ) -> Result<Self> {
        let rows = data.len();
        let batches = rows / size;
        let left = rows % size;
        let [_, carried] = weights_and_carried(model, data)?;
        let store = Params::seeded(0).at("evaluation");
        let batch = store.counter("batch");
        let record = |g: &Graph, seen: Seen<'_>, rows: usize| -> Result<Sums> {
            let made = prediction(model, &seen.inputs, rows, data)?;
            let _scope = g.scope_at("evaluation");
            task.record(made, seen.target)?.accumulate(task, &store, rows * data.targets.places())
        };
        let mut sums = None;
        let mut full = None;
        if batches > 0 {
            let g = Graph::inference();
            let all = batches * size;
            let source = Rows::of(device, data, all, size)?;
            let order: Vec<u32> = (0..all as u32).collect();
            let resident = || Ok(g.constant(Tensor::new([all], order.clone())?));
            let seen = source.batch(&g, data, all, resident, g.param(&batch), size)?;
            sums = Some(record(&g, seen, size)?);
            g.param(&batch).advance(batches as u32);
            let step = device.compile(&g)?;
            let data = matches!(source, Rows::Pieces { .. }).then(|| (data.clone(), order));
            full = Some(Full { step, batches, size, rows: source, data });
        }
        let mut short = None;
        if left > 0 {
            let g = Graph::inference();
            let seen = tables(&g, data, rows - left, left)?.seen(&g, data);
            sums = Some(record(&g, seen, left)?);
            short = Some(device.compile(&g)?);
        }
        match sums {
            Some(sums) => {
                let targets = rows * data.targets.places();
                let (device, task) = (device.clone(), task.clone());
                Ok(Evaluator { device, full, short, task, batch, sums, targets, carried })
            }
            None => Err(Error::Invalid("there are no rows to evaluate".into())),
        }
    }

    /// Bytes planned for intermediate values.
    pub(super) fn planned_bytes(&self) -> usize {
        let full = self.full.as_ref().map(|full| &full.step);
        full.into_iter().chain(&self.short).map(Step::planned_bytes).sum()
    }

    /// Evaluates the model with the weights that are on the device now.
    ///
    /// # Errors
    /// A failure of the device.
    pub fn run(&mut self) -> Result<Evaluation> {
        self.device.write_param(&self.batch, &[0u32])?;
        begin_anew(&self.device, &self.carried)?;
        for sum in self.sums.all() {
            self.device.write_param(sum, &Data::F32(vec![0.0; sum.shape().elements()]))?;
        }
        if let Some(full) = &mut self.full {
            full.run()?;
        }
        if let Some(step) = &mut self.short {
            step.run()?;
        }
        let loss =
            self.device.read_param(&self.sums.loss)?.as_f32().iter().map(|&x| f64::from(x)).sum::<f64>();
        let sums = self.sums.read_metrics(&self.device)?;
        let mut confusions =
            self.task.metrics.iter().zip(&sums).filter_map(|(metric, sums)| metric.confusion(sums));
        let confusion = confusions.next().unwrap_or_default();
        Ok(Evaluation { scores: self.task.scores(loss, &sums, self.targets), confusion })
    }
}
