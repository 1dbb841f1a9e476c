// Activation functions and their derivatives, one element at a time. Each function is one op of
// src/ops/elementwise/activation/; kernels are generated around it. A `_grad_fn` gives the
// cotangent of the argument from that of the result, dy.

// sigmoid(x) = 1 / (1 + e^-x), without ever exponentiating a positive number.
fn sigmoid_fn(x: f32) -> f32 {
    let t = exp(-abs(x));
    let s = 1.0 / (1.0 + t);
    return select(t * s, s, x >= 0.0);
}

// sigmoid'(x) = y (1 - y), from the value y.
fn sigmoid_grad_fn(y: f32, dy: f32) -> f32 { return select(dy * y * (1.0 - y), 0.0, is_zero(dy)); }

// tanh(x). WGSL's own is indeterminate above about 88 and loses digits near 0. Near 0 an odd
// polynomial (coefficients of Moshier's Cephes library, tanhf); elsewhere 1 - 2 / (e^2|x| + 1), with
// |x| cut at 10, where tanh is 1 in f32.
fn tanh_fn(x: f32) -> f32 {
    let c = clamp(x, -1.0, 1.0);
    let z = c * c;
    let p = (((-5.70498872745e-3 * z + 2.06390887954e-2) * z - 5.37397155531e-2) * z
        + 1.33314422036e-1) * z - 3.33332819422e-1;
    let large = 1.0 - 2.0 / (exp(2.0 * min(abs(x), 10.0)) + 1.0);
    let y = select(select(large, -large, x < 0.0), c + c * z * p, abs(x) < 0.625);
    // Cutting may have made a number of what is none.
    return select(y, x, is_nan(x));
}

// tanh'(x) = 1 - y², from the value y.
fn tanh_grad_fn(y: f32, dy: f32) -> f32 { return select(dy * (1.0 - y * y), 0.0, is_zero(dy)); }

// relu(x) = max(x, 0). NaN stays NaN, which takes a look at the bits: compilers may turn
// a comparison around as if there were none. Zeroed are -0 to -infinity.
fn relu_fn(x: f32) -> f32 { return select(x, 0.0, bitcast<u32>(x) - 0x80000000u <= 0x7f800000u); }

// relu'(x) = 1 where the value y is positive or NaN, else 0.
fn relu_grad_fn(y: f32, dy: f32) -> f32 { return select(dy, 0.0, (y <= 0.0) & !is_nan(y)); }

// leaky_relu(x) = x above 0, slope x below.
fn leaky_relu_fn(x: f32, slope: f32) -> f32 { return select(slope * x, x, x > 0.0); }

// leaky_relu'(x) = 1 above 0, slope below, from the argument x.
fn leaky_relu_grad_fn(x: f32, dy: f32, slope: f32) -> f32 {
    return select(slope * dy, dy, (x > 0.0) & !is_nan(x));
}

// Binary cross-entropy of a logit z and a target y, -y log s - (1 - y) log(1 - s) with s = sigmoid(z), in a
// form that cannot overflow: log(1 + e^-|z|), and |z| times the target of the other side, of which 0 gives 0.
fn bce_logits_fn(z: f32, y: f32) -> f32 {
    let other = select(y, 1.0 - y, z > 0.0);
    return select(other * abs(z), 0.0, is_zero(other)) + log_of(1.0 + exp_of(-abs(z)));
}

// softplus(x) = ln(1 + e^(beta x)) / beta, x where beta x is above the threshold.
fn softplus_fn(x: f32, beta: f32, threshold: f32) -> f32 {
    let z = x * beta;
    let y = select(0.0, x, z > 0.0) + log1p_of(exp(-abs(z))) / beta;
    return select(y, x, (z > threshold) | is_nan(x));
}

// softplus'(x) = 1 / (1 + e^(-beta x)), 1 above the threshold.
fn softplus_grad_fn(x: f32, dy: f32, beta: f32, threshold: f32) -> f32 {
    let z = x * beta;
    let t = exp_of(-abs(z));
    let s = select(t, 1.0, z >= 0.0) / (1.0 + t);
    return select(dy * s, dy, is_zero(dy) | ((z > threshold) & !is_nan(z)));
}

