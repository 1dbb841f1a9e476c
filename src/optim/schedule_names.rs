//! Schedules by name.

use std::str::FromStr;

use super::{Plateau, Schedule};
use crate::error::{Error, Result};
use crate::names::{refuse_more, unknown, with_numbers};

const PLATEAU: &str = "plateau";

impl Schedule {
    /// Names that a schedule is parsed from, with what the numbers after an equals sign are; what is not given is usual.
    pub const NAMES: [(&'static str, &'static str); 12] = [
        ("constant", ""),
        ("cosine", ""),
        ("step", "EVERY,FACTOR"),
        ("multi-step", "FACTOR,EPOCH,.."),
        ("exponential", "FACTOR"),
        ("inverse-time", "RATE"),
        ("polynomial", "POWER,END"),
        ("linear", "END"),
        ("cosine-restarts", "FIRST,TIMES,LOWEST"),
        ("one-cycle", "RISE,START,END"),
        ("cyclic", "UP,DOWN,LOWEST,SHRINK"),
        (PLATEAU, "PATIENCE,FACTOR"),
    ];
}

/// The most epochs of `multi-step`.
const MOST_STEPS: usize = 64;

/// A name with numbers that it takes: none below 0, and no more than there can be.
fn named(text: &str) -> Result<(&str, &'static str, Vec<f32>)> {
    let (name, given) = with_numbers("schedule", text)?;
    let Some((_, takes)) = Schedule::NAMES.into_iter().find(|(known, _)| *known == name) else {
        return Err(unknown("schedule", name, &Schedule::NAMES.map(|(name, _)| name)));
    };
    let most = match takes {
        "" => 0,
        takes if takes.ends_with("..") => 1 + MOST_STEPS,
        takes => takes.split(',').count(),
    };
    refuse_more("schedule", name, most, &given)?;
    match given.iter().all(|number| *number >= 0.0) {
        true => Ok((name, takes, given)),
        false => Err(nonsense(name, takes, text)),
    }
}

fn nonsense(name: &str, takes: &str, text: &str) -> Error {
    Error::Invalid(format!(
        "schedule `{name}={takes}` takes factors of 0 or more and whole epochs, got `{}`",
        text.trim()
    ))
}

/// A whole number of epochs, at least `least`.
fn epochs(number: f32, least: u32) -> Option<usize> {
    (number.fract() == 0.0 && number >= least as f32 && number <= 1e6).then_some(number as usize)
}

/// From a name and numbers as in [`Schedule::NAMES`], but for `plateau`, which is parsed as a [`Plateau`].
///
/// ```
/// use wgrad::optim::Schedule;
/// assert_eq!("step=4,0.5".parse::<Schedule>()?, Schedule::Step { every: 4, factor: 0.5 });
/// assert!("cosin".parse::<Schedule>().unwrap_err().to_string().contains("did you mean `cosine`?"));
/// # Ok::<(), wgrad::Error>(())
/// ```
impl FromStr for Schedule {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (name, takes, given) = named(text)?;
        let or = |i: usize, usual: f32| given.get(i).copied().unwrap_or(usual);
        let found = || {
            Some(match name {
                "constant" => Schedule::Constant,
                "cosine" => Schedule::Cosine,
                "step" => Schedule::Step { every: epochs(or(0, 10.0), 1)?, factor: or(1, 0.1) },
                "multi-step" => {
                    let (factor, at) = given.split_first()?;
                    let at = at.iter().map(|&n| epochs(n, 0)).collect::<Option<Vec<_>>>()?;
                    (!at.is_empty()).then_some(Schedule::MultiStep { at, factor: *factor })?
                }
                "exponential" => Schedule::Exponential { factor: or(0, 0.95) },
                "inverse-time" => Schedule::InverseTime { rate: or(0, 0.1) },
                "polynomial" => Schedule::Polynomial { power: or(0, 2.0), end: or(1, 0.0) },
                "linear" => Schedule::Polynomial { power: 1.0, end: or(0, 0.0) },
                "cosine-restarts" => Schedule::CosineRestarts {
                    first: epochs(or(0, 10.0), 1)?,
                    times: epochs(or(1, 2.0), 1)?,
                    lowest: or(2, 0.0),
                },
                "one-cycle" => Schedule::OneCycle { rise: or(0, 0.3), start: or(1, 0.04), end: or(2, 4e-6) },
                "cyclic" => Schedule::Cyclic {
                    up: epochs(or(0, 5.0), 1)?,
                    down: epochs(or(1, or(0, 5.0)), 1)?,
                    lowest: or(2, 0.1),
                    shrink: or(3, 1.0),
                },
                _ => return None,
            })
        };
        if name == PLATEAU {
            return Err(Error::Invalid(
                "a plateau goes by what the epochs come to, and is no schedule: give it to `Trainer::plateau`".into(),
            ));
        }
        found().ok_or_else(|| nonsense(name, takes, text))
    }
}

