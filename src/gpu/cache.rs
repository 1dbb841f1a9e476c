//! Pipelines by kernel key. Each is made once per device.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use super::{PlantedFault, Shared, lock};
use crate::error::{Error, Result};
use crate::ops::Kernel;

/// A pipeline with what its bindings are.
#[derive(Debug)]
pub(crate) struct Pipeline {
    pub(crate) pipeline: wgpu::ComputePipeline,
    pub(crate) layout: wgpu::BindGroupLayout,
    /// Binding numbers of storage buffers in order, and whether each is written.
    pub(crate) storage: Vec<(u32, bool)>,
    /// Binding number of the uniform.
    pub(crate) uniform: Option<u32>,
}

#[derive(Debug, Default)]
pub(crate) struct Cache {
    pipelines: Mutex<HashMap<String, Arc<Pipeline>>>,
}

impl Cache {
    pub(crate) fn get(&self, gpu: &Shared, kernel: &Kernel) -> Result<Arc<Pipeline>> {
        if let Some(found) = lock(&self.pipelines).get(&kernel.key) {
            return Ok(found.clone());
        }
        // A shader that the device refuses must not stay in the cache.
        let made = Arc::new(gpu.scoped(&kernel.key, || build(gpu, kernel))?);
        lock(&self.pipelines).insert(kernel.key.clone(), made.clone());
        Ok(made)
    }
}

fn build(gpu: &Shared, kernel: &Kernel) -> Result<Pipeline> {
    let mut text = kernel.text.to_string();
    if let Some(PlantedFault::Shader { key, from, to }) = gpu.planted
        && kernel.key.starts_with(key)
    {
        text = text.replacen(from, to, 1);
    }
    if crate::env::dumps("wgsl") {
        eprintln!("// {}\n{text}", kernel.key);
    }
    let fail = |message: String| Error::Device {
        adapter: gpu.info.name.clone(),
        message: format!("shader {}: {message}", kernel.key),
    };
    let module = naga::front::wgsl::parse_str(&text).map_err(|e| fail(e.emit_to_string(&text)))?;
    let (storage, uniform) = bindings(&module);
    let entry = |binding, ty| wgpu::BindGroupLayoutEntry {
        binding,
        visibility: wgpu::ShaderStages::COMPUTE,
        ty: wgpu::BindingType::Buffer { ty, has_dynamic_offset: false, min_binding_size: None },
        count: None,
    };
    let mut entries: Vec<wgpu::BindGroupLayoutEntry> = storage
        .iter()
        .map(|&(b, writes)| entry(b, wgpu::BufferBindingType::Storage { read_only: !writes }))
        .collect();
    entries.extend(uniform.map(|b| entry(b, wgpu::BufferBindingType::Uniform)));
    let device = &gpu.device;
    let label = Some(kernel.key.as_str());
    let layout =
        device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label, entries: &entries });
    let pipeline_layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
        label,
        bind_group_layouts: &[Some(&layout)],
        immediate_size: 0,
    });
    let descriptor = wgpu::ShaderModuleDescriptor {
        label,
        source: wgpu::ShaderSource::Naga(std::borrow::Cow::Owned(module)),
    };
    let mut checks = wgpu::ShaderRuntimeChecks::checked();
    // Loop bounding costs 2.4x where a kernel accumulates in a local array.
    checks.force_loop_bounding = false;
    // SAFETY: every loop in wgrad's shaders counts up to a bound from a uniform that the host computed
    // from a shape, so all terminate. Kernels from outside the crate are held to the same rule by the
    // documentation of `Kernel::custom`. Bounds checks stay on.
    let module = unsafe { device.create_shader_module_trusted(descriptor, checks) };
    gpu.count_pipeline();
    let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label,
        layout: Some(&pipeline_layout),
        module: &module,
        entry_point: Some(&kernel.entry),
        compilation_options: wgpu::PipelineCompilationOptions {
            // Our kernels write workgroup memory before they read it.
            zero_initialize_workgroup_memory: false,
            ..Default::default()
        },
        cache: None,
    });
    Ok(Pipeline { pipeline, layout, storage, uniform })
}

/// Storage bindings in order and the uniform, from the module itself: nothing is listed twice.
pub(crate) fn bindings(module: &naga::Module) -> (Vec<(u32, bool)>, Option<u32>) {
    let mut storage = Vec::new();
    let mut uniform = None;
    for (_, global) in module.global_variables.iter() {
        let Some(binding) = &global.binding else { continue };
        match global.space {
            naga::AddressSpace::Storage { access } => {
                storage.push((binding.binding, access.contains(naga::StorageAccess::STORE)));
            }
            naga::AddressSpace::Uniform => uniform = Some(binding.binding),
            _ => {}
        }
    }
    storage.sort_unstable();
    (storage, uniform)
}
