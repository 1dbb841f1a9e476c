//! Ops that use classes and row numbers: one-hot rows, picking by class, gathering and scattering rows,
//! batches of a shuffled order, and the counters that choose them. Kernels: `shaders/classes.wgsl`, `shaders/scatter.wgsl`.

mod choose;
mod count;
mod cycle;
mod rows;
mod scatter;
mod segments;
#[cfg(test)]
mod tests;

use super::{Case, Fillings, Kernels};
use crate::error::Result;
use crate::graph::{Var, shape_rule};
use crate::shape::{DType, Shape, TensorType};
use choose::{OneHot, Pick};
use count::CountEqual;
use cycle::{Advance, BatchRows};
use rows::TakeRows;
use scatter::ScatterRows;

/// Bits of NaN.
const NAN_BITS: u32 = 0x7fc0_0000;

/// Says which row holds a number that is not below `bound`.
fn check(index: &[u32], bound: usize, what: &str) -> Result<(), String> {
    match index.iter().position(|&c| c as usize >= bound) {
        Some(row) => Err(format!("row {row} holds {what} {}, outside 0..{bound}", index[row])),
        None => Ok(()),
    }
}

/// The shape of `lead` axes before those of `rest`.
fn joined(lead: &[usize], rest: &[usize]) -> Result<Shape, String> {
    Shape::new(&[lead, rest].concat()).ok_or_else(shape_rule)
}

fn not_empty(inputs: &[TensorType]) -> Result<(), String> {
    match inputs.iter().find(|i| i.shape.elements() == 0) {
        Some(i) => Err(format!("{i} has no elements")),
        None => Ok(()),
    }
}

