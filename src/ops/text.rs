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

/// The value of `values` whose number `index` is, known only at run time, without an array in memory: by it a loop does what
/// would else stand in a text several times.
pub(super) fn chosen(values: &[String], index: &str) -> String {
    let first = values.first().cloned().unwrap_or_default();
    let choose = |so_far, (i, value): (usize, &String)| format!("select({so_far}, {value}, {index} == {i}u)");
    values.iter().enumerate().skip(1).fold(first, choose)
}

/// Component `index` of a vector of `n`, known only at run time.
pub(super) fn chosen_component(name: &str, n: usize, index: &str) -> String {
    chosen(&(0..n).map(|i| component(name, n, i)).collect::<Vec<_>>(), index)
}
