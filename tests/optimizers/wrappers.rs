//! Accumulation and averages.

use wgrad::optim::{Accumulate, Averaged, ClipNorm, LossScale, Optimizer, Sgd};
use wgrad::{Graph, Param, Params};

use super::{GOLDEN, SHAPES, devices, parameters, read, recorded};

/// Three batches of one row are one of three, whatever the optimizer; a step that is left out counts for nothing.
#[test]
fn accumulated_gradients_are_those_of_a_larger_batch() {
    let start: Vec<f32> = (0..16).map(|i| (i as f32 * 0.7).sin()).collect();
    let gradient = |k: usize| -> Vec<f32> { (0..16).map(|i| ((i * 5 + k * 3) as f32 * 0.9).cos()).collect() };
    for device in devices() {
        for (name, make) in GOLDEN {
            let run = |together: bool, scaled: bool| {
                let params = Params::seeded(1);
                let all = parameters(&params, &start);
                let one = |p: &Params| ClipNorm::new(make(p), 1.0);
                let g = match (together, scaled) {
                    (true, _) => recorded(&one(&params), &all),
                    (false, false) => recorded(&Accumulate::new(&params, one(&params), 3), &all),
                    (false, true) => {
                        let inner = Accumulate::new(&params, one(&params), 3);
                        recorded(&LossScale::new(&params, inner), &all)
                    }
                };
                let mut step = device.compile(&g).unwrap();
                let mut feed = |x: &[f32]| {
                    step.run_with(&[("weight", x[..12].into()), ("bias", x[12..].into())]).unwrap();
                };
                let mut scale = if scaled { 65_536.0 } else { 1.0 };
                for round in 0..2 {
                    let batch: Vec<Vec<f32>> = (0..3).map(|k| gradient(3 * round + k)).collect();
                    if together {
                        let mean = |i: usize| batch.iter().map(|g| g[i]).sum::<f32>() / 3.0;
                        feed(&(0..16).map(mean).collect::<Vec<f32>>());
                        continue;
                    }
                    for (k, g) in batch.iter().enumerate() {
                        if scaled && k == 1 {
                            feed(&[f32::NAN; 16]);
                            scale /= 2.0;
                        }
                        let before = read(&device, &all);
                        feed(&g.iter().map(|x| x * scale).collect::<Vec<f32>>());
                        assert_eq!(before == read(&device, &all), k < 2, "{name} {round} {k}");
                    }
                }
                read(&device, &all)
            };
            let expected = run(true, false);
            for scaled in [false, true] {
                let found = run(false, scaled);
                let off = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                assert!(off < 2e-5, "{name} on {device:?}, scaled {scaled}: {off:e}");
            }
        }
    }
}

/// EMA and SWA by their definitions, in one launch; steps that are left out do not count.
#[test]
fn averages_are_what_they_say() {
    let start = [1.0f32; 16];
    for device in devices() {
        for (is_mean, name) in [(false, "ema"), (true, "swa")] {
            let params = Params::seeded(1);
            let all = parameters(&params, &start);
            let sgd = Sgd::new(&params, 1.0);
            let averaged = match is_mean {
                false => Averaged::exponential(&params, sgd, 0.75),
                true => Averaged::mean(&params, sgd, 2),
            };
            let scaled = LossScale::new(&params, averaged);
            assert!(scaled.averages(&all).is_empty(), "before they are recorded");
            let g = recorded(&scaled, &all);
            let averages = scaled.averages(&all);
            assert_eq!(averages.len(), 2);
            let text = g.to_string();
            assert_eq!(
                text.lines().filter(|line| line.contains("Update { rule: Average")).count(),
                1,
                "{text}"
            );
            // Before a step there is nothing to exchange.
            let mut exchange = Averaged::exchange(&device, &averages).unwrap();
            exchange.run().unwrap();
            assert_eq!(read(&device, &all), start);
            let mut step = device.compile(&g).unwrap();
            let (mut w, mut expected) = (1.0, 0.0);
            for t in 0..6 {
                let x = 0.25 * (t + 1) as f32;
                let factor = if t < 4 { 65_536.0 } else { 32_768.0 };
                if t == 4 {
                    step.run_with(&[("weight", (&[f32::NAN; 12]).into()), ("bias", (&[0.0f32; 4]).into())])
                        .unwrap();
                }
                step.run_with(&[("weight", (&[x * factor; 12]).into()), ("bias", (&[x * factor; 4]).into())])
                    .unwrap();
                w -= x;
                expected = match (is_mean, t) {
                    (_, 0) => w,
                    (false, _) => 0.75 * expected + 0.25 * w,
                    (true, 1 | 2) => w,
                    // The third step is the first of the mean.
                    (true, t) => expected + (w - expected) / (t - 1) as f32,
                };
                let found: Vec<Param> = averages.iter().map(|a| a.average.clone()).collect();
                let off = read(&device, &found).iter().map(|a| (a - expected).abs()).fold(0.0, f32::max);
                assert!(off < 1e-6, "{name} after {t}: {off:e}, {expected}");
            }
            // Exchanged and back.
            let before = read(&device, &all);
            exchange.run().unwrap();
            assert!(read(&device, &all).iter().all(|x| (x - expected).abs() < 1e-6));
            exchange.run().unwrap();
            assert_eq!(read(&device, &all), before);
        }
    }
    let g = Graph::new();
    let params = Params::seeded(1);
    let all = parameters(&params, &start);
    let gradients = [g.input("weight", SHAPES[0]), g.input("bias", SHAPES[1])];
    Averaged::exponential(&params, Sgd::new(&params, 1.0), 1.0).apply(&g, &all, &gradients);
    assert!(g.error().unwrap().to_string().contains("must be in [0, 1), got 1"));
}
