use proptest::prelude::*;

use super::*;
use crate::data::{Dataset, iris};

fn read(text: impl AsRef<[u8]>) -> Result<Table> {
    Table::from_bytes(text.as_ref(), "flowers.csv", b',')
}

const HALF: Holdout = Holdout { validation: 0.0, test: 0.5, seed: 1 };

/// The line, the column and the kind of an error.
#[track_caller]
fn wrong<T: fmt::Debug>(result: Result<T>) -> (u64, String, TableErrorKind) {
    match result {
        Err(Error::Table(error)) => (error.line, error.column.unwrap_or_default(), error.kind),
        other => panic!("not Table: {other:?}"),
    }
}

/// What splitting a table that can be read says.
#[track_caller]
fn unfit(text: &str, options: &TableOptions) -> (u64, String, TableErrorKind) {
    wrong(read(text).unwrap().split(options, &HALF))
}

fn rows_of(table: &Table) -> Vec<Vec<&str>> {
    let row = |row| (0..table.columns.len()).map(|column| table.field(row, column)).collect();
    (0..table.len()).map(row).collect()
}

#[test]
fn fields_are_the_same_however_the_file_is_written() {
    let plain = read("name,x,class\na b,1.5,yes\nc,2,no\n").unwrap();
    assert_eq!(plain.columns(), ["name", "x", "class"]);
    assert_eq!(rows_of(&plain), [["a b", "1.5", "yes"], ["c", "2", "no"]]);
    for text in [
        "name,x,class\r\na b,1.5,yes\r\nc,2,no",
        "name,x,class\ra b,1.5,yes\rc,2,no\r",
        "\u{feff}name,x,class\na b,1.5,yes\nc,2,no\n",
        "\n\nname,x,class\n\na b,1.5,yes\n\nc,2,no\n\n",
        " name , x,class\n\"a b\", 1.5 ,\"yes\"\n\"c\",2,no",
    ] {
        let table = read(text).unwrap();
        assert_eq!((table.columns(), rows_of(&table)), (plain.columns(), rows_of(&plain)), "{text:?}");
    }
    for (delimiter, text) in [(b';', "a;b\n1,5;x"), (b'\t', "a\tb\n1,5\tx"), (b'|', "a|b\n1,5|x")] {
        let table = Table::from_bytes(text.as_bytes(), "t", delimiter).unwrap();
        assert_eq!(
            (table.columns(), rows_of(&table)),
            (&["a".into(), "b".into()][..], vec![vec!["1,5", "x"]])
        );
    }
    let quoted = read("\"a, b\",c\n\"say \"\"x\"\",\ntwice\",2\n").unwrap();
    assert_eq!((quoted.columns()[0].as_str(), quoted.get(0, 0)), ("a, b", Some("say \"x\",\ntwice")));
    assert_eq!((quoted.get(1, 0), quoted.get(0, 2), quoted.line(1)), (None, None, None));
    assert_eq!(read(",x,\n1,2,3").unwrap().columns(), ["column 1", "x", "column 3"]);
}

#[test]
fn lines_are_those_an_editor_shows() {
    for text in [
        "\u{feff}a,b\n1,2\n\n\n3,4\n\"5\n\n5\",6\n7,8",
        "\u{feff}a,b\r\n1,2\r\n\r\n\r\n3,4\r\n\"5\r\n\r\n5\",6\r\n7,8\r\n",
        "a,b\r1,2\r\r\r3,4\r\"5\r\r5\",6\r7,8",
    ] {
        let table = read(text).unwrap();
        assert_eq!((0..4).map(|row| table.line(row).unwrap()).collect::<Vec<_>>(), [2, 5, 6, 9], "{text:?}");
    }
    assert_eq!(wrong(read("\n\na,b\n1,2\n3")).0, 5);
}

