//! The GPU executor, through wgpu.

mod adapter;
mod cache;
pub(crate) mod case;
pub(crate) mod check;
mod fault;
mod precompile;
mod profile;
mod readback;
mod settle;
mod step;
#[cfg(test)]
mod tests;
mod tune;

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

pub use adapter::{adapters, adapters_named};
pub use fault::PlantedFault;

use crate::backend::{Backend, CompileOptions, DeviceInfo, Executor};
use crate::error::{Error, Result};
use crate::graph::{Param, Recording, WeakParam};
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

#[derive(Debug, Default)]
struct Counters {
    buffers: AtomicUsize,
    bind_groups: AtomicUsize,
    pipelines: AtomicUsize,
}

struct State {
    buffer: wgpu::Buffer,
    owner: WeakParam,
}

pub(crate) struct Shared {
    pub(crate) device: wgpu::Device,
    pub(crate) queue: wgpu::Queue,
    pub(crate) info: DeviceInfo,
    pub(crate) caps: Caps,
    pub(crate) limits: wgpu::Limits,
    pub(crate) cache: cache::Cache,
    precompiler: precompile::Precompiler,
    states: Mutex<HashMap<u64, State>>,
    counters: Counters,
    /// Bytes written to buffers since the last submission.
    unsubmitted: AtomicUsize,
    /// The first error the device reported outside any error scope, or its loss.
    fault: Arc<Mutex<Option<String>>>,
    /// Buffers that read-backs map, kept for the next of the same size.
    staging: Mutex<Vec<wgpu::Buffer>>,
    pub(crate) check: bool,
    /// Whether texts of new kernels are printed.
    dumps: bool,
    /// Whether graphs are compiled with several ops in one kernel.
    pub(crate) fuses: bool,
    pub(crate) joins: bool,
    pub(crate) planted: Option<PlantedFault>,
    tuner: Option<Arc<tune::Tuner>>,
}

/// An open GPU. Cheap to clone.
#[derive(Clone)]
pub struct Gpu(pub(crate) Arc<Shared>);

impl std::fmt::Debug for Gpu {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Gpu({})", self.0.info)
    }
}

/// Bytes of writes that may wait for a submission.
const MOST_UNSUBMITTED: usize = 64 << 20;

impl Gpu {
    /// Opens the best adapter, or the one whose name contains `name` or the value of `WGRAD_ADAPTER`.
    ///
    /// # Errors
    /// [`Error::Adapter`] where there is none, or it cannot be opened; [`Error::Environment`] for a switch that is misspelt;
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

    /// The same adapter with every task compared with the reference as it runs; `WGRAD_CHECK=1` does this
    /// for all devices. Parameters have values of their own there: the initial ones, until steps or
    /// [`Device::write_param`](crate::Device::write_param) change them.
    #[must_use]
    pub fn checked(&self) -> Self {
        self.derive(|shared| shared.check = true)
    }

    /// The same device with a fault planted, checked.
    #[doc(hidden)]
    #[must_use]
    pub fn with_fault(&self, fault: PlantedFault) -> Self {
        self.derive(|shared| (shared.check, shared.planted) = (true, Some(fault)))
    }

    /// The same device running the kernel variants of another class of adapter.
    #[doc(hidden)]
    #[must_use]
    pub fn with_class(&self, class: crate::ops::AdapterClass) -> Self {
        self.derive(|shared| shared.caps.class = class)
    }

    /// The same device with grids folded at this many workgroups a dimension.
    #[doc(hidden)]
    #[must_use]
    pub fn with_max_workgroups(&self, max_workgroups: u32) -> Self {
        self.derive(|shared| shared.caps.max_workgroups = max_workgroups)
    }

    /// The same device as if its driver ended loops after so many iterations.
    #[doc(hidden)]
    #[must_use]
    pub fn with_max_loop_iterations(&self, max_loop_iterations: u32) -> Self {
        self.derive(|shared| shared.caps.max_loop_iterations = max_loop_iterations)
    }

    /// The same device with tensors of at most so many bytes.
    #[doc(hidden)]
    #[must_use]
    pub fn with_largest_tensor(&self, bytes: u64) -> Self {
        self.derive(|shared| shared.limits.max_storage_buffer_binding_size = bytes)
    }

    /// The same device without fusion: every op runs its own kernels.
    #[doc(hidden)]
    #[must_use]
    pub fn unfused(&self) -> Self {
        self.derive(|shared| (shared.fuses, shared.joins) = (false, false))
    }

