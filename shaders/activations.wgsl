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
    let y = (max(z, 0.0) + log1p_of(exp(-abs(z)))) / beta;
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

// elu(x) = x above 0, alpha (e^x - 1) below, by its series near 0.
fn elu_fn(x: f32, alpha: f32) -> f32 {
    let c = clamp(x, -0.5, 0.0);
    let near = c * exp_ratio(c);
    let below = alpha * select(exp(min(x, 0.0)) - 1.0, near, x > -0.5);
    return select(below, x, (x > 0.0) | is_nan(x));
}

// elu'(x) = 1 above 0, alpha e^x below.
fn elu_grad_fn(x: f32, dy: f32, alpha: f32) -> f32 {
    let below = dy * exp_of(min(x, 0.0)) * alpha;
    return select(select(below, dy, (x > 0.0) | is_zero(dy)), x + dy, is_nan(x) & !is_zero(dy));
}

// The probability that a standard normal variable is below -|x|: half of erfc(|x| / sqrt(2)), with a relative error of 1.2e-7 and
// what rounding the exponent adds (Press et al., Numerical Recipes, 2nd edition, section 6.2, erfcc).
fn normal_tail(x: f32) -> f32 {
    let z = abs(x) * 0.707106781;
    let t = 1.0 / (1.0 + 0.5 * z);
    let p = ((((((((0.17087277 * t - 0.82215223) * t + 1.48851587) * t - 1.13520398) * t + 0.27886807) * t - 0.18628806) * t
        + 0.09678418) * t + 0.37409196) * t + 1.00002368) * t - 1.26551223;
    return 0.5 * t * exp(p - 0.5 * x * x);
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
