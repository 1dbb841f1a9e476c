//! Vectors of classes: words, categories, positions.

use std::sync::Arc;

use super::Layer;
use crate::graph::{Init, Param, Params, Var};
use crate::tensor::Tensor;

/// A vector for each of `rows` class numbers, which is learned: y\[..\] = weight\[index\[..\]\] (Bengio, Ducharme, Vincent and Jauvin,
/// "A Neural Probabilistic Language Model", JMLR 3, 2003, section 2). Takes class numbers of any shape `[..]`, `u32` below `rows`, and
/// gives `[.., width]`. The parameter is PyTorch's: `weight` `[rows, width]`.
///
/// Class numbers come from [`Graph::classes`](crate::Graph::classes), or from a data set whose values are
/// [`Values::Indices`](crate::data::Values::Indices). Those that are fed are checked; one that is computed and out of range is an error on the
/// CPU device, and a row of NaN without a gradient on a GPU. The gradient adds the rows of each number in the order of their positions, to the same
/// bits on all devices, and is a tensor of the table's shape, so that an optimizer with momentum or weight decay also changes rows
/// that a batch does not have (PyTorch's `sparse=False`).
///
/// ```
/// use wgrad::nn::{Embedding, Layer};
/// use wgrad::{Device, Graph, Params};
/// let params = Params::seeded(1);
/// let words = Embedding::new(&params.at("words"), 1000, 16).padding(0);
/// let g = Graph::new();
/// let y = words.forward(g.classes("words", [2, 3]));
/// assert_eq!(y.shape().dims(), [2, 3, 16]);
/// g.output("y", y);
/// let mut step = Device::cpu().compile(&g)?;
/// step.feed("words", &[5u32, 7, 5, 999, 0, 0])?;
/// step.run()?;
/// let y = step.values("y")?;
/// assert!(y[..16] == y[32..48] && y[64..].iter().all(|x| *x == 0.0));
/// # Ok::<(), wgrad::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Embedding {
    path: String,
    weight: Param,
    padding: Option<u32>,
    is_given: bool,
}

impl Embedding {
    /// A table of `rows` vectors of `width`, which starts standard normal, as in PyTorch.
    pub fn new(params: &Params, rows: usize, width: usize) -> Self {
        Self::with(params, rows, width, Init::Normal(1.0))
    }

    /// The same with other initial values.
    pub fn with(params: &Params, rows: usize, width: usize, init: Init) -> Self {
        let weight = params.param("weight", [rows, width], init);
        Embedding { path: params.path().to_string(), weight, padding: None, is_given: false }
    }

    /// A table `[rows, width]` of vectors that were learned elsewhere. It is frozen, as PyTorch's `Embedding.from_pretrained` has it,
    /// until `weight().set_trainable(true)` is called. A tensor of other axes or of integers is a recording error.
    pub fn pretrained(params: &Params, table: Tensor) -> Self {
        let weight = params.param("weight", table.shape(), Init::Values(Arc::new(table)));
        weight.set_trainable(false);
        Embedding { path: params.path().to_string(), weight, padding: None, is_given: true }
    }

    /// Takes the class `index` for padding: its vector starts as zeros and gets no gradient (PyTorch's `padding_idx`). That of a
    /// pretrained table stays as it was given. An index beyond the table is a recording error.
    #[must_use]
    pub fn padding(mut self, index: u32) -> Self {
        if !self.is_given {
            self.weight.zero_row(index);
        }
        self.padding = Some(index);
        self
    }

    /// The table, `[rows, width]`.
    pub fn weight(&self) -> &Param {
        &self.weight
    }
}

impl Layer for Embedding {
    #[track_caller]
    fn forward<'g>(&self, x: Var<'g>) -> Var<'g> {
        let g = x.graph();
        let _scope = g.scope_at(&self.path);
        let (table, shape) = (g.param(&self.weight), self.weight.shape());
        match self.padding {
            _ if shape.rank() != 2 => {
                g.refuse("embedding", format!("a table is [rows, width], got {shape}"), x)
            }
            Some(index) if index as usize >= shape.dim(0) => {
                let message =
                    format!("the index for padding, {index}, is none of a table of {} rows", shape.dim(0));
                g.refuse("embedding", message, x)
            }
            padding => table.take_rows_but(x, padding),
        }
    }
}
