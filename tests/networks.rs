//! Whole networks against numbers from outside: worked examples of the teaching literature, on the CPU
//! in f64 and f32 and on every adapter.
#![allow(missing_docs, clippy::unwrap_used)]

mod common;

use approx::assert_relative_eq;
use wgrad::losses::half_squared_error;
use wgrad::nn::{
    Activation, BatchNorm2d, Conv2d, Conv2dOptions, Layer, Linear, MaxPool2d, Padding, ResidualBlock,
};
use wgrad::optim::{Optimizer, Sgd};
use wgrad::{Device, Graph, Init, Params, Tensor};

fn devices() -> Vec<Device> {
    let gpus = common::gpus().into_iter().map(Device::from);
    [Device::reference(), Device::cpu()].into_iter().chain(gpus).collect()
}

fn values(dims: &[usize], v: &[f32]) -> Init {
    Init::Values(std::sync::Arc::new(Tensor::new(dims, v.to_vec()).unwrap()))
}

fn layer(
    device: &Device,
    params: &Params,
    name: &str,
    weight: &[f32],
    bias: &[f32],
) -> (Linear, wgrad::Param) {
    let (outputs, inputs) = (bias.len(), weight.len() / bias.len());
    let linear = Linear::with(&params.at(name), inputs, outputs, true, values(&[outputs, inputs], weight));
    let own = linear.bias().unwrap().clone();
    device.write_param(&own, bias).unwrap();
    (linear, own)
}

/// The 2-2-2 sigmoid network of Mazur's step-by-step back-propagation example.
#[test]
fn the_2_2_2_network_of_the_textbooks() {
    for device in devices() {
        let params = Params::seeded(0);
        let (fc1, b1) = layer(&device, &params, "fc1", &[0.15, 0.20, 0.25, 0.30], &[0.35, 0.35]);
        let (fc2, b2) = layer(&device, &params, "fc2", &[0.40, 0.45, 0.50, 0.55], &[0.60, 0.60]);
        // The example leaves the biases as they are.
        b1.set_trainable(false);
        b2.set_trainable(false);
        let g = Graph::new();
        let (x, target) = (g.input("x", [1, 2]), g.input("target", [1, 2]));
        let y = fc2.forward(fc1.forward(x).sigmoid()).sigmoid();
        let loss = half_squared_error(y, target);
        g.output("y", y);
        g.output("loss", loss);
        Sgd::new(&params, 0.5).minimize(loss, &params.trainable());
        let mut step = device.compile(&g).unwrap();
        step.run_with(&[("x", (&[0.05f32, 0.10]).into()), ("target", (&[0.01f32, 0.99]).into())]).unwrap();
        let y = step.values("y").unwrap();
        assert_relative_eq!(y[0], 0.751_365_07, max_relative = 1e-6);
        assert_relative_eq!(y[1], 0.772_928_5, max_relative = 1e-6);
        assert_relative_eq!(step.scalar("loss").unwrap(), 0.298_371_1, max_relative = 1e-6);
        let w1 = device.read_param(fc1.weight()).unwrap();
        let w2 = device.read_param(fc2.weight()).unwrap();
        assert_relative_eq!(w2.as_f32()[0], 0.358_916_5, max_relative = 1e-6);
        assert_relative_eq!(w2.as_f32()[3], 0.561_370_12, max_relative = 1e-6);
        assert_relative_eq!(w1.as_f32()[0], 0.149_780_72, max_relative = 1e-6);
        assert_relative_eq!(w1.as_f32()[3], 0.299_502_29, max_relative = 1e-6);
        assert_eq!(device.read_param(&b1).unwrap().as_f32(), [0.35, 0.35]);
    }
}

