//! What is learned from training rows, and done to later ones.

use super::*;

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
