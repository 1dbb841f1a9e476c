//! Layers of transformers, and stacks of them.

use super::activation::Between;
use super::{
    Dropout, KeyValueCache, Layer, LayerNorm, Linear, MultiHeadAttention, Nonlinearity, RotaryPositions,
};
use crate::graph::{Params, Var};
use crate::ops::AttentionOptions;

/// How layers of a transformer are made: those of Vaswani et al., NIPS 2017, unless something else is said.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct TransformerOptions {
    /// Elements of each place.
    pub width: usize,
    /// Heads of queries.
    pub heads: usize,
    /// Heads of keys and values.
    pub kv_heads: usize,
    /// Elements between the two linear layers.
    pub hidden: usize,
    /// What stands between them.
    pub activation: Nonlinearity,
    /// The share of elements that is dropped: between the linear layers, and of what each half gives before it is added. PyTorch
    /// also drops attention weights.
    pub dropout: f32,
    /// Normalizes what each half takes (Xiong et al., "On Layer Normalization in the Transformer Architecture", ICML 2020), and in
    /// a stack what the last layer gives, instead of each sum.
    pub norm_first: bool,
    /// In self-attention, each place sees those up to its own.
    pub causal: bool,
    /// Turns queries and keys of self-attention by their positions.
    pub rotary: Option<RotaryPositions>,
}

impl TransformerOptions {
    /// Of this width and so many heads: four times the width between the linear layers, ReLU, no dropout, normalization after each sum.
    pub fn new(width: usize, heads: usize) -> Self {
        TransformerOptions {
            width,
            heads,
            kv_heads: heads,
            hidden: width.saturating_mul(4),
            activation: Nonlinearity::default(),
            dropout: 0.0,
            norm_first: false,
            causal: false,
            rotary: None,
        }
    }

    /// With fewer heads of keys and values.
    #[must_use]
    pub fn kv_heads(self, kv_heads: usize) -> Self {
        TransformerOptions { kv_heads, ..self }
    }

    /// With so many elements between the linear layers.
    #[must_use]
    pub fn hidden(self, hidden: usize) -> Self {
        TransformerOptions { hidden, ..self }
    }

    /// With another activation.
    #[must_use]
    pub fn activation(self, activation: impl Into<Nonlinearity>) -> Self {
        TransformerOptions { activation: activation.into(), ..self }
    }

    /// With dropout.
    #[must_use]
    pub fn dropout(self, dropout: f32) -> Self {
        TransformerOptions { dropout, ..self }
    }

    /// With the normalization before each half.
    #[must_use]
    pub fn norm_first(self) -> Self {
        TransformerOptions { norm_first: true, ..self }
    }

    /// Each place sees those up to its own: with it an encoder is a decoder without a source, such as GPT.
    #[must_use]
    pub fn causal(self) -> Self {
        TransformerOptions { causal: true, ..self }
    }

    /// With rotary positions in self-attention.
    #[must_use]
    pub fn rotary(self, positions: RotaryPositions) -> Self {
        TransformerOptions { rotary: Some(positions), ..self }
    }

    fn self_attention(&self, params: &Params, causal: bool) -> MultiHeadAttention {
        let own = MultiHeadAttention::with(params, self.width, self.heads, self.kv_heads);
        let own = if causal { own.causal() } else { own };
        self.rotary.map_or(own.clone(), |positions| own.rotary(positions))
    }
}

/// x plus what a half makes of it, normalized before or after.
#[derive(Debug, Clone)]
struct Half {
    norm: LayerNorm,
    dropout: Dropout,
    norm_first: bool,
}

impl Half {
    fn new(params: &Params, options: &TransformerOptions, i: usize) -> Self {
        Half {
            norm: LayerNorm::new(&params.at(&format!("norm{i}")), options.width),
            dropout: Dropout::new(&params.at(&format!("dropout{i}")), options.dropout),
            norm_first: options.norm_first,
        }
    }