/// A 2-2-1 sigmoid network worked by hand.
#[test]
fn the_2_2_1_network_of_the_textbooks() {
    for device in devices() {
        let params = Params::seeded(0);
        let (fc1, _) = layer(&device, &params, "fc1", &[0.2, 0.4, 0.3, 0.7], &[0.1, 0.2]);
        let (fc2, _) = layer(&device, &params, "fc2", &[0.5, 0.6], &[0.3]);
        let g = Graph::new();
        let (x, target) = (g.input("x", [1, 2]), g.input("target", [1, 1]));
        let y = Activation::Sigmoid.forward(fc2.forward(fc1.forward(x).sigmoid()));
        let loss = half_squared_error(y, target);
        let gradients = g.gradients(loss, &[g.param(fc1.weight()), g.param(fc2.weight())]);
        g.output("y", y);
        g.output("dw1", gradients[0]);
        g.output("dw2", gradients[1]);
        let mut step = device.compile(&g).unwrap();
        step.run_with(&[("x", (&[0.5f32, 0.8]).into()), ("target", (&[1.0f32]).into())]).unwrap();
        assert_relative_eq!(step.values("y").unwrap()[0], 0.739_115, max_relative = 1e-6);
        let close = |name: &str, expected: &[f32], step: &mut wgrad::Step| {
            for (a, e) in step.values(name).unwrap().iter().zip(expected) {
                assert_relative_eq!(a, e, max_relative = 3e-6);
            }
        };
        close("dw2", &[-0.031_548_6, -0.035_867_4], &mut step);
        close("dw1", &[-0.002_940_74, -0.004_705_19, -0.003_088_18, -0.004_941_09], &mut step);
    }
}

/// d²/dx² of functions whose second derivatives are known: gradients are values like others.
#[test]
fn second_derivatives() {
    let at = [0.3f32, -0.7, 1.1, 0.05];
    for device in devices() {
        let g = Graph::new();
        let x = g.input("x", [4]);
        for (name, y) in [("cube", x * x * x), ("sigmoid", x.sigmoid()), ("tanh", x.tanh()), ("exp", x.exp())]
        {
            let first = g.gradients(y.sum_all(), &[x])[0];
            g.output(name, g.gradients(first.sum_all(), &[x])[0]);
        }
        let mut step = device.compile(&g).unwrap();
        step.run_with(&[("x", (&at).into())]).unwrap();
        let mut compare = |name: &str, f: &dyn Fn(f64) -> f64| {
            for (a, x) in step.values(name).unwrap().iter().zip(at) {
                assert_relative_eq!(f64::from(*a), f(f64::from(x)), max_relative = 2e-5, epsilon = 1e-6);
            }
        };
        let s = |x: f64| 1.0 / (1.0 + (-x).exp());
        compare("cube", &|x| 6.0 * x);
        compare("sigmoid", &|x| s(x) * (1.0 - s(x)) * (1.0 - 2.0 * s(x)));
        compare("tanh", &|x| -2.0 * x.tanh() * (1.0 - x.tanh().powi(2)));
        compare("exp", &|x| x.exp());
    }
}

/// The Hessian of softmax cross-entropy is diag(p) - p pᵀ (Goodfellow et al., section 6.2.2).
#[test]
fn the_second_derivative_of_cross_entropy() {
    for device in devices() {
        let g = Graph::new();
        let z = g.input("z", [1, 4]);
        let class = g.classes("class", [1]);
        let direction = g.input("v", [1, 4]);
        let first = g.gradients(z.softmax_cross_entropy(class), &[z])[0];
        let second = g.gradients((first * direction).sum_all(), &[z])[0];
        g.output("hv", second);
        let mut step = device.compile(&g).unwrap();
        let (z, v) = ([0.2f32, -1.0, 0.7, 1.5], [1.0f32, 0.5, -2.0, 0.3]);
        step.run_with(&[("z", (&z).into()), ("v", (&v).into()), ("class", (&[2u32]).into())]).unwrap();
        let sum: f64 = z.iter().map(|&z| f64::from(z).exp()).sum();
        let p: Vec<f64> = z.iter().map(|&z| f64::from(z).exp() / sum).collect();
        let pv: f64 = p.iter().zip(v).map(|(p, v)| p * f64::from(v)).sum();
        for ((a, p), v) in step.values("hv").unwrap().iter().zip(&p).zip(v) {
            assert_relative_eq!(f64::from(*a), p * (f64::from(v) - pv), max_relative = 1e-5, epsilon = 1e-7);
        }
    }
}

/// A linear model on y = 2x + 1 finds slope and intercept.
#[test]
fn a_line_is_fitted() {
    for device in devices() {
        let params = Params::seeded(3);
        let fc = Linear::new(&params.at("fc"), 1, 1);
        let g = Graph::new();
        let (x, y) = (g.input("x", [8, 1]), g.input("y", [8, 1]));
        let loss = wgrad::losses::mse(fc.forward(x), y);
        g.output("loss", loss);
        Sgd::new(&params, 0.1).momentum(0.9).minimize(loss, &params.trainable());
        let mut step = device.compile(&g).unwrap();
        let xs: Vec<f32> = (0..8).map(|i| i as f32 / 4.0 - 1.0).collect();
        let ys: Vec<f32> = xs.iter().map(|x| 2.0 * x + 1.0).collect();
        step.feed("x", &xs).unwrap();
        step.feed("y", &ys).unwrap();
        (0..300).for_each(|_| step.run().unwrap());
        assert!(step.scalar("loss").unwrap() < 1e-6);
        assert_relative_eq!(device.read_param(fc.weight()).unwrap().as_f32()[0], 2.0, epsilon = 1e-3);
    }
}

