//! Handwritten digits with the ready-made training loop: data, model, optimizer, result.
//!
//! Run it with `cargo run --release --example 02_mlp_digits`.

use wgrad::data::{Split, digits};
use wgrad::nn::{Mlp, Summary};
use wgrad::optim::Adam;
use wgrad::train::{EpochRecord, Evaluator, Observer, Trainer};
use wgrad::{Device, Params};

/// Called by the training loop; everything it does not define is left out.
struct Print;

impl Observer for Print {
    fn on_epoch(&mut self, r: &EpochRecord) {
        if r.epoch.is_multiple_of(5) {
            let validation = 100.0 * r.validation.as_ref().map_or(0.0, |v| v.accuracy());
            println!("epoch {:2}: loss {:.3}, validation {validation:.1} % right", r.epoch, r.train.loss);
        }
    }
}

pub(crate) fn run(device: &Device) -> Result<(), Box<dyn std::error::Error>> {
    // 1,437 digits to train on, of which 144 are kept to choose by, and 360 of other writers to test.
    let (train, test) = digits()?;
    let split = Split::new(train, test.clone(), 144)?;

    // 64 pixels, 64 hidden values, 10 classes. The seed fixes every random number there is.
    let params = Params::seeded(42);
    let model = Mlp::new(&params, &[64, 64, 10]);
    println!("{}\n", Summary::of(&model, [32, 1, 8, 8])?);

    // The data goes to the device once; each step picks its rows there. The weights of the epoch with the
    // best validation accuracy are tested at the end.
    let adam = Adam::new(&params, 3e-3);
    let trainer = Trainer::new(device, model.clone(), &params, adam, split).epochs(20).batch(32);
    let report = trainer.run(&mut Print)?;
    println!("\ntest: {:.1} % right, in {:.2} s", 100.0 * report.test.accuracy(), report.train_seconds);

    // The device still holds those weights, so that more can be asked: what is taken for what?
    let confusion = Evaluator::new(device, &model, &test)?.run()?.confusion;
    let mut mistakes: Vec<(u32, usize, usize)> = Vec::new();
    for (is, row) in confusion.iter().enumerate() {
        mistakes.extend(
            row.iter().enumerate().filter(|&(taken, _)| taken != is).map(|(taken, &n)| (n, is, taken)),
        );
    }
    mistakes.sort_unstable();
    for (n, is, taken) in mistakes.iter().rev().take(3) {
        println!("{n} times {is} was taken for {taken}");
    }
    if report.test.accuracy() < 0.85 {
        return Err(format!("only {} right", report.test.accuracy()).into());
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    run(&Device::named("auto")?)
}
