//! Windows of a text as rows of data sets.

use std::ops::Range;

use super::Text;
use crate::data::{Dataset, Input, Split, Targets, Values};
use crate::error::Result;

/// Which shares of a text are kept from training: it is cut into consecutive parts, in the order training, validation,
/// test, so that no part has a passage of another.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TextParts {
    /// Share to choose by, from 0.
    pub validation: f64,
    /// Share to test on, above 0.
    pub test: f64,
}

/// A tenth each.
impl Default for TextParts {
    fn default() -> Self {
        TextParts { validation: 0.1, test: 0.1 }
    }
}

/// How a text is read window by window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// Windows of `length` symbols, one each `stride`, each for itself and shuffled: for transformers. Validated and tested are
    /// the last half of windows that overlap by half, so that all that is measured has half a window before it or more (Baevski and
    /// Auli, ICLR 2019); the first half of a part's first window is read alone.
    Shuffled {
        /// Symbols of a window.
        length: usize,
        /// Symbols from one window to the next.
        stride: usize,
    },
    /// In `rows` rows at once, each of which goes through a passage of its own, `length` symbols a batch: for models that carry
    /// their state from batch to batch ([`Dataset::streams`]). Validation and test are read in as many rows as leave each
    /// 4,096 symbols, one at least.
    InOrder {
        /// Symbols of a window.
        length: usize,
        /// Passages that are read at once.
        rows: usize,
    },
}

/// Symbols of a row to validate or test on, at least: each row begins knowing nothing.
const PASSAGE: usize = 4096;

impl Text {
    /// The symbols of each part: training, validation, test.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) for shares that are none, or leave nothing to train or test on.
    pub fn parts(&self, parts: &TextParts) -> Result<[Range<usize>; 3]> {
        for (what, share) in [("validation", parts.validation), ("test", parts.test)] {
            if !(0.0..1.0).contains(&share) {
                return Err(self.invalid(format!("a {what} share of {share} is not from 0 to below 1")));
            }
        }
        let len = self.symbols.len();
        let count = |share: f64| (share * len as f64).round() as usize;
        let (validation, test) = (count(parts.validation), count(parts.test));
        let Some(train) = len.checked_sub(validation + test).filter(|&train| train > 1 && test > 1) else {
            return Err(self.invalid(format!(
                "{validation} symbols to validate on and {test} to test on, of {len}, leave too few; give a longer text, or \
                 other shares"
            )));
        };
        Ok([0..train, train..train + validation, train + validation..len])
    }

    /// Data sets of windows: input `x` are `length` numbers, and the target of each is the number that follows it. What does
    /// not fill a last window, or a last batch of rows in order, is left out. A part of the text is kept twice, as inputs and
    /// as targets, each 4 bytes a symbol times `length` over `stride`, on the host and on the device.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) for sizes of 0, parts that are none ([`Text::parts`]), and parts that are shorter
    /// than a window.
    pub fn split(&self, parts: &TextParts, reading: &Reading) -> Result<Split> {
        self.check(reading)?;
        let [train, validation, test] = self.parts(parts)?;
        Ok(Split {
            train: self.part("train", train, *reading)?,
            validation: self.part("validation", validation.clone(), reading.to_test(validation.len()))?,
            test: self.part("test", test.clone(), reading.to_test(test.len()))?,
        })
    }

    /// The windows of a range of symbols, read as validation and test are.
    ///
    /// # Errors
    /// As [`Text::split`]; a range that is none of the text.
    pub fn to_test(&self, range: Range<usize>, reading: &Reading) -> Result<Dataset> {
        self.check(reading)?;
        if range.start > range.end || range.end > self.symbols.len() {
            return Err(self.invalid(format!("{range:?} is no range of its {} symbols", self.symbols.len())));
        }
        let len = range.len();
        self.part("test", range, reading.to_test(len))
    }

    fn check(&self, reading: &Reading) -> Result<()> {
        let (length, second, what) = match *reading {
            Reading::Shuffled { length, stride } => (length, stride, "stride"),
            Reading::InOrder { length, rows } => (length, rows, "number of rows"),
        };
        match (length, second) {
            (0, _) => Err(self.invalid("windows of length 0 read nothing")),
            (_, 0) => Err(self.invalid(format!("a {what} of 0 reads nothing"))),
            _ => Ok(()),
        }
    }

    /// The windows of a part; of an empty one none.
    fn part(&self, which: &str, range: Range<usize>, reading: Reading) -> Result<Dataset> {
        let starts = starts(range.len(), &reading);
        if starts.is_empty() && !range.is_empty() {
            return Err(self.invalid(format!(
                "its {which} part of {} symbols is too short for {}; give a longer text, shorter windows or fewer rows",
                range.len(),
                described(&reading)
            )));
        }
        let (Reading::Shuffled { length, .. } | Reading::InOrder { length, .. }) = reading;
        let counted = if which == "train" { length } else { reading.step().min(length) };
        let data = self.windows(which, &self.symbols[range], &starts, [length, counted])?;
        match reading {
            Reading::InOrder { rows, .. } if !starts.is_empty() => data.with_streams(rows),
            _ => Ok(data),
        }
    }

    /// Windows of a part that begin at these symbols, with targets at the last places of each; where there are none, no
    /// data set that a check would pass.
    fn windows(
        &self,
        which: &str,
        part: &[u32],
        starts: &[usize],
        [length, counted]: [usize; 2],
    ) -> Result<Dataset> {
        let gather = |shift: usize, length: usize| -> Vec<u32> {
            starts.iter().flat_map(|start| &part[start + shift..start + shift + length]).copied().collect()
        };
        let inputs = vec![Input::new("x", [length], Values::Indices(gather(0, length)))];
        let classes = self.vocabulary.len();
        let targets = Targets::Sequences {
            labels: gather(1 + length - counted, counted),
            length: counted,
            classes,
            names: Vec::new(),
        };
        let name = format!("{}/{which}", self.name);
        match starts.is_empty() {
            true => Ok(Dataset { name, inputs, targets, streams: None }),
            false => Dataset::from_parts(name, inputs, targets),
        }
    }
}

impl Reading {
    /// Symbols from one window of a passage to the next.
    fn step(self) -> usize {
        match self {
            Reading::Shuffled { stride, .. } => stride,
            Reading::InOrder { length, .. } => length,
        }
    }

    /// How a part of `len` symbols is read to be measured.
    fn to_test(self, len: usize) -> Self {
        match self {
            Reading::Shuffled { length, .. } => Reading::Shuffled { length, stride: length.div_ceil(2) },
            Reading::InOrder { length, rows } => {
                Reading::InOrder { length, rows: (len / PASSAGE.max(length)).clamp(1, rows.max(1)) }
            }
        }
    }
}

fn described(reading: &Reading) -> String {
    match reading {
        Reading::Shuffled { length, .. } => format!("a window of {length}"),
        Reading::InOrder { length, rows } => format!("{rows} rows of windows of {length}"),
    }
}

/// Where the windows of a part of `len` symbols begin, in the order of their rows. Each takes one symbol more than its length.
fn starts(len: usize, reading: &Reading) -> Vec<usize> {
    let pairs = len.saturating_sub(1);
    match *reading {
        Reading::Shuffled { length, stride } => {
            (0..(pairs + 1).saturating_sub(length)).step_by(stride).collect()
        }
        Reading::InOrder { length, rows } => {
            let batches = pairs / rows / length;
            let passage = batches * length;
            (0..batches * rows).map(|row| row % rows * passage + row / rows * length).collect()
        }
    }
}
