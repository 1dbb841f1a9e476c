//! Tensors stored in 16 bits: storage bindings of a shader are rewritten to hold `f16`, and every read and write of
//! them converts. All else, sums above all, stays in `f32`, so one text serves both ways of storing.
//!
//! This works on tokens, and on wgrad's own shaders alone: a binding is an `array` of `f32` or vectors of it, or of their
//! words, and is used by indexing it. Whatever else is done with it makes the rewriting fail.

use super::{identifiers_in_order, split};

/// What a text with 16-bit floats begins with.
pub(super) const DIRECTIVE: &str = "enable f16;\n\n";

/// What a binding is an array of.
#[derive(Debug, Clone, Copy)]
struct Element {
    /// Components; 1 for a scalar.
    size: usize,
    /// Declared as the words of floats, which are moved and not computed with.
    is_words: bool,
}

impl Element {
    fn parse(text: &str) -> Option<Self> {
        let sizes = [("vec2<", 2), ("vec3<", 3), ("vec4<", 4)];
        let vector = sizes.iter().find_map(|(v, n)| Some((text.strip_prefix(v)?.strip_suffix('>')?, *n)));
        let (scalar, size) = vector.unwrap_or((text, 1));
        match scalar.trim() {
            "f32" => Some(Element { size, is_words: false }),
            "u32" => Some(Element { size, is_words: true }),
            _ => None,
        }
    }

    fn of(self, scalar: &str) -> String {
        if self.size == 1 { scalar.to_string() } else { format!("vec{}<{scalar}>", self.size) }
    }

    /// What stands for a read of the whole element.
    fn load(self, place: &str) -> String {
        let float = format!("{}({place})", self.of("f32"));
        if self.is_words { format!("bitcast<{}>({float})", self.of("u32")) } else { float }
    }

    /// The value to be stored, in the element or in a component of it.
    fn store(self, value: &str) -> String {
        let half = self.of("f16");
        if self.is_words {
            format!("{half}(bitcast<{}>({value}))", self.of("f32"))
        } else {
            format!("{half}({value})")
        }
    }

    fn component(self) -> Self {
        Element { size: 1, ..self }
    }
}

/// A declaration of a storage binding: its number, name and element type.
fn storage(item: &str) -> Option<(u32, &str, &str)> {
    let (attributes, rest) = item.split_once("var<storage")?;
    let number = attributes.split_once("@binding(")?.1.split_once(')')?.0.trim().parse().ok()?;
    let (name, ty) = rest.split_once('>')?.1.split_once(':')?;
    let element = ty.trim().trim_end_matches(';').trim().strip_prefix("array<")?.strip_suffix('>')?;
    Some((number, name.trim(), element.trim()))
}

/// The numbers of a text's storage bindings, in order.
fn numbers(text: &str) -> Vec<u32> {
    let mut found: Vec<u32> =
        split(text).into_iter().filter_map(|(_, item)| Some(storage(item)?.0)).collect();
    found.sort_unstable();
    found
}

/// `text` with some of its storage bindings in 16 bits: `is_half` says which, in the order of their numbers. `None`
/// where they are used in a way that is not understood.
pub(crate) fn store_halves(text: &str, is_half: &[bool]) -> Option<String> {
    let numbers = numbers(text);
    if numbers.len() != is_half.len() {
        return None;
    }
    let mut halves: Vec<(&str, Element)> = Vec::new();
    let mut out = String::from(DIRECTIVE);
    let mut at = 0;
    let items = split(text);
    for (name, item) in &items {
        let chosen = storage(item).filter(|(n, ..)| numbers.iter().zip(is_half).any(|(m, h)| m == n && *h));
        if let Some((_, _, element)) = chosen {
            halves.push((name, Element::parse(element)?));
        }
    }
    for (name, item) in items {
        let start = item.as_ptr() as usize - text.as_ptr() as usize;
        out.push_str(&text[at..start]);
        at = start + item.len();
        if let Some((_, element)) = halves.iter().find(|(n, _)| *n == name && storage(item).is_some()) {
            let (before, _) = item.split_once("array<")?;
            out.push_str(&format!("{before}array<{}>;", element.of("f16")));
        } else if item.contains("fn ") {
            let seen: Vec<_> = halves.iter().filter(|(n, _)| !declares(item, n)).copied().collect();
            out.push_str(&convert(item, &seen)?);
        } else {
            out.push_str(item);
        }
    }
    out.push_str(&text[at..]);
    Some(out)
}

