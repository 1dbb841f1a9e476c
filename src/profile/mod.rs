//! Where a step's time goes: launch by launch, against what the device could do.
//!
//! ```
//! use wgrad::Device;
//! use wgrad::bench::Workload;
//!
//! let mut case = Workload::named("matmul-32")?[0].compile(&Device::cpu())?;
//! let profile = case.step().profile(5)?;
//! println!("{profile}");
//! assert_eq!(profile.launches[0].flops, 2 * 32 * 32 * 32);
//! # Ok::<(), wgrad::Error>(())
//! ```

mod peaks;
pub(crate) mod table;
mod trace;

pub use peaks::Peaks;

pub use crate::backend::Clock;
pub(crate) use crate::backend::median;
use crate::backend::{DeviceInfo, RawLaunch, Timings};
use crate::error::{Error, Result};
use crate::op::Arg;
use crate::plan::Plan;
use crate::shape::TensorType;

/// A kernel launch of a step; on the CPU, an op.
#[derive(Debug, Clone, PartialEq)]
pub struct Launch {
    /// The kernel's key; on the CPU, the op's name.
    pub kernel: String,
    /// Name of the op; of those that one kernel computes, with `+` between them.
    pub op: String,
    /// The node: its value, whether it is of a gradient, its scope and its op, as in `%12 grad mlp.fc1.matmul`; of fused
    /// ones all.
    pub node: String,
    /// Scope of the node, as in `mlp.fc1`; may be empty; of nodes in several scopes all, with `+` between them.
    pub scope: String,
    /// File and line that recorded it; of several nodes, the first.
    pub location: String,
    /// Types of the node's inputs and outputs, as in `f32[64, 784], f32[784, 10] -> f32[64, 10]`.
    pub shapes: String,
    /// Workgroups; zeros on the CPU.
    pub workgroups: [u32; 3],
    /// Floating-point operations. A node's count for the longest of its launches: the others put together or
    /// rearrange.
    pub flops: u64,
    /// Bytes of all that it reads and writes, each counted once, states that it updates twice; of a table that
    /// rows are taken from, the rows.
    pub bytes: u64,
    /// Median over the runs.
    pub seconds: f64,
    /// Start and length in the run that the trace shows, in seconds from that run's start.
    pub span: [f64; 2],
}

impl Launch {
    /// The least time it could take, in seconds: its operations at the peak, or its bytes at the bandwidth,
    /// whichever is longer.
    pub fn lower_bound(&self, peaks: &Peaks) -> f64 {
        peaks.lower_bound(self.flops, self.bytes)
    }
}

/// All launches of one kernel.
#[derive(Debug, Clone, PartialEq)]
pub struct KernelTotal {
    /// Its key.
    pub kernel: String,
    /// Number of launches.
    pub launches: usize,
    /// Seconds of all launches of a step.
    pub seconds: f64,
    /// Floating-point operations of them.
    pub flops: u64,
    /// Bytes that they read and write.
    pub bytes: u64,
    /// The longest launch, as an index into [`Profile::launches`].
    pub longest: usize,
}

/// Where the time of a step goes; made by [`Step::profile`](crate::Step::profile).
///
/// As text it is two tables: kernels, and their launches by node.
#[derive(Debug, Clone, PartialEq)]
pub struct Profile {
    /// Where it ran.
    pub device: DeviceInfo,
    /// How time was taken.
    pub clock: Clock,
    /// Runs that were timed.
    pub runs: usize,
    /// In the order they run.
    pub launches: Vec<Launch>,
    /// Seconds of one step alone, from its submission until it has run: median. No timestamps are in it.
    pub alone_seconds: f64,
    /// Seconds of a step where one is submitted after another: median.
    pub step_seconds: f64,
    /// What the device can do, if it was measured; sets times over their lower bounds.
    pub peaks: Option<Peaks>,
}

pub(crate) fn check_runs(runs: usize) -> Result<()> {
    match runs {
        0 => Err(Error::Invalid("a profile of 0 runs times nothing; give 1 or more".into())),
        _ => Ok(()),
    }
}

/// What a launch reads and writes of memory.
fn traffic(plan: &Plan, launch: &RawLaunch) -> u64 {
    let task = &plan.tasks[launch.task];
    // By argument: its value and the bytes of it, read, or written.
    let reads: Vec<(u32, u64)> = task
        .nodes
        .iter()
        .flat_map(|&n| plan.reads(n).iter().enumerate().map(move |(i, &v)| (v, plan.bytes_read(n, i))))
        .collect();
    let writes = |&n: &usize| {
        let node = &plan.recording.nodes[n];
        let results = node.outputs.len() - node.op.writes();
        let times = move |i: usize| if i < results { 1 } else { 2 };
        node.outputs.iter().enumerate().map(move |(i, &v)| (v, times(i) * plan.bytes(v)))
    };
    let writes: Vec<(u32, u64)> = task.nodes.iter().flat_map(writes).collect();
    let mut seen: Vec<u32> = Vec::new();
    let mut bytes = 0;
    for &(arg, bound) in &launch.args {
        let moved = match arg {
            Arg::Input(i) => reads.get(i),
            Arg::Output(i) => writes.get(i),
            Arg::OutputRead(i) => {
                let value = writes.get(i).map(|(v, _)| *v);
                bytes += value.filter(|v| !seen.contains(v)).map_or(0, |v| plan.bytes(v));
                seen.extend(value);
                continue;
            }
            Arg::Scratch(_) | Arg::ScratchRead(_) => None,
        };
        match moved {
            Some((value, _)) if seen.contains(value) => {}
            Some(&(value, moved)) => {
                seen.push(value);
                bytes += moved;
            }
            None => bytes += bound as u64,
        }
    }
    bytes
}

