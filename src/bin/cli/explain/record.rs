//! What an entry records, and the kernels that come of it.

use wgrad::kernels::{Listed, Runs, of_case, of_graph};
use wgrad::losses::{self, Adaptive, Ctc, Loss, NAMES};
use wgrad::nn::{self, Layer, Nonlinearity};
use wgrad::ops::{AttentionOptions, Case};
use wgrad::optim::{Optimizer, OptimizerKind};
use wgrad::{Graph, Params, Result, Tensor, Var};

use super::entries::{CASES, Entry, Kind, key};

/// What is recorded of an entry.
pub(super) struct Recorded {
    /// Names of the ops, in order.
    pub(super) ops: Vec<&'static str>,
    /// Those that its derivative adds, where what comes from the layers after it is 1.
    pub(super) derivative: Vec<&'static str>,
    /// It alone, and its derivative alone: in a step other layers are between them.
    graphs: [Graph; 2],
}

/// What an entry is a function of, if of something, and what it gives, if it gives something.
type Function<'g> = (Option<Var<'g>>, Option<Var<'g>>);

impl Recorded {
    fn of(record: impl for<'g> Fn(&'g Graph) -> Function<'g>) -> Option<Self> {
        let [forward, backward] = [Graph::new(), Graph::new()];
        if let (_, Some(y)) = record(&forward) {
            forward.output("y", y);
        }
        let mut derivative = Vec::new();
        if let (Some(x), Some(y)) = record(&backward) {
            let sum = if y.shape().rank() == 0 { y } else { y.sum_all() };
            let before = backward.len();
            let gradient = backward.gradients(sum, &[x]);
            derivative = backward.ops().split_off(before);
            // The 1 that it begins with.
            derivative.retain(|op| *op != "fill");
            let is_some = !derivative.is_empty();
            gradient.iter().filter(|_| is_some).for_each(|dx| backward.output("dx", *dx));
        }
        if forward.error().is_some() || backward.error().is_some() {
            return None;
        }
        Some(Recorded { ops: forward.ops(), derivative, graphs: [forward, backward] })
    }

    /// The kernels of both, each once.
    pub(super) fn kernels(&self, on: &Runs) -> Result<Vec<Listed>> {
        let mut all: Vec<Listed> = Vec::new();
        let has_derivative = !self.derivative.is_empty();
        for graph in self.graphs.iter().take(1 + usize::from(has_derivative)) {
            for listed in of_graph(graph, on)? {
                if all.iter().all(|known| known.kernel.key != listed.kernel.key) {
                    all.push(listed);
                }
            }
        }
        Ok(all)
    }
}

/// A case of an op of a size that is usual: of some thousand numbers if there is one, else its largest.
pub(super) fn case(op: &str) -> Option<&'static Case> {
    let elements = |case: &Case| case.inputs.iter().map(|(ty, _)| ty.shape.elements()).max().unwrap_or(0);
    let of = || CASES.iter().filter(|case| case.op.name() == op);
    let usual = of().find(|case| (4096..200_000).contains(&elements(case)));
    usual.or_else(|| of().max_by_key(|case| elements(case)))
}

/// The kernels of an op alone.
pub(super) fn kernels_of_op(op: &str, on: &Runs) -> Result<Vec<Listed>> {
    case(op).map_or(Ok(Vec::new()), |case| of_case(case, on))
}

/// Rows, and numbers of a row.
const SHAPE: [usize; 2] = [64, 64];
const IMAGES: [usize; 4] = [8, 16, 8, 8];
/// Volumes with as many channels.
const VOLUMES: [usize; 5] = [2, 16, 6, 8, 8];
const SEQUENCES: [usize; 3] = [2, 32, SHAPE[1]];

fn transformer() -> nn::TransformerOptions {
    nn::TransformerOptions::new(SHAPE[1], 4)
}

/// What an entry records; nothing where it is none that records.
pub(super) fn recorded(entry: &Entry) -> Option<Recorded> {
    match entry.kind {
        Kind::Activation => activation(&entry.name),
        Kind::Loss => loss(&entry.name),
        Kind::Optimizer => entry.name.parse().ok().and_then(optimizer),
        Kind::Normalization => normalization(&entry.name),
        Kind::Regularizer => penalty(&entry.name),
        Kind::Layer => layer(&entry.name, &Params::seeded(1)),
        Kind::Schedule | Kind::Initializer | Kind::Op => None,
    }
}

