//! Texts: trained on, tested, and written on.

use std::path::Path;

use serde_json::Value;

use super::program::{error, objects, refused, stdout, wgrad};

/// A text of some thousand characters that a small model learns at once.
fn song(folder: &Path) {
    let line = "Row, row, row your boat,\r\nGently down the stream.\r\n";
    std::fs::write(folder.join("song.txt"), line.repeat(60)).unwrap();
}

const QUICK: [&str; 9] = ["train", "--device", "cpu", "--hidden", "32", "--batch", "4", "--context", "16"];

/// So many epochs of a small model, on the song unless another file is named.
fn train(folder: &Path, epochs: &str, extra: &[&str]) -> Vec<Value> {
    let data: &[&str] = if extra.contains(&"--data") { &[] } else { &["--data", "song.txt"] };
    objects(folder, &[&QUICK[..], data, &["--json", "--epochs", epochs], extra].concat())
}

#[test]
fn a_text_is_learnt_tested_and_written_on() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    song(here);
    let lines = train(here, "6", &["--dropout", "0"]);
    let last = &lines[6];
    assert_eq!(
        (&last["model"], &last["data"], &last["hidden"][0]),
        (&"char-lstm".into(), &"song.txt".into(), &32.into())
    );
    let number = |value: &Value| value.as_f64().unwrap();
    let bits = number(&last["test_bits"]);
    assert!(bits < 1.5 && number(&lines[0]["validation_bits"]) > bits, "{last}");
    assert!((number(&last["test_perplexity"]).log2() - bits).abs() < 1e-5, "{last}");
    // N-grams know such a text by heart.
    assert!(number(&last["ngram_bits"]) < 0.1 && number(&last["ngram_order"]) > 2.0, "{last}");
    let eval = &objects(here, &["eval", "--device", "cpu", "--json"])[0];
    for key in ["test_bits", "test_loss", "test_accuracy", "ngram_bits", "model", "data"] {
        assert_eq!(eval[key], last[key], "{key}");
    }
    // The same text elsewhere is tested as before, and another as a whole.
    std::fs::copy(here.join("song.txt"), here.join("copy.txt")).unwrap();
    let run = ["--out", "runs/song-char-lstm", "--device", "cpu", "--json"];
    let copy = &objects(here, &[&["eval", "--data", "copy.txt"], &run[..]].concat())[0];
    assert_eq!((&copy["test_bits"], &copy["symbols"]), (&last["test_bits"], &eval["symbols"]));
    std::fs::write(here.join("more.txt"), "Gently down the stream.\n".repeat(20)).unwrap();
    let more = &objects(here, &[&["eval", "--data", "more.txt"], &run[..]].concat())[0];
    assert_eq!((&more["symbols"], &more["ngram_bits"]), (&464.into(), &Value::Null));
    let text = stdout(&wgrad(here, &["eval", "--device", "cpu"]));
    assert!(
        text.contains("bits per symbol") && text.contains("n-grams of up to") && text.contains("an LSTM"),
        "{text}"
    );

    let write = |extra: &[&str]| {
        objects(here, &[&["predict", "--device", "cpu", "--json"], extra].concat()).remove(0)
    };
    let one = write(&["--prompt", "Row, row", "--length", "30", "--seed", "3"]);
    assert_eq!(one["text"].as_str().unwrap().chars().count(), 30);
    assert_eq!(one, write(&["--prompt", "Row, row", "--length", "30", "--seed", "3"]));
    let greedy =
        write(&["--prompt", "Row, row, row your boat,\nGently d", "--length", "8", "--temperature", "0"]);
    assert_eq!(greedy["text"], "own the ", "{greedy}");
    let top =
        write(&["--prompt", "Gently d", "--length", "8", "--top-k", "1", "--top-p", "0.5", "--seed", "9"]);
    assert_eq!(top["text"], "own the ", "{top}");
    let shown = stdout(&wgrad(here, &["predict", "--device", "cpu", "--prompt", "Row", "--length", "20"]));
    assert!(shown.starts_with("Row") && shown.trim_end_matches('\n').chars().count() <= 23, "{shown:?}");
    // What the model does not know is said, and left out.
    let output = wgrad(here, &["predict", "--device", "cpu", "--prompt", "Röw", "--length", "5"]);
    assert!(output.status.success() && stdout(&output).starts_with("Rw"), "{}", error(&output));
    assert!(String::from_utf8_lossy(&output.stderr).contains("'ö'"));
    assert_eq!(write(&["--prompt", "Röw", "--length", "5"])["unknown"], serde_json::json!(["ö"]));
    assert_eq!(write(&["--length", "5"])["prompt"], Value::Null);
}

