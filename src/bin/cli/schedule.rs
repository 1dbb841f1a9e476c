//! `--schedule` and `--warmup`.

use std::fmt;
use std::str::FromStr;

use wgrad::optim::{Plateau, Schedule};

/// Names, what their numbers are, how many of them there must be, and how many there can be.
const ALL: [(&str, &str, usize, usize); 12] = [
    ("constant", "", 0, 0),
    ("cosine", "", 0, 0),
    ("step", "EVERY,FACTOR", 0, 2),
    ("multi-step", "FACTOR,EPOCH,..", 2, 64),
    ("exponential", "FACTOR", 0, 1),
    ("inverse-time", "RATE", 0, 1),
    ("polynomial", "POWER,END", 0, 2),
    ("linear", "END", 0, 1),
    ("cosine-restarts", "FIRST,TIMES,LOWEST", 0, 3),
    ("one-cycle", "RISE,START,END", 0, 3),
    ("cyclic", "UP,DOWN,LOWEST,SHRINK", 0, 4),
    ("plateau", "PATIENCE,FACTOR", 0, 2),
];

/// What becomes of the learning rate, by name.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ScheduleName {
    name: &'static str,
    numbers: Vec<f32>,
}

/// A whole number of epochs, at least `least`.
fn epochs(number: f32, least: u32) -> Option<usize> {
    (number.fract() == 0.0 && number >= least as f32 && number <= 1e6).then_some(number as usize)
}

impl ScheduleName {
    pub(super) fn cosine() -> Self {
        ScheduleName { name: "cosine", numbers: Vec::new() }
    }

    pub(super) fn step() -> Self {
        ScheduleName { name: "step", numbers: Vec::new() }
    }

    pub(super) fn is_cosine(&self) -> bool {
        self.name == "cosine"
    }

    /// Whether --step-every and --step-factor say its numbers.
    pub(super) fn is_step(&self) -> bool {
        self.name == "step" && self.numbers.is_empty()
    }

    /// Number `i`, or what is usual.
    fn or(&self, i: usize, usual: f32) -> f32 {
        self.numbers.get(i).copied().unwrap_or(usual)
    }

    /// The schedule; a plateau's factors come from elsewhere. `None` for numbers that mean nothing.
    pub(super) fn schedule(&self) -> Option<Schedule> {
        let is_factor = |factor: &f32| factor.is_finite() && *factor >= 0.0;
        if !self.numbers.iter().all(is_factor) {
            return None;
        }
        Some(match self.name {
            "cosine" => Schedule::Cosine,
            "step" => Schedule::Step { every: epochs(self.or(0, 10.0), 1)?, factor: self.or(1, 0.1) },
            "multi-step" => {
                let at = self.numbers[1..].iter().map(|&n| epochs(n, 0)).collect::<Option<_>>()?;
                Schedule::MultiStep { at, factor: self.numbers[0] }
            }
            "exponential" => Schedule::Exponential { factor: self.or(0, 0.95) },
            "inverse-time" => Schedule::InverseTime { rate: self.or(0, 0.1) },
            "polynomial" => Schedule::Polynomial { power: self.or(0, 2.0), end: self.or(1, 0.0) },
            "linear" => Schedule::Polynomial { power: 1.0, end: self.or(0, 0.0) },
            "cosine-restarts" => Schedule::CosineRestarts {
                first: epochs(self.or(0, 10.0), 1)?,
                times: epochs(self.or(1, 2.0), 1)?,
                lowest: self.or(2, 0.0),
            },
            "one-cycle" => {
                Schedule::OneCycle { rise: self.or(0, 0.3), start: self.or(1, 0.04), end: self.or(2, 4e-6) }
            }
            "cyclic" => Schedule::Cyclic {
                up: epochs(self.or(0, 5.0), 1)?,
                down: epochs(self.or(1, self.or(0, 5.0)), 1)?,
                lowest: self.or(2, 0.1),
                shrink: self.or(3, 1.0),
            },
            _ => Schedule::Constant,
        })
    }

