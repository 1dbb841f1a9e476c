// Softmax along the rows of [rows, columns], its logarithm, and their derivatives from the result y and
// its cotangent dy:
//
//   softmax            y_k = e^(x_k - m) / s          m = max_j x_j,  s = sum_j e^(x_j - m)
//   log_softmax        y_k = (x_k - m) - log s
//   softmax_grad       dx_k = y_k (dy_k - sum_j dy_j y_j)
//   log_softmax_grad   dx_k = dy_k - e^y_k sum_j dy_j
//
// No exponent is positive and s is at least 1, so that nothing overflows. `_rows` is one invocation per
// row, `_workgroup` 64. Functions ending in `_from` do the elements first, first + step, ... of a row.

struct Rows { rows: u32, columns: u32 }

// x, y [rows, columns]
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@group(0) @binding(2) var<uniform> p: Rows;

fn largest_from(row: u32, first: u32, step: u32) -> f32 {
    var largest = minus_infinity();
    for (var k = first; k < p.columns; k += step) {
        let value = x[row * p.columns + k];
        largest = larger(largest, value);
    }
    return largest;
}

fn exp_sum_from(row: u32, m: f32, first: u32, step: u32) -> f32 {
    var sum = 0.0;
    for (var k = first; k < p.columns; k += step) {
        sum += exp_of(x[row * p.columns + k] - m);
    }
    return sum;
}

fn write_softmax_from(row: u32, m: f32, s: f32, first: u32, step: u32) {
    for (var k = first; k < p.columns; k += step) {
        let i = row * p.columns + k;
        y[i] = epilogue(exp_of(x[i] - m) / s, i, 0u);
    }
}

fn write_log_softmax_from(row: u32, m: f32, s: f32, first: u32, step: u32) {
    let log_sum = log_of(s);
    for (var k = first; k < p.columns; k += step) {
        let i = row * p.columns + k;
        y[i] = epilogue((x[i] - m) - log_sum, i, 0u);
    }
}

@compute @workgroup_size(64)
fn softmax_rows(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let row = linear_index(id, groups, 64u);
    if (row >= p.rows) { return; }
    let m = largest_from(row, 0u, 1u);
    write_softmax_from(row, m, exp_sum_from(row, m, 0u, 1u), 0u, 1u);
}

@compute @workgroup_size(64)
fn log_softmax_rows(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let row = linear_index(id, groups, 64u);
    if (row >= p.rows) { return; }
    let m = largest_from(row, 0u, 1u);
    write_log_softmax_from(row, m, exp_sum_from(row, m, 0u, 1u), 0u, 1u);
}

@compute @workgroup_size(64)
fn softmax_workgroup(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>) {
    let row = linear_workgroup(group, groups);
    if (row >= p.rows) { return; }
    let m = across_lanes(lane, largest_from(row, lane, 64u), true);
    let s = across_lanes(lane, exp_sum_from(row, m, lane, 64u), false);
    write_softmax_from(row, m, s, lane, 64u);
}

@compute @workgroup_size(64)
fn log_softmax_workgroup(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>) {
    let row = linear_workgroup(group, groups);
    if (row >= p.rows) { return; }
    let m = across_lanes(lane, largest_from(row, lane, 64u), true);
    let s = across_lanes(lane, exp_sum_from(row, m, lane, 64u), false);
    write_log_softmax_from(row, m, s, lane, 64u);
}

// results (y), dy, dx [rows, columns]
@group(0) @binding(0) var<storage, read> results: array<f32>;
@group(0) @binding(1) var<storage, read> dy: array<f32>;
@group(0) @binding(2) var<storage, read_write> dx: array<f32>;
@group(0) @binding(3) var<uniform> q: Rows;

fn dot_from(row: u32, first: u32, step: u32) -> f32 {
    var sum = 0.0;
    for (var k = first; k < q.columns; k += step) {
        let i = row * q.columns + k;
        sum += dy[i] * results[i];
    }
    return sum;
}

fn total_from(row: u32, first: u32, step: u32) -> f32 {
    var sum = 0.0;
    for (var k = first; k < q.columns; k += step) {
        sum += dy[row * q.columns + k];
    }
    return sum;
}

fn write_softmax_grad_from(row: u32, dot: f32, first: u32, step: u32) {
    for (var k = first; k < q.columns; k += step) {
        let i = row * q.columns + k;
        dx[i] = epilogue(results[i] * (dy[i] - dot), i, 0u);
    }
}

fn write_log_softmax_grad_from(row: u32, total: f32, first: u32, step: u32) {
    for (var k = first; k < q.columns; k += step) {
        let i = row * q.columns + k;
        dx[i] = epilogue(dy[i] - exp_of(results[i]) * total, i, 0u);
    }
}

@compute @workgroup_size(64)
fn softmax_grad_rows(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let row = linear_index(id, groups, 64u);
    if (row >= q.rows) { return; }
    write_softmax_grad_from(row, dot_from(row, 0u, 1u), 0u, 1u);
}

@compute @workgroup_size(64)
fn log_softmax_grad_rows(@builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>) {
    let row = linear_index(id, groups, 64u);
    if (row >= q.rows) { return; }
    write_log_softmax_grad_from(row, total_from(row, 0u, 1u), 0u, 1u);
}

@compute @workgroup_size(64)
fn softmax_grad_workgroup(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>) {
    let row = linear_workgroup(group, groups);
    if (row >= q.rows) { return; }
    let dot = across_lanes(lane, dot_from(row, lane, 64u), false);
    write_softmax_grad_from(row, dot, lane, 64u);
}

@compute @workgroup_size(64)
fn log_softmax_grad_workgroup(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>) {
    let row = linear_workgroup(group, groups);
    if (row >= q.rows) { return; }
    let total = across_lanes(lane, total_from(row, lane, 64u), false);
    write_log_softmax_grad_from(row, total, lane, 64u);
}
