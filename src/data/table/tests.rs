mod fitted;
mod properties;

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
