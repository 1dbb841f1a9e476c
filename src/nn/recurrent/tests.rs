//! Layers against `tests/golden/recurrent.csv`, by PyTorch, and `tests/golden/onnx_recurrent.csv`, by ONNX, and what is refused.

use std::sync::Arc;

use super::*;
use crate::golden_tests::{Numbers, Worst, devices, golden, in_f64, on, weighed};
use crate::graph::{Graph, Init};
use crate::rng::Rng;
use crate::{Device, Result, Tensor};

const PYTORCH: &str = include_str!("../../../tests/golden/recurrent.csv");
const ONNX: &str = include_str!("../../../tests/golden/onnx_recurrent.csv");

fn noise(n: usize) -> Vec<f64> {
    let mut rng = Rng::new(7, "recurrent");
    (0..n).map(|_| rng.normal()).collect()
}

/// The layer that a name says, with these weights.
fn layer(name: &str, inputs: usize, weights: &[&Numbers]) -> Recurrent {
    let words: Vec<&str> = name.split('/').collect();
    let kind = match words[0] {
        "tanh" => RecurrentKind::Tanh,
        "relu" => RecurrentKind::Relu,
        "lstm" => RecurrentKind::Lstm,
        "gru" => RecurrentKind::Gru,
        "gru-before" => RecurrentKind::GruResetBefore,
        other => panic!("{other}"),
    };
    let is = |option: &str| words.contains(&option);
    let options = RecurrentOptions {
        layers: words[1].parse().unwrap(),
        is_bidirectional: is("bidirectional"),
        has_bias: !is("no-bias"),
        is_time_first: is("time-first"),
        ..Default::default()
    };
    let params = Params::seeded(1);
    let mut layer = Recurrent::with(&params, kind, inputs, weights[1].shape[1], options);
    let mut given = weights.iter();
    for cell in &mut layer.cells {
        let own = cell.weights.iter_mut().chain(cell.biases.iter_mut().flatten());
        for param in own {
            let given = given.next().unwrap();
            assert_eq!(param.shape().dims(), given.shape, "{name}: {}", param.name());
            let values: Vec<f32> = given.values.iter().map(|&x| x as f32).collect();
            let values = Init::Values(Arc::new(Tensor::new(&given.shape[..], values).unwrap()));
            *param = params.param(&format!("given.{}", param.name()), &given.shape[..], values);
        }
    }
    assert!(given.next().is_none(), "{name}");
    layer
}

/// The largest difference from a file, over the largest number of a tensor or, where that is less, 1; how many numbers were
/// compared.
fn worst(file: &str, of: impl Fn(&Graph, &[(String, Numbers)], &[String]) -> Vec<Vec<f64>>) -> Worst {
    let mut worst = Worst::default();
    for (name, tensors) in golden(file) {
        let all = |what: &str| tensors.iter().filter(|t| t.what == what).collect::<Vec<_>>();
        let (inputs, classes, weights) = (all("input"), all("classes"), all("weight"));
        let layer = layer(&name, inputs[0].shape[2], &weights);
        let g = Graph::new();
        let mut fed = Vec::new();
        let vars: Vec<Var<'_>> = inputs
            .iter()
            .enumerate()
            .map(|(i, t)| {
                fed.push((format!("x{i}"), (*t).clone()));
                g.input(&format!("x{i}"), &t.shape[..])
            })
            .collect();
        let lengths = classes.first().map(|t| {
            fed.push(("lengths".into(), (*t).clone()));
            g.classes("lengths", &t.shape[..])
        });
        let initial = (vars.len() > 1).then_some(&vars[1..]);
        let found = layer.run(vars[0], initial, lengths);
        let mut outs = vec![found.output];
        outs.extend(found.states);
        let mut values = match name.contains("test_") {
            // ONNX's cases have a last state alone.
            true => vec![outs[1 + usize::from(name.contains("/cells/"))]],
            false => outs.clone(),
        };
        if !all("gradient").is_empty() {
            let params = layer.cells.iter().flat_map(|c| c.weights.iter().chain(c.biases.iter().flatten()));
            let by: Vec<Var<'_>> = vars.iter().copied().chain(params.map(|p| g.param(p))).collect();
            let loss = outs.iter().map(|y| weighed(*y)).reduce(|a, b| a + b).unwrap();
            values.extend(g.gradients(loss, &by));
        }
        assert!(g.error().is_none(), "{name}: {:?}", g.error());
        let labels: Vec<String> = (0..values.len()).map(|i| format!("y{i}")).collect();
        labels.iter().zip(&values).for_each(|(label, v)| g.output(label, *v));
        let expected: Vec<&Numbers> = [all("out"), all("gradient")].concat();
        assert_eq!(expected.len(), labels.len(), "{name}");
        for (found, expected) in of(&g, &fed, &labels).iter().zip(expected) {
            worst.compare(&name, found, expected, expected.size());
        }
    }
    worst
}

