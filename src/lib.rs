//! Trains neural networks with WGSL compute shaders.

pub mod data;
mod error;
mod graph;
pub mod ops;
mod rng;
mod shape;
mod tensor;
mod wgsl;

pub use error::{CheckError, CheckKind, Error, RecordingError, Result};
pub use graph::{Graph, Init, Param, Params, Scope, Var};
pub use rng::{Rng, philox};
pub use shape::{DType, IntoShape, MAX_RANK, Shape, TensorType};
pub use tensor::{Data, Feed, Tensor};
