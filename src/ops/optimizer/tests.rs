//! The formulas against independent recurrences.

use super::cases::{ADAM, TICK};
use super::*;
use crate::cpu::run_op;
use crate::ops::testing::{Value, eval};
use crate::ops::{Op, float};
use crate::rng::Rng;
use crate::tensor::Tensor;

const N: usize = 37;

/// Runs an update of `states` in place.
fn update(op: &dyn Op, fast: bool, inputs: &[&[f64]], states: &mut [Vec<f64>]) {
    let all: Vec<&[f64]> = inputs.iter().copied().chain(states.iter().map(Vec::as_slice)).collect();
    let dims: Vec<[usize; 1]> = all.iter().map(|x| [x.len()]).collect();
    let values = dims.iter().zip(all).map(|(dims, x)| (&dims[..], Value::F(x.to_vec())));
    let made = eval(op, !fast, &values.collect::<Vec<_>>()).unwrap();
    states.iter_mut().zip(made).for_each(|(state, new)| state.copy_from_slice(new.f()));
}

fn tick(op: &AdamTick, lr: f64, t: &mut u32) -> Vec<f64> {
    let inputs = [(&[1][..], Value::F(vec![lr])), (&[1], Value::U32(vec![*t]))];
    let made = eval(op, true, &inputs).unwrap();
    let [scalars, Value::U32(next)] = &made[..] else { panic!("{made:?}") };
    *t = next[0];
    scalars.f().to_vec()
}

/// A gradient that depends on the weights, as in training.
fn gradient(w: &[f64], step: u32) -> Vec<f64> {
    let wave = |i: usize| (f64::from(step) * 0.3 + i as f64).sin();
    w.iter().enumerate().map(|(i, w)| 0.5 * w + wave(i)).collect()
}

fn start() -> Vec<f64> {
    let mut rng = Rng::new(1, "weights");
    (0..N).map(|_| rng.normal()).collect()
}

fn assert_close(a: &[f64], b: &[f64]) {
    let far = a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    assert!(far < 1e-11, "{far:e}");
}

/// The papers' forms: bias-corrected moments, powers by multiplication.
#[test]
fn adam_and_adamw_follow_the_papers_over_100_steps() {
    let (lr, beta1, beta2, eps) = (0.01, 0.9, 0.999, f64::from(1e-8f32));
    for (weight_decay, decoupled) in [(0.0f32, false), (0.1, false), (0.01, true)] {
        for fast in [false, true] {
            let op = AdamUpdate { weight_decay, decoupled, rows: vec![0], ..ADAM };
            let decay = f64::from(weight_decay);
            let mut states = vec![start(), vec![0.0; N], vec![0.0; N]];
            let (mut w, mut m, mut v) = (start(), vec![0.0; N], vec![0.0; N]);
            let (mut t, mut power1, mut power2) = (0, 1.0, 1.0);
            for step in 0..100 {
                let scalars = tick(&TICK, lr, &mut t);
                update(&op, fast, &[&gradient(&states[0], step), &scalars], &mut states);
                power1 *= beta1;
                power2 *= beta2;
                for (i, mut g) in gradient(&w, step).into_iter().enumerate() {
                    let old = w[i];
                    g += if decoupled { 0.0 } else { decay * old };
                    m[i] = beta1 * m[i] + (1.0 - beta1) * g;
                    v[i] = beta2 * v[i] + (1.0 - beta2) * g.powi(2);
                    let (mean, square) = (m[i] / (1.0 - power1), v[i] / (1.0 - power2));
                    w[i] -= lr * mean / (square.sqrt() + eps);
                    w[i] -= if decoupled { lr * decay * old } else { 0.0 };
                }
            }
            assert_close(&states[0], &w);
            assert_eq!(t, 100);
        }
    }
}

