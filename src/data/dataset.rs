//! Labelled examples.

use std::borrow::Cow;
use std::fmt;

use crate::error::{Error, Result};
use crate::tensor::{Data, Feed};

/// The values of a data set, row after row.
#[derive(Clone, PartialEq)]
pub enum Values {
    /// A byte each, as files of images have them. They stay bytes until the device forms a batch.
    Bytes {
        /// The bytes.
        values: Vec<u8>,
        /// What the device multiplies each byte by: 1/255 for full bytes, 1/16 for the digits, to get 0 to 1.
        scale: f32,
    },
    /// The numbers that the model sees.
    Floats(Vec<f32>),
}

impl Values {
    /// Bytes that stand for `scale` times their value.
    pub fn bytes(values: Vec<u8>, scale: f32) -> Self {
        Values::Bytes { values, scale }
    }

    /// The number of values.
    pub fn len(&self) -> usize {
        match self {
            Values::Bytes { values, .. } => values.len(),
            Values::Floats(values) => values.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What a stored number is multiplied by to get what the model sees: 1 for floats.
    pub fn scale(&self) -> f32 {
        match self {
            Values::Bytes { scale, .. } => *scale,
            Values::Floats(_) => 1.0,
        }
    }

    /// The bytes; `None` for floats.
    pub fn as_bytes(&self) -> Option<&[u8]> {
        match self {
            Values::Bytes { values, .. } => Some(values),
            Values::Floats(_) => None,
        }
    }

    /// The floats; `None` for bytes.
    pub fn as_floats(&self) -> Option<&[f32]> {
        match self {
            Values::Bytes { .. } => None,
            Values::Floats(values) => Some(values),
        }
    }

    /// The numbers that the model sees: bytes times their scale, rounded as the device does it.
    pub fn to_floats(&self) -> Cow<'_, [f32]> {
        match self {
            Values::Bytes { values, scale } => values.iter().map(|&byte| f32::from(byte) * scale).collect(),
            Values::Floats(values) => Cow::Borrowed(values),
        }
    }

    /// The rows of `len` values with these numbers, one after another, bytes not scaled; `None` if one is past the
    /// end.
    pub(super) fn gather(&self, rows: &[u32], len: usize) -> Option<Data> {
        fn pick<T: Copy>(values: &[T], rows: &[u32], len: usize) -> Option<Vec<T>> {
            let mut picked = Vec::with_capacity(rows.len().checked_mul(len)?);
            for &row in rows {
                let start = (row as usize).checked_mul(len)?;
                picked.extend_from_slice(values.get(start..start.checked_add(len)?)?);
            }
            Some(picked)
        }
        Some(match self {
            Values::Bytes { values, .. } => Data::U8(pick(values, rows, len)?),
            Values::Floats(values) => Data::F32(pick(values, rows, len)?),
        })
    }

    fn split_off(&mut self, at: usize) -> Self {
        match self {
            Values::Bytes { values, scale } => Values::Bytes { values: values.split_off(at), scale: *scale },
            Values::Floats(values) => Values::Floats(values.split_off(at)),
        }
    }

    /// Whether a model can be fed the one where it was fed the other.
    pub(super) fn is_like(&self, other: &Values) -> bool {
        self.as_bytes().is_some() == other.as_bytes().is_some() && self.scale() == other.scale()
    }
}

impl From<Vec<f32>> for Values {
    fn from(values: Vec<f32>) -> Self {
        Values::Floats(values)
    }
}

impl<'a> From<&'a Values> for Feed<'a> {
    fn from(values: &'a Values) -> Self {
        match values {
            Values::Bytes { values, .. } => Feed::U8(values),
            Values::Floats(values) => Feed::F32(values),
        }
    }
}

/// The kind and the number, not the values.
impl fmt::Debug for Values {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Values::Bytes { values, scale } => write!(f, "{} bytes times {scale}", values.len()),
            Values::Floats(values) => write!(f, "{} floats", values.len()),
        }
    }
}

/// Labelled examples of one shape.
///
/// Row `i` is the `i`th piece of [`example_len`](Dataset::example_len) values, with the class `labels[i]`.
/// [`Dataset::new`] checks that the parts agree.
#[derive(Clone, PartialEq)]
pub struct Dataset {
    /// What messages call it, such as `digits/train`.
    pub name: String,
    /// Shape of one example, such as `[1, 8, 8]` (channels, height, width), or `[4]` for a table's row.
    pub shape: Vec<usize>,
    /// The values of all examples, row after row, each in row-major order.
    pub values: Values,
    /// The class of each example, below `classes`.
    pub labels: Vec<u32>,
    /// The number of classes.
    pub classes: usize,
    /// The names of the classes; empty where they have only numbers.
    pub class_names: Vec<String>,
}

