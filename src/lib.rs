//! Trains neural networks with WGSL compute shaders.

pub mod check;
mod checkpoint;
mod cpu;
pub mod data;
mod device;
mod env;
mod error;
#[cfg(feature = "gpu")]
pub mod gpu;
mod graph;
pub mod losses;
pub mod nn;
pub mod ops;
pub mod optim;
mod plan;
mod rng;
mod shape;
mod tensor;
pub mod train;
mod wgsl;

pub use device::{Device, DeviceInfo, Readback, Step};
pub use error::{CheckError, CheckKind, Error, RecordingError, Result};
pub use graph::{Graph, Init, Param, Params, Scope, Var};
pub use rng::{Rng, philox};
pub use shape::{DType, IntoShape, MAX_RANK, Shape, TensorType};
pub use tensor::{Data, Feed, Tensor};
