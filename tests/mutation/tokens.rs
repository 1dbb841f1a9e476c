//! A line of WGSL as tokens.

/// Kind of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Name,
    Number,
    /// An operator, or a bracket.
    Sign,
    /// `<` or `>` around the parameters of a type.
    Template,
}

/// A token and where it stands in its line.
#[derive(Debug, Clone, Copy)]
pub struct Token<'a> {
    pub kind: Kind,
    pub text: &'a str,
    pub at: usize,
}

impl Token<'_> {
    pub fn end(&self) -> usize {
        self.at + self.text.len()
    }

    pub fn is(&self, text: &str) -> bool {
        self.kind != Kind::Template && self.text == text
    }

    /// Whether an operand can end with it.
    pub fn ends_operand(&self) -> bool {
        matches!(self.kind, Kind::Name | Kind::Number | Kind::Template) || matches!(self.text, ")" | "]")
    }
}

const LONG_SIGNS: [&str; 18] = [
    "<<=", ">>=", "<<", ">>", "<=", ">=", "==", "!=", "&&", "||", "->", "+=", "-=", "*=", "/=", "%=", "&=",
    "|=",
];

/// The tokens of a line, without its comment.
pub fn tokens(line: &str) -> Vec<Token<'_>> {
    let code = line.split("//").next().unwrap_or("");
    let bytes = code.as_bytes();
    let (mut found, mut at, mut templates): (Vec<Token<'_>>, usize, usize) = (Vec::new(), 0, 0);
    while at < code.len() {
        let c = bytes[at];
        let is_word = |c: u8| c.is_ascii_alphanumeric() || c == b'_';
        let (kind, length) = if c.is_ascii_whitespace() {
            at += 1;
            continue;
        } else if c.is_ascii_digit() {
            let mut length = code[at..].bytes().take_while(|c| is_word(*c) || *c == b'.').count();
            if matches!(bytes.get(at + length), Some(b'+' | b'-')) && code[at..at + length].ends_with('e') {
                length += 1 + code[at + length + 1..].bytes().take_while(|c| is_word(*c)).count();
            }
            (Kind::Number, length)
        } else if is_word(c) {
            (Kind::Name, code[at..].bytes().take_while(|c| is_word(*c)).count())
        } else if c == b'<' && opens_template(found.last(), at) {
            templates += 1;
            (Kind::Template, 1)
        } else if c == b'>' && templates > 0 {
            templates -= 1;
            (Kind::Template, 1)
        } else {
            let long = LONG_SIGNS.iter().find(|sign| code[at..].starts_with(**sign));
            (Kind::Sign, long.map_or(1, |sign| sign.len()))
        };
        found.push(Token { kind, text: &code[at..at + length], at });
        at += length;
    }
    found
}

/// Whether `<` at this place follows the name of a type that has parameters.
fn opens_template(before: Option<&Token<'_>>, at: usize) -> bool {
    const TYPES: [&str; 9] = ["vec2", "vec3", "vec4", "array", "var", "ptr", "bitcast", "atomic", "mat2x2"];
    before.is_some_and(|t| t.end() == at && TYPES.contains(&t.text))
}

/// The bracket that closes the one at `open`, in the same line.
pub fn closing(tokens: &[Token<'_>], open: usize) -> Option<usize> {
    let mut depth = 0usize;
    for (i, token) in tokens.iter().enumerate().skip(open) {
        match token.text {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => {
                depth -= 1;
                if depth == 0 {
                    return Some(i);
                }
            }
            _ => {}
        }
    }
    None
}
