//! Mixed precision: what 16 bits keep of a number, steps against those in 32 bits, and training.
#![allow(missing_docs, clippy::unwrap_used)]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use wgrad::bench::Workload;
use wgrad::data::{Split, digits};
use wgrad::gpu::{Gpu, PlantedFault};
use wgrad::nn::{BatchNorm1d, Cnn, Layer, Linear, Mlp, ResNet};
use wgrad::ops::{Arg, Dispatch, In, Kernel, KernelContext, Op, Out, Program, Real, Reference};
use wgrad::optim::{Adam, LossScale, Optimizer, Schedule};
use wgrad::train::{Keep, Observer, Trainer};
use wgrad::{
    CheckKind, CompileOptions, Device, Error, Graph, Param, Params, Precision, Step, Tensor, TensorType, Var,
};

fn mixed() -> CompileOptions {
    CompileOptions::new().precision(Precision::Mixed)
}

/// Adapters with 16-bit floats; the others must refuse, and say what to do.
fn capable() -> Vec<Gpu> {
    let (capable, others): (Vec<Gpu>, Vec<Gpu>) = common::gpus().into_iter().partition(Gpu::has_f16);
    for gpu in others {
        let g = Graph::new();
        g.output("y", g.input("x", [4]) + 1.0);
        let error = Device::from(gpu.clone()).compile_with(&g, mixed()).unwrap_err();
        assert!(matches!(error, Error::Adapter(_)), "{error}");
        assert!(error.to_string().contains("use f32 there, or another adapter"), "{error}");
        println!("SKIPPED: {error}");
    }
    capable
}

fn devices() -> Vec<Device> {
    [Device::cpu(), Device::reference()].into_iter().chain(capable().into_iter().map(Device::from)).collect()
}

#[test]
fn storing_rounds_to_the_nearest_and_overflows_to_infinity() {
    // What half precision makes of them: ties to even, 65520 is the first that is infinite.
    let cases = [
        (1.0, 1.0),
        (1.0 + 1.0 / 2048.0, 1.0),
        (1.0 + 3.0 / 2048.0, 1.0 + 2.0 / 1024.0),
        (1.0 + 1.1 / 2048.0, 1.0 + 1.0 / 1024.0),
        (-0.1, -0.099_975_586),
        (std::f32::consts::PI, 3.140_625),
        (65_504.0, 65_504.0),
        (65_519.99, 65_504.0),
        (65_520.0, f32::INFINITY),
        (-1e9, f32::NEG_INFINITY),
        (f32::INFINITY, f32::INFINITY),
        (6.103_515_6e-5, 6.103_515_6e-5),
        (0.0, 0.0),
        (1e-9, 0.0),
    ];
    let n = 512;
    for device in devices() {
        let g = Graph::new();
        // A value between two kernels, in an odd place.
        g.output("y", (g.input("x", [n]) * 1.0).slice(0, 3, n - 3));
        let mut step = device.compile_with(&g, mixed()).unwrap();
        let x: Vec<f32> = (0..n).map(|i| cases[i % cases.len()].0).collect();
        step.run_with(&[("x", (&x).into())]).unwrap();
        for (i, y) in step.values("y").unwrap().into_iter().enumerate() {
            let (x, expected) = cases[(i + 3) % cases.len()];
            assert_eq!(y, expected, "{x:e} on {device:?}");
        }
        // Numbers below the normal ones are kept as multiples of 2^-24, or flushed.
        let small: Vec<f32> =
            (0..n).map(|i| i as f32 / f32::from(1u16 << 12) / f32::from(1u16 << 12)).collect();
        step.run_with(&[("x", (&small).into())]).unwrap();
        let kept = step.values("y").unwrap();
        let flushed = kept.iter().zip(&small[3..]).filter(|(y, x)| **y == 0.0 && **x > 0.0).count();
        let exact = kept.iter().zip(&small[3..]).filter(|(y, x)| y == x).count();
        println!("{device:?}: of {} subnormal numbers {exact} were kept and {flushed} flushed", kept.len());
        assert_eq!(exact + flushed, kept.len());
        let nan = vec![f32::NAN; n];
        step.run_with(&[("x", (&nan).into())]).unwrap();
        assert!(step.values("y").unwrap().iter().all(|y| y.is_nan()));
    }
}

