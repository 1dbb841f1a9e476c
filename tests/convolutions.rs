//! Random convolutions and their gradients on every adapter, with every class of kernels that it can run, and on
//! the CPU in f32 and f64, against the formula written out here.
#![allow(missing_docs)]

mod common;

use wgrad::gpu::Gpu;
use wgrad::ops::{AdapterClass, Conv2dOptions, Kernels, Padding};
use wgrad::{Device, Graph, Rng, Tensor};

/// Configurations.
const CONFIGURATIONS: usize = 320;
/// Every so many are computed by tiles however small they are: each shape of a tile is compiled anew.
const TILED: usize = 6;
/// So are the others of every so many, of few shapes of kernels, with rows that are several tiles long.
const LONG: usize = 2;
/// Of every so many, one is a product of matrices.
const POINTWISE: usize = 10;
/// Of every so many, one is computed in one form of blocks on GPUs, of all forms in turn.
const OF_A_FORM: usize = 12;
const FORMS: usize = 10;
/// Multiply-adds of one configuration at most: the truth is computed without any haste.
const LARGEST: usize = 120_000;

#[derive(Debug, Clone)]
struct Config {
    images: usize,
    /// In and out, of each group.
    channels: [usize; 2],
    groups: usize,
    size: [usize; 2],
    kernel: [usize; 2],
    stride: [usize; 2],
    dilation: [usize; 2],
    padding: Padding,
    bias: bool,
    kernels: Kernels,
}

fn one_of<T: Copy>(rng: &mut Rng, choices: &[T]) -> T {
    choices[rng.below(choices.len() as u32) as usize]
}

impl Config {
    fn random(rng: &mut Rng, number: usize) -> Self {
        loop {
            let mut upto = |n: u32| 1 + rng.below(n) as usize;
            let mut config = Config {
                images: upto(3),
                channels: [0; 2],
                groups: 1,
                size: [upto(13), upto(13)],
                kernel: [upto(7), upto(7)],
                stride: [upto(3), upto(3)],
                dilation: [upto(3), upto(3)],
                padding: Padding::Valid,
                bias: upto(2) == 1,
                kernels: Kernels::Best,
            };
            if number.is_multiple_of(TILED) || number.is_multiple_of(LONG) {
                config.kernels = Kernels::Tiles;
            }
            if number.is_multiple_of(OF_A_FORM) {
                config.kernels = Kernels::Block(number / OF_A_FORM % FORMS);
            }
            if number.is_multiple_of(LONG) && !number.is_multiple_of(TILED) {
                config.size = [upto(6), 8 + upto(70)];
                config.kernel = [[1, 1], [3, 3], [2, 3]][upto(3) - 1];
                config.stride = [[1, 1], [2, 2]][upto(2) - 1];
                config.dilation = [1, 1];
            }
            config.channels = [one_of(rng, &[1, 2, 3, 5, 8, 17]), one_of(rng, &[1, 2, 4, 6, 11, 16, 33])];
            match rng.below(6) {
                0 => config.groups = 1 + rng.below(4) as usize,
                1 => {
                    config.groups = one_of(rng, &[2, 3, 9, 16]);
                    config.channels = [1, one_of(rng, &[1, 1, 2])];
                }
                _ => {}
            }
            let mut zeros = || rng.below(4) as usize;
            let explicit = Padding::Explicit([0, 1].map(|_| [zeros(), zeros()]));
            config.padding =
                one_of(rng, &[Padding::Valid, Padding::SameUpper, Padding::SameLower, explicit, explicit]);
            if number % POINTWISE == 1 {
                // Whole vectors of pixels, as matrices.
                config.size[1] = config.size[1].next_multiple_of(4);
                config.channels = [one_of(rng, &[4, 6, 17, 32, 40]), one_of(rng, &[3, 5, 16, 31, 33])];
                (config.kernel, config.stride, config.groups) = ([1, 1], [1, 1], 1);
                (config.padding, config.kernels) = (Padding::Valid, Kernels::Tiles);
                if rng.below(3) == 0 {
                    // Of every second pixel.
                    config.stride = [2, 2];
                    config.size = config.size.map(|n| n.next_multiple_of(2));
                }
            }
            if config.fits() && config.multiplications() <= LARGEST {
                return config;
            }
        }
    }

    /// Zeros before and after along one axis.
    fn zeros(&self, axis: usize) -> [usize; 2] {
        let (extent, stride) = (self.size[axis], self.stride[axis]);
        let span = (self.kernel[axis] - 1) * self.dilation[axis] + 1;
        // SAME as TensorFlow documents it.
        let total = match extent % stride {
            0 => span.saturating_sub(stride),
            rest => span.saturating_sub(rest),
        };
        match self.padding {
            Padding::SameUpper => [total / 2, total - total / 2],
            Padding::SameLower => [total - total / 2, total / 2],
            Padding::Explicit(zeros) => zeros[axis],
            _ => [0, 0],
        }
    }

