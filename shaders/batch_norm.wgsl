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
// The variance is a second pass over x - mean: sum x^2 - m mean^2 would cancel. Sums are made by 64
// invocations per channel, always in the same order. `_vec4` is for a spatial size that four divides; there
// `spatial` counts vectors.

struct BatchNorm { images: u32, channels: u32, spatial: u32, eps: f32 }

@group(0) @binding(0) var<storage, read> x_in: array<f32>;
@group(0) @binding(0) var<storage, read> x_in4: array<vec4<f32>>;
@group(0) @binding(3) var<uniform> p: BatchNorm;

fn sum4(v: vec4<f32>) -> f32 {
    return (v.x + v.y) + (v.z + v.w);
}

// Where the k-th element of channel c is.
fn element(k: u32, c: u32, q: BatchNorm) -> u32 {
    return (k / q.spatial * q.channels + c) * q.spatial + k % q.spatial;
}

// mean, variance [channels]
@group(0) @binding(1) var<storage, read_write> mean_out: array<f32>;
@group(0) @binding(2) var<storage, read_write> variance_out: array<f32>;

@compute @workgroup_size(64)
fn batch_norm_moments(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>) {
    let c = linear_workgroup(group, groups);
    if (c >= p.channels) { return; }
    let m = p.images * p.spatial;
    var sum = 0.0;
    for (var k = lane; k < m; k += 64u) { sum += x_in[element(k, c, p)]; }
    let mean = across_lanes(lane, sum, false) / f32(m);
    var squares = 0.0;
    for (var k = lane; k < m; k += 64u) {
        let d = x_in[element(k, c, p)] - mean;
        squares += d * d;
    }
    let variance = across_lanes(lane, squares, false) / f32(m);
    if (lane == 0u) {
        mean_out[c] = mean;
        variance_out[c] = variance;
    }
}

@compute @workgroup_size(64)
fn batch_norm_moments_vec4(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>) {
    let c = linear_workgroup(group, groups);
    if (c >= p.channels) { return; }
    let m = p.images * p.spatial;
    var sum = vec4<f32>(0.0);
    for (var k = lane; k < m; k += 64u) { sum += x_in4[element(k, c, p)]; }
    let mean = across_lanes(lane, sum4(sum), false) / f32(4u * m);
    var squares = vec4<f32>(0.0);
    for (var k = lane; k < m; k += 64u) {
        let d = x_in4[element(k, c, p)] - mean;
        squares += d * d;
    }
    let variance = across_lanes(lane, sum4(squares), false) / f32(4u * m);
    if (lane == 0u) {
        mean_out[c] = mean;
        variance_out[c] = variance;
    }
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
    if (i >= a.images * a.channels * a.spatial) { return; }
    let c = i / a.spatial % a.channels;
    let scale = weight[c] * inverseSqrt(apply_variance[c] + a.eps);
    y_out[i] = (x_in[i] - apply_mean[c]) * scale + bias[c];
}

@compute @workgroup_size(64)
fn batch_norm_apply_vec4(@builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups, 64u);
    if (i >= a.images * a.channels * a.spatial) { return; }
    let c = i / a.spatial % a.channels;
    let scale = weight[c] * inverseSqrt(apply_variance[c] + a.eps);
    y_out4[i] = (x_in4[i] - apply_mean[c]) * scale + bias[c];
}

// mean, variance [channels]; dy as x; dweight, dbias [channels]
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
    let c = linear_workgroup(group, groups);
    if (c >= s.channels) { return; }
    let m = s.images * s.spatial;
    let center = sums_mean[c];
    var sum = vec2<f32>(0.0);
    for (var k = lane; k < m; k += 64u) {
        let i = element(k, c, s);
        sum += sums_dy[i] * vec2<f32>(1.0, x_in[i] - center);
    }
    let total = across_lanes(lane, sum.x, false);
    let dot = across_lanes(lane, sum.y, false);
    if (lane == 0u) {
        dweight_out[c] = dot * inverseSqrt(sums_variance[c] + s.eps);
        dbias_out[c] = total;
    }
}

@compute @workgroup_size(64)
fn batch_norm_sums_vec4(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>) {
    let c = linear_workgroup(group, groups);
    if (c >= s.channels) { return; }
    let m = s.images * s.spatial;
    let center = sums_mean[c];
    var sum = vec4<f32>(0.0);
    var products = vec4<f32>(0.0);
    for (var k = lane; k < m; k += 64u) {
        let i = element(k, c, s);
        let d = sums_dy4[i];
        sum += d;
        products += d * (x_in4[i] - center);
    }
    let total = across_lanes(lane, sum4(sum), false);
    let dot = across_lanes(lane, sum4(products), false);
    if (lane == 0u) {
        dweight_out[c] = dot * inverseSqrt(sums_variance[c] + s.eps);
        dbias_out[c] = total;
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
    if (i >= b.images * b.channels * b.spatial) { return; }
    let c = i / b.spatial % b.channels;
    let r = inverseSqrt(dx_variance[c] + b.eps);
    let share = 1.0 / f32(b.images * b.spatial);
    let n = (x_in[i] - dx_mean[c]) * r;
    dx[i] = weight[c] * r * ((dy[i] - dbias[c] * share) - n * (dweight[c] * share));
}

@compute @workgroup_size(64)
fn batch_norm_backward_vec4(@builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups, 64u);
    if (i >= b.images * b.channels * b.spatial) { return; }
    let c = i / b.spatial % b.channels;
    let r = inverseSqrt(dx_variance[c] + b.eps);
    let share = 1.0 / f32(4u * b.images * b.spatial);
    let n = (x_in4[i] - dx_mean[c]) * r;
    dx4[i] = weight[c] * r * ((dy4[i] - dbias[c] * share) - n * (dweight[c] * share));
}
