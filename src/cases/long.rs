//! Cases with long axes: some drivers end loops after 65,535 iterations and say nothing, so that kernels must cut what is long.

use std::collections::BTreeSet;

use crate::ops::argmax::ArgMax;
use crate::ops::conv::{Conv2d, Conv2dBackwardInput, Conv2dBackwardWeight, Window};
use crate::ops::cross_entropy::{CrossEntropy, CrossEntropyBoth};
use crate::ops::layer_norm::LayerNorm;
use crate::ops::reduce::{Kind, Reduce};
use crate::ops::softmax::{Softmax, SoftmaxGrad};
use crate::ops::{Case, Fillings, Kernels, attention, batch_norm, classes, ctc, matmul, pool, upsample};
use crate::shape::Shape;

/// Cheap ones, which are checked with all others: along axes that one invocation walks where nothing is cut.
pub(super) fn cases() -> Vec<Case> {
    let zeros = |case: Case, i: usize| case.fill(i, Fillings::Given(vec![0.0]));
    let mut cases = Vec::new();
    // The logarithm of the number of classes, where all logits are equal.
    for columns in [32_771, 50_257] {
        let last = Fillings::Given(vec![(columns - 1) as f64, 0.0]);
        let shapes: [&[usize]; 2] = [&[2, columns], &[2]];
        let losses = Case::new(CrossEntropy { soft: false }, &shapes);
        let both = Case::new(CrossEntropyBoth { share: 0.5 }, &shapes);
        for case in [losses, both] {
            cases.push(zeros(case, 0).index(1, columns as u32).fill(1, last.clone()));
        }
    }
    cases.push(Case::new(CrossEntropy { soft: true }, &[&[2, 40_009], &[2, 40_009]]));
    for log in [false, true] {
        cases.push(Case::new(Softmax { log }, &[&[2, 22_003]]));
        cases.push(Case::new(SoftmaxGrad { log }, &[&[2, 33_001], &[2, 33_001]]));
    }
    let mut at_the_end = vec![-1.0; 70_001];
    at_the_end[70_000] = 2.0;
    cases.push(Case::new(ArgMax, &[&[1, 70_001]]).fill(0, Fillings::Given(at_the_end.clone())));
    for (first, shape) in [(0, [70_001, 3]), (0, [66_003, 4]), (1, [3, 70_001]), (1, [257, 33_004])] {
        let sum = Reduce { kind: Kind::Sum, first, count: 1, scale: 1.0 };
        cases.push(Case::new(sum, &[&shape]).exact());
    }
    let max = Reduce { kind: Kind::Max, first: 0, count: 1, scale: 1.0 };
    cases.push(Case::new(max, &[&[70_001]]).fill(0, Fillings::Given(at_the_end)));
    cases.push(Case::new(LayerNorm { eps: 1e-5 }, &[&[65, 30_001], &[30_001], &[30_001]]));
    cases.extend(batch_norm::long_cases());
    cases.extend(matmul::long_cases());
    cases.extend(upsample::long_cases());
    cases.extend(classes::long_cases());
    cases.extend(pool::long_cases());
    cases.extend(ctc::long_cases());
    cases.extend(attention::long_cases());
    cases.extend(convolutions());
    cases.into_iter().map(Case::no_gradient).collect()
}

/// Many channels, large kernels, and many pixels, of convolutions that are small otherwise.
fn convolutions() -> Vec<Case> {
    let window = Window { stride: [1, 1], padding: [[0; 2]; 2], dilation: [1, 1], groups: 1 };
    let forward = |kernels, x: &[usize], weight: &[usize]| {
        Case::new(Conv2d { window, kernels }, &[x, weight, &[weight[0]]]).exact()
    };
    let mut cases = Vec::new();
    for kernels in [Kernels::Best, Kernels::Tiles] {
        cases.push(forward(kernels, &[1, 21_846, 1, 1], &[2, 21_846, 1, 1]));
        cases.push(forward(kernels, &[1, 7001, 3, 3], &[1, 7001, 3, 3]));
        cases.push(forward(kernels, &[1, 1, 257, 256], &[1, 1, 257, 255]));
        let input = Conv2dBackwardInput { window, size: [1, 1], kernels };
        cases.push(Case::new(input, &[&[1, 40_001, 1, 1], &[40_001, 1, 1, 1]]).exact());
        let weight = Conv2dBackwardWeight { window, kernel: [2, 1], bias: true, kernels };
        cases.push(Case::new(weight, &[&[1, 1, 3, 33_001], &[1, 1, 2, 33_001]]).exact());
    }
    cases
}

