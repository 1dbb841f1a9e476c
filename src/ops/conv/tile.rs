//! Which register tile computes the forward direction or the gradient of the images on a software adapter: both are the same
//! sum, over different arrays. Their text is `shaders/software/conv2d_tile.wgsl.jinja`.

mod shape;

use std::collections::BTreeSet;

use minijinja::{Value, context};

use super::correlation::Correlation;
use super::geometry::Extents;
use super::kernels::Asked;
use crate::error::{Error, Result};
use crate::ops::text::{Then, rendered, widest};
use crate::ops::{AdapterClass, Arg, Caps, Chain, Dispatch, Kernel, KernelContext, Program};

use shape::{Store, Strip, channels, in_a_row, rectangle, store};

/// Uniform of the tiles.
#[repr(C)]
#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Params {
    extents: Extents,
    kh: u32,
    stride_y: u32,
    dilation_y: u32,
    gap_y: u32,
    /// Added to positions along y, so that they are not negative and multiples of the gap stay such, and
    /// the rows of the input which that is.
    lift: u32,
    lift_rows: u32,
    /// Vectors of columns of the input left of its first one where the first tile begins.
    left: i32,
    has_bias: u32,
    tiles_x: u32,
    tiles_y: u32,
    /// Channels that m is padded to in the packed weight.
    width: u32,
    /// From one row of the kernel that meets rows of the input to the next, where there is a gap along y.
    step_ky: u32,
}

/// Uniform of `conv2d_pack`.
#[repr(C)]
#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct PackParams {
    groups: u32,
    m: u32,
    c: u32,
    taps: u32,
    width: u32,
    group_step: u32,
    m_step: u32,
    c_step: u32,
    flip: u32,
    _pad: [u32; 3],
}

/// A tile with its grid, and the width of the packed weight it reads.
struct Plan {
    tile: Tile,
    params: Params,
    width: usize,
    workgroups: usize,
    /// Of an invocation's loops.
    iterations: usize,
}

/// Whether a tile fits that, where a window is asked for, consists of whole ones, which cover the plane.
pub(super) fn fits(asked: &Asked<'_>) -> bool {
    plan(&asked.c, asked.has_bias, asked.caps, asked.window).is_some()
}

/// Packs the weight and runs tiles over it.
pub(super) fn launch(asked: &Asked<'_>, ctx: &KernelContext<'_>) -> Result<Program> {
    let (c, window, chain) = (&asked.c, asked.window, ctx.fusion.epilogue);
    let plan = plan(c, asked.has_bias, ctx.caps, window)
        .ok_or_else(|| Error::Invalid("no tile computes this convolution".into()))?;
    let vectors = c.groups * c.c * c.kh * c.kw * plan.width / 4;
    let params = PackParams {
        groups: c.groups as u32,
        m: c.m as u32,
        c: c.c as u32,
        taps: (c.kh * c.kw) as u32,
        width: plan.width as u32,
        group_step: c.weight_steps[0] as u32,
        m_step: c.weight_steps[1] as u32,
        c_step: c.weight_steps[2] as u32,
        flip: u32::from(c.flip),
        _pad: [0; 3],
    };
    let args = vec![Arg::Input(1), Arg::Scratch(0)];
    let grid = ctx.caps.grid(vectors.div_ceil(64))?;
    let pack = Dispatch::new(Kernel::library("conv2d_pack")?, args, &params, grid);
    let mut args = vec![Arg::Input(0), Arg::ScratchRead(0), asked.bias(), Arg::Output(0)];
    args.extend(window.map(|_| Arg::Output(1)));
    args.extend(chain.iter().flat_map(|c| c.args(ctx.inputs.len())));
    let (kernel, grid) = (plan.tile.kernel(chain)?, ctx.caps.grid(plan.workgroups)?);
    let run = Dispatch::new(kernel, args, &plan.params, grid).loop_iterations(plan.iterations);
    Ok(Program { dispatches: vec![pack, run], scratch: vec![16 * vectors] })
}

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
    /// Gap along x, position of the first output relative to it, and whether there is a gap along y.
    gap: usize,
    phase: usize,
    gap_y: bool,
    /// Set where a tile has whole rows, so that its text knows which inputs are padding.
    whole: Option<Whole>,
    /// Elsewhere: columns that are loaded as one vector, and those that it begins before the first one needed.
    unit: usize,
    shift: usize,
    /// Windows whose maxima are stored; the tile consists of whole ones.
    window: Option<[usize; 2]>,
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

