// Integers to floats, four an invocation.   out[i] = scale f32(in[i])
//
//   cast_bytes    in [n] bytes, four to a word, the first lowest    out [n]
//   cast_words    in [n] words                                      out [n]

struct Cast { vectors: u32, scale: f32 }

@group(0) @binding(0) var<storage, read> cast_in_bytes: array<u32>;
@group(0) @binding(0) var<storage, read> cast_in_words: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read_write> cast_out: array<vec4<f32>>;
@group(0) @binding(2) var<uniform> cast_params: Cast;

@compute @workgroup_size(64)
fn cast_bytes(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups, 64u);
    if (i >= cast_params.vectors) { return; }
    let bytes = (vec4<u32>(cast_in_bytes[i]) >> vec4<u32>(0u, 8u, 16u, 24u)) & vec4<u32>(0xffu);
    cast_out[i] = vec4<f32>(bytes) * cast_params.scale;
}

@compute @workgroup_size(64)
fn cast_words(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups, 64u);
    if (i >= cast_params.vectors) { return; }
    cast_out[i] = vec4<f32>(cast_in_words[i]) * cast_params.scale;
}
