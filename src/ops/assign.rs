//! New values of states, computed by other ops: what optimizers, averages and recurrent states outside the crate are
//! made of. Kernel: `shaders/accumulate.wgsl`; after elementwise ops one that is generated with them.

use super::elementwise::program;
use super::{Arg, Backward, Case, Chain, Gradients, KernelContext, Op, Program, Real, Reference, uniform};
use super::{In, Out, TINY, expect};
use crate::error::Result;
use crate::graph::{Source, Var};
use crate::shape::{DType, TensorType};

/// state = x. Inputs: x; the state, of the same shape.
#[derive(Debug, Clone)]
pub(crate) struct Assign;

impl<T: Real> Reference<T> for Assign {
    fn eval(&self, inputs: &[In<'_, T>], outputs: &mut [Out<'_, T>]) -> Result<(), String> {
        outputs[0].f().copy_from_slice(inputs[0].f());
        Ok(())
    }
}

impl Assign {
    /// The kernel of the formulas `before`, which stores in the state instead of a tensor of its own.
    fn after(before: &Chain, ctx: &KernelContext<'_>) -> Result<Program> {
        let last = before.steps.len().saturating_sub(1);
        let mut program = program("assigned", before, &[last], ctx.caps)?;
        for arg in program.dispatches.iter_mut().flat_map(|d| &mut d.args) {
            if let Arg::Input(i) = arg {
                *i += ctx.inputs.len();
            }
        }
        Ok(program)
    }
}

impl Op for Assign {
    fn name(&self) -> &'static str {
        "assign"
    }

    fn writes(&self) -> usize {
        1
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, String> {
        expect(inputs, &[DType::F32; 2])?;
        if inputs[0].shape != inputs[1].shape {
            return Err(format!(
                "the state has shape {} and its new value {}; give it one of its own shape",
                inputs[1].shape, inputs[0].shape
            ));
        }
        Ok(vec![inputs[1]])
    }

    /// An update is where differentiation ends: the new version depends on nothing.
    fn grad<'g>(&self, of: Backward<'_, 'g>) -> Gradients<'g> {
        Ok(vec![None; of.inputs.len()])
    }

    fn dispatch(&self, ctx: &KernelContext<'_>) -> Result<Program> {
        if let Some((_, before)) = ctx.fusion.prologue {
            return Self::after(before, ctx);
        }
        let vectors = ctx.inputs[0].shape.elements().div_ceil(4);
        let args = [Arg::Input(0), Arg::Output(0)];
        Ok(ctx.launch_over("assign", args, &uniform! { vectors }, vectors)?.into())
    }

    fn can_fuse(&self, ctx: &KernelContext<'_>) -> bool {
        let fusion = &ctx.fusion;
        let Some((_, before)) = fusion.prologue else { return false };
        fusion.epilogue.is_none() && before.state.is_none_or(|input| before.reads_in_order(input))
    }

    fn carried(&self, _: usize, errors: &[f64], _: &[In<'_, f64>], _: &[In<'_, f64>]) -> Vec<Vec<f64>> {
        vec![errors.to_vec()]
    }

    /// A copy; denormals may be flushed.
    fn error_bound(&self, inputs: &[In<'_, f64>], _: &[In<'_, f64>]) -> Vec<Vec<f64>> {
        vec![vec![TINY; inputs[0].f().len()]]
    }

    fn flops(&self, _: &[TensorType], _: &[TensorType]) -> u64 {
        0
    }
}