/// PyTorch's documentation of `SGD`, with the buffer that does not exist before the first step.
#[test]
fn sgd_follows_pytorch_over_100_steps() {
    let lr = [0.05];
    for (momentum, nesterov, weight_decay) in
        [(0.0, false, 0.0), (0.0, false, 0.1), (0.9, false, 0.0), (0.9, false, 0.1), (0.9, true, 0.1)]
    {
        for fast in [false, true] {
            let op = SgdUpdate { momentum, nesterov, weight_decay, has_factor: false };
            let (mu, decay) = (f64::from(momentum), f64::from(weight_decay));
            let mut states = vec![start(), vec![0.0; N]];
            states.truncate(op.writes());
            let (mut w, mut buffer) = (start(), None::<Vec<f64>>);
            for step in 0..100 {
                update(&op, fast, &[&gradient(&states[0], step), &lr], &mut states);
                let g: Vec<f64> = gradient(&w, step).iter().zip(&w).map(|(g, w)| g + decay * w).collect();
                let direction = if momentum == 0.0 {
                    g
                } else {
                    let b: Vec<f64> = match &buffer {
                        None => g.clone(),
                        Some(old) => old.iter().zip(&g).map(|(b, g)| mu * b + g).collect(),
                    };
                    buffer = Some(b.clone());
                    if nesterov { g.iter().zip(&b).map(|(g, b)| g + mu * b).collect() } else { b }
                };
                w.iter_mut().zip(direction).for_each(|(w, d)| *w -= lr[0] * d);
            }
            assert_close(&states[0], &w);
        }
    }
}

#[test]
fn in_f32_an_update_makes_no_denormals() {
    let narrow = |x: Vec<f64>| x.into_iter().map(|x| x as f32).collect::<Vec<f32>>();
    let mut g = narrow(gradient(&start(), 0));
    g[..3].copy_from_slice(&[0.0, 1e-38, 1e-25]);
    let scalars = narrow(tick(&TICK, 0.01, &mut 0));
    let inputs = [g, scalars, narrow(start()), vec![0.0; N], vec![0.0; N]];
    let inputs = inputs.map(|x| Tensor::new([x.len()], x).unwrap());
    let states = run_op::<f32>(&AdamUpdate { rows: vec![0], ..ADAM }, &inputs, false).unwrap();
    assert!(states.iter().flat_map(|s| s.as_f32()).all(|x| *x == 0.0 || x.is_normal()));
    assert_eq!(states[2].as_f32()[1], 0.0);
}

#[test]
fn corrections_are_accurate_where_subtracting_would_cancel() {
    let mut t = 0;
    let scalars = tick(&TICK, 1e-3, &mut t);
    assert_eq!((scalars[2], scalars[3], t), (1e-3, 1.0, 1));
    for (scalar, expected) in scalars.into_iter().zip([1e-2, 1e3f64.sqrt()]) {
        assert!((scalar / expected - 1.0).abs() < 1e-12, "{scalar} {expected}");
    }
    let scalars = tick(&AdamTick { beta1: 0.0, beta2: 0.0, ..TICK }, 0.5, &mut u32::MAX.clone());
    assert_eq!(scalars, [0.5, 1.0, 0.5, 1.0]);
}

#[test]
fn wrong_settings_and_shapes_are_refused() {
    let adam = AdamUpdate { rows: vec![0], ..ADAM };
    let sgd = SgdUpdate { momentum: 0.9, nesterov: true, weight_decay: 0.0, has_factor: false };
    let (w, one) = (float(&[3, 2]), float(&[1]));
    let (four, other) = (float(&[4]), float(&[2, 3]));
    let count = TensorType::u32(one.shape);
    let refusal = |op: &dyn Op, inputs: &[TensorType]| op.infer(inputs).unwrap_err();
    let all = [w, four, w, w, w];
    assert!(adam.infer(&all).is_ok() && sgd.infer(&[w, one, w, w]).is_ok());
    assert!(refusal(&adam, &[w, four, w, w, other]).contains("differ in shape"));
    assert!(refusal(&adam, &[w, one, w, w, w]).contains("takes four scalars for each of 1 counters"));
    assert!(refusal(&AdamUpdate { eps: -1.0, ..adam.clone() }, &all).contains("eps"));
    assert!(refusal(&AdamUpdate { weight_decay: f32::NAN, ..adam }, &all).contains("weight decay"));
    assert!(refusal(&SgdUpdate { momentum: -0.1, ..sgd.clone() }, &[w, one, w]).contains("momentum"));
    assert!(refusal(&SgdUpdate { momentum: 0.0, ..sgd }, &[w, one, w]).contains("Nesterov"));
    for beta1 in [-0.1, 1.0, f64::NAN] {
        assert!(refusal(&AdamTick { beta1, ..TICK }, &[one, count]).contains("betas"));
    }
    assert!(refusal(&TICK, &[one, one]).contains("must be u32"));
}
