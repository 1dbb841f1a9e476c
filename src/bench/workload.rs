//! Fixed shapes, one fixed batch that lies on the device.

use super::models::{self, op};
use crate::device::{CompileOptions, Device, Step};
use crate::error::Result;
use crate::graph::{Param, Params, Var};
use crate::nn::{Layer, Mlp};
pub(super) use crate::ops::Kernels;
use crate::ops::{Conv2dOptions, Padding};
use crate::tensor::Data;

/// Which of a convolution's three kernels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    Forward,
    InputGradient,
    WeightGradient,
}

/// A convolution whose outputs are as many as its inputs, divided by the stride.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Convolution {
    pub(super) batch: usize,
    /// In, out.
    pub(super) channels: [usize; 2],
    /// Height, width.
    pub(super) sides: [usize; 2],
    /// Extent of the square kernel: odd.
    pub(super) kernel: usize,
    pub(super) stride: usize,
    pub(super) dilation: usize,
    /// A divisor of both numbers of channels.
    pub(super) groups: usize,
}

impl Default for Convolution {
    fn default() -> Self {
        Convolution {
            batch: 8,
            channels: [1, 1],
            sides: [1, 1],
            kernel: 3,
            stride: 1,
            dilation: 1,
            groups: 1,
        }
    }
}

impl Convolution {
    /// Zeros on every side.
    fn padding(&self) -> usize {
        self.kernel / 2 * self.dilation
    }

    /// Height and width of the outputs.
    pub(super) fn outputs(&self) -> [usize; 2] {
        self.sides.map(|side| (side - 1) / self.stride + 1)
    }
}

/// Rows of the matrices whose rows or columns are summed.
pub(super) const SUM_COLUMNS: usize = 1024;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    Mlp { batch: usize, widths: Vec<usize> },
    Cnn { batch: usize, side: usize, pool_first: bool, head: Vec<usize> },
    PlainCnn { batch: usize, side: usize, width: usize, depth: usize },
    Lstm,
    Transformer,
    Attention { length: usize, composed: bool },
    Matmul { extents: [usize; 3], kernels: Kernels },
    Conv { convolution: Convolution, direction: Direction, kernels: Kernels },
    AddRelu(usize),
    Softmax { rows: usize, columns: usize },
    Sum(usize),
    Copy(usize),
    Add(usize),
    SumRows(usize),
    SumColumns(usize),
}

/// What the speed of a workload is given in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speed {
    /// Training steps a second.
    Steps,
    /// Floating-point operations a second.
    Flops,
    /// Bytes of inputs and outputs a second.
    Bytes,
}

/// Something that is timed: a training step, or one op.
///
/// Training steps have one batch of uniform numbers and Adam at 1e-3 on the softmax cross-entropy of 10
/// classes; inputs of ops are uniform numbers. All of it lies on the device before time is taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workload {
    pub(super) name: String,
    pub(super) kind: Kind,
}

impl Workload {
    /// The name, such as `matmul-512-plain`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What its speed is given in.
    pub fn speed(&self) -> Speed {
        match self.kind {
            Kind::Mlp { .. }
            | Kind::Cnn { .. }
            | Kind::PlainCnn { .. }
            | Kind::Lstm
            | Kind::Transformer
            | Kind::Attention { .. } => Speed::Steps,
            Kind::Copy(_) | Kind::Add(_) | Kind::Sum(_) | Kind::SumRows(_) | Kind::SumColumns(_) => {
                Speed::Bytes
            }
            _ => Speed::Flops,
        }
    }

    /// Whether a run is a training step; else it is one op.
    pub fn is_training(&self) -> bool {
        self.speed() == Speed::Steps
    }

    /// Records and compiles it, and puts its inputs on the device. A training step has an output `loss`.
    ///
    /// # Errors
    /// A limit of the device, or its failure.
    pub fn compile(&self, device: &Device) -> Result<Case> {
        self.compile_with(device, CompileOptions::new())
    }

