//! Connectionist temporal classification: Graves, Fernández, Gomez and Schmidhuber, "Connectionist Temporal Classification:
//! Labelling Unsegmented Sequence Data with Recurrent Neural Networks", ICML 2006. Kernels: `shaders/ctc.wgsl`.
//!
//! A path is a symbol at each time, which is a class or the blank. It spells the target that is left when symbols that repeat
//! themselves, and then blanks, are taken out. The loss is -log of the sum of the probabilities of all paths that spell the target,
//! by the forward-backward algorithm over the states blank, label, blank, .., blank (section 4.1), in logarithms: where the
//! paper scales probabilities, what is improbable by a factor of 10³⁸ at one time would be lost in `f32`, and with it targets
//! that a network is yet to learn.

mod cases;
mod grad;
mod item;
#[cfg(test)]
mod tests;

use super::{
    Arg, Backward, Below, Cut, Gradients, KernelContext, Op, Outputs, Program, Traits, Uniform, uniform,
};
use super::{In, Out, Real, Reference, TINY, expect, float};
use crate::error::Result;
use crate::graph::{Var, shape_rule};
use crate::host::threads;
use crate::shape::{DType, Shape, TensorType};
pub(super) use cases::cases;
pub(crate) use cases::long_cases;
pub(crate) use grad::CtcGrad;
use item::{Extents, Tracked};

/// What a state costs, in elements of cheap work: three exponentials and a logarithm.
const WEIGHT: usize = 16;

/// The loss of each item, from log-probabilities `[items, times, classes]`, targets `[items, most]`, and the lengths of
/// inputs and targets `[items]`.
///
/// The second output is alpha `[items, times, 2 most + 1]`, which the gradient needs: -infinity beyond an item's own times and
/// states.
#[derive(Debug, Clone)]
pub(crate) struct Ctc {
    pub(crate) blank: u32,
}

impl<T: Real> Reference<T> for Ctc {
    fn eval(&self, inputs: &[In<'_, T>], outputs: &mut [Out<'_, T>]) -> Result<(), String> {
        let extents = Extents::of(&types(inputs), self.blank)?;
        let items = extents.items(inputs, self.blank)?;
        let [loss, alpha] = outputs else { return Err("gives losses and alpha".into()) };
        let (alpha, width) = (alpha.f(), extents.width());
        let of_item = extents.times * width;
        threads::runs(alpha, of_item, WEIGHT, |first, alpha| {
            for (item, alpha) in items[first / of_item..].iter().zip(alpha.chunks_exact_mut(of_item)) {
                alpha.fill(T::neg_infinity());
                item.forward(|t, row| alpha[t * width..][..row.len()].copy_from_slice(row));
            }
        });
        for ((loss, item), alpha) in loss.f().iter_mut().zip(&items).zip(alpha.chunks_exact(of_item)) {
            let last = item.length.checked_sub(1).map(|t| &alpha[t * width..][..item.symbols.len()]);
            *loss = -item.log_likelihood(last);
        }
        Ok(())
    }
}

