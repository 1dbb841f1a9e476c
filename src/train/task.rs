//! What is minimized, and what is measured beside.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Accuracy, BitsPerSymbol, Perplexity, R2};
use crate::data::{Dataset, Targets};
use crate::device::Device;
use crate::error::{Error, Result};
use crate::graph::{Init, Param, Params, Var};
use crate::losses::Loss;
use crate::shape::Shape;
use crate::tensor::Tensor;

/// A loss of predictions and targets, by name. Ready ones: every [`Loss`] and
/// [`Adaptive`](crate::losses::Adaptive); [`objective_fn`] makes one of a function.
pub trait Objective: Send + Sync {
    /// What messages and pictures call it.
    fn name(&self) -> &str;

    /// The mean over the rows of a batch, one number. `prediction` is what the model makes, `[rows, ..]`; `target` holds
    /// class numbers `[rows]`, or floats `[rows, ..shape]`. Of sequences each place is a row: `[rows · places, classes]` and
    /// `[rows · places]`.
    fn loss<'g>(&self, prediction: Var<'g>, target: Var<'g>) -> Var<'g>;

    /// What is measured with it, unless a [`Task`] says otherwise.
    fn metrics(&self) -> Vec<Arc<dyn Metric>> {
        Vec::new()
    }

    /// What the loss itself learns: it is saved with the model.
    fn params(&self) -> Vec<Param> {
        Vec::new()
    }

    /// Looks at the targets of the data sets of a run before its first step: what is wrong with a row is then known
    /// there, and not by a loss that means nothing.
    ///
    /// # Errors
    /// [`Error::Invalid`] for targets that the loss does not take.
    fn check(&self, data: &Dataset) -> Result<()> {
        let _ = data;
        Ok(())
    }
}

/// A function of prediction and target as an objective: the mean over the rows of a batch.
///
/// ```
/// use wgrad::train::{Task, objective_fn};
/// // The fourth power of the differences.
/// let fourth = objective_fn("fourth power", |prediction, target| (prediction - target).square().square().mean_all());
/// let task = Task::new(fourth);
/// ```
pub fn objective_fn<F>(name: impl Into<String>, loss: F) -> impl Objective
where
    F: for<'g> Fn(Var<'g>, Var<'g>) -> Var<'g> + Send + Sync,
{
    Function { name: name.into(), loss }
}

struct Function<F> {
    name: String,
    loss: F,
}

impl<F: for<'g> Fn(Var<'g>, Var<'g>) -> Var<'g> + Send + Sync> Objective for Function<F> {
    fn name(&self) -> &str {
        &self.name
    }

    fn loss<'g>(&self, prediction: Var<'g>, target: Var<'g>) -> Var<'g> {
        (self.loss)(prediction, target)
    }
}

/// Which of two values of a metric is the better one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Better {
    /// The larger: accuracies.
    More,
    /// The smaller: errors.
    Less,
}

impl Better {
    /// Whether `new` is as good as `old`, or better; every number is better than NaN.
    pub(super) fn holds(self, new: f64, old: f64) -> bool {
        match self {
            _ if old.is_nan() => true,
            Better::More => new >= old,
            Better::Less => new <= old,
        }
    }
}

/// What is added up on the device over the batches of an epoch or an evaluation.
#[derive(Debug, Clone, Copy)]
pub struct Sum<'g>(Kind<'g>);

#[derive(Debug, Clone, Copy)]
enum Kind<'g> {
    Scaled(Var<'g>, f32),
    Equal(Var<'g>, Var<'g>),
}

impl<'g> Sum<'g> {
    /// Floats of any shape, the same for every batch.
    pub fn of(value: Var<'g>) -> Self {
        Sum(Kind::Scaled(value, 1.0))
    }

    /// A number that is a mean over the rows of the batch, times their number.
    pub fn of_mean(mean: Var<'g>, rows: usize) -> Self {
        Sum(Kind::Scaled(mean, rows as f32))
    }

    /// How many of these whole numbers equal those of `others`, which have the same shape.
    pub fn of_equal(numbers: Var<'g>, others: Var<'g>) -> Self {
        Sum(Kind::Equal(numbers, others))
    }

    fn shape(&self) -> Shape {
        match self.0 {
            Kind::Scaled(value, _) => value.shape(),
            Kind::Equal(..) => Shape::scalar(),
        }
    }

    fn add_to(self, state: Var<'g>) {
        match self.0 {
            Kind::Scaled(value, factor) => value.accumulate_into(state, factor),
            Kind::Equal(numbers, others) => numbers.count_equal_into(others, state),
        };
    }
}

