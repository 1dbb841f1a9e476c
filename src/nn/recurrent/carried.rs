//! States that outlive a step.

use super::{Recurrent, Sequence};
use crate::graph::{Init, Param, Params, Var};

/// The states of a [`Recurrent`] from one step to the next: sequences that are longer than a step's are cut, each step goes on where
/// the last one ended, and gradients stop at the cut (truncated backpropagation through time: Williams and Peng, Neural Computation
/// 2, 1990). Each row of a batch must then go on with what it read before.
///
/// The states belong to the store of the parameters, so that checkpoints have them; they begin with 0, and
/// [`Carried::states`] are set to 0 where a new text begins.
///
/// ```
/// use wgrad::nn::{Carried, Recurrent};
/// use wgrad::{Device, Graph, Params};
/// let params = Params::seeded(1);
/// let lstm = Recurrent::lstm(&params.at("lstm"), 1, 4);
/// let carried = Carried::new(&params.at("lstm"), &lstm, 1);
/// let g = Graph::new();
/// g.output("y", carried.run(&lstm, g.input("x", [1, 3, 1])).output);
/// let mut step = Device::cpu().compile(&g)?;
/// step.feed("x", &[1.0f32, 2.0, 3.0])?;
/// step.run()?;
/// let first = step.values("y")?;
/// step.run()?;
/// assert_ne!(step.values("y")?, first);
/// # Ok::<(), wgrad::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Carried {
    states: Vec<Param>,
}

impl Carried {
    /// For batches of so many rows: `carried_h`, and of an LSTM `carried_c`, `[layers · directions, batch, hidden]`.
    pub fn new(params: &Params, layer: &Recurrent, batch: usize) -> Self {
        let dims = [layer.count(), batch, layer.hidden];
        let names = ["carried_h", "carried_c"];
        let state = |name: &&str| params.state(name, dims, Init::Constant(0.0));
        Carried { states: names[..layer.kind.states()].iter().map(state).collect() }
    }

    /// h, and of an LSTM c.
    pub fn states(&self) -> &[Param] {
        &self.states
    }

    /// Runs `layer` on `x` from the states that the last run left, and leaves its own.
    #[track_caller]
    pub fn run<'g>(&self, layer: &Recurrent, x: Var<'g>) -> Sequence<'g> {
        let g = x.graph();
        let before: Vec<Var<'g>> = self.states.iter().map(|state| g.param(state)).collect();
        let sequence = layer.run(x, Some(&before), None);
        for (before, &after) in before.iter().zip(&sequence.states) {
            before.assign(after);
        }
        sequence
    }
}
