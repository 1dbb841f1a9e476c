//! Adam's loop on the CPU, whose root and quotient take most of the time: with the CPU's vectors of eight where
//! it has them. No instruction rounds otherwise than the plain ones, so the bits are the same.

use super::adam::AdamConstants;
use super::flush_denormal;
use crate::ops::Real;

#[inline(always)]
fn each<T: Real>(c: AdamConstants<T>, [step, root, keep, factor]: [T; 4], [w, m, v]: [&mut [T]; 3], g: &[T]) {
    for (((w, m), v), &g) in w.iter_mut().zip(m).zip(v).zip(g) {
        let g = g * factor + c.coupled_decay * *w;
        *m = flush_denormal(c.beta1 * *m + c.rest1 * g);
        *v = flush_denormal(c.beta2 * *v + c.rest2 * g * g);
        *w = *w * keep - step * *m / (v.sqrt() * root + c.eps);
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn each_avx2<T: Real>(c: AdamConstants<T>, scalars: [T; 4], states: [&mut [T]; 3], g: &[T]) {
    each(c, scalars, states, g);
}

/// Updates the states w, m and v; the scalars are the step, the root's factor, what w keeps, and the gradient's factor.
pub(super) fn update<T: Real>(c: AdamConstants<T>, scalars: [T; 4], states: [&mut [T]; 3], g: &[T]) {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") {
        // SAFETY: the CPU has AVX2.
        unsafe { each_avx2(c, scalars, states, g) };
        return;
    }
    each(c, scalars, states, g);
}
