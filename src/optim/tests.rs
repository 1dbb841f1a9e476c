use super::*;
use crate::graph::{Init, Params};
use crate::tensor::Data;

fn model() -> (Params, Param, Param) {
    let params = Params::seeded(1);
    let a = params.at("a").param("weight", [1], Init::Constant(2.0));
    let b = params.at("b").param("weight", [1], Init::Constant(3.0));
    (params, a, b)
}

fn names(params: &Params) -> Vec<String> {
    params.all().iter().map(|p| p.name().to_string()).collect()
}

fn ops(g: &Graph) -> Vec<&'static str> {
    g.inner.borrow().nodes.iter().map(|n| n.op.name()).collect()
}

fn error(record: impl Fn(&Graph, &Params, &Param, &Param)) -> String {
    let (params, a, b) = model();
    let g = Graph::new();
    record(&g, &params, &a, &b);
    g.error().map_or_else(String::new, |e| e.to_string())
}

#[test]
fn states_are_named_after_optimizer_and_parameter() {
    let (params, a, b) = model();
    let g = Graph::new();
    let loss = g.param(&a) * g.param(&b);
    Adam::new(&params.at("a"), 1e-3).minimize(loss, &params.trainable());
    assert!(g.error().is_none(), "{g}");
    let adam = ["lr", "t.a.weight", "t.b.weight", "m.a.weight", "v.a.weight", "m.b.weight", "v.b.weight"];
    assert_eq!(names(&params)[2..], adam.map(|name| format!("adam.{name}")));
    assert_eq!(params.trainable().len(), 2);

    let g = Graph::new();
    let sgd = Sgd::new(&params, 0.1).momentum(0.9).nesterov().named("slow");
    sgd.minimize(g.param(&a).square(), std::slice::from_ref(&a));
    assert!(g.error().is_none(), "{g}");
    assert_eq!(names(&params)[9..], ["slow.lr", "slow.momentum.a.weight"]);
    assert_eq!((sgd.lr(), sgd.lr_state().name()), (0.1, "slow.lr"));
    assert_eq!(sgd.lr_state().initial(), Data::F32(vec![0.1]));
}

#[test]
fn gradients_come_before_updates_and_updates_in_order() {
    let (params, a, b) = model();
    let g = Graph::new();
    let loss = (g.param(&a) * g.param(&b)).square();
    AdamW::new(&params, 1e-3).minimize(loss, &params.trainable());
    assert!(g.error().is_none(), "{g}");
    let ops = ops(&g);
    let tick = ops.iter().position(|&op| op == "adam_tick").unwrap();
    // Both in one launch.
    assert_eq!(ops[tick..], ["adam_tick", "adam_update"]);
    let text = g.to_string();
    assert!(text.contains("# adamw.a.weight+b.weight"), "{text}");
    assert!(text.contains("decoupled: true") && text.contains("decay: 0.01"), "{text}");
}

#[test]
fn a_gradient_that_is_a_state_is_read_before_the_update() {
    let (params, a, b) = model();
    let g = Graph::new();
    let gradients = [g.param(&b), g.param(&a)];
    Sgd::new(&params, 0.1).apply(&g, &[a, b], &gradients);
    assert!(g.error().is_none(), "{g}");
    assert_eq!(ops(&g), ["copy", "copy", "sgd_update"]);
}

#[test]
fn frozen_and_unused_parameters_keep_their_value() {
    let (params, a, b) = model();
    let c = params.param("c", [1], Init::Constant(1.0));
    a.set_trainable(false);
    let g = Graph::new();
    let loss = g.param(&a) * g.param(&b);
    g.param(&c);
    Sgd::new(&params, 0.1).minimize(loss, &[a.clone(), b.clone(), c]);
    assert!(g.error().is_none(), "{g}");
    let versions =
        |p: &Param| g.inner.borrow().states.iter().find(|s| s.param.id() == p.id()).unwrap().versions;
    assert_eq!((versions(&a), versions(&b)), (1, 2));
    assert_eq!(ops(&g).iter().filter(|&&op| op == "sgd_update").count(), 1);
    // Given to `apply` with gradients, frozen ones are left out too.
    let g = Graph::new();
    let one = g.full([1], 1.0);
    Sgd::new(&params, 0.1).apply(&g, &[a, b], &[one, one]);
    assert_eq!(ops(&g).iter().filter(|&&op| op == "sgd_update").count(), 1);
}

