//! Products on GPUs: which block, and in how many splits of k. Their text is `shaders/gpu/matmul_block.wgsl.jinja`.

use minijinja::context;

use super::kernels::Problem;
use super::{Chain, Extents, Form, Kernel, letters};
use crate::error::Result;
use crate::ops::block::{Along, Block};
use crate::ops::split_k::{SplitK, split_k};
use crate::ops::text::{Epilogue, rendered};
use crate::ops::{Arg, KernelContext, Program, Trial, uniform};

/// The forms that can compute it.
pub(super) fn trial(form: Form, e: &Extents, sums: bool) -> Trial {
    let sum = if sums { "_sum" } else { "" };
    let name = format!("{}{sum}.{}", form.name(), letters(form.aligned(e)));
    Block::trial(&name, [e.m, e.n], e.batch, e.k)
}

/// The launches of C = A B; with `sums`, those of A's rows along k as a second output.
pub(super) fn launch(problem: &Problem, ctx: &KernelContext<'_>) -> Result<Program> {
    let &Problem { form, ref e, sums, kernels } = problem;
    let block = Block::of(kernels.form(), &trial(form, e, sums), ctx.caps);
    let (splits, length) = match e.batch {
        1 => Block::splits([e.m, e.n], 1, e.k, ctx.caps),
        _ => Block::whole(e.k, ctx.caps),
    };
    let &Extents { batch: batches, m, n, k } = e;
    let params = uniform! { m, n, k, batches, splits, length };
    let sizes = [batches * m * n, m];
    let of = SplitK { columns: n, ..SplitK::of(splits, &sizes[..1 + usize::from(sums)]) };
    split_k(&of, ctx, |to, chain| {
        let args = [&[Arg::Input(0), Arg::Input(1)], to].concat();
        let workgroups = block.workgroups([m, n]) * batches * splits;
        let launch =
            ctx.launch(kernel(&block, form, form.aligned(e), sums, chain)?, args, &params, workgroups)?;
        Ok(launch.loop_iterations(block.loop_iterations(length)))
    })
}

/// The variant of the kernel, with formulas after it.
fn kernel(
    block: &Block,
    form: Form,
    aligned: [bool; 3],
    sums: bool,
    chain: Option<&Chain>,
) -> Result<Kernel> {
    let entry = format!("matmul_block_{}", form.letters());
    let key = format!("{entry}.{}.{}{}", block.name(), letters(aligned), if sums { ".sums" } else { "" });
    let (a, b) = match form {
        Form::Nn => (Along::K, Along::Lines),
        Form::Nt => (Along::K, Along::K),
        Form::Tn => (Along::Lines, Along::Lines),
    };
    let [a4, b4, c4] = aligned;
    let variant = context! {
        a4, b4, c4, turned => false, has_epilogue => chain.is_some(), ..block.variant(&entry, a, b, sums)
    };
    let epilogue =
        chain.map(|chain| Epilogue { chain, vector: if c4 { 4 } else { 1 }, columns: chain.columns });
    rendered("gpu/matmul_block", key, &entry, variant, epilogue)
}
