//! The kernels that an op or a graph asks an adapter for, as text. No adapter is needed: what [`Caps`] say is enough.

use crate::env::is_off;
use crate::error::{Error, Result};
use crate::graph::Graph;
use crate::op::{Caps, Case, Kernel, KernelContext};
use crate::plan::{CompileOptions, Executes, Target, lower};
use crate::shape::TensorType;

/// What runs kernels: the adapter's class and limits, and whether it knows 64-bit integers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Runs {
    /// What kernels may rely on.
    pub caps: Caps,
    /// Whether its shaders have 64-bit integers.
    pub words64: bool,
}

/// A kernel, and the ops that it computes.
#[derive(Debug, Clone)]
pub struct Listed {
    /// Names of the ops, as printed plans have them.
    pub ops: String,
    /// The text as the adapter's class gets it.
    pub kernel: Kernel,
}

/// Each kernel once, in the order of launches.
#[derive(Default)]
struct List(Vec<Listed>);

impl List {
    fn add(&mut self, ops: String, kernel: &Kernel, on: &Runs) {
        if self.0.iter().all(|listed| listed.kernel.key != kernel.key) {
            self.0.push(Listed { ops, kernel: kernel.clone().tuned(on.caps.class, on.words64) });
        }
    }
}

/// The kernels of an op alone, on inputs like those of a case.
///
/// # Errors
/// Where such an adapter cannot run it.
pub fn of_case(case: &Case, on: &Runs) -> Result<Vec<Listed>> {
    let inputs: Vec<TensorType> = case.inputs.iter().map(|(ty, _)| *ty).collect();
    let outputs = case.op.infer(&inputs).map_err(Error::Invalid)?;
    let mut list = List::default();
    for dispatch in &case.op.dispatch(&KernelContext::new(&on.caps, &inputs, &outputs))?.dispatches {
        list.add(case.op.name().to_string(), &dispatch.kernel, on);
    }
    Ok(list.0)
}

/// The kernels of a graph, planned as a device with such an adapter would plan it, the switches of the environment
/// included.
///
/// # Errors
/// The first mistake of the recording, or a limit of the adapter.
pub fn of_graph(graph: &Graph, on: &Runs) -> Result<Vec<Listed>> {
    let executor = Executes::Kernels {
        caps: &on.caps,
        fuses: !is_off("WGRAD_FUSE"),
        joins: !is_off("WGRAD_JOIN"),
        tuned: None,
    };
    let plan = lower(graph.finish()?, &Target { executor, options: CompileOptions::new() })?;
    let mut list = List::default();
    for task in &plan.tasks {
        for dispatch in &task.program.dispatches {
            list.add(plan.label(task), &dispatch.kernel, on);
        }
    }
    Ok(list.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::AdapterClass;

    /// Both ways give the kernel of an op that stands alone, and each kernel is there once.
    #[test]
    fn an_op_alone_has_one_kernel_either_way() {
        for class in [AdapterClass::Gpu, AdapterClass::Software] {
            let on = Runs { caps: Caps::default_of(class), words64: false };
            let g = Graph::new();
            g.output("y", g.input("x", [130, 33]).gelu());
            let of_graph = of_graph(&g, &on).unwrap();
            let case = crate::cases::registry().into_iter().find(|case| case.op.name() == "gelu").unwrap();
            let of_case = of_case(&case, &on).unwrap();
            assert_eq!((of_graph.len(), of_case.len()), (1, 1));
            assert_eq!(of_graph[0].kernel.key, of_case[0].kernel.key);
            assert_eq!(of_graph[0].kernel.text, of_case[0].kernel.text);
            assert!(of_case[0].kernel.text.contains("fn gelu_fn") && of_case[0].ops == "gelu");
            let mut list = List::default();
            for _ in 0..2 {
                list.add("gelu".into(), &of_case[0].kernel, &on);
            }
            assert_eq!(list.0.len(), 1);
        }
    }

    #[test]
    fn a_mistake_of_the_recording_is_told() {
        let g = Graph::new();
        g.output("y", g.input("a", [2]) + g.input("b", [3]));
        let on = Runs { caps: Caps::default_of(AdapterClass::Gpu), words64: false };
        assert!(of_graph(&g, &on).unwrap_err().to_string().contains("do not broadcast"));
    }
}
