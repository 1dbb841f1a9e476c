//! How graphs are compiled.

/// How a step stores the values between its kernels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Precision {
    /// All floats in 32 bits.
    #[default]
    F32,
    /// Activations and their gradients in 16 bits (IEEE binary16), and all else in 32: parameters, their gradients, the
    /// states of optimizers, sums, losses, outputs. Kernels read them as 32 bits and compute so.
    ///
    /// Half precision has no numbers below 6e-8: train with [`crate::optim::LossScale`]. An adapter needs 16-bit
    /// floats in shaders (`SHADER_F16`). The CPU rounds values as a GPU without fusion would store
    /// them, and keeps 32 bits.
    Mixed,
}

/// How a graph is compiled; see [`crate::Device::compile_with`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CompileOptions {
    pub(crate) memory_budget: Option<usize>,
    pub(crate) precision: Precision,
}

impl CompileOptions {
    /// In `f32`, with no bound on memory: what [`crate::Device::compile`] does.
    pub fn new() -> Self {
        CompileOptions::default()
    }

    /// At most `bytes` planned for intermediate values; see [`crate::Device::compile_within`].
    #[must_use]
    pub fn memory_budget(mut self, bytes: usize) -> Self {
        self.memory_budget = Some(bytes);
        self
    }

    /// How values are stored between kernels.
    #[must_use]
    pub fn precision(mut self, precision: Precision) -> Self {
        self.precision = precision;
        self
    }
}
