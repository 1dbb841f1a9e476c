//! `wgrad bench`.

use std::path::PathBuf;
use std::time::Instant;

use wgrad::bench::{Case, Recorded, Sweep, Timer, Workload, host_seconds};

use super::bench_rows::{Contestant, Rows, contestants};
use super::bench_sweeps::{draw, sweep_over};
use super::bench_table::{Measured, Recordings, Swept, show_growth, show_sweeps, show_workloads};
use super::settings::Stored;
use super::{Failure, Outcome, bench_precision, progress, say};

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
    ...-plain      of matmul-N, conv64 and conv-...: the kernels that compute one output per invocation\n  \
    sizes          ops over sizes, and the size from which the GPU is faster; sizes-OP for one of\n                 \
    add-relu, matmul, conv, softmax, sum\n\n\
    By name only:\n  \
    lstm, transformer                  training steps of 16 time steps of an LSTM, and of a transformer's block\n  \
    attention-N, attention-N-composed  training steps of one layer of self-attention on N tokens, width 128, 4 heads;\n                                     \
    composed of products and softmax\n  \
    matmul-MxKxN                       the product of an M x K and a K x N matrix\n  \
    conv-IN-OUT-SIDE[-kK][-sS][-dD][-gG][-bB]\n                                     \
    a convolution and its two gradients; kernel K (3), stride S (1), dilation D (1),\n                                     \
    groups G (1), batch B (8); SIDE is one number or HxW; -input-gradient or\n                                     \
    -weight-gradient for one of them\n  \
    copy-N, add-N, sum-N, sum-rows-N, sum-columns-N\n                                     \
    N floats, in GB/s of inputs and outputs; rows have 1024\n  \
    resnet18, matmul-odd, matmul-skinny, conv-odd, conv-forms, bandwidth\n                                     \
    families of these: a residual network's layers on 32x32 pixels, odd and skinny\n                                     \
    shapes, depthwise, 1x1, grouped, strided and dilated convolutions, and 64 MiB\n                                     \
    at once\n  \
    all                                all of these and of the above, but sizes and growth\n  \
    growth                             training steps whose batch, width or depth doubles, and the recording of\n                                     \
    large graphs; growth-mlp, growth-cnn-width, ..., growth-nodes for a part\n\n\
    Metrics of --json: steps_per_second (training), gflops or gigabytes_per_second (ops), each also with _min and\n\
    _max;\n\
    first_step_seconds, for recording, compiling and the first run on a device just opened; dispatches;\n\
    host_us_per_dispatch (GPU); planned_bytes, of the intermediate values of a step;\n\
    of sizes microseconds, for a run, and gpu_wins_from, a size, left out where the CPU is faster at the largest; of --precision mixed also mixed_steps_per_second,\n\
    mixed_planned_bytes, mixed_speed_ratio and mixed_memory_ratio; of --roofline run_us, flops_bound_us, planned_bytes_bound_us,\n\
    bytes_once_bound_us, least_bytes_bound_us and launches_us; of growth microseconds, planned_bytes and worst_factor, the\n\
    most that a doubling costs; of growth-nodes record_seconds, plan_seconds and compile_seconds.\n\n\
    Examples:\n  \
    wgrad bench                          a choice that takes less than a minute on two cores\n  \
    wgrad bench cnn-a conv64 --repeat 9\n  \
    wgrad bench --roofline mlp-a cnn-8     beside what the device reaches at its best\n  \
    wgrad bench --precision mixed        what 16 bits cost or gain\n  \
    wgrad bench --device all --out timings")]
pub(super) struct Args {
    /// What to time [default: mlp-a mlp-b cnn-a cnn-8 matmul-512 matmul-512-plain conv64 sizes]
    #[arg(value_name = "WORKLOAD")]
    workloads: Vec<String>,
    /// Print how far each workload is from lower bounds on its time: operations at the device's peak, bytes at its
    /// bandwidth, both measured in turns with the workload, and its launches, one for each dispatch of a kernel [default
    /// workloads: mlp-a mlp-b cnn-a cnn-8 matmul-512 conv64]
    #[arg(long)]
    roofline: bool,
    /// `mixed`: time training steps in 32 bits and in mixed precision, in turns, on the GPUs, or on the CPU where it is
    /// alone [default workloads: mlp-a mlp-b cnn-a cnn-8 lstm transformer]
    #[arg(long, value_enum, default_value_t = Stored::F32)]
    precision: Stored,
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
    /// Folder for the values as bench.jsonl and, of `sizes` and `growth`, pictures; of --roofline the tables as roofline.md
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

const DEFAULT: [&str; 8] =
    ["mlp-a", "mlp-b", "cnn-a", "cnn-8", "matmul-512", "matmul-512-plain", "conv64", "sizes"];

const ROOFLINE_MODELS: [&str; 6] = ["mlp-a", "mlp-b", "cnn-a", "cnn-8", "matmul-512", "conv64"];

/// Nodes of the graphs that are recorded and planned.
const NODES: [usize; 4] = [1250, 2500, 5000, 10_000];

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(s) if s > 0.0 && s <= 3600.0 => Ok(s),
        _ => Err("not a number of seconds above 0, up to 3600".into()),
    }
}

