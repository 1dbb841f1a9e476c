//! Arguments that do not fit the model, or the run that is resumed.

use serde_json::Value;
use wgrad::nn::Norm;

use super::super::data_name::DataName;
use super::super::model::Kind;
use super::super::{Failure, Outcome};
use super::{Args, Earlier, name};

impl Args {
    /// The weights of a checkpoint are those of one model.
    pub(super) fn refuse_another_model(&self, earlier: &Value) -> Outcome {
        let before = Earlier(earlier);
        let Some(kind) = before.choice::<Kind>("model") else { return Ok(()) };
        let key = kind.widths();
        let is_other = |asked: &Option<Vec<u32>>| asked.is_some() && *asked != before.widths(key);
        let wrong = [
            (self.model.is_some_and(|model| model != kind), "--model"),
            (is_other(&self.hidden), "--hidden"),
            (is_other(&self.channels), "--channels"),
            (self.depth.is_some() && self.depth != before.count("depth"), "--depth"),
            (self.heads.is_some() && self.heads != before.count("heads"), "--heads"),
            (self.norm.is_some_and(|norm| kind.norm(earlier).ok() != Some(norm)), "--norm"),
        ];
        let Some((_, option)) = wrong.iter().find(|(is, _)| *is) else { return Ok(()) };
        let widths: Vec<String> = before.widths(key).iter().flatten().map(ToString::to_string).collect();
        let depth = before.count("depth").filter(|_| kind != Kind::Resnet18);
        let mut depth = depth.map(|depth| format!(" --depth {depth}")).unwrap_or_default();
        if let Some(heads) = before.count("heads") {
            depth.push_str(&format!(" --heads {heads}"));
        }
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
        let (is_mlp, is_of_text) = (model == Kind::Mlp, model.is_of_text());
        let has_channels = model.widths() == "channels";
        let wrong = [
            (
                model == Kind::Resnet18 && (self.channels.is_some() || self.depth.is_some()),
                "a resnet18 has stages of 64, 128, 256 and 512 channels and two blocks; --model resnet takes --channels \
                 and --depth",
            ),
            (self.hidden.is_some() && has_channels, "--hidden is for an mlp or a text; give --channels"),
            (
                self.hidden.as_ref().is_some_and(|widths| is_of_text && widths.len() > 1),
                "layers of a model of a text have one width; give one number, and how many there are with --depth",
            ),
            (self.channels.is_some() && !has_channels, "--channels is for a cnn or resnet; give --hidden"),
            (
                self.depth.is_some() && model != Kind::Resnet && !is_of_text,
                "--depth is for a resnet, or for a text",
            ),
            (self.heads.is_some() && model != Kind::CharTransformer, "--heads is for a char-transformer"),
            (self.context.is_some() && !is_of_text, "--context is for a text"),
            (self.unit.is_some() && !is_of_text, "--unit is for a text"),
            (self.norm == Some(Norm::Instance) && is_mlp, "--norm instance is for a cnn or resnet"),
            (self.norm.is_some_and(|n| n != Norm::None) && is_of_text, "--norm is for images and tables"),
            (self.init.is_some() && is_of_text, "--init is for images and tables"),
            (self.validation.is_some() && is_of_text, "--validation is for rows; of a text a tenth is kept"),
            (
                self.activation.is_some() && is_of_text && model != Kind::CharTransformer,
                "--activation is not for recurrent layers, which have their own",
            ),
            (
                self.step_every.or(self.step_factor.map(|_| 1)).is_some()
                    && self.schedule.as_ref().is_some_and(|schedule| !schedule.is_step()),
                "--step-every and --step-factor are for --schedule step, without numbers of its own",
            ),
        ];
        wrong.iter().find(|(is, _)| *is).map_or(Ok(()), |(_, message)| Err(Failure::usage(*message)))
    }

    /// Models of texts take texts, and others do not.
    pub(super) fn refuse_what_the_data_is_not(&self, model: Kind, data: &DataName, is_text: bool) -> Outcome {
        match (model.is_of_text(), is_text) {
            (true, false) => Err(Failure::usage(format!(
                "--model {} is for texts, and `{data}` is none; give `alice`, a file with the extension .txt, or another \
                 file with --task text",
                name(&model)
            ))),
            (false, true) => Err(Failure::usage(format!(
                "--model {} is for images and tables, and `{data}` is a text; give --model char-lstm, char-gru or \
                 char-transformer{}",
                name(&model),
                if data.is_alice() { "" } else { ", or --task auto where it is a table" }
            ))),
            _ => Ok(()),
        }
    }
}
