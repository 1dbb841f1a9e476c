//! What `tests/mutation` needs to plant faults in kernels: cases that run many times with other texts, and what a text
//! consists of.

use std::sync::Arc;

use crate::check::prepared;
use crate::error::Result;
use crate::expected::Expected;
use crate::gpu::Gpu;
use crate::ops::{AdapterClass, Case, Kernel, Op, Program};
use crate::tensor::Tensor;

/// Every file under `shaders/`, by name without extension.
pub fn shaders() -> &'static [(&'static str, &'static str)] {
    crate::wgsl::FILES
}

/// The declarations of a text: name and text. Comments before one are not part of it.
pub fn declarations(text: &str) -> Vec<(&str, &str)> {
    crate::wgsl::split(text)
}

/// A case with its inputs and what the reference makes of them.
#[derive(Debug)]
pub struct Prepared {
    op: Arc<dyn Op>,
    inputs: Vec<Tensor>,
    expected: Expected,
    as_f16: bool,
}

impl Prepared {
    /// Evaluates the reference; `as_f16`: for floats stored in 16 bits. `None` where half precision has no numbers for the
    /// inputs.
    ///
    /// # Errors
    /// What the reference says.
    pub fn new(case: &Case, as_f16: bool) -> Option<Result<Self, String>> {
        Some(prepared(case, as_f16)?.map(|(inputs, expected)| Prepared {
            op: case.op.clone(),
            inputs,
            expected,
            as_f16,
        }))
    }

    /// Runs the case with its kernels passed through `change`, which must give changed text another key. The result is what
    /// is wrong, if anything is.
    ///
    /// # Errors
    /// What the device reports.
    pub fn run(&self, gpu: &Gpu, change: &dyn Fn(&mut Kernel)) -> Result<Option<String>> {
        let outputs = crate::gpu::case::run_changed(gpu, &self.op, &self.inputs, self.as_f16, change)?;
        Ok(self.expected.compare(&outputs).1)
    }
}

/// What a case dispatches on a GPU, before anything is stored in 16 bits.
///
/// # Errors
/// Where the adapter cannot run it.
pub fn program(gpu: &Gpu, case: &Case) -> Result<Program> {
    let program = crate::check::program_of(gpu, case)?;
    program.dispatches.iter().try_for_each(|d| d.check_loop_iterations(case.op.name(), gpu.caps()))?;
    Ok(program)
}

/// The text as the adapter gets it, which must be valid WGSL.
///
/// # Errors
/// What naga says against it.
pub fn validate(text: &str) -> Result<(), String> {
    let module = naga::front::wgsl::parse_str(text).map_err(|e| e.message().to_string())?;
    let flags = naga::valid::ValidationFlags::all();
    let valid = naga::valid::Validator::new(flags, naga::valid::Capabilities::all()).validate(&module);
    valid.map(|_| ()).map_err(|e| e.to_string())
}

/// The classes of kernels that an adapter can run.
pub fn classes(gpu: &Gpu) -> Vec<AdapterClass> {
    let mut classes = vec![AdapterClass::Gpu, AdapterClass::Software];
    classes.extend(Some(gpu.caps().class).filter(|class| *class == AdapterClass::SoftwareLanes8));
    classes
}

/// Drops the pipelines whose kernel's key begins so.
pub fn forget(gpu: &Gpu, prefix: &str) {
    gpu.0.cache.forget(prefix);
}
