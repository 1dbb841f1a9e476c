//! The CPU device on several threads: the bits of one, and errors instead of waits.
#![allow(missing_docs, clippy::unwrap_used)]

use wgrad::bench::{Workload, uniform};
use wgrad::nn::{Layer, ResNet};
use wgrad::ops::{In, KernelContext, Op, Out, PoolOptions, Program, Real, Reference};
use wgrad::optim::{Adam, Optimizer, Sgd};
use wgrad::{Device, Graph, Params, TensorType, Var};

fn cpu(threads: usize) -> Device {
    Device::cpu_with_threads(threads).unwrap()
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

/// What `record` makes of uniform numbers, on one device.
fn run(
    device: &Device,
    shapes: &[&[usize]],
    record: &dyn for<'g> Fn(&[Var<'g>]) -> Vec<Var<'g>>,
) -> Vec<Vec<f32>> {
    let g = Graph::new();
    let names: Vec<String> = (0..shapes.len()).map(|i| format!("x{i}")).collect();
    let inputs: Vec<Var<'_>> = names.iter().zip(shapes).map(|(name, &shape)| g.input(name, shape)).collect();
    let outputs = record(&inputs);
    outputs.iter().enumerate().for_each(|(i, y)| g.output(&format!("y{i}"), *y));
    let mut step = device.compile(&g).unwrap();
    for (name, shape) in names.iter().zip(shapes) {
        let values: Vec<f32> = uniform(shape.iter().product()).iter().map(|v| v - 0.5).collect();
        step.feed(name, &values).unwrap();
    }
    step.run().unwrap();
    (0..outputs.len()).map(|i| step.values(&format!("y{i}")).unwrap()).collect()
}

/// Threads give the bits of one, which are near the plain formulas in double precision.
#[track_caller]
fn agree(shapes: &[&[usize]], record: &dyn for<'g> Fn(&[Var<'g>]) -> Vec<Var<'g>>) {
    let truth = run(&Device::reference(), shapes, record);
    let one = run(&cpu(1), shapes, record);
    for (truth, one) in truth.iter().zip(&one) {
        let size = truth.iter().fold(1f32, |m, v| m.max(v.abs()));
        let off = truth.iter().zip(one).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(off <= 2e-5 * size, "{shapes:?}: off by {off} of {size}");
    }
    for threads in [2, 3, 8] {
        let other = run(&cpu(threads), shapes, record);
        assert!(one.iter().zip(&other).all(|(a, b)| bits(a) == bits(b)), "{shapes:?}, {threads} threads");
    }
}

/// Extents around those at which work is cut.
#[test]
fn ops_give_the_same_bits_on_any_number_of_threads() {
    for n in [32_767, 32_768, 32_769, 49_153, 100_003] {
        agree(&[&[n], &[n]], &|x| {
            let y = (x[0] + x[1]).relu();
            vec![y, y.tanh() * 2.0, y.sum_all(), x[0].max(&[0])]
        });
    }
    for shape in [[5, 10_007], [2_001, 33], [40_000, 1], [3, 65_537]] {
        agree(&[&shape, &shape[1..], &[shape[0], 1]], &|x| {
            vec![x[0] + x[1], x[0] * x[2], x[1] - x[2], x[0].sum(&[0]), x[0].sum(&[1]), x[0].max(&[0])]
        });
    }
    agree(&[&[7, 1, 3001], &[5, 1]], &|x| vec![x[0] * x[1], x[1] + x[0].square()]);
    for shape in [[4, 3, 65, 127], [2, 33, 31, 32], [1, 1, 300, 300]] {
        agree(&[&shape], &|x| {
            let pools = [PoolOptions::square(2), PoolOptions::square(3).stride(1).padding(1)];
            let max = pools.map(|p| x[0].max_pool2d(p));
            let average = pools.map(|p| x[0].avg_pool2d(p, true));
            let total = max[0].square().sum_all() + max[1].square().sum_all() + average[1].square().sum_all();
            vec![max[0], max[1], average[0], average[1], x[0].graph().gradients(total, &[x[0]])[0]]
        });
    }
    for shape in [&[64, 16, 14, 14][..], &[3, 5, 61, 67], &[700, 97]] {
        let channels = &shape[1..2];
        agree(&[shape, channels, channels], &|x| {
            let [y, mean, variance] = x[0].batch_norm(x[1], x[2], 1e-3);
            let gradients = x[0].graph().gradients((y * y.tanh()).sum_all(), &[x[0], x[1], x[2]]);
            [vec![y, mean, variance], gradients].concat()
        });
    }
}

