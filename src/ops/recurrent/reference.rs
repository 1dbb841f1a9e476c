//! The formulas on the CPU: for floats, and for floats that carry the error of rounding.

use super::grad::RecurrentGrad;
use super::{CellKind, Extents, Recurrent, Walk, fast};
use crate::ops::number::Number;
use crate::ops::tracked::Tracked;
use crate::ops::{In, Out, Real, Reference, TINY};

/// What a sequence of states is computed from.
pub(super) struct Forward<'a, N> {
    pub(super) x: &'a [N],
    pub(super) weight: &'a [N],
    pub(super) bias: Option<&'a [N]>,
    /// h, and of an LSTM c.
    pub(super) initial: Vec<&'a [N]>,
    pub(super) lengths: Option<&'a [u32]>,
}

/// What its gradient is computed from.
pub(super) struct Backward<'a, N> {
    pub(super) weight: &'a [N],
    pub(super) gates: Option<&'a [N]>,
    /// c of all times of an LSTM, h before each time of a GRU, h after of an RNN.
    pub(super) states: &'a [N],
    pub(super) dh: &'a [N],
    pub(super) dcells: Option<&'a [N]>,
    pub(super) lengths: Option<&'a [u32]>,
}

impl Walk {
    /// The number of the line of a row at a time, among lines of a sequence.
    pub(super) fn line(self, e: Extents, row: usize, time: usize) -> usize {
        if self.batch_first { row * e.times + time } else { time * e.batch + row }
    }

    /// Whether the sequence of a row has ended before a time.
    pub(super) fn has_ended(lengths: Option<&[u32]>, row: usize, time: usize) -> bool {
        lengths.is_some_and(|lengths| time >= lengths[row] as usize)
    }

    fn check(e: Extents, lengths: Option<&[u32]>) -> Result<(), String> {
        let wrong =
            lengths.and_then(|all| all.iter().position(|&n| n as usize > e.times).map(|i| (i, all[i])));
        wrong.map_or(Ok(()), |(i, n)| Err(format!("item {i} has the length {n}, above {}", e.times)))
    }

    /// h, c and gates, as the op's outputs.
    fn forward<N: Number>(self, e: Extents, of: &Forward<'_, N>) -> [Vec<N>; 3] {
        let Extents { batch, times, hidden, gates } = e;
        let [mut h, mut c] = [0, 1].map(|k| match of.initial.get(k) {
            Some(state) => state.to_vec(),
            None => vec![N::zero(); batch * hidden],
        });
        let mut all = vec![N::zero(); batch * times * hidden];
        let (mut cells, mut kept) = (c.clone(), Vec::new());
        for step in 0..times {
            let time = self.time(e, step);
            let before = h.clone();
            for row in 0..batch {
                let line = self.line(e, row, time);
                let before = &before[row * hidden..][..hidden];
                for unit in 0..hidden {
                    let (mut x, mut u) = ([N::zero(); 4], [N::zero(); 4]);
                    for gate in 0..gates {
                        let column = gate * hidden + unit;
                        x[gate] = of.x[line * gates * hidden + column];
                        let weights = &of.weight[column * hidden..][..hidden];
                        u[gate] = N::dot(before.iter().copied().zip(weights.iter().copied()));
                        if let Some(bias) = of.bias {
                            u[gate] = u[gate] + bias[column];
                        }
                    }
                    let at = row * hidden + unit;
                    let after = self.cell.forward(x, u, h[at], c[at]);
                    if Walk::has_ended(of.lengths, row, time) {
                        kept.extend([N::zero(); 4]);
                    } else {
                        (h[at], c[at]) = (after.h, after.c);
                        kept.extend(after.gates);
                    }
                    all[line * hidden + unit] = h[at];
                }
            }
            cells.extend_from_slice(&c);
        }
        [all, cells, kept]
    }