// ln sigmoid(x) = min(x, 0) - ln(1 + e^-|x|).
fn log_sigmoid_fn(x: f32) -> f32 { return select(min(x, 0.0) - log1p_of(exp(-abs(x))), x, is_nan(x)); }

// What ELU's exponent is, cut where e^u and e^(u/2) are 0 or infinite.
fn elu_exponent(x: f32, rate: f32) -> f32 { return clamp(min(x, 0.0) * rate, -2000.0, 2000.0); }

// elu(x) = above x above 0, below (e^(rate x) - 1) below, by its series near 0. The exponential in two halves, so that it may be
// infinite where `below` times it is not.
fn elu_fn(x: f32, below: f32, above: f32, rate: f32) -> f32 {
    let u = elu_exponent(x, rate);
    let c = clamp(u, -0.5, 0.5);
    let h = exp(0.5 * u);
    let far = below * h * h - below;
    let y = select(far, below * (c * exp_ratio(c)), abs(u) < 0.5);
    return select(y, above * x, (x > 0.0) | is_nan(x));
}

// elu'(x) = above above 0, below rate e^(rate x) below.
fn elu_grad_fn(x: f32, dy: f32, below: f32, above: f32, rate: f32) -> f32 {
    let h = exp(0.5 * elu_exponent(x, rate));
    let slope = dy * h * (h * (below * rate));
    return select(select(select(slope, dy * above, x > 0.0), x + dy, is_nan(x)), dy, is_zero(dy));
}

// erfc(z) for z of 0 or more and its square, with a relative error of 1.2e-7 and what rounding the square adds (Press et al.,
// Numerical Recipes, 2nd edition, section 6.2, erfcc).
fn erfc_of(z: f32, square: f32) -> f32 {
    let t = 1.0 / (1.0 + 0.5 * z);
    let p = ((((((((0.17087277 * t - 0.82215223) * t + 1.48851587) * t - 1.13520398) * t + 0.27886807) * t - 0.18628806) * t
        + 0.09678418) * t + 0.37409196) * t + 1.00002368) * t - 1.26551223;
    return t * exp(p - square);
}

// The probability that a standard normal variable is below -|x|: half of erfc(|x| / sqrt(2)).
fn normal_tail(x: f32) -> f32 { return 0.5 * erfc_of(abs(x) * 0.707106781, 0.5 * x * x); }

// erf(x): its series near 0, and beyond 1 - erfc(|x|), which is 1 from 4 on.
fn erf_fn(x: f32) -> f32 {
    let c = clamp(x, -0.5, 0.5);
    let w = c * c;
    let near = c * (1.12837917 - w * (0.376126389 - w * (0.112837917 - w * (2.68661706e-2 - w * (5.22397762e-3
        - w * (8.54832702e-4 - w * 1.20553330e-4))))));
    let z = min(abs(x), 6.0);
    let far = 1.0 - erfc_of(z, z * z);
    return select(select(select(far, -far, x < 0.0), near, abs(x) < 0.5), x, is_nan(x));
}

// gelu(x) = x times the probability that a standard normal variable is below x. Beyond 20 it is x or 0.
fn gelu_fn(x: f32) -> f32 {
    let c = clamp(x, -20.0, 20.0);
    let tail = normal_tail(c);
    return select(max(x, -20.0) * select(1.0 - tail, tail, x < 0.0), x, is_nan(x));
}

// gelu'(x) = that probability plus x times its density.
fn gelu_grad_fn(x: f32, dy: f32) -> f32 {
    let c = clamp(x, -20.0, 20.0);
    let tail = normal_tail(c);
    let density = 0.398942280 * exp(-0.5 * c * c);
    let slope = select(1.0 - tail, tail, x < 0.0) + c * density;
    return select(dy * select(slope, x, is_nan(x)), 0.0, is_zero(dy));
}

// softsign(x) = x / (1 + |x|), 1 at infinity.
fn softsign_fn(x: f32) -> f32 {
    let size = min(abs(x), 1e30);
    let part = size / (1.0 + size);
    return select(select(part, -part, x < 0.0), x, is_nan(x));
}

