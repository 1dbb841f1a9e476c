use std::collections::BTreeSet;

use super::*;

/// What was the fastest of all forms on an H100, or within 5 % of it, where its rates are known.
#[test]
fn the_table_knows_what_was_measured() {
    let of = |outputs| Block::chosen(outputs, 1);
    // matmul-4096 and -1024, conv-64-64-32 of 64 images and of 8.
    let chosen = [[4096, 4096], [1024, 1024], [64, 65536], [64, 8192]].map(of);
    assert_eq!(chosen, [6, 3, 3, 9]);
    let rates: [[f64; 8]; 4] = [
        [10.0, 23.3, 21.9, 28.5, 24.1, 26.6, 32.6, 28.8],
        [10.8, 20.6, 21.3, 23.3, 22.5, 18.5, 20.7, 11.7],
        [4.8, 16.4, 16.7, 24.3, 24.2, 24.7, 13.3, 15.1],
        [5.3, 15.1, 11.2, 12.2, 14.4, 11.4, 9.2, 5.9],
    ];
    for (form, rates) in chosen.into_iter().zip(rates) {
        // Timed with one stage.
        let timed = |i: &usize| Block { stages: 1, ..Block::ALL[form] } == Block::ALL[*i];
        let form = if form < 7 { form } else { (0..7).find(timed).expect("a form that was timed") };
        let best = rates.into_iter().fold(0.0, f64::max);
        assert!(rates[form] >= 0.95 * best, "{form}: {} of {best}", rates[form]);
    }
    // Trials try what was not timed first, and what was the fastest anywhere.
    let forms = |outputs| Block::trial("", outputs, 1, 512).forms;
    assert_eq!(forms([4096, 4096]), [6, 9, 8, 7, 5]);
    assert_eq!(forms([1024, 1024]), [3, 9, 8, 7, 6]);
    assert_eq!(forms([64, 8192]), [9, 5, 4, 3, 1]);
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
    assert_eq!(of([256, 2304], 4096), (9, 1, 144));
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
            // Of 32 invocations eight are beside and four below each other.
            let Block { rows, columns, down, across, .. } = block;
            assert!((columns / (4 * across)).is_multiple_of(8) && (rows / (4 * down)).is_multiple_of(4));
            // What is XORed is less than the distance of an invocation's own vectors.
            assert!(down == 1 || (rows / (4 * down)).is_multiple_of(8), "{block:?}");
            // All invocations load equally often, or some of them once.
            assert!(n.is_multiple_of(vectors) && n.is_multiple_of(block.depth / 4), "{block:?}");
            for loads in [vectors * block.depth, vectors * block.depth / 4] {
                assert!(loads.is_multiple_of(n) || n.is_multiple_of(loads), "{block:?}");
            }
        }
    }
}

/// Turns that workgroup memory takes for vectors of eight invocations: as many vectors as meet one bank at most, of 32 of four
/// bytes. Who reads the same vector is no one more.
fn turns(first: usize, vectors: impl Fn(usize) -> usize) -> usize {
    let all: BTreeSet<usize> = (first..first + 8).map(vectors).collect();
    (0..8).map(|banks| all.iter().filter(|v| *v % 8 == banks).count()).max().unwrap_or(0)
}

/// The same for what 32 invocations read; pairs of invocations that read the same share a turn.
fn turns_of_all(vectors: impl Fn(usize) -> usize) -> usize {
    let pairs = |by: usize| (0..32).all(|t| vectors(t) == vectors(t ^ by));
    let each: usize = (0..32).step_by(8).map(|first| turns(first, &vectors)).sum();
    if pairs(1) || pairs(2) { each / 2 } else { each }
}

/// How the template spells what [`Block::swizzled`] and [`Block::eight_by_four`] compute.
const SPELLED: [&str; 3] = [
    "(({{ k }} * {{ o.vectors }}u + {{ vector }}) ^ ({{ k }} / 4u * {{ turn }}u))",
    "let x = thread / 32u % {{ wide // 8 }}u * 8u + thread / 2u % 8u;",
    "let y = thread / {{ 4 * wide }}u * 4u + thread / 16u % 2u * 2u + thread % 2u;",
];

impl Block {
    /// Where `gpu/block` has a vector of a step, and where it would be with one vector of padding for each k instead.
    fn swizzled(self, extent: usize) -> impl Fn(usize, usize) -> usize {
        move |k, vector| (k * (extent / 4) + vector) ^ (k / 4 * self.turn())
    }

    fn padded(self, extent: usize) -> impl Fn(usize, usize) -> usize {
        move |k, vector| k * (extent / 4 + 1) + vector
    }

    /// Most turns for vectors that eight invocations write, of all that are written in a step.
    fn turns_of_writes(self, along: Along, extent: usize, at: impl Fn(usize, usize) -> usize) -> usize {
        let (vectors, n, quads) = (extent / 4, self.invocations(), self.depth / 4);
        let all = vectors * self.depth;
        let of = |load: usize, first: usize| match along {
            Along::Lines => turns(first, |t| at(t / vectors + load * n / vectors, t % vectors)),
            // Four vectors, one after the other.
            Along::K => {
                let of = |c: usize| turns(first, |t| at(t % quads * 4 + c, t / quads + load * n / quads));
                (0..4).map(of).max().unwrap_or(0)
            }
        };
        let all = if along == Along::K { all / 4 } else { all };
        let loads = (0..all.div_ceil(n)).flat_map(|load| (0..n.min(all)).step_by(8).map(move |t| (load, t)));
        loads.map(|(load, first)| of(load, first)).max().unwrap_or(0)
    }

