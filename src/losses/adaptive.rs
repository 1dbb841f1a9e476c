//! Barron's adaptive loss, whose shape and scale are learned.

use super::{Reduction, Values, alike};
use crate::graph::{Graph, Init, Param, Params, Var};
use crate::tensor::Tensor;

/// Where the shape lies; the paper's package has the same limits.
const SHAPES: [f32; 2] = [0.001, 1.999];

/// First knot and distance of knots of the spline, over log(α / (2 - α)).
const KNOTS: [f32; 2] = [-7.6004024, 0.31668344];

/// log Z(α) as coefficients of a cubic B-spline, by `scripts/golden/partition.py`: off by 4e-7 at most.
const LOG_Z: [f32; 51] = [
    1.4906933, 1.4904602, 1.4901496, 1.4897228, 1.4891406, 1.488347, 1.4872684, 1.4858071, 1.483836,
    1.4811931, 1.4776753, 1.4730372, 1.4669926, 1.4592242, 1.4494023, 1.4372133, 1.4223949, 1.404774,
    1.3842999, 1.3610662, 1.3353169, 1.3074342, 1.2779126, 1.2473234, 1.216275, 1.185375, 1.1551964,
    1.1262505, 1.0989658, 1.0736746, 1.0506077, 1.0298936, 1.0115674, 0.99558127, 0.9818215, 0.9701253,
    0.9602984, 0.9521305, 0.9454083, 0.93992573, 0.9354908, 0.93193, 0.92909026, 0.9268394, 0.9250651,
    0.9236734, 0.9225866, 0.92174155, 0.92108643, 0.9205818, 0.92018837,
];

/// The negative log-likelihood of differences of prediction and target, each of `dims` numbers of a row with a shape α and a
/// scale c of its own that are learned with the model: ρ(d, α, c) + log c + log Z(α), one value per element, with ρ as in
/// [`Loss::robust`](super::Loss::robust). Without the logarithms the scale would grow for ever. Barron, "A General and
/// Adaptive Robust Loss Function", CVPR 2019, section 2, equations 16 and 17; its package calls it `AdaptiveLossFunction`.
///
/// α is a sigmoid between 0.001 and 1.999, 1 at first; c is e to the power of its parameter, 1 at first, where the paper's
/// package has a softplus. log Z(α) has no closed form; a spline stands for it that is off by 1e-6 at most. The
/// parameters `alpha` and `log_scale` belong to the store that it is made with, so that an optimizer made after it
/// learns them.
///
/// ```
/// use wgrad::losses::Adaptive;
/// use wgrad::{Graph, Params};
/// let params = Params::seeded(42);
/// let loss = Adaptive::new(&params.at("loss"), 3);
/// let g = Graph::new();
/// let mean = loss.of([g.input("p", [32, 3]), g.input("t", [32, 3])]);
/// assert_eq!((mean.shape().rank(), g.error().is_none()), (0, true));
/// ```
#[derive(Debug, Clone)]
pub struct Adaptive {
    dims: usize,
    alpha: Param,
    log_scale: Param,
    reduction: Reduction,
}

impl Adaptive {
    /// For rows of `dims` numbers.
    pub fn new(params: &Params, dims: usize) -> Self {
        Adaptive {
            dims,
            alpha: params.param("alpha", [dims], Init::Constant(0.0)),
            log_scale: params.param("log_scale", [dims], Init::Constant(0.0)),
            reduction: Reduction::Mean,
        }
    }

    /// What becomes of the loss values: their mean, unless this says otherwise.
    #[must_use]
    pub fn reduction(self, reduction: Reduction) -> Self {
        Adaptive { reduction, ..self }
    }

    /// The shapes α and the scales c as they are, each `[dims]`.
    pub fn shapes_and_scales<'g>(&self, graph: &'g Graph) -> [Var<'g>; 2] {
        [self.shapes(graph), graph.param(&self.log_scale).exp()]
    }

    fn shapes<'g>(&self, graph: &'g Graph) -> Var<'g> {
        let [low, high] = SHAPES;
        graph.param(&self.alpha).sigmoid() * (high - low) + low
    }

    /// Records the loss of predictions and targets `[rows, ..]` of one shape.
    #[track_caller]
    pub fn of<'g>(&self, values: [Var<'g>; 2]) -> Var<'g> {
        self.record(values, None)
    }

    /// Records the loss with a weight `[rows]` for each row, as [`Loss::of_weighted`](super::Loss::of_weighted).
    #[track_caller]
    pub fn of_weighted<'g>(&self, values: [Var<'g>; 2], weights: Var<'g>) -> Var<'g> {
        self.record(values, Some(weights))
    }

    /// The parameters of shapes and scales.
    pub(crate) fn learned(&self) -> Vec<Param> {
        vec![self.alpha.clone(), self.log_scale.clone()]
    }

    /// Records the mean, whatever the reduction is.
    #[track_caller]
    pub(crate) fn mean_of<'g>(&self, values: [Var<'g>; 2]) -> Var<'g> {
        self.clone().reduction(Reduction::Mean).of(values)
    }

    #[track_caller]
    fn record<'g>(&self, [prediction, target]: [Var<'g>; 2], weights: Option<Var<'g>>) -> Var<'g> {
        let [prediction, target] = alike(NAME, prediction, target);
        let g = prediction.graph();
        let shape = target.shape();
        let rows = shape.dim(0);
        if shape.rank() == 0 || rows.checked_mul(self.dims) != Some(shape.elements()) {
            let message = format!("rows of {} numbers, and the targets are {shape}", self.dims);
            return g.refuse(NAME, message, prediction);
        }
        let d = (prediction - target).reshape([rows, self.dims]);
        let (alpha, log_scale) = (self.shapes(g), g.param(&self.log_scale));
        let each = (d * (-log_scale).exp()).robust(alpha) + (log_scale + log_partition(alpha));
        let each = Values { each: each.reshape(shape), share: None };
        self.reduction.of(NAME, each, weights)
    }
}

/// What messages call it.
const NAME: &str = "adaptive";

/// max(x, 0)³.
fn cube(x: Var<'_>) -> Var<'_> {
    let x = x.relu();
    x.square() * x
}

/// log Z of shapes `[n]` between the limits: Z(α) = ∫ e^(-ρ(x, α, 1)) dx.
#[track_caller]
fn log_partition(alpha: Var<'_>) -> Var<'_> {
    let g = alpha.graph();
    let constant = |values: Vec<f32>| match Tensor::new([values.len()], values) {
        Ok(tensor) => g.constant(tensor),
        Err(error) => g.refuse(NAME, error.to_string(), alpha),
    };
    let [first, step] = KNOTS;
    let at = (alpha.log() - (2.0 - alpha).log() - first) / step;
    // Each spline is ((2 - t)³ - 4 (1 - t)³) / 6, the differences from 0 up, at a distance t from its knot.
    let knots = constant((0..LOG_Z.len()).map(|i| i as f32 - 1.0).collect());
    let t = (at.reshape([at.dim(0), 1]) - knots).abs();
    let weights = (cube(2.0 - t) - cube(1.0 - t) * 4.0) / 6.0;
    (weights * constant(LOG_Z.to_vec())).sum(&[1])
}