#[test]
fn what_is_no_table_is_refused_with_its_place() {
    use TableErrorKind::*;
    for nothing in ["", "\n\r\n", "\u{feff}"] {
        assert_eq!(wrong(read(nothing)), (1, String::new(), NoHeader), "{nothing:?}");
    }
    assert!(matches!(wrong(read("\na,b\n")), (2, _, NoRows(_))));
    assert_eq!(wrong(read("a,b,a\n1,2,3")), (1, "a".into(), DuplicateColumn));
    assert_eq!(wrong(read("5.1,3.5,setosa\n4.9,3,setosa")), (1, String::new(), HeaderIsData("5.1".into())));
    for (text, found) in [("a,b\n1,2\n3,4,5\n", 3), ("a,b\n1,2\n3\n", 1)] {
        assert_eq!(
            wrong(read(text)),
            (3, String::new(), Ragged { expected: 2, found, is_long: false, separator: None })
        );
    }
    // It takes the rest of the file for one field, and rows would be missing without a word.
    for open in ["a,b\n1,2\n1,\"2\n3,4\n5,6", "a,b\n1,2\n1,\"2\n", "a,b\n1,2\n\"", "a,b\n1,2\n\"1,2"] {
        assert_eq!(wrong(read(open)), (3, String::new(), OpenQuote), "{open:?}");
    }
    assert_eq!(wrong(read("\"a,b\n1,2")).2, OpenQuote);
}

#[test]
fn a_quote_that_is_closed_too_late_is_suspected() {
    let message = read("a,b,c\n1,\"2,3\n4,\"5,6,7\n").unwrap_err().to_string();
    assert_eq!(
        message,
        "flowers.csv: line 2: 4 fields, but the header names 3 columns; one field goes on over several lines: is a \
         quote not closed?"
    );
}

#[test]
fn bytes_that_are_no_text_are_refused_with_their_place() {
    use TableErrorKind::NotUtf8;
    assert_eq!(wrong(read(b"a,b\n1,2\n3,caf\xe9\n")), (3, "b".into(), NotUtf8("")));
    assert_eq!(wrong(read(b"a,b\xff\n1,2\n")), (1, "column 2".into(), NotUtf8("")));
    assert_eq!(wrong(read(b"\xff\xfea\0,\0b\0\n\0")), (1, "column 1".into(), NotUtf8(" but UTF-16")));
    for delimiter in [b'"', b'\n', b'\r', 0xe9] {
        assert!(matches!(Table::from_bytes(b"a,b\n1,2", "t", delimiter), Err(Error::Invalid(_))));
    }
}

#[test]
fn a_file_is_read_and_a_missing_one_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("two.tsv");
    std::fs::write(&path, "a\tb\n1\t2\n").unwrap();
    assert_eq!(Table::read_delimited(&path, b'\t').unwrap().get(0, 1), Some("2"));
    let one = Table::read_csv(&path).unwrap();
    let message = one.split(&TableOptions::default(), &HALF).unwrap_err().to_string();
    assert!(message.contains("two.tsv: line 1") && message.contains("separated by tab?"), "{message}");
    let message = one.split(&TableOptions::default().target("b"), &HALF).unwrap_err().to_string();
    assert!(message.contains("column `b`") && message.contains("separated by tab?"), "{message}");
    for (text, separator) in [("a;b\n1,5;2\n", "`;`"), ("a|b\n1|2,2\n", "`|`")] {
        let message = Table::from_bytes(text.as_bytes(), "t", b',').unwrap_err().to_string();
        assert!(message.contains("line 2: 2 fields") && message.contains(separator), "{message}");
    }
    assert!(matches!(Table::read_csv(folder.path().join("none")), Err(Error::Io { .. })));
}

/// Four rows that can be halved, in a table with one more column of these fields.
fn with_column(fields: [&str; 8]) -> String {
    let row = |(i, field): (usize, &&str)| format!("{i},{field},{}\n", ["no", "yes"][i % 2]);
    format!("x,f,class\n{}", fields.iter().enumerate().map(row).collect::<String>())
}