impl<'g> Var<'g> {
    /// For each of these class numbers a row of `classes` floats, 1 at the class and 0 elsewhere: the shape
    /// `[.., classes]`.
    #[track_caller]
    pub fn one_hot(self, classes: usize) -> Var<'g> {
        self.graph.record_one(OneHot { classes }, &[self])
    }

    /// From each row of these floats `[n, classes]` the element of its class, one of `index` `[n]`: `[n]`.
    #[track_caller]
    pub fn pick(self, index: Var<'g>) -> Var<'g> {
        self.graph.record_one(Pick, &[self, index])
    }

    /// Rows of this table `[rows, ...]` by number: `[index..., ...]` for numbers of any shape. The table may
    /// hold floats, integers or bytes: embeddings, labels, images.
    #[track_caller]
    pub fn take_rows(self, index: Var<'g>) -> Var<'g> {
        self.graph.record_one(TakeRows { padding: None }, &[self, index])
    }

    /// The same, where the row `padding` gets no gradient.
    #[track_caller]
    pub(crate) fn take_rows_but(self, index: Var<'g>, padding: Option<u32>) -> Var<'g> {
        self.graph.record_one(TakeRows { padding }, &[self, index])
    }

    /// The `counter`th window of `batch` rows of this order `[n]`, which starts again at its end: element `i`
    /// is `order[(counter · batch + i) mod n]`. The counter is one `u32`, and the product must stay below
    /// 2^32.
    #[track_caller]
    pub fn batch_rows(self, counter: Var<'g>, batch: usize) -> Var<'g> {
        self.graph.record_one(BatchRows { batch }, &[self, counter])
    }

    /// Adds to the float state `sum` `[]` how many of these numbers are equal to those of `others`. Returns its new
    /// version.
    #[track_caller]
    pub(crate) fn count_equal_into(self, others: Var<'g>, sum: Var<'g>) -> Var<'g> {
        self.graph.record_one(CountEqual, &[self, others, sum])
    }

    /// Moves this counter, a state, on by one, and back to 0 at `modulus` (0 stands for 2^32). Returns its
    /// new version.
    #[track_caller]
    pub(crate) fn advance(self, modulus: u32) -> Var<'g> {
        self.graph.record_one(Advance { modulus }, &[self])
    }
}

/// Many rows added to few.
pub(crate) fn long_cases() -> Vec<Case> {
    let n = 70_001;
    let scatter = |row: usize, kernels: Kernels| {
        let op = ScatterRows { rows: 3, without: None, kernels };
        let mut case = Case::new(op, &[&[n], &[n, row]]).exact().index(0, 3);
        case.name += " of many rows";
        case
    };
    [Kernels::Plain, Kernels::Tiles].into_iter().flat_map(|k| [scatter(1, k), scatter(4, k)]).collect()
}

pub(super) fn cases() -> Vec<Case> {
    let take = |table: &[usize], index: &[usize]| {
        Case::new(TakeRows { padding: None }, &[table, index]).index(1, table[0] as u32)
    };
    let take_of = |dtype, below, table: &[usize], index: &[usize]| {
        let mut case = take(table, index).no_gradient();
        case.inputs[0].0.dtype = dtype;
        case.fill(0, Fillings::Whole(below))
    };
    let window = |n: usize, counter: f64, batch: usize| {
        let case = Case::new(BatchRows { batch }, &[&[n], &[1]]).no_gradient();
        case.index(0, 1000).index(1, 1).fill(1, Fillings::Given(vec![counter]))
    };
    let advance = |modulus, counter: f64| {
        let case = Case::new(Advance { modulus }, &[&[1]]).no_gradient();
        case.index(0, 1).fill(0, Fillings::Given(vec![counter]))
    };
    let mut cases = Vec::new();
    for (classes, shape) in [(1, &[][..]), (1, &[1]), (10, &[7]), (3, &[5, 13]), (257, &[33])] {
        cases.push(Case::new(OneHot { classes }, &[shape]).index(0, classes as u32).no_gradient());
    }
    for shape in [[1, 1], [7, 10], [65, 3], [130, 33]] {
        cases.push(Case::new(Pick, &[&shape, &shape[..1]]).index(1, shape[1] as u32));
    }
    for (shape, classes) in [(&[1][..], 1), (&[7], 2), (&[65], 3), (&[13, 5], 4), (&[4099], 10)] {
        let case = Case::new(CountEqual, &[shape, shape, &[]]).index(0, classes).index(1, classes);
        cases.push(case.fill(2, Fillings::Whole(1000)).no_gradient());
    }
    cases.extend([
        take(&[1], &[1]),
        take(&[5], &[]),
        take(&[7, 3], &[11]),
        take(&[7, 4], &[2, 3]),
        take(&[13, 2, 8], &[65]),
        take_of(DType::U32, 1000, &[9], &[40]),
        take_of(DType::U32, 1000, &[9, 4, 5], &[7]),
        // A large one, past every tail of a workgroup.
        take(&[64, 33], &[257]).no_gradient(),
    ]);
    // Rows that are vectors, words, and neither: the last start at any byte of a word.
    for row in [16, 784, 4, 20, 1, 2, 3, 7, 65] {
        cases.push(take_of(DType::U8, 256, &[11, row], &[13]));
    }
    cases.push(take_of(DType::U8, 256, &[300, 1, 5, 5], &[2, 129]));
    cases.extend([
        window(1, 0.0, 1),
        window(10, 3.0, 4),
        window(300, 2.0, 65),
        // Beyond the end, and beyond 2^32.
        window(7, 4_000_000_000.0, 20),
        advance(1, 0.0),
        advance(5, 0.0),
        advance(5, 4.0),
        advance(0, 7.0),
        advance(0, 4_294_967_295.0),
    ]);
    cases.extend([Kernels::Plain, Kernels::Tiles].into_iter().flat_map(scattered));
    cases
}

/// Rows added to a table by kernels of either kind.
fn scattered(kernels: Kernels) -> Vec<Case> {
    let scatter = |rows: usize, without: Option<u32>, index: &[usize], x: &[usize]| {
        Case::new(ScatterRows { rows, without, kernels }, &[index, x]).index(0, rows as u32)
    };
    let all = |row: f64| Fillings::Given(vec![row]);
    let mut cases = vec![
        scatter(1, None, &[1], &[1]),
        scatter(5, None, &[], &[]),
        scatter(5, None, &[9], &[9]),
        scatter(4, None, &[3, 5], &[3, 5, 7]),
        scatter(6, None, &[17], &[17, 2, 4]),
        scatter(3, None, &[200], &[200, 65]).no_gradient(),
        // A row that stays 0: the first, the last, the only one.
        scatter(5, Some(0), &[30], &[30, 3]),
        scatter(5, Some(4), &[30], &[30, 4]),
        scatter(1, Some(0), &[3], &[3, 2]).no_gradient(),
        // One row gets all: between others, and as the last.
        scatter(3, None, &[300], &[300, 4]).fill(0, all(1.0)).no_gradient(),
        scatter(3, None, &[300], &[300, 3]).fill(0, all(2.0)).no_gradient(),
        // More rows than are given.
        scatter(1000, None, &[20], &[20, 4]).no_gradient(),
    ];
    // Whole numbers, of which none may be missing: at the edges of blocks and of runs of them.
    for count in [63, 64, 65, 256, 257, 1023, 1025, 4099] {
        for (rows, row) in [(2, 1), (700, 4)] {
            cases.push(scatter(rows, None, &[count], &[count, row]).exact().index(0, rows as u32));
        }
    }
    // Numbers that fall, or come in turns.
    let falling = Fillings::Given((0..1000).map(|i| f64::from((999 - i) / 3)).collect());
    cases.push(scatter(400, None, &[1000], &[1000, 4]).exact().index(0, 400).fill(0, falling));
    let turns = Fillings::Given((0..7).map(f64::from).collect());
    cases.push(scatter(7, Some(3), &[1000], &[1000, 5]).exact().index(0, 7).fill(0, turns));
    cases
}
