//! Recurrent layers.

mod carried;
mod cell;
#[cfg(test)]
mod tests;

use super::{Dropout, Layer};
use crate::graph::{Params, Var};
use crate::ops::recurrent::{Arguments, Walk};
pub use carried::Carried;
pub use cell::{Cell, RecurrentCell, RecurrentKind, over_time};

/// What a recurrent network makes of a sequence.
#[derive(Debug, Clone)]
pub struct Sequence<'g> {
    /// The output of each time: `[batch, time, hidden]`, of two directions `[batch, time, 2 · hidden]`.
    pub output: Var<'g>,
    /// The states after the last time (of a backward direction, after the first): h, and of an LSTM c. Of a [`Recurrent`]
    /// `[layers · directions, batch, hidden]` each, of [`over_time`] `[batch, width]`.
    pub states: Vec<Var<'g>>,
}

/// How a [`Recurrent`] is made, besides its kind and widths.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct RecurrentOptions {
    /// Layers on top of each other; 1 by default.
    pub layers: usize,
    /// Whether each layer has a second direction, from the last time to the first (Schuster and Paliwal, IEEE Transactions on Signal
    /// Processing 45, 1997).
    pub is_bidirectional: bool,
    /// Probability of dropout between layers (Zaremba, Sutskever and Vinyals, arXiv:1409.2329); 0 by default.
    pub dropout: f32,
    /// Whether there are biases; they are there by default.
    pub has_bias: bool,
    /// Whether sequences are `[time, batch, ..]`, PyTorch's default; here they are `[batch, time, ..]`.
    pub is_time_first: bool,
}

impl Default for RecurrentOptions {
    fn default() -> Self {
        RecurrentOptions {
            layers: 1,
            is_bidirectional: false,
            dropout: 0.0,
            has_bias: true,
            is_time_first: false,
        }
    }
}

impl RecurrentOptions {
    /// With so many layers.
    #[must_use]
    pub fn layers(mut self, layers: usize) -> Self {
        self.layers = layers;
        self
    }

    /// With both directions.
    #[must_use]
    pub fn bidirectional(mut self) -> Self {
        self.is_bidirectional = true;
        self
    }

    /// With dropout between layers.
    #[must_use]
    pub fn dropout(mut self, p: f32) -> Self {
        self.dropout = p;
        self
    }

    /// Without biases.
    #[must_use]
    pub fn without_bias(mut self) -> Self {
        self.has_bias = false;
        self
    }

    /// For sequences `[time, batch, ..]`.
    #[must_use]
    pub fn time_first(mut self) -> Self {
        self.is_time_first = true;
        self
    }
}

/// A recurrent network over whole sequences: RNN, LSTM or GRU. Takes `[batch, time, inputs]` and gives `[batch, time, hidden]`.
///
/// What x gives to the gates of a layer is one matrix product over all times; a time is one launch forward and one backward, and
/// the gradient of a weight one product over all times. Parameters are PyTorch's, in its order of gates: `weight_ih_l0`, `weight_hh_l0`,
/// `bias_ih_l0`, `bias_hh_l0`, of a backward direction `.._l0_reverse`, of further layers `.._l1` and so on, uniform within 1 / √hidden
/// at the start. Sequences have at most 16,384 times; longer ones are cut, and [`Carried`] keeps the state from one to the next.
///
/// ```
/// use wgrad::nn::{Layer, Recurrent, RecurrentKind, RecurrentOptions};
/// use wgrad::{Graph, Params};
/// let params = Params::seeded(1);
/// let g = Graph::new();
/// let x = g.input("x", [4, 30, 10]);
///
/// let lstm = Recurrent::lstm(&params.at("lstm"), 10, 20);
/// assert_eq!(lstm.forward(x).shape().dims(), [4, 30, 20]);
///
/// let options = RecurrentOptions::default().layers(2).bidirectional().dropout(0.2);
/// let gru = Recurrent::with(&params.at("gru"), RecurrentKind::Gru, 10, 20, options);
/// let sequence = gru.run(x, None, Some(g.classes("lengths", [4])));
/// assert_eq!(sequence.output.shape().dims(), [4, 30, 40]);
/// assert_eq!(sequence.states[0].shape().dims(), [4, 4, 20]);
/// ```
#[derive(Debug, Clone)]
pub struct Recurrent {
    path: String,
    kind: RecurrentKind,
    hidden: usize,
    options: RecurrentOptions,
    /// By layer, then by direction.
    cells: Vec<RecurrentCell>,
    between: Vec<Dropout>,
}

