//! Random numbers of any shape. Kernels: `shaders/random.wgsl`.

use super::dropout::{random_counter, words, words_of};
use super::{
    Arg, Case, Fillings, In, KernelContext, Op, Out, Outputs, Program, Real, Reference, Traits, uniform,
};
use super::{TINY, UNIT, expect};
use crate::error::Result;
use crate::graph::{Graph, Params, Var};
use crate::rng::{PHILOX_ROUNDS, stream_of};
use crate::shape::{DType, Shape, TensorType};

/// How numbers are distributed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Law {
    /// Uniform in [0, 1), multiples of 2^-24.
    Uniform,
    /// Standard normal, by the transformation of Box and Muller ("A note on the generation of random normal deviates", 1958):
    /// √(-2 ln(1 - u)) times cosine and sine of an angle in [-π, π).
    Normal,
}

/// Random numbers of a shape. What is drawn depends on seed, stream, step and element alone. Input: the counter of steps
/// `[1]`.
#[derive(Debug, Clone)]
struct RandomNumbers {
    law: Law,
    shape: Shape,
    seed: u64,
    stream: u64,
}

/// Uniform in [0, 1).
fn unit(word: u32) -> f64 {
    f64::from(word >> 8) / f64::from(1 << 24)
}

/// √(-2 ln(1 - u)).
fn radius(word: u32) -> f64 {
    (-2.0 * (-unit(word)).ln_1p()).sqrt()
}

impl RandomNumbers {
    /// The four numbers of a block of elements, each with the radius it was made of.
    fn block(&self, block: usize, step: u32) -> [(f64, f64); 4] {
        let words = words(self.seed, self.stream, block, step);
        if self.law == Law::Uniform {
            return words.map(|word| (unit(word), 0.0));
        }
        let pair = |word: u32, turn: u32| {
            // The angle as kernels have it.
            let turn = f64::from(turn >> 8) / f64::from(1 << 23) - 1.0;
            let (sin, cos) = (turn * f64::from(std::f32::consts::PI)).sin_cos();
            let radius = radius(word);
            [(radius * cos, radius), (radius * sin, radius)]
        };
        let ([a, b], [c, d]) = (pair(words[0], words[1]), pair(words[2], words[3]));
        [a, b, c, d]
    }
}

impl<T: Real> Reference<T> for RandomNumbers {
    fn eval(&self, inputs: &[In<'_, T>], outputs: &mut [Out<'_, T>]) -> Result<(), String> {
        let step = inputs[0].u32()[0];
        for (block, out) in outputs[0].f().chunks_mut(4).enumerate() {
            let numbers = self.block(block, step);
            out.iter_mut().zip(numbers).for_each(|(y, (number, _))| *y = T::of(number));
        }
        Ok(())
    }
}

impl Op for RandomNumbers {
    fn name(&self) -> &'static str {
        match self.law {
            Law::Uniform => "random_uniform",
            Law::Normal => "random_normal",
        }
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, String> {
        expect(inputs, &[DType::U32])?;
        if inputs[0].shape.dims() != [1] {
            return Err(format!("takes a counter [1], got {}", inputs[0].shape));
        }
        Ok(vec![TensorType::f32(self.shape)])
    }

    fn dispatch(&self, ctx: &KernelContext<'_>) -> Result<Program> {
        let vectors = self.shape.elements().div_ceil(4);
        let params = uniform! { vectors, stream: words_of(self.stream), seed: words_of(self.seed) };
        // And two doublings of each of two angles.
        let iterations = PHILOX_ROUNDS + if self.law == Law::Normal { 4 } else { 0 };
        let args = [Arg::Input(0), Arg::Output(0)];
        Ok(ctx.launch_over(self.name(), args, &params, vectors)?.loop_iterations(iterations).into())
    }

    /// Uniform ones are exact. Of normal ones the logarithm is good to 2^-21 of numbers below 0.7, which is 23 roundoffs of
    /// it, halved by the root, whose own are 8; sine and cosine have some ten roundings of numbers up to 1, quadrupled by
    /// doubling the angle twice.
    fn error_bound(&self, inputs: &[In<'_, f64>], outputs: &[In<'_, f64>]) -> Vec<Vec<f64>> {
        let n = outputs[0].f().len();
        let numbers = (0..n.div_ceil(4)).flat_map(|block| self.block(block, inputs[0].u32()[0]));
        let bound = |(_, radius): (f64, f64)| match self.law {
            Law::Uniform => 0.0,
            Law::Normal => 84.0 * UNIT * radius + TINY,
        };
        vec![numbers.map(bound).take(n).collect()]
    }

    fn traits(&self) -> Traits {
        Traits::default().keeping_f32(Outputs::ALL).drawing_by(0)
    }
}

