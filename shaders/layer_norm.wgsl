// Layer normalization of the rows of x [rows, width] (Ba, Kiros and Hinton, arXiv:1607.06450, section 3):
//
//   mean[r] = 1/m sum x          deviation[r] = 1 / sqrt(1/m sum (x - mean)^2 + eps)          m = width
//   y = n weight + bias          n = (x - mean) deviation
//
// and backward from dy, with g = dy weight:
//
//   dx = deviation (g - 1/m sum g - n 1/m sum g n)          dweight = sum over rows of dy n          dbias = sum dy
//
// Mean and variance come from one reading of x, in fours that are put together by Chan, Golub and LeVeque's equations
// 2.1 ("Algorithms for computing the sample variance", The American Statistician 37, 1983), of x less the first of its
// row: see batch_norm.wgsl. `_rows` is one invocation per row, `_workgroup` 64; `_vec4` is for widths that four
// divides, there `width` counts vectors. Functions ending in `_from` do the elements first, first + step, ... of a row,
// which begins at `base`. Sums over rows are made by workgroups of their own in the launch that gives dx: eight columns,
// or vectors of them, by eight invocations each. Where that is too little to do side by side, rows are cut in chunks,
// which a second launch adds in order.

struct LayerNorm { rows: u32, width: u32, eps: f32 }

// x, y [rows, width]; weight, bias [width]; mean, deviation [rows]
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(0) var<storage, read> x4: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> weight: array<f32>;
@group(0) @binding(1) var<storage, read> weight4: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> bias: array<f32>;
@group(0) @binding(2) var<storage, read> bias4: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;
@group(0) @binding(3) var<storage, read_write> y4: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> mean_out: array<f32>;
@group(0) @binding(5) var<storage, read_write> deviation_out: array<f32>;
@group(0) @binding(6) var<uniform> p: LayerNorm;

fn sum4(v: vec4<f32>) -> f32 {
    return (v.x + v.y) + (v.z + v.w);
}

// How many elements there are, their mean less `origin`, the sum of squares about it, and their plain sum.
fn moments_from(base: u32, origin: f32, first: u32, step: u32) -> vec4<f32> {
    var n = 0.0;
    var mean = 0.0;
    var squares = 0.0;
    var total = 0.0;
    var k = first;
    for (; k + 3u * step < p.width; k += 4u * step) {
        let x0 = x[base + k];
        let x1 = x[base + k + step];
        let x2 = x[base + k + 2u * step];
        let x3 = x[base + k + 3u * step];
        total += (x0 + x1) + (x2 + x3);
        let v0 = x0 - origin;
        let v1 = x1 - origin;
        let v2 = x2 - origin;
        let v3 = x3 - origin;
        let center = 0.25 * ((v0 + v1) + (v2 + v3));
        let d0 = v0 - center;
        let d1 = v1 - center;
        let d2 = v2 - center;
        let d3 = v3 - center;
        let delta = center - mean;
        let share = 4.0 / (n + 4.0);
        mean += delta * share;
        squares += (d0 * d0 + d1 * d1) + (d2 * d2 + d3 * d3) + delta * ((n * share) * delta);
        n += 4.0;
    }
    for (; k < p.width; k += step) {
        let value = x[base + k];
        total += value;
        let delta = value - origin - mean;
        n += 1.0;
        let change = delta / n;
        mean += change;
        squares += delta * (delta - change);
    }
    return vec4<f32>(n, mean, squares, total);
}

