//! Launches of attention and its gradient. Kernels: `shaders/attention.wgsl.jinja`.

use minijinja::context;

use super::super::{
    AdapterClass, Arg, Caps, Cut, Dispatch, Kernel, KernelContext, Program, Uniform, uniform,
};
use super::Attention;
use super::layout::{Problem, Strides};
use crate::error::{Error, Result};
use crate::ops::text::{Binding, args, floats, listed};

/// What each invocation of a kernel has, and what it walks along.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pass {
    /// Queries, along keys: the output.
    Forward,
    /// Queries, along keys: their gradient.
    Query,
    /// Keys, along queries: the gradients of keys and values.
    Key,
}

impl Pass {
    fn name(self) -> &'static str {
        match self {
            Pass::Forward => "forward",
            Pass::Query => "query",
            Pass::Key => "key",
        }
    }

    fn entry(self) -> &'static str {
        match self {
            Pass::Forward => "attention",
            Pass::Query => "attention_query_grad",
            Pass::Key => "attention_key_grad",
        }
    }

    /// Chunks of four columns that an invocation holds for each of its vectors.
    fn held(self, dc: usize, ec: usize) -> usize {
        match self {
            Pass::Forward => dc + ec,
            Pass::Query => 2 * dc + ec,
            Pass::Key => 2 * (dc + ec),
        }
    }
}

/// How invocations of a workgroup share what they walk along.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Share {
    Broadcast,
    Tile,
    Load,
}

impl Share {
    fn name(self) -> &'static str {
        match self {
            Share::Broadcast => "broadcast",
            Share::Tile => "tile",
            Share::Load => "load",
        }
    }
}

/// A form of the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Form {
    share: Share,
    /// Vectors that an invocation holds.
    rows: usize,
    /// Places that it takes at once.
    step: usize,
    /// Places of an iteration: as many, or those that lie in workgroup memory.
    block: usize,
}

impl Form {
    fn lanes(&self) -> usize {
        if self.share == Share::Tile { 64 } else { 8 }
    }

    fn of(pass: Pass, p: &Problem, class: AdapterClass) -> Form {
        let (dc, ec) = (p.d.div_ceil(4), p.e.div_ceil(4));
        let held = if pass == Pass::Key { p.m } else { p.rows() };
        match class {
            AdapterClass::Gpu => {
                // Vectors of 16 bytes in 16 KiB, two words of each query among them.
                let fits = |block: &usize| 16 * block * (dc + ec) + 8 * block <= 16 << 10;
                let block = [32, 16, 8, 4].into_iter().find(fits).unwrap_or(4);
                Form { share: Share::Tile, rows: 1, step: 4, block }
            }
            AdapterClass::Software | AdapterClass::SoftwareLanes8 => {
                let broadcast = class == AdapterClass::SoftwareLanes8;
                let (share, step) = if broadcast { (Share::Broadcast, 4) } else { (Share::Load, 2) };
                // More take longer to compile than they save.
                let most = (48 / pass.held(dc, ec)).clamp(1, 4);
                // No more than there is.
                let rows = [4, 2, 1].into_iter().find(|&r| r <= most && 4 * r < held).unwrap_or(1);
                Form { share, rows, step, block: step }
            }
        }
    }

    /// Loop iterations of one block.
    fn iterations(&self, p: &Problem) -> usize {
        let loads = |width: usize| (self.block * width.div_ceil(4)).div_ceil(64);
        match self.share {
            Share::Tile => 1 + self.block / self.step + loads(p.d) + loads(p.e),
            Share::Broadcast | Share::Load => 1,
        }
    }
}

fn words(s: &Strides) -> [u32; 4] {
    [s.offset, s.batch, s.head, s.row].map(|n| n as u32)
}

/// A pass of an op, with its bindings.
struct Launch<'a> {
    op: &'a Attention,
    p: Problem,
    pass: Pass,
    form: Form,
    bindings: Vec<Binding>,
}

impl Launch<'_> {
    fn kernel(&self, goes_on: bool) -> Result<Kernel> {
        let Launch { op, p, pass, form, bindings } = self;
        let [d4, e4] = p.aligned();
        let Form { share, rows, step, block } = *form;
        let packed = op.layout.is_packed();
        let named = |is: bool, name: &'static str| if is { name } else { "" };
        let key = format!(
            "{}.{}x{}.{}{}.{}{rows}x{step}x{block}{}{}{}{}",
            pass.entry(),
            p.d,
            p.e,
            if d4 { 4 } else { 1 },
            if e4 { 4 } else { 1 },
            share.name(),
            named(packed, ".packed"),
            named(op.lengths, ".lengths"),
            named(op.mask, ".mask"),
            named(goes_on, ".on"),
        );
        let name = |name: &'static str| if packed { "qkv" } else { name };
        let variant = context! {
            entry => pass.entry(), pass => pass.name(), share => share.name(), rows, step, block, goes_on, packed, d4, e4,
            d => p.d, e => p.e, dc => p.d.div_ceil(4), ec => p.e.div_ceil(4), has_lengths => op.lengths, mask => op.mask,
            q => name("q"), k => name("k"), v => name("v"), bindings => listed(bindings),
        };
        Kernel::rendered("attention", key, pass.entry(), "", variant)
    }

    fn uniform(&self, first: usize, end: usize) -> Uniform {
        let p = &self.p;
        let [of_batch, of_head, of_row] = p.mask.unwrap_or_default().map(|n| n as u32);
        uniform! {
            q: words(&p.q), k: words(&p.k), v: words(&p.v), o: words(&p.o), mask: [of_batch, of_head, of_row, 0],
            n: p.n, m: p.m, kv_heads: p.kv_heads, group: p.group, matrices: p.matrices(), first, end,
            causal: p.causal, scale: p.scale,
        }
    }

    /// Launches over all blocks, which go on with each other's results where loops must not be long.
    fn over_blocks(&self, caps: &Caps, ctx: &KernelContext<'_>) -> Result<Vec<Dispatch>> {
        let Launch { p, pass, form, bindings, .. } = self;
        let each = form.iterations(p);
        let blocks = match pass {
            Pass::Key => p.group * p.n.div_ceil(form.block),
            Pass::Forward | Pass::Query => p.m.div_ceil(form.block),
        };
        // Chunks, or columns, are stored one after the other.
        let stores = |width: usize, is_vec4: bool| if is_vec4 { width / 4 } else { width };
        let [d4, e4] = p.aligned();
        let rest = stores(p.d, d4) + stores(p.e, e4);
        let most = (caps.max_loop_iterations as usize).saturating_sub(rest) / each;
        let Cut { length, .. } = caps.cut(blocks, most);
        let held = if *pass == Pass::Key { p.m } else { p.rows() };
        let workgroups = held.div_ceil(form.lanes() * form.rows) * p.matrices();
        let launch = |first: usize| {
            let end = blocks.min(first + length);
            let kernel = self.kernel(first > 0)?;
            let launch = ctx.launch(kernel, args(bindings), &self.uniform(first, end), workgroups)?;
            Ok(launch.loop_iterations((end - first) * each + rest))
        };
        (0..blocks).step_by(length).map(launch).collect()
    }
}

