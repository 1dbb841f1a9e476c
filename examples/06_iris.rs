//! Flowers in a table: columns to numbers, scaling that only training rows decide, and new rows treated alike.
//!
//! Run it with `cargo run --release --example 06_iris`.

use wgrad::data::{Holdout, Table, TableOptions, TablePreprocessor, iris};
use wgrad::nn::Mlp;
use wgrad::optim::{Adam, Schedule};
use wgrad::train::{Evaluator, Keep, Predictor, Trainer};
use wgrad::{Device, Params};

pub(crate) fn run(device: &Device) -> Result<(), Box<dyn std::error::Error>> {
    // Four lengths and a species. `Table::read_csv("flowers.csv")` reads a file of one's own.
    let table = iris()?;
    println!("{} rows of {}", table.len(), table.columns().join(", "));

    // The file is sorted by species, so that test rows are drawn, of each species as many. Scaling to mean 0 and
    // variance 1 is by the training rows alone: the test rows are new to it, as later rows will be.
    let holdout = Holdout { validation: 0.1, test: 0.2, seed: 1 };
    let (split, preprocessor) = table.split(&TableOptions::default().target("species"), &holdout)?;
    let test = split.test.clone();
    println!("{:?}\nfirst training row {:?}", split.train, split.train.row(0).unwrap_or_default());

    let params = Params::seeded(1);
    let model = Mlp::new(&params, &[preprocessor.width(), 64, preprocessor.classes().len()]).dropout(0.2);
    let report = Trainer::new(device, &model, &params, Adam::new(&params, 3e-3), split)
        .epochs(100)
        .batch(16)
        .schedule(|epoch, epochs| Schedule::Cosine.factor(epoch, epochs))
        .keep(Keep::Last)
        .run(&mut ())?;
    println!("\ntest: {:.1} % right, in {:.2} s", 100.0 * report.test.accuracy(), report.train_seconds);
    for (class, row) in Evaluator::new(device, &model, &test)?.run()?.confusion.iter().enumerate() {
        println!("{:>12} was taken for {row:?} of {:?}", test.class_name(class), test.class_names());
    }

    // Saved beside the weights, it prepares later rows: no species, and the columns in another order.
    let file = std::env::temp_dir().join(format!("wgrad-iris-{}.json", std::process::id()));
    preprocessor.save(&file)?;
    let preprocessor = TablePreprocessor::load(&file)?;
    std::fs::remove_file(file)?;
    let found =
        "petal_length_cm,petal_width_cm,sepal_length_cm,sepal_width_cm\n1.5,0.3,5.0,3.4\n5.9,2.2,6.7,3.1\n";
    let found = Table::from_bytes(found.as_bytes(), "found.csv", b',')?;
    let rows = preprocessor.rows(&found)?;
    let predictions = Predictor::new(device, &model, [preprocessor.width()])?.predict(&rows.values)?;
    let mut names = Vec::new();
    for row in 0..predictions.len() {
        let class = predictions.class(row);
        names.push(preprocessor.classes()[class].as_str());
        println!("flower {row}: {} with probability {:.3}", names[row], predictions.probability(row, class));
    }
    if report.test.accuracy() < 0.9 || names != ["setosa", "virginica"] {
        return Err(format!("only {} right, and {names:?}", report.test.accuracy()).into());
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    run(&Device::named("auto")?)
}
