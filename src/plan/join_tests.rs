use crate::graph::{Graph, Init, Params};
use crate::op::{AdapterClass, Caps};
use crate::plan::{CompileOptions, Executes, Plan, Target, lower};

fn plan(g: &Graph, class: AdapterClass, joins: bool) -> Plan {
    let caps = Caps { storage_buffers: 32, ..Caps::default_of(class) };
    let executor = Executes::Kernels { caps: &caps, fuses: true, joins, tuned: None };
    lower(g.finish().unwrap(), &Target { executor, options: CompileOptions::new() }).unwrap()
}

fn launches(plan: &Plan) -> usize {
    plan.tasks.iter().map(|t| t.program.dispatches.len()).sum()
}

#[test]
fn small_launches_in_a_row_are_one() {
    let g = Graph::new();
    let x = g.input("x", [40]);
    let first = x.softmax(0);
    let second = first.reshape([4, 10]).log_softmax(1);
    g.output("y", second.argmax(1));
    for class in [AdapterClass::Gpu, AdapterClass::Software] {
        let joined = plan(&g, class, true);
        assert_eq!(joined.tasks.len(), 1, "{joined}");
        let [task] = &joined.tasks[..] else { panic!() };
        let text = &task.program.dispatches[0].kernel.text;
        assert_eq!((task.nodes.len(), text.matches("storageBarrier();").count()), (3, 2), "{text}");
        assert_eq!(plan(&g, class, false).tasks.len(), 3);
    }
}

/// An invocation takes over those of other workgroups, one after the other: those are iterations as well.
#[test]
fn iterations_of_members_are_added_up() {
    let g = Graph::new();
    let y = g.input("x", [1000]).exp();
    g.output("y", y);
    g.output("at", y.argmax(0));
    let of = |joins| {
        let plan = plan(&g, AdapterClass::Software, joins);
        let dispatches = plan.tasks.iter().flat_map(|t| &t.program.dispatches);
        dispatches.map(|d| (d.grid[0], d.most_loop_iterations().unwrap())).collect::<Vec<_>>()
    };
    let (apart, joined) = (of(false), of(true));
    let [(groups, 0), (1, argmax)] = apart[..] else { panic!("{apart:?}") };
    assert!(groups > 1);
    assert_eq!(joined, [(1, groups as usize + 1 + argmax)]);
}

/// A launch moves past what it has nothing to do with, and no further.
#[test]
fn launches_move_past_others() {
    let params = Params::seeded(0);
    let (a, b) = (params.state("a", [1], Init::Constant(1.0)), params.state("b", [1], Init::Constant(1.0)));
    let record = |blocks: bool| {
        let g = Graph::new();
        let x = g.input("x", [512, 512]);
        let old = g.param(&a) * 2.0;
        g.output("old", old);
        // Large: reads the state, or not.
        g.output("large", x.matmul(x) + if blocks { g.param(&b) } else { g.scalar(1.0) });
        g.param(&b).assign(old + 1.0);
        g
    };
    assert_eq!(launches(&plan(&record(false), AdapterClass::Software, true)), 2);
    assert_eq!(launches(&plan(&record(true), AdapterClass::Software, true)), 3);
    // The old value is computed beside the product, the update after both.
    assert_eq!(launches(&plan(&record(true), AdapterClass::Gpu, true)), 2);
}

/// Parts that are put together have nothing to do with each other; twelve are one launch.
#[test]
fn gpus_copy_parts_side_by_side() {
    let of = |parts: usize, class: AdapterClass| {
        let g = Graph::new();
        let x = g.input("x", [40, 6]);
        let rows: Vec<_> = (0..parts).map(|i| x.slice(0, i, 2).permute(&[1, 0])).collect();
        g.output("y", rows[0].concat(&rows[1..], 1));
        launches(&plan(&g, class, true))
    };
    assert_eq!([3, 12, 15].map(|parts| of(parts, AdapterClass::Gpu)), [1, 1, 2]);
    // In one workgroup these would follow each other, were they programs of their own.
    assert_eq!(of(3, AdapterClass::Software), 3);
}

/// The gradients of a weight and of an input have nothing to do with each other.
#[test]
fn gpus_run_independent_launches_side_by_side() {
    let saved = |outputs: usize, class: AdapterClass| {
        let g = Graph::new();
        let (x, w) = (g.input("x", [64, 128]), g.input("w", [outputs, 128]));
        let loss = x.matmul_nt(w).square().sum_all();
        let gradients = g.gradients(loss, &[x, w]);
        gradients.into_iter().zip(["dx", "dw"]).for_each(|(d, name)| g.output(name, d));
        let [apart, beside] = [false, true].map(|joins| launches(&plan(&g, class, joins)));
        apart - beside
    };
    // Ten rows would have smaller blocks than the other gradient, were there more of them.
    assert_eq!([64, 10].map(|outputs| saved(outputs, AdapterClass::Gpu)), [1, 1]);
    assert_eq!(saved(64, AdapterClass::Software), 0);
    // What fills a device stays alone.
    let g = Graph::new();
    let (x, w) = (g.input("x", [8192, 64]), g.input("w", [64, 8192]));
    g.output("a", x.matmul(w));
    g.output("b", x.matmul(w * 2.0));
    let [apart, beside] = [false, true].map(|joins| launches(&plan(&g, AdapterClass::Gpu, joins)));
    assert_eq!(beside, apart);
}
