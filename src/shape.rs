//! Shapes and tensor types, small enough to copy.

use std::fmt;

/// The most axes a tensor can have.
pub const MAX_RANK: usize = 6;

/// The extents of a tensor, at most [`MAX_RANK`] of them. Row-major: the last axis is contiguous.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Shape {
    dims: [usize; MAX_RANK],
    rank: u8,
}

impl Shape {
    /// A shape from its extents; `None` if there are more than [`MAX_RANK`] or the number of elements
    /// does not fit in 32 bits (kernels index with `u32`).
    pub fn new(dims: &[usize]) -> Option<Self> {
        if dims.len() > MAX_RANK {
            return None;
        }
        // An extent of 0 counts as 1, so that strides cannot overflow either.
        let elements = dims.iter().try_fold(1usize, |n, &d| n.checked_mul(d.max(1)))?;
        if elements > u32::MAX as usize {
            return None;
        }
        let mut shape = Shape { dims: [1; MAX_RANK], rank: dims.len() as u8 };
        shape.dims[..dims.len()].copy_from_slice(dims);
        Some(shape)
    }

    /// The shape of a single number: no axes.
    pub fn scalar() -> Self {
        Shape { dims: [1; MAX_RANK], rank: 0 }
    }

    /// The extents.
    pub fn dims(&self) -> &[usize] {
        &self.dims[..self.rank as usize]
    }

    /// Extent of axis `i`; 1 beyond the last axis, so that code computing with the shape of a
    /// failed node does not panic.
    pub fn dim(&self, i: usize) -> usize {
        self.dims.get(i).copied().unwrap_or(1)
    }

    /// Number of axes.
    pub fn rank(&self) -> usize {
        self.rank as usize
    }

    /// Number of elements.
    pub fn elements(&self) -> usize {
        self.dims().iter().product()
    }

    /// Row-major strides, in elements.
    pub fn strides(&self) -> [usize; MAX_RANK] {
        let mut strides = [0; MAX_RANK];
        let mut step = 1;
        for i in (0..self.rank()).rev() {
            strides[i] = step;
            step *= self.dims[i];
        }
        strides
    }

    /// The shape with axis `axis` set to `extent`.
    pub(crate) fn with(mut self, axis: usize, extent: usize) -> Self {
        self.dims[axis] = extent;
        self
    }

    /// Strides that read this shape as `target` by numpy's broadcasting: 0 where it repeats.
    pub(crate) fn broadcast_strides(&self, target: &Shape) -> [usize; MAX_RANK] {
        let own = self.strides();
        let lead = target.rank() - self.rank();
        let mut strides = [0; MAX_RANK];
        for i in 0..self.rank() {
            if self.dims[i] != 1 {
                strides[lead + i] = own[i];
            }
        }
        strides
    }

    /// The shape two shapes broadcast to by numpy's rule, or `None`.
    pub fn broadcast(&self, other: &Shape) -> Option<Shape> {
        let rank = self.rank().max(other.rank());
        let mut dims = [1; MAX_RANK];
        for i in 0..rank {
            let a = if i + self.rank() >= rank { self.dims[i + self.rank() - rank] } else { 1 };
            let b = if i + other.rank() >= rank { other.dims[i + other.rank() - rank] } else { 1 };
            dims[i] = match (a, b) {
                (a, b) if a == b => a,
                (1, b) => b,
                (a, 1) => a,
                _ => return None,
            };
        }
        Shape::new(&dims[..rank])
    }

    /// Whether this shape broadcasts to exactly `target`.
    pub(crate) fn broadcasts_to(&self, target: &Shape) -> bool {
        self.broadcast(target) == Some(*target)
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.dims())
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.dims())
    }
}

/// How the elements of a tensor are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DType {
    /// 32-bit float: everything that is computed with. (On the f64 CPU device these are `f64`.)
    F32,
    /// 32-bit unsigned integer: classes, indices, counters.
    U32,
    /// Byte: storage of images; cast to `F32` before computing.
    U8,
    /// 16-bit float: how a step compiled with [`crate::Precision::Mixed`] keeps some values between its kernels.
    /// Nothing is recorded, fed or read in it.
    F16,
}

impl DType {
    /// Bytes of one element on a GPU.
    pub fn bytes(self) -> usize {
        match self {
            DType::F32 | DType::U32 => 4,
            DType::F16 => 2,
            DType::U8 => 1,
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DType::F32 => "f32",
            DType::U32 => "u32",
            DType::U8 => "u8",
            DType::F16 => "f16",
        })
    }
}

/// Element type and shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TensorType {
    /// Element type.
    pub dtype: DType,
    /// Extents.
    pub shape: Shape,
}

impl TensorType {
    /// A tensor of 32-bit floats.
    pub fn f32(shape: Shape) -> Self {
        TensorType { dtype: DType::F32, shape }
    }

    /// A tensor of classes, indices or counters.
    pub fn u32(shape: Shape) -> Self {
        TensorType { dtype: DType::U32, shape }
    }

    /// Makes floats f16.
    pub(crate) fn store_f16(&mut self) {
        if self.dtype == DType::F32 {
            self.dtype = DType::F16;
        }
    }

    /// Bytes it takes on a GPU: a multiple of 16, so that kernels may read and write whole `vec4`s.
    pub fn bytes(&self) -> usize {
        (self.shape.elements() * self.dtype.bytes()).next_multiple_of(16).max(16)
    }
}

impl fmt::Display for TensorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.dtype, self.shape)
    }
}

/// Anything that can be given as a shape: `[64, 784]`, a slice, a [`Shape`].
pub trait IntoShape {
    /// The extents.
    fn into_dims(self) -> Vec<usize>;
}

impl<const N: usize> IntoShape for [usize; N] {
    fn into_dims(self) -> Vec<usize> {
        self.to_vec()
    }
}

impl IntoShape for &[usize] {
    fn into_dims(self) -> Vec<usize> {
        self.to_vec()
    }
}

impl IntoShape for &Vec<usize> {
    fn into_dims(self) -> Vec<usize> {
        self.clone()
    }
}

impl IntoShape for Shape {
    fn into_dims(self) -> Vec<usize> {
        self.dims().to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn s(dims: &[usize]) -> Shape {
        Shape::new(dims).unwrap()
    }

    #[test]
    fn broadcasting_follows_numpy() {
        assert_eq!(s(&[3, 1]).broadcast(&s(&[4])), Some(s(&[3, 4])));
        assert_eq!(s(&[]).broadcast(&s(&[2, 3])), Some(s(&[2, 3])));
        assert_eq!(s(&[2]).broadcast(&s(&[3])), None);
        assert_eq!(s(&[3, 1]).broadcast_strides(&s(&[2, 3, 4]))[..3], [0, 1, 0]);
    }

    #[test]
    fn too_many_axes_or_elements_are_refused() {
        assert_eq!(Shape::new(&[1; MAX_RANK + 1]), None);
        assert_eq!(Shape::new(&[1 << 16, 1 << 16]), None);
        assert_eq!(Shape::new(&[usize::MAX, 2]), None);
    }

    #[test]
    fn a_shape_answers_beyond_its_rank() {
        assert_eq!(s(&[5]).dim(3), 1);
        assert_eq!(s(&[5]).dim(30), 1);
    }
}
