//! What the CPU device runs: each image is unfolded into a matrix in a buffer that stays in the cache, and
//! multiplied; large work is spread over threads by images. The order of every sum is fixed.

use ndarray::{ArrayView2, ArrayViewMut2};

use super::geometry::Geometry;
use crate::host::product;
use crate::host::threads;
use crate::ops::Real;

/// Multiply-adds that a thread should find at least.
const WORTH_THREADS: usize = 1 << 18;

/// The most threads that are worth it.
fn most_threads(g: &Geometry) -> usize {
    g.multiplications() / WORTH_THREADS
}

fn matrix<T: Real>(values: &[T], rows: usize, columns: usize) -> ArrayView2<'_, T> {
    ArrayView2::from_shape((rows, columns), &values[..rows * columns]).expect("the slice was cut to fit")
}

fn matrix_mut<T: Real>(values: &mut [T], rows: usize, columns: usize) -> ArrayViewMut2<'_, T> {
    ArrayViewMut2::from_shape((rows, columns), &mut values[..rows * columns])
        .expect("the slice was cut to fit")
}

/// The outputs along one axis at which an element of the kernel, `at` steps from the padding's corner,
/// meets the input: first and one past the last.
fn inside(extent: usize, outputs: usize, stride: usize, before: usize, at: usize) -> (usize, usize) {
    let first = before.saturating_sub(at).div_ceil(stride);
    // The last position is before + extent - 1.
    let end = (before + extent).saturating_sub(at).div_ceil(stride).min(outputs);
    (first.min(end), end)
}

/// Calls `visit(row of the unfolded matrix, first column, column past the last, index into the planes of
/// the first)` for every run of inputs that one element of the kernel meets along one row of outputs.
fn runs(g: &Geometry, mut visit: impl FnMut(usize, usize, usize, usize)) {
    for c in 0..g.c {
        for ky in 0..g.kh {
            let down = ky * g.dilation[0];
            let (first_y, end_y) = inside(g.h, g.oh, g.stride[0], g.top, down);
            for kx in 0..g.kw {
                let across = kx * g.dilation[1];
                let (first_x, end_x) = inside(g.w, g.ow, g.stride[1], g.left, across);
                if first_x == end_x {
                    continue;
                }
                let row = (c * g.kh + ky) * g.kw + kx;
                let ix = first_x * g.stride[1] + across - g.left;
                for oy in first_y..end_y {
                    let iy = oy * g.stride[0] + down - g.top;
                    visit(row, oy * g.ow + first_x, oy * g.ow + end_x, (c * g.h + iy) * g.w + ix);
                }
            }
        }
    }
}

/// Whether the unfolded matrix is the image itself.
fn is_unfolded(g: &Geometry) -> bool {
    g.taps() == 1 && g.stride == [1, 1] && (g.h, g.w) == (g.oh, g.ow)
}

/// Whether rows of outputs lie as rows of inputs do, so that an element of the kernel meets the plane shifted as a
/// whole, but for columns that come from the row before or after.
fn is_shifted(g: &Geometry) -> bool {
    g.stride == [1, 1] && g.w == g.ow
}

/// Calls `visit(row of the unfolded matrix, first column, column past the last, index into the planes of the first)`
/// for the shifted plane that each element of the kernel meets.
fn shifts(g: &Geometry, mut visit: impl FnMut(usize, usize, usize, usize)) {
    for c in 0..g.c {
        for ky in 0..g.kh {
            let down = ky * g.dilation[0];
            let (first_y, end_y) = inside(g.h, g.oh, 1, g.top, down);
            for kx in 0..g.kw {
                // Columns -left.. of the first row that is met, and as many past the last.
                let across = kx * g.dilation[1];
                let before = g.left.saturating_sub(across);
                let after = across.saturating_sub(g.left);
                let (first, end) = (first_y * g.ow + before, end_y * g.ow);
                let end = end.saturating_sub(after);
                if first_y < end_y && before < g.w && after < g.w && first < end {
                    let iy = first_y + down - g.top;
                    visit((c * g.kh + ky) * g.kw + kx, first, end, (c * g.h + iy) * g.w + after);
                }
            }
        }
    }
}

