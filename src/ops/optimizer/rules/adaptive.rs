//! A rate of its own for each element, from its gradients so far.

use super::{
    MOST_CONSTANTS, MOST_SCALARS, MOST_STATES, Number, Rule, expect_not_negative, expect_setting,
    expect_share, padded,
};

/// sum = sum + g²; w = w - lr / (1 + (t - 1) · decay) · g / (√sum + eps): Duchi, Hazan and Singer, JMLR 12, 2011, figure 1, with
/// a diagonal matrix; PyTorch's `Adagrad`. ONNX's counts t from 0 as well.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Adagrad {
    pub(crate) lr_decay: f32,
    pub(crate) eps: f32,
    /// What sums start from.
    pub(crate) initial_sum: f32,
}

impl Rule for Adagrad {
    const NAME: &'static str = "adagrad";
    const UPDATE: &'static str = "adagrad_update";
    const TICK: Option<&'static str> = Some("adagrad_tick");
    const STATES: &'static [&'static str] = &["sum"];
    const CONSTANTS: usize = 1;
    const SCALARS: usize = 1;

    fn initial(&self) -> [f32; MOST_STATES - 1] {
        [self.initial_sum, 0.0, 0.0]
    }

    fn check(&self) -> Result<(), String> {
        expect_not_negative("the decay of the learning rate", self.lr_decay)?;
        expect_not_negative("the initial sum", self.initial_sum)?;
        expect_not_negative("eps", self.eps)
    }

    fn constants(&self) -> [f64; MOST_CONSTANTS] {
        padded([f64::from(self.eps)])
    }

    fn scalars(&self, t: u32) -> [f64; MOST_SCALARS] {
        padded([1.0 / (1.0 + f64::from(t.saturating_sub(1)) * f64::from(self.lr_decay))])
    }

    /// The count, a product, a sum and a division.
    fn scalar_units(&self) -> [f64; MOST_SCALARS] {
        padded([8.0])
    }

    fn scalar_constants(&self) -> [f32; 4] {
        [self.lr_decay, 0.0, 0.0, 0.0]
    }

    #[inline(always)]
    fn update<N: Number>(
        lr: N,
        x: [N; MOST_SCALARS],
        c: [N; MOST_CONSTANTS],
        g: N,
        s: &mut [N; MOST_STATES],
    ) {
        s[1] = s[1] + g * g;
        s[0] = s[0] - lr * x[0] * g / (s[1].sqrt() + c[0]);
    }
}

/// v = ρ v + (1 - ρ) g²; δ = √(u + eps) / √(v + eps) · g; u = ρ u + (1 - ρ) δ²; w = w - lr δ: Zeiler, 2012, algorithm 1;
/// PyTorch's `Adadelta`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Adadelta {
    pub(crate) rho: f64,
    pub(crate) eps: f32,
}

impl Rule for Adadelta {
    const NAME: &'static str = "adadelta";
    const UPDATE: &'static str = "adadelta_update";
    const STATES: &'static [&'static str] = &["v", "u"];
    const CONSTANTS: usize = 3;

    fn check(&self) -> Result<(), String> {
        expect_share("rho", self.rho)?;
        // 0 would divide by 0, and never begin to move.
        expect_setting("eps", self.eps, "above 0", self.eps.is_finite() && self.eps > 0.0)
    }

    fn constants(&self) -> [f64; MOST_CONSTANTS] {
        padded([self.rho, 1.0 - self.rho, f64::from(self.eps)])
    }

    #[inline(always)]
    fn update<N: Number>(
        lr: N,
        _: [N; MOST_SCALARS],
        c: [N; MOST_CONSTANTS],
        g: N,
        s: &mut [N; MOST_STATES],
    ) {
        s[1] = c[0] * s[1] + c[1] * g * g;
        let delta = (s[2] + c[2]).sqrt() / (s[1] + c[2]).sqrt() * g;
        s[2] = c[0] * s[2] + c[1] * delta * delta;
        s[0] = s[0] - lr * delta;
    }
}

