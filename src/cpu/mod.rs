//! The CPU executor: the same plan, run with the ops' formulas.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Instant;

use crate::backend::{Backend, Clock, CompileOptions, DeviceInfo, Executor, RawLaunch, Readback, Timings};
use crate::error::{Error, Result};
use crate::graph::{Param, Recording, WeakParam};
use crate::host::threads::{self, Threads};
use crate::host::{Buffer, elements};
use crate::op::{Arg, In, Out, Real};
use crate::plan::{ConstantSource, Executes, Location, Plan, Target, lower};

use crate::sync::lock;
use crate::tensor::{Data, Feed, Tensor};

#[derive(Debug)]
struct State<T> {
    buffer: Buffer<T>,
    owner: WeakParam,
}

type States<T> = HashMap<u64, State<T>>;

/// The CPU in precision `T`.
#[derive(Debug, Clone)]
pub(crate) struct Cpu<T> {
    states: Arc<Mutex<States<T>>>,
    plain: bool,
    /// Made when the first graph is compiled.
    threads: Arc<OnceLock<Arc<Threads>>>,
}

impl<T: Real> Cpu<T> {
    /// As many threads as `WGRAD_THREADS` says, or as the process may run at once.
    pub(crate) fn new() -> Self {
        Cpu { states: Arc::default(), plain: false, threads: Arc::default() }
    }

    pub(crate) fn with_threads(count: usize) -> Result<Self> {
        let threads = Arc::new(Threads::new(count)?);
        Ok(Cpu { threads: Arc::new(OnceLock::from(threads)), ..Cpu::new() })
    }

    /// Runs the plain references, on one thread, instead of the faster paths.
    pub(crate) fn plain() -> Self {
        Cpu { plain: true, ..Cpu::new() }
    }

    fn threads(&self) -> Result<Arc<Threads>> {
        if let Some(threads) = self.threads.get() {
            return Ok(threads.clone());
        }
        let made = Arc::new(Threads::new(if self.plain { 1 } else { Threads::wanted()? })?);
        // Of two graphs compiled at the same time, one is first.
        Ok(self.threads.get_or_init(|| made).clone())
    }

    pub(crate) fn step(&self, recording: Recording, options: CompileOptions) -> Result<CpuStep<T>> {
        let threads = self.threads()?;
        let plan = lower(recording, &Target { executor: Executes::Formulas, options })?;
        let r = &plan.recording;
        let slots = plan.slots.iter().map(|s| Buffer::zeros(s.dtype, s.bytes / s.dtype.bytes())).collect();
        let inputs = vec![None; r.inputs.len()];
        let mut constants = Vec::new();
        for (source, value) in &plan.constants {
            let ty = r.values[*value as usize].ty;
            let mut buffer = Buffer::zeros(ty.dtype, ty.shape.elements());
            match *source {
                ConstantSource::Tensor(i) => buffer.assign((&*r.constants[i].0).into()),
                ConstantSource::Node(n) => {
                    let op: &dyn crate::ops::Op = &*r.nodes[n].op;
                    let mut out = [buffer.output(&ty)];
                    T::eval(op, true, &[], &mut out).map_err(Error::Invalid)?;
                }
            }
            constants.push(buffer);
        }
        let mut states = lock(&self.states);
        states.retain(|_, s| s.owner.is_alive());
        for state in &r.states {
            states.entry(state.param.id()).or_insert_with(|| new_state(&state.param));
        }
        Ok(CpuStep {
            slots,
            inputs,
            constants,
            states: self.states.clone(),
            plain: self.plain,
            threads,
            plan,
            has_run: false,
        })
    }
}

fn describe<T>(plain: bool) -> DeviceInfo {
    DeviceInfo {
        name: if plain { "reference" } else { "cpu" }.into(),
        backend: format!("ndarray {}", if size_of::<T>() == 8 { "f64" } else { "f32" }),
        driver: String::new(),
        kind: "Reference".into(),
    }
}

fn new_state<T: Real>(param: &Param) -> State<T> {
    State { buffer: Buffer::from_feed((&param.initial()).into()), owner: param.downgrade() }
}

/// A formula's result; a panic, of this thread or of one that helped, becomes an error.
fn guarded(eval: impl FnOnce() -> Result<(), String>) -> Result<(), String> {
    catch_unwind(AssertUnwindSafe(eval)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
        Err(format!("its formula panicked: {text}"))
    })
}

impl<T: Real> Backend for Cpu<T> {
    fn info(&self) -> DeviceInfo {
        describe::<T>(self.plain)
    }

    fn compile(&self, recording: Recording, options: CompileOptions) -> Result<Box<dyn Executor>> {
        Ok(Box::new(self.step(recording, options)?))
    }

    fn read_state(&self, param: &Param) -> Result<Data> {
        let mut states = lock(&self.states);
        let state = states.entry(param.id()).or_insert_with(|| new_state(param));
        Ok(state.buffer.data(param.shape().elements()))
    }

