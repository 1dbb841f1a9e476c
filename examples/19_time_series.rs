//! A forecast, and what it must be compared with: next year's sunspots, from those of the 24 years before. The last year again, and the
//! year eleven years ago (the length of the cycle), are what anyone can say without learning; a linear function of the last years
//! is what statisticians would say (an autoregression: Yule, Phil. Trans. R. Soc. A 226, 1927, on this very series). A GRU looks at the years in
//! turn. Years are never shuffled: what is tested is later than what chose the weights, which is later than what was trained on.
//!
//! Run it with `cargo run --release --example 19_time_series`.

use wgrad::data::{Dataset, Split, Table};
use wgrad::losses::mse;
use wgrad::nn::{Layer, Linear, Recurrent};
use wgrad::optim::{Adam, Lbfgs};
use wgrad::train::{Predictor, Trainer};
use wgrad::{Device, Graph, Params, Result, Tensor, Var};

/// Years that a forecast sees.
const WINDOW: usize = 24;
/// Roots of the numbers are forecast, a tenth of them: their spread is about the same in strong cycles and in weak ones.
const UNIT: f32 = 10.0;

/// The change from the last year to the next, by a GRU over the years.
struct Gru {
    network: Recurrent,
    head: Linear,
}

impl Layer for Gru {
    fn forward<'g>(&self, x: Var<'g>) -> Var<'g> {
        let rows = x.dim(0);
        let last = |of: Var<'g>| of.slice(1, WINDOW - 1, 1).reshape([rows, of.dim(2)]);
        last(x) + self.head.forward(last(self.network.forward(x)))
    }
}

/// The next year by a linear function of the last few.
struct Autoregression {
    linear: Linear,
    years: usize,
}

impl Autoregression {
    /// The one with the least squares, which L-BFGS finds to all digits.
    fn fitted(device: &Device, years: usize, data: &Dataset) -> Result<Self> {
        let params = Params::seeded(1);
        let model = Autoregression { linear: Linear::new(&params, years, 1), years };
        let g = Graph::new();
        let constant = |values: Vec<f32>, shape: &[usize]| Ok(g.constant(Tensor::new(shape, values)?));
        let x = constant(data.values().to_floats().into_owned(), &[data.len(), WINDOW, 1])?;
        let y = (0..data.len()).flat_map(|row| data.target(row).unwrap_or_default()).collect();
        let loss = mse(model.forward(x), constant(y, &[data.len(), 1])?);
        Lbfgs::new(device, &g, loss, &params.trainable())?.minimize(500)?;
        Ok(model)
    }
}

impl Layer for Autoregression {
    fn forward<'g>(&self, x: Var<'g>) -> Var<'g> {
        self.linear.forward(x.flatten(1).slice(1, WINDOW - self.years, self.years))
    }
}

/// Windows that end before the years `from..to`, and those years.
fn windows(series: &[f32], from: usize, to: usize) -> Result<Dataset> {
    let x: Vec<f32> = (from..to).flat_map(|t| &series[t - WINDOW..t]).copied().collect();
    Dataset::regression("sunspots", [WINDOW, 1], x, [1], series[from..to].to_vec())
}

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    run(&Device::named("auto")?)
}

pub(crate) fn run(device: &Device) -> std::result::Result<(), Box<dyn std::error::Error>> {
    let path = "data/sunspots/yearly.csv";
    let table = Table::from_bytes(include_bytes!("../data/sunspots/yearly.csv"), path, b',')?;
    let numbers: Vec<f32> = (0..table.len())
        .map(|row| table.get(row, 1).unwrap_or_default().parse())
        .collect::<std::result::Result<_, _>>()?;
    let series: Vec<f32> = numbers.iter().map(|x| x.sqrt() / UNIT).collect();
    // From 1700 on: trained on until 1920, chosen by until 1955, tested from 1956 to 2008.
    let [chosen, tested, end] = [221, 256, series.len()];
    let split = Split {
        train: windows(&series, WINDOW, chosen)?,
        validation: windows(&series, chosen, tested)?,
        test: windows(&series, tested, end)?,
    };

    // The root of the mean squared error, in sunspots, of forecasts for the years from one on.
    let error = |forecast: &[f32], from: usize| {
        let squares = forecast.iter().zip(&numbers[from..]).map(|(f, x)| f64::from(f - x).powi(2));
        (squares.sum::<f64>() / forecast.len() as f64).sqrt()
    };
    let error_of = |model: &dyn Layer, data: &Dataset, from: usize| -> Result<f64> {
        let forecast = Predictor::of(device, model, data)?.outputs_of(data)?;
        let back: Vec<f32> = forecast.as_f32().iter().map(|x| (x.max(0.0) * UNIT).powi(2)).collect();
        Ok(error(&back, from))
    };
    println!("next year's sunspots, 1956 to 2008: root of the mean squared error");
    println!("the last year again            {:5.1}", error(&numbers[tested - 1..end - 1], tested));
    println!("eleven years ago               {:5.1}", error(&numbers[tested - 11..end - 11], tested));
    let mut linear = Vec::new();
    for years in [1, 2, 3, 6, 9, 12, WINDOW] {
        let model = Autoregression::fitted(device, years, &split.train)?;
        linear.push((error_of(&model, &split.validation, chosen)?, years, model));
    }
    let (_, years, model) = linear.into_iter().min_by(|a, b| a.0.total_cmp(&b.0)).ok_or("no model")?;
    let baseline = error_of(&model, &split.test, tested)?;
    println!("a linear function of {years:>2} years {baseline:6.1}");
    let mut errors = Vec::new();
    for seed in 1..=3 {
        let params = Params::seeded(seed);
        let network = Recurrent::gru(&params.at("network"), 1, 16);
        let gru = Gru { network, head: Linear::new(&params.at("head"), 16, 1) };
        let trainer = Trainer::new(device, &gru, &params, Adam::new(&params, 1e-2), split.clone());
        trainer.epochs(100).batch(32).choose_by("loss").run(&mut ())?;
        errors.push(error_of(&gru, &split.test, tested)?);
        println!("a GRU, seed {seed}                  {:5.1}", errors[errors.len() - 1]);
    }
    errors.sort_by(f64::total_cmp);
    // With other rounding, on another device, a little may differ.
    if errors[1] > 1.1 * baseline {
        return Err(format!("the GRU is off by {}, a linear function by {baseline}", errors[1]).into());
    }
    Ok(())
}
