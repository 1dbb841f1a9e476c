//! Which kernels compute each direction, with their parameters and grids.

mod halved;

use super::correlation::Correlation;
use super::geometry::Geometry;
use super::{
    Conv2d, Conv2dBackwardInput, Conv2dBackwardWeight, ConvKernels, blocks, depthwise, tile, weight_tile,
};
use crate::error::{Error, Result};
use crate::ops::elementwise::library_then;
use crate::ops::matmul::images;
use crate::ops::parts::{ChannelsLast, Parts, in_parts};
use crate::ops::{AdapterClass, Arg, Caps, Chain, Cut, Dispatch, Kernel, KernelContext, Program, Trial};

/// Uniform of the plain and the workgroup-memory kernels.
#[repr(C)]
#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Params {
    n: u32,
    groups: u32,
    c: u32,
    o: u32,
    h: u32,
    w: u32,
    oh: u32,
    ow: u32,
    kh: u32,
    kw: u32,
    stride_y: u32,
    stride_x: u32,
    dilation_y: u32,
    dilation_x: u32,
    top: u32,
    left: u32,
    has_bias: u32,
    /// Parts that the sum over pixels is cut into, and pixels of each.
    parts: u32,
    length: u32,
    _pad: u32,
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

/// Rows and columns that one workgroup of the `_tiled` kernels computes, and steps of their sums.
const ROWS: usize = 32;
const COLUMNS: usize = 64;
const DEPTH: usize = 16;

/// Workgroups that keep a GPU busy.
const GPU_WORKGROUPS: usize = 512;

/// Multiply-adds below which the plain kernel takes less time than what tiles need besides: about 60 µs.
const WORTH_TILES: usize = 50_000;

impl Params {
    fn new(g: &Geometry) -> Self {
        Params {
            n: g.n as u32,
            groups: g.groups as u32,
            c: g.c as u32,
            o: g.o as u32,
            h: g.h as u32,
            w: g.w as u32,
            oh: g.oh as u32,
            ow: g.ow as u32,
            kh: g.kh as u32,
            kw: g.kw as u32,
            stride_y: g.stride[0] as u32,
            stride_x: g.stride[1] as u32,
            dilation_y: g.dilation[0] as u32,
            dilation_x: g.dilation[1] as u32,
            top: g.top as u32,
            left: g.left as u32,
            has_bias: 0,
            parts: 1,
            length: 0,
            _pad: 0,
        }
    }
}

/// What kind of kernel is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Choice {
    Plain,
    Workgroup,
    /// Of a form, or of the one that fits.
    Blocks(Option<usize>),
    Registers,
}

fn choose(kernels: ConvKernels, g: &Geometry, caps: &Caps) -> Choice {
    match (kernels, caps.class) {
        (ConvKernels::Plain, _) => Choice::Plain,
        (ConvKernels::Workgroup, AdapterClass::Gpu) => Choice::Workgroup,
        (ConvKernels::Block(i), AdapterClass::Gpu) => Choice::Blocks(Some(i)),
        (_, AdapterClass::Gpu) => Choice::Blocks(None),
        (ConvKernels::Best, _) if g.multiplications() < WORTH_TILES => Choice::Plain,
        _ => Choice::Registers,
    }
}

/// The forms of blocks that can compute a correlation; none where it has a kernel of its own.
pub(super) fn trial(kernels: ConvKernels, c: &Correlation) -> Option<Trial> {
    let by_blocks = matches!(kernels, ConvKernels::Best | ConvKernels::Tiles)
        && depthwise::plan(c, false, &Caps::default_of(AdapterClass::Gpu)).is_none();
    by_blocks.then(|| blocks::trial(c))
}

pub(super) fn weight_trial(kernels: ConvKernels, g: &Geometry) -> Option<Trial> {
    let by_blocks = matches!(kernels, ConvKernels::Best | ConvKernels::Tiles)
        && depthwise::plan_weight(g, &Caps::default_of(AdapterClass::Gpu), false).is_none();
    by_blocks.then(|| blocks::weight::trial(g))
}

