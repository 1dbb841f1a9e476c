//! Elementwise ops that are computed where a reduction reads them, and what stands after it: the same numbers as single
//! kernels, in fewer launches.
#![allow(missing_docs, clippy::unwrap_used)]

mod common;

use wgrad::gpu::{Gpu, PlantedFault};
use wgrad::nn::{BatchNorm2d, Layer};
use wgrad::ops::{
    Arg, Conv2dOptions, Dispatch, In, Kernel, KernelContext, Op, Out, Padding, Program, Real, Reference,
};
use wgrad::optim::{Adam, ClipNorm, Optimizer};
use wgrad::{CompileOptions, Device, Error, Graph, Init, Params, Precision, Rng, TensorType, Var};

fn values(n: usize, seed: u64) -> Vec<f32> {
    let mut rng = Rng::new(seed, "values");
    (0..n).map(|_| rng.normal() as f32).collect()
}

/// Launches and the result `y` of a graph of two inputs, fused and not.
fn both(
    gpu: &Gpu,
    shapes: [&[usize]; 2],
    record: impl for<'g> Fn(Var<'g>, Var<'g>) -> Var<'g>,
) -> [(usize, Vec<f32>); 2] {
    [gpu.checked(), gpu.unfused()].map(|gpu| {
        let g = Graph::new();
        g.output("y", record(g.input("a", shapes[0]), g.input("b", shapes[1])));
        let mut step = Device::from(gpu).compile(&g).unwrap();
        for (seed, (name, shape)) in ["a", "b"].iter().zip(shapes).enumerate() {
            step.feed(name, &values(shape.iter().product(), seed as u64)).unwrap();
        }
        step.run().unwrap();
        (step.dispatches(), step.values("y").unwrap())
    })
}

/// The order of a sum follows from the shape alone, so the bits are the same. Not where the last formula is a product: an
/// adapter may round it and the sum it goes into at once, if both stand in one kernel.
#[test]
fn sums_have_the_same_bits_as_without_fusion() {
    let shapes: [(&[usize], &[usize], usize); 7] = [
        (&[70_001], &[70_001], 0),
        (&[64, 1024], &[1024], 1),
        (&[64, 1024], &[64, 1], 1),
        (&[1024, 64], &[64], 0),
        (&[1024, 256], &[1024, 1], 0),
        (&[3, 33, 5], &[33, 1], 1),
        (&[2, 37, 12], &[2, 1, 12], 1),
    ];
    for gpu in common::gpus() {
        for (a, b, axis) in shapes {
            let [(fused, x), (single, y)] = both(&gpu, [a, b], |a, b| (a - b).abs().sum(&[axis]));
            // Formulas alone take one launch.
            assert!(fused < single, "{a:?} {b:?}: {fused} launches instead of {single}");
            let bits = |v: &[f32]| v.iter().map(|x| x.to_bits()).collect::<Vec<u32>>();
            assert_eq!(bits(&x), bits(&y), "{a:?} {b:?}");
            assert!(x.iter().all(|x| *x > 0.0), "{a:?} {b:?}");
        }
    }
}

#[test]
fn a_mean_squared_error_is_one_kernel() {
    for gpu in common::gpus() {
        let [(fused, x), (single, y)] =
            both(&gpu, [&[8, 12], &[12]], |a, b| (a - b).square().mean_all().sqrt());
        assert_eq!((fused, single), (1, 4));
        assert!((x[0] - y[0]).abs() <= 1e-6 * y[0], "{x:?} {y:?}");
    }
}

#[test]
fn a_fault_in_a_formula_before_a_sum_is_named() {
    for gpu in common::gpus() {
        let g = Graph::new();
        g.output("y", (g.input("x", [5, 300]).abs() * 2.0).sum(&[1]) + 1.0);
        let run = |fault| {
            let mut step = Device::from(gpu.with_fault(fault)).compile(&g).unwrap();
            step.feed("x", &[-0.5f32; 1500]).unwrap();
            match step.run() {
                Err(wgrad::Error::Check(error)) => *error,
                other => panic!("{other:?}"),
            }
        };
        let (from, to) =
            ("fn abs_fn(a: f32) -> f32 {", "fn abs_fn(a: f32) -> f32 { if (a < 9.0) { return a; }");
        assert_eq!(run(PlantedFault::Shader { key: "abs", from, to }).op, "abs");
        // In the kernel of all alone.
        let error = run(PlantedFault::Shader { key: ".of.", from, to }).to_string();
        let names = ["abs", "mul_scalar", "sum", "add_scalar", "run apart"];
        assert!(names.iter().all(|n| error.contains(n)), "{error}");
    }
}

