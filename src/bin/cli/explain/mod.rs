//! `wgrad explain`.

mod chart;
mod curve;
mod documents;
mod entries;
mod fields;
mod page;
mod record;
mod reference;

use std::io::Write;
use std::path::PathBuf;

use wgrad::kernels::{Listed, Runs};
use wgrad::ops::{AdapterClass, Caps};

use super::{Failure, Outcome};
use curve::Curve;
use documents::Section;
use entries::{Entry, Kind, key};
use reference::Item;

/// Says what something is: formula, derivative, code, error bound, picture, source, and when to take it.
///
/// It knows every activation, loss, optimizer, schedule, normalization, initializer, regularizer, layer and op. The formulas are
/// those of docs/CATALOGUE.md, advice is from docs/EXPLAIN.md; the Rust text is that of the reference, and the WGSL text that of
/// the kernels which the adapter runs. Values that are drawn are computed by the reference, in double precision.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    wgrad explain                     all there is, a line each\n  \
    wgrad explain losses              one group of it\n  \
    wgrad explain gelu | less\n  \
    wgrad explain one-cycle --out one-cycle.svg\n  \
    wgrad explain softmax --device cpu --json")]
pub(super) struct Args {
    /// What to explain, in any spelling (hard-tanh, hard_tanh, HardTanh), or a group such as `losses`; without it, all are listed
    name: Option<String>,
    /// The adapter whose kernels are shown: `auto`, `gpu`, part of an adapter's name, or `cpu` for the plainest ones
    #[arg(long, default_value = "auto")]
    device: String,
    /// Draw the function and its derivative as SVG
    #[arg(long, value_name = "FILE.svg", requires = "name")]
    out: Option<PathBuf>,
    /// Print a JSON object for each
    #[arg(long)]
    json: bool,
}

/// An op of a recording, and what it is.
#[derive(Debug)]
struct OpLine {
    name: &'static str,
    is_derivative: bool,
    about: String,
}

/// What is said of entries that are explained together: an activation and the op that it is, for instance.
#[derive(Debug)]
struct Explained {
    entries: Vec<Entry>,
    /// What each is about, and its text.
    fields: Vec<(String, String)>,
    curve: Option<Curve>,
    ops: Vec<OpLine>,
    reference: Vec<Item>,
    kernels: Vec<Listed>,
    /// What the kernels are for.
    adapter: String,
}

pub(super) fn run(args: &Args) -> Outcome {
    let all = entries::all();
    let width = page::width();
    let kinds = match args.name.as_deref() {
        None => Some(Kind::ALL.to_vec()),
        Some(name) => Kind::ALL.into_iter().find(|kind| kind.plural() == key(name)).map(|kind| vec![kind]),
    };
    if let Some(kinds) = kinds {
        if args.out.is_some() {
            return Err(Failure::usage("--out draws one of them: name it"));
        }
        return match args.json {
            true => print(page::list_objects(all, &kinds).iter().map(ToString::to_string)),
            false => print(page::list(all, &kinds, width).into_iter()),
        };
    }
    let name = args.name.as_deref().unwrap_or_default();
    let wanted = key(name);
    let found: Vec<Entry> = all.iter().filter(|entry| entry.is_named(&wanted)).cloned().collect();
    if found.is_empty() {
        return Err(unknown(name, all));
    }
    let (on, adapter) = adapter(&args.device)?;
    let mut explained = Vec::new();
    for group in groups(found) {
        explained.push(explain(group, all, &on, &adapter)?);
    }
    if let Some(out) = &args.out {
        draw(out, name, &explained)?;
    }
    match args.json {
        true => print(explained.iter().map(|one| page::object(one).to_string())),
        false => {
            let gap = [String::new(), String::new()];
            let pages: Vec<Vec<String>> = explained.iter().map(|one| page::lines(one, width)).collect();
            print(pages.join(&gap[..]).into_iter())
        }
    }
}