#[test]
fn kinds_are_inferred_and_can_be_given() {
    let features = |fields, options: TableOptions| {
        let holdout = Holdout { test: 0.25, ..HALF };
        let (_, preprocessor) = read(with_column(fields)).unwrap().split(&options, &holdout).unwrap();
        preprocessor.features()
    };
    let plain = TableOptions::default();
    assert_eq!(features(["1", "-2", "3e2", " 4.5", "+5", ".5", "7", "8"], plain.clone()), ["x", "f"]);
    let texts = ["a", "b", "b", "a", "a", "b", "b", "a"];
    assert_eq!(features(texts, plain.clone()), ["x", "f=a", "f=b"]);
    // Half of them numbers: categories.
    assert_eq!(features(["1", "b", "1", "b", "1", "b", "1", "b"], plain.clone()).len(), 3);
    let codes = ["1", "2", "2", "1", "1", "2", "2", "1"];
    assert_eq!(features(codes, plain.clone()), ["x", "f"]);
    let given = |kind| plain.clone().column("f", ColumnKind::Numeric).column("f", kind);
    assert_eq!(features(codes, given(ColumnKind::Categorical)), ["x", "f=1", "f=2"]);
    assert_eq!(features(texts, given(ColumnKind::Ignored)), ["x"]);
    // Row numbers, which sorted rows could be told apart by.
    let text = with_column(codes).replace("x,f,class", ",f,class");
    let (_, fitted) = read(text).unwrap().split(&plain, &HALF).unwrap();
    assert_eq!(fitted.features(), ["f"]);
    assert_eq!((fitted.target(), fitted.columns().collect::<Vec<_>>()), ("class", vec!["f"]));
}

#[test]
fn fields_that_do_not_fit_are_refused_with_their_place() {
    use TableErrorKind::*;
    let plain = TableOptions::default();
    let at = |field: &str, options: &TableOptions| {
        unfit(&with_column(["1", "2", "3", "4", field, "6", "7", "8"]), options)
    };
    for field in ["5.0x", "inf", "-infinity", "1,5x", "0x10", "five"] {
        let field = format!("\"{field}\"");
        let value = field.trim_matches('"').to_string();
        assert_eq!(at(&field, &plain), (6, "f".into(), NotANumber { value }));
    }
    for field in ["", "NA", "?", "nan", "NaN", " "] {
        assert_eq!(at(field, &plain), (6, "f".into(), Missing), "{field}");
    }
    for value in ["1e39", "-3.5e38"] {
        assert_eq!(at(value, &plain), (6, "f".into(), TooLarge { value: value.into() }));
    }
    let numeric = plain.clone().column("f", ColumnKind::Numeric);
    assert_eq!(unfit(&with_column(["a"; 8]), &numeric), (2, "f".into(), NotANumber { value: "a".into() }));
    assert_eq!(unfit(&with_column([""; 8]), &plain), (1, "f".into(), NoValues));
    assert!(matches!(
        unfit(&with_column([""; 8]), &numeric.missing(super::Missing::Drop)),
        (1, _, NoRows(_))
    ));
    // The first place in the file, not in the order of the columns or the parts.
    let both = with_column(["1", "2", "3", "4", "x", "6", "", "8"]);
    assert_eq!(unfit(&both, &plain).0, 6);
    assert_eq!(unfit(&both.replace("2,3", "?,3"), &plain), (4, "x".into(), Missing));
    let names: String = (0..130).map(|i| format!("{i},name {i},{}\n", i % 2)).collect();
    let kind = TooManyCategories { count: 130, most: 64 };
    assert_eq!(unfit(&format!("x,name,class\n{names}"), &plain), (1, "name".into(), kind));
    let options = plain.column("name", ColumnKind::Categorical);
    let (split, _) = read(format!("x,name,class\n{names}")).unwrap().split(&options, &HALF).unwrap();
    assert_eq!(split.train.shape(), [1 + 65]);
}

