//! What formulas and the CPU executor need of the CPU: threads, buffers and products of matrices.

mod buffer;
mod product;
pub(crate) mod threads;

pub(crate) use buffer::{Buffer, elements};
pub(crate) use product::{PART, product};
