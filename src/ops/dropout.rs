//! Dropout. Kernel: `shaders/dropout.wgsl`.

use super::{
    Arg, Backward, Case, Fillings, Gradients, KernelContext, Op, Program, Real, Reference, Traits, uniform,
};
use super::{In, Out, expect, relative_bound};
use crate::error::Result;
use crate::graph::{Graph, Params, Var};
use crate::rng::PHILOX_ROUNDS;
use crate::rng::{philox, stream_of};
use crate::shape::{DType, TensorType};

/// Name of the state that counts the runs of a graph with random ops; one per parameter store.
const STEP: &str = "random.step";

/// The counter of the runs of a graph, which its random ops read.
#[track_caller]
pub(crate) fn random_counter<'g>(g: &'g Graph, params: &Params) -> Var<'g> {
    g.param(&params.root().counter(STEP))
}

/// Inverted dropout: x / (1 - p) with probability 1 - p, else 0. Srivastava et al., JMLR 2014; section 10
/// for the scaled form. Which elements stay depends on seed, stream, step and element alone.
#[derive(Debug, Clone)]
pub(crate) struct Dropout {
    p: f32,
    seed: u64,
    stream: u64,
}

pub(super) fn words_of(x: u64) -> [u32; 2] {
    [x as u32, (x >> 32) as u32]
}

impl Dropout {
    /// An element stays if its random word is at least this.
    fn threshold(&self) -> u32 {
        (f64::from(self.p) * 4_294_967_296.0).round() as u32
    }

    /// What the elements that stay are multiplied by.
    fn scale(&self) -> f64 {
        1.0 / (1.0 - f64::from(self.p))
    }

    /// Random words of elements 4 `block` to 4 `block` + 3.
    fn words(&self, block: usize, step: u32) -> [u32; 4] {
        words(self.seed, self.stream, block, step)
    }
}

/// Random words of a stream: those of elements 4 `block` to 4 `block` + 3.
pub(super) fn words(seed: u64, stream: u64, block: usize, step: u32) -> [u32; 4] {
    let [low, high] = words_of(stream);
    philox([block as u32, step, low, high], words_of(seed))
}

impl<T: Real> Reference<T> for Dropout {
    fn eval(&self, inputs: &[In<'_, T>], outputs: &mut [Out<'_, T>]) -> Result<(), String> {
        let (x, step) = (inputs[0].f(), inputs[1].u32()[0]);
        let (threshold, scale) = (self.threshold(), T::of(self.scale()));
        for (i, y) in outputs[0].f().iter_mut().enumerate() {
            let word = self.words(i / 4, step)[i % 4];
            *y = if word >= threshold { x[i] * scale } else { T::zero() };
        }
        Ok(())
    }

    fn eval_fast(&self, inputs: &[In<'_, T>], outputs: &mut [Out<'_, T>]) -> Result<(), String> {
        let (x, step) = (inputs[0].f(), inputs[1].u32()[0]);
        let (threshold, scale) = (self.threshold(), T::of(self.scale()));
        for (block, (y, x)) in outputs[0].f().chunks_mut(4).zip(x.chunks(4)).enumerate() {
            let words = self.words(block, step);
            for ((y, &x), word) in y.iter_mut().zip(x).zip(words) {
                *y = if word >= threshold { x * scale } else { T::zero() };
            }
        }
        Ok(())
    }
}

impl Op for Dropout {
    fn name(&self) -> &'static str {
        "dropout"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, String> {
        expect(inputs, &[DType::F32, DType::U32])?;
        if !(0.0..1.0).contains(&self.p) {
            return Err(format!("the probability of dropping must be in [0, 1), got {}", self.p));
        }
        if inputs[1].shape.dims() != [1] {
            return Err(format!("takes a counter [1], got {}", inputs[1].shape));
        }
        Ok(vec![inputs[0]])
    }

    fn grad<'g>(&self, Backward { inputs, upstream, .. }: Backward<'_, 'g>) -> Gradients<'g> {
        Ok(vec![upstream[0].map(|dy| dy.graph().record_one(self.clone(), &[dy, inputs[1]])), None])
    }

    fn dispatch(&self, ctx: &KernelContext<'_>) -> Result<Program> {
        let vectors = ctx.outputs[0].shape.elements().div_ceil(4);
        let params = uniform! {
            vectors, threshold: self.threshold(), scale: self.scale() as f32, stream: words_of(self.stream),
            seed: words_of(self.seed),
        };
        let args = [Arg::Input(0), Arg::Input(1), Arg::Output(0)];
        Ok(ctx.launch_over("dropout", args, &params, vectors)?.loop_iterations(PHILOX_ROUNDS).into())
    }

    fn traits(&self) -> Traits {
        Traits::default().drawing_by(1)
    }

    /// The scale is rounded, and the product.
    fn error_bound(&self, _: &[In<'_, f64>], outputs: &[In<'_, f64>]) -> Vec<Vec<f64>> {
        vec![relative_bound(&outputs[0], 2.0)]
    }
}

