//! Handwritten digits with a convolutional network, layer by layer, and images that are moved at random while it
//! trains.
//!
//! Run it with `cargo run --release --example 04_cnn_digits`.

use wgrad::data::{Split, digits};
use wgrad::nn::{Activation, RandomAffine, Sequential, Summary};
use wgrad::optim::{Adam, Schedule};
use wgrad::train::{EpochRecord, Keep, Observer, Trainer};
use wgrad::{Device, Params};

struct Print;

impl Observer for Print {
    fn on_epoch(&mut self, r: &EpochRecord) {
        let validation = 100.0 * r.validation.as_ref().map_or(0.0, |v| v.accuracy());
        println!("epoch {:2}: loss {:.3}, validation {validation:.1} % right", r.epoch, r.train.loss);
    }
}

pub(crate) fn run(device: &Device) -> Result<(), Box<dyn std::error::Error>> {
    let (train, test) = digits()?;
    let split = Split::new(train, test, 144)?;

    // [n, 1, 8, 8] → [n, 16, 8, 8] → [n, 32, 8, 8] → [n, 32, 4, 4] → [n, 512] → [n, 10]
    let params = Params::seeded(42);
    let model = Sequential::new(&params)
        .conv2d(1, 16, 3)
        .activation(Activation::Relu)
        .conv2d(16, 32, 3)
        .activation(Activation::Relu)
        .max_pool2d(2)
        .flatten()
        .dropout(0.5)
        .linear(512, 10);
    println!("{}\n", Summary::of(&model, [64, 1, 8, 8])?);

    // A digit a pixel further is the same digit. That is drawn anew in each step, on the device.
    let moved = RandomAffine::new(&params.at("augment")).shift(1);
    let adam = Adam::new(&params, 2e-3);
    let report = Trainer::new(device, model, &params, adam, split)
        .epochs(15)
        .batch(64)
        .augment(moved)
        .schedule(|epoch, epochs| Schedule::Cosine.factor(epoch, epochs))
        .keep(Keep::Last)
        .run(&mut Print)?;
    println!("\ntest: {:.1} % right, in {:.2} s", 100.0 * report.test.accuracy(), report.train_seconds);
    if report.test.accuracy() < 0.9 {
        return Err(format!("only {} right", report.test.accuracy()).into());
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    run(&Device::named("auto")?)
}
