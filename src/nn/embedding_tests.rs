//! Embeddings and positions against `tests/golden/embeddings.csv`, by PyTorch and complex numbers, and what they are known by.

use super::*;
use crate::golden_tests::{Numbers, Worst, devices, golden, in_f64, on, weighed};
use crate::graph::{Graph, Params};
use crate::rng::Rng;
use crate::tensor::Data;
use crate::{Result, Tensor};

const GOLDEN: &str = include_str!("../../tests/golden/embeddings.csv");

/// Records the case of this name: what its gradient is taken by, and its output.
fn record<'g>(g: &'g Graph, name: &str, x: &Numbers, classes: Option<&Numbers>) -> [Var<'g>; 2] {
    let (name, variant) = name.split_once('/').unwrap_or((name, ""));
    let (name, number) = name.split_once('=').map_or((name, None), |(name, n)| (name, n.parse().ok()));
    if let Some(classes) = classes {
        let values: Vec<f32> = x.values.iter().map(|&x| x as f32).collect();
        let table = Tensor::new(&x.shape[..], values).unwrap();
        let layer = Embedding::pretrained(&Params::seeded(1).at("words"), table);
        let layer = if let Some(index) = number { layer.padding(index) } else { layer };
        return [g.param(layer.weight()), layer.forward(g.classes("classes", &classes.shape[..]))];
    }
    let (x, offset) = (g.input("x", &x.shape[..]), number.unwrap() as usize);
    let rotary = RotaryPositions::new().offset(offset);
    let y = match (name, variant) {
        ("sinusoidal", _) => SinusoidalPositions::new().offset(offset).forward(x),
        ("rotary", "pairs") => rotary.forward(x),
        ("rotary", "halves") => rotary.halves().forward(x),
        ("rotary", "pairs-base") => rotary.base(500.0).forward(x),
        ("rotary", "halves-base") => rotary.base(500.0).halves().forward(x),
        other => panic!("{other:?}"),
    };
    [x, y]
}

/// The largest difference from the file.
fn worst(of: impl Fn(&Graph, &[(String, Numbers)], &[String]) -> Vec<Vec<f64>>) -> Worst {
    let mut worst = Worst::default();
    for (name, tensors) in golden(GOLDEN) {
        let find = |what: &str| tensors.iter().find(|t| t.what == what);
        let (x, classes) = (find("input").unwrap(), find("classes"));
        let g = Graph::new();
        let [by, y] = record(&g, &name, x, classes);
        g.output("y", y);
        g.output("d", g.gradients(weighed(y), &[by])[0]);
        assert!(g.error().is_none(), "{name}: {:?}", g.error());
        let fed = match classes {
            Some(classes) => vec![("classes".to_string(), classes.clone())],
            None => vec![("x".to_string(), x.clone())],
        };
        let found = of(&g, &fed, &["y".to_string(), "d".to_string()]);
        for (found, expected) in found.iter().zip([find("out").unwrap(), find("gradient").unwrap()]) {
            worst.compare(&name, found, expected, 1.0);
        }
    }
    assert!(worst.compared > 5000, "{}", worst.compared);
    worst
}

/// The tables are rounded to f32, also where the rest is in f64.
#[test]
fn values_and_gradients_are_those_of_pytorch_and_complex_numbers() {
    let Worst { off, what: worst, .. } = worst(in_f64);
    println!("off by {off:e} at most: {worst}");
    assert!(off < 4e-7, "{off:e}: {worst}");
}

#[test]
fn kernels_give_the_same() {
    for device in devices() {
        let Worst { off, what: worst, .. } = worst(|g, fed, labels| on(&device, g, fed, labels));
        println!("off by {off:e} at most: {worst}");
        assert!(off < 1e-5, "{off:e} on {device:?}: {worst}");
    }
}

/// q and k at their positions, turned, and their inner product.
fn product(layer: RotaryPositions, q: [&[f32]; 2], at: [usize; 2]) -> Result<f32> {
    let g = Graph::new();
    let turned = [0, 1].map(|i| {
        let x = g.constant(Tensor::new([1, q[i].len()], q[i].to_vec()).unwrap());
        layer.offset(at[i]).forward(x)
    });
    g.output("product", (turned[0] * turned[1]).sum_all());
    let mut step = crate::Device::cpu().compile(&g)?;
    step.run()?;
    step.scalar("product")
}

