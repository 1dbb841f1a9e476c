// Pooling over windows of a plane. x [planes, h, w], y [planes, oh, ow]; a plane is one channel of one
// image.
//
//   max   y[p, o] = max of x over window o; index[p, o] = where, as iy w + ix, the first in row-major order
//   avg   y[p, o] = sum of x over window o / count(o)
//
// Window o covers, along each axis, start + i step for i < count:
//   fixed      start = o stride - before,         count = kernel, step = dilation
//   adaptive   start = floor(o in / out),         up to ceil((o + 1) in / out), step = 1
//
// The gradients gather: each x sums over the windows that hold it.
//
// Windows are gone through in one loop, row by row. Where that is too long for an adapter, it is cut in splits of `length`
// iterations: invocations of their own, whose sums split_k_sum adds; max_pool2d_join takes the largest of their maxima.

struct Axis {
    extent: u32, outputs: u32, kernel: u32, stride: u32,
    before: u32, after: u32, dilation: u32, adaptive: u32,
}

struct Pool {
    elements: u32,
    // 1: padding counts in averages.
    count_padding: u32,
    splits: u32,
    length: u32,
    @align(16) y: Axis,
    @align(16) x: Axis,
}

struct Window { start: i32, count: i32, step: i32 }

@group(0) @binding(0) var<storage, read> source: array<f32>;
@group(0) @binding(1) var<storage, read> source_index: array<u32>;
@group(0) @binding(1) var<storage, read_write> pooled: array<f32>;
@group(0) @binding(2) var<storage, read_write> gathered: array<f32>;
@group(0) @binding(2) var<storage, read_write> index: array<u32>;
@group(0) @binding(2) var<uniform> q: Pool;
@group(0) @binding(3) var<uniform> p: Pool;

fn window_of(o: u32, a: Axis) -> Window {
    if (a.adaptive == 1u) {
        let start = o * a.extent / a.outputs;
        let end = ((o + 1u) * a.extent + a.outputs - 1u) / a.outputs;
        return Window(i32(start), i32(end - start), 1);
    }
    return Window(i32(o * a.stride) - i32(a.before), i32(a.kernel), i32(a.dilation));
}

// First and last window that can hold position `i`.
fn windows_with(i: u32, a: Axis) -> vec2<u32> {
    if (a.adaptive == 1u) {
        return vec2<u32>(i * a.outputs / a.extent, ((i + 1u) * a.outputs + a.extent - 1u) / a.extent - 1u);
    }
    let reach = (a.kernel - 1u) * a.dilation;
    let at = i + a.before;
    let first = select((at - reach + a.stride - 1u) / a.stride, 0u, at < reach);
    return vec2<u32>(first, min(at / a.stride, a.outputs - 1u));
}

// Whether window `o` holds position `i`.
fn holds(o: u32, i: u32, a: Axis) -> bool {
    let w = window_of(o, a);
    let d = i32(i) - w.start;
    return d >= 0 && d % w.step == 0 && d / w.step < w.count;
}

// How many elements window `o` has, for averages: all inside the plane, or all inside the padded plane.
fn window_size(o: u32, a: Axis, padding: bool) -> u32 {
    let w = window_of(o, a);
    let low = select(0, -i32(a.before), padding) - w.start;
    let high = i32(a.extent) + select(0, i32(a.after), padding) - w.start;
    // Elements before the first inside, and before the first after it.
    let first = min((max(low, 0) + w.step - 1) / w.step, w.count);
    let last = min((max(high, 0) + w.step - 1) / w.step, w.count);
    return u32(last - first);
}

@compute @workgroup_size(64)
fn max_pool2d(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let id_in_splits = linear_index(id, groups, 64u);
    if (id_in_splits >= p.elements * p.splits) { return; }
    let o = id_in_splits % p.elements;
    let plane = o / (p.x.outputs * p.y.outputs) * (p.x.extent * p.y.extent);
    let wy = window_of(o / p.x.outputs % p.y.outputs, p.y);
    let wx = window_of(o % p.x.outputs, p.x);
    let begin = i32(id_in_splits / p.elements * p.length);
    let end = min(begin + i32(p.length), wy.count * wx.count);
    var i = begin / wx.count;
    var j = begin % wx.count;
    var best = 0.0;
    // No index is as large: nothing found yet.
    var where_best = 0xffffffffu;
    for (var k = begin; k < end; k += 1) {
        let iy = u32(wy.start + i * wy.step);
        let ix = u32(wx.start + j * wx.step);
        // Positions before the first wrap around.
        let inside = iy < p.y.extent && ix < p.x.extent;
        let at = iy * p.x.extent + ix;
        let value = source[select(0u, plane + at, inside)];
        if (inside && (where_best == 0xffffffffu || beats(value, best))) {
            best = value;
            where_best = at;
        }
        j += 1;
        if (j == wx.count) {
            j = 0;
            i += 1;
        }
    }
    pooled[id_in_splits] = best;
    index[id_in_splits] = where_best;
}

