//! Inputs that ops are checked with: what `wgrad check`, the tests and planted faults run.

mod edge;
mod fused;
mod lengths;
mod long;
mod nonfinite;
mod normalized;
mod products;
mod shapes;
#[cfg(test)]
mod tests;

#[doc(hidden)]
pub use long::{long_registry, stretched};

use crate::op::Case;

/// Every op with its cases: those that it brings along, and those of fused ops, normalizations, long axes, values that are not finite, and
/// edges.
pub fn registry() -> Vec<Case> {
    let mut cases = crate::ops::cases();
    cases.extend(fused::cases());
    cases.extend(normalized::cases());
    cases.extend(long::cases());
    cases.extend(nonfinite::cases());
    cases.extend(edge::cases());
    cases.extend(shapes::cases());
    cases.extend(products::cases());
    cases
}
