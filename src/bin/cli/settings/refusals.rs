//! Arguments that do not fit the model, or the run that is resumed.

use serde_json::Value;
use wgrad::nn::Norm;

use super::super::model::Kind;
use super::super::{Failure, Outcome};
use super::{Args, Earlier, name};

impl Args {
    /// The weights of a checkpoint are those of one model.
    pub(super) fn refuse_another_model(&self, earlier: &Value) -> Outcome {
        let before = Earlier(earlier);
        let Some(kind) = before.choice::<Kind>("model") else { return Ok(()) };
        let key = if kind == Kind::Mlp { "hidden" } else { "channels" };
        let is_other = |asked: &Option<Vec<u32>>| asked.is_some() && *asked != before.widths(key);
        let wrong = [
            (self.model.is_some_and(|model| model != kind), "--model"),
            (is_other(&self.hidden), "--hidden"),
            (is_other(&self.channels), "--channels"),
            (self.depth.is_some() && self.depth != before.count("depth"), "--depth"),
            (self.norm.is_some_and(|norm| kind.norm(earlier).ok() != Some(norm)), "--norm"),
        ];
        let Some((_, option)) = wrong.iter().find(|(is, _)| *is) else { return Ok(()) };
        let widths: Vec<String> = before.widths(key).iter().flatten().map(ToString::to_string).collect();
        let depth = before.count("depth").filter(|_| kind == Kind::Resnet);
        let mut depth = depth.map(|depth| format!(" --depth {depth}")).unwrap_or_default();
        let is_unusual = |norm: &&str| kind.norm(&Value::Null).is_ok_and(|usual| usual.to_string() != *norm);
        if let Some(norm) = before.text("norm").filter(is_unusual) {
            depth.push_str(&format!(" --norm {norm}"));
        }
        let sizes = match kind {
            Kind::Resnet18 => String::new(),
            _ => format!(" --{key} {}", widths.join(",")),
        };
        Err(Failure::usage(format!(
            "the checkpoint is of another model: --model {}{sizes}{depth}; leave out {option} to go on with it, or \
             start another run",
            name(&kind),
        )))
    }

    pub(super) fn refuse_what_the_model_has_not(&self, model: Kind) -> Outcome {
        let is_mlp = model == Kind::Mlp;
        let wrong = [
            (self.hidden.is_some() && !is_mlp, "--hidden is for an mlp; give --channels"),
            (self.channels.is_some() && is_mlp, "--channels is for a cnn or resnet; give --hidden"),
            (
                model == Kind::Resnet18 && (self.channels.is_some() || self.depth.is_some()),
                "a resnet18 has stages of 64, 128, 256 and 512 channels and two blocks; --model resnet takes --channels \
                 and --depth",
            ),
            (self.depth.is_some() && model != Kind::Resnet, "--depth is for a resnet"),
            (self.norm == Some(Norm::Instance) && is_mlp, "--norm instance is for a cnn or resnet"),
            (
                self.step_every.or(self.step_factor.map(|_| 1)).is_some()
                    && self.schedule.as_ref().is_some_and(|schedule| !schedule.is_step()),
                "--step-every and --step-factor are for --schedule step, without numbers of its own",
            ),
        ];
        wrong.iter().find(|(is, _)| *is).map_or(Ok(()), |(_, message)| Err(Failure::usage(*message)))
    }
}
