//! What kernels may rely on, and how work is cut to it.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::error::{Error, Result};

/// Which shape of kernel runs best; see `docs/DESIGN.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AdapterClass {
    /// A GPU: many invocations, workgroup memory.
    Gpu,
    /// A software adapter: few invocations with many registers, no barriers.
    Software,
    /// A software adapter whose subgroups are known to have 8 lanes and can broadcast.
    SoftwareLanes8,
}

impl std::fmt::Display for AdapterClass {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            AdapterClass::Gpu => "gpu",
            AdapterClass::Software => "software adapter",
            AdapterClass::SoftwareLanes8 => "software adapter, 8 lanes",
        })
    }
}

/// Forms of kernels that were measured to be the fastest on an adapter, by the key of a [`Trial`].
#[doc(hidden)]
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Forms(BTreeMap<String, usize>);

#[cfg_attr(not(feature = "gpu"), allow(dead_code))]
impl Forms {
    pub(crate) fn new(forms: BTreeMap<String, usize>) -> Self {
        Forms(forms)
    }

    pub(crate) fn one(key: &str, form: usize) -> Self {
        Forms(BTreeMap::from([(key.to_string(), form)]))
    }

    pub(crate) fn of(&self, key: &str) -> Option<usize> {
        self.0.get(key).copied()
    }

    pub(crate) fn with(&self, found: BTreeMap<String, usize>) -> Self {
        Forms(self.0.clone().into_iter().chain(found).collect())
    }

    pub(crate) fn entries(&self) -> BTreeMap<String, usize> {
        self.0.clone()
    }
}

/// Forms in which an op's kernel can be had, all of which add up in the same order: one of them is the fastest.
#[doc(hidden)]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trial {
    /// What asks for it: an op and its extents, more or less.
    pub(crate) key: String,
    /// The one that is taken without a trial, then others.
    pub(crate) forms: Vec<usize>,
}

impl Trial {
    /// The form that was measured to be the fastest.
    pub(crate) fn found(&self, caps: &Caps) -> Option<usize> {
        caps.forms.of(&self.key)
    }
}

/// What kernels may rely on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caps {
    /// What was measured.
    #[doc(hidden)]
    pub forms: Arc<Forms>,
    /// Kind of adapter.
    pub class: AdapterClass,
    /// Most workgroups in one dimension of a grid.
    pub max_workgroups: u32,
    /// Most storage buffers that one kernel can bind.
    pub storage_buffers: u32,
    /// Most iterations that one invocation may take, all its loops together; `u32::MAX` where nothing is known to end
    /// them. llvmpipe up to Mesa 24 ends every loop of an invocation after 65,535 iterations in all, and says nothing.
    pub max_loop_iterations: u32,
}

/// [`Caps::max_loop_iterations`] of software adapters: half of what llvmpipe allows, which counts a loop's iterations for the slowest
/// of eight invocations.
pub(crate) const LLVMPIPE_ITERATIONS: u32 = 1 << 15;

impl Caps {
    /// WebGPU's default limits, for a class of adapter.
    pub fn default_of(class: AdapterClass) -> Self {
        let max_loop_iterations = if class == AdapterClass::Gpu { u32::MAX } else { LLVMPIPE_ITERATIONS };
        Caps { class, max_workgroups: 65_535, storage_buffers: 8, max_loop_iterations, forms: Arc::default() }
    }

    /// Whether an invocation may take so many loop iterations.
    pub(crate) fn allows(&self, iterations: usize) -> bool {
        iterations as u64 <= u64::from(self.max_loop_iterations)
    }

    /// Into how many pieces a loop must be cut, of which an invocation can do `most` iterations of work in those it may take.
    pub(crate) fn pieces(&self, work: usize, most: usize) -> usize {
        if self.max_loop_iterations == u32::MAX { 1 } else { work.div_ceil(most.max(1)).max(1) }
    }

    /// Cuts a loop into pieces of equal length, `most` at most: one piece where loops may be as long as they like. There is
    /// always one, and none is empty but of no work.
    pub(crate) fn cut(&self, work: usize, most: usize) -> Cut {
        let length = work.div_ceil(self.pieces(work, most)).max(1);
        Cut { pieces: work.div_ceil(length).max(1), length }
    }

    /// Folds a number of workgroups into a grid within the limits; kernels undo it with
    /// `linear_index`.
    ///
    /// # Errors
    /// If even a square grid is too small.
    pub fn grid(&self, workgroups: usize) -> Result<[u32; 3]> {
        let max = self.max_workgroups as usize;
        let y = workgroups.div_ceil(max).max(1);
        if y > max {
            return Err(Error::Limit(format!(
                "{workgroups} workgroups do not fit in a grid of {max} x {max}"
            )));
        }
        Ok([workgroups.div_ceil(y).max(1) as u32, y as u32, 1])
    }
}

/// Pieces of a loop, and the length of each; the last may be shorter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cut {
    pub(crate) pieces: usize,
    pub(crate) length: usize,
}
