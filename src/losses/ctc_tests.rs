//! The loss of connectionist temporal classification on devices: reductions, items that nothing spells, and what is refused.

use super::{Ctc, Reduction};
use crate::golden_tests::devices;
use crate::graph::Graph;
use crate::{Device, Error, Step, Tensor};

/// Three items of four times: two labels; one label; two equal labels in two times, which no path spells.
fn step(device: &Device, ctc: Ctc) -> Step {
    let g = Graph::new();
    let (y, targets) = (g.input("y", [3, 4, 3]), g.classes("targets", [3, 2]));
    let loss = ctc.of(y, targets, [g.classes("lengths", [3]), g.classes("counts", [3])]);
    g.output("loss", loss);
    let total = if loss.shape().rank() == 0 { loss } else { loss.sum_all() };
    g.output("dy", g.gradients(total, &[y])[0]);
    let mut step = device.compile(&g).unwrap();
    // All classes are as probable.
    step.feed("y", &[-3f32.ln(); 36]).unwrap();
    step.feed("targets", &[1u32, 2, 1, u32::MAX, 2, 2]).unwrap();
    step.feed("lengths", &[4u32, 3, 2]).unwrap();
    step.feed("counts", &[2u32, 1, 2]).unwrap();
    step
}

fn found(device: &Device, ctc: Ctc) -> [Vec<f32>; 2] {
    let mut step = step(device, ctc);
    step.run().unwrap();
    ["loss", "dy"].map(|name| step.values(name).unwrap())
}

fn assert_close(a: &[f32], b: &[f32]) {
    let is_close = |(a, b): (&f32, &f32)| a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() < 2e-6;
    assert!(a.len() == b.len() && a.iter().zip(b).all(is_close), "{a:?} {b:?}");
}

#[test]
fn reductions_are_over_items_and_the_mean_is_by_label() {
    // 15 of 81 paths spell 1 2, 6 of 27 spell 1.
    let [a, b, none] = [(81.0f32 / 15.0).ln(), (27.0f32 / 6.0).ln(), f32::INFINITY];
    for device in devices() {
        let of = |ctc: Ctc| found(&device, ctc);
        let each = Ctc::new(0).reduction(Reduction::None);
        let [loss, dy] = of(each);
        assert_close(&loss, &[a, b, none]);
        assert!(dy[24..].iter().all(|d| d.is_nan()) && dy[..24].iter().all(|d| d.is_finite()), "{dy:?}");
        let [loss, masked] = of(each.zero_infinity());
        assert_close(&loss, &[a, b, 0.0]);
        assert_close(&masked, &[&dy[..24], &[0.0; 12]].concat());
        assert_close(&of(Ctc::new(0).reduction(Reduction::Sum).zero_infinity())[0], &[a + b]);
        let [loss, mean] = of(Ctc::new(0).zero_infinity());
        assert_close(&loss, &[(a / 2.0 + b) / 3.0]);
        let by_label: Vec<f32> =
            masked.iter().enumerate().map(|(i, d)| d / if i < 12 { 6.0 } else { 3.0 }).collect();
        assert_close(&mean, &by_label);
        assert_close(&of(Ctc::new(0))[0], &[none]);
        // Of each time the classes' shares of a loss add up to 1, and beyond the length of an input there are none.
        let sums: Vec<f32> = dy[..24].chunks(3).map(|row| row.iter().sum()).collect();
        assert_close(&sums, &[-1.0, -1.0, -1.0, -1.0, -1.0, -1.0, -1.0, 0.0]);
    }
}

#[test]
fn an_empty_target_is_divided_by_one() {
    for device in devices() {
        let mut step = step(&device, Ctc::new(0));
        step.feed("lengths", &[4u32, 0, 1]).unwrap();
        step.feed("counts", &[0u32, 0, 0]).unwrap();
        step.run().unwrap();
        assert_close(&step.values("loss").unwrap(), &[(4.0 + 0.0 + 1.0) * 3f32.ln() / 3.0]);
    }
}

#[test]
fn lengths_are_refused_where_they_are_fed_or_recorded() {
    let mut step = step(&Device::cpu(), Ctc::new(0));
    let fails = |error: Error, words: &str| {
        assert!(matches!(error, Error::Feed { .. }) && error.to_string().contains(words), "{error}");
    };
    fails(step.feed("lengths", &[4u32, 5, 1]).unwrap_err(), "row 1 holds 5, outside 0..5");
    fails(step.feed("counts", &[1u32, 2, 3]).unwrap_err(), "row 2 holds 3, outside 0..3");
    let recorded = |lengths: [u32; 2], counts: [u32; 2]| {
        let g = Graph::new();
        let (y, targets) = (g.input("y", [2, 4, 3]), g.classes("targets", [2, 2]));
        let constant = |values: [u32; 2]| g.constant(Tensor::new([2], values.to_vec()).unwrap());
        Ctc::new(0).of(y, targets, [constant(lengths), constant(counts)]);
        g.error().map(|error| error.to_string())
    };
    assert_eq!(recorded([4, 0], [2, 0]), None);
    assert!(recorded([4, 5], [2, 0]).unwrap().contains("ctc: row 1 holds 5, outside 0..5"));
    assert!(recorded([4, 4], [3, 0]).unwrap().contains("ctc: row 0 holds 3, outside 0..3"));
}

/// Padding is not looked at; labels are.
#[test]
fn a_label_that_is_none_is_named_on_the_cpu_and_makes_nan_on_a_gpu() {
    // The CPU is the first.
    for (at, device) in devices().into_iter().enumerate() {
        for (targets, words) in [
            ([1u32, 2, 7, 0, 2, 2], "label 0 of item 1 is class 7, outside 0..3"),
            ([1, 2, 0, 0, 2, 2], "label 0 of item 1 is class 0, the blank"),
        ] {
            let mut step = step(&device, Ctc::new(0).reduction(Reduction::None));
            step.feed("targets", &targets).unwrap();
            if at == 0 {
                let error = step.run().unwrap_err().to_string();
                assert!(error.contains(words), "{error}");
                continue;
            }
            step.run().unwrap();
            let (loss, dy) = (step.values("loss").unwrap(), step.values("dy").unwrap());
            assert!(loss[1].is_nan() && loss[0].is_finite(), "{loss:?}");
            assert!(
                dy[12..24].iter().all(|d| d.is_nan()) && dy[..12].iter().all(|d| d.is_finite()),
                "{dy:?}"
            );
        }
    }
}

#[test]
fn what_does_not_fit_is_refused_by_name() {
    let g = Graph::new();
    let lengths = [g.classes("lengths", [2]), g.classes("counts", [2])];
    Ctc::new(5).of(g.input("y", [2, 4, 3]), g.classes("targets", [2, 2]), lengths);
    let error = g.error().unwrap().to_string();
    assert!(error.contains("ctc: the blank is class 5, and there are 3 classes"), "{error}");
}

#[test]
fn paths_collapse() {
    let ctc = Ctc::new(2);
    assert!(ctc.collapse(&[]).is_empty());
    assert!(ctc.collapse(&[2, 2]).is_empty());
    assert_eq!(ctc.collapse(&[2, 0, 0, 2, 0, 1, 1, 1, 2, 1]), [0, 0, 1, 1]);
    assert_eq!(Ctc::default().collapse(&[3, 3, 0, 3, 2]), [3, 3, 2]);
}
