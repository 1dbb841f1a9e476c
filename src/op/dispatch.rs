//! Launches of kernels: arguments, parameters and grids.

use super::{Caps, Kernel, Op, Uniform};
use crate::error::{Error, Result};
use crate::shape::{DType, TensorType};
use crate::wgsl;

/// A storage binding of a dispatch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arg {
    /// Input `i` of the op, read only.
    Input(usize),
    /// Output `i` of the op, or a state it updates, counted after the outputs.
    Output(usize),
    /// Output `i` again, read by a later launch of the same op.
    OutputRead(usize),
    /// Scratch buffer `i`, to be written.
    Scratch(usize),
    /// Scratch buffer `i`, to be read.
    ScratchRead(usize),
}

/// One kernel launch.
#[derive(Debug, Clone)]
pub struct Dispatch {
    /// What runs.
    pub kernel: Kernel,
    /// Storage bindings, in the order of their numbers in the shader.
    pub args: Vec<Arg>,
    /// The uniform, if the kernel has one.
    pub uniform: Vec<u8>,
    /// Names of its members and where they begin, if they are known.
    #[cfg_attr(not(test), expect(dead_code, reason = "tests compare them with the shader's"))]
    pub(crate) members: Vec<(&'static str, usize)>,
    /// Workgroups.
    pub grid: [u32; 3],
    /// Most iterations that one invocation takes, all its loops together, if it was said; see [`Dispatch::loop_iterations`].
    iterations: Option<usize>,
}

impl Dispatch {
    /// A launch with a `#[repr(C)]` struct of parameters.
    pub fn new(kernel: Kernel, args: Vec<Arg>, uniform: &impl bytemuck::NoUninit, grid: [u32; 3]) -> Self {
        Dispatch::with_bytes(kernel, args, bytemuck::bytes_of(uniform).to_vec(), grid)
    }

    /// A launch with these bytes of parameters.
    pub(crate) fn with_bytes(kernel: Kernel, args: Vec<Arg>, uniform: Vec<u8>, grid: [u32; 3]) -> Self {
        Dispatch { kernel, args, uniform, members: Vec::new(), grid, iterations: None }
    }

    /// A launch with parameters by name.
    pub(super) fn by_name(kernel: Kernel, args: Vec<Arg>, uniform: &Uniform, grid: [u32; 3]) -> Self {
        let members = uniform.members.clone();
        Dispatch { members, ..Dispatch::with_bytes(kernel, args, uniform.bytes(), grid) }
    }

    /// Says how many iterations one invocation takes at most, all its loops together and those of the functions that it
    /// calls: a loop within a loop counts as often as it is entered. Some software adapters (llvmpipe up to Mesa 24)
    /// end all loops after 65,535 such iterations and say nothing, so that a longer sum would be wrong in silence. A graph whose
    /// kernels take more than [`Caps::max_loop_iterations`] is refused when it is compiled; an op that can have long loops
    /// should cut them in several launches, or among more invocations, where `Caps::max_loop_iterations` asks for it.
    #[must_use]
    pub fn loop_iterations(mut self, most: usize) -> Self {
        self.iterations = Some(most);
        self
    }

    /// What [`Dispatch::loop_iterations`] said, 0 for a kernel without loops, `None` if nobody said.
    pub fn most_loop_iterations(&self) -> Option<usize> {
        self.iterations.or_else(|| (!wgsl::has_loops(&self.kernel.text)).then_some(0))
    }

    /// Refuses a launch whose loops the adapter would end before they are done.
    pub(crate) fn check_loop_iterations(&self, op: &str, caps: &Caps) -> Result<()> {
        match self.most_loop_iterations() {
            Some(iterations) if !caps.allows(iterations) => Err(Error::Limit(format!(
                "`{op}`: an invocation of kernel `{}` would take {iterations} loop iterations, and this adapter's driver may end loops \
                 after {} iterations without a word; use the CPU device, a GPU, or smaller extents",
                self.kernel.entry, caps.max_loop_iterations
            ))),
            _ => Ok(()),
        }
    }
}

/// The launches that make up an op, in order.
#[derive(Debug, Clone, Default)]
pub struct Program {
    /// Launches.
    pub dispatches: Vec<Dispatch>,
    /// Sizes of scratch buffers, in bytes.
    pub scratch: Vec<usize>,
    /// Whether no launch reads or writes what another writes, so that their order does not matter.
    pub(crate) in_any_order: bool,
}

impl Program {
    /// These launches, one after the other.
    pub fn new(dispatches: Vec<Dispatch>, scratch: Vec<usize>) -> Self {
        Program { dispatches, scratch, in_any_order: false }
    }

    /// The launches of both, one after the other.
    pub(crate) fn then(mut self, mut next: Program) -> Program {
        let offset = self.scratch.len();
        for arg in next.dispatches.iter_mut().flat_map(|d| &mut d.args) {
            if let Arg::Scratch(i) | Arg::ScratchRead(i) = arg {
                *i += offset;
            }
        }
        self.scratch.append(&mut next.scratch);
        self.dispatches.append(&mut next.dispatches);
        self.in_any_order = false;
        self
    }

    /// The same with some inputs and outputs stored in 16 bits; `None` where a kernel is not wgrad's own, or uses
    /// one of them in a way that cannot be rewritten. States, which are the last outputs, keep their 32 bits.
    pub(crate) fn with_f16(mut self, inputs: &[bool], outputs: &[bool]) -> Option<Self> {
        let of = |list: &[bool], i: usize| list.get(i).copied().unwrap_or(false);
        for dispatch in &mut self.dispatches {
            let is_f16 = |arg: &Arg| match *arg {
                Arg::Input(i) => of(inputs, i),
                Arg::Output(i) | Arg::OutputRead(i) => of(outputs, i),
                Arg::Scratch(_) | Arg::ScratchRead(_) => false,
            };
            let in_f16: Vec<bool> = dispatch.args.iter().map(is_f16).collect();
            dispatch.kernel.store_f16(&in_f16)?;
        }
        Some(self)
    }

    /// The same with all floats of `op` in 16 bits that can be: how cases are checked.
    #[doc(hidden)]
    pub fn in_f16(self, op: &dyn Op, inputs: &[TensorType], outputs: &[TensorType]) -> Option<Self> {
        let reads = inputs.len() - op.writes();
        let results = outputs.len() - op.writes();
        let is_float = |ty: &TensorType| ty.dtype == DType::F32;
        let ins: Vec<bool> = inputs[..reads].iter().map(is_float).collect();
        let keeps = op.traits().keeps_f32;
        let outs = outputs[..results].iter().enumerate().map(|(k, ty)| is_float(ty) && !keeps.has(k));
        self.with_f16(&ins, &outs.collect::<Vec<bool>>())
    }
}

impl From<Dispatch> for Program {
    fn from(dispatch: Dispatch) -> Self {
        Program::new(vec![dispatch], Vec::new())
    }
}
