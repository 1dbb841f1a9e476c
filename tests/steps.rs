//! The recorded step: what it makes, when it waits, what it reports, and the check that watches it.
#![allow(missing_docs, clippy::unwrap_used)]

mod common;

use std::sync::{Arc, Mutex};

use wgrad::gpu::{Gpu, PlantedFault};
use wgrad::nn::{Layer, Mlp};
use wgrad::ops::{Arg, Dispatch, In, Kernel, KernelContext, Op, Out, Program, Real, Reference, Traits};
use wgrad::optim::{Adam, Optimizer};
use wgrad::{CheckKind, Device, Error, Graph, Params, Result, Step, TensorType};

fn training_step(device: &Device, params: &Params) -> Result<Step> {
    let net = Mlp::new(&params.at("mlp"), &[20, 16, 12, 5]);
    let g = Graph::new();
    let (x, y) = (g.input("x", [8, 20]), g.classes("y", [8]));
    let loss = net.forward(x).softmax_cross_entropy(y);
    Adam::new(params, 1e-2).minimize(loss, &params.trainable());
    g.output("loss", loss);
    let mut step = device.compile(&g)?;
    step.feed("x", &(0..160).map(|i| ((i * 37 % 101) as f32) / 50.0 - 1.0).collect::<Vec<f32>>())?;
    step.feed("y", &[0u32, 1, 2, 3, 4, 0, 1, 2])?;
    Ok(step)
}

#[test]
fn a_step_makes_no_object_after_its_first_run() {
    for gpu in common::gpus() {
        let device = Device::from(gpu.clone());
        let mut step = training_step(&device, &Params::seeded(1)).unwrap();
        step.run().unwrap();
        step.scalar("loss").unwrap();
        let before = gpu.object_counts();
        assert!(before.buffers > 5 && before.bind_groups > 5 && before.pipelines > 3, "{before:?}");
        for _ in 0..50 {
            step.run().unwrap();
            step.scalar("loss").unwrap();
        }
        assert_eq!(gpu.object_counts(), before);
    }
}

#[test]
fn a_second_graph_of_the_same_kernels_makes_no_pipeline() {
    let Some(gpu) = common::gpu() else { return };
    let device = Device::from(gpu.clone());
    let params = Params::seeded(1);
    training_step(&device, &params).unwrap().run().unwrap();
    let before = gpu.object_counts().pipelines;
    training_step(&device, &Params::seeded(2)).unwrap().run().unwrap();
    assert_eq!(gpu.object_counts().pipelines, before);
}

#[test]
fn several_graphs_share_the_parameters() {
    for device in [Some(Device::cpu()), common::gpu().map(Device::from)].into_iter().flatten() {
        let params = Params::seeded(1);
        let mut training = training_step(&device, &params).unwrap();
        let net = Mlp::new(&params.at("mlp").shared(), &[20, 16, 12, 5]);
        let g = Graph::inference();
        g.output("sum", net.forward(g.full([3, 20], 0.5)).sum_all());
        let mut evaluation = device.compile(&g).unwrap();
        evaluation.run().unwrap();
        let before = evaluation.scalar("sum").unwrap();
        training.run().unwrap();
        evaluation.run().unwrap();
        assert_ne!(evaluation.scalar("sum").unwrap(), before);
    }
}

#[test]
fn ten_losses_agree_with_the_reference() {
    for gpu in common::gpus() {
        let losses = |device: Device| -> Vec<f32> {
            let mut step = training_step(&device, &Params::seeded(5)).unwrap();
            let mut one = || {
                step.run().unwrap();
                step.scalar("loss").unwrap()
            };
            (0..10).map(|_| one()).collect()
        };
        let (expected, actual) = (losses(Device::reference()), losses(gpu.into()));
        for (a, e) in actual.iter().zip(&expected) {
            assert!((a - e).abs() <= 1e-5 * e.abs(), "{actual:?} against {expected:?}");
        }
        assert!(expected[9] < expected[0]);
    }
}

#[test]
fn a_seed_is_bitwise_reproducible() {
    for gpu in common::gpus() {
        let device = Device::from(gpu);
        let run = || {
            let params = Params::seeded(9);
            let mut step = training_step(&device, &params).unwrap();
            (0..30).for_each(|_| step.run().unwrap());
            let weights = params.all().iter().map(|p| device.read_param(p).unwrap()).collect::<Vec<_>>();
            (step.scalar("loss").unwrap().to_bits(), format!("{weights:?}"))
        };
        assert_eq!(run(), run());
    }
}

