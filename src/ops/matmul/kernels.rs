//! Which kernels compute a product: of a list, the first that the adapter's class runs and that fits the extents.

use super::{Extents, Form, blocks, thin, tile};
use crate::error::Result;
use crate::ops::candidates::{ALL, Candidate, GPU, SOFTWARE};
use crate::ops::elementwise::library_then;
use crate::ops::{Arg, KernelContext, Kernels, Program, Uniform, uniform};

/// What is to be computed.
pub(super) struct Problem {
    pub(super) form: Form,
    pub(super) e: Extents,
    /// Whether the sums of A's rows along k are a second output.
    pub(super) sums: bool,
    pub(super) kernels: Kernels,
}

const CANDIDATES: [Candidate<Problem>; 4] = [
    Candidate::new("thin", GPU, thin::launch),
    Candidate::new("block", GPU, |problem, ctx| blocks::launch(problem, ctx).map(Some)),
    Candidate::new("tile", SOFTWARE, |problem, ctx| tile::launch(problem, ctx).map(Some)),
    Candidate::new("plain", ALL, plain),
];

/// The launches of a product, with what `ctx` fuses after it.
pub(super) fn launch(problem: &Problem, ctx: &KernelContext<'_>) -> Result<Program> {
    Candidate::launch(&CANDIDATES, problem.kernels, problem, ctx)
}

/// How the uniform of tiles and of the plain kernel begins: extents, strides of A along m and k, of B along k and n, and
/// elements from one matrix of the batch to the next.
pub(super) fn params(form: Form, e: &Extents, a_batch: usize) -> Uniform {
    let &Extents { batch: batches, m, n, k } = e;
    let [a_m, a_k, b_k, b_n] = form.strides(e);
    uniform! { m, n, k, batches, a_m, a_k, b_k, b_n, a_batch, b_batch: k * n, c_batch: m * n }
}

/// One output per invocation; its text is `shaders/matmul.wgsl`.
fn plain(problem: &Problem, ctx: &KernelContext<'_>) -> Result<Option<Program>> {
    if problem.sums {
        return Ok(None);
    }
    let (e, chain) = (&problem.e, ctx.fusion.epilogue);
    let mut args = vec![Arg::Input(0), Arg::Input(1), Arg::Output(0)];
    args.extend(ctx.epilogue_args());
    let kernel = library_then("matmul_plain", chain, chain.and_then(|c| c.columns))?;
    let params = params(problem.form, e, e.m * e.k);
    let launch = ctx.launch(kernel, args, &params, (e.batch * e.m * e.n).div_ceil(8))?;
    Ok(Some(launch.loop_iterations(e.k).into()))
}
