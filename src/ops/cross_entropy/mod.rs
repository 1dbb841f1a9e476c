//! Cross-entropy of a softmax, in one step: Goodfellow, Bengio and Courville, "Deep Learning", 6.2.2, with
//! the log-sum-exp shifted by the largest logit. Kernels: `shaders/cross_entropy.wgsl`.
//!
//! ```text
//! loss = (m - z_class) + L     or   sum_k t_k ((m - z_k) + L)      m = max z,  L = log sum e^(z - m)
//! ```

mod both;
mod cases;
mod grad;

use super::softmax::{OverRows, log_units, rows_of, stats, sum_units};
use super::{Arg, Backward, Below, Gradients, KernelContext, Op, Outputs, Program, Traits, uniform};
use super::{In, Out, Real, Reference, TINY, UNIT, expect, float};
use crate::error::Result;
use crate::graph::Var;
use crate::shape::{DType, TensorType};

pub(crate) use both::CrossEntropyBoth;
pub(super) use cases::cases;
pub(crate) use grad::CrossEntropyGrad;

/// Cross-entropy of each row of logits `[n, k]` with classes `[n]`, or with targets `[n, k]` if `soft`.
///
/// The second output is what the gradient needs of each row: m and L, apart, so that e^((z - m) - L) stays
/// exact at large logits; if `soft`, the sum of the targets as well.
#[derive(Debug, Clone)]
pub(crate) struct CrossEntropy {
    pub(crate) soft: bool,
}

/// Numbers per row in the second output.
fn stats_per_row(soft: bool) -> usize {
    if soft { 3 } else { 2 }
}

/// Rows and columns of the logits, if the labels fit them.
fn check(soft: bool, logits: &TensorType, labels: &TensorType) -> Result<(usize, usize), String> {
    let (z, y) = (logits.shape, labels.shape);
    let &[rows, columns] = z.dims() else {
        return Err(format!("logits must be [rows, classes], got {z}"));
    };
    if columns == 0 {
        return Err(format!("logits {z} have no classes"));
    }
    match soft {
        true if y != z => Err(format!("targets {y} must have the shape of the logits {z}")),
        false if y.dims() != [rows] => {
            Err(format!("classes {y} must be [{rows}], one for each row of logits"))
        }
        _ => Ok((rows, columns)),
    }
}

fn labels_type(soft: bool) -> DType {
    if soft { DType::F32 } else { DType::U32 }
}

/// The class of a row as a column.
fn class_of(row: usize, class: u32, columns: usize) -> Result<usize, String> {
    match class as usize {
        class if class < columns => Ok(class),
        class => Err(format!("row {row} holds class {class}, outside 0..{columns}")),
    }
}

impl<T: Real> Reference<T> for CrossEntropy {
    fn eval(&self, inputs: &[In<'_, T>], outputs: &mut [Out<'_, T>]) -> Result<(), String> {
        let (rows, columns) = rows_of(&inputs[0].shape);
        let kept = stats_per_row(self.soft);
        for row in 0..rows {
            let z = &inputs[0].f()[row * columns..(row + 1) * columns];
            let (m, s) = stats(z);
            let log_sum = s.ln();
            let loss = if self.soft {
                let t = &inputs[1].f()[row * columns..(row + 1) * columns];
                outputs[1].f()[row * kept + 2] = t.iter().fold(T::zero(), |sum, &t| sum + t);
                // A target of 0 counts nothing, also of a logit of -infinity.
                let counts = z.iter().zip(t).filter(|(_, t)| **t != T::zero());
                counts.fold(T::zero(), |sum, (&z, &t)| sum + t * ((m - z) + log_sum))
            } else {
                let class = class_of(row, inputs[1].u32()[row], columns)?;
                (m - z[class]) + log_sum
            };
            outputs[0].f()[row] = loss;
            outputs[1].f()[row * kept] = m;
            outputs[1].f()[row * kept + 1] = log_sum;
        }
        Ok(())
    }
}

impl Op for CrossEntropy {
    fn name(&self) -> &'static str {
        if self.soft { "soft_cross_entropy" } else { "cross_entropy" }
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, String> {
        expect(inputs, &[DType::F32, labels_type(self.soft)])?;
        let (rows, _) = check(self.soft, &inputs[0], &inputs[1])?;
        Ok(vec![float(&[rows]), float(&[rows, stats_per_row(self.soft)])])
    }

    fn grad<'g>(&self, Backward { inputs, outputs, upstream, needed }: Backward<'_, 'g>) -> Gradients<'g> {
        if upstream[1].is_some() {
            return Err("what it keeps of each row for its gradient has no derivative itself".into());
        }
        let Some(dloss) = upstream[0] else { return Ok(vec![None; 2]) };
        let (logits, labels) = (inputs[0], inputs[1]);
        let by_logits = needed[0].then(|| {
            let arguments = [logits, labels, outputs[1], dloss];
            logits.graph.record_one(CrossEntropyGrad { soft: self.soft }, &arguments)
        });
        let by_targets =
            (self.soft && needed[1]).then(|| -(logits.log_softmax(1) * dloss.reshape([dloss.dim(0), 1])));
        Ok(vec![by_logits, by_targets])
    }

