// Convolution of images with a weight, its gradient of the images, and its gradient of the weight.
//
//   y[n, go + j, oy, ox] = bias[go + j] + sum over i < c, ky, kx of
//       x[n, gc + i, oy stride_y + ky dilation_y - top, ox stride_x + kx dilation_x - left]
//       weight[go + j, i, ky, kx]
//
//   x, dx [n, groups c, h, w]   weight, dw [groups o, c, kh, kw]   bias [groups o]   y, dy [n, groups o, oh, ow]
//
// The plain kernels are the formulas, one output per invocation: to be read, and the yardstick of the rest. A sum that is
// too long for an adapter's loops is cut in parts of `length` terms, which add_parts adds.
// The tiled ones are for GPUs: each direction as a product of matrices that exist only as 32 x 64 tiles in
// workgroup memory, gathered from the images as they are. Software adapters get register tiles,
// software/conv2d_tile.wgsl.jinja and software/conv2d_weight_tile.wgsl.jinja.

struct Params {
    n: u32, groups: u32, c: u32, o: u32,
    h: u32, w: u32, oh: u32, ow: u32,
    kh: u32, kw: u32, stride_y: u32, stride_x: u32,
    dilation_y: u32, dilation_x: u32, top: u32, left: u32,
    has_bias: u32, parts: u32, length: u32,
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
    let id_in_parts = linear_index(id, groups, 8u);
    let size = p.oh * p.ow;
    let outputs = p.n * p.groups * p.o * size;
    if (id_in_parts >= outputs * p.parts) { return; }
    let index = id_in_parts % outputs;
    let part = id_in_parts / outputs;
    let oy = index % size / p.ow;
    let ox = index % p.ow;
    let o = index / size % p.o;
    let group = index / (size * p.o) % p.groups;
    let n = index / (size * p.o * p.groups);
    var sum = 0.0;
    if (p.has_bias != 0u && part == 0u) { sum = bias[group * p.o + o]; }
    let taps = p.kh * p.kw;
    let begin = part * p.length;
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
    y[id_in_parts] = finish(sum, id_in_parts, 0u);
}

@compute @workgroup_size(8)
fn conv2d_backward_input_plain(@builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>) {
    let id_in_parts = linear_index(id, groups, 8u);
    let size = p.h * p.w;
    let outputs = p.n * p.groups * p.c * size;
    if (id_in_parts >= outputs * p.parts) { return; }
    let index = id_in_parts % outputs;
    let iy = index % size / p.w;
    let ix = index % p.w;
    let c = index / size % p.c;
    let group = index / (size * p.c) % p.groups;
    let n = index / (size * p.c * p.groups);
    let taps = p.kh * p.kw;
    let begin = id_in_parts / outputs * p.length;
    let end = min(begin + p.length, p.o * taps);
    // The output channel and the element of the kernel of each term.
    var o = begin / taps;
    var ky = begin % taps / p.kw;
    var kx = begin % p.kw;
    var sum = 0.0;
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
    dx[id_in_parts] = finish(sum, id_in_parts, 0u);
}

@compute @workgroup_size(8)
fn conv2d_backward_weight_plain(@builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>) {
    let id_in_parts = linear_index(id, groups, 8u);
    let taps = p.kh * p.kw;
    let outputs = p.groups * p.o * p.c * taps;
    if (id_in_parts >= outputs * p.parts) { return; }
    let index = id_in_parts % outputs;
    let ky = index % taps / p.kw;
    let kx = index % p.kw;
    let c = index / taps % p.c;
    let o = index / (taps * p.c) % p.o;
    let group = index / (taps * p.c * p.o);
    let size = p.oh * p.ow;
    let begin = id_in_parts / outputs * p.length;
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
    dw[id_in_parts] = sum;
}

// The products: C = A B with ROWS x COLUMNS elements of C per workgroup of 16 x 8 invocations, 4 x 4 each.

const ROWS: u32 = 32u;
const COLUMNS: u32 = 64u;
const DEPTH: u32 = 16u;
// One more, so that invocations which walk down a column hit different banks.
const A_PITCH: u32 = 33u;
const B_PITCH: u32 = 65u;

