//! Every kernel on every adapter, in every variant that the adapter can run.
#![allow(missing_docs, clippy::unwrap_used)]

mod common;

use std::collections::{BTreeMap, BTreeSet, HashSet};

use wgrad::cases::registry;
use wgrad::check::{
    Report, check_gpu, check_gpu_cases, check_gpu_cases_folded, check_gpu_cases_mid_graph, check_gpu_f16,
};
use wgrad::gpu::{Gpu, PlantedFault};
use wgrad::ops::{AdapterClass, Case};

/// The classes of kernels that an adapter can run.
fn classes(gpu: &Gpu) -> Vec<AdapterClass> {
    let mut classes = vec![AdapterClass::Gpu, AdapterClass::Software];
    classes.extend(Some(gpu.caps().class).filter(|class| *class == AdapterClass::SoftwareLanes8));
    classes
}

/// One adapter, for what is about kernels and not about adapters; none where one was asked for.
fn first_unless_asked_for() -> Option<Gpu> {
    let first = common::gpus().into_iter().next().filter(|_| std::env::var_os("WGRAD_ADAPTER").is_none());
    if first.is_none() {
        println!("SKIPPED: no adapter, or one that was asked for");
    }
    first
}

#[track_caller]
fn assert_passed(report: &Report, how: &str) {
    println!(
        "{}{how}: {} cases, {} failures, {} skipped, worst error {:.3} of its tolerance",
        report.device,
        report.cases(),
        report.failures.len(),
        report.skipped.len(),
        report.worst()
    );
    let list: Vec<String> = report.failures.iter().map(|f| format!("{}: {}", f.case, f.message)).collect();
    assert!(list.is_empty(), "{}{how}:\n{}", report.device, list.join("\n"));
}

#[test]
fn every_kernel_agrees_with_the_reference_on_every_adapter() {
    for gpu in common::gpus() {
        // By op, how many cases ran in each class, and the largest error in all of them.
        let mut ops: BTreeMap<String, (usize, f64)> = BTreeMap::new();
        for class in classes(&gpu) {
            let report = check_gpu(&gpu.with_class(class), |_, _| {});
            assert_passed(&report, &format!(" as {class:?}"));
            for op in &report.ops {
                // What is beyond an adapter's limits is skipped, and says so.
                let all = op.cases + report.skipped.iter().filter(|case| case.op == op.op).count();
                let (cases, worst) = ops.entry(op.op.clone()).or_insert((usize::MAX, 0.0));
                (*cases, *worst) = (all.min(*cases), op.worst.max(*worst));
            }
        }
        assert_known(&ops);
    }
}

/// No op has lost cases, and none has a bound that no error comes near, which proves little: one that is a thousand times as
/// large as it should be is found. `tests/cases.txt` has each op with the number of its cases at least, and `exact` where
/// kernels give the reference's numbers to the bit.
fn assert_known(ops: &BTreeMap<String, (usize, f64)>) {
    let line = |(name, (cases, worst)): (&String, &(usize, f64))| {
        let worst = if *worst == 0.0 { "exact".to_string() } else { format!("{worst:.4}") };
        format!("{name} {cases} {worst}")
    };
    let today = ops.iter().map(line).collect::<Vec<_>>().join("\n");
    let mut known = BTreeSet::new();
    for words in
        include_str!("cases.txt").lines().filter(|line| !line.starts_with('#')).map(str::split_whitespace)
    {
        let words: Vec<&str> = words.collect();
        let (name, least, is_exact) =
            (words[0], words[1].parse::<usize>().unwrap(), words.get(2) == Some(&"exact"));
        let (cases, worst) = ops.get(name).copied().unwrap_or_default();
        assert!(cases >= least, "`{name}` had {least} cases and has {cases}; today's:\n{today}");
        let is_tight = if is_exact { worst == 0.0 } else { worst > 1e-3 };
        assert!(is_tight, "the worst error of `{name}` is {worst} of its bound; today's:\n{today}");
        known.insert(name);
    }
    let new: Vec<&String> = ops.keys().filter(|name| !known.contains(name.as_str())).collect();
    assert!(new.is_empty(), "tests/cases.txt lacks {new:?}; today's:\n{today}");
}

/// In graphs with what is fused with them and their gradients, and three times: what an op leaves where it should not, or
/// takes for given about its neighbours, shows nowhere else.
#[test]
fn every_kernel_is_right_in_the_middle_of_a_graph_and_in_the_third_run() {
    let Some(gpu) = first_unless_asked_for() else { return };
    for class in HashSet::from([AdapterClass::Gpu, gpu.caps().class]) {
        // Joined launches would be others in each graph: `tests/joined.rs` compares those.
        let gpu = gpu.with_class(class).unjoined();
        let report = check_gpu_cases_mid_graph(&gpu, &wgrad::cases::registry(), |_, _| {});
        assert_passed(&report, &format!(" as {class:?}, mid-graph"));
        assert!(report.cases() > 300 && report.skipped.len() < 20, "{}", report.skipped.len());
    }
}