/// Whether a function has a parameter or variable of this name, which hides the binding.
fn declares(function: &str, name: &str) -> bool {
    let mut words = identifiers_in_order(function).peekable();
    while let Some(word) = words.next() {
        let next_is = |w: Option<&&str>| w.is_some_and(|w| *w == name);
        if matches!(word, "let" | "var" | "const") && next_is(words.peek()) {
            return true;
        }
    }
    let after = |at: usize| function[at + name.len()..].trim_start().starts_with(':');
    let before = |at: usize| function[..at].chars().next_back().is_none_or(|c| !is_word(c));
    function.match_indices(name).any(|(at, _)| before(at) && after(at))
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
fn convert(code: &str, halves: &[(&str, Element)]) -> Option<String> {
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
        let Some(&(name, element)) = halves.iter().find(|(name, _)| *name == word) else {
            // Nobody else takes a binding as a whole.
            out.push_str(word);
            at = end;
            continue;
        };
        if !code[end..].starts_with('[') {
            return None;
        }
        let close = end + closing(&code[end..])?;
        let place = format!("{name}[{}]", convert(&code[end + 1..close], halves)?);
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
                component.push_str(&format!("[{}]", convert(&code[at + 1..close], halves)?));
                at = close + 1;
            } else {
                break;
            }
        }
        let rest = code[at..].trim_start();
        if let Some((operator, length)) = assignment(rest) {
            let value = code.len() - rest.len() + length;
            let end = value + end_of_statement(&code[value..])?;
            let mut text = convert(code[value..end].trim(), halves)?;
            if !operator.is_empty() {
                text = format!("{}{component} {operator} ({text})", element.load(&place));
            }
            let target = if component.is_empty() { element } else { element.component() };
            out.push_str(&format!("{place}{component} = {}", target.store(&text)));
            at = end;
        } else if rest.starts_with("++") || rest.starts_with("--") {
            return None;
        } else {
            out.push_str(&element.load(&place));
            out.push_str(&component);
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BINDINGS: &str = "@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;\n\
                            @group(0) @binding(3) var<storage, read_write> y: array<f32>;\n\
                            @group(0) @binding(2) var<storage, read> w: array<u32>;\n\
                            @group(0) @binding(4) var<uniform> p: P;\n";

    /// The function `f` with `body` after x, w and y became 16 bits wide.
    fn body(text: &str) -> Option<String> {
        let whole = store_halves(&format!("{BINDINGS}fn f(i: u32) {{ {text} }}"), &[true, true, true])?;
        let (_, body) = whole.split_once("fn f(i: u32) { ")?;
        Some(body.strip_suffix(" }")?.to_string())
    }

    #[test]
    fn declarations_of_chosen_bindings_change() {
        let whole = store_halves(BINDINGS, &[true, false, true]).unwrap();
        assert!(whole.starts_with("enable f16;\n"));
        assert!(whole.contains("read> x: array<vec4<f16>>;"), "{whole}");
        assert!(whole.contains("read> w: array<u32>;"), "{whole}");
        assert!(whole.contains("read_write> y: array<f16>;"), "{whole}");
        assert!(whole.contains("var<uniform> p: P;"));
        // As many choices as bindings.
        assert_eq!(store_halves(BINDINGS, &[true]), None);
    }

    #[test]
    fn reads_and_writes_convert() {
        let cases = [
            ("let a = x[i];", "let a = vec4<f32>(x[i]);"),
            ("let a = x[i].y + x[i][k];", "let a = vec4<f32>(x[i]).y + vec4<f32>(x[i])[k];"),
            ("y[i] = 0.5;", "y[i] = f16(0.5);"),
            ("y[i] += a * b;", "y[i] = f16(f32(y[i]) + (a * b));"),
            ("y[i + n * (j - 1u)] = x[j].x;", "y[i + n * (j - 1u)] = f16(vec4<f32>(x[j]).x);"),
            ("if (y[i] == 1.0) { y[i] = y[i]; }", "if (f32(y[i]) == 1.0) { y[i] = f16(f32(y[i])); }"),
            ("if (y[i] <= y[j]) { }", "if (f32(y[i]) <= f32(y[j])) { }"),
            ("if (y[i] >= 0.0) { }", "if (f32(y[i]) >= 0.0) { }"),
            ("if (y[i] != 0.0) { }", "if (f32(y[i]) != 0.0) { }"),
            ("y[u32(y[i])] = 1.0;", "y[u32(f32(y[i]))] = f16(1.0);"),
            (
                "y[i] = select(a,\n        b, c); y[i] = d;",
                "y[i] = f16(select(a,\n        b, c)); y[i] = f16(d);",
            ),
            ("y[i] = f32(w[i]);", "y[i] = f16(f32(bitcast<u32>(f32(w[i]))));"),
            ("// y[i] = x\nlet a = 1;", "// y[i] = x\nlet a = 1;"),
            ("let a = p.x[i] + xy[i] + x1 + a.y;", "let a = p.x[i] + xy[i] + x1 + a.y;"),
        ];
        for (text, expected) in cases {
            assert_eq!(body(text).as_deref(), Some(expected));
        }
    }

    #[test]
    fn words_of_floats_are_moved_as_floats() {
        let text = "@group(0) @binding(0) var<storage, read> a: array<vec4<u32>>;\n\
                    @group(0) @binding(1) var<storage, read_write> b: array<vec4<u32>>;\n\
                    fn f() { b[0] = a[1]; b[1].z = a[2].x; }";
        let whole = store_halves(text, &[false, true]).unwrap();
        assert!(whole.contains("b[0] = vec4<f16>(bitcast<vec4<f32>>(a[1]));"), "{whole}");
        assert!(whole.contains("b[1].z = f16(bitcast<f32>(a[2].x));"), "{whole}");
        let whole = store_halves(text, &[true, false]).unwrap();
        assert!(whole.contains("b[0] = bitcast<vec4<u32>>(vec4<f32>(a[1]));"), "{whole}");
    }

    #[test]
    fn a_local_name_hides_the_binding() {
        let text =
            format!("{BINDINGS}fn g(x: f32, a: f32) -> f32 {{ return x + a; }}\nfn f() {{ let z = x[0]; }}");
        let whole = store_halves(&text, &[true, true, true]).unwrap();
        assert!(whole.contains("return x + a;") && whole.contains("let z = vec4<f32>(x[0]);"), "{whole}");
        for local in ["let x = 1; g(x);", "var x: f32; g(x);", "var y = array<f32, 4>(); y[0] = 1.0;"] {
            assert_eq!(body(local).as_deref(), Some(local));
        }
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for text in
            ["g(&x);", "let n = arrayLength(&y);", "y[i]++;", "for (var i = 0; i < 3; y[i] = 1.0) { }"]
        {
            assert_eq!(body(text), None, "{text}");
        }
        let atomic = "@group(0) @binding(0) var<storage, read_write> n: array<atomic<u32>>;";
        assert_eq!(store_halves(atomic, &[true]), None);
        assert!(store_halves(atomic, &[false]).is_some());
    }
}
