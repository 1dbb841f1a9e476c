//! Errors, names, kinks and extremes of losses, and the adaptive loss.

use super::{Adaptive, Loss, NAMES, Reduction};
use crate::graph::{Graph, Params, Var};
use crate::optim::{Adam, Optimizer};
use crate::{Device, Tensor};

/// The message of a recording that is a mistake.
fn mistake(build: impl for<'g> Fn(&'g Graph) -> Var<'g>) -> String {
    let g = Graph::new();
    build(&g);
    g.error().map_or_else(|| panic!("no mistake"), |error| error.to_string())
}

#[test]
fn what_a_loss_does_not_take_is_refused() {
    let two = |loss: Loss| mistake(move |g| loss.of([g.input("p", [4, 3]), g.input("t", [4, 3])]));
    assert!(two(Loss::huber(0.0)).contains("delta is 0; it is a positive number"));
    assert!(two(Loss::huber(f32::NAN)).contains("delta is NaN"));
    assert!(two(Loss::quantile(1.5)).contains("the quantile is 1.5; it lies between 0 and 1"));
    assert!(two(Loss::robust(2.5, 1.0)).contains("alpha is 2.5"));
    assert!(two(Loss::robust(1.0, -1.0)).contains("the scale is -1"));
    assert!(two(Loss::multi_margin(3)).contains("the power is 3"));
    assert!(two(Loss::mse().class_weights([1.0; 3])).contains("there is no class weights in this loss"));
    assert!(two(Loss::mse().label_smoothing(0.1)).contains("no label smoothing"));
    assert!(two(Loss::cross_entropy().label_smoothing(-0.1)).contains("label smoothing by -0.1"));
    assert!(two(Loss::cross_entropy().class_weights([1.0, 2.0])).contains("2 class weights for 3 classes"));
    assert!(
        two(Loss::cross_entropy().class_weights([1.0, -2.0, 1.0])).contains("the weight of class 1 is -2")
    );
    assert!(two(Loss::cross_entropy().ignore_class(1)).contains("distributions have no class"));
    assert!(two(Loss::nll()).contains("the targets are class numbers [4]; got"));
    let classes = |loss: Loss| mistake(move |g| loss.of([g.input("p", [4, 3]), g.classes("t", [4])]));
    assert!(classes(Loss::cross_entropy().ignore_class(3)).contains("there are the classes 0..3"));
    assert!(classes(Loss::mse()).contains("the targets are [4]"));
    let shapes = |loss: Loss| mistake(move |g| loss.of([g.input("p", [4, 1]), g.input("t", [4, 4])]));
    assert!(shapes(Loss::mse()).contains("the model makes [4, 1], and the targets are [4, 4]"));
    assert!(shapes(Loss::cross_entropy()).contains("or probabilities [4, 1]"));
    let weights =
        mistake(|g| Loss::mse().of_weighted([g.input("p", [4, 3]), g.input("t", [4, 3])], g.input("w", [3])));
    assert!(weights.contains("weights [3] of the rows of loss values [4, 3]"), "{weights}");
    let three = mistake(|g| {
        let x = g.input("x", [4, 3]);
        Loss::triplet_margin(1.0).of([x, x, g.input("n", [4, 2])])
    });
    assert!(three.contains("[4, 2]"), "{three}");
}

#[test]
fn a_class_outside_is_named_with_its_row() {
    let g = Graph::new();
    let (z, c) = (g.input("z", [2, 3]), g.classes("c", [2]));
    g.output("loss", Loss::nll().class_weights([1.0, 2.0, 3.0]).of([z.log_softmax(1), c]));
    let mut step = Device::cpu().compile(&g).unwrap();
    let error = step.feed("c", &[0u32, 3]).unwrap_err().to_string();
    assert!(error.contains('3') && error.contains('1'), "{error}");
}

#[test]
fn names_are_parsed_as_they_are_shown() {
    for (name, parameters) in NAMES {
        let loss: Loss = name.parse().unwrap();
        let shown = loss.to_string();
        assert_eq!(shown.contains('='), !parameters.is_empty(), "{shown}");
        assert_eq!(shown.parse::<Loss>().unwrap(), loss);
        assert!(shown.starts_with(name));
    }
    let refused = |text: &str| text.parse::<Loss>().unwrap_err().to_string();
    assert!(refused("hubber").contains("no loss `hubber`, did you mean `huber`? There are mse, mae,"));
    assert!(refused("xyzzy").contains("no loss `xyzzy`. There are"));
    assert!(refused("huber=a").contains("`a` is no number"));
    assert!(refused("huber=-1").contains("delta is -1"));
    assert!(refused("mse=1").contains("takes 0 numbers, and 1 are given"));
    assert!(refused("multi-margin=3").contains("it is 1 or 2"));
    assert_eq!("softmax-cross-entropy".parse::<Loss>().unwrap(), Loss::cross_entropy());
}

