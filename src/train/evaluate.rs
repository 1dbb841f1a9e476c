//! Loss, accuracy and confusion matrix of a classifier on a data set.

use super::pieces::{Rows, within_limits};
use crate::data::{Dataset, Values};
use crate::device::{Device, Step};
use crate::error::{Error, Result};
use crate::graph::{Graph, Init, Param, Params, Var};
use crate::nn::Layer;
use crate::tensor::Tensor;

/// Rows of a full batch, where the device can hold what the model makes of so many.
const BATCH: usize = 512;

/// How a classifier does on a data set.
#[derive(Debug, Clone, PartialEq)]
pub struct Evaluation {
    /// Mean cross-entropy.
    pub loss: f64,
    /// Share of the rows classified rightly.
    pub accuracy: f64,
    /// Rows of class `i` that were taken for class `j`, at `[i][j]`.
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
    sums: Sums,
    rows: usize,
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

/// States of the graphs, in a store of their own: they are no part of the model.
#[derive(Debug)]
struct Sums {
    batch: Param,
    loss: Param,
    confusion: Param,
}

impl Evaluator {
    /// Compiles the inference graphs of `model` for `data`.
    ///
    /// # Errors
    /// [`Error::Invalid`] if there are no rows or the model does not give one number per class; the first
    /// recording mistake; or a limit of the device.
    pub fn new(device: &Device, model: &dyn Layer, data: &Dataset) -> Result<Self> {
        if data.is_empty() {
            return Err(Error::Invalid(format!("data set `{}` has no rows to evaluate", data.name)));
        }
        Ok(within_limits(BATCH, |batch| Evaluator::in_batches(device, model, data, batch))?.0)
    }

    fn in_batches(device: &Device, model: &dyn Layer, data: &Dataset, size: usize) -> Result<Self> {
        let rows = data.len();
        let batches = rows / size;
        let left = rows % size;
        let store = Params::seeded(0).at("evaluation");
        let batch = store.counter("batch");
        let mut sums = None;
        let mut full = None;
        if batches > 0 {
            let g = Graph::inference();
            let all = batches * size;
            let source = Rows::of(device, data, all, size)?;
            let order: Vec<u32> = (0..all as u32).collect();
            let resident = || Ok(g.constant(Tensor::new([all], order.clone())?));
            let (x, labels) = source.batch(&g, data, all, resident, g.param(&batch), size)?;
            record(&g, model, x, labels, data, &store, &batch, &mut sums)?;
            g.param(&batch).advance(batches as u32);
            let step = device.compile(&g)?;
            let data = matches!(source, Rows::Pieces { .. }).then(|| (data.clone(), order));
            full = Some(Full { step, batches, size, rows: source, data });
        }
        let mut short = None;
        if left > 0 {
            let g = Graph::inference();
            let (values, labels) = tables(&g, data, rows - left, left)?;
            record(&g, model, floats(values, data), labels, data, &store, &batch, &mut sums)?;
            short = Some(device.compile(&g)?);
        }
        match sums {
            Some(sums) => Ok(Evaluator { device: device.clone(), full, short, sums, rows }),
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
        let Sums { batch, loss, confusion } = &self.sums;
        let classes = confusion.shape().dim(0);
        self.device.write_param(batch, &[0u32])?;
        self.device.write_param(loss, &[0.0f32])?;
        self.device.write_param(confusion, &vec![0.0f32; classes * classes])?;
        if let Some(full) = &mut self.full {
            full.run()?;
        }
        if let Some(step) = &mut self.short {
            step.run()?;
        }
        let loss = self.device.read_param(loss)?.as_f32().iter().map(|&x| f64::from(x)).sum::<f64>();
        let counts = self.device.read_param(confusion)?;
        let confusion: Vec<Vec<u32>> = counts
            .as_f32()
            .chunks(classes)
            .map(|row| row.iter().map(|&count| count.round() as u32).collect())
            .collect();
        let hits: u32 = confusion.iter().enumerate().map(|(i, row)| row[i]).sum();
        let rows = self.rows as f64;
        Ok(Evaluation { loss: loss / rows, accuracy: f64::from(hits) / rows, confusion })
    }
}

/// Rows of a data set as constants: the values as they are stored, `[count, ...]`, and labels `[count]`.
pub(super) fn tables<'g>(
    g: &'g Graph,
    data: &Dataset,
    start: usize,
    count: usize,
) -> Result<(Var<'g>, Var<'g>)> {
    let rows: Vec<u32> = (start..start + count).map(|row| row as u32).collect();
    let (values, labels) = data.gather(&rows)?;
    let values = Tensor::new(&shape_of(data, count), values)?;
    Ok((g.constant(values), g.constant(Tensor::new([count], labels)?)))
}

/// An input for `count` rows as they are stored.
pub(super) fn input<'g>(g: &'g Graph, name: &str, data: &Dataset, count: usize) -> Var<'g> {
    match data.values {
        Values::Bytes { .. } => g.bytes(name, &shape_of(data, count)),
        Values::Floats(_) => g.input(name, &shape_of(data, count)),
    }
}

/// What the model sees of values as they are stored.
pub(super) fn floats<'g>(x: Var<'g>, data: &Dataset) -> Var<'g> {
    match data.values {
        Values::Bytes { scale, .. } => x.to_f32_scaled(scale),
        Values::Floats(_) => x,
    }
}

/// Extents of `count` examples.
pub(super) fn shape_of(data: &Dataset, count: usize) -> Vec<usize> {
    [&[count], &data.shape[..]].concat()
}

/// The model's answer `[rows, classes]`, once it is known to be one.
pub(super) fn logits<'g>(model: &dyn Layer, x: Var<'g>, data: &Dataset) -> Result<Var<'g>> {
    let logits = model.forward(x);
    if let Some(error) = x.graph().error() {
        return Err(error);
    }
    let shape = logits.shape();
    if shape.rank() != 2 || shape.dim(0) != x.dim(0) {
        return Err(Error::Invalid(format!(
            "a classifier gives [rows, classes], here [{}, {}]; the model makes {shape} of {}",
            x.dim(0),
            data.classes,
            x.shape()
        )));
    }
    if let Some(&label) = data.labels.iter().find(|&&label| label as usize >= shape.dim(1)) {
        return Err(Error::Invalid(format!(
            "data set `{}` has class {label}, but the model tells {} classes apart, 0 to {}",
            data.name,
            shape.dim(1),
            shape.dim(1).saturating_sub(1)
        )));
    }
    Ok(logits)
}

/// Records the model on `x` and the sums over its rows, in states that all graphs share.
fn record<'g>(
    g: &'g Graph,
    model: &dyn Layer,
    x: Var<'g>,
    labels: Var<'g>,
    data: &Dataset,
    store: &Params,
    batch: &Param,
    sums: &mut Option<Sums>,
) -> Result<()> {
    let logits = logits(model, x, data)?;
    let _scope = g.scope_at("evaluation");
    let classes = logits.dim(1);
    let loss = logits.softmax_cross_entropy(labels);
    let hot = logits.argmax(1).one_hot(classes);
    let counts = labels.one_hot(classes).matmul_tn(hot);
    let sums = sums.get_or_insert_with(|| Sums {
        batch: batch.clone(),
        loss: store.state("loss", loss.shape(), Init::Constant(0.0)),
        confusion: store.state("confusion", counts.shape(), Init::Constant(0.0)),
    });
    loss.accumulate_into(g.param(&sums.loss), x.dim(0) as f32);
    counts.accumulate_into(g.param(&sums.confusion), 1.0);
    g.error().map_or(Ok(()), Err)
}
