//! Functions of many numbers, without branches, so that compilers make vectors of them: the same formulas as the shaders'
//! (`shaders/activations.wgsl`), and as exact.

use super::Real;

/// e^x to two units in the last place, without a branch, so that compilers make vectors of it: n = x / ln 2 rounded, and of the rest the
/// polynomial of Cephes' `expf` (Moshier, "Methods and Programs for Mathematical Functions", 1989), times 2^n. Below the smallest
/// normal number it is 0.
#[inline(always)]
fn exp(x: f32) -> f32 {
    // Added and taken off again, it leaves whole numbers.
    const ROUNDING: f32 = 12_582_912.0;
    let c = x.clamp(-87.3, 88.7);
    let shifted = c * std::f32::consts::LOG2_E + ROUNDING;
    let n = shifted - ROUNDING;
    // Which then are the lowest bits.
    let whole = (shifted.to_bits() as i32).wrapping_sub(ROUNDING.to_bits() as i32);
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
    let half = whole >> 1;
    let power = |n: i32| f32::from_bits((n.wrapping_add(127) as u32) << 23);
    let y = y * power(half) * power(whole.wrapping_sub(half));
    let y = if x < -87.3 { 0.0 } else { y };
    let y = if x > 88.722_84 { f32::INFINITY } else { y };
    if x.is_nan() { x } else { y }
}

/// 1 / (1 + e^-x), from e^-|x|: it never exponentiates a positive number, so it cannot overflow.
#[inline(always)]
fn logistic<T: Real>(x: T, t: T) -> T {
    let s = (T::one() + t).recip();
    if x >= T::zero() { s } else { t * s }
}

/// 1 / (1 + e^-x), plainly.
#[inline(always)]
pub(crate) fn sigmoid<T: Real>(x: T) -> T {
    logistic(x, (-x.abs()).exp())
}

/// Near 0 an odd polynomial (Cephes, `tanhf`), elsewhere 1 - 2 / (e^2|x| + 1).
#[inline(always)]
fn tanh(x: f32) -> f32 {
    let size = x.abs();
    let z = x * x;
    let p =
        (((-5.704_988_7e-3 * z + 2.063_909e-2) * z - 5.373_971_6e-2) * z + 0.133_314_42) * z - 0.333_332_84;
    let near = x + x * z * p;
    let far = 1.0 - 2.0 / (exp(2.0 * if size > 10.0 { 10.0 } else { size }) + 1.0);
    let y = if size < 0.625 { near } else { far.copysign(x) };
    if x.is_nan() { x } else { y }
}

pub(super) fn exponentials(values: &mut [f32]) {
    values.iter_mut().for_each(|x| *x = exp(*x));
}

pub(super) fn sigmoids(values: &mut [f32]) {
    values.iter_mut().for_each(|x| *x = logistic(*x, exp(-x.abs())));
}

pub(super) fn tanhs(values: &mut [f32]) {
    values.iter_mut().for_each(|x| *x = tanh(*x));
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

    /// In units of rounding of the result, over all sizes and both signs.
    #[test]
    fn they_are_within_the_bounds_of_the_kernels() {
        let (mut worst, mut checked) = ([0.0f64; 2], 0);
        for k in -4000..=4000 {
            let x = (f64::from(k) * 1e-3).powi(3) * 1.7 + f64::from(k) * 1e-5;
            let x = x as f32;
            let wide = f64::from(x);
            let (mut s, mut t) = ([x], [x]);
            sigmoids(&mut s);
            tanhs(&mut t);
            let expected = [1.0 / (1.0 + (-wide).exp()), wide.tanh()];
            let bounds = [14.0 + 4.0 * wide.abs(), 24.0];
            for (i, (found, expected)) in [s[0], t[0]].into_iter().zip(expected).enumerate() {
                let off = (f64::from(found) - expected).abs();
                let bound = bounds[i] * crate::ops::UNIT * expected.abs() + crate::ops::TINY;
                worst[i] = worst[i].max(off / bound);
                checked += 1;
            }
        }
        println!("{checked} values, at most {worst:?} of the bounds");
        assert!(worst.iter().all(|&w| w <= 1.0), "{worst:?}");
        let mut odd = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.0, -0.0];
        sigmoids(&mut odd);
        assert!(odd[0].is_nan() && odd[1..] == [1.0, 0.0, 0.5, 0.5]);
        let mut odd = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.0, -0.0];
        tanhs(&mut odd);
        assert!(odd[0].is_nan() && odd[1..] == [1.0, -1.0, 0.0, 0.0]);
    }
}