#[test]
fn all_kinds_and_bytes_go_through_every_command() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    song(here);
    for (model, extra) in [
        ("char-gru", &["--depth", "2"][..]),
        ("char-transformer", &["--heads", "2", "--depth", "1", "--activation", "gelu"]),
        ("char-lstm", &["--unit", "bytes", "--precision", "mixed", "--out", "bytes"]),
    ] {
        let lines = train(here, "3", &[&["--model", model, "--label-smoothing", "0.05"], extra].concat());
        let last = lines.last().unwrap();
        assert!(last["test_bits"].as_f64().unwrap() < 4.6, "{last}");
        let out = last["out"].as_str().unwrap();
        let eval = &objects(here, &["eval", "--device", "cpu", "--json", "--out", out])[0];
        assert_eq!((&eval["test_bits"], &eval["model"]), (&last["test_bits"], &model.into()));
        let written =
            objects(here, &["predict", "--device", "cpu", "--json", "--out", out, "--length", "40"]);
        assert!(!written[0]["text"].as_str().unwrap().is_empty());
        let curves = here.join(out).join("curves.svg");
        #[cfg(feature = "plots")]
        assert!(std::fs::read_to_string(&curves).unwrap().contains("bits"));
        assert!(!here.join(out).join("confusion.svg").exists(), "{curves:?}");
    }
    // The rate test and the profile take texts as well.
    let found = objects(
        here,
        &[
            "lr-find",
            "--data",
            "song.txt",
            "--batch",
            "4",
            "--hidden",
            "16",
            "--context",
            "16",
            "--steps",
            "20",
            "--device",
            "cpu",
            "--json",
            "--no-pictures",
        ],
    );
    assert!(found[0]["losses"].as_array().unwrap().len() > 3);
}

#[test]
fn runs_on_texts_are_resumed_to_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    song(here);
    for (model, heads) in [("char-lstm", &[][..]), ("char-transformer", &["--heads", "4"])] {
        // With one rate, so that the epochs of both are alike.
        let kind = |out| [&["--model", model, "--schedule", "constant", "--out", out][..], heads].concat();
        train(here, "2", &kind("parts"));
        let rest = objects(
            here,
            &["train", "--resume", "--epochs", "6", "--out", "parts", "--device", "cpu", "--json"],
        );
        let constant = train(here, "6", &kind("constant"));
        assert_eq!((rest.len(), constant.len()), (5, 7));
        for (a, b) in rest.iter().zip(&constant[2..]) {
            for key in ["train_loss", "validation_bits", "test_loss", "test_bits", "context", "heads"] {
                assert_eq!(a[key], b[key], "{model} {key}");
            }
        }
        let resume = ["train", "--resume", "--out", "parts", "--device", "cpu"];
        refused(here, &[&resume[..], &["--hidden", "64"]].concat(), 2, "of another model");
        refused(here, &[&resume[..], &["--unit", "bytes"]].concat(), 2, "another --unit");
    }
    std::fs::write(here.join("song.txt"), "la la la\n".repeat(400)).unwrap();
    refused(
        here,
        &["train", "--resume", "--out", "parts", "--device", "cpu"],
        1,
        "not the text that the run began with",
    );
}

