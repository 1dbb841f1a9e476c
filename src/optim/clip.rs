//! Gradient clipping.

use super::Optimizer;
use super::wrapper::{passing_on, sees_scaled, updated};
use crate::graph::{Graph, Param, Var};

/// Scales gradients down, all by one factor, where their norm is above `max_norm`: the norm of all elements of
/// all gradients together. Pascanu, Mikolov and Bengio, "On the difficulty of training recurrent neural
/// networks", ICML 2013, algorithm 1; as PyTorch's `clip_grad_norm_`, with 1e-6 added to the norm. Gradients are
/// scaled before they are squared, so that the norm is right up to the largest of `f32`, and beyond.
/// Where one is NaN, all become NaN; beside an infinite one the finite ones become 0 and it becomes NaN.
///
/// `max_norm` must be above 0.
#[track_caller]
pub fn clip_by_global_norm<'g>(gradients: &[Var<'g>], max_norm: f32) -> Vec<Var<'g>> {
    let Some(&first) = gradients.first() else { return Vec::new() };
    if !(max_norm.is_finite() && max_norm > 0.0) {
        let message = format!("the largest norm must be a number above 0, got {max_norm}");
        return vec![first.graph().refuse("clip_by_global_norm", message, first); gradients.len()];
    }
    let Some(Clip { norm, shift, is_large }) = Clip::of(gradients) else { return Vec::new() };
    // In two steps where they are large: one factor might be below the normal numbers, and flushed.
    let choose = |large: f32| is_large.select(norm.graph().scalar(large), norm.graph().scalar(1.0));
    let (first, back) = (choose(TWO_24.recip()), choose(TWO_24));
    let clip = (norm + shift * 1e-6).recip() * max_norm * (shift * back);
    let factor = clip.minimum(back);
    gradients.iter().map(|&v| v * first * factor).collect()
}

/// 2^24 and 2^40.
const TWO_24: f32 = 16_777_216.0;
const TWO_40: f32 = 1_099_511_627_776.0;

/// The norm of gradients, found without an overflow.
struct Clip<'g> {
    /// Times `shift`.
    norm: Var<'g>,
    /// A power of two, by which multiplying rounds nothing: 1 unless the largest element is above 2^40.
    shift: Var<'g>,
    /// Whether it is.
    is_large: Var<'g>,
}

impl<'g> Clip<'g> {
    /// The largest magnitude is scaled to at most 2^40, so that a sum of 2^32 squares is in range. By the largest is how
    /// the norms of BLAS scale (Anderson, "Algorithm 978: Safe Scaling in the Level 1 BLAS", TOMS 2017); by a power of two
    /// the norm has the bits that it has without, where that needs none. Squares that underflow are those of numbers
    /// below 1e-19, which are nothing beside the 1e-6 that is added, or, where they are scaled, below 1e7 beside one above
    /// 2^40.
    #[track_caller]
    fn of(gradients: &[Var<'g>]) -> Option<Self> {
        let largest = gradients.iter().map(|v| v.abs().max_all()).reduce(Var::maximum)?;
        let number = |x: f32| largest.graph().scalar(x);
        let is_large = largest.greater(number(TWO_40));
        let shift = is_large.select(number(2f32.powi(-88)), number(1.0));
        let squares = gradients.iter().map(|&v| (v * shift).square().sum_all());
        Some(Clip { norm: squares.reduce(|a, b| a + b)?.sqrt(), shift, is_large })
    }
}

/// An optimizer whose gradients are clipped by their global norm first; see [`clip_by_global_norm`].
///
/// ```
/// use wgrad::optim::{ClipNorm, Optimizer, Sgd};
/// use wgrad::{Device, Graph, Init, Params};
/// let params = Params::seeded(1);
/// let w = params.param("w", [1], Init::Constant(30.0));
/// let sgd = ClipNorm::new(Sgd::new(&params, 0.1), 1.0);
/// let g = Graph::new();
/// sgd.minimize(g.param(&w).square().sum_all(), &params.trainable());
/// let device = Device::cpu();
/// device.compile(&g)?.run()?;
/// // The gradient is 60, the step is that of a gradient of 1.
/// assert!((device.read_param(&w)?.as_f32()[0] - 29.9).abs() < 1e-5);
/// # Ok::<(), wgrad::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct ClipNorm<O> {
    inner: O,
    max_norm: f32,
}

impl<O: Optimizer> ClipNorm<O> {
    /// Clips to `max_norm`, a number above 0; 1 is common.
    pub fn new(inner: O, max_norm: f32) -> Self {
        ClipNorm { inner, max_norm }
    }
}

