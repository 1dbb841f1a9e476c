//! What the clones of a GPU, and its graphs, share: device, queue, kernels, states, faults.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use super::{PlantedFault, cache, precompile, tune};
use crate::backend::DeviceInfo;
use crate::error::{Error, Result};
use crate::graph::{Param, WeakParam};
use crate::ops::Caps;
use crate::sync::lock;
use crate::tensor::Feed;

/// Bytes of writes that may wait for a submission.
const MOST_UNSUBMITTED: usize = 64 << 20;

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) buffers: AtomicUsize,
    pub(super) bind_groups: AtomicUsize,
    pub(super) pipelines: AtomicUsize,
}

pub(super) struct State {
    pub(super) buffer: wgpu::Buffer,
    pub(super) owner: WeakParam,
}

pub(crate) struct Shared {
    pub(crate) device: wgpu::Device,
    pub(crate) queue: wgpu::Queue,
    pub(crate) info: DeviceInfo,
    pub(crate) caps: Caps,
    pub(crate) limits: wgpu::Limits,
    pub(crate) cache: cache::Cache,
    pub(super) precompiler: precompile::Precompiler,
    pub(super) states: Mutex<HashMap<u64, State>>,
    pub(super) counters: Counters,
    /// Bytes written to buffers since the last submission.
    pub(super) unsubmitted: AtomicUsize,
    /// The first error the device reported outside any error scope, or its loss.
    pub(super) fault: Arc<Mutex<Option<String>>>,
    /// Buffers that read-backs map, kept for the next of the same size.
    pub(super) staging: Mutex<Vec<wgpu::Buffer>>,
    pub(crate) check: bool,
    /// Whether texts of new kernels are printed.
    pub(super) dumps: bool,
    /// Whether graphs are compiled with several ops in one kernel.
    pub(crate) fuses: bool,
    /// Whether several kernels are one launch.
    pub(crate) joins: bool,
    pub(crate) planted: Option<PlantedFault>,
    pub(super) tuner: Option<Arc<tune::Tuner>>,
}

impl Shared {
    pub(crate) fn has_f16(&self) -> bool {
        self.device.features().contains(wgpu::Features::SHADER_F16)
    }

    pub(crate) fn has_words64(&self) -> bool {
        self.device.features().contains(wgpu::Features::SHADER_INT64)
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
    pub(super) fn largest_buffer(&self) -> u64 {
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
