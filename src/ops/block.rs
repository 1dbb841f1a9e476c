//! Products of matrices through workgroup memory, for GPUs: which forms of blocks there are, for matrix products and
//! convolutions alike. What a block does is in `shaders/gpu/block.wgsl.jinja`.
//!
//! Every output is one sum, in the order of k, whatever the block's form: all forms give the same bits, unless a
//! driver's compiler takes a fused multiply-add apart in one of them.

use minijinja::{Value, context};

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

/// How an operand lies in storage: which four numbers are read together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Along {
    /// Four neighbouring rows (of B: columns) from `at` on, for one k.
    Lines,
    /// Row (of B: column) `at`, for four k.
    K,
}

impl Along {
    /// In templates.
    pub(super) fn name(self) -> &'static str {
        match self {
            Along::Lines => "lines",
            Along::K => "k",
        }
    }
}

/// Forms that a trial compares at most.
const MOST_FORMS: usize = 5;

/// Workgroups that keep a GPU busy, more or less.
const BUSY: usize = 96;

/// Two waves of workgroups on a GPU of 132 multiprocessors.
const TWO_WAVES: usize = 264;

/// Splits of a long sum, at most: they are added one after the other, which took an H100 some 0.2 µs each.
const MOST_SPLITS: usize = 96;

