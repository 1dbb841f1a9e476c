//! What a rule of updates is: one formula for each element, in Rust and in WGSL, and the scalars of a step.

use std::fmt::{Debug, Display};

use crate::ops::number::Number;

/// The most constants of a formula.
pub(crate) const MOST_CONSTANTS: usize = 8;
/// The most scalars that a step's number gives.
pub(crate) const MOST_SCALARS: usize = 3;
/// The most states that a formula updates, the parameter among them.
pub(crate) const MOST_STATES: usize = 4;

/// How an optimizer changes an element of a parameter.
///
/// The WGSL function `<NAME>_fn` has the same formula, for four elements: it takes the gradient, pointers to the
/// parameter and to each of [`Rule::STATES`], the learning rate, the scalars of the step and the constants. Where the step's
/// number counts, `<SCALARS_OF>_scalars_fn` makes the scalars of it.
pub(crate) trait Rule: Copy + Debug + Send + Sync + 'static {
    /// The optimizer in WGSL.
    const NAME: &'static str;
    /// Name of the op that updates.
    const UPDATE: &'static str;
    /// Name of the op that counts steps, where their number counts.
    const TICK: Option<&'static str> = None;
    /// What is kept for each element beside the parameter.
    const STATES: &'static [&'static str];
    /// How many of them are kept at least.
    const LEAST: usize = Self::STATES.len();
    /// How many constants there are, at most [`MOST_CONSTANTS`].
    const CONSTANTS: usize;
    /// How many scalars the step's number gives, at most [`MOST_SCALARS`].
    const SCALARS: usize = 0;
    /// Whose function makes the scalars in WGSL: its own.
    const SCALARS_OF: &'static str = Self::NAME;

    /// How many of the states are kept, from the first on. The others begin each step as 0, and are forgotten.
    fn kept(&self) -> usize {
        Self::STATES.len()
    }

    /// What the states start from.
    fn initial(&self) -> [f32; MOST_STATES - 1] {
        [0.0; MOST_STATES - 1]
    }

    /// What is wrong with the settings.
    fn check(&self) -> Result<(), String> {
        Ok(())
    }

    /// The constants of the formula, unused ones 0.
    fn constants(&self) -> [f64; MOST_CONSTANTS];

    /// The scalars of step `t`, from 1.
    fn scalars(&self, t: u32) -> [f64; MOST_SCALARS] {
        let _ = t;
        [0.0; MOST_SCALARS]
    }

    /// The error of each scalar, in units of itself.
    fn scalar_units(&self) -> [f64; MOST_SCALARS] {
        [0.0; MOST_SCALARS]
    }

    /// What the WGSL function of the scalars takes after the count.
    fn scalar_constants(&self) -> [f32; 4] {
        [0.0; 4]
    }

    /// Changes the parameter, `s[0]`, and the states after it, for gradient `g`, learning rate `lr`, the scalars `x` and the
    /// constants `c`.
    fn update<N: Number>(lr: N, x: [N; MOST_SCALARS], c: [N; MOST_CONSTANTS], g: N, s: &mut [N; MOST_STATES]);
}

/// Fails unless a setting is in a range.
pub(super) fn expect_setting(
    name: &str,
    value: impl Display,
    range: &str,
    holds: bool,
) -> Result<(), String> {
    if holds { Ok(()) } else { Err(format!("{name} must be {range}, got {value}")) }
}

/// Fails unless a setting is 0 or more.
pub(super) fn expect_not_negative(name: &str, value: f32) -> Result<(), String> {
    expect_setting(name, value, "0 or more", value.is_finite() && value >= 0.0)
}

/// Fails unless a share that is kept is from 0 to below 1.
pub(super) fn expect_share(name: &str, value: f64) -> Result<(), String> {
    expect_setting(name, value, "in [0, 1)", (0.0..1.0).contains(&value))
}
