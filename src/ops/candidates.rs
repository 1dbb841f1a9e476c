//! Ways to compute one thing, of which the adapter's class and the extents choose.

use super::{AdapterClass, KernelContext, Program};
use crate::error::{Error, Result};

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
    /// On GPUs, products with few rows or few columns by the kernel for large ones, however small they are.
    Thin,
}

impl Kernels {
    /// The form of blocks that is asked for, or else measured or of the table.
    pub(super) fn form(self) -> Option<usize> {
        match self {
            Kernels::Block(form) => Some(form),
            _ => None,
        }
    }

    pub(super) fn allows(self, name: &str) -> bool {
        match self {
            Kernels::Best => true,
            Kernels::Plain => name == "plain",
            Kernels::Tiles | Kernels::Block(_) | Kernels::Thin => name != "small",
        }
    }
}

/// A way to compute a problem `P`.
pub(super) struct Candidate<P> {
    name: &'static str,
    classes: &'static [AdapterClass],
    launch: fn(&P, &KernelContext<'_>) -> Result<Option<Program>>,
}

pub(super) const GPU: &[AdapterClass] = &[AdapterClass::Gpu];
pub(super) const SOFTWARE: &[AdapterClass] = &[AdapterClass::Software, AdapterClass::SoftwareLanes8];
pub(super) const ALL: &[AdapterClass] =
    &[AdapterClass::Gpu, AdapterClass::Software, AdapterClass::SoftwareLanes8];

/// Workgroups that share the work evenly among a software adapter's cores.
pub(super) const WORKGROUPS: usize = 16;

impl<P> Candidate<P> {
    /// One that the classes run; `launch` gives nothing where it does not fit.
    pub(super) const fn new(
        name: &'static str,
        classes: &'static [AdapterClass],
        launch: fn(&P, &KernelContext<'_>) -> Result<Option<Program>>,
    ) -> Self {
        Candidate { name, classes, launch }
    }

    /// The launches of the first of a list that is allowed, that the class runs and that fits.
    pub(super) fn launch(
        list: &[Self],
        kernels: Kernels,
        problem: &P,
        ctx: &KernelContext<'_>,
    ) -> Result<Program> {
        let class = ctx.caps.class;
        for way in list.iter().filter(|way| kernels.allows(way.name) && way.classes.contains(&class)) {
            if let Some(program) = (way.launch)(problem, ctx)? {
                return Ok(program);
            }
        }
        Err(Error::Invalid("no kernel fits; please report it".into()))
    }
}
