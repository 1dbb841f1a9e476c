//! Recurrent layers over whole sequences. A time's product with the state before it, its gates and the new state are one launch,
//! and so is its part of the backward pass; what x gives to all times, and the gradients of weights, are products outside.
//! Kernels: `shaders/recurrent.wgsl.jinja`.

mod cases;
mod cell;
mod fast;
mod grad;
mod kernels;
mod reference;
#[cfg(test)]
mod tests;

pub(super) use cases::cases;
pub(crate) use cell::CellKind;
use grad::RecurrentGrad;

use super::{Backward, Below, Gradients, KernelContext, Op, Outputs, Program, Traits, expect, float};
use crate::error::Result;
use crate::graph::Var;
use crate::shape::{DType, Shape, TensorType};

/// How a layer goes over a sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Walk {
    pub(crate) cell: CellKind,
    /// From the last time to the first.
    pub(crate) is_reverse: bool,
    /// Whether x is `[batch, time, ..]`, else `[time, batch, ..]`.
    pub(crate) batch_first: bool,
    /// Whether states before the first time are inputs; else they are 0.
    pub(crate) has_initial: bool,
    /// Whether sequences have lengths of their own: at times beyond, the state stays.
    pub(crate) has_lengths: bool,
}

/// The states of all times.
///
/// Inputs, in this order: what x gives to the gates, `[batch, time, gates · hidden]`; the weight of h `[gates · hidden,
/// hidden]`; of a GRU its bias `[gates · hidden]`; with initial states h, and of an LSTM c, `[batch, hidden]`; lengths
/// `[batch]`.
///
/// Outputs: h `[batch, time, hidden]`; of an LSTM c `[time + 1, batch, hidden]`, before the first time it goes over and
/// after each; of LSTM and GRU what the derivative needs, `[time, batch, hidden, 4]` in the order it goes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Recurrent {
    pub(crate) walk: Walk,
}

/// Extents of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Extents {
    batch: usize,
    times: usize,
    hidden: usize,
    gates: usize,
}

/// Times of a sequence at most: each is a launch of its own.
const MOST_TIMES: usize = 1 << 14;
/// Units at most, so that the loops of a launch stay within what software adapters do.
const MOST_HIDDEN: usize = 1 << 13;

impl Walk {
    /// The extents, from what x gives to the gates.
    fn extents(self, x: &Shape) -> Result<Extents, String> {
        let (gates, order) =
            (self.cell.gates(), if self.batch_first { "batch, time" } else { "time, batch" });
        let &[first, second, columns] = x.dims() else {
            return Err(format!("sequences must be [{order}, gates], got {x}"));
        };
        let (batch, times) = if self.batch_first { (first, second) } else { (second, first) };
        let hidden = columns / gates;
        if hidden * gates != columns || x.elements() == 0 {
            return Err(format!("{x} must be [{order}, {gates} · hidden units] of one at least"));
        }
        if times > MOST_TIMES {
            return Err(format!(
                "sequences of {times} times, where {MOST_TIMES} are the most; cut them and carry the state over"
            ));
        }
        if hidden > MOST_HIDDEN {
            return Err(format!("{hidden} hidden units, where {MOST_HIDDEN} are the most"));
        }
        Ok(Extents { batch, times, hidden, gates })
    }

    /// Extents of sequences of so many columns.
    fn sequence(self, e: Extents, columns: usize) -> TensorType {
        match self.batch_first {
            true => float(&[e.batch, e.times, columns]),
            false => float(&[e.times, e.batch, columns]),
        }
    }

    /// The time that is gone over as number `step`.
    fn time(self, e: Extents, step: usize) -> usize {
        if self.is_reverse { e.times - 1 - step } else { step }
    }

    /// States of a unit.
    fn states(self) -> usize {
        1 + usize::from(self.cell.has_cell())
    }
}

/// An input that must have these extents.
fn fits(what: &str, got: TensorType, expected: TensorType) -> Result<(), String> {
    match got.shape == expected.shape {
        true => Ok(()),
        false => Err(format!("{what} must be {}, got {}", expected.shape, got.shape)),
    }
}

