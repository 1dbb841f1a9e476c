//! Cases of the three directions: the same convolutions through each.

use super::{Conv2d, Conv2dBackwardInput, Conv2dBackwardWeight, Padding, Window};
use crate::ops::{Block, Case, Kernels};

/// A convolution to be checked in all directions.
#[derive(Debug, Clone, Copy)]
struct Config {
    images: usize,
    channels: usize,
    outputs: usize,
    size: [usize; 2],
    kernel: [usize; 2],
    stride: [usize; 2],
    padding: Padding,
    dilation: [usize; 2],
    groups: usize,
}

/// `images` of `channels` to `outputs` channels, stride and dilation 1, no padding.
fn config(images: usize, channels: usize, outputs: usize, size: [usize; 2], kernel: [usize; 2]) -> Config {
    let (padding, groups) = (Padding::Valid, 1);
    Config { images, channels, outputs, size, kernel, stride: [1, 1], padding, dilation: [1, 1], groups }
}

impl Config {
    fn pad(self, padding: Padding) -> Self {
        Config { padding, ..self }
    }

    fn same(self) -> Self {
        self.pad(Padding::SameUpper)
    }

    fn stride(self, y: usize, x: usize) -> Self {
        Config { stride: [y, x], ..self }
    }

    fn dilation(self, y: usize, x: usize) -> Self {
        Config { dilation: [y, x], ..self }
    }

    fn groups(self, groups: usize) -> Self {
        Config { groups, ..self }
    }

    /// With as many channels of each kind as a tile on software adapters has, if they are few: else it has vectors with places
    /// for channels that there are not, in every case with its text.
    fn filled(self) -> Option<Self> {
        let fill = |channels: usize| match channels / self.groups {
            3 => 4 * self.groups,
            5..=7 => 8 * self.groups,
            _ => channels,
        };
        let filled = Config { channels: fill(self.channels), outputs: fill(self.outputs), ..self };
        ((filled.channels, filled.outputs) != (self.channels, self.outputs)).then_some(filled)
    }

    /// Of a strided convolution, two with more rows: the rows of tiles end elsewhere.
    fn taller(self) -> Vec<Self> {
        let [height, width] = self.size;
        let more = if self.stride[0] > 1 { vec![1, 5] } else { Vec::new() };
        more.into_iter().map(|more| Config { size: [height + more, width], ..self }).collect()
    }

    /// The gradient of the images with a bias, its derivative checked where the plain kernels compute it.
    fn transposed(&self, kernels: Kernels) -> Option<Case> {
        let Config { size, channels, .. } = *self;
        let Case { inputs, .. } = self.cases(kernels).into_iter().nth(2)?;
        let [dy, weight] = [0, 1].map(|i| inputs[i].0.shape);
        let op = Conv2dBackwardInput { window: self.window(), size, kernels };
        let case = Case::new(op, &[dy.dims(), weight.dims(), &[channels]]);
        Some(if kernels == Kernels::Plain { case } else { case.no_gradient() })
    }

    fn window(&self) -> Window {
        let Config { size, kernel, stride, dilation, groups, .. } = *self;
        // A configuration that makes no sense shows as a case that `infer` refuses.
        let padding = self.padding.resolve(size, kernel, stride, dilation).unwrap_or_default();
        Window { stride, padding, dilation, groups }
    }

    /// One case for each direction, and the forward one without bias.
    fn cases(&self, kernels: Kernels) -> Vec<Case> {
        let Config { images, channels, outputs, size, kernel, groups, .. } = *self;
        let window = self.window();
        let x = [images, channels, size[0], size[1]];
        let weight = [outputs, channels / groups, kernel[0], kernel[1]];
        let dy = window.geometry(&x, &weight).map_or([0; 4], |g| g.output());
        let forward = Conv2d { window, kernels };
        vec![
            Case::new(forward, &[&x, &weight, &[outputs]]),
            Case::new(forward, &[&x, &weight]),
            Case::new(Conv2dBackwardInput { window, size, kernels }, &[&dy, &weight]),
            Case::new(Conv2dBackwardWeight { window, kernel, bias: false, kernels }, &[&x, &dy]),
            Case::new(Conv2dBackwardWeight { window, kernel, bias: true, kernels }, &[&x, &dy]),
        ]
    }
}

