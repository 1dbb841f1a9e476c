//! What generated kernels are spelled with.

use minijinja::{Value, context};

use super::elementwise::FIRST_BINDING;
use super::{Arg, Chain, Kernel};
use crate::error::Result;

/// Formulas after an op, where its kernel stores vectors of `vector` elements of rows of `columns`, if it has such.
pub(super) struct Epilogue<'a> {
    pub(super) chain: &'a Chain,
    pub(super) vector: usize,
    pub(super) columns: Option<usize>,
}

/// The kernel that the template `file` under `shaders/` is with the numbers of `variant`, and with formulas after it that it
/// calls as `epilogue`. The key names the variant.
///
/// # Errors
/// If the template has a mistake, or asks for what the variant does not say: found by the first case that runs it.
pub(super) fn rendered(
    file: &str,
    mut key: String,
    entry: &str,
    variant: Value,
    epilogue: Option<Epilogue<'_>>,
) -> Result<Kernel> {
    let mut before = String::new();
    if let Some(Epilogue { chain, vector, columns }) = epilogue {
        key += &format!(".then.{}", chain.key(columns));
        let text = chain.epilogue(vector, FIRST_BINDING, columns);
        before = format!("{}{}\n", text.bindings, text.functions);
    }
    Kernel::rendered(file, key, entry, &before, variant)
}

/// A storage binding of a template's kernel: what it is called there, the type of its elements, and what is bound. It is written
/// where an output or a scratch buffer is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Binding {
    pub(super) name: &'static str,
    pub(super) element: &'static str,
    pub(super) arg: Arg,
}

impl Binding {
    pub(super) fn new(name: &'static str, element: &'static str, arg: Arg) -> Self {
        Binding { name, element, arg }
    }

    pub(super) fn is_written(&self) -> bool {
        matches!(self.arg, Arg::Output(_) | Arg::Scratch(_))
    }
}

/// Bindings for a template, in the order of their numbers.
pub(super) fn listed(bindings: &[Binding]) -> Vec<Value> {
    let one = |b: &Binding| {
        context! { name => b.name, element => b.element, access => if b.is_written() { "read_write" } else { "read" } }
    };
    bindings.iter().map(one).collect()
}

/// What is bound.
pub(super) fn args(bindings: &[Binding]) -> Vec<Arg> {
    bindings.iter().map(|b| b.arg).collect()
}

/// The type of single floats, or of four that lie together.
pub(super) fn floats(is_vec4: bool) -> &'static str {
    if is_vec4 { "vec4<f32>" } else { "f32" }
}

/// The type of `n` elements that lie together.
pub(super) fn vector_type(element: &str, n: usize) -> String {
    if n == 1 { element.into() } else { format!("vec{n}<{element}>") }
}

/// Element `i` of the value `name` of such a type.
pub(super) fn component(name: &str, n: usize, i: usize) -> String {
    if n == 1 { name.into() } else { format!("{name}.{}", ["x", "y", "z", "w"][i]) }
}

/// How many elements can lie together: the largest of 4, 2 and 1 that fits.
pub(super) fn widest(fits: impl Fn(usize) -> bool) -> usize {
    [4, 2].into_iter().find(|n| fits(*n)).unwrap_or(1)
}