    #[track_caller]
    fn around<'g>(&self, x: Var<'g>, make: impl FnOnce(Var<'g>) -> Var<'g>) -> Var<'g> {
        match self.norm_first {
            true => x + self.dropout.forward(make(self.norm.forward(x))),
            false => self.norm.forward(x + self.dropout.forward(make(x))),
        }
    }
}

/// Two linear layers and what stands between them, for each place by itself.
#[derive(Debug, Clone)]
struct FeedForward {
    linear1: Linear,
    between: Between,
    dropout: Dropout,
    linear2: Linear,
}

impl FeedForward {
    fn new(params: &Params, options: &TransformerOptions) -> Self {
        let &TransformerOptions { width, hidden, activation, dropout, .. } = options;
        let outputs = hidden.saturating_mul(activation.inputs());
        FeedForward {
            linear1: Linear::new(&params.at("linear1"), width, outputs),
            between: activation.layer(&params.at("activation"), hidden),
            dropout: Dropout::new(&params.at("dropout"), dropout),
            linear2: Linear::new(&params.at("linear2"), hidden, width),
        }
    }
}

impl Layer for FeedForward {
    #[track_caller]
    fn forward<'g>(&self, x: Var<'g>) -> Var<'g> {
        let inner = self.linear1.forward(x);
        let inner = {
            let _scope = x.graph().scope_at(self.linear1.path());
            self.between.forward(inner)
        };
        self.linear2.forward(self.dropout.forward(inner))
    }
}

/// Self-attention and two linear layers, each added to what it takes: a layer of the encoder of Vaswani et al., NIPS 2017, section
/// 3.1, and, causal, of a decoder without a source. Takes and gives `[batch, length, width]`:
///
/// x' = norm(x + attention(x)), y = norm(x' + linear2(relu(linear1(x')))), or with
/// [`norm_first`](TransformerOptions::norm_first) x' = x + attention(norm(x)), y = x' + linear2(relu(linear1(norm(x')))).
///
/// Parameters are named as those of PyTorch's `TransformerEncoderLayer`: `self_attn.*`, `linear1.*`, `linear2.*`, `norm1.*`, `norm2.*`.
///
/// ```
/// use wgrad::nn::{Activation, Layer, TransformerEncoderLayer, TransformerOptions};
/// use wgrad::{Graph, Params};
/// let options = TransformerOptions::new(16, 4).activation(Activation::Gelu).norm_first();
/// let layer = TransformerEncoderLayer::new(&Params::seeded(1).at("layer"), &options);
/// let g = Graph::new();
/// assert_eq!(layer.forward(g.input("x", [2, 10, 16])).shape().dims(), [2, 10, 16]);
/// ```
#[derive(Debug, Clone)]
pub struct TransformerEncoderLayer {
    attention: MultiHeadAttention,
    halves: [Half; 2],
    feed_forward: FeedForward,
}

impl TransformerEncoderLayer {
    /// With its parameters under `params`.
    pub fn new(params: &Params, options: &TransformerOptions) -> Self {
        TransformerEncoderLayer {
            attention: options.self_attention(&params.at("self_attn"), options.causal),
            halves: [1, 2].map(|i| Half::new(params, options, i)),
            feed_forward: FeedForward::new(params, options),
        }
    }

    /// Its self-attention.
    pub fn attention(&self) -> &MultiHeadAttention {
        &self.attention
    }

    /// With lengths or masks for its attention.
    #[track_caller]
    pub fn encode<'g>(&self, x: Var<'g>, options: &AttentionOptions<'g>) -> Var<'g> {
        self.with(x, |x| self.attention.attend(x, options))
    }

    /// One place of each sequence, `[batch, 1, width]`, which sees those in the cache ([`MultiHeadAttention::step`]).
    #[track_caller]
    pub fn step<'g>(&self, x: Var<'g>, cache: &KeyValueCache, lengths: Var<'g>) -> Var<'g> {
        self.with(x, |x| self.attention.step(x, cache, lengths))
    }