    pub(super) fn plateau(&self) -> Option<Plateau> {
        let usual = Plateau::default();
        let plateau = |patience| Plateau { patience, factor: self.or(1, usual.factor), ..usual };
        (self.name == "plateau").then(|| epochs(self.or(0, 10.0), 0).map(plateau)).flatten()
    }

    /// All names with their numbers, for help and errors.
    fn all() -> String {
        let one = |(name, numbers, ..): &(&str, &str, usize, usize)| {
            if numbers.is_empty() { (*name).to_string() } else { format!("{name}={numbers}") }
        };
        ALL.iter().map(one).collect::<Vec<_>>().join(", ")
    }
}

impl FromStr for ScheduleName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, numbers) = text.trim().split_once('=').map_or((text.trim(), None), |(n, x)| (n, Some(x)));
        let Some(&(name, meaning, least, most)) = ALL.iter().find(|(known, ..)| *known == name) else {
            return Err(format!("there is no schedule `{name}`. There are {}", ScheduleName::all()));
        };
        let parse = |x: &str| x.trim().parse::<f32>().map_err(|_| format!("`{}` is no number", x.trim()));
        let numbers = numbers.map_or(Ok(Vec::new()), |x| x.split(',').map(parse).collect())?;
        let found = ScheduleName { name, numbers };
        let fits = (least..=most).contains(&found.numbers.len());
        let means = || found.schedule().is_some() && (name != "plateau" || found.plateau().is_some());
        if fits && means() {
            return Ok(found);
        }
        match meaning {
            "" => Err(format!("`{name}` takes no numbers")),
            _ => Err(format!(
                "`{name}={meaning}` takes factors of 0 or more and whole epochs, got `{}`",
                text.trim()
            )),
        }
    }
}

impl fmt::Display for ScheduleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)?;
        let numbers: Vec<String> = self.numbers.iter().map(ToString::to_string).collect();
        if numbers.is_empty() { Ok(()) } else { write!(f, "={}", numbers.join(",")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_usual_numbers_and_come_back_as_they_were_written() {
        for (name, _, least, _) in ALL {
            if least == 0 {
                let schedule: ScheduleName = name.parse().unwrap();
                assert_eq!(schedule.to_string(), name);
                assert!((0.0..=1.0).contains(&schedule.schedule().unwrap().factor(3, 10)), "{name}");
            }
        }
        let read = |text: &str| text.parse::<ScheduleName>().unwrap();
        assert_eq!(read("step=4,0.5").schedule(), Some(Schedule::Step { every: 4, factor: 0.5 }));
        assert_eq!(
            read("multi-step=0.1,3,6").schedule(),
            Some(Schedule::MultiStep { at: vec![3, 6], factor: 0.1 })
        );
        assert_eq!(read("linear").schedule(), Some(Schedule::Polynomial { power: 1.0, end: 0.0 }));
        assert_eq!(read("plateau=3,0.5").plateau().map(|p| (p.patience, p.factor)), Some((3, 0.5)));
        assert_eq!(read("cosine").plateau(), None);
        assert_eq!(read(" one-cycle = 0.2".replace(" = ", "=").trim()).to_string(), "one-cycle=0.2");
    }

    #[test]
    fn what_means_nothing_is_refused() {
        for (text, message) in [
            ("cosin", "there is no schedule `cosin`. There are constant, cosine, step=EVERY,FACTOR"),
            ("cosine=1", "`cosine` takes no numbers"),
            ("step=0", "takes factors of 0 or more and whole epochs, got `step=0`"),
            ("step=2.5", "whole epochs"),
            ("exponential=-1", "factors of 0 or more"),
            ("exponential=x", "`x` is no number"),
            ("multi-step", "takes factors"),
            ("plateau=0.5", "whole epochs"),
        ] {
            let error = text.parse::<ScheduleName>().unwrap_err();
            assert!(error.contains(message), "{error}");
        }
    }
}
