//! Batch normalization: every channel over all images and positions. Kernels: `shaders/batch_norm.wgsl`.

mod cases;
mod fast;
mod grad;
mod inference;

pub(super) use cases::cases;
pub(crate) use cases::long_cases;
pub(super) use fast::dot;
use grad::BatchNormGrad;
use inference::BatchNormInference;

use super::elementwise::Around;
use super::{
    AdapterClass, Arg, Backward, Caps, Cut, Dispatch, Gradients, In, Kernel, KernelContext, Op, Out, Outputs,
    Program, Real, Reference, TINY, Traits, UNIT, expect, uniform,
};
use crate::error::Result;
use crate::graph::Var;
use crate::shape::{DType, Shape, TensorType};

/// y = (x - mean) / √(variance + eps) · weight + bias, with the mean and the biased variance of each channel
/// over the batch: Ioffe and Szegedy, ICML 2015, algorithm 1. Takes x `[n, c, ..]`, weight and bias `[c]`;
/// gives y as x, and mean and variance `[c]`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BatchNorm {
    pub(crate) eps: f32,
}

/// Elements or vectors that an invocation goes over one after the other on a software adapter.
const EACH: usize = 4;

/// Loop iterations of the 64 invocations of a channel beside one for each of their elements: steps of four leave three, and two
/// things are put together.
const BESIDE: usize = 3 + 2 * 6;

/// x as `[images, channels, spatial]`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layout {
    images: usize,
    channels: usize,
    spatial: usize,
}

/// What a kernel goes over.
#[derive(Debug, Clone, Copy)]
enum ChannelPass {
    /// A workgroup for each chunk of each channel.
    Channels,
    /// An invocation for each channel, which puts chunks together.
    Chunks,
    /// Elements one by one, or vectors, which go on with what follows the first output.
    Elements,
}

impl Layout {
    fn of(x: &Shape) -> Self {
        let spatial = x.dims().iter().skip(2).product();
        Layout { images: x.dim(0), channels: x.dim(1), spatial }
    }

    /// Rows of `[rows, width]` in the place of channels.
    pub(super) fn rows(rows: usize, width: usize) -> Self {
        Layout { images: 1, channels: rows, spatial: width }
    }

    /// Elements of a channel.
    fn count(&self) -> usize {
        self.images * self.spatial
    }

    /// Where the elements of channel `c` are.
    pub(super) fn elements(self, c: usize) -> impl Iterator<Item = usize> + Clone {
        let Layout { images, channels, spatial } = self;
        (0..images).flat_map(move |n| {
            let start = (n * channels + c) * spatial;
            start..start + spatial
        })
    }

    fn is_vec4(&self) -> bool {
        self.spatial.is_multiple_of(4)
    }

    /// Chunks that a channel is gone over in, and elements, or vectors, of each.
    fn chunks(&self, caps: &Caps) -> Cut {
        let all = self.count() / if self.is_vec4() { 4 } else { 1 };
        caps.cut(all, 64 * (caps.max_loop_iterations as usize).saturating_sub(BESIDE))
    }

    /// A launch of `entry`, or of its form for vectors where they fit.
    fn launch(
        &self,
        entry: &str,
        mut args: Vec<Arg>,
        eps: f32,
        walk: ChannelPass,
        ctx: &KernelContext<'_>,
    ) -> Result<Dispatch> {
        let joins = matches!(walk, ChannelPass::Chunks);
        let Cut { pieces: chunks, length } = self.chunks(ctx.caps);
        let (name, spatial, length) = match self.is_vec4() {
            true if joins => (entry.to_string(), self.spatial, 4 * length),
            true => (format!("{entry}_vec4"), self.spatial / 4, length),
            false => (entry.to_string(), self.spatial, length),
        };
        // A load costs a software adapter as much whether its neighbours want the same or not; a GPU wants neighbours
        // to read neighbours.
        let each = if ctx.caps.class == AdapterClass::Gpu { 1 } else { EACH.min(spatial.max(1)) };
        let params = uniform! { images: self.images, channels: self.channels, spatial, each, eps, length };
        let (workgroups, iterations) = match walk {
            ChannelPass::Channels => (self.channels * chunks, length.div_ceil(64) + BESIDE),
            ChannelPass::Chunks => (self.channels.div_ceil(64), chunks),
            ChannelPass::Elements => {
                ((self.images * self.channels * spatial.div_ceil(each)).div_ceil(64), each)
            }
        };
        let kernel = if matches!(walk, ChannelPass::Elements) {
            args.extend(ctx.epilogue_args());
            Around::after(ctx.fusion.epilogue, self.is_vec4()).kernel(&name)?
        } else {
            Kernel::library(&name)?
        };
        Ok(ctx.launch(kernel, args, &params, workgroups)?.loop_iterations(iterations))
    }
}

