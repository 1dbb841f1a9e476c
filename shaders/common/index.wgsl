// Where an invocation is in a grid that was folded to stay below 65,535 workgroups a dimension.

// Global number of an invocation of a workgroup with `size` invocations along x.
fn linear_index(id: vec3<u32>, groups: vec3<u32>, size: u32) -> u32 {
    return id.x + id.y * groups.x * size;
}

// Number of a workgroup.
fn linear_workgroup(group: vec3<u32>, groups: vec3<u32>) -> u32 {
    return group.x + group.y * groups.x;
}
