//! Activations against PyTorch's numbers, at kinks and in tails.

use super::*;
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
                    // Where a derivative is a difference that vanishes, what is left is rounding: of 1, or of the
                    // largest weight. Values of one number keep their digits however small they are.
                    let allowed = 3e-6 * e.abs().max(least);
                    let of_value = 5e-5 * e.abs() + 1e-37;
                    let allowed = if *which == "y" && !pairs { allowed.min(of_value) } else { allowed };
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
