//! Attention and transformers against `tests/golden/transformers.csv`, by PyTorch, and generation with a cache against the whole
//! sequence at once.

use super::*;
use crate::golden_tests::{Worst, devices, of_layers};
use crate::graph::{Graph, Params};
use crate::tensor::Data;
use crate::{Device, Result};

const GOLDEN: &str = include_str!("../../tests/golden/transformers.csv");

/// Records the case of this name: its output.
fn record<'g>(
    params: &Params,
    name: &str,
    x: Var<'g>,
    source: Option<Var<'g>>,
    lengths: Option<Var<'g>>,
) -> Var<'g> {
    let (kind, variant) = name.split_once('/').unwrap();
    let of_lengths = AttentionOptions { lengths, ..Default::default() };
    if kind == "attention" {
        let layer = MultiHeadAttention::new(params, 8, 2);
        return match (variant, source) {
            ("causal", None) => layer.causal().forward(x),
            ("cross", Some(source)) => layer.attend_to(x, source, &of_lengths),
            ("plain" | "lengths", None) => layer.attend(x, &of_lengths),
            other => panic!("{other:?}"),
        };
    }
    let (activation, norm) = variant.split_once('-').unwrap();
    let options =
        TransformerOptions::new(8, 2).hidden(12).activation(activation.parse::<Activation>().unwrap());
    let options = if norm == "pre" { options.norm_first() } else { options };
    match (kind, source) {
        ("encoder", None) => TransformerEncoderLayer::new(params, &options).encode(x, &of_lengths),
        ("decoder", Some(source)) => {
            let layer = TransformerDecoderLayer::new(params, &options);
            layer.decode(x, source, [&AttentionOptions::default(), &of_lengths])
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn values_and_gradients_are_those_of_pytorch() {
    for device in devices() {
        let Worst { off, what, compared } = of_layers(&device, GOLDEN, |params, name, inputs| {
            let find = |what: &str| inputs.get(what).copied();
            record(params, name, inputs["x"], find("source"), find("lengths"))
        });
        println!("off by {off:e} at most, of {compared}: {what}");
        assert!(off < 1e-5 && compared > 4000, "{device:?}: {off:e} of {compared}: {what}");
    }
}

/// Outputs for whole sequences and, with a cache, place by place; of sequences that begin again at their own places, too.
fn with_a_cache(device: &Device, options: &TransformerOptions) -> Result<f64> {
    let (batch, length, most, width) = (2, 9, 12, options.width);
    let params = Params::seeded(3);
    let net = TransformerEncoder::new(&params.at("net"), 2, options);
    let x: Vec<f32> = (0..batch * length * width).map(|i| ((i * 37 % 101) as f32 - 50.0) / 40.0).collect();
    let g = Graph::inference();
    g.output("y", net.forward(g.input("x", [batch, length, width])));
    let mut whole = device.compile(&g)?;
    whole.run_with(&[("x", (&x).into())])?;
    let expected = whole.values("y")?;
    let g = Graph::inference();
    let caches = net.caches(&params.at("cache"), batch, most);
    let y = net.step(g.input("x", [batch, 1, width]), &caches, g.classes("lengths", [batch]));
    g.output("y", y);
    let mut step = device.compile(&g)?;
    let mut worst = 0f64;
    // The second sequence is five places behind, and before that another one.
    for t in 0..length + 5 {
        let places = [t, if t < 5 { t } else { t - 5 }];
        let mut row = Vec::new();
        for (item, place) in places.into_iter().enumerate() {
            let at = (item * length + place.min(length - 1)) * width;
            row.extend(x[at..at + width].iter().map(|x| if item == 1 && t < 5 { -x } else { *x }));
        }
        let lengths = places.map(|place| place.min(most - 1) as u32 + 1);
        step.run_with(&[("x", (&row).into()), ("lengths", (&lengths[..]).into())])?;
        let found = step.values("y")?;
        for (item, place) in places.into_iter().enumerate() {
            if place < length && !(item == 1 && t < 5) {
                for c in 0..width {
                    let (a, b) = (found[item * width + c], expected[(item * length + place) * width + c]);
                    worst = worst.max(f64::from((a - b).abs()));
                }
            }
        }
    }
    Ok(worst)
}

#[test]
fn generation_with_a_cache_gives_what_the_whole_sequence_gives() {
    let plain = TransformerOptions::new(8, 4).causal();
    let rotary = plain.clone().kv_heads(2).norm_first().rotary(RotaryPositions::new().halves());
    for device in devices() {
        for options in [&plain, &rotary, &rotary.clone().rotary(RotaryPositions::new().offset(3))] {
            let off = with_a_cache(&device, options).unwrap();
            assert!(off < 1e-5, "{device:?} {options:?}: {off:e}");
        }
    }
}

#[test]
fn layers_stand_in_summaries_and_refuse_what_does_not_fit() {
    let params = Params::seeded(1);
    let options =
        TransformerOptions::new(8, 2).kv_heads(1).hidden(12).activation(Activation::Swiglu).dropout(0.1);
    let net = Sequential::new(&params).with(|p| TransformerEncoder::new(p, 1, &options)).linear(8, 3);
    let summary = Summary::of(&net, [2, 5, 8]).unwrap();
    let rows: Vec<(&str, usize)> = summary.layers.iter().map(|l| (l.name.as_str(), l.parameters)).collect();
    let find = |name: &str| rows.iter().filter(|row| row.0 == name).map(|row| row.1).sum::<usize>();
    assert_eq!(find("0.layers.0.self_attn"), 16 * 8 + 16, "{rows:?}");
    assert_eq!(find("0.layers.0.self_attn.out_proj"), 8 * 8 + 8);
    assert_eq!(find("0.layers.0.linear1"), 24 * 8 + 24);
    assert_eq!(summary.parameters, 144 + 72 + 216 + 104 + 2 * 16 + 27);
    let message = |record: &dyn for<'g> Fn(&'g Graph, &Params) -> Var<'g>| {
        let g = Graph::new();
        record(&g, &Params::seeded(1));
        g.error().map_or_else(String::new, |e| e.to_string())
    };
    let of = |heads: [usize; 2], shape: &'static [usize]| {
        message(&move |g, p| MultiHeadAttention::with(p, 8, heads[0], heads[1]).forward(g.input("x", shape)))
    };
    assert!(of([3, 3], &[1, 5, 8]).contains("3 heads do not divide the width 8"));
    assert!(of([4, 3], &[1, 5, 8]).contains("3 heads of keys and values do not divide 4"));
    assert!(of([4, 2], &[5, 8]).contains("takes [batch, length, 8]"));
    assert!(of([4, 2], &[1, 5, 8]).is_empty());
    let text = message(&|g, p| {
        let layer = MultiHeadAttention::new(p, 8, 2).rotary(RotaryPositions::new());
        let x = g.input("x", [1, 5, 8]);
        layer.attend_to(x, x, &AttentionOptions::default())
    });
    assert!(text.contains("rotary positions are for self-attention"), "{text}");
    let text = message(&|g, p| {
        let layer = MultiHeadAttention::new(p, 8, 2);
        layer.step(g.input("x", [1, 2, 8]), &layer.cache(&p.at("cache"), 1, 4), g.classes("lengths", [1]))
    });
    assert!(text.contains("takes [1, 1, 8] with a cache"), "{text}");
}

