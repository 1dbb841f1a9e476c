//! The matrices.

use crate::error::Result;
use crate::ops::dropout::{words, words_of};
use crate::ops::{
    Arg, Case, Fillings, In, KernelContext, Op, Out, Outputs, Program, Real, Reference, Traits, uniform,
};
use crate::ops::{UNIT, expect};
use crate::rng::PHILOX_ROUNDS;
use crate::shape::{DType, Shape, TensorType};

/// A matrix (a, b, tx, c, d, ty) for each of some images, `[images, 6]`: a shift of whole pixels, at most `shift`
/// both ways, a rotation by at most `angle` radians, a scaling by 1 ± `scale`, all uniform. What is drawn depends
/// on seed, stream, step and image alone. Input: the counter of steps `[1]`.
#[derive(Debug, Clone)]
pub(crate) struct RandomAffine {
    pub(crate) images: usize,
    pub(crate) shift: u32,
    pub(crate) angle: f32,
    pub(crate) scale: f32,
    pub(crate) seed: u64,
    pub(crate) stream: u64,
}

impl RandomAffine {
    /// The words of image `i`.
    fn words(&self, i: usize, step: u32) -> [u32; 4] {
        words(self.seed, self.stream, i, step)
    }

    /// A whole number from -shift to shift.
    fn whole(&self, word: u32) -> f64 {
        let range = 2 * u64::from(self.shift) + 1;
        ((u64::from(word) * range) >> 32) as f64 - f64::from(self.shift)
    }
}

/// Uniform in [-1, 1).
fn signed_unit(word: u32) -> f64 {
    f64::from(word >> 8) / f64::from(1 << 23) - 1.0
}

impl<T: Real> Reference<T> for RandomAffine {
    fn eval(&self, inputs: &[In<'_, T>], outputs: &mut [Out<'_, T>]) -> Result<(), String> {
        let step = inputs[0].u32()[0];
        for (i, matrix) in outputs[0].f().chunks_exact_mut(6).enumerate() {
            let [u, v, turn, size] = self.words(i, step);
            let (sin, cos) = (signed_unit(turn) * f64::from(self.angle)).sin_cos();
            let size = 1.0 + signed_unit(size) * f64::from(self.scale);
            let values = [cos / size, -sin / size, self.whole(u), sin / size, cos / size, self.whole(v)];
            matrix.iter_mut().zip(values).for_each(|(m, v)| *m = T::of(v));
        }
        Ok(())
    }
}

impl Op for RandomAffine {
    fn name(&self) -> &'static str {
        "random_affine"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, String> {
        expect(inputs, &[DType::U32])?;
        if inputs[0].shape.dims() != [1] {
            return Err(format!("takes a counter [1], got {}", inputs[0].shape));
        }
        if self.shift > 1 << 20 {
            return Err(format!("a shift of {} pixels leaves nothing of an image", self.shift));
        }
        if !(0.0..=std::f32::consts::PI).contains(&self.angle) {
            let degrees = self.angle.to_degrees();
            return Err(format!("the rotation must be from 0 to 180 degrees, got {degrees}"));
        }
        if !(0.0..1.0).contains(&self.scale) {
            return Err(format!("the change of size must be in [0, 1), got {}", self.scale));
        }
        Ok(vec![TensorType::f32(Shape::new(&[self.images, 6]).ok_or_else(crate::graph::shape_rule)?)])
    }

    fn dispatch(&self, ctx: &KernelContext<'_>) -> Result<Program> {
        let params = uniform! {
            images: self.images, shift: self.shift, angle: self.angle, scale: self.scale,
            stream: words_of(self.stream), seed: words_of(self.seed),
        };
        let args = [Arg::Input(0), Arg::Output(0)];
        // And two doublings of the angle.
        let iterations = PHILOX_ROUNDS + 2;
        Ok(ctx.launch_over("random_affine", args, &params, self.images)?.loop_iterations(iterations).into())
    }

    /// Some ten roundings of numbers up to 1, quadrupled by doubling the angle twice, and a quotient.
    fn error_bound(&self, _: &[In<'_, f64>], outputs: &[In<'_, f64>]) -> Vec<Vec<f64>> {
        let turn = 64.0 * UNIT / (1.0 - f64::from(self.scale));
        vec![(0..outputs[0].f().len()).map(|k| if k % 3 == 2 { 0.0 } else { turn }).collect()]
    }

    fn traits(&self) -> Traits {
        Traits::default().keeping_f32(Outputs::ALL).drawing_by(0)
    }
}

pub(super) fn cases() -> Vec<Case> {
    let case = |images, shift, degrees: f32, scale, step: f64| {
        let (seed, stream) = (0x0123_4567_89ab_cdef, crate::rng::stream_of("case"));
        let op = RandomAffine { images, shift, angle: degrees.to_radians(), scale, seed, stream };
        let case = Case::new(op, &[&[1]]).index(0, 1).fill(0, Fillings::Given(vec![step]));
        case.no_gradient()
    };
    vec![
        case(1, 0, 0.0, 0.0, 0.0),
        case(7, 1, 0.0, 0.0, 1.0),
        case(65, 3, 10.0, 0.1, 4_294_967_295.0),
        case(130, 0, 180.0, 0.0, 9.0),
        case(64, 1000, 90.0, 0.9, 77.0),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{Value, eval};

    fn draw(op: &RandomAffine, step: u32) -> Vec<f64> {
        eval(op, true, &[(&[1], Value::U32(vec![step]))]).unwrap()[0].f().to_vec()
    }

    #[test]
    fn shifts_turns_and_sizes_fill_their_ranges_evenly() {
        let op = RandomAffine { images: 20_000, shift: 2, angle: 0.3, scale: 0.2, seed: 1, stream: 2 };
        let matrices = draw(&op, 0);
        let n = op.images as f64;
        for axis in [2, 5] {
            for shift in -2..=2 {
                let count = matrices.chunks(6).filter(|m| m[axis] == f64::from(shift)).count() as f64;
                assert!((count - n / 5.0).abs() < 4.0 * (n * 0.16).sqrt(), "{shift}: {count}");
            }
        }
        let turns: Vec<f64> = matrices.chunks(6).map(|m| m[3].atan2(m[0])).collect();
        let sizes: Vec<f64> = matrices.chunks(6).map(|m| 1.0 / m[0].hypot(m[3])).collect();
        for (values, middle, reach) in [(turns, 0.0, f64::from(0.3f32)), (sizes, 1.0, f64::from(0.2f32))] {
            assert!(values.iter().all(|v| (v - middle).abs() <= reach * 1.000_001));
            let mean = values.iter().sum::<f64>() / n;
            assert!((mean - middle).abs() < 4.0 * reach / (3.0 * n).sqrt(), "{mean}");
            assert!(values.iter().any(|v| v - middle > 0.99 * reach));
            assert!(values.iter().any(|v| middle - v > 0.99 * reach));
        }
    }

    #[test]
    fn steps_seeds_and_streams_differ() {
        let op = RandomAffine { images: 4, shift: 3, angle: 0.1, scale: 0.1, seed: 1, stream: 2 };
        assert_eq!(draw(&op, 5), draw(&op, 5));
        assert_ne!(draw(&op, 5), draw(&op, 6));
        assert_ne!(draw(&op, 5), draw(&RandomAffine { seed: 9, ..op.clone() }, 5));
        assert_ne!(draw(&op, 5), draw(&RandomAffine { stream: 9, ..op }, 5));
    }
}