/// The best tile for a correlation; `None` where a kernel is too wide for any, a window too large for the tiles, or a sum
/// too long for an adapter's loops.
fn plan(c: &Correlation, has_bias: bool, caps: &Caps, window: Option<[usize; 2]>) -> Option<Plan> {
    let class = caps.class;
    let broadcast = class == AdapterClass::SoftwareLanes8 && c.m > 4;
    let (lanes, vectors) = channels(c.m, broadcast);
    let gap = c.gap[1];
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
    // A gap leaves each sum fewer multiply-adds for a load of the weight.
    let most = if broadcast && gap > 1 { 2 * most } else { most };
    let most = most.min(LINES * (4 / lanes) * gap / (c.kw * vectors)).max(gap);
    // Where it begins in the kernel, channels and rows of the kernel, and the channels that are stored.
    let iterations = c.gap[0] + c.c * (1 + c.kh) + lanes * vectors;
    if c.kw * vectors > LINES || gap > 8 || !caps.allows(iterations) {
        return None;
    }
    let of_results = window.unwrap_or([1, 1]);
    let (rows, columns) = rectangle(c, most, broadcast, of_results)?;
    if !broadcast && of_results != [1, 1] {
        // Where nothing is shared, whole rows, and many sums for each load of the weight, are worth more than the stores
        // that are saved: measured on llvmpipe.
        let (alone_rows, alone_columns) = rectangle(c, most, broadcast, [1, 1])?;
        let loses_rows = class == AdapterClass::Software && alone_columns >= c.ow && columns < c.ow;
        if loses_rows || 4 * rows * columns <= 3 * alone_rows * alone_columns {
            return None;
        }
    }
    let store = store(c, [rows, columns], of_results);
    let whole = (gap == 1 && columns >= c.ow).then(|| Whole::of(c));
    // Rows of the image, and tiles, start at multiples of what divides both.
    let is_unit = |n: usize| c.w.is_multiple_of(n) && (columns * c.stride[1]).is_multiple_of(n);
    let unit = if gap == 1 && whole.is_none() { widest(is_unit) } else { 1 };
    let shift = (-c.before[1]).rem_euclid(unit as i64);
    let tile = Tile {
        broadcast,
        rows,
        columns,
        lanes,
        vectors,
        kw: c.kw,
        stride: c.stride[1],
        dilation: c.dilation[1],
        gap,
        phase: c.before[1].rem_euclid(gap as i64) as usize,
        gap_y: c.gap[0] > 1,
        whole,
        unit,
        shift: shift as usize,
        window,
        store,
        exact: c.oh.is_multiple_of(c.gap[0] * rows) && c.ow.is_multiple_of(columns),
        across: Some(c.ow).filter(|&ow| ow <= columns),
    };
    let group_of_channels = lanes * vectors * if broadcast { 8 } else { 1 };
    let width = c.m.next_multiple_of(group_of_channels).next_multiple_of(4);
    let tiles_x = c.ow.div_ceil(columns);
    let tiles_y = c.gap[0] * c.oh.div_ceil(c.gap[0] * rows);
    let gap_y = c.gap[0] as i64;
    let lift = (c.before[0].max(0) + gap_y - 1) / gap_y * gap_y;
    let params = Params {
        extents: c.extents(),
        kh: c.kh as u32,
        stride_y: c.stride[0] as u32,
        dilation_y: c.dilation[0] as u32,
        gap_y: c.gap[0] as u32,
        lift: (lift - c.before[0]) as u32,
        lift_rows: (lift / c.gap[0] as i64) as u32,
        left: ((c.before[1] - tile.phase as i64 + shift) / (gap * unit) as i64) as i32,
        has_bias: u32::from(has_bias),
        tiles_x: tiles_x as u32,
        tiles_y: tiles_y as u32,
        width: width as u32,
        step_ky: (c.gap[0] / greatest_common_divisor(c.gap[0], c.dilation[0])) as u32,
    };
    let tiles = c.images * c.groups * c.m.div_ceil(group_of_channels) * tiles_x * tiles_y;
    let workgroups = if broadcast { tiles } else { tiles.div_ceil(8) };
    Some(Plan { tile, params, width, workgroups, iterations })
}

