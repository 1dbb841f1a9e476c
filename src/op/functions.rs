//! Functions of many numbers, without branches, so that compilers make vectors of them: the same formulas as the shaders'
//! (`shaders/activations.wgsl`), and as exact.

/// e^x for x in [-87.33, 88]: x = n ln 2 + r, and Moshier's polynomial of r (Cephes library, `expf`).
#[inline(always)]
fn exp(x: f32) -> f32 {
    /// Adding it rounds to a whole number, which then are the lowest bits.
    const ROUNDER: f32 = 12_582_912.0;
    let shifted = x * std::f32::consts::LOG2_E + ROUNDER;
    let n = shifted - ROUNDER;
    let r = x - n * 0.693_359_4 + n * 2.121_944_4e-4;
    let p = ((((1.987_569_2e-4 * r + 1.398_2e-3) * r + 8.333_452e-3) * r + 4.166_579_6e-2) * r
        + 0.166_666_65)
        * r
        + 0.5;
    let power = shifted.to_bits().wrapping_sub(ROUNDER.to_bits()).wrapping_add(127) << 23;
    (p * r * r + r + 1.0) * f32::from_bits(power)
}

/// 1 / (1 + e^-x).
#[inline(always)]
fn sigmoid(x: f32) -> f32 {
    let size = x.abs();
    let t = if size > 87.33 { 0.0 } else { exp(-size) };
    let s = 1.0 / (1.0 + t);
    let y = if x >= 0.0 { s } else { t * s };
    if x.is_nan() { x } else { y }
}

/// Near 0 an odd polynomial (Cephes, `tanhf`), elsewhere 1 - 2 / (e^2|x| + 1).
#[inline(always)]
fn tanh(x: f32) -> f32 {
    let size = x.abs();
    let z = x * x;
    let p =
        (((-5.704_988_7e-3 * z + 2.063_908_9e-2) * z - 5.373_971_6e-2) * z + 0.133_314_42) * z - 0.333_332_84;
    let near = x + x * z * p;
    let far = 1.0 - 2.0 / (exp(2.0 * if size > 10.0 { 10.0 } else { size }) + 1.0);
    let y = if size < 0.625 { near } else { far.copysign(x) };
    if x.is_nan() { x } else { y }
}

pub(super) fn sigmoids(values: &mut [f32]) {
    values.iter_mut().for_each(|x| *x = sigmoid(*x));
}

pub(super) fn tanhs(values: &mut [f32]) {
    values.iter_mut().for_each(|x| *x = tanh(*x));
}

#[cfg(test)]
mod tests {
    use super::*;

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
