//! Register tiles for software adapters, generated: no workgroup memory, no barriers, outputs in named
//! `vec4`s, as many multiply-adds per load as registers allow.
//!
//! With 8-lane subgroups one workgroup is one subgroup: each lane owns a `vec4` of columns and loads
//! rows of A that the other lanes get by `subgroupBroadcast`. Elsewhere each invocation loads all rows
//! of its own tile.

use std::fmt::Write;

use super::{AdapterClass, Chain, Extents, Form, Kernel};
use crate::ops::Caps;
use crate::ops::elementwise::FIRST_BINDING;
use crate::ops::text::{chosen, chosen_component};

/// A variant of the tile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Tile {
    form: Form,
    /// Rows of C per tile.
    rows: usize,
    /// `vec4`s of columns per invocation.
    vectors: usize,
    /// Whether lanes share rows by broadcast.
    broadcast: bool,
    /// Whether rows of A, B and C start at multiples of 4 elements, so that they load as `vec4`s.
    a4: bool,
    b4: bool,
    c4: bool,
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
    /// Sums a part of k alone, of which the uniform has the length.
    pub(super) parts: bool,
}

/// The kernel of a tile, and how many tiles there are.
#[derive(Debug)]
pub(super) struct Chosen {
    pub(super) kernel: Kernel,
    pub(super) tiles: usize,
}

/// Turns of loops for an extent of k, those of the loops that store included.
pub(super) fn loop_iterations(k: usize) -> usize {
    k.div_ceil(4) + STORES
}

/// At most four blocks of rows, and four columns of each.
const STORES: usize = 4 * (1 + 4);

/// How many parts k must be cut into, and the extent of each: whole steps of four.
pub(super) fn parts(k: usize, caps: &Caps) -> (usize, usize) {
    let needed = caps.pieces(k, 4 * (caps.max_loop_iterations as usize).saturating_sub(STORES));
    let length = k.div_ceil(needed).next_multiple_of(4).max(4);
    (k.div_ceil(length).max(1), length)
}

/// Workgroups that share the work evenly among cores.
const WORKGROUPS: usize = 16;

/// Multiply-adds below which a product has small tiles: about 20 µs.
const SMALL: usize = 1 << 19;

/// The kernel for a product, and its number of workgroups.
pub(super) fn choose(
    form: Form,
    e: &Extents,
    class: AdapterClass,
    chain: Option<&Chain>,
    extras: Extras,
) -> Chosen {
    let broadcast = class == AdapterClass::SoftwareLanes8;
    let (a4, b4) = match form {
        Form::Nn => (e.k.is_multiple_of(4), e.n.is_multiple_of(4)),
        Form::Nt => (e.k.is_multiple_of(4), e.k.is_multiple_of(4)),
        Form::Tn => (e.m.is_multiple_of(4), e.n.is_multiple_of(4)),
    };
    let c4 = e.n.is_multiple_of(4);
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
    let tile = Tile { form, rows, vectors, broadcast, a4, b4, c4, extras };
    Chosen { kernel: tile.kernel(chain), tiles: tiles(rows) }
}

const COMPONENTS: [&str; 4] = ["x", "y", "z", "w"];

impl Tile {
    fn kernel(&self, chain: Option<&Chain>) -> Kernel {
        let letter = |aligned: bool| if aligned { '4' } else { '1' };
        let form = match self.form {
            Form::Nn => "nn",
            Form::Nt => "nt",
            Form::Tn => "tn",
        };
        let entry = format!("matmul_tile_{form}");
        let mut key = format!(
            "{entry}.{}x{}{}.{}{}{}{}{}{}{}",
            self.rows,
            self.vectors,
            if self.broadcast { "b" } else { "" },
            letter(self.a4),
            letter(self.b4),
            letter(self.c4),
            if self.extras.sums { ".sums" } else { "" },
            if self.extras.bias { ".bias" } else { "" },
            if self.extras.images { ".images" } else { "" },
            if self.extras.parts { ".parts" } else { "" },
        );
        let mut text = self.text(&entry, chain.is_some());
        if let Some(chain) = chain {
            let columns = chain.columns;
            key += &format!(".then.{}", chain.key(columns));
            let finish = chain.finish(if self.c4 { 4 } else { 1 }, FIRST_BINDING, columns);
            text = format!("{}{}\n{text}", finish.bindings, finish.functions);
        }
        Kernel::generated(key, &entry, &text)
    }

