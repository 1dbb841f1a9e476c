//! Which register tile computes the forward direction or the gradient of the images on a software adapter: both are the same
//! sum, over different arrays. Their text is `shaders/software/conv2d_tile.wgsl.jinja`.

mod shape;

use std::collections::BTreeSet;

use minijinja::{Value, context};

use super::correlation::Correlation;
use super::kernels::Problem;
use crate::error::Result;
use crate::ops::text::{Epilogue, rendered, widest};
use crate::ops::{AdapterClass, Arg, Chain, Kernel, KernelContext, Program, uniform};

use shape::{InputStrip, Store, channels, rectangle, store};

/// A variant of the kernel: what its text depends on.
#[derive(Debug, Clone, Copy)]
struct Tile {
    /// Whether lanes share inputs by broadcast.
    broadcast: bool,
    /// Output rows and columns of the tile.
    rows: usize,
    columns: usize,
    /// Channels in a vector (1, 2 or 4), and vectors of each invocation.
    lanes: usize,
    vectors: usize,
    kw: usize,
    stride: usize,
    dilation: usize,
    /// Input dilation along x, position of the first output relative to it, and whether there is one along y.
    input_dilation: usize,
    phase: usize,
    input_dilation_y: bool,
    /// Set where a tile has whole rows, so that its text knows which inputs are padding.
    whole: Option<Whole>,
    /// Elsewhere: columns that are loaded as one vector, and those that it begins before the first one needed.
    unit: usize,
    shift: usize,
    store: Store,
    /// Whether the plane consists of whole tiles.
    exact: bool,
    /// Set where a tile reaches across the plane: its columns. The tile's own may be more.
    across: Option<usize>,
}

/// Rows of the input that a tile meets as a whole.
#[derive(Debug, Clone, Copy)]
struct Whole {
    /// Columns of the input, and those of padding before it.
    columns: usize,
    left: i64,
    /// Columns that are loaded as one vector.
    unit: usize,
}

impl Whole {
    fn of(c: &Correlation) -> Self {
        // All rows and planes start at multiples of what divides a row.
        let unit = widest(|n| c.w.is_multiple_of(n));
        Whole { columns: c.w, left: c.before[1], unit }
    }
}

/// Multiply-adds of four floats in one kernel, which decide how long it compiles.
const LINES: usize = 150;

/// The best tile for a correlation; `None` where a kernel is too wide for any.
fn choose(c: &Correlation, class: AdapterClass) -> Option<Tile> {
    let broadcast = class == AdapterClass::SoftwareLanes8 && c.m > 4;
    let (lanes, vectors) = channels(c.m, broadcast);
    let input_dilation = c.input_dilation[1];
    if c.kw * vectors > LINES || input_dilation > 8 {
        return None;
    }
    // Sums: more than a core has registers for, so that many share a load. On llvmpipe 64 vectors of four gain
    // 3 to 15 %, and take twice as long to compile.
    let most = match (broadcast, lanes) {
        (true, 4) => 32,
        (true, 2) => 100,
        (true, _) => 112,
        // Elsewhere, twice as many take three times as long to compile.
        (false, _) if class == AdapterClass::SoftwareLanes8 => 32,
        (false, _) => 16,
    };
    // Input dilation leaves each sum fewer multiply-adds for a load of the weight.
    let most = if broadcast && input_dilation > 1 { 2 * most } else { most };
    let most = most.min(LINES * (4 / lanes) * input_dilation / (c.kw * vectors)).max(input_dilation);
    let (rows, columns) = rectangle(c, most, broadcast);
    let whole = (input_dilation == 1 && columns >= c.ow).then(|| Whole::of(c));
    // Rows of the image, and tiles, start at multiples of what divides both.
    let is_unit = |n: usize| c.w.is_multiple_of(n) && (columns * c.stride[1]).is_multiple_of(n);
    let unit = if input_dilation == 1 && whole.is_none() { widest(is_unit) } else { 1 };
    Some(Tile {
        broadcast,
        rows,
        columns,
        lanes,
        vectors,
        kw: c.kw,
        stride: c.stride[1],
        dilation: c.dilation[1],
        input_dilation,
        phase: c.before[1].rem_euclid(input_dilation as i64) as usize,
        input_dilation_y: c.input_dilation[0] > 1,
        whole,
        unit,
        shift: (-c.before[1]).rem_euclid(unit as i64) as usize,
        store: store(c, [rows, columns]),
        exact: c.oh.is_multiple_of(c.input_dilation[0] * rows) && c.ow.is_multiple_of(columns),
        across: Some(c.ow).filter(|&ow| ow <= columns),
    })
}

