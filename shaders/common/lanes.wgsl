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
            lanes[lane] = select(a + b, select(a, b, b > a), is_max);
        }
        workgroupBarrier();
    }
    let result = lanes[0];
    workgroupBarrier();
    return result;
}
