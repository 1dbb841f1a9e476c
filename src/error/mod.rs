//! The one error type for everything a user can cause.

mod table;

use std::fmt;
use std::path::PathBuf;

pub use table::{DecimalMark, TableError, TableErrorKind};
pub(crate) use table::{listed, table_error};

/// What went wrong, and what to do about it. A panic inside wgrad is a bug of ours, never an answer.
#[non_exhaustive]
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// A mistake made while a graph was recorded; the first one is kept and returned by `compile`.
    #[error("{0}")]
    Recording(Box<RecordingError>),
    /// An input of a step was missing, of another size or type, or held a value outside its range.
    #[error("input `{name}`: {message}")]
    Feed {
        /// Name of the graph's input.
        name: String,
        /// What was wrong.
        message: String,
    },
    /// A name that the graph, the parameters or the device do not have.
    #[error("no {what} named `{name}`; there is {known}")]
    Unknown {
        /// What was looked for: an output, an input, a parameter, a device.
        what: &'static str,
        /// The name given.
        name: String,
        /// The names there are.
        known: String,
    },
    /// A file that could not be read or written.
    #[error("{path}: {message}", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        message: String,
    },
    /// A file whose content makes no sense.
    #[error("{path}: at byte {offset}: {message}", path = path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// Byte offset of the first thing that is wrong, in the uncompressed content.
        offset: u64,
        /// What was wrong.
        message: String,
    },
    /// A saved tensor that holds NaN or an infinity.
    #[error(
        "{path}: tensor `{name}` holds {value} (element {at}), and what is computed from it would be NaN: the run \
         that saved it diverged, or the file is damaged; take an earlier file, or train again with a lower learning rate",
        path = path.display()
    )]
    NotFinite {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// The first such value.
        value: f32,
        /// Its location in the tensor, row-major, from 0.
        at: usize,
    },
    /// A folder that another run writes to.
    #[error(
        "{folder}: {} writes to this folder; wait until its run has ended, or give this run another folder",
        process.map_or_else(|| "another process".to_string(), |id| format!("process {id}")),
        folder = folder.display()
    )]
    Locked {
        /// The folder.
        folder: PathBuf,
        /// The process that has it, where that can be told.
        process: Option<u32>,
    },
    /// A table, such as a CSV file, whose content makes no sense.
    #[error("{0}")]
    Table(Box<TableError>),
    /// A switch of the environment, such as `WGRAD_CHECK`, with a value that it does not take.
    #[error("{variable} is `{value}`; it takes {takes}")]
    Environment {
        /// The variable.
        variable: &'static str,
        /// Its value.
        value: String,
        /// What it takes.
        takes: &'static str,
    },
    /// Data or options that cannot be used together.
    #[error("{0}")]
    Invalid(String),
    /// A training whose loss or weights are not finite any more. [`crate::train::Trainer::check_numerics`] finds the op.
    #[error("{0}")]
    Diverged(String),
    /// No adapter that fits.
    #[error("{0}")]
    Adapter(String),
    /// A tensor or a grid that the adapter cannot hold or run.
    #[error("{0}")]
    Limit(String),
    /// The device has no memory left for what was asked.
    #[error("out of device memory: {0}; use a smaller batch or model, or close what else uses the device")]
    OutOfMemory(String),
    /// A memory budget that a step does not fit, whatever is computed again ([`crate::Device::compile_within`]).
    #[error(
        "the memory budget of {budget} bytes is too small: the intermediate values of this step need at least {least} \
         bytes ({:.2} MiB); raise the budget, or use a smaller batch or model",
        *least as f64 / f64::from(1 << 20)
    )]
    MemoryBudget {
        /// Bytes that were allowed.
        budget: usize,
        /// The fewest bytes that were reached.
        least: usize,
    },
    /// The device was lost or reported an error after the fact.
    #[error("device `{adapter}` failed: {message}")]
    Device {
        /// The adapter's name.
        adapter: String,
        /// What it reported.
        message: String,
    },
    /// An op gave NaN or an infinity ([`crate::Graph::check_numerics`]).
    #[error("{0}")]
    Numerics(Box<NumericsError>),
    /// A kernel disagreed with the reference, or a buffer changed under way (`WGRAD_CHECK=1`).
    #[error("{0}")]
    Check(Box<CheckError>),
}

