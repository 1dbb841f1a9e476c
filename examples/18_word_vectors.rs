//! Words as vectors: what stands near a word says what it means. A vector is learnt for each word so that it tells real neighbours
//! from words drawn at random (skip-gram with negative sampling: Mikolov et al., "Distributed Representations of Words and
//! Phrases and their Compositionality", NIPS 2013, section 2.2). The sentences are made by a small grammar, so that
//! it is known which words mean like things: nobody tells the network, and still the nearest word of `cat` is an animal.
//!
//! Run it with `cargo run --release --example 18_word_vectors`.

use std::collections::BTreeMap;

use wgrad::losses::Loss;
use wgrad::nn::{Embedding, Layer};
use wgrad::optim::{Adam, Optimizer};
use wgrad::{Device, Graph, Init, Params, Rng, Tensor};

const WIDTH: usize = 16;
/// Neighbours on each side.
const WINDOW: usize = 2;
/// Words drawn at random for each neighbour.
const NEGATIVES: usize = 5;
const BATCH: usize = 256;
const STEPS: usize = 1500;

/// Words of one meaning each, and sentences of such meanings and of other words.
const KINDS: [(&str, &str); 6] = [
    ("ANIMAL", "cat dog horse cow mouse lion bear"),
    ("FOOD", "bread cheese meat rice fruit soup"),
    ("CITY", "paris london rome oslo cairo lima"),
    ("PERSON", "anna ben clara david emma frank"),
    ("DRINK", "water milk tea juice wine"),
    ("DAY", "monday tuesday wednesday thursday friday"),
];
const SENTENCES: [&str; 8] = [
    "the ANIMAL eats some FOOD",
    "the ANIMAL sleeps near the river",
    "PERSON travels to CITY by train",
    "PERSON drinks a cup of DRINK",
    "on DAY we visit CITY again",
    "PERSON buys FOOD and DRINK",
    "PERSON feeds the ANIMAL every DAY",
    "a glass of DRINK is cold",
];

/// Sentences, one word after the other, each a number; the words; and the kind of each, if it has one.
fn text(rng: &mut Rng, sentences: usize) -> (Vec<Vec<u32>>, Vec<&'static str>, Vec<Option<usize>>) {
    let mut numbers = BTreeMap::new();
    let (mut words, mut kinds, mut all) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..sentences {
        let pattern = SENTENCES[rng.below(SENTENCES.len() as u32) as usize];
        let mut sentence = Vec::new();
        for word in pattern.split(' ') {
            let kind = KINDS.iter().position(|(name, _)| *name == word);
            let word = kind.map_or(word, |kind| {
                let of_kind: Vec<&str> = KINDS[kind].1.split(' ').collect();
                of_kind[rng.below(of_kind.len() as u32) as usize]
            });
            sentence.push(*numbers.entry(word).or_insert_with(|| {
                words.push(word);
                kinds.push(kind);
                words.len() as u32 - 1
            }));
        }
        all.push(sentence);
    }
    (all, words, kinds)
}

/// The share of words whose nearest word is of their kind.
pub(crate) fn run(device: &Device) -> Result<f64, Box<dyn std::error::Error>> {
    let mut rng = Rng::new(1, "words");
    let (sentences, words, kinds) = text(&mut rng, 4000);
    // A word and one of its neighbours.
    let mut pairs = Vec::new();
    for sentence in &sentences {
        for (i, &word) in sentence.iter().enumerate() {
            let near = i.saturating_sub(WINDOW)..sentence.len().min(i + WINDOW + 1);
            pairs.extend(near.filter(|&j| j != i).map(|j| (word, sentence[j])));
        }
    }
    // Others are drawn by the ¾th power of how often they are there, as in the paper.
    let mut counts = vec![0f64; words.len()];
    sentences.iter().flatten().for_each(|&word| counts[word as usize] += 1.0);
    let mut cumulated = 0.0;
    let upto: Vec<f64> = counts
        .iter()
        .map(|count| {
            cumulated += count.powf(0.75);
            cumulated
        })
        .collect();
    let other = |rng: &mut Rng| {
        let at = rng.uniform() * cumulated;
        upto.partition_point(|&end| end <= at) as u32
    };

    // A vector for a word as itself, and one for it as a neighbour.
    let params = Params::seeded(1);
    let own = Embedding::with(&params.at("own"), words.len(), WIDTH, Init::Normal(0.1));
    let near = Embedding::with(&params.at("near"), words.len(), WIDTH, Init::Constant(0.0));
    let g = Graph::new();
    let word = own.forward(g.classes("word", [BATCH])).reshape([BATCH, 1, WIDTH]);
    // The first is the neighbour, the others were drawn.
    let others = near.forward(g.classes("near", [BATCH, 1 + NEGATIVES]));
    let scores = (word * others).sum(&[2]);
    let is_real: Vec<f32> =
        (0..BATCH * (1 + NEGATIVES)).map(|i| f32::from(i % (1 + NEGATIVES) == 0)).collect();
    let is_real = g.constant(Tensor::new([BATCH, 1 + NEGATIVES], is_real)?);
    let loss = Loss::bce().of([scores, is_real]);
    Adam::new(&params, 1e-2).minimize(loss, &params.trainable());
    g.output("loss", loss);
    let mut step = device.compile(&g)?;
    for i in 0..STEPS {
        let (mut of_words, mut of_near) = (Vec::new(), Vec::new());
        for _ in 0..BATCH {
            let (word, neighbour) = pairs[rng.below(pairs.len() as u32) as usize];
            of_words.push(word);
            of_near.push(neighbour);
            of_near.extend((0..NEGATIVES).map(|_| other(&mut rng)));
        }
        step.run_with(&[("word", (&of_words).into()), ("near", (&of_near).into())])?;
        if (i + 1) % 500 == 0 {
            println!("step {}: loss {:.3}", i + 1, step.scalar("loss")?);
        }
    }

    // How alike two vectors are: the cosine of their angle.
    let vectors = device.read_param(own.weight())?;
    let vectors: Vec<&[f32]> = vectors.as_f32().chunks(WIDTH).collect();
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
    let alike = |a: usize, b: usize| {
        dot(vectors[a], vectors[b]) / (dot(vectors[a], vectors[a]) * dot(vectors[b], vectors[b])).sqrt()
    };
    let (mut right, mut asked) = (0, 0);
    for (word, kind) in kinds.iter().enumerate().filter(|(_, kind)| kind.is_some()) {
        let mut nearest: Vec<usize> = (0..words.len()).filter(|&other| other != word).collect();
        nearest.sort_by(|&a, &b| alike(word, b).total_cmp(&alike(word, a)));
        right += usize::from(kinds[nearest[0]] == *kind);
        asked += 1;
        if asked % 6 == 1 {
            let shown: Vec<&str> = nearest[..3].iter().map(|&other| words[other]).collect();
            println!("nearest to {:<8} {}", words[word], shown.join(", "));
        }
    }
    println!("{right} of {asked} words have a nearest word that means like things");
    Ok(right as f64 / asked as f64)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let share = run(&Device::named("auto")?)?;
    if share < 0.9 { Err(format!("only {share} of the words").into()) } else { Ok(()) }
}
