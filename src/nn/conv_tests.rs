//! Convolutions along any axes, transposed ones and up-sampling against `tests/golden/convolutions.csv`, by PyTorch, and
//! `tests/golden/onnx_convolutions.csv`, by ONNX; what layers start with; refusals.

use crate::golden_tests::{Numbers, Worst, devices, golden, in_f64, on, weighed};
use crate::graph::{Graph, Init, Params, Var};
use crate::nn::{
    Conv1d, Conv1dOptions, Conv3d, Conv3dOptions, ConvOptions, ConvTranspose1d, ConvTranspose2d,
    ConvTranspose2dOptions, ConvTranspose3d, ConvTransposeOptions, Padding, Sequential, Summary, Upsample,
    UpsampleSize, WeightNorm,
};
use crate::ops::Kernels;
use crate::{Data, Device};

const GOLDEN: &str = include_str!("../../tests/golden/convolutions.csv");
const ONNX: &str = include_str!("../../tests/golden/onnx_convolutions.csv");

fn numbers<const N: usize>(words: &str) -> [usize; N] {
    let all: Vec<usize> = words.split(',').map(|n| n.parse().unwrap()).collect();
    all.try_into().unwrap()
}

fn padding<const AXES: usize>(words: &str) -> Padding<AXES> {
    match words {
        "SAME_UPPER" => Padding::SameUpper,
        "SAME_LOWER" => Padding::SameLower,
        _ => {
            let zeros: Vec<usize> = words.split(',').map(|n| n.parse().unwrap()).collect();
            Padding::Explicit(std::array::from_fn(|axis| [zeros[2 * axis], zeros[2 * axis + 1]]))
        }
    }
}

/// Records what the name says of inputs with so many axes besides images and channels.
fn record<'g, const AXES: usize>(name: &str, inputs: &[Var<'g>]) -> Var<'g> {
    let words: Vec<&str> = name.split('#').next().unwrap().split('/').collect();
    let bias = inputs.get(2).copied();
    match words[..] {
        ["upsample", size, "nearest", _] => {
            inputs[0].upsample_nearest(UpsampleSize::Exactly(numbers::<AXES>(size)))
        }
        ["upsample", size, _, corners] => {
            inputs[0].upsample_linear(UpsampleSize::Exactly(numbers::<AXES>(size)), corners == "1")
        }
        ["conv", stride, pads, dilation, _, groups] => {
            let options = ConvOptions {
                stride: numbers::<AXES>(stride),
                padding: padding(pads),
                dilation: numbers(dilation),
                groups: groups.parse().unwrap(),
            };
            inputs[0].convolve(inputs[1], bias, &options, Kernels::Best)
        }
        ["transpose", stride, pads, dilation, more, groups] => {
            let options = ConvTransposeOptions {
                stride: numbers::<AXES>(stride),
                padding: padding(pads),
                output_padding: numbers(more),
                dilation: numbers(dilation),
                groups: groups.parse().unwrap(),
            };
            inputs[0].convolve_transposed(inputs[1], bias, &options)
        }
        _ => panic!("{name}"),
    }
}

/// The largest difference from the file, of the size of what is compared.
fn worst(file: &str, of: impl Fn(&Graph, &[(String, Numbers)], &[String]) -> Vec<Vec<f64>>) -> Worst {
    let mut worst = Worst::default();
    for (name, tensors) in golden(file) {
        let all = |what: &str| tensors.iter().filter(|t| t.what == what).cloned().collect::<Vec<_>>();
        let fed: Vec<(String, Numbers)> =
            all("input").into_iter().enumerate().map(|(i, x)| (format!("x{i}"), x)).collect();
        let g = Graph::new();
        let inputs: Vec<Var<'_>> = fed.iter().map(|(label, x)| g.input(label, &x.shape[..])).collect();
        let y = match inputs[0].shape().rank() {
            3 => record::<1>(&name, &inputs),
            4 => record::<2>(&name, &inputs),
            _ => record::<3>(&name, &inputs),
        };
        g.output("y", y);
        let expected = [all("out"), all("gradient")].concat();
        let mut labels = vec!["y".to_string()];
        if expected.len() > 1 {
            for (i, d) in g.gradients(weighed(y), &inputs).into_iter().enumerate() {
                labels.push(format!("d{i}"));
                g.output(&labels[i + 1], d);
            }
        }
        assert!(g.error().is_none(), "{name}: {:?}", g.error());
        assert_eq!(y.shape().elements(), expected[0].values.len(), "{name}");
        for (found, expected) in of(&g, &fed, &labels).iter().zip(&expected) {
            worst.compare(&name, found, expected, expected.size());
        }
    }
    worst
}

