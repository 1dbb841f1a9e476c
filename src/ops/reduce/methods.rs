//! Reductions as methods: any axes, in any order.

use super::{Kind, Reduce, exactly};
use crate::graph::Var;
use crate::ops::{Fill, expect, float};
use crate::shape::{DType, Shape};

/// A reduction as users name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Of {
    Sum,
    Mean,
    Max,
    /// The largest of negated elements.
    Min,
}

impl Of {
    fn name(self) -> &'static str {
        match self {
            Of::Sum => "sum",
            Of::Mean => "mean",
            Of::Max => "max",
            Of::Min => "min",
        }
    }
}

impl<'g> Var<'g> {
    /// Sum over `axes`, which the result lacks.
    #[track_caller]
    pub fn sum(self, axes: &[usize]) -> Var<'g> {
        self.reduced(Of::Sum, axes)
    }

    /// Mean over `axes`, which the result lacks.
    #[track_caller]
    pub fn mean(self, axes: &[usize]) -> Var<'g> {
        self.reduced(Of::Mean, axes)
    }

    /// Maximum over `axes`, which the result lacks. Elements that tie share the gradient evenly.
    #[track_caller]
    pub fn max(self, axes: &[usize]) -> Var<'g> {
        self.reduced(Of::Max, axes)
    }

    /// Minimum over `axes`, which the result lacks: -max(-x).
    #[track_caller]
    pub fn min(self, axes: &[usize]) -> Var<'g> {
        -(-self).reduced(Of::Min, axes)
    }

    /// Sum over `axes`, which stay with extent 1.
    #[track_caller]
    pub fn sum_keep(self, axes: &[usize]) -> Var<'g> {
        self.reduced(Of::Sum, axes).reshape(kept(self.shape(), axes))
    }

    /// Mean over `axes`, which stay with extent 1.
    #[track_caller]
    pub fn mean_keep(self, axes: &[usize]) -> Var<'g> {
        self.reduced(Of::Mean, axes).reshape(kept(self.shape(), axes))
    }

    /// Maximum over `axes`, which stay with extent 1.
    #[track_caller]
    pub fn max_keep(self, axes: &[usize]) -> Var<'g> {
        self.reduced(Of::Max, axes).reshape(kept(self.shape(), axes))
    }

    /// Sum of all elements, without axes.
    #[track_caller]
    pub fn sum_all(self) -> Var<'g> {
        self.reduced(Of::Sum, &all(self.shape()))
    }

    /// Mean of all elements, without axes.
    #[track_caller]
    pub fn mean_all(self) -> Var<'g> {
        self.reduced(Of::Mean, &all(self.shape()))
    }

    /// Largest of all elements, without axes.
    #[track_caller]
    pub fn max_all(self) -> Var<'g> {
        self.reduced(Of::Max, &all(self.shape()))
    }

    /// Undoes broadcasting from `shape`: each element gets the sum over its copies.
    #[track_caller]
    pub(crate) fn sum_to(self, shape: Shape) -> Var<'g> {
        let own = self.shape();
        if self.is_poisoned() || own == shape {
            return self;
        }
        let lead = own.rank().saturating_sub(shape.rank());
        let repeats = |axis: &usize| *axis < lead || shape.dim(axis - lead) != own.dim(*axis);
        let axes: Vec<usize> = (0..own.rank()).filter(repeats).collect();
        self.reduced(Of::Sum, &axes).reshape(shape)
    }

    /// One op per run of neighbouring axes, the last run first.
    #[track_caller]
    fn reduced(self, of: Of, axes: &[usize]) -> Var<'g> {
        if self.is_poisoned() {
            return self;
        }
        let shape = self.shape();
        let mut axes = axes.to_vec();
        axes.sort_unstable();
        if let Err(message) = expect(&[self.tensor_type()], &[DType::F32]) {
            return self.graph.refuse(of.name(), message, self);
        }
        if let Some(axis) = axes.iter().find(|&&a| a >= shape.rank()) {
            return self.graph.refuse(of.name(), format!("there is no axis {axis} in {shape}"), self);
        }
        if let Some(twice) = axes.windows(2).find(|w| w[0] == w[1]) {
            return self.graph.refuse(of.name(), format!("axis {} is given twice", twice[0]), self);
        }
        if let Some(value) = self.fill_value().and_then(|value| reduced_fill(of, value, shape, &axes)) {
            return self.graph.record_one(Fill { value, shape: without(shape, &axes) }, &[]);
        }
        let mut result = self;
        while let Some(&last) = axes.last() {
            let mut first = last;
            axes.pop();
            while axes.last().is_some_and(|&a| a + 1 == first) {
                first -= 1;
                axes.pop();
            }
            let run: Vec<usize> = (first..=last).collect();
            let extent: usize = run.iter().map(|&a| shape.dim(a)).product();
            result = match of {
                _ if extent == 1 => result.reshape(without(result.shape(), &run)),
                _ => {
                    let kind = if matches!(of, Of::Max | Of::Min) { Kind::Max } else { Kind::Sum };
                    let scale = if of == Of::Mean { 1.0 / extent as f32 } else { 1.0 };
                    let reduce = Reduce { kind, first, count: run.len(), scale };
                    result.graph.record_one(reduce, &[result])
                }
            };
        }
        result
    }
}

