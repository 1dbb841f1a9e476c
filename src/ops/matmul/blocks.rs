//! Products on GPUs: which block, and in how many splits of k. Their text is `shaders/gpu/matmul_block.wgsl.jinja`.

use minijinja::context;

use super::kernels::Problem;
use super::{Chain, Extents, Form, Kernel};
use crate::error::Result;
use crate::ops::block::{Along, Block};
use crate::ops::split_k::{SplitK, split_k};
use crate::ops::text::{Epilogue, rendered};
use crate::ops::{Arg, Dispatch, KernelContext, Program, Trial, uniform};

/// The forms that can compute it.
pub(super) fn trial(form: Form, e: &Extents, sums: bool) -> Trial {
    let aligned: String = aligned(form, e).iter().map(|a| if *a { '4' } else { '1' }).collect();
    let name = format!("{}{}.{aligned}", form.name(), if sums { "_sum" } else { "" });
    Block::trial(&name, [e.m, e.n], e.batch, e.k, false)
}

/// Whether rows of A, B and C start at multiples of 4 elements, so that they load as `vec4`s.
fn aligned(form: Form, e: &Extents) -> [bool; 3] {
    let a = if form == Form::Tn { e.m } else { e.k };
    let b = if form == Form::Nt { e.k } else { e.n };
    [a, b, e.n].map(|n| n.is_multiple_of(4))
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
    let sizes = [e.batch * e.m * e.n, e.m];
    let splits = SplitK { columns: e.n, ..SplitK::of(splits, &sizes[..1 + usize::from(sums)]) };
    let launch = |to: &[Arg], chain: Option<&Chain>| {
        let kernel = Variant::new(block, form, e, sums).kernel(chain)?;
        let mut args = vec![Arg::Input(0), Arg::Input(1)];
        args.extend(to);
        args.extend(chain.iter().flat_map(|c| c.args(2)));
        let grid = ctx.caps.grid(block.workgroups([e.m, e.n]) * e.batch * splits.splits)?;
        Ok(Dispatch::by_name(kernel, args, &params, grid).loop_iterations(block.loop_iterations(length)))
    };
    split_k(&splits, ctx, ctx.fusion.epilogue.map(|c| (c, 2)), launch)
}

/// What the text depends on.
struct Variant {
    block: Block,
    form: Form,
    aligned: [bool; 3],
    sums: bool,
}

impl Variant {
    fn new(block: Block, form: Form, e: &Extents, sums: bool) -> Self {
        Variant { block, form, aligned: aligned(form, e), sums }
    }

    fn kernel(&self, chain: Option<&Chain>) -> Result<Kernel> {
        let entry = format!("matmul_block_{}", self.form.letters());
        let letters: String = self.aligned.iter().map(|a| if *a { '4' } else { '1' }).collect();
        let key = format!("{entry}.{}.{letters}{}", self.block.name(), if self.sums { ".sums" } else { "" });
        let (a, b) = match self.form {
            Form::Nn => (Along::K, Along::Lines),
            Form::Nt => (Along::K, Along::K),
            Form::Tn => (Along::Lines, Along::Lines),
        };
        let [a4, b4, c4] = self.aligned;
        let block = self.block.variant(&entry, a, b, self.sums);
        let variant = context! { a4, b4, c4, has_epilogue => chain.is_some(), ..block };
        let epilogue =
            chain.map(|chain| Epilogue { chain, vector: if c4 { 4 } else { 1 }, columns: chain.columns });
        rendered("gpu/matmul_block", key, &entry, variant, epilogue)
    }
}
