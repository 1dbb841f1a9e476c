// Inverted dropout: Srivastava et al., JMLR 2014, section 10.   x [n]  step [1]  out [n]
//
//   out[i] = x[i] scale  where the random word of element i is at least `threshold`, else 0
//
// The random words of elements 4b to 4b + 3 are philox([b, step, stream], seed): the CPU draws the same.
// The backward pass is the same kernel, applied to the cotangent with the same step.

struct Dropout { vectors: u32, threshold: u32, scale: f32, stream: vec2<u32>, seed: vec2<u32> }

@group(0) @binding(0) var<storage, read> dropout_x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> dropout_step: array<u32>;
@group(0) @binding(2) var<storage, read_write> dropout_out: array<vec4<f32>>;
@group(0) @binding(3) var<uniform> drop_params: Dropout;

@compute @workgroup_size(64)
fn dropout(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups, 64u);
    if (i >= drop_params.vectors) { return; }
    let words = philox(vec4<u32>(i, dropout_step[0], drop_params.stream), drop_params.seed);
    let keep = words >= vec4<u32>(drop_params.threshold);
    dropout_out[i] = select(vec4<f32>(0.0), dropout_x[i] * drop_params.scale, keep);
}
