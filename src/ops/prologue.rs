//! An op with elementwise ops before it that its kernels compute where they read. The planner makes them, users do not
//! record them.

use std::sync::Arc;

use super::{Arg, Chain, Fused, Fusion, In, KernelContext, Op, Out, Program, Real, Reference, Traits};
use crate::error::Result;
use crate::host::Buffer;
use crate::shape::TensorType;

/// Elementwise ops in a row, over one shape, and an op of which they make one input.
///
/// Takes the other inputs of that op, then those of the chain, then the states that the op updates; gives what the op
/// gives. The old value of such a state may be an input of the chain as well.
#[derive(Clone)]
pub(crate) struct Prologue {
    chain: Chain,
    /// The chain as an op.
    formulas: Fused,
    root: Arc<dyn Op>,
    /// Types of the inputs of the root, and which of them the chain makes.
    inputs: Vec<TensorType>,
    at: usize,
}

impl Prologue {
    /// `root` on inputs of these types, with input `at` made by `chain`.
    pub(crate) fn new(chain: Chain, root: Arc<dyn Op>, inputs: Vec<TensorType>, at: usize) -> Self {
        let last = chain.steps.len().saturating_sub(1);
        Prologue { formulas: Fused::chain(chain.clone(), vec![last]), chain, root, inputs, at }
    }

    /// How many inputs are the root's, states not counted.
    fn own(&self) -> usize {
        self.inputs.len() - 1 - self.root.writes()
    }

    /// The chain's inputs.
    fn of_chain<'v, I>(&self, inputs: &'v [I]) -> &'v [I] {
        let first = self.own().min(inputs.len());
        &inputs[first..inputs.len().min(first + self.chain.inputs.len())]
    }

    /// What the chain makes.
    fn made<T: Real>(&self, plain: bool, inputs: &[In<'_, T>]) -> Result<Buffer<T>, String> {
        let ty = TensorType::f32(self.chain.shape);
        let mut made = Buffer::zeros(ty.dtype, ty.shape.elements());
        T::eval(&self.formulas, plain, self.of_chain(inputs), &mut [made.output(&ty)])?;
        Ok(made)
    }

    /// The root's inputs.
    fn all<'a, T: Real>(&self, inputs: &[In<'a, T>], made: &'a Buffer<T>) -> Vec<In<'a, T>> {
        let mut all = inputs[..self.own()].to_vec();
        // Perhaps under another shape than the chain's.
        all.insert(self.at, made.input(&self.inputs[self.at]));
        all
    }

    fn run<T: Real>(
        &self,
        plain: bool,
        inputs: &[In<'_, T>],
        outputs: &mut [Out<'_, T>],
    ) -> Result<(), String> {
        let made = self.made(plain, inputs)?;
        T::eval(&*self.root, plain, &self.all(inputs, &made), outputs)
    }

    /// What the root's kernels are asked for.
    fn of_root<'a>(&'a self, ctx: &KernelContext<'a>) -> KernelContext<'a> {
        let fusion = Fusion { prologue: Some((self.at, &self.chain)), ..ctx.fusion };
        KernelContext::new(ctx.caps, &self.inputs, ctx.outputs).fusing(fusion)
    }
}

impl std::fmt::Debug for Prologue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} + {:?}", self.formulas, self.root)
    }
}

impl<T: Real> Reference<T> for Prologue {
    fn eval(&self, inputs: &[In<'_, T>], outputs: &mut [Out<'_, T>]) -> Result<(), String> {
        self.run(true, inputs, outputs)
    }

    fn eval_fast(&self, inputs: &[In<'_, T>], outputs: &mut [Out<'_, T>]) -> Result<(), String> {
        self.run(false, inputs, outputs)
    }
}

impl Op for Prologue {
    fn name(&self) -> &'static str {
        "fused"
    }

    fn writes(&self) -> usize {
        self.root.writes()
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, String> {
        self.formulas.infer(self.of_chain(inputs))?;
        let mut all = inputs[..self.own().min(inputs.len())].to_vec();
        all.insert(self.at.min(all.len()), self.inputs[self.at]);
        all.extend(inputs.iter().skip(self.own() + self.chain.inputs.len()));
        self.root.infer(&all)
    }

    /// The root's launches, with its inputs counted as this op's are.
    fn dispatch(&self, ctx: &KernelContext<'_>) -> Result<Program> {
        let mut program = self.root.dispatch(&self.of_root(ctx))?;
        for arg in program.dispatches.iter_mut().flat_map(|d| &mut d.args) {
            if let Arg::Input(i) = arg
                && *i > self.at
            {
                // After the root's own inputs come the chain's, where the states are that it counts as inputs.
                *i -= if *i >= self.inputs.len() { 1 + self.root.writes() } else { 1 };
            }
        }
        Ok(program)
    }

    fn error_bound(&self, inputs: &[In<'_, f64>], outputs: &[In<'_, f64>]) -> Vec<Vec<f64>> {
        let Ok(made) = self.made(false, inputs) else {
            return outputs.iter().map(|o| vec![0.0; o.shape.elements()]).collect();
        };
        let own = [made.input(&TensorType::f32(self.chain.shape))];
        let errors = self.formulas.error_bound(self.of_chain(inputs), &own);
        let all = self.all(inputs, &made);
        let mut bounds = self.root.error_bound(&all, outputs);
        for (bound, more) in bounds.iter_mut().zip(self.root.carried(self.at, &errors[0], &all, outputs)) {
            bound.iter_mut().zip(more).for_each(|(b, more)| *b += more);
        }
        bounds
    }

    fn flops(&self, _: &[TensorType], outputs: &[TensorType]) -> u64 {
        let of_chain = self.chain.steps.len() * self.chain.shape.elements();
        self.root.flops(&self.inputs, outputs) + of_chain as u64
    }

    fn traits(&self) -> Traits {
        let traits = Traits::default().keeping_f32(self.root.traits().keeps_f32);
        match self.chain.state {
            // Ops that a chain with an old value is put before update one state, which comes last.
            Some(input) => traits.reading_old(self.own() + input, self.own() + self.chain.inputs.len()),
            None => traits,
        }
    }

    fn can_fuse(&self, ctx: &KernelContext<'_>) -> bool {
        ctx.fusion.prologue.is_none() && self.root.can_fuse(&self.of_root(ctx))
    }
}
