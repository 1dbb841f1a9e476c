//! From one neuron to two layers: what a perceptron learns, why it cannot learn XOR, and what can.
//!
//! Run it with `cargo run --release --example 01_perceptron`.

use wgrad::losses::binary_cross_entropy;
use wgrad::nn::{Layer, Linear};
use wgrad::optim::{Adam, Optimizer};
use wgrad::{Device, Graph, Params};

/// All inputs of a function of two bits.
const INPUTS: [[f32; 2]; 4] = [[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]];
const AND: [f32; 4] = [0.0, 0.0, 0.0, 1.0];
const OR: [f32; 4] = [0.0, 1.0, 1.0, 1.0];
const XOR: [f32; 4] = [0.0, 1.0, 1.0, 0.0];

/// The neuron of McCulloch and Pitts (1943): it fires if the weighted sum of its inputs reaches a threshold.
/// Here the threshold is written as a bias: w · x + b ≥ 0.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Neuron {
    w: [f32; 2],
    b: f32,
}

impl Neuron {
    fn fires(&self, x: [f32; 2]) -> f32 {
        if self.w[0] * x[0] + self.w[1] * x[1] + self.b >= 0.0 { 1.0 } else { 0.0 }
    }
}

/// How the perceptron rule ended.
#[derive(Debug, PartialEq)]
enum Outcome {
    /// An epoch went by without a mistake.
    Learned(Neuron),
    /// The weights are those of an earlier epoch, so that all repeats forever.
    Cycles { length: usize },
}

/// Rosenblatt's rule (1958): after each mistake, move the weights by error times input. Where a line
/// separates the two classes, it ends after finitely many mistakes (Novikoff, 1962).
fn perceptron_rule(targets: [f32; 4]) -> Outcome {
    let mut neuron = Neuron { w: [0.0; 2], b: 0.0 };
    let mut seen = vec![neuron];
    loop {
        let mut mistakes = 0;
        for (x, target) in INPUTS.into_iter().zip(targets) {
            let error = target - neuron.fires(x);
            if error != 0.0 {
                mistakes += 1;
            }
            neuron.w[0] += error * x[0];
            neuron.w[1] += error * x[1];
            neuron.b += error;
        }
        if mistakes == 0 {
            return Outcome::Learned(neuron);
        }
        // All steps are whole numbers, so that a repetition is exact.
        if let Some(at) = seen.iter().position(|&earlier| earlier == neuron) {
            return Outcome::Cycles { length: seen.len() - at };
        }
        seen.push(neuron);
    }
}

/// Two layers have no such limit: the first bends the plane, so that a line can separate what is left. The
/// weights are learned by gradient descent on a smooth loss. Returns the probabilities it learned for XOR.
fn two_layers(device: &Device) -> wgrad::Result<Vec<f32>> {
    // Parameters have names, and their first values come from a seed.
    let params = Params::seeded(1);
    let hidden = Linear::new(&params.at("hidden"), 2, 8);
    let output = Linear::new(&params.at("output"), 8, 1);
    let model = |x| output.forward(hidden.forward(x).tanh());

    // The graph of one step is recorded once: inputs, loss, and the update of all parameters.
    let g = Graph::new();
    let logits = model(g.input("x", [4, 2]));
    let loss = binary_cross_entropy(logits, g.input("y", [4, 1]));
    Adam::new(&params, 0.05).minimize(loss, &params.trainable());
    g.output("loss", loss);
    g.output("probability", logits.sigmoid());

    // Then it is compiled for a device and run as often as needed. Inputs keep their values.
    let mut step = device.compile(&g)?;
    step.feed("x", INPUTS.as_flattened())?;
    step.feed("y", &XOR)?;
    for i in 1..=300 {
        step.run()?;
        if i % 100 == 0 {
            println!("  step {i}: loss {:.4}", step.scalar("loss")?);
        }
    }
    step.values("probability")
}

pub(crate) fn run(device: &Device) -> Result<(), Box<dyn std::error::Error>> {
    // Weights set by hand: both inputs are needed to reach 1.5, one to reach 0.5.
    let and = Neuron { w: [1.0, 1.0], b: -1.5 };
    let or = Neuron { w: [1.0, 1.0], b: -0.5 };
    println!("by hand: AND {:?}, OR {:?}", INPUTS.map(|x| and.fires(x)), INPUTS.map(|x| or.fires(x)));

    println!("the perceptron rule learns AND: {:?}", perceptron_rule(AND));
    println!("the perceptron rule learns OR: {:?}", perceptron_rule(OR));
    // XOR asks for b < 0, w0 + b ≥ 0, w1 + b ≥ 0 and w0 + w1 + b < 0. The second and third add up to
    // w0 + w1 + 2b ≥ 0, so that w0 + w1 + b ≥ -b > 0: no line will do (Minsky and Papert, 1969).
    println!("the perceptron rule on XOR: {:?}", perceptron_rule(XOR));

    println!("two layers learn XOR on {}:", device.info());
    let probabilities = two_layers(device)?;
    for (x, p) in INPUTS.iter().zip(&probabilities) {
        println!("  {x:?} -> {p:.3}");
    }
    if probabilities.iter().zip(XOR).any(|(p, y)| (p - y).abs() > 0.1) {
        return Err("XOR was not learned".into());
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    run(&Device::named("auto")?)
}
