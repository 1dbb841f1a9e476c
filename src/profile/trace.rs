//! A profile in the trace-event format, which Perfetto and Chrome open.
//!
//! Google, «Trace Event Format»: an object with `traceEvents`; complete events (`ph` X) have a start `ts` and a
//! length `dur` in microseconds, metadata events (`ph` M) name processes and threads.

use std::path::Path;

use serde_json::{Value, json};

use super::{Launch, Profile};
use crate::error::{Error, Result};

const PROCESS: u32 = 1;
const NODES: u32 = 1;
const KERNELS: u32 = 2;

fn named(what: &str, thread: u32, name: &str) -> Value {
    json!({ "ph": "M", "name": what, "pid": PROCESS, "tid": thread, "args": { "name": name } })
}

fn event(thread: u32, name: &str, category: &str, [start, length]: [f64; 2], args: Value) -> Value {
    // Whole nanoseconds, so that rounding makes no event reach into the next.
    let [start, end] = [start, start + length].map(|t| (t * 1e9).round().max(0.0) as u64);
    let us = |ns: u64| ns as f64 / 1e3;
    json!({
        "ph": "X", "pid": PROCESS, "tid": thread, "name": name, "cat": category,
        "ts": us(start), "dur": us(end - start), "args": args,
    })
}

/// From the start of the first to the end of the last.
fn around(launches: &[Launch]) -> [f64; 2] {
    let start = launches.first().map_or(0.0, |l| l.span[0]);
    let end = launches.iter().map(|l| l.span[0] + l.span[1]).fold(start, f64::max);
    [start, end - start]
}

impl Profile {
    /// One run as JSON in the trace-event format: a track of nodes and one of launches, whose `args` have shapes,
    /// workgroups, operations and bytes. It is the run whose sum is nearest to the median.
    pub fn trace(&self) -> Value {
        let mut events = vec![
            named("process_name", NODES, &format!("wgrad on {}", self.device)),
            named("thread_name", NODES, "nodes"),
            named("thread_name", KERNELS, "kernels"),
        ];
        for node in self.launches.chunk_by(|a, b| a.node == b.node) {
            let Some(first) = node.first() else { continue };
            let args = json!({ "scope": first.scope, "location": first.location, "shapes": first.shapes });
            events.push(event(NODES, &first.node, &first.op, around(node), args));
            for launch in node {
                let args = json!({
                    "node": launch.node, "scope": launch.scope, "shapes": launch.shapes,
                    "workgroups": launch.workgroups, "flops": launch.flops, "bytes": launch.bytes,
                    "median_us": launch.seconds * 1e6,
                });
                events.push(event(KERNELS, &launch.kernel, &launch.op, launch.span, args));
            }
        }
        let other = json!({
            "device": self.device.to_string(), "clock": self.clock.describe(), "runs": self.runs,
            "step_alone_us": self.alone_seconds * 1e6, "step_us": self.step_seconds * 1e6,
            "wgrad": env!("CARGO_PKG_VERSION"),
        });
        json!({ "displayTimeUnit": "ns", "traceEvents": events, "otherData": other })
    }

    /// Writes [`Profile::trace`] to a file, for <https://ui.perfetto.dev> or `chrome://tracing`.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be written.
    pub fn write_trace(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        std::fs::write(path, self.trace().to_string()).map_err(|source| Error::io(path, source))
    }
}
