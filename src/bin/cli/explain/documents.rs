//! What the documents say: rows of docs/CATALOGUE.md, docs/NUMERICS.md and docs/CHOICES.md, sections of docs/EXPLAIN.md.
//! They are parts of the program, so that what it says is what they say.

use std::sync::LazyLock;

use super::entries::{Kind, key};

static CATALOGUE: LazyLock<Vec<Row>> = LazyLock::new(|| rows(include_str!("../../../../docs/CATALOGUE.md")));
static NUMERICS: LazyLock<Vec<Row>> = LazyLock::new(|| rows(include_str!("../../../../docs/NUMERICS.md")));
static CHOICES: LazyLock<Vec<Row>> = LazyLock::new(|| rows(include_str!("../../../../docs/CHOICES.md")));
/// The sections of docs/EXPLAIN.md.
pub(super) static SECTIONS: LazyLock<Vec<Section>> =
    LazyLock::new(|| sections(include_str!("../../../../docs/EXPLAIN.md")));

/// A row of a table, with the heading it stands under.
#[derive(Debug, Clone)]
pub(super) struct Row {
    section: String,
    header: Vec<String>,
    cells: Vec<String>,
}

/// The rows of all tables of a document.
fn rows(text: &str) -> Vec<Row> {
    let (mut section, mut header, mut found) = (String::new(), Vec::new(), Vec::new());
    for line in text.lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            section = heading.to_string();
        }
        match line.strip_prefix('|').and_then(|line| line.strip_suffix('|')) {
            None => header = Vec::new(),
            Some(line) if line.starts_with("---") => {}
            Some(line) => {
                // A bar that is escaped is none of the table's.
                let cells = line.replace("\\|", "\u{1}");
                let cells: Vec<String> =
                    cells.split('|').map(|cell| cell.trim().replace('\u{1}', "|")).collect();
                match header.is_empty() {
                    true => header = cells,
                    false => {
                        let mut row = Row { section: section.clone(), header: header.clone(), cells };
                        row.resolve(found.last());
                        found.push(row);
                    }
                }
            }
        }
    }
    found
}

/// Rows of the catalogue that are entries.
pub(super) fn catalogue() -> Vec<(Kind, Row)> {
    CATALOGUE.iter().filter_map(|row| Some((row.kind()?, row.clone()))).collect()
}

/// A reference that is that of the row above.
const SAME: &str = "the same";

impl Row {
    /// Writes out what refers to the row before.
    fn resolve(&mut self, before: Option<&Row>) {
        let above = before.filter(|row| row.header == self.header);
        for (i, cell) in self.cells.iter_mut().enumerate() {
            let is_reference = self.header.get(i).is_some_and(|head| head == "reference");
            if let (true, Some(rest), Some(above)) = (is_reference, cell.strip_prefix(SAME), above) {
                *cell = format!("{}{rest}", above.cell(i));
            }
        }
    }

    fn head(&self, i: usize) -> &str {
        self.header.get(i).map_or("", String::as_str)
    }

    fn cell(&self, i: usize) -> &str {
        self.cells.get(i).map_or("", String::as_str)
    }

    pub(super) fn kind(&self) -> Option<Kind> {
        Some(match (&*self.section, self.head(0), self.head(1)) {
            (_, "op", _) => Kind::Op,
            ("Activations", "records it", _) => Kind::Activation,
            ("Normalization", "records it", _) => Kind::Normalization,
            (_, "layer", _) => Kind::Layer,
            (_, "loss", _) => Kind::Loss,
            (_, "penalty", _) => Kind::Regularizer,
            (_, "optimizer", _) => Kind::Optimizer,
            ("Optimizers", "", "what") => Kind::Optimizer,
            ("Optimizers", "", "factor") => Kind::Schedule,
            ("Initializers", "", _) => Kind::Initializer,
            _ => return None,
        })
    }

