//! What the examples that draw digits share: a judge of what they draw, their command line and their pictures.

use std::path::{Path, PathBuf};
use std::time::Instant;

use wgrad::data::{Split, digits};
use wgrad::nn::{Cnn, RandomAffine};
use wgrad::optim::{Adam, Schedule};
use wgrad::train::{Keep, Predictor, Trainer};
use wgrad::{Device, Params, Rng, Step};

pub(crate) type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// What is drawn of each class, to be judged: 100 images, class by class in turn.
pub(crate) const DRAWN: usize = 1000;

/// The convolutional network of `wgrad train`, trained on the real digits.
pub(crate) struct Judge {
    network: Predictor<'static>,
    /// How far the real digits of a class are from each other.
    spread: f64,
}

/// What a judge says of images.
#[derive(Default)]
pub(crate) struct Verdict {
    /// The share that is taken for the class that was asked for.
    pub(crate) recognized: f64,
    /// How far those of a class are from each other, over the same of the real digits: nearly 0 where each class is one image
    /// over and over, which a judge would recognize as well.
    pub(crate) spread: f64,
}

impl Verdict {
    /// Fails unless a share `aim` is recognized, and images of a class differ at least a third as much as real ones.
    pub(crate) fn expect(&self, aim: f64) -> Result<()> {
        if self.recognized >= aim && self.spread >= 0.33 {
            return Ok(());
        }
        let [recognized, wanted] = [self.recognized, aim].map(|share| 100.0 * share);
        Err(format!("{recognized:.1} % recognized, spread {:.2}; {wanted:.0} % and 0.33 wanted", self.spread)
            .into())
    }
}

impl Judge {
    /// On the CPU, where a network as small as this is trained the fastest.
    pub(crate) fn new() -> Result<Self> {
        let (train, test) = digits()?;
        let spread = spread(&train.values().to_floats(), train.labels());
        let params = Params::seeded(42);
        let cnn = Cnn::new(&params, [1, 8, 8], &[32, 64], 10).dropout(0.5);
        let moved = RandomAffine::new(&params.at("augment")).shift(1);
        let adam = Adam::new(&params, 4e-3);
        let (device, split) = (Device::cpu(), Split::new(train, test, 144)?);
        let report = Trainer::new(&device, cnn.clone(), &params, adam, split)
            .epochs(12)
            .batch(64)
            .augment(moved)
            .schedule(|epoch, epochs| Schedule::Cosine.factor(epoch, epochs))
            .keep(Keep::Last)
            .run(&mut ())?;
        let right = 100.0 * report.test.accuracy();
        println!(
            "the judge gets {right:.1} % of the real test digits right, after {:.1} s",
            report.train_seconds
        );
        if right < 97.0 {
            return Err(format!("a judge that gets {right:.1} % right is none").into());
        }
        Ok(Judge { network: Predictor::new(&device, cnn, [1, 8, 8])?, spread })
    }

    /// Of images `[n, 1, 8, 8]` with pixels from 0 to 1, and the classes that were asked for.
    pub(crate) fn verdict(&mut self, images: &[f32], asked: &[u32]) -> Result<Verdict> {
        let taken = self.network.predict(images)?;
        let right = asked.iter().enumerate().filter(|(i, class)| taken.class(*i) == **class as usize).count();
        let recognized = right as f64 / asked.len() as f64;
        Ok(Verdict { recognized, spread: spread(images, asked) / self.spread })
    }
}

/// What a model draws of the same codes, each with its class, as it learns.
pub(crate) struct Drawings {
    step: Step,
    judge: Judge,
    /// The classes 0 to 9 in turn.
    asked: Vec<u32>,
    verdict: Verdict,
    /// The first ten, by epoch.
    rows: Vec<(String, Vec<f32>)>,
    began: Instant,
}

