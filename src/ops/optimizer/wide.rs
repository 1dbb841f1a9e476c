//! The loop over a parameter's elements on the CPU, where roots and quotients take most of the time: with the CPU's vectors of
//! eight where it has them. No instruction rounds otherwise than the plain ones, so the bits are the same.

use super::flush_denormal;
use super::rule::{MOST_STATES, Rule};
use super::update::Step;
use crate::ops::Real;

#[inline(always)]
fn each<T: Real, R: Rule, const N: usize>(step: &Step<T>, states: [&mut [T]; N], g: &[T]) {
    // All are of one length, which the compiler must see.
    let states = states.map(|state| &mut state[..g.len()]);
    for (i, &g) in g.iter().enumerate() {
        let mut s = [T::zero(); MOST_STATES];
        for k in 0..N {
            s[k] = states[k][i];
        }
        step.apply::<R>(g, &mut s);
        states[0][i] = s[0];
        for k in 1..N {
            states[k][i] = flush_denormal(s[k]);
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn each_avx2<T: Real, R: Rule, const N: usize>(step: &Step<T>, states: [&mut [T]; N], g: &[T]) {
    each::<T, R, N>(step, states, g);
}

fn of<T: Real, R: Rule, const N: usize>(step: &Step<T>, states: [&mut [T]; N], g: &[T]) {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") {
        // SAFETY: the CPU has AVX2.
        unsafe { each_avx2::<T, R, N>(step, states, g) };
        return;
    }
    each::<T, R, N>(step, states, g);
}

/// Whether a rule can have so many states, the parameter among them: what cannot be is not compiled.
const fn fits<R: Rule>(states: usize) -> bool {
    states > R::LEAST && states <= 1 + R::STATES.len()
}

/// Updates the parameter and its states, `kept` together; the slices after those are empty.
pub(super) fn update<T: Real, R: Rule>(
    step: &Step<T>,
    kept: usize,
    [w, a, b, c]: [&mut [T]; MOST_STATES],
    g: &[T],
) {
    if const { fits::<R>(1) } && kept == 1 {
        of::<T, R, 1>(step, [w], g);
    } else if const { fits::<R>(2) } && kept == 2 {
        of::<T, R, 2>(step, [w, a], g);
    } else if const { fits::<R>(3) } && kept == 3 {
        of::<T, R, 3>(step, [w, a, b], g);
    } else if const { fits::<R>(4) } {
        of::<T, R, 4>(step, [w, a, b, c], g);
    }
}