/// Small enough for derivatives by differences.
fn small() -> Vec<Config> {
    let explicit = |top, bottom, left, right| Padding::Explicit([[top, bottom], [left, right]]);
    vec![
        config(1, 1, 1, [1, 1], [1, 1]),
        config(2, 3, 2, [1, 5], [1, 3]).same(),
        config(1, 1, 3, [4, 4], [3, 3]),
        config(2, 1, 16, [6, 6], [3, 3]).same(),
        config(1, 3, 17, [5, 7], [3, 3]).same(),
        config(1, 16, 3, [4, 5], [3, 3]).pad(Padding::SameLower),
        config(1, 2, 33, [3, 3], [2, 2]).same(),
        config(1, 33, 2, [3, 3], [2, 2]).pad(Padding::SameLower),
        config(1, 17, 32, [2, 3], [1, 1]),
        config(2, 2, 5, [7, 6], [4, 4]).same(),
        config(1, 2, 5, [9, 8], [5, 3]).pad(Padding::all(2)),
        config(1, 1, 2, [9, 7], [6, 7]).pad(Padding::SameLower),
        config(1, 2, 9, [7, 9], [7, 7]).same(),
        config(1, 2, 3, [1, 1], [3, 3]).pad(Padding::all(1)),
        // Strides, with outputs that do not reach the input's edge.
        config(1, 3, 5, [8, 9], [3, 3]).stride(2, 2).same(),
        config(2, 2, 9, [7, 10], [3, 3]).stride(2, 2).pad(Padding::SameLower),
        config(1, 3, 4, [9, 10], [2, 3]).stride(3, 2).pad(explicit(0, 1, 2, 0)),
        config(1, 2, 6, [10, 11], [3, 2]).stride(2, 3),
        config(1, 5, 6, [7, 8], [1, 1]).stride(2, 2),
        config(1, 2, 9, [8, 8], [1, 1]).stride(3, 3),
        config(1, 2, 5, [6, 13], [3, 4]).stride(1, 3).same(),
        config(1, 2, 5, [13, 6], [4, 3]).stride(3, 1).same(),
        // Dilation, alone and with strides that share a factor with it or do not.
        config(1, 3, 5, [8, 9], [3, 3]).dilation(2, 2).same(),
        config(1, 2, 9, [11, 12], [3, 4]).dilation(3, 2).pad(Padding::SameLower),
        config(1, 2, 5, [12, 11], [3, 3]).dilation(2, 3).stride(3, 2).same(),
        config(1, 2, 5, [11, 10], [2, 3]).dilation(2, 2).stride(2, 2).pad(Padding::all(2)),
        config(1, 2, 3, [9, 13], [2, 3]).dilation(3, 3).stride(3, 3).pad(explicit(3, 0, 1, 5)),
        // More padding than the kernel reaches, so that some outputs see nothing but zeros.
        config(1, 2, 5, [3, 4], [3, 3]).pad(explicit(4, 3, 5, 0)),
        config(1, 2, 5, [4, 3], [2, 3]).pad(explicit(0, 4, 0, 3)).stride(2, 1),
        // Groups: several channels each, depthwise, and depthwise with several outputs each.
        config(2, 4, 6, [5, 6], [3, 3]).groups(2).same(),
        config(1, 18, 27, [4, 4], [2, 3]).groups(9).same(),
        config(2, 5, 5, [6, 5], [3, 3]).groups(5).same(),
        config(1, 3, 6, [7, 8], [3, 2]).groups(3).stride(2, 1).dilation(1, 2).same(),
        config(1, 4, 36, [4, 5], [3, 3]).groups(2).same(),
        config(1, 3, 3, [9, 8], [3, 3]).groups(3).dilation(2, 2).same(),
        config(1, 2, 2, [9, 11], [4, 3]).groups(2).stride(2, 3).pad(explicit(0, 3, 1, 2)),
        // Products of matrices.
        config(2, 5, 9, [2, 6], [1, 1]),
        config(3, 7, 4, [4, 3], [1, 1]),
        // With every second pixel.
        config(2, 9, 7, [4, 8], [1, 1]).stride(2, 2),
        config(1, 5, 17, [2, 12], [1, 1]).stride(2, 2),
    ]
}

