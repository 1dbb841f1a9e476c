//! Cases of the loss and its gradient.

use super::super::{Case, Fillings, In, Out, Reference, Slice, SliceMut, float};
use super::{Ctc, CtcGrad};

/// A batch: the symbols that targets and inputs are made of, and what each item has.
struct Batch {
    blank: u32,
    classes: usize,
    times: usize,
    /// Columns of the targets; those that an item does not fill are padding.
    most: usize,
    /// The length of the input, and the target.
    items: Vec<(usize, Vec<u32>)>,
    log_probs: Vec<f64>,
}

impl Batch {
    fn new(blank: u32, [times, classes, most]: [usize; 3], items: &[(usize, &[u32])]) -> Self {
        let n = items.len() * times * classes;
        let items = items.iter().map(|(length, target)| (*length, target.to_vec())).collect();
        Batch { blank, classes, times, most, items, log_probs: normalized(n, classes, 4.0) }
    }

    /// Targets of these lengths, with labels that repeat themselves here and there.
    fn of_lengths(blank: u32, extents: [usize; 3], lengths: &[[usize; 2]]) -> Self {
        let labels = extents[1] as u32 - 1;
        let target =
            |count: usize| (0..count as u32).map(|k| (blank + 1 + k * k / 3 % labels) % (labels + 1));
        let items: Vec<(usize, Vec<u32>)> =
            lengths.iter().map(|&[length, count]| (length, target(count).collect())).collect();
        let views: Vec<(usize, &[u32])> =
            items.iter().map(|(length, target)| (*length, &target[..])).collect();
        Batch::new(blank, extents, &views)
    }

    fn filled(self, log_probs: &[f64]) -> Self {
        Batch { log_probs: log_probs.to_vec(), ..self }
    }

    /// Padding is no class, and the first one.
    fn targets(&self) -> Vec<f64> {
        let padding = [4e9, 0.0].into_iter().cycle();
        let row = |(_, target): &(usize, Vec<u32>)| {
            target.iter().map(|&c| f64::from(c)).chain(padding.clone()).take(self.most).collect::<Vec<f64>>()
        };
        self.items.iter().flat_map(row).collect()
    }

    fn shapes(&self) -> [Vec<usize>; 4] {
        let n = self.items.len();
        [vec![n, self.times, self.classes], vec![n, self.most], vec![n], vec![n]]
    }

    fn with(&self, op: impl super::Op + 'static, more: &[&[usize]]) -> Case {
        let own = self.shapes();
        let shapes: Vec<&[usize]> = own.iter().map(Vec::as_slice).chain(more.iter().copied()).collect();
        let case = Case::new(op, &shapes).index(1, 1).index(2, 1).index(3, 1);
        let lengths = self.items.iter().map(|(length, _)| *length as f64).collect();
        let counts = self.items.iter().map(|(_, target)| target.len() as f64).collect();
        let case = case.fill(0, Fillings::Given(self.log_probs.clone()));
        let mut case = case.fill(1, Fillings::Given(self.targets()));
        case.name += &format!(" {:?}", self.items.iter().take(6).collect::<Vec<_>>());
        case.fill(2, Fillings::Given(lengths)).fill(3, Fillings::Given(counts))
    }

    fn loss(&self) -> Case {
        self.with(Ctc { blank: self.blank }, &[])
    }

    /// Alpha and the losses that the gradient takes belong to the log-probabilities, so that differences in one input alone would
    /// be no derivative. The gradient of the loss is compared with differences.
    fn gradient(&self, cotangents: &[f64]) -> Case {
        let (n, width) = (self.items.len(), 2 * self.most + 1);
        let y: Vec<f64> =
            self.log_probs.iter().copied().cycle().take(n * self.times * self.classes).collect();
        let whole = |values: &[f64]| values.iter().map(|&x| x as u32).collect::<Vec<u32>>();
        let case = self.loss();
        let given =
            |i: usize| if let Fillings::Given(values) = &case.inputs[i].1 { whole(values) } else { vec![] };
        let [targets, lengths, counts] = [1, 2, 3].map(given);
        let data = [Slice::F(&y[..]), Slice::U32(&targets), Slice::U32(&lengths), Slice::U32(&counts)];
        let inputs: Vec<In<'_, f64>> = self
            .shapes()
            .iter()
            .zip(data)
            .map(|(dims, data)| In { shape: float(dims).shape, data })
            .collect();
        let (mut loss, mut alpha) = (vec![0.0; n], vec![0.0; n * self.times * width]);
        let mut outputs = [
            Out { shape: float(&[n]).shape, data: SliceMut::F(&mut loss) },
            Out { shape: float(&[n, self.times, width]).shape, data: SliceMut::F(&mut alpha) },
        ];
        // These have no fault; one that had would fail in its own case.
        let _ = Reference::<f64>::eval(&Ctc { blank: self.blank }, &inputs, &mut outputs);
        let case = self.with(CtcGrad { blank: self.blank }, &[&[n, self.times, width], &[n], &[n]]);
        let case = case.fill(4, Fillings::Given(alpha)).fill(5, Fillings::Given(loss));
        case.fill(6, Fillings::Given(cotangents.to_vec())).no_gradient()
    }
}

