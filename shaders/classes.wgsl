// Ops that use classes and row numbers. A number out of range reads nothing: it gives NaN, or 0 where
// the elements are integers. Elements are words wherever they only move.
//
//   one_hot           out[i, c] = 1 where index[i] = c, else 0       index [n]      out [n, classes]
//   pick              out[i] = x[i, index[i]]                        x [n, classes]  index [n]  out [n]
//   take_rows         out[i, :] = table[index[i], :]                 table [rows, row]  index [n]  out [n, row]
//   take_rows_vec4    the same, four words an invocation             row counts vec4s
//   take_rows_bytes   the same for bytes, four to a word; a word of the result is made of four bytes
//   scatter_rows      out[r, :] = sum of x[i, :] over i with index[i] = r, in order of i; 0 in the row `without`
//                                                                    index [n]  x [n, row]  out [rows, row]
//   scatter_rows_vec4 the same, four elements an invocation          row counts vec4s
//   batch_rows        out[i] = order[(counter batch + i) mod n]      order [n]  counter [1]  out [batch]
//   count_equal       sum = sum + number of i with a[i] = b[i]       a, b [n]  sum []
//   advance           counter = (counter + 1) mod modulus            counter [1]; modulus 0 stands for 2^32

const NAN_BITS: u32 = 0x7fc00000u;
const ONE_BITS: u32 = 0x3f800000u;

// `elements` of the result.
struct Classes { elements: u32, classes: u32 }

@group(0) @binding(0) var<storage, read> hot_index: array<u32>;
@group(0) @binding(1) var<storage, read_write> hot_out: array<u32>;
@group(0) @binding(2) var<uniform> hot: Classes;

@compute @workgroup_size(64)
fn one_hot(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups, 64u);
    if (i >= hot.elements) { return; }
    let class_of_row = hot_index[i / hot.classes];
    let bits = select(0u, ONE_BITS, class_of_row == i % hot.classes);
    hot_out[i] = select(NAN_BITS, bits, class_of_row < hot.classes);
}

@group(0) @binding(0) var<storage, read> pick_x: array<u32>;
@group(0) @binding(1) var<storage, read> pick_index: array<u32>;
@group(0) @binding(2) var<storage, read_write> pick_out: array<u32>;
@group(0) @binding(3) var<uniform> picked: Classes;

@compute @workgroup_size(64)
fn pick(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups, 64u);
    if (i >= picked.elements) { return; }
    let class_of_row = pick_index[i];
    var bits = NAN_BITS;
    if (class_of_row < picked.classes) { bits = pick_x[i * picked.classes + class_of_row]; }
    pick_out[i] = bits;
}

// `elements` of the result and `row` elements a row, in the unit of the kernel (word, vec4 or byte);
// `rows` of the table; `missing` is what stands for a row that is not there.
struct Rows { elements: u32, row: u32, rows: u32, missing: u32 }

@group(0) @binding(0) var<storage, read> table_words: array<u32>;
@group(0) @binding(0) var<storage, read> table_vec4: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read> row_index: array<u32>;
@group(0) @binding(2) var<storage, read_write> taken_words: array<u32>;
@group(0) @binding(2) var<storage, read_write> taken_vec4: array<vec4<u32>>;
@group(0) @binding(3) var<uniform> take: Rows;

@compute @workgroup_size(64)
fn take_rows(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups, 64u);
    if (i >= take.elements) { return; }
    let r = row_index[i / take.row];
    var word = take.missing;
    if (r < take.rows) { word = table_words[r * take.row + i % take.row]; }
    taken_words[i] = word;
}

@compute @workgroup_size(64)
fn take_rows_vec4(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups, 64u);
    if (i >= take.elements) { return; }
    let r = row_index[i / take.row];
    var words = vec4<u32>(take.missing);
    if (r < take.rows) { words = table_vec4[r * take.row + i % take.row]; }
    taken_vec4[i] = words;
}

// Byte `at` of the result; 0 past its end.
fn taken_byte(at: u32) -> u32 {
    if (at >= take.elements) { return 0u; }
    let r = row_index[at / take.row];
    if (r >= take.rows) { return 0u; }
    let from_byte = r * take.row + at % take.row;
    return (table_words[from_byte / 4u] >> (8u * (from_byte % 4u))) & 0xffu;
}

