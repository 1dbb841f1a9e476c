//! `--norm`, penalties and clipping by value.

use serde_json::Value;

use super::QUICK;
use super::program::{objects, refused, stdout, wgrad};

/// Trained, tested again, resumed: the model is always the same one.
#[test]
fn a_model_keeps_its_normalization() {
    let folder = tempfile::tempdir().unwrap();
    let mut accuracies = Vec::new();
    for (model, norm) in [
        ("mlp", "batch"),
        ("mlp", "layer"),
        ("mlp", "group=4"),
        ("mlp", "rms"),
        ("cnn", "group"),
        ("cnn", "instance"),
        ("resnet", "layer"),
        ("resnet", "rms"),
        ("resnet", "none"),
    ] {
        let out = format!("{model}-{norm}");
        let widths = if model == "mlp" { ["--hidden", "16"] } else { ["--channels", "4,8"] };
        let settings = [&["--model", model, "--norm", norm][..], &widths].concat();
        let train = |extra: &[&str]| {
            let all = [&["train", "--device", "cpu", "--json", "--no-pictures"][..], extra].concat();
            objects(folder.path(), &all).pop().unwrap()
        };
        let constant = ["--schedule", "constant"];
        let whole = train(&[&settings[..], &constant, &["--epochs", "2", "--out", &out]].concat());
        assert_eq!(whole["norm"], norm);
        let eval = &objects(folder.path(), &["eval", "--device", "cpu", "--json", "--out", &out])[0];
        assert_eq!(eval["test_loss"], whole["test_loss"], "{out}");
        let parts = format!("{out}-parts");
        train(&[&settings[..], &constant, &["--epochs", "1", "--out", &parts]].concat());
        let resumed = train(&["--resume", "--epochs", "2", "--out", &parts]);
        assert_eq!(resumed["test_loss"], whole["test_loss"], "{out}");
        accuracies.push((out, whole["test_loss"].clone()));
    }
    for (i, (a, loss)) in accuracies.iter().enumerate() {
        assert!(accuracies[..i].iter().all(|(_, other)| other != loss), "{a}");
    }
    let output =
        wgrad(folder.path(), &["predict", "--device", "cpu", "--rows", "1", "--out", "cnn-instance"]);
    assert!(output.status.success(), "{output:?}");
    let output = wgrad(folder.path(), &["eval", "--device", "cpu", "--out", "resnet-rms"]);
    assert!(stdout(&output).contains("normalization rms"), "{}", stdout(&output));
    let other = ["train", "--resume", "--norm", "layer", "--out", "mlp-rms"];
    refused(folder.path(), &other, 2, "--norm rms; leave out --norm");
}

#[test]
fn what_is_usual_needs_no_name() {
    let folder = tempfile::tempdir().unwrap();
    let train = |extra: &[&str]| {
        let all =
            [&["train", "--device", "cpu", "--json", "--no-pictures", "--epochs", "1"][..], extra].concat();
        objects(folder.path(), &all).pop().unwrap()
    };
    for (model, norm) in [("mlp", "none"), ("resnet", "batch")] {
        let widths = if model == "mlp" { ["--hidden", "8"] } else { ["--channels", "4"] };
        let base = [&["--model", model][..], &widths].concat();
        let [a, b] = [&[][..], &["--norm", norm]].map(|norm| train(&[&base[..], norm].concat()));
        assert_eq!((&a["norm"], &a["test_loss"]), (&Value::from(norm), &b["test_loss"]));
    }
}

#[test]
fn penalties_and_limits_are_settings_of_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let train =
        |extra: &[&str]| objects(folder.path(), &[&QUICK[..], &["--json"], extra].concat()).pop().unwrap();
    let options = ["--l1", "0.0001", "--l2", "0.001", "--clip-value", "0.01"];
    let constant = ["--schedule", "constant"];
    let plain = train(&[&constant[..], &["--out", "plain"]].concat());
    let whole = train(&[&constant[..], &options, &["--out", "whole"]].concat());
    assert_eq!((&plain["l1"], &plain["clip_value"]), (&Value::from(0.0), &Value::from(0.0)));
    assert_eq!(
        (&whole["l1"], &whole["l2"], &whole["clip_value"]),
        (&0.0001.into(), &0.001.into(), &0.01.into())
    );
    assert_ne!(plain["test_loss"], whole["test_loss"]);
    let first = ["train", "--device", "cpu", "--hidden", "16", "--epochs", "1", "--out", "parts", "--json"];
    objects(folder.path(), &[&first[..], &constant, &options].concat());
    let rest = ["train", "--device", "cpu", "--resume", "--epochs", "2", "--out", "parts", "--json"];
    assert_eq!(objects(folder.path(), &rest).pop().unwrap()["test_loss"], whole["test_loss"]);
    let output = wgrad(folder.path(), &[&QUICK[..], &options].concat());
    let text = stdout(&output);
    for words in ["L1 penalty 0.0001", "L2 penalty 0.001", "elements of gradients clipped to 0.01"] {
        assert!(text.contains(words), "{text}");
    }
}

/// Squares are cut out and images mixed as the run's settings say, after a resume too.
#[test]
fn images_are_cut_and_mixed() {
    let folder = tempfile::tempdir().unwrap();
    let train = |extra: &[&str]| {
        let all = [&["train", "--device", "cpu", "--json", "--no-pictures"][..], extra].concat();
        objects(folder.path(), &all).pop().unwrap()
    };
    let base = ["--model", "cnn", "--channels", "4", "--schedule", "constant"];
    let augment = ["--augment", "shift=1,cutout=3,mixup=0.2"];
    let plain = train(&[&base[..], &["--epochs", "2", "--out", "plain"]].concat());
    let whole = train(&[&base[..], &augment, &["--epochs", "2", "--out", "whole"]].concat());
    assert_eq!((&plain["augment"], &whole["augment"]), (&"shift=1".into(), &Value::from(augment[1])));
    assert_ne!(plain["test_loss"], whole["test_loss"]);
    train(&[&base[..], &augment, &["--epochs", "1", "--out", "parts"]].concat());
    let rest = train(&["--resume", "--epochs", "2", "--out", "parts"]);
    assert_eq!(rest["test_loss"], whole["test_loss"]);
}

#[test]
fn what_makes_no_sense_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let no = |extra: &[&str], code, words| {
        let all = [&["train", "--device", "cpu", "--epochs", "1"][..], extra].concat();
        refused(folder.path(), &all, code, words);
    };
    no(&["--norm", "bach"], 2, "did you mean `batch`?");
    no(&["--norm", "group=0"], 2, "no number of groups");
    no(&["--model", "mlp", "--norm", "instance"], 2, "--norm instance is for a cnn or resnet");
    no(&["--model", "cnn", "--channels", "6", "--norm", "group=4"], 1, "6 channels do not make 4 groups");
    no(&["--l1", "-1"], 2, "not a number of 0 or more");
    no(&["--clip-value", "x"], 2, "not a number of 0 or more");
}
