//! Criterion benches of training steps and matrix products, on the GPU adapter and the CPU device.
#![allow(missing_docs)]

mod workloads;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use wgrad::{Device, Step};

/// Steps submitted before each wait: as a training loop does, without draining the queue every time.
const BURST: u64 = 8;

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

fn time(c: &mut Criterion, group: &str, name: &str, elements: u64, device: &Device, step: &mut Step) {
    let mut group = c.benchmark_group(group);
    group.sample_size(10).throughput(Throughput::Elements(elements * BURST));
    group.bench_function(name, |b| {
        b.iter(|| {
            for _ in 0..BURST {
                step.run().expect("the step runs");
            }
            device.wait().expect("the device answers");
        });
    });
    group.finish();
}

fn training(c: &mut Criterion) {
    for (device_name, device) in devices() {
        let names = workloads::MLPS.map(|w| w.0).into_iter().chain(workloads::CNNS.map(|w| w.0));
        for workload in names {
            let step = workloads::training(&device, workload).expect("the workload compiles");
            if let Some(mut step) = step {
                time(c, workload, device_name, 1, &device, &mut step);
            }
        }
    }
}

fn matmul(c: &mut Criterion) {
    for (device_name, device) in devices() {
        for n in [256, 512] {
            for (kind, plain) in [("plain", true), ("best", false)] {
                let mut step = workloads::matmul(&device, n, plain).expect("the product compiles");
                let flops = 2 * (n as u64).pow(3);
                let name = format!("{device_name}-{kind}");
                time(c, &format!("matmul-{n}"), &name, flops, &device, &mut step);
            }
        }
    }
}

criterion_group!(benches, training, matmul);
criterion_main!(benches);
