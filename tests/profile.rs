//! Profiles, and several runs in one submission, on every device.
#![allow(missing_docs, clippy::unwrap_used)]

mod common;

use std::collections::BTreeSet;

use common::devices;
use wgrad::bench::{Case, Workload};
use wgrad::data::{Split, digits};
use wgrad::gpu::Gpu;
use wgrad::nn::Mlp;
use wgrad::optim::Adam;
use wgrad::profile::{Clock, Profile};
use wgrad::train::Trainer;
use wgrad::{Data, Device, Error, Graph, Param, Params};

/// With a launch for each kernel.
fn unjoined() -> Vec<Device> {
    [Device::cpu()].into_iter().chain(common::gpus().iter().map(|gpu| gpu.unjoined().into())).collect()
}

fn workload(name: &str, device: &Device) -> Case {
    Workload::named(name).unwrap()[0].compile(device).unwrap()
}

/// The profile by every clock that the device has.
fn profiles(case: &mut Case) -> Vec<Profile> {
    let clocks = [Clock::Launches, Clock::Passes, Clock::Host];
    clocks.into_iter().filter_map(|clock| case.step().profile_by(clock, 3).ok()).collect()
}

#[test]
fn every_launch_is_timed_by_every_clock() {
    for device in devices() {
        let mut case = workload("cnn-8", &device);
        let all = profiles(&mut case);
        assert!(all.iter().any(|p| p.clock == Clock::Host), "{device:?}");
        let best = case.step().profile(3).unwrap();
        assert_eq!(best.clock, all[0].clock);
        for profile in all.iter().chain([&best]) {
            assert_eq!(profile.launches.len(), case.step().dispatches());
            assert_eq!(profile.launches.iter().map(|l| l.flops).sum::<u64>(), case.flops());
            assert!(profile.launches.iter().all(|l| l.seconds >= 0.0 && l.bytes > 0), "{profile}");
            assert!(profile.launch_seconds() > 0.0 && profile.step_seconds > 0.0);
            assert!(profile.launches.iter().any(|l| l.scope.contains("head")), "{profile}");
        }
        // It is still the step that it was.
        case.reset().unwrap();
        case.step().run().unwrap();
        assert!(case.step().scalar("loss").unwrap().is_finite());
    }
}

/// Timestamps that were taken when commands are recorded, or all at the end, would not know which launch is long.
#[test]
fn a_long_launch_is_told_from_short_ones() {
    for device in unjoined() {
        let g = Graph::inference();
        let (x, y, z) = (g.input("x", [512, 512]), g.input("y", [8]), g.input("z", [9]));
        g.output("before", y.exp());
        g.output("long", x.matmul(x));
        g.output("after", z.tanh());
        let mut step = device.compile(&g).unwrap();
        step.feed("x", &vec![0.01; 512 * 512]).unwrap();
        step.feed("y", &[1.0f32; 8]).unwrap();
        step.feed("z", &[1.0f32; 9]).unwrap();
        for clock in [Clock::Launches, Clock::Passes, Clock::Host] {
            let Ok(profile) = step.profile_by(clock, 5) else { continue };
            let seconds = |op: &str| profile.launches.iter().find(|l| l.op.starts_with(op)).unwrap().seconds;
            let long = seconds("matmul");
            // On a real GPU a launch takes some 5 µs, this product some 30.
            assert!(long > 2.0 * seconds("exp") && long > 2.0 * seconds("tanh"), "{device:?}\n{profile}");
        }
    }
}

/// A set of queries has 4,096.
#[test]
fn a_step_of_thousands_of_launches_is_timed() {
    for device in unjoined() {
        let g = Graph::inference();
        let x = g.input("x", [2, 2]);
        g.output("y", (0..4200).fold(x, |y, _| y.matmul(x)));
        let mut step = device.compile(&g).unwrap();
        step.feed("x", &[0.6f32, 0.8, 0.8, -0.6]).unwrap();
        for clock in [Clock::Launches, Clock::Passes] {
            let Ok(profile) = step.profile_by(clock, 1) else { continue };
            assert_eq!(profile.launches.len(), 4200);
            let ends = profile.launches.windows(2).map(|w| w[1].span[0] - (w[0].span[0] + w[0].span[1]));
            assert!(ends.into_iter().all(|gap| gap > -1e-9));
            let timed = profile.launches.iter().filter(|l| l.seconds > 0.0).count();
            assert!(timed > 4000, "{device:?}: {timed}");
        }
        // It is its own inverse.
        step.run().unwrap();
        let y = step.values("y").unwrap();
        assert!(y.iter().zip([0.6, 0.8, 0.8, -0.6]).all(|(a, b)| (a - b).abs() < 0.1), "{y:?}");
    }
}

#[test]
fn a_trace_names_every_kernel_and_nothing_overlaps() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("trace.json");
    for device in devices() {
        for profile in profiles(&mut workload("cnn-8", &device)) {
            profile.write_trace(&path).unwrap();
            let trace: serde_json::Value =
                serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
            let events = trace["traceEvents"].as_array().unwrap();
            let complete = || events.iter().filter(|e| e["ph"] == "X");
            let named: BTreeSet<&str> = complete().map(|e| e["name"].as_str().unwrap()).collect();
            for launch in &profile.launches {
                assert!(named.contains(&*launch.kernel) && named.contains(&*launch.node), "{}", launch.node);
            }
            let threads: BTreeSet<u64> = complete().map(|e| e["tid"].as_u64().unwrap()).collect();
            assert_eq!(threads.len(), 2);
            for thread in threads {
                let ns = |e: &serde_json::Value, key: &str| (e[key].as_f64().unwrap() * 1e3).round() as u64;
                let mut end = 0;
                for event in complete().filter(|e| e["tid"] == thread) {
                    assert!(ns(event, "ts") >= end, "{event}");
                    end = ns(event, "ts") + ns(event, "dur");
                }
            }
        }
        let lost = workload("matmul-32", &device).step().profile(1).unwrap();
        assert!(matches!(lost.write_trace(folder.path().join("no/such")), Err(Error::Io { .. })));
    }
}