#[test]
fn columns_that_are_not_there_are_named() {
    use TableErrorKind::*;
    let text = with_column(["1"; 8]);
    let plain = TableOptions::default();
    let (line, column, kind) = unfit(&text, &plain.clone().target("klass"));
    assert_eq!((line, column.as_str()), (1, "klass"));
    assert_eq!(kind, NoColumn { known: "`x`, `f`, `class`".into(), separator: None });
    assert_eq!(unfit(&text, &plain.clone().column("y", ColumnKind::Ignored)).1, "y");
    let ignored = |names: &[&str]| {
        names.iter().fold(plain.clone(), |options, name| options.column(*name, ColumnKind::Ignored))
    };
    assert!(matches!(unfit(&text, &ignored(&["x", "f"])), (1, _, NoFeatures(None))));
    let table = read(&text).unwrap();
    for options in [ignored(&["x", "f", "class"]), ignored(&["class"]).target("class")] {
        assert!(matches!(table.split(&options, &HALF), Err(Error::Invalid(_))));
    }
    // The last column that is not ignored.
    let codes = with_column(["1", "0", "0", "1", "1", "0", "0", "1"]);
    let (split, fitted) = read(codes).unwrap().split(&ignored(&["class"]), &HALF).unwrap();
    assert_eq!((fitted.target(), split.train.classes()), ("f", 2));
}

#[test]
fn classes_are_texts_or_whole_numbers() {
    use TableErrorKind::*;
    let plain = TableOptions::default();
    let of = |classes: &[&str]| {
        let rows: String = classes.iter().enumerate().map(|(i, class)| format!("{i},{class}\n")).collect();
        read(format!("x,class\n{rows}")).unwrap().split(&plain, &HALF)
    };
    let names = |classes: &[&str]| of(classes).unwrap().1.classes().to_vec();
    assert_eq!(names(&["b", "a", "b", "a"]), ["a", "b"]);
    assert_eq!(names(&["10", "9", "-1", "9", "10", "-1", "9"]), ["-1", "9", "10"]);
    assert_eq!(names(&["1.0", "1", "0", "-0", "01", "0.0"]), ["0", "1"]);
    assert_eq!(names(&["1", "b", "10", "b", "10", "1"]), ["1", "10", "b"]);
    assert_eq!(
        wrong(of(&["1", "2", "2.5", "1"])),
        (4, "class".into(), FractionalClass { value: "2.5".into() })
    );
    assert_eq!(wrong(of(&["a", "a", "a"])), (1, "class".into(), OneClass { class: "a".into() }));
    assert_eq!(wrong(of(&["a", "b", "", "b"])), (4, "class".into(), MissingTarget));
    let many: Vec<String> = (0..30).map(|i| i.to_string()).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert_eq!(wrong(of(&many)), (1, "class".into(), TooManyClasses { classes: 30, rows: 30 }));
    assert_eq!(names(&[&many[..], &many].concat()).len(), 30);
    let rows = read("x,class\n1,a\n2,b\n3,\n4,a\n5,b\n").unwrap();
    let mean = plain.clone().missing(super::Missing::Mean);
    assert_eq!(wrong(rows.split(&mean, &HALF)), (4, "class".into(), MissingTarget));
    let dropped = rows.split(&plain.missing(super::Missing::Drop), &HALF).unwrap().0;
    assert_eq!(dropped.train.len() + dropped.test.len(), 4);
}

