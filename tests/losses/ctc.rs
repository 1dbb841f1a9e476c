//! A recognizer that is trained with the CTC loss.

use super::*;
use wgrad::losses::Ctc;

/// Sequences of digits, and what is read of them: for each digit two to four columns of noise with a peak at the digit, then one or
/// two without a peak.
struct Strips {
    columns: Vec<f32>,
    targets: Vec<u32>,
    lengths: Vec<u32>,
    counts: Vec<u32>,
}

const STRIPS: usize = 48;
const DIGITS: usize = 10;
const MOST_DIGITS: usize = 5;
const WIDTH: usize = 6 * MOST_DIGITS;

impl Strips {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed, "strips");
        let noise = (0..STRIPS * WIDTH * DIGITS).map(|_| 0.1 * rng.normal() as f32).collect();
        let mut strips = Strips { columns: noise, targets: vec![], lengths: vec![], counts: vec![] };
        for row in 0..STRIPS {
            let count = 1 + rng.below(MOST_DIGITS as u32) as usize;
            let mut at = row * WIDTH;
            for k in 0..MOST_DIGITS {
                if k >= count {
                    // Padding that is no class.
                    strips.targets.push(u32::MAX);
                    continue;
                }
                // Every third digit is the one before it again.
                let digit = match strips.targets.last() {
                    Some(&last) if k > 0 && k % 3 == 2 => last,
                    _ => rng.below(DIGITS as u32),
                };
                strips.targets.push(digit);
                for _ in 0..2 + rng.below(3) {
                    strips.columns[at * DIGITS + digit as usize] += 1.0;
                    at += 1;
                }
                at += 1 + rng.below(2) as usize;
            }
            strips.lengths.push((at - row * WIDTH) as u32);
            strips.counts.push(count as u32);
        }
        strips
    }

    fn target(&self, row: usize) -> &[u32] {
        &self.targets[row * MOST_DIGITS..][..self.counts[row] as usize]
    }
}

/// A network that looks at single columns learns where digits are from sequences that do not say it, on the CPU and every
/// adapter, in 32 bits and mixed, and reads other sequences by greedy decoding.
#[test]
fn a_recognizer_learns_to_read_sequences_that_are_not_aligned() {
    let (train, other) = (Strips::new(1), Strips::new(2));
    let ctc = Ctc::new(DIGITS as u32);
    #[cfg_attr(not(feature = "gpu"), expect(unused_mut))]
    let mut ways = vec![("cpu".to_string(), Device::cpu(), CompileOptions::new())];
    #[cfg(feature = "gpu")]
    for gpu in common::gpus() {
        let (name, can_mix) = (Device::from(gpu.clone()).info().to_string(), gpu.has_f16());
        ways.push((name.clone(), gpu.clone().into(), CompileOptions::new()));
        if can_mix {
            let mixed = CompileOptions::new().precision(wgrad::Precision::Mixed);
            ways.push((format!("{name}, mixed"), gpu.into(), mixed));
        }
    }
    for (name, device, options) in ways {
        let params = Params::seeded(5);
        let net = Mlp::new(&params, &[DIGITS, 24, DIGITS + 1]);
        let adam = Adam::new(&params, 0.02);
        let record = |g: &Graph, is_training: bool| {
            let columns = g.input("columns", [STRIPS, WIDTH, DIGITS]);
            let targets = g.classes("targets", [STRIPS, MOST_DIGITS]);
            let lengths = [g.classes("lengths", [STRIPS]), g.classes("counts", [STRIPS])];
            let logits = net.forward(columns.reshape([STRIPS * WIDTH, DIGITS]));
            let log_probs = logits.reshape([STRIPS, WIDTH, DIGITS + 1]).log_softmax(2);
            let loss = ctc.of(log_probs, targets, lengths);
            if is_training {
                adam.minimize(loss, &params.trainable());
            }
            g.output("loss", loss);
            g.output("path", log_probs.argmax(2));
        };
        let compile = |is_training: bool| {
            let g = if is_training { Graph::new() } else { Graph::inference() };
            record(&g, is_training);
            device.compile_with(&g, options).unwrap()
        };
        let feed = |step: &mut wgrad::Step, strips: &Strips| {
            step.feed("columns", &strips.columns).unwrap();
            step.feed("targets", &strips.targets).unwrap();
            step.feed("lengths", &strips.lengths).unwrap();
            step.feed("counts", &strips.counts).unwrap();
        };
        let mut step = compile(true);
        feed(&mut step, &train);
        step.run().unwrap();
        let first = step.scalar("loss").unwrap();
        step.run_many(250).unwrap();
        let last = step.scalar("loss").unwrap();
        println!("{name}: {first} to {last}");
        assert!(first > 5.0 && last < 0.02, "{name}: {first} to {last}");
        let mut step = compile(false);
        for (which, strips, right) in [("known", &train, STRIPS), ("other", &other, STRIPS - 2)] {
            feed(&mut step, strips);
            step.run().unwrap();
            let path = step.read("path").unwrap().wait().unwrap();
            let Data::U32(path) = path.data() else { panic!("{path:?}") };
            let read = |row: &usize| {
                ctc.collapse(&path[row * WIDTH..][..strips.lengths[*row] as usize]) == strips.target(*row)
            };
            let found = (0..STRIPS).filter(read).count();
            println!("{name}: {found} of {STRIPS} {which} strips are read");
            assert!(found >= right, "{name}: {found} of {STRIPS} {which} strips are read");
        }
    }
}
