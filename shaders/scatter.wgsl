// Sums of rows that have the same number, where there are many: the numbers are sorted with their positions, so that each row
// of the result reads its own alone. Sorting is stable, so that every sum has the order of positions, and the bits of
// `scatter_rows`.
//
//   scatter_sort         blocks of `run` pairs (index[i], i), each sorted          index [n]  out [n] pairs
//   scatter_merge        `ways` sorted runs of `run` pairs become one              pairs [n]  out [n] pairs
//   scatter_starts       out[r] = the number of pairs whose number is below r      pairs [n]  out [rows + 1]
//   scatter_segments     out[r, :] = sum of x[i, :] over the pairs (r, i)          pairs [n]  starts [rows + 1]  x [n, row]  out [rows, row]
//   scatter_segments_vec4  the same, four elements an invocation                   row counts vec4s
//
// Each invocation finds the place of one pair: how many come before it in its block, or, by binary search, in each of the other
// runs. No two of them write to one place, and a number out of range counts as `rows`, which no row of the result asks for.

// `count` pairs, in runs of `run`, a power of two.
struct Sort { count: u32, rows: u32, run: u32, ways: u32 }

@group(0) @binding(0) var<storage, read> sort_index: array<u32>;
@group(0) @binding(0) var<storage, read> sorted: array<vec2<u32>>;
@group(0) @binding(1) var<storage, read_write> sort_out: array<vec2<u32>>;
@group(0) @binding(1) var<storage, read_write> starts_out: array<u32>;
@group(0) @binding(2) var<uniform> sort: Sort;

@compute @workgroup_size(64)
fn scatter_sort(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups, 64u);
    if (i >= sort.count) { return; }
    let number = min(sort_index[i], sort.rows);
    let first = i - i % sort.run;
    let end = min(first + sort.run, sort.count);
    var place = first;
    for (var j = first; j < end; j += 1u) {
        let other = min(sort_index[j], sort.rows);
        place += select(0u, 1u, (other < number) | ((other == number) & (j < i)));
    }
    sort_out[place] = vec2<u32>(number, i);
}

// How many of the pairs `first` to `end` have a number below `number`; `most`, a power of two, is above half of how many
// there are.
fn pairs_below(first: u32, end: u32, number: u32, most: u32) -> u32 {
    var found = first;
    for (var step = most; step > 0u; step /= 2u) {
        let next = found + step;
        // Beyond the end the last is read, and not taken.
        let is_below = sorted[min(next, sort.count) - 1u].x < number;
        found = select(found, next, (next <= end) & is_below);
    }
    return found - min(first, found);
}

@compute @workgroup_size(64)
fn scatter_merge(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups, 64u);
    if (i >= sort.count) { return; }
    let pair = sorted[i];
    let together = sort.run * sort.ways;
    let begin = i - i % together;
    var place = begin;
    for (var way = 0u; way < sort.ways; way += 1u) {
        let first = min(begin + way * sort.run, sort.count);
        let end = min(first + sort.run, sort.count);
        // Of equal numbers, those of runs before come first; of its own run, those before it.
        let limit = select(pair.x, pair.x + 1u, end <= i);
        let others = pairs_below(first, end, limit, sort.run);
        place += select(others, i - first, (first <= i) & (i < end));
    }
    sort_out[place] = pair;
}

@compute @workgroup_size(64)
fn scatter_starts(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let r = linear_index(id, groups, 64u);
    if (r > sort.rows) { return; }
    starts_out[r] = pairs_below(0u, sort.count, r, sort.run);
}

// `elements` of the result, `row` elements a row; `without` is a row that stays 0. Of each row's pairs those from the `first` on,
// `most` of them: where there are many, several launches go on one after the other.
struct Segments { elements: u32, row: u32, without: u32, first: u32, most: u32 }

@group(0) @binding(1) var<storage, read> segment_starts: array<u32>;
@group(0) @binding(2) var<storage, read> segment_x: array<f32>;
@group(0) @binding(2) var<storage, read> segment_x_vec4: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> segment_out: array<f32>;
@group(0) @binding(3) var<storage, read_write> segment_out_vec4: array<vec4<f32>>;
@group(0) @binding(4) var<uniform> segments: Segments;

// The pairs of row r, from the first to one past the last.
fn segment(r: u32) -> vec2<u32> {
    let first = segment_starts[r] + segments.first;
    let end = min(segment_starts[r + 1u], first + segments.most);
    return vec2<u32>(first, select(end, 0u, r == segments.without));
}

@compute @workgroup_size(64)
fn scatter_segments(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups, 64u);
    if (i >= segments.elements) { return; }
    let column = i % segments.row;
    let pairs = segment(i / segments.row);
    var sum = 0.0;
    if (segments.first > 0u) { sum = segment_out[i]; }
    for (var j = pairs.x; j < pairs.y; j += 1u) { sum += segment_x[sorted[j].y * segments.row + column]; }
    segment_out[i] = sum;
}

@compute @workgroup_size(64)
fn scatter_segments_vec4(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups, 64u);
    if (i >= segments.elements) { return; }
    let column = i % segments.row;
    let pairs = segment(i / segments.row);
    var sum = vec4<f32>(0.0);
    if (segments.first > 0u) { sum = segment_out_vec4[i]; }
    for (var j = pairs.x; j < pairs.y; j += 1u) { sum += segment_x_vec4[sorted[j].y * segments.row + column]; }
    segment_out_vec4[i] = sum;
}
