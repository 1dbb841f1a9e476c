//! Steps along the gradient, or along its running mean.

use super::{
    MOST_CONSTANTS, MOST_SCALARS, MOST_STATES, Number, Rule, expect_not_negative, expect_setting,
    expect_share, padded,
};

/// b = momentum · b + g; w = w - lr · b, or w - lr · (g + momentum · b) in Nesterov's form (Sutskever et al., ICML 2013): PyTorch's
/// `SGD` without dampening. PyTorch starts b with the first gradient; without dampening a b of zeros gives that.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sgd {
    pub(crate) momentum: f32,
    pub(crate) nesterov: bool,
}

impl Rule for Sgd {
    const NAME: &'static str = "sgd";
    const UPDATE: &'static str = "sgd_update";
    const STATES: &'static [&'static str] = &["momentum"];
    const LEAST: usize = 0;
    const CONSTANTS: usize = 2;

    fn kept(&self) -> usize {
        usize::from(self.momentum != 0.0)
    }

    fn check(&self) -> Result<(), String> {
        expect_not_negative("the momentum", self.momentum)?;
        if self.nesterov && self.momentum == 0.0 {
            return Err("Nesterov's form needs momentum, and it is 0".into());
        }
        Ok(())
    }

    fn constants(&self) -> [f64; MOST_CONSTANTS] {
        padded([f64::from(self.momentum), f64::from(u8::from(self.nesterov))])
    }

    #[inline(always)]
    fn update<N: Number>(
        lr: N,
        _: [N; MOST_SCALARS],
        c: [N; MOST_CONSTANTS],
        g: N,
        s: &mut [N; MOST_STATES],
    ) {
        s[1] = c[0] * s[1] + g;
        s[0] = s[0] - lr * c[1].by_sign([s[1], s[1], g + c[0] * s[1]]);
    }
}

/// w = w - lr · sign(β1 m + (1 - β1) g); m = β2 m + (1 - β2) g: Chen et al., "Symbolic Discovery of Optimization
/// Algorithms", NeurIPS 2023, program 1.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lion {
    pub(crate) betas: [f64; 2],
}

impl Rule for Lion {
    const NAME: &'static str = "lion";
    const UPDATE: &'static str = "lion_update";
    const STATES: &'static [&'static str] = &["m"];
    const CONSTANTS: usize = 4;

    fn check(&self) -> Result<(), String> {
        self.betas.iter().try_for_each(|&beta| expect_share("betas", beta))
    }

    fn constants(&self) -> [f64; MOST_CONSTANTS] {
        let [beta1, beta2] = self.betas;
        padded([beta1, 1.0 - beta1, beta2, 1.0 - beta2])
    }

    #[inline(always)]
    fn update<N: Number>(
        lr: N,
        _: [N; MOST_SCALARS],
        c: [N; MOST_CONSTANTS],
        g: N,
        s: &mut [N; MOST_STATES],
    ) {
        s[0] = s[0] - lr * (c[0] * s[1] + c[1] * g).sign();
        s[1] = c[2] * s[1] + c[3] * g;
    }
}

/// What Muon orthogonalizes: b = momentum · b + (1 - momentum) · g, and the direction, b or, in Nesterov's form,
/// momentum · b + (1 - momentum) · g: Jordan et al., "Muon", 2024, as PyTorch's `Muon`. The parameter stays.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MuonDirection {
    pub(crate) momentum: f32,
    pub(crate) nesterov: bool,
}

impl Rule for MuonDirection {
    const NAME: &'static str = "muon_direction";
    const UPDATE: &'static str = "muon_direction";
    const STATES: &'static [&'static str] = &["momentum", "direction"];
    const CONSTANTS: usize = 3;

    fn check(&self) -> Result<(), String> {
        let range = "in [0, 1)";
        expect_setting("the momentum", self.momentum, range, (0.0..1.0).contains(&self.momentum))
    }

    fn constants(&self) -> [f64; MOST_CONSTANTS] {
        let momentum = f64::from(self.momentum);
        padded([momentum, 1.0 - momentum, f64::from(u8::from(self.nesterov))])
    }

    #[inline(always)]
    fn update<N: Number>(_: N, _: [N; MOST_SCALARS], c: [N; MOST_CONSTANTS], g: N, s: &mut [N; MOST_STATES]) {
        s[1] = c[0] * s[1] + c[1] * g;
        s[2] = c[2].by_sign([s[1], s[1], c[0] * s[1] + c[1] * g]);
    }
}

/// The average of a parameter, `s[0]`, goes towards it, `g`, by a share of the step: a = (1 - share) a + share · w. With a decay the
/// share is 1 in the first step, a copy, then 1 - decay; else 1 / (t - after), and 1 until then.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Average {
    /// How much of itself an exponential average keeps.
    pub(crate) decay: Option<f32>,
    /// Steps before the first of a mean.
    pub(crate) after: u32,
}

impl Rule for Average {
    const NAME: &'static str = "average";
    const UPDATE: &'static str = "average_update";
    const TICK: Option<&'static str> = Some("average_tick");
    const STATES: &'static [&'static str] = &[];
    const CONSTANTS: usize = 0;
    const SCALARS: usize = 1;

    fn check(&self) -> Result<(), String> {
        self.decay.map_or(Ok(()), |decay| expect_share("the decay of an average", f64::from(decay)))
    }

    fn constants(&self) -> [f64; MOST_CONSTANTS] {
        padded([])
    }

    fn scalars(&self, t: u32) -> [f64; MOST_SCALARS] {
        padded([match self.decay {
            Some(_) if t <= 1 => 1.0,
            Some(decay) => 1.0 - f64::from(decay),
            None => 1.0 / f64::from(t.saturating_sub(self.after).max(1)),
        }])
    }

    /// A difference, of counts above 2^24 both rounded, and a quotient.
    fn scalar_units(&self) -> [f64; MOST_SCALARS] {
        padded([8.0])
    }

    fn scalar_constants(&self) -> [f32; 4] {
        [self.decay.map_or(0.0, |decay| 1.0 - decay), self.after as f32, 0.0, 0.0]
    }

    #[inline(always)]
    fn update<N: Number>(_: N, x: [N; MOST_SCALARS], _: [N; MOST_CONSTANTS], g: N, s: &mut [N; MOST_STATES]) {
        s[0] = (N::one() - x[0]) * s[0] + x[0] * g;
    }
}