fn check_error(gpu: &Gpu, fault: PlantedFault) -> wgrad::CheckError {
    let mut step = training_step(&gpu.with_fault(fault).into(), &Params::seeded(1)).unwrap();
    match step.run() {
        Err(Error::Check(error)) => *error,
        other => panic!("the planted fault was not found: {other:?}"),
    }
}

#[test]
fn the_check_passes_where_nothing_is_wrong() {
    for gpu in common::gpus() {
        let mut step = training_step(&gpu.checked().into(), &Params::seeded(1)).unwrap();
        (0..3).for_each(|_| step.run().unwrap());
    }
}

#[test]
fn the_check_names_a_planted_shader_fault() {
    for gpu in common::gpus() {
        let fault = PlantedFault::Shader { key: "relu_grad", from: "y <= 0.0", to: "y > 0.0" };
        let error = check_error(&gpu, fault);
        assert_eq!((error.kind, error.op.as_str()), (CheckKind::Kernel, "relu_grad"));
        assert!(error.location.contains("sequential.rs") || error.location.contains("steps.rs"), "{error}");
        let fault = PlantedFault::Shader { key: "matmul_tile_nt", from: "b1_0,", to: "b2_0," };
        let lanes = gpu.caps().class != wgrad::ops::AdapterClass::Gpu;
        if lanes {
            let error = check_error(&gpu, fault);
            assert_eq!((error.kind, error.op.as_str()), (CheckKind::Kernel, "matmul_nt"));
            assert_eq!(error.scope, "mlp.fc1");
        }
    }
}

#[test]
fn the_check_names_a_planted_memory_fault() {
    for gpu in common::gpus() {
        let error = check_error(&gpu.unjoined(), PlantedFault::Memory);
        assert_eq!(error.kind, CheckKind::Memory, "{error}");
        assert!(error.detail.contains("changed since it was written"), "{error}");
    }
}

#[test]
fn a_class_outside_its_range_is_named_by_row() {
    for device in [Some(Device::cpu()), common::gpu().map(Device::from)].into_iter().flatten() {
        let mut step = training_step(&device, &Params::seeded(1)).unwrap();
        let error = step.feed("y", &[0u32, 1, 2, 9, 4, 0, 1, 2]).unwrap_err().to_string();
        assert!(error.contains("row 3 holds 9, outside 0..5"), "{error}");
        // Nothing was lost: the old labels are still there.
        step.run().unwrap();
    }
}

#[test]
fn a_forgotten_input_a_wrong_name_and_a_wrong_size_are_explained() {
    for device in [Some(Device::cpu()), common::gpu().map(Device::from)].into_iter().flatten() {
        let g = Graph::new();
        g.output("y", g.input("x", [4]).exp());
        let mut step = device.compile(&g).unwrap();
        assert!(step.run().unwrap_err().to_string().contains("`x`: was never fed"));
        assert!(step.feed("z", &[1.0f32]).unwrap_err().to_string().contains("there is `x`"));
        assert!(step.feed("x", &[1.0f32]).unwrap_err().to_string().contains("got 1"));
        assert!(step.feed("x", &[1u32; 4]).unwrap_err().to_string().contains("u32"));
        assert!(step.read("w").unwrap_err().to_string().contains("there is `y`"));
    }
}

/// Keeps the fields of every warning.
#[derive(Clone, Default)]
struct Warnings(Arc<Mutex<Vec<String>>>);

impl tracing::Subscriber for Warnings {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() == tracing::Level::WARN
    }
    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }
    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn event(&self, event: &tracing::Event<'_>) {
        struct Fields<'a>(&'a mut String);
        impl tracing::field::Visit for Fields<'_> {
            fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
                self.0.push_str(&format!("{field}={value:?} "));
            }
        }
        let mut text = String::new();
        event.record(&mut Fields(&mut text));
        self.0.lock().unwrap().push(text);
    }
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

