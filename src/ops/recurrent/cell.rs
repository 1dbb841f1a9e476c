//! What a recurrent layer computes for each unit at each time, and its derivative. The same formulas in WGSL:
//! `shaders/recurrent.wgsl.jinja`.

use crate::ops::number::Number;

/// What the units of a recurrent layer are. Gates stand in PyTorch's order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CellKind {
    /// h' = tanh(x + U h): Elman, Cognitive Science 14, 1990.
    Tanh,
    /// h' = max(x + U h, 0): Le, Jaitly and Hinton, arXiv:1504.00941.
    Relu,
    /// Hochreiter and Schmidhuber, Neural Computation 9, 1997, with the forget gates of Gers, Schmidhuber and Cummins, Neural
    /// Computation 12, 2000, without peepholes. With i, f, o the sigmoids and g the tanh of x + U h: c' = f c + i g and
    /// h' = o tanh(c').
    Lstm,
    /// Cho et al., EMNLP 2014, where the reset gate follows the product, as in cuDNN and PyTorch: with r and z the sigmoids of
    /// x + U h + b, n = tanh(x + r (U h + b)) and h' = (1 - z) n + z h.
    Gru,
}

/// What a unit knows after a time.
#[derive(Debug, Clone, Copy)]
pub(super) struct After<N> {
    pub(super) h: N,
    /// The state of an LSTM's cell.
    pub(super) c: N,
    /// What the derivative needs: an LSTM's i, f, g and o; a GRU's r, z, n and U h + b of n.
    pub(super) gates: [N; 4],
}

/// What flows back through a unit at a time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Back<N> {
    /// To x of each gate.
    pub(super) dx: [N; 4],
    /// To U h of the last gate, where that differs from x: in a GRU.
    pub(super) last: N,
    /// To h before, past the product.
    pub(super) dh: N,
    /// To c before.
    pub(super) dc: N,
}

impl CellKind {
    pub(super) const ALL: [CellKind; 4] = [CellKind::Tanh, CellKind::Relu, CellKind::Lstm, CellKind::Gru];

    /// Products of each unit.
    pub(crate) fn gates(self) -> usize {
        match self {
            CellKind::Tanh | CellKind::Relu => 1,
            CellKind::Lstm => 4,
            CellKind::Gru => 3,
        }
    }

    /// Whether there is a state beside h.
    pub(crate) fn has_cell(self) -> bool {
        self == CellKind::Lstm
    }

    /// Whether a bias has to stay apart from x.
    pub(crate) fn has_bias(self) -> bool {
        self == CellKind::Gru
    }

    /// Whether gates are kept for the derivative.
    pub(super) fn keeps_gates(self) -> bool {
        matches!(self, CellKind::Lstm | CellKind::Gru)
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            CellKind::Tanh => "tanh",
            CellKind::Relu => "relu",
            CellKind::Lstm => "lstm",
            CellKind::Gru => "gru",
        }
    }

    /// From x and U h (+ b) of each gate, and h and c before.
    #[inline(always)]
    pub(super) fn forward<N: Number>(self, x: [N; 4], u: [N; 4], h: N, c: N) -> After<N> {
        let sum = |k: usize| x[k] + u[k];
        match self {
            CellKind::Tanh => After { h: sum(0).tanh(), c, gates: [N::zero(); 4] },
            CellKind::Relu => After { h: sum(0).larger(N::zero()), c, gates: [N::zero(); 4] },
            CellKind::Lstm => {
                let (i, f, g, o) = (sum(0).sigmoid(), sum(1).sigmoid(), sum(2).tanh(), sum(3).sigmoid());
                let c = f * c + i * g;
                After { h: o * c.tanh(), c, gates: [i, f, g, o] }
            }
            CellKind::Gru => {
                let (r, z) = (sum(0).sigmoid(), sum(1).sigmoid());
                let n = (x[2] + r * u[2]).tanh();
                After { h: (N::one() - z) * n + z * h, c, gates: [r, z, n, u[2]] }
            }
        }
    }

    /// c after of an LSTM, from its gates and c before; else 0.
    #[inline(always)]
    pub(super) fn cell_after<N: Number>(self, [i, f, g, _]: [N; 4], before: N) -> N {
        if self == CellKind::Lstm { f * before + i * g } else { N::zero() }
    }

    /// From the cotangents of h and c after, the gates, and the unit's state: h after in an RNN, h before in a GRU, c before in
    /// an LSTM, which also takes the tanh `t` of c after.
    #[inline(always)]
    pub(super) fn backward<N: Number>(self, gates: [N; 4], state: N, t: N, dh: N, dc: N) -> Back<N> {
        let (zero, one) = (N::zero(), N::one());
        let of_one = |d: N| Back { dx: [d, zero, zero, zero], last: d, dh: zero, dc: zero };
        match self {
            CellKind::Tanh => of_one(dh * (one - state * state)),
            CellKind::Relu => of_one(state.passes(dh)),
            CellKind::Lstm => {
                let [i, f, g, o] = gates;
                let dc = dc + dh * o * (one - t * t);
                let last = dh * t * (o * (one - o));
                let dx =
                    [dc * g * (i * (one - i)), dc * state * (f * (one - f)), dc * i * (one - g * g), last];
                Back { dx, last, dh: zero, dc: dc * f }
            }
            CellKind::Gru => {
                let [r, z, n, u] = gates;
                let dn = dh * (one - z) * (one - n * n);
                let dx = [dn * u * (r * (one - r)), dh * (state - n) * (z * (one - z)), dn, zero];
                Back { dx, last: dn * r, dh: dh * z, dc: zero }
            }
        }
    }
}
