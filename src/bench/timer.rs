//! Repetitions in turn, and what they say.

use std::time::Instant;

use super::Case;
use crate::error::{Error, Result};
use crate::profile::median;

/// How long is timed, and how often.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Timer {
    /// Seconds of one repetition, as nearly as whole runs allow; a run that takes longer is one repetition.
    pub seconds: f64,
    /// Repetitions.
    pub repeat: usize,
}

/// Runs per second of the repetitions of one case, in ascending order: at least one.
#[derive(Debug, Clone, PartialEq)]
pub struct Rates(Vec<f64>);

impl Rates {
    /// The slowest.
    pub fn min(&self) -> f64 {
        self.0.first().copied().unwrap_or(f64::NAN)
    }

    /// The middle one; of an even number, the mean of the middle two.
    pub fn median(&self) -> f64 {
        median(self.0.iter().copied())
    }

    /// The fastest.
    pub fn max(&self) -> f64 {
        self.0.last().copied().unwrap_or(f64::NAN)
    }
}

/// Seconds of `runs` runs from the case's first state, which end with the device idle.
fn window(case: &mut Case, runs: u64) -> Result<f64> {
    case.reset()?;
    // It also takes along what the reset wrote.
    case.step().run()?;
    case.device().wait()?;
    let start = Instant::now();
    // As training on resident data does.
    case.step().run_many(runs as usize)?;
    case.device().wait()?;
    Ok(start.elapsed().as_secs_f64())
}

impl Timer {
    /// The rates of each case. The cases take turns, one repetition each, so that whatever else the machine
    /// does meets all of them; every repetition starts from the same state and does the same work.
    ///
    /// # Errors
    /// [`Error::Invalid`] for no repetitions or a time that is no positive number; a failure of a device.
    pub fn rates(&self, cases: &mut [&mut Case]) -> Result<Vec<Rates>> {
        if self.repeat == 0 {
            return Err(Error::Invalid("0 repetitions time nothing; give 1 or more".into()));
        }
        if !(self.seconds.is_finite() && self.seconds > 0.0) {
            return Err(Error::Invalid(format!("{} seconds are no time to measure for", self.seconds)));
        }
        let runs = cases.iter_mut().map(|case| self.calibrate(case)).collect::<Result<Vec<u64>>>()?;
        let mut rates = vec![Vec::with_capacity(self.repeat); cases.len()];
        for _ in 0..self.repeat {
            for ((case, &runs), rates) in cases.iter_mut().zip(&runs).zip(&mut rates) {
                // A clock that stood still must not make a rate infinite.
                rates.push(runs as f64 / window(case, runs)?.max(1e-9));
            }
        }
        rates.iter_mut().for_each(|r| r.sort_by(f64::total_cmp));
        Ok(rates.into_iter().map(Rates).collect())
    }

    /// The number of runs that fill a repetition.
    fn calibrate(&self, case: &mut Case) -> Result<u64> {
        // Where kernels are compiled.
        window(case, 1)?;
        let mut runs = 1u64;
        loop {
            // Whatever else the machine does makes a time longer, never shorter.
            let mut seconds = window(case, runs)?.max(1e-9);
            if seconds >= self.seconds / 2.0 {
                seconds = seconds.min(window(case, runs)?.max(1e-9));
            }
            if seconds >= self.seconds / 2.0 {
                return Ok(((runs as f64 * self.seconds / seconds).round() as u64).max(1));
            }
            // Towards two thirds of the time; at most tenfold at once.
            let factor = (self.seconds / seconds / 1.5).clamp(2.0, 10.0);
            runs = (runs as f64 * factor).ceil() as u64;
        }
    }
}

/// What the host spends on one run, in seconds: recording and submitting it, with the device idle before.
/// Median of 31. On the CPU device that is the run itself.
///
/// # Errors
/// A failure of the device.
pub fn host_seconds(case: &mut Case) -> Result<f64> {
    let mut times = Vec::new();
    for _ in 0..31 {
        case.device().wait()?;
        let start = Instant::now();
        case.step().run()?;
        times.push(start.elapsed().as_secs_f64());
    }
    case.device().wait()?;
    Ok(median(times))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Device;
    use crate::bench::Workload;

    #[test]
    fn medians() {
        let rates = |list: &[f64]| Rates(list.to_vec());
        assert_eq!(rates(&[1.0, 2.0, 9.0]).median(), 2.0);
        assert_eq!(rates(&[1.0, 2.0, 4.0, 9.0]).median(), 3.0);
        assert_eq!((rates(&[1.0, 9.0]).min(), rates(&[1.0, 9.0]).max()), (1.0, 9.0));
    }

    #[test]
    fn rates_are_of_the_time_asked_for() {
        let workload = &Workload::named("matmul-48").unwrap()[0];
        let mut case = workload.compile(&Device::cpu()).unwrap();
        let start = Instant::now();
        let rates = Timer { seconds: 0.02, repeat: 5 }.rates(&mut [&mut case]).unwrap();
        assert!(start.elapsed().as_secs_f64() > 0.02, "five repetitions in {:?}", start.elapsed());
        assert!(rates[0].min() > 0.0 && rates[0].min() <= rates[0].median());
        assert!(rates[0].median() <= rates[0].max());
        for (seconds, repeat) in [(0.1, 0), (0.0, 1), (f64::NAN, 1), (-1.0, 1)] {
            assert!(Timer { seconds, repeat }.rates(&mut [&mut case]).is_err());
        }
    }

    /// Training would otherwise change what is timed: a fixed batch is learnt by heart.
    #[test]
    fn every_repetition_starts_from_the_same_state() {
        let workload = &Workload::named("cnn-8").unwrap()[0];
        let mut case = workload.compile(&Device::cpu()).unwrap();
        window(&mut case, 0).unwrap();
        let first = case.step().scalar("loss").unwrap();
        window(&mut case, 3).unwrap();
        assert!(case.step().scalar("loss").unwrap() < first);
        window(&mut case, 0).unwrap();
        assert_eq!(case.step().scalar("loss").unwrap(), first);
    }
}
