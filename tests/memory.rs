//! Steps within a budget of memory: the same bits as without one, on the CPU and on every adapter.
#![allow(missing_docs, clippy::unwrap_used)]

mod common;

use wgrad::nn::{Cnn, Layer, Mlp, ResNet};
use wgrad::optim::{Adam, Optimizer};
use wgrad::{Device, Error, Graph, Params, Rng, Step};

const BATCH: usize = 16;

fn devices() -> Vec<Device> {
    let gpus = common::gpus();
    let unfused = gpus.iter().map(|g| Device::from(g.unfused())).collect::<Vec<_>>();
    [Device::cpu(), Device::reference()]
        .into_iter()
        .chain(gpus.into_iter().map(Device::from))
        .chain(unfused)
        .collect()
}

/// A training step of a model on images of 12 × 12.
fn record(g: &Graph, params: &Params, model: &dyn Layer) {
    let x = g.input("x", [BATCH, 1, 12, 12]);
    let loss = model.forward(x).softmax_cross_entropy(g.classes("y", [BATCH]));
    Adam::new(params, 1e-2).minimize(loss, &params.trainable());
    g.output("loss", loss);
}

type Build = fn(&Params) -> Box<dyn Layer>;

const MODELS: [(&str, Build); 3] = [
    ("mlp", |p| Box::new(Mlp::new(p, &[144, 64, 64, 64, 64, 10]).dropout(0.3))),
    ("cnn", |p| Box::new(Cnn::new(p, [1, 12, 12], &[8, 16], 10).dropout(0.3))),
    ("resnet", |p| Box::new(ResNet::new(p, 1, &[8, 16], 2, 10).dropout(0.3))),
];

/// The bits of three losses and of all states after them; planned bytes and operations.
fn train(device: &Device, build: Build, budget: Option<usize>) -> Result<(Vec<u32>, usize, u64), Error> {
    let params = Params::seeded(3);
    let model = build(&params);
    let g = Graph::new();
    record(&g, &params, &*model);
    let mut step: Step = match budget {
        Some(bytes) => device.compile_within(&g, bytes)?,
        None => device.compile(&g)?,
    };
    let mut rng = Rng::new(5, "memory");
    let x: Vec<f32> = (0..BATCH * 144).map(|_| rng.normal() as f32).collect();
    step.feed("x", &x)?;
    step.feed("y", &(0..BATCH as u32).map(|i| i % 10).collect::<Vec<_>>())?;
    let mut bits = Vec::new();
    for _ in 0..3 {
        step.run()?;
        bits.push(step.scalar("loss")?.to_bits());
    }
    for param in params.all() {
        let values = device.read_param(&param)?;
        match values.data() {
            wgrad::Data::F32(values) => bits.extend(values.iter().map(|v| v.to_bits())),
            wgrad::Data::U32(values) => bits.extend(values),
            other => panic!("{other:?}"),
        }
    }
    Ok((bits, step.planned_bytes(), step.flops()))
}

#[test]
fn a_budget_changes_no_bit() {
    for device in devices() {
        for (name, build) in MODELS {
            let (free, all, flops) = train(&device, build, None).unwrap();
            let Err(Error::MemoryBudget { budget: 1, least }) = train(&device, build, Some(1)) else {
                panic!("{name}: one byte is enough");
            };
            println!("{device:?} {name}: {all} bytes, {least} at least");
            assert!(least <= all, "{name}: {least} of {all}");
            if name == "resnet" {
                assert!(10 * least < 9 * all, "{device:?} {name}: {least} of {all}");
            }
            for budget in [least, (least + all) / 2] {
                let (bits, planned, more) = train(&device, build, Some(budget)).unwrap();
                assert!(planned <= budget, "{device:?} {name}: {planned} in {budget}");
                assert!(more > flops || budget == all, "{name}: {more} operations, {flops} before");
                let different = bits.iter().zip(&free).filter(|(a, b)| a != b).count();
                assert_eq!((different, bits.len()), (0, free.len()), "{device:?} {name} in {budget}");
            }
            // What is enough anyway changes nothing.
            let (_, planned, same) = train(&device, build, Some(all)).unwrap();
            assert_eq!((planned, same), (all, flops));
        }
    }
}

#[test]
fn an_impossible_budget_says_what_is_needed() {
    let error = train(&Device::cpu(), MODELS[0].1, Some(1000)).unwrap_err();
    let Error::MemoryBudget { budget: 1000, least } = error else { panic!("{error}") };
    assert!(error.to_string().contains(&format!("at least {least} bytes")), "{error}");
    train(&Device::cpu(), MODELS[0].1, Some(least)).unwrap();
}
