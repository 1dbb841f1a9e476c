// Optimizers: how each changes four elements of a parameter `w` and of its states, for a gradient `g` and the learning rate `lr`.
// Kernels for as many parameters as bindings allow are made around these functions: shaders/update.wgsl.jinja, which
// multiplies gradients by their factor and applies weight decay; of an optimizer that counts steps shaders/tick.wgsl.jinja
// makes the scalars of step `t` before that. Formulas and their sources: src/ops/optimizer/rules.
//
//   flag_nonfinite        found = 1 if an element of a gradient is not finite; generated around has_nonfinite_fn
//   next_scale            what a scaled loss's gradients are multiplied by, and the scale for the next step
//                                                  factor, scale, steps, found [1]

// The count after this step. It stays at the last number instead of starting again at 0, where
// corrections are not finite.
fn next_count_fn(t: u32) -> u32 { return t + select(0u, 1u, t < 0xffffffffu); }

fn flush_denormals(x: vec4<f32>) -> vec4<f32> {
    return vec4<f32>(flush_denormal(x.x), flush_denormal(x.y), flush_denormal(x.z), flush_denormal(x.w));
}

// -1, 0 or 1; NaN of NaN.
fn sign_of(x: vec4<f32>) -> vec4<f32> { return select(sign(x), x, is_nan4(x)); }

fn sgd_fn(g: vec4<f32>, w: ptr<function, vec4<f32>>, b: ptr<function, vec4<f32>>, lr: f32, momentum: f32, nesterov: f32) {
    *b = momentum * *b + g;
    *w -= lr * select(*b, g + momentum * *b, nesterov > 0.0);
}

fn lion_fn(g: vec4<f32>, w: ptr<function, vec4<f32>>, m: ptr<function, vec4<f32>>, lr: f32,
    beta1: f32, rest1: f32, beta2: f32, rest2: f32) {
    *w -= lr * sign_of(beta1 * *m + rest1 * g);
    *m = beta2 * *m + rest2 * g;
}

// `w` stays: what comes of the direction is computed elsewhere.
fn muon_direction_fn(g: vec4<f32>, w: ptr<function, vec4<f32>>, b: ptr<function, vec4<f32>>,
    direction: ptr<function, vec4<f32>>, lr: f32, momentum: f32, rest: f32, nesterov: f32) {
    *b = momentum * *b + rest * g;
    *direction = select(*b, momentum * *b + rest * g, nesterov > 0.0);
}

// The share of what is averaged: c.x of an exponential average, after the first step, else 1 / (t - c.y).
fn average_scalars_fn(t: f32, c: vec4<f32>) -> vec3<f32> {
    return vec3<f32>(select(1.0 / max(t - c.y, 1.0), select(c.x, 1.0, t < 1.5), c.x > 0.0), 0.0, 0.0);
}

// `w` is an average and `g` what it averages.
fn average_fn(g: vec4<f32>, w: ptr<function, vec4<f32>>, lr: f32, share: f32) { *w = (1.0 - share) * *w + share * g; }

fn adagrad_scalars_fn(t: f32, c: vec4<f32>) -> vec3<f32> { return vec3<f32>(1.0 / (1.0 + (t - 1.0) * c.x), 0.0, 0.0); }

fn adagrad_fn(g: vec4<f32>, w: ptr<function, vec4<f32>>, sum: ptr<function, vec4<f32>>, lr: f32, rate: f32, eps: f32) {
    *sum += g * g;
    *w -= lr * rate * g / (sqrt(*sum) + eps);
}

fn adadelta_fn(g: vec4<f32>, w: ptr<function, vec4<f32>>, v: ptr<function, vec4<f32>>, u: ptr<function, vec4<f32>>, lr: f32,
    rho: f32, rest: f32, eps: f32) {
    *v = rho * *v + rest * g * g;
    let delta = sqrt(*u + eps) / sqrt(*v + eps) * g;
    *u = rho * *u + rest * delta * delta;
    *w -= lr * delta;
}

fn rmsprop_fn(g: vec4<f32>, w: ptr<function, vec4<f32>>, v: ptr<function, vec4<f32>>, b: ptr<function, vec4<f32>>,
    mean: ptr<function, vec4<f32>>, lr: f32, alpha: f32, rest: f32, eps: f32, momentum: f32, centered: f32) {
    *v = alpha * *v + rest * g * g;
    *mean = alpha * *mean + rest * g;
    // Rounding can take the variance below 0.
    let variance = larger4(*v - centered * *mean * *mean, vec4<f32>(0.0));
    *b = momentum * *b + g / (sqrt(variance) + eps);
    *w -= lr * *b;
}

