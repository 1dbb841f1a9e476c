//! Models by name.

use std::path::Path;

use safetensors::SafeTensors;
use wgrad::nn::{Dropout, Layer, Linear};
use wgrad::{Params, Var};

use super::{Failure, Outcome};

/// Linear layers `fc1`, `fc2`, … with ReLU and dropout between them.
#[derive(Debug)]
pub(super) struct Mlp {
    layers: Vec<(Linear, Dropout)>,
}

impl Mlp {
    /// Layers between the given widths.
    pub(super) fn new(params: &Params, widths: &[usize], dropout: f32) -> Self {
        let layer = |(i, w): (usize, &[usize])| {
            let linear = Linear::new(&params.at(&format!("fc{}", i + 1)), w[0], w[1]);
            (linear, Dropout::new(&params.at(&format!("drop{}", i + 1)), dropout))
        };
        Mlp { layers: widths.windows(2).enumerate().map(layer).collect() }
    }
}

impl Layer for Mlp {
    fn forward<'g>(&self, x: Var<'g>) -> Var<'g> {
        let mut x = x.flatten(1);
        for (i, (linear, dropout)) in self.layers.iter().enumerate() {
            x = linear.forward(x);
            if i + 1 < self.layers.len() {
                let _scope = x.scope(&format!("fc{}.relu", i + 1));
                x = dropout.forward(x.relu());
            }
        }
        x
    }
}

/// The widths of the perceptron that a file holds, from the shapes of `fc1.weight`, `fc2.weight`, ….
pub(super) fn widths(path: &Path) -> Outcome<Vec<usize>> {
    let show = path.display();
    let content = std::fs::read(path).map_err(|e| Failure::new(format!("{show}: {e}")))?;
    let file = SafeTensors::deserialize(&content)
        .map_err(|e| Failure::new(format!("{show}: not a safetensors file: {e}")))?;
    let mut widths = Vec::new();
    while let Ok(weight) = file.tensor(&format!("fc{}.weight", widths.len().max(1))) {
        let [outputs, inputs] = weight.shape() else {
            return Err(Failure::new(format!("{show}: fc{}.weight is no matrix", widths.len().max(1))));
        };
        if widths.is_empty() {
            widths.push(*inputs);
        }
        if widths.last() != Some(inputs) {
            return Err(Failure::new(format!("{show}: its layers do not fit on one another")));
        }
        widths.push(*outputs);
    }
    if widths.is_empty() {
        let names = file.names().join(", ");
        return Err(Failure::new(format!("{show} holds no perceptron: there is no fc1.weight, but {names}")));
    }
    Ok(widths)
}
