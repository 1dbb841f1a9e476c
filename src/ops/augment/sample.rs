//! Images by matrices.

use crate::error::Result;
use crate::ops::{Arg, Case, Fillings, In, KernelContext, Op, Out, Program, Real, Reference, uniform};
use crate::ops::{TINY, UNIT, expect, float};
use crate::shape::{DType, TensorType};

/// y[i, c, v, u] = x[i, c] at (a u' + b v' + tx, c u' + d v' + ty), with u' and v' counted from the middle of the
/// image: bilinear between pixels, 0 outside. Inputs: x `[n, c, h, w]`, matrices (a, b, tx, c, d, ty) `[n, 6]`.
#[derive(Debug, Clone)]
pub(crate) struct AffineSample;

/// Where pixel (v, u) of an image of this size comes from: (x, y).
fn source_point<T: Real>(matrix: &[T], [height, width]: [usize; 2], v: usize, u: usize) -> (T, T) {
    let half = |n: usize| T::of((n - 1) as f64 / 2.0);
    let (dx, dy) = (T::of(u as f64) - half(width), T::of(v as f64) - half(height));
    let x = matrix[0] * dx + matrix[1] * dy + matrix[2] + half(width);
    let y = matrix[3] * dx + matrix[4] * dy + matrix[5] + half(height);
    (x, y)
}

impl<T: Real> Reference<T> for AffineSample {
    fn eval(&self, inputs: &[In<'_, T>], outputs: &mut [Out<'_, T>]) -> Result<(), String> {
        let [_, c, h, w] = [0, 1, 2, 3].map(|a| inputs[0].shape.dim(a));
        let (x, matrices, out) = (inputs[0].f(), inputs[1].f(), outputs[0].f());
        let pixel = |plane: usize, v: T, u: T| match (v.to_usize(), u.to_usize()) {
            // A negative number is none of a plane's.
            (Some(v), Some(u)) if v < h && u < w => x[(plane * h + v) * w + u],
            _ => T::zero(),
        };
        for (at, out) in out.iter_mut().enumerate() {
            let (plane, v, u) = (at / (h * w), at / w % h, at % w);
            let (px, py) = source_point(&matrices[plane / c * 6..][..6], [h, w], v, u);
            let (u0, v0) = (px.floor(), py.floor());
            let mut sum = T::zero();
            for (v, share_v) in [(v0, T::one() - (py - v0)), (v0 + T::one(), py - v0)] {
                for (u, share_u) in [(u0, T::one() - (px - u0)), (u0 + T::one(), px - u0)] {
                    sum = sum + pixel(plane, v, u) * share_v * share_u;
                }
            }
            *out = sum;
        }
        Ok(())
    }
}

impl Op for AffineSample {
    fn name(&self) -> &'static str {
        "affine_sample"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, String> {
        expect(inputs, &[DType::F32; 2])?;
        let (x, matrices) = (inputs[0].shape, inputs[1].shape);
        if x.rank() != 4 {
            return Err(format!("takes images [n, c, h, w], got {x}"));
        }
        if matrices.dims() != [x.dim(0), 6] {
            return Err(format!("{} images need matrices [{}, 6], got {matrices}", x.dim(0), x.dim(0)));
        }
        Ok(vec![inputs[0]])
    }

    fn dispatch(&self, ctx: &KernelContext<'_>) -> Result<Program> {
        let x = ctx.inputs[0].shape;
        let [elements, channels, height, width] =
            [x.elements(), x.dim(1), x.dim(2), x.dim(3)].map(|n| n as u32);
        let params = uniform! { elements, channels, height, width };
        let args = [Arg::Input(0), Arg::Input(1), Arg::Output(0)];
        Ok(ctx.launch_over("affine_sample", args, &params, x.elements())?.into())
    }

