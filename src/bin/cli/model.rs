//! Models by name, and read from the shapes in their files.

use std::path::Path;

use clap::ValueEnum;
use safetensors::SafeTensors;
use serde_json::Value;
use wgrad::Params;
use wgrad::nn::{Cnn, Layer, Mlp, Norm, ResNet};

use super::network::Network;
use super::run_file::Origin;
use super::{Failure, Outcome};

/// Models that can be trained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Kind {
    /// Fully connected layers with an activation between them
    Mlp,
    /// 3 × 3 convolutions with activations and maxima, dropout, a linear layer
    Cnn,
    /// Residual blocks with batch normalization, the average of each plane, a linear layer
    Resnet,
    /// The residual network of 18 layers for images of about 32 × 32: stages of 64 to 512 channels and two blocks
    Resnet18,
    /// Of a text: layers of long short-term memory over its characters
    CharLstm,
    /// Of a text: layers of gated recurrent units over its characters
    CharGru,
    /// Of a text: layers of causal attention over its characters
    CharTransformer,
}

impl Kind {
    /// Whether it is for texts.
    pub(super) fn is_of_text(self) -> bool {
        matches!(self, Kind::CharLstm | Kind::CharGru | Kind::CharTransformer)
    }

    /// The option for its widths.
    pub(super) fn widths(self) -> &'static str {
        if matches!(self, Kind::Cnn | Kind::Resnet | Kind::Resnet18) { "channels" } else { "hidden" }
    }

    /// The normalization that the settings of a run say, or the usual one where they say none.
    pub(super) fn norm(self, settings: &Value) -> Outcome<Norm> {
        match settings["norm"].as_str() {
            Some(name) => name.parse().map_err(|e| Failure::new(format!("the settings of the run: {e}"))),
            None if matches!(self, Kind::Resnet | Kind::Resnet18) => Ok(Norm::Batch),
            None => Ok(Norm::None),
        }
    }
}

/// What a model is made of.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Architecture {
    pub(super) kind: Kind,
    /// Of the hidden layers, or the channels of the convolutions, or of the stages.
    pub(super) widths: Vec<usize>,
    /// Residual blocks of a stage.
    pub(super) depth: usize,
    pub(super) norm: Norm,
    pub(super) network: Network,
    /// Shape of an example.
    pub(super) input: Vec<usize>,
    pub(super) classes: usize,
}

impl Architecture {
    /// The layers, with parameters in `params`.
    pub(super) fn build(&self, params: &Params, dropout: f32) -> Outcome<Box<dyn Layer + Send + Sync>> {
        let Architecture { kind, widths, depth, norm, classes, .. } = self;
        let options = self.network.options().norm(*norm);
        Ok(match kind {
            Kind::Mlp => Box::new(Mlp::with(params, &self.chain(), &options).dropout(dropout)),
            Kind::Cnn => {
                Box::new(Cnn::with(params, self.image()?, widths, *classes, &options).dropout(dropout))
            }
            Kind::Resnet | Kind::Resnet18 => {
                let [channels, ..] = self.image()?;
                Box::new(ResNet::with(params, channels, widths, *depth, *classes, &options).dropout(dropout))
            }
            Kind::CharLstm | Kind::CharGru | Kind::CharTransformer => {
                return Err(Failure::new("a model of a text takes its characters, and there are none"));
            }
        })
    }

    /// Widths from input to output.
    fn chain(&self) -> Vec<usize> {
        let inputs = self.input.iter().product();
        [&[inputs], &self.widths[..], &[self.classes]].concat()
    }

    fn image(&self) -> Outcome<[usize; 3]> {
        <[usize; 3]>::try_from(&self.input[..]).map_err(|_| {
            Failure::new(format!(
                "convolutions take images [channels, height, width], and an example of this data has the shape \
                 {:?}; use --model mlp",
                self.input
            ))
        })
    }

