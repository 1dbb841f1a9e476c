//! A conditional variational autoencoder: from normal random numbers and a class to a digit of that class. A convolutional network
//! that was trained on the real digits says whether it is one.
//!
//! The encoder makes of an image and its class the mean and variance of a code, the decoder of a code and a class the pixels.
//! The loss is what the pixels are off and how far the distribution of codes is from the standard
//! normal one: so that codes drawn from that give digits as well (Kingma and Welling, "Auto-Encoding Variational Bayes", ICLR
//! 2014; with classes Sohn, Lee and Yan, "Learning Structured Output Representation using Deep Conditional Generative Models", NIPS
//! 2015).
//!
//! Run it with `cargo run --release --example 13_vae_digits -- [SEED] [DEVICE] [FOLDER]`: it draws what it makes of each class, and
//! test digits with what comes back of them, by epoch, into `runs/vae-digits` unless told otherwise.

use std::path::Path;

use wgrad::data::{LastBatch, batches, digits, epoch_order};
use wgrad::losses::{gaussian_kl, mse};
use wgrad::nn::{GaussianSample, Layer, Mlp};
use wgrad::optim::{Adam, Optimizer};
use wgrad::{Device, Graph, Params, Var};

#[path = "shared/judge.rs"]
mod judge;
use judge::{DRAWN, Drawings, Result, draw};

const BATCH: usize = 64;
/// Numbers of a code.
const CODE: usize = 10;
/// Standard deviation of pixels around what is decoded: the smaller, the more a code has to say, and the less likely are codes that no
/// digit had.
const DEVIATION: f32 = 0.2;
pub(crate) const EPOCHS: usize = 60;

struct Vae {
    encoder: Mlp,
    code: GaussianSample,
    decoder: Mlp,
}

impl Vae {
    fn new(params: &Params) -> Self {
        Vae {
            encoder: Mlp::new(&params.at("encoder"), &[64 + 10, 256, 2 * CODE]),
            code: GaussianSample::new(&params.at("code")),
            decoder: Mlp::new(&params.at("decoder"), &[CODE + 10, 256, 64]),
        }
    }

    /// Mean and log variance of the codes of pixels `[n, 64]` of classes `[n, 10]`.
    fn encode<'g>(&self, pixels: Var<'g>, class: Var<'g>) -> [Var<'g>; 2] {
        let encoded = self.encoder.forward(pixels.concat(&[class], 1));
        [encoded.slice(1, 0, CODE), encoded.slice(1, CODE, CODE)]
    }

    /// Pixels `[n, 64]` of codes `[n, CODE]` of classes `[n, 10]`.
    fn decode<'g>(&self, code: Var<'g>, class: Var<'g>) -> Var<'g> {
        self.decoder.forward(code.concat(&[class], 1)).sigmoid()
    }
}

/// Trains for some epochs, and fails unless the judge recognizes a share `aim` of the digits that are drawn then ([`Drawings::finish`]).
pub(crate) fn run(device: &Device, seed: u64, epochs: usize, aim: f64, folder: Option<&Path>) -> Result<()> {
    let (train, test) = digits()?;
    let params = Params::seeded(seed);
    let vae = Vae::new(&params);

    let g = Graph::new();
    let pixels = g.bytes("x", [BATCH, 64]).to_f32_scaled(train.scale());
    let class = g.classes("class", [BATCH]).one_hot(10);
    let [mean, log_variance] = vae.encode(pixels, class);
    let decoded = vae.decode(vae.code.of(mean, log_variance), class);
    // Minus the logarithm of how likely the pixels are, normal around what was decoded: a sum over them, as the divergence is one over
    // the code.
    let off = mse(decoded, pixels) * (64.0 / (2.0 * DEVIATION * DEVIATION));
    let divergence = gaussian_kl(mean, log_variance);
    Adam::new(&params, 2e-3).minimize(off + divergence, &params.trainable());
    g.output("off", off);
    g.output("divergence", divergence);
    let mut step = device.compile(&g)?;

    let g = Graph::inference();
    let class = g.classes("class", [DRAWN]).one_hot(10);
    g.output("pixels", vae.decode(g.input("code", [DRAWN, CODE]), class));
    let mut drawings = Drawings::new(device.compile(&g)?, CODE, seed)?;

    // For inference the code is its mean.
    let g = Graph::inference();
    let pixels = g.bytes("x", [10, 64]).to_f32_scaled(test.scale());
    let class = g.classes("class", [10]).one_hot(10);
    let [mean, log_variance] = vae.encode(pixels, class);
    g.output("pixels", vae.decode(vae.code.of(mean, log_variance), class));
    let mut reconstruct = device.compile(&g)?;
    let (pixels, labels) = test.gather(&(0..10).collect::<Vec<u32>>())?;
    reconstruct.feed("x", &pixels)?;
    reconstruct.feed("class", &labels)?;

    let original = (0..10).filter_map(|i| test.row(i)).flatten().collect();
    let mut back = vec![("original".to_string(), original)];
    for epoch in 1..=epochs {
        let order = epoch_order(train.len(), seed, epoch as u64);
        for rows in batches(&order, BATCH, LastBatch::Drop)? {
            let (pixels, labels) = train.gather(rows)?;
            step.run_with(&[("x", (&pixels).into()), ("class", (&labels).into())])?;
        }
        if [1, 2, 5, 10, 20, 40].contains(&epoch) || epoch == epochs {
            let (off, divergence) = (step.scalar("off")?, step.scalar("divergence")?);
            drawings.look(epoch, &format!("pixels {off:5.2}, divergence {divergence:5.2}"))?;
            reconstruct.run()?;
            back.push((format!("epoch {epoch}"), reconstruct.values("pixels")?));
        }
    }
    draw(folder, "reconstructions.svg", "test digits, encoded and decoded, by epoch", &back)?;
    drawings.finish(folder, aim)
}

fn main() -> Result<()> {
    let (seed, device, folder) = judge::arguments("runs/vae-digits")?;
    run(&device, seed, EPOCHS, 0.85, Some(&folder))
}
