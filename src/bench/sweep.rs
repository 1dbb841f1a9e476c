//! Workloads over sizes.

use super::models::CLASSES;
use super::workload::{Convolution, Direction, Kernels, Kind, Workload};

/// One workload over sizes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sweep {
    /// Of ops `add-relu`, `matmul`, `conv`, `softmax` or `sum`; of training steps what grows: `mlp-batch`,
    /// `mlp-width`, `mlp-depth`, `cnn-batch`, `cnn-width` or `cnn-depth`.
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

const ELEMENTS: &[usize] = &[1 << 10, 1 << 12, 1 << 14, 1 << 16, 1 << 18, 1 << 20, 1 << 22];

impl Sweep {
    /// Ops over sizes.
    pub const ALL: [Sweep; 5] = [
        Sweep { op: "add-relu", title: "max(a + b, 0)", unit: "elements", sizes: ELEMENTS },
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
        Sweep { op: "softmax", title: "softmax of rows of 256", unit: "elements", sizes: ELEMENTS },
        Sweep { op: "sum", title: "sum of all elements", unit: "elements", sizes: ELEMENTS },
    ];

    /// Training steps whose batch, width or depth doubles while all else stays: twice the size is twice the
    /// work, but for first and last layers.
    pub const GROWTH: [Sweep; 6] = [
        Sweep {
            op: "mlp-batch",
            title: "perceptron 256-256-256-10",
            unit: "rows of a batch",
            sizes: &[8, 16, 32, 64, 128, 256, 512, 1024],
        },
        Sweep {
            op: "mlp-width",
            title: "perceptron 256-width-10, batch 64",
            unit: "hidden units",
            sizes: &[16, 32, 64, 128, 256, 512, 1024, 2048],
        },
        Sweep {
            op: "mlp-depth",
            title: "perceptron, layers of 128, batch 64",
            unit: "hidden layers",
            sizes: &[1, 2, 4, 8, 16, 32],
        },
        Sweep {
            op: "cnn-batch",
            title: "2 convolutions, 16 channels, 16 × 16 pixels",
            unit: "images of a batch",
            sizes: &[2, 4, 8, 16, 32, 64, 128],
        },
        Sweep {
            op: "cnn-width",
            title: "1 convolution, 16 × 16 pixels, batch 16",
            unit: "channels",
            sizes: &[8, 16, 32, 64, 128, 256],
        },
        Sweep {
            op: "cnn-depth",
            title: "convolutions, 16 channels, 16 × 16 pixels, batch 16",
            unit: "convolutions",
            sizes: &[1, 2, 4, 8, 16],
        },
    ];

    /// Whether it is a training step that grows.
    pub fn is_growth(&self) -> bool {
        Sweep::GROWTH.contains(self)
    }

    /// The workload at one of the sizes.
    pub fn at(&self, size: usize) -> Workload {
        let perceptron = |batch, hidden: Vec<usize>, inputs| {
            let widths = [vec![inputs], hidden, vec![CLASSES]].concat();
            Kind::Mlp { batch, widths }
        };
        let convolutions = |batch, width, depth| Kind::PlainCnn { batch, side: 16, width, depth };
        let kind = match self.op {
            "add-relu" => Kind::AddRelu(size),
            "matmul" => Kind::Matmul { extents: [size; 3], kernels: Kernels::Best },
            "conv" => Kind::Conv {
                convolution: Convolution { channels: [16, 32], sides: [size; 2], ..Convolution::default() },
                direction: Direction::Forward,
                kernels: Kernels::Best,
            },
            "softmax" => {
                Kind::Softmax { rows: size.div_ceil(SOFTMAX_COLUMNS), columns: SOFTMAX_COLUMNS.min(size) }
            }
            "mlp-batch" => perceptron(size, vec![256; 2], 256),
            "mlp-width" => perceptron(64, vec![size], 256),
            "mlp-depth" => perceptron(64, vec![128; size], 128),
            "cnn-batch" => convolutions(size, 16, 2),
            "cnn-width" => convolutions(16, size, 1),
            "cnn-depth" => convolutions(16, 16, size),
            _ => Kind::Sum(size),
        };
        Workload { name: format!("{}-{size}", self.op), kind }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Device;

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

    /// So that a factor of two in time is what a doubling may cost.
    #[test]
    fn growth_doubles_the_work() {
        for sweep in Sweep::GROWTH {
            assert!(sweep.is_growth() && sweep.sizes.windows(2).all(|pair| pair[1] == 2 * pair[0]));
            let flops = |size| sweep.at(size).compile(&Device::cpu()).unwrap().flops() as f64;
            let [.., before, last] = sweep.sizes else { panic!("{} has one size", sweep.op) };
            let factor = flops(*last) / flops(*before);
            assert!((1.8..2.2).contains(&factor), "{}: {factor}", sweep.op);
        }
        assert!(Sweep::ALL.iter().all(|sweep| !sweep.is_growth()));
    }
}
