// The state of an LSTM's cells before the first time, where all times find it.
//
//   recurrent_begin    cells[i] = c[i]    c [batch, hidden]    cells [times + 1, batch, hidden]

struct Begin { size: u32 }

@group(0) @binding(0) var<storage, read> c: array<f32>;
@group(0) @binding(1) var<storage, read_write> cells: array<f32>;
@group(0) @binding(2) var<uniform> p: Begin;

@compute @workgroup_size(64)
fn recurrent_begin(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups, 64u);
    if (i < p.size) { cells[i] = c[i]; }
}
