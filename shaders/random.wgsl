// Random numbers of any shape, drawn anew in every step.   step [1]  out [n]
//
//   random_uniform   uniform in [0, 1), multiples of 2^-24
//   random_normal    standard normal: Box and Muller, 1958. Of each two words the first gives a radius, the second an angle
//
// The random words of elements 4b to 4b + 3 are philox([b, step, stream], seed): the CPU draws the same.

struct Random { vectors: u32, stream: vec2<u32>, seed: vec2<u32> }

@group(0) @binding(0) var<storage, read> random_step: array<u32>;
@group(0) @binding(1) var<storage, read_write> random_out: array<vec4<f32>>;
@group(0) @binding(2) var<uniform> random_params: Random;

fn random_words(i: u32) -> vec4<u32> {
    return philox(vec4<u32>(i, random_step[0], random_params.stream), random_params.seed);
}

// Uniform in [0, 1), a multiple of 2^-24.
fn unit_of(word: u32) -> f32 { return f32(word >> 8u) * 5.9604645e-8; }

// Two independent normal numbers: sqrt(-2 log(1 - u)) times cosine and sine of a uniform angle.
fn normal_pair(word: u32, turn: u32) -> vec2<f32> {
    return sqrt(-2.0 * log1p_of(-unit_of(word))) * cos_sin(signed_unit(turn) * 3.14159265);
}

@compute @workgroup_size(64)
fn random_uniform(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups, 64u);
    if (i >= random_params.vectors) { return; }
    let words = random_words(i);
    random_out[i] = vec4<f32>(unit_of(words.x), unit_of(words.y), unit_of(words.z), unit_of(words.w));
}

@compute @workgroup_size(64)
fn random_normal(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups, 64u);
    if (i >= random_params.vectors) { return; }
    let words = random_words(i);
    random_out[i] = vec4<f32>(normal_pair(words.x, words.y), normal_pair(words.z, words.w));
}