/// Packs the weight and runs tiles over it, where there is one and a sum is not too long for the adapter's loops.
pub(super) fn launch(problem: &Problem, ctx: &KernelContext<'_>) -> Result<Option<Program>> {
    let (c, has_bias) = (&problem.c, problem.has_bias);
    let Some(tile) = choose(c, ctx.caps.class) else { return Ok(None) };
    let Tile { broadcast, rows, columns, lanes, vectors, input_dilation, unit, .. } = tile;
    // Where it begins in the kernel, channels and rows of the kernel, and the channels that are stored.
    let iterations = c.input_dilation[0] + c.c * (1 + c.kh) + lanes * vectors;
    if !ctx.caps.allows(iterations) {
        return Ok(None);
    }
    let group_of_channels = lanes * vectors * if broadcast { 8 } else { 1 };
    let width = c.m.next_multiple_of(group_of_channels).next_multiple_of(4);
    let packed = c.groups * c.c * c.kh * c.kw * width / 4;
    let params = uniform! {
        groups: c.groups, m: c.m, c: c.c, taps: c.kh * c.kw, width,
        group_step: c.weight_steps[0], m_step: c.weight_steps[1], c_step: c.weight_steps[2], flip: c.flip,
    };
    let pack = ctx.launch_over("conv2d_pack", [Arg::Input(1), Arg::Scratch(0)], &params, packed)?;
    let tiles_x = c.ow.div_ceil(columns);
    let tiles_y = c.input_dilation[0] * c.oh.div_ceil(c.input_dilation[0] * rows);
    let input_dilation_y = c.input_dilation[0] as i64;
    let padded_top = (c.before[0].max(0) + input_dilation_y - 1) / input_dilation_y * input_dilation_y;
    let params = c.uniform().and(uniform! {
        kh: c.kh, stride_y: c.stride[0], dilation_y: c.dilation[0], input_dilation_y: c.input_dilation[0],
        y_offset: padded_top - c.before[0], top_rows: padded_top / c.input_dilation[0] as i64,
        left: (c.before[1] - tile.phase as i64 + tile.shift as i64) / (input_dilation * unit) as i64, has_bias,
        tiles_x, tiles_y, width,
        step_ky: c.input_dilation[0] / greatest_common_divisor(c.input_dilation[0], c.dilation[0]),
    });
    let tiles = c.images * c.groups * c.m.div_ceil(group_of_channels) * tiles_x * tiles_y;
    let workgroups = if broadcast { tiles } else { tiles.div_ceil(8) };
    let mut args = vec![Arg::Input(0), Arg::ScratchRead(0), problem.bias(), Arg::Output(0)];
    args.extend(ctx.epilogue_args());
    let run = ctx.launch(tile.kernel(ctx.fusion.epilogue, has_bias)?, args, &params, workgroups)?;
    let dispatches = vec![pack, run.loop_iterations(iterations)];
    Ok(Some(Program::new(dispatches, vec![16 * packed])))
}

