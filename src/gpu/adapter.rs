//! Finding and opening adapters.

use std::sync::{Arc, Mutex};

use super::{Gpu, Shared, lock};
use crate::backend::DeviceInfo;
use crate::error::{Error, Result};
use crate::op::{AdapterClass, Caps, LLVMPIPE_ITERATIONS};

const INSTALL: &str = "install a Vulkan driver (on Debian and Ubuntu the package mesa-vulkan-drivers brings a \
                       software one), or use the CPU";

fn instance() -> wgpu::Instance {
    // Validation layers are the application's choice (WGPU_VALIDATION=1): they slow every call down.
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
    descriptor.flags = wgpu::InstanceFlags::VALIDATION_INDIRECT_CALL.with_env();
    descriptor.backend_options = wgpu::BackendOptions::from_env_or_default();
    wgpu::Instance::new(descriptor)
}

/// Backends in order of preference: GL only where nothing else is there.
const NATIVE: wgpu::Backends =
    wgpu::Backends::VULKAN.union(wgpu::Backends::METAL).union(wgpu::Backends::DX12);

fn enumerate(backends: wgpu::Backends) -> Vec<wgpu::Adapter> {
    let mut adapters = pollster::block_on(instance().enumerate_adapters(backends));
    adapters.retain(|a| a.get_downlevel_capabilities().flags.contains(wgpu::DownlevelFlags::COMPUTE_SHADERS));
    adapters.sort_by_key(|a| rank(&a.get_info()));
    adapters
}

/// Discrete before integrated before software; native APIs before GL.
fn rank(info: &wgpu::AdapterInfo) -> (u8, u8) {
    let kind = match info.device_type {
        wgpu::DeviceType::DiscreteGpu => 0,
        wgpu::DeviceType::IntegratedGpu => 1,
        wgpu::DeviceType::VirtualGpu => 2,
        wgpu::DeviceType::Other => 3,
        wgpu::DeviceType::Cpu => 4,
    };
    (kind, u8::from(info.backend == wgpu::Backend::Gl))
}

pub(super) fn describe(info: &wgpu::AdapterInfo) -> DeviceInfo {
    DeviceInfo {
        name: info.name.clone(),
        backend: format!("{:?}", info.backend),
        driver: format!("{} {}", info.driver, info.driver_info).trim().to_string(),
        kind: format!("{:?}", info.device_type),
    }
}

/// All adapters of this machine that can compute, best first.
pub fn adapters() -> Vec<DeviceInfo> {
    enumerate(wgpu::Backends::all()).iter().map(|a| describe(&a.get_info())).collect()
}

/// Opens every adapter whose name contains `name` (all, if it is empty); those that cannot be opened are
/// left out.
///
/// # Errors
/// [`Error::Adapter`] where there is none, or none can be opened; [`Error::Environment`] for a switch that is misspelt.
pub fn adapters_named(name: &str) -> Result<Vec<Gpu>> {
    crate::env::check()?;
    let found: Vec<_> = enumerate(wgpu::Backends::all()).into_iter().filter(|a| fits(a, name)).collect();
    if found.is_empty() {
        return Err(missing(Some(name).filter(|n| !n.is_empty()), None));
    }
    let (mut opened, mut refused) = (Vec::new(), None);
    for adapter in &found {
        match open_adapter(adapter) {
            Ok(gpu) => opened.push(gpu),
            Err(error) => refused = Some(error),
        }
    }
    match refused {
        Some(error) if opened.is_empty() => Err(error),
        _ => Ok(opened),
    }
}

fn fits(adapter: &wgpu::Adapter, name: &str) -> bool {
    let info = adapter.get_info();
    let text = format!("{} {:?} {}", info.name, info.backend, info.driver).to_lowercase();
    text.contains(&name.to_lowercase())
}

/// `by` says where the name is from, if not from the caller.
fn missing(name: Option<&str>, by: Option<&str>) -> Error {
    match name {
        Some(name) => {
            let known: Vec<String> = adapters().iter().map(ToString::to_string).collect();
            let list = if known.is_empty() { "none".into() } else { known.join("; ") };
            let by = by.map(|by| format!(", as {by} asks")).unwrap_or_default();
            Error::Adapter(format!("no adapter's name contains `{name}`{by}; adapters here: {list}"))
        }
        None => Error::Adapter(format!("no GPU adapter found; {INSTALL}")),
    }
}

pub(super) fn open(name: Option<&str>) -> Result<Gpu> {
    crate::env::check()?;
    let wanted = crate::env::adapter();
    let by = if name.is_none() && wanted.is_some() { Some("WGRAD_ADAPTER") } else { None };
    let name = name.or(wanted.as_deref());
    // Looking for GL loads its libraries, which takes longer than all the rest: only if it is needed.
    let mut refused = None;
    for backends in [NATIVE, wgpu::Backends::GL] {
        for adapter in enumerate(backends).iter().filter(|a| name.is_none_or(|n| fits(a, n))) {
            match open_adapter(adapter) {
                Ok(gpu) => return Ok(gpu),
                // The next best may still open; if none does, the best one's reason counts.
                Err(error) => refused = refused.or(Some(error)),
            }
        }
    }
    Err(refused.unwrap_or_else(|| missing(name, by)))
}

