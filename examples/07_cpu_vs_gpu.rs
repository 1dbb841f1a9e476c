//! One training step, compiled for the CPU and for the GPU: how long it takes on each. The code is the same, and
//! so are the losses, but for rounding. `wgrad bench` compares more, and more carefully.
//!
//! Run it with `cargo run --release --example 07_cpu_vs_gpu`.

use std::time::Instant;

use wgrad::bench::uniform;
use wgrad::nn::{Layer, Mlp};
use wgrad::optim::{Adam, Optimizer};
use wgrad::{Device, Graph, Params};

const BATCH: usize = 64;
const STEPS: usize = 100;

/// Milliseconds of a step, and the loss after all of them.
fn train(device: &Device) -> wgrad::Result<(f64, f32)> {
    // The same seed gives the same weights on every device.
    let params = Params::seeded(1);
    let net = Mlp::new(&params, &[784, 128, 10]);
    let g = Graph::new();
    let (x, y) = (g.input("x", [BATCH, 784]), g.classes("y", [BATCH]));
    let loss = net.forward(x).softmax_cross_entropy(y);
    Adam::new(&params, 1e-3).minimize(loss, &params.trainable());
    g.output("loss", loss);

    let mut step = device.compile(&g)?;
    step.feed("x", &uniform(BATCH * 784))?;
    step.feed("y", &(0..BATCH as u32).map(|i| i % 10).collect::<Vec<u32>>())?;
    // The first step of a GPU compiles kernels: it is not the one to time.
    step.run()?;
    device.wait()?;
    let start = Instant::now();
    for _ in 1..STEPS {
        step.run()?; // on a GPU this returns when the work is submitted
    }
    device.wait()?;
    let milliseconds = start.elapsed().as_secs_f64() * 1e3 / (STEPS - 1) as f64;
    Ok((milliseconds, step.scalar("loss")?))
}

pub(crate) fn run(gpu: &Device) -> Result<(), Box<dyn std::error::Error>> {
    let cpu = Device::cpu();
    let (cpu_time, cpu_loss) = train(&cpu)?;
    println!("{:>9.3} ms a step on {}, loss {cpu_loss:.4}", cpu_time, cpu.info());
    let (gpu_time, gpu_loss) = train(gpu)?;
    println!("{:>9.3} ms a step on {}, loss {gpu_loss:.4}", gpu_time, gpu.info());
    println!("the second takes {:.2} times as long as the first", gpu_time / cpu_time);
    if gpu.info().kind == "Cpu" {
        println!("(it is a software adapter: its kernels run on the same cores as the CPU device)");
    }
    // Both learnt the same.
    if !(cpu_loss < 2.2 && (cpu_loss - gpu_loss).abs() < 0.02 * cpu_loss.max(0.1)) {
        return Err(format!("the losses are {cpu_loss} and {gpu_loss}").into());
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    run(&Device::named("auto")?)
}
