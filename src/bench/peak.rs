//! An op that does nothing but multiply and add in registers.

use bytemuck::{Pod, Zeroable};

use crate::error::Result;
use crate::ops::{Arg, Dispatch, In, Kernel, KernelContext, Op, Out, Program, Real, Reference};
use crate::shape::TensorType;

/// Invocations of a workgroup.
const WORKGROUP: usize = 64;

/// Multiply-adds of each sum in one turn of the kernel's loop.
const UNROLLED: usize = 16;

/// s ← s s + s, `16 rounds` times, for `sums` numbers that start at -x / 2, -x / 2 - 1 / 32, ...; y is their sum. Each
/// element for itself. Nothing but s takes a register, and as s creeps up to 0 no step can be foreseen.
#[derive(Debug, Clone)]
pub(super) struct MultiplyAdd {
    pub(super) sums: usize,
    pub(super) rounds: u32,
}

#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
struct Params {
    vectors: u32,
    rounds: u32,
    _pad: [u32; 2],
}

impl MultiplyAdd {
    /// Sums are variables of their own: one array would not stay in registers everywhere.
    fn text(&self) -> String {
        let each = |line: &dyn Fn(usize) -> String| (0..self.sums).map(line).collect::<String>();
        let turn = each(&|k| format!("        s{k} = s{k} * s{k} + s{k};\n")).repeat(UNROLLED);
        let total = (0..self.sums).map(|k| format!("s{k}")).collect::<Vec<_>>().join(" + ");
        format!(
            "struct MultiplyAdd {{ vectors: u32, rounds: u32 }}\n\n\
             @group(0) @binding(0) var<storage, read> xs: array<vec4<f32>>;\n\
             @group(0) @binding(1) var<storage, read_write> ys: array<vec4<f32>>;\n\
             @group(0) @binding(2) var<uniform> p: MultiplyAdd;\n\n\
             @compute @workgroup_size({WORKGROUP})\n\
             fn multiply_add(@builtin(global_invocation_id) id: vec3<u32>, \
             @builtin(num_workgroups) groups: vec3<u32>) {{\n\
             \x20   let i = linear_index(id, groups, {WORKGROUP}u);\n\
             \x20   if (i >= p.vectors) {{ return; }}\n\
             \x20   let start = -0.5 * xs[i];\n\
             {}    for (var round = 0u; round < p.rounds; round++) {{\n{turn}    }}\n\
             \x20   ys[i] = {total};\n}}\n",
            each(&|k| format!("    var s{k} = start - {k}.0 / 32.0;\n")),
        )
    }
}

impl<T: Real> Reference<T> for MultiplyAdd {
    fn eval(&self, inputs: &[In<'_, T>], outputs: &mut [Out<'_, T>]) -> Result<(), String> {
        for (y, &x) in outputs[0].f().iter_mut().zip(inputs[0].f()) {
            *y = T::zero();
            for k in 0..self.sums {
                let mut s = T::of(-0.5) * x - T::of(k as f64 / 32.0);
                for _ in 0..self.rounds as usize * UNROLLED {
                    s = s * s + s;
                }
                *y = *y + s;
            }
        }
        Ok(())
    }
}

impl Op for MultiplyAdd {
    fn name(&self) -> &'static str {
        "multiply_add"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, String> {
        Ok(inputs.to_vec())
    }

    fn dispatch(&self, ctx: &KernelContext<'_>) -> Result<Program> {
        let vectors = ctx.inputs[0].shape.elements().div_ceil(4);
        let kernel = Kernel::generated(format!("multiply_add.{}", self.sums), "multiply_add", &self.text());
        let params = Params { vectors: vectors as u32, rounds: self.rounds, _pad: [0; 2] };
        let grid = ctx.caps.grid(vectors.div_ceil(WORKGROUP))?;
        Ok(Dispatch::new(kernel, vec![Arg::Input(0), Arg::Output(0)], &params, grid)
            .loop_iterations(self.rounds as usize)
            .into())
    }

    fn flops(&self, inputs: &[TensorType], _: &[TensorType]) -> u64 {
        2 * (inputs[0].shape.elements() * self.sums * UNROLLED) as u64 * u64::from(self.rounds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Device, Graph};

    /// y of a few numbers.
    #[track_caller]
    fn values(device: &Device, op: &MultiplyAdd) -> Vec<f32> {
        let g = Graph::inference();
        let x = g.input("x", [67]);
        g.output("y", g.custom(op.clone(), &[x])[0]);
        let mut step = device.compile(&g).unwrap();
        step.feed("x", &super::super::uniform(67)).unwrap();
        step.run().unwrap();
        step.values("y").unwrap()
    }

    /// 1 / |s| grows by 1 / (1 - |s|) a step: by at least 1 and, from 3/4 down, by at most 4.
    #[test]
    fn numbers_creep_up_to_zero() {
        let op = MultiplyAdd { sums: 1, rounds: 20 };
        for (y, x) in values(&Device::reference(), &op).into_iter().zip(super::super::uniform(67)) {
            let (start, steps) = (2.0 / x, 16.0 * 20.0);
            assert!(-1.0 / y > start + steps && -1.0 / y < start + 4.0 * steps, "{x}: {y}");
        }
        let ty = TensorType::f32(crate::Shape::new(&[67]).unwrap());
        assert_eq!(op.flops(&[ty], &[ty]), 2 * 67 * 16 * 20);
    }

    /// A kernel that a compiler could shorten would be no measure.
    #[cfg(feature = "gpu")]
    #[test]
    fn the_kernel_computes_all_of_it() {
        let Ok(gpu) = Device::gpu() else {
            assert!(!crate::env::is_set("WGRAD_REQUIRE_GPU"), "no adapter");
            return;
        };
        for (sums, rounds) in [(1, 1), (2, 1), (3, 2), (8, 0)] {
            let op = MultiplyAdd { sums, rounds };
            for (y, truth) in values(&gpu, &op).into_iter().zip(values(&Device::reference(), &op)) {
                approx::assert_relative_eq!(y, truth, max_relative = 1e-5);
            }
        }
    }
}
