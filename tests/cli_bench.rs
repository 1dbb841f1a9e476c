//! `wgrad bench` and `wgrad profile`, run as a user runs them.
#![cfg(feature = "cli")]
#![allow(missing_docs, clippy::unwrap_used)]

#[cfg(feature = "gpu")]
mod common;
#[path = "common/program.rs"]
mod program;

use std::path::Path;

use program::{error, objects, refused, stdout, wgrad};
use serde_json::Value;

/// The rows of a bench, and their devices.
fn bench(folder: &Path, args: &[&str]) -> (Vec<Value>, std::collections::BTreeSet<String>) {
    let quick = ["bench", "--json", "--seconds", "0.002", "--repeat", "2"];
    let rows = objects(folder, &[&quick[..], args].concat());
    for row in &rows {
        let keys: Vec<&String> = row.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["adapter", "device", "metric", "value", "workload"], "{row}");
        assert!(row["value"].as_f64().is_some_and(|v| v.is_finite() && v > 0.0), "{row}");
    }
    let devices = rows.iter().map(|r| r["device"].as_str().unwrap().to_string()).collect();
    (rows, devices)
}

#[test]
fn a_bench_measures_what_it_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let arguments =
        ["cnn-8", "matmul-24", "matmul-24-plain", "sizes-sum", "--device", "cpu", "--out", "timings"];
    let (rows, devices) = bench(folder.path(), &arguments);
    assert_eq!(devices.into_iter().collect::<Vec<_>>(), ["cpu"]);
    let value = |workload: &str, metric: &str| {
        let row = rows.iter().find(|r| r["workload"] == workload && r["metric"] == metric);
        row.unwrap_or_else(|| panic!("{workload} {metric}"))["value"].as_f64().unwrap()
    };
    for (workload, metric) in
        [("cnn-8", "steps_per_second"), ("matmul-24", "gflops"), ("matmul-24-plain", "gflops")]
    {
        let [low, middle, high] = ["_min", "", "_max"].map(|end| value(workload, &format!("{metric}{end}")));
        assert!(low <= middle && middle <= high, "{workload}: {low}, {middle}, {high}");
        assert!(value(workload, "dispatches") >= 1.0 && value(workload, "first_step_seconds") < 60.0);
    }
    assert!(value("cnn-8", "planned_bytes") > 1e5);
    let times: Vec<f64> = [1 << 10, 1 << 22].map(|n| value(&format!("sum-{n}"), "microseconds")).into();
    assert!(times[1] > times[0], "four million take longer than a thousand: {times:?}");
    // The file has the same rows.
    let text = std::fs::read_to_string(folder.path().join("timings/bench.jsonl")).unwrap();
    let saved: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(saved, rows);
    #[cfg(feature = "plots")]
    assert!(std::fs::read_to_string(folder.path().join("timings/sizes.svg")).unwrap().contains("<svg"));
}

#[test]
fn a_bench_tells_roofline_and_growth() {
    let folder = tempfile::tempdir().unwrap();
    let value = |rows: &[Value], workload: &str, metric: &str| {
        let row = rows.iter().find(|r| r["workload"] == workload && r["metric"] == metric);
        row.unwrap_or_else(|| panic!("{workload} {metric}: {rows:?}"))["value"].as_f64().unwrap()
    };
    let arguments = ["--roofline", "matmul-24", "copy-4096", "--device", "cpu", "--out", "roofline"];
    let (rows, _) = bench(folder.path(), &arguments);
    // A product of 24 rows has 2 24³ operations, and a copy 4096 floats in and out.
    let bound = value(&rows, "matmul-24", "flops_bound_us");
    assert!(value(&rows, "matmul-24", "run_us") > 0.5 * bound && bound > 0.0);
    assert!(value(&rows, "copy-4096", "least_bytes_bound_us") > 32.768 / 1e3, "a terabyte a second");
    assert!(value(&rows, "peaks", "gflops") > 0.01);
    let operations = |r: &&Value| r["workload"] == "copy-4096" && r["metric"] == "flops_bound_us";
    assert_eq!(rows.iter().filter(operations).count(), 0, "a copy has none");
    let text = std::fs::read_to_string(folder.path().join("roofline/roofline.md")).unwrap();
    assert!(text.contains("| matmul-24 |") && text.contains("### cpu (ndarray f32)"), "{text}");
    assert!(text.contains("| 0.0276 | 0.0069 |"), "MFLOP and MB of the product: {text}");

    let arguments = ["growth-cnn-depth", "growth-nodes", "--device", "cpu", "--out", "growth"];
    let (rows, _) = bench(folder.path(), &arguments);
    let times: Vec<f64> = [1, 16].map(|n| value(&rows, &format!("cnn-depth-{n}"), "microseconds")).into();
    assert!(times[1] > times[0], "{times:?}");
    let memory = [8, 16].map(|n| value(&rows, &format!("cnn-depth-{n}"), "planned_bytes"));
    assert!((1.5..2.1).contains(&(memory[1] / memory[0])), "{memory:?}");
    assert!(value(&rows, "cnn-depth", "worst_factor") >= memory[1] / memory[0]);
    assert!(value(&rows, "nodes-10000", "nodes") >= 1e4);
    assert!(value(&rows, "nodes-10000", "plan_seconds") < 60.0);
    #[cfg(feature = "plots")]
    assert!(
        std::fs::read_to_string(folder.path().join("growth/growth.svg")).unwrap().contains("memory: cnn")
    );
    let text = stdout(&wgrad(folder.path(), &["bench", "growth-mlp-batch", "--seconds", "0.002"]));
    assert!(text.contains("mlp-batch: a doubling costs at most ×"), "{text}");
}

