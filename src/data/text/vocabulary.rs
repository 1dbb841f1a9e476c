//! What the numbers of a text stand for.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// What a text is taken apart into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    /// Unicode characters, as many numbers as there are different ones.
    #[default]
    Characters,
    /// The bytes of UTF-8, 256 numbers: for texts of many different characters, and none is unknown.
    Bytes,
}

/// The characters that have numbers, in the order of their code points, or all bytes.
///
/// ```
/// use wgrad::data::{Unit, Vocabulary};
/// let vocabulary = Vocabulary::of("banana", Unit::Characters);
/// assert_eq!(vocabulary.encode("nab"), (vec![2, 0, 1], vec![]));
/// assert_eq!(vocabulary.encode("nap").1, ['p']);
/// assert_eq!(vocabulary.decode(&[1, 0, 2]), "ban");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Saved", into = "Saved")]
pub struct Vocabulary {
    unit: Unit,
    /// Sorted; none of bytes.
    characters: Vec<char>,
}

/// A vocabulary in a file.
#[derive(Serialize, Deserialize)]
struct Saved {
    unit: Unit,
    #[serde(default)]
    characters: String,
}

impl From<Vocabulary> for Saved {
    fn from(vocabulary: Vocabulary) -> Self {
        Saved { unit: vocabulary.unit, characters: vocabulary.characters.iter().collect() }
    }
}

impl TryFrom<Saved> for Vocabulary {
    type Error = Error;

    fn try_from(saved: Saved) -> Result<Self> {
        let characters: Vec<char> = saved.characters.chars().collect();
        let is_sorted = characters.windows(2).all(|pair| pair[0] < pair[1]);
        if !is_sorted || characters.is_empty() != (saved.unit == Unit::Bytes) {
            return Err(Error::Invalid(
                "a vocabulary is bytes, or different characters in their order".into(),
            ));
        }
        Ok(Vocabulary { unit: saved.unit, characters })
    }
}

impl Vocabulary {
    /// The characters of a text, or all bytes.
    pub fn of(text: &str, unit: Unit) -> Self {
        let mut characters: Vec<char> = match unit {
            Unit::Characters => text.chars().collect(),
            Unit::Bytes => Vec::new(),
        };
        characters.sort_unstable();
        characters.dedup();
        Vocabulary { unit, characters }
    }

    /// How many numbers there are.
    pub fn len(&self) -> usize {
        match self.unit {
            Unit::Characters => self.characters.len(),
            Unit::Bytes => 256,
        }
    }

    /// Whether there are none: that of an empty text.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What its numbers are of.
    pub fn unit(&self) -> Unit {
        self.unit
    }

    /// The numbers of a text, and the characters that have none, each once: those are left out.
    pub fn encode(&self, text: &str) -> (Vec<u32>, Vec<char>) {
        let mut unknown = Vec::new();
        if self.unit == Unit::Bytes {
            return (text.bytes().map(u32::from).collect(), unknown);
        }
        let number = |c: char| {
            let found = self.characters.binary_search(&c).ok();
            if found.is_none() && !unknown.contains(&c) {
                unknown.push(c);
            }
            found.map(|at| at as u32)
        };
        (text.chars().filter_map(number).collect(), unknown)
    }

    /// The bytes of UTF-8 that a number stands for; none for a number that there is not.
    pub fn bytes(&self, symbol: u32) -> Vec<u8> {
        match self.unit {
            Unit::Bytes => u8::try_from(symbol).into_iter().collect(),
            Unit::Characters => {
                self.characters.get(symbol as usize).map_or(Vec::new(), |c| c.to_string().into_bytes())
            }
        }
    }

    /// The text of numbers. Bytes that are no UTF-8 become U+FFFD.
    pub fn decode(&self, symbols: &[u32]) -> String {
        let bytes: Vec<u8> = symbols.iter().flat_map(|&symbol| self.bytes(symbol)).collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}