/// Result with [`enum@Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    pub(crate) fn io(path: impl Into<PathBuf>, error: impl fmt::Display) -> Self {
        Error::Io { path: path.into(), message: error.to_string() }
    }

    pub(crate) fn unknown<'a>(
        what: &'static str,
        name: &str,
        known: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        let list: Vec<String> = known.into_iter().map(|n| format!("`{n}`")).collect();
        let known = if list.is_empty() { "none".to_string() } else { list.join(", ") };
        Error::Unknown { what, name: name.to_string(), known }
    }
}

/// The first mistake made while recording: which op, on which shapes, where.
#[derive(Debug, Clone)]
pub struct RecordingError {
    /// Name of the op.
    pub op: String,
    /// What was wrong.
    pub message: String,
    /// Types of the op's inputs, as text.
    pub inputs: Vec<String>,
    /// The scopes it was recorded in, joined by dots; empty at top level.
    pub scope: String,
    /// The caller's file and line.
    pub location: String,
}

impl fmt::Display for RecordingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.op, self.message)?;
        if !self.inputs.is_empty() {
            write!(f, " (inputs: {})", self.inputs.join(", "))?;
        }
        if !self.scope.is_empty() {
            write!(f, " in `{}`", self.scope)?;
        }
        write!(f, " at {}", self.location)
    }
}

/// What stands for the op where an input is at fault.
pub(crate) const INPUT: &str = "input";

/// The op that gave NaN or an infinity first.
#[derive(Debug, Clone)]
pub struct NumericsError {
    /// The node, as the graph prints it.
    pub node: String,
    /// Name of the op; `input` for what was fed.
    pub op: String,
    /// The scope it was recorded in, as a rule the path of a layer; the name of an input.
    pub scope: String,
    /// The caller's file and line; of a gradient, those of the op that it is the gradient of.
    pub location: String,
    /// Whether it was appended by differentiation.
    pub is_gradient: bool,
    /// The epoch and the step in it, both from 1, where a trainer ran it.
    pub step: Option<(usize, usize)>,
}

impl fmt::Display for NumericsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((epoch, step)) = self.step {
            write!(f, "epoch {epoch}, step {step}: ")?;
        }
        if self.op == INPUT {
            return write!(f, "input `{}` is fed NaN or an infinity ({})", self.scope, self.location);
        }
        let gradient = if self.is_gradient { "in the backward pass, " } else { "" };
        write!(f, "{gradient}op `{}`", self.op)?;
        if !self.scope.is_empty() {
            write!(f, " of `{}`", self.scope)?;
        }
        write!(
            f,
            " gives NaN or an infinity, the first to do so (node {}, recorded at {})",
            self.node, self.location
        )
    }
}

/// What `WGRAD_CHECK=1` found first.
#[derive(Debug, Clone)]
pub struct CheckError {
    /// Whether a kernel or the memory plan is at fault.
    pub kind: CheckKind,
    /// The node, as the graph prints it.
    pub node: String,
    /// Name of the op.
    pub op: String,
    /// The scope the node was recorded in.
    pub scope: String,
    /// The caller's file and line.
    pub location: String,
    /// Numbers that show the fault.
    pub detail: String,
}

/// Which part of the executor a failed check accuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckKind {
    /// The kernel's output differs from the reference on the same inputs.
    Kernel,
    /// An input no longer holds what its producer wrote.
    Memory,
}

impl fmt::Display for CheckError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.kind {
            CheckKind::Kernel => "kernel and reference disagree",
            CheckKind::Memory => "memory plan fault",
        };
        write!(f, "check failed: {what} at {} (op `{}`", self.node, self.op)?;
        if !self.scope.is_empty() {
            write!(f, ", scope `{}`", self.scope)?;
        }
        write!(f, ", recorded at {}): {}", self.location, self.detail)
    }
}
