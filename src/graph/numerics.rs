//! Which op gave NaN or an infinity first: a flag that is looked at after every run.

use super::{Graph, Node, Param, Params, Recording, Source, SourceLocation, ValueId, Var};
use crate::error::{INPUT, NumericsError};
use crate::shape::DType;

/// What the output is called that holds the flag.
pub(crate) const OUTPUT: &str = "wgrad.numerics";

/// What is checked.
#[derive(Debug, Clone)]
pub(crate) struct Numerics {
    /// The mark of the first node that was at fault, which is the largest; 0 for none.
    found: Param,
    /// Nodes by their marks, from the largest on.
    checked: Vec<NumericsError>,
    /// Whether nodes are checked as they are recorded.
    is_on: bool,
}

impl Numerics {
    fn mark(k: usize) -> u32 {
        u32::MAX - k as u32
    }

    /// Whose mark this is.
    pub(crate) fn of_mark(&self, mark: u32) -> Option<&NumericsError> {
        self.checked.get((u32::MAX - mark) as usize)
    }
}

impl Graph {
    /// Looks at all floats that are fed and that ops recorded from here on compute, and at the parameters that they update:
    /// after a run [`Step::check_numerics`](crate::Step::check_numerics) names the op that gave NaN or an infinity first.
    ///
    /// A launch is added for each op, and what fusion would keep in registers is written: a step takes up to twice as long
    /// (docs/BENCHMARKS.md), and in mixed precision more values are rounded to 16 bits. With a
    /// [`LossScale`](crate::optim::LossScale), whose gradients may overflow, only what is recorded before its `minimize`
    /// is looked at.
    ///
    /// ```
    /// use wgrad::{Device, Graph};
    /// let g = Graph::new();
    /// g.check_numerics();
    /// let x = g.input("x", [2]);
    /// g.output("y", x.log().sum_all());
    /// let mut step = Device::cpu().compile(&g)?;
    /// step.run_with(&[("x", (&[1.0, 2.0]).into())])?;
    /// step.check_numerics()?;
    /// step.run_with(&[("x", (&[1.0, -1.0]).into())])?;
    /// assert!(step.check_numerics().unwrap_err().to_string().contains("`log`"));
    /// # Ok::<(), wgrad::Error>(())
    /// ```
    pub fn check_numerics(&self) {
        let mut inner = self.inner.borrow_mut();
        match &mut inner.numerics {
            Some(numerics) => numerics.is_on = true,
            None => {
                let found = Params::seeded(0).at("numerics").counter("found");
                inner.numerics = Some(Numerics { found, checked: Vec::new(), is_on: true });
            }
        }
    }

    /// Ends it for what is recorded from here on.
    pub(crate) fn leave_numerics(&self) {
        if let Some(numerics) = &mut self.inner.borrow_mut().numerics {
            numerics.is_on = false;
        }
    }

    /// Appends the check of an input, if there is to be one.
    pub(super) fn check_input(&self, name: &str, value: ValueId, location: SourceLocation) {
        let error = NumericsError {
            node: format!("%{value} input"),
            op: INPUT.into(),
            scope: name.into(),
            location: location.to_string(),
            is_gradient: false,
            step: None,
        };
        let marked = self.inner.borrow_mut().marked(vec![value], error);
        self.check(marked);
    }

    /// Appends the check of a node that was recorded, if there is to be one.
    pub(super) fn check_node(&self, node: usize) {
        let marked = self.inner.borrow_mut().marked_of(node);
        self.check(marked);
    }

    fn check(&self, marked: Option<(Param, Vec<ValueId>, u32)>) {
        let Some((found, values, mark)) = marked else { return };
        let values: Vec<Var<'_>> = values.into_iter().map(|id| Var { graph: self, id }).collect();
        // Checks are not checked.
        self.leave_numerics();
        Var::flag_nonfinite(&values, self.param(&found), mark);
        self.check_numerics();
    }

    /// The flag as an output.
    pub(super) fn output_numerics(&self) {
        let found = self.inner.borrow().numerics.as_ref().map(|numerics| numerics.found.clone());
        if let Some(found) = found {
            self.output(OUTPUT, self.param(&found));
        }
    }
}

impl Recording {
    /// The flag, those of some values that are floats, and a mark for them; nothing where there are none, or nothing is checked.
    fn marked(
        &mut self,
        mut values: Vec<ValueId>,
        error: NumericsError,
    ) -> Option<(Param, Vec<ValueId>, u32)> {
        values.retain(|&id| self.values[id as usize].ty.dtype == DType::F32);
        let numerics = self.numerics.as_mut().filter(|numerics| numerics.is_on && !values.is_empty())?;
        let mark = Numerics::mark(numerics.checked.len());
        numerics.checked.push(error);
        Some((numerics.found.clone(), values, mark))
    }

    /// The same of a node that was recorded.
    fn marked_of(&mut self, node: usize) -> Option<(Param, Vec<ValueId>, u32)> {
        self.numerics.as_ref().filter(|numerics| numerics.is_on)?;
        let node: &Node = &self.nodes[node];
        let traits = node.op.traits();
        // What moves elements is at fault for none, and what has no inputs is a constant.
        if node.inputs.is_empty() || traits.is_alias || traits.moves.is_some() {
            return None;
        }
        // Other states may be infinite, as Adam's second moment.
        let is_looked_at = |id: &&ValueId| match self.values[**id as usize].source {
            Source::State { state, .. } => self.states[state].param.is_trainable(),
            _ => true,
        };
        let values: Vec<ValueId> = node.outputs.iter().filter(is_looked_at).copied().collect();
        let error = NumericsError {
            node: node.label(),
            op: node.op.name().to_string(),
            scope: node.scope.to_string(),
            location: node.location.to_string(),
            is_gradient: node.is_gradient,
            step: None,
        };
        self.marked(values, error)
    }
}
