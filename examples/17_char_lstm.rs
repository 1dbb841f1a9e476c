//! A character LSTM learns "Alice's Adventures in Wonderland" and writes on: windows of the text in their order, a state that goes on
//! from batch to batch, bits per character beside those of n-grams, and a sample.
//!
//!     cargo run --release --example 17_char_lstm
//!
//! With `quick` as an argument a small one learns for one epoch, and is only held to n-grams of two characters.

use wgrad::data::{NGram, Reading, Text, TextParts, Unit, alice};
use wgrad::nn::{LanguageModel, RecurrentKind, RecurrentOptions, Sampler};
use wgrad::optim::{Adam, ClipNorm};
use wgrad::train::{EpochRecord, Generator, Observer, Trainer};
use wgrad::{Device, Params};

/// Sizes of a run, and the bits per character that it must stay below.
struct Plan {
    hidden: usize,
    dropout: f32,
    epochs: usize,
    /// Characters of a batch's row, after which gradients end.
    length: usize,
    rate: f32,
    /// Of n-grams: the order, or the best one by the validation part.
    order: Option<usize>,
}

struct Print;

impl Observer for Print {
    fn on_epoch(&mut self, record: &EpochRecord) {
        let bits = |scores: &wgrad::train::Scores| scores.get("bits").unwrap_or(f64::NAN);
        let validation = record.validation.as_ref().map_or(f64::NAN, bits);
        println!(
            "epoch {:>2}: {:.3} bits per character, validation {validation:.3}",
            record.epoch,
            bits(&record.train)
        );
    }
}

fn learn(device: &Device, text: &Text, plan: &Plan) -> Result<(), Box<dyn std::error::Error>> {
    let parts = TextParts::default();
    let split = text.split(&parts, &Reading::InOrder { length: plan.length, rows: 16 })?;
    let classes = text.vocabulary().len();

    let params = Params::seeded(42);
    let options = RecurrentOptions::default().dropout(plan.dropout);
    let model = LanguageModel::recurrent(&params, classes, RecurrentKind::Lstm, plan.hidden, options)
        .carrying(&params);
    let adam = ClipNorm::new(Adam::new(&params, plan.rate), 1.0);
    let epochs = plan.epochs;
    let report = Trainer::new(device, &model, &params, adam, split)
        .epochs(epochs)
        .schedule(|epoch, epochs| 0.5 + 0.5 * (std::f32::consts::PI * epoch as f32 / epochs as f32).cos())
        .choose_by("bits")
        .run(&mut Print)?;

    let bits = report.test.get("bits").unwrap_or(f64::NAN);
    let [train, validation, test] = text.parts(&parts)?.map(|part| &text.symbols()[part]);
    let (best, counted) = NGram::choose(train, validation, classes)?;
    let order = plan.order.unwrap_or(best);
    let baseline = counted.bits(order, test, 1..test.len());
    println!(
        "\ntest: {bits:.3} bits per character in {:.0} s; {order}-grams {baseline:.3}",
        report.train_seconds
    );

    let mut generator = Generator::new(device, &model, 64)?;
    generator.read(&text.vocabulary().encode("\n  Alice ").0)?;
    let mut sampler = Sampler::new(1).temperature(0.8)?;
    let written = (0..200).map(|_| generator.write(&mut sampler)).collect::<Result<Vec<u32>, _>>()?;
    println!("\n  Alice {}", text.vocabulary().decode(&written));
    match bits < baseline {
        true => Ok(()),
        false => {
            Err(format!("{bits:.3} bits per character are not below the {baseline:.3} of {order}-grams")
                .into())
        }
    }
}

/// One epoch of a small model.
pub(crate) fn quick(device: &Device) -> Result<(), Box<dyn std::error::Error>> {
    learn(
        device,
        &alice(Unit::Characters)?,
        &Plan { hidden: 64, dropout: 0.0, epochs: 1, length: 32, rate: 0.01, order: Some(2) },
    )
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    if std::env::args().any(|argument| argument == "quick") {
        return quick(&Device::cpu());
    }
    learn(
        &Device::cpu(),
        &alice(Unit::Characters)?,
        &Plan { hidden: 256, dropout: 0.4, epochs: 20, length: 64, rate: 5e-3, order: None },
    )
}
