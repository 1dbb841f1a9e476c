//! Autoencoders: digits through a code of 8 numbers and back, by a dense network and by a convolutional one, against the best that a
//! linear map can do, which is principal component analysis with as many components. And one that takes noise away: it
//! sees digits with noise on them, and learns to give those without (Vincent, Larochelle, Bengio and Manzagol, "Extracting and
//! Composing Robust Features with Denoising Autoencoders", ICML 2008).
//!
//! Run it with `cargo run --release --example 12_autoencoder -- [SEED] [DEVICE] [FOLDER]`: it draws test digits and what comes back of
//! them, by epoch, into `runs/autoencoder` unless told otherwise.

use std::path::Path;

use ndarray::{Array1, Array2, ArrayView2, Axis};
use wgrad::data::{Dataset, Split, digits};
use wgrad::nn::{
    Activation, Conv2d, Conv2dOptions, ConvTranspose2d, ConvTranspose2dOptions, GaussianNoise, Padding,
    Sequential, Unflatten,
};
use wgrad::optim::{Adam, Schedule};
use wgrad::train::{EpochRecord, Observer, Predictor, Trainer};
use wgrad::{Device, Params, Rng};

#[allow(dead_code)]
#[path = "shared/judge.rs"]
mod judge;
use judge::{Result, draw};

/// Numbers of a code.
const CODE: usize = 8;
pub(crate) const EPOCHS: usize = 40;
/// Standard deviation of the noise.
const NOISE: f32 = 0.3;

fn dense(params: &Params, code: usize) -> Sequential {
    Sequential::new(params)
        .flatten()
        .linear(64, 128)
        .activation(Activation::Relu)
        .linear(128, code)
        .linear(code, 128)
        .activation(Activation::Relu)
        .linear(128, 64)
        .with(|_| Unflatten::new([1, 8, 8]))
}

/// [n, 1, 8, 8] → [n, 16, 4, 4] → [n, 32, 2, 2] → [n, 8], and back the same way.
fn convolutional(params: &Params) -> Sequential {
    let half = Conv2dOptions { stride: [2, 2], padding: Padding::all(1), ..Default::default() };
    let twice = ConvTranspose2dOptions { stride: [2, 2], padding: Padding::all(1), ..Default::default() };
    Sequential::new(params)
        .with(|p| Conv2d::with(p, 1, 16, [4, 4], half, true))
        .activation(Activation::Relu)
        .with(|p| Conv2d::with(p, 16, 32, [4, 4], half, true))
        .activation(Activation::Relu)
        .flatten()
        .linear(128, CODE)
        .linear(CODE, 128)
        .activation(Activation::Relu)
        .with(|_| Unflatten::new([32, 2, 2]))
        .with(|p| ConvTranspose2d::with(p, 32, 16, [4, 4], twice, true))
        .activation(Activation::Relu)
        .with(|p| ConvTranspose2d::with(p, 16, 1, [4, 4], twice, true))
}

/// The mean squared error of test rows that are put together from the mean of the training rows and as many of their principal
/// components, found by subspace iteration; of none, from the mean alone.
fn principal_components(train: &Dataset, test: &Dataset, components: usize) -> Result<f64> {
    let centred = |data: &Dataset, mean: Option<&Array1<f64>>| -> Result<(Array2<f64>, Array1<f64>)> {
        let values = data.values().to_floats();
        let rows = ArrayView2::from_shape((data.len(), 64), &values)?.mapv(f64::from);
        let mean = mean.cloned().unwrap_or_else(|| rows.sum_axis(Axis(0)) / data.len() as f64);
        Ok((rows - &mean, mean))
    };
    let (rows, mean) = centred(train, None)?;
    let covariance = rows.t().dot(&rows);
    let mut rng = Rng::new(1, "components");
    let mut basis = Array2::from_shape_simple_fn((64, components), || rng.normal());
    for _ in 0..200 {
        basis = covariance.dot(&basis);
        for k in 0..components {
            for j in 0..k {
                let along = basis.column(j).dot(&basis.column(k));
                let part = &basis.column(j) * along;
                let mut column = basis.column_mut(k);
                column -= &part;
            }
            let norm = basis.column(k).dot(&basis.column(k)).sqrt();
            basis.column_mut(k).mapv_inplace(|x| x / norm);
        }
    }
    let (rows, _) = centred(test, Some(&mean))?;
    let off = &rows - &rows.dot(&basis).dot(&basis.t());
    Ok(off.mapv(|x| x * x).mean().unwrap_or(f64::NAN))
}

