//! Split-K: each workgroup writes partial sums over its split of k to scratch memory, and a second launch adds them in
//! order. Sums without a k, of pooling, biases and normalizations, are split alike. Kernels: `shaders/split_k.wgsl`.

use super::elementwise::library_then;
use super::{Arg, Chain, Dispatch, KernelContext, Program, uniform};
use crate::error::Result;

/// How one or two results are cut.
#[derive(Debug, Clone)]
pub(super) struct SplitK<'a> {
    /// How many there are; with one, the results are written at once.
    pub(super) splits: usize,
    /// Which output of the op the first of them is; they follow each other.
    pub(super) first: usize,
    /// Elements of each result.
    pub(super) sizes: &'a [usize],
    /// Elements of a row of the first, for what follows it.
    pub(super) columns: usize,
    /// Where partial sums of the first result do not lie as the result does.
    pub(super) last: Option<ChannelsLast>,
}

/// Partial sums of a convolution's weight with its output channels last, padded to `width`.
#[derive(Debug, Clone, Copy)]
pub(super) struct ChannelsLast {
    pub(super) groups: usize,
    pub(super) o: usize,
    pub(super) depth: usize,
    pub(super) width: usize,
}

impl<'a> SplitK<'a> {
    pub(super) fn of(splits: usize, sizes: &'a [usize]) -> Self {
        SplitK { splits, first: 0, sizes, columns: 1, last: None }
    }
}

/// A launch that writes the results, or partial sums of each to scratch memory, which a second launch adds. The op's epilogue
/// belongs to its first output: `launch` gets it, and its inputs after the results, if it writes them itself.
pub(super) fn split_k(
    of: &SplitK<'_>,
    ctx: &KernelContext<'_>,
    launch: impl FnOnce(&[Arg], Option<&Chain>) -> Result<Dispatch>,
) -> Result<Program> {
    let all = |arg: fn(usize) -> Arg| (0..of.sizes.len()).map(arg).collect::<Vec<_>>();
    let mut outputs: Vec<Arg> = (of.first..of.first + of.sizes.len()).map(Arg::Output).collect();
    let epilogue = ctx.fusion.epilogue.filter(|_| of.first == 0);
    outputs.extend(epilogue.map(|_| ctx.epilogue_args()).unwrap_or_default());
    if of.splits == 1 {
        return Ok(launch(&outputs, epilogue)?.into());
    }
    let entry = if of.sizes.len() == 2 { "split_k_sum_of_two" } else { "split_k_sum" };
    let (elements, channels) = (of.sizes[0], of.sizes.get(1).copied().unwrap_or(0));
    let ChannelsLast { groups, o, depth, width } =
        of.last.unwrap_or(ChannelsLast { groups: 1, o: 1, depth: 1, width: 0 });
    let length = if width == 0 { elements } else { groups * depth * width };
    let params = uniform! {
        splits: of.splits, elements, length, channels, o, depth, width, columns: of.columns,
    };
    let args = [all(Arg::ScratchRead), outputs].concat();
    let kernel = library_then(entry, epilogue, epilogue.and_then(|c| c.columns))?;
    let add = ctx.launch(kernel, args, &params, (elements + channels).div_ceil(64))?;
    let dispatches = vec![launch(&all(Arg::Scratch), None)?, add.loop_iterations(of.splits)];
    let scratch = [&[length], &of.sizes[1..]].concat();
    Ok(Program::new(dispatches, scratch.iter().map(|n| 4 * of.splits * n).collect()))
}
