//! Workloads over sizes, and their pictures.

use std::path::{Path, PathBuf};

use wgrad::bench::{Case, Sweep, Timer, Workload};

use super::Outcome;
use super::bench_rows::{Contestant, Rows};
use super::bench_table::Swept;

/// Times one workload over its sizes.
pub(super) fn sweep_over(
    sweep: Sweep,
    devices: &[Contestant],
    timer: &Timer,
    rows: &mut Rows,
    bar: &indicatif::ProgressBar,
) -> Outcome<Swept> {
    let mut one = Swept::new(sweep, devices.len());
    if sweep.is_growth() {
        bar.set_message(sweep.op);
        // All sizes take turns, and the fastest repetitions count: factors between sizes would otherwise be of what
        // else the machine did meanwhile.
        let compiled = sweep.sizes.iter().map(|&size| compile_on(&sweep.at(size), devices));
        let mut cases: Vec<Case> = compiled.collect::<Outcome<Vec<_>>>()?.into_iter().flatten().collect();
        let short = Timer { seconds: timer.seconds / 4.0, repeat: timer.repeat };
        let rates = short.rates(&mut cases.iter_mut().collect::<Vec<&mut Case>>())?;
        for (at, (case, rates)) in cases.iter_mut().zip(&rates).enumerate() {
            let (size, k) = (sweep.sizes[at / devices.len()], at % devices.len());
            let (name, planned) = (format!("{}-{size}", sweep.op), case.step().planned_bytes());
            one.seconds[k].push(1.0 / rates.max());
            one.planned[k].push(planned);
            rows.put(&name, &devices[k], "microseconds", 1e6 / rates.max())?;
            rows.put(&name, &devices[k], "planned_bytes", planned as f64)?;
        }
        for (k, on) in devices.iter().enumerate() {
            rows.put(sweep.op, on, "worst_factor", one.worst_factor(k))?;
        }
        bar.inc(sweep.sizes.len() as u64);
        return Ok(one);
    }
    let short = Timer { seconds: timer.seconds / 4.0, repeat: timer.repeat.min(3) };
    for &size in sweep.sizes {
        let workload = sweep.at(size);
        bar.set_message(workload.name().to_string());
        let mut cases = compile_on(&workload, devices)?;
        let rates = short.rates(&mut cases.iter_mut().collect::<Vec<&mut Case>>())?;
        for (k, on) in devices.iter().enumerate() {
            one.seconds[k].push(1.0 / rates[k].median());
            rows.put(workload.name(), on, "microseconds", 1e6 / rates[k].median())?;
        }
        bar.inc(1);
    }
    for (k, on) in devices.iter().enumerate().skip(1) {
        if let Some(size) = one.wins_from(k) {
            rows.put(sweep.op, on, "gpu_wins_from", size as f64)?;
        }
    }
    Ok(one)
}

fn compile_on(workload: &Workload, devices: &[Contestant]) -> Outcome<Vec<Case>> {
    Ok(devices.iter().map(|d| workload.compile(&d.device)).collect::<wgrad::Result<_>>()?)
}

/// A picture of times and, of training steps that grow, of their memory.
#[cfg(feature = "plots")]
pub(super) fn draw(
    folder: &Path,
    name: &str,
    devices: &[Contestant],
    swept: &[Swept],
) -> Outcome<Vec<PathBuf>> {
    use wgrad::plots::{Quantity, SizeCurves, SizeLine, sizes};
    if swept.is_empty() {
        return Ok(Vec::new());
    }
    let label = |on: &Contestant| if on.is_cpu() { "CPU (ndarray)".into() } else { on.adapter() };
    let panel = |one: &Swept, quantity: Quantity, title: String, values: &dyn Fn(usize, usize) -> f64| {
        let points =
            |k| one.sweep.sizes.iter().enumerate().map(|(at, &size)| (size, values(k, at))).collect();
        let lines = devices.iter().enumerate();
        let lines = lines.map(|(k, on)| SizeLine { label: label(on), points: points(k) });
        SizeCurves { title, unit: one.sweep.unit.into(), quantity, lines: lines.collect() }
    };
    let mut panels = Vec::new();
    for one in swept {
        let title = one.sweep.title;
        panels.push(panel(one, Quantity::Seconds, title.into(), &|k, at| one.seconds[k][at]));
    }
    for one in swept.iter().filter(|one| one.sweep.is_growth()) {
        let title = format!("memory: {}", one.sweep.op);
        panels.push(panel(one, Quantity::Bytes, title, &|k, at| one.planned[k][at] as f64));
    }
    let path = folder.join(name);
    wgrad::plots::save(&path, &sizes(&panels)?)?;
    Ok(vec![path])
}

#[cfg(not(feature = "plots"))]
pub(super) fn draw(_: &Path, _: &str, _: &[Contestant], _: &[Swept]) -> Outcome<Vec<PathBuf>> {
    Ok(Vec::new())
}
