//! L-BFGS, whose line search is on the host.

use std::collections::VecDeque;
use std::panic::Location;

use super::line_search::{Along, search};
use crate::device::{Device, Step};
use crate::error::{Error, Result};
use crate::graph::{Graph, Param, SourceLocation, Var};
use crate::tensor::Feed;

/// Two points in a row: how far apart, and how far their gradients.
#[derive(Debug)]
struct Pair {
    moved: Vec<f64>,
    changed: Vec<f64>,
    /// 1 / (moved · changed).
    rho: f64,
}

/// Where the parameters are.
#[derive(Debug, Clone)]
struct Point {
    at: Vec<f32>,
    loss: f64,
    gradient: Vec<f64>,
}

/// How a minimization ended.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Minimized {
    /// The loss there.
    pub loss: f32,
    /// The largest element of the gradient there.
    pub gradient: f32,
    /// Directions that were gone along.
    pub iterations: usize,
    /// Evaluations of the loss and its gradient.
    pub evaluations: usize,
    /// Whether the gradient fell below the tolerance, or no step makes the loss smaller any more.
    pub converged: bool,
}

/// L-BFGS with a line search: Liu and Nocedal, "On the limited memory BFGS method for large scale optimization", 1989; Nocedal
/// and Wright, "Numerical Optimization", algorithms 7.4 and 7.5, with steps that satisfy the strong Wolfe conditions.
///
/// For losses that are the same whenever they are computed: of all rows at once, without dropout. Few parameters, as of a
/// regression, take tens of evaluations where gradient descent takes thousands. The loss and its gradient are computed on
/// the device, the rest in f64 on the host, so that each evaluation waits for the device.
///
/// ```
/// use wgrad::optim::Lbfgs;
/// use wgrad::{Device, Graph, Init, Params};
/// let params = Params::seeded(1);
/// let x = params.param("x", [1], Init::Constant(-1.2));
/// let y = params.param("y", [1], Init::Constant(1.0));
/// let g = Graph::new();
/// let (px, py) = (g.param(&x), g.param(&y));
/// // Rosenbrock's valley.
/// let loss = (px * -1.0 + 1.0).square() + (py - px.square()).square() * 100.0;
/// let device = Device::cpu();
/// let found = Lbfgs::new(&device, &g, loss, &params.trainable())?.minimize(100)?;
/// assert!(found.converged && found.loss < 1e-9 && found.evaluations < 80);
/// assert!((device.read_param(&x)?.as_f32()[0] - 1.0).abs() < 1e-3);
/// # Ok::<(), wgrad::Error>(())
/// ```
#[derive(Debug)]
pub struct Lbfgs {
    device: Device,
    step: Step,
    params: Vec<Param>,
    history: usize,
    tolerance: f64,
    pairs: VecDeque<Pair>,
    /// What was evaluated last, unless inputs were fed since.
    point: Option<Point>,
    evaluations: usize,
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

const LOSS: &str = "lbfgs.loss";

fn gradient_of(param: &Param) -> String {
    format!("lbfgs.gradient.{}", param.name())
}

impl Lbfgs {
    /// Compiles `g` with the gradients of the scalar `loss` for the trainable ones of `params`.
    ///
    /// # Errors
    /// Where there is nothing to minimize, as [`super::Optimizer::minimize`] says it; those of [`Device::compile`].
    #[track_caller]
    pub fn new(device: &Device, g: &Graph, loss: Var<'_>, params: &[Param]) -> Result<Self> {
        let location = SourceLocation(Location::caller());
        let mut found = Vec::new();
        match super::dependencies(loss, params) {
            _ if loss.is_poisoned() => {}
            Ok(params) => {
                let values: Vec<Var<'_>> = params.iter().map(|p| g.param(p)).collect();
                let gradients = g.gradients(loss, &values);
                g.output(LOSS, loss);
                params.iter().zip(gradients).for_each(|(p, gradient)| g.output(&gradient_of(p), gradient));
                found = params;
            }
            Err(message) => {
                g.mistake("lbfgs", message, &[loss], location);
            }
        }
        Ok(Lbfgs {
            device: device.clone(),
            step: device.compile(g)?,
            params: found,
            history: 10,
            tolerance: 1e-7,
            pairs: VecDeque::new(),
            point: None,
            evaluations: 0,
        })
    }

    /// How many pairs of points stand for the second derivatives; 10 by default, at least 1.
    #[must_use]
    pub fn history(mut self, pairs: usize) -> Self {
        self.history = pairs.max(1);
        self
    }

    /// The largest element of a gradient that counts as none; 1e-7 by default.
    #[must_use]
    pub fn tolerance(mut self, gradient: f32) -> Self {
        self.tolerance = f64::from(gradient);
        self
    }

    /// Gives an input of the graph its value, as [`Step::feed`].
    ///
    /// # Errors
    /// As [`Step::feed`].
    pub fn feed<'a>(&mut self, name: &str, values: impl Into<Feed<'a>>) -> Result<()> {
        self.point = None;
        self.step.feed(name, values)
    }

