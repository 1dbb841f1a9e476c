//! What a recurrent network remembers: each time brings a number and a mark, two of the marks are 1, and the answer is the sum of
//! the two numbers that are marked (Hochreiter and Schmidhuber, Neural Computation 9, 1997, section 5.4). Who always says 1 is off by
//! 1/6 in the mean of squares. A plain RNN stays there when sequences are long, since the gradient that comes back to a number
//! has all but vanished; LSTM and GRU do not.
//!
//! Run it with `cargo run --release --example 12_adding_problem`, perhaps with lengths: `-- 50 100 200`.

use std::time::Instant;

use wgrad::losses::mse;
use wgrad::nn::{Layer, Linear, Recurrent, RecurrentKind};
use wgrad::optim::{Adam, ClipNorm, Optimizer};
use wgrad::{Device, Graph, Params, Result, Rng};

const BATCH: usize = 64;
const HIDDEN: usize = 64;

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
    let record = |g: &Graph| {
        let x = g.input("x", [BATCH, times, 2]);
        // The output of the last time.
        let last = network.forward(x).slice(1, times - 1, 1).reshape([BATCH, HIDDEN]);
        let loss = mse(head.forward(last), g.input("sum", [BATCH, 1]));
        g.output("loss", loss);
        // How far it depends on what came at each time.
        if g.is_training() {
            let of_time = g.gradients(loss, &[x])[0].square().sum(&[0, 2]).sqrt();
            g.output("by time", of_time);
            ClipNorm::new(Adam::new(&params, 2e-3), 1.0).minimize(loss, &params.trainable());
        }
    };
    let (training, inference) = (Graph::new(), Graph::inference());
    record(&training);
    record(&inference);
    let (mut step, mut look) = (device.compile(&training)?, device.compile(&inference)?);

    let (start, mut rng) = (Instant::now(), Rng::new(seed, "adding"));
    let mut at_first = Vec::new();
    for i in 0..steps {
        let (x, sums) = draw(&mut rng, times);
        step.run_with(&[("x", (&x).into()), ("sum", (&sums).into())])?;
        if i == 0 {
            at_first = step.values("by time")?;
        }
    }
    // Sequences that no step has seen.
    let mut error = 0.0;
    for _ in 0..16 {
        let (x, sums) = draw(&mut rng, times);
        look.run_with(&[("x", (&x).into()), ("sum", (&sums).into())])?;
        error += f64::from(look.scalar("loss")?) / 16.0;
    }
    println!(
        "{:<5} {times:>4} times  error {error:.4}  the first gradient at the first time is {:.1e} of that at the last  {:.0} steps/s",
        format!("{kind:?}").to_lowercase(),
        at_first[0] / at_first[times - 1],
        steps as f64 / start.elapsed().as_secs_f64()
    );
    Ok(error)
}

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let device = Device::named("auto")?;
    let lengths: Vec<usize> =
        std::env::args().skip(1).map(|n| n.parse()).collect::<std::result::Result<_, _>>()?;
    for times in if lengths.is_empty() { vec![50, 100] } else { lengths } {
        for kind in [RecurrentKind::Tanh, RecurrentKind::Lstm, RecurrentKind::Gru] {
            train(&device, kind, times.max(2), 4000, 1)?;
        }
    }
    Ok(())
}
