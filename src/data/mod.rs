//! Data sets, their readers, and the order in which their rows are trained on.
//!
//! A [`Dataset`] keeps one byte per pixel, as the files do: a quarter of the memory and of the upload that
//! `f32` would take. The device multiplies each byte by [`Dataset::scale`] when a batch is formed, and
//! nothing else is done to the values: no mean is subtracted.
//!
//! - [`digits`]: 1,797 small handwritten digits that come with the crate, so examples and tests need no
//!   download;
//! - [`load_idx_folder`]: MNIST and every set published under its four file names;
//! - [`Idx`]: one file of that format;
//! - [`epoch_order`] and [`batches`]: which rows a step sees.
//!
//! ```
//! use wgrad::data::{LastBatch, Split, batches, digits, epoch_order};
//!
//! let (train, test) = digits()?;
//! let split = Split::new(train, test, 144)?;
//! let order = epoch_order(split.train.len(), 42, 0);
//! let mut rows = 0;
//! for batch in batches(&order, 64, LastBatch::Keep)? {
//!     rows += batch.len();
//! }
//! assert_eq!(rows, 1293);
//! # Ok::<(), wgrad::Error>(())
//! ```

mod batches;
mod digits;
mod idx;
mod idx_folder;

pub use batches::{Batches, LastBatch, batches, epoch_order};
pub use digits::digits;
pub use idx::Idx;
pub use idx_folder::load_idx_folder;

use std::fmt;

use crate::error::{Error, Result};

/// Labelled examples of one shape.
///
/// Row `i` is `pixels[i * example_len()..][..example_len()]` with the class `labels[i]`.
/// [`Dataset::new`] checks that the parts agree.
#[derive(Clone, PartialEq)]
pub struct Dataset {
    /// What messages call it, such as `digits/train`.
    pub name: String,
    /// Shape of one example, such as `[1, 8, 8]`: channels, height, width.
    pub shape: Vec<usize>,
    /// The values of all examples, row after row, each in row-major order.
    pub pixels: Vec<u8>,
    /// The class of each example, below `classes`.
    pub labels: Vec<u32>,
    /// The number of classes.
    pub classes: usize,
    /// What the device multiplies each byte by: 1/255 for full bytes, 1/16 for the digits, to get 0 to 1.
    pub scale: f32,
}

impl Dataset {
    /// A data set of `labels.len()` examples.
    ///
    /// # Errors
    /// [`Error::Invalid`] where there are no rows or more than `u32::MAX`, a size in `shape` is 0, the number
    /// of pixels is not rows × `shape`, a label is not below `classes`, or `scale` is not a positive number.
    pub fn new(
        name: impl Into<String>,
        shape: impl Into<Vec<usize>>,
        pixels: Vec<u8>,
        labels: Vec<u32>,
        classes: usize,
        scale: f32,
    ) -> Result<Self> {
        let dataset = Dataset { name: name.into(), shape: shape.into(), pixels, labels, classes, scale };
        dataset.check()?;
        Ok(dataset)
    }

    /// The fields are public, so what needs them to agree asks again.
    fn check(&self) -> Result<()> {
        let Dataset { name, shape, pixels, labels, classes, scale } = self;
        let invalid = |message: String| Err(Error::Invalid(format!("data set `{name}`: {message}")));
        if labels.is_empty() {
            return invalid("there are no rows".into());
        }
        if u32::try_from(labels.len()).is_err() {
            return invalid(format!("{} rows; at most {} can be numbered", labels.len(), u32::MAX));
        }
        if shape.contains(&0) {
            return invalid(format!("an example of shape {shape:?} has no values"));
        }
        if self.example_len().checked_mul(labels.len()) != Some(pixels.len()) {
            return invalid(format!(
                "{} labels and examples of shape {shape:?} need {} pixels each, but there are {} pixels",
                labels.len(),
                self.example_len(),
                pixels.len()
            ));
        }
        if let Some(row) = labels.iter().position(|&label| label as usize >= *classes) {
            return invalid(format!("row {row} has label {}, but there are {classes} classes", labels[row]));
        }
        if !(scale.is_finite() && *scale > 0.0) {
            return invalid(format!("scale {scale} is not a positive number"));
        }
        Ok(())
    }

