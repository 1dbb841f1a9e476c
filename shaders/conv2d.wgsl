// Convolution of images with a weight, its gradient of the images, and its gradient of the weight.
//
//   y[n, go + j, oy, ox] = bias[go + j] + sum over i < c, ky, kx of
//       x[n, gc + i, oy stride_y + ky dilation_y - top, ox stride_x + kx dilation_x - left]
//       weight[go + j, i, ky, kx]
//
//   x, dx [n, groups c, h, w]   weight, dw [groups o, c, kh, kw]   bias [groups o]   y, dy [n, groups o, oh, ow]
//
// The plain kernels are the formulas, one output per invocation: to be read, and the baseline of the other kernels. A sum that is
// too long for an adapter's loops is cut in splits of `length` terms, which split_k_sum adds.
// GPUs get gpu/conv2d_block.wgsl.jinja and gpu/conv2d_weight_block.wgsl.jinja, software adapters
// software/conv2d_tile.wgsl.jinja and software/conv2d_weight_tile.wgsl.jinja.

struct Params {
    n: u32, groups: u32, c: u32, o: u32,
    h: u32, w: u32, oh: u32, ow: u32,
    kh: u32, kw: u32, stride_y: u32, stride_x: u32,
    dilation_y: u32, dilation_x: u32, top: u32, left: u32,
    has_bias: u32, splits: u32, length: u32,
}

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> weight: array<f32>;
@group(0) @binding(2) var<storage, read> bias: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;
@group(0) @binding(4) var<uniform> p: Params;

// Of the gradients. That of the weight takes x and `dy_second`.
@group(0) @binding(0) var<storage, read> dy: array<f32>;
@group(0) @binding(1) var<storage, read> dy_second: array<f32>;
@group(0) @binding(3) var<storage, read_write> dx: array<f32>;
@group(0) @binding(3) var<storage, read_write> dw: array<f32>;

// Where a plane of x, of which `channel` counts within a group, begins.
fn x_plane(n: u32, group: u32, channel: u32) -> u32 {
    return ((n * p.groups + group) * p.c + channel) * p.h * p.w;
}

fn y_plane(n: u32, group: u32, channel: u32) -> u32 {
    return ((n * p.groups + group) * p.o + channel) * p.oh * p.ow;
}

fn weight_at(group: u32, o: u32, c: u32, ky: u32, kx: u32) -> u32 {
    return (((group * p.o + o) * p.c + c) * p.kh + ky) * p.kw + kx;
}

// A position along an axis: before the first element it wraps around and is beyond the last.

@compute @workgroup_size(8)
fn conv2d_plain(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let id_in_splits = linear_index(id, groups, 8u);
    let size = p.oh * p.ow;
    let outputs = p.n * p.groups * p.o * size;
    if (id_in_splits >= outputs * p.splits) { return; }
    let index = id_in_splits % outputs;
    let split = id_in_splits / outputs;
    let oy = index % size / p.ow;
    let ox = index % p.ow;
    let o = index / size % p.o;
    let group = index / (size * p.o) % p.groups;
    let n = index / (size * p.o * p.groups);
    var sum = 0.0;
    if (p.has_bias != 0u && split == 0u) { sum = bias[group * p.o + o]; }
    let taps = p.kh * p.kw;
    let begin = split * p.length;
    let end = min(begin + p.length, p.c * taps);
    // The input channel and the element of the kernel of each term.
    var c = begin / taps;
    var ky = begin % taps / p.kw;
    var kx = begin % p.kw;
    for (var term = begin; term < end; term += 1u) {
        let iy = oy * p.stride_y + ky * p.dilation_y - p.top;
        let ix = ox * p.stride_x + kx * p.dilation_x - p.left;
        if (iy < p.h && ix < p.w) {
            sum += x[x_plane(n, group, c) + iy * p.w + ix] * weight[weight_at(group, o, c, ky, kx)];
        }
        kx += 1u;
        if (kx == p.kw) {
            kx = 0u;
            ky += 1u;
        }
        if (ky == p.kh) {
            ky = 0u;
            c += 1u;
        }
    }
    y[id_in_splits] = epilogue(sum, id_in_splits, 0u);
}

@compute @workgroup_size(8)
fn conv2d_backward_input_plain(@builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>) {
    let id_in_splits = linear_index(id, groups, 8u);
    let size = p.h * p.w;
    let outputs = p.n * p.groups * p.c * size;
    if (id_in_splits >= outputs * p.splits) { return; }
    let index = id_in_splits % outputs;
    let iy = index % size / p.w;
    let ix = index % p.w;
    let c = index / size % p.c;
    let group = index / (size * p.c) % p.groups;
    let n = index / (size * p.c * p.groups);
    let taps = p.kh * p.kw;
    let split = id_in_splits / outputs;
    let begin = split * p.length;
    let end = min(begin + p.length, p.o * taps);
    // The output channel and the element of the kernel of each term.
    var o = begin / taps;
    var ky = begin % taps / p.kw;
    var kx = begin % p.kw;
    var sum = 0.0;
    // Of a transposed convolution.
    if (p.has_bias != 0u && split == 0u) { sum = bias[group * p.c + c]; }
    for (var term = begin; term < end; term += 1u) {
        // oy stride_y and ox stride_x, if there are such outputs.
        let sy = iy + p.top - ky * p.dilation_y;
        let sx = ix + p.left - kx * p.dilation_x;
        let oy = sy / p.stride_y;
        let ox = sx / p.stride_x;
        if (oy < p.oh && ox < p.ow && oy * p.stride_y == sy && ox * p.stride_x == sx) {
            sum += dy[y_plane(n, group, o) + oy * p.ow + ox] * weight[weight_at(group, o, c, ky, kx)];
        }
        kx += 1u;
        if (kx == p.kw) {
            kx = 0u;
            ky += 1u;
        }
        if (ky == p.kh) {
            ky = 0u;
            o += 1u;
        }
    }
    dx[id_in_splits] = epilogue(sum, id_in_splits, 0u);
}