#[test]
fn values_and_gradients_are_those_of_pytorch() {
    let Worst { off, what: worst, compared } = worst(PYTORCH, in_f64);
    println!("off by {off:e} at most, of {compared}: {worst}");
    assert!(off < 1e-11 && compared > 7000, "{off:e}: {worst}");
}

#[test]
fn kernels_give_the_same() {
    for device in devices() {
        let Worst { off, what: worst, .. } = worst(PYTORCH, |g, fed, labels| on(&device, g, fed, labels));
        println!("off by {off:e} at most: {worst}");
        assert!(off < 1e-5, "{off:e} on {device:?}: {worst}");
    }
}

/// Its numbers are rounded to f32.
#[test]
fn values_are_those_of_onnx() {
    let Worst { off, what: worst, compared } = worst(ONNX, in_f64);
    println!("off by {off:e} at most, of {compared}: {worst}");
    assert!(off < 1e-6 && compared > 150, "{off:e}: {worst}");
}

/// The layer and its cell over time are the same network, with the same initial values.
#[test]
fn a_cell_over_time_is_its_layer() {
    for kind in [RecurrentKind::Tanh, RecurrentKind::Relu, RecurrentKind::Lstm, RecurrentKind::Gru] {
        let params = Params::seeded(3);
        let layer = Recurrent::new(&params.at("net"), kind, 3, 4);
        let g = Graph::new();
        let (x, lengths) = (g.input("x", [2, 5, 3]), g.classes("lengths", [2]));
        let of_layer = layer.run(x, None, Some(lengths));
        let of_cell = over_time(&layer.cells()[0], x, None, Some(lengths));
        let states = of_layer.states.iter().map(|v| v.reshape([2, 4]));
        let mut all: Vec<Var<'_>> = [of_layer.output].into_iter().chain(states).collect();
        all.push(of_cell.output);
        all.extend(&of_cell.states);
        let labels: Vec<String> = (0..all.len()).map(|i| format!("y{i}")).collect();
        labels.iter().zip(&all).for_each(|(label, v)| g.output(label, *v));
        let numbers =
            |what: &str, shape: &[usize], values| Numbers { what: what.into(), shape: shape.into(), values };
        let fed = [
            ("x".to_string(), numbers("input", &[2, 5, 3], noise(30))),
            ("lengths".to_string(), numbers("classes", &[2], vec![3.0, 5.0])),
        ];
        let values = in_f64(&g, &fed, &labels);
        let (of_layer, of_cell) = values.split_at(values.len() / 2);
        for (a, b) in of_layer.iter().flatten().zip(of_cell.iter().flatten()) {
            assert!((a - b).abs() < 1e-14, "{kind:?}: {a} {b}");
        }
        assert!(of_layer[0][3 * 4..5 * 4].iter().all(|&y| y == 0.0));
    }
}

