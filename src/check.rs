//! Proof on the user's own machine: every op's cases against the f64 reference, and its derivative
//! against finite differences.

#[cfg(feature = "gpu")]
mod folded;
#[cfg(feature = "gpu")]
mod mid_graph;

use crate::backend::DeviceInfo;
#[cfg(feature = "gpu")]
use crate::expected::Expected;
use crate::graph::{Graph, Var};
#[cfg(feature = "gpu")]
use crate::half;
use crate::host::Buffer;
use crate::op::{Case, Fillings};
use crate::rng::Rng;
use crate::shape::{DType, TensorType};
use crate::tensor::{Data, Tensor};

#[cfg(feature = "gpu")]
pub use folded::check_gpu_cases_folded;
#[cfg(feature = "gpu")]
pub(crate) use folded::program_of;
#[cfg(feature = "gpu")]
pub use mid_graph::check_gpu_cases_mid_graph;

/// A case that failed.
#[derive(Debug, Clone)]
pub struct Failure {
    /// Name of the op.
    pub op: String,
    /// Name of the case.
    pub case: String,
    /// What was found.
    pub message: String,
}

/// Result of checking one op on one device.
#[derive(Debug, Clone, Default)]
pub struct OpReport {
    /// Name of the op.
    pub op: String,
    /// Cases run.
    pub cases: usize,
    /// Cases that failed.
    pub failures: usize,
    /// Largest error in units of its tolerance; above 1 is a failure.
    pub worst: f64,
}

/// Result of checking one device.
#[derive(Debug, Clone)]
pub struct Report {
    /// The device.
    pub device: DeviceInfo,
    /// By op, in the order of the registry.
    pub ops: Vec<OpReport>,
    /// What failed.
    pub failures: Vec<Failure>,
    /// Cases that the device cannot run, with the reason: limits, not faults.
    pub skipped: Vec<Failure>,
}

impl Report {
    /// Cases run.
    pub fn cases(&self) -> usize {
        self.ops.iter().map(|o| o.cases).sum()
    }

    /// Largest error in units of its tolerance.
    pub fn worst(&self) -> f64 {
        self.ops.iter().map(|o| o.worst).fold(0.0, f64::max)
    }
}

/// The inputs of a case: the same on every machine.
pub(crate) fn case_inputs(case: &Case) -> Vec<Tensor> {
    let mut rng = Rng::new(0x5eed, &case.name);
    let mut make = |(ty, filling): &(TensorType, Fillings)| {
        let n = ty.shape.elements();
        let mut value = |i: usize| match filling {
            Fillings::Normal => rng.normal(),
            Fillings::Uniform(low, high) => low + (high - low) * rng.uniform(),
            Fillings::AwayFromZero(gap) => {
                let x = rng.normal();
                x + gap.copysign(x)
            }
            Fillings::Whole(n) => f64::from(rng.below(*n)),
            Fillings::Given(values) => values[i % values.len()],
        };
        let values: Vec<f64> = (0..n).map(&mut value).collect();
        let data = match ty.dtype {
            DType::F32 | DType::F16 => Data::F32(values.iter().map(|&x| x as f32).collect()),
            DType::U32 => Data::U32(values.iter().map(|&x| x as u32).collect()),
            DType::U8 => Data::U8(values.iter().map(|&x| x as u8).collect()),
        };
        Tensor::new(ty.shape, data)
    };
    // The number of values is the shape's, so none can fail.
    case.inputs.iter().filter_map(|input| make(input).ok()).collect()
}

/// Runs every case on a GPU. `progress` is called with the number of cases done and in all.
#[cfg(feature = "gpu")]
pub fn check_gpu(gpu: &crate::gpu::Gpu, progress: impl FnMut(usize, usize)) -> Report {
    check_cases(gpu, &crate::cases::registry(), false, progress)
}

/// As [`check_gpu`], of some cases.
#[cfg(feature = "gpu")]
pub fn check_gpu_cases(gpu: &crate::gpu::Gpu, cases: &[Case], progress: impl FnMut(usize, usize)) -> Report {
    check_cases(gpu, cases, false, progress)
}

/// As [`check_gpu`], with all floats but the states stored in 16 bits, as in mixed precision. Cases with inputs that
/// half precision has no numbers for are left out.
///
/// # Errors
/// [`crate::Error::Adapter`] where the adapter has no 16-bit floats.
#[cfg(feature = "gpu")]
pub fn check_gpu_f16(
    gpu: &crate::gpu::Gpu,
    progress: impl FnMut(usize, usize),
) -> crate::error::Result<Report> {
    check_gpu_cases_f16(gpu, &crate::cases::registry(), progress)
}