@compute @workgroup_size(64)
fn take_rows_bytes(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups, 64u);
    let at = 4u * i;
    if (at >= take.elements) { return; }
    taken_words[i] = taken_byte(at) | (taken_byte(at + 1u) << 8u) | (taken_byte(at + 2u) << 16u)
        | (taken_byte(at + 3u) << 24u);
}

// `elements` of the result, `row` elements a row; the indices `first` to `end`: where there are many, several launches
// go on one after the other, so that the order of a sum stays as it is. Where there are very many, `scatter.wgsl` has more.
struct Scatter { elements: u32, row: u32, without: u32, first: u32, end: u32 }

@group(0) @binding(0) var<storage, read> scatter_index: array<u32>;
@group(0) @binding(1) var<storage, read> scatter_x: array<f32>;
@group(0) @binding(1) var<storage, read> scatter_x_vec4: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> scatter_out: array<f32>;
@group(0) @binding(2) var<storage, read_write> scatter_out_vec4: array<vec4<f32>>;
@group(0) @binding(3) var<uniform> scatter: Scatter;

@compute @workgroup_size(64)
fn scatter_rows(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups, 64u);
    if (i >= scatter.elements) { return; }
    let r = i / scatter.row;
    var at = scatter.first * scatter.row + i % scatter.row;
    var sum = 0.0;
    if (scatter.first > 0u) { sum = scatter_out[i]; }
    let end = select(scatter.end, 0u, r == scatter.without);
    for (var j = scatter.first; j < end; j += 1u) {
        if (scatter_index[j] == r) { sum += scatter_x[at]; }
        at += scatter.row;
    }
    scatter_out[i] = sum;
}

@compute @workgroup_size(64)
fn scatter_rows_vec4(@builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups, 64u);
    if (i >= scatter.elements) { return; }
    let r = i / scatter.row;
    var at = scatter.first * scatter.row + i % scatter.row;
    var sum = vec4<f32>(0.0);
    if (scatter.first > 0u) { sum = scatter_out_vec4[i]; }
    let end = select(scatter.end, 0u, r == scatter.without);
    for (var j = scatter.first; j < end; j += 1u) {
        if (scatter_index[j] == r) { sum += scatter_x_vec4[at]; }
        at += scatter.row;
    }
    scatter_out_vec4[i] = sum;
}

// A window of `batch` rows of an order of `rows`.
struct Window { batch: u32, rows: u32 }

@group(0) @binding(0) var<storage, read> window_order: array<u32>;
@group(0) @binding(1) var<storage, read> window_counter: array<u32>;
@group(0) @binding(2) var<storage, read_write> window_out: array<u32>;
@group(0) @binding(3) var<uniform> window: Window;

@compute @workgroup_size(64)
fn batch_rows(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups, 64u);
    if (i >= window.batch) { return; }
    window_out[i] = window_order[(window_counter[0] * window.batch + i) % window.rows];
}

struct Cycle { modulus: u32 }

@group(0) @binding(0) var<storage, read_write> cycle_counter: array<u32>;
@group(0) @binding(1) var<uniform> cycle: Cycle;

@compute @workgroup_size(1)
fn advance() {
    let next = cycle_counter[0] + 1u;
    cycle_counter[0] = select(next % max(cycle.modulus, 1u), next, cycle.modulus == 0u);
}

// The elements `first` to `end`: what is long is counted by several launches, one after the other.
struct Count { first: u32, end: u32 }

@group(0) @binding(0) var<storage, read> count_a: array<u32>;
@group(0) @binding(1) var<storage, read> count_b: array<u32>;
@group(0) @binding(2) var<storage, read_write> count_sum: array<f32>;
@group(0) @binding(3) var<uniform> counted: Count;

var<workgroup> counts: array<u32, 64>;

@compute @workgroup_size(64)
fn count_equal(@builtin(local_invocation_index) lane: u32) {
    var count = 0u;
    for (var i = counted.first + lane; i < counted.end; i += 64u) {
        count += select(0u, 1u, count_a[i] == count_b[i]);
    }
    counts[lane] = count;
    workgroupBarrier();
    if (lane == 0u) {
        var sum = 0u;
        for (var i = 0u; i < 64u; i += 1u) { sum += counts[i]; }
        count_sum[0] += f32(sum);
    }
}
