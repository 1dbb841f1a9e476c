//! Texts: their characters or bytes as numbers, and windows of them.

mod alice;
mod ngram;
#[cfg(test)]
mod tests;
mod vocabulary;
mod windows;

use std::path::Path;

pub use alice::alice;
pub use ngram::NGram;
pub use vocabulary::{Unit, Vocabulary};
pub use windows::{Reading, TextParts};

use crate::error::{Error, Result};

/// A text as the numbers of its characters or bytes.
///
/// ```
/// use wgrad::data::{Reading, Text, TextParts, Unit};
/// let text = Text::new("song", &"row, row, row your boat. ".repeat(20), Unit::Characters)?;
/// assert_eq!(text.vocabulary().len(), 11);
/// let split = text.split(&TextParts::default(), &Reading::Shuffled { length: 8, stride: 8 })?;
/// // Windows of eight characters, and the one that follows each of them.
/// assert_eq!((split.train.len(), split.train.shape(), split.train.classes()), (49, &[8][..], 11));
/// assert_eq!(split.train.target(0).unwrap()[..7], split.train.row(0).unwrap()[1..]);
/// # Ok::<(), wgrad::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Text {
    name: String,
    vocabulary: Vocabulary,
    symbols: Vec<u32>,
}

impl Text {
    /// The text of a file in UTF-8. A mark of byte order at its start is left out, and ends of lines of two characters,
    /// `\r\n`, become `\n`.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Format`] with the offset of the first byte that is no UTF-8; as [`Text::new`].
    pub fn read(path: impl AsRef<Path>, unit: Unit) -> Result<Self> {
        let path = path.as_ref();
        let bytes = std::fs::read(path).map_err(|e| Error::io(path, e))?;
        Text::from_bytes(&bytes, path, unit)
    }

    /// The text of the content of a file; `path` is what errors and the data sets call it.
    ///
    /// # Errors
    /// As [`Text::read`].
    pub fn from_bytes(bytes: &[u8], path: impl AsRef<Path>, unit: Unit) -> Result<Self> {
        let path = path.as_ref();
        let text = std::str::from_utf8(bytes).map_err(|e| {
            let offset = e.valid_up_to();
            let found = bytes.get(offset).copied().unwrap_or_default();
            let message = format!(
                "0x{found:02x} is not UTF-8; save the text as UTF-8, or convert it, such as with iconv"
            );
            Error::Format { path: path.into(), offset: offset as u64, message }
        })?;
        let text = text.strip_prefix('\u{feff}').unwrap_or(text).replace("\r\n", "\n");
        Text::new(path.display().to_string(), &text, unit)
    }

    /// A text as it is.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an empty one, or one of more than 2³² − 1 symbols.
    pub fn new(name: impl Into<String>, text: &str, unit: Unit) -> Result<Self> {
        let name = name.into();
        let vocabulary = Vocabulary::of(text, unit);
        let (symbols, _) = vocabulary.encode(text);
        let fault = match symbols.len() {
            0 => "is empty; give one with some thousand characters".to_string(),
            n if u32::try_from(n).is_err() => {
                format!("has {n} symbols; at most {} can be numbered", u32::MAX)
            }
            _ => return Ok(Text { name, vocabulary, symbols }),
        };
        Err(Error::Invalid(format!("the text `{name}` {fault}")))
    }

    /// The same text by the numbers of another vocabulary, such as that of a model.
    ///
    /// # Errors
    /// [`Error::Invalid`] where it has characters that have no number there.
    pub fn with_vocabulary(self, vocabulary: Vocabulary) -> Result<Self> {
        let (symbols, unknown) = vocabulary.encode(&self.vocabulary.decode(&self.symbols));
        match unknown[..] {
            [] => Ok(Text { symbols, vocabulary, ..self }),
            _ => {
                let shown: Vec<String> = unknown.iter().take(10).map(|c| format!("{c:?}")).collect();
                let more = if unknown.len() > 10 {
                    format!(" and {} others", unknown.len() - 10)
                } else {
                    "".into()
                };
                Err(self.invalid(format!("there are no numbers for {}{more}", shown.join(", "))))
            }
        }
    }

    /// What messages call it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What its numbers stand for.
    pub fn vocabulary(&self) -> &Vocabulary {
        &self.vocabulary
    }

    /// The number of each character or byte, in their order.
    pub fn symbols(&self) -> &[u32] {
        &self.symbols
    }

    fn invalid(&self, message: impl std::fmt::Display) -> Error {
        Error::Invalid(format!("the text `{}`: {message}", self.name))
    }
}