pub(super) fn open_adapter(adapter: &wgpu::Adapter) -> Result<Gpu> {
    let info = adapter.get_info();
    let available = adapter.limits();
    let mut limits = wgpu::Limits::default().or_worse_values_from(&available);
    // What the adapter grants beyond the defaults: larger tensors, more bindings.
    limits.max_buffer_size = available.max_buffer_size;
    limits.max_storage_buffer_binding_size = available.max_storage_buffer_binding_size;
    limits.max_storage_buffers_per_shader_stage = available.max_storage_buffers_per_shader_stage;
    limits.max_buffers_and_acceleration_structures_per_shader_stage =
        available.max_buffers_and_acceleration_structures_per_shader_stage;
    let timestamps = wgpu::Features::TIMESTAMP_QUERY | wgpu::Features::TIMESTAMP_QUERY_INSIDE_PASSES;
    // llvmpipe moves a word of 64 bits as fast as one of 32.
    let words64 = match info.device_type {
        wgpu::DeviceType::Cpu => wgpu::Features::SHADER_INT64,
        _ => wgpu::Features::empty(),
    };
    let features =
        adapter.features() & (wgpu::Features::SUBGROUP | wgpu::Features::SHADER_F16 | words64 | timestamps);
    let descriptor = wgpu::DeviceDescriptor {
        label: Some("wgrad"),
        required_features: features,
        required_limits: limits,
        memory_hints: wgpu::MemoryHints::MemoryUsage,
        ..Default::default()
    };
    let (device, queue) = pollster::block_on(adapter.request_device(&descriptor))
        .map_err(|e| Error::Adapter(format!("{} cannot be opened: {e}", info.name)))?;
    let fault = Arc::default();
    watch(&device, &fault);
    let mut gpu = wrap(device, queue, &info, fault);
    let tuner = match crate::env::tuned() {
        Some(file) => Some(super::tune::Tuner::open(&gpu.0, Some(&file), None)?),
        None => None,
    };
    if let Some(shared) = Arc::get_mut(&mut gpu.0) {
        shared.precompiler = super::precompile::Precompiler::of(adapter);
        shared.tuner = tuner.map(Arc::new);
    }
    Ok(gpu)
}

/// Catches what the device reports outside of error scopes, and its loss, for the next read-back: an error
/// that nobody catches would end the process.
fn watch(device: &wgpu::Device, fault: &Arc<Mutex<Option<String>>>) {
    let keep = |fault: &Arc<Mutex<Option<String>>>| {
        let fault = fault.clone();
        move |message: String| {
            let mut slot = lock(&fault);
            if slot.is_none() {
                *slot = Some(message);
            }
        }
    };
    let uncaptured = keep(fault);
    device.on_uncaptured_error(Arc::new(move |e: wgpu::Error| uncaptured(e.to_string())));
    let lost = keep(fault);
    device.set_device_lost_callback(move |reason, message| {
        if !matches!(reason, wgpu::DeviceLostReason::Destroyed) {
            lost(format!("the device was lost: {message}"));
        }
    });
}

pub(super) fn wrap(
    device: wgpu::Device,
    queue: wgpu::Queue,
    info: &wgpu::AdapterInfo,
    fault: Arc<Mutex<Option<String>>>,
) -> Gpu {
    let limits = device.limits();
    let caps = Caps {
        class: class_of(info, device.features()),
        max_workgroups: limits.max_compute_workgroups_per_dimension,
        // Beside the uniform, which counts among the buffers.
        storage_buffers: limits
            .max_storage_buffers_per_shader_stage
            .min(limits.max_buffers_and_acceleration_structures_per_shader_stage.saturating_sub(1)),
        max_loop_iterations: most_loop_iterations(info),
        forms: Arc::default(),
    };
    Gpu(Arc::new(Shared {
        info: describe(info),
        device,
        queue,
        caps,
        limits,
        cache: super::cache::Cache::default(),
        precompiler: super::precompile::Precompiler::default(),
        states: Mutex::default(),
        counters: super::shared::Counters::default(),
        unsubmitted: std::sync::atomic::AtomicUsize::default(),
        fault,
        staging: Mutex::default(),
        check: crate::env::is_set("WGRAD_CHECK"),
        dumps: crate::env::dumps("wgsl"),
        fuses: !crate::env::is_off("WGRAD_FUSE"),
        joins: !crate::env::is_off("WGRAD_JOIN"),
        planted: None,
        tuner: None,
    }))
}

/// llvmpipe is a CPU device on Vulkan, and something else through GL.
fn is_software(info: &wgpu::AdapterInfo) -> bool {
    info.device_type == wgpu::DeviceType::Cpu
        || ["llvmpipe", "SwiftShader"].iter().any(|name| info.name.contains(name))
}

/// llvmpipe of Mesa 25 was tried, and goes on; of a version that cannot be read the worst is assumed.
fn most_loop_iterations(info: &wgpu::AdapterInfo) -> u32 {
    let (_, version) = info.driver_info.split_once("Mesa ").unwrap_or_default();
    let major = version.split('.').next().and_then(|major| major.parse::<u32>().ok());
    let ends_loops = info.name.contains("llvmpipe") && major.is_none_or(|major| major < 25);
    if ends_loops { LLVMPIPE_ITERATIONS } else { u32::MAX }
}

/// `WGRAD_CLASS` (gpu, software) overrides it, to run one class's kernels on another's adapter.
fn class_of(info: &wgpu::AdapterInfo, features: wgpu::Features) -> AdapterClass {
    match std::env::var("WGRAD_CLASS").as_deref() {
        Ok("gpu") => return AdapterClass::Gpu,
        Ok("software") => return AdapterClass::Software,
        _ => {}
    }
    let lanes8 = (info.subgroup_min_size, info.subgroup_max_size) == (8, 8);
    match info.device_type {
        // A broadcast kernel is wrong where the subgroup is smaller, so the size must be known.
        wgpu::DeviceType::Cpu if lanes8 && features.contains(wgpu::Features::SUBGROUP) => {
            AdapterClass::SoftwareLanes8
        }
        _ if is_software(info) => AdapterClass::Software,
        _ => AdapterClass::Gpu,
    }
}
