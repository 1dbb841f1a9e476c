//! Losses and their gradients against `tests/golden/losses.csv`, by PyTorch.

use super::{Ctc, Loss, Reduction};
use crate::golden_tests::{self, Numbers, Worst, in_f64};
use crate::graph::{Graph, Var};

const GOLDEN: &str = include_str!("../../tests/golden/losses.csv");

/// Records the loss that a name of the file stands for.
fn record<'g>(name: &str, values: &[Var<'g>], weights: Option<Var<'g>>) -> Var<'g> {
    let (loss, reduction) = name.split_once('/').unwrap();
    let (reduction, weights) = match reduction {
        "sum" => (Reduction::Sum, None),
        "none" => (Reduction::None, None),
        "mean" => (Reduction::Mean, None),
        _ => (Reduction::Mean, Some(weights.unwrap())),
    };
    let finish3 = |loss: Loss<3>| {
        let loss = loss.reduction(reduction);
        let values = [values[0], values[1], values[2]];
        weights.map_or_else(|| loss.of(values), |w| loss.of_weighted(values, w))
    };
    match loss {
        "3:gaussian-nll" => return finish3(Loss::gaussian_nll(false)),
        "3:gaussian-nll-full" => return finish3(Loss::gaussian_nll(true)),
        "3:cosine-embedding=0.25" => return finish3(Loss::cosine_embedding(0.25)),
        "3:margin-ranking=0.5" => return finish3(Loss::margin_ranking(0.5)),
        "3:triplet-margin=1" => return finish3(Loss::triplet_margin(1.0)),
        "3:contrastive=2" => return finish3(Loss::contrastive(2.0)),
        _ => {}
    }
    let mut parts = loss.split('+');
    let base = parts.next().unwrap();
    if let Some(blank) = base.strip_prefix("ctc=") {
        let ctc = Ctc::new(blank.parse().unwrap()).reduction(reduction);
        let ctc = if parts.next() == Some("z") { ctc.zero_infinity() } else { ctc };
        return ctc.of(values[0].log_softmax(2), values[1], [values[2], values[3]]);
    }
    let mut loss: Loss = base.parse().unwrap();
    for option in parts {
        loss = match option {
            "w" if base == "bce" => loss.class_weights([0.5, 3.0]),
            "w" => loss.class_weights([0.5, 1.0, 2.0, 0.25]),
            "s" => loss.label_smoothing(0.125),
            "i" => loss.ignore_class(if base == "nll" { 2 } else { 3 }),
            _ => loss,
        };
    }
    let loss = loss.reduction(reduction);
    let values = [values[0], values[1]];
    weights.map_or_else(|| loss.of(values), |w| loss.of_weighted(values, w))
}

/// Runs all cases: `of` gives outputs of a graph whose inputs hold the numbers. Returns the worst error, relative to the
/// largest number of a tensor, or to 1 where that is less, and how many numbers were compared.
fn worst(mut of: impl FnMut(&Graph, &[(String, Numbers)], &[String]) -> Vec<Vec<f64>>) -> Worst {
    let all = golden_tests::golden(GOLDEN);
    let mut worst = Worst::default();
    for (name, expected) in all.iter().filter(|(name, _)| name.contains('/')) {
        let inputs = &all[name.split_once('/').unwrap().0];
        let g = Graph::new();
        let (mut vars, mut weights, mut fed) = (Vec::new(), None, Vec::new());
        for (i, numbers) in inputs.iter().enumerate() {
            let label = format!("x{i}");
            let var = match &numbers.what[..] {
                "classes" => g.classes(&label, &numbers.shape[..]),
                _ => g.input(&label, &numbers.shape[..]),
            };
            if numbers.what == "weights" {
                weights = Some(var);
                if !name.ends_with("/weighted") {
                    continue;
                }
            } else {
                vars.push(var);
            }
            fed.push((label, numbers.clone()));
        }
        let out = record(name, &vars, weights);
        let scalar = if out.shape().rank() == 0 { out } else { out.square().sum_all() };
        let floats: Vec<Var<'_>> =
            vars.iter().zip(inputs).filter(|(_, n)| n.what == "input").map(|(v, _)| *v).collect();
        g.output("out", out);
        for (i, gradient) in g.gradients(scalar, &floats).into_iter().enumerate() {
            g.output(&format!("d{i}"), gradient);
        }
        assert!(g.error().is_none(), "{name}: {:?}", g.error());
        let labels: Vec<String> =
            (0..expected.len()).map(|i| if i == 0 { "out".into() } else { format!("d{}", i - 1) }).collect();
        for (found, expected) in of(&g, &fed, &labels).iter().zip(expected) {
            // log(2π) / 2 as f32 is off by 1.5e-8.
            let more = if name.contains("-full") { 20.0 } else { 1.0 };
            worst.compare(name, found, expected, more * expected.size());
        }
    }
    worst
}

#[test]
fn losses_and_gradients_are_those_of_pytorch() {
    let Worst { off, what: worst, compared } = worst(in_f64);
    println!("{compared} numbers, off by {off:e} at most: {worst}");
    assert!(compared > 2000, "{compared}");
    // Constants such as 1e-6 are f32, which tells in the last digits.
    assert!(off < 1e-9, "{off:e}: {worst}");
}

#[test]
#[cfg(feature = "gpu")]
fn kernels_give_those_of_pytorch() {
    let Ok(device) = crate::Device::gpu() else {
        assert!(std::env::var_os("WGRAD_REQUIRE_GPU").is_none(), "there is no GPU");
        return;
    };
    let Worst { off, what: worst, .. } = worst(|g, fed, labels| golden_tests::on(&device, g, fed, labels));
    println!("off by {off:e} at most: {worst}");
    assert!(off < 1e-5, "{off:e}: {worst}");
}