/// Something measured of predictions and targets: sums that the device adds up over batches, and a number that the host
/// makes of them. Ready ones: [`super::Accuracy`], [`super::Mse`], [`super::Rmse`], [`super::Mae`], [`super::R2`],
/// [`super::BinaryAccuracy`].
///
/// ```
/// use wgrad::train::{Better, Metric, Sum};
/// use wgrad::{Tensor, Var};
///
/// /// Share of the rows whose first number is predicted with the right sign.
/// struct Sign;
///
/// impl Metric for Sign {
///     fn name(&self) -> &str {
///         "sign"
///     }
///     fn better(&self) -> Better {
///         Better::More
///     }
///     fn sums<'g>(&self, prediction: Var<'g>, target: Var<'g>) -> Vec<Sum<'g>> {
///         let product = (prediction * target).slice(1, 0, 1);
///         vec![Sum::of(product.greater(product.graph().scalar(0.0)).sum_all())]
///     }
///     fn value(&self, sums: &[Tensor], rows: usize) -> f64 {
///         f64::from(sums[0].as_f32()[0]) / rows as f64
///     }
/// }
/// ```
pub trait Metric: Send + Sync {
    /// By which records hold it: `accuracy`. Two of one name exclude each other, and none is called `loss`.
    fn name(&self) -> &str;

    /// Which of two values is better.
    fn better(&self) -> Better;

    /// What to add up of a batch; the shapes must not depend on the number of rows. Sums are kept in 32 bits.
    fn sums<'g>(&self, prediction: Var<'g>, target: Var<'g>) -> Vec<Sum<'g>>;

    /// The metric of `rows` rows, from their sums in the order of [`Metric::sums`].
    fn value(&self, sums: &[Tensor], rows: usize) -> f64;

    /// Rows of class `i` that were taken for class `j`, at `[i][j]`, if the sums of an evaluation tell.
    fn confusion(&self, sums: &[Tensor]) -> Option<Vec<Vec<u32>>> {
        let _ = sums;
        None
    }
}

/// A loss and metrics: numbers by name.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Scores {
    /// Mean over the rows.
    pub loss: f64,
    /// By name, in the order of the task.
    #[serde(with = "super::saved::numbers")]
    pub metrics: Vec<(String, f64)>,
}

impl Scores {
    /// The number of this name, which may be `loss`.
    pub fn get(&self, name: &str) -> Option<f64> {
        match name {
            LOSS => Some(self.loss),
            _ => self.metrics.iter().find(|(known, _)| known == name).map(|(_, value)| *value),
        }
    }

    /// Share of the rows classified rightly; NaN where that was not measured.
    pub fn accuracy(&self) -> f64 {
        self.get("accuracy").unwrap_or(f64::NAN)
    }
}

/// What the loss is called among metrics.
pub(super) const LOSS: &str = "loss";

/// What is minimized, and what is measured beside.
///
/// ```
/// use wgrad::losses::Loss;
/// use wgrad::train::{Mae, Task};
/// let regression = Task::new(Loss::mse());
/// assert_eq!(regression.names(), ["loss", "mse", "mae", "r2"]);
/// let labels = Task::new(Loss::bce()).metric(Mae::new());
/// assert_eq!(labels.names(), ["loss", "accuracy", "mae"]);
/// ```
#[derive(Clone)]
pub struct Task {
    pub(super) objective: Arc<dyn Objective>,
    pub(super) metrics: Vec<Arc<dyn Metric>>,
}

/// About where the numbers of the targets lie: the means of up to a thousand rows, evenly spaced.
fn centers(data: &Dataset) -> Vec<f32> {
    let (rows, count) = (data.len(), data.len().min(1000));
    let taken: Vec<Vec<f32>> = (0..count).filter_map(|i| data.target(i * rows / count)).collect();
    let mut sums = vec![0.0; taken.first().map_or(0, Vec::len)];
    for row in &taken {
        sums.iter_mut().zip(row).for_each(|(sum, &x)| *sum += f64::from(x));
    }
    sums.into_iter().map(|sum| (sum / taken.len() as f64) as f32).collect()
}

impl fmt::Debug for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Task({}, {})", self.objective.name(), self.names()[1..].join(", "))
    }
}

impl Task {
    /// Minimizes `objective`, and measures what goes with it.
    pub fn new(objective: impl Objective + 'static) -> Self {
        Task { metrics: objective.metrics(), objective: Arc::new(objective) }
    }

    /// What is usual for the targets of a data set: [`Loss::cross_entropy`] of classes, of sequences with bits per symbol and
    /// perplexity, [`Loss::mse`] of values and of the input.
    pub fn of(data: &Dataset) -> Self {
        match data.targets {
            Targets::Classes { .. } => Task::new(Loss::cross_entropy()),
            Targets::Sequences { .. } => {
                let task = Task::new(Loss::cross_entropy()).without_metrics();
                task.metric(BitsPerSymbol).metric(Perplexity).metric(Accuracy)
            }
            Targets::Values { .. } | Targets::Input => {
                Task::new(Loss::mse()).metric(R2::about_each(centers(data)))
            }
        }
    }

