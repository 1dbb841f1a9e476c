//! Convolutions on GPUs, by [`Block`]s: the forward direction and the gradient of the images as products of the weight
//! with a matrix that exists in workgroup memory alone (`shaders/gpu/conv2d_block.wgsl.jinja`), and the gradient of the weight
//! as a sum over pixels.

pub(super) mod weight;

use minijinja::context;

use super::correlation::Correlation;
use super::geometry::Extents;
use super::kernels::Asked;
use crate::error::Result;
use crate::ops::block::{Along, Block};
use crate::ops::parts::{Parts, in_parts};
use crate::ops::text::{Then, rendered};
use crate::ops::{Arg, Chain, Dispatch, Kernel, KernelContext, Program, Trial};

/// Uniform of the forward direction and the gradient of the images: [`Correlation`].
#[repr(C)]
#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Params {
    extents: Extents,
    stride_y: u32,
    stride_x: u32,
    gap_y: u32,
    gap_x: u32,
    dilation_y: u32,
    dilation_x: u32,
    before_y: u32,
    before_x: u32,
    group_step: u32,
    m_step: u32,
    c_step: u32,
    has_bias: u32,
    kw: u32,
    taps: u32,
    /// Parts that the sum is cut into, and the extent of each.
    parts: u32,
    length: u32,
}

/// The forms that can compute a correlation.
pub(super) fn trial(c: &Correlation) -> Trial {
    let gap = if c.gap == [1, 1] { "" } else { "g" };
    let name = format!("conv2d{}.k{}x{}{gap}", if c.flip { "_backward_input" } else { "" }, c.kh, c.kw);
    let pixels = c.images * c.oh * c.ow;
    Block::trial(&name, [c.m, pixels], c.groups, c.c * c.kh * c.kw, false)
}

/// The forward direction, or the gradient of the images.
pub(super) fn launch(asked: &Asked<'_>, ctx: &KernelContext<'_>) -> Result<Program> {
    let (c, chain) = (&asked.c, ctx.fusion.epilogue);
    let pixels = c.images * c.oh * c.ow;
    let block = Block::of(asked.form(), &trial(c), ctx.caps);
    let depth = c.c * c.kh * c.kw;
    // The weight of a row is contiguous along k, and so is a vector of it.
    let in_line = !c.flip && c.weight_steps[1] == depth;
    let taps = Taps::of(c.kh, c.kw);
    let (parts, length) = Block::whole(depth, ctx.caps);
    let variant = Variant {
        block,
        taps,
        weight4: taps.is_known() && in_line && depth.is_multiple_of(4),
        rows_of_four: taps.is_known() && c.ow.is_multiple_of(4),
        has_gap: c.gap != [1, 1],
        flip: c.flip,
    };
    let params = Params {
        extents: c.extents(),
        stride_y: c.stride[0] as u32,
        stride_x: c.stride[1] as u32,
        gap_y: c.gap[0] as u32,
        gap_x: c.gap[1] as u32,
        dilation_y: c.dilation[0] as u32,
        dilation_x: c.dilation[1] as u32,
        // Positions before the first wrap around, and are then beyond the last.
        before_y: c.before[0] as u32,
        before_x: c.before[1] as u32,
        group_step: c.weight_steps[0] as u32,
        m_step: c.weight_steps[1] as u32,
        c_step: c.weight_steps[2] as u32,
        has_bias: u32::from(asked.has_bias),
        kw: c.kw as u32,
        taps: (c.kh * c.kw) as u32,
        parts: parts as u32,
        length: length as u32,
    };
    let inputs = ctx.inputs.len();
    let elements = [c.groups * c.m * pixels];
    in_parts(&Parts::of(parts, &elements), ctx, chain.map(|c| (c, inputs)), |to, chain| {
        let mut args = [&[Arg::Input(0), Arg::Input(1), asked.bias()], to].concat();
        args.extend(chain.iter().flat_map(|chain| chain.args(inputs)));
        let grid = ctx.caps.grid(block.workgroups([c.m, pixels]) * c.groups * parts)?;
        Ok(Dispatch::new(variant.kernel(chain)?, args, &params, grid)
            .loop_iterations(block.loop_iterations(length)))
    })
}

/// What the text of a correlation depends on.
struct Variant {
    block: Block,
    taps: Taps,
    /// Whether the weight is read as vectors along k.
    weight4: bool,
    /// Whether four neighbouring pixels always are in one row, and are stored as a vector.
    rows_of_four: bool,
    has_gap: bool,
    flip: bool,
}

/// The extents of a kernel, as a text knows them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Taps(Option<[usize; 2]>);

impl Taps {
    fn of(kh: usize, kw: usize) -> Self {
        Taps(Some([kh, kw]).filter(|extents| matches!(extents, [1, 1] | [3, 3])))
    }

    fn is_known(self) -> bool {
        self.0.is_some()
    }

    fn key(self) -> String {
        self.0.map(|[kh, kw]| format!(".k{kh}x{kw}")).unwrap_or_default()
    }

    /// The numbers of taps, and of taps in a row, as a text has them.
    fn spelled(self) -> [String; 2] {
        match self.0 {
            Some([kh, kw]) => [format!("{}u", kh * kw), format!("{kw}u")],
            None => ["p.taps".to_string(), "p.kw".to_string()],
        }
    }
}

impl Variant {
    fn kernel(&self, chain: Option<&Chain>) -> Result<Kernel> {
        let Variant { block, taps, weight4, rows_of_four, has_gap, flip } = *self;
        let entry = if flip { "conv2d_backward_input_block" } else { "conv2d_block" };
        let letter = |is: bool, letter: &'static str| if is { letter } else { "" };
        let key = format!(
            "{entry}.{}{}{}{}{}",
            block.name(),
            taps.key(),
            letter(weight4, "w"),
            letter(rows_of_four, "r"),
            letter(has_gap, "g"),
        );
        let [taps, kw] = taps.spelled();
        let block = block.variant(entry, Along::K, Along::Lines, false);
        let variant =
            context! { taps, kw, weight4, rows_of_four, has_gap, flip, finishes => chain.is_some(), ..block };
        let vector = if rows_of_four { 4 } else { 1 };
        let then = chain.map(|chain| Then { chain, vector, columns: None });
        rendered("gpu/conv2d_block", key, entry, variant, then)
    }
}
