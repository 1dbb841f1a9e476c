//! `wgrad profile`.

use std::path::PathBuf;

use clap::ValueEnum;
use serde_json::{Value, json};
use wgrad::bench::{Peaks, Timer, Workload};
use wgrad::data::TablePreprocessor;
use wgrad::nn::Layer;
use wgrad::profile::{Clock, Profile};
use wgrad::train::Trainer;
use wgrad::{CompileOptions, Device, Params};

use super::data::{self, Loaded};
use super::settings::{self, Settings, name};
use super::train::{architecture, optimizer, penalized};
use super::{Failure, Outcome, open, say, say_device};

/// Repetitions by which peaks are found: a lower bound is to be at hand, not exact.
const QUICK: Timer = Timer { seconds: 0.006, repeat: 3 };

/// Shows where the time of a step goes, kernel by kernel, against what the device can do.
///
/// The step is that of a workload of `wgrad bench`, or the training step of what `wgrad train` would train with the
/// same options. Times are medians of several runs. The lower bound of a kernel is the longer of its operations at the
/// device's peak and its bytes at its bandwidth; both are measured first. A launch is one dispatch of a kernel.
#[derive(Debug, clap::Args)]
#[command(after_help = "Clocks:\n  \
    launch  timestamps of the device between launches: what is used where the device has them\n  \
    pass    timestamps of the device around passes of one launch each\n  \
    host    the host's clock around one launch at a time; less exact, and all that the CPU has\n\n\
    Examples:\n  \
    wgrad profile cnn-a\n  \
    wgrad profile cnn-a --precision mixed\n  \
    wgrad profile cnn-a --trace cnn.json      a file for ui.perfetto.dev or chrome://tracing\n  \
    wgrad profile --data iris --batch 16 --device cpu\n  \
    wgrad profile --model resnet --channels 16,32,64")]