@compute @workgroup_size(8)
fn conv2d_backward_weight_plain(@builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>) {
    let id_in_splits = linear_index(id, groups, 8u);
    let taps = p.kh * p.kw;
    let outputs = p.groups * p.o * p.c * taps;
    if (id_in_splits >= outputs * p.splits) { return; }
    let index = id_in_splits % outputs;
    let ky = index % taps / p.kw;
    let kx = index % p.kw;
    let c = index / taps % p.c;
    let o = index / (taps * p.c) % p.o;
    let group = index / (taps * p.c * p.o);
    let size = p.oh * p.ow;
    let begin = id_in_splits / outputs * p.length;
    let end = min(begin + p.length, p.n * size);
    // The image and the pixel of each term.
    var n = begin / size;
    var oy = begin % size / p.ow;
    var ox = begin % p.ow;
    var sum = 0.0;
    for (var term = begin; term < end; term += 1u) {
        let iy = oy * p.stride_y + ky * p.dilation_y - p.top;
        let ix = ox * p.stride_x + kx * p.dilation_x - p.left;
        if (iy < p.h && ix < p.w) {
            sum += x[x_plane(n, group, c) + iy * p.w + ix] * dy_second[y_plane(n, group, o) + oy * p.ow + ox];
        }
        ox += 1u;
        if (ox == p.ow) {
            ox = 0u;
            oy += 1u;
        }
        if (oy == p.oh) {
            oy = 0u;
            n += 1u;
        }
    }
    dw[id_in_splits] = sum;
}

// db[o] = sum over n, oy, ox of dy[n, o, oy, ox], for a channel of `groups o` per workgroup.

// Splits of `length` of a channel's elements, which split_k_sum adds.
struct BiasParams { images: u32, channels: u32, size: u32, length: u32 }

@group(0) @binding(2) var<storage, read_write> db: array<f32>;
@group(0) @binding(3) var<uniform> of_bias: BiasParams;

@compute @workgroup_size(64)
fn conv2d_backward_bias(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32) {
    let channel = linear_workgroup(workgroup, groups) % of_bias.channels;
    let split = linear_workgroup(workgroup, groups) / of_bias.channels;
    let all = of_bias.images * of_bias.size;
    if (split * of_bias.length >= all) { return; }
    let end = min((split + 1u) * of_bias.length, all);
    var sum = 0.0;
    for (var i = split * of_bias.length + lane; i < end; i += 64u) {
        let plane = i / of_bias.size * of_bias.channels + channel;
        sum += dy[plane * of_bias.size + i % of_bias.size];
    }
    let total_of_channel = across_lanes(lane, sum, false);
    if (lane == 0u) { db[split * of_bias.channels + channel] = total_of_channel; }
}

// What the register tiles need besides.

struct PackParams {
    groups: u32, m: u32, c: u32, taps: u32,
    // Channels that m is padded to, with zeros.
    width: u32,
    // Elements from one group, one m and one c of the weight to the next.
    group_step: u32, m_step: u32, c_step: u32,
    // Whether taps are reversed.
    flip: u32,
}

@group(0) @binding(3) var<storage, read_write> packed: array<vec4<f32>>;
@group(0) @binding(4) var<uniform> packing: PackParams;

fn packed_element(group: u32, m: u32, c: u32, tap: u32) -> f32 {
    let inside = m < packing.m;
    let at = group * packing.group_step + m * packing.m_step + c * packing.c_step + select(tap, packing.taps - 1u - tap, packing.flip != 0u);
    return select(0.0, weight[select(0u, at, inside)], inside);
}

// packed[group, c, tap, m] = weight[group, m, c, tap]: the channels that lanes compute side by side.
@compute @workgroup_size(64)
fn conv2d_pack(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let index = linear_index(id, groups, 64u);
    let vectors = packing.width / 4u;
    let m = index % vectors * 4u;
    let tap = index / vectors % packing.taps;
    let c = index / (vectors * packing.taps) % packing.c;
    let group = index / (vectors * packing.taps * packing.c);
    if (group >= packing.groups) { return; }
    packed[index] = vec4<f32>(packed_element(group, m, c, tap), packed_element(group, m + 1u, c, tap),
        packed_element(group, m + 2u, c, tap), packed_element(group, m + 3u, c, tap));
}