#[test]
fn two_optimizers_share_a_graph_if_losses_come_after_updates() {
    let (params, a, b) = model();
    let g = Graph::new();
    let generator = Adam::new(&params, 1e-3).named("generator");
    let critic = Adam::new(&params, 1e-3).named("critic");
    generator.minimize(g.param(&a) * g.param(&b), std::slice::from_ref(&a));
    // The updated `a` is a leaf, although its update was computed from `b`.
    critic.minimize(g.param(&a) * g.param(&b), std::slice::from_ref(&b));
    assert!(g.error().is_none(), "{g}");
    assert_eq!(
        ops(&g),
        [
            "mul",
            "fill",
            "cotangent_mul",
            "adam_tick",
            "adam_update",
            "mul",
            "fill",
            "cotangent_mul",
            "cotangent_mul",
            "adam_tick",
            "adam_update"
        ]
    );
    let stale = error(|g, params, a, b| {
        let loss = (g.param(a) * g.param(b)).square();
        let sgd = Sgd::new(params, 0.1);
        sgd.minimize(loss, std::slice::from_ref(a));
        sgd.minimize(loss, std::slice::from_ref(a));
    });
    assert!(stale.contains("`a.weight` as it was before an update"), "{stale}");
}

#[test]
fn nothing_to_minimize_is_an_error() {
    let empty = error(|g, params, a, _| Sgd::new(params, 0.1).minimize(g.param(a), &[]));
    assert!(empty.contains("no parameters to update"), "{empty}");
    let frozen = error(|g, params, a, _| {
        params.freeze();
        Sgd::new(params, 0.1).minimize(g.param(a), std::slice::from_ref(a));
    });
    assert!(frozen.contains("all of the 1 parameters given are frozen"), "{frozen}");
    let unused = error(|g, params, a, b| Sgd::new(params, 0.1).minimize(g.param(a), std::slice::from_ref(b)));
    assert!(unused.contains("does not depend on any"), "{unused}");
}

#[test]
fn wrong_settings_are_errors_that_say_what_is_wrong_and_where() {
    type Make = fn(&Params) -> Box<dyn Optimizer>;
    let cases: [(Make, &str); 11] = [
        (|p| Box::new(Sgd::new(p, -0.1)), "learning rate must be 0 or more, got -0.1"),
        (|p| Box::new(Adam::new(p, f32::NAN)), "learning rate"),
        (|p| Box::new(Sgd::new(p, 0.1).momentum(-0.9)), "momentum must be 0 or more, got -0.9"),
        (|p| Box::new(Sgd::new(p, 0.1).momentum(f32::NAN)), "momentum"),
        (|p| Box::new(Sgd::new(p, 0.1).nesterov()), "needs momentum"),
        (|p| Box::new(Sgd::new(p, 0.1).weight_decay(-1.0)), "weight decay"),
        (|p| Box::new(Adam::new(p, 0.1).betas(1.0, 0.9)), "betas must be in [0, 1), got 1"),
        (|p| Box::new(Adam::new(p, 0.1).betas(0.9, f64::NAN)), "betas"),
        (|p| Box::new(Adam::new(p, 0.1).eps(-1.0)), "eps must be 0 or more"),
        (|p| Box::new(AdamW::new(p, 0.1).weight_decay(f32::INFINITY)), "weight decay"),
        (|p| Box::new(Adam::new(&Params::seeded(p.seed()), 0.1)), "is not among the parameters"),
    ];
    for (make, message) in cases {
        let text = error(|g, params, a, _| make(params).minimize(g.param(a), &params.trainable()));
        assert!(text.contains(message), "{text}");
    }
    let line = line!() + 1;
    let text = error(|g, p, a, _| Sgd::new(p, 0.1).momentum(-1.0).minimize(g.param(a), &p.trainable()));
    assert!(text.ends_with(&format!("{}:{line}", file!())), "{text}");
}

#[test]
fn gradients_must_match_and_names_must_differ() {
    let text = error(|g, p, a, b| Adam::new(p, 0.1).apply(g, &[a.clone(), b.clone()], &[g.param(a)]));
    assert!(text.contains("1 gradients for 2 parameters"), "{text}");
    let text = error(|g, p, a, _| {
        let one = g.full([1], 1.0);
        Adam::new(p, 0.1).apply(g, &[a.clone(), a.clone()], &[one, one]);
    });
    assert!(text.contains("`a.weight` is given twice"), "{text}");
    let text = error(|g, p, a, _| Adam::new(p, 0.1).apply(g, std::slice::from_ref(a), &[g.full([2], 1.0)]));
    assert!(text.contains("differ in shape"), "{text}");
    let text = error(|g, p, a, b| {
        Adam::new(p, 0.1).minimize(g.param(a), std::slice::from_ref(a));
        Adam::new(p, 0.2).minimize(g.param(b), std::slice::from_ref(b));
    });
    assert!(text.contains("`adam` with learning rate 0.1 already"), "{text}");
}
