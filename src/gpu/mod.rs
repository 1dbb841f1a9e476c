//! The GPU executor, through wgpu.

mod adapter;
mod bind;
mod cache;
pub(crate) mod case;
pub(crate) mod check;
mod fault;
mod pace;
mod precompile;
mod profile;
mod readback;
mod settle;
mod shared;
mod step;
#[cfg(test)]
mod tests;
mod tune;
mod variants;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

pub use adapter::{adapters, adapters_named};
pub use fault::PlantedFault;
pub(crate) use shared::{Shared, storage_usage};

use crate::backend::{Backend, CompileOptions, DeviceInfo, Executor};
use crate::error::Result;
use crate::graph::{Param, Recording};
use crate::ops::Caps;
use crate::sync::lock;
use crate::tensor::{Data, Feed};

/// How many wgpu objects wgrad has made on a device. Steps make none after their first run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ObjectCounts {
    /// Buffers.
    pub buffers: usize,
    /// Bind groups.
    pub bind_groups: usize,
    /// Compute pipelines.
    pub pipelines: usize,
}

/// An open GPU. Cheap to clone.
#[derive(Clone)]
pub struct Gpu(pub(crate) Arc<Shared>);

impl std::fmt::Debug for Gpu {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Gpu({})", self.0.info)
    }
}

impl Gpu {
    /// Opens the best adapter, or the one whose name contains `name` or the value of `WGRAD_ADAPTER`.
    ///
    /// # Errors
    /// [`Error::Adapter`](crate::Error::Adapter) where there is none, or it cannot be opened;
    /// [`Error::Environment`](crate::Error::Environment) for a switch that is misspelt;
    /// what [`Gpu::tuned`] says of the file of `WGRAD_TUNE`.
    pub fn open(name: Option<&str>) -> Result<Self> {
        adapter::open(name)
    }

    /// Uses a device that the application has opened already.
    ///
    /// Kernels stay within the device's limits; the subgroup variants need its `SUBGROUP` feature. The
    /// application keeps its handlers for uncaptured errors and for the device's loss; what wgrad makes is
    /// watched by error scopes.
    pub fn from_wgpu(device: wgpu::Device, queue: wgpu::Queue) -> Self {
        let info = device.adapter_info();
        adapter::wrap(device, queue, &info, Arc::default())
    }

    /// How many trials were made.
    #[doc(hidden)]
    pub fn trials(&self) -> usize {
        self.0.tuner.as_ref().map_or(0, |tuner| tuner.trials())
    }

    /// The wgpu device, for applications that share it.
    pub fn device(&self) -> &wgpu::Device {
        &self.0.device
    }

    /// The wgpu queue.
    pub fn queue(&self) -> &wgpu::Queue {
        &self.0.queue
    }

    /// What kernels may rely on here.
    pub fn caps(&self) -> &Caps {
        &self.0.caps
    }

    /// The buffer that holds a parameter on this device, for applications that share it. `None` until a
    /// graph that uses it was compiled.
    pub fn buffer(&self, param: &Param) -> Option<wgpu::Buffer> {
        lock(&self.0.states).get(&param.id()).map(|s| s.buffer.clone())
    }

    /// The kernels that this device has pipelines of.
    #[doc(hidden)]
    pub fn kernels(&self) -> Vec<crate::ops::Kernel> {
        self.0.cache.kernels()
    }

    /// Whether kernels can store values in 16 bits here, which [`crate::Precision::Mixed`] needs.
    pub fn has_f16(&self) -> bool {
        self.0.has_f16()
    }

    /// Whether shaders have 64-bit integers here.
    #[doc(hidden)]
    pub fn has_words64(&self) -> bool {
        self.0.has_words64()
    }

    /// Objects made so far.
    pub fn object_counts(&self) -> ObjectCounts {
        let read = |c: &AtomicUsize| c.load(Ordering::Relaxed);
        let c = &self.0.counters;
        ObjectCounts {
            buffers: read(&c.buffers),
            bind_groups: read(&c.bind_groups),
            pipelines: read(&c.pipelines),
        }
    }
}

impl Backend for Gpu {
    fn info(&self) -> DeviceInfo {
        self.0.info.clone()
    }

    fn compile(&self, recording: Recording, options: CompileOptions) -> Result<Box<dyn Executor>> {
        Ok(Box::new(step::GpuStep::new(self.0.clone(), recording, options)?))
    }

    fn read_state(&self, param: &Param) -> Result<Data> {
        let buffer = self.0.state(param)?;
        let read = readback::Read::start(&self.0, &buffer, 0, param.tensor_type())?;
        Ok(crate::backend::Readback::pending(read).wait()?.data().clone())
    }

    fn write_state(&self, param: &Param, data: Feed<'_>) -> Result<()> {
        let buffer = self.0.state(param)?;
        self.0.write(&buffer, data);
        Ok(())
    }

    fn wait(&self) -> Result<()> {
        self.0.wait_all()
    }

    fn largest_tensor(&self) -> usize {
        usize::try_from(self.0.largest_buffer()).unwrap_or(usize::MAX)
    }
}
