// Split-K: each workgroup writes partial sums over its split of k, and these kernels add the partial sums in order, so that
// every run gives the same bits. Sums without a k, of pooling, biases and normalizations, are split alike.
//
//   total[i] = sum over splits of partial[split, i]      second[i] the same, where there are two results

struct SplitParams {
    splits: u32,
    // Elements of the sum, and of the partial sums of a split.
    elements: u32, length: u32,
    // Elements of the second sum.
    channels: u32,
    // Of a split that has the output channels of a convolution's weight last: output channels of a group, elements of the
    // weight of each, and channels that they are padded to; width 0 where a split lies as the sum does.
    o: u32, depth: u32, width: u32,
    // Elements of a row of the sum.
    columns: u32,
}

@group(0) @binding(0) var<storage, read> partial: array<f32>;
@group(0) @binding(1) var<storage, read> partial_of_second: array<f32>;
@group(0) @binding(3) var<storage, read_write> total: array<f32>;
@group(0) @binding(4) var<storage, read_write> second: array<f32>;
@group(0) @binding(5) var<uniform> p: SplitParams;

// Where a split has element `index` of the weight [groups o, depth]: there, or in [groups, depth, width].
fn index_in_split(index: u32) -> u32 {
    let channel = index / p.depth;
    let last = (channel / p.o * p.depth + index % p.depth) * p.width + channel % p.o;
    return select(index, last, p.width > 0u);
}

fn sum_of_splits(index: u32) -> f32 {
    let at = index_in_split(index);
    var sum = 0.0;
    for (var split = 0u; split < p.splits; split += 1u) { sum += partial[split * p.length + at]; }
    return sum;
}

@compute @workgroup_size(64)
fn split_k_sum(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let index = linear_index(id, groups, 64u);
    if (index >= p.elements) { return; }
    total[index] = epilogue(sum_of_splits(index), index, index % p.columns);
}

// The same and, after it, the second sum.
@compute @workgroup_size(64)
fn split_k_sum_of_two(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let index = linear_index(id, groups, 64u);
    if (index < p.elements) {
        total[index] = epilogue(sum_of_splits(index), index, index % p.columns);
        return;
    }
    let channel = index - p.elements;
    if (channel >= p.channels) { return; }
    var sum = 0.0;
    for (var split = 0u; split < p.splits; split += 1u) { sum += partial_of_second[split * p.channels + channel]; }
    second[channel] = sum;
}
