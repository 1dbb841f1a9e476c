//! Muon.

use super::Optimizer;
use super::base::{Base, Group};
use super::ruled::{Ruled, gate, optimizer, step_along};
use crate::graph::{Graph, Param, Params, Var};
use crate::ops::{AdamRule, MuonRule};

/// Coefficients of the iteration, chosen for steep growth from 0: Jordan et al.
const QUINTIC: [f32; 3] = [3.4445, -4.775, 2.0315];
/// Beside ‖G‖, against a direction of zeros.
const EPS: f32 = 1e-7;

/// About U Vᵀ of the singular value decomposition U S Vᵀ of a matrix: singular values come to lie between 0.7 and 1.2, by a
/// polynomial of degree five applied `steps` times. X = a X + (b A + c A²) X with A = X Xᵀ, on the side that is shorter.
#[track_caller]
fn orthogonalized(direction: Var<'_>, steps: usize) -> Var<'_> {
    let [a, b, c] = QUINTIC;
    let dims = direction.shape();
    let is_tall = dims.dim(0) > dims.dim(1);
    let norm = direction.square().sum_all().sqrt();
    let mut x = direction / norm.maximum(norm.graph().scalar(EPS));
    for _ in 0..steps {
        // Of a tall matrix all from the other side, so that A is small.
        let gram = if is_tall { x.matmul_tn(x) } else { x.matmul_nt(x) };
        let polynomial = gram * b + gram.matmul(gram) * c;
        x = x * a + if is_tall { x.matmul(polynomial) } else { polynomial.matmul(x) };
    }
    x
}

/// What [`Muon`] is made of.
#[derive(Debug, Clone)]
pub(super) struct Orthogonal {
    base: Base,
    rule: MuonRule,
    steps: usize,
    adam: AdamRule,
    weight_decay: f32,
}

impl Orthogonal {
    #[track_caller]
    fn record<'g>(&self, g: &'g Graph, params: &[Param], gradients: &[Var<'g>], factor: Option<Var<'g>>) {
        let pairs = self.base.pairs(g, params, gradients);
        // Of a convolution the weights of an output are a row.
        let matrix = |param: &Param| {
            let shape = param.tensor_type().shape;
            let rows = if shape.rank() < 2 { 1 } else { shape.dim(0) };
            let columns = shape.elements() / rows.max(1);
            (rows > 1 && columns > 1).then_some([rows, columns])
        };
        let (matrices, others): (Vec<_>, Vec<_>) = pairs.into_iter().partition(|(p, _)| matrix(p).is_some());
        if !others.is_empty() {
            let adamw = Ruled::new_in(self.base.clone(), self.adam).decoupled(self.weight_decay);
            adamw.update(g, &others, factor);
        }
        if matrices.is_empty() {
            return;
        }
        Ruled::new_in(self.base.without_groups(), self.rule).update(g, &matrices, factor);
        let directions = matrices.into_iter().filter_map(|(param, _)| {
            let [rows, columns] = matrix(&param)?;
            let _scope = self.base.scope(g, &[&param]);
            let direction = g.param(&self.base.state_of("direction", &param, 0.0));
            let made = orthogonalized(direction.reshape([rows, columns]), self.steps);
            // As long as a step of AdamW, so that one rate fits both.
            let scale = 0.2 * (rows.max(columns) as f32).sqrt();
            Some((param.clone(), made.reshape(param.shape()), scale))
        });
        let directions: Vec<_> = directions.collect();
        step_along(&self.base, g, &directions, Some(self.weight_decay), gate(factor));
    }
}

optimizer!(
    /// Muon, momentum whose matrices are made orthogonal, with AdamW for all that is no matrix: Jordan et al., "Muon: An optimizer for
    /// hidden layers in neural networks", 2024.
    ///
    /// b = momentum · b + (1 - momentum) g; w = w (1 - lr · decay) - lr · 0.2 √max(rows, columns) · O, where O is about U Vᵀ of the
    /// singular value decomposition of b, or of (1 - momentum) g + momentum · b in Nesterov's form, by five Newton-Schulz
    /// iterations. The scale is that of Liu et al., "Muon is Scalable for LLM Training", 2025, section 2.2 (PyTorch's
    /// `adjust_lr_fn="match_rms_adamw"`), with which a step is as long as AdamW's, so that all share one learning rate. Weights of a
    /// convolution are the matrix of their outputs. Biases, and what else has one row or column, are AdamW's; of embeddings
    /// and output layers the paper says that they should be too: give those another optimizer. In `f32`, where PyTorch
    /// iterates in bfloat16. States: `muon.lr`, `muon.{momentum,direction}.<matrix>`, `muon.{t,m,v}.<parameter>`.
    Muon(Orthogonal), "muon",
    |params, lr| Orthogonal {
        base: Base::new(params, "muon", lr),
        rule: MuonRule { momentum: 0.95, nesterov: true },
        steps: 5,
        adam: AdamRule { betas: [0.9, 0.999], eps: 1e-8, amsgrad: false },
        weight_decay: 0.1,
    },
    /// Shrinks a parameter by this and the learning rate each step; 0.1 by default.
);

impl Muon {
    /// How much of the mean of gradients is kept; 0.95 by default.
    #[must_use]
    pub fn momentum(mut self, momentum: f32) -> Self {
        self.0.rule.momentum = momentum;
        self
    }

    /// The mean itself, without Nesterov's look ahead.
    #[must_use]
    pub fn without_nesterov(mut self) -> Self {
        self.0.rule.nesterov = false;
        self
    }

    /// Newton-Schulz iterations; 5 by default.
    #[must_use]
    pub fn iterations(mut self, steps: usize) -> Self {
        self.0.steps = steps;
        self
    }
}
