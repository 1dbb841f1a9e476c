//! Handwritten digits with a small residual network that is written by hand: layers are fields, the forward pass
//! is a function.
//!
//! Run it with `cargo run --release --example 05_resnet_digits`.

use wgrad::data::{Split, digits};
use wgrad::nn::{BatchNorm2d, Conv2d, Conv2dOptions, Layer, Linear, Padding, ResidualBlock, Summary};
use wgrad::optim::{AdamW, ClipNorm, Schedule};
use wgrad::train::{EpochRecord, Observer, Trainer};
use wgrad::{Device, Params, Var};

/// A convolution, two residual blocks, the mean of each plane, a linear layer.
struct Net {
    conv: Conv2d,
    norm: BatchNorm2d,
    block1: ResidualBlock,
    block2: ResidualBlock,
    fc: Linear,
}

impl Net {
    fn new(params: &Params) -> Self {
        // Zeros around the images keep their size. A bias would be taken away by the normalization.
        let same = Conv2dOptions { padding: Padding::SameUpper, ..Conv2dOptions::default() };
        Net {
            conv: Conv2d::with(&params.at("conv"), 1, 12, [3, 3], same, false),
            norm: BatchNorm2d::new(&params.at("norm"), 12),
            block1: ResidualBlock::new(&params.at("block1"), 12, 12, 1),
            // Twice the channels at half the size; its shortcut is a 1 × 1 convolution.
            block2: ResidualBlock::new(&params.at("block2"), 12, 24, 2),
            fc: Linear::new(&params.at("fc"), 24, 10),
        }
    }
}

impl Layer for Net {
    fn forward<'g>(&self, x: Var<'g>) -> Var<'g> {
        let x = self.norm.forward(self.conv.forward(x)).relu(); // [n, 12, 8, 8]
        let x = self.block1.forward(x); //                         [n, 12, 8, 8]
        let x = self.block2.forward(x); //                         [n, 24, 4, 4]
        self.fc.forward(x.global_avg_pool2d()) //                  [n, 10]
    }
}

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
    let params = Params::seeded(42);
    let net = Net::new(&params);
    println!("{}\n", Summary::of(&net, [64, 1, 8, 8])?);

    // Statistics of each batch normalize while training, their running averages when it is tested.
    let adam = ClipNorm::new(AdamW::new(&params, 1e-2), 1.0);
    let report = Trainer::new(device, net, &params, adam, split)
        .epochs(8)
        .batch(64)
        .schedule(|epoch, epochs| Schedule::Cosine.factor(epoch, epochs))
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