#[track_caller]
fn record<'g>(g: &'g Graph, law: Law, shape: &[usize], params: &Params, stream_name: &str) -> Var<'g> {
    let counter = random_counter(g, params);
    let Some(shape) = Shape::new(shape).filter(|shape| shape.elements() > 0) else {
        let rule = crate::graph::shape_rule();
        return g.refuse("random", format!("has shape {shape:?}: {rule}, and at least one element"), counter);
    };
    g.record_one(
        RandomNumbers { law, shape, seed: params.seed(), stream: stream_of(stream_name) },
        &[counter],
    )
}

/// Numbers uniform in [0, 1), anew in every run of the graph; calls of one `stream_name` in one run draw the same.
#[track_caller]
pub(crate) fn random_uniform<'g>(
    g: &'g Graph,
    shape: &[usize],
    params: &Params,
    stream_name: &str,
) -> Var<'g> {
    record(g, Law::Uniform, shape, params, stream_name)
}

/// Standard normal numbers, anew in every run of the graph; calls of one `stream_name` in one run draw the same.
#[track_caller]
pub(crate) fn random_normal<'g>(
    g: &'g Graph,
    shape: &[usize],
    params: &Params,
    stream_name: &str,
) -> Var<'g> {
    record(g, Law::Normal, shape, params, stream_name)
}

pub(super) fn cases() -> Vec<Case> {
    let case = |law, shape: &[usize], step: f64| {
        let (seed, stream) = (0x1234_5678_9abc_def0, stream_of("case"));
        let op = RandomNumbers { law, shape: super::float(shape).shape, seed, stream };
        Case::new(op, &[&[1]]).index(0, 1).fill(0, Fillings::Given(vec![step])).no_gradient()
    };
    let shapes: [(&[usize], f64); 7] = [
        (&[], 0.0),
        (&[1], 1.0),
        (&[7], 2.0),
        (&[65, 3], 4_294_967_295.0),
        (&[257], 3.0),
        (&[130, 33], 77.0),
        (&[100_003], 5.0),
    ];
    let laws = [Law::Uniform, Law::Normal];
    laws.into_iter().flat_map(|law| shapes.map(|(shape, step)| case(law, shape, step))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{Value, eval};

    fn draw(op: &RandomNumbers, step: u32) -> Vec<f64> {
        eval(op, true, &[(&[1], Value::U32(vec![step]))]).unwrap()[0].f().to_vec()
    }

    fn op(law: Law, n: usize) -> RandomNumbers {
        RandomNumbers { law, shape: crate::ops::float(&[n]).shape, seed: 5, stream: 6 }
    }

    /// The share of `values` below each bound is what the law says, within four standard deviations.
    fn shares(values: &[f64], expected: &[(f64, f64)]) {
        let n = values.len() as f64;
        for &(bound, share) in expected {
            let found = values.iter().filter(|x| **x < bound).count() as f64;
            let sigma = (n * share * (1.0 - share)).sqrt();
            assert!((found - n * share).abs() < 4.0 * sigma, "{found} of {n} below {bound}");
        }
    }

    #[test]
    fn numbers_have_their_law() {
        let uniform = draw(&op(Law::Uniform, 100_000), 9);
        assert!(uniform.iter().all(|u| (0.0..1.0).contains(u)));
        shares(&uniform, &[(0.01, 0.01), (0.25, 0.25), (0.5, 0.5), (0.9, 0.9)]);
        let normal = draw(&op(Law::Normal, 100_000), 9);
        // Φ of some numbers.
        let table = [
            (-2.0, 0.022_750_13),
            (-0.5, 0.308_537_54),
            (0.0, 0.5),
            (1.0, 0.841_344_75),
            (2.5, 0.993_790_33),
        ];
        shares(&normal, &table);
        // Neighbours of a pair, and of two pairs, are independent.
        for lag in [1, 2, 3] {
            let product: f64 = normal.chunks_exact(4).map(|x| x[0] * x[lag]).sum::<f64>() / 25_000.0;
            assert!(product.abs() < 4.0 / 25_000f64.sqrt(), "{lag}: {product}");
        }
    }

    #[test]
    fn steps_seeds_and_streams_differ() {
        for law in [Law::Uniform, Law::Normal] {
            let op = op(law, 64);
            let y = draw(&op, 3);
            assert_eq!(y, draw(&op, 3));
            assert_ne!(y, draw(&op, 4));
            assert_ne!(y, draw(&RandomNumbers { seed: 5 << 32, ..op.clone() }, 3));
            assert_ne!(y, draw(&RandomNumbers { stream: 7, ..op }, 3));
        }
    }
}