/// With few workgroups a dimension, as if every tensor were huge: `linear_index` undoes the folding.
#[test]
fn folded_grids_cover_everything() {
    for gpu in common::gpus() {
        for class in classes(&gpu) {
            // One case of each kernel.
            let report = check_gpu_cases_folded(&gpu.with_class(class), &registry(), |_, _| {});
            assert_passed(&report, &format!(" as {class:?}, folded"));
            assert!(report.cases() > 300, "{}", report.cases());
            // What needs more than 11 x 11 workgroups is a limit, said so, and no failure.
            assert!(report.skipped.len() < report.cases() / 4, "{}", report.skipped.len());
            assert!(report.skipped.iter().all(|s| s.message.contains("workgroups")));
        }
    }
}

/// As if the driver ended loops after few iterations, and in fact ended after as many as each launch says: what is longer is cut
/// in pieces, or refused. This is about kernels and not about adapters, so that one is enough.
#[test]
fn long_loops_are_cut_in_pieces_and_none_is_longer_than_its_launch_says() {
    let Some(gpu) = first_unless_asked_for() else { return };
    for class in [AdapterClass::Gpu, gpu.caps().class] {
        let short = gpu.with_class(class).with_fault(PlantedFault::EndedLoops).with_max_loop_iterations(256);
        let report = check_gpu(&short, |_, _| {});
        assert_passed(&report, &format!(" as {class:?}, with loops of 256 iterations"));
        let skipped: Vec<String> =
            report.skipped.iter().map(|s| format!("{}: {}", s.case, s.message)).collect();
        println!("{}", skipped.join("\n"));
        assert!(report.skipped.len() < report.cases() / 50, "{}", report.skipped.len());
        assert!(report.skipped.iter().all(|s| s.message.contains("loop iterations")));
        // What is cut in pieces has kernels of its own, and their grids fold too.
        let kernels = |gpu: &Gpu, case: &Case| -> Option<HashSet<String>> {
            let program = wgrad::mutation::program(gpu, case).ok()?;
            Some(program.dispatches.iter().map(|d| d.kernel.key.clone()).collect())
        };
        let whole = gpu.with_class(class);
        let is_cut = |case: &Case| kernels(&short, case).is_some_and(|k| Some(k) != kernels(&whole, case));
        let cut: Vec<Case> = registry().into_iter().filter(is_cut).collect();
        let report = check_gpu_cases_folded(&short, &cut, |_, _| {});
        assert_passed(&report, &format!(" as {class:?}, with loops of 256 iterations, folded"));
        assert!(report.cases() > 20, "{}", report.cases());
    }
}

/// Pipelines do not zero workgroup memory, which takes some drivers long: no kernel may read what it has not
/// written.
#[test]
fn garbage_in_workgroup_memory_does_no_harm() {
    for gpu in common::gpus() {
        let gpu = gpu.with_class(AdapterClass::Gpu);
        let has_memory = |case: &Case| {
            let texts =
                wgrad::mutation::program(&gpu, case).map(|program| program.dispatches).unwrap_or_default();
            texts.iter().any(|d| d.kernel.text.contains("var<workgroup>"))
        };
        let cases: Vec<Case> = registry().into_iter().filter(has_memory).collect();
        assert!(cases.len() > 500, "{}", cases.len());
        assert_passed(&check_gpu_cases(&gpu.with_fault(PlantedFault::Garbage), &cases, |_, _| {}), "");
    }
}

/// All cases again with their floats stored in 16 bits. Adapters without them say what to do instead.
#[test]
fn every_kernel_stores_f16_where_the_adapter_has_it() {
    for gpu in common::gpus() {
        for class in classes(&gpu) {
            let report = match check_gpu_f16(&gpu.with_class(class), |_, _| {}) {
                Ok(report) => report,
                Err(error) => {
                    assert!(!gpu.has_f16());
                    assert!(matches!(error, wgrad::Error::Adapter(_)), "{error}");
                    println!("SKIPPED: {error}");
                    break;
                }
            };
            assert_passed(&report, &format!(" as {class:?}, in 16 bits"));
            // Some have inputs that half precision has no numbers for, but not many.
            let all = wgrad::cases::registry().len();
            assert!(report.cases() > all * 19 / 20, "only {} cases of {all}", report.cases());
            // Rounding to nearest comes close to half a unit somewhere.
            assert!(report.worst() > 0.9, "worst error is {} of its tolerance", report.worst());
        }
    }
}