    /// The number of examples.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there are no examples: only so for the validation rows of a split that keeps none.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// The number of values in one example: the product of `shape`.
    pub fn example_len(&self) -> usize {
        self.shape.iter().fold(1, |product, &size| product.saturating_mul(size))
    }

    /// The pixels of example `i`, not scaled; `None` past the end.
    pub fn row(&self, i: usize) -> Option<&[u8]> {
        let start = i.checked_mul(self.example_len())?;
        self.pixels.get(start..start.checked_add(self.example_len())?)
    }

    /// The same rows with another [`scale`](Dataset::scale).
    ///
    /// # Errors
    /// [`Error::Invalid`] where `scale` is not a positive number.
    pub fn with_scale(self, scale: f32) -> Result<Self> {
        let dataset = Dataset { scale, ..self };
        dataset.check()?;
        Ok(dataset)
    }

    /// Takes the last `n` rows away for validation: (the rows left to train on, the validation rows).
    ///
    /// They come from the end and are not drawn at random: where a file is sorted by origin, as the digits
    /// are by writer, the validation rows then have other origins than most of the training rows. A file that
    /// is sorted by class must be shuffled before. With `n` = 0 the second data set is empty.
    ///
    /// # Errors
    /// [`Error::Invalid`] where `n` leaves no row to train on.
    pub fn split_validation(mut self, n: usize) -> Result<(Dataset, Dataset)> {
        self.check()?;
        let len = self.len();
        if n >= len {
            return Err(Error::Invalid(format!(
                "data set `{}`: keeping {n} of its {len} rows for validation leaves none to train on; \
                 keep at most {}, or 0 for no validation",
                self.name,
                len - 1
            )));
        }
        let left = len - n;
        let validation = Dataset {
            name: format!("{}/validation", self.name.strip_suffix("/train").unwrap_or(&self.name)),
            shape: self.shape.clone(),
            pixels: self.pixels.split_off(left * self.example_len()),
            labels: self.labels.split_off(left),
            ..self
        };
        Ok((self, validation))
    }
}

/// The sizes, not the values.
impl fmt::Debug for Dataset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dataset")
            .field("name", &self.name)
            .field("rows", &self.len())
            .field("shape", &self.shape)
            .field("classes", &self.classes)
            .field("scale", &self.scale)
            .finish_non_exhaustive()
    }
}

/// Rows to train on, rows to choose by, and rows that are looked at once, at the end.
#[derive(Debug, Clone, PartialEq)]
pub struct Split {
    /// Trained on.
    pub train: Dataset,
    /// Measured after each epoch, to choose hyperparameters and the best weights; may be empty.
    pub validation: Dataset,
    /// For the result that is reported.
    pub test: Dataset,
}

