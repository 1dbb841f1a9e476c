//! `--activation` and `--init`.

use serde_json::Value;

use super::program::{error, objects, refused, stdout, wgrad};

/// One epoch each, of few batches.
const SHORT: [&str; 8] = ["train", "--device", "cpu", "--epochs", "1", "--batch", "256", "--no-pictures"];

#[test]
fn a_run_with_another_activation_is_evaluated_predicted_and_resumed() {
    for (model, activation, init) in [
        ("mlp", "maxout=3", "he-normal"),
        ("mlp", "swiglu", "orthogonal=1.5"),
        ("cnn", "prelu", "xavier-uniform"),
        ("resnet", "swish-learned", "lecun-normal"),
        ("cnn", "rrelu", "he-uniform"),
        ("mlp", "leaky-relu=0.2", "normal=0.1"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let widths = if model == "mlp" { "--hidden" } else { "--channels" };
        let own = ["--model", model, widths, "8", "--activation", activation, "--init", init, "--json"];
        let lines = objects(folder.path(), &[&SHORT[..], &own].concat());
        let tested = &lines[1]["test_loss"];
        assert!(tested.is_f64(), "{activation}: {lines:?}");
        let run = folder.path().join(format!("runs/digits-{model}/run.json"));
        let file: Value = serde_json::from_str(&std::fs::read_to_string(run).unwrap()).unwrap();
        let named = file["settings"]["activation"].as_str().unwrap();
        assert!(named.starts_with(activation), "{named}");
        assert_eq!(file["settings"]["init"], init);

        let eval = &objects(folder.path(), &["eval", "--device", "cpu", "--json"])[0];
        assert_eq!(&eval["test_loss"], tested, "{activation}");
        assert_eq!(eval["widths"], serde_json::json!([8]));
        let output = wgrad(folder.path(), &["predict", "--rows", "3", "--device", "cpu"]);
        assert!(output.status.success(), "{activation}: {}", error(&output));

        let resume =
            ["train", "--resume", "--model", model, "--epochs", "2", "--device", "cpu", "--no-pictures"];
        let again = objects(folder.path(), &[&resume[..], &["--json"]].concat());
        assert_eq!(again[0]["epoch"], 2, "{activation}: {again:?}");
        let other = [&resume[..], &["--activation", "tanh"]].concat();
        refused(folder.path(), &other, 2, "began with another --activation");
    }
}

#[test]
fn names_that_are_none_are_answered() {
    let folder = tempfile::tempdir().unwrap();
    let said = |more: &[&str], words: &str| refused(folder.path(), &[&SHORT[..], more].concat(), 2, words);
    said(&["--activation", "prelou"], "did you mean `prelu`?");
    said(&["--init", "he-norml"], "did you mean `he-normal`?");
    said(&["--model", "cnn", "--activation", "glu"], "is for an mlp");
    let output = wgrad(folder.path(), &[&SHORT[..], &["--hidden", "8", "--activation", "mish"]].concat());
    assert!(stdout(&output).contains("activation mish"), "{}", stdout(&output));
}
