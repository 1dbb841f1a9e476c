//! The reference in Rust: items of the source files that run, which are parts of the program as text.

use serde::Serialize;
use wgrad::Init;
use wgrad::optim::Schedule;

use super::documents::Row;
use super::entries::{Entry, Kind, key};

macro_rules! embedded {
    ($($path:literal),* $(,)?) => {
        &[$(($path, include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/", $path)))),*]
    };
}

/// The files that formulas are in.
const FILES: &[(&str, &str)] = embedded![
    "ops/elementwise/activation/mod.rs",
    "ops/elementwise/activation/smooth.rs",
    "ops/elementwise/activation/piecewise.rs",
    "ops/elementwise/activation/gated.rs",
    "ops/elementwise/activation/methods.rs",
    "ops/elementwise/arithmetic.rs",
    "ops/elementwise/compare.rs",
    "ops/elementwise/gradient.rs",
    "ops/elementwise/loss.rs",
    "ops/accumulate.rs",
    "ops/argmax.rs",
    "ops/assign.rs",
    "ops/attention/grad.rs",
    "ops/attention/mod.rs",
    "ops/augment/random.rs",
    "ops/augment/sample.rs",
    "ops/batch_norm/grad.rs",
    "ops/batch_norm/inference.rs",
    "ops/batch_norm/mod.rs",
    "ops/cast.rs",
    "ops/classes/choose.rs",
    "ops/classes/count.rs",
    "ops/classes/cycle.rs",
    "ops/classes/rows.rs",
    "ops/classes/scatter.rs",
    "ops/conv/reference.rs",
    "ops/conv/unfold.rs",
    "ops/cross_entropy/both.rs",
    "ops/cross_entropy/grad.rs",
    "ops/cross_entropy/mod.rs",
    "ops/ctc/grad.rs",
    "ops/ctc/mod.rs",
    "ops/dropout.rs",
    "ops/fill.rs",
    "ops/fused.rs",
    "ops/layer_norm/grad.rs",
    "ops/layer_norm/mod.rs",
    "ops/matmul/gradient.rs",
    "ops/matmul/mod.rs",
    "ops/movement/assemble.rs",
    "ops/movement/join.rs",
    "ops/movement/pad.rs",
    "ops/movement/strided.rs",
    "ops/normalization.rs",
    "ops/optimizer/rules/adam.rs",
    "ops/optimizer/rules/adaptive.rs",
    "ops/optimizer/rules/momentum.rs",
    "ops/optimizer/scale.rs",
    "ops/pool/average.rs",
    "ops/pool/max.rs",
    "ops/random.rs",
    "ops/recurrent/cell.rs",
    "ops/reduce/reference.rs",
    "ops/softmax.rs",
    "ops/upsample/resize.rs",
    "losses/mod.rs",
    "losses/regression.rs",
    "losses/robust.rs",
    "losses/adaptive.rs",
    "losses/ctc.rs",
    "losses/classification.rs",
    "losses/probability.rs",
    "losses/distance.rs",
    "losses/penalty.rs",
    "optim/schedule.rs",
    "optim/plateau.rs",
    "graph/init.rs",
    "nn/activation/learned.rs",
    "nn/affine.rs",
    "nn/attention.rs",
    "nn/batch_norm.rs",
    "nn/cache.rs",
    "nn/conv.rs",
    "nn/cutout.rs",
    "nn/embedding.rs",
    "nn/images.rs",
    "nn/language.rs",
    "nn/layer_norm.rs",
    "nn/linear.rs",
    "nn/mixup.rs",
    "nn/noise.rs",
    "nn/norm/mod.rs",
    "nn/norm/weight.rs",
    "nn/pool.rs",
    "nn/positions.rs",
    "nn/recurrent/carried.rs",
    "nn/recurrent/cell.rs",
    "nn/recurrent/mod.rs",
    "nn/residual.rs",
    "nn/sampling.rs",
    "nn/sequential.rs",
    "nn/simple.rs",
    "nn/transformer.rs",
    "nn/upsample.rs",
];

/// An item of a source file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Item {
    pub(super) file: String,
    pub(super) text: String,
}

/// A place in a file that an item is found by.
struct Place<'t> {
    file: &'t str,
    lines: Vec<&'t str>,
    at: usize,
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

/// The lines that have `mark`, in the files whose names begin with `folder`.
fn places<'t>(folder: &'t str, mark: &'t str) -> impl Iterator<Item = Place<'t>> {
    FILES.iter().filter(move |(file, _)| file.starts_with(folder)).flat_map(move |(file, text)| {
        // Tests are no references.
        let text = text.split("\n#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let found: Vec<usize> = (0..lines.len()).filter(|&i| lines[i].contains(mark)).collect();
        found.into_iter().map(move |at| Place { file, lines: lines.clone(), at })
    })
}

impl Place<'_> {
    /// What begins at this line, with its comments: up to the line that closes it, as the code is formatted.
    fn item(&self) -> Item {
        let lines = &self.lines;
        let depth = indent(lines[self.at]);
        let is_about = |line: &str| {
            let line = line.trim_start();
            line.starts_with("//") || line.starts_with("#[")
        };
        let first = (0..self.at).rev().take_while(|&i| is_about(lines[i])).last().unwrap_or(self.at);
        let is_whole = lines[self.at].ends_with([',', ';']) || lines[self.at].ends_with(['}', ')']);
        let closes = |line: &str| indent(line) == depth && line.trim_start().starts_with(['}', ')', ']']);
        let ends = |i: &usize| {
            let line = lines[*i];
            closes(line) && !line.ends_with('{')
        };
        let last = if is_whole { self.at } else { (self.at + 1..lines.len()).find(ends).unwrap_or(self.at) };
        let text = lines[first..=last].iter().map(|line| line.get(depth..).unwrap_or(line.trim_start()));
        Item { file: format!("src/{}", self.file), text: text.collect::<Vec<_>>().join("\n") }
    }

    /// The macro around this line, whose text is not formatted: it ends before a blank line.
    fn in_macro(mut self) -> Item {
        let opens = |line: &str| line.starts_with("formula!(") || line.starts_with("comparison! {");
        while self.at > 0 && !opens(self.lines[self.at]) {
            self.at -= 1;
        }
        let last =
            (self.at..self.lines.len()).find(|&i| self.lines[i].is_empty()).unwrap_or(self.lines.len());
        let text = self.lines[self.at..last].join("\n");
        Item { file: format!("src/{}", self.file), text }
    }

    /// The first item after this line that begins with `mark`, before the block around it ends.
    fn then(mut self, mark: &str) -> Option<Item> {
        let end = (self.at + 1..self.lines.len()).find(|&i| self.lines[i].starts_with('}'))?;
        self.at = (self.at..end).find(|&i| self.lines[i].trim_start().starts_with(mark))?;
        Some(self.item())
    }
}

/// The formula of an op, of which `debug` is how it is shown.
pub(super) fn of_op(name: &str, debug: &str) -> Vec<Item> {
    let formula = [", 1,", ", 2,", ", 3,"].map(|arity| format!("= \"{name}\"{arity}"));
    let comparison = format!("= \"{name}\", ");
    for mark in formula.iter().chain([&comparison]) {
        if let Some(place) = places("ops/elementwise", mark).next() {
            return vec![place.in_macro()];
        }
    }
    // An update is a rule, and what counts its steps is another part of it.
    let rule = |constant: String, method: &str| {
        places("ops/optimizer/rules", &constant).next().and_then(|place| place.then(method))
    };
    let update = rule(format!("const UPDATE: &'static str = \"{name}\""), "fn update<");
    let tick = || rule(format!("const TICK: Option<&'static str> = Some(\"{name}\")"), "fn scalars(");
    if let Some(item) = update.or_else(tick) {
        return vec![item];
    }
    // Cases of what is refused are around the op.
    let debug = debug.strip_prefix("Refused { op: ").unwrap_or(debug);
    let kind = &debug[..debug.find(|c: char| !c.is_alphanumeric()).unwrap_or(debug.len())];
    // A time of a recurrent layer is what its cell does.
    let of_cell = match kind {
        "Recurrent" => Some("fn forward<"),
        "RecurrentGrad" => Some("fn backward<"),
        _ => None,
    };
    if let Some(mark) = of_cell {
        return places("ops/recurrent/cell", mark).map(|place| place.item()).collect();
    }
    let of = |ty: &str| {
        let ends = [format!("Reference<T> for {ty} {{"), format!("Reference<T> for {ty}<")];
        ends.iter().find_map(|mark| places("ops", mark).next()).and_then(|place| place.then("fn eval("))
    };
    // Movements are one op of several kinds, and what is fused is shown as what it is made of.
    let is_movement =
        places("ops/movement", &format!("const NAME: &'static str = \"{name}\"")).next().is_some();
    let kind = match name {
        _ if is_movement => "Moved",
        "fused" => "Fused",
        _ => kind,
    };
    of(kind).into_iter().collect()
}

/// The variant that a value is shown as: `HeNormal` of `HeNormal`, `Step` of `Step { every: 10 }`.
fn variant(debug: &str) -> &str {
    &debug[..debug.find(['(', ' ']).unwrap_or(debug.len())]
}

/// What an entry is computed by where it is no op: methods, match arms, layers.
pub(super) fn of_entry(entry: &Entry) -> Vec<Item> {
    let name = &entry.name;
    let first = |folder: &str, mark: &str| places(folder, mark).next().map(|place| place.item());
    let snake = name.replace('-', "_");
    let found: Vec<Item> = match entry.kind {
        Kind::Activation => {
            let method = format!("pub fn {snake}(self");
            first("ops/elementwise/activation/methods", &method).into_iter().collect()
        }
        Kind::Loss => of_loss(entry),
        Kind::Schedule => {
            let parsed = [name.clone(), format!("{name}=0.5,10,20")];
            let schedule = parsed.iter().find_map(|text| text.parse::<Schedule>().ok());
            let shown = schedule.map_or_else(|| name.clone(), |schedule| format!("{schedule:?}"));
            let arms = format!("            Schedule::{}", variant(&shown));
            let plateau = || first("optim/plateau", "fn factor");
            first("optim/schedule", &arms).or_else(plateau).into_iter().collect()
        }
        Kind::Initializer => {
            let parsed = name.parse::<Init>().map_or_else(|_| name.clone(), |init| format!("{init:?}"));
            let arm = first("graph/init", &format!("            Init::{}", variant(&parsed)));
            arm.or_else(|| first("graph/init", &format!("pub const {name}: Init"))).into_iter().collect()
        }
        Kind::Normalization => {
            let methods = [format!("pub fn {snake}("), format!("pub fn {snake}_norm(")];
            methods.iter().find_map(|mark| first("ops/normalization", mark)).into_iter().collect()
        }
        Kind::Regularizer => {
            let strength = snake.trim_end_matches("_penalty");
            first("losses/penalty", &format!("pub fn {strength}_penalty")).into_iter().collect()
        }
        Kind::Layer => {
            // Layers along any axes are one.
            let any = name.trim_end_matches(['1', '2', '3', 'd']);
            let marks =
                [format!("Layer for {name} {{"), format!("Layer for {name}<"), format!("Layer for {any}<")];
            // Two are made by one macro, and some are no layers: they mix losses too, have states, or take more than one value.
            let other = || match &**name {
                "BatchNorm1d" | "BatchNorm2d" => first("nn/batch_norm", "Layer for $name {"),
                "Mixup" => first("nn/mixup", "pub fn mix<"),
                "RecurrentCell" => first("nn/recurrent/cell", "Cell for RecurrentCell {"),
                "Carried" => first("nn/recurrent/carried", "pub fn run<"),
                "KeyValueCache" => first("nn/cache", "pub fn step<"),
                "TransformerDecoderLayer" | "TransformerDecoder" => first("nn/transformer", "pub fn decode<"),
                "Sampler" => first("nn/sampling", "pub fn sample("),
                _ => None,
            };
            marks.iter().find_map(|mark| first("nn", mark)).or_else(other).into_iter().collect()
        }
        Kind::Optimizer | Kind::Op => Vec::new(),
    };
    found
}

/// The arm of a match that records a loss; without one, its constructor.
fn of_loss(entry: &Entry) -> Vec<Item> {
    if entry.name == "ctc" {
        return places("losses/ctc", "pub fn of<").map(|place| place.item()).collect();
    }
    let constructors = entry.rows.iter().map(Row::constructor).chain([entry.name.clone()]);
    for constructor in constructors {
        let function = format!("pub fn {constructor}");
        let all = places("losses", &function).chain(places("ops/cross_entropy", &function));
        let made = all
            .into_iter()
            .find(|place| place.lines[place.at].trim_start()[function.len()..].starts_with(['(', '<']));
        let Some(made) = made.map(|place| place.item()) else { continue };
        let kind = made.text.split("Kind::").nth(1).unwrap_or_default();
        let kind = &kind[..kind.find(|c: char| !c.is_alphanumeric()).unwrap_or(kind.len())];
        let arm = format!("        Kind::{kind}");
        let arms = places("losses", &arm).map(|place| place.item());
        let arms: Vec<Item> = arms.filter(|item| !kind.is_empty() && item.text.contains("=>")).collect();
        return if arms.is_empty() { vec![made] } else { [vec![made], arms].concat() };
    }
    let adaptive =
        || places("losses/adaptive", "fn record<'g>(&self, [prediction").next().map(|place| place.item());
    if key(&entry.name) == "adaptive" { adaptive().into_iter().collect() } else { Vec::new() }
}

/// Whether it is a formula of one element that names no error bound of its own: it then has four roundoffs.
pub(super) fn has_usual_bound(item: &Item) -> bool {
    let is_formula = item.text.starts_with("formula!(") || item.text.starts_with("comparison!");
    is_formula && !item.text.contains("bound: |")
}

#[cfg(test)]
mod tests {
    use super::super::entries::{CASES, all};
    use super::*;

    /// The reference of every op is found, and it is one whole item.
    #[test]
    fn every_op_has_its_reference() {
        for case in CASES.iter() {
            let (name, debug) = (case.op.name(), format!("{:?}", case.op));
            let items = of_op(name, &debug);
            // A fused op is what it is made of.
            assert_eq!(items.len(), 1, "{name}: {debug}");
            let text = &items[0].text;
            let open = |c: char| text.matches(c).count();
            assert!(text.lines().count() > 2, "{name}: {text}");
            assert_eq!((open('{'), open('(')), (open('}'), open(')')), "{name}: {text}");
        }
    }

    #[test]
    fn items_are_those_of_the_name() {
        let one = |name: &str| of_op(name, "").remove(0).text;
        assert!(one("gelu").contains("x[0] * normal_distribution(x[0])"), "{}", one("gelu"));
        assert!(one("less").contains("Less = \"less\", <"));
        assert!(one("adam_update").starts_with("#[inline(always)]\nfn update"), "{}", one("adam_update"));
        assert!(one("adam_tick").contains("fn scalars"));
        assert!(of_op("softmax", "Softmax { log: false }")[0].text.contains("fn eval("));
        let is_usual = |name: &str| has_usual_bound(&of_op(name, "")[0]);
        assert!(is_usual("relu") && is_usual("less") && !is_usual("gelu_grad") && !is_usual("adam_update"));
    }

    /// Losses, schedules, initial values, normalizations and penalties that have names are found as well.
    #[test]
    fn every_name_has_its_reference() {
        let by_op = [Kind::Op, Kind::Optimizer, Kind::Activation];
        // Options of the program, ops, and names for what is chosen.
        let said_elsewhere =
            ["none", "batch", "layer", "weight-decay", "dropout", "patience", "Activation", "Nonlinearity"];
        for entry in all().iter().filter(|e| !by_op.contains(&e.kind)) {
            if !said_elsewhere.contains(&&*entry.name) {
                assert!(!of_entry(entry).is_empty(), "{} {}", entry.kind.name(), entry.name);
            }
        }
    }

    /// No file is a part of the program for nothing.
    #[test]
    fn every_file_is_used() {
        let mut used: Vec<String> = CASES
            .iter()
            .flat_map(|case| of_op(case.op.name(), &format!("{:?}", case.op)))
            .map(|i| i.file)
            .collect();
        used.extend(all().iter().flat_map(of_entry).map(|item| item.file));
        for (file, _) in FILES {
            assert!(used.contains(&format!("src/{file}")), "{file}");
        }
    }
}
