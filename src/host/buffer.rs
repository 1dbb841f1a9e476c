//! Values in the CPU's memory.

use std::ops::Range;

use crate::op::{In, Out, Real, Slice, SliceMut};
use crate::shape::{DType, TensorType};
use crate::tensor::{Data, Feed};

/// Elements of one value, or of the values that share a slot, one after another.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Buffer<T> {
    F(Vec<T>),
    U32(Vec<u32>),
    U8(Vec<u8>),
}

impl<T: Real> Buffer<T> {
    pub(crate) fn zeros(dtype: DType, elements: usize) -> Self {
        match dtype {
            DType::F32 | DType::F16 => Buffer::F(vec![T::zero(); elements]),
            DType::U32 => Buffer::U32(vec![0; elements]),
            DType::U8 => Buffer::U8(vec![0; elements]),
        }
    }

    pub(crate) fn from_feed(values: Feed<'_>) -> Self {
        match values {
            Feed::F32(v) => Buffer::F(v.iter().map(|&x| T::of(f64::from(x))).collect()),
            Feed::U32(v) => Buffer::U32(v.to_vec()),
            Feed::U8(v) => Buffer::U8(v.to_vec()),
        }
    }

    pub(crate) fn assign(&mut self, values: Feed<'_>) {
        match (self, values) {
            (Buffer::F(to), Feed::F32(v)) => {
                to.iter_mut().zip(v).for_each(|(t, &x)| *t = T::of(f64::from(x)));
            }
            (Buffer::U32(to), Feed::U32(v)) => to.copy_from_slice(v),
            (Buffer::U8(to), Feed::U8(v)) => to.copy_from_slice(v),
            // The types were compared before.
            _ => {}
        }
    }

    pub(crate) fn input(&self, ty: &TensorType) -> In<'_, T> {
        self.input_at(0, ty)
    }

    /// The elements from byte `offset` on, as the plan counts them.
    pub(crate) fn input_at(&self, offset: usize, ty: &TensorType) -> In<'_, T> {
        let range = elements(offset, ty);
        let data = match self {
            Buffer::F(v) => Slice::F(&v[range]),
            Buffer::U32(v) => Slice::U32(&v[range]),
            Buffer::U8(v) => Slice::U8(&v[range]),
        };
        In { shape: ty.shape, data }
    }

    pub(crate) fn output(&mut self, ty: &TensorType) -> Out<'_, T> {
        self.output_at(0, ty)
    }

    pub(crate) fn output_at(&mut self, offset: usize, ty: &TensorType) -> Out<'_, T> {
        let range = elements(offset, ty);
        let data = match self {
            Buffer::F(v) => SliceMut::F(&mut v[range]),
            Buffer::U32(v) => SliceMut::U32(&mut v[range]),
            Buffer::U8(v) => SliceMut::U8(&mut v[range]),
        };
        Out { shape: ty.shape, data }
    }

    pub(crate) fn data(&self, elements: usize) -> Data {
        self.data_of(0..elements)
    }

    pub(crate) fn data_of(&self, range: Range<usize>) -> Data {
        match self {
            Buffer::F(v) => Data::F32(v[range].iter().map(|x| x.wide() as f32).collect()),
            Buffer::U32(v) => Data::U32(v[range].to_vec()),
            Buffer::U8(v) => Data::U8(v[range].to_vec()),
        }
    }
}

/// Which elements of a buffer of its type a value is, from a byte on.
pub(crate) fn elements(offset: usize, ty: &TensorType) -> Range<usize> {
    let first = offset / ty.dtype.bytes();
    first..first + ty.shape.elements()
}

impl<T> Default for Buffer<T> {
    fn default() -> Self {
        Buffer::U8(Vec::new())
    }
}
