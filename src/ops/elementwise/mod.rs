//! Functions applied to each element, with numpy's broadcasting.
//!
//! A member of the family is a [`Formula`]: a WGSL function in `shaders/arithmetic.wgsl`,
//! `shaders/activations.wgsl` or `shaders/losses.wgsl`, the same formula in Rust, and its derivative. Kernels are
//! generated around the function, four elements per invocation.

mod activation;
mod arithmetic;
pub(crate) mod chain;
mod compare;
mod generate;
mod gradient;
mod loss;
mod rows;
mod term;
#[cfg(all(test, feature = "gpu"))]
mod tests;

use std::fmt::Debug;

pub(crate) use chain::{FIRST_BINDING, is_literal, library_then};
pub(crate) use generate::program;
pub(crate) use term::{Around, Functions, Walked};

pub(crate) use crate::op::{Chain, Operand, Pointwise};

use super::{
    Backward, Case, Fillings, Gradients, In, KernelContext, Op, Out, Outputs, Pattern, Program, Real,
    Reference, TINY, Traits, UNIT, View, expect, float,
};
use crate::error::Result;
use crate::graph::Var;
use crate::shape::{DType, MAX_RANK, Shape, TensorType};

/// A scalar function of up to three arguments with up to four constant attributes.
pub(crate) trait Formula: Copy + Debug + Send + Sync + 'static {
    /// Name of the op; the WGSL function is called `<NAME>_fn`.
    const NAME: &'static str;
    /// Number of tensor arguments.
    const ARITY: usize;

    /// Constants handed to the WGSL function after the arguments.
    fn attributes(&self) -> Vec<f32> {
        Vec::new()
    }

    /// The function.
    fn eval<T: Real>(&self, x: [T; 3]) -> T;

    /// The cotangent of argument `k`, in the shape of the result; `None` where the derivative is zero
    /// almost everywhere. It is 0 where `dy` is, also where the derivative is infinite or NaN: see
    /// [`Var::cotangent_mul`].
    fn grad<'g>(&self, k: usize, x: &[Var<'g>], y: Var<'g>, dy: Var<'g>) -> Option<Var<'g>>;

    /// The largest error that f32 explains, given arguments and result.
    fn bound(&self, x: [f64; 3], y: f64) -> f64 {
        let _ = x;
        4.0 * UNIT * y.abs()
    }

    /// Values to check argument `k` with.
    fn filling(k: usize) -> Fillings {
        let _ = k;
        Fillings::Normal
    }

    /// Whether its gradient can be checked by differences.
    const SMOOTH: bool = true;
    /// Whether its result stays in 32 bits in mixed precision, because it grows beyond the range of half precision, or
    /// loses the digits that count in it. Differences are what losses square.
    const KEEPS_F32: bool = false;
    /// What the planner knows it as.
    const PATTERN: Option<Pattern> = None;
    /// Whether it tells if its arguments are equal, which the least error of one changes.
    const EQUALITY: bool = false;
}

/// The op made of a formula.
#[derive(Clone, Copy)]
pub(crate) struct Elementwise<F>(pub(crate) F);

impl<F: Debug> Debug for Elementwise<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// How one argument is read while the result is walked in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Access {
    /// Element for element.
    Same,
    /// One element for all.
    Scalar,
    /// Repeats every so many elements: a bias per column.
    Suffix(usize),
    /// Each element serves so many in a row: a factor per row.
    Prefix(usize),
    /// Any other broadcasting.
    General,
}

/// Axes merged as far as all arguments allow, and how each argument is read.
#[derive(Debug, Clone)]
pub(crate) struct Elements {
    pub(crate) dims: Vec<usize>,
    pub(crate) strides: Vec<Vec<usize>>,
    pub(crate) access: Vec<Access>,
}

