//! A model of a text writes on: `wgrad predict --prompt`, and the sample at the end of a training.

use std::io::Write as _;
use std::path::Path;

use serde_json::json;
use wgrad::data::Vocabulary;
use wgrad::nn::{LanguageModel, Sampler};
use wgrad::train::Generator;
use wgrad::{Device, Params};

use super::run_file::Origin;
use super::text::TextModel;
use super::{Failure, Outcome, open, say};

/// Arguments for models of texts.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Models of texts")]
pub(super) struct WriteArgs {
    /// What the text begins with, which the model goes on from [default: a new line]
    #[arg(long, value_name = "TEXT")]
    prompt: Option<String>,
    /// Characters to write, or bytes of a model of bytes [default: 400]
    #[arg(long, value_name = "N")]
    length: Option<usize>,
    /// Below 1 likely characters become likelier, above 1 less so; 0 takes the likeliest [default: 0.8]
    #[arg(long, value_name = "F", allow_negative_numbers = true)]
    temperature: Option<f64>,
    /// Draw from the N likeliest characters alone
    #[arg(long, value_name = "N")]
    top_k: Option<usize>,
    /// Draw from the fewest characters whose probabilities add up to P
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    top_p: Option<f64>,
    /// What is drawn by; another seed writes another text [default: 42]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
}

/// Characters that are written, how they are drawn, and by what, where nothing is said.
const LENGTH: usize = 400;
const TEMPERATURE: f64 = 0.8;
const SEED: u64 = 42;

/// What a text begins with where nothing is said: as much as a line's end, or any first symbol.
fn usual_prompt(vocabulary: &Vocabulary) -> Vec<u32> {
    let (line_end, _) = vocabulary.encode("\n");
    if line_end.is_empty() { vec![0] } else { line_end }
}

impl WriteArgs {
    /// The first of the arguments that was given.
    pub(super) fn given(&self) -> Option<&'static str> {
        let all = [
            (self.prompt.is_some(), "--prompt"),
            (self.length.is_some(), "--length"),
            (self.temperature.is_some(), "--temperature"),
            (self.top_k.is_some(), "--top-k"),
            (self.top_p.is_some(), "--top-p"),
            (self.seed.is_some(), "--seed"),
        ];
        all.iter().find(|(is, _)| *is).map(|&(_, name)| name)
    }

    fn sampler(&self) -> Outcome<Sampler> {
        let of = |option: &str| {
            let option = option.to_string();
            move |error| Failure::usage(format!("{option}: {error}"))
        };
        let mut sampler = Sampler::new(self.seed.unwrap_or(SEED))
            .temperature(self.temperature.unwrap_or(TEMPERATURE))
            .map_err(of("--temperature"))?;
        if let Some(k) = self.top_k {
            sampler = sampler.top_k(k).map_err(of("--top-k"))?;
        }
        if let Some(p) = self.top_p {
            sampler = sampler.top_p(p).map_err(of("--top-p"))?;
        }
        Ok(sampler)
    }

    /// Writes on, by the model of a file.
    pub(super) fn run(&self, path: &Path, origin: &Origin, device: &str, is_json: bool) -> Outcome {
        let Some(vocabulary) = &origin.vocabulary else {
            return Err(Failure::new(format!("{} has no vocabulary", path.display())));
        };
        let mut sampler = self.sampler()?;
        let (prompt, unknown) = match &self.prompt {
            Some(text) => vocabulary.encode(text),
            None => (usual_prompt(vocabulary), Vec::new()),
        };
        if prompt.is_empty() {
            return Err(Failure::usage(match unknown[..] {
                [] => {
                    "a prompt has one character at least; leave --prompt out to begin with a new line".into()
                }
                _ => format!("the model knows none of the characters of the prompt, {}", shown(&unknown)),
            }));
        }
        if !unknown.is_empty() {
            let message = "the model does not know these characters, which are left out of the prompt";
            tracing::warn!("{message}: {}", shown(&unknown));
        }
        let model = TextModel::saved(&origin.settings)?;
        let (device, _) = open(device)?;
        let params = Params::seeded(0);
        let network = model.build(&params, vocabulary.len(), 0.0);
        device.load(&params.all(), path)?;
        let mut generator = Generator::new(&device, &network, model.context)?;
        generator.read(&prompt)?;
        let length = self.length.unwrap_or(LENGTH);
        if !is_json {
            let mut printed = Printed::default();
            if self.prompt.is_some() {
                printed.put(&prompt.iter().flat_map(|&s| vocabulary.bytes(s)).collect::<Vec<u8>>());
            }
            for _ in 0..length {
                printed.put(&vocabulary.bytes(generator.write(&mut sampler)?));
            }
            printed.end();
            return Ok(());
        }
        let written = (0..length).map(|_| generator.write(&mut sampler)).collect::<Result<Vec<u32>, _>>()?;
        say(json!({
            "prompt": self.prompt.as_ref().map(|_| vocabulary.decode(&prompt)),
            "unknown": unknown,
            "text": vocabulary.decode(&written),
            "temperature": self.temperature.unwrap_or(TEMPERATURE),
            "top_k": self.top_k,
            "top_p": self.top_p,
            "seed": self.seed.unwrap_or(SEED),
            "model_file": path.display().to_string(),
        }));
        Ok(())
    }
}

fn shown(characters: &[char]) -> String {
    let all: Vec<String> = characters.iter().map(|c| format!("{c:?}")).collect();
    all.join(", ")
}

/// Text on stdout as it comes. Bytes of a character wait for those that are missing.
#[derive(Default)]
struct Printed {
    waiting: Vec<u8>,
}

impl Printed {
    fn put(&mut self, bytes: &[u8]) {
        self.waiting.extend_from_slice(bytes);
        let is_open = match std::str::from_utf8(&self.waiting) {
            Ok(_) => false,
            // Without a length, more bytes may make it a character.
            Err(error) => error.error_len().is_none() && self.waiting.len() < 4,
        };
        if !is_open {
            self.flush();
        }
    }

    fn flush(&mut self) {
        let mut out = std::io::stdout();
        // Where nobody reads it any more, work goes on without it.
        let _ = write!(out, "{}", String::from_utf8_lossy(&self.waiting)).and_then(|()| out.flush());
        self.waiting.clear();
    }

    fn end(mut self) {
        self.flush();
        say("");
    }
}

/// Characters of the sample after a training.
const SAMPLE: usize = 240;

/// What the weights that are on the device write, from the start of a line on, with the settings of `wgrad predict`.
pub(super) fn sample(
    device: &Device,
    model: &LanguageModel,
    vocabulary: &Vocabulary,
    context: usize,
) -> Outcome<String> {
    let mut sampler = Sampler::new(SEED).temperature(TEMPERATURE)?;
    let mut generator = Generator::new(device, model, context)?;
    generator.read(&usual_prompt(vocabulary))?;
    let written = (0..SAMPLE).map(|_| generator.write(&mut sampler)).collect::<Result<Vec<u32>, _>>()?;
    Ok(vocabulary.decode(&written))
}
