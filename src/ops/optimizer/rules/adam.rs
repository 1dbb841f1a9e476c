//! Adam and what was made of it: means of gradients and of their squares, corrected for their beginning at 0.

use super::{
    MOST_CONSTANTS, MOST_SCALARS, MOST_STATES, Number, Rule, expect_not_negative, expect_setting,
    expect_share, padded,
};

/// The logarithm that a kernel multiplies by t. That of 0 is cut to what gives β^t = 0 in f32.
fn log_beta(beta: f64) -> f32 {
    beta.ln().max(-100.0) as f32
}

/// 1 - β^t without cancellation.
fn correction(beta: f64, t: u32) -> f64 {
    if beta == 0.0 { 1.0 } else { -(f64::from(t) * beta.ln()).exp_m1() }
}

fn check_moments(betas: [f64; 2], eps: f32) -> Result<(), String> {
    betas.iter().try_for_each(|&beta| expect_share("betas", beta))?;
    expect_not_negative("eps", eps)
}

/// β1, 1 - β1, β2, 1 - β2 and eps.
fn of_moments([beta1, beta2]: [f64; 2], eps: f32) -> [f64; 5] {
    [beta1, 1.0 - beta1, beta2, 1.0 - beta2, f64::from(eps)]
}

/// The mean of gradients and that of their squares after a step, in `s[1]` and `s[2]`.
#[inline(always)]
fn moments<N: Number>(c: [N; MOST_CONSTANTS], g: N, s: &mut [N; MOST_STATES]) {
    s[1] = c[0] * s[1] + c[1] * g;
    s[2] = c[2] * s[2] + c[3] * g * g;
}

// With y = -t ln β: ln β, t above 2^24 and their product are rounded, so y is off by 3 units, which moves 1 - e^-y by no more
// than 3 (its condition number is below 1). Below 0.5 the series adds 3.4 for its roundings and 0.23 for the terms left out.
// Above, WGSL's exp is good to 2 (3 + 2y) units of e^-y, and (6 + 4y + 3y) e^-y / (1 - e^-y) is largest at y = 0.5: 14.7
// units, and one for the difference. So 16.
const CORRECTION: f64 = 16.0;
/// The inverse square root halves that and adds 4.
const ROOT: f64 = 12.0;

/// m = β1 m + (1 - β1) g; v = β2 v + (1 - β2) g²; w = w - lr / (1 - β1^t) · m / (√v / √(1 - β2^t) + eps): Kingma and Ba, ICLR 2015,
/// algorithm 1, as PyTorch's `Adam`. With the largest v so far in its place: Reddi, Kale and Kumar, ICLR 2018 (AMSGrad). ONNX's
/// adds eps before v is corrected.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Adam {
    pub(crate) betas: [f64; 2],
    pub(crate) eps: f32,
    pub(crate) amsgrad: bool,
}

impl Rule for Adam {
    const NAME: &'static str = "adam";
    const UPDATE: &'static str = "adam_update";
    const TICK: Option<&'static str> = Some("adam_tick");
    const STATES: &'static [&'static str] = &["m", "v", "largest"];
    const LEAST: usize = 2;
    const CONSTANTS: usize = 5;
    const SCALARS: usize = 2;

    fn kept(&self) -> usize {
        if self.amsgrad { 3 } else { 2 }
    }

    fn check(&self) -> Result<(), String> {
        check_moments(self.betas, self.eps)
    }

    fn constants(&self) -> [f64; MOST_CONSTANTS] {
        padded(of_moments(self.betas, self.eps))
    }

    fn scalars(&self, t: u32) -> [f64; MOST_SCALARS] {
        let [first, second] = self.betas.map(|beta| correction(beta, t));
        padded([first, second.sqrt().recip()])
    }

    fn scalar_units(&self) -> [f64; MOST_SCALARS] {
        padded([CORRECTION, ROOT])
    }

    fn scalar_constants(&self) -> [f32; 4] {
        let [first, second] = self.betas.map(log_beta);
        [first, second, 0.0, 0.0]
    }

    #[inline(always)]
    fn update<N: Number>(
        lr: N,
        x: [N; MOST_SCALARS],
        c: [N; MOST_CONSTANTS],
        g: N,
        s: &mut [N; MOST_STATES],
    ) {
        moments(c, g, s);
        s[3] = s[3].larger(s[2]);
        s[0] = s[0] - lr / x[0] * s[1] / (s[3].sqrt() * x[1] + c[4]);
    }
}

