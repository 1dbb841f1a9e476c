//! What every formula and its gradient give for NaN, infinities, zeros and signs: the values of IEEE 754 and of PyTorch's
//! formulas, written out here, on every device, fused and not, in 32 bits and in mixed precision.

mod expected;

use std::collections::BTreeSet;

use super::SPECIAL;
use crate::cases::registry;
use crate::half;
use crate::ops::Op;
use crate::{CompileOptions, Device, Graph, Precision, Var};
use expected::{cotangent, value};

/// NaN for NaN, infinity for infinity, and numbers within what exponentials in f32, or half precision, lose.
fn agree(found: f32, expected: f32, is_mixed: bool) -> bool {
    let close = |e: f32| {
        // Of a value near 1 that was rounded, half a unit may be all that is left of 1 - y².
        let (relative, least) = if is_mixed { (4e-3, 0.25) } else { (1e-5, 1e-2) };
        found == e || (found.is_nan() && e.is_nan()) || (found - e).abs() <= relative * e.abs().max(least)
    };
    close(expected) || (is_mixed && close(half::round(f64::from(expected)) as f32))
}

/// Every device, fused and not.
fn devices() -> Vec<(String, Device, bool)> {
    let mut devices: Vec<(String, Device, bool)> = [Device::cpu(), Device::reference()]
        .map(|device| (format!("{device:?}"), device.clone(), device.info().name != "reference"))
        .to_vec();
    let name = std::env::var("WGRAD_ADAPTER").unwrap_or_default();
    let found = crate::gpu::adapters_named(&name);
    let is_required = std::env::var("WGRAD_REQUIRE_GPU").is_ok_and(|v| v == "1");
    assert!(found.is_ok() || !is_required, "{found:?}");
    for gpu in found.unwrap_or_default() {
        let has_f16 = gpu.has_f16();
        devices.push((format!("{gpu:?} unfused"), gpu.unfused().into(), has_f16));
        devices.push((format!("{gpu:?}"), gpu.into(), has_f16));
    }
    devices
}

/// One of each formula, with attributes.
fn formulas() -> Vec<std::sync::Arc<dyn Op>> {
    let mut seen = BTreeSet::new();
    let ops = registry().into_iter().map(|case| case.op).filter(|op| op.pointwise().is_some());
    ops.filter(|op| seen.insert(format!("{op:?}"))).collect()
}

/// All special arguments against each other, repeated until half precision stores them.
fn arguments(arity: usize) -> Vec<[f32; 3]> {
    let mut values: Vec<f32> = SPECIAL.iter().map(|&x| x as f32).collect();
    values.extend([f32::from_bits(0xffc0_0000), f32::from_bits(0x7fc0_1234)]);
    let n = values.len().pow(arity as u32);
    let at = |i: usize| {
        [0, 1, 2].map(|k| if k < arity { values[i / values.len().pow(k as u32) % values.len()] } else { 0.0 })
    };
    (0..n.max(260)).map(|i| at(i % n)).collect()
}

