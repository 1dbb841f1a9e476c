//! What the CPU device runs: row by row of the merged axes, each argument at its own stride, on threads.

use super::{Elements, Formula, In, Real};
use crate::host::threads;
use crate::shape::MAX_RANK;

/// Elements of an argument, from the first of a row on, and the distance of neighbours.
type Line<'a, T> = (&'a [T], usize);

/// y = f(arguments) along one row.
fn along<T: Real, F: Formula>(f: F, y: &mut [T], [a, b, c]: [Line<'_, T>; 3]) {
    let zero = T::zero();
    // The loops that compilers turn into vector instructions; `zip` needs no checks of bounds.
    match (F::ARITY, a.1, b.1, c.1) {
        (1, 1, ..) => y.iter_mut().zip(a.0).for_each(|(y, &a)| *y = f.eval([a, zero, zero])),
        (2, 1, 1, _) => {
            y.iter_mut().zip(a.0).zip(b.0).for_each(|((y, &a), &b)| *y = f.eval([a, b, zero]));
        }
        (2, 1, 0, _) => {
            let b = b.0[0];
            y.iter_mut().zip(a.0).for_each(|(y, &a)| *y = f.eval([a, b, zero]));
        }
        (2, 0, 1, _) => {
            let a = a.0[0];
            y.iter_mut().zip(b.0).for_each(|(y, &b)| *y = f.eval([a, b, zero]));
        }
        (3, 1, 1, 1) => {
            let arguments = a.0.iter().zip(b.0).zip(c.0);
            y.iter_mut().zip(arguments).for_each(|(y, ((&a, &b), &c))| *y = f.eval([a, b, c]));
        }
        _ => {
            for (i, y) in y.iter_mut().enumerate() {
                *y = f.eval([a.0[i * a.1], b.0[i * b.1], c.0[i * c.1]]);
            }
        }
    }
}

/// y = f(inputs), which are read as `walk` says.
pub(super) fn apply<T: Real, F: Formula>(f: F, walk: &Elements, inputs: &[In<'_, T>], y: &mut [T]) {
    let (outer, row) = match &walk.dims[..] {
        [outer @ .., row] => (outer, *row),
        [] => (&[][..], 1),
    };
    let missing = [T::zero()];
    let argument = |k: usize| inputs.get(k).map_or(&missing[..], In::f);
    let arguments = [argument(0), argument(1), argument(2)];
    let strides = |k: usize| walk.strides.get(k).map_or(&[][..], Vec::as_slice);
    let strides = [strides(0), strides(1), strides(2)];
    let step = strides.map(|s| s.last().copied().unwrap_or(0));
    let unit = if outer.is_empty() { 1 } else { row };
    threads::runs(y, unit, 1, |first, y| {
        if outer.is_empty() {
            let line = |k: usize| (&arguments[k][first * step[k]..], step[k]);
            return along(f, y, [line(0), line(1), line(2)]);
        }
        // The place of the first row in the outer axes, and the arguments' offsets there.
        let (mut index, mut offset, mut rest) = ([0; MAX_RANK], [0; 3], first / row);
        for axis in (0..outer.len()).rev() {
            index[axis] = rest % outer[axis];
            rest /= outer[axis];
            (0..3).for_each(|k| offset[k] += index[axis] * strides[k].get(axis).copied().unwrap_or(0));
        }
        for y in y.chunks_exact_mut(row) {
            let line = |k: usize| (&arguments[k][offset[k]..], step[k]);
            along(f, y, [line(0), line(1), line(2)]);
            for axis in (0..outer.len()).rev() {
                let stride = |k: usize| strides[k].get(axis).copied().unwrap_or(0);
                index[axis] += 1;
                (0..3).for_each(|k| offset[k] += stride(k));
                if index[axis] < outer[axis] {
                    break;
                }
                (0..3).for_each(|k| offset[k] -= stride(k) * outer[axis]);
                index[axis] = 0;
            }
        }
    });
}
