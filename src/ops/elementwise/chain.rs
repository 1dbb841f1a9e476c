//! Several formulas in a row: what one kernel computes of each element, on its own or after another op.

use std::fmt::Write;
use std::sync::Arc;

use super::{Access, Elements};
use crate::op::{Arg, Chain, Kernel, Op, Operand, Pointwise, Step};
use crate::ops::text::{component, vector_type};
use crate::shape::Shape;

/// The chain as a function that another op's kernel calls.
#[derive(Debug)]
pub(crate) struct FunctionText {
    /// Declarations of its inputs.
    pub(crate) bindings: String,
    /// `epilogue(value, at, column)` after the op, and what it calls.
    pub(crate) functions: String,
}

/// Names of a chain's inputs in its text.
pub(super) const NAMES: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];

impl Chain {
    /// Inputs that have names in a chain's text.
    pub(crate) const MOST_INPUTS: usize = NAMES.len();

    pub(super) fn single(op: Arc<dyn Op>, shape: Shape, inputs: Vec<Shape>) -> Self {
        let args = (0..inputs.len()).map(Operand::Input).collect();
        Chain { shape, inputs, steps: vec![Step { op, args }], columns: None, state: None }
    }

    /// How each input is read by one that knows the element's place and, if it has `columns`, its column.
    /// `None` where one has to be read otherwise.
    fn accesses(&self, columns: Option<usize>) -> Option<Vec<Access>> {
        let access = |input: &Shape| match Elements::new(&self.shape, &[*input]).access[0] {
            Access::Suffix(n) if Some(n) == columns => Some(Access::Suffix(n)),
            found @ (Access::Same | Access::Scalar) => Some(found),
            _ => None,
        };
        self.inputs.iter().map(access).collect()
    }

    /// Whether input `i` is read element for element.
    pub(crate) fn reads_in_order(&self, i: usize) -> bool {
        self.inputs
            .get(i)
            .is_some_and(|input| Elements::new(&self.shape, &[*input]).access[0] == Access::Same)
    }

    /// Whether a kernel that knows the place of what it stores can compute it too.
    pub(crate) fn follows(&self, columns: Option<usize>) -> bool {
        self.accesses(columns).is_some()
    }

