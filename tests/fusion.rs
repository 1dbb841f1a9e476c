//! Random graphs with and without fusion, on every adapter: every fused kernel against the f64 formulas of its
//! members, and the results against those of single kernels.
#![allow(missing_docs, clippy::unwrap_used)]

mod common;

use wgrad::gpu::{Gpu, PlantedFault};
use wgrad::ops::{AdapterClass, Conv2dOptions, Kernels, PoolOptions};
use wgrad::{Device, Graph, Rng, Tensor, Var};

/// A graph of some 25 random ops over a few shapes that broadcast, with gradients through all of them.
fn record(g: &Graph, seed: u64) {
    let mut rng = Rng::new(seed, "graph");
    let shapes: [&[usize]; 5] = [&[5, 6], &[6], &[5, 1], &[1], &[6, 6]];
    let inputs: Vec<Var<'_>> =
        shapes.iter().enumerate().map(|(i, s)| g.input(&format!("x{i}"), *s)).collect();
    let mut values = inputs.clone();
    for _ in 0..25 {
        let mut pick = || values[rng.below(values.len() as u32) as usize];
        let (a, b) = (pick(), pick());
        let fits = a.shape().broadcast(&b.shape()).is_some();
        let is_matrix = a.shape().rank() == 2 && a.dim(1) == 6;
        values.push(match rng.below(14) {
            0 | 1 if fits => (a + b) * 0.5,
            2 if fits => a * b,
            3 if fits => a - b,
            4 if fits => a.maximum(b),
            5 if fits => a.greater(b).select(a, b),
            6 => a.tanh(),
            7 => a.relu(),
            8 => a.sigmoid() * 1.5,
            9 if is_matrix => a.matmul(inputs[4]) * 0.2,
            10 if is_matrix => a.matmul_nt(inputs[4]).leaky_relu(0.1) * 0.2,
            11 if a.shape().rank() == 2 => a.softmax(1),
            12 if fits && a.shape().rank() == 2 => (a - b).square().mean_keep(&[0]),
            13 if a.shape().rank() == 2 => (a * 0.5).abs().sum_keep(&[1]).sqrt(),
            _ => (a * 0.25 + 0.125).square(),
        });
    }
    let loss = values.iter().fold(g.scalar(0.0), |sum, v| sum + v.mean_all());
    g.output("loss", loss);
    for (i, gradient) in g.gradients(loss, &inputs).into_iter().enumerate() {
        g.output(&format!("d{i}"), gradient);
    }
    // Some value in between is read too.
    g.output("between", values[inputs.len() + rng.below(25) as usize]);
}

fn outputs(gpu: Gpu, seed: u64) -> (usize, Vec<Vec<f32>>) {
    let g = Graph::new();
    record(&g, seed);
    let mut step = Device::from(gpu).compile(&g).unwrap_or_else(|e| panic!("seed {seed}: {e}\n{g}"));
    let mut rng = Rng::new(seed, "values");
    for (i, n) in [30, 6, 5, 1, 36].into_iter().enumerate() {
        let values: Vec<f32> = (0..n).map(|_| rng.normal() as f32).collect();
        step.feed(&format!("x{i}"), &values).unwrap();
    }
    step.run().unwrap_or_else(|e| panic!("seed {seed}: {e}\n{g}"));
    let names = ["loss", "d0", "d1", "d2", "d3", "d4", "between"];
    (step.dispatches(), names.iter().map(|n| step.values(n).unwrap()).collect())
}

#[test]
fn random_graphs_compute_the_same_fused() {
    for gpu in common::gpus() {
        let (mut fewer, mut all) = (0, 0);
        for seed in 0..12 {
            let (fused, a) = outputs(gpu.checked(), seed);
            let (single, b) = outputs(gpu.unfused(), seed);
            (fewer, all) = (fewer + fused, all + single);
            for (a, b) in a.iter().flatten().zip(b.iter().flatten()) {
                assert!((a - b).abs() <= 1e-4 * (1.0 + b.abs()), "seed {seed}: {a} and {b}");
            }
        }
        assert!(10 * fewer < 7 * all, "{fewer} launches instead of {all}");
    }
}

#[test]
fn a_fault_in_a_fused_kernel_alone_names_its_members() {
    for gpu in common::gpus() {
        let g = Graph::new();
        let y = g.input("x", [4, 8]).matmul(g.input("w", [8, 4])) + g.input("b", [4]);
        g.output("y", y.tanh());
        let fault = |from, to| PlantedFault::Shader { key: ".then.", from, to };
        // Text that does not compile is an error of the kernel, not a panic.
        let broken = gpu.with_fault(fault("return v1;", "return v9;"));
        let error = Device::from(broken).compile(&g).unwrap_err().to_string();
        assert!(error.contains(".then."), "{error}");
        let wrong = gpu.with_fault(fault("return v1;", "return v0;"));
        let mut step = Device::from(wrong).compile(&g).unwrap();
        for (name, n) in [("x", 32), ("w", 32), ("b", 4)] {
            step.feed(name, &vec![0.5f32; n]).unwrap();
        }
        let error = step.run().unwrap_err().to_string();
        let names = ["matmul + ", "tanh", "run apart"];
        assert!(names.iter().all(|n| error.contains(n)), "{error}");
    }
}

