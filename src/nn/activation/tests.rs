//! Activations against PyTorch's numbers, at kinks and in tails.

use super::*;
use crate::graph::{Init, Params};
use crate::{Device, Graph};

/// Values, and derivatives of their sum, each times its weight, on a device.
fn at(
    device: &Device,
    shape: &[usize],
    x: &[f32],
    weigh: bool,
    f: &dyn for<'g> Fn(Var<'g>) -> Var<'g>,
) -> [Vec<f32>; 2] {
    let g = Graph::new();
    let input = g.input("x", shape);
    let y = f(input);
    let weight = |i: usize| if weigh { i as f32 + 1.0 } else { 1.0 };
    let weights: Vec<f32> = (0..y.shape().elements()).map(weight).collect();
    let weights = g.constant(crate::Tensor::new(y.shape(), weights).unwrap());
    g.output("y", y);
    g.output("d", g.gradients((y * weights).sum_all(), &[input])[0]);
    let mut step = device.compile(&g).unwrap();
    step.run_with(&[("x", x.into())]).unwrap();
    [step.values("y").unwrap(), step.values("d").unwrap()]
}

fn devices() -> Vec<Device> {
    [vec![Device::reference()], crate::golden_tests::devices()].concat()
}

/// `tests/golden/activations.csv` is PyTorch's.
#[test]
fn values_and_derivatives_are_pytorchs() {
    let rows = include_str!("../../../tests/golden/activations.csv").lines().filter(|l| !l.starts_with('#'));
    let mut seen = vec!["binary-step", "hardmax"];
    for row in rows {
        let (name, numbers) = row.split_once(';').unwrap();
        let activation: Activation = name.parse().unwrap();
        seen.push(activation.name());
        let numbers: Vec<Vec<f64>> =
            numbers.split(';').map(|n| n.split(' ').map(|x| x.parse().unwrap()).collect()).collect();
        let x: Vec<f32> = numbers[0].iter().map(|&x| x as f32).collect();
        let pairs = ["glu", "swiglu", "softmax", "log-softmax"].contains(&name);
        let least = if pairs { 0.05 * x.len() as f64 } else { 0.05 };
        let shape = if pairs { vec![x.len() / 2, 2] } else { vec![x.len()] };
        for device in devices() {
            let found = at(&device, &shape, &x, pairs, &|x| activation.forward(x));
            for (which, (found, expected)) in ["y", "dy/dx"].iter().zip(found.iter().zip(&numbers[1..])) {
                assert_eq!(found.len(), expected.len(), "{name}");
                for (i, (y, e)) in found.iter().zip(expected).enumerate() {
                    // Of pairs, and where a derivative is made of y, as 1 - y², what is left of a difference that vanishes is
                    // rounding: of 1, or of the largest weight. All else keeps its digits however small it is.
                    let is_of_y = *which == "dy/dx" && ["sigmoid", "tanh"].contains(&name);
                    let allowed = match pairs || is_of_y {
                        true => 3e-6 * e.abs().max(least),
                        false => (3e-6 * e.abs().max(least)).min(1e-4 * e.abs() + 1e-37),
                    };
                    let error = (f64::from(*y) - e).abs();
                    assert!(
                        error <= allowed,
                        "{name}: {which} at {} is {y}, not {e}, on {device:?}",
                        x[i * x.len() / found.len()]
                    );
                }
            }
        }
    }
    let mut all = Activation::ALL.map(|a| a.name()).to_vec();
    all.sort_unstable();
    seen.sort_unstable();
    assert_eq!(seen, all, "each has its golden values");
}

#[test]
fn tails_keep_their_digits() {
    let cases: [(&dyn for<'g> Fn(Var<'g>) -> Var<'g>, f32, f64); 8] = [
        (&|x| x.softplus(1.0, 20.0), -20.0, 2.061_153_620_314_381e-9),
        (&|x| x.log_sigmoid(), 20.0, -2.061_153_620_314_381e-9),
        (&|x| x.gelu(), -5.0, -1.433_257_850_967_331_2e-6),
        (&|x| x.gelu(), -10.0, -7.619_853_024_160_527e-23),
        (&|x| x.mish(), -20.0, -4.122_307_244_877_113e-8),
        (&|x| x.tanh_shrink(), 0.001, 3.333_332_000_000_54e-10),
        (&|x| x.elu(1.0), -1e-6, -9.999_995_000_001_667e-7),
        (&|x| x.gelu_tanh(), -3.0, -0.003_637_392_081_773_022_6),
    ];
    for device in devices() {
        for (i, (f, x, expected)) in cases.iter().enumerate() {
            let y = f64::from(at(&device, &[1], &[*x], false, *f)[0][0]);
            assert!((y / expected - 1.0).abs() < 3e-5, "{i}: {y}, not {expected}, on {device:?}");
        }
    }
}

