//! Layer normalization.

use super::Layer;
use super::norm::{Affine, Base, base_methods};
use crate::graph::{Param, Params, Var};

/// Normalizes every row of `[.., width]` to mean 0 and variance 1, then scales and shifts its columns (Ba, Kiros and
/// Hinton, arXiv:1607.06450, section 3):
///
/// y = (x - mean) / √(variance + eps) · weight + bias,
///
/// with the mean and the biased variance of the row, so that training and inference are the same. Parameters are named
/// as in PyTorch: `weight` and `bias`, both `[width]`. Unlike there, it is always the last axis alone that is normalized, and
/// eps is above 0.
///
/// ```
/// use wgrad::nn::{Layer, LayerNorm};
/// use wgrad::{Device, Graph, Params};
/// let params = Params::seeded(1);
/// let norm = LayerNorm::new(&params.at("norm"), 4);
/// let g = Graph::new();
/// g.output("y", norm.forward(g.input("x", [1, 4])));
/// let mut step = Device::cpu().compile(&g)?;
/// step.run_with(&[("x", (&[1.0, 3.0, 5.0, 7.0]).into())])?;
/// let y = step.values("y")?;
/// assert!((y[3] - 3.0 / 5f32.sqrt()).abs() < 1e-5 && (y[0] + y[3]).abs() < 1e-5);
/// # Ok::<(), wgrad::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct LayerNorm {
    base: Base,
    width: usize,
}

impl LayerNorm {
    /// For rows of so many elements, with scale, offset and eps 1e-5.
    pub fn new(params: &Params, width: usize) -> Self {
        Self::with(params, width, Affine::Full)
    }

    /// With what it learns; PyTorch's `elementwise_affine=False` is [`Affine::None`].
    pub fn with(params: &Params, width: usize, affine: Affine) -> Self {
        LayerNorm { base: Base::new(params, width, affine, 1e-5), width }
    }

    base_methods!("width");
}

impl Layer for LayerNorm {
    #[track_caller]
    fn forward<'g>(&self, x: Var<'g>) -> Var<'g> {
        let g = x.graph();
        let _scope = g.scope_at(&self.base.path);
        let [weight, bias] = self.base.both(x, self.width);
        x.layer_norm(weight, bias, self.base.eps)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Graph;
    use crate::nn::{Sequential, Summary};

    #[test]
    fn it_stands_in_summaries_under_pytorchs_names() {
        let params = Params::seeded(1);
        let net = Sequential::new(&params.at("net")).linear(6, 8).layer_norm(8);
        let names: Vec<String> = params.trainable().iter().map(|p| p.name().to_string()).collect();
        assert_eq!(names, ["net.0.weight", "net.0.bias", "net.1.weight", "net.1.bias"]);
        let summary = Summary::of(&net, [5, 6]).unwrap();
        let row = &summary.layers[1];
        assert_eq!((row.name.as_str(), row.output.dims(), row.parameters), ("net.1", &[5, 8][..], 16));
        assert_eq!(row.flops, 8 * 5 * 8);
    }

    #[test]
    fn what_does_not_fit_is_refused_with_its_layer() {
        let message = |shape: &[usize], eps: f32| {
            let norm = LayerNorm::new(&Params::seeded(1).at("norm"), 3).eps(eps);
            let g = Graph::new();
            norm.forward(g.input("x", shape));
            g.error().map_or_else(String::new, |e| e.to_string())
        };
        let text = message(&[2, 4], 1e-5);
        assert!(
            text.contains("4 columns need a value each, [4], got [3]") && text.contains("`norm`"),
            "{text}"
        );
        assert!(message(&[2, 3], 0.0).contains("eps"));
        assert!(message(&[2, 5, 3], 1e-5).is_empty());
    }
}