/// Log-probabilities of rows of `classes`, from numbers spread over a range by the golden ratio.
fn normalized(n: usize, classes: usize, range: f64) -> Vec<f64> {
    let x: Vec<f64> = (0..n).map(|i| range * (0.618_033_988_749_895 * (i + 1) as f64).fract()).collect();
    let row = |x: &[f64]| {
        let total = x.iter().map(|x| x.exp()).sum::<f64>().ln();
        x.iter().map(|x| f64::from((x - total) as f32)).collect::<Vec<f64>>()
    };
    x.chunks_exact(classes).flat_map(row).collect()
}

const COTANGENTS: [f64; 5] = [1.0, -0.5, 0.25, 2.0, 0.75];

pub(in crate::ops) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |batch: Batch| {
        cases.push(batch.loss());
        cases.push(batch.gradient(&COTANGENTS));
    };
    // The blank alone; one label at one time.
    add(Batch::new(0, [1, 1, 1], &[(1, &[])]));
    add(Batch::new(0, [1, 2, 1], &[(1, &[1])]));
    add(Batch::new(1, [1, 3, 2], &[(1, &[2])]));
    // Labels that repeat themselves: with room, and as many times as they need at least.
    add(Batch::new(0, [5, 3, 3], &[(5, &[1, 1, 2])]));
    add(Batch::new(2, [6, 3, 4], &[(6, &[1, 1, 0, 0])]));
    add(Batch::new(0, [3, 3, 2], &[(3, &[1, 1])]));
    // One path.
    add(Batch::new(0, [3, 3, 3], &[(3, &[1, 2, 1])]));
    // Lengths that differ, an empty target, and inputs of lengths 0 and 1.
    let some: [(usize, &[u32]); 7] =
        [(7, &[0, 1, 3]), (5, &[3]), (7, &[]), (4, &[1, 1]), (1, &[0]), (1, &[]), (0, &[])];
    add(Batch::new(2, [7, 4, 3], &some));
    add(Batch::new(3, [9, 4, 5], &[(9, &[0, 0, 1, 2]), (2, &[1, 0]), (8, &[2, 2, 2, 1])]));
    // More items, classes and states than a workgroup has invocations.
    add(Batch::of_lengths(0, [3, 4, 1], &[[3, 1], [2, 0], [3, 1], [1, 1], [2, 1]].repeat(30)));
    add(Batch::of_lengths(77, [4, 131, 3], &[[4, 3], [3, 2]]));
    add(Batch::of_lengths(0, [60, 7, 33], &[[60, 33], [50, 31], [33, 20], [60, 32]]));
    // A number for each state of 65 and of 129; more of them.
    add(Batch::of_lengths(1, [70, 3, 32], &[[70, 32], [69, 31]]));
    add(Batch::of_lengths(4, [110, 5, 70], &[[110, 64], [109, 70]]));
    add(Batch::of_lengths(0, [130, 9, 12], &[[130, 12], [100, 10]]));
    // Probabilities far apart, and impossible classes beside possible paths.
    let two: [(usize, &[u32]); 2] = [(5, &[1, 2]), (4, &[2])];
    let far = [0.0, -1e4, -100.0, -1e4, 0.0, -1e4, -0.5, -30.0, -1e4, 0.0, -200.0, -1e4];
    add(Batch::new(0, [5, 3, 2], &two).filled(&far));
    let none = f64::NEG_INFINITY;
    let impossible = [-0.5, none, -1.0, none, 0.0, -2.0, -1.0, -1.5, none];
    add(Batch::new(0, [5, 3, 2], &two).filled(&impossible));
    let mut case = Batch::new(0, [5, 3, 2], &two).loss();
    case.name += " of any numbers";
    cases.push(case.fill(0, Fillings::Normal));
    // No path: of too many labels, of labels that repeat themselves, without an input, by an impossible class. And NaN.
    let short: [(usize, &[u32]); 4] = [(3, &[1, 2, 1, 2]), (2, &[1, 1]), (0, &[1]), (3, &[2, 1])];
    for batch in [
        Batch::new(0, [4, 3, 4], &short),
        Batch::new(0, [3, 3, 2], &two.map(|(_, target)| (3, target))).filled(&[-0.5, -1.0, none]),
        Batch::new(0, [3, 3, 2], &two.map(|(_, target)| (3, target))).filled(&[-0.5, -1.0, f64::NAN]),
    ] {
        cases.push(batch.loss().no_gradient());
        // A cotangent of 0 gives 0.
        cases.push(batch.gradient(&[1.0, 0.0, 0.0, -1.0, 0.5]));
    }
    cases
}

/// A long input, and a long target of which little is used.
pub(crate) fn long_cases() -> Vec<Case> {
    let likely = [-0.0001, -9.0];
    let mut cases = Vec::new();
    for batch in [
        Batch::new(0, [40_009, 2, 1], &[(40_009, &[1])]).filled(&likely),
        Batch::new(0, [2, 3, 40_009], &[(2, &[1, 2])]),
    ] {
        cases.extend([batch.loss(), batch.gradient(&COTANGENTS)]);
    }
    let mut deep = Batch::of_lengths(0, [3, 3, 35_003], &[[3, 35_003]]).gradient(&COTANGENTS);
    deep = deep.fill(4, Fillings::Given(vec![-1.0])).fill(5, Fillings::Given(vec![0.5]));
    cases.push(deep);
    cases
}