/// Value and gradient of a loss of one prediction and target in f32.
fn at(loss: &Loss, prediction: f32, target: f32) -> [f32; 2] {
    let g = Graph::new();
    let (p, t) = (g.input("p", [1, 1]), g.input("t", [1, 1]));
    let out = loss.of([p, t]);
    g.output("out", out);
    g.output("d", g.gradients(out, &[p])[0]);
    let mut step = Device::cpu().compile(&g).unwrap();
    step.run_with(&[("p", (&[prediction]).into()), ("t", (&[target]).into())]).unwrap();
    [step.scalar("out").unwrap(), step.values("d").unwrap()[0]]
}

#[test]
fn kinks_and_extremes_have_the_limits_of_the_formula() {
    assert_eq!(at(&Loss::huber(0.5), 0.5, 0.0), [0.125, 0.5]);
    assert_eq!(at(&Loss::huber(0.5), 3e38, 0.0), [1.5e38, 0.5]);
    assert_eq!(at(&Loss::huber(0.5), 0.0, 0.0), [0.0, 0.0]);
    assert_eq!(at(&Loss::log_cosh(), 3e38, 0.0), [3e38, 1.0]);
    assert_eq!(at(&Loss::log_cosh(), 0.0, 0.0), [0.0, 0.0]);
    assert_eq!(at(&Loss::quantile(0.75), 0.0, 0.0), [0.0, -0.25]);
    for alpha in [1.0, 0.0, -2.0, f32::NEG_INFINITY] {
        let [value, slope] = at(&Loss::robust(alpha, 1.0), 3e38, 0.0);
        assert!(value.is_finite() && slope.is_finite(), "{alpha}: {value} {slope}");
    }
    let [value, slope] = at(&Loss::robust(1.0, 1.0), 3e38, 0.0);
    assert!((value / 3e38 - 1.0).abs() < 1e-4 && (slope - 1.0).abs() < 1e-4, "{value} {slope}");
    // Near the special shapes as at them.
    for (alpha, near) in [(2.0, 1.999_999_9), (0.0, 1e-7), (0.0, -1e-7), (f32::NEG_INFINITY, -1e9)] {
        for x in [1e-3, 0.5, 3.0, 1e3] {
            let (a, b) = (at(&Loss::robust(alpha, 1.0), x, 0.0), at(&Loss::robust(near, 1.0), x, 0.0));
            for (a, b) in a.iter().zip(b) {
                assert!((a - b).abs() <= 1e-5 * a.abs(), "{alpha} at {x}: {a} {b}");
            }
        }
    }
    // Probabilities of 0 and 1.
    assert_eq!(at(&Loss::bce_of_probabilities(), 0.0, 1.0), [100.0, -1e12]);
    assert_eq!(at(&Loss::bce_of_probabilities(), 1.0, 0.0), [100.0, 1e12]);
    assert_eq!(at(&Loss::bce_of_probabilities(), 0.0, 0.0), [0.0, 1.0]);
    assert_eq!(at(&Loss::categorical_cross_entropy(), 0.0, 0.0), [0.0, 0.0]);
    assert_eq!(at(&Loss::kl(), -5.0, 0.0), [0.0, 0.0]);
    assert_eq!(at(&Loss::bce(), 3e38, 1.0), [0.0, 0.0]);
    for (z, label) in [(-1e4, 0.0), (1e4, 1.0), (200.0, 0.0)] {
        let [value, slope] = at(&Loss::binary_focal(0.5, 0.25), z, label);
        assert!(value.is_finite() && slope.is_finite(), "{value} {slope}");
    }
    let [value, slope] = at(&Loss::variable_power(1.0), 0.0, 0.0);
    assert!(value.is_finite() && slope == 0.0, "{value} {slope}");
    assert_eq!(at(&Loss::cosine_similarity(), 0.0, 0.0)[0], 1.0);
}

/// Functions of the library give the bits of the loss that is their mean.
#[test]
fn the_mean_is_that_of_the_functions() {
    let g = Graph::new();
    let (p, t, c) = (g.input("p", [5, 3]), g.input("t", [5, 3]), g.classes("c", [5]));
    let pairs = [
        (Loss::mse().of([p, t]), super::mse(p, t)),
        (Loss::mae().of([p, t]), super::mae(p, t)),
        (Loss::bce().of([p, t]), super::binary_cross_entropy(p, t)),
        (Loss::cross_entropy().of([p, c]), p.softmax_cross_entropy(c)),
    ];
    for (i, (a, b)) in pairs.into_iter().enumerate() {
        g.output(&format!("a{i}"), a);
        g.output(&format!("b{i}"), b);
    }
    let mut step = Device::cpu().compile(&g).unwrap();
    let noise = |seed: usize| -> Vec<f32> { (0..15).map(|i| ((i * 7 + seed) % 11) as f32 / 11.0).collect() };
    let (p, t, c) = (noise(1), noise(2), [0u32, 2, 1, 1, 0]);
    step.run_with(&[("p", (&p).into()), ("t", (&t).into()), ("c", (&c).into())]).unwrap();
    for i in 0..4 {
        assert_eq!(step.scalar(&format!("a{i}")).unwrap(), step.scalar(&format!("b{i}")).unwrap());
    }
}

