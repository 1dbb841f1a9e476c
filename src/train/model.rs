//! What is trained: from the inputs of a data set to a prediction.

use std::panic::Location;

use crate::graph::{Graph, SourceLocation, Var};
use crate::nn::Layer;

/// The inputs of a batch, by name, as the model sees them: `[rows, ..shape]`, floats or, for indices, integers.
#[derive(Debug, Clone)]
pub struct Inputs<'g> {
    graph: &'g Graph,
    named: Vec<(String, Var<'g>)>,
}

impl<'g> Inputs<'g> {
    pub(super) fn new(graph: &'g Graph, named: Vec<(String, Var<'g>)>) -> Self {
        Inputs { graph, named }
    }

    /// The graph that they belong to.
    pub fn graph(&self) -> &'g Graph {
        self.graph
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.named.len()
    }

    /// Whether there is none, which no data set allows.
    pub fn is_empty(&self) -> bool {
        self.named.is_empty()
    }

    /// The input of this name; a recording error where there is none.
    #[track_caller]
    pub fn get(&self, name: &str) -> Var<'g> {
        let location = SourceLocation(Location::caller());
        let found = self.named.iter().find(|(known, _)| known == name);
        found.map(|(_, var)| *var).unwrap_or_else(|| {
            let names: Vec<String> = self.named.iter().map(|(name, _)| format!("`{name}`")).collect();
            let message = format!("there is no input `{name}`; the data set has {}", names.join(", "));
            self.graph.mistake("model", message, &[], location)
        })
    }

    /// The only input; a recording error where there are several.
    #[track_caller]
    pub fn only(&self) -> Var<'g> {
        let location = SourceLocation(Location::caller());
        match self.named[..] {
            [(_, x)] => x,
            _ => {
                let message = format!(
                    "a layer takes one input, and the data set has {}; write a `Model`, or use `model_fn`",
                    self.named.len()
                );
                self.graph.mistake("model", message, &[], location)
            }
        }
    }

    pub(super) fn first(&self) -> Option<Var<'g>> {
        self.named.first().map(|(_, var)| *var)
    }

    /// The same with another first input.
    pub(super) fn with_first(mut self, change: impl FnOnce(Var<'g>) -> Var<'g>) -> Self {
        if let Some((_, first)) = self.named.first_mut() {
            *first = change(*first);
        }
        self
    }
}

/// From the inputs of a batch to a prediction `[rows, ..]`. Every [`Layer`] is one, of one input, and so is a reference to
/// it; [`model_fn`] makes one of a function, which may borrow what it calls: `model_fn(|x| model.predict(x))` is one
/// that borrows another.
pub trait Model {
    /// Records the prediction of some rows.
    fn predict<'g>(&self, inputs: &Inputs<'g>) -> Var<'g>;
}

impl<L: Layer + ?Sized> Model for L {
    #[track_caller]
    fn predict<'g>(&self, inputs: &Inputs<'g>) -> Var<'g> {
        self.forward(inputs.only())
    }
}

/// A model of several inputs as a function of them. It keeps the layers that it calls, or borrows them: then it can be
/// copied, to be trained first and asked afterwards.
///
/// ```
/// use wgrad::Params;
/// use wgrad::nn::{Layer, Linear};
/// use wgrad::train::model_fn;
/// let params = Params::seeded(1);
/// let side = Linear::new(&params.at("side"), 8, 4);
/// // How alike two things are that one layer looks at.
/// let alike = model_fn(|x| {
///     let (left, right) = (side.forward(x.get("left")), side.forward(x.get("right")));
///     (left * right).sum_keep(&[1])
/// });
/// ```
pub fn model_fn<F: for<'g> Fn(&Inputs<'g>) -> Var<'g>>(predict: F) -> ModelFn<F> {
    ModelFn(predict)
}

/// What [`model_fn`] makes.
#[derive(Debug, Clone, Copy)]
pub struct ModelFn<F>(F);

impl<F: for<'g> Fn(&Inputs<'g>) -> Var<'g>> Model for ModelFn<F> {
    fn predict<'g>(&self, inputs: &Inputs<'g>) -> Var<'g> {
        (self.0)(inputs)
    }
}
