//! Which kernels add rows to a table: `scatter_rows` looks at all numbers for each row of the result, or they are sorted first
//! (`shaders/scatter.wgsl`), so that each row has its own in one piece.

use super::ScatterRows;
use crate::error::Result;
use crate::ops::candidates::{ALL, Candidate};
use crate::ops::{Arg, Cut, KernelContext, Program, uniform};

/// Pairs that are sorted by comparing each with all others; a power of two. Blocks of 32 to 256 take the same time within a tenth.
const BLOCK: usize = 64;

/// Sorted runs that become one in a launch: two need twice the launches, eight half as many searches again.
const WAYS: usize = 4;

const CANDIDATES: [Candidate<ScatterRows>; 3] = [
    Candidate::new("small", ALL, |op, ctx| if is_small(op, ctx) { plain(op, ctx) } else { Ok(None) }),
    Candidate::new("sorted", ALL, sorted),
    Candidate::new("plain", ALL, plain),
];

pub(super) fn launch(op: &ScatterRows, ctx: &KernelContext<'_>) -> Result<Program> {
    Candidate::launch(&CANDIDATES, op.kernels, op, ctx)
}

/// The numbers, and vectors or elements of a row of the result.
fn extents(op: &ScatterRows, ctx: &KernelContext<'_>) -> (usize, usize, bool) {
    let row = ctx.outputs[0].shape.elements() / op.rows;
    let in_fours = row.is_multiple_of(4);
    (ctx.inputs[0].shape.elements(), if in_fours { row / 4 } else { row }, in_fours)
}

/// Whether looking at all numbers for each row of the result takes less time than sorting them: on llvmpipe 2 ns for a number
/// and a vector of the result, on two cores, against 150 µs and a quarter of one for each number.
fn is_small(op: &ScatterRows, ctx: &KernelContext<'_>) -> bool {
    let (count, row, _) = extents(op, ctx);
    count * row * op.rows <= 128 * (count + 512)
}

/// What no row's number is stands for none.
fn without(op: &ScatterRows) -> u32 {
    op.without.unwrap_or(u32::MAX)
}

/// Each row of the result looks at all numbers, in launches that go on one after the other.
fn plain(op: &ScatterRows, ctx: &KernelContext<'_>) -> Result<Option<Program>> {
    let (count, row, in_fours) = extents(op, ctx);
    let entry = if in_fours { "scatter_rows_vec4" } else { "scatter_rows" };
    let elements = op.rows * row;
    let Cut { length, .. } = ctx.caps.cut(count, ctx.caps.max_loop_iterations as usize);
    let launch = |first: usize| {
        let end = count.min(first + length);
        let params = uniform! { elements, row, without: without(op), first, end };
        let args = [Arg::Input(0), Arg::Input(1), Arg::Output(0)];
        Ok(ctx.launch_over(entry, args, &params, elements)?.loop_iterations(end - first))
    };
    let dispatches = (0..count).step_by(length).map(launch).collect::<Result<_>>()?;
    Ok(Some(Program::new(dispatches, Vec::new())))
}

/// Sorts the numbers with their positions, and adds for each row what is its own.
fn sorted(op: &ScatterRows, ctx: &KernelContext<'_>) -> Result<Option<Program>> {
    let (count, row, in_fours) = extents(op, ctx);
    let rows = op.rows;
    let params = |run: usize| uniform! { count, rows, run, ways: WAYS };
    let args = [Arg::Input(0), Arg::Scratch(0)];
    let mut dispatches =
        vec![ctx.launch_over("scatter_sort", args, &params(BLOCK), count)?.loop_iterations(BLOCK)];
    // Runs lie in one of two buffers, and are merged into the other.
    let (mut from, mut run) = (0, BLOCK);
    while run < count {
        let args = [Arg::ScratchRead(from), Arg::Scratch(1 - from)];
        let iterations = WAYS * (2 + run.ilog2() as usize);
        dispatches
            .push(ctx.launch_over("scatter_merge", args, &params(run), count)?.loop_iterations(iterations));
        (from, run) = (1 - from, run * WAYS);
    }
    let most = 1 << count.ilog2();
    let args = [Arg::ScratchRead(from), Arg::Scratch(2)];
    let launch = ctx.launch_over("scatter_starts", args, &params(most), rows + 1)?;
    dispatches.push(launch.loop_iterations(1 + count.ilog2() as usize));
    let entry = if in_fours { "scatter_segments_vec4" } else { "scatter_segments" };
    let elements = rows * row;
    let Cut { length, .. } = ctx.caps.cut(count, ctx.caps.max_loop_iterations as usize);
    for first in (0..count).step_by(length) {
        let params = uniform! { elements, row, without: without(op), first, most: length };
        let args = [Arg::ScratchRead(from), Arg::ScratchRead(2), Arg::Input(1), Arg::Output(0)];
        let launch = ctx.launch_over(entry, args, &params, elements)?;
        dispatches.push(launch.loop_iterations(length.min(count - first)));
    }
    Ok(Some(Program::new(dispatches, vec![8 * count, 8 * count, 4 * (rows + 1)])))
}