fn moments4_from(base: u32, origin: f32, first: u32, step: u32) -> vec4<f32> {
    var n = 0.0;
    var mean = vec4<f32>(0.0);
    var squares = vec4<f32>(0.0);
    var total = vec4<f32>(0.0);
    var k = first;
    for (; k + 3u * step < p.width; k += 4u * step) {
        let x0 = x4[base + k];
        let x1 = x4[base + k + step];
        let x2 = x4[base + k + 2u * step];
        let x3 = x4[base + k + 3u * step];
        total += (x0 + x1) + (x2 + x3);
        let v0 = x0 - origin;
        let v1 = x1 - origin;
        let v2 = x2 - origin;
        let v3 = x3 - origin;
        let center = 0.25 * ((v0 + v1) + (v2 + v3));
        let d0 = v0 - center;
        let d1 = v1 - center;
        let d2 = v2 - center;
        let d3 = v3 - center;
        let delta = center - mean;
        let share = 4.0 / (n + 4.0);
        mean += delta * share;
        squares += (d0 * d0 + d1 * d1) + (d2 * d2 + d3 * d3) + delta * ((n * share) * delta);
        n += 4.0;
    }
    for (; k < p.width; k += step) {
        let value = x4[base + k];
        total += value;
        let delta = value - origin - mean;
        n += 1.0;
        let change = delta / n;
        mean += change;
        squares += delta * (delta - change);
    }
    // The four components.
    let own = 0.25 * sum4(mean);
    let apart = mean - own;
    return vec4<f32>(4.0 * n, own, sum4(squares + n * apart * apart), sum4(total));
}

// Mean less the origin, variance, and plain sum, of what 64 invocations have found of a row.
fn joined(lane: u32, found: vec4<f32>, count: f32) -> vec3<f32> {
    let sums = sums_across_lanes(lane, vec2<f32>(found.x * found.y, found.w));
    let center = sums.x / count;
    let d = found.y - center;
    return vec3<f32>(center, across_lanes(lane, found.z + found.x * d * d, false) / count, sums.y);
}

fn write_from(base: u32, origin: f32, center: f32, deviation: f32, first: u32, step: u32) {
    for (var k = first; k < p.width; k += step) {
        let at = base + k;
        y[at] = epilogue((x[at] - origin - center) * deviation * weight[k] + bias[k], at, 0u);
    }
}

fn write4_from(base: u32, origin: f32, center: f32, deviation: f32, first: u32, step: u32) {
    for (var k = first; k < p.width; k += step) {
        let at = base + k;
        y4[at] = epilogue4((x4[at] - origin - center) * deviation * weight4[k] + bias4[k], at, 0u);
    }
}

@compute @workgroup_size(64)
fn layer_norm_rows(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let row = linear_index(id, groups, 64u);
    if (row >= p.rows) { return; }
    let base = row * p.width;
    let origin = x[base];
    let found = moments_from(base, origin, 0u, 1u);
    let deviation = inverseSqrt(found.z / f32(p.width) + p.eps);
    mean_out[row] = mean_or_infinity(origin + found.y, found.w, f32(p.width));
    deviation_out[row] = deviation;
    write_from(base, origin, found.y, deviation, 0u, 1u);
}

@compute @workgroup_size(64)
fn layer_norm_rows_vec4(@builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>) {
    let row = linear_index(id, groups, 64u);
    if (row >= p.rows) { return; }
    let base = row * p.width;
    let origin = x4[base].x;
    let found = moments4_from(base, origin, 0u, 1u);
    let deviation = inverseSqrt(found.z / f32(4u * p.width) + p.eps);
    mean_out[row] = mean_or_infinity(origin + found.y, found.w, f32(4u * p.width));
    deviation_out[row] = deviation;
    write4_from(base, origin, found.y, deviation, 0u, 1u);
}

@compute @workgroup_size(64)
fn layer_norm_workgroup(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>) {
    let row = linear_workgroup(group, groups);
    if (row >= p.rows) { return; }
    let base = row * p.width;
    let origin = x[base];
    let found = joined(lane, moments_from(base, origin, lane, 64u), f32(p.width));
    let deviation = inverseSqrt(found.y + p.eps);
    if (lane == 0u) {
        mean_out[row] = mean_or_infinity(origin + found.x, found.z, f32(p.width));
        deviation_out[row] = deviation;
    }
    write_from(base, origin, found.x, deviation, lane, 64u);
}