/// What a constant's reduction is, if it is exact.
fn reduced_fill(of: Of, value: f32, shape: Shape, axes: &[usize]) -> Option<f32> {
    let extent: usize = axes.iter().map(|&a| shape.dim(a)).product();
    match of {
        _ if extent == 0 => None,
        Of::Sum => exactly(f64::from(value) * extent as f64),
        Of::Mean | Of::Max | Of::Min => Some(value),
    }
}

fn all(shape: Shape) -> Vec<usize> {
    (0..shape.rank()).collect()
}

fn without(shape: Shape, axes: &[usize]) -> Shape {
    let dims: Vec<usize> = (0..shape.rank()).filter(|a| !axes.contains(a)).map(|a| shape.dim(a)).collect();
    float(&dims).shape
}

fn kept(shape: Shape, axes: &[usize]) -> Shape {
    axes.iter().filter(|&&a| a < shape.rank()).fold(shape, |s, &a| s.with(a, 1))
}

#[cfg(test)]
mod tests {
    use crate::Graph;
    use crate::ops::testing::{Value, run};

    #[test]
    fn any_axes_in_any_order() {
        let g = Graph::new();
        let x = g.input("x", [2, 3, 2]);
        let results = [
            x.sum(&[2, 0]),
            x.mean(&[0, 2]),
            x.max(&[1, 0, 2]),
            x.min(&[1]),
            x.sum_keep(&[1]),
            x.mean_all(),
            x.sum(&[]),
            x.max_keep(&[2, 0]),
        ];
        let shapes: Vec<Vec<usize>> = results.iter().map(|r| r.shape().dims().to_vec()).collect();
        let expected: [&[usize]; 8] = [&[3], &[3], &[], &[2, 2], &[2, 1, 2], &[], &[2, 3, 2], &[1, 3, 1]];
        assert_eq!(shapes, expected);
        let elements: Vec<f64> = (1..=12).map(f64::from).collect();
        let values = run(&g, &[Value::F(elements.clone())], &results);
        assert_eq!(values[0], [18.0, 26.0, 34.0]);
        assert_eq!(values[1], [4.5, 6.5, 8.5]);
        assert_eq!(values[2], [12.0]);
        assert_eq!(values[3], [1.0, 2.0, 7.0, 8.0]);
        assert_eq!(values[4], [9.0, 12.0, 27.0, 30.0]);
        assert!((values[5][0] - 6.5).abs() < 1e-6);
        assert_eq!(values[6], elements);
        assert_eq!(values[7], [8.0, 10.0, 12.0]);
    }

    #[test]
    fn extents_of_one_and_constants_cost_no_reduction() {
        let g = Graph::new();
        let x = g.input("x", [1, 4, 1]);
        assert_eq!(x.sum(&[0, 2]).shape().dims(), [4]);
        assert_eq!(g.full([3, 5], 2.0).sum_all().fill_value(), Some(30.0));
        assert_eq!(g.full([3, 5], 0.1).mean(&[0]).fill_value(), Some(0.1));
        assert!(!format!("{g}").contains("Reduce"));
        // The gradient of a mean begins with a constant as well.
        let dx = g.gradients(x.reshape([4]).mean_all(), &[x])[0];
        assert_eq!(dx.fill_value(), Some(0.25));
    }

    #[test]
    fn sum_to_undoes_broadcasting() {
        let g = Graph::new();
        let x = g.input("x", [2, 3]);
        let shape = |dims: &[usize]| crate::Shape::new(dims).unwrap();
        let wide = x.reshape([2, 1, 3]).broadcast_to([4, 2, 5, 3]);
        let sums = [
            wide.sum_to(shape(&[2, 1, 3])),
            wide.sum_to(shape(&[3])),
            x.sum_to(shape(&[1, 1])),
            x.sum_to(shape(&[2, 3])),
        ];
        let values = run(&g, &[Value::F(vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0])], &sums);
        assert_eq!(values[0], [20.0, 40.0, 60.0, 80.0, 100.0, 120.0]);
        assert_eq!(values[1], [100.0, 140.0, 180.0]);
        assert_eq!(values[2], [21.0]);
        assert_eq!(sums[3].id, x.id);
    }

    #[test]
    fn wrong_axes_are_mistakes_that_name_the_method() {
        let ask = |axes: &[usize]| {
            let g = Graph::new();
            g.input("x", [2, 3]).mean(axes);
            g.error().unwrap().to_string()
        };
        assert!(ask(&[2]).starts_with("mean: there is no axis 2 in [2, 3]"), "{}", ask(&[2]));
        assert!(ask(&[1, 0, 1]).contains("axis 1 is given twice"));
        assert!(ask(&[7]).contains(file!()), "{}", ask(&[7]));
        let g = Graph::new();
        g.classes("c", [4]).sum_all();
        assert!(g.error().unwrap().to_string().contains("must be f32"));
    }
}
