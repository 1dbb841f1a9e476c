//! A transformer that learns to add: it reads `347+085=` and writes `0432`, one digit after the other, and is asked for sums that
//! no step has seen. Each digit of the answer needs two digits that lie far apart and a carry, which is what attention is for.
//! The answer is written from its last digit on, as people do it on paper: then a carry is known when it is needed (Lee et al.,
//! "Teaching Arithmetic to Small Transformers", ICLR 2024, section 3).
//!
//! Run it with `cargo run --release --example 15_transformer_arithmetic`, perhaps with digits and steps: `-- 2 1500`.

use std::time::Instant;

use wgrad::nn::{Embedding, Layer, LearnedPositions, Linear, TransformerEncoder, TransformerOptions};
use wgrad::optim::{AdamW, ClipNorm, Optimizer, Schedule};
use wgrad::{Device, Graph, Params, Rng, Var};

const BATCH: usize = 128;
/// Digits, `+` and `=`.
const SYMBOLS: usize = 12;

/// Two numbers of so many digits, `+` and `=` and their sum, which has one digit more; numbers have leading zeros.
fn written(a: u32, b: u32, digits: usize) -> Vec<u32> {
    let digit = |x: u32, i: usize| x / 10u32.pow(i as u32) % 10;
    let number = |x: u32| (0..digits).rev().map(move |i| digit(x, i));
    // The last digit first.
    let sum = (0..=digits).map(|i| digit(a + b, i));
    number(a).chain([10]).chain(number(b)).chain([11]).chain(sum).collect()
}

/// Whether a sum is kept for the test: one in ten, by its numbers.
fn is_kept(a: u32, b: u32) -> bool {
    let mixed = a.wrapping_mul(1000).wrapping_add(b).wrapping_mul(0x9e37_79b1);
    (mixed >> 16).is_multiple_of(10)
}

/// A decoder without a source, as GPT.
struct Net {
    symbols: Embedding,
    positions: LearnedPositions,
    blocks: TransformerEncoder,
    head: Linear,
}

impl Net {
    fn new(params: &Params, length: usize) -> Self {
        let width = 64;
        let options = TransformerOptions::new(width, 4).hidden(256).norm_first().causal();
        Net {
            symbols: Embedding::new(&params.at("symbols"), SYMBOLS, width),
            positions: LearnedPositions::new(&params.at("positions"), length, width),
            blocks: TransformerEncoder::new(&params.at("blocks"), 2, &options),
            head: Linear::new(&params.at("head"), width, SYMBOLS),
        }
    }

    /// Logits of what follows each symbol of `[batch, time]`.
    fn next<'g>(&self, text: Var<'g>) -> Var<'g> {
        self.head.forward(self.blocks.forward(self.positions.forward(self.symbols.forward(text))))
    }
}

/// The share of right answers to sums that were not trained on.
pub(crate) fn run(device: &Device, digits: usize, steps: usize) -> Result<f64, Box<dyn std::error::Error>> {
    let (all, length) = (10u32.pow(digits as u32), 3 * digits + 3);
    // The answer begins here.
    let begin = length - digits - 1;
    let params = Params::seeded(1);
    let net = Net::new(&params, length - 1);

    let g = Graph::new();
    let text = g.classes("text", [BATCH, length]);
    let logits = net.next(text.slice(1, 0, length - 1));
    // What is learnt is the answer alone: nothing can be said about the numbers.
    let answer = logits.slice(1, begin - 1, digits + 1).reshape([BATCH * (digits + 1), SYMBOLS]);
    let wanted = text.slice(1, begin, digits + 1).reshape([BATCH * (digits + 1)]);
    let loss = answer.softmax_cross_entropy(wanted);
    g.output("loss", loss);
    let adam = AdamW::new(&params, 2e-3);
    let rate = adam.lr_state();
    ClipNorm::new(adam, 1.0).minimize(loss, &params.trainable());
    let mut step = device.compile(&g)?;

    let (start, mut rng) = (Instant::now(), Rng::new(1, "sums"));
    let mut sums = |kept: bool| {
        let mut texts = Vec::new();
        while texts.len() < BATCH * length {
            let (a, b) = (rng.below(all), rng.below(all));
            if is_kept(a, b) == kept {
                texts.extend(written(a, b, digits));
            }
        }
        texts
    };
    let schedule = Schedule::Cosine.after_warmup(steps / 20);
    for i in 0..steps {
        device.write_param(&rate, &[2e-3 * schedule.factor(i, steps)])?;
        step.run_with(&[("text", (&sums(false)).into())])?;
        if (i + 1) % (steps / 5).max(1) == 0 {
            println!("step {:>5}: loss {:.4}", i + 1, step.scalar("loss")?);
        }
    }

    // Written on by what is likeliest, one symbol after the other.
    let g = Graph::inference();
    let text = g.classes("text", [BATCH, length]);
    g.output("next", net.next(text.slice(1, 0, length - 1)).argmax(2).to_f32());
    let mut read = device.compile(&g)?;
    let (mut right, batches) = (0, 8);
    for batch in 0..batches {
        let sums = sums(true);
        let mut texts = sums.clone();
        for row in texts.chunks_mut(length) {
            row[begin..].fill(0);
        }
        for place in begin..length {
            read.run_with(&[("text", (&texts).into())])?;
            let next = read.values("next")?;
            for (row, next) in texts.chunks_mut(length).zip(next.chunks(length - 1)) {
                row[place] = next[place - 1] as u32;
            }
        }
        let rows = || texts.chunks(length).zip(sums.chunks(length));
        right += rows().filter(|(found, sum)| found == sum).count();
        if batch == 0 {
            for (found, sum) in rows().take(5) {
                let shown = |text: &[u32]| {
                    text.iter().map(|&s| b"0123456789+="[s as usize] as char).collect::<String>()
                };
                let answer: Vec<u32> = found[begin..].iter().rev().copied().collect();
                println!(
                    "{}{}{}",
                    shown(&sum[..begin]),
                    shown(&answer),
                    if found == sum { "" } else { "  wrong" }
                );
            }
        }
    }
    let share = right as f64 / (batches * BATCH) as f64;
    println!(
        "{:.1} % of {} sums that were not trained on are right, after {:.0} s",
        100.0 * share,
        batches * BATCH,
        start.elapsed().as_secs_f64()
    );
    Ok(share)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let given: Vec<usize> = std::env::args().skip(1).map(|n| n.parse()).collect::<Result<_, _>>()?;
    let (digits, steps) = (given.first().map_or(3, |&n| n.clamp(1, 8)), given.get(1).map_or(3000, |&n| n));
    let share = run(&Device::named("auto")?, digits, steps)?;
    if share < 0.99 { Err(format!("only {share} are right").into()) } else { Ok(()) }
}
