//! A profile as text.

use std::fmt;

use super::Profile;
use crate::plan::label;

/// Launches that are listed; the rest are summed up.
const LISTED: usize = 25;

/// Three significant digits.
pub(crate) fn three(x: f64) -> String {
    match x.abs() {
        a if a >= 99.95 => format!("{x:.0}"),
        a if a >= 9.995 => format!("{x:.1}"),
        a if a >= 0.9995 => format!("{x:.2}"),
        0.0 => "0".into(),
        _ => format!("{x:.3}"),
    }
}

/// A count over a time in billions; nothing where there is nothing to count.
fn rate(count: u64, seconds: f64) -> String {
    match count {
        0 => "–".into(),
        _ => three(count as f64 * 1e-9 / seconds.max(1e-12)),
    }
}

/// Characters of a node and its shapes that are shown.
const WIDTH: usize = 110;

/// The start of a text that is too long.
fn cut(text: &str) -> String {
    match text.char_indices().nth(WIDTH) {
        Some((at, _)) => format!("{} ...", &text[..at]),
        None => text.into(),
    }
}

/// Numbers to the right, the last column to the left.
fn columns(f: &mut fmt::Formatter<'_>, headings: &[&str], rows: &[Vec<String>]) -> fmt::Result {
    let width = |k: usize| {
        let cells = rows.iter().map(|row| row[k].chars().count());
        cells.chain([headings[k].chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..headings.len() - 1).map(width).collect();
    let headings: Vec<String> = headings.iter().map(ToString::to_string).collect();
    for row in std::iter::once(&headings).chain(rows) {
        for (cell, &width) in row.iter().zip(&widths) {
            write!(f, "{cell:>width$}  ")?;
        }
        writeln!(f, "{}", row[widths.len()])?;
    }
    Ok(())
}

impl Profile {
    /// Time, share, rates, time over the lower bound.
    fn cells(&self, seconds: f64, flops: u64, bytes: u64, lower_bound: Option<f64>) -> Vec<String> {
        let share = seconds / self.launch_seconds().max(1e-12);
        let mut cells = vec![
            three(seconds * 1e6),
            format!("{:.1} %", 100.0 * share),
            rate(flops, seconds),
            rate(bytes, seconds),
        ];
        if let Some(lower_bound) = lower_bound {
            cells.push(if lower_bound > 0.0 {
                format!("{}x", three(seconds / lower_bound))
            } else {
                "–".into()
            });
        }
        cells
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let numbers: &[&str] = match &self.peaks {
            Some(_) => &["µs", "share", "GFLOP/s", "GB/s", "× bound"],
            None => &["µs", "share", "GFLOP/s", "GB/s"],
        };
        let rows: Vec<Vec<String>> = self
            .kernels()
            .iter()
            .map(|total| {
                let lower_bound =
                    self.peaks.as_ref().map(|peaks| self.kernel_lower_bound(&total.kernel, peaks));
                let mut row = self.cells(total.seconds, total.flops, total.bytes, lower_bound);
                row.extend([total.launches.to_string(), cut(label(&total.kernel))]);
                row
            })
            .collect();
        columns(f, &[numbers, &["launches", "kernel"]].concat(), &rows)?;
        writeln!(f)?;

        let mut order: Vec<usize> = (0..self.launches.len()).collect();
        order.sort_by(|&a, &b| self.launches[b].seconds.total_cmp(&self.launches[a].seconds));
        let rows: Vec<Vec<String>> = order
            .iter()
            .take(LISTED)
            .map(|&i| {
                let launch = &self.launches[i];
                let lower_bound = self.peaks.as_ref().map(|peaks| launch.lower_bound(peaks));
                let mut row = self.cells(launch.seconds, launch.flops, launch.bytes, lower_bound);
                row.push(cut(&format!("{}: {}", launch.node, launch.shapes)));
                row
            })
            .collect();
        columns(f, &[numbers, &["node"]].concat(), &rows)?;
        if let Some(rest) = order.get(LISTED..).filter(|rest| !rest.is_empty()) {
            let seconds: f64 = rest.iter().map(|&i| self.launches[i].seconds).sum();
            writeln!(f, "and {} more launches, {} µs in all", rest.len(), three(seconds * 1e6))?;
        }

        let us = |seconds: f64| format!("{} µs", three(seconds * 1e6));
        let sum = self.launch_seconds();
        writeln!(f, "\n{} launches: {}, by {}", self.launches.len(), us(sum), self.clock.describe())?;
        let rest = self.alone_seconds - sum;
        let what = if rest < 0.0 { "less: taking times costs time" } else { "more: latency and the host" };
        writeln!(f, "a step alone: {}, {} {what}", us(self.alone_seconds), us(rest.abs()))?;
        write!(
            f,
            "a step among others: {} ({} steps/s)",
            us(self.step_seconds),
            three(1.0 / self.step_seconds.max(1e-12))
        )?;
        if let Some(peaks) = &self.peaks {
            write!(
                f,
                "\n× bound: time over its lower bound, the longer of operations at the peak and bytes at the bandwidth\n{peaks}"
            )?;
        }
        Ok(())
    }
}