    /// The place of an invocation, across and down: by rows, and eight by four of each 32.
    fn by_rows(self, t: usize) -> [usize; 2] {
        let wide = self.columns / (4 * self.across);
        [t % wide, t / wide]
    }

    fn eight_by_four(self, t: usize) -> [usize; 2] {
        let wide = self.columns / (4 * self.across);
        [t / 32 % (wide / 8) * 8 + t / 2 % 8, t / (4 * wide) * 4 + t / 16 % 2 * 2 + t % 2]
    }

    /// Turns for what 32 invocations read of one k: rows and columns.
    fn turns_of_reads(self, place: impl Fn(usize) -> [usize; 2]) -> usize {
        let of = |first: usize, k: usize| {
            let (a, b) = (self.swizzled(self.rows), self.swizzled(self.columns));
            self.down * turns_of_all(|t| a(k, place(first + t)[1]))
                + self.across * turns_of_all(|t| b(k, place(first + t)[0]))
        };
        let warps = (0..self.invocations()).step_by(32);
        warps.flat_map(|first| (0..self.depth).map(move |k| of(first, k))).max().unwrap_or(0)
    }
}

/// With padding, vectors that are written along k met a bank up to four times.
#[test]
fn no_bank_is_met_twice() {
    let template = include_str!("../../../shaders/gpu/block.wgsl.jinja");
    assert!(SPELLED.iter().all(|formula| template.contains(formula)), "formulas are others in the template");
    for (i, block) in Block::ALL.into_iter().enumerate() {
        for extent in [block.rows, block.columns] {
            // Every vector has a place of its own within the stage.
            let at = block.swizzled(extent);
            let places: BTreeSet<usize> = (0..block.depth)
                .flat_map(|k| (0..extent / 4).map(move |v| (k, v)))
                .map(|(k, v)| at(k, v))
                .collect();
            assert_eq!(places.len(), extent / 4 * block.depth, "{block:?}");
            assert_eq!(places.last(), Some(&(places.len() - 1)), "{block:?}");
            for along in [Along::Lines, Along::K] {
                let turns = block.turns_of_writes(along, extent, block.swizzled(extent));
                let padded = block.turns_of_writes(along, extent, block.padded(extent));
                assert!(turns == 1, "{block:?}, {along:?}: {turns} and {padded}");
                let expected = match (along, extent, block.depth) {
                    (Along::K, _, 32) => 4,
                    (Along::K, _, 16) | (Along::Lines, 16, _) => 2,
                    _ => 1,
                };
                assert_eq!(padded, expected, "{block:?}, {along:?}");
            }
        }
        // Eight by four, all is read in half the turns.
        let (wide, n) = (block.columns / (4 * block.across), block.invocations());
        let places: BTreeSet<[usize; 2]> = (0..n).map(|t| block.eight_by_four(t)).collect();
        assert!(places.len() == n && places.iter().all(|[x, y]| *x < wide && *y < n / wide), "{block:?}");
        let reads = block.turns_of_reads(|t| block.eight_by_four(t));
        let by_rows = block.turns_of_reads(|t| block.by_rows(t));
        let Block { down, across, .. } = block;
        assert_eq!((reads, by_rows), (2 * (down + across), 2 * down + 4 * across), "form {i}");
    }
}

/// What decides which of two forms is the faster, as far as it can be counted.
#[test]
fn forms_differ() {
    // Multiply-adds of an invocation from barrier to barrier, for a vector of workgroup memory, and for a number of
    // storage; registers for sums, for the step's vectors and for the next step's loads.
    let counts = Block::ALL.map(|b| {
        let each = 16 * b.down * b.across;
        let loads = b.depth * (b.rows + b.columns) / b.invocations();
        let barrier = each * b.depth * b.stages / 2;
        let registers = each + 4 * (b.down + b.across) + loads;
        [barrier, each * 10 / (b.down + b.across), each * b.depth / loads, registers]
    });
    let expected = [
        [512, 80, 10, 72],
        [256, 80, 16, 56],
        [128, 80, 14, 42],
        [256, 106, 25, 64],
        [128, 80, 32, 32],
        [256, 106, 32, 52],
        [512, 160, 42, 104],
        [512, 160, 64, 88],
        [512, 160, 42, 92],
        [256, 80, 32, 32],
    ];
    assert_eq!(counts, expected);
    // Of 4 and 6, each of which was the fastest somewhere, the later forms have fewer barriers or registers.
    let outputs = |i: usize| [Block::ALL[i].rows, Block::ALL[i].columns];
    let is_surpassed = |i: &usize| {
        let by = |j: usize| {
            let ([a, b, c, d], [e, f, g, h]) = (counts[*i], counts[j]);
            *i != j && outputs(*i) == outputs(j) && e >= a && f >= b && g >= c && h <= d
        };
        (0..counts.len()).any(by)
    };
    let surpassed: Vec<usize> = (0..counts.len()).filter(is_surpassed).collect();
    assert_eq!(surpassed, [4, 6]);
}