#[test]
fn products_give_the_same_bits_on_any_number_of_threads() {
    let products: [(&[usize], &[usize]); 5] = [
        (&[64, 784], &[784, 128]),
        (&[65, 300], &[300, 1000]),
        (&[1025, 257], &[257, 67]),
        (&[3, 129, 128], &[3, 128, 130]),
        (&[40, 33, 64], &[40, 64, 35]),
    ];
    for (a, b) in products {
        agree(&[a, b], &|x| vec![x[0].matmul(x[1])]);
    }
}

/// Losses and weights after some steps of training, as bits.
fn trained(device: &Device, model: &dyn Fn(&Params) -> Box<dyn Layer>, sgd: bool) -> Vec<u32> {
    let params = Params::seeded(5);
    let g = Graph::new();
    let x = g.input("x", [48, 1, 12, 12]);
    let loss = model(&params).forward(x).softmax_cross_entropy(g.classes("y", [48]));
    match sgd {
        true => Sgd::new(&params, 0.05).momentum(0.9).nesterov().minimize(loss, &params.trainable()),
        false => Adam::new(&params, 1e-3).minimize(loss, &params.trainable()),
    };
    g.output("loss", loss);
    let mut step = device.compile(&g).unwrap();
    step.feed("x", &uniform(48 * 144)).unwrap();
    step.feed("y", &(0..48).map(|i| i * 7 % 10).collect::<Vec<u32>>()).unwrap();
    let mut all = Vec::new();
    for _ in 0..5 {
        step.run().unwrap();
        all.push(step.scalar("loss").unwrap().to_bits());
    }
    for param in params.trainable() {
        all.extend(bits(device.read_param(&param).unwrap().as_f32()));
    }
    all
}

#[test]
fn training_gives_the_same_bits_on_any_number_of_threads() {
    for name in ["mlp-a", "cnn-8"] {
        let losses = |threads| {
            let mut case = Workload::named(name).unwrap()[0].compile(&cpu(threads)).unwrap();
            let mut run = |_| {
                case.step().run().unwrap();
                case.step().scalar("loss").unwrap().to_bits()
            };
            (0..6).map(&mut run).collect::<Vec<u32>>()
        };
        let one = losses(1);
        assert!(f32::from_bits(one[5]) < f32::from_bits(one[0]));
        assert_eq!(losses(2), one, "{name}");
        assert_eq!(losses(3), one, "{name}");
    }
    let resnet = |p: &Params| Box::new(ResNet::new(p, 1, &[8, 16], 1, 10)) as Box<dyn Layer>;
    for sgd in [true, false] {
        let one = trained(&cpu(1), &resnet, sgd);
        assert!(trained(&cpu(2), &resnet, sgd) == one);
        assert!(trained(&cpu(3), &resnet, sgd) == one);
    }
}

/// Its formula panics for a first element above 0.
#[derive(Debug)]
struct Panics;

impl<T: Real> Reference<T> for Panics {
    fn eval(&self, inputs: &[In<'_, T>], outputs: &mut [Out<'_, T>]) -> Result<(), String> {
        assert!(inputs[0].f()[0].wide() <= 0.0, "above zero");
        outputs[0].f().copy_from_slice(inputs[0].f());
        Ok(())
    }
}

impl Op for Panics {
    fn name(&self) -> &'static str {
        "panics"
    }
    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, String> {
        Ok(inputs.to_vec())
    }
    fn dispatch(&self, _: &KernelContext<'_>) -> wgrad::Result<Program> {
        Ok(Program::default())
    }
}

#[test]
fn a_panic_of_a_formula_is_an_error_and_the_step_goes_on() {
    let device = cpu(2);
    let g = Graph::new();
    let x = g.input("x", [40_000]);
    g.output("y", g.custom(Panics, &[x.relu()])[0] + 1.0);
    let mut step = device.compile(&g).unwrap();
    let error = step.run_with(&[("x", (&vec![1.0f32; 40_000]).into())]).unwrap_err().to_string();
    assert!(error.contains("panics") && error.contains("above zero"), "{error}");
    step.run_with(&[("x", (&vec![-1.0f32; 40_000]).into())]).unwrap();
    assert_eq!(step.values("y").unwrap(), vec![1.0; 40_000]);
}

#[test]
fn steps_on_several_threads_of_an_application_do_not_wait_for_each_other_forever() {
    let device = cpu(3);
    std::thread::scope(|scope| {
        for k in 0..4 {
            let device = device.clone();
            scope.spawn(move || {
                let y = run(&device, &[&[200, 301], &[301, 150]], &|x| vec![x[0].matmul(x[1]).tanh()]);
                assert!(y[0].iter().all(|v| v.abs() < 1.0), "{k}");
            });
        }
    });
}

#[test]
fn a_number_of_threads_that_makes_no_sense_is_refused() {
    for threads in [0, 257] {
        assert!(Device::cpu_with_threads(threads).unwrap_err().to_string().contains("1 to 256"));
    }
}
