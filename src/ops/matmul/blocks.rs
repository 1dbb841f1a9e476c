//! Products on GPUs: which block, in how many parts of k, and the text around it.

use std::fmt::Write;

use super::{Chain, Extents, Form, Kernel};
use crate::error::Result;
use crate::ops::block::{Along, Block, Body};
use crate::ops::elementwise::FIRST_BINDING;
use crate::ops::parts::{Parts, in_parts};
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
        let kernel = Variant::new(block, form, e, sums).kernel(chain);
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

    fn kernel(&self, chain: Option<&Chain>) -> Kernel {
        let form = match self.form {
            Form::Nn => "nn",
            Form::Nt => "nt",
            Form::Tn => "tn",
        };
        let entry = format!("matmul_block_{form}");
        let letters: String = self.aligned.iter().map(|a| if *a { '4' } else { '1' }).collect();
        let sums = if self.sums { ".sums" } else { "" };
        let mut key = format!("{entry}.{}.{letters}{sums}", self.block.name());
        let mut functions = self.functions(chain.is_some());
        if let Some(chain) = chain {
            key += &format!(".then.{}", chain.key(chain.columns));
            let finish = chain.finish(if self.aligned[2] { 4 } else { 1 }, FIRST_BINDING, chain.columns);
            functions = format!("{}{}\n{functions}", finish.bindings, finish.functions);
        }
        let (a, b) = self.along();
        let body = Body { entry: &entry, functions: &functions, a, b, sums: self.sums };
        let text = self.block.text(&body);
        Kernel::generated(key, &entry, &text)
    }

    fn along(&self) -> (Along, Along) {
        match self.form {
            Form::Nn => (Along::K, Along::Lines),
            Form::Nt => (Along::K, Along::K),
            Form::Tn => (Along::Lines, Along::Lines),
        }
    }

    fn functions(&self, finishes: bool) -> String {
        let element = |aligned: bool| if aligned { "vec4<f32>" } else { "f32" };
        let [a, b, c] = self.aligned.map(element);
        let mut t = String::new();
        let _ = write!(
            t,
            "struct Params {{ m: u32, n: u32, k: u32, batches: u32, parts: u32, length: u32 }}\n\n\
             @group(0) @binding(0) var<storage, read> a: array<{a}>;\n\
             @group(0) @binding(1) var<storage, read> b: array<{b}>;\n\
             @group(0) @binding(2) var<storage, read_write> c: array<{c}>;\n\
             @group(0) @binding(4) var<uniform> p: Params;\n"
        );
        if self.sums {
            t.push_str("@group(0) @binding(3) var<storage, read_write> sums: array<f32>;\n");
        }
        let Block { rows, columns, .. } = self.block;
        let _ = write!(
            t,
            "\n// Its first row and column, its part of k, and where its matrices begin.\n\
             struct Tile {{ row: u32, column: u32, begin: u32, end: u32, a_base: u32, b_base: u32, c_base: u32, part: u32 }}\n\n\
             fn tile_of(id: u32) -> Tile {{\n    \
             let high = (p.m + {}u) / {rows}u;\n    let wide = (p.n + {}u) / {columns}u;\n    \
             let matrix = id / (high * wide);\n    let at = tile_in_order(id % (high * wide), high, wide);\n    \
             let batch = matrix % p.batches;\n    let part = matrix / p.batches;\n    \
             let end = select(min((part + 1u) * p.length, p.k), 0u, part >= p.parts);\n    \
             return Tile(at.x * {rows}u, at.y * {columns}u, part * p.length, end,\n        \
             batch * p.m * p.k, batch * p.n * p.k, matrix * p.m * p.n, part);\n}}\n\n",
            rows - 1,
            columns - 1,
        );
        let (a, b) = self.along();
        operand(&mut t, 'a', "m", a, self.aligned[0]);
        operand(&mut t, 'b', "n", b, self.aligned[1]);
        self.store(&mut t, finishes);
        t
    }

    fn store(&self, t: &mut String, finishes: bool) {
        let finish = |value: &str, at: &str, column: &str| match finishes {
            true => format!("finish({value}, {at}, {column})"),
            false => value.to_string(),
        };
        t.push_str("fn store(tile: Tile, row: u32, column: u32, value: vec4<f32>) {\n    if (row >= p.m) { return; }\n");
        if self.aligned[2] {
            let _ = write!(
                t,
                "    if (column >= p.n) {{ return; }}\n    let at = (tile.c_base + row * p.n + column) / 4u;\n    \
                 c[at] = {};\n}}\n\n",
                finish("value", "at", "column")
            );
        } else {
            t.push_str("    let o = tile.c_base + row * p.n;\n");
            for (j, x) in ["x", "y", "z", "w"].iter().enumerate() {
                let column = format!("column + {j}u");
                let at = format!("o + {column}");
                let value = finish(&format!("value.{x}"), &at, &column);
                let _ = writeln!(t, "    if ({column} < p.n) {{ c[{at}] = {value}; }}");
            }
            t.push_str("}\n\n");
        }
        if self.sums {
            t.push_str(
                "fn store_sums(tile: Tile, row: u32, value: vec4<f32>) {\n    if (tile.column > 0u) { return; }\n    \
                 let o = tile.part * p.m + row;\n",
            );
            for (j, x) in ["x", "y", "z", "w"].iter().enumerate() {
                let _ = writeln!(t, "    if (row + {j}u < p.m) {{ sums[o + {j}u] = value.{x}; }}");
            }
            t.push_str("}\n\n");
        }
    }
}