    fn fits(&self) -> bool {
        (0..2).all(|axis| {
            let [before, after] = self.zeros(axis);
            (self.kernel[axis] - 1) * self.dilation[axis] < self.size[axis] + before + after
        })
    }

    /// Extents of the output along both axes.
    fn output(&self) -> [usize; 2] {
        [0, 1].map(|axis| {
            let [before, after] = self.zeros(axis);
            let span = (self.kernel[axis] - 1) * self.dilation[axis] + 1;
            (self.size[axis] + before + after - span) / self.stride[axis] + 1
        })
    }

    fn multiplications(&self) -> usize {
        let [c, o] = self.channels;
        let [oh, ow] = self.output();
        self.images * self.groups * o * oh * ow * c * self.kernel[0] * self.kernel[1]
    }

    /// Shapes of x, the weight, the bias and y.
    fn shapes(&self) -> [Vec<usize>; 4] {
        let ([c, o], [oh, ow]) = (self.channels, self.output());
        let outputs = self.groups * o;
        [
            vec![self.images, self.groups * c, self.size[0], self.size[1]],
            vec![outputs, c, self.kernel[0], self.kernel[1]],
            vec![outputs],
            vec![self.images, outputs, oh, ow],
        ]
    }
}

/// y, dx, dw and db by the formula, and for each how far off rounding in f32 may be.
fn truth(config: &Config, x: &[f32], w: &[f32], b: &[f32], dy: &[f32]) -> [(Vec<f64>, Vec<f64>); 4] {
    let [c_in, c_out] = config.channels;
    let ([h, wd], [kh, kw], [oh, ow]) = (config.size, config.kernel, config.output());
    let ([top, _], [left, _]) = (config.zeros(0), config.zeros(1));
    let zeros = |n: usize| (vec![0.0; n], vec![0.0; n]);
    let mut y = zeros(dy.len());
    let mut dx = zeros(x.len());
    let mut dw = zeros(w.len());
    let mut db = zeros(b.len());
    let add = |to: &mut (Vec<f64>, Vec<f64>), at: usize, value: f64| {
        to.0[at] += value;
        to.1[at] += value.abs();
    };
    for n in 0..config.images {
        for out in 0..config.groups * c_out {
            for oy in 0..oh {
                for ox in 0..ow {
                    let yi = ((n * config.groups * c_out + out) * oh + oy) * ow + ox;
                    let g = f64::from(dy[yi]);
                    add(&mut db, out, g);
                    if config.bias {
                        add(&mut y, yi, f64::from(b[out]));
                    }
                    for c in 0..c_in {
                        for ky in 0..kh {
                            for kx in 0..kw {
                                let iy =
                                    (oy * config.stride[0] + ky * config.dilation[0]) as i64 - top as i64;
                                let ix =
                                    (ox * config.stride[1] + kx * config.dilation[1]) as i64 - left as i64;
                                if iy < 0 || iy >= h as i64 || ix < 0 || ix >= wd as i64 {
                                    continue;
                                }
                                let channel = out / c_out * c_in + c;
                                let plane = n * config.groups * c_in + channel;
                                let xi = (plane * h + iy as usize) * wd + ix as usize;
                                let wi = ((out * c_in + c) * kh + ky) * kw + kx;
                                let (xv, wv) = (f64::from(x[xi]), f64::from(w[wi]));
                                add(&mut y, yi, xv * wv);
                                add(&mut dx, xi, g * wv);
                                add(&mut dw, wi, xv * g);
                            }
                        }
                    }
                }
            }
        }
    }
    // As many roundoffs as there are terms of a sum, of the sum of magnitudes.
    let terms = [c_in * kh * kw + 2, c_out * kh * kw + 1, config.images * oh * ow + 1];
    for (result, terms) in [(&mut y, terms[0]), (&mut dx, terms[1]), (&mut dw, terms[2]), (&mut db, terms[2])]
    {
        result.1.iter_mut().for_each(|size| *size = terms as f64 * *size / f64::from(1 << 24) + 1e-37);
    }
    [y, dx, dw, db]
}

/// The device that computes in f64 and rounds once, when it is read.
const WIDE: &str = "CPU in f64";

/// Names of what is compared.
const RESULTS: [&str; 4] = ["y", "dx", "dw", "db"];

