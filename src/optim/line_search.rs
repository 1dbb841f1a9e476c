//! A step along a direction that satisfies the strong Wolfe conditions: Nocedal and Wright, "Numerical Optimization", 2nd
//! edition, algorithms 3.5 and 3.6.

use crate::error::Result;

/// How much of the decrease that the slope promises a step must bring.
const DECREASE: f64 = 1e-4;
/// What is left of the slope at most.
const CURVATURE: f64 = 0.9;
/// Evaluations of one search.
const MOST: usize = 25;

/// A function's value and slope at a step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Along {
    pub(super) step: f64,
    pub(super) value: f64,
    pub(super) slope: f64,
}

/// Where the cubic through both ends has its minimum (equation 3.59), kept off the ends; the middle where it has none.
fn interpolated(a: Along, b: Along) -> f64 {
    let d1 = a.slope + b.slope - 3.0 * (a.value - b.value) / (a.step - b.step);
    let root = (d1 * d1 - a.slope * b.slope).sqrt().copysign(b.step - a.step);
    let at = b.step - (b.step - a.step) * (b.slope + root - d1) / (b.slope - a.slope + 2.0 * root);
    let (low, high) = (a.step.min(b.step), a.step.max(b.step));
    let margin = 0.1 * (high - low);
    if at.is_finite() { at.clamp(low + margin, high - margin) } else { (low + high) / 2.0 }
}

/// A step, from `first` on, at which the function decreases enough and is flat enough; the best one that was found where none is,
/// or `None` where none decreases it. `at` evaluates the function at a step; a value that is not finite counts as far too
/// large. `start` is step 0, with a slope below 0.
pub(super) fn search(
    start: Along,
    first: f64,
    mut at: impl FnMut(f64) -> Result<Along>,
) -> Result<Option<Along>> {
    let decreases = |a: &Along| a.value <= start.value + DECREASE * a.step * start.slope;
    let is_flat = |a: &Along| a.slope.abs() <= -CURVATURE * start.slope;
    let (mut before, mut step, mut left) = (start, first, MOST);
    // Grows until a step is between two.
    let (mut low, mut high) = loop {
        let now = at(step)?;
        left -= 1;
        if !now.value.is_finite() || !now.slope.is_finite() {
            // Too far: halfway back, without a cubic through what is no number.
            if left == 0 {
                return Ok((before.step > 0.0).then_some(before));
            }
            step = (before.step + step) / 2.0;
            continue;
        }
        if !decreases(&now) || (before.step > 0.0 && now.value >= before.value) {
            break (before, now);
        }
        if is_flat(&now) || left == 0 {
            return Ok(Some(now));
        }
        if now.slope >= 0.0 {
            break (now, before);
        }
        (step, before) = (2.0 * step, now);
    };
    // Between `low`, the best so far, and `high`, on the side to which the function falls from there.
    while left > 0 {
        left -= 1;
        let now = at(interpolated(low, high))?;
        if !now.value.is_finite() || !decreases(&now) || now.value >= low.value {
            high = if now.value.is_finite() && now.slope.is_finite() {
                now
            } else {
                Along { value: f64::MAX, ..now }
            };
        } else {
            if is_flat(&now) {
                return Ok(Some(now));
            }
            if now.slope * (high.step - low.step) >= 0.0 {
                high = low;
            }
            low = now;
        }
        if (high.step - low.step).abs() <= 1e-9 * low.step.max(first) {
            break;
        }
    }
    Ok((low.step > 0.0).then_some(low))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(first: f64, f: impl Fn(f64) -> (f64, f64)) -> Option<(Along, usize)> {
        let along = |step: f64| {
            let (value, slope) = f(step);
            Along { step, value, slope }
        };
        let mut evaluations = 0;
        let result = search(along(0.0), first, |step| {
            evaluations += 1;
            Ok(along(step))
        });
        result.unwrap().map(|found| (found, evaluations))
    }

    #[test]
    fn steps_satisfy_the_strong_wolfe_conditions() {
        type Function = fn(f64) -> (f64, f64);
        let functions: [Function; 4] = [
            |x| ((x - 3.0).powi(2), 2.0 * (x - 3.0)),
            // Functions of Moré and Thuente, TOMS 1994: (2.1) in section 5, with a second minimum, and a steep wall.
            |x| (-x / (x * x + 2.0), (x * x - 2.0) / (x * x + 2.0).powi(2)),
            |x| {
                (
                    (x + 0.004).powi(5) - 2.0 * (x + 0.004).powi(4),
                    5.0 * (x + 0.004).powi(4) - 8.0 * (x + 0.004).powi(3),
                )
            },
            |x| (x.exp() - 4.0 * x, x.exp() - 4.0),
        ];
        for f in functions {
            for first in [1e-3, 0.1, 1.0, 10.0, 1000.0] {
                let (found, evaluations) = found(first, f).unwrap();
                let (value, slope) = f(0.0);
                assert!(found.value <= value + 1e-4 * found.step * slope, "{first}: {found:?}");
                assert!(found.slope.abs() <= 0.9 * slope.abs(), "{first}: {found:?}");
                assert!(evaluations <= 20, "{evaluations}");
            }
        }
    }

    #[test]
    fn what_is_not_finite_is_too_far() {
        let (found, _) =
            found(100.0, |x| if x > 2.0 { (f64::NAN, f64::NAN) } else { ((x - 1.0).powi(2), 2.0 * x - 2.0) })
                .unwrap();
        assert!((found.step - 1.0).abs() < 0.95, "{found:?}");
        assert_eq!(
            super::search(Along { step: 0.0, value: 1.0, slope: -1.0 }, 1.0, |step| {
                Ok(Along { step, value: f64::NAN, slope: f64::NAN })
            })
            .unwrap(),
            None
        );
        // A function that rises although its slope at 0 says that it falls.
        assert_eq!(
            super::search(Along { step: 0.0, value: 1.0, slope: -1.0 }, 1.0, |step| {
                Ok(Along { step, value: 2.0, slope: 1.0 })
            })
            .unwrap(),
            None
        );
    }
}
