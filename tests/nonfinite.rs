//! NaN and infinities through reductions and pooling, with values as PyTorch gives them.
#![allow(missing_docs, clippy::unwrap_used)]

mod common;

use wgrad::ops::{AdapterClass, PoolOptions};
use wgrad::optim::{LossScale, Optimizer, Sgd};
use wgrad::{Device, Error, Graph, Init, NumericsError, Params, Tensor, Var};

const INF: f32 = f32::INFINITY;
const NAN: f32 = f32::NAN;

/// The CPU device, and every adapter in the classes of kernels that any can run, with and without fusion.
fn devices() -> Vec<(String, Device)> {
    let mut all = vec![("cpu".to_string(), Device::cpu())];
    for gpu in common::gpus() {
        let name = Device::from(gpu.clone()).info().to_string();
        for class in [AdapterClass::Gpu, AdapterClass::Software, gpu.caps().class] {
            let gpu = gpu.with_class(class);
            all.push((format!("{name} as {class:?}, unfused"), gpu.unfused().into()));
            all.push((format!("{name} as {class:?}"), gpu.into()));
        }
    }
    all
}

/// What `record` makes of an input with these values.
fn run(device: &Device, shape: &[usize], x: &[f32], record: impl for<'g> Fn(Var<'g>) -> Var<'g>) -> Vec<f32> {
    let g = Graph::new();
    let x = (g.input("x", shape), Tensor::new(shape, x.to_vec()).unwrap());
    g.output("y", record(x.0));
    let mut step = device.compile(&g).unwrap();
    step.run_with(&[("x", (&x.1).into())]).unwrap();
    step.values("y").unwrap()
}

#[track_caller]
fn assert_same(found: &[f32], wanted: &[f32], what: &str) {
    let same = |(a, b): (&f32, &f32)| a == b || a.is_nan() && b.is_nan();
    assert!(
        found.len() == wanted.len() && found.iter().zip(wanted).all(same),
        "{what}: {found:?}, wanted {wanted:?}"
    );
}

/// Rows of two, and the largest, the smallest, and the place of the largest of each.
const ROWS: [([f32; 2], f32, f32, f32); 9] = [
    ([-INF, -INF], -INF, -INF, 0.0),
    ([INF, INF], INF, INF, 0.0),
    ([-INF, INF], INF, -INF, 1.0),
    ([NAN, NAN], NAN, NAN, 0.0),
    ([NAN, -2.0], NAN, NAN, 0.0),
    ([-2.0, NAN], NAN, NAN, 1.0),
    ([INF, NAN], NAN, NAN, 1.0),
    ([NAN, -INF], NAN, NAN, 0.0),
    ([-3.0, -2.0], -2.0, -3.0, 1.0),
];

#[test]
fn reductions_keep_infinities_and_nan() {
    let column = |f: fn(&([f32; 2], f32, f32, f32)) -> f32| ROWS.iter().map(f).collect::<Vec<f32>>();
    let (largest, smallest, places) = (column(|r| r.1), column(|r| r.2), column(|r| r.3));
    for (name, device) in devices() {
        // Rows of 2, of 4 and of 300, and columns: what stands between is below everything, or above.
        for width in [2, 4, 33, 300, 5000] {
            let rows = |between: f32| -> Vec<f32> {
                let row = |r: &([f32; 2], f32, f32, f32)| {
                    let mut row = vec![between; width];
                    (row[0], row[width - 1]) = (r.0[0], r.0[1]);
                    row
                };
                ROWS.iter().flat_map(row).collect()
            };
            let turned = |x: &[f32]| -> Vec<f32> {
                (0..x.len()).map(|i| x[i % ROWS.len() * width + i / ROWS.len()]).collect()
            };
            let (low, high) = (rows(-INF), rows(INF));
            let (by_rows, by_columns) = ([ROWS.len(), width], [width, ROWS.len()]);
            let what = format!("{name}, {width}");
            assert_same(&run(&device, &by_rows, &low, |x| x.max(&[1])), &largest, &what);
            assert_same(&run(&device, &by_rows, &high, |x| x.min(&[1])), &smallest, &what);
            assert_same(&run(&device, &by_columns, &turned(&low), |x| x.max(&[0])), &largest, &what);
            assert_same(&run(&device, &by_columns, &turned(&high), |x| x.min(&[0])), &smallest, &what);
            let at: Vec<f32> = places.iter().map(|p| p * (width - 1) as f32).collect();
            assert_same(&run(&device, &by_rows, &low, |x| x.argmax(1).to_f32()), &at, &what);
        }
        let x: Vec<f32> = ROWS.iter().flat_map(|r| r.0).collect();
        let shape = [ROWS.len(), 1, 2];
        assert_same(&run(&device, &shape, &x, |x| x.global_max_pool2d()), &largest, &name);
        assert_same(&run(&device, &shape, &x, |x| x.adaptive_max_pool2d([1, 1])), &largest, &name);
    }
}

