//! The novel that comes with the crate; `data/alice/README.md` says where it is from.

use std::io::Read;

use super::{Text, Unit};
use crate::data::gzip::Members;
use crate::error::{Error, Result};

/// "Alice's Adventures in Wonderland" by Lewis Carroll (1865): 148,425 characters, 70 different ones, in the public domain.
///
/// It is part of the library, so this reads no file.
///
/// ```
/// use wgrad::data::{Unit, alice};
/// let text = alice(Unit::Characters)?;
/// let start = text.vocabulary().decode(&text.symbols()[..40]);
/// assert_eq!(start.trim(), "ALICE'S ADVENTURES IN WO");
/// # Ok::<(), wgrad::Error>(())
/// ```
///
/// # Errors
/// None that a user can cause: the content is fixed, and a test reads it.
pub fn alice(unit: Unit) -> Result<Text> {
    let mut text = String::new();
    let compressed: &[u8] = include_bytes!("../../../data/alice/alice.txt.gz");
    let read = Members::new(compressed).read_to_string(&mut text);
    read.map_err(|e| Error::io(std::path::Path::new("data/alice/alice.txt.gz"), e))?;
    Text::new("alice", &text, unit)
}
