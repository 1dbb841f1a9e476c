//! Runs that go on: with their own settings, budget and precision, and nobody else in their folder.

use std::process::Command;

use serde_json::Value;

use super::QUICK;
#[cfg(feature = "gpu")]
use super::common;
use super::program::{error, forget_the_run, objects, refused, wgrad};

#[test]
fn a_run_resumes_with_its_own_settings() {
    let folder = tempfile::tempdir().unwrap();
    let settings = ["--schedule", "constant", "--seed", "5", "--lr", "0.004", "--optimizer", "sgd", "--json"];
    let train = |extra: &[&str]| objects(folder.path(), &[&["train", "--device", "cpu"][..], extra].concat());
    let whole = train(&[&settings[..], &["--epochs", "3", "--hidden", "8", "--out", "whole"]].concat());
    train(&[&settings[..], &["--epochs", "1", "--hidden", "8", "--out", "parts"]].concat());
    let rest = train(&["--resume", "--epochs", "3", "--out", "parts", "--json"]);
    assert_eq!((rest.len(), rest[0]["epoch"].as_u64()), (3, Some(2)));
    for (a, b) in rest.iter().zip(&whole[1..]) {
        for key in ["train_loss", "validation_loss", "test_loss", "test_accuracy", "lr", "seed", "best_epoch"]
        {
            assert_eq!(a[key], b[key], "{key}");
        }
    }
    // Nothing left to do: it is tested again.
    let again = train(&["--resume", "--out", "parts", "--json"]);
    assert_eq!((again.len(), &again[0]["test_accuracy"]), (1, &whole[3]["test_accuracy"]));
    // What the run was stays written down, and drawn.
    let run = folder.path().join("parts");
    let read = |file: &str| std::fs::read_to_string(run.join(file)).unwrap();
    let file: Value = serde_json::from_str(&read("run.json")).unwrap();
    for key in ["steps", "steps_per_second", "train_seconds"] {
        assert_eq!(file["result"][key], rest[2][key], "{key}");
    }
    let epochs = file["epochs"].as_array().unwrap();
    assert_eq!(epochs.len(), 3);
    for (epoch, expected) in epochs.iter().zip(&whole) {
        for key in ["epoch", "train_loss", "train_accuracy", "validation_loss", "validation_accuracy"] {
            assert_eq!(epoch[key], expected[key], "{key}");
        }
    }
    #[cfg(feature = "plots")]
    {
        let drawn = std::fs::read_to_string(folder.path().join("whole/curves.svg")).unwrap();
        assert_eq!(read("curves.svg"), drawn, "of all epochs");
    }
    refused(folder.path(), &["train", "--resume", "--out", "none"], 1, "nothing to resume");
}

