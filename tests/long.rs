//! Axes so long that a loop along them is one that llvmpipe leaves early, with values that are known without a reference.
#![allow(missing_docs, clippy::unwrap_used)]

mod common;

use wgrad::ops::AdapterClass;
use wgrad::{Device, Graph, Tensor, Var};

/// The CPU device, and every adapter in the classes of kernels that any can run.
fn devices() -> Vec<(String, Device)> {
    let mut all = vec![("cpu".to_string(), Device::cpu())];
    for gpu in common::gpus() {
        let name = Device::from(gpu.clone()).info().to_string();
        for class in [AdapterClass::Gpu, AdapterClass::Software] {
            all.push((format!("{name} as {class:?}"), gpu.with_class(class).into()));
        }
        all.push((name, gpu.into()));
    }
    all
}

/// The values of the outputs `y` and `d`, of what `record` makes.
fn run(device: &Device, record: impl for<'g> Fn(&'g Graph) -> [Var<'g>; 2]) -> [Vec<f32>; 2] {
    let g = Graph::new();
    let [y, d] = record(&g);
    g.output("y", y);
    g.output("d", d);
    let mut step = device.compile(&g).unwrap();
    step.run().unwrap();
    [step.values("y").unwrap(), step.values("d").unwrap()]
}

fn constant<'g>(g: &'g Graph, shape: &[usize], value: impl Fn(usize) -> f32) -> Var<'g> {
    let n = shape.iter().product();
    g.constant(Tensor::new(shape, (0..n).map(value).collect::<Vec<f32>>()).unwrap())
}

fn numbers<'g>(g: &'g Graph, shape: &[usize], value: impl Fn(usize) -> u32) -> Var<'g> {
    let n = shape.iter().product();
    g.constant(Tensor::new(shape, (0..n).map(value).collect::<Vec<u32>>()).unwrap())
}

#[test]
fn cross_entropy_over_a_vocabulary() {
    // All classes are as likely: ln 50257 = 10.824905, and the gradient of a mean over 8 rows is (1/50257 - 1) / 8.
    for (name, device) in devices() {
        let [loss, d] = run(&device, |g| {
            let logits = constant(g, &[8, 50_257], |_| 0.0);
            let loss = logits.softmax_cross_entropy(numbers(g, &[8], |_| 50_256));
            let d = g.gradients(loss, &[logits])[0];
            [loss, d.slice(1, 50_255, 2)]
        });
        assert!((loss[0] - 10.824_905).abs() < 2e-5, "{name}: {}", loss[0]);
        for row in d.chunks(2) {
            let share = 1.0 / 50_257.0;
            assert!((row[0] - share / 8.0).abs() < 1e-9, "{name}: {row:?}");
            assert!((row[1] - (share - 1.0) / 8.0).abs() < 1e-6, "{name}: {row:?}");
        }
    }
}

#[test]
fn sums_of_ones_count_them() {
    for (name, device) in devices() {
        for (shape, axis) in
            [([70_001, 1], 0), ([70_001, 3], 0), ([66_000, 4], 0), ([2, 70_001], 1), ([300, 66_001], 1)]
        {
            let [y, d] = run(&device, |g| {
                let x = constant(g, &shape, |_| 1.0);
                let y = x.sum(&[axis]);
                [y, g.gradients(y.sum_all(), &[x])[0].sum_all()]
            });
            assert!(
                y.iter().all(|y| *y == shape[axis] as f32),
                "{name}: {shape:?} {:?}",
                &y[..2.min(y.len())]
            );
            assert_eq!(d[0], (shape[0] * shape[1]) as f32, "{name}: {shape:?}");
        }
    }
}

#[test]
fn the_gradient_of_a_table_counts_the_rows_taken() {
    for (name, device) in devices() {
        for row in [1, 4] {
            let [taken, d] = run(&device, |g| {
                let table = constant(g, &[3, row], |i| (i / row) as f32);
                let taken = table.take_rows(numbers(g, &[70_001], |i| u32::from(i % 7 == 0) * 2));
                [taken.sum_all(), g.gradients(taken.sum_all(), &[table])[0]]
            });
            // Every seventh is row 2.
            let (second, zeroth) = (10_001.0, 60_000.0);
            assert_eq!(taken[0], 2.0 * second * row as f32, "{name}");
            let wanted: Vec<f32> = [zeroth, 0.0, second].into_iter().flat_map(|n| vec![n; row]).collect();
            assert_eq!(d, wanted, "{name}");
        }
    }
}

