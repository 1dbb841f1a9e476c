//! Single faults of a line of WGSL.

use std::cell::Cell;

use super::tokens::{Kind, Token, closing, tokens};

/// A fault of a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineFault {
    /// Which token it is at, and which of that token's faults it is: the same in all lines of one shape.
    pub id: (usize, usize),
    pub kind: &'static str,
    /// The line with the fault.
    pub after: String,
}

/// What stands for an operator, with the kind of fault that it is.
fn other_signs(sign: &str) -> &'static [(&'static str, &'static str)] {
    match sign {
        "<" => &[("edge", "<="), ("comparison", ">=")],
        "<=" => &[("edge", "<"), ("comparison", ">")],
        ">" => &[("edge", ">="), ("comparison", "<=")],
        ">=" => &[("edge", ">"), ("comparison", "<")],
        "==" => &[("comparison", "!=")],
        "!=" => &[("comparison", "==")],
        "&&" => &[("logic", "||")],
        "||" => &[("logic", "&&")],
        "+" => &[("sign", "-")],
        "-" => &[("sign", "+")],
        "*" => &[("arithmetic", "+")],
        "/" => &[("arithmetic", "*")],
        "%" => &[("arithmetic", "/")],
        "&" => &[("bits", "|")],
        "|" => &[("bits", "&")],
        "^" => &[("bits", "|")],
        "<<" => &[("bits", ">>")],
        ">>" => &[("bits", "<<")],
        "+=" => &[("sign", "-=")],
        "-=" => &[("sign", "+=")],
        "*=" => &[("arithmetic", "+=")],
        _ => &[],
    }
}

/// Names that stand for one another, `true` and `false` among them.
pub const NAMES: [(&str, &str, &str); 23] = [
    ("function", "max", "min"),
    ("function", "min", "max"),
    ("function", "exp", "exp2"),
    ("function", "log", "log2"),
    ("function", "sqrt", "inverseSqrt"),
    ("function", "inverseSqrt", "sqrt"),
    ("function", "abs", ""),
    ("function", "floor", "ceil"),
    ("function", "round", "floor"),
    ("function", "sin", "cos"),
    ("function", "cos", "sin"),
    ("function", "sign", ""),
    ("logic", "true", "false"),
    ("logic", "false", "true"),
    // A maximum that starts from 0.
    ("constant", "minus_infinity", "f32"),
    ("function", "exp_of", "exp2"),
    ("function", "log_of", "log2"),
    ("function", "larger", "min"),
    ("function", "larger4", "min"),
    ("component", "x", "y"),
    ("component", "y", "x"),
    ("component", "z", "w"),
    ("component", "w", "z"),
];

/// Fields of one uniform: name and type.
pub type Fields = Vec<(String, String)>;

/// What a line stands in.
#[derive(Debug, Default, Clone)]
pub struct Context {
    /// Uniforms of the text, by name.
    pub uniforms: Vec<(String, Fields)>,
}

/// Stands for a token where a fault is of the line as a whole.
const LINE: usize = usize::MAX;

/// All faults of a line's code from byte `from` on.
pub fn faults(line: &str, from: usize, context: &Context) -> Vec<LineFault> {
    let all = tokens(line);
    let mut found = Vec::new();
    if all.iter().any(|t| t.is("@")) && !line.contains('{') {
        return found;
    }
    let site = Cell::new(LINE);
    let mut put = |kind, range: std::ops::Range<usize>, text: &str| {
        let after = format!("{}{text}{}", &line[..range.start], &line[range.end..]);
        let id = (site.get(), found.iter().filter(|f: &&LineFault| f.id.0 == site.get()).count());
        found.push(LineFault { id, kind, after });
    };
    let header = loop_header(&all);
    let zero = zero_products(&all);
    for (i, t) in all.iter().enumerate().filter(|(i, t)| t.at >= from && !zero.contains(i)) {
        site.set(i);
        let before = i.checked_sub(1).map(|i| all[i]);
        let part = header.as_ref().map_or(Part::Body, |h| h.part(i));
        match t.kind {
            Kind::Sign if t.text == "-" && !before.is_some_and(|b| b.ends_operand()) => {
                put("sign", t.at..t.end(), "");
            }
            Kind::Sign if t.text == "!" => put("logic", t.at..t.end(), ""),
            Kind::Sign if t.text == "[" => {
                if let Some(close) = closing(&all, i) {
                    put("index", t.end()..all[close].at, &format!("({}) + 1", &line[t.end()..all[close].at]));
                }
            }
            // The direction of a loop stays: without an end nothing is to be seen.
            Kind::Sign if part == Part::Step => {}
            // What is added or subtracted is nothing.
            Kind::Sign if matches!(t.text, "+" | "-") && all.get(i + 1).is_some_and(is_zero) => {}
            Kind::Sign if matches!(t.text, "*" | "/") && all.get(i + 1).is_some_and(is_one) => {}
            Kind::Sign => {
                for (kind, other) in other_signs(t.text) {
                    put(kind, t.at..t.end(), other);
                }
            }
            Kind::Number => numbers(t, divisor(&all, i), &mut put),
            Kind::Name => {
                let is_field = before.is_some_and(|b| b.is("."));
                for (kind, _, other) in NAMES.iter().filter(|n| n.1 == t.text) {
                    let called = all.get(i + 1).is_some_and(|n| n.is("("));
                    let fits = match *kind {
                        "function" => called && !is_field,
                        "component" => is_field,
                        _ => true,
                    };
                    if fits {
                        put(kind, t.at..t.end(), other);
                    }
                }
                if t.text == "select" {
                    swapped_arms(line, &all, i, &mut put);
                }
                if is_field && let Some(other) = other_field(&all, i, context) {
                    put("stride", t.at..t.end(), other);
                }
            }
            Kind::Template => {}
        }
    }
    site.set(LINE);
    if let Some(header) = header.filter(|_| all[0].at >= from) {
        header.edges(line, &all, &mut put);
    }
    whole_statement(line, &all, from, &mut put);
    found
}

