//! Which form of blocks is the fastest here, by trial: on GPUs no single form is.
//!
//! Only forms that add up every output in the same order are tried, so that what is found decides how fast a step is and
//! never what it computes. A trial that cannot be made, for lack of memory or time, leaves the choice to the table.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::cache::Pipeline;
use super::step::{Region, bind};
use super::{Shared, lock, storage_usage};
use crate::error::{Error, Result};
use crate::graph::Recording;
use crate::ops::{AdapterClass, Arg, Caps, Forms, KernelContext, Op, Trial};
use crate::shape::TensorType;
use crate::tensor::Feed;

/// Seconds that all trials of a process may take together.
const LIMIT: Duration = Duration::from_secs(1);

/// How long one timing takes, more or less, and how many of each form there are.
const WINDOW: f64 = 0.002;
const ROUNDS: usize = 3;

/// Bytes that the tensors of a trial may take.
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
                let fastest = self.fastest(gpu, &mut state, &*node.op, (&inputs, &outputs), &trial);
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

    /// The fastest form, or `None` where there is no time to find out.
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
        let mut runs = Vec::new();
        for &form in &trial.forms {
            // What one form takes to compile is not known before, but likely what others took.
            let (begun, spent) = (Instant::now(), state.spent + start.elapsed());
            if spent + state.longest >= self.limit {
                return Ok(None);
            }
            let caps = Caps { forms: Arc::new(Forms::one(&trial.key, form)), ..gpu.caps.clone() };
            let context = KernelContext { caps: &caps, inputs, outputs };
            let run = gpu.scoped("a trial's tensors", || Run::new(gpu, op, &context))?;
            // Once outside of time: drivers finish compiling when a kernel is first launched.
            run.time(gpu, 1)?;
            state.longest = state.longest.max(begun.elapsed());
            runs.push((form, run, f64::INFINITY));
        }
        let once = runs.iter().map(|(_, run, _)| run.time(gpu, 1)).collect::<Result<Vec<f64>>>()?;
        let shortest = once.into_iter().fold(f64::INFINITY, f64::min);
        let times = (WINDOW / shortest.max(1e-6)).clamp(1.0, 200.0) as usize;
        for _ in 0..ROUNDS {
            for (_, run, best) in &mut runs {
                if state.spent + start.elapsed() >= self.limit {
                    return Ok(None);
                }
                *best = best.min(run.time(gpu, times)?);
            }
        }
        let fastest = runs.iter().min_by(|a, b| a.2.total_cmp(&b.2));
        Ok(fastest.map(|(form, ..)| *form))
    }

    /// Adds what was found to the file. It is a help, so that a file that cannot be written is no error.
    fn save(&self, forms: &Forms) {
        let Some(path) = &self.file else { return };
        let write = || -> Result<()> {
            // Others may have added to it meanwhile.
            let mut table = read(path)?;
            table.entry(self.identity.clone()).or_default().extend(forms.entries());
            let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
            let text = serde_json::to_string_pretty(&table).map_err(|e| Error::Invalid(e.to_string()))?;
            let failed = |error| Error::io(path, error);
            let mut file = tempfile::NamedTempFile::new_in(folder).map_err(failed)?;
            file.write_all(text.as_bytes()).map_err(failed)?;
            file.persist(path).map_err(|error| failed(error.error))?;
            Ok(())
        };
        if let Err(error) = write() {
            tracing::warn!(%error, "what was measured of kernels is not kept");
        }
    }
}

/// An op on tensors of its own, ready to be launched.
struct Run {
    launches: Vec<(Arc<Pipeline>, wgpu::BindGroup, [u32; 3])>,
}

impl Run {
    fn new(gpu: &Shared, op: &dyn Op, context: &KernelContext<'_>) -> Result<Self> {
        let program = op.dispatch(context)?;
        let buffers = |what: &str, bytes: &mut dyn Iterator<Item = usize>| {
            bytes.map(|n| gpu.buffer(what, n, storage_usage())).collect::<Result<Vec<_>>>()
        };
        let padded = |bytes: usize| bytes.next_multiple_of(16).max(16);
        let inputs = buffers("input", &mut context.inputs.iter().map(TensorType::bytes))?;
        let outputs = buffers("output", &mut context.outputs.iter().map(TensorType::bytes))?;
        let scratch = buffers("scratch", &mut program.scratch.iter().map(|&n| padded(n)))?;
        let mut launches = Vec::new();
        for dispatch in &program.dispatches {
            let pipeline = gpu.cache.get(gpu, &dispatch.kernel)?;
            let region = |arg: &Arg| {
                let buffer = match *arg {
                    Arg::Input(i) => inputs.get(i),
                    Arg::Output(i) | Arg::OutputRead(i) => outputs.get(i),
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
        let index = gpu.queue.submit([commands]);
        gpu.poll(Some(index))?;
        Ok(start.elapsed().as_secs_f64() / times as f64)
    }
}
