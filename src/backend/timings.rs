//! What an executor measured of a run.

use super::DeviceInfo;
use crate::op::Arg;

/// What a profile's times are taken by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Clock {
    /// The device's timestamps between the launches of one pass. A launch's time reaches from the end of the
    /// one before it to its own end, so that it holds its latency; launches that overlap share theirs.
    Launches,
    /// The device's timestamps at the start and the end of passes of one launch each.
    Passes,
    /// The host's clock. On a GPU each launch is submitted and waited for alone, and the time of a submission
    /// of nothing is taken off; on the CPU it is the time around each op.
    Host,
}

impl Clock {
    /// In words, for a table's heading.
    pub fn describe(self) -> &'static str {
        match self {
            Clock::Launches => "timestamps of the device between launches",
            Clock::Passes => "timestamps of the device around passes of one launch",
            Clock::Host => "the host's clock around one launch at a time",
        }
    }
}

/// Launches of a step as an executor has them.
#[derive(Debug)]
pub(crate) struct RawLaunch {
    /// Of the plan.
    pub(crate) task: usize,
    pub(crate) kernel: String,
    pub(crate) workgroups: [u32; 3],
    /// What it binds, with the bytes of it.
    pub(crate) args: Vec<(Arg, usize)>,
}

/// What an executor measured.
#[derive(Debug)]
pub(crate) struct Timings {
    pub(crate) device: DeviceInfo,
    pub(crate) clock: Clock,
    pub(crate) launches: Vec<RawLaunch>,
    /// Of each run, of each launch: start and length, in seconds.
    pub(crate) runs: Vec<Vec<[f64; 2]>>,
    pub(crate) alone: Vec<f64>,
    pub(crate) in_turn: Vec<f64>,
}

/// The middle one; of an even number, the mean of the middle two; of none, 0.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => 0.0,
        n => 0.5 * (values[(n - 1) / 2] + values[n / 2]),
    }
}
