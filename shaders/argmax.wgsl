// Where each row has its largest element; the first index, if there are several, or the first NaN:
//
//   out[i] = min { k : in[i, k] = max_j in[i, j] }      in [rows, columns], out [rows]
//
//   argmax_rows        one invocation per row
//   argmax_workgroup   64 invocations per row
//
// Rows that are too long are cut in pieces of `length` columns, for each of which an index is found; `argmax_join` finds
// the row's among them.

struct Rows { rows: u32, columns: u32, pieces: u32, length: u32 }

struct Candidate { value: f32, index: u32 }

@group(0) @binding(0) var<storage, read> elements: array<f32>;
@group(0) @binding(1) var<storage, read_write> indices: array<u32>;
@group(0) @binding(2) var<uniform> p: Rows;

// The index of the largest element of a piece among its columns `offset`, `offset + step`, ...; one that is not there is
// the last, which changes nothing.
fn largest_from(piece: u32, offset: u32, step: u32) -> Candidate {
    let base = piece / p.pieces * p.columns;
    let begin = piece % p.pieces * p.length;
    let end = min(begin + p.length, p.columns);
    let first = min(begin + offset, end - 1u);
    var best = Candidate(elements[base + first], first);
    for (var k = first + step; k < end; k += step) {
        let value = elements[base + k];
        if (beats(value, best.value)) { best = Candidate(value, k); }
    }
    return best;
}

@compute @workgroup_size(64)
fn argmax_rows(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let piece = linear_index(id, groups, 64u);
    if (piece >= p.rows * p.pieces) { return; }
    indices[piece] = largest_from(piece, 0u, 1u).index;
}

var<workgroup> found: array<Candidate, 64>;

@compute @workgroup_size(64)
fn argmax_workgroup(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>) {
    let piece = linear_workgroup(group, groups);
    if (piece >= p.rows * p.pieces) { return; }
    found[lane] = largest_from(piece, lane, 64u);
    workgroupBarrier();
    for (var span = 32u; span > 0u; span /= 2u) {
        if (lane < span) {
            let a = found[lane];
            let b = found[lane + span];
            let is_tie = !beats(a.value, b.value) && b.index < a.index;
            if (beats(b.value, a.value) || is_tie) { found[lane] = b; }
        }
        workgroupBarrier();
    }
    if (lane == 0u) { indices[piece] = found[0].index; }
}

@group(0) @binding(1) var<storage, read> places_of_pieces: array<u32>;
@group(0) @binding(2) var<storage, read_write> places_of_rows: array<u32>;
@group(0) @binding(3) var<uniform> q: Rows;

@compute @workgroup_size(64)
fn argmax_join(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let row = linear_index(id, groups, 64u);
    if (row >= q.rows) { return; }
    let first = row * q.pieces;
    var at = places_of_pieces[first];
    var largest = elements[row * q.columns + at];
    for (var piece = 1u; piece < q.pieces; piece += 1u) {
        let k = places_of_pieces[first + piece];
        let value = elements[row * q.columns + k];
        if (beats(value, largest)) {
            largest = value;
            at = k;
        }
    }
    places_of_rows[row] = at;
}
