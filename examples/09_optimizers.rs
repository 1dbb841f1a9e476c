//! The paths of optimizers over four functions of two numbers: a curved valley (Rosenbrock), a flat plain with steep walls (Beale), a
//! quadratic that is a hundred times as steep one way as the other, and a saddle, which gradient descent is slow to leave.
//!
//! Run it with `cargo run --release --example 09_optimizers`: it writes `optimizers-*.svg` into the working directory.

use wgrad::optim::{Lbfgs, Optimizer, OptimizerKind};
use wgrad::{Device, Graph, Init, Params, Var};

/// A function, where to start, what to draw, its lowest value there, and the rate that suits Adam.
struct Landscape {
    name: &'static str,
    record: for<'g> fn(Var<'g>, Var<'g>) -> Var<'g>,
    #[cfg_attr(not(feature = "plots"), allow(dead_code))]
    value: fn(f64, f64) -> f64,
    start: [f32; 2],
    #[cfg_attr(not(feature = "plots"), allow(dead_code))]
    sides: [[f64; 2]; 2],
    rate: f32,
}

fn landscapes() -> [Landscape; 4] {
    [
        Landscape {
            name: "rosenbrock",
            record: |x, y| (x * -1.0 + 1.0).square() + (y - x.square()).square() * 100.0,
            value: |x, y| (1.0 - x).powi(2) + 100.0 * (y - x * x).powi(2),
            start: [-1.2, 1.0],
            sides: [[-1.8, 1.8], [-0.8, 2.4]],
            rate: 0.02,
        },
        Landscape {
            name: "beale",
            record: |x, y| {
                (x * y - x + 1.5).square()
                    + (x * y.square() - x + 2.25).square()
                    + (x * y.square() * y - x + 2.625).square()
            },
            value: |x, y| {
                (1.5 - x + x * y).powi(2)
                    + (2.25 - x + x * y * y).powi(2)
                    + (2.625 - x + x * y.powi(3)).powi(2)
            },
            start: [1.0, 1.5],
            sides: [[-1.0, 4.5], [-1.5, 2.0]],
            rate: 0.02,
        },
        Landscape {
            name: "quadratic",
            record: |x, y| x.square() * 0.5 + y.square() * 50.0,
            value: |x, y| 0.5 * x * x + 50.0 * y * y,
            start: [-4.0, 0.8],
            sides: [[-5.0, 2.0], [-1.2, 1.2]],
            rate: 0.05,
        },
        Landscape {
            // Lowest at y = ±1; along y = 0 it only looks like a valley.
            name: "saddle",
            record: |x, y| x.square() + (y.square() - 1.0).square(),
            value: |x, y| x * x + (y * y - 1.0).powi(2),
            start: [1.5, 1e-3],
            sides: [[-1.0, 2.0], [-1.6, 1.6]],
            rate: 0.02,
        },
    ]
}

const STEPS: usize = 400;

/// The points that an optimizer goes through, and the function there at last.
fn path(device: &Device, landscape: &Landscape, kind: OptimizerKind) -> wgrad::Result<(Vec<[f64; 2]>, f32)> {
    let params = Params::seeded(1);
    let [x, y] = ["x", "y"].map(|name| params.param(name, [1], Init::Constant(0.0)));
    let g = Graph::new();
    let loss = (landscape.record)(g.param(&x), g.param(&y));
    g.output("loss", loss);
    // Momentum grows steps tenfold, and the walls are steep: descent takes rates of its own.
    let rate = match kind {
        OptimizerKind::Sgd => 0.05 * landscape.rate,
        OptimizerKind::Momentum | OptimizerKind::Nesterov => 0.015 * landscape.rate,
        // Its first steps are those of momentum.
        OptimizerKind::RAdam => 0.05 * landscape.rate,
        kind => kind.rate(landscape.rate),
    };
    kind.build(&params, rate, Some(0.0)).minimize(loss, &params.trainable());
    let mut step = device.compile(&g)?;
    device.write_param(&x, &landscape.start[..1])?;
    device.write_param(&y, &landscape.start[1..])?;
    let mut points = vec![landscape.start.map(f64::from)];
    for _ in 0..STEPS {
        step.run()?;
        let at = |param| Ok::<f64, wgrad::Error>(f64::from(device.read_param(param)?.as_f32()[0]));
        points.push([at(&x)?, at(&y)?]);
    }
    // The loss of a step is that before its update.
    step.run()?;
    Ok((points, step.scalar("loss")?))
}

/// What L-BFGS reaches, and with how many evaluations.
fn lbfgs(device: &Device, landscape: &Landscape) -> wgrad::Result<(f32, usize)> {
    let params = Params::seeded(1);
    let [x, y] = [("x", 0), ("y", 1)].map(|(n, i)| params.param(n, [1], Init::Constant(landscape.start[i])));
    let g = Graph::new();
    let loss = (landscape.record)(g.param(&x), g.param(&y));
    let found = Lbfgs::new(device, &g, loss, &params.trainable())?.minimize(200)?;
    Ok((found.loss, found.evaluations))
}

pub(crate) fn run(device: &Device, draw: bool) -> Result<(), Box<dyn std::error::Error>> {
    for landscape in &landscapes() {
        let start = (landscape.value)(f64::from(landscape.start[0]), f64::from(landscape.start[1]));
        println!("{}: {start:.4} at the start, after {STEPS} steps:", landscape.name);
        let mut paths = Vec::new();
        for kind in OptimizerKind::all() {
            let (points, last) = path(device, landscape, kind)?;
            println!("  {:10} {last:.2e}", kind.name());
            // Adadelta's first steps are about the root of its eps, which takes it a while.
            if !(f64::from(last) < 0.9 * start || kind == OptimizerKind::Adadelta && f64::from(last) < start)
            {
                return Err(format!("{kind} came from {start} to {last} on {}", landscape.name).into());
            }
            paths.push((kind.name().to_string(), points));
        }
        let (last, evaluations) = lbfgs(device, landscape)?;
        println!("  {:10} {last:.2e} with {evaluations} evaluations", "lbfgs");
        if last > 1e-6 {
            return Err(format!("L-BFGS found {last} on {}", landscape.name).into());
        }
        #[cfg(feature = "plots")]
        if draw {
            let [x, y] = landscape.sides;
            // As many as there are colours.
            for (i, some) in paths.chunks(6).enumerate() {
                let svg = wgrad::plots::paths(landscape.name, landscape.value, x, y, some)?;
                let file = format!("optimizers-{}-{}.svg", landscape.name, i + 1);
                wgrad::plots::save(&file, &svg)?;
                println!("  drew {file}");
            }
        }
        #[cfg(not(feature = "plots"))]
        let _ = (draw, paths);
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    run(&Device::named("auto")?, true)
}