/// A training step with dynamic loss scaling on some numbers.
fn training(
    device: &Device,
    options: CompileOptions,
    shape: &[usize],
    model: impl for<'g> FnOnce(&Params, Var<'g>) -> Var<'g>,
) -> Step {
    let params = Params::seeded(1);
    let g = Graph::new();
    let (x, y) = (g.input("x", shape), g.classes("y", [shape[0]]));
    let loss = model(&params, x).softmax_cross_entropy(y);
    LossScale::new(&params, Adam::new(&params, 1e-3)).minimize(loss, &params.trainable());
    g.output("loss", loss);
    let mut step = device.compile_with(&g, options).unwrap();
    let n: usize = shape.iter().product();
    step.feed("x", &(0..n).map(|i| ((i * 37 % 101) as f32) / 101.0).collect::<Vec<f32>>()).unwrap();
    step.feed("y", &(0..shape[0]).map(|i| (i * 7 % 10) as u32).collect::<Vec<u32>>()).unwrap();
    step
}

fn mlp<'g>(params: &Params, x: Var<'g>) -> Var<'g> {
    Mlp::new(&params.at("mlp"), &[64, 96, 33, 10]).dropout(0.1).forward(x)
}

fn cnn<'g>(params: &Params, x: Var<'g>) -> Var<'g> {
    Cnn::new(&params.at("cnn"), [1, 9, 8], &[8, 12], 10).forward(x)
}

fn resnet<'g>(params: &Params, x: Var<'g>) -> Var<'g> {
    ResNet::new(&params.at("resnet"), 1, &[8, 12], 1, 10).forward(x)
}

fn losses(mut step: Step, steps: usize) -> Vec<f32> {
    (0..steps)
        .map(|_| {
            step.run().unwrap();
            step.scalar("loss").unwrap()
        })
        .collect()
}

#[test]
fn losses_follow_those_in_32_bits_and_repeat_to_the_bit() {
    type Model = for<'g> fn(&Params, Var<'g>) -> Var<'g>;
    let models: [(&str, Model, &[usize]); 3] =
        [("mlp", mlp, &[24, 64]), ("cnn", cnn, &[24, 1, 9, 8]), ("resnet", resnet, &[24, 1, 9, 8])];
    for (name, model, shape) in models {
        let exact = losses(training(&Device::reference(), CompileOptions::new(), shape, model), 10);
        for device in devices() {
            let of = |options| losses(training(&device, options, shape, model), 10);
            let found = of(mixed());
            let worst = exact.iter().zip(&found).map(|(e, a)| (e - a).abs()).fold(0.0, f32::max);
            println!("{name} on {device:?}: losses of 10 steps differ by up to {worst:.1e}");
            assert!(worst > 0.0 && worst < 0.03, "{name} on {device:?}: {exact:?} {found:?}");
            assert!(found[9] < found[0], "{found:?}");
            let bits = |v: &[f32]| v.iter().map(|x| x.to_bits()).collect::<Vec<u32>>();
            assert_eq!(bits(&of(mixed())), bits(&found), "{name} on {device:?}");
        }
    }
}

#[test]
fn resnet18_learns_in_16_bits() {
    fn model<'g>(params: &Params, x: Var<'g>) -> Var<'g> {
        ResNet::resnet18(params, 1, 10).forward(x)
    }
    let found = losses(training(&Device::cpu(), mixed(), &[16, 1, 8, 8], model), 12);
    println!("{found:?}");
    assert!(found.iter().all(|loss| loss.is_finite()) && found[11] < 0.3 * found[0], "{found:?}");
}

