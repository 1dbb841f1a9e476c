//! The program on tables, run as a user runs it.
#![cfg(feature = "cli")]
#![allow(missing_docs, clippy::unwrap_used)]

#[path = "common/program.rs"]
mod program;

use std::path::Path;
use std::process::Command;

use program::forget_the_run;
use program::on_cpu::{objects, refused, text, wgrad};
use serde_json::{Value, json};

/// 90 rows: a length that tells the grown from the small, a colour that tells the third class, gaps in both, and row
/// numbers that would tell everything.
fn write_animals(path: &Path) {
    let row = |i: usize| {
        let class = ["small", "grown", "striped"][i / 30];
        let length = if i % 11 == 4 {
            "NA".into()
        } else {
            format!("{}", [1.0, 3.0, 2.0][i / 30] + (i % 7) as f64 * 0.1)
        };
        let colour = if i % 13 == 5 {
            ""
        } else if class == "striped" {
            "orange"
        } else {
            ["grey", "brown"][i % 2]
        };
        format!("{i};{class};\"{length}\";{colour};name {i}\r\n")
    };
    let rows: String = (0..90).map(row).collect();
    std::fs::write(path, format!("\u{feff};kind;length;colour;name\r\n{rows}")).unwrap();
}

#[test]
fn iris_is_trained_evaluated_and_asked() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let train = ["train", "--data", "iris", "--no-pictures"];
    let mut accuracies = Vec::new();
    for seed in ["1", "2", "3", "4", "5"] {
        let lines = objects(here, &[&train[..], &["--seed", seed]].concat());
        accuracies.push(lines.last().unwrap()["test_accuracy"].as_f64().unwrap());
    }
    let last = accuracies[4];
    accuracies.sort_by(f64::total_cmp);
    assert!(accuracies[2] >= 0.93, "{accuracies:?}");

    let run = here.join("runs/iris-mlp");
    let file: Value = serde_json::from_str(&std::fs::read_to_string(run.join("run.json")).unwrap()).unwrap();
    assert_eq!(file["settings"]["table"]["split_seed"], 5);
    assert_eq!((&file["settings"]["validation"], &file["settings"]["model"]), (&json!(12), &json!("mlp")));
    let eval = &objects(here, &["eval", "--data", "iris"])[0];
    assert_eq!((eval["test_accuracy"].as_f64(), &eval["rows"]), (Some(last), &json!(30)));
    assert_eq!(eval["class_names"], json!(["setosa", "versicolor", "virginica"]));
    let said = text(&wgrad(here, &["eval", "--out", "runs/iris-mlp"]));
    assert!(said.contains("30 test rows") && said.contains("0 setosa "), "{said}");

    // The flowers as a file, species left out: rows in their order, all but a few right.
    let csv =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("data/iris/iris.csv")).unwrap();
    let without: String = csv.lines().map(|line| format!("{}\n", line.rsplit_once(',').unwrap().0)).collect();
    std::fs::write(here.join("rows.csv"), without).unwrap();
    std::fs::write(here.join("all.csv"), &csv).unwrap();
    let asked = objects(here, &["predict", "rows.csv", "--out", "runs/iris-mlp"]);
    let names = ["setosa", "versicolor", "virginica"];
    let right = asked.iter().enumerate().filter(|(i, row)| row["class_name"] == names[i / 50]).count();
    assert!(asked.len() == 150 && right >= 140, "{right}");
    assert_eq!((asked[7]["input"].as_str(), &asked[7]["truth"]), (Some("rows.csv, line 9"), &Value::Null));
    let known = objects(here, &["predict", "all.csv", "--out", "runs/iris-mlp"]);
    assert_eq!((&known[149]["truth"], &known[149]["class"]), (&json!(2), &asked[149]["class"]));
    let said = text(&wgrad(here, &["predict", "--rows", "2", "--out", "runs/iris-mlp"]));
    assert!(said.contains("iris, test row 2: a "), "{said}");
    let all = &objects(here, &["eval", "--out", "runs/iris-mlp", "--data", "all.csv"])[0];
    // A copy of what was trained on has the same test rows; of another table all are asked about.
    assert_eq!((&all["rows"], &all["test_loss"]), (&json!(30), &eval["test_loss"]));
    let (header, rows) = csv.split_once('\n').unwrap();
    std::fs::write(here.join("twice.csv"), format!("{header}\n{rows}{rows}")).unwrap();
    let all = &objects(here, &["eval", "--out", "runs/iris-mlp", "--data", "twice.csv"])[0];
    assert_eq!(all["rows"], 300);
    assert_eq!((all["test_accuracy"].as_f64().unwrap() * 150.0).round() as usize, right);
    refused(here, &["predict", "rows.csv", "--out", "runs/iris-mlp", "--rows", "30"], 1, "has 30 test rows");
    refused(here, &["eval", "--out", "runs/iris-mlp", "--data", "rows.csv"], 1, "column `species`");
    // Images are not cut into rows of four values.
    for command in ["predict", "eval"] {
        refused(here, &[command, "--out", "runs/iris-mlp", "--data", "digits"], 1, "and `digits` is none");
    }
    refused(
        here,
        &["predict", "--out", "runs/iris-mlp", "--data", "no.csv"],
        1,
        "no.csv: there is no such file or folder",
    );
}