/// The layout of x, if all others are one number per channel.
fn layout(eps: f32, x: TensorType, others: &[TensorType]) -> Result<Layout, String> {
    if !(eps.is_finite() && eps > 0.0) {
        return Err(format!("eps must be a number above 0, got {eps}"));
    }
    if x.shape.rank() < 2 {
        return Err(format!("takes [n, c, ..], got {}", x.shape));
    }
    let channels = x.shape.dim(1);
    match others.iter().find(|t| t.shape.dims() != [channels]) {
        Some(other) => {
            Err(format!("{channels} channels need a value each, [{channels}], got {}", other.shape))
        }
        None => Ok(Layout::of(&x.shape)),
    }
}

/// Mean and biased variance of channel `c`.
pub(super) fn moments<T: Real>(x: &[T], layout: Layout, c: usize) -> (T, T) {
    let m = T::of(layout.count() as f64);
    let mean = layout.elements(c).fold(T::zero(), |s, i| s + x[i]) / m;
    let squares = layout.elements(c).fold(T::zero(), |s, i| s + (x[i] - mean) * (x[i] - mean));
    (mean, squares / m)
}

impl<T: Real> Reference<T> for BatchNorm {
    fn eval(&self, inputs: &[In<'_, T>], outputs: &mut [Out<'_, T>]) -> Result<(), String> {
        let layout = Layout::of(&inputs[0].shape);
        let (x, weight, bias) = (inputs[0].f(), inputs[1].f(), inputs[2].f());
        let [y, means, variances] = outputs else { return Err("gives y, mean and variance".into()) };
        let (y, means, variances) = (y.f(), means.f(), variances.f());
        for c in 0..layout.channels {
            let (mean, variance) = moments(x, layout, c);
            let scale = weight[c] / (variance + T::of(f64::from(self.eps))).sqrt();
            layout.elements(c).for_each(|i| y[i] = (x[i] - mean) * scale + bias[c]);
            (means[c], variances[c]) = (mean, variance);
        }
        Ok(())
    }

    fn eval_fast(&self, inputs: &[In<'_, T>], outputs: &mut [Out<'_, T>]) -> Result<(), String> {
        let layout = Layout::of(&inputs[0].shape);
        let (x, weight, bias) = (inputs[0].f(), inputs[1].f(), inputs[2].f());
        let [y, means, variances] = outputs else { return Err("gives y, mean and variance".into()) };
        let (y, means, variances) = (y.f(), means.f(), variances.f());
        layout.moments(x, means, variances);
        layout.normalize(x, [weight, bias, means, variances], self.eps, y);
        Ok(())
    }
}

/// Bounds of the errors of mean and variance of a channel.
pub(super) fn moment_bounds(x: &[f64], layout: Layout, c: usize, mean: f64, variance: f64) -> (f64, f64) {
    let m = layout.count() as f64;
    let average = |from: f64| layout.elements(c).map(|i| (x[i] - from).abs()).sum::<f64>() / m;
    // Everything is less the first element. On a GPU a step to the mean of n elements has four roundings of numbers not
    // above the mean of their magnitudes, of which later ones leave their share. Each square is of a number that is off by
    // such an error, once, and rounded like their sum. A CPU adds, in m - 1 additions and a quotient, then adds squares
    // of what is off by no more.
    let first = layout.elements(c).next().map_or(0.0, |i| x[i]);
    let off = (m + 16.0) * UNIT * average(first) + TINY;
    let of_mean = off + 2.0 * UNIT * mean.abs();
    let of_variance = (m + 24.0) * UNIT * variance + 2.0 * off * variance.sqrt() + 2.0 * off * off + TINY;
    (of_mean, of_variance)
}

/// Bound of the relative error of 1/√(variance + eps) where the variance is off by `error`.
pub(super) fn root_bound(variance: f64, error: f64, eps: f64) -> f64 {
    let relative = (error / (variance + eps) + UNIT).min(0.5);
    // inverseSqrt is good to 2 units in the last place, which are two roundoffs each.
    (1.0 - relative).powf(-0.5) - 1.0 + 4.0 * UNIT
}