    /// Of x, of the products with h, and of the first h and c.
    fn backward<N: Number>(self, e: Extents, of: &Backward<'_, N>) -> [Vec<N>; 4] {
        let Extents { batch, times, hidden, gates } = e;
        let columns = gates * hidden;
        let mut dx = vec![N::zero(); batch * times * columns];
        let mut du = dx.clone();
        // What goes to the state before, past the product, and the product.
        let [mut dh, mut dc, mut dproduct] = [(); 3].map(|()| vec![N::zero(); batch * hidden]);
        for step in (0..times).rev() {
            let time = self.time(e, step);
            for row in 0..batch {
                let line = self.line(e, row, time);
                for unit in 0..hidden {
                    let at = row * hidden + unit;
                    let above = of.dh[line * hidden + unit] + dproduct[at] + dh[at];
                    let of_cell =
                        of.dcells.map_or(dc[at], |all| dc[at] + all[(step + 1) * batch * hidden + at]);
                    if Walk::has_ended(of.lengths, row, time) {
                        (dh[at], dc[at]) = (above, of_cell);
                        continue;
                    }
                    let kept = of.gates.map_or([N::zero(); 4], |all| {
                        let at = (step * batch * hidden + at) * 4;
                        [all[at], all[at + 1], all[at + 2], all[at + 3]]
                    });
                    let state = match self.cell {
                        CellKind::Lstm => of.states[step * batch * hidden + at],
                        _ => of.states[line * hidden + unit],
                    };
                    let t = self.cell.cell_after(kept, state).tanh();
                    let back = self.cell.backward(kept, state, t, above, of_cell);
                    for gate in 0..gates {
                        let to = line * columns + gate * hidden + unit;
                        dx[to] = back.dx[gate];
                        du[to] = if gate + 1 == gates { back.last } else { back.dx[gate] };
                    }
                    (dh[at], dc[at]) = (back.dh, back.dc);
                }
                for unit in 0..hidden {
                    let weights = (0..columns).map(|j| of.weight[j * hidden + unit]);
                    let of_line = &du[line * columns..][..columns];
                    dproduct[row * hidden + unit] = N::dot(of_line.iter().copied().zip(weights));
                }
            }
        }
        let dh = dh.into_iter().zip(dproduct).map(|(a, b)| a + b).collect();
        if let Some(all) = of.dcells {
            dc.iter_mut().zip(all).for_each(|(dc, &d)| *dc = *dc + d);
        }
        [dx, du, dh, dc]
    }
}

/// Numbers with their errors, of all that is read.
fn tracked(inputs: &[In<'_, f64>]) -> Vec<Vec<Tracked>> {
    inputs.iter().map(|x| x.f().iter().map(|&v| Tracked::read(v)).collect()).collect()
}

fn errors(values: Vec<Tracked>) -> Vec<f64> {
    values.into_iter().map(|v| v.error + TINY).collect()
}

fn slices<N>(all: &[Vec<N>]) -> Vec<&[N]> {
    all.iter().map(Vec::as_slice).collect()
}

fn floats<'a, T: Real>(inputs: &[In<'a, T>]) -> Vec<&'a [T]> {
    inputs.iter().map(In::f).collect()
}

/// Stores what was found as the outputs.
fn store<T: Real>(found: Vec<Vec<T>>, outputs: &mut [Out<'_, T>]) {
    outputs.iter_mut().zip(found).for_each(|(to, found)| to.f().copy_from_slice(&found));
}

impl Recurrent {
    fn arguments<'a, N>(&self, inputs: &[&'a [N]], lengths: Option<&'a [u32]>) -> Forward<'a, N> {
        let places = self.places();
        let states = |at: usize| inputs[at..at + self.walk.states()].to_vec();
        Forward {
            x: inputs[0],
            weight: inputs[1],
            bias: places.bias.map(|at| inputs[at]),
            initial: places.initial.map_or_else(Vec::new, states),
            lengths,
        }
    }

    fn lengths<'a, T: Real>(&self, inputs: &[In<'a, T>]) -> Option<&'a [u32]> {
        self.places().lengths.map(|at| inputs[at].u32())
    }

    fn outputs<N>(&self, [h, cells, gates]: [Vec<N>; 3]) -> Vec<Vec<N>> {
        let cell = self.walk.cell;
        let mut found = vec![h];
        found.extend(cell.has_cell().then_some(cells));
        found.extend(cell.keeps_gates().then_some(gates));
        found
    }

    pub(super) fn bounds(&self, inputs: &[In<'_, f64>]) -> Vec<Vec<f64>> {
        let Ok(e) = self.walk.extents(&inputs[0].shape) else { return Vec::new() };
        let read = tracked(inputs);
        let found = self.walk.forward(e, &self.arguments(&slices(&read), self.lengths(inputs)));
        self.outputs(found).into_iter().map(errors).collect()
    }
}