#[test]
fn a_file_with_gaps_and_categories_is_trained_on() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    write_animals(&here.join("animals.csv"));
    let train =
        ["train", "--data", "animals.csv", "--delimiter", ";", "--target", "kind", "--ignore", "name"];
    let quick = ["--epochs", "40", "--hidden", "16", "--no-pictures"];
    refused(here, &train, 1, "animals.csv: line 6, column `length`: the value is missing");
    refused(here, &train[..7], 1, "column `name`: 90 different texts");
    refused(here, &train[..3], 1, "--delimiter");

    let train = [&train[..], &quick].concat();
    let filled = objects(here, &[&train[..], &["--missing", "mean", "--test-fraction", "0.3"]].concat());
    let filled = filled.last().unwrap();
    assert!(filled["test_accuracy"].as_f64().unwrap() > 0.9, "{filled}");
    let file: Value = serde_json::from_str(
        &std::fs::read_to_string(here.join("runs/animals-mlp/preprocessing.json")).unwrap(),
    )
    .unwrap();
    assert_eq!(file["classes"], json!(["grown", "small", "striped"]));
    let columns = file["columns"].as_array().unwrap();
    assert_eq!((columns.len(), &columns[1]["name"]), (2, &json!("colour")));
    assert_eq!(columns[1]["encoding"]["categorical"]["categories"], json!(["brown", "grey", "orange"]));
    let eval = &objects(here, &["eval", "--out", "runs/animals-mlp"])[0];
    assert_eq!((&eval["rows"], &eval["test_loss"]), (&json!(27), &filled["test_loss"]));

    // Rows that were dropped are not among those asked about.
    let drop = [&train[..], &["--missing", "drop", "--validation", "9", "--scaling", "minmax"]].concat();
    let dropped = objects(here, &drop);
    let dropped = dropped.last().unwrap();
    assert_eq!((&dropped["validation"], &dropped["table"]["missing"]), (&json!(9), &json!("drop")));
    let whole = (0..90).filter(|i| i % 11 != 4 && i % 13 != 5).count();
    let asked = objects(here, &["predict", "animals.csv", "--out", "runs/animals-mlp"]);
    assert_eq!((asked.len(), asked[4]["input"].as_str()), (whole, Some("animals.csv, line 8")));
    let right = asked.iter().filter(|row| row["class"] == row["truth"]).count();
    assert!(right * 10 > whole * 9, "{right} of {whole}");

    // The file is another one than that whose rows were kept for the test.
    let changed = std::fs::read_to_string(here.join("animals.csv"))
        .unwrap()
        .replace("0.", "7.")
        .replace("\"1.", "\"9.");
    std::fs::write(here.join("animals.csv"), changed).unwrap();
    refused(
        here,
        &["eval", "--out", "runs/animals-mlp"],
        1,
        "it has 90 rows as before, but not the same ones",
    );
    std::fs::remove_file(here.join("runs/animals-mlp/preprocessing.json")).unwrap();
    refused(here, &["eval", "--out", "runs/animals-mlp"], 1, "it has 90 rows as before");
    forget_the_run(&here.join("runs/animals-mlp/model.safetensors"));
    refused(here, &["eval", "--out", "runs/animals-mlp"], 1, "nor is there a preprocessing.json beside it");
}

