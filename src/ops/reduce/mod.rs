//! Sums and maxima over neighbouring axes. Kernels: `shaders/reduce.wgsl`.

mod methods;
mod plan;
mod reference;

use self::plan::Plan;
use super::{
    Arg, Backward, Case, Chain, Fill, Fillings, Fusion, Gradients, KernelContext, Op, Outputs, Pattern,
    Program, Traits,
};
use super::{In, TINY, UNIT, expect, float, magnitudes};
use crate::error::Result;
use crate::graph::Var;
use crate::shape::{DType, Shape, TensorType};

/// What becomes of the elements along the axes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// They are added.
    Sum,
    /// The largest one stays.
    Max,
}

/// Reduces the axes `first..first + count`, which the output drops, and multiplies by `scale`: a mean is a
/// sum scaled by 1/n. The sum itself must be finite.
#[derive(Debug, Clone)]
pub(crate) struct Reduce {
    pub(crate) kind: Kind,
    pub(crate) first: usize,
    pub(crate) count: usize,
    pub(crate) scale: f32,
}

/// A tensor seen as [outer, extent, inner], of which the middle is reduced.
#[derive(Debug, Clone, Copy)]
struct View {
    outer: usize,
    extent: usize,
    inner: usize,
}

impl Reduce {
    fn axes(&self) -> std::ops::Range<usize> {
        self.first..self.first + self.count
    }

    fn view(&self, shape: &Shape) -> View {
        let dims = shape.dims();
        let end = self.axes().end;
        View {
            outer: dims[..self.first].iter().product(),
            extent: dims[self.axes()].iter().product(),
            inner: dims[end..].iter().product(),
        }
    }

    /// The input's shape with 1 for each reduced axis.
    fn keep(&self, shape: Shape) -> Shape {
        self.axes().fold(shape, |s, axis| s.with(axis, 1))
    }
}

impl Op for Reduce {
    fn name(&self) -> &'static str {
        match self.kind {
            Kind::Sum => "sum",
            Kind::Max => "max",
        }
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, String> {
        expect(inputs, &[DType::F32])?;
        let shape = inputs[0].shape;
        let axes = self.axes();
        if axes.is_empty() || axes.end > shape.rank() {
            return Err(format!("axes {axes:?} are not axes of {shape}"));
        }
        if self.kind == Kind::Max && shape.dims()[axes.clone()].contains(&0) {
            return Err(format!("{shape} has no elements to take a maximum of"));
        }
        let dims = [&shape.dims()[..axes.start], &shape.dims()[axes.end..]].concat();
        Ok(vec![float(&dims)])
    }

    fn grad<'g>(&self, Backward { inputs, outputs, upstream, .. }: Backward<'_, 'g>) -> Gradients<'g> {
        let Some(dy) = upstream[0] else { return Ok(vec![None]) };
        let x = inputs[0];
        let keep = self.keep(x.shape());
        let dx = match self.kind {
            Kind::Sum => scaled(dy, self.scale).reshape(keep).broadcast_to(x.shape()),
            // Evenly over ties, as PyTorch's amax.
            Kind::Max => {
                let largest = x.equal(outputs[0].reshape(keep));
                let axes: Vec<usize> = self.axes().collect();
                // Chosen, not multiplied: 0 times an infinite cotangent would be NaN. Of NaN nothing is the largest.
                let share = dy.reshape(keep).cotangent_div(largest.sum_keep(&axes));
                largest.select(share, x.graph().scalar(0.0))
            }
        };
        Ok(vec![Some(dx)])
    }

    fn dispatch(&self, ctx: &KernelContext<'_>) -> Result<Program> {
        let view = self.view(&ctx.inputs[0].shape);
        let plan = Plan::new(ctx.caps, &view);
        let (source, result) = (Arg::Input(0), Arg::Output(0));
        if plan.chunks == 1 {
            return Ok(plan.launch((self.kind, self.scale), (source, result), ctx)?.into());
        }
        let last = Plan::whole(ctx.caps.class, &View { extent: plan.chunks, ..view });
        let first = plan.launch((self.kind, 1.0), (source, Arg::Scratch(0)), ctx)?;
        let second = last.launch((self.kind, self.scale), (Arg::ScratchRead(0), result), ctx)?;
        let scratch = (4 * view.outer * plan.chunks * view.inner).next_multiple_of(16);
        Ok(Program::new(vec![first, second], vec![scratch]))
    }

