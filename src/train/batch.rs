//! Rows of a data set in a graph: the model's inputs and the targets of a batch, and its prediction.

use super::model::{Inputs, Model};
use crate::data::{Batch, Dataset, Targets, Values};
use crate::device::Step;
use crate::error::{Error, Result};
use crate::graph::{Graph, Var};
use crate::tensor::{Data, Tensor};

/// Name of the targets among the inputs of a graph.
const TARGETS: &str = "targets";

/// Rows as they are stored.
pub(super) struct Source<'g> {
    pub(super) inputs: Vec<Var<'g>>,
    /// None where the target is an input.
    pub(super) targets: Option<Var<'g>>,
}

/// A batch as the model and the objective see it.
pub(super) struct Seen<'g> {
    pub(super) inputs: Inputs<'g>,
    pub(super) target: Var<'g>,
}

impl<'g> Source<'g> {
    /// What the model sees of it.
    pub(super) fn seen(self, g: &'g Graph, data: &Dataset) -> Seen<'g> {
        let named = data.inputs.iter().zip(self.inputs);
        let named = named.map(|(input, var)| (input.name.clone(), floats(var, &input.values))).collect();
        let inputs = Inputs::new(g, named);
        let target = match (&data.targets, self.targets) {
            (Targets::Values { values, .. }, Some(target)) => floats(target, values),
            // All places of all rows, as the logits.
            (Targets::Sequences { .. }, Some(target)) => target.reshape([target.shape().elements()]),
            (_, Some(target)) => target,
            (_, None) => inputs.first().unwrap_or_else(|| g.scalar(0.0)),
        };
        Seen { inputs, target }
    }
}

/// What the model sees of values as they are stored.
fn floats<'g>(x: Var<'g>, values: &Values) -> Var<'g> {
    match values {
        Values::Bytes { scale, .. } => x.to_f32_scaled(*scale),
        Values::Floats(_) | Values::Indices(_) => x,
    }
}

/// Rows `start..start + count` as constants.
pub(super) fn tables<'g>(g: &'g Graph, data: &Dataset, start: usize, count: usize) -> Result<Source<'g>> {
    let rows: Vec<u32> = (start..start + count).map(|row| row as u32).collect();
    let Batch { inputs, targets } = data.batch(&rows)?;
    let constant =
        |values: Data, shape: &[usize]| Ok(g.constant(Tensor::new(&of_rows(count, shape), values)?));
    let made = inputs.into_iter().zip(&data.inputs).map(|(values, input)| constant(values, &input.shape));
    let inputs = made.collect::<Result<_>>()?;
    let targets = targets.map(|values| constant(values, data.targets.shape())).transpose()?;
    Ok(Source { inputs, targets })
}

/// Inputs of the graph for `count` rows, which [`feed`] fills.
pub(super) fn inputs<'g>(g: &'g Graph, data: &Dataset, count: usize) -> Source<'g> {
    let made = |name: &str, shape: &[usize], values: &Values| {
        let shape = of_rows(count, shape);
        match values {
            Values::Bytes { .. } => g.bytes(name, &shape),
            Values::Floats(_) => g.input(name, &shape),
            Values::Indices(_) => g.classes(name, &shape),
        }
    };
    let all = data.inputs.iter().map(|input| made(&fed(&input.name), &input.shape, &input.values));
    let targets = match &data.targets {
        Targets::Classes { .. } | Targets::Sequences { .. } => {
            Some(g.classes(TARGETS, &of_rows(count, data.targets.shape())[..]))
        }
        Targets::Values { shape, values } => Some(made(TARGETS, shape, values)),
        Targets::Input => None,
    };
    Source { inputs: all.collect(), targets }
}

/// What an input of a data set is called in a graph.
pub(super) fn fed(name: &str) -> String {
    format!("input {name}")
}

/// Feeds rows to the inputs that [`inputs`] made.
pub(super) fn feed(step: &mut Step, data: &Dataset, batch: &Batch) -> Result<()> {
    for (input, values) in data.inputs.iter().zip(&batch.inputs) {
        step.feed(&fed(&input.name), values)?;
    }
    match &batch.targets {
        Some(values) => step.feed(TARGETS, values),
        None => Ok(()),
    }
}

/// Extents of `count` examples.
pub(super) fn of_rows(count: usize, shape: &[usize]) -> Vec<usize> {
    [&[count], shape].concat()
}

/// The model's prediction of so many rows, once it is known to be one.
pub(super) fn prediction<'g>(
    model: &dyn Model,
    inputs: &Inputs<'g>,
    rows: usize,
    data: &Dataset,
) -> Result<Var<'g>> {
    let made = model.predict(inputs);
    if let Some(error) = inputs.graph().error() {
        return Err(error);
    }
    let made = match &data.targets {
        // Places before those that have a target are what is read before them.
        Targets::Sequences { length, .. } if made.shape().rank() == 3 && made.dim(1) > *length => {
            made.slice(1, made.dim(1) - length, *length)
        }
        _ => made,
    };
    let shape = made.shape();
    let (labels, classes) = (data.labels(), data.classes());
    let expected = match &data.targets {
        Targets::Classes { .. } => vec![rows],
        Targets::Sequences { length, .. } => vec![rows, *length],
        _ => {
            return match shape.rank() > 0 && shape.dim(0) == rows {
                true => Ok(made),
                false => Err(Error::Invalid(format!(
                    "a model gives [rows, ..], here [{rows}, ..]; of so many rows it makes {shape}"
                ))),
            };
        }
    };
    let axis = expected.len();
    if shape.rank() != axis + 1 || shape.dims()[..axis] != expected {
        let places = if axis == 2 { "rows, places" } else { "rows" };
        return Err(Error::Invalid(format!(
            "a classifier gives [{places}, classes], here {:?}; the model makes {shape} of {}",
            [&expected[..], &[classes]].concat(),
            inputs.first().map_or_else(|| "nothing".into(), |x| x.shape().to_string())
        )));
    }
    if let Some(&label) = labels.iter().find(|&&label| label as usize >= shape.dim(axis)) {
        return Err(Error::Invalid(format!(
            "data set `{}` has class {label}, but the model tells {} classes apart, 0 to {}",
            data.name,
            shape.dim(axis),
            shape.dim(axis).saturating_sub(1)
        )));
    }
    Ok(if axis == 2 { made.reshape([expected.iter().product(), shape.dim(axis)]) } else { made })
}
