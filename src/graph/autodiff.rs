//! Reverse-mode differentiation: gradient nodes are appended to the same graph.
//!
//! Griewank and Walther, "Evaluating Derivatives", 2nd ed., section 3.2: cotangents flow from the
//! result back through each op's vector-Jacobian product, and add up where a value is used twice.

use std::panic::Location;

use super::{Graph, POISON, SourceLocation, Var};
use crate::op::Backward;
use crate::shape::DType;

impl Graph {
    /// Gradients of the scalar `of` with respect to each of `with_respect_to`, as new values.
    ///
    /// They are ordinary values: they can be combined, read, and differentiated again where the ops
    /// allow. A value that `of` does not depend on gets zeros. An op without a derivative on the way is
    /// a recording error, never a silent zero. Updates of states are where differentiation ends, as in
    /// PyTorch: the new version of a state does not depend on the old one.
    #[track_caller]
    pub fn gradients<'g>(&'g self, of: Var<'g>, with_respect_to: &[Var<'g>]) -> Vec<Var<'g>> {
        let location = SourceLocation(Location::caller());
        let failed = || vec![Var { graph: self, id: POISON }; with_respect_to.len()];
        if with_respect_to.iter().chain([&of]).any(|v| !std::ptr::eq(v.graph, self)) {
            self.mistake("gradients", "the values belong to another graph".into(), &[], location);
            return failed();
        }
        if of.is_poisoned() || with_respect_to.iter().any(|v| v.is_poisoned()) {
            return failed();
        }
        if of.shape().elements() != 1 || of.tensor_type().dtype != DType::F32 {
            let message = "the differentiated value must be one float; reduce it with mean_all or sum_all";
            self.mistake("gradients", message.into(), &[of], location);
            return failed();
        }
        if let Some(v) = with_respect_to.iter().find(|v| v.tensor_type().dtype != DType::F32) {
            self.mistake("gradients", "only floats have gradients".into(), &[*v], location);
            return failed();
        }
        let seed = self.filled(of.shape(), 1.0);
        let cotangents = self.backward(&[(of, seed)], with_respect_to);
        let gradients = with_respect_to
            .iter()
            .zip(cotangents)
            .map(|(v, c)| c.unwrap_or_else(|| self.filled(v.shape(), 0.0)))
            .collect();
        self.set_gradient_location(None);
        gradients
    }

    /// Carries cotangents of some values back to others; `None` where nothing flows.
    fn backward<'g>(&'g self, from: &[(Var<'g>, Var<'g>)], to: &[Var<'g>]) -> Vec<Option<Var<'g>>> {
        let (node_count, value_count) = {
            let inner = self.inner.borrow();
            (inner.nodes.len(), inner.values.len())
        };
        // Which values depend on `to`: only through these can anything flow.
        let mut depends = vec![false; value_count];
        to.iter().for_each(|v| depends[v.id as usize] = true);
        {
            let inner = self.inner.borrow();
            for node in &inner.nodes {
                let differentiable =
                    |id: u32| depends[id as usize] && inner.values[id as usize].ty.dtype == DType::F32;
                if node.inputs.iter().any(|&i| differentiable(i)) {
                    node.outputs.iter().for_each(|&o| depends[o as usize] = true);
                }
            }
        }
        let mut cotangents: Vec<Option<Var<'g>>> = vec![None; value_count];
        for &(value, cotangent) in from {
            cotangents[value.id as usize] = Some(cotangent);
        }
        for n in (0..node_count).rev() {
            let node = self.inner.borrow().nodes[n].clone();
            let upstream: Vec<Option<Var<'g>>> =
                node.outputs.iter().map(|&o| cotangents[o as usize]).collect();
            let needed: Vec<bool> = node
                .inputs
                .iter()
                .map(|&i| {
                    depends[i as usize] && self.inner.borrow().values[i as usize].ty.dtype == DType::F32
                })
                .collect();
            if upstream.iter().all(Option::is_none) || !needed.contains(&true) {
                continue;
            }
            let var = |id: &u32| Var { graph: self, id: *id };
            let inputs: Vec<Var<'g>> = node.inputs.iter().map(var).collect();
            let outputs: Vec<Var<'g>> = node.outputs.iter().map(var).collect();
            self.set_gradient_location(Some((node.location, node.scope.clone())));
            let of = Backward { inputs: &inputs, outputs: &outputs, upstream: &upstream, needed: &needed };
            let gradients = match node.op.grad(of) {
                Ok(gradients) => gradients,
                Err(message) => {
                    self.mistake(node.op.name(), message, &inputs, node.location);
                    return vec![None; to.len()];
                }
            };
            for ((input, gradient), needed) in inputs.iter().zip(gradients).zip(needed) {
                let Some(gradient) = gradient.filter(|_| needed) else { continue };
                if gradient.is_poisoned() {
                    return vec![None; to.len()];
                }
                if gradient.shape() != input.shape() {
                    let message = format!("its gradient has shape {}", gradient.shape());
                    self.mistake(node.op.name(), message, &[*input], node.location);
                    return vec![None; to.len()];
                }
                let sum = &mut cotangents[input.id as usize];
                *sum = Some(match *sum {
                    Some(earlier) => earlier + gradient,
                    None => gradient,
                });
            }
        }
        to.iter().map(|v| cotangents[v.id as usize]).collect()
    }
}
