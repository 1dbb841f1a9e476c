//! What a model says of single rows: classes and probabilities, or its numbers.

use super::batch::{feed, inputs, of_rows};
use super::pieces::within_limits;
use super::{Model, Predictions};
use crate::data::{Batch, Dataset, Input, Targets, Values};
use crate::device::{Device, Step};
use crate::error::{Error, Result};
use crate::graph::Graph;
use crate::shape::Shape;
use crate::tensor::{Data, Tensor};

/// Rows of a full batch, where the device can hold what the model makes of so many.
const BATCH: usize = 256;

/// A model compiled to be asked about rows, with the weights that are on the device when it is asked: how probable each
/// class is, or what numbers it gives. Graphs are compiled when they are first needed.
///
/// ```
/// use wgrad::nn::Mlp;
/// use wgrad::train::Predictor;
/// use wgrad::{Device, Params};
///
/// let mlp = Mlp::new(&Params::seeded(42), &[4, 8, 3]);
/// let mut predictor = Predictor::new(&Device::cpu(), mlp, [4])?;
/// let predictions = predictor.predict(&[5.1, 3.5, 1.4, 0.2])?;
/// let sum: f64 = (0..3).map(|class| predictions.probability(0, class)).sum();
/// assert!((sum - 1.0).abs() < 1e-6);
/// assert_eq!(predictor.outputs(&[5.1, 3.5, 1.4, 0.2])?.shape().dims(), [1, 3]);
/// # Ok::<(), wgrad::Error>(())
/// ```
pub struct Predictor<'a> {
    device: Device,
    model: Box<dyn Model + 'a>,
    /// The inputs, without rows.
    like: Dataset,
    /// What it makes of two rows.
    made: Shape,
    /// Rows of a full batch.
    batch: usize,
    /// Whether the steps give logarithms of probabilities.
    gives_log: bool,
    /// For so many rows.
    full: Option<Step>,
    /// For fewer, with their number: that of the last time.
    short: Option<(Step, usize)>,
}

impl std::fmt::Debug for Predictor<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Predictor")
            .field("device", &self.device)
            .field("shape", &self.like.shape())
            .field("made", &self.made)
            .finish_non_exhaustive()
    }
}

impl<'a> Predictor<'a> {
    /// For rows of `shape`, such as `[1, 8, 8]`, which the model takes as floats `[rows, ..shape]`. A classifier turns them
    /// into logits `[rows, classes]`.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the model makes something else of such rows than `[rows, ..]`, or the first recording
    /// mistake.
    pub fn new(device: &Device, model: impl Model + 'a, shape: impl Into<Vec<usize>>) -> Result<Self> {
        let inputs = vec![Input::new("x", shape, Vec::new())];
        Predictor::like(
            device,
            Box::new(model),
            Dataset { name: "rows".into(), inputs, targets: Targets::Input, streams: None },
        )
    }

    /// For rows with the inputs of a data set: others like it are asked about by [`Predictor::predict_dataset`] and
    /// [`Predictor::outputs_of`], and floats, if it has one input, by [`Predictor::predict`] and [`Predictor::outputs`].
    ///
    /// # Errors
    /// As [`Predictor::new`].
    pub fn of(device: &Device, model: impl Model + 'a, data: &Dataset) -> Result<Self> {
        let mut like = Dataset { targets: Targets::Input, ..data.without_rows() };
        // What the model sees: bytes are scaled as each data set says.
        for Input { values, .. } in &mut like.inputs {
            if !matches!(values, Values::Indices(_)) {
                *values = Values::Floats(Vec::new());
            }
        }
        Predictor::like(device, Box::new(model), like)
    }

    fn like(device: &Device, model: Box<dyn Model + 'a>, like: Dataset) -> Result<Self> {
        if let Some(Input { shape, .. }) = like.inputs.iter().find(|input| input.shape.contains(&0)) {
            return Err(Error::Invalid(format!("a row of shape {shape:?} has no values")));
        }
        let g = Graph::inference();
        let made = model.predict(&inputs(&g, &like, 2).seen(&g, &like).inputs);
        if let Some(error) = g.error() {
            return Err(error);
        }
        let made = made.shape();
        if made.rank() == 0 || made.dim(0) != 2 {
            return Err(Error::Invalid(format!(
                "a model gives [rows, ..]; of two rows of shape {:?} it makes {made}",
                like.shape()
            )));
        }
        let device = device.clone();
        Ok(Predictor { device, model, like, made, batch: BATCH, gives_log: true, full: None, short: None })
    }

    /// How many numbers it gives for a row: of a classifier the number of classes.
    pub fn classes(&self) -> usize {
        self.made.elements() / 2
    }

    /// Predicts the classes of rows of floats, one after another, scaled as the model was trained: for images of a data
    /// set, each byte times [`Dataset::scale`]; for a table's rows, what [`TablePreprocessor::rows`] makes of them.
    ///
    /// [`TablePreprocessor::rows`]: crate::data::TablePreprocessor::rows
    ///
    /// # Errors
    /// [`Error::Invalid`] for no values or a number of them that is no multiple of a row's, a model of several inputs or
    /// one that is no classifier; a failure of the device.
    pub fn predict(&mut self, values: &[f32]) -> Result<Predictions> {
        let rows = self.rows(values)?;
        self.classify(&rows)
    }

    /// What the model makes of rows of floats, `[rows, ..]`: of a regression its predictions, of a classifier logits.
    ///
    /// # Errors
    /// As [`Predictor::predict`], but for the last.
    pub fn outputs(&mut self, values: &[f32]) -> Result<Tensor> {
        let rows = self.rows(values)?;
        self.numbers(&rows)
    }

