//! A recorded step: everything is made when the graph is compiled; a run only encodes and submits.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use super::bind::{Region, bind, constant};
use super::cache::Pipeline;
use super::pace::Pace;
use super::{PlantedFault, Shared, readback, storage_usage};
use crate::backend::{Clock, CompileOptions, Executor, Precision, Readback, Timings};
use crate::error::{Error, Result};
use crate::graph::Recording;
use crate::op::{Arg, Caps};
use crate::plan::{Executes, Location, Plan, Target, Task, lower};
use crate::tensor::Feed;

/// Submissions that may wait for the device before `run` waits for the oldest.
const IN_FLIGHT: usize = 32;

/// One launch, ready to encode.
pub(crate) struct Launch {
    pub(crate) pipeline: Arc<Pipeline>,
    bind_group: wgpu::BindGroup,
    pub(crate) grid: [u32; 3],
    pub(crate) task: usize,
    /// What it binds, with the bytes of it.
    pub(crate) args: Vec<(Arg, usize)>,
}

impl Launch {
    /// Encodes it; `current` is the pipeline that the pass has.
    pub(crate) fn encode<'l>(
        &'l self,
        pass: &mut wgpu::ComputePass<'_>,
        current: &mut Option<&'l Arc<Pipeline>>,
    ) {
        if !current.is_some_and(|p| Arc::ptr_eq(p, &self.pipeline)) {
            pass.set_pipeline(&self.pipeline.pipeline);
            *current = Some(&self.pipeline);
        }
        pass.set_bind_group(0, &self.bind_group, &[]);
        pass.dispatch_workgroups(self.grid[0], self.grid[1], self.grid[2]);
    }
}

pub(crate) struct GpuStep {
    pub(crate) gpu: Arc<Shared>,
    pub(crate) plan: Plan,
    /// Launches by task.
    pub(crate) launches: Vec<Vec<Launch>>,
    pub(crate) slots: Vec<wgpu::Buffer>,
    inputs: Vec<wgpu::Buffer>,
    fed: Vec<bool>,
    constants: Vec<wgpu::Buffer>,
    pub(crate) states: Vec<wgpu::Buffer>,
    /// Submissions and how many steps each has.
    in_flight: VecDeque<(wgpu::SubmissionIndex, usize)>,
    has_run: bool,
    pace: Pace,
}

impl GpuStep {
    pub(crate) fn new(gpu: Arc<Shared>, recording: Recording, options: CompileOptions) -> Result<Self> {
        if options.precision == Precision::Mixed {
            gpu.need_f16()?;
        }
        let tuned = gpu.tuner.as_ref().map(|tuner| |r: &Recording| tuner.caps(&gpu, r));
        let tuned = tuned.as_ref().map(|tuned| tuned as &dyn Fn(&Recording) -> Caps);
        let executor = Executes::Kernels { caps: &gpu.caps, fuses: gpu.fuses, joins: gpu.joins, tuned };
        let plan = lower(recording, &Target { executor, options })?;
        gpu.scoped("the graph's buffers", || Self::build(gpu.clone(), plan))
    }

    fn build(gpu: Arc<Shared>, mut plan: Plan) -> Result<Self> {
        if gpu.planted == Some(PlantedFault::Memory) {
            plan.plant_memory_fault();
        }
        let r = &plan.recording;
        let slots = plan
            .slots
            .iter()
            .enumerate()
            .map(|(i, s)| gpu.buffer(&format!("slot {i}"), s.bytes, storage_usage()))
            .collect::<Result<Vec<_>>>()?;
        let inputs = r
            .inputs
            .iter()
            .zip(&plan.reads_input)
            .map(|(i, &is_read)| {
                // One that feeds nothing is never written: any buffer does.
                let bytes = if is_read { r.values[i.value as usize].ty.bytes() } else { 16 };
                let label = format!("input `{}`", i.name);
                gpu.buffer_or(&label, bytes, storage_usage(), "feed fewer rows at once")
            })
            .collect::<Result<Vec<_>>>()?;
        let states = r.states.iter().map(|s| gpu.state(&s.param)).collect::<Result<Vec<_>>>()?;
        let constants = plan
            .constants
            .iter()
            .map(|&(source, value)| constant(&gpu, r, source, r.values[value as usize].ty))
            .collect::<Result<Vec<_>>>()?;
        let mut step = GpuStep {
            fed: vec![false; inputs.len()],
            launches: Vec::new(),
            in_flight: VecDeque::new(),
            has_run: false,
            pace: Pace::default(),
            gpu,
            plan,
            slots,
            inputs,
            constants,
            states,
        };
        step.launches = step.build_launches()?;
        Ok(step)
    }