/// The numbers of a data set's column.
fn column(data: &Dataset, column: usize) -> Vec<f64> {
    data.values().as_floats().unwrap().chunks(data.shape()[0]).map(|row| f64::from(row[column])).collect()
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

#[test]
fn scaling_is_that_of_the_training_rows() {
    let table = iris().unwrap();
    let split = |scaling| {
        table
            .split(&TableOptions::default().scaling(scaling), &Holdout { seed: 3, ..Holdout::default() })
            .unwrap()
            .0
    };
    let (raw, standard, minmax) = (split(Scaling::None), split(Scaling::Standard), split(Scaling::Minmax));
    assert_eq!((raw.train.labels(), raw.test.labels()), (standard.train.labels(), standard.test.labels()));
    for c in 0..4 {
        let train = column(&raw.train, c);
        let (low, high) =
            (train.iter().copied().fold(9.0, f64::min), train.iter().copied().fold(0.0, f64::max));
        let center = mean(&train);
        let deviation = mean(&train.iter().map(|x| (x - center).powi(2)).collect::<Vec<_>>()).sqrt();
        let mut differs = false;
        for part in
            [|s: &Split| s.train.clone(), |s: &Split| s.validation.clone(), |s: &Split| s.test.clone()]
        {
            let (x, z, u) = (column(&part(&raw), c), column(&part(&standard), c), column(&part(&minmax), c));
            for i in 0..x.len() {
                assert!((z[i] * deviation + center - x[i]).abs() < 1e-5, "{c} {i}");
                assert!((u[i] * (high - low) + low - x[i]).abs() < 1e-5, "{c} {i}");
            }
            differs |= mean(&z).abs() > 0.01;
        }
        assert!(differs, "fitted on all rows");
        let z = column(&standard.train, c);
        assert!(
            mean(&z).abs() < 1e-6 && (mean(&z.iter().map(|z| z * z).collect::<Vec<_>>()) - 1.0).abs() < 1e-5
        );
        let u = column(&minmax.train, c);
        assert!(u.contains(&0.0) && u.contains(&1.0) && u.iter().all(|u| (0.0..=1.0).contains(u)));
    }
}

#[test]
fn a_constant_column_becomes_zeros() {
    for value in ["0.1", "-7", "1e30", "1e-320", "0"] {
        for scaling in [Scaling::Standard, Scaling::Minmax] {
            let options = TableOptions::default().scaling(scaling);
            let (split, _) = read(with_column([value; 8])).unwrap().split(&options, &HALF).unwrap();
            assert_eq!(column(&split.train, 1), [0.0; 4], "{value} {scaling:?}");
        }
    }
    // What differs from a constant in training alone is not divided by nothing.
    let (_, fitted) = read(with_column(["5"; 8])).unwrap().split(&TableOptions::default(), &HALF).unwrap();
    assert_eq!(fitted.rows(&read("f,x\n7,0\n").unwrap()).unwrap().values[1], 2.0);
}

/// A table of 40 rows: numbers and colours with gaps, sorted by class.
fn gaps() -> Table {
    let row = |i: usize| {
        let x = if i % 5 == 2 { "NA".into() } else { format!("{}", i * i) };
        let colour = if i % 7 == 3 { "?" } else { ["red", "red", "green", "red", "blue"][i % 5] };
        format!("{x},{colour},{}\n", if i < 20 { "low" } else { "high" })
    };
    read(format!("x,colour,class\n{}", (0..40).map(row).collect::<String>())).unwrap()
}

#[test]
fn missing_values_are_filled_from_the_training_rows_or_dropped() {
    let table = gaps();
    let options = TableOptions::default().scaling(Scaling::None);
    assert!(matches!(wrong(table.split(&options, &HALF)), (4, x, TableErrorKind::Missing) if x == "x"));

    let (split, fitted) = table.split(&options.clone().missing(Missing::Drop), &HALF).unwrap();
    let whole = (0..40).filter(|i| i % 5 != 2 && i % 7 != 3).count();
    assert_eq!(split.train.len() + split.test.len(), whole);
    assert_eq!(fitted.rows(&table).unwrap().rows.len(), whole);
    assert_eq!(fitted.rows(&table).unwrap().rows[..4], [0, 1, 4, 5]);

    let (split, fitted) = table.split(&options.missing(Missing::Mean), &HALF).unwrap();
    assert_eq!((split.train.len(), split.test.len()), (20, 20));
    assert_eq!(fitted.features(), ["x", "colour=blue", "colour=green", "colour=red"]);
    let all = fitted.rows(&table).unwrap();
    assert_eq!((all.rows.len(), fitted.width()), (40, 4));
    // Row 2 has no number, row 3 no colour; red is most frequent.
    let fill = f64::from(all.values[2 * 4]);
    let present: Vec<f64> = column(&split.train, 0).into_iter().filter(|&x| x != fill).collect();
    assert!(present.len() < 20, "no training row was filled");
    assert!((fill - mean(&present)).abs() < 1e-3, "{fill}");
    assert_eq!(all.values[3 * 4..4 * 4], [9.0, 0.0, 0.0, 1.0]);
    assert_eq!(all.values[9 * 4..10 * 4], [81.0, 1.0, 0.0, 0.0]);
}

#[test]
fn decimal_marks_are_told_apart() {
    let read = |text: &str| Table::from_bytes(text.as_bytes(), "t.csv", b';');
    let (point, comma) = (DecimalMark::Point, DecimalMark::Comma);
    let all = ["1.5", "1,5", "1e3", "-2", "1.234,5", "1,234,567", "inf"];
    assert_eq!(
        all.map(|field| point.number(field)),
        [Some(1.5), None, Some(1e3), Some(-2.0), None, None, None]
    );
    assert_eq!(
        all.map(|field| comma.number(field)),
        [None, Some(1.5), Some(1e3), Some(-2.0), None, None, None]
    );
    assert_eq!((comma.whole("2,0"), comma.whole("2,5")), (Some("2".into()), None));

    // Whole numbers and gaps tell nothing.
    let table = read("x;y\n1,5;a\n2;b\n?;a\n").unwrap();
    let kind = TableErrorKind::OtherDecimalMark { value: "1,5".into(), mark: comma };
    assert_eq!(wrong(table.split(&TableOptions::default(), &HALF)), (2, "x".into(), kind));
    let grouped =
        read("x;y\n1,234;a\n5,678;b\n950;a\n").unwrap().split(&TableOptions::default(), &HALF).unwrap_err();
    assert!(
        grouped.to_string().contains("`1,234` is not a number: if its digits are in groups"),
        "{grouped}"
    );
    // Among numbers with points, one with a comma is a slip.
    let table = read("x;y\n1.5;a\n2.5;b\n3,5;a\n").unwrap();
    let kind = TableErrorKind::OtherDecimalMark { value: "3,5".into(), mark: comma };
    assert_eq!(wrong(table.split(&TableOptions::default(), &HALF)), (4, "x".into(), kind));
    // Categories may look as they like, where they are said to be some.
    let rows: String = (0..20).map(|i| format!("{},5;{}\n", i % 3, i % 2)).collect();
    let table = read(&format!("x;y\n{rows}")).unwrap();
    let options = TableOptions::default().column("x", ColumnKind::Categorical);
    assert_eq!(table.split(&options, &HALF).unwrap().1.features(), ["x=0,5", "x=1,5", "x=2,5"]);
    let options = TableOptions::default().decimal(comma).scaling(Scaling::None);
    let (_, fitted) = table.split(&options, &HALF).unwrap();
    assert_eq!(fitted.rows(&table).unwrap().values[..3], [0.5, 1.5, 2.5]);
    // A target of measurements with commas is not one of many classes.
    let rows: String = (0..30).map(|i| format!("{i};{i},25\n")).collect();
    let found = wrong(read(&format!("x;y\n{rows}")).unwrap().split(&TableOptions::default(), &HALF));
    let kind = TableErrorKind::OtherDecimalMark { value: "0,25".into(), mark: comma };
    assert_eq!(found, (2, "y".into(), kind));
    assert!(matches!(wrong(read("1,5;2,5\n1;2\n")).2, TableErrorKind::HeaderIsData(_)));
}

#[test]
fn of_frequent_categories_the_first_by_name_fills() {
    let of = |fields: &[&str]| encoding::Encoding::of_categories(fields);
    let categories = |names: [&str; 2], fill| {
        Some(encoding::Encoding::Categorical { categories: names.map(String::from).to_vec(), fill })
    };
    assert_eq!(of(&["b", "a", "b", "a"]), categories(["a", "b"], 0));
    assert_eq!(of(&["b", "a", "b"]), categories(["a", "b"], 1));
    assert_eq!(of(&[]), None);
}

#[test]
fn later_rows_are_treated_like_the_training_rows() {
    let table = gaps();
    let options = TableOptions::default().missing(Missing::Mean);
    let (_, fitted) = table.split(&options, &HALF).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("later.json");
    fitted.save(&path).unwrap();
    let loaded = TablePreprocessor::load(&path).unwrap();
    assert_eq!(loaded, fitted);
    // Other order, other columns, no target.
    let later = read("id,colour,x\n1,red,100\n2,violet,\n").unwrap();
    let rows = loaded.rows(&later).unwrap();
    assert_eq!(rows.rows, [0, 1]);
    let expected = loaded.rows(&read("x,colour,class\n100,red,low\n").unwrap()).unwrap().values;
    assert_eq!(rows.values[..4], expected);
    assert_eq!(rows.values[5..], [0.0; 3], "a category that training did not know");
    assert_eq!(wrong(loaded.rows(&read("x\n1\n").unwrap())).1, "colour");
    assert_eq!(
        wrong(loaded.rows(&read("x,colour\n1,red\ntwo,red\n").unwrap())),
        (3, "x".into(), TableErrorKind::NotANumber { value: "two".into() })
    );
    let labelled = loaded.dataset(&read("class,x,colour\nhigh,1,red\nlow,2,blue\n").unwrap()).unwrap();
    assert_eq!((labelled.labels(), labelled.class_name(0)), (&[0, 1][..], "high".to_string()));
    let (line, column, kind) = wrong(loaded.dataset(&read("class,x,colour\nmiddle,1,red\n").unwrap()));
    let known = "`high`, `low`".into();
    assert_eq!(
        (line, column.as_str(), kind),
        (2, "class", TableErrorKind::UnknownClass { value: "middle".into(), known })
    );
    assert_eq!(wrong(loaded.dataset(&later)).1, "class");
    // Trained on the whole numbers 0 and 1, tested on a file that writes them otherwise.
    let codes = read("x,class\n1,0\n2,1\n3,0\n4,1\n").unwrap();
    let (_, fitted) = codes.split(&TableOptions::default(), &HALF).unwrap();
    assert_eq!(fitted.dataset(&read("x,class\n1,1.0\n").unwrap()).unwrap().labels(), [1]);
}

#[test]
fn a_file_of_something_else_is_no_preprocessor() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("p.json");
    let (_, fitted) = gaps().split(&TableOptions::default().missing(Missing::Mean), &HALF).unwrap();
    fitted.save(&path).unwrap();
    let good = std::fs::read_to_string(&path).unwrap();
    for (from, to) in [
        ("{", ""),
        ("wgrad-table-1", "wgrad-table-9"),
        ("\"blue\"", "\"zinc\""),
        ("\"target\"", "\"goal\""),
        ("\"divisor\":", "\"divisor\": 0, \"was\":"),
        ("\"divisor\": ", "\"divisor\": -"),
        ("\"fill\": 2", "\"fill\": 3"),
    ] {
        assert!(good.contains(from), "{from}: {good}");
        std::fs::write(&path, good.replacen(from, to, 1)).unwrap();
        let result = TablePreprocessor::load(&path);
        assert!(matches!(result, Err(Error::Invalid(_))), "{from} → {to}: {result:?}");
    }
    assert!(matches!(TablePreprocessor::load(folder.path().join("none")), Err(Error::Io { .. })));
}

