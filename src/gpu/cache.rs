//! Pipelines by kernel key. Each is made once per device.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use super::settle::{Dummies, compiles_late, settle};
use super::{Shared, lock};
use crate::error::{Error, Result};
use crate::ops::Kernel;

/// Threads that make pipelines, at most: drivers' compilers share locks and caches, and memory grows with each.
const MOST_THREADS: usize = 8;

/// Pipelines of a thread, at least.
const LEAST_EACH: usize = 2;

/// A pipeline with what its bindings are.
#[derive(Debug)]
pub(crate) struct Pipeline {
    pub(crate) kernel: Kernel,
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
    dummies: Dummies,
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

    /// Those of `kernels` that have no pipeline yet, each once, in their order.
    pub(crate) fn missing<'a>(&self, kernels: impl Iterator<Item = &'a Kernel>) -> Vec<Kernel> {
        let known = lock(&self.pipelines);
        let mut keys = std::collections::HashSet::new();
        kernels.filter(|k| !known.contains_key(&k.key) && keys.insert(&k.key)).cloned().collect()
    }

    /// Makes the pipelines of `kernels` side by side, where the driver compiles a pipeline when it is made. A kernel that the
    /// device refuses is left to [`Cache::get`], which says why.
    pub(crate) fn make(&self, gpu: &Shared, kernels: &[Kernel]) {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = cores.min(MOST_THREADS).min(kernels.len() / LEAST_EACH);
        // A dump is to be in order, a context of OpenGL is one thread's, and lavapipe compiles at the first launch.
        if threads > 1 && !gpu.dumps && gpu.info.backend != "Gl" && !compiles_late(&gpu.info) {
            self.make_by(threads, gpu, kernels);
        }
    }

    fn make_by(&self, threads: usize, gpu: &Shared, kernels: &[Kernel]) {
        let next = AtomicUsize::new(0);
        let work = || {
            while let Some(kernel) = kernels.get(next.fetch_add(1, Ordering::Relaxed)) {
                let _ = self.get(gpu, kernel);
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..threads {
                // Without a thread the others make them all.
                let _ = std::thread::Builder::new().name("wgrad-pipelines".into()).spawn_scoped(scope, work);
            }
            work();
        });
    }

    /// Drops those whose key begins with `prefix`.
    pub(crate) fn forget(&self, prefix: &str) {
        lock(&self.pipelines).retain(|key, _| !key.starts_with(prefix));
    }

    pub(crate) fn kernels(&self) -> Vec<Kernel> {
        lock(&self.pipelines).values().map(|p| p.kernel.clone()).collect()
    }
}

fn build(gpu: &Shared, kernel: &Kernel) -> Result<Pipeline> {
    let mut given = kernel.clone();
    if let Some(fault) = gpu.planted {
        given.text = fault.plant(kernel).into();
    }
    let plain = given.text.clone();
    let mut text = given.tuned(gpu.caps.class, gpu.has_words64()).text;
    let mut parsed = naga::front::wgsl::parse_str(&text);
    if parsed.is_err() {
        // What tuning does not understand runs as it was written.
        text = plain;
        parsed = naga::front::wgsl::parse_str(&text);
    }
    if gpu.dumps {
        eprintln!("// {}\n{text}", kernel.key);
    }
    let fail = |message: String| Error::Device {
        adapter: gpu.info.name.clone(),
        message: format!("shader {}: {message}", kernel.key),
    };
    let module = parsed.map_err(|e| fail(e.emit_to_string(&text)))?;
    let (storage, uniform) = bindings(&module);
    within_limits(gpu, kernel, &module, storage.len())?;
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
    checks.force_loop_bounding = !kernel.trusted;
    // SAFETY: loop bounding is off for wgrad's own shaders only, and every loop in them counts up to a
    // bound from a uniform that the host computed from a shape, so all end. All other checks stay on.
    let module = unsafe { device.create_shader_module_trusted(descriptor, checks) };
    gpu.count_pipeline();
    let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label,
        layout: Some(&pipeline_layout),
        module: &module,
        entry_point: Some(&kernel.entry),
        compilation_options: wgpu::PipelineCompilationOptions {
            // Our kernels write workgroup memory before they read it, as a test with garbage in it shows.
            zero_initialize_workgroup_memory: !kernel.trusted,
            ..Default::default()
        },
        cache: None,
    });
    let made = Pipeline { kernel: kernel.clone(), pipeline, layout, storage, uniform };
    if settle(gpu, &made, &gpu.cache.dummies) {
        gpu.precompiler.count(&gpu.queue);
    }
    Ok(made)
}

/// Refuses a kernel that the device's limits do not allow.
fn within_limits(gpu: &Shared, kernel: &Kernel, module: &naga::Module, bound: usize) -> Result<()> {
    let refuse = |what: &str, needed: u32, most: u32| {
        let name = &gpu.info.name;
        Err(Error::Limit(format!("kernel {} needs {needed} {what}; {name} allows {most}", kernel.key)))
    };
    let limits = &gpu.limits;
    // Fewer where the limit of all buffers, the uniform among them, is the narrower.
    let most = limits.max_storage_buffers_per_shader_stage.min(gpu.caps.storage_buffers);
    if bound as u32 > most {
        return refuse("storage bindings", bound as u32, most);
    }
    let invocations: u32 =
        module.entry_points.iter().map(|e| e.workgroup_size.iter().product()).max().unwrap_or(1);
    let most = limits.max_compute_invocations_per_workgroup;
    if invocations > most {
        return refuse("invocations in a workgroup", invocations, most);
    }
    let sizes = module.to_ctx();
    let shared = |v: &naga::GlobalVariable| module.types[v.ty].inner.size(sizes);
    let workgroup = module.global_variables.iter().filter(|(_, v)| v.space == naga::AddressSpace::WorkGroup);
    let bytes: u32 = workgroup.map(|(_, v)| shared(v)).sum();
    let most = limits.max_compute_workgroup_storage_size;
    if bytes > most {
        return refuse("bytes of workgroup memory", bytes, most);
    }
    Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pipelines_made_side_by_side_are_made_once_and_faults_are_told() {
        let gpus = super::super::adapters_named("");
        assert!(gpus.is_ok() || !crate::env::is_set("WGRAD_REQUIRE_GPU"), "{gpus:?}");
        for gpu in &gpus.unwrap_or_default() {
            let entries = ["accumulate", "argmax_rows", "batch_norm_moments", "cast_bytes", "one_hot"];
            let mut kernels: Vec<Kernel> = entries.iter().filter_map(|e| Kernel::library(e).ok()).collect();
            assert_eq!(kernels.len(), entries.len());
            let mut wrong = kernels[0].clone();
            wrong.key = "wrong".into();
            wrong.text = "fn main() { return 1; }".into();
            kernels.insert(1, wrong.clone());
            let shared = &gpu.0;
            let before = gpu.object_counts().pipelines;
            shared.cache.make_by(3, shared, &kernels);
            // The refused one was asked for as well.
            assert_eq!(gpu.object_counts().pipelines - before, kernels.len());
            let mut made: Vec<String> = gpu.kernels().into_iter().map(|k| k.key).collect();
            made.sort_unstable();
            assert_eq!(made, entries, "{}", shared.info.name);
            let error = shared.cache.get(shared, &wrong).expect_err("no shader").to_string();
            assert!(error.contains("wrong"), "{error}");
        }
    }
}
