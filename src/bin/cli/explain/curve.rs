//! What is drawn of an entry: values that the program itself computes.

use std::ops::RangeInclusive;

use wgrad::losses::{Loss, Reduction};
use wgrad::nn::{self, Layer, Nonlinearity};
use wgrad::optim::Schedule;
use wgrad::{Graph, Params, Tensor, Var};

use super::entries::{Entry, Kind};
use super::record::{constant, values};

/// Lines over one axis.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Curve {
    pub(super) title: String,
    /// What the axis is.
    pub(super) axis: String,
    pub(super) x: Vec<f32>,
    /// What each is, and its values.
    pub(super) lines: Vec<(String, Vec<f32>)>,
    /// The part of the values that is shown, where not all of them fit.
    pub(super) shown: Option<[f32; 2]>,
}

/// Points of a function.
const POINTS: usize = 241;
/// Epochs of a schedule.
const EPOCHS: usize = 60;

fn points(range: RangeInclusive<f32>) -> Vec<f32> {
    let (from, to) = (*range.start(), *range.end());
    (0..POINTS).map(|i| from + (to - from) * i as f32 / (POINTS - 1) as f32).collect()
}

/// The picture of an entry, if it has one: a function of one number with its derivative, or a factor by epoch.
pub(super) fn curve(entry: &Entry) -> Option<Curve> {
    match entry.kind {
        Kind::Activation => activation(&entry.name),
        Kind::Loss => loss(&entry.name),
        Kind::Schedule => schedule(&entry.name),
        _ => None,
    }
}

fn with_derivative(
    title: String,
    axis: &str,
    x: Vec<f32>,
    record: impl for<'g> FnOnce(&'g Graph, Var<'g>) -> Option<Var<'g>>,
) -> Option<Curve> {
    let [y, dy] = values(&x, record)?;
    let lines = vec![("function".into(), y), ("derivative".into(), dy)];
    Some(Curve { title, axis: axis.into(), x, lines, shown: None })
}

fn activation(name: &str) -> Option<Curve> {
    let nonlinearity: Nonlinearity = name.parse().ok().filter(Nonlinearity::is_elementwise)?;
    let params = Params::seeded(1);
    let range = if name.starts_with("hard-s") || name == "relu6" { -8.0..=8.0 } else { -5.0..=5.0 };
    with_derivative(nonlinearity.to_string(), "x", points(range), |_, x| {
        Some(match nonlinearity {
            Nonlinearity::Of(activation) => activation.forward(x),
            Nonlinearity::Prelu => nn::Prelu::new(&params, 1).forward(x),
            Nonlinearity::SwishLearned => nn::Swish::new(&params, 1).forward(x),
            Nonlinearity::Rrelu(lower, upper) => nn::Rrelu::new(&params, lower, upper).forward(x),
            _ => return None,
        })
    })
}

const ERROR: &str = "d = prediction - target";
const LOGIT: &str = "z, the logit, of the label 1";
const OF_TWO: &str = "z, the logit of the right one of two classes; the other's is 0";

fn loss(name: &str) -> Option<Curve> {
    let loss: Loss = name.parse().ok()?;
    let each = loss.clone().reduction(Reduction::None);
    let (target, range, axis) = match name {
        "mse" | "mae" | "huber" | "smooth-l1" | "log-cosh" | "quantile" | "robust" | "variable-power" => {
            (0.0, -3.0..=3.0, ERROR)
        }
        "msle" => (1.0, 0.0..=4.0, "prediction, of the target 1"),
        "mape" => (1.0, -2.0..=4.0, "prediction, of the target 1"),
        "poisson-nll" | "poisson-nll-full" => {
            (2.0, -2.0..=3.0, "z, the logarithm of the rate, of the count 2")
        }
        "poisson-nll-rates" | "poisson-nll-rates-full" => (2.0, 0.2..=6.0, "the rate, of the count 2"),
        "hinge" | "squared-hinge" => (1.0, -3.0..=3.0, "prediction, of the label 1"),
        "bce" | "binary-focal" => (1.0, -6.0..=6.0, LOGIT),
        "bce-probabilities" => (1.0, 0.05..=1.0, "probability, of the label 1"),
        "cross-entropy" | "focal" | "multi-margin" | "nll" => return of_two_classes(name, &each),
        _ => return None,
    };
    let x = points(range);
    let n = x.len();
    let curve = with_derivative(loss.to_string(), axis, x, |g, x| {
        Some(each.of([x.reshape([n, 1]), constant(g, n, target)?.reshape([n, 1])]).reshape([n]))
    })?;
    // It has no largest value.
    let shown = (name == "variable-power").then_some([-4.0, 5.0]);
    Some(Curve { shown, ..curve })
}

