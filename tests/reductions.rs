//! Elementwise ops that are computed where a reduction reads them, and what stands behind it: the same numbers as single
//! kernels, in fewer launches.
#![allow(missing_docs, clippy::unwrap_used)]

mod common;

use wgrad::gpu::{Gpu, PlantedFault};
use wgrad::optim::{Adam, ClipNorm, Optimizer};
use wgrad::{Device, Graph, Init, Params, Rng, Var};

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
        for (name, shape) in ["a", "b"].iter().zip(shapes) {
            step.feed(name, &values(shape.iter().product(), name.len() as u64 + shape.len() as u64)).unwrap();
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

/// The squares that a norm adds up are computed where they are added, and the norms of all are added behind.
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
