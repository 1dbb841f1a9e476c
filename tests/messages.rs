//! What is said of tables that make no sense: the place, what is wrong, and options that the command has.
#![cfg(feature = "cli")]
#![allow(missing_docs, clippy::unwrap_used)]

#[path = "common/program.rs"]
mod program;

use std::path::Path;

use program::{error, objects, refused, stdout, wgrad};

const TRAIN: [&str; 7] = ["train", "--device", "cpu", "--epochs", "1", "--no-pictures", "--data"];

fn rows(of: impl Fn(usize) -> String) -> String {
    (0..60).map(of).collect()
}

fn write(here: &Path, name: &str, text: &str) {
    std::fs::write(here.join(name), text).unwrap();
}

#[test]
fn training_is_told_the_options_that_help() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let class = |i: usize| ["a", "b"][i % 2];
    for (name, text, words) in [
        (
            "one.csv",
            format!("x;y\n{}", rows(|i| format!("{i};{}\n", class(i)))),
            "separated by `;`? (--delimiter ';')",
        ),
        ("commas.csv", format!("x;y\n{}", rows(|i| format!("{i},5;{}\n", class(i)))), "line 2: 2 fields"),
        ("tabs.csv", format!("x\ty\n{}", rows(|i| format!("{i}\t{}\n", class(i)))), "(--delimiter tab)"),
        (
            "missing.csv",
            format!("x,y\n{},a\n", rows(|i| format!("{i},{}\n", class(i)))),
            "line 62, column `x`: the value is missing; drop such rows, or fill them with the mean of the training rows \
             (--missing drop, --missing mean)",
        ),
        (
            "target.csv",
            format!("x,y\n{}7,\n", rows(|i| format!("{i},{}\n", class(i)))),
            "column `y`: the target is missing, and a target cannot be filled in; drop such rows (--missing drop)",
        ),
        (
            "word.csv",
            format!("x,y\n{}many,a\n", rows(|i| format!("{i},{}\n", class(i)))),
            "`many` is not a number; correct it, or make the column categorical or ignore it (--categorical, --ignore)",
        ),
        (
            "names.csv",
            format!("x,y\n{}", rows(|i| format!("name {i},a\nwho {i},b\n"))),
            "120 different texts, more than 64: a name or an identifier; ignore the column, or make it categorical by \
             name (--categorical, --ignore)",
        ),
        (
            "comma.csv",
            format!("x,y\n7,a\n{}", rows(|i| format!("\"{i},5\",{}\n", class(i)))),
            "line 3, column `x`: `0,5` is not a number, unless it has a decimal comma",
        ),
    ] {
        write(here, name, &text);
        refused(here, &[&TRAIN[..], &[name]].concat(), 1, words);
    }
    refused(here, &[&TRAIN[..], &["iris", "--augment", "shift=1"]].concat(), 2, "--augment is for images");
    refused(here, &[&TRAIN[..], &["iris", "--delimiter", ";"]].concat(), 2, "--delimiter is for files");
    refused(here, &[&TRAIN[..], &["iris", "--decimal", "comma"]].concat(), 2, "--decimal is for files");
}

