//! Activations as methods. Some are made of other ops, which GPUs compute in one kernel.

use super::super::{Elementwise, Formula, Var};
use super::gated::{Cooled, GeluTanh, Glu, Mish, Swiglu, Swish, SwishLearned};
use super::piecewise::{BinaryStep, HardShrink, HardSwish, HardTanh, Prelu, SoftShrink};
use super::smooth::{Elu, Erf, Gelu, LogSigmoid, Softplus, Softsign, TanhShrink};
use super::{BceLogits, LeakyRelu, Relu, Sigmoid, Tanh};
use crate::ops::elementwise::methods;

/// SELU's α and λ: Klambauer et al., NIPS 2017, equation 14.
const SELU: [f32; 2] = [1.673_263_2, 1.050_701];

methods! {
    /// Logistic sigmoid.
    sigmoid() = Sigmoid;
    /// Hyperbolic tangent.
    tanh() = Tanh;
    /// max(x, 0).
    relu() = Relu;
    /// 1 where x is 0 or more, else 0, NaN for NaN: the step of McCulloch and Pitts, 1943. Its derivative is 0.
    binary_step() = BinaryStep;
    /// ln σ(x), finite where σ(x) is 0.
    log_sigmoid() = LogSigmoid;
    /// x Φ(x) with the distribution of a standard normal variable: Hendrycks and Gimpel, 2016; PyTorch's `gelu`.
    gelu() = Gelu;
    /// GELU by tanh: ½ x (1 + tanh(√(2/π) (x + 0.044715 x³))), computed as x σ(√(8/π) (…)), which loses no digits below 0.
    /// PyTorch's `gelu` with `approximate="tanh"`.
    gelu_tanh() = GeluTanh;
    /// x tanh(ln(1 + e^x)): Misra, BMVC 2020.
    mish() = Mish;
    /// x times the hard sigmoid of x: Howard et al., ICCV 2019, section 5.2.
    hard_swish() = HardSwish;
    /// The error function 2/√π ∫₀ˣ e^(-t²) dt.
    erf() = Erf;
    /// x / (1 + |x|).
    softsign() = Softsign;
    /// x - tanh x.
    tanh_shrink() = TanhShrink;
    /// x above 0, a x below; `slope` broadcasts, so that `[c, 1, 1]` is a slope for each channel: He et al., ICCV 2015.
    prelu(slope) = Prelu;
    /// x σ(βx) with a learned `beta`, which broadcasts as that of [`Var::prelu`] does: Ramachandran, Zoph and Le, 2017, section 5.
    swish_learned(beta) = SwishLearned;
}

