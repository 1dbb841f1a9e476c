//! Which form of blocks is the fastest here, by trial: on GPUs no single form is.
//!
//! Only forms that add up every output in the same order are tried, so that what is found decides how fast a step is and not
//! what it computes, as far as a driver's compiler treats multiply-adds alike in all of them. A trial that cannot be made, for lack of memory or time, leaves the choice to the table.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::bind::{Region, bind};
use super::cache::Pipeline;
use super::{Shared, lock, storage_usage};
use crate::error::{Error, Result};
use crate::files::write_renamed;
use crate::graph::Recording;
use crate::ops::{AdapterClass, Arg, Caps, Forms, KernelContext, Op, Trial};
use crate::shape::TensorType;
use crate::tensor::Feed;

/// What all trials of a device may take together. A form that is being compiled is not stopped.
const LIMIT: Duration = Duration::from_secs(1);

/// Seconds that one timing takes, more or less, the most runs in it, and how many timings of each form there are.
const WINDOW: f64 = 0.002;
const MOST_RUNS: usize = 256;
const ROUNDS: usize = 3;

/// How much faster than the table's form another must be to be taken: less is noise.
const MARGIN: f64 = 0.97;

/// Bytes that the inputs and outputs of a trial may take.
const MOST_BYTES: usize = 256 << 20;

/// What was found, for all adapters that a file knows: by adapter and driver, then by what an op asks.
type Table = BTreeMap<String, BTreeMap<String, usize>>;

#[derive(Debug)]
pub(super) struct Tuner {
    /// The adapter with its driver and this version of wgrad.
    identity: String,
    file: Option<PathBuf>,
    limit: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    forms: Arc<Forms>,
    spent: Duration,
    /// The longest that making one form ready took.
    longest: Duration,
    trials: usize,
}

fn read(path: &Path) -> Result<Table> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Table::new()),
        Err(error) => return Err(Error::io(path, error)),
    };
    serde_json::from_str(&text).map_err(|error| {
        Error::Invalid(format!(
            "{} is no table of measured kernels ({error}): remove it, or name another file",
            path.display()
        ))
    })
}

/// Refuses a file that is not there and cannot be made: it would be missed after the trials. One that is there and cannot
/// be written still says what was found before.
fn could_be_kept(file: &Path) -> Result<()> {
    if file.exists() {
        return Ok(());
    }
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let fail = |why: &dyn std::fmt::Display| {
        let file = file.display();
        Err(Error::Invalid(format!("kernels that are measured cannot be kept in {file}: {why}")))
    };
    if !folder.is_dir() {
        return fail(&format!("there is no folder {}", folder.display()));
    }
    // Permissions do not tell it of all file systems.
    tempfile::tempfile_in(folder).map(drop).or_else(|error| fail(&error))
}

impl Tuner {
    pub(super) fn open(gpu: &Shared, file: Option<&Path>, limit: Option<Duration>) -> Result<Self> {
        let info = &gpu.info;
        let identity = format!(
            "{} | {} | {} | wgrad {}",
            info.name,
            info.backend,
            info.driver,
            env!("CARGO_PKG_VERSION")
        );
        if let Some(file) = file {
            could_be_kept(file)?;
        }
        let forms = match file {
            Some(path) => read(path)?.remove(&identity).unwrap_or_default(),
            None => BTreeMap::new(),
        };
        let state = Mutex::new(State { forms: Arc::new(Forms::new(forms)), ..State::default() });
        Ok(Tuner { identity, file: file.map(Path::to_path_buf), limit: limit.unwrap_or(LIMIT), state })
    }

    /// How many trials were made.
    pub(super) fn trials(&self) -> usize {
        lock(&self.state).trials
    }

    /// What kernels may rely on, with the forms found for what this recording asks. Trials are made for what is not
    /// known yet, as long as there is time.
    pub(super) fn caps(&self, gpu: &Shared, recording: &Recording) -> Caps {
        // Held throughout: two threads must not disturb each other's timings.
        let mut state = lock(&self.state);
        if gpu.caps.class == AdapterClass::Gpu {
            let mut found = BTreeMap::new();
            for node in &recording.nodes {
                let types = |ids: &[u32]| -> Vec<TensorType> {
                    ids.iter().map(|&v| recording.values[v as usize].ty).collect()
                };
                let (inputs, outputs) = (types(&node.inputs), types(&node.outputs));
                let Some(trial) = node.op.trial(&inputs) else { continue };
                if state.forms.of(&trial.key).is_some() || found.contains_key(&trial.key) {
                    continue;
                }
                let start = Instant::now();
                // A trial that fails must not fail the graph that is being compiled.
                let fastest = gpu.scoped("a trial", || {
                    self.fastest(gpu, &mut state, &*node.op, (&inputs, &outputs), &trial)
                });
                state.spent += start.elapsed();
                match fastest {
                    Ok(Some(form)) => {
                        state.trials += 1;
                        found.insert(trial.key, form);
                    }
                    Ok(None) => {}
                    Err(error) => tracing::debug!(%error, key = trial.key, "no trial of kernels"),
                }
            }
            if !found.is_empty() {
                state.forms = Arc::new(state.forms.with(found));
                self.save(&state.forms);
            }
        }
        Caps { forms: state.forms.clone(), ..gpu.caps.clone() }
    }

