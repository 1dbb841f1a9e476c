//! Maxima over windows.

use super::fast::Taps;
use super::{Pooling, Windows, launch, pooled};
use crate::error::{Error, Result};
use crate::host::threads;
use crate::ops::{
    Arg, Backward, Gradients, In, KernelContext, Op, Out, Pattern, Program, Real, Reference, TINY, Traits,
    beats, bound_of_sums, expect, magnitudes, uniform,
};
use crate::shape::{DType, Shape, TensorType};

/// The largest element of each window, and where in its plane it is; the first NaN, where there is one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MaxPool {
    pub(super) windows: Windows,
}

impl<T: Real> Reference<T> for MaxPool {
    fn eval(&self, inputs: &[In<'_, T>], outputs: &mut [Out<'_, T>]) -> Result<(), String> {
        let [y, x] = self.windows.axes(&inputs[0].shape)?;
        let [values, index] = outputs else { return Err("gives values and indices".into()) };
        let (values, index) = (values.f(), index.u32());
        let (plane, outs) = ((y.extent * x.extent) as usize, (y.outputs * x.outputs) as usize);
        for (p, source) in inputs[0].f().chunks_exact(plane).enumerate() {
            for oy in 0..y.outputs as usize {
                for ox in 0..x.outputs as usize {
                    let mut best: Option<(T, usize)> = None;
                    for iy in y.window(oy) {
                        for ix in x.window(ox) {
                            let at = iy * x.extent as usize + ix;
                            if best.is_none_or(|(b, _)| beats(source[at], b)) {
                                best = Some((source[at], at));
                            }
                        }
                    }
                    let (value, at) = best.ok_or("a window holds no element")?;
                    let o = p * outs + oy * x.outputs as usize + ox;
                    values[o] = value;
                    index[o] = at as u32;
                }
            }
        }
        Ok(())
    }

    fn eval_fast(&self, inputs: &[In<'_, T>], outputs: &mut [Out<'_, T>]) -> Result<(), String> {
        let Some(taps) = Taps::new(&self.windows.axes(&inputs[0].shape)?) else {
            return self.eval(inputs, outputs);
        };
        let [values, index] = outputs else { return Err("gives values and indices".into()) };
        taps.max(inputs[0].f(), values.f(), index.u32());
        Ok(())
    }
}

impl Op for MaxPool {
    fn name(&self) -> &'static str {
        "max_pool2d"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, String> {
        expect(inputs, &[DType::F32])?;
        let shape = pooled(&inputs[0].shape, &self.windows.axes(&inputs[0].shape)?)?;
        Ok(vec![TensorType::f32(shape), TensorType::u32(shape)])
    }

    fn grad<'g>(&self, Backward { inputs, outputs, upstream, .. }: Backward<'_, 'g>) -> Gradients<'g> {
        let backward = MaxPoolBackward { windows: self.windows, input: inputs[0].shape() };
        Ok(vec![upstream[0].map(|dy| dy.graph().record_one(backward, &[dy, outputs[1]]))])
    }

    fn dispatch(&self, ctx: &KernelContext<'_>) -> Result<Program> {
        launch(Pooling::Max, &self.windows, false, ctx)
    }

    /// Maxima are copies.
    fn error_bound(&self, _: &[In<'_, f64>], outputs: &[In<'_, f64>]) -> Vec<Vec<f64>> {
        vec![vec![TINY; outputs[0].f().len()], Vec::new()]
    }

    fn traits(&self) -> Traits {
        Traits::default().pattern(Some(Pattern::MaxPool))
    }
}

/// The cotangent of the input: each element gathers from the windows whose maximum it is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MaxPoolBackward {
    pub(crate) windows: Windows,
    pub(crate) input: Shape,
}

impl<T: Real> Reference<T> for MaxPoolBackward {
    fn eval(&self, inputs: &[In<'_, T>], outputs: &mut [Out<'_, T>]) -> Result<(), String> {
        let [y, x] = self.windows.axes(&self.input)?;
        let (plane, outs) = ((y.extent * x.extent) as usize, (y.outputs * x.outputs) as usize);
        let (dy, index, dx) = (inputs[0].f(), inputs[1].u32(), outputs[0].f());
        dx.fill(T::zero());
        for (o, (&dy, &at)) in dy.iter().zip(index).enumerate() {
            let to = dx[o / outs * plane..][..plane].get_mut(at as usize);
            let to = to.ok_or_else(|| format!("window {o} has its maximum at {at}, outside its plane"))?;
            *to = *to + dy;
        }
        Ok(())
    }

    fn eval_fast(&self, inputs: &[In<'_, T>], outputs: &mut [Out<'_, T>]) -> Result<(), String> {
        let [y, x] = self.windows.axes(&self.input)?;
        let (plane, outs) = ((y.extent * x.extent) as usize, (y.outputs * x.outputs) as usize);
        let (dy, index) = (inputs[0].f(), inputs[1].u32());
        threads::try_runs(outputs[0].f(), plane, 1, |first, dx| {
            dx.fill(T::zero());
            let first = first / plane * outs;
            let windows = dy[first..].chunks_exact(outs).zip(index[first..].chunks_exact(outs)).enumerate();
            for (dx, (p, (dy, index))) in dx.chunks_exact_mut(plane).zip(windows) {
                for (o, (&dy, &at)) in dy.iter().zip(index).enumerate() {
                    let to = dx.get_mut(at as usize).ok_or_else(|| {
                        let window = first + p * outs + o;
                        format!("window {window} has its maximum at {at}, outside its plane")
                    })?;
                    *to = *to + dy;
                }
            }
            Ok(())
        })
    }
}

