//! What a kernel's text becomes for llvmpipe, which compiles a load to a loop over the lanes: there, fewer and
//! wider loads are worth a few more instructions.

use std::fmt::Write;

use super::access::{Form, storage, stored};
use super::half::DIRECTIVE;
use super::split;

/// Types of elements that can be moved so: how they are declared, what they become, and what takes one to the
/// other and back.
const FORMS: [(&str, &str, &str); 4] = [
    ("vec4<f32>", "vec2<u64>", "f32x4"),
    ("vec4<u32>", "vec2<u64>", "u32x4"),
    ("vec2<f32>", "u64", "f32x2"),
    ("vec2<u32>", "u64", "u32x2"),
];

/// The functions between a form and its words.
fn functions(form: Words) -> String {
    let (vector, word, name) = FORMS[form.0];
    let mut t = String::new();
    if word == "u64" {
        let _ = write!(
            t,
            "fn from_words_{name}(w: u64) -> {vector} {{\n    \
             return bitcast<{vector}>(vec2<u32>(u32(w), u32(w >> 32u)));\n}}\n\n\
             fn to_words_{name}(v: {vector}) -> u64 {{\n    let u = bitcast<vec2<u32>>(v);\n    \
             return u64(u.x) | (u64(u.y) << 32u);\n}}\n\n"
        );
    } else {
        let _ = write!(
            t,
            "fn from_words_{name}(w: vec2<u64>) -> {vector} {{\n    let low = vec2<u32>(w);\n    \
             let high = vec2<u32>(w >> vec2<u32>(32u));\n    \
             return bitcast<{vector}>(vec4<u32>(low.x, high.x, low.y, high.y));\n}}\n\n\
             fn to_words_{name}(v: {vector}) -> vec2<u64> {{\n    let u = bitcast<vec4<u32>>(v);\n    \
             return vec2<u64>(u.xz) | (vec2<u64>(u.yw) << vec2<u32>(32u));\n}}\n\n"
        );
    }
    t
}

/// One of [`FORMS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Words(usize);

impl Form for Words {
    fn element(&self) -> String {
        FORMS[self.0].1.to_string()
    }

    fn load(&self, target: &str) -> String {
        format!("from_words_{}({target})", FORMS[self.0].2)
    }

    /// Whole elements only.
    fn assign(&self, target: &str, component: &str, operator: &str, value: &str) -> Option<String> {
        let is_whole = component.is_empty() && operator.is_empty();
        is_whole.then(|| format!("{target} = to_words_{}({value})", FORMS[self.0].2))
    }
}

/// `text` with the vectors in its storage buffers moved as words of 64 bits, which take as long as words of 32, or
/// `None` if it has no vectors. Buffers are left as they are where something else than reading and assigning
/// whole elements happens to them.
pub(crate) fn widened(text: &str) -> Option<String> {
    let form = |item| {
        let (_, name, element) = storage(item)?;
        Some((name, Words(FORMS.iter().position(|(vector, ..)| *vector == element)?)))
    };
    let mut found: Vec<(&str, Words)> = split(text).into_iter().filter_map(|(_, item)| form(item)).collect();
    found.retain(|one| stored(text, std::slice::from_ref(one)).is_some());
    let out = stored(text, &found).filter(|_| !found.is_empty())?;
    let mut forms: Vec<Words> = found.into_iter().map(|(_, form)| form).collect();
    forms.sort_unstable();
    forms.dedup();
    let functions: String = forms.into_iter().map(functions).collect();
    // Directives stand before all else.
    Some(match out.strip_prefix(DIRECTIVE) {
        Some(rest) => format!("{DIRECTIVE}{functions}{rest}"),
        None => functions + &out,
    })
}

