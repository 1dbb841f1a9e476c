//! Rows to train on, to choose by and to test on.

use super::{Dataset, Targets};
use crate::error::{Error, Result};
use crate::rng::Rng;

/// Rows to train on, rows to choose by, and rows that are looked at once, at the end.
#[derive(Debug, Clone, PartialEq)]
pub struct Split {
    /// Trained on.
    pub train: Dataset,
    /// Measured after each epoch, to choose hyperparameters and the best weights; may be empty.
    pub validation: Dataset,
    /// For the result that is reported.
    pub test: Dataset,
}

/// Which shares of the rows are kept from training, and the seed that draws them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Holdout {
    /// Share of all rows to choose by, from 0.
    pub validation: f64,
    /// Share of all rows to test on, above 0. The test rows depend on this share and the seed, not on
    /// `validation`.
    pub test: f64,
    /// Seed.
    pub seed: u64,
}

/// A tenth to choose by and a fifth to test on, drawn by seed 42.
impl Default for Holdout {
    fn default() -> Self {
        Holdout { validation: 0.1, test: 0.2, seed: 42 }
    }
}

/// The numbers of rows: training, validation, test.
pub(super) struct Parts {
    pub(super) train: Vec<u32>,
    pub(super) validation: Vec<u32>,
    pub(super) test: Vec<u32>,
}

impl Holdout {
    /// Draws rows for each part, so that each has the classes in the proportions of the whole as nearly as whole
    /// rows allow, and training has at least one row of each class. Each part is in random order.
    ///
    /// # Errors
    /// [`Error::Invalid`] for shares that are none, or leave no row to test on, or too few to train on.
    pub(super) fn draw(&self, name: &str, labels: &[u32]) -> Result<Parts> {
        let Holdout { validation, test, seed } = *self;
        let invalid = |message: String| Err(Error::Invalid(format!("data set `{name}`: {message}")));
        for (what, share) in [("validation", validation), ("test", test)] {
            if !(0.0..1.0).contains(&share) {
                return invalid(format!("a {what} share of {share} is not from 0 to below 1"));
            }
        }
        let rows = labels.len();
        let count = |share: f64| (share * rows as f64).round() as usize;
        let (tested, validated) = (count(test), count(validation));
        if tested == 0 {
            return invalid(format!("a test share of {test} of {rows} rows is no row; give a larger one"));
        }
        let mut rng = Rng::new(seed, "split");
        let classes = labels.iter().max().map_or(0, |&label| label as usize + 1);
        let mut groups = vec![Vec::new(); classes];
        for (row, &label) in labels.iter().enumerate() {
            groups[label as usize].push(row as u32);
        }
        groups.retain(|group| !group.is_empty());
        groups.iter_mut().for_each(|group| rng.shuffle(group));
        // Where remainders tie, no class is favoured for its number.
        rng.shuffle(&mut groups);
        let spare = rows - groups.len();
        if tested.saturating_add(validated) > spare {
            return invalid(format!(
                "{tested} rows to test on and {validated} to validate on, of {rows}, leave less than one row of each \
                 of the {} classes to train on; give smaller shares",
                groups.len()
            ));
        }
        let mut test = take(&mut groups, tested);
        let mut validation = take(&mut groups, validated);
        let mut train = groups.concat();
        for part in [&mut test, &mut validation, &mut train] {
            // Whatever cuts it again finds every class on both sides.
            rng.shuffle(part);
        }
        Ok(Parts { train, validation, test })
    }
}

/// Takes `wanted` rows off the ends of the groups, from each its share by largest remainders, but never its last.
fn take(groups: &mut [Vec<u32>], wanted: usize) -> Vec<u32> {
    let total: usize = groups.iter().map(Vec::len).sum();
    if total == 0 {
        return Vec::new();
    }
    let spare = |group: &Vec<u32>| group.len() - 1;
    // In 128 bits, as the product of two numbers of rows.
    let exact = |group: &Vec<u32>| wanted as u128 * group.len() as u128;
    let whole = |group: &Vec<u32>| (exact(group) / total as u128) as usize;
    let mut counts: Vec<usize> = groups.iter().map(|group| whole(group).min(spare(group))).collect();
    let mut by_remainder: Vec<usize> = (0..groups.len()).collect();
    by_remainder.sort_by_key(|&g| std::cmp::Reverse(exact(&groups[g]) % total as u128));
    let mut left = wanted.saturating_sub(counts.iter().sum());
    while left > 0 {
        let before = left;
        for &g in &by_remainder {
            if left > 0 && counts[g] < spare(&groups[g]) {
                counts[g] += 1;
                left -= 1;
            }
        }
        if left == before {
            break;
        }
    }
    let pieces = groups.iter_mut().zip(counts).map(|(group, count)| group.split_off(group.len() - count));
    pieces.collect::<Vec<_>>().concat()
}

impl Split {
    /// Keeps the last `validation_rows` of `train` for validation ([`Dataset::split_validation`]).
    ///
    /// # Errors
    /// [`Error::Invalid`] where no row is left to train on, or `train` and `test` differ in names, shapes, kinds or scales
    /// of inputs or targets, or in classes.
    pub fn new(train: Dataset, test: Dataset, validation_rows: usize) -> Result<Split> {
        test.check()?;
        train.expect_like(&test)?;
        if train.class_names() != test.class_names() {
            return Err(Error::Invalid(format!(
                "data sets `{}` and `{}` call their classes by different names: {:?} and {:?}",
                train.name,
                test.name,
                train.class_names(),
                test.class_names()
            )));
        }
        let (train, validation) = train.split_validation(validation_rows)?;
        Ok(Split { train, validation, test })
    }