impl Extents {
    fn weight(self) -> TensorType {
        float(&[self.gates * self.hidden, self.hidden])
    }

    fn state(self) -> TensorType {
        float(&[self.batch, self.hidden])
    }

    fn cells(self) -> TensorType {
        float(&[self.times + 1, self.batch, self.hidden])
    }

    fn kept(self) -> TensorType {
        float(&[self.times, self.batch, self.hidden, 4])
    }

    /// Multiply-adds of the products with the state, at all times but those that have none.
    fn products(self, walk: Walk) -> u64 {
        let times = self.times - usize::from(!walk.has_initial);
        [self.batch, times, self.hidden, self.gates, self.hidden].iter().map(|&n| n as u64).product()
    }
}

/// Where an op's inputs are.
struct Places {
    bias: Option<usize>,
    initial: Option<usize>,
    lengths: Option<usize>,
    count: usize,
}

impl Recurrent {
    fn places(&self) -> Places {
        let Walk { cell, has_initial, has_lengths, .. } = self.walk;
        let mut count = 2;
        let mut next = |is: bool, n: usize| {
            let at = is.then_some(count);
            count += if is { n } else { 0 };
            at
        };
        let bias = next(cell.has_bias(), 1);
        let initial = next(has_initial, self.walk.states());
        let lengths = next(has_lengths, 1);
        Places { bias, initial, lengths, count }
    }
}

/// The lengths reach the end of the axis of time.
fn lengths_of(walk: Walk, at: Option<usize>, x: usize) -> Traits {
    let axis = usize::from(walk.batch_first);
    at.map_or_else(Traits::default, |at| Traits::default().indices(at, Below::Length { input: x, axis }))
}

impl Op for Recurrent {
    fn name(&self) -> &'static str {
        match self.walk.cell {
            CellKind::Tanh | CellKind::Relu => "rnn",
            CellKind::Lstm => "lstm",
            CellKind::Gru => "gru",
        }
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, String> {
        let (places, cell) = (self.places(), self.walk.cell);
        let mut types = vec![DType::F32; places.count];
        if let Some(at) = places.lengths {
            types[at] = DType::U32;
        }
        expect(inputs, &types)?;
        let e = self.walk.extents(&inputs[0].shape)?;
        fits("the weight of the state", inputs[1], e.weight())?;
        if let Some(at) = places.bias {
            fits("the bias", inputs[at], float(&[e.gates * e.hidden]))?;
        }
        if let Some(at) = places.initial {
            for (k, &state) in inputs[at..at + self.walk.states()].iter().enumerate() {
                fits(["the first state", "the first state of the cells"][k], state, e.state())?;
            }
        }
        if let Some(at) = places.lengths {
            fits("lengths", inputs[at], float(&[e.batch]))?;
        }
        let mut outputs = vec![self.walk.sequence(e, e.hidden)];
        outputs.extend(cell.has_cell().then(|| e.cells()));
        outputs.extend(cell.keeps_gates().then(|| e.kept()));
        Ok(outputs)
    }