/// Forms, and of how many workgroups each is worth it, largest first. Of forms 0 to 7, the last of which had one stage then, 6, 3
/// and 4 were the fastest on an H100 (`docs/BENCHMARKS.md`). Form 9 is form 4 with a second stage: of the same loads and
/// multiply-adds, with 256 multiply-adds of an invocation from barrier to barrier instead of 128. It is not timed yet.
const PREFERRED: [(usize, usize); 3] = [(6, 512), (3, 256), (9, 128)];

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

    /// The forms that there are, small to large, and two that came later: what was measured goes by their numbers. Of those
    /// with the same outputs none surpasses another in all that the test `forms_differ` counts, unless the other one was the
    /// fastest somewhere.
    pub(crate) const ALL: [Block; 10] = [
        Block::new(16, 32, 32, 1, 1, 2),
        Block::new(32, 32, 32, 1, 1, 1),
        Block::new(16, 128, 16, 1, 1, 1),
        Block::new(32, 128, 16, 1, 2, 1),
        Block::new(64, 64, 16, 1, 1, 1),
        Block::new(64, 64, 8, 2, 1, 2),
        Block::new(128, 64, 16, 2, 2, 1),
        Block::new(128, 128, 8, 2, 2, 2),
        Block::new(128, 64, 8, 2, 2, 2),
        Block::new(64, 64, 16, 1, 1, 2),
    ];

    /// Least extent of a split of k: less is not worth a second launch.
    pub(super) const LEAST_SPLIT: usize = 128;

    /// The largest depth: splits of k are multiples of it, so that only the last ends within a step.
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
    /// GPU busy. Few blocks leave it idle in any form: those of 64 invocations can then be part of one launch with others.
    fn chosen(outputs: [usize; 2], matrices: usize) -> usize {
        let fits = |i: usize| Block::ALL[i].fits(outputs);
        let there_are = |i: usize| Block::ALL[i].workgroups(outputs) * matrices;
        if let Some((form, _)) = PREFERRED.into_iter().find(|&(i, least)| fits(i) && there_are(i) >= least) {
            return form;
        }
        // 16 rows fill no other form.
        if fits(2) && !fits(1) && there_are(2) >= BUSY {
            return 2;
        }
        usize::from(outputs[0] > 16 || there_are(0) < BUSY / 4)
    }

    /// What a trial compares for products that `name` tells from others. Splits of k count as matrices where they are many.
    pub(super) fn trial(name: &str, outputs: [usize; 2], matrices: usize, k: usize) -> Trial {
        let [m, n, k, count] = [outputs[0], outputs[1], k, matrices].map(usize::next_power_of_two);
        let first = Block::chosen(outputs, matrices);
        // Form 3 has as many columns and twice the rows, and was the faster one wherever both were timed.
        let surpassed = |i: usize| i == 2 && Block::ALL[3].fits(outputs);
        let worth = |i: &usize| *i != first && Block::ALL[*i].fits(outputs) && !surpassed(*i);
        let others = (0..Block::ALL.len()).rev().filter(worth);
        let forms = std::iter::once(first).chain(others).take(MOST_FORMS).collect();
        Trial { key: format!("{name} {m}x{n}x{k} {count}"), forms }
    }

    /// The form asked for, or found by a trial, or that of the table.
    pub(super) fn of(forced: Option<usize>, trial: &Trial, caps: &Caps) -> Block {
        let form = forced.or_else(|| trial.found(caps)).unwrap_or(trial.forms[0]);
        *Block::ALL.get(form).unwrap_or(&Block::ALL[trial.forms[0]])
    }

    /// How many splits k is cut into, and the extent of each. It depends on the extents alone, and never on the form, which
    /// may be measured: it decides the order of a sum.
    pub(super) fn splits(outputs: [usize; 2], matrices: usize, k: usize, caps: &Caps) -> (usize, usize) {
        let wanted = BUSY / (Block::ALL[1].workgroups(outputs) * matrices).max(1);
        Block::cut(k, wanted.min(k / Block::LEAST_SPLIT), caps)
    }

    /// How many splits [`Block::cut`] makes of a sum over the pixels of all images, which is long: two waves of workgroups. In
    /// blocks of 64 × 64 as many would have four times the partial sums, with which plans of networks were up to 1.6 times as
    /// large.
    pub(super) fn splits_of_pixels(outputs: [usize; 2], matrices: usize, pixels: usize) -> usize {
        let wanted = Block::two_waves(Block::ALL[1].workgroups(outputs) * matrices);
        wanted.min(pixels / Block::LEAST_SPLIT).max(1)
    }

    /// How many splits there must be for two waves of workgroups, at most, of which each split has so many.
    pub(super) fn two_waves(workgroups: usize) -> usize {
        TWO_WAVES.div_ceil(workgroups.max(1)).min(MOST_SPLITS)
    }

    /// As few splits as loops that end early allow.
    pub(super) fn whole(k: usize, caps: &Caps) -> (usize, usize) {
        Block::cut(k, 1, caps)
    }

    /// At least `wanted` splits, more or less: how many, and the extent of each.
    pub(super) fn cut(k: usize, wanted: usize, caps: &Caps) -> (usize, usize) {
        // A loop over steps of eight of k at least, in each of which there is one over four k at once.
        let most = (caps.max_loop_iterations as usize).saturating_sub(Block::STORES) / 3 * 8;
        let needed = caps.pieces(k, most.saturating_sub(Block::DEEPEST));
        let length = k.div_ceil(wanted.max(needed)).next_multiple_of(Block::DEEPEST);
        (k.div_ceil(length).max(1), length)
    }

    /// Most loop iterations where results are stored: four for each of 16 vectors and of two sums.
    const STORES: usize = 4 * (16 + 2);

    /// Loop iterations for one split of k.
    pub(super) fn loop_iterations(&self, length: usize) -> usize {
        length.div_ceil(self.depth) * (1 + self.depth / 4) + Block::STORES
    }

    /// Invocations of a workgroup.
    pub(super) const fn invocations(&self) -> usize {
        self.rows * self.columns / (16 * self.down * self.across)
    }

    /// Bytes of workgroup memory: WebGPU grants 16 KiB everywhere.
    #[cfg(test)]
    const fn workgroup_bytes(&self) -> usize {
        4 * self.stages * self.depth * (self.rows + self.columns)
    }

    /// By how much the numbers differ that vectors of workgroup memory are XORed with, from four k to the next: eight
    /// invocations that write four k each, of as many rows or columns as then are side by side, meet each bank once.
    const fn turn(&self) -> usize {
        32 / self.depth
    }

    /// For a kernel's key.
    pub(super) fn name(&self) -> String {
        let Block { rows, columns, depth, down, across, stages } = self;
        format!("{rows}x{columns}x{depth}.{}x{}s{stages}", 4 * down, 4 * across)
    }

    fn operand(&self, name: char, along: Along, extent: usize) -> Value {
        let vectors = extent / 4;
        let all = match along {
            Along::Lines => vectors * self.depth,
            Along::K => vectors * self.depth / 4,
        };
        context! {
            name, vectors,
            along => along.name(),
            loads => all.div_ceil(self.invocations()),
            span => self.invocations() / vectors,
            some => if all < self.invocations() { all } else { 0 },
        }
    }

    /// What `shaders/gpu/block.wgsl.jinja` is to know: how the operands lie, and whether A's numbers are added up along k, for
    /// each row.
    pub(super) fn variant(&self, entry: &str, a: Along, b: Along, sums: bool) -> Value {
        let Block { rows, columns, depth, down, across, stages } = *self;
        context! {
            entry, rows, columns, depth, down, across, stages, sums,
            wide => columns / (4 * across), high => rows / (4 * down), turn => self.turn(),
            a => self.operand('a', a, rows), b => self.operand('b', b, columns),
        }
    }
}

#[cfg(test)]
mod tests;