/// Twenty times in one step, or in four steps of five whose state is carried over.
#[test]
fn a_carried_state_goes_on_where_the_last_step_ended() -> Result<()> {
    for kind in [RecurrentKind::Lstm, RecurrentKind::Gru, RecurrentKind::GruResetBefore] {
        let params = Params::seeded(5);
        let options = RecurrentOptions::default().layers(2);
        let layer = Recurrent::with(&params.at("net"), kind, 2, 4, options);
        let carried = Carried::new(&params.at("net"), &layer, 3);
        let x: Vec<f32> = noise(3 * 20 * 2).into_iter().map(|v| v as f32).collect();
        let device = Device::cpu();
        let whole = Graph::inference();
        whole.output("y", layer.forward(whole.input("x", [3, 20, 2])));
        let mut whole = device.compile(&whole)?;
        whole.feed("x", &x)?;
        whole.run()?;
        let whole = whole.values("y")?;
        let part = Graph::inference();
        part.output("y", carried.run(&layer, part.input("x", [3, 5, 2])).output);
        let mut part = device.compile(&part)?;
        for k in 0..4 {
            let rows = (0..3).flat_map(|row| x[row * 40 + k * 10..][..10].to_vec());
            part.feed("x", &rows.collect::<Vec<f32>>())?;
            part.run()?;
            let y = part.values("y")?;
            for row in 0..3 {
                assert_eq!(y[row * 20..][..20], whole[row * 80 + k * 20..][..20], "{kind:?}: {k}");
            }
        }
    }
    Ok(())
}

/// Between layers alone, in training alone.
#[test]
fn dropout_is_between_layers() -> Result<()> {
    let values = |layers: usize, training: bool, p: f32| -> Result<Vec<f32>> {
        let params = Params::seeded(5);
        let options = RecurrentOptions::default().layers(layers).dropout(p);
        let layer = Recurrent::with(&params.at("net"), RecurrentKind::Gru, 2, 8, options);
        let g = if training { Graph::new() } else { Graph::inference() };
        g.output("y", layer.forward(g.input("x", [2, 3, 2])));
        let mut step = Device::cpu().compile(&g)?;
        step.feed("x", &[0.5f32; 12])?;
        step.run()?;
        step.values("y")
    };
    assert_eq!(values(1, true, 0.5)?, values(1, false, 0.5)?);
    assert_eq!(values(2, false, 0.5)?, values(2, true, 0.0)?);
    assert_ne!(values(2, true, 0.5)?, values(2, true, 0.0)?);
    Ok(())
}

#[test]
fn what_does_not_fit_is_refused() {
    let params = Params::seeded(1);
    let lstm = Recurrent::lstm(&params.at("lstm"), 3, 4);
    let message = |record: &dyn for<'g> Fn(&'g Graph) -> Sequence<'g>| {
        let g = Graph::new();
        let _ = record(&g);
        g.error().map_or_else(String::new, |e| e.to_string())
    };
    assert!(message(&|g| lstm.run(g.input("x", [2, 5, 3]), None, None)).is_empty());
    assert!(
        message(&|g| lstm.run(g.input("x", [5, 3]), None, None)).contains("must have three axes, got [5, 3]")
    );
    let one_state = message(&|g| lstm.run(g.input("x", [2, 5, 3]), Some(&[g.input("h", [1, 2, 4])]), None));
    assert!(one_state.contains("there are 2 states, got 1"), "{one_state}");
    let batch = message(&|g| {
        let (h, c) = (g.input("h", [1, 3, 4]), g.input("c", [1, 3, 4]));
        lstm.run(g.input("x", [2, 5, 3]), Some(&[h, c]), None)
    });
    assert!(batch.contains("[3, 4]") || batch.contains("[1, 3, 4]"), "{batch}");
    let layers = RecurrentOptions::default().layers(0);
    let none = Recurrent::with(&params.at("none"), RecurrentKind::Gru, 3, 4, layers);
    assert!(message(&|g| none.run(g.input("x", [2, 5, 3]), None, None)).contains("one layer at least"));

    struct Wrong(usize);
    impl Cell for Wrong {
        fn widths(&self) -> Vec<usize> {
            vec![4; self.0]
        }
        fn step<'g>(&self, x: Var<'g>, _: &[Var<'g>]) -> Vec<Var<'g>> {
            vec![x, x]
        }
    }
    let over = |n: usize| message(&|g| over_time(&Wrong(n), g.input("x", [2, 5, 3]), None, None));
    assert!(over(0).contains("a cell must have a state"));
    assert!(over(1).contains("the cell has 1 states, and its step gives 2"), "{}", over(1));
}
