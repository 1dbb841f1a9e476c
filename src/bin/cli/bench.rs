//! `wgrad bench`.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde_json::json;
use wgrad::bench::{Case, Sweep, Timer, Workload, host_seconds};
use wgrad::{Device, DeviceInfo};

use super::bench_table::{Measured, Swept, show_sweeps, show_workloads};
use super::{Failure, Outcome, progress, say};

/// Times training steps and ops on the CPU device and on a GPU, side by side.
///
/// Both take turns, one repetition each, so that what else the machine does meets both. Everything lies on the
/// device beforehand; runs are submitted one after another and waited for at the end of a repetition. Values are
/// medians, with the slowest and the fastest repetition.
#[derive(Debug, clap::Args)]
#[command(after_help = "Workloads:\n  \
    mlp-a, mlp-b   training steps of perceptrons: batch 64, 784-128-10; batch 256, 784-512-512-10\n  \
    cnn-a, cnn-8   training steps of a convolutional network: batch 64 of 28x28 pixels; of 8x8\n  \
    matmul-N       the product of two N x N matrices\n  \
    conv64         a convolution, 64 to 64 channels, 3x3, 32x32 pixels, batch 8, and its two gradients\n  \
    ...-plain      of matmul-N and conv64: the kernels that compute one output per invocation\n  \
    sizes          ops over sizes, and the size from which the GPU is faster; sizes-OP for one of\n                 \
    add-relu, matmul, conv, softmax, sum\n\n\
    Metrics of --json: steps_per_second (training) or gflops (ops), each also with _min and _max;\n\
    first_step_seconds, for recording, compiling and the first run on a device just opened; dispatches;\n\
    host_us_per_dispatch (GPU); planned_bytes; of sizes microseconds, for a run, and gpu_wins_from, a size,\n\
    left out where the CPU is faster at the largest.\n\n\
    Examples:\n  \
    wgrad bench                          a choice that takes less than a minute on two cores\n  \
    wgrad bench cnn-a conv64 --repeat 9\n  \
    wgrad bench --device all --out timings")]
pub(super) struct Args {
    /// What to time [default: mlp-a mlp-b cnn-a cnn-8 matmul-512 matmul-512-plain conv64 sizes]
    #[arg(value_name = "WORKLOAD")]
    workloads: Vec<String>,
    /// Beside the CPU: `auto` (the best GPU, if there is one), `gpu`, `all` adapters, part of an adapter's name, or
    /// `cpu` for nothing else
    #[arg(long, default_value = "auto")]
    device: String,
    /// Seconds of a repetition; those of `sizes` last a quarter of it
    #[arg(long, value_name = "S", default_value_t = 0.15, value_parser = seconds, allow_negative_numbers = true)]
    seconds: f64,
    /// Repetitions; `sizes` has at most 3
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    repeat: u32,
    /// Print one JSON object a value: workload, device (cpu or gpu), adapter, metric, value
    #[arg(long)]
    json: bool,
    /// Folder for the values as bench.jsonl and, of `sizes`, a picture
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

const DEFAULT: [&str; 8] =
    ["mlp-a", "mlp-b", "cnn-a", "cnn-8", "matmul-512", "matmul-512-plain", "conv64", "sizes"];

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(s) if s > 0.0 && s <= 3600.0 => Ok(s),
        _ => Err("not a number of seconds above 0, up to 3600".into()),
    }
}

/// A device that takes part.
#[derive(Debug)]
pub(super) struct Contestant {
    pub(super) device: Device,
    pub(super) info: DeviceInfo,
}

impl Contestant {
    fn new(device: Device) -> Self {
        Contestant { info: device.info(), device }
    }

    pub(super) fn is_cpu(&self) -> bool {
        self.info.kind == "Reference"
    }

    /// `cpu` or `gpu`.
    pub(super) fn kind(&self) -> &'static str {
        if self.is_cpu() { "cpu" } else { "gpu" }
    }

    /// Name and API: one name can be behind several.
    pub(super) fn adapter(&self) -> String {
        format!("{} ({})", self.info.name, self.info.backend)
    }
}

/// Opens the CPU device and what is named. The second part says why `auto` found no GPU.
fn contestants(name: &str) -> Outcome<(Vec<Contestant>, Option<String>)> {
    let mut devices = vec![Device::cpu()];
    let mut reason = None;
    match name {
        "cpu" => {}
        "all" => devices.extend(every_adapter()?),
        name => {
            let (device, no_gpu) = super::open(name)?;
            if no_gpu.is_none() {
                devices.push(device);
            }
            reason = no_gpu;
        }
    }
    Ok((devices.into_iter().map(Contestant::new).collect(), reason))
}

