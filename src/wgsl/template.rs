//! Kernels whose sums must be unrolled: templates under `shaders/`, of which an op says the numbers. The language is Jinja's,
//! the engine minijinja. What a template knows besides the numbers is [`engine`]'s.

use std::sync::OnceLock;

use minijinja::syntax::SyntaxConfig;
use minijinja::{AutoEscape, Environment, Error, ErrorKind, UndefinedBehavior, Value};

macro_rules! templates {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../../shaders/", $name, ".wgsl.jinja")))),*]
    };
}

/// Every template under `shaders/`. A test compares the list with the folder.
const TEMPLATES: &[(&str, &str)] = templates![
    "attention",
    "attention_stats",
    "conv2d_depthwise",
    "conv2d_depthwise_weight",
    "conv2d_strip",
    "flag_nonfinite",
    "gpu/block",
    "gpu/conv2d_block",
    "gpu/conv2d_weight_block",
    "gpu/matmul",
    "gpu/matmul_block",
    "gpu/matmul_thin",
    "gpu/recurrent_block",
    "recurrent",
    "software/conv2d_tile",
    "software/conv2d_weight_tile",
    "software/matmul_tile",
    "software/pool2d_rows",
    "software/recurrent_tile",
    "tick",
    "update",
];

/// The components of a vector.
pub(super) const COMPONENTS: [&str; 4] = ["x", "y", "z", "w"];

/// The type of `n` elements that lie together.
fn vector(element: &str, n: usize) -> String {
    if n == 1 { element.into() } else { format!("vec{n}<{element}>") }
}

/// Element `i` of the value `name`, of `n` elements that lie together.
fn component(name: &str, n: usize, i: usize) -> Result<String, Error> {
    let component = COMPONENTS.get(i).filter(|_| i < n);
    let component = component.ok_or_else(|| Error::new(ErrorKind::InvalidOperation, "no such component"))?;
    Ok(if n == 1 { name.into() } else { format!("{name}.{component}") })
}

/// Of the values `before` + name + `after` the one whose number `index` is, known only at run time, without an array in
/// memory: by it a loop does what would else stand in a text several times.
fn chosen(before: &str, names: &Value, after: &str, index: &str) -> Result<String, Error> {
    let mut all = String::new();
    for (i, name) in names.try_iter()?.enumerate() {
        all = match i {
            0 => format!("{before}{name}{after}"),
            _ => format!("select({all}, {before}{name}{after}, {index} == {i}u)"),
        };
    }
    Ok(all)
}

/// Knows all templates, `vector`, `component`, `chosen` and the list `xyzw`. A number that nobody said is an error.
fn engine() -> &'static Environment<'static> {
    static ENGINE: OnceLock<Environment<'static>> = OnceLock::new();
    ENGINE.get_or_init(|| {
        let mut engine = Environment::new();
        engine.set_undefined_behavior(UndefinedBehavior::Strict);
        engine.set_auto_escape_callback(|_| AutoEscape::None);
        // A line with a tag alone leaves nothing behind.
        let mut syntax = SyntaxConfig::builder();
        engine.set_syntax(syntax.trim_blocks(true).lstrip_blocks(true).build().unwrap_or_default());
        engine.add_function("vector", vector);
        engine.add_function("component", component);
        engine.add_function("chosen", |before: &str, names: Value, after: &str, index: &str| {
            chosen(before, &names, after, index)
        });
        engine.add_global("xyzw", Value::from_iter(COMPONENTS));
        engine.set_loader(|name| {
            Ok(TEMPLATES.iter().find(|(file, _)| *file == name).map(|(_, text)| (*text).to_string()))
        });
        engine
    })
}

/// The template `file` with the numbers of `variant`.
pub(crate) fn rendered(file: &str, variant: Value) -> Result<String, Error> {
    engine().get_template(file)?.render(variant)
}

#[cfg(test)]
mod tests {
    use super::*;
    use minijinja::context;

    #[test]
    fn the_list_of_templates_is_the_folder() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("shaders");
        let mut found = Vec::new();
        for prefix in ["", "common/", "gpu/", "software/"] {
            for entry in std::fs::read_dir(root.join(prefix)).unwrap() {
                let name = entry.unwrap().file_name().into_string().unwrap();
                found.extend(name.strip_suffix(".wgsl.jinja").map(|name| format!("{prefix}{name}")));
            }
        }
        found.sort();
        let listed: Vec<&str> = TEMPLATES.iter().map(|(name, _)| *name).collect();
        assert_eq!(listed, found);
    }

    #[test]
    fn what_templates_are_spelled_with() {
        let spelled = |text: &str| engine().render_str(text, context! { n => 2 });
        let cases = [
            ("{{ vector('f32', 1) }} {{ vector('u32', n) }}", "f32 vec2<u32>"),
            ("{{ component('a', 1, 0) }} {{ component('a', n, 1) }}", "a a.y"),
            ("{{ chosen('a', range(3), '_0', 'i') }}", "select(select(a0_0, a1_0, i == 1u), a2_0, i == 2u)"),
            ("{{ chosen('a.', xyzw[:n], '', 'i') }}", "select(a.x, a.y, i == 1u)"),
            ("{% if n > 1 %}\na\n{% endif %}\nb", "a\nb"),
        ];
        for (text, expected) in cases {
            assert_eq!(spelled(text).unwrap(), expected);
        }
        for mistake in ["{{ unsaid }}", "{{ component('a', n, 2) }}", "{% if unsaid %}{% endif %}"] {
            assert!(spelled(mistake).is_err(), "{mistake}");
        }
        assert!(rendered("software/no_such", context! {}).is_err());
    }
}
