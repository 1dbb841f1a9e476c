// Numbers uniform in [low, low + range].   step [1]  out [n]
//
//   out[i] = low + range u   where u is the upper 24 bits of the random word of element i, over 2^24
//
// The random words of elements 4b to 4b + 3 are philox([b, step, stream], seed): the CPU draws the same.

struct RandomUniform { vectors: u32, low: f32, range: f32, stream: vec2<u32>, seed: vec2<u32> }

@group(0) @binding(0) var<storage, read> uniform_step: array<u32>;
@group(0) @binding(1) var<storage, read_write> uniform_out: array<vec4<f32>>;
@group(0) @binding(2) var<uniform> uniform_params: RandomUniform;

@compute @workgroup_size(64)
fn random_uniform(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups, 64u);
    if (i >= uniform_params.vectors) { return; }
    let words = philox(vec4<u32>(i, uniform_step[0], uniform_params.stream), uniform_params.seed);
    let u = vec4<f32>(words >> vec4<u32>(8u)) * 5.9604644775390625e-8;
    uniform_out[i] = uniform_params.low + uniform_params.range * u;
}
