// Sums and maxima along one axis of a tensor seen as [outer, extent, inner]:
//
//   out[o, c, j] = scale * sum_k in[o, k, j]      or      max_k in[o, k, j]
//
// over k in c * length .. min((c + 1) * length, extent), c < chunks. With one chunk that is the whole
// reduction; with several, a second launch over [outer, chunks, inner] finishes it. Terms are added in
// an order that depends on the shape alone.
//
//   reduce_any              one invocation per result, any shape
//   reduce_columns4         four columns per invocation; inner % 4 == 0
//   reduce_columns16        16 columns per invocation, for software adapters; inner % 16 == 0
//   reduce_rows4            one invocation per result, four terms a step; inner == 1, extent % 4 == 0
//   reduce_rows_workgroup   64 invocations per result; inner == 1
//   reduce_rows4_workgroup  the same, four terms a load and four loads on their way; inner == 1, extent % 4 == 0

struct Reduction {
    outer: u32, extent: u32, inner: u32,
    chunks: u32, length: u32,
    scale: f32,
}

// in [outer, extent, inner], out [outer, chunks, inner]
@group(0) @binding(0) var<storage, read> terms: array<f32>;
@group(0) @binding(0) var<storage, read> terms4: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> reduced: array<f32>;
@group(0) @binding(1) var<storage, read_write> reduced4: array<vec4<f32>>;
@group(0) @binding(2) var<uniform> p: Reduction;

// Term `at`: number `k` of reduction [row, column]. Where elementwise ops that make the terms are computed by the
// same kernel, their formulas stand here instead.
fn prologue(at: u32, row: u32, k: u32, column: u32) -> f32 { return terms[at]; }

// Vector `at` of terms; the axis that it lies along is counted in vectors.
fn prologue4(at: u32, row: u32, k: u32, column: u32) -> vec4<f32> { return terms4[at]; }

// What terms are put together by, and what that starts from. In kernels of maxima `minus_infinity`, `larger` and
// `larger4` stand here: a maximum is a copy of a term, bit for bit, as its gradient looks for the terms equal to it.
fn neutral() -> f32 { return 0.0; }

fn combine(a: f32, b: f32) -> f32 { return a + b; }

fn combine4(a: vec4<f32>, b: vec4<f32>) -> vec4<f32> { return a + b; }

@compute @workgroup_size(64)
fn reduce_any(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups, 64u);
    if (i >= p.outer * p.chunks * p.inner) { return; }
    let row = i / p.inner;
    let start = (row % p.chunks) * p.length;
    let end = min(start + p.length, p.extent);
    let outer = row / p.chunks;
    let column = i % p.inner;
    let base = outer * p.extent * p.inner + column;
    var total = neutral();
    for (var k = start; k < end; k += 1u) {
        total = combine(total, prologue(base + k * p.inner, outer, k, column));
    }
    reduced[i] = epilogue(total * p.scale, i, 0u);
}

@compute @workgroup_size(64)
fn reduce_columns4(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups, 64u);
    let columns = p.inner / 4u;
    if (i >= p.outer * p.chunks * columns) { return; }
    let row = i / columns;
    let start = (row % p.chunks) * p.length;
    let end = min(start + p.length, p.extent);
    let outer = row / p.chunks;
    let column = i % columns;
    let base = outer * p.extent * columns + column;
    var total = vec4<f32>(neutral());
    for (var k = start; k < end; k += 1u) {
        total = combine4(total, prologue4(base + k * columns, outer, k, column));
    }
    reduced4[i] = epilogue4(total * p.scale, i, 0u);
}

