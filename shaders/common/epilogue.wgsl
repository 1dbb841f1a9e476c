// What is done to element `at` of a result, in `column`, before it is stored: nothing. Where elementwise ops that
// follow are computed by the same kernel, their formulas stand here instead.
fn epilogue(value: f32, at: u32, column: u32) -> f32 {
    return value;
}

// The same for a vector of four.
fn epilogue4(value: vec4<f32>, at: u32, column: u32) -> vec4<f32> {
    return value;
}
