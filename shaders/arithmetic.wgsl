// Arithmetic, powers, comparisons and choices of single elements. Each function is one op of
// src/ops/elementwise/arithmetic.rs; kernels are generated around it. Truth values are 0 and 1.

fn add_fn(a: f32, b: f32) -> f32 { return a + b; }

fn sub_fn(a: f32, b: f32) -> f32 { return a - b; }

fn mul_fn(a: f32, b: f32) -> f32 { return a * b; }

fn div_fn(a: f32, b: f32) -> f32 { return a / b; }

fn add_scalar_fn(a: f32, c: f32) -> f32 { return a + c; }

fn mul_scalar_fn(a: f32, c: f32) -> f32 { return a * c; }

fn square_fn(a: f32) -> f32 { return a * a; }

fn neg_fn(a: f32) -> f32 { return -a; }

fn recip_fn(a: f32) -> f32 { return 1.0 / a; }

fn exp_fn(a: f32) -> f32 { return exp_of(a); }

fn log_fn(a: f32) -> f32 { return log_of(a); }

fn sqrt_fn(a: f32) -> f32 { return sqrt(a); }

// WGSL's pow is undefined for a negative base and for 0^0; this is IEEE 754's.
fn pow_fn(a: f32, b: f32) -> f32 {
    let base = abs(a);
    // From 2^24 on there are even numbers only.
    let is_even = abs(b) >= 16777216.0;
    let is_odd = !is_even & (abs(b - 2.0 * floor(0.5 * b)) == 1.0);
    let is_infinite = bitcast<u32>(base) == 0x7f800000u;
    // Where the logarithm is 0 or infinite, the product might be NaN.
    var y = exp2(b * log2(base));
    y = select(y, 1.0, base == 1.0);
    y = select(y, select(0.0, 1.0 / base, b < 0.0), base == 0.0);
    y = select(y, select(base, 0.0, b < 0.0), is_infinite);
    y = select(y, -y, is_odd & (bitcast<u32>(a) >= 0x80000000u));
    let is_undefined = (a < 0.0) & !is_infinite & !is_even & (floor(b) != b);
    y = select(y, not_a_number(), is_undefined | either_is_nan(a, b));
    return select(y, 1.0, is_zero(b) | (bitcast<u32>(a) == 0x3f800000u));
}

fn pow_scalar_fn(a: f32, c: f32) -> f32 { return pow_fn(a, c); }

fn abs_fn(a: f32) -> f32 { return abs(a); }

// What is NaN stays NaN, as in arithmetic: compilers need not keep it in a minimum, a maximum or a comparison.
fn sign_fn(a: f32) -> f32 {
    return select(select(select(0.0, -1.0, a < 0.0), 1.0, a > 0.0), a, is_nan(a));
}

fn minimum_fn(a: f32, b: f32) -> f32 { return select(select(a, b, b < a), a + b, either_is_nan(a, b)); }

fn maximum_fn(a: f32, b: f32) -> f32 { return select(select(a, b, b > a), a + b, either_is_nan(a, b)); }

fn clamp_fn(a: f32, low: f32, high: f32) -> f32 { return select(min(max(a, low), high), a, is_nan(a)); }

fn in_range_fn(a: f32, low: f32, high: f32) -> f32 {
    return select(0.0, 1.0, (a >= low) & (a <= high) & !is_nan(a));
}

// NaN differs from every number and itself, and is neither more nor less.
fn equal_fn(a: f32, b: f32) -> f32 { return select(0.0, 1.0, (a == b) & !either_is_nan(a, b)); }

fn not_equal_fn(a: f32, b: f32) -> f32 { return select(0.0, 1.0, (a != b) | either_is_nan(a, b)); }

fn less_fn(a: f32, b: f32) -> f32 { return select(0.0, 1.0, (a < b) & !either_is_nan(a, b)); }

fn less_equal_fn(a: f32, b: f32) -> f32 { return select(0.0, 1.0, (a <= b) & !either_is_nan(a, b)); }

fn greater_fn(a: f32, b: f32) -> f32 { return select(0.0, 1.0, (a > b) & !either_is_nan(a, b)); }

fn greater_equal_fn(a: f32, b: f32) -> f32 { return select(0.0, 1.0, (a >= b) & !either_is_nan(a, b)); }

fn is_nan_fn(a: f32) -> f32 { return select(0.0, 1.0, is_nan(a)); }

// All bits of the exponent of infinity and NaN are set.
fn is_finite_fn(a: f32) -> f32 { return select(0.0, 1.0, (bitcast<u32>(a) & 0x7f800000u) != 0x7f800000u); }

fn select_fn(condition: f32, yes: f32, no: f32) -> f32 { return select(yes, no, is_zero(condition)); }

// A cotangent times or over what a derivative is made of. Of 0 it is 0: what a mask has kept out stays out where the
// derivative is infinite or NaN.
fn cotangent_mul_fn(dy: f32, d: f32) -> f32 { return select(dy * d, 0.0, is_zero(dy)); }

fn cotangent_div_fn(dy: f32, d: f32) -> f32 { return select(dy / d, 0.0, is_zero(dy)); }
