//! Criterion benches of what `wgrad bench` runs, on the GPU adapter and the CPU device: training steps,
//! products and convolutions by their best kernels and the plain ones, and ops over sizes.
#![allow(missing_docs)]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use wgrad::bench::{Sweep, Workload, uniform};
use wgrad::nn::{Layer, Mlp};
use wgrad::optim::{Adam, Optimizer};
use wgrad::{Device, Graph, Params};

/// Runs submitted before each wait: as a training loop does, without draining the queue every time. Of large ones,
/// such as those of the plain kernels, one is enough.
fn burst(flops: u64) -> u64 {
    if flops > 200_000_000 { 1 } else { 8 }
}

fn devices() -> Vec<(&'static str, Device)> {
    let mut devices = vec![("cpu", Device::cpu())];
    match Device::gpu() {
        Ok(gpu) => {
            eprintln!("gpu is {}", gpu.info());
            devices.push(("gpu", gpu));
        }
        Err(error) => eprintln!("no GPU: {error}"),
    }
    devices
}

/// Times a workload on every device; of an op, criterion also says how many operations a second.
fn time(c: &mut Criterion, group: &str, workload: &Workload) {
    let mut group = c.benchmark_group(group);
    for (name, device) in devices() {
        let mut case = workload.compile(&device).expect("the workload compiles");
        let runs = burst(case.flops());
        let elements = if workload.is_training() { 1 } else { case.flops().max(1) };
        group.sample_size(10).throughput(Throughput::Elements(elements * runs));
        group.bench_function(format!("{}/{name}", workload.name()), |b| {
            // A fixed batch is learnt by heart: every sample starts from the same weights.
            case.reset().expect("the states are written");
            b.iter(|| {
                for _ in 0..runs {
                    case.step().run().expect("the step runs");
                }
                device.wait().expect("the device answers");
            });
        });
    }
    group.finish();
}

fn named(c: &mut Criterion, group: &str, names: &[&str]) {
    for name in names {
        let workloads = Workload::named(name).expect("a workload");
        workloads.iter().for_each(|workload| time(c, group, workload));
    }
}

fn training(c: &mut Criterion) {
    named(c, "training", &["mlp-a", "mlp-b", "cnn-a", "cnn-8"]);
}

fn ops(c: &mut Criterion) {
    named(c, "ops", &["matmul-256", "matmul-512", "matmul-1024"]);
    named(c, "ops", &["matmul-256-plain", "matmul-512-plain", "matmul-1024-plain"]);
    named(c, "ops", &["conv64", "conv64-plain"]);
}

fn sizes(c: &mut Criterion) {
    for sweep in Sweep::ALL {
        // The ends and the middle: `wgrad bench sizes` has all.
        let last = sweep.sizes.len() - 1;
        for at in [0, last / 2, last] {
            time(c, "sizes", &sweep.at(sweep.sizes[at]));
        }
    }
}

/// Small steps one by one, and several in one submission.
fn submissions(c: &mut Criterion) {
    const RUNS: usize = 20;
    let mut group = c.benchmark_group("submissions");
    group.throughput(Throughput::Elements(RUNS as u64));
    for (name, device) in devices() {
        let params = Params::seeded(1);
        let net = Mlp::new(&params, &[64, 32, 10]);
        let g = Graph::new();
        let loss = net.forward(g.input("x", [32, 64])).softmax_cross_entropy(g.classes("y", [32]));
        Adam::new(&params, 1e-3).minimize(loss, &params.trainable());
        let mut step = device.compile(&g).expect("the step compiles");
        step.feed("x", &uniform(32 * 64)).expect("x is fed");
        step.feed("y", &[3u32; 32]).expect("y is fed");
        step.run_many(RUNS).expect("the step runs");
        group.bench_function(format!("one/{name}"), |b| {
            b.iter(|| {
                (0..RUNS).for_each(|_| step.run().expect("the step runs"));
                device.wait().expect("the device answers");
            });
        });
        group.bench_function(format!("several/{name}"), |b| {
            b.iter(|| {
                step.run_many(RUNS).expect("the step runs");
                device.wait().expect("the device answers");
            });
        });
    }
    group.finish();
}

criterion_group!(benches, training, submissions, ops, sizes);
criterion_main!(benches);