/// y, dx, dw and db on a device.
fn computed(device: &Device, config: &Config, inputs: &[Vec<f32>; 4]) -> wgrad::Result<Vec<Vec<f32>>> {
    let shapes = config.shapes();
    let g = Graph::new();
    let x = g.input("x", &shapes[0]);
    let w = g.input("w", &shapes[1]);
    let b = g.input("b", &shapes[2]);
    let options = Conv2dOptions {
        stride: config.stride,
        padding: config.padding,
        dilation: config.dilation,
        groups: config.groups,
    };
    let y = x.conv2d_by(w, config.bias.then_some(b), &options, config.kernels);
    assert_eq!(y.shape().dims(), shapes[3], "{config:?}");
    let dy = g.constant(Tensor::new(&shapes[3], inputs[3].clone())?);
    g.output("y", y);
    for (name, d) in RESULTS[1..].iter().zip(g.gradients((y * dy).sum_all(), &[x, w, b])) {
        g.output(name, d);
    }
    let mut step = device.compile(&g)?;
    // Without a bias, nothing that is computed needs it.
    step.run_with(&[("x", (&inputs[0]).into()), ("w", (&inputs[1]).into()), ("b", (&inputs[2]).into())])?;
    RESULTS.iter().map(|name| step.values(name)).collect()
}

/// A device, with what it is called and, if it is one, the GPU of a class.
type Named = (String, Device, Option<Gpu>);

/// Every device and class of kernels.
fn devices() -> Vec<Named> {
    let mut devices: Vec<Named> =
        vec![("CPU in f32".to_string(), Device::cpu(), None), (WIDE.to_string(), Device::reference(), None)];
    for gpu in common::gpus() {
        let native = gpu.caps().class;
        let mut classes = vec![AdapterClass::Gpu, AdapterClass::Software];
        if native == AdapterClass::SoftwareLanes8 {
            classes.push(native);
        }
        for class in classes {
            // Launches of their own: joined ones, which `tests/joined.rs` compares, would be others for each shape.
            let gpu = gpu.with_class(class).unjoined();
            let device = Device::from(gpu.clone());
            devices.push((format!("{} as {class:?}", device.info()), device, Some(gpu)));
        }
    }
    devices
}

/// Fails unless tiles of every kind were computed with: else the plain kernels were compared again and again.
fn tiles_were_used(name: &str, gpu: &Gpu) {
    let keys: Vec<String> = gpu.kernels().into_iter().map(|kernel| kernel.key).collect();
    let of = |start: &str| keys.iter().filter(|key| key.starts_with(start)).count();
    // Groups of one channel, of every class; input dilation is that of a strided convolution's gradient.
    let dilated = keys.iter().filter(|key| key.starts_with("conv2d_depthwise.") && !key.contains("g1x1"));
    let walks = [of("conv2d_depthwise."), dilated.count(), of("conv2d_depthwise_weight.")];
    println!(
        "{name}: {} shapes of strips for images, {} of them with input dilation, {} for weights",
        walks[0], walks[1], walks[2]
    );
    assert!(
        walks.iter().zip([60, 15, 30]).all(|(n, least)| *n >= least),
        "{name}: {walks:?} shapes of strips"
    );
    if gpu.caps().class == AdapterClass::Gpu {
        // By what their texts know: any kernel, 3 × 3 and 1 × 1, rows of four, input dilation, the bias's gradient.
        let blocks = [("conv2d_block.", "g"), ("conv2d_backward_input_block.", "b")].map(|(start, never)| {
            let ways = [".k3x3", ".k1x1", "w", "r", "g"].map(|way| {
                keys.iter().filter(|k| k.starts_with(start)).any(|k| k[start.len()..].contains(way))
            });
            assert!(!keys.iter().any(|k| k.starts_with(start) && k.ends_with(never)), "{name}: {start}");
            (start, of(start), ways)
        });
        println!("{name}: {blocks:?}");
        assert!(blocks.iter().all(|(_, n, _)| *n >= 8), "{name}: {blocks:?}");
        assert_eq!(blocks[0].2, [true, true, true, true, false], "{name}: {blocks:?}");
        assert_eq!(blocks[1].2, [true, true, false, true, true], "{name}: {blocks:?}");
        let weights = of("conv2d_backward_weight_block.");
        assert!(weights >= 12, "{name}: {weights} blocks for weights");
    } else {
        // One kernel for each shape of a tile.
        let shapes = [of("conv2d_tile."), of("conv2d_weight_tile.")];
        println!("{name}: {} shapes of tiles for images, {} for weights", shapes[0], shapes[1]);
        assert!(shapes.iter().all(|n| *n >= 40), "{name}: {shapes:?} shapes of tiles");
        if gpu.caps().class == AdapterClass::SoftwareLanes8 {
            // Of weights: steps of whole rows, of pairs of columns after even and odd padding, and of single ones.
            let ways = [".w", ".pairs0", ".pairs1", ""].map(|way| {
                let is_other = |key: &str| way.is_empty() && (key.contains(".w") || key.contains(".pairs"));
                let weights = keys.iter().filter(|key| key.starts_with("conv2d_weight_tile."));
                weights.filter(|key| key.contains(way) && !is_other(key)).count()
            });
            println!("{name}: {ways:?} shapes of tiles for weights by their loads");
            assert!(
                ways.iter().all(|n| *n >= 4),
                "{name}: {ways:?} shapes of tiles for weights by their loads"
            );
        }
        let products = ["matmul_tile_nn.", "matmul_tile_tn.", "matmul_tile_nt."].map(of);
        println!("{name}: {products:?} variants of products");
        assert!(products.iter().all(|n| *n >= 2), "{name}: {products:?} variants of products");
    }
}