/// From `plateau`, `plateau=PATIENCE` or `plateau=PATIENCE,FACTOR`.
impl FromStr for Plateau {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let usual = Plateau::default();
        let (name, takes, given) = named(text)?;
        let patience = match given.first() {
            Some(&patience) => epochs(patience, 0),
            None => Some(usual.patience),
        };
        match patience.filter(|_| name == PLATEAU) {
            Some(patience) => {
                Ok(Plateau { patience, factor: given.get(1).copied().unwrap_or(usual.factor), ..usual })
            }
            None => Err(nonsense(PLATEAU, takes, text)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_usual_numbers() {
        for (name, _) in Schedule::NAMES {
            if let Ok(schedule) = name.parse::<Schedule>() {
                assert!((0.0..=1.0).contains(&schedule.factor(3, 10)), "{name}");
            } else {
                assert!(["multi-step", PLATEAU].contains(&name), "{name}");
            }
        }
        let read = |text: &str| text.parse::<Schedule>().unwrap();
        assert_eq!(read("step=4,0.5"), Schedule::Step { every: 4, factor: 0.5 });
        assert_eq!(read("multi-step=0.1,3,6"), Schedule::MultiStep { at: vec![3, 6], factor: 0.1 });
        assert_eq!(read("linear"), Schedule::Polynomial { power: 1.0, end: 0.0 });
        for (name, given) in [
            ("step", "step=10,0.1"),
            ("exponential", "exponential=0.95"),
            ("inverse-time", "inverse-time=0.1"),
            ("polynomial", "polynomial=2,0"),
            ("linear", "linear=0"),
            ("cosine-restarts", "cosine-restarts=10,2,0"),
            ("one-cycle", "one-cycle=0.3,0.04,4e-6"),
            ("cyclic", "cyclic=5,5,0.1,1"),
        ] {
            assert_eq!(read(name), read(given));
        }
        assert_eq!(read("cyclic=3"), Schedule::Cyclic { up: 3, down: 3, lowest: 0.1, shrink: 1.0 });
        let plateau = "plateau=3,0.5".parse::<Plateau>().unwrap();
        assert_eq!(plateau, Plateau { patience: 3, factor: 0.5, ..Plateau::default() });
        assert_eq!("plateau".parse::<Plateau>().unwrap(), Plateau::default());
    }

    #[test]
    fn what_means_nothing_is_refused() {
        for (text, message) in [
            ("cosin", "there is no schedule `cosin`, did you mean `cosine`?"),
            ("cosine=1", "`cosine` takes 0 numbers"),
            ("step=0", "takes factors of 0 or more and whole epochs, got `step=0`"),
            ("step=2.5", "whole epochs"),
            ("exponential=-1", "factors of 0 or more"),
            ("exponential=x", "`x` is no number"),
            ("exponential=inf", "is not finite"),
            ("multi-step", "takes factors"),
            ("multi-step=0.5", "takes factors"),
            ("plateau=3", "give it to `Trainer::plateau`"),
        ] {
            let error = text.parse::<Schedule>().unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
        }
        assert!("plateau=0.5".parse::<Plateau>().unwrap_err().to_string().contains("whole epochs"));
        assert!("cosine".parse::<Plateau>().is_err());
    }
}
