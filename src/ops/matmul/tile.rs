//! Which register tile computes a product on a software adapter. Their text is
//! `shaders/software/matmul_tile.wgsl.jinja`.

use minijinja::context;

use super::kernels::{Problem, params};
use super::{Chain, Extents, Form, Kernel, letters};
use crate::error::Result;
use crate::ops::candidates::WORKGROUPS;
use crate::ops::split_k::{SplitK, split_k};
use crate::ops::text::{Epilogue, rendered};
use crate::ops::{AdapterClass, Arg, Caps, KernelContext, Program};

/// A variant of the tile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tile {
    form: Form,
    /// Rows of C per tile.
    rows: usize,
    /// `vec4`s of columns per invocation.
    vectors: usize,
    /// Whether lanes share rows by broadcast.
    broadcast: bool,
    /// Whether rows of A, B and C start at multiples of 4 elements, so that they load as `vec4`s.
    aligned: [bool; 3],
    extras: Extras,
}

/// What a tile does besides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Extras {
    /// Adds up A's values over k, for each row of C.
    pub(super) sums: bool,
    /// Adds a number to each row of C.
    pub(super) bias: bool,
    /// Adds up the products of several matrices.
    pub(super) images: bool,
    /// Sums a split of k alone, of which the uniform has the length.
    pub(super) splits: bool,
}

/// The launches of a product, which sum splits of k where that is long; with `sums`, those of A's rows along k as a second
/// output.
pub(super) fn launch(problem: &Problem, ctx: &KernelContext<'_>) -> Result<Program> {
    let &Problem { form, ref e, sums, .. } = problem;
    let (splits, length) = splits(e.k, ctx.caps);
    let extras = Extras { sums, splits: splits > 1, ..Default::default() };
    let params = params(form, e, e.m * e.k);
    let params = if extras.splits { params.with("length", length) } else { params.with("images", 1_usize) };
    let sizes = [e.batch * e.m * e.n, e.m];
    let of = SplitK { columns: e.n, ..SplitK::of(splits, &sizes[..1 + usize::from(sums)]) };
    let (tile, tiles) = choose(form, e, ctx.caps.class, extras);
    split_k(&of, ctx, |to, chain| {
        let args = [&[Arg::Input(0), Arg::Input(1)], to].concat();
        let launch = ctx.launch(tile.kernel(chain)?, args, &params, tiles * splits)?;
        Ok(launch.loop_iterations(loop_iterations(length.min(e.k))))
    })
}

/// Loop iterations for an extent of k, those of the loops that store included.
pub(super) fn loop_iterations(k: usize) -> usize {
    k.div_ceil(4) + STORES
}

/// At most four blocks of rows, and four columns of each.
const STORES: usize = 4 * (1 + 4);

/// How many splits k must be cut into, and the extent of each: whole steps of four.
fn splits(k: usize, caps: &Caps) -> (usize, usize) {
    let needed = caps.pieces(k, 4 * (caps.max_loop_iterations as usize).saturating_sub(STORES));
    let length = k.div_ceil(needed).next_multiple_of(4).max(4);
    (k.div_ceil(length).max(1), length)
}

/// Multiply-adds below which a product has small tiles: about 20 µs.
const SMALL: usize = 1 << 19;

/// The tile for a product, and how many of it there are.
pub(super) fn choose(form: Form, e: &Extents, class: AdapterClass, extras: Extras) -> (Tile, usize) {
    let broadcast = class == AdapterClass::SoftwareLanes8;
    // On llvmpipe, 64 rows take 1.4 times as long as 32: their sums no longer fit the nearest cache lines.
    // Few rows compile in a third of the time, which a small product does not make up for.
    let is_small = e.batch * e.m * e.n * e.k < SMALL;
    let rows = if broadcast && e.m > 8 && !is_small { 32 } else { 8 };
    // SwiftShader is twice as fast with four as with two, llvmpipe through GL hardly; half of the tile would be
    // beyond the edge of a narrow product.
    let vectors = match broadcast {
        true => 1,
        false if e.n > 64 => 4,
        false => 2,
    };
    let columns = 4 * vectors * 8;
    let tiles = |rows: usize| e.batch * e.m.div_ceil(rows) * e.n.div_ceil(columns);
    // SwiftShader is faster with twice the rows, where enough tiles are left for all cores.
    let rows = if !broadcast && tiles(2 * rows) >= WORKGROUPS { 2 * rows } else { rows };
    (Tile { form, rows, vectors, broadcast, aligned: form.aligned(e), extras }, tiles(rows))
}

impl Tile {
    /// Its kernel, with formulas after it.
    pub(super) fn kernel(&self, chain: Option<&Chain>) -> Result<Kernel> {
        let Tile { form, rows, vectors, broadcast, aligned, extras } = *self;
        let [a4, b4, c4] = aligned;
        let Extras { sums, bias, images, splits } = extras;
        let named = |is: bool, name: &'static str| if is { name } else { "" };
        let entry = format!("matmul_tile_{}", form.letters());
        let key = format!(
            "{entry}.{rows}x{vectors}{}.{}{}{}{}{}",
            named(broadcast, "b"),
            letters(aligned),
            named(sums, ".sums"),
            named(bias, ".bias"),
            named(images, ".images"),
            named(splits, ".splits"),
        );
        // Loads of A that one invocation does: of form tn for each k, else for four k.
        let of_a_load = if form == Form::Tn { 4 } else { 1 } * if broadcast { 8 } else { 1 };
        let variant = context! {
            form => form.letters(), rows, vectors, broadcast, a4, b4, c4, sums, bias, images, splits,
            loads => rows.div_ceil(of_a_load), has_epilogue => chain.is_some(),
        };
        let epilogue =
            chain.map(|chain| Epilogue { chain, vector: if c4 { 4 } else { 1 }, columns: chain.columns });
        rendered("software/matmul_tile", key, &entry, variant, epilogue)
    }
}