impl Profile {
    pub(crate) fn new(plan: &Plan, timings: Timings) -> Self {
        let Timings { device, clock, launches: raw, runs, alone, in_turn } = timings;
        let r = &plan.recording;
        let total = |run: &Vec<[f64; 2]>| run.iter().map(|span| span[1]).sum::<f64>();
        let middle = median(runs.iter().map(total));
        // The run that is shown is the one whose sum is nearest to the median.
        let shown = runs
            .iter()
            .min_by(|a, b| (total(a) - middle).abs().total_cmp(&(total(b) - middle).abs()))
            .cloned()
            .unwrap_or_default();
        let mut launches: Vec<Launch> = raw
            .iter()
            .enumerate()
            .map(|(i, launch)| {
                let task = &plan.tasks[launch.task];
                let nodes = || task.nodes.iter().map(|&n| &r.nodes[n]);
                let types = |ids: &mut dyn Iterator<Item = u32>| {
                    ids.map(|v| r.values[v as usize].ty.to_string()).collect::<Vec<_>>().join(", ")
                };
                let ops: Vec<&str> = nodes().flat_map(|n| n.members()).map(|m| m.op.name()).collect();
                let first = &r.nodes[task.nodes[0]];
                let mut scopes: Vec<&str> = Vec::new();
                for node in nodes() {
                    if !scopes.contains(&&*node.scope) {
                        scopes.push(&node.scope);
                    }
                }
                Launch {
                    kernel: launch.kernel.clone(),
                    op: ops.join("+"),
                    node: plan.label(task),
                    scope: scopes.join("+"),
                    location: first.location.to_string(),
                    shapes: format!(
                        "{} -> {}",
                        types(&mut plan.inputs_of(task)),
                        types(&mut plan.outputs_of(task))
                    ),
                    workgroups: launch.workgroups,
                    flops: 0,
                    bytes: traffic(plan, launch),
                    seconds: median(runs.iter().map(|run| run[i][1])),
                    span: shown[i],
                }
            })
            .collect();
        // Launches of a task follow one another.
        for group in (0..raw.len()).collect::<Vec<_>>().chunk_by(|&a, &b| raw[a].task == raw[b].task) {
            let longest = group.iter().max_by(|&&a, &&b| launches[a].seconds.total_cmp(&launches[b].seconds));
            if let Some(&longest) = longest {
                let types = |ids: &[u32]| -> Vec<TensorType> {
                    ids.iter().map(|&v| r.values[v as usize].ty).collect()
                };
                let flops = |&n: &usize| {
                    let node = &r.nodes[n];
                    node.op.flops(&types(&node.inputs), &types(&node.outputs))
                };
                launches[longest].flops = plan.tasks[raw[longest].task].nodes.iter().map(flops).sum();
            }
        }
        Profile {
            device,
            clock,
            runs: runs.len(),
            launches,
            alone_seconds: median(alone),
            step_seconds: median(in_turn),
            peaks: None,
        }
    }

    /// The same profile with distances to the lower bounds by these peaks.
    #[must_use]
    pub fn with_peaks(mut self, peaks: Peaks) -> Self {
        self.peaks = Some(peaks);
        self
    }

    /// Seconds of all launches.
    pub fn launch_seconds(&self) -> f64 {
        self.launches.iter().map(|l| l.seconds).sum()
    }

    /// The kernels, by time.
    pub fn kernels(&self) -> Vec<KernelTotal> {
        let mut totals: Vec<KernelTotal> = Vec::new();
        for (i, launch) in self.launches.iter().enumerate() {
            match totals.iter_mut().find(|t| t.kernel == launch.kernel) {
                Some(total) => {
                    total.launches += 1;
                    total.seconds += launch.seconds;
                    total.flops += launch.flops;
                    total.bytes += launch.bytes;
                    if launch.seconds > self.launches[total.longest].seconds {
                        total.longest = i;
                    }
                }
                None => totals.push(KernelTotal {
                    kernel: launch.kernel.clone(),
                    launches: 1,
                    seconds: launch.seconds,
                    flops: launch.flops,
                    bytes: launch.bytes,
                    longest: i,
                }),
            }
        }
        totals.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
        totals
    }

    /// Seconds of all launches of a kernel at their lower bound: each launch has one of its own.
    pub fn kernel_lower_bound(&self, kernel: &str, peaks: &Peaks) -> f64 {
        self.launches.iter().filter(|l| l.kernel == kernel).map(|l| l.lower_bound(peaks)).sum()
    }
}

#[cfg(test)]
mod tests;