/// Fields of a file that is nearly a table.
fn field() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => (-100i32..100).prop_map(|x| format!("{}", f64::from(x) / 8.0)),
        2 => prop::sample::select(vec!["a", "b", "red", "yes", "no"]).prop_map(String::from),
        1 => prop::sample::select(vec!["", "NA", "?", "NaN", "inf", "1e308", "\"", "\"a,b\"", "é", "-0", "1e-300"])
            .prop_map(String::from),
    ]
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), delimiter: u8) {
        for delimiter in [delimiter, b','] {
            if let Ok(table) = Table::from_bytes(&bytes, "t", delimiter) {
                let _ = table.split(&TableOptions::default().missing(Missing::Drop), &HALF);
            }
        }
    }

    /// The same of texts that get further: an error, or data sets that are whole.
    #[test]
    fn no_table_makes_it_panic(
        rows in prop::collection::vec(prop::collection::vec(field(), 3), 1..30),
        text in "[ab,;\"\r\n?. 0-9]{0,80}",
        missing in prop::sample::select(vec![Missing::Error, Missing::Drop, Missing::Mean]),
        scaling in prop::sample::select(vec![Scaling::Standard, Scaling::Minmax, Scaling::None]),
    ) {
        let lines: Vec<String> = rows.iter().map(|row| row.join(",")).collect();
        let options = TableOptions::default().missing(missing).scaling(scaling);
        for text in [format!("x,y,class\n{}", lines.join("\n")), format!("a,b\n{text}"), text] {
            let Ok(table) = read(&text) else { continue };
            prop_assert!((0..table.len()).all(|row| table.line(row).unwrap() > 1));
            let Ok((split, fitted)) = table.split(&options, &HALF) else { continue };
            let all = fitted.rows(&table).unwrap();
            // A class may be missing where no feature is.
            prop_assert!(split.train.len() + split.test.len() <= all.rows.len());
            prop_assert_eq!(all.values.len(), all.rows.len() * fitted.width());
            for part in [&split.train, &split.test] {
                prop_assert_eq!(part.values().len(), part.len() * fitted.width());
                prop_assert!(part.values().as_floats().unwrap().iter().all(|x| x.is_finite()));
                prop_assert!(part.labels().iter().all(|&label| (label as usize) < part.classes()));
            }
        }
    }

    /// What is written with quotes comes back.
    #[test]
    fn quoted_fields_come_back(rows in prop::collection::vec(prop::collection::vec("[a-z,\"\r\n;]{0,6}", 2), 1..8)) {
        let quote = |field: &String| format!("\"{}\"", field.replace('"', "\"\""));
        let line = |row: &Vec<String>| row.iter().map(quote).collect::<Vec<_>>().join(",") + "\r\n";
        let table = read(format!("a,b\r\n{}", rows.iter().map(line).collect::<String>())).unwrap();
        let trimmed: Vec<Vec<&str>> = rows.iter().map(|row| row.iter().map(|field| field.trim()).collect()).collect();
        prop_assert_eq!(rows_of(&table), trimmed);
    }

    /// Scaled values, scaled back, are the numbers of the file, and the file of a preprocessor holds its bits.
    #[test]
    fn scaling_can_be_undone(numbers in prop::collection::vec(-1e6..1e6f64, 8), minmax: bool) {
        let fields: Vec<String> = numbers.iter().map(f64::to_string).collect();
        let fields: [&str; 8] = std::array::from_fn(|i| fields[i].as_str());
        let table = read(with_column(fields)).unwrap();
        let scaling = if minmax { Scaling::Minmax } else { Scaling::Standard };
        let (_, fitted) = table.split(&TableOptions::default().scaling(scaling), &HALF).unwrap();
        let scaled = fitted.rows(&table).unwrap().values;
        // Two rows say what the scaling is: x = a·z + b.
        let (z0, z1) = (f64::from(scaled[1]), f64::from(scaled[3]));
        let a = (numbers[1] - numbers[0]) / (z1 - z0);
        prop_assume!((z1 - z0).abs() > 0.05);
        for (i, &x) in numbers.iter().enumerate() {
            let z = f64::from(scaled[2 * i + 1]);
            prop_assert!((a * (z - z0) + numbers[0] - x).abs() < 1e-4 * 1e6, "{x} {z}");
        }
        let folder = tempfile::tempdir().unwrap();
        fitted.save(folder.path().join("p")).unwrap();
        prop_assert_eq!(TablePreprocessor::load(folder.path().join("p")).unwrap(), fitted);
    }
}
