//! Switches from the environment: all in one place, and refused where they are misspelt.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::sync::Once;

use crate::error::{Error, Result};
use crate::names::nearest;

/// Threads of the CPU device.
pub(crate) const MOST_THREADS: usize = 256;

/// A variable of the environment that wgrad reads.
#[derive(Debug)]
pub struct Switch {
    /// The variable.
    pub name: &'static str,
    /// What it does, for a list.
    pub meaning: &'static str,
    /// What it takes.
    values: &'static str,
    takes: fn(&str) -> bool,
}

const DUMPS: [&str; 4] = ["graph", "passes", "plan", "wgsl"];

fn is_threads(value: &str) -> bool {
    value.trim().parse().is_ok_and(|n: usize| (1..=MOST_THREADS).contains(&n))
}

/// Levels, and targets of which something can come: others would silence all.
fn is_filter(value: &str) -> bool {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    value.split(',').map(str::trim).all(|part| {
        part.contains(['=', '['])
            || LEVELS.contains(&part.to_lowercase().as_str())
            || ["wgrad", "wgpu", "naga"].iter().any(|target| part.starts_with(target))
    })
}

fn zero_or_one(value: &str) -> bool {
    matches!(value, "0" | "1")
}

/// All of them.
pub const SWITCHES: [Switch; 10] = [
    Switch {
        name: "WGRAD_ADAPTER",
        meaning: "part of the name of the adapter to use, of its API or its driver",
        values: "part of an adapter's name",
        takes: |_| true,
    },
    Switch {
        name: "WGRAD_CLASS",
        meaning: "gpu or software: the kernels meant for that class of adapter",
        values: "gpu or software",
        takes: |value| matches!(value, "gpu" | "software"),
    },
    Switch {
        name: "WGRAD_THREADS",
        meaning: "threads of the CPU device; else as many as the process may run at once",
        values: "a number of threads from 1 to 256",
        takes: is_threads,
    },
    Switch {
        name: "WGRAD_CHECK",
        meaning: "1 compares every kernel with the CPU while it runs, and stops at the first difference",
        values: "0 or 1",
        takes: zero_or_one,
    },
    Switch {
        name: "WGRAD_TUNE",
        meaning: "a file that keeps which kernels are the fastest on this GPU; tries those it does not know",
        values: "a file",
        takes: |_| true,
    },
    Switch {
        name: "WGRAD_FUSE",
        meaning: "0 gives each op a kernel of its own",
        values: "0 or 1",
        takes: zero_or_one,
    },
    Switch {
        name: "WGRAD_JOIN",
        meaning: "0 gives each kernel a launch of its own",
        values: "0 or 1",
        takes: zero_or_one,
    },
    Switch {
        name: "WGRAD_DUMP",
        meaning: "prints what is compiled: graph, passes, plan, wgsl, or several with commas",
        values: "graph, passes, plan, wgsl, or several of them with commas",
        takes: |value| value.split(',').all(|word| DUMPS.contains(&word.trim())),
    },
    Switch {
        name: "WGRAD_LOG",
        meaning: "logs of the program to stderr: off, error, warn, info, debug, trace, or a filter",
        values: "off, error, warn, info, debug, trace, or a filter such as wgrad=debug",
        takes: is_filter,
    },
    Switch {
        name: "WGRAD_REQUIRE_GPU",
        meaning: "1 lets tests fail instead of skipping where there is no adapter",
        values: "0 or 1",
        takes: zero_or_one,
    },
];

/// Those of scripts.
const OTHERS: [&str; 4] = ["WGRAD_PEERS", "WGRAD_PROGRAM", "WGRAD_SHADERS", "WGRAD_SWIFTSHADER"];

/// Refuses a switch with a value that it does not take: what was asked for would silently not happen. Warns once of
/// variables that look like switches and are none.
///
/// # Errors
/// [`Error::Environment`] with the variable, its value and what it takes.
pub fn check() -> Result<()> {
    static UNKNOWN: Once = Once::new();
    let all: Vec<_> =
        std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("WGRAD_")).collect();
    for (name, value) in &all {
        if let Some(switch) = SWITCHES.iter().find(|switch| name == switch.name) {
            switch.check(value)?;
        }
    }
    UNKNOWN.call_once(|| {
        let is_known =
            |name: &OsStr| SWITCHES.iter().map(|s| s.name).chain(OTHERS).any(|known| name == known);
        for (name, _) in all.iter().filter(|(name, _)| !is_known(name)) {
            let name = name.to_string_lossy();
            match nearest(&name, SWITCHES.iter().map(|switch| switch.name)) {
                Some(meant) => tracing::warn!("`{name}` is no switch of wgrad; is {meant} meant?"),
                None => {
                    let names = SWITCHES.map(|switch| switch.name).join(", ");
                    tracing::warn!("`{name}` is no switch of wgrad; there are {names}");
                }
            }
        }
    });
    Ok(())
}

