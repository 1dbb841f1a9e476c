//! Switches from the environment, and what is said on stderr unless they ask otherwise.
#![cfg(feature = "cli")]
#![allow(missing_docs, clippy::unwrap_used)]

#[path = "common/program.rs"]
mod program;

use std::process::Command;

use program::{error, stdout, wgrad_with as with};

const TRAIN: [&str; 7] = ["train", "--data", "iris", "--device", "cpu", "--epochs", "1"];

#[test]
fn switches_that_are_misspelt_are_refused_by_every_command() {
    let folder = tempfile::tempdir().unwrap();
    for (name, value, words) in [
        ("WGRAD_CHECK", "true", "WGRAD_CHECK is `true`; it takes 0 or 1"),
        ("WGRAD_CLASS", "foo", "it takes gpu or software"),
        ("WGRAD_DUMP", "graphs", "it takes graph, passes, plan, wgsl"),
        ("WGRAD_FUSE", "no", "it takes 0 or 1"),
        ("WGRAD_THREADS", "abc", "it takes a number of threads from 1 to 256"),
        ("WGRAD_LOG", "loud", "it takes off, error, warn"),
    ] {
        for args in [&TRAIN[..], &["devices"], &["check", "--device", "cpu", "relu"]] {
            let output = with(folder.path(), &[(name, value)], args);
            assert_eq!((output.status.code(), stdout(&output)), (Some(2), String::new()), "{args:?}");
            let text = error(&output);
            assert!(text.starts_with("error: ") && text.contains(words), "{text}");
        }
    }
    assert!(!folder.path().join("runs").exists());
}

/// A variable that is none is said, and no reason to stop.
#[test]
fn switches_that_do_not_exist_are_named() {
    let folder = tempfile::tempdir().unwrap();
    for (name, words) in [
        ("WGRAD_ADAPTOR", "warning: `WGRAD_ADAPTOR` is no switch of wgrad; is WGRAD_ADAPTER meant?"),
        (
            "WGRAD_PORT_NUMBER",
            "warning: `WGRAD_PORT_NUMBER` is no switch of wgrad; there are WGRAD_ADAPTER, ",
        ),
    ] {
        let output = with(folder.path(), &[(name, "nvidia")], &["devices"]);
        let text = error(&output);
        assert!(output.status.success() && text.starts_with(words), "{text}");
    }
}

#[cfg(feature = "gpu")]
#[test]
fn an_adapter_that_is_not_there_is_missed_by_all_that_would_use_it() {
    let folder = tempfile::tempdir().unwrap();
    let wanted = [("WGRAD_ADAPTER", "no such adapter")];
    for args in [&TRAIN[..3], &["check"], &["bench", "mlp-a"]] {
        let output = with(folder.path(), &wanted, args);
        let text = error(&output);
        assert_eq!(output.status.code(), Some(1), "{args:?}: {text}");
        assert!(
            text.contains("contains `no such adapter`") && text.contains("WGRAD_ADAPTER"),
            "{args:?}: {text}"
        );
    }
    // The CPU is no adapter.
    assert!(with(folder.path(), &wanted, &TRAIN).status.success());
}

#[cfg(feature = "gpu")]
#[test]
fn kernels_that_are_measured_need_a_folder() {
    if wgrad::gpu::adapters().is_empty() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let nowhere = [("WGRAD_TUNE", "nowhere/tuned.json")];
    // Not even where the device is chosen by wgrad: the CPU is no remedy.
    for args in [&["bench", "--device", "gpu", "mlp-a"][..], &["bench", "mlp-a"], &TRAIN[..3]] {
        let output = with(folder.path(), &nowhere, args);
        let text = error(&output);
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.contains("there is no folder nowhere") && !text.contains("--device cpu"), "{text}");
    }
    let output = with(folder.path(), &nowhere, &["devices"]);
    assert!(output.status.success() && error(&output).contains("there is no folder nowhere"));
}

#[test]
fn warnings_are_said_without_being_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let rows: String =
        (0..40).map(|i| format!("{},{}\n", ["red", "blue"][i % 2], ["a", "b"][i % 2])).collect();
    std::fs::write(folder.path().join("rows.csv"), format!("x,y\n{rows}")).unwrap();
    std::fs::write(folder.path().join("more.csv"), "x\nred\ngreen\n").unwrap();
    let train =
        ["train", "--data", "rows.csv", "--device", "cpu", "--epochs", "1", "--no-pictures", "--out", "run"];
    assert!(with(folder.path(), &[], &train).status.success());
    let asked = ["predict", "more.csv", "--device", "cpu", "--out", "run", "--json"];
    let said = |variables: &[(&str, &str)]| {
        let output = with(folder.path(), variables, &asked);
        assert!(output.status.success() && stdout(&output).lines().count() == 2);
        String::from_utf8(output.stderr).unwrap()
    };
    let usual = said(&[]);
    let wanted = "warning: \"green\" is a category that no training row had, and counts as none of theirs (path more.csv, \
                  column x, line 3, rows 1)\n";
    assert!(usual.ends_with(wanted) && !usual.contains('\u{1b}'), "{usual}");
    assert_eq!(said(&[("WGRAD_LOG", "off")]).matches("category").count(), 0);
    let asked_for = said(&[("WGRAD_LOG", "warn")]);
    assert!(asked_for.contains("WARN") && !asked_for.contains('\u{1b}'), "{asked_for}");
}

/// Inputs of which a gradient's op takes the shape alone are no reason to warn.
#[test]
fn what_wgrad_times_by_itself_is_warned_of_by_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let quick = ["--device", "cpu", "--seconds", "0.001", "--repeat", "1", "--json"];
    for workload in ["conv-1-1-4-input-gradient", "conv-1-1-4-weight-gradient"] {
        let output = with(folder.path(), &[], &[&["bench", workload][..], &quick].concat());
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && !text.contains("warning"), "{text}");
    }
}

/// What [`the_library_refuses_switches_too`] runs in a process of its own.
#[test]
#[ignore = "needs WGRAD_CHECK=true"]
fn a_misspelt_switch_is_an_error_of_the_library() {
    use wgrad::{Device, Error, Graph, Result};
    let is_refused = |result: Result<()>| match result {
        Err(Error::Environment { variable, value, takes }) => {
            (variable, value.as_str(), takes) == ("WGRAD_CHECK", "true", "0 or 1")
        }
        _ => false,
    };
    let g = Graph::new();
    g.output("y", g.input("x", [4]) + 1.0);
    assert!(is_refused(Device::cpu().compile(&g).map(drop)));
    #[cfg(feature = "gpu")]
    {
        assert!(is_refused(Device::gpu().map(drop)) && is_refused(Device::named("auto").map(drop)));
        assert!(is_refused(wgrad::gpu::adapters_named("").map(drop)));
    }
}

#[test]
fn the_library_refuses_switches_too() {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--ignored", "--exact", "a_misspelt_switch_is_an_error_of_the_library"]);
    let output = command.env("WGRAD_CHECK", "true").output().unwrap();
    let text = stdout(&output);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

#[test]
fn every_switch_is_in_the_help_and_the_readme() {
    let folder = tempfile::tempdir().unwrap();
    let help = stdout(&with(folder.path(), &[], &["--help"]));
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    for switch in &wgrad::SWITCHES {
        assert!(readme.contains(&format!("| `{}", switch.name)), "{}", switch.name);
        assert_eq!(help.contains(switch.name), switch.name != "WGRAD_REQUIRE_GPU", "{}", switch.name);
    }
}
