//! Cases of layers and their gradients.

use super::{CellKind, Recurrent, RecurrentGrad, Walk};
use crate::ops::{Case, Fillings};

/// Extents around those of tiles and blocks, and what else there is: `[batch, time, hidden]`.
const EXTENTS: [[usize; 3]; 8] =
    [[1, 1, 1], [3, 4, 5], [2, 3, 8], [9, 3, 12], [17, 2, 36], [33, 3, 20], [40, 2, 64], [5, 2, 68]];

fn case(op: impl super::Op + 'static, shapes: &[Vec<usize>], lengths: Option<usize>, times: usize) -> Case {
    let shapes: Vec<&[usize]> = shapes.iter().map(Vec::as_slice).collect();
    let mut case = Case::new(op, &shapes);
    for k in 0..shapes.len() {
        // Weights that neither blow up nor fade away over the times.
        case = case.fill(k, Fillings::Uniform(-0.5, 0.5));
    }
    match lengths {
        Some(at) => {
            let all = [times, 0, 1, times.saturating_sub(1)].map(|n| n as f64);
            case.index(at, 1).fill(at, Fillings::Given(all.to_vec()))
        }
        None => case,
    }
}

/// An op and its gradient.
fn both(walk: Walk, [batch, times, hidden]: [usize; 3], has_dcells: bool) -> [Case; 2] {
    let sequence = |columns: usize| match walk.batch_first {
        true => vec![batch, times, columns],
        false => vec![times, batch, columns],
    };
    let columns = walk.cell.gates() * hidden;
    let op = Recurrent { walk };
    let mut shapes = vec![sequence(columns), vec![columns, hidden]];
    shapes.extend(walk.cell.has_bias().then(|| vec![columns]));
    if walk.has_initial {
        shapes.extend(vec![vec![batch, hidden]; walk.states()]);
    }
    shapes.extend(walk.has_lengths.then(|| vec![batch]));
    let forward = case(op, &shapes, op.places().lengths, times);

    let op = RecurrentGrad { walk, has_dcells };
    let mut shapes = vec![vec![columns, hidden]];
    shapes.extend(walk.cell.keeps_gates().then(|| vec![times, batch, hidden, 4]));
    let cells = vec![times + 1, batch, hidden];
    shapes.push(if walk.cell.has_cell() { cells.clone() } else { sequence(hidden) });
    shapes.push(sequence(hidden));
    shapes.extend(has_dcells.then_some(cells));
    shapes.extend(walk.has_lengths.then(|| vec![batch]));
    let mut backward = case(op, &shapes, op.places().lengths, times).no_gradient();
    if let Some(gates) = op.places().gates {
        backward = backward.fill(gates, Fillings::Uniform(0.1, 0.9));
    }
    [forward, backward]
}

pub(in crate::ops) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for cell in CellKind::ALL {
        for (k, extents) in EXTENTS.into_iter().enumerate() {
            // Each choice meets each other one among the extents.
            let bit = |at: usize| k >> at & 1 == 1;
            let walk = Walk {
                cell,
                is_reverse: bit(0),
                batch_first: bit(1) != bit(0),
                has_initial: bit(2) != bit(0),
                has_lengths: bit(1),
            };
            let has_dcells = cell.has_cell() && !bit(2);
            let [mut forward, backward] = both(walk, extents, has_dcells);
            // Differences take as many runs as there are elements; kinks of ReLU are met by chance.
            let [batch, times, hidden] = extents;
            if batch * times * hidden > 100 || cell == CellKind::Relu {
                forward = forward.no_gradient();
            }
            cases.extend([forward, backward]);
        }
    }
    cases
}