/// As [`check_gpu_f16`], of some cases.
///
/// # Errors
/// As [`check_gpu_f16`].
#[cfg(feature = "gpu")]
pub fn check_gpu_cases_f16(
    gpu: &crate::gpu::Gpu,
    cases: &[Case],
    progress: impl FnMut(usize, usize),
) -> crate::error::Result<Report> {
    gpu.0.need_f16()?;
    Ok(check_cases(gpu, cases, true, progress))
}

/// The inputs of a case in half precision, states left out; `None` where one becomes infinite. Those that an adapter may
/// flush become the smallest that it may not.
#[cfg(feature = "gpu")]
fn rounded_inputs(case: &Case) -> Option<Vec<Tensor>> {
    let mut inputs = case_inputs(case);
    let reads = inputs.len() - case.op.writes();
    let least = half::SMALLEST_NORMAL as f32;
    let rounded = |&x: &f32| match half::from_bits(half::to_bits(x)) {
        y if x != 0.0 && y.abs() < least => Some(least.copysign(x)),
        y if x.is_finite() && !y.is_finite() => None,
        y => Some(y),
    };
    for tensor in &mut inputs[..reads] {
        if let Data::F32(values) = tensor.data() {
            let values = values.iter().map(rounded).collect::<Option<Vec<f32>>>()?;
            *tensor = Tensor::new(tensor.shape(), values).ok()?;
        }
    }
    Some(inputs)
}

/// The inputs of a case and what the reference makes of them; `None` where half precision has no numbers for them.
#[cfg(feature = "gpu")]
pub(crate) fn prepared(case: &Case, as_f16: bool) -> Option<Result<(Vec<Tensor>, Expected), String>> {
    let inputs = if as_f16 { rounded_inputs(case)? } else { case_inputs(case) };
    Some(Expected::new(&*case.op, &inputs, true).map(|expected| {
        let expected = if case.exact { expected.exactly() } else { expected };
        let results = expected.values.len() - case.op.writes();
        let expected = expected.stored(|k| as_f16 && k < results && !case.op.traits().keeps_f32.has(k));
        (inputs, expected)
    }))
}

#[cfg(feature = "gpu")]
fn check_cases(
    gpu: &crate::gpu::Gpu,
    cases: &[Case],
    as_f16: bool,
    mut progress: impl FnMut(usize, usize),
) -> Report {
    let info = crate::backend::Backend::info(gpu);
    let mut report = Report { device: info, ops: Vec::new(), failures: Vec::new(), skipped: Vec::new() };
    for (i, case) in cases.iter().enumerate() {
        progress(i, cases.len());
        let Some(ready) = prepared(case, as_f16) else { continue };
        let outcome = ready.map(|(inputs, expected)| {
            let outputs = crate::gpu::case::run_changed(gpu, &case.op, &inputs, as_f16, &|_| {});
            outputs.map(|outputs| expected.compare(&outputs))
        });
        let failure =
            |message: String| Failure { op: case.op.name().to_string(), case: case.name.clone(), message };
        let (worst, message) = match outcome {
            Ok(Err(crate::Error::Limit(reason))) => {
                report.skipped.push(failure(reason));
                continue;
            }
            Ok(Ok(result)) => result,
            Ok(Err(error)) => (f64::INFINITY, Some(error.to_string())),
            Err(message) => (f64::INFINITY, Some(format!("the reference fails: {message}"))),
        };
        let name = case.op.name();
        let at = report.ops.iter().position(|o| o.op == name).unwrap_or_else(|| {
            report.ops.push(OpReport { op: name.to_string(), ..OpReport::default() });
            report.ops.len() - 1
        });
        let op = &mut report.ops[at];
        op.cases += 1;
        op.worst = op.worst.max(worst);
        op.failures += usize::from(message.is_some());
        report.failures.extend(message.map(failure));
    }
    progress(cases.len(), cases.len());
    report
}

