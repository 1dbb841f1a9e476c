//! The gradient of the weight: an invocation sums all elements of one channel's kernel over some of the images, and
//! walks down strips of them as the forward direction does. The sum of dy falls off there. Its text is
//! `shaders/conv2d_depthwise_weight.wgsl.jinja`.

use minijinja::{Value, context};

use super::super::geometry::Geometry;
use super::super::kernels::Problem;
use super::strip::Strip;
use super::{LINES, OUTPUTS, ROWS, RowSchedule, Shape, columns, vector};
use crate::error::Result;
use crate::ops::split_k::{SplitK, split_k};
use crate::ops::text::rendered;
use crate::ops::{Arg, Caps, KernelContext, Program, Uniform, uniform};

/// A kernel with its grid, and the splits it writes.
pub(in super::super) struct Plan {
    key: String,
    variant: Value,
    params: Uniform,
    splits: usize,
    workgroups: usize,
    /// Of an invocation's loops.
    iterations: usize,
}

pub(in super::super) fn launch(problem: &Problem, ctx: &KernelContext<'_>) -> Result<Option<Program>> {
    let Some(plan) = plan(&problem.g, ctx.caps, problem.has_bias) else { return Ok(None) };
    let program = split_k(&SplitK::of(plan.splits, &problem.g.gradients(problem.has_bias)), ctx, |to, _| {
        let args = [&[Arg::Input(0), Arg::Input(1)], to].concat();
        let (key, entry) = (plan.key.clone(), "conv2d_depthwise_weight");
        let kernel = rendered("conv2d_depthwise_weight", key, entry, plan.variant.clone(), None)?;
        let launch = ctx.launch(kernel, args, &plan.params, plan.workgroups)?;
        Ok(launch.loop_iterations(plan.iterations))
    });
    program.map(Some)
}

/// Most chunks of a sum: they are added one after the other.
const MAX_CHUNKS: usize = 256;

/// The kernel for groups of one input channel; `None` for others, and where its text would be too long.
pub(in super::super) fn plan(g: &Geometry, caps: &Caps, bias: bool) -> Option<Plan> {
    if g.c != 1 || g.o > OUTPUTS {
        return None;
    }
    let shape = Shape::of(caps.class);
    let schedule = RowSchedule::new(g.kh, g.stride[0], g.dilation[0], 1);
    let unit = vector(&[g.ow]);
    let columns = columns(g.ow, unit, shape.columns.min(LINES / g.taps()));
    if columns * g.taps() > LINES || schedule.window > ROWS || g.taps() > 64 {
        return None;
    }
    let tiles_x = g.ow.div_ceil(columns);
    let strip = Strip::new(columns, g.kw, [g.stride[1], 1, g.dilation[1]], g.left as i64, g.w, tiles_x);
    let steps = g.oh.div_ceil(schedule.phases);
    let channels = g.groups * g.o;
    let wanted = shape.invocations.div_ceil(channels).min(MAX_CHUNKS);
    let walks = g.n * schedule.phases * tiles_x;
    let pieces = wanted.div_ceil(walks).min(steps / (2 * schedule.kept() + 1)).max(1);
    let length = steps.div_ceil(pieces);
    let pieces = steps.div_ceil(length);
    if !caps.allows(1 + length) {
        return None;
    }
    let needed = caps.pieces(walks * pieces, caps.max_loop_iterations as usize / (1 + length));
    let items = (walks * pieces).div_ceil(wanted.max(needed));
    let splits = (walks * pieces).div_ceil(items);
    let params = uniform! {
        images: g.n, channels, m: g.o, tiles_x, h: g.h, w: g.w, oh: g.oh, ow: g.ow, steps, length, pieces,
        items, splits, row_offset: g.top,
    };
    let key = format!(
        "conv2d_depthwise_weight.s{}x{}d{}x{}b{}.{}x{}.{}.{columns}x{}.{unit}.w{}{}",
        g.stride[0],
        g.stride[1],
        g.dilation[0],
        g.dilation[1],
        g.left,
        g.kh,
        g.kw,
        strip.vector,
        g.ow - (tiles_x - 1) * columns,
        shape.workgroup,
        if bias { ".bias" } else { "" },
    );
    let variant = context! {
        workgroup => shape.workgroup, kh => g.kh, kw => g.kw, bias, n => unit, tail => g.ow - (tiles_x - 1) * columns,
        ..schedule.variant(&strip, g.kw)
    };
    let workgroups = (channels * splits).div_ceil(shape.workgroup);
    Some(Plan { key, variant, params, splits, workgroups, iterations: items * (1 + length) })
}
