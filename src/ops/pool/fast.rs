//! What the CPU device runs for windows laid by stride: element by element of the window, along whole rows of
//! outputs, planes spread over threads.

use super::window::Axis;
use crate::host::threads;
use crate::ops::Real;

/// One element of the window along an axis: the outputs, `first..end`, for which it lies inside the plane, and where
/// it lies for the first of them.
#[derive(Debug, Clone, Copy)]
struct Tap {
    first: usize,
    end: usize,
    start: usize,
}

fn taps(axis: &Axis) -> Vec<Tap> {
    let [extent, outputs, kernel, stride, before, dilation] =
        [axis.extent, axis.outputs, axis.kernel, axis.stride, axis.before, axis.dilation].map(|v| v as usize);
    let tap = |k: usize| {
        let at = k * dilation;
        let first = before.saturating_sub(at).div_ceil(stride);
        let end = (before + extent).saturating_sub(at).div_ceil(stride).min(outputs);
        (first < end).then(|| Tap { first, end, start: first * stride + at - before })
    };
    (0..kernel).filter_map(tap).collect()
}

/// The windows of a plane, of which all elements are met in the order of their rows.
pub(super) struct Taps {
    y: Vec<Tap>,
    x: Vec<Tap>,
    stride: [usize; 2],
    /// Columns of the plane and of the outputs.
    columns: usize,
    outputs: usize,
    plane: usize,
    outs: usize,
}

impl Taps {
    /// None for adaptive windows, whose extents differ.
    pub(super) fn new([y, x]: &[Axis; 2]) -> Option<Self> {
        (y.adaptive == 0 && x.adaptive == 0).then(|| Taps {
            y: taps(y),
            x: taps(x),
            stride: [y.stride as usize, x.stride as usize],
            columns: x.extent as usize,
            outputs: x.outputs as usize,
            plane: (y.extent * x.extent) as usize,
            outs: (y.outputs * x.outputs) as usize,
        })
    }

    /// Calls `visit(first column of outputs, one past the last, element of the plane that the first meets)` for each
    /// element of the windows of row `oy`.
    fn along(&self, oy: usize, mut visit: impl FnMut(usize, usize, usize)) {
        for y in self.y.iter().filter(|y| (y.first..y.end).contains(&oy)) {
            let row = (y.start + (oy - y.first) * self.stride[0]) * self.columns;
            self.x.iter().for_each(|x| visit(x.first, x.end, row + x.start));
        }
    }

    pub(super) fn max<T: Real>(&self, source: &[T], values: &mut [T], index: &mut [u32]) {
        let each = threads::part(source.len(), self.plane) / self.plane;
        let each = each.max(1) * self.outs;
        let parts = values.chunks_mut(each).zip(index.chunks_mut(each)).enumerate();
        threads::share(parts.len(), parts, |parts| {
            for (part, (values, index)) in parts {
                let planes = source[part * each / self.outs * self.plane..].chunks_exact(self.plane);
                let outs = values.chunks_exact_mut(self.outs).zip(index.chunks_exact_mut(self.outs));
                planes.zip(outs).for_each(|(plane, (values, index))| self.max_plane(plane, values, index));
            }
        });
    }

    fn max_plane<T: Real>(&self, plane: &[T], values: &mut [T], index: &mut [u32]) {
        let stride = self.stride[1];
        // Outputs whose windows have all their columns inside the plane.
        let inner = self.x.iter().fold(0..self.outputs, |r, x| r.start.max(x.first)..r.end.min(x.end));
        let inner = inner.start..inner.end.max(inner.start);
        let mut offsets = Vec::with_capacity(self.y.len() * self.x.len());
        let rows = values.chunks_exact_mut(self.outputs).zip(index.chunks_exact_mut(self.outputs));
        for (oy, (values, index)) in rows.enumerate() {
            for o in (0..inner.start).chain(inner.end..self.outputs) {
                offsets.clear();
                self.along(oy, |first, end, start| {
                    offsets.extend((first..end).contains(&o).then(|| start + (o - first) * stride));
                });
                [values[o]] = largest::<T, 1>(plane, &offsets, 1, &mut index[o..]);
            }
            offsets.clear();
            self.along(oy, |first, _, start| offsets.push(start + (inner.start - first) * stride));
            let (values, index) = (&mut values[inner.clone()], &mut index[inner.clone()]);
            match stride {
                1 => largest_of_row::<T, 1>(plane, &mut offsets, 1, values, index),
                2 => largest_of_row::<T, 2>(plane, &mut offsets, 2, values, index),
                _ => largest_of_row::<T, 0>(plane, &mut offsets, stride, values, index),
            }
        }
    }

