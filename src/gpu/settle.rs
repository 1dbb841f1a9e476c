//! A first launch of nothing, for a driver that compiles by the values of parameters.
//!
//! Mesa's lavapipe puts the values of uniforms that loops and branches depend on into the shader as constants and
//! compiles it once more, at every submission, as long as that makes the shader much smaller or, by an underflow,
//! larger at all. With small extents, where loops are unrolled, it never stops: a product of two 16 × 16 matrices
//! took 2 to 6 ms instead of 0.07, and training on small tables was twenty times slower. Whether it goes on is decided
//! once per pipeline, at the first launch. So that one has huge values, by which nothing is unrolled, and no
//! workgroups.

use std::sync::OnceLock;

use super::Shared;
use super::cache::Pipeline;
use crate::backend::DeviceInfo;

/// Bytes of each buffer: more than any uniform has, a multiple of every element.
const BYTES: u64 = 4096;

/// To be bound where a kernel reads, where it writes, and as its uniform.
#[derive(Debug, Default)]
pub(super) struct Dummies(OnceLock<[wgpu::Buffer; 3]>);

/// Whether the driver is lavapipe, which compiles a kernel at its first launch.
pub(super) fn compiles_late(info: &DeviceInfo) -> bool {
    info.backend == "Vulkan" && info.driver.contains("llvmpipe")
}

/// Launches no workgroups of a new pipeline, on lavapipe; says whether it did.
pub(super) fn settle(gpu: &Shared, pipeline: &Pipeline, dummies: &Dummies) -> bool {
    let Some(uniform) = pipeline.uniform else { return false };
    if !compiles_late(&gpu.info) {
        return false;
    }
    let [read, write, values] = dummies.0.get_or_init(|| {
        let usages = [
            wgpu::BufferUsages::STORAGE,
            wgpu::BufferUsages::STORAGE,
            wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
        ];
        let buffers = usages.map(|usage| {
            let label = Some("settle");
            gpu.device.create_buffer(&wgpu::BufferDescriptor {
                label,
                size: BYTES,
                usage,
                mapped_at_creation: false,
            })
        });
        gpu.queue.write_buffer(&buffers[2], 0, &[0x3f; BYTES as usize]);
        buffers
    });
    let mut entries: Vec<wgpu::BindGroupEntry<'_>> = pipeline
        .storage
        .iter()
        .map(|&(binding, writes)| wgpu::BindGroupEntry {
            binding,
            resource: if writes { write } else { read }.as_entire_binding(),
        })
        .collect();
    entries.push(wgpu::BindGroupEntry { binding: uniform, resource: values.as_entire_binding() });
    let label = Some("settle");
    let group = gpu.device.create_bind_group(&wgpu::BindGroupDescriptor {
        label,
        layout: &pipeline.layout,
        entries: &entries,
    });
    let mut encoder = gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label });
    {
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
        pass.set_pipeline(&pipeline.pipeline);
        pass.set_bind_group(0, &group, &[]);
        pass.dispatch_workgroups(0, 1, 1);
    }
    gpu.submit([encoder.finish()]);
    true
}
