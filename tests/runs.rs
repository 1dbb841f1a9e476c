//! Files of runs that replace each other, that end in the middle, and that are looked at afterwards.
#![cfg(feature = "cli")]
#![allow(missing_docs, clippy::unwrap_used)]

#[path = "common/program.rs"]
mod program;

use std::path::Path;

use program::{error, objects, refused, stdout, wgrad};
use serde_json::{Value, json};

/// Rows whose class goes by no column: what is trained on is known by heart, what is not is guessed.
fn write_noise(path: &Path) {
    let hash = |i: u64| {
        let x = (i + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (x ^ (x >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 33
    };
    let rows: String = (0..200)
        .map(|i| format!("{},{},{}\n", hash(3 * i) % 1000, hash(3 * i + 1) % 1000, hash(3 * i + 2) % 2))
        .collect();
    std::fs::write(path, format!("a,b,class\n{rows}")).unwrap();
}

const TRAIN: [&str; 7] = ["train", "--data", "noise.csv", "--device", "cpu", "--out", "run"];

fn train(here: &Path, args: &[&str]) -> Value {
    objects(here, &[&TRAIN[..], &["--json", "--no-pictures"], args].concat()).pop().unwrap()
}

fn eval(here: &Path, args: &[&str]) -> Value {
    objects(here, &[&["eval", "--json", "--device", "cpu"], args].concat()).remove(0)
}

#[test]
fn a_rerun_that_fails_leaves_the_run_before_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    write_noise(&here.join("noise.csv"));
    let first = ["--seed", "1", "--schedule", "constant"];
    let before = train(here, &[&first[..], &["--epochs", "3"]].concat());
    let files = ["run.json", "preprocessing.json", "model.safetensors", "checkpoint.safetensors"];
    let read = || files.map(|file| std::fs::read(here.join("run").join(file)).unwrap());
    let content = read();
    // Another seed draws other test rows; its first epoch diverges, after everything was found to be in order.
    let failing = [&TRAIN[..], &["--seed", "2", "--lr", "1e30", "--epochs", "2", "--no-pictures", "--json"]];
    refused(here, &failing.concat(), 1, "the steps are too large");
    assert!(read() == content);
    assert_eq!(eval(here, &["--out", "run"])["test_loss"], before["test_loss"]);
    // The run that is gone on with is the first, on its rows.
    let rest = train(here, &["--resume", "--epochs", "5"]);
    assert_eq!((&rest["seed"], &rest["table"]["split_seed"]), (&json!(1), &json!(1)));
    let whole = objects(
        here,
        &[&TRAIN[..5], &["--out", "whole", "--no-pictures", "--json", "--epochs", "5"], &first].concat(),
    );
    assert_eq!(rest["test_loss"], whole.last().unwrap()["test_loss"]);
    // Both tell all epochs, to the same numbers.
    let losses = |out: &str| -> Vec<Value> {
        let file = std::fs::read_to_string(here.join(out).join("run.json")).unwrap();
        let file: Value = serde_json::from_str(&file).unwrap();
        file["epochs"].as_array().unwrap().iter().map(|epoch| epoch["train_loss"].clone()).collect()
    };
    assert_eq!((losses("run").len(), losses("run")), (5, losses("whole")));
}

/// However the files of two runs lie beside each other, each of model and checkpoint goes by its own settings.
#[test]
fn model_and_checkpoint_say_themselves_which_rows_they_know() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    write_noise(&here.join("noise.csv"));
    let tested: Vec<Value> = ["1", "2"]
        .iter()
        .map(|seed| {
            let last = train(here, &["--seed", seed, "--epochs", "2"]);
            std::fs::rename(here.join("run"), here.join(seed)).unwrap();
            last["test_loss"].clone()
        })
        .collect();
    for file in ["run.json", "preprocessing.json", "checkpoint.safetensors"] {
        std::fs::copy(here.join("2").join(file), here.join("1").join(file)).unwrap();
    }
    assert_eq!(eval(here, &["--out", "1"])["test_loss"], tested[0]);
    let resumed = objects(
        here,
        &["train", "--resume", "--out", "1", "--device", "cpu", "--no-pictures", "--json", "--epochs", "2"],
    );
    assert_eq!(resumed.last().unwrap()["test_loss"], tested[1]);
    assert_eq!(eval(here, &["--out", "1"])["test_loss"], tested[1]);
}

#[test]
fn a_copy_of_the_table_is_tested_on_the_test_rows_alone() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    write_noise(&here.join("noise.csv"));
    let last = train(here, &["--epochs", "2"]);
    let text = std::fs::read_to_string(here.join("noise.csv")).unwrap();
    std::fs::write(here.join("copy.csv"), text.replace('\n', "\r\n")).unwrap();
    let copy = eval(here, &["--out", "run", "--data", "copy.csv"]);
    assert_eq!((&copy["rows"], &copy["test_loss"]), (&json!(40), &last["test_loss"]));
    std::fs::write(here.join("other.csv"), text.lines().take(50).collect::<Vec<_>>().join("\n")).unwrap();
    assert_eq!(eval(here, &["--out", "run", "--data", "other.csv"])["rows"], 49);
    // Iris comes with the program, and as a file.
    objects(here, &["train", "--data", "iris", "--epochs", "1", "--no-pictures", "--json", "--out", "iris"]);
    std::fs::copy(concat!(env!("CARGO_MANIFEST_DIR"), "/data/iris/iris.csv"), here.join("i.csv")).unwrap();
    assert_eq!(eval(here, &["--out", "iris", "--data", "i.csv"])["rows"], 30);
}

