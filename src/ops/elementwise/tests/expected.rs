//! The values of IEEE 754 and of PyTorch's formulas, written out.

fn flag(condition: bool) -> f32 {
    f32::from(u8::from(condition))
}

/// a · b, and 0 where a is 0.
fn masked(a: f32, b: f32) -> f32 {
    if a == 0.0 { 0.0 } else { a * b }
}

fn softplus(x: f32) -> f32 {
    f64::from(x).exp().ln_1p() as f32
}

/// The distribution of a standard normal variable, and its density.
fn normal(x: f32) -> f32 {
    (0.5 * libm::erfc(-f64::from(x) / std::f64::consts::SQRT_2)) as f32
}

fn density(x: f32) -> f32 {
    ((-0.5 * f64::from(x) * f64::from(x)).exp() / (2.0 * std::f64::consts::PI).sqrt()) as f32
}

fn gelu_slope(x: f32) -> f32 {
    let z = if x.is_nan() { x } else { x.clamp(-40.0, 40.0) };
    normal(z) + z * density(z)
}

/// The nearest finite number, wide.
fn finite(x: f32) -> f64 {
    if x.is_nan() { f64::NAN } else { f64::from(x.clamp(f32::MIN, f32::MAX)) }
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// x σ(u), where an infinite x and a σ of 0 give 0.
fn gated(x: f32, u: f64) -> f32 {
    let s = sigmoid(u);
    if s < 1e-300 { 0.0 * finite(x) as f32 } else { (f64::from(x) * s) as f32 }
}

/// z = βx for finite factors, and σ(z) σ(-z).
fn swish_bell(x: f32, beta: f32) -> [f64; 2] {
    let z = (finite(x) * finite(beta)).clamp(-300.0, 300.0);
    [z, sigmoid(z) * sigmoid(-z)]
}

fn swish_slope(x: f32, beta: f32) -> f32 {
    let [z, bell] = swish_bell(x, beta);
    (sigmoid(z) + z * bell) as f32
}

/// 2 - z tanh(z / 2) times σ(z) σ(-z).
fn swish_turn(x: f32, beta: f32) -> f32 {
    let [z, bell] = swish_bell(x, beta);
    ((2.0 - z * (z / 2.0).tanh()) * bell) as f32
}

/// tanh(ln(1 + e^x)), its derivative, and that of it.
fn mish_gate(x: f64) -> [f64; 3] {
    let (t, s) = (x.exp().ln_1p().tanh(), sigmoid(x));
    let d = (1.0 - t * t) * s;
    [t, d, d * (1.0 - s) - 2.0 * t * d * s]
}

/// u = √(8 / π) (x + 0.044715 x³), its derivative, and that of it.
fn gelu_gate(x: f64) -> [f64; 3] {
    let (root, c) = ((8.0 / std::f64::consts::PI).sqrt(), 0.044_715);
    [root * (x + c * x.powi(3)), root * (1.0 + 3.0 * c * x * x), root * 6.0 * c * x]
}

/// The first and second derivative of an activation x times a gate.
fn gate_slopes(name: &str, x: f32) -> [f32; 2] {
    let x = finite(x).clamp(-800.0, 800.0);
    let [s, d, dd] = match name {
        "mish" => mish_gate(x),
        _ => {
            let [u, du, ddu] = gelu_gate(x);
            let (s, bell) = (sigmoid(u), sigmoid(u) * sigmoid(-u));
            [s, bell * du, bell * (ddu - du * du * (u / 2.0).tanh())]
        }
    };
    [(s + x * d) as f32, (2.0 * d + x * dd) as f32]
}

/// Barron's loss and its derivatives, in a plain form: defined for finite numbers, and a shape below 2.
fn robust(name: &str, r: f64, alpha: f64) -> f64 {
    if !r.is_finite() || !alpha.is_finite() || alpha >= 2.0 {
        return f64::NAN;
    }
    let b = 2.0 - alpha;
    let base = 1.0 + r * r / b;
    let loss = |alpha: f64| match alpha {
        0.0 => (1.0 + r * r / 2.0).ln(),
        _ => (2.0 - alpha) / alpha * ((1.0 + r * r / (2.0 - alpha)).powf(alpha / 2.0) - 1.0),
    };
    match name {
        "robust" => loss(alpha),
        "robust_slope" => r * base.powf(alpha / 2.0 - 1.0),
        _ => (loss(alpha + 1e-4) - loss(alpha - 1e-4)) / 2e-4,
    }
}

/// b, L and the share of s in 1 + s.
fn robust_parts([r, alpha, _]: [f32; 3]) -> [f32; 3] {
    let b = 2.0 - alpha;
    let s = r * r / b;
    [b, s.ln_1p(), 1.0 - 1.0 / (s + 1.0)]
}

/// The second derivative of Barron's loss by its shape.
fn robust_curvature([r, alpha, _]: [f32; 3]) -> f32 {
    if r == 0.0 && alpha.is_finite() {
        return 0.0;
    }
    let at = |a: f64| {
        let (b, r) = (2.0 - a, f64::from(r));
        let (s, dl) = (r * r / b, r * r / (b * (b + r * r)));
        let (l, share) = (s.ln_1p(), s / (1.0 + s));
        let (e, du) = ((a * l * 0.5).exp(), 0.5 * (l + a * dl));
        let middle = (e * du * b * l + e * (share - l)) / (a * 2.0) - e * b * l / (a * a * 2.0);
        let first = (e - 1.0) * 4.0 / (a * a * a) - e * du * 2.0 / (a * a);
        first + middle + e * share * (du + (1.0 - share) / b) * 0.5
    };
    match f64::from(alpha) {
        // The limit, from both sides.
        0.0 if r.is_finite() => {
            let mean = |h: f64| (at(h) + at(-h)) / 2.0;
            ((4.0 * mean(5e-3) - mean(1e-2)) / 3.0) as f32
        }
        alpha if alpha < 2.0 && alpha.is_finite() && r.is_finite() => at(alpha) as f32,
        _ => f32::NAN,
    }
}

/// The value of a formula with attributes `p`.
pub(super) fn value(name: &str, [a, b, c]: [f32; 3], p: &[f32]) -> f32 {
    let nan = a.is_nan() || b.is_nan();
    match name {
        "add" => a + b,
        "sub" => a - b,
        "mul" => a * b,
        "div" => a / b,
        "add_scalar" => a + p[0],
        "mul_scalar" => a * p[0],
        "square" => a * a,
        "neg" => -a,
        "recip" => 1.0 / a,
        "exp" => f64::from(a).exp() as f32,
        "log" => f64::from(a).ln() as f32,
        "sqrt" => f64::from(a).sqrt() as f32,
        "pow" => f64::from(a).powf(f64::from(b)) as f32,
        "pow_scalar" => f64::from(a).powf(f64::from(p[0])) as f32,
        "abs" => f32::from_bits(a.to_bits() & 0x7fff_ffff),
        "sign" if a == 0.0 || a.is_nan() => a,
        "sign" => a.signum(),
        "minimum" if nan => f32::NAN,
        "minimum" => a.min(b),
        "maximum" if nan => f32::NAN,
        "maximum" => a.max(b),
        "clamp" if a.is_nan() => a,
        "clamp" => a.clamp(p[0], p[1]),
        "in_range" => flag((p[0]..=p[1]).contains(&a)),
        "equal" => flag(a == b),
        "not_equal" => flag(a != b),
        "less" => flag(a < b),
        "less_equal" => flag(a <= b),
        "greater" => flag(a > b),
        "greater_equal" => flag(a >= b),
        "is_nan" => flag(a.partial_cmp(&a).is_none()),
        "is_finite" => flag(a.abs() < f32::INFINITY),
        "select" if a != 0.0 => b,
        "select" => c,
        "cotangent_mul" => masked(a, b),
        "cotangent_div" if a == 0.0 => 0.0,
        "cotangent_div" => a / b,
        "sigmoid" => 1.0 / (1.0 + (-a).exp()),
        "sigmoid_grad" => masked(b, a * (1.0 - a)),
        "tanh" => f64::from(a).tanh() as f32,
        "tanh_grad" => masked(b, 1.0 - a * a),
        "relu" if a <= 0.0 => 0.0,
        "relu" => a,
        "relu_grad" if a <= 0.0 => 0.0,
        "relu_grad" => b,
        "leaky_relu" if a > 0.0 => a,
        "leaky_relu" => p[0] * a,
        "leaky_relu_grad" if a > 0.0 => b,
        "leaky_relu_grad" => p[0] * b,
        // log(1 + e^z) - z y, and z (1 - y) taken out of it above 0.
        "bce_logits" if a > 0.0 => softplus(-a) + masked(1.0 - b, a),
        "bce_logits" => softplus(a) - masked(b, a),
        "softplus" if a * p[0] > p[1] => a,
        "softplus" => softplus(a * p[0]) / p[0],
        "softplus_grad" if a * p[0] > p[1] => b,
        "softplus_grad" => masked(b, value("sigmoid", [a * p[0], 0.0, 0.0], &[])),
        "log_sigmoid" if a < -50.0 => a,
        "log_sigmoid" => -softplus(-a),
        "elu" if a > 0.0 => a * p[1],
        "elu" => p[0] * f64::from(a * p[2]).exp_m1() as f32,
        "elu_grad" if a > 0.0 => masked(b, p[1]),
        "elu_grad" => masked(b, p[0] * p[2] * (a * p[2]).exp()),
        "swish" => gated(a, finite(a) * f64::from(p[0])),
        "swish_grad" => masked(b, swish_slope(a, p[0])),
        "swish_learned" => gated(a, finite(a) * finite(b)),
        "swish_learned_grad" => masked(c, swish_slope(a, b)),
        "swish_beta_grad" => masked(c, (finite(a) * finite(a) * swish_bell(a, b)[1]) as f32),
        "mish" if a < -100.0 => 0.0,
        "mish" => (f64::from(a) * mish_gate(f64::from(a))[0]) as f32,
        "gelu_tanh" if a < -40.0 => 0.0,
        "gelu_tanh" => gated(a, gelu_gate(finite(a).clamp(-40.0, 40.0))[0]),
        "mish_grad" => masked(b, gate_slopes("mish", a)[0]),
        "gelu_tanh_grad" => masked(b, gate_slopes("gelu_tanh", a)[0]),
        "glu" => a * sigmoid(f64::from(b)) as f32,
        "swiglu" => a * gated(b, finite(b)),
        "cooled" => (a - b) * p[0],
        "binary_step" if nan => a,
        "binary_step" => flag(a >= 0.0),
        "hard_swish" if a <= -3.0 => 0.0,
        "hard_swish" => a * ((a.min(3.0) + 3.0) / 6.0),
        "hard_swish_grad" if a <= -3.0 => 0.0,
        "hard_swish_grad" if a >= 3.0 => b,
        "hard_swish_grad" => masked(b, a / 3.0 + 0.5),
        "erf" => libm::erf(f64::from(a)) as f32,
        // The limit below, where it is 0 · ∞.
        "gelu" if a < -40.0 => 0.0,
        "gelu" => a * normal(a),
        "gelu_grad" => masked(b, gelu_slope(a)),
        "softsign" if a.abs() == f32::INFINITY => a.signum(),
        "softsign" => a / (1.0 + a.abs()),
        "tanh_shrink" => (f64::from(a) - f64::from(a).tanh()) as f32,
        "hard_tanh" if a.is_nan() => a,
        "hard_tanh" => a.clamp(p[0], p[1]),
        "hard_tanh_grad" if a <= p[0] || a >= p[1] => 0.0,
        "hard_shrink" | "soft_shrink" if a.abs() <= p[0] => 0.0,
        "hard_shrink" => a,
        "soft_shrink" => a - p[0] * a.signum(),
        "shrink_grad" if a.abs() <= p[0] => 0.0,
        "hard_tanh_grad" | "shrink_grad" => b,
        "prelu" if a > 0.0 => a,
        "prelu" => b * a,
        "log1p" => f64::from(a).ln_1p() as f32,
        "log_cosh" => (f64::from(a).abs() + (-2.0 * f64::from(a).abs()).exp().ln_1p() - 2f64.ln()) as f32,
        "clamped_log" if a.is_nan() || a < 0.0 => f32::NAN,
        "clamped_log" => a.ln().max(-100.0),
        "robust" | "robust_slope" | "robust_shape" => robust(name, f64::from(a), f64::from(b)) as f32,
        _ => panic!("say here what `{name}` gives for NaN and infinity, and its gradient below"),
    }
}

/// The cotangent of argument `k` for that of the result: 0 for 0, and else what PyTorch's derivatives.yaml says, but for
/// `pow`'s exponent at a base of 0 or below, where it is 0.
pub(super) fn cotangent(name: &str, k: usize, x: [f32; 3], p: &[f32], dy: f32) -> f32 {
    let ([a, b, c], y) = (x, value(name, x, p));
    if dy == 0.0 {
        return 0.0;
    }
    match (name, k) {
        ("add" | "add_scalar", _) | ("sub", 0) => dy,
        ("sub", _) | ("neg", _) => -dy,
        ("mul", _) => dy * x[1 - k],
        ("div", 0) => dy / b,
        ("div", _) => -dy * (y / b),
        ("mul_scalar", _) => dy * p[0],
        ("square", _) => dy * 2.0 * a,
        ("recip", _) => -dy * y * y,
        ("exp", _) => dy * y,
        ("log", _) => dy / a,
        ("sqrt", _) => dy / (2.0 * y),
        ("pow", 0) if b == 0.0 => dy * 0.0,
        ("pow", 0) => dy * (b * value("pow", [a, b - 1.0, 0.0], p)),
        ("pow", _) if a <= 0.0 => dy * 0.0,
        ("pow", _) => dy * (masked(f64::from(a).ln() as f32, y)),
        ("pow_scalar", _) if p[0] == 0.0 => 0.0,
        ("pow_scalar", _) => dy * p[0] * value("pow", [a, p[0] - 1.0, 0.0], p),
        ("abs", _) => dy * value("sign", x, p),
        ("minimum", _) if x[k] > x[1 - k] => 0.0,
        ("maximum", _) if x[k] < x[1 - k] => 0.0,
        ("minimum" | "maximum", _) if a == b => dy / 2.0,
        ("minimum" | "maximum", _) => dy,
        ("clamp", _) if (p[0]..=p[1]).contains(&a) => dy,
        ("select", 1) if a != 0.0 => dy,
        ("select", 2) if a == 0.0 => dy,
        ("cotangent_mul", _) => dy * x[1 - k],
        ("cotangent_div", 0) => dy / b,
        ("cotangent_div", _) => -masked(dy * y, 1.0 / b),
        ("sigmoid", _) => dy * (1.0 - y) * y,
        ("sigmoid_grad", 0) => masked(dy * b, 1.0 - 2.0 * a),
        ("sigmoid_grad", _) => dy * (1.0 - a) * a,
        ("tanh", _) => dy * (1.0 - y * y),
        ("tanh_grad", 0) => -2.0 * masked(dy * b, a),
        ("tanh_grad", _) => dy * (1.0 - a * a),
        ("relu", _) if y <= 0.0 => 0.0,
        ("relu", _) => dy,
        ("relu_grad", 1) if a <= 0.0 => 0.0,
        ("relu_grad", 1) => dy,
        ("leaky_relu", _) | ("leaky_relu_grad", 1) if a > 0.0 => dy,
        ("leaky_relu", _) | ("leaky_relu_grad", 1) => p[0] * dy,
        ("bce_logits", 0) => dy * (value("sigmoid", x, p) - b),
        ("bce_logits", _) => -dy * a,
        ("softplus", _) | ("softplus_grad", 1) => value("softplus_grad", [a, dy, 0.0], p),
        ("softplus_grad", _) if a * p[0] > p[1] => 0.0 * masked(dy, b),
        ("softplus_grad", _) => {
            let s = [a, -a].map(|z| value("sigmoid", [z * p[0], 0.0, 0.0], &[]));
            masked(masked(dy, b), s[0] * s[1] * p[0])
        }
        ("log_sigmoid", _) => dy * value("sigmoid", [-a, 0.0, 0.0], &[]),
        ("elu", _) | ("elu_grad", 1) => value("elu_grad", [a, dy, 0.0], p),
        ("elu_grad", _) if a > 0.0 => 0.0,
        ("elu_grad", _) => masked(dy, y) * p[2],
        ("swish", _) | ("swish_grad", 1) => dy * swish_slope(a, p[0]),
        ("swish_grad", _) => masked(masked(dy, b), swish_turn(a, p[0]) * p[0]),
        ("swish_learned", 0) | ("swish_learned_grad", 2) => dy * swish_slope(a, b),
        ("swish_learned", _) | ("swish_beta_grad", 2) => value("swish_beta_grad", [a, b, dy], p),
        ("swish_learned_grad", 0) => masked(masked(dy, c), swish_turn(a, b) * b),
        ("swish_learned_grad", _) | ("swish_beta_grad", 0) => masked(masked(dy, c), swish_turn(a, b) * a),
        ("swish_beta_grad", _) => {
            let [z, bell] = swish_bell(a, b);
            masked(masked(dy, c), (bell * (-z / 2.0).tanh()) as f32 * (a * a) * a)
        }
        ("mish" | "gelu_tanh", _) => dy * gate_slopes(name, a)[0],
        ("mish_grad" | "gelu_tanh_grad", 1) => dy * gate_slopes(name.trim_end_matches("_grad"), a)[0],
        ("mish_grad" | "gelu_tanh_grad", _) => {
            masked(masked(dy, b), gate_slopes(name.trim_end_matches("_grad"), a)[1])
        }
        ("glu", 0) => dy * sigmoid(f64::from(b)) as f32,
        ("glu", _) => dy * (a * (sigmoid(f64::from(b)) * sigmoid(-f64::from(b))) as f32),
        ("swiglu", 0) => dy * gated(b, finite(b)),
        ("swiglu", _) => dy * masked(a, swish_slope(b, 1.0)),
        ("cooled", 0) => dy * p[0],
        ("hard_swish", _) | ("hard_swish_grad", 1) => value("hard_swish_grad", [a, dy, 0.0], p),
        ("hard_swish_grad", _) if a <= -3.0 || a >= 3.0 => 0.0,
        ("hard_swish_grad", _) => masked(dy, b) / 3.0,
        ("erf", _) => dy * (std::f64::consts::FRAC_2_SQRT_PI * (-f64::from(a) * f64::from(a)).exp()) as f32,
        ("gelu", _) | ("gelu_grad", 1) => masked(dy, gelu_slope(a)),
        ("gelu_grad", _) => {
            let z = if a.is_nan() { a } else { a.clamp(-40.0, 40.0) };
            masked(masked(dy, b), density(z) * (2.0 - z * z))
        }
        ("softsign", _) => dy * (1.0 + a.abs()).recip().powi(2),
        ("tanh_shrink", _) => dy * f64::from(a).tanh().powi(2) as f32,
        ("hard_tanh", _) | ("hard_tanh_grad", 1) => value("hard_tanh_grad", [a, dy, 0.0], p),
        ("hard_shrink" | "soft_shrink", _) | ("shrink_grad", 1) => value("shrink_grad", [a, dy, 0.0], p),
        ("prelu", 0) if a > 0.0 => dy,
        ("prelu", 0) => dy * b,
        ("prelu", _) if a > 0.0 => 0.0,
        ("prelu", _) => dy * a,
        ("log1p", _) => dy / (a + 1.0),
        ("log_cosh", _) => dy * value("tanh", x, p),
        ("clamped_log", _) => dy / if a.is_nan() { a } else { a.max(1e-12) },
        ("robust", 0) => dy * value("robust_slope", x, p),
        ("robust", _) => dy * value("robust_shape", x, p),
        ("robust_slope", 0) => {
            let [b, l, share] = robust_parts(x);
            dy * ((b * l * -0.5).exp() * (1.0 - b * share))
        }
        ("robust_slope", _) => {
            let [_, l, share] = robust_parts(x);
            dy * (y * (l - share) * 0.5)
        }
        ("robust_shape", 0) => {
            let [_, l, share] = robust_parts(x);
            dy * (value("robust_slope", x, p) * (l - share) * 0.5)
        }
        ("robust_shape", _) => dy * robust_curvature(x),
        // Steps, what chooses, and what was not chosen.
        _ => 0.0,
    }
}
