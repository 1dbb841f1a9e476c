//! The program on tables whose target is a number: what `auto` takes, units, pictures, resuming, and errors.
#![cfg(feature = "cli")]
#![allow(missing_docs, clippy::unwrap_used)]

#[path = "common/program.rs"]
mod program;

use std::path::Path;

use program::forget_the_run;
use program::on_cpu::{objects, refused, text, wgrad};
use serde_json::{Value, json};

/// What a successful command prints.
#[track_caller]
fn said(folder: &Path, args: &[&str]) -> String {
    let output = wgrad(folder, args);
    assert!(output.status.success(), "{args:?}: {}", text(&output));
    text(&output)
}

/// 120 houses: 2,500 a square metre, 20,000 for a garden, 50,000 for the ground.
fn price(area: f64, garden: bool) -> f64 {
    2500.0 * area + if garden { 20_000.0 } else { 0.0 } + 50_000.0
}

fn write_houses(path: &Path) {
    let row = |i: usize| {
        let (area, garden) = (40.0 + (i * 37 % 101) as f64, i.is_multiple_of(3));
        let noise = ((i * 71 % 13) as f64 - 6.0) * 100.0;
        format!("{area},{},{:.2}\n", if garden { "yes" } else { "no" }, price(area, garden) + noise)
    };
    let rows: String = (0..120).map(row).collect();
    std::fs::write(path, format!("area,garden,price\n{rows}")).unwrap();
}

/// Nearly a line: one hidden layer, and enough steps.
const TRAIN: [&str; 9] =
    ["train", "--data", "houses.csv", "--epochs", "150", "--lr", "0.01", "--hidden", "32"];

