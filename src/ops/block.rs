//! Products of matrices through workgroup memory, for GPUs: what the blocks of matrix products and of convolutions
//! have in common. The text is generated, since WGSL has no arrays whose extents are overrides.
//!
//! A workgroup computes a block of C. It walks along k in steps: its invocations load the step's part of A and B from
//! storage into registers, from there into workgroup memory, and each multiplies its rows by its columns. The next
//! step's loads are under way while the current one is multiplied. Both parts lie as `[k][row]` and `[k][column]` in
//! vectors of four, with one vector more than needed for each k, so that invocations which write one below the other
//! meet different banks.
//!
//! Every output is one sum, in the order of k, whatever the block's form: all forms give the same bits, unless a
//! driver's compiler takes a fused multiply-add apart in one of them.

use std::fmt::Write;

use super::{Caps, Trial};

/// A form of blocks. All extents are powers of two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Block {
    /// Outputs of a workgroup.
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    /// Of k, in workgroup memory at once.
    pub(crate) depth: usize,
    /// Vectors of four rows and of four columns that one invocation computes.
    pub(crate) down: usize,
    pub(crate) across: usize,
    /// Steps that workgroup memory holds: with two, one is written while the other is read, at one barrier a step.
    pub(crate) stages: usize,
}

/// How an operand lies in storage, and who reads it: the functions `of_a(tile, at)`, which finds what stays the same
/// along k, and `load_a(tile, of, k)`, which gives four numbers, with zeros beyond the end of k. The same for B.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Along {
    /// Four neighbouring rows (of B: columns) from `at` on, for one k.
    Lines,
    /// Row (of B: column) `at`, for four k.
    K,
}

/// What an op makes of a [`Block`].
#[derive(Debug)]
pub(super) struct Body<'a> {
    pub(super) entry: &'a str,
    /// Declares bindings, `struct Tile` with members `row`, `column`, `begin`, `end` (of k) and what the op wants, and the
    /// functions `tile_of(id)`, `of_a`, `load_a`, `of_b`, `load_b` and `store(tile, row, column, value)`, which takes
    /// four neighbouring columns; with `sums`, `store_sums(tile, row, value)`, which takes four neighbouring rows.
    pub(super) functions: &'a str,
    pub(super) a: Along,
    pub(super) b: Along,
    /// Whether A's numbers are added up along k, for each row.
    pub(super) sums: bool,
}

/// Least extent of a part of k: less is not worth a second launch.
const LEAST_PART: usize = 128;

/// Forms that a trial compares at most.
const MOST_FORMS: usize = 5;

/// Workgroups that keep a GPU busy, more or less.
const BUSY: usize = 96;

const COMPONENTS: [&str; 4] = ["x", "y", "z", "w"];

/// One of the two operands, as the text needs it.
struct Operand {
    name: char,
    along: Along,
    /// Vectors of a step's part along its rows or columns, and from one k to the next in workgroup memory.
    vectors: usize,
    pitch: usize,
    /// What each invocation loads: so many vectors, or squares of 4 × 4.
    loads: usize,
    /// Invocations that load, if not all do.
    some: Option<usize>,
}

impl Block {
    const fn new(
        rows: usize,
        columns: usize,
        depth: usize,
        down: usize,
        across: usize,
        stages: usize,
    ) -> Self {
        Block { rows, columns, depth, down, across, stages }
    }

    /// The forms that there are, small to large.
    pub(crate) const ALL: [Block; 8] = [
        Block::new(16, 32, 32, 1, 1, 2),
        Block::new(32, 32, 32, 1, 1, 1),
        Block::new(16, 128, 16, 1, 1, 1),
        Block::new(32, 128, 16, 1, 2, 1),
        Block::new(64, 64, 16, 1, 1, 1),
        Block::new(64, 64, 8, 2, 1, 2),
        Block::new(128, 64, 16, 2, 2, 1),
        Block::new(128, 128, 8, 2, 2, 1),
    ];

    /// The largest depth: parts of k are multiples of it, so that only the last ends within a step.
    const DEEPEST: usize = 32;

    /// Workgroups for `outputs`, rows and columns.
    pub(super) fn workgroups(&self, outputs: [usize; 2]) -> usize {
        outputs[0].div_ceil(self.rows) * outputs[1].div_ceil(self.columns)
    }

    /// Whether less than half of it lies beyond the edge.
    fn fits(&self, [m, n]: [usize; 2]) -> bool {
        let fits = |extent: usize, of: usize| 2 * extent > of;
        fits(m, self.rows) && fits(n, self.columns)
    }

