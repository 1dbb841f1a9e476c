//! Layers: they hold parameters, never values, and record ops when called.

mod activation;
mod affine;
mod attention;
mod batch_norm;
mod cache;
mod conv;
#[cfg(test)]
mod conv_tests;
mod cutout;
mod embedding;
#[cfg(test)]
mod embedding_tests;
mod gaussian;
mod images;
#[cfg(test)]
mod images_tests;
mod language;
#[cfg(test)]
mod language_tests;
mod layer_norm;
mod linear;
mod mixup;
mod noise;
mod norm;
mod options;
mod pool;
mod positions;
mod recurrent;
mod residual;
mod sampling;
mod separable;
mod sequential;
mod simple;
mod squeeze;
mod summary;
mod transformer;
#[cfg(test)]
mod transformer_tests;
mod upsample;

use crate::graph::Var;

pub use crate::ops::{
    AttentionOptions, Conv1dOptions, Conv2dOptions, Conv3dOptions, ConvOptions, ConvTranspose1dOptions,
    ConvTranspose2dOptions, ConvTranspose3dOptions, ConvTransposeOptions, Padding, PoolOptions, UpsampleSize,
};
pub use activation::{Activation, Maxout, Nonlinearity, Prelu, Rrelu, Swish};
pub use affine::RandomAffine;
pub use attention::MultiHeadAttention;
pub use batch_norm::{BatchNorm1d, BatchNorm2d};
pub use cache::KeyValueCache;
pub use conv::{
    Conv, Conv1d, Conv2d, Conv3d, ConvTranspose, ConvTranspose1d, ConvTranspose2d, ConvTranspose3d,
};
pub use cutout::Cutout;
pub use embedding::Embedding;
pub use gaussian::{GaussianSample, StandardNormal};
pub use images::{Cnn, ResNet};
pub use language::{LanguageModel, Memory};
pub use layer_norm::LayerNorm;
pub use linear::Linear;
pub use mixup::Mixup;
pub use noise::{AlphaDropout, DropPath, GaussianNoise, SpatialDropout};
pub use norm::{
    Affine, GroupNorm, InstanceNorm, LocalResponseNorm, Norm, RmsNorm, SpectralNorm, WeightNorm, Weighted,
};
pub use options::ModelOptions;
pub use pool::{AvgPool2d, GlobalAvgPool2d, MaxPool2d};
pub use positions::{LearnedPositions, RotaryPositions, SinusoidalPositions};
pub use recurrent::{
    Carried, Cell, Recurrent, RecurrentCell, RecurrentKind, RecurrentOptions, Sequence, over_time,
};
pub use residual::ResidualBlock;
pub use sampling::Sampler;
pub use separable::DepthwiseSeparable;
pub use sequential::{Mlp, Sequential};
pub use simple::{Dropout, Flatten, Unflatten};
pub use squeeze::SqueezeExcite;
pub use summary::{LayerSummary, Summary};
pub use transformer::{
    TransformerDecoder, TransformerDecoderLayer, TransformerEncoder, TransformerEncoderLayer,
    TransformerOptions,
};
pub use upsample::Upsample;

/// A part of a model.
///
/// Layers like dropout behave differently in a graph made with [`crate::Graph::inference`].
pub trait Layer {
    /// Records the layer's ops on `x`.
    fn forward<'g>(&self, x: Var<'g>) -> Var<'g>;
}

impl<L: Layer + ?Sized> Layer for &L {
    fn forward<'g>(&self, x: Var<'g>) -> Var<'g> {
        (**self).forward(x)
    }
}

impl<L: Layer + ?Sized> Layer for Box<L> {
    fn forward<'g>(&self, x: Var<'g>) -> Var<'g> {
        (**self).forward(x)
    }
}
