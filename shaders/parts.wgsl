// Long sums that several workgroups cut among themselves: each writes its part, and these kernels add the parts, in
// order, so that every run gives the same bits.
//
//   total[i] = sum over parts of partial[part, i]      second[i] the same, where there are two results

struct PartsParams {
    parts: u32,
    // Elements of the sum, and of a part.
    elements: u32, length: u32,
    // Elements of the second sum.
    channels: u32,
    // Of a part that has the output channels of a convolution's weight last: output channels of a group, elements of the
    // weight of each, and channels that they are padded to; width 0 where a part lies as the sum does.
    o: u32, depth: u32, width: u32,
    // Elements of a row of the sum.
    columns: u32,
}

@group(0) @binding(0) var<storage, read> partial: array<f32>;
@group(0) @binding(1) var<storage, read> partial_of_second: array<f32>;
@group(0) @binding(3) var<storage, read_write> total: array<f32>;
@group(0) @binding(4) var<storage, read_write> second: array<f32>;
@group(0) @binding(5) var<uniform> p: PartsParams;

// Where a part has element `index` of the weight [groups o, depth]: there, or in [groups, depth, width].
fn place_in_part(index: u32) -> u32 {
    let channel = index / p.depth;
    let last = (channel / p.o * p.depth + index % p.depth) * p.width + channel % p.o;
    return select(index, last, p.width > 0u);
}

fn sum_of_parts(index: u32) -> f32 {
    let place = place_in_part(index);
    var sum = 0.0;
    for (var part = 0u; part < p.parts; part += 1u) { sum += partial[part * p.length + place]; }
    return sum;
}

@compute @workgroup_size(64)
fn add_parts(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let index = linear_index(id, groups, 64u);
    if (index >= p.elements) { return; }
    total[index] = finish(sum_of_parts(index), index, index % p.columns);
}

// The same and, behind it, the second sum.
@compute @workgroup_size(64)
fn add_parts_of_two(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let index = linear_index(id, groups, 64u);
    if (index < p.elements) {
        total[index] = finish(sum_of_parts(index), index, index % p.columns);
        return;
    }
    let channel = index - p.elements;
    if (channel >= p.channels) { return; }
    var sum = 0.0;
    for (var part = 0u; part < p.parts; part += 1u) { sum += partial_of_second[part * p.channels + channel]; }
    second[channel] = sum;
}
