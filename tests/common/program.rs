//! What the tests of the program share.
#![allow(dead_code, missing_docs, unreachable_pub, clippy::unwrap_used)]

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

pub fn wgrad(folder: &Path, args: &[&str]) -> Output {
    wgrad_with(folder, &[], args)
}

/// The same with variables of the environment.
pub fn wgrad_with(folder: &Path, variables: &[(&str, &str)], args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wgrad"));
    let variables = variables.iter().copied();
    command.args(args).current_dir(folder).env_remove("WGRAD_LOG").envs(variables).output().unwrap()
}

/// The weights and states of a file without what they say of their run, as files of earlier versions and from elsewhere are.
pub fn forget_the_run(path: &Path) {
    let content = std::fs::read(path).unwrap();
    let file = safetensors::SafeTensors::deserialize(&content).unwrap();
    let (_, header) = safetensors::SafeTensors::read_metadata(&content).unwrap();
    let metadata = header.metadata().clone().unwrap_or_default();
    let kept = metadata.into_iter().filter(|(key, _)| !key.starts_with("user.") && key != "records");
    let bytes = safetensors::serialize(file.tensors(), Some(kept.collect())).unwrap();
    std::fs::write(path, bytes).unwrap();
}

pub fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// The last line of stderr: drivers say things before it.
pub fn error(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).lines().last().unwrap_or_default().to_string()
}

/// The JSON objects that a successful command prints.
#[track_caller]
pub fn objects(folder: &Path, args: &[&str]) -> Vec<Value> {
    let output = wgrad(folder, args);
    assert!(output.status.success(), "{args:?}: {}", error(&output));
    stdout(&output).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A command that must fail with this code, and words of its one line.
#[track_caller]
pub fn refused(folder: &Path, args: &[&str], code: i32, words: &str) {
    let output = wgrad(folder, args);
    let text = String::from_utf8_lossy(&output.stderr).to_string();
    assert_eq!(output.status.code(), Some(code), "{args:?}: {text}");
    assert!(text.contains(words), "{args:?}: {text}");
    assert!(text.contains("error: ") && !text.contains("panicked"), "{args:?}: {text}");
    assert_eq!(stdout(&output), "", "{args:?}");
}

/// On the CPU device.
pub mod on_cpu {
    use std::path::Path;
    use std::process::Output;

    use serde_json::Value;

    pub fn wgrad(folder: &Path, args: &[&str]) -> Output {
        super::wgrad(folder, &[args, &["--device", "cpu"]].concat())
    }

    /// All that it printed.
    pub fn text(output: &Output) -> String {
        String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).to_string()
    }

    /// The JSON objects that a successful command prints.
    #[track_caller]
    pub fn objects(folder: &Path, args: &[&str]) -> Vec<Value> {
        super::objects(folder, &[args, &["--device", "cpu", "--json"]].concat())
    }

    /// A command that must fail with this code, and words of what it says; training may have said other things before.
    #[track_caller]
    pub fn refused(folder: &Path, args: &[&str], code: i32, words: &str) {
        let output = wgrad(folder, args);
        let text = text(&output);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {text}");
        assert!(text.contains(words) && !text.contains("panicked"), "{args:?}: {text}");
    }
}
