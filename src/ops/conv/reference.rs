//! The formulas. A convolution and its two gradients are one sum over products x · weight · y, in which
//! two of the three are given.

use super::geometry::Geometry;
use super::{Conv2d, Conv2dBackwardInput, Conv2dBackwardWeight, fast};
use crate::ops::{In, Out, Real, Reference};

/// Calls `visit` with the indices into x, weight and y of every product that does not fall in padding.
fn products(g: &Geometry, mut visit: impl FnMut(usize, usize, usize)) {
    let [stride_y, stride_x] = g.stride;
    let [dilation_y, dilation_x] = g.dilation;
    let (channels, outputs) = (g.groups * g.c, g.groups * g.o);
    for n in 0..g.n {
        for out in 0..outputs {
            let group = out / g.o;
            for oy in 0..g.oh {
                for ox in 0..g.ow {
                    let y = ((n * outputs + out) * g.oh + oy) * g.ow + ox;
                    for c in 0..g.c {
                        for ky in 0..g.kh {
                            for kx in 0..g.kw {
                                let (iy, ix) =
                                    (oy * stride_y + ky * dilation_y, ox * stride_x + kx * dilation_x);
                                // Positions count from the padding's corner.
                                if iy < g.top || iy >= g.top + g.h || ix < g.left || ix >= g.left + g.w {
                                    continue;
                                }
                                let plane = n * channels + group * g.c + c;
                                let x = (plane * g.h + iy - g.top) * g.w + ix - g.left;
                                let weight = ((out * g.c + c) * g.kh + ky) * g.kw + kx;
                                visit(x, weight, y);
                            }
                        }
                    }
                }
            }
        }
    }
}

/// The bias in all of its plane of `size`, or 0, before anything is added.
fn begin<T: Real>(planes: &mut [T], bias: Option<&[T]>, size: usize) {
    for (plane, values) in planes.chunks_exact_mut(size).enumerate() {
        values.fill(bias.map_or(T::zero(), |bias| bias[plane % bias.len()]));
    }
}

impl<T: Real> Reference<T> for Conv2d {
    fn eval(&self, inputs: &[In<'_, T>], outputs: &mut [Out<'_, T>]) -> Result<(), String> {
        let g = self.window.geometry(inputs[0].shape.dims(), inputs[1].shape.dims())?;
        let (x, weight, y) = (inputs[0].f(), inputs[1].f(), outputs[0].f());
        begin(y, inputs.get(2).map(In::f), g.oh * g.ow);
        products(&g, |i, k, j| y[j] = y[j] + x[i] * weight[k]);
        Ok(())
    }

    fn eval_fast(&self, inputs: &[In<'_, T>], outputs: &mut [Out<'_, T>]) -> Result<(), String> {
        let g = self.window.geometry(inputs[0].shape.dims(), inputs[1].shape.dims())?;
        fast::forward(&g, inputs[0].f(), inputs[1].f(), inputs.get(2).map(In::f), outputs[0].f());
        Ok(())
    }
}

impl<T: Real> Reference<T> for Conv2dBackwardInput {
    fn eval(&self, inputs: &[In<'_, T>], outputs: &mut [Out<'_, T>]) -> Result<(), String> {
        let g = self.geometry(inputs[0].shape.dims(), inputs[1].shape.dims())?;
        let (dy, weight, dx) = (inputs[0].f(), inputs[1].f(), outputs[0].f());
        begin(dx, inputs.get(2).map(In::f), g.h * g.w);
        products(&g, |i, k, j| dx[i] = dx[i] + dy[j] * weight[k]);
        Ok(())
    }

    fn eval_fast(&self, inputs: &[In<'_, T>], outputs: &mut [Out<'_, T>]) -> Result<(), String> {
        let g = self.geometry(inputs[0].shape.dims(), inputs[1].shape.dims())?;
        fast::backward_input(&g, inputs[0].f(), inputs[1].f(), inputs.get(2).map(In::f), outputs[0].f());
        Ok(())
    }
}

/// The sum of each channel over images and planes of `size`, if it is asked for.
fn sum_channels<T: Real>(dy: &[T], size: usize, outputs: &mut [Out<'_, T>]) {
    let Some(sums) = outputs.first_mut().map(Out::f) else { return };
    sums.fill(T::zero());
    let channels = sums.len();
    for (plane, values) in dy.chunks_exact(size).enumerate() {
        let sum = &mut sums[plane % channels];
        *sum = *sum + values.iter().fold(T::zero(), |s, &v| s + v);
    }
}

impl<T: Real> Reference<T> for Conv2dBackwardWeight {
    fn eval(&self, inputs: &[In<'_, T>], outputs: &mut [Out<'_, T>]) -> Result<(), String> {
        let g = self.geometry(inputs[0].shape.dims(), inputs[1].shape.dims())?;
        let (x, dy, dw) = (inputs[0].f(), inputs[1].f(), outputs[0].f());
        dw.fill(T::zero());
        products(&g, |i, k, j| dw[k] = dw[k] + x[i] * dy[j]);
        sum_channels(dy, g.oh * g.ow, &mut outputs[1..]);
        Ok(())
    }

    fn eval_fast(&self, inputs: &[In<'_, T>], outputs: &mut [Out<'_, T>]) -> Result<(), String> {
        let g = self.geometry(inputs[0].shape.dims(), inputs[1].shape.dims())?;
        fast::backward_weight(&g, inputs[0].f(), inputs[1].f(), outputs[0].f());
        sum_channels(inputs[1].f(), g.oh * g.ow, &mut outputs[1..]);
        Ok(())
    }
}