    fn dispatch(&self, ctx: &KernelContext<'_>) -> Result<Program> {
        let args = vec![Arg::Input(0), Arg::Input(1), Arg::Output(0), Arg::Output(1)];
        let (rows, columns) = rows_of(&ctx.inputs[0].shape);
        let (passes, joins) = if self.soft { (3, 4) } else { (2, 2) };
        let over = OverRows { passes, joins, side_by_side: 64 };
        over.launch(self.name(), (rows, columns), args, &uniform! { rows, columns, share: 0.0 }, ctx)
    }

    fn error_bound(&self, inputs: &[In<'_, f64>], outputs: &[In<'_, f64>]) -> Vec<Vec<f64>> {
        let (rows, columns) = rows_of(&inputs[0].shape);
        let (mut loss, mut kept) = (Vec::with_capacity(rows), Vec::new());
        for row in 0..rows {
            let z = &inputs[0].f()[row * columns..(row + 1) * columns];
            let (m, s) = stats(z);
            let log = log_units(sum_units(z, m, s), s);
            if self.soft {
                // Each term: the roundoffs of m - z and of its sum with L, the error of L, the product; then
                // k - 1 additions.
                let t = &inputs[1].f()[row * columns..(row + 1) * columns];
                let n = columns as f64;
                let term = |(z, t): (&f64, &f64)| t.abs() * (log + (n + 3.0) * ((m - z).abs() + s.ln()));
                let units: f64 = z.iter().zip(t).filter(|(_, t)| **t != 0.0).map(term).sum();
                let sum: f64 = t.iter().map(|t| t.abs()).sum();
                loss.push(units * UNIT + (n + 1.0) * TINY);
                kept.extend([TINY, log * UNIT + TINY, n * (sum * UNIT + TINY)]);
            } else {
                // The roundoffs of m - z, of L, and of their sum.
                let y = outputs[0].f()[row];
                let difference = (y - s.ln()).abs();
                loss.push((difference + log + y.abs()) * UNIT + TINY);
                kept.extend([TINY, log * UNIT + TINY]);
            }
        }
        vec![loss, kept]
    }

    fn flops(&self, inputs: &[TensorType], _: &[TensorType]) -> u64 {
        (if self.soft { 9 } else { 5 }) * inputs[0].shape.elements() as u64
    }

    fn traits(&self) -> Traits {
        let traits = Traits::default().without_gradient(Outputs::OTHERS).keeping_f32(Outputs::ALL);
        if self.soft { traits } else { traits.indices(1, Below::Extent { input: 0, axis: 1 }) }
    }
}

