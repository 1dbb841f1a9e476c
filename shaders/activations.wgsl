// Activation functions and their derivatives, one element at a time. Each function is one op of
// src/ops/elementwise/activation.rs; kernels are generated around it. A `_grad_fn` gives the
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
