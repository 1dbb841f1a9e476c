//! Integers to floats. Kernels: `shaders/cast.wgsl`.

use super::{Arg, Case, Fillings, KernelContext, Op, Program, Real, Reference, uniform};
use super::{In, Out, Slice, relative_bound};
use crate::error::Result;
use crate::graph::Var;
use crate::shape::{DType, TensorType};

/// Each integer as a float, multiplied by a constant.
#[derive(Debug, Clone)]
pub(crate) struct Cast {
    scale: f32,
}

impl<T: Real> Reference<T> for Cast {
    fn eval(&self, inputs: &[In<'_, T>], outputs: &mut [Out<'_, T>]) -> Result<(), String> {
        let scale = T::of(f64::from(self.scale));
        let y = outputs[0].f();
        match inputs[0].data {
            Slice::U8(x) => y.iter_mut().zip(x).for_each(|(y, &x)| *y = T::of(f64::from(x)) * scale),
            Slice::U32(x) => y.iter_mut().zip(x).for_each(|(y, &x)| *y = T::of(f64::from(x)) * scale),
            Slice::F(_) => {}
        }
        Ok(())
    }
}

impl Op for Cast {
    fn name(&self) -> &'static str {
        "cast"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, String> {
        if inputs.len() != 1 || inputs[0].dtype == DType::F32 {
            return Err("makes floats of bytes or integers; these are floats already".into());
        }
        if !self.scale.is_finite() {
            return Err(format!("the scale must be a finite number, got {}", self.scale));
        }
        Ok(vec![TensorType::f32(inputs[0].shape)])
    }

    fn dispatch(&self, ctx: &KernelContext<'_>) -> Result<Program> {
        let vectors = ctx.outputs[0].shape.elements().div_ceil(4);
        let params = uniform! { vectors, scale: self.scale };
        let entry = if ctx.inputs[0].dtype == DType::U8 { "cast_bytes" } else { "cast_words" };
        Ok(ctx.launch_over(entry, [Arg::Input(0), Arg::Output(0)], &params, vectors)?.into())
    }

    /// A `u32` is rounded to a float, to one unit in the last place (two roundoffs) as WGSL may truncate;
    /// the product is rounded again.
    fn error_bound(&self, _: &[In<'_, f64>], outputs: &[In<'_, f64>]) -> Vec<Vec<f64>> {
        vec![relative_bound(&outputs[0], 4.0)]
    }
}

impl<'g> Var<'g> {
    /// These bytes or integers as floats.
    #[track_caller]
    pub fn to_f32(self) -> Var<'g> {
        self.to_f32_scaled(1.0)
    }

    /// These bytes or integers as floats, multiplied by `scale`: 1/255 makes 0 to 1 of the bytes of an image.
    #[track_caller]
    pub fn to_f32_scaled(self, scale: f32) -> Var<'g> {
        self.graph.record_one(Cast { scale }, &[self])
    }
}

pub(super) fn cases() -> Vec<Case> {
    let cast = |dtype, scale, shape: &[usize], filling| {
        let mut case = Case::new(Cast { scale }, &[shape]).fill(0, filling).no_gradient();
        case.inputs[0].0.dtype = dtype;
        case
    };
    let mut cases = Vec::new();
    for shape in [&[][..], &[1], &[5], &[7, 9], &[257], &[130, 33]] {
        cases.push(cast(DType::U8, 1.0 / 255.0, shape, Fillings::Whole(256)));
        cases.push(cast(DType::U32, 0.5, shape, Fillings::Whole(1000)));
    }
    cases.push(cast(DType::U8, 1.0, &[64, 784], Fillings::Whole(256)));
    // Whole numbers that f32 does not have.
    let large = Fillings::Given(vec![0.0, 16_777_217.0, 4_294_967_295.0, 2_147_483_649.0]);
    cases.push(cast(DType::U32, 1.0, &[4], large));
    cases
}

#[cfg(test)]
mod tests {
    use crate::graph::Graph;

    #[test]
    fn floats_and_wrong_scales_are_refused() {
        let refusal = |record: &dyn Fn(&Graph)| {
            let g = Graph::new();
            record(&g);
            g.error().unwrap().to_string()
        };
        let floats = refusal(&|g| {
            g.input("x", [2]).to_f32();
        });
        assert!(floats.contains("floats already"), "{floats}");
        let scale = refusal(&|g| {
            g.bytes("x", [2]).to_f32_scaled(f32::NAN);
        });
        assert!(scale.contains("finite"), "{scale}");
        let g = Graph::new();
        let y = g.bytes("x", [2, 3]).to_f32_scaled(0.5);
        assert!(g.error().is_none());
        assert_eq!(y.tensor_type().to_string(), "f32[2, 3]");
    }
}
