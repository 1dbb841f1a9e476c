// Cross-entropy of softmax(logits) in one step, from classes c or from soft targets t:
//
//   loss_i = (m_i - z_ic) + L_i       or      sum_k t_ik ((m_i - z_ik) + L_i)
//   m_i = max_k z_ik,   L_i = log sum_k e^(z_ik - m_i)
//   dz_ik = (e^((z_ik - m_i) - L_i) T_i - t_ik) dloss_i
//
// where t is 1 at the class and 0 elsewhere, and T_i = sum_k t_ik. m and L are kept apart: their sum would
// lose the digits of L at large logits. A class that does not exist makes its row NaN, and reads nothing.
//
//   (soft_)cross_entropy_rows            one invocation per row
//   (soft_)cross_entropy_workgroup       64 invocations per row
//   (soft_)cross_entropy_grad_elements   one invocation per element
//   cross_entropy_both_rows, _workgroup  the losses of classes and dz, where dloss_i is the same for all rows

// share: the cotangent of every loss, for those that compute it too.
struct Rows { rows: u32, columns: u32, share: f32 }

// logits, targets [rows, columns]; classes, loss [rows]
@group(0) @binding(0) var<storage, read> logits: array<f32>;
@group(0) @binding(1) var<storage, read> classes: array<u32>;
@group(0) @binding(1) var<storage, read> targets: array<f32>;
@group(0) @binding(2) var<storage, read_write> loss: array<f32>;
// (m, L) [rows, 2], or (m, L, T) [rows, 3]
@group(0) @binding(3) var<storage, read_write> stats: array<f32>;
@group(0) @binding(4) var<uniform> p: Rows;

fn largest_from(row: u32, first: u32, step: u32) -> f32 {
    var largest = minus_infinity();
    for (var k = first; k < p.columns; k += step) {
        let value = logits[row * p.columns + k];
        largest = larger(largest, value);
    }
    return largest;
}

fn exp_sum_from(row: u32, m: f32, first: u32, step: u32) -> f32 {
    var sum = 0.0;
    for (var k = first; k < p.columns; k += step) {
        sum += exp_of(logits[row * p.columns + k] - m);
    }
    return sum;
}

// The soft loss of some elements, and the sum of their targets.
fn soft_sums_from(row: u32, m: f32, log_sum: f32, first: u32, step: u32) -> vec2<f32> {
    var sums = vec2<f32>(0.0);
    for (var k = first; k < p.columns; k += step) {
        let i = row * p.columns + k;
        let t = targets[i];
        // A target of 0 counts nothing, also of a logit of -infinity.
        sums += vec2<f32>(select(t * ((m - logits[i]) + log_sum), 0.0, is_zero(t)), t);
    }
    return sums;
}

fn write_row(row: u32, m: f32, log_sum: f32) {
    let class_number = classes[row];
    if (class_number < p.columns) {
        loss[row] = (m - logits[row * p.columns + class_number]) + log_sum;
    } else {
        loss[row] = not_a_number();
    }
    stats[2u * row] = m;
    stats[2u * row + 1u] = log_sum;
}

fn write_soft_row(row: u32, m: f32, log_sum: f32, sums: vec2<f32>) {
    loss[row] = sums.x;
    stats[3u * row] = m;
    stats[3u * row + 1u] = log_sum;
    stats[3u * row + 2u] = sums.y;
}

@compute @workgroup_size(64)
fn cross_entropy_rows(@builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>) {
    let row = linear_index(id, groups, 64u);
    if (row >= p.rows) { return; }
    let m = largest_from(row, 0u, 1u);
    write_row(row, m, log_of(exp_sum_from(row, m, 0u, 1u)));
}

@compute @workgroup_size(64)
fn soft_cross_entropy_rows(@builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>) {
    let row = linear_index(id, groups, 64u);
    if (row >= p.rows) { return; }
    let m = largest_from(row, 0u, 1u);
    let log_sum = log_of(exp_sum_from(row, m, 0u, 1u));
    write_soft_row(row, m, log_sum, soft_sums_from(row, m, log_sum, 0u, 1u));
}

