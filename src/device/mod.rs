//! What runs graphs: a GPU through wgpu, or the CPU through ndarray, behind one handle.

pub(crate) mod checkpoint;

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use crate::backend::{Backend, Executor};
pub use crate::backend::{CompileOptions, DeviceInfo, Precision, Readback};
use crate::cpu::Cpu;
use crate::error::{Error, Result, listed};
use crate::graph::{Graph, NUMERICS, Param};
use crate::plan::Traffic;
use crate::profile::{Clock, Profile, check_runs};
use crate::tensor::{Data, Feed, Tensor};

/// A GPU or the CPU. Cheap to clone; clones share the states: the values of parameters. Two calls of [`Device::cpu`], or of another
/// function that opens one, are two devices, and what was trained on the first starts anew on the second.
#[derive(Clone)]
pub struct Device(Arc<dyn Backend>);

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Device({})", self.info())
    }
}

#[cfg(feature = "gpu")]
impl From<crate::gpu::Gpu> for Device {
    fn from(gpu: crate::gpu::Gpu) -> Self {
        Device::from_backend(gpu)
    }
}

impl Device {
    pub(crate) fn from_backend(backend: impl Backend + 'static) -> Self {
        Device(Arc::new(backend))
    }

    /// The CPU, in f32, through ndarray, on `WGRAD_THREADS` threads or as many as the process may run at once.
    /// Results are the same bits on any number of threads.
    pub fn cpu() -> Self {
        Device::from_backend(Cpu::<f32>::new())
    }

    /// As [`Device::cpu`], on so many threads, the one that calls [`Step::run`] included.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a number outside 1 to 256, or a failure of the system to start them.
    pub fn cpu_with_threads(threads: usize) -> Result<Self> {
        Ok(Device::from_backend(Cpu::<f32>::with_threads(threads)?))
    }

    /// The CPU in f64, plain formulas only: the truth that kernels are checked against.
    pub fn reference() -> Self {
        Device::from_backend(Cpu::<f64>::plain())
    }

    /// The best GPU; `WGRAD_ADAPTER` chooses another by part of its name.
    ///
    /// # Errors
    /// [`Error::Adapter`] where there is none, saying what to install; [`Error::Environment`] for a switch that is misspelt.
    #[cfg(feature = "gpu")]
    pub fn gpu() -> Result<Self> {
        Ok(crate::gpu::Gpu::open(None)?.into())
    }

    /// Without the `gpu` feature there is no GPU.
    ///
    /// # Errors
    /// Always.
    #[cfg(not(feature = "gpu"))]
    pub fn gpu() -> Result<Self> {
        Err(Error::Adapter("this build of wgrad has no `gpu` feature".into()))
    }

    /// By name: `cpu`, `gpu`, `auto` (a GPU if there is one, else the CPU), or part of an adapter's name.
    ///
    /// # Errors
    /// [`Error::Adapter`] or [`Error::Unknown`] where nothing fits.
    pub fn named(name: &str) -> Result<Self> {
        match name {
            "cpu" => Ok(Device::cpu()),
            "gpu" => Device::gpu(),
            "auto" => match Device::gpu() {
                // Only where no adapter was asked for is the CPU as good.
                Err(Error::Adapter(_)) if crate::env::adapter().is_none() => Ok(Device::cpu()),
                other => other,
            },
            #[cfg(feature = "gpu")]
            other => Ok(crate::gpu::Gpu::open(Some(other))?.into()),
            #[cfg(not(feature = "gpu"))]
            other => Err(Error::unknown("device", other, ["cpu"])),
        }
    }

    /// Name, API and driver.
    pub fn info(&self) -> DeviceInfo {
        self.0.info()
    }

    /// Plans a graph and makes everything its steps need.
    ///
    /// # Errors
    /// The first mistake of the recording, a limit of the adapter, [`Error::OutOfMemory`], or [`Error::Environment`] for a
    /// switch that is misspelt.
    pub fn compile(&self, graph: &Graph) -> Result<Step> {
        self.compile_with(graph, CompileOptions::new())
    }