impl<'g> Var<'g> {
    /// Sets this state, taken by [`Graph::param`](crate::Graph::param), to `value`, floats of the same shape, each
    /// time the graph runs. Returns the state as it is then.
    ///
    /// What was taken of the state before is its old version: reading that afterwards is a recording error, so `value`
    /// and all else that needs the old one is recorded first. Elementwise ops that only make `value` are one kernel
    /// with the update. Nothing flows back through it: gradients treat the new version as they treat a parameter, so a
    /// loss that should reach what made `value` is computed from `value` itself.
    ///
    /// ```
    /// use wgrad::{Device, Graph, Init, Params};
    /// let params = Params::seeded(1);
    /// let average = params.state("average", [2], Init::Constant(0.0));
    /// let g = Graph::new();
    /// let (old, x) = (g.param(&average), g.input("x", [2]));
    /// let new = old.assign(old * 0.75 + x * 0.25);
    /// g.output("twice", new * 2.0);
    /// let device = Device::cpu();
    /// let mut step = device.compile(&g)?;
    /// step.run_with(&[("x", (&[4.0f32, 8.0]).into())])?;
    /// assert_eq!(device.read_param(&average)?.as_f32(), [1.0, 2.0]);
    /// assert_eq!(step.values("twice")?, [2.0, 4.0]);
    /// # Ok::<(), wgrad::Error>(())
    /// ```
    #[track_caller]
    pub fn assign(self, value: Var<'g>) -> Var<'g> {
        let g = self.graph;
        // A kernel cannot read and write one buffer by two bindings.
        let is_state = std::ptr::eq(value.graph, g)
            && !value.is_poisoned()
            && matches!(g.inner.borrow().values[value.id as usize].source, Source::State { .. });
        let value = if is_state { value.copy() } else { value };
        g.record_one(Assign, &[value, self])
    }
}

pub(super) fn cases() -> Vec<Case> {
    let shapes: [&[usize]; 6] = [&[], &[1], &[7], &[65, 3], &[257], &[1200]];
    shapes.iter().map(|shape| Case::new(Assign, &[shape, shape]).no_gradient()).collect()
}

#[cfg(test)]
mod tests {
    use crate::graph::{Graph, Init, Params};

    #[test]
    fn what_is_no_state_or_an_old_one_is_refused() {
        let error = |record: &dyn for<'g> Fn(&'g Graph, &Params)| {
            let g = Graph::new();
            record(&g, &Params::seeded(0));
            g.error().map_or_else(String::new, |e| e.to_string())
        };
        let state = |p: &Params| p.state("s", [2], Init::Constant(0.0));
        let text = error(&|g, p| {
            g.param(&state(p)).assign(g.input("x", [3]));
        });
        assert!(text.contains("has shape [2] and its new value [3]"), "{text}");
        let text = error(&|g, _| {
            let x = g.input("x", [2]);
            x.assign(x * 2.0);
        });
        assert!(text.contains("not a state"), "{text}");
        let text = error(&|g, p| {
            let old = g.param(&state(p));
            old.assign(old * 2.0);
            g.output("old", old + 1.0);
        });
        assert!(text.contains("reads `s` as it was before an update"), "{text}");
        let text = error(&|g, p| {
            let old = g.param(&state(p));
            old.assign(old * 2.0);
            old.assign(g.scalar(1.0).broadcast_to([2]));
        });
        assert!(text.contains("reads `s` as it was before an update"), "{text}");
        let text = error(&|g, p| {
            g.param(&p.counter("n")).assign(g.input("x", [1]));
        });
        assert!(text.contains("u32"), "{text}");
        let text = error(&|g, p| {
            let s = g.param(&state(p));
            let new = s.assign(s.square());
            g.param(&state(p)).assign(new + 1.0);
        });
        assert!(text.is_empty(), "{text}");
        let text = error(&|g, p| {
            let (w, x) = (g.param(&state(p)), g.input("x", [2]));
            w.assign(w * x);
            let gradients = g.gradients((g.param(&state(p)) * x).sum_all(), &[g.param(&state(p))]);
            g.output("d", gradients[0]);
        });
        assert!(text.is_empty(), "{text}");
        // Beside what the new value was made of.
        let text = error(&|g, p| {
            let (w, x) = (g.param(&state(p)), g.input("x", [2]));
            let y = w.assign(x.square()) * x;
            assert_eq!(g.gradients(y.sum_all(), &[x]).len(), 1);
        });
        assert!(text.is_empty(), "{text}");
    }
}
