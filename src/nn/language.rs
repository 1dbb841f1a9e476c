//! Models of what comes next in a text.

use super::{
    Carried, Dropout, Embedding, KeyValueCache, Layer, Linear, Recurrent, RecurrentKind, RecurrentOptions,
    TransformerEncoder, TransformerOptions,
};
use crate::graph::{Param, Params, Var};

/// A language model: from the numbers of symbols, characters or words, `[rows, places]` (`u32`), to the logits of the one that
/// follows each, `[rows, places, classes]`. An [`Embedding`], a recurrent network (Graves, "Generating Sequences With Recurrent
/// Neural Networks", arXiv:1308.0850, section 2) or a causal transformer (GPT: Radford et al., 2018, section 3.1, with the
/// normalization first and rotary positions), and a [`Linear`] layer; dropout stands between them (Zaremba, Sutskever and Vinyals,
/// arXiv:1409.2329).
///
/// Parameters are `embedding.weight`, `rnn.*` or `transformer.*`, and `output.*`, as in [`Embedding`], [`Recurrent`],
/// [`TransformerEncoder`] and [`Linear`].
///
/// ```
/// use wgrad::nn::{Layer, LanguageModel, RecurrentKind, RecurrentOptions, TransformerOptions};
/// use wgrad::{Graph, Params};
/// let params = Params::seeded(1);
/// let lstm = LanguageModel::recurrent(&params.at("a"), 70, RecurrentKind::Lstm, 32, RecurrentOptions::default());
/// let gpt = LanguageModel::transformer(&params.at("b"), 70, 2, &TransformerOptions::new(32, 4));
/// let g = Graph::new();
/// let x = g.classes("x", [3, 10]);
/// assert_eq!(lstm.forward(x).shape().dims(), [3, 10, 70]);
/// assert_eq!(gpt.forward(x).shape().dims(), [3, 10, 70]);
/// ```
#[derive(Debug, Clone)]
pub struct LanguageModel {
    embedding: Embedding,
    body: Body,
    /// Of what the body takes, and of what it gives.
    dropped: [Dropout; 2],
    output: Linear,
}

#[derive(Debug, Clone)]
enum Body {
    /// Where states are carried, they are under these.
    Recurrent(Recurrent, Option<Params>),
    Transformer(TransformerEncoder),
}

/// What a [`LanguageModel`] remembers of the symbols that it has read one by one: states of a recurrent network, or keys and values.
#[derive(Debug, Clone)]
pub struct Memory(Remembered);

#[derive(Debug, Clone)]
enum Remembered {
    States(Carried),
    Caches(Vec<KeyValueCache>),
}

impl Memory {
    /// The states on the device, which are 0 where nothing was read.
    pub fn states(&self) -> Vec<Param> {
        match &self.0 {
            Remembered::States(carried) => carried.states().to_vec(),
            Remembered::Caches(caches) => {
                caches.iter().flat_map(|cache| [cache.keys().clone(), cache.values().clone()]).collect()
            }
        }
    }
}

impl LanguageModel {
    /// A recurrent network of `hidden` units over `classes` symbols, whose vectors have `hidden` elements too. Dropout of the options
    /// is also that of the vectors and of the last layer. Each row begins with states of 0; see [`carrying`](Self::carrying).
    pub fn recurrent(
        params: &Params,
        classes: usize,
        kind: RecurrentKind,
        hidden: usize,
        options: RecurrentOptions,
    ) -> Self {
        let dropout = options.dropout;
        let network = Recurrent::with(&params.at("rnn"), kind, hidden, hidden, options);
        Self::around(params, classes, hidden, dropout, Body::Recurrent(network, None))
    }

    /// A transformer of so many layers over `classes` symbols. It is causal and normalizes first whatever the options say, and
    /// turns queries and keys by [`RotaryPositions`](super::RotaryPositions) unless they have others; the width of a head must be even. Dropout of the
    /// options is also that of the vectors and of the last layer.
    pub fn transformer(params: &Params, classes: usize, layers: usize, options: &TransformerOptions) -> Self {
        let rotary = options.rotary.unwrap_or_default();
        let options = options.clone().causal().norm_first().rotary(rotary);
        let encoder = TransformerEncoder::new(&params.at("transformer"), layers, &options);
        Self::around(params, classes, options.width, options.dropout, Body::Transformer(encoder))
    }