/// Makes the columns zero that element `kx` of the kernel meets in the padding left and right.
fn clear_wrapped<T: Real>(g: &Geometry, row: usize, unfolded: &mut [T]) {
    let across = row % g.kw * g.dilation[1];
    let (first, end) = inside(g.w, g.ow, 1, g.left, across);
    if (first, end) == (0, g.ow) {
        return;
    }
    for line in unfolded[row * g.oh * g.ow..][..g.oh * g.ow].chunks_exact_mut(g.ow) {
        line[..first].fill(T::zero());
        line[end..].fill(T::zero());
    }
}

/// Unfolds the planes of one group of an image: rows are (c, ky, kx), columns output positions. Columns in
/// padding are zero already and stay so.
fn unfold<T: Real>(g: &Geometry, planes: &[T], to: &mut [T]) {
    let columns = g.oh * g.ow;
    if is_shifted(g) {
        shifts(g, |row, first, end, from| {
            to[row * columns..][first..end].copy_from_slice(&planes[from..from + (end - first)]);
            clear_wrapped(g, row, to);
        });
        return;
    }
    let step = g.stride[1];
    runs(g, |row, first, end, from| {
        let to = &mut to[row * columns + first..row * columns + end];
        if step == 1 {
            to.copy_from_slice(&planes[from..from + to.len()]);
        } else {
            to.iter_mut().zip(planes[from..].iter().step_by(step)).for_each(|(t, f)| *t = *f);
        }
    });
}

/// Adds an unfolded matrix, which is spoiled, to the planes it came from.
fn fold<T: Real>(g: &Geometry, from: &mut [T], planes: &mut [T]) {
    let columns = g.oh * g.ow;
    if is_shifted(g) {
        shifts(g, |row, first, end, to| {
            clear_wrapped(g, row, from);
            let from = &from[row * columns..][first..end];
            planes[to..to + from.len()].iter_mut().zip(from).for_each(|(t, f)| *t = *t + *f);
        });
        return;
    }
    let step = g.stride[1];
    runs(g, |row, first, end, to| {
        let from = &from[row * columns + first..row * columns + end];
        if step == 1 {
            planes[to..to + from.len()].iter_mut().zip(from).for_each(|(t, f)| *t = *t + *f);
        } else {
            planes[to..].iter_mut().step_by(step).zip(from).for_each(|(t, f)| *t = *t + *f);
        }
    });
}

/// Extents of the slices that belong to one image, and to one group of it.
struct Sizes {
    x: usize,
    y: usize,
    x_group: usize,
    y_group: usize,
    weight_group: usize,
    /// Columns of the unfolded matrix.
    columns: usize,
}

impl Sizes {
    fn new(g: &Geometry) -> Self {
        let (x_group, y_group) = (g.c * g.h * g.w, g.o * g.oh * g.ow);
        Sizes {
            x: g.groups * x_group,
            y: g.groups * y_group,
            x_group,
            y_group,
            weight_group: g.o * g.depth(),
            columns: g.oh * g.ow,
        }
    }
}

/// Runs `work(image, its part of values, room for an unfolded matrix)` for every image, which is `each` elements
/// long.
fn over_images<T: Real>(
    g: &Geometry,
    values: &mut [T],
    each: usize,
    work: impl Fn(usize, &mut [T], &mut [T]) + Sync,
) {
    let room = if is_unfolded(g) { 0 } else { g.depth() * g.oh * g.ow };
    // Fewer images than threads: the threads share each product.
    let most = if g.n < threads::available() { 1 } else { most_threads(g) };
    // Some images at a time, where they are small.
    let several = (g.n / (8 * threads::available())).max(1);
    let parts = values.chunks_mut(several * each).enumerate();
    threads::share(most, parts, |parts| {
        let mut unfolded = vec![T::zero(); room];
        for (i, part) in parts {
            for (k, values) in part.chunks_exact_mut(each).enumerate() {
                work(i * several + k, values, &mut unfolded);
            }
        }
    });
}

/// Puts the bias into its planes of `size`; what they are multiplied by before a product is added.
fn begin<T: Real>(planes: &mut [T], bias: Option<&[T]>, size: usize) -> T {
    let Some(bias) = bias else { return T::zero() };
    planes.chunks_exact_mut(size).zip(bias).for_each(|(plane, bias)| plane.fill(*bias));
    T::one()
}

