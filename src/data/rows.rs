//! Rows of data sets: gathered, selected, split off.

use super::dataset::product;
use super::{Batch, Dataset, Input, Targets, Values};
use crate::error::{Error, Result};
use crate::tensor::Data;

impl Dataset {
    /// The stored values of these rows of the first input, one after another, as [`Step::feed`](crate::Step::feed)
    /// takes them: bytes are not scaled. And their labels; none where the targets are no classes.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a row past the end.
    pub fn gather(&self, rows: &[u32]) -> Result<(Data, Vec<u32>)> {
        let Batch { inputs, targets } = self.batch(rows)?;
        match (inputs.into_iter().next(), targets) {
            (Some(values), Some(Data::U32(labels))) => Ok((values, labels)),
            (Some(values), _) => Ok((values, Vec::new())),
            (None, _) => Err(self.invalid("its examples have no input".into())),
        }
    }

    /// The stored numbers of these rows, of every input and of the targets.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a row past the end.
    pub fn batch(&self, rows: &[u32]) -> Result<Batch> {
        let inputs: Option<Vec<Data>> =
            self.inputs.iter().map(|input| input.values.gather(rows, input.example_len())).collect();
        let targets = match &self.targets {
            Targets::Classes { labels, .. } => {
                let label = |&row: &u32| labels.get(row as usize).copied();
                rows.iter().map(label).collect::<Option<Vec<u32>>>().map(|labels| Some(Data::U32(labels)))
            }
            Targets::Sequences { labels, length, .. } => {
                Values::gather_from(labels, rows, *length).map(|labels| Some(Data::U32(labels)))
            }
            Targets::Values { shape, values } => values.gather(rows, product(shape)).map(Some),
            Targets::Input => Some(None),
        };
        match (inputs, targets) {
            (Some(inputs), Some(targets)) => Ok(Batch { inputs, targets }),
            _ => Err(Error::Invalid(format!(
                "data set `{}` has {} rows and values for {}; row {} was asked for",
                self.name,
                self.len(),
                self.values().len() / self.example_len().max(1),
                rows.iter().max().copied().unwrap_or(0)
            ))),
        }
    }

    /// A data set of these rows, in this order, called `name`; each stands for itself then ([`Dataset::streams`]).
    ///
    /// # Errors
    /// [`Error::Invalid`] for a row past the end.
    pub fn select(&self, name: impl Into<String>, rows: &[u32]) -> Result<Dataset> {
        let Batch { inputs, targets } = self.batch(rows)?;
        let mut made = Dataset { name: name.into(), ..self.without_rows() };
        for ((to, from), data) in made.inputs.iter_mut().zip(&self.inputs).zip(inputs) {
            to.values = from.values.like(data);
        }
        match (&mut made.targets, &self.targets, targets) {
            (
                Targets::Classes { labels, .. } | Targets::Sequences { labels, .. },
                _,
                Some(Data::U32(picked)),
            ) => *labels = picked,
            (Targets::Values { values, .. }, Targets::Values { values: from, .. }, Some(picked)) => {
                *values = from.like(picked);
            }
            _ => {}
        }
        Ok(made)
    }

    /// Everything but the rows.
    pub(crate) fn without_rows(&self) -> Dataset {
        let empty = |input: &Input| Input::new(input.name.clone(), input.shape.clone(), input.values.none());
        let targets = match &self.targets {
            Targets::Classes { classes, names, .. } => {
                Targets::Classes { labels: Vec::new(), classes: *classes, names: names.clone() }
            }
            &Targets::Sequences { length, classes, ref names, .. } => {
                Targets::Sequences { labels: Vec::new(), length, classes, names: names.clone() }
            }
            Targets::Values { shape, values } => {
                Targets::Values { shape: shape.clone(), values: values.none() }
            }
            Targets::Input => Targets::Input,
        };
        let inputs = self.inputs.iter().map(empty).collect();
        Dataset { name: self.name.clone(), inputs, targets, streams: None }
    }

    /// Takes the last `n` rows away for validation: (the rows left to train on, the validation rows).
    ///
    /// They come from the end and are not drawn at random: where a file is sorted by origin, as the digits
    /// are by writer, the validation rows then have other origins than most of the training rows. A file that
    /// is sorted by class must be shuffled before; [`Split::stratified`](super::Split::stratified) does it. With
    /// `n` = 0 the second data set is empty.
    ///
    /// # Errors
    /// [`Error::Invalid`] where `n` leaves no row to train on.
    pub fn split_validation(mut self, n: usize) -> Result<(Dataset, Dataset)> {
        self.check()?;
        let len = self.len();
        if n >= len {
            return Err(self.invalid(format!(
                "keeping {n} of its {len} rows for validation leaves none to train on; keep at most {}, or 0 for no \
                 validation",
                len - 1
            )));
        }
        let left = len - n;
        // Cut anywhere, sequences do not go on.
        self.streams = None;
        let mut validation = self.without_rows();
        validation.name = format!("{}/validation", self.name.strip_suffix("/train").unwrap_or(&self.name));
        for (to, from) in validation.inputs.iter_mut().zip(&mut self.inputs) {
            to.values = from.values.split_off(left * product(&to.shape));
        }
        match (&mut validation.targets, &mut self.targets) {
            (Targets::Classes { labels: to, .. }, Targets::Classes { labels, .. }) => {
                *to = labels.split_off(left)
            }
            (Targets::Sequences { labels: to, length, .. }, Targets::Sequences { labels, .. }) => {
                *to = labels.split_off(left * *length);
            }
            (Targets::Values { shape, values: to }, Targets::Values { values, .. }) => {
                *to = values.split_off(left * product(shape));
            }
            _ => {}
        }
        Ok((self, validation))
    }
}
