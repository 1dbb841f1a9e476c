//! What generated kernels are spelled with.

use minijinja::Value;

use super::elementwise::FIRST_BINDING;
use super::{Chain, Kernel};
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
