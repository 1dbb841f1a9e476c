//! The devices that `wgrad bench` compares, and where its values go.

use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::json;
use wgrad::{Device, DeviceInfo};

use super::{Failure, Outcome, say};

/// A device that takes part.
#[derive(Debug)]
pub(super) struct Contestant {
    pub(super) device: Device,
    pub(super) info: DeviceInfo,
}

impl Contestant {
    fn new(device: Device) -> Self {
        Contestant { info: device.info(), device }
    }

    pub(super) fn is_cpu(&self) -> bool {
        self.info.kind == "Reference"
    }

    /// `cpu` or `gpu`.
    pub(super) fn kind(&self) -> &'static str {
        if self.is_cpu() { "cpu" } else { "gpu" }
    }

    /// Name and API: one name can be behind several.
    pub(super) fn adapter(&self) -> String {
        format!("{} ({})", self.info.name, self.info.backend)
    }
}

/// Opens the CPU device and what is named. The second part says why `auto` found no GPU.
pub(super) fn contestants(name: &str) -> Outcome<(Vec<Contestant>, Option<String>)> {
    let mut devices = vec![Device::cpu()];
    let mut reason = None;
    match name {
        "cpu" => {}
        "all" => devices.extend(every_adapter()?),
        name => {
            let (device, no_gpu) = super::open(name)?;
            if no_gpu.is_none() {
                devices.push(device);
            }
            reason = no_gpu;
        }
    }
    Ok((devices.into_iter().map(Contestant::new).collect(), reason))
}

#[cfg(feature = "gpu")]
fn every_adapter() -> Outcome<Vec<Device>> {
    Ok(super::gpus()?.into_iter().map(Device::from).collect())
}

#[cfg(not(feature = "gpu"))]
fn every_adapter() -> Outcome<Vec<Device>> {
    Ok(vec![Device::gpu()?])
}

/// Where values go as they come: to stdout, if JSON is asked for, and to a file, if there is one.
pub(super) struct Rows {
    print: bool,
    file: Option<(PathBuf, std::fs::File)>,
}

impl Rows {
    pub(super) fn new(out: Option<&Path>, print: bool) -> Outcome<Self> {
        let file = match out {
            None => None,
            Some(folder) => {
                let path = folder.join("bench.jsonl");
                let open = std::fs::create_dir_all(folder).and_then(|()| std::fs::File::create(&path));
                Some((path.clone(), open.map_err(|e| Failure::new(format!("{}: {e}", path.display())))?))
            }
        };
        Ok(Rows { print, file })
    }

    pub(super) fn put(&mut self, workload: &str, on: &Contestant, metric: &str, value: f64) -> Outcome {
        // Whole numbers without a fraction, as counts are.
        let value = if value.fract() == 0.0 && value < 1e15 { json!(value as u64) } else { json!(value) };
        let row = json!({
            "workload": workload, "device": on.kind(), "adapter": on.adapter(), "metric": metric, "value": value,
        });
        if self.print {
            say(&row);
        }
        if let Some((path, file)) = &mut self.file {
            writeln!(file, "{row}").map_err(|e| Failure::new(format!("{}: {e}", path.display())))?;
        }
        Ok(())
    }
}
