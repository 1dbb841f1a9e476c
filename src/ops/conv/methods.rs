//! The methods that record convolutions. Those along one and three axes, and transposed ones, are the convolution of images or its
//! gradient, of the same elements under other extents. Along depth, windows are unfolded into channels ([`super::unfold`]).

use super::geometry::Window;
use super::options::{ConvOptions, ConvTransposeOptions, extents};
use super::unfold::Depth;
use super::{
    Conv1dOptions, Conv2d, Conv2dOptions, Conv3dOptions, ConvTranspose1dOptions, ConvTranspose2dOptions,
    ConvTranspose3dOptions, Kernels,
};
use crate::graph::Var;

/// Which two axes a convolution of images has in the place of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Plane {
    /// One row, of a sequence.
    Row,
    /// Its own.
    Image,
    /// Depth and height as one: nothing slides along either.
    TallImage,
    /// Height and width as one: nothing slides along either.
    WideImage,
    /// Height and width of every window along depth, which are unfolded into channels.
    Slices,
}

impl Plane {
    fn of<const AXES: usize>(window: &Window<AXES>, kernel: &[usize; AXES]) -> Self {
        let is_flat = |axis: usize| window.is_flat(axis, kernel[axis]);
        match AXES {
            1 => Plane::Row,
            2 => Plane::Image,
            _ if is_flat(0) && is_flat(1) => Plane::TallImage,
            _ if is_flat(1) && is_flat(2) => Plane::WideImage,
            _ => Plane::Slices,
        }
    }

    /// The two extents in the place of these.
    fn extents(self, own: &[usize]) -> [usize; 2] {
        match (self, own) {
            (Plane::TallImage, &[d, h, w]) => [d * h, w],
            (Plane::WideImage, &[d, h, w]) => [d, h * w],
            (_, &[.., h, w]) => [h, w],
            (_, own) => [1, own.iter().product()],
        }
    }

    fn window<const AXES: usize>(self, window: &Window<AXES>) -> Window {
        window.along(match self {
            Plane::Row => [None, Some(0)],
            Plane::Image => [Some(0), Some(1)],
            Plane::TallImage => [None, Some(2)],
            Plane::WideImage => [Some(0), None],
            Plane::Slices => [Some(1), Some(2)],
        })
    }
}

/// A convolution along any axes as one of images.
struct Planes<const AXES: usize> {
    plane: Plane,
    of: Conv2d,
    /// What is convolved, and what comes out, in the direction of the convolution.
    images: usize,
    channels: usize,
    size: [usize; AXES],
    outputs: [usize; AXES],
    /// The windows along depth, of those that have one.
    depth: Depth,
}

impl<const AXES: usize> Planes<AXES> {
    /// Of x `[images, channels, size..]` by a weight of these extents, which fit.
    fn new(
        window: &Window<AXES>,
        [images, channels]: [usize; 2],
        size: [usize; AXES],
        (kernel, outputs): ([usize; AXES], [usize; AXES]),
        kernels: Kernels,
    ) -> Self {
        let plane = Plane::of(window, &kernel);
        let of = Conv2d { window: plane.window(window), kernels };
        // Channels of all groups are unfolded alike.
        let window = Window { groups: 1, ..window.along([Some(0)]) };
        let depth = Depth { window, kernel: kernel[0], extent: size[0] };
        Planes { plane, of, images, channels, size, outputs, depth }
    }

