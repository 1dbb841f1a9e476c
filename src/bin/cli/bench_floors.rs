//! What `wgrad bench --floors` says: each workload beside what its device reaches at its best.

use wgrad::bench::{Case, Floors, Peaks, Roofline, Timer, Workload};

use super::Outcome;
use super::bench::{Contestant, Rows};
use super::bench_table::number;

/// A workload on one device.
struct Distance {
    name: String,
    floors: Floors,
    flops: u64,
    traffic: wgrad::Traffic,
    launches: usize,
}

/// Measures every device's peaks, and each workload in turns with them; gives the tables as Markdown.
pub(super) fn floors(
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
                floors: roofline.floors(&mut case)?,
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
        let Floors { run, flops, planned, once, least, launches } = self.floors;
        for (metric, seconds) in [
            ("run_us", run),
            ("flops_floor_us", flops),
            ("planned_bytes_floor_us", planned),
            ("bytes_once_floor_us", once),
            ("least_bytes_floor_us", least),
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

/// A floor, and how often it goes into the time.
fn floor(seconds: f64, floor: f64) -> [String; 2] {
    if floor == 0.0 {
        return ["0".into(), "–".into()];
    }
    [number(floor * 1e6), format!("×{}", number(seconds / floor))]
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
            let mut row = vec![d.name.clone(), number(d.floors.run * 1e6)];
            for at in [d.floors.flops, d.floors.planned, d.floors.least] {
                row.extend(floor(d.floors.run, at));
            }
            row.push(number(d.floors.launches * 1e6));
            row.push(format!("{:.0} %", 100.0 * d.floors.launches / d.floors.run));
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
            row.push(number(d.flops as f64 / d.floors.run * 1e-9));
            row.push(number(t.planned as f64 / d.floors.run * 1e-9));
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
