//! Which register tile computes the gradient of the weight on a software adapter. Their text is
//! `shaders/software/conv2d_weight_tile.wgsl.jinja`.

use minijinja::{Value, context};

use super::geometry::Geometry;
use super::kernels::Problem;
use crate::error::Result;
use crate::ops::candidates::WORKGROUPS;
use crate::ops::split_k::{ChannelsLast, SplitK, split_k};
use crate::ops::text::{rendered, widest};
use crate::ops::{AdapterClass, Arg, Kernel, KernelContext, Program, uniform};

/// A variant of the kernel: what its text depends on.
#[derive(Debug, Clone, Copy)]
struct Tile {
    broadcast: bool,
    /// Output channels in a vector: 1, 2 or 4.
    lanes: usize,
    /// Input channels and rows of the kernel of one tile.
    channels: usize,
    rows: usize,
    kw: usize,
    stride: usize,
    dilation: usize,
    /// Output pixels of a row in each step, and how many of them load at once.
    pixels: usize,
    vector: usize,
    inputs: Inputs,
    /// Whether dy is summed up too.
    bias: bool,
    /// Whether output channels are last in what is stored: fewer and wider stores, which compile faster.
    last: bool,
}

/// How the inputs of a row that the pixels of a step meet are loaded.
#[derive(Debug, Clone, Copy)]
struct Inputs {
    /// Columns in a load: 1, 2 or 4.
    unit: usize,
    /// The first load's first column, from the column that the first pixel's stride leads to, and loads of a row.
    first: i64,
    loads: usize,
    /// Set where the step is a whole row: its columns, so that the text knows which inputs are padding.
    whole: Option<usize>,
    /// Columns of padding before a row.
    left: i64,
}

impl Inputs {
    fn of(g: &Geometry, pixels: usize, class: AdapterClass) -> Self {
        let left = g.left as i64;
        let span = (pixels - 1) * g.stride[1] + (g.kw - 1) * g.dilation[1] + 1;
        let single = Inputs { unit: 1, first: -left, loads: span, whole: None, left };
        if class != AdapterClass::SoftwareLanes8 {
            return single;
        }
        if pixels == g.ow {
            let unit = widest(|n| g.w.is_multiple_of(n));
            // Of the row's loads those that are met.
            let met = |column: usize| usize::try_from(column as i64 - left).ok().filter(|&at| at < g.w);
            let column = |pixel, kx| pixel * g.stride[1] + kx * g.dilation[1];
            let all = (0..pixels).flat_map(|pixel| (0..g.kw).filter_map(move |kx| met(column(pixel, kx))));
            let first = all.clone().min().unwrap_or(0) / unit;
            let loads = all.max().unwrap_or(0) / unit + 1 - first;
            return Inputs { unit, first: (first * unit) as i64, loads, whole: Some(g.w), left };
        }
        // Pairs begin at even columns.
        if g.w.is_multiple_of(2) && (pixels * g.stride[1]).is_multiple_of(2) {
            let before = (left % 2) as usize;
            let loads = (before + span).div_ceil(2);
            return Inputs { unit: 2, first: -left - before as i64, loads, whole: None, left };
        }
        single
    }

    /// The load of its row that has the input which a pixel and an element of the kernel meet, and where in it.
    fn locate(&self, column: usize) -> Option<(usize, usize)> {
        let at = column as i64 - self.left;
        if self.whole.is_some_and(|columns| !(0..columns as i64).contains(&at)) {
            return None;
        }
        let at = usize::try_from(at - self.first).ok()?;
        Some((at / self.unit, at % self.unit))
    }
}

/// Vectors of sums in one invocation, and multiply-add lines of one kernel, which decide how long it compiles.
/// Tried on llvmpipe with 3×3 kernels, 16 to 32 channels: half the sums cost 1.3 times the time, twice the sums or
/// lines gain nothing.
const SUMS: usize = 36;
const LINES: usize = 144;
/// The same where each invocation loads all inputs itself. On llvmpipe 36 and 144 are some 5 to 10 % faster
/// still, and take twice as long to compile.
const OWN_SUMS: usize = 18;
const OWN_LINES: usize = 72;

