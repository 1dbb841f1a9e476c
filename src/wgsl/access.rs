//! Storage bindings whose elements are stored otherwise than a shader's text says: their declarations, reads and writes
//! are rewritten, and one text serves all ways of storing.
//!
//! This works on tokens, and on wgrad's own shaders alone: a binding is an `array`, and is used by indexing it. Whatever
//! else is done with it makes the rewriting fail.

use super::{identifiers_in_order, split};

/// A way to store the elements of a binding.
pub(super) trait Form {
    /// Their type in the declaration.
    fn element(&self) -> String;

    /// What stands for a read of the whole element at `target`.
    fn load(&self, target: &str) -> String;

    /// What stands for `target component operator= value`; `component` and `operator` may be empty. `None` where this
    /// cannot be said.
    fn assign(&self, target: &str, component: &str, operator: &str, value: &str) -> Option<String>;
}

/// A storage binding: its number, name and the type of its elements.
pub(super) fn storage(item: &str) -> Option<(u32, &str, &str)> {
    let (attributes, rest) = item.split_once("var<storage")?;
    let number = attributes.split_once("@binding(")?.1.split_once(')')?.0.trim().parse().ok()?;
    let (name, ty) = rest.split_once('>')?.1.split_once(':')?;
    let element = ty.trim().trim_end_matches(';').trim().strip_prefix("array<")?.strip_suffix('>')?;
    Some((number, name.trim(), element.trim()))
}

/// `text` with these of its bindings stored so, or `None` where one is used in a way that is not understood.
pub(super) fn stored<F: Form>(text: &str, forms: &[(&str, F)]) -> Option<String> {
    let mut out = String::with_capacity(text.len() * 5 / 4);
    let mut at = 0;
    for (name, item) in split(text) {
        let start = item.as_ptr() as usize - text.as_ptr() as usize;
        out.push_str(&text[at..start]);
        at = start + item.len();
        if let Some((_, form)) = forms.iter().find(|(n, _)| *n == name && storage(item).is_some()) {
            let (before, _) = item.split_once("array<")?;
            out.push_str(&format!("{before}array<{}>;", form.element()));
        } else if item.contains("fn ") {
            let seen: Vec<(&str, &F)> =
                forms.iter().filter(|(n, _)| !declares(item, n)).map(|(n, form)| (*n, form)).collect();
            out.push_str(&convert(item, &seen)?);
        } else {
            out.push_str(item);
        }
    }
    out.push_str(&text[at..]);
    Some(out)
}

/// Whether a function has a parameter or variable of this name, which hides the binding.
pub(super) fn declares(function: &str, name: &str) -> bool {
    let mut words = identifiers_in_order(function).peekable();
    while let Some(word) = words.next() {
        if matches!(word, "let" | "var" | "const") && words.peek().is_some_and(|w| *w == name) {
            return true;
        }
    }
    let is_parameter = |code: &str| {
        let after = |at: usize| code[at + name.len()..].trim_start().starts_with(':');
        let before = |at: usize| code[..at].chars().next_back().is_none_or(|c| !is_word(c));
        code.match_indices(name).any(|(at, _)| before(at) && after(at))
    };
    function.lines().any(|line| is_parameter(line.split("//").next().unwrap_or("")))
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// Where the bracket that `code` starts with is closed.
fn closing(code: &str) -> Option<usize> {
    let mut depth = 0usize;
    for (i, c) in code.char_indices() {
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.checked_sub(1)?,
            _ => {}
        }
        if depth == 0 {
            return Some(i);
        }
    }
    None
}

/// Where the statement that `code` goes on with ends.
fn end_of_statement(code: &str) -> Option<usize> {
    let mut depth = 0usize;
    for (i, c) in code.char_indices() {
        match c {
            ';' if depth == 0 => return Some(i),
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.checked_sub(1)?,
            _ => {}
        }
    }
    None
}

/// The operator of an assignment that `code` starts with, and its length: `""` for a plain one.
fn assignment(code: &str) -> Option<(&str, usize)> {
    let operator = code.find('=')?;
    let is_one =
        matches!(&code[..operator], "" | "+" | "-" | "*" | "/" | "%" | "&" | "|" | "^" | "<<" | ">>");
    (is_one && !code[operator + 1..].starts_with('=')).then_some((&code[..operator], operator + 1))
}

/// Code with the reads and writes of these bindings converted.
fn convert<F: Form>(code: &str, forms: &[(&str, &F)]) -> Option<String> {
    let mut out = String::with_capacity(code.len() + 64);
    let mut at = 0;
    let mut before = ' ';
    while let Some(c) = code[at..].chars().next() {
        if code[at..].starts_with("//") {
            let end = code[at..].find('\n').map_or(code.len(), |n| at + n);
            out.push_str(&code[at..end]);
            at = end;
            continue;
        }
        if !(c.is_ascii_alphabetic() || c == '_') || is_word(before) || before == '.' {
            out.push(c);
            before = c;
            at += c.len_utf8();
            continue;
        }
        let end = code[at..].find(|c| !is_word(c)).map_or(code.len(), |n| at + n);
        let word = &code[at..end];
        before = 'a';
        let Some(&(name, form)) = forms.iter().find(|(name, _)| *name == word) else {
            out.push_str(word);
            at = end;
            continue;
        };
        // Nobody else takes a binding as a whole, or the address of an element.
        let is_address = out.trim_end().strip_suffix('&').is_some_and(|rest| !rest.ends_with('&'));
        if !code[end..].starts_with('[') || is_address {
            return None;
        }
        let close = end + closing(&code[end..])?;
        let target = format!("{name}[{}]", convert(&code[end + 1..close], forms)?);
        at = close + 1;
        before = ']';
        // Components, by name or by number.
        let mut component = String::new();
        loop {
            if code[at..].starts_with('.') {
                let end = code[at + 1..].find(|c| !is_word(c)).map_or(code.len(), |n| at + 1 + n);
                component.push_str(&code[at..end]);
                at = end;
            } else if code[at..].starts_with('[') {
                let close = at + closing(&code[at..])?;
                component.push_str(&format!("[{}]", convert(&code[at + 1..close], forms)?));
                at = close + 1;
            } else {
                break;
            }
        }
        let rest = code[at..].trim_start();
        if let Some((operator, length)) = assignment(rest) {
            let value = code.len() - rest.len() + length;
            let end = value + end_of_statement(&code[value..])?;
            let text = convert(code[value..end].trim(), forms)?;
            out.push_str(&form.assign(&target, &component, operator, &text)?);
            at = end;
        } else if rest.starts_with("++") || rest.starts_with("--") {
            return None;
        } else {
            out.push_str(&form.load(&target));
            out.push_str(&component);
        }
    }
    Some(out)
}