/// The plain kernel `entry`, with one invocation per element of the output and part of its sum of `terms`.
fn plain(
    (entry, chain): (&str, Option<&Chain>),
    inputs: &[Arg],
    params: Params,
    (outputs, terms): (usize, usize),
    ctx: &KernelContext<'_>,
) -> Result<Program> {
    let Cut { parts, length } = ctx.caps.cut(terms, ctx.caps.max_loop_iterations as usize);
    let params = Params { parts: parts as u32, length: length as u32, ..params };
    let own = ctx.inputs.len();
    in_parts(&Parts::of(parts, &[outputs]), ctx, chain.map(|c| (c, own)), |to, chain| {
        let mut args = [inputs, to].concat();
        args.extend(chain.iter().flat_map(|c| c.args(own)));
        let grid = ctx.caps.grid((outputs * parts).div_ceil(8))?;
        Ok(Dispatch::new(library_then(entry, chain, None)?, args, &params, grid).loop_iterations(length))
    })
}

/// Turns of loops of the `_tiled` kernels for an extent of the sum: loads and products of each step, and stores.
fn tiled_iterations(terms: usize) -> usize {
    terms.div_ceil(DEPTH) * (1 + 4 + 8 + DEPTH) + 4 * (1 + 4)
}

/// Workgroups of the `_tiled` kernels for a product in each group.
fn tiles(g: &Geometry, rows: usize, columns: usize) -> usize {
    rows.div_ceil(ROWS) * columns.div_ceil(COLUMNS) * g.groups
}

pub(super) fn forward(op: &Conv2d, ctx: &KernelContext<'_>, chain: Option<&Chain>) -> Result<Program> {
    let g = geometry(op.window.geometry(dims(ctx, 0), dims(ctx, 1)))?;
    let has_bias = ctx.inputs.len() == 3;
    // Without a bias something has to be bound in its place.
    let bias = Arg::Input(if has_bias { 2 } else { 1 });
    let params = Params { has_bias: u32::from(has_bias), ..Params::new(&g) };
    let inputs = [Arg::Input(0), Arg::Input(1), bias];
    if ctx.fusion.max_pooling.is_some() {
        let ending = tile::Ending { chain, window: ctx.fusion.max_pooling };
        let program = correlate(&Correlation::forward(&g), ctx.inputs.len() == 3, ctx, ending)?;
        return program.ok_or_else(|| Error::Invalid("no kernel of this convolution takes maxima".into()));
    }
    let choice = choose(op.kernels, &g, ctx.caps);
    let extents = [g.n, g.o, g.oh * g.ow, g.c];
    let weight = Weight { extents, transposed: false, has_bias };
    if let Some(program) = fast(choice, &g, &Correlation::forward(&g), &weight, ctx, chain)? {
        return Ok(program);
    }
    match choice {
        Choice::Workgroup => {
            let mut args = [&inputs[..], &[Arg::Output(0)]].concat();
            args.extend(chain.iter().flat_map(|c| c.args(ctx.inputs.len())));
            let grid = ctx.caps.grid(tiles(&g, g.o, g.n * g.oh * g.ow))?;
            let kernel = library_then("conv2d_tiled", chain, None)?;
            Ok(Dispatch::new(kernel, args, &params, grid).loop_iterations(tiled_iterations(g.depth())).into())
        }
        _ => {
            let extents = (g.output().iter().product(), g.depth());
            plain(("conv2d_plain", chain), &inputs, params, extents, ctx)
        }
    }
}

