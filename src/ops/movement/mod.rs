//! Ops that move elements without computing: reshape, permute, slice, broadcast, copy, pad, concat.
//! Kernels: `shaders/movement.wgsl`.

mod assemble;
mod join;
mod methods;
mod pad;
mod strided;

use super::{
    Arg, Case, Dispatch, In, KernelContext, Out, Program, Real, Slice as Elements, SliceMut, StridedCopy,
    View, float, uniform,
};
use crate::error::Result;
use crate::shape::{DType, MAX_RANK, TensorType};
pub(crate) use assemble::Assembled;
use join::Concat;
use pad::Pad;
pub(crate) use strided::{AsStrided, Moved, Reshape};
use strided::{Broadcast, Copied, Permute, SliceAxis};

/// Extents or strides as the kernels' uniforms hold them.
fn along<T>(axes: &[T], missing: u32, of: impl Fn(&T) -> usize) -> [u32; MAX_RANK] {
    std::array::from_fn(|k| axes.get(k).map_or(missing, |axis| of(axis) as u32))
}

/// Reads input 0 by the view.
fn read(view: &View, ctx: &KernelContext<'_>) -> Result<Dispatch> {
    let View { axes, base } = view;
    let (rank, elements) = (axes.len(), view.elements());
    let (entry, width) = match axes.split_last() {
        Some(((extent, stride), before)) if extent.is_multiple_of(4) => {
            let mut offsets = before.iter().map(|(_, stride)| stride).chain([base]);
            let aligned = *stride == 1 && offsets.all(|o| o.is_multiple_of(4));
            (if aligned { "strided_read4" } else { "strided_gather4" }, 4)
        }
        _ => ("strided_read", 1),
    };
    let params = uniform! {
        elements, rank, base: *base, dims: along(axes, 1, |a| a.0), strides: along(axes, 0, |a| a.1),
    };
    let launch = ctx.launch_over(entry, [Arg::Input(0), Arg::Output(0)], &params, elements / width)?;
    Ok(launch.loop_iterations(4 * rank))
}

/// Copies each input to its place in the output, by launches that know nothing of each other.
fn copies<'a>(all: impl IntoIterator<Item = &'a StridedCopy>, ctx: &KernelContext<'_>) -> Result<Program> {
    let copy = |(input, copy): (usize, &StridedCopy)| {
        let StridedCopy { axes, bases: [source, result] } = copy;
        let (rank, elements) = (axes.len(), axes.iter().map(|(extent, _)| extent).product::<usize>());
        let (entry, width) = match axes.split_last() {
            Some(((extent, [1, 1]), before)) if extent.is_multiple_of(4) => {
                let mut offsets = before.iter().flat_map(|(_, strides)| strides).chain(&copy.bases);
                if offsets.all(|o| o.is_multiple_of(4)) { ("strided_copy4", 4) } else { ("strided_copy", 1) }
            }
            _ => ("strided_copy", 1),
        };
        let params = uniform! {
            elements, rank, read_base: *source, write_base: *result, dims: along(axes, 1, |a| a.0),
            reads: along(axes, 0, |a| a.1[0]), writes: along(axes, 0, |a| a.1[1]),
        };
        let args = [Arg::Input(input), Arg::Output(0)];
        let launch = ctx.launch_over(entry, args, &params, elements / width)?;
        Ok(launch.loop_iterations(4 * rank))
    };
    let dispatches = all.into_iter().enumerate().map(copy).collect::<Result<_>>()?;
    Ok(Program { in_any_order: true, ..Program::new(dispatches, Vec::new()) })
}

/// Copies elements, whatever their type.
fn transfer<T: Real>(from: &In<'_, T>, to: &mut Out<'_, T>, copy: &StridedCopy) {
    match (&from.data, &mut to.data) {
        (Elements::F(x), SliceMut::F(y)) => copy.each(|from, to| y[to] = x[from]),
        (Elements::U32(x), SliceMut::U32(y)) => copy.each(|from, to| y[to] = x[from]),
        (Elements::U8(x), SliceMut::U8(y)) => copy.each(|from, to| y[to] = x[from]),
        _ => {}
    }
}

fn no_bytes(inputs: &[TensorType]) -> Result<(), String> {
    match inputs.iter().find(|i| i.dtype == DType::U8) {
        Some(_) => Err("bytes can only be reshaped, gathered by rows and converted with to_f32".into()),
        None => Ok(()),
    }
}

