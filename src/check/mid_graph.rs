//! Ops in the middle of a graph: what they read is computed, what they give is scaled before a loss, gradients flow
//! through them, and the step runs three times.

use std::collections::HashSet;

use super::{Failure, OpReport, Report, case_inputs, program_of};
use crate::error::{Error, Result};
use crate::gpu::Gpu;
use crate::graph::{Graph, Init, Param, Params, Var};
use crate::ops::Case;
use crate::rng::Rng;
use crate::shape::{DType, TensorType};
use crate::tensor::{Data, Tensor};
use crate::{Device, Step};

/// Runs that are compared: what an earlier one leaves in memory must not matter to a later one.
const RUNS: usize = 3;

/// One case for each kernel of the ops, in the middle of a graph. Every kernel of the graph, fused ones and those of the
/// backward pass among them, is compared with the reference on what it read, in each of three runs
/// ([`Gpu::checked`]); then the same step runs unwatched, and must give the bits of the watched one each time.
pub fn check_gpu_cases_mid_graph(
    gpu: &Gpu,
    cases: &[Case],
    mut progress: impl FnMut(usize, usize),
) -> Report {
    let info = crate::backend::Backend::info(gpu);
    let mut report = Report { device: info, ops: Vec::new(), failures: Vec::new(), skipped: Vec::new() };
    let mut seen: HashSet<String> = HashSet::new();
    for (i, case) in cases.iter().enumerate() {
        progress(i, cases.len());
        let Ok(program) = program_of(gpu, case) else { continue };
        let new = program.dispatches.iter().filter(|d| seen.insert(d.kernel.key.clone())).count();
        if new == 0 || case.inputs.is_empty() {
            continue;
        }
        let failure =
            |message: String| Failure { op: case.op.name().to_string(), case: case.name.clone(), message };
        let message = match compare(gpu, case) {
            Ok(message) => message,
            // What an adapter excludes, and indices that a user cannot feed.
            Err(error @ (Error::Limit(_) | Error::Feed { .. })) => {
                report.skipped.push(failure(error.to_string()));
                continue;
            }
            Err(error) => Some(error.to_string()),
        };
        let name = case.op.name();
        let at = report.ops.iter().position(|o| o.op == name).unwrap_or_else(|| {
            report.ops.push(OpReport { op: name.to_string(), ..OpReport::default() });
            report.ops.len() - 1
        });
        report.ops[at].cases += 1;
        report.ops[at].failures += usize::from(message.is_some());
        report.failures.extend(message.map(failure));
    }
    progress(cases.len(), cases.len());
    report
}

/// What is wrong, if anything is.
fn compare(gpu: &Gpu, case: &Case) -> Result<Option<String>> {
    let mut watched = Vec::new();
    for (gpu, is_watched) in [(gpu.checked(), true), (gpu.clone(), false)] {
        let device = Device::from(gpu);
        let (mut step, names) = compile(&device, case)?;
        for run in 0..RUNS {
            step.run()?;
            let outputs: Vec<Tensor> =
                names.iter().map(|name| step.read(name)?.wait()).collect::<Result<_>>()?;
            if is_watched {
                watched.push(outputs);
            } else if let Some(at) = outputs.iter().zip(&watched[run]).position(|(a, b)| !is_same(a, b)) {
                return Ok(Some(format!(
                    "mid-graph, run {}: output `{}` has other bits than where each kernel runs apart",
                    run + 1,
                    names[at]
                )));
            }
        }
    }
    Ok(None)
}

fn is_same(a: &Tensor, b: &Tensor) -> bool {
    match (a.data(), b.data()) {
        (Data::F32(a), Data::F32(b)) => a.iter().map(|x| x.to_bits()).eq(b.iter().map(|x| x.to_bits())),
        (a, b) => a == b,
    }
}

/// The step, fed, and the names of its outputs.
fn compile(device: &Device, case: &Case) -> Result<(Step, Vec<String>)> {
    let inputs = case_inputs(case);
    let reads = inputs.len() - case.op.writes();
    let name = |i: usize| format!("x{i}");
    let params = Params::seeded(0);
    let g = Graph::new();
    let mut vars: Vec<Var<'_>> = Vec::new();
    let mut fed: Vec<Var<'_>> = Vec::new();
    for (i, tensor) in inputs[..reads].iter().enumerate() {
        let x = match tensor.tensor_type().dtype {
            DType::F32 | DType::F16 => g.input(&name(i), tensor.shape()),
            DType::U32 => g.classes(&name(i), tensor.shape()),
            DType::U8 => g.bytes(&name(i), tensor.shape()),
        };
        let is_float = x.tensor_type().dtype == DType::F32;
        fed.extend(is_float.then_some(x));
        // Another op computes what this one reads, without an error.
        vars.push(if is_float { -x } else { x });
    }
    let states: Vec<Param> =
        inputs[reads..].iter().enumerate().map(|(i, t)| state(&params, i, t.tensor_type())).collect();
    vars.extend(states.iter().map(|state| g.param(state)));
    let traits = case.op.traits();
    if let Some((input, state)) = traits.old_state {
        vars[input] = vars[state];
    }
    let outputs = g.record_shared(case.op.clone(), &vars);
    let mut rng = Rng::new(0x31d, &case.name);
    let (mut loss, mut names) = (None::<Var<'_>>, Vec::new());
    for (k, &y) in outputs.iter().enumerate() {
        let name = format!("y{k}");
        if y.tensor_type().dtype != DType::F32 || y.shape().elements() == 0 {
            g.output(&name, y);
        } else {
            let scaled = y * 0.5;
            g.output(&name, scaled);
            if case.gradient && !traits.not_differentiable.has(k) {
                let weights: Vec<f32> = (0..y.shape().elements()).map(|_| rng.normal() as f32).collect();
                let term = (scaled * g.constant(Tensor::new(y.shape(), weights)?)).sum_all();
                loss = Some(loss.map_or(term, |loss| loss + term));
            }
        }
        names.push(name);
    }
    if let Some(loss) = loss {
        for (i, d) in g.gradients(loss, &fed).into_iter().enumerate() {
            names.push(format!("d{i}"));
            g.output(&names[names.len() - 1], d);
        }
    }
    let mut step = device.compile(&g)?;
    for (state, tensor) in states.iter().zip(&inputs[reads..]) {
        device.write_param(state, tensor)?;
    }
    for (i, tensor) in inputs[..reads].iter().enumerate() {
        match tensor.data() {
            Data::F32(values) => step.feed(&name(i), &values.iter().map(|x| -x).collect::<Vec<f32>>())?,
            _ => step.feed(&name(i), tensor)?,
        }
    }
    Ok((step, names))
}

fn state(params: &Params, i: usize, ty: TensorType) -> Param {
    match ty.dtype {
        DType::U32 => params.counter(&format!("s{i}")),
        _ => params.state(&format!("s{i}"), ty.shape, Init::Constant(0.0)),
    }
}
