//! Where the elements of a resized axis lie in the axis that they come of.

use std::ops::Range;

use crate::ops::{Real, Uniform, uniform};

/// What stands between elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Interpolation {
    /// The element before.
    Nearest,
    /// A straight line between two elements. With `align_corners` the middles of the first and the last elements stay where they
    /// are, else the outer edges do.
    Linear { align_corners: bool },
}

/// An axis of `extent` elements resized to `outputs`: element o lies at max(o · step + offset, 0) / divisor, in whole numbers, so that
/// all executors agree.
#[derive(Debug, Clone, Copy)]
pub(super) struct Axis {
    pub(super) extent: usize,
    pub(super) outputs: usize,
    step: i64,
    offset: i64,
    divisor: i64,
    is_linear: bool,
}

impl Axis {
    /// `None` where the numbers do not fit those of the kernels.
    pub(super) fn new(extent: usize, outputs: usize, how: Interpolation) -> Option<Self> {
        let (n, m) = (i64::try_from(extent).ok()?, i64::try_from(outputs).ok()?);
        // Kernels count in 32 bits up to 2 (n + 1) (m + 1).
        if n == 0 || m == 0 || n.checked_add(1)?.checked_mul(m.checked_add(1)?)? > 1 << 29 {
            return None;
        }
        let (step, offset, divisor) = match how {
            Interpolation::Nearest => (n, 0, m),
            // o (n - 1) / (m - 1), from element to element; of one output, the first element.
            Interpolation::Linear { align_corners: true } if n > 1 => (n - 1, 0, (m - 1).max(1)),
            // There is but one element.
            Interpolation::Linear { align_corners: true } => (1, 0, m),
            // (o + 1/2) n / m - 1/2.
            Interpolation::Linear { align_corners: false } => (2 * n, n - m, 2 * m),
        };
        Some(Axis { extent, outputs, step, offset, divisor, is_linear: how != Interpolation::Nearest })
    }

    /// How the kernels' uniforms begin.
    pub(super) fn uniform(&self) -> Uniform {
        let &Axis { extent, outputs, step, offset, divisor, is_linear } = self;
        uniform! {
            extent, outputs, step, offset, divisor, is_linear,
        }
    }

    /// The element at or before output o, and the share of the one after it.
    pub(super) fn position<T: Real>(&self, o: usize) -> (usize, T) {
        let at = (o as i64 * self.step + self.offset).max(0);
        let index = (at / self.divisor) as usize;
        // After the last element there is none.
        if !self.is_linear || index + 1 >= self.extent {
            return (index, T::zero());
        }
        (index, T::of((at % self.divisor) as f64) / T::of(self.divisor as f64))
    }

    /// The outputs that read element i.
    pub(super) fn readers(&self, i: usize) -> Range<usize> {
        let i = i as i64;
        // The outputs of which o · step + offset is at most so much.
        let upto = |most: i64| match most - self.offset {
            past if past < 0 => 0,
            past => ((past / self.step) as usize + 1).min(self.outputs),
        };
        // From what lies after the element before.
        let begin = if self.is_linear { (i - 1) * self.divisor } else { i * self.divisor - 1 };
        upto(begin)..upto((i + 1) * self.divisor - 1)
    }

    /// How many read an element, at most.
    pub(super) fn most_readers(&self) -> usize {
        self.outputs.min((2 * self.divisor / self.step) as usize + 2)
    }
}

#[cfg(test)]
mod tests {
    use super::{Axis, Interpolation};

    /// Every output that an element has a share in is in its range, and each range has at most so many.
    #[test]
    fn readers_are_those_that_read() {
        let ways = [true, false].map(|align_corners| Interpolation::Linear { align_corners });
        for how in [Interpolation::Nearest, ways[0], ways[1]] {
            for (n, m) in (1..14).flat_map(|n| (1..30).map(move |m| (n, m))) {
                let axis = Axis::new(n, m, how).unwrap();
                for i in 0..n {
                    let reads = |o: &usize| {
                        let (index, share) = axis.position::<f64>(*o);
                        assert!(index < n && (0.0..1.0).contains(&share), "{axis:?} {o}");
                        index == i && share < 1.0 || index + 1 == i && share > 0.0
                    };
                    let found: Vec<usize> = (0..m).filter(reads).collect();
                    assert_eq!(axis.readers(i).collect::<Vec<_>>(), found, "{axis:?} {i}");
                    assert!(found.len() <= axis.most_readers(), "{axis:?} {i}");
                }
            }
        }
        assert!(Axis::new(1 << 15, 1 << 14, Interpolation::Nearest).is_none());
        assert!(Axis::new(usize::MAX, 2, Interpolation::Nearest).is_none());
    }
}