/// The mask's one reader is a value that no output needs: it may be left out, is checked where it is fed, and changes
/// nothing. `x` is needed through a reshape.
#[test]
fn an_input_that_feeds_nothing_need_not_be_fed() {
    for device in [Some(Device::cpu()), common::gpu().map(Device::from)].into_iter().flatten() {
        let g = Graph::new();
        let (x, mask, unread) = (g.input("x", [2, 2]), g.input("mask", [4]), g.classes("unread", [3]));
        let _ = (x.reshape([4]) * mask, unread);
        g.output("y", x.reshape([4]) + 1.0);
        let warnings = Warnings::default();
        let mut step = tracing::subscriber::with_default(warnings.clone(), || device.compile(&g)).unwrap();
        let told = warnings.0.lock().unwrap().join("\n");
        assert!(told.contains("mask") && told.contains("unread") && !told.contains("input=\"x\""), "{told}");
        assert!(told.contains("need not be fed"), "{told}");
        assert!(step.run().unwrap_err().to_string().contains("`x`: was never fed"));
        step.feed("x", &[1.0f32, 2.0, 3.0, 4.0]).unwrap();
        step.run().unwrap();
        assert_eq!(step.values("y").unwrap(), [2.0, 3.0, 4.0, 5.0]);
        step.run_with(&[("mask", (&[f32::NAN; 4]).into()), ("unread", (&[7u32, 8, 9]).into())]).unwrap();
        assert_eq!(step.values("y").unwrap(), [2.0, 3.0, 4.0, 5.0]);
        assert!(step.feed("mask", &[1.0f32]).unwrap_err().to_string().contains("got 1"));
    }
}

#[test]
fn mistakes_carry_scope_and_line() {
    let g = Graph::new();
    let x = g.input("x", [2, 3]);
    let y = {
        let _outer = g.scope("encoder");
        let _inner = g.scope("attention");
        x + g.input("b", [4])
    };
    // Code that goes on computing with the failed value does not panic.
    let z = y.reshape([y.dim(0), 7]).sum_all();
    g.output("z", z);
    let text = Device::cpu().compile(&g).unwrap_err().to_string();
    assert!(
        text.contains("encoder.attention") && text.contains("steps.rs") && text.contains("[2, 3]"),
        "{text}"
    );
}

#[test]
fn values_of_another_graph_are_refused() {
    let (a, b) = (Graph::new(), Graph::new());
    let _ = a.input("x", [2]) + b.input("x", [2]);
    assert!(a.error().is_some_and(|e| e.to_string().contains("different graphs")));
}

#[test]
fn reading_a_state_after_its_update_is_a_mistake() {
    let params = Params::seeded(1);
    let w = params.param("w", [3], wgrad::Init::Constant(1.0));
    let g = Graph::new();
    let before = g.param(&w);
    Adam::new(&params, 0.1).minimize(before.square().sum_all(), std::slice::from_ref(&w));
    let _ = before.exp();
    let text = g.error().unwrap().to_string();
    assert!(text.contains("`w` as it was before an update"), "{text}");
}

#[test]
fn a_missing_derivative_is_an_error_never_a_zero() {
    let g = Graph::new();
    let x = g.input("x", [3]);
    let index = g.classes("i", [2]);
    g.gradients(x.argmax(0).to_f32().sum_all(), &[x]);
    // argmax is piecewise constant: its integers carry no gradient, and that is zero by definition.
    assert!(g.error().is_none());
    g.gradients(index.to_f32().sum_all(), &[index]);
    assert!(g.error().is_some_and(|e| e.to_string().contains("only floats have gradients")));
}

