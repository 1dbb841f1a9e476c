//! From a recording to a plan, by a list of passes.
//!
//! Each pass takes what the one before left and a [`Target`]. `WGRAD_DUMP=passes` prints what each leaves.

use super::{CompileOptions, Plan, Precision, fuse, mixed, recompute, simplify};
use crate::error::Result;
use crate::graph::{Recording, Source};
use crate::op::{AdapterClass, Caps, KernelContext, Program};
use crate::shape::{DType, TensorType};

/// What a recording is lowered for.
pub(crate) struct Target<'a> {
    pub(crate) executor: Executes<'a>,
    pub(crate) options: CompileOptions,
}

/// What runs the plan.
pub(crate) enum Executes<'a> {
    /// The CPU: formulas, node by node, in slots of one type each.
    Formulas,
    /// A GPU: kernels, in slots of bytes.
    Kernels {
        caps: &'a Caps,
        /// Whether nodes are rewritten and fused.
        fuses: bool,
        /// Whether launches are joined.
        joins: bool,
        /// What kernels may rely on once it is known which of them a recording asks for: trials find their fastest forms.
        tuned: Option<&'a dyn Fn(&Recording) -> Caps>,
    },
}

/// What the passes hand on.
pub(super) struct Draft {
    pub(super) recording: Recording,
    /// By node, its kernels; empty until they are chosen, and for the CPU.
    pub(super) programs: Vec<Program>,
    /// By value, whether it is stored in 16 bits; empty where none is.
    pub(super) in_f16: Vec<bool>,
}

type Pass = fn(Draft, &Target<'_>) -> Result<Draft>;

/// All of them, in order. Values that do not fit are computed again before anything is fused: a kernel must not begin in
/// the forward pass and end in the backward pass. Simplifying comes before that, because it makes some values needless in
/// the backward pass, and again after it, because copies are simplified too.
const PASSES: [(&str, Pass); 6] = [
    ("simplify", simplified),
    ("recompute", recomputed),
    ("simplify again", simplified),
    ("fuse", fused),
    ("choose kernels", with_kernels),
    ("store f16", with_f16),
];

/// Plans a recording for a target.
///
/// # Errors
/// A limit of the adapter, or [`crate::Error::MemoryBudget`].
pub(crate) fn lower(recording: Recording, target: &Target<'_>) -> Result<Plan> {
    let dumps = crate::env::dumps("passes");
    let mut draft = Draft { recording, programs: Vec::new(), in_f16: Vec::new() };
    for (name, pass) in PASSES {
        draft = pass(draft, target)?;
        if dumps {
            eprintln!("after `{name}`:\n{}", draft.recording);
        }
    }
    Ok(placed(draft, target))
}

/// The last passes: small launches are joined, and every value gets its place in memory.
fn placed(draft: Draft, target: &Target<'_>) -> Plan {
    match target.executor {
        Executes::Formulas => Plan { in_f16: draft.in_f16, ..Plan::of_formulas(draft.recording) },
        Executes::Kernels { caps, joins, .. } => Plan::of_kernels(draft, joins.then_some(caps)),
    }
}

fn simplified(mut draft: Draft, target: &Target<'_>) -> Result<Draft> {
    if let Executes::Kernels { fuses: true, .. } = target.executor {
        simplify::simplify(&mut draft.recording);
    }
    Ok(draft)
}

fn recomputed(draft: Draft, target: &Target<'_>) -> Result<Draft> {
    let Some(budget) = target.options.memory_budget else { return Ok(draft) };
    // What the passes that follow make of it. No form of a kernel needs more memory than another, so that none is tried.
    let executor = match target.executor {
        Executes::Formulas => Executes::Formulas,
        Executes::Kernels { caps, fuses, joins, .. } => Executes::Kernels { caps, fuses, joins, tuned: None },
    };
    let rest = Target { executor, options: CompileOptions { memory_budget: None, ..target.options } };
    let planned = |r: &Recording| Ok(lower(r.clone(), &rest)?.planned_bytes());
    Ok(Draft { recording: recompute::within(draft.recording, budget, planned)?, ..draft })
}

fn fused(draft: Draft, target: &Target<'_>) -> Result<Draft> {
    Ok(match target.executor {
        Executes::Kernels { caps, fuses: true, .. } => {
            Draft { recording: fuse::fuse(draft.recording, caps), ..draft }
        }
        _ => draft,
    })
}

fn with_kernels(draft: Draft, target: &Target<'_>) -> Result<Draft> {
    let Executes::Kernels { caps, tuned, .. } = target.executor else { return Ok(draft) };
    let found = tuned.map(|tuned| tuned(&draft.recording));
    let caps = found.as_ref().unwrap_or(caps);
    let programs = (0..draft.recording.nodes.len()).map(|n| program(&draft.recording, n, caps));
    Ok(Draft { programs: programs.collect::<Result<_>>()?, ..draft })
}

/// The kernels of a node; none for a constant, which is computed when the graph is compiled.
fn program(r: &Recording, n: usize, caps: &Caps) -> Result<Program> {
    let node = &r.nodes[n];
    if node.inputs.is_empty() && node.op.writes() == 0 {
        return Ok(Program::default());
    }
    let types = |ids: &[u32]| -> Vec<TensorType> { ids.iter().map(|&v| r.values[v as usize].ty).collect() };
    let (inputs, outputs) = (types(&node.inputs), types(&node.outputs));
    node.op.dispatch(&KernelContext::new(caps, &inputs, &outputs))
}

fn with_f16(mut draft: Draft, target: &Target<'_>) -> Result<Draft> {
    if target.options.precision != Precision::Mixed {
        return Ok(draft);
    }
    match target.executor {
        Executes::Formulas => {
            // As on a GPU, what kernels from outside touch stays as it is.
            let is_foreign = |n: usize| {
                let program = program(&draft.recording, n, &Caps::default_of(AdapterClass::Gpu));
                program.is_ok_and(|p| p.dispatches.iter().any(|d| !d.kernel.trusted))
            };
            draft.in_f16 = mixed::choose_f16(&draft.recording, is_foreign);
        }
        Executes::Kernels { .. } => store_f16(&mut draft),
    }
    Ok(draft)
}

/// Gives values and kernels the form of mixed precision.
fn store_f16(draft: &mut Draft) {
    let Draft { recording, programs, in_f16 } = draft;
    let node = |r: &Recording, n: usize, is_f16: &dyn Fn(u32) -> bool| {
        let of = |ids: &[u32]| ids.iter().map(|&v| is_f16(v)).collect::<Vec<bool>>();
        (of(&r.nodes[n].inputs), of(&r.nodes[n].outputs))
    };
    // A kernel that can store all its floats so can store any.
    let refuses = |n: usize| {
        let is_float = |v: u32| {
            let value = &recording.values[v as usize];
            value.ty.dtype == DType::F32 && !matches!(value.source, Source::State { .. })
        };
        let (inputs, outputs) = node(recording, n, &is_float);
        programs[n].clone().with_f16(&inputs, &outputs).is_none()
    };
    *in_f16 = mixed::choose_f16(recording, refuses);
    for (n, program) in programs.iter_mut().enumerate() {
        let (inputs, outputs) = node(recording, n, &|v| in_f16[v as usize]);
        if let Some(stored) = program.clone().with_f16(&inputs, &outputs) {
            *program = stored;
        }
    }
    for (value, &is_f16) in recording.values.iter_mut().zip(&*in_f16) {
        if is_f16 {
            value.ty.store_f16();
        }
    }
}
