//! A conditional generative adversarial network: a generator makes digits of normal random numbers and a class, a discriminator learns to
//! tell them from real ones of that class, and the generator learns to be taken for real. A convolutional network that was
//! trained on the real digits says whether they are digits of the class that was asked for.
//!
//! Goodfellow et al., "Generative Adversarial Nets", NIPS 2014, with the generator's loss that does not saturate (section 3);
//! with classes Mirza and Osindero, "Conditional Generative Adversarial Nets", 2014; the layers of DCGAN (Radford, Metz and
//! Chintala, ICLR 2016, section 3): strides instead of pooling, batch normalization, leaky ReLU, tanh at the end, Adam with β₁ = ½.
//! With a rate of 1e-3 it is done in 30 epochs; DCGAN's own of 2e-4 would take five times as long. Real images count as 1: 0.9, the
//! one-sided label smoothing of Salimans et al., "Improved Techniques for Training GANs", NIPS 2016, section 3.4, changes nothing here.
//!
//! Run it with `cargo run --release --example 14_gan_digits -- [SEED] [DEVICE] [FOLDER]`: it draws what is made of each class, by
//! epoch, into `runs/gan-digits` unless told otherwise.

use std::path::Path;

use wgrad::data::{LastBatch, batches, digits, epoch_order};
use wgrad::losses::binary_cross_entropy;
use wgrad::nn::{
    Activation, Conv2d, Conv2dOptions, ConvTranspose2d, ConvTranspose2dOptions, Layer, Padding, Sequential,
    StandardNormal, Unflatten,
};
use wgrad::optim::{Adam, Optimizer};
use wgrad::{Device, Graph, Params, Var};

#[path = "shared/judge.rs"]
mod judge;
use judge::{DRAWN, Drawings, Result};

const BATCH: usize = 64;
/// Random numbers of an image.
const CODE: usize = 32;
pub(crate) const EPOCHS: usize = 30;

/// Codes `[n, 32]` and classes `[n, 10]`, beside each other, to images `[n, 1, 8, 8]` from -1 to 1.
fn generator(params: &Params) -> Sequential {
    let twice = ConvTranspose2dOptions { stride: [2, 2], padding: Padding::all(1), ..Default::default() };
    Sequential::new(params)
        .linear(CODE + 10, 32 * 2 * 2)
        .with(|_| Unflatten::new([32, 2, 2]))
        .batch_norm2d(32)
        .activation(Activation::Relu)
        .with(|p| ConvTranspose2d::with(p, 32, 16, [4, 4], twice, false))
        .batch_norm2d(16)
        .activation(Activation::Relu)
        .with(|p| ConvTranspose2d::with(p, 16, 1, [4, 4], twice, true))
        .activation(Activation::Tanh)
}

/// Images and classes, as planes behind each other `[n, 1 + 10, 8, 8]`, to a logit `[n, 1]`: above 0 where they are held for real.
fn discriminator(params: &Params) -> Sequential {
    let half = Conv2dOptions { stride: [2, 2], padding: Padding::all(1), ..Default::default() };
    Sequential::new(params)
        .with(|p| Conv2d::with(p, 11, 16, [4, 4], half, true))
        .activation(Activation::LeakyRelu(0.2))
        .with(|p| Conv2d::with(p, 16, 32, [4, 4], half, false))
        .batch_norm2d(32)
        .activation(Activation::LeakyRelu(0.2))
        .flatten()
        .linear(32 * 2 * 2, 1)
}

/// Images `[n, 1, 8, 8]` with a plane for each class, of ones where it is the image's.
fn with_planes<'g>(images: Var<'g>, class: Var<'g>) -> Var<'g> {
    let n = class.dim(0);
    images.concat(&[class.reshape([n, 10, 1, 1]).broadcast_to([n, 10, 8, 8])], 1)
}

/// Trains for some epochs, and fails unless the judge recognizes a share `aim` of the digits that are drawn then ([`Drawings::finish`]).
pub(crate) fn run(device: &Device, seed: u64, epochs: usize, aim: f64, folder: Option<&Path>) -> Result<()> {
    let (train, _) = digits()?;
    let params = Params::seeded(seed);
    // Two sets of parameters, and an optimizer for each, which changes no others.
    let (of_generator, of_discriminator) = (params.at("generator"), params.at("discriminator"));
    let (generator, discriminator) = (generator(&of_generator), discriminator(&of_discriminator));
    let adam = |name: &str| Adam::new(&params, 1e-3).betas(0.5, 0.999).named(name);

    // One step for both: the discriminator learns first, and the generator from what it is then.
    let g = Graph::new();
    let real = g.bytes("x", [BATCH, 1, 8, 8]).to_f32_scaled(2.0 * train.scale()) - 1.0;
    let class = g.classes("class", [BATCH]).one_hot(10);
    let code = StandardNormal::new(&params.at("code")).draw(&g, [BATCH, CODE]);
    let fake = generator.forward(code.concat(&[class], 1));
    let held_for = |images, target| {
        let logits = discriminator.forward(with_planes(images, class));
        binary_cross_entropy(logits, g.full([BATCH, 1], target))
    };
    let told_apart = held_for(real, 1.0) + held_for(fake, 0.0);
    adam("adam of discriminator").minimize(told_apart, &of_discriminator.trainable());
    let taken_for_real = held_for(fake, 1.0);
    adam("adam of generator").minimize(taken_for_real, &of_generator.trainable());
    g.output("discriminator", told_apart);
    g.output("generator", taken_for_real);
    let mut step = device.compile(&g)?;

    // For inference batch normalization takes the averages of training.
    let g = Graph::inference();
    let class = g.classes("class", [DRAWN]).one_hot(10);
    let images = generator.forward(g.input("code", [DRAWN, CODE]).concat(&[class], 1));
    g.output("pixels", images * 0.5 + 0.5);
    let mut drawings = Drawings::new(device.compile(&g)?, CODE, seed)?;

    for epoch in 1..=epochs {
        let order = epoch_order(train.len(), seed, epoch as u64);
        for rows in batches(&order, BATCH, LastBatch::Drop)? {
            let (pixels, labels) = train.gather(rows)?;
            step.run_with(&[("x", (&pixels).into()), ("class", (&labels).into())])?;
        }
        if [1, 2, 5, 10, 15, 20].contains(&epoch) || epoch == epochs {
            let losses = [step.scalar("discriminator")?, step.scalar("generator")?];
            drawings.look(epoch, &format!("discriminator {:.3}, generator {:.3}", losses[0], losses[1]))?;
        }
    }
    drawings.finish(folder, aim)
}

fn main() -> Result<()> {
    let (seed, device, folder) = judge::arguments("runs/gan-digits")?;
    run(&device, seed, EPOCHS, 0.85, Some(&folder))
}
