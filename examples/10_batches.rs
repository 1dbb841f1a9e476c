//! Gradient descent three ways: by the gradient of all rows, of one row at a time, and of a few. The same model, data and
//! passes over the data; what differs is how many steps a pass makes, and how exact each of them is.
//!
//! Run it with `cargo run --release --example 10_batches`.

use std::time::Instant;

use wgrad::data::{Split, digits};
use wgrad::nn::Mlp;
use wgrad::optim::Sgd;
use wgrad::train::{Keep, Trainer};
use wgrad::{Device, Params};

const EPOCHS: usize = 10;

/// What ten passes with batches of so many rows come to: the training loss of the last pass and the test accuracy.
fn train(device: &Device, batch: usize, rate: f32) -> wgrad::Result<(f64, f64)> {
    let (train, test) = digits()?;
    let params = Params::seeded(7);
    let model = Mlp::new(&params, &[64, 32, 10]);
    let start = Instant::now();
    let sgd = Sgd::new(&params, rate);
    let trainer = Trainer::new(device, model, &params, sgd, Split::new(train, test, 0)?);
    let report = trainer.batch(batch).epochs(EPOCHS).keep(Keep::Last).run(&mut ())?;
    let loss = report.epochs.last().map_or(f64::NAN, |epoch| epoch.train.loss);
    println!(
        "{batch:>5} rows a step, rate {rate}: {:>6} steps, training loss {loss:.3}, {:.1} % of the test digits right, {:.1} s",
        report.steps,
        100.0 * report.test.accuracy(),
        start.elapsed().as_secs_f64()
    );
    Ok((loss, report.test.accuracy()))
}

pub(crate) fn run(device: &Device) -> Result<(), Box<dyn std::error::Error>> {
    let (rows, _) = digits()?;
    // The gradient of one row is noise, so that its steps are short; that of all rows is exact, and may be followed further.
    let (all, _) = train(device, rows.len(), 0.5)?;
    let (single, accuracy_of_single) = train(device, 1, 0.01)?;
    let (few, accuracy_of_few) = train(device, 32, 0.1)?;
    if !(few < all && single < all && accuracy_of_few > 0.85 && accuracy_of_single > 0.85) {
        return Err(format!("losses {all}, {single}, {few}").into());
    }
    println!(
        "ten exact steps are too few, and single rows make a device wait: a few rows at a time are the way"
    );
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    run(&Device::named("auto")?)
}
