//! What `wgrad bench` measured, as tables.

use wgrad::bench::{Rates, Recorded, Speed, Sweep, Workload};

use super::bench_rows::Contestant;
use super::{Outcome, say, table, thousands};

/// A workload on all devices: the CPU first, the lists in their order.
#[derive(Debug)]
pub(super) struct Measured {
    pub(super) workload: Workload,
    pub(super) devices: Vec<Contestant>,
    /// Runs per second.
    pub(super) rates: Vec<Rates>,
    /// Seconds of recording, compiling and the first run.
    pub(super) first: Vec<f64>,
    /// Microseconds of the host per dispatch, of GPUs.
    pub(super) host: Vec<Option<f64>>,
    pub(super) dispatches: Vec<usize>,
    pub(super) planned: Vec<usize>,
    /// Floating-point operations of a run.
    pub(super) flops: u64,
    /// Bytes of a run's inputs and outputs.
    pub(super) bytes: u64,
}

/// A workload over sizes on all devices.
#[derive(Debug)]
pub(super) struct Swept {
    pub(super) sweep: Sweep,
    /// Seconds of a run: `[device][size]`.
    pub(super) seconds: Vec<Vec<f64>>,
    /// Bytes planned for intermediate values: `[device][size]`.
    pub(super) planned: Vec<Vec<usize>>,
}

/// One graph on all devices.
pub(super) type Recordings = Vec<Recorded>;

impl Measured {
    /// What a speed is given in, and what turns runs per second into it.
    fn unit(&self) -> (&'static str, &'static str, f64) {
        match self.workload.speed() {
            Speed::Steps => ("steps_per_second", "steps/s", 1.0),
            Speed::Flops => ("gflops", "GFLOP/s", self.flops as f64 * 1e-9),
            Speed::Bytes => ("gigabytes_per_second", "GB/s", self.bytes as f64 * 1e-9),
        }
    }

    /// Gives every value to `put`: device, metric, value.
    pub(super) fn rows(&self, put: &mut dyn FnMut(&Contestant, &str, f64) -> Outcome) -> Outcome {
        let (metric, _, scale) = self.unit();
        for (k, on) in self.devices.iter().enumerate() {
            let rates = &self.rates[k];
            put(on, metric, rates.median() * scale)?;
            put(on, &format!("{metric}_min"), rates.min() * scale)?;
            put(on, &format!("{metric}_max"), rates.max() * scale)?;
            put(on, "first_step_seconds", self.first[k])?;
            put(on, "dispatches", self.dispatches[k] as f64)?;
            if let Some(host) = self.host[k] {
                put(on, "host_us_per_dispatch", host)?;
            }
            if self.planned[k] > 0 {
                put(on, "planned_bytes", self.planned[k] as f64)?;
            }
        }
        Ok(())
    }
}

impl Swept {
    /// To be filled for so many devices.
    pub(super) fn new(sweep: Sweep, devices: usize) -> Self {
        Swept { sweep, seconds: vec![Vec::new(); devices], planned: vec![Vec::new(); devices] }
    }

    /// The most that a doubling of the size multiplies time or planned memory by on device `k`.
    pub(super) fn worst_factor(&self, k: usize) -> f64 {
        let worst = |values: &[f64]| values.windows(2).map(|pair| pair[1] / pair[0]).fold(0.0, f64::max);
        let planned: Vec<f64> = self.planned[k].iter().map(|&bytes| bytes as f64).collect();
        worst(&self.seconds[k]).max(worst(&planned))
    }

    /// The smallest size from which on device `k` is faster than the CPU at every size up to the largest.
    pub(super) fn wins_from(&self, k: usize) -> Option<usize> {
        let pairs = self.seconds.first()?.iter().zip(self.seconds.get(k)?);
        let wins = pairs.rev().take_while(|(cpu, gpu)| gpu < cpu).count();
        self.sweep.sizes.get(self.sweep.sizes.len().checked_sub(wins)?).copied()
    }

    /// The verdict on device `k`, as a sentence.
    fn verdict(&self, k: usize) -> String {
        let Sweep { op, unit, sizes, .. } = self.sweep;
        let number = |n: usize| thousands(n as f64);
        let (first, last) = (sizes.first().copied().unwrap_or(0), sizes.last().copied().unwrap_or(0));
        match self.wins_from(k) {
            Some(size) if size == first => {
                format!("{op}: the GPU is faster at every size tried, from {} {unit}", number(first))
            }
            Some(size) => format!("{op}: the GPU is faster from {} {unit} on", number(size)),
            None => format!("{op}: the GPU is not faster at the largest size, {} {unit}", number(last)),
        }
    }
}

