//! Examples and what is wanted of them.

use std::fmt;

use super::{Targets, Values};
use crate::error::{Error, Result};
use crate::tensor::Data;

/// One input of all examples: most data sets have one, a sequence and its lengths are two.
#[derive(Debug, Clone, PartialEq)]
pub struct Input {
    /// What a model finds it by ([`Inputs::get`](crate::train::Inputs::get)).
    pub name: String,
    /// Shape of one example's, such as `[1, 8, 8]` (channels, height, width), `[4]` for a table's row, or `[]` for one
    /// number.
    pub shape: Vec<usize>,
    /// Those of all examples, row after row, each in row-major order.
    pub values: Values,
}

impl Input {
    /// An input by name.
    pub fn new(name: impl Into<String>, shape: impl Into<Vec<usize>>, values: impl Into<Values>) -> Self {
        Input { name: name.into(), shape: shape.into(), values: values.into() }
    }

    /// The number of values of one example: the product of `shape`.
    pub fn example_len(&self) -> usize {
        product(&self.shape)
    }
}

/// Examples and their targets. [`Dataset::new`], [`Dataset::regression`] and [`Dataset::from_parts`] check that the parts
/// agree.
#[derive(Clone, PartialEq)]
pub struct Dataset {
    /// What messages call it, such as `digits/train`.
    pub name: String,
    /// What the model sees of each example, at least one input.
    pub inputs: Vec<Input>,
    /// What it is to make of that.
    pub targets: Targets,
    /// Where the examples are windows of sequences that go on from batch to batch: how many of those there are side by
    /// side, so that row i + `streams` continues row i, and batches are of so many rows in this order. `None` where each
    /// row stands for itself, and rows are shuffled.
    pub streams: Option<usize>,
}

/// The stored numbers of some rows, one after another, as [`Step::feed`](crate::Step::feed) takes them: bytes are not
/// scaled.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// By input.
    pub inputs: Vec<Data>,
    /// Labels or values; `None` where the target is an input.
    pub targets: Option<Data>,
}

pub(super) fn product(shape: &[usize]) -> usize {
    shape.iter().fold(1, |product, &size| product.saturating_mul(size))
}

impl Dataset {
    /// A data set of `labels.len()` examples with one input, called `x`, and a class each; the classes have no names.
    ///
    /// # Errors
    /// [`Error::Invalid`] where there are no rows or more than `u32::MAX`, a size in `shape` is 0, the number
    /// of values is not rows × `shape`, a label is not below `classes`, a scale is not a positive number, or a
    /// float is not finite.
    pub fn new(
        name: impl Into<String>,
        shape: impl Into<Vec<usize>>,
        values: impl Into<Values>,
        labels: Vec<u32>,
        classes: usize,
    ) -> Result<Self> {
        let targets = Targets::Classes { labels, classes, names: Vec::new() };
        Dataset::from_parts(name, vec![Input::new("x", shape, values)], targets)
    }

    /// A data set with one input, called `x`, and numbers of shape `target_shape` to be predicted: `[1]` for one
    /// quantity.
    ///
    /// # Errors
    /// As [`Dataset::from_parts`].
    pub fn regression(
        name: impl Into<String>,
        shape: impl Into<Vec<usize>>,
        values: impl Into<Values>,
        target_shape: impl Into<Vec<usize>>,
        targets: impl Into<Values>,
    ) -> Result<Self> {
        let targets = Targets::Values { shape: target_shape.into(), values: targets.into() };
        Dataset::from_parts(name, vec![Input::new("x", shape, values)], targets)
    }

    /// A data set of any inputs and targets.
    ///
    /// ```
    /// use wgrad::data::{Dataset, Input, Targets, Values};
    /// // Two sentences of at most three words, how long they are, and how good each is said to be.
    /// let words = Input::new("words", [3], Values::Indices(vec![4, 1, 7, 2, 9, 0]));
    /// let lengths = Input::new("lengths", [], vec![3.0, 2.0]);
    /// let targets = Targets::Values { shape: vec![1], values: vec![0.9, -0.2].into() };
    /// let data = Dataset::from_parts("sentences", vec![words, lengths], targets)?;
    /// assert_eq!(data.len(), 2);
    /// # Ok::<(), wgrad::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Invalid`] where there is no input, two of one name, or none of the rows that the targets are for; a size
    /// in a shape is 0; a scale is not a positive number; a float is not finite; or targets are indices.
    pub fn from_parts(name: impl Into<String>, inputs: Vec<Input>, targets: Targets) -> Result<Self> {
        let dataset = Dataset { name: name.into(), inputs, targets, streams: None };
        dataset.check()?;
        Ok(dataset)
    }

    /// The same rows, their classes called by these names.
    ///
    /// # Errors
    /// [`Error::Invalid`] unless there are as many as classes.
    pub fn with_class_names(mut self, class_names: Vec<String>) -> Result<Self> {
        match &mut self.targets {
            Targets::Classes { names, .. } | Targets::Sequences { names, .. } => *names = class_names,
            _ => return Err(self.invalid("it has no classes that could have names".into())),
        }
        self.check()?;
        Ok(self)
    }

