//! Attention with several heads as a layer.

use super::{Layer, Linear, RotaryPositions};
use crate::graph::{Init, Param, Params, Var};
use crate::ops::AttentionOptions;

/// Attention of several heads with its projections: Vaswani et al., "Attention Is All You Need", NIPS 2017, section 3.2.2; with fewer
/// heads of keys and values than of queries (Ainslie et al., "GQA", EMNLP 2023, section 2.2; one head is Shazeer's multi-query
/// attention, arXiv:1911.02150). Takes and gives `[batch, length, width]`:
///
/// y = concat over heads of softmax(q kᵀ / √d) v, times W_outᵀ, plus b_out, with q, k, v = x W_inᵀ + b_in, d = width / heads.
///
/// As a [`Layer`] it is self-attention; [`attend`](Self::attend) adds lengths and masks, [`attend_to`](Self::attend_to) takes keys and
/// values from another sequence. Scores are never stored ([`Var::attention`]); attention weights are not dropped.
///
/// Parameters are those of PyTorch's `MultiheadAttention`, `[out, in]`: `in_proj_weight` `[width + 2 kv_heads d, width]`, of which queries,
/// keys and values are rows in this order, `in_proj_bias`, `out_proj.weight` `[width, width]` and `out_proj.bias`. They start as there:
/// weights uniform by Xavier (Glorot and Bengio, 2010) for the input and within 1/√width for the output, biases at 0.
///
/// ```
/// use wgrad::nn::{Layer, MultiHeadAttention};
/// use wgrad::{Graph, Params};
/// let attention = MultiHeadAttention::new(&Params::seeded(1).at("attention"), 16, 4).causal();
/// let g = Graph::new();
/// assert_eq!(attention.forward(g.input("x", [2, 10, 16])).shape().dims(), [2, 10, 16]);
/// ```
#[derive(Debug, Clone)]
pub struct MultiHeadAttention {
    path: String,
    weight: Param,
    bias: Param,
    out_proj: Linear,
    width: usize,
    heads: [usize; 2],
    causal: bool,
    rotary: Option<RotaryPositions>,
}

impl MultiHeadAttention {
    /// With so many heads, which divide the width.
    pub fn new(params: &Params, width: usize, heads: usize) -> Self {
        Self::with(params, width, heads, heads)
    }

    /// With fewer heads of keys and values, which divide those of the queries.
    pub fn with(params: &Params, width: usize, heads: usize, kv_heads: usize) -> Self {
        let rows = width.saturating_add((width / heads.max(1)).saturating_mul(kv_heads.saturating_mul(2)));
        MultiHeadAttention {
            path: params.path().to_string(),
            weight: params.param("in_proj_weight", [rows, width], Init::XavierUniform),
            bias: params.param("in_proj_bias", [rows], Init::Constant(0.0)),
            out_proj: Linear::starting(
                &params.at("out_proj"),
                [width; 2],
                Init::FanIn(width),
                Some(Init::Constant(0.0)),
            ),
            width,
            heads: [heads, kv_heads],
            causal: false,
            rotary: None,
        }
    }

    /// Each place sees those up to its own.
    #[must_use]
    pub fn causal(mut self) -> Self {
        self.causal = true;
        self
    }

    /// Turns queries and keys by their positions; for self-attention.
    #[must_use]
    pub fn rotary(mut self, positions: RotaryPositions) -> Self {
        self.rotary = Some(positions);
        self
    }

    /// Width, heads of queries, heads of keys and values.
    pub fn extents(&self) -> [usize; 3] {
        [self.width, self.heads[0], self.heads[1]]
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }

    pub(super) fn rotation(&self) -> Option<&RotaryPositions> {
        self.rotary.as_ref()
    }

    /// Columns of a head.
    pub(super) fn each(&self) -> usize {
        self.width / self.heads[0].max(1)
    }

    /// Columns of the queries, and of the keys and values each.
    fn columns(&self) -> [usize; 2] {
        self.heads.map(|heads| heads * self.each())
    }

