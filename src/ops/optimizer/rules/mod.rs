//! The formulas of optimizers. Each stands in WGSL under its name in `shaders/optimizer.wgsl`.

mod adam;
mod adaptive;
mod momentum;

pub(crate) use adam::{Adam, Adamax, LambDirection, NAdam, RAdam};
pub(crate) use adaptive::{Adadelta, Adagrad, RmsProp, Rprop};
pub(crate) use momentum::{Average, Lion, MuonDirection, Sgd};

use super::Number;
use super::rule::{
    MOST_CONSTANTS, MOST_SCALARS, MOST_STATES, Rule, expect_not_negative, expect_setting, expect_share,
};

/// The scalars or constants of a formula, those after them 0.
fn padded<const N: usize, const ALL: usize>(values: [f64; N]) -> [f64; ALL] {
    let mut all = [0.0; ALL];
    all.iter_mut().zip(values).for_each(|(to, from)| *to = from);
    all
}