    fn carried(&self, _: usize, errors: &[f64], inputs: &[In<'_, f64>], _: &[In<'_, f64>]) -> Vec<Vec<f64>> {
        let View { outer, extent, inner } = self.view(&inputs[0].shape);
        let mut all = vec![0.0f64; outer * inner];
        for (at, e) in errors.iter().enumerate() {
            let to = &mut all[at / (extent * inner) * inner + at % inner];
            *to = if self.kind == Kind::Max { to.max(*e) } else { *to + e };
        }
        // What is off is rounded too.
        let units = 1.0 + (extent + 2) as f64 * UNIT;
        vec![all.into_iter().map(|e| f64::from(self.scale).abs() * units * e).collect()]
    }

    fn error_bound(&self, inputs: &[In<'_, f64>], outputs: &[In<'_, f64>]) -> Vec<Vec<f64>> {
        if self.kind == Kind::Max {
            // A copy of an element, which an adapter may flush.
            return vec![vec![TINY; outputs[0].f().len()]];
        }
        // In any order, extent - 1 additions and the scaling round; each result is at most sum |x|.
        let extent = self.view(&inputs[0].shape).extent as f64;
        let sums = magnitudes(&Reduce { scale: 1.0, ..self.clone() }, inputs, &outputs[0]);
        let scale = f64::from(self.scale).abs();
        let (units, flushed) = ((extent + 2.0) * UNIT, extent * TINY);
        vec![sums.into_iter().map(|sum| scale * (units * sum + flushed) + TINY).collect()]
    }

    fn flops(&self, inputs: &[TensorType], _: &[TensorType]) -> u64 {
        inputs[0].shape.elements() as u64
    }

    fn traits(&self) -> Traits {
        let sums_rows = self.kind == Kind::Sum && self.first == 0 && self.count == 1 && self.scale == 1.0;
        Traits::default().keeping_f32(Outputs::ALL).pattern(sums_rows.then_some(Pattern::SumOfRows))
    }

    fn can_fuse(&self, ctx: &KernelContext<'_>) -> bool {
        let Fusion { prologue, epilogue } = ctx.fusion;
        let plan = || Plan::new(ctx.caps, &self.view(&ctx.inputs[0].shape));
        let takes = |chain: &Chain| chain.shape.elements() > 0 && plan().suits(chain, ctx.caps.class);
        prologue.is_none_or(|(_, chain)| takes(chain)) && epilogue.is_none_or(|chain| chain.follows(None))
    }
}