#[test]
fn who_asks_a_model_is_told_nothing_of_options_of_training() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    write(here, "rows.csv", &format!("x,y\n{}", rows(|i| format!("{}.5,{}\n", i % 7, ["a", "b"][i % 2]))));
    objects(here, &[&TRAIN[..], &["rows.csv", "--json", "--out", "run"]].concat());
    write(here, "semicolons.csv", "x;y\n1.5;a\n");
    write(here, "missing.csv", "x,y\n,a\n");
    write(here, "target.csv", "x,y\n1.5,\n");
    write(here, "word.csv", "x,y\nmany,a\n");
    write(here, "comma.csv", "x,y\n\"1,5\",a\n");
    std::fs::write(here.join("picture.png"), b"\x89PNG").unwrap();
    let of = "the table that the model was trained on";
    for (name, words) in [
        ("semicolons.csv", format!("fields of {of} are separated by `,`, and so they must be here")),
        ("missing.csv", "the value is missing; the model was trained to take none for an error".into()),
        ("word.csv", "line 2, column `x`: `many` is not a number; correct it, or leave the row out".into()),
        (
            "comma.csv",
            format!(
                "line 2, column `x`: `1,5` is not a number, unless it has a decimal comma; {of} has a decimal point"
            ),
        ),
    ] {
        for args in [&["predict", name][..], &["eval", "--data", name]] {
            let output = wgrad(here, &[args, &["--out", "run", "--device", "cpu"]].concat());
            let text = error(&output);
            assert_eq!(output.status.code(), Some(1), "{args:?}: {text}");
            assert!(text.contains(&words), "{args:?}: {text}");
            assert!(
                !text.contains("--delimiter") && !text.contains("--missing") && !text.contains("--decimal"),
                "{text}"
            );
        }
    }
    let ask = |command: &[&'static str]| [command, &["--out", "run", "--device", "cpu"]].concat();
    refused(
        here,
        &ask(&["eval", "--data", "target.csv"]),
        1,
        "the target is missing, and a target cannot be filled in; fill it in",
    );
    refused(
        here,
        &ask(&["predict", "picture.png"]),
        1,
        "the model takes rows of tables, and picture.png is an image",
    );
    let words = "the model takes rows of tables, and picture.png is an image";
    refused(here, &ask(&["eval", "--data", "picture.png"]), 1, words);
    refused(
        here,
        &[&TRAIN[..], &["picture.png"]].concat(),
        1,
        "`picture.png` is an image, and no data set; give a CSV",
    );
    let quick =
        ["train", "--model", "mlp", "--device", "cpu", "--epochs", "1", "--no-pictures", "--out", "digits"];
    assert!(wgrad(here, &quick).status.success());
    // One that was not named.
    std::fs::create_dir_all(here.join("runs/digits")).unwrap();
    std::fs::copy(here.join("digits/model.safetensors"), here.join("runs/digits/model.safetensors")).unwrap();
    let last = "the model is runs/digits/model.safetensors, the one saved last: name another with --out";
    refused(here, &["predict", "rows.csv", "--device", "cpu"], 1, last);
    let words = "the model takes images, and rows.csv is a table";
    refused(here, &["predict", "rows.csv", "--out", "digits", "--device", "cpu"], 1, words);
    let words = "`picture.png` is an image, and no data set; `wgrad predict` says";
    refused(here, &["eval", "--data", "picture.png", "--out", "digits", "--device", "cpu"], 1, words);
}

/// A budget bounds a training step, and other graphs lie beside it.
#[test]
fn figures_of_memory_say_what_they_are_of() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let train = [&TRAIN[..], &["digits", "--out", "run", "--memory-budget", "4MiB"]].concat();
    let output = wgrad(here, &train);
    let text = stdout(&output);
    assert!(output.status.success(), "{}", error(&output));
    assert!(
        text.contains("at most 4,194,304 bytes for the intermediate values of a training step"),
        "{text}"
    );
    assert!(text.contains("intermediate values of a forward pass, before fusion: 2.25 MiB"), "{text}");
    let number = |before: &str| -> f64 {
        let at = text.find(before).unwrap_or_else(|| panic!("{before}: {text}"));
        text[..at].split_whitespace().last().unwrap().parse().unwrap()
    };
    let (all, step) = (number(" MiB of intermediate values, "), number(" MiB of it in the training step"));
    assert!(step <= 4.0 && step < all, "{step} of {all}");
    let small = [&TRAIN[..], &["digits", "--out", "run", "--memory-budget", "1KiB"]].concat();
    let output = wgrad(here, &small);
    let text = error(&output);
    assert!(
        text.contains("the memory budget of 1024 bytes is too small") && text.contains("at least"),
        "{text}"
    );
}

/// Of one step there is no rate.
#[test]
fn a_single_step_has_no_speed() {
    let folder = tempfile::tempdir().unwrap();
    let one = [&TRAIN[..], &["iris", "--batch", "200", "--validation", "0"]].concat();
    let output = wgrad(folder.path(), &one);
    let text = stdout(&output);
    assert!(output.status.success() && text.contains("s to the first step"), "{text}");
    assert!(!text.contains("steps/s"), "{text}");
}

/// The library speaks to those who call it, who have no options.
#[test]
fn errors_of_the_library_name_no_options_of_the_program() {
    fn sources(folder: &Path, all: &mut Vec<std::path::PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            let path = entry.path();
            match path.is_dir() {
                true if path.ends_with("bin") => {}
                true => sources(&path, all),
                false => all.push(path),
            }
        }
    }
    let mut all = Vec::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut all);
    assert!(all.len() > 100);
    let is_option = |line: &str| {
        let code = line.trim_start();
        let starts = |at: usize| line[at + 2..].starts_with(|c: char| c.is_ascii_lowercase());
        !code.starts_with("//")
            && line.match_indices("--").any(|(at, _)| starts(at) && line[..at].ends_with([' ', '(', '`']))
    };
    for path in all {
        let text = std::fs::read_to_string(&path).unwrap();
        let found: Vec<&str> = text.lines().filter(|line| is_option(line)).collect();
        assert!(found.is_empty(), "{}: {found:?}", path.display());
    }
}