    /// The point is rounded some five times; from pixel to pixel the image changes by two maxima at most. What is
    /// further outside than the rounding reaches is exactly 0.
    fn error_bound(&self, inputs: &[In<'_, f64>], _: &[In<'_, f64>]) -> Vec<Vec<f64>> {
        let [_, c, h, w] = [0, 1, 2, 3].map(|a| inputs[0].shape.dim(a));
        let (x, matrices) = (inputs[0].f(), inputs[1].f());
        let largest: Vec<f64> =
            x.chunks(h * w).map(|plane| plane.iter().fold(0.0, |m: f64, x| m.max(x.abs()))).collect();
        let bound = |at: usize| {
            let (plane, v, u) = (at / (h * w), at / w % h, at % w);
            let matrix: Vec<f64> = matrices[plane / c * 6..][..6].iter().map(|m| m.abs()).collect();
            // The middle taken away and added again, both positive here.
            let (px, py) = source_point(&matrix, [h, w], v.max(h - 1 - v), u.max(w - 1 - u));
            let moved = 6.0 * UNIT * (px + py + (h + w) as f64);
            let (x, y) = source_point(&matrices[plane / c * 6..][..6], [h, w], v, u);
            let is_outside = |at: f64, n: usize| at < -1.0 - moved || at > n as f64 + moved;
            if is_outside(x, w) || is_outside(y, h) {
                return TINY;
            }
            largest[plane] * (2.0 * moved + 8.0 * UNIT) + TINY
        };
        vec![(0..x.len()).map(bound).collect()]
    }

    fn flops(&self, inputs: &[TensorType], _: &[TensorType]) -> u64 {
        20 * inputs[0].shape.elements() as u64
    }
}

pub(super) fn cases() -> Vec<Case> {
    let case = |x: &[usize], matrices: Vec<f64>| {
        let case = Case::new(AffineSample, &[x, &[x[0], 6]]);
        let case = Case { name: format!("affine_sample {} {matrices:?}", float(x)), ..case };
        case.fill(1, Fillings::Given(matrices)).no_gradient()
    };
    let (sin, cos) = (0.3f64.sin() / 1.1, 0.3f64.cos() / 1.1);
    let turned = vec![cos, -sin, 1.0, sin, cos, -2.0];
    let identity = vec![1.0, 0.0, 0.0, 0.0, 1.0, 0.0];
    let shifted = vec![1.0, 0.0, 1.0, 0.0, 1.0, -1.0];
    vec![
        case(&[1, 1, 1, 1], identity.clone()),
        case(&[2, 3, 5, 7], identity),
        case(&[3, 1, 8, 8], shifted.clone()),
        case(&[2, 2, 4, 5], turned.clone()),
        case(&[5, 3, 28, 28], [turned.clone(), shifted].concat()),
        case(&[1, 1, 9, 1], turned),
        // Far outside.
        case(&[1, 2, 4, 4], vec![1e6, 0.0, 1e9, 0.0, -1e6, -1e9]),
        // Each pixel of a mirror image is one of the image.
        case(&[2, 1, 6, 6], vec![-1.0, 0.0, 0.0, 0.0, -1.0, 0.0]),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{Value, eval};

    fn sample(x: &[f64], size: [usize; 2], matrix: [f64; 6]) -> Vec<f64> {
        let dims = [1, 1, size[0], size[1]];
        let inputs = [(&dims[..], Value::F(x.to_vec())), (&[1, 6][..], Value::F(matrix.to_vec()))];
        eval(&AffineSample, true, &inputs).unwrap()[0].f().to_vec()
    }

    #[test]
    fn shifts_by_whole_pixels_are_exact_and_zeros_come_in() {
        let x = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        assert_eq!(sample(&x, [2, 3], [1.0, 0.0, 1.0, 0.0, 1.0, 0.0]), [2.0, 3.0, 0.0, 5.0, 6.0, 0.0]);
        assert_eq!(sample(&x, [2, 3], [1.0, 0.0, 0.0, 0.0, 1.0, -1.0]), [0.0, 0.0, 0.0, 1.0, 2.0, 3.0]);
        assert_eq!(sample(&x, [2, 3], [-1.0, 0.0, 0.0, 0.0, -1.0, 0.0]), [6.0, 5.0, 4.0, 3.0, 2.0, 1.0]);
    }

    #[test]
    fn half_a_pixel_is_the_mean_of_two() {
        let y = sample(&[2.0, 4.0, 8.0], [1, 3], [1.0, 0.0, 0.5, 0.0, 1.0, 0.0]);
        assert_eq!(y, [3.0, 6.0, 4.0]);
    }

    #[test]
    fn a_quarter_turn_turns() {
        let y = sample(&[1.0, 2.0, 3.0, 4.0], [2, 2], [0.0, -1.0, 0.0, 1.0, 0.0, 0.0]);
        assert_eq!(y, [2.0, 4.0, 1.0, 3.0]);
    }
}