/// `x` times a constant; a constant stays one where the product is exact.
fn scaled(x: Var<'_>, scale: f32) -> Var<'_> {
    if scale == 1.0 {
        return x;
    }
    match x.fill_value().and_then(|value| exactly(f64::from(value) * f64::from(scale))) {
        Some(value) => x.graph.record_one(Fill { value, shape: x.shape() }, &[]),
        None => x * scale,
    }
}

/// The f32 that equals `x`, if there is one.
fn exactly(x: f64) -> Option<f32> {
    let y = x as f32;
    (y.is_finite() && f64::from(y) == x).then_some(y)
}

pub(super) fn cases() -> Vec<Case> {
    let sum = |first, count| Reduce { kind: Kind::Sum, first, count, scale: 1.0 };
    let mean = |first, count, n: usize| Reduce { scale: 1.0 / n as f32, ..sum(first, count) };
    let max = |first, count| Reduce { kind: Kind::Max, ..sum(first, count) };
    let mut cases = vec![
        Case::new(sum(0, 1), &[&[1]]),
        Case::new(sum(1, 1), &[&[7, 1]]),
        Case::new(mean(0, 2, 15), &[&[3, 5]]),
        Case::new(sum(0, 1), &[&[5, 7]]),
        Case::new(mean(0, 1, 9), &[&[9, 8]]),
        Case::new(sum(1, 1), &[&[6, 12]]),
        Case::new(sum(1, 2), &[&[2, 3, 5, 7]]),
        Case::new(sum(1, 1), &[&[3, 13, 4]]),
        Case::new(sum(1, 1), &[&[65, 31]]),
        Case::new(max(0, 1), &[&[1]]),
        Case::new(max(0, 1), &[&[13, 3]]),
        Case::new(max(1, 1), &[&[5, 17]]),
        Case::new(max(1, 2), &[&[3, 4, 5, 4]]),
    ];
    // Long and few, which is cut in pieces; many and short; one more and one less than a workgroup.
    for (first, shape) in [
        (0, &[100_003][..]),
        (0, &[65_536]),
        (0, &[20_011, 3]),
        (0, &[4099, 12]),
        (0, &[300, 8]),
        (0, &[37, 256]),
        (0, &[4100, 272]),
        (1, &[5, 19, 64]),
        (1, &[3, 8196]),
        (1, &[5, 300]),
        (1, &[2, 2999, 5]),
        (1, &[63, 255]),
        (1, &[65, 257]),
        (1, &[4097, 33]),
        (1, &[1031, 67, 4]),
    ] {
        cases.push(Case::new(sum(first, 1), &[shape]).no_gradient());
        cases.push(Case::new(sum(first, 1), &[shape]).exact());
        cases.push(Case::new(max(first, 1), &[shape]).no_gradient());
    }
    cases.push(Case::new(mean(0, 2, 1 << 16), &[&[256, 256]]).no_gradient());
    let given = |op: Reduce, shape: &[usize], values: &[f64]| {
        Case::new(op, &[shape]).fill(0, Fillings::Given(values.to_vec())).no_gradient()
    };
    let lowest = f64::from(f32::MIN);
    cases.extend([
        given(sum(1, 1), &[4, 6], &[1e30, 1.0, -1e30]),
        given(max(1, 1), &[4, 300], &[2.0, -1.0, 2.0]),
        given(max(1, 1), &[4, 7], &[-1e4]),
        given(max(1, 1), &[4, 256], &[lowest]),
        given(max(0, 1), &[9, 4], &[lowest, -lowest, 0.0, -0.0, 1e-38]),
    ]);
    cases
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{Value, eval, gradients_agree, noise, run};

    const SUM: Reduce = Reduce { kind: Kind::Sum, first: 1, count: 1, scale: 1.0 };

    #[test]
    fn sums_and_maxima_are_those_done_by_hand() {
        let x = Value::F(vec![1.0, 2.0, 3.0, -4.0, -5.0, -6.0, 7.0, 0.5, 7.0, 0.0, 1.0, 2.0]);
        let at = |op: Reduce| eval(&op, true, &[(&[2, 3, 2], x.clone())]).unwrap();
        assert_eq!(at(SUM), [Value::F(vec![-1.0, -8.0, 15.0, 2.5])]);
        assert_eq!(at(Reduce { kind: Kind::Max, ..SUM }), [Value::F(vec![3.0, 2.0, 7.0, 2.0])]);
        assert_eq!(at(Reduce { count: 2, scale: 0.5, ..SUM }), [Value::F(vec![-4.5, 8.75])]);
        assert_eq!(at(Reduce { first: 0, count: 3, ..SUM }), [Value::F(vec![8.5])]);
    }

    #[test]
    fn axes_that_are_not_there_are_refused() {
        let ask = |op: Reduce, dims: &[usize]| op.infer(&[float(dims)]).unwrap_err();
        assert!(ask(SUM, &[4]).contains("are not axes of [4]"));
        assert!(ask(Reduce { count: 0, ..SUM }, &[4, 5]).contains("are not axes of"));
        assert!(ask(Reduce { kind: Kind::Max, ..SUM }, &[4, 0]).contains("no elements"));
        let classes = TensorType::u32(float(&[4, 5]).shape);
        assert!(SUM.infer(&[classes]).unwrap_err().contains("must be f32"));
    }

    #[test]
    fn gradients_are_the_differences() {
        gradients_agree(&[(&[3, 4], noise(12, 1))], |x| {
            (x[0].sum(&[1]) * x[0].mean(&[1])).square().sum_all()
        });
        gradients_agree(&[(&[2, 3, 2], noise(12, 2))], |x| {
            (x[0].max(&[0, 2]) * x[0].min(&[1]).sum_all()).sum_all()
        });
    }

    #[test]
    fn a_maximum_shares_its_gradient_among_ties() {
        let g = crate::Graph::new();
        let x = g.input("x", [2, 3]);
        let d = g.gradients(x.max(&[1]).sum_all(), &[x])[0];
        let values = run(&g, &[Value::F(vec![1.0, 5.0, 5.0, 2.0, 0.0, -1.0])], &[d]);
        assert_eq!(values[0], [0.0, 0.5, 0.5, 1.0, 0.0, 0.0]);
    }
}