#[test]
fn a_slope_is_found_and_predictions_have_the_unit_of_the_target() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    write_houses(&here.join("houses.csv"));
    let shown = said(here, &TRAIN);
    assert!(
        shown.contains("task        regression of `price`: ") && shown.contains(" in 120 rows"),
        "{shown}"
    );
    assert!(shown.contains("numbers `price`") && shown.contains("test MSE "), "{shown}");
    assert!(shown.contains("drew  curves.svg, predicted.svg, residuals.svg"), "{shown}");
    let out = here.join("runs/houses-mlp");
    for picture in ["curves.svg", "predicted.svg", "residuals.svg"] {
        let svg = std::fs::read_to_string(out.join(picture)).unwrap();
        assert!(svg.contains("price") || picture == "curves.svg" && svg.contains("r2"), "{picture}");
    }
    assert!(!out.join("confusion.svg").exists());

    let run: Value = serde_json::from_str(&std::fs::read_to_string(out.join("run.json")).unwrap()).unwrap();
    let result = &run["result"];
    assert!(result["test_r2"].as_f64().unwrap() > 0.98, "{result}");
    // The unit of the price, not that of scaled targets.
    let (mae, mse) = (result["test_mae"].as_f64().unwrap(), result["test_mse"].as_f64().unwrap());
    assert!((100.0..10_000.0).contains(&mae) && mse > mae * mae, "{result}");
    assert!(result["test_loss"].as_f64().unwrap() < 0.05 && result.get("test_accuracy").is_none());
    assert_eq!(run["settings"]["table"]["target_kind"], "number");
    assert_eq!(run["settings"]["dropout"], 0.0);
    let first = &run["epochs"][0];
    for key in ["train_loss", "train_mse", "train_mae", "train_r2", "validation_loss", "validation_mse"] {
        assert!(first[key].is_number(), "{key}: {first}");
    }

    let eval =
        &objects(here, &["eval"].iter().chain(&["--out", "runs/houses-mlp"]).copied().collect::<Vec<_>>())[0];
    for key in ["test_loss", "test_mse", "test_mae", "test_r2"] {
        assert_eq!(eval[key], result[key], "{key}");
    }
    assert_eq!((&eval["rows"], &eval["target"]), (&json!(24), &json!("price")));
    assert!(eval.get("confusion").is_none() && eval.get("test_accuracy").is_none());
    assert!(said(here, &["eval", "--out", "runs/houses-mlp"]).contains("R² "));

    // New rows, with a price or without.
    std::fs::write(here.join("more.csv"), "garden,area\nno,60\nno,100\nyes,100\n").unwrap();
    let more = objects(here, &["predict", "more.csv", "--out", "runs/houses-mlp"]);
    let predicted: Vec<f64> = more.iter().map(|row| row["prediction"].as_f64().unwrap()).collect();
    for (found, is) in predicted.iter().zip([price(60.0, false), price(100.0, false), price(100.0, true)]) {
        assert!((found / is - 1.0).abs() < 0.05, "{predicted:?}");
    }
    let slope = (predicted[1] - predicted[0]) / 40.0;
    assert!((slope / 2500.0 - 1.0).abs() < 0.1, "{slope}");
    assert_eq!((&more[0]["truth"], &more[0]["target"]), (&Value::Null, &json!("price")));
    let own = objects(here, &["predict", "houses.csv", "--out", "runs/houses-mlp"]);
    assert_eq!((own.len(), own[1]["truth"].as_f64().is_some()), (120, true));
    let mean = own
        .iter()
        .map(|r| (r["truth"].as_f64().unwrap() - r["prediction"].as_f64().unwrap()).abs())
        .sum::<f64>()
        / 120.0;
    assert!(mean < 2.0 * mae, "{mean} and {mae}");
    // Test rows, in the unit too.
    let rows = objects(here, &["predict", "--rows", "0..24", "--out", "runs/houses-mlp"]);
    let errors =
        rows.iter().map(|r| (r["truth"].as_f64().unwrap() - r["prediction"].as_f64().unwrap()).abs());
    assert!((errors.sum::<f64>() / 24.0 / mae - 1.0).abs() < 1e-3);
    let shown = said(here, &["predict", "--rows", "0", "--out", "runs/houses-mlp"]);
    assert!(shown.contains("test row 0: price ") && shown.contains(", and it is "), "{shown}");
    // All rows of a file it was not trained on.
    let houses = std::fs::read_to_string(here.join("houses.csv")).unwrap();
    let (header, rows) = houses.split_once('\n').unwrap();
    let others: Vec<&str> = [header].into_iter().chain(rows.lines().rev()).collect();
    std::fs::write(here.join("others.csv"), others.join("\n")).unwrap();
    let all = &objects(here, &["eval", "--out", "runs/houses-mlp", "--data", "others.csv"])[0];
    assert!((all["test_mae"].as_f64().unwrap() / mean - 1.0).abs() < 1e-3 && all["rows"] == 120);
    // Alike, and far from those trained on: R² by hand, of predictions in the same unit.
    let areas = (0..40).map(|i| f64::from(i) / 10.0 + 500.0);
    let far: String = areas.map(|area| format!("{area},no,{}\n", price(area, false))).collect();
    std::fs::write(here.join("far.csv"), format!("area,garden,price\n{far}")).unwrap();
    let asked = objects(here, &["predict", "far.csv", "--out", "runs/houses-mlp"]);
    let numbers = |key: &str| -> Vec<f64> { asked.iter().map(|row| row[key].as_f64().unwrap()).collect() };
    let (truth, made) = (numbers("truth"), numbers("prediction"));
    let center = truth.iter().sum::<f64>() / 40.0;
    let wrong: f64 = truth.iter().zip(&made).map(|(t, p)| (t - p).powi(2)).sum();
    let r2 = 1.0 - wrong / truth.iter().map(|t| (t - center).powi(2)).sum::<f64>();
    let far = &objects(here, &["eval", "--out", "runs/houses-mlp", "--data", "far.csv"])[0];
    let found = far["test_r2"].as_f64().unwrap();
    assert!((found / r2 - 1.0).abs() < 1e-2, "{found} and {r2}");
}

