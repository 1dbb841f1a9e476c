//! Which normalization a model has, by name.

use std::fmt;
use std::str::FromStr;

use super::{Affine, GroupNorm, InstanceNorm, RmsNorm};
use crate::error::{Error, Result};
use crate::graph::{Params, Var};
use crate::names::unknown;
use crate::nn::{BatchNorm1d, BatchNorm2d, Layer, LayerNorm};

/// Groups that [`Norm::Group`] makes at most, where it is not told how many: those of Wu and He, ECCV 2018, section 3.1.
const MOST_GROUPS: usize = 32;

/// Channels that each of these has at least, so that there are statistics in narrow layers too.
const LEAST_CHANNELS: usize = 4;

/// Which normalization the ready models put between their layers, with scale and offset (for [`Norm::Rms`] a scale).
///
/// Each has a name; `group` may have a number of groups:
///
/// ```
/// use wgrad::nn::Norm;
/// assert_eq!("group=8".parse::<Norm>()?, Norm::Group(Some(8)));
/// assert_eq!(Norm::Rms.to_string(), "rms");
/// # Ok::<(), wgrad::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Norm {
    /// Batch normalization.
    Batch,
    /// Layer normalization; of images over channels and positions, as group normalization with one group.
    Layer,
    /// Group normalization, in so many groups; else in as many up to 32 as leave at least 4 channels, and equally many, in
    /// each.
    Group(Option<usize>),
    /// Instance normalization, of images alone.
    Instance,
    /// By the root mean square; of images over channels and positions.
    Rms,
    /// None.
    None,
}

impl Norm {
    /// The names that it is parsed from.
    pub const NAMES: [&'static str; 6] = ["batch", "layer", "group", "instance", "rms", "none"];
}

impl fmt::Display for Norm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Norm::Batch => "batch",
            Norm::Layer => "layer",
            Norm::Group(None) => "group",
            Norm::Group(Some(groups)) => return write!(f, "group={groups}"),
            Norm::Instance => "instance",
            Norm::Rms => "rms",
            Norm::None => "none",
        })
    }
}

impl FromStr for Norm {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Ok(match text {
            "batch" => Norm::Batch,
            "layer" => Norm::Layer,
            "group" => Norm::Group(None),
            "instance" => Norm::Instance,
            "rms" => Norm::Rms,
            "none" => Norm::None,
            _ => match text.split_once('=') {
                Some(("group", groups)) => match groups.parse() {
                    Ok(groups) if groups > 0 => Norm::Group(Some(groups)),
                    _ => return Err(Error::Invalid(format!("`{groups}` is no number of groups, 1 or more"))),
                },
                Some((name, _)) if Norm::NAMES.contains(&name) => {
                    return Err(Error::Invalid(format!("the normalization `{name}` takes no number")));
                }
                _ => return Err(unknown("normalization", text, &Norm::NAMES)),
            },
        })
    }
}

/// As many groups as there can be, see [`Norm::Group`].
fn groups(channels: usize) -> usize {
    let is_possible = |n: &usize| channels.is_multiple_of(*n) && channels / n >= LEAST_CHANNELS;
    (1..=MOST_GROUPS).rev().find(is_possible).unwrap_or(1)
}

/// The layer that a [`Norm`] stands for.
#[derive(Debug, Clone)]
pub(in crate::nn) enum NormLayer {
    Batch1d(BatchNorm1d),
    Batch2d(BatchNorm2d),
    Layer(LayerNorm),
    Group(GroupNorm),
    Instance(InstanceNorm),
    Rms(RmsNorm),
    None,
}

impl NormLayer {
    /// For rows `[n, width]`.
    pub(in crate::nn) fn of_rows(norm: Norm, params: &Params, width: usize) -> Self {
        match norm {
            Norm::Batch => NormLayer::Batch1d(BatchNorm1d::new(params, width)),
            Norm::Layer => NormLayer::Layer(LayerNorm::new(params, width)),
            Norm::Rms => NormLayer::Rms(RmsNorm::new(params, width)),
            Norm::Group(_) | Norm::Instance | Norm::None => Self::of_images(norm, params, width),
        }
    }

