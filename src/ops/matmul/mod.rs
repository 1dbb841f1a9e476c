//! Matrix products, batched, in the three forms that training needs. [`kernels`] lists their kernels.

mod blocks;
mod cases;
mod gradient;
pub(super) mod images;
mod kernels;
mod thin;
mod tile;

pub(super) use cases::cases;
pub(crate) use cases::long_cases;
pub(crate) use gradient::MatMulSum;

use super::{
    Backward, Chain, Gradients, In, Kernel, KernelContext, Kernels, Op, Out, Pattern, Program, Real,
    Reference, Traits, Trial, bound_of_products, expect,
};
use ndarray::ArrayViewMut2;

use crate::error::Result;
use crate::graph::{Var, shape_rule};
use crate::host::threads;
use crate::host::{PART, product};
use crate::shape::{DType, Shape, TensorType};

/// Which operand is read transposed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Form {
    /// C\[m,n\] = A\[m,k\] B\[k,n\].
    Nn,
    /// C\[m,n\] = A\[m,k\] B\[n,k\]ᵀ: a linear layer with PyTorch's weight.
    Nt,
    /// C\[m,n\] = A\[k,m\]ᵀ B\[k,n\]: the gradient of a weight.
    Tn,
}

impl Form {
    fn name(self) -> &'static str {
        match self {
            Form::Nn => "matmul",
            Form::Nt => "matmul_nt",
            Form::Tn => "matmul_tn",
        }
    }

    /// In the names of kernels.
    fn letters(self) -> &'static str {
        match self {
            Form::Nn => "nn",
            Form::Nt => "nt",
            Form::Tn => "tn",
        }
    }

    /// Whether rows of A, B and C start at multiples of 4 elements, so that they load as `vec4`s.
    fn aligned(self, e: &Extents) -> [bool; 3] {
        let a = if self == Form::Tn { e.m } else { e.k };
        let b = if self == Form::Nt { e.k } else { e.n };
        [a, b, e.n].map(|n| n.is_multiple_of(4))
    }

    /// Of A along m and k, and of B along k and n.
    fn strides(self, e: &Extents) -> [usize; 4] {
        let [a_m, a_k] = if self == Form::Tn { [1, e.m] } else { [e.k, 1] };
        let [b_k, b_n] = if self == Form::Nt { [1, e.k] } else { [e.n, 1] };
        [a_m, a_k, b_k, b_n]
    }
}

/// How keys of kernels have [`Form::aligned`].
fn letters(aligned: [bool; 3]) -> String {
    aligned.iter().map(|is| if *is { '4' } else { '1' }).collect()
}

/// A product of matrices in the last two axes; leading axes are a batch, equal in both.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MatMul {
    pub(crate) form: Form,
    pub(crate) kernels: Kernels,
}

/// Extents of one product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Extents {
    pub(crate) batch: usize,
    pub(crate) m: usize,
    pub(crate) n: usize,
    pub(crate) k: usize,
}

impl MatMul {
    fn extents(&self, a: &Shape, b: &Shape) -> Extents {
        let r = a.rank();
        let (m, k) = match self.form {
            Form::Nn | Form::Nt => (a.dim(r - 2), a.dim(r - 1)),
            Form::Tn => (a.dim(r - 1), a.dim(r - 2)),
        };
        let n = if self.form == Form::Nt { b.dim(r - 2) } else { b.dim(r - 1) };
        Extents { batch: a.dims()[..r - 2].iter().product(), m, n, k }
    }
}

impl<T: Real> Reference<T> for MatMul {
    fn eval(&self, inputs: &[In<'_, T>], outputs: &mut [Out<'_, T>]) -> Result<(), String> {
        let e = self.extents(&inputs[0].shape, &inputs[1].shape);
        let [a_m, a_k, b_k, b_n] = self.form.strides(&e);
        let (a, b) = (inputs[0].f(), inputs[1].f());
        let c = outputs[0].f();
        for batch in 0..e.batch {
            let (a, b) = (&a[batch * e.m * e.k..], &b[batch * e.k * e.n..]);
            for i in 0..e.m {
                for j in 0..e.n {
                    let mut sum = T::zero();
                    for k in 0..e.k {
                        sum = sum + a[i * a_m + k * a_k] * b[k * b_k + j * b_n];
                    }
                    c[(batch * e.m + i) * e.n + j] = sum;
                }
            }
        }
        Ok(())
    }