    /// Predicts the classes of all rows of a data set.
    ///
    /// # Errors
    /// As [`Predictor::predict`]; [`Error::Invalid`] where it has no rows, or its examples are others than the model's.
    pub fn predict_dataset(&mut self, data: &Dataset) -> Result<Predictions> {
        self.expect_like(data)?;
        self.classify(data)
    }

    /// What the model makes of all rows of a data set, `[rows, ..]`.
    ///
    /// # Errors
    /// As [`Predictor::predict_dataset`], but for models that are no classifiers.
    pub fn outputs_of(&mut self, data: &Dataset) -> Result<Tensor> {
        self.expect_like(data)?;
        self.numbers(data)
    }

    fn classify(&mut self, rows: &Dataset) -> Result<Predictions> {
        if self.made.rank() != 2 {
            return Err(Error::Invalid(format!(
                "a classifier gives [rows, classes]; of two rows of shape {:?} the model makes {}",
                self.like.shape(),
                self.made
            )));
        }
        Ok(Predictions { classes: self.classes(), log: self.run(rows, true)? })
    }

    fn numbers(&mut self, rows: &Dataset) -> Result<Tensor> {
        Tensor::new(&of_rows(rows.len(), &self.made.dims()[1..]), self.run(rows, false)?)
    }

    /// Rows of the only input.
    fn rows(&self, values: &[f32]) -> Result<Dataset> {
        let len = self.like.example_len();
        if let several @ 2.. = self.like.inputs.len() {
            return Err(Error::Invalid(format!(
                "the model takes {several} inputs; give rows of them as a data set"
            )));
        }
        if values.is_empty() || !values.len().is_multiple_of(len) {
            return Err(Error::Invalid(format!(
                "{} values are no rows of shape {:?}, which has {len} values",
                values.len(),
                self.like.shape()
            )));
        }
        if let [Input { values: Values::Indices(_), .. }] = self.like.inputs[..] {
            return Err(Error::Invalid("the model takes indices; give rows of them as a data set".into()));
        }
        let inputs = vec![Input::new("x", self.like.shape(), values.to_vec())];
        Ok(Dataset { inputs, ..self.like.clone() })
    }

    /// Refuses a data set without rows, or with other examples than the model's: bytes and floats are alike, and the name
    /// of a single input says nothing.
    fn expect_like(&self, data: &Dataset) -> Result<()> {
        let is_index = |input: &Input| matches!(input.values, Values::Indices(_));
        let (own, its) = (&self.like.inputs, &data.inputs);
        let is_alike = |(a, b): (&Input, &Input)| {
            a.shape == b.shape && is_index(a) == is_index(b) && (own.len() == 1 || a.name == b.name)
        };
        if own.len() == its.len() && own.iter().zip(its).all(is_alike) {
            return data.check();
        }
        let described = |inputs: &[Input]| -> String {
            let of = |input: &Input| match is_index(input) {
                true => format!("`{}` {:?} of indices", input.name, input.shape),
                false => format!("`{}` {:?}", input.name, input.shape),
            };
            inputs.iter().map(of).collect::<Vec<_>>().join(", ")
        };
        Err(Error::Invalid(format!(
            "the model takes examples {}; those of data set `{}` are {}",
            described(own),
            data.name,
            described(its)
        )))
    }

    /// What the steps give for all rows, one after another.
    fn run(&mut self, rows: &Dataset, gives_log: bool) -> Result<Vec<f32>> {
        if self.gives_log != gives_log {
            (self.gives_log, self.full, self.short) = (gives_log, None, None);
        }
        let all: Vec<u32> = (0..rows.len() as u32).collect();
        let mut given = Vec::with_capacity(all.len() * self.classes());
        let mut left = &all[..];
        while !left.is_empty() {
            let like = self.like.clone();
            let (step, count) = self.step(self.batch.min(left.len()))?;
            let (now, others) = left.split_at(count);
            let Batch { inputs, .. } = rows.batch(now)?;
            let inputs = rows.inputs.iter().zip(inputs).map(|(input, data)| match &input.values {
                Values::Bytes { .. } => Data::F32(input.values.like(data).to_floats().into_owned()),
                _ => data,
            });
            feed(step, &like, &Batch { inputs: inputs.collect(), targets: None })?;
            step.run()?;
            given.extend(step.values("y")?);
            left = others;
        }
        Ok(given)
    }

    /// The step for so many rows, or for as many as the device can hold, with their number.
    fn step(&mut self, count: usize) -> Result<(&mut Step, usize)> {
        let is_there = match count == self.batch {
            true => self.full.is_some(),
            false => self.short.as_ref().is_some_and(|(_, n)| *n == count),
        };
        if !is_there {
            let compile = |rows| {
                let g = Graph::inference();
                let made = self.model.predict(&inputs(&g, &self.like, rows).seen(&g, &self.like).inputs);
                g.output("y", if self.gives_log { made.log_softmax(1) } else { made });
                self.device.compile(&g)
            };
            let (step, held) = within_limits(count, compile)?;
            if held < count {
                self.batch = held;
            }
            if held == self.batch {
                self.full = Some(step);
            } else {
                self.short = Some((step, held));
            }
            return self.step(held);
        }
        match (&mut self.full, &mut self.short) {
            (Some(step), _) if count == self.batch => Ok((step, count)),
            (_, Some((step, _))) => Ok((step, count)),
            // One was made just now, or found.
            _ => Err(Error::Invalid(format!("no step of {count} rows was made"))),
        }
    }
}