#[test]
fn a_run_on_a_table_is_resumed_with_its_rows() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let base = ["--schedule", "constant", "--no-pictures", "--hidden", "8"];
    let train = |args: &[&str]| objects(here, &[&["train"][..], &base, args].concat());
    let new = ["--data", "iris", "--seed", "6", "--test-fraction", "0.3"];
    let whole = train(&[&new[..], &["--epochs", "4", "--out", "whole"]].concat());
    train(&[&new[..], &["--epochs", "2", "--out", "parts"]].concat());
    let rest = train(&["--resume", "--epochs", "4", "--out", "parts"]);
    for key in ["test_loss", "test_accuracy", "validation", "table", "best_epoch"] {
        assert_eq!(rest.last().unwrap()[key], whole.last().unwrap()[key], "{key}");
    }
    // Another seed orders the rows otherwise, and tests on the same ones.
    let other = train(&["--resume", "--epochs", "5", "--seed", "7", "--out", "parts"]);
    assert_eq!(other.last().unwrap()["table"]["split_seed"], 6);
    for change in
        [["--test-fraction", "0.2"], ["--validation", "5"], ["--data", "digits"], ["--scaling", "none"]]
    {
        refused(here, &[&["train", "--resume", "--out", "parts"], &change[..]].concat(), 2, change[0]);
    }
    // What is the same is no change.
    let validation = whole.last().unwrap()["validation"].to_string();
    let same =
        ["--data", "iris", "--test-fraction", "0.3", "--scaling", "standard", "--validation", &validation];
    let usual = ["--target", "species"];
    let again = train(&[&same[..], &usual, &["--resume", "--out", "parts"]].concat());
    assert_eq!(again.last().unwrap()["test_loss"], other.last().unwrap()["test_loss"]);
    // A run that is refused changes nothing of the one that is there.
    let files = ["run.json", "preprocessing.json"].map(|file| here.join("parts").join(file));
    let read = || files.clone().map(|file| std::fs::read_to_string(file).unwrap());
    let before = read();
    let words = "the checkpoint is of another model: --model mlp --hidden 8; leave out --hidden";
    refused(here, &["train", "--resume", "--hidden", "7", "--out", "parts"], 2, words);
    refused(
        here,
        &["train", "--epochs", "1", "--patience", "2", "--validation", "0", "--out", "parts"],
        1,
        "stopping",
    );
    assert_eq!(read(), before);
    train(&["--resume", "--out", "parts"]);
}

#[test]
fn a_file_that_has_grown_is_another_one() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    // Every column has the same values in any part of it, so that only the file itself tells that rows came.
    let rows: String = (0..40).map(|i| format!("{},{}\n", i % 2, ["a", "b"][i % 2])).collect();
    std::fs::write(here.join("rows.csv"), format!("x,y\n{rows}")).unwrap();
    let train = [
        "train",
        "--data",
        "rows.csv",
        "--epochs",
        "1",
        "--no-pictures",
        "--out",
        "run",
        "--scaling",
        "none",
    ];
    let last = objects(here, &train).pop().unwrap();
    assert_eq!((&last["table"]["content"]["rows"], last["table"]["validation"].as_u64()), (&json!(40), None));
    assert_eq!(objects(here, &["eval", "--out", "run"])[0]["rows"], 8);
    std::fs::write(here.join("rows.csv"), format!("x,y\n{rows}{rows}")).unwrap();
    refused(here, &["eval", "--out", "run"], 1, "`rows.csv` has changed since the model was trained");
    refused(here, &["predict", "--out", "run"], 1, "it had 40 rows");
    refused(here, &["train", "--resume", "--epochs", "2", "--out", "run"], 1, "it had 40 rows, and has 80;");
    std::fs::copy(here.join("rows.csv"), here.join("more.csv")).unwrap();
    assert_eq!(objects(here, &["eval", "--out", "run", "--data", "more.csv"])[0]["rows"], 80);
    // The old content is the old file.
    std::fs::write(here.join("rows.csv"), format!("x,y\n{rows}")).unwrap();
    objects(here, &["train", "--resume", "--epochs", "2", "--no-pictures", "--out", "run"]);
}

#[test]
fn what_another_run_left_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    for (out, seed) in [("one", "1"), ("two", "2")] {
        let train =
            ["train", "--data", "iris", "--epochs", "1", "--no-pictures", "--out", out, "--seed", seed];
        objects(here, &train);
    }
    let copy = |file: &str| std::fs::copy(here.join("two").join(file), here.join("one").join(file)).unwrap();
    copy("preprocessing.json");
    // The model says itself how it was trained; one of an earlier version believes the files beside it.
    objects(here, &["eval", "--out", "one"]);
    forget_the_run(&here.join("one/model.safetensors"));
    let words = "what the model's rows went through is not what the settings of its run make of `iris` (column \
                 `sepal_length_cm` is (x - ";
    refused(here, &["eval", "--out", "one"], 1, words);
    copy("run.json");
    objects(here, &["eval", "--out", "one"]);
}

