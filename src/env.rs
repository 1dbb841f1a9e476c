//! Switches from the environment; the README lists them.

/// Whether `WGRAD_DUMP` asks for `what` (`graph`, `passes`, `plan` or `wgsl`; several are separated by commas).
pub(crate) fn dumps(what: &str) -> bool {
    std::env::var("WGRAD_DUMP").is_ok_and(|v| v.split(',').any(|w| w.trim() == what))
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