/// A convolution, a normalization, maxima, a residual block and a linear layer: four steps of SGD with momentum,
/// then inference. The numbers are those of PyTorch 2.15 in double precision, with the same names, parameter k
/// starting as sin(1.7 i + k) / 2 and 1 more for the scales of normalizations.
#[test]
fn a_residual_network_trains_as_in_pytorch() {
    const NAMES: [&str; 15] = [
        "conv.weight",
        "conv.bias",
        "bn.weight",
        "bn.bias",
        "block.conv1.weight",
        "block.bn1.weight",
        "block.bn1.bias",
        "block.conv2.weight",
        "block.bn2.weight",
        "block.bn2.bias",
        "block.downsample.0.weight",
        "block.downsample.1.weight",
        "block.downsample.1.bias",
        "fc.weight",
        "fc.bias",
    ];
    let x: Vec<f32> =
        (0..288).map(f64::from).map(|i| ((0.37 * i).sin() + (0.011 * i * i).cos()) as f32).collect();
    for device in devices() {
        let params = Params::seeded(0);
        let same = Conv2dOptions { padding: Padding::all(1), ..Conv2dOptions::default() };
        let conv = Conv2d::with(&params.at("conv"), 2, 4, [3, 3], same, true);
        let norm = BatchNorm2d::new(&params.at("bn"), 4);
        let block = ResidualBlock::new(&params.at("block"), 4, 6, 2);
        let fc = Linear::new(&params.at("fc"), 6, 3);
        for (k, name) in NAMES.iter().enumerate() {
            let param = params.get(name).unwrap();
            let shape = param.shape();
            let more = if name.ends_with("weight") && shape.rank() == 1 { 1.0 } else { 0.0 };
            let value = |i| (0.5 * (1.7 * i as f64 + k as f64).sin() + more) as f32;
            let values: Vec<f32> = (0..shape.elements()).map(value).collect();
            device.write_param(&param, &values).unwrap();
        }
        assert_eq!(params.trainable().len(), NAMES.len());
        let forward = |g: &Graph| {
            let x = norm.forward(conv.forward(g.input("x", [3, 2, 8, 6]))).relu();
            let logits = fc.forward(block.forward(MaxPool2d::new(2).forward(x)).global_avg_pool2d());
            g.output("logits", logits);
            let loss = logits.softmax_cross_entropy(g.classes("y", [3]));
            g.output("loss", loss);
            if g.is_training() {
                Sgd::new(&params, 0.1).momentum(0.9).minimize(loss, &params.trainable());
            }
        };
        let feed = [("x", (&x).into()), ("y", (&[0u32, 2, 1]).into())];
        let g = Graph::new();
        forward(&g);
        let mut step = device.compile(&g).unwrap();
        for loss in [1.308_516_4, 0.924_944_1, 0.716_130_1, 0.579_933_1] {
            step.run_with(&feed).unwrap();
            assert_relative_eq!(step.scalar("loss").unwrap(), loss, max_relative = 3e-5);
        }
        let g = Graph::inference();
        forward(&g);
        let mut step = device.compile(&g).unwrap();
        step.run_with(&feed).unwrap();
        let close = |is: &[f32], expected: &[f32]| {
            for (is, expected) in is.iter().zip(expected) {
                assert_relative_eq!(*is, *expected, epsilon = 1e-4);
            }
        };
        let logits = [
            2.150_243, -1.603_274, 0.137_797, -0.017_581, -0.920_725, 1.370_936, 0.247_203, -0.437_609,
            0.407_610,
        ];
        close(&step.values("logits").unwrap(), &logits);
        let read = |name: &str| device.read_param(&params.get(name).unwrap()).unwrap().as_f32().to_vec();
        let variance = [0.725_518, 0.753_108, 0.776_062, 0.725_860, 0.704_855, 0.698_317];
        close(&read("block.downsample.1.running_var"), &variance);
        close(&read("conv.weight")[..4], &[0.020_380, 0.521_455, -0.121_841, -0.147_063]);
    }
}
