//! A folder with MNIST's four files.

use std::path::{Path, PathBuf};

use super::idx::{Idx, format_error};
use super::{Dataset, Values};
use crate::error::{Error, Result};

/// A file and what it is called in errors.
pub(super) struct IdxFile {
    pub(super) path: PathBuf,
    pub(super) idx: Idx,
}

/// The images and the labels of one part of a data set.
pub(super) struct Part {
    pub(super) images: IdxFile,
    pub(super) labels: IdxFile,
}

/// Reads the four files under which MNIST, Fashion-MNIST and their kin are published: (training rows, test
/// rows).
///
/// The files are `train-images-idx3-ubyte`, `train-labels-idx1-ubyte`, `t10k-images-idx3-ubyte` and
/// `t10k-labels-idx1-ubyte`, or the same with a dot (`train-images.idx3-ubyte`), plain or with `.gz` appended;
/// where several are there, the one named first here is read. Images have the sizes rows, height, width, which
/// gives examples of shape `[1, height, width]`, or rows, channels, height, width.
///
/// The scale is always 1/255; for values with another maximum, see [`Dataset::with_scale`]. The number of
/// classes is one more than the greatest training label.
///
/// # Errors
/// [`Error::Io`] where a file is missing or cannot be read; [`Error::Format`] where one is malformed (see
/// [`Idx::read_file`]), the images and labels differ in number, the training and test images in size, or a test
/// label is one that no training row has the like of: at or beyond the number of classes.
pub fn load_idx_folder(folder: impl AsRef<Path>) -> Result<(Dataset, Dataset)> {
    let folder = folder.as_ref();
    let metadata = std::fs::metadata(folder).map_err(|e| Error::io(folder, e))?;
    if !metadata.is_dir() {
        return Err(Error::io(folder, "not a folder; give the one that holds the data set's four files"));
    }
    let file = |part, kind| {
        let path = find(folder, part, kind)?;
        Ok(IdxFile { idx: Idx::read_file(&path)?, path })
    };
    let train = Part { images: file("train", "images-idx3")?, labels: file("train", "labels-idx1")? };
    let test = Part { images: file("t10k", "images-idx3")?, labels: file("t10k", "labels-idx1")? };
    let name = match folder.file_name() {
        Some(name) => name.to_string_lossy().into_owned(),
        None => folder.display().to_string(),
    };
    datasets(&name, train, test, 1.0 / 255.0)
}

/// The first of the names a file goes by that is there.
fn find(folder: &Path, part: &str, kind: &str) -> Result<PathBuf> {
    let dashed = format!("{part}-{kind}-ubyte");
    let dotted = format!("{part}-{}-ubyte", kind.replace('-', "."));
    let names = [dashed.clone(), dotted.clone(), dashed + ".gz", dotted + ".gz"];
    match names.iter().map(|name| folder.join(name)).find(|path| path.is_file()) {
        Some(path) => Ok(path),
        None => {
            let names = names.map(|name| format!("`{name}`")).join(", ");
            Err(Error::io(folder, format!("a file is missing: none of {names} is here")))
        }
    }
}

/// Puts the parts together, once they agree.
pub(super) fn datasets(name: &str, train: Part, test: Part, scale: f32) -> Result<(Dataset, Dataset)> {
    let shape = example_shape(&train.images)?;
    let test_shape = example_shape(&test.images)?;
    if let Some(axis) = (0..3).find(|&axis| shape[axis] != test_shape[axis]) {
        // Where the axis stands in the header; images without channels have none that could differ by itself.
        let place = axis + test.images.idx.sizes.len() - 3;
        return format_error(
            &test.images.path,
            if place == 0 { 3 } else { 4 + 4 * place as u64 },
            format!(
                "examples of shape {test_shape:?}, but those of {} are {shape:?}",
                train.images.path.display()
            ),
        );
    }
    check_labels(&train)?;
    check_labels(&test)?;

    let classes = train.labels.idx.values.iter().max().map_or(0, |&label| usize::from(label) + 1);
    if let Some(row) = test.labels.idx.values.iter().position(|&label| usize::from(label) >= classes) {
        return format_error(
            &test.labels.path,
            8 + row as u64,
            format!(
                "row {row} has label {}, but the training labels are 0 to {}",
                test.labels.idx.values[row],
                classes.saturating_sub(1)
            ),
        );
    }

    let dataset = |part: Part, which: &str| {
        let labels = part.labels.idx.values.into_iter().map(u32::from).collect();
        let pixels = Values::bytes(part.images.idx.values, scale);
        Dataset::new(format!("{name}/{which}"), shape, pixels, labels, classes)
    };
    Ok((dataset(train, "train")?, dataset(test, "test")?))
}

