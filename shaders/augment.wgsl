// Random affine transformations of images, drawn anew in every step.
//
//   random_affine   matrix [n, 6] = (a, b, tx, c, d, ty) for each image i, from the words of
//                   philox([i, step, stream], seed): a shift of whole pixels up to `shift` both ways, a rotation by
//                   up to `angle` radians and a scaling by 1 ± `scale`
//   affine_sample   y[i, c, v, u] = x[i, c] at (a u' + b v' + tx, c u' + d v' + ty), where u', v' are counted from
//                   the middle of the image; between pixels bilinear, 0 outside. x, y [n, c, h, w]
//
// Integers are drawn as the CPU draws them.

struct RandomAffine { images: u32, shift: u32, angle: f32, scale: f32, stream: vec2<u32>, seed: vec2<u32> }

@group(0) @binding(0) var<storage, read> affine_step: array<u32>;
@group(0) @binding(1) var<storage, read_write> matrices_out: array<f32>;
@group(0) @binding(2) var<uniform> r: RandomAffine;

@compute @workgroup_size(64)
fn random_affine(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups, 64u);
    if (i >= r.images) { return; }
    let words = philox(vec4<u32>(i, affine_step[0], r.stream), r.seed);
    let range = 2u * r.shift + 1u;
    let tx = i32(multiply_high(words.x, range)) - i32(r.shift);
    let ty = i32(multiply_high(words.y, range)) - i32(r.shift);
    let turn = cos_sin(signed_unit(words.z) * r.angle) / (1.0 + signed_unit(words.w) * r.scale);
    matrices_out[6u * i] = turn.x;
    matrices_out[6u * i + 1u] = -turn.y;
    matrices_out[6u * i + 2u] = f32(tx);
    matrices_out[6u * i + 3u] = turn.y;
    matrices_out[6u * i + 4u] = turn.x;
    matrices_out[6u * i + 5u] = f32(ty);
}

struct AffineSample { elements: u32, channels: u32, height: u32, width: u32 }

@group(0) @binding(0) var<storage, read> image_in: array<f32>;
@group(0) @binding(1) var<storage, read> matrices: array<f32>;
@group(0) @binding(2) var<storage, read_write> sampled: array<f32>;
@group(0) @binding(3) var<uniform> p: AffineSample;

// A pixel of the plane that starts at `plane`, or 0 outside.
fn pixel(plane: u32, v: i32, u: i32) -> f32 {
    if (v < 0 || u < 0 || v >= i32(p.height) || u >= i32(p.width)) { return 0.0; }
    return image_in[plane + u32(v) * p.width + u32(u)];
}

@compute @workgroup_size(64)
fn affine_sample(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups, 64u);
    if (i >= p.elements) { return; }
    let size = p.height * p.width;
    let at = 6u * (i / size / p.channels);
    let middle = vec2<f32>(0.5 * f32(p.width - 1u), 0.5 * f32(p.height - 1u));
    let from_middle = vec2<f32>(f32(i % p.width), f32(i / p.width % p.height)) - middle;
    let x = matrices[at] * from_middle.x + matrices[at + 1u] * from_middle.y + matrices[at + 2u] + middle.x;
    let y = matrices[at + 3u] * from_middle.x + matrices[at + 4u] * from_middle.y + matrices[at + 5u] + middle.y;
    // One pixel outside everything is 0; far outside, an integer could not hold the coordinate.
    let point = clamp(vec2<f32>(x, y), vec2<f32>(-1.0), vec2<f32>(f32(p.width), f32(p.height)));
    let low = floor(point);
    let fraction = point - low;
    let u = i32(low.x);
    let v = i32(low.y);
    let plane = i / size * size;
    let above = pixel(plane, v, u) * (1.0 - fraction.x) + pixel(plane, v, u + 1) * fraction.x;
    let below = pixel(plane, v + 1, u) * (1.0 - fraction.x) + pixel(plane, v + 1, u + 1) * fraction.x;
    sampled[i] = above * (1.0 - fraction.y) + below * fraction.y;
}