/// Bound of the error of d · scale + bias where the mean in d is off by `mean_error`, and 1/√(variance + eps) by a share of `root`.
pub(super) fn normalized_bound(d: f64, scale: f64, bias: f64, root: f64, mean_error: f64) -> f64 {
    let (d, scale) = (d.abs(), scale.abs());
    let term = scale * (d * (root + 4.0 * UNIT) + mean_error * (1.0 + root));
    term + UNIT * (scale * d + bias.abs()) * 2.0 + TINY
}

impl Op for BatchNorm {
    fn name(&self) -> &'static str {
        "batch_norm"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, String> {
        expect(inputs, &[DType::F32; 3])?;
        let layout = layout(self.eps, inputs[0], &inputs[1..])?;
        if layout.count() < 2 {
            return Err(format!(
                "a channel of {} has one element, which has no variance; train on batches of 2 rows or more",
                inputs[0].shape
            ));
        }
        Ok(vec![inputs[0], inputs[1], inputs[1]])
    }

    fn grad<'g>(&self, Backward { inputs, outputs, upstream, needed }: Backward<'_, 'g>) -> Gradients<'g> {
        let (x, weight, mean, variance) = (inputs[0], inputs[1], outputs[1], outputs[2]);
        let mut gradients = match upstream[0] {
            Some(dy) => {
                let op = BatchNormGrad { eps: self.eps };
                dy.graph().record(op, &[x, weight, mean, variance, dy]).into_iter().map(Some).collect()
            }
            None => vec![None; 3],
        };
        gradients.truncate(3);
        if !needed[0] {
            return Ok(gradients);
        }
        // What is made of mean and variance themselves: d mean / dx = 1/m, d variance / dx = 2 (x - mean) / m.
        let share = 1.0 / Layout::of(&x.shape()).count() as f32;
        let mut add = |part: Var<'g>| gradients[0] = Some(gradients[0].map_or(part, |sum| sum + part));
        if let Some(dmean) = upstream[1] {
            add(per_channel(dmean * share, x).broadcast_to(x.shape().dims()));
        }
        if let Some(dvariance) = upstream[2] {
            add((x - per_channel(mean, x)) * per_channel(dvariance * (2.0 * share), x));
        }
        Ok(gradients)
    }

    /// A launch that reads x for its moments, and one that reads it to normalize.
    fn dispatch(&self, ctx: &KernelContext<'_>) -> Result<Program> {
        let layout = Layout::of(&ctx.inputs[0].shape);
        let moments = vec![Arg::Input(0), Arg::Output(1), Arg::Output(2)];
        let apply = vec![
            Arg::Input(0),
            Arg::Input(1),
            Arg::Input(2),
            Arg::OutputRead(1),
            Arg::OutputRead(2),
            Arg::Output(0),
        ];
        let launch = |entry, args, walk| layout.launch(entry, args, self.eps, walk, ctx);
        let (mut dispatches, mut scratch) = (Vec::new(), Vec::new());
        match layout.chunks(ctx.caps).pieces {
            1 => dispatches.push(launch("batch_norm_moments", moments, ChannelPass::Channels)?),
            chunks => {
                let join = vec![Arg::Input(0), Arg::ScratchRead(0), Arg::Output(1), Arg::Output(2)];
                let moments = vec![Arg::Input(0), Arg::Scratch(0)];
                dispatches.push(launch("batch_norm_chunk", moments, ChannelPass::Channels)?);
                dispatches.push(launch("batch_norm_join", join, ChannelPass::Chunks)?);
                scratch.push(4 * 3 * chunks * layout.channels);
            }
        }
        dispatches.push(launch("batch_norm_apply", apply, ChannelPass::Elements)?);
        Ok(Program::new(dispatches, scratch))
    }

    fn error_bound(&self, inputs: &[In<'_, f64>], outputs: &[In<'_, f64>]) -> Vec<Vec<f64>> {
        let layout = Layout::of(&inputs[0].shape);
        let (x, weight, bias) = (inputs[0].f(), inputs[1].f(), inputs[2].f());
        let mut bounds = vec![vec![0.0; x.len()], Vec::new(), Vec::new()];
        for c in 0..layout.channels {
            let (mean, variance) = (outputs[1].f()[c], outputs[2].f()[c]);
            let (mean_error, variance_error) = moment_bounds(x, layout, c, mean, variance);
            let eps = f64::from(self.eps);
            let root = root_bound(variance, variance_error, eps);
            let scale = weight[c] / (variance + eps).sqrt();
            for i in layout.elements(c) {
                bounds[0][i] = normalized_bound(x[i] - mean, scale, bias[c], root, mean_error);
            }
            bounds[1].push(mean_error);
            bounds[2].push(variance_error);
        }
        bounds
    }

