//! `--watch`, `--check-numerics`, and what a run says of the gap between training and validation.

use super::*;

#[test]
fn layers_are_shown_and_kept() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let quick = [&QUICK[..], &["--no-pictures", "--out", out.to_str().unwrap()]].concat();
    let lines = objects(folder.path(), &[&quick[..], &["--watch", "10", "--json"]].concat());
    let file: Value = serde_json::from_str(&std::fs::read_to_string(out.join("run.json")).unwrap()).unwrap();
    for (k, epoch) in lines[..2].iter().enumerate() {
        let watched = &epoch["watched"];
        // 40 full batches an epoch.
        assert_eq!(watched["step"], 40, "{epoch}");
        assert_eq!(&file["epochs"][k]["watched"], watched);
        let layers = watched["layers"].as_array().unwrap();
        let names: Vec<_> = layers.iter().filter_map(|layer| layer["name"].as_str()).collect();
        assert_eq!(names, ["fc1", "fc2"]);
        for key in ["weight_norm", "gradient_norm", "update_ratio", "activation_rms"] {
            assert!(
                layers.iter().all(|layer| layer[key].as_f64().is_some_and(|x| x > 0.0)),
                "{key}: {watched}"
            );
        }
        assert!(layers[0]["dead_share"].is_number() && layers[1]["dead_share"].is_null(), "{watched}");
    }
    // A checkpoint that says nothing of its run: its epochs are those of the file beside it.
    program::forget_the_run(&out.join("checkpoint.safetensors"));
    let more = [
        "train",
        "--device",
        "cpu",
        "--model",
        "mlp",
        "--hidden",
        "16",
        "--epochs",
        "3",
        "--resume",
        "--no-pictures",
    ];
    assert!(wgrad(folder.path(), &[&more[..], &["--out", out.to_str().unwrap()]].concat()).status.success());
    let later: Value = serde_json::from_str(&std::fs::read_to_string(out.join("run.json")).unwrap()).unwrap();
    assert_eq!(later["epochs"][1]["watched"], file["epochs"][1]["watched"]);
    // Looked at or not, a run trains the same weights.
    let plain = objects(folder.path(), &[&quick[..], &["--json"]].concat());
    assert!(plain[0]["watched"].is_null());
    assert_eq!(plain[2]["test_loss"], lines[2]["test_loss"]);

    let text = stdout(&wgrad(folder.path(), &[&quick[..], &["--watch=10"]].concat()));
    let heading = text.lines().find(|line| line.contains("update/weights")).unwrap_or_default();
    assert!(heading.contains("gradient") && heading.ends_with("dead"), "{text}");
    assert!(text.contains("\n  fc1  ") && text.contains("\n  fc2  "), "{text}");
    refused(folder.path(), &[&quick[..], &["--watch", "0"]].concat(), 2, "--watch");
}

/// What trains too fast is told so, once each, on stderr.
#[test]
fn symptoms_are_said() {
    let folder = tempfile::tempdir().unwrap();
    let args = [&QUICK[..], &["--no-pictures", "--watch", "1", "--lr", "1"]].concat();
    let output = wgrad(folder.path(), &args);
    let told = String::from_utf8_lossy(&output.stderr).to_string();
    assert_eq!(told.matches("large updates: a step moved `fc1`").count(), 1, "{told}");
    assert_eq!(told.matches("dying ReLUs").count(), 1, "{told}");
    assert!(told.contains("(epoch 1, step 1)") && !told.contains("vanishing"), "{told}");
}

#[test]
fn the_op_that_gives_nan_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let run = |extra: &[&str]| {
        let output = wgrad(folder.path(), &[&QUICK[..], &["--no-pictures", "--lr", "1e20"], extra].concat());
        assert!(!output.status.success());
        error(&output)
    };
    let named = run(&["--check-numerics"]);
    assert!(named.contains("epoch 1, step 2: op `matmul_nt` of `fc2` gives NaN or an infinity"), "{named}");
    let plain = run(&[]);
    assert!(plain.contains("the steps are too large") && plain.contains("--check-numerics"), "{plain}");
}

/// A large network without regularization learns the training rows by heart.
#[test]
fn overfitting_is_called_so() {
    let folder = tempfile::tempdir().unwrap();
    let free = ["train", "--device", "cpu", "--model", "mlp", "--no-pictures", "--epochs"];
    let run = |epochs: &str, extra: &[&str]| {
        let output = wgrad(folder.path(), &[&free[..], &[epochs], extra].concat());
        assert!(output.status.success());
        stdout(&output)
    };
    let unregularized = ["--hidden", "128", "--dropout", "0", "--weight-decay", "0", "--keep", "last"];
    let text = run("40", &unregularized);
    assert!(text.contains("overfitting: the loss of the validation rows, 0."), "{text}");
    // As the digits are trained by default, validation is no worse.
    let text = run("3", &[]);
    assert!(!text.contains("overfitting"), "{text}");
}
