//! Half precision, IEEE 754's binary16, on the host: what values become that a GPU stores in 16 bits.

/// Largest finite number.
pub(crate) const MOST: f64 = 65504.0;

/// Smallest normal number; smaller ones keep fewer digits, or none on an adapter that flushes them.
pub(crate) const SMALLEST_NORMAL: f64 = 1.0 / (1u64 << 14) as f64;

/// Half the distance between neighbours of the size of `x`.
pub(crate) fn half_unit(x: f64) -> f64 {
    // Bits of significand after the first: 10.
    0.5 * quantum(x)
}

/// The distance between neighbours of the size of `x`.
fn quantum(x: f64) -> f64 {
    let exponent = ((x.to_bits() >> 52) & 0x7ff) as i64 - 1023;
    f64::from_bits(((exponent.max(-14) - 10 + 1023) as u64) << 52)
}

/// The nearest number of half precision: the even one of two, infinity from 65520 on.
pub(crate) fn round(x: f64) -> f64 {
    if !x.is_finite() || x == 0.0 {
        return x;
    }
    if x.abs() >= 2.0 * MOST {
        return f64::INFINITY.copysign(x);
    }
    let unit = quantum(x);
    let y = (x / unit).round_ties_even() * unit;
    if y.abs() > MOST { f64::INFINITY.copysign(x) } else { y.copysign(x) }
}

/// The bits of the nearest number of half precision.
pub(crate) fn to_bits(x: f32) -> u16 {
    let sign = ((x.to_bits() >> 16) & 0x8000) as u16;
    let y = round(f64::from(x)).abs();
    if y.is_nan() {
        return sign | 0x7e00;
    }
    if y.is_infinite() {
        return sign | 0x7c00;
    }
    if y < SMALLEST_NORMAL {
        // A whole number of units of 2^-24.
        return sign | (y * f64::from(1u32 << 24)) as u16;
    }
    let bits = y.to_bits();
    let exponent = ((bits >> 52) as i64 - 1023 + 15) as u16;
    sign | (exponent << 10) | ((bits >> 42) & 0x3ff) as u16
}

/// The first `n` numbers of their bytes, low bytes first.
pub(crate) fn decode(bytes: &[u8], n: usize) -> Vec<f32> {
    bytes.chunks_exact(2).take(n).map(|b| from_bits(u16::from_le_bytes([b[0], b[1]]))).collect()
}

/// The number that these bits mean, exactly.
pub(crate) fn from_bits(bits: u16) -> f32 {
    let (exponent, rest) = (i32::from((bits >> 10) & 0x1f), f32::from(bits & 0x3ff));
    let size = match exponent {
        0 => rest / (1u32 << 24) as f32,
        31 if rest == 0.0 => f32::INFINITY,
        31 => f32::NAN,
        e => (1024.0 + rest) * 2f32.powi(e - 25),
    };
    if bits & 0x8000 != 0 { -size } else { size }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All finite ones from 0 on, in order.
    fn all() -> Vec<f64> {
        (0..0x7c00).map(|bits| f64::from(from_bits(bits))).collect()
    }

    #[test]
    fn every_number_survives_and_halfway_goes_to_the_even_one() {
        let all = all();
        assert_eq!(all[0x3c00], 1.0);
        assert_eq!((all[1], all[0x7bff]), (1.0 / f64::from(1 << 24), MOST));
        for (bits, x) in all.iter().enumerate() {
            assert_eq!(round(*x), *x);
            assert_eq!((to_bits(*x as f32), to_bits(-*x as f32)), (bits as u16, bits as u16 | 0x8000));
        }
        for (low, pair) in all.windows(2).enumerate() {
            let middle = (pair[0] + pair[1]) / 2.0;
            let even = pair[low & 1];
            assert_eq!((round(middle), round(-middle)), (even, -even));
            assert_eq!(round(middle * (1.0 - 1e-15)), pair[0]);
            assert_eq!(round(middle * (1.0 + 1e-15)), pair[1]);
            assert_eq!(half_unit(pair[0]), middle - pair[0]);
        }
    }

    #[test]
    fn beyond_the_largest_is_infinite() {
        assert_eq!(round(65519.999), MOST);
        for x in [65520.0, 1e5, 131_008.0, 1e300, f64::INFINITY] {
            assert_eq!((round(x), round(-x)), (f64::INFINITY, f64::NEG_INFINITY));
        }
        assert_eq!(to_bits(f32::NEG_INFINITY), 0xfc00);
        assert_eq!(from_bits(0x7c00), f32::INFINITY);
        assert!(round(f64::NAN).is_nan() && from_bits(to_bits(f32::NAN)).is_nan());
        assert_eq!(round(-0.0).to_bits(), (-0.0f64).to_bits());
        assert_eq!(to_bits(1e-8), 0);
    }
}