/// The member that is wrong is named, also where a number of the formula has no memory.
#[test]
fn a_fault_in_one_member_is_named() {
    let Some(gpu) = common::gpu() else { return };
    let g = Graph::new();
    let x = g.input("x", [5, 3]);
    g.output("y", x.greater(g.scalar(0.0)).select(x.exp(), x.tanh() * g.full([5, 3], 2.0)));
    let fault = PlantedFault::Shader {
        key: "tanh",
        from: "fn tanh_fn(x: f32) -> f32 {",
        to: "fn tanh_fn(x: f32) -> f32 { if (x < 9.0) { return 0.25; }",
    };
    let mut step = Device::from(gpu.with_fault(fault)).compile(&g).unwrap();
    assert_eq!(step.dispatches(), 1);
    step.feed("x", &[-0.5f32; 15]).unwrap();
    match step.run() {
        Err(wgrad::Error::Check(error)) => assert_eq!(error.op, "tanh"),
        other => panic!("{other:?}"),
    }
}

/// What is moved several times by one kernel is moved step by step to find the step that is wrong, reshapes between included.
#[test]
fn a_fault_in_a_movement_is_named() {
    for gpu in common::gpus() {
        let g = Graph::new();
        let part = g.input("x", [2, 5, 24]).slice(2, 8, 8).reshape([2, 5, 2, 4]);
        g.output("y", part.permute(&[0, 2, 1, 3]));
        let from = "return at + rest * p.strides[0].x;";
        let fault = PlantedFault::Shader { key: "strided_read4", from, to: "return at;" };
        let mut step = Device::from(gpu.with_fault(fault)).compile(&g).unwrap();
        assert_eq!(step.dispatches(), 1);
        let values: Vec<f32> = (0..240).map(|i| i as f32).collect();
        step.feed("x", &values).unwrap();
        match step.run() {
            Err(wgrad::Error::Check(error)) => assert_eq!(error.op, "slice"),
            other => panic!("{other:?}"),
        }
    }
}

/// Convolution, ReLU, pooling, a residual, and a dense layer on reshaped rows: every pattern of a CNN.
#[test]
fn a_cnn_has_the_same_gradients_fused() {
    let record = |g: &Graph| {
        let (x, w, b) = (g.input("x", [3, 2, 8, 8]), g.input("w", [6, 2, 3, 3]), g.input("b", [6]));
        let (v, dense) = (g.input("v", [6, 6, 3, 3]), g.input("dense", [5, 54]));
        let same = Conv2dOptions { padding: wgrad::ops::Padding::SameUpper, ..Default::default() };
        let first = x.conv2d(w, Some(b), &Conv2dOptions::default()).relu();
        let second = (first.conv2d(v, None, &same) + first).relu();
        let pooled = second.max_pool2d(PoolOptions::square(2));
        let logits = pooled.reshape([3, 54]).matmul_nt(dense);
        let loss = logits.softmax_cross_entropy(g.constant(Tensor::new([3], vec![0u32, 3, 4]).unwrap()));
        g.output("loss", loss);
        for (name, d) in
            ["dx", "dw", "db", "dv", "ddense"].iter().zip(g.gradients(loss, &[x, w, b, v, dense]))
        {
            g.output(name, d);
        }
    };
    for gpu in common::gpus() {
        let run = |gpu: Gpu| -> (usize, Vec<f32>) {
            let g = Graph::new();
            record(&g);
            let mut step = Device::from(gpu).compile(&g).unwrap();
            let mut rng = Rng::new(3, "cnn");
            for (name, n) in [("x", 384), ("w", 108), ("b", 6), ("v", 324), ("dense", 270)] {
                let values: Vec<f32> = (0..n).map(|_| rng.normal() as f32 * 0.3).collect();
                step.feed(name, &values).unwrap();
            }
            step.run().unwrap();
            let names = ["loss", "dx", "dw", "db", "dv", "ddense"];
            (step.dispatches(), names.iter().flat_map(|n| step.values(n).unwrap()).collect())
        };
        let ((fused, a), (single, b)) = (run(gpu.checked()), run(gpu.unfused()));
        assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() <= 1e-5), "{a:?} {b:?}");
        assert!(fused + 5 <= single, "{fused} launches instead of {single}");
    }
}

