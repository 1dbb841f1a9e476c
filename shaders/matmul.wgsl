// C = A B, for a batch of matrices.   C[i, j] = sum over k of A[i, k] B[k, j]
//
// A and B are read with strides, so that the same text serves A B, A Bᵀ and Aᵀ B:
//   a[batch a_batch + i a_m + k a_k]    b[batch b_batch + k b_k + j b_n]    c[batch c_batch + i n + j]
//
// matmul_plain is the formula, one output per invocation: to be read, and the baseline of the other kernels. GPUs get
// gpu/matmul_block.wgsl.jinja, software adapters software/matmul_tile.wgsl.jinja.

struct Params {
    m: u32, n: u32, k: u32, batches: u32,
    a_m: u32, a_k: u32, b_k: u32, b_n: u32,
    a_batch: u32, b_batch: u32, c_batch: u32,
}

@group(0) @binding(0) var<storage, read> a: array<f32>;
@group(0) @binding(1) var<storage, read> b: array<f32>;
@group(0) @binding(2) var<storage, read_write> c: array<f32>;
@group(0) @binding(3) var<uniform> p: Params;

@compute @workgroup_size(8)
fn matmul_plain(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let index = linear_index(id, groups, 8u);
    if (index >= p.batches * p.c_batch) { return; }
    let batch = index / p.c_batch;
    let i = (index % p.c_batch) / p.n;
    let j = index % p.n;
    var sum = 0.0;
    for (var k = 0u; k < p.k; k += 1u) {
        sum += a[batch * p.a_batch + i * p.a_m + k * p.a_k] * b[batch * p.b_batch + k * p.b_k + j * p.b_n];
    }
    c[index] = epilogue(sum, index, j);
}
