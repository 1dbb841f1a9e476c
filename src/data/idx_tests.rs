use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;

use super::*;

/// IDX of unsigned bytes, whether or not the values fit the sizes.
pub(in crate::data) fn encode(sizes: &[u32], values: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, 0x08, sizes.len() as u8];
    bytes.extend(sizes.iter().flat_map(|size| size.to_be_bytes()));
    bytes.extend_from_slice(values);
    bytes
}

pub(in crate::data) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// The offset and the message of a format error.
pub(in crate::data) fn format_of(result: Result<impl std::fmt::Debug>) -> (u64, String) {
    match result {
        Err(Error::Format { offset, message, .. }) => (offset, message),
        other => panic!("not Format: {other:?}"),
    }
}

fn parse(bytes: &[u8]) -> Result<Idx> {
    Idx::from_bytes(bytes, "some.idx")
}

/// The same fault, at the same offset, plain and gzipped.
#[track_caller]
fn refused(bytes: &[u8], offset: u64, words: &str) {
    for bytes in [bytes.to_vec(), gzip(bytes)] {
        let (at, message) = format_of(parse(&bytes));
        assert_eq!(at, offset, "{message}");
        assert!(message.contains(words), "{message}");
    }
}

#[test]
fn plain_and_gzip_read_the_same() {
    let bytes = encode(&[2, 3], &[1, 2, 3, 4, 5, 6]);
    let idx = Idx { sizes: vec![2, 3], values: vec![1, 2, 3, 4, 5, 6] };
    assert_eq!(parse(&bytes).unwrap(), idx);
    assert_eq!(parse(&gzip(&bytes)).unwrap(), idx);
    // `cat a.gz b.gz` is gzip too.
    let parts = [gzip(&bytes[..7]), gzip(&bytes[7..])].concat();
    assert_eq!(parse(&parts).unwrap(), idx);
}

#[test]
fn errors_name_the_file() {
    let text = parse(b"PK").unwrap_err().to_string();
    assert_eq!(text, "some.idx: at byte 0: not an IDX file: 0x50 where 0 is due");
}

#[test]
fn wrong_magic() {
    refused(b"P5 8 8", 0, "not an IDX file");
    refused(&[0, 7, 8, 1], 1, "not an IDX file");
    refused(&[9], 0, "not an IDX file");
}

#[test]
fn wrong_type() {
    refused(&[0, 0, 0x0d, 1, 0, 0, 0, 0], 2, "32-bit floats; only unsigned bytes");
    refused(&[0, 0, 0x0b], 2, "16-bit integers");
    refused(&[0, 0, 0x42, 1], 2, "no type of IDX");
}

#[test]
fn no_dimensions() {
    refused(&[0, 0, 8, 0, 1], 3, "no dimensions");
}

#[test]
fn truncated_header() {
    let bytes = encode(&[2, 3], &[]);
    for end in 0..4 {
        refused(&bytes[..end], end as u64, "first 4 bytes");
    }
    for end in 4..12 {
        refused(&bytes[..end], end as u64, "2 sizes");
    }
}

#[test]
fn truncated_data() {
    refused(&encode(&[2, 3], &[1, 2, 3, 4]), 16, "after 4 of the 6 values");
    refused(&encode(&[2, 3], &[]), 12, "after 0 of the 6 values");
}

#[test]
fn trailing_byte() {
    refused(&encode(&[2, 3], &[0; 7]), 18, "goes on after the 6 values");
    refused(&encode(&[0], &[0]), 8, "goes on after the 0 values");
}

#[test]
#[cfg(target_pointer_width = "64")]
fn sizes_that_overflow() {
    refused(&encode(&[u32::MAX; 3], &[1]), 8, "memory can number");
    refused(&encode(&[1 << 31, 1 << 31, 2], &[1]), 12, "memory can number");
    refused(&encode(&[u32::MAX; 255], &[1]), 8, "memory can number");
}

#[test]
fn huge_claims_cost_nothing() {
    // 2^62 values would abort if they were allocated.
    #[cfg(target_pointer_width = "64")]
    refused(&encode(&[1 << 31, 1 << 31], &[5; 9]), 21, "after 9 of the 4611686018427387904 values");
    refused(&encode(&[1 << 30], &[5; 9]), 17, "after 9 of the 1073741824 values");
}