#[cfg(unix)]
#[test]
fn ctrl_c_stops_saves_and_can_be_resumed() {
    use std::io::{BufRead, BufReader};
    use std::process::Stdio;
    let folder = tempfile::tempdir().unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_wgrad"))
        .args(["train", "--model", "mlp", "--device", "cpu", "--epochs", "100000", "--json"])
        .current_dir(folder.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    lines.next().unwrap().unwrap();
    let status = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(status.success());
    let last: Value = serde_json::from_str(&lines.map_while(Result::ok).last().unwrap()).unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(last["stopped"], true);
    let steps = last["steps"].as_u64().unwrap();
    let epochs = (steps / 41 + 2).to_string();
    let rest = objects(
        folder.path(),
        &["train", "--model", "mlp", "--device", "cpu", "--resume", "--epochs", &epochs, "--json"],
    );
    let rest = rest.last().unwrap();
    assert_eq!(
        (&rest["stopped"], rest["steps"].as_u64()),
        (&Value::Bool(false), Some((steps / 41 + 2) * 41 - steps))
    );
}

#[test]
fn a_memory_budget_changes_no_result_and_is_refused_where_it_cannot_be_met() {
    let folder = tempfile::tempdir().unwrap();
    let train = ["train", "--device", "cpu", "--model", "resnet", "--channels", "4,8", "--depth", "1"];
    let train = [&train[..], &["--epochs", "1", "--no-pictures", "--json"]].concat();
    let last = |more: &[&str]| objects(folder.path(), &[&train[..], more].concat()).pop().unwrap();
    // What it needs at least, as the refusal says.
    let output = wgrad(folder.path(), &[&train[..], &["--memory-budget", "1KiB"]].concat());
    let message = error(&output);
    assert_eq!(output.status.code(), Some(1), "{message}");
    let (_, rest) = message.split_once("need at least ").unwrap();
    let least = rest.split(' ').next().unwrap().to_string();
    let (free, within) = (last(&[]), last(&["--memory-budget", &least]));
    for key in ["test_accuracy", "test_loss"] {
        assert_eq!(free[key], within[key], "{key}");
    }
    // A run that is resumed keeps it: one that cannot be met ends that run too.
    let run = std::fs::read_to_string(folder.path().join("runs/digits-resnet/run.json")).unwrap();
    let mut run: Value = serde_json::from_str(&run).unwrap();
    assert_eq!(run["settings"]["memory_budget"].to_string(), least);
    let resume = ["train", "--device", "cpu", "--model", "resnet", "--resume", "--epochs", "2"];
    let resume = [&resume[..], &["--no-pictures", "--json"]].concat();
    let resumed = objects(folder.path(), &resume).pop().unwrap();
    assert_eq!(resumed["memory_budget"].to_string(), least, "{resumed}");
    run["settings"]["memory_budget"] = Value::from(1024);
    std::fs::write(folder.path().join("runs/digits-resnet/run.json"), run.to_string()).unwrap();
    // The settings are those of the checkpoint; files of earlier versions have none.
    forget_the_run(&folder.path().join("runs/digits-resnet/checkpoint.safetensors"));
    refused(folder.path(), &resume, 1, "need at least");
    let free = objects(folder.path(), &[&resume[..], &["--memory-budget", "none"]].concat()).pop().unwrap();
    assert!(free["memory_budget"].is_null(), "{free}");
    for wrong in ["0", "64MB", "MiB", "99999999999GiB"] {
        refused(folder.path(), &[&train[..], &["--memory-budget", wrong]].concat(), 2, "--memory-budget");
    }
}

#[test]
fn mixed_precision_is_kept_by_a_resumed_run_and_refused_where_it_cannot_be() {
    let folder = tempfile::tempdir().unwrap();
    let train = [&QUICK[..], &["--precision", "mixed", "--no-pictures", "--json"]].concat();
    let first = objects(folder.path(), &train).pop().unwrap();
    assert_eq!(first["precision"], "mixed");
    // It learns, and not to the same bits as in 32 bits.
    assert!(first["test_accuracy"].as_f64().unwrap() > 0.5, "{first}");
    let full =
        objects(folder.path(), &[&QUICK[..], &["--no-pictures", "--json", "--out", "full"]].concat()).pop();
    let full = full.unwrap();
    assert_eq!(full["precision"], "f32");
    assert!(full["test_loss"] != first["test_loss"], "{full}");
    // The checkpoint has the scale of the loss, and the settings say what to go on with.
    let more = [
        "train",
        "--device",
        "cpu",
        "--resume",
        "--epochs",
        "3",
        "--hidden",
        "16",
        "--no-pictures",
        "--json",
    ];
    let resumed = objects(folder.path(), &more).pop().unwrap();
    assert_eq!((&resumed["precision"], &resumed["epochs"]), (&first["precision"], &Value::from(3)));
    refused(
        folder.path(),
        &[&more[..], &["--out", "full", "--precision", "mixed"]].concat(),
        1,
        "loss_scale",
    );
    refused(folder.path(), &[&QUICK[..], &["--precision", "f16"]].concat(), 2, "--precision");
    #[cfg(feature = "gpu")]
    for gpu in common::gpus().into_iter().filter(|gpu| !gpu.has_f16()) {
        let info = wgrad::Device::from(gpu).info();
        let device = if info.backend == "Gl" { "gl" } else { &*info.name };
        let train = ["train", "--json", "--device", device, "--hidden", "16", "--precision", "mixed"];
        refused(folder.path(), &train, 1, "use f32 there, or another adapter");
    }
}

#[test]
fn a_folder_that_another_run_writes_to_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let lock = wgrad::train::FolderLock::acquire(&out).unwrap();
    let owner = format!("process {} writes to this folder", std::process::id());
    let train = [&QUICK[..], &["--out", "run"]].concat();
    refused(folder.path(), &train, 1, &owner);
    assert!(!out.join("run.json").exists() && !out.join("model.safetensors").exists());
    drop(lock);
    // What a killed run left half written is cleared by the next one; files of others stay.
    std::fs::write(out.join(".wgrad-abc.tmp"), "half").unwrap();
    std::fs::write(out.join("notes.tmp"), "mine").unwrap();
    assert!(wgrad(folder.path(), &train).status.success());
    assert!(!out.join(".wgrad-abc.tmp").exists() && out.join("notes.tmp").exists());
    let lock = wgrad::train::FolderLock::acquire(&out).unwrap();
    refused(folder.path(), &[&train[..], &["--resume"]].concat(), 1, &owner);
    // Reading needs no lock.
    assert!(
        wgrad(folder.path(), &["eval", "--device", "cpu", "--model-file", "run/model.safetensors"])
            .status
            .success()
    );
    drop(lock);
}