#[test]
fn inner_products_of_turned_vectors_depend_on_distances() -> Result<()> {
    let value = |i: usize| ((i * 37 % 23) as f32 - 11.0) / 8.0;
    let [q, k]: [Vec<f32>; 2] = [0, 5].map(|first| (first..first + 12).map(value).collect());
    let length = q.iter().map(|x| x * x).sum::<f32>();
    for layer in [RotaryPositions::new(), RotaryPositions::new().halves()] {
        let mut of_distances = Vec::new();
        for distance in [0, 1, 2, 7, 40] {
            let all = [0, 1, 13, 200].map(|at| product(layer, [&q, &k], [at + distance, at]));
            let [first, others @ ..] = all;
            let first = first?;
            for other in others {
                let other = other?;
                assert!(
                    (other - first).abs() < 1e-4,
                    "{layer:?} at distance {distance}: {other} is not {first}"
                );
            }
            of_distances.push(first);
            // A rotation: lengths stay.
            assert!((product(layer, [&q, &q], [distance, distance])? - length).abs() < 1e-4 * length);
        }
        // They do depend on them, in either direction, and at distance 0 nothing is turned.
        let plain: f32 = q.iter().zip(&k).map(|(q, k)| q * k).sum();
        assert!((of_distances[0] - plain).abs() < 1e-4);
        assert!(of_distances.windows(2).all(|d| (d[0] - d[1]).abs() > 0.01), "{of_distances:?}");
        let back = product(layer, [&q, &k], [3, 10])?;
        assert!((back - of_distances[3]).abs() > 0.01, "{layer:?}: {back}");
    }
    Ok(())
}

fn initial(layer: &Embedding) -> Vec<f32> {
    let Data::F32(values) = layer.weight().initial() else { panic!("no floats") };
    values
}

#[test]
fn a_table_starts_standard_normal_but_for_its_padding() {
    let params = Params::seeded(7);
    let plain = initial(&Embedding::new(&params.at("words"), 1000, 20));
    let padded = initial(&Embedding::new(&Params::seeded(7).at("words"), 1000, 20).padding(3));
    assert!(padded[60..80].iter().all(|x| *x == 0.0) && padded[..60] == plain[..60]);
    assert_eq!(padded[80..], plain[80..]);
    let n = plain.len() as f64;
    let mean = plain.iter().map(|&x| f64::from(x)).sum::<f64>() / n;
    let variance = plain.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / n;
    assert!(
        mean.abs() < 4.0 / n.sqrt() && (variance - 1.0).abs() < 4.0 * (2.0 / n).sqrt(),
        "{mean} {variance}"
    );
    let names: Vec<String> = params.trainable().iter().map(|p| p.name().to_string()).collect();
    assert_eq!(names, ["words.weight"]);
}

