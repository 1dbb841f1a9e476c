//! The formulas as the CPU device runs them: rows of the batch have nothing to do with each other, so that threads share them,
//! each for all times.

use ndarray::linalg::general_mat_mul;
use ndarray::{ArrayView2, ArrayViewMut2, ArrayViewMut3, Axis};

use super::reference::{Backward, Forward};
use super::{CellKind, Extents, Walk};
use crate::host::{self, threads};
use crate::ops::{Out, Real};

/// Rows of the batch that one thread has.
fn rows_each(e: Extents) -> usize {
    let work = e.batch * e.times * e.gates * e.hidden * e.hidden;
    let parts = threads::available().min(work / host::PART).max(1);
    e.batch.div_ceil(parts)
}

/// A sequence `[time, batch, columns]`, however it lies.
fn by_time<'a, T>(walk: Walk, e: Extents, values: &'a mut [T]) -> Result<ArrayViewMut3<'a, T>, String> {
    let columns = values.len() / (e.batch * e.times);
    let wrong = |e: ndarray::ShapeError| e.to_string();
    if walk.batch_first {
        let view = ArrayViewMut3::from_shape((e.batch, e.times, columns), values).map_err(wrong)?;
        return Ok(view.permuted_axes([1, 0, 2]));
    }
    ArrayViewMut3::from_shape((e.times, e.batch, columns), values).map_err(wrong)
}

/// `[first axis, batch, rest]` of what lies in the order of the walk.
fn by_step<'a, T>(e: Extents, values: &'a mut [T], steps: usize) -> Result<ArrayViewMut3<'a, T>, String> {
    let columns = values.len() / (steps * e.batch);
    ArrayViewMut3::from_shape((steps, e.batch, columns), values).map_err(|e| e.to_string())
}

/// The rows of each thread; nothing for each where there is no view.
fn parts<T>(view: Option<ArrayViewMut3<'_, T>>, rows: usize, e: Extents) -> Vec<Part<'_, T>> {
    let count = e.batch.div_ceil(rows);
    let Some(mut rest) = view else { return (0..count).map(|_| None).collect() };
    let mut all = Vec::with_capacity(count);
    while rest.dim().1 > rows {
        let (part, below) = rest.split_at(Axis(1), rows);
        all.push(Some(part));
        rest = below;
    }
    all.push(Some(rest));
    all
}

/// The elements of one line of a view.
fn line<'a, T>(view: &'a mut ArrayViewMut3<'_, T>, step: usize, row: usize) -> &'a mut [T] {
    let line = view.index_axis_mut(Axis(0), step).index_axis_move(Axis(0), row);
    line.into_slice().expect("columns lie side by side")
}

/// `CellKind::forward` for all units of a row: `u` holds U h + b, and is written over, and so is `next`, of one number a unit.
fn units<T: Real>(cell: CellKind, x: &[T], [u, next]: [&mut [T]; 2], [h, c]: [&mut [T]; 2], kept: &mut [T]) {
    let n = h.len();
    // What x and h give to the gates, but for the last one of a GRU, where they stay apart.
    let joint = if cell == CellKind::Gru { 2 * n } else { u.len() };
    u[..joint].iter_mut().zip(x).for_each(|(u, &x)| *u = *u + x);
    let mut keep = |gates: &dyn Fn(usize) -> [T; 4]| {
        kept.chunks_exact_mut(4).enumerate().for_each(|(k, to)| to.copy_from_slice(&gates(k)));
    };
    match cell {
        CellKind::Tanh => {
            T::tanhs(u);
            h.copy_from_slice(u);
        }
        CellKind::Relu => {
            h.iter_mut().zip(u).for_each(|(h, u)| *h = if *u <= T::zero() { T::zero() } else { *u })
        }
        CellKind::Lstm => {
            T::sigmoids(&mut u[..2 * n]);
            T::tanhs(&mut u[2 * n..3 * n]);
            T::sigmoids(&mut u[3 * n..]);
            let [i, f, g, o] = [0, 1, 2, 3].map(|k| &u[k * n..][..n]);
            let of_gates = i.iter().zip(f).zip(g);
            c.iter_mut().zip(of_gates).for_each(|(c, ((&i, &f), &g))| *c = f * *c + i * g);
            h.copy_from_slice(c);
            T::tanhs(h);
            h.iter_mut().zip(o).for_each(|(h, &o)| *h = o * *h);
            keep(&|k| [i[k], f[k], g[k], o[k]]);
        }
        CellKind::Gru => {
            T::sigmoids(&mut u[..2 * n]);
            let (gates, of_h) = u.split_at(2 * n);
            let (r, z) = gates.split_at(n);
            let of_last = x[2 * n..].iter().zip(r).zip(of_h.iter());
            next.iter_mut().zip(of_last).for_each(|(next, ((&x, &r), &u))| *next = x + r * u);
            T::tanhs(next);
            let of_gates = z.iter().zip(&*next);
            h.iter_mut().zip(of_gates).for_each(|(h, (&z, &n))| *h = (T::one() - z) * n + z * *h);
            keep(&|k| [r[k], z[k], next[k], of_h[k]]);
        }
    }
}

/// A thread's rows of an output; nothing of an output that there is not.
type Part<'a, T> = Option<ArrayViewMut3<'a, T>>;

/// Rows of a matrix.
fn matrix<T>(values: &[T], rows: usize) -> ArrayView2<'_, T> {
    ArrayView2::from_shape((rows, values.len() / rows), values).expect("whole rows")
}

