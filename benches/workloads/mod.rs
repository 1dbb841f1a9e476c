//! The training workloads and kernels that all benches time: fixed shapes, one fixed batch resident on
//! the device, Adam at 1e-3, softmax cross-entropy; the same as those run in other frameworks.
#![allow(dead_code, missing_docs, unreachable_pub)]

use wgrad::nn::{Layer, Mlp};
use wgrad::ops::{Conv2dOptions, Padding, PoolOptions};
use wgrad::optim::{Adam, Optimizer};
use wgrad::{Device, Graph, Init, Params, Result, Step, Var};

/// Batch and widths of the multi-layer perceptrons.
pub const MLPS: [(&str, usize, &[usize]); 2] =
    [("mlp-a", 64, &[784, 128, 10]), ("mlp-b", 256, &[784, 512, 512, 10])];

/// Convolutional networks: batch 64 of one channel; 3×3 "same" convolutions to 16 and to 32 channels, each
/// with ReLU; 2×2 maxima after the second and, if so marked, after the first; then a perceptron.
pub const CNNS: [(&str, usize, bool, &[usize]); 2] =
    [("cnn-a", 28, true, &[1568, 128, 10]), ("cnn-8", 8, false, &[512, 64, 10])];

/// Images of every batch of [`CNNS`].
const CNN_BATCH: usize = 64;

/// Uniform numbers in [0, 1) from a fixed generator.
pub fn uniform(n: usize) -> Vec<f32> {
    let mut state = 1u32;
    (0..n)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 24) as f32
        })
        .collect()
}

/// A training step of one of [`MLPS`] or [`CNNS`], fed; `None` for another name.
pub fn training(device: &Device, workload: &str) -> Result<Option<Step>> {
    let params = Params::seeded(1);
    if let Some((_, batch, widths)) = MLPS.into_iter().find(|w| w.0 == workload) {
        let net = Mlp::new(&params, widths);
        return step(device, &params, &[batch, widths[0]], |x| net.forward(x)).map(Some);
    }
    let Some((_, side, pool_first, widths)) = CNNS.into_iter().find(|w| w.0 == workload) else {
        return Ok(None);
    };
    let head = Mlp::new(&params.at("head"), widths);
    let halve = PoolOptions::square(2);
    step(device, &params, &[CNN_BATCH, 1, side, side], |x| {
        let x = convolution(x, &params.at("conv1"), 1, 16).relu();
        let x = if pool_first { x.max_pool2d(halve) } else { x };
        let x = convolution(x, &params.at("conv2"), 16, 32).relu().max_pool2d(halve);
        head.forward(x.flatten(1))
    })
    .map(Some)
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

fn step(
    device: &Device,
    params: &Params,
    shape: &[usize],
    forward: impl for<'g> FnOnce(Var<'g>) -> Var<'g>,
) -> Result<Step> {
    let g = Graph::new();
    let (x, y) = (g.input("x", shape), g.classes("y", [shape[0]]));
    let loss = forward(x).softmax_cross_entropy(y);
    Adam::new(params, 1e-3).minimize(loss, &params.trainable());
    g.output("loss", loss);
    let mut step = device.compile(&g)?;
    step.feed("x", &uniform(shape.iter().product()))?;
    step.feed("y", &(0..shape[0]).map(|i| (i * 7 % 10) as u32).collect::<Vec<u32>>())?;
    Ok(step)
}

/// A square product, plain (one output per invocation) or the best kernel.
pub fn matmul(device: &Device, n: usize, plain: bool) -> Result<Step> {
    let g = Graph::new();
    let (a, b) = (g.input("a", [n, n]), g.input("b", [n, n]));
    g.output("c", if plain { a.matmul_plain(b) } else { a.matmul(b) });
    let mut step = device.compile(&g)?;
    step.feed("a", &uniform(n * n))?;
    step.feed("b", &uniform(n * n))?;
    Ok(step)
}
