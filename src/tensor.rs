//! Tensors on the host: what goes into a step and what comes back.

use crate::error::{Error, Result};
use crate::shape::{DType, IntoShape, Shape, TensorType};

/// The elements of a host tensor.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Data {
    /// Numbers.
    F32(Vec<f32>),
    /// Classes, indices, counters.
    U32(Vec<u32>),
    /// Bytes of images.
    U8(Vec<u8>),
}

impl Data {
    /// Element type.
    pub fn dtype(&self) -> DType {
        match self {
            Data::F32(_) => DType::F32,
            Data::U32(_) => DType::U32,
            Data::U8(_) => DType::U8,
        }
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        match self {
            Data::F32(v) => v.len(),
            Data::U32(v) => v.len(),
            Data::U8(v) => v.len(),
        }
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl From<Vec<f32>> for Data {
    fn from(v: Vec<f32>) -> Self {
        Data::F32(v)
    }
}

impl From<Vec<u32>> for Data {
    fn from(v: Vec<u32>) -> Self {
        Data::U32(v)
    }
}

impl From<Vec<u8>> for Data {
    fn from(v: Vec<u8>) -> Self {
        Data::U8(v)
    }
}

/// A tensor on the host, row-major.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    shape: Shape,
    data: Data,
}

impl Tensor {
    /// A tensor of `shape` with `data` in row-major order. Fails if their sizes differ.
    pub fn new(shape: impl IntoShape, data: impl Into<Data>) -> Result<Self> {
        let (dims, data) = (shape.into_dims(), data.into());
        let shape = Shape::new(&dims).ok_or_else(|| Error::Invalid(format!("{dims:?} is no shape")))?;
        if shape.elements() != data.len() {
            return Err(Error::Invalid(format!(
                "{} values do not fill shape {shape}, which has {} elements",
                data.len(),
                shape.elements()
            )));
        }
        Ok(Tensor { shape, data })
    }

    /// Extents.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// Element type and extents.
    pub fn tensor_type(&self) -> TensorType {
        TensorType { dtype: self.data.dtype(), shape: self.shape }
    }

    /// The elements.
    pub fn data(&self) -> &Data {
        &self.data
    }

    /// The elements as floats; empty if they are of another type.
    pub fn as_f32(&self) -> &[f32] {
        if let Data::F32(v) = &self.data { v } else { &[] }
    }
}

/// Borrowed values to feed an input with: slices, vectors or a [`Tensor`].
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Feed<'a> {
    /// Numbers.
    F32(&'a [f32]),
    /// Classes, indices.
    U32(&'a [u32]),
    /// Bytes of images.
    U8(&'a [u8]),
}

impl Feed<'_> {
    pub(crate) fn dtype(&self) -> DType {
        match self {
            Feed::F32(_) => DType::F32,
            Feed::U32(_) => DType::U32,
            Feed::U8(_) => DType::U8,
        }
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Feed::F32(v) => v.len(),
            Feed::U32(v) => v.len(),
            Feed::U8(v) => v.len(),
        }
    }

    /// Fails unless the values fit an input of type `ty` and, if `bound` is given, are below it.
    pub(crate) fn check(&self, name: &str, ty: &TensorType, bound: Option<u32>) -> Result<()> {
        let fail = |message| Err(Error::Feed { name: name.to_string(), message });
        if self.dtype() != ty.dtype {
            return fail(format!("expected {ty}, got {} values", self.dtype()));
        }
        if self.len() != ty.shape.elements() {
            return fail(format!(
                "expected {ty}, which has {} values, got {}",
                ty.shape.elements(),
                self.len()
            ));
        }
        if let (Feed::U32(values), Some(bound)) = (self, bound)
            && let Some(at) = values.iter().position(|&v| v >= bound)
        {
            return fail(format!("row {at} holds {}, outside 0..{bound}", values[at]));
        }
        Ok(())
    }
}

impl<'a> From<&'a Data> for Feed<'a> {
    fn from(data: &'a Data) -> Self {
        match data {
            Data::F32(v) => Feed::F32(v),
            Data::U32(v) => Feed::U32(v),
            Data::U8(v) => Feed::U8(v),
        }
    }
}

impl<'a> From<&'a Tensor> for Feed<'a> {
    fn from(t: &'a Tensor) -> Self {
        (&t.data).into()
    }
}

macro_rules! feed_from {
    ($($t:ty => $variant:ident),*) => {$(
        impl<'a> From<&'a [$t]> for Feed<'a> {
            fn from(v: &'a [$t]) -> Self { Feed::$variant(v) }
        }
        impl<'a> From<&'a Vec<$t>> for Feed<'a> {
            fn from(v: &'a Vec<$t>) -> Self { Feed::$variant(v) }
        }
        impl<'a, const N: usize> From<&'a [$t; N]> for Feed<'a> {
            fn from(v: &'a [$t; N]) -> Self { Feed::$variant(v) }
        }
    )*};
}
feed_from!(f32 => F32, u32 => U32, u8 => U8);