/// Whole tiles and their neighbours, and more than one workgroup of every kind.
fn large() -> Vec<Config> {
    vec![
        config(3, 1, 16, [28, 28], [3, 3]).same(),
        config(2, 16, 32, [14, 14], [3, 3]).same(),
        config(3, 17, 33, [13, 15], [3, 3]).same(),
        config(2, 16, 32, [8, 8], [3, 3]).same(),
        config(2, 32, 64, [16, 36], [3, 3]).same(),
        config(2, 33, 31, [9, 37], [5, 4]).pad(Padding::SameLower),
        config(1, 3, 32, [33, 31], [7, 7]).stride(2, 2).pad(Padding::all(3)),
        config(2, 32, 33, [17, 16], [3, 3]).stride(2, 2).same(),
        config(2, 16, 17, [20, 22], [3, 3]).stride(3, 3).pad(Padding::all(1)),
        config(2, 32, 48, [15, 16], [1, 1]),
        config(2, 48, 32, [15, 16], [1, 1]).stride(2, 2),
        config(2, 16, 32, [18, 20], [3, 3]).dilation(2, 2).same(),
        config(1, 17, 16, [24, 25], [3, 2]).dilation(3, 2).stride(2, 2).same(),
        config(2, 32, 64, [12, 12], [3, 3]).groups(2).same(),
        config(2, 64, 64, [10, 12], [3, 3]).groups(16).same(),
        config(3, 33, 33, [13, 12], [3, 3]).groups(33).same(),
        config(2, 32, 64, [14, 14], [5, 5]).groups(32).stride(2, 2).same(),
        config(1, 2, 2, [40, 70], [3, 3]).groups(2).same(),
        config(2, 3, 6, [37, 66], [3, 3]).groups(3).stride(2, 2).same(),
        config(1, 4, 4, [20, 72], [3, 5]).groups(4).dilation(2, 3).same(),
        config(1, 4, 4, [33, 80], [3, 3]).groups(4).dilation(2, 2).stride(3, 1).pad(Padding::SameLower),
        config(6, 40, 33, [6, 6], [1, 1]),
        config(5, 9, 32, [12, 12], [1, 1]),
        config(9, 3, 10, [8, 8], [4, 4]).stride(2, 2).pad(Padding::all(1)),
        config(65, 2, 8, [5, 5], [3, 3]),
        config(3, 48, 32, [16, 20], [1, 1]).stride(2, 2),
        config(19, 17, 40, [12, 8], [1, 1]).stride(2, 2),
        // Rows of several tiles, few channels to share.
        config(2, 8, 8, [5, 96], [3, 3]).groups(2).same(),
        config(1, 6, 9, [6, 74], [3, 3]).groups(3).pad(Padding::SameLower),
        config(1, 8, 12, [9, 136], [3, 4]).groups(4).stride(2, 2).same(),
        config(2, 4, 4, [3, 88], [2, 3]).groups(2).dilation(1, 3).same(),
    ]
}

/// What faults planted in kernels passed: padding that differs on each side, more images than groups, tiles beside one that
/// is full; and extents for each of which there is a place in the text.
fn uneven() -> Vec<Config> {
    let explicit = |top, bottom, left, right| Padding::Explicit([[top, bottom], [left, right]]);
    vec![
        config(4, 50, 50, [5, 5], [3, 3]).groups(2).pad(explicit(1, 0, 2, 1)),
        config(3, 22, 34, [6, 8], [3, 3]).groups(2).pad(explicit(2, 1, 0, 2)),
        config(1, 26, 28, [5, 31], [3, 3]).groups(2).stride(2, 3).pad(explicit(1, 2, 2, 0)),
        config(3, 13, 14, [7, 8], [3, 3]).stride(3, 2).pad(explicit(2, 0, 1, 1)),
        config(2, 20, 18, [6, 7], [2, 3]).stride(2, 1).dilation(2, 1).pad(explicit(1, 0, 0, 2)),
        // Four channels: none beyond them.
        config(2, 4, 4, [8, 9], [3, 3]).stride(2, 2).pad(explicit(0, 1, 1, 1)),
        config(1, 4, 4, [10, 7], [3, 3]).stride(2, 2).pad(explicit(1, 0, 0, 1)),
        config(2, 4, 4, [9, 10], [2, 3]).stride(3, 2).pad(explicit(0, 1, 2, 0)),
        // More outputs than pixels, and than inputs.
        config(1, 4, 18, [2, 2], [1, 1]),
        config(2, 5, 17, [1, 3], [1, 1]),
        config(2, 4, 4, [3, 5], [1, 1]).groups(4),
        // Rows of the output's gradient end where a row of the image begins to need the next, in rows of fours.
        config(2, 5, 6, [10, 8], [3, 3]).stride(2, 2).pad(Padding::SameLower),
        config(1, 5, 6, [10, 8], [4, 4]).stride(2, 2).pad(explicit(2, 1, 1, 2)),
        // The last tile of a row lacks one column.
        config(1, 17, 16, [23, 27], [3, 2]).dilation(3, 2).stride(2, 2).pad(explicit(2, 3, 1, 1)),
        // One text for several extents.
        config(2, 2, 5, [8, 8], [3, 3]).stride(3, 3).pad(explicit(0, 1, 0, 1)),
        config(1, 2, 6, [11, 8], [3, 3]).stride(3, 3).pad(explicit(0, 1, 0, 1)),
        config(1, 8, 6, [11, 13], [3, 2]).same(),
        // More outputs than pixels, in tiles of many columns.
        config(1, 32, 160, [8, 16], [1, 1]),
        // One output channel with a bias, in rows of several tiles.
        config(1, 2, 1, [4, 28], [3, 3]).same(),
        // Fewer rows of a kernel than a tile has, at its end.
        config(2, 2, 7, [8, 8], [5, 3]).same(),
        config(1, 2, 2, [31, 80], [3, 3]).groups(2).dilation(2, 2).stride(3, 1).pad(Padding::SameLower),
        config(1, 2, 2, [32, 80], [3, 3]).groups(2).dilation(2, 2).stride(3, 1).pad(Padding::SameLower),
        // One step of the sum more than whole steps of a block.
        config(1, 33, 5, [3, 4], [1, 1]),
        config(3, 2, 7, [6, 8], [3, 3]).same(),
        config(1, 3, 3, [4, 5], [3, 3]).groups(3).same(),
        config(3, 2, 2, [7, 5], [3, 3]).groups(2).same(),
        config(2, 2, 2, [2, 5], [3, 3]).groups(2).same(),
        // More than two vectors of input channels, by a kernel that is not in the text.
        config(1, 13, 3, [5, 6], [2, 3]),
        // Rows of the last tile two apart, of which the second is the image's last.
        config(1, 4, 8, [15, 14], [5, 5]).groups(4).stride(2, 2).pad(explicit(1, 2, 1, 2)),
    ]
}