    /// The form for `matrices` of `outputs`, where nothing was measured: the largest of which there are enough to keep a
    /// GPU busy. Of a long sum whose parts do that, just the largest.
    fn chosen(outputs: [usize; 2], matrices: usize, is_long: bool) -> usize {
        let enough = |b: &Block| is_long || b.workgroups(outputs) * matrices >= BUSY;
        let fits = |i: &usize| Block::ALL[*i].fits(outputs) && enough(&Block::ALL[*i]);
        [7, 5, 3, 2].into_iter().find(fits).unwrap_or(usize::from(outputs[0] > 16))
    }

    /// What a trial compares for products that `name` tells from others.
    pub(super) fn trial(name: &str, outputs: [usize; 2], matrices: usize, k: usize, is_long: bool) -> Trial {
        let [m, n, k, count] = [outputs[0], outputs[1], k, matrices].map(usize::next_power_of_two);
        let first = Block::chosen(outputs, matrices, is_long);
        let others = (0..Block::ALL.len()).rev().filter(|&i| i != first && Block::ALL[i].fits(outputs));
        let forms = std::iter::once(first).chain(others).take(MOST_FORMS).collect();
        Trial { key: format!("{name} {m}x{n}x{k} {count}"), forms }
    }

    /// The form asked for, or found by a trial, or that of the table.
    pub(super) fn of(forced: Option<usize>, trial: &Trial, caps: &Caps) -> Block {
        let form = forced.or_else(|| trial.found(caps)).unwrap_or(trial.forms[0]);
        *Block::ALL.get(form).unwrap_or(&Block::ALL[trial.forms[0]])
    }

    /// How many parts k is cut into, and the extent of each. It depends on the extents alone, and never on the form, which
    /// may be measured: it decides the order of a sum.
    pub(super) fn parts(outputs: [usize; 2], matrices: usize, k: usize, caps: &Caps) -> (usize, usize) {
        let wanted = (BUSY / (Block::ALL[1].workgroups(outputs) * matrices).max(1)).min(k / LEAST_PART);
        Block::cut(k, wanted, caps)
    }

    /// As few parts as loops that end early allow.
    pub(super) fn whole(k: usize, caps: &Caps) -> (usize, usize) {
        Block::cut(k, 1, caps)
    }

    /// At least `wanted` parts.
    fn cut(k: usize, wanted: usize, caps: &Caps) -> (usize, usize) {
        // A loop over steps of eight of k at least, in each of which there is one over k.
        let most = (caps.max_loop_iterations as usize).saturating_sub(Block::STORES) / 9 * 8;
        let needed = caps.pieces(k, most.saturating_sub(Block::DEEPEST));
        let length = k.div_ceil(wanted.max(needed)).next_multiple_of(Block::DEEPEST);
        (k.div_ceil(length).max(1), length)
    }

    /// Most loop iterations where results are stored: four for each of 16 vectors and of two sums.
    const STORES: usize = 4 * (16 + 2);

    /// Turns of loops for a part of k.
    pub(super) fn loop_iterations(&self, length: usize) -> usize {
        length.div_ceil(self.depth) * (1 + self.depth) + Block::STORES
    }

    /// Invocations of a workgroup.
    pub(super) const fn invocations(&self) -> usize {
        self.rows * self.columns / (16 * self.down * self.across)
    }

    /// Bytes of workgroup memory: WebGPU grants 16 KiB everywhere.
    #[cfg(test)]
    const fn workgroup_bytes(&self) -> usize {
        16 * self.stages * self.depth * (self.rows / 4 + 1 + self.columns / 4 + 1)
    }

    /// For a kernel's key.
    pub(super) fn name(&self) -> String {
        let Block { rows, columns, depth, down, across, stages } = self;
        format!("{rows}x{columns}x{depth}.{}x{}s{stages}", 4 * down, 4 * across)
    }

    fn operand(&self, name: char, along: Along, extent: usize) -> Operand {
        let vectors = extent / 4;
        let all = match along {
            Along::Lines => vectors * self.depth,
            Along::K => vectors * self.depth / 4,
        };
        let some = Some(all).filter(|all| *all < self.invocations());
        let loads = all.div_ceil(self.invocations());
        Operand { name, along, vectors, pitch: vectors + 1, loads, some }
    }