/// Compares an op's derivative with central differences in f64, for at most `most` elements of each
/// input. The cotangent is random: a plain sum would hide errors in softmax and normalization.
///
/// # Errors
/// A sentence about the first element that differs.
pub fn check_gradient(case: &Case, most: usize) -> Result<usize, String> {
    let inputs = case_inputs(case);
    let types: Vec<TensorType> = inputs.iter().map(Tensor::tensor_type).collect();
    let g = Graph::new();
    let name = |i: usize| format!("x{i}");
    let vars: Vec<Var<'_>> = types
        .iter()
        .enumerate()
        .map(|(i, ty)| match ty.dtype {
            DType::F32 | DType::F16 => g.input(&name(i), ty.shape),
            DType::U32 => g.classes(&name(i), ty.shape),
            DType::U8 => g.bytes(&name(i), ty.shape),
        })
        .collect();
    // Computed by another op, as in the middle of a graph.
    let is_float = |v: &Var<'_>| v.tensor_type().dtype == DType::F32;
    let read: Vec<Var<'_>> = vars.iter().map(|&v| if is_float(&v) { -(-v) } else { v }).collect();
    let outputs = g.record_shared(case.op.clone(), &read);
    let mut rng = Rng::new(0xc07a, &case.name);
    let mut objective: Option<Var<'_>> = None;
    for (k, y) in outputs.iter().enumerate() {
        if y.tensor_type().dtype != DType::F32 || case.op.traits().not_differentiable.has(k) {
            continue;
        }
        let cotangent: Vec<f32> = (0..y.shape().elements()).map(|_| rng.normal() as f32).collect();
        let weight = Tensor::new(y.shape(), cotangent).map_err(|e| e.to_string())?;
        let term = (*y * g.constant(weight)).sum_all();
        objective = Some(objective.map_or(term, |o| o + term));
    }
    let Some(objective) = objective else { return Ok(0) };
    let wanted: Vec<Var<'_>> = vars.iter().copied().filter(|v| v.tensor_type().dtype == DType::F32).collect();
    let gradients = g.gradients(objective, &wanted);
    g.output("objective", objective);
    for (i, d) in gradients.iter().enumerate() {
        g.output(&format!("d{i}"), *d);
    }
    let recording = g.finish().map_err(|e| e.to_string())?;
    let cpu = crate::cpu::Cpu::<f64>::plain();
    let mut step = cpu.step(recording, crate::CompileOptions::new()).map_err(|e| e.to_string())?;
    let mut floats: Vec<(String, Vec<f64>)> = Vec::new();
    for (i, tensor) in inputs.iter().enumerate() {
        match Buffer::<f64>::from_feed(tensor.into()) {
            Buffer::F(values) => {
                step.feed_wide(&name(i), &values);
                floats.push((name(i), values));
            }
            _ => crate::backend::Executor::feed(&mut step, i, tensor.into()).map_err(|e| e.to_string())?,
        }
    }
    let run = |step: &mut crate::cpu::CpuStep<f64>| {
        crate::backend::Executor::run(step).map_err(|e| e.to_string())?;
        Ok::<f64, String>(step.output("objective")[0])
    };
    run(&mut step)?;
    let analytic: Vec<Vec<f64>> = (0..floats.len()).map(|i| step.output(&format!("d{i}"))).collect();
    let mut compared = 0;
    for (i, (input, values)) in floats.iter().enumerate() {
        let stride = (values.len() / most.max(1)).max(1);
        let scale = analytic[i].iter().fold(0f64, |m, x| m.max(x.abs()));
        for at in (0..values.len()).step_by(stride) {
            // Truncation ~h², rounding ~1e-16/h: both near 1e-10 at this h for functions of size 1.
            let h = 1e-5 * values[at].abs().max(1.0);
            let mut moved = values.clone();
            moved[at] = values[at] + h;
            step.feed_wide(input, &moved);
            let above = run(&mut step)?;
            moved[at] = values[at] - h;
            step.feed_wide(input, &moved);
            let below = run(&mut step)?;
            step.feed_wide(input, values);
            let numeric = (above - below) / (2.0 * h);
            let exact = analytic[i][at];
            let noise = 1e-11 * (above.abs() + below.abs()) / h * 1e-4;
            let tolerance = 1e-6 * (numeric.abs().max(exact.abs()) + scale) + noise + 1e-8;
            if (numeric - exact).abs() > tolerance || !exact.is_finite() {
                return Err(format!("d/d{input}[{at}]: {exact:e}, differences give {numeric:e}"));
            }
            compared += 1;
        }
    }
    Ok(compared)
}
