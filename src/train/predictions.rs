//! What a classifier said of rows.

use crate::error::{Error, Result};

/// What a classifier said: for each row, how probable each class is.
#[derive(Debug, Clone, PartialEq)]
pub struct Predictions {
    pub(super) classes: usize,
    /// `[rows, classes]`: a probability too small for a float still has a logarithm.
    pub(super) log: Vec<f32>,
}

impl Predictions {
    /// The number of rows.
    pub fn len(&self) -> usize {
        self.log.len() / self.classes
    }

    /// Whether there are no rows: never so.
    pub fn is_empty(&self) -> bool {
        self.log.is_empty()
    }

    /// The number of classes.
    pub fn classes(&self) -> usize {
        self.classes
    }

    fn row(&self, row: usize) -> &[f32] {
        self.log.chunks(self.classes).nth(row).unwrap_or_default()
    }

    /// How probable `class` is for row `row`, from 0 to 1; 0 for a row or class that there is not.
    pub fn probability(&self, row: usize, class: usize) -> f64 {
        self.row(row).get(class).map_or(0.0, |&log| f64::from(log).exp())
    }

    /// The probabilities of a row, one per class, summing to 1; none past the last row.
    pub fn probabilities(&self, row: usize) -> Vec<f64> {
        self.row(row).iter().map(|&log| f64::from(log).exp()).collect()
    }

    /// The most probable class of a row, the first of several alike; 0 past the last row.
    pub fn class(&self, row: usize) -> usize {
        let mut best = 0;
        let row = self.row(row);
        for (class, log) in row.iter().enumerate() {
            if *log > row[best] {
                best = class;
            }
        }
        best
    }

    /// The `n` most probable classes of a row with their probabilities, the most probable first.
    pub fn top(&self, row: usize, n: usize) -> Vec<(usize, f64)> {
        let mut all: Vec<(usize, f64)> = self.probabilities(row).into_iter().enumerate().collect();
        all.sort_by(|a, b| b.1.total_cmp(&a.1));
        all.truncate(n);
        all
    }

    /// The cross-entropy of a row whose true class is `class`: -ln p. Infinite for a row or class that there
    /// is not.
    pub fn loss(&self, row: usize, class: usize) -> f64 {
        self.row(row).get(class).map_or(f64::INFINITY, |&log| -f64::from(log))
    }

    /// Rows of class `i` that were taken for class `j`, at `[i][j]`.
    ///
    /// # Errors
    /// [`Error::Invalid`] where there is not one label for each row, or one is no class.
    pub fn confusion(&self, labels: &[u32]) -> Result<Vec<Vec<u32>>> {
        if labels.len() != self.len() {
            return Err(Error::Invalid(format!("{} labels for {} rows", labels.len(), self.len())));
        }
        let mut counts = vec![vec![0; self.classes]; self.classes];
        for (row, &label) in labels.iter().enumerate() {
            let Some(of_label) = counts.get_mut(label as usize) else {
                return Err(Error::Invalid(format!(
                    "row {row} has class {label}, but the model tells {} classes apart, 0 to {}",
                    self.classes,
                    self.classes - 1
                )));
            };
            of_label[self.class(row)] += 1;
        }
        Ok(counts)
    }

