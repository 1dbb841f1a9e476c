//! Tests over the whole registry: coverage, layout, gradients, fast paths.

use std::collections::{BTreeMap, BTreeSet};

use super::{edge, registry, shapes};
use crate::check::{case_inputs, check_gradient};
use crate::expected::Expected;
use crate::op::{AdapterClass, Caps, Case, Dispatch, KernelContext, Program};
use crate::tensor::Tensor;

const CLASSES: [AdapterClass; 3] = [AdapterClass::Gpu, AdapterClass::Software, AdapterClass::SoftwareLanes8];

/// Caps of every class, and of an adapter that ends loops early, where what is long is cut in pieces.
fn all_caps() -> impl Iterator<Item = Caps> {
    CLASSES.into_iter().flat_map(|class| {
        let caps = Caps::default_of(class);
        [caps.clone(), Caps { max_loop_iterations: 256, ..caps }]
    })
}

fn program(case: &Case, caps: &Caps) -> Program {
    let inputs: Vec<_> = case.inputs.iter().map(|(ty, _)| *ty).collect();
    let outputs = case.op.infer(&inputs).unwrap_or_else(|e| panic!("{}: {e}", case.name));
    let context = KernelContext::new(caps, &inputs, &outputs);
    case.op.dispatch(&context).unwrap_or_else(|e| panic!("{}: {e}", case.name))
}

/// Every kernel that any case dispatches on any class, by key, with one of its dispatches.
fn kernels() -> BTreeMap<String, Dispatch> {
    let mut found: BTreeMap<String, Dispatch> = BTreeMap::new();
    for case in registry() {
        for caps in all_caps() {
            for dispatch in program(&case, &caps).dispatches {
                let key = dispatch.kernel.key.clone();
                if let Some(other) = found.get(&key) {
                    assert_eq!(other.kernel.text, dispatch.kernel.text, "two texts under key {key}");
                }
                found.insert(key, dispatch);
            }
        }
    }
    found
}

#[test]
fn every_shader_function_and_entry_point_is_used_by_a_case() {
    let kernels = kernels();
    let entries: BTreeSet<&str> = kernels.values().map(|d| d.kernel.entry.as_str()).collect();
    for (file, entry) in crate::wgsl::entry_points() {
        assert!(entries.contains(entry), "shaders/{file}.wgsl: no case dispatches `{entry}`");
    }
    for (file, _) in crate::wgsl::FILES {
        for function in crate::wgsl::functions(file) {
            let used = kernels.values().any(|d| d.kernel.text.contains(&format!("fn {function}(")));
            assert!(used, "shaders/{file}.wgsl: nothing uses `{function}`");
        }
    }
}

#[test]
fn parameters_have_the_layout_of_the_shader() {
    let (mut compared, mut others) = (0, Vec::new());
    for (key, dispatch) in kernels() {
        let module = naga::front::wgsl::parse_str(&dispatch.kernel.text).unwrap();
        let uniform = module.global_variables.iter().find(|(_, v)| v.space == naga::AddressSpace::Uniform);
        let Some((_, variable)) = uniform else {
            assert!(dispatch.uniform.is_empty(), "{key}");
            continue;
        };
        let naga::TypeInner::Struct { members, span } = &module.types[variable.ty].inner else {
            panic!("{key}")
        };
        // Whole vectors, which joined launches rely on.
        assert_eq!(dispatch.uniform.len(), (*span as usize).next_multiple_of(16), "{key}");
        // Bytes that are put together by hand have no names.
        if !dispatch.members.is_empty() {
            let member = |m: &naga::StructMember| (m.name.clone().unwrap_or_default(), m.offset as usize);
            let shaders: Vec<_> = members.iter().map(member).filter(|m| !m.0.starts_with("pad")).collect();
            let own: Vec<_> = dispatch.members.iter().map(|(name, at)| (name.to_string(), *at)).collect();
            if own != shaders {
                others.push(format!("{key}: {own:?}, the shader {shaders:?}"));
            }
            compared += 1;
        }
    }
    assert!(others.is_empty(), "{}", others.join("\n"));
    assert!(compared > 500, "only {compared}");
}

