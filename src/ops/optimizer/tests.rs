//! The formulas against recurrences that were written down independently, in f64.

use super::cases::{ADAM, SGD};
use super::*;
use crate::cpu::run_op;
use crate::ops::testing::{Value, eval};
use crate::ops::{Op, float};
use crate::rng::Rng;
use crate::shape::TensorType;
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

fn tick<R: Rule>(rule: R, lr: f64, t: &mut u32) -> Vec<f64> {
    let inputs = [(&[1][..], Value::F(vec![lr])), (&[1], Value::U32(vec![*t]))];
    let made = eval(&Tick { rule, counts: 1, has_factor: false }, true, &inputs).unwrap();
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

/// Compares 100 steps with `step(t, g, w, states)`, which changes one element: `t` counts from 1, `g` has the coupled decay.
fn follows<R: Rule>(
    op: Update<R>,
    lr: f64,
    initial: [f64; 3],
    step: impl Fn(u32, f64, &mut f64, &mut [f64; 3]),
) {
    let decay = f64::from(op.each[0].decay);
    for fast in [false, true] {
        let mut states = vec![start()];
        states.extend(initial[..op.rule.kept()].iter().map(|&x| vec![x; N]));
        let (mut w, mut own) = (start(), vec![initial; N]);
        let mut count = 0;
        for t in 1..=100 {
            let shared = if R::TICK.is_some() { tick(op.rule, lr, &mut count) } else { vec![lr] };
            update(&op, fast, &[&gradient(&states[0], t), &shared], &mut states);
            for (i, mut g) in gradient(&w, t).into_iter().enumerate() {
                g += if op.decoupled { 0.0 } else { decay * w[i] };
                w[i] *= if op.decoupled { 1.0 - lr * decay } else { 1.0 };
                step(t, g, &mut w[i], &mut own[i]);
            }
        }
        let far = states[0].iter().zip(&w).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(far < 1e-10, "{op:?}: {far:e}");
        assert!(w.iter().all(|w| w.is_finite()) && w != start());
        assert_eq!(count, if R::TICK.is_some() { 100 } else { 0 });
    }
}

/// The papers' forms: bias-corrected moments, powers by multiplication.
#[test]
fn adam_and_its_relatives_follow_the_papers_over_100_steps() {
    let (lr, [beta1, beta2], eps) = (0.01, ADAM.betas, f64::from(ADAM.eps));
    let moments = move |g: f64, s: &mut [f64; 3]| {
        s[0] = beta1 * s[0] + (1.0 - beta1) * g;
        s[1] = beta2 * s[1] + (1.0 - beta2) * g.powi(2);
    };
    let corrected = move |t: u32, s: &[f64; 3]| {
        let power = |beta: f64| (0..t).fold(1.0, |power, _| power * beta);
        [s[0] / (1.0 - power(beta1)), s[1] / (1.0 - power(beta2))]
    };
    for (decay, decoupled) in [(0.0, false), (0.1, false), (0.01, true)] {
        follows(Update::of(ADAM, 1).decaying(decay, decoupled), lr, [0.0; 3], |t, g, w, s| {
            moments(g, s);
            let [mean, square] = corrected(t, s);
            *w -= lr * mean / (square.sqrt() + eps);
        });
    }
    follows(Update::of(Adam { amsgrad: true, ..ADAM }, 1), lr, [0.0; 3], |t, g, w, s| {
        moments(g, s);
        s[2] = s[2].max(s[1]);
        let [mean, square] = corrected(t, &[s[0], s[2], 0.0]);
        *w -= lr * mean / (square.sqrt() + eps);
    });
    follows(Update::of(Adamax { betas: ADAM.betas, eps: ADAM.eps }, 1), lr, [0.0; 3], |t, g, w, s| {
        s[0] = beta1 * s[0] + (1.0 - beta1) * g;
        s[1] = (beta2 * s[1]).max(g.abs() + eps);
        *w -= lr * corrected(t, s)[0] / s[1];
    });
    let nadam = NAdam { betas: ADAM.betas, eps: ADAM.eps, momentum_decay: 4e-3 };
    let psi = f64::from(nadam.momentum_decay);
    let momentum = |t: u32| beta1 * (1.0 - 0.5 * 0.96f64.powf(f64::from(t) * psi));
    follows(Update::of(nadam, 1), lr, [0.0; 3], |t, g, w, s| {
        moments(g, s);
        let product: f64 = (1..=t).map(momentum).product();
        let ahead = (1.0 - momentum(t)) * g / (1.0 - product)
            + momentum(t + 1) * s[0] / (1.0 - product * momentum(t + 1));
        *w -= lr * ahead / (corrected(t, s)[1].sqrt() + eps);
    });
    for beta2 in [0.999, 0.9] {
        let radam = RAdam { betas: [beta1, beta2], eps: ADAM.eps };
        follows(Update::of(radam, 1), lr, [0.0; 3], |t, g, w, s| {
            s[0] = beta1 * s[0] + (1.0 - beta1) * g;
            s[1] = beta2 * s[1] + (1.0 - beta2) * g.powi(2);
            let (power, t) = (beta2.powi(t as i32), f64::from(t));
            let mean = s[0] / (1.0 - beta1.powf(t));
            let limit = 2.0 / (1.0 - beta2) - 1.0;
            let length = limit - 2.0 * t * power / (1.0 - power);
            *w -= if length > 5.0 {
                let r = ((length - 4.0) * (length - 2.0) * limit / ((limit - 4.0) * (limit - 2.0) * length))
                    .sqrt();
                lr * mean * r * (1.0 - power).sqrt() / (s[1].sqrt() + eps)
            } else {
                lr * mean
            };
        });
    }
}

/// PyTorch's documentation of `SGD`, with the buffer that does not exist before the first step.
#[test]
fn sgd_follows_pytorch_over_100_steps() {
    let lr = 0.05;
    for (momentum, nesterov, decay) in
        [(0.0, false, 0.0), (0.0, false, 0.1), (0.9, false, 0.0), (0.9, false, 0.1), (0.9, true, 0.1)]
    {
        let mu = f64::from(momentum);
        follows(
            Update::of(Sgd { momentum, nesterov }, 1).decaying(decay, false),
            lr,
            [0.0; 3],
            |t, g, w, s| {
                s[0] = if t == 1 { g } else { mu * s[0] + g };
                *w -= lr
                    * if momentum == 0.0 {
                        g
                    } else if nesterov {
                        g + mu * s[0]
                    } else {
                        s[0]
                    };
            },
        );
    }
}

#[test]
fn the_others_follow_their_papers_over_100_steps() {
    let eps = f64::from(1e-3f32);
    let adagrad = Adagrad { lr_decay: 0.0625, eps: 1e-3, initial_sum: 0.0 };
    follows(Update::of(adagrad, 1).decaying(0.1, false), 0.1, [0.5, 0.0, 0.0], |t, g, w, s| {
        s[0] += g * g;
        *w -= 0.1 / (1.0 + f64::from(t - 1) * 0.0625) * g / (s[0].sqrt() + eps);
    });
    follows(Update::of(Adadelta { rho: 0.9, eps: 1e-3 }, 1), 0.5, [0.0; 3], |_, g, w, s| {
        s[0] = 0.9 * s[0] + 0.1 * g.powi(2);
        let delta = -((s[1] + eps) / (s[0] + eps)).sqrt() * g;
        s[1] = 0.9 * s[1] + 0.1 * delta.powi(2);
        *w += 0.5 * delta;
    });
    for (momentum, centered) in [(0.0, false), (0.5, false), (0.0, true), (0.5, true)] {
        let rule = RmsProp { alpha: 0.95, eps: 1e-3, momentum, centered };
        follows(Update::of(rule, 1), 0.01, [0.0; 3], |_, g, w, s| {
            s[0] = 0.95 * s[0] + 0.05 * g * g;
            s[2] = 0.95 * s[2] + 0.05 * g;
            let variance = if centered { s[0] - s[2] * s[2] } else { s[0] };
            s[1] = f64::from(momentum) * s[1] + g / (variance.max(0.0).sqrt() + eps);
            *w -= 0.01 * s[1];
        });
    }
    let rprop = Rprop { etas: [0.5, 1.25], steps: [0.0078125, 0.5], first: 0.0 };
    follows(Update::of(rprop, 1), 0.1, [0.0, 0.0625, 0.0], |_, g, w, s| {
        let mut g = g;
        if g * s[0] > 0.0 {
            s[1] = (s[1] * 1.25).min(0.5);
        } else if g * s[0] < 0.0 {
            s[1] = (s[1] * 0.5).max(0.0078125);
            g = 0.0;
        }
        *w -= if g == 0.0 { 0.0 } else { s[1].copysign(g) };
        s[0] = g;
    });
    follows(Update::of(Lion { betas: [0.9, 0.99] }, 1).decaying(0.1, true), 0.01, [0.0; 3], |_, g, w, s| {
        let direction = 0.9 * s[0] + 0.1 * g;
        *w -= 0.01 * if direction == 0.0 { 0.0 } else { direction.signum() };
        s[0] = 0.99 * s[0] + 0.01 * g;
    });
}

#[test]
fn in_f32_an_update_makes_no_denormals() {
    let narrow = |x: Vec<f64>| x.into_iter().map(|x| x as f32).collect::<Vec<f32>>();
    let mut g = narrow(gradient(&start(), 0));
    g[..3].copy_from_slice(&[0.0, 1e-38, 1e-25]);
    let scalars = narrow(tick(ADAM, 0.01, &mut 0));
    let inputs = [g, scalars, narrow(start()), vec![0.0; N], vec![0.0; N]];
    let inputs = inputs.map(|x| Tensor::new([x.len()], x).unwrap());
    let states = run_op::<f32>(&Update::of(ADAM, 1), &inputs, false).unwrap();
    assert!(states.iter().flat_map(|s| s.as_f32()).all(|x| *x == 0.0 || x.is_normal()));
    assert_eq!(states[2].as_f32()[1], 0.0);
}

#[test]
fn corrections_are_accurate_where_subtracting_would_cancel() {
    let mut t = 0;
    let scalars = tick(ADAM, 1e-3, &mut t);
    assert_eq!((scalars[0], scalars[1], t), (1e-3, 1.0, 1));
    for (scalar, expected) in scalars[2..].iter().zip([0.1, 1e3f64.sqrt()]) {
        assert!((scalar / expected - 1.0).abs() < 1e-12, "{scalar} {expected}");
    }
    let scalars = tick(Adam { betas: [0.0, 0.0], ..ADAM }, 0.5, &mut u32::MAX.clone());
    assert_eq!(scalars[..4], [0.5, 1.0, 1.0, 1.0]);
}

#[test]
fn wrong_settings_and_shapes_are_refused() {
    let (w, one) = (float(&[3, 2]), float(&[1]));
    let (eight, other) = (float(&[ROW]), float(&[2, 3]));
    let count = TensorType::u32(one.shape);
    let refusal = |op: &dyn Op, inputs: &[TensorType]| op.infer(inputs).unwrap_err();
    let all = [w, eight, w, w, w];
    let (adam, sgd) = (Update::of(ADAM, 1), Update::of(SGD, 1));
    assert!(adam.infer(&all).is_ok() && sgd.infer(&[w, one, w, w]).is_ok());
    assert!(refusal(&adam, &[w, eight, w, w, other]).contains("differ in shape"));
    assert!(refusal(&adam, &[w, one, w, w, w]).contains("takes 8 scalars for each of 1 counters"));
    assert!(refusal(&sgd, &[w, eight, w, w]).contains("a learning rate and a factor [1]"));
    assert!(refusal(&Update::of(Adam { eps: -1.0, ..ADAM }, 1), &all).contains("eps"));
    assert!(refusal(&Update::of(ADAM, 1).decaying(f32::NAN, false), &all).contains("weight decay"));
    let mut slow = Update::of(ADAM, 1);
    slow.each[0].lr = -1.0;
    assert!(refusal(&slow, &all).contains("the rate of a group must be 0 or more"));
    for momentum in [-0.1, f32::NAN] {
        assert!(refusal(&Update::of(Sgd { momentum, ..SGD }, 1), &[w, one, w, w]).contains("momentum"));
    }
    assert!(
        refusal(&Update::of(Sgd { momentum: 0.0, nesterov: true }, 1), &[w, one, w]).contains("Nesterov")
    );
    for beta in [-0.1, 1.0, f64::NAN] {
        let adam = Adam { betas: [beta, 0.5], ..ADAM };
        assert!(refusal(&Tick { rule: adam, counts: 1, has_factor: false }, &[one, count]).contains("betas"));
        assert!(Lion { betas: [0.5, beta] }.check().is_err());
        assert!(Adadelta { rho: beta, eps: 1e-6 }.check().is_err());
        assert!(RmsProp { alpha: beta, eps: 0.0, momentum: 0.0, centered: false }.check().is_err());
        assert!(Rprop { etas: [beta as f32, 1.2], steps: [0.0, 1.0], first: 0.0 }.check().is_err());
    }
    assert!(Rprop { etas: [0.5, 1.0], steps: [0.0, 1.0], first: 0.0 }.check().is_err());
    assert!(Rprop { etas: [0.5, 1.2], steps: [1.0, 0.5], first: 0.0 }.check().is_err());
    assert!(Adamax { betas: [0.9, 0.9], eps: 0.0 }.check().is_err());
    assert!(Adadelta { rho: 0.9, eps: 0.0 }.check().is_err());
    assert!(NAdam { betas: [0.9, 0.9], eps: 0.0, momentum_decay: -1.0 }.check().is_err());
    assert!(Adagrad { lr_decay: -1.0, eps: 0.0, initial_sum: 0.0 }.check().is_err());
    assert!(LambDirection { betas: [0.9, 0.9], eps: 0.0, weight_decay: -1.0 }.check().is_err());
    assert!(MuonDirection { momentum: 1.0, nesterov: false }.check().is_err());
    assert!(refusal(&Tick { rule: ADAM, counts: 1, has_factor: false }, &[one, one]).contains("must be u32"));
}
