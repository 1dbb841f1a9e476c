//! Products on GPUs: which block, and in how many parts of k. Their text is `shaders/gpu/matmul_block.wgsl.jinja`.

use minijinja::context;

use super::{Chain, Extents, Form, Kernel};
use crate::error::Result;
use crate::ops::block::{Along, Block};
use crate::ops::parts::{Parts, in_parts};
use crate::ops::text::{Then, rendered};
use crate::ops::{Arg, Dispatch, KernelContext, Program, Trial};

/// Uniform of the blocks.
#[repr(C)]
#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Params {
    m: u32,
    n: u32,
    k: u32,
    batches: u32,
    /// Parts that k is cut into, and the extent of each.
    parts: u32,
    length: u32,
    _pad: [u32; 2],
}

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

/// The launches of C = A B, with `chain` behind it; with `sums`, those of A's rows along k as a second output.
pub(super) fn product(
    form: Form,
    e: &Extents,
    forced: Option<usize>,
    ctx: &KernelContext<'_>,
    chain: Option<&Chain>,
    sums: bool,
) -> Result<Program> {
    let block = Block::of(forced, &trial(form, e, sums), ctx.caps);
    let (parts, length) = match e.batch {
        1 => Block::parts([e.m, e.n], 1, e.k, ctx.caps),
        _ => Block::whole(e.k, ctx.caps),
    };
    let params = Params {
        m: e.m as u32,
        n: e.n as u32,
        k: e.k as u32,
        batches: e.batch as u32,
        parts: parts as u32,
        length: length as u32,
        _pad: [0; 2],
    };
    let sizes = [e.batch * e.m * e.n, e.m];
    let parts = Parts { columns: e.n, ..Parts::of(parts, &sizes[..1 + usize::from(sums)]) };
    let launch = |to: &[Arg], chain: Option<&Chain>| {
        let kernel = Variant::new(block, form, e, sums).kernel(chain)?;
        let mut args = vec![Arg::Input(0), Arg::Input(1)];
        args.extend(to);
        args.extend(chain.iter().flat_map(|c| c.args(2)));
        let grid = ctx.caps.grid(block.workgroups([e.m, e.n]) * e.batch * parts.parts)?;
        Ok(Dispatch::new(kernel, args, &params, grid).loop_iterations(block.loop_iterations(length)))
    };
    in_parts(&parts, ctx, chain.map(|c| (c, 2)), launch)
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
        let variant = context! { a4, b4, c4, finishes => chain.is_some(), ..block };
        let then = chain.map(|chain| Then { chain, vector: if c4 { 4 } else { 1 }, columns: chain.columns });
        rendered("gpu/matmul_block", key, &entry, variant, then)
    }
}
