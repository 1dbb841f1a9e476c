//! Plans of small graphs, and what plans of all workloads need.

use super::*;
use crate::Device;
use crate::backend::{Backend, CompileOptions, DeviceInfo, Executor, Readback};
use crate::bench::Workload;
use crate::error::Result;
use crate::graph::{Graph, Param, Params};
use crate::nn::{Cnn, Layer, ResNet};
use crate::ops::{AdapterClass, Caps, Conv2dOptions, Padding, PoolOptions};
use crate::optim::{Adam, Optimizer};
use crate::tensor::{Data, Feed};
use crate::{Rng, Var};

fn plan(g: &Graph) -> Plan {
    Plan::of_formulas(g.finish().unwrap())
}

#[test]
fn a_chain_needs_two_slots_and_dead_nodes_are_left_out() {
    let g = Graph::new();
    let x = g.input("x", [64]);
    let mut y = x;
    for _ in 0..10 {
        y = y.exp();
    }
    x.tanh();
    g.output("y", y);
    let plan = plan(&g);
    assert_eq!(plan.tasks.len(), 10);
    assert_eq!(plan.slots.len(), 2);
    assert_eq!(plan.live_bytes, 2 * 64 * 4);
}

#[test]
fn a_reshape_is_free_unless_its_state_changes() {
    let params = crate::Params::seeded(0);
    let w = params.param("w", [4], crate::Init::Constant(1.0));
    let g = Graph::new();
    g.output("y", g.param(&w).reshape([2, 2]).exp());
    assert_eq!(plan(&g).tasks.len(), 1);
    let c = params.counter("c");
    let g = Graph::new();
    let before = g.param(&c).reshape([1, 1]);
    g.param(&c).advance(0);
    g.output("y", before);
    // advance, the reshape as a copy, and the output's own copy of it.
    assert_eq!(plan(&g).tasks.len(), 3);
}

#[test]
fn no_value_is_overwritten_before_its_last_reader() {
    let g = Graph::new();
    let x = g.input("x", [8, 8]);
    let mut layers = vec![x.exp()];
    for i in 0..12 {
        let a = layers[i] + layers[i / 2];
        layers.push(if i % 3 == 0 { a.matmul(layers[i]) } else { a.tanh() });
    }
    let loss = layers.iter().fold(x, |s, l| s + *l).sum_all();
    let dx = g.gradients(loss, &[x])[0];
    g.output("dx", dx);
    let plan = plan(&g);
    check(&plan);
}

/// Follows what each slot holds through a run: readers find what they read, and nobody reads what it writes.
fn check(plan: &Plan) {
    let roots = roots(&plan.recording);
    // By slot: bytes from, bytes to, and the value there.
    let mut holds: Vec<Vec<(usize, usize, ValueId)>> = vec![Vec::new(); plan.slots.len()];
    let place = |v: ValueId| match plan.locations[v as usize] {
        Some(Location::Slot { slot, offset }) => {
            Some((slot, offset, offset + plan.recording.values[v as usize].ty.bytes()))
        }
        _ => None,
    };
    for task in &plan.tasks {
        let mut slots_read = Vec::new();
        let made: Vec<ValueId> = plan.outputs_of(task).collect();
        for (slot, from, to, root) in plan
            .inputs_of(task)
            .filter(|v| !made.contains(&roots[*v as usize]))
            .filter_map(|v| place(v).map(|(s, a, b)| (s, a, b, roots[v as usize])))
        {
            assert!(holds[slot].contains(&(from, to, root)), "{}", plan.label(task));
            slots_read.push(slot);
        }
        let scratch = task.scratch.iter().map(|&(slot, offset)| (slot, offset, offset + 1, ValueId::MAX));
        let outputs = made.iter().filter_map(|&v| place(v).map(|(s, a, b)| (s, a, b, v)));
        let written: Vec<_> = outputs.chain(scratch).collect();
        for &(slot, from, to, v) in &written {
            assert!(!slots_read.contains(&slot) && to <= plan.slots[slot].bytes && from % 256 == 0);
            // A later launch of the task may read what an earlier one has written.
            if task.program.dispatches.len() != 1 {
                slots_read.push(slot);
            }
            holds[slot].retain(|h| h.1 <= from || to <= h.0);
            holds[slot].push((from, to, v));
        }
        assert!(written.iter().all(|&(slot, from, to, v)| holds[slot].contains(&(from, to, v))));
    }
    for output in &plan.recording.outputs {
        if let Some((slot, from, to)) = place(output.value) {
            assert!(holds[slot].contains(&(from, to, roots[output.value as usize])), "{}", output.name);
        }
    }
}