    /// x as images, `[images, channels, size..]` before.
    #[track_caller]
    fn images<'g>(&self, x: Var<'g>) -> Var<'g> {
        let [h, w] = self.plane.extents(&self.size);
        if self.plane != Plane::Slices {
            return x.reshape([self.images, self.channels, h, w]);
        }
        let unfolded = self.depth.unfold(x.reshape([self.images, self.channels, self.size[0], h * w]));
        unfolded.reshape([unfolded.dim(0), unfolded.dim(1), h, w])
    }

    /// The other way: images added up where they overlap along depth.
    #[track_caller]
    fn volumes<'g>(&self, images: Var<'g>) -> Var<'g> {
        let whole = match self.plane {
            Plane::Slices => {
                let [h, w] = self.plane.extents(&self.size);
                self.depth.fold(images.reshape([images.dim(0), images.dim(1), h * w]), self.images)
            }
            _ => images,
        };
        whole.reshape(&[&[self.images, self.channels][..], &self.size].concat())
    }

    /// A weight `[o, c, kernel..]` as one of images: what is unfolded follows the channels.
    #[track_caller]
    fn weight<'g>(&self, weight: Var<'g>) -> Var<'g> {
        let (shape, unfolded) =
            (weight.shape(), if self.plane == Plane::Slices { self.depth.kernel } else { 1 });
        let [h, w] = self.plane.extents(&shape.dims()[2..]);
        weight.reshape([shape.dim(0), shape.dim(1) * unfolded, h, w])
    }

    /// The results of images, `[images, o, outputs..]`.
    #[track_caller]
    fn results<'g>(&self, y: Var<'g>) -> Var<'g> {
        let (o, outputs) = (y.dim(1), &self.outputs[..]);
        let y = match (self.plane, outputs) {
            (Plane::Slices, &[d, h, w]) if d > 1 => {
                y.reshape([self.images, d, o, h * w]).permute(&[0, 2, 1, 3])
            }
            _ => y,
        };
        y.reshape(&[&[self.images, o][..], outputs].concat())
    }

    /// The results' gradients as those of images.
    #[track_caller]
    fn result_images<'g>(&self, dy: Var<'g>) -> Var<'g> {
        let o = dy.dim(1);
        let [h, w] = self.plane.extents(&self.outputs);
        match (self.plane, &self.outputs[..]) {
            (Plane::Slices, &[d, ..]) if d > 1 => {
                let moved = dy.reshape([self.images, o, d, h * w]).permute(&[0, 2, 1, 3]);
                moved.reshape([self.images * d, o, h, w])
            }
            _ => dy.reshape([self.images, o, h, w]),
        }
    }
}

const FORWARD: [&str; 3] = ["conv1d", "conv2d", "conv3d"];
const TRANSPOSED: [&str; 3] = ["conv_transpose1d", "conv_transpose2d", "conv_transpose3d"];

