//! The program, run as a user runs it.
#![cfg(feature = "cli")]
#![allow(missing_docs, clippy::unwrap_used)]

mod activations;
#[cfg(feature = "gpu")]
#[path = "../common/mod.rs"]
mod common;
mod explain;
mod norms;
mod optimizers;
#[path = "../common/program.rs"]
mod program;
mod resumed;
mod text;
mod watched;

use std::path::Path;
use std::process::Command;

use program::{error, objects, refused, stdout, wgrad};
use serde_json::Value;

const QUICK: [&str; 7] = ["train", "--device", "cpu", "--epochs", "2", "--hidden", "16"];

#[test]
fn devices_are_listed() {
    let folder = tempfile::tempdir().unwrap();
    let output = wgrad(folder.path(), &["devices"]);
    assert!(output.status.success());
    assert!(stdout(&output).contains("ndarray"), "{}", stdout(&output));
    let list = objects(folder.path(), &["devices", "--json"]);
    assert_eq!(list[0]["name"], "cpu");
    for device in list {
        for key in ["name", "backend", "driver", "type", "class"] {
            assert!(device[key].is_string(), "{device}");
        }
    }
}

#[test]
fn training_prints_json_and_leaves_files_that_eval_reads() {
    let folder = tempfile::tempdir().unwrap();
    let lines = objects(folder.path(), &[&QUICK[..], &["--json", "--seed", "3"]].concat());
    assert_eq!(lines.len(), 3);
    for (i, line) in lines[..2].iter().enumerate() {
        assert_eq!((line["epoch"].as_u64(), line["epochs"].as_u64()), (Some(i as u64 + 1), Some(2)));
        for key in
            ["train_loss", "train_accuracy", "validation_loss", "validation_accuracy", "samples_per_second"]
        {
            assert!(line[key].as_f64().is_some_and(|x| x > 0.0), "{key}: {line}");
        }
    }
    let last = &lines[2];
    for key in ["train_seconds", "first_step_seconds", "steps_per_second", "test_loss"] {
        assert!(last[key].as_f64().is_some_and(|x| x > 0.0), "{key}: {last}");
    }
    let accuracy = last["test_accuracy"].as_f64().unwrap();
    assert!(accuracy > 0.5, "{last}");
    assert_eq!((last["adapter"].as_str(), last["seed"].as_u64()), (Some("cpu"), Some(3)));
    assert!(last["backend"].is_string());
    assert_eq!(last["steps"], 2 * 1293u32.div_ceil(32));

    let run = folder.path().join("runs/digits-mlp");
    let file: Value = serde_json::from_str(&std::fs::read_to_string(run.join("run.json")).unwrap()).unwrap();
    assert_eq!(file["settings"]["hidden"], serde_json::json!([16]));
    assert_eq!(file["result"]["test_accuracy"], accuracy);

    let eval = &objects(folder.path(), &["eval", "--device", "cpu", "--json"])[0];
    assert_eq!(eval["test_accuracy"], accuracy);
    assert_eq!(eval["test_loss"], last["test_loss"]);
    assert_eq!((&eval["model"], &eval["widths"]), (&Value::from("mlp"), &serde_json::json!([16])));
    let trace: u64 = (0..10).map(|c| eval["confusion"][c][c].as_u64().unwrap()).sum();
    assert_eq!(trace, (accuracy * 360.0).round() as u64);
    // Alone, elsewhere, without run.json.
    std::fs::copy(run.join("model.safetensors"), folder.path().join("alone.safetensors")).unwrap();
    let output = wgrad(folder.path(), &["eval", "--device", "cpu", "--model-file", "alone.safetensors"]);
    let text = stdout(&output);
    assert!(output.status.success() && text.contains(&format!("{:.2} %", accuracy * 100.0)), "{text}");
    assert!(text.contains("64 → 16 → 10") && text.contains("taken for"), "{text}");
}