    /// Rows of C that one invocation computes: with broadcasting, all lanes together load them.
    fn text(&self, entry: &str, finishes: bool) -> String {
        let mut t = String::new();
        let element = |aligned: bool| if aligned { "vec4<f32>" } else { "f32" };
        let _ = write!(
            t,
            "// C = A B for one tile of {} rows and {} columns per workgroup.\n\
             struct Params {{\n    m: u32, n: u32, k: u32, batches: u32,\n    \
             a_m: u32, a_k: u32, b_k: u32, b_n: u32,\n    a_batch: u32, b_batch: u32, c_batch: u32, {}: u32,\n}}\n\n\
             @group(0) @binding(0) var<storage, read> a: array<{}>;\n\
             @group(0) @binding(1) var<storage, read> b: array<{}>;\n\
             @group(0) @binding(2) var<storage, read_write> c: array<{}>;\n\
             @group(0) @binding(4) var<uniform> p: Params;\n",
            self.rows,
            32 * self.vectors,
            if self.extras.parts { "length" } else { "images" },
            element(self.a4),
            element(self.b4),
            element(self.c4)
        );
        if self.extras.sums {
            t.push_str("@group(0) @binding(3) var<storage, read_write> sums: array<f32>;\n");
        }
        if self.extras.bias {
            t.push_str("@group(0) @binding(3) var<storage, read> bias: array<f32>;\n");
        }
        t.push('\n');
        self.loaders(&mut t);
        let lane = if self.broadcast {
            "@builtin(subgroup_invocation_id)"
        } else {
            "@builtin(local_invocation_index)"
        };
        let _ = write!(
            t,
            "@compute @workgroup_size(8)\nfn {entry}(@builtin(workgroup_id) group: vec3<u32>,\n    \
             @builtin(num_workgroups) groups: vec3<u32>, {lane} lane: u32) {{\n    \
             let tiles_n = (p.n + {w}u) / {c}u;\n    let tiles_m = (p.m + {rm}u) / {r}u;\n    \
             let id = linear_workgroup(group, groups);\n    \
             if (id >= tiles_n * tiles_m * p.batches{parts}) {{ return; }}\n    \
             let col = (id % tiles_n) * {c}u + lane * {v}u;\n    \
             let row = (id / tiles_n % tiles_m) * {r}u;\n    let batch = id / (tiles_n * tiles_m);\n",
            parts = if self.extras.parts { " * ((p.k + p.length - 1u) / p.length)" } else { "" },
            w = 32 * self.vectors - 1,
            c = 32 * self.vectors,
            r = self.rows,
            rm = self.rows - 1,
            v = 4 * self.vectors,
        );
        self.start(&mut t);
        let loads = self.a_loads();
        for r in (0..loads).filter(|_| self.extras.sums) {
            let _ = writeln!(t, "    var sum{r} = vec4<f32>();");
        }
        if self.extras.images {
            t.push_str(
                "    for (var i = batch * p.images; i < (batch + 1u) * p.images; i += 1u) {\n    \
                 let a_base = i * p.a_batch;\n    let b_base = i * p.b_batch;\n",
            );
        } else {
            let matrix = if self.extras.parts { "batch % p.batches" } else { "batch" };
            let _ =
                writeln!(t, "    let a_base = {matrix} * p.a_batch;\n    let b_base = {matrix} * p.b_batch;");
        }
        if self.extras.parts {
            t.push_str(
                "    let part = batch / p.batches;\n    let end = min((part + 1u) * p.length, p.k);\n    \
                 for (var k = part * p.length; k < end; k += 4u) {\n",
            );
        } else {
            t.push_str("    for (var k = 0u; k < p.k; k += 4u) {\n");
        }
        self.load_a(&mut t);
        for r in (0..loads).filter(|_| self.extras.sums) {
            let _ = match self.form {
                Form::Tn => writeln!(t, "        sum{r} += (a{r}_0 + a{r}_1) + (a{r}_2 + a{r}_3);"),
                _ => writeln!(t, "        sum{r} += a{r};"),
            };
        }
        self.load_b(&mut t);
        self.multiply(&mut t);
        t.push_str(if self.extras.images { "    }\n    }\n" } else { "    }\n" });
        self.store(&mut t, finishes);
        self.store_sums(&mut t);
        t.push_str("}\n");
        t
    }

