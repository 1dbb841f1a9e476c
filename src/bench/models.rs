//! The networks and ops that are timed, recorded.

use super::workload::Case;
use crate::device::{CompileOptions, Device, Precision};
use crate::error::Result;
use crate::graph::{Graph, Init, Params, Var};
use crate::nn::{Layer, LayerNorm, Linear, Mlp, Recurrent};
use crate::ops::{AttentionOptions, Conv2dOptions, Padding, PoolOptions};
use crate::optim::{Adam, LossScale, Optimizer};

/// Classes of every training step.
pub(super) const CLASSES: usize = 10;

/// Uniform numbers in [0, 1), the same ones always.
pub fn uniform(n: usize) -> Vec<f32> {
    // Numerical Recipes' generator, so that other languages can feed the same.
    let mut state = 1u32;
    (0..n)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 24) as f32
        })
        .collect()
}

/// A training step on an input of `shape`, which `forward` turns into `[rows, classes]`.
pub(super) fn training(
    device: &Device,
    options: CompileOptions,
    shape: &[usize],
    rows: usize,
    forward: &dyn for<'g> Fn(&Params, Var<'g>) -> Var<'g>,
) -> Result<Case> {
    let params = Params::seeded(1);
    let g = Graph::new();
    let (x, y) = (g.input("x", shape), g.classes("y", [rows]));
    let loss = forward(&params, x).softmax_cross_entropy(y);
    let adam = Adam::new(&params, 1e-3);
    match options.precision {
        Precision::F32 => adam.minimize(loss, &params.trainable()),
        Precision::Mixed => LossScale::new(&params, adam).minimize(loss, &params.trainable()),
    }
    g.output("loss", loss);
    let mut step = device.compile_with(&g, options)?;
    step.feed("x", &uniform(shape.iter().product()))?;
    step.feed("y", &(0..rows).map(|i| (i * 7 % CLASSES) as u32).collect::<Vec<u32>>())?;
    let states = params.all().into_iter().map(|p| (p.clone(), p.initial())).collect();
    Ok(Case::new(device, step, states))
}

/// A graph of one op, or a few, with inputs of these shapes and an output `y`.
pub(super) fn op(
    device: &Device,
    shapes: &[&[usize]],
    record: impl for<'g> FnOnce(&[Var<'g>]) -> Var<'g>,
) -> Result<Case> {
    let g = Graph::inference();
    let names: Vec<String> = (0..shapes.len()).map(|i| format!("x{i}")).collect();
    let inputs: Vec<Var<'_>> = names.iter().zip(shapes).map(|(name, &shape)| g.input(name, shape)).collect();
    g.output("y", record(&inputs));
    // Of the forward op of a gradient it may be the shapes alone that matter.
    let mut step = device.compile_unwarned(&g, CompileOptions::new())?;
    for (name, shape) in names.iter().zip(shapes) {
        step.feed(name, &uniform(shape.iter().product()))?;
    }
    Ok(Case::new(device, step, Vec::new()))
}

/// A 3×3 convolution of stride 1 whose outputs are as large as its inputs, initialized as in PyTorch.
fn convolution<'g>(x: Var<'g>, params: &Params, inputs: usize, outputs: usize) -> Var<'g> {
    let fan = inputs * 9;
    let weight = params.param("weight", [outputs, inputs, 3, 3], Init::FanIn(fan));
    let bias = params.param("bias", [outputs], Init::FanIn(fan));
    let g = x.graph();
    let options = Conv2dOptions { padding: Padding::all(1), ..Default::default() };
    x.conv2d(g.param(&weight), Some(g.param(&bias)), &options)
}

/// Convolutions to 16 and 32 channels with ReLU, 2×2 maxima after the second and perhaps after the first, then
/// a perceptron.
pub(super) fn cnn<'g>(params: &Params, x: Var<'g>, pool_first: bool, head: &[usize]) -> Var<'g> {
    let head = Mlp::new(&params.at("head"), head);
    let halve = PoolOptions::square(2);
    let mut x = convolution(x, &params.at("conv1"), 1, 16).relu();
    if pool_first {
        x = x.max_pool2d(halve);
    }
    let x = convolution(x, &params.at("conv2"), 16, 32).relu().max_pool2d(halve);
    head.forward(x.flatten(1))
}