/// Where x, or a product of it, ends: what the plain formula gives in f64 is a number of f32, and so must this be.
#[test]
fn what_is_finite_stays_finite_and_near() {
    let largest = f32::MAX;
    let x: Vec<f32> =
        [0.0, 1e-45, 1e-40, 1.2e-38, 1e-20, 0.3, 1.28, 2.9, 20.0, 85.0, 95.0, 170.0, 1e4, 1e19, 1e30, 3e38]
            .into_iter()
            .chain([largest, f32::INFINITY])
            .flat_map(|x| [x, -x])
            .collect();
    let more = [
        Activation::LeakyRelu(0.1),
        Activation::Elu(2.0),
        Activation::Celu(0.5),
        Activation::Celu(-1e-3),
        Activation::Swish(1e-28),
        Activation::Swish(-3.0),
        Activation::Swish(0.0),
        Activation::Softplus(2.0),
        Activation::Softplus(1e-30),
    ];
    let of_rows = [
        Activation::Softmax,
        Activation::LogSoftmax,
        Activation::Hardmax,
        Activation::Glu,
        Activation::Swiglu,
    ];
    for activation in Activation::ALL.into_iter().chain(more).filter(|a| !of_rows.contains(a)) {
        finite_where_the_reference_is(&format!("{activation:?}"), 0.0, &[x.len()], &x, &|x| {
            activation.forward(x)
        });
    }
    finite_where_the_reference_is("erf", 0.0, &[x.len()], &x, &|x| x.erf());
    finite_where_the_reference_is("learned swish", 0.0, &[x.len()], &x, &|x| {
        let beta =
            x.graph().constant(crate::Tensor::new(x.shape(), vec![1.5; x.shape().elements()]).unwrap());
        x.swish_learned(beta)
    });
    // Pairs of a value and its gate, and logits, without infinities, of which no row is a distribution, and without what is
    // nearly 0, of which an adapter may leave nothing.
    let finite: Vec<f32> =
        x.into_iter().filter(|x| x.is_finite() && (*x == 0.0 || x.abs() > 1e-30)).collect();
    let pairs: Vec<f32> = finite.iter().flat_map(|&a| finite.iter().flat_map(move |&b| [a, b])).collect();
    let shape = [pairs.len() / 2, 2];
    finite_where_the_reference_is("glu", 0.0, &shape, &pairs, &|x| x.glu(1));
    finite_where_the_reference_is("swiglu", 0.0, &shape, &pairs, &|x| x.swiglu(1));
    for temperature in [0.1, 0.5, 1.0, 1.5, 10.0] {
        finite_where_the_reference_is("softmax", 10.0, &shape, &pairs, &|x| x.softmax_at(1, temperature));
        finite_where_the_reference_is("log-softmax", 10.0, &shape, &pairs, &|x| {
            x.log_softmax_at(1, temperature)
        });
    }
}