    /// What it is called: by name where it has one, else by what is written in Rust.
    pub(super) fn names(&self) -> Vec<String> {
        let by_name = match self.head(1) {
            "name" => quoted(self.cell(1)),
            _ => Vec::new(),
        };
        let all = if by_name.is_empty() { quoted(self.cell(0)) } else { by_name };
        all.iter().map(|text| identifier(text)).collect()
    }

    /// The constructor of a loss: `huber` of `Loss::huber(delta)`.
    pub(super) fn constructor(&self) -> String {
        quoted(self.cell(0)).first().map(|text| identifier(text)).unwrap_or_default()
    }

    /// Whether it is an update that one of these optimizers records.
    pub(super) fn updates(&self, optimizers: &[String]) -> bool {
        let is_update = ["_update`", "_direction`"].iter().any(|end| self.cell(0).ends_with(end));
        is_update
            && self.head(1) == "recorded by"
            && quoted(self.cell(1)).iter().any(|name| optimizers.contains(name))
    }

    /// What it says, by what it is about, without the name.
    pub(super) fn fields(&self) -> Vec<(&'static str, String)> {
        if self.head(1) == "recorded by" {
            return vec![("formula", plain(self.cell(2))), ("shader", plain(self.cell(3)))];
        }
        let labels = (1..self.cells.len()).map(|i| (label(self.head(i)), self.cell(i)));
        let said = labels.filter(|(_, text)| !["", "–", "–; –"].contains(text));
        // The name of the op that it records is no formula.
        let said = said.filter(|(label, text)| *label != "formula" || !are_names(text));
        let text = |label: &str, text: &str| match label {
            NAMES => elsewhere(&plain(text)),
            _ => plain(text),
        };
        let mut fields: Vec<(&str, String)> =
            said.filter(|(label, _)| !label.is_empty()).map(|(l, said)| (l, text(l, said))).collect();
        if self.kind() != Some(Kind::Op) {
            fields.push(("in Rust", plain(self.cell(0))));
        }
        fields
    }
}

/// What a column is called where there is room for a word.
fn label(head: &str) -> &'static str {
    match head {
        "formula" | "factor" | "values" | "what" => "formula",
        "gradient" | "derivative" => "derivative",
        "records it" | "recorded by" => "in Rust",
        "function" | "kernel" => "shader",
        "PyTorch; Keras" | "PyTorch" | "PyTorch, with its defaults; Keras" => NAMES,
        "reference" => "source",
        "settings, with defaults" => "defaults",
        "states beside `lr`" => "states",
        "parameters" => "parameters",
        "notes" => "notes",
        "options" => "options",
        "takes" => "takes",
        "when, and what goes wrong" => "in short",
        // The name itself.
        _ => "",
    }
}

/// What names in other libraries are called.
const NAMES: &str = "names";

/// Names in PyTorch and in Keras, which a semicolon parts.
fn elsewhere(text: &str) -> String {
    let (pytorch, keras) = text.rsplit_once("; ").unwrap_or((text, "–"));
    let named = |library: &str, name: &str| (!name.starts_with('–')).then(|| format!("{library} {name}"));
    let both: Vec<String> = named("PyTorch", pytorch).into_iter().chain(named("Keras", keras)).collect();
    if both.is_empty() { "neither in PyTorch nor in Keras".into() } else { both.join("; ") }
}

/// What stands between backticks.
fn quoted(text: &str) -> Vec<String> {
    text.split('`').skip(1).step_by(2).map(String::from).collect()
}

/// Whether a cell is names between backticks and nothing else.
fn are_names(cell: &str) -> bool {
    cell.split(", ").all(|part| {
        let name = part.strip_prefix('`').and_then(|part| part.strip_suffix('`'));
        name.is_some_and(|name| name.chars().all(|c| c.is_alphanumeric() || c == '_'))
    })
}

/// The last word of a path or method call: `huber` of `Loss::huber(delta)`, `huber` of `huber=1`.
fn identifier(text: &str) -> String {
    let text = text.strip_suffix("::new(params, dims)").unwrap_or(text);
    let end = text.find(['(', ' ', '=', '{']).unwrap_or(text.len());
    text[..end].rsplit([':', '.']).next().unwrap_or_default().to_string()
}