/// Whether a name such as `growth-mlp` asks for `op`.
fn asks(name: &str, family: &str, op: &str) -> bool {
    match name.strip_prefix(family) {
        Some("") => true,
        Some(part) => part.strip_prefix('-').is_some_and(|p| op == p || op.starts_with(&format!("{p}-"))),
        None => false,
    }
}

/// What was asked for, in order: workloads, sweeps, and whether graphs are to be recorded.
#[derive(Debug, Default)]
struct Chosen {
    workloads: Vec<Workload>,
    sweeps: Vec<Sweep>,
    nodes: bool,
}

fn chosen(args: &Args) -> Outcome<Chosen> {
    let is_mixed = args.precision == Stored::Mixed;
    if is_mixed && args.roofline {
        return Err(Failure::usage(
            "--roofline is of steps in 32 bits: leave --precision mixed or --roofline out",
        ));
    }
    let names: Vec<&str> = match &args.workloads[..] {
        [] if is_mixed => bench_precision::DEFAULT.to_vec(),
        [] if args.roofline => ROOFLINE_MODELS.to_vec(),
        [] => DEFAULT.to_vec(),
        names => names.iter().map(String::as_str).collect(),
    };
    let mut chosen = Chosen::default();
    for name in names {
        let ops = Sweep::ALL.into_iter().filter(|s| asks(name, "sizes", s.op));
        let growth = Sweep::GROWTH.into_iter().filter(|s| asks(name, "growth", s.op));
        let of_name: Vec<Sweep> = ops.chain(growth).collect();
        let nodes = asks(name, "growth", "nodes");
        chosen.nodes |= nodes;
        if of_name.is_empty() && !nodes {
            let found = Workload::named(name).map_err(|e| match e {
                wgrad::Error::Unknown { .. } => Failure::usage(format!(
                    "{e}, `sizes`, `sizes-add-relu`, ..., `growth`, `growth-mlp`, ..."
                )),
                e => Failure::usage(e.to_string()),
            })?;
            if let Some(op) = found.iter().find(|w| is_mixed && !w.is_training()) {
                let name = op.name();
                return Err(Failure::usage(format!(
                    "--precision mixed is for training steps, and `{name}` is an op"
                )));
            }
            chosen.workloads.extend(found);
        } else if args.roofline || is_mixed {
            let option = if is_mixed { "--precision mixed" } else { "--roofline" };
            return Err(Failure::usage(format!("{option} takes single workloads, and `{name}` is many")));
        }
        chosen.sweeps.extend(of_name);
    }
    // Twice the same name is timed once.
    let mut seen: Vec<String> = Vec::new();
    let mut is_new = |name: &str| {
        let is_new = !seen.iter().any(|s| s == name);
        seen.push(name.into());
        is_new
    };
    chosen.workloads.retain(|w| is_new(w.name()));
    chosen.sweeps.retain(|s| is_new(&format!("sizes-{}", s.op)));
    Ok(chosen)
}