    /// Binds every dispatch of every task. All parameters lie in one uniform buffer.
    fn build_launches(&self) -> Result<Vec<Vec<Launch>>> {
        let gpu = &self.gpu;
        let align = gpu.limits.min_uniform_buffer_offset_alignment.max(16) as usize;
        let mut uniforms: Vec<u8> = Vec::new();
        let mut offsets = Vec::new();
        for task in &self.plan.tasks {
            for dispatch in &task.program.dispatches {
                let label = self.plan.label(task);
                dispatch.check_loop_iterations(&label, &gpu.caps)?;
                if dispatch.most_loop_iterations().is_none() && gpu.caps.max_loop_iterations != u32::MAX {
                    tracing::warn!(
                        op = label,
                        kernel = dispatch.kernel.entry,
                        "this driver ends loops after {} iterations, and the kernel does not say how many it takes",
                        gpu.caps.max_loop_iterations
                    );
                }
                uniforms.resize(uniforms.len().next_multiple_of(align), 0);
                offsets.push(uniforms.len());
                uniforms.extend_from_slice(&dispatch.uniform);
            }
        }
        uniforms.resize(uniforms.len().next_multiple_of(16).max(16), 0);
        let usage = wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST;
        let uniform_buffer = gpu.buffer("parameters", uniforms.len(), usage)?;
        gpu.write(&uniform_buffer, Feed::U8(&uniforms));

        let kernels = self.plan.tasks.iter().flat_map(|t| &t.program.dispatches).map(|d| &d.kernel);
        let missing = gpu.cache.missing(kernels);
        gpu.cache.make(gpu, &missing);
        gpu.precompiler.start(gpu, missing);
        let mut next = 0;
        let mut tasks = Vec::new();
        for (t, task) in self.plan.tasks.iter().enumerate() {
            let mut launches = Vec::new();
            let label = self.plan.label(task);
            for dispatch in &task.program.dispatches {
                let pipeline = gpu.cache.get(gpu, &dispatch.kernel)?;
                let offset = offsets[next];
                next += 1;
                let resolve = |arg: &Arg| self.resolve(task, *arg);
                let storage: Vec<Region<'_>> = dispatch.args.iter().map(resolve).collect::<Result<_>>()?;
                let uniform = Region {
                    buffer: &uniform_buffer,
                    offset,
                    bytes: dispatch.uniform.len().next_multiple_of(16),
                };
                let bind_group = bind(gpu, &label, &pipeline, dispatch, &storage, uniform)?;
                let bytes = storage.iter().map(|region| region.bytes);
                let args = dispatch.args.iter().copied().zip(bytes).collect();
                launches.push(Launch { pipeline, bind_group, grid: dispatch.grid, task: t, args });
            }
            tasks.push(launches);
        }
        Ok(tasks)
    }

