//! Where the largest element is. Kernels: `shaders/argmax.wgsl`.

use super::softmax::{rows_of, to_last};
use super::{AdapterClass, Arg, Case, Cut, Dispatch, Fillings, Kernel, KernelContext, Op, Program, uniform};
use super::{In, Out, Real, Reference, beats, expect};
use crate::error::Result;
use crate::graph::Var;
use crate::shape::{DType, Shape, TensorType};

/// Index of the largest element along the last axis, which the output drops; the lowest index of several, and that of
/// the first NaN where there is one, as PyTorch has it.
#[derive(Debug, Clone)]
pub(crate) struct ArgMax;

impl<T: Real> Reference<T> for ArgMax {
    fn eval(&self, inputs: &[In<'_, T>], outputs: &mut [Out<'_, T>]) -> Result<(), String> {
        let (_, columns) = rows_of(&inputs[0].shape);
        for (index, row) in outputs[0].u32().iter_mut().zip(inputs[0].f().chunks_exact(columns)) {
            let mut best = 0;
            for k in 1..columns {
                if beats(row[k], row[best]) {
                    best = k;
                }
            }
            *index = best as u32;
        }
        Ok(())
    }
}

impl Op for ArgMax {
    fn name(&self) -> &'static str {
        "argmax"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, String> {
        expect(inputs, &[DType::F32])?;
        let shape = inputs[0].shape;
        match shape.dims() {
            [] => Err("a scalar has no axis to search".into()),
            [.., 0] => Err(format!("{shape} has no elements to search")),
            [lead @ .., _] => Ok(vec![TensorType::u32(Shape::new(lead).unwrap_or_else(Shape::scalar))]),
        }
    }

    fn dispatch(&self, ctx: &KernelContext<'_>) -> Result<Program> {
        let (rows, columns) = rows_of(&ctx.inputs[0].shape);
        let in_workgroup = ctx.caps.class == AdapterClass::Gpu && columns >= 64 || !ctx.caps.allows(columns);
        // Loop iterations of a workgroup's invocation beside those of its own columns.
        let (entry, lanes, join) =
            if in_workgroup { ("argmax_workgroup", 64, 6) } else { ("argmax_rows", 1, 0) };
        let most = lanes * (ctx.caps.max_loop_iterations as usize).saturating_sub(join);
        let Cut { pieces, length } = ctx.caps.cut(columns, most);
        let params = uniform! { rows, columns, pieces, length };
        let workgroups = if in_workgroup { rows * pieces } else { (rows * pieces).div_ceil(64) };
        let iterations = length.div_ceil(lanes) + join;
        let launch = |to: Arg| -> Result<Dispatch> {
            let launch = ctx.launch(Kernel::library(entry)?, [Arg::Input(0), to], &params, workgroups)?;
            Ok(launch.loop_iterations(iterations))
        };
        if pieces == 1 {
            return Ok(launch(Arg::Output(0))?.into());
        }
        let args = [Arg::Input(0), Arg::ScratchRead(0), Arg::Output(0)];
        let join = ctx.launch_over("argmax_join", args, &params, rows)?.loop_iterations(pieces);
        Ok(Program::new(vec![launch(Arg::Scratch(0))?, join], vec![4 * rows * pieces]))
    }

    fn flops(&self, inputs: &[TensorType], _: &[TensorType]) -> u64 {
        inputs[0].shape.elements() as u64
    }
}

impl<'g> Var<'g> {
    /// Index of the largest element along `axis`, which the result lacks, as `u32`. Of several equal ones
    /// it is the lowest index, and of NaN the first. It has no gradient.
    #[track_caller]
    pub fn argmax(self, axis: usize) -> Var<'g> {
        match to_last(self, "argmax", axis) {
            Ok((x, _)) => x.graph.record_one(ArgMax, &[x]),
            Err(poison) => poison,
        }
    }
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = [
        &[1][..],
        &[5, 1],
        &[1, 7],
        &[13, 10],
        &[3, 5, 4],
        &[63, 64],
        &[64, 65],
        &[65, 63],
        &[7, 128],
        &[3, 5000],
        &[5000, 3],
    ]
    .into_iter()
    .map(|shape| Case::new(ArgMax, &[shape]).no_gradient())
    .collect();
    // Ties, within one invocation's elements and across them; the lowest number; a maximum at the end.
    let last = |n: usize| (0..n).map(|k| if k + 1 == n { 1e4 } else { -1e4 }).collect();
    for (shape, values) in [
        (&[4, 10][..], vec![0.0]),
        (&[4, 200], vec![-2.0, 3.0, 3.0, 1.0, 3.0, 2.0, 0.5]),
        (&[4, 130], vec![f64::from(f32::MIN)]),
        (&[3, 129], last(129)),
        (&[2, 10], last(10)),
        (&[2, 4], vec![-0.0, 0.0, 0.0, -0.0]),
    ] {
        cases.push(Case::new(ArgMax, &[shape]).fill(0, Fillings::Given(values)).no_gradient());
    }
    cases
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Graph;
    use crate::ops::float;
    use crate::ops::testing::{Value, eval};

    #[test]
    fn the_first_of_the_largest() {
        let x = Value::F(vec![1.0, 3.0, 3.0, -5.0, -5.0, -5.0, 0.0, -1.0, 2.0]);
        assert_eq!(eval(&ArgMax, true, &[(&[3, 3], x)]).unwrap(), [Value::U32(vec![1, 0, 2])]);
    }

    #[test]
    fn any_axis_leaves_the_others_in_order() {
        let g = Graph::new();
        let x = g.input("x", [2, 3, 4]);
        assert_eq!(x.argmax(0).tensor_type(), TensorType::u32(float(&[3, 4]).shape));
        assert_eq!(x.argmax(1).shape().dims(), [2, 4]);
        assert_eq!(x.argmax(2).shape().dims(), [2, 3]);
        assert!(g.error().is_none());
        x.argmax(3);
        assert!(g.error().unwrap().to_string().contains("argmax: there is no axis 3 in [2, 3, 4]"));
    }

    #[test]
    fn what_cannot_be_searched_is_refused() {
        assert!(ArgMax.infer(&[float(&[])]).unwrap_err().contains("scalar"));
        assert!(ArgMax.infer(&[float(&[3, 0])]).unwrap_err().contains("no elements"));
        assert!(ArgMax.infer(&[TensorType::u32(float(&[3]).shape)]).unwrap_err().contains("must be f32"));
    }
}
