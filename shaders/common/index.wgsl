// Where an invocation is in a grid that was folded to stay below 65,535 workgroups a dimension.

// Global number of an invocation of a workgroup with `size` invocations along x.
fn linear_index(id: vec3<u32>, groups: vec3<u32>, size: u32) -> u32 {
    return id.x + id.y * groups.x * size;
}

// Number of a workgroup.
fn linear_workgroup(group: vec3<u32>, groups: vec3<u32>) -> u32 {
    return group.x + group.y * groups.x;
}

// Row and column of tile `at` of `high` x `wide`: eight below each other, then the eight to the right of them, which share
// what caches hold.
fn tile_in_order(at: u32, high: u32, wide: u32) -> vec2<u32> {
    let first = at / (8u * wide) * 8u;
    let below = min(high - first, 8u);
    let within = at % (8u * wide);
    return vec2<u32>(first + within % below, within / below);
}