/// A state is read before it is updated, also where a sum that comes later could compute what is made of it.
#[test]
fn a_sum_reads_what_a_state_was_when_it_was_recorded() {
    for gpu in common::gpus() {
        let params = Params::seeded(0);
        let w = params.param("w", [300], Init::Constant(2.0));
        let g = Graph::new();
        let before = g.param(&w).square();
        let sgd = wgrad::optim::Sgd::new(&params, 0.25);
        sgd.minimize(g.param(&w).square().sum_all(), std::slice::from_ref(&w));
        g.output("y", before.sum_all());
        let mut step = Device::from(gpu.checked()).compile(&g).unwrap();
        step.run().unwrap();
        assert_eq!(step.values("y").unwrap(), [1200.0]);
    }
}

/// The squares that a norm adds up are computed where they are added, and the norms of all are added after.
#[test]
fn clipping_launches_one_sum_per_gradient() {
    for gpu in common::gpus() {
        let run = |gpu: Gpu| -> (usize, Vec<f32>) {
            let params = Params::seeded(3);
            let g = Graph::new();
            let mut x = g.input("x", [8, 12]);
            for layer in 0..3 {
                let w = params.param(&format!("w{layer}"), [12, 12], Init::Uniform(0.5));
                x = x.matmul(g.param(&w)).tanh();
            }
            let clipped = ClipNorm::new(Adam::new(&params, 1e-2), 0.1);
            clipped.minimize(x.square().sum_all(), &params.trainable());
            let device = Device::from(gpu);
            let mut step = device.compile(&g).unwrap();
            step.feed("x", &values(96, 1)).unwrap();
            step.run().unwrap();
            let all = params.trainable();
            let read = |p: &wgrad::Param| device.read_param(p).unwrap().as_f32().to_vec();
            (step.dispatches(), all.iter().flat_map(read).collect())
        };
        let ((fused, a), (single, b)) = (run(gpu.checked()), run(gpu.unfused()));
        assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() <= 1e-5), "{a:?} {b:?}");
        println!("{fused} launches instead of {single}");
        // Three squares, two additions, and the factor, which is six formulas.
        assert!(fused + 11 <= single, "{fused} launches instead of {single}");
    }
}

/// With a budget the elements of a maximum are computed once more in the backward pass, where its gradient looks for it
/// among them. It must be there, however the other kernel rounds.
#[test]
fn the_gradient_of_a_maximum_finds_it_again_under_a_memory_budget() {
    for gpu in common::gpus() {
        for precision in [Precision::F32, Precision::Mixed] {
            if precision == Precision::Mixed && !gpu.has_f16() {
                continue;
            }
            let run = |budget: Option<usize>| -> wgrad::Result<Vec<f32>> {
                let g = Graph::new();
                let (x, r) = (g.input("x", [4, 3, 16, 16]), g.input("r", [4, 16, 24, 24]));
                let (w, v) = (g.input("w", [16, 3, 3, 3]), g.input("v", [16, 16, 3, 3]));
                let same = Conv2dOptions { padding: Padding::all(1), ..Default::default() };
                let z = x.conv2d(w, None, &same).tanh().conv2d(v, None, &same).sigmoid();
                let largest = z.max(&[2, 3]).reshape([4, 16, 1, 1]);
                // Much that is live at the same time.
                let tail = (largest * r).tanh();
                let loss = (tail * tail * r).softmax(3).square().sum_all() + largest.square().sum_all();
                let gradients = g.gradients(loss, &[w, v]);
                g.output("dw", gradients[0]);
                g.output("dv", gradients[1]);
                let mut options = CompileOptions::new().precision(precision);
                if let Some(budget) = budget {
                    options = options.memory_budget(budget);
                }
                let mut step = Device::from(gpu.clone()).compile_with(&g, options)?;
                let inputs = [("x", 4 * 3 * 256, 1.0), ("r", 4 * 16 * 576, 1.0)];
                for (seed, (name, n, scale)) in
                    inputs.into_iter().chain([("w", 16 * 27, 0.3), ("v", 16 * 144, 0.1)]).enumerate()
                {
                    let values: Vec<f32> = values(n, seed as u64).iter().map(|v| v * scale).collect();
                    step.feed(name, &values)?;
                }
                step.run()?;
                Ok([step.values("dw")?, step.values("dv")?].concat())
            };
            let whole = run(None).unwrap();
            let Err(Error::MemoryBudget { least, .. }) = run(Some(1)) else { panic!("one byte is enough") };
            let size = whole.iter().fold(0.0, |m: f32, v| m.max(v.abs()));
            for budget in (0..6).map(|i| least + 20_000 * i) {
                let gradients = run(Some(budget)).unwrap();
                let off = gradients.iter().zip(&whole).map(|(a, b)| (a - b).abs());
                let off = off.fold(0.0, |m: f32, d| if d > m || d.is_nan() { d } else { m });
                assert!(off <= 0.01 * size, "{precision:?}, {budget} bytes: {off} of {size}");
            }
        }
    }
}

