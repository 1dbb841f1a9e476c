//! Ways to compute one thing, of which the adapter's class and the extents choose.

use super::{AdapterClass, Caps, KernelContext, Program};
use crate::error::Result;

/// By which kernels a product or a convolution, and the gradients of that, are computed: for benches, which compare them, and
/// for tests.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Kernels {
    /// Those expected to be the fastest.
    #[default]
    Best,
    /// One output per invocation, from the formula.
    Plain,
    /// Tiles even where the work is so small that `Best` takes the plain kernel.
    Tiles,
    /// On GPUs, blocks of this form.
    Block(usize),
}

impl Kernels {
    /// The form of blocks that is asked for, or else measured or of the table.
    pub(super) fn form(self) -> Option<usize> {
        match self {
            Kernels::Block(form) => Some(form),
            _ => None,
        }
    }

    fn allows(self, name: &str) -> bool {
        match self {
            Kernels::Best => true,
            Kernels::Plain => name == "plain",
            Kernels::Tiles | Kernels::Block(_) => name != "small",
        }
    }
}

/// A way to compute a problem `P`.
pub(super) struct Candidate<P> {
    pub(super) name: &'static str,
    classes: &'static [AdapterClass],
    fits: fn(&P, &Caps) -> bool,
    launch: fn(&P, &KernelContext<'_>) -> Result<Program>,
}

pub(super) const GPU: &[AdapterClass] = &[AdapterClass::Gpu];
pub(super) const SOFTWARE: &[AdapterClass] = &[AdapterClass::Software, AdapterClass::SoftwareLanes8];
pub(super) const ALL: &[AdapterClass] =
    &[AdapterClass::Gpu, AdapterClass::Software, AdapterClass::SoftwareLanes8];

impl<P> Candidate<P> {
    pub(super) const fn new(
        name: &'static str,
        classes: &'static [AdapterClass],
        fits: fn(&P, &Caps) -> bool,
        launch: fn(&P, &KernelContext<'_>) -> Result<Program>,
    ) -> Self {
        Candidate { name, classes, fits, launch }
    }

    /// The first of a list that is allowed, that the class runs and that fits; the last always does.
    pub(super) fn first<'c>(list: &'c [Self], kernels: Kernels, problem: &P, caps: &Caps) -> &'c Self {
        let fits =
            |c: &&Self| kernels.allows(c.name) && c.classes.contains(&caps.class) && (c.fits)(problem, caps);
        list.iter().find(fits).unwrap_or(&list[list.len() - 1])
    }

    /// The launches of that one.
    pub(super) fn launch(
        list: &[Self],
        kernels: Kernels,
        problem: &P,
        ctx: &KernelContext<'_>,
    ) -> Result<Program> {
        (Self::first(list, kernels, problem, ctx.caps).launch)(problem, ctx)
    }
}

/// Of what fits anything.
pub(super) fn always<P>(_: &P, _: &Caps) -> bool {
    true
}