#[test]
fn the_gradient_of_a_maximum_of_infinities_is_shared() {
    for (name, device) in devices() {
        let x = [-INF, -INF, INF, 1.0, 2.0, -INF];
        let of = |record: for<'g> fn(Var<'g>) -> Var<'g>| {
            run(&device, &[3, 2], &x, move |x| x.graph().gradients(record(x).sum_all(), &[x])[0])
        };
        assert_same(&of(|x| x.max(&[1])), &[0.5, 0.5, 1.0, 0.0, 1.0, 0.0], &name);
        assert_same(&of(|x| x.min(&[1])), &[0.5, 0.5, 0.0, 1.0, 0.0, 1.0], &name);
    }
}

#[test]
fn pooling_keeps_nan_wherever_it_stands() {
    // Windows of 2 x 2: NaN at each of the four places, with larger and smaller neighbours; one of -inf alone.
    let windows: [[f32; 4]; 6] = [
        [NAN, 1.0, INF, 2.0],
        [1.0, NAN, 2.0, -1.0],
        [-1.0, -2.0, NAN, NAN],
        [INF, 1.0, 2.0, NAN],
        [-INF, -INF, -INF, -INF],
        [-4.0, -3.0, -5.0, -3.0],
    ];
    let wanted = [NAN, NAN, NAN, NAN, -INF, -3.0];
    let places = [0, 1, 2, 3, 0, 1];
    let width = 2 * windows.len();
    let mut plane = vec![0.0; 2 * width];
    let mut gradient = vec![0.0; 2 * width];
    for (w, values) in windows.iter().enumerate() {
        for (k, value) in values.iter().enumerate() {
            plane[k / 2 * width + 2 * w + k % 2] = *value;
            gradient[k / 2 * width + 2 * w + k % 2] = f32::from(u8::from(k == places[w]));
        }
    }
    let shape = [1, 2, width];
    for (name, device) in devices() {
        assert_same(&run(&device, &shape, &plane, |x| x.max_pool2d(PoolOptions::square(2))), &wanted, &name);
        let d = run(&device, &shape, &plane, |x| {
            x.graph().gradients(x.max_pool2d(PoolOptions::square(2)).sum_all(), &[x])[0]
        });
        assert_same(&d, &gradient, &name);
        // With padding, which maxima never see.
        let found =
            run(&device, &[1, 1, 3], &[-INF, NAN, -2.0], |x| x.max_pool2d(PoolOptions::square(2).padding(1)));
        assert_same(&found, &[-INF, NAN], &name);
    }
}

#[test]
fn softmax_of_rows_with_nan_or_infinity_is_nan() {
    let x = [NAN, 1.0, 2.0, 1.0, 2.0, NAN, -INF, -INF, -INF, INF, 0.0, 1.0, -INF, 0.0, 0.0];
    let softmax = [vec![NAN; 12], vec![0.0, 0.5, 0.5]].concat();
    let half = -std::f32::consts::LN_2;
    let log = [vec![NAN; 12], vec![-INF, half, half]].concat();
    for (name, device) in devices() {
        let close = |found: Vec<f32>, wanted: &[f32]| {
            let round = |v: f32| if (v - half).abs() < 1e-6 { half } else { v };
            assert_same(&found.into_iter().map(round).collect::<Vec<f32>>(), wanted, &name);
        };
        close(run(&device, &[5, 3], &x, |x| x.softmax(1)), &softmax);
        close(run(&device, &[5, 3], &x, |x| x.log_softmax(1)), &log);
    }
}

/// The op that the check names after one run with these values of `x`, `[4]`; nothing if all is finite.
fn named(device: &Device, x: [f32; 4], record: impl for<'g> Fn(Var<'g>)) -> Option<NumericsError> {
    let g = Graph::new();
    g.check_numerics();
    record(g.input("x", [4]));
    let mut step = device.compile(&g).unwrap();
    // The flag belongs to the graph: a run before, whose values are finite, raises none.
    for (values, is_last) in [([1.0; 4], false), (x, true)] {
        step.run_with(&[("x", (&values).into())]).unwrap();
        match step.check_numerics() {
            Ok(()) => {}
            Err(Error::Numerics(error)) if is_last => return Some(*error),
            Err(other) => panic!("{other}"),
        }
    }
    None
}