/// v = α v + (1 - α) g²; b = momentum · b + g / (√v + eps); w = w - lr b: Tieleman and Hinton, 2012, lecture 6.5; centred, with
/// v - m² for v, where m = α m + (1 - α) g: Graves, 2013, equations 38 to 45; PyTorch's `RMSprop`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RmsProp {
    pub(crate) alpha: f64,
    pub(crate) eps: f32,
    pub(crate) momentum: f32,
    pub(crate) centered: bool,
}

impl Rule for RmsProp {
    const NAME: &'static str = "rmsprop";
    const UPDATE: &'static str = "rmsprop_update";
    const STATES: &'static [&'static str] = &["v", "momentum", "mean"];
    const LEAST: usize = 1;
    const CONSTANTS: usize = 5;

    fn kept(&self) -> usize {
        if self.centered { 3 } else { 1 + usize::from(self.momentum != 0.0) }
    }

    fn check(&self) -> Result<(), String> {
        expect_share("alpha", self.alpha)?;
        expect_not_negative("eps", self.eps)?;
        expect_not_negative("the momentum", self.momentum)
    }

    fn constants(&self) -> [f64; MOST_CONSTANTS] {
        let (eps, momentum) = (f64::from(self.eps), f64::from(self.momentum));
        padded([self.alpha, 1.0 - self.alpha, eps, momentum, f64::from(u8::from(self.centered))])
    }

    #[inline(always)]
    fn update<N: Number>(
        lr: N,
        _: [N; MOST_SCALARS],
        c: [N; MOST_CONSTANTS],
        g: N,
        s: &mut [N; MOST_STATES],
    ) {
        s[1] = c[0] * s[1] + c[1] * g * g;
        s[3] = c[0] * s[3] + c[1] * g;
        // Rounding can take the variance below 0.
        let variance = (s[1] - c[4] * s[3] * s[3]).larger(N::of(0.0));
        s[2] = c[3] * s[2] + g / (variance.sqrt() + c[2]);
        s[0] = s[0] - lr * s[2];
    }
}

/// A step of its own for each element: it grows by η⁺ where two gradients in a row have one sign, and shrinks by η⁻ where they
/// do not, and then the gradient counts as 0 once: Riedmiller and Braun, ICNN 1993, without going back (iRprop⁻: Igel and
/// Hüsken, 2000); PyTorch's `Rprop`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rprop {
    pub(crate) etas: [f32; 2],
    pub(crate) steps: [f32; 2],
    /// What steps start from.
    pub(crate) first: f32,
}

impl Rule for Rprop {
    const NAME: &'static str = "rprop";
    const UPDATE: &'static str = "rprop_update";
    const STATES: &'static [&'static str] = &["before", "step"];
    const CONSTANTS: usize = 4;

    fn initial(&self) -> [f32; MOST_STATES - 1] {
        [0.0, self.first, 0.0]
    }

    fn check(&self) -> Result<(), String> {
        let [down, up] = self.etas;
        expect_setting("the factor of a shorter step", down, "between 0 and 1", down > 0.0 && down < 1.0)?;
        expect_setting("the factor of a longer step", up, "above 1", up.is_finite() && up > 1.0)?;
        let [least, most] = self.steps;
        expect_not_negative("the shortest step", least)?;
        expect_setting(
            "the longest step",
            most,
            "no shorter than the shortest",
            most.is_finite() && most >= least,
        )
    }

    fn constants(&self) -> [f64; MOST_CONSTANTS] {
        let ([down, up], [least, most]) = (self.etas.map(f64::from), self.steps.map(f64::from));
        padded([down, up, least, most])
    }

    #[inline(always)]
    fn update<N: Number>(_: N, _: [N; MOST_SCALARS], c: [N; MOST_CONSTANTS], g: N, s: &mut [N; MOST_STATES]) {
        let same = g.sign() * s[1].sign();
        s[2] = (s[2] * same.by_sign([c[0], N::one(), c[1]])).larger(c[2]).smaller(c[3]);
        let g = same.by_sign([N::of(0.0), g, g]);
        s[1] = g;
        s[0] = s[0] - g.sign() * s[2];
    }
}
