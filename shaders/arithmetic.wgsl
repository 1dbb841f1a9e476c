// Arithmetic, powers, comparisons and choices of single elements. Each function is one op of
// src/ops/elementwise/arithmetic.rs; kernels are generated around it. Truth values are 0 and 1.

fn add_fn(a: f32, b: f32) -> f32 { return a + b; }

fn sub_fn(a: f32, b: f32) -> f32 { return a - b; }

fn mul_fn(a: f32, b: f32) -> f32 { return a * b; }

fn div_fn(a: f32, b: f32) -> f32 { return a / b; }

fn add_scalar_fn(a: f32, c: f32) -> f32 { return a + c; }

fn mul_scalar_fn(a: f32, c: f32) -> f32 { return a * c; }

fn neg_fn(a: f32) -> f32 { return -a; }

fn recip_fn(a: f32) -> f32 { return 1.0 / a; }

fn exp_fn(a: f32) -> f32 { return exp(a); }

fn log_fn(a: f32) -> f32 { return log(a); }

fn sqrt_fn(a: f32) -> f32 { return sqrt(a); }

// WGSL's pow is undefined for a negative base and for 0^0; this is IEEE 754's, for a whole exponent.
fn pow_fn(a: f32, b: f32) -> f32 {
    if (b == 0.0) { return 1.0; }
    if (a == 0.0) { return select(1.0 / a, 0.0, b > 0.0); }
    if (a < 0.0 && floor(b) != b) { return not_a_number(); }
    let magnitude = exp2(b * log2(abs(a)));
    let odd = abs(b - 2.0 * floor(0.5 * b)) == 1.0;
    return select(magnitude, -magnitude, a < 0.0 && odd);
}

fn pow_scalar_fn(a: f32, c: f32) -> f32 { return pow_fn(a, c); }

fn abs_fn(a: f32) -> f32 { return abs(a); }

fn sign_fn(a: f32) -> f32 { return select(select(0.0, -1.0, a < 0.0), 1.0, a > 0.0); }

fn minimum_fn(a: f32, b: f32) -> f32 { return select(a, b, b < a); }

fn maximum_fn(a: f32, b: f32) -> f32 { return select(a, b, b > a); }

fn clamp_fn(a: f32, low: f32, high: f32) -> f32 { return min(max(a, low), high); }

fn in_range_fn(a: f32, low: f32, high: f32) -> f32 { return select(0.0, 1.0, a >= low && a <= high); }

fn equal_fn(a: f32, b: f32) -> f32 { return select(0.0, 1.0, a == b); }

fn not_equal_fn(a: f32, b: f32) -> f32 { return select(0.0, 1.0, a != b); }

fn less_fn(a: f32, b: f32) -> f32 { return select(0.0, 1.0, a < b); }

fn less_equal_fn(a: f32, b: f32) -> f32 { return select(0.0, 1.0, a <= b); }

fn greater_fn(a: f32, b: f32) -> f32 { return select(0.0, 1.0, a > b); }

fn greater_equal_fn(a: f32, b: f32) -> f32 { return select(0.0, 1.0, a >= b); }

fn select_fn(condition: f32, yes: f32, no: f32) -> f32 { return select(no, yes, condition != 0.0); }