    /// The kernel's text, without the functions of the library that it uses.
    pub(super) fn text(&self, body: &Body<'_>) -> String {
        let a = self.operand('a', body.a, self.rows);
        let b = self.operand('b', body.b, self.columns);
        let (wide, high) = (self.columns / (4 * self.across), self.rows / (4 * self.down));
        let Block { rows, columns, depth, stages, .. } = *self;
        let mut t = String::new();
        let _ = write!(
            t,
            "// {rows} x {columns} outputs per workgroup of {wide} x {high} invocations, {} x {} each; {depth} of k at once.\n\
             {}\n\
             // [k][row / 4] and [k][column / 4], one more for each k: neighbours below each other meet different banks.\n\
             var<workgroup> a_tile: array<vec4<f32>, {}>;\n\
             var<workgroup> b_tile: array<vec4<f32>, {}>;\n\n\
             @compute @workgroup_size({wide}, {high})\n\
             fn {}(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,\n    \
             @builtin(local_invocation_index) thread: u32) {{\n    \
             let tile = tile_of(linear_workgroup(group, groups));\n    \
             if (tile.begin >= tile.end) {{ return; }}\n    \
             let x = thread % {wide}u;\n    let y = thread / {wide}u;\n",
            4 * self.down,
            4 * self.across,
            body.functions,
            stages * depth * a.pitch,
            stages * depth * b.pitch,
            body.entry,
        );
        self.prepare(&mut t, &a, "row");
        self.prepare(&mut t, &b, "column");
        for v in 0..self.down {
            for i in 0..4 {
                for w in 0..self.across {
                    let _ = writeln!(t, "    var c{}_{w} = vec4<f32>();", 4 * v + i);
                }
            }
            if body.sums {
                let _ = writeln!(t, "    var sum{v} = vec4<f32>();");
            }
        }
        let load = |t: &mut String, k: &str, indent: &str| {
            self.load(t, &a, k, indent);
            self.load(t, &b, k, indent);
        };
        load(&mut t, "tile.begin", "    ");
        if stages == 1 {
            let _ = writeln!(t, "    for (var k0 = tile.begin; k0 < tile.end; k0 += {depth}u) {{");
            self.put(&mut t, &a, "0u", "        ");
            self.put(&mut t, &b, "0u", "        ");
            let _ = writeln!(t, "        workgroupBarrier();\n        if (k0 + {depth}u < tile.end) {{");
            load(&mut t, &format!("k0 + {depth}u"), "            ");
            t.push_str("        }\n");
            self.multiply(&mut t, "0u", "0u", (&a, &b), body.sums);
        } else {
            self.put(&mut t, &a, "0u", "    ");
            self.put(&mut t, &b, "0u", "    ");
            let _ = writeln!(
                t,
                "    workgroupBarrier();\n    var stage = 0u;\n    \
                 for (var k0 = tile.begin; k0 < tile.end; k0 += {depth}u) {{\n        \
                 if (k0 + {depth}u < tile.end) {{"
            );
            load(&mut t, &format!("k0 + {depth}u"), "            ");
            t.push_str("        }\n");
            let at = |o: &Operand| format!("stage * {}u", depth * o.pitch);
            self.multiply(&mut t, &at(&a), &at(&b), (&a, &b), body.sums);
            let _ = writeln!(t, "        stage = 1u - stage;\n        if (k0 + {depth}u < tile.end) {{");
            self.put(&mut t, &a, &at(&a), "            ");
            self.put(&mut t, &b, &at(&b), "            ");
            t.push_str("        }\n");
        }
        t.push_str("        workgroupBarrier();\n    }\n");
        for v in 0..self.down {
            let row = format!("tile.row + {}u + 4u * y", v * rows / self.down);
            for i in 0..4 {
                for w in 0..self.across {
                    let column = format!("tile.column + {}u + 4u * x", w * columns / self.across);
                    let _ = writeln!(t, "    store(tile, {row} + {i}u, {column}, c{}_{w});", 4 * v + i);
                }
            }
            if body.sums {
                let _ = writeln!(t, "    if (x == 0u) {{ store_sums(tile, {row}, sum{v}); }}");
            }
        }
        t.push_str("}\n");
        t
    }

    /// Which part of an operand an invocation loads.
    fn prepare(&self, t: &mut String, o: &Operand, first: &str) {
        let (n, threads) = (o.name, self.invocations());
        match o.along {
            // The same vector of lines at several k.
            Along::Lines => {
                let _ = writeln!(
                    t,
                    "    let {n}_vector = thread % {v}u;\n    let {n}_k = thread / {v}u;\n    \
                     let {n}_of = of_{n}(tile, tile.{first} + 4u * {n}_vector);",
                    v = o.vectors
                );
            }
            // Squares of four lines by four k, which are turned.
            Along::K => {
                let quads = self.depth / 4;
                let _ = writeln!(t, "    let {n}_k = thread % {quads}u * 4u;");
                for i in 0..o.loads {
                    let _ = writeln!(
                        t,
                        "    let {n}_vector{i} = thread / {quads}u + {}u;",
                        i * (threads / quads)
                    );
                    for j in 0..4 {
                        let _ = writeln!(
                            t,
                            "    let {n}_of{i}_{j} = of_{n}(tile, tile.{first} + 4u * {n}_vector{i} + {j}u);"
                        );
                    }
                }
            }
        }
        for i in 0..o.loads {
            match o.along {
                Along::Lines => {
                    let _ = writeln!(t, "    var {n}{i} = vec4<f32>();");
                }
                Along::K => (0..4).for_each(|j| {
                    let _ = writeln!(t, "    var {n}{i}_{j} = vec4<f32>();");
                }),
            }
        }
    }

