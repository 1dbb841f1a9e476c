//! The digits that come with the crate; `data/digits/README.md` says where they are from.

use super::Dataset;
use super::idx::Idx;
use super::idx_folder::{IdxFile, Part, datasets};
use crate::error::Result;

/// One file of `data/digits`, embedded.
macro_rules! embedded {
    ($name:literal) => {
        IdxFile {
            path: concat!("data/digits/", $name).into(),
            idx: Idx::from_bytes(
                include_bytes!(concat!("../../data/digits/", $name)),
                concat!("data/digits/", $name),
            )?,
        }
    };
}

/// 1,797 handwritten digits of 8×8 pixels, grey from 0 to 16: 1,437 rows to train on and 360 to test.
///
/// They are part of the library, so this reads no file. Shape `[1, 8, 8]`, 10 classes, scale 1/16.
///
/// The rows are in the order of the original, form by form, so that training and test rows come from different
/// forms, but for the one that the cut goes through: by its labels it starts at training row 1415. Keeping the
/// last 22 training rows or more for validation ([`Dataset::split_validation`]) leaves none of it to train on.
///
/// E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning Repository, 1998,
/// <https://doi.org/10.24432/C50P49>, CC BY 4.0.
///
/// # Errors
/// None that a user can cause: the content is fixed, and a test reads it.
pub fn digits() -> Result<(Dataset, Dataset)> {
    let train = Part {
        images: embedded!("train-images-idx3-ubyte.gz"),
        labels: embedded!("train-labels-idx1-ubyte.gz"),
    };
    let test = Part {
        images: embedded!("t10k-images-idx3-ubyte.gz"),
        labels: embedded!("t10k-labels-idx1-ubyte.gz"),
    };
    datasets("digits", train, test, 1.0 / 16.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn histogram(data: &Dataset) -> [usize; 10] {
        let mut counts = [0; 10];
        for &label in data.labels() {
            counts[label as usize] += 1;
        }
        counts
    }

    fn pixels(data: &Dataset) -> &[u8] {
        data.values().as_bytes().unwrap()
    }

    #[test]
    fn known_facts() {
        let (train, test) = digits().unwrap();
        assert_eq!((train.len(), test.len()), (1437, 360));
        for (data, name) in [(&train, "digits/train"), (&test, "digits/test")] {
            assert_eq!((data.name.as_str(), data.shape()), (name, &[1, 8, 8][..]));
            assert_eq!((data.classes(), data.scale()), (10, 1.0 / 16.0));
            assert_eq!(pixels(data).iter().max(), Some(&16));
        }
        assert_eq!(train.labels()[..10], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
        // The first digit as scikit-learn prints it.
        assert_eq!(pixels(&train)[..16], [0, 0, 5, 13, 9, 1, 0, 0, 0, 0, 13, 15, 10, 15, 5, 0]);
        let sum = |data: &Dataset| pixels(data).iter().map(|&pixel| u32::from(pixel)).sum::<u32>();
        assert_eq!((sum(&train), sum(&test)), (449_372, 112_346));
    }

    #[test]
    fn the_classes_are_those_the_donors_counted() {
        let (train, test) = digits().unwrap();
        let (train, test) = (histogram(&train), histogram(&test));
        let all: Vec<usize> = train.iter().zip(test).map(|(a, b)| a + b).collect();
        assert_eq!(all, [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]);
        assert_eq!((train.iter().sum::<usize>(), test.iter().sum::<usize>()), (1437, 360));
    }

    /// What a network has to beat, and the README cites: the majority of the three nearest training rows, by squared
    /// distance, the smaller class where all three differ.
    #[test]
    fn three_nearest_neighbours_know_96_7_percent() {
        let (train, test) = digits().unwrap();
        let known: Vec<(&[u8], u32)> =
            pixels(&train).chunks_exact(64).zip(train.labels().iter().copied()).collect();
        let mut correct = 0;
        for (image, &label) in pixels(&test).chunks_exact(64).zip(test.labels()) {
            let distance = |other: &[u8]| -> u32 {
                image.iter().zip(other).map(|(&a, &b)| u32::from(a.abs_diff(b)).pow(2)).sum()
            };
            let mut nearest: Vec<(u32, u32)> =
                known.iter().map(|(row, class)| (distance(row), *class)).collect();
            nearest.select_nth_unstable(2);
            let votes = |class: u32| nearest[..3].iter().filter(|n| n.1 == class).count();
            let chosen = (0..10).rev().max_by_key(|&class| votes(class));
            correct += usize::from(chosen == Some(label));
        }
        assert_eq!(correct, 348);
    }

    /// A form begins with 0 to 9 three times over; the one that the test rows begin with starts at row 1415.
    #[test]
    fn the_last_training_rows_begin_the_first_test_form() {
        let (train, test) = digits().unwrap();
        let start: Vec<u32> = train.labels()[1415..].iter().chain(&test.labels()[..8]).copied().collect();
        assert_eq!(start, (0..30).map(|i| i % 10).collect::<Vec<_>>());
    }
}