/// Compares values and gradients with those in f64, for small and large cotangents. A sum over a row, which `least` above 0 tells,
/// has terms that do not cancel to its digits, and must itself be finite.
fn finite_where_the_reference_is(
    name: &str,
    least: f32,
    shape: &[usize],
    x: &[f32],
    f: &dyn for<'g> Fn(Var<'g>) -> Var<'g>,
) {
    let g = Graph::new();
    let input = g.input("x", shape);
    let y = f(input);
    let dy = g.input("dy", y.shape().dims());
    g.output("y", y);
    // Its own sum, so that nothing but the activation multiplies.
    g.output("d", g.gradients((y * dy).sum_all(), &[input])[0]);
    let mut failures = Vec::new();
    for size in [1.0f32, 1e-30, if least > 0.0 { 1e38 } else { 3e38 }, -1e30] {
        let dy = vec![size; y.shape().elements()];
        let run = |device: &Device| {
            let mut step = device.compile(&g).unwrap();
            step.run_with(&[("x", x.into()), ("dy", (&dy).into())]).unwrap();
            ["y", "d"].map(|output| step.values(output).unwrap())
        };
        let expected = run(&Device::reference());
        for device in devices().into_iter().skip(1) {
            for (of, (found, expected)) in run(&device).iter().zip(&expected).enumerate() {
                for (i, (y, e)) in found.iter().zip(expected).enumerate() {
                    let scale = if of == 0 { least } else { size.abs() * least.max(1.0) };
                    let is_near = (y - e).abs() <= 1e-4 * e.abs() + 2e-6 * scale + 2e-38;
                    let end = 0.999 * f32::MAX;
                    // At the end of f32 a number or infinity may be right.
                    let is_right =
                        if e.abs() < end { is_near } else { y.abs() > end && y.signum() == e.signum() };
                    if !is_right {
                        let of = ["y", "dx"][of];
                        failures.push(format!(
                            "{name}: {of} for {size} at {:?} is {y}, not {e}, {device:?}",
                            x[i * x.len() / found.len()]
                        ));
                    }
                }
            }
        }
    }
    assert!(
        failures.is_empty(),
        "{} failures\n{}",
        failures.len(),
        failures[..failures.len().min(20)].join("\n")
    );
}

#[test]
fn no_number_stays_none() {
    for activation in Activation::ALL {
        if [Activation::Hardmax].contains(&activation) {
            continue;
        }
        for device in devices() {
            let y = at(&device, &[1, 2], &[f32::NAN, f32::NAN], false, &|x| activation.forward(x));
            assert!(y[0].iter().all(|y| y.is_nan()), "{activation:?}: {:?} on {device:?}", y[0]);
        }
    }
}

#[test]
fn at_kinks_derivatives_are_pytorchs() {
    let cases: [(Activation, &[f32], &[f32]); 9] = [
        (Activation::Relu, &[0.0, -0.0], &[0.0, 0.0]),
        (Activation::Relu6, &[0.0, 6.0, 3.0], &[0.0, 0.0, 1.0]),
        (Activation::HardTanh(-1.0, 1.0), &[-1.0, 1.0], &[0.0, 0.0]),
        (Activation::HardSigmoid, &[-3.0, 3.0], &[0.0, 0.0]),
        (Activation::HardShrink(0.5), &[-0.5, 0.5], &[0.0, 0.0]),
        (Activation::SoftShrink(0.5), &[-0.5, 0.5], &[0.0, 0.0]),
        (Activation::LeakyRelu(0.25), &[0.0], &[0.25]),
        (Activation::Elu(2.0), &[0.0], &[2.0]),
        (Activation::BinaryStep, &[-1.0, 0.0, 2.0], &[0.0, 0.0, 0.0]),
    ];
    for (activation, x, expected) in cases {
        let found = at(&Device::cpu(), &[x.len()], x, false, &|x| activation.forward(x));
        assert_eq!(found[1], expected, "{activation:?}");
    }
}

#[test]
fn decisions_name_the_largest() {
    let device = Device::cpu();
    let hard =
        |axis: usize| at(&device, &[2, 3], &[1.0, 5.0, 5.0, 2.0, 0.0, 7.0], false, &|x| x.hardmax(axis));
    assert_eq!(hard(1)[0], [0.0, 1.0, 0.0, 0.0, 0.0, 1.0]);
    assert_eq!(hard(0)[0], [0.0, 1.0, 0.0, 1.0, 0.0, 1.0]);
    assert_eq!(hard(0)[1], [0.0; 6]);
    let cold = at(&device, &[2], &[1.0, 2.0], false, &|x| x.softmax_at(0, 0.25));
    assert!((cold[0][1] - 1.0 / (1.0 + (-4.0f32).exp())).abs() < 1e-6);
    let error = "rellu".parse::<Activation>().unwrap_err().to_string();
    assert!(error.contains("no activation `rellu`") && error.contains("hard-swish"), "{error}");
}

