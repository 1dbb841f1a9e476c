//! What the CPU device runs: sums with several accumulators, over channels in parallel; then whole planes.

use super::Layout;
use crate::host::threads;
use crate::ops::Real;

/// Accumulators of a sum, which compilers turn into vector instructions.
const LANES: usize = 8;

/// Σ term(a, b) over a run.
pub(in crate::ops) fn dot<T: Real>(a: &[T], b: &[T], term: impl Fn(T, T) -> T) -> T {
    let mut lanes = [T::zero(); LANES];
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    for (a, b) in a.iter().zip(b) {
        for k in 0..LANES {
            lanes[k] = lanes[k] + term(a[k], b[k]);
        }
    }
    let rest = a_rest.iter().zip(b_rest).fold(T::zero(), |sum, (&a, &b)| sum + term(a, b));
    lanes.into_iter().fold(rest, |sum, lane| sum + lane)
}

impl Layout {
    /// For every channel c, Σ term(c, a, b) over its elements.
    pub(super) fn sums<T: Real>(
        self,
        a: &[T],
        b: &[T],
        to: &mut [T],
        term: impl Fn(usize, T, T) -> T + Sync,
    ) {
        let Layout { images, channels, spatial } = self;
        threads::runs(to, 1, self.count(), |first, to| {
            if spatial == 1 {
                // Channels lie side by side: row by row.
                to.fill(T::zero());
                for n in 0..images {
                    let at = n * channels + first;
                    let row = a[at..].iter().zip(&b[at..]).zip(&mut *to).enumerate();
                    row.for_each(|(c, ((&a, &b), to))| *to = *to + term(first + c, a, b));
                }
                return;
            }
            for (c, to) in (first..).zip(to) {
                let run = |n: usize| (n * channels + c) * spatial..(n * channels + c + 1) * spatial;
                let parts = (0..images).map(|n| dot(&a[run(n)], &b[run(n)], |a, b| term(c, a, b)));
                *to = parts.fold(T::zero(), |sum, part| sum + part);
            }
        });
    }

    /// Mean and biased variance of every channel. As on GPUs the channel's first element is taken off before anything is
    /// added, so that a large mean cancels nothing.
    pub(in crate::ops) fn moments<T: Real>(self, x: &[T], means: &mut [T], variances: &mut [T]) {
        let m = T::of(self.count() as f64);
        let origins: Vec<T> = (0..self.channels).map(|c| x[c * self.spatial]).collect();
        self.sums(x, x, means, |c, x, _| x - origins[c]);
        means.iter_mut().for_each(|center| *center = *center / m);
        let centers = &*means;
        let square = |c: usize, x: T| (x - origins[c] - centers[c]) * (x - origins[c] - centers[c]);
        self.sums(x, x, variances, |c, x, _| square(c, x));
        variances.iter_mut().for_each(|variance| *variance = *variance / m);
        means.iter_mut().zip(&origins).for_each(|(mean, &origin)| *mean = origin + *mean);
        // Differences of infinities are NaN: all elements say what the mean is.
        if means.iter().any(|mean| !mean.is_finite()) {
            let mut sums = vec![T::zero(); means.len()];
            self.sums(x, x, &mut sums, |_, x, _| x);
            let broken = means.iter_mut().zip(sums).filter(|(mean, _)| !mean.is_finite());
            broken.for_each(|(mean, sum)| *mean = sum / m);
        }
    }

    /// y = f(c, a, b) for every element of every channel c.
    pub(super) fn map<T: Real>(self, a: &[T], b: &[T], y: &mut [T], f: impl Fn(usize, T, T) -> T + Sync) {
        let Layout { channels, spatial, .. } = self;
        threads::runs(y, spatial, 1, |first, y| {
            let (a, b) = (&a[first..], &b[first..]);
            let mut c = first / spatial % channels;
            let planes =
                y.chunks_exact_mut(spatial).zip(a.chunks_exact(spatial)).zip(b.chunks_exact(spatial));
            for ((y, a), b) in planes {
                y.iter_mut().zip(a).zip(b).for_each(|((y, &a), &b)| *y = f(c, a, b));
                c = if c + 1 == channels { 0 } else { c + 1 };
            }
        });
    }

    /// (x - mean) / √(variance + eps) · weight + bias.
    pub(super) fn normalize<T: Real>(
        self,
        x: &[T],
        [weight, bias, mean, variance]: [&[T]; 4],
        eps: f32,
        y: &mut [T],
    ) {
        let eps = T::of(f64::from(eps));
        let scale: Vec<T> = weight.iter().zip(variance).map(|(&w, &v)| w / (v + eps).sqrt()).collect();
        self.map(x, x, y, |c, x, _| (x - mean[c]) * scale[c] + bias[c]);
    }
}
