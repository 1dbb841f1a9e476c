//! Tensors stored in 16 bits: storage bindings of a shader hold `f16`, and every read and write of them converts. All
//! else, sums above all, stays in `f32`. A binding is an `array` of `f32` or vectors of it, or of their words.

use super::access::{Form, storage, stored};
use super::split;

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

    /// The value to be stored, in the element or in a component of it.
    fn half(self, value: &str) -> String {
        let half = self.of("f16");
        if self.is_words {
            format!("{half}(bitcast<{}>({value}))", self.of("f32"))
        } else {
            format!("{half}({value})")
        }
    }
}

impl Form for Element {
    fn element(&self) -> String {
        self.of("f16")
    }

    fn load(&self, target: &str) -> String {
        let float = format!("{}({target})", self.of("f32"));
        if self.is_words { format!("bitcast<{}>({float})", self.of("u32")) } else { float }
    }

    fn assign(&self, target: &str, component: &str, operator: &str, value: &str) -> Option<String> {
        let value = match operator {
            "" => value.to_string(),
            _ => format!("{}{component} {operator} ({value})", self.load(target)),
        };
        let stored = if component.is_empty() { *self } else { Element { size: 1, ..*self } };
        Some(format!("{target}{component} = {}", stored.half(&value)))
    }
}

/// `text` with some of its storage bindings in 16 bits: `in_f16` says which, in the order of their numbers. `None`
/// where they are used in a way that is not understood.
pub(crate) fn store_f16(text: &str, in_f16: &[bool]) -> Option<String> {
    let mut bindings: Vec<_> = split(text).into_iter().filter_map(|(_, item)| storage(item)).collect();
    if bindings.len() != in_f16.len() {
        return None;
    }
    bindings.sort_unstable_by_key(|(number, ..)| *number);
    let chosen = bindings.into_iter().zip(in_f16).filter(|(_, is_f16)| **is_f16);
    let stored_as: Vec<(&str, Element)> = chosen
        .map(|((_, name, element), _)| Some((name, Element::parse(element)?)))
        .collect::<Option<_>>()?;
    Some(format!("{DIRECTIVE}{}", stored(text, &stored_as)?))
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
        let whole = store_f16(&format!("{BINDINGS}fn f(i: u32) {{ {text} }}"), &[true, true, true])?;
        let (_, body) = whole.split_once("fn f(i: u32) { ")?;
        Some(body.strip_suffix(" }")?.to_string())
    }

    #[test]
    fn declarations_of_chosen_bindings_change() {
        let whole = store_f16(BINDINGS, &[true, false, true]).unwrap();
        assert!(whole.starts_with("enable f16;\n"));
        assert!(whole.contains("read> x: array<vec4<f16>>;"), "{whole}");
        assert!(whole.contains("read> w: array<u32>;"), "{whole}");
        assert!(whole.contains("read_write> y: array<f16>;"), "{whole}");
        assert!(whole.contains("var<uniform> p: P;"));
        // As many choices as bindings.
        assert_eq!(store_f16(BINDINGS, &[true]), None);
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
        let whole = store_f16(text, &[false, true]).unwrap();
        assert!(whole.contains("b[0] = vec4<f16>(bitcast<vec4<f32>>(a[1]));"), "{whole}");
        assert!(whole.contains("b[1].z = f16(bitcast<f32>(a[2].x));"), "{whole}");
        let whole = store_f16(text, &[true, false]).unwrap();
        assert!(whole.contains("b[0] = bitcast<vec4<u32>>(vec4<f32>(a[1]));"), "{whole}");
    }

    #[test]
    fn a_local_name_hides_the_binding() {
        let text =
            format!("{BINDINGS}fn g(x: f32, a: f32) -> f32 {{ return x + a; }}\nfn f() {{ let z = x[0]; }}");
        let whole = store_f16(&text, &[true, true, true]).unwrap();
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
        assert_eq!(store_f16(atomic, &[true]), None);
        assert!(store_f16(atomic, &[false]).is_some());
    }
}