fn of_two_classes(name: &str, each: &Loss) -> Option<Curve> {
    let x = points(-6.0..=6.0);
    let n = x.len();
    with_derivative(each.to_string(), OF_TWO, x, |g, x| {
        let zeros = constant(g, n, 0.0)?.reshape([n, 1]);
        let logits = x.reshape([n, 1]).concat(&[zeros], 1);
        let logits = if name == "nll" { logits.log_softmax(1) } else { logits };
        let first = Tensor::new([n], vec![0u32; n]).ok()?;
        Some(each.of([logits, g.constant(first)]))
    })
}

fn schedule(name: &str) -> Option<Curve> {
    let (text, schedule) = match name {
        "multi-step" => ("multi-step=0.5,15,30,45", "multi-step=0.5,15,30,45".parse().ok()?),
        "Warmup" => ("--warmup 10 --schedule cosine", Schedule::Cosine.after_warmup(10)),
        name => (name, name.parse::<Schedule>().ok()?),
    };
    let factors = (0..EPOCHS).map(|epoch| schedule.factor(epoch, EPOCHS)).collect();
    Some(Curve {
        title: format!("{text}, {EPOCHS} epochs"),
        axis: "epoch".into(),
        x: (0..EPOCHS).map(|epoch| epoch as f32).collect(),
        lines: vec![("factor of the learning rate".into(), factors)],
        shown: None,
    })
}

impl Curve {
    /// The smallest and the largest value that is shown.
    pub(super) fn range(&self) -> [f32; 2] {
        if let Some(shown) = self.shown {
            return shown;
        }
        let all = self.lines.iter().flat_map(|(_, y)| y).copied().filter(|y| y.is_finite());
        let [low, high] = all.fold([f32::INFINITY, f32::NEG_INFINITY], |[l, h], y| [l.min(y), h.max(y)]);
        match low < high {
            true => [low, high],
            // A constant, and what is nowhere a number.
            false if low.is_finite() => [low - 1.0, low + 1.0],
            false => [-1.0, 1.0],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::entries::all;
    use super::*;

    fn of(name: &str) -> Curve {
        let found = all().iter().find_map(|entry| (entry.name == name).then(|| curve(entry)).flatten());
        found.unwrap_or_else(|| panic!("{name} has no curve"))
    }

    /// The value at the point that is nearest to x.
    fn at(curve: &Curve, line: usize, x: f32) -> f32 {
        let i = (0..curve.x.len()).min_by(|&a, &b| (curve.x[a] - x).abs().total_cmp(&(curve.x[b] - x).abs()));
        curve.lines[line].1[i.unwrap()]
    }

    #[test]
    fn curves_are_those_of_the_functions() {
        let near = |a: f32, b: f32| assert!((a - b).abs() < 1e-5, "{a} {b}");
        let sigmoid = of("sigmoid");
        near(at(&sigmoid, 0, 0.0), 0.5);
        near(at(&sigmoid, 1, 0.0), 0.25);
        assert!(at(&sigmoid, 0, 5.0) > 0.99);
        let relu = of("relu");
        assert_eq!([at(&relu, 1, 0.0), at(&relu, 1, 1.0), at(&relu, 0, -1.0)], [0.0, 1.0, 0.0]);
        // The derivative by the prediction is 2 (p - t).
        let mse = of("mse");
        near(at(&mse, 0, 3.0), 9.0);
        near(at(&mse, 1, 3.0), 6.0);
        let entropy = of("cross-entropy");
        near(at(&entropy, 0, 0.0), std::f32::consts::LN_2);
        near(at(&entropy, 1, 0.0), -0.5);
        assert_eq!(at(&of("step"), 0, 10.0), 0.1);
        assert_eq!(of("variable-power").range(), [-4.0, 5.0]);
    }

    /// Every activation of single numbers and every schedule but a plateau has a curve, and it is one of numbers.
    #[test]
    fn what_can_be_drawn_is() {
        for entry in all() {
            let is_expected = match entry.kind {
                Kind::Activation => entry.name.parse().is_ok_and(|n: Nonlinearity| n.is_elementwise()),
                Kind::Schedule => !["plateau", "Plateau", "Chained"].contains(&&*entry.name),
                _ => false,
            };
            let Some(curve) = curve(entry) else {
                assert!(!is_expected, "{}", entry.name);
                continue;
            };
            assert!(curve.lines.iter().all(|(_, y)| y.len() == curve.x.len()), "{}", entry.name);
            let finite = curve.lines.iter().flat_map(|(_, y)| y).all(|y| y.is_finite());
            assert!(finite, "{}: {:?}", entry.name, curve.lines);
        }
    }
}