/// m as Adam's; u = max(β2 u, |g| + eps); w = w - lr / (1 - β1^t) · m / u: Kingma and Ba, ICLR 2015, algorithm 2; PyTorch's
/// `Adamax`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Adamax {
    pub(crate) betas: [f64; 2],
    pub(crate) eps: f32,
}

impl Rule for Adamax {
    const NAME: &'static str = "adamax";
    const UPDATE: &'static str = "adamax_update";
    const TICK: Option<&'static str> = Some("adamax_tick");
    const STATES: &'static [&'static str] = &["m", "u"];
    const CONSTANTS: usize = 4;
    const SCALARS: usize = 1;

    fn check(&self) -> Result<(), String> {
        check_moments(self.betas, self.eps)?;
        // u would be 0 where a gradient is.
        expect_setting("eps", self.eps, "above 0", self.eps > 0.0)
    }

    fn constants(&self) -> [f64; MOST_CONSTANTS] {
        let [beta1, beta2] = self.betas;
        padded([beta1, 1.0 - beta1, beta2, f64::from(self.eps)])
    }

    fn scalars(&self, t: u32) -> [f64; MOST_SCALARS] {
        padded([correction(self.betas[0], t)])
    }

    fn scalar_units(&self) -> [f64; MOST_SCALARS] {
        padded([CORRECTION])
    }

    fn scalar_constants(&self) -> [f32; 4] {
        [log_beta(self.betas[0]), 0.0, 0.0, 0.0]
    }

    #[inline(always)]
    fn update<N: Number>(
        lr: N,
        x: [N; MOST_SCALARS],
        c: [N; MOST_CONSTANTS],
        g: N,
        s: &mut [N; MOST_STATES],
    ) {
        s[1] = c[0] * s[1] + c[1] * g;
        s[2] = (c[2] * s[2]).larger(g.abs() + c[3]);
        s[0] = s[0] - lr / x[0] * s[1] / s[2];
    }
}

/// Moments as Adam's; μ_t = β1 (1 - 0.96^(ψ t) / 2); w = w - lr ((1 - μ_t) / (1 - Π μ_i) · g + μ_{t+1} / (1 - μ_{t+1} Π μ_i) · m) /
/// (√v / √(1 - β2^t) + eps), i from 1 to t: Dozat, ICLR workshop 2016, algorithm 8; PyTorch's `NAdam`.
///
/// ln Π μ_i = t ln β1 - Σ_k (q^k / 2^k / k) (1 - q^(kt)) / (1 - q^k) with q = 0.96^ψ, by the series of ln(1 - q^i / 2) in i and the
/// sum of a geometric sequence: no product has to be kept.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NAdam {
    pub(crate) betas: [f64; 2],
    pub(crate) eps: f32,
    /// ψ.
    pub(crate) momentum_decay: f32,
}

impl NAdam {
    /// ln q.
    fn log_q(&self) -> f64 {
        f64::from(self.momentum_decay) * 0.96f64.ln()
    }

    fn momentum(&self, t: f64) -> f64 {
        self.betas[0] * (1.0 - 0.5 * (t * self.log_q()).exp())
    }

    /// Π μ_i up to t.
    fn product(&self, t: f64) -> f64 {
        let log_q = self.log_q();
        // Beyond 60 terms nothing is left in f64.
        let terms = (1..=60).map(|k| {
            let k = f64::from(k);
            let sum = if log_q == 0.0 { t } else { (k * t * log_q).exp_m1() / (k * log_q).exp_m1() };
            (k * log_q).exp() * 0.5f64.powf(k) / k * sum
        });
        if self.betas[0] == 0.0 { 0.0 } else { (t * self.betas[0].ln() - terms.sum::<f64>()).exp() }
    }
}

