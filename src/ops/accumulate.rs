//! Running sums and averages in states: the loss and the correct predictions of an epoch, which the host reads once, and the
//! statistics of batch normalization. Kernel: `shaders/accumulate.wgsl`.

use super::{Arg, Case, Fillings, KernelContext, Op, Program, Real, Reference, uniform};
use super::{In, Out, TINY, UNIT, expect};
use crate::error::Result;
use crate::graph::Var;
use crate::shape::{DType, TensorType};

/// sum = keep · sum + factor · x, for a state `sum` of the shape of x. Inputs: x; the state.
#[derive(Debug, Clone)]
pub(crate) struct Accumulate {
    keep: f32,
    factor: f32,
    /// Whether elements stay where that of x is infinite or NaN.
    only_finite: bool,
}

impl<T: Real> Reference<T> for Accumulate {
    fn eval(&self, inputs: &[In<'_, T>], outputs: &mut [Out<'_, T>]) -> Result<(), String> {
        let (keep, factor) = (T::of(f64::from(self.keep)), T::of(f64::from(self.factor)));
        let x = inputs[0].f();
        let pairs = outputs[0].f().iter_mut().zip(x).filter(|(_, x)| !self.only_finite || x.is_finite());
        pairs.for_each(|(sum, &x)| *sum = keep * *sum + factor * x);
        Ok(())
    }
}

impl Op for Accumulate {
    fn name(&self) -> &'static str {
        "accumulate"
    }

    fn writes(&self) -> usize {
        1
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, String> {
        expect(inputs, &[DType::F32; 2])?;
        if inputs[0].shape != inputs[1].shape {
            return Err(format!("{} cannot be added to the state {}", inputs[0], inputs[1]));
        }
        Ok(vec![inputs[1]])
    }

    fn dispatch(&self, ctx: &KernelContext<'_>) -> Result<Program> {
        let vectors = ctx.inputs[0].shape.elements().div_ceil(4);
        let params = uniform! {
            vectors, keep: self.keep, factor: self.factor, only_finite: self.only_finite,
        };
        Ok(ctx.launch_over("accumulate", [Arg::Input(0), Arg::Output(0)], &params, vectors)?.into())
    }

    /// The products are rounded, and the sum.
    fn error_bound(&self, inputs: &[In<'_, f64>], outputs: &[In<'_, f64>]) -> Vec<Vec<f64>> {
        let factor = f64::from(self.factor);
        let bound = |(sum, x): (&f64, &f64)| {
            if self.only_finite && !x.is_finite() {
                return TINY;
            }
            // The old value's share is what the new one has beside x's.
            let (added, kept) = ((factor * x).abs(), (sum - factor * x).abs());
            UNIT * (sum.abs() + added + kept) + 2.0 * TINY
        };
        vec![outputs[0].f().iter().zip(inputs[0].f()).map(bound).collect()]
    }

    fn flops(&self, inputs: &[TensorType], _: &[TensorType]) -> u64 {
        3 * inputs[0].shape.elements() as u64
    }
}

impl<'g> Var<'g> {
    /// Adds `factor` times this value to a state of the same shape. Returns the state's new version.
    #[track_caller]
    pub(crate) fn accumulate_into(self, state: Var<'g>, factor: f32) -> Var<'g> {
        self.graph.record_one(Accumulate { keep: 1.0, factor, only_finite: false }, &[self, state])
    }

    /// Sets a state of the same shape to `keep` times itself and `factor` times this value, but for elements where this
    /// value is infinite or NaN, which would stay in an average for good. Returns the state's new version.
    #[track_caller]
    pub(crate) fn average_into(self, state: Var<'g>, keep: f32, factor: f32) -> Var<'g> {
        self.graph.record_one(Accumulate { keep, factor, only_finite: true }, &[self, state])
    }
}

pub(super) fn cases() -> Vec<Case> {
    let of = |keep, factor, only_finite, shape: &[usize]| {
        Case::new(Accumulate { keep, factor, only_finite }, &[shape, shape]).no_gradient()
    };
    let average = |keep, factor, shape: &[usize]| of(keep, factor, true, shape);
    let case = |factor, shape: &[usize]| of(1.0, factor, false, shape);
    let broken = vec![1.0, f64::INFINITY, f64::NAN, -2.0, f64::NEG_INFINITY];
    vec![
        average(0.9, 0.1, &[17]),
        average(0.0, 1.0, &[5]),
        average(0.9, 0.1, &[13]).fill(0, Fillings::Given(broken.clone())),
        case(0.5, &[5]).fill(0, Fillings::Given(broken.clone())),
        case(1.0, &[1200]),
        case(1.0, &[]),
        case(1.0, &[1]),
        case(32.0, &[7]),
        case(-0.5, &[65, 3]),
        case(1.0 / 3.0, &[10, 10]),
        case(1.0, &[257]).fill(1, Fillings::Uniform(1e5, 2e5)),
    ]
}

#[cfg(test)]
mod tests {
    use crate::graph::{Graph, Init, Params};
    use crate::{Device, Error};

    #[test]
    fn a_state_sums_over_runs() -> Result<(), Error> {
        let params = Params::seeded(0);
        let sum = params.state("sum", [2], Init::Constant(1.0));
        let g = Graph::new();
        g.input("x", [2]).accumulate_into(g.param(&sum), 2.0);
        let device = Device::cpu();
        let mut step = device.compile(&g)?;
        for x in [1.0, 10.0] {
            step.run_with(&[("x", (&[x, -x]).into())])?;
        }
        assert_eq!(device.read_param(&sum)?.as_f32(), [23.0, -21.0]);
        Ok(())
    }

    #[test]
    fn shapes_must_be_equal_and_the_target_a_state() {
        let params = Params::seeded(0);
        let message = |dims: &[usize], state: bool| {
            let g = Graph::new();
            let x = g.input("x", dims);
            let to = if state { g.param(&params.state("s", [2], Init::Constant(0.0))) } else { x };
            x.accumulate_into(to, 1.0);
            g.error().map(|e| e.to_string()).unwrap_or_default()
        };
        assert!(message(&[3], true).contains("cannot be added to the state"));
        assert!(message(&[2], false).contains("not a state"));
        assert!(message(&[2], true).is_empty());
    }
}
