//! Scaled dot-product attention: Vaswani et al., "Attention Is All You Need", NIPS 2017, section 3.2.1, with heads of queries that
//! share keys and values (Ainslie et al., "GQA", EMNLP 2023, section 2.2).
//!
//! The scores of all queries and keys are never stored. A kernel walks along the keys of a query with the largest score so far and the
//! sum of e^(score - largest), and rescales what it has when a larger one comes: Milakov and Gimelshein, "Online normalizer calculation
//! for softmax", 2018, algorithm 3; Rabe and Staats, "Self-attention Does Not Need O(n²) Memory", 2021; Dao, Fu, Ermon, Rudra and
//! Ré, "FlashAttention", NeurIPS 2022. What is kept for the gradient is the logarithm of the sum of each query.

mod bounds;
mod cases;
mod fast;
mod grad;
mod kernels;
mod layout;
mod reference;
#[cfg(test)]
mod tests;

use super::{
    Backward, Below, Gradients, In, KernelContext, Op, Out, Outputs, Program, Real, Reference, Traits, float,
};
use crate::error::Result;
use crate::graph::Var;
use crate::shape::TensorType;
pub(super) use cases::cases;
pub(crate) use cases::long_cases;
pub(crate) use grad::AttentionGrad;
pub(crate) use layout::Layout;
use layout::Problem;

/// o = softmax(scale q kᵀ + mask) v, of the keys that each query sees. Inputs: q, k, v, or one tensor of them; lengths; the mask.
/// Outputs: o, and the logarithm of the sum of e^score of each query, `[batch, heads, n]`, which is infinite where a query sees
/// no key, so that weights e^(score - it) are 0.
#[derive(Debug, Clone)]
pub(crate) struct Attention {
    pub(crate) layout: Layout,
    /// 1/√d where nothing is said.
    pub(crate) scale: Option<f32>,
    pub(crate) causal: bool,
    pub(crate) lengths: bool,
    pub(crate) mask: bool,
}

impl Attention {
    /// The input that the mask is.
    fn mask_at(&self) -> usize {
        self.layout.tensors() + usize::from(self.lengths)
    }

    /// Inputs: q, k, v, lengths and mask.
    fn inputs(&self) -> usize {
        self.mask_at() + usize::from(self.mask)
    }

    fn problem<T>(&self, inputs: &[In<'_, T>]) -> Result<Problem, String> {
        let types: Vec<TensorType> =
            inputs.iter().map(|x| TensorType { dtype: x.dtype(), shape: x.shape }).collect();
        Problem::of(self, &types)
    }

    /// Lengths reach the end of the keys at most.
    fn traits_of_inputs(&self) -> Traits {
        let tensors = self.layout.tensors();
        let (input, axis) = match self.layout {
            Layout::Heads => (1, 2),
            Layout::Rows { .. } => (1, 1),
            Layout::Packed { .. } => (0, 1),
        };
        match self.lengths {
            true => Traits::default().indices(tensors, Below::Length { input, axis }),
            false => Traits::default(),
        }
    }
}

impl<T: Real> Reference<T> for Attention {
    fn eval(&self, inputs: &[In<'_, T>], outputs: &mut [Out<'_, T>]) -> Result<(), String> {
        reference::attention(self, inputs, outputs)
    }

    fn eval_fast(&self, inputs: &[In<'_, T>], outputs: &mut [Out<'_, T>]) -> Result<(), String> {
        fast::attention(self, inputs, outputs)
    }
}

impl Op for Attention {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, String> {
        if inputs.len() != self.inputs() {
            return Err(format!("takes {} inputs, got {}", self.inputs(), inputs.len()));
        }
        let p = Problem::of(self, inputs)?;
        let o = match self.layout {
            Layout::Heads => float(&[p.batch, p.heads(), p.n, p.e]),
            Layout::Rows { .. } | Layout::Packed { .. } => float(&[p.batch, p.n, p.heads() * p.e]),
        };
        Ok(vec![o, float(&[p.batch, p.heads(), p.n])])
    }

    fn grad<'g>(&self, Backward { inputs, outputs, upstream, needed }: Backward<'_, 'g>) -> Gradients<'g> {
        if upstream[1].is_some() {
            return Err("what it keeps of each query for its gradient has no derivative itself".into());
        }
        if self.mask && needed[self.mask_at()] {
            return Err(
                "has no derivative by the mask: pass it as an input or a constant, or compose matmul, \
                        softmax and matmul"
                    .into(),
            );
        }
        let mut gradients = vec![None; inputs.len()];
        let tensors = self.layout.tensors();
        if let Some(dy) = upstream[0].filter(|_| needed[..tensors].contains(&true)) {
            let arguments = [inputs, &[outputs[0], outputs[1], dy]].concat();
            let of = dy.graph().record(AttentionGrad(self.clone()), &arguments);
            for (gradient, (of, needed)) in gradients.iter_mut().zip(of.into_iter().zip(needed)) {
                *gradient = needed.then_some(of);
            }
        }
        Ok(gradients)
    }