    /// The same rows as windows of `streams` sequences side by side: row i + `streams` goes on where row i ends. A
    /// [`Trainer`](crate::train::Trainer) takes batches of so many rows in their order, so that a model that carries states
    /// ([`Carried`](crate::nn::Carried)) reads each sequence as a whole.
    ///
    /// # Errors
    /// [`Error::Invalid`] for 0, or a number that does not divide the rows.
    pub fn with_streams(mut self, streams: usize) -> Result<Self> {
        self.streams = Some(streams);
        self.check()?;
        Ok(self)
    }

    /// The same inputs, of which the first is to be given back: for an autoencoder.
    #[must_use]
    pub fn to_reconstruct(self) -> Self {
        Dataset { targets: Targets::Input, ..self }
    }

    pub(super) fn invalid(&self, message: String) -> Error {
        Error::Invalid(format!("data set `{}`: {message}", self.name))
    }

    /// The fields are public, so what needs them to agree asks again.
    pub(crate) fn check(&self) -> Result<()> {
        match self.fault() {
            Some(message) => Err(self.invalid(message)),
            None => Ok(()),
        }
    }

    /// What is wrong with it, in words.
    fn fault(&self) -> Option<String> {
        if let Targets::Sequences { labels, length, .. } = &self.targets
            && (*length == 0 || !labels.len().is_multiple_of(*length))
        {
            return Some(format!("{} labels are no sequences of length {length}", labels.len()));
        }
        let rows = self.len();
        if rows == 0 {
            return Some("there are no rows".into());
        }
        if u32::try_from(rows).is_err() {
            return Some(format!("{rows} rows; at most {} can be numbered", u32::MAX));
        }
        if self.streams.is_some_and(|streams| streams == 0 || !rows.is_multiple_of(streams)) {
            let streams = self.streams.unwrap_or(0);
            return Some(format!("{rows} rows are no windows of {streams} sequences side by side"));
        }
        let of_rows = |what: &str, shape: &[usize], values: &Values| {
            if shape.contains(&0) {
                return Some(format!("{what} of shape {shape:?} has no values"));
            }
            let len = product(shape);
            if len.checked_mul(rows) != Some(values.len()) {
                return Some(format!(
                    "{rows} rows with {what} of shape {shape:?} need {len} values each, but there are {} values",
                    values.len()
                ));
            }
            values.fault(len)
        };
        let mut names: Vec<&str> = Vec::new();
        for (i, Input { name, shape, values }) in self.inputs.iter().enumerate() {
            let what = if i == 0 { "an example".to_string() } else { format!("an input `{name}`") };
            if let Some(fault) = of_rows(&what, shape, values) {
                return Some(fault);
            }
            if names.contains(&name.as_str()) {
                return Some(format!("two inputs are called `{name}`"));
            }
            names.push(name);
        }
        match &self.targets {
            _ if self.inputs.is_empty() => Some("its examples have no input".into()),
            Targets::Classes { labels, classes, names }
            | Targets::Sequences { labels, classes, names, .. } => {
                let at = labels.iter().position(|&label| label as usize >= *classes);
                if let Some(at) = at {
                    let row = at / self.targets.places();
                    return Some(format!(
                        "row {row} has label {}, but there are {classes} classes",
                        labels[at]
                    ));
                }
                let is_named = names.is_empty() || names.len() == *classes;
                (!is_named).then(|| format!("{} names for {classes} classes", names.len()))
            }
            Targets::Values { values: Values::Indices(_), .. } => {
                Some("its targets are indices; give classes, or floats".into())
            }
            Targets::Values { shape, values } => {
                of_rows("a target", shape, values).map(|fault| format!("of the targets, {fault}"))
            }
            Targets::Input => None,
        }
    }

    /// The number of examples.
    pub fn len(&self) -> usize {
        match &self.targets {
            Targets::Classes { labels, .. } | Targets::Sequences { labels, .. } => {
                labels.len() / self.targets.places()
            }
            Targets::Values { shape, values } => values.len() / product(shape).max(1),
            Targets::Input => self.inputs.first().map_or(0, |x| x.values.len() / x.example_len().max(1)),
        }
    }

    /// Whether there are no examples: only so for the validation rows of a split that keeps none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Shape of one example: that of the first input.
    pub fn shape(&self) -> &[usize] {
        self.inputs.first().map_or(&[], |input| &input.shape)
    }

    /// The values of the first input, of all examples.
    pub fn values(&self) -> &Values {
        const NONE: &Values = &Values::Floats(Vec::new());
        self.inputs.first().map_or(NONE, |input| &input.values)
    }

    /// The class of each example, of sequences those of each place, row after row; none where the targets are no classes.
    pub fn labels(&self) -> &[u32] {
        match &self.targets {
            Targets::Classes { labels, .. } | Targets::Sequences { labels, .. } => labels,
            _ => &[],
        }
    }

