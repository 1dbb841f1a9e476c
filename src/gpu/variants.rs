//! Devices that differ from another in one thing.

use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex};

use super::shared::{Counters, Shared};
use super::{Gpu, PlantedFault, cache, precompile, tune};
use crate::error::Result;

impl Gpu {
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
    /// [`Error::Io`](crate::Error::Io) or [`Error::Invalid`](crate::Error::Invalid) for a file that cannot be
    /// read, or holds something else.
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

    /// The same adapter's device and queue with this change; without what was made on it (pipelines, states, buffers).
    pub(super) fn derive(&self, change: impl FnOnce(&mut Shared)) -> Self {
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
}