/// A table's text without Markdown.
fn plain(text: &str) -> String {
    text.replace('`', "")
}

/// A section of docs/EXPLAIN.md: what the catalogue has no column for.
#[derive(Debug, Clone)]
pub(super) struct Section {
    pub(super) kind: Kind,
    pub(super) names: Vec<String>,
    /// By what they are about, in order.
    pub(super) fields: Vec<(String, String)>,
}

/// A heading names what a section explains, commas between; each item of its list is a field.
fn sections(text: &str) -> Vec<Section> {
    let (mut kind, mut found) = (None, Vec::<Section>::new());
    for line in text.lines() {
        if let Some(title) = line.strip_prefix("## ") {
            kind = Kind::ALL.into_iter().find(|kind| kind.plural().eq_ignore_ascii_case(title));
        } else if let (Some(names), Some(kind)) = (line.strip_prefix("### "), kind) {
            let names = names.split(',').map(|name| name.trim().to_string()).collect();
            found.push(Section { kind, names, fields: Vec::new() });
        } else if let (Some(section), Some(_)) = (found.last_mut(), kind) {
            match line.strip_prefix("- ").and_then(|item| item.split_once(": ")) {
                Some((about, text)) => section.fields.push((about.to_string(), plain(text))),
                // A long item goes on.
                None if line.starts_with("  ") => {
                    if let Some((_, text)) = section.fields.last_mut() {
                        text.push(' ');
                        text.push_str(&plain(line.trim()));
                    }
                }
                None => {}
            }
        }
    }
    found
}

/// The error bound of an op, by docs/NUMERICS.md, with why.
pub(super) fn bound(op: &str) -> Option<String> {
    let rows = NUMERICS.iter().filter(|row| row.head(0) == "ops" && row.head(1) == "bound");
    let own = rows.filter(|row| quoted(row.cell(0)).iter().any(|name| name == op));
    let lines: Vec<String> = own
        .map(|row| {
            // `batch_norm`, mean: of one of several results.
            let of = row.cell(0).split_once("`, ").filter(|(_, rest)| !rest.contains('`'));
            let of = of.map(|(_, rest)| format!("{rest}: ")).unwrap_or_default();
            format!("{of}{} ({})", plain(row.cell(1)), plain(row.cell(2)))
        })
        .collect();
    (!lines.is_empty()).then(|| lines.join("; "))
}

/// What docs/CHOICES.md measured of it: a row, or a column of the activations that are most used.
pub(super) fn measured(kind: Kind, name: &str) -> Option<String> {
    let of = |first: &str| CHOICES.iter().filter(move |row| row.head(0) == first).collect::<Vec<_>>();
    let is_it = |row: &&&Row| quoted(row.cell(0)).iter().any(|one| key(one) == key(name));
    let pairs = |row: &Row, from: usize| {
        let each = (from..row.cells.len()).map(|i| format!("{} {}", row.head(i), row.cell(i)));
        each.collect::<Vec<_>>().join(", ")
    };
    let (what, subject) = match kind {
        Kind::Activation => (pairs(of("activation").iter().find(is_it)?, 1), "by initial weights"),
        Kind::Optimizer => {
            let row = of("optimizer").into_iter().find(|row| is_it(&row))?;
            (format!("{} at rate {}", row.cell(2), row.cell(1)), "with ReLU")
        }
        Kind::Initializer => {
            let all = of("activation");
            let column = all.first()?.header.iter().position(|head| head == name)?;
            let usual = ["relu", "tanh", "gelu", "selu", "sigmoid"];
            let chosen = all.iter().filter_map(|row| {
                let activation = quoted(row.cell(0)).pop()?;
                usual.contains(&&*activation).then(|| format!("{activation} {}", row.cell(column)))
            });
            (chosen.collect::<Vec<_>>().join(", "), "by activation")
        }
        _ => return None,
    };
    Some(format!(
        "epochs until 90 % of the validation digits are right, and the accuracy after 20 epochs in percent, {subject}: {what} \
         (docs/CHOICES.md)"
    ))
}