    /// The number of classes; 0 where the targets are none.
    pub fn classes(&self) -> usize {
        match &self.targets {
            Targets::Classes { classes, .. } | Targets::Sequences { classes, .. } => *classes,
            _ => 0,
        }
    }

    /// The names of the classes; empty where they have only numbers.
    pub fn class_names(&self) -> &[String] {
        match &self.targets {
            Targets::Classes { names, .. } | Targets::Sequences { names, .. } => names,
            _ => &[],
        }
    }

    /// The name of a class, or its number where it has none.
    pub fn class_name(&self, class: usize) -> String {
        self.class_names().get(class).cloned().unwrap_or_else(|| class.to_string())
    }

    /// The number of values in one example of the first input: the product of its shape.
    pub fn example_len(&self) -> usize {
        product(self.shape())
    }

    /// What a stored number of the first input is multiplied by ([`Values::scale`]).
    pub fn scale(&self) -> f32 {
        self.values().scale()
    }

    /// The first input of example `i` as the model sees it, bytes times their scale; `None` past the end.
    pub fn row(&self, i: usize) -> Option<Vec<f32>> {
        self.floats(self.values(), self.example_len(), i)
    }

    /// The target of example `i` as floats: its class, or those of its places, its values, or its first input; `None` past the end.
    pub fn target(&self, i: usize) -> Option<Vec<f32>> {
        match &self.targets {
            Targets::Classes { labels, .. } | Targets::Sequences { labels, .. } => {
                let places = self.targets.places();
                let end = i.checked_add(1)?.checked_mul(places)?;
                Some(labels.get(i * places..end)?.iter().map(|&label| label as f32).collect())
            }
            Targets::Values { shape, values } => self.floats(values, product(shape), i),
            Targets::Input => self.row(i),
        }
    }

    fn floats(&self, values: &Values, len: usize, i: usize) -> Option<Vec<f32>> {
        let data = values.gather(&[u32::try_from(i).ok()?], len)?;
        Some(values.like(data).to_floats().into_owned())
    }

    /// The same bytes of the first input with another scale.
    ///
    /// # Errors
    /// [`Error::Invalid`] where `scale` is not a positive number, or the values are no bytes.
    pub fn with_scale(mut self, scale: f32) -> Result<Self> {
        match self.inputs.first_mut().map(|input| &mut input.values) {
            Some(Values::Bytes { scale: old, .. }) => *old = scale,
            _ => {
                return Err(Error::Invalid(format!(
                    "data set `{}` holds {}; only bytes have a scale",
                    self.name,
                    self.values().kind()
                )));
            }
        }
        self.check()?;
        Ok(self)
    }

    /// Refuses a data set that a model for this one is none for.
    pub(crate) fn expect_like(&self, other: &Dataset) -> Result<()> {
        match self.difference(other) {
            Some(difference) => Err(Error::Invalid(format!(
                "data sets `{}` and `{}` differ: {difference}",
                self.name, other.name
            ))),
            None => Ok(()),
        }
    }

    /// How the examples and targets of another set differ from these, in words, if a model for the one is none for the
    /// other.
    pub(super) fn difference(&self, other: &Dataset) -> Option<String> {
        // Of a single input the name says something only where it differs.
        let named =
            self.inputs.len() > 1 || self.inputs.iter().zip(&other.inputs).any(|(a, b)| a.name != b.name);
        let inputs = |data: &Dataset| -> Vec<String> {
            let name = |input: &Input| if named { format!("`{}` ", input.name) } else { String::new() };
            data.inputs.iter().map(|i| format!("{}{:?} of {}", name(i), i.shape, i.values.kind())).collect()
        };
        let targets = |data: &Dataset| match &data.targets {
            Targets::Classes { classes, .. } => format!("{classes} classes"),
            Targets::Sequences { classes, .. } => format!("{classes} classes at each place"),
            Targets::Values { shape, values } => format!("targets {shape:?} of {}", values.kind()),
            Targets::Input => "the input as target".into(),
        };
        let (own, its) = (inputs(self).join(", "), inputs(other).join(", "));
        if own != its {
            return Some(format!("examples {own} and {its}"));
        }
        let (own, its) = (targets(self), targets(other));
        if own != its {
            return Some(format!("{own} and {its}"));
        }
        let order = |data: &Dataset| if data.streams.is_some() { "in order" } else { "each for itself" };
        let (own, its) = (order(self), order(other));
        (own != its).then(|| format!("rows {own} and {its}"))
    }
}

/// The sizes, not the values.
impl fmt::Debug for Dataset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dataset")
            .field("name", &self.name)
            .field("rows", &self.len())
            .field("inputs", &self.inputs)
            .field("targets", &self.targets)
            .finish()
    }
}

#[cfg(test)]
#[path = "dataset_tests.rs"]
pub(super) mod tests;
