//! How an explanation is laid out: lines within the width of the terminal, or JSON.

use serde_json::{Value, json};

use super::chart::chart;
use super::entries::{Entry, Kind};
use super::{Explained, OpLine};

/// Columns of a line at most.
const WIDEST: usize = 100;
/// Columns of what a field is about.
const LABEL: usize = 12;

/// As wide as the terminal, within limits.
pub(super) fn width() -> usize {
    let terminal = console::Term::stdout().size_checked().map(|(_, columns)| usize::from(columns));
    terminal.map_or(WIDEST, |columns| columns.clamp(40, WIDEST))
}

/// Text in lines of at most `width` characters, broken at spaces; a longer word has a line of its own.
fn folded(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_string()),
        }
    }
    lines
}

/// A field: what it is about, in a column of its own, then its text beside it.
fn field(label: &str, column: usize, text: &str, width: usize) -> Vec<String> {
    let lines = folded(text, width.saturating_sub(column));
    let beside = lines.iter().enumerate().map(|(i, line)| {
        let label = if i == 0 { label } else { "" };
        format!("{label:<column$}{line}")
    });
    beside.collect()
}

/// The lines of an explanation.
pub(super) fn lines(one: &Explained, width: usize) -> Vec<String> {
    let kinds: Vec<&str> = one.entries.iter().map(|entry| entry.kind.name()).collect();
    let mut names: Vec<&str> = one.entries.iter().map(|entry| &*entry.name).collect();
    names.dedup();
    let mut lines = vec![format!("{}: {}", names.join(", "), kinds.join(", ")), String::new()];
    for (label, text) in &one.fields {
        lines.extend(field(label, LABEL, text, width));
    }
    if let Some(curve) = &one.curve {
        lines.extend([String::new(), curve.title.clone()]);
        lines.extend(chart(curve));
    }
    if !one.ops.is_empty() {
        lines.extend([
            String::new(),
            "recorded ops, and their error bounds; ∂: those of the derivative".into(),
        ]);
        let name = |op: &OpLine| format!("  {}{}", if op.is_derivative { "∂ " } else { "" }, op.name);
        let column = one.ops.iter().map(|op| name(op).chars().count()).max().unwrap_or(0) + 2;
        one.ops.iter().for_each(|op| lines.extend(field(&name(op), column, &op.about, width)));
    }
    for item in &one.reference {
        lines.extend([String::new(), format!("Rust, {}", item.file)]);
        lines.extend(item.text.lines().map(|line| format!("  {line}")));
    }
    if !one.kernels.is_empty() {
        lines.extend([String::new(), format!("WGSL, {}", one.adapter)]);
        for listed in &one.kernels {
            lines.extend([String::new(), format!("// {} ({})", listed.kernel.key, listed.ops)]);
            lines.extend(listed.kernel.text.lines().map(String::from));
        }
    }
    lines
}

/// The same as JSON.
pub(super) fn object(one: &Explained) -> Value {
    let entries: Vec<Value> =
        one.entries.iter().map(|entry| json!({ "kind": entry.kind.name(), "name": entry.name })).collect();
    let fields: Vec<Value> =
        one.fields.iter().map(|(about, text)| json!({ "about": about, "text": text })).collect();
    let ops: Vec<Value> = one
        .ops
        .iter()
        .map(|op| json!({ "op": op.name, "of_the_derivative": op.is_derivative, "about": op.about }))
        .collect();
    let kernels: Vec<Value> = one
        .kernels
        .iter()
        .map(|one| json!({ "key": one.kernel.key, "ops": one.ops, "wgsl": &*one.kernel.text }))
        .collect();
    let curve = one.curve.as_ref().map(|curve| {
        let lines: Vec<Value> =
            curve.lines.iter().map(|(name, y)| json!({ "name": name, "values": y })).collect();
        json!({ "title": curve.title, "axis": curve.axis, "x": curve.x, "lines": lines })
    });
    json!({
        "entries": entries, "fields": fields, "ops": ops, "reference": one.reference,
        "kernels": kernels, "kernels_of": one.adapter, "curve": curve,
    })
}

/// All entries of some kinds, one line each.
pub(super) fn list(all: &[Entry], kinds: &[Kind], width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for &kind in kinds {
        let of: Vec<&Entry> = all.iter().filter(|entry| entry.kind == kind).collect();
        let longest = of.iter().map(|entry| entry.name.chars().count()).max().unwrap_or(0);
        lines.extend([String::new(), format!("{} ({})", kind.plural(), of.len())]);
        for entry in of {
            let room = width.saturating_sub(longest + 4);
            lines.push(format!("  {:<longest$}  {}", entry.name, cut(&entry.line(), room)).trim_end().into());
        }
    }
    lines.drain(..1);
    lines
}

/// The same as JSON, an object each.
pub(super) fn list_objects(all: &[Entry], kinds: &[Kind]) -> Vec<Value> {
    let chosen = all.iter().filter(|entry| kinds.contains(&entry.kind));
    chosen
        .map(|entry| json!({ "kind": entry.kind.name(), "name": entry.name, "formula": entry.line() }))
        .collect()
}

/// At most so many characters.
fn cut(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_string();
    }
    text.chars().take(most.saturating_sub(1)).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::super::entries;
    use super::*;

    #[test]
    fn lines_are_within_the_width() {
        for width in [40, 72, 100] {
            for line in list(entries::all(), &Kind::ALL, width) {
                assert!(line.chars().count() <= width, "{line}");
            }
            for line in field("when", LABEL, &"some words and more of them ".repeat(20), width) {
                assert!(line.chars().count() <= width && line.len() > LABEL, "{line}");
            }
        }
        assert_eq!(field("formula", LABEL, "x", 40), ["formula     x"]);
        assert_eq!(folded("a bb ccc dddddddddd", 6), ["a bb", "ccc", "dddddddddd"]);
        assert_eq!(cut("abcdef", 4), "abc…");
    }
}
