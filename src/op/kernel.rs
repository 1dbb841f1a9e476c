//! What an op asks of a GPU: kernels as text, arguments, parameters and grids. Pure data.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::{Chain, Op, Uniform};
use crate::error::{Error, Result};
use crate::shape::{DType, TensorType};
use crate::wgsl;

/// Which shape of kernel runs best; see `docs/DESIGN.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AdapterClass {
    /// A GPU: many invocations, workgroup memory.
    Gpu,
    /// A software adapter: few invocations with many registers, no barriers.
    Software,
    /// A software adapter whose subgroups are known to have 8 lanes and can broadcast.
    SoftwareLanes8,
}

impl std::fmt::Display for AdapterClass {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            AdapterClass::Gpu => "gpu",
            AdapterClass::Software => "software adapter",
            AdapterClass::SoftwareLanes8 => "software adapter, 8 lanes",
        })
    }
}

/// Forms of kernels that were measured to be the fastest on an adapter, by the key of a [`Trial`].
#[doc(hidden)]
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Forms(BTreeMap<String, usize>);

#[cfg_attr(not(feature = "gpu"), allow(dead_code))]
impl Forms {
    pub(crate) fn new(forms: BTreeMap<String, usize>) -> Self {
        Forms(forms)
    }

    pub(crate) fn one(key: &str, form: usize) -> Self {
        Forms(BTreeMap::from([(key.to_string(), form)]))
    }

    pub(crate) fn of(&self, key: &str) -> Option<usize> {
        self.0.get(key).copied()
    }

    pub(crate) fn with(&self, found: BTreeMap<String, usize>) -> Self {
        Forms(self.0.clone().into_iter().chain(found).collect())
    }

    pub(crate) fn entries(&self) -> BTreeMap<String, usize> {
        self.0.clone()
    }
}

/// Forms in which an op's kernel can be had, all of which add up in the same order: one of them is the fastest.
#[doc(hidden)]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trial {
    /// What asks for it: an op and its extents, more or less.
    pub(crate) key: String,
    /// The one that is taken without a trial, then others.
    pub(crate) forms: Vec<usize>,
}

impl Trial {
    /// The form that was measured to be the fastest.
    pub(crate) fn found(&self, caps: &Caps) -> Option<usize> {
        caps.forms.of(&self.key)
    }
}

/// What kernels may rely on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caps {
    /// What was measured.
    #[doc(hidden)]
    pub forms: Arc<Forms>,
    /// Kind of adapter.
    pub class: AdapterClass,
    /// Most workgroups in one dimension of a grid.
    pub max_workgroups: u32,
    /// Most storage buffers that one kernel can bind.
    pub storage_buffers: u32,
    /// Most iterations that one invocation may take, all its loops together; `u32::MAX` where nothing is known to end
    /// them. llvmpipe up to Mesa 24 ends every loop of an invocation after 65,535 iterations in all, and says nothing.
    pub max_loop_iterations: u32,
}

/// [`Caps::max_loop_iterations`] of software adapters: half of what llvmpipe allows, which counts a loop's iterations for the slowest
/// of eight invocations.
pub(crate) const LLVMPIPE_ITERATIONS: u32 = 1 << 15;

impl Caps {
    /// WebGPU's default limits, for a class of adapter.
    pub fn default_of(class: AdapterClass) -> Self {
        let max_loop_iterations = if class == AdapterClass::Gpu { u32::MAX } else { LLVMPIPE_ITERATIONS };
        Caps { class, max_workgroups: 65_535, storage_buffers: 8, max_loop_iterations, forms: Arc::default() }
    }

    /// Whether an invocation may take so many loop iterations.
    pub(crate) fn allows(&self, iterations: usize) -> bool {
        iterations as u64 <= u64::from(self.max_loop_iterations)
    }

    /// Into how many splits work must be cut, of which each invocation can do `most` in the iterations it may take.
    pub(crate) fn pieces(&self, work: usize, most: usize) -> usize {
        if self.max_loop_iterations == u32::MAX { 1 } else { work.div_ceil(most.max(1)).max(1) }
    }

    /// Cuts work in splits of equal length, each of which an invocation or workgroup can do that does `most` at most: one
    /// part where loops may be as long as they like. There is always one, and none is empty but of no work.
    pub(crate) fn cut(&self, work: usize, most: usize) -> Cut {
        let length = work.div_ceil(self.pieces(work, most)).max(1);
        Cut { splits: work.div_ceil(length).max(1), length }
    }