@compute @workgroup_size(64)
fn layer_norm_workgroup_vec4(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>) {
    let row = linear_workgroup(group, groups);
    if (row >= p.rows) { return; }
    let base = row * p.width;
    let origin = x4[base].x;
    let found = joined(lane, moments4_from(base, origin, lane, 64u), f32(4u * p.width));
    let deviation = inverseSqrt(found.y + p.eps);
    if (lane == 0u) {
        mean_out[row] = mean_or_infinity(origin + found.x, found.z, f32(4u * p.width));
        deviation_out[row] = deviation;
    }
    write4_from(base, origin, found.x, deviation, lane, 64u);
}

// `blocks` of eight columns times `chunks` of `length` rows come first, then the rows.
struct LayerNormGrad { rows: u32, width: u32, blocks: u32, chunks: u32, length: u32 }

// row_mean, row_deviation [rows]; dy, dx as x; dweight, dbias [chunks, width]
@group(0) @binding(2) var<storage, read> row_mean: array<f32>;
@group(0) @binding(3) var<storage, read> row_deviation: array<f32>;
@group(0) @binding(4) var<storage, read> dy: array<f32>;
@group(0) @binding(4) var<storage, read> dy4: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> dx: array<f32>;
@group(0) @binding(5) var<storage, read_write> dx4: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read_write> dweight: array<f32>;
@group(0) @binding(6) var<storage, read_write> dweight4: array<vec4<f32>>;
@group(0) @binding(7) var<storage, read_write> dbias: array<f32>;
@group(0) @binding(7) var<storage, read_write> dbias4: array<vec4<f32>>;
@group(0) @binding(8) var<uniform> q: LayerNormGrad;

var<workgroup> of_columns: array<vec2<f32>, 64>;
var<workgroup> of_columns4: array<vec4<f32>, 128>;

fn sum_columns(lane: u32, group: u32) {
    let column = group % q.blocks * 8u + lane % 8u;
    let chunk = group / q.blocks;
    let begin = chunk * q.length;
    let end = select(begin, min(begin + q.length, q.rows), column < q.width);
    var sum = vec2<f32>(0.0);
    for (var row = begin + lane / 8u; row < end; row += 8u) {
        let at = row * q.width + column;
        sum += dy[at] * vec2<f32>((x[at] - row_mean[row]) * row_deviation[row], 1.0);
    }
    of_columns[lane] = sum;
    workgroupBarrier();
    if (lane < 8u && column < q.width) {
        for (var k = lane + 8u; k < 64u; k += 8u) { sum += of_columns[k]; }
        dweight[chunk * q.width + column] = sum.x;
        dbias[chunk * q.width + column] = sum.y;
    }
}

fn sum_columns4(lane: u32, group: u32) {
    let column = group % q.blocks * 8u + lane % 8u;
    let chunk = group / q.blocks;
    let begin = chunk * q.length;
    let end = select(begin, min(begin + q.length, q.rows), column < q.width);
    var products = vec4<f32>(0.0);
    var sum = vec4<f32>(0.0);
    for (var row = begin + lane / 8u; row < end; row += 8u) {
        let at = row * q.width + column;
        let d = dy4[at];
        products += d * ((x4[at] - row_mean[row]) * row_deviation[row]);
        sum += d;
    }
    of_columns4[lane] = products;
    of_columns4[lane + 64u] = sum;
    workgroupBarrier();
    if (lane < 8u && column < q.width) {
        for (var k = lane + 8u; k < 64u; k += 8u) {
            products += of_columns4[k];
            sum += of_columns4[k + 64u];
        }
        dweight4[chunk * q.width + column] = products;
        dbias4[chunk * q.width + column] = sum;
    }
}