#[test]
fn the_check_passes_and_finds_a_planted_fault() {
    for gpu in capable() {
        for gpu in [gpu.checked(), gpu.unfused().checked()] {
            let device = Device::from(gpu);
            losses(training(&device, mixed(), &[24, 64], mlp), 2);
            losses(training(&device, mixed(), &[24, 1, 9, 8], cnn), 2);
            losses(training(&device, mixed(), &[24, 1, 9, 8], resnet), 2);
        }
        // A value that is stored a little too large.
        let fault = PlantedFault::Shader { key: "tanh", from: "f16>(v", to: "f16>(1.01 * v" };
        let g = Graph::new();
        g.output("y", g.input("x", [512]).tanh().sum_all());
        let mut step = Device::from(gpu.unfused().with_fault(fault)).compile_with(&g, mixed()).unwrap();
        match step.run_with(&[("x", (&[0.5f32; 512]).into())]) {
            Err(Error::Check(found)) => assert_eq!((found.kind, &*found.op), (CheckKind::Kernel, "tanh")),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn mixed_precision_plans_less_memory() {
    for gpu in capable() {
        let device = Device::from(gpu);
        // docs/BENCHMARKS.md has the shares. What stays in 32 bits counts too: gradients of weights, sums, partial sums.
        let shares =
            [("cnn-a", 0.7), ("cnn-8", 0.65), ("mlp-b", 0.95), ("lstm", 0.73), ("transformer", 0.77)];
        for (name, most) in shares {
            let workload = &Workload::named(name).unwrap()[0];
            let planned = |options| workload.compile_with(&device, options).unwrap().step().planned_bytes();
            let (full, half) = (planned(CompileOptions::new()), planned(mixed()));
            let share = half as f64 / full as f64;
            println!(
                "{device:?}: {name} plans {full} bytes in 32 bits, {share:.2} times that in mixed precision"
            );
            assert!(share < most, "{name}: {half} of {full}");
            if name == "cnn-a" {
                // Budgets count what mixed precision needs.
                let bounded = planned(mixed().memory_budget(half));
                assert!(bounded <= half);
            }
        }
    }
}

/// Learns the digits, in few epochs. Gives the share of the test rows that are right.
fn accuracy(device: &Device, precision: Precision, seed: u64) -> f64 {
    let params = Params::seeded(seed);
    let model = Cnn::new(&params.at("cnn"), [1, 8, 8], &[16, 32], 10);
    let adam = Adam::new(&params, 3e-3);
    let optimizer: Box<dyn Optimizer> = match precision {
        Precision::Mixed => Box::new(LossScale::new(&params, adam)),
        _ => Box::new(adam),
    };
    let (train, test) = digits().unwrap();
    let trainer = Trainer::new(device, &model, &params, optimizer, Split::new(train, test, 144).unwrap());
    let trainer = trainer.epochs(12).batch(32).seed(seed).keep(Keep::Last).precision(precision);
    let trainer = trainer.schedule(|epoch, epochs| Schedule::Cosine.factor(epoch, epochs));
    trainer.run(&mut ()).unwrap().test.accuracy()
}

#[test]
fn the_digits_are_learned_as_well_as_in_32_bits() {
    let mean = |device: &Device, precision| {
        let of = |seed| accuracy(device, precision, seed);
        (1..=3).map(of).sum::<f64>() / 3.0
    };
    for device in [Device::cpu()].into_iter().chain(capable().into_iter().map(Device::from)) {
        let (full, half) = (mean(&device, Precision::F32), mean(&device, Precision::Mixed));
        println!("{device:?}: {full:.4} of the test rows right in 32 bits, {half:.4} in mixed precision");
        assert!(full > 0.93, "{full}");
        // 360 rows, three times: a row is 0.1 percentage points.
        assert!((full - half).abs() <= 0.0125, "{full} {half}");
    }
}

/// Weights so large that gradients leave half precision where the scale is large: they overflow until it has fallen.
#[test]
fn gradients_that_overflow_lower_the_scale_until_training_goes_on() {
    for device in devices() {
        let params = Params::seeded(1);
        let net = Mlp::new(&params.at("mlp"), &[64, 64, 64, 10]);
        let scaled = LossScale::new(&params, Adam::new(&params, 1e-2)).initial(16_777_216.0);
        let g = Graph::new();
        let (x, y) = (g.input("x", [32, 64]), g.classes("y", [32]));
        let loss = net.forward(x).softmax_cross_entropy(y);
        scaled.minimize(loss, &params.trainable());
        g.output("loss", loss);
        let mut step = device.compile_with(&g, mixed()).unwrap();
        step.feed("x", &(0..32 * 64).map(|i| ((i * 37 % 101) as f32) / 25.0).collect::<Vec<f32>>()).unwrap();
        step.feed("y", &(0..32).map(|i| (i * 7 % 10) as u32).collect::<Vec<u32>>()).unwrap();
        let scale = || device.read_param(&scaled.scale_state()).unwrap().as_f32()[0];
        let weight = params.get("mlp.fc1.weight").unwrap();
        let before = device.read_param(&weight).unwrap();
        step.run().unwrap();
        let first = step.scalar("loss").unwrap();
        // In the first step they overflow: nothing is updated.
        assert_eq!(scale(), 8_388_608.0, "{device:?}");
        assert_eq!(device.read_param(&weight).unwrap(), before);
        step.run_many(99).unwrap();
        let last = step.scalar("loss").unwrap();
        println!("{device:?}: loss {first} to {last}, scale 2^{}", scale().log2());
        assert!(
            scale() < 8_388_608.0 && last.is_finite() && last < 0.2 * first,
            "{device:?}: {first} {last}"
        );
        // In 32 bits they do not overflow.
        let params = Params::seeded(1);
        let scaled = LossScale::new(&params, Adam::new(&params, 1e-2)).initial(16_777_216.0);
        let net = Mlp::new(&params.at("mlp"), &[64, 64, 64, 10]);
        let g = Graph::new();
        let loss = net.forward(g.full([32, 64], 4.0)).softmax_cross_entropy(g.classes("y", [32]));
        scaled.minimize(loss, &params.trainable());
        let mut step = device.compile(&g).unwrap();
        step.run_with(&[("y", (&[1u32; 32]).into())]).unwrap();
        assert_eq!(device.read_param(&scaled.scale_state()).unwrap().as_f32(), [16_777_216.0]);
    }
}

/// Activations that overflow would leave infinity in the averages for good, though the step is left out.
#[test]
fn a_step_that_overflows_leaves_running_statistics_as_they_were() {
    for device in devices() {
        let params = Params::seeded(1);
        let (first, norm) = (Linear::new(&params.at("fc"), 64, 16), BatchNorm1d::new(&params.at("bn"), 16));
        let scaled = LossScale::new(&params, Adam::new(&params, 1e-2));
        let g = Graph::new();
        let (x, y) = (g.input("x", [32, 64]), g.classes("y", [32]));
        let loss = norm.forward(first.forward(x)).softmax_cross_entropy(y);
        scaled.minimize(loss, &params.trainable());
        let mut step = device.compile_with(&g, mixed()).unwrap();
        step.feed("y", &(0..32).map(|i| (i * 7 % 10) as u32).collect::<Vec<u32>>()).unwrap();
        let statistics = || [norm.running_mean(), norm.running_var()].map(|p| device.read_param(p).unwrap());
        let mut run = |magnitude: f32| {
            let x: Vec<f32> = (0..32 * 64).map(|i| ((i * 37 % 101) as f32 - 50.0) * magnitude).collect();
            step.run_with(&[("x", (&x).into())]).unwrap();
            let scale = device.read_param(&scaled.scale_state()).unwrap().as_f32()[0];
            (statistics(), device.read_param(first.weight()).unwrap(), scale)
        };
        let good = run(0.02);
        let bad = run(1e6);
        assert_eq!((&bad.0, &bad.1, bad.2), (&good.0, &good.1, good.2 / 2.0), "{device:?}");
        let after = run(0.02);
        assert!(after.0 != good.0 && after.1 != good.1, "{device:?}");
        let finite = |t: &Tensor| t.as_f32().iter().all(|v| v.is_finite());
        assert!(after.0.iter().all(finite) && finite(&after.1), "{device:?}: {:?}", after.0);
    }
}

/// Stops after some steps of the second epoch.
struct Stop(Arc<AtomicBool>, usize);

impl Observer for Stop {
    fn on_step(&mut self, step: usize, _: usize) {
        self.0.fetch_or(step == self.1, Ordering::Relaxed);
    }
}

/// The scale and its count of steps are part of a checkpoint.
#[test]
fn resuming_gives_the_bits_of_never_stopping() {
    for device in [Device::cpu()].into_iter().chain(capable().into_iter().map(Device::from)) {
        let folder = tempfile::tempdir().unwrap();
        let weights = |epochs: usize, stop_at: usize, resume: bool| {
            let params = Params::seeded(5);
            let model = Mlp::new(&params.at("mlp"), &[64, 24, 10]).dropout(0.2);
            // It grows every few steps, until gradients overflow.
            let optimizer = LossScale::new(&params, Adam::new(&params, 1e-2)).growth_interval(3);
            let scale = optimizer.scale_state();
            let (train, test) = digits().unwrap();
            let train = train.select("some", &(0..500).collect::<Vec<u32>>()).unwrap();
            let stop = Arc::new(AtomicBool::new(false));
            let trainer =
                Trainer::new(&device, &model, &params, optimizer, Split::new(train, test, 50).unwrap());
            let trainer =
                trainer.epochs(epochs).precision(Precision::Mixed).keep(Keep::Last).stop(stop.clone());
            let trainer = match (resume, stop_at) {
                (true, _) => trainer.resume(folder.path().join("checkpoint.safetensors")),
                (false, 0) => trainer,
                _ => trainer.out(folder.path()),
            };
            trainer.run(&mut Stop(stop, stop_at)).unwrap();
            let read = |p: &Param| device.read_param(p).unwrap();
            let all: Vec<Tensor> = params.all().iter().map(read).collect();
            (all, read(&scale).as_f32()[0])
        };
        let (whole, scale) = weights(4, 0, false);
        println!("{device:?}: the scale ends at 2^{}", scale.log2());
        assert!(scale != 65_536.0);
        weights(4, 22, false);
        assert_eq!(weights(4, 0, true).0, whole, "{device:?}");
    }
}

/// An op of the user's, which half precision would change: it tells what lies between two numbers of 16 bits.
#[derive(Debug, Clone)]
struct Remainder;

impl<T: Real> Reference<T> for Remainder {
    fn eval(&self, inputs: &[In<'_, T>], outputs: &mut [Out<'_, T>]) -> Result<(), String> {
        let one = T::one();
        outputs[0].f().iter_mut().zip(inputs[0].f()).for_each(|(y, &x)| *y = (x - one) * T::of(4096.0));
        Ok(())
    }
}

impl Op for Remainder {
    fn name(&self) -> &'static str {
        "remainder"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, String> {
        Ok(inputs.to_vec())
    }

    fn dispatch(&self, ctx: &KernelContext<'_>) -> wgrad::Result<Program> {
        let text = "@group(0) @binding(0) var<storage, read> x: array<f32>;\n\
            @group(0) @binding(1) var<storage, read_write> y: array<f32>;\n\
            @compute @workgroup_size(64)\n\
            fn remainder(@builtin(global_invocation_id) id: vec3<u32>) {\n    \
            if (id.x < arrayLength(&x)) { y[id.x] = (x[id.x] - 1.0) * 4096.0; }\n}\n";
        let grid = [ctx.inputs[0].shape.elements().div_ceil(64) as u32, 1, 1];
        let kernel = Kernel::custom("remainder", "remainder", text);
        Ok(Dispatch::new(kernel, vec![Arg::Input(0), Arg::Output(0)], &[0u32; 0], grid).into())
    }
}

#[test]
fn what_an_op_from_outside_reads_and_writes_stays_in_32_bits() {
    for device in devices() {
        let g = Graph::new();
        let x = g.input("x", [8]) * 1.0;
        // Of 1 + 1/4096 half precision would leave 1; of 4097 it would leave 4096.
        g.output("y", g.custom(Remainder, &[x])[0] + 0.0);
        let mut step = device.compile_with(&g, mixed()).unwrap();
        let x: Vec<f32> = (0..8).map(|i| 1.0 + i as f32 / 4096.0).collect();
        step.run_with(&[("x", (&x).into())]).unwrap();
        let expected: Vec<f32> = (0..8).map(|i| i as f32).collect();
        assert_eq!(step.values("y").unwrap(), expected, "{device:?}");
    }
}