    fn write_state(&self, param: &Param, data: Feed<'_>) -> Result<()> {
        let mut states = lock(&self.states);
        let state = states.entry(param.id()).or_insert_with(|| new_state(param));
        state.buffer.assign(data);
        Ok(())
    }

    fn wait(&self) -> Result<()> {
        Ok(())
    }
}

/// A graph on the CPU.
#[derive(Debug)]
pub(crate) struct CpuStep<T> {
    plan: Plan,
    slots: Vec<Buffer<T>>,
    inputs: Vec<Option<Buffer<T>>>,
    constants: Vec<Buffer<T>>,
    states: Arc<Mutex<States<T>>>,
    plain: bool,
    threads: Arc<Threads>,
    has_run: bool,
}

impl<T: Real> CpuStep<T> {
    /// An output in the device's own precision.
    pub(crate) fn output(&self, name: &str) -> Vec<f64> {
        let r = &self.plan.recording;
        let Some(output) = r.outputs.iter().find(|o| o.name == name) else { return Vec::new() };
        let ty = r.values[output.value as usize].ty;
        let n = ty.shape.elements();
        match self.plan.locations[output.value as usize] {
            Some(Location::Slot { slot, offset }) => match &self.slots[slot] {
                Buffer::F(v) => v[elements(offset, &ty)].iter().map(|x| x.wide()).collect(),
                _ => Vec::new(),
            },
            Some(Location::Constant(c)) => match &self.constants[c] {
                Buffer::F(v) => v[..n].iter().map(|x| x.wide()).collect(),
                _ => Vec::new(),
            },
            _ => Vec::new(),
        }
    }

    /// Feeds floats in full precision.
    pub(crate) fn feed_wide(&mut self, name: &str, values: &[f64]) {
        if let Some(at) = self.plan.recording.inputs.iter().position(|i| i.name == name) {
            self.inputs[at] = Some(Buffer::F(values.iter().map(|&x| T::of(x)).collect()));
        }
    }
}

impl<T: Real> Executor for CpuStep<T> {
    fn plan(&self) -> &Plan {
        &self.plan
    }

    fn feed(&mut self, input: usize, values: Feed<'_>) -> Result<()> {
        if !self.plan.reads_input[input] {
            return Ok(());
        }
        match &mut self.inputs[input] {
            Some(buffer) => buffer.assign(values),
            empty => *empty = Some(Buffer::from_feed(values)),
        }
        Ok(())
    }

    fn run(&mut self) -> Result<()> {
        self.run_timed(|_, _| {})
    }

    fn profile(&mut self, runs: usize, clock: Option<Clock>) -> Result<Timings> {
        if clock.is_some_and(|clock| clock != Clock::Host) {
            return Err(Error::Invalid("the CPU has no clock but the host's".into()));
        }
        let launches = (0..self.plan.tasks.len()).map(|t| self.launch(t)).collect();
        self.run()?;
        let (mut spans, mut alone) = (Vec::new(), Vec::new());
        for _ in 0..runs {
            let start = Instant::now();
            self.run()?;
            alone.push(start.elapsed().as_secs_f64());
            let (start, mut run) = (Instant::now(), Vec::new());
            self.run_timed(|begin, end| {
                run.push([(begin - start).as_secs_f64(), (end - begin).as_secs_f64()]);
            })?;
            spans.push(run);
        }
        let in_turn = alone.clone();
        Ok(Timings {
            device: describe::<T>(self.plain),
            clock: Clock::Host,
            launches,
            runs: spans,
            alone,
            in_turn,
        })
    }

    fn read(&mut self, output: usize) -> Result<Readback> {
        let r = &self.plan.recording;
        if !self.has_run {
            return Err(crate::backend::never_ran(&r.outputs[output].name));
        }
        let value = r.outputs[output].value as usize;
        let ty = r.values[value].ty;
        let n = ty.shape.elements();
        let data = match self.plan.locations[value] {
            Some(Location::Slot { slot, offset }) => self.slots[slot].data_of(elements(offset, &ty)),
            Some(Location::Constant(c)) => self.constants[c].data(n),
            _ => return Err(Error::Invalid(format!("output `{}` was not planned", r.outputs[output].name))),
        };
        Ok(Readback::ready(Tensor::new(ty.shape, data)))
    }

    fn dispatches(&self) -> usize {
        self.plan.tasks.len()
    }
}

impl<T: Real> CpuStep<T> {
    /// An op as what a profile lists.
    fn launch(&self, t: usize) -> RawLaunch {
        let (r, task) = (&self.plan.recording, &self.plan.tasks[t]);
        let bytes = |v: u32| r.values[v as usize].ty.bytes();
        let reads = self.plan.reads_of(task).enumerate().map(|(i, v)| (Arg::Input(i), bytes(v)));
        let writes = self.plan.outputs_of(task).enumerate().map(|(i, v)| (Arg::Output(i), bytes(v)));
        RawLaunch {
            task: t,
            kernel: r.nodes[task.nodes[0]].op.name().into(),
            workgroups: [0; 3],
            args: reads.chain(writes).collect(),
        }
    }

