//! Ops that move elements without computing: reshape, permute, slice, broadcast, copy, pad, concat.
//! Kernels: `shaders/movement.wgsl`.

mod join;
mod methods;
mod pad;
mod strided;

use super::{Case, In, Out, Real, Slice as Elements, SliceMut, float};
use crate::shape::{DType, Shape, TensorType};
use join::Concat;
use pad::Pad;
use strided::{Broadcast, Copied, Moved, Permute, Reshape, SliceAxis};

const WORKGROUP: usize = 64;

/// Uniform of the kernels that read or write with strides.
#[repr(C)]
#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct MoveParams {
    elements: u32,
    rank: u32,
    base: u32,
    _pad: u32,
    dims: [u32; 8],
    strides: [u32; 8],
}

impl MoveParams {
    fn new(shape: &Shape, strides: &[usize], base: usize) -> Self {
        let mut p = MoveParams {
            elements: shape.elements() as u32,
            rank: shape.rank() as u32,
            base: base as u32,
            _pad: 0,
            dims: [1; 8],
            strides: [0; 8],
        };
        for axis in 0..shape.rank() {
            p.dims[axis] = shape.dim(axis) as u32;
            p.strides[axis] = strides[axis] as u32;
        }
        p
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
        Case::new(Reshape { shape: float(&[6, 4]).shape }, &[&[2, 3, 4]]),
        Case::new(Reshape { shape: float(&[]).shape }, &[&[1, 1]]),
        Case::new(Moved(Permute { axes: vec![1, 0] }), &[&[1, 1]]),
        Case::new(Moved(Permute { axes: vec![1, 0] }), &[&[37, 65]]),
        Case::new(Moved(Permute { axes: vec![1, 0] }), &[&[3, 5]]).index(0, 9).no_gradient(),
        Case::new(Moved(Permute { axes: vec![3, 1, 0, 2] }), &[&[2, 3, 4, 5]]),
        Case::new(Moved(Permute { axes: vec![5, 4, 3, 2, 1, 0] }), &[&[1, 2, 3, 1, 2, 3]]),
        Case::new(slice(0, 0, 1, 1), &[&[1]]),
        Case::new(slice(1, 2, 3, 1), &[&[4, 7, 2]]),
        Case::new(slice(1, 1, 3, 2), &[&[4, 7, 2]]),
        Case::new(slice(0, 60, 130, 1), &[&[200, 3]]),
        Case::new(broadcast(&[3, 4]), &[&[]]),
        Case::new(broadcast(&[3, 5, 4]), &[&[5, 1]]),
        Case::new(broadcast(&[67, 9]), &[&[9]]),
        Case::new(pad(&[0], &[0], &[0]), &[&[1]]),
        Case::new(pad(&[1, 2], &[3, 0], &[0, 0]), &[&[4, 5]]),
        Case::new(pad(&[1, 0, 2], &[0, 1, 1], &[2, 0, 1]), &[&[3, 4, 5]]),
        Case::new(Concat { axis: 0 }, &[&[3]]),
        Case::new(Concat { axis: 0 }, &[&[1, 4], &[2, 4], &[5, 4]]),
        Case::new(Concat { axis: 2 }, &[&[3, 2, 1], &[3, 2, 6]]),
        Case::new(Concat { axis: 1 }, &[&[17, 5], &[17, 64]]),
    ]
}