impl Recurrent {
    /// One layer of `hidden` units of a kind.
    pub fn new(params: &Params, kind: RecurrentKind, inputs: usize, hidden: usize) -> Self {
        Self::with(params, kind, inputs, hidden, RecurrentOptions::default())
    }

    /// One layer of simple units with tanh.
    pub fn rnn(params: &Params, inputs: usize, hidden: usize) -> Self {
        Self::new(params, RecurrentKind::Tanh, inputs, hidden)
    }

    /// One layer of long short-term memory.
    #[doc(alias = "LSTM")]
    pub fn lstm(params: &Params, inputs: usize, hidden: usize) -> Self {
        Self::new(params, RecurrentKind::Lstm, inputs, hidden)
    }

    /// One layer of gated recurrent units, with the reset after the product.
    #[doc(alias = "GRU")]
    pub fn gru(params: &Params, inputs: usize, hidden: usize) -> Self {
        Self::new(params, RecurrentKind::Gru, inputs, hidden)
    }

    /// With more layers, another direction and so on.
    pub fn with(
        params: &Params,
        kind: RecurrentKind,
        inputs: usize,
        hidden: usize,
        options: RecurrentOptions,
    ) -> Self {
        let directions = 1 + usize::from(options.is_bidirectional);
        let cell = |k: usize| {
            let (layer, is_reverse) = (k / directions, k % directions == 1);
            let inputs = if layer == 0 { inputs } else { directions * hidden };
            let suffix = format!("_l{layer}{}", if is_reverse { "_reverse" } else { "" });
            RecurrentCell::named(params, kind, [inputs, hidden], options.has_bias, &suffix)
        };
        let dropout = |layer: usize| Dropout::new(&params.at(&format!("dropout_l{layer}")), options.dropout);
        Recurrent {
            path: params.path().to_string(),
            kind,
            hidden,
            cells: (0..options.layers * directions).map(cell).collect(),
            between: (1..options.layers).map(dropout).collect(),
            options,
        }
    }

    /// The cells, layer by layer, in each first the forward direction.
    pub fn cells(&self) -> &[RecurrentCell] {
        &self.cells
    }

    /// Layers times directions.
    fn count(&self) -> usize {
        self.cells.len()
    }