impl Dataset {
    /// A data set of `labels.len()` examples, whose classes have no names.
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
        let (name, shape, values) = (name.into(), shape.into(), values.into());
        let dataset = Dataset { name, shape, values, labels, classes, class_names: Vec::new() };
        dataset.check()?;
        Ok(dataset)
    }

    /// The same rows, their classes called by these names.
    ///
    /// # Errors
    /// [`Error::Invalid`] unless there are as many as classes.
    pub fn with_class_names(self, class_names: Vec<String>) -> Result<Self> {
        let dataset = Dataset { class_names, ..self };
        dataset.check()?;
        Ok(dataset)
    }

    /// The fields are public, so what needs them to agree asks again.
    pub(crate) fn check(&self) -> Result<()> {
        let Dataset { name, shape, values, labels, classes, class_names } = self;
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
        if self.example_len().checked_mul(labels.len()) != Some(values.len()) {
            return invalid(format!(
                "{} labels and examples of shape {shape:?} need {} values each, but there are {} values",
                labels.len(),
                self.example_len(),
                values.len()
            ));
        }
        if let Some(row) = labels.iter().position(|&label| label as usize >= *classes) {
            return invalid(format!("row {row} has label {}, but there are {classes} classes", labels[row]));
        }
        if !class_names.is_empty() && class_names.len() != *classes {
            return invalid(format!("{} names for {classes} classes", class_names.len()));
        }
        match values {
            Values::Bytes { scale, .. } if !(scale.is_finite() && *scale > 0.0) => {
                invalid(format!("scale {scale} is not a positive number"))
            }
            Values::Floats(values) => match values.iter().position(|x| !x.is_finite()) {
                Some(at) => invalid(format!("row {} holds {}", at / self.example_len(), values[at])),
                None => Ok(()),
            },
            Values::Bytes { .. } => Ok(()),
        }
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

    /// What a stored number is multiplied by ([`Values::scale`]).
    pub fn scale(&self) -> f32 {
        self.values.scale()
    }

    /// Example `i` as the model sees it, bytes times their scale; `None` past the end.
    pub fn row(&self, i: usize) -> Option<Vec<f32>> {
        Some(match self.values.gather(&[u32::try_from(i).ok()?], self.example_len())? {
            Data::U8(bytes) => bytes.iter().map(|&byte| f32::from(byte) * self.scale()).collect(),
            Data::F32(values) => values,
            Data::U32(_) => return None,
        })
    }

    /// The stored values of these rows, one after another, as [`Step::feed`](crate::Step::feed) takes them: bytes
    /// are not scaled. And their labels.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a row past the end.
    pub fn gather(&self, rows: &[u32]) -> Result<(Data, Vec<u32>)> {
        let labels = rows.iter().map(|&row| self.labels.get(row as usize).copied()).collect::<Option<_>>();
        match (self.values.gather(rows, self.example_len()), labels) {
            (Some(values), Some(labels)) => Ok((values, labels)),
            _ => Err(Error::Invalid(format!(
                "data set `{}` has {} rows and values for {}; row {} was asked for",
                self.name,
                self.len(),
                self.values.len() / self.example_len().max(1),
                rows.iter().max().copied().unwrap_or(0)
            ))),
        }
    }

    /// A data set of these rows, in this order, called `name`.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a row past the end.
    pub fn select(&self, name: impl Into<String>, rows: &[u32]) -> Result<Dataset> {
        let (values, labels) = self.gather(rows)?;
        let values = match values {
            Data::U8(bytes) => Values::bytes(bytes, self.scale()),
            Data::F32(values) => Values::Floats(values),
            Data::U32(_) => return Err(Error::Invalid("a data set holds no class numbers as values".into())),
        };
        Ok(Dataset {
            name: name.into(),
            shape: self.shape.clone(),
            values,
            labels,
            classes: self.classes,
            class_names: self.class_names.clone(),
        })
    }

    /// The name of a class, or its number where it has none.
    pub fn class_name(&self, class: usize) -> String {
        self.class_names.get(class).cloned().unwrap_or_else(|| class.to_string())
    }

    /// The same bytes with another scale.
    ///
    /// # Errors
    /// [`Error::Invalid`] where `scale` is not a positive number, or the values are floats.
    pub fn with_scale(self, scale: f32) -> Result<Self> {
        let values = match self.values {
            Values::Bytes { values, .. } => Values::bytes(values, scale),
            Values::Floats(_) => {
                return Err(Error::Invalid(format!(
                    "data set `{}` holds floats; only bytes have a scale",
                    self.name
                )));
            }
        };
        let dataset = Dataset { values, ..self };
        dataset.check()?;
        Ok(dataset)
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
            values: self.values.split_off(left * self.example_len()),
            labels: self.labels.split_off(left),
            classes: self.classes,
            class_names: self.class_names.clone(),
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
            .field("values", &self.values)
            .field("classes", &self.classes)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::data) fn four() -> Dataset {
        let values = Values::bytes((0..8).collect(), 0.5);
        Dataset::new("four/train", [1, 1, 2], values, vec![0, 1, 2, 1], 3).unwrap()
    }

    fn floats() -> Dataset {
        Dataset::new("floats", [2], vec![0.5, -1.0, 2.0, 3.0, 4.0, 5.0], vec![1, 0, 1], 2).unwrap()
    }

    pub(in crate::data) fn message(result: Result<impl fmt::Debug>) -> String {
        match result {
            Err(Error::Invalid(message)) => message,
            other => panic!("not Invalid: {other:?}"),
        }
    }

    #[test]
    fn rows_are_found_and_the_end_is_none() {
        let data = four();
        assert_eq!((data.len(), data.is_empty(), data.example_len()), (4, false, 2));
        assert_eq!(data.row(3), Some(vec![3.0, 3.5]));
        assert_eq!((data.row(4), data.row(usize::MAX)), (None, None));
        assert_eq!(floats().row(1), Some(vec![2.0, 3.0]));
        assert_eq!(floats().row(3), None);
    }

    #[test]
    fn rows_are_gathered_as_they_are_stored() {
        assert_eq!(four().gather(&[2, 0]).unwrap(), (Data::U8(vec![4, 5, 0, 1]), vec![2, 0]));
        assert_eq!(floats().gather(&[2]).unwrap(), (Data::F32(vec![4.0, 5.0]), vec![1]));
        assert!(message(floats().gather(&[1, 3])).contains("row 3 was asked for"));
        let picked = four().select("picked", &[3, 3]).unwrap();
        assert_eq!((picked.name.as_str(), picked.labels), ("picked", vec![1, 1]));
        assert_eq!(picked.values, Values::bytes(vec![6, 7, 6, 7], 0.5));
    }

    #[test]
    fn parts_that_disagree_are_refused() {
        let new = |shape: &[usize], values: usize, labels: &[u32], classes, scale| {
            message(Dataset::new("d", shape, Values::bytes(vec![0; values], scale), labels.to_vec(), classes))
        };
        assert!(new(&[2], 0, &[], 1, 1.0).contains("no rows"));
        assert!(new(&[2, 0], 0, &[0], 1, 1.0).contains("no values"));
        assert!(new(&[2], 5, &[0, 0], 1, 1.0).contains("5 values"));
        assert!(new(&[usize::MAX, 2], 5, &[0, 0], 1, 1.0).contains("5 values"));
        assert!(new(&[1], 2, &[0, 3], 3, 1.0).contains("row 1 has label 3, but there are 3 classes"));
        for scale in [0.0, -1.0, f32::NAN, f32::INFINITY] {
            assert!(new(&[1], 1, &[0], 1, scale).contains("scale"));
            assert!(message(four().with_scale(scale)).contains("scale"));
        }
        for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let floats = Dataset::new("d", [2], vec![0.0, 0.0, 0.0, value], vec![0, 0], 1);
            assert!(message(floats).contains("row 1 holds"));
        }
        assert!(message(floats().with_scale(0.5)).contains("holds floats"));
        assert!(message(floats().with_class_names(vec!["a".into()])).contains("1 names for 2 classes"));
    }

    #[test]
    fn classes_have_names_or_numbers() {
        let named = floats().with_class_names(vec!["no".into(), "yes".into()]).unwrap();
        assert_eq!((named.class_name(1), floats().class_name(1)), ("yes".to_string(), "1".to_string()));
    }

    #[test]
    fn scale_is_all_that_with_scale_changes() {
        assert_eq!(four().with_scale(0.5).unwrap(), four());
        assert_eq!(four().with_scale(0.25).unwrap().scale(), 0.25);
    }

    #[test]
    fn validation_rows_come_from_the_end() {
        let (train, validation) = four().split_validation(1).unwrap();
        assert_eq!((train.values.as_bytes(), train.labels), (Some(&[0, 1, 2, 3, 4, 5][..]), vec![0, 1, 2]));
        assert_eq!((validation.values.as_bytes(), &validation.labels[..]), (Some(&[6, 7][..]), &[1][..]));
        assert_eq!((train.name.as_str(), validation.name.as_str()), ("four/train", "four/validation"));
        assert_eq!(validation.scale(), 0.5);
        assert_eq!((validation.shape, validation.classes), (vec![1, 1, 2], 3));
        let (train, validation) = floats().split_validation(1).unwrap();
        assert_eq!((train.values.len(), validation.values), (4, Values::Floats(vec![4.0, 5.0])));
    }

    #[test]
    fn no_validation_is_allowed_and_no_training_is_not() {
        let (train, validation) = four().split_validation(0).unwrap();
        assert_eq!(train, four());
        assert!(validation.is_empty() && validation.values.is_empty());
        for n in [4, 5, usize::MAX] {
            assert!(message(four().split_validation(n)).contains("keep at most 3"));
        }
    }

    #[test]
    fn fields_set_by_hand_are_checked_before_a_split() {
        let mut data = four();
        data.values = Values::bytes(vec![0; 7], 0.5);
        assert_eq!(data.row(3), None);
        assert!(message(data.gather(&[3])).contains("4 rows and values for 3"));
        assert!(message(data.split_validation(1)).contains("7 values"));
    }

    #[test]
    fn debug_prints_no_values() {
        let text = format!("{:?}", four());
        assert!(text.contains("rows: 4") && text.contains("8 bytes times 0.5"), "{text}");
    }
}