#[test]
fn a_regression_is_resumed_to_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    write_houses(&here.join("houses.csv"));
    let train = |args: &[&str]| {
        let usual = ["--schedule", "constant", "--no-pictures", "--keep", "best"];
        objects(here, &[&["train"][..], &usual, args].concat()).pop().unwrap()
    };
    let new = ["--data", "houses.csv", "--hidden", "8"];
    let whole = train(&[&new[..], &["--epochs", "4", "--out", "whole"]].concat());
    train(&[&new[..], &["--epochs", "2", "--out", "parts"]].concat());
    let rest = train(&["--resume", "--epochs", "4", "--out", "parts"]);
    for key in ["test_loss", "test_mse", "test_mae", "test_r2", "best_epoch", "table", "dropout"] {
        assert_eq!(rest[key], whole[key], "{key}");
    }
    refused(here, &["train", "--resume", "--out", "parts", "--task", "classification"], 2, "--task");
    train(&["--resume", "--epochs", "4", "--out", "parts", "--task", "auto"]);
    train(&["--resume", "--epochs", "4", "--out", "parts", "--task", "regression"]);
}

/// What tables are taken for, and how it is said.
#[test]
fn auto_says_what_it_took() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let write = |name: &str, rows: usize, target: &dyn Fn(usize) -> String| {
        let rows: String = (0..rows).map(|i| format!("{},{}\n", i % 7, target(i))).collect();
        std::fs::write(here.join(name), format!("x,y\n{rows}")).unwrap();
    };
    write("few.csv", 60, &|i| (i % 3).to_string());
    write("many.csv", 60, &|i| (i % 7).to_string());
    write("binary.csv", 14, &|i| (i % 2).to_string());
    write("fractions.csv", 60, &|i| format!("{}.5", i % 3));
    write("words.csv", 60, &|i| format!("word {}", i % 9));
    let train = |data: &str, more: &[&str]| {
        let usual = ["train", "--data", data, "--epochs", "1", "--no-pictures", "--out", "run"];
        said(here, &[&usual[..], more].concat())
    };
    let class =
        |n| format!("task        classification of `y`: {n} different values (--task regression predicts");
    assert!(train("few.csv", &[]).contains(&class(3)));
    assert!(train("binary.csv", &["--test-fraction", "0.3"]).contains(&class(2)));
    assert!(train("words.csv", &[]).contains(&class(9)));
    let number =
        |n| format!("regression of `y`: {n} different numbers in 60 rows (--task classification takes");
    assert!(train("many.csv", &[]).contains(&number(7)));
    assert!(train("fractions.csv", &[]).contains(&number(3)));
    // What is asked for is not said again.
    let told = train("many.csv", &["--task", "classification"]);
    assert!(told.contains("7 classes") && !told.contains("task  "), "{told}");
    assert!(train("few.csv", &["--task", "regression"]).contains("numbers `y`"));
    refused(
        here,
        &["train", "--data", "fractions.csv", "--task", "classification"],
        1,
        "(--target, --task regression)",
    );
    refused(
        here,
        &["train", "--data", "words.csv", "--task", "regression"],
        1,
        "line 2, column `y`: `word 0` is not a number",
    );
    refused(here, &["train", "--data", "digits", "--task", "regression"], 2, "--task is for tables");
    // An image model cannot be one of a table's numbers.
    refused(here, &["train", "--data", "many.csv", "--model", "cnn"], 1, "use --model mlp");
}