    /// The same device with a launch for each kernel.
    #[doc(hidden)]
    #[must_use]
    pub fn unjoined(&self) -> Self {
        self.derive(|shared| shared.joins = false)
    }

    /// The same adapter, which finds the fastest forms of products and convolutions by trial when a graph is compiled that
    /// needs one it does not know. No trial is begun when all of a device have taken about a second, and what is left is
    /// tried by the next process. All forms add up in the same order, so that what is found changes no result, unless
    /// a driver's compiler takes a multiply-add apart in one form and not in another. On software adapters there is one form
    /// and nothing to try.
    ///
    /// `file` keeps what was found, for the next time and by adapter, driver and version of wgrad; it need not be there
    /// yet. `WGRAD_TUNE=FILE` does this for all devices that wgrad opens. Parameters have values of their own there, as on
    /// [`Gpu::checked`].
    ///
    /// # Errors
    /// [`Error::Io`] or [`Error::Invalid`] for a file that cannot be read, or holds something else.
    pub fn tuned(&self, file: Option<&std::path::Path>) -> Result<Self> {
        self.tuned_within(file, None)
    }

    /// The same with another limit on the time of all trials.
    #[doc(hidden)]
    pub fn tuned_within(
        &self,
        file: Option<&std::path::Path>,
        limit: Option<std::time::Duration>,
    ) -> Result<Self> {
        let tuner = tune::Tuner::open(&self.0, file, limit)?;
        Ok(self.derive(|shared| {
            shared.tuner = Some(Arc::new(tuner));
            shared.precompiler = self.0.precompiler.again();
        }))
    }

    /// How many trials were made.
    #[doc(hidden)]
    pub fn trials(&self) -> usize {
        self.0.tuner.as_ref().map_or(0, |tuner| tuner.trials())
    }