    /// The fastest form of those that there is time for, or `None` where that is less than two.
    fn fastest(
        &self,
        gpu: &Shared,
        state: &mut State,
        op: &dyn Op,
        (inputs, outputs): (&[TensorType], &[TensorType]),
        trial: &Trial,
    ) -> Result<Option<usize>> {
        let bytes: usize = inputs.iter().chain(outputs).map(TensorType::bytes).sum();
        if trial.forms.len() < 2 || bytes > MOST_BYTES {
            return Ok(None);
        }
        let start = Instant::now();
        let tensors = Tensors::new(gpu, inputs, outputs)?;
        let mut runs = Vec::new();
        for &form in &trial.forms {
            // What one form takes to compile is not known before, but likely what others took.
            let (begun, spent) = (Instant::now(), state.spent + start.elapsed());
            if spent + state.longest >= self.limit {
                break;
            }
            let caps = Caps { forms: Arc::new(Forms::one(&trial.key, form)), ..gpu.caps.clone() };
            let context = KernelContext::new(&caps, inputs, outputs);
            let run = Run::new(gpu, op, &context, &tensors)?;
            // Once outside of time: drivers finish compiling when a kernel is first launched.
            run.time(gpu, 1)?;
            state.longest = state.longest.max(begun.elapsed());
            runs.push((form, run, f64::INFINITY));
        }
        if runs.len() < 2 {
            return Ok(None);
        }
        // So many runs that their time is not that of a submission.
        let mut times = 1;
        while times < MOST_RUNS && runs[0].1.time(gpu, times)? * (times as f64) < WINDOW {
            times *= 2;
        }
        for round in 0..ROUNDS {
            // Once each at least: to have made them ready was the long part.
            if round > 0 && state.spent + start.elapsed() >= self.limit {
                break;
            }
            for (_, run, best) in &mut runs {
                *best = best.min(run.time(gpu, times)?);
            }
        }
        let of_table = runs[0].2;
        let fastest = runs.iter().min_by(|a, b| a.2.total_cmp(&b.2));
        let better = fastest.filter(|(_, _, seconds)| *seconds < MARGIN * of_table);
        Ok(Some(better.map_or(trial.forms[0], |(form, ..)| *form)))
    }

    /// Adds what was found to the file. It is a help, so that a file that cannot be written is no error.
    fn save(&self, forms: &Forms) {
        let Some(path) = &self.file else { return };
        let write = || -> Result<()> {
            // Others may have added to it meanwhile.
            let mut table = read(path)?;
            table.entry(self.identity.clone()).or_default().extend(forms.entries());
            // A link stays one.
            let target = std::fs::canonicalize(path).unwrap_or_else(|_| path.clone());
            let text = serde_json::to_string_pretty(&table).map_err(|e| Error::Invalid(e.to_string()))?;
            write_renamed(&target, text.as_bytes())
        };
        if let Err(error) = write() {
            tracing::warn!(%error, "what was measured of kernels is not kept");
        }
    }
}

/// What all forms of a trial read and write.
struct Tensors {
    inputs: Vec<wgpu::Buffer>,
    outputs: Vec<wgpu::Buffer>,
}

impl Tensors {
    fn new(gpu: &Shared, inputs: &[TensorType], outputs: &[TensorType]) -> Result<Self> {
        let buffers = |what: &str, types: &[TensorType]| {
            types.iter().map(|ty| gpu.buffer(what, ty.bytes(), storage_usage())).collect::<Result<Vec<_>>>()
        };
        Ok(Tensors { inputs: buffers("input", inputs)?, outputs: buffers("output", outputs)? })
    }
}

/// An op in one form, ready to be launched.
struct Run {
    launches: Vec<(Arc<Pipeline>, wgpu::BindGroup, [u32; 3])>,
}

impl Run {
    fn new(gpu: &Shared, op: &dyn Op, context: &KernelContext<'_>, tensors: &Tensors) -> Result<Self> {
        let program = op.dispatch(context)?;
        let padded = |bytes: usize| bytes.next_multiple_of(16).max(16);
        let scratch = program.scratch.iter().map(|&n| gpu.buffer("scratch", padded(n), storage_usage()));
        let scratch = scratch.collect::<Result<Vec<_>>>()?;
        let mut launches = Vec::new();
        for dispatch in &program.dispatches {
            let pipeline = gpu.cache.get(gpu, &dispatch.kernel)?;
            let region = |arg: &Arg| {
                let buffer = match *arg {
                    Arg::Input(i) => tensors.inputs.get(i),
                    Arg::Output(i) | Arg::OutputRead(i) => tensors.outputs.get(i),
                    Arg::Scratch(i) | Arg::ScratchRead(i) => scratch.get(i),
                };
                let wrong = || Error::Invalid(format!("op `{}` has no argument {arg:?}", op.name()));
                let buffer = buffer.ok_or_else(wrong)?;
                Ok(Region { buffer, offset: 0, bytes: buffer.size() as usize })
            };
            let storage = dispatch.args.iter().map(region).collect::<Result<Vec<_>>>()?;
            let bytes = padded(dispatch.uniform.len());
            let usage = wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST;
            let uniform = gpu.buffer("parameters", bytes, usage)?;
            gpu.write(&uniform, Feed::U8(&dispatch.uniform));
            let uniform = Region { buffer: &uniform, offset: 0, bytes };
            let group = bind(gpu, op.name(), &pipeline, dispatch, &storage, uniform)?;
            launches.push((pipeline, group, dispatch.grid));
        }
        Ok(Run { launches })
    }

    /// Seconds that one run takes of `times` in one submission.
    fn time(&self, gpu: &Shared, times: usize) -> Result<f64> {
        let mut encoder = gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        {
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
            for _ in 0..times {
                for (pipeline, group, grid) in &self.launches {
                    pass.set_pipeline(&pipeline.pipeline);
                    pass.set_bind_group(0, group, &[]);
                    pass.dispatch_workgroups(grid[0], grid[1], grid[2]);
                }
            }
        }
        let commands = encoder.finish();
        let start = Instant::now();
        let index = gpu.submit([commands]);
        gpu.poll(Some(index))?;
        Ok(start.elapsed().as_secs_f64() / times as f64)
    }
}
