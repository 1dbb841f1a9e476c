// Running sums and averages in states, such as the loss of an epoch.
//
//   accumulate   sum = keep sum + factor x        x, sum [n]; four elements an invocation

struct Accumulate { vectors: u32, keep: f32, factor: f32 }

@group(0) @binding(0) var<storage, read> accumulate_x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> accumulate_sum: array<vec4<f32>>;
@group(0) @binding(2) var<uniform> accumulated: Accumulate;

@compute @workgroup_size(64)
fn accumulate(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups, 64u);
    if (i >= accumulated.vectors) { return; }
    accumulate_sum[i] = accumulated.keep * accumulate_sum[i] + accumulated.factor * accumulate_x[i];
}
