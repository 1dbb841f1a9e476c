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

struct Axis {
    extent: u32, outputs: u32, kernel: u32, stride: u32,
    before: u32, after: u32, dilation: u32, adaptive: u32,
}

struct Pool {
    elements: u32,
    // 1: padding counts in averages.
    count_padding: u32,
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
    var n = 0u;
    for (var i = 0; i < w.count; i += 1) {
        let at = w.start + i * w.step;
        let low = select(0, -i32(a.before), padding);
        let high = i32(a.extent) + select(0, i32(a.after), padding);
        n += select(0u, 1u, at >= low && at < high);
    }
    return n;
}

@compute @workgroup_size(64)
fn max_pool2d(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let o = linear_index(id, groups, 64u);
    if (o >= p.elements) { return; }
    let plane = o / (p.x.outputs * p.y.outputs) * (p.x.extent * p.y.extent);
    let wy = window_of(o / p.x.outputs % p.y.outputs, p.y);
    let wx = window_of(o % p.x.outputs, p.x);
    var best = 0.0;
    // No index is as large: nothing found yet.
    var where_best = 0xffffffffu;
    for (var i = 0; i < wy.count; i += 1) {
        let iy = wy.start + i * wy.step;
        if (iy < 0 || iy >= i32(p.y.extent)) { continue; }
        for (var j = 0; j < wx.count; j += 1) {
            let ix = wx.start + j * wx.step;
            if (ix < 0 || ix >= i32(p.x.extent)) { continue; }
            let at = u32(iy) * p.x.extent + u32(ix);
            let value = source[plane + at];
            if (where_best == 0xffffffffu || value > best) {
                best = value;
                where_best = at;
            }
        }
    }
    pooled[o] = best;
    index[o] = where_best;
}

// dx[i] = sum of dy[o] over the windows o whose maximum is at i.
@compute @workgroup_size(64)
fn max_pool2d_backward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups, 64u);
    if (i >= p.elements) { return; }
    let at = i % (p.x.extent * p.y.extent);
    let plane = i / (p.x.extent * p.y.extent) * (p.x.outputs * p.y.outputs);
    let wy = windows_with(at / p.x.extent, p.y);
    let wx = windows_with(at % p.x.extent, p.x);
    var sum = 0.0;
    for (var oy = wy.x; oy <= wy.y; oy += 1u) {
        for (var ox = wx.x; ox <= wx.y; ox += 1u) {
            let o = plane + oy * p.x.outputs + ox;
            sum += select(0.0, source[o], source_index[o] == at);
        }
    }
    gathered[i] = finish(sum, i, 0u);
}

// u at the maxima: du[o] = u[index o]. What the second derivative needs.
@compute @workgroup_size(64)
fn max_pool2d_gather(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let o = linear_index(id, groups, 64u);
    if (o >= p.elements) { return; }
    let plane = o / (p.x.outputs * p.y.outputs) * (p.x.extent * p.y.extent);
    gathered[o] = source[plane + source_index[o]];
}

@compute @workgroup_size(64)
fn avg_pool2d(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let o = linear_index(id, groups, 64u);
    if (o >= q.elements) { return; }
    let plane = o / (q.x.outputs * q.y.outputs) * (q.x.extent * q.y.extent);
    let oy = o / q.x.outputs % q.y.outputs;
    let ox = o % q.x.outputs;
    let wy = window_of(oy, q.y);
    let wx = window_of(ox, q.x);
    var sum = 0.0;
    for (var i = 0; i < wy.count; i += 1) {
        let iy = wy.start + i * wy.step;
        if (iy < 0 || iy >= i32(q.y.extent)) { continue; }
        for (var j = 0; j < wx.count; j += 1) {
            let ix = wx.start + j * wx.step;
            if (ix < 0 || ix >= i32(q.x.extent)) { continue; }
            sum += source[plane + u32(iy) * q.x.extent + u32(ix)];
        }
    }
    let padding = q.count_padding == 1u;
    pooled[o] = sum / f32(window_size(oy, q.y, padding) * window_size(ox, q.x, padding));
}

// dx[i] = sum of dy[o] / count(o) over the windows o that hold i.
@compute @workgroup_size(64)
fn avg_pool2d_backward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups, 64u);
    if (i >= q.elements) { return; }
    let at = i % (q.x.extent * q.y.extent);
    let plane = i / (q.x.extent * q.y.extent) * (q.x.outputs * q.y.outputs);
    let iy = at / q.x.extent;
    let ix = at % q.x.extent;
    let wy = windows_with(iy, q.y);
    let wx = windows_with(ix, q.x);
    let padding = q.count_padding == 1u;
    var sum = 0.0;
    for (var oy = wy.x; oy <= wy.y; oy += 1u) {
        if (!holds(oy, iy, q.y)) { continue; }
        let count_y = window_size(oy, q.y, padding);
        for (var ox = wx.x; ox <= wx.y; ox += 1u) {
            if (!holds(ox, ix, q.x)) { continue; }
            let count = count_y * window_size(ox, q.x, padding);
            sum += source[plane + oy * q.x.outputs + ox] / f32(count);
        }
    }
    pooled[i] = finish(sum, i, 0u);
}
