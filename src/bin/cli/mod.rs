//! Commands, and what they share: output, errors, devices.

mod advice;
mod augment;
mod bench;
mod bench_precision;
mod bench_roofline;
mod bench_rows;
mod bench_sweeps;
mod bench_table;
mod check;
mod data;
mod data_name;
mod devices;
mod eval;
mod explain;
mod file_kind;
mod log;
mod loss;
mod lr_find;
mod model;
mod network;
mod picture;
mod pictures;
mod predict;
mod profile;
mod progress;
mod run_file;
mod schedule;
mod settings;
mod table;
mod text;
mod train;
mod train_report;
mod train_watch;
mod watched;
mod with_trainer;
mod write;

use std::fmt::{self, Display};
use std::io::Write;
use std::process::ExitCode;
use std::time::Instant;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use wgrad::train::Scores;
use wgrad::{Device, DeviceInfo, Error};

/// Trains neural networks with WGSL compute shaders, on a GPU or the CPU.
#[derive(Debug, Parser)]
#[command(
    name = "wgrad",
    version,
    after_help = environment()
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// What the help says at its end.
fn environment() -> String {
    let of_program = wgrad::SWITCHES.iter().filter(|switch| switch.name != "WGRAD_REQUIRE_GPU");
    let lines: Vec<String> = of_program.map(|s| format!("  {:<13}  {}", s.name, s.meaning)).collect();
    format!("Environment:\n{}\n\nExit codes: 0 done, 1 failed, 2 wrong usage.", lines.join("\n"))
}

#[derive(Debug, Subcommand)]
enum Command {
    Train(Box<train::Args>),
    LrFind(Box<lr_find::Args>),
    Eval(eval::Args),
    Predict(predict::Args),
    Explain(explain::Args),
    Devices(devices::Args),
    Check(check::Args),
    Bench(bench::Args),
    Profile(Box<profile::Args>),
}

/// Commands under their headings.
const GROUPS: [(&str, &[&str]); 3] = [
    ("Training and what comes of it", &["train", "lr-find", "eval", "predict"]),
    ("What there is", &["explain", "devices"]),
    ("Correctness and speed", &["check", "bench", "profile"]),
];

/// The command line, whose help has the commands in groups: clap has headings for options alone.
fn command() -> clap::Command {
    let command = Cli::command();
    let line = |name: &&str| {
        let about = command.find_subcommand(name).and_then(|command| command.get_about());
        format!("  {name:<9} {}", about.map(ToString::to_string).unwrap_or_default())
    };
    let group = |(heading, names): &(&str, &[&str])| {
        let lines: Vec<String> = names.iter().map(line).collect();
        format!("{heading}:\n{}", lines.join("\n"))
    };
    let groups: Vec<String> = GROUPS.iter().map(group).collect();
    let template = format!(
        "{{about-with-newline}}\n{{usage-heading}} {{usage}}\n\n{}\n\nOptions:\n{{options}}{{after-help}}",
        groups.join("\n\n")
    );
    command.help_template(template)
}

/// What ends a command: one line for the user, and the exit code.
#[derive(Debug)]
pub(crate) struct Failure {
    message: String,
    code: u8,
}

impl Failure {
    /// Something went wrong.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Failure { message: message.into(), code: 1 }
    }

    /// With more at its end.
    pub(crate) fn and(mut self, more: &str) -> Self {
        self.message.push_str(more);
        self
    }

    /// The arguments do not fit together.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Failure { message: message.into(), code: 2 }
    }
}

impl Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // One line, whatever a driver had to say.
        let words: Vec<&str> = self.message.split_whitespace().collect();
        f.write_str(&words.join(" "))
    }
}

/// Result of a command.
pub(crate) type Outcome<T = ()> = Result<T, Failure>;

