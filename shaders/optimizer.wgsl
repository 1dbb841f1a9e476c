// Optimizer updates, in place; PyTorch's formulas. Tensors are walked four elements an invocation.
//
//   adam_tick             t = t + 1, for several parameters' counts; generated around adam_scalars_fn
//                         scalars = [lr / (1 - beta1^t), 1 / sqrt(1 - beta2^t), lr, factor] of each
//   adam_fn               g = grad + coupled_decay w;   w = w (1 - lr decoupled_decay)
//                         m = beta1 m + (1 - beta1) g;  v = beta2 v + (1 - beta2) g²
//                         w = w - scalars[0] m / (sqrt(v) scalars[1] + eps)
//                         for each of several parameters; generated: adam_update
//                                                  grad, w, m, v [n]  scalars [4]
//   sgd_update            w = w - lr (grad + decay w)           grad, w [n]  lr [1]
//   sgd_momentum_update   g = grad + decay w;  b = momentum b + g
//                         w = w - lr (g + momentum b, if nesterov, else b)
//                                                  grad, w, b [n]  lr [1]
//   flag_nonfinite        found = 1 if an element of a gradient is not finite; generated around has_nonfinite_fn
//   next_scale            what a scaled loss's gradients are multiplied by, and the scale for the next step
//                                                  factor, scale, steps, found [1]
//
// Gradients are multiplied by gradient_factor() or, of Adam, by the last scalar. Where that is 0 nothing changes.

// 1 - e^-y for y >= 0. Near 0 the difference would cancel: there the series y - y²/2! + ... - y^8/8!, whose
// first term left out is below 1.4e-8 of the sum. Above 100 the result is 1 whatever y is.
fn one_minus_exp(y: f32) -> f32 {
    let c = min(y, 100.0);
    let series = c * (1.0 - c * (1.0 / 2.0) * (1.0 - c * (1.0 / 3.0) * (1.0 - c * (1.0 / 4.0)
        * (1.0 - c * (1.0 / 5.0) * (1.0 - c * (1.0 / 6.0) * (1.0 - c * (1.0 / 7.0)
        * (1.0 - c * (1.0 / 8.0))))))));
    return select(1.0 - exp(-c), series, c < 0.5);
}

// The count after this step. It stays at the last number instead of starting again at 0, where the
// corrections are not finite.
fn adam_count_fn(t: u32) -> u32 { return t + select(0u, 1u, t < 0xffffffffu); }

// What step t of Adam needs; log_beta is ln(beta), at least -100.
fn adam_scalars_fn(t: u32, rate: f32, log_beta1: f32, log_beta2: f32) -> vec4<f32> {
    let correction1 = one_minus_exp(-log_beta1 * f32(t));
    let correction2 = one_minus_exp(-log_beta2 * f32(t));
    return vec4<f32>(rate / correction1, inverseSqrt(correction2), rate, 1.0);
}

fn flush_denormals(x: vec4<f32>) -> vec4<f32> {
    return vec4<f32>(flush_denormal(x.x), flush_denormal(x.y), flush_denormal(x.z), flush_denormal(x.w));
}

// constants: beta1, 1 - beta1, beta2, 1 - beta2, rounded once. decay: eps, coupled_decay, decoupled_decay, of which
// one is 0.
struct AdamStates { w: vec4<f32>, m: vec4<f32>, v: vec4<f32> }

fn adam_fn(gradient: vec4<f32>, old_w: vec4<f32>, old_m: vec4<f32>, old_v: vec4<f32>, row: vec4<f32>,
    constants: vec4<f32>, decay: vec3<f32>) -> AdamStates {
    let g = gradient * row.w + decay.y * old_w;
    let m = flush_denormals(constants.x * old_m + constants.y * g);
    let v = flush_denormals(constants.z * old_v + constants.w * g * g);
    let w = old_w * (1.0 - row.z * decay.z) - row.x * m / (sqrt(v) * row.y + decay.x);
    return AdamStates(w, m, v);
}

struct Sgd { vectors: u32, nesterov: u32, momentum: f32, decay: f32 }

@group(0) @binding(0) var<storage, read> sgd_grad: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> sgd_rate: array<f32>;
@group(0) @binding(2) var<storage, read_write> sgd_w: array<vec4<f32>>;
@group(0) @binding(3) var<uniform> sgd: Sgd;

@compute @workgroup_size(64)
fn sgd_update(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups, 64u);
    let factor = gradient_factor();
    if (i >= sgd.vectors || is_zero(factor)) { return; }
    let w = sgd_w[i];
    sgd_w[i] = w - sgd_rate[0] * (sgd_grad[i] * factor + sgd.decay * w);
}

@group(0) @binding(3) var<storage, read_write> sgd_buffer: array<vec4<f32>>;
@group(0) @binding(4) var<uniform> sgd_m: Sgd;

@compute @workgroup_size(64)
fn sgd_momentum_update(@builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups, 64u);
    let factor = gradient_factor();
    if (i >= sgd_m.vectors || is_zero(factor)) { return; }
    let w = sgd_w[i];
    let g = sgd_grad[i] * factor + sgd_m.decay * w;
    let b = flush_denormals(sgd_m.momentum * sgd_buffer[i] + g);
    let direction = select(b, g + sgd_m.momentum * b, sgd_m.nesterov != 0u);
    sgd_buffer[i] = b;
    sgd_w[i] = w - sgd_rate[0] * direction;
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
    var steps = adam_count_fn(scale_steps[0]);
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
