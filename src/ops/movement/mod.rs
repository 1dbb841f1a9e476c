//! Ops that move elements without computing: reshape, permute, slice, broadcast, copy, pad, concat.
//! Kernels: `shaders/movement.wgsl`.

mod join;
mod methods;
mod pad;
mod strided;

use super::{Arg, Case, Dispatch, In, KernelContext, Out, Real, Slice as Elements, SliceMut, float, uniform};
use crate::error::Result;
use crate::shape::{DType, Shape, TensorType};
use join::Concat;
use pad::Pad;
use strided::{Broadcast, Copied, Moved, Permute, Reshape, SliceAxis};

/// Uniform of the kernels that read or write with strides.
#[derive(Debug, Clone, Copy)]
struct MoveParams {
    elements: u32,
    rank: u32,
    base: u32,
    dims: [u32; 8],
    strides: [u32; 8],
}

impl MoveParams {
    /// With as few axes as do: those of extent 1 are left out, and one that continues the next is merged with
    /// it, since kernels divide by the extents.
    fn new(shape: &Shape, strides: &[usize], base: usize) -> Self {
        let mut axes: Vec<(usize, usize)> = Vec::new();
        for (&extent, &stride) in shape.dims().iter().zip(strides).filter(|(extent, _)| **extent != 1) {
            match axes.last_mut() {
                Some(outer) if outer.1 == extent * stride => *outer = (outer.0 * extent, stride),
                _ => axes.push((extent, stride)),
            }
        }
        let mut p = MoveParams {
            elements: shape.elements() as u32,
            rank: axes.len() as u32,
            base: base as u32,
            dims: [1; 8],
            strides: [0; 8],
        };
        for (axis, (extent, stride)) in axes.into_iter().enumerate() {
            p.dims[axis] = extent as u32;
            p.strides[axis] = stride as u32;
        }
        p
    }

    /// Whether the last axis consists of whole vectors of four, and whether these lie so on the side with strides.
    fn fours(&self) -> (bool, bool) {
        let Some(last) = (self.rank as usize).checked_sub(1) else { return (false, false) };
        let whole = self.dims[last].is_multiple_of(4);
        let offsets = self.strides[..last].iter().chain([&self.base]);
        (whole, whole && self.strides[last] == 1 && offsets.into_iter().all(|o| o.is_multiple_of(4)))
    }

    fn read(&self, ctx: &KernelContext<'_>) -> Result<Dispatch> {
        let entry = match self.fours() {
            (_, true) => "strided_read4",
            (true, false) => "strided_gather4",
            (false, _) => "strided_read",
        };
        self.launch(ctx, 0, entry)
    }

    fn write(&self, ctx: &KernelContext<'_>, input: usize) -> Result<Dispatch> {
        self.launch(ctx, input, if self.fours().1 { "strided_write4" } else { "strided_write" })
    }

    fn launch(&self, ctx: &KernelContext<'_>, input: usize, entry: &str) -> Result<Dispatch> {
        let width = if entry.ends_with('4') { 4 } else { 1 };
        let &MoveParams { elements, rank, base, dims, strides } = self;
        let params = uniform! { elements, rank, base, dims, strides };
        let args = [Arg::Input(input), Arg::Output(0)];
        Ok(ctx
            .launch_over(entry, args, &params, elements as usize / width)?
            .loop_iterations(4 * rank as usize))
    }
}

/// Copies elements to positions and from positions, whatever their type.
fn transfer<T: Real>(from: &In<'_, T>, to: &mut Out<'_, T>, pairs: impl Fn(&mut dyn FnMut(usize, usize))) {
    match (&from.data, &mut to.data) {
        (Elements::F(x), SliceMut::F(y)) => pairs(&mut |to, from| y[to] = x[from]),
        (Elements::U32(x), SliceMut::U32(y)) => pairs(&mut |to, from| y[to] = x[from]),
        (Elements::U8(x), SliceMut::U8(y)) => pairs(&mut |to, from| y[to] = x[from]),
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