fn rprop_fn(g: vec4<f32>, w: ptr<function, vec4<f32>>, before: ptr<function, vec4<f32>>, step: ptr<function, vec4<f32>>,
    lr: f32, down: f32, up: f32, least: f32, most: f32) {
    let same = sign(g) * sign(*before);
    let change = select(select(vec4<f32>(1.0), vec4<f32>(up), same > vec4<f32>(0.0)), vec4<f32>(down), same < vec4<f32>(0.0));
    *step = min(max(*step * change, vec4<f32>(least)), vec4<f32>(most));
    *before = select(g, vec4<f32>(0.0), same < vec4<f32>(0.0));
    *w -= sign_of(*before) * *step;
}

// 1 - e^-y for y >= 0. Near 0 the difference would cancel: there the series y - y²/2! + ... - y^8/8!, whose
// first term left out is below 1.4e-8 of the sum. Above 100 the result is 1 whatever y is.
fn one_minus_exp(y: f32) -> f32 {
    let c = min(y, 100.0);
    let series = c * (1.0 - c * (1.0 / 2.0) * (1.0 - c * (1.0 / 3.0) * (1.0 - c * (1.0 / 4.0)
        * (1.0 - c * (1.0 / 5.0) * (1.0 - c * (1.0 / 6.0) * (1.0 - c * (1.0 / 7.0)
        * (1.0 - c * (1.0 / 8.0))))))));
    return select(1.0 - exp(-c), series, c < 0.5);
}

// The running means of gradients and of their squares.
fn moments(g: vec4<f32>, m: ptr<function, vec4<f32>>, v: ptr<function, vec4<f32>>,
    beta1: f32, rest1: f32, beta2: f32, rest2: f32) {
    *m = beta1 * *m + rest1 * g;
    *v = beta2 * *v + rest2 * g * g;
}

// 1 - beta1^t and 1 / sqrt(1 - beta2^t); c holds ln(beta1) and ln(beta2), at least -100.
fn adam_scalars_fn(t: f32, c: vec4<f32>) -> vec3<f32> {
    return vec3<f32>(one_minus_exp(-c.x * t), inverseSqrt(one_minus_exp(-c.y * t)), 0.0);
}

// With the largest `v` so far where that is kept, and else, of 0 and `v`, with `v`. What `max` makes of NaN does not matter: `m`
// is NaN with it, and so is `w`.
fn adam_fn(g: vec4<f32>, w: ptr<function, vec4<f32>>, m: ptr<function, vec4<f32>>, v: ptr<function, vec4<f32>>,
    largest: ptr<function, vec4<f32>>, lr: f32, correction: f32, root: f32,
    beta1: f32, rest1: f32, beta2: f32, rest2: f32, eps: f32) {
    moments(g, m, v, beta1, rest1, beta2, rest2);
    *largest = max(*largest, *v);
    *w -= lr / correction * *m / (sqrt(*largest) * root + eps);
}

fn adamax_scalars_fn(t: f32, c: vec4<f32>) -> vec3<f32> { return vec3<f32>(one_minus_exp(-c.x * t), 0.0, 0.0); }

fn adamax_fn(g: vec4<f32>, w: ptr<function, vec4<f32>>, m: ptr<function, vec4<f32>>, u: ptr<function, vec4<f32>>, lr: f32,
    correction: f32, beta1: f32, rest1: f32, beta2: f32, eps: f32) {
    *m = beta1 * *m + rest1 * g;
    *u = larger4(beta2 * *u, abs(g) + eps);
    *w -= lr / correction * *m / *u;
}

// What g and m count for, and 1 / sqrt(1 - beta2^t); c holds ln(beta1), ln(beta2), ln q and beta1. Of the product of all momenta
// so far the logarithm is t ln(beta1) less the sum over k of q^k / (k 2^k) times the sum of q^(k i), i from 0 to t - 1.
fn nadam_scalars_fn(t: f32, c: vec4<f32>) -> vec3<f32> {
    var sum = 0.0;
    for (var k = 24.0; k > 0.0; k -= 1.0) {
        let ratio = select(one_minus_exp(-k * t * c.z) / one_minus_exp(-k * c.z), t, c.z >= 0.0);
        sum += exp(k * c.z) * exp2(-k) / k * ratio;
    }
    let now = c.w * (1.0 - 0.5 * exp(t * c.z));
    let ahead = c.w * (1.0 - 0.5 * exp((t + 1.0) * c.z));
    let exponent = sum - t * c.x;
    let product = exp(-min(exponent, 100.0));
    return vec3<f32>((1.0 - now) / one_minus_exp(exponent), ahead / (1.0 - product * ahead), inverseSqrt(one_minus_exp(-c.y * t)));
}

