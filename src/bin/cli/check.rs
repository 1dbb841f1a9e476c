//! `wgrad check`.

use serde_json::json;
use wgrad::check::{Failure as Failed, OpReport, Report, check_gradient};
#[cfg(feature = "gpu")]
use wgrad::check::{check_gpu_cases, check_gpu_cases_f16, check_gpu_cases_folded};
use wgrad::ops::Case;
use wgrad::{Device, DeviceInfo};

use super::{Failure, Outcome, progress, say, table};

/// Proves every kernel on this machine's adapters against the CPU in double precision, and every derivative
/// against finite differences.
///
/// An error is given in units of its tolerance, which is what rounding in single precision explains: 1 is the
/// limit. Cases that an adapter's limits exclude are skipped. The exit code is 1 if anything failed.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Ops whose cases are checked, by the names that the report has; without any, all are
    ops: Vec<String>,
    /// `all` adapters, `auto` (the best), part of an adapter's name, or `cpu` (derivatives only)
    #[arg(long, default_value = "all")]
    device: String,
    /// Check, besides, every op with axes of 30,000 to 200,000: some drivers end long loops and say nothing. Takes minutes
    #[arg(long)]
    long: bool,
    /// Print one JSON object an adapter, and one for the derivatives with adapter `reference`
    #[arg(long)]
    json: bool,
}

/// Elements of each input whose derivative is compared.
const ELEMENTS: usize = 12;

pub(super) fn run(args: &Args) -> Outcome {
    let cases = cases(&args.ops, args.long)?;
    let adapters = adapters(&args.device)?;
    let mut failures = 0;
    let mut reports = 0;
    let mut take = |report: &Report, derivatives: Option<usize>| {
        show(report, derivatives, args.json);
        failures += report.failures.len();
        reports += 1;
    };
    let (report, compared) = gradients(&cases, args.json);
    take(&report, Some(compared));
    for adapter in adapters {
        take(&adapter.check(&cases, args.json), None);
    }
    if failures > 0 {
        return Err(Failure::new(format!("{failures} cases failed")));
    }
    if !args.json {
        let adapters = if reports == 2 { "adapter" } else { "adapters" };
        say(format!("all passed: derivatives, and {} {adapters}", reports - 1));
    }
    Ok(())
}

/// The cases of these ops, or of all.
fn cases(ops: &[String], long: bool) -> Outcome<Vec<Case>> {
    let mut cases = wgrad::cases::registry();
    if long {
        cases.extend(wgrad::cases::long_registry());
    }
    if let Some(unknown) = ops.iter().find(|op| !cases.iter().any(|case| case.op.name() == **op)) {
        let mut known: Vec<&str> = cases.iter().map(|case| case.op.name()).collect();
        known.sort_unstable();
        known.dedup();
        return Err(Failure::new(format!("no op is named `{unknown}`; there are {}", known.join(", "))));
    }
    cases.retain(|case| ops.is_empty() || ops.iter().any(|op| case.op.name() == op));
    Ok(cases)
}

/// An adapter to check.
struct Adapter {
    #[cfg(feature = "gpu")]
    gpu: wgrad::gpu::Gpu,
}

#[cfg(feature = "gpu")]
fn adapters(name: &str) -> Outcome<Vec<Adapter>> {
    use wgrad::gpu::{Gpu, adapters_named};
    let gpus = match name {
        "cpu" => Vec::new(),
        "all" => {
            super::gpus().map_err(|e| Failure::new(format!("{e}; `--device cpu` checks derivatives")))?
        }
        "auto" | "gpu" => vec![Gpu::open(None)?],
        name => adapters_named(name)?,
    };
    Ok(gpus.into_iter().map(|gpu| Adapter { gpu }).collect())
}

#[cfg(not(feature = "gpu"))]
fn adapters(name: &str) -> Outcome<Vec<Adapter>> {
    match name {
        "all" | "cpu" => Ok(Vec::new()),
        _ => Err(Failure::new("this build of wgrad has no `gpu` feature; there is `cpu`")),
    }
}

impl Adapter {
    #[cfg(feature = "gpu")]
    fn check(&self, cases: &[Case], quiet: bool) -> Report {
        let name = Device::from(self.gpu.clone()).info().name;
        let mut report =
            watched(quiet, &format!("cases on {name}"), |p| check_gpu_cases(&self.gpu, cases, p));
        let mut add = |what: &str, part: Report| {
            report.ops.push(OpReport {
                op: what.into(),
                cases: part.cases(),
                failures: part.failures.len(),
                worst: part.worst(),
            });
            report.failures.extend(part.failures);
            report.skipped.extend(part.skipped);
        };
        let what = format!("cases in grids of two dimensions on {name}");
        let folded = watched(quiet, &what, |p| check_gpu_cases_folded(&self.gpu, cases, p));
        if folded.cases() > 0 {
            add("some, in grids of two dimensions", folded);
        }
        // Once more as mixed precision stores values, where the adapter can.
        if self.gpu.has_f16() {
            let what = format!("cases in 16 bits on {name}");
            let f16 = watched(quiet, &what, |p| check_gpu_cases_f16(&self.gpu, cases, p));
            match f16 {
                Ok(f16) => add("all, stored in 16 bits", f16),
                Err(error) => report.failures.push(wgrad::check::Failure {
                    op: "all, stored in 16 bits".into(),
                    case: what,
                    message: error.to_string(),
                }),
            }
        }
        report
    }