/// Three significant digits, or all of a whole number of more; of small ones four decimals.
pub(super) fn number(x: f64) -> String {
    match x {
        x if x >= 99.95 => thousands(x),
        x if x >= 9.995 => format!("{x:.1}"),
        x if x >= 0.9995 => format!("{x:.2}"),
        x if x >= 0.0995 => format!("{x:.3}"),
        x => format!("{x:.4}"),
    }
}

/// A median with what it lies between.
pub(super) fn spread(rates: &Rates, scale: f64) -> String {
    let [median, min, max] = [rates.median(), rates.min(), rates.max()].map(|r| number(r * scale));
    format!("{median} ({min}–{max})")
}

pub(super) fn show_workloads(devices: &[Contestant], measured: &[Measured]) {
    if measured.is_empty() {
        return;
    }
    let gpus: Vec<usize> = (1..devices.len()).collect();
    if gpus.is_empty() {
        let rows: Vec<[String; 3]> = measured
            .iter()
            .map(|m| {
                let (_, unit, scale) = m.unit();
                [m.workload.name().into(), spread(&m.rates[0], scale), unit.into()]
            })
            .collect();
        say(table(&["workload", "CPU", ""], &rows));
    }
    for &k in &gpus {
        if gpus.len() > 1 {
            say(format!("CPU against {}", devices[k].adapter()));
        }
        let rows: Vec<[String; 5]> = measured
            .iter()
            .map(|m| {
                let (_, unit, scale) = m.unit();
                let ratio = m.rates[k].median() / m.rates[0].median();
                let (cpu, gpu) = (spread(&m.rates[0], scale), spread(&m.rates[k], scale));
                [m.workload.name().into(), cpu, gpu, unit.into(), number(ratio)]
            })
            .collect();
        say(table(&["workload", "CPU", "GPU", "", "ratio"], &rows));
        say("");
    }
    for &k in &gpus {
        if gpus.len() > 1 {
            say(devices[k].adapter());
        }
        let rows: Vec<[String; 6]> = measured
            .iter()
            .map(|m| {
                let bytes = if m.planned[k] > 0 { thousands(m.planned[k] as f64) } else { "–".into() };
                [
                    m.workload.name().into(),
                    number(m.first[0]),
                    number(m.first[k]),
                    m.dispatches[k].to_string(),
                    m.host[k].map(number).unwrap_or_default(),
                    bytes,
                ]
            })
            .collect();
        let headings = [
            "workload",
            "first run CPU, s",
            "GPU, s",
            "dispatches",
            "host µs/dispatch",
            "intermediate values, bytes",
        ];
        say(table(&headings, &rows));
        say("");
    }
}

pub(super) fn show_sweeps(devices: &[Contestant], swept: &[Swept]) {
    for one in swept {
        let Sweep { title, unit, sizes, .. } = one.sweep;
        say(format!("{title}: µs of a run"));
        let size = |at: usize| thousands(sizes[at] as f64);
        if devices.len() == 1 {
            let rows: Vec<[String; 2]> =
                (0..sizes.len()).map(|at| [size(at), number(one.seconds[0][at] * 1e6)]).collect();
            say(table(&[unit, "CPU"], &rows));
        }
        for (k, on) in devices.iter().enumerate().skip(1) {
            if devices.len() > 2 {
                say(on.adapter());
            }
            let row = |at: usize| {
                let (cpu, gpu) = (one.seconds[0][at], one.seconds[k][at]);
                [size(at), number(cpu * 1e6), number(gpu * 1e6), number(cpu / gpu)]
            };
            let rows: Vec<[String; 4]> = (0..sizes.len()).map(row).collect();
            say(table(&[unit, "CPU", "GPU", "ratio"], &rows));
        }
        say("");
    }
    for (k, on) in devices.iter().enumerate().skip(1) {
        if devices.len() > 2 && !swept.is_empty() {
            say(on.adapter());
        }
        swept.iter().for_each(|one| say(one.verdict(k)));
    }
}

/// A value, and what it is a multiple of the one before by.
fn factors(values: &[f64], at: usize, text: impl Fn(f64) -> String) -> String {
    match at.checked_sub(1) {
        Some(before) => format!("{} (×{:.2})", text(values[at]), values[at] / values[before]),
        None => text(values[at]),
    }
}