fn nadam_fn(g: vec4<f32>, w: ptr<function, vec4<f32>>, m: ptr<function, vec4<f32>>, v: ptr<function, vec4<f32>>, lr: f32,
    of_gradient: f32, of_mean: f32, root: f32, beta1: f32, rest1: f32, beta2: f32, rest2: f32, eps: f32) {
    moments(g, m, v, beta1, rest1, beta2, rest2);
    *w -= lr * (of_gradient * g + of_mean * *m) / (sqrt(*v) * root + eps);
}

// 1 - beta1^t, and the rectified factor of 1 / (sqrt(v) + eps), or 0 while there is none; c holds ln(beta1), ln(beta2), rho and what the
// series is added to. With y = -t ln(beta2): rho_t = rho - 2 t / (e^y - 1), of which near 0 nothing would be left; there
// y / (e^y - 1) - 1 + y / 2 = y²/12 - y⁴/720 + y⁶/30240 - y⁸/1209600 + ...
fn radam_scalars_fn(t: f32, c: vec4<f32>) -> vec3<f32> {
    let y = -c.y * t;
    let s = min(y, 1.0) * min(y, 1.0);
    let series = s * (1.0 / 12.0 - s * (1.0 / 720.0 - s * (1.0 / 30240.0 - s * (1.0 / 1209600.0))));
    let cut = min(y, 100.0);
    let rest = one_minus_exp(cut);
    let rho = select(c.z - 2.0 * t * exp(-cut) / rest, c.w + t + 2.0 / c.y * series, y < 1.0);
    let rectified = (rho - 4.0) * (rho - 2.0) * c.z / ((c.z - 4.0) * (c.z - 2.0) * rho);
    return vec3<f32>(one_minus_exp(-c.x * t), select(0.0, sqrt(rectified * rest), rho > 5.0), 0.0);
}

fn radam_fn(g: vec4<f32>, w: ptr<function, vec4<f32>>, m: ptr<function, vec4<f32>>, v: ptr<function, vec4<f32>>, lr: f32,
    correction: f32, rectified: f32, beta1: f32, rest1: f32, beta2: f32, rest2: f32, eps: f32) {
    moments(g, m, v, beta1, rest1, beta2, rest2);
    let step = lr / correction * *m;
    *w -= select(step, step * rectified / (sqrt(*v) + eps), rectified > 0.0);
}

// `w` stays: what comes of the direction is computed elsewhere.
fn lamb_direction_fn(g: vec4<f32>, w: ptr<function, vec4<f32>>, m: ptr<function, vec4<f32>>, v: ptr<function, vec4<f32>>,
    direction: ptr<function, vec4<f32>>, lr: f32, correction: f32, root: f32,
    beta1: f32, rest1: f32, beta2: f32, rest2: f32, eps: f32, decay: f32) {
    moments(g, m, v, beta1, rest1, beta2, rest2);
    *direction = *m / correction / (sqrt(*v) * root + eps) + decay * *w;
}

// Whether one of the first `count` components is infinite or NaN: all bits of its exponent are set.
fn has_nonfinite_fn(x: vec4<f32>, count: u32) -> bool {
    let bits = bitcast<vec4<u32>>(x) & vec4<u32>(0x7f800000u);
    return any((bits == vec4<u32>(0x7f800000u)) & (vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(count)));
}

struct NextScale { growth: f32, backoff: f32, interval: u32, least: f32 }

@group(0) @binding(0) var<storage, read_write> scale_factor: array<f32>;
@group(0) @binding(1) var<storage, read_write> scale_value: array<f32>;
@group(0) @binding(2) var<storage, read_write> scale_steps: array<u32>;
@group(0) @binding(3) var<storage, read_write> scale_found: array<u32>;
@group(0) @binding(4) var<uniform> next: NextScale;

// 2^40 makes more than half precision has of its smallest number.
const MOST_SCALE = 1099511627776.0;

@compute @workgroup_size(1)
fn next_scale() {
    var value = scale_value[0];
    var steps = next_count_fn(scale_steps[0]);
    var factor = 1.0 / value;
    if (scale_found[0] != 0u) {
        factor = 0.0;
        value = max(value * next.backoff, next.least);
        steps = 0u;
    }
    if (steps >= next.interval) {
        if (value * next.growth <= MOST_SCALE) { value *= next.growth; }
        steps = 0u;
    }
    scale_factor[0] = factor;
    scale_value[0] = value;
    scale_steps[0] = steps;
    scale_found[0] = 0u;
}
