//! The IDX format: the files of MNIST, plain or gzipped.
//!
//! Y. LeCun, C. Cortes and C. J. C. Burges, "The MNIST database of handwritten digits", 1998:
//!
//! | bytes | meaning |
//! |---|---|
//! | 0, 1 | zero |
//! | 2 | type of the values; 0x08 is the unsigned byte |
//! | 3 | number of dimensions |
//! | 4 each | the sizes, big-endian, slowest first |
//! | the rest | the values, row-major |

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use super::gzip::Members;
use crate::error::{Error, Result};

/// How much is asked of a reader at a time, and so how far memory runs ahead of the bytes that exist.
const CHUNK: u64 = 1 << 16;

/// The content of an IDX file of unsigned bytes.
///
/// The header's claims are never believed: memory grows with the bytes that are there, and decompression
/// stops one byte after the last that the header accounts for. Gzip is told by the content, not by the name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Idx {
    /// The sizes of the dimensions, slowest first; at least one.
    pub sizes: Vec<usize>,
    /// The values, row-major: as many as the product of `sizes`.
    pub values: Vec<u8>,
}

impl Idx {
    /// Reads a file.
    ///
    /// # Errors
    /// [`Error::Io`] where it cannot be read; [`Error::Format`] where the content is not IDX of unsigned bytes,
    /// is too short or too long for its header, or is damaged gzip. The offset counts uncompressed bytes.
    pub fn read_file(path: impl AsRef<Path>) -> Result<Idx> {
        let path = path.as_ref();
        let file = File::open(path).map_err(|e| Error::io(path, e))?;
        read(BufReader::new(file), path)
    }

    /// Reads the content of a file that is in memory; `path` is what errors call it.
    ///
    /// # Errors
    /// As [`Idx::read_file`].
    pub fn from_bytes(bytes: &[u8], path: impl AsRef<Path>) -> Result<Idx> {
        read(bytes, path.as_ref())
    }
}

/// [`Error::Format`] in fewer words.
pub(super) fn format_error<T>(path: &Path, offset: u64, message: impl Into<String>) -> Result<T> {
    Err(Error::Format { path: path.to_path_buf(), offset, message: message.into() })
}

fn read(mut reader: impl BufRead, path: &Path) -> Result<Idx> {
    let mut start = Vec::new();
    reader.by_ref().take(2).read_to_end(&mut start).map_err(|e| Error::io(path, e))?;
    let gzip = start == [0x1f, 0x8b]; // RFC 1952, section 2.3.1; IDX starts with zeros
    let whole = start.as_slice().chain(reader);
    if gzip {
        Content { reader: Members::new(whole), gzip, path, offset: 0 }.parse()
    } else {
        Content { reader: whole, gzip, path, offset: 0 }.parse()
    }
}

/// Uncompressed content, and how far it was read.
struct Content<'a, R> {
    reader: R,
    gzip: bool,
    path: &'a Path,
    offset: u64,
}

impl<R: Read> Content<'_, R> {
    /// The next `n` bytes, or fewer where the content ends.
    fn next(&mut self, n: u64) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let mut left = n;
        while left > 0 {
            let have = bytes.len();
            let want = left.min(CHUNK) as usize;
            bytes.try_reserve(want).map_err(|e| Error::io(self.path, e))?;
            bytes.resize(have + want, 0);
            let got = match self.reader.read(&mut bytes[have..]) {
                Ok(got) => got,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {
                    bytes.truncate(have);
                    continue;
                }
                Err(e) => return self.fail(&e),
            };
            bytes.truncate(have + got);
            self.offset += got as u64;
            left -= got as u64;
            if got == 0 {
                break;
            }
        }
        bytes.shrink_to_fit();
        Ok(bytes)
    }

    /// The decoder reports damage as an error of these kinds; others are the system's.
    fn fail<T>(&self, error: &io::Error) -> Result<T> {
        use io::ErrorKind::{InvalidData, InvalidInput, UnexpectedEof};
        if self.gzip && matches!(error.kind(), InvalidData | InvalidInput | UnexpectedEof) {
            return self.wrong(self.offset, format!("damaged gzip: {error}"));
        }
        Err(Error::io(self.path, error))
    }

    fn wrong<T>(&self, offset: u64, message: impl Into<String>) -> Result<T> {
        format_error(self.path, offset, message)
    }

    fn parse(mut self) -> Result<Idx> {
        let head = self.next(4)?;
        if let Some(i) = head.iter().take(2).position(|&byte| byte != 0) {
            return self.wrong(i as u64, format!("not an IDX file: {:#04x} where 0 is due", head[i]));
        }
        if let Some(&kind) = head.get(2).filter(|&&kind| kind != 0x08) {
            let name = match kind {
                0x09 => "signed bytes",
                0x0b => "16-bit integers",
                0x0c => "32-bit integers",
                0x0d => "32-bit floats",
                0x0e => "64-bit floats",
                _ => "no type of IDX",
            };
            return self
                .wrong(2, format!("type {kind:#04x} is {name}; only unsigned bytes, 0x08, can be read"));
        }
        let Some(&dimensions) = head.get(3) else {
            return self.wrong(self.offset, "the content ends within the first 4 bytes of the header");
        };
        if dimensions == 0 {
            return self.wrong(3, "the header has no dimensions");
        }

        let raw = self.next(4 * u64::from(dimensions))?;
        let mut sizes = Vec::new();
        let mut count = 1u64;
        for (i, size) in raw.chunks_exact(4).enumerate() {
            let size = size.iter().fold(0, |size, &byte| size << 8 | u64::from(byte));
            count = match count.checked_mul(size) {
                Some(count) if isize::try_from(count).is_ok() => count,
                _ => {
                    return self.wrong(
                        4 + 4 * i as u64,
                        format!("sizes {sizes:?} times {size} are more values than memory can number"),
                    );
                }
            };
            sizes.push(size as usize);
        }
        if sizes.len() < usize::from(dimensions) {
            return self
                .wrong(self.offset, format!("the content ends within the header's {dimensions} sizes"));
        }

        let start = self.offset;
        let values = self.next(count)?;
        if (values.len() as u64) < count {
            let found = values.len();
            return self.wrong(
                self.offset,
                format!("the content ends after {found} of the {count} values that sizes {sizes:?} claim"),
            );
        }
        // Asking for one more is also what makes the decoder compare its checksum.
        if !self.next(1)?.is_empty() {
            return self.wrong(
                start + count,
                format!("the content goes on after the {count} values that sizes {sizes:?} claim"),
            );
        }
        Ok(Idx { sizes, values })
    }
}

#[cfg(test)]
#[path = "idx_tests.rs"]
pub(super) mod tests;