#[cfg(feature = "plots")]
#[test]
fn a_run_leaves_pictures() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("here");
    let files = ["curves.svg", "confusion.svg", "mistakes.svg", "filters.svg"];
    let train = [&QUICK[..], &["--out", "here", "--json"]].concat();
    let last = objects(folder.path(), &train).pop().unwrap();
    let named: Vec<&str> = last["pictures"].as_array().unwrap().iter().map(|p| p.as_str().unwrap()).collect();
    assert_eq!(named, files.map(|f| format!("here/{f}")));
    let read = |file: &str| std::fs::read_to_string(run.join(file)).unwrap();
    assert!(files.iter().all(|file| read(file).contains("<svg")));
    let right = (last["test_accuracy"].as_f64().unwrap() * 360.0).round();
    assert!(read("confusion.svg").contains(&format!("{right} of 360 right")));
    assert!(read("curves.svg").contains("kept: epoch 2"));
    assert_eq!(read("mistakes.svg").matches("said ").count(), 24.min(360 - right as usize));
    assert!(read("filters.svg").contains("16 filters, 8 × 8"));
    let last =
        objects(folder.path(), &[&QUICK[..], &["--json", "--no-pictures", "--out", "bare"]].concat()).pop();
    assert_eq!(last.unwrap()["pictures"], serde_json::json!([]));
    assert!(!folder.path().join("bare/curves.svg").exists());
}

#[test]
fn training_tells_a_reader_what_it_does() {
    let folder = tempfile::tempdir().unwrap();
    let output = wgrad(folder.path(), &[&QUICK[..], &["--out", "here", "--dropout", "0"]].concat());
    let text = stdout(&output);
    assert!(output.status.success(), "{}", error(&output));
    for words in [
        "cpu",
        "1,293 rows to train on",
        "fc1",
        "epoch 1/2",
        "epoch 2/2",
        "test accuracy",
        "model.safetensors",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    assert!(!text.contains('\u{1b}'), "no colours where no terminal is: {text}");
    assert!(folder.path().join("here/model.safetensors").exists());
}

/// An 8-bit grey PNG.
fn write_png(path: &Path, width: usize, pixels: &[u8]) {
    let file = std::fs::File::create(path).unwrap();
    let mut encoder = png::Encoder::new(file, width as u32, (pixels.len() / width) as u32);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.write_header().unwrap().write_image_data(pixels).unwrap();
}

#[test]
fn a_cnn_is_trained_evaluated_and_asked() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let settings = ["--device", "cpu", "--epochs", "4", "--channels", "6,8", "--clip-norm", "5"];
    let lines = objects(here, &[&["train"][..], &settings, &["--json", "--augment", "shift=1"]].concat());
    let last = lines.last().unwrap();
    assert_eq!((&last["model"], &last["augment"]), (&Value::from("cnn"), &Value::from("shift=1")));
    assert_eq!((&last["clip_norm"], &last["stopped_early"]), (&Value::from(5.0), &Value::from(false)));
    let accuracy = last["test_accuracy"].as_f64().unwrap();
    assert!(accuracy > 0.6, "{last}");
    let eval = &objects(here, &["eval", "--device", "cpu", "--json"])[0];
    assert_eq!((eval["test_accuracy"].as_f64(), &eval["model"]), (Some(accuracy), &Value::from("cnn")));

    let rows = objects(here, &["predict", "--rows", "0..360", "--device", "cpu", "--json"]);
    let right = rows.iter().filter(|r| r["class"] == r["truth"]).count();
    assert_eq!(right, (accuracy * 360.0).round() as usize);
    let sum: f64 = rows[7]["probabilities"].as_array().unwrap().iter().map(|p| p.as_f64().unwrap()).sum();
    assert!((sum - 1.0).abs() < 1e-5, "{sum}");

    // The same digit as a file, and ten times as large in dark on light.
    let (_, test) = wgrad::data::digits().unwrap();
    let pixels: Vec<u8> = test.row(3).unwrap().iter().map(|&v| (v * 255.0) as u8).collect();
    write_png(&here.join("three.png"), 8, &pixels);
    let large: Vec<u8> = (0..6400).map(|i| 255 - pixels[i / 800 * 8 + i % 80 / 10]).collect();
    write_png(&here.join("paper.png"), 80, &large);
    let asked = objects(here, &["predict", "three.png", "paper.png", "--device", "cpu", "--json"]);
    assert_eq!(asked.len(), 2);
    for answer in &asked {
        assert_eq!(answer["class"], rows[3]["class"], "{answer}");
        let off = answer["probability"].as_f64().unwrap() - rows[3]["probability"].as_f64().unwrap();
        assert!(off.abs() < 0.05, "{answer} {}", rows[3]);
    }
    assert!(asked[1]["input"].as_str().unwrap().contains("inverted"));
    let output = wgrad(here, &["predict", "--device", "cpu"]);
    let text = stdout(&output);
    assert!(output.status.success() && text.contains('█') && text.contains("test row 4: a "), "{text}");

    refused(here, &["predict", "--rows", "360"], 1, "has 360 test rows");
    refused(here, &["predict", "nothing.png"], 1, "nothing.png");
    std::fs::write(here.join("text.png"), "no image").unwrap();
    refused(here, &["predict", "text.png"], 1, "not a PNG image");
    // A header that promises 2,000,000 x 2,000,000 pixels.
    let mut huge = std::fs::read(here.join("three.png")).unwrap();
    huge[16..24].copy_from_slice(&[0, 0x1e, 0x84, 0x80, 0, 0x1e, 0x84, 0x80]);
    let crc = huge[12..29].iter().fold(u32::MAX, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 * (crc & 1)))
    });
    huge[29..33].copy_from_slice(&(!crc).to_be_bytes());
    std::fs::write(here.join("huge.png"), huge).unwrap();
    refused(here, &["predict", "huge.png"], 1, "an image of 2000000 x 2000000 pixels");
}

