// Philox4x32-10, a counter-based generator: Salmon, Moraes, Dror, Shaw, SC 2011, section 4.3.
// Twin of src/rng.rs: the same integers on every executor.

// High 32 bits of a product: WGSL has no 64-bit integers.
fn multiply_high(a: u32, b: u32) -> u32 {
    let a0 = a & 0xffffu;
    let a1 = a >> 16u;
    let b0 = b & 0xffffu;
    let b1 = b >> 16u;
    let low = a0 * b0;
    let mid = a1 * b0 + (low >> 16u);
    let cross = a0 * b1 + (mid & 0xffffu);
    return a1 * b1 + (mid >> 16u) + (cross >> 16u);
}

fn philox(counter: vec4<u32>, key: vec2<u32>) -> vec4<u32> {
    var c = counter;
    var k = key;
    for (var round = 0u; round < 10u; round += 1u) {
        let high0 = multiply_high(0xD2511F53u, c.x);
        let low0 = 0xD2511F53u * c.x;
        let high1 = multiply_high(0xCD9E8D57u, c.z);
        let low1 = 0xCD9E8D57u * c.z;
        c = vec4<u32>(high1 ^ c.y ^ k.x, low1, high0 ^ c.w ^ k.y, low0);
        k += vec2<u32>(0x9E3779B9u, 0xBB67AE85u);
    }
    return c;
}

// Uniform in [-1, 1), a multiple of 2^-23.
fn signed_unit(word: u32) -> f32 {
    return f32(word >> 8u) * 1.1920929e-7 - 1.0;
}

// (cos, sin) of an angle up to pi, of which WGSL promises only 2^-11: Taylor series of a quarter of it, below 1e-8 off, doubled twice.
fn cos_sin(angle: f32) -> vec2<f32> {
    let t = 0.25 * angle;
    let t2 = t * t;
    var c = 1.0 + t2 * (-0.5 + t2 * (0.041666667 + t2 * (-0.0013888889 + t2 * (2.4801587e-5 - t2 * 2.7557319e-7))));
    var s = t * (1.0 + t2 * (-0.16666667 + t2 * (0.0083333333 + t2 * (-0.00019841270 + t2 * 2.7557319e-6))));
    for (var k = 0u; k < 2u; k += 1u) {
        let both = c * s;
        c = 1.0 - 2.0 * s * s;
        s = 2.0 * both;
    }
    return vec2<f32>(c, s);
}
