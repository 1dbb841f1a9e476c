//! e^x of many numbers at once.

/// e^x to two units in the last place, without a branch, so that compilers make vectors of it: n = x / ln 2 rounded, and of the rest the
/// polynomial of Cephes' `expf` (Moshier, "Methods and Programs for Mathematical Functions", 1989), times 2^n. Below the smallest
/// normal number it is 0.
#[inline(always)]
fn exp(x: f32) -> f32 {
    // Added and taken off again, it leaves whole numbers.
    const ROUNDING: f32 = 12_582_912.0;
    let c = x.clamp(-87.3, 88.7);
    let n = (c * std::f32::consts::LOG2_E + ROUNDING) - ROUNDING;
    // ln 2 in two parts, of which the first times n is exact.
    let r = (c - n * 0.693_359_4) + n * 2.121_944_4e-4;
    let p = 1.987_569_1e-4;
    let p = p * r + 1.398_2e-3;
    let p = p * r + 8.333_452e-3;
    let p = p * r + 4.166_579_6e-2;
    let p = p * r + 1.666_666_5e-1;
    let p = p * r + 0.5;
    let y = (p * (r * r) + r) + 1.0;
    // In two steps, since 2^128 is none of the numbers.
    let half = (n as i32) >> 1;
    let power = |n: i32| f32::from_bits(((n + 127) as u32) << 23);
    let y = y * power(half) * power(n as i32 - half);
    let y = if x < -87.3 { 0.0 } else { y };
    let y = if x > 88.722_84 { f32::INFINITY } else { y };
    if x.is_nan() { x } else { y }
}

pub(super) fn exponentials(values: &mut [f32]) {
    values.iter_mut().for_each(|x| *x = exp(*x));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponentials_are_near_and_special_values_are_kept() {
        let mut x: Vec<f32> = (-8720..8870).map(|i| i as f32 * 0.01 + 0.003).collect();
        let expected: Vec<f64> = x.iter().map(|&x| f64::from(x).exp()).collect();
        exponentials(&mut x);
        for (found, expected) in x.iter().zip(expected) {
            let off = (f64::from(*found) - expected).abs() / expected;
            assert!(off < 2.5e-7, "{found} is not {expected}");
        }
        let mut special = [0.0, -0.0, f32::NEG_INFINITY, -104.0, f32::INFINITY, 89.0, f32::NAN];
        exponentials(&mut special);
        assert_eq!(special[..6], [1.0, 1.0, 0.0, 0.0, f32::INFINITY, f32::INFINITY]);
        assert!(special[6].is_nan());
    }
}