#[test]
fn a_bench_compares_precisions_in_turns() {
    let folder = tempfile::tempdir().unwrap();
    #[cfg(feature = "gpu")]
    let stores_f16 = common::gpu().is_some_and(|gpu| gpu.has_f16());
    #[cfg(not(feature = "gpu"))]
    let stores_f16 = false;
    // The CPU rounds to 16 bits and keeps 32.
    let device = if stores_f16 { "gpu" } else { "cpu" };
    let arguments = ["cnn-8", "mlp-a", "--precision", "mixed", "--device", device, "--out", "mixed"];
    let (rows, devices) = bench(folder.path(), &arguments);
    let value = |workload: &str, metric: &str| {
        let row = rows.iter().find(|r| r["workload"] == workload && r["metric"] == metric);
        row.unwrap_or_else(|| panic!("{workload} {metric}: {rows:?}"))["value"].as_f64().unwrap()
    };
    assert_eq!(devices.into_iter().collect::<Vec<_>>(), [device]);
    for workload in ["cnn-8", "mlp-a"] {
        let speeds = ["steps_per_second", "mixed_steps_per_second"].map(|metric| value(workload, metric));
        let bytes = ["planned_bytes", "mixed_planned_bytes"].map(|metric| value(workload, metric));
        let close = |a: f64, b: f64| assert!((a / b - 1.0).abs() < 1e-9, "{workload}: {a} {b}");
        close(value(workload, "mixed_speed_ratio"), speeds[1] / speeds[0]);
        close(value(workload, "mixed_memory_ratio"), bytes[1] / bytes[0]);
        assert!((bytes[1] < bytes[0]) == stores_f16, "{workload}: {bytes:?}");
    }
    assert_eq!(rows.len(), 2 * 10);
    let text = std::fs::read_to_string(folder.path().join("mixed/bench.jsonl")).unwrap();
    assert_eq!(text.lines().count(), rows.len());
    let quick = ["bench", "--device", "cpu", "--precision", "mixed", "--seconds", "0.002", "--repeat", "1"];
    let text = stdout(&wgrad(folder.path(), &[&quick[..], &["mlp-a"]].concat()));
    assert!(text.contains("workload") && text.contains("mixed") && text.contains("bytes, f32"), "{text}");
    for (wrong, words) in [
        ("matmul-24", "`matmul-24` is an op"),
        ("sizes-sum", "--precision mixed takes single workloads"),
        ("--roofline", "--roofline is of steps in 32 bits"),
    ] {
        refused(folder.path(), &[&quick[..], &[wrong]].concat(), 2, words);
    }
}

