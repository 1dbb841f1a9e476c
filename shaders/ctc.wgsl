// Connectionist temporal classification: Graves, Fernández, Gomez and Schmidhuber, ICML 2006, in logarithms. The states of an
// item are blank, label, blank, label, .., blank: states 0 to 2 l of l labels. A step goes from a state to itself, to the next one,
// and from a label to the next label if that is another one. With y_t(s) the log-probability of the symbol of state s at time t, and
// log sum over what is not there -infinity:
//
//   alpha_0(s) = y_0(s) for s < 2                   alpha_t(s) = log sum over s' before s of e^alpha_(t-1)(s')  +  y_t(s)
//   loss       = -log sum of e^alpha_(last)(s) over the last two states
//   beta_last(s) = 0 for the last two states        beta_t(s) = log sum over s' after s of e^(beta_(t+1)(s') + y_(t+1)(s'))
//   dy_t,k     = -dloss sum over states s with symbol k of e^(alpha_t(s) + beta_t(s) + loss)
//
// Beyond an item's own times and states alpha and beta are -infinity. An item whose lengths are beyond the tensors, or with a
// label that is the blank or no class, has the loss NaN; nothing is read out of place for it. An item that has no path has the
// loss infinity. The derivative of a loss that is not finite is NaN, and 0 where dloss is 0.
//
//   ctc_alpha     alpha and the losses, 64 invocations per item, which share the states
//   ctc_beta      beta, in the same way
//   ctc_gradient  dy, an invocation per element
//
// What is long is cut in several launches, which take the times or the states `first` to `end`.

// `most` labels of an item at most.
struct Ctc { items: u32, times: u32, classes: u32, most: u32, blank: u32, first: u32, end: u32 }

// y [items, times, classes]; labels [items, most]; lengths of inputs and of targets [items]
@group(0) @binding(0) var<storage, read> log_probs: array<f32>;
@group(0) @binding(1) var<storage, read> labels: array<u32>;
@group(0) @binding(2) var<storage, read> input_lengths: array<u32>;
@group(0) @binding(3) var<storage, read> target_lengths: array<u32>;
// alpha or beta [items, times, 2 most + 1]
@group(0) @binding(4) var<storage, read_write> table: array<f32>;
@group(0) @binding(5) var<uniform> p: Ctc;
// [items]
@group(0) @binding(6) var<storage, read_write> loss: array<f32>;

// log(e^a + e^b + e^c).
fn log_sum(a: f32, b: f32, c: f32) -> f32 {
    let m = larger(larger(a, b), c);
    let sum = exp_of(a - m) + exp_of(b - m) + exp_of(c - m);
    // By the bits: of -infinity alone the differences are NaN.
    return select(m + log_of(sum), m, bitcast<u32>(m) == 0xff800000u);
}

fn symbol_of(item: u32, s: u32) -> u32 {
    if (s % 2u == 0u) { return p.blank; }
    return labels[item * p.most + s / 2u];
}

// Whether a path may come to state s from the one before the last.
fn skips_to(item: u32, s: u32) -> bool {
    if (s % 2u == 0u || s < 3u) { return false; }
    return labels[item * p.most + s / 2u] != labels[item * p.most + s / 2u - 1u];
}

fn log_prob(item: u32, t: u32, s: u32) -> f32 {
    let symbol = symbol_of(item, s);
    if (symbol >= p.classes) { return not_a_number(); }
    return log_probs[(item * p.times + t) * p.classes + symbol];
}

fn alpha_of(item: u32, t: u32, s: u32, at: u32) -> f32 {
    let none = minus_infinity();
    if (t == 0u) {
        if (s < 2u) { return log_prob(item, t, s); }
        return none;
    }
    let width = 2u * p.most + 1u;
    var one = none;
    var two = none;
    if (s > 0u) { one = table[at - width - 1u]; }
    if (skips_to(item, s)) { two = table[at - width - 2u]; }
    return log_sum(table[at - width], one, two) + log_prob(item, t, s);
}

