//! Averages over windows.

use super::fast::Taps;
use super::window::Axis;
use super::{Pooling, Windows, launch, pooled};
use crate::error::Result;
use crate::ops::{
    Backward, Gradients, In, KernelContext, Op, Out, Program, Real, Reference, Traits, bound_of_sums, expect,
    magnitudes,
};
use crate::shape::{DType, Shape, TensorType};

/// The average of each window.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AvgPool {
    pub(super) windows: Windows,
    /// Whether padding counts as elements.
    pub(super) count_padding: bool,
}

impl<T: Real> Reference<T> for AvgPool {
    fn eval(&self, inputs: &[In<'_, T>], outputs: &mut [Out<'_, T>]) -> Result<(), String> {
        let [y, x] = self.windows.axes(&inputs[0].shape)?;
        let (plane, outs) = ((y.extent * x.extent) as usize, (y.outputs * x.outputs) as usize);
        let planes = inputs[0].f().chunks_exact(plane).zip(outputs[0].f().chunks_exact_mut(outs));
        for (source, target) in planes {
            for oy in 0..y.outputs as usize {
                for ox in 0..x.outputs as usize {
                    let mut sum = T::zero();
                    for iy in y.window(oy) {
                        for ix in x.window(ox) {
                            sum = sum + source[iy * x.extent as usize + ix];
                        }
                    }
                    let count = y.size(oy, self.count_padding) * x.size(ox, self.count_padding);
                    target[oy * x.outputs as usize + ox] = sum / T::of(count as f64);
                }
            }
        }
        Ok(())
    }

    fn eval_fast(&self, inputs: &[In<'_, T>], outputs: &mut [Out<'_, T>]) -> Result<(), String> {
        let axes = self.windows.axes(&inputs[0].shape)?;
        let Some(taps) = Taps::new(&axes) else { return self.eval(inputs, outputs) };
        let [down, across] = sizes(&axes, self.count_padding);
        taps.sum(inputs[0].f(), outputs[0].f(), |oy, sums| {
            let row = sums.iter_mut().zip(&across);
            row.for_each(|(sum, across)| *sum = *sum / T::of((down[oy] * across) as f64));
        });
        Ok(())
    }
}

/// What the windows are divided by: the extents of each along both axes.
fn sizes(axes: &[Axis; 2], count_padding: bool) -> [Vec<usize>; 2] {
    [0, 1].map(|a| (0..axes[a].outputs as usize).map(|o| axes[a].size(o, count_padding)).collect())
}

/// One rounding a term, and WGSL's division: 2.5 units in the last place.
fn bound(op: &dyn Reference<f64>, inputs: &[In<'_, f64>], output: &In<'_, f64>, terms: usize) -> Vec<f64> {
    bound_of_sums(&magnitudes(op, inputs, output), terms as f64 + 6.0)
}

impl Op for AvgPool {
    fn name(&self) -> &'static str {
        "avg_pool2d"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, String> {
        expect(inputs, &[DType::F32])?;
        let shape = pooled(&inputs[0].shape, &self.windows.axes(&inputs[0].shape)?)?;
        Ok(vec![TensorType::f32(shape)])
    }

    fn grad<'g>(&self, Backward { inputs, upstream, .. }: Backward<'_, 'g>) -> Gradients<'g> {
        let AvgPool { windows, count_padding } = *self;
        let backward = AvgPoolBackward { windows, count_padding, input: inputs[0].shape() };
        Ok(vec![upstream[0].map(|dy| dy.graph().record_one(backward, &[dy]))])
    }

    fn dispatch(&self, ctx: &KernelContext<'_>) -> Result<Program> {
        launch(Pooling::Average, &self.windows, self.count_padding, ctx)
    }

    fn error_bound(&self, inputs: &[In<'_, f64>], outputs: &[In<'_, f64>]) -> Vec<Vec<f64>> {
        let shape = inputs[0].shape;
        let terms = shape.dim(shape.rank() - 2) * shape.dim(shape.rank() - 1);
        let terms = match self.windows {
            Windows::Fixed { kernel, .. } => terms.min(kernel[0] * kernel[1]),
            Windows::Adaptive { .. } => terms,
        };
        vec![bound(self, inputs, &outputs[0], terms)]
    }
}

/// The cotangent of the input: each element gathers its share of the windows that hold it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AvgPoolBackward {
    pub(crate) windows: Windows,
    pub(crate) count_padding: bool,
    pub(crate) input: Shape,
}

impl<T: Real> Reference<T> for AvgPoolBackward {
    fn eval(&self, inputs: &[In<'_, T>], outputs: &mut [Out<'_, T>]) -> Result<(), String> {
        let [y, x] = self.windows.axes(&self.input)?;
        let (plane, outs) = ((y.extent * x.extent) as usize, (y.outputs * x.outputs) as usize);
        let dx = outputs[0].f();
        dx.fill(T::zero());
        for (source, target) in inputs[0].f().chunks_exact(outs).zip(dx.chunks_exact_mut(plane)) {
            for oy in 0..y.outputs as usize {
                for ox in 0..x.outputs as usize {
                    let count = y.size(oy, self.count_padding) * x.size(ox, self.count_padding);
                    let share = source[oy * x.outputs as usize + ox] / T::of(count as f64);
                    for iy in y.window(oy) {
                        for ix in x.window(ox) {
                            let to = &mut target[iy * x.extent as usize + ix];
                            *to = *to + share;
                        }
                    }
                }
            }
        }
        Ok(())
    }

    fn eval_fast(&self, inputs: &[In<'_, T>], outputs: &mut [Out<'_, T>]) -> Result<(), String> {
        let axes = self.windows.axes(&self.input)?;
        let Some(taps) = Taps::new(&axes) else { return self.eval(inputs, outputs) };
        let [down, across] = sizes(&axes, self.count_padding);
        taps.spread(inputs[0].f(), outputs[0].f(), |oy, dy, shares| {
            let row = shares.iter_mut().zip(dy).zip(&across);
            row.for_each(|((share, dy), across)| *share = *dy / T::of((down[oy] * across) as f64));
        });
        Ok(())
    }
}

impl Op for AvgPoolBackward {
    fn name(&self) -> &'static str {
        "avg_pool2d_backward"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, String> {
        expect(inputs, &[DType::F32])?;
        let shape = pooled(&self.input, &self.windows.axes(&self.input)?)?;
        if inputs[0].shape != shape {
            return Err(format!("takes {shape}, got {}", inputs[0]));
        }
        Ok(vec![TensorType::f32(self.input)])
    }

    fn grad<'g>(&self, Backward { upstream, .. }: Backward<'_, 'g>) -> Gradients<'g> {
        let forward = AvgPool { windows: self.windows, count_padding: self.count_padding };
        Ok(vec![upstream[0].map(|u| u.graph().record_one(forward, &[u]))])
    }

    fn dispatch(&self, ctx: &KernelContext<'_>) -> Result<Program> {
        launch(Pooling::AverageBackward, &self.windows, self.count_padding, ctx)
    }

    fn error_bound(&self, inputs: &[In<'_, f64>], outputs: &[In<'_, f64>]) -> Vec<Vec<f64>> {
        let shape = inputs[0].shape;
        let windows = shape.dim(shape.rank() - 2) * shape.dim(shape.rank() - 1);
        vec![bound(self, inputs, &outputs[0], windows)]
    }

    fn traits(&self) -> Traits {
        Traits::default().taking_epilogues()
    }
}