    /// As [`Device::compile`], with at most `bytes` planned for intermediate values ([`Step::planned_bytes`]). Where
    /// they would not do, values of the forward pass are computed again in the backward pass instead of being kept
    /// (Chen et al., "Training Deep Nets with Sublinear Memory Cost", 2016). Results stay the same.
    ///
    /// # Errors
    /// As [`Device::compile`], or [`Error::MemoryBudget`], which says how much is needed at least.
    pub fn compile_within(&self, graph: &Graph, bytes: usize) -> Result<Step> {
        self.compile_with(graph, CompileOptions::new().memory_budget(bytes))
    }

    /// As [`Device::compile`], with options.
    ///
    /// ```
    /// use wgrad::{CompileOptions, Device, Graph, Precision};
    /// let g = Graph::new();
    /// let x = g.input("x", [1024]);
    /// g.output("y", (x * 0.1).sum_all());
    /// let options = CompileOptions::new().precision(Precision::Mixed);
    /// let mut step = Device::cpu().compile_with(&g, options)?;
    /// step.run_with(&[("x", (&[1.0f32; 1024]).into())])?;
    /// // Each product is rounded to half precision, their sum is not.
    /// assert_eq!(step.scalar("y")?, 102.375);
    /// # Ok::<(), wgrad::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Device::compile_within`]; [`Error::Adapter`] for [`Precision::Mixed`] where the adapter has no 16-bit floats.
    pub fn compile_with(&self, graph: &Graph, options: CompileOptions) -> Result<Step> {
        let step = self.compile_unwarned(graph, options)?;
        let plan = step.executor.plan();
        for (input, _) in
            plan.recording.inputs.iter().zip(&plan.reads_input).filter(|(_, is_read)| !**is_read)
        {
            tracing::warn!(
                input = input.name,
                "no output and no update depends on this input; it need not be fed"
            );
        }
        if !step.without_gradient().is_empty() {
            tracing::warn!(
                parameters = listed(step.without_gradient()),
                "no gradient reaches these parameters, so that they stay as they are: the loss does not depend on them, or \
                 only through ops whose derivative is 0"
            );
        }
        Ok(step)
    }

    /// As [`Device::compile_with`], for graphs that have inputs for the sake of their shapes.
    pub(crate) fn compile_unwarned(&self, graph: &Graph, options: CompileOptions) -> Result<Step> {
        let _span = tracing::debug_span!("compile").entered();
        crate::env::check()?;
        let recording = graph.finish()?;
        if crate::env::dumps("graph") {
            eprintln!("{graph}");
        }
        let executor = self.0.compile(recording, options)?;
        if crate::env::dumps("plan") {
            eprintln!("{}", executor.plan());
        }
        Ok(Step { executor })
    }

    /// The current value of a parameter or state.
    ///
    /// # Errors
    /// If the device failed.
    pub fn read_param(&self, param: &Param) -> Result<Tensor> {
        Tensor::new(param.shape(), self.0.read_state(param)?)
    }

    /// Replaces the value of a parameter or state.
    ///
    /// # Errors
    /// If size or type differ, or the device failed.
    pub fn write_param<'a>(&self, param: &Param, values: impl Into<Feed<'a>>) -> Result<()> {
        let values = values.into();
        values.check(param.name(), &param.tensor_type(), None)?;
        self.0.write_state(param, values)
    }

    /// Waits until everything submitted has run.
    ///
    /// # Errors
    /// If the device failed meanwhile.
    pub fn wait(&self) -> Result<()> {
        self.0.wait()
    }

    /// The most bytes that a tensor can have here.
    pub(crate) fn largest_tensor(&self) -> usize {
        self.0.largest_tensor()
    }

    /// Saves states as safetensors, to a temporary file that is then renamed.
    ///
    /// # Errors
    /// [`Error::Io`], or a failure of the device.
    pub fn save(&self, params: &[Param], path: impl AsRef<Path>) -> Result<()> {
        checkpoint::save(self, params, path.as_ref())
    }

    /// Loads the values of `params` from a safetensors file. Nothing changes unless all are there with
    /// the right types and shapes.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Format`], or [`Error::Invalid`] naming the first tensor that does not fit, or
    /// [`Error::NotFinite`] the first that holds NaN or, if it is trainable, an infinity.
    pub fn load(&self, params: &[Param], path: impl AsRef<Path>) -> Result<()> {
        checkpoint::load(self, params, path.as_ref())
    }
}