#[test]
fn numbers_may_have_a_decimal_comma() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let rows = |mark: &str| -> String {
        let row = |i: usize| format!("{}{mark}{:02};{}\n", i % 10, i, ["a", "b"][(i % 10) / 5]);
        format!("x;y\n{}", (0..80).map(row).collect::<String>())
    };
    std::fs::write(here.join("comma.csv"), rows(",")).unwrap();
    std::fs::write(here.join("point.csv"), rows(".")).unwrap();
    let train = |data: &'static str, out: &'static str| {
        ["train", "--data", data, "--delimiter", ";", "--epochs", "3", "--no-pictures", "--out", out]
    };
    let comma = train("comma.csv", "comma");
    refused(
        here,
        &comma,
        1,
        "line 2, column `x`: `0,00` is not a number, unless it has a decimal comma; read the table with that mark, or correct it, \
         or make the column categorical or ignore it (--decimal comma, --categorical, --ignore)",
    );
    let last = objects(here, &[&comma[..], &["--decimal", "comma"]].concat()).pop().unwrap();
    let point = objects(here, &train("point.csv", "point")).pop().unwrap();
    assert_eq!((&last["test_loss"], &last["table"]["decimal"]), (&point["test_loss"], &json!(",")));
    // Later rows are read as the training rows were.
    let classes = |file: &str, out: &str| -> Vec<Value> {
        objects(here, &["predict", file, "--out", out])
            .iter()
            .map(|row| row["probabilities"].clone())
            .collect()
    };
    assert_eq!(classes("comma.csv", "comma"), classes("point.csv", "point"));
    refused(
        here,
        &["predict", "point.csv", "--out", "comma"],
        1,
        "`0.00` is not a number, unless it has a decimal point; the table that the model was trained on has a decimal comma",
    );
    refused(here, &["train", "--resume", "--out", "comma", "--decimal", "point"], 2, "--decimal");
}

#[cfg(target_os = "linux")]
#[test]
fn paths_need_not_be_utf8() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let (data, out) = (OsStr::from_bytes(b"rows\xff.csv"), OsStr::from_bytes(b"run\xfe"));
    let rows: String = (0..40).map(|i| format!("{},{}\n", i, ["a", "b"][i / 20])).collect();
    std::fs::write(here.join(data), format!("x,y\n{rows}")).unwrap();
    let run = |args: &[&OsStr]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_wgrad"));
        let output =
            command.args(args).args(["--device", "cpu", "--json"]).current_dir(here).output().unwrap();
        let text = text(&output);
        assert!(output.status.success(), "{args:?}: {text}");
        text.lines().last().map(|line| serde_json::from_str::<Value>(line).unwrap()).unwrap()
    };
    let word = OsStr::new;
    let trained =
        run(&[word("train"), word("--data"), data, word("--out"), out, word("--epochs"), word("2")]);
    assert_eq!(trained["out"], "run\u{fffd}");
    let resume = [word("train"), word("--resume"), word("--epochs"), word("3"), word("--out"), out];
    run(&resume);
    assert_eq!(run(&[word("eval"), word("--out"), out])["data"], "rows\u{fffd}.csv");
    run(&[word("predict"), data, word("--out"), out]);
    run(&[word("eval"), word("--data"), data, word("--out"), out]);
}

#[test]
fn options_that_do_not_fit_are_usage_errors() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    for args in [
        &["--target", "x"][..],
        &["--data", "digits", "--scaling", "none"],
        &["--data", "iris", "--test-fraction", "1"],
        &["--data", "iris", "--test-fraction", "-0.1"],
        &["--data", "iris", "--missing", "guess"],
        &["--data", "iris", "--delimiter", ";;"],
        &["--data", "iris", "--decimal", ";"],
    ] {
        refused(here, &[&["train"][..], args].concat(), 2, "");
    }
    refused(
        here,
        &["train", "--data", "iris", "--target", "colour"],
        1,
        "no such column, only `sepal_length_cm`",
    );
    refused(here, &["train", "--data", "iris", "--validation", "120"], 1, "leaves none to train on");
    refused(here, &["train", "--data", "iris", "--model", "cnn"], 1, "use --model mlp");
    refused(here, &["train", "--data", "none.csv"], 1, "none.csv: there is no such file or folder");
    refused(
        here,
        &["train", "--data", "none.csv", "--target", "y"],
        1,
        "none.csv: there is no such file or folder",
    );
    std::fs::write(here.join("ragged.csv"), "a,b\n1,x\n2\n").unwrap();
    refused(here, &["train", "--data", "ragged.csv"], 1, "ragged.csv: line 3: 1 fields");
    std::fs::write(here.join("binary.csv"), b"a,b\n1,\xff\n").unwrap();
    refused(here, &["train", "--data", "binary.csv"], 1, "column `b`: the text is not UTF-8");
    assert!(!here.join("runs").exists(), "a run that did not start left files");
}

#[test]
fn what_is_compiled_can_be_printed() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_wgrad"));
    let train = [
        "train",
        "--data",
        "iris",
        "--epochs",
        "1",
        "--no-pictures",
        "--device",
        "cpu",
        "--memory-budget",
        "1MiB",
    ];
    let output =
        command.args(train).current_dir(folder.path()).env("WGRAD_DUMP", "passes, plan").output().unwrap();
    let text = text(&output);
    for words in [
        "after `simplify`:\n",
        "after `recompute`:\n",
        "after `fuse`:\n",
        "after `store f16`:\n",
        "plan: ",
        "matmul",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
}