#[test]
fn a_gzip_bomb_is_left_after_one_byte_too_many() {
    /// A content without end.
    struct Zeros(u64);
    impl Read for Zeros {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            into.fill(0);
            self.0 += into.len() as u64;
            Ok(into.len())
        }
    }
    let head = encode(&[10], &[]);
    let mut zeros = Zeros(0);
    let reader = head.as_slice().chain(&mut zeros);
    let content = Content { reader, gzip: true, path: Path::new("bomb.gz"), offset: 0 };
    assert_eq!(format_of(content.parse()).0, 18);
    assert_eq!(zeros.0, 11);

    let bomb = gzip(&encode(&[10], &vec![0; 10 << 20]));
    assert!(bomb.len() < 1 << 20);
    assert_eq!(format_of(parse(&bomb)).0, 18);
}

#[test]
fn zeros_after_gzip_are_padding_and_other_bytes_are_not() {
    let whole = encode(&[6], &[1, 2, 3, 4, 5, 6]);
    let (first, second) = (gzip(&whole[..9]), gzip(&whole[9..]));
    let expected = parse(&whole).unwrap();
    for zeros in [1, 7, 512, 100_000] {
        let padding = vec![0; zeros];
        assert_eq!(parse(&[gzip(&whole), padding.clone()].concat()).unwrap(), expected);
        // Two members, with zeros between them.
        assert_eq!(parse(&[&first[..], &padding, &second, &padding].concat()).unwrap(), expected);
    }
    assert!(parse(&[&gzip(&whole)[..], &[0, 0, 7]].concat()).is_err());
}

#[test]
fn damaged_gzip() {
    let values: Vec<u8> = (0..200).collect();
    let good = gzip(&encode(&[200], &values));
    // Cut anywhere: never a result, never past the end of what was there.
    for end in 2..good.len() {
        let (offset, message) = format_of(parse(&good[..end]));
        assert!(offset <= 208 && message.contains("damaged gzip"), "cut at {end}: {offset}, {message}");
    }
    // The checksum and the length are the last 8 bytes.
    for byte in good.len() - 8..good.len() {
        let mut bad = good.clone();
        bad[byte] ^= 1;
        let (offset, message) = format_of(parse(&bad));
        assert_eq!(offset, 208);
        assert!(message.contains("checksum"), "{message}");
    }
    // Compression methods other than deflate do not exist.
    let mut bad = good.clone();
    bad[2] = 7;
    assert_eq!(format_of(parse(&bad)).0, 0);
    // Bytes after the end.
    let longer = [good.as_slice(), b"more"].concat();
    assert_eq!(format_of(parse(&longer)).0, 208);
}

#[test]
fn files_are_read_and_the_system_is_quoted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("labels");
    std::fs::write(&path, gzip(&encode(&[2], &[7, 8]))).unwrap();
    assert_eq!(Idx::read_file(&path).unwrap(), Idx { sizes: vec![2], values: vec![7, 8] });
    for path in [folder.path().join("absent"), folder.path().to_path_buf()] {
        assert!(matches!(Idx::read_file(&path), Err(Error::Io { path: named, .. }) if named == path));
    }
}

proptest! {
    #[test]
    fn a_written_file_reads_back(sizes in prop::collection::vec(0u32..7, 1..5), seed: u8, zip: bool) {
        let count = sizes.iter().product::<u32>();
        let values: Vec<u8> = (0..count).map(|i| (i as u8).wrapping_mul(31).wrapping_add(seed)).collect();
        let bytes = encode(&sizes, &values);
        let idx = parse(&if zip { gzip(&bytes) } else { bytes }).unwrap();
        prop_assert_eq!(idx.sizes, sizes.iter().map(|&size| size as usize).collect::<Vec<_>>());
        prop_assert_eq!(idx.values, values);
    }

    #[test]
    fn any_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        for bytes in [bytes.clone(), gzip(&bytes), [&[0x1f, 0x8b, 8][..], &bytes].concat()] {
            if let Ok(idx) = parse(&bytes) {
                prop_assert_eq!(idx.sizes.iter().product::<usize>(), idx.values.len());
            }
        }
    }

    #[test]
    fn any_header_is_answered(dimensions: u8, bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let bytes = [&[0, 0, 8, dimensions][..], &bytes].concat();
        let plain = parse(&bytes).map_err(|e| e.to_string());
        prop_assert_eq!(&plain, &parse(&gzip(&bytes)).map_err(|e| e.to_string()));
        if let Ok(idx) = plain {
            prop_assert_eq!(idx.sizes.iter().product::<usize>(), idx.values.len());
        }
    }

    #[test]
    fn a_flipped_bit_is_answered(position: prop::sample::Index, bit in 0..8u32) {
        let good = encode(&[3, 5], &[9; 15]);
        let mut bad = gzip(&good);
        let at = position.index(bad.len());
        bad[at] ^= 1 << bit;
        // A flip in the gzip header may change nothing that matters (its time, its system).
        if let Ok(idx) = parse(&bad) {
            prop_assert_eq!(idx.values, vec![9; 15]);
        }
    }
}
