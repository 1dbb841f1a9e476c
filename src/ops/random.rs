//! Random numbers. Kernel: `shaders/random.wgsl`.

use super::dropout::{random_counter, words, words_of};
use super::{Arg, Case, Fillings, In, KernelContext, Op, Out, Program, Real, Reference, Traits, UNIT};
use super::{expect, uniform};
use crate::error::Result;
use crate::graph::{Graph, Params, Var};
use crate::rng::{PHILOX_ROUNDS, stream_of};
use crate::shape::{DType, Shape, TensorType};

/// Numbers uniform in [low, high], which are 2²⁴ different ones. What is drawn depends on seed, stream, step and element
/// alone. Input: the counter of steps `[1]`.
#[derive(Debug, Clone)]
pub(crate) struct RandomUniform {
    shape: Shape,
    low: f32,
    high: f32,
    seed: u64,
    stream: u64,
}

impl<T: Real> Reference<T> for RandomUniform {
    fn eval(&self, inputs: &[In<'_, T>], outputs: &mut [Out<'_, T>]) -> Result<(), String> {
        let step = inputs[0].u32()[0];
        let (low, range) = (T::of(f64::from(self.low)), T::of(f64::from(self.high - self.low)));
        for (block, y) in outputs[0].f().chunks_mut(4).enumerate() {
            let words = words(self.seed, self.stream, block, step);
            for (y, word) in y.iter_mut().zip(words) {
                *y = low + range * T::of(f64::from(word >> 8) / f64::from(1 << 24));
            }
        }
        Ok(())
    }
}

impl Op for RandomUniform {
    fn name(&self) -> &'static str {
        "random_uniform"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, String> {
        expect(inputs, &[DType::U32])?;
        if inputs[0].shape.dims() != [1] {
            return Err(format!("takes a counter [1], got {}", inputs[0].shape));
        }
        if !(self.low <= self.high && (self.high - self.low).is_finite()) {
            let RandomUniform { low, high, .. } = self;
            return Err(format!("the bounds must be numbers, the lower one first, got {low} and {high}"));
        }
        Ok(vec![TensorType::f32(self.shape)])
    }

    fn dispatch(&self, ctx: &KernelContext<'_>) -> Result<Program> {
        let vectors = self.shape.elements().div_ceil(4);
        let params = uniform! {
            vectors, low: self.low, range: self.high - self.low, stream: words_of(self.stream),
            seed: words_of(self.seed),
        };
        let args = [Arg::Input(0), Arg::Output(0)];
        Ok(ctx.launch_over("random_uniform", args, &params, vectors)?.loop_iterations(PHILOX_ROUNDS).into())
    }

    fn traits(&self) -> Traits {
        Traits::default().drawing_by(0)
    }

    /// The product is rounded, and the sum.
    fn error_bound(&self, _: &[In<'_, f64>], outputs: &[In<'_, f64>]) -> Vec<Vec<f64>> {
        let largest = f64::from(self.low.abs()) + f64::from(self.high - self.low);
        vec![vec![3.0 * UNIT * largest; outputs[0].shape.elements()]]
    }
}

/// A number uniform in [low, high] for each element of `shape`. Every run of a graph draws anew; calls of one `stream_name`
/// in one run draw the same.
#[track_caller]
pub(crate) fn random_uniform<'g>(
    g: &'g Graph,
    shape: Shape,
    [low, high]: [f32; 2],
    params: &Params,
    stream_name: &str,
) -> Var<'g> {
    let counter = random_counter(g, params);
    g.record_one(
        RandomUniform { shape, low, high, seed: params.seed(), stream: stream_of(stream_name) },
        &[counter],
    )
}

pub(super) fn cases() -> Vec<Case> {
    let case = |[low, high]: [f32; 2], dims: &[usize], step: f64| {
        let shape = Shape::new(dims).unwrap_or_else(Shape::scalar);
        let op = RandomUniform { shape, low, high, seed: 0x1234_5678_9abc_def0, stream: stream_of("case") };
        Case::new(op, &[&[1]]).index(0, 1).fill(0, Fillings::Given(vec![step])).no_gradient()
    };
    vec![
        case([0.0, 1.0], &[], 0.0),
        case([0.0, 1.0], &[1], 0.0),
        case([-1.0, 1.0], &[7], 1.0),
        case([0.125, 1.0 / 3.0], &[65], 2.0),
        case([-3.0, -2.0], &[257], 4_294_967_295.0),
        case([0.5, 0.5], &[33], 3.0),
        case([0.125, 1.0 / 3.0], &[130, 33], 77.0),
        // So many words that some product of theirs depends on its lowest bits.
        case([0.0, 1.0], &[100_003], 5.0),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{Value, eval};

    fn run(n: usize, bounds: [f32; 2], stream: u64, step: u32) -> Vec<f64> {
        let op = RandomUniform {
            shape: Shape::new(&[n]).unwrap(),
            low: bounds[0],
            high: bounds[1],
            seed: 5,
            stream,
        };
        eval(&op, false, &[(&[1], Value::U32(vec![step]))]).unwrap()[0].f().to_vec()
    }

    #[test]
    fn mean_and_variance_are_those_of_the_uniform_distribution() {
        let n = 100_000;
        let y = run(n, [-1.0, 3.0], 6, 9);
        assert!(y.iter().all(|y| (-1.0..=3.0).contains(y)));
        let mean = y.iter().sum::<f64>() / n as f64;
        let variance = y.iter().map(|y| (y - mean).powi(2)).sum::<f64>() / n as f64;
        // Four standard errors: of the mean √(16 / 12 / n), of the variance √((16² / 80 - (16 / 12)²) / n).
        assert!((mean - 1.0).abs() < 4.0 * (16.0 / 12.0 / n as f64).sqrt(), "{mean}");
        let spread = (256.0 / 80.0 - (16.0f64 / 12.0).powi(2)) / n as f64;
        assert!((variance - 16.0 / 12.0).abs() < 4.0 * spread.sqrt(), "{variance}");
    }

    #[test]
    fn numbers_differ_between_steps_and_streams() {
        let y = run(64, [0.0, 1.0], 6, 3);
        assert_eq!(y, run(64, [0.0, 1.0], 6, 3));
        assert_ne!(y, run(64, [0.0, 1.0], 6, 4));
        assert_ne!(y, run(64, [0.0, 1.0], 7, 3));
    }

    #[test]
    fn wrong_bounds_are_refused() {
        for bounds in [[1.0, 0.0], [0.0, f32::NAN], [0.0, f32::INFINITY], [f32::MIN, f32::MAX]] {
            let g = Graph::new();
            random_uniform(&g, Shape::new(&[4]).unwrap(), bounds, &Params::seeded(1), "r");
            assert!(g.error().unwrap().to_string().contains("the lower one first"), "{bounds:?}");
        }
    }
}