#[test]
fn a_table_may_move() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    write_noise(&here.join("noise.csv"));
    let last = train(here, &["--epochs", "1"]);
    std::fs::create_dir(here.join("data")).unwrap();
    std::fs::rename(here.join("noise.csv"), here.join("data/rows.csv")).unwrap();
    refused(
        here,
        &["eval", "--out", "run"],
        1,
        "was trained on `noise.csv`, which is not there (seen from here)",
    );
    let resume = ["train", "--resume", "--out", "run", "--device", "cpu", "--no-pictures", "--json"];
    refused(here, &resume, 1, "say where it is with --data");
    let moved = ["--data", "data/rows.csv"];
    let eval = eval(here, &[&["--out", "run"], &moved[..]].concat());
    assert_eq!((&eval["rows"], &eval["test_loss"]), (&json!(40), &last["test_loss"]));
    let rest = objects(here, &[&resume[..], &moved, &["--epochs", "2"]].concat()).pop().unwrap();
    assert_eq!((&rest["data"], &rest["steps"]), (&json!("data/rows.csv"), &json!(9)));
    std::fs::write(here.join("others.csv"), "a,b,class\n1,2,0\n3,4,1\n").unwrap();
    let others = [&resume[..], &["--data", "others.csv"]].concat();
    refused(here, &others, 1, "`others.csv` does not hold the rows that the run began with");
}

#[test]
fn the_model_that_is_asked_is_the_one_that_was_saved_last() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    write_noise(&here.join("noise.csv"));
    refused(here, &["eval"], 1, "there is no model.safetensors in runs/; run `wgrad train`");
    let quick = ["--device", "cpu", "--epochs", "1", "--no-pictures", "--json"];
    objects(here, &[&["train", "--data", "iris"], &quick[..]].concat());
    objects(here, &[&["train", "--data", "noise.csv", "--out", "runs/mine"], &quick[..]].concat());
    assert_eq!(eval(here, &[])["model_file"], "runs/mine/model.safetensors");
    assert_eq!(eval(here, &["--data", "iris"])["model_file"], "runs/iris-mlp/model.safetensors");
    let asked = objects(here, &["predict", "noise.csv", "--json"]);
    assert_eq!(asked.len(), 200);
    // A model says what it is for, wherever it lies.
    std::fs::copy(here.join("runs/mine/model.safetensors"), here.join("alone.safetensors")).unwrap();
    assert_eq!(
        objects(here, &["predict", "noise.csv", "--json", "--model-file", "alone.safetensors"]),
        asked
    );
}

#[test]
fn a_run_that_is_done_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    write_noise(&here.join("noise.csv"));
    let last = train(here, &["--epochs", "2"]);
    let resume = ["train", "--resume", "--out", "run", "--device", "cpu", "--no-pictures"];
    let output = wgrad(here, &resume);
    let text = stdout(&output);
    assert!(output.status.success(), "{}", error(&output));
    assert!(
        text.contains("nothing is left to train: the run has done 2 epochs; give more with --epochs"),
        "{text}"
    );
    let file: Value =
        serde_json::from_str(&std::fs::read_to_string(here.join("run/run.json")).unwrap()).unwrap();
    assert_eq!((file["epochs"].as_array().unwrap().len(), &file["result"]["steps"]), (2, &last["steps"]));
    refused(here, &[&resume[..], &["--hidden", "4"]].concat(), 2, "leave out --hidden");
    refused(here, &[&resume[..], &["--model", "cnn"]].concat(), 2, "--model mlp --hidden 128");
}

/// Ctrl-C in the first epoch: the checkpoint can be gone on with, and a finished model stays.
#[cfg(unix)]
#[test]
fn a_rerun_that_is_stopped_in_its_first_epoch_leaves_the_model() {
    use std::io::{BufRead, BufReader, Read};
    use std::process::{Command, Stdio};
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let quick = ["train", "--model", "mlp", "--device", "cpu", "--no-pictures", "--out"];
    let before = objects(here, &[&quick[..], &["run", "--epochs", "1", "--json"]].concat()).pop().unwrap();
    for out in ["run", "new"] {
        // An epoch of one row a step in wide layers, so that the signal comes before its end.
        let slow = [&quick[..], &[out, "--seed", "9", "--hidden", "3000,3000", "--batch", "1"]].concat();
        let mut child = Command::new(env!("CARGO_BIN_EXE_wgrad"))
            .args(slow)
            .env("WGRAD_LOG", "wgrad=info")
            .current_dir(here)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
        while !log.next().unwrap().unwrap().contains("first step done") {}
        assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
        let mut said = String::new();
        child.stdout.take().unwrap().read_to_string(&mut said).unwrap();
        assert!(child.wait().unwrap().success());
        assert!(said.contains("a model is saved once an epoch has ended"), "{said}");
        assert_eq!(said.contains("that of an earlier run"), out == "run", "{said}");
    }
    assert_eq!(eval(here, &["--out", "run"])["test_loss"], before["test_loss"]);
    refused(
        here,
        &["eval", "--out", "new"],
        1,
        "there is no model in new yet: its run was stopped in the first epoch",
    );
    let rest =
        [&["train", "--resume", "--device", "cpu", "--no-pictures", "--epochs", "1", "--out", "run"][..]];
    // It would go on with the wide one.
    let output = wgrad(here, &[&rest.concat()[..], &["--hidden", "128"]].concat());
    assert!(error(&output).contains("--model mlp --hidden 3000,3000"), "{}", error(&output));
}

#[test]
fn one_seed_gives_one_model_file() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    write_noise(&here.join("noise.csv"));
    let models = ["a", "b", "c"].map(|name| {
        train(here, &["--epochs", "2"]);
        std::fs::rename(here.join("run"), here.join(name)).unwrap();
        std::fs::read(here.join(name).join("model.safetensors")).unwrap()
    });
    assert!(models[0] == models[1] && models[1] == models[2]);
}