    /// Outputs and last states, from states `[layers · directions, batch, hidden]` (h, and of an LSTM c), 0 by default. Where
    /// sequences have lengths of their own, `[batch]` class numbers of at most `time`, a state stays as it is at the times beyond, a
    /// backward direction begins at the last time of each, and outputs beyond are 0: PyTorch's packed sequences.
    #[track_caller]
    pub fn run<'g>(&self, x: Var<'g>, initial: Option<&[Var<'g>]>, lengths: Option<Var<'g>>) -> Sequence<'g> {
        let g = x.graph();
        let _scope = g.scope_at(&self.path);
        let states = self.kind.states();
        let refused = |message: String| {
            let v = g.refuse("recurrent", message, x);
            Sequence { output: v, states: vec![v; states] }
        };
        let &[first, second, _] = x.shape().dims() else {
            return refused(format!("sequences must have three axes, got {}", x.shape()));
        };
        if self.count() == 0 {
            return refused("a network must have one layer at least".into());
        }
        if let Some(got) = initial.map(<[_]>::len).filter(|&got| got != states) {
            return refused(format!("there are {states} states, got {got}"));
        }
        let (batch, times) = if self.options.is_time_first { (second, first) } else { (first, second) };
        let directions = 1 + usize::from(self.options.is_bidirectional);
        let state = |at: usize| -> Vec<Var<'g>> {
            let one = |v: &Var<'g>| v.slice(0, at, 1).reshape([batch, self.hidden]);
            initial.unwrap_or_default().iter().map(one).collect()
        };
        let mask = lengths.map(|lengths| {
            let mask = cell::mask(g, lengths, [batch, times]);
            if self.options.is_time_first { mask.permute(&[1, 0, 2]) } else { mask }
        });
        let (mut output, mut last) = (x, vec![Vec::new(); states]);
        for (layer, cells) in self.cells.chunks(directions).enumerate() {
            if layer > 0 && self.options.dropout > 0.0 {
                output = self.between[layer - 1].forward(output);
            }
            let mut outputs = Vec::new();
            for (direction, cell) in cells.iter().enumerate() {
                let of = Direction {
                    state: state(layer * directions + direction),
                    lengths,
                    mask,
                    is_reverse: direction == 1,
                };
                let found = self.one(cell, output, &of, [batch, times]);
                outputs.push(found.output);
                last.iter_mut().zip(found.states).for_each(|(all, state)| all.push(state));
            }
            output = if let [first, second] = outputs[..] { first.concat(&[second], 2) } else { outputs[0] };
        }
        let stacked = |all: Vec<Var<'g>>| if all.len() == 1 { all[0] } else { all[0].concat(&all[1..], 0) };
        Sequence { output, states: last.into_iter().map(stacked).collect() }
    }

    /// One layer in one direction; states are `[1, batch, hidden]`.
    #[track_caller]
    fn one<'g>(
        &self,
        cell: &RecurrentCell,
        x: Var<'g>,
        of: &Direction<'g>,
        [batch, times]: [usize; 2],
    ) -> Sequence<'g> {
        let g = x.graph();
        let (hidden, is_time_first) = (self.hidden, self.options.is_time_first);
        let as_state = |v: Var<'g>| v.reshape([1, batch, hidden]);
        let Some(kind) = self.kind.fused() else {
            let turned = |v: Var<'g>| if is_time_first { v.permute(&[1, 0, 2]) } else { v };
            let initial = (!of.state.is_empty()).then_some(&of.state[..]);
            let found = cell::walk(cell, turned(x), initial, of.lengths, of.is_reverse);
            return Sequence {
                output: turned(found.output),
                states: found.states.into_iter().map(as_state).collect(),
            };
        };
        let [of_x, of_h] = [0, 1].map(|k| g.param(&cell.weights[k]));
        let biases = cell.biases.as_ref().map(|all| [0, 1].map(|k| g.param(&all[k])));
        // Where the bias of h has no place of its own, both are one.
        let (added, apart) = match biases {
            Some([a, b]) if kind.has_bias() => (Some(a), Some(b)),
            Some([a, b]) => (Some(a + b), None),
            None => (None, kind.has_bias().then(|| g.full([3 * hidden], 0.0))),
        };
        // As one matrix, so that its gradient and that of the bias are one product.
        let dims = x.shape();
        let product = x.reshape([batch * times, dims.dim(2)]).matmul_nt(of_x);
        let product = added.map_or(product, |bias| product + bias);
        let of_gates = product.reshape([dims.dim(0), dims.dim(1), kind.gates() * hidden]);
        let found = of_gates.recurrent(&Arguments {
            walk: Walk {
                cell: kind,
                is_reverse: of.is_reverse,
                batch_first: !is_time_first,
                has_initial: !of.state.is_empty(),
                has_lengths: of.lengths.is_some(),
            },
            weight: of_h,
            bias: apart,
            initial: &of.state,
            lengths: of.lengths,
        });
        let end = if of.is_reverse { 0 } else { times.saturating_sub(1) };
        let mut states = vec![as_state(found[0].slice(usize::from(!is_time_first), end, 1))];
        states.extend(kind.has_cell().then(|| found[1].slice(0, times, 1)));
        Sequence { output: of.mask.map_or(found[0], |mask| found[0] * mask), states }
    }
}

/// A direction of a layer.
struct Direction<'g> {
    /// The first states `[batch, hidden]`; none where they are 0.
    state: Vec<Var<'g>>,
    lengths: Option<Var<'g>>,
    /// 1 before the lengths, 0 beyond.
    mask: Option<Var<'g>>,
    is_reverse: bool,
}

impl Layer for Recurrent {
    /// The outputs of all times.
    #[track_caller]
    fn forward<'g>(&self, x: Var<'g>) -> Var<'g> {
        self.run(x, None, None).output
    }
}
