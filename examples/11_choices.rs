//! What the catalogue's advice is worth on one small problem: a perceptron on the digits with every activation and every way to
//! begin, and with every optimizer. Each is trained with three seeds; a cell has the median of the epochs it took to have 90 % of
//! the validation rows right, and of the accuracy after the last epoch.
//!
//! Run it with `cargo run --release --example 11_choices > docs/CHOICES.md`.

use wgrad::data::{Split, digits};
use wgrad::nn::{Activation, Mlp, ModelOptions, Nonlinearity};
use wgrad::optim::OptimizerKind;
use wgrad::train::{Keep, Trainer};
use wgrad::{Device, Init, Params};

const SEEDS: [u64; 3] = [1, 2, 3];
const EPOCHS: usize = 20;
/// Adam's; other optimizers have what goes with it.
const RATE: f32 = 3e-3;
const WIDTHS: [usize; 4] = [64, 64, 64, 10];

/// How runs with three seeds went.
struct Cell {
    /// Epochs to 90 %, and the accuracy at the end, each in order.
    epochs: [Option<usize>; 3],
    accuracy: [f64; 3],
}

impl Cell {
    /// `epochs · accuracy`, medians; a dash where 90 % were not reached.
    fn text(&self) -> String {
        let epochs = self.epochs[1].map_or("–".to_string(), |epochs| epochs.to_string());
        format!("{epochs} · {:.1}", 100.0 * self.accuracy[1])
    }
}

/// Trains with each seed.
fn measure(split: &Split, options: &ModelOptions, kind: OptimizerKind) -> wgrad::Result<Cell> {
    let mut runs = Vec::new();
    for seed in SEEDS {
        let params = Params::seeded(seed);
        let model = Mlp::with(&params, &WIDTHS, options);
        let optimizer = kind.build(&params, kind.rate(RATE), Some(0.0));
        // Rprop is for all rows at once, and then a step is an epoch.
        let (batch, epochs) = match kind {
            OptimizerKind::Rprop => (split.train.len(), 5 * EPOCHS),
            _ => (32, EPOCHS),
        };
        let trainer = Trainer::new(&Device::cpu_with_threads(1)?, model, &params, optimizer, split.clone());
        let trainer = trainer.batch(batch).epochs(epochs).seed(seed).keep(Keep::Last);
        // Where the loss is no number any more, nothing was learned.
        let accuracies: Vec<f64> = match trainer.run(&mut ()) {
            Ok(report) => {
                report.epochs.iter().filter_map(|e| e.validation.as_ref().map(|v| v.accuracy())).collect()
            }
            Err(_) => Vec::new(),
        };
        let reached = accuracies.iter().position(|accuracy| *accuracy >= 0.9).map(|epoch| epoch + 1);
        runs.push((reached, accuracies.last().copied().unwrap_or(0.0)));
    }
    let mut epochs: [Option<usize>; 3] = std::array::from_fn(|i| runs[i].0);
    let mut accuracy: [f64; 3] = std::array::from_fn(|i| runs[i].1);
    // Those that never get there come last.
    epochs.sort_by_key(|epochs| epochs.unwrap_or(usize::MAX));
    accuracy.sort_by(f64::total_cmp);
    Ok(Cell { epochs, accuracy })
}

/// Ways to begin, by name.
const BEGINNINGS: [&str; 8] = [
    "xavier-uniform",
    "xavier-normal",
    "he-uniform",
    "he-normal",
    "lecun-uniform",
    "lecun-normal",
    "orthogonal",
    "normal=0.01",
];

/// The names of all activations that can stand between layers.
fn activations() -> wgrad::Result<Vec<Nonlinearity>> {
    let learned = ["prelu", "swish-learned", "rrelu", "maxout"];
    let learned = learned.iter().map(|name| name.parse()).collect::<wgrad::Result<Vec<_>>>()?;
    Ok(Activation::ALL.into_iter().map(Nonlinearity::from).chain(learned).collect())
}

fn rows() -> wgrad::Result<Split> {
    let (train, test) = digits()?;
    let rows: Vec<u32> = (0..train.len() as u32).collect();
    Split::new(train.select("digits", &rows)?, test, 360)
}

/// Cells of a table, several at a time.
fn all(split: &Split, wanted: &[(ModelOptions, OptimizerKind)]) -> wgrad::Result<Vec<Cell>> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let next = std::sync::atomic::AtomicUsize::new(0);
    let done = std::sync::Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    let Some((options, kind)) = wanted.get(at) else { return };
                    let cell = measure(split, options, *kind);
                    if let Ok(mut done) = done.lock() {
                        done.push((at, cell));
                    }
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_default();
    done.sort_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, cell)| cell).collect()
}

pub(crate) fn run(
    activations: &[Nonlinearity],
    beginnings: &[&str],
    optimizers: &[OptimizerKind],
) -> Result<Vec<f64>, Box<dyn std::error::Error>> {
    let split = rows()?;
    println!("# Activations, initial weights and optimizers, measured\n");
    println!(
        "A perceptron {} on the digits, {EPOCHS} epochs in batches of 32, rate {RATE}; medians of {} seeds: epochs until \
         90 % of 360 validation rows are right, and the accuracy after the last epoch, in percent. \
         Made by `cargo run --release --example 11_choices > docs/CHOICES.md`; on the CPU, to the same bits everywhere but \
         for its mathematical library. One row is 0.28 points.\n",
        WIDTHS.map(|w| w.to_string()).join(" → "),
        SEEDS.len()
    );
    let mut wanted = Vec::new();
    for activation in activations {
        for name in beginnings {
            let options = ModelOptions::default().activation(*activation).init(name.parse::<Init>()?);
            wanted.push((options, OptimizerKind::Adam));
        }
    }
    let cells = all(&split, &wanted)?;
    println!("## Activations by initial weights\n\nWith Adam; those with parameters have the usual ones.\n");
    println!("| activation | {} |", beginnings.join(" | "));
    println!("|---|{}", "---|".repeat(beginnings.len()));
    for (activation, cells) in activations.iter().zip(cells.chunks(beginnings.len().max(1))) {
        let texts: Vec<String> = cells.iter().map(Cell::text).collect();
        let name = activation.to_string();
        let name = name.split('=').next().unwrap_or_default();
        println!("| `{name}` | {} |", texts.join(" | "));
    }
    let wanted: Vec<_> = optimizers.iter().map(|&kind| (ModelOptions::default(), kind)).collect();
    let of_optimizers = all(&split, &wanted)?;
    println!(
        "\n## Optimizers\n\nWith ReLU and the usual initial weights; Rprop on all rows at once, {} steps.\n",
        5 * EPOCHS
    );
    println!("| optimizer | rate | epochs · accuracy |\n|---|---|---|");
    for (kind, cell) in optimizers.iter().zip(&of_optimizers) {
        println!("| `{kind}` | {:.4} | {} |", kind.rate(RATE), cell.text());
    }
    Ok(cells.iter().chain(&of_optimizers).map(|cell| cell.accuracy[1]).collect())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let optimizers: Vec<OptimizerKind> = OptimizerKind::all().collect();
    run(&activations()?, &BEGINNINGS, &optimizers)?;
    Ok(())
}