/// c = a b.
fn product<T: Real>(a: &ArrayView2<'_, T>, b: &ArrayView2<'_, T>, c: &mut [T]) {
    let shape = (a.nrows(), b.ncols());
    let mut c = ArrayViewMut2::from_shape(shape, c).expect("as many rows as a has");
    general_mat_mul(T::one(), a, b, T::zero(), &mut c);
}

/// As `Walk::forward`.
pub(super) fn forward<T: Real>(
    walk: Walk,
    e: Extents,
    of: &Forward<'_, T>,
    outputs: &mut [Out<'_, T>],
) -> Result<(), String> {
    let mut outputs = outputs.iter_mut();
    let mut next = || outputs.next().map(Out::f).ok_or("has too few outputs");
    let h = by_time(walk, e, next()?)?;
    let cells = if walk.cell.has_cell() { Some(by_step(e, next()?, e.times + 1)?) } else { None };
    let gates = if walk.cell.keeps_gates() { Some(by_step(e, next()?, e.times)?) } else { None };
    let rows = rows_each(e);
    let all = parts(Some(h), rows, e).into_iter().zip(parts(cells, rows, e)).zip(parts(gates, rows, e));
    let weight = matrix(of.weight, e.gates * e.hidden);
    threads::share(e.batch.div_ceil(rows), all.enumerate(), |all| {
        all.for_each(|(k, ((h, cells), gates))| {
            forward_rows(walk, e, of, &weight, k * rows, [h, cells, gates])
        });
    });
    Ok(())
}

/// Rows from `first` on.
fn forward_rows<T: Real>(
    walk: Walk,
    e: Extents,
    of: &Forward<'_, T>,
    weight: &ArrayView2<'_, T>,
    first: usize,
    [all, mut cells, mut kept]: [Part<'_, T>; 3],
) {
    let Extents { hidden, gates, .. } = e;
    let Some(mut all) = all else { return };
    let rows = all.dim().1;
    let [mut h, mut c] = [0, 1].map(|k| match of.initial.get(k) {
        Some(state) => state[first * hidden..][..rows * hidden].to_vec(),
        None => vec![T::zero(); rows * hidden],
    });
    let mut sums = vec![T::zero(); rows * gates * hidden];
    let mut scratch = vec![T::zero(); hidden];
    for step in 0..e.times {
        let time = walk.time(e, step);
        if let Some(cells) = &mut cells {
            (0..rows).for_each(|r| line(cells, step, r).copy_from_slice(&c[r * hidden..][..hidden]));
        }
        if step > 0 || !of.initial.is_empty() {
            product(&matrix(&h, rows), &weight.t(), &mut sums);
        }
        for (row, sums) in sums.chunks_exact_mut(gates * hidden).enumerate() {
            let [h, c] = [&mut h, &mut c].map(|v| &mut v[row * hidden..][..hidden]);
            let kept = kept.as_mut().map(|kept| line(kept, step, row));
            let x = &of.x[walk.line(e, first + row, time) * gates * hidden..][..gates * hidden];
            if Walk::has_ended(of.lengths, first + row, time) {
                kept.into_iter().for_each(|kept| kept.fill(T::zero()));
            } else {
                if let Some(bias) = of.bias {
                    sums.iter_mut().zip(bias).for_each(|(sum, &b)| *sum = *sum + b);
                }
                units(walk.cell, x, [sums, &mut scratch], [h, c], kept.unwrap_or_default());
            }
            line(&mut all, time, row).copy_from_slice(h);
        }
    }
    if let Some(cells) = &mut cells {
        (0..rows).for_each(|r| line(cells, e.times, r).copy_from_slice(&c[r * hidden..][..hidden]));
    }
}

/// As `Walk::backward`.
pub(super) fn backward<T: Real>(
    walk: Walk,
    e: Extents,
    of: &Backward<'_, T>,
    outputs: &mut [Out<'_, T>],
) -> Result<(), String> {
    let mut outputs = outputs.iter_mut();
    let mut next = || outputs.next().map(Out::f).ok_or("has too few outputs");
    let dx = by_time(walk, e, next()?)?;
    let du = if walk.cell == CellKind::Gru { Some(by_time(walk, e, next()?)?) } else { None };
    let dh = if walk.has_initial { Some(by_step(e, next()?, 1)?) } else { None };
    let dc = if walk.has_initial && walk.cell.has_cell() { Some(by_step(e, next()?, 1)?) } else { None };
    let rows = rows_each(e);
    let of_x = parts(Some(dx), rows, e).into_iter().zip(parts(du, rows, e));
    let of_first = parts(dh, rows, e).into_iter().zip(parts(dc, rows, e));
    let weight = matrix(of.weight, e.gates * e.hidden);
    threads::share(e.batch.div_ceil(rows), of_x.zip(of_first).enumerate(), |all| {
        all.for_each(|(k, ((dx, du), (dh, dc)))| {
            backward_rows(walk, e, of, &weight, k * rows, [dx, du, dh, dc])
        });
    });
    Ok(())
}

/// Rows from `first` on.
fn backward_rows<T: Real>(
    walk: Walk,
    e: Extents,
    of: &Backward<'_, T>,
    weight: &ArrayView2<'_, T>,
    first: usize,
    [dx, mut du, mut first_h, mut first_c]: [Part<'_, T>; 4],
) {
    let Extents { batch, hidden, gates, .. } = e;
    let Some(mut dx) = dx else { return };
    let rows = dx.dim().1;
    // What goes to the state before, past the product and by it, and to c.
    let [mut dh, mut dc] = [(); 2].map(|()| vec![T::zero(); rows * hidden]);
    // The tanh of an LSTM's cells.
    let mut cells = vec![T::zero(); hidden];
    let mut by_product = vec![T::zero(); rows * hidden];
    let mut products = vec![T::zero(); rows * gates * hidden];
    for step in (0..e.times).rev() {
        let time = walk.time(e, step);
        for (row, products) in products.chunks_exact_mut(gates * hidden).enumerate() {
            let by_product = &by_product[row * hidden..][..hidden];
            let line_of = walk.line(e, first + row, time);
            let of_step = (step * batch + first + row) * hidden;
            let [dh, dc] = [&mut dh, &mut dc].map(|v| &mut v[row * hidden..][..hidden]);
            let above = &of.dh[line_of * hidden..][..hidden];
            dh.iter_mut().zip(by_product).zip(above).for_each(|((dh, &a), &b)| *dh = b + a + *dh);
            if let Some(all) = of.dcells {
                let after = &all[of_step + batch * hidden..][..hidden];
                dc.iter_mut().zip(after).for_each(|(dc, &d)| *dc = *dc + d);
            }
            let to = line(&mut dx, time, row);
            let mut to_products = du.as_mut().map(|du| line(du, time, row));
            if Walk::has_ended(of.lengths, first + row, time) {
                to.fill(T::zero());
                to_products.into_iter().for_each(|to| to.fill(T::zero()));
                products.fill(T::zero());
                continue;
            }
            let states = match walk.cell {
                CellKind::Lstm => &of.states[of_step..][..hidden],
                _ => &of.states[line_of * hidden..][..hidden],
            };
            let kept = |unit: usize| {
                of.gates.map_or([T::zero(); 4], |all| {
                    let at = 4 * (of_step + unit);
                    [all[at], all[at + 1], all[at + 2], all[at + 3]]
                })
            };
            if walk.cell == CellKind::Lstm {
                let after = cells.iter_mut().zip(states).enumerate();
                after.for_each(|(unit, (c, &before))| *c = walk.cell.cell_after(kept(unit), before));
                T::tanhs(&mut cells);
            }
            for unit in 0..hidden {
                let back = walk.cell.backward(kept(unit), states[unit], cells[unit], dh[unit], dc[unit]);
                for gate in 0..gates {
                    to[gate * hidden + unit] = back.dx[gate];
                    products[gate * hidden + unit] =
                        if gate + 1 == gates { back.last } else { back.dx[gate] };
                }
                (dh[unit], dc[unit]) = (back.dh, back.dc);
            }
            to_products.iter_mut().for_each(|to| to.copy_from_slice(products));
        }
        if step > 0 || walk.has_initial {
            product(&matrix(&products, rows), weight, &mut by_product);
        }
    }
    for row in 0..rows {
        let at = row * hidden;
        if let Some(to) = &mut first_h {
            let sums = dh[at..].iter().zip(&by_product[at..]);
            line(to, 0, row).iter_mut().zip(sums).for_each(|(to, (&a, &b))| *to = a + b);
        }
        if let Some(to) = &mut first_c {
            let of_first = of.dcells.map(|all| &all[(first + row) * hidden..][..hidden]);
            for (unit, to) in line(to, 0, row).iter_mut().enumerate() {
                *to = dc[at + unit] + of_first.map_or(T::zero(), |d| d[unit]);
            }
        }
    }
}