/// ρ of the paper with scale 1.
fn rho(x: f64, alpha: f64) -> f64 {
    let b = 2.0 - alpha;
    b / alpha * (alpha / 2.0 * (x * x / b).ln_1p()).exp_m1()
}

#[test]
fn the_adaptive_loss_is_a_density_of_integral_1() {
    // By the double-exponential rule.
    let log_z = |alpha: f64| {
        let term = |i: i32| {
            let t = f64::from(i) * 0.002;
            let x = (std::f64::consts::FRAC_PI_2 * t.sinh()).sinh();
            let dx = std::f64::consts::FRAC_PI_2 * t.cosh() * (std::f64::consts::FRAC_PI_2 * t.sinh()).cosh();
            let value = (-rho(x, alpha)).exp() * dx;
            if value.is_finite() { value } else { 0.0 }
        };
        ((-2100..=2100).map(term).sum::<f64>() * 0.002).ln()
    };
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    let raw: Vec<f32> = (0..41).map(|i| i as f32 * 0.4 - 8.0).collect();
    let params = Params::seeded(1);
    let loss = Adaptive::new(&params, raw.len()).reduction(Reduction::None);
    let device = Device::reference();
    device.write_param(&params.get("alpha").unwrap(), &raw[..]).unwrap();
    device.write_param(&params.get("log_scale").unwrap(), &vec![0.5f32; raw.len()][..]).unwrap();
    let g = Graph::new();
    let x = 1.25f32;
    let p = g.constant(Tensor::new([1, raw.len()], vec![x; raw.len()]).unwrap());
    let out = loss.of([p, p * 0.0]);
    g.output("out", out);
    let mut step = device.compile(&g).unwrap();
    step.run().unwrap();
    let mut most: f64 = 0.0;
    for (found, raw) in step.values("out").unwrap().iter().zip(&raw) {
        let alpha = 0.001 + 1.998 * sigmoid(f64::from(*raw));
        let expected = rho(f64::from(x) * (-0.5f64).exp(), alpha) + 0.5 + log_z(alpha);
        most = most.max((f64::from(*found) - expected).abs());
    }
    println!("off by {most:e}");
    assert!(most < 1e-6, "{most:e}");
}

#[test]
fn the_adaptive_loss_learns_shape_and_scale() {
    // Most differences are small, and a tenth are 50 times as large: a shape near 0 and the scale of the small ones.
    let params = Params::seeded(1);
    let loss = Adaptive::new(&params, 1);
    let adam = Adam::new(&params, 0.05);
    let g = Graph::new();
    let t = g.input("t", [200, 1]);
    let mean = loss.of([t * 0.0, t]);
    let [alpha, scale] = loss.shapes_and_scales(&g);
    g.output("loss", mean);
    g.output("alpha", alpha.copy());
    g.output("scale", scale.copy());
    adam.minimize(mean, &params.trainable());
    let mut step = Device::cpu().compile(&g).unwrap();
    let small = |i: usize| ((i * 37 % 101) as f32 / 50.0 - 1.0) * 0.2;
    let t: Vec<f32> = (0..200).map(|i| small(i) * if i % 10 == 0 { 50.0 } else { 1.0 }).collect();
    step.feed("t", &t).unwrap();
    step.run().unwrap();
    let first = step.scalar("loss").unwrap();
    step.run_many(600).unwrap();
    let (last, alpha, scale) =
        (step.scalar("loss").unwrap(), step.scalar("alpha").unwrap(), step.scalar("scale").unwrap());
    println!("{first} {last}, alpha {alpha}, scale {scale}");
    assert!(last < first - 0.5 && alpha < 0.5 && (0.02..0.3).contains(&scale), "{last} {alpha} {scale}");
}

#[test]
fn parameters_that_are_not_given_are_those_of_the_list() {
    let mut given = 0;
    for (name, takes) in NAMES {
        let usual = takes.split_once(", ").and_then(|(_, usual)| usual.strip_suffix(" unless given"));
        let expected = usual.map_or(name.to_string(), |usual| format!("{name}={usual}"));
        assert_eq!(name.parse::<Loss>().unwrap().to_string(), expected);
        given += usize::from(usual.is_some());
    }
    assert_eq!(given, NAMES.iter().filter(|(_, takes)| !takes.is_empty()).count());
    let error = "adaptive".parse::<Loss>().unwrap_err().to_string();
    assert!(error.contains("`losses::Adaptive`"), "{error}");
}
