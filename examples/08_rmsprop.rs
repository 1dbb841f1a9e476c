//! An optimizer of one's own: RMSprop, made of states and [`Var::assign`]. Each parameter takes two kernels, one for the
//! running square and one for the parameter: the formulas are computed where the states are written.
//!
//! Run it with `cargo run --release --example 08_rmsprop`.

use wgrad::data::{Split, digits};
use wgrad::nn::Mlp;
use wgrad::optim::Optimizer;
use wgrad::train::Trainer;
use wgrad::{Device, Graph, Init, Param, Params, Var};

/// v = decay · v + (1 − decay) · g², w = w − lr · g / (√v + eps): PyTorch's `RMSprop` without momentum. Tieleman and
/// Hinton, "Neural Networks for Machine Learning", lecture 6.5, 2012.
pub(crate) struct RmsProp {
    /// The store of the parameters, which holds the states too, so that checkpoints have them.
    pub(crate) params: Params,
    pub(crate) lr: f32,
    pub(crate) decay: f32,
    pub(crate) eps: f32,
}

impl Optimizer for RmsProp {
    fn apply<'g>(&self, g: &'g Graph, params: &[Param], gradients: &[Var<'g>]) {
        let rate = g.param(&self.lr_state());
        for (param, &gradient) in params.iter().zip(gradients) {
            let _scope = g.scope(param.name());
            let squares = self.params.at("rmsprop.squares");
            let square = g.param(&squares.state(param.name(), param.shape(), Init::Constant(0.0)));
            let square = square.assign(square * self.decay + gradient.square() * (1.0 - self.decay));
            let weight = g.param(param);
            weight.assign(weight - rate * gradient / (square.sqrt() + self.eps));
        }
    }

    fn lr(&self) -> f32 {
        self.lr
    }

    /// A schedule rewrites it between steps.
    fn lr_state(&self) -> Param {
        self.params.at("rmsprop").state("lr", [1], Init::Constant(self.lr))
    }
}

pub(crate) fn run(device: &Device) -> Result<(), Box<dyn std::error::Error>> {
    let (train, test) = digits()?;
    let params = Params::seeded(42);
    let model = Mlp::new(&params, &[64, 64, 10]);
    let optimizer = RmsProp { params: params.clone(), lr: 2e-3, decay: 0.99, eps: 1e-8 };
    let split = Split::new(train, test, 144)?;
    let report = Trainer::new(device, model, &params, optimizer, split).epochs(15).run(&mut ())?;
    println!("{device:?}: {:.1} % of the test digits right", 100.0 * report.test.accuracy());
    if report.test.accuracy() < 0.88 {
        return Err(format!("only {} right", report.test.accuracy()).into());
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    run(&Device::named("auto")?)
}
