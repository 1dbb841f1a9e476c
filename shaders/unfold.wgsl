// Windows along one axis as channels, and their sum where they overlap: each is the gradient of the other.
//
//   unfold   y[n, o, c, k, i] = x[n, c, o stride + k dilation - before, i], 0 where that is outside
//   fold     x[n, c, p, i] = sum over k of y[n, o, c, k, i] with o stride + k dilation - before = p
//   ...4     four neighbours along i, where the inner extent divides by 4
//
//   x [n, channels, extent, inner]   y [n, windows, channels, kernel, inner]

// `elements` and `inner` count vectors of four in kernels of vectors.
struct Params {
    elements: u32, inner: u32, channels: u32, kernel: u32, windows: u32, extent: u32,
    stride: u32, dilation: u32, before: u32,
}

@group(0) @binding(0) var<storage, read> input: array<f32>;
@group(0) @binding(0) var<storage, read> input4: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> output: array<f32>;
@group(0) @binding(1) var<storage, read_write> output4: array<vec4<f32>>;
@group(0) @binding(2) var<uniform> p: Params;

// Where element i of y comes from, or ELSEWHERE.
const ELSEWHERE: u32 = 0xffffffffu;

fn unfold_origin(i: u32) -> u32 {
    let k = i / p.inner % p.kernel;
    let plane = i / p.inner / p.kernel;
    let c = plane % p.channels;
    let window = plane / p.channels;
    let n = window / p.windows;
    // Before the first element it wraps around and is beyond the last.
    let at = window % p.windows * p.stride + k * p.dilation - p.before;
    return select(ELSEWHERE, ((n * p.channels + c) * p.extent + at) * p.inner + i % p.inner, at < p.extent);
}

@compute @workgroup_size(64)
fn unfold(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups, 64u);
    if (i >= p.elements) { return; }
    let at = unfold_origin(i);
    if (at == ELSEWHERE) {
        output[i] = 0.0;
    } else {
        output[i] = input[at];
    }
}

@compute @workgroup_size(64)
fn unfold4(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups, 64u);
    if (i >= p.elements) { return; }
    let at = unfold_origin(i);
    if (at == ELSEWHERE) {
        output4[i] = vec4<f32>(0.0);
    } else {
        output4[i] = input4[at];
    }
}

// Where the windows of element i of x are: its index along the axis, counted from the padding's first; and for the first window and
// k = 0 the index in y.
fn fold_place(i: u32) -> vec2<u32> {
    let plane = i / p.inner / p.extent;
    let first = plane / p.channels * p.windows * p.channels + plane % p.channels;
    return vec2<u32>(i / p.inner % p.extent + p.before, first * p.kernel * p.inner + i % p.inner);
}

// The window of which element k is at `at`, or one that there is not.
fn fold_window(at: u32, k: u32) -> u32 {
    let past = at - k * p.dilation;
    let window = past / p.stride;
    return select(p.windows, window, window * p.stride == past);
}

@compute @workgroup_size(64)
fn fold(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups, 64u);
    if (i >= p.elements) { return; }
    let place = fold_place(i);
    var sum = 0.0;
    for (var k = 0u; k < p.kernel; k += 1u) {
        let window = fold_window(place.x, k);
        if (window < p.windows) {
            sum += input[place.y + (window * p.channels * p.kernel + k) * p.inner];
        }
    }
    output[i] = sum;
}

@compute @workgroup_size(64)
fn fold4(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups, 64u);
    if (i >= p.elements) { return; }
    let place = fold_place(i);
    var sum = vec4<f32>(0.0);
    for (var k = 0u; k < p.kernel; k += 1u) {
        let window = fold_window(place.x, k);
        if (window < p.windows) {
            sum += input4[place.y + (window * p.channels * p.kernel + k) * p.inner];
        }
    }
    output4[i] = sum;
}
