// Numbers that several families share.

// Start value of a maximum: below every finite f32 but the lowest, which it is.
const LOWEST: f32 = -3.40282346e38;

// Smallest normal f32.
const SMALLEST_NORMAL: f32 = 1.17549435e-38;

// Denormals cost some processors a hundred cycles each, and mean nothing in a moment or a gradient.
fn flush_denormal(x: f32) -> f32 {
    return select(x, 0.0, abs(x) < SMALLEST_NORMAL);
}

// In a variable, because a constant expression must not be NaN.
fn not_a_number() -> f32 {
    var bits = 0x7fc00000u;
    return bitcast<f32>(bits);
}
