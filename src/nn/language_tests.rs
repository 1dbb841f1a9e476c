//! Language models: symbol by symbol as all at once, carried states as one long text.

use super::{LanguageModel, Layer, RecurrentKind, RecurrentOptions, Summary, TransformerOptions};
use crate::device::Device;
use crate::graph::{Graph, Params};

const CLASSES: usize = 7;
const TEXT: [u32; 24] = [3, 1, 4, 1, 5, 2, 6, 5, 3, 5, 0, 6, 2, 6, 4, 3, 3, 2, 1, 0, 6, 4, 2, 5];

/// All kinds, with their names.
pub(crate) fn all(params: &Params) -> Vec<(&'static str, LanguageModel)> {
    let options = RecurrentOptions::default().layers(2);
    let recurrent = |name: &'static str, kind| {
        (name, LanguageModel::recurrent(&params.at(name), CLASSES, kind, 12, options.clone()))
    };
    let transformer = TransformerOptions::new(16, 2);
    vec![
        recurrent("lstm", RecurrentKind::Lstm),
        recurrent("gru", RecurrentKind::Gru),
        recurrent("rnn", RecurrentKind::Tanh),
        ("transformer", LanguageModel::transformer(&params.at("transformer"), CLASSES, 2, &transformer)),
    ]
}

/// The logits of rows of a text, all places at once.
pub(crate) fn at_once(device: &Device, model: &LanguageModel, text: &[u32], rows: usize) -> Vec<f32> {
    let g = Graph::inference();
    g.output("y", model.forward(g.classes("x", [rows, text.len() / rows])));
    let mut step = device.compile(&g).unwrap();
    step.feed("x", text).unwrap();
    step.run().unwrap();
    step.values("y").unwrap()
}

#[test]
fn symbol_by_symbol_is_as_all_at_once() {
    for device in [Device::cpu(), Device::reference()] {
        for (name, model) in all(&Params::seeded(5)) {
            let whole = at_once(&device, &model, &TEXT, 2);
            let memory = model.memory(&Params::seeded(0), 2, 12);
            let g = Graph::inference();
            let (x, lengths) = (g.classes("x", [2, 1]), g.classes("lengths", [2]));
            g.output("y", model.step(x, &memory, lengths));
            let mut step = device.compile(&g).unwrap();
            for place in 0..12 {
                step.feed("x", &[TEXT[place], TEXT[12 + place]]).unwrap();
                if model.is_transformer() {
                    step.feed("lengths", &[place as u32 + 1; 2]).unwrap();
                }
                step.run().unwrap();
                let y = step.values("y").unwrap();
                for row in 0..2 {
                    let at = (row * 12 + place) * CLASSES;
                    let pairs = y[row * CLASSES..][..CLASSES].iter().zip(&whole[at..at + CLASSES]);
                    for (one, all) in pairs {
                        approx::assert_abs_diff_eq!(*one, *all, epsilon = 2e-5);
                    }
                }
                assert!(!memory.states().is_empty(), "{name}");
            }
        }
    }
}

/// Three batches of 4 places, with states that are carried, are the text of 12 in one.
#[test]
fn carried_batches_are_one_long_text() {
    let params = Params::seeded(6);
    let device = Device::cpu();
    for (name, model) in all(&params).into_iter().filter(|(name, _)| *name != "transformer") {
        let whole = at_once(&device, &model, &TEXT, 2);
        let carrying = model.clone().carrying(&params.at(name));
        assert!(carrying.carried().is_empty(), "nothing was recorded yet");
        let g = Graph::inference();
        g.output("y", carrying.forward(g.classes("x", [2, 4])));
        let states = if name == "lstm" { 2 } else { 1 };
        assert_eq!(carrying.carried().len(), states);
        let mut step = device.compile(&g).unwrap();
        for batch in 0..3 {
            let rows = [0, 12].map(|start| &TEXT[start + 4 * batch..][..4]).concat();
            step.feed("x", &rows).unwrap();
            step.run().unwrap();
            let y = step.values("y").unwrap();
            for row in 0..2 {
                let at = (row * 12 + 4 * batch) * CLASSES;
                for (one, all) in y[row * 4 * CLASSES..][..4 * CLASSES].iter().zip(&whole[at..]) {
                    approx::assert_abs_diff_eq!(*one, *all, epsilon = 1e-6);
                }
            }
        }
    }
}

#[test]
fn what_a_model_consists_of() {
    let params = Params::seeded(1);
    let model = LanguageModel::recurrent(&params, 70, RecurrentKind::Lstm, 32, RecurrentOptions::default());
    let of_lstm = 4 * 32 * (32 + 32 + 2);
    let summary = Summary::of_indices(&model.clone().carrying(&params), [8, 16]).unwrap();
    assert_eq!(
        (summary.parameters, summary.trainable),
        (70 * 32 + of_lstm + 71 * 32 + 38, 70 * 32 + of_lstm + 71 * 32 + 38)
    );
    // A model that sees what comes next is none: a later symbol changes nothing before it.
    let (_, transformer) = all(&Params::seeded(2)).pop().unwrap();
    let mut other = TEXT;
    other[20] = 0;
    let [a, b] = [TEXT, other].map(|text| at_once(&Device::cpu(), &transformer, &text, 1));
    assert_eq!(a[..20 * CLASSES], b[..20 * CLASSES]);
    assert_ne!(a[20 * CLASSES..], b[20 * CLASSES..]);
}

#[test]
fn mistakes_are_said() {
    let params = Params::seeded(1);
    let models = all(&params);
    let g = Graph::new();
    models[0].1.forward(g.classes("x", [5]));
    assert!(g.error().is_some());
    let g = Graph::new();
    let memory = models[0].1.memory(&Params::seeded(0), 1, 4);
    models[3].1.step(g.classes("x", [1, 1]), &memory, g.classes("lengths", [1]));
    assert!(g.error().unwrap().to_string().contains("another kind of model"));
}