    fn around(params: &Params, classes: usize, width: usize, dropout: f32, body: Body) -> Self {
        LanguageModel {
            embedding: Embedding::with(&params.at("embedding"), classes, width, crate::Init::Normal(0.1)),
            body,
            dropped: ["dropout_in", "dropout_out"].map(|name| Dropout::new(&params.at(name), dropout)),
            output: Linear::new(&params.at("output"), width, classes),
        }
    }

    /// With states of a recurrent network that go on from batch to batch, as [`Carried`] does: `carried.<rows>.*` under `params`.
    /// Rows must then continue those of the batch before ([`Dataset::streams`](crate::data::Dataset::streams)). A
    /// transformer stays as it is.
    #[must_use]
    pub fn carrying(mut self, params: &Params) -> Self {
        if let Body::Recurrent(_, carried) = &mut self.body {
            *carried = Some(params.at("carried"));
        }
        self
    }

    /// The states that are carried, for each number of rows that was recorded; none without [`carrying`](Self::carrying). A loop of one's own
    /// sets them to their initial values where a text begins, as a [`Trainer`](crate::train::Trainer) does.
    pub fn carried(&self) -> Vec<Param> {
        match &self.body {
            Body::Recurrent(_, Some(carried)) => carried.all(),
            _ => Vec::new(),
        }
    }

    /// The number of symbols.
    pub fn classes(&self) -> usize {
        self.embedding.weight().shape().dim(0)
    }

    /// Whether it sees no more than the places that it is given at once, as a transformer does.
    pub fn is_transformer(&self) -> bool {
        matches!(self.body, Body::Transformer(_))
    }

    /// Room to read `batch` texts symbol by symbol; of a transformer of at most `most` symbols.
    pub fn memory(&self, params: &Params, batch: usize, most: usize) -> Memory {
        Memory(match &self.body {
            Body::Recurrent(network, _) => Remembered::States(Carried::new(params, network, batch)),
            Body::Transformer(encoder) => Remembered::Caches(encoder.caches(params, batch, most)),
        })
    }

    /// The logits `[batch, 1, classes]` of what follows one more symbol of each text, `[batch, 1]`, after those in the memory, which
    /// it joins. `lengths` `[batch]` are how many symbols each text has with it, which a recurrent network does not look at.
    #[track_caller]
    pub fn step<'g>(&self, x: Var<'g>, memory: &Memory, lengths: Var<'g>) -> Var<'g> {
        self.with(x, |x| match (&self.body, &memory.0) {
            (Body::Recurrent(network, _), Remembered::States(carried)) => carried.run(network, x).output,
            (Body::Transformer(encoder), Remembered::Caches(caches)) => encoder.step(x, caches, lengths),
            _ => x.graph().refuse("language_model", "the memory is that of another kind of model".into(), x),
        })
    }

    #[track_caller]
    fn with<'g>(&self, x: Var<'g>, body: impl FnOnce(Var<'g>) -> Var<'g>) -> Var<'g> {
        let [before, after] = &self.dropped;
        let y = after.forward(body(before.forward(self.embedding.forward(x))));
        let &[rows, places, width] = y.shape().dims() else {
            return y.graph().refuse("language_model", format!("takes [rows, places], got {}", x.shape()), x);
        };
        let _scope = y.graph().scope_at(self.output.path());
        // One product over all places.
        self.output.forward(y.reshape([rows * places, width])).reshape([rows, places, self.classes()])
    }
}

impl Layer for LanguageModel {
    #[track_caller]
    fn forward<'g>(&self, x: Var<'g>) -> Var<'g> {
        self.with(x, |x| match &self.body {
            Body::Recurrent(network, None) => network.forward(x),
            Body::Recurrent(network, Some(carried)) => {
                let rows = x.shape().dims().first().copied().unwrap_or(0);
                Carried::new(&carried.at(&rows.to_string()), network, rows).run(network, x).output
            }
            Body::Transformer(encoder) => encoder.forward(x),
        })
    }
}