#[cfg(feature = "gpu")]
fn every_adapter() -> Outcome<Vec<Device>> {
    Ok(wgrad::gpu::adapters_named("")?.into_iter().map(Device::from).collect())
}

#[cfg(not(feature = "gpu"))]
fn every_adapter() -> Outcome<Vec<Device>> {
    Ok(vec![Device::gpu()?])
}

/// What was asked for, in order.
fn chosen(names: &[String]) -> Outcome<(Vec<Workload>, Vec<Sweep>)> {
    let names: Vec<&str> = match names {
        [] => DEFAULT.to_vec(),
        names => names.iter().map(String::as_str).collect(),
    };
    let (mut workloads, mut sweeps): (Vec<Workload>, Vec<Sweep>) = Default::default();
    for name in names {
        let of_name: Vec<Sweep> = Sweep::ALL
            .into_iter()
            .filter(|s| name == "sizes" || name.strip_prefix("sizes-") == Some(s.op))
            .collect();
        if of_name.is_empty() {
            let found = Workload::named(name).map_err(|e| {
                Failure::usage(format!("{e}, `sizes`, `sizes-add-relu`, `sizes-matmul`, ..."))
            })?;
            workloads.extend(found);
        }
        sweeps.extend(of_name);
    }
    // Twice the same name is timed once.
    let mut seen: Vec<String> = Vec::new();
    let mut is_new = |name: &str| {
        let is_new = !seen.iter().any(|s| s == name);
        seen.push(name.into());
        is_new
    };
    workloads.retain(|w| is_new(w.name()));
    sweeps.retain(|s| is_new(&format!("sizes-{}", s.op)));
    Ok((workloads, sweeps))
}

/// Where values go as they come: to stdout, if JSON is asked for, and to a file, if there is one.
struct Rows {
    print: bool,
    file: Option<(PathBuf, std::fs::File)>,
}

impl Rows {
    fn new(args: &Args) -> Outcome<Self> {
        let file = match &args.out {
            None => None,
            Some(folder) => {
                let path = folder.join("bench.jsonl");
                let open = std::fs::create_dir_all(folder).and_then(|()| std::fs::File::create(&path));
                Some((path.clone(), open.map_err(|e| Failure::new(format!("{}: {e}", path.display())))?))
            }
        };
        Ok(Rows { print: args.json, file })
    }

    fn put(&mut self, workload: &str, on: &Contestant, metric: &str, value: f64) -> Outcome {
        // Whole numbers without a fraction, as counts are.
        let value = if value.fract() == 0.0 && value < 1e15 { json!(value as u64) } else { json!(value) };
        let row = json!({
            "workload": workload, "device": on.kind(), "adapter": on.adapter(), "metric": metric, "value": value,
        });
        if self.print {
            say(&row);
        }
        if let Some((path, file)) = &mut self.file {
            writeln!(file, "{row}").map_err(|e| Failure::new(format!("{}: {e}", path.display())))?;
        }
        Ok(())
    }
}

pub(super) fn run(args: &Args) -> Outcome {
    let (workloads, sweeps) = chosen(&args.workloads)?;
    let (devices, no_gpu) = contestants(&args.device)?;
    let mut rows = Rows::new(args)?;
    if !args.json {
        introduce(&devices, no_gpu.as_deref());
    }
    let points: usize = sweeps.iter().map(|s| s.sizes.len()).sum();
    let bar = progress::bar(workloads.len() + points, "{bar:24} {pos} of {len}  {msg}");
    if args.json {
        bar.set_draw_target(indicatif::ProgressDrawTarget::hidden());
    }

    let timer = Timer { seconds: args.seconds, repeat: args.repeat as usize };
    let mut measured = Vec::new();
    for workload in &workloads {
        bar.set_message(workload.name().to_string());
        let one = measure(workload, &timer, &args.device)?;
        one.rows(&mut |on, metric, value| rows.put(workload.name(), on, metric, value))?;
        measured.push(one);
        bar.inc(1);
    }
    let short = Timer { seconds: args.seconds / 4.0, repeat: timer.repeat.min(3) };
    let mut swept = Vec::new();
    for sweep in sweeps {
        let mut one = Swept { sweep, seconds: vec![Vec::new(); devices.len()] };
        for &size in sweep.sizes {
            let workload = sweep.at(size);
            bar.set_message(workload.name().to_string());
            let mut cases = compile_on(&workload, &devices)?;
            let rates = short.rates(&mut cases.iter_mut().collect::<Vec<&mut Case>>())?;
            for ((seconds, rates), on) in one.seconds.iter_mut().zip(&rates).zip(&devices) {
                seconds.push(1.0 / rates.median());
                rows.put(workload.name(), on, "microseconds", 1e6 / rates.median())?;
            }
            bar.inc(1);
        }
        for (k, on) in devices.iter().enumerate().skip(1) {
            if let Some(size) = one.wins_from(k) {
                rows.put(sweep.op, on, "gpu_wins_from", size as f64)?;
            }
        }
        swept.push(one);
    }
    bar.finish_and_clear();
    if !args.json {
        show_workloads(&devices, &measured);
        show_sweeps(&devices, &swept);
    }
    if let Some(folder) = &args.out {
        let mut files = vec![folder.join("bench.jsonl")];
        files.extend(draw(folder, &devices, &swept)?);
        if !args.json {
            let names: Vec<String> = files.iter().map(|f| f.display().to_string()).collect();
            say(format!("saved {}", names.join(", ")));
        }
    }
    Ok(())
}