    /// Declares the sums.
    fn start(&self, t: &mut String) {
        let row = |i: usize| match self.broadcast {
            true => format!("row + {}u + lane", 8 * i),
            false => format!("row + {i}u"),
        };
        for r in (0..self.rows / self.sharing()).filter(|_| self.extras.bias) {
            let _ = writeln!(t, "    let bias{r} = bias[min({}, p.m - 1u)];", row(r));
        }
        for i in 0..self.rows {
            let value = match (self.extras.bias, self.broadcast) {
                (false, _) => String::new(),
                (true, false) => format!("bias{i}"),
                (true, true) => format!("subgroupBroadcast(bias{}, {}u)", i / 8, i % 8),
            };
            for v in 0..self.vectors {
                let _ = writeln!(t, "    var c{i}_{v} = vec4<f32>({value});");
            }
        }
    }

    /// Lanes that share what each of them loads of A.
    fn sharing(&self) -> usize {
        if self.broadcast { 8 } else { 1 }
    }

    /// Functions that read four neighbours of A or B. Reads beyond an edge are moved inside it where the
    /// result is not stored, and give zero along k, where it would be added.
    fn loaders(&self, t: &mut String) {
        // `is_k`: whether the contiguous axis is summed over.
        let mut loader = |name: &str, array: &str, aligned: bool, is_k: bool| {
            let _ = writeln!(t, "// Four neighbours from row `line`, column `at` on, of rows `along` long.");
            let _ = writeln!(t, "fn {name}(base: u32, line: u32, at: u32, along: u32) -> vec4<f32> {{");
            match (aligned, is_k) {
                // A multiple of 4: a vector is inside or outside as a whole, and the loop ends before k.
                (true, true) => {
                    let _ = writeln!(t, "    return {array}[(base + line * along + at) / 4u];");
                }
                (true, false) => {
                    let _ =
                        writeln!(t, "    return {array}[(base + line * along + min(at, along - 4u)) / 4u];");
                }
                (false, true) => {
                    let _ = writeln!(t, "    let o = base + line * along;\n    let last = along - 1u;");
                    let part = |j: usize| {
                        format!("select(0.0, {array}[o + min(at + {j}u, last)], at + {j}u <= last)")
                    };
                    let _ = writeln!(
                        t,
                        "    return vec4<f32>({}, {}, {}, {});",
                        part(0),
                        part(1),
                        part(2),
                        part(3)
                    );
                }
                (false, false) => {
                    let _ = writeln!(t, "    let o = base + line * along;\n    let last = along - 1u;");
                    let part = |j: usize| format!("{array}[o + min(at + {j}u, last)]");
                    let _ = writeln!(
                        t,
                        "    return vec4<f32>({}, {}, {}, {});",
                        part(0),
                        part(1),
                        part(2),
                        part(3)
                    );
                }
            }
            t.push_str("}\n\n");
        };
        match self.form {
            Form::Nn => {
                loader("load_a", "a", self.a4, true);
                loader("load_b", "b", self.b4, false);
            }
            Form::Nt => {
                loader("load_a", "a", self.a4, true);
                loader("load_b", "b", self.b4, true);
            }
            Form::Tn => {
                loader("load_a", "a", self.a4, false);
                loader("load_b", "b", self.b4, false);
            }
        }
    }