#[test]
fn values_and_gradients_are_those_of_pytorch() {
    let Worst { off, what: worst, compared } = worst(GOLDEN, in_f64);
    println!("{compared} numbers off by {off:e} at most: {worst}");
    assert!(off < 1e-9 && compared > 15_000, "{compared}, {off:e}: {worst}");
}

#[test]
fn kernels_give_the_same() {
    for device in devices() {
        let Worst { off, what: worst, .. } = worst(GOLDEN, |g, fed, labels| on(&device, g, fed, labels));
        println!("off by {off:e} at most: {worst}");
        assert!(off < 1e-5, "{off:e} on {device:?}: {worst}");
    }
}

/// Its numbers are those of f32.
#[test]
fn values_are_those_of_onnx() {
    let Worst { off, what: worst, compared } = worst(ONNX, in_f64);
    println!("{compared} numbers off by {off:e} at most: {worst}");
    assert!(off < 1e-6 && compared > 800, "{compared}, {off:e}: {worst}");
}

#[test]
fn names_and_first_values_are_those_of_pytorch() {
    let params = Params::seeded(3);
    let options = ConvTranspose2dOptions { groups: 2, ..Default::default() };
    let conv = ConvTranspose2d::with(&params.at("up"), 6, 8, [5, 3], options, true);
    assert_eq!((conv.weight().name(), conv.bias().unwrap().name()), ("up.weight", "up.bias"));
    assert_eq!(
        (conv.weight().shape().dims(), conv.bias().unwrap().shape().dims()),
        (&[6, 4, 5, 3][..], &[8][..])
    );
    // Its fan in is that of the second axis: 4 · 15.
    let bound = 1.0 / 60f32.sqrt();
    let Data::F32(values) = conv.weight().initial() else { panic!("no floats") };
    let largest = values.iter().fold(0f32, |m, x| m.max(x.abs()));
    assert!(largest <= bound && largest > 0.95 * bound, "{largest} of {bound}");
    let one = Conv1d::new(&params.at("one"), 4, 6, [5]);
    assert_eq!(one.weight().shape().dims(), [6, 4, 5]);
    let three = Conv3d::with_init(
        &params.at("three"),
        2,
        3,
        [3, 2, 1],
        Conv3dOptions::default(),
        false,
        Init::HeNormal,
    );
    assert_eq!((three.weight().shape().dims(), three.bias().is_none()), (&[3, 2, 3, 2, 1][..], true));
    let down = ConvTranspose3d::new(&params.at("down"), 2, 3, [3, 2, 1]);
    assert_eq!(down.weight().shape().dims(), [2, 3, 3, 2, 1]);
    // Weights of any axes are normalized.
    let normed = WeightNorm::new(&params.at("normed"), |p| Conv1d::new(p, 3, 5, [4]));
    assert_eq!(normed.magnitude().shape().dims(), [5, 1, 1]);
}