#[test]
fn the_first_op_that_gives_nan_or_an_infinity_is_named() {
    for (name, device) in devices() {
        let names = |x: [f32; 4], record: fn(Var<'_>)| {
            named(&device, x, record).map(|e| (e.op, e.scope, e.is_gradient, e.step))
        };
        let found =
            |op: &str, scope: &str, is_gradient| Some((op.to_string(), scope.to_string(), is_gradient, None));
        // Elementwise ops that share a kernel, and a sum that hides an infinity from what follows.
        let forward = |x: Var<'_>| {
            let g = x.graph();
            let y = {
                let _scope = g.scope("layer");
                (x * 2.0).log() + 1.0
            };
            g.output("y", (y.exp().recip() + y).sum_all());
        };
        assert_eq!(names([2.0; 4], forward), None, "{name}");
        assert_eq!(names([2.0, 1.0, -1.0, 3.0], forward), found("log", "layer", false), "{name}");
        assert_eq!(names([2.0, 0.0, 1.0, 3.0], forward), found("log", "layer", false), "{name}");
        // What overflows before is named instead, also where it is an infinity that becomes none again.
        assert_eq!(names([2.0, 3e38, -1.0, 3.0], forward), found("mul_scalar", "layer", false), "{name}");
        let hidden = |x: Var<'_>| x.graph().output("y", x.square().recip());
        assert_eq!(names([1.0, 1e30, 1.0, 1.0], hidden), found("square", "", false), "{name}");
        // Where the forward pass is finite: the derivative of a root at 0.
        let backward = |x: Var<'_>| {
            let g = x.graph();
            let loss = x.sqrt().sum_all();
            g.output("dx", g.gradients(loss, &[x])[0] * 2.0);
        };
        let at_zero = named(&device, [0.0, 1.0, 1.0, 1.0], backward).unwrap();
        assert!(at_zero.is_gradient, "{name}: {at_zero}");
        assert!(at_zero.to_string().starts_with("in the backward pass, op `"), "{at_zero}");
        assert!(at_zero.location.contains("nonfinite.rs"), "{at_zero}");
        // What is fed is at fault itself, and what moves it is not.
        assert_eq!(names([INF, 1.0, 1.0, 1.0], forward), found("input", "x", false), "{name}");
        let fed = named(&device, [1.0, 1.0, NAN, 1.0], forward).unwrap().to_string();
        assert!(fed.starts_with("input `x` is fed NaN or an infinity"), "{fed}");
    }
}

#[test]
fn an_update_that_spoils_a_parameter_is_named() {
    for (name, device) in devices() {
        let spoilt = |rate: f32| {
            let params = Params::seeded(1);
            let weight = params.param("fc.weight", [4], Init::Constant(1.0));
            let error = named(&device, [1e30; 4], |x| {
                let loss = (x.graph().param(&weight) * (x * 1e-20)).sum_all();
                Sgd::new(&params, rate).minimize(loss, &params.trainable());
            });
            error.map(|e| (e.op, e.scope))
        };
        assert_eq!(spoilt(1e3), None, "{name}");
        assert_eq!(spoilt(1e38), Some(("sgd_update".into(), "sgd.fc.weight".into())), "{name}");
    }
}

/// Overflow is how a scale is found: what comes after the loss is left alone then.
#[test]
fn gradients_that_a_loss_scale_makes_overflow_are_no_fault() {
    for (name, device) in devices() {
        let params = Params::seeded(1);
        let weight = params.param("weight", [4], Init::Constant(1.0));
        let record = |x: Var<'_>| {
            let loss = (x.graph().param(&weight) * x).log().sum_all();
            LossScale::new(&params, Sgd::new(&params, 0.0)).initial(1e6).minimize(loss, &params.trainable());
        };
        assert!(named(&device, [1e-36; 4], record).is_none(), "{name}");
        assert_eq!(named(&device, [-1.0; 4], record).map(|e| e.op), Some("log".into()), "{name}");
    }
}

#[test]
fn what_was_not_looked_at_is_an_error() {
    // A user's outputs may be called anything.
    let g = Graph::new();
    g.check_numerics();
    g.output("numerics", g.input("x", [1]).log());
    let mut step = Device::cpu().compile(&g).unwrap();
    step.run_with(&[("x", (&[-1.0f32]).into())]).unwrap();
    assert!(matches!(step.check_numerics(), Err(Error::Numerics(_))));
    g.output("wgrad.numerics", g.scalar(1.0));
    assert!(Device::cpu().compile(&g).unwrap_err().to_string().contains("`wgrad.numerics` already"));
    let g = Graph::new();
    g.output("y", g.input("x", [1]).log());
    let mut step = Device::cpu().compile(&g).unwrap();
    step.run_with(&[("x", (&[-1.0f32]).into())]).unwrap();
    let text = step.check_numerics().unwrap_err().to_string();
    assert!(text.contains("Graph::check_numerics"), "{text}");
}