    fn grad<'g>(&self, Backward { inputs, outputs, upstream, needed }: Backward<'_, 'g>) -> Gradients<'g> {
        let (walk, places) = (self.walk, self.places());
        let e = walk.extents(&inputs[0].shape())?;
        let gates = walk.cell.keeps_gates().then(|| outputs[outputs.len() - 1]);
        if gates.is_some() && upstream[outputs.len() - 1].is_some() {
            return Err("what it keeps of the gates for its gradient has no derivative itself".into());
        }
        let [x, weight, h] = [inputs[0], inputs[1], outputs[0]];
        let g = x.graph();
        let dh = upstream[0].unwrap_or_else(|| g.filled(h.shape(), 0.0));
        let dcells = if walk.cell.has_cell() { upstream[1] } else { None };
        // The state before each time: the first one, then those of the times before.
        let before = || {
            let axis = usize::from(walk.batch_first);
            let dims = walk.sequence(Extents { times: 1, ..e }, e.hidden).shape;
            let first = match places.initial {
                Some(at) => inputs[at].reshape(dims.dims()),
                None => g.filled(dims, 0.0),
            };
            match (e.times, walk.is_reverse) {
                (1, _) => first,
                (_, true) => h.slice(axis, 1, e.times - 1).concat(&[first], axis),
                (_, false) => first.concat(&[h.slice(axis, 0, e.times - 1)], axis),
            }
        };
        let needs_product = needed[1] || places.bias.is_some_and(|at| needed[at]);
        let is_gru = walk.cell == CellKind::Gru;
        let before = (needs_product || is_gru).then(before);

        let op = RecurrentGrad { walk, has_dcells: dcells.is_some() };
        let mut arguments = vec![weight];
        arguments.extend(gates);
        arguments.push(match walk.cell {
            CellKind::Lstm => outputs[1],
            CellKind::Gru => before.unwrap_or(h),
            CellKind::Tanh | CellKind::Relu => h,
        });
        arguments.push(dh);
        arguments.extend(dcells);
        arguments.extend(places.lengths.map(|at| inputs[at]));
        let found = g.record(op, &arguments);

        let mut gradients = vec![None; inputs.len()];
        gradients[0] = Some(found[0]);
        // Of U h + b of each gate.
        let dproducts = found[usize::from(is_gru)].reshape([e.batch * e.times, e.gates * e.hidden]);
        gradients[1] = before
            .filter(|_| needed[1])
            .map(|before| dproducts.matmul_tn(before.reshape([e.batch * e.times, e.hidden])));
        if let Some(at) = places.bias {
            gradients[at] = needed[at].then(|| dproducts.sum(&[0]));
        }
        if let Some(at) = places.initial {
            let first = 1 + usize::from(is_gru);
            (0..walk.states()).for_each(|k| gradients[at + k] = Some(found[first + k]));
        }
        Ok(gradients)
    }

    fn dispatch(&self, ctx: &KernelContext<'_>) -> Result<Program> {
        self.program(ctx)
    }

    fn error_bound(&self, inputs: &[super::In<'_, f64>], _: &[super::In<'_, f64>]) -> Vec<Vec<f64>> {
        self.bounds(inputs)
    }

    fn flops(&self, inputs: &[TensorType], _: &[TensorType]) -> u64 {
        self.walk.extents(&inputs[0].shape).map_or(0, |e| 2 * e.products(self.walk))
    }

    fn traits(&self) -> Traits {
        let kept = 1 + usize::from(self.walk.cell.has_cell());
        // c adds up over the times; h goes from time to time in a buffer of its own.
        lengths_of(self.walk, self.places().lengths, 0)
            .keeping_f32(Outputs::of(|k| k == 1 && self.walk.cell.has_cell()))
            .without_gradient(Outputs::of(|k| k == kept))
    }
}

/// What [`Var::recurrent`] takes besides x.
pub(crate) struct Arguments<'a, 'g> {
    pub(crate) walk: Walk,
    /// `[gates · hidden, hidden]`.
    pub(crate) weight: Var<'g>,
    /// `[gates · hidden]`, of a GRU.
    pub(crate) bias: Option<Var<'g>>,
    /// `[batch, hidden]` each.
    pub(crate) initial: &'a [Var<'g>],
    /// `[batch]`.
    pub(crate) lengths: Option<Var<'g>>,
}

impl<'g> Var<'g> {
    /// The states of all times, and of an LSTM those of its cells, from what x gives to the gates: see [`Recurrent`].
    #[track_caller]
    pub(crate) fn recurrent(self, of: &Arguments<'_, 'g>) -> Vec<Var<'g>> {
        let mut inputs = vec![self, of.weight];
        inputs.extend(of.bias);
        inputs.extend(of.initial);
        inputs.extend(of.lengths);
        self.graph.record(Recurrent { walk: of.walk }, &inputs)
    }
}