impl Elements {
    pub(crate) fn new(out: &Shape, inputs: &[Shape]) -> Self {
        let full: Vec<[usize; MAX_RANK]> = inputs.iter().map(|s| s.broadcast_strides(out)).collect();
        let mut dims: Vec<usize> = Vec::new();
        let mut strides: Vec<Vec<usize>> = vec![Vec::new(); inputs.len()];
        for axis in 0..out.rank() {
            let extent = out.dim(axis);
            if extent == 1 {
                continue;
            }
            let merges = !dims.is_empty()
                && full.iter().zip(&strides).all(|(f, s)| s.last() == Some(&(f[axis] * extent)));
            if merges {
                if let Some(last) = dims.last_mut() {
                    *last *= extent;
                }
                full.iter().zip(&mut strides).for_each(|(f, s)| {
                    if let Some(last) = s.last_mut() {
                        *last = f[axis];
                    }
                });
            } else {
                dims.push(extent);
                full.iter().zip(&mut strides).for_each(|(f, s)| s.push(f[axis]));
            }
        }
        let access = strides
            .iter()
            .map(|s| match (&s[..], &dims[..]) {
                (s, _) if s.iter().all(|&x| x == 0) => Access::Scalar,
                ([.., 1], d) if is_contiguous(s, d) => Access::Same,
                ([0, rest @ ..], [_, d @ ..]) if is_contiguous(rest, d) => Access::Suffix(d.iter().product()),
                ([lead @ .., 0], [d @ .., last]) if is_contiguous(lead, d) => Access::Prefix(*last),
                _ => Access::General,
            })
            .collect();
        // A single element is read the same way whatever it is called.
        let access = if dims.is_empty() { vec![Access::Same; inputs.len()] } else { access };
        Elements { dims, strides, access }
    }
}

fn is_contiguous(strides: &[usize], dims: &[usize]) -> bool {
    let mut step = 1;
    for (s, d) in strides.iter().zip(dims).rev() {
        if *s != step {
            return false;
        }
        step *= d;
    }
    true
}

impl<T: Real, F: Formula> Reference<T> for Elementwise<F> {
    fn eval(&self, inputs: &[In<'_, T>], outputs: &mut [Out<'_, T>]) -> Result<(), String> {
        let shape = outputs[0].shape;
        let read = |k: usize| {
            inputs.get(k).map(|x| {
                let strides = x.shape.broadcast_strides(&shape);
                let (mut offsets, values) = (vec![0; shape.elements()], x.f());
                View::strided(&shape, &strides, 0).each(|at, from| offsets[at] = from);
                offsets.into_iter().map(move |o| values[o])
            })
        };
        let (mut a, mut b, mut c) = (read(0), read(1), read(2));
        for y in outputs[0].f() {
            let next = |x: &mut Option<_>| x.as_mut().and_then(Iterator::next).unwrap_or_else(T::zero);
            *y = self.0.eval([next(&mut a), next(&mut b), next(&mut c)]);
        }
        Ok(())
    }

    fn eval_fast(&self, inputs: &[In<'_, T>], outputs: &mut [Out<'_, T>]) -> Result<(), String> {
        let shapes: Vec<Shape> = inputs.iter().map(|x| x.shape).collect();
        rows::apply(self.0, &Elements::new(&outputs[0].shape, &shapes), inputs, outputs[0].f());
        Ok(())
    }
}

impl<F: Formula> Op for Elementwise<F> {
    fn name(&self) -> &'static str {
        F::NAME
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, String> {
        expect(inputs, &vec![DType::F32; F::ARITY])?;
        let mut shape = inputs[0].shape;
        for input in &inputs[1..] {
            shape = shape.broadcast(&input.shape).ok_or_else(|| {
                let shapes: Vec<String> = inputs.iter().map(|i| i.shape.to_string()).collect();
                format!("shapes {} do not broadcast", shapes.join(" and "))
            })?;
        }
        Ok(vec![TensorType::f32(shape)])
    }

    fn grad<'g>(&self, Backward { inputs, outputs, upstream, needed }: Backward<'_, 'g>) -> Gradients<'g> {
        let Some(dy) = upstream[0] else { return Ok(vec![None; inputs.len()]) };
        let cotangent = |k: usize| {
            let full = needed[k].then(|| self.0.grad(k, inputs, outputs[0], dy)).flatten();
            full.map(|d| d.sum_to(inputs[k].shape()))
        };
        Ok((0..inputs.len()).map(cotangent).collect())
    }