pub(super) fn backward_input(
    op: &Conv2dBackwardInput,
    ctx: &KernelContext<'_>,
    chain: Option<&Chain>,
) -> Result<Program> {
    let g = geometry(op.geometry(dims(ctx, 0), dims(ctx, 1)))?;
    let params = Params::new(&g);
    let inputs = [Arg::Input(0), Arg::Input(1)];
    let choice = choose(op.kernels, &g, ctx.caps);
    let extents = [g.n, g.c, g.oh * g.ow, g.o];
    let weight = Weight { extents, transposed: true, has_bias: false };
    if let Some(program) = fast(choice, &g, &Correlation::backward(&g), &weight, ctx, chain)? {
        return Ok(program);
    }
    match choice {
        Choice::Workgroup => {
            let grid = ctx.caps.grid(tiles(&g, g.c, g.n * g.h * g.w))?;
            let kernel = library_then("conv2d_backward_input_tiled", chain, None)?;
            let mut args = [&inputs[..], &[Arg::Output(0)]].concat();
            args.extend(chain.iter().flat_map(|c| c.args(2)));
            let iterations = tiled_iterations(g.o * g.taps());
            Ok(Dispatch::new(kernel, args, &params, grid).loop_iterations(iterations).into())
        }
        _ => {
            let extents = (g.n * g.groups * g.c * g.h * g.w, g.o * g.taps());
            plain(("conv2d_backward_input_plain", chain), &inputs, params, extents, ctx)
        }
    }
}

pub(super) fn backward_weight(op: &Conv2dBackwardWeight, ctx: &KernelContext<'_>) -> Result<Program> {
    let g = geometry(op.geometry(dims(ctx, 0), dims(ctx, 1)))?;
    let elements = g.groups * g.o * g.depth();
    let inputs = [Arg::Input(0), Arg::Input(1)];
    let choice = choose(op.kernels, &g, ctx.caps);
    // The sum of dy falls off in these: all of it is loaded.
    let sizes = [elements, g.groups * g.o];
    let sizes = &sizes[..1 + usize::from(op.bias)];
    if choice != Choice::Plain
        && let Some(plan) = depthwise::plan_weight(&g, ctx.caps, op.bias)
    {
        return in_parts(&Parts::of(plan.parts, sizes), ctx, None, |to, _| {
            let args = [&inputs, to].concat();
            let grid = ctx.caps.grid(plan.workgroups)?;
            Ok(Dispatch::new(plan.kernel()?, args, &plan.params, grid).loop_iterations(plan.iterations))
        });
    }
    if let Choice::Blocks(forced) = choice {
        return blocks::weight::gradient(&g, forced, op.bias, ctx);
    }
    if choice == Choice::Registers
        && product_of_images_pays(&g)
        && let (of, parts) = images::summed([g.n, g.o, g.c, g.oh * g.ow], ctx.caps, op.bias)?
        && ctx.caps.allows(of.iterations.max(parts))
    {
        return in_parts(&Parts::of(parts, sizes), ctx, None, |to, _| {
            let args = [&[Arg::Input(1), Arg::Input(0)], to].concat();
            let grid = ctx.caps.grid(of.workgroups)?;
            Ok(Dispatch::new(of.kernel, args, &of.params, grid).loop_iterations(of.iterations))
        });
    }
    if choice == Choice::Registers
        && let Some(plan) = weight_tile::plan(&g, ctx.caps, op.bias)
    {
        let last = plan.width.map(|width| ChannelsLast { groups: g.groups, o: g.o, depth: g.depth(), width });
        let parts = Parts { last, ..Parts::of(plan.parts, sizes) };
        return in_parts(&parts, ctx, None, |to, _| {
            let args = [&inputs, to].concat();
            let grid = ctx.caps.grid(plan.workgroups)?;
            Ok(Dispatch::new(plan.kernel()?, args, &plan.params, grid).loop_iterations(plan.iterations))
        });
    }
    let program = match choice {
        Choice::Workgroup => {
            let tiles = tiles(&g, g.o, g.depth());
            let pixels = g.n * g.oh * g.ow;
            // A part is worth its own workgroups from some 16 steps on.
            let wanted = (GPU_WORKGROUPS / tiles).min(pixels / (16 * DEPTH)).max(1);
            let length = pixels.div_ceil(wanted).next_multiple_of(DEPTH);
            let parts = pixels.div_ceil(length);
            let params = Params { parts: parts as u32, length: length as u32, ..Params::new(&g) };
            in_parts(&Parts::of(parts, &[elements]), ctx, None, |to, _| {
                let kernel = Kernel::library("conv2d_backward_weight_tiled")?;
                let args = [&inputs, to].concat();
                let grid = ctx.caps.grid(tiles * parts)?;
                Ok(Dispatch::new(kernel, args, &params, grid).loop_iterations(tiled_iterations(length)))
            })?
        }
        _ => {
            let extents = (elements, g.n * g.oh * g.ow);
            plain(("conv2d_backward_weight_plain", None), &inputs, Params::new(&g), extents, ctx)?
        }
    };
    if op.bias { Ok(program.then(bias_gradient(&g, ctx)?)) } else { Ok(program) }
}

