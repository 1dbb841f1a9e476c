// Batch normalization of x [images, channels, spatial] (Ioffe and Szegedy, ICML 2015, algorithm 1): every
// channel over the m = images spatial elements it has.
//
//   mean[c] = 1/m sum x          variance[c] = 1/m sum (x - mean)^2          r = 1 / sqrt(variance + eps)
//   y = (x - mean) r weight + bias
//
// and backward from dy, with n = (x - mean) r:
//
//   dbias = sum dy               dweight = sum dy n
//   dx = weight r (dy - dbias / m - n dweight / m)
//
// Mean and variance come from one reading of x. Each invocation goes over its elements in fours: with b the mean of
// four and M of n elements seen before, and S the sums of squares about them,
//
//   M' = M + (b - M) 4 / (n + 4)          S' = S + S_b + (b - M)^2 4 n / (n + 4)
//
// and invocations are put together alike (Chan, Golub and LeVeque, "Algorithms for computing the sample variance:
// analysis and recommendations", The American Statistician 37, 1983, equations 2.1; by one, Welford, Technometrics 4,
// 1962). Nothing cancels as in sum x^2 - m mean^2; and since all elements are taken less the channel's first, a mean
// that is large beside the spread does no harm; a first element far from all others costs them digits that are small
// beside the spread which it makes. Sums are made by 64 invocations per channel, always in the same order.
// `_vec4` is for a spatial size that four divides; there `spatial` counts vectors. Kernels of single elements give
// `each` neighbours of a channel to one invocation, so that what belongs to the channel is read once for them.

//
// Channels that are too long for an adapter's loops are gone over in chunks of `length`, by a workgroup each. Their moments
// are put together by batch_norm_join, other sums by split_k_sum.

struct BatchNorm { images: u32, channels: u32, spatial: u32, each: u32, eps: f32, length: u32 }

@group(0) @binding(0) var<storage, read> x_in: array<f32>;
@group(0) @binding(0) var<storage, read> x_in4: array<vec4<f32>>;
@group(0) @binding(3) var<uniform> p: BatchNorm;

fn sum4(v: vec4<f32>) -> f32 {
    return (v.x + v.y) + (v.z + v.w);
}

// Image and place in it of the k-th element of a channel; with k = 64, how far invocations go.
fn start(k: u32, q: BatchNorm) -> vec2<u32> {
    return vec2<u32>(k / q.spatial, k % q.spatial);
}

fn onward(at: vec2<u32>, step: vec2<u32>, q: BatchNorm) -> vec2<u32> {
    let next = at + step;
    return select(next, vec2<u32>(next.x + 1u, next.y - q.spatial), next.y >= q.spatial);
}

// Where that element of channel c is.
fn index_of(at: vec2<u32>, c: u32, q: BatchNorm) -> u32 {
    return (at.x * q.channels + c) * q.spatial + at.y;
}

// mean, variance [channels]
@group(0) @binding(1) var<storage, read_write> mean_out: array<f32>;
@group(0) @binding(2) var<storage, read_write> variance_out: array<f32>;
// [chunks, channels, 3]
@group(0) @binding(1) var<storage, read_write> chunk_moments: array<f32>;