// The sums of g and of g n.
fn sums_from(base: u32, row: u32, first: u32, step: u32) -> vec2<f32> {
    let center = row_mean[row];
    let scale = row_deviation[row];
    var sum = vec2<f32>(0.0);
    for (var k = first; k < q.width; k += step) {
        sum += dy[base + k] * weight[k] * vec2<f32>(1.0, (x[base + k] - center) * scale);
    }
    return sum;
}

fn sums4_from(base: u32, row: u32, first: u32, step: u32) -> vec2<f32> {
    let center = row_mean[row];
    let scale = row_deviation[row];
    var sum = vec4<f32>(0.0);
    var products = vec4<f32>(0.0);
    for (var k = first; k < q.width; k += step) {
        let g = dy4[base + k] * weight4[k];
        sum += g;
        products += g * ((x4[base + k] - center) * scale);
    }
    return vec2<f32>(sum4(sum), sum4(products));
}

fn write_dx_from(base: u32, row: u32, means: vec2<f32>, first: u32, step: u32) {
    let center = row_mean[row];
    let scale = row_deviation[row];
    for (var k = first; k < q.width; k += step) {
        let at = base + k;
        let n = (x[at] - center) * scale;
        dx[at] = epilogue(scale * ((dy[at] * weight[k] - means.x) - n * means.y), at, 0u);
    }
}

fn write_dx4_from(base: u32, row: u32, means: vec2<f32>, first: u32, step: u32) {
    let center = row_mean[row];
    let scale = row_deviation[row];
    for (var k = first; k < q.width; k += step) {
        let at = base + k;
        let n = (x4[at] - center) * scale;
        dx4[at] = epilogue4(scale * ((dy4[at] * weight4[k] - means.x) - n * means.y), at, 0u);
    }
}

@compute @workgroup_size(64)
fn layer_norm_backward_rows(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>) {
    let group = linear_workgroup(id, groups);
    let columns = q.blocks * q.chunks;
    if (group < columns) {
        sum_columns(lane, group);
        return;
    }
    let row = (group - columns) * 64u + lane;
    if (row >= q.rows) { return; }
    let means = sums_from(row * q.width, row, 0u, 1u) / f32(q.width);
    write_dx_from(row * q.width, row, means, 0u, 1u);
}

@compute @workgroup_size(64)
fn layer_norm_backward_rows_vec4(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>) {
    let group = linear_workgroup(id, groups);
    let columns = q.blocks * q.chunks;
    if (group < columns) {
        sum_columns4(lane, group);
        return;
    }
    let row = (group - columns) * 64u + lane;
    if (row >= q.rows) { return; }
    let means = sums4_from(row * q.width, row, 0u, 1u) / f32(4u * q.width);
    write_dx4_from(row * q.width, row, means, 0u, 1u);
}

@compute @workgroup_size(64)
fn layer_norm_backward_workgroup(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>) {
    let group = linear_workgroup(id, groups);
    let columns = q.blocks * q.chunks;
    if (group < columns) {
        sum_columns(lane, group);
        return;
    }
    let row = group - columns;
    if (row >= q.rows) { return; }
    let own = sums_from(row * q.width, row, lane, 64u);
    let sum = across_lanes(lane, own.x, false);
    let products = across_lanes(lane, own.y, false);
    write_dx_from(row * q.width, row, vec2<f32>(sum, products) / f32(q.width), lane, 64u);
}

@compute @workgroup_size(64)
fn layer_norm_backward_workgroup_vec4(@builtin(local_invocation_index) lane: u32,
    @builtin(workgroup_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let group = linear_workgroup(id, groups);
    let columns = q.blocks * q.chunks;
    if (group < columns) {
        sum_columns4(lane, group);
        return;
    }
    let row = group - columns;
    if (row >= q.rows) { return; }
    let own = sums4_from(row * q.width, row, lane, 64u);
    let sum = across_lanes(lane, own.x, false);
    let products = across_lanes(lane, own.y, false);
    write_dx4_from(row * q.width, row, vec2<f32>(sum, products) / f32(4u * q.width), lane, 64u);
}