/// The sum of dy over images and pixels, a workgroup per channel and part.
fn bias_gradient(g: &Geometry, ctx: &KernelContext<'_>) -> Result<Program> {
    let (channels, all) = (g.groups * g.o, g.n * g.oh * g.ow);
    // What 64 invocations found is put together by six iterations.
    let most = 64 * (ctx.caps.max_loop_iterations as usize).saturating_sub(6);
    let Cut { parts, length } = ctx.caps.cut(all, most);
    let params = [g.n as u32, channels as u32, (g.oh * g.ow) as u32, length as u32];
    in_parts(&Parts { first: 1, ..Parts::of(parts, &[channels]) }, ctx, None, |to, _| {
        let args = [&[Arg::Input(1)], to].concat();
        let (kernel, grid) = (Kernel::library("conv2d_backward_bias")?, ctx.caps.grid(channels * parts)?);
        Ok(Dispatch::new(kernel, args, &params, grid).loop_iterations(length.div_ceil(64) + 6))
    })
}

fn dims<'a>(ctx: &KernelContext<'a>, input: usize) -> &'a [usize] {
    ctx.inputs[input].shape.dims()
}

/// What `infer` accepted; its message, should it not have.
fn geometry(g: Result<Geometry, String>) -> Result<Geometry> {
    g.map_err(crate::error::Error::Invalid)
}

/// The weight of a convolution by 1 × 1 as a matrix: images, rows and columns of the product, and what is summed.
struct Weight {
    extents: [usize; 4],
    transposed: bool,
    has_bias: bool,
}

impl Weight {
    /// Whether the product has the better tiles: whole vectors, and not most of a tile beyond the product's edge.
    fn pays(&self, g: &Geometry) -> bool {
        g.is_product() && self.fits_tiles()
    }

    /// The same of a product over every second pixel.
    fn pays_halved(&self, g: &Geometry) -> bool {
        g.is_product_of_half() && self.fits_tiles()
    }

    /// Whether its loops, and those over the vectors of a row that is halved, are none that an adapter ends early.
    fn is_allowed(&self, g: &Geometry, caps: &Caps) -> bool {
        caps.allows(images::loop_iterations(self.extents[3]).max(g.w.div_ceil(4)))
    }

    fn fits_tiles(&self) -> bool {
        let [_, m, n, _] = self.extents;
        n.is_multiple_of(4) && 2 * m >= rows_of_tiles(m)
    }
}

/// The same of the weight's gradient.
fn product_of_images_pays(g: &Geometry) -> bool {
    let padded = rows_of_tiles(g.o) * g.c.next_multiple_of(32);
    g.is_product() && (g.oh * g.ow).is_multiple_of(4) && 4 * g.o * g.c >= padded
}

/// Rows that tiles of a product of `m` rows have.
fn rows_of_tiles(m: usize) -> usize {
    m.next_multiple_of(if m > 8 { 32 } else { 8 })
}

