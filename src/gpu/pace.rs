//! How many steps go into one submission.

/// Launches of one submission, where a step has fewer.
const MOST_LAUNCHES: usize = 1000;

/// Seconds that a submission of several steps takes: a display that shares the device waits as long.
const MOST_SECONDS: f64 = 0.02;

/// How long a step takes, which says how many go into one submission.
#[derive(Debug, Default)]
pub(super) struct Pace {
    pub(super) samples: usize,
    /// Of the fastest of the samples.
    seconds: f64,
}

impl Pace {
    /// Steps that are timed, each alone, before several are put together.
    pub(super) const SAMPLES: usize = 3;

    pub(super) fn sample(&mut self, seconds: f64) {
        self.seconds = if self.samples == 0 { seconds } else { self.seconds.min(seconds) };
        self.samples += 1;
    }

    pub(super) fn together(&self, launches: usize) -> usize {
        if self.samples < Pace::SAMPLES {
            return 1;
        }
        let by_time = (MOST_SECONDS / self.seconds.max(1e-9)) as usize;
        by_time.min(MOST_LAUNCHES / launches.max(1)).max(1)
    }
}