    /// Runs once, and gives the start and the end of each op to `took`.
    fn run_timed(&mut self, took: impl FnMut(Instant, Instant)) -> Result<()> {
        if let Some(name) = self.plan.unfed(|i| self.inputs[i].is_some()) {
            return Err(Error::Feed { name: name.into(), message: "was never fed".into() });
        }
        self.has_run = true;
        let threads = self.threads.clone();
        threads::with(&threads, || self.run_tasks(took))
    }

    fn run_tasks(&mut self, mut took: impl FnMut(Instant, Instant)) -> Result<()> {
        let mut states = lock(&self.states);
        let r = &self.plan.recording;
        for &n in self.plan.tasks.iter().flat_map(|task| &task.nodes) {
            let node = &r.nodes[n];
            let id = |s: usize| r.states[s].param.id();
            // Outputs are taken out of the table, so that inputs can be borrowed from it.
            let mut taken: Vec<(Location, Buffer<T>)> = Vec::with_capacity(node.outputs.len());
            for &o in &node.outputs {
                let buffer = match self.plan.locations[o as usize] {
                    Some(Location::Slot { slot, offset }) => {
                        let buffer = std::mem::take(&mut self.slots[slot]);
                        Some((Location::Slot { slot, offset }, buffer))
                    }
                    Some(Location::State(s)) => states
                        .get_mut(&id(s))
                        .map(|state| (Location::State(s), std::mem::take(&mut state.buffer))),
                    _ => None,
                };
                taken.extend(buffer);
            }
            let inputs: Vec<In<'_, T>> = self
                .plan
                .reads(n)
                .iter()
                .filter_map(|&v| {
                    let ty = &r.values[v as usize].ty;
                    let buffer = match self.plan.locations[v as usize]? {
                        Location::Slot { slot, offset } => {
                            return Some(self.slots[slot].input_at(offset, ty));
                        }
                        Location::Input(i) => self.inputs[i].as_ref()?,
                        Location::Constant(c) => &self.constants[c],
                        Location::State(s) => &states.get(&id(s))?.buffer,
                    };
                    Some(buffer.input(ty))
                })
                .collect();
            let mut outputs: Vec<Out<'_, T>> = taken
                .iter_mut()
                .zip(&node.outputs)
                .map(|((location, b), &o)| match *location {
                    Location::Slot { offset, .. } => b.output_at(offset, &r.values[o as usize].ty),
                    _ => b.output(&r.values[o as usize].ty),
                })
                .collect();
            let start = Instant::now();
            let result = guarded(|| T::eval(&*node.op, self.plain, &inputs, &mut outputs));
            let rounded = outputs.iter_mut().zip(&node.outputs);
            rounded.filter(|(_, v)| self.plan.in_f16.get(**v as usize) == Some(&true)).for_each(|(y, _)| {
                threads::runs(y.f(), 1, 1, |_, y| {
                    y.iter_mut().for_each(|y| *y = T::of(crate::half::round(y.wide())));
                });
            });
            took(start, Instant::now());
            drop((inputs, outputs));
            for (location, buffer) in taken {
                match location {
                    Location::Slot { slot, .. } => self.slots[slot] = buffer,
                    Location::State(s) => {
                        if let Some(state) = states.get_mut(&id(s)) {
                            state.buffer = buffer;
                        }
                    }
                    _ => {}
                }
            }
            result.map_err(|message| {
                Error::Invalid(format!("{} ({}): {message}", r.label(n), node.location))
            })?;
        }
        Ok(())
    }
}

/// Runs one op in precision `T`; `inputs` ends with the states it updates.
#[cfg(test)]
pub(crate) fn run_op<T: Real>(
    op: &dyn crate::ops::Op,
    inputs: &[Tensor],
    plain: bool,
) -> Result<Vec<Tensor>, String> {
    let types: Vec<crate::TensorType> = inputs.iter().map(Tensor::tensor_type).collect();
    let out_types = op.infer(&types)?;
    let reads = inputs.len() - op.writes();
    let results = out_types.len() - op.writes();
    let buffers: Vec<Buffer<T>> = inputs.iter().map(|t| Buffer::from_feed(t.into())).collect();
    let views: Vec<In<'_, T>> = buffers[..reads].iter().zip(&types).map(|(b, ty)| b.input(ty)).collect();
    let mut outs: Vec<Buffer<T>> =
        out_types[..results].iter().map(|ty| Buffer::zeros(ty.dtype, ty.shape.elements())).collect();
    outs.extend(buffers[reads..].iter().cloned());
    let mut targets: Vec<Out<'_, T>> = outs.iter_mut().zip(&out_types).map(|(b, ty)| b.output(ty)).collect();
    T::eval(op, plain, &views, &mut targets)?;
    drop(targets);
    let tensor = |(b, ty): (&Buffer<T>, &crate::TensorType)| {
        Tensor::new(ty.shape, b.data(ty.shape.elements())).map_err(|e| e.to_string())
    };
    outs.iter().zip(&out_types).map(tensor).collect()
}
