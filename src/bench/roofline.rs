//! How fast a step could be on a device, from what the device reaches at its best.
//!
//! Williams, Waterman and Patterson, "Roofline", CACM 52(4), 2009: no kernel is faster than its operations at the
//! measured peak, or its bytes at the measured bandwidth.

use super::models::{op, uniform};
use super::peak::MultiplyAdd;
use super::{Case, Timer, Workload};
use crate::device::Device;
use crate::error::{Error, Result};
use crate::graph::Graph;
use crate::profile::Peaks;

/// Elements of the copies, sums of two and totals whose bandwidth is measured.
const SIZES: [usize; 5] = [1 << 16, 1 << 18, 1 << 20, 1 << 22, 1 << 24];

/// What one GPU kernel's multiply-adds run on: enough invocations for the largest GPUs.
const LANES: usize = 1 << 20;

/// Launches of the chain after its first.
const LINKS: usize = 64;

/// Seconds of a run that launches do not blur.
const LONG: f64 = 5e-3;

/// What a device reaches at its best, and the cases that reach it: workloads are timed in turns with them.
#[derive(Debug)]
pub struct Roofline {
    peaks: Peaks,
    timer: Timer,
    flops_case: Case,
    /// One for each of the bandwidths.
    bytes_cases: Vec<Case>,
    chain: Case,
}

/// A run, and times that it cannot fall below, in seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LowerBounds {
    /// What it took.
    pub run: f64,
    /// Its floating-point operations at the peak.
    pub flops: f64,
    /// The bytes of [`crate::Traffic::planned`] at the bandwidth.
    pub planned: f64,
    /// Those of [`crate::Traffic::once`].
    pub once: f64,
    /// Those of [`crate::Traffic::least`].
    pub least: f64,
    /// Its launches, as if none had anything to do.
    pub launches: f64,
}

impl Peaks {
    /// Measures a device as [`Roofline::measure`] does.
    ///
    /// # Errors
    /// As of [`Roofline::measure`].
    pub fn measure(device: &Device, timer: &Timer) -> Result<Peaks> {
        Ok(Roofline::measure(device, timer)?.peaks)
    }
}

impl Roofline {
    /// Measures a device: the fastest of multiply-adds in registers (GPUs), matrix products and convolutions; the
    /// fastest of copies, sums of two and totals for each size; and a chain of kernels without work. Vectors of
    /// up to 64 MiB each take half a GiB at most.
    ///
    /// # Errors
    /// A failure of the device; [`crate::Error::Invalid`] as of [`Timer::rates`].
    pub fn measure(device: &Device, timer: &Timer) -> Result<Roofline> {
        let mut candidates = Vec::new();
        if device.info().kind != "Reference" {
            for sums in [2, 3, 4, 6] {
                candidates.push(("multiply-adds in registers".to_string(), long_enough(device, sums)?));
            }
        }
        for name in ["matmul-512", "matmul-1024", "conv64"] {
            for workload in Workload::named(name)? {
                candidates.push((workload.name().to_string(), workload.compile(device)?));
            }
        }
        let (flops_by, flops_case, flops) = fastest(candidates, timer, Case::flops)?;
        let (mut bandwidths, mut bytes_cases) = (Vec::new(), Vec::new());
        for n in SIZES {
            let mut candidates = Vec::new();
            for kind in ["copy", "add", "sum"] {
                let name = format!("{kind}-{n}");
                let case = Workload::named(&name)?.remove(0).compile(device)?;
                candidates.push((name, case));
            }
            let (name, case, rate) = fastest(candidates, timer, |case| case.traffic().least)?;
            bandwidths.push((case.traffic().least, rate, name));
            bytes_cases.push(case);
        }
        let (mut one, mut chain) = (chain(device, 1)?, chain(device, 1 + LINKS)?);
        let rates = timer.rates(&mut [&mut one, &mut chain])?;
        let (run, many) = (1.0 / rates[0].median(), 1.0 / rates[1].median());
        let launch = (many - run).max(0.0) / LINKS as f64;
        let peaks = Peaks { flops, flops_by, bandwidths, launch, run };
        Ok(Roofline { peaks, timer: *timer, flops_case, bytes_cases, chain })
    }

    /// What was measured.
    pub fn peaks(&self) -> &Peaks {
        &self.peaks
    }

    /// Times `case`, in turns with what reached the peaks, so that what else the machine does meets all of them.
    ///
    /// # Errors
    /// A failure of the device.
    pub fn lower_bounds(&mut self, case: &mut Case) -> Result<LowerBounds> {
        let traffic = case.traffic();
        let at = self.peaks.bandwidth(traffic.least + case.step().planned_bytes() as u64);
        let (flops, dispatches) = (case.flops(), case.step().dispatches());
        let bytes = &mut self.bytes_cases[at];
        let cases = &mut [case, &mut self.flops_case, bytes, &mut self.chain];
        let rates = self.timer.rates(cases)?;
        let [run, peak, memory, chain] = [0, 1, 2, 3].map(|k| 1.0 / rates[k].median());
        let second = |bytes: u64| bytes as f64 * memory / self.peaks.bandwidths[at].0 as f64;
        Ok(LowerBounds {
            run,
            flops: flops as f64 * peak / self.flops_case.flops() as f64,
            planned: second(traffic.planned),
            once: second(traffic.once),
            least: second(traffic.least),
            launches: chain * dispatches as f64 / (1 + LINKS) as f64,
        })
    }
}