#[test]
fn a_workload_is_profiled_in_mixed_precision() {
    let folder = tempfile::tempdir().unwrap();
    let quick = ["profile", "--device", "cpu", "--runs", "1", "--no-roofline", "--json"];
    let scales_loss = |more: &[&str]| {
        let rows = objects(folder.path(), &[&quick[..], &["cnn-8"], more].concat());
        rows.iter().any(|r| r["op"] == "next_scale")
    };
    assert!(scales_loss(&["--precision", "mixed"]));
    assert!(!scales_loss(&[]) && !scales_loss(&["--precision", "f32"]));
    for (more, words) in [
        (&["matmul-24", "--precision", "mixed"][..], "`matmul-24` is an op"),
        (&["cnn-8", "--precision", "mixed", "--seed", "1"], "a workload is as it is"),
    ] {
        refused(folder.path(), &[&quick[..], more].concat(), 2, words);
    }
}

#[cfg(feature = "gpu")]
#[test]
fn a_bench_compares_the_cpu_with_a_gpu() {
    let Some(_) = common::gpu() else { return };
    let folder = tempfile::tempdir().unwrap();
    let (rows, devices) = bench(folder.path(), &["mlp-a", "matmul-64", "--device", "gpu"]);
    assert_eq!(devices.into_iter().collect::<Vec<_>>(), ["cpu", "gpu"]);
    for (workload, metric) in
        [("mlp-a", "steps_per_second"), ("matmul-64", "gflops"), ("mlp-a", "planned_bytes")]
    {
        let of = rows.iter().filter(|r| r["workload"] == workload && r["metric"] == metric);
        let devices: Vec<&str> = of.map(|r| r["device"].as_str().unwrap()).collect();
        let expected =
            if metric == "planned_bytes" { devices.contains(&"gpu") } else { devices == ["cpu", "gpu"] };
        assert!(expected, "{workload} {metric}: {devices:?}");
    }
    let host = rows.iter().filter(|r| r["metric"] == "host_us_per_dispatch");
    assert!(host.clone().count() == 2 && host.clone().all(|r| r["device"] == "gpu"));
    // A reader gets a table with a ratio.
    let arguments = ["bench", "matmul-24", "sizes-add-relu", "--seconds", "0.002", "--repeat", "1"];
    let output = wgrad(folder.path(), &[&arguments[..], &["--device", "gpu"]].concat());
    let text = stdout(&output);
    assert!(output.status.success(), "{}", error(&output));
    for words in ["workload   CPU", "ratio", "GFLOP/s", "add-relu: the GPU is", "medians"] {
        assert!(text.contains(words), "{words}: {text}");
    }
}

#[test]
fn a_profile_has_kernels_launches_and_a_trace() {
    let folder = tempfile::tempdir().unwrap();
    let quick = ["profile", "--device", "cpu", "--runs", "2"];
    let arguments = [&quick[..], &["--json", "--data", "iris", "--trace", "trace.json"]].concat();
    let rows = objects(folder.path(), &arguments);
    let of = |kind: &str| rows.iter().filter(|r| r["row"] == kind).collect::<Vec<_>>();
    let (kernels, launches, steps) = (of("kernel"), of("launch"), of("step"));
    assert_eq!(steps.len(), 1);
    assert_eq!(steps[0]["launches"], launches.len());
    assert!(kernels.len() > 5 && launches.len() > kernels.len());
    assert!(steps[0]["peak_gflops"].as_f64().unwrap() > 0.0);
    for row in kernels.iter().chain(&launches) {
        assert!(
            row["microseconds"].as_f64().unwrap() >= 0.0 && row["lower_bound_microseconds"].is_f64(),
            "{row}"
        );
    }
    let sorted = |rows: &[&Value]| rows.iter().map(|r| r["microseconds"].as_f64().unwrap()).rev().is_sorted();
    assert!(sorted(&kernels) && sorted(&launches));
    assert!(launches.iter().any(|l| l["scope"] == "fc1" && l["op"] == "matmul_nt"), "{launches:?}");
    let text = std::fs::read_to_string(folder.path().join("trace.json")).unwrap();
    let trace: Value = serde_json::from_str(&text).unwrap();
    assert!(trace["traceEvents"].as_array().unwrap().len() > 2 * launches.len());
    let output = wgrad(folder.path(), &[&quick[..], &["matmul-32", "--no-roofline"]].concat());
    assert!(output.status.success(), "{}", error(&output));
    assert!(stdout(&output).contains("matmul-32: medians of 2 runs"), "{}", stdout(&output));
    refused(folder.path(), &["profile", "--device", "cpu", "--clock", "pass", "--json"], 1, "no clock");
}