impl<'g> Var<'g> {
    /// This, or a recording error where a parameter of `op` is not what it takes.
    #[track_caller]
    fn taking(self, op: &str, is_taken: bool, message: impl FnOnce() -> String) -> Var<'g> {
        if is_taken { self } else { self.graph.refuse(op, message(), self) }
    }

    #[track_caller]
    pub(crate) fn binary_cross_entropy_per_element(self, target: Var<'g>) -> Var<'g> {
        self.with(target, BceLogits)
    }

    /// x above 0, `slope`·x below; PyTorch's default slope is 0.01.
    #[track_caller]
    pub fn leaky_relu(self, slope: f32) -> Var<'g> {
        self.elementwise(LeakyRelu(slope))
    }

    /// x between `low` and `high`, the bound beyond; -1 and 1 in PyTorch. Unlike that of [`Var::clamp`], its derivative is 0 at the
    /// bounds. Bounds that are no numbers, or the wrong way round, are a recording error.
    #[track_caller]
    pub fn hard_tanh(self, low: f32, high: f32) -> Var<'g> {
        let message = || format!("the bounds must be numbers, the lower one first, got {low} and {high}");
        self.taking("hard_tanh", low <= high, message).elementwise(HardTanh(low, high))
    }

    /// min(max(x, 0), 6): Krizhevsky, 2010.
    #[track_caller]
    pub fn relu6(self) -> Var<'g> {
        self.hard_tanh(0.0, 6.0)
    }

    /// (x + 3) / 6 between 0 and 1: PyTorch's `hardsigmoid`; Howard et al., ICCV 2019, section 5.2.
    #[track_caller]
    pub fn hard_sigmoid(self) -> Var<'g> {
        (self.hard_tanh(-3.0, 3.0) + 3.0) * (1.0 / 6.0)
    }

    /// x where |x| is above `lambda`, else 0; 0.5 in PyTorch. One below 0 is a recording error.
    #[track_caller]
    pub fn hard_shrink(self, lambda: f32) -> Var<'g> {
        let message = || format!("the threshold must be 0 or more, got {lambda}");
        self.taking("hard_shrink", lambda >= 0.0, message).elementwise(HardShrink(lambda))
    }

    /// x ∓ `lambda` where |x| is above it, else 0; 0.5 in PyTorch. One below 0 is a recording error.
    #[track_caller]
    pub fn soft_shrink(self, lambda: f32) -> Var<'g> {
        let message = || format!("the threshold must be 0 or more, got {lambda}");
        self.taking("soft_shrink", lambda >= 0.0, message).elementwise(SoftShrink(lambda))
    }

    /// x above 0, `alpha` (e^x - 1) below; 1 in PyTorch: Clevert, Unterthiner and Hochreiter, ICLR 2016.
    #[track_caller]
    pub fn elu(self, alpha: f32) -> Var<'g> {
        self.elementwise(Elu(alpha, 1.0, 1.0))
    }

    /// λ times ELU with the α for which mean 0 and variance 1 are a fixed point: Klambauer et al., NIPS 2017.
    #[track_caller]
    pub fn selu(self) -> Var<'g> {
        self.elementwise(Elu(SELU[0] * SELU[1], SELU[1], 1.0))
    }

    /// x above 0, `alpha` (e^(x / alpha) - 1) below, so that the derivative is continuous for any `alpha`: Barron, 2017.
    #[track_caller]
    pub fn celu(self, alpha: f32) -> Var<'g> {
        let message = || format!("alpha must be a number other than 0, got {alpha}");
        let x = self.taking("celu", alpha.is_finite() && alpha != 0.0, message);
        x.elementwise(Elu(alpha, 1.0, (1.0 / alpha).clamp(f32::MIN, f32::MAX)))
    }

    /// ln(1 + e^(βx)) / β; x where βx is above `threshold`. 1 and 20 in PyTorch.
    #[track_caller]
    pub fn softplus(self, beta: f32, threshold: f32) -> Var<'g> {
        let message = || {
            format!("beta must be a number other than 0, and the threshold one, got {beta} and {threshold}")
        };
        let is_taken = beta.is_finite() && beta != 0.0 && !threshold.is_nan();
        self.taking("softplus", is_taken, message).elementwise(Softplus(beta, threshold))
    }

    /// x σ(βx): Ramachandran, Zoph and Le, 2017.
    #[track_caller]
    pub fn swish(self, beta: f32) -> Var<'g> {
        self.elementwise(Swish(beta))
    }

    /// x σ(x), swish with β = 1: Elfwing, Uchibe and Doya, 2017; PyTorch's `silu`.
    #[track_caller]
    pub fn silu(self) -> Var<'g> {
        self.elementwise(Swish(1.0))
    }

    /// Gated linear unit: the first half along `axis` times the sigmoid of the second: Dauphin et al., ICML 2017.
    #[track_caller]
    pub fn glu(self, axis: usize) -> Var<'g> {
        self.gated(axis, Glu)
    }

    /// The first half along `axis` times SiLU of the second: Shazeer, "GLU Variants Improve Transformer", 2020, equation 5.
    #[track_caller]
    pub fn swiglu(self, axis: usize) -> Var<'g> {
        self.gated(axis, Swiglu)
    }

    #[track_caller]
    fn gated<F: Formula>(self, axis: usize, gated: F) -> Var<'g> {
        // An odd extent leaves halves that differ, which the second slice tells.
        let half = self.shape().dim(axis).div_ceil(2);
        self.slice(axis, 0, half).with(self.slice(axis, half, half), gated)
    }

    /// Softmax of x / `temperature`: towards the largest alone near 0, towards equal ones above 1: Hinton, Vinyals and Dean, 2015.
    #[track_caller]
    pub fn softmax_at(self, axis: usize, temperature: f32) -> Var<'g> {
        self.cooled("softmax_at", axis, temperature).softmax(axis)
    }

    /// x / `temperature`; where dividing makes it larger, what is left of it above the largest, on which no softmax depends.
    #[track_caller]
    fn cooled(self, op: &str, axis: usize, temperature: f32) -> Var<'g> {
        let message = || format!("the temperature must be a number above 0, got {temperature}");
        let x = self.taking(op, temperature > 0.0 && temperature.is_finite(), message);
        let rate = 1.0 / temperature;
        if rate <= 1.0 || axis >= x.shape().rank() {
            x * rate
        } else {
            x.with(x.max_keep(&[axis]), Cooled(rate))
        }
    }

    /// Log-softmax of x / `temperature`.
    #[track_caller]
    pub fn log_softmax_at(self, axis: usize, temperature: f32) -> Var<'g> {
        self.cooled("log_softmax_at", axis, temperature).log_softmax(axis)
    }

    /// 1 for the largest along `axis`, the first of equal ones, and 0 for the others; ONNX's `Hardmax`. A decision: its derivative
    /// is 0.
    #[track_caller]
    pub fn hardmax(self, axis: usize) -> Var<'g> {
        let rank = self.shape().rank();
        let one_hot = self.argmax(axis).one_hot(self.shape().dim(axis));
        if axis + 1 >= rank {
            return one_hot;
        }
        // The classes are last: back to where the axis was.
        let back: Vec<usize> = (0..axis).chain([rank - 1]).chain(axis..rank - 1).collect();
        one_hot.permute(&back)
    }
}