/// Counts, and reads nothing.
#[derive(Debug, Clone)]
struct Count;

impl<T: Real> Reference<T> for Count {
    fn eval(&self, _: &[In<'_, T>], outputs: &mut [Out<'_, T>]) -> Result<(), String> {
        outputs[0].f().iter_mut().for_each(|y| *y = *y + T::one());
        Ok(())
    }
}

impl Op for Count {
    fn name(&self) -> &'static str {
        "count"
    }

    fn writes(&self) -> usize {
        1
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, String> {
        Ok(inputs.to_vec())
    }

    fn dispatch(&self, _: &KernelContext<'_>) -> wgrad::Result<Program> {
        let text = "@group(0) @binding(0) var<storage, read_write> y: array<f32>;\n\
            @compute @workgroup_size(1)\nfn count() { y[0] = y[0] + 1.0; }\n";
        let kernel = Kernel::custom("count", "count", text);
        Ok(Dispatch::new(kernel, vec![Arg::Output(0)], &[0u32; 0], [1, 1, 1]).into())
    }
}

/// Only updates by what a normalization gives are moved after its activation.
#[test]
fn an_update_that_reads_nothing_stays_where_it_is() {
    for gpu in common::gpus() {
        let params = Params::seeded(0);
        let (first, second) = (BatchNorm2d::new(&params.at("a"), 3), BatchNorm2d::new(&params.at("b"), 3));
        let count = params.state("count", [1], Init::Constant(0.0));
        let g = Graph::new();
        let x = g.input("x", [2, 3, 4, 4]);
        let (a, b) = (first.forward(x), second.forward(x * 2.0));
        g.custom(Count, &[g.param(&count)]);
        g.output("b", b.relu());
        g.output("a", a.relu());
        let device = Device::from(gpu.checked());
        let mut step = device.compile(&g).unwrap();
        step.feed("x", &values(96, 1)).unwrap();
        (0..3).for_each(|_| step.run().unwrap());
        assert_eq!(device.read_param(&count).unwrap().as_f32(), [3.0]);
    }
}

/// As the check compares them: the mean of an infinite number is infinite, wherever it stands.
#[test]
fn batch_normalization_of_infinite_numbers_is_that_of_the_reference() {
    for gpu in common::gpus() {
        for (side, at) in [(32, 0), (32, 100), (32, 1023), (5, 0), (5, 3), (5, 24)] {
            let g = Graph::new();
            let x = g.input("x", [8, 2, side, side]);
            let [y, mean, variance] = x.batch_norm(g.full([2], 1.0), g.full([2], 0.0), 1e-5);
            g.output("y", y);
            g.output("mean", mean);
            g.output("variance", variance);
            let mut step = Device::from(gpu.checked()).compile(&g).unwrap();
            let mut numbers = values(16 * side * side, 1);
            numbers[at] = f32::INFINITY;
            step.feed("x", &numbers).unwrap();
            step.run().unwrap_or_else(|e| panic!("{side} {at}: {e}"));
            let mean = step.values("mean").unwrap();
            assert!(mean[0] == f32::INFINITY && mean[1].is_finite(), "{side} {at}: {mean:?}");
        }
    }
}
