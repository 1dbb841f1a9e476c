use super::*;

const COUNT: &str = "struct P { n: u32, step: u32 }
@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(2) var<uniform> p: P;

fn scaled(v: vec4<f32>) -> vec4<f32> { return v * f32(p.step); }

@compute @workgroup_size(8)
fn double(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    if (id.x >= p.n) { return; }
    y[id.x] = scaled(x[id.x]);
}
";

const SUM: &str = "struct P { m: u32 }
@group(0) @binding(0) var<storage, read> y: array<f32>;
@group(0) @binding(1) var<storage, read_write> total: array<f32>;
@group(0) @binding(2) var<uniform> p: P;
var<workgroup> sums: array<f32, 64>;

fn scaled(x: f32) -> f32 { let p = 2.0; return p * x; }

@compute @workgroup_size(64)
fn sum(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group: vec3<u32>) {
    sums[lane] = select(0.0, scaled(y[lane]), lane < p.m);
    workgroupBarrier();
    if (lane == 0u) { for (var i = 0u; i < 64u; i += 1u) { total[group.x] += sums[i]; } }
}
";

fn part<'a>(text: &'a str, member: &'a Member, bindings: &[usize], follows: bool) -> Part<'a> {
    Part { text, member, workgroups: 1, bindings: bindings.to_vec(), follows }
}

fn assert_valid(text: &str) {
    let module = naga::front::wgsl::parse_str(text).unwrap_or_else(|e| panic!("{}", e.emit_to_string(text)));
    use naga::valid::{Capabilities, ValidationFlags, Validator};
    let mut validator = Validator::new(ValidationFlags::all(), Capabilities::all());
    validator.validate(&module).unwrap_or_else(|e| panic!("{}", e.emit_to_string(text)));
}

#[test]
fn members_are_known_by_their_texts() {
    let (count, sum) = (Member::of(COUNT).unwrap(), Member::of(SUM).unwrap());
    assert!(count.is_free && !sum.is_free);
    assert_eq!([count.workgroup, sum.workgroup], [8, 64]);
    assert_eq!(count.elements, ["vec4<f32>", "vec4<f32>"]);
    assert_eq!(shared_bytes([&count, &sum, &sum].into_iter()), 256);
    for (from, to) in [
        ("@builtin(workgroup_id)", "@builtin(subgroup_size)"),
        ("local_invocation_index) lane: u32", "local_invocation_id) lane: vec3<u32>"),
    ] {
        let text = SUM.replace(from, to).replace("size(64)", "size(8, 8)");
        assert_eq!(Member::of(&text), None);
    }
    // Two dimensions that only the number of an invocation is made of are one.
    assert_eq!(Member::of(&SUM.replace("size(64)", "size(16, 4)")).unwrap().workgroup, 64);
}

#[test]
fn what_differs_gets_another_name_and_what_is_hidden_keeps_its_own() {
    let (count, sum) = (Member::of(COUNT).unwrap(), Member::of(SUM).unwrap());
    let wide = flat(COUNT, 1).unwrap();
    let parts = [part(&wide, &count, &[0, 1], false), part(SUM, &sum, &[1, 2], true)];
    let text = text(Layout::InOrder, &parts, &[false, true, true]);
    assert_valid(&text);
    for wanted in [
        "fn scaled_1(x: f32) -> f32 { let p = 2.0; return p * x; }",
        "return v * f32(members.of_0.step);",
        "    @align(16) of_1: P_1,",
        "{ let four = scaled(buffer0[id.x]); buffer1[4u * (id.x) + 0u] = four.x;",
        "if (lane < 8u) { let i = lane; double(vec3<u32>(i, 0u, 0u), vec3<u32>(1u, 1u, 1u)); }",
        "    storageBarrier();\n    { let i = lane; sum(lane, vec3<u32>(own, 0u, 0u)); }",
        "@binding(1) var<storage, read_write> buffer1: array<f32>;",
    ] {
        assert!(text.contains(wanted), "no `{wanted}` in\n{text}");
    }
}

#[test]
fn workgroups_of_several_kernels_lie_side_by_side() {
    let (count, sum) = (Member::of(COUNT).unwrap(), Member::of(SUM).unwrap());
    let many = Part { workgroups: 100, ..part(COUNT, &count, &[0, 1], false) };
    let parts = [many, part(SUM, &sum, &[2, 3], false), part(SUM, &sum, &[4, 5], false)];
    let text = text(Layout::SideBySide, &parts, &[false, true, false, true, false, true]);
    assert_valid(&text);
    for wanted in [
        "if (group.x < 13u) { let own = group.x - 0u; let i = own * 64u + lane; if (i < 800u) { double(",
        "else if (group.x < 14u) {",
        "else if (group.x < 15u) { let own = group.x - 14u;",
    ] {
        assert!(text.contains(wanted), "no `{wanted}` in\n{text}");
    }
    // Workgroup memory and functions that are alike stand there once.
    assert_eq!([text.matches("var<workgroup>").count(), text.matches("struct P_1").count()], [1, 1]);
}

#[test]
fn joined_kernels_can_be_members() {
    let sum = Member::of(SUM).unwrap();
    let two = text(
        Layout::InOrder,
        &[part(SUM, &sum, &[0, 1], false), part(SUM, &sum, &[2, 3], false)],
        &[false, true, false, true],
    );
    let member = Member::of(&two).unwrap();
    let parts = [part(&two, &member, &[0, 1, 2, 3], false), part(SUM, &sum, &[4, 5], false)];
    assert_valid(&text(Layout::SideBySide, &parts, &[false, true, false, true, false, true]));
}