impl Rule for NAdam {
    const NAME: &'static str = "nadam";
    const UPDATE: &'static str = "nadam_update";
    const TICK: Option<&'static str> = Some("nadam_tick");
    const STATES: &'static [&'static str] = &["m", "v"];
    const CONSTANTS: usize = 5;
    const SCALARS: usize = 3;

    fn check(&self) -> Result<(), String> {
        check_moments(self.betas, self.eps)?;
        expect_not_negative("the momentum's decay", self.momentum_decay)
    }

    fn constants(&self) -> [f64; MOST_CONSTANTS] {
        padded(of_moments(self.betas, self.eps))
    }

    fn scalars(&self, t: u32) -> [f64; MOST_SCALARS] {
        let t_now = f64::from(t);
        let (now, next) = (self.momentum(t_now), self.momentum(t_now + 1.0));
        let product = self.product(t_now);
        let root = correction(self.betas[1], t).sqrt().recip();
        [(1.0 - now) / (1.0 - product), next / (1.0 - product * next), root]
    }

    /// μ_t: e^-y is off by at most 7 units of 1, y being rounded too, so that 1 - e^-y / 2 is by 9 of itself, and β1 and a product
    /// make it 11. 1 - μ_t magnifies that by at most β1 / (1 - β1). The exponent of Π μ_i is a sum of positive terms, each off by
    /// 45 units (two differences, an exponential, four products and quotients), which moves Π by at most 45 / e and 1 - Π by 45;
    /// 16 come with the difference itself. Π μ_{t+1} is at most 1 / 2.
    fn scalar_units(&self) -> [f64; MOST_SCALARS] {
        let beta1 = self.betas[0];
        [12.0 * beta1 / (1.0 - beta1) + 70.0, 120.0, ROOT]
    }

    fn scalar_constants(&self) -> [f32; 4] {
        [log_beta(self.betas[0]), log_beta(self.betas[1]), self.log_q() as f32, self.betas[0] as f32]
    }

    #[inline(always)]
    fn update<N: Number>(
        lr: N,
        x: [N; MOST_SCALARS],
        c: [N; MOST_CONSTANTS],
        g: N,
        s: &mut [N; MOST_STATES],
    ) {
        moments(c, g, s);
        s[0] = s[0] - lr * (x[0] * g + x[1] * s[1]) / (s[2].sqrt() * x[2] + c[4]);
    }
}

/// Moments as Adam's. While the variance of 1 / √v is not finite, ρ_t ≤ 5, w = w - lr m̂; then w = w - lr r_t m̂ √(1 - β2^t) / (√v + eps)
/// with r_t = √((ρ_t - 4) (ρ_t - 2) ρ / ((ρ - 4) (ρ - 2) ρ_t)), ρ = 2 / (1 - β2) - 1 and ρ_t = ρ - 2 t β2^t / (1 - β2^t): Liu et al., ICLR
/// 2020, algorithm 2; PyTorch's `RAdam`, which takes 5 for the paper's 4.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RAdam {
    pub(crate) betas: [f64; 2],
    pub(crate) eps: f32,
}

/// What ρ_t must be above.
const RECTIFIED: f64 = 5.0;

impl RAdam {
    /// ρ.
    fn limit(&self) -> f64 {
        2.0 / (1.0 - self.betas[1]) - 1.0
    }

    /// ρ_t.
    fn length(&self, t: f64) -> f64 {
        let beta2 = self.betas[1];
        if beta2 == 0.0 {
            return self.limit();
        }
        self.limit() - 2.0 * t / (-t * beta2.ln()).exp_m1()
    }
}