// Of the elements `begin` to `end` of channel c: their mean less its first element, the sum of squares about it, and their
// plain sum.
fn moments_of(lane: u32, c: u32, begin: u32, end: u32) -> vec3<f32> {
    let first = x_in[c * p.spatial];
    let step = start(64u, p);
    var at = start(begin + lane, p);
    var n = 0.0;
    var mean = 0.0;
    var squares = 0.0;
    var total = 0.0;
    var k = begin + lane;
    for (; k + 192u < end; k += 256u) {
        let x0 = x_in[index_of(at, c, p)];
        at = onward(at, step, p);
        let x1 = x_in[index_of(at, c, p)];
        at = onward(at, step, p);
        let x2 = x_in[index_of(at, c, p)];
        at = onward(at, step, p);
        let x3 = x_in[index_of(at, c, p)];
        at = onward(at, step, p);
        total += (x0 + x1) + (x2 + x3);
        let v0 = x0 - first;
        let v1 = x1 - first;
        let v2 = x2 - first;
        let v3 = x3 - first;
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
    for (; k < end; k += 64u) {
        let value = x_in[index_of(at, c, p)];
        total += value;
        let delta = value - first - mean;
        at = onward(at, step, p);
        n += 1.0;
        let change = delta / n;
        mean += change;
        squares += delta * (delta - change);
    }
    let sums = sums_across_lanes(lane, vec2<f32>(n * mean, total));
    let center = sums.x / f32(end - begin);
    let d = mean - center;
    return vec3<f32>(center, across_lanes(lane, squares + n * d * d, false), sums.y);
}

@compute @workgroup_size(64)
fn batch_norm_moments(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>) {
    let c = linear_workgroup(group, groups);
    if (c >= p.channels) { return; }
    let m = p.images * p.spatial;
    let found = moments_of(lane, c, 0u, m);
    if (lane == 0u) {
        mean_out[c] = mean_or_infinity(x_in[c * p.spatial] + found.x, found.z, f32(m));
        variance_out[c] = found.y / f32(m);
    }
}

@compute @workgroup_size(64)
fn batch_norm_chunk(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>) {
    let at = linear_workgroup(group, groups);
    let begin = at / p.channels * p.length;
    let m = p.images * p.spatial;
    if (begin >= m) { return; }
    let found = moments_of(lane, at % p.channels, begin, min(begin + p.length, m));
    if (lane == 0u) {
        chunk_moments[3u * at] = found.x;
        chunk_moments[3u * at + 1u] = found.y;
        chunk_moments[3u * at + 2u] = found.z;
    }
}

fn moments_of4(lane: u32, c: u32, begin: u32, end: u32) -> vec3<f32> {
    let first = x_in4[c * p.spatial].x;
    let step = start(64u, p);
    var at = start(begin + lane, p);
    var n = 0.0;
    var mean = vec4<f32>(0.0);
    var squares = vec4<f32>(0.0);
    var total = vec4<f32>(0.0);
    var k = begin + lane;
    for (; k + 192u < end; k += 256u) {
        let x0 = x_in4[index_of(at, c, p)];
        at = onward(at, step, p);
        let x1 = x_in4[index_of(at, c, p)];
        at = onward(at, step, p);
        let x2 = x_in4[index_of(at, c, p)];
        at = onward(at, step, p);
        let x3 = x_in4[index_of(at, c, p)];
        at = onward(at, step, p);
        total += (x0 + x1) + (x2 + x3);
        let v0 = x0 - first;
        let v1 = x1 - first;
        let v2 = x2 - first;
        let v3 = x3 - first;
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
    for (; k < end; k += 64u) {
        let value = x_in4[index_of(at, c, p)];
        total += value;
        let delta = value - first - mean;
        at = onward(at, step, p);
        n += 1.0;
        let change = delta / n;
        mean += change;
        squares += delta * (delta - change);
    }
    // The four components, then all invocations.
    let own = 0.25 * sum4(mean);
    let apart = mean - own;
    let own_squares = sum4(squares + n * apart * apart);
    let sums = sums_across_lanes(lane, vec2<f32>(n * own, sum4(total)));
    let center = sums.x / f32(end - begin);
    let d = own - center;
    return vec3<f32>(center, across_lanes(lane, own_squares + 4.0 * n * d * d, false), sums.y);
}

@compute @workgroup_size(64)
fn batch_norm_moments_vec4(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>) {
    let c = linear_workgroup(group, groups);
    if (c >= p.channels) { return; }
    let m = p.images * p.spatial;
    let found = moments_of4(lane, c, 0u, m);
    if (lane == 0u) {
        mean_out[c] = mean_or_infinity(x_in4[c * p.spatial].x + found.x, found.z, f32(4u * m));
        variance_out[c] = found.y / f32(4u * m);
    }
}

@compute @workgroup_size(64)
fn batch_norm_chunk_vec4(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>) {
    let at = linear_workgroup(group, groups);
    let begin = at / p.channels * p.length;
    let m = p.images * p.spatial;
    if (begin >= m) { return; }
    let found = moments_of4(lane, at % p.channels, begin, min(begin + p.length, m));
    if (lane == 0u) {
        chunk_moments[3u * at] = found.x;
        chunk_moments[3u * at + 1u] = found.y;
        chunk_moments[3u * at + 2u] = found.z;
    }
}

// moments [chunks, channels, 3]; spatial counts elements here, and so does length.
@group(0) @binding(1) var<storage, read> moments: array<f32>;
@group(0) @binding(2) var<storage, read_write> joined_mean: array<f32>;
@group(0) @binding(3) var<storage, read_write> joined_variance: array<f32>;
@group(0) @binding(4) var<uniform> j: BatchNorm;

@compute @workgroup_size(64)
fn batch_norm_join(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let c = linear_index(id, groups, 64u);
    if (c >= j.channels) { return; }
    let m = j.images * j.spatial;
    var mean = 0.0;
    var squares = 0.0;
    var total = 0.0;
    for (var begin = 0u; begin < m; begin += j.length) {
        let at = 3u * (begin / j.length * j.channels + c);
        let count = f32(min(j.length, m - begin));
        let delta = moments[at] - mean;
        let share = count / (f32(begin) + count);
        mean += delta * share;
        squares += moments[at + 1u] + delta * ((f32(begin) * share) * delta);
        total += moments[at + 2u];
    }
    joined_mean[c] = mean_or_infinity(x_in[c * j.spatial] + mean, total, f32(m));
    joined_variance[c] = squares / f32(m);
}

// weight, bias, mean, variance [channels]; y as x
@group(0) @binding(1) var<storage, read> weight: array<f32>;
@group(0) @binding(2) var<storage, read> bias: array<f32>;
@group(0) @binding(3) var<storage, read> apply_mean: array<f32>;
@group(0) @binding(4) var<storage, read> apply_variance: array<f32>;
@group(0) @binding(5) var<storage, read_write> y_out: array<f32>;
@group(0) @binding(5) var<storage, read_write> y_out4: array<vec4<f32>>;
@group(0) @binding(6) var<uniform> a: BatchNorm;

@compute @workgroup_size(64)
fn batch_norm_apply(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups, 64u);
    let blocks = (a.spatial + a.each - 1u) / a.each;
    if (i >= a.images * a.channels * blocks) { return; }
    let plane = i / blocks;
    let c = plane % a.channels;
    let mean = apply_mean[c];
    let scale = weight[c] * inverseSqrt(apply_variance[c] + a.eps);
    let shift = bias[c];
    let begin = i % blocks * a.each;
    let end = plane * a.spatial + min(begin + a.each, a.spatial);
    for (var at = plane * a.spatial + begin; at < end; at += 1u) {
        y_out[at] = epilogue((x_in[at] - mean) * scale + shift, at, 0u);
    }
}

@compute @workgroup_size(64)
fn batch_norm_apply_vec4(@builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups, 64u);
    let blocks = (a.spatial + a.each - 1u) / a.each;
    if (i >= a.images * a.channels * blocks) { return; }
    let plane = i / blocks;
    let c = plane % a.channels;
    let mean = apply_mean[c];
    let scale = weight[c] * inverseSqrt(apply_variance[c] + a.eps);
    let shift = bias[c];
    let begin = i % blocks * a.each;
    let end = plane * a.spatial + min(begin + a.each, a.spatial);
    for (var at = plane * a.spatial + begin; at < end; at += 1u) {
        y_out4[at] = epilogue4((x_in4[at] - mean) * scale + shift, at, 0u);
    }
}