/// The case that does the most work a second, with its name and that rate.
fn fastest(
    mut candidates: Vec<(String, Case)>,
    timer: &Timer,
    work: impl Fn(&Case) -> u64,
) -> Result<(String, Case, f64)> {
    let rates = timer.rates(&mut candidates.iter_mut().map(|c| &mut c.1).collect::<Vec<_>>())?;
    let speeds = rates.iter().zip(&candidates).map(|(rate, (_, case))| rate.max() * work(case) as f64);
    let best = speeds.enumerate().max_by(|a, b| a.1.total_cmp(&b.1));
    let Some((at, speed)) = best else { return Err(Error::Invalid("nothing was timed".into())) };
    let (name, case) = candidates.swap_remove(at);
    Ok((name, case, speed))
}

/// Multiply-adds that take long enough, or as many as there may be.
fn long_enough(device: &Device, sums: usize) -> Result<Case> {
    let mut rounds = 4;
    loop {
        let mut case = op(device, &[&[LANES]], |x| x[0].graph().custom(MultiplyAdd { sums, rounds }, x)[0])?;
        case.step().run()?;
        device.wait()?;
        let start = std::time::Instant::now();
        case.step().run()?;
        device.wait()?;
        if start.elapsed().as_secs_f64() >= LONG || rounds >= 1 << 14 {
            return Ok(case);
        }
        rounds *= 4;
    }
}

/// Kernels one after the other that do next to nothing, and that no pass over the graph takes together.
fn chain(device: &Device, links: usize) -> Result<Case> {
    let g = Graph::inference();
    let mut x = g.input("x", [4]);
    for _ in 0..links {
        x = g.custom(MultiplyAdd { sums: 1, rounds: 0 }, &[x])[0];
    }
    g.output("y", x);
    let mut step = device.compile(&g)?;
    step.feed("x", &uniform(4))?;
    Ok(Case::new(device, step, Vec::new()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits_in_a_cache_is_held_against_the_cache() {
        let peaks = Peaks::of(100.0, &[(1000, 30.0), (10_000, 50.0), (100_000, 20.0)]);
        for (bytes, at) in [(1, 1), (1000, 1), (10_000, 1), (10_001, 2), (1_000_000, 2)] {
            assert_eq!(peaks.bandwidth(bytes), at, "{bytes}");
        }
        assert_eq!(peaks.lower_bound(200, 20_000), 1000.0);
        assert_eq!(peaks.lower_bound(200, 1000), 20.0);
        assert_eq!([peaks.lower_bound(3000, 1000), peaks.lower_bound(0, 0)], [30.0, 0.0]);
    }

    #[test]
    fn floors_are_work_over_speed() {
        let timer = Timer { seconds: 1e-3, repeat: 3 };
        let mut roofline = Roofline::measure(&Device::cpu(), &timer).unwrap();
        let peaks = roofline.peaks().clone();
        assert!(peaks.flops > 1e8 && !peaks.flops_by.is_empty(), "{peaks:?}");
        assert_eq!(peaks.bandwidths.len(), SIZES.len());
        assert!(peaks.bandwidths.iter().all(|b| b.1 > 1e7) && peaks.run > 0.0, "{peaks:?}");

        let named = |name| Workload::named(name).unwrap()[0].compile(&Device::cpu()).unwrap();
        // The plan of one product is its three matrices, each of 64² floats.
        let lower_bounds = roofline.lower_bounds(&mut named("matmul-64")).unwrap();
        assert_eq!((lower_bounds.planned, lower_bounds.once), (lower_bounds.least, lower_bounds.least));
        // 2 n³ operations and 12 n² bytes, at the speeds of one round.
        let rates = (2.0 * 64f64.powi(3) / lower_bounds.flops, 12.0 * 64f64.powi(2) / lower_bounds.least);
        assert!(rates.0 > 0.1 * peaks.flops && rates.0 < 10.0 * peaks.flops, "{rates:?} {peaks:?}");
        assert!(
            rates.1 > 1e7 && lower_bounds.run > 0.0 && lower_bounds.launches > 0.0,
            "{rates:?} {lower_bounds:?}"
        );
        // A step moves more as it is planned than it must.
        let lower_bounds = roofline.lower_bounds(&mut named("mlp-a")).unwrap();
        assert!(
            lower_bounds.planned > lower_bounds.once && lower_bounds.once > lower_bounds.least,
            "{lower_bounds:?}"
        );
    }
}