    /// The chain's inputs as arguments after the `bound` inputs of an op.
    pub(crate) fn args(&self, bound: usize) -> impl Iterator<Item = Arg> + '_ {
        (0..self.inputs.len()).map(move |i| Arg::Input(bound + i))
    }

    /// What tells its text from others'.
    pub(crate) fn key(&self, columns: Option<usize>) -> String {
        let mut key = String::new();
        for access in self.accesses(columns).unwrap_or_default() {
            key.push(match access {
                Access::Same => 'e',
                Access::Scalar => 's',
                _ => 'c',
            });
        }
        key + "." + &self.formula(true)
    }

    /// The steps as text: `relu(add(r,a))`.
    pub(super) fn formula(&self, with_attributes: bool) -> String {
        let steps = self.steps.iter().filter_map(|s| Some((s.op.pointwise()?, &s.args)));
        let text = |(f, args): (&dyn Pointwise, &Vec<Operand>)| {
            let mut parts: Vec<String> =
                args.iter().map(|a| operand(*a, "r", |c| format!("{c:?}"))).collect();
            if with_attributes {
                parts.extend(f.attributes().iter().map(|x| format!("{x:?}")));
            }
            format!("{}({})", f.function(), parts.join(","))
        };
        steps.map(text).collect::<Vec<_>>().join(";")
    }

    /// `<function>_fn<n>` of each formula of some chains, which applies it to vectors of `n`.
    pub(super) fn wrappers(chains: &[&Chain], n: usize) -> String {
        let mut text = String::new();
        let mut done: Vec<&str> = Vec::new();
        let ty = vector_type("f32", n);
        let steps = chains.iter().flat_map(|chain| &chain.steps);
        for f in steps.filter_map(|s| s.op.pointwise()).filter(|_| n > 1) {
            let name = f.function();
            if done.contains(&name) {
                continue;
            }
            done.push(name);
            let names = &NAMES[..f.arity()];
            let attributes: Vec<String> = (0..f.attributes().len()).map(|j| format!("p{j}")).collect();
            let mut parameters: Vec<String> = names.iter().map(|a| format!("{a}: {ty}")).collect();
            parameters.extend(attributes.iter().map(|a| format!("{a}: f32")));
            let call = |i: usize| {
                let mut parts: Vec<String> = names.iter().map(|a| component(a, n, i)).collect();
                parts.extend(attributes.iter().cloned());
                format!("{name}_fn({})", parts.join(", "))
            };
            let calls: Vec<String> = (0..n).map(call).collect();
            let _ = write!(
                text,
                "fn {name}_fn{n}({}) -> {ty} {{\n    return {ty}({});\n}}\n\n",
                parameters.join(", "),
                calls.join(", ")
            );
        }
        text
    }

    /// `let v0 = add_fn4(a, b);` for every step, over vectors of `n`. `attribute` spells attribute `j` of all.
    pub(super) fn body(&self, n: usize, attribute: impl Fn(usize, f32) -> String) -> String {
        let mut text = String::new();
        let mut next = 0;
        let suffix = if n > 1 { n.to_string() } else { String::new() };
        let constant = |c: f32| match n {
            1 => literal(c),
            _ => format!("{}({})", vector_type("f32", n), literal(c)),
        };
        for (i, step) in self.steps.iter().enumerate() {
            let Some(f) = step.op.pointwise() else { continue };
            let mut parts: Vec<String> = step.args.iter().map(|a| operand(*a, "value", constant)).collect();
            for x in f.attributes() {
                parts.push(attribute(next, x));
                next += 1;
            }
            let _ = writeln!(text, "    let v{i} = {}_fn{suffix}({});", f.function(), parts.join(", "));
        }
        text
    }

    /// The chain after an op that stores vectors of `n`. Its inputs are bound from `binding` on.
    pub(crate) fn epilogue(&self, n: usize, binding: usize, columns: Option<usize>) -> FunctionText {
        let text = self.epilogue_as("epilogue", n, binding, columns);
        FunctionText { functions: Chain::wrappers(&[self], n) + &text.functions, ..text }
    }

    /// The same as function `name`, without what it calls.
    pub(super) fn epilogue_as(
        &self,
        name: &str,
        n: usize,
        binding: usize,
        columns: Option<usize>,
    ) -> FunctionText {
        let ty = vector_type("f32", n);
        let (mut bindings, mut reads) = (String::new(), String::new());
        let per_vector = format!("column / {n}u");
        for (i, access) in self.accesses(columns).unwrap_or_default().into_iter().enumerate() {
            let input = NAMES[i];
            let (element, at) = match access {
                Access::Same => (&ty[..], "at"),
                Access::Suffix(_) if n == 1 => ("f32", "column"),
                Access::Suffix(_) => (&ty[..], per_vector.as_str()),
                _ => ("f32", "0u"),
            };
            let value = format!("then_{input}[{at}]");
            let value = if element == ty { value } else { format!("{ty}({value})") };
            let at = binding + i;
            let _ = writeln!(
                bindings,
                "@group(0) @binding({at}) var<storage, read> then_{input}: array<{element}>;"
            );
            let _ = writeln!(reads, "    let {input} = {value};");
        }
        let last = self.steps.len().saturating_sub(1);
        let functions = format!(
            "// What follows, for element or vector `at` of the result, in `column`.\n\
             fn {name}(value: {ty}, at: u32, column: u32) -> {ty} {{\n{reads}{}    return v{last};\n}}\n",
            self.body(n, |_, x| literal(x)),
        );
        FunctionText { bindings, functions }
    }
}

/// Kernel `entry` of the files under `shaders/`, which stores single elements through `epilogue`, with a chain.
pub(crate) fn library_then(
    entry: &str,
    chain: Option<&Chain>,
    columns: Option<usize>,
) -> crate::error::Result<Kernel> {
    let Some(chain) = chain else { return Kernel::library(entry) };
    let text = chain.epilogue(1, FIRST_BINDING, columns);
    let key = format!("{entry}.then.{}", chain.key(columns));
    Kernel::library_with(entry, key, &["epilogue"], &format!("{}{}", text.bindings, text.functions))
}

/// Where the inputs of a chain are bound after another op: beyond what any op of its own binds.
pub(crate) const FIRST_BINDING: usize = 16;

fn operand(operand: Operand, root: &str, constant: impl Fn(f32) -> String) -> String {
    match operand {
        Operand::Root => root.to_string(),
        Operand::Input(i) => NAMES[i].to_string(),
        Operand::Step(i) => format!("v{i}"),
        Operand::Constant(c) => constant(c),
    }
}

/// A finite number as WGSL reads it, exactly.
pub(super) fn literal(x: f32) -> String {
    format!("{x:?}f")
}

/// Whether a number can stand in a shader's text: WGSL has no infinities there, and may flush denormals.
pub(crate) fn is_literal(x: f32) -> bool {
    x == 0.0 || x.is_normal()
}
