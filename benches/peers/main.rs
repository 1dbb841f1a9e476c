//! One workload on one device in one process, as rows `wgrad,VERSION,DEVICE,WORKLOAD,METRIC,VALUE`: the
//! form in which `benches/peers/run` measures other frameworks beside it.
//!
//! usage: peers DEVICE WORKLOAD     DEVICE as for `wgrad train --device`, WORKLOAD as for
//! `wgrad bench`: mlp-a, cnn-8, matmul-512-plain, conv64. `BENCH_T0_NS` is the process's start in Unix
//! nanoseconds, `BENCH_WINDOWS` and `BENCH_SECS` the number and length of timed windows.
#![allow(missing_docs)]

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use wgrad::bench::{Speed, Timer, Workload, host_seconds};
use wgrad::{Device, Result};

fn env<T: std::str::FromStr>(name: &str, default: T) -> T {
    std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(default)
}

struct Bench {
    device: String,
    workload: String,
    before_main: f64,
    start: Instant,
}

impl Bench {
    fn print(&self, metric: &str, value: impl std::fmt::Display) {
        println!("wgrad,{},{},{},{metric},{value}", env!("CARGO_PKG_VERSION"), self.device, self.workload);
    }

    fn since_start(&self) -> f64 {
        self.before_main + self.start.elapsed().as_secs_f64()
    }
}

fn peak_rss_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|l| l.starts_with("VmHWM:")).unwrap_or("");
    line.split_whitespace().nth(1).and_then(|v| v.parse::<f64>().ok()).unwrap_or(f64::NAN) / 1024.0
}

/// CPU time of this process, in the kernel's ticks of 10 ms; 0 where there is no such file.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let behind_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks: Vec<f64> = behind_name.split_whitespace().skip(11).take(2).flat_map(str::parse).collect();
    ticks.iter().sum::<f64>() / 100.0
}

fn main() -> Result<()> {
    let start = Instant::now();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos() as i128);
    let args: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let [name, workload] = args.as_slice() else {
        eprintln!("usage: peers DEVICE WORKLOAD");
        return Ok(());
    };
    let bench = Bench {
        device: name.clone(),
        workload: workload.clone(),
        before_main: (now - env("BENCH_T0_NS", now)) as f64 * 1e-9,
        start,
    };
    let device = Device::named(name)?;
    eprintln!("# {}", device.info());
    let timer = Timer { seconds: env("BENCH_SECS", 1.0), repeat: env("BENCH_WINDOWS", 7) };
    // Of `conv64`, forward alone.
    let workload = &Workload::named(workload)?[0];
    let mut case = workload.compile(&device)?;
    if workload.is_training() {
        let first = case.step().run().and_then(|()| case.step().scalar("loss"))?;
        bench.print("cold_first_step_s", format_args!("{:.3}", bench.since_start()));
        bench.print("cold_cpu_s", cpu_seconds());
        bench.print("loss_step_1", first);
        bench.print("dispatches", case.step().dispatches());
        bench.print("planned_bytes", case.step().planned_bytes());
        for _ in 0..20 {
            case.step().run()?;
        }
        let early = case.step().run().and_then(|()| case.step().scalar("loss"))?;
        bench.print("loss_step_22", early);
        // What the host spends on a step: encoding and submitting, with the device idle before and after.
        let host = host_seconds(&mut case)? / case.step().dispatches() as f64;
        bench.print("host_us_per_dispatch", format_args!("{:.2}", host * 1e6));
        // What a loaded machine changes little: CPU time of all threads.
        let (start, steps) = (cpu_seconds(), 60);
        for _ in 0..steps {
            case.step().run()?;
        }
        device.wait()?;
        let each = (cpu_seconds() - start) / f64::from(steps);
        bench.print("cpu_ms_per_step", format_args!("{:.3}", each * 1e3));
        let rates = timer.rates(&mut [&mut case])?.remove(0);
        bench.print("steps_per_s", format_args!("{:.2}", rates.median()));
        bench.print("steps_per_s_min", format_args!("{:.2}", rates.min()));
        bench.print("steps_per_s_max", format_args!("{:.2}", rates.max()));
        bench.print("loss_last", case.step().run().and_then(|()| case.step().scalar("loss"))?);
    } else {
        case.step().run()?;
        device.wait()?;
        bench.print("cold_first_call_s", format_args!("{:.3}", bench.since_start()));
        let (metric, work) = match workload.speed() {
            Speed::Bytes => ("gb_per_s", case.traffic().least),
            _ => ("gflop_per_s", case.flops()),
        };
        let scale = work as f64 * 1e-9;
        let rates = timer.rates(&mut [&mut case])?.remove(0);
        bench.print(metric, format_args!("{:.2}", rates.median() * scale));
        bench.print(&format!("{metric}_max"), format_args!("{:.2}", rates.max() * scale));
    }
    bench.print("peak_rss_mib", format_args!("{:.0}", peak_rss_mib()));
    Ok(())
}
