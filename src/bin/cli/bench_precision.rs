//! What `wgrad bench --precision mixed` says: training steps whose values lie in 16 bits beside those in 32.

use wgrad::bench::{Case, Rates, Timer, Workload};
use wgrad::{CompileOptions, Precision};

use super::bench_rows::{Contestant, Rows};
use super::bench_table::{number, spread};
use super::{Failure, Outcome, say, table, thousands};

/// What is timed where nothing is named: all training steps.
pub(super) const DEFAULT: [&str; 6] = ["mlp-a", "mlp-b", "cnn-a", "cnn-8", "lstm", "transformer"];

/// A step in 32 bits and in mixed precision.
#[derive(Debug)]
struct Compared {
    workload: String,
    rates: [Rates; 2],
    planned: [usize; 2],
}

impl Compared {
    /// Times both, in turns.
    fn measure(workload: &Workload, on: &Contestant, timer: &Timer) -> wgrad::Result<Self> {
        let compile =
            |precision| workload.compile_with(&on.device, CompileOptions::new().precision(precision));
        let (mut exact, mut mixed) = (compile(Precision::F32)?, compile(Precision::Mixed)?);
        let planned = [&mut exact, &mut mixed].map(|case: &mut Case| case.step().planned_bytes());
        let both = timer.rates(&mut [&mut exact, &mut mixed])?;
        let rates = both
            .try_into()
            .map_err(|_| wgrad::Error::Invalid("two steps have two rates; please report this".into()))?;
        Ok(Compared { workload: workload.name().into(), rates, planned })
    }

    /// Speed and planned bytes of mixed precision over those in 32 bits.
    fn ratios(&self) -> [f64; 2] {
        let [exact, mixed] = self.rates.each_ref().map(Rates::median);
        [mixed / exact, self.planned[1] as f64 / self.planned[0].max(1) as f64]
    }

    fn rows(&self, on: &Contestant, rows: &mut Rows) -> Outcome {
        for (k, prefix) in ["", "mixed_"].into_iter().enumerate() {
            let rates = &self.rates[k];
            for (end, value) in [("", rates.median()), ("_min", rates.min()), ("_max", rates.max())] {
                rows.put(&self.workload, on, &format!("{prefix}steps_per_second{end}"), value)?;
            }
            rows.put(&self.workload, on, &format!("{prefix}planned_bytes"), self.planned[k] as f64)?;
        }
        let [speed, memory] = self.ratios();
        rows.put(&self.workload, on, "mixed_speed_ratio", speed)?;
        rows.put(&self.workload, on, "mixed_memory_ratio", memory)
    }
}

/// Times training steps in both precisions on all devices.
pub(super) fn compare(
    workloads: &[Workload],
    devices: &[Contestant],
    timer: &Timer,
    rows: &mut Rows,
    show: bool,
) -> Outcome {
    let mut measured = false;
    for on in devices {
        let mut all = Vec::new();
        for workload in workloads {
            // Of several adapters, some have no 16-bit floats.
            let one = match Compared::measure(workload, on, timer) {
                Err(wgrad::Error::Adapter(reason)) if devices.len() > 1 => {
                    tracing::warn!("{} is left out: {reason}", on.adapter());
                    break;
                }
                one => one?,
            };
            measured = true;
            one.rows(on, rows)?;
            all.push(one);
        }
        if show && !all.is_empty() {
            say(format!("{}: steps/s, and bytes of the intermediate values of a step", on.adapter()));
            let lines: Vec<[String; 7]> = all.iter().map(line).collect();
            let headings = ["workload", "f32", "mixed", "ratio", "bytes, f32", "mixed", "ratio"];
            say(table(&headings, &lines));
            say("");
        }
    }
    match measured {
        true => Ok(()),
        false => Err(Failure::new(
            "no adapter here has 16-bit floats in shaders; `--device cpu` rounds as one would",
        )),
    }
}

fn line(one: &Compared) -> [String; 7] {
    let [exact, mixed] = one.rates.each_ref().map(|rates| spread(rates, 1.0));
    let [of_exact, of_mixed] = one.planned.map(|bytes| thousands(bytes as f64));
    let [speed, memory] = one.ratios().map(number);
    [one.workload.clone(), exact, mixed, speed, of_exact, of_mixed, memory]
}