pub(super) fn cases() -> Vec<Case> {
    let slice = |axis, start, count, step| Moved(SliceAxis { axis, start, count, step });
    let broadcast = |dims: &[usize]| Moved(Broadcast { shape: float(dims).shape });
    let pad = |before: &[usize], after: &[usize], interior: &[usize]| Pad {
        before: before.to_vec(),
        after: after.to_vec(),
        interior: interior.to_vec(),
        value: -1.5,
    };
    vec![
        Case::new(Moved(Copied), &[&[1]]),
        Case::new(Moved(Copied), &[&[7, 19]]),
        Case::new(Moved(Copied), &[&[7, 20, 3]]),
        Case::new(Reshape { shape: float(&[6, 4]).shape }, &[&[2, 3, 4]]),
        Case::new(Reshape { shape: float(&[]).shape }, &[&[1, 1]]),
        Case::new(Moved(Permute { axes: vec![1, 0] }), &[&[1, 1]]),
        Case::new(Moved(Permute { axes: vec![1, 0] }), &[&[37, 65]]),
        Case::new(Moved(Permute { axes: vec![1, 0] }), &[&[3, 5]]).index(0, 9).no_gradient(),
        Case::new(Moved(Permute { axes: vec![3, 1, 0, 2] }), &[&[2, 3, 4, 5]]),
        Case::new(Moved(Permute { axes: vec![5, 4, 3, 2, 1, 0] }), &[&[1, 2, 3, 1, 2, 3]]),
        Case::new(Moved(Permute { axes: vec![1, 0, 2] }), &[&[3, 5, 8]]),
        Case::new(Moved(Permute { axes: vec![1, 0, 2] }), &[&[3, 5, 8]]).index(0, 9).no_gradient(),
        Case::new(Moved(Permute { axes: vec![1, 0] }), &[&[68, 65]]),
        Case::new(slice(0, 0, 1, 1), &[&[1]]),
        Case::new(slice(1, 1, 8, 1), &[&[6, 12]]),
        Case::new(slice(1, 4, 8, 1), &[&[6, 12]]),
        Case::new(slice(1, 4, 8, 1), &[&[6, 13]]),
        Case::new(pad(&[0, 1, 0, 1, 2, 2], &[1, 0, 0, 1, 1, 0], &[1, 0, 2, 0, 2, 3]), &[&[2, 1, 2, 2, 3, 2]]),
        // More workgroups than a folded grid has in a row.
        Case::new(pad(&[0, 4], &[4, 0], &[0, 0]), &[&[64, 64]]).no_gradient(),
        Case::new(slice(1, 0, 8, 3), &[&[5, 24]]),
        Case::new(slice(1, 2, 3, 1), &[&[4, 7, 2]]),
        Case::new(slice(1, 1, 3, 2), &[&[4, 7, 2]]),
        Case::new(slice(0, 60, 130, 1), &[&[200, 3]]),
        Case::new(broadcast(&[3, 4]), &[&[]]),
        Case::new(broadcast(&[3, 5, 4]), &[&[5, 1]]),
        Case::new(broadcast(&[67, 9]), &[&[9]]),
        Case::new(broadcast(&[67, 12]), &[&[12]]),
        Case::new(broadcast(&[9, 5, 12]), &[&[9, 1, 1]]),
        Case::new(pad(&[0], &[0], &[0]), &[&[1]]),
        Case::new(pad(&[1, 2], &[3, 0], &[0, 0]), &[&[4, 5]]),
        Case::new(pad(&[1, 0, 2], &[0, 1, 1], &[2, 0, 1]), &[&[3, 4, 5]]),
        // By four, with axes that are one.
        Case::new(pad(&[0, 4], &[0, 8], &[0, 0]), &[&[5, 12]]),
        Case::new(pad(&[2, 0, 0], &[1, 0, 0], &[0, 0, 0]), &[&[3, 2, 6]]),
        Case::new(pad(&[0, 1, 0], &[0, 2, 0], &[0, 0, 0]), &[&[3, 5, 7]]),
        Case::new(pad(&[1, 0, 8], &[0, 3, 4], &[1, 2, 0]), &[&[2, 3, 4]]),
        Case::new(pad(&[0, 0], &[3, 0], &[2, 0]), &[&[4, 8]]),
        Case::new(Concat { axis: 0 }, &[&[3]]),
        Case::new(Concat { axis: 0 }, &[&[1, 4], &[2, 4], &[5, 4]]),
        Case::new(Concat { axis: 2 }, &[&[3, 2, 1], &[3, 2, 6]]),
        Case::new(Concat { axis: 1 }, &[&[17, 5], &[17, 64]]),
        Case::new(Concat { axis: 1 }, &[&[17, 4], &[17, 3], &[17, 64]]),
        Case::new(Concat { axis: 1 }, &[&[17, 4], &[17, 64], &[17, 8]]),
    ]
}
