//! Against all paths of small sizes, against the recursions of the paper on scaled probabilities, and what is refused.

use super::*;
use crate::Graph;
use crate::ops::testing::{Value, eval, run};
use crate::rng::Rng;

/// A batch in which everything is right, but for what a test changes.
struct Batch {
    blank: u32,
    extents: [usize; 4],
    log_probs: Vec<f64>,
    targets: Vec<u32>,
    lengths: Vec<u32>,
    counts: Vec<u32>,
}

impl Batch {
    /// Random probabilities for these inputs' lengths and targets, with padding that is no class.
    fn random(seed: u64, blank: u32, [times, classes, most]: [usize; 3], items: &[(u32, &[u32])]) -> Self {
        let mut rng = Rng::new(seed, "ctc");
        let n = items.len();
        let row = |rng: &mut Rng| {
            let x: Vec<f64> = (0..classes).map(|_| 2.0 * rng.normal()).collect();
            let total = x.iter().map(|x| x.exp()).sum::<f64>().ln();
            x.into_iter().map(|x| x - total).collect::<Vec<f64>>()
        };
        let log_probs = (0..n * times).flat_map(|_| row(&mut rng)).collect();
        let padded =
            |target: &[u32]| (0..most).map(|k| *target.get(k).unwrap_or(&u32::MAX)).collect::<Vec<u32>>();
        Batch {
            blank,
            extents: [n, times, classes, most],
            log_probs,
            targets: items.iter().flat_map(|(_, target)| padded(target)).collect(),
            lengths: items.iter().map(|(length, _)| *length).collect(),
            counts: items.iter().map(|(_, target)| target.len() as u32).collect(),
        }
    }

    fn inputs(&self) -> Vec<Value> {
        vec![
            Value::F(self.log_probs.clone()),
            Value::U32(self.targets.clone()),
            Value::U32(self.lengths.clone()),
            Value::U32(self.counts.clone()),
        ]
    }

    /// Losses, and the gradient of their sum.
    fn loss_and_gradient(&self) -> [Vec<f64>; 2] {
        let [n, times, classes, most] = self.extents;
        let g = Graph::new();
        let y = g.input("y", [n, times, classes]);
        let lengths = [g.classes("lengths", [n]), g.classes("counts", [n])];
        // The order of recording is that of the inputs.
        let targets = g.classes("targets", [n, most]);
        let loss = y.ctc_per_row(targets, lengths, self.blank);
        let dy = g.gradients(loss.sum_all(), &[y])[0];
        let [y, targets, lengths, counts] = <[Value; 4]>::try_from(self.inputs()).unwrap();
        run(&g, &[y, lengths, counts, targets], &[loss, dy]).try_into().unwrap()
    }

    fn refusal(&self) -> String {
        let [n, times, classes, most] = self.extents;
        let shapes: [&[usize]; 4] = [&[n, times, classes], &[n, most], &[n], &[n]];
        let inputs: Vec<(&[usize], Value)> = shapes.into_iter().zip(self.inputs()).collect();
        eval(&Ctc { blank: self.blank }, true, &inputs).unwrap_err()
    }
}

fn assert_close(a: &[f64], b: &[f64], what: &str) {
    assert_eq!(a.len(), b.len(), "{what}");
    for (i, (a, b)) in a.iter().zip(b).enumerate() {
        assert!(a == b || (a - b).abs() < 1e-10 * (1.0 + b.abs()), "{what} [{i}]: {a} is not {b}");
    }
}

/// What a path spells, word for word: repeated symbols are one, and then blanks go.
fn spelled(path: &[u32], blank: u32) -> Vec<u32> {
    let mut labels = path.to_vec();
    labels.dedup();
    labels.retain(|&symbol| symbol != blank);
    labels
}

/// All sequences of so many symbols.
fn sequences(symbols: u32, length: usize) -> Vec<Vec<u32>> {
    let longer = |all: Vec<Vec<u32>>| {
        all.into_iter().flat_map(|s| (0..symbols).map(move |k| [&s[..], &[k]].concat())).collect()
    };
    (0..length).fold(vec![vec![]], |all, _| longer(all))
}