fn through(layer: impl Layer, shape: &[usize]) -> Option<Recorded> {
    Recorded::of(|g| {
        let x = g.input("x", shape);
        (Some(x), Some(layer.forward(x)))
    })
}

fn activation(name: &str) -> Option<Recorded> {
    let params = Params::seeded(1);
    match name.parse::<Nonlinearity>() {
        Ok(Nonlinearity::Of(activation)) => through(activation, &SHAPE),
        Ok(Nonlinearity::Prelu) => through(nn::Prelu::new(&params, SHAPE[1]), &SHAPE),
        Ok(Nonlinearity::SwishLearned) => through(nn::Swish::new(&params, SHAPE[1]), &SHAPE),
        Ok(Nonlinearity::Rrelu(lower, upper)) => through(nn::Rrelu::new(&params, lower, upper), &SHAPE),
        Ok(Nonlinearity::Maxout(pieces)) => {
            through(nn::Maxout::new(&params, SHAPE[1], SHAPE[1], pieces), &SHAPE)
        }
        _ => Recorded::of(|g| {
            let x = g.input("x", SHAPE);
            let y = match name {
                "softmax_at" => Some(x.softmax_at(1, 0.5)),
                "log_softmax_at" => Some(x.log_softmax_at(1, 0.5)),
                _ => None,
            };
            (Some(x), y)
        })
        .filter(|recorded| !recorded.ops.is_empty()),
    }
}

/// Losses whose targets are class numbers.
fn takes_classes(name: &str) -> bool {
    ["cross-entropy", "nll", "focal", "multi-margin"].contains(&name)
}

fn loss(name: &str) -> Option<Recorded> {
    let of_three = |loss: Loss<3>, target: &'static [usize]| {
        Recorded::of(|g| {
            let x = g.input("x", SHAPE);
            (Some(x), Some(loss.of([x, g.input("b", SHAPE), g.input("c", target)])))
        })
    };
    let each = &SHAPE[..1];
    Some(match name {
        "adaptive" => Recorded::of(|g| {
            let x = g.input("x", SHAPE);
            (Some(x), Some(Adaptive::new(&Params::seeded(1), SHAPE[1]).of([x, g.input("t", SHAPE)])))
        })?,
        "softmax_cross_entropy" => Recorded::of(|g| {
            let x = g.input("x", SHAPE);
            (Some(x), Some(x.softmax_cross_entropy(g.classes("t", each))))
        })?,
        "soft_cross_entropy" => Recorded::of(|g| {
            let x = g.input("x", SHAPE);
            (Some(x), Some(x.soft_cross_entropy(g.input("t", SHAPE))))
        })?,
        "binary_cross_entropy" => Recorded::of(|g| {
            let x = g.input("x", SHAPE);
            (Some(x), Some(losses::binary_cross_entropy(x, g.input("t", SHAPE))))
        })?,
        "half_squared_error" => Recorded::of(|g| {
            let x = g.input("x", SHAPE);
            (Some(x), Some(losses::half_squared_error(x, g.input("t", SHAPE))))
        })?,
        "gaussian_kl" => Recorded::of(|g| {
            let x = g.input("x", SHAPE);
            (Some(x), Some(losses::gaussian_kl(g.input("mean", SHAPE), x)))
        })?,
        "ctc" => Recorded::of(|g| {
            let x = g.input("x", [8, 32, 16]);
            let lengths = [g.classes("input lengths", [8]), g.classes("target lengths", [8])];
            (Some(x), Some(Ctc::new(0).of(x, g.classes("t", [8, 12]), lengths)))
        })?,
        "gaussian_nll" => of_three(Loss::gaussian_nll(false), &SHAPE)?,
        "cosine_embedding" => of_three(Loss::cosine_embedding(0.0), &[64])?,
        "margin_ranking" => of_three(Loss::margin_ranking(0.0), &SHAPE)?,
        "triplet_margin" => of_three(Loss::triplet_margin(1.0), &SHAPE)?,
        "contrastive" => of_three(Loss::contrastive(1.0), &[64])?,
        name => {
            let loss: Loss = NAMES.iter().find(|(one, _)| key(one) == key(name))?.0.parse().ok()?;
            Recorded::of(|g| {
                let x = g.input("x", SHAPE);
                let target = match takes_classes(name) {
                    true => g.classes("t", each),
                    false => g.input("t", SHAPE),
                };
                (Some(x), Some(loss.of([x, target])))
            })?
        }
    })
}