    #[track_caller]
    fn with<'g>(&self, x: Var<'g>, attend: impl FnOnce(Var<'g>) -> Var<'g>) -> Var<'g> {
        let x = self.halves[0].around(x, attend);
        self.halves[1].around(x, |x| self.feed_forward.forward(x))
    }
}

impl Layer for TransformerEncoderLayer {
    #[track_caller]
    fn forward<'g>(&self, x: Var<'g>) -> Var<'g> {
        self.encode(x, &AttentionOptions::default())
    }
}

/// Causal self-attention, attention to a source, and two linear layers, each added to what it takes: a layer of the decoder of Vaswani
/// et al., NIPS 2017, section 3.1. Takes `[batch, n, width]` and the source's encoding `[batch, m, width]`, gives `[batch, n, width]`.
///
/// Parameters are named as those of PyTorch's `TransformerDecoderLayer`: `self_attn.*`, `multihead_attn.*`, `linear1.*`, `linear2.*`,
/// `norm1.*` to `norm3.*`. There, causality is a mask that is passed.
#[derive(Debug, Clone)]
pub struct TransformerDecoderLayer {
    attention: MultiHeadAttention,
    of_source: MultiHeadAttention,
    halves: [Half; 3],
    feed_forward: FeedForward,
}

impl TransformerDecoderLayer {
    /// With its parameters under `params`. Its self-attention is causal whatever the options say.
    pub fn new(params: &Params, options: &TransformerOptions) -> Self {
        let &TransformerOptions { width, heads, kv_heads, .. } = options;
        TransformerDecoderLayer {
            attention: options.self_attention(&params.at("self_attn"), true),
            of_source: MultiHeadAttention::with(&params.at("multihead_attn"), width, heads, kv_heads),
            halves: [1, 2, 3].map(|i| Half::new(params, options, i)),
            feed_forward: FeedForward::new(params, options),
        }
    }

    /// Of a sequence and its source. Options are for self-attention, and for attention to the source, such as its lengths.
    #[track_caller]
    pub fn decode<'g>(
        &self,
        x: Var<'g>,
        source: Var<'g>,
        [own, of_source]: [&AttentionOptions<'g>; 2],
    ) -> Var<'g> {
        let x = self.halves[0].around(x, |x| self.attention.attend(x, own));
        let x = self.halves[1].around(x, |x| self.of_source.attend_to(x, source, of_source));
        self.halves[2].around(x, |x| self.feed_forward.forward(x))
    }
}

/// Layers of an encoder, one after the other, and with [`norm_first`](TransformerOptions::norm_first) a normalization behind them.
/// Causal, it is a decoder without a source, such as GPT (Radford et al., 2018). Takes and gives `[batch, length, width]`. Parameters
/// are named as in PyTorch: `layers.0.*`, .., `norm.*`.
///
/// ```
/// use wgrad::nn::{Sequential, Summary, TransformerEncoder, TransformerOptions};
/// use wgrad::Params;
/// let params = Params::seeded(1);
/// let options = TransformerOptions::new(16, 4).causal().norm_first();
/// let net = Sequential::new(&params).with(|params| TransformerEncoder::new(params, 2, &options)).linear(16, 3);
/// assert_eq!(Summary::of(&net, [1, 10, 16])?.parameters, 2 * 3280 + 32 + 51);
/// # Ok::<(), wgrad::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct TransformerEncoder {
    layers: Vec<TransformerEncoderLayer>,
    norm: Option<LayerNorm>,
}

/// The path of a layer of a stack.
fn layer_at(params: &Params, i: usize) -> Params {
    params.at(&format!("layers.{i}"))
}

fn last_norm(params: &Params, options: &TransformerOptions) -> Option<LayerNorm> {
    options.norm_first.then(|| LayerNorm::new(&params.at("norm"), options.width))
}