impl Split {
    /// Keeps the last `validation_rows` of `train` for validation ([`Dataset::split_validation`]).
    ///
    /// # Errors
    /// [`Error::Invalid`] where no row is left to train on, or `train` and `test` differ in shape, classes or
    /// scale.
    pub fn new(train: Dataset, test: Dataset, validation_rows: usize) -> Result<Split> {
        test.check()?;
        if (&train.shape, train.classes, train.scale) != (&test.shape, test.classes, test.scale) {
            return Err(Error::Invalid(format!(
                "data sets `{}` and `{}` differ: examples {:?} and {:?}, {} and {} classes, scale {} and {}",
                train.name,
                test.name,
                train.shape,
                test.shape,
                train.classes,
                test.classes,
                train.scale,
                test.scale
            )));
        }
        let (train, validation) = train.split_validation(validation_rows)?;
        Ok(Split { train, validation, test })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn four() -> Dataset {
        Dataset::new("four/train", [1, 1, 2], (0..8).collect(), vec![0, 1, 2, 1], 3, 0.5).unwrap()
    }

    fn message(result: Result<impl fmt::Debug>) -> String {
        match result {
            Err(Error::Invalid(message)) => message,
            other => panic!("not Invalid: {other:?}"),
        }
    }

    #[test]
    fn rows_are_found_and_the_end_is_none() {
        let data = four();
        assert_eq!((data.len(), data.is_empty(), data.example_len()), (4, false, 2));
        assert_eq!(data.row(3), Some(&[6, 7][..]));
        assert_eq!(data.row(4), None);
        assert_eq!(data.row(usize::MAX), None);
    }

    #[test]
    fn parts_that_disagree_are_refused() {
        let new = |shape: &[usize], pixels: usize, labels: &[u32], classes, scale| {
            message(Dataset::new("d", shape, vec![0; pixels], labels.to_vec(), classes, scale))
        };
        assert!(new(&[2], 0, &[], 1, 1.0).contains("no rows"));
        assert!(new(&[2, 0], 0, &[0], 1, 1.0).contains("no values"));
        assert!(new(&[2], 5, &[0, 0], 1, 1.0).contains("5 pixels"));
        assert!(new(&[usize::MAX, 2], 5, &[0, 0], 1, 1.0).contains("5 pixels"));
        assert!(new(&[1], 2, &[0, 3], 3, 1.0).contains("row 1 has label 3, but there are 3 classes"));
        for scale in [0.0, -1.0, f32::NAN, f32::INFINITY] {
            assert!(new(&[1], 1, &[0], 1, scale).contains("scale"));
            assert!(message(four().with_scale(scale)).contains("scale"));
        }
    }

    #[test]
    fn scale_is_all_that_with_scale_changes() {
        assert_eq!(four().with_scale(0.5).unwrap(), four());
        assert_eq!(four().with_scale(0.25).unwrap().scale, 0.25);
    }

    #[test]
    fn validation_rows_come_from_the_end() {
        let (train, validation) = four().split_validation(1).unwrap();
        assert_eq!((train.pixels, train.labels), (vec![0, 1, 2, 3, 4, 5], vec![0, 1, 2]));
        assert_eq!((validation.pixels, validation.labels), (vec![6, 7], vec![1]));
        assert_eq!((train.name.as_str(), validation.name.as_str()), ("four/train", "four/validation"));
        assert_eq!((validation.shape, validation.classes, validation.scale), (vec![1, 1, 2], 3, 0.5));
    }

    #[test]
    fn no_validation_is_allowed_and_no_training_is_not() {
        let (train, validation) = four().split_validation(0).unwrap();
        assert_eq!(train, four());
        assert!(validation.is_empty() && validation.pixels.is_empty());
        for n in [4, 5, usize::MAX] {
            assert!(message(four().split_validation(n)).contains("keep at most 3"));
        }
    }

    #[test]
    fn fields_set_by_hand_are_checked_before_a_split() {
        let mut data = four();
        data.pixels.pop();
        assert_eq!(data.row(3), None);
        assert!(message(data.split_validation(1)).contains("7 pixels"));
    }

    #[test]
    fn a_split_needs_one_kind_of_example() {
        let split = Split::new(four(), four(), 2).unwrap();
        assert_eq!((split.train.len(), split.validation.len(), split.test.len()), (2, 2, 4));
        let wide = Dataset::new("wide/test", [2, 1, 1], vec![0; 2], vec![0], 3, 0.5).unwrap();
        assert!(message(Split::new(four(), wide, 2)).contains("differ"));
        assert!(message(Split::new(four(), four().with_scale(1.0).unwrap(), 2)).contains("differ"));
        assert!(message(Split::new(four(), four(), 4)).contains("keep at most 3"));
    }

    #[test]
    fn debug_prints_no_values() {
        let text = format!("{:?}", four());
        assert!(text.contains("rows: 4") && !text.contains("pixels"), "{text}");
    }
}