    /// Folds a number of workgroups into a grid within the limits; kernels undo it with
    /// `linear_index`.
    ///
    /// # Errors
    /// If even a square grid is too small.
    pub fn grid(&self, workgroups: usize) -> Result<[u32; 3]> {
        let max = self.max_workgroups as usize;
        let y = workgroups.div_ceil(max).max(1);
        if y > max {
            return Err(Error::Limit(format!(
                "{workgroups} workgroups do not fit in a grid of {max} x {max}"
            )));
        }
        Ok([workgroups.div_ceil(y).max(1) as u32, y as u32, 1])
    }
}

/// Parts of work, and how much each is; the last may be less.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cut {
    pub(crate) splits: usize,
    pub(crate) length: usize,
}

/// What an op sees when it chooses its kernels.
#[derive(Debug)]
pub struct KernelContext<'a> {
    /// The adapter.
    pub caps: &'a Caps,
    /// Types of the inputs, states included.
    pub inputs: &'a [TensorType],
    /// Types of the outputs, states included.
    pub outputs: &'a [TensorType],
    /// What else the kernels are to compute; nothing, unless the op said that they can ([`Op::can_fuse`]).
    pub fusion: Fusion<'a>,
}

/// What is computed by the kernels of an op besides it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Fusion<'a> {
    /// Formulas that make this input where it is read, so that it needs no memory. Their inputs are bound as inputs after
    /// the op's own.
    pub prologue: Option<(usize, &'a Chain)>,
    /// Formulas that are applied to the first output before it is stored. Their inputs are bound after those of the
    /// prologue.
    pub epilogue: Option<&'a Chain>,
}

impl<'a> Fusion<'a> {
    /// The epilogue, if there is one and nothing else.
    pub(crate) fn epilogue_alone(&self) -> Option<&'a Chain> {
        self.epilogue.filter(|_| self.prologue.is_none())
    }
}

impl<'a> KernelContext<'a> {
    /// The op alone.
    pub fn new(caps: &'a Caps, inputs: &'a [TensorType], outputs: &'a [TensorType]) -> Self {
        KernelContext { caps, inputs, outputs, fusion: Fusion::default() }
    }

    /// With this as well.
    #[must_use]
    pub fn fusing(self, fusion: Fusion<'a>) -> Self {
        KernelContext { fusion, ..self }
    }

    /// The inputs of the epilogue as arguments: after those of the op, and of the prologue.
    pub(crate) fn epilogue_args(&self) -> Vec<Arg> {
        let first = self.inputs.len() + self.fusion.prologue.map_or(0, |(_, chain)| chain.inputs.len());
        let count = self.fusion.epilogue.map_or(0, |chain| chain.inputs.len());
        (first..first + count).map(Arg::Input).collect()
    }

    /// A launch with parameters by name, of so many workgroups.
    pub(crate) fn launch(
        &self,
        kernel: Kernel,
        args: impl Into<Vec<Arg>>,
        params: &Uniform,
        workgroups: usize,
    ) -> Result<Dispatch> {
        Ok(Dispatch::by_name(kernel, args.into(), params, self.caps.grid(workgroups)?))
    }

    /// A launch of the library's kernel `entry`, whose workgroups have 64 invocations, of which there are to be so many.
    pub(crate) fn launch_over(
        &self,
        entry: &str,
        args: impl Into<Vec<Arg>>,
        params: &Uniform,
        invocations: usize,
    ) -> Result<Dispatch> {
        self.launch(Kernel::library(entry)?, args, params, invocations.div_ceil(64))
    }
}

/// A shader with one entry point. Kernels of equal key have equal text.
#[derive(Debug, Clone)]
pub struct Kernel {
    /// Identifies text and variant.
    pub key: String,
    /// Entry point.
    pub entry: String,
    /// Complete WGSL.
    pub text: Arc<str>,
    /// Whether it is wgrad's own: its loops end, and it writes workgroup memory before it reads it.
    pub(crate) trusted: bool,
}

impl Kernel {
    /// The entry point `entry` of the files under `shaders/`, with what it uses and nothing else.
    ///
    /// # Errors
    /// If there is no such entry point: a mistake of ours, found by the first case that runs it.
    pub fn library(entry: &str) -> Result<Self> {
        let text = wgsl::link_entry(entry)
            .ok_or_else(|| Error::Invalid(format!("wgrad has no shader `{entry}`; please report it")))?;
        Ok(Kernel { key: entry.to_string(), entry: entry.to_string(), text, trusted: true })
    }

    /// The same with the functions `replaced` written otherwise.
    ///
    /// # Errors
    /// As [`Kernel::library`].
    pub(crate) fn library_with(entry: &str, key: String, replaced: &[&str], text: &str) -> Result<Self> {
        let text = wgsl::link_entry_with(entry, replaced, text).ok_or_else(|| {
            let hooks = replaced.join("`, `");
            Error::Invalid(format!("wgrad has no shader `{entry}` that calls `{hooks}`; please report it"))
        })?;
        Ok(Kernel { key, entry: entry.to_string(), text, trusted: true })
    }

