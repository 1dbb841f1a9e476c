//! One time of a recurrent network, and any such over a sequence.

use super::Sequence;
use crate::graph::{Graph, Init, Param, Params, Var};
use crate::ops::recurrent::CellKind;
use crate::tensor::Tensor;

/// One time of a recurrent network: what states become. [`over_time`] runs it over sequences.
///
/// ```
/// use wgrad::nn::{Cell, Layer, Linear, over_time};
/// use wgrad::{Graph, Params, Var};
///
/// /// Leaky units: Jaeger et al., Neural Networks 20, 2007, equation 2.
/// struct Leaky(Linear, Linear);
///
/// impl Cell for Leaky {
///     fn widths(&self) -> Vec<usize> {
///         vec![self.1.weight().shape().dim(0)]
///     }
///     fn step<'g>(&self, x: Var<'g>, states: &[Var<'g>]) -> Vec<Var<'g>> {
///         let next = (self.0.forward(x) + self.1.forward(states[0])).tanh();
///         vec![states[0] * 0.9 + next * 0.1]
///     }
/// }
///
/// let params = Params::seeded(1);
/// let cell = Leaky(Linear::new(&params.at("input"), 3, 8), Linear::new(&params.at("state"), 8, 8));
/// let g = Graph::new();
/// let sequence = over_time(&cell, g.input("x", [2, 5, 3]), None, None);
/// assert_eq!(sequence.output.shape().dims(), [2, 5, 8]);
/// assert_eq!(sequence.states[0].shape().dims(), [2, 8]);
/// ```
pub trait Cell {
    /// Columns of each state.
    fn widths(&self) -> Vec<usize>;

    /// The states after `x` `[batch, inputs]` from those before it, `[batch, width]` each and in the order of
    /// [`Cell::widths`]. The first one is the output.
    fn step<'g>(&self, x: Var<'g>, states: &[Var<'g>]) -> Vec<Var<'g>>;
}

/// A cell over the times of `x` `[batch, time, inputs]`, from states `[batch, width]`, 0 by default. Where sequences have lengths of
/// their own, `[batch]` class numbers of at most `time`, their states stay and their outputs are 0 beyond. Gives the outputs
/// `[batch, time, width]` and the states after the last time.
///
/// Each time's ops are recorded, so that a graph grows with the time; [`Recurrent`](super::Recurrent) has one launch a time.
#[track_caller]
pub fn over_time<'g>(
    cell: &dyn Cell,
    x: Var<'g>,
    initial: Option<&[Var<'g>]>,
    lengths: Option<Var<'g>>,
) -> Sequence<'g> {
    walk(cell, x, initial, lengths, false)
}

/// The same, perhaps from the last time to the first.
#[track_caller]
pub(super) fn walk<'g>(
    cell: &dyn Cell,
    x: Var<'g>,
    initial: Option<&[Var<'g>]>,
    lengths: Option<Var<'g>>,
    is_reverse: bool,
) -> Sequence<'g> {
    let g = x.graph();
    let widths = cell.widths();
    let refused = |message: String| {
        let v = g.refuse("over_time", message, x);
        Sequence { output: v, states: vec![v; widths.len().max(1)] }
    };
    let &[batch, times, inputs] = x.shape().dims() else {
        return refused(format!("sequences must be [batch, time, inputs], got {}", x.shape()));
    };
    if widths.is_empty() {
        return refused("a cell must have a state".into());
    }
    let mut states: Vec<Var<'g>> = match initial {
        Some(states) if states.len() == widths.len() => states.to_vec(),
        Some(states) => {
            return refused(format!("the cell has {} states, got {}", widths.len(), states.len()));
        }
        None => widths.iter().map(|&width| g.full([batch, width], 0.0)).collect(),
    };
    let masks = lengths.map(|lengths| mask(g, lengths, [batch, times]));
    let mut outputs = vec![None; times];
    for step in 0..times {
        let time = if is_reverse { times - 1 - step } else { step };
        let mut next = cell.step(x.slice(1, time, 1).reshape([batch, inputs]), &states);
        if next.len() != widths.len() {
            return refused(format!(
                "the cell has {} states, and its step gives {}",
                widths.len(),
                next.len()
            ));
        }
        let mut output = next[0];
        if let Some(masks) = masks {
            let goes_on = masks.slice(1, time, 1).reshape([batch, 1]);
            next.iter_mut().zip(&states).for_each(|(next, &before)| *next = goes_on.select(*next, before));
            output = output * goes_on;
        }
        states = next;
        outputs[time] = Some(output.reshape([batch, 1, widths[0]]));
    }
    let outputs: Vec<Var<'g>> = outputs.into_iter().flatten().collect();
    let output = match outputs.split_first() {
        Some((first, [])) => *first,
        Some((first, rest)) => first.concat(rest, 1),
        None => return refused("sequences must have one time at least".into()),
    };
    Sequence { output, states }
}

