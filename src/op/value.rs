//! Tensors as the CPU formulas see them: contiguous slices with a shape.

use ndarray::ArrayView2;

use super::functions;

use crate::shape::{DType, Shape};

/// The float types of the CPU executor: `f32` and `f64`.
pub trait Real: num_traits::Float + ndarray::LinalgScalar + Default + Send + Sync + std::fmt::Debug {
    /// Rounds from double precision.
    fn of(x: f64) -> Self;
    /// Widens to double precision.
    fn wide(self) -> f64;
    /// Runs an op's formula in this precision: the plain one, or the fast path.
    ///
    /// # Errors
    /// As [`super::Reference::eval`].
    fn eval(
        op: &dyn super::Op,
        plain: bool,
        inputs: &[In<'_, Self>],
        outputs: &mut [Out<'_, Self>],
    ) -> Result<(), String>;
    /// e to the power of each, as the CPU device computes it.
    #[doc(hidden)]
    fn exponentials(values: &mut [Self]) {
        values.iter_mut().for_each(|x| *x = x.exp());
    }
    /// 1 / (1 + e^-x) of each.
    #[doc(hidden)]
    fn sigmoids(values: &mut [Self]) {
        values.iter_mut().for_each(|x| *x = functions::sigmoid(*x));
    }
    /// The hyperbolic tangent of each.
    #[doc(hidden)]
    fn tanhs(values: &mut [Self]) {
        values.iter_mut().for_each(|x| *x = x.tanh());
    }
}

macro_rules! eval {
    () => {
        fn eval(
            op: &dyn super::Op,
            plain: bool,
            inputs: &[In<'_, Self>],
            outputs: &mut [Out<'_, Self>],
        ) -> Result<(), String> {
            if plain {
                super::Reference::<Self>::eval(op, inputs, outputs)
            } else {
                super::Reference::<Self>::eval_fast(op, inputs, outputs)
            }
        }
    };
}

impl Real for f32 {
    eval!();

    fn of(x: f64) -> Self {
        x as f32
    }
    fn wide(self) -> f64 {
        f64::from(self)
    }
    fn exponentials(values: &mut [Self]) {
        functions::exponentials(values);
    }
    fn sigmoids(values: &mut [Self]) {
        functions::sigmoids(values);
    }
    fn tanhs(values: &mut [Self]) {
        functions::tanhs(values);
    }
}

impl Real for f64 {
    eval!();

    fn of(x: f64) -> Self {
        x
    }
    fn wide(self) -> f64 {
        self
    }
}

/// Elements of an input.
#[derive(Debug, Clone, Copy)]
pub enum Slice<'a, T> {
    /// Floats.
    F(&'a [T]),
    /// Indices.
    U32(&'a [u32]),
    /// Bytes.
    U8(&'a [u8]),
}

/// Elements of an output.
#[derive(Debug)]
pub enum SliceMut<'a, T> {
    /// Floats.
    F(&'a mut [T]),
    /// Indices.
    U32(&'a mut [u32]),
    /// Bytes.
    U8(&'a mut [u8]),
}

/// An input of a formula.
#[derive(Debug, Clone, Copy)]
pub struct In<'a, T> {
    /// Extents.
    pub shape: Shape,
    /// Elements, row-major.
    pub data: Slice<'a, T>,
}

/// An output of a formula, or a state that it updates.
#[derive(Debug)]
pub struct Out<'a, T> {
    /// Extents.
    pub shape: Shape,
    /// Elements, row-major.
    pub data: SliceMut<'a, T>,
}

impl<'a, T> In<'a, T> {
    /// The floats; empty if the elements are of another type, which `infer` excludes.
    pub fn f(&self) -> &'a [T] {
        if let Slice::F(v) = self.data { v } else { &[] }
    }

    /// The indices; empty if the elements are of another type.
    pub fn u32(&self) -> &'a [u32] {
        if let Slice::U32(v) = self.data { v } else { &[] }
    }

    /// The floats as rows × columns, starting at element `start`.
    pub fn matrix(&self, start: usize, rows: usize, columns: usize) -> ArrayView2<'a, T> {
        let part = &self.f()[start..start + rows * columns];
        ArrayView2::from_shape((rows, columns), part).expect("the slice was cut to fit")
    }

    /// Element type.
    pub fn dtype(&self) -> DType {
        match self.data {
            Slice::F(_) => DType::F32,
            Slice::U32(_) => DType::U32,
            Slice::U8(_) => DType::U8,
        }
    }
}

impl<T> Out<'_, T> {
    /// The floats; empty if the elements are of another type, which `infer` excludes.
    pub fn f(&mut self) -> &mut [T] {
        if let SliceMut::F(v) = &mut self.data { v } else { &mut [] }
    }

    /// The indices; empty if the elements are of another type.
    pub fn u32(&mut self) -> &mut [u32] {
        if let SliceMut::U32(v) = &mut self.data { v } else { &mut [] }
    }
}
