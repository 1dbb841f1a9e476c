//! Numbers of examples, row after row.

use std::borrow::Cow;
use std::fmt;

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
    /// Whole numbers that stay what they are, such as those of words, for [`Var::take_rows`](crate::Var::take_rows).
    Indices(Vec<u32>),
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
            Values::Indices(values) => values.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What a stored number is multiplied by to get what the model sees: 1 for all but bytes.
    pub fn scale(&self) -> f32 {
        match self {
            Values::Bytes { scale, .. } => *scale,
            Values::Floats(_) | Values::Indices(_) => 1.0,
        }
    }

    /// The bytes, if it holds such.
    pub fn as_bytes(&self) -> Option<&[u8]> {
        match self {
            Values::Bytes { values, .. } => Some(values),
            _ => None,
        }
    }

    /// The floats, if it holds such.
    pub fn as_floats(&self) -> Option<&[f32]> {
        match self {
            Values::Floats(values) => Some(values),
            _ => None,
        }
    }

    /// The numbers that the model sees: bytes times their scale, rounded as the device does it; indices as floats.
    pub fn to_floats(&self) -> Cow<'_, [f32]> {
        match self {
            Values::Bytes { values, scale } => values.iter().map(|&byte| f32::from(byte) * scale).collect(),
            Values::Floats(values) => Cow::Borrowed(values),
            Values::Indices(values) => values.iter().map(|&index| index as f32).collect(),
        }
    }

    /// The rows of `len` values with these numbers, one after another, bytes not scaled; `None` if one is past the
    /// end.
    pub(super) fn gather(&self, rows: &[u32], len: usize) -> Option<Data> {
        Some(match self {
            Values::Bytes { values, .. } => Data::U8(Values::gather_from(values, rows, len)?),
            Values::Floats(values) => Data::F32(Values::gather_from(values, rows, len)?),
            Values::Indices(values) => Data::U32(Values::gather_from(values, rows, len)?),
        })
    }

    /// The rows of `len` of these values with these numbers.
    pub(super) fn gather_from<T: Copy>(values: &[T], rows: &[u32], len: usize) -> Option<Vec<T>> {
        let mut picked = Vec::with_capacity(rows.len().checked_mul(len)?);
        for &row in rows {
            let start = (row as usize).checked_mul(len)?;
            picked.extend_from_slice(values.get(start..start.checked_add(len)?)?);
        }
        Some(picked)
    }

    /// What [`Values::gather`] gave, as values like these.
    pub(crate) fn like(&self, data: Data) -> Self {
        match data {
            Data::U8(bytes) => Values::bytes(bytes, self.scale()),
            Data::F32(values) => Values::Floats(values),
            Data::U32(values) => Values::Indices(values),
        }
    }

    /// No values of the same kind.
    pub(super) fn none(&self) -> Self {
        match self {
            Values::Bytes { scale, .. } => Values::bytes(Vec::new(), *scale),
            Values::Floats(_) => Values::Floats(Vec::new()),
            Values::Indices(_) => Values::Indices(Vec::new()),
        }
    }

    /// What keeps them from being the values of rows of `len` numbers, in words, if anything does.
    pub(super) fn fault(&self, len: usize) -> Option<String> {
        match self {
            Values::Bytes { scale, .. } if !(scale.is_finite() && *scale > 0.0) => {
                Some(format!("scale {scale} is not a positive number"))
            }
            Values::Floats(values) => {
                let at = values.iter().position(|x| !x.is_finite())?;
                Some(format!("row {} holds {}", at / len.max(1), values[at]))
            }
            Values::Bytes { .. } | Values::Indices(_) => None,
        }
    }

    /// What it holds, in a word or two.
    pub(super) fn kind(&self) -> String {
        match self {
            Values::Bytes { scale, .. } => format!("bytes of scale {scale}"),
            Values::Floats(_) => "floats".into(),
            Values::Indices(_) => "indices".into(),
        }
    }

    pub(super) fn split_off(&mut self, at: usize) -> Self {
        match self {
            Values::Bytes { values, scale } => Values::Bytes { values: values.split_off(at), scale: *scale },
            Values::Floats(values) => Values::Floats(values.split_off(at)),
            Values::Indices(values) => Values::Indices(values.split_off(at)),
        }
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
            Values::Indices(values) => Feed::U32(values),
        }
    }
}

/// The kind and the number, not the values.
impl fmt::Debug for Values {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Values::Bytes { values, scale } => write!(f, "{} bytes times {scale}", values.len()),
            Values::Floats(values) => write!(f, "{} floats", values.len()),
            Values::Indices(values) => write!(f, "{} indices", values.len()),
        }
    }
}
