//! Two networks that are trained against each other: which step changes what.
#![allow(missing_docs, clippy::unwrap_used)]

mod common;

use common::devices;
use wgrad::losses::binary_cross_entropy;
use wgrad::nn::{Activation, BatchNorm1d, Layer, Linear, Sequential};
use wgrad::optim::{Adam, Optimizer};
use wgrad::{Device, Graph, Init, Param, Params, Result, Rng, Step, Var};

const ROWS: usize = 16;
const CODE: usize = 3;
const WIDTH: usize = 5;

/// A generator and a discriminator, both with batch normalization.
struct Networks {
    params: Params,
    generator: Sequential,
    discriminator: Sequential,
}

impl Networks {
    fn new(momentum: f32) -> Self {
        let params = Params::seeded(4);
        let network = |name: &str, widths: [usize; 3]| {
            let [a, b, c] = widths;
            Sequential::new(&params.at(name))
                // Normalization takes a bias off again.
                .with(|p| Linear::with(p, a, b, false, Init::FanIn(a)))
                .with(|p| BatchNorm1d::new(p, b).momentum(momentum))
                .activation(Activation::LeakyRelu(0.2))
                .linear(b, c)
        };
        let generator = network("generator", [CODE, 8, WIDTH]);
        let discriminator = network("discriminator", [WIDTH, 8, 1]);
        Networks { params, generator, discriminator }
    }

    fn loss<'g>(&self, x: Var<'g>, target: f32) -> Var<'g> {
        let logits = self.discriminator.forward(x);
        binary_cross_entropy(logits, x.graph().full([ROWS, 1], target))
    }

    fn told_apart<'g>(&self, g: &'g Graph, fake: Var<'g>) -> Var<'g> {
        self.loss(g.input("real", [ROWS, WIDTH]), 1.0) + self.loss(fake, 0.0)
    }

    fn fake<'g>(&self, g: &'g Graph) -> Var<'g> {
        self.generator.forward(g.input("code", [ROWS, CODE]))
    }

    fn minimize(&self, name: &str, loss: Var<'_>) {
        Adam::new(&self.params, 0.01)
            .named(&format!("adam.{name}"))
            .minimize(loss, &self.params.at(name).trainable());
    }

    /// Parameters of a network, its running statistics, and the moments of its optimizer, by name.
    fn states(&self, device: &Device, name: &str) -> Result<[Vec<(String, Vec<f32>)>; 3]> {
        let read = |params: &[Param]| -> Result<Vec<(String, Vec<f32>)>> {
            let one = |p: &Param| Ok((p.name().to_string(), device.read_param(p)?.as_f32().to_vec()));
            params.iter().filter(|p| p.tensor_type().dtype == wgrad::DType::F32).map(one).collect()
        };
        let own = self.params.at(name);
        let (statistics, weights) = own.all().into_iter().partition::<Vec<_>, _>(|p| !p.is_trainable());
        Ok([read(&weights)?, read(&statistics)?, read(&self.params.at(&format!("adam.{name}")).all())?])
    }
}

fn numbers(name: &str, step: usize, n: usize) -> Vec<f32> {
    let mut rng = Rng::new(step as u64, name);
    (0..n).map(|_| rng.normal() as f32).collect()
}

fn feed(step: &mut Step, at: usize, names: &[&str]) -> Result<()> {
    for name in names {
        let width = if *name == "code" { CODE } else { WIDTH };
        step.feed(name, &numbers(name, at, ROWS * width))?;
    }
    Ok(())
}