/// Says what is compared, and what the comparison cannot say.
fn introduce(devices: &[Contestant], no_gpu: Option<&str>) {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    say(format!("cpu         ndarray, {cores} cores"));
    for on in devices.iter().filter(|d| !d.is_cpu()) {
        say(format!("gpu         {}", on.info));
    }
    if devices.iter().any(|d| d.info.kind == "Cpu") {
        say(
            "            A software adapter runs its kernels on the same cores as the CPU device: its ratios say\n            \
             what this machine does without a GPU, and nothing about one with.",
        );
    }
    if let Some(reason) = no_gpu {
        let reason = reason.trim_end_matches(", or use the CPU with --device cpu");
        say(format!("            alone, as there is nothing else: {reason}"));
    }
    let ratio = if devices.len() > 1 { "ratio: speed of the GPU over that of the CPU; " } else { "" };
    say(format!("{ratio}medians, with the slowest and the fastest repetition\n"));
}

fn compile_on(workload: &Workload, devices: &[Contestant]) -> Outcome<Vec<Case>> {
    Ok(devices.iter().map(|d| workload.compile(&d.device)).collect::<wgrad::Result<_>>()?)
}

/// Times a workload on devices of its own, so that none has the kernels of another workload.
fn measure(workload: &Workload, timer: &Timer, device: &str) -> Outcome<Measured> {
    let (devices, _) = contestants(device)?;
    let mut cases = Vec::new();
    let mut first = Vec::new();
    for on in &devices {
        let start = Instant::now();
        let mut case = workload.compile(&on.device)?;
        case.step().run()?;
        on.device.wait()?;
        first.push(start.elapsed().as_secs_f64());
        cases.push(case);
    }
    let rates = timer.rates(&mut cases.iter_mut().collect::<Vec<&mut Case>>())?;
    let mut host = Vec::new();
    for (case, on) in cases.iter_mut().zip(&devices) {
        let per_dispatch =
            |seconds: f64, case: &mut Case| seconds * 1e6 / case.step().dispatches().max(1) as f64;
        // On the CPU device the host's time is the run itself.
        host.push(match on.is_cpu() {
            true => None,
            false => Some(per_dispatch(host_seconds(case)?, case)),
        });
    }
    let dispatches = cases.iter_mut().map(|c| c.step().dispatches()).collect();
    let planned = cases.iter_mut().map(|c| c.step().planned_bytes()).collect();
    let flops = cases.first().map_or(0, Case::flops);
    Ok(Measured { workload: workload.clone(), devices, rates, first, host, dispatches, planned, flops })
}

#[cfg(feature = "plots")]
fn draw(folder: &Path, devices: &[Contestant], swept: &[Swept]) -> Outcome<Vec<PathBuf>> {
    use wgrad::plots::{SizeCurves, SizeLine, sizes};
    if swept.is_empty() {
        return Ok(Vec::new());
    }
    let panel = |one: &Swept| SizeCurves {
        title: one.sweep.title.into(),
        unit: one.sweep.unit.into(),
        lines: devices
            .iter()
            .zip(&one.seconds)
            .map(|(on, seconds)| SizeLine {
                label: if on.is_cpu() { "CPU (ndarray)".into() } else { on.adapter() },
                points: one.sweep.sizes.iter().copied().zip(seconds.iter().copied()).collect(),
            })
            .collect(),
    };
    let path = folder.join("sizes.svg");
    wgrad::plots::save(&path, &sizes(&swept.iter().map(panel).collect::<Vec<_>>())?)?;
    Ok(vec![path])
}

#[cfg(not(feature = "plots"))]
fn draw(_: &Path, _: &[Contestant], _: &[Swept]) -> Outcome<Vec<PathBuf>> {
    Ok(Vec::new())
}