    /// For images `[n, channels, h, w]`.
    pub(in crate::nn) fn of_images(norm: Norm, params: &Params, channels: usize) -> Self {
        let group = |n| NormLayer::Group(GroupNorm::new(params, n, channels));
        match norm {
            Norm::Batch => NormLayer::Batch2d(BatchNorm2d::new(params, channels)),
            Norm::Layer => group(1),
            Norm::Group(n) => group(n.unwrap_or_else(|| groups(channels))),
            Norm::Instance => NormLayer::Instance(InstanceNorm::with(params, channels, Affine::Full)),
            Norm::Rms => NormLayer::Rms(RmsNorm::of_channels(params, channels, Affine::Scale)),
            Norm::None => NormLayer::None,
        }
    }
}

impl Layer for NormLayer {
    #[track_caller]
    fn forward<'g>(&self, x: Var<'g>) -> Var<'g> {
        match self {
            NormLayer::Batch1d(layer) => layer.forward(x),
            NormLayer::Batch2d(layer) => layer.forward(x),
            NormLayer::Layer(layer) => layer.forward(x),
            NormLayer::Group(layer) => layer.forward(x),
            NormLayer::Instance(layer) => layer.forward(x),
            NormLayer::Rms(layer) => layer.forward(x),
            NormLayer::None => x,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Graph;
    use crate::nn::{Cnn, Mlp, ModelOptions, ResNet, Summary};

    /// What a model with each normalization learns and keeps, beside what it has without.
    #[test]
    fn models_have_what_they_are_told() {
        let each = |norm: Norm| {
            let options = ModelOptions::default().norm(norm);
            let [mlp, cnn, resnet] = [(); 3].map(|()| Params::seeded(1));
            let models: [(&Params, Box<dyn Layer>, &[usize]); 3] = [
                (&mlp, Box::new(Mlp::with(&mlp, &[6, 8, 8, 3], &options)), &[4, 6]),
                (&cnn, Box::new(Cnn::with(&cnn, [1, 8, 8], &[4, 8], 3, &options)), &[4, 1, 8, 8]),
                (&resnet, Box::new(ResNet::with(&resnet, 1, &[4, 8], 1, 3, &options)), &[4, 1, 8, 8]),
            ];
            models.map(|(params, model, shape)| {
                let g = Graph::new();
                let y = model.forward(g.input("x", shape));
                let is_fine = g.error().is_none();
                assert!(!is_fine || y.shape().dims() == [4, 3]);
                assert!(is_fine || (norm == Norm::Instance && shape.len() == 2), "{norm} {:?}", g.error());
                if is_fine {
                    let names: Vec<String> =
                        Summary::of(&*model, shape).unwrap().layers.into_iter().map(|l| l.name).collect();
                    let mut once = names.clone();
                    once.dedup();
                    assert_eq!(names, once);
                }
                (params.trainable().len(), params.all().len(), is_fine)
            })
        };
        // Two hidden layers, two convolutions, and two blocks, of which one has a shortcut of its own.
        assert_eq!(each(Norm::None), [(6, 6, true), (6, 6, true), (14, 14, true)]);
        assert_eq!(each(Norm::Batch), [(10, 14, true), (10, 14, true), (20, 32, true)]);
        for norm in [Norm::Layer, Norm::Group(None), Norm::Group(Some(2))] {
            assert_eq!(each(norm), [(10, 10, true), (10, 10, true), (20, 20, true)], "{norm}");
        }
        assert_eq!(each(Norm::Rms), [(8, 8, true), (8, 8, true), (14, 14, true)]);
        assert_eq!(each(Norm::Instance), [(10, 10, false), (10, 10, true), (20, 20, true)]);
    }

    #[test]
    fn names_are_read_as_they_are_written() {
        for name in Norm::NAMES.into_iter().chain(["group=3"]) {
            assert_eq!(name.parse::<Norm>().unwrap().to_string(), name);
        }
        for (text, words) in [
            ("bach", "did you mean `batch`?"),
            ("group=0", "`0` is no number of groups"),
            ("group=x", "`x` is no number"),
            ("layer=2", "`layer` takes no number"),
            ("size=2", "there is no normalization `size=2`"),
        ] {
            let message = text.parse::<Norm>().unwrap_err().to_string();
            assert!(message.contains(words), "{text}: {message}");
        }
    }

    #[test]
    fn groups_have_equally_many_channels_and_at_least_four() {
        for (channels, expected) in [
            (1, 1),
            (3, 1),
            (6, 1),
            (8, 2),
            (16, 4),
            (20, 5),
            (32, 8),
            (96, 24),
            (128, 32),
            (256, 32),
            (13, 1),
        ] {
            assert_eq!(groups(channels), expected, "{channels}");
        }
    }
}