impl Switch {
    fn check(&self, value: &OsStr) -> Result<()> {
        let is_path = self.name == "WGRAD_TUNE";
        match value.to_str() {
            // As good as unset, for scripts.
            Some("") => Ok(()),
            Some(text) if (self.takes)(text) => Ok(()),
            None if is_path => Ok(()),
            _ => Err(Error::Environment {
                variable: self.name,
                value: value.to_string_lossy().into_owned(),
                takes: self.values,
            }),
        }
    }
}

/// What `WGRAD_THREADS` asks for.
///
/// # Errors
/// [`Error::Environment`] where it is not a number of threads.
pub(crate) fn threads() -> Result<Option<usize>> {
    let name = "WGRAD_THREADS";
    let Some(value) = std::env::var_os(name).filter(|value| !value.is_empty()) else { return Ok(None) };
    SWITCHES.iter().filter(|switch| switch.name == name).try_for_each(|switch| switch.check(&value))?;
    Ok(value.to_str().and_then(|text| text.trim().parse().ok()))
}

/// Whether `WGRAD_DUMP` asks for `what`.
pub(crate) fn dumps(what: &str) -> bool {
    debug_assert!(DUMPS.contains(&what), "{what}");
    std::env::var("WGRAD_DUMP").is_ok_and(|v| v.split(',').any(|w| w.trim() == what))
}

/// The adapter that `WGRAD_ADAPTER` names by a part of its name.
pub fn adapter() -> Option<String> {
    std::env::var("WGRAD_ADAPTER").ok().filter(|name| !name.is_empty())
}

/// The file of `WGRAD_TUNE`.
#[cfg_attr(not(feature = "gpu"), allow(dead_code))]
pub(crate) fn tuned() -> Option<PathBuf> {
    std::env::var_os("WGRAD_TUNE").filter(|file| !file.is_empty()).map(PathBuf::from)
}

/// Whether a switch is set to something other than 0.
#[cfg_attr(not(feature = "gpu"), allow(dead_code))]
pub(crate) fn is_set(name: &str) -> bool {
    std::env::var(name).is_ok_and(|v| !v.is_empty() && v != "0")
}

/// Whether a switch that is on by default is set to 0.
#[cfg_attr(not(feature = "gpu"), allow(dead_code))]
pub(crate) fn is_off(name: &str) -> bool {
    std::env::var(name).is_ok_and(|v| v == "0")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_taken_or_refused_with_what_is_taken() {
        let check = |name: &str, value: &str| {
            let switch = SWITCHES.iter().find(|switch| switch.name == name).unwrap();
            switch.check(value.as_ref()).map_err(|error| error.to_string())
        };
        for (name, values) in [
            ("WGRAD_CHECK", &["0", "1", ""][..]),
            ("WGRAD_CLASS", &["gpu", "software"]),
            ("WGRAD_THREADS", &["1", " 8 ", "256"]),
            ("WGRAD_DUMP", &["graph", "plan, wgsl", "passes"]),
            ("WGRAD_FUSE", &["0", "1"]),
            ("WGRAD_JOIN", &["0", "1"]),
            ("WGRAD_ADAPTER", &["llvm"]),
            ("WGRAD_LOG", &["off", "debug", "wgrad=debug", "warn,wgpu_core=info", "wgrad::gpu"]),
        ] {
            assert!(values.iter().all(|value| check(name, value).is_ok()), "{name}");
        }
        for (name, value, words) in [
            ("WGRAD_CHECK", "true", "WGRAD_CHECK is `true`; it takes 0 or 1"),
            ("WGRAD_CLASS", "foo", "takes gpu or software"),
            ("WGRAD_THREADS", "0", "from 1 to 256"),
            ("WGRAD_THREADS", "257", "from 1 to 256"),
            ("WGRAD_DUMP", "graph,foo", "several of them with commas"),
            ("WGRAD_FUSE", "no", "takes 0 or 1"),
            ("WGRAD_LOG", "wran", "such as wgrad=debug"),
        ] {
            let text = check(name, value).unwrap_err();
            assert!(text.contains(words), "{text}");
        }
    }

    #[test]
    fn names_that_are_nearly_those_of_switches_are_recognized() {
        for (name, meant) in [
            ("WGRAD_ADAPTOR", Some("WGRAD_ADAPTER")),
            ("WGRAD_THREAD", Some("WGRAD_THREADS")),
            ("WGRAD_CHCEK", Some("WGRAD_CHECK")),
            ("WGRAD_DEVICE", None),
        ] {
            assert_eq!(nearest(name, SWITCHES.iter().map(|switch| switch.name)), meant, "{name}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn bytes_that_are_no_text_are_refused_but_in_a_path() {
        use std::os::unix::ffi::OsStrExt;
        let bytes = OsStr::from_bytes(b"\xff");
        let refused: Vec<&str> =
            SWITCHES.iter().filter(|s| s.check(bytes).is_err()).map(|s| s.name).collect();
        assert_eq!(refused.len(), SWITCHES.len() - 1);
    }
}