// mean, variance [channels]; dy as x; dweight, dbias [chunks, channels]
@group(0) @binding(1) var<storage, read> sums_mean: array<f32>;
@group(0) @binding(2) var<storage, read> sums_variance: array<f32>;
@group(0) @binding(3) var<storage, read> sums_dy: array<f32>;
@group(0) @binding(3) var<storage, read> sums_dy4: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> dweight_out: array<f32>;
@group(0) @binding(5) var<storage, read_write> dbias_out: array<f32>;
@group(0) @binding(6) var<uniform> s: BatchNorm;

@compute @workgroup_size(64)
fn batch_norm_sums(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>) {
    let to = linear_workgroup(group, groups);
    let c = to % s.channels;
    let begin = to / s.channels * s.length;
    if (begin >= s.images * s.spatial) { return; }
    let end = min(begin + s.length, s.images * s.spatial);
    let center = sums_mean[c];
    let step = start(64u, s);
    var at = start(begin + lane, s);
    var sum = vec2<f32>(0.0);
    for (var k = begin + lane; k < end; k += 64u) {
        let i = index_of(at, c, s);
        at = onward(at, step, s);
        sum += sums_dy[i] * vec2<f32>(1.0, x_in[i] - center);
    }
    let total = across_lanes(lane, sum.x, false);
    let dot = across_lanes(lane, sum.y, false);
    if (lane == 0u) {
        dweight_out[to] = dot * inverseSqrt(sums_variance[c] + s.eps);
        dbias_out[to] = total;
    }
}