#[test]
fn a_summary_counts_parameters_and_operations() {
    let params = Params::seeded(1);
    let strided = Conv1dOptions { stride: [2], padding: Padding::SameUpper, ..Default::default() };
    let net = Sequential::new(&params)
        .with(|p| Conv1d::with(p, 3, 8, [5], strided, true))
        .with(|p| ConvTranspose1d::new(p, 8, 2, [4]))
        .with(|_| Upsample::linear(UpsampleSize::Factor([2]), false));
    let rows = Summary::of(&net, [4, 3, 20]).unwrap().layers;
    let found: Vec<_> = rows.iter().map(|l| (l.output.dims().to_vec(), l.parameters, l.flops)).collect();
    let (first, second) = (4 * 8 * 10 * (2 * 15 + 1), 4 * 8 * 10 * (2 * 8) + 4 * 2 * 13);
    assert_eq!(found[0], (vec![4, 8, 10], 8 * 15 + 8, first));
    assert_eq!(found[1], (vec![4, 2, 13], 8 * 8 + 2, second));
    assert_eq!(found.last().unwrap(), &(vec![4, 2, 26], 0, 3 * 4 * 2 * 26));
    let volumes = Conv3d::new(&params.at("three"), 2, 3, [3, 3, 3]);
    let summary = Summary::of(&volumes, [1, 2, 5, 6, 7]).unwrap();
    assert_eq!((summary.parameters, summary.flops), (3 * 54 + 3, 3 * 3 * 4 * 5 * (2 * 54 + 1)));
}

/// Gradients sum in a fixed order: runs on one device have the same bits.
#[test]
fn runs_have_the_same_bits() {
    for device in devices() {
        let g = Graph::new();
        let (x, w) = (g.input("x", [2, 4, 5, 6, 7]), g.input("w", [4, 3, 3, 2, 3]));
        let options = ConvTransposeOptions { stride: [2, 1, 2], ..Default::default() };
        let y =
            x.conv_transpose3d(w, None, &options).upsample_linear(UpsampleSize::Exactly([7, 9, 10]), true);
        for (label, d) in ["dx", "dw"].iter().zip(g.gradients(weighed(y), &[x, w])) {
            g.output(label, d);
        }
        let mut step = device.compile(&g).unwrap();
        let value = |i: usize| ((i * 7919 % 1013) as f32 / 1013.0 - 0.4) * 3.0;
        let fill = |n: usize| (0..n).map(value).collect::<Vec<f32>>();
        step.feed("x", &fill(2 * 4 * 5 * 6 * 7)[..]).unwrap();
        step.feed("w", &fill(4 * 3 * 18)[..]).unwrap();
        let mut run = || {
            step.run().unwrap();
            ["dx", "dw"].map(|label| step.values(label).unwrap())
        };
        let (first, second) = (run(), run());
        assert!(first == second && first[0].iter().all(|x| x.is_finite()), "{device:?}");
    }
}