var<workgroup> a_tile: array<f32, 528>;   // DEPTH x A_PITCH, [k][row]
var<workgroup> b_tile: array<f32, 1040>;  // DEPTH x B_PITCH, [k][column]

// Rows of one invocation, each with four columns.
struct Sums { r0: vec4<f32>, r1: vec4<f32>, r2: vec4<f32>, r3: vec4<f32> }

// Adds the product of the two tiles.
fn multiply(sums: Sums, local: vec3<u32>) -> Sums {
    var s = sums;
    for (var k = 0u; k < DEPTH; k += 1u) {
        let column = k * B_PITCH + local.x;
        let b = vec4<f32>(b_tile[column], b_tile[column + 16u], b_tile[column + 32u], b_tile[column + 48u]);
        let row = k * A_PITCH + local.y;
        s.r0 += a_tile[row] * b;
        s.r1 += a_tile[row + 8u] * b;
        s.r2 += a_tile[row + 16u] * b;
        s.r3 += a_tile[row + 24u] * b;
    }
    return s;
}

fn row_of(sums: Sums, i: u32) -> vec4<f32> {
    return select(select(sums.r0, sums.r1, i == 1u), select(sums.r2, sums.r3, i == 3u), i >= 2u);
}

// Which tile of which group a workgroup computes: first row, first column, group, and what is left.
fn tile_of(id: u32, rows: u32, columns: u32) -> vec4<u32> {
    let down = (rows + ROWS - 1u) / ROWS;
    let across = (columns + COLUMNS - 1u) / COLUMNS;
    let rest = id / (down * across);
    return vec4<u32>(id % down * ROWS, id / down % across * COLUMNS, rest % p.groups, rest / p.groups);
}

// A is the weight [o, c kh kw], B the inputs [c kh kw, n oh ow].
@compute @workgroup_size(16, 8)
fn conv2d_tiled(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let size = p.oh * p.ow;
    let pixels = p.n * size;
    let taps = p.kh * p.kw;
    let depth = p.c * taps;
    let tile = tile_of(linear_workgroup(workgroup, groups), p.o, pixels);
    if (tile.w > 0u) { return; }
    let group = tile.z;
    let pixel = min(tile.y + thread % COLUMNS, pixels - 1u);
    let start = x_plane(pixel / size, group, 0u);
    let y0 = pixel % size / p.ow * p.stride_y - p.top;
    let x0 = pixel % p.ow * p.stride_x - p.left;
    var sums = Sums();
    for (var k0 = 0u; k0 < depth; k0 += DEPTH) {
        for (var part = 0u; part < 4u; part += 1u) {
            let e = part * 128u + thread;
            let k = k0 + e % DEPTH;
            let row = tile.x + e / DEPTH;
            let inside = k < depth && row < p.o;
            let at = select(0u, (group * p.o + row) * depth + k, inside);
            a_tile[e % DEPTH * A_PITCH + e / DEPTH] = select(0.0, weight[at], inside);
        }
        for (var part = 0u; part < 8u; part += 1u) {
            let across = part * 2u + thread / COLUMNS;
            let k = k0 + across;
            let tap = k % taps;
            let iy = y0 + tap / p.kw * p.dilation_y;
            let ix = x0 + tap % p.kw * p.dilation_x;
            let inside = k < depth && iy < p.h && ix < p.w;
            let at = select(0u, start + (k / taps * p.h + iy) * p.w + ix, inside);
            b_tile[across * B_PITCH + thread % COLUMNS] = select(0.0, x[at], inside);
        }
        workgroupBarrier();
        sums = multiply(sums, local);
        workgroupBarrier();
    }
    for (var i = 0u; i < 4u; i += 1u) {
        let o = tile.x + local.y + 8u * i;
        for (var j = 0u; j < 4u; j += 1u) {
            let to = tile.y + local.x + 16u * j;
            if (o < p.o && to < pixels) {
                var value = row_of(sums, i)[j];
                if (p.has_bias != 0u) { value += bias[group * p.o + o]; }
                let at = y_plane(to / size, group, o) + to % size;
                y[at] = finish(value, at, 0u);
            }
        }
    }
}