fn optimizer(kind: OptimizerKind) -> Option<Recorded> {
    Recorded::of(|g| {
        let params = Params::seeded(1);
        let w = params.param("w", SHAPE, wgrad::Init::HeNormal);
        let gradient = g.input("gradient", SHAPE);
        kind.build(&params, 1e-3, None).apply(g, &[w], &[gradient]);
        (None, None)
    })
}

fn normalization(name: &str) -> Option<Recorded> {
    let params = Params::seeded(1);
    match name {
        "batch" => through(nn::BatchNorm1d::new(&params, SHAPE[1]), &SHAPE),
        "layer" => through(nn::LayerNorm::new(&params, SHAPE[1]), &SHAPE),
        "group" => layer("GroupNorm", &params),
        "instance" => layer("InstanceNorm", &params),
        "rms" => layer("RmsNorm", &params),
        "local_response_norm" => layer("LocalResponseNorm", &params),
        "weight_norm" => layer("WeightNorm", &params),
        "spectral_norm" => layer("SpectralNorm", &params),
        _ => None,
    }
}

fn penalty(name: &str) -> Option<Recorded> {
    let strength = name.trim_end_matches("_penalty");
    Recorded::of(|g| {
        let params = Params::seeded(1);
        let all = [params.param("w", SHAPE, wgrad::Init::HeNormal)];
        let sum = match strength {
            "l1" => Some(losses::l1_penalty(g, &all, 1e-4)),
            "l2" => Some(losses::l2_penalty(g, &all, 1e-4)),
            "elastic_net" => Some(losses::elastic_net_penalty(g, &all, 1e-4, 1e-4)),
            _ => None,
        };
        (Some(g.param(&all[0])).filter(|_| sum.is_some()), sum)
    })
    .filter(|recorded| !recorded.ops.is_empty())
}