/// A compiled graph: feed its inputs, run it, read its outputs.
pub struct Step {
    executor: Box<dyn Executor>,
}

impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Step({} tasks)", self.executor.plan().tasks.len())
    }
}

impl Step {
    /// Gives an input its value, which it keeps until it is fed again. Values are copied at once. Those of an input
    /// that no output and no update depends on are checked and not kept.
    ///
    /// # Errors
    /// [`Error::Feed`] for a wrong size, type, or a class outside its range; [`Error::Unknown`] for a
    /// wrong name.
    pub fn feed<'a>(&mut self, name: &str, values: impl Into<Feed<'a>>) -> Result<()> {
        let values = values.into();
        let recording = &self.executor.plan().recording;
        let Some(at) = recording.inputs.iter().position(|i| i.name == name) else {
            return Err(Error::unknown("input", name, recording.inputs.iter().map(|i| &*i.name)));
        };
        let input = &recording.inputs[at];
        values.check(name, &recording.values[input.value as usize].ty, input.bound)?;
        self.executor.feed(at, values)
    }

    /// Runs the graph once; on a GPU it returns when the work is submitted.
    ///
    /// # Errors
    /// [`Error::Feed`] for an input that something depends on and that was never fed, or a failure of the device.
    pub fn run(&mut self) -> Result<()> {
        let _span = tracing::trace_span!("step").entered();
        self.executor.run()
    }

    /// Runs the graph `runs` times with the inputs it has, and gives the same bits as so many calls of
    /// [`Step::run`].
    ///
    /// A GPU is given several runs in one submission: as many as make up 1,000 launches or 20 ms, so that a display
    /// that shares it is not held up. To know how long one takes, the second, third and fourth run that come this
    /// way are waited for.
    ///
    /// # Errors
    /// As [`Step::run`].
    pub fn run_many(&mut self, runs: usize) -> Result<()> {
        let _span = tracing::trace_span!("steps", runs).entered();
        self.executor.run_many(runs)
    }

    /// How many runs [`Step::run_many`] would put in one submission now.
    pub fn runs_per_submission(&self) -> usize {
        self.executor.together()
    }

    /// Feeds several inputs, then runs.
    ///
    /// # Errors
    /// As [`Step::feed`] and [`Step::run`].
    pub fn run_with(&mut self, feeds: &[(&str, Feed<'_>)]) -> Result<()> {
        for (name, values) in feeds {
            self.feed(name, *values)?;
        }
        self.run()
    }

    /// Asks for an output of the last run.
    ///
    /// # Errors
    /// [`Error::Unknown`] for a wrong name; [`Error::Invalid`] before the first run.
    pub fn read(&mut self, name: &str) -> Result<Readback> {
        let recording = &self.executor.plan().recording;
        let Some(at) = recording.outputs.iter().position(|o| o.name == name) else {
            return Err(Error::unknown("output", name, recording.outputs.iter().map(|o| &*o.name)));
        };
        self.executor.read(at)
    }

    /// An output of one element, waited for.
    ///
    /// # Errors
    /// As [`Step::read`]; [`Error::Invalid`] if it is not one float.
    pub fn scalar(&mut self, name: &str) -> Result<f32> {
        match self.read(name)?.wait()?.as_f32() {
            [value] => Ok(*value),
            _ => Err(Error::Invalid(format!("output `{name}` is not one float"))),
        }
    }

    /// An output's floats, waited for.
    ///
    /// # Errors
    /// As [`Step::read`].
    pub fn values(&mut self, name: &str) -> Result<Vec<f32>> {
        Ok(self.read(name)?.wait()?.as_f32().to_vec())
    }

    /// Names of the trainable parameters that an optimizer was given and that no gradient reaches: the loss does not
    /// depend on them, or only through ops whose derivative is 0 everywhere. As a rule a part of the model was left out.
    pub fn without_gradient(&self) -> &[String] {
        &self.executor.plan().recording.without_gradient
    }

    /// Whether all that was computed since the graph was compiled is finite, where [`Graph::check_numerics`] had it
    /// looked at. It waits for the last run; after each run it names the first op at fault and so the step.
    ///
    /// # Errors
    /// [`Error::Numerics`], which names the op; [`Error::Invalid`] for a graph that is not looked at, or before its first
    /// run.
    pub fn check_numerics(&mut self) -> Result<()> {
        if self.executor.plan().recording.numerics.is_none() {
            return Err(Error::Invalid(
                "nothing is looked at in this graph; call `Graph::check_numerics` before recording".into(),
            ));
        }
        let found = match self.read(NUMERICS)?.wait()?.data() {
            Data::U32(found) => found.first().copied().unwrap_or(0),
            _ => 0,
        };
        let numerics = self.executor.plan().recording.numerics.as_ref();
        match numerics.filter(|_| found > 0).and_then(|numerics| numerics.of_mark(found)) {
            Some(error) => Err(Error::Numerics(Box::new(error.clone()))),
            None => Ok(()),
        }
    }

    /// Kernel launches of one run; on the CPU, ops.
    pub fn dispatches(&self) -> usize {
        self.executor.dispatches()
    }

    /// Bytes planned for intermediate values.
    pub fn planned_bytes(&self) -> usize {
        self.executor.plan().planned_bytes()
    }

    /// The most bytes of intermediate values that are live at once.
    pub fn live_bytes(&self) -> usize {
        self.executor.plan().live_bytes
    }

    /// Floating-point operations of one run.
    pub fn flops(&self) -> u64 {
        let plan = self.executor.plan();
        let ty = |v: &u32| plan.recording.values[*v as usize].ty;
        let of = |&n: &usize| {
            let node = &plan.recording.nodes[n];
            let inputs: Vec<_> = node.inputs.iter().map(ty).collect();
            let outputs: Vec<_> = node.outputs.iter().map(ty).collect();
            node.op.flops(&inputs, &outputs)
        };
        plan.tasks.iter().flat_map(|task| &task.nodes).map(of).sum()
    }

    /// Bytes that one run moves at least: as planned, and at best.
    pub fn traffic(&self) -> Traffic {
        self.executor.plan().traffic()
    }

    /// Where the time of a run goes, by the best clock that the device has; medians of `runs`, 5 to 20 of them as
    /// a rule.
    ///
    /// The step is run about five times as often, so that states change as by so many runs; inputs must
    /// have been fed.
    ///
    /// # Errors
    /// As [`Step::run`]; [`Error::Invalid`] for 0 runs.
    pub fn profile(&mut self, runs: usize) -> Result<Profile> {
        self.profiled(runs, None)
    }

    /// [`Step::profile`] by a clock that is asked for.
    ///
    /// # Errors
    /// As [`Step::profile`]; [`Error::Invalid`] if the device has no such clock.
    pub fn profile_by(&mut self, clock: Clock, runs: usize) -> Result<Profile> {
        self.profiled(runs, Some(clock))
    }

    pub(crate) fn profiled(&mut self, runs: usize, clock: Option<Clock>) -> Result<Profile> {
        check_runs(runs)?;
        let timings = self.executor.profile(runs, clock)?;
        Ok(Profile::new(self.executor.plan(), timings))
    }

    /// The plan as text: tasks, slots, bytes.
    pub fn describe(&self) -> String {
        self.executor.plan().to_string()
    }
}
