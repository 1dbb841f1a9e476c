//! Fixed shapes, one fixed batch that lies on the device.

use crate::device::{Device, Step};
use crate::error::{Error, Result};
use crate::graph::{Graph, Init, Param, Params, Var};
use crate::nn::{Layer, Mlp};
use crate::ops::{Conv2dOptions, ConvKernels, Padding, PoolOptions};
use crate::optim::{Adam, Optimizer};
use crate::tensor::Data;

/// Multi-layer perceptrons with ReLU: name, batch, widths.
const MLPS: [(&str, usize, &[usize]); 2] =
    [("mlp-a", 64, &[784, 128, 10]), ("mlp-b", 256, &[784, 512, 512, 10])];

/// Convolutional networks: name, side of the images, whether there is pooling after the first convolution,
/// widths of the head. Batch 64 of one channel; 3×3 "same" convolutions to 16 and to 32 channels, each with
/// ReLU; 2×2 maxima after the second; then a perceptron.
const CNNS: [(&str, usize, bool, &[usize]); 2] =
    [("cnn-a", 28, true, &[1568, 128, 10]), ("cnn-8", 8, false, &[512, 64, 10])];

/// Images of every batch of [`CNNS`].
const CNN_BATCH: usize = 64;

/// The largest square matrix whose product is timed.
const MAX_MATMUL: usize = 8192;

/// Which of a convolution's three kernels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    Forward,
    InputGradient,
    WeightGradient,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    Mlp(usize),
    Cnn(usize),
    Matmul { n: usize, plain: bool },
    Conv { batch: usize, channels: [usize; 2], side: usize, direction: Direction, plain: bool },
    AddRelu(usize),
    Softmax { rows: usize, columns: usize },
    Sum(usize),
}

/// Something that is timed: a training step, or one op.
///
/// Training steps have one batch of uniform numbers and Adam at 1e-3 on the softmax cross-entropy of 10
/// classes; inputs of ops are uniform numbers. All of it lies on the device before time is taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workload {
    name: String,
    kind: Kind,
}

/// A compiled [`Workload`], fed.
#[derive(Debug)]
pub struct Case {
    device: Device,
    step: Step,
    /// States and their first values.
    states: Vec<(Param, Data)>,
}

/// One op over sizes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sweep {
    /// `add-relu`, `matmul`, `conv`, `softmax` or `sum`.
    pub op: &'static str,
    /// What is computed, in a few words.
    pub title: &'static str,
    /// What a size counts.
    pub unit: &'static str,
    /// The sizes, ascending.
    pub sizes: &'static [usize],
}

/// Columns of the sweep's softmax.
const SOFTMAX_COLUMNS: usize = 256;

impl Sweep {
    /// Every sweep there is.
    pub const ALL: [Sweep; 5] = [
        Sweep {
            op: "add-relu",
            title: "max(a + b, 0)",
            unit: "elements",
            sizes: &[1 << 10, 1 << 12, 1 << 14, 1 << 16, 1 << 18, 1 << 20, 1 << 22],
        },
        Sweep {
            op: "matmul",
            title: "n × n matrix product",
            unit: "n",
            sizes: &[16, 32, 64, 128, 256, 512, 1024],
        },
        Sweep {
            op: "conv",
            title: "3 × 3 convolution, 16 to 32 channels, batch 8",
            unit: "pixels a side",
            sizes: &[4, 8, 16, 32, 64, 128],
        },
        Sweep {
            op: "softmax",
            title: "softmax of rows of 256",
            unit: "elements",
            sizes: &[1 << 10, 1 << 12, 1 << 14, 1 << 16, 1 << 18, 1 << 20, 1 << 22],
        },
        Sweep {
            op: "sum",
            title: "sum of all elements",
            unit: "elements",
            sizes: &[1 << 10, 1 << 12, 1 << 14, 1 << 16, 1 << 18, 1 << 20, 1 << 22],
        },
    ];

