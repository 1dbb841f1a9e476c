//! What can be explained: the names that the program and the library have.

use std::sync::LazyLock;

use clap::CommandFactory;
use wgrad::losses;
use wgrad::nn::{Nonlinearity, Norm};
use wgrad::ops::Case;
use wgrad::optim::{OptimizerKind, Schedule};
use wgrad::{Init, cases};

use super::super::Cli;
use super::super::settings::heading;
use super::documents::{self, Row, SECTIONS, Section};

/// The cases of all ops, by which their kernels and types are known.
pub(super) static CASES: LazyLock<Vec<Case>> = LazyLock::new(cases::registry);

/// What something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Activation,
    Loss,
    Optimizer,
    Schedule,
    Normalization,
    Initializer,
    Regularizer,
    Layer,
    Op,
}

impl Kind {
    pub(super) const ALL: [Kind; 9] = [
        Kind::Activation,
        Kind::Loss,
        Kind::Optimizer,
        Kind::Schedule,
        Kind::Normalization,
        Kind::Initializer,
        Kind::Regularizer,
        Kind::Layer,
        Kind::Op,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Kind::Activation => "activation",
            Kind::Loss => "loss",
            Kind::Optimizer => "optimizer",
            Kind::Schedule => "schedule",
            Kind::Normalization => "normalization",
            Kind::Initializer => "initializer",
            Kind::Regularizer => "regularizer",
            Kind::Layer => "layer",
            Kind::Op => "op",
        }
    }

    pub(super) fn plural(self) -> &'static str {
        match self {
            Kind::Activation => "activations",
            Kind::Loss => "losses",
            Kind::Optimizer => "optimizers",
            Kind::Schedule => "schedules",
            Kind::Normalization => "normalizations",
            Kind::Initializer => "initializers",
            Kind::Regularizer => "regularizers",
            Kind::Layer => "layers",
            Kind::Op => "ops",
        }
    }

    /// The names that the program takes for it, and those of ops.
    fn in_code(self) -> Vec<String> {
        let owned = |names: &[(&str, &str)]| names.iter().map(|(name, _)| name.to_string()).collect();
        match self {
            Kind::Activation => Nonlinearity::names().map(String::from).collect(),
            Kind::Loss => [owned(&losses::NAMES), vec!["adaptive".into()]].concat(),
            Kind::Optimizer => OptimizerKind::all().map(|kind| kind.name().to_string()).collect(),
            Kind::Schedule => owned(&Schedule::NAMES),
            Kind::Normalization => Norm::NAMES.map(String::from).to_vec(),
            Kind::Initializer => owned(&Init::NAMES),
            Kind::Regularizer => {
                let command = Cli::command();
                let train = command.find_subcommand("train").map(|train| train.get_arguments());
                let ours = train.into_iter().flatten();
                let ours = ours.filter(|arg| arg.get_help_heading() == Some(heading::REGULARIZATION));
                ours.filter_map(|arg| arg.get_long().map(String::from)).collect()
            }
            Kind::Layer => Vec::new(),
            Kind::Op => CASES.iter().map(|case| case.op.name().to_string()).collect(),
        }
    }
}

/// A name without what is written otherwise from place to place: `hard-tanh`, `hard_tanh` and `HardTanh` are one.
pub(super) fn key(name: &str) -> String {
    name.chars().filter(|c| !matches!(c, '-' | '_' | ' ')).flat_map(char::to_lowercase).collect()
}

/// A name, what it is, and the rows of the catalogue about it.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) kind: Kind,
    pub(super) name: String,
    pub(super) rows: Vec<Row>,
}

impl Entry {
    /// Whether it is what a user may mean by this.
    pub(super) fn is_named(&self, wanted: &str) -> bool {
        let own = key(&self.name);
        // `--norm batch` is batch normalization.
        own == wanted || (self.kind == Kind::Normalization && format!("{own}norm") == wanted)
    }

