//! What a recurrent network remembers: each time brings a number and a mark, two of the marks are 1, and the answer is the sum of
//! the two numbers that are marked (Hochreiter and Schmidhuber, Neural Computation 9, 1997, section 5.4). Who always says 1 is off by
//! 1/6 in the mean of squares. At first the gradient has all but vanished where it comes back to an early number, in all of them. An LSTM and
//! a GRU learn to keep their gates open, and it arrives; a plain RNN has none, and stays where it was.
//!
//! Run it with `cargo run --release --example 16_adding_problem`, perhaps with lengths and a seed: `-- 50 100 200 --seed 2`.

use std::time::Instant;

use wgrad::losses::mse;
use wgrad::nn::{Layer, Linear, Recurrent, RecurrentKind};
use wgrad::optim::{Adam, ClipNorm, Optimizer, Schedule};
use wgrad::{Device, Graph, Params, Result, Rng, Var};

const BATCH: usize = 64;
const HIDDEN: usize = 64;
const RATE: f32 = 3e-3;

/// Sequences `[batch, time, 2]` and their sums `[batch, 1]`.
fn draw(rng: &mut Rng, times: usize) -> (Vec<f32>, Vec<f32>) {
    let (mut x, mut sums) = (Vec::new(), Vec::new());
    for _ in 0..BATCH {
        // One in each half.
        let half = times / 2;
        let marked = [rng.below(half as u32) as usize, half + rng.below((times - half) as u32) as usize];
        let numbers: Vec<f32> = (0..times).map(|_| rng.uniform() as f32).collect();
        sums.push(numbers[marked[0]] + numbers[marked[1]]);
        for (t, number) in numbers.into_iter().enumerate() {
            x.extend([number, if marked.contains(&t) { 1.0 } else { 0.0 }]);
        }
    }
    (x, sums)
}

/// The loss of a batch, from the output of the last time.
fn record<'g>(g: &'g Graph, network: &Recurrent, head: &Linear, times: usize) -> Var<'g> {
    let x = g.input("x", [BATCH, times, 2]);
    let last = network.forward(x).slice(1, times - 1, 1).reshape([BATCH, HIDDEN]);
    let loss = mse(head.forward(last), g.input("sum", [BATCH, 1]));
    g.output("loss", loss);
    if g.is_training() {
        // How far it depends on what came at each time.
        g.output("by time", g.gradients(loss, &[x])[0].square().sum(&[0, 2]).sqrt());
    }
    loss
}

/// The mean squared error on new sequences after so many steps.
pub(crate) fn train(
    device: &Device,
    kind: RecurrentKind,
    times: usize,
    steps: usize,
    seed: u64,
) -> Result<f64> {
    let params = Params::seeded(seed);
    let network = Recurrent::new(&params.at("network"), kind, 2, HIDDEN);
    let head = Linear::new(&params.at("head"), HIDDEN, 1);
    let (training, inference) = (Graph::new(), Graph::inference());
    let adam = Adam::new(&params, RATE);
    let rate = adam.lr_state();
    let loss = record(&training, &network, &head, times);
    ClipNorm::new(adam, 1.0).minimize(loss, &params.trainable());
    record(&inference, &network, &head, times);
    let (mut step, mut look) = (device.compile(&training)?, device.compile(&inference)?);

    let (start, mut rng) = (Instant::now(), Rng::new(seed, "adding"));
    let mut gradients = Vec::new();
    for i in 0..steps {
        let (x, sums) = draw(&mut rng, times);
        device.write_param(&rate, &[RATE * Schedule::Cosine.factor(i, steps)])?;
        step.run_with(&[("x", (&x).into()), ("sum", (&sums).into())])?;
        if i == 0 || i + 1 == steps {
            gradients.push(step.values("by time")?);
        }
    }
    // Sequences that no step has seen.
    let mut error = 0.0;
    for _ in 0..16 {
        let (x, sums) = draw(&mut rng, times);
        look.run_with(&[("x", (&x).into()), ("sum", (&sums).into())])?;
        error += f64::from(look.scalar("loss")?) / 16.0;
    }
    let steps_per_second = steps as f64 / start.elapsed().as_secs_f64();
    let name = format!("{kind:?}").to_lowercase();
    println!("{name:<5} {times:>4} times  error {error:.4}  {steps_per_second:.0} steps/s");
    for (when, gradient) in ["before", "after"].iter().zip(gradients) {
        let share = |i: usize| gradient[i * times / 8] / gradient[times - 1];
        let shares: Vec<String> = (0..8).map(|i| format!("{:.0e}", share(i))).collect();
        println!("      gradient over that of the last time, by eighths, {when:<6} {}", shares.join(" "));
    }
    Ok(error)
}

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let device = Device::named("auto")?;
    let mut given = std::env::args().skip(1);
    let (mut lengths, mut seed) = (Vec::new(), 1);
    while let Some(word) = given.next() {
        match &word[..] {
            "--seed" => seed = given.next().ok_or("--seed needs a number")?.parse()?,
            _ => lengths.push(word.parse::<usize>()?.max(2)),
        }
    }
    for times in if lengths.is_empty() { vec![50, 100] } else { lengths } {
        for kind in [RecurrentKind::Tanh, RecurrentKind::Lstm, RecurrentKind::Gru] {
            train(&device, kind, times, 3000, seed)?;
        }
    }
    Ok(())
}
