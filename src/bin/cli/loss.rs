//! `--loss`, `--label-smoothing` and `--class-weights`.

use std::fmt;
use std::str::FromStr;

use serde_json::{Value, json};
use wgrad::data::{Dataset, TablePreprocessor};
use wgrad::losses::{Adaptive, Loss};
use wgrad::train::{InUnit, Task};
use wgrad::{Error, Params};

use super::settings::decimal;
use super::{Failure, Outcome};

/// A loss by name.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum LossName {
    Of(Loss),
    /// Its shape and scale are parameters of the run.
    Adaptive,
}

impl FromStr for LossName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text.trim() {
            ADAPTIVE => Ok(LossName::Adaptive),
            other => other.parse().map(LossName::Of),
        }
    }
}

impl fmt::Display for LossName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LossName::Of(loss) => loss.fmt(f),
            LossName::Adaptive => f.write_str(ADAPTIVE),
        }
    }
}

const ADAPTIVE: &str = "adaptive";

/// How much classes count.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum ClassWeights {
    /// As the training rows of all are to those of one, over the number of classes.
    Balanced,
    Each(Vec<f32>),
}

impl FromStr for ClassWeights {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.trim() == "balanced" {
            return Ok(ClassWeights::Balanced);
        }
        let weight = |text: &str| match text.trim().parse::<f32>() {
            Ok(weight) if weight.is_finite() && weight >= 0.0 => Ok(weight),
            _ => Err(format!(
                "`{}` is no number of 0 or more; give one for each class, or `balanced`",
                text.trim()
            )),
        };
        text.split(',').map(weight).collect::<Result<_, _>>().map(ClassWeights::Each)
    }
}

/// What a run minimizes, if that is not what is usual.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct LossSettings {
    pub(super) name: Option<LossName>,
    pub(super) smoothing: f32,
    pub(super) weights: Option<ClassWeights>,
}

impl LossSettings {
    /// Those of an earlier run, from its settings.
    pub(super) fn earlier(settings: &Value) -> Outcome<Self> {
        let wrong = |key: &str| {
            Failure::new(format!("the settings of the run have `{key}` {}, which is none", settings[key]))
        };
        let number = |value: &Value| value.as_f64().map(|x| x as f32);
        let name = match &settings["loss"] {
            Value::Null => None,
            name => Some(name.as_str().and_then(|name| name.parse().ok()).ok_or_else(|| wrong("loss"))?),
        };
        let smoothing = match &settings["label_smoothing"] {
            Value::Null => 0.0,
            share => number(share).ok_or_else(|| wrong("label_smoothing"))?,
        };
        let weights = match &settings["class_weights"] {
            Value::Null => None,
            all => {
                let each: Option<Vec<f32>> = all.as_array().and_then(|all| all.iter().map(number).collect());
                Some(ClassWeights::Each(each.ok_or_else(|| wrong("class_weights"))?))
            }
        };
        Ok(LossSettings { name, smoothing, weights })
    }

    /// Replaces balanced weights by the numbers that they are for these training rows: rows / (classes · rows of the
    /// class), as scikit-learn has it; 0 for a class without any.
    /// Refuses what is for classes where there are none.
    pub(super) fn balance(&mut self, train: &Dataset) -> Outcome {
        let of_classes =
            [(self.weights.is_some(), "--class-weights"), (self.smoothing > 0.0, "--label-smoothing")];
        if let (0, Some((_, option))) = (train.classes(), of_classes.iter().find(|(is, _)| *is)) {
            return Err(Failure::usage(format!("{option} is for classes, and the targets are numbers")));
        }
        if self.weights != Some(ClassWeights::Balanced) {
            return Ok(());
        }
        let mut counts = vec![0usize; train.classes()];
        for &label in train.labels() {
            counts[label as usize] += 1;
        }
        let share = train.len() as f64 / train.classes().max(1) as f64;
        let weight = |&count: &usize| if count == 0 { 0.0 } else { (share / count as f64) as f32 };
        self.weights = Some(ClassWeights::Each(counts.iter().map(weight).collect()));
        Ok(())
    }

    /// Adds what was asked for to the settings of a run.
    pub(super) fn put(&self, all: &mut Value) {
        if let Some(name) = &self.name {
            all["loss"] = json!(name.to_string());
        }
        if self.smoothing != 0.0 {
            all["label_smoothing"] = json!(decimal(self.smoothing));
        }
        if let Some(ClassWeights::Each(weights)) = &self.weights {
            all["class_weights"] = json!(weights.iter().map(|&w| decimal(w)).collect::<Vec<_>>());
        }
    }

    /// The task with this loss instead of its own, if one was asked for. What the adaptive loss learns is kept in `params`.
    pub(super) fn of(
        &self,
        task: Task,
        data: &Dataset,
        preprocessor: Option<&TablePreprocessor>,
        params: &Params,
    ) -> Task {
        if *self == LossSettings::default() {
            return task;
        }
        let loss = match &self.name {
            Some(LossName::Adaptive) => {
                let dims = data.classes().max(1);
                return task.minimizing(Adaptive::new(&params.at("loss"), dims));
            }
            Some(LossName::Of(loss)) => loss.clone(),
            None => Loss::cross_entropy(),
        };
        let loss = loss.label_smoothing(self.smoothing);
        let loss = match &self.weights {
            Some(ClassWeights::Each(weights)) => loss.class_weights(weights.clone()),
            _ => loss,
        };
        match preprocessor.filter(|fitted| fitted.is_regression()) {
            Some(fitted) => {
                task.minimizing(InUnit::new(loss, fitted.target_value(0.0), fitted.target_unit()))
            }
            None => task.minimizing(loss),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_come_back_and_what_is_none_of_them_is_refused() {
        let settings = LossSettings {
            name: "robust=0,0.5".parse().ok(),
            smoothing: 0.1,
            weights: Some(ClassWeights::Each(vec![1.0, 0.25])),
        };
        let mut all = json!({});
        settings.put(&mut all);
        assert_eq!(LossSettings::earlier(&all).ok(), Some(settings));
        assert_eq!(LossSettings::earlier(&json!({})).ok(), Some(LossSettings::default()));
        for (key, value) in [
            ("loss", json!("hubber")),
            ("loss", json!(3)),
            ("label_smoothing", json!("much")),
            ("class_weights", json!([1.0, "x"])),
            ("class_weights", json!("balanced")),
        ] {
            let refused = LossSettings::earlier(&json!({ key: value })).err().map(|f| f.to_string());
            assert!(refused.is_some_and(|text| text.contains(key)), "{key}");
        }
    }
}
