//! What is timed, and how: the same workloads in `wgrad bench`, in the crate's benches and, with the same
//! shapes, in other frameworks (`docs/BENCHMARKS.md`).
//!
//! ```
//! use wgrad::Device;
//! use wgrad::bench::{Timer, Workload};
//!
//! let workload = &Workload::named("matmul-32")?[0];
//! let mut case = workload.compile(&Device::cpu())?;
//! let rate = Timer { seconds: 0.001, repeat: 3 }.rates(&mut [&mut case])?[0].median();
//! println!("{rate:.0} products a second, {:.2} GFLOP/s", rate * case.flops() as f64 * 1e-9);
//! # Ok::<(), wgrad::Error>(())
//! ```

mod models;
mod names;
mod peak;
mod recording;
mod roofline;
mod sweep;
mod timer;
mod workload;

pub use roofline::{LowerBounds, Roofline};

pub use crate::profile::Peaks;
pub use models::uniform;
pub use recording::Recorded;
pub use sweep::Sweep;
pub use timer::{Rates, Timer, host_seconds};
pub use workload::{Case, Speed, Workload};