    /// Through ndarray's blocked product, with threads over parts of the result, or over the batch.
    fn eval_fast(&self, inputs: &[In<'_, T>], outputs: &mut [Out<'_, T>]) -> Result<(), String> {
        let e = self.extents(&inputs[0].shape, &inputs[1].shape);
        let one = |i: usize, c: &mut [T]| {
            let (a_at, b_at) = (i * e.m * e.k, i * e.k * e.n);
            let (a, b) = match self.form {
                Form::Nn => (inputs[0].matrix(a_at, e.m, e.k), inputs[1].matrix(b_at, e.k, e.n)),
                Form::Nt => {
                    (inputs[0].matrix(a_at, e.m, e.k), inputs[1].matrix(b_at, e.n, e.k).reversed_axes())
                }
                Form::Tn => {
                    (inputs[0].matrix(a_at, e.k, e.m).reversed_axes(), inputs[1].matrix(b_at, e.k, e.n))
                }
            };
            let c = ArrayViewMut2::from_shape((e.m, e.n), c).expect("the slice was cut to fit");
            product(&a, &b, T::zero(), c);
        };
        let batch = outputs[0].f().chunks_exact_mut((e.m * e.n).max(1)).enumerate();
        // Few products have threads each, many are done by one thread each.
        let most = if e.batch < 2 * threads::available() { 1 } else { e.batch * e.m * e.n * e.k / PART };
        threads::share(most, batch, |batch| batch.for_each(|(i, c)| one(i, c)));
        Ok(())
    }
}

impl Op for MatMul {
    fn name(&self) -> &'static str {
        self.form.name()
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, String> {
        expect(inputs, &[DType::F32; 2])?;
        let (a, b) = (inputs[0].shape, inputs[1].shape);
        let r = a.rank();
        if r < 2 || b.rank() != r {
            return Err(format!("needs two matrices, or two batches of them, got {a} and {b}"));
        }
        if a.dims()[..r - 2] != b.dims()[..r - 2] {
            return Err(format!("batches {:?} and {:?} differ", &a.dims()[..r - 2], &b.dims()[..r - 2]));
        }
        let inner = if self.form == Form::Nt { b.dim(r - 1) } else { b.dim(r - 2) };
        let e = self.extents(&a, &b);
        if e.k != inner {
            return Err(format!("the inner extents {} and {inner} of {a} and {b} differ", e.k));
        }
        let mut dims = a.dims().to_vec();
        dims[r - 2] = e.m;
        dims[r - 1] = e.n;
        Ok(vec![TensorType::f32(Shape::new(&dims).ok_or_else(shape_rule)?)])
    }

    fn grad<'g>(&self, Backward { inputs, upstream, needed, .. }: Backward<'_, 'g>) -> Gradients<'g> {
        let Some(dc) = upstream[0] else { return Ok(vec![None, None]) };
        let (a, b) = (inputs[0], inputs[1]);
        let da = || match self.form {
            Form::Nn => dc.product(b, Form::Nt),
            Form::Nt => dc.product(b, Form::Nn),
            Form::Tn => b.product(dc, Form::Nt),
        };
        let db = || match self.form {
            Form::Nn => a.product(dc, Form::Tn),
            Form::Nt => dc.product(a, Form::Tn),
            Form::Tn => a.product(dc, Form::Nn),
        };
        Ok(vec![needed[0].then(da), needed[1].then(db)])
    }

    fn dispatch(&self, ctx: &KernelContext<'_>) -> Result<Program> {
        let e = self.extents(&ctx.inputs[0].shape, &ctx.inputs[1].shape);
        kernels::launch(&kernels::Problem { form: self.form, e, sums: false, kernels: self.kernels }, ctx)
    }

    fn trial(&self, inputs: &[TensorType]) -> Option<Trial> {
        let e = self.extents(&inputs[0].shape, &inputs[1].shape);
        let is_thin = thin::Thin::chosen(self.kernels, self.form, &e).is_some();
        (self.kernels == Kernels::Best && !is_thin).then(|| blocks::trial(self.form, &e, false))
    }

    fn error_bound(&self, inputs: &[In<'_, f64>], outputs: &[In<'_, f64>]) -> Vec<Vec<f64>> {
        let k = self.extents(&inputs[0].shape, &inputs[1].shape).k;
        bound_of_products(self, k, inputs, outputs)
    }

    fn flops(&self, inputs: &[TensorType], _: &[TensorType]) -> u64 {
        let e = self.extents(&inputs[0].shape, &inputs[1].shape);
        2 * (e.batch * e.m * e.n * e.k) as u64
    }