// A is the weight, transposed to [c, o kh kw], B the gradients of the outputs [o kh kw, n h w].
@compute @workgroup_size(16, 8)
fn conv2d_backward_input_tiled(@builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>,
    @builtin(local_invocation_index) thread: u32) {
    let size = p.h * p.w;
    let pixels = p.n * size;
    let taps = p.kh * p.kw;
    let depth = p.o * taps;
    let tile = tile_of(linear_workgroup(workgroup, groups), p.c, pixels);
    if (tile.w > 0u) { return; }
    let group = tile.z;
    let pixel = min(tile.y + thread % COLUMNS, pixels - 1u);
    let start = y_plane(pixel / size, group, 0u);
    let y0 = pixel % size / p.w + p.top;
    let x0 = pixel % p.w + p.left;
    var sums = Sums();
    for (var k0 = 0u; k0 < depth; k0 += DEPTH) {
        for (var part = 0u; part < 4u; part += 1u) {
            let e = part * 128u + thread;
            let k = k0 + e % DEPTH;
            let row = tile.x + e / DEPTH;
            let inside = k < depth && row < p.c;
            let at = select(0u, weight_at(group, k / taps, row, 0u, 0u) + k % taps, inside);
            a_tile[e % DEPTH * A_PITCH + e / DEPTH] = select(0.0, weight[at], inside);
        }
        for (var part = 0u; part < 8u; part += 1u) {
            let across = part * 2u + thread / COLUMNS;
            let k = k0 + across;
            let tap = k % taps;
            let sy = y0 - tap / p.kw * p.dilation_y;
            let sx = x0 - tap % p.kw * p.dilation_x;
            let oy = sy / p.stride_y;
            let ox = sx / p.stride_x;
            let meets = oy < p.oh && ox < p.ow && oy * p.stride_y == sy && ox * p.stride_x == sx;
            let inside = k < depth && meets;
            let at = select(0u, start + (k / taps * p.oh + oy) * p.ow + ox, inside);
            b_tile[across * B_PITCH + thread % COLUMNS] = select(0.0, dy[at], inside);
        }
        workgroupBarrier();
        sums = multiply(sums, local);
        workgroupBarrier();
    }
    for (var i = 0u; i < 4u; i += 1u) {
        let c = tile.x + local.y + 8u * i;
        for (var j = 0u; j < 4u; j += 1u) {
            let to = tile.y + local.x + 16u * j;
            if (c < p.c && to < pixels) {
                let at = x_plane(to / size, group, c) + to % size;
                dx[at] = finish(row_of(sums, i)[j], at, 0u);
            }
        }
    }
}

