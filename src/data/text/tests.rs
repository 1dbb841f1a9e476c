use proptest::prelude::*;

use super::*;
use crate::data::{Dataset, Split};

fn text(content: &str) -> Text {
    Text::new("t", content, Unit::Characters).unwrap()
}

fn message<T: std::fmt::Debug>(result: Result<T>) -> String {
    result.unwrap_err().to_string()
}

#[test]
fn the_novel_that_ships() {
    let characters = alice(Unit::Characters).unwrap();
    assert_eq!((characters.symbols().len(), characters.vocabulary().len()), (148_425, 70));
    let whole = characters.vocabulary().decode(characters.symbols());
    assert!(whole.starts_with("                ALICE'S ADVENTURES IN WONDERLAND\n"));
    assert!(
        whole.ends_with("                             THE END\n")
            && whole.contains("Curiouser and curiouser!")
    );
    assert_eq!((whole.matches("Alice").count(), whole.split_whitespace().count()), (395, 26_452));
    assert!(!whole.contains('\r'));
    let bytes = alice(Unit::Bytes).unwrap();
    assert_eq!((bytes.symbols().len(), bytes.vocabulary().len()), (148_425, 256));
    assert_eq!(bytes.vocabulary().decode(bytes.symbols()), whole);
}

#[test]
fn files_are_utf8_or_say_where_they_are_not() {
    let read = |bytes: &[u8]| Text::from_bytes(bytes, "a.txt", Unit::Characters);
    let error = read(b"gr\xc3\xbc\xdf").unwrap_err();
    assert!(matches!(error, Error::Format { offset: 4, .. }), "{error}");
    assert!(error.to_string().contains("0xdf is not UTF-8"), "{error}");
    assert!(message(read(b"ab\xe2\x82")).contains("at byte 2"), "a character that ends too soon");
    assert!(message(read(b"")).contains("is empty") && message(read(b"\xef\xbb\xbf")).contains("is empty"));
    assert!(matches!(Text::read("/nowhere/a.txt", Unit::Bytes), Err(Error::Io { .. })));
    // A mark of byte order and ends of lines of two characters are none of the text.
    let text = read(b"\xef\xbb\xbfa\r\nb\rc\n").unwrap();
    assert_eq!(text.vocabulary().decode(text.symbols()), "a\nb\rc\n");
}