@compute @workgroup_size(64)
fn cross_entropy_workgroup(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>) {
    let row = linear_workgroup(group, groups);
    if (row >= p.rows) { return; }
    let m = across_lanes(lane, largest_from(row, lane, 64u), true);
    let s = across_lanes(lane, exp_sum_from(row, m, lane, 64u), false);
    if (lane == 0u) { write_row(row, m, log_of(s)); }
}

@compute @workgroup_size(64)
fn soft_cross_entropy_workgroup(@builtin(local_invocation_index) lane: u32,
    @builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let row = linear_workgroup(group, groups);
    if (row >= p.rows) { return; }
    let m = across_lanes(lane, largest_from(row, lane, 64u), true);
    let log_sum = log_of(across_lanes(lane, exp_sum_from(row, m, lane, 64u), false));
    let own = soft_sums_from(row, m, log_sum, lane, 64u);
    let loss_sum = across_lanes(lane, own.x, false);
    let target_sum = across_lanes(lane, own.y, false);
    if (lane == 0u) { write_soft_row(row, m, log_sum, vec2<f32>(loss_sum, target_sum)); }
}

// row_stats as above; dloss [rows], dlogits [rows, columns]
@group(0) @binding(2) var<storage, read> row_stats: array<f32>;
@group(0) @binding(3) var<storage, read> dloss: array<f32>;
@group(0) @binding(4) var<storage, read_write> dlogits: array<f32>;
@group(0) @binding(5) var<uniform> q: Rows;

@compute @workgroup_size(64)
fn cross_entropy_grad_elements(@builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups, 64u);
    if (i >= q.rows * q.columns) { return; }
    let row = i / q.columns;
    let class_number = classes[row];
    if (class_number >= q.columns) {
        dlogits[i] = not_a_number();
        return;
    }
    let share = exp_of((logits[i] - row_stats[2u * row]) - row_stats[2u * row + 1u]);
    let t = select(0.0, 1.0, i - row * q.columns == class_number);
    dlogits[i] = (share - t) * dloss[row];
}

@compute @workgroup_size(64)
fn soft_cross_entropy_grad_elements(@builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups, 64u);
    if (i >= q.rows * q.columns) { return; }
    let row = i / q.columns;
    let share = exp_of((logits[i] - row_stats[3u * row]) - row_stats[3u * row + 1u]);
    dlogits[i] = (share * row_stats[3u * row + 2u] - targets[i]) * dloss[row];
}

@group(0) @binding(3) var<storage, read_write> dlogits_too: array<f32>;

// The loss, from its first invocation, and some elements of the gradient.
fn write_both(row: u32, m: f32, log_sum: f32, first: u32, step: u32) {
    let class_number = classes[row];
    let exists = class_number < p.columns;
    if (first == 0u) {
        let value = logits[row * p.columns + select(0u, class_number, exists)];
        loss[row] = select(not_a_number(), (m - value) + log_sum, exists);
    }
    for (var k = first; k < p.columns; k += step) {
        let i = row * p.columns + k;
        let share = exp_of((logits[i] - m) - log_sum);
        let t = select(0.0, 1.0, k == class_number);
        dlogits_too[i] = select(not_a_number(), (share - t) * p.share, exists);
    }
}

@compute @workgroup_size(8)
fn cross_entropy_both_rows(@builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>) {
    let row = linear_index(id, groups, 8u);
    if (row >= p.rows) { return; }
    let m = largest_from(row, 0u, 1u);
    write_both(row, m, log_of(exp_sum_from(row, m, 0u, 1u)), 0u, 1u);
}

@compute @workgroup_size(64)
fn cross_entropy_both_workgroup(@builtin(local_invocation_index) lane: u32,
    @builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let row = linear_workgroup(group, groups);
    if (row >= p.rows) { return; }
    let m = across_lanes(lane, largest_from(row, lane, 64u), true);
    let s = across_lanes(lane, exp_sum_from(row, m, lane, 64u), false);
    write_both(row, m, log_of(s), lane, 64u);
}