impl Op for MaxPoolBackward {
    fn name(&self) -> &'static str {
        "max_pool2d_backward"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, String> {
        expect(inputs, &[DType::F32, DType::U32])?;
        let shape = pooled(&self.input, &self.windows.axes(&self.input)?)?;
        if inputs[0].shape != shape || inputs[1].shape != shape {
            return Err(format!("takes {shape} twice, got {} and {}", inputs[0], inputs[1]));
        }
        Ok(vec![TensorType::f32(self.input)])
    }

    fn grad<'g>(&self, Backward { inputs, upstream, .. }: Backward<'_, 'g>) -> Gradients<'g> {
        let gather = MaxPoolGather { windows: self.windows };
        Ok(vec![upstream[0].map(|u| u.graph().record_one(gather, &[u, inputs[1]])), None])
    }

    fn dispatch(&self, ctx: &KernelContext<'_>) -> Result<Program> {
        launch(Pooling::MaxBackward, &self.windows, false, ctx)
    }

    /// A sum of at most as many cotangents as windows hold an element.
    fn error_bound(&self, inputs: &[In<'_, f64>], outputs: &[In<'_, f64>]) -> Vec<Vec<f64>> {
        let most = match self.windows {
            Windows::Fixed { kernel, .. } => kernel[0] * kernel[1],
            Windows::Adaptive { outputs } => outputs[0] * outputs[1],
        };
        vec![bound_of_sums(&magnitudes(self, inputs, &outputs[0]), most as f64)]
    }

    fn traits(&self) -> Traits {
        Traits::default().pattern(Some(Pattern::MaxPoolBackward)).taking_epilogues()
    }
}

/// Elements at the maxima: the derivative of [`MaxPoolBackward`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct MaxPoolGather {
    pub(crate) windows: Windows,
}

impl<T: Real> Reference<T> for MaxPoolGather {
    fn eval(&self, inputs: &[In<'_, T>], outputs: &mut [Out<'_, T>]) -> Result<(), String> {
        let [y, x] = self.windows.axes(&inputs[0].shape)?;
        let (plane, outs) = ((y.extent * x.extent) as usize, (y.outputs * x.outputs) as usize);
        let (u, index) = (inputs[0].f(), inputs[1].u32());
        for (o, to) in outputs[0].f().iter_mut().enumerate() {
            let at = index[o];
            let value = u[o / outs * plane..][..plane].get(at as usize);
            *to = *value.ok_or_else(|| format!("window {o} has its maximum at {at}, outside its plane"))?;
        }
        Ok(())
    }
}

impl Op for MaxPoolGather {
    fn name(&self) -> &'static str {
        "max_pool2d_gather"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, String> {
        expect(inputs, &[DType::F32, DType::U32])?;
        let shape = pooled(&inputs[0].shape, &self.windows.axes(&inputs[0].shape)?)?;
        if inputs[1].shape != shape {
            return Err(format!("takes indices {shape}, got {}", inputs[1]));
        }
        Ok(vec![TensorType::f32(shape)])
    }

    fn grad<'g>(&self, Backward { inputs, upstream, .. }: Backward<'_, 'g>) -> Gradients<'g> {
        let backward = MaxPoolBackward { windows: self.windows, input: inputs[0].shape() };
        Ok(vec![upstream[0].map(|dy| dy.graph().record_one(backward, &[dy, inputs[1]])), None])
    }

    fn dispatch(&self, ctx: &KernelContext<'_>) -> Result<Program> {
        let args = [Arg::Input(0), Arg::Input(1), Arg::Output(0)];
        let n = ctx.outputs[0].shape.elements();
        let [y, x] = self.windows.axes(&ctx.inputs[0].shape).map_err(Error::Invalid)?;
        let params = uniform! { elements: n, count_padding: false, splits: 1_usize, length: 0_usize, y, x };
        Ok(ctx.launch_over("max_pool2d_gather", args, &params, n)?.into())
    }

    fn error_bound(&self, _: &[In<'_, f64>], outputs: &[In<'_, f64>]) -> Vec<Vec<f64>> {
        vec![vec![TINY; outputs[0].f().len()]]
    }
}

/// An index that could have come from a forward pass: any element of each window. For cases.
pub(super) fn some_index(windows: &Windows, input: &Shape) -> Vec<f64> {
    let Ok([y, x]) = windows.axes(input) else { return Vec::new() };
    let planes = input.elements() / (y.extent * x.extent) as usize;
    let mut index = Vec::new();
    for _ in 0..planes {
        for (oy, ox) in (0..y.outputs).flat_map(|oy| (0..x.outputs).map(move |ox| (oy as usize, ox as usize)))
        {
            let row = |row: usize| x.window(ox).map(move |column| row * x.extent as usize + column);
            let indices: Vec<usize> = y.window(oy).flat_map(row).collect();
            // Multiplied by 2^32 over the golden ratio, neighbours differ without a period.
            let some = (index.len() as u64).wrapping_mul(2_654_435_769) >> 16;
            index.push(indices.get(some as usize % indices.len().max(1)).map_or(0.0, |at| *at as f64));
        }
    }
    index
}
