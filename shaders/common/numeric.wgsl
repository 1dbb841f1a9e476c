// Numbers that several families share.

// Smallest normal f32.
const SMALLEST_NORMAL: f32 = 1.17549435e-38;

// Denormals cost some CPUs a hundred cycles each, and mean nothing in a moment or a gradient. Told by an exponent
// of 0, which NaN does not have, whatever a compiler makes of a comparison.
fn flush_denormal(x: f32) -> f32 {
    return select(x, 0.0, (bitcast<u32>(x) & 0x7f800000u) == 0u);
}

// In a variable, because a constant expression must not be NaN.
fn not_a_number() -> f32 {
    var bits = 0x7fc00000u;
    return bitcast<f32>(bits);
}

// Start value of a maximum. In a variable, because a constant expression must not be infinite.
fn minus_infinity() -> f32 {
    var bits = 0xff800000u;
    return bitcast<f32>(bits);
}

// Compilers may assume that nothing is NaN and turn comparisons around, so that only the bits tell.
fn is_nan(x: f32) -> bool { return (bitcast<u32>(x) & 0x7fffffffu) > 0x7f800000u; }

fn either_is_nan(a: f32, b: f32) -> bool {
    return max(bitcast<u32>(a) & 0x7fffffffu, bitcast<u32>(b) & 0x7fffffffu) > 0x7f800000u;
}

// Whether it is 0 or -0; NaN is not.
fn is_zero(x: f32) -> bool { return (bitcast<u32>(x) << 1u) == 0u; }

fn is_nan4(x: vec4<f32>) -> vec4<bool> {
    return (bitcast<vec4<u32>>(x) & vec4<u32>(0x7fffffffu)) > vec4<u32>(0x7f800000u);
}

// WGSL's exp of NaN may be a number: SwiftShader gives infinity.
fn exp_of(x: f32) -> f32 { return select(exp(x), x, is_nan(x)); }

// Its log may be one of 0, infinity, negative numbers and NaN: SwiftShader gives -88 for 0 and 89 for the others.
fn log_of(x: f32) -> f32 {
    let special = select(select(x, not_a_number(), x < 0.0), minus_infinity(), is_zero(x));
    // Positive and finite, by the bits.
    return select(special, log(x), bitcast<u32>(x) - 1u < 0x7f7fffffu);
}

// A mean that was found by differences, or, where it is not finite, what the plain sum says: differences of infinities
// are NaN, and those of large numbers may overflow.
fn mean_or_infinity(mean: f32, total: f32, count: f32) -> f32 {
    let is_finite = (bitcast<u32>(mean) & 0x7f800000u) != 0x7f800000u;
    return select(total / count, mean, is_finite);
}

// Whether `b` takes the place of `a` as the largest so far: it is larger, or the first NaN. A compiler that turns `b > a`
// around makes it true of a NaN `a`, so that the bits are asked of both.
fn beats(b: f32, a: f32) -> bool {
    return ((b > a) | is_nan(b)) & !is_nan(a);
}

// The larger of two, the first of equal ones, and NaN where one of them is: a copy, bit for bit.
fn larger(a: f32, b: f32) -> f32 {
    return select(a, b, ((b > a) & !is_nan(a)) | is_nan(b));
}

fn larger4(a: vec4<f32>, b: vec4<f32>) -> vec4<f32> {
    return select(a, b, ((b > a) & !is_nan4(a)) | is_nan4(b));
}

// log(1 + x) without the digits that 1 + x loses: up to 1 as 2 atanh(x / (2 + x)), to a few units in the last place, where
// WGSL's log promises 2^-21.
fn log1p_of(x: f32) -> f32 {
    let c = clamp(x, -0.3, 1.0);
    let s = c / (2.0 + c);
    let w = s * s;
    let p = ((((((0.0666666667 * w + 0.0769230769) * w + 0.0909090909) * w + 0.111111111) * w + 0.142857143) * w + 0.2) * w
        + 0.333333333) * w;
    return select(log_of(1.0 + x), 2.0 * (s + s * p), (x > -0.3) & (x <= 1.0) & !is_nan(x));
}

// (e^u - 1) / u for u from -0.5 to 0.5.
fn exp_ratio(u: f32) -> f32 {
    return 1.0 + u * (0.5 + u * (1.6666667e-1 + u * (4.1666667e-2 + u * (8.3333333e-3 + u * (1.3888889e-3
        + u * (1.9841270e-4 + u * 2.4801587e-5))))));
}
