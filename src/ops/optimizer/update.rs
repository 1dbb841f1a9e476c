//! The op that updates parameters, whichever the optimizer.

use minijinja::context;

use super::rule::{MOST_CONSTANTS, MOST_SCALARS, MOST_STATES, Rule};
use super::{MOST, Number, ROW, VECTORS, WORKGROUP, extents, leaf, wide};
use crate::error::Result;
use crate::host::threads;
use crate::ops::text::rendered;
use crate::ops::tracked::Tracked;
use crate::ops::{
    AdapterClass, Arg, Backward, Dispatch, Gradients, In, KernelContext, Op, Out, Program, Real, Reference,
    expect, uniform,
};
use crate::shape::{DType, TensorType};

/// What is one parameter's own in an update.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Each {
    /// Which of the tick's counters it has.
    pub(crate) row: usize,
    /// What the learning rate is multiplied by.
    pub(crate) lr: f32,
    /// The weight decay.
    pub(crate) decay: f32,
}

impl Each {
    /// One that has the optimizer's rate, and no decay.
    pub(crate) fn plain(row: usize) -> Self {
        Each { row, lr: 1.0, decay: 0.0 }
    }
}

/// A step of an optimizer on some parameters.
///
/// Inputs: a gradient for each; where steps are counted the scalars of a [`super::Tick`], else the learning rate [1] and, with
/// `has_factor`, a factor [1]; then the parameter and its states of the first, of the second, and so on. A gradient is
/// multiplied by the factor; where that is 0 the parameter stays as it is. Weight decay is added to the gradient, or, if it
/// is decoupled, shrinks the parameter by lr · decay before the step. One launch updates as many as the adapter lets a
/// kernel bind.
#[derive(Debug, Clone)]
pub(crate) struct Update<R> {
    pub(crate) rule: R,
    /// The decay shrinks the parameter itself instead of being added to the gradient.
    pub(crate) decoupled: bool,
    /// Whether gradients are multiplied by a factor that is read; with a tick they always are.
    pub(crate) has_factor: bool,
    pub(crate) each: Vec<Each>,
}

/// What an element costs on the CPU, in elements of cheap work.
const WEIGHT: usize = 4;

/// What a step has for all elements of one parameter.
#[derive(Debug, Clone, Copy)]
pub(super) struct Step<N> {
    pub(super) lr: N,
    pub(super) factor: N,
    pub(super) scalars: [N; MOST_SCALARS],
    pub(super) constants: [N; MOST_CONSTANTS],
    /// Added to gradients.
    pub(super) coupled: N,
    /// Taken from the parameter, times the rate.
    pub(super) decoupled: N,
}

impl<N: Number> Step<N> {
    /// The parameter `s[0]` and its states after a step with gradient `g`.
    #[inline(always)]
    pub(super) fn apply<R: Rule>(&self, g: N, s: &mut [N; MOST_STATES]) {
        let g = g * self.factor + self.coupled * s[0];
        s[0] = s[0] * (N::one() - self.lr * self.decoupled);
        R::update(self.lr, self.scalars, self.constants, g, s);
    }
}

/// Elements from which a parameter gets a launch of its own on a software adapter: there every workgroup goes
/// through the branches of all parameters, with its writes masked.
const LARGE: usize = 4096;

impl<R: Rule> Update<R> {
    /// The parameter and the states that are kept.
    fn states(&self) -> usize {
        1 + self.rule.kept()
    }

    fn count(&self) -> usize {
        self.each.len()
    }

    /// How many inputs are the scalars, or the rate and the factor.
    fn shared(&self) -> usize {
        if R::TICK.is_some() { 1 } else { 1 + usize::from(self.has_factor) }
    }