#[test]
fn every_gradient_agrees_with_finite_differences() {
    let mut compared = 0;
    let mut failures = Vec::new();
    let mut covered = BTreeSet::new();
    for case in registry().iter().filter(|c| c.gradient) {
        match check_gradient(case, 24) {
            Ok(0) => failures.push(format!("{}: no derivative was compared", case.name)),
            Ok(n) => compared += n,
            Err(message) => failures.push(format!("{}: {message}", case.name)),
        }
        covered.insert(case.op.name());
    }
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
    println!("{compared} derivatives of {} ops compared", covered.len());
}

#[test]
fn the_check_of_gradients_finds_a_wrong_one() {
    #[derive(Debug)]
    struct Wrong;
    impl<T: crate::op::Real> crate::op::Reference<T> for Wrong {
        fn eval(&self, i: &[crate::op::In<'_, T>], o: &mut [crate::op::Out<'_, T>]) -> Result<(), String> {
            o[0].f().iter_mut().zip(i[0].f()).for_each(|(y, x)| *y = *x * *x);
            Ok(())
        }
    }
    impl crate::op::Op for Wrong {
        fn name(&self) -> &'static str {
            "wrong"
        }
        fn infer(&self, i: &[crate::TensorType]) -> Result<Vec<crate::TensorType>, String> {
            Ok(i.to_vec())
        }
        fn grad<'g>(&self, of: crate::op::Backward<'_, 'g>) -> crate::op::Gradients<'g> {
            Ok(vec![of.upstream[0].map(|dy| dy * of.inputs[0])])
        }
        fn dispatch(&self, _: &KernelContext<'_>) -> crate::Result<Program> {
            Ok(Program::default())
        }
    }
    assert!(check_gradient(&Case::new(Wrong, &[&[5]]), 5).is_err());
}

/// The plain formulas in f32, and the CPU device's faster paths in both precisions, within the bounds of the op.
#[test]
fn fast_paths_agree_with_the_plain_formulas() {
    let mut failures = Vec::new();
    for case in registry() {
        let inputs = case_inputs(&case);
        let expected = Expected::new(&*case.op, &inputs, true).unwrap();
        // The plain sums of moments cancel in f32 what kernels and fast paths keep.
        let paths = if format!("{:?}", case.op).contains("Norm {") { &[false][..] } else { &[true, false] };
        for &plain in paths {
            let found = crate::cpu::run_op::<f32>(&*case.op, &inputs, plain).unwrap();
            let (_, message) = expected.compare(&found);
            failures.extend(message.map(|m| format!("{}, plain {plain}: {m}", case.name)));
        }
        let apart = expected.apart(&Expected::new(&*case.op, &inputs, false).unwrap());
        failures.extend((apart > 1e-6).then(|| format!("{}: {apart:e} times the bound in f64", case.name)));
    }
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn every_op_has_cases_that_fit_it() {
    let names: BTreeSet<&str> = registry().iter().map(|c| c.op.name()).collect();
    // Each of the ops, by name.
    for name in [
        "matmul",
        "matmul_nt",
        "matmul_tn",
        "add",
        "sub",
        "mul",
        "div",
        "neg",
        "exp",
        "log",
        "sqrt",
        "pow",
        "abs",
        "minimum",
        "maximum",
        "clamp",
        "equal",
        "less",
        "greater",
        "select",
        "reshape",
        "permute",
        "slice",
        "concat",
        "pad",
        "broadcast",
        "sigmoid",
        "tanh",
        "relu",
        "leaky_relu",
        "softmax",
        "log_softmax",
    ] {
        assert!(names.contains(name), "no case of `{name}`");
    }
    for case in registry() {
        let inputs: Vec<Tensor> = case_inputs(&case);
        assert_eq!(inputs.len(), case.inputs.len(), "{}", case.name);
    }
}

/// Cases that are taken out of recordings: each recording has the op that is looked for.
#[test]
fn what_is_recorded_has_the_op() {
    let lists = [edge::indices(), edge::ties(), shapes::many_axes(), shapes::averages()];
    assert_eq!(lists.map(|list| list.iter().position(Option::is_none)), [None; 4]);
    assert_eq!(shapes::folded().len(), 49);
}
