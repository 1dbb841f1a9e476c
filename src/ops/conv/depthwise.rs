//! How convolutions whose groups have one input channel each, and their gradients, are walked over, in every class: which rows
//! an invocation keeps while it walks down a strip of one plane. Their text is `shaders/conv2d_depthwise.wgsl.jinja`.
//!
//! Where outputs or inputs lie apart, by dilation or stride, an invocation walks over those rows that meet the same
//! rows, and a gradient of a strided convolution computes as many rows of outputs in each step as the stride has
//! residues, each by its own part of the kernel: no product with a zero between two elements is computed.

mod strip;
pub(super) mod weight;

use minijinja::{Value, context};

use super::correlation::Correlation;
use super::kernels::Problem;
use super::tile::greatest_common_divisor;
use crate::error::Result;
use crate::ops::text::{Epilogue, rendered, widest};
use crate::ops::{AdapterClass, Arg, Caps, Chain, Kernel, KernelContext, Program, Uniform, uniform};
use strip::Strip;

/// Most output channels of a group. With more, tiles that load the input once for all of them are as fast.
const OUTPUTS: usize = 4;
/// Multiply-adds in one kernel, which decide how long it compiles.
const LINES: usize = 640;
/// Most rows of the input that are kept.
const ROWS: usize = 32;

/// How wide strips are, and how many invocations there should be.
#[derive(Debug, Clone, Copy)]
struct Shape {
    columns: usize,
    invocations: usize,
    workgroup: usize,
}

impl Shape {
    fn of(class: AdapterClass) -> Self {
        match class {
            // Neighbours in a row belong to neighbouring invocations.
            AdapterClass::Gpu => Shape { columns: 4, invocations: 1 << 15, workgroup: 64 },
            _ => Shape { columns: 32, invocations: 256, workgroup: 8 },
        }
    }
}

/// Which rows each step loads, keeps and combines.
#[derive(Debug, Clone, PartialEq, Eq)]
struct RowSchedule {
    /// Rows of the input at hand, `spacing` apart, and by how many of them a step moves on.
    window: usize,
    shift: usize,
    spacing: usize,
    /// Rows of the input from one step to the next.
    advance: usize,
    /// Rows of outputs in each step: the rows of the kernel and of the window that meet.
    rows: Vec<Vec<[usize; 2]>>,
    /// Walks side by side, and rows of outputs from one step to the next.
    phases: usize,
    step: usize,
}

impl RowSchedule {
    /// Output row o meets input row (o stride + ky dilation - before) / input_dilation.
    fn new(kh: usize, stride: usize, dilation: usize, input_dilation: usize) -> Self {
        if input_dilation == 1 {
            let common = greatest_common_divisor(stride, dilation);
            let (phases, shift) = (dilation / common, stride / common);
            return RowSchedule {
                window: kh,
                shift,
                spacing: dilation,
                advance: phases * stride,
                rows: vec![(0..kh).map(|ky| [ky, ky]).collect()],
                phases,
                step: phases,
            };
        }
        let meeting = |row: usize| {
            let meets = |&ky: &usize| (row + ky * dilation).is_multiple_of(input_dilation);
            (0..kh).filter(meets).map(|ky| [ky, (row + ky * dilation) / input_dilation]).collect()
        };
        let rows: Vec<Vec<[usize; 2]>> = (0..input_dilation).map(meeting).collect();
        let last = rows.iter().flatten().map(|[_, slot]| *slot).max().unwrap_or(0);
        RowSchedule {
            window: last + 1,
            shift: 1,
            spacing: 1,
            advance: 1,
            rows,
            phases: 1,
            step: input_dilation,
        }
    }

    /// Rows of the window that the step before had.
    fn kept(&self) -> usize {
        self.window.saturating_sub(self.shift)
    }