/// q, k and v, as they are bound.
fn tensors(op: &Attention, [d4, e4]: [bool; 2]) -> Vec<Binding> {
    let names: &[(&'static str, bool)] = match op.layout.is_packed() {
        true => &[("qkv", d4)],
        false => &[("q", d4), ("k", d4), ("v", e4)],
    };
    names
        .iter()
        .enumerate()
        .map(|(i, &(name, four))| Binding::new(name, floats(four), Arg::Input(i)))
        .collect()
}

pub(super) fn attention(op: &Attention, ctx: &KernelContext<'_>) -> Result<Program> {
    let p = Problem::of(op, ctx.inputs).map_err(Error::Invalid)?;
    let [d4, e4] = p.aligned();
    let mut bindings = tensors(op, [d4, e4]);
    if op.lengths {
        bindings.push(Binding::new("lengths", "u32", Arg::Input(op.layout.tensors())));
    }
    if op.mask {
        bindings.push(Binding::new("mask", "f32", Arg::Input(op.mask_at())));
    }
    bindings.push(Binding::new("o", floats(e4), Arg::Output(0)));
    bindings.push(Binding::new("lse", "f32", Arg::Output(1)));
    let form = Form::of(Pass::Forward, &p, ctx.caps.class);
    let launch = Launch { op, p, pass: Pass::Forward, form, bindings };
    Ok(Program::new(launch.over_blocks(ctx.caps, ctx)?, Vec::new()))
}

/// The sums of each query, then the gradient of queries, then those of keys and values.
pub(super) fn gradient(op: &Attention, ctx: &KernelContext<'_>) -> Result<Program> {
    let p = Problem::of(op, ctx.inputs).map_err(Error::Invalid)?;
    let [d4, e4] = p.aligned();
    let [o, lse, dy] = [0, 1, 2].map(|i| Arg::Input(op.inputs() + i));
    let rows = p.matrices() * p.rows();
    let mut bindings = vec![
        Binding::new("o", floats(e4), o),
        Binding::new("dy", floats(e4), dy),
        Binding::new("lse", "f32", lse),
        Binding::new("stats", "vec2<u32>", Arg::Scratch(0)),
    ];
    if op.lengths {
        bindings.push(Binding::new("lengths", "u32", Arg::Input(op.layout.tensors())));
    }
    let key =
        format!("attention_stats.{}{}", if e4 { 4 } else { 1 }, if op.lengths { ".lengths" } else { "" });
    let variant = context! { bindings => listed(&bindings), e4, has_lengths => op.lengths };
    let kernel = Kernel::rendered("attention_stats", key, "attention_stats", "", variant)?;
    let width = if e4 { p.e / 4 } else { p.e };
    let params = uniform! { o: words(&p.o), n: p.n, heads: p.heads(), rows, batch: p.batch, width };
    let stats = ctx.launch(kernel, args(&bindings), &params, (rows + p.batch).div_ceil(64))?;
    let mut dispatches = vec![stats.loop_iterations(width)];
    for pass in [Pass::Query, Pass::Key] {
        let mut bindings = tensors(op, [d4, e4]);
        bindings.push(Binding::new("dy", floats(e4), dy));
        bindings.push(Binding::new("stats", "vec2<u32>", Arg::ScratchRead(0)));
        if op.mask {
            bindings.push(Binding::new("mask", "f32", Arg::Input(op.mask_at())));
        }
        match (op.layout.is_packed(), pass) {
            (true, _) => bindings.push(Binding::new("dqkv", floats(d4), Arg::Output(0))),
            (false, Pass::Key) => {
                bindings.push(Binding::new("dk", floats(d4), Arg::Output(1)));
                bindings.push(Binding::new("dv", floats(e4), Arg::Output(2)));
            }
            (false, _) => bindings.push(Binding::new("dq", floats(d4), Arg::Output(0))),
        }
        let form = Form::of(pass, &p, ctx.caps.class);
        dispatches.extend(Launch { op, p, pass, form, bindings }.over_blocks(ctx.caps, ctx)?);
    }
    Ok(Program::new(dispatches, vec![8 * (rows + p.batch)]))
}
