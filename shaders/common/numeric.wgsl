// Numbers that several families share.

// Start value of a maximum: below every finite f32 but the lowest, which it is.
const LOWEST: f32 = -3.40282346e38;

// Smallest normal f32.
const SMALLEST_NORMAL: f32 = 1.17549435e-38;

// Denormals cost some processors a hundred cycles each, and mean nothing in a moment or a gradient. Told by an exponent
// of 0, which NaN does not have, whatever a compiler makes of a comparison.
fn flush_denormal(x: f32) -> f32 {
    return select(x, 0.0, (bitcast<u32>(x) & 0x7f800000u) == 0u);
}

// In a variable, because a constant expression must not be NaN.
fn not_a_number() -> f32 {
    var bits = 0x7fc00000u;
    return bitcast<f32>(bits);
}

// Compilers may assume that no number is NaN and turn comparisons around, so that only the bits tell.
fn is_nan(x: f32) -> bool { return (bitcast<u32>(x) & 0x7fffffffu) > 0x7f800000u; }

fn either_is_nan(a: f32, b: f32) -> bool {
    return max(bitcast<u32>(a) & 0x7fffffffu, bitcast<u32>(b) & 0x7fffffffu) > 0x7f800000u;
}

// Whether it is 0 or -0; NaN is not.
fn is_zero(x: f32) -> bool { return (bitcast<u32>(x) << 1u) == 0u; }
