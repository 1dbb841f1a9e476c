//! Every op in one place: its type rule, gradient, reference, kernels and test cases.
//!
//! To add one: a file here with its cases, a line in `cases`, and a shader (or a function in a family) under `shaders/`.

mod accumulate;
pub(crate) mod argmax;
mod assign;
pub(crate) mod attention;
mod augment;
pub(crate) mod batch_norm;
mod block;
mod candidates;
mod cast;
pub(crate) mod classes;
pub(crate) mod conv;
pub(crate) mod cross_entropy;
pub(crate) mod ctc;
mod dropout;
pub(crate) mod elementwise;
mod fill;
mod fused;
pub(crate) mod layer_norm;
pub(crate) mod matmul;
mod movement;
mod normalization;
mod number;
pub(crate) mod optimizer;
pub(crate) mod pool;
mod prologue;
mod random;
pub(crate) mod recurrent;
pub(crate) mod reduce;
pub(crate) mod softmax;
mod split_k;
#[cfg(test)]
mod testing;
mod text;
mod tracked;
pub(crate) mod upsample;

pub use attention::AttentionOptions;
pub(crate) use augment::{AffineSample, RandomAffine};
pub(crate) use block::Block;
#[doc(hidden)]
pub use candidates::Kernels;
pub use conv::{
    Conv1dOptions, Conv2dOptions, Conv3dOptions, ConvOptions, ConvTranspose1dOptions, ConvTranspose2dOptions,
    ConvTranspose3dOptions, ConvTransposeOptions, Padding,
};
pub(crate) use cross_entropy::CrossEntropyBoth;
pub(crate) use dropout::{dropout, random_counter};
pub(crate) use elementwise::is_literal;
pub(crate) use fill::Fill;
pub(crate) use fused::Fused;
pub(crate) use matmul::MatMulSum;
pub(crate) use movement::{AsStrided, Assembled, Moved, Reshape};
pub(crate) use optimizer::{
    Adadelta as AdadeltaRule, Adagrad as AdagradRule, Adam as AdamRule, Adamax as AdamaxRule,
    Average as AverageRule, Each, LambDirection as LambRule, Lion as LionRule, MOST as MOST_UPDATED,
    MOST_SCALE, MuonDirection as MuonRule, NAdam as NAdamRule, NextScale, RAdam as RAdamRule,
    RmsProp as RmsPropRule, Rprop as RpropRule, Rule, Sgd as SgdRule, Tick, Update,
};
pub use pool::PoolOptions;
pub(crate) use prologue::Prologue;
pub(crate) use random::{random_normal, random_uniform};
pub use upsample::UpsampleSize;

pub use crate::op::{
    AdapterClass, Arg, Backward, Below, Caps, Case, Chain, Dispatch, Fillings, Fusion, Gradients, In, Kernel,
    KernelContext, Op, Out, Outputs, Pointwise, Program, Real, Reference, Slice, SliceMut, TINY, Traits,
    UNIT,
};
pub(crate) use crate::op::{
    Cut, Pattern, StridedCopy, Uniform, Words, beats, bound_of_products, bound_of_sums, expect, float,
    larger, magnitudes, relative_bound, uniform,
};
#[doc(hidden)]
pub use crate::op::{Forms, Movement, Trial, View};

/// The cases that each op brings along.
pub(crate) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    cases.extend(elementwise::cases());
    cases.extend(matmul::cases());
    cases.extend(conv::cases());
    cases.extend(reduce::cases());
    cases.extend(argmax::cases());
    cases.extend(softmax::cases());
    cases.extend(cross_entropy::cases());
    cases.extend(ctc::cases());
    cases.extend(attention::cases());
    cases.extend(movement::cases());
    cases.extend(classes::cases());
    cases.extend(cast::cases());
    cases.extend(fill::cases());
    cases.extend(dropout::cases());
    cases.extend(random::cases());
    cases.extend(pool::cases());
    cases.extend(recurrent::cases());
    cases.extend(upsample::cases());
    cases.extend(batch_norm::cases());
    cases.extend(layer_norm::cases());
    cases.extend(augment::cases());
    cases.extend(optimizer::cases());
    cases.extend(accumulate::cases());
    cases.extend(assign::cases());
    cases
}
