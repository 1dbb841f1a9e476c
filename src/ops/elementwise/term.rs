//! Several formulas in a row as a function that a kernel calls where it reads an element of a tensor.

use std::fmt::Write;

use super::chain::{FunctionText, NAMES, literal};
use super::{Access, Chain, Elements, FIRST_BINDING};
use crate::error::Result;
use crate::ops::Kernel;
use crate::ops::text::vector_type;
use crate::shape::Shape;

/// How a kernel walks over the tensor that it reads, seen as `[outer, extent, inner]`: it calls
/// `prologue(at, row, k, column)` for element `at`, which is at these indices along the three axes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Walked {
    pub(crate) dims: [usize; 3],
    /// How its text spells the second and third extent. Where it reads vectors, the axis that they lie along
    /// is counted in vectors.
    pub(crate) extents: [&'static str; 2],
    /// The axis that vectors of four lie along, if it reads such: those after it have an extent of 1.
    pub(crate) vectors: Option<usize>,
}

/// How one input of the formulas is read there.
#[derive(Debug, Clone, PartialEq, Eq)]
enum PrologueRead {
    /// Element for element.
    Same,
    /// One element for all.
    Scalar,
    /// By the indices along some of the three axes.
    Axes([bool; 3]),
    /// In any other way: extents, and how far apart neighbours along each of them are.
    Strided(Vec<[usize; 2]>),
}

impl Walked {
    fn width(&self) -> usize {
        if self.vectors.is_some() { 4 } else { 1 }
    }

    fn read(&self, chain: &Chain, input: Shape) -> PrologueRead {
        let walk = Elements::new(&chain.shape, &[input]);
        match walk.access[0] {
            Access::Same => return PrologueRead::Same,
            Access::Scalar => return PrologueRead::Scalar,
            _ => {}
        }
        for axes in [0b100, 0b010, 0b001, 0b110, 0b101, 0b011] {
            let axes = [0b100, 0b010, 0b001].map(|axis| axes & axis != 0);
            let some = [0, 1, 2].map(|i| if axes[i] { self.dims[i] } else { 1 });
            let shape = |dims: &[usize]| Shape::new(dims).unwrap_or_else(Shape::scalar);
            let other = Elements::new(&shape(&self.dims), &[shape(&some)]);
            if (&other.dims, &other.strides) == (&walk.dims, &walk.strides) {
                return PrologueRead::Axes(axes);
            }
        }
        PrologueRead::Strided(
            walk.dims.iter().zip(&walk.strides[0]).map(|(&n, &stride)| [n, stride]).collect(),
        )
    }

    /// The offset of what is read, by the indices along the axes.
    fn offset(&self, axes: [bool; 3]) -> String {
        let [extent, inner] = self.extents;
        match axes {
            [true, false, false] => "row".into(),
            [false, true, false] => "k".into(),
            [false, false, true] => "column".into(),
            [true, true, false] => format!("row * {extent} + k"),
            [true, false, true] => format!("row * {inner} + column"),
            _ => format!("k * {inner} + column"),
        }
    }
}

/// The offset of element `at` of the whole in an input that is read by strides.
fn strided(axes: &[[usize; 2]], at: &str) -> String {
    let mut parts = Vec::new();
    for (i, [extent, stride]) in axes.iter().enumerate().filter(|(_, [_, stride])| *stride > 0) {
        let after: usize = axes[i + 1..].iter().map(|[n, _]| n).product();
        let mut part = at.to_string();
        if after > 1 {
            let _ = write!(part, " / {after}u");
        }
        if i > 0 {
            let _ = write!(part, " % {extent}u");
        }
        if *stride > 1 {
            let _ = write!(part, " * {stride}u");
        }
        parts.push(part);
    }
    parts.join(" + ")
}

impl Chain {
    /// What tells its text as a prologue from others'.
    fn prologue_key(&self, walked: &Walked) -> String {
        let mut key = String::new();
        for input in &self.inputs {
            match walked.read(self, *input) {
                PrologueRead::Same => key.push('e'),
                PrologueRead::Scalar => key.push('s'),
                PrologueRead::Axes(axes) => {
                    let letters: String =
                        "okj".chars().zip(axes).filter_map(|(c, is)| is.then_some(c)).collect();
                    let _ = write!(key, "({letters})");
                }
                PrologueRead::Strided(axes) => {
                    let _ = write!(key, "{axes:?}");
                }
            }
        }
        key + "." + &self.formula(true)
    }

