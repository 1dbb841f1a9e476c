//! What graph and planner need to know of an op besides its types.

use crate::shape::TensorType;

/// Properties of an op; by default it has none.
#[derive(Debug, Clone, Default)]
pub struct Traits {
    pub(crate) is_alias: bool,
    pub(crate) moves: Option<usize>,
    pub(crate) counter: Option<usize>,
    pub(crate) keeps_f32: Outputs,
    pub(crate) not_differentiable: Outputs,
    pub(crate) constant: Option<f32>,
    pub(crate) old_state: Option<(usize, usize)>,
    pub(crate) takes_epilogues: bool,
    pub(crate) only_looks: bool,
    indices: Vec<(usize, Below)>,
    pub(crate) pattern: Option<Pattern>,
}

/// A set of outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Outputs(u64);

impl Outputs {
    /// Every output.
    pub const ALL: Outputs = Outputs(u64::MAX);
    /// The first.
    pub const FIRST: Outputs = Outputs(1);
    /// All but the first.
    pub const OTHERS: Outputs = Outputs(!1);

    /// Those of which `is_one` is true.
    pub fn of(is_one: impl Fn(usize) -> bool) -> Self {
        Outputs((0..64).filter(|&i| is_one(i)).map(|i| 1 << i).sum())
    }

    /// Whether output `i` is one of them.
    pub fn has(self, i: usize) -> bool {
        self.0 >> i.min(63) & 1 == 1
    }
}

/// What indices must stay below.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Below {
    /// A number.
    Count(u32),
    /// The extent of an axis of an input.
    Extent {
        /// The input.
        input: usize,
        /// The axis.
        axis: usize,
    },
    /// One more than the extent of an axis of an input: what has been counted along it, at most all.
    Length {
        /// The input.
        input: usize,
        /// The axis.
        axis: usize,
    },
}

impl Traits {
    /// The output is input 0 under another shape, so that both can share memory.
    #[must_use]
    pub fn alias(self) -> Self {
        Traits { is_alias: true, ..self }.moving(0)
    }

    /// The op only moves elements of this input: the output consists of them.
    #[must_use]
    pub fn moving(self, input: usize) -> Self {
        Traits { moves: Some(input), ..self }
    }

    /// The op draws random numbers by the counter `[1]` that this input is. A counter that nothing has moved on is moved
    /// on at the end of every run, so that the next one draws anew.
    #[must_use]
    pub fn drawing_by(self, counter: usize) -> Self {
        Traits { counter: Some(counter), ..self }
    }

    /// These outputs stay in 32 bits in mixed precision, because they add up much, have a range beyond that of half
    /// precision, or are read again by a later launch of the op.
    #[must_use]
    pub fn keeping_f32(self, outputs: Outputs) -> Self {
        Traits { keeps_f32: outputs, ..self }
    }

    /// These outputs cannot be differentiated: they are kept for the backward pass.
    #[must_use]
    pub fn without_gradient(self, outputs: Outputs) -> Self {
        Traits { not_differentiable: outputs, ..self }
    }

    /// Every element of the output is this number, for an op without inputs.
    #[must_use]
    pub fn constant(self, value: f32) -> Self {
        Traits { constant: Some(value), ..self }
    }

    /// This input holds indices. What is fed to it is checked, and so are constants.
    #[must_use]
    pub fn indices(mut self, input: usize, below: Below) -> Self {
        self.indices.push((input, below));
        self
    }

    /// Input `input` is the old value of the state that input `state` is.
    pub(crate) fn reading_old(self, input: usize, state: usize) -> Self {
        Traits { old_state: Some((input, state)), ..self }
    }

    /// The op looks at its inputs and has no say in how they are stored.
    pub(crate) fn only_looking(self) -> Self {
        Traits { only_looks: true, ..self }
    }

    /// The kernels can apply formulas to the first output that read their inputs in its order, or one number for all.
    pub(crate) fn taking_epilogues(self) -> Self {
        Traits { takes_epilogues: true, ..self }
    }

    pub(crate) fn pattern(self, pattern: Option<Pattern>) -> Self {
        Traits { pattern, ..self }
    }

    /// An input that is spoken of here and that an op of so many does not have.
    pub(crate) fn wrong_input(&self, inputs: usize) -> Option<usize> {
        let extents = self.indices.iter().filter_map(|(_, below)| match below {
            Below::Count(_) => None,
            Below::Extent { input, .. } | Below::Length { input, .. } => Some(input),
        });
        let named = self.indices.iter().map(|(input, _)| input).chain(extents);
        named.chain(&self.moves).chain(&self.counter).copied().find(|&input| input >= inputs)
    }

    /// Inputs that hold indices, with the number they must stay below.
    pub(crate) fn index_bounds(&self, inputs: &[TensorType]) -> Vec<(usize, u32)> {
        let bound = |below: Below| match below {
            Below::Count(n) => n,
            Below::Extent { input, axis } => inputs[input].shape.dim(axis) as u32,
            Below::Length { input, axis } => (inputs[input].shape.dim(axis) as u32).saturating_add(1),
        };
        self.indices.iter().map(|&(input, below)| (input, bound(below))).collect()
    }
}

/// Ops that the planner treats together with others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pattern {
    /// a + b.
    Add,
    /// C = Aᵀ B.
    MatMulTn,
    /// The sum of the rows of a matrix, unscaled.
    SumOfRows,
    /// dy where the result of ReLU is positive.
    ReluGrad,
    /// Maxima of windows, and where they are.
    MaxPool,
    /// The gradient of softmax cross-entropy with classes by the logits.
    CrossEntropyGrad,
    /// The gradient of what the maxima were taken of.
    MaxPoolBackward,
}