/// 1 at the times of each item that are before its length, else 0: `[batch, time, 1]`.
pub(super) fn mask<'g>(g: &'g Graph, lengths: Var<'g>, [batch, times]: [usize; 2]) -> Var<'g> {
    let all: Vec<f32> = (0..times).map(|t| t as f32).collect();
    match Tensor::new([1, times, 1], all) {
        Ok(all) => lengths.to_f32().reshape([batch, 1, 1]).greater(g.constant(all)),
        Err(error) => g.refuse("over_time", error.to_string(), lengths),
    }
}

/// What the units of a recurrent layer are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RecurrentKind {
    /// h' = tanh(W x + U h + b): Elman, "Finding structure in time", Cognitive Science 14, 1990. PyTorch's `RNN`.
    Tanh,
    /// h' = max(W x + U h + b, 0): Le, Jaitly and Hinton, arXiv:1504.00941, who start from U = 1. PyTorch's `RNN` with
    /// `nonlinearity="relu"`.
    Relu,
    /// i, f, o = σ(W x + U h + b), g = tanh(W x + U h + b), c' = f c + i g, h' = o tanh(c'): Hochreiter and Schmidhuber, Neural
    /// Computation 9, 1997, with the forget gates of Gers, Schmidhuber and Cummins, Neural Computation 12, 2000. States h and c;
    /// rows of weights by gates i, f, g, o.
    Lstm,
    /// r, z = σ(W x + U h + b), n = tanh(W x + b + r (U h + b)), h' = (1 − z) n + z h: Cho et al., EMNLP 2014, with the reset after the
    /// product, as PyTorch and cuDNN have it. Rows of weights by gates r, z, n.
    Gru,
    /// The same with n = tanh(W x + U (r h) + b), as Cho et al. write it, and Keras with `reset_after=False`. Its second product
    /// waits for the first, so that it is recorded op by op, and slower.
    GruResetBefore,
}

impl RecurrentKind {
    pub(super) fn gates(self) -> usize {
        self.fused().map_or(3, CellKind::gates)
    }

    /// Its op over whole sequences, if there is one.
    pub(super) fn fused(self) -> Option<CellKind> {
        match self {
            RecurrentKind::Tanh => Some(CellKind::Tanh),
            RecurrentKind::Relu => Some(CellKind::Relu),
            RecurrentKind::Lstm => Some(CellKind::Lstm),
            RecurrentKind::Gru => Some(CellKind::Gru),
            RecurrentKind::GruResetBefore => None,
        }
    }

    pub(super) fn states(self) -> usize {
        if self == RecurrentKind::Lstm { 2 } else { 1 }
    }
}

/// A cell of any [`RecurrentKind`], with PyTorch's parameters: `weight_ih` `[gates · hidden, inputs]`, `weight_hh` `[gates · hidden,
/// hidden]`, `bias_ih` and `bias_hh` `[gates · hidden]`, all uniform within 1 / √hidden at the start.
///
/// ```
/// use wgrad::nn::{Cell, RecurrentCell, RecurrentKind};
/// use wgrad::{Graph, Params};
/// let params = Params::seeded(1);
/// let cell = RecurrentCell::new(&params.at("cell"), RecurrentKind::Lstm, 10, 20);
/// let g = Graph::new();
/// let (h, c) = (g.input("h", [4, 20]), g.input("c", [4, 20]));
/// let after = cell.step(g.input("x", [4, 10]), &[h, c]);
/// assert_eq!(after[0].shape().dims(), [4, 20]);
/// ```
#[derive(Debug, Clone)]
pub struct RecurrentCell {
    path: String,
    pub(super) kind: RecurrentKind,
    pub(super) hidden: usize,
    pub(super) weights: [Param; 2],
    pub(super) biases: Option<[Param; 2]>,
}