impl<T: Real> Reference<T> for Recurrent {
    fn eval(&self, inputs: &[In<'_, T>], outputs: &mut [Out<'_, T>]) -> Result<(), String> {
        let (e, lengths) = (self.walk.extents(&inputs[0].shape)?, self.lengths(inputs));
        Walk::check(e, lengths)?;
        let found = self.walk.forward(e, &self.arguments(&floats(inputs), lengths));
        store(self.outputs(found), outputs);
        Ok(())
    }

    fn eval_fast(&self, inputs: &[In<'_, T>], outputs: &mut [Out<'_, T>]) -> Result<(), String> {
        let (e, lengths) = (self.walk.extents(&inputs[0].shape)?, self.lengths(inputs));
        Walk::check(e, lengths)?;
        fast::forward(self.walk, e, &self.arguments(&floats(inputs), lengths), outputs)
    }
}

impl RecurrentGrad {
    fn arguments<'a, N>(&self, inputs: &[&'a [N]], lengths: Option<&'a [u32]>) -> Backward<'a, N> {
        let places = self.places();
        Backward {
            weight: inputs[0],
            gates: places.gates.map(|at| inputs[at]),
            states: inputs[places.states],
            dh: inputs[places.dh],
            dcells: places.dcells.map(|at| inputs[at]),
            lengths,
        }
    }

    fn lengths<'a, T: Real>(&self, inputs: &[In<'a, T>]) -> Option<&'a [u32]> {
        self.places().lengths.map(|at| inputs[at].u32())
    }

    fn outputs<N>(&self, [dx, du, dh, dc]: [Vec<N>; 4]) -> Vec<Vec<N>> {
        let Walk { cell, has_initial, .. } = self.walk;
        let mut found = vec![dx];
        found.extend((cell == CellKind::Gru).then_some(du));
        found.extend(has_initial.then_some(dh));
        found.extend((has_initial && cell.has_cell()).then_some(dc));
        found
    }

    pub(super) fn bounds(&self, inputs: &[In<'_, f64>]) -> Vec<Vec<f64>> {
        let Ok(e) = self.extents(|i| inputs[i].shape) else { return Vec::new() };
        let read = tracked(inputs);
        let found = self.walk.backward(e, &self.arguments(&slices(&read), self.lengths(inputs)));
        self.outputs(found).into_iter().map(errors).collect()
    }
}

impl<T: Real> Reference<T> for RecurrentGrad {
    fn eval(&self, inputs: &[In<'_, T>], outputs: &mut [Out<'_, T>]) -> Result<(), String> {
        let (e, lengths) = (self.extents(|i| inputs[i].shape)?, self.lengths(inputs));
        Walk::check(e, lengths)?;
        let found = self.walk.backward(e, &self.arguments(&floats(inputs), lengths));
        store(self.outputs(found), outputs);
        Ok(())
    }

    fn eval_fast(&self, inputs: &[In<'_, T>], outputs: &mut [Out<'_, T>]) -> Result<(), String> {
        let (e, lengths) = (self.extents(|i| inputs[i].shape)?, self.lengths(inputs));
        Walk::check(e, lengths)?;
        fast::backward(self.walk, e, &self.arguments(&floats(inputs), lengths), outputs)
    }
}