    /// As [`Workload::compile`]; a training step in mixed precision scales its loss. Options are for training steps, and
    /// single ops leave them out.
    ///
    /// # Errors
    /// As [`Workload::compile`].
    pub fn compile_with(&self, device: &Device, options: CompileOptions) -> Result<Case> {
        let training =
            |shape: &[usize], rows: usize, forward: &dyn for<'g> Fn(&Params, Var<'g>) -> Var<'g>| {
                models::training(device, options, shape, rows, forward)
            };
        let matrix = |n: usize| [n.div_ceil(SUM_COLUMNS), SUM_COLUMNS];
        match &self.kind {
            Kind::Mlp { batch, widths } => {
                training(&[*batch, widths[0]], *batch, &|params, x| Mlp::new(params, widths).forward(x))
            }
            Kind::Cnn { batch, side, pool_first, head } => {
                training(&[*batch, 1, *side, *side], *batch, &|params, x| {
                    models::cnn(params, x, *pool_first, head)
                })
            }
            &Kind::PlainCnn { batch, side, width, depth } => {
                training(&[batch, 3, side, side], batch, &|params, x| {
                    models::plain_cnn(params, x, width, depth)
                })
            }
            Kind::Lstm => {
                let [batch, times, inputs, _] = models::LSTM;
                training(&[batch, times, inputs], batch, &models::lstm)
            }
            Kind::Transformer => {
                let [batch, length, width, ..] = models::TRANSFORMER;
                training(&[batch * length, width], batch, &models::transformer)
            }
            &Kind::Attention { length, composed } => {
                training(&[length, models::ATTENTION_WIDTH], 1, &|params, x| {
                    models::attention(params, x, composed)
                })
            }
            &Kind::Matmul { extents: [m, k, n], kernels } => {
                op(device, &[&[m, k], &[k, n]], |x| x[0].matmul_by(x[1], kernels))
            }
            Kind::Conv { convolution, direction, kernels } => {
                convolve(device, convolution, *direction, *kernels)
            }
            &Kind::AddRelu(n) => op(device, &[&[n], &[n]], |x| (x[0] + x[1]).relu()),
            &Kind::Softmax { rows, columns } => op(device, &[&[rows, columns]], |x| x[0].softmax(1)),
            &Kind::Sum(n) => op(device, &[&[n]], |x| x[0].sum_all()),
            &Kind::Copy(n) => op(device, &[&[n]], |x| x[0].copy()),
            &Kind::Add(n) => op(device, &[&[n], &[n]], |x| x[0] + x[1]),
            &Kind::SumRows(n) => op(device, &[&matrix(n)], |x| x[0].sum(&[1])),
            &Kind::SumColumns(n) => op(device, &[&matrix(n)], |x| x[0].sum(&[0])),
        }
    }
}

