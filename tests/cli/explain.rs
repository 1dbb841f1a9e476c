//! `wgrad explain`, and the help.

use std::path::Path;
use std::process::{Command, Stdio};

use super::{error, objects, refused, stdout, wgrad};

/// Without the adapter, whose opening takes its time.
fn explained(here: &Path, name: &str) -> String {
    let output = wgrad(here, &["explain", name, "--device", "cpu"]);
    assert!(output.status.success(), "{name}: {}", error(&output));
    stdout(&output)
}

#[test]
fn an_activation_is_explained_from_formula_to_kernel() {
    let folder = tempfile::tempdir().unwrap();
    let text = explained(folder.path(), "gelu");
    for words in [
        "gelu: activation, op",
        "x Φ(x)",
        "Hendrycks and Gimpel, 2016",
        "PyTorch GELU",
        "epochs until 90 %",
        "src/ops/elementwise/activation/smooth.rs",
        "x[0] * normal_distribution(x[0])",
        "fn gelu_fn(x: f32) -> f32 {",
        "@compute",
        "software adapters within WebGPU's default limits",
        "⠂⠐⠂⠐ derivative\n",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    assert!(text.chars().any(|c| ('\u{2801}'..='\u{28ff}').contains(&c)), "a picture: {text}");
    assert!(!text.contains('\u{1b}'), "no colours: {text}");
    let sentences = text.split("\nRust,").next().unwrap();
    assert!(sentences.lines().all(|line| line.chars().count() <= 100), "{sentences}");
    // Spelt as it may be.
    assert_eq!(explained(folder.path(), "hard-tanh"), explained(folder.path(), "HardTanh"));
}

#[test]
fn slips_of_notes_are_named_where_they_are_looked_for() {
    let folder = tempfile::tempdir().unwrap();
    for (name, words) in [
        ("sigmoid", "Written 1/(1 + e^z) it is σ(−z)"),
        ("mse", "by the prediction a is a − y, not y − a"),
        ("sgd", "w + lr · grad climbs"),
        ("tanh", "Its range is (−1, 1), not (−1, 0)"),
        ("relu", "Here it is 0, as in PyTorch"),
        ("softmax", "y (1 − y) is only the diagonal"),
        ("he-normal", "2 / in is the variance"),
        ("variable-power", "keeps away from its target"),
    ] {
        let lines = explained(folder.path(), name);
        let text: Vec<&str> = lines.split_whitespace().collect();
        assert!(text.join(" ").contains(words), "{name}: {lines}");
    }
}

#[test]
fn what_is_made_of_ops_is_explained_by_them() {
    let folder = tempfile::tempdir().unwrap();
    let one = |name: &str| objects(folder.path(), &["explain", name, "--device", "cpu", "--json"]).remove(0);
    let huber = one("huber");
    let ops: Vec<&str> =
        huber["ops"].as_array().unwrap().iter().map(|op| op["op"].as_str().unwrap()).collect();
    assert_eq!(ops[..4], ["sub", "clamp", "mul_scalar", "mul"], "{ops:?}");
    assert!(huber["reference"][1]["text"].as_str().unwrap().contains("Kind::Huber { delta } =>"), "{huber}");
    let curve = &huber["curve"]["lines"][1]["values"];
    assert_eq!((curve[0].as_f64(), curve[240].as_f64()), (Some(-1.0), Some(1.0)));
    let adam = one("adam");
    let text = |i: usize| adam["reference"][i]["text"].as_str().unwrap();
    assert!(text(0).contains("fn scalars") || text(1).contains("fn scalars"), "{adam}");
    let kernels: String = adam["kernels"].to_string();
    assert!(kernels.contains("adam_fn") && kernels.contains("adam_scalars_fn"), "{kernels}");
    let cosine = one("cosine");
    assert_eq!(cosine["curve"]["lines"][0]["values"][30].as_f64(), Some(0.5), "{cosine}");
    assert!(cosine["reference"][0]["text"].as_str().unwrap().contains("cosine(t /"), "{cosine}");
    // A name of several things has all of them.
    let both = objects(folder.path(), &["explain", "identity", "--device", "cpu", "--json"]);
    let kinds: Vec<&str> = both.iter().map(|one| one["entries"][0]["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["activation", "initializer"]);
}

#[test]
fn all_are_listed_and_wrong_names_are_told_the_nearest() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let text = stdout(&wgrad(here, &["explain"]));
    for heading in ["activations (", "losses (", "optimizers (", "schedules (", "layers (", "ops ("] {
        assert!(text.contains(heading), "{heading}: {text}");
    }
    assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
    let losses = objects(here, &["explain", "losses", "--json"]);
    assert!(losses.len() > 30 && losses.iter().all(|one| one["kind"] == "loss" && one["formula"] != ""));
    refused(here, &["explain", "gelo"], 2, "nothing is named `gelo`; did you mean `gelu`?");
    refused(here, &["explain", "hubber"], 2, "did you mean `huber`?");
    refused(here, &["explain", "xyzzy"], 2, "`wgrad explain` lists all");
    refused(here, &["explain", "losses", "--out", "x.svg"], 2, "name it");
    refused(here, &["explain", "adam", "--device", "no such adapter"], 1, "no such adapter");
}

#[cfg(feature = "plots")]
#[test]
fn functions_are_drawn() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let output = wgrad(here, &["explain", "tanh", "--device", "cpu", "--out", "tanh.svg"]);
    assert!(output.status.success(), "{}", error(&output));
    let svg = std::fs::read_to_string(here.join("tanh.svg")).unwrap();
    assert!(svg.starts_with("<svg") && svg.contains("derivative") && svg.matches("<polyline").count() > 10);
    refused(here, &["explain", "matmul", "--device", "cpu", "--out", "x.svg"], 2, "nothing to draw");
    assert!(!here.join("x.svg").exists());
}

/// Nobody reads to the end, and that is no error.
#[cfg(unix)]
#[test]
fn a_closed_pipe_is_no_error() {
    for arguments in [&["explain"][..], &["explain", "conv2d", "--device", "cpu"]] {
        let mut program = Command::new(env!("CARGO_BIN_EXE_wgrad"))
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(program.stdout.take());
        let output = program.wait_with_output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{arguments:?}: {}", error(&output));
    }
}

/// The kernels that are shown are those that run: the text is in what a training compiles there.
#[cfg(feature = "gpu")]
#[test]
fn kernels_are_those_that_run() {
    if super::common::gpu().is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let output = super::program::wgrad_with(
        here,
        &[("WGRAD_DUMP", "wgsl"), ("WGRAD_FUSE", "0"), ("WGRAD_JOIN", "0")],
        &["train", "--data", "iris", "--epochs", "1", "--activation", "mish", "--no-pictures"],
    );
    assert!(output.status.success(), "{}", error(&output));
    let compiled = String::from_utf8_lossy(&output.stderr).to_string();
    for name in ["mish", "adam_update"] {
        let shown = &objects(here, &["explain", name, "--json"])[0];
        let kernel = &shown["kernels"][0];
        let (key, text) = (kernel["key"].as_str().unwrap(), kernel["wgsl"].as_str().unwrap());
        // Of an update the number of parameters is part of the text.
        if name == "mish" {
            assert!(compiled.contains(&format!("// {key}\n{text}")), "{key}: {text}");
        } else {
            let formula = text.split("fn adam_fn").nth(1).unwrap().split("\n}").next().unwrap();
            assert!(compiled.contains(formula), "{formula}");
        }
    }
}

#[test]
fn help_is_in_groups() {
    let folder = tempfile::tempdir().unwrap();
    let help = |arguments: &[&str]| stdout(&wgrad(folder.path(), arguments));
    let all = help(&["--help"]);
    for heading in
        ["Training and what comes of it:", "What there is:", "Correctness and speed:", "Environment:"]
    {
        assert!(all.contains(heading), "{heading}: {all}");
    }
    assert!(all.contains("\n  explain   Says what something is"), "{all}");
    let short = help(&["train", "-h"]);
    let headings = [
        "Data:",
        "Tables:",
        "Model:",
        "Loss:",
        "Optimizer and schedule:",
        "Regularization:",
        "Precision and device:",
        "Run and records:",
    ];
    let places: Vec<usize> = headings
        .iter()
        .map(|heading| short.find(&format!("\n{heading}\n")).unwrap_or_else(|| panic!("{heading}: {short}")))
        .collect();
    assert!(places.is_sorted(), "{short}");
    let long = help(&["train", "--help"]);
    for words in ["variable-power=1", "wgrad explain losses", "- best:", "- mixed:"] {
        assert!(long.contains(words), "{words}: {long}");
    }
}