#[test]
fn padding_by_rule_multiplies_extents() {
    for padding in [Padding::SameUpper, Padding::SameLower] {
        for (kernel, stride) in [(3, 2), (4, 2), (2, 3), (5, 1), (1, 4)] {
            let g = Graph::new();
            let options = ConvTransposeOptions { stride: [stride], padding, ..Default::default() };
            let y = g.input("x", [2, 3, 5]).conv_transpose1d(g.input("w", [3, 4, kernel]), None, &options);
            assert!(g.error().is_none(), "{:?}", g.error());
            assert_eq!(y.shape().dims(), [2, 4, 5 * stride]);
        }
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let message = |record: &dyn for<'g> Fn(&'g Graph)| {
        let g = Graph::new();
        record(&g);
        let mut error = g.error().map_or_else(String::new, |e| e.to_string());
        if Device::cpu().compile(&g).is_ok() {
            error = "compiled".into();
        }
        error
    };
    let conv1d = |x: &[usize], w: &[usize], bias: Option<usize>, options: Conv1dOptions| {
        message(&|g| {
            let bias = bias.map(|o| g.input("b", [o]));
            g.output("y", g.input("x", x).conv1d(g.input("w", w), bias, &options));
        })
    };
    let up2d = |x: &[usize], w: &[usize], bias: Option<usize>, options: ConvTranspose2dOptions| {
        message(&|g| {
            let bias = bias.map(|o| g.input("b", [o]));
            g.output("y", g.input("x", x).conv_transpose2d(g.input("w", w), bias, &options));
        })
    };
    let plain = Conv1dOptions::default();
    let up = ConvTranspose2dOptions::default();
    let huge = usize::MAX;
    let cases = [
        (conv1d(&[2, 3, 4, 5], &[4, 3, 2], None, plain), "conv1d: takes [n, channels, length]"),
        (conv1d(&[2, 3, 4], &[4, 3, 5], None, plain), "the kernel spans 5 elements along the length"),
        (conv1d(&[2, 3, 4], &[4, 2, 2], None, plain), "3 input channels in 1 groups"),
        (conv1d(&[2, 3, 4], &[4, 3, 2], Some(3), plain), "4 output channels need a bias"),
        (
            conv1d(&[2, 3, 4], &[4, 3, 2], None, Conv1dOptions { stride: [0], ..plain }),
            "stride along the length",
        ),
        (
            conv1d(&[2, 3, 4], &[4, 3, 2], None, Conv1dOptions { groups: 0, ..plain }),
            "groups must be at least 1",
        ),
        (
            conv1d(&[2, 3, 4], &[4, 3, 2], None, Conv1dOptions { padding: Padding::all(huge), ..plain }),
            "beyond",
        ),
        (
            conv1d(
                &[2, 3, 4],
                &[4, 3, 2],
                None,
                Conv1dOptions { dilation: [huge], padding: Padding::SameUpper, ..plain },
            ),
            "makes no sense",
        ),
        (up2d(&[2, 3, 4], &[3, 4, 2, 2], None, up), "conv_transpose2d: takes [n, channels, height, width]"),
        (
            up2d(&[2, 3, 4, 4], &[4, 3, 2, 2], None, up),
            "3 input channels in 1 groups and a weight [4, 3, 2, 2]",
        ),
        (up2d(&[2, 4, 4, 4], &[4, 3, 2, 2], Some(4), up), "3 output channels need a bias"),
        (up2d(&[2, 4, 4, 4], &[4, 3, 2, 2], None, ConvTranspose2dOptions { groups: 3, ..up }), "in 3 groups"),
        (up2d(&[2, 4, 4, 4], &[4, 3, 2, 2], None, ConvTranspose2dOptions { groups: 0, ..up }), "in 0 groups"),
        (
            up2d(&[2, 4, 4, 4], &[4, 3, 2, 2], None, ConvTranspose2dOptions { stride: [0, 1], ..up }),
            "make no sense",
        ),
        (
            up2d(&[2, 4, 4, 4], &[4, 3, 2, 2], None, ConvTranspose2dOptions { output_padding: [0, 1], ..up }),
            "make no sense",
        ),
        (
            up2d(
                &[2, 4, 4, 4],
                &[4, 3, 2, 2],
                None,
                ConvTranspose2dOptions { padding: Padding::all(3), ..up },
            ),
            "make no sense",
        ),
        (
            up2d(&[2, 4, 4, 4], &[4, 3, 2, 2], None, ConvTranspose2dOptions { stride: [huge, 1], ..up }),
            "make no sense",
        ),
        (message(&|g| _ = g.input("x", [3, 4]).upsample_nearest(UpsampleSize::Factor([2]))), "1 more axes"),
        (message(&|g| _ = g.input("x", [3, 4, 5]).upsample_nearest(UpsampleSize::Factor([0]))), "at least 1"),
        (
            message(&|g| {
                _ = g.input("x", [3, 4, 5, 5]).upsample_bilinear(UpsampleSize::Factor([huge, 2]), true)
            }),
            "beyond",
        ),
        (
            message(&|g| _ = g.input("x", [3]).upsample_linear(UpsampleSize::Factor([]), true)),
            "of one to three",
        ),
    ];
    for (text, part) in cases {
        assert!(text.contains(part), "{text}, not {part}");
    }
}