impl Tile {
    fn kernel(&self, chain: Option<&Chain>, has_bias: bool) -> Result<Kernel> {
        let Tile { rows, columns, lanes, vectors, kw, stride, dilation, input_dilation, phase, .. } = *self;
        let store = match self.store {
            Store::Single => "1".to_string(),
            Store::Row(n) => format!("r{n}"),
            Store::Plane(n) => format!("p{n}"),
        };
        let mut key = format!(
            "conv2d_tile.{rows}x{columns}x{vectors}v{lanes}{}.k{kw}s{stride}d{dilation}g{input_dilation}p{phase}{}.{store}",
            if self.broadcast { "b" } else { "" },
            if self.input_dilation_y { "y" } else { "" },
        );
        if let Some(Whole { columns, left, .. }) = self.whole {
            key += &format!(".w{columns}l{left}");
        }
        if self.unit > 1 {
            key += &format!(".u{}+{}", self.unit, self.shift);
        }
        if self.exact {
            key += ".e";
        }
        if let (Some(across), None) = (self.across, self.whole) {
            key += &format!(".o{across}");
        }
        // Gradients have none, and of those that are transposed convolutions' the text says so.
        let has_input_dilation = input_dilation > 1 || self.input_dilation_y;
        if has_input_dilation && has_bias {
            key += ".b";
        }
        let adds_bias = has_bias || !has_input_dilation;
        let epilogue = chain.map(|chain| Epilogue { chain, vector: self.store.vector(), columns: None });
        rendered(
            "software/conv2d_tile",
            key,
            "conv2d_tile",
            self.variant(chain.is_some(), adds_bias),
            epilogue,
        )
    }

    fn variant(&self, has_epilogue: bool, adds_bias: bool) -> Value {
        let Tile {
            broadcast,
            rows,
            columns,
            lanes,
            vectors,
            kw,
            stride,
            input_dilation,
            input_dilation_y,
            exact,
            ..
        } = *self;
        let InputStrip { first, unit, step, loads } = self.strip();
        let inputs = rows * loads;
        context! {
            broadcast, rows, columns, lanes, vectors, kw, stride, input_dilation, input_dilation_y, exact, first, unit, step, has_epilogue, adds_bias,
            used => self.used_columns(), across => self.across.is_some(),
            whole_vectors => self.whole.map_or(0, |whole| whole.columns / whole.unit),
            row_loads => loads, loads => if broadcast { inputs.div_ceil(8) } else { inputs },
            met => self.met(),
            n => self.store.vector(), is_plane => matches!(self.store, Store::Plane(_)),
        }
    }

    /// For each column of outputs, which elements of a row of the kernel meet an input.
    fn met(&self) -> Vec<Vec<Value>> {
        let (strip, mut seen) = (self.strip(), BTreeSet::new());
        let mut element = |column: usize, kx: usize| {
            let at = self.meets(column, kx)?;
            let (load, component) = strip.locate(at);
            Some(context! { kx, at, load, component, is_first => seen.insert(at) })
        };
        (0..self.used_columns())
            .map(|column| (0..self.kw).filter_map(|kx| element(column, kx)).collect())
            .collect()
    }

    /// Columns of the tile in which there can be outputs.
    fn used_columns(&self) -> usize {
        self.across.unwrap_or(self.columns)
    }

    /// The column of the input that an output column and an element of the kernel meet, if they meet one:
    /// counted from the tile's first, or from the row's where the tile has whole rows.
    fn meets(&self, column: usize, kx: usize) -> Option<usize> {
        let u = column * self.stride + kx * self.dilation;
        match self.whole {
            Some(whole) => usize::try_from(u as i64 - whole.left).ok().filter(|&at| at < whole.columns),
            None => (u >= self.phase && (u - self.phase).is_multiple_of(self.input_dilation))
                .then(|| (u - self.phase) / self.input_dilation + self.shift),
        }
    }

    /// Columns of the input that a tile needs of each row.
    fn strip(&self) -> InputStrip {
        let met = |column| (0..self.kw).filter_map(move |kx| self.meets(column, kx));
        let all = (0..self.used_columns()).flat_map(met);
        if let Some(Whole { unit, .. }) = self.whole {
            let first = all.clone().min().unwrap_or(0) / unit;
            let last = all.max().unwrap_or(0) / unit;
            return InputStrip { first, unit, step: 1, loads: last + 1 - first };
        }
        if self.unit > 1 {
            let loads = all.max().unwrap_or(0) / self.unit + 1;
            return InputStrip { first: 0, unit: self.unit, step: 1, loads };
        }
        let step = all.clone().fold(0, greatest_common_divisor).max(1);
        InputStrip { first: 0, unit: 1, step, loads: all.max().unwrap_or(0) / step + 1 }
    }
}

pub(super) fn greatest_common_divisor(a: usize, b: usize) -> usize {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}