impl TransformerEncoder {
    /// So many layers.
    pub fn new(params: &Params, layers: usize, options: &TransformerOptions) -> Self {
        let layer = |i| TransformerEncoderLayer::new(&layer_at(params, i), options);
        TransformerEncoder { layers: (0..layers).map(layer).collect(), norm: last_norm(params, options) }
    }

    /// Its layers.
    pub fn layers(&self) -> &[TransformerEncoderLayer] {
        &self.layers
    }

    /// With lengths or masks for the attention of each layer.
    #[track_caller]
    pub fn encode<'g>(&self, x: Var<'g>, options: &AttentionOptions<'g>) -> Var<'g> {
        self.normed(self.layers.iter().fold(x, |x, layer| layer.encode(x, options)))
    }

    /// Keys and values of each layer, `layers.0.*`, .. under `params`: see [`KeyValueCache`].
    pub fn caches(&self, params: &Params, batch: usize, most: usize) -> Vec<KeyValueCache> {
        let layers = self.layers.iter().enumerate();
        layers.map(|(i, layer)| layer.attention().cache(&layer_at(params, i), batch, most)).collect()
    }

    /// One place of each sequence, `[batch, 1, width]`, which sees those in the caches ([`MultiHeadAttention::step`]). As many caches as
    /// layers.
    #[track_caller]
    pub fn step<'g>(&self, x: Var<'g>, caches: &[KeyValueCache], lengths: Var<'g>) -> Var<'g> {
        if caches.len() != self.layers.len() {
            let message = format!("{} layers need as many caches, got {}", self.layers.len(), caches.len());
            return x.graph().refuse("transformer_encoder", message, x);
        }
        let layers = self.layers.iter().zip(caches);
        self.normed(layers.fold(x, |x, (layer, cache)| layer.step(x, cache, lengths)))
    }

    #[track_caller]
    fn normed<'g>(&self, x: Var<'g>) -> Var<'g> {
        self.norm.as_ref().map_or(x, |norm| norm.forward(x))
    }
}

impl Layer for TransformerEncoder {
    #[track_caller]
    fn forward<'g>(&self, x: Var<'g>) -> Var<'g> {
        self.encode(x, &AttentionOptions::default())
    }
}

/// Layers of a decoder, one after the other, and with [`norm_first`](TransformerOptions::norm_first) a normalization behind them.
/// Parameters are named as in PyTorch: `layers.0.*`, .., `norm.*`.
///
/// ```
/// use wgrad::nn::{TransformerDecoder, TransformerOptions};
/// use wgrad::ops::AttentionOptions;
/// use wgrad::{Graph, Params};
/// let decoder = TransformerDecoder::new(&Params::seeded(1), 2, &TransformerOptions::new(16, 4));
/// let g = Graph::new();
/// let (x, source) = (g.input("x", [2, 5, 16]), g.input("source", [2, 9, 16]));
/// let of_source = AttentionOptions { lengths: Some(g.classes("lengths", [2])), ..Default::default() };
/// let y = decoder.decode(x, source, [&AttentionOptions::default(), &of_source]);
/// assert_eq!(y.shape().dims(), [2, 5, 16]);
/// ```
#[derive(Debug, Clone)]
pub struct TransformerDecoder {
    layers: Vec<TransformerDecoderLayer>,
    norm: Option<LayerNorm>,
}

impl TransformerDecoder {
    /// So many layers.
    pub fn new(params: &Params, layers: usize, options: &TransformerOptions) -> Self {
        let layer = |i| TransformerDecoderLayer::new(&layer_at(params, i), options);
        TransformerDecoder { layers: (0..layers).map(layer).collect(), norm: last_norm(params, options) }
    }

    /// As [`TransformerDecoderLayer::decode`].
    #[track_caller]
    pub fn decode<'g>(&self, x: Var<'g>, source: Var<'g>, options: [&AttentionOptions<'g>; 2]) -> Var<'g> {
        let x = self.layers.iter().fold(x, |x, layer| layer.decode(x, source, options));
        self.norm.as_ref().map_or(x, |norm| norm.forward(x))
    }
}
