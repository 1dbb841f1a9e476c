// Where each row has its largest element; the first place, if there are several:
//
//   out[i] = min { k : in[i, k] = max_j in[i, j] }      in [rows, columns], out [rows]
//
//   argmax_rows        one invocation per row
//   argmax_workgroup   64 invocations per row

struct Rows { rows: u32, columns: u32 }

struct Place { value: f32, index: u32 }

@group(0) @binding(0) var<storage, read> elements: array<f32>;
@group(0) @binding(1) var<storage, read_write> places: array<u32>;
@group(0) @binding(2) var<uniform> p: Rows;

// The place of the largest element of a row among `first`, `first + step`, ...
fn place_from(row: u32, first: u32, step: u32) -> Place {
    let base = row * p.columns;
    var best = Place(elements[base + first], first);
    for (var k = first + step; k < p.columns; k += step) {
        let value = elements[base + k];
        if (value > best.value) { best = Place(value, k); }
    }
    return best;
}

@compute @workgroup_size(64)
fn argmax_rows(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let row = linear_index(id, groups, 64u);
    if (row >= p.rows) { return; }
    places[row] = place_from(row, 0u, 1u).index;
}

var<workgroup> found: array<Place, 64>;

@compute @workgroup_size(64)
fn argmax_workgroup(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>) {
    let row = linear_workgroup(group, groups);
    if (row >= p.rows) { return; }
    // An invocation beyond a short row repeats its last element, which changes nothing.
    found[lane] = place_from(row, min(lane, p.columns - 1u), 64u);
    workgroupBarrier();
    for (var span = 32u; span > 0u; span /= 2u) {
        if (lane < span) {
            let a = found[lane];
            let b = found[lane + span];
            if (b.value > a.value || (b.value == a.value && b.index < a.index)) { found[lane] = b; }
        }
        workgroupBarrier();
    }
    if (lane == 0u) { places[row] = found[0].index; }
}
