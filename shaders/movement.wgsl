// Ops that move elements. Elements are words: floats and integers alike move as their bits.
//
//   strided_read    out[i] = in[base + sum_k index_k stride_k]      index of i in dims
//   strided_copy    out[write_base + sum_k index_k write_k] = in[read_base + sum_k index_k read_k]
//   ...4            four neighbours along the last axis, where its extent divides by 4; strided_gather4 reads
//                   with any stride, the others where all offsets divide by 4 and the last stride is 1
//   pad             out[i] = in[(index - before) / step] where that is whole and inside, else value; pad4 the same of
//                   four neighbours, where what is put around the last axis divides by 4

struct Move {
    elements: u32, rank: u32, base: u32,
    dims: array<vec4<u32>, 2>,
    strides: array<vec4<u32>, 2>,
}

struct Copy {
    elements: u32, rank: u32, read_base: u32, write_base: u32,
    dims: array<vec4<u32>, 2>,
    reads: array<vec4<u32>, 2>,
    writes: array<vec4<u32>, 2>,
}

struct Pad {
    elements: u32, rank: u32, value: u32,
    dims: array<vec4<u32>, 2>,
    inner: array<vec4<u32>, 2>,
    strides: array<vec4<u32>, 2>,
    before: array<vec4<u32>, 2>,
    step: array<vec4<u32>, 2>,
}

@group(0) @binding(0) var<storage, read> source: array<u32>;
@group(0) @binding(0) var<storage, read> source4: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read_write> target_words: array<u32>;
@group(0) @binding(1) var<storage, read_write> target4: array<vec4<u32>>;
@group(0) @binding(2) var<uniform> p: Move;
@group(0) @binding(2) var<uniform> q: Pad;
@group(0) @binding(2) var<uniform> c: Copy;

fn strided_offset(i: u32) -> u32 {
    var rest = i;
    var at = p.base;
    // What is left for the first axis needs no division.
    for (var k = p.rank; k > 1u; k -= 1u) {
        let a = k - 1u;
        let extent = p.dims[a / 4u][a % 4u];
        at += (rest % extent) * p.strides[a / 4u][a % 4u];
        rest /= extent;
    }
    return at + rest * p.strides[0].x;
}

@compute @workgroup_size(64)
fn strided_read(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups, 64u);
    if (i >= p.elements) { return; }
    target_words[i] = source[strided_offset(i)];
}

// Where element i is, and where it goes.
fn copy_offsets(i: u32) -> vec2<u32> {
    var rest = i;
    var at = vec2<u32>(c.read_base, c.write_base);
    for (var k = c.rank; k > 1u; k -= 1u) {
        let a = k - 1u;
        let extent = c.dims[a / 4u][a % 4u];
        at += (rest % extent) * vec2<u32>(c.reads[a / 4u][a % 4u], c.writes[a / 4u][a % 4u]);
        rest /= extent;
    }
    return at + rest * vec2<u32>(c.reads[0].x, c.writes[0].x);
}

@compute @workgroup_size(64)
fn strided_copy(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups, 64u);
    if (i >= c.elements) { return; }
    let at = copy_offsets(i);
    target_words[at.y] = source[at.x];
}

@compute @workgroup_size(64)
fn strided_read4(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups, 64u);
    if (4u * i >= p.elements) { return; }
    target4[i] = source4[strided_offset(4u * i) / 4u];
}

@compute @workgroup_size(64)
fn strided_gather4(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups, 64u);
    if (4u * i >= p.elements) { return; }
    let at = strided_offset(4u * i);
    let a = p.rank - 1u;
    let next = p.strides[a / 4u][a % 4u];
    target4[i] = vec4<u32>(source[at], source[at + next], source[at + 2u * next], source[at + 3u * next]);
}

@compute @workgroup_size(64)
fn strided_copy4(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups, 64u);
    if (4u * i >= c.elements) { return; }
    let at = copy_offsets(4u * i);
    target4[at.y / 4u] = source4[at.x / 4u];
}

// Where element i of the result comes from, or ELSEWHERE.
const ELSEWHERE: u32 = 0xffffffffu;

fn pad_origin(i: u32) -> u32 {
    var rest = i;
    var at = 0u;
    var inside = true;
    for (var k = q.rank; k > 0u; k -= 1u) {
        let a = k - 1u;
        let extent = q.dims[a / 4u][a % 4u];
        // What is left for the first axis needs no division.
        var index = rest;
        if (a > 0u) {
            index = rest % extent;
            rest /= extent;
        }
        let step = q.step[a / 4u][a % 4u];
        // Below `before` the difference wraps and fails the test against the extent.
        let past = index - q.before[a / 4u][a % 4u];
        var origin = past;
        if (step > 1u) {
            origin = past / step;
            inside = inside && origin * step == past;
        }
        inside = inside && origin < q.inner[a / 4u][a % 4u];
        at += origin * q.strides[a / 4u][a % 4u];
    }
    return select(ELSEWHERE, at, inside);
}

@compute @workgroup_size(64)
fn pad(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups, 64u);
    if (i >= q.elements) { return; }
    let at = pad_origin(i);
    if (at == ELSEWHERE) {
        target_words[i] = q.value;
    } else {
        target_words[i] = source[at];
    }
}

// Four neighbours, which are all inside or all outside.
@compute @workgroup_size(64)
fn pad4(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups, 64u);
    if (4u * i >= q.elements) { return; }
    let at = pad_origin(4u * i);
    if (at == ELSEWHERE) {
        target4[i] = vec4<u32>(q.value);
    } else {
        target4[i] = source4[at / 4u];
    }
}

// out[i] = value
struct Constant { elements: u32, value: f32 }

@group(0) @binding(0) var<storage, read_write> constant_out: array<f32>;
@group(0) @binding(1) var<uniform> constant: Constant;

@compute @workgroup_size(64)
fn fill(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups, 64u);
    if (i >= constant.elements) { return; }
    constant_out[i] = constant.value;
}
