//! Tensors as the CPU formulas see them: contiguous slices with a shape.

use ndarray::ArrayView2;

use crate::shape::{DType, Shape};

/// The float types of the CPU executor: `f32` and `f64`.
pub trait Real: num_traits::Float + ndarray::LinalgScalar + Default + Send + Sync + std::fmt::Debug {
    /// Rounds from double precision.
    fn of(x: f64) -> Self;
    /// Widens to double precision.
    fn wide(self) -> f64;
    /// Replaces each by e to its power.
    fn exponentials(values: &mut [Self]) {
        values.iter_mut().for_each(|x| *x = x.exp());
    }
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
    /// 1 / (1 + e^-x) of each, as the CPU device computes it.
    #[doc(hidden)]
    fn sigmoids(values: &mut [Self]);
    /// Hyperbolic tangents, as the CPU device computes them.
    #[doc(hidden)]
    fn tanhs(values: &mut [Self]);
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
    fn sigmoids(values: &mut [Self]) {
        super::functions::sigmoids(values);
    }
    fn tanhs(values: &mut [Self]) {
        super::functions::tanhs(values);
    }
    fn wide(self) -> f64 {
        f64::from(self)
    }
    fn exponentials(values: &mut [Self]) {
        super::functions::exponentials(values);
    }
}

impl Real for f64 {
    eval!();

    fn of(x: f64) -> Self {
        x
    }
    fn sigmoids(values: &mut [Self]) {
        // Never exponentiates a positive number, so it cannot overflow.
        let sigmoid = |x: f64| if x >= 0.0 { 1.0 / (1.0 + (-x).exp()) } else { x.exp() / (1.0 + x.exp()) };
        values.iter_mut().for_each(|x| *x = sigmoid(*x));
    }
    fn tanhs(values: &mut [Self]) {
        values.iter_mut().for_each(|x| *x = x.tanh());
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