    /// Its line in a list.
    pub(super) fn line(&self) -> String {
        let by_row = || {
            let mut fields = self.rows.iter().flat_map(Row::fields);
            fields.find(|(label, _)| *label == "formula").map(|(_, text)| text)
        };
        // A section that names an op beside other things has their formula.
        let formula = match self.kind {
            Kind::Op => by_row(),
            _ => own_field(self, "Formula").or_else(by_row),
        };
        formula.unwrap_or_default().trim_end_matches('.').to_string()
    }
}

/// A field of the section about an entry.
fn own_field(entry: &Entry, about: &str) -> Option<String> {
    let section = section_of(entry)?;
    section.fields.iter().find(|(label, _)| label == about).map(|(_, text)| text.clone())
}

/// All there are, kind by kind: those that have names in the program, then what the catalogue has beside them.
pub(super) fn all() -> &'static [Entry] {
    static ALL: LazyLock<Vec<Entry>> = LazyLock::new(found);
    &ALL
}

fn found() -> Vec<Entry> {
    let catalogue = documents::catalogue();
    let mut entries: Vec<Entry> = Vec::new();
    for kind in Kind::ALL {
        let written = catalogue.iter().filter(|(of, _)| *of == kind).flat_map(|(_, row)| row.names());
        for name in kind.in_code().into_iter().chain(written) {
            let is_known = |entry: &Entry| entry.kind == kind && entry.is_named(&key(&name));
            if !entries.iter().any(is_known) {
                let rows = rows_of(&catalogue, kind, &name);
                entries.push(Entry { kind, name, rows });
            }
        }
    }
    entries
}

/// The rows about a name. Activations and normalizations may be ops, or layers, and nothing else.
fn rows_of(catalogue: &[(Kind, Row)], kind: Kind, name: &str) -> Vec<Row> {
    let names = |row: &Row, wanted: &str| row.names().iter().any(|one| key(one) == wanted);
    let own = key(name);
    let of = |kinds: &[Kind], wanted: &str| -> Vec<Row> {
        let found = catalogue.iter().filter(|(of, row)| kinds.contains(of) && names(row, wanted));
        found.map(|(_, row)| row.clone()).collect()
    };
    match kind {
        Kind::Activation => {
            let found = of(&[Kind::Activation, Kind::Op], &own);
            if found.is_empty() { of(&[Kind::Layer], &own) } else { found }
        }
        Kind::Normalization => {
            let found = of(&[Kind::Normalization], &own);
            let by_op = || of(&[Kind::Normalization, Kind::Op], &format!("{own}norm"));
            if found.is_empty() { by_op() } else { found }
        }
        // What an optimizer does is written where its updates are.
        Kind::Optimizer => {
            let found = of(&[kind], &own);
            let types: Vec<String> = found.iter().map(Row::constructor).collect();
            let updates = catalogue.iter().filter(|(_, row)| row.updates(&types)).map(|(_, row)| row.clone());
            found.into_iter().chain(updates).collect()
        }
        kind => of(&[kind], &own),
    }
}