impl Drawings {
    /// By a step that takes [`DRAWN`] codes of `size` normal numbers and as many classes, and gives `pixels`.
    pub(crate) fn new(mut step: Step, size: usize, seed: u64) -> Result<Self> {
        let judge = Judge::new()?;
        let mut rng = Rng::new(seed, "codes");
        let codes: Vec<f32> = (0..DRAWN * size).map(|_| rng.normal() as f32).collect();
        let asked: Vec<u32> = (0..DRAWN as u32).map(|i| i % 10).collect();
        step.feed("code", &codes)?;
        step.feed("class", &asked)?;
        let (verdict, rows, began) = (Verdict::default(), Vec::new(), Instant::now());
        Ok(Drawings { step, judge, asked, verdict, rows, began })
    }

    /// Draws after an epoch, and prints what the judge says behind the losses.
    pub(crate) fn look(&mut self, epoch: usize, losses: &str) -> Result<()> {
        self.step.run()?;
        let drawn = self.step.values("pixels")?;
        self.verdict = self.judge.verdict(&drawn, &self.asked)?;
        let (Verdict { recognized, spread }, seconds) = (&self.verdict, self.began.elapsed().as_secs_f64());
        let recognized = 100.0 * recognized;
        println!(
            "epoch {epoch:2}: {losses}; {recognized:4.1} % recognized, spread {spread:.2}; {seconds:.1} s"
        );
        self.rows.push((format!("epoch {epoch}"), drawn[..10 * 64].to_vec()));
        Ok(())
    }

    /// Leaves the picture, and fails unless a share `aim` of what was drawn last is recognized ([`Verdict::expect`]).
    pub(crate) fn finish(self, folder: Option<&Path>, aim: f64) -> Result<()> {
        draw(folder, "samples.svg", "the same codes, each with its class, by epoch", &self.rows)?;
        self.verdict.expect(aim)
    }
}

/// The standard deviation of a pixel within a class: the root of the mean variance over classes and pixels.
fn spread(images: &[f32], classes: &[u32]) -> f64 {
    let mut variance = 0.0;
    for class in 0..10 {
        let of_class =
            || images.chunks(64).zip(classes).filter(move |(_, of)| **of == class).map(|(image, _)| image);
        let n = of_class().count() as f64;
        for pixel in 0..64 {
            let mean = of_class().map(|image| f64::from(image[pixel])).sum::<f64>() / n;
            variance +=
                of_class().map(|image| (f64::from(image[pixel]) - mean).powi(2)).sum::<f64>() / n / 640.0;
        }
    }
    variance.sqrt()
}

/// What follows `--` on the command line: a seed, the name of a device and a folder for pictures.
pub(crate) fn arguments(folder: &str) -> Result<(u64, Device, PathBuf)> {
    let given: Vec<String> = std::env::args().skip(1).collect();
    let seed = given
        .first()
        .map_or(Ok(1), |seed| seed.parse().map_err(|_| format!("the seed `{seed}` is no number")))?;
    let device = Device::named(given.get(1).map_or("auto", String::as_str))?;
    println!("{device:?}, seed {seed}");
    Ok((seed, device, given.get(2).map_or(folder, String::as_str).into()))
}

/// Draws rows of 8×8 images, each row a label and the pixels of its images, limited to 0 to 1 as those of digits; nothing without a folder.
pub(crate) fn draw(
    folder: Option<&Path>,
    file: &str,
    title: &str,
    rows: &[(String, Vec<f32>)],
) -> Result<()> {
    #[cfg(feature = "plots")]
    if let Some(folder) = folder {
        let row = |(label, pixels): &(String, Vec<f32>)| wgrad::plots::ImageRow {
            label: label.clone(),
            images: pixels
                .chunks(64)
                .map(|image| image.iter().map(|x| x.clamp(0.0, 1.0)).collect())
                .collect(),
        };
        let rows: Vec<_> = rows.iter().map(row).collect();
        let path = folder.join(file);
        wgrad::plots::save(&path, &wgrad::plots::images(title, &[8, 8], &[], &rows)?)?;
        println!("drew {}", path.display());
    }
    #[cfg(not(feature = "plots"))]
    let _ = (folder, file, title, rows);
    Ok(())
}