#[test]
fn what_cannot_be_timed_is_refused() {
    let mut case = workload("matmul-32", &Device::cpu());
    assert!(matches!(case.step().profile(0), Err(Error::Invalid(_))));
    let error = case.step().profile_by(Clock::Passes, 3).unwrap_err();
    assert!(error.to_string().contains("no clock"), "{error}");
    let g = Graph::new();
    g.output("y", g.input("x", [3]).exp());
    for device in devices() {
        let error = device.compile(&g).unwrap().profile(3).unwrap_err();
        assert!(matches!(error, Error::Feed { .. }), "{error}");
    }
}

fn bits(device: &Device, params: &[Param]) -> Vec<Data> {
    params.iter().map(|p| device.read_param(p).unwrap().data().clone()).collect()
}

fn split() -> Split {
    let (train, test) = digits().unwrap();
    let rows: Vec<u32> = (0..530).collect();
    Split::new(train.select("some digits", &rows).unwrap(), test, 100).unwrap()
}

/// 53 full batches of 8 and a short one an epoch, with dropout.
fn train(device: &Device, epochs: usize) -> (Vec<Data>, Vec<(u64, u64)>, usize) {
    let params = Params::seeded(3);
    let net = Mlp::new(&params, &[64, 12, 10]).dropout(0.2);
    let adam = Adam::new(&params, 1e-3);
    let trainer = Trainer::new(device, net, &params, adam, split()).epochs(epochs).batch(8).seed(1);
    let report = trainer.run(&mut ()).unwrap();
    let losses =
        report.epochs.iter().map(|e| (e.train.loss.to_bits(), e.train.accuracy().to_bits())).collect();
    (bits(device, &params.all()), losses, report.steps)
}

/// A checked device runs every task in a submission of its own.
#[test]
fn training_gives_the_same_bits_with_several_steps_a_submission() {
    for gpu in common::gpus() {
        let together = train(&Device::from(gpu.clone()), 2);
        let apart = train(&Device::from(gpu.checked()), 2);
        assert_eq!(together.2, 108);
        assert_eq!(together, apart);
    }
}

/// Weights after `steps` runs of a step that shares them with nothing, the loss, how many runs one submission takes, and
/// a run's launches.
fn run(gpu: &Gpu, steps: usize, together: bool) -> (Vec<Data>, f32, usize, usize) {
    let device = Device::from(gpu.clone());
    let params = Params::seeded(1);
    let net = Mlp::new(&params, &[20, 16, 5]);
    let g = Graph::new();
    let loss =
        wgrad::nn::Layer::forward(&net, g.input("x", [8, 20])).softmax_cross_entropy(g.classes("y", [8]));
    wgrad::optim::Optimizer::minimize(&Adam::new(&params, 1e-2), loss, &params.trainable());
    g.output("loss", loss);
    let mut step = device.compile(&g).unwrap();
    step.feed("x", &(0..160).map(|i| ((i * 37 % 101) as f32) / 50.0 - 1.0).collect::<Vec<f32>>()).unwrap();
    step.feed("y", &[0u32, 1, 2, 3, 4, 0, 1, 2]).unwrap();
    match together {
        true => step.run_many(steps).unwrap(),
        false => (0..steps).for_each(|_| step.run().unwrap()),
    }
    let loss = step.scalar("loss").unwrap();
    (bits(&device, &params.all()), loss, step.runs_per_submission(), step.dispatches())
}

#[test]
fn many_runs_are_as_many_single_ones() {
    for gpu in common::gpus() {
        for steps in [1, 3, 4, 5, 150] {
            let (weights, loss, most, launches) = run(&gpu, steps, true);
            let (apart, apart_loss, one, _) = run(&gpu, steps, false);
            assert_eq!((weights, loss.to_bits()), (apart, apart_loss.to_bits()), "{steps}");
            assert_eq!(one, 1);
            assert!(steps < 5 || (2..=1000 / launches).contains(&most), "{most} of {steps}");
        }
    }
}

#[test]
fn the_profile_of_a_training_step_is_that_of_the_trainer() {
    for device in devices() {
        let params = Params::seeded(3);
        let net = Mlp::new(&params, &[64, 12, 10]);
        let adam = Adam::new(&params, 1e-3);
        let profile = Trainer::new(&device, net, &params, adam, split()).batch(8).profile(70, None).unwrap();
        let ops: BTreeSet<&str> = profile.launches.iter().map(|l| &*l.op).collect();
        for op in ["take_rows", "accumulate", "adam_update"] {
            assert!(ops.iter().any(|o| o.contains(op)), "no {op} in {ops:?}");
        }
        let scopes: BTreeSet<&str> = profile.launches.iter().map(|l| &*l.scope).collect();
        for scope in ["data", "fc1", "sums"] {
            assert!(scopes.iter().any(|s| s.contains(scope)), "no {scope} in {scopes:?}");
        }
    }
}