/// Channels, height and width of the images in a file.
fn example_shape(images: &IdxFile) -> Result<[usize; 3]> {
    let sizes = &images.idx.sizes;
    if let Some(place) = sizes.iter().position(|&size| size == 0) {
        return format_error(&images.path, 4 + 4 * place as u64, format!("sizes {sizes:?} leave no images"));
    }
    match sizes[..] {
        [_, height, width] => Ok([1, height, width]),
        [_, channels, height, width] => Ok([channels, height, width]),
        _ => format_error(
            &images.path,
            3,
            format!(
                "{} dimensions; images have 3 (rows, height, width) or 4 (rows, channels, height, width)",
                sizes.len()
            ),
        ),
    }
}

/// One label an image. The images were looked at before, so there are some.
fn check_labels(part: &Part) -> Result<()> {
    let Part { images, labels } = part;
    let rows = images.idx.sizes.first().copied().unwrap_or(0);
    match labels.idx.sizes[..] {
        [count] if count == rows => Ok(()),
        [count] => format_error(
            &labels.path,
            4,
            format!("{count} labels, but {} has {rows} images", images.path.display()),
        ),
        _ => format_error(&labels.path, 3, format!("{} dimensions; labels have 1", labels.idx.sizes.len())),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::idx::tests::{encode, format_of, gzip};
    use super::*;

    const NAMES: [&str; 4] = [
        "train-images-idx3-ubyte",
        "train-labels-idx1-ubyte",
        "t10k-images-idx3-ubyte",
        "t10k-labels-idx1-ubyte",
    ];

    /// The four files of a small data set: three training rows and two test rows of 2×2, classes 0 to 2.
    fn small() -> [Vec<u8>; 4] {
        [
            encode(&[3, 2, 2], &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 255]),
            encode(&[3], &[0, 2, 1]),
            encode(&[2, 2, 2], &[9; 8]),
            encode(&[2], &[2, 0]),
        ]
    }

    fn load(names: [&str; 4], files: [Vec<u8>; 4]) -> Result<(Dataset, Dataset)> {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("small");
        fs::create_dir(&folder).unwrap();
        for (name, bytes) in names.iter().zip(files) {
            fs::write(folder.join(name), bytes).unwrap();
        }
        load_idx_folder(&folder)
    }

    /// The error of the small data set with one file replaced must be in that file.
    #[track_caller]
    fn refused(file: usize, bytes: Vec<u8>, offset: u64, words: &str) {
        let mut files = small();
        files[file] = bytes;
        let result = load(NAMES, files);
        let named = matches!(&result, Err(Error::Format { path, .. }) if path.ends_with(NAMES[file]));
        assert!(named, "{result:?}");
        let (at, message) = format_of(result);
        assert_eq!(at, offset, "{message}");
        assert!(message.contains(words), "{message}");
    }

    #[test]
    fn a_folder_is_read_under_every_name() {
        let (train, test) = load(NAMES, small()).unwrap();
        assert_eq!((train.name.as_str(), test.name.as_str()), ("small/train", "small/test"));
        assert_eq!((train.len(), test.len(), train.classes(), test.classes()), (3, 2, 3, 3));
        assert_eq!((train.shape(), train.scale()), (&[1, 2, 2][..], 1.0 / 255.0));
        assert_eq!(train.values().as_bytes().map(|pixels| &pixels[4..8]), Some(&[4, 5, 6, 7][..]));
        assert_eq!(train.labels(), [0, 2, 1]);

        let zipped = [
            "train-images-idx3-ubyte.gz",
            "train-labels-idx1-ubyte.gz",
            "t10k-images.idx3-ubyte.gz",
            "t10k-labels.idx1-ubyte",
        ];
        let [a, b, c, d] = small();
        assert_eq!(load(zipped, [gzip(&a), b, gzip(&c), gzip(&d)]).unwrap(), (train, test));
    }

    #[test]
    fn four_dimensions_have_channels() {
        let mut files = small();
        files[0] = encode(&[3, 3, 1, 2], &[7; 18]);
        files[2] = encode(&[2, 3, 1, 2], &[7; 12]);
        let (train, test) = load(NAMES, files).unwrap();
        assert_eq!((train.shape(), test.shape()), (&[3, 1, 2][..], &[3, 1, 2][..]));
    }

    #[test]
    fn a_missing_file_is_named_in_every_form() {
        let folder = tempfile::tempdir().unwrap();
        let message = |folder: &Path| match load_idx_folder(folder) {
            Err(Error::Io { message, path }) if path == folder => message,
            other => panic!("not Io: {other:?}"),
        };
        for (name, bytes) in NAMES.iter().zip(small()) {
            let text = message(folder.path());
            assert!(text.contains(&format!("`{name}`")) && text.contains(&format!("`{name}.gz`")), "{text}");
            assert!(text.contains(&format!("`{}`", name.replace("-idx", ".idx"))), "{text}");
            // A folder of that name, as some archives unpack to, is not the file.
            fs::create_dir(folder.path().join(name)).unwrap();
            fs::write(folder.path().join(format!("{name}.gz")), bytes).unwrap();
        }
        assert!(load_idx_folder(folder.path()).is_ok());
        message(&folder.path().join("absent"));
        assert!(message(&folder.path().join(format!("{}.gz", NAMES[0]))).contains("not a folder"));
    }

    #[test]
    fn counts_that_differ() {
        refused(1, encode(&[2], &[0, 1]), 4, "2 labels, but");
        refused(3, encode(&[3], &[0, 1, 2]), 4, "3 labels, but");
    }

    #[test]
    fn sizes_that_differ() {
        refused(2, encode(&[2, 2, 3], &[0; 12]), 12, "[1, 2, 3]");
        refused(2, encode(&[2, 1, 2], &[0; 4]), 8, "[1, 1, 2]");
        refused(2, encode(&[2, 3, 2, 2], &[0; 24]), 8, "[3, 2, 2]");
        refused(2, encode(&[2, 1, 2, 3], &[0; 12]), 16, "[1, 2, 3]");
        let mut files = small();
        files[0] = encode(&[3, 3, 2, 2], &[0; 36]);
        assert_eq!(format_of(load(NAMES, files)).0, 3);
    }

    #[test]
    fn a_test_label_beyond_the_classes() {
        refused(3, encode(&[2], &[0, 3]), 9, "row 1 has label 3, but the training labels are 0 to 2");
    }

    #[test]
    fn dimensions_that_are_none_of_images_or_labels() {
        refused(0, encode(&[3, 4], &[0; 12]), 3, "2 dimensions");
        refused(1, encode(&[3, 1], &[0; 3]), 3, "2 dimensions; labels have 1");
        refused(0, encode(&[0, 2, 2], &[]), 4, "no images");
        refused(2, encode(&[2, 2, 0], &[]), 12, "no images");
    }

    #[test]
    fn a_malformed_file_is_named() {
        refused(0, encode(&[3, 2, 2], &[0; 11]), 27, "after 11 of the 12 values");
        refused(3, encode(&[2], &[0; 3]), 10, "goes on");
    }
}
