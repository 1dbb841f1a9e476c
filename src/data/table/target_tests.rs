//! Tables whose target is a number.

use super::*;
use crate::data::{Dataset, Targets};

/// Forty rows with a target made of the row's number.
fn table(target: impl Fn(usize) -> String) -> Table {
    let rows: String = (0..40).map(|i| format!("{},{},{}\n", i % 5, ["a", "b"][i % 2], target(i))).collect();
    Table::from_bytes(format!("x,kind,y\n{rows}").as_bytes(), "numbers.csv", b',').unwrap()
}

const HOLDOUT: Holdout = Holdout { validation: 0.1, test: 0.25, seed: 3 };

fn options(kind: TargetKind) -> TableOptions {
    TableOptions::default().target_kind(kind)
}

fn values(data: &Dataset) -> Vec<f64> {
    (0..data.len()).map(|row| f64::from(data.target(row).unwrap()[0])).collect()
}

#[test]
fn a_number_is_scaled_by_the_training_rows_and_given_back_in_its_unit() {
    let table = table(|i| format!("{}.5", 100 + i));
    let (split, fitted) = table.split(&options(TargetKind::Number), &HOLDOUT).unwrap();
    assert_eq!((split.train.len(), split.validation.len(), split.test.len()), (26, 4, 10));
    assert!(matches!(&split.train.targets, Targets::Values { shape, .. } if shape == &[1]));
    let train = values(&split.train);
    let mean = train.iter().sum::<f64>() / 26.0;
    let variance = train.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 26.0;
    assert!(mean.abs() < 1e-6 && (variance - 1.0).abs() < 1e-5, "{mean} {variance}");
    // Every row has its number again.
    let mut all: Vec<i64> = [&split.train, &split.validation, &split.test]
        .iter()
        .flat_map(|data| values(data))
        .map(|scaled| (2.0 * fitted.target_value(scaled)).round() as i64)
        .collect();
    all.sort_unstable();
    assert_eq!(all, (0..40).map(|i| 201 + 2 * i).collect::<Vec<_>>());
    let unit = fitted.target_value(1.0) - fitted.target_value(0.0);
    assert!((unit / fitted.target_unit() - 1.0).abs() < 1e-12 && unit > 5.0);
    assert!(fitted.is_regression() && fitted.classes().is_empty());
    // Features may stay as they are; the target is scaled all the same.
    let raw = options(TargetKind::Number).scaling(Scaling::None);
    let (raw, _) = table.split(&raw, &HOLDOUT).unwrap();
    assert_eq!(values(&raw.train), train);
}

#[test]
fn later_rows_and_files_keep_the_scaling() {
    let table = table(|i| format!("{}.5", 100 + i));
    let (_, fitted) = table.split(&options(TargetKind::Number), &HOLDOUT).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("preprocessing.json");
    fitted.save(&path).unwrap();
    let loaded = TablePreprocessor::load(&path).unwrap();
    assert_eq!((&loaded, loaded.difference(&fitted)), (&fitted, None));
    let later = Table::from_bytes(b"y,kind,x\n107.5,b,1\n-3,a,2\n", "later.csv", b',').unwrap();
    let data = loaded.dataset(&later).unwrap();
    let found: Vec<f64> = values(&data).iter().map(|&x| loaded.target_value(x)).collect();
    assert!((found[0] - 107.5).abs() < 1e-4 && (found[1] + 3.0).abs() < 1e-4, "{found:?}");
    let bad = Table::from_bytes(b"y,kind,x\n107.5,b,1\nmuch,a,2\n", "later.csv", b',').unwrap();
    let text = loaded.dataset(&bad).unwrap_err().to_string();
    assert!(text.starts_with("later.csv: line 3, column `y`: `much` is not a number"), "{text}");
    // The rows alone need none.
    assert_eq!(loaded.rows(&bad).unwrap().rows, [0, 1]);
    // A file of classes has no such key, as versions before had none.
    let (_, classes) =
        self::table(|i| (i % 3).to_string()).split(&TableOptions::default(), &HOLDOUT).unwrap();
    classes.save(&path).unwrap();
    assert!(!std::fs::read_to_string(&path).unwrap().contains("number"));
    assert!(!TablePreprocessor::load(&path).unwrap().is_regression());
    assert_eq!(classes.target_value(0.25), 0.25);
    assert!(classes.difference(&fitted).unwrap().contains("a number in one and a class in the other"));
}

#[test]
fn auto_takes_fractions_and_many_values_for_numbers() {
    let is_number = |target: &dyn Fn(usize) -> String| {
        let fitted = table(target).split(&options(TargetKind::Auto), &HOLDOUT).unwrap().1;
        fitted.is_regression()
    };
    assert!(is_number(&|i| format!("{}.5", i % 2)));
    assert!(is_number(&|i| (i % 5).to_string()), "more than a tenth of 40");
    assert!(!is_number(&|i| (i % 4).to_string()));
    assert!(!is_number(&|i| format!("{:.1}", (i % 4) as f64)), "1.0 is 1");
    assert!(!is_number(&|i| format!("c{}", i % 7)));
    // Two values are two classes in a table of any length.
    let rows = "0,1\n1,0\n2,1\n3,0\n4,1\n5,0\n";
    let short = Table::from_bytes(format!("x,y\n{rows}").as_bytes(), "t", b',').unwrap();
    let holdout = Holdout { test: 0.34, validation: 0.0, seed: 1 };
    assert!(!short.split(&options(TargetKind::Auto), &holdout).unwrap().1.is_regression());
}

#[test]
fn what_is_not_a_number_is_refused_where_it_stands() {
    let wrong = |kind, bad: &str| {
        let table = table(|i| if i == 7 { bad.to_string() } else { format!("{i}.25") });
        table.split(&options(kind), &HOLDOUT).unwrap_err().to_string()
    };
    for kind in [TargetKind::Auto, TargetKind::Number] {
        let place = "numbers.csv: line 9, column `y`: ";
        for (bad, words) in
            [("inf", "`inf` is not a number"), ("x", "`x` is not a number"), ("1e39", "1e39 is too large")]
        {
            let text = wrong(kind, bad);
            assert!(text.starts_with(place) && text.contains(words), "{text}");
        }
        assert!(wrong(kind, "nan").contains("line 9, column `y`: the target is missing"));
    }
    let same = table(|_| "2.5".into()).split(&options(TargetKind::Number), &HOLDOUT);
    assert!(same.unwrap_err().to_string().contains("all rows have the target `2.5`"));
}