#[test]
fn a_tensor_beyond_the_adapters_limit_is_a_typed_error() {
    let Some(gpu) = common::gpu() else { return };
    let limit = gpu.device().limits().max_storage_buffer_binding_size as usize;
    if limit / 4 > 1 << 31 {
        return;
    }
    let g = Graph::new();
    let n = limit / 4 + 1024;
    g.output("y", g.input("x", [n]).exp());
    match Device::from(gpu).compile(&g) {
        Err(Error::Limit(text)) => assert!(text.contains("MiB"), "{text}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn readback_is_a_future() {
    let Some(gpu) = common::gpu() else { return };
    let g = Graph::new();
    g.output("y", g.input("x", [2]) * 2.0);
    let mut step = Device::from(gpu).compile(&g).unwrap();
    step.run_with(&[("x", (&[1.0f32, 2.0]).into())]).unwrap();
    let value = pollster::block_on(step.read("y").unwrap()).unwrap();
    assert_eq!(value.as_f32(), [2.0, 4.0]);
}

#[test]
fn steps_can_move_to_another_thread() {
    let device = common::gpu().map_or_else(Device::cpu, Device::from);
    let mut step = training_step(&device, &Params::seeded(1)).unwrap();
    let loss = std::thread::spawn(move || {
        step.run().unwrap();
        step.scalar("loss").unwrap()
    });
    assert!(loss.join().unwrap().is_finite());
}

/// wgpu's noop backend validates a whole recording with no driver at all.
#[test]
fn recordings_are_valid_without_a_driver() {
    let descriptor = wgpu::DeviceDescriptor::default();
    let (device, queue) = wgpu::Device::noop(&descriptor);
    let gpu = Gpu::from_wgpu(device, queue);
    for class in [wgrad::ops::AdapterClass::Gpu, wgrad::ops::AdapterClass::Software] {
        let mut step = training_step(&gpu.with_class(class).into(), &Params::seeded(1)).unwrap();
        step.run().unwrap();
        assert!(step.dispatches() > 10);
    }
}

/// Indices that reach an op by ways that feeding cannot check give NaN, loudly, and never a neighbour's row.
#[test]
fn indices_out_of_range_give_nan_on_the_gpu() {
    for gpu in common::gpus() {
        let device = Device::from(gpu);
        let g = Graph::new();
        let (a, b) = (g.classes("a", [2]), g.classes("b", [2]));
        let index = a.concat(&[b], 0);
        let x = g.input("x", [4, 3]);
        g.output("picked", x.pick(index));
        g.output("rows", g.input("table", [3, 2]).take_rows(index));
        g.output("hot", index.one_hot(3));
        let loss = x.cross_entropy_per_row(index);
        g.output("loss", loss);
        g.output("dx", g.gradients(loss.sum_all(), &[x])[0]);
        let mut step = device.compile(&g).unwrap();
        let x: Vec<f32> = (0..12).map(|i| i as f32 * 0.1).collect();
        step.feed("x", &x).unwrap();
        step.feed("table", &x[..6]).unwrap();
        step.feed("a", &[0u32, 7]).unwrap();
        step.feed("b", &[2u32, u32::MAX]).unwrap();
        step.run().unwrap();
        let nan = |name: &str, step: &mut Step| -> Vec<bool> {
            step.values(name).unwrap().iter().map(|v| v.is_nan()).collect()
        };
        let rows =
            |n: usize| -> Vec<bool> { [false, true, false, true].iter().flat_map(|&b| vec![b; n]).collect() };
        assert_eq!(nan("picked", &mut step), rows(1));
        assert_eq!(nan("rows", &mut step), rows(2));
        assert_eq!(nan("loss", &mut step), rows(1));
        assert_eq!(nan("dx", &mut step), rows(3));
        let hot = step.values("hot").unwrap();
        assert_eq!(hot[..3], [1.0, 0.0, 0.0]);
        assert!(hot[3..6].iter().all(|v| v.is_nan() || *v == 0.0), "{hot:?}");
    }
}

#[test]
fn a_constant_class_outside_its_range_is_a_mistake() {
    let g = Graph::new();
    let classes = g.constant(wgrad::Tensor::new([2], vec![1u32, 9]).unwrap());
    let _ = g.input("x", [2, 5]).softmax_cross_entropy(classes);
    assert!(g.error().unwrap().to_string().contains("row 1 holds 9, outside 0..5"));
}

#[test]
fn two_threads_compile_over_one_store() {
    let Some(gpu) = common::gpu() else { return };
    let device = Device::from(gpu);
    for round in 0..5 {
        let params = Params::seeded(round);
        let net = Mlp::new(&params.at("mlp"), &[20, 16, 12, 5]);
        let evaluation = || {
            let g = Graph::inference();
            g.output("sum", net.forward(g.full([3, 20], 0.5)).sum_all());
            device.compile(&g).unwrap()
        };
        let (mut training, mut evaluation) = std::thread::scope(|s| {
            let t = s.spawn(|| training_step(&device, &params.shared()).unwrap());
            let e = s.spawn(evaluation);
            (t.join().unwrap(), e.join().unwrap())
        });
        evaluation.run().unwrap();
        let before = evaluation.scalar("sum").unwrap();
        training.run().unwrap();
        evaluation.run().unwrap();
        assert_ne!(evaluation.scalar("sum").unwrap(), before);
    }
}

#[test]
fn a_value_that_is_no_number_stays_one() {
    for device in common::gpus().into_iter().map(Device::from).chain([Device::cpu()]) {
        let g = Graph::new();
        let x = g.input("x", [7]);
        g.output("relu", x.relu());
        g.output("dx", g.gradients(x.relu().sum_all(), &[x])[0]);
        let mut step = device.compile(&g).unwrap();
        let fed = [f32::NAN, -f32::NAN, f32::NEG_INFINITY, -1.0, -0.0, 0.0, 2.0];
        step.run_with(&[("x", (&fed).into())]).unwrap();
        let y = step.values("relu").unwrap();
        let kept = y[..2].iter().all(|y| y.is_nan());
        assert!(kept && y[2..] == [0.0, 0.0, 0.0, 0.0, 2.0], "{}: {y:?}", device.info());
        assert_eq!(step.values("dx").unwrap()[2..], [0.0, 0.0, 0.0, 0.0, 1.0]);
    }
}

#[test]
fn binary_cross_entropy_has_its_gradient_at_zero() {
    for device in common::gpus().into_iter().map(Device::from).chain([Device::cpu()]) {
        let g = Graph::new();
        let (z, y) = (g.input("z", [2]), g.input("y", [2]));
        let loss = wgrad::losses::binary_cross_entropy(z, y);
        g.output("dz", g.gradients(loss, &[z])[0]);
        let mut step = device.compile(&g).unwrap();
        step.run_with(&[("z", (&[0.0f32, 0.0]).into()), ("y", (&[0.0f32, 1.0]).into())]).unwrap();
        assert_eq!(step.values("dz").unwrap(), [0.25, -0.25]);
    }
}

#[test]
fn a_thawed_parameter_starts_its_own_count() {
    let device = Device::cpu();
    let params = Params::seeded(1);
    let (a, b) = (
        params.param("a", [1], wgrad::Init::Constant(1.0)),
        params.param("b", [1], wgrad::Init::Constant(1.0)),
    );
    let adam = Adam::new(&params, 0.1);
    let step_of = |list: &[wgrad::Param]| {
        let g = Graph::new();
        adam.minimize((g.param(&a) * 3.0 + g.param(&b) * 2.0).sum_all(), list);
        device.compile(&g).unwrap()
    };
    let mut first = step_of(std::slice::from_ref(&a));
    (0..100).for_each(|_| first.run().unwrap());
    step_of(&[a.clone(), b.clone()]).run().unwrap();
    // The first step of Adam moves by the learning rate, whatever the gradient.
    let moved = 1.0 - device.read_param(&b).unwrap().as_f32()[0];
    assert!((moved - 0.1).abs() < 1e-6, "{moved}");
}

/// An op from outside the crate that draws by a counter: here it gives the counter itself.
#[derive(Debug, Clone)]
struct Draws;

impl<T: Real> Reference<T> for Draws {
    fn eval(&self, inputs: &[In<'_, T>], outputs: &mut [Out<'_, T>]) -> std::result::Result<(), String> {
        outputs[0].f()[0] = T::of(f64::from(inputs[0].u32()[0]));
        Ok(())
    }
}

impl Op for Draws {
    fn name(&self) -> &'static str {
        "draws"
    }

    fn infer(&self, inputs: &[TensorType]) -> std::result::Result<Vec<TensorType>, String> {
        Ok(vec![TensorType::f32(inputs[0].shape)])
    }

    fn traits(&self) -> Traits {
        Traits::default().drawing_by(0)
    }

    fn dispatch(&self, _: &KernelContext<'_>) -> Result<Program> {
        let text = "@group(0) @binding(0) var<storage, read> counter: array<u32>;\n\
            @group(0) @binding(1) var<storage, read_write> y: array<f32>;\n\
            @compute @workgroup_size(1)\nfn draws() { y[0] = f32(counter[0]); }\n";
        let kernel = Kernel::custom("draws", "draws", text);
        Ok(Dispatch::new(kernel, vec![Arg::Input(0), Arg::Output(0)], &[0u32; 0], [1, 1, 1]).into())
    }
}

#[test]
fn counters_of_ops_from_outside_move_on() {
    let devices = common::gpus().into_iter().map(Device::from).chain([Device::cpu()]);
    for device in devices {
        let params = Params::seeded(1);
        let counter = params.counter("mine");
        let g = Graph::new();
        // Two that draw by one counter draw alike in a run.
        g.output("a", g.custom(Draws, &[g.param(&counter)])[0]);
        g.output("b", g.custom(Draws, &[g.param(&counter)])[0]);
        let mut step = device.compile(&g).unwrap();
        for run in 0..4 {
            step.run().unwrap();
            let found = [step.scalar("a").unwrap(), step.scalar("b").unwrap()];
            assert_eq!(found, [run as f32; 2], "{}", device.info());
        }
    }
}
