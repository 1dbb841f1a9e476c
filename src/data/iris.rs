//! The flowers that come with the crate; `data/iris/README.md` says where they are from.

use super::Table;
use crate::error::Result;

/// 150 iris flowers, 50 of each of three species: four lengths in centimetres, and the species.
///
/// It is part of the library, so this reads no file. The rows are sorted by species; [`Table::split`] draws
/// training and test rows at random.
///
/// R. A. Fisher, "The use of multiple measurements in taxonomic problems", Annals of Eugenics 7, 1936; UCI Machine
/// Learning Repository, <https://doi.org/10.24432/C56C76>, CC BY 4.0.
///
/// ```
/// use wgrad::data::{Holdout, TableOptions, iris};
///
/// let (split, preprocessor) = iris()?.split(&TableOptions::default(), &Holdout::default())?;
/// assert_eq!((split.train.len(), split.validation.len(), split.test.len()), (105, 15, 30));
/// assert_eq!(preprocessor.classes(), ["setosa", "versicolor", "virginica"]);
/// # Ok::<(), wgrad::Error>(())
/// ```
///
/// # Errors
/// None that a user can cause: the content is fixed, and a test reads it.
pub fn iris() -> Result<Table> {
    Table::from_bytes(include_bytes!("../../data/iris/iris.csv"), "data/iris/iris.csv", b',')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_facts() {
        let table = iris().unwrap();
        assert_eq!((table.len(), table.columns().len()), (150, 5));
        assert_eq!(table.columns()[4], "species");
        let column = |c: usize| (0..150).map(move |row| (row, c));
        let number = |(row, c)| iris().unwrap().get(row, c).unwrap().parse::<f64>().unwrap();
        // The means that Fisher's tables give, times 150.
        for (c, sum) in [876.5, 458.6, 563.7, 179.9].into_iter().enumerate() {
            assert!((column(c).map(number).sum::<f64>() - sum).abs() < 1e-9, "{c}");
        }
        for (i, species) in ["setosa", "versicolor", "virginica"].into_iter().enumerate() {
            assert!((i * 50..i * 50 + 50).all(|row| table.get(row, 4) == Some(species)));
        }
        // The rows in which UCI's file differs from Fisher's table.
        let row = |row| (0..4).map(|c| table.get(row, c).unwrap()).collect::<Vec<_>>();
        assert_eq!((row(34), row(37)), (vec!["4.9", "3.1", "1.5", "0.2"], vec!["4.9", "3.6", "1.4", "0.1"]));
    }
}