/// Plans graphs as the CPU does, or as a GPU of a class does, and runs nothing.
#[derive(Debug)]
struct Planner(Option<AdapterClass>);

#[derive(Debug)]
struct Planned(Plan);

fn plan_for(class: Option<AdapterClass>, recording: Recording, options: CompileOptions) -> Result<Plan> {
    let caps = class.map(Caps::default_of);
    let executor = match &caps {
        Some(caps) => Executes::Kernels { caps, fuses: true, joins: true, tuned: None },
        None => Executes::Formulas,
    };
    lower(recording, &Target { executor, options })
}

impl Backend for Planner {
    fn info(&self) -> DeviceInfo {
        let kind = String::new;
        DeviceInfo { name: "planner".into(), backend: kind(), driver: kind(), kind: kind() }
    }

    fn compile(&self, recording: Recording, options: CompileOptions) -> Result<Box<dyn Executor>> {
        let plan = plan_for(self.0, recording, options)?;
        check(&plan);
        Ok(Box::new(Planned(plan)))
    }

    fn read_state(&self, param: &Param) -> Result<Data> {
        Ok(param.initial())
    }

    fn write_state(&self, _: &Param, _: Feed<'_>) -> Result<()> {
        Ok(())
    }

    fn wait(&self) -> Result<()> {
        Ok(())
    }
}

impl Executor for Planned {
    fn plan(&self) -> &Plan {
        &self.0
    }

    fn feed(&mut self, _: usize, _: Feed<'_>) -> Result<()> {
        Ok(())
    }

    fn run(&mut self) -> Result<()> {
        Ok(())
    }

    fn read(&mut self, _: usize) -> Result<Readback> {
        Err(crate::Error::Invalid("nothing ran".into()))
    }

    fn dispatches(&self) -> usize {
        self.0.tasks.len()
    }

    fn profile(&mut self, _: usize, _: Option<crate::backend::Clock>) -> Result<crate::backend::Timings> {
        Err(crate::Error::Invalid("nothing ran".into()))
    }
}

const CLASSES: [Option<AdapterClass>; 4] =
    [None, Some(AdapterClass::Gpu), Some(AdapterClass::Software), Some(AdapterClass::SoftwareLanes8)];

/// Whether a plan needs at most 1.3 times what is live at once.
fn is_near_the_bound(name: &str, class: Option<AdapterClass>, planned: usize, live: usize) -> bool {
    let ratio = planned as f64 / live.max(1) as f64;
    println!("{name:14} {:15} planned {planned:10} live {live:10} {ratio:.3}", format!("{class:?}"));
    planned >= live && ratio <= 1.3
}

/// Training steps of the models of `wgrad train`.
fn training(model: &dyn Layer, params: &Params, batch: usize, image: &[usize]) -> Recording {
    let g = Graph::new();
    let x = g.input("x", &[&[batch], image].concat()[..]);
    let loss = model.forward(x).softmax_cross_entropy(g.classes("y", [batch]));
    Adam::new(params, 1e-3).minimize(loss, &params.trainable());
    g.output("loss", loss);
    g.finish().unwrap()
}