impl<O: Optimizer> Optimizer for ClipNorm<O> {
    #[track_caller]
    fn apply<'g>(&self, g: &'g Graph, params: &[Param], gradients: &[Var<'g>]) {
        if sees_scaled(g, &self.inner, "ClipNorm::new") {
            return;
        }
        let Some((params, kept)) = updated(params, gradients) else {
            return self.inner.apply(g, params, gradients);
        };
        let clipped = {
            let _scope = g.scope("clip");
            clip_by_global_norm(&kept, self.max_norm)
        };
        self.inner.apply(g, &params, &clipped);
    }

    /// The norm is that of the gradients times the factor. Where it is so large that the whole factor is below the
    /// range of `f32`, the step is left out; the scale stays, and is at most 2^40.
    #[track_caller]
    fn apply_scaled<'g>(&self, g: &'g Graph, params: &[Param], gradients: &[Var<'g>], factor: Var<'g>) {
        let Some((params, kept)) = updated(params, gradients) else {
            return self.inner.apply_scaled(g, params, gradients, factor);
        };
        let factor = {
            let _scope = g.scope("clip");
            if !(self.max_norm.is_finite() && self.max_norm > 0.0) {
                clip_by_global_norm(&kept, self.max_norm);
            }
            // Of gradients that are not finite the norm says nothing: the factor, which is 0 then, stays.
            Clip::of(&kept).map_or(factor, |Clip { norm, shift, .. }| {
                let clip = (norm * factor + shift * 1e-6).recip() * self.max_norm * shift;
                factor.select(factor * clip.minimum(g.scalar(1.0)), factor)
            })
        };
        self.inner.apply_scaled(g, &params, &kept, factor);
    }

    passing_on!();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::optim::Sgd;
    use crate::{Device, Init, Params, Result};

    fn moved(values: [f32; 2], max_norm: f32) -> Result<[f32; 2]> {
        let params = Params::seeded(1);
        let a = params.param("a", [1], Init::Constant(0.0));
        let b = params.param("b", [1], Init::Constant(0.0));
        let frozen = params.param("c", [1], Init::Constant(1e6));
        frozen.set_trainable(false);
        let g = Graph::new();
        let gradients: Vec<Var<'_>> = values.map(|v| g.full([1], v)).to_vec();
        let all = [a.clone(), b.clone(), frozen.clone()];
        let optimizer = ClipNorm::new(Sgd::new(&params, 1.0), max_norm);
        optimizer.apply(&g, &all, &[gradients[0], gradients[1], g.param(&frozen)]);
        let device = Device::cpu();
        device.compile(&g)?.run()?;
        assert_eq!(device.read_param(&frozen)?.as_f32(), [1e6]);
        Ok([&a, &b].map(|p| device.read_param(p).map_or(f32::NAN, |t| t.as_f32()[0])))
    }

    #[test]
    fn a_long_gradient_is_cut_and_a_short_one_stays() -> Result<()> {
        // 3, 4: a norm of 5.
        let [a, b] = moved([3.0, 4.0], 1.0)?;
        assert!((a + 0.6).abs() < 1e-6 && (b + 0.8).abs() < 1e-6, "{a} {b}");
        assert_eq!(moved([3.0, 4.0], 6.0)?, [-3.0, -4.0]);
        assert_eq!(moved([0.0, 0.0], 1.0)?, [0.0, 0.0]);
        assert_eq!(moved([3e-25, -4e-25], 1.0)?, [-3e-25, 4e-25]);
        Ok(())
    }

    #[test]
    fn mistakes_are_the_optimizers_own_at_the_line_of_the_user() {
        let params = Params::seeded(1);
        let a = params.param("a", [1], Init::Constant(0.0));
        let boxed: Box<dyn Optimizer> = Box::new(ClipNorm::new(Sgd::new(&params, 1.0), 1.0));
        let text = |all: &[Param], n: usize| {
            let g = Graph::new();
            let gradients: Vec<Var<'_>> = (0..n).map(|_| g.full([1], 1.0)).collect();
            let line = line!() + 1;
            boxed.apply(&g, all, &gradients);
            let text = g.error().map_or_else(String::new, |e| e.to_string());
            assert!(text.ends_with(&format!("{}:{line}", file!())), "{text}");
            text
        };
        let one = std::slice::from_ref(&a);
        assert!(text(one, 2).contains("2 gradients for 1 parameters"));
        assert!(text(&[], 0).contains("no parameters to update"));
        assert!(text(&[a.clone(), a.clone()], 2).contains("given twice"));
        params.freeze();
        assert!(text(one, 1).contains("all of the 1 parameters given are frozen"));
    }

    #[test]
    fn a_norm_that_makes_no_sense_is_refused() {
        for norm in [0.0, -1.0, f32::NAN, f32::INFINITY] {
            let g = Graph::new();
            clip_by_global_norm(&[g.input("x", [2])], norm);
            assert!(g.error().unwrap().to_string().contains("must be a number above 0"));
        }
        assert!(clip_by_global_norm(&[], 1.0).is_empty());
    }
}
