//! What generated kernels are spelled with.

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