    fn dispatch(&self, ctx: &KernelContext<'_>) -> Result<Program> {
        let inputs = ctx.inputs.iter().map(|i| i.shape).collect();
        let chain = Chain::single(std::sync::Arc::new(*self), ctx.outputs[0].shape, inputs);
        generate::program(F::NAME, &chain, &[0], ctx.caps)
    }

    fn pointwise(&self) -> Option<&dyn Pointwise> {
        Some(self)
    }

    fn error_bound(&self, inputs: &[In<'_, f64>], outputs: &[In<'_, f64>]) -> Vec<Vec<f64>> {
        let shape = outputs[0].shape;
        let mut arguments = vec![[0.0; 3]; shape.elements()];
        for (k, x) in inputs.iter().enumerate() {
            let strides = x.shape.broadcast_strides(&shape);
            View::strided(&shape, &strides, 0).each(|at, from| {
                arguments[at][k] = x.f()[from];
            });
        }
        let bound = arguments.iter().zip(outputs[0].f()).map(|(x, &y)| self.0.bound(*x, y) + super::TINY);
        vec![bound.collect()]
    }

    fn traits(&self) -> Traits {
        let keeps = if F::KEEPS_F32 { Outputs::ALL } else { Outputs::default() };
        Traits::default().keeping_f32(keeps).pattern(F::PATTERN)
    }
}

impl<F: Formula> Pointwise for Elementwise<F> {
    fn function(&self) -> &'static str {
        F::NAME
    }

    fn arity(&self) -> usize {
        F::ARITY
    }

    fn attributes(&self) -> Vec<f32> {
        self.0.attributes()
    }

    fn value(&self, x: [f64; 3]) -> f64 {
        self.0.eval(x)
    }

    fn bound(&self, x: [f64; 3], y: f64) -> f64 {
        self.0.bound(x, y)
    }

    fn tells_equality(&self) -> bool {
        F::EQUALITY
    }
}

fn cases_of<F: Formula>(formula: F) -> Vec<Case> {
    let fill = |mut case: Case| {
        for k in 0..F::ARITY {
            case = case.fill(k, F::filling(k));
        }
        if F::SMOOTH { case } else { case.no_gradient() }
    };
    let all = |shape: &[usize]| vec![shape.to_vec(); F::ARITY];
    let mut shapes: Vec<Vec<Vec<usize>>> =
        vec![all(&[]), all(&[1]), all(&[7]), all(&[65]), all(&[3, 5, 4]), all(&[130, 33])];
    if F::ARITY >= 2 {
        let rest = |first: &[usize], second: &[usize]| {
            let mut s = vec![first.to_vec(), second.to_vec()];
            s.resize(F::ARITY, first.to_vec());
            s
        };
        shapes.extend([
            rest(&[6, 8], &[8]),
            rest(&[5, 7], &[7]),
            rest(&[6, 8], &[6, 1]),
            rest(&[5, 3], &[5, 1]),
            rest(&[6, 8], &[]),
            rest(&[4, 1, 3], &[2, 1]),
            rest(&[1, 8], &[6, 1]),
        ]);
    }
    let mut cases: Vec<Case> = shapes
        .iter()
        .map(|s| {
            let shapes: Vec<&[usize]> = s.iter().map(Vec::as_slice).collect();
            fill(Case::new(Elementwise(formula), &shapes))
        })
        .collect();
    // All of these against each other.
    let n = SPECIAL.len().pow(F::ARITY as u32);
    let argument =
        |k: usize| (0..n).map(|i| SPECIAL[i / SPECIAL.len().pow(k as u32) % SPECIAL.len()]).collect();
    let arguments: Vec<Vec<f64>> = (0..F::ARITY).map(argument).collect();
    cases.push(points(formula, &arguments.iter().map(Vec::as_slice).collect::<Vec<_>>()));
    cases
}