/// The types of these values.
fn types<T>(inputs: &[In<'_, T>]) -> Vec<TensorType> {
    inputs.iter().map(|x| TensorType { dtype: x.dtype(), shape: x.shape }).collect()
}

impl Extents {
    /// The uniform of a launch for what is from `first` to `end`.
    fn uniform(self, blank: u32, first: usize, end: usize) -> Uniform {
        let Extents { items, times, classes, most } = self;
        uniform! { items, times, classes, most, blank, first, end }
    }

    /// Launches of a kernel that has 64 invocations for each item, over as many times each as loops allow; `rest` iterations
    /// come with the last.
    fn over_times(
        self,
        entry: &str,
        args: &[Arg],
        (blank, rest): (u32, usize),
        ctx: &KernelContext<'_>,
    ) -> Result<Program> {
        let each = 1 + self.width().div_ceil(64);
        let allowed = ctx.caps.max_loop_iterations as usize;
        let Cut { length, .. } = ctx.caps.cut(self.times, allowed.saturating_sub(rest) / each);
        let launch = |first: usize| {
            let end = self.times.min(first + length);
            let launch = ctx.launch_over(entry, args, &self.uniform(blank, first, end), 64 * self.items)?;
            Ok(launch.loop_iterations((end - first) * each + rest))
        };
        let dispatches = (0..self.times).step_by(length).map(launch).collect::<Result<_>>()?;
        Ok(Program::new(dispatches, Vec::new()))
    }
}

/// The lengths of inputs and targets reach the ends of their axes, and what is beyond them is padding, whatever it holds.
fn lengths() -> Traits {
    Traits::default()
        .indices(2, Below::Length { input: 0, axis: 1 })
        .indices(3, Below::Length { input: 1, axis: 1 })
}

impl Op for Ctc {
    fn name(&self) -> &'static str {
        "ctc"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, String> {
        expect(inputs, &[DType::F32, DType::U32, DType::U32, DType::U32])?;
        let extents = Extents::of(inputs, self.blank)?;
        Ok(vec![float(&[extents.items]), extents.table()?])
    }

    fn grad<'g>(&self, Backward { inputs, outputs, upstream, needed }: Backward<'_, 'g>) -> Gradients<'g> {
        if upstream[1].is_some() {
            return Err("what it keeps of each item for its gradient has no derivative itself".into());
        }
        let dy = upstream[0].filter(|_| needed[0]).map(|dloss| {
            let [y, targets, lengths, counts] = [0, 1, 2, 3].map(|i| inputs[i]);
            let arguments = [y, targets, lengths, counts, outputs[1], outputs[0], dloss];
            y.graph.record_one(CtcGrad { blank: self.blank }, &arguments)
        });
        Ok(vec![dy, None, None, None])
    }

    fn dispatch(&self, ctx: &KernelContext<'_>) -> Result<Program> {
        let extents = Extents::of(ctx.inputs, self.blank).map_err(crate::Error::Invalid)?;
        let args = [0, 1, 2, 3].map(Arg::Input).into_iter().chain([Arg::Output(1), Arg::Output(0)]);
        let args: Vec<Arg> = args.collect();
        // The last launch looks at all labels, and puts together what it found.
        let rest = extents.most.div_ceil(64) + 6;
        extents.over_times("ctc_alpha", &args, (self.blank, rest), ctx)
    }

    fn error_bound(&self, inputs: &[In<'_, f64>], _: &[In<'_, f64>]) -> Vec<Vec<f64>> {
        let extents = Extents::of(&types(inputs), self.blank);
        let Ok((extents, items)) = extents.and_then(|e| Ok((e, e.items(inputs, self.blank)?))) else {
            return vec![Vec::new(); 2];
        };
        let (width, mut alpha, mut loss) = (extents.width(), Vec::new(), Vec::new());
        for item in &items {
            let mut bounds = vec![TINY; extents.times * width];
            let mut last = None;
            item.forward(|t, row: &[Tracked]| {
                bounds[t * width..].iter_mut().zip(row).for_each(|(bound, x)| *bound = x.error);
                last = Some(row.to_vec());
            });
            loss.push(item.log_likelihood(last.as_deref()).error + TINY);
            alpha.extend(bounds);
        }
        vec![loss, alpha]
    }

    /// Three exponentials, a logarithm and eight sums and comparisons for each state.
    fn flops(&self, _: &[TensorType], outputs: &[TensorType]) -> u64 {
        12 * outputs[1].shape.elements() as u64
    }

    fn traits(&self) -> Traits {
        lengths().without_gradient(Outputs::OTHERS).keeping_f32(Outputs::ALL)
    }
}

impl Extents {
    /// The type of alpha, and of beta.
    fn table(self) -> Result<TensorType, String> {
        let shape = Shape::new(&[self.items, self.times, self.width()]).ok_or_else(shape_rule)?;
        Ok(TensorType::f32(shape))
    }
}

impl<'g> Var<'g> {
    /// The loss of connectionist temporal classification of each item: log-probabilities `[batch, time, classes]`, as
    /// [`Var::log_softmax`] gives them along axis 2, targets `[batch, labels]`, and the lengths of inputs and of targets,
    /// `[batch]` each, give `[batch]`. [`losses::Ctc`](crate::losses::Ctc) says more, and has the reductions.
    ///
    /// Lengths above the extents are refused where they are fed. A label that is `blank` or no class is an error on the CPU device,
    /// and its item's loss NaN on a GPU; what is beyond the length of a target counts nothing. The loss is infinite, and its
    /// gradient NaN, where no path of the input's length spells the target. The derivative by a log-probability is
    /// minus the probability of its symbol at its time given the target; it has no derivative itself.
    #[track_caller]
    pub fn ctc_per_row(
        self,
        targets: Var<'g>,
        [input_lengths, target_lengths]: [Var<'g>; 2],
        blank: u32,
    ) -> Var<'g> {
        self.graph.record_one(Ctc { blank }, &[self, targets, input_lengths, target_lengths])
    }
}