#[test]
fn vocabularies_are_sorted_and_come_back_from_json() {
    let text = text("été, 日本 été");
    let vocabulary = text.vocabulary();
    assert_eq!(vocabulary.decode(&(0..7).collect::<Vec<u32>>()), " ,té日本");
    assert_eq!(vocabulary.encode("tea é日b"), (vec![2, 0, 3, 4], vec!['e', 'a', 'b']));
    let json = serde_json::to_string(vocabulary).unwrap();
    assert_eq!(serde_json::from_str::<Vocabulary>(&json).unwrap(), *vocabulary);
    for wrong in [
        r#"{"unit":"characters","characters":"ba"}"#,
        r#"{"unit":"characters","characters":"aa"}"#,
        r#"{"unit":"characters"}"#,
        r#"{"unit":"bytes","characters":"a"}"#,
        r#"{"unit":"words"}"#,
    ] {
        assert!(serde_json::from_str::<Vocabulary>(wrong).is_err(), "{wrong}");
    }
    let bytes = Vocabulary::of("", Unit::Bytes);
    assert_eq!(
        (bytes.encode("é").0, bytes.decode(&[0xc3, 0xa9, 300, 0xc3])),
        (vec![0xc3, 0xa9], "é\u{fffd}".into())
    );
    assert_eq!(serde_json::from_str::<Vocabulary>(r#"{"unit":"bytes"}"#).unwrap(), bytes);
    let other = Vocabulary::of("abc", Unit::Characters);
    assert!(
        message(super::Text::new("u", "abd", Unit::Characters).unwrap().with_vocabulary(other))
            .contains("'d'")
    );
}

/// Input and target of each row.
fn rows(data: &Dataset) -> Vec<(Vec<f32>, Vec<f32>)> {
    (0..data.len()).map(|row| (data.row(row).unwrap(), data.target(row).unwrap())).collect()
}

/// 260 characters, each of which is another one of its part.
fn counted() -> Text {
    let all: String = (0..260u32).map(|i| char::from_u32(0x4e00 + i).unwrap()).collect();
    text(&all)
}

#[test]
fn windows_lie_in_their_parts_with_targets_one_further() {
    let parts = TextParts { validation: 0.1, test: 0.2 };
    let text = counted();
    assert_eq!(text.parts(&parts).unwrap(), [0..182, 182..208, 208..260]);
    let Split { train, validation, test } =
        text.split(&parts, &Reading::Shuffled { length: 8, stride: 3 }).unwrap();
    let starts = |data: &Dataset| rows(data).iter().map(|(x, _)| x[0] as usize).collect::<Vec<_>>();
    assert_eq!(starts(&train), (0..174).step_by(3).collect::<Vec<_>>());
    assert_eq!(starts(&validation), [182, 186, 190, 194, 198]);
    assert_eq!(starts(&test), (208..252).step_by(4).collect::<Vec<_>>());
    for (data, end, before) in [(&train, 182, 0), (&validation, 208, 4), (&test, 260, 4)] {
        for (x, y) in rows(data) {
            let x = &x[before..];
            assert_eq!(x.len(), y.len());
            assert!(x.iter().zip(&y).all(|(x, y)| x + 1.0 == *y) && x.windows(2).all(|p| p[0] + 1.0 == p[1]));
            assert!((y[7 - before] as usize) < end);
        }
        assert_eq!((data.shape(), data.classes(), data.streams), (&[8][..], 260, None));
    }
}

#[test]
fn rows_in_order_go_on_from_batch_to_batch() {
    let text = counted();
    let parts = TextParts { validation: 0.0, test: 0.1 };
    let Split { train, validation, test } =
        text.split(&parts, &Reading::InOrder { length: 8, rows: 4 }).unwrap();
    // 233 pairs are 7 windows of each of 4 rows; row r + 4 continues row r.
    assert_eq!((train.len(), train.streams), (28, Some(4)));
    let all = rows(&train);
    for (row, (x, y)) in all.iter().enumerate() {
        assert_eq!(x[0] as usize, row % 4 * 56 + row / 4 * 8);
        if let Some((next, _)) = all.get(row + 4) {
            assert_eq!(next[0], y[7]);
        }
    }
    assert_eq!((validation.len(), validation.streams), (0, None));
    // Short parts are read in one row.
    assert_eq!((test.len(), test.streams), (3, Some(1)));
    // A chosen part of the rows goes on nowhere.
    assert_eq!(train.select("some", &[0, 4]).unwrap().streams, None);
    assert_eq!(train.clone().split_validation(4).unwrap().1.streams, None);
    assert!(message(train.with_streams(5)).contains("28 rows are no windows of 5 sequences"));
}

#[test]
fn what_cannot_be_read_is_refused() {
    let (text, parts) = (counted(), TextParts::default());
    let split = |reading| message(text.split(&parts, &reading));
    assert!(split(Reading::Shuffled { length: 0, stride: 1 }).contains("length 0"));
    assert!(split(Reading::Shuffled { length: 4, stride: 0 }).contains("a stride of 0"));
    assert!(split(Reading::InOrder { length: 4, rows: 0 }).contains("a number of rows of 0"));
    assert!(split(Reading::Shuffled { length: 26, stride: 1 }).contains("validation part of 26 symbols"));
    assert!(split(Reading::InOrder { length: 64, rows: 4 }).contains("4 rows of windows of 64"));
    for (validation, test) in [(0.1, 1.0), (-0.1, 0.1), (f64::NAN, 0.1), (0.1, 0.0), (0.6, 0.4)] {
        assert!(text.parts(&TextParts { validation, test }).is_err(), "{validation} {test}");
    }
    assert!(message(text.to_test(0..261, &Reading::Shuffled { length: 4, stride: 4 })).contains("no range"));
    assert!(message(self::text("ab").parts(&parts)).contains("leave too few"));
}

/// A text of few symbols, and orders.
fn model(symbols: &[u32], classes: usize) -> NGram {
    NGram::fit(symbols, classes, 5).unwrap()
}

/// Modified Kneser-Ney of order 2 by the formulas, from counts that are made here.
#[test]
fn bigrams_are_those_of_the_formulas() {
    let symbols = [0u32, 1, 0, 2, 0, 1, 1, 0, 1, 2, 3, 0, 1, 0, 2, 1, 0, 1, 3, 0, 0, 1, 2, 0, 3, 1];
    let classes = 5;
    let count = |a: u32, b: u32| symbols.windows(2).filter(|w| w == &[a, b]).count() as f64;
    let all = 0..classes as u32;
    let pairs: Vec<f64> =
        all.clone().flat_map(|a| all.clone().map(move |b| (a, b))).map(|(a, b)| count(a, b)).collect();
    let before = |b: u32| all.clone().filter(|&a| count(a, b) > 0.0).count() as f64;
    let discounts = |counts: &[f64]| {
        let n = |k: f64| counts.iter().filter(|&&c| c == k).count() as f64;
        let y = if n(1.0) > 0.0 { n(1.0) / (n(1.0) + 2.0 * n(2.0)) } else { 0.0 };
        let d = |k: f64| {
            let d = if n(k) > 0.0 { k - (k + 1.0) * y * n(k + 1.0) / n(k) } else { 0.0 };
            d.clamp(0.01, k)
        };
        [0.0, d(1.0), d(2.0), d(3.0)]
    };
    let of = |d: [f64; 4], c: f64| d[(c as usize).min(3)];
    let lower: Vec<f64> = all.clone().map(before).collect();
    let (d2, d1) = (discounts(&pairs), discounts(&lower));
    let unigram = |b: u32| {
        let taken: f64 = lower.iter().map(|&c| of(d1, c)).sum();
        let sum: f64 = lower.iter().sum();
        (before(b) - of(d1, before(b)) + taken / classes as f64) / sum
    };
    let model = model(&symbols, classes);
    for a in 0..4 {
        let sum: f64 = all.clone().map(|b| count(a, b)).sum();
        let taken: f64 = all.clone().map(|b| of(d2, count(a, b))).sum();
        for b in all.clone() {
            let expected = (count(a, b) - of(d2, count(a, b)) + taken * unigram(b)) / sum;
            approx::assert_relative_eq!(model.probability(2, &[3, a], b), expected, epsilon = 1e-12);
        }
    }
    // A context that never came is passed over.
    approx::assert_relative_eq!(model.probability(2, &[4], 0), unigram(0), epsilon = 1e-12);
    let bits = -(model.probability(2, &[0], 1).log2() + model.probability(2, &[1], 2).log2()) / 2.0;
    approx::assert_relative_eq!(model.bits(2, &[0, 1, 2], 1..3), bits, epsilon = 1e-12);
}

#[test]
fn n_grams_of_the_novel() {
    let text = alice(Unit::Characters).unwrap();
    let [train, validation, test] =
        text.parts(&TextParts::default()).unwrap().map(|part| &text.symbols()[part]);
    let (order, model) = NGram::choose(train, validation, 70).unwrap();
    // As an implementation in Python gives them, whose contexts go on into the part before.
    for (order, expected) in [(1, 4.5656), (2, 3.5440), (3, 2.7015), (5, 2.1324), (7, 2.0935)] {
        approx::assert_relative_eq!(model.bits(order, test, 0..test.len()), expected, epsilon = 2e-3);
    }
    assert!((7..=10).contains(&order), "{order}");
    assert!(NGram::fit(&[], 2, 3).is_err() && NGram::fit(&[0], 2, 0).is_err());
    assert!(message(NGram::fit(&[0, 2], 2, 3)).contains("symbol 2"));
}

proptest! {
    /// After every context, seen or not, the probabilities of all symbols are above 0 and sum to 1.
    #[test]
    fn probabilities_sum_to_one(
        symbols in prop::collection::vec(0u32..4, 1..60), context in prop::collection::vec(0u32..5, 0..7),
        order in 1usize..6,
    ) {
        let model = model(&symbols, 5);
        let all: Vec<f64> = (0..5).map(|symbol| model.probability(order, &context, symbol)).collect();
        prop_assert!(all.iter().all(|&p| p > 0.0), "{all:?}");
        prop_assert!((all.iter().sum::<f64>() - 1.0).abs() < 1e-12, "{all:?}");
    }
}