/// `depth` convolutions of `width` channels with ReLU, the mean of each channel, and a linear layer.
pub(super) fn plain_cnn<'g>(params: &Params, mut x: Var<'g>, width: usize, depth: usize) -> Var<'g> {
    for layer in 0..depth {
        let inputs = x.dim(1);
        x = convolution(x, &params.at(&format!("conv{layer}")), inputs, width).relu();
    }
    Linear::new(&params.at("head"), width, CLASSES).forward(x.global_avg_pool2d().flatten(1))
}

/// Extents of the LSTM's step: rows of a batch, time steps, inputs, hidden units.
pub(super) const LSTM: [usize; 4] = [32, 16, 64, 128];

/// A long short-term memory, and a linear layer on its last output. `x` is `[batch, time, inputs]`.
pub(super) fn lstm<'g>(params: &Params, x: Var<'g>) -> Var<'g> {
    let [batch, times, inputs, hidden] = LSTM;
    let states = Recurrent::lstm(&params.at("lstm"), inputs, hidden).forward(x);
    let last = states.slice(1, times - 1, 1).reshape([batch, hidden]);
    Linear::new(&params.at("head"), hidden, CLASSES).forward(last)
}

/// Extents of the transformer's step: sequences of a batch, their length, width, heads, hidden units.
pub(super) const TRANSFORMER: [usize; 5] = [8, 64, 128, 4, 512];

/// A transformer's block with the normalization before each half (Vaswani et al., NeurIPS 2017; Xiong et al.,
/// ICML 2020): attention and a perceptron with GELU, the form with tanh; then the mean over the sequence and a linear layer. Rows
/// of `x` are the tokens, by sequence.
pub(super) fn transformer<'g>(params: &Params, x: Var<'g>) -> Var<'g> {
    let [batch, length, width, heads, hidden] = TRANSFORMER;
    let linear = |name: &str, from: usize, to: usize| Linear::new(&params.at(name), from, to);
    let norm = |name: &str| LayerNorm::new(&params.at(name), width);

    let x = x + attend(params, norm("norm1").forward(x), [batch, heads], false);
    let inner = linear("fc1", width, hidden).forward(norm("norm2").forward(x));
    let x = x + linear("fc2", hidden, width).forward(inner.gelu_tanh());
    linear("head", width, CLASSES).forward(x.reshape([batch, length, width]).mean(&[1]))
}

/// Self-attention of tokens `[batch length, width]` with its projections, by the op or composed of products and softmax.
fn attend<'g>(params: &Params, x: Var<'g>, [batch, heads]: [usize; 2], composed: bool) -> Var<'g> {
    let (rows, width) = (x.dim(0), x.dim(1));
    let (length, each) = (rows / batch, width / heads);
    let joint = Linear::new(&params.at("qkv"), width, 3 * width).forward(x);
    let mixed = if composed {
        let part = |k: usize| {
            joint.slice(1, k * width, width).reshape([batch, length, heads, each]).permute(&[0, 2, 1, 3])
        };
        let scores = part(0).matmul_nt(part(1)) * (1.0 / (each as f32).sqrt());
        scores.softmax(3).matmul(part(2)).permute(&[0, 2, 1, 3])
    } else {
        joint.reshape([batch, length, 3 * width]).self_attention([heads; 2], &AttentionOptions::default())
    };
    Linear::new(&params.at("out"), width, width).forward(mixed.reshape([rows, width]))
}

/// Width and heads of the layer of [`attention`].
const ATTENTION: [usize; 2] = [128, 4];

/// Columns of its input.
pub(super) const ATTENTION_WIDTH: usize = ATTENTION[0];

/// One layer of self-attention on one sequence, and a linear layer on the mean of its outputs.
pub(super) fn attention<'g>(params: &Params, x: Var<'g>, composed: bool) -> Var<'g> {
    let [width, heads] = ATTENTION;
    let y = attend(params, x, [1, heads], composed);
    Linear::new(&params.at("head"), width, CLASSES).forward(y.mean_keep(&[0]))
}