    /// From one load of an invocation to its next, along k.
    fn span(&self, o: &Operand) -> usize {
        self.invocations() / o.vectors
    }

    fn for_loaders(o: &Operand, t: &mut String, indent: &str, write: impl FnOnce(&mut String, &str)) {
        match o.some {
            Some(some) => {
                let _ = writeln!(t, "{indent}if (thread < {some}u) {{");
                write(t, &format!("{indent}    "));
                let _ = writeln!(t, "{indent}}}");
            }
            None => write(t, indent),
        }
    }

    /// From storage to registers, for the step at `k`.
    fn load(&self, t: &mut String, o: &Operand, k: &str, indent: &str) {
        let n = o.name;
        Block::for_loaders(o, t, indent, |t, indent| {
            for i in 0..o.loads {
                match o.along {
                    Along::Lines => {
                        let k = format!("{k} + {n}_k + {}u", i * self.span(o));
                        let _ = writeln!(t, "{indent}{n}{i} = load_{n}(tile, {n}_of, {k});");
                    }
                    Along::K => (0..4).for_each(|j| {
                        let _ =
                            writeln!(t, "{indent}{n}{i}_{j} = load_{n}(tile, {n}_of{i}_{j}, {k} + {n}_k);");
                    }),
                }
            }
        });
    }

    /// From registers to workgroup memory, from `base` on.
    fn put(&self, t: &mut String, o: &Operand, base: &str, indent: &str) {
        let (n, pitch) = (o.name, o.pitch);
        Block::for_loaders(o, t, indent, |t, indent| {
            for i in 0..o.loads {
                match o.along {
                    Along::Lines => {
                        let at = format!("{base} + ({n}_k + {}u) * {pitch}u + {n}_vector", i * self.span(o));
                        let _ = writeln!(t, "{indent}{n}_tile[{at}] = {n}{i};");
                    }
                    Along::K => COMPONENTS.iter().enumerate().for_each(|(q, x)| {
                        let of = |j: usize| format!("{n}{i}_{j}.{x}");
                        let _ = writeln!(
                            t,
                            "{indent}{n}_tile[{base} + ({n}_k + {q}u) * {pitch}u + {n}_vector{i}] = \
                             vec4<f32>({}, {}, {}, {});",
                            of(0),
                            of(1),
                            of(2),
                            of(3)
                        );
                    }),
                }
            }
        });
    }

    /// Adds the products of a step.
    fn multiply(&self, t: &mut String, a: &str, b: &str, of: (&Operand, &Operand), sums: bool) {
        let _ = writeln!(
            t,
            "        for (var k = 0u; k < {}u; k += 1u) {{\n            \
             let row = {a} + k * {}u + y;\n            let column = {b} + k * {}u + x;",
            self.depth, of.0.pitch, of.1.pitch
        );
        for v in 0..self.down {
            let _ =
                writeln!(t, "            let rows{v} = a_tile[row + {}u];", v * self.rows / (4 * self.down));
        }
        for w in 0..self.across {
            let _ = writeln!(
                t,
                "            let columns{w} = b_tile[column + {}u];",
                w * self.columns / (4 * self.across)
            );
        }
        for v in 0..self.down {
            for (i, x) in COMPONENTS.iter().enumerate() {
                for w in 0..self.across {
                    let c = format!("c{}_{w}", 4 * v + i);
                    let _ = writeln!(t, "            {c} = fma(vec4<f32>(rows{v}.{x}), columns{w}, {c});");
                }
            }
            if sums {
                let _ = writeln!(t, "            sum{v} += rows{v};");
            }
        }
        t.push_str("        }\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the generated text takes for granted.
    #[test]
    fn blocks_are_loaded_whole() {
        for block in Block::ALL {
            let n = block.invocations();
            assert!(n.is_power_of_two() && (64..=256).contains(&n) || n == 32, "{block:?}: {n}");
            assert!(block.workgroup_bytes() <= 16 << 10, "{block:?}");
            assert!(Block::DEEPEST.is_multiple_of(block.depth), "{block:?}");
            for extent in [block.rows, block.columns] {
                let vectors = extent / 4;
                // All invocations load equally often, or some of them once.
                assert!(n.is_multiple_of(vectors) && n.is_multiple_of(block.depth / 4), "{block:?}");
                for loads in [vectors * block.depth, vectors * block.depth / 4] {
                    assert!(loads.is_multiple_of(n) || n.is_multiple_of(loads), "{block:?}");
                }
            }
        }
    }
}