#[test]
fn a_residual_network_is_trained_stopped_early_and_resumed() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let train =
        ["train", "--model", "resnet", "--channels", "4,6", "--device", "cpu", "--json", "--lr", "0.02"];
    let early = ["--epochs", "60", "--patience", "1", "--schedule", "step", "--augment", "none"];
    let lines = objects(here, &[&train[..], &early].concat());
    let last = lines.last().unwrap();
    assert!(last["stopped_early"] == true && lines.len() < 61, "{last}");
    assert_eq!((&last["step_every"], &last["depth"]), (&Value::from(20), &Value::from(1)));
    let again = objects(here, &["train", "--model", "resnet", "--resume", "--device", "cpu", "--json"]);
    assert_eq!((again.len(), &again[0]["test_accuracy"]), (1, &last["test_accuracy"]));
    let eval = &objects(here, &["eval", "--device", "cpu", "--json"])[0];
    assert_eq!((&eval["test_loss"], &eval["widths"]), (&last["test_loss"], &serde_json::json!([4, 6])));
}

#[test]
fn patience_keeps_the_best_weights() {
    let folder = tempfile::tempdir().unwrap();
    let train = ["train", "--data", "iris", "--epochs", "2", "--device", "cpu", "--no-pictures", "--json"];
    for (extra, keep) in
        [(&[][..], "last"), (&["--patience", "2"], "best"), (&["--patience", "2", "--keep", "last"], "last")]
    {
        let last = objects(folder.path(), &[&train[..], extra].concat()).pop().unwrap();
        assert_eq!(last["keep"], keep, "{extra:?}");
    }
}

/// Where a GPU is asked for in vain, `auto` says so and goes on; `gpu` does not.
#[test]
fn auto_falls_back_to_the_cpu_and_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let run = |device: &str| {
        Command::new(env!("CARGO_BIN_EXE_wgrad"))
            .args(["train", "--epochs", "1", "--device", device])
            .current_dir(folder.path())
            // Where the loaders look for drivers of Vulkan and GL.
            .envs(
                ["VK_DRIVER_FILES", "VK_ICD_FILENAMES", "__EGL_VENDOR_LIBRARY_FILENAMES"]
                    .map(|v| (v, "/none")),
            )
            .output()
            .unwrap()
    };
    let output = run("auto");
    let text = stdout(&output);
    assert!(output.status.success());
    assert!(text.lines().next().unwrap().contains("the CPU, as there is nothing else"), "{text}");
    let output = run("gpu");
    assert_eq!(output.status.code(), Some(1));
    assert!(error(&output).starts_with("error: "), "{}", error(&output));
}