/// A configuration with inputs and what they make.
struct Case {
    config: Config,
    inputs: [Vec<f32>; 4],
    truth: [(Vec<f64>, Vec<f64>); 4],
}

impl Case {
    fn random(number: usize) -> Self {
        let mut rng = Rng::new(0xc04f, &number.to_string());
        let config = Config::random(&mut rng, number);
        let inputs = config.shapes().map(|dims| {
            let n: usize = dims.iter().product();
            (0..n).map(|_| rng.normal() as f32).collect::<Vec<f32>>()
        });
        let truth = truth(&config, &inputs[0], &inputs[1], &inputs[2], &inputs[3]);
        Case { config, inputs, truth }
    }

    /// The worst error in units of its tolerance, and what is wrong.
    fn run(&self, name: &str, device: &Device) -> (f64, Vec<String>) {
        let config = &self.config;
        let computed =
            computed(device, config, &self.inputs).unwrap_or_else(|e| panic!("{name}: {config:?}: {e}"));
        let (mut worst, mut failures) = (0f64, Vec::new());
        for (k, ((values, bounds), got)) in self.truth.iter().zip(computed).enumerate() {
            if k == 3 && !config.bias {
                assert!(got.iter().all(|d| *d == 0.0));
                continue;
            }
            assert_eq!(values.len(), got.len());
            for (at, (value, got)) in values.iter().zip(got).enumerate() {
                let allowed = match name == WIDE {
                    // 2^-53 is far less than a millionth of 2^-24.
                    true => value.abs() / f64::from(1 << 24) + 1e-6 * bounds[at],
                    false => bounds[at],
                };
                let off = (value - f64::from(got)).abs() / allowed;
                worst = worst.max(off);
                // NaN is off, too.
                if !matches!(off.partial_cmp(&1.0), Some(std::cmp::Ordering::Less)) {
                    failures.push(format!("{name}: {}[{at}] is {got}, not {value}: {config:?}", RESULTS[k]));
                    break;
                }
            }
        }
        (worst, failures)
    }
}

/// All cases on one device: what is wrong.
fn all_on((name, device, gpu): &Named, cases: &[Case]) -> Vec<String> {
    let (mut worst, mut failures) = (0f64, Vec::new());
    for case in cases {
        let (off, failed) = case.run(name, device);
        worst = worst.max(off);
        failures.extend(failed);
    }
    println!("{name}: {} convolutions, worst error {worst:.3} of its tolerance", cases.len());
    if let Some(gpu) = gpu {
        tiles_were_used(name, gpu);
    }
    // Bounds that nothing comes near prove little.
    assert!(worst > 0.05, "{name}: worst error {worst}");
    failures
}

#[test]
fn random_convolutions_agree_with_the_formula_in_all_directions() {
    let cases: Vec<Case> = (0..CONFIGURATIONS).map(Case::random).collect();
    let devices = devices();
    // Side by side: most of the time goes into compiling tiles, which a driver does in one thread.
    // But wgpu lets a thread wait for a context of OpenGL for six seconds at most, and compiling holds it: one after the other.
    let is_gl = |named: &Named| named.1.info().backend == "Gl";
    let groups: Vec<&[Named]> = devices.chunk_by(|a, b| is_gl(a) && is_gl(b)).collect();
    let failures: Vec<String> = std::thread::scope(|scope| {
        let threads: Vec<_> = groups
            .into_iter()
            .map(|group| {
                let cases = &cases;
                scope.spawn(move || group.iter().flat_map(|named| all_on(named, cases)).collect::<Vec<_>>())
            })
            .collect();
        threads.into_iter().flat_map(|t| t.join().expect("the thread of a device")).collect()
    });
    println!("{} configurations on {} devices", cases.len(), devices.len());
    let list = failures[..failures.len().min(20)].join("\n");
    assert!(failures.is_empty(), "{} failures:\n{list}", failures.len());
}
