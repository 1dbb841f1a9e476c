//! Layers without trainable parameters.

use super::Layer;
use crate::graph::{Params, Var};
use crate::shape::IntoShape;

/// Inverted dropout: in training each element is zero with probability p and the rest are divided by
/// 1 - p (Srivastava et al., JMLR 15, 2014); for inference it does nothing. Its random stream is the
/// path it was made under.
#[derive(Debug, Clone)]
pub struct Dropout {
    params: Params,
    p: f32,
}

impl Dropout {
    /// Drops with probability `p`, in [0, 1).
    pub fn new(params: &Params, p: f32) -> Self {
        Dropout { params: params.clone(), p }
    }
}

impl Layer for Dropout {
    #[track_caller]
    fn forward<'g>(&self, x: Var<'g>) -> Var<'g> {
        if !x.graph().is_training() {
            return x;
        }
        let _scope = x.graph().scope_at(self.params.path());
        crate::ops::dropout(x, self.p, &self.params.root(), self.params.path())
    }
}

/// All axes but the first merged: `[n, c, h, w]` to `[n, c·h·w]`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Flatten;

impl Layer for Flatten {
    #[track_caller]
    fn forward<'g>(&self, x: Var<'g>) -> Var<'g> {
        x.flatten(1)
    }
}

/// `[n, ..]` with all axes but the first given other extents, of as many elements: what turns a code into channels and pixels for the
/// convolutions of a decoder, as [`Flatten`] turns them into a row. PyTorch's `Unflatten(1, ..)`, Keras' `Reshape`.
///
/// ```
/// use wgrad::Graph;
/// use wgrad::nn::{Layer, Unflatten};
/// let g = Graph::new();
/// assert_eq!(Unflatten::new([32, 2, 2]).forward(g.input("x", [5, 128])).shape().dims(), [5, 32, 2, 2]);
/// ```
#[derive(Debug, Clone)]
pub struct Unflatten(Vec<usize>);

impl Unflatten {
    /// To these extents, without that of the rows.
    pub fn new(extents: impl IntoShape) -> Self {
        Unflatten(extents.into_dims())
    }
}

impl Layer for Unflatten {
    #[track_caller]
    fn forward<'g>(&self, x: Var<'g>) -> Var<'g> {
        match x.shape().dims().first() {
            Some(&rows) => x.reshape(&[&[rows][..], &self.0].concat()),
            None => x.graph().refuse("unflatten", "a scalar has no rows".into(), x),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Device, Graph, Result};

    #[test]
    fn what_is_flattened_can_be_given_its_extents_again() -> Result<()> {
        let g = Graph::new();
        let x = g.input("x", [3, 2, 4, 5]);
        g.output("same", Unflatten::new([2, 4, 5]).forward(Flatten.forward(x)));
        let values: Vec<f32> = (0..120).map(|i| i as f32).collect();
        let mut step = Device::cpu().compile(&g)?;
        step.run_with(&[("x", values.as_slice().into())])?;
        let same = step.read("same")?.wait()?;
        assert_eq!((same.shape().dims(), same.as_f32()), (&[3, 2, 4, 5][..], &values[..]));
        Ok(())
    }

    #[test]
    fn extents_that_do_not_fit_are_refused() {
        let message = |extents: &[usize], shape: &[usize]| {
            let g = Graph::new();
            Unflatten::new(extents).forward(g.input("x", shape));
            g.error().map_or_else(String::new, |e| e.to_string())
        };
        assert!(message(&[2, 3], &[4, 7]).contains("[4, 2, 3]"), "{}", message(&[2, 3], &[4, 7]));
        assert!(message(&[2], &[]).contains("a scalar has no rows"));
        assert!(message(&[1; 7], &[4, 1]).contains("at most 6 axes"));
    }
}
