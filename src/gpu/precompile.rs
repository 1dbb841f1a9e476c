//! Compiling with two cores where a driver compiles with one.
//!
//! lavapipe makes machine code of a kernel at its first launch, on the thread of the device's queue, one kernel
//! after the other, and keeps it in a cache on disk. So a second device compiles the kernels that a graph needs
//! from the last one on, while the first begins at the front: what one has compiled the other finds in the cache.
//! They stop where they meet. With two cores and an empty cache, the first training run of the digits' `resnet` waits 2.04 s for its
//! kernels instead of 2.73, of `cnn` 1.66 instead of 1.93, of `mlp` 0.83 instead of 0.94: medians of six in turns.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use super::settle::compiles_late;
use super::{Gpu, Shared, adapter, lock};
use crate::ops::Kernel;

/// Kernels from which it is worth a device.
const FEW: usize = 4;
/// How long the first device is watched at a time, and how many kernels it finishes meanwhile if they are in the cache:
/// finding one takes some 5 ms, compiling one 20 to 300.
const WATCH: Duration = Duration::from_millis(25);
const FOUND: usize = 2;

/// What a device needs to have its kernels compiled ahead.
#[derive(Debug, Default)]
pub(super) struct Precompiler {
    /// The adapter of a device that profits.
    pub(super) adapter: Option<wgpu::Adapter>,
    /// First launches that the queue has finished.
    finished: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    /// Says how many kernels it compiled.
    thread: Mutex<Option<JoinHandle<usize>>>,
}

impl Precompiler {
    pub(super) fn of(adapter: &wgpu::Adapter) -> Self {
        let is_off = |name| std::env::var(name).is_ok_and(|v| matches!(v.as_str(), "true" | "1"));
        let has_cache = !is_off("MESA_SHADER_CACHE_DISABLE") && !is_off("MESA_GLSL_CACHE_DISABLE");
        let compiles_late = compiles_late(&adapter::describe(&adapter.get_info()));
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let mut precompiler = Precompiler::default();
        precompiler.adapter = (compiles_late && has_cache && cores > 1).then(|| adapter.clone());
        precompiler
    }

    /// For another device of the same adapter.
    pub(super) fn again(&self) -> Self {
        let mut precompiler = Precompiler::default();
        precompiler.adapter = self.adapter.clone();
        precompiler
    }

    /// Counts a first launch, once the queue has finished it.
    pub(super) fn count(&self, queue: &wgpu::Queue) {
        if self.adapter.is_some() {
            let finished = self.finished.clone();
            queue.on_submitted_work_done(move || {
                finished.fetch_add(1, Ordering::Relaxed);
            });
        }
    }

    /// Starts on `kernels`, which the device will ask for in this order, unless that is under way.
    pub(super) fn start(&self, gpu: &Shared, kernels: Vec<Kernel>) {
        let Some(adapter) = self.adapter.clone().filter(|_| kernels.len() >= FEW) else { return };
        let mut thread = lock(&self.thread);
        if thread.as_ref().is_some_and(|t| !t.is_finished()) {
            return;
        }
        let first = gpu.device.clone();
        let caps = gpu.caps.clone();
        let (finished, stop) = (self.finished.clone(), self.stop.clone());
        let before = finished.load(Ordering::Relaxed);
        let work = move || {
            let done = || {
                let _ = first.poll(wgpu::PollType::Poll);
                finished.load(Ordering::Relaxed) - before
            };
            // Whether the first device has compiled this one, or is at it.
            let is_reached = |at: usize| done() >= at || stop.load(Ordering::Relaxed);
            loop {
                let start = done();
                std::thread::park_timeout(WATCH);
                if is_reached(kernels.len() - 1) {
                    return 0;
                }
                if done() < start + FOUND {
                    break;
                }
            }
            let Ok(second) = adapter::open_adapter(&adapter) else { return 0 };
            let second = second.derive(|shared| {
                (shared.check, shared.planted, shared.dumps) = (false, None, false);
                shared.caps = caps;
            });
            let mut made = 0;
            for (at, kernel) in kernels.iter().enumerate().rev() {
                // Making the pipeline ends with its first launch.
                if is_reached(at) || second.0.cache.get(&second.0, kernel).is_err() {
                    break;
                }
                let _ = second.0.device.poll(wgpu::PollType::wait_indefinitely());
                made += 1;
            }
            made
        };
        // Without a thread all is as it would be.
        *thread = std::thread::Builder::new().name("wgrad-precompile".into()).spawn(work).ok();
    }
}

impl Drop for Precompiler {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // A process should not end in the middle of a driver's work. The thread itself may hold the device's last
        // handle, in a callback of an application.
        if let Some(thread) = lock(&self.thread).take()
            && thread.thread().id() != std::thread::current().id()
        {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}

impl Gpu {
    /// Whether kernels are compiled ahead here.
    #[cfg(test)]
    fn compiles_ahead(&self) -> bool {
        self.0.precompiler.adapter.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_device_makes_the_pipelines_that_the_first_does_not_reach() {
        let Ok(gpus) = super::super::adapters_named("llvmpipe") else {
            return println!("SKIPPED: no lavapipe");
        };
        let Some(gpu) = gpus.into_iter().find(Gpu::compiles_ahead) else {
            return println!("SKIPPED: no lavapipe with a cache on disk");
        };
        // The first device asks for none, so that the second makes all but the first.
        assert!(gpu.device().features().contains(wgpu::Features::SHADER_INT64), "words of 64 bits");
        let entries = ["accumulate", "argmax_rows", "batch_norm_moments", "cast_bytes", "one_hot"];
        let kernels: Vec<Kernel> = entries.iter().filter_map(|e| Kernel::library(e).ok()).collect();
        assert_eq!(kernels.len(), entries.len());
        gpu.0.precompiler.start(&gpu.0, kernels);
        let thread = lock(&gpu.0.precompiler.thread).take();
        assert_eq!(thread.and_then(|t| t.join().ok()), Some(entries.len() - 1));
        assert!(gpu.kernels().is_empty(), "the first device has pipelines of the second");
    }
}