type Put<'a> = dyn FnMut(&'static str, std::ops::Range<usize>, &str) + 'a;

fn is_zero(t: &Token<'_>) -> bool {
    t.kind == Kind::Number && t.text.trim_end_matches(['u', 'i']) == "0"
}

fn is_one(t: &Token<'_>) -> bool {
    t.kind == Kind::Number && matches!(t.text.trim_end_matches(['u', 'i']), "1" | "1.0")
}

/// Tokens of products after a factor that is written as 0, as unrolled text has it: no fault of theirs changes anything.
fn zero_products(all: &[Token<'_>]) -> Vec<usize> {
    let mut found = Vec::new();
    for start in (0..all.len()).filter(|&i| is_zero(&all[i])) {
        let mut at = start + 1;
        while all.get(at).is_some_and(|t| t.is("*")) {
            let mut end = at + 1;
            if all.get(end).is_some_and(|t| t.is("(")) {
                end = closing(all, end).unwrap_or(end);
            }
            while all.get(end + 1).is_some_and(|t| t.is(".")) {
                end += 2;
            }
            found.extend(at..=end);
            at = end + 1;
        }
    }
    found
}

/// The number that the brackets around token `i` are divided by, or 1: a smaller change could be lost in the quotient.
fn divisor(all: &[Token<'_>], i: usize) -> u32 {
    let around = |open: &usize| all[*open].is("(") && closing(all, *open).is_some_and(|close| close > i);
    let quotient = |open: usize| {
        let close = closing(all, open)?;
        let by = all.get(close + 1).filter(|t| t.is("/")).and_then(|_| all.get(close + 2))?;
        by.text.trim_end_matches('u').parse::<u32>().ok()
    };
    (0..i).filter(around).filter_map(quotient).product()
}

fn numbers(t: &Token<'_>, step: u32, put: &mut Put<'_>) {
    let is_hex = t.text.starts_with("0x");
    let digits = t.text.trim_end_matches(['u', 'i']);
    if let (Ok(n), false) = (digits.parse::<u32>(), is_hex) {
        put("number", t.at..t.end(), &format!("{}{}", n.wrapping_add(step), &t.text[digits.len()..]));
    } else if is_hex {
        let hex = &digits[2..];
        if let Ok(n) = u32::from_str_radix(hex, 16) {
            put("number", t.at..t.end(), &format!("{:#x}{}", n ^ 1, &t.text[digits.len()..]));
        }
    } else if let Ok(x) = t.text.trim_end_matches('f').parse::<f32>() {
        if x == 0.0 {
            put("number", t.at..t.end(), "1.0");
        } else {
            put("number", t.at..t.end(), "0.0");
            put("number", t.at..t.end(), &format!("{:?}", x * 0.75));
        }
    }
}

/// `select(a, b, c)` with a and b the other way round.
fn swapped_arms(line: &str, all: &[Token<'_>], i: usize, put: &mut Put<'_>) {
    let Some(close) = all.get(i + 1).filter(|t| t.is("(")).and_then(|_| closing(all, i + 1)) else { return };
    let mut depth = 0;
    let mut commas = Vec::new();
    for token in &all[i + 1..close] {
        match token.text {
            "(" | "[" => depth += 1,
            ")" | "]" => depth -= 1,
            "<" | ">" if token.kind == Kind::Template => depth += if token.text == "<" { 1 } else { -1 },
            "," if depth == 1 => commas.push(token.at),
            _ => {}
        }
    }
    if let [first, second] = commas[..] {
        let start = all[i + 1].end();
        let text = format!("{}, {}", line[first + 1..second].trim(), &line[start..first]);
        put("arms", start..second, &text);
    }
}

/// Another field of the same type of the uniform whose field token `i` is.
fn other_field<'a>(all: &[Token<'_>], i: usize, context: &'a Context) -> Option<&'a str> {
    let owner = all.get(i.checked_sub(2)?)?;
    let is_free = i < 3 || !all[i - 3].is(".");
    let (_, fields) = context.uniforms.iter().find(|(name, _)| *name == owner.text && is_free)?;
    let at = fields.iter().position(|(name, _)| *name == all[i].text)?;
    let ty = &fields[at].1;
    let mut others = (1..fields.len()).map(|k| &fields[(at + k) % fields.len()]);
    others.find(|(_, other)| other == ty).map(|(name, _)| name.as_str())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Body,
    Start,
    Condition,
    Step,
}

/// The header of a loop: places of its brackets and semicolons among the tokens.
#[derive(Debug)]
struct Header {
    open: usize,
    semicolons: [usize; 2],
    close: usize,
}

fn loop_header(all: &[Token<'_>]) -> Option<Header> {
    if !all.first()?.is("for") || !all.get(1)?.is("(") {
        return None;
    }
    let close = closing(all, 1)?;
    let semicolons: Vec<usize> = (2..close).filter(|&i| all[i].is(";")).collect();
    Some(Header { open: 1, semicolons: semicolons.try_into().ok()?, close })
}

impl Header {
    fn part(&self, i: usize) -> Part {
        match i {
            _ if i <= self.open || i >= self.close => Part::Body,
            _ if i <= self.semicolons[0] => Part::Start,
            _ if i <= self.semicolons[1] => Part::Condition,
            _ => Part::Step,
        }
    }

    /// A loop that begins one later, ends one earlier, or takes two steps at once.
    fn edges(&self, line: &str, all: &[Token<'_>], put: &mut Put<'_>) {
        let find = |from: usize, to: usize, signs: &[&str]| {
            (from..to).find(|&i| all[i].kind == Kind::Sign && signs.contains(&all[i].text))
        };
        let [first, second] = self.semicolons;
        if let Some(equals) = find(self.open, first, &["="]) {
            let range = all[equals].end()..all[first].at;
            put("loop", range.clone(), &format!(" ({}) + 1", line[range].trim()));
        }
        if let Some(less) = find(first, second, &["<", "<="]) {
            let range = all[first].end()..all[less].at;
            put("loop", range.clone(), &format!(" {} + 1 ", line[range].trim()));
        }
        if let Some(plus) = find(second, self.close, &["+="]) {
            let range = all[plus].end()..all[self.close].at;
            put("loop", range.clone(), &format!(" 2 * ({})", line[range].trim()));
        }
    }
}

/// A line that is one statement is left out; an `if` of one line is taken always.
fn whole_statement(line: &str, all: &[Token<'_>], from: usize, put: &mut Put<'_>) {
    let (Some(first), Some(last)) = (all.first(), all.last()) else { return };
    if first.at < from {
        return;
    }
    let balance = |open: &str, close: &str| {
        all.iter().filter(|t| t.is(open)).count() == all.iter().filter(|t| t.is(close)).count()
    };
    if !(balance("(", ")") && balance("[", "]") && balance("{", "}")) {
        return;
    }
    let range = first.at..last.end();
    let is_declaration = matches!(first.text, "let" | "var" | "const" | "return" | "for" | "}");
    let assigns = all.iter().any(|t| matches!(t.text, "=" | "+=" | "-=" | "*=" | "/=" | "%=" | "|=" | "&="));
    let calls = all.get(1).is_some_and(|t| t.is("("));
    let kind = if first.is("workgroupBarrier") { "barrier" } else { "statement" };
    if last.is(";") && !is_declaration && (assigns || calls || matches!(first.text, "break" | "continue")) {
        put(kind, range, "");
    } else if first.is("if") && last.is("}") && balance("(", ")") {
        put("statement", range.clone(), "");
        if let Some(close) = closing(all, 1)
            && line[range].contains("= ")
        {
            put("condition", all[1].end()..all[close].at, "true");
        }
    }
}
