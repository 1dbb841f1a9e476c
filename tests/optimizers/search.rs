//! L-BFGS.

use wgrad::optim::Lbfgs;
use wgrad::{Device, Graph, Init, Params};

use super::{devices, read};

/// A least-squares fit that gradient descent would take thousands of steps for; losses that are no numbers far away.
#[test]
fn lbfgs_finds_minima_in_few_evaluations() {
    for device in devices() {
        let params = Params::seeded(1);
        let w = params.param("w", [8, 1], Init::Constant(0.0));
        let g = Graph::new();
        let (x, y) = (g.input("x", [32, 8]), g.input("y", [32, 1]));
        let loss = (x.matmul(g.param(&w)) - y).square().mean_all();
        let mut lbfgs = Lbfgs::new(&device, &g, loss, &params.trainable()).unwrap().tolerance(1e-5);
        // Columns of very different sizes.
        let rows: Vec<f32> =
            (0..256).map(|i| ((i * 37 % 101) as f32 * 0.7).sin() * 3f32.powi((i % 8) / 2)).collect();
        let truth: Vec<f32> = (0..8).map(|j| (j as f32 * 1.3).cos()).collect();
        let of = |row: &[f32]| row.iter().zip(&truth).map(|(a, b)| a * b).sum::<f32>();
        let targets: Vec<f32> = rows.chunks(8).map(of).collect();
        lbfgs.feed("x", &rows).unwrap();
        lbfgs.feed("y", &targets).unwrap();
        let first = lbfgs.minimize(5).unwrap();
        assert_eq!(first.iterations, 5);
        let found = lbfgs.minimize(100).unwrap();
        assert!(found.converged && found.loss < 1e-8 && found.loss < first.loss, "{found:?}");
        assert!(first.evaluations + found.evaluations < 120, "{first:?} {found:?}");
        let off = read(&device, &[w]).iter().zip(&truth).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(off < 1e-3, "{off}");
    }
    let params = Params::seeded(1);
    let x = params.param("x", [1], Init::Constant(4.0));
    let g = Graph::new();
    // x - ln x, which is no number below 0, where the first steps lead.
    let loss = g.param(&x) - g.param(&x).log();
    let found = Lbfgs::new(&Device::cpu(), &g, loss, &params.trainable()).unwrap().minimize(50).unwrap();
    assert!((found.loss - 1.0).abs() < 1e-6 && found.converged, "{found:?}");
    // A start that is no number is an error.
    let g = Graph::new();
    let loss = (g.param(&x) * 0.0).log();
    let error = Lbfgs::new(&Device::cpu(), &g, loss, &params.trainable()).unwrap().minimize(5).unwrap_err();
    assert!(
        error.to_string().contains("starts from parameters whose loss and gradient are finite"),
        "{error}"
    );
    let g = Graph::new();
    let error = Lbfgs::new(&Device::cpu(), &g, g.full([1], 1.0), &params.trainable()).unwrap_err();
    assert!(error.to_string().contains("does not depend on any"), "{error}");
}