#[test]
fn nan_and_infinity_are_those_of_ieee_754_everywhere() {
    let (devices, formulas) = (devices(), formulas());
    assert!(formulas.len() > 45, "{}", formulas.len());
    let mut failures = Vec::new();
    for op in &formulas {
        let f = op.pointwise().unwrap();
        let (name, arity, p) = (f.function(), f.arity(), f.attributes());
        let rows = arguments(arity);
        let g = Graph::new();
        let x: Vec<Var<'_>> = (0..arity).map(|k| g.input(&format!("x{k}"), [rows.len()])).collect();
        let dy = g.input("dy", [rows.len()]);
        let y = g.record_shared(op.clone(), &x)[0];
        // Something after it, so that it is fused, or stored in 16 bits.
        g.output("y", -y);
        for (k, d) in g.gradients((y * dy).sum_all(), &x).into_iter().enumerate() {
            g.output(&format!("d{k}"), d);
        }
        for (device, is_mixed) in devices.iter().flat_map(|d| [(d, false), (d, true)]) {
            let (label, device, has_f16) = device;
            if is_mixed && !has_f16 {
                continue;
            }
            let precision = if is_mixed { Precision::Mixed } else { Precision::F32 };
            let options = CompileOptions::new().precision(precision);
            let mut step = device.compile_with(&g, options).unwrap_or_else(|e| panic!("{name}: {e}"));
            for k in 0..arity {
                step.feed(&format!("x{k}"), &rows.iter().map(|x| x[k]).collect::<Vec<f32>>()).unwrap();
            }
            let mut compare = |what: &str, found: &[f32], expected: &dyn Fn([f32; 3]) -> f32| {
                let wrong = rows.iter().zip(found).filter(|(x, y)| !agree(**y, expected(**x), is_mixed));
                failures.extend(wrong.take(3).map(|(x, y)| {
                    let expected = expected(*x);
                    format!(
                        "{what} of {op:?} at {:?}: {y}, not {expected}: {label}, mixed {is_mixed}",
                        &x[..arity]
                    )
                }));
            };
            for dy in [0.0, 1.0, f32::NAN] {
                step.feed("dy", &vec![dy; rows.len()]).unwrap();
                step.run().unwrap();
                if dy == 0.0 {
                    compare("value", &step.values("y").unwrap(), &|x| -value(name, x, &p));
                }
                for k in 0..arity {
                    let found = step.values(&format!("d{k}")).unwrap();
                    compare(&format!("cotangent {k} for {dy}"), &found, &|x| cotangent(name, k, x, &p, dy));
                }
            }
        }
    }
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn powers_are_those_of_the_c_standard() {
    let inf = f64::INFINITY;
    // C17, F.10.4.4.
    for (a, b, expected) in [
        (-0.0, -2.5, inf),
        (-0.0, -3.0, -inf),
        (0.0, -3.0, inf),
        (0.0, -inf, inf),
        (-1.0, inf, 1.0),
        (-1.0, -inf, 1.0),
        (1.0, f64::NAN, 1.0),
        (f64::NAN, 0.0, 1.0),
        (f64::NAN, -0.0, 1.0),
        (-2.5, 0.5, f64::NAN),
        (0.5, -inf, inf),
        (0.5, inf, 0.0),
        (2.5, -inf, 0.0),
        (2.5, inf, inf),
        (-inf, -3.0, 0.0),
        (-inf, -2.5, 0.0),
        (-inf, 3.0, -inf),
        (-inf, 2.5, inf),
        (inf, -1.0, 0.0),
        (inf, 2.5, inf),
        (f64::NAN, 2.0, f64::NAN),
        (2.0, f64::NAN, f64::NAN),
    ] {
        let found = value("pow", [a as f32, b as f32, 0.0], &[]);
        assert!(agree(found, expected as f32, false), "{a}^{b}: {found}");
    }
    // With logits that are sure of it, and right or wrong.
    for (z, y, expected) in [(inf, 1.0, 0.0), (inf, 0.0, inf), (-inf, 1.0, inf), (-inf, 0.0, 0.0)] {
        assert_eq!(value("bce_logits", [z as f32, y, 0.0], &[]), expected as f32);
    }
}

#[test]
fn nan_bounds_are_refused() {
    for (low, high) in [(f32::NAN, 1.0), (0.0, f32::NAN)] {
        let g = Graph::new();
        let _ = g.input("x", [2]).clamp(low, high);
        assert!(g.error().unwrap().to_string().contains("the bounds must be numbers"));
    }
}

#[test]
fn parameters_of_activations_that_mean_nothing_are_refused() {
    let nan = f32::NAN;
    let refused = |words: &str, f: &dyn for<'g> Fn(Var<'g>) -> Var<'g>| {
        let g = Graph::new();
        let _ = f(g.input("x", [2]));
        let error = g.error().map(|e| e.to_string()).unwrap_or_default();
        assert!(error.contains(words), "{words}: {error}");
    };
    for (low, high) in [(1.0, -1.0), (nan, 1.0), (0.0, nan)] {
        refused("the lower one first", &|x| x.hard_tanh(low, high));
    }
    for lambda in [-1.0, nan] {
        refused("0 or more", &|x| x.hard_shrink(lambda));
        refused("0 or more", &|x| x.soft_shrink(lambda));
    }
    for bad in [0.0, nan, f32::INFINITY] {
        refused("other than 0", &|x| x.celu(bad));
        refused("other than 0", &|x| x.softplus(bad, 20.0));
        refused("above 0", &|x| x.softmax_at(0, bad));
        refused("above 0", &|x| x.log_softmax_at(0, -1.0 - bad));
    }
    refused("the threshold one", &|x| x.softplus(1.0, nan));
    let g = Graph::new();
    let _ = g
        .input("x", [2])
        .hard_tanh(-1.0, 1.0)
        .soft_shrink(0.0)
        .celu(-0.5)
        .softplus(0.5, 9.0)
        .softmax_at(0, 0.1);
    assert!(g.error().is_none());
}