#[test]
fn mistakes_are_one_line_and_an_exit_code() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    refused(here, &["train", "--data", "nope"], 1, "no data set `nope`; there are `digits`");
    refused(here, &["train", "--device", "cpu", "--data", "."], 1, "a file is missing");
    refused(here, &["train", "--device", "no such device"], 1, "`cpu` is always there");
    refused(here, &["train", "--device", "cpu", "--validation", "1437"], 1, "leaves none to train on");
    refused(here, &["eval", "--model-file", "nope.safetensors"], 1, "nope.safetensors");
    refused(here, &["eval", "--device", "cpu"], 1, "model.safetensors");
    std::fs::write(here.join("broken.safetensors"), [7; 40]).unwrap();
    refused(here, &["eval", "--model-file", "broken.safetensors"], 1, "not a safetensors file");
    std::fs::create_dir(here.join("file")).unwrap();
    std::fs::write(here.join("file/taken"), "").unwrap();
    refused(here, &["train", "--device", "cpu", "--out", "file/taken/run", "--json"], 1, "file/taken");
    for arguments in [
        &["train", "--epochs", "0"][..],
        &["train", "--batch", "0"],
        &["train", "--lr", "-1"],
        &["train", "--dropout", "1"],
        &["train", "--hidden", "8,0"],
        &["train", "--optimizer", "magic"],
        &["train", "--augment", "blur=3"],
        &["train", "--model", "cnn", "--hidden", "8"],
        &["train", "--model", "mlp", "--channels", "8"],
        &["train", "--depth", "2", "--model", "cnn"],
        &["train", "--model", "resnet18", "--channels", "8"],
        &["train", "--model", "resnet18", "--depth", "2"],
        &["train", "--schedule", "cosine", "--step-every", "3"],
        &["predict", "--rows", "5..4"],
        &["eval", "--out", "a", "--model-file", "b"],
        &["bench", "--seconds", "0"],
        &["bench", "--repeat", "0"],
        &["bench", "mlp-z"],
        &["bench", "sizes-magic"],
        &["bench", "growth-"],
        &["bench", "growth-m"],
        &["bench", "conv-3-4-5-k2"],
        &["bench", "matmul-9000"],
        &["bench", "--roofline", "sizes"],
        &["profile", "mlp-z"],
        &["profile", "mlp-a", "--data", "iris"],
        &["profile", "conv64", "--trace", "x.json"],
        &["profile", "--runs", "0"],
        &["paint"],
    ] {
        refused(here, arguments, 2, "");
    }
    let output = wgrad(here, &["train", "--device", "cpu", "--lr", "1e9", "--optimizer", "sgd", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(error(&output).contains("lower the learning rate"), "{}", error(&output));
}

#[test]
fn derivatives_are_checked_without_a_gpu() {
    let folder = tempfile::tempdir().unwrap();
    let report = &objects(folder.path(), &["check", "--device", "cpu", "--json"])[0];
    assert_eq!((&report["adapter"], &report["failures"]), (&Value::from("reference"), &Value::from(0)));
    assert!(report["cases"].as_u64().unwrap() > 100 && report["derivatives"].as_u64().unwrap() > 1000);
    refused(folder.path(), &["check", "--device", "cpu", "reloo"], 1, "no op is named `reloo`");
}

#[cfg(feature = "gpu")]
#[test]
fn kernels_are_checked_on_every_adapter() {
    let folder = tempfile::tempdir().unwrap();
    let adapters = objects(folder.path(), &["devices", "--json"]).len() - 1;
    if adapters == 0 {
        assert!(!std::env::var("WGRAD_REQUIRE_GPU").is_ok_and(|v| v == "1"), "no adapter");
        println!("SKIPPED: no adapter");
        refused(folder.path(), &["check"], 1, "no GPU adapter");
        return;
    }
    // All ops are compared by tests/kernels.rs, and their derivatives by src/cases/tests.rs.
    let reports =
        objects(folder.path(), &["check", "--json", "softmax", "layer_norm", "max_pool2d", "argmax"]);
    assert_eq!(reports.len(), 1 + adapters);
    for report in &reports[1..] {
        assert_eq!(report["failures"], 0, "{}", report["failed"]);
        assert!(report["worst"].as_f64().unwrap() <= 1.0 && report["cases"].as_u64().unwrap() > 20);
        assert!(report["skipped"].is_u64());
    }
    let text = stdout(&wgrad(folder.path(), &["check", "--device", "auto", "argmax", "relu"]));
    assert!(text.contains("argmax") && text.contains("relu ") && text.contains("all passed"), "{text}");
    assert!(!text.contains("matmul"), "{text}");
}

#[test]
fn predict_shows_what_test_rows_there_are() {
    let folder = tempfile::tempdir().unwrap();
    let row = |i: usize| format!("{},{},{}\n", i, 20 - i, if i < 10 { "low" } else { "high" });
    let table = (0..20).fold("a,b,kind\n".to_string(), |all, i| all + &row(i));
    std::fs::write(folder.path().join("few.csv"), table).unwrap();
    let data = ["--data", "few.csv", "--target", "kind", "--device", "cpu"];
    let train =
        [&["train", "--epochs", "1", "--test-fraction", "0.1", "--out", "run", "--no-pictures"], &data[..]]
            .concat();
    let output = wgrad(folder.path(), &train);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let rows = objects(folder.path(), &["predict", "--out", "run", "--device", "cpu", "--json"]);
    assert!(!rows.is_empty() && rows.len() < 5, "{rows:?}");
}