    /// The op at one of the sizes.
    pub fn at(&self, size: usize) -> Workload {
        let kind = match self.op {
            "add-relu" => Kind::AddRelu(size),
            "matmul" => Kind::Matmul { n: size, plain: false },
            "conv" => Kind::Conv {
                batch: 8,
                channels: [16, 32],
                side: size,
                direction: Direction::Forward,
                plain: false,
            },
            "softmax" => {
                Kind::Softmax { rows: size.div_ceil(SOFTMAX_COLUMNS), columns: SOFTMAX_COLUMNS.min(size) }
            }
            _ => Kind::Sum(size),
        };
        Workload { name: format!("{}-{size}", self.op), kind }
    }
}

impl Workload {
    /// What a name stands for: `mlp-a`, `mlp-b`, `cnn-a`, `cnn-8`; `matmul-N`; `conv64`, which is the
    /// convolution (64 to 64 channels, 3×3 "same", 32×32, batch 8) and its two gradients. `matmul-N-plain` and
    /// `conv64-plain` are the kernels that compute one output per invocation.
    ///
    /// # Errors
    /// [`Error::Unknown`] for another name; [`Error::Invalid`] for a matrix larger than 8192.
    pub fn named(name: &str) -> Result<Vec<Workload>> {
        let known = [
            "mlp-a",
            "mlp-b",
            "cnn-a",
            "cnn-8",
            "matmul-N",
            "matmul-N-plain",
            "conv64",
            "conv64-input-gradient",
            "conv64-weight-gradient",
            "conv64-plain",
        ];
        let unknown = || Error::unknown("workload", name, known);
        let one = |kind| Ok(vec![Workload { name: name.into(), kind }]);
        if let Some(at) = MLPS.iter().position(|w| w.0 == name) {
            return one(Kind::Mlp(at));
        }
        if let Some(at) = CNNS.iter().position(|w| w.0 == name) {
            return one(Kind::Cnn(at));
        }
        let (rest, plain) = name.strip_suffix("-plain").map_or((name, false), |rest| (rest, true));
        if let Some(n) = rest.strip_prefix("matmul-") {
            let n: usize = n.parse().ok().filter(|&n| n > 0).ok_or_else(unknown)?;
            if n > MAX_MATMUL {
                return Err(Error::Invalid(format!("{name}: at most {MAX_MATMUL} rows are timed")));
            }
            return one(Kind::Matmul { n, plain });
        }
        let all = [
            ("conv64", Direction::Forward),
            ("conv64-input-gradient", Direction::InputGradient),
            ("conv64-weight-gradient", Direction::WeightGradient),
        ];
        let chosen: Vec<Workload> = all
            .into_iter()
            .filter(|(part, _)| rest == "conv64" || rest == *part)
            .map(|(part, direction)| Workload {
                name: if plain { format!("{part}-plain") } else { part.into() },
                kind: Kind::Conv { batch: 8, channels: [64, 64], side: 32, direction, plain },
            })
            .collect();
        if chosen.is_empty() { Err(unknown()) } else { Ok(chosen) }
    }

    /// The name, such as `matmul-512-plain`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether a run is a training step; else it is one op.
    pub fn is_training(&self) -> bool {
        matches!(self.kind, Kind::Mlp(_) | Kind::Cnn(_))
    }