// A is the gradients of the outputs [o, n oh ow], B the inputs [n oh ow, c kh kw]. The long sum over pixels
// is cut into parts of `length`, which are written one after the other and added by add_parts.
@compute @workgroup_size(16, 8)
fn conv2d_backward_weight_tiled(@builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>,
    @builtin(local_invocation_index) thread: u32) {
    let size = p.oh * p.ow;
    let taps = p.kh * p.kw;
    let columns = p.c * taps;
    let tile = tile_of(linear_workgroup(workgroup, groups), p.o, columns);
    if (tile.w >= p.parts) { return; }
    let group = tile.z;
    let end = min((tile.w + 1u) * p.length, p.n * size);
    var sums = Sums();
    for (var k0 = tile.w * p.length; k0 < end; k0 += DEPTH) {
        // Both tiles are read along the pixels, which are contiguous.
        for (var part = 0u; part < 4u; part += 1u) {
            let e = part * 128u + thread;
            let k = k0 + e % DEPTH;
            let row = tile.x + e / DEPTH;
            let inside = k < end && row < p.o;
            let at = select(0u, y_plane(k / size, group, row) + k % size, inside);
            a_tile[e % DEPTH * A_PITCH + e / DEPTH] = select(0.0, dy_second[at], inside);
        }
        for (var part = 0u; part < 8u; part += 1u) {
            let e = part * 128u + thread;
            let k = k0 + e % DEPTH;
            let column = tile.y + e / DEPTH;
            let tap = column % taps;
            let iy = k % size / p.ow * p.stride_y + tap / p.kw * p.dilation_y - p.top;
            let ix = k % p.ow * p.stride_x + tap % p.kw * p.dilation_x - p.left;
            let inside = k < end && column < columns && iy < p.h && ix < p.w;
            let at = select(0u, x_plane(k / size, group, column / taps) + iy * p.w + ix, inside);
            b_tile[e % DEPTH * B_PITCH + e / DEPTH] = select(0.0, x[at], inside);
        }
        workgroupBarrier();
        sums = multiply(sums, local);
        workgroupBarrier();
    }
    for (var i = 0u; i < 4u; i += 1u) {
        let o = tile.x + local.y + 8u * i;
        for (var j = 0u; j < 4u; j += 1u) {
            let column = tile.y + local.x + 16u * j;
            if (o < p.o && column < columns) {
                dw[((tile.w * p.groups + group) * p.o + o) * columns + column] = row_of(sums, i)[j];
            }
        }
    }
}

// db[o] = sum over n, oy, ox of dy[n, o, oy, ox], for a channel of `groups o` per workgroup.

// Parts of `length` of a channel's elements, which add_parts adds.
struct BiasParams { images: u32, channels: u32, size: u32, length: u32 }

@group(0) @binding(2) var<storage, read_write> db: array<f32>;
@group(0) @binding(3) var<uniform> of_bias: BiasParams;

@compute @workgroup_size(64)
fn conv2d_backward_bias(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32) {
    let channel = linear_workgroup(workgroup, groups) % of_bias.channels;
    let part = linear_workgroup(workgroup, groups) / of_bias.channels;
    let all = of_bias.images * of_bias.size;
    if (part * of_bias.length >= all) { return; }
    let end = min((part + 1u) * of_bias.length, all);
    var sum = 0.0;
    for (var i = part * of_bias.length + lane; i < end; i += 64u) {
        let plane = i / of_bias.size * of_bias.channels + channel;
        sum += dy[plane * of_bias.size + i % of_bias.size];
    }
    let total_of_channel = across_lanes(lane, sum, false);
    if (lane == 0u) { db[part * of_bias.channels + channel] = total_of_channel; }
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

// A convolution by 1 x 1 with stride 2 is a product of matrices over every second pixel of every second row. Rows of both
// planes lie behind each other, as the extents of the larger one are even.

struct HalvingParams { rows: u32, vectors: u32 }

@group(0) @binding(0) var<storage, read> every_pixel: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> second_pixels: array<vec2<f32>>;
@group(0) @binding(2) var<uniform> halving: HalvingParams;

@compute @workgroup_size(8)
fn conv2d_take_pixels(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let row = linear_index(id, groups, 8u);
    if (row >= halving.rows) { return; }
    for (var i = 0u; i < halving.vectors; i += 1u) {
        let of_four = every_pixel[2u * row * halving.vectors + i];
        second_pixels[row * halving.vectors + i] = of_four.xz;
    }
}

@group(0) @binding(0) var<storage, read> gradients: array<vec2<f32>>;
@group(0) @binding(1) var<storage, read_write> spread: array<vec4<f32>>;

// The gradient of what conv2d_take_pixels takes: zero at all other pixels.
@compute @workgroup_size(8)
fn conv2d_spread_pixels(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let row = linear_index(id, groups, 8u);
    if (row >= halving.rows) { return; }
    for (var i = 0u; i < halving.vectors; i += 1u) {
        let gradient = gradients[row * halving.vectors + i];
        let at = 2u * row * halving.vectors + i;
        spread[at] = finish4(vec4<f32>(gradient.x, 0.0, gradient.y, 0.0), at, 0u);
        let below = at + halving.vectors;
        spread[below] = finish4(vec4<f32>(), below, 0u);
    }
}