    /// Self-attention of `[batch, length, width]` with these options besides its own.
    #[track_caller]
    pub fn attend<'g>(&self, x: Var<'g>, options: &AttentionOptions<'g>) -> Var<'g> {
        let g = x.graph();
        let _scope = g.scope_at(&self.path);
        if let Some(refused) = self.refused(x, "multi_head_attention") {
            return refused;
        }
        let options = AttentionOptions { causal: self.causal || options.causal, ..*options };
        let joint = self.joint(x);
        let mixed = match &self.rotary {
            None => joint.self_attention(self.heads, &options),
            Some(rotary) => {
                let [q, k, v] = self.parts(joint);
                let y = rotary.forward(q).attention(rotary.forward(k), v, &options);
                self.merged(y)
            }
        };
        self.out(mixed)
    }

    /// Attention of `[batch, n, width]` to the places of another sequence, `[batch, m, width]`, with these options besides its own:
    /// cross-attention.
    #[track_caller]
    pub fn attend_to<'g>(&self, x: Var<'g>, source: Var<'g>, options: &AttentionOptions<'g>) -> Var<'g> {
        let g = x.graph();
        let _scope = g.scope_at(&self.path);
        for x in [x, source] {
            if let Some(refused) = self.refused(x, "multi_head_attention") {
                return refused;
            }
        }
        if self.rotary.is_some() {
            let message = "rotary positions are for self-attention: places of two sequences have no distance";
            return g.refuse("multi_head_attention", message.into(), x);
        }
        let options = AttentionOptions { causal: self.causal || options.causal, ..*options };
        let [own, shared] = self.columns();
        let (weight, bias) = (g.param(&self.weight), g.param(&self.bias));
        let project = |x: Var<'g>, first: usize, count: usize| {
            x.matmul_nt(weight.slice(0, first, count)) + bias.slice(0, first, count)
        };
        let q = project(x, 0, own);
        let [k, v] = [0, 1].map(|i| project(source, own + i * shared, shared));
        self.out(q.attention_of_columns(k, v, self.heads, &options))
    }

    /// Says what no input can have.
    #[track_caller]
    pub(super) fn refused<'g>(&self, x: Var<'g>, op: &str) -> Option<Var<'g>> {
        let [heads, kv_heads] = self.heads;
        let shape = x.shape();
        let message = if heads == 0 || !self.width.is_multiple_of(heads) {
            format!("{heads} heads do not divide the width {}", self.width)
        } else if kv_heads == 0 || !heads.is_multiple_of(kv_heads) {
            format!("{kv_heads} heads of keys and values do not divide {heads} heads of queries")
        } else if !x.is_poisoned() && (shape.rank() != 3 || shape.dim(2) != self.width) {
            format!("takes [batch, length, {}], got {shape}", self.width)
        } else {
            return None;
        };
        Some(x.graph().refuse(op, message, x))
    }

    /// Queries, keys and values side by side.
    #[track_caller]
    pub(super) fn joint<'g>(&self, x: Var<'g>) -> Var<'g> {
        x.matmul_nt(x.graph().param(&self.weight)) + x.graph().param(&self.bias)
    }

    /// Queries, keys and values of each head, `[batch, heads, length, d]`.
    #[track_caller]
    pub(super) fn parts<'g>(&self, joint: Var<'g>) -> [Var<'g>; 3] {
        let [own, shared] = self.columns();
        let part = |first: usize, columns: usize| {
            let (batch, length) = (joint.dim(0), joint.dim(1));
            let by_heads = [batch, length, columns / self.each(), self.each()];
            joint.slice(2, first, columns).reshape(by_heads).permute(&[0, 2, 1, 3])
        };
        [part(0, own), part(own, shared), part(own + shared, shared)]
    }

    /// Heads `[batch, heads, length, d]` side by side.
    #[track_caller]
    pub(super) fn merged<'g>(&self, y: Var<'g>) -> Var<'g> {
        y.permute(&[0, 2, 1, 3]).reshape([y.dim(0), y.dim(2), self.width])
    }

    #[track_caller]
    pub(super) fn out<'g>(&self, mixed: Var<'g>) -> Var<'g> {
        self.out_proj.forward(mixed)
    }
}

impl Layer for MultiHeadAttention {
    #[track_caller]
    fn forward<'g>(&self, x: Var<'g>) -> Var<'g> {
        self.attend(x, &AttentionOptions::default())
    }
}