/// The functions `of_a` and `load_a`, or those of B, of which lines are `extent` many. Lines beyond the last are read as
/// the last: what they give is not stored.
fn operand(t: &mut String, name: char, extent: &str, along: Along, aligned: bool) {
    let _ = match (along, aligned) {
        (Along::K, _) => writeln!(
            t,
            "// Where line `at` begins.\nfn of_{name}(tile: Tile, at: u32) -> u32 {{ return tile.{name}_base + min(at, p.{extent} - 1u) * p.k; }}\n"
        ),
        (Along::Lines, true) => writeln!(
            t,
            "// Four lines from `at` on, at the first k.\nfn of_{name}(tile: Tile, at: u32) -> u32 {{ return tile.{name}_base + min(at, p.{extent} - 4u); }}\n"
        ),
        (Along::Lines, false) => writeln!(
            t,
            "// Four lines from `at` on, at the first k.\nfn of_{name}(tile: Tile, at: u32) -> vec4<u32> {{\n    \
             return tile.{name}_base + min(vec4<u32>(at, at + 1u, at + 2u, at + 3u), vec4<u32>(p.{extent} - 1u));\n}}\n"
        ),
    };
    let place_type = if along == Along::Lines && !aligned { "vec4<u32>" } else { "u32" };
    let _ = writeln!(t, "fn load_{name}(tile: Tile, place: {place_type}, k: u32) -> vec4<f32> {{");
    let _ = match (along, aligned) {
        (Along::K, true) => {
            writeln!(
                t,
                "    return select(vec4<f32>(), {name}[(place + min(k, p.k - 4u)) / 4u], k < tile.end);"
            )
        }
        (Along::K, false) => writeln!(
            t,
            "    let at = vec4<u32>(k, k + 1u, k + 2u, k + 3u);\n    let o = place + min(at, vec4<u32>(p.k - 1u));\n    \
             return select(vec4<f32>(), vec4<f32>({name}[o.x], {name}[o.y], {name}[o.z], {name}[o.w]), at < vec4<u32>(tile.end));"
        ),
        (Along::Lines, true) => writeln!(
            t,
            "    return select(vec4<f32>(), {name}[(place + min(k, p.k - 1u) * p.{extent}) / 4u], k < tile.end);"
        ),
        (Along::Lines, false) => writeln!(
            t,
            "    let o = place + min(k, p.k - 1u) * p.{extent};\n    \
             return select(vec4<f32>(), vec4<f32>({name}[o.x], {name}[o.y], {name}[o.z], {name}[o.w]), k < tile.end);"
        ),
    };
    t.push_str("}\n\n");
}