    /// Draws validation and test rows at random, so that all parts have the classes, if there are such, in the same
    /// proportions: for sets that come sorted and have no test rows of their own. Every class keeps a row to train on.
    ///
    /// # Errors
    /// [`Error::Invalid`] for shares that are not from 0 to below 1, no row to test on, or too few to train on.
    pub fn stratified(data: &Dataset, holdout: &Holdout) -> Result<Split> {
        data.check()?;
        let parts = match &data.targets {
            Targets::Classes { labels, .. } => holdout.draw(&data.name, labels)?,
            // All rows are of one kind.
            _ => holdout.draw(&data.name, &vec![0; data.len()])?,
        };
        let part = |which: &str, rows: &[u32]| data.select(format!("{}/{which}", data.name), rows);
        Ok(Split {
            train: part("train", &parts.train)?,
            validation: part("validation", &parts.validation)?,
            test: part("test", &parts.test)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::Values;
    use super::super::dataset::tests::{four, message};
    use super::*;

    #[test]
    fn a_split_needs_one_kind_of_example() {
        let split = Split::new(four(), four(), 2).unwrap();
        assert_eq!((split.train.len(), split.validation.len(), split.test.len()), (2, 2, 4));
        let wide = Dataset::new("wide/test", [2, 1, 1], Values::bytes(vec![0; 2], 0.5), vec![0], 3).unwrap();
        assert!(message(Split::new(four(), wide, 2)).contains("differ"));
        assert!(message(Split::new(four(), four().with_scale(1.0).unwrap(), 2)).contains("differ"));
        let floats = Dataset::new("floats/test", [1, 1, 2], vec![0.0; 2], vec![0], 3).unwrap();
        assert!(message(Split::new(four(), floats, 2)).contains("scale 0.5 and [1, 1, 2] of floats"));
        let named = four().with_class_names(["a", "b", "c"].map(String::from).to_vec()).unwrap();
        assert!(message(Split::new(four(), named, 2)).contains("different names"));
        assert!(message(Split::new(four(), four(), 4)).contains("keep at most 3"));
    }

    /// How many rows of each class.
    fn histogram(labels: impl IntoIterator<Item = u32>, classes: usize) -> Vec<usize> {
        let mut counts = vec![0; classes];
        labels.into_iter().for_each(|label| counts[label as usize] += 1);
        counts
    }

    #[test]
    fn sorted_classes_are_spread_evenly_and_shuffled() {
        let labels: Vec<u32> = (0..150).map(|row| row / 50).collect();
        let data = Dataset::new("sorted", [1], vec![0.0; 150], labels, 3).unwrap();
        let split = Split::stratified(&data, &Holdout { validation: 0.1, test: 0.2, seed: 1 }).unwrap();
        for (part, each) in [(&split.train, 35), (&split.validation, 5), (&split.test, 10)] {
            assert_eq!(histogram(part.labels().iter().copied(), 3), [each; 3]);
            assert!(!part.labels().is_sorted(), "{}", part.name);
        }
        assert_eq!(split.test.name, "sorted/test");
    }

    #[test]
    fn test_rows_depend_on_their_share_and_the_seed_alone() {
        let labels: Vec<u32> = (0..200).map(|row| row % 7).collect();
        let test = |validation, seed| {
            let mut rows = Holdout { validation, test: 0.25, seed }.draw("d", &labels).unwrap().test;
            rows.sort_unstable();
            rows
        };
        assert_eq!(test(0.0, 3), test(0.3, 3));
        assert_ne!(test(0.0, 3), test(0.0, 4));
    }

    #[test]
    fn shares_that_leave_nothing_are_refused() {
        let draw = |validation, test, labels: &[u32]| {
            message(Holdout { validation, test, seed: 0 }.draw("d", labels).map(|parts| parts.train))
        };
        let labels = [0, 0, 0, 0, 1, 1, 1, 1, 2, 2];
        assert!(draw(0.0, 0.0, &labels).contains("no row"));
        assert!(draw(0.0, 0.01, &labels).contains("no row"));
        assert!(draw(0.4, 0.4, &labels).contains("3 classes to train on"));
        for share in [-0.1, 1.0, f64::NAN, f64::INFINITY] {
            assert!(draw(share, 0.2, &labels).contains("validation share"));
            assert!(draw(0.2, share, &labels).contains("test share"));
        }
    }

    proptest! {
        /// Each row in one part, each part of the size asked for, each class in training, and no class further
        /// from its share than whole rows and its last row explain.
        #[test]
        fn every_row_is_in_one_part(
            labels in prop::collection::vec(0u32..5, 1..120), validation in 0.0..0.6f64, test in 0.01..0.6f64,
            seed: u64,
        ) {
            let holdout = Holdout { validation, test, seed };
            let Ok(parts) = holdout.draw("d", &labels) else { return Ok(()) };
            let mut all = [&parts.train[..], &parts.validation, &parts.test].concat();
            all.sort_unstable();
            prop_assert_eq!(all, (0..labels.len() as u32).collect::<Vec<_>>());
            prop_assert_eq!(parts.test.len(), (test * labels.len() as f64).round() as usize);
            prop_assert_eq!(parts.validation.len(), (validation * labels.len() as f64).round() as usize);
            let counts = |rows: &[u32]| histogram(rows.iter().map(|&row| labels[row as usize]), 5);
            let (whole, train, tested) = (histogram(labels.iter().copied(), 5), counts(&parts.train), counts(&parts.test));
            for class in 0..5 {
                prop_assert_eq!(train[class] > 0, whole[class] > 0);
                let due = parts.test.len() as f64 * whole[class] as f64 / labels.len() as f64;
                prop_assert!(tested[class] as f64 <= due + 3.5, "{tested:?} of {whole:?}");
                prop_assert!(tested[class] as f64 >= due - 1.0, "{tested:?} of {whole:?}");
            }
        }
    }
}
