//! Convolutions on GPUs, by [`Block`]s: the forward direction and the gradient of the images as products of the weight
//! with a matrix that exists in workgroup memory alone (`shaders/gpu/conv2d_block.wgsl.jinja`), and the gradient of the weight
//! as a sum over pixels.

pub(super) mod weight;

use minijinja::context;

use super::correlation::Correlation;
use super::kernels::Problem;
use crate::error::Result;
use crate::ops::block::{Along, Block};
use crate::ops::split_k::{SplitK, split_k};
use crate::ops::text::{Epilogue, rendered};
use crate::ops::{Arg, Chain, Kernel, KernelContext, Program, Trial, uniform};

/// The forms that can compute a correlation.
pub(super) fn trial(c: &Correlation) -> Trial {
    let input_dilation = if c.input_dilation == [1, 1] { "" } else { "g" };
    let name =
        format!("conv2d{}.k{}x{}{input_dilation}", if c.flip { "_backward_input" } else { "" }, c.kh, c.kw);
    let pixels = c.images * c.oh * c.ow;
    Block::trial(&name, [c.m, pixels], c.groups, c.c * c.kh * c.kw)
}

/// The forward direction, or the gradient of the images.
pub(super) fn launch(problem: &Problem, ctx: &KernelContext<'_>) -> Result<Program> {
    let c = &problem.c;
    let pixels = c.images * c.oh * c.ow;
    let block = Block::of(problem.kernels.form(), &trial(c), ctx.caps);
    let depth = c.c * c.kh * c.kw;
    let (splits, length) = Block::whole(depth, ctx.caps);
    let params = c.uniform().and(uniform! {
        stride_y: c.stride[0], stride_x: c.stride[1], input_dilation_y: c.input_dilation[0],
        input_dilation_x: c.input_dilation[1], dilation_y: c.dilation[0], dilation_x: c.dilation[1], before_y: c.before[0],
        before_x: c.before[1], group_step: c.weight_steps[0], m_step: c.weight_steps[1],
        c_step: c.weight_steps[2], has_bias: problem.has_bias, kw: c.kw, taps: c.kh * c.kw, splits, length,
    });
    split_k(&SplitK::of(splits, &[c.groups * c.m * pixels]), ctx, |to, chain| {
        let args = [&[Arg::Input(0), Arg::Input(1), problem.bias()], to].concat();
        let workgroups = block.workgroups([c.m, pixels]) * c.groups * splits;
        let launch = ctx.launch(kernel(c, &block, chain)?, args, &params, workgroups)?;
        Ok(launch.loop_iterations(block.loop_iterations(length)))
    })
}

/// Of a kernel's extents its part of keys, and the numbers of taps, and of taps in a row, as its text has them; the last says
/// whether the text knows the numbers.
fn taps(kh: usize, kw: usize) -> (String, [String; 2], bool) {
    match [kh, kw] {
        [1, 1] | [3, 3] => (format!(".k{kh}x{kw}"), [format!("{}u", kh * kw), format!("{kw}u")], true),
        _ => (String::new(), ["p.taps".to_string(), "p.kw".to_string()], false),
    }
}

/// The variant of the kernel, with formulas after it.
fn kernel(c: &Correlation, block: &Block, chain: Option<&Chain>) -> Result<Kernel> {
    let flip = c.flip;
    let entry = if flip { "conv2d_backward_input_block" } else { "conv2d_block" };
    let (k, [taps, kw], is_known) = taps(c.kh, c.kw);
    let depth = c.c * c.kh * c.kw;
    // The weight of a row is contiguous along k, and so is a vector of it.
    let weight4 = is_known && !flip && c.weight_steps[1] == depth && depth.is_multiple_of(4);
    // Whether four neighbouring pixels always are in one row, and are stored as a vector.
    let rows_of_four = is_known && c.ow.is_multiple_of(4);
    let has_input_dilation = c.input_dilation != [1, 1];
    let letter = |is: bool, letter: &'static str| if is { letter } else { "" };
    let (w, r, g) = (letter(weight4, "w"), letter(rows_of_four, "r"), letter(has_input_dilation, "g"));
    let key = format!("{entry}.{}{k}{w}{r}{g}", block.name());
    let variant = context! {
        taps, kw, weight4, rows_of_four, has_input_dilation, flip, has_epilogue => chain.is_some(),
        ..block.variant(entry, Along::K, Along::Lines, false)
    };
    let epilogue =
        chain.map(|chain| Epilogue { chain, vector: if rows_of_four { 4 } else { 1 }, columns: None });
    rendered("gpu/conv2d_block", key, entry, variant, epilogue)
}