    /// The buffer an argument means, and the bytes of it that are bound.
    fn resolve(&self, task: &Task, arg: Arg) -> Result<Region<'_>> {
        let value = match arg {
            Arg::Input(i) => self.plan.reads_of(task).nth(i),
            Arg::Output(i) | Arg::OutputRead(i) => self.plan.outputs_of(task).nth(i),
            Arg::Scratch(i) | Arg::ScratchRead(i) => {
                let slot = task.scratch.get(i).zip(task.program.scratch.get(i));
                return match slot {
                    Some((&(slot, offset), &bytes)) => Ok(Region {
                        buffer: &self.slots[slot],
                        offset,
                        bytes: bytes.next_multiple_of(16).max(16),
                    }),
                    None => Err(Error::Invalid(format!("`{}` has no scratch {i}", self.plan.label(task)))),
                };
            }
        };
        let found =
            value.and_then(|v| Some((self.value_buffer(v)?, self.plan.recording.values[v as usize].ty)));
        match found {
            Some(((buffer, offset), ty)) => Ok(Region { buffer, offset, bytes: ty.bytes() }),
            None => Err(Error::Invalid(format!("`{}` has no argument {arg:?}", self.plan.label(task)))),
        }
    }

    /// Where a value is: a buffer, and from which byte on.
    pub(crate) fn value_buffer(&self, value: u32) -> Option<(&wgpu::Buffer, usize)> {
        let buffer = match self.plan.locations[value as usize]? {
            Location::Input(i) => &self.inputs[i],
            Location::Constant(c) => &self.constants[c],
            Location::State(s) => &self.states[s],
            Location::Slot { slot, offset } => return Some((&self.slots[slot], offset)),
        };
        Some((buffer, 0))
    }

    /// Encodes some tasks, several times over, and submits them.
    pub(crate) fn submit(&self, tasks: std::ops::Range<usize>, times: usize) -> wgpu::SubmissionIndex {
        let mut encoder = self.gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        {
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
            let mut current: Option<&Arc<Pipeline>> = None;
            for _ in 0..times {
                let tasks = &self.launches[tasks.clone()];
                tasks.iter().flatten().for_each(|launch| launch.encode(&mut pass, &mut current));
            }
        }
        self.gpu.submit([encoder.finish()])
    }

    /// Submits steps together, once every input was fed.
    pub(super) fn submit_steps(&mut self, steps: usize) -> Result<()> {
        if let Some(name) = self.plan.unfed(|i| self.fed[i]) {
            return Err(Error::Feed { name: name.into(), message: "was never fed".into() });
        }
        self.has_run = true;
        if self.gpu.check {
            return (0..steps).try_for_each(|_| self.run_checked());
        }
        let index = self.submit(0..self.launches.len(), steps);
        self.in_flight.push_back((index, steps));
        // Enough work queued to keep the device busy; more would only pile up memory.
        let mut queued: usize = self.in_flight.iter().map(|(_, steps)| steps).sum();
        while queued > IN_FLIGHT.max(2 * steps)
            && let Some((oldest, steps)) = self.in_flight.pop_front()
        {
            self.gpu.poll(Some(oldest))?;
            queued -= steps;
        }
        Ok(())
    }
}

impl Executor for GpuStep {
    fn plan(&self) -> &Plan {
        &self.plan
    }

    fn feed(&mut self, input: usize, values: Feed<'_>) -> Result<()> {
        if self.plan.reads_input[input] {
            self.gpu.write(&self.inputs[input], values);
            self.fed[input] = true;
        }
        Ok(())
    }

    fn run(&mut self) -> Result<()> {
        self.submit_steps(1)
    }

    fn run_many(&mut self, steps: usize) -> Result<()> {
        let mut left = steps;
        while left > 0 {
            let together = left.min(self.together());
            if self.has_run && self.pace.samples < Pace::SAMPLES {
                self.gpu.wait_all()?;
                let start = Instant::now();
                self.submit_steps(together)?;
                self.gpu.wait_all()?;
                self.pace.sample(start.elapsed().as_secs_f64());
            } else {
                self.submit_steps(together)?;
            }
            left -= together;
        }
        Ok(())
    }

    fn together(&self) -> usize {
        self.pace.together(self.dispatches())
    }

    fn read(&mut self, output: usize) -> Result<Readback> {
        let r = &self.plan.recording;
        if !self.has_run {
            return Err(crate::backend::never_ran(&r.outputs[output].name));
        }
        let value = r.outputs[output].value;
        let ty = r.values[value as usize].ty;
        let Some((buffer, offset)) = self.value_buffer(value) else {
            return Err(Error::Invalid(format!("output `{}` was not planned", r.outputs[output].name)));
        };
        Ok(Readback::pending(readback::Read::start(&self.gpu, buffer, offset, ty)?))
    }

    fn dispatches(&self) -> usize {
        self.launches.iter().map(Vec::len).sum()
    }

    fn profile(&mut self, runs: usize, clock: Option<Clock>) -> Result<Timings> {
        self.take_times(runs, clock)
    }
}
