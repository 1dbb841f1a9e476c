//! A training loop by hand: what a graph is, how a step is fed, and when its loss is read.
//!
//! Run it with `cargo run --release --example 03_custom_loop`.

use wgrad::data::{LastBatch, batches, digits, epoch_order};
use wgrad::nn::{Layer, Sequential};
use wgrad::optim::{AdamW, Optimizer};
use wgrad::{Device, Graph, Params};

const BATCH: usize = 64;

pub(crate) fn run(device: &Device) -> Result<(), Box<dyn std::error::Error>> {
    let (train, test) = digits()?;
    let params = Params::seeded(7);
    let model = Sequential::new(&params)
        .flatten()
        .linear(64, 64)
        .activation(wgrad::nn::Activation::Relu)
        .dropout(0.2)
        .linear(64, 10);

    // Training: bytes become floats from 0 to 1 on the device, a quarter of the upload. `minimize` appends
    // the backward pass and the updates, which are ordinary ops: `println!("{g}")` shows them all.
    let g = Graph::new();
    let x = g.bytes("x", [BATCH, 1, 8, 8]).to_f32_scaled(train.scale());
    let loss = model.forward(x).softmax_cross_entropy(g.classes("y", [BATCH]));
    let adam = AdamW::new(&params, 5e-3);
    adam.minimize(loss, &params.trainable());
    g.output("loss", loss);
    let mut step = device.compile(&g)?;

    // Inference is another graph over the same parameters, without dropout.
    let g = Graph::inference();
    let x = g.bytes("x", [test.len(), 1, 8, 8]).to_f32_scaled(test.scale());
    g.output("class", model.forward(x).argmax(1).to_f32());
    let mut classify = device.compile(&g)?;

    let mut count = 0;
    let mut pending = None;
    for epoch in 0..15 {
        let order = epoch_order(train.len(), 7, epoch);
        for rows in batches(&order, BATCH, LastBatch::Drop)? {
            let (pixels, labels) = train.gather(rows)?;
            // On a GPU this returns when the work is submitted.
            step.run_with(&[("x", (&pixels).into()), ("y", (&labels).into())])?;
            count += 1;
            // Waiting for a loss stops the device until the next step comes. Asking for it now and looking
            // 20 steps later does not.
            if count % 20 == 0
                && let Some((at, loss)) = pending.replace((count, step.read("loss")?))
                && at % 100 == 0
            {
                println!("step {at}: loss {:.4}", loss.wait()?.as_f32()[0]);
            }
        }
        // The learning rate is a state on the device: a schedule rewrites it, and nothing is compiled again.
        device.write_param(&adam.lr_state(), &[adam.lr() * (1.0 - epoch as f32 / 15.0)])?;
    }

    classify.run_with(&[("x", test.values().into())])?;
    let classes = classify.values("class")?;
    let right = classes.iter().zip(test.labels()).filter(|(class, label)| **class == **label as f32).count();
    println!("{right} of {} test digits right", test.len());

    // PyTorch reads this file, under the names of an equal `torch.nn.Sequential`.
    let file = std::env::temp_dir().join(format!("wgrad-custom-loop-{}.safetensors", std::process::id()));
    device.save(&params.trainable(), &file)?;
    println!("saved {} parameters", params.trainable().len());
    std::fs::remove_file(file)?;
    if right * 100 < test.len() * 85 {
        return Err(format!("only {right} right").into());
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    run(&Device::named("auto")?)
}