    fn dispatch(&self, ctx: &KernelContext<'_>) -> Result<Program> {
        kernels::attention(self, ctx)
    }

    fn traits(&self) -> Traits {
        self.traits_of_inputs().without_gradient(Outputs::OTHERS).keeping_f32(Outputs::OTHERS)
    }

    fn error_bound(&self, inputs: &[In<'_, f64>], outputs: &[In<'_, f64>]) -> Vec<Vec<f64>> {
        bounds::attention(self, inputs, outputs)
    }

    /// Two products, and eight for the softmax.
    fn flops(&self, inputs: &[TensorType], _: &[TensorType]) -> u64 {
        Problem::of(self, inputs).map_or(0, |p| (p.pairs() * (2 * (p.d + p.e) + 8)) as u64)
    }
}

/// What queries see, and how scores are scaled.
#[derive(Debug, Clone, Copy, Default)]
pub struct AttentionOptions<'g> {
    /// What scores are multiplied by: 1/√d where nothing is said.
    pub scale: Option<f32>,
    /// Each query sees the keys up to its own place; the last query sees the last key.
    pub causal: bool,
    /// How many keys each item of the batch has, `u32` `[batch]`: those behind them are padding, whatever they hold.
    pub lengths: Option<Var<'g>>,
    /// What is added to scores: `[.., n, m]`, which broadcasts to `[batch, heads, n, m]`. Where it is -∞ a key is not seen.
    pub mask: Option<Var<'g>>,
}

impl<'g> Var<'g> {
    /// Scaled dot-product attention of queries `[batch, heads, n, d]` to keys `[batch, kv_heads, m, d]` and values
    /// `[batch, kv_heads, m, e]`, where heads are a multiple of kv_heads and as many in a row share keys. Gives
    /// `[batch, heads, n, e]`:
    ///
    /// y = softmax(scale q kᵀ + mask) v (Vaswani et al., NIPS 2017, equation 1),
    ///
    /// over the keys that a query sees ([`AttentionOptions`]). A query that sees none gives zeros and has a gradient of zero. The scores
    /// are never stored, so that memory grows with n + m and not with n m (module `ops::attention` names the papers).
    /// d and e are at most 256.
    ///
    /// The gradient reaches queries, keys and values. One by the mask is an error of the recording, as is a second derivative.
    /// Lengths above m are refused where they are fed. A NaN in a key or value may reach queries that causality keeps from it, as
    /// 0 · NaN does in a composition.
    ///
    /// ```
    /// use wgrad::Graph;
    /// use wgrad::ops::AttentionOptions;
    /// let g = Graph::new();
    /// let q = g.input("q", [1, 2, 3, 4]);
    /// let [k, v] = ["k", "v"].map(|name| g.input(name, [1, 1, 3, 4]));
    /// let y = q.attention(k, v, &AttentionOptions { causal: true, ..Default::default() });
    /// assert_eq!(y.shape().dims(), [1, 2, 3, 4]);
    /// assert!(g.error().is_none());
    /// ```
    #[track_caller]
    pub fn attention(self, k: Var<'g>, v: Var<'g>, options: &AttentionOptions<'g>) -> Var<'g> {
        self.attention_of(Layout::Heads, &[self, k, v], options)
    }

    /// [`Var::attention`] of heads side by side, as a projection gives them: queries `[batch, n, heads d]`, keys
    /// `[batch, m, kv_heads d]` and values `[batch, m, kv_heads e]` give `[batch, n, heads e]`. `heads` are those of the queries,
    /// and those of keys and values.
    #[track_caller]
    pub fn attention_of_columns(
        self,
        k: Var<'g>,
        v: Var<'g>,
        heads: [usize; 2],
        options: &AttentionOptions<'g>,
    ) -> Var<'g> {
        self.attention_of(Layout::Rows { heads }, &[self, k, v], options)
    }

    /// [`Var::attention`] of queries, keys and values side by side, as one projection gives them: the columns of
    /// `[batch, n, (heads + 2 kv_heads) d]`. Gives `[batch, n, heads d]`.
    #[track_caller]
    pub fn self_attention(self, heads: [usize; 2], options: &AttentionOptions<'g>) -> Var<'g> {
        self.attention_of(Layout::Packed { heads }, &[self], options)
    }

    #[track_caller]
    fn attention_of(self, layout: Layout, tensors: &[Var<'g>], options: &AttentionOptions<'g>) -> Var<'g> {
        let &AttentionOptions { scale, causal, lengths, mask } = options;
        let op = Attention { layout, scale, causal, lengths: lengths.is_some(), mask: mask.is_some() };
        let inputs: Vec<Var<'g>> = tensors.iter().copied().chain(lengths).chain(mask).collect();
        self.graph.record_one(op, &inputs)
    }
}