    /// Goes along up to `iterations` directions. Afterwards the device holds the best parameters that were found; another call goes
    /// on from there.
    ///
    /// # Errors
    /// [`Error::Invalid`] where the loss or its gradient is not finite to begin with; a failure of the device.
    pub fn minimize(&mut self, iterations: usize) -> Result<Minimized> {
        self.evaluations = 0;
        let mut now = match self.point.take() {
            Some(point) => point,
            None => self.first()?,
        };
        let mut done = 0;
        let mut converged = self.is_flat(&now);
        while !converged && done < iterations {
            let (next, is_stuck) = self.iterate(&now)?;
            done += 1;
            match next {
                Some(next) => now = next,
                // Nothing smaller along the direction; along the gradient there may be.
                None if !self.pairs.is_empty() => self.pairs.clear(),
                None => converged = true,
            }
            converged |= is_stuck || self.is_flat(&now);
        }
        // The last evaluation may have been another.
        self.write(&now.at)?;
        let report = Minimized {
            loss: now.loss as f32,
            gradient: largest(&now.gradient) as f32,
            iterations: done,
            evaluations: self.evaluations,
            converged,
        };
        self.point = Some(now);
        Ok(report)
    }

    fn is_flat(&self, point: &Point) -> bool {
        largest(&point.gradient) <= self.tolerance
    }

    /// The next point, if there is a better one; and whether it is where the last one was, in f32.
    fn iterate(&mut self, now: &Point) -> Result<(Option<Point>, bool)> {
        let mut direction = self.direction(&now.gradient);
        let mut slope = dot(&direction, &now.gradient);
        if slope >= 0.0 {
            // Not downhill, for rounding: the gradient is.
            self.pairs.clear();
            direction = now.gradient.iter().map(|g| -g).collect();
            slope = dot(&direction, &now.gradient);
        }
        // Without a scale of second derivatives a step of at most 1 altogether.
        let first = match self.pairs.is_empty() {
            true => 1.0 / now.gradient.iter().map(|g| g.abs()).sum::<f64>().max(1.0),
            false => 1.0,
        };
        let start = Along { step: 0.0, value: now.loss, slope };
        let mut best: Option<Point> = None;
        let found = search(start, first, |step| {
            let moved = now.at.iter().zip(&direction).map(|(x, d)| (f64::from(*x) + step * d) as f32);
            let point = self.evaluate(moved.collect())?;
            let along = Along { step, value: point.loss, slope: dot(&point.gradient, &direction) };
            let is_finite = largest(&point.gradient).is_finite();
            if is_finite && point.loss < best.as_ref().map_or(now.loss, |best| best.loss) {
                best = Some(point);
            }
            Ok(along)
        })?;
        let (Some(_), Some(next)) = (found, best) else { return Ok((None, false)) };
        // What was really moved, in f32.
        let moved: Vec<f64> =
            next.at.iter().zip(&now.at).map(|(a, b)| f64::from(*a) - f64::from(*b)).collect();
        let changed: Vec<f64> = next.gradient.iter().zip(&now.gradient).map(|(a, b)| a - b).collect();
        let curvature = dot(&moved, &changed);
        let is_stuck = moved.iter().all(|x| *x == 0.0);
        // Only what curves upwards keeps the matrix positive.
        if curvature > 1e-10 * dot(&changed, &changed) {
            self.pairs.push_back(Pair { moved, changed, rho: 1.0 / curvature });
            if self.pairs.len() > self.history {
                self.pairs.pop_front();
            }
        }
        Ok((Some(next), is_stuck))
    }

    /// -H g, by two loops over the pairs: algorithm 7.4, with H₀ of equation 7.20.
    fn direction(&self, gradient: &[f64]) -> Vec<f64> {
        let mut q: Vec<f64> = gradient.iter().map(|g| -g).collect();
        let add =
            |q: &mut [f64], factor: f64, x: &[f64]| q.iter_mut().zip(x).for_each(|(q, x)| *q += factor * x);
        let mut alphas = Vec::new();
        for Pair { moved, changed, rho } in self.pairs.iter().rev() {
            let alpha = rho * dot(moved, &q);
            add(&mut q, -alpha, changed);
            alphas.push(alpha);
        }
        if let Some(Pair { changed, rho, .. }) = self.pairs.back() {
            let scale = 1.0 / (rho * dot(changed, changed));
            q.iter_mut().for_each(|q| *q *= scale);
        }
        for (Pair { moved, changed, rho }, alpha) in self.pairs.iter().zip(alphas.into_iter().rev()) {
            let beta = rho * dot(changed, &q);
            add(&mut q, alpha - beta, moved);
        }
        q
    }

    /// Where the parameters are on the device.
    fn first(&mut self) -> Result<Point> {
        let mut at = Vec::new();
        for param in &self.params {
            at.extend_from_slice(self.device.read_param(param)?.as_f32());
        }
        let point = self.evaluate(at)?;
        if point.loss.is_finite() && point.gradient.iter().all(|g| g.is_finite()) {
            return Ok(point);
        }
        Err(Error::Invalid(format!(
            "L-BFGS starts from parameters whose loss and gradient are finite; the loss is {}",
            point.loss
        )))
    }

    fn write(&self, at: &[f32]) -> Result<()> {
        let mut rest = at;
        for param in &self.params {
            let (own, others) = rest.split_at(param.tensor_type().shape.elements());
            self.device.write_param(param, own)?;
            rest = others;
        }
        Ok(())
    }

    fn evaluate(&mut self, at: Vec<f32>) -> Result<Point> {
        self.evaluations += 1;
        self.write(&at)?;
        self.step.run()?;
        let loss = f64::from(self.step.scalar(LOSS)?);
        let mut gradient = Vec::with_capacity(at.len());
        for param in &self.params {
            let values = self.step.read(&gradient_of(param))?.wait()?;
            gradient.extend(values.as_f32().iter().map(|&x| f64::from(x)));
        }
        Ok(Point { at, loss, gradient })
    }
}

/// The largest magnitude; NaN if there is one.
fn largest(x: &[f64]) -> f64 {
    x.iter().fold(0.0, |most, x| if x.abs() > most || x.is_nan() { x.abs() } else { most })
}
