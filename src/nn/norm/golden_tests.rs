//! Normalizations and their gradients against `tests/golden/normalizations.csv`, by PyTorch.

use crate::golden_tests::{Numbers, Worst, devices, golden, in_f64, on, weighed};
use crate::graph::{Graph, Var};

const GOLDEN: &str = include_str!("../../../tests/golden/normalizations.csv");

/// Records the case of this name: its outputs.
fn record<'g>(name: &str, x: &[Var<'g>]) -> Vec<Var<'g>> {
    let (name, variant) = name.split_once('/').unwrap_or((name, ""));
    let (name, number) = name.split_once('=').unwrap_or((name, "0"));
    let number = number.parse().unwrap();
    let eps = if variant == "eps" { 0.125 } else { 1e-5 };
    let at = |i: usize| x.get(i).copied();
    vec![match name {
        "group-norm" => x[0].group_norm(number, at(1), at(2), eps),
        "instance-norm" => x[0].instance_norm(at(1), at(2), eps),
        "rms-norm" => x[0].rms_norm(at(1), if variant == "eps" { eps } else { f32::EPSILON }),
        "local-response-norm" => match variant {
            "usual" => x[0].local_response_norm(number, 1e-4, 0.75, 1.0),
            "line" => x[0].local_response_norm(number, 2.0, 0.5, 2.0),
            _ => x[0].local_response_norm(number, 0.5, 0.75, 1.0),
        },
        "weight-norm" => x[0].weight_norm(x[1]),
        "spectral-norm" => x[0].spectral_norm(x[1], x[2]),
        "power-iteration" => return x[0].power_iteration(x[1], 1e-12).to_vec(),
        other => panic!("{other}"),
    }]
}

/// The largest difference from the file, over the largest number of a tensor or, where that is less, 1.
///
/// Differences of cases far from 0 are divided by `far`: their mean is a thousand times their spread, and rounded in `f32`.
fn worst(far: f64, of: impl Fn(&Graph, &[(String, Numbers)], &[String]) -> Vec<Vec<f64>>) -> Worst {
    let mut worst = Worst::default();
    for (name, tensors) in golden(GOLDEN) {
        let (inputs, expected): (Vec<Numbers>, Vec<Numbers>) =
            tensors.into_iter().partition(|t| t.what == "input");
        let g = Graph::new();
        let labels: Vec<String> = (0..inputs.len()).map(|i| format!("x{i}")).collect();
        let x: Vec<Var<'_>> =
            labels.iter().zip(&inputs).map(|(label, t)| g.input(label, &t.shape[..])).collect();
        let outs = record(&name, &x);
        let loss = outs.iter().map(|y| weighed(*y)).reduce(|a, b| a + b).unwrap();
        let all = [outs, g.gradients(loss, &x)].concat();
        assert!(g.error().is_none(), "{name}: {:?}", g.error());
        assert_eq!(all.len(), expected.len(), "{name}");
        let outputs: Vec<String> = (0..all.len()).map(|i| format!("y{i}")).collect();
        outputs.iter().zip(&all).for_each(|(label, v)| g.output(label, *v));
        let fed: Vec<(String, Numbers)> = labels.into_iter().zip(inputs).collect();
        for (found, expected) in of(&g, &fed, &outputs).iter().zip(&expected) {
            let far = if name.ends_with("/far") { far } else { 1.0 };
            worst.compare(&name, found, expected, far * expected.size());
        }
    }
    assert!(worst.compared > 2500, "{}", worst.compared);
    worst
}

#[test]
fn values_and_gradients_are_those_of_pytorch() {
    let Worst { off, what: worst, .. } = worst(1.0, in_f64);
    println!("off by {off:e} at most: {worst}");
    assert!(off < 1e-9, "{off:e}: {worst}");
}

#[test]
fn kernels_give_those_of_pytorch() {
    for device in devices() {
        let Worst { off, what: worst, .. } = worst(100.0, |g, fed, labels| on(&device, g, fed, labels));
        println!("off by {off:e} at most: {worst}");
        assert!(off < 1e-5, "{off:e} on {device:?}: {worst}");
    }
}