    /// Records and compiles it, and puts its inputs on the device. A training step has an output `loss`.
    ///
    /// # Errors
    /// A limit of the device, or its failure.
    pub fn compile(&self, device: &Device) -> Result<Case> {
        match self.kind {
            Kind::Mlp(at) => {
                let (_, batch, widths) = MLPS[at];
                let params = Params::seeded(1);
                let net = Mlp::new(&params, widths);
                training(device, &params, &[batch, widths[0]], |x| net.forward(x))
            }
            Kind::Cnn(at) => {
                let (_, side, pool_first, widths) = CNNS[at];
                let params = Params::seeded(1);
                let head = Mlp::new(&params.at("head"), widths);
                training(device, &params, &[CNN_BATCH, 1, side, side], |x| {
                    let halve = PoolOptions::square(2);
                    let mut x = convolution(x, &params.at("conv1"), 1, 16).relu();
                    if pool_first {
                        x = x.max_pool2d(halve);
                    }
                    let x = convolution(x, &params.at("conv2"), 16, 32).relu().max_pool2d(halve);
                    head.forward(x.flatten(1))
                })
            }
            Kind::Matmul { n, plain } => op(device, &[&[n, n], &[n, n]], |x| match plain {
                true => x[0].matmul_plain(x[1]),
                false => x[0].matmul(x[1]),
            }),
            Kind::Conv { batch, channels: [from, to], side, direction, plain } => {
                let options = Conv2dOptions { padding: Padding::all(1), ..Default::default() };
                let kernels = if plain { ConvKernels::Plain } else { ConvKernels::Best };
                let (images, weight) = ([batch, from, side, side], [to, from, 3, 3]);
                let dy = [batch, to, side, side];
                match direction {
                    Direction::Forward => {
                        op(device, &[&images, &weight], |x| x[0].conv2d_by(x[1], None, &options, kernels))
                    }
                    _ => op(device, &[&images, &weight, &dy], |x| {
                        let of_weight = direction == Direction::WeightGradient;
                        x[0].conv2d_gradient(x[1], x[2], of_weight, &options, kernels)
                    }),
                }
            }
            Kind::AddRelu(n) => op(device, &[&[n], &[n]], |x| (x[0] + x[1]).relu()),
            Kind::Softmax { rows, columns } => op(device, &[&[rows, columns]], |x| x[0].softmax(1)),
            Kind::Sum(n) => op(device, &[&[n]], |x| x[0].sum_all()),
        }
    }
}

impl Case {
    /// The device it runs on.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The compiled step: `step().run()` is one run.
    pub fn step(&mut self) -> &mut Step {
        &mut self.step
    }

    /// Floating-point operations of a run.
    pub fn flops(&self) -> u64 {
        self.step.flops()
    }

    /// Gives weights and the optimizer's states their first values again.
    ///
    /// # Errors
    /// A failure of the device.
    pub fn reset(&mut self) -> Result<()> {
        self.states.iter().try_for_each(|(param, first)| self.device.write_param(param, first))
    }
}

/// Uniform numbers in [0, 1), the same ones always.
pub fn uniform(n: usize) -> Vec<f32> {
    // Numerical Recipes' generator, so that other languages can feed the same.
    let mut state = 1u32;
    (0..n)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 24) as f32
        })
        .collect()
}

/// A 3×3 convolution of stride 1 whose outputs are as large as its inputs, initialized as in PyTorch.
fn convolution<'g>(x: Var<'g>, params: &Params, inputs: usize, outputs: usize) -> Var<'g> {
    let fan = inputs * 9;
    let weight = params.param("weight", [outputs, inputs, 3, 3], Init::FanIn(fan));
    let bias = params.param("bias", [outputs], Init::FanIn(fan));
    let g = x.graph();
    let options = Conv2dOptions { padding: Padding::all(1), ..Default::default() };
    x.conv2d(g.param(&weight), Some(g.param(&bias)), &options)
}

/// A training step on rows of `shape`.
fn training(
    device: &Device,
    params: &Params,
    shape: &[usize],
    forward: impl for<'g> FnOnce(Var<'g>) -> Var<'g>,
) -> Result<Case> {
    let g = Graph::new();
    let rows = shape[0];
    let (x, y) = (g.input("x", shape), g.classes("y", [rows]));
    let loss = forward(x).softmax_cross_entropy(y);
    Adam::new(params, 1e-3).minimize(loss, &params.trainable());
    g.output("loss", loss);
    let mut step = device.compile(&g)?;
    step.feed("x", &uniform(shape.iter().product()))?;
    step.feed("y", &(0..rows).map(|i| (i * 7 % 10) as u32).collect::<Vec<u32>>())?;
    let states = params.all().into_iter().map(|p| (p.clone(), p.initial())).collect();
    Ok(Case { device: device.clone(), step, states })
}

