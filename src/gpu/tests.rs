use std::sync::atomic::Ordering;

use super::{Gpu, adapters_named};
use crate::Device;
use crate::graph::Graph;

/// All adapters; none only where none is demanded.
fn gpus() -> Vec<Gpu> {
    match adapters_named(&std::env::var("WGRAD_ADAPTER").unwrap_or_default()) {
        Ok(gpus) => gpus,
        Err(error) if std::env::var("WGRAD_REQUIRE_GPU").is_ok_and(|v| v == "1") => panic!("{error}"),
        Err(_) => Vec::new(),
    }
}

#[test]
fn every_submission_takes_the_writes_before_it() {
    for gpu in gpus() {
        let g = Graph::new();
        g.output("y", g.input("x", [256]) + 1.0);
        let mut step = Device::from(gpu.clone()).compile(&g).unwrap();
        let waiting = || gpu.0.unsubmitted.load(Ordering::Relaxed);
        step.feed("x", &[0.0; 256]).unwrap();
        step.feed("x", &[0.0; 256]).unwrap();
        assert!(waiting() >= 2048, "{gpu:?}: {}", waiting());
        step.run().unwrap();
        assert_eq!(waiting(), 0, "{gpu:?}");
        step.feed("x", &[0.0; 256]).unwrap();
        step.read("y").unwrap().wait().unwrap();
        assert_eq!(waiting(), 0, "{gpu:?}");
    }
}
