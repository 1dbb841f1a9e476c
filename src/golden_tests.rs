//! Numbers of other libraries in `tests/golden/`, and graphs that are run on them.

use std::collections::BTreeMap;

use crate::backend::Executor;
use crate::cpu::Cpu;
use crate::graph::{Graph, Params, Var};
use crate::tensor::Data;
use crate::{CompileOptions, Device, Tensor};

/// A tensor of a file.
#[derive(Debug, Clone)]
pub(crate) struct Numbers {
    /// What it is in its case: `input`, `out`, `gradient` and others.
    pub(crate) what: String,
    pub(crate) shape: Vec<usize>,
    pub(crate) values: Vec<f64>,
}

impl Numbers {
    fn floats(&self) -> Vec<f32> {
        self.values.iter().map(|&x| x as f32).collect()
    }

    fn classes(&self) -> Vec<u32> {
        self.values.iter().map(|&x| x as u32).collect()
    }

    /// The largest number or, where that is less, 1.
    pub(crate) fn size(&self) -> f64 {
        self.values.iter().fold(1.0, |most, x| most.max(x.abs()))
    }
}

/// The largest difference from the numbers of a file, and how many were compared.
#[derive(Debug, Default)]
pub(crate) struct Worst {
    pub(crate) off: f64,
    pub(crate) what: String,
    pub(crate) compared: usize,
}

impl Worst {
    /// Looks at a tensor of a case, whose differences count in units of `unit`.
    pub(crate) fn compare(&mut self, name: &str, found: &[f64], expected: &Numbers, unit: f64) {
        assert_eq!(found.len(), expected.values.len(), "{name} {}", expected.what);
        for (a, b) in found.iter().zip(&expected.values) {
            let off = (a - b).abs() / unit;
            self.compared += 1;
            if off.is_nan() || off > self.off {
                self.off = off;
                self.what = format!("{name} {}: {a} is not {b}", expected.what);
            }
        }
    }
}

/// The tensors of a file by the name of their case, in the order of the file.
pub(crate) fn golden(text: &str) -> BTreeMap<String, Vec<Numbers>> {
    let mut all = BTreeMap::<String, Vec<Numbers>>::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let [name, what, _, shape, values] = line.split(';').collect::<Vec<_>>()[..] else {
            panic!("{line}")
        };
        let shape: Vec<usize> = match what {
            "out" if shape == "1" => vec![],
            _ => shape.split('x').map(|n| n.parse().unwrap()).collect(),
        };
        let values = values.split(' ').map(|x| x.parse().unwrap()).collect();
        all.entry(name.into()).or_default().push(Numbers { what: what.into(), shape, values });
    }
    all
}

/// Outputs of a graph in f64, by the plain formulas.
pub(crate) fn in_f64(g: &Graph, fed: &[(String, Numbers)], labels: &[String]) -> Vec<Vec<f64>> {
    let mut step = Cpu::<f64>::plain().step(g.finish().unwrap(), CompileOptions::new()).unwrap();
    for (label, numbers) in fed {
        let at = step.plan().recording.inputs.iter().position(|input| input.name == *label).unwrap();
        match &numbers.what[..] {
            "classes" => step.feed(at, numbers.classes().as_slice().into()).unwrap(),
            _ => step.feed_wide(label, &numbers.values),
        }
    }
    step.run().unwrap();
    labels.iter().map(|label| step.output(label)).collect()
}

/// The same on a device.
pub(crate) fn on(device: &Device, g: &Graph, fed: &[(String, Numbers)], labels: &[String]) -> Vec<Vec<f64>> {
    let mut step = device.compile(g).unwrap();
    for (label, numbers) in fed {
        match &numbers.what[..] {
            "classes" => step.feed(label, &numbers.classes()[..]).unwrap(),
            _ => step.feed(label, &numbers.floats()[..]).unwrap(),
        }
    }
    step.run().unwrap();
    let wide = |label: &String| step.values(label).unwrap().iter().map(|&x| x.into()).collect();
    labels.iter().map(wide).collect()
}

/// The sum of all elements, each times a weight of its place: of what is normalized the plain sum is a constant.
pub(crate) fn weighed(y: Var<'_>) -> Var<'_> {
    let weights: Vec<f32> = (0..y.shape().elements()).map(|i| (i * 5 % 7) as f32 * 0.25 - 0.75).collect();
    (y * y.graph().constant(Tensor::new(y.shape(), weights).unwrap())).sum_all()
}

/// The largest difference on a device, over the largest number of a tensor or, where that is less, 1: of what layers give, and
/// of its gradients by the inputs and all parameters. `record` makes the layer of a name; its inputs, `lengths` among
/// them as class numbers, go by theirs.
pub(crate) fn of_layers(
    device: &Device,
    text: &str,
    record: impl for<'g> Fn(&Params, &str, &BTreeMap<&str, Var<'g>>) -> Var<'g>,
) -> Worst {
    let mut worst = Worst::default();
    for (name, tensors) in golden(text) {
        let find = |what: &str| tensors.iter().find(|t| t.what == what);
        let params = Params::seeded(1);
        let g = Graph::new();
        let mut inputs = BTreeMap::new();
        for t in &tensors {
            let x = match &t.what[..] {
                "x" | "source" => g.input(&t.what, &t.shape[..]),
                "lengths" => g.classes(&t.what, &t.shape[..]),
                _ => continue,
            };
            inputs.insert(&t.what[..], x);
        }
        let y = record(&params, &name, &inputs);
        let floats = inputs.iter().filter(|(what, _)| **what != "lengths");
        let mut by: Vec<(String, Var<'_>)> = floats.map(|(what, x)| (what.to_string(), *x)).collect();
        by.extend(params.trainable().iter().map(|p| (p.name().to_string(), g.param(p))));
        let gradients = g.gradients(weighed(y), &by.iter().map(|(_, v)| *v).collect::<Vec<_>>());
        g.output("out", y);
        by.iter().zip(&gradients).for_each(|((what, _), d)| g.output(&format!("d:{what}"), *d));
        let mut step = device.compile(&g).unwrap_or_else(|e| panic!("{name}: {e}"));
        for param in params.trainable() {
            let given = find(&format!("param:{}", param.name()));
            let given = given.unwrap_or_else(|| panic!("{name} {}", param.name()));
            assert_eq!(param.shape().dims(), given.shape, "{name} {}", param.name());
            device.write_param(&param, &Data::F32(given.floats())).unwrap();
        }
        for t in tensors.iter().filter(|t| inputs.contains_key(&t.what[..])) {
            match &t.what[..] {
                "lengths" => step.feed(&t.what, &t.classes()[..]).unwrap(),
                _ => step.feed(&t.what, &t.floats()[..]).unwrap(),
            }
        }
        step.run().unwrap();
        let expected = tensors.iter().filter(|t| t.what == "out" || t.what.starts_with("d:"));
        assert_eq!(expected.clone().count(), 1 + by.len(), "{name}");
        for t in expected {
            let found: Vec<f64> = step.values(&t.what).unwrap().iter().map(|&x| x.into()).collect();
            worst.compare(&name, &found, t, t.size());
        }
    }
    worst
}

/// The CPU device, and every adapter that there is.
pub(crate) fn devices() -> Vec<Device> {
    let mut devices = vec![Device::cpu()];
    #[cfg(feature = "gpu")]
    {
        let gpus = crate::gpu::adapters_named("");
        assert!(gpus.is_ok() || !crate::env::is_set("WGRAD_REQUIRE_GPU"), "{gpus:?}");
        devices.extend(gpus.unwrap_or_default().into_iter().map(Device::from));
    }
    devices
}