/// A graph of one op, or a few.
fn op(
    device: &Device,
    shapes: &[&[usize]],
    record: impl for<'g> FnOnce(&[Var<'g>]) -> Var<'g>,
) -> Result<Case> {
    let g = Graph::inference();
    let names: Vec<String> = (0..shapes.len()).map(|i| format!("x{i}")).collect();
    let inputs: Vec<Var<'_>> = names.iter().zip(shapes).map(|(name, &shape)| g.input(name, shape)).collect();
    g.output("y", record(&inputs));
    let mut step = device.compile(&g)?;
    for (name, shape) in names.iter().zip(shapes) {
        step.feed(name, &uniform(shape.iter().product()))?;
    }
    Ok(Case { device: device.clone(), step, states: Vec::new() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_mean_what_they_say() {
        let names =
            |name| Workload::named(name).unwrap().iter().map(|w| w.name().to_string()).collect::<Vec<_>>();
        for name in ["mlp-a", "mlp-b", "cnn-a", "cnn-8", "matmul-7", "matmul-512-plain"] {
            assert_eq!(names(name), [name]);
        }
        assert_eq!(names("conv64"), ["conv64", "conv64-input-gradient", "conv64-weight-gradient"]);
        assert_eq!(names("conv64-weight-gradient-plain"), ["conv64-weight-gradient-plain"]);
        assert_eq!(names("conv64-plain").len(), 3);
        for name in ["", "mlp", "mlp-a-plain", "matmul-", "matmul-0", "matmul-x", "matmul--plain", "conv6"] {
            let error = Workload::named(name).unwrap_err().to_string();
            assert!(error.contains("no workload named") && error.contains("`cnn-8`"), "{error}");
        }
        assert!(Workload::named("matmul-9000").unwrap_err().to_string().contains("8192"));
    }

    /// The figures of the literature on these shapes: 2 n³ for a product, 2·9·64·64 per pixel of conv64.
    #[test]
    fn flops_are_those_of_the_formulas() {
        let device = Device::cpu();
        let flops = |name| Workload::named(name).unwrap()[0].compile(&device).unwrap().flops();
        assert_eq!(flops("matmul-64"), 2 * 64 * 64 * 64);
        assert_eq!(flops("matmul-64-plain"), 2 * 64 * 64 * 64);
        for part in ["conv64", "conv64-input-gradient", "conv64-weight-gradient-plain"] {
            assert_eq!(flops(part), 2 * 9 * 64 * 64 * 32 * 32 * 8, "{part}");
        }
        // Convolutions and matrices, forward and backward, without the first layer's input gradient.
        let cnn = flops("cnn-a") as f64;
        assert!((0.44e9..0.50e9).contains(&cnn), "{cnn}");
    }

    #[test]
    fn every_sweep_compiles_at_its_ends_and_counts_its_sizes() {
        for sweep in Sweep::ALL {
            assert!(sweep.sizes.is_sorted());
            let mut case = sweep.at(sweep.sizes[0]).compile(&Device::cpu()).unwrap();
            case.step().run().unwrap();
            assert!(case.step().values("y").unwrap().iter().all(|y| y.is_finite()), "{}", sweep.op);
        }
        let softmax = Sweep::ALL.iter().find(|s| s.op == "softmax").unwrap();
        let mut case = softmax.at(4096).compile(&Device::cpu()).unwrap();
        case.step().run().unwrap();
        let y = case.step().values("y").unwrap();
        assert_eq!(y.len(), 4096);
        approx::assert_relative_eq!(y.iter().sum::<f32>(), 16.0, epsilon = 1e-3);
    }

    #[test]
    fn training_learns_and_a_reset_forgets() {
        for name in ["mlp-a", "cnn-8"] {
            let mut case = Workload::named(name).unwrap()[0].compile(&Device::cpu()).unwrap();
            let mut losses = Vec::new();
            for _ in 0..2 {
                for _ in 0..5 {
                    case.step().run().unwrap();
                    losses.push(case.step().scalar("loss").unwrap());
                }
                case.reset().unwrap();
            }
            assert!(losses[4] < losses[0], "{name}: {losses:?}");
            assert_eq!(losses[..5], losses[5..], "{name}");
        }
    }
}