/// `text` with its uniform read once, at the start of the entry point, instead of at every use, or `None` if it has
/// no uniform of scalars and vectors. Functions beside the entry point are left as they are.
pub(crate) fn hoisted(text: &str) -> Option<String> {
    let items = split(text);
    let (name, declaration) = items.iter().find(|(_, t)| t.contains("var<uniform>"))?;
    let ty = declaration.rsplit(':').next()?.trim().trim_end_matches(';').trim();
    let is_plain = items.iter().any(|(n, t)| *n == ty && t.starts_with("struct") && !t.contains("array<"));
    if !is_plain {
        return None;
    }
    let entry = text.find("@compute")?;
    let brace = entry + text[entry..].find('{')? + 1;
    Some(format!("{}\n    let {name} = {name};{}", &text[..brace], &text[brace..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "@group(0) @binding(0) var<storage, read> a: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> b: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> at: array<vec2<u32>>;
struct P { n: u32 }
@group(0) @binding(3) var<uniform> p: P;
";

    fn with(body: &str) -> String {
        format!(
            "{HEAD}@compute @workgroup_size(8)\nfn k(@builtin(global_invocation_id) i: vec3<u32>) {{\n{body}\n}}\n"
        )
    }

    fn assert_valid(text: &str) {
        let module =
            naga::front::wgsl::parse_str(text).unwrap_or_else(|e| panic!("{}", e.emit_to_string(text)));
        use naga::valid::Capabilities;
        naga::valid::Validator::new(
            naga::valid::ValidationFlags::all(),
            Capabilities::SHADER_INT64 | Capabilities::SHADER_FLOAT16,
        )
        .validate(&module)
        .unwrap_or_else(|e| panic!("{}", e.emit_to_string(text)));
    }

    #[test]
    fn reads_and_assignments_move_words() {
        let text = with(
            "    // a[0] stays.\n    if (i.x >= p.n) { return; }\n    b[at[i.x].y + 1u] = max(a[at[i.x].x], a[2]) * b[0].x;",
        );
        let wide = widened(&text).unwrap_or_default();
        assert_valid(&wide);
        assert!(wide.contains("a: array<vec2<u64>>") && wide.contains("at: array<u64>"), "{wide}");
        assert!(wide.contains("// a[0] stays."), "{wide}");
        let expected = "b[from_words_u32x2(at[i.x]).y + 1u] = to_words_f32x4(\
            max(from_words_f32x4(a[from_words_u32x2(at[i.x]).x]), from_words_f32x4(a[2])) \
            * from_words_f32x4(b[0]).x);";
        assert!(wide.contains(expected), "{wide}");
    }

    #[test]
    fn what_is_stored_in_16_bits_is_read_as_such_and_the_rest_moves_in_words() {
        let text = with("    b[i.x] = a[i.x] + b[0];");
        let half = super::super::store_f16(&text, &[true, false, false]).unwrap_or_default();
        let wide = widened(&half).unwrap_or_default();
        assert_valid(&wide);
        assert!(wide.starts_with("enable f16;") && wide.contains("a: array<vec4<f16>>"), "{wide}");
        assert!(wide.contains("b: array<vec2<u64>>"), "{wide}");
    }

    #[test]
    fn what_is_done_otherwise_stays() {
        for body in ["b[i.x] += a[i.x];", "b[i.x].y = 1.0;", "let r = &b[i.x]; (*r).x = a[0].x;"] {
            let wide = widened(&with(body)).unwrap_or_default();
            assert_valid(&wide);
            assert!(wide.contains("b: array<vec4<f32>>") && wide.contains("a: array<vec2<u64>>"), "{wide}");
        }
        assert_eq!(
            widened("@group(0) @binding(0) var<storage, read> a: array<f32>;\nfn f() { let x = a[0]; }"),
            None
        );
    }

    #[test]
    fn uniforms_of_scalars_are_read_once() {
        let hoisted = hoisted(&with("    b[i.x] = a[p.n];")).unwrap_or_default();
        assert_valid(&hoisted);
        assert!(hoisted.contains("{\n    let p = p;\n"), "{hoisted}");
        let arrays = with("    b[i.x] = a[p.n[i.y].x];").replace("n: u32", "n: array<vec4<u32>, 2>");
        assert_eq!(super::hoisted(&arrays), None);
    }
}