    /// Measures this too, in the place of a metric of the same name.
    #[must_use]
    pub fn metric(mut self, metric: impl Metric + 'static) -> Self {
        let metric: Arc<dyn Metric> = Arc::new(metric);
        match self.metrics.iter_mut().find(|known| known.name() == metric.name()) {
            Some(known) => *known = metric,
            None => self.metrics.push(metric),
        }
        self
    }

    /// Measures nothing but the loss and what [`Task::metric`] adds from here on.
    #[must_use]
    pub fn without_metrics(mut self) -> Self {
        self.metrics.clear();
        self
    }

    /// The names of what is measured, `loss` first.
    pub fn names(&self) -> Vec<&str> {
        [LOSS].into_iter().chain(self.metrics.iter().map(|metric| metric.name())).collect()
    }

    /// Which of two values of this name is better, if that is measured.
    pub fn better(&self, name: &str) -> Option<Better> {
        match name {
            LOSS => Some(Better::Less),
            _ => self.metrics.iter().find(|metric| metric.name() == name).map(|metric| metric.better()),
        }
    }

    /// Refuses names that records could not tell apart.
    pub(super) fn check(&self) -> Result<()> {
        let names = self.names();
        match names.iter().enumerate().find(|(i, name)| names[..*i].contains(name) || name.is_empty()) {
            Some((_, name)) => Err(Error::Invalid(format!(
                "a metric is called `{name}`; give each a name of its own, and `{LOSS}` to none"
            ))),
            None => Ok(()),
        }
    }

    /// Refuses a name that nothing has; else says which of its values is better.
    pub(super) fn find(&self, name: &str) -> Result<Better> {
        self.better(name).ok_or_else(|| {
            Error::Invalid(format!("`{name}` is not measured; there is {}", self.names().join(", ")))
        })
    }

    /// Records the loss and what is to be added up, before any state is updated.
    pub(super) fn record<'g>(&self, prediction: Var<'g>, target: Var<'g>) -> Result<Recorded<'g>> {
        let loss = self.objective.loss(prediction, target);
        let sums = self.metrics.iter().map(|metric| metric.sums(prediction, target)).collect();
        if let Some(error) = loss.graph().error() {
            return Err(error);
        }
        if loss.shape().elements() != 1 {
            return Err(Error::Invalid(format!(
                "the objective `{}` gives {}; a loss is one number, the mean over the rows of a batch",
                self.objective.name(),
                loss.shape()
            )));
        }
        Ok(Recorded { loss, sums })
    }

    /// Numbers made of sums over `rows` rows: that of the losses, and those of each metric.
    pub(super) fn scores(&self, loss: f64, sums: &[Vec<Tensor>], rows: usize) -> Scores {
        let value = |(metric, sums): (&Arc<dyn Metric>, &Vec<Tensor>)| {
            (metric.name().to_string(), metric.value(sums, rows))
        };
        Scores { loss: loss / rows as f64, metrics: self.metrics.iter().zip(sums).map(value).collect() }
    }
}

/// A loss and sums of a batch.
pub(super) struct Recorded<'g> {
    pub(super) loss: Var<'g>,
    /// By metric.
    sums: Vec<Vec<Sum<'g>>>,
}

/// States that sums are kept in. They are no part of the model.
#[derive(Debug, Clone)]
pub(super) struct Sums {
    pub(super) loss: Param,
    /// By metric.
    pub(super) metrics: Vec<Vec<Param>>,
}

impl Sums {
    /// All of them.
    pub(super) fn all(&self) -> impl Iterator<Item = &Param> {
        [&self.loss].into_iter().chain(self.metrics.iter().flatten())
    }

    /// What the metrics have added up so far, waited for.
    pub(super) fn read_metrics(&self, device: &Device) -> Result<Vec<Vec<Tensor>>> {
        let read = |sums: &Vec<Param>| sums.iter().map(|sum| device.read_param(sum)).collect();
        self.metrics.iter().map(read).collect()
    }
}

impl Recorded<'_> {
    /// Adds up what was recorded of `rows` rows, in states of `store`, which all graphs of a run share.
    pub(super) fn accumulate(&self, task: &Task, store: &Params, rows: usize) -> Result<Sums> {
        let g = self.loss.graph();
        let loss = store.state(LOSS, self.loss.shape(), Init::Constant(0.0));
        self.loss.accumulate_into(g.param(&loss), rows as f32);
        let mut metrics = Vec::new();
        for (metric, sums) in task.metrics.iter().zip(&self.sums) {
            let mut states = Vec::new();
            for (k, sum) in sums.iter().enumerate() {
                let state = store.state(&format!("{}.{k}", metric.name()), sum.shape(), Init::Constant(0.0));
                sum.add_to(g.param(&state));
                states.push(state);
            }
            metrics.push(states);
        }
        g.error().map_or(Ok(Sums { loss, metrics }), Err)
    }
}