#[test]
fn plans_of_all_workloads_are_near_what_is_live_at_once() {
    let mut names = vec!["mlp-a", "mlp-b", "cnn-a", "cnn-8", "lstm", "transformer"];
    names.extend(["matmul-512", "conv64", "resnet18", "sum-65536", "sum-columns-65536", "matmul-odd"]);
    let mut wrong = Vec::new();
    for class in CLASSES {
        let device = Device::from_backend(Planner(class));
        for workload in names.iter().flat_map(|name| Workload::named(name).unwrap()) {
            let mut case = workload.compile(&device).unwrap();
            let (planned, live) = (case.step().planned_bytes(), case.step().live_bytes());
            if !is_near_the_bound(workload.name(), class, planned, live) {
                wrong.push((workload.name().to_string(), class));
            }
        }
        for (batch, side, widths, depth) in
            [(64, 8, vec![16, 32], 1), (32, 28, vec![16, 32, 64], 2), (64, 28, vec![32, 64], 1)]
        {
            let params = Params::seeded(1);
            let model = ResNet::new(&params, 1, &widths, depth, 10).dropout(0.5);
            let plan =
                plan_for(class, training(&model, &params, batch, &[1, side, side]), CompileOptions::new())
                    .unwrap();
            if !is_near_the_bound("resnet", class, plan.planned_bytes(), plan.live_bytes) {
                wrong.push((format!("resnet {widths:?}"), class));
            }
            let params = Params::seeded(1);
            let model = Cnn::new(&params, [1, side, side], &widths, 10).dropout(0.5);
            let plan =
                plan_for(class, training(&model, &params, batch, &[1, side, side]), CompileOptions::new())
                    .unwrap();
            if !is_near_the_bound("cnn", class, plan.planned_bytes(), plan.live_bytes) {
                wrong.push((format!("cnn {widths:?}"), class));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:?}");
}

/// The gradient of a small weight over many pixels occupies a large GPU: workgroups of its launch, not counting those that add
/// its partial sums.
#[test]
fn gradients_of_weights_are_launched_in_two_waves() {
    let g = Graph::new();
    let (x, w) = (g.input("x", [8, 64, 32, 32]), g.input("w", [64, 64, 3, 3]));
    let y = x.conv2d(w, None, &Conv2dOptions { padding: Padding::SameUpper, ..Conv2dOptions::default() });
    g.output("dw", g.gradients(y.sum_all(), &[w])[0]);
    let plan = plan_for(Some(AdapterClass::Gpu), g.finish().unwrap(), CompileOptions::new()).unwrap();
    let program = plan.tasks.iter().map(|t| &t.program).find(|p| !p.scratch.is_empty()).unwrap();
    assert_eq!(program.dispatches[0].grid.iter().product::<u32>(), 288);
}

/// A graph of random ops over images, rows and numbers, with gradients.
fn random(g: &Graph, seed: u64) {
    let mut rng = Rng::new(seed, "plan");
    let shapes: [&[usize]; 5] = [&[4, 3, 16, 16], &[4, 1, 1, 1], &[16, 16], &[3, 1, 1], &[4, 3, 16, 1]];
    let inputs: Vec<Var<'_>> =
        shapes.iter().enumerate().map(|(i, s)| g.input(&format!("x{i}"), *s)).collect();
    let mut values = inputs.clone();
    for _ in 0..30 {
        let mut pick = || values[rng.below(values.len() as u32) as usize];
        let (a, b) = (pick(), pick());
        let fits = a.shape().broadcast(&b.shape()).is_some();
        let is_image = a.shape().rank() == 4 && a.dim(2) >= 4 && a.dim(3) >= 4;
        values.push(match rng.below(10) {
            0 | 1 if fits => a + b,
            2 if fits => a * b,
            3 | 4 if is_image => a.max_pool2d(PoolOptions::square(2)),
            5 if a.shape().rank() > 1 => a.mean(&[a.shape().rank() - 1]),
            6 if a.shape().rank() > 1 => a.softmax(1),
            7 if a.shape().rank() == 2 && a.dim(1) == 16 => a.matmul(inputs[2]),
            8 => a.relu(),
            _ => a.tanh(),
        });
    }
    let loss = values.iter().fold(g.scalar(0.0), |sum, v| sum + v.mean_all());
    g.output("loss", loss);
    for (i, gradient) in g.gradients(loss, &inputs).into_iter().enumerate() {
        g.output(&format!("d{i}"), gradient);
    }
}

#[test]
fn plans_of_random_graphs_are_near_what_is_live_at_once() {
    let mut wrong = Vec::new();
    for seed in 0..40 {
        for class in CLASSES {
            let g = Graph::new();
            random(&g, seed);
            let plan = plan_for(class, g.finish().unwrap(), CompileOptions::new()).unwrap();
            check(&plan);
            if !is_near_the_bound(&format!("seed {seed}"), class, plan.planned_bytes(), plan.live_bytes) {
                wrong.push((seed, class));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:?}");
}
