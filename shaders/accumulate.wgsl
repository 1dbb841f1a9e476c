// New values of states: running sums and averages, such as the loss of an epoch, and what other ops computed.
//
//   accumulate   sum = keep sum + factor x        x, sum [n]; four elements an invocation
//   assign       state = x                        x, state [n]; four elements an invocation
//
// With `only_finite` an element stays as it is where that of x is infinite or NaN.

struct Accumulate { vectors: u32, keep: f32, factor: f32, only_finite: u32 }

@group(0) @binding(0) var<storage, read> accumulate_x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> accumulate_sum: array<vec4<f32>>;
@group(0) @binding(2) var<uniform> accumulated: Accumulate;

@compute @workgroup_size(64)
fn accumulate(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups, 64u);
    if (i >= accumulated.vectors) { return; }
    let x = accumulate_x[i];
    let sum = accumulate_sum[i];
    let is_broken = (bitcast<vec4<u32>>(x) & vec4<u32>(0x7f800000u)) == vec4<u32>(0x7f800000u);
    let stays = is_broken & vec4<bool>(accumulated.only_finite != 0u);
    accumulate_sum[i] = select(accumulated.keep * sum + accumulated.factor * x, sum, stays);
}

struct Assigned { vectors: u32, pad0: u32, pad1: u32, pad2: u32 }

@group(0) @binding(0) var<storage, read> assign_x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> assign_state: array<vec4<f32>>;
@group(0) @binding(2) var<uniform> assigned: Assigned;

@compute @workgroup_size(64)
fn assign(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups, 64u);
    if (i >= assigned.vectors) { return; }
    assign_state[i] = assign_x[i];
}
