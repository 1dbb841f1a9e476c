//! The backward pass: through time (Werbos, "Backpropagation through time: what it does and how to do it", Proceedings of the
//! IEEE 78, 1990).

use super::{CellKind, Extents, Walk, fits, lengths_of};
use crate::error::Result;
use crate::ops::{In, KernelContext, Op, Outputs, Program, Traits, expect, float};
use crate::shape::{DType, Shape, TensorType};

/// Cotangents of what x gives to the gates, of a GRU also of what the state gives to them (which differs in the last), and of
/// the first states, where those are inputs.
///
/// Inputs, in this order: the weight; of LSTM and GRU the gates; of an LSTM c of all times, of a GRU h before each time, of
/// an RNN h after it; the cotangent of h, and perhaps that of c; lengths.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RecurrentGrad {
    pub(crate) walk: Walk,
    /// Whether something depends on c.
    pub(crate) has_dcells: bool,
}

/// Where the inputs are.
pub(super) struct Places {
    pub(super) gates: Option<usize>,
    pub(super) states: usize,
    pub(super) dh: usize,
    pub(super) dcells: Option<usize>,
    pub(super) lengths: Option<usize>,
    pub(super) count: usize,
}

impl RecurrentGrad {
    pub(super) fn places(&self) -> Places {
        let gates = self.walk.cell.keeps_gates().then_some(1);
        let states = 1 + usize::from(gates.is_some());
        let dh = states + 1;
        let dcells = self.has_dcells.then_some(dh + 1);
        let next = dh + 1 + usize::from(self.has_dcells);
        let lengths = self.walk.has_lengths.then_some(next);
        Places { gates, states, dh, dcells, lengths, count: next + usize::from(self.walk.has_lengths) }
    }

    pub(super) fn extents(&self, shape: impl Fn(usize) -> Shape) -> Result<Extents, String> {
        let dh = shape(self.places().dh);
        let &[first, second, hidden] = dh.dims() else {
            return Err(format!("the cotangent must have three axes, got {dh}"));
        };
        let x = float(&[first, second, hidden * self.walk.cell.gates()]);
        self.walk.extents(&x.shape)
    }
}

impl Op for RecurrentGrad {
    fn name(&self) -> &'static str {
        match self.walk.cell {
            CellKind::Tanh | CellKind::Relu => "rnn_grad",
            CellKind::Lstm => "lstm_grad",
            CellKind::Gru => "gru_grad",
        }
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, String> {
        let (walk, places) = (self.walk, self.places());
        let mut types = vec![DType::F32; places.count];
        if let Some(at) = places.lengths {
            types[at] = DType::U32;
        }
        expect(inputs, &types)?;
        let e = self.extents(|i| inputs[i].shape)?;
        fits("the weight of the state", inputs[0], e.weight())?;
        let states = if walk.cell.has_cell() { e.cells() } else { walk.sequence(e, e.hidden) };
        fits("the states", inputs[places.states], states)?;
        let others =
            [(places.gates, "the gates", e.kept()), (places.dcells, "the cotangent of the cells", e.cells())];
        for (at, what, expected) in others {
            at.map_or(Ok(()), |at| fits(what, inputs[at], expected))?;
        }
        places.lengths.map_or(Ok(()), |at| fits("lengths", inputs[at], float(&[e.batch])))?;
        let mut outputs = vec![walk.sequence(e, e.gates * e.hidden)];
        outputs.extend((walk.cell == CellKind::Gru).then_some(outputs[0]));
        if walk.has_initial {
            outputs.extend(vec![e.state(); walk.states()]);
        }
        Ok(outputs)
    }

    fn dispatch(&self, ctx: &KernelContext<'_>) -> Result<Program> {
        self.program(ctx)
    }

    fn error_bound(&self, inputs: &[In<'_, f64>], _: &[In<'_, f64>]) -> Vec<Vec<f64>> {
        self.bounds(inputs)
    }

    fn flops(&self, inputs: &[TensorType], _: &[TensorType]) -> u64 {
        self.extents(|i| inputs[i].shape).map_or(0, |e| 2 * e.products(self.walk))
    }

    fn traits(&self) -> Traits {
        let places = self.places();
        lengths_of(self.walk, places.lengths, places.dh).keeping_f32(Outputs::ALL)
    }
}