/// Drops each element of `x` with probability `p` and scales the others by 1 / (1 - p). Every run of a graph
/// draws anew; calls of one `stream_name` in one run draw the same, so that each layer needs its own.
#[track_caller]
pub(crate) fn dropout<'g>(x: Var<'g>, p: f32, params: &Params, stream_name: &str) -> Var<'g> {
    if p == 0.0 {
        return x;
    }
    let counter = random_counter(x.graph, params);
    x.graph.record_one(Dropout { p, seed: params.seed(), stream: stream_of(stream_name) }, &[x, counter])
}

pub(super) fn cases() -> Vec<Case> {
    let case = |p, shape: &[usize], step: f64| {
        let op = Dropout { p, seed: 0x1234_5678_9abc_def0, stream: stream_of("case") };
        Case::new(op, &[shape, &[1]]).index(1, 1).fill(1, Fillings::Given(vec![step]))
    };
    vec![
        case(0.5, &[], 0.0),
        case(0.5, &[1], 0.0),
        case(0.25, &[7], 1.0),
        case(0.1, &[65], 2.0),
        case(0.9, &[257], 4_294_967_295.0),
        case(0.0, &[33], 3.0),
        case(0.999_999_94, &[64], 3.0),
        case(0.3, &[130, 33], 77.0),
        // So many words that some product of theirs depends on its lowest bits.
        case(0.5, &[100_003], 5.0).no_gradient(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::testing::{Value, eval};

    fn run(op: &Dropout, x: &[f64], step: u32) -> Vec<f64> {
        let inputs = [(&[x.len()][..], Value::F(x.to_vec())), (&[1], Value::U32(vec![step]))];
        eval(op, false, &inputs).unwrap()[0].f().to_vec()
    }

    #[test]
    fn as_many_stay_as_should_and_the_mean_is_kept() {
        let n = 100_000;
        for (stream, p) in [(1, 0.1f32), (2, 0.5), (3, 0.8)] {
            let op = Dropout { p, seed: 5, stream };
            let y = run(&op, &vec![1.0; n], 9);
            let kept = y.iter().filter(|y| **y != 0.0).count() as f64;
            let (p, n) = (f64::from(p), n as f64);
            let sigma = (n * p * (1.0 - p)).sqrt();
            assert!((kept - n * (1.0 - p)).abs() < 4.0 * sigma, "{kept} of {n} at {p}");
            assert!(y.iter().all(|&y| y == 0.0 || (y * (1.0 - p) - 1.0).abs() < 1e-12));
        }
    }

    #[test]
    fn masks_differ_between_steps_seeds_and_streams() {
        let x = vec![1.0; 256];
        let op = Dropout { p: 0.5, seed: 5, stream: 6 };
        let y = run(&op, &x, 3);
        assert_eq!(y, run(&op, &x, 3));
        assert_ne!(y, run(&op, &x, 4));
        assert_ne!(y, run(&Dropout { seed: 5 << 32, ..op.clone() }, &x, 3));
        assert_ne!(y, run(&Dropout { stream: 7, ..op.clone() }, &x, 3));
        assert_eq!(run(&Dropout { p: 0.0, ..op }, &x, 3), x);
    }

    #[test]
    fn wrong_probabilities_are_refused() {
        for p in [-0.1, 1.0, 1.5, f32::NAN] {
            let g = Graph::new();
            dropout(g.input("x", [4]), p, &Params::seeded(1), "drop");
            assert!(g.error().unwrap().to_string().contains("must be in [0, 1)"), "{p}");
        }
    }

    #[test]
    fn the_counter_is_advanced_once_however_often_a_graph_is_compiled() {
        let (params, other) = (Params::seeded(1), Params::seeded(2));
        let g = Graph::new();
        let x = g.input("x", [1]);
        let y = dropout(dropout(x, 0.5, &params.at("a"), "a.drop"), 0.5, &params, "b.drop");
        let y = dropout(y, 0.5, &other, "c.drop");
        g.gradients(y.square(), &[x]);
        let len = g.len();
        for _ in 0..2 {
            let compiled = g.finish().unwrap();
            assert_eq!(compiled.states.iter().filter(|s| s.versions == 2).count(), 2);
            assert_eq!(compiled.nodes.len(), len + 2);
        }
        // The graph itself stays open: a counter is read at its first version still.
        assert_eq!(g.len(), len);
        assert!(g.error().is_none());
        // The mask of the backward pass is that of the forward pass.
        let text = g.finish().unwrap().to_string();
        assert_eq!(text.matches(&format!("stream: {}", stream_of("a.drop"))).count(), 2, "{text}");
        assert_eq!(text.matches("Advance").count(), 2, "{text}");
    }

    #[test]
    fn a_graph_without_dropout_advances_nothing() {
        let params = Params::seeded(1);
        let g = Graph::new();
        g.output("step", g.param(&params.counter(STEP)));
        let x = g.input("x", [4]);
        assert_eq!(dropout(x, 0.0, &params, "drop").id, x.id);
        g.finish().unwrap();
        assert_eq!(g.len(), 1);
    }
}