/// What docs/EXPLAIN.md says of an entry: under its own kind, or of the same name under another.
pub(super) fn section_of(entry: &Entry) -> Option<&'static Section> {
    let about = |section: &&Section| section.names.iter().any(|name| entry.is_named(&key(name)));
    let own = SECTIONS.iter().filter(|section| section.kind == entry.kind).find(about);
    own.or_else(|| SECTIONS.iter().find(about))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether a text of the catalogue speaks of another row of it.
    fn refers(formula: &str) -> bool {
        ["the same", "see ", "as "].iter().any(|start| formula.starts_with(start))
            || formula.contains("as above")
    }

    /// Every name has an explanation, and every explanation is one of a name.
    #[test]
    fn names_and_sections_are_those_of_each_other() {
        let entries = all();
        assert!(entries.len() > 250, "{}", entries.len());
        let of = |kind: Kind| entries.iter().filter(move |entry| entry.kind == kind);
        for kind in Kind::ALL {
            assert!(of(kind).count() > 6, "{}", kind.plural());
        }
        let missing: Vec<String> = entries
            .iter()
            .filter(|entry| section_of(entry).is_none())
            .map(|entry| format!("{} {}", entry.kind.name(), entry.name))
            .collect();
        assert!(missing.is_empty(), "docs/EXPLAIN.md has no section for {missing:?}");
        for section in SECTIONS.iter() {
            for name in &section.names {
                // What an activation is made of is explained with it.
                let known = of(section.kind).chain(of(Kind::Op));
                let is_there = known.into_iter().any(|entry| entry.is_named(&key(name)));
                assert!(is_there, "docs/EXPLAIN.md explains the {} `{name}`", section.kind.name());
            }
        }
        let mut named: Vec<(Kind, String)> =
            SECTIONS.iter().flat_map(|s| s.names.iter().map(|name| (s.kind, key(name)))).collect();
        let count = named.len();
        named.sort();
        named.dedup();
        assert_eq!(named.len(), count, "docs/EXPLAIN.md explains something twice");
    }

    /// What a section may say, and that what can be chosen by name says when to choose it and what goes wrong.
    #[test]
    fn sections_say_when_and_what_goes_wrong() {
        const ABOUT: [&str; 9] =
            ["Formula", "Derivative", "Names", "Defaults", "Source", "When", "Beware", "Slip", "Bound"];
        for section in SECTIONS.iter() {
            let has = |about: &str| section.fields.iter().any(|(label, _)| label == about);
            for (label, text) in &section.fields {
                assert!(ABOUT.contains(&label.as_str()), "{:?}: {label}", section.names);
                assert!(text.ends_with('.'), "{:?}: {text}", section.names);
            }
            assert!(has("When"), "{:?} does not say when", section.names);
            assert!(section.kind >= Kind::Layer || has("Beware"), "{:?} does not warn", section.names);
        }
    }

    /// A formula comes from the catalogue, or where that has none from the section.
    #[test]
    fn every_entry_has_a_formula() {
        for entry in all() {
            let line = entry.line();
            assert!(!line.is_empty(), "{} {}", entry.kind.name(), entry.name);
            // Nothing stands before it here.
            let is_alone = entry.kind == Kind::Op || !refers(&line);
            assert!(is_alone, "{} {}: {line}", entry.kind.name(), entry.name);
        }
    }

    /// What an op computes is said by its own row of the catalogue, whatever else its section explains.
    #[test]
    fn the_line_of_an_op_is_that_of_its_row() {
        let catalogue = include_str!("../../../../docs/CATALOGUE.md").replace("\\|", "\u{1}");
        for entry in all().iter().filter(|entry| entry.kind == Kind::Op) {
            let start = format!("| `{}` | ", entry.name);
            let row = catalogue.lines().find(|line| line.starts_with(&start)).unwrap();
            let formula = row.split(" | ").nth(2).unwrap().replace('`', "").replace('\u{1}', "|");
            assert_eq!(entry.line(), formula, "{}", entry.name);
        }
    }

    /// What is chosen by different names is not the same formula.
    #[test]
    fn optimizers_have_a_formula_each() {
        let by_name: Vec<&str> = OptimizerKind::all().map(|kind| kind.name()).collect();
        let mut lines: Vec<(String, &str)> = all()
            .iter()
            .filter(|entry| entry.kind == Kind::Optimizer && by_name.contains(&&*entry.name))
            .map(|entry| (entry.line(), &*entry.name))
            .collect();
        assert_eq!(lines.len(), by_name.len());
        lines.sort();
        for pair in lines.windows(2) {
            assert_ne!(pair[0].0, pair[1].0, "{} and {}", pair[0].1, pair[1].1);
        }
    }

    #[test]
    fn spellings_are_one_name() {
        let found = |name: &str| all().iter().filter(|e| e.is_named(&key(name))).count();
        assert!(found("hard-tanh") >= 2);
        for [a, b] in [["hard-tanh", "HardTanh"], ["layer_norm", "LayerNorm"], ["batch", "Batch"]] {
            assert_eq!(found(a), found(b), "{a}");
        }
        assert!(all().iter().any(|e| e.kind == Kind::Normalization && e.is_named(&key("batch_norm"))));
    }
}