    /// What the templates are to know of a walk down `strip`.
    fn variant(&self, strip: &Strip, kw: usize) -> Value {
        let RowSchedule { window, shift, spacing, advance, phases, step, ref rows } = *self;
        let pairs = |meeting: &Vec<[usize; 2]>| meeting.iter().map(|pair| pair.to_vec()).collect::<Vec<_>>();
        context! {
            window, shift, spacing, advance, phases, step,
            kept => self.kept(), stride_y => advance / phases, rows => rows.iter().map(pairs).collect::<Vec<_>>(),
            columns => strip.columns, strip => strip.variant(), met => strip.met(kw),
        }
    }
}

/// A kernel with its grid.
pub(super) struct Plan {
    walk: RowLoop,
    params: Uniform,
    workgroups: usize,
    /// Of an invocation's loop.
    iterations: usize,
}

pub(super) fn launch(problem: &Problem, ctx: &KernelContext<'_>) -> Result<Option<Program>> {
    let Some(plan) = plan(&problem.c, problem.has_bias, ctx.caps) else { return Ok(None) };
    let mut args = vec![Arg::Input(0), Arg::Input(1), problem.bias(), Arg::Output(0)];
    args.extend(ctx.epilogue_args());
    let launch = ctx.launch(plan.walk.kernel(ctx.fusion.epilogue)?, args, &plan.params, plan.workgroups)?;
    Ok(Some(launch.loop_iterations(plan.iterations).into()))
}

/// A variant of the kernel: what its text depends on.
#[derive(Debug, Clone)]
struct RowLoop {
    workgroup: usize,
    schedule: RowSchedule,
    strip: Strip,
    kernel: [usize; 2],
    flip: bool,
    /// Outputs stored at once, and those of the last tile of a row.
    store: usize,
    tail: usize,
    /// Names stride, input_dilation, dilation and padding.
    steps: String,
}

/// Columns of a strip: a multiple of `unit`, about `most`, sharing `all` columns evenly.
fn columns(all: usize, unit: usize, most: usize) -> usize {
    let most = (most / unit * unit).max(unit);
    let tiles = all.div_ceil(most);
    all.div_ceil(tiles).next_multiple_of(unit).min(most)
}

/// The largest of 4, 2 and 1 that divides all numbers.
fn vector(numbers: &[usize]) -> usize {
    widest(|v| numbers.iter().all(|n| n.is_multiple_of(v)))
}

/// The kernel for a correlation with one input channel in each group; `None` where its text would be too long.
pub(super) fn plan(c: &Correlation, has_bias: bool, caps: &Caps) -> Option<Plan> {
    if c.c != 1 || c.m > OUTPUTS {
        return None;
    }
    let shape = Shape::of(caps.class);
    let schedule = RowSchedule::new(c.kh, c.stride[0], c.dilation[0], c.input_dilation[0]);
    let input_dilation = c.input_dilation[1];
    let store = vector(&[c.ow]);
    // A load needs tiles that begin at whole vectors of the input.
    let (aligned, least) = (vector(&[c.w]) * input_dilation, least_common_multiple(store, input_dilation));
    let unit = least_common_multiple(store, aligned);
    let unit = if unit <= shape.columns.max(4) { unit } else { least };
    let lines = (c.kh * c.kw).div_ceil(input_dilation);
    let columns = columns(c.ow, unit, shape.columns.min(LINES / lines));
    if columns * lines > LINES || schedule.window > ROWS || c.input_dilation.iter().any(|g| *g > 8) {
        return None;
    }
    let tiles_x = c.ow.div_ceil(columns);
    let strip =
        Strip::new(columns, c.kw, [c.stride[1], input_dilation, c.dilation[1]], c.before[1], c.w, tiles_x);
    let lead = (-c.before[0]).rem_euclid(c.input_dilation[0] as i64);
    let steps = (c.oh + lead as usize).div_ceil(schedule.step);
    let planes = c.images * c.groups * c.m;
    let walks = planes * tiles_x * schedule.phases;
    // A piece loads the rows again that it shares with the one before.
    let needed = caps.pieces(steps, caps.max_loop_iterations as usize);
    let wanted = shape.invocations.div_ceil(walks).min(steps / (2 * schedule.kept() + 1)).max(needed);
    let length = steps.div_ceil(wanted);
    let splits = steps.div_ceil(length);
    let params = uniform! {
        planes, channels: c.groups * c.m, m: c.m, has_bias, h: c.h, w: c.w, oh: c.oh, ow: c.ow, tiles_x,
        steps, length, splits, row_offset: (c.before[0] + lead) / c.input_dilation[0] as i64, lead,
    };
    let walk = RowLoop {
        workgroup: shape.workgroup,
        schedule,
        strip,
        kernel: [c.kh, c.kw],
        flip: c.flip,
        store,
        tail: c.ow - (tiles_x - 1) * columns,
        steps: format!(
            "s{}x{}g{}x{}d{}x{}b{}",
            c.stride[0],
            c.stride[1],
            c.input_dilation[0],
            c.input_dilation[1],
            c.dilation[0],
            c.dilation[1],
            c.before[1]
        ),
    };
    let workgroups = (walks * splits).div_ceil(shape.workgroup);
    Some(Plan { walk, params, workgroups, iterations: length })
}

