//! What a device can do, which times are held against.

use std::fmt;

use super::table::three;

/// What a device reaches at its best, with wgrad's own kernels: a data sheet may promise more.
#[derive(Debug, Clone, PartialEq)]
pub struct Peaks {
    /// Floating-point operations a second.
    pub flops: f64,
    /// By what they were reached.
    pub flops_by: String,
    /// (bytes that were in use, bytes a second, by what), by ascending size.
    pub bandwidths: Vec<(u64, f64, String)>,
    /// Seconds of one more launch in a run: of a kernel that has nothing to do and waits for the one before.
    pub launch: f64,
    /// Seconds of a run of one such launch, submitted after many others.
    pub run: f64,
}

impl Peaks {
    /// The least seconds that so many operations and bytes take: the operations at the peak, or the bytes at the
    /// bandwidth of data that is no larger, whichever is longer.
    pub fn lower_bound(&self, flops: u64, bytes: u64) -> f64 {
        let bandwidth = self.bandwidths.get(self.bandwidth(bytes)).map_or(f64::INFINITY, |b| b.1);
        (flops as f64 / self.flops).max(bytes as f64 / bandwidth)
    }

    /// Which bandwidth counts where `bytes` are in use: the most of those with at least as many, so that what fits
    /// in a cache is held against the cache; of more than all have, that of the largest.
    pub(crate) fn bandwidth(&self, bytes: u64) -> usize {
        let larger = self.bandwidths.iter().enumerate().filter(|(_, (size, ..))| *size >= bytes);
        let best = larger.max_by(|a, b| a.1.1.total_cmp(&b.1.1));
        best.map_or(self.bandwidths.len().saturating_sub(1), |(at, _)| at)
    }
}

impl fmt::Display for Peaks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Peak {} GFLOP/s, by {}. Bandwidth in GB/s, by what is in use: ",
            three(self.flops * 1e-9),
            self.flops_by
        )?;
        for (i, (bytes, rate, by)) in self.bandwidths.iter().enumerate() {
            let comma = if i > 0 { ", " } else { "" };
            write!(f, "{comma}{} ({} kB, {by})", three(rate * 1e-9), three(*bytes as f64 * 1e-3))?;
        }
        let [launch, run] = [self.launch, self.run].map(|seconds| three(seconds * 1e6));
        write!(f, ". One more launch {launch} µs, a run of one launch {run} µs.")
    }
}

#[cfg(test)]
impl Peaks {
    /// Made up.
    pub(crate) fn of(flops: f64, bandwidths: &[(u64, f64)]) -> Peaks {
        let bandwidths = bandwidths.iter().map(|&(bytes, rate)| (bytes, rate, "copy".into())).collect();
        Peaks { flops, flops_by: "matmul-512".into(), bandwidths, launch: 0.0, run: 0.0 }
    }
}