    fn traits(&self) -> Traits {
        Traits::default()
            .pattern((self.form == Form::Tn && self.kernels == Kernels::Best).then_some(Pattern::MatMulTn))
    }

    fn can_fuse(&self, ctx: &KernelContext<'_>) -> bool {
        ctx.fusion.epilogue_alone().is_some_and(|chain| chain.follows(chain.columns))
    }
}

impl<'g> Var<'g> {
    #[track_caller]
    fn product(self, other: Var<'g>, form: Form) -> Var<'g> {
        self.graph.record_one(MatMul { form, kernels: Kernels::Best }, &[self, other])
    }

    /// Matrix product over the last two axes: `[.., m, k]` by `[.., k, n]` is `[.., m, n]`. Leading axes
    /// broadcast as in numpy; a batch times one matrix is computed as a single product.
    #[track_caller]
    pub fn matmul(self, other: Var<'g>) -> Var<'g> {
        self.batched(other, Form::Nn)
    }

    /// Product with the second matrix transposed: `[.., m, k]` by `[.., n, k]` is `[.., m, n]`.
    #[track_caller]
    pub fn matmul_nt(self, other: Var<'g>) -> Var<'g> {
        self.batched(other, Form::Nt)
    }

    /// Product with the first matrix transposed: `[.., k, m]` by `[.., k, n]` is `[.., m, n]`.
    #[track_caller]
    pub fn matmul_tn(self, other: Var<'g>) -> Var<'g> {
        self.batched(other, Form::Tn)
    }

    /// The same product by chosen kernels: for benches and tests.
    #[doc(hidden)]
    #[track_caller]
    pub fn matmul_by(self, other: Var<'g>, kernels: Kernels) -> Var<'g> {
        self.graph.record_one(MatMul { form: Form::Nn, kernels }, &[self, other])
    }

    #[track_caller]
    fn batched(self, other: Var<'g>, form: Form) -> Var<'g> {
        let (a, b) = (self.shape(), other.shape());
        let (ra, rb) = (a.rank(), b.rank());
        if ra < 2 || rb < 2 || (ra == rb && a.dims()[..ra - 2] == b.dims()[..rb - 2]) {
            return self.product(other, form);
        }
        if rb == 2 && form != Form::Tn {
            // One matrix for the whole batch: its rows are one long matrix.
            let rows: usize = a.dims()[..ra - 1].iter().product();
            let mut dims = a.dims().to_vec();
            dims[ra - 1] = if form == Form::Nt { b.dim(0) } else { b.dim(1) };
            return self.reshape([rows, a.dim(ra - 1)]).product(other, form).reshape(&dims);
        }
        let batch = Shape::new(&a.dims()[..ra - 2])
            .zip(Shape::new(&b.dims()[..rb - 2]))
            .and_then(|(x, y)| x.broadcast(&y));
        let Some(batch) = batch else { return self.product(other, form) };
        let full = |s: &Shape| [batch.dims(), &s.dims()[s.rank() - 2..]].concat();
        self.broadcast_to(&full(&a)).product(other.broadcast_to(&full(&b)), form)
    }
}

#[cfg(test)]
mod tests {
    use crate::{Device, Graph};

    #[test]
    fn the_batched_forms_agree_with_numpy_by_hand() {
        let g = Graph::new();
        let a = g.input("a", [2, 2, 3]);
        let b = g.input("b", [3, 2]);
        let c = a.matmul(b);
        assert_eq!(c.shape().dims(), [2, 2, 2]);
        g.output("c", c);
        g.output("d", a.t().matmul_tn(b.t().t()));
        let mut step = Device::cpu().compile(&g).unwrap();
        let a: Vec<f32> = (0..12).map(|i| i as f32).collect();
        let b = [1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0];
        step.run_with(&[("a", (&a).into()), ("b", (&b).into())]).unwrap();
        let expected = [13.0, 16.0, 40.0, 52.0, 67.0, 88.0, 94.0, 124.0];
        assert_eq!(step.values("c").unwrap(), expected);
        assert_eq!(step.values("d").unwrap(), expected);
    }

    #[test]
    fn wrong_shapes_are_explained() {
        let g = Graph::new();
        g.input("a", [2, 3]).matmul(g.input("b", [4, 5]));
        let text = g.error().unwrap().to_string();
        assert!(text.contains("inner extents 3 and 4"), "{text}");
        assert!(text.contains("matmul/mod.rs"), "{text}");
    }
}