    /// Loads the A values of four k. Nn, nt: `a{r}` holds four k of one row. Tn: `a{r}_{q}` holds four rows
    /// at k + q.
    fn load_a(&self, t: &mut String) {
        match self.form {
            Form::Nn | Form::Nt => {
                for r in 0..self.a_loads() {
                    let row = match self.broadcast {
                        true => format!("row + {}u + lane", 8 * r),
                        false => format!("row + {r}u"),
                    };
                    let _ = writeln!(t, "        let a{r} = load_a(a_base, min({row}, p.m - 1u), k, p.k);");
                }
            }
            Form::Tn => {
                for r in 0..self.a_loads() {
                    for q in 0..4 {
                        let row = match self.broadcast {
                            true => format!("row + {}u + 4u * lane", 32 * r),
                            false => format!("row + {}u", 4 * r),
                        };
                        let _ = writeln!(
                            t,
                            "        let a{r}_{q} = select(vec4<f32>(), load_a(a_base, min(k + {q}u, p.k - 1u), {row}, p.m), k + {q}u < p.k);"
                        );
                    }
                }
            }
        }
    }

    /// Loads `b{q}_{v}`: the v-th four columns at k + q.
    fn load_b(&self, t: &mut String) {
        for v in 0..self.vectors {
            let col = format!("col + {}u", 4 * v);
            match self.form {
                Form::Nn | Form::Tn => {
                    for q in 0..4 {
                        // Beyond k, A is zero; the row of B only has to exist.
                        let _ = writeln!(
                            t,
                            "        let b{q}_{v} = load_b(b_base, min(k + {q}u, p.k - 1u), {col}, p.n);"
                        );
                    }
                }
                Form::Nt => {
                    for j in 0..4 {
                        let _ = writeln!(
                            t,
                            "        let t{j}_{v} = load_b(b_base, min({col} + {j}u, p.n - 1u), k, p.k);"
                        );
                    }
                    for (q, x) in COMPONENTS.iter().enumerate() {
                        let _ = writeln!(
                            t,
                            "        let b{q}_{v} = vec4<f32>(t0_{v}.{x}, t1_{v}.{x}, t2_{v}.{x}, t3_{v}.{x});"
                        );
                    }
                }
            }
        }
    }

    /// All products of an output follow each other, so that its sum stays in registers for them.
    fn multiply(&self, t: &mut String) {
        for i in 0..self.rows {
            for q in 0..4 {
                let value = match (self.form, self.broadcast) {
                    (Form::Nn | Form::Nt, true) => {
                        format!("subgroupBroadcast(a{}.{}, {}u)", i / 8, COMPONENTS[q], i % 8)
                    }
                    (Form::Nn | Form::Nt, false) => format!("a{i}.{}", COMPONENTS[q]),
                    (Form::Tn, true) => {
                        format!("subgroupBroadcast(a{}_{q}.{}, {}u)", i / 32, COMPONENTS[i % 4], i / 4 % 8)
                    }
                    (Form::Tn, false) => format!("a{}_{q}.{}", i / 4, COMPONENTS[i % 4]),
                };
                let _ = writeln!(t, "        let v{i}_{q} = vec4<f32>({value});");
            }
            for v in 0..self.vectors {
                let c = format!("c{i}_{v}");
                let sum = (0..4).fold(c.clone(), |sum, q| format!("fma(v{i}_{q}, b{q}_{v}, {sum})"));
                let _ = writeln!(t, "        {c} = {sum};");
            }
        }
    }

    /// Loads of A that one invocation does: of a product Aᵀ B for each k, else for four k.
    fn a_loads(&self) -> usize {
        let rows = if self.form == Form::Tn { 4 } else { 1 };
        self.rows.div_ceil(rows * self.sharing())
    }

    /// The tiles of the first columns store the sums; each of them, every row once.
    fn store_sums(&self, t: &mut String) {
        let sums = (0..self.a_loads()).filter(|_| self.extras.sums);
        if self.form != Form::Tn {
            for r in sums {
                let (row, mine) = match self.broadcast {
                    true => (format!("row + {}u + lane", 8 * r), "true"),
                    false => (format!("row + {r}u"), "lane == 0u"),
                };
                let _ = writeln!(
                    t,
                    "    if (id % tiles_n == 0u && {mine} && {row} < p.m) {{ \
                     sums[batch * p.m + {row}] = (sum{r}.x + sum{r}.y) + (sum{r}.z + sum{r}.w); }}"
                );
            }
            return;
        }
        for r in sums {
            let (row, mine) = match self.broadcast {
                true => (
                    format!("row + {}u + 4u * lane", 32 * r),
                    format!("{}u + 4u * lane < {}u", 32 * r, self.rows),
                ),
                false => (format!("row + {}u", 4 * r), "lane == 0u".to_string()),
            };
            let _ = writeln!(t, "    if (id % tiles_n == 0u && {mine}) {{\n        let o = {row};");
            for (j, x) in COMPONENTS.iter().enumerate() {
                let part = if self.extras.parts { "part * p.m + " } else { "" };
                let _ = writeln!(t, "        if (o + {j}u < p.m) {{ sums[{part}o + {j}u] = sum{r}.{x}; }}");
            }
            t.push_str("    }\n");
        }
    }