    /// The same adapter's device and queue with this change; without what was made on it (pipelines, states, buffers).
    fn derive(&self, change: impl FnOnce(&mut Shared)) -> Self {
        let old = &self.0;
        let mut shared = Shared {
            device: old.device.clone(),
            queue: old.queue.clone(),
            info: old.info.clone(),
            caps: old.caps.clone(),
            limits: old.limits.clone(),
            cache: cache::Cache::default(),
            precompiler: precompile::Precompiler::default(),
            states: Mutex::default(),
            counters: Counters::default(),
            unsubmitted: AtomicUsize::default(),
            fault: old.fault.clone(),
            staging: Mutex::default(),
            check: old.check,
            dumps: old.dumps,
            fuses: old.fuses,
            joins: old.joins,
            planted: old.planted,
            tuner: old.tuner.clone(),
        };
        change(&mut shared);
        Gpu(Arc::new(shared))
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

impl Shared {
    pub(crate) fn has_f16(&self) -> bool {
        self.device.features().contains(wgpu::Features::SHADER_F16)
    }

    /// Fails where kernels cannot store values in 16 bits.
    pub(crate) fn need_f16(&self) -> Result<()> {
        match self.has_f16() {
            true => Ok(()),
            false => Err(Error::Adapter(format!(
                "{} cannot compute in mixed precision: it has no 16-bit floats in shaders (SHADER_F16); use f32 there, \
                 or another adapter (`wgrad devices` lists them)",
                self.info
            ))),
        }
    }

    pub(crate) fn count_bind_group(&self) {
        self.counters.bind_groups.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_pipeline(&self) {
        self.counters.pipelines.fetch_add(1, Ordering::Relaxed);
    }

    /// The most bytes that one buffer can have and a kernel bind.
    fn largest_buffer(&self) -> u64 {
        self.limits.max_buffer_size.min(self.limits.max_storage_buffer_binding_size)
    }

    /// A buffer, after checking it against the adapter's limits.
    pub(crate) fn buffer(
        &self,
        label: &str,
        bytes: usize,
        usage: wgpu::BufferUsages,
    ) -> Result<wgpu::Buffer> {
        self.buffer_or(label, bytes, usage, "use a smaller batch or layer")
    }

    /// As [`Shared::buffer`], with what to do where it is too large.
    pub(crate) fn buffer_or(
        &self,
        label: &str,
        bytes: usize,
        usage: wgpu::BufferUsages,
        advice: &str,
    ) -> Result<wgpu::Buffer> {
        let size = bytes as u64;
        let most = self.largest_buffer();
        if size > most {
            return Err(Error::Limit(format!(
                "{label} needs {:.1} MiB in one buffer; {} allows {:.1} MiB ({advice})",
                size as f64 / f64::from(1 << 20),
                self.info.name,
                most as f64 / f64::from(1 << 20)
            )));
        }
        self.counters.buffers.fetch_add(1, Ordering::Relaxed);
        let descriptor =
            wgpu::BufferDescriptor { label: Some(label), size, usage, mapped_at_creation: false };
        Ok(self.device.create_buffer(&descriptor))
    }

    /// Runs `make` and turns what the device reports meanwhile into an error.
    pub(crate) fn scoped<T>(&self, what: &str, make: impl FnOnce() -> Result<T>) -> Result<T> {
        let memory = self.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let validation = self.device.push_error_scope(wgpu::ErrorFilter::Validation);
        let made = make();
        let invalid = pollster::block_on(validation.pop());
        let full = pollster::block_on(memory.pop());
        if full.is_some() {
            return Err(Error::OutOfMemory(format!("{} could not hold {what}", self.info.name)));
        }
        if let Some(error) = invalid {
            return Err(Error::Device { adapter: self.info.name.clone(), message: error.to_string() });
        }
        made
    }

    /// The fault reported since the last call, if any.
    pub(crate) fn take_fault(&self) -> Result<()> {
        match lock(&self.fault).take() {
            Some(message) => Err(Error::Device { adapter: self.info.name.clone(), message }),
            None => Ok(()),
        }
    }

    /// Submits commands, and with them what was written.
    pub(crate) fn submit(
        &self,
        commands: impl IntoIterator<Item = wgpu::CommandBuffer>,
    ) -> wgpu::SubmissionIndex {
        self.unsubmitted.store(0, Ordering::Relaxed);
        self.queue.submit(commands)
    }

    pub(crate) fn poll(&self, wait: Option<wgpu::SubmissionIndex>) -> Result<()> {
        let kind = match wait {
            Some(index) => wgpu::PollType::Wait { submission_index: Some(index), timeout: None },
            None => wgpu::PollType::Poll,
        };
        match self.device.poll(kind) {
            Ok(_) => Ok(()),
            Err(e) => Err(Error::Device { adapter: self.info.name.clone(), message: e.to_string() }),
        }
    }

    pub(crate) fn wait_all(&self) -> Result<()> {
        let done = self.device.poll(wgpu::PollType::wait_indefinitely());
        done.map_err(|e| Error::Device { adapter: self.info.name.clone(), message: e.to_string() })?;
        self.take_fault()
    }

    /// The buffer of a state, made and initialized on first use.
    pub(crate) fn state(&self, param: &Param) -> Result<wgpu::Buffer> {
        // Held until the buffer is in, so that two threads cannot make two of it.
        let mut states = lock(&self.states);
        if let Some(state) = states.get(&param.id()) {
            return Ok(state.buffer.clone());
        }
        // A scope of its own: a buffer that the device could not make must not be kept.
        let buffer = self.scoped(param.name(), || {
            let (name, bytes) = (format!("state `{}`", param.name()), param.tensor_type().bytes());
            let buffer = self.buffer_or(&name, bytes, storage_usage(), "use a smaller layer")?;
            self.write(&buffer, (&param.initial()).into());
            Ok(buffer)
        })?;
        // States whose parameter is gone make room.
        states.retain(|_, s| s.owner.is_alive());
        states.insert(param.id(), State { buffer: buffer.clone(), owner: param.downgrade() });
        Ok(buffer)
    }

    /// Uploads values to the start of a buffer, padded with zeros to whole words.
    pub(crate) fn write(&self, buffer: &wgpu::Buffer, values: Feed<'_>) {
        match values {
            Feed::F32(v) => self.queue.write_buffer(buffer, 0, bytemuck::cast_slice(v)),
            Feed::U32(v) => self.queue.write_buffer(buffer, 0, bytemuck::cast_slice(v)),
            Feed::U8(v) if v.len() % 4 == 0 => self.queue.write_buffer(buffer, 0, v),
            Feed::U8(v) => {
                let mut padded = v.to_vec();
                padded.resize(v.len().next_multiple_of(4), 0);
                self.queue.write_buffer(buffer, 0, &padded);
            }
        }
        // wgpu keeps a copy of what is written until the next submission: feeding without running must not
        // pile these up.
        let bytes = values.len() * values.dtype().bytes();
        if self.unsubmitted.fetch_add(bytes, Ordering::Relaxed) + bytes > MOST_UNSUBMITTED {
            self.submit([]);
        }
    }
}

pub(crate) fn storage_usage() -> wgpu::BufferUsages {
    wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::COPY_SRC
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