@compute @workgroup_size(64)
fn ctc_alpha(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>) {
    let item = linear_workgroup(group, groups);
    if (item >= p.items) { return; }
    let width = 2u * p.most + 1u;
    let steps = input_lengths[item];
    let count = target_lengths[item];
    let states = 2u * min(count, p.most) + 1u;
    for (var t = p.first; t < p.end; t += 1u) {
        for (var s = lane; s < width; s += 64u) {
            let at = (item * p.times + t) * width + s;
            var value = minus_infinity();
            if (t < steps && s < states) { value = alpha_of(item, t, s, at); }
            table[at] = value;
        }
        storageBarrier();
    }
    if (p.end < p.times) { return; }
    var wrong = select(0.0, 1.0, steps > p.times || count > p.most);
    for (var k = lane; k < min(count, p.most); k += 64u) {
        let label = labels[item * p.most + k];
        if (label >= p.classes || label == p.blank) { wrong = 1.0; }
    }
    wrong = across_lanes(lane, wrong, true);
    if (lane > 0u) { return; }
    var value = minus_infinity();
    if (steps == 0u) {
        // Nothing spells the empty target alone.
        if (count == 0u) { value = 0.0; }
    } else {
        let last = (item * p.times + min(steps, p.times) - 1u) * width + states - 1u;
        var label_last = minus_infinity();
        if (states > 1u) { label_last = table[last - 1u]; }
        value = log_sum(table[last], label_last, minus_infinity());
    }
    loss[item] = select(-value, not_a_number(), wrong > 0.0);
}

fn beta_of(item: u32, t: u32, s: u32, states: u32, at: u32) -> f32 {
    let none = minus_infinity();
    let next = at + 2u * p.most + 1u;
    var one = none;
    var two = none;
    if (s + 1u < states) { one = table[next + 1u] + log_prob(item, t + 1u, s + 1u); }
    if (s + 2u < states) {
        if (skips_to(item, s + 2u)) { two = table[next + 2u] + log_prob(item, t + 1u, s + 2u); }
    }
    return log_sum(table[next] + log_prob(item, t + 1u, s), one, two);
}

@compute @workgroup_size(64)
fn ctc_beta(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>) {
    let item = linear_workgroup(group, groups);
    if (item >= p.items) { return; }
    let width = 2u * p.most + 1u;
    let steps = min(input_lengths[item], p.times);
    let states = 2u * min(target_lengths[item], p.most) + 1u;
    // From the last time on, backwards.
    for (var back = p.first; back < p.end; back += 1u) {
        let t = p.times - 1u - back;
        for (var s = lane; s < width; s += 64u) {
            let at = (item * p.times + t) * width + s;
            var value = minus_infinity();
            if (s < states) {
                if (t + 1u < steps) {
                    value = beta_of(item, t, s, states, at);
                } else if (t + 1u == steps && s + 2u >= states) {
                    value = 0.0;
                }
            }
            table[at] = value;
        }
        storageBarrier();
    }
}

// alpha, beta [items, times, 2 most + 1]; losses and their cotangents [items]; dy [items, times, classes]
@group(0) @binding(0) var<storage, read> alpha: array<f32>;
@group(0) @binding(2) var<storage, read> beta: array<f32>;
@group(0) @binding(4) var<storage, read> losses: array<f32>;
@group(0) @binding(5) var<storage, read> dloss: array<f32>;
@group(0) @binding(6) var<storage, read_write> dlog_probs: array<f32>;
@group(0) @binding(7) var<uniform> q: Ctc;

@compute @workgroup_size(64)
fn ctc_gradient(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups, 64u);
    if (i >= q.items * q.times * q.classes) { return; }
    let row = i / q.classes;
    let symbol = i % q.classes;
    let item = row / q.times;
    let start = row * (2u * q.most + 1u);
    let count = min(target_lengths[item], q.most);
    let own = losses[item];
    let is_blank = symbol == q.blank;
    var sum = 0.0;
    if (q.first > 0u) { sum = dlog_probs[i]; }
    // The blank before each label and after the last, or each label.
    for (var k = q.first; k < min(q.end, count + 1u); k += 1u) {
        var s = 2u * k;
        var is_here = is_blank;
        if (!is_blank && k < count) {
            s += 1u;
            is_here = labels[item * q.most + k] == symbol;
        }
        if (is_here) { sum += exp_of((alpha[start + s] + beta[start + s]) + own); }
    }
    if (q.end == q.most + 1u) {
        let d = dloss[item];
        let is_finite = (bitcast<u32>(own) & 0x7f800000u) != 0x7f800000u;
        sum = select(select(not_a_number(), -(sum * d), is_finite), 0.0, is_zero(d));
    }
    dlog_probs[i] = sum;
}