    fn flops(&self, inputs: &[TensorType], _: &[TensorType]) -> u64 {
        7 * inputs[0].shape.elements() as u64
    }

    fn traits(&self) -> Traits {
        Traits::default().keeping_f32(Outputs::OTHERS).taking_epilogues()
    }
}

/// `[c]` as `[1, c, 1, ..]`, to be broadcast over `x`.
pub(super) fn per_channel<'g>(v: Var<'g>, x: Var<'g>) -> Var<'g> {
    let shape = x.shape();
    let dims: Vec<usize> = (0..shape.rank()).map(|a| if a == 1 { shape.dim(1) } else { 1 }).collect();
    v.reshape(dims.as_slice())
}

impl<'g> Var<'g> {
    /// Normalizes every channel of `[n, c, ..]` over the batch and all positions, then scales by `weight` and
    /// adds `bias`, both `[c]`: training's form of batch normalization (Ioffe and Szegedy, ICML 2015,
    /// algorithm 1). Gives y, and the mean and the biased variance `[c]` of each channel; gradients flow
    /// through all three.
    ///
    /// It is a recording error if a channel has a single element.
    #[track_caller]
    pub fn batch_norm(self, weight: Var<'g>, bias: Var<'g>, eps: f32) -> [Var<'g>; 3] {
        let made = self.graph.record(BatchNorm { eps }, &[self, weight, bias]);
        [made[0], made[1], made[2]]
    }

    /// (x - mean) / √(variance + eps) · weight + bias per channel of `[n, c, ..]`, with a mean and a variance
    /// `[c]` from elsewhere: the form for inference.
    #[track_caller]
    pub fn batch_norm_inference(
        self,
        weight: Var<'g>,
        bias: Var<'g>,
        mean: Var<'g>,
        variance: Var<'g>,
        eps: f32,
    ) -> Var<'g> {
        self.graph.record_one(BatchNormInference { eps }, &[self, weight, bias, mean, variance])
    }
}

#[cfg(test)]
mod tests {
    use crate::ops::testing::{gradients_agree, noise};
    use crate::{Device, Graph};

    #[test]
    fn the_example_of_the_definition() {
        let g = Graph::new();
        // Channel 0 holds 1, 3, 5, 7; channel 1 is constant.
        let x = g.input("x", [2, 2, 2]);
        let [y, mean, variance] = x.batch_norm(g.input("w", [2]), g.input("b", [2]), 1e-12);
        for (name, v) in [("y", y), ("mean", mean), ("variance", variance)] {
            g.output(name, v);
        }
        let mut step = Device::reference().compile(&g).unwrap();
        let feed = [1.0, 3.0, 2.0, 2.0, 5.0, 7.0, 2.0, 2.0];
        step.run_with(&[("x", (&feed).into()), ("w", (&[1.0, 5.0]).into()), ("b", (&[0.0, 0.5]).into())])
            .unwrap();
        let mut read = |name| step.read(name).unwrap().wait().unwrap().as_f32().to_vec();
        assert_eq!(read("mean"), [4.0, 2.0]);
        assert_eq!(read("variance"), [5.0, 0.0]);
        let s = 5f32.sqrt();
        let expected = [-3.0 / s, -1.0 / s, 0.5, 0.5, 1.0 / s, 3.0 / s, 0.5, 0.5];
        let y = read("y");
        assert!(y.iter().zip(expected).all(|(y, e)| (y - e).abs() < 1e-6), "{y:?}");
    }

    #[test]
    fn second_derivatives_flow_through_the_statistics() {
        let inputs = [(&[3, 2, 2][..], noise(12, 1)), (&[2][..], noise(2, 2)), (&[2][..], noise(2, 3))];
        gradients_agree(&inputs, |v| {
            let [y, mean, variance] = v[0].batch_norm(v[1], v[2], 1e-3);
            y.tanh().sum_all() + (mean * variance).sum_all()
        });
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let message = |x: &[usize], w: &[usize], eps| {
            let g = Graph::new();
            g.input("x", x).batch_norm(g.input("w", w), g.input("b", w), eps);
            g.error().map_or_else(String::new, |e| e.to_string())
        };
        assert!(message(&[4], &[4], 1e-5).contains("takes [n, c, ..]"));
        assert!(message(&[4, 3], &[4], 1e-5).contains("3 channels need a value each"));
        assert!(message(&[1, 3], &[3], 1e-5).contains("2 rows or more"));
        assert!(message(&[4, 3], &[3], 0.0).contains("eps"));
        assert!(message(&[1, 3, 2], &[3], 1e-5).is_empty());
    }
}
