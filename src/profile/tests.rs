use serde_json::Value;

use super::*;
use crate::graph::Graph;
use crate::{Device, Init, Params};

fn launch(kernel: &str, node: &str, seconds: f64, span: [f64; 2]) -> Launch {
    Launch {
        kernel: kernel.into(),
        op: "op".into(),
        node: node.into(),
        scope: "net.fc1".into(),
        location: "main.rs:1".into(),
        shapes: "f32[2] -> f32[2]".into(),
        workgroups: [1, 2, 3],
        flops: 1000,
        bytes: 500,
        seconds,
        span,
    }
}

fn profile() -> Profile {
    let third = 1.0 / 3.0 * 1e-6;
    Profile {
        device: Device::cpu().info(),
        clock: Clock::Launches,
        runs: 3,
        launches: vec![
            launch("a", "%1 a", 1e-6, [0.0, third]),
            launch("b", "%1 a", 5e-6, [third, third]),
            launch("a", "%2 b", 2e-6, [2.0 * third, 7.0 * third]),
        ],
        alone_seconds: 10e-6,
        step_seconds: 9e-6,
        peaks: None,
    }
}

#[test]
fn kernels_are_summed_and_sorted() {
    let kernels = profile().kernels();
    let of = |k: &KernelTotal| (k.kernel.clone(), k.launches, k.flops, k.bytes, k.longest);
    assert_eq!(
        kernels.iter().map(of).collect::<Vec<_>>(),
        [("b".to_string(), 1, 1000, 500, 1), ("a".to_string(), 2, 2000, 1000, 2)]
    );
    approx::assert_relative_eq!(kernels[1].seconds, 3e-6);
    approx::assert_relative_eq!(profile().launch_seconds(), 8e-6);
}

#[test]
fn the_table_has_rates_and_distances() {
    // 1000 operations take 1 µs at the peak, 500 bytes half a microsecond.
    let peaks = Peaks::of(1e9, &[(1 << 20, 1e9)]);
    let text = profile().with_peaks(peaks).to_string();
    let line = |start: &str| {
        let line = text.lines().find(|l| l.trim_start().starts_with(start));
        line.unwrap_or_else(|| panic!("no {start} in\n{text}"))
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(line("5.00"), "5.00 62.5 % 0.200 0.100 5.00x 1 b");
    assert_eq!(line("3.00"), "3.00 37.5 % 0.667 0.333 1.50x 2 a");
    assert_eq!(line("2.00"), "2.00 25.0 % 0.500 0.250 2.00x %2 b: f32[2] -> f32[2]");
    assert!(text.contains("a step alone: 10.0 µs, 2.00 µs more"), "{text}");
    assert!(!profile().to_string().contains("bound"), "{text}");
    let mut many = profile();
    many.launches = vec![many.launches[0].clone(); 40];
    assert!(many.to_string().contains("and 15 more launches, 15.0 µs in all"), "{many}");
}

#[test]
fn a_trace_is_in_the_event_format() {
    let text = profile().trace().to_string();
    let trace: Value = serde_json::from_str(&text).unwrap();
    let events = trace["traceEvents"].as_array().unwrap();
    let names = |thread: u64| -> Vec<&str> {
        let of = |e: &&Value| e["ph"] == "X" && e["tid"] == thread;
        events.iter().filter(of).map(|e| e["name"].as_str().unwrap()).collect()
    };
    assert_eq!((names(1), names(2)), (vec!["%1 a", "%2 b"], vec!["a", "b", "a"]));
    for thread in [1, 2] {
        // In whole nanoseconds, as viewers count: thirds of a microsecond must not reach into one another.
        let ns = |e: &Value, key: &str| (e[key].as_f64().unwrap() * 1e3).round() as u64;
        let spans: Vec<(u64, u64)> = events
            .iter()
            .filter(|e| e["ph"] == "X" && e["tid"] == thread)
            .map(|e| (ns(e, "ts"), ns(e, "ts") + ns(e, "dur")))
            .collect();
        assert!(spans.windows(2).all(|w| w[0].1 <= w[1].0), "{spans:?}");
        assert_eq!(spans.last().unwrap().1, 3000);
    }
    let named: Vec<&Value> = events.iter().filter(|e| e["ph"] == "M").map(|e| &e["name"]).collect();
    assert_eq!(named, ["process_name", "thread_name", "thread_name"]);
    let kernel = events.iter().find(|e| e["name"] == "b").unwrap();
    assert_eq!((&kernel["args"]["flops"], &kernel["args"]["bytes"]), (&1000.into(), &500.into()));
    assert_eq!(kernel["args"]["shapes"], "f32[2] -> f32[2]");
}

/// Reads once, writes once, states twice, and of a table the rows that are taken.
#[test]
fn bytes_are_those_that_must_move() {
    let params = Params::seeded(1);
    let sum = params.state("sum", [12], Init::Constant(0.0));
    let g = Graph::inference();
    let x = g.input("x", [100, 12]);
    let rows = x.take_rows(g.classes("rows", [4]));
    let square = rows * rows;
    square.sum(&[0]).accumulate_into(g.param(&sum), 1.0);
    g.output("y", square);
    let mut step = Device::cpu().compile(&g).unwrap();
    step.feed("x", &vec![1.0; 1200]).unwrap();
    step.feed("rows", &[3u32, 5, 3, 99]).unwrap();
    let profile = step.profile(2).unwrap();
    let bytes = |op: &str| profile.launches.iter().find(|l| l.op == op).map(|l| l.bytes);
    assert_eq!(bytes("take_rows"), Some(192 + 16 + 192));
    assert_eq!(bytes("square"), Some(192 + 192));
    assert_eq!(bytes("sum"), Some(192 + 48));
    assert_eq!(bytes("accumulate"), Some(48 + 2 * 48));
}