// tanh_shrink(x) = x - tanh(x), by its series near 0, where the difference would lose all digits.
fn tanh_shrink_fn(x: f32) -> f32 {
    let c = clamp(x, -0.625, 0.625);
    let z = c * c;
    let p = z * (0.133333333 - z * (0.0539682540 - z * (0.0218694885 - z * (8.86323553e-3 - z * (3.59212804e-3 - z * (1.45583439e-3
        - z * (5.90027440e-4 - z * 2.39129114e-4)))))));
    let near = c * z * (0.333333333 - p);
    return select(select(x - tanh_fn(x), near, abs(x) < 0.625), x, is_nan(x));
}

// hard_tanh(x) = x between low and high, the bound beyond.
fn hard_tanh_fn(x: f32, low: f32, high: f32) -> f32 { return select(clamp(x, low, high), x, is_nan(x)); }

// hard_tanh'(x) = 1 strictly between the bounds.
fn hard_tanh_grad_fn(x: f32, dy: f32, low: f32, high: f32) -> f32 {
    return select(dy, 0.0, ((x <= low) | (x >= high)) & !is_nan(x));
}

// hard_shrink(x) = x where |x| is above lambda, else 0.
fn hard_shrink_fn(x: f32, lambda: f32) -> f32 { return select(x, 0.0, (abs(x) <= lambda) & !is_nan(x)); }

// soft_shrink(x) = what of x is above lambda or below -lambda.
fn soft_shrink_fn(x: f32, lambda: f32) -> f32 {
    let rest = select(x + lambda, x - lambda, x > 0.0);
    return select(select(rest, 0.0, abs(x) <= lambda), x, is_nan(x));
}

// Both' = 1 where |x| is above lambda, else 0.
fn shrink_grad_fn(x: f32, dy: f32, lambda: f32) -> f32 { return select(dy, 0.0, (abs(x) <= lambda) & !is_nan(x)); }

// prelu(x, a) = x above 0, a x below.
fn prelu_fn(x: f32, slope: f32) -> f32 { return select(slope * x, x, x > 0.0); }

// binary_step(x) = 1 from 0 on, else 0.
fn binary_step_fn(x: f32) -> f32 { return select(select(0.0, 1.0, x >= 0.0), x, is_nan(x)); }

// hard_swish(x) = x (x + 3) / 6 between -3 and 3, 0 below and x above.
fn hard_swish_fn(x: f32) -> f32 {
    let part = x * ((clamp(x, -3.0, 3.0) + 3.0) * 0.166666667);
    return select(select(part, 0.0, x <= -3.0), x, is_nan(x));
}

// hard_swish'(x) = x / 3 + 1 / 2 between -3 and 3, 0 and 1 beyond.
fn hard_swish_grad_fn(x: f32, dy: f32) -> f32 {
    let inside = dy * (x * 0.333333333 + 0.5);
    let y = select(select(inside, 0.0, x <= -3.0), dy, x >= 3.0);
    return select(select(y, x + dy, is_nan(x)), dy, is_zero(dy));
}

// The nearest finite number.
fn to_finite(x: f32) -> f32 { return clamp(x, -3.4028234e38, 3.4028234e38); }

// x sigmoid(u) with h = e^(-|u| / 2), where c is x, or where that is infinite with a sigmoid of 0 a finite number. Below 0 as
// x h times h over 1 + h^2: a large x times a sigmoid that is too small for f32 may be a number.
fn gated(x: f32, c: f32, u: f32) -> f32 {
    let h = exp(-0.5 * abs(u));
    let rest = 1.0 / (1.0 + h * h);
    return select(c * h * (h * rest), x * rest, u >= 0.0);
}

// dy sigmoid(u) (1 + v sigmoid(-u)), what dy becomes by the derivative of x sigmoid(u) with v = x u'.
fn gated_slope(dy: f32, u: f32, v: f32) -> f32 {
    let h = exp(-0.5 * abs(u));
    let t = h * h;
    let rest = 1.0 / (1.0 + t);
    return select(dy * h * (h * (rest * (1.0 + v * rest))), dy * (rest * (1.0 + v * (t * rest))), u >= 0.0);
}

// swish(x) = x sigmoid(beta x); SiLU with beta = 1.
fn swish_fn(x: f32, beta: f32) -> f32 {
    let c = to_finite(x);
    return select(gated(x, c, beta * c), x, is_nan(x));
}