impl<'g> Var<'g> {
    /// Convolution of sequences `[n, c, l]` with a weight `[o, c / groups, k]`, which is not flipped, plus a bias `[o]`: `[n, o, m]`,
    /// where m is (l + before + after - (k - 1) dilation - 1) / stride + 1, rounded down. It is [`Var::conv2d`] of images of one row.
    ///
    /// ```
    /// use wgrad::Graph;
    /// use wgrad::ops::{Conv1dOptions, Padding};
    /// let g = Graph::new();
    /// let causal = Conv1dOptions { padding: Padding::Explicit([[4, 0]]), dilation: [2], ..Default::default() };
    /// let y = g.input("x", [8, 3, 20]).conv1d(g.input("w", [5, 3, 3]), None, &causal);
    /// assert_eq!(y.shape().dims(), [8, 5, 20]);
    /// ```
    #[track_caller]
    pub fn conv1d(self, weight: Var<'g>, bias: Option<Var<'g>>, options: &Conv1dOptions) -> Var<'g> {
        self.convolve(weight, bias, options, Kernels::Best)
    }

    /// Convolution of images `[n, c, h, w]` with a weight `[o, c / groups, kh, kw]`, which is not flipped,
    /// plus a bias `[o]`: `[n, o, oh, ow]`, where oh is (h + top + bottom - (kh - 1) dilation - 1) / stride + 1,
    /// rounded down.
    #[track_caller]
    pub fn conv2d(self, weight: Var<'g>, bias: Option<Var<'g>>, options: &Conv2dOptions) -> Var<'g> {
        self.convolve(weight, bias, options, Kernels::Best)
    }

    /// The same by chosen kernels, and its gradients too: for benches and tests.
    #[doc(hidden)]
    #[track_caller]
    pub fn conv2d_by(
        self,
        weight: Var<'g>,
        bias: Option<Var<'g>>,
        options: &Conv2dOptions,
        kernels: Kernels,
    ) -> Var<'g> {
        self.convolve(weight, bias, options, kernels)
    }

    /// Convolution of volumes `[n, c, d, h, w]` with a weight `[o, c / groups, kd, kh, kw]`, which is not flipped, plus a bias
    /// `[o]`: `[n, o, od, oh, ow]`, with extents as [`Var::conv2d`] has them.
    ///
    /// It is [`Var::conv2d`] of images whose channels are the windows along depth, and their copy, which the gradient of the weight
    /// reads again, takes od kd / d times the memory of this. None is made where the kernel has one element along depth and height,
    /// or along height and width, and where one window is all of the depth.
    ///
    /// ```
    /// use wgrad::Graph;
    /// use wgrad::ops::{Conv3dOptions, Padding};
    /// let g = Graph::new();
    /// let same = Conv3dOptions { padding: Padding::SameUpper, ..Default::default() };
    /// let y = g.input("x", [2, 3, 8, 16, 16]).conv3d(g.input("w", [5, 3, 3, 3, 3]), None, &same);
    /// assert_eq!(y.shape().dims(), [2, 5, 8, 16, 16]);
    /// ```
    #[track_caller]
    pub fn conv3d(self, weight: Var<'g>, bias: Option<Var<'g>>, options: &Conv3dOptions) -> Var<'g> {
        self.convolve(weight, bias, options, Kernels::Best)
    }

    /// One gradient of the convolution of this with `weight`, from that of its output: of the weight, or
    /// of this. For benches, which time one direction alone.
    #[doc(hidden)]
    #[track_caller]
    pub fn conv2d_gradient(
        self,
        weight: Var<'g>,
        dy: Var<'g>,
        of_weight: bool,
        options: &Conv2dOptions,
        kernels: Kernels,
    ) -> Var<'g> {
        match options.window(self.shape().dims(), weight.shape().dims()) {
            Ok(window) if of_weight => Conv2d { window, kernels }.backward_weight(self, dy, weight, false)[0],
            Ok(window) => {
                let size = [self.dim(2), self.dim(3)];
                Conv2d { window, kernels }.backward_input(dy, weight, None, size)
            }
            Err(message) => self.graph.refuse("conv2d", message, self),
        }
    }

    /// Convolution along the last `AXES` axes.
    #[track_caller]
    pub(crate) fn convolve<const AXES: usize>(
        self,
        weight: Var<'g>,
        bias: Option<Var<'g>>,
        options: &ConvOptions<AXES>,
        kernels: Kernels,
    ) -> Var<'g> {
        let (x, w) = (self.shape(), weight.shape());
        let recorded = options.window(x.dims(), w.dims()).and_then(|window| {
            let [size, kernel] = extents(x.dims(), w.dims(), "")?;
            let outputs = window.outputs(x.dims(), w.dims())?;
            fits_bias(bias, w.dim(0))?;
            Ok(Planes::new(&window, [x.dim(0), x.dim(1)], size, (kernel, outputs), kernels))
        });
        match recorded {
            Ok(p) => p.results(p.of.forward(p.images(self), p.weight(weight), bias)),
            Err(message) => self.refuse_with(weight, bias, FORWARD[AXES.clamp(1, 3) - 1], message),
        }
    }

    /// Transposed convolution of sequences `[n, c, l]` with a weight `[c, o / groups, k]`, plus a bias `[o]`: the gradient of the
    /// sequences of the [`Var::conv1d`] that takes `[n, o, m]` to `[n, c, l]` by this weight, with
    /// m = (l - 1) stride - before - after + (k - 1) dilation + output_padding + 1, as in PyTorch.
    #[track_caller]
    pub fn conv_transpose1d(
        self,
        weight: Var<'g>,
        bias: Option<Var<'g>>,
        options: &ConvTranspose1dOptions,
    ) -> Var<'g> {
        self.convolve_transposed(weight, bias, options)
    }

    /// Transposed convolution of images `[n, c, h, w]` with a weight `[c, o / groups, kh, kw]`, plus a bias `[o]`: the gradient of
    /// the images of the [`Var::conv2d`] that takes `[n, o, oh, ow]` to `[n, c, h, w]` by this weight, with
    /// oh = (h - 1) stride - top - bottom + (kh - 1) dilation + output_padding + 1, as in PyTorch (Zeiler, Krishnan, Taylor and
    /// Fergus, "Deconvolutional Networks", CVPR 2010; Dumoulin and Visin, arXiv:1603.07285, chapter 4).
    ///
    /// ```
    /// use wgrad::Graph;
    /// use wgrad::ops::{ConvTranspose2dOptions, Padding};
    /// let g = Graph::new();
    /// let twice = ConvTranspose2dOptions { stride: [2, 2], padding: Padding::all(1), ..Default::default() };
    /// let y = g.input("x", [8, 6, 5, 7]).conv_transpose2d(g.input("w", [6, 3, 4, 4]), None, &twice);
    /// assert_eq!(y.shape().dims(), [8, 3, 10, 14]);
    /// ```
    #[track_caller]
    pub fn conv_transpose2d(
        self,
        weight: Var<'g>,
        bias: Option<Var<'g>>,
        options: &ConvTranspose2dOptions,
    ) -> Var<'g> {
        self.convolve_transposed(weight, bias, options)
    }

    /// Transposed convolution of volumes `[n, c, d, h, w]` with a weight `[c, o / groups, kd, kh, kw]`, plus a bias `[o]`: the
    /// gradient of the volumes of the [`Var::conv3d`] that takes `[n, o, od, oh, ow]` to `[n, c, d, h, w]` by this weight, with
    /// extents as [`Var::conv_transpose2d`] has them. Before windows along depth are added up they take kd times the memory of d
    /// slices of the result.
    #[track_caller]
    pub fn conv_transpose3d(
        self,
        weight: Var<'g>,
        bias: Option<Var<'g>>,
        options: &ConvTranspose3dOptions,
    ) -> Var<'g> {
        self.convolve_transposed(weight, bias, options)
    }

    /// Transposed convolution along the last `AXES` axes.
    #[track_caller]
    pub(crate) fn convolve_transposed<const AXES: usize>(
        self,
        weight: Var<'g>,
        bias: Option<Var<'g>>,
        options: &ConvTransposeOptions<AXES>,
    ) -> Var<'g> {
        let (x, w) = (self.shape(), weight.shape());
        let recorded = options.window(x.dims(), w.dims()).and_then(|(window, size)| {
            let [outputs, kernel] = extents(x.dims(), w.dims(), "")?;
            let channels = w.dim(1) * options.groups;
            let y = [&[x.dim(0), channels][..], &size].concat();
            // The convolution that it is the gradient of must give this.
            if window.outputs(&y, w.dims())? != outputs {
                return Err(format!("{options:?} do not fit extents {outputs:?} and kernel {kernel:?}"));
            }
            fits_bias(bias, channels)?;
            Ok(Planes::new(&window, [x.dim(0), channels], size, (kernel, outputs), Kernels::Best))
        });
        match recorded {
            Ok(p) => {
                // Where windows overlap along depth, a bias is added to their sum.
                let [inner, outer] = if p.is_folded() { [None, bias] } else { [bias, None] };
                let size = p.plane.extents(&p.size);
                let images = p.of.backward_input(p.result_images(self), p.weight(weight), inner, size);
                let y = p.volumes(images);
                match outer {
                    Some(bias) => y + bias.reshape(&[&[p.channels][..], &[1; AXES]].concat()),
                    None => y,
                }
            }
            Err(message) => self.refuse_with(weight, bias, TRANSPOSED[AXES.clamp(1, 3) - 1], message),
        }
    }

    /// Keeps the mistake, unless one of the values comes of another.
    #[track_caller]
    fn refuse_with(self, weight: Var<'g>, bias: Option<Var<'g>>, op: &str, message: String) -> Var<'g> {
        let poisoned = [self, weight].into_iter().chain(bias).find(|v| v.is_poisoned());
        self.graph.refuse(op, message, poisoned.unwrap_or(self))
    }
}

impl<const AXES: usize> Planes<AXES> {
    /// Whether windows along depth are added up.
    fn is_folded(&self) -> bool {
        self.plane == Plane::Slices && self.depth.kernel > 1
    }
}

fn fits_bias(bias: Option<Var<'_>>, channels: usize) -> Result<(), String> {
    super::fits_bias(bias.map(|bias| bias.tensor_type()).as_ref(), channels)
}
