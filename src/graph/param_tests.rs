use super::*;
use crate::tensor::Tensor;

#[test]
fn names_are_paths_and_asking_twice_gives_the_same() {
    let params = Params::seeded(1);
    let a = params.at("mlp").at("fc1").param("weight", [2, 3], Init::HeUniform);
    assert_eq!(a.name(), "mlp.fc1.weight");
    assert_eq!(params.at("mlp.fc1").shared().param("weight", [2, 3], Init::HeUniform).id(), a.id());
    assert_eq!(params.all().len(), 1);
    assert_eq!(params.at("ml").all().len(), 0);
}

#[test]
fn a_parameter_that_cannot_be_is_refused_where_it_is_used() {
    let refused = |make: &dyn Fn(&Params) -> Param| {
        let g = crate::Graph::new();
        let _ = g.param(&make(&Params::seeded(1)));
        g.error().map_or_else(String::new, |e| e.to_string())
    };
    let clash = refused(&|p| {
        p.param("w", [2, 3], Init::HeUniform);
        p.param("w", [3, 1], Init::HeUniform)
    });
    assert!(clash.contains("`w` is f32[3, 1] here and f32[2, 3] where it was made first"), "{clash}");
    let twice = refused(&|p| {
        p.param("w", [2], Init::HeUniform);
        p.param("w", [2], Init::HeUniform)
    });
    assert!(twice.contains("`w` is the parameter of another layer already"), "{twice}");
    let other = refused(&|p| {
        p.param("w", [2], Init::Constant(1.0));
        p.shared().param("w", [2], Init::Constant(2.0))
    });
    assert!(other.contains("starts with Constant(2.0) here and Constant(1.0)"), "{other}");
    let state = refused(&|p| {
        p.state("w", [2], Init::Constant(1.0));
        p.param("w", [2], Init::Constant(1.0))
    });
    assert!(state.contains("`w` is a state already"), "{state}");
    let shared = refused(&|p| {
        p.state("w", [2], Init::Constant(1.0));
        p.shared().param("w", [2], Init::Constant(1.0))
    });
    assert!(shared.contains("`w` is a state already"), "{shared}");
    for freeze in [false, true] {
        let weight = refused(&|p| {
            p.param("w", [2], Init::Constant(1.0)).set_trainable(!freeze);
            p.state("w", [2], Init::Constant(1.0))
        });
        assert!(weight.contains("`w` is the parameter of a layer already"), "{weight}");
    }
    let again = refused(&|p| {
        p.state("w", [2], Init::Constant(1.0));
        p.state("w", [2], Init::Constant(1.0))
    });
    assert!(again.is_empty(), "{again}");
    let kind = refused(&|p| {
        p.param("w", [1], Init::HeUniform);
        p.counter("w")
    });
    assert!(kind.contains("u32"), "{kind}");
    assert!(refused(&|p| p.param("b", [2, 1, 1, 1, 1, 1, 1], Init::Constant(0.0))).contains("6 axes"));
    assert!(refused(&|p| p.param("b", [0], Init::Constant(0.0))).contains("at least one"));
    let values = Init::Values(Arc::new(Tensor::new([3], vec![1f32, 2.0, 3.0]).unwrap()));
    assert!(refused(&|p| p.param("b", [4], values.clone())).contains("initial values are f32[3]"));
}

#[test]
fn initial_values_depend_on_seed_and_name_not_on_order() {
    let value = |seed, names: &[&str]| {
        let params = Params::seeded(seed);
        names.iter().for_each(|n| drop(params.param(n, [3, 4], Init::Normal(1.0))));
        params.get("w").map(|p| p.initial())
    };
    assert_eq!(value(1, &["w", "v"]), value(1, &["v", "w"]));
    assert_ne!(value(1, &["w"]), value(2, &["w"]));
}

#[test]
fn initial_spreads_follow_the_papers() {
    let spread = |init: Init| {
        let Data::F32(v) = Params::seeded(3).param("w", [200, 100], init).initial() else { panic!() };
        let max = v.iter().fold(0f32, |m, x| m.max(x.abs()));
        let variance = v.iter().map(|x| x * x).sum::<f32>() / v.len() as f32;
        (max, variance)
    };
    let (max, variance) = spread(Init::XavierUniform);
    assert!(max <= (6f32 / 300.0).sqrt() && (variance * 150.0 - 1.0).abs() < 0.05);
    let (max, variance) = spread(Init::HeUniform);
    assert!(max <= (6f32 / 100.0).sqrt() && (variance * 50.0 - 1.0).abs() < 0.05);
    assert!((spread(Init::HeNormal).1 * 50.0 - 1.0).abs() < 0.05);
    assert!((spread(Init::XavierNormal).1 * 150.0 - 1.0).abs() < 0.05);
    assert!(spread(Init::FanIn(100)).0 <= 0.1);
}

#[test]
fn freezing_takes_a_subtree_out_of_the_trainable() {
    let params = Params::seeded(1);
    params.at("a").param("w", [1], Init::Constant(0.0));
    params.at("b").param("w", [1], Init::Constant(0.0));
    params.at("a").freeze();
    assert_eq!(params.trainable().iter().map(|p| p.name().to_string()).collect::<Vec<_>>(), ["b.w"]);
}
