//! What an executor does: the contract between [`Device`](crate::Device) and the CPU and GPU below it.

mod readback;
mod timings;

use std::fmt;

#[cfg(feature = "gpu")]
pub(crate) use readback::PendingRead;
pub use readback::Readback;
pub use timings::Clock;
pub(crate) use timings::{RawLaunch, Timings, median};

use crate::error::{Error, Result};
use crate::graph::{Param, Recording};
use crate::plan::Plan;
pub use crate::plan::{CompileOptions, Precision};
use crate::tensor::{Data, Feed};

pub(crate) fn never_ran(output: &str) -> Error {
    Error::Invalid(format!("output `{output}` has no value yet: run the step first"))
}

/// Identity of a device, for logs and tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceInfo {
    /// Adapter name, or `cpu`.
    pub name: String,
    /// Graphics API, or `ndarray`.
    pub backend: String,
    /// Driver and version; empty for the CPU.
    pub driver: String,
    /// `DiscreteGpu`, `IntegratedGpu`, `Cpu` (a software adapter), or `Reference`.
    pub kind: String,
}

impl fmt::Display for DeviceInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}", self.name, self.backend)?;
        if !self.driver.is_empty() {
            write!(f, ", {}", self.driver)?;
        }
        f.write_str(")")
    }
}

/// What a device can do.
pub(crate) trait Backend: Send + Sync {
    fn info(&self) -> DeviceInfo;
    fn compile(&self, recording: Recording, options: CompileOptions) -> Result<Box<dyn Executor>>;
    fn read_state(&self, param: &Param) -> Result<Data>;
    fn write_state(&self, param: &Param, data: Feed<'_>) -> Result<()>;
    /// Waits until everything submitted has run.
    fn wait(&self) -> Result<()>;
    /// The most bytes that a tensor can have.
    fn largest_tensor(&self) -> usize {
        usize::MAX
    }
}

/// A compiled graph.
pub(crate) trait Executor: Send {
    fn plan(&self) -> &Plan;
    fn feed(&mut self, input: usize, values: Feed<'_>) -> Result<()>;
    fn run(&mut self) -> Result<()>;
    /// Runs several times, with several runs in one submission where that is known to be short.
    fn run_many(&mut self, runs: usize) -> Result<()> {
        (0..runs).try_for_each(|_| self.run())
    }
    /// How many runs `run_many` would submit together now.
    fn together(&self) -> usize {
        1
    }
    fn read(&mut self, output: usize) -> Result<Readback>;
    /// Kernel launches of one run.
    fn dispatches(&self) -> usize;
    /// Runs `runs` times, launch by launch; by the best clock there is, unless one is asked for.
    fn profile(&mut self, runs: usize, clock: Option<Clock>) -> Result<Timings>;
}
