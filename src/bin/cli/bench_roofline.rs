//! What `wgrad bench --roofline` says: each workload beside what its device reaches at its best.

use wgrad::bench::{Case, LowerBounds, Peaks, Roofline, Timer, Workload};

use super::Outcome;
use super::bench_rows::{Contestant, Rows};
use super::bench_table::number;

/// A workload on one device.
struct Distance {
    name: String,
    lower_bounds: LowerBounds,
    flops: u64,
    traffic: wgrad::Traffic,
    launches: usize,
}

/// Measures every device's peaks, and each workload in turns with them; gives the tables as Markdown.
pub(super) fn report(
    devices: &[Contestant],
    workloads: &[Workload],
    timer: &Timer,
    rows: &mut Rows,
) -> Outcome<String> {
    let mut text = String::new();
    for on in devices {
        let mut roofline = Roofline::measure(&on.device, timer)?;
        let mut distances = Vec::new();
        for workload in workloads {
            let mut case = workload.compile(&on.device)?;
            let one = Distance {
                name: workload.name().into(),
                lower_bounds: roofline.lower_bounds(&mut case)?,
                flops: case.flops(),
                traffic: case.traffic(),
                launches: Case::step(&mut case).dispatches(),
            };
            one.rows(on, rows)?;
            distances.push(one);
        }
        let peaks = roofline.peaks();
        rows.put("peaks", on, "gflops", peaks.flops * 1e-9)?;
        rows.put("peaks", on, "launch_us", peaks.launch * 1e6)?;
        rows.put("peaks", on, "run_us", peaks.run * 1e6)?;
        for (bytes, rate, _) in &peaks.bandwidths {
            rows.put(&format!("peaks-{bytes}"), on, "gigabytes_per_second", rate * 1e-9)?;
        }
        text.push_str(&describe(on, peaks, &distances));
    }
    Ok(text)
}

impl Distance {
    fn rows(&self, on: &Contestant, rows: &mut Rows) -> Outcome {
        let LowerBounds { run, flops, planned, once, least, launches } = self.lower_bounds;
        for (metric, seconds) in [
            ("run_us", run),
            ("flops_bound_us", flops),
            ("planned_bytes_bound_us", planned),
            ("bytes_once_bound_us", once),
            ("least_bytes_bound_us", least),
            ("launches_us", launches),
        ] {
            // A copy has no operations.
            if seconds > 0.0 {
                rows.put(&self.name, on, metric, seconds * 1e6)?;
            }
        }
        Ok(())
    }
}

/// The lower bound in µs, and time / lower bound.
fn cells(seconds: f64, lower_bound: f64) -> [String; 2] {
    if lower_bound == 0.0 {
        return ["0".into(), "–".into()];
    }
    [number(lower_bound * 1e6), format!("×{}", number(seconds / lower_bound))]
}

fn markdown(headings: &[&str], rows: &[Vec<String>]) -> String {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let head: Vec<String> = headings.iter().map(|h| h.to_string()).collect();
    let rule = format!("|{}\n", "---|".repeat(headings.len()));
    let body: String = rows.iter().map(|row| line(row)).collect();
    line(&head) + &rule + &body
}

fn describe(on: &Contestant, peaks: &Peaks, distances: &[Distance]) -> String {
    let mut text = format!("### {}\n\n{peaks}\n\n", on.info);
    let times: Vec<Vec<String>> = distances
        .iter()
        .map(|d| {
            let mut row = vec![d.name.clone(), number(d.lower_bounds.run * 1e6)];
            for at in [d.lower_bounds.flops, d.lower_bounds.planned, d.lower_bounds.least] {
                row.extend(cells(d.lower_bounds.run, at));
            }
            row.push(number(d.lower_bounds.launches * 1e6));
            row.push(format!("{:.0} %", 100.0 * d.lower_bounds.launches / d.lower_bounds.run));
            row
        })
        .collect();
    let headings =
        ["workload", "µs a run", "FLOPs", "", "bytes as planned", "", "least bytes", "", "launches", "share"];
    text.push_str(&markdown(&headings, &times));
    text.push('\n');
    let counts: Vec<Vec<String>> = distances
        .iter()
        .map(|d| {
            let megabytes = |bytes: u64| number(bytes as f64 * 1e-6);
            let t = d.traffic;
            let mut row = vec![d.name.clone(), number(d.flops as f64 * 1e-6)];
            row.extend([t.planned, t.once, t.least].map(megabytes));
            row.push(d.launches.to_string());
            row.push(number(d.flops as f64 / d.lower_bounds.run * 1e-9));
            row.push(number(t.planned as f64 / d.lower_bounds.run * 1e-9));
            row
        })
        .collect();
    let headings = [
        "workload",
        "MFLOP",
        "MB as planned",
        "MB once",
        "MB at least",
        "launches",
        "GFLOP/s",
        "GB/s as planned",
    ];
    text.push_str(&markdown(&headings, &counts));
    text.push('\n');
    text
}