/// All on the CPU and on GPUs: slopes within the bounds in training, the same in the backward pass and others in the next step;
/// their mean otherwise.
#[test]
fn random_slopes_are_drawn_in_training_alone() {
    let x: Vec<f32> = (0..600).map(|i| if i % 3 == 0 { 2.0 } else { -2.0 }).collect();
    let mut first = None;
    for device in devices() {
        let params = Params::seeded(3);
        let layer = Rrelu::new(&params.at("act"), 0.125, 0.5);
        let g = Graph::new();
        let input = g.input("x", [600]);
        let y = layer.forward(input);
        g.output("y", y);
        g.output("d", g.gradients(y.sum_all(), &[input])[0]);
        let mut step = device.compile(&g).unwrap();
        let mut run = || {
            step.run_with(&[("x", (&x).into())]).unwrap();
            let [y, d] = ["y", "d"].map(|name| step.values(name).unwrap());
            assert!(x.iter().zip(y.iter().zip(&d)).all(|(x, (y, d))| (x * d - y).abs() < 1e-6));
            d
        };
        let (slopes, next) = (run(), run());
        let below: Vec<f32> = slopes.iter().enumerate().filter(|(i, _)| i % 3 > 0).map(|(_, d)| *d).collect();
        assert!(below.iter().all(|d| (0.125..=0.5).contains(d)));
        let mean = below.iter().sum::<f32>() / below.len() as f32;
        assert!((mean - 0.3125).abs() < 4.0 * 0.375 / 12f32.sqrt() / 20.0, "{mean}");
        assert!(slopes.iter().step_by(3).all(|d| *d == 1.0));
        assert_ne!(slopes, next);
        let expected = first.get_or_insert_with(|| slopes.clone());
        assert!(slopes.iter().zip(expected).all(|(a, b)| (a - *b).abs() < 1e-6), "{device:?}");

        let g = Graph::inference();
        g.output("y", layer.forward(g.input("x", [600])));
        let mut step = device.compile(&g).unwrap();
        step.run_with(&[("x", (&x).into())]).unwrap();
        assert_eq!(step.values("y").unwrap()[..3], [2.0, -0.625, -0.625]);
    }
    let g = Graph::new();
    Rrelu::new(&Params::seeded(1), 0.5, 0.1).forward(g.input("x", [2]));
    assert!(g.error().unwrap().to_string().contains("the lower one first"));
}

/// β of channels against differences of the value, in f64.
#[test]
fn a_learned_beta_has_its_gradient() {
    let params = Params::seeded(3);
    let layer = Swish::new(&params.at("act"), 2);
    let x = [0.5, -1.5, 2.0, -0.25, 3.0, -4.0];
    let value = |betas: [f64; 2]| -> f64 {
        let at = |i: usize| f64::from(x[i]) / (1.0 + (-betas[i % 2] * f64::from(x[i])).exp());
        (0..6).map(at).sum()
    };
    let g = Graph::new();
    let y = layer.forward(g.input("x", [3, 2]));
    g.output("d", g.gradients(y.sum_all(), &[g.param(&layer.beta)])[0]);
    for device in devices() {
        let mut step = device.compile(&g).unwrap();
        step.run_with(&[("x", (&x).into())]).unwrap();
        let found = step.values("d").unwrap();
        for (channel, d) in found.iter().enumerate() {
            let moved = |by: f64| value([0, 1].map(|i| if i == channel { 1.0 + by } else { 1.0 }));
            let expected = (moved(1e-5) - moved(-1e-5)) / 2e-5;
            assert!((f64::from(*d) - expected).abs() < 1e-5, "{channel}: {d}, not {expected}, {device:?}");
        }
    }
}