impl<'g> Var<'g> {
    /// Cross-entropy of softmax(this) with the right class of each row: logits `[n, k]` and classes `[n]`
    /// below k give `[n]`, `log sum_j e^z_j - z_class`. Exact at any magnitude of the logits.
    ///
    /// Goodfellow, Bengio and Courville, "Deep Learning", section 6.2.2.
    #[track_caller]
    pub fn cross_entropy_per_row(self, classes: Var<'g>) -> Var<'g> {
        self.graph.record_one(CrossEntropy { soft: false }, &[self, classes])
    }

    /// Mean over the rows of [`Var::cross_entropy_per_row`]: the loss of a classifier.
    #[track_caller]
    pub fn softmax_cross_entropy(self, classes: Var<'g>) -> Var<'g> {
        self.cross_entropy_per_row(classes).mean_all()
    }

    /// Cross-entropy of softmax(this) with a distribution per row: logits and targets `[n, k]` give `[n]`,
    /// `sum_k t_k (log sum_j e^z_j - z_k)`. Targets need not add up to 1; they have a gradient too.
    #[track_caller]
    pub fn soft_cross_entropy_per_row(self, targets: Var<'g>) -> Var<'g> {
        self.graph.record_one(CrossEntropy { soft: true }, &[self, targets])
    }

    /// Mean over the rows of [`Var::soft_cross_entropy_per_row`].
    #[track_caller]
    pub fn soft_cross_entropy(self, targets: Var<'g>) -> Var<'g> {
        self.soft_cross_entropy_per_row(targets).mean_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Graph;
    use crate::ops::testing::{Value, eval, gradients_agree, noise, run};

    fn close(a: &[f64], b: &[f64]) {
        assert!(a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-12), "{a:?} {b:?}");
    }

    /// Softmax of the first row is 1/8, 2/8, 5/8.
    fn logits() -> Value {
        Value::F(vec![0.0, 2f64.ln(), 5f64.ln(), 1e4, -1e4, 1e4])
    }

    #[test]
    fn losses_are_those_done_by_hand() {
        let inputs = [(&[2, 3][..], logits()), (&[2], Value::U32(vec![1, 1]))];
        let out = eval(&CrossEntropy { soft: false }, true, &inputs).unwrap();
        close(out[0].f(), &[4f64.ln(), 2e4 + 2f64.ln()]);
        close(out[1].f(), &[5f64.ln(), 1.6f64.ln(), 1e4, 2f64.ln()]);
        let targets = Value::F(vec![0.5, 0.0, 0.5, 1.0, 0.0, 1.0]);
        let out = eval(&CrossEntropy { soft: true }, true, &[(&[2, 3], logits()), (&[2, 3], targets)]);
        let out = out.unwrap();
        close(out[0].f(), &[0.5 * (8f64.ln() + 1.6f64.ln()), 2.0 * 2f64.ln()]);
        close(out[1].f(), &[5f64.ln(), 1.6f64.ln(), 1.0, 1e4, 2f64.ln(), 2.0]);
    }

    #[test]
    fn gradients_are_those_done_by_hand() {
        let g = Graph::new();
        let (z, c) = (g.input("z", [2, 3]), g.classes("c", [2]));
        let loss = z.softmax_cross_entropy(c);
        let d = g.gradients(loss, &[z])[0];
        let values = run(&g, &[logits(), Value::U32(vec![1, 1])], &[d]);
        close(&values[0], &[0.0625, -0.375, 0.3125, 0.25, -0.5, 0.25]);
    }

    #[test]
    fn gradients_of_gradients_are_the_differences() {
        let logits: (&[usize], Vec<f64>) = (&[3, 4], noise(12, 6));
        let targets: (&[usize], Vec<f64>) = (&[3, 4], noise(12, 7));
        gradients_agree(&[logits.clone(), targets.clone()], |x| x[0].soft_cross_entropy(x[1]));
        gradients_agree(&[logits.clone(), targets], |x| {
            x[0].soft_cross_entropy_per_row(x[1]).square().sum_all()
        });
        gradients_agree(std::slice::from_ref(&logits), |x| {
            let classes = x[0].argmax(1);
            x[0].cross_entropy_per_row(classes).square().sum_all()
        });
        gradients_agree(&[logits], |x| x[0].softmax_cross_entropy((-x[0]).argmax(1)));
    }

    #[test]
    fn a_class_that_does_not_exist_is_named_with_its_row() {
        let classes = Value::U32(vec![0, 9, 1, 12]);
        let z = Value::F(noise(40, 8));
        let inputs = [(&[4, 10][..], z), (&[4], classes)];
        let error = eval(&CrossEntropy { soft: false }, true, &inputs).unwrap_err();
        assert_eq!(error, "row 3 holds class 12, outside 0..10");
        let [z, c] = inputs;
        let more = [z, c, (&[4, 2], Value::F(vec![0.0; 8])), (&[4], Value::F(vec![1.0; 4]))];
        let error = eval(&CrossEntropyGrad { soft: false }, false, &more).unwrap_err();
        assert_eq!(error, "row 3 holds class 12, outside 0..10");
    }

    #[test]
    fn labels_that_do_not_fit_are_refused() {
        let u32s = |dims: &[usize]| TensorType::u32(float(dims).shape);
        let ask = |soft, z: TensorType, y| CrossEntropy { soft }.infer(&[z, y]).unwrap_err();
        assert!(ask(false, float(&[4]), u32s(&[4])).contains("must be [rows, classes], got [4]"));
        assert!(ask(false, float(&[4, 10]), u32s(&[5])).contains("classes [5] must be [4]"));
        assert!(ask(false, float(&[4, 10]), float(&[4])).contains("must be u32"));
        assert!(ask(true, float(&[4, 10]), float(&[4])).contains("must have the shape of the logits"));
        assert!(ask(true, float(&[4, 0]), float(&[4, 0])).contains("no classes"));
        let grad = CrossEntropyGrad { soft: false };
        let types = [float(&[4, 3]), u32s(&[4]), float(&[4, 3]), float(&[4])];
        assert!(grad.infer(&types).unwrap_err().contains("[4, 2]"));
        assert_eq!(CrossEntropy { soft: false }.traits().index_bounds(&types[..2]), [(1, 3)]);
        assert_eq!(CrossEntropy { soft: true }.traits().index_bounds(&types[..2]), []);
    }

    #[test]
    fn what_is_kept_for_the_gradient_has_no_derivative() {
        let g = Graph::new();
        let (z, c) = (g.input("z", [2, 3]), g.classes("c", [2]));
        let kept = g.record(CrossEntropy { soft: false }, &[z, c])[1];
        g.gradients(kept.sum_all(), &[z]);
        assert!(g.error().unwrap().to_string().contains("has no derivative"));
    }
}