pub(super) fn forward<T: Real>(g: &Geometry, x: &[T], weight: &[T], bias: Option<&[T]>, y: &mut [T]) {
    let p = Sizes::new(g);
    over_images(g, y, p.y, |i, y, unfolded| {
        let x = &x[i * p.x..][..p.x];
        for group in 0..g.groups {
            let planes = &x[group * p.x_group..][..p.x_group];
            let y = &mut y[group * p.y_group..][..p.y_group];
            let start = begin(y, bias.map(|bias| &bias[group * g.o..]), p.columns);
            let columns = if is_unfolded(g) {
                planes
            } else {
                unfold(g, planes, unfolded);
                &*unfolded
            };
            let a = matrix(&weight[group * p.weight_group..], g.o, g.depth());
            let b = matrix(columns, g.depth(), p.columns);
            product(&a, &b, start, matrix_mut(y, g.o, p.columns));
        }
    });
}

pub(super) fn backward_input<T: Real>(
    g: &Geometry,
    dy: &[T],
    weight: &[T],
    bias: Option<&[T]>,
    dx: &mut [T],
) {
    let p = Sizes::new(g);
    over_images(g, dx, p.x, |i, dx, unfolded| {
        let dy = &dy[i * p.y..][..p.y];
        for group in 0..g.groups {
            let planes = &mut dx[group * p.x_group..][..p.x_group];
            let a = matrix(&weight[group * p.weight_group..], g.o, g.depth()).reversed_axes();
            let b = matrix(&dy[group * p.y_group..], g.o, p.columns);
            let bias = bias.map(|bias| &bias[group * g.c..]);
            if is_unfolded(g) {
                let start = begin(planes, bias, g.h * g.w);
                product(&a, &b, start, matrix_mut(planes, g.depth(), p.columns));
            } else {
                product(&a, &b, T::zero(), matrix_mut(unfolded, g.depth(), p.columns));
                if bias.is_none() {
                    planes.fill(T::zero());
                }
                begin(planes, bias, g.h * g.w);
                fold(g, unfolded, planes);
            }
        }
    });
}

/// Parts of the batch whose sums are added in the end: a number that does not depend on the machine, so
/// that the result does not.
fn batch_parts(g: &Geometry) -> usize {
    let large = g.groups * g.o * g.depth() > 1 << 18;
    g.n.min(if large { 2 } else { 8 })
}

pub(super) fn backward_weight<T: Real>(g: &Geometry, x: &[T], dy: &[T], dw: &mut [T]) {
    let p = Sizes::new(g);
    let parts = batch_parts(g);
    let images = g.n.div_ceil(parts);
    let mut sums = vec![T::zero(); parts * dw.len()];
    let one = |part: usize, sum: &mut [T], unfolded: &mut [T]| {
        for i in part * images..((part + 1) * images).min(g.n) {
            let (x, dy) = (&x[i * p.x..][..p.x], &dy[i * p.y..][..p.y]);
            for group in 0..g.groups {
                let planes = &x[group * p.x_group..][..p.x_group];
                let columns = if is_unfolded(g) {
                    planes
                } else {
                    unfold(g, planes, unfolded);
                    &*unfolded
                };
                let a = matrix(&dy[group * p.y_group..], g.o, p.columns);
                let b = matrix(columns, g.depth(), p.columns).reversed_axes();
                let sum = &mut sum[group * p.weight_group..];
                product(&a, &b, T::one(), matrix_mut(sum, g.o, g.depth()));
            }
        }
    };
    let room = if is_unfolded(g) { 0 } else { g.depth() * p.columns };
    let most = if parts == 1 { 1 } else { most_threads(g) };
    threads::share(most, sums.chunks_exact_mut(dw.len()).enumerate(), |sums| {
        let mut unfolded = vec![T::zero(); room];
        sums.for_each(|(part, sum)| one(part, sum, &mut unfolded));
    });
    dw.fill(T::zero());
    for sum in sums.chunks_exact(dw.len()) {
        dw.iter_mut().zip(sum).for_each(|(d, s)| *d = *d + *s);
    }
}
