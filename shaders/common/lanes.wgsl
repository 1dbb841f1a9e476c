// What the 64 invocations of a workgroup make together, always in the same order.

// The sum or the largest of what 64 invocations hold, in all of them.
var<workgroup> lanes: array<f32, 64>;

fn across_lanes(lane: u32, value: f32, is_max: bool) -> f32 {
    lanes[lane] = value;
    workgroupBarrier();
    for (var span = 32u; span > 0u; span /= 2u) {
        if (lane < span) {
            let a = lanes[lane];
            let b = lanes[lane + span];
            lanes[lane] = select(a + b, larger(a, b), is_max);
        }
        workgroupBarrier();
    }
    let result = lanes[0];
    workgroupBarrier();
    return result;
}

// The sums of two numbers, as above.
var<workgroup> lanes_of_two: array<vec2<f32>, 64>;

fn sums_across_lanes(lane: u32, value: vec2<f32>) -> vec2<f32> {
    lanes_of_two[lane] = value;
    workgroupBarrier();
    for (var span = 32u; span > 0u; span /= 2u) {
        if (lane < span) { lanes_of_two[lane] += lanes_of_two[lane + span]; }
        workgroupBarrier();
    }
    let result = lanes_of_two[0];
    workgroupBarrier();
    return result;
}