#[test]
fn every_nonlinearity_makes_a_model_by_its_name() {
    use crate::nn::{Cnn, Mlp, ModelOptions, ResNet};
    let own = ["prelu", "swish-learned", "rrelu", "rrelu=0.1,0.2", "maxout=3"];
    let names = Activation::ALL.map(|a| a.to_string());
    for name in names.iter().map(String::as_str).chain(own) {
        let kind: Nonlinearity = name.parse().unwrap();
        assert_eq!(kind.to_string().parse::<Nonlinearity>().unwrap(), kind);
        let options = ModelOptions::default().activation(kind).init(Init::HeNormal);
        let shape = |make: &dyn Fn(&Params) -> Box<dyn Layer>, dims: &[usize]| {
            let params = Params::seeded(1);
            let model = make(&params);
            let g = Graph::new();
            let y = model.forward(g.input("x", dims));
            g.gradients(y.sum_all(), &[]);
            assert!(g.error().is_none(), "{name}: {:?}", g.error());
            y.shape().dims().to_vec()
        };
        assert_eq!(shape(&|p| Box::new(Mlp::with(p, &[6, 8, 8, 3], &options)), &[4, 6]), [4, 3]);
        if kind.is_elementwise() {
            let images = [2, 1, 8, 8];
            assert_eq!(shape(&|p| Box::new(Cnn::with(p, [1, 8, 8], &[4, 6], 3, &options)), &images), [2, 3]);
            assert_eq!(shape(&|p| Box::new(ResNet::with(p, 1, &[4, 6], 1, 3, &options)), &images), [2, 3]);
        }
    }
}

#[test]
fn initial_weights_are_those_asked_for_and_else_the_usual() {
    use crate::nn::{Mlp, ModelOptions, ResNet};
    let weights = |options: Option<ModelOptions>| {
        let params = Params::seeded(1);
        match options {
            Some(options) => {
                Mlp::with(&params.at("mlp"), &[64, 32, 3], &options);
                ResNet::with(&params.at("net"), 1, &[4, 6], 1, 3, &options);
            }
            None => {
                Mlp::new(&params.at("mlp"), &[64, 32, 3]);
                ResNet::new(&params.at("net"), 1, &[4, 6], 1, 3);
            }
        }
        params.trainable().iter().map(|p| (p.name().to_string(), p.initial())).collect::<Vec<_>>()
    };
    assert_eq!(weights(None), weights(Some(ModelOptions::default())));
    for (name, value) in weights(Some(ModelOptions::default().init("constant=0.5".parse().unwrap()))) {
        let crate::Data::F32(value) = value else { panic!("{name}") };
        let is_weight = name.ends_with("weight") && !name.contains("bn") && !name.contains("downsample.1");
        assert_eq!(value.iter().all(|x| *x == 0.5), is_weight, "{name}");
    }
}

#[test]
fn slopes_and_pieces_are_learned() {
    let params = Params::seeded(3);
    let (one, each) = (Prelu::new(&params.at("one"), 1), Prelu::new(&params.at("each"), 2));
    let maxout = Maxout::new(&params.at("maxout"), 3, 2, 4);
    let g = Graph::new();
    let x = g.input("x", [1, 2, 2]);
    let loss = (each.forward(one.forward(x))
        * g.constant(crate::Tensor::new([1, 2, 2], vec![1.0, 2.0, 3.0, 4.0]).unwrap()))
    .sum_all();
    let slopes = [g.param(&one.slope), g.param(&each.slope)];
    for (i, d) in g.gradients(loss, &slopes).into_iter().enumerate() {
        g.output(&format!("d{i}"), d);
    }
    let z = g.input("z", [5, 3]);
    let y = maxout.forward(z);
    assert_eq!(y.shape().dims(), [5, 2]);
    g.output("y", y);
    let parts = maxout.linear.forward(z);
    g.output("parts", parts);
    let mut step = Device::cpu().compile(&g).unwrap();
    let z: Vec<f32> = (0..15).map(|i| (i as f32 * 0.7).sin()).collect();
    step.run_with(&[("x", (&[-1.0, 2.0, -3.0, -4.0]).into()), ("z", (&z).into())]).unwrap();
    // Below 0 both slopes count: y = 0.25 · 0.25 x.
    assert_eq!(step.values("d0").unwrap(), [0.25 * (-1.0 - 9.0 - 16.0)]);
    assert_eq!(step.values("d1").unwrap(), [-0.25, -6.25]);
    let (y, parts) = (step.values("y").unwrap(), step.values("parts").unwrap());
    for (y, parts) in y.iter().zip(parts.chunks(4)) {
        assert_eq!(*y, parts.iter().copied().fold(f32::MIN, f32::max));
    }
}