/// The discriminator hands its gradient on to the generator and stays as it is, to the bit, but for the statistics of what passed
/// through it.
#[test]
fn a_generators_step_leaves_the_discriminator() -> Result<()> {
    for device in devices() {
        for momentum in [0.1, 0.0] {
            let networks = Networks::new(momentum);
            let g = Graph::new();
            networks.minimize("generator", networks.loss(networks.fake(&g), 1.0));
            let mut step = device.compile(&g)?;
            let [weights, statistics, moments] = networks.states(&device, "discriminator")?;
            let before = networks.states(&device, "generator")?;
            assert!(weights.len() == 5 && statistics.len() == 2 && moments.is_empty());
            for at in 0..3 {
                feed(&mut step, at, &["code"])?;
                step.run()?;
            }
            let after = networks.states(&device, "discriminator")?;
            assert_eq!(weights, after[0], "{device:?}");
            assert!(after[2].is_empty(), "an optimizer of the discriminator has states");
            // What passes through a graph for training counts, whoever's loss it is for.
            assert_eq!(statistics == after[1], momentum == 0.0, "{device:?} {momentum}");
            let generator = networks.states(&device, "generator")?;
            assert!(before[0].iter().zip(&generator[0]).all(|(a, b)| a.1 != b.1), "{device:?}");
        }
    }
    Ok(())
}

/// Frozen parameters get no gradient, statistics go on: as PyTorch's with `requires_grad` off, and unlike Keras'.
#[test]
fn freezing_keeps_parameters_and_not_statistics() -> Result<()> {
    for device in devices() {
        let networks = Networks::new(0.1);
        networks.params.at("discriminator").freeze();
        let g = Graph::new();
        networks.minimize("generator", networks.loss(networks.fake(&g), 1.0));
        let mut step = device.compile(&g)?;
        let read = |name: &str| {
            let param = networks.params.get(name).unwrap();
            Ok::<_, wgrad::Error>(device.read_param(&param)?.as_f32().to_vec())
        };
        let weight = read("discriminator.0.weight")?;
        feed(&mut step, 0, &["code"])?;
        step.run()?;
        assert_eq!(weight, read("discriminator.0.weight")?);
        assert_ne!(read("discriminator.1.running_mean")?, [0.0; 8]);
    }
    Ok(())
}

/// One step for both is a step of the discriminator, and one of the generator after it.
#[test]
fn one_step_for_both_is_one_after_the_other() -> Result<()> {
    for device in devices() {
        let joint = Networks::new(0.1);
        let g = Graph::new();
        let fake = joint.fake(&g);
        joint.minimize("discriminator", joint.told_apart(&g, fake));
        joint.minimize("generator", joint.loss(fake, 1.0));
        let mut both = device.compile(&g)?;
        assert!(both.without_gradient().is_empty());

        let apart = Networks::new(0.1);
        let [first, second] = [Graph::new(), Graph::new()];
        apart.minimize("discriminator", apart.told_apart(&first, apart.fake(&first)));
        apart.minimize("generator", apart.loss(apart.fake(&second), 1.0));
        let (mut first, mut second) = (device.compile(&first)?, device.compile(&second)?);
        for at in 0..10 {
            feed(&mut both, at, &["real", "code"])?;
            both.run()?;
            feed(&mut first, at, &["real", "code"])?;
            feed(&mut second, at, &["code"])?;
            first.run()?;
            second.run()?;
        }
        for name in ["generator", "discriminator"] {
            let (a, b) = (joint.states(&device, name)?, apart.states(&device, name)?);
            // The generator passes its batch twice in the two steps, which its statistics count.
            for (which, (a, b)) in
                a.iter().zip(&b).enumerate().filter(|(i, _)| name != "generator" || *i != 1)
            {
                assert_eq!(a.len(), b.len());
                for ((label, a), (_, b)) in a.iter().zip(b) {
                    let near = |(a, b): (&f32, &f32)| (a - b).abs() <= 1e-4 * (1.0 + b.abs());
                    assert!(a.iter().zip(b).all(near), "{device:?} {which} {label}: {a:?} {b:?}");
                }
            }
        }
    }
    Ok(())
}

/// A loss that was recorded before an update of what it reads would be one of old weights.
#[test]
fn a_loss_from_before_an_update_is_refused() {
    let networks = Networks::new(0.1);
    let g = Graph::new();
    let fake = networks.fake(&g);
    let (told_apart, taken_for_real) = (networks.told_apart(&g, fake), networks.loss(fake, 1.0));
    networks.minimize("discriminator", told_apart);
    networks.minimize("generator", taken_for_real);
    // Its gradient goes through weights that are gone.
    let text = g.error().unwrap().to_string();
    assert!(text.contains("discriminator"), "{text}");
}
