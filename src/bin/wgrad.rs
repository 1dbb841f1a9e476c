//! The command line: lists devices, trains, evaluates, and checks every kernel.

mod cli;

use std::process::ExitCode;
use std::time::Instant;

fn main() -> ExitCode {
    cli::main(Instant::now())
}
