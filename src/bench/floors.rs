//! How fast a step could be on a device, from what the device reaches at its best.
//!
//! Williams, Waterman and Patterson, "Roofline", CACM 52(4), 2009: no kernel is faster than its operations at the
//! measured peak, or its bytes at the measured bandwidth.

use super::models::{op, uniform};
use super::peak::MultiplyAdd;
use super::{Case, Timer, Workload};
use crate::device::Device;
use crate::error::Result;
use crate::graph::Graph;

/// Elements of the copies, sums of two and totals whose bandwidth is measured.
const SIZES: [usize; 5] = [1 << 16, 1 << 18, 1 << 20, 1 << 22, 1 << 24];

/// What one GPU kernel's multiply-adds run on: enough invocations for the largest GPUs.
const LANES: usize = 1 << 20;

/// Seconds of a run that launches do not blur.
const LONG: f64 = 5e-3;

/// What a device reaches at its best.
#[derive(Debug, Clone, PartialEq)]
pub struct Peaks {
    /// Floating-point operations a second.
    pub flops: f64,
    /// By what they were reached.
    pub flops_by: String,
    /// (bytes that were in use, the most bytes a second), by ascending size.
    pub bandwidths: Vec<(u64, f64)>,
    /// Seconds of one more launch in a run: of a kernel that has nothing to do and waits for the one before.
    pub launch: f64,
    /// Seconds of a run of one such launch, submitted after many others.
    pub run: f64,
}

/// Times that a run cannot fall below, in seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Floors {
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
    /// Measures a device: the fastest of multiply-adds in registers (GPUs), matrix products and convolutions; the
    /// fastest of copies, sums of two and totals for each size; and chains of kernels without work.
    ///
    /// # Errors
    /// A failure of the device; [`crate::Error::Invalid`] as of [`Timer::rates`].
    pub fn measure(device: &Device, timer: &Timer) -> Result<Peaks> {
        let best = |case: &mut Case| Ok(timer.rates(&mut [case])?[0].max());
        let (mut flops, mut flops_by) = (0.0, String::new());
        let mut offer = |rate: f64, by: &str| {
            if rate > flops {
                (flops, flops_by) = (rate, by.to_string());
            }
        };
        if device.info().kind != "Reference" {
            for sums in [2, 3, 4, 8] {
                let mut case = long_enough(device, sums)?;
                offer(best(&mut case)? * case.flops() as f64, "multiply-adds in registers");
            }
        }
        for name in ["matmul-512", "matmul-1024", "conv64"] {
            for workload in Workload::named(name)? {
                let mut case = workload.compile(device)?;
                offer(best(&mut case)? * case.flops() as f64, workload.name());
            }
        }
        let mut bandwidths = Vec::new();
        for n in SIZES {
            let mut most = (0, 0.0f64);
            for kind in ["copy", "add", "sum"] {
                let mut case = Workload::named(&format!("{kind}-{n}"))?.remove(0).compile(device)?;
                let bytes = case.traffic().least;
                let rate = best(&mut case)? * bytes as f64;
                most = (most.0.max(bytes), most.1.max(rate));
            }
            bandwidths.push(most);
        }
        const LINKS: usize = 64;
        let seconds = |links: usize| Ok::<f64, crate::Error>(1.0 / best(&mut chain(device, links)?)?);
        let (run, many) = (seconds(1)?, seconds(1 + LINKS)?);
        Ok(Peaks { flops, flops_by, bandwidths, launch: (many - run).max(0.0) / LINKS as f64, run })
    }

    /// Bytes a second where `bytes` are in use: the most of what was measured with at least as many, so that
    /// what fits in a cache is held against the cache.
    pub fn bandwidth(&self, bytes: u64) -> f64 {
        let larger = || self.bandwidths.iter().filter(|(size, _)| *size >= bytes).map(|b| b.1);
        match larger().next() {
            Some(_) => larger().fold(0.0, f64::max),
            None => self.bandwidths.last().map_or(f64::NAN, |b| b.1),
        }
    }

    /// What a run of `case` cannot fall below on the device that was measured.
    pub fn floors(&self, case: &mut Case) -> Floors {
        let traffic = case.traffic();
        let in_use = traffic.least + case.step().planned_bytes() as u64;
        let seconds = |bytes: u64| bytes as f64 / self.bandwidth(in_use);
        Floors {
            flops: case.flops() as f64 / self.flops,
            planned: seconds(traffic.planned),
            once: seconds(traffic.once),
            least: seconds(traffic.least),
            launches: self.launch * case.step().dispatches() as f64,
        }
    }
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

    fn peaks() -> Peaks {
        Peaks {
            flops: 1e9,
            flops_by: "a test".into(),
            bandwidths: vec![(1000, 3e9), (10_000, 5e9), (100_000, 2e9)],
            launch: 1e-6,
            run: 1e-5,
        }
    }

    #[test]
    fn what_fits_in_a_cache_is_held_against_the_cache() {
        let peaks = peaks();
        for (bytes, rate) in [(1, 5e9), (1000, 5e9), (10_000, 5e9), (10_001, 2e9), (1_000_000, 2e9)] {
            assert_eq!(peaks.bandwidth(bytes), rate, "{bytes}");
        }
    }

    #[test]
    fn floors_are_work_over_speed() {
        let mut case = Workload::named("matmul-64").unwrap()[0].compile(&Device::cpu()).unwrap();
        let floors = peaks().floors(&mut case);
        approx::assert_relative_eq!(floors.flops, 2.0 * 64f64.powi(3) / 1e9);
        // 3 matrices of 16 KiB, with the result's slot 64 KiB in use.
        approx::assert_relative_eq!(floors.least, 3.0 * 64.0 * 64.0 * 4.0 / 2e9);
        assert_eq!((floors.planned, floors.once, floors.launches), (floors.least, floors.least, 1e-6));
    }

    #[test]
    fn the_cpu_has_peaks() {
        let timer = Timer { seconds: 1e-4, repeat: 1 };
        let peaks = Peaks::measure(&Device::cpu(), &timer).unwrap();
        assert!(peaks.flops > 1e8 && !peaks.flops_by.is_empty(), "{peaks:?}");
        assert_eq!(peaks.bandwidths.len(), SIZES.len());
        assert!(peaks.bandwidths.iter().all(|b| b.1 > 1e7) && peaks.run > 0.0, "{peaks:?}");
    }
}