pub(super) struct Args {
    /// A workload of `wgrad bench`, such as cnn-a, matmul-512 or conv64; without one, a training step as of `wgrad
    /// train`
    #[arg(value_name = "WORKLOAD")]
    workload: Option<String>,
    /// `auto` (a GPU if there is one, else the CPU), `gpu`, `cpu`, or part of an adapter's name
    #[arg(long, default_value = "auto")]
    device: String,
    /// Runs that are timed
    #[arg(long, value_name = "N", default_value_t = 9, value_parser = clap::value_parser!(u32).range(1..=1000))]
    runs: u32,
    /// What times are taken by [default: the best there is]
    #[arg(long, value_enum)]
    clock: Option<ClockName>,
    /// Leave out the lower bounds: peak and bandwidth take some seconds to measure
    #[arg(long)]
    no_roofline: bool,
    /// Write the launches of one run as a trace, for Perfetto or Chrome
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// Print one JSON object a kernel, one a launch and one for the step
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    settings: settings::Args,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ClockName {
    Launch,
    Pass,
    Host,
}

impl From<ClockName> for Clock {
    fn from(name: ClockName) -> Self {
        match name {
            ClockName::Launch => Clock::Launches,
            ClockName::Pass => Clock::Passes,
            ClockName::Host => Clock::Host,
        }
    }
}

pub(super) fn run(args: &Args) -> Outcome {
    let workloads = match &args.workload {
        Some(name) => Workload::named(name).map_err(|e| Failure::usage(e.to_string()))?,
        None => Vec::new(),
    };
    let compiling = args.settings.compiling_alone();
    if !workloads.is_empty() && compiling.is_none() {
        return Err(Failure::usage(
            "a workload is as it is: leave it out, or the options of `wgrad train` other than --precision and \
             --memory-budget",
        ));
    }
    let compiling = compiling.unwrap_or_default();
    if let Some(op) = workloads.iter().find(|w| !w.is_training() && compiling != CompileOptions::new()) {
        return Err(Failure::usage(format!(
            "--precision and --memory-budget are for training steps, and `{}` is an op",
            op.name()
        )));
    }
    if workloads.len() > 1 && args.trace.is_some() {
        let names: Vec<&str> = workloads.iter().map(Workload::name).collect();
        return Err(Failure::usage(format!("a trace is of one step; give one of {}", names.join(", "))));
    }
    let settings = match args.workload {
        Some(_) => None,
        None => Some(Settings::new(&args.settings, &Value::Null)?),
    };
    let (device, no_gpu) = open(&args.device)?;
    if !args.json {
        say_device(&device.info(), no_gpu.as_deref());
    }
    let peaks = match args.no_roofline {
        true => None,
        false => Some(Peaks::measure(&device, &QUICK)?),
    };
    let (runs, clock) = (args.runs as usize, args.clock.map(Clock::from));
    let show = |what: &str, profile: Profile| -> Outcome {
        let profile = match &peaks {
            Some(peaks) => profile.with_peaks(peaks.clone()),
            None => profile,
        };
        match args.json {
            true => rows(what, &profile).iter().for_each(say),
            false => say(format!("\n{what}: medians of {runs} runs\n\n{profile}")),
        }
        if let Some(path) = &args.trace {
            profile.write_trace(path)?;
            if !args.json {
                say(format!("saved {}, which https://ui.perfetto.dev opens", path.display()));
            }
        }
        Ok(())
    };
    for workload in &workloads {
        let mut case = workload.compile_with(&device, compiling)?;
        let profile = match clock {
            Some(clock) => case.step().profile_by(clock, runs),
            None => case.step().profile(runs),
        };
        show(workload.name(), profile?)?;
    }
    match settings {
        Some(settings) => {
            let (what, profile) = training(settings, &args.settings, &device, runs, clock)?;
            show(&what, profile)
        }
        None => Ok(()),
    }
}

/// A training step of the settings.
fn training(
    mut settings: Settings,
    given: &settings::Args,
    device: &Device,
    runs: usize,
    clock: Option<Clock>,
) -> Outcome<(String, Profile)> {
    let Loaded { split, preprocessor, .. } =
        data::load(&settings.data, &mut settings.table, settings.validation)?;
    if preprocessor.as_ref().is_some_and(TablePreprocessor::is_regression) {
        settings.predict_numbers(given, false);
    }
    settings.loss.balance(&split.train)?;
    let params = Params::seeded(settings.seed);
    let model: Box<dyn Layer> = architecture(&settings, &split.train).build(&params, settings.dropout)?;
    let task = data::task(&split.train, preprocessor.as_ref());
    let task = settings.loss.of(task, &split.train, preprocessor.as_ref(), &params);
    let rows = (settings.batch as usize).min(split.train.len());
    let what = format!("training {} on {}, batches of {rows}", name(&settings.model), settings.data);
    let mut trainer = Trainer::new(device, &*model, &params, optimizer(&settings, &params), split)
        .batch(settings.batch as usize)
        .seed(settings.seed)
        .task(task)
        .precision(settings.precision());
    if let Some(bytes) = settings.memory_budget {
        trainer = trainer.memory_budget(bytes);
    }
    if let Some(layer) = settings.augment.layer(&params) {
        trainer = trainer.augment(layer);
    }
    if let Some(mixup) = settings.augment.mixup(&params) {
        trainer = trainer.mixup(mixup);
    }
    trainer = penalized(trainer, &settings, &params);
    Ok((what, trainer.profile(runs, clock)?))
}

/// What is printed as JSON: kernels and launches by time, then the step.
fn rows(what: &str, profile: &Profile) -> Vec<Value> {
    let Profile { device, clock, runs, launches, peaks, .. } = profile;
    let sum = profile.launch_seconds();
    let base = |kind: &str, seconds: f64, flops: u64, bytes: u64, lower_bound: Option<f64>| {
        let mut row = json!({
            "workload": what, "row": kind, "microseconds": seconds * 1e6, "flops": flops, "bytes": bytes,
            "share": seconds / sum.max(1e-12),
            "gflops": flops as f64 * 1e-9 / seconds.max(1e-12),
            "gigabytes_per_second": bytes as f64 * 1e-9 / seconds.max(1e-12),
        });
        if let Some(lower_bound) = lower_bound {
            row["lower_bound_microseconds"] = json!(lower_bound * 1e6);
        }
        row
    };
    let with = |mut row: Value, more: Value| {
        if let (Some(row), Value::Object(more)) = (row.as_object_mut(), more) {
            row.extend(more);
        }
        row
    };
    let mut rows = Vec::new();
    for total in profile.kernels() {
        let lower_bound = peaks.as_ref().map(|peaks| profile.kernel_lower_bound(&total.kernel, peaks));
        let more = json!({ "kernel": total.kernel, "launches": total.launches });
        rows.push(with(base("kernel", total.seconds, total.flops, total.bytes, lower_bound), more));
    }
    let mut order: Vec<_> = launches.iter().collect();
    order.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
    for launch in order {
        let lower_bound = peaks.as_ref().map(|peaks| launch.lower_bound(peaks));
        let more = json!({
            "kernel": launch.kernel, "op": launch.op, "node": launch.node, "scope": launch.scope,
            "location": launch.location, "shapes": launch.shapes, "workgroups": launch.workgroups,
        });
        rows.push(with(base("launch", launch.seconds, launch.flops, launch.bytes, lower_bound), more));
    }
    let mut step = json!({
        "workload": what, "row": "step", "adapter": device.name, "backend": device.backend,
        "clock": clock.describe(), "runs": runs, "launches": launches.len(), "microseconds": sum * 1e6,
        "alone_microseconds": profile.alone_seconds * 1e6, "step_microseconds": profile.step_seconds * 1e6,
    });
    if let Some(peaks) = peaks {
        let bandwidth = |(bytes, rate, by): &(u64, f64, String)| json!({ "bytes": bytes, "gigabytes_per_second": rate * 1e-9, "by": by });
        step["peak_gflops"] = json!(peaks.flops * 1e-9);
        step["peak_by"] = json!(peaks.flops_by);
        step["bandwidths"] = peaks.bandwidths.iter().map(bandwidth).collect();
    }
    rows.push(step);
    rows
}