    /// The rows that were taken for another class, with their losses, the worst first.
    ///
    /// # Errors
    /// As [`Predictions::confusion`].
    pub fn mistakes(&self, labels: &[u32]) -> Result<Vec<(usize, f64)>> {
        self.confusion(labels)?;
        let is_wrong = |&(row, &label): &(usize, &u32)| self.class(row) != label as usize;
        let mut wrong: Vec<(usize, f64)> = labels
            .iter()
            .enumerate()
            .filter(is_wrong)
            .map(|(row, &label)| (row, self.loss(row, label as usize)))
            .collect();
        wrong.sort_by(|a, b| b.1.total_cmp(&a.1));
        Ok(wrong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Device;
    use crate::Params;
    use crate::data::digits;
    use crate::nn::{Flatten, Mlp};
    use crate::train::{Evaluator, Predictor};

    /// Three rows: sure of class 1, sure of class 0, and even.
    fn three() -> Predictions {
        let p = [[0.125f32, 0.75, 0.125], [0.5, 0.25, 0.25], [0.25, 0.375, 0.375]];
        Predictions { classes: 3, log: p.as_flattened().iter().map(|p| p.ln()).collect() }
    }

    #[test]
    fn rows_classes_losses_and_mistakes() {
        let p = three();
        assert_eq!((p.len(), p.classes(), p.is_empty()), (3, 3, false));
        assert_eq!([0, 1, 2, 3].map(|row| p.class(row)), [1, 0, 1, 0]);
        approx::assert_relative_eq!(p.probability(0, 1), 0.75, epsilon = 1e-6);
        assert_eq!((p.probability(0, 3), p.probability(3, 0), p.loss(0, 3)), (0.0, 0.0, f64::INFINITY));
        assert_eq!(p.top(1, 2).iter().map(|t| t.0).collect::<Vec<_>>(), [0, 1]);
        approx::assert_relative_eq!(p.loss(1, 2), -(0.25f64.ln()), epsilon = 1e-6);
        assert_eq!(p.confusion(&[1, 1, 2]).unwrap(), [[0, 0, 0], [1, 1, 0], [0, 1, 0]]);
        let wrong: Vec<usize> = p.mistakes(&[1, 1, 2]).unwrap().iter().map(|m| m.0).collect();
        assert_eq!(wrong, [1, 2], "a loss of ln 4 before one of ln 8/3");
        assert!(p.confusion(&[0, 0]).unwrap_err().to_string().contains("2 labels for 3 rows"));
        assert!(p.mistakes(&[0, 3, 0]).unwrap_err().to_string().contains("row 1 has class 3"));
    }

    /// More rows than a batch, and rows left over: the same counts and loss as the evaluator's.
    #[test]
    fn agrees_with_the_evaluator() {
        let (_, test) = digits().unwrap();
        let params = Params::seeded(3);
        let model = Mlp::new(&params, &[64, 32, 10]);
        let device = Device::cpu();
        let evaluation = Evaluator::new(&device, &model, &test).unwrap().run().unwrap();
        let mut predictor = Predictor::new(&device, &model, [1, 8, 8]).unwrap();
        let p = predictor.predict_dataset(&test).unwrap();
        assert_eq!(p.confusion(test.labels()).unwrap(), evaluation.confusion);
        let loss: f64 = test.labels().iter().enumerate().map(|(i, &c)| p.loss(i, c as usize)).sum();
        approx::assert_relative_eq!(loss / 360.0, evaluation.scores.loss, epsilon = 1e-5);
        for row in 0..p.len() {
            approx::assert_relative_eq!(p.probabilities(row).iter().sum::<f64>(), 1.0, epsilon = 1e-5);
        }
        // One row alone says the same as among others.
        let alone = predictor.predict(&test.row(300).unwrap()).unwrap();
        approx::assert_relative_eq!(alone.probability(0, 3), p.probability(300, 3), epsilon = 1e-5);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let device = Device::cpu();
        let message = |e: Result<Predictor<'_>>| e.unwrap_err().to_string();
        assert!(message(Predictor::new(&device, Flatten, [2, 0])).contains("no values"));
        let mlp = Mlp::new(&Params::seeded(0), &[4, 3]);
        assert!(message(Predictor::new(&device, &mlp, [5])).contains("matmul"));
        let mut predictor = Predictor::new(&device, &mlp, [4]).unwrap();
        for n in [0, 3, 5] {
            let error = predictor.predict(&vec![0.0; n]).unwrap_err().to_string();
            assert!(error.contains(&format!("{n} values are no rows of shape [4]")), "{error}");
        }
        let (_, test) = digits().unwrap();
        assert!(predictor.predict_dataset(&test).unwrap_err().to_string().contains("[1, 8, 8]"));
    }
}
