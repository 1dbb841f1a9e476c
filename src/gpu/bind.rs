//! Bindings of a launch, and buffers of constants.

use super::cache::Pipeline;
use super::{Shared, storage_usage};
use crate::error::{Error, Result};
use crate::graph::Recording;
use crate::op::{Arg, Dispatch, Out, Reference, SliceMut};
use crate::plan::ConstantSource;
use crate::shape::TensorType;
use crate::tensor::Feed;

/// A part of a buffer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Region<'a> {
    pub(crate) buffer: &'a wgpu::Buffer,
    pub(crate) offset: usize,
    pub(crate) bytes: usize,
}

impl<'a> Region<'a> {
    fn resource(self) -> wgpu::BindingResource<'a> {
        wgpu::BindingResource::Buffer(wgpu::BufferBinding {
            buffer: self.buffer,
            offset: self.offset as u64,
            size: wgpu::BufferSize::new(self.bytes as u64),
        })
    }
}

/// Binds a dispatch's storage, in the order of its arguments, and its uniform.
pub(crate) fn bind(
    gpu: &Shared,
    label: &str,
    pipeline: &Pipeline,
    dispatch: &Dispatch,
    storage: &[Region<'_>],
    uniform: Region<'_>,
) -> Result<wgpu::BindGroup> {
    let wrong = |what: &str| Err(Error::Invalid(format!("{label}: {what} of {}", dispatch.kernel.key)));
    if pipeline.storage.len() != storage.len() {
        return wrong("the op's arguments are not the storage bindings");
    }
    if pipeline.uniform.is_some() == dispatch.uniform.is_empty() {
        return wrong("the op's parameters are not the uniform");
    }
    let mut entries = Vec::new();
    for ((&(binding, writes), arg), region) in pipeline.storage.iter().zip(&dispatch.args).zip(storage) {
        if writes != matches!(arg, Arg::Output(_) | Arg::Scratch(_)) {
            return wrong(&format!("{arg:?} does not have the access of binding {binding}"));
        }
        entries.push(wgpu::BindGroupEntry { binding, resource: region.resource() });
    }
    let uniform =
        pipeline.uniform.map(|binding| wgpu::BindGroupEntry { binding, resource: uniform.resource() });
    entries.extend(uniform);
    gpu.count_bind_group();
    Ok(gpu.device.create_bind_group(&wgpu::BindGroupDescriptor {
        label: Some(label),
        layout: &pipeline.layout,
        entries: &entries,
    }))
}

/// A constant's buffer, filled.
pub(super) fn constant(
    gpu: &Shared,
    r: &Recording,
    source: ConstantSource,
    ty: TensorType,
) -> Result<wgpu::Buffer> {
    let advice = "give data of this size as an input, in pieces";
    let buffer = gpu.buffer_or(&format!("a constant {ty}"), ty.bytes(), storage_usage(), advice)?;
    match source {
        ConstantSource::Tensor(i) => gpu.write(&buffer, (&*r.constants[i].0).into()),
        ConstantSource::Node(n) => {
            let mut values = vec![0f32; ty.shape.elements()];
            let mut out = [Out { shape: ty.shape, data: SliceMut::F(&mut values) }];
            Reference::<f32>::eval(&*r.nodes[n].op, &[], &mut out).map_err(Error::Invalid)?;
            gpu.write(&buffer, Feed::F32(&values));
        }
    }
    Ok(buffer)
}
