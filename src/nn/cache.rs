//! Keys and values of the places before, for generation one place at a time.

use super::MultiHeadAttention;
use crate::graph::{Init, Param, Params, Var};
use crate::ops::AttentionOptions;
use crate::tensor::Tensor;

/// Keys and values of the places that a sequence has so far: states `keys` and `values`, `[batch, kv_heads, most, d]`, which lie on the
/// device and start at 0. With them the graph of one step computes what a place adds, however long the sequence is (Pope et al.,
/// "Efficiently Scaling Transformer Inference", MLSys 2023, section 2).
///
/// What is behind a sequence's length is never read, so that another sequence may begin at any time.
#[derive(Debug, Clone)]
pub struct KeyValueCache {
    keys: Param,
    values: Param,
}

impl KeyValueCache {
    /// The keys, `[batch, kv_heads, most, d]`.
    pub fn keys(&self) -> &Param {
        &self.keys
    }

    /// The values, `[batch, kv_heads, most, d]`.
    pub fn values(&self) -> &Param {
        &self.values
    }
}

impl MultiHeadAttention {
    /// Room for `most` places of `batch` sequences under `params`.
    pub fn cache(&self, params: &Params, batch: usize, most: usize) -> KeyValueCache {
        let [_, _, kv_heads] = self.extents();
        let state =
            |name: &str| params.state(name, [batch, kv_heads, most, self.each()], Init::Constant(0.0));
        KeyValueCache { keys: state("keys"), values: state("values") }
    }

    /// Attention of one place of each sequence, `[batch, 1, width]`, to itself and those before it, whose keys and values are in the
    /// cache: its own are put there. `lengths` `[batch]`, `u32`, are how many places each sequence has with this one, from 1 to the
    /// cache's most; rotary positions go by them, from their offset on. For inference: nothing flows back into the cache.
    #[track_caller]
    pub fn step<'g>(&self, x: Var<'g>, cache: &KeyValueCache, lengths: Var<'g>) -> Var<'g> {
        let g = x.graph();
        let _scope = g.scope_at(self.path());
        if let Some(refused) = self.refused(x, "multi_head_attention") {
            return refused;
        }
        let shape = cache.keys.shape();
        let [batch, most] = [0, 2].map(|axis| shape.dim(axis));
        let expected = [batch, self.extents()[2], most, self.each()];
        if !x.is_poisoned() && (x.dim(1) != 1 || x.dim(0) != batch || shape.dims() != expected) {
            let message =
                format!("takes [{batch}, 1, {}] with a cache {shape}, got {}", self.extents()[0], x.shape());
            return g.refuse("multi_head_attention", message, x);
        }
        let [q, k, v] = self.parts(self.joint(x));
        let [q, k] = match self.rotation() {
            Some(rotary) => [q, k].map(|x| rotary.forward_at(x, lengths, most)),
            None => [q, k],
        };
        // 1 where the new place is: place j has the number j + 1.
        let numbers: Vec<f32> = (1..=most).map(|j| j as f32).collect();
        let Ok(numbers) = Tensor::new([1, 1, most, 1], numbers) else {
            return g.refuse("multi_head_attention", format!("there is no cache {shape}"), x);
        };
        let is_new = lengths.to_f32().reshape([batch, 1, 1, 1]).equal(g.constant(numbers));
        let put = |state: &Param, new: Var<'g>| {
            let old = g.param(state);
            old.assign(is_new.select(new, old))
        };
        let (keys, values) = (put(&cache.keys, k), put(&cache.values, v));
        let options = AttentionOptions { lengths: Some(lengths), ..Default::default() };
        self.out(self.merged(q.attention(keys, values, &options)))
    }
}