/// The cases with each of their extents, one after the other and wherever it stands, made `extent`: those that the op still
/// takes. They are many and, as a rule, too large to be run in a test.
#[doc(hidden)]
pub fn stretched(cases: &[Case], extent: usize) -> Vec<Case> {
    let mut all = Vec::new();
    for case in cases {
        let extents: BTreeSet<usize> =
            case.inputs.iter().flat_map(|(ty, _)| ty.shape.dims().to_vec()).collect();
        for old in extents {
            let mut long = case.clone().no_gradient();
            long.name = format!("{} with {extent} for {old}", case.name);
            let fits = long.inputs.iter_mut().all(|(ty, _)| {
                let dims: Vec<usize> =
                    ty.shape.dims().iter().map(|&n| if n == old { extent } else { n }).collect();
                Shape::new(&dims).map(|shape| ty.shape = shape).is_some()
            });
            let types: Vec<_> = long.inputs.iter().map(|(ty, _)| *ty).collect();
            if fits && long.op.infer(&types).is_ok() {
                all.push(long);
            }
        }
    }
    all
}

/// Cases with axes of 30,000 to 200,000 for every op that takes them: one for each op, rank and place of the axis, of those
/// that are small enough to be run at leisure. What `wgrad check --long` adds.
#[doc(hidden)]
pub fn long_registry() -> Vec<Case> {
    let registry = super::registry();
    let mut seen = BTreeSet::new();
    let mut cases = Vec::new();
    for extent in [30_011, 65_537, 200_000] {
        for case in stretched(&registry, extent) {
            let types: Vec<_> = case.inputs.iter().map(|(ty, _)| *ty).collect();
            let outputs = case.op.infer(&types).unwrap_or_default();
            let elements: usize = types.iter().chain(&outputs).map(|ty| ty.shape.elements()).sum();
            let places: Vec<Vec<bool>> =
                types.iter().map(|ty| ty.shape.dims().iter().map(|&n| n == extent).collect()).collect();
            let is_small = elements <= 1 << 21 && case.op.flops(&types, &outputs) <= 1 << 27;
            if is_small && seen.insert((extent, case.op.name(), places)) {
                cases.push(case);
            }
        }
    }
    cases
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::ops::{AdapterClass, Caps, KernelContext, Program};

    const CLASSES: [AdapterClass; 3] =
        [AdapterClass::Gpu, AdapterClass::Software, AdapterClass::SoftwareLanes8];

    /// The launches of a case where loops end after as many iterations as on software adapters; `None` where another limit
    /// excludes it.
    fn program(case: &Case, class: AdapterClass) -> Option<Program> {
        let caps = Caps { max_loop_iterations: 1 << 15, ..Caps::default_of(class) };
        let inputs: Vec<_> = case.inputs.iter().map(|(ty, _)| *ty).collect();
        let outputs = case.op.infer(&inputs).unwrap();
        case.op.dispatch(&KernelContext::new(&caps, &inputs, &outputs)).ok()
    }

    #[test]
    fn every_launch_declares_its_loop_iterations() {
        let mut with_loops = 0;
        for (case, class) in
            crate::cases::registry().iter().flat_map(|case| CLASSES.map(|class| (case, class)))
        {
            for dispatch in program(case, class).unwrap().dispatches {
                let iterations = dispatch.most_loop_iterations();
                assert!(
                    iterations.is_some(),
                    "{}: {} as {class:?} does not say",
                    case.name,
                    dispatch.kernel.key
                );
                with_loops += usize::from(iterations > Some(0));
            }
        }
        assert!(with_loops > 1000, "{with_loops}");
    }

    #[test]
    fn no_loop_is_longer_than_an_adapter_allows_however_long_an_axis_is() {
        let mut cut: BTreeMap<&str, usize> = BTreeMap::new();
        let (mut tried, mut refused) = (0, BTreeMap::new());
        // Kernels that are asked for by name stay as they are, and are refused.
        let registry = crate::cases::registry();
        for extent in [30_011, 65_537, 200_000] {
            for (case, class) in
                stretched(&registry, extent).iter().flat_map(|case| CLASSES.map(|class| (case, class)))
            {
                let Some(program) = program(case, class) else { continue };
                tried += 1;
                let name = case.op.name();
                for dispatch in &program.dispatches {
                    let iterations = dispatch.most_loop_iterations().unwrap();
                    if iterations > 1 << 15 {
                        refused
                            .entry((name, dispatch.kernel.entry.clone()))
                            .or_insert((iterations, case.name.clone()));
                    }
                }
                let most =
                    program.dispatches.iter().filter_map(|d| d.most_loop_iterations()).max().unwrap_or(0);
                *cut.entry(name).or_default() += usize::from(most > 1 << 10);
            }
        }
        println!("{tried} launches of long cases");
        refused.retain(|(_, entry), _| !entry.ends_with("_plain"));
        assert!(refused.is_empty(), "{refused:#?}");
        for op in [
            "sum",
            "max",
            "softmax",
            "cross_entropy",
            "argmax",
            "scatter_rows",
            "max_pool2d",
            "conv2d",
            "ctc",
        ] {
            assert!(cut.get(op).is_some_and(|n| *n > 0), "no long case of {op}: {cut:?}");
        }
        assert!(tried > 3000, "{tried}");
    }
}