#[test]
fn what_does_not_go_together_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    song(here);
    let usage = |args: &[&str], words: &str| refused(here, &[args, &["--device", "cpu"]].concat(), 2, words);
    usage(&["train", "--data", "iris", "--model", "char-lstm"], "for texts, and `iris` is none");
    usage(
        &["train", "--data", "song.txt", "--model", "mlp"],
        "--model char-lstm, char-gru or char-transformer",
    );
    usage(&["train", "--data", "alice", "--model", "cnn"], "`alice` is a text");
    usage(&["train", "--data", "song.txt", "--channels", "8"], "--channels is for a cnn or resnet");
    usage(&["train", "--data", "song.txt", "--hidden", "8,8"], "one width");
    usage(&["train", "--data", "song.txt", "--heads", "2"], "--heads is for a char-transformer");
    usage(&["train", "--data", "song.txt", "--validation", "10"], "--validation is for rows");
    usage(&["train", "--data", "song.txt", "--target", "x"], "--task auto reads it as a table");
    usage(&["train", "--data", "song.txt", "--augment"], "for images");
    usage(&["train", "--data", "alice", "--model", "char-transformer", "--hidden", "32"], "--heads 5");
    usage(&["train", "--context", "8"], "--context is for a text");
    usage(&["train", "--data", "digits", "--task", "text"], "`digits` is no text");
    let fails = |args: &[&str], words: &str| refused(here, &[args, &["--device", "cpu"]].concat(), 1, words);
    std::fs::write(here.join("latin.txt"), b"caf\xe9 ".repeat(300)).unwrap();
    fails(&["train", "--data", "latin.txt"], "at byte 3: 0xe9 is not UTF-8");
    std::fs::write(here.join("empty.txt"), "").unwrap();
    fails(&["train", "--data", "empty.txt"], "is empty");
    std::fs::write(here.join("short.txt"), "too short to learn from").unwrap();
    fails(&["train", "--data", "short.txt"], "(--context, --batch)");
    fails(&["train", "--data", "nowhere.txt"], "no such file");
    // A file .txt may be a table, and any file a text.
    let rows: String = (0..60).map(|i| format!("{};{}\n", i % 7, i % 2)).collect();
    std::fs::write(here.join("rows.txt"), format!("x;y\n{rows}")).unwrap();
    let table =
        ["train", "--task", "classification", "--delimiter", ";", "--data", "rows.txt", "--epochs", "1"];
    let made = objects(here, &[&table[..], &["--device", "cpu", "--json"]].concat());
    assert_eq!(made.last().unwrap()["model"], "mlp");
    usage(&["predict", "--prompt", "a"], "for models of texts, and runs/rows-mlp/model.safetensors is none");
    std::fs::copy(here.join("song.txt"), here.join("song.md")).unwrap();
    train(here, "1", &["--data", "song.md", "--task", "text"]);
    let predict = ["predict", "--out", "runs/song-char-lstm"];
    usage(&[&predict[..], &["--prompt", ""]].concat(), "one character at least");
    usage(&[&predict[..], &["--prompt", "ßß"]].concat(), "knows none of the characters");
    usage(&[&predict[..], &["--rows", "3"]].concat(), "takes no --rows");
    usage(&[&predict[..], &["image.png"]].concat(), "takes no files");
    usage(&[&predict[..], &["--temperature", "-1"]].concat(), "--temperature");
    usage(&[&predict[..], &["--top-p", "2"]].concat(), "--top-p");
    usage(&[&predict[..], &["--top-k", "0"]].concat(), "--top-k");
    fails(
        &["eval", "--out", "runs/song-char-lstm", "--data", "alice"],
        "a model that was trained with --unit bytes",
    );
    fails(&["eval", "--out", "runs/rows-mlp", "--data", "alice"], "is a text");
}