/// As PyTorch's `MultiheadAttention` starts.
#[test]
fn attention_starts_with_biases_of_zero() {
    let params = Params::seeded(1);
    let _layer = MultiHeadAttention::new(&params.at("own"), 64, 4);
    let values = |name: &str| match params.get(&format!("own.{name}")).unwrap().initial() {
        Data::F32(values) => values,
        other => panic!("{other:?}"),
    };
    let largest = |name: &str| values(name).iter().fold(0f32, |most, x| most.max(x.abs()));
    for (name, bound) in [("in_proj_weight", (6.0f32 / (64.0 + 192.0)).sqrt()), ("out_proj.weight", 0.125)] {
        let found = largest(name);
        assert!(found <= bound && found > 0.99 * bound, "{name}: {found} of {bound}");
    }
    assert_eq!([largest("in_proj_bias"), largest("out_proj.bias")], [0.0; 2]);
}

/// Where each half takes what is normalized, the sum of all halves is normalized at the end.
#[test]
fn a_stack_normalizes_what_its_last_layer_gives() -> Result<()> {
    let params = Params::seeded(2);
    let options = TransformerOptions::new(16, 2).norm_first();
    let encoder = TransformerEncoder::new(&params.at("encoder"), 2, &options);
    let decoder = TransformerDecoder::new(&params.at("decoder"), 2, &options);
    let g = Graph::inference();
    let x = g.input("x", [1, 3, 16]);
    g.output("encoder", encoder.forward(x));
    g.output("decoder", decoder.decode(x, x, [&AttentionOptions::default(); 2]));
    g.output("last", encoder.layers()[1].forward(encoder.layers()[0].forward(x)));
    let mut step = Device::cpu().compile(&g)?;
    let values: Vec<f32> = (0..48).map(|i| (i * 29 % 17) as f32).collect();
    step.run_with(&[("x", (&values).into())])?;
    let mut spread = |name: &str| -> Result<f32> {
        let row = &step.values(name)?[..16];
        let mean = row.iter().sum::<f32>() / 16.0;
        Ok(row.iter().map(|x| (x - mean).powi(2)).sum::<f32>() / 16.0)
    };
    assert!((spread("encoder")? - 1.0).abs() < 1e-3 && (spread("decoder")? - 1.0).abs() < 1e-3);
    assert!(spread("last")? > 2.0);
    Ok(())
}

/// A place by itself is turned as it is in its sequence.
#[test]
fn a_place_is_turned_by_its_length() -> Result<()> {
    for rotary in [RotaryPositions::new(), RotaryPositions::new().halves().offset(4)] {
        let g = Graph::inference();
        let x = g.input("x", [2, 3, 5, 8]);
        g.output("all", rotary.forward(x));
        let lengths = g.classes("lengths", [2]);
        g.output("last", rotary.forward_at(x.slice(2, 3, 1), lengths, 7));
        let mut step = Device::cpu().compile(&g)?;
        let values: Vec<f32> = (0..240).map(|i| (i * 37 % 23) as f32 / 8.0 - 1.0).collect();
        step.run_with(&[("x", (&values).into()), ("lengths", (&[4u32, 4][..]).into())])?;
        let (all, last) = (step.values("all")?, step.values("last")?);
        for (head, last) in last.chunks(8).enumerate() {
            assert_eq!(last, &all[(head * 5 + 3) * 8..][..8], "{rotary:?}");
        }
    }
    Ok(())
}