/// Parses the arguments and runs the command. `started` is when the process began.
pub(crate) fn main(started: Instant) -> ExitCode {
    if std::env::var_os("RUST_BACKTRACE").is_none() {
        std::panic::set_hook(Box::new(|bug| eprintln!("error: a bug in wgrad, please report it: {bug}")));
    }
    let cli = match command().try_get_matches().and_then(|matches| Cli::from_arg_matches(&matches)) {
        Ok(cli) => cli,
        Err(error) => {
            // A closed pipe is no reason to fail: nobody reads it.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(2) } else { ExitCode::SUCCESS };
        }
    };
    let outcome = log::start().and_then(|()| match cli.command {
        Command::Devices(args) => devices::run(&args),
        Command::Train(args) => train::run(&args, started),
        Command::Eval(args) => eval::run(&args),
        Command::Predict(args) => predict::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Profile(args) => profile::run(&args),
        Command::LrFind(args) => lr_find::run(&args),
        Command::Explain(args) => explain::run(&args),
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let _ = writeln!(std::io::stderr(), "error: {failure}");
            ExitCode::from(failure.code)
        }
    }
}

/// Prints a line. Where nobody reads it any more, work goes on without it.
pub(crate) fn say(line: impl Display) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// A number with a comma between thousands.
pub(crate) fn thousands(n: f64) -> String {
    let digits = format!("{:.0}", n.max(0.0));
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A share as a percentage.
pub(crate) fn percent(share: f64) -> String {
    format!("{:.2} %", 100.0 * share)
}

/// A metric for a reader, shortly: accuracies in percent, R² by its name.
pub(crate) fn measured(name: &str, value: f64) -> String {
    match name {
        "accuracy" => percent(value),
        "r2" => format!("R² {value:.3}"),
        "bits" => format!("{value:.3} bits"),
        _ => format!("{name} {}", rounded(value)),
    }
}

/// What a test came to: metrics, then the loss.
pub(crate) fn tested(scores: &Scores) -> String {
    let one = |(name, value): &(String, f64)| match name.as_str() {
        "accuracy" => format!("accuracy {}", percent(*value)),
        "r2" => measured(name, *value),
        "bits" => format!("{} bits per symbol", rounded(*value)),
        "perplexity" => format!("perplexity {}", rounded(*value)),
        _ => format!("{} {}", name.to_uppercase(), rounded(*value)),
    };
    let all: Vec<String> = scores.metrics.iter().map(one).collect();
    format!("{} (loss {:.4})", all.join(", "), scores.loss)
}

/// Five digits that count.
pub(crate) fn rounded(x: f64) -> String {
    let digits = if x == 0.0 || !x.is_finite() { 0 } else { 4 - x.abs().log10().floor() as i32 };
    match digits {
        0..=12 => format!("{x:.*}", digits as usize),
        -12..0 => format!("{x:.0}"),
        _ => format!("{x:.4e}"),
    }
}

/// Columns under their headings; the last is not padded.
pub(crate) fn table<const N: usize>(headings: &[&str; N], rows: &[[String; N]]) -> String {
    let width = |k: usize| {
        let cells = rows.iter().map(|row| row[k].chars().count());
        cells.chain([headings[k].chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..N).map(width).collect();
    let line = |cells: &[&str]| -> String {
        let padded = cells.iter().zip(&widths).map(|(cell, &width)| format!("{cell:<width$}"));
        padded.collect::<Vec<_>>().join("  ").trim_end().to_string()
    };
    let body = rows.iter().map(|row| line(&row.each_ref().map(String::as_str)));
    [line(headings)].into_iter().chain(body).collect::<Vec<_>>().join("\n")
}

/// Opens a device by name. The second part says why `auto` found no GPU.
pub(crate) fn open(name: &str) -> Outcome<(Device, Option<String>)> {
    match name {
        "auto" => match Device::gpu() {
            Ok(device) => Ok((device, None)),
            // Who names an adapter does not mean the CPU, and what is wrong beside adapters is not mended by it.
            Err(Error::Adapter(reason)) if wgrad::wanted_adapter().is_none() => {
                Ok((Device::cpu(), Some(reason)))
            }
            Err(error) => Err(error.into()),
        },
        "cpu" => Ok((Device::cpu(), None)),
        "gpu" => match Device::gpu() {
            Ok(device) => Ok((device, None)),
            Err(error @ Error::Adapter(_)) => {
                Err(Failure::new(format!("{error}; --device cpu is always there")))
            }
            Err(error) => Err(error.into()),
        },
        other => match Device::named(other) {
            Ok(device) => Ok((device, None)),
            Err(error) => Err(Failure::new(format!("{error}; `cpu` is always there"))),
        },
    }
}

/// Every GPU, or those that `WGRAD_ADAPTER` names.
#[cfg(feature = "gpu")]
pub(crate) fn gpus() -> Outcome<Vec<wgrad::gpu::Gpu>> {
    let wanted = wgrad::wanted_adapter();
    wgrad::gpu::adapters_named(wanted.as_deref().unwrap_or_default()).map_err(|error| match wanted {
        Some(_) => Failure::new(format!("{error}; WGRAD_ADAPTER asks for it")),
        None => error.into(),
    })
}

/// Says which device is used, and why it is no GPU where that was not asked for.
pub(crate) fn say_device(info: &DeviceInfo, no_gpu: Option<&str>) {
    match no_gpu {
        // The advice to use the CPU is taken already.
        Some(reason) => {
            let reason = reason.trim_end_matches(", or use the CPU");
            say(format!("device      the CPU, as there is nothing else: {reason}"));
        }
        None if info.kind == "Cpu" => {
            say(format!("device      {info}: a software adapter, so that --device cpu may be faster"));
        }
        None => say(format!("device      {info}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        command().debug_assert();
    }

    #[test]
    fn every_command_is_in_a_group() {
        let mut grouped: Vec<&str> = GROUPS.iter().flat_map(|(_, names)| *names).copied().collect();
        let command = command();
        let mut all: Vec<&str> = command.get_subcommands().map(|command| command.get_name()).collect();
        grouped.sort_unstable();
        all.sort_unstable();
        assert_eq!(grouped, all);
        let help = command.clone().render_help().to_string();
        for (heading, names) in GROUPS {
            let rest = help.split_once(&format!("\n{heading}:\n")).unwrap().1;
            // Each with what it does.
            assert!(
                names
                    .iter()
                    .all(|name| rest.contains(&format!("\n  {name}"))
                        || rest.starts_with(&format!("  {name}")))
            );
        }
    }

    /// Every option of training stands under a heading, and its line in the short help is one.
    #[test]
    fn every_option_of_training_has_a_heading_and_a_line() {
        let command = command();
        let train = command.find_subcommand("train").unwrap();
        let mut headings: Vec<&str> = Vec::new();
        for argument in train.get_arguments() {
            let name = argument.get_id().as_str();
            let heading = argument.get_help_heading().unwrap_or_else(|| panic!("--{name} has no heading"));
            if headings.last() != Some(&heading) {
                headings.push(heading);
            }
            let line = argument.get_help().map(ToString::to_string).unwrap_or_default();
            assert!((10..=125).contains(&line.chars().count()), "--{name}: {line}");
        }
        headings.sort_unstable();
        headings.dedup();
        assert_eq!(headings.len(), 8, "{headings:?}");
    }

    #[test]
    fn numbers_are_grouped() {
        let grouped = [0.4, 999.0, 1000.0, 1234567.0].map(thousands);
        assert_eq!(grouped, ["0", "999", "1,000", "1,234,567"]);
        assert_eq!(percent(0.92777), "92.78 %");
    }

    #[test]
    fn failures_are_one_line() {
        assert_eq!(Failure::new("a\n  b\tc").to_string(), "a b c");
    }
}