/// The gradient of the images with a bias: a transposed convolution.
fn transposed() -> Vec<Case> {
    let mut cases = Vec::new();
    for (all, kernels) in [(small(), Kernels::Plain), (uneven(), Kernels::Tiles), (large(), Kernels::Best)] {
        cases.extend(all.into_iter().filter_map(|config| config.transposed(kernels)));
    }
    for block in 0..Block::ALL.len() {
        let config = config(1, 131, 6, [7, 8], [3, 3]).stride(2, 1).same();
        cases.extend(config.transposed(Kernels::Block(block)));
    }
    cases
}

pub(in crate::ops) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for config in small() {
        cases.extend(config.cases(Kernels::Plain));
        // The derivative does not depend on the kernels.
        cases.extend(config.cases(Kernels::Tiles).into_iter().map(Case::no_gradient));
    }
    // A sum over more pixels than an invocation of 64 takes where loops are short.
    let long = config(1, 1, 2, [130, 131], [1, 2]).cases(Kernels::Plain).pop();
    cases.extend(long.map(Case::no_gradient));
    for config in uneven() {
        cases.extend(config.cases(Kernels::Tiles).into_iter().map(Case::no_gradient));
    }
    let filled = [small(), uneven(), large()].into_iter().flatten().filter_map(Config::filled);
    let taller = [small(), uneven()].into_iter().flatten().flat_map(Config::taller);
    for config in filled.chain(taller) {
        let all = config.cases(Kernels::Tiles).into_iter();
        cases.extend(all.step_by(2).take(2).map(Case::no_gradient));
    }
    for config in large() {
        cases.extend(config.cases(Kernels::Best).into_iter().map(Case::no_gradient));
    }
    // Channels and pixels beyond whole tiles, and every form of blocks that GPUs have, more than one each way.
    let uneven_padding = Padding::Explicit([[1, 0], [0, 2]]);
    let beyond = [
        config(1, 6, 74, [19, 27], [3, 3]).groups(2).same(),
        config(2, 36, 6, [9, 8], [3, 3]).stride(2, 1).pad(uneven_padding).groups(2),
        config(1, 29, 5, [7, 9], [3, 2]).dilation(2, 1).pad(uneven_padding),
    ];
    let mut by = |config: Config, kernels| {
        cases.extend(config.cases(kernels).into_iter().map(Case::no_gradient));
    };
    beyond.into_iter().for_each(|config| by(config, Kernels::Tiles));
    let mut backward = Vec::new();
    for block in 0..Block::ALL.len() {
        by(config(2, 5, 131, [9, 16], [3, 3]).same(), Kernels::Block(block));
        by(config(1, 131, 6, [11, 13], [3, 2]).same(), Kernels::Block(block));
        // Of many channels the gradient of the images alone, by the kernel that is in the text.
        let many = config(1, 131, 6, [7, 8], [3, 3]).same().cases(Kernels::Block(block));
        backward.extend(many.into_iter().nth(2).map(Case::no_gradient));
    }
    cases.extend(backward);
    cases.extend(transposed());
    cases.extend(super::unfold::cases());
    cases
}
