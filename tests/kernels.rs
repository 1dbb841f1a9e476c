//! Every kernel on every adapter, in every variant that the adapter can run.
#![allow(missing_docs)]

mod common;

use wgrad::check::check_gpu;
use wgrad::ops::AdapterClass;

#[test]
fn every_kernel_agrees_with_the_reference_on_every_adapter() {
    for gpu in common::gpus() {
        let native = gpu.caps().class;
        let mut classes = vec![AdapterClass::Gpu, AdapterClass::Software];
        if native == AdapterClass::SoftwareLanes8 {
            classes.push(native);
        }
        for class in classes {
            let report = check_gpu(&gpu.with_class(class), |_, _| {});
            println!(
                "{} as {class:?}: {} cases, {} failures, {} skipped, worst error {:.3} of its tolerance",
                report.device,
                report.cases(),
                report.failures.len(),
                report.skipped.len(),
                report.worst()
            );
            let list: Vec<String> =
                report.failures.iter().map(|f| format!("{}: {}", f.case, f.message)).collect();
            assert!(list.is_empty(), "{} as {class:?}:\n{}", report.device, list.join("\n"));
            assert!(report.cases() > 300, "only {} cases", report.cases());
            // Bounds that nothing comes near prove little.
            assert!(report.worst() > 0.05, "worst error is {} of its tolerance", report.worst());
        }
    }
}
