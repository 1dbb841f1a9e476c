use super::Graph;
use crate::op::{Below, In, KernelContext, Op, Out, Program, Real, Reference, Traits};
use crate::shape::TensorType;

/// An op from outside the crate that says what it is told to say.
#[derive(Debug, Clone, Default)]
struct Told {
    outputs: usize,
    writes: usize,
    traits: Traits,
    fails: bool,
}

impl<T: Real> Reference<T> for Told {
    fn eval(&self, _: &[In<'_, T>], _: &mut [Out<'_, T>]) -> Result<(), String> {
        Ok(())
    }
}

impl Op for Told {
    fn name(&self) -> &'static str {
        "told"
    }

    fn writes(&self) -> usize {
        self.writes
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>, String> {
        if self.fails { Err("does not fit".into()) } else { Ok(vec![inputs[0]; self.outputs]) }
    }

    fn traits(&self) -> Traits {
        self.traits.clone()
    }

    fn dispatch(&self, _: &KernelContext<'_>) -> crate::Result<Program> {
        unreachable!("nothing is compiled")
    }
}

/// The message for an op of one input; all its outputs can be asked for and used.
fn mistake(op: Told) -> Option<String> {
    let g = Graph::new();
    let outputs = g.custom(op.clone(), &[g.input("x", [3])]);
    for output in &outputs[..op.outputs.min(super::MAX_OUTPUTS)] {
        let _ = output.relu().sum_all();
    }
    g.error().map(|e| e.to_string())
}

#[test]
fn every_output_of_a_failed_op_can_be_used() {
    assert_eq!(mistake(Told { outputs: 72, ..Told::default() }), None);
    let failed = mistake(Told { outputs: 72, fails: true, ..Told::default() });
    assert!(failed.unwrap().contains("does not fit"));
    let many = mistake(Told { outputs: 257, ..Told::default() });
    assert!(many.unwrap().contains("has 257 outputs; 256 are the most"));
}

#[test]
fn what_an_op_says_of_itself_is_checked() {
    let one = || Told { outputs: 1, ..Told::default() };
    for (op, expected) in [
        (Told { writes: 2, ..one() }, "updates 2 states, but has 1 inputs and 1 outputs"),
        (
            Told { writes: 1, outputs: 0, ..Told::default() },
            "updates 1 states, but has 1 inputs and 0 outputs",
        ),
        (Told { writes: 1, ..one() }, "updates a value that is not a state"),
        (
            Told { traits: Traits::default().indices(1, Below::Count(2)), ..one() },
            "its traits name input 1; its inputs are 0..1",
        ),
        (
            Told { traits: Traits::default().indices(0, Below::Extent { input: 3, axis: 0 }), ..one() },
            "its traits name input 3; its inputs are 0..1",
        ),
        (
            Told { traits: Traits::default().moving(2), ..one() },
            "its traits name input 2; its inputs are 0..1",
        ),
        (
            Told { traits: Traits::default().drawing_by(4), ..one() },
            "its traits name input 4; its inputs are 0..1",
        ),
    ] {
        let message = mistake(op).unwrap_or_default();
        assert!(message.contains(expected), "{message}");
    }
}