#[test]
fn the_largest_of_many_is_found_at_their_end() {
    let n = 70_001;
    for (name, device) in devices() {
        let [places, largest] = run(&device, |g| {
            let x = constant(g, &[2, n], |i| if i % n == n - 1 { -1.0 } else { -2.0 });
            [x.argmax(1).to_f32(), x.max(&[1])]
        });
        assert_eq!(places, [70_000.0; 2], "{name}");
        assert_eq!(largest, [-1.0; 2], "{name}");
    }
}

#[test]
fn whole_planes_are_pooled() {
    for (name, device) in devices() {
        let [max, d] = run(&device, |g| {
            let x = constant(g, &[1, 1, 300, 301], |i| if i == 90_299 { -1.0 } else { -2.0 });
            let y = x.adaptive_max_pool2d([1, 1]);
            [y, g.gradients(y.sum_all(), &[x])[0].slice(2, 299, 1).slice(3, 300, 1)]
        });
        assert_eq!((max[0], d[0]), (-1.0, 1.0), "{name}");
        let [mean, d] = run(&device, |g| {
            let x = constant(g, &[1, 1, 300, 300], |_| 1.0);
            let y = x.adaptive_avg_pool2d([1, 1]);
            [y, g.gradients(y.sum_all(), &[x])[0].sum_all()]
        });
        assert!((mean[0] - 1.0).abs() < 1e-5 && (d[0] - 1.0).abs() < 1e-4, "{name}: {mean:?} {d:?}");
    }
}

#[test]
fn convolutions_of_many_channels_and_large_kernels_count_their_terms() {
    for (name, device) in devices() {
        for (c, size) in [(21_846, [1, 1]), (70_001, [1, 1]), (1, [256, 257])] {
            let terms = (c * size[0] * size[1]) as f32;
            let [y, d] = run(&device, |g| {
                let x = constant(g, &[1, c, size[0], size[1]], |_| 1.0);
                let weight = constant(g, &[1, c, size[0], size[1]], |_| 1.0);
                let y = x.conv2d(weight, None, &wgrad::ops::Conv2dOptions::default());
                // Every element of the image would gather from as many of the kernel: too many, where both are large.
                let to = if size == [1, 1] { x } else { weight };
                [y, g.gradients(y.sum_all(), &[to])[0].sum_all()]
            });
            assert_eq!((y[0], d[0]), (terms, terms), "{name}: {c} {size:?}");
        }
    }
}

#[test]
fn softmax_of_long_rows_sums_to_one() {
    let n = 70_001;
    for (name, device) in devices() {
        let [sum, d] = run(&device, |g| {
            let x = constant(g, &[2, n], |_| 3.0);
            let y = x.softmax(1);
            // The gradient of the first element: y0 (1 - y0) and -y0 y1.
            let d = g.gradients(y.slice(1, 0, 1).sum_all(), &[x])[0];
            [y.sum(&[1]), d.slice(1, 0, 2)]
        });
        let share = 1.0 / n as f32;
        assert!(sum.iter().all(|s| (s - 1.0).abs() < 1e-4), "{name}: {sum:?}");
        assert!((d[0] - share * (1.0 - share)).abs() < 1e-9, "{name}: {d:?}");
        let [logs, _] = run(&device, |g| {
            let y = constant(g, &[1, n], |_| -5.0).log_softmax(1);
            [y.slice(1, n - 2, 2), y.slice(1, 0, 1)]
        });
        assert!(logs.iter().all(|y| (y + (n as f32).ln()).abs() < 1e-4), "{name}: {logs:?}");
    }
}

/// What an adapter cannot do is refused where a graph is compiled, and says what to do.
#[test]
fn loops_that_cannot_be_cut_are_refused() {
    for gpu in common::gpus() {
        let g = Graph::new();
        g.output("y", g.input("x", [2, 100_000]).softmax(1));
        let short: Device = gpu.with_max_loop_iterations(100).into();
        let error = short.compile(&g).err().unwrap();
        let message = error.to_string();
        assert!(matches!(error, wgrad::Error::Limit(_)), "{message}");
        assert!(message.contains("softmax") && message.contains("loop iterations"), "{message}");
    }
}

/// What `wgrad check --long` adds, in every class of kernels. By hand: it takes minutes.
#[test]
#[ignore = "takes minutes"]
fn every_op_with_long_axes_agrees_with_the_reference() {
    let cases = wgrad::cases::long_registry();
    for gpu in common::gpus() {
        for class in [AdapterClass::Gpu, AdapterClass::Software, gpu.caps().class] {
            let report = wgrad::check::check_gpu_cases(&gpu.with_class(class), &cases, |_, _| {});
            println!("{} as {class:?}: {} long cases", report.device, report.cases());
            for failure in report.failures.iter().chain(&report.skipped) {
                println!("{}: {}", failure.case, failure.message);
            }
            assert!(report.cases() > 200 && report.failures.is_empty());
        }
    }
}