fn convolve(device: &Device, c: &Convolution, direction: Direction, kernels: Kernels) -> Result<Case> {
    let options = Conv2dOptions {
        padding: Padding::all(c.padding()),
        stride: [c.stride; 2],
        dilation: [c.dilation; 2],
        groups: c.groups,
    };
    let ([from, to], [height, width], [oh, ow]) = (c.channels, c.sides, c.outputs());
    let (images, weight) = ([c.batch, from, height, width], [to, from / c.groups, c.kernel, c.kernel]);
    let dy = [c.batch, to, oh, ow];
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

/// A compiled [`Workload`], fed.
#[derive(Debug)]
pub struct Case {
    device: Device,
    step: Step,
    /// States and their first values.
    states: Vec<(Param, Data)>,
}

impl Case {
    pub(super) fn new(device: &Device, step: Step, states: Vec<(Param, Data)>) -> Self {
        Case { device: device.clone(), step, states }
    }

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

    /// Bytes that a run must move.
    pub fn traffic(&self) -> crate::Traffic {
        self.step.traffic()
    }

    /// Gives weights and the optimizer's states their first values again.
    ///
    /// # Errors
    /// A failure of the device.
    pub fn reset(&mut self) -> Result<()> {
        self.states.iter().try_for_each(|(param, first)| self.device.write_param(param, first))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case(name: &str) -> Case {
        Workload::named(name).unwrap()[0].compile(&Device::cpu()).unwrap()
    }

    /// The figures of the literature on these shapes: 2 n³ for a product, 2·9·64·64 per pixel of conv64.
    #[test]
    fn flops_are_those_of_the_formulas() {
        let flops = |name| case(name).flops();
        assert_eq!(flops("matmul-64"), 2 * 64 * 64 * 64);
        assert_eq!(flops("matmul-64-plain"), 2 * 64 * 64 * 64);
        assert_eq!(flops("matmul-3x50x7"), 2 * 3 * 50 * 7);
        for part in ["conv64", "conv64-input-gradient", "conv64-weight-gradient-plain", "conv-64-64-32"] {
            assert_eq!(flops(part), 2 * 9 * 64 * 64 * 32 * 32 * 8, "{part}");
        }
        assert_eq!(flops("conv-3-5-9x4-k5-s2-b2"), 2 * 25 * 3 * 5 * 5 * 2 * 2);
        assert_eq!(flops("conv-6-9-8-g3-d2-b2"), 2 * 9 * 2 * 9 * 8 * 8 * 2);
        // Convolutions and matrices, forward and backward, without the first layer's input gradient.
        let cnn = flops("cnn-a") as f64;
        assert!((0.44e9..0.50e9).contains(&cnn), "{cnn}");
        // Three products of each matrix: forward, and two gradients; but for the inputs' own.
        let lstm = 2.0 * 512.0 * (2.0 * 512.0 * 64.0 + 3.0 * 15.0 * 32.0 * 128.0);
        assert!((1.0..1.1).contains(&(flops("lstm") as f64 / lstm)), "{}", flops("lstm"));
        let block = 3.0 * 2.0 * 512.0 * (12.0 * 128.0 * 128.0 + 2.0 * 64.0 * 128.0);
        assert!((0.9..1.1).contains(&(flops("transformer") as f64 / block)), "{}", flops("transformer"));
    }

    #[test]
    fn training_learns_and_a_reset_forgets() {
        for name in ["mlp-a", "cnn-8", "lstm", "transformer"] {
            let mut case = case(name);
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

    #[test]
    fn sums_and_copies_are_what_they_say() {
        let values = |name: &str| {
            let mut case = case(name);
            case.step().run().unwrap();
            case.step().values("y").unwrap()
        };
        let x = super::super::uniform(2048);
        assert_eq!(values("copy-2048"), x);
        assert_eq!(values("add-2048"), x.iter().map(|x| x + x).collect::<Vec<f32>>());
        let close = |a: f32, b: f32| approx::assert_relative_eq!(a, b, max_relative = 1e-4);
        close(values("sum-2048")[0], x.iter().sum());
        let (rows, columns) = (values("sum-rows-2048"), values("sum-columns-2048"));
        assert_eq!((rows.len(), columns.len()), (2, 1024));
        close(rows[1], x[1024..].iter().sum());
        close(columns[5], x[5] + x[1029]);
    }

    #[test]
    fn shapes_of_odd_and_strided_convolutions_fit() {
        for name in ["conv-3-5-9x4-k5-s2-b2", "conv-64-128-4-s2-k1", "conv-2-3-1x33", "conv-6-6-7x5-g3-d3-s2"]
        {
            for workload in Workload::named(name).unwrap() {
                let mut case = workload.compile(&Device::cpu()).unwrap();
                case.step().run().unwrap();
                assert!(!case.step().values("y").unwrap().is_empty(), "{}", workload.name());
            }
        }
    }
}
