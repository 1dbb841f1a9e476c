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

/// Least extent of a split of k: less is not worth a second launch.
const LEAST_SPLIT: usize = 128;

/// Forms that a trial compares at most.
const MOST_FORMS: usize = 5;

/// Workgroups that keep a GPU busy, more or less.
const BUSY: usize = 96;

/// Two waves of workgroups on a GPU of 132 multiprocessors.
const TWO_WAVES: usize = 264;

/// Splits of a sum over pixels, at most: they are added one after the other, which took an H100 some 0.2 µs each.
const MOST_SPLITS: usize = 96;

/// Forms, and of how many workgroups each is worth it, largest first: of all forms these were the fastest on an H100
/// (`docs/BENCHMARKS.md`).
const PREFERRED: [(usize, usize); 3] = [(6, 512), (3, 256), (4, 128)];

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
        let others = (0..Block::ALL.len()).rev().filter(|&i| i != first && Block::ALL[i].fits(outputs));
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
        Block::cut(k, wanted.min(k / LEAST_SPLIT), caps)
    }

    /// How many splits [`Block::cut`] makes of a sum over the pixels of all images, which is long: two waves of workgroups. In
    /// blocks of 64 × 64 as many would have four times the partial sums, with which plans of networks were up to 1.6 times as
    /// large.
    pub(super) fn splits_of_pixels(outputs: [usize; 2], matrices: usize, pixels: usize) -> usize {
        let wanted = TWO_WAVES.div_ceil((Block::ALL[1].workgroups(outputs) * matrices).max(1));
        wanted.min(MOST_SPLITS).min(pixels / LEAST_SPLIT).max(1)
    }

    /// As few splits as loops that end early allow.
    pub(super) fn whole(k: usize, caps: &Caps) -> (usize, usize) {
        Block::cut(k, 1, caps)
    }

    /// At least `wanted` splits, more or less: how many, and the extent of each.
    pub(super) fn cut(k: usize, wanted: usize, caps: &Caps) -> (usize, usize) {
        // A loop over steps of eight of k at least, in each of which there is one over k.
        let most = (caps.max_loop_iterations as usize).saturating_sub(Block::STORES) / 9 * 8;
        let needed = caps.pieces(k, most.saturating_sub(Block::DEEPEST));
        let length = k.div_ceil(wanted.max(needed)).next_multiple_of(Block::DEEPEST);
        (k.div_ceil(length).max(1), length)
    }

    /// Most loop iterations where results are stored: four for each of 16 vectors and of two sums.
    const STORES: usize = 4 * (16 + 2);

    /// Loop iterations for one split of k.
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

    fn operand(&self, name: char, along: Along, extent: usize) -> Value {
        let vectors = extent / 4;
        let all = match along {
            Along::Lines => vectors * self.depth,
            Along::K => vectors * self.depth / 4,
        };
        context! {
            name, vectors,
            along => match along { Along::Lines => "lines", Along::K => "k" },
            pitch => vectors + 1,
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
            wide => columns / (4 * across), high => rows / (4 * down),
            a => self.operand('a', a, rows), b => self.operand('b', b, columns),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What was the fastest of all forms on an H100, or within 5 % of it, where its rates are known.
    #[test]
    fn the_table_knows_what_was_measured() {
        let of = |outputs| Block::chosen(outputs, 1);
        // matmul-4096 and -1024, conv-64-64-32 of 64 images and of 8.
        let chosen = [[4096, 4096], [1024, 1024], [64, 65536], [64, 8192]].map(of);
        assert_eq!(chosen, [6, 3, 3, 4]);
        let rates: [[f64; 8]; 4] = [
            [10.0, 23.3, 21.9, 28.5, 24.1, 26.6, 32.6, 28.8],
            [10.8, 20.6, 21.3, 23.3, 22.5, 18.5, 20.7, 11.7],
            [4.8, 16.4, 16.7, 24.3, 24.2, 24.7, 13.3, 15.1],
            [5.3, 15.1, 11.2, 12.2, 14.4, 11.4, 9.2, 5.9],
        ];
        for (form, rates) in chosen.into_iter().zip(rates) {
            let best = rates.into_iter().fold(0.0, f64::max);
            assert!(rates[form] >= 0.95 * best, "{form}: {} of {best}", rates[form]);
        }
        // Few rows, few columns, hardly anything.
        assert_eq!([[16, 50176], [256, 512], [10, 40], [40, 10], [12, 1 << 14]].map(of), [2, 1, 1, 1, 2]);
    }

    /// Outputs and pixels of gradients of weights: form, splits, workgroups. Many blocks need no splits.
    #[test]
    fn sums_over_pixels_are_two_waves_of_workgroups() {
        let caps = Caps::default_of(crate::ops::AdapterClass::Gpu);
        let of = |outputs, k| {
            let wanted = Block::splits_of_pixels(outputs, 1, k);
            let (form, (splits, length)) = (Block::chosen(outputs, wanted), Block::cut(k, wanted, &caps));
            assert!(splits * length >= k && (splits - 1) * length < k);
            (form, splits, splits * Block::ALL[form].workgroups(outputs))
        };
        // conv-64-64-32 of 8 and of 64 images, conv-256-256-8 of 64, the second and the first of cnn-a.
        assert_eq!(of([64, 576], 8192), (1, 8, 288));
        assert_eq!(of([64, 576], 65536), (1, 8, 288));
        assert_eq!(of([256, 2304], 4096), (4, 1, 144));
        assert_eq!(of([32, 144], 12544), (1, 49, 245));
        assert_eq!(of([16, 9], 50176), (0, 93, 93));
        // No split is shorter than it is worth.
        assert_eq!(of([64, 576], 300), (1, 2, 72));
    }

    /// What the template takes for granted.
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