/// Depthwise, strided depthwise, 1 × 1, grouped and dilated convolutions between elementwise ops, forward and back.
#[test]
fn forms_of_convolutions_compute_the_same_fused() {
    let forms = [(16, 16, 3, 1, 1), (16, 16, 3, 2, 1), (1, 20, 1, 1, 1), (4, 12, 3, 1, 1), (1, 20, 3, 1, 2)];
    for gpu in common::gpus() {
        let (checked, unfused) = (gpu.checked(), gpu.unfused());
        for (groups, outputs, kernel, stride, dilation) in forms {
            let run = |gpu: &Gpu| -> Vec<f32> {
                let g = Graph::new();
                let options = Conv2dOptions {
                    stride: [stride; 2],
                    padding: wgrad::ops::Padding::SameUpper,
                    dilation: [dilation; 2],
                    groups,
                };
                let side = 8usize.div_ceil(stride);
                let shapes: [&[usize]; 4] = [
                    &[2, 16, 8, 8],
                    &[outputs, 16 / groups, kernel, kernel],
                    &[outputs],
                    &[2, outputs, side, side],
                ];
                let names = ["x", "w", "b", "r"];
                let v: Vec<Var<'_>> = names.iter().zip(shapes).map(|(name, s)| g.input(name, s)).collect();
                let y = v[0].tanh().conv2d_by(v[1], Some(v[2]), &options, Kernels::Tiles);
                let y = y.relu() + v[3];
                g.output("y", y);
                for (name, d) in ["dx", "dw", "db"].iter().zip(g.gradients(y.square().sum_all(), &v[..3])) {
                    g.output(name, d);
                }
                let mut step = Device::from(gpu.clone()).compile(&g).unwrap();
                let mut rng = Rng::new(5, "forms");
                for (name, shape) in names.iter().zip(shapes) {
                    let n = shape.iter().product();
                    step.feed(name, &(0..n).map(|_| rng.normal() as f32).collect::<Vec<f32>>()).unwrap();
                }
                step.run().unwrap();
                ["y", "dx", "dw", "db"].iter().flat_map(|n| step.values(n).unwrap()).collect()
            };
            // The check compares every fused kernel with the formulas.
            let (a, b) = (run(&checked), run(&unfused));
            let close = |(a, b): (&f32, &f32)| (a - b).abs() <= 2e-4 * (1.0 + b.abs());
            assert!(a.iter().zip(&b).all(close), "groups {groups}, stride {stride}, dilation {dilation}");
        }
        let fused: Vec<String> = checked.kernels().into_iter().map(|kernel| kernel.key).collect();
        let wanted: &[&str] = match gpu.caps().class {
            AdapterClass::Gpu => &["conv2d_depthwise."],
            _ => &["conv2d_depthwise.", "matmul_tile_nn.", "matmul_tile_tn.", "conv2d_tile."],
        };
        for start in wanted {
            let is_fused = |key: &String| key.starts_with(start) && key.contains(".then.");
            assert!(fused.iter().any(is_fused), "no {start} among {fused:?}");
        }
    }
}

/// Products with few rows and with few columns, in one split and in several, stored as vectors and not, before a bias of
/// columns and an addition.
#[test]
fn thin_products_compute_the_same_fused() {
    let products = [(3, 64, 132), (2, 70, 35), (8, 1000, 40), (132, 68, 3), (37, 1030, 8), (1, 520, 9)];
    for gpu in common::gpus() {
        let gpu = gpu.with_class(AdapterClass::Gpu).unjoined();
        let (checked, unfused) = (gpu.checked(), gpu.unfused());
        for (m, k, n) in products {
            let run = |gpu: &Gpu| -> Vec<f32> {
                let g = Graph::new();
                let shapes: [&[usize]; 4] = [&[m, k], &[k, n], &[n], &[m, n]];
                let names = ["a", "b", "bias", "r"];
                let v: Vec<Var<'_>> = names.iter().zip(shapes).map(|(name, s)| g.input(name, s)).collect();
                g.output("y", (v[0].matmul_by(v[1], Kernels::Thin) + v[2]).relu() + v[3]);
                let mut step = Device::from(gpu.clone()).compile(&g).unwrap();
                let mut rng = Rng::new(5, "thin");
                for (name, shape) in names.iter().zip(shapes) {
                    let n = shape.iter().product();
                    step.feed(name, &(0..n).map(|_| rng.normal() as f32).collect::<Vec<f32>>()).unwrap();
                }
                step.run().unwrap();
                step.values("y").unwrap()
            };
            let (a, b) = (run(&checked), run(&unfused));
            let close = |(a, b): (&f32, &f32)| (a - b).abs() <= 1e-5 * (1.0 + b.abs());
            assert!(a.iter().zip(&b).all(close), "{m} x {k} x {n}");
        }
        let fused: Vec<String> = checked.kernels().into_iter().map(|kernel| kernel.key).collect();
        for part in ["matmul_thin.kl4.444", "matmul_thin.kl2.111", ".turned", "split_k_sum"] {
            let is_fused = |key: &String| key.contains(part) && key.contains(".then.");
            assert!(fused.iter().any(is_fused), "no {part} among {fused:?}");
        }
    }
}

#[test]
fn a_network_makes_fewer_launches() {
    let Some(gpu) = common::gpu() else { return };
    let g = Graph::new();
    let (x, w) = (g.input("x", [2, 3, 8, 8]), g.input("w", [8, 3, 3, 3]));
    g.output("y", x.conv2d(w, None, &Conv2dOptions::default()).relu());
    let launches = |gpu: Gpu| Device::from(gpu).compile(&g).unwrap().dispatches();
    assert_eq!(launches(gpu.unfused()), launches(gpu) + 1);
}