/// The best tile; `None` where a kernel is too wide for any.
fn choose(g: &Geometry, class: AdapterClass, bias: bool) -> Option<Tile> {
    if g.kw > SUMS {
        return None;
    }
    let broadcast = class == AdapterClass::SoftwareLanes8 && g.o > 4;
    let lanes = match (broadcast, g.o) {
        (true, 0..=8) | (false, 1) => 1,
        (true, 9..=16 | 33..=48) | (false, 2) => 2,
        _ => 4,
    };
    let (sums, lines) = match (broadcast, class) {
        (true, _) => (SUMS, LINES),
        (false, AdapterClass::SoftwareLanes8) => (OWN_SUMS, LINES),
        _ => (OWN_SUMS, OWN_LINES),
    };
    // As many as fit, evenly.
    let rows = g.kh.div_ceil(g.kh.div_ceil((sums / g.kw).max(1)));
    let channels = (sums / (g.kw * rows)).clamp(1, if g.taps() == 1 { 8 } else { 4 });
    let channels = g.c.div_ceil(g.c.div_ceil(channels));
    let tile = |pixels: usize| Tile {
        broadcast,
        lanes,
        channels,
        rows,
        kw: g.kw,
        stride: g.stride[1],
        dilation: g.dilation[1],
        pixels,
        bias,
        inputs: Inputs::of(g, pixels, class),
        last: false,
        vector: widest(|v| [pixels, g.ow].iter().all(|n| n % v == 0)),
    };
    // Whole rows meet so much less padding, and load so much less, that twice the lines are worth it.
    let most = |pixels: usize| if broadcast && pixels == g.ow { 2 * lines } else { lines };
    let few = |pixels: &usize| *pixels == 1 || pixels * g.kw * rows * channels <= most(*pixels);
    let time = |tile: &Tile| g.ow.div_ceil(tile.pixels) * tile.time();
    let steps = [1, 2, 4, 8].into_iter().filter(|pixels| *pixels != g.ow).chain([g.ow]);
    steps.filter(few).map(tile).min_by_key(time)
}

/// Tiles, where there is one and a row of pixels is not too long for the adapter's loops.
pub(super) fn launch(problem: &Problem, ctx: &KernelContext<'_>) -> Result<Option<Program>> {
    let (g, caps) = (&problem.g, ctx.caps);
    let Some(mut tile) = choose(g, caps.class, problem.has_bias) else { return Ok(None) };
    let Tile { broadcast, lanes, channels, rows, .. } = tile;
    let width = lanes * if broadcast { 8 } else { 1 };
    let tiles = g.groups * g.o.div_ceil(width) * g.c.div_ceil(channels) * g.kh.div_ceil(rows);
    // Each split of some work, and enough of them.
    let all_rows = g.n * g.oh;
    let enough = if broadcast { WORKGROUPS.div_ceil(tiles) } else { (8 * WORKGROUPS).div_ceil(tiles) };
    // A row is one step, or a loop over several; at the end channels are stored.
    let of_row = 1 + if tile.inputs.whole.is_some() { 0 } else { g.ow.div_ceil(tile.pixels) };
    if !caps.allows(of_row + channels) {
        return Ok(None);
    }
    let needed = caps.pieces(all_rows, (caps.max_loop_iterations as usize - channels) / of_row);
    let length = all_rows.div_ceil(enough.clamp(1, (all_rows / 8).max(1)).max(needed));
    let splits = all_rows.div_ceil(length);
    tile.last = splits > 1;
    // A split is [groups, input channels, kernel, `width`], the output channels last.
    let width = tile.last.then_some(g.o.next_multiple_of(width));
    let params = g.uniform().and(uniform! {
        kh: g.kh, stride_y: g.stride[0], dilation_y: g.dilation[0], top: g.top,
        left: g.left, splits, length, width: width.unwrap_or(0) / lanes,
    });
    let last = width.map(|width| ChannelsLast { groups: g.groups, o: g.o, depth: g.depth(), width });
    let sizes = g.gradients(problem.has_bias);
    let program = split_k(&SplitK { last, ..SplitK::of(splits, &sizes) }, ctx, |to, _| {
        let args = [&[Arg::Input(0), Arg::Input(1)], to].concat();
        let workgroups = if broadcast { tiles * splits } else { (tiles * splits).div_ceil(8) };
        let launch = ctx.launch(tile.kernel()?, args, &params, workgroups)?;
        Ok(launch.loop_iterations(length * of_row + channels))
    });
    program.map(Some)
}