#[test]
fn what_is_not_a_number_is_named_with_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let write = |bad: &str| {
        let row =
            |i: usize| format!("{i},{}\n", if i == 20 { bad.to_string() } else { format!("{}.25", i * 3) });
        let rows: String = (0..50).map(row).collect();
        std::fs::write(here.join("rows.csv"), format!("x,y\n{rows}")).unwrap();
    };
    let train = ["train", "--data", "rows.csv", "--epochs", "1", "--no-pictures", "--out", "run"];
    for (bad, words) in [
        ("inf", "line 22, column `y`: `inf` is not a number"),
        ("-infinity", "`-infinity` is not a number"),
        ("many", "`many` is not a number, and the target holds numbers"),
        ("1e39", "line 22, column `y`: 1e39 is too large"),
        ("NaN", "line 22, column `y`: the target is missing"),
        ("", "line 22, column `y`: the target is missing"),
        ("\"3,5\"", "decimal comma"),
    ] {
        write(bad);
        refused(here, &train, 1, words);
    }
    write("nan");
    refused(here, &[&train[..], &["--missing", "mean"]].concat(), 1, "a target cannot be filled in");
    objects(here, &[&train[..], &["--missing", "drop"]].concat());
    // Rows that are asked about may lack it, and those that are tested may not.
    std::fs::write(here.join("without.csv"), "x\n1\n2\n").unwrap();
    assert_eq!(objects(here, &["predict", "without.csv", "--out", "run"]).len(), 2);
    refused(
        here,
        &["eval", "--out", "run", "--data", "without.csv"],
        1,
        "column `y`: there is no such column",
    );
    std::fs::write(here.join("bad.csv"), "x,y\n1,2\n2,much\n").unwrap();
    refused(
        here,
        &["eval", "--out", "run", "--data", "bad.csv"],
        1,
        "line 3, column `y`: `much` is not a number",
    );
    std::fs::write(here.join("rows.csv"), format!("x,y\n{}", "1,2.5\n2,2.5\n".repeat(20))).unwrap();
    refused(here, &train, 1, "all rows have the target `2.5`");
}

/// A preprocessing file of an earlier version has no scaling of a target; one that was spoilt is refused.
#[test]
fn preprocessing_keeps_the_scaling_of_the_target() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    write_houses(&here.join("houses.csv"));
    objects(here, &[&TRAIN[..3], &["--epochs", "1", "--no-pictures", "--out", "run"]].concat());
    let path = here.join("run/preprocessing.json");
    let file: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    assert_eq!((&file["classes"], &file["target"]), (&json!([]), &json!("price")));
    let number = &file["number"]["numeric"];
    assert!(number["offset"].as_f64().unwrap() > 100_000.0 && number["divisor"].as_f64().unwrap() > 10_000.0);
    let earlier = here.join("run/earlier.safetensors");
    std::fs::copy(here.join("run/model.safetensors"), &earlier).unwrap();
    forget_the_run(&earlier);
    let spoilt = |change: &dyn Fn(&mut Value), words: &str| {
        let mut other = file.clone();
        change(&mut other);
        std::fs::write(&path, other.to_string()).unwrap();
        // The model has its own.
        objects(here, &["eval", "--out", "run"]);
        refused(here, &["eval", "--model-file", "run/earlier.safetensors"], 1, words);
    };
    spoilt(&|f| f["number"]["numeric"]["divisor"] = json!(0.0), "no scaling");
    spoilt(&|f| f["number"]["numeric"]["divisor"] = json!(5.0), "the target is (x - ");
    spoilt(&|f| f["number"] = Value::Null, "fewer than two classes and no number");
    objects(here, &["train", "--data", "iris", "--epochs", "1", "--no-pictures", "--out", "iris"]);
    let iris = std::fs::read_to_string(here.join("iris/preprocessing.json")).unwrap();
    assert!(!iris.contains("number"), "{iris}");
    // Runs of earlier versions said nothing of a task.
    let mut run: Value =
        serde_json::from_str(&std::fs::read_to_string(here.join("iris/run.json")).unwrap()).unwrap();
    run["settings"]["table"].as_object_mut().unwrap().remove("target_kind");
    std::fs::write(here.join("iris/run.json"), run.to_string()).unwrap();
    for file in ["model", "checkpoint"] {
        forget_the_run(&here.join(format!("iris/{file}.safetensors")));
    }
    objects(here, &["eval", "--out", "iris"]);
    objects(here, &["train", "--resume", "--epochs", "2", "--no-pictures", "--out", "iris"]);
}