    #[cfg(not(feature = "gpu"))]
    fn check(&self, _: &[Case], _: bool) -> Report {
        Report { device: Device::cpu().info(), ops: Vec::new(), failures: Vec::new(), skipped: Vec::new() }
    }
}

/// Runs a check under a bar that shows how far it is.
#[cfg(feature = "gpu")]
fn watched<T>(quiet: bool, what: &str, check: impl FnOnce(&mut dyn FnMut(usize, usize)) -> T) -> T {
    let bar = (!quiet).then(|| progress::bar(0, &format!("{{bar:24}} {{pos}} of {{len}} {what}")));
    let result = check(&mut |done, of| {
        if let Some(bar) = &bar {
            bar.set_length(of as u64);
            bar.set_position(done as u64);
        }
    });
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    result
}

/// Compares all derivatives in double precision. The second part is how many.
fn gradients(cases: &[Case], quiet: bool) -> (Report, usize) {
    let info: DeviceInfo = Device::reference().info();
    let mut report = Report { device: info, ops: Vec::new(), failures: Vec::new(), skipped: Vec::new() };
    let cases: Vec<_> = cases.iter().filter(|c| c.gradient).collect();
    let bar = (!quiet).then(|| progress::bar(cases.len(), "{bar:24} {pos} of {len} cases of derivatives"));
    let mut compared = 0;
    for case in cases {
        let name = case.op.name();
        if !report.ops.iter().any(|o| o.op == name) {
            report.ops.push(OpReport { op: name.to_string(), ..OpReport::default() });
        }
        let result = check_gradient(case, ELEMENTS);
        if let Some(op) = report.ops.iter_mut().find(|o| o.op == name) {
            op.cases += 1;
            op.failures += usize::from(result.is_err());
        }
        match result {
            Ok(n) => compared += n,
            Err(message) => {
                report.failures.push(Failed { op: name.into(), case: case.name.clone(), message })
            }
        }
        if let Some(bar) = &bar {
            bar.inc(1);
        }
    }
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    (report, compared)
}

fn show(report: &Report, derivatives: Option<usize>, as_json: bool) {
    let listed = |list: &[Failed]| -> Vec<serde_json::Value> {
        list.iter().map(|f| json!({ "op": f.op, "case": f.case, "message": f.message })).collect()
    };
    let info = &report.device;
    let worst = derivatives.is_none().then(|| report.worst());
    if as_json {
        let op = |o: &OpReport| {
            let worst = derivatives.is_none().then_some(o.worst);
            json!({ "op": o.op, "cases": o.cases, "failures": o.failures, "worst": worst })
        };
        say(json!({
            "adapter": info.name,
            "backend": info.backend,
            "driver": info.driver,
            "type": info.kind,
            "cases": report.cases(),
            "failures": report.failures.len(),
            "skipped": report.skipped.len(),
            "worst": worst,
            "derivatives": derivatives,
            "ops": report.ops.iter().map(op).collect::<Vec<_>>(),
            "failed": listed(&report.failures),
            "left_out": listed(&report.skipped),
        }));
        return;
    }
    if let Some(compared) = derivatives {
        say(format!(
            "derivatives against finite differences in double precision: {} ops, {} cases, {compared} numbers, {} \
             failures\n",
            report.ops.len(),
            report.cases(),
            report.failures.len()
        ));
    } else {
        say(info);
        let row = |o: &OpReport| {
            let verdict = if o.failures > 0 { format!("{} FAILED", o.failures) } else { "ok".into() };
            [o.op.clone(), o.cases.to_string(), format!("{:.3}", o.worst), verdict]
        };
        let rows: Vec<[String; 4]> = report.ops.iter().map(row).collect();
        say(table(&["op", "cases", "worst error", ""], &rows));
        say(format!(
            "{} cases, {} failures, {} skipped, worst error {:.3} of its tolerance\n",
            report.cases(),
            report.failures.len(),
            report.skipped.len(),
            report.worst()
        ));
    }
    for (what, list) in [("FAILED", &report.failures), ("skipped", &report.skipped)] {
        list.iter().for_each(|f| say(format!("{what} {}, case {}: {}", f.op, f.case, f.message)));
    }
}
