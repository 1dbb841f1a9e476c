// Functions that losses are made of, one element at a time. Each is one op of src/ops/elementwise/loss.rs; kernels are
// generated around it.

// log(1 + x).
fn log1p_fn(x: f32) -> f32 { return log1p_of(x); }

// log cosh x. Near 0 its series; elsewhere |x| + log(1 + e^-2|x|) - log 2, which cannot overflow.
fn log_cosh_fn(x: f32) -> f32 {
    let a = abs(x);
    let z = min(a, 0.5) * min(a, 0.5);
    let near = z * (0.5 + z * (-8.3333333e-2 + z * (2.2222222e-2 + z * (-6.7460317e-3 + z * (2.1869489e-3
        - z * 7.3860297e-4)))));
    let far = a + (log_of(1.0 + exp_of(-2.0 * a)) - 0.693147181);
    return select(far, near, (a < 0.5) & !is_nan(x));
}

// log p, at least -100.
fn clamped_log_fn(p: f32) -> f32 {
    let y = log_of(p);
    return select(y, -100.0, (y < -100.0) & !is_nan(y));
}

// What Barron's general loss is made of: b = 2 - alpha, L = log(1 + r^2 / b) and s = r^2 / b. Where the square might
// overflow, L is 2 log |r| - log b.
struct RobustParts { b: f32, log_b: f32, log_r: f32, l: f32, s: f32, is_far: bool }

fn robust_parts(r: f32, alpha: f32) -> RobustParts {
    var parts: RobustParts;
    parts.b = 2.0 - alpha;
    let root = sqrt(parts.b);
    parts.is_far = abs(r) > 1e9 * root;
    parts.log_b = log_of(parts.b);
    parts.log_r = log_of(abs(r));
    let q = select(abs(r), 1e9 * root, parts.is_far) / root;
    parts.s = q * q;
    parts.l = select(log1p_of(parts.s), 2.0 * parts.log_r - parts.log_b, parts.is_far);
    return parts;
}

// Whether the loss is defined: for finite numbers, by their bits, and alpha below 2.
fn is_robust(r: f32, alpha: f32) -> bool {
    let are_finite = ((bitcast<u32>(r) & 0x7f800000u) != 0x7f800000u)
        & ((bitcast<u32>(alpha) & 0x7f800000u) != 0x7f800000u);
    return are_finite & (alpha < 2.0);
}

// Half of alpha L, the exponent.
fn robust_exponent(parts: RobustParts, alpha: f32) -> f32 {
    let far = alpha * parts.log_r - 0.5 * alpha * parts.log_b;
    return select(0.5 * alpha * parts.l, far, parts.is_far);
}

// Barron's general robust loss of r = x / c, CVPR 2019, equation 1, for alpha < 2:
// b / alpha ((1 + r^2 / b)^(alpha / 2) - 1) with b = 2 - alpha, at alpha = 0 its limit log(1 + r^2 / 2).
fn robust_fn(r: f32, alpha: f32) -> f32 {
    let parts = robust_parts(r, alpha);
    let u = robust_exponent(parts, alpha);
    let is_near = abs(u) < 0.5;
    // b L / 2, where s might underflow from r^2 alone.
    let half = select(0.5 * parts.b * parts.l, 0.5 * r * r * (1.0 - 0.5 * parts.s), parts.s < 1e-4);
    let near = half * exp_ratio(clamp(u, -0.5, 0.5));
    // Where u is near 0, alpha may be 0.
    let ratio = parts.b / select(alpha, 1.0, is_near);
    let plain = ratio * (exp_of(min(u, 40.0)) - 1.0);
    let large = exp_of(u + log_of(abs(ratio)));
    let y = select(select(plain, large, u > 40.0), near, is_near);
    return select(not_a_number(), y, is_robust(r, alpha));
}

// Its derivative by r: r (1 + r^2 / b)^(alpha / 2 - 1).
fn robust_slope_fn(r: f32, alpha: f32) -> f32 {
    let parts = robust_parts(r, alpha);
    let near = r * exp_of(-0.5 * parts.b * parts.l);
    let far = exp_of((alpha - 1.0) * parts.log_r + 0.5 * parts.b * parts.log_b);
    let y = select(near, select(far, -far, r < 0.0), parts.is_far);
    return select(not_a_number(), y, is_robust(r, alpha));
}

// Its derivative by alpha: with u = alpha L / 2 and s = r^2 / b,
// e^u s / (1 + s) / 2 - L / 2 (e^u - 1) / u + b L^2 / 4 (e^u (u - 1) + 1) / u^2.
fn robust_shape_fn(r: f32, alpha: f32) -> f32 {
    let parts = robust_parts(r, alpha);
    let u = robust_exponent(parts, alpha);
    let is_near = abs(u) < 0.5;
    let v = clamp(u, -0.5, 0.5);
    let w = select(u, 1.0, is_near);
    let e = exp_of(u);
    let first = select((e - 1.0) / w, exp_ratio(v), is_near);
    let series = 0.5 + v * (3.3333333e-1 + v * (0.125 + v * (3.3333333e-2 + v * (6.9444444e-3 + v * (1.1904762e-3
        + v * (1.7361111e-4 + v * 2.2045855e-5))))));
    let second = select((e * (u - 1.0) + 1.0) / (w * w), series, is_near);
    let share = select(parts.s / (1.0 + parts.s), 1.0, parts.is_far);
    let y = 0.5 * e * share - 0.5 * parts.l * first + 0.25 * parts.b * parts.l * parts.l * second;
    return select(not_a_number(), y, is_robust(r, alpha));
}