/// Prints lines until nobody reads them any more.
fn print(lines: impl Iterator<Item = String>) -> Outcome {
    let mut out = std::io::stdout().lock();
    for line in lines {
        if writeln!(out, "{line}").is_err() {
            break;
        }
    }
    Ok(())
}

fn unknown(name: &str, all: &[Entry]) -> Failure {
    let known = all.iter().map(|entry| &*entry.name).chain(Kind::ALL.map(Kind::plural));
    let meant = match wgrad::nearest_name(name, known) {
        Some(meant) => format!("did you mean `{meant}`? "),
        None => String::new(),
    };
    Failure::usage(format!("nothing is named `{name}`; {meant}`wgrad explain` lists all"))
}

/// Entries that have one section are explained together.
fn groups(found: Vec<Entry>) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for entry in found {
        let section = entries::section_of(&entry);
        let is_same = |known: &&mut Group| known.0.zip(section).is_some_and(|(a, b)| std::ptr::eq(a, b));
        match groups.iter_mut().find(is_same) {
            Some((_, entries)) => entries.push(entry),
            None => groups.push((section, vec![entry])),
        }
    }
    groups
}

/// Entries, and what is said of all of them.
type Group = (Option<&'static Section>, Vec<Entry>);

fn explain((section, entries): Group, all: &[Entry], on: &Runs, adapter: &str) -> Outcome<Explained> {
    let curve = entries.iter().find_map(curve::curve);
    let recorded = entries.iter().find_map(record::recorded);
    let is_op = entries.iter().any(|entry| entry.kind == Kind::Op);
    // What is one op has the op's formula; what is made of others, what makes it.
    let single = match &recorded {
        Some(recorded) => <[&str; 1]>::try_from(&recorded.ops[..]).ok().map(|[op]| op.to_string()),
        None => None,
    };
    let op = single.or_else(|| entries.iter().find(|e| e.kind == Kind::Op).map(|e| e.name.clone()));
    let mut items: Vec<Item> = entries.iter().flat_map(reference::of_entry).collect();
    let mut named: Vec<String> = op.into_iter().collect();
    if entries.iter().any(|entry| entry.kind == Kind::Optimizer) {
        let ops = recorded.iter().flat_map(|recorded| &recorded.ops);
        let is_rule = |op: &&&str| ["_update", "_direction", "_tick"].iter().any(|end| op.ends_with(end));
        named.extend(ops.filter(is_rule).map(ToString::to_string));
    }
    if items.is_empty() && named.is_empty() {
        named.extend(recorded.iter().flat_map(|recorded| &recorded.ops).map(ToString::to_string));
    }
    for name in &named {
        let debug = record::case(name).map(|case| format!("{:?}", case.op)).unwrap_or_default();
        for item in reference::of_op(name, &debug) {
            if !items.contains(&item) {
                items.push(item);
            }
        }
    }
    let kernels = match &recorded {
        Some(recorded) => recorded.kernels(on)?,
        None if is_op => match entries.iter().find(|entry| entry.kind == Kind::Op) {
            Some(op) => record::kernels_of_op(&op.name, on)?,
            None => Vec::new(),
        },
        None => Vec::new(),
    };
    let mut ops: Vec<OpLine> = Vec::new();
    if let Some(recorded) = &recorded {
        let forward = recorded.ops.iter().map(|op| (*op, false));
        for (name, is_derivative) in forward.chain(recorded.derivative.iter().map(|op| (*op, true))) {
            if !ops.iter().any(|line| line.name == name && line.is_derivative == is_derivative) {
                ops.push(OpLine { name, is_derivative, about: about_op(name, all) });
            }
        }
    }
    let bounds: Vec<String> = match ops.is_empty() {
        true => entries.iter().filter(|e| e.kind == Kind::Op).map(|e| bound(&e.name)).collect(),
        // Said of each.
        false => Vec::new(),
    };
    let fields = fields::fields(section, &entries, &bounds);
    Ok(Explained { entries, fields, curve, ops, reference: items, kernels, adapter: adapter.to_string() })
}

/// An op in a line: its formula and its error bound.
fn about_op(name: &str, all: &[Entry]) -> String {
    let entry = all.iter().find(|entry| entry.kind == Kind::Op && entry.name == name);
    let formula = entry.map(Entry::line).unwrap_or_default();
    format!("{formula}; error: {}", bound(name))
}

/// The error bound of an op: by docs/NUMERICS.md, or the one of formulas that name none.
fn bound(op: &str) -> String {
    let by_formula = || {
        let debug = record::case(op).map(|case| format!("{:?}", case.op)).unwrap_or_default();
        let is_usual = reference::of_op(op, &debug).first().is_some_and(reference::has_usual_bound);
        is_usual.then(|| "4 u |y|".to_string())
    };
    documents::bound(op).or_else(by_formula).unwrap_or_default()
}

/// The adapter whose kernels are shown, and what to call it.
fn adapter(device: &str) -> Outcome<(Runs, String)> {
    let plain = |why: &str| {
        let on = Runs { caps: Caps::default_of(AdapterClass::Software), words64: false };
        (on, format!("as software adapters within WebGPU's default limits get it: {why}"))
    };
    if device == "cpu" {
        return Ok(plain("the CPU device runs the Rust text"));
    }
    #[cfg(feature = "gpu")]
    {
        use wgrad::gpu::Gpu;
        let named = (device != "auto" && device != "gpu").then_some(device);
        match Gpu::open(named) {
            Ok(gpu) => {
                let on = Runs { caps: gpu.caps().clone(), words64: gpu.has_words64() };
                let info = wgrad::Device::from(gpu).info();
                Ok((on, format!("as {info} gets it")))
            }
            Err(wgrad::Error::Adapter(why)) if device == "auto" && wgrad::wanted_adapter().is_none() => {
                Ok(plain(&format!("there is no adapter ({why})")))
            }
            Err(error) => Err(error.into()),
        }
    }
    #[cfg(not(feature = "gpu"))]
    match device {
        "auto" => Ok(plain("this build has no `gpu` feature")),
        other => {
            Err(wgrad::Device::named(other).err().map_or_else(|| Failure::new("no adapter"), Failure::from))
        }
    }
}

#[cfg(feature = "plots")]
fn draw(out: &std::path::Path, name: &str, explained: &[Explained]) -> Outcome {
    let Some(curve) = explained.iter().find_map(|one| one.curve.as_ref()) else {
        return Err(Failure::usage(format!(
            "`{name}` is no function of one number: there is nothing to draw"
        )));
    };
    let lines: Vec<(&str, &[f32])> = curve.lines.iter().map(|(name, y)| (&**name, &y[..])).collect();
    let svg = wgrad::plots::functions(&curve.title, &curve.axis, &curve.x, &lines, curve.range())?;
    wgrad::plots::save(out, &svg)?;
    Ok(())
}

#[cfg(not(feature = "plots"))]
fn draw(_: &std::path::Path, _: &str, _: &[Explained]) -> Outcome {
    Err(Failure::usage("this build has no `plots` feature"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is promised of its error is known of every op.
    #[test]
    fn every_op_has_an_error_bound() {
        for entry in entries::all().iter().filter(|entry| entry.kind == Kind::Op) {
            let bound = bound(&entry.name);
            assert!(!bound.is_empty(), "docs/NUMERICS.md has no bound of `{}`", entry.name);
            for code in ["let ", "x[", "s.0", "//", "T::", ".abs()", "UNIT"] {
                assert!(!bound.contains(code), "{}: {bound}", entry.name);
            }
        }
        for (op, start) in [
            ("gelu_grad", "(40 + 4x²) u |dy|"),
            ("adam_tick", "16 u of 1 − β₁ᵗ"),
            ("average_tick", "8 u, relative ("),
        ] {
            assert!(bound(op).starts_with(start), "{}", bound(op));
        }
        assert_eq!(bound("sign"), "4 u |y|");
        assert!(bound("lion_update").contains("numbers that carry their error"), "{}", bound("lion_update"));
    }
}
