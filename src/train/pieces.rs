//! How the rows of a data set come to a graph that takes them batch by batch: all at once, or, where they are larger than
//! one buffer of the device may be, in pieces.

use super::batch::{Seen, Source, feed, inputs, tables};
use crate::data::{Dataset, Targets};
use crate::device::{Device, Step};
use crate::error::{Error, Result};
use crate::graph::{Graph, Var};
use crate::tensor::{Data, Tensor};

/// Bytes of a piece, unless one batch has more: what wgpu copies at once, and the host holds a second time.
const PIECE: usize = 64 << 20;

/// Where the rows are while a graph takes batches of them.
#[derive(Debug)]
pub(super) enum Rows {
    /// On the device, all of them.
    Resident,
    /// On the host. The device has a piece of the order, the rows of so many batches one after another, and is fed the
    /// next one when they are used up; so a batch never lies in two pieces, and batches are those of resident rows.
    Pieces {
        /// Batches of a piece.
        batches: usize,
        /// The piece that the device has.
        loaded: Option<usize>,
    },
}

impl Rows {
    /// Whether the first `rows` of a data set are resident, in batches of `batch` rows.
    ///
    /// # Errors
    /// [`Error::Limit`] where one batch is larger than the device's largest tensor.
    pub(super) fn of(device: &Device, data: &Dataset, rows: usize, batch: usize) -> Result<Self> {
        // Each input is a tensor, and so are the targets, and the numbers of the rows.
        let targets = match &data.targets {
            Targets::Values { shape, values } => Some((shape, values)),
            _ => None,
        };
        let all = data.inputs.iter().map(|input| (&input.shape, &input.values)).chain(targets);
        let places = data.targets.places();
        let mut rows_of = vec![(places, places.saturating_mul(4))];
        rows_of.extend(all.map(|(shape, values)| {
            let len = shape.iter().fold(1usize, |product, &size| product.saturating_mul(size));
            (len, len.saturating_mul(if values.as_bytes().is_some() { 1 } else { 4 }))
        }));
        let row = rows_of.iter().map(|(_, bytes)| *bytes).max().unwrap_or(4);
        let most = device.largest_tensor();
        let fits = |rows: usize| {
            rows_of.iter().all(|(len, bytes)| {
                let bytes = bytes.checked_mul(rows).and_then(|bytes| bytes.checked_next_multiple_of(16));
                // Kernels number elements by 32 bits.
                let elements = len.checked_mul(rows).and_then(|n| u32::try_from(n).ok());
                bytes.is_some_and(|bytes| bytes <= most) && elements.is_some()
            })
        };
        if !fits(batch) {
            let mib = |bytes: f64| bytes / f64::from(1 << 20);
            return Err(Error::Limit(format!(
                "data set `{}`: a batch of {batch} rows has {:.1} MiB, and {} takes tensors of at most {:.1} MiB; use \
                 a smaller batch",
                data.name,
                mib(row as f64 * batch as f64),
                device.info().name,
                mib(most.min(u32::MAX as usize) as f64)
            )));
        }
        if fits(rows) {
            return Ok(Rows::Resident);
        }
        let batches = (PIECE.min(most) / (row * batch)).max(1);
        tracing::info!(
            data = data.name,
            pieces = (rows / batch).div_ceil(batches),
            "the rows are larger than one buffer of the device may be, and are fed in pieces"
        );
        Ok(Rows::Pieces { batches, loaded: None })
    }

    /// Records batch `counter` of `size` rows: what the model sees, and the targets. Resident rows, the first `rows` of
    /// the data set, are taken by `order`, `[rows]`.
    pub(super) fn batch<'g>(
        &self,
        g: &'g Graph,
        data: &Dataset,
        rows: usize,
        order: impl FnOnce() -> Result<Var<'g>>,
        counter: Var<'g>,
        size: usize,
    ) -> Result<Seen<'g>> {
        let (order, source) = match self {
            Rows::Resident => {
                let source = tables(g, data, 0, rows)?;
                (order()?, source)
            }
            Rows::Pieces { batches, .. } => {
                let rows = batches * size;
                // A piece is fed in the order of its batches.
                let order = Tensor::new([rows], (0..rows as u32).collect::<Vec<u32>>())?;
                (g.constant(order), inputs(g, data, rows))
            }
        };
        let at = order.batch_rows(counter, size);
        let taken = |var: Var<'g>| var.take_rows(at);
        let Source { inputs, targets } = source;
        Ok(Source { inputs: inputs.into_iter().map(taken).collect(), targets: targets.map(taken) }
            .seen(g, data))
    }

    /// How many batches, from number `at` on, the rows that are on the device last; 0 where batch `at` is not there.
    pub(super) fn ready(&self, at: usize) -> usize {
        match self {
            Rows::Resident => usize::MAX,
            Rows::Pieces { batches, loaded } if *loaded == Some(at / batches) => batches - at % batches,
            Rows::Pieces { .. } => 0,
        }
    }

    /// Feeds the rows of batch `at`, and of those that follow, in the order of the whole. Nothing may be pending that
    /// takes the rows that are there.
    pub(super) fn load(
        &mut self,
        step: &mut Step,
        data: &Dataset,
        order: &[u32],
        at: usize,
        size: usize,
    ) -> Result<()> {
        let Rows::Pieces { batches, loaded } = self else { return Ok(()) };
        let (piece, rows) = (at / *batches, *batches * size);
        let order = &order[(piece * rows).min(order.len())..((piece + 1) * rows).min(order.len())];
        let mut batch = data.batch(order)?;
        // The last piece may be short: no batch takes what fills it up.
        for values in batch.inputs.iter_mut().chain(&mut batch.targets) {
            let filled = values.len() / order.len().max(1) * rows;
            match values {
                Data::F32(v) => v.resize(filled, 0.0),
                Data::U8(v) => v.resize(filled, 0),
                Data::U32(v) => v.resize(filled, 0),
            }
        }
        feed(step, data, &batch)?;
        *loaded = Some(piece);
        Ok(())
    }

    /// Forgets what the device has: the order is another one from now on.
    pub(super) fn forget(&mut self) {
        if let Rows::Pieces { loaded, .. } = self {
            *loaded = None;
        }
    }
}

/// Calls `compile` for `batch` rows, and for half as many as long as the device cannot hold so much: how many rows are
/// looked at together changes nothing but the time.
pub(super) fn within_limits<T>(
    mut batch: usize,
    mut compile: impl FnMut(usize) -> Result<T>,
) -> Result<(T, usize)> {
    loop {
        match compile(batch) {
            Err(Error::Limit(_) | Error::OutOfMemory(_)) if batch > 1 => batch /= 2,
            other => return Ok((other?, batch)),
        }
    }
}