/// Each target of up to three labels, for inputs of up to five times, by adding up every path there is.
#[test]
fn losses_and_gradients_are_those_of_all_paths() {
    const TIMES: usize = 5;
    let (mut possible, mut impossible) = (0, 0);
    for (classes, blank) in [(1u32, 0), (2, 0), (2, 1), (3, 0), (3, 1), (3, 2)] {
        let targets: Vec<Vec<u32>> =
            (0..=3).flat_map(|n| sequences(classes, n)).filter(|target| !target.contains(&blank)).collect();
        for length in 0..=TIMES {
            let items: Vec<(u32, &[u32])> = targets.iter().map(|t| (length as u32, &t[..])).collect();
            let batch = Batch::random(length as u64, blank, [TIMES, classes as usize, 3], &items);
            let [losses, gradient] = batch.loss_and_gradient();
            let paths = sequences(classes, length);
            let of_item = TIMES * classes as usize;
            for (i, target) in targets.iter().enumerate() {
                let p =
                    |t: usize, k: u32| batch.log_probs[i * of_item + t * classes as usize + k as usize].exp();
                let (mut total, mut by_symbol) = (0.0, vec![0.0; of_item]);
                for path in paths.iter().filter(|path| spelled(path, blank) == *target) {
                    let of_path: f64 = path.iter().enumerate().map(|(t, &k)| p(t, k)).product();
                    total += of_path;
                    path.iter()
                        .enumerate()
                        .for_each(|(t, &k)| by_symbol[t * classes as usize + k as usize] += of_path);
                }
                let what = format!("{classes} classes, blank {blank}, {length} times, {target:?}");
                assert_close(&[losses[i]], &[-total.ln()], &what);
                let own = &gradient[i * of_item..][..of_item];
                if total > 0.0 {
                    possible += 1;
                    assert_close(own, &by_symbol.iter().map(|x| -x / total).collect::<Vec<f64>>(), &what);
                } else {
                    impossible += 1;
                    assert!(losses[i] == f64::INFINITY && own.iter().all(|d| d.is_nan()), "{what}: {own:?}");
                }
            }
        }
    }
    assert!(possible > 100 && impossible > 60, "{possible} {impossible}");
}

/// The forward-backward algorithm as in section 4.1 of the paper: probabilities, scaled by their sum at each time. Returns the
/// loss and the cotangents of the log-probabilities.
fn scaled(p: &[Vec<f64>], target: &[u32], blank: u32) -> (f64, Vec<Vec<f64>>) {
    let symbols: Vec<usize> =
        target.iter().flat_map(|&l| [blank, l]).chain([blank]).map(|k| k as usize).collect();
    let (n, last) = (symbols.len(), p.len() - 1);
    let scale = |row: &mut Vec<f64>| {
        let sum: f64 = row.iter().sum();
        row.iter_mut().for_each(|x| *x /= sum);
        sum.ln()
    };
    // Whether a path may leave a label out, from s - 2 to s.
    let leaps = |s: usize| symbols[s] != blank as usize && symbols[s] != symbols[s - 2];
    let mut log_likelihood = 0.0;
    let mut alpha: Vec<Vec<f64>> = Vec::new();
    for (t, y) in p.iter().enumerate() {
        let mut row = vec![0.0; n];
        for s in 0..n {
            row[s] = match alpha.last() {
                None if s < 2 => y[symbols[s]],
                None => 0.0,
                Some(a) => {
                    let mut sum = a[s];
                    if s > 0 {
                        sum += a[s - 1];
                    }
                    if s > 1 && leaps(s) {
                        sum += a[s - 2];
                    }
                    sum * y[symbols[s]]
                }
            };
            // Too late to reach the end (figure 3 of the paper): these would take the scale from the others.
            if s + 1 + 2 * (last - t) < n - 1 {
                row[s] = 0.0;
            }
        }
        log_likelihood += scale(&mut row);
        alpha.push(row);
    }
    log_likelihood += (alpha[last][n - 1] + if n > 1 { alpha[last][n - 2] } else { 0.0 }).ln();
    let mut gradient = vec![vec![0.0; p[0].len()]; p.len()];
    let mut beta: Vec<f64> = (0..n).map(|s| if s + 2 >= n { p[last][symbols[s]] } else { 0.0 }).collect();
    for t in (0..=last).rev() {
        if t < last {
            let after = beta.clone();
            for s in 0..n {
                let mut sum = after[s];
                if s + 1 < n {
                    sum += after[s + 1];
                }
                if s + 2 < n && leaps(s + 2) {
                    sum += after[s + 2];
                }
                beta[s] = sum * p[t][symbols[s]];
            }
        }
        scale(&mut beta);
        // Both have the factor y: the product has it once too often.
        let shares: Vec<f64> = (0..n).map(|s| alpha[t][s] * beta[s] / p[t][symbols[s]]).collect();
        let total: f64 = shares.iter().sum();
        (0..n).for_each(|s| gradient[t][symbols[s]] -= shares[s] / total);
    }
    (-log_likelihood, gradient)
}

