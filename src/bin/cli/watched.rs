//! `--watch`: the layers of a model as they fare in training, as a table.

use wgrad::train::{Watched, WatchedLayer};

/// One line a layer, below a heading.
pub(super) fn table(watched: &Watched) -> String {
    let heading = ["layer", "weights", "gradient", "update/weights", "output", "dead"].map(str::to_string);
    let rows: Vec<[String; 6]> = watched.layers.iter().map(row).collect();
    let all: Vec<&[String; 6]> = [&heading].into_iter().chain(&rows).collect();
    let width = |k: usize| all.iter().map(|row| row[k].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..heading.len()).map(width).collect();
    let line = |row: &&[String; 6]| {
        let name = format!("{:<width$}", row[0], width = widths[0]);
        let numbers = row.iter().zip(&widths).skip(1).map(|(cell, &width)| format!("  {cell:>width$}"));
        format!("  {name}{}", numbers.collect::<String>()).trim_end().to_string()
    };
    all.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn row(layer: &WatchedLayer) -> [String; 6] {
    [
        layer.name.clone(),
        format!("{:.3}", layer.weight_norm),
        format!("{:.2e}", layer.gradient_norm),
        format!("{:.1e}", layer.update_ratio),
        format!("{:.3}", layer.activation_rms),
        layer.dead_share.map(|share| format!("{:.0} %", 100.0 * share)).unwrap_or_default(),
    ]
}
