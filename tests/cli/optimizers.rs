//! Optimizers, schedules and averages from the program, and the search for a rate.

use serde_json::Value;

use super::wgrad;

/// The JSON objects that a command prints.
fn printed(here: &std::path::Path, args: &[&str]) -> Vec<Value> {
    let output = wgrad(here, args);
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn what_an_optimizer_keeps_is_resumed_to_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let common = ["train", "--device", "cpu", "--data", "iris", "--json", "--no-pictures", "--keep", "last"];
    let options = [
        "--optimizer",
        "lion",
        "--accumulate",
        "3",
        "--ema",
        "0.9",
        "--warmup",
        "1",
        "--schedule",
        "plateau=0,0.5",
    ];
    let run = |out: &str, more: &[&str]| printed(here, &[&common[..], &["--out", out], more].concat());
    let whole = run("whole", &[&options[..], &["--epochs", "6"]].concat());
    run("parts", &[&options[..], &["--epochs", "2"]].concat());
    // Without any of them: they are those of the run.
    let resumed = run("parts", &["--resume", "--epochs", "6"]);
    let last = |lines: &[Value]| lines.last().unwrap().clone();
    for key in ["test_loss", "optimizer", "accumulate", "ema", "warmup", "schedule"] {
        assert!(!last(&whole)[key].is_null(), "{key}");
        assert_eq!(last(&whole)[key], last(&resumed)[key], "{key}");
    }
    assert_eq!(last(&whole)["schedule"], "plateau=0,0.5");
    let model = |name: &str| std::fs::read(here.join(name).join("model.safetensors")).unwrap();
    let (a, b) = (model("whole"), model("parts"));
    // The settings in the file have another number of epochs at first, so weights alone.
    let weights = |bytes: &[u8]| {
        let file = safetensors::SafeTensors::deserialize(bytes).unwrap();
        let mut all: Vec<(String, Vec<u8>)> =
            file.tensors().into_iter().map(|(name, t)| (name, t.data().to_vec())).collect();
        all.sort();
        all
    };
    assert_eq!(weights(&a), weights(&b));

    // Before the first update an average means nothing: the weights are what they began as, not zeros.
    let short = run("short", &["--ema", "0.9", "--accumulate", "1000", "--epochs", "1"]);
    let loss = last(&short)["test_loss"].as_f64().unwrap();
    assert!(weights(&model("short")).iter().any(|(_, bytes)| bytes.iter().any(|b| *b != 0)), "{loss}");
}

#[test]
fn a_learning_rate_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let found = printed(here, &["lr-find", "--device", "cpu", "--data", "iris", "--json", "--steps", "90"]);
    let [found] = &found[..] else { panic!("{found:?}") };
    let rate = found["suggested"].as_f64().unwrap();
    assert!((1e-4..1.0).contains(&rate), "{rate}");
    assert_eq!(found["rates"].as_array().unwrap().len(), found["losses"].as_array().unwrap().len());
    assert!(here.join("lr-find.svg").exists());
    let output = wgrad(
        here,
        &["lr-find", "--device", "cpu", "--data", "iris", "--no-pictures", "--from", "1e-5", "--to", "1"],
    );
    let text = String::from_utf8_lossy(&output.stdout).to_string();
    assert!(text.contains("suggested   --lr ") && text.contains("running mean"), "{text}");
    for (args, message) in [
        (&["--lr", "0.1"][..], "give the range by --from and --to"),
        (&["--step-every", "2"], "of a schedule"),
        (&["--optimizer", "rprop"], "rprop has steps of its own"),
        (&["--from", "1", "--to", "0.1"], "from above 0 to a larger number"),
    ] {
        let output = wgrad(here, &[&["lr-find", "--device", "cpu", "--data", "iris"], args].concat());
        let text = String::from_utf8_lossy(&output.stderr).to_string();
        assert!(!output.status.success() && text.contains(message), "{text}");
    }
}

#[test]
fn misspelt_optimizers_and_schedules_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    for (args, message) in [
        (["--optimizer", "adamm"], "did you mean `adam`?"),
        (["--schedule", "step=0"], "whole epochs"),
        (["--schedule", "cosin"], "there is no schedule `cosin`, did you mean `cosine`?"),
    ] {
        let output = wgrad(folder.path(), &[&["train", "--data", "iris"][..], &args].concat());
        let text = String::from_utf8_lossy(&output.stderr).to_string();
        assert!(!output.status.success() && text.contains(message), "{text}");
    }
}