// Whole cache lines of a row: on a software adapter one subgroup walks down all rows before the next one starts.
@compute @workgroup_size(8)
fn reduce_columns16(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups, 8u);
    let columns = p.inner / 4u;
    let blocks = columns / 4u;
    if (i >= p.outer * p.chunks * blocks) { return; }
    let row = i / blocks;
    let start = (row % p.chunks) * p.length;
    let end = min(start + p.length, p.extent);
    let outer = row / p.chunks;
    let column = i % blocks * 4u;
    var at = (outer * p.extent + start) * columns + column;
    var a = vec4<f32>(neutral());
    var b = a;
    var c = a;
    var d = a;
    for (var k = start; k < end; k += 1u) {
        a = combine4(a, prologue4(at, outer, k, column));
        b = combine4(b, prologue4(at + 1u, outer, k, column + 1u));
        c = combine4(c, prologue4(at + 2u, outer, k, column + 2u));
        d = combine4(d, prologue4(at + 3u, outer, k, column + 3u));
        at += columns;
    }
    let to = row * columns + column;
    reduced4[to] = epilogue4(a * p.scale, to, 0u);
    reduced4[to + 1u] = epilogue4(b * p.scale, to + 1u, 0u);
    reduced4[to + 2u] = epilogue4(c * p.scale, to + 2u, 0u);
    reduced4[to + 3u] = epilogue4(d * p.scale, to + 3u, 0u);
}

// `length` is divisible by 4 like `extent`.
@compute @workgroup_size(64)
fn reduce_rows4(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups, 64u);
    if (i >= p.outer * p.chunks) { return; }
    let start = (i % p.chunks) * p.length;
    let end = min(start + p.length, p.extent);
    let outer = i / p.chunks;
    let base = outer * (p.extent / 4u);
    var total = vec4<f32>(neutral());
    for (var k = start / 4u; k < end / 4u; k += 1u) {
        total = combine4(total, prologue4(base + k, outer, k, 0u));
    }
    reduced[i] = epilogue(combine(combine(total.x, total.y), combine(total.z, total.w)) * p.scale, i, 0u);
}

var<workgroup> partial: array<f32, 64>;

@compute @workgroup_size(64)
fn reduce_rows_workgroup(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_workgroup(group, groups);
    if (i >= p.outer * p.chunks) { return; }
    let start = (i % p.chunks) * p.length;
    let end = min(start + p.length, p.extent);
    let outer = i / p.chunks;
    let base = outer * p.extent;
    var total = neutral();
    for (var k = start + lane; k < end; k += 64u) {
        total = combine(total, prologue(base + k, outer, k, 0u));
    }
    finish(lane, i, total);
}

// `length` is divisible by 4 like `extent`. A GPU's memory answers after hundreds of cycles: what it is asked for meanwhile is
// the bandwidth, so that each invocation has four vectors on their way.
@compute @workgroup_size(64)
fn reduce_rows4_workgroup(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_workgroup(group, groups);
    if (i >= p.outer * p.chunks) { return; }
    let start = (i % p.chunks) * p.length;
    let end = min(start + p.length, p.extent) / 4u;
    let outer = i / p.chunks;
    let base = outer * (p.extent / 4u);
    var k = start / 4u + lane;
    var a = vec4<f32>(neutral());
    var b = a;
    var c = a;
    var d = a;
    for (; k + 192u < end; k += 256u) {
        a = combine4(a, prologue4(base + k, outer, k, 0u));
        b = combine4(b, prologue4(base + k + 64u, outer, k + 64u, 0u));
        c = combine4(c, prologue4(base + k + 128u, outer, k + 128u, 0u));
        d = combine4(d, prologue4(base + k + 192u, outer, k + 192u, 0u));
    }
    for (; k < end; k += 64u) { a = combine4(a, prologue4(base + k, outer, k, 0u)); }
    let total = combine4(combine4(a, b), combine4(c, d));
    finish(lane, i, combine(combine(total.x, total.y), combine(total.z, total.w)));
}

// Result `i` from what each of 64 invocations has.
fn finish(lane: u32, i: u32, total: f32) {
    partial[lane] = total;
    workgroupBarrier();
    for (var span = 32u; span > 0u; span /= 2u) {
        if (lane < span) { partial[lane] = combine(partial[lane], partial[lane + span]); }
        workgroupBarrier();
    }
    if (lane == 0u) { reduced[i] = epilogue(partial[0] * p.scale, i, 0u); }
}