impl RecurrentCell {
    /// From `inputs` columns to `hidden`.
    pub fn new(params: &Params, kind: RecurrentKind, inputs: usize, hidden: usize) -> Self {
        Self::named(params, kind, [inputs, hidden], true, "")
    }

    /// The same without biases.
    pub fn without_bias(params: &Params, kind: RecurrentKind, inputs: usize, hidden: usize) -> Self {
        Self::named(params, kind, [inputs, hidden], false, "")
    }

    pub(super) fn named(
        params: &Params,
        kind: RecurrentKind,
        [inputs, hidden]: [usize; 2],
        has_bias: bool,
        suffix: &str,
    ) -> Self {
        let rows = kind.gates() * hidden;
        let init = || Init::Uniform(1.0 / (hidden as f32).sqrt());
        let weight = |name: &str, columns| params.param(&format!("{name}{suffix}"), [rows, columns], init());
        let bias = |name: &str| params.param(&format!("{name}{suffix}"), [rows], init());
        RecurrentCell {
            path: params.path().to_string(),
            kind,
            hidden,
            weights: [weight("weight_ih", inputs), weight("weight_hh", hidden)],
            biases: has_bias.then(|| [bias("bias_ih"), bias("bias_hh")]),
        }
    }

    /// `weight_ih` and `weight_hh`.
    pub fn weights(&self) -> &[Param; 2] {
        &self.weights
    }

    /// `bias_ih` and `bias_hh`.
    pub fn biases(&self) -> Option<&[Param; 2]> {
        self.biases.as_ref()
    }
}

impl Cell for RecurrentCell {
    fn widths(&self) -> Vec<usize> {
        vec![self.hidden; self.kind.states()]
    }

    #[track_caller]
    fn step<'g>(&self, x: Var<'g>, states: &[Var<'g>]) -> Vec<Var<'g>> {
        let g = x.graph();
        let _scope = g.scope_at(&self.path);
        let (kind, hidden) = (self.kind, self.hidden);
        if states.len() != kind.states() {
            let message = format!("{kind:?} has {} states, got {}", kind.states(), states.len());
            return vec![g.refuse("step", message, x); kind.states()];
        }
        let h = states[0];
        let [of_x, of_h] = [0, 1].map(|k| g.param(&self.weights[k]));
        let biased = |v: Var<'g>, k: usize, first: usize, count: usize| match &self.biases {
            Some(all) => v + g.param(&all[k]).slice(0, first * hidden, count * hidden),
            None => v,
        };
        let gates = kind.gates();
        let x = biased(x.matmul_nt(of_x), 0, 0, gates);
        let part = |v: Var<'g>, k: usize| v.slice(1, k * hidden, hidden);
        // What h gives to gates.
        let u = |h: Var<'g>, first: usize, count: usize| {
            let rows = of_h.slice(0, first * hidden, count * hidden);
            biased(h.matmul_nt(rows), 1, first, count)
        };
        match kind {
            RecurrentKind::Tanh => vec![(x + u(h, 0, 1)).tanh()],
            RecurrentKind::Relu => vec![(x + u(h, 0, 1)).relu()],
            RecurrentKind::Lstm => {
                let sum = x + u(h, 0, 4);
                let [i, f, o] = [0, 1, 3].map(|k| part(sum, k).sigmoid());
                let c = f * states[1] + i * part(sum, 2).tanh();
                vec![o * c.tanh(), c]
            }
            RecurrentKind::Gru => {
                let u = u(h, 0, 3);
                let [r, z] = [0, 1].map(|k| (part(x, k) + part(u, k)).sigmoid());
                let n = (part(x, 2) + r * part(u, 2)).tanh();
                vec![n + z * (h - n)]
            }
            RecurrentKind::GruResetBefore => {
                let both = u(h, 0, 2);
                let [r, z] = [0, 1].map(|k| (part(x, k) + part(both, k)).sigmoid());
                let n = (part(x, 2) + u(r * h, 2, 1)).tanh();
                vec![n + z * (h - n)]
            }
        }
    }
}