/// Gives test digits to the model as it is after some of the epochs.
struct Watch<'a> {
    model: Predictor<'a>,
    shown: Vec<f32>,
    rows: Vec<(String, Vec<f32>)>,
    failed: Option<wgrad::Error>,
}

impl Observer for Watch<'_> {
    fn on_epoch(&mut self, record: &EpochRecord) {
        if [1, 2, 5, 10, 20].contains(&record.epoch) || record.epoch == record.epochs {
            match self.model.outputs(&self.shown) {
                Ok(made) => self.rows.push((format!("epoch {}", record.epoch), made.as_f32().to_vec())),
                Err(error) => self.failed = Some(error),
            }
        }
    }
}

fn mean_square(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>() / a.len() as f64
}

/// Trains all three for some epochs, and fails where the linear map does better.
pub(crate) fn run(device: &Device, seed: u64, epochs: usize, folder: Option<&Path>) -> Result<()> {
    let (train, test) = digits()?;
    let linear = principal_components(&train, &test, CODE)?;
    let mean = principal_components(&train, &test, 0)?;
    println!(
        "mean squared error on test digits: {mean:.4} of the mean digit, {linear:.4} of {CODE} principal components"
    );
    let clean = test.values().to_floats().to_vec();
    let mut rng = Rng::new(seed, "test noise");
    let noisy: Vec<f32> = clean.iter().map(|x| x + NOISE * rng.normal() as f32).collect();
    let split = Split::new(train.to_reconstruct(), test.to_reconstruct(), 144)?;

    // The network, what it sees, whether it learns to take noise away, and the error that it has to stay below.
    type Make = fn(&Params) -> Sequential;
    let all: [(&str, Make, &[f32], f32, f64); 3] = [
        ("dense", |params| dense(params, CODE), &clean, 0.0, linear),
        ("convolutional", convolutional, &clean, 0.0, linear),
        ("denoising", |params| dense(params, 64), &noisy, NOISE, 0.5 * f64::from(NOISE * NOISE)),
    ];
    for (name, make, seen, noise, limit) in all {
        let params = Params::seeded(seed);
        let model = make(&params);
        let shown = seen[..10 * 64].to_vec();
        let rows =
            vec![("original".to_string(), clean[..10 * 64].to_vec()), ("seen".to_string(), shown.clone())];
        let rows = if noise > 0.0 { rows } else { rows[..1].to_vec() };
        let mut watch =
            Watch { model: Predictor::new(device, &model, [1, 8, 8])?, shown, rows, failed: None };
        let report = Trainer::new(device, &model, &params, Adam::new(&params, 3e-3), split.clone())
            .epochs(epochs)
            .seed(seed)
            .schedule(|epoch, epochs| Schedule::Cosine.factor(epoch, epochs))
            .augment(GaussianNoise::new(&params.at("noise"), noise))
            .run(&mut watch)?;
        watch.failed.map_or(Ok(()), Err)?;
        let off = mean_square(Predictor::new(device, &model, [1, 8, 8])?.outputs(seen)?.as_f32(), &clean);
        println!("{name:13} {off:.4}, {:.2} s", report.train_seconds);
        draw(folder, &format!("{name}.svg"), "test digits and what comes back of them", &watch.rows)?;
        if off > limit {
            return Err(format!("{name}: the error {off:.4} is above {limit:.4}").into());
        }
    }
    Ok(())
}

fn main() -> Result<()> {
    let (seed, device, folder) = judge::arguments("runs/autoencoder")?;
    run(&device, seed, EPOCHS, Some(&folder))
}
