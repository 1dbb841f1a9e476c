//! The fully connected layer.

use super::Layer;
use crate::graph::{Init, Param, Params, Var};

/// y = x Wᵀ + b, with `weight` `[out, in]` and `bias` `[out]` as in PyTorch. Takes `[.., in]`.
#[derive(Debug, Clone)]
pub struct Linear {
    path: String,
    weight: Param,
    bias: Option<Param>,
}

impl Linear {
    /// With bias, both initialized as in PyTorch: uniform within 1 / √in.
    pub fn new(params: &Params, inputs: usize, outputs: usize) -> Self {
        Self::with(params, inputs, outputs, true, Init::FanIn(inputs))
    }

    /// With or without bias, the weight initialized by `init`; a bias starts uniform within 1 / √in.
    pub fn with(params: &Params, inputs: usize, outputs: usize, bias: bool, init: Init) -> Self {
        Self::starting(params, [inputs, outputs], init, bias.then_some(Init::FanIn(inputs)))
    }

    /// With a bias that starts otherwise.
    pub(super) fn starting(
        params: &Params,
        [inputs, outputs]: [usize; 2],
        weight: Init,
        bias: Option<Init>,
    ) -> Self {
        Linear {
            path: params.path().to_string(),
            weight: params.param("weight", [outputs, inputs], weight),
            bias: bias.map(|init| params.param("bias", [outputs], init)),
        }
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// The weight, `[out, in]`.
    pub fn weight(&self) -> &Param {
        &self.weight
    }

    /// The bias, `[out]`.
    pub fn bias(&self) -> Option<&Param> {
        self.bias.as_ref()
    }
}

impl Linear {
    /// With this weight instead of its own.
    #[track_caller]
    pub(super) fn by<'g>(&self, x: Var<'g>, weight: Var<'g>) -> Var<'g> {
        let g = x.graph();
        let _scope = g.scope_at(&self.path);
        let y = x.matmul_nt(weight);
        match &self.bias {
            Some(bias) => y + g.param(bias),
            None => y,
        }
    }
}

impl Layer for Linear {
    #[track_caller]
    fn forward<'g>(&self, x: Var<'g>) -> Var<'g> {
        self.by(x, x.graph().param(&self.weight))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::Data;

    #[test]
    fn names_and_first_values_are_those_of_pytorch() {
        let params = Params::seeded(3);
        let layer = Linear::new(&params.at("fc"), 25, 40);
        assert_eq!((layer.weight().name(), layer.weight().shape().dims()), ("fc.weight", &[40, 25][..]));
        for param in [layer.weight(), layer.bias().unwrap()] {
            let Data::F32(values) = param.initial() else { panic!("{}", param.name()) };
            let largest = values.iter().fold(0f32, |most, x| most.max(x.abs()));
            assert!(largest <= 0.2 && largest > 0.19, "{}: {largest}", param.name());
        }
        let bare = Linear::with(&params.at("bare"), 2, 3, false, Init::Constant(7.0));
        assert!(bare.bias().is_none());
        assert!(matches!(bare.weight().initial(), Data::F32(values) if values == [7.0; 6]));
    }
}