/// Training steps that double, each size with its factor to the one before.
pub(super) fn show_growth(devices: &[Contestant], growth: &[Swept], recordings: &[Recordings]) {
    for one in growth {
        let Sweep { title, unit, sizes, .. } = one.sweep;
        say(format!("{title}: the fastest repetition of a step, and its factor to the row above"));
        for k in 0..devices.len() {
            if devices.len() > 2 {
                say(devices[k].adapter());
            }
            // The CPU beside each GPU; alone where there is none.
            if k == 0 && devices.len() > 1 {
                continue;
            }
            let planned: Vec<f64> = one.planned[k].iter().map(|&bytes| bytes as f64).collect();
            let micros = |k: usize| one.seconds[k].iter().map(|s| s * 1e6).collect::<Vec<f64>>();
            let row = |at: usize| {
                let size = thousands(sizes[at] as f64);
                let memory = factors(&planned, at, thousands);
                [size, factors(&micros(0), at, number), factors(&micros(k), at, number), memory]
            };
            let rows = (0..sizes.len()).map(row);
            match k {
                0 => {
                    let rows: Vec<[String; 3]> = rows.map(|[a, b, _, d]| [a, b, d]).collect();
                    say(table(&[unit, "CPU, µs", "intermediate values, bytes"], &rows));
                }
                _ => {
                    let rows: Vec<[String; 4]> = rows.collect();
                    let headings = [unit, "CPU, µs", "GPU, µs", "intermediate values on the GPU, bytes"];
                    say(table(&headings, &rows));
                }
            }
        }
        say("");
    }
    if !recordings.is_empty() {
        say("a training step of many small layers: ms on the host before its first run");
        let ms = |seconds: f64| number(seconds * 1e3);
        for (k, on) in devices.iter().enumerate() {
            let device = if on.is_cpu() { "CPU".into() } else { on.adapter() };
            let row = |of: &Recordings| {
                let one = of[k];
                [thousands(one.nodes as f64), ms(one.record), ms(one.plan), ms(one.compile)]
            };
            let rows: Vec<[String; 4]> = recordings.iter().map(row).collect();
            say(device);
            say(table(&["nodes", "recorded", "planned", "compiled"], &rows));
        }
        say("");
    }
    for one in growth {
        let worst = devices.iter().enumerate().map(|(k, on)| {
            let device = if on.is_cpu() { "CPU".into() } else { on.adapter() };
            format!("×{:.2} on {device}", one.worst_factor(k))
        });
        say(format!("{}: a doubling costs at most {}", one.sweep.op, worst.collect::<Vec<_>>().join(", ")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn swept(cpu: &[f64], gpu: &[f64]) -> Swept {
        let sweep = Sweep { op: "op", title: "op", unit: "n", sizes: &[10, 100, 1000] };
        let seconds = vec![cpu.to_vec(), gpu.to_vec()];
        Swept { sweep, seconds, planned: vec![vec![4, 8, 20]; 2] }
    }

    #[test]
    fn the_gpu_wins_where_it_stays_faster() {
        let cpu = [1.0, 1.0, 1.0];
        for (gpu, from, words) in [
            ([2.0, 0.5, 0.5], Some(100), "from 100 n on"),
            ([0.5, 0.5, 0.5], Some(10), "every size"),
            ([0.5, 2.0, 0.5], Some(1000), "from 1,000 n on"),
            // Faster somewhere, and not at the end, is not a size from which it wins.
            ([0.5, 0.5, 2.0], None, "not faster at the largest size, 1,000 n"),
            ([1.0, 1.0, 1.0], None, "not faster"),
        ] {
            let one = swept(&cpu, &gpu);
            assert_eq!(one.wins_from(1), from, "{gpu:?}");
            assert!(one.verdict(1).contains(words), "{}", one.verdict(1));
        }
    }

    #[test]
    fn the_worst_doubling_is_of_time_or_of_memory() {
        let one = swept(&[1.0, 2.0, 3.0], &[1.0, 3.0, 3.0]);
        assert_eq!((one.worst_factor(0), one.worst_factor(1)), (2.5, 3.0));
        assert_eq!(factors(&[2.0, 5.0], 1, number), "5.00 (×2.50)");
    }

    #[test]
    fn numbers_have_three_digits() {
        assert_eq!(
            [0.1234, 1.234, 12.34, 123.4, 12345.6].map(number),
            ["0.123", "1.23", "12.3", "123", "12,346"]
        );
    }
}