fn least_common_multiple(a: usize, b: usize) -> usize {
    a / greatest_common_divisor(a, b) * b
}

impl RowLoop {
    fn kernel(&self, chain: Option<&Chain>) -> Result<Kernel> {
        let [kh, kw] = self.kernel;
        let key = format!(
            "conv2d_depthwise.{}.{kh}x{kw}{}.{}.{}x{}.{}.w{}",
            self.steps,
            if self.flip { "f" } else { "" },
            self.strip.vector,
            self.strip.columns,
            self.tail,
            self.store,
            self.workgroup,
        );
        let RowLoop { workgroup, store, tail, flip, .. } = *self;
        let walk = self.schedule.variant(&self.strip, kw);
        let has_epilogue = chain.is_some();
        let variant = context! { workgroup, kh, kw, flip, store, tail, has_epilogue, ..walk };
        let epilogue = chain.map(|chain| Epilogue { chain, vector: store, columns: None });
        rendered("conv2d_depthwise", key, "conv2d_depthwise", variant, epilogue)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every output row meets the rows that the formula says, and every row of the kernel takes part in some.
    #[test]
    fn a_schedule_meets_what_the_formula_says() {
        for kh in 1..6 {
            for (stride, dilation, input_dilation) in
                [(1, 1, 1), (2, 1, 1), (3, 2, 1), (2, 4, 1), (1, 3, 1), (1, 1, 2), (1, 2, 2), (1, 2, 3)]
            {
                let s = RowSchedule::new(kh, stride, dilation, input_dilation);
                for (t, phase) in (0..4).flat_map(|t| (0..s.phases).map(move |phase| (t, phase))) {
                    let first = phase * stride + t * s.advance;
                    for (r, meeting) in s.rows.iter().enumerate() {
                        let o = phase + t * s.step + r;
                        let met: Vec<[usize; 2]> =
                            meeting.iter().map(|[ky, slot]| [*ky, first + slot * s.spacing]).collect();
                        let at = |ky: usize| o * stride + ky * dilation;
                        let all = (0..kh).filter(|ky| at(*ky).is_multiple_of(input_dilation));
                        let expected: Vec<[usize; 2]> = all.map(|ky| [ky, at(ky) / input_dilation]).collect();
                        assert_eq!(met, expected, "{kh} {stride} {dilation} {input_dilation}: row {o}");
                        assert!(meeting.iter().all(|[_, slot]| *slot < s.window));
                    }
                }
                // What is kept is where the step before had it.
                assert_eq!(s.advance, s.shift * s.spacing);
            }
        }
    }

    #[test]
    fn strips_share_rows_evenly() {
        assert_eq!(columns(32, 4, 32), 32);
        assert_eq!(columns(36, 4, 32), 20);
        assert_eq!(columns(7, 1, 32), 7);
        assert_eq!(columns(33, 1, 32), 17);
        assert_eq!(columns(100, 8, 6), 8);
    }
}
