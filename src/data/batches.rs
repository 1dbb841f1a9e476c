//! The order of rows in an epoch, cut into batches.

use std::iter::FusedIterator;
use std::slice::Chunks;

use crate::error::{Error, Result};
use crate::rng::Rng;

/// What becomes of the rows that do not fill a batch at the end of an epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LastBatch {
    /// The last batch of an epoch is short, and is trained on with the mean over its own rows, so each of its
    /// rows weighs more than a row of a full batch. Every row is seen once an epoch.
    #[default]
    Keep,
    /// The rows are left out this epoch. The next epoch's order is another one, so it leaves out others.
    Drop,
}

/// The rows `0..n` in the order of `epoch`, shuffled by (`seed`, `epoch`) alone: an epoch's order does not
/// depend on the epochs before it, so a run that resumes goes on with the same batches.
///
/// Rows are numbered by `u32`, as a [`Dataset`](super::Dataset) has at most `u32::MAX`; a larger `n` counts as
/// that.
pub fn epoch_order(n: usize, seed: u64, epoch: u64) -> Vec<u32> {
    let mut order: Vec<u32> = (0..u32::try_from(n).unwrap_or(u32::MAX)).collect();
    Rng::new(seed, &format!("shuffle.{epoch}")).shuffle(&mut order);
    order
}

/// Cuts `order` into batches of `size` rows, with `last` for what is left over.
///
/// # Errors
/// [`Error::Invalid`] where `size` is 0, or where dropping the last batch drops every row.
pub fn batches(order: &[u32], size: usize, last: LastBatch) -> Result<Batches<'_>> {
    if size == 0 {
        return Err(Error::Invalid(
            "a batch of 0 rows trains on nothing; give a batch size of 1 or more".into(),
        ));
    }
    let kept = match last {
        LastBatch::Keep => order,
        LastBatch::Drop => &order[..order.len() - order.len() % size],
    };
    if kept.is_empty() && !order.is_empty() {
        return Err(Error::Invalid(format!(
            "{} rows do not fill one batch of {size}, and the last batch is dropped; give a smaller batch size, \
             or keep the last batch",
            order.len()
        )));
    }
    Ok(Batches { chunks: kept.chunks(size) })
}

/// The batches of an epoch, each the indices of its rows; made by [`batches`]. Its `len()` is the number of
/// steps that are left.
#[derive(Debug, Clone)]
pub struct Batches<'a> {
    chunks: Chunks<'a, u32>,
}

impl<'a> Iterator for Batches<'a> {
    type Item = &'a [u32];

    fn next(&mut self) -> Option<&'a [u32]> {
        self.chunks.next()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.chunks.size_hint()
    }
}

impl ExactSizeIterator for Batches<'_> {}
impl FusedIterator for Batches<'_> {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn keep_is_the_default_and_ends_short() {
        let order: Vec<u32> = (0..10).collect();
        let cut: Vec<&[u32]> = batches(&order, 4, LastBatch::default()).unwrap().collect();
        assert_eq!(cut, [&[0, 1, 2, 3][..], &[4, 5, 6, 7], &[8, 9]]);
    }

    #[test]
    fn drop_has_full_batches_only() {
        let order: Vec<u32> = (0..10).collect();
        let cut: Vec<&[u32]> = batches(&order, 4, LastBatch::Drop).unwrap().collect();
        assert_eq!(cut, [&[0, 1, 2, 3][..], &[4, 5, 6, 7]]);
        assert_eq!(batches(&order, 5, LastBatch::Drop).unwrap().len(), 2);
    }

    #[test]
    fn drop_leaves_out_other_rows_in_other_epochs() {
        let left_out = |epoch| epoch_order(100, 7, epoch)[96..].to_vec();
        assert_ne!(left_out(0), left_out(1));
    }

    #[test]
    fn sizes_that_train_on_nothing_are_refused() {
        for (rows, size, last) in
            [(10, 0, LastBatch::Keep), (10, 0, LastBatch::Drop), (10, 11, LastBatch::Drop)]
        {
            let order = epoch_order(rows, 0, 0);
            assert!(matches!(batches(&order, size, last), Err(Error::Invalid(_))), "{rows} {size} {last:?}");
        }
        assert_eq!(batches(&[], 3, LastBatch::Keep).unwrap().len(), 0);
        assert_eq!(batches(&[], 3, LastBatch::Drop).unwrap().len(), 0);
    }

    #[test]
    fn orders_depend_on_seed_and_epoch_only() {
        assert_eq!(epoch_order(50, 1, 2), epoch_order(50, 1, 2));
        assert_ne!(epoch_order(50, 1, 2), epoch_order(50, 1, 3));
        assert_ne!(epoch_order(50, 1, 2), epoch_order(50, 2, 2));
        assert!(epoch_order(0, 1, 2).is_empty());
    }

    proptest! {
        #[test]
        fn each_row_comes_once(n in 0usize..300, size in 1usize..80, seed: u64, epoch: u64) {
            let order = epoch_order(n, seed, epoch);
            let cut = batches(&order, size, LastBatch::Keep).unwrap();
            prop_assert_eq!(cut.len(), n.div_ceil(size));
            let mut rows: Vec<u32> = cut.flatten().copied().collect();
            rows.sort_unstable();
            prop_assert_eq!(rows, (0..n as u32).collect::<Vec<_>>());
        }

        #[test]
        fn drop_is_keep_without_the_short_batch(n in 0usize..300, size in 1usize..80) {
            let order = epoch_order(n, 3, 4);
            let full: Vec<&[u32]> =
                batches(&order, size, LastBatch::Keep).unwrap().filter(|batch| batch.len() == size).collect();
            if n == 0 || n >= size {
                let cut: Vec<&[u32]> = batches(&order, size, LastBatch::Drop).unwrap().collect();
                prop_assert_eq!(cut, full);
            } else {
                prop_assert!(batches(&order, size, LastBatch::Drop).is_err());
            }
        }
    }
}