    /// Generated text, completed with the shared functions it uses.
    pub fn generated(key: String, entry: &str, body: &str) -> Self {
        Kernel { key, entry: entry.to_string(), text: wgsl::link_text(body).into(), trusted: true }
    }

    /// The template `file` under `shaders/` with the numbers of `variant`, `before` in front of it, and what both use of
    /// other files. A key is rendered once, which takes up to a millisecond: a memory budget has a graph lowered many times.
    ///
    /// # Errors
    /// As [`Kernel::library`]; in debug builds also for a key that stood for another text before.
    pub(crate) fn rendered(
        file: &str,
        key: String,
        entry: &str,
        before: &str,
        variant: minijinja::Value,
    ) -> Result<Self> {
        static TEXTS: Mutex<BTreeMap<String, Arc<str>>> = Mutex::new(BTreeMap::new());
        let texts = || TEXTS.lock().unwrap_or_else(PoisonError::into_inner);
        let wrong = |what: String| {
            Error::Invalid(format!("the shader `{file}` of kernel `{key}`: {what}; please report it"))
        };
        let known = texts().get(&key).cloned();
        let text = match &known {
            Some(text) if !cfg!(debug_assertions) => text.clone(),
            _ => {
                let body = wgsl::rendered(file, variant).map_err(|e| wrong(e.to_string()))?;
                let text: Arc<str> = wgsl::link_text(&(before.to_string() + &body)).into();
                if known.is_some_and(|known| known != text) {
                    return Err(wrong("its key stands for another text, too".into()));
                }
                texts().entry(key.clone()).or_insert(text).clone()
            }
        };
        Ok(Kernel { key, entry: entry.to_string(), text, trusted: true })
    }

    /// As adapters of a class get it; `words64`: whether they know 64-bit integers.
    #[doc(hidden)]
    #[must_use]
    pub fn tuned(mut self, class: AdapterClass, words64: bool) -> Self {
        if class == AdapterClass::Gpu || !self.trusted {
            return self;
        }
        if let Some(text) = wgsl::words::hoisted(&self.text) {
            self.text = text.into();
        }
        if words64
            && class == AdapterClass::SoftwareLanes8
            && let Some(text) = wgsl::words::widened(&self.text)
        {
            self.text = text.into();
        }
        self
    }

    /// Stores some bindings in 16 bits, in the order of their numbers. `None`, with the kernel as it was, where that is
    /// not possible.
    fn store_f16(&mut self, is_f16: &[bool]) -> Option<()> {
        if !is_f16.contains(&true) {
            return Some(());
        }
        if !self.trusted {
            return None;
        }
        self.text = wgsl::store_f16(&self.text, is_f16)?.into();
        let letter = |is_half: &bool| if *is_half { 'h' } else { 'f' };
        self.key = format!("{}.{}", self.key, is_f16.iter().map(letter).collect::<String>());
        Some(())
    }

    /// Text from outside the crate, complete, with one entry point. wgpu adds its guards against loops
    /// without end and zeros workgroup memory, which wgrad's own kernels do without.
    pub fn custom(key: impl Into<String>, entry: impl Into<String>, text: impl Into<Arc<str>>) -> Self {
        Kernel {
            key: format!("custom.{}", key.into()),
            entry: entry.into(),
            text: text.into(),
            trusted: false,
        }
    }
}

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
    fn by_name(kernel: Kernel, args: Vec<Arg>, uniform: &Uniform, grid: [u32; 3]) -> Self {
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
}

impl Program {
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
        self
    }

    /// The same with some inputs and outputs stored in 16 bits; `None` where a kernel is not wgrad's own, or uses
    /// one of them in a way that cannot be rewritten. States, which are the last outputs, keep their 32 bits.
    pub(crate) fn with_halves(mut self, inputs: &[bool], outputs: &[bool]) -> Option<Self> {
        let of = |list: &[bool], i: usize| list.get(i).copied().unwrap_or(false);
        for dispatch in &mut self.dispatches {
            let is_half = |arg: &Arg| match *arg {
                Arg::Input(i) => of(inputs, i),
                Arg::Output(i) | Arg::OutputRead(i) => of(outputs, i),
                Arg::Scratch(_) | Arg::ScratchRead(_) => false,
            };
            let is_f16: Vec<bool> = dispatch.args.iter().map(is_half).collect();
            dispatch.kernel.store_f16(&is_f16)?;
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
        self.with_halves(&ins, &outs.collect::<Vec<bool>>())
    }
}

impl From<Dispatch> for Program {
    fn from(dispatch: Dispatch) -> Self {
        Program { dispatches: vec![dispatch], scratch: Vec::new() }
    }
}