    /// The model that a file holds, for examples of shape `input`; what shapes do not tell is that of the run that made it.
    pub(super) fn read(path: &Path, input: &[usize], network: Network) -> Outcome<Self> {
        let each = network.activation.inputs();
        let show = path.display();
        let content = std::fs::read(path).map_err(|e| Failure::new(format!("{show}: {e}")))?;
        let file = SafeTensors::deserialize(&content)
            .map_err(|e| Failure::new(format!("{show}: not a safetensors file: {e}")))?;
        let shape = |name: &str| file.tensor(name).ok().map(|t| t.shape().to_vec());
        let outputs = |name: &str| shape(name).and_then(|s| s.first().copied());
        let read = match () {
            () if shape("layer1.0.conv1.weight").is_some() => residual(&outputs),
            () if shape("conv1.weight").is_some() => {
                let widths: Vec<usize> = (1..).map_while(|i| outputs(&format!("conv{i}.weight"))).collect();
                outputs("fc.weight").map(|classes| (Kind::Cnn, widths, 1, classes))
            }
            () => {
                let mut widths: Vec<usize> = (1..).map_while(|i| outputs(&format!("fc{i}.weight"))).collect();
                let last = widths.pop();
                widths.iter_mut().for_each(|width| *width /= each);
                last.map(|classes| (Kind::Mlp, widths, 1, classes))
            }
        };
        let Some((kind, widths, depth, classes)) = read else {
            let names = file.names().join(", ");
            return Err(Failure::new(format!(
                "{show} holds no model that this program knows: there is neither conv1.weight with fc.weight nor \
                 fc1.weight, but {names}"
            )));
        };
        let norm = kind.norm(&Origin::of(path)?.settings)?;
        let model = Architecture { kind, widths, depth, norm, network, input: input.to_vec(), classes };
        // Loading compares every shape; what depends on the input says more here.
        let (first, is, wanted) = match kind {
            Kind::Mlp | Kind::CharLstm | Kind::CharGru | Kind::CharTransformer => {
                let chain = model.chain();
                let outputs = if chain.len() > 2 { chain[1] * each } else { chain[1] };
                ("fc1.weight", shape("fc1.weight"), vec![outputs, chain[0]])
            }
            _ => {
                let out = model.widths.first().copied().unwrap_or(0);
                ("conv1.weight", shape("conv1.weight"), vec![out, model.image()?[0], 3, 3])
            }
        };
        if is.as_ref() != Some(&wanted) {
            return Err(Failure::new(format!(
                "{show} does not fit examples of shape {input:?}: its {first} has the shape {:?}, which would be \
                 {wanted:?}",
                is.unwrap_or_default()
            )));
        }
        Ok(model)
    }

    /// In one line: `64 → 16 → 10`.
    pub(super) fn describe(&self) -> String {
        let arrows =
            |widths: &[usize]| widths.iter().map(ToString::to_string).collect::<Vec<_>>().join(" → ");
        let (input, classes) = (&self.input, self.classes);
        let norm = match self.kind.norm(&Value::Null) {
            Ok(usual) if usual != self.norm => format!(", normalization {}", self.norm),
            _ => String::new(),
        };
        let layers = match self.kind {
            Kind::Mlp | Kind::CharLstm | Kind::CharGru | Kind::CharTransformer => arrows(&self.chain()),
            Kind::Cnn => {
                format!("images {input:?}, convolutions {}, {classes} classes", arrows(&self.widths))
            }
            Kind::Resnet | Kind::Resnet18 => format!(
                "images {input:?}, stages {} of {} residual blocks, {classes} classes",
                arrows(&self.widths),
                self.depth
            ),
        };
        layers + &norm
    }
}

/// Stages and blocks, by their names.
fn residual(outputs: &dyn Fn(&str) -> Option<usize>) -> Option<(Kind, Vec<usize>, usize, usize)> {
    let block = |stage: usize, block: usize| outputs(&format!("layer{stage}.{block}.conv1.weight"));
    let widths: Vec<usize> = (1..).map_while(|stage| block(stage, 0)).collect();
    let depth = (0..).take_while(|&i| block(1, i).is_some()).count();
    let kind = if widths == ResNet::WIDTHS && depth == 2 { Kind::Resnet18 } else { Kind::Resnet };
    Some((kind, widths, depth, outputs("fc.weight")?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use wgrad::Device;

    #[test]
    fn every_kind_is_read_from_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        for (kind, widths, depth, activation) in [
            (Kind::Mlp, vec![7, 5], 1, "relu"),
            (Kind::Mlp, vec![], 1, "relu"),
            (Kind::Mlp, vec![7, 5], 1, "maxout=3"),
            (Kind::Mlp, vec![], 1, "glu"),
            (Kind::Mlp, vec![4], 1, "swiglu"),
            (Kind::Cnn, vec![3, 4], 1, "relu"),
            (Kind::Cnn, vec![3, 4], 1, "prelu"),
            (Kind::Resnet, vec![2, 4], 2, "relu"),
            (Kind::Resnet, vec![2, 4], 2, "swish-learned"),
            (Kind::Resnet18, vec![64, 128, 256, 512], 2, "relu"),
        ] {
            let network = Network { activation: activation.parse().unwrap(), init: None };
            let model = Architecture {
                kind,
                widths,
                depth,
                norm: kind.norm(&Value::Null).unwrap(),
                network: network.clone(),
                input: vec![1, 8, 8],
                classes: 3,
            };
            let params = Params::seeded(1);
            model.build(&params, 0.5).unwrap();
            Device::cpu().save(&params.all(), &path).unwrap();
            assert_eq!(Architecture::read(&path, &[1, 8, 8], network.clone()).unwrap(), model);
            let wrong = Architecture::read(&path, &[2, 8, 8], network).unwrap_err().to_string();
            assert!(wrong.contains("does not fit examples of shape [2, 8, 8]"), "{wrong}");
        }
    }

    #[test]
    fn convolutions_need_images() {
        let model = Architecture {
            kind: Kind::Cnn,
            widths: vec![4],
            depth: 1,
            norm: Norm::None,
            network: Network::default(),
            input: vec![4],
            classes: 3,
        };
        let message = model.build(&Params::seeded(1), 0.0).err().unwrap().to_string();
        assert!(message.contains("use --model mlp"), "{message}");
    }
}