// swish'(x) = sigmoid(z) (1 + z sigmoid(-z)) with z = beta x.
fn swish_grad_fn(x: f32, dy: f32, beta: f32) -> f32 {
    let z = clamp(beta * to_finite(x), -2000.0, 2000.0);
    return select(select(gated_slope(dy, z, z), x + dy, is_nan(x)), dy, is_zero(dy));
}

// swish with a beta that is learned.
fn swish_learned_fn(x: f32, beta: f32) -> f32 {
    return select(swish_fn(x, to_finite(beta)), x + beta, either_is_nan(x, beta));
}

fn swish_learned_grad_fn(x: f32, beta: f32, dy: f32) -> f32 {
    let y = swish_grad_fn(x, dy, to_finite(beta));
    return select(select(y, x + beta + dy, either_is_nan(x, beta)), dy, is_zero(dy));
}

// Its derivative by beta, x^2 sigmoid(z) sigmoid(-z) with z = beta x. The root of the last three is taken out of x^2, which may
// be infinite.
fn swish_beta_grad_fn(x: f32, beta: f32, dy: f32) -> f32 {
    let c = to_finite(x);
    let h = exp(-0.5 * abs(to_finite(beta) * c));
    let root = c * (h / (1.0 + h * h));
    return select(select(dy * root * root, x + beta + dy, either_is_nan(x, beta)), dy, is_zero(dy));
}

// mish(x) = x tanh(ln(1 + e^x)). With w = e^x that tanh is w (w + 2) / (w (w + 2) + 2).
fn mish_fn(x: f32) -> f32 {
    let c = to_finite(x);
    let h = exp(-0.5 * abs(c));
    let t = h * h;
    let above = x * ((1.0 + 2.0 * t) / (1.0 + 2.0 * t * (1.0 + t)));
    let below = c * h * (h * ((t + 2.0) / (t * (t + 2.0) + 2.0)));
    return select(select(below, above, x > 0.0), x, is_nan(x));
}

// mish'(x) = that tanh and 4 x w (1 + w) / (w (w + 2) + 2)^2.
fn mish_grad_fn(x: f32, dy: f32) -> f32 {
    let z = clamp(x, -2000.0, 2000.0);
    let h = exp(-0.5 * abs(z));
    let t = h * h;
    let e = 1.0 / (1.0 + 2.0 * t * (1.0 + t));
    let above = dy * (e * (1.0 + 2.0 * t + 4.0 * z * (t * t) * (1.0 + t) * e));
    let d = 1.0 / (t * (t + 2.0) + 2.0);
    let below = dy * h * (h * (d * (t + 2.0 + 4.0 * z * (1.0 + t) * d)));
    return select(select(select(below, above, x > 0.0), x + dy, is_nan(x)), dy, is_zero(dy));
}

// gelu_tanh(x) = x sigmoid(u) with u = sqrt(8 / pi) (x + 0.044715 x^3). From 40 on the sigmoid is 1, from -40 down 0.
fn gelu_tanh_fn(x: f32) -> f32 {
    let c = clamp(x, -40.0, 40.0);
    return select(gated(x, c, c * (1.59576912 + 0.0713548163 * (c * c))), x, is_nan(x));
}

// gelu_tanh'(x) = sigmoid(u) (1 + x u' sigmoid(-u)).
fn gelu_tanh_grad_fn(x: f32, dy: f32) -> f32 {
    let c = clamp(x, -40.0, 40.0);
    let s = c * c;
    let y = gated_slope(dy, c * (1.59576912 + 0.0713548163 * s), c * (1.59576912 + 0.214064449 * s));
    return select(select(y, x + dy, is_nan(x)), dy, is_zero(dy));
}

// glu(a, b) = a sigmoid(b).
fn glu_fn(a: f32, b: f32) -> f32 { return select(gated(a, a, b), a + b, either_is_nan(a, b)); }

// swiglu(a, b) = a b sigmoid(b).
fn swiglu_fn(a: f32, b: f32) -> f32 {
    let h = exp(-0.5 * abs(b));
    let rest = 1.0 / (1.0 + h * h);
    let y = select((a * h) * (to_finite(b) * h * rest), a * (b * rest), b >= 0.0);
    return select(y, a + b, either_is_nan(a, b));
}

// (x - top) rate: what a softmax with a temperature of 1 / rate is of. It does not depend on top, the largest of x.
fn cooled_fn(x: f32, top: f32, rate: f32) -> f32 { return (x - top) * rate; }