    fn store(&self, t: &mut String, finishes: bool) {
        let finish = |value: &str, at: &str, column: &str| match finishes {
            true => format!("finish({value}, {at}, {column})"),
            false => value.to_string(),
        };
        if self.broadcast {
            return self.store_in_turn(t, finish);
        }
        for v in 0..self.vectors {
            let col = format!("(col + {}u)", 4 * v);
            let _ = writeln!(
                t,
                "    if ({col} < p.n) {{\n        let o = batch * p.c_batch + row * p.n + {col};"
            );
            for i in 0..self.rows {
                if self.c4 {
                    let at = format!("(o + {i}u * p.n) / 4u");
                    let value = finish(&format!("c{i}_{v}"), &at, &col);
                    let _ = writeln!(
                        t,
                        "        {}{{ c[{at}] = {value}; }}",
                        if_inside(&format!("row + {i}u"), i)
                    );
                    continue;
                }
                let _ = writeln!(t, "        {}{{", if_inside(&format!("row + {i}u"), i));
                for (j, x) in COMPONENTS.iter().enumerate() {
                    let at = format!("o + {i}u * p.n + {j}u");
                    let value = finish(&format!("c{i}_{v}.{x}"), &at, &format!("{col} + {j}u"));
                    let store = format!("c[{at}] = {value};");
                    let _ = match j {
                        0 => writeln!(t, "            {store}"),
                        _ => writeln!(t, "            if ({col} + {j}u < p.n) {{ {store} }}"),
                    };
                }
                t.push_str("        }\n");
            }
            t.push_str("    }\n");
        }
    }

    /// Stores eight rows at a time, and single elements one column after the other: a loop takes a quarter or a
    /// sixteenth of the time to compile that all stores take.
    fn store_in_turn(&self, t: &mut String, finish: impl Fn(&str, &str, &str) -> String) {
        let blocks = self.rows / 8;
        t.push_str("    if (col < p.n) {\n    let o = batch * p.c_batch + row * p.n + col;\n");
        let blocked = match blocks {
            1 => "{".to_string(),
            _ => format!(
                "let end = min({}u, p.m - row);\n    \
                 for (var first = 0u; first < end; first += 8u) {{\n    let block = first / 8u;",
                self.rows
            ),
        };
        let _ = writeln!(t, "    {blocked}");
        let across = match self.c4 {
            true => "{".to_string(),
            false => {
                "let columns = min(4u, p.n - col);\n    for (var j = 0u; j < columns; j += 1u) {".to_string()
            }
        };
        let _ = writeln!(t, "    {across}");
        for i in 0..8 {
            let rows: Vec<String> = (0..blocks).map(|b| format!("c{}_0", i + 8 * b)).collect();
            let _ = writeln!(t, "        let v{i} = {};", chosen(&rows, "block"));
            let down = if blocks == 1 { format!("{i}u") } else { format!("(first + {i}u)") };
            let (value, at, column) = match self.c4 {
                true => (format!("v{i}"), format!("(o + {down} * p.n) / 4u"), "col"),
                false => {
                    let value = chosen_component(&format!("v{i}"), 4, "j");
                    (value, format!("o + {down} * p.n + j"), "col + j")
                }
            };
            let value = finish(&value, &at, column);
            let _ = writeln!(t, "        {}{{ c[{at}] = {value}; }}", if_inside(&format!("row + {down}"), i));
        }
        t.push_str("    }\n    }\n    }\n");
    }
}

/// The condition that row `i` of a tile's block is one of the matrix: the first always is.
fn if_inside(row: &str, i: usize) -> String {
    if i == 0 { String::new() } else { format!("if ({row} < p.m) ") }
}