impl Rule for RAdam {
    const NAME: &'static str = "radam";
    const UPDATE: &'static str = "radam_update";
    const TICK: Option<&'static str> = Some("radam_tick");
    const STATES: &'static [&'static str] = &["m", "v"];
    const CONSTANTS: usize = 5;
    const SCALARS: usize = 2;

    fn check(&self) -> Result<(), String> {
        check_moments(self.betas, self.eps)
    }

    fn constants(&self) -> [f64; MOST_CONSTANTS] {
        padded(of_moments(self.betas, self.eps))
    }

    fn scalars(&self, t: u32) -> [f64; MOST_SCALARS] {
        let [first, second] = self.betas.map(|beta| correction(beta, t));
        let (rho, limit) = (self.length(f64::from(t)), self.limit());
        if rho <= RECTIFIED {
            return padded([first, 0.0]);
        }
        let rectified = (rho - 4.0) * (rho - 2.0) * limit / ((limit - 4.0) * (limit - 2.0) * rho);
        padded([first, (rectified * second).sqrt()])
    }

    /// ρ_t: 30 units, of terms that grow no larger than it is by more than a half. ρ_t - 4 is at least 1 of 5, so that the product
    /// is off by 5 + 2 + 1 times that, the root by half, and the root of the correction adds its own.
    fn scalar_units(&self) -> [f64; MOST_SCALARS] {
        padded([CORRECTION, 160.0])
    }

    fn scalar_constants(&self) -> [f32; 4] {
        let [first, second] = self.betas.map(log_beta);
        // ρ, and what the series of ρ_t is added to: 2 / (1 - β) - 1 - 2 / δ with δ = -ln β, which is δ / 6 - δ³ / 360 + ...
        let delta = -self.betas[1].ln();
        let rest = if delta < 0.1 { delta / 6.0 - delta.powi(3) / 360.0 } else { self.limit() - 2.0 / delta };
        [first, second, self.limit() as f32, rest as f32]
    }

    #[inline(always)]
    fn update<N: Number>(
        lr: N,
        x: [N; MOST_SCALARS],
        c: [N; MOST_CONSTANTS],
        g: N,
        s: &mut [N; MOST_STATES],
    ) {
        moments(c, g, s);
        let step = lr / x[0] * s[1];
        s[0] = s[0] - x[1].by_sign([step, step, step * x[1] / (s[2].sqrt() + c[4])]);
    }
}

/// What LAMB scales: moments as Adam's, and the direction m̂ / (√v̂ + eps) + decay · w: You et al., ICLR 2020, algorithm 2. The
/// parameter stays.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LambDirection {
    pub(crate) betas: [f64; 2],
    pub(crate) eps: f32,
    pub(crate) weight_decay: f32,
}

impl LambDirection {
    fn adam(&self) -> Adam {
        Adam { betas: self.betas, eps: self.eps, amsgrad: false }
    }
}

impl Rule for LambDirection {
    const NAME: &'static str = "lamb_direction";
    const UPDATE: &'static str = "lamb_direction";
    const TICK: Option<&'static str> = Some("adam_tick");
    const SCALARS_OF: &'static str = Adam::NAME;
    const STATES: &'static [&'static str] = &["m", "v", "direction"];
    const CONSTANTS: usize = 6;
    const SCALARS: usize = 2;

    fn check(&self) -> Result<(), String> {
        expect_not_negative("the weight decay", self.weight_decay)?;
        self.adam().check()
    }

    fn constants(&self) -> [f64; MOST_CONSTANTS] {
        let [beta1, rest1, beta2, rest2, eps] = of_moments(self.betas, self.eps);
        padded([beta1, rest1, beta2, rest2, eps, f64::from(self.weight_decay)])
    }

    fn scalars(&self, t: u32) -> [f64; MOST_SCALARS] {
        self.adam().scalars(t)
    }

    fn scalar_units(&self) -> [f64; MOST_SCALARS] {
        self.adam().scalar_units()
    }

    fn scalar_constants(&self) -> [f32; 4] {
        self.adam().scalar_constants()
    }

    #[inline(always)]
    fn update<N: Number>(_: N, x: [N; MOST_SCALARS], c: [N; MOST_CONSTANTS], g: N, s: &mut [N; MOST_STATES]) {
        moments(c, g, s);
        s[3] = s[1] / x[0] / (s[2].sqrt() * x[1] + c[4]) + c[5] * s[0];
    }
}
