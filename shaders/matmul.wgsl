// C = A B, for a batch of matrices.   C[i, j] = sum over k of A[i, k] B[k, j]
//
// A and B are read with strides, so that the same text serves A B, A Bᵀ and Aᵀ B:
//   a[batch a_batch + i a_m + k a_k]    b[batch b_batch + k b_k + j b_n]    c[batch c_batch + i n + j]
//
// matmul_plain is the formula, one output per invocation: to be read, and the yardstick of the rest.
// matmul_tiled is how GPUs like it: 64 x 64 outputs per workgroup through workgroup memory, 4 x 4 per invocation. What they
// get is gpu/matmul_block.wgsl.jinja: the same with vector loads, in several sizes, and the next step's loads under way.
// Software adapters get register tiles, software/matmul_tile.wgsl.jinja.

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
    c[index] = finish(sum, index, j);
}

const TILE: u32 = 64u;
const DEPTH: u32 = 16u;
// One more column, so that lanes which walk down a column hit different banks.
const PITCH: u32 = 65u;

var<workgroup> a_tile: array<f32, 1040>;  // DEPTH x PITCH, [k][row]
var<workgroup> b_tile: array<f32, 1040>;  // DEPTH x PITCH, [k][column]

@compute @workgroup_size(16, 16)
fn matmul_tiled(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let tiles_n = (p.n + TILE - 1u) / TILE;
    let tiles_m = (p.m + TILE - 1u) / TILE;
    let id = linear_workgroup(group, groups);
    let batch = id / (tiles_n * tiles_m);
    let row0 = (id / tiles_n % tiles_m) * TILE;
    let col0 = (id % tiles_n) * TILE;
    var sum: array<vec4<f32>, 4>;
    for (var k0 = 0u; k0 < p.k; k0 += DEPTH) {
        // 256 invocations load 16 x 64 elements of each matrix; along the axis that is contiguous.
        for (var part = 0u; part < 4u; part += 1u) {
            let e = part * 256u + thread;
            let a_down = select(e / DEPTH, e % TILE, p.a_m == 1u);
            let a_across = select(e % DEPTH, e / TILE, p.a_m == 1u);
            let inside_a = row0 + a_down < p.m && k0 + a_across < p.k;
            let at_a = batch * p.a_batch + min(row0 + a_down, p.m - 1u) * p.a_m + min(k0 + a_across, p.k - 1u) * p.a_k;
            a_tile[a_across * PITCH + a_down] = select(0.0, a[at_a], inside_a);
            let b_down = select(e % DEPTH, e / TILE, p.b_n == 1u);
            let b_across = select(e / DEPTH, e % TILE, p.b_n == 1u);
            let inside_b = k0 + b_down < p.k && col0 + b_across < p.n;
            let at_b = batch * p.b_batch + min(k0 + b_down, p.k - 1u) * p.b_k + min(col0 + b_across, p.n - 1u) * p.b_n;
            b_tile[b_down * PITCH + b_across] = select(0.0, b[at_b], inside_b);
        }
        workgroupBarrier();
        for (var k = 0u; k < DEPTH; k += 1u) {
            let column = k * PITCH + local.x;
            let bv = vec4<f32>(b_tile[column], b_tile[column + 16u], b_tile[column + 32u], b_tile[column + 48u]);
            for (var i = 0u; i < 4u; i += 1u) {
                sum[i] = fma(vec4<f32>(a_tile[k * PITCH + local.y + 16u * i]), bv, sum[i]);
            }
        }
        workgroupBarrier();
    }
    for (var i = 0u; i < 4u; i += 1u) {
        let row = row0 + local.y + 16u * i;
        for (var j = 0u; j < 4u; j += 1u) {
            let col = col0 + local.x + 16u * j;
            let inside = row < p.m && col < p.n && batch < p.batches;
            let at = batch * p.c_batch + row * p.n + col;
            if (inside) { c[at] = finish(sum[i][j], at, col); }
        }
    }
}
