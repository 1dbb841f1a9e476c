//! `--schedule`.

use std::fmt;
use std::str::FromStr;

use wgrad::Error;
use wgrad::optim::{Plateau, Schedule};

/// What becomes of the learning rate, by name, which is kept as it was given.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ScheduleName {
    text: String,
    rule: Rule,
}

#[derive(Debug, Clone, PartialEq)]
enum Rule {
    Of(Schedule),
    /// A step of which --step-every and --step-factor say the numbers.
    Step,
    Plateau(Plateau),
}

impl ScheduleName {
    pub(super) fn cosine() -> Self {
        ScheduleName { text: "cosine".into(), rule: Rule::Of(Schedule::Cosine) }
    }

    pub(super) fn step() -> Self {
        ScheduleName { text: STEP.into(), rule: Rule::Step }
    }

    pub(super) fn is_cosine(&self) -> bool {
        self.rule == Rule::Of(Schedule::Cosine)
    }

    /// Whether --step-every and --step-factor say its numbers.
    pub(super) fn is_step(&self) -> bool {
        self.rule == Rule::Step
    }

    /// The schedule, with `step` where that is what was asked for. A plateau's factors come beside it.
    pub(super) fn schedule(&self, step: Schedule) -> Schedule {
        match &self.rule {
            Rule::Of(schedule) => schedule.clone(),
            Rule::Step => step,
            Rule::Plateau(_) => Schedule::Constant,
        }
    }

    pub(super) fn plateau(&self) -> Option<Plateau> {
        match self.rule {
            Rule::Plateau(plateau) => Some(plateau),
            _ => None,
        }
    }
}

const STEP: &str = "step";

impl FromStr for ScheduleName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let text = text.trim();
        let rule = match text.split('=').next() {
            _ if text == STEP => Rule::Step,
            Some("plateau") => Rule::Plateau(text.parse()?),
            _ => Rule::Of(text.parse()?),
        };
        Ok(ScheduleName { text: text.into(), rule })
    }
}

impl fmt::Display for ScheduleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_kept_as_they_were_given() {
        let step = Schedule::Step { every: 7, factor: 0.25 };
        for (text, expected) in [
            ("step", step.clone()),
            ("step=4,0.5", Schedule::Step { every: 4, factor: 0.5 }),
            ("plateau=3,0.5", Schedule::Constant),
            ("exponential=0.9", Schedule::Exponential { factor: 0.9 }),
        ] {
            let name: ScheduleName = text.parse().unwrap();
            assert_eq!((name.to_string().as_str(), name.schedule(step.clone())), (text, expected));
        }
        assert!(ScheduleName::cosine().is_cosine() && "step".parse::<ScheduleName>().unwrap().is_step());
        let plateau = |text: &str| text.parse::<ScheduleName>().unwrap().plateau().map(|p| p.patience);
        assert_eq!((plateau("plateau=3"), plateau("cosine")), (Some(3), None));
        assert!("plateau=0.5".parse::<ScheduleName>().is_err() && "step=0".parse::<ScheduleName>().is_err());
    }
}
