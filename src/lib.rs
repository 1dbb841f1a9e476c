//! Trains neural networks with WGSL compute shaders, through wgpu, on any GPU, on a software adapter, and on
//! the CPU through ndarray, which is the reference that every kernel is checked against.
//!
//! A [`Graph`] records ops on [`Var`]s of static shape; [`Graph::gradients`] and the optimizers of [`optim`]
//! append to it; [`Device::compile`] plans it and gives a [`Step`] that is fed, run and read.
//!
//! ```
//! use wgrad::{Device, Graph};
//!
//! let g = Graph::new();
//! let x = g.input("x", [3]);
//! let y = (x * x).sum_all();
//! g.output("dy/dx", g.gradients(y, &[x])[0]);
//!
//! let mut step = Device::cpu().compile(&g)?;
//! step.run_with(&[("x", (&[1.0f32, 2.0, 3.0]).into())])?;
//! assert_eq!(step.values("dy/dx")?, [2.0, 4.0, 6.0]);
//! # Ok::<(), wgrad::Error>(())
//! ```
//!
//! `README.md` shows the program, `docs/DESIGN.md` how it works, [`catalogue`] all that there is.

// Kernels are described by the ops, but only the GPU executor reads the descriptions.
#![cfg_attr(not(feature = "gpu"), allow(dead_code))]

#[doc = include_str!("../docs/CATALOGUE.md")]
// A shape like `[rows]` is no link, and a file is not found from here.
#[allow(rustdoc::broken_intra_doc_links, rustdoc::invalid_html_tags)]
pub mod catalogue {}

mod backend;
pub mod bench;
pub mod cases;
pub mod check;
mod cpu;
pub mod data;
mod device;
mod env;
mod error;
mod expected;
mod files;
#[cfg(test)]
mod golden_tests;
#[cfg(feature = "gpu")]
pub mod gpu;
mod graph;
mod half;
mod host;
#[doc(hidden)]
pub mod kernels;
pub mod losses;
#[cfg(feature = "gpu")]
#[doc(hidden)]
pub mod mutation;
mod names;
pub mod nn;
mod op;
pub mod ops;
pub mod optim;
mod plan;
#[cfg(feature = "plots")]
pub mod plots;
pub mod profile;
mod rng;
mod shape;
mod sync;
mod tensor;
pub mod train;
mod wgsl;

pub use device::{CompileOptions, Device, DeviceInfo, Precision, Readback, Step};
#[doc(hidden)]
pub use env::{SWITCHES, Switch, adapter as wanted_adapter, check as check_environment};
pub use error::{CheckError, CheckKind, Error, NumericsError, RecordingError, Result};
#[doc(hidden)]
pub use files::write_renamed;
pub use graph::{Distribution, Fan, Gain, Graph, Init, Param, Params, Scope, Var};
#[doc(hidden)]
pub use names::nearest as nearest_name;
pub use plan::Traffic;
pub use rng::{Rng, fnv1a, philox};
pub use shape::{DType, IntoShape, MAX_RANK, Shape, TensorType};
pub use tensor::{Data, Feed, Tensor};

/// The README's sample is compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
