//! What a file is, before it is read as something else.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::{Failure, Outcome};

/// How files of images begin: PNG, JPEG, GIF, and TIFF in either order of bytes. Others begin like sounds or like tables.
const IMAGES: [&[u8]; 5] = [b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"II*\0", b"MM\0*"];

fn ends_in(path: &Path, extensions: &[&str]) -> bool {
    let extension = path.extension().unwrap_or_default();
    extensions.iter().any(|known| extension.eq_ignore_ascii_case(known))
}

/// Whether a file holds an image, by its first bytes or, where they do not tell, by its name.
pub(super) fn is_image(path: &Path) -> bool {
    let mut start = [0; 4];
    let is_read = File::open(path).and_then(|mut file| file.read_exact(&mut start)).is_ok();
    is_read && IMAGES.iter().any(|image| start.starts_with(image))
        || ends_in(path, &["png", "jpg", "jpeg", "gif", "webp", "tif", "tiff", "bmp"])
}

/// A file of rows for a model that is an image.
pub(super) fn refuse_image(path: &Path) -> Outcome {
    match path.is_file() && is_image(path) {
        true => {
            Err(Failure::new(format!("the model takes rows of tables, and {} is an image", path.display())))
        }
        false => Ok(()),
    }
}

/// An image for a model that is a table.
pub(super) fn refuse_table(path: &Path) -> Outcome {
    match ends_in(path, &["csv", "tsv"]) && !is_image(path) {
        true => Err(Failure::new(format!("the model takes images, and {} is a table", path.display()))),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_told_by_content_or_name() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            path
        };
        assert!(is_image(&write("rows.csv", b"\xff\xd8\xff\xe0")) && is_image(&write("empty.JPG", b"")));
        assert!(!is_image(&write("rows.tsv", b"x\ty\n")) && !is_image(&folder.path().join("none.csv")));
    }
}