    /// The chain as function `name(at, row, k, column)`, without what it calls. Its inputs are bound from `binding` on.
    fn prologue_as(&self, name: &str, binding: usize, walked: &Walked) -> FunctionText {
        let n = walked.width();
        let ty = vector_type("f32", n);
        let (mut bindings, mut offsets, mut reads) = (String::new(), String::new(), String::new());
        for (i, input) in self.inputs.iter().enumerate() {
            let v = NAMES[i];
            // In vectors, or one element for all of a vector.
            let (is_vector, offset) = match walked.read(self, *input) {
                PrologueRead::Same => (true, "at".to_string()),
                PrologueRead::Scalar => (false, "0u".to_string()),
                PrologueRead::Axes(axes) => {
                    (walked.vectors.is_some_and(|axis| axes[axis]), walked.offset(axes))
                }
                PrologueRead::Strided(mut axes) => match axes.last_mut() {
                    Some([extent, _]) if extent.is_multiple_of(n) => {
                        *extent /= n;
                        let is_vector = axes.last().is_some_and(|[_, stride]| *stride == 1);
                        let last = axes.len() - 1;
                        // Distances between vectors, where vectors are read.
                        axes[..last].iter_mut().for_each(|a| a[1] /= if is_vector { n } else { 1 });
                        (is_vector, strided(&axes, "at"))
                    }
                    _ => {
                        let _ = write!(
                            offsets,
                            "// Where `in_{v}` has what belongs to element `at`.\n\
                             fn offset_{v}(at: u32) -> u32 {{ return {}; }}\n\n",
                            strided(&axes, "at")
                        );
                        (false, String::new())
                    }
                },
            };
            let element = if is_vector { &ty[..] } else { "f32" };
            let at = binding + i;
            let _ =
                writeln!(bindings, "@group(0) @binding({at}) var<storage, read> in_{v}: array<{element}>;");
            let value = match (is_vector || n == 1, &offset[..]) {
                (_, "") => {
                    let part = |j: usize| match j {
                        0 => format!("in_{v}[offset_{v}({n}u * at)]"),
                        _ => format!("in_{v}[offset_{v}({n}u * at + {j}u)]"),
                    };
                    format!("{ty}({})", (0..n).map(part).collect::<Vec<_>>().join(", "))
                }
                (true, offset) => format!("in_{v}[{offset}]"),
                (false, offset) => format!("{ty}(in_{v}[{offset}])"),
            };
            let _ = writeln!(reads, "    let {v} = {value};");
        }
        let last = self.steps.len().saturating_sub(1);
        let functions = format!(
            "{offsets}// What is read at `at`, which is at `row`, `k` and `column`.\n\
             fn {name}(at: u32, row: u32, k: u32, column: u32) -> {ty} {{\n{reads}{}    return v{last};\n}}\n",
            self.body(n, |_, x| literal(x)),
        );
        FunctionText { bindings, functions }
    }
}

/// Formulas around what a kernel does.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Around<'a> {
    /// In the place of what it reads.
    pub(crate) prologue: Option<(&'a Chain, &'a Walked)>,
    /// Applied to what it stores, and whether that is in vectors of four. Inputs are read element for element, or are
    /// one number.
    pub(crate) epilogue: Option<(&'a Chain, bool)>,
    /// In the place of further functions of its family.
    pub(crate) functions: Option<&'a Functions>,
}

/// Functions in the place of those of a shader file.
#[derive(Debug, Clone)]
pub(crate) struct Functions {
    /// Tells the kernel from others.
    key: &'static str,
    /// Name and text of each.
    texts: Vec<(&'static str, &'static str)>,
}

impl Functions {
    pub(crate) fn new(key: &'static str, texts: Vec<(&'static str, &'static str)>) -> Self {
        Functions { key, texts }
    }
}

impl<'a> Around<'a> {
    /// What follows alone, if anything does.
    pub(crate) fn after(epilogue: Option<&'a Chain>, in_vectors: bool) -> Self {
        Around { epilogue: epilogue.map(|chain| (chain, in_vectors)), ..Around::default() }
    }

    /// Kernel `entry` of the files under `shaders/`, which reads through `prologue` or `prologue4` and stores through `epilogue` or
    /// `epilogue4`. Inputs of the formulas are bound after the kernel's own, those of the first ones first.
    ///
    /// # Errors
    /// As [`Kernel::library`].
    pub(crate) fn kernel(&self, entry: &str) -> Result<Kernel> {
        let (mut key, mut bindings, mut functions) = (entry.to_string(), String::new(), String::new());
        let (mut replaced, mut next) = (Vec::<&str>::new(), FIRST_BINDING);
        // Functions of vectors that both may use.
        let mut vectors: Vec<&Chain> = Vec::new();
        if let Some(Functions { key: name, texts }) = self.functions {
            key += &format!(".{name}");
            for &(name, text) in texts {
                replaced.push(name);
                functions += text;
            }
        }
        if let Some((chain, walked)) = self.prologue {
            let name = if walked.vectors.is_some() { "prologue4" } else { "prologue" };
            let text = chain.prologue_as(name, next, walked);
            key += &format!(".of.{}", chain.prologue_key(walked));
            next += chain.inputs.len();
            vectors.extend(walked.vectors.map(|_| chain));
            replaced.push(name);
            bindings += &text.bindings;
            functions += &text.functions;
        }
        if let Some((chain, is_vector)) = self.epilogue {
            let (name, n) = if is_vector { ("epilogue4", 4) } else { ("epilogue", 1) };
            let text = chain.epilogue_as(name, n, next, None);
            key += &format!(".then.{}", chain.key(None));
            vectors.extend(is_vector.then_some(chain));
            replaced.push(name);
            bindings += &text.bindings;
            let gap = if functions.is_empty() { "" } else { "\n" };
            functions = functions + gap + &text.functions;
        }
        if replaced.is_empty() {
            return Kernel::library(entry);
        }
        let text = format!("{bindings}\n{}{functions}", Chain::wrappers(&vectors, 4));
        Kernel::library_with(entry, key, &replaced, &text)
    }
}