impl Tile {
    fn kernel(&self) -> Result<Kernel> {
        let Tile { lanes, channels, rows, kw, stride, dilation, pixels, vector, .. } = *self;
        let key = format!(
            "conv2d_weight_tile.{channels}x{rows}x{pixels}v{lanes}{}.k{kw}s{stride}d{dilation}.{vector}{}{}{}",
            if self.broadcast { "b" } else { "" },
            match self.inputs {
                Inputs { whole: Some(columns), left, .. } => format!(".w{columns}l{left}"),
                Inputs { unit: 2, left, .. } => format!(".pairs{}", left % 2),
                _ => String::new(),
            },
            if self.bias { ".bias" } else { "" },
            if self.last { ".last" } else { "" },
        );
        rendered("software/conv2d_weight_tile", key, "conv2d_weight_tile", self.variant(), None)
    }

    fn variant(&self) -> Value {
        let Tile { broadcast, lanes, channels, rows, kw, stride, pixels, vector, bias, last, .. } = *self;
        let Inputs { unit, first, loads, whole, left } = self.inputs;
        context! {
            broadcast, lanes, channels, rows, kw, stride, pixels, bias, last, unit,
            n => vector, row_loads => loads, loads => self.loads(), met => self.met(),
            first => first / unit as i64, before => -first - left,
            whole_vectors => whole.map_or(0, |columns| columns / unit),
        }
    }

    /// Which inputs of a row, counted from the first pixel's, meet elements of the kernel.
    fn met(&self) -> Vec<Value> {
        let Tile { kw, stride, dilation, pixels, .. } = *self;
        let input = |k: usize| {
            let (load, component) = self.inputs.locate(k)?;
            let all = (0..pixels).flat_map(|pixel| (0..kw).map(move |kx| [pixel, kx]));
            let products: Vec<Vec<usize>> = all
                .filter(|[pixel, kx]| pixel * stride + kx * dilation == k)
                .map(|product| product.to_vec())
                .collect();
            (!products.is_empty()).then(|| context! { k, load, component, products })
        };
        (0..=(pixels - 1) * stride + (kw - 1) * dilation).filter_map(input).collect()
    }

    /// Roughly how long llvmpipe takes for one step, in tenths of a nanosecond: 8.6 ns a load of one float,
    /// 12 of two, 18 of four, 0.25 ns a multiply-add.
    fn time(&self) -> usize {
        let load = [86, 120, 0, 184][self.vector - 1];
        let sums = self.channels * self.rows * self.kw * self.pixels * self.lanes;
        let input = [100, 130, 0, 200][self.inputs.unit - 1];
        self.lanes * self.pixels / self.vector * load + self.loads() * input + sums * 5 / 2
    }

    /// Loads of inputs that one invocation does in each step.
    fn loads(&self) -> usize {
        let inputs = self.channels * self.rows * self.inputs.loads;
        if self.broadcast { inputs.div_ceil(8) } else { inputs }
    }
}
