//! Data sets, their readers, and the order in which their rows are trained on.
//!
//! A [`Dataset`] of images keeps one byte per pixel, as the files do: a quarter of the memory and of the upload
//! that `f32` would take. The device multiplies each byte by a scale when a batch is formed, and nothing else is
//! done to the values: no mean is subtracted. A data set made of a table keeps floats.
//!
//! - [`digits`]: 1,797 small handwritten digits that come with the crate, so examples and tests need no
//!   download;
//! - [`load_idx_folder`]: MNIST and every set published under its four file names;
//! - [`Idx`]: one file of that format;
//! - [`Table`]: a CSV file with a header; [`Table::split`] makes data sets of it, and a [`TablePreprocessor`] that
//!   does the same to later rows;
//! - [`iris`]: such a table, of 150 flowers, that comes with the crate;
//! - [`Text`]: the characters or bytes of any UTF-8 file; [`Text::split`] makes data sets of windows of it;
//! - [`alice`]: such a text, a novel of 26,000 words, that comes with the crate;
//! - [`NGram`]: how well a text is told without a network;
//! - [`Split`]: rows to train on, to choose by and to test on;
//! - [`epoch_order`] and [`batches`]: which rows a step sees.
//!
//! ```
//! use wgrad::data::{LastBatch, Split, batches, digits, epoch_order};
//!
//! let (train, test) = digits()?;
//! let split = Split::new(train, test, 144)?;
//! let order = epoch_order(split.train.len(), 42, 0);
//! let mut rows = 0;
//! for batch in batches(&order, 64, LastBatch::Keep)? {
//!     rows += batch.len();
//! }
//! assert_eq!(rows, 1293);
//! # Ok::<(), wgrad::Error>(())
//! ```

mod batches;
mod dataset;
mod digits;
mod gzip;
mod idx;
mod idx_folder;
mod iris;
mod rows;
mod split;
mod table;
mod targets;
mod text;
mod values;

pub use batches::{Batches, LastBatch, batches, epoch_order};
pub use dataset::{Batch, Dataset, Input};
pub use digits::digits;
pub use idx::Idx;
pub use idx_folder::load_idx_folder;
pub use iris::iris;
pub use split::{Holdout, Split};
pub use table::{
    ColumnKind, DecimalMark, Missing, Scaling, Table, TableError, TableErrorKind, TableOptions,
    TablePreprocessor, TableRows, TargetKind,
};
pub use targets::Targets;
pub use text::{NGram, Reading, Text, TextParts, Unit, Vocabulary, alice};
pub use values::Values;
