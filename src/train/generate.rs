//! Texts that a language model writes.

use super::record::begin_anew;
use crate::device::{Device, Step};
use crate::error::{Error, Result};
use crate::graph::{Graph, Params};
use crate::nn::{LanguageModel, Memory, Sampler};

/// A [`LanguageModel`] that reads symbols one by one and says what may follow, with the weights that are on the device: a step computes
/// one place, however long the text is.
///
/// A transformer sees at most `context` symbols. Where they are full it forgets all but the last half and reads those again, so
/// that it always sees half a context or more, for twice the steps.
///
/// ```
/// use wgrad::nn::{LanguageModel, RecurrentKind, RecurrentOptions, Sampler};
/// use wgrad::train::Generator;
/// use wgrad::{Device, Params};
/// let params = Params::seeded(1);
/// let model = LanguageModel::recurrent(&params, 5, RecurrentKind::Gru, 8, RecurrentOptions::default());
/// let mut generator = Generator::new(&Device::cpu(), &model, 64)?;
/// generator.read(&[0, 3, 1])?;
/// let mut sampler = Sampler::new(7).temperature(0.8)?;
/// let written = (0..100).map(|_| generator.write(&mut sampler)).collect::<Result<Vec<u32>, _>>()?;
/// assert!(written.iter().all(|symbol| *symbol < 5));
/// # Ok::<(), wgrad::Error>(())
/// ```
#[derive(Debug)]
pub struct Generator {
    device: Device,
    step: Step,
    memory: Memory,
    /// Symbols that a transformer sees at once.
    context: Option<usize>,
    classes: usize,
    /// What is in the memory; of a recurrent network nothing is kept.
    seen: Vec<u32>,
    /// What may follow; nothing where nothing was read.
    logits: Vec<f32>,
}

impl Generator {
    /// Compiles the step of a model, of which a transformer sees `context` symbols: as many as it was trained on.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a context of less than 2 symbols; the first recording mistake, or a limit of the device.
    pub fn new(device: &Device, model: &LanguageModel, context: usize) -> Result<Self> {
        if context < 2 {
            return Err(Error::Invalid(format!("a context has 2 symbols or more, got {context}")));
        }
        // In a store of its own: it is no part of the model.
        let memory = model.memory(&Params::seeded(0).at("generation"), 1, context);
        let g = Graph::inference();
        let x = g.classes("x", [1, 1]);
        // A recurrent network does not look at it.
        let lengths = if model.is_transformer() { g.classes("lengths", [1]) } else { x };
        g.output("y", model.step(x, &memory, lengths));
        let step = device.compile(&g)?;
        let context = model.is_transformer().then_some(context);
        let (device, classes) = (device.clone(), model.classes());
        Ok(Generator { device, step, memory, context, classes, seen: Vec::new(), logits: Vec::new() })
    }

    /// Reads symbols, after those that were read and written.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a symbol that is none; a failure of the device.
    pub fn read(&mut self, symbols: &[u32]) -> Result<()> {
        symbols.iter().try_for_each(|&symbol| self.read_one(symbol))
    }

    fn read_one(&mut self, symbol: u32) -> Result<()> {
        if symbol as usize >= self.classes {
            return Err(Error::Invalid(format!(
                "there is a symbol {symbol}, but there are {} classes",
                self.classes
            )));
        }
        if let Some(context) = self.context.filter(|&context| self.seen.len() == context) {
            let last = self.seen.split_off(context - context / 2);
            self.seen.clear();
            last.into_iter().try_for_each(|symbol| self.step(symbol))?;
        }
        self.step(symbol)?;
        self.logits = self.step.values("y")?;
        Ok(())
    }

    /// One step, whose logits are not read.
    fn step(&mut self, symbol: u32) -> Result<()> {
        self.step.feed("x", &[symbol])?;
        if self.context.is_some() {
            self.seen.push(symbol);
            self.step.feed("lengths", &[self.seen.len() as u32])?;
        }
        self.step.run()
    }

    /// The logits of the symbol that follows what was read and written; none where that is nothing.
    pub fn logits(&self) -> &[f32] {
        &self.logits
    }

    /// Draws the symbol that follows, and reads it.
    ///
    /// # Errors
    /// [`Error::Invalid`] where nothing was read, or logits are not finite; a failure of the device.
    pub fn write(&mut self, sampler: &mut Sampler) -> Result<u32> {
        if self.logits.is_empty() {
            return Err(Error::Invalid("nothing was read that a symbol could follow; read one first".into()));
        }
        let symbol = sampler.sample(&self.logits)? as u32;
        self.read_one(symbol)?;
        Ok(symbol)
    }

    /// Forgets what was read and written.
    ///
    /// # Errors
    /// A failure of the device.
    pub fn forget(&mut self) -> Result<()> {
        self.seen.clear();
        self.logits.clear();
        begin_anew(&self.device, &self.memory.states())
    }
}