/// The usual cases of formulas.
macro_rules! all_cases {
    ($($formula:expr),* $(,)?) => { [$($crate::ops::elementwise::cases_of($formula)),*].concat() };
}
use all_cases;

/// Where formulas are told apart that agree elsewhere.
const SPECIAL: [f64; 9] = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 0.0, -0.0, 1.0, -1.0, 2.5, -3.0];

/// Cases of the whole family.
pub(crate) fn cases() -> Vec<Case> {
    let mut cases = arithmetic::cases();
    cases.extend(compare::cases());
    cases.extend(activation::cases());
    cases.extend(gradient::cases());
    cases.extend(loss::cases());
    cases
}

/// A formula on given arguments: extremes, kinks, ties. Broadcasts nothing and checks no gradient.
fn points<F: Formula>(formula: F, arguments: &[&[f64]]) -> Case {
    let n = arguments[0].len();
    let mut case = Case::new(Elementwise(formula), &vec![&[n][..]; F::ARITY]).no_gradient();
    case.inputs = arguments.iter().map(|a| (float(&[n]), Fillings::Given(a.to_vec()))).collect();
    case
}

/// Defines a formula: name, WGSL name, arguments, value, derivative.
macro_rules! formula {
    ($(#[$doc:meta])* $name:ident $(($($attr:ident),+))? = $text:literal, $arity:literal,
     eval: |$this:ident, $x:ident| $eval:expr,
     grad: |$gthis:ident, $k:ident, $gx:ident, $gy:ident, $dy:ident| $grad:expr
     $(, bound: |$bthis:ident, $bx:ident, $by:ident| $bound:expr)?
     $(, filling: |$fk:ident| $filling:expr)?
     $(, smooth: $smooth:literal)?
     $(, keeps_f32: $keeps:literal)?
     $(, pattern: $pattern:expr)?
     $(, equality: $equality:literal)?
    ) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq)]
        pub(crate) struct $name $(($(pub(crate) formula!(@f32 $attr)),+))?;

        impl Formula for $name {
            const NAME: &'static str = $text;
            const ARITY: usize = $arity;
            $(const SMOOTH: bool = $smooth;)?
            $(const KEEPS_F32: bool = $keeps;)?
            $(const PATTERN: Option<Pattern> = Some($pattern);)?
            $(const EQUALITY: bool = $equality;)?
            formula!(@attributes $(($($attr),+))?);
            #[inline(always)]
            fn eval<T: Real>(&self, $x: [T; 3]) -> T { let $this = self; let _ = $this; $eval }
            fn grad<'g>(&self, $k: usize, $gx: &[Var<'g>], $gy: Var<'g>, $dy: Var<'g>) -> Option<Var<'g>> {
                let $gthis = self;
                let _ = ($gthis, $k, $gx, $gy, $dy);
                $grad
            }
            $(fn bound(&self, $bx: [f64; 3], $by: f64) -> f64 {
                let $bthis = self;
                let _ = ($bthis, $bx, $by);
                $bound
            })?
            $(fn filling($fk: usize) -> Fillings { let _ = $fk; $filling })?
        }
    };
    (@f32 $attr:ident) => { f32 };
    (@attributes) => {};
    (@attributes ($a:ident)) => { fn attributes(&self) -> Vec<f32> { vec![self.0] } };
    (@attributes ($a:ident, $b:ident)) => { fn attributes(&self) -> Vec<f32> { vec![self.0, self.1] } };
    (@attributes ($a:ident, $b:ident, $c:ident)) => {
        fn attributes(&self) -> Vec<f32> { vec![self.0, self.1, self.2] }
    };
}
use formula;

/// Defines methods of [`Var`] that record a formula of it and other values.
macro_rules! methods {
    ($($(#[$doc:meta])* $name:ident($($other:ident)?) = $formula:ident;)*) => {
        impl<'g> Var<'g> {$(
            $(#[$doc])*
            #[track_caller]
            pub fn $name(self $(, $other: Var<'g>)?) -> Var<'g> {
                self.graph.record_one(Elementwise($formula), &[self $(, $other)?])
            }
        )*}
    };
}
use methods;
