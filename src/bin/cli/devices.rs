//! `wgrad devices`.

use serde_json::json;
use wgrad::{Device, DeviceInfo};

use super::{Outcome, say};

/// Lists the CPU and all adapters, with the kernels that each runs.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Print one JSON object a device.
    #[arg(long)]
    json: bool,
}

/// A device, and the class of its kernels if it can be opened.
type Row = (DeviceInfo, Option<String>);

pub(super) fn run(args: &Args) -> Outcome {
    let mut rows: Vec<Row> = vec![(Device::cpu().info(), Some("reference".into()))];
    rows.extend(adapters());
    if args.json {
        for (info, class) in &rows {
            say(json!({
                "name": info.name, "backend": info.backend, "driver": info.driver, "type": info.kind,
                "class": class,
            }));
        }
        return Ok(());
    }
    let class = |row: &Row| row.1.clone().unwrap_or_else(|| "cannot be opened".into());
    let cells: Vec<[String; 5]> = rows
        .iter()
        .map(|row| {
            let info = &row.0;
            [info.name.clone(), info.backend.clone(), info.kind.clone(), class(row), info.driver.clone()]
        })
        .collect();
    say(super::table(&["name", "backend", "type", "kernels", "driver"], &cells));
    if rows.len() == 1 {
        // The error of opening a GPU says what to install.
        if let Err(reason) = Device::gpu() {
            say(format!("\n{reason}"));
        }
    }
    Ok(())
}

#[cfg(feature = "gpu")]
fn adapters() -> Vec<Row> {
    use wgrad::gpu::{adapters, adapters_named};
    match adapters_named("") {
        Ok(gpus) => gpus
            .into_iter()
            .map(|gpu| {
                let class = gpu.caps().class.to_string();
                (Device::from(gpu).info(), Some(class))
            })
            .collect(),
        // What cannot be opened is there all the same.
        Err(error) => {
            let found = adapters();
            if !found.is_empty() {
                tracing::warn!(%error, "no adapter can be opened");
            }
            found.into_iter().map(|info| (info, None)).collect()
        }
    }
}

#[cfg(not(feature = "gpu"))]
fn adapters() -> Vec<Row> {
    Vec::new()
}