impl Tile {
    fn kernel(&self, chain: Option<&Chain>) -> Result<Kernel> {
        let Tile { rows, columns, lanes, vectors, kw, stride, dilation, gap, phase, .. } = *self;
        let store = match self.store {
            Store::Single => "1".to_string(),
            Store::Row(n) => format!("r{n}"),
            Store::Plane(n) => format!("p{n}"),
        };
        let mut key = format!(
            "conv2d_tile.{rows}x{columns}x{vectors}v{lanes}{}.k{kw}s{stride}d{dilation}g{gap}p{phase}{}.{store}",
            if self.broadcast { "b" } else { "" },
            if self.gap_y { "y" } else { "" },
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
        if let Some([height, width]) = self.window {
            key += &format!(".max{height}x{width}");
        }
        // Maxima are taken of what is finished.
        let in_a_row = self.window.map(|[_, width]| in_a_row(width));
        let vector = in_a_row.unwrap_or(self.store.vector());
        let then = chain.map(|chain| Then { chain, vector, columns: None });
        rendered("software/conv2d_tile", key, "conv2d_tile", self.variant(chain.is_some()), then)
    }

    fn variant(&self, finishes: bool) -> Value {
        let Tile { broadcast, rows, columns, lanes, vectors, kw, stride, gap, gap_y, exact, .. } = *self;
        let Strip { first, unit, step, loads } = self.strip();
        let inputs = rows * loads;
        context! {
            broadcast, rows, columns, lanes, vectors, kw, stride, gap, gap_y, exact, first, unit, step, finishes,
            used => self.used_columns(), across => self.across.is_some(),
            whole_vectors => self.whole.map_or(0, |whole| whole.columns / whole.unit),
            row_loads => loads, loads => if broadcast { inputs.div_ceil(8) } else { inputs },
            has_gap => gap > 1 || gap_y, met => self.met(),
            n => self.store.vector(), is_plane => matches!(self.store, Store::Plane(_)),
            window => self.window.map_or(Vec::new(), |window| window.to_vec()),
            in_a_row => self.window.map_or(1, |[_, width]| in_a_row(width)),
        }
    }

    /// For each column of outputs, which elements of a row of the kernel meet an input.
    fn met(&self) -> Vec<Vec<Value>> {
        let (strip, mut seen) = (self.strip(), BTreeSet::new());
        let mut element = |column: usize, kx: usize| {
            let at = self.meets(column, kx)?;
            let (load, place) = strip.place(at);
            Some(context! { kx, at, load, place, is_first => seen.insert(at) })
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
            None => (u >= self.phase && (u - self.phase).is_multiple_of(self.gap))
                .then(|| (u - self.phase) / self.gap + self.shift),
        }
    }

    /// Columns of the input that a tile needs of each row.
    fn strip(&self) -> Strip {
        let met = |column| (0..self.kw).filter_map(move |kx| self.meets(column, kx));
        let all = (0..self.used_columns()).flat_map(met);
        if let Some(Whole { unit, .. }) = self.whole {
            let first = all.clone().min().unwrap_or(0) / unit;
            let last = all.max().unwrap_or(0) / unit;
            return Strip { first, unit, step: 1, loads: last + 1 - first };
        }
        if self.unit > 1 {
            let loads = all.max().unwrap_or(0) / self.unit + 1;
            return Strip { first: 0, unit: self.unit, step: 1, loads };
        }
        let step = all.clone().fold(0, greatest_common_divisor).max(1);
        Strip { first: 0, unit: 1, step, loads: all.max().unwrap_or(0) / step + 1 }
    }
}

pub(super) fn greatest_common_divisor(a: usize, b: usize) -> usize {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}