// dx[i] = sum of dy[o] over the windows o whose maximum is at i.
@compute @workgroup_size(64)
fn max_pool2d_backward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let id_in_splits = linear_index(id, groups, 64u);
    if (id_in_splits >= p.elements * p.splits) { return; }
    let i = id_in_splits % p.elements;
    let at = i % (p.x.extent * p.y.extent);
    let plane = i / (p.x.extent * p.y.extent) * (p.x.outputs * p.y.outputs);
    let wy = windows_with(at / p.x.extent, p.y);
    let wx = windows_with(at % p.x.extent, p.x);
    let across = wx.y + 1u - wx.x;
    let begin = id_in_splits / p.elements * p.length;
    let end = min(begin + p.length, (wy.y + 1u - wy.x) * across);
    var oy = wy.x + begin / across;
    var ox = wx.x + begin % across;
    var sum = 0.0;
    for (var k = begin; k < end; k += 1u) {
        let o = plane + oy * p.x.outputs + ox;
        sum += select(0.0, source[o], source_index[o] == at);
        ox += 1u;
        if (ox > wx.y) {
            ox = wx.x;
            oy += 1u;
        }
    }
    gathered[id_in_splits] = epilogue(sum, id_in_splits, 0u);
}

// u at the maxima: du[o] = u[index o]. What the second derivative needs. NaN for an index outside its plane.
@compute @workgroup_size(64)
fn max_pool2d_gather(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let o = linear_index(id, groups, 64u);
    if (o >= p.elements) { return; }
    let extent = p.x.extent * p.y.extent;
    let at = source_index[o];
    var value = not_a_number();
    if (at < extent) { value = source[o / (p.x.outputs * p.y.outputs) * extent + at]; }
    gathered[o] = value;
}

@compute @workgroup_size(64)
fn avg_pool2d(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let id_in_splits = linear_index(id, groups, 64u);
    if (id_in_splits >= q.elements * q.splits) { return; }
    let o = id_in_splits % q.elements;
    let plane = o / (q.x.outputs * q.y.outputs) * (q.x.extent * q.y.extent);
    let oy = o / q.x.outputs % q.y.outputs;
    let ox = o % q.x.outputs;
    let wy = window_of(oy, q.y);
    let wx = window_of(ox, q.x);
    let begin = i32(id_in_splits / q.elements * q.length);
    let end = min(begin + i32(q.length), wy.count * wx.count);
    var i = begin / wx.count;
    var j = begin % wx.count;
    var sum = 0.0;
    for (var k = begin; k < end; k += 1) {
        let iy = u32(wy.start + i * wy.step);
        let ix = u32(wx.start + j * wx.step);
        let inside = iy < q.y.extent && ix < q.x.extent;
        sum += select(0.0, source[select(0u, plane + iy * q.x.extent + ix, inside)], inside);
        j += 1;
        if (j == wx.count) {
            j = 0;
            i += 1;
        }
    }
    let padding = q.count_padding == 1u;
    pooled[id_in_splits] = sum / f32(window_size(oy, q.y, padding) * window_size(ox, q.x, padding));
}

// dx[i] = sum of dy[o] / count(o) over the windows o that hold i.
@compute @workgroup_size(64)
fn avg_pool2d_backward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let id_in_splits = linear_index(id, groups, 64u);
    if (id_in_splits >= q.elements * q.splits) { return; }
    let i = id_in_splits % q.elements;
    let at = i % (q.x.extent * q.y.extent);
    let plane = i / (q.x.extent * q.y.extent) * (q.x.outputs * q.y.outputs);
    let iy = at / q.x.extent;
    let ix = at % q.x.extent;
    let wy = windows_with(iy, q.y);
    let wx = windows_with(ix, q.x);
    let padding = q.count_padding == 1u;
    let across = wx.y + 1u - wx.x;
    let begin = id_in_splits / q.elements * q.length;
    let end = min(begin + q.length, (wy.y + 1u - wy.x) * across);
    var oy = wy.x + begin / across;
    var ox = wx.x + begin % across;
    var sum = 0.0;
    for (var k = begin; k < end; k += 1u) {
        let held = holds(oy, iy, q.y) && holds(ox, ix, q.x);
        let count = window_size(oy, q.y, padding) * window_size(ox, q.x, padding);
        sum += select(0.0, source[plane + oy * q.x.outputs + ox] / f32(max(count, 1u)), held);
        ox += 1u;
        if (ox > wx.y) {
            ox = wx.x;
            oy += 1u;
        }
    }
    pooled[id_in_splits] = epilogue(sum, id_in_splits, 0u);
}

// pooled, index [splits, elements]: the first of the largest of all splits.
@group(0) @binding(0) var<storage, read> split_maxima: array<f32>;
@group(0) @binding(1) var<storage, read> split_indices: array<u32>;
@group(0) @binding(2) var<storage, read_write> joined_maxima: array<f32>;
@group(0) @binding(3) var<storage, read_write> joined_places: array<u32>;
@group(0) @binding(4) var<uniform> join: Pool;

@compute @workgroup_size(64)
fn max_pool2d_join(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let o = linear_index(id, groups, 64u);
    if (o >= join.elements) { return; }
    var best = split_maxima[o];
    var where_best = split_indices[o];
    for (var split = 1u; split < join.splits; split += 1u) {
        let value = split_maxima[split * join.elements + o];
        let at = split_indices[split * join.elements + o];
        let is_first = where_best == 0xffffffffu;
        if (at != 0xffffffffu && (is_first || beats(value, best))) {
            best = value;
            where_best = at;
        }
    }
    joined_maxima[o] = best;
    joined_places[o] = where_best;
}