#[test]
fn pretrained_tables_stay_as_they_are() {
    let params = Params::seeded(1);
    let table = Tensor::new([3, 2], vec![1f32, 2.0, 3.0, 4.0, 5.0, 6.0]).unwrap();
    let layer = Embedding::pretrained(&params.at("words"), table).padding(1);
    assert_eq!(initial(&layer), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    assert!(params.trainable().is_empty());
    layer.weight().set_trainable(true);
    assert_eq!(params.trainable().len(), 1);
}

/// Rows are added in the order of their positions, whichever kernel does it: sums of numbers of any size tell.
#[test]
fn gradients_have_the_same_bits_on_all_devices() {
    let mut rng = Rng::new(5, "bits");
    for (rows, width, count) in [(40, 3, 90), (700, 8, 1500), (9, 64, 5000), (3000, 4, 300)] {
        // Half of all positions have one number.
        let index: Vec<u32> =
            (0..count).map(|i| if i % 2 == 0 { 5 } else { rng.below(rows as u32) }).collect();
        let dy: Vec<f32> =
            (0..count * width).map(|_| (rng.normal() * (10.0 * rng.uniform()).exp()) as f32).collect();
        let mut first: Option<Vec<f32>> = None;
        for device in devices() {
            let g = Graph::new();
            let (table, x) = (g.input("table", [rows, width]), g.input("dy", [count, width]));
            let y = table.take_rows(g.classes("index", [count]));
            g.output("d", g.gradients((y * x).sum_all(), &[table])[0]);
            let mut step = device.compile(&g).unwrap();
            step.feed("index", &index[..]).unwrap();
            step.feed("dy", &dy[..]).unwrap();
            step.run().unwrap();
            let d = step.values("d").unwrap();
            let wanted = first.get_or_insert_with(|| d.clone());
            let differ = d.iter().zip(&*wanted).position(|(a, b)| a.to_bits() != b.to_bits());
            assert_eq!(differ, None, "{rows} rows, {count} numbers, {device:?}");
        }
    }
}

/// The second derivative of what gets no gradient is that of a row of zeros.
#[test]
fn padding_gets_no_second_derivative() {
    for device in devices() {
        let g = Graph::new();
        let (table, dy) = (g.input("table", [3, 2]), g.input("dy", [4, 2]));
        let index = g.constant(Tensor::new([4], vec![2u32, 1, 2, 0]).unwrap());
        let d = g.gradients((table.take_rows_but(index, Some(2)) * dy).sum_all(), &[table])[0];
        g.output("d", d);
        g.output("second", g.gradients((d * table).sum_all(), &[dy])[0]);
        let mut step = device.compile(&g).unwrap();
        step.feed("table", &[1f32, 2.0, 3.0, 4.0, 5.0, 6.0]).unwrap();
        step.feed("dy", &[1f32, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]).unwrap();
        step.run().unwrap();
        assert_eq!(step.values("d").unwrap(), [7.0, 8.0, 3.0, 4.0, 0.0, 0.0], "{device:?}");
        let second = [0.0, 0.0, 3.0, 4.0, 0.0, 0.0, 1.0, 2.0];
        assert_eq!(step.values("second").unwrap(), second, "{device:?}");
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let message = |record: &dyn for<'g> Fn(&'g Graph, &Params)| {
        let g = Graph::new();
        record(&g, &Params::seeded(1).at("layer"));
        g.error().map_or_else(String::new, |e| e.to_string())
    };
    type Case = (fn(&Graph, &Params), &'static str);
    let cases: [Case; 11] = [
        (|g, p| _ = Embedding::new(p, 5, 2).forward(g.input("x", [3])), "must be u32"),
        (|g, p| _ = Embedding::new(p, 5, 2).padding(5).forward(g.classes("x", [3])), "of a table of 5 rows"),
        (|g, p| _ = Embedding::new(p, 0, 2).padding(5).forward(g.classes("x", [3])), "shape [0, 2]"),
        (
            |g, p| {
                _ = Embedding::pretrained(p, Tensor::new([4], vec![0f32; 4]).unwrap())
                    .forward(g.classes("x", [3]))
            },
            "a table is [rows, width]",
        ),
        (
            |g, p| {
                _ = Embedding::pretrained(p, Tensor::new([2, 2], vec![0u32; 4]).unwrap())
                    .forward(g.classes("x", [3]))
            },
            "its initial values are u32",
        ),
        (|g, p| _ = LearnedPositions::new(p, 4, 2).offset(2).forward(g.input("x", [3, 2])), "3 from 2 on"),
        (
            |g, p| _ = LearnedPositions::new(p, 4, 2).offset(usize::MAX).forward(g.input("x", [3, 2])),
            "4 positions",
        ),
        (|g, p| _ = LearnedPositions::new(p, 4, 2).forward(g.input("x", [3, 3])), "of width 3"),
        (|g, _| _ = SinusoidalPositions::new().forward(g.input("x", [3])), "[.., time, width]"),
        (|g, _| _ = RotaryPositions::new().forward(g.input("x", [3, 5])), "a width of 5"),
        (|g, _| _ = RotaryPositions::new().base(0.0).forward(g.input("x", [3, 4])), "above 0"),
    ];
    for (record, part) in cases {
        let text = message(&record);
        assert!(text.contains(part), "{text}, not {part}");
    }
}
