// What gradients are multiplied by before an update of parameters: 1, unless the step is given a factor to read.
fn gradient_factor() -> f32 {
    return 1.0;
}
