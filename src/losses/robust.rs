//! Barron's general robust loss, and a loss whose power changes with the error.

use super::{Kind, Loss};
use crate::graph::Var;

/// As near to minus infinity as tells no difference: the loss is off by less than 1e-12 of its largest value.
const LOWEST: f32 = -1e12;

impl Loss {
    /// Barron's general robust loss of the error d over a scale c, with a shape α up to 2:
    /// b/α ((1 + (d/c)²/b)^(α/2) - 1), b = |α - 2|, with the gradient d/c² (1 + (d/c)²/b)^(α/2 - 1). "A General and Adaptive
    /// Robust Loss Function", CVPR 2019, equation 1; the limits are those of its equation 8, and the formula is exact near
    /// them:
    ///
    /// | α | loss of r = d/c | known as |
    /// |---|---|---|
    /// | 2 | r² / 2 | half the square |
    /// | 1 | √(r² + 1) - 1 | Charbonnier, pseudo-Huber |
    /// | 0 | log(r² / 2 + 1) | Cauchy, Lorentzian |
    /// | -2 | 2 r² / (r² + 4) | Geman-McClure |
    /// | -∞ | 1 - e^(-r² / 2) | Welsch, Leclerc |
    ///
    /// The gradient is at most |r| / c, and finite wherever d/c is. PyTorch and Keras have none; the paper's own package has it as
    /// `lossfun`. [`Adaptive`](super::Adaptive) learns α and c.
    pub fn robust(alpha: f32, scale: f32) -> Self {
        Loss::new(Kind::Robust { alpha, scale })
    }

    /// |d|^p / p whose power p = 2 - 2 / (1 + (d/c)²) changes with the error: 0 at 0, 1 at |d| = c, and nearly 2 far
    /// from there. It is carried in notes beside [`Loss::robust`], and is none of that family: it grows as d² / 2 for
    /// outliers, and does not end at 0. Towards d = 0 it goes to infinity as c² / (2 d²), and for c = 1 it is least, 1,
    /// at |d| = 1, so that what is trained with it keeps away from its target. At d = 0 itself it is given as that of
    /// |d| = c/1000, with the gradient 0. To be looked at beside others; to train with, take [`Loss::robust`].
    pub fn variable_power(scale: f32) -> Self {
        Loss::new(Kind::VariablePower { scale })
    }
}

#[track_caller]
pub(super) fn per_element(kind: Kind, d: Var<'_>) -> Var<'_> {
    let g = d.graph();
    match kind {
        Kind::Robust { alpha, scale } => {
            let r = if scale == 1.0 { d } else { d / scale };
            match alpha {
                2.0 => r.square() * 0.5,
                alpha => r.robust(g.scalar(alpha.max(LOWEST))),
            }
        }
        Kind::VariablePower { scale } => {
            // Nearer than this the power is 2e-6, and the loss half a million.
            let a = d.abs().clamp(scale * 1e-3, f32::INFINITY);
            let p = 2.0 - 2.0 / ((a / scale).square() + 1.0);
            a.pow(p) / p
        }
        // The others are not of this file.
        _ => d.square(),
    }
}
