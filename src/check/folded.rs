//! Grids that are folded into two dimensions, as those of huge tensors are.

use std::collections::HashSet;

use super::{Report, check_cases};
use crate::error::{Error, Result};
use crate::gpu::Gpu;
use crate::ops::{Case, KernelContext, Program};
use crate::shape::TensorType;

/// Pretended limits of workgroups a dimension. Few numbers of workgroups fill a grid that is folded by a prime.
const LIMITS: [u32; 3] = [3, 5, 11];

/// As [`super::check_gpu`], with a pretended small limit of workgroups a dimension, of one case for each kernel whose grid is
/// folded by it: as if its tensors were huge.
pub fn check_gpu_cases_folded(gpu: &Gpu, cases: &[Case], mut progress: impl FnMut(usize, usize)) -> Report {
    let info = crate::backend::Backend::info(gpu);
    let mut report = Report { device: info, ops: Vec::new(), failures: Vec::new(), skipped: Vec::new() };
    let mut seen: HashSet<String> = HashSet::new();
    for (i, limit) in LIMITS.into_iter().enumerate() {
        let folded = gpu.with_max_workgroups(limit);
        let is_new = |case: &&Case| {
            let Ok(program) = program_of(&folded, case) else { return false };
            let folded = program.dispatches.iter().filter(|d| d.grid[1] > 1);
            let new = folded.filter(|d| seen.insert(d.kernel.key.clone())).count();
            new > 0
        };
        let chosen: Vec<Case> = cases.iter().filter(is_new).cloned().collect();
        let part = check_cases(&folded, &chosen, false, |done, of| {
            let of = of.max(1);
            progress(i * of + done, LIMITS.len() * of);
        });
        for op in part.ops {
            match report.ops.iter_mut().find(|o| o.op == op.op) {
                Some(known) => {
                    known.cases += op.cases;
                    known.failures += op.failures;
                    known.worst = known.worst.max(op.worst);
                }
                None => report.ops.push(op),
            }
        }
        report.failures.extend(part.failures);
        report.skipped.extend(part.skipped);
    }
    report
}

/// What a case dispatches on a GPU, before anything is stored in 16 bits.
///
/// # Errors
/// Where the adapter cannot run it.
pub(crate) fn program_of(gpu: &Gpu, case: &Case) -> Result<Program> {
    let inputs: Vec<TensorType> = case.inputs.iter().map(|(ty, _)| *ty).collect();
    let outputs = case.op.infer(&inputs).map_err(Error::Invalid)?;
    case.op.dispatch(&KernelContext::new(gpu.caps(), &inputs, &outputs))
}