pub(super) fn run(args: &Args) -> Outcome {
    let Chosen { workloads, sweeps, nodes } = chosen(args)?;
    let (mut devices, no_gpu) = contestants(&args.device)?;
    let mut rows = Rows::new(args.out.as_deref(), args.json)?;
    let is_mixed = args.precision == Stored::Mixed;
    if is_mixed && devices.len() > 1 {
        // It would round to 16 bits and keep 32.
        devices.retain(|on| !on.is_cpu());
    }
    if !args.json {
        let how = match (args.roofline, is_mixed) {
            (true, _) => {
                "medians; each workload takes turns with what reaches the peaks, and × is its time over a lower bound"
            }
            (_, true) => {
                "ratio: mixed precision over 32 bits; medians, with the slowest and the fastest repetition"
            }
            _ if devices.len() > 1 => {
                "ratio: speed of the GPU over that of the CPU; medians, with the slowest and the fastest repetition"
            }
            _ => "medians, with the slowest and the fastest repetition",
        };
        introduce(&devices, no_gpu.as_deref(), how);
    }
    let timer = Timer { seconds: args.seconds, repeat: args.repeat as usize };
    if is_mixed {
        bench_precision::compare(&workloads, &devices, &timer, &mut rows, !args.json)?;
        if let Some(folder) = args.out.as_ref().filter(|_| !args.json) {
            say(format!("saved {}", folder.join("bench.jsonl").display()));
        }
        return Ok(());
    }
    let points: usize = sweeps.iter().map(|s| s.sizes.len()).sum();
    let bar = progress::bar(workloads.len() + points, "{bar:24} {pos} of {len}  {msg}");
    if args.json {
        bar.set_draw_target(indicatif::ProgressDrawTarget::hidden());
    }

    let mut measured = Vec::new();
    // With --roofline they are timed beside the peaks, and that alone.
    for workload in workloads.iter().filter(|_| !args.roofline) {
        bar.set_message(workload.name().to_string());
        let one = measure(workload, &timer, &args.device)?;
        one.rows(&mut |on, metric, value| rows.put(workload.name(), on, metric, value))?;
        measured.push(one);
        bar.inc(1);
    }
    let mut swept = Vec::new();
    for sweep in sweeps {
        swept.push(sweep_over(sweep, &devices, &timer, &mut rows, &bar)?);
    }
    let mut recordings = Vec::new();
    for size in NODES.into_iter().filter(|_| nodes) {
        bar.set_message(format!("{size} nodes"));
        let of_size = devices.iter().map(|on| Recorded::measure(&on.device, size));
        let of_size: Recordings = of_size.collect::<wgrad::Result<_>>()?;
        for (one, on) in of_size.iter().zip(&devices) {
            let name = format!("nodes-{size}");
            rows.put(&name, on, "nodes", one.nodes as f64)?;
            rows.put(&name, on, "record_seconds", one.record)?;
            rows.put(&name, on, "plan_seconds", one.plan)?;
            rows.put(&name, on, "compile_seconds", one.compile)?;
        }
        recordings.push(of_size);
    }
    bar.finish_and_clear();
    let (growth, sizes): (Vec<Swept>, Vec<Swept>) = swept.into_iter().partition(|s| s.sweep.is_growth());
    if !args.json {
        show_workloads(&devices, &measured);
        show_sweeps(&devices, &sizes);
        show_growth(&devices, &growth, &recordings);
    }
    let mut files = Vec::new();
    if args.roofline {
        let text = super::bench_roofline::report(&devices, &workloads, &timer, &mut rows)?;
        if !args.json {
            say(&text);
        }
        if let Some(folder) = &args.out {
            let path = folder.join("roofline.md");
            std::fs::write(&path, text).map_err(|e| Failure::new(format!("{}: {e}", path.display())))?;
            files.push(path);
        }
    }
    if let Some(folder) = &args.out {
        files.insert(0, folder.join("bench.jsonl"));
        files.extend(draw(folder, "sizes.svg", &devices, &sizes)?);
        files.extend(draw(folder, "growth.svg", &devices, &growth)?);
        if !args.json {
            let names: Vec<String> = files.iter().map(|f| f.display().to_string()).collect();
            say(format!("saved {}", names.join(", ")));
        }
    }
    Ok(())
}

/// Says what is compared, and what the comparison cannot say.
fn introduce(devices: &[Contestant], no_gpu: Option<&str>, how: &str) {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let has_cpu = devices.iter().any(Contestant::is_cpu);
    if has_cpu {
        say(format!("cpu         ndarray, {cores} cores"));
    }
    for on in devices.iter().filter(|d| !d.is_cpu()) {
        say(format!("gpu         {}", on.info));
    }
    if has_cpu && devices.iter().any(|d| d.info.kind == "Cpu") {
        say(
            "            A software adapter runs its kernels on the same cores as the CPU device: its ratios say\n            \
             what this machine does without a GPU, and nothing about one with.",
        );
    }
    if let Some(reason) = no_gpu {
        let reason = reason.trim_end_matches(", or use the CPU");
        say(format!("            alone, as there is nothing else: {reason}"));
    }
    say(format!("{how}\n"));
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
    let bytes = cases.first().map_or(0, |case| case.traffic().least);
    Ok(Measured {
        workload: workload.clone(),
        devices,
        rates,
        first,
        host,
        dispatches,
        planned,
        flops,
        bytes,
    })
}
