// One axis resized. Output o lies at q = max(o step + offset, 0) / divisor of the axis, its share of the element after is the
// fraction of q, or 0 where the nearest is taken or there is none after.
//
//   resize            y[a, o, i] = x[a, floor(q), i] (1 - share) + x[a, floor(q) + 1, i] share
//   resize_backward   dx[a, p, i] = sum over o of dy[a, o, i] times the share that x[a, p, i] has in y[a, o, i], in order of o
//   ...4              four neighbours along i, where the inner extent divides by 4; resize_row4 four along o, where there is
//                     nothing inside and their number divides by 4
//
//   x, dx [outer, extent, inner]   y, dy [outer, outputs, inner]
//
// A sum that is too long for an adapter's loops is cut in splits of `length` terms, which split_k_sum adds.

// `invocations` and `inner` count vectors of four in kernels of vectors along i.
struct Params {
    extent: u32, outputs: u32, step: u32, offset: i32, divisor: u32, is_linear: u32,
    invocations: u32, inner: u32, splits: u32, length: u32,
}

@group(0) @binding(0) var<storage, read> input: array<f32>;
@group(0) @binding(0) var<storage, read> input4: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> output: array<f32>;
@group(0) @binding(1) var<storage, read_write> output4: array<vec4<f32>>;
@group(0) @binding(2) var<uniform> p: Params;

struct Position { index: u32, share: f32 }

fn position(o: u32) -> Position {
    let at = u32(max(i32(o * p.step) + p.offset, 0));
    let index = at / p.divisor;
    let has_next = p.is_linear != 0u && index + 1u < p.extent;
    return Position(index, select(0.0, f32(at - index * p.divisor) / f32(p.divisor), has_next));
}

@compute @workgroup_size(64)
fn resize(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups, 64u);
    if (i >= p.invocations) { return; }
    let q = position(i / p.inner % p.outputs);
    let at = (i / p.inner / p.outputs * p.extent + q.index) * p.inner + i % p.inner;
    var value = input[at];
    if (q.share > 0.0) { value = value * (1.0 - q.share) + input[at + p.inner] * q.share; }
    output[i] = value;
}

@compute @workgroup_size(64)
fn resize4(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups, 64u);
    if (i >= p.invocations) { return; }
    let q = position(i / p.inner % p.outputs);
    let at = (i / p.inner / p.outputs * p.extent + q.index) * p.inner + i % p.inner;
    var value = input4[at];
    if (q.share > 0.0) { value = value * (1.0 - q.share) + input4[at + p.inner] * q.share; }
    output4[i] = value;
}

fn in_row(row: u32, o: u32) -> f32 {
    let q = position(o);
    let value = input[row + q.index];
    if (q.share > 0.0) { return value * (1.0 - q.share) + input[row + q.index + 1u] * q.share; }
    return value;
}

@compute @workgroup_size(64)
fn resize_row4(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups, 64u);
    if (i >= p.invocations) { return; }
    let row = 4u * i / p.outputs * p.extent;
    let o = 4u * i % p.outputs;
    output4[i] = vec4<f32>(in_row(row, o), in_row(row, o + 1u), in_row(row, o + 2u), in_row(row, o + 3u));
}

// How many outputs have o step + offset at most `most`.
fn upto(most: i32) -> u32 {
    let past = most - p.offset;
    return select(min(u32(past) / p.step + 1u, p.outputs), 0u, past < 0);
}

// The first output that reads element `at`, and one past the last, of these the ones of a split.
fn readers(at: u32, split: u32) -> vec2<u32> {
    let from_here = i32(at * p.divisor);
    let begin = upto(select(from_here - 1, from_here - i32(p.divisor), p.is_linear != 0u)) + split * p.length;
    return vec2<u32>(begin, min(upto(from_here + i32(p.divisor) - 1), begin + p.length));
}

// The share of element `at` in output o, which reads it.
fn share_of(at: u32, o: u32) -> f32 {
    let q = position(o);
    return select(q.share, 1.0 - q.share, q.index == at);
}

@compute @workgroup_size(64)
fn resize_backward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let id_in_splits = linear_index(id, groups, 64u);
    if (id_in_splits >= p.invocations * p.splits) { return; }
    let i = id_in_splits % p.invocations;
    let at = i / p.inner % p.extent;
    let column = i / p.inner / p.extent * p.outputs * p.inner + i % p.inner;
    let range = readers(at, id_in_splits / p.invocations);
    var sum = 0.0;
    for (var o = range.x; o < range.y; o += 1u) {
        sum += input[column + o * p.inner] * share_of(at, o);
    }
    output[id_in_splits] = sum;
}

@compute @workgroup_size(64)
fn resize_backward4(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let id_in_splits = linear_index(id, groups, 64u);
    if (id_in_splits >= p.invocations * p.splits) { return; }
    let i = id_in_splits % p.invocations;
    let at = i / p.inner % p.extent;
    let column = i / p.inner / p.extent * p.outputs * p.inner + i % p.inner;
    let range = readers(at, id_in_splits / p.invocations);
    var sum = vec4<f32>(0.0);
    for (var o = range.x; o < range.y; o += 1u) {
        sum += input4[column + o * p.inner] * share_of(at, o);
    }
    output4[id_in_splits] = sum;
}