#[test]
fn losses_and_gradients_are_those_of_scaled_probabilities() {
    let long: Vec<u32> = (0..60).map(|k| (1 + k * k / 3) % 7).map(|k| if k == 3 { 6 } else { k }).collect();
    for (blank, [times, classes], targets) in [
        (
            3,
            [160, 7],
            vec![(160, &long[..]), (120, &long[..30]), (90, &long[10..40]), (1, &[]), (5, &[1, 1])],
        ),
        (0, [12, 3], vec![(12, &[1, 2, 1, 1, 2, 2][..]), (12, &[]), (9, &[2; 5])]),
        (1, [700, 2], vec![(700, &[0, 0, 0][..])]),
    ] {
        let batch = Batch::random(9, blank, [times, classes, 60], &targets);
        let [losses, gradient] = batch.loss_and_gradient();
        for (i, (length, target)) in targets.iter().enumerate() {
            let of_item = &batch.log_probs[i * times * classes..];
            let p: Vec<Vec<f64>> = of_item
                .chunks(classes)
                .take(*length as usize)
                .map(|row| row.iter().map(|x| x.exp()).collect())
                .collect();
            let (loss, mut rows) = scaled(&p, target, blank);
            assert!(loss.is_finite() && loss > 0.0, "{loss}");
            rows.resize(times, vec![0.0; classes]);
            let what = format!("item {i} of {times} times");
            assert_close(&[losses[i]], &[loss], &what);
            assert_close(&gradient[i * times * classes..][..times * classes], &rows.concat(), &what);
        }
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let u32s = |dims: &[usize]| TensorType::u32(float(dims).shape);
    let ask = |blank, y: &[usize], targets: &[usize], lengths: &[usize], counts: &[usize]| {
        Ctc { blank }.infer(&[float(y), u32s(targets), u32s(lengths), u32s(counts)]).unwrap_err()
    };
    assert!(ask(0, &[4, 3], &[4, 2], &[4], &[4]).contains("must be [batch, time, classes], got [4, 3]"));
    assert!(ask(0, &[4, 0, 3], &[4, 2], &[4], &[4]).contains("[4, 0, 3] have no elements"));
    assert!(
        ask(3, &[4, 9, 3], &[4, 2], &[4], &[4]).contains("the blank is class 3, and there are 3 classes")
    );
    assert!(
        ask(0, &[4, 9, 3], &[8], &[4], &[4]).contains("targets [8] must be [4, labels], a row for each item")
    );
    assert!(ask(0, &[4, 9, 3], &[3, 2], &[4], &[4]).contains("targets [3, 2] must be [4, labels]"));
    assert!(ask(0, &[4, 9, 3], &[4, 0], &[4], &[4]).contains("have no column; where all are empty"));
    assert!(ask(0, &[4, 9, 3], &[4, 2], &[3], &[4]).contains("input lengths [3] must be [4], one for each"));
    assert!(ask(0, &[4, 9, 3], &[4, 2], &[4], &[4, 1]).contains("target lengths [4, 1] must be [4]"));
    assert!(ask(0, &[1, 70_000, 1], &[1, 70_000], &[1], &[1]).contains("2^32 - 1 elements"));
    let types = [float(&[4, 9, 3]), float(&[4, 2]), u32s(&[4]), u32s(&[4])];
    assert!(Ctc { blank: 0 }.infer(&types).unwrap_err().contains("input 1 must be u32"));
    let more = |alpha: &[usize], loss: &[usize]| {
        let own = [float(&[4, 9, 3]), u32s(&[4, 2]), u32s(&[4]), u32s(&[4])];
        CtcGrad { blank: 0 }
            .infer(&[&own[..], &[float(alpha), float(loss), float(&[4])]].concat())
            .unwrap_err()
    };
    assert!(more(&[4, 9, 4], &[4]).contains("alpha [4, 9, 4] must be [4, 9, 5]"));
    assert!(more(&[4, 9, 5], &[3]).contains("must be [4], got [3]"));
}

#[test]
fn lengths_and_labels_out_of_range_are_named() {
    let batch = || Batch::random(1, 2, [4, 3, 2], &[(4, &[0, 1]), (3, &[1])]);
    let of = |change: &dyn Fn(&mut Batch)| {
        let mut batch = batch();
        change(&mut batch);
        batch.refusal()
    };
    assert_eq!(of(&|b| b.lengths[1] = 5), "item 1 has the input length 5, above 4");
    assert_eq!(of(&|b| b.counts[0] = 3), "item 0 has the target length 3, above 2");
    assert_eq!(of(&|b| b.targets[1] = 3), "label 1 of item 0 is class 3, outside 0..3");
    assert_eq!(of(&|b| b.targets[2] = 2), "label 0 of item 1 is class 2, the blank");
    // The lengths reach the ends of their axes.
    let [n, times, classes, most] = batch().extents;
    let u32s = |dims: &[usize]| TensorType::u32(float(dims).shape);
    let types = [float(&[n, times, classes]), u32s(&[n, most]), u32s(&[n]), u32s(&[n])];
    assert_eq!(Ctc { blank: 2 }.traits().index_bounds(&types), [(2, 5), (3, 3)]);
}

#[test]
fn what_has_no_derivative_says_so() {
    let mistake = |of: for<'g> fn(&'g Graph, Vec<Var<'g>>, Var<'g>) -> Var<'g>| {
        let g = Graph::new();
        let (y, targets) = (g.input("y", [2, 4, 3]), g.classes("targets", [2, 2]));
        let lengths = [g.classes("lengths", [2]), g.classes("counts", [2])];
        let outputs = g.record(Ctc { blank: 0 }, &[y, targets, lengths[0], lengths[1]]);
        let scalar = of(&g, outputs, y);
        g.gradients(scalar, &[y]);
        g.error().unwrap().to_string()
    };
    assert!(mistake(|_, outputs, _| outputs[1].sum_all()).contains("has no derivative itself"));
    let second = mistake(|g, outputs, y| g.gradients(outputs[0].sum_all(), &[y])[0].square().sum_all());
    assert!(second.contains("no second derivative"), "{second}");
}