@compute @workgroup_size(64)
fn batch_norm_sums_vec4(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>) {
    let to = linear_workgroup(group, groups);
    let c = to % s.channels;
    let begin = to / s.channels * s.length;
    if (begin >= s.images * s.spatial) { return; }
    let end = min(begin + s.length, s.images * s.spatial);
    let center = sums_mean[c];
    var sum = vec4<f32>(0.0);
    let step = start(64u, s);
    var at = start(begin + lane, s);
    var products = vec4<f32>(0.0);
    for (var k = begin + lane; k < end; k += 64u) {
        let i = index_of(at, c, s);
        at = onward(at, step, s);
        let d = sums_dy4[i];
        sum += d;
        products += d * (x_in4[i] - center);
    }
    let total = across_lanes(lane, sum4(sum), false);
    let dot = across_lanes(lane, sum4(products), false);
    if (lane == 0u) {
        dweight_out[to] = dot * inverseSqrt(sums_variance[c] + s.eps);
        dbias_out[to] = total;
    }
}

// weight, mean, variance, dweight, dbias [channels]; dy, dx as x
@group(0) @binding(2) var<storage, read> dx_mean: array<f32>;
@group(0) @binding(3) var<storage, read> dx_variance: array<f32>;
@group(0) @binding(4) var<storage, read> dy: array<f32>;
@group(0) @binding(4) var<storage, read> dy4: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read> dweight: array<f32>;
@group(0) @binding(6) var<storage, read> dbias: array<f32>;
@group(0) @binding(7) var<storage, read_write> dx: array<f32>;
@group(0) @binding(7) var<storage, read_write> dx4: array<vec4<f32>>;
@group(0) @binding(8) var<uniform> b: BatchNorm;

@compute @workgroup_size(64)
fn batch_norm_backward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups, 64u);
    let blocks = (b.spatial + b.each - 1u) / b.each;
    if (i >= b.images * b.channels * blocks) { return; }
    let plane = i / blocks;
    let c = plane % b.channels;
    let r = inverseSqrt(dx_variance[c] + b.eps);
    let share = 1.0 / f32(b.images * b.spatial);
    let mean = dx_mean[c];
    let scale = weight[c] * r;
    let sum_share = dbias[c] * share;
    let dot_share = dweight[c] * share;
    let begin = i % blocks * b.each;
    let end = plane * b.spatial + min(begin + b.each, b.spatial);
    for (var at = plane * b.spatial + begin; at < end; at += 1u) {
        let n = (x_in[at] - mean) * r;
        dx[at] = epilogue(scale * ((dy[at] - sum_share) - n * dot_share), at, 0u);
    }
}

@compute @workgroup_size(64)
fn batch_norm_backward_vec4(@builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups, 64u);
    let blocks = (b.spatial + b.each - 1u) / b.each;
    if (i >= b.images * b.channels * blocks) { return; }
    let plane = i / blocks;
    let c = plane % b.channels;
    let r = inverseSqrt(dx_variance[c] + b.eps);
    let share = 1.0 / f32(4u * b.images * b.spatial);
    let mean = dx_mean[c];
    let scale = weight[c] * r;
    let sum_share = dbias[c] * share;
    let dot_share = dweight[c] * share;
    let begin = i % blocks * b.each;
    let end = plane * b.spatial + min(begin + b.each, b.spatial);
    for (var at = plane * b.spatial + begin; at < end; at += 1u) {
        let n = (x_in4[at] - mean) * r;
        dx4[at] = epilogue4(scale * ((dy4[at] - sum_share) - n * dot_share), at, 0u);
    }
}