fn layer(name: &str, params: &Params) -> Option<Recorded> {
    let c = IMAGES[1];
    match name {
        "Linear" => through(nn::Linear::new(params, SHAPE[1], 32), &SHAPE),
        "Prelu" => through(nn::Prelu::new(params, SHAPE[1]), &SHAPE),
        "Swish" => through(nn::Swish::new(params, SHAPE[1]), &SHAPE),
        "Rrelu" => activation("rrelu"),
        "Maxout" => activation("maxout"),
        "Dropout" => through(nn::Dropout::new(params, 0.5), &SHAPE),
        "Flatten" => through(nn::Flatten, &IMAGES),
        "Unflatten" => through(nn::Unflatten::new([4, 4, 4]), &SHAPE),
        "Conv1d" => through(nn::Conv1d::new(params, c, 32, [3]), &IMAGES[..3]),
        "Conv2d" => through(nn::Conv2d::new(params, c, 32, [3, 3]), &IMAGES),
        "Conv3d" => through(nn::Conv3d::new(params, c, 32, [3; 3]), &VOLUMES),
        "ConvTranspose1d" => through(nn::ConvTranspose1d::new(params, c, 8, [3]), &IMAGES[..3]),
        "ConvTranspose2d" => through(nn::ConvTranspose2d::new(params, c, 8, [3, 3]), &IMAGES),
        "ConvTranspose3d" => through(nn::ConvTranspose3d::new(params, c, 8, [3; 3]), &VOLUMES),
        "Upsample" => through(nn::Upsample::linear(nn::UpsampleSize::Factor([2, 2]), false), &IMAGES),
        "MaxPool2d" => through(nn::MaxPool2d::new(2), &IMAGES),
        "AvgPool2d" => through(nn::AvgPool2d::new(2), &IMAGES),
        "GlobalAvgPool2d" => through(nn::GlobalAvgPool2d, &IMAGES),
        "BatchNorm1d" => through(nn::BatchNorm1d::new(params, SHAPE[1]), &SHAPE),
        "BatchNorm2d" => through(nn::BatchNorm2d::new(params, c), &IMAGES),
        "Embedding" => {
            let layer = nn::Embedding::new(params, 1000, SHAPE[1]);
            Recorded::of(|g| (Some(g.param(layer.weight())), Some(layer.forward(g.classes("x", [SHAPE[0]])))))
        }
        "LanguageModel" => {
            let (kind, options) = (nn::RecurrentKind::Lstm, nn::RecurrentOptions::default());
            let model = nn::LanguageModel::recurrent(params, 100, kind, 32, options);
            let vectors = params.trainable().into_iter().find(|p| p.name().ends_with("embedding.weight"));
            Recorded::of(|g| {
                let logits = model.forward(g.classes("x", [8, 16]));
                (vectors.as_ref().map(|p| g.param(p)), Some(logits))
            })
        }
        "SinusoidalPositions" => through(nn::SinusoidalPositions::new(), &SHAPE),
        "LearnedPositions" => through(nn::LearnedPositions::new(params, SHAPE[0], SHAPE[1]), &SHAPE),
        "RotaryPositions" => through(nn::RotaryPositions::new(), &SHAPE),
        "Recurrent" => through(nn::Recurrent::lstm(params, SHAPE[1], 32), &[SHAPE[0], 16, SHAPE[1]]),
        "RecurrentCell" => {
            let cell = nn::RecurrentCell::new(params, nn::RecurrentKind::Lstm, SHAPE[1], 32);
            Recorded::of(|g| {
                let x = g.input("x", SHAPE);
                let states = ["h", "c"].map(|name| g.input(name, [SHAPE[0], 32]));
                (Some(x), nn::Cell::step(&cell, x, &states).first().copied())
            })
        }
        "Carried" => {
            let layer = nn::Recurrent::lstm(params, SHAPE[1], 32);
            let carried = nn::Carried::new(params, &layer, SHAPE[0]);
            Recorded::of(|g| {
                let x = g.input("x", [SHAPE[0], 16, SHAPE[1]]);
                (Some(x), Some(carried.run(&layer, x).output))
            })
        }
        "MultiHeadAttention" => through(nn::MultiHeadAttention::new(params, SHAPE[1], 4), &SEQUENCES),
        "KeyValueCache" => Recorded::of(|g| {
            let layer = nn::MultiHeadAttention::new(&params.shared(), SHAPE[1], 4);
            let cache = layer.cache(params, 2, SHAPE[0]);
            (None, Some(layer.step(g.input("x", [2, 1, SHAPE[1]]), &cache, g.classes("lengths", [2]))))
        }),
        "TransformerEncoderLayer" => {
            through(nn::TransformerEncoderLayer::new(params, &transformer()), &SEQUENCES)
        }
        "TransformerEncoder" => through(nn::TransformerEncoder::new(params, 2, &transformer()), &SEQUENCES),
        "TransformerDecoderLayer" | "TransformerDecoder" => {
            let decoder = nn::TransformerDecoder::new(params, 1, &transformer());
            Recorded::of(|g| {
                let (x, source) = (g.input("x", SEQUENCES), g.input("source", SEQUENCES));
                (Some(x), Some(decoder.decode(x, source, [&AttentionOptions::default(); 2])))
            })
        }
        "LayerNorm" => through(nn::LayerNorm::new(params, SHAPE[1]), &SHAPE),
        "GroupNorm" => through(nn::GroupNorm::new(params, 4, c), &IMAGES),
        "InstanceNorm" => through(nn::InstanceNorm::new(params, c), &IMAGES),
        "RmsNorm" => through(nn::RmsNorm::new(params, SHAPE[1]), &SHAPE),
        "LocalResponseNorm" => through(nn::LocalResponseNorm::new(5), &IMAGES),
        "WeightNorm" => through(nn::WeightNorm::new(params, |p| nn::Linear::new(p, SHAPE[1], 32)), &SHAPE),
        "SpectralNorm" => {
            through(nn::SpectralNorm::new(params, |p| nn::Linear::new(p, SHAPE[1], 32)), &SHAPE)
        }
        "SpatialDropout" => through(nn::SpatialDropout::new(params, 0.5), &IMAGES),
        "AlphaDropout" => through(nn::AlphaDropout::new(params, 0.1), &SHAPE),
        "GaussianNoise" => through(nn::GaussianNoise::new(params, 0.1), &SHAPE),
        "StandardNormal" => Recorded::of(|g| (None, Some(nn::StandardNormal::new(params).draw(g, SHAPE)))),
        "GaussianSample" => Recorded::of(|g| {
            let x = g.input("x", SHAPE);
            (Some(x), Some(nn::GaussianSample::new(params).of(g.input("mean", SHAPE), x)))
        }),
        "DropPath" => through(nn::DropPath::new(params, 0.1), &SHAPE),
        "ResidualBlock" => through(nn::ResidualBlock::new(params, c, c, 1), &IMAGES),
        "SqueezeExcite" => through(nn::SqueezeExcite::new(params, c, 2), &IMAGES),
        "DepthwiseSeparable" => through(nn::DepthwiseSeparable::new(params, c, c, 1), &IMAGES),
        "Cutout" => through(nn::Cutout::new(params, 4), &IMAGES),
        "Mlp" => through(nn::Mlp::new(params, &[SHAPE[1], 32, 10]), &SHAPE),
        "Cnn" => through(nn::Cnn::new(params, [c, 8, 8], &[16, 32], 10), &IMAGES),
        "ResNet" => through(nn::ResNet::new(params, c, &[16, 32], 1, 10), &IMAGES),
        _ => None,
    }
}