    /// What the step has for parameter `k`, of numbers that `read` makes of what is read.
    fn step<T: Real, N: Number>(
        &self,
        inputs: &[In<'_, T>],
        k: usize,
        read: impl Fn(T) -> N,
    ) -> Result<Step<N>, String> {
        let Each { row, lr, decay } = self.each[k];
        let shared = inputs[self.count()].f();
        let mut scalars = [N::of(0.0); MOST_SCALARS];
        let (rate, factor);
        if R::TICK.is_some() {
            let row = shared.get(ROW * row..ROW * (row + 1)).ok_or("takes the scalars of a tick")?;
            (rate, factor) = (row[0], row[1]);
            scalars.iter_mut().zip(&row[2..]).for_each(|(x, &value)| *x = read(value));
        } else {
            rate = *shared.first().ok_or("takes a learning rate")?;
            factor = if self.has_factor { inputs[self.count() + 1].f()[0] } else { T::one() };
        }
        let decay = |used: bool| N::of(if used { f64::from(decay) } else { 0.0 });
        Ok(Step {
            lr: read(rate) * N::of(f64::from(lr)),
            factor: read(factor),
            scalars,
            constants: self.rule.constants().map(N::of),
            coupled: decay(!self.decoupled),
            decoupled: decay(self.decoupled),
        })
    }

    /// What a step on parameter `k` is made of on the CPU; nothing where it is left out.
    fn step_of<T: Real>(&self, inputs: &[In<'_, T>], k: usize) -> Result<Option<Step<T>>, String> {
        let step = self.step(inputs, k, |x| x)?;
        Ok((step.factor != T::zero()).then_some(step))
    }

    /// A launch for these of the parameters.
    fn launch(&self, parameters: &[usize], ctx: &KernelContext<'_>) -> Result<Dispatch> {
        let (count, states, counts) = (self.count(), self.states(), R::TICK.is_some());
        let mut args: Vec<Arg> = (count..count + self.shared()).map(Arg::Input).collect();
        let mut settings = [[0.0_f32; 4]; MOST];
        let mut counters = [0_u32; MOST];
        for ((&k, counter), settings) in parameters.iter().zip(&mut counters).zip(&mut settings) {
            args.push(Arg::Input(k));
            args.extend((states * k..states * (k + 1)).map(Arg::Output));
            let Each { row, lr, decay } = self.each[k];
            *counter = row as u32;
            *settings = if self.decoupled { [lr, 0.0, decay, 0.0] } else { [lr, decay, 0.0, 0.0] };
        }
        let vectors = parameters.iter().map(|&k| ctx.inputs[k].shape.elements().div_ceil(4));
        let (extents, workgroups) = extents::<MOST>(vectors, VECTORS * WORKGROUP);
        let constants = self.rule.constants().map(|c| c as f32);
        let params = uniform! { constants, settings, extents, rows: counters };
        let has_factor = counts || self.has_factor;
        let key = format!(
            "{}.{}.{states}{}",
            R::UPDATE,
            parameters.len(),
            if has_factor && !counts { ".factor" } else { "" }
        );
        let variant = context! {
            name => R::NAME, entry => R::UPDATE, count => parameters.len(), most => MOST, vectors => VECTORS, kept => states,
            states => 1 + R::STATES.len(), scalars => R::SCALARS, constants => R::CONSTANTS, counts, has_factor, row => ROW / 4,
        };
        let kernel = rendered("update", key, R::UPDATE, variant, None)?;
        Ok(ctx.launch(kernel, args, &params, workgroups)?.loop_iterations(VECTORS))
    }
}

/// The states of a parameter, those that are not kept empty.
fn slices<'a, T>(outputs: &'a mut [Out<'_, T>]) -> [&'a mut [T]; MOST_STATES] {
    let mut all: [&mut [T]; MOST_STATES] = Default::default();
    all.iter_mut().zip(outputs).for_each(|(slice, output)| *slice = output.f());
    all
}

impl<T: Real, R: Rule> Reference<T> for Update<R> {
    fn eval(&self, inputs: &[In<'_, T>], outputs: &mut [Out<'_, T>]) -> Result<(), String> {
        for (k, outputs) in outputs.chunks_mut(self.states()).enumerate() {
            let Some(step) = self.step_of(inputs, k)? else { continue };
            let mut states = slices(outputs);
            for (i, &g) in inputs[k].f().iter().enumerate() {
                let mut s = [T::zero(); MOST_STATES];
                s.iter_mut()
                    .zip(&states)
                    .for_each(|(s, state)| *s = state.get(i).copied().unwrap_or(T::zero()));
                step.apply::<R>(g, &mut s);
                states.iter_mut().zip(s).for_each(|(state, s)| {
                    if let Some(state) = state.get_mut(i) {
                        *state = s;
                    }
                });
            }
        }
        Ok(())
    }

    fn eval_fast(&self, inputs: &[In<'_, T>], outputs: &mut [Out<'_, T>]) -> Result<(), String> {
        let states = self.states();
        for (k, outputs) in outputs.chunks_mut(states).enumerate() {
            let Some(step) = self.step_of(inputs, k)? else { continue };
            let all = slices(outputs);
            let gradient = inputs[k].f();
            let each = (threads::part(gradient.len() * WEIGHT, WEIGHT) / WEIGHT).max(1);
            let [mut w, mut a, mut b, mut c] = all.map(|state| state.chunks_mut(each));
            let chunks = gradient.chunks(each);
            let count = chunks.len();
            let parts =
                chunks.map(|g| ([w.next(), a.next(), b.next(), c.next()].map(Option::unwrap_or_default), g));
            threads::share(count, parts, |parts| {
                parts.for_each(|(own, g)| wide::update::<T, R>(&step, states, own, g));
            });
        }
        Ok(())
    }
}

impl<R: Rule> Op for Update<R> {
    fn name(&self) -> &'static str {
        R::UPDATE
    }

    fn writes(&self) -> usize {
        self.states() * self.count()
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, String> {
        self.rule.check()?;
        if !(1..=MOST).contains(&self.count()) {
            return Err(format!("updates 1 to {MOST} parameters, got {}", self.count()));
        }
        let reads = self.count() + self.shared();
        expect(inputs, &vec![DType::F32; reads + self.writes()])?;
        for Each { lr, decay, .. } in &self.each {
            if !(decay.is_finite() && *decay >= 0.0) {
                return Err(format!("the weight decay must be 0 or more, got {decay}"));
            }
            if !(lr.is_finite() && *lr >= 0.0) {
                return Err(format!("the rate of a group must be 0 or more, got {lr}"));
            }
        }
        let (gradients, states) = (&inputs[..self.count()], &inputs[reads..]);
        for (gradient, states) in gradients.iter().zip(states.chunks(self.states())) {
            if let Some(s) = states.iter().find(|s| s.shape != gradient.shape) {
                return Err(format!("the gradient {gradient} and a state {s} differ in shape"));
            }
        }
        let shared = &inputs[self.count()..reads];
        if R::TICK.is_some() {
            let counters = 1 + self.each.iter().map(|each| each.row).max().unwrap_or(0);
            if shared[0].shape.rank() != 1 || shared[0].shape.dim(0) < ROW * counters {
                return Err(format!(
                    "takes {ROW} scalars for each of {counters} counters, got {}",
                    shared[0].shape
                ));
            }
        } else if let Some(wrong) = shared.iter().find(|i| i.shape.dims() != [1]) {
            return Err(format!("takes a learning rate and a factor [1], got {}", wrong.shape));
        }
        Ok(states.to_vec())
    }

    fn grad<'g>(&self, Backward { inputs, .. }: Backward<'_, 'g>) -> Gradients<'g> {
        Ok(leaf(inputs))
    }

    fn dispatch(&self, ctx: &KernelContext<'_>) -> Result<Program> {
        // What all share; and of each parameter the gradient and the states.
        let buffers = (ctx.caps.storage_buffers as usize).saturating_sub(self.shared());
        let most = (buffers / (1 + self.states())).max(1);
        let is_large =
            |k: usize| ctx.caps.class != AdapterClass::Gpu && ctx.inputs[k].shape.elements() > LARGE;
        let (large, small): (Vec<usize>, Vec<usize>) = (0..self.count()).partition(|&k| is_large(k));
        let launches = large.chunks(1).chain(small.chunks(most));
        let dispatches = launches.map(|k| self.launch(k, ctx)).collect::<Result<_>>()?;
        Ok(Program::new(dispatches, Vec::new()))
    }

    /// The formula in numbers that track their errors. Of the scalars it is said by the rule: those that a case gives are
    /// exact, but in a graph they come with the errors of the tick, which its own case allows for.
    fn error_bound(&self, inputs: &[In<'_, f64>], _: &[In<'_, f64>]) -> Vec<Vec<f64>> {
        let old = &inputs[self.count() + self.shared()..];
        let mut bounds = Vec::new();
        for (k, states) in old.chunks(self.states()).enumerate() {
            let Ok(step) = self.step(inputs, k, Tracked::read) else { return Vec::new() };
            let first = bounds.len();
            bounds.extend(states.iter().map(|_| Vec::new()));
            for (i, &g) in inputs[k].f().iter().enumerate() {
                let mut s = [Tracked::of(0.0); MOST_STATES];
                s.iter_mut().zip(states).for_each(|(s, state)| *s = Tracked::read(state.f()[i]));
                step.apply::<R>(Tracked::read(g), &mut s);
                // What is denormal is flushed.
                bounds[first..]
                    .iter_mut()
                    .zip(s)
                    .for_each(|(bound, s)| bound.push(s.error + crate::ops::TINY));
            }
        }
        bounds
    }

    fn flops(&self, inputs: &[TensorType], _: &[TensorType]) -> u64 {
        let elements = inputs[..self.count()].iter().map(|g| g.shape.elements() as u64);
        (4 + 4 * self.rule.kept() as u64) * elements.sum::<u64>()
    }
}