    /// Sums over windows.
    pub(super) fn sum<T: Real>(&self, source: &[T], sums: &mut [T], finish: impl Fn(usize, &mut [T]) + Sync) {
        threads::runs(sums, self.outs, (self.plane / self.outs).max(1), |first, sums| {
            let planes = source[first / self.outs * self.plane..].chunks_exact(self.plane);
            for (plane, sums) in planes.zip(sums.chunks_exact_mut(self.outs)) {
                for (oy, sums) in sums.chunks_exact_mut(self.outputs).enumerate() {
                    sums.fill(T::zero());
                    self.along(oy, |first, end, start| {
                        let from = plane[start..].iter().step_by(self.stride[1]);
                        sums[first..end].iter_mut().zip(from).for_each(|(s, x)| *s = *s + *x);
                    });
                    finish(oy, sums);
                }
            }
        });
    }

    /// Adds a share of every window to each of its elements; `shares(row of outputs, cotangents, to)` fills a row.
    pub(super) fn spread<T: Real>(
        &self,
        dy: &[T],
        dx: &mut [T],
        shares: impl Fn(usize, &[T], &mut [T]) + Sync,
    ) {
        threads::runs(dx, self.plane, 1, |first, dx| {
            let mut row = vec![T::zero(); self.outputs];
            let outs = dy[first / self.plane * self.outs..].chunks_exact(self.outs);
            for (dx, dy) in dx.chunks_exact_mut(self.plane).zip(outs) {
                dx.fill(T::zero());
                for (oy, dy) in dy.chunks_exact(self.outputs).enumerate() {
                    shares(oy, dy, &mut row);
                    self.along(oy, |first, end, start| {
                        let to = dx[start..].iter_mut().step_by(self.stride[1]);
                        to.zip(&row[first..end]).for_each(|(d, s)| *d = *d + *s);
                    });
                }
            }
        });
    }
}

/// Windows side by side whose maxima are sought together.
const LANES: usize = 4;

/// Maxima along a row of windows, the first of which has its elements at `offsets`. `STRIDE` is `stride` where it is
/// known when this is compiled, else 0.
fn largest_of_row<T: Real, const STRIDE: usize>(
    plane: &[T],
    offsets: &mut [usize],
    stride: usize,
    values: &mut [T],
    index: &mut [u32],
) {
    let stride = if STRIDE > 0 { STRIDE } else { stride };
    let mut at = 0;
    let mut go = |offsets: &mut [usize], to: usize| {
        offsets.iter_mut().for_each(|p| *p = *p + to * stride - at * stride);
        at = to;
    };
    if values.len() < LANES {
        for o in 0..values.len() {
            go(offsets, o);
            [values[o]] = largest::<T, 1>(plane, offsets, stride, &mut index[o..]);
        }
        return;
    }
    for o in (0..values.len()).step_by(LANES) {
        // The last ones are computed twice rather than one by one.
        let o = o.min(values.len() - LANES);
        go(offsets, o);
        let found = largest::<T, LANES>(plane, offsets, stride, &mut index[o..]);
        values[o..o + LANES].copy_from_slice(&found);
    }
}

/// The maxima of `N` windows, the first of which has its elements at `offsets`, and where they are. Nothing here
/// branches on a number: random ones would mislead the CPU half of the time.
#[inline(always)]
fn largest<T: Real, const N: usize>(
    plane: &[T],
    offsets: &[usize],
    stride: usize,
    index: &mut [u32],
) -> [T; N] {
    let (mut best, mut at) = ([T::zero(); N], [0; N]);
    for (k, &offset) in offsets.iter().enumerate() {
        let from = &plane[offset..offset + (N - 1) * stride + 1];
        for lane in 0..N {
            let x = from[lane * stride];
            // Whatever comes first is taken.
            let is_larger = (k == 0) | (x > best[lane]) | (x.is_nan() & !best[lane].is_nan());
            best[lane] = if is_larger { x } else { best[lane] };
            at[lane] = if is_larger { (offset + lane * stride) as u32 } else { at[lane] };
        }
    }
    index[..N].copy_from_slice(&at);
    best
}