/// The values of a function of one number and of its derivative, by the plain formulas in double precision.
pub(super) fn values(
    x: &[f32],
    record: impl for<'g> FnOnce(&'g Graph, Var<'g>) -> Option<Var<'g>>,
) -> Option<[Vec<f32>; 2]> {
    let graph = Graph::inference();
    let n = x.len();
    let input = graph.input("x", [n]);
    let y = record(&graph, input)?;
    graph.output("y", y);
    let gradient = graph.gradients(y.sum_all(), &[input]);
    graph.output("dy", *gradient.first()?);
    let mut step = wgrad::Device::reference().compile(&graph).ok()?;
    step.feed("x", x).ok()?;
    step.run().ok()?;
    Some([step.values("y").ok()?, step.values("dy").ok()?])
}

/// Targets that are all one number.
pub(super) fn constant<'g>(graph: &'g Graph, n: usize, value: f32) -> Option<Var<'g>> {
    Tensor::new([n], vec![value; n]).ok().map(|tensor| graph.constant(tensor))
}

#[cfg(test)]
mod tests {
    use super::*;
    use wgrad::ops::{AdapterClass, Caps};

    /// Whatever records something is recorded without a mistake, and has kernels in each class.
    #[test]
    fn what_records_has_kernels() {
        // Drawn on the host, made of parts that are chosen, or wrapped around others.
        let others = ["RandomAffine", "Mixup", "Sampler", "Sequential", "Activation", "Nonlinearity"];
        for entry in super::super::entries::all() {
            let is_expected = match entry.kind {
                Kind::Activation | Kind::Loss => true,
                Kind::Layer => !others.contains(&&*entry.name),
                Kind::Optimizer => entry.name.parse::<OptimizerKind>().is_ok(),
                Kind::Normalization => !["none", "power_iteration"].contains(&&*entry.name),
                _ => false,
            };
            let Some(recorded) = recorded(entry) else {
                assert!(!is_expected, "{} {}", entry.kind.name(), entry.name);
                continue;
            };
            for class in [AdapterClass::Gpu, AdapterClass::Software] {
                let on = Runs { caps: Caps::default_of(class), words64: false };
                let kernels = recorded.kernels(&on).unwrap();
                let nothing = ["identity", "Flatten", "Unflatten"].contains(&&*entry.name);
                assert!(nothing || !kernels.is_empty(), "{} {}", entry.kind.name(), entry.name);
            }
        }
    }

    #[test]
    fn every_op_has_kernels() {
        let on = Runs { caps: Caps::default_of(AdapterClass::Software), words64: false };
        for entry in super::super::entries::all().iter().filter(|entry| entry.kind == Kind::Op) {
            let kernels = kernels_of_op(&entry.name, &on).unwrap();
            assert!(kernels.iter().all(|one| one.kernel.text.contains("@compute")), "{}", entry.name);
            assert!(!kernels.is_empty(), "{}", entry.name);
        }
    }
}
