//! One workload on one device in one process, as rows `wgrad,VERSION,DEVICE,WORKLOAD,METRIC,VALUE`: the
//! form in which other frameworks are measured beside it.
//!
//! usage: peers DEVICE WORKLOAD     DEVICE as for `wgrad train --device`, WORKLOAD mlp-a, mlp-b,
//! cnn-a, cnn-8, matmul-N or matmul-N-plain. `BENCH_T0_NS` is the process's start in Unix nanoseconds, `BENCH_WINDOWS`
//! and `BENCH_SECS` the number and length of timed windows.
#![allow(missing_docs)]

mod workloads;

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use wgrad::{Device, Error, Result, Step};

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

    /// Sorted runs per second of windows that end with the device idle.
    fn rates(&self, device: &Device, step: &mut Step) -> Result<Vec<f64>> {
        let window = Duration::from_secs_f64(env("BENCH_SECS", 1.0));
        let mut time = |steps: u32| -> Result<Duration> {
            let start = Instant::now();
            for _ in 0..steps {
                step.run()?;
            }
            device.wait()?;
            Ok(start.elapsed())
        };
        let mut steps = 1u32;
        loop {
            let elapsed = time(steps)?;
            if elapsed >= window / 2 {
                let scale = window.as_secs_f64() / elapsed.as_secs_f64();
                steps = ((f64::from(steps) * scale).round() as u32).max(1);
                break;
            }
            steps *= 2;
        }
        let windows: usize = env("BENCH_WINDOWS", 7);
        let mut rates = (0..windows)
            .map(|_| Ok(f64::from(steps) / time(steps)?.as_secs_f64()))
            .collect::<Result<Vec<f64>>>()?;
        rates.sort_by(f64::total_cmp);
        Ok(rates)
    }
}

fn peak_rss_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|l| l.starts_with("VmHWM:")).unwrap_or("");
    line.split_whitespace().nth(1).and_then(|v| v.parse::<f64>().ok()).unwrap_or(f64::NAN) / 1024.0
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
    if let Some(rest) = workload.strip_prefix("matmul-") {
        let (n, plain) = rest.strip_suffix("-plain").map_or((rest, false), |n| (n, true));
        let n: usize = n.parse().map_err(|_| Error::Invalid(format!("`{n}` is no size")))?;
        let mut step = workloads::matmul(&device, n, plain)?;
        step.run()?;
        device.wait()?;
        bench.print("cold_first_call_s", format_args!("{:.3}", bench.since_start()));
        let rates = bench.rates(&device, &mut step)?;
        let gflops = |rate: f64| format!("{:.2}", rate * 2.0 * (n as f64).powi(3) * 1e-9);
        bench.print("gflop_per_s", gflops(rates[rates.len() / 2]));
        bench.print("gflop_per_s_max", gflops(rates[rates.len() - 1]));
    } else {
        let Some(mut step) = workloads::training(&device, workload)? else {
            return Err(Error::Invalid(format!("unknown workload `{workload}`")));
        };
        let first = step.run().and_then(|()| step.scalar("loss"))?;
        bench.print("cold_first_step_s", format_args!("{:.3}", bench.since_start()));
        bench.print("loss_step_1", first);
        bench.print("dispatches", step.dispatches());
        bench.print("planned_bytes", step.planned_bytes());
        for _ in 0..20 {
            step.run()?;
        }
        let early = step.run().and_then(|()| step.scalar("loss"))?;
        bench.print("loss_step_22", early);
        // What the host spends on a step: encoding and submitting, with the device idle before and after.
        let mut host: Vec<f64> = (0..50)
            .map(|_| {
                device.wait()?;
                let t = Instant::now();
                step.run()?;
                Ok(t.elapsed().as_secs_f64())
            })
            .collect::<Result<_>>()?;
        host.sort_by(f64::total_cmp);
        bench.print("host_us_per_dispatch", format_args!("{:.2}", host[25] * 1e6 / step.dispatches() as f64));
        let rates = bench.rates(&device, &mut step)?;
        bench.print("steps_per_s", format_args!("{:.2}", rates[rates.len() / 2]));
        bench.print("steps_per_s_min", format_args!("{:.2}", rates[0]));
        bench.print("steps_per_s_max", format_args!("{:.2}", rates[rates.len() - 1]));
        bench.print("loss_last", step.run().and_then(|()| step.scalar("loss"))?);
    }
    bench.print("peak_rss_mib", format_args!("{:.0}", peak_rss_mib()));
    Ok(())
}