/// The kernel for groups of one channel, that of a product of matrices, or register tiles; `None` where none fits.
fn fast(
    choice: Choice,
    g: &Geometry,
    c: &Correlation,
    weight: &Weight,
    ctx: &KernelContext<'_>,
    chain: Option<&Chain>,
) -> Result<Option<Program>> {
    let (class, has_bias) = (ctx.caps.class, weight.has_bias);
    let others = || chain.iter().flat_map(|c| c.args(ctx.inputs.len())).collect::<Vec<_>>();
    if choice == Choice::Plain {
        return Ok(None);
    }
    if let Some(plan) = depthwise::plan(c, has_bias, ctx.caps) {
        // Without a bias something has to be bound in its place.
        let bias = Arg::Input(if has_bias { 2 } else { 1 });
        let args = [&[Arg::Input(0), Arg::Input(1), bias, Arg::Output(0)], &others()[..]].concat();
        let grid = ctx.caps.grid(plan.workgroups)?;
        return Ok(Some(
            Dispatch::new(plan.kernel(chain)?, args, &plan.params, grid)
                .loop_iterations(plan.iterations)
                .into(),
        ));
    }
    match choice {
        Choice::Workgroup => return Ok(None),
        Choice::Blocks(forced) => return blocks::correlate(c, forced, has_bias, ctx, chain).map(Some),
        _ => {}
    }
    if weight.pays(g) && weight.is_allowed(g, ctx.caps) {
        let of = images::shared(weight.transposed, weight.extents, class, chain, has_bias)?;
        let mut args = vec![Arg::Input(1), Arg::Input(0), Arg::Output(0)];
        args.extend(has_bias.then_some(Arg::Input(2)));
        args.extend(others());
        let grid = ctx.caps.grid(of.workgroups)?;
        return Ok(Some(
            Dispatch::new(of.kernel, args, &of.params, grid).loop_iterations(of.iterations).into(),
        ));
    }
    if weight.pays_halved(g) && weight.is_allowed(g, ctx.caps) {
        return halved::images(g, weight, ctx, chain).map(Some);
    }
    correlate(c, has_bias, ctx, tile::Ending { chain, window: None })
}

/// Whether register tiles compute the forward direction, and can store of it the maxima of windows.
pub(super) fn can_pool(op: &Conv2d, ctx: &KernelContext<'_>, window: [usize; 2]) -> bool {
    let Ok(g) = op.window.geometry(dims(ctx, 0), dims(ctx, 1)) else { return false };
    let (chain, has_bias) = (ctx.fusion.epilogue, ctx.inputs.len() == 3);
    let c = Correlation::forward(&g);
    let weight = Weight { extents: [g.n, g.o, g.oh * g.ow, g.c], transposed: false, has_bias };
    let others =
        || weight.pays(&g) || weight.pays_halved(&g) || depthwise::plan(&c, has_bias, ctx.caps).is_some();
    let ending = tile::Ending { chain, window: Some(window) };
    choose(op.kernels, &g, ctx.caps) == Choice::Registers
        && !others()
        && tile::plan(&c, has_bias, ctx.caps, ending).is_some()
}

/// Packs the weight and runs register tiles over it; `None` where no tile fits.
fn correlate(
    c: &Correlation,
    has_bias: bool,
    ctx: &KernelContext<'_>,
    ending: tile::Ending<'_>,
) -> Result<Option<Program>> {
    let Some(plan) = tile::plan(c, has_bias, ctx.caps, ending) else { return Ok(None) };
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
    let pack = Dispatch::new(
        Kernel::library("conv2d_pack")?,
        vec![Arg::Input(1), Arg::Scratch(0)],
        &params,
        ctx.caps.grid(vectors.div_ceil(64))?,
    );
    let bias = Arg::Input(if has_bias { 2 } else { 1 });
    let mut args = vec![Arg::Input(0), Arg::ScratchRead(0), bias, Arg::Output(0)];
    args.extend(ending.window.map(|_| Arg::Output(1)));
    args.extend(ending.chain.iter().flat_map(|c| c.args(ctx.inputs.len())));
    let grid = ctx.caps.grid(plan.workgroups)?;
    let run =
        Dispatch::new(plan.kernel(ending.chain)?, args, &plan.params, grid).loop_iterations(plan.iterations);
    Ok(Some(Program { dispatches: vec![pack, run], scratch: vec![16 * vectors] }))
}
