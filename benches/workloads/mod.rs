//! The training workloads and kernels that all benches time: fixed shapes, one fixed batch resident on
//! the device, Adam at 1e-3, softmax cross-entropy; the same as those run in other frameworks.
#![allow(dead_code, missing_docs, unreachable_pub)]

use wgrad::nn::{Layer, Mlp};
use wgrad::optim::{Adam, Optimizer};
use wgrad::{Device, Graph, Params, Result, Step};

/// Batch and widths of the multi-layer perceptrons.
pub const MLPS: [(&str, usize, &[usize]); 2] =
    [("mlp-a", 64, &[784, 128, 10]), ("mlp-b", 256, &[784, 512, 512, 10])];

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

/// A training step of one of [`MLPS`], fed.
pub fn mlp(device: &Device, workload: &str) -> Result<Option<Step>> {
    let Some((_, batch, widths)) = MLPS.into_iter().find(|w| w.0 == workload) else { return Ok(None) };
    let params = Params::seeded(1);
    let net = Mlp::new(&params, widths);
    let g = Graph::new();
    let (x, y) = (g.input("x", [batch, widths[0]]), g.classes("y", [batch]));
    let loss = net.forward(x).softmax_cross_entropy(y);
    Adam::new(&params, 1e-3).minimize(loss, &params.trainable());
    g.output("loss", loss);
    let mut step = device.compile(&g)?;
    step.feed("x", &uniform(batch * widths[0]))?;
    step.feed("y", &(0..batch).map(|i| (i * 7 % 10) as u32).collect::<Vec<u32>>())?;
    Ok(Some(step))
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
