//! A small linker for the shaders: WGSL has no includes, so an entry point is delivered with exactly
//! the functions, structs and bindings it uses.
//!
//! Files directly under `shaders/` are families: their items see each other and those under
//! `shaders/common/`. Entry points have unique names. A module with one entry point makes its bindings
//! unambiguous, and compiles faster.

mod access;
mod half;
pub(crate) mod joined;
mod loops;
mod template;
pub(crate) mod words;

pub(crate) use half::store_f16;
#[cfg(feature = "gpu")]
pub(crate) use loops::ended_after;
pub(crate) use loops::has_loops;
pub(crate) use template::rendered;

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

macro_rules! shaders {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../shaders/", $name, ".wgsl")))),*]
    };
}

/// Every file under `shaders/`. A test compares the list with the folder.
pub(crate) const FILES: &[(&str, &str)] = shaders![
    "common/epilogue",
    "common/index",
    "common/lanes",
    "common/philox",
    "common/numeric",
    "accumulate",
    "activations",
    "arithmetic",
    "argmax",
    "augment",
    "batch_norm",
    "cast",
    "classes",
    "conv2d",
    "cross_entropy",
    "ctc",
    "dropout",
    "layer_norm",
    "losses",
    "matmul",
    "movement",
    "optimizer",
    "split_k",
    "pool",
    "random",
    "recurrent_begin",
    "reduce",
    "scatter",
    "softmax",
    "unfold",
    "upsample",
];

/// A top-level declaration.
#[derive(Debug)]
struct Item {
    file: usize,
    text: &'static str,
    /// Identifiers in its text.
    uses: Vec<&'static str>,
    is_entry: bool,
}

#[derive(Debug)]
struct Library {
    items: Vec<Item>,
    by_name: HashMap<(usize, &'static str), usize>,
}

fn library() -> &'static Library {
    static LIBRARY: OnceLock<Library> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let mut library = Library { items: Vec::new(), by_name: HashMap::new() };
        for (file, (_, text)) in FILES.iter().enumerate() {
            for (name, text) in split(text) {
                let is_entry = text.contains("@compute");
                library.by_name.insert((file, name), library.items.len());
                library.items.push(Item { file, text, uses: identifiers(text), is_entry });
            }
        }
        library
    })
}

impl Library {
    fn is_common(file: usize) -> bool {
        FILES[file].0.starts_with("common/")
    }

    /// What `name` means in `file`: an item of the file, or else a shared one.
    fn resolve(&self, file: usize, name: &str) -> Option<usize> {
        if let Some(&at) = self.by_name.get(&(file, name)) {
            return Some(at);
        }
        (0..FILES.len()).filter(|f| Self::is_common(*f)).find_map(|f| self.by_name.get(&(f, name)).copied())
    }

    /// All that `roots` need, in the order of declaration, and not what only `without` needs, which are left out too.
    fn closure(&self, roots: Vec<usize>, without: &[usize]) -> Vec<usize> {
        let mut found = roots.clone();
        let mut open = roots;
        while let Some(at) = open.pop() {
            for name in &self.items[at].uses {
                if let Some(next) = self.resolve(self.items[at].file, name)
                    && !found.contains(&next)
                    && !without.contains(&next)
                {
                    found.push(next);
                    open.push(next);
                }
            }
        }
        found.sort_unstable();
        found
    }

    fn text_of(&self, items: &[usize]) -> String {
        items.iter().map(|&i| self.items[i].text.trim()).collect::<Vec<_>>().join("\n\n") + "\n"
    }
}

impl Library {
    fn entry(&self, entry: &str) -> Option<usize> {
        self.by_name.iter().find_map(|((_, n), &at)| (*n == entry && self.items[at].is_entry).then_some(at))
    }

    /// The functions of any family that `body` calls and does not declare itself.
    fn used_by(&self, body: &str) -> Vec<usize> {
        let own: Vec<&str> = split(body).into_iter().map(|(name, _)| name).collect();
        let mut roots = Vec::new();
        for name in called(body).into_iter().filter(|name| !own.contains(name)) {
            let at = (0..FILES.len()).find_map(|f| self.by_name.get(&(f, name)).copied());
            if let Some(at) = at
                && !roots.contains(&at)
                && self.items[at].text.trim_start().starts_with("fn ")
            {
                roots.push(at);
            }
        }
        roots
    }
}

/// The module with entry point `entry`, or `None` if no file has it.
pub(crate) fn link_entry(entry: &str) -> Option<Arc<str>> {
    let library = library();
    let at = library.entry(entry)?;
    Some(library.text_of(&library.closure(vec![at], &[])).into())
}

/// The same with `text` in the place of functions that it uses, each of its family or shared. The text may use
/// functions of any family.
pub(crate) fn link_entry_with(entry: &str, replaced: &[&str], text: &str) -> Option<Arc<str>> {
    let library = library();
    let at = library.entry(entry)?;
    let hook = |name: &&str| library.resolve(library.items[at].file, name);
    let hooks: Vec<usize> = replaced.iter().map(hook).collect::<Option<_>>()?;
    // Text that nothing calls would be left out of the result without a word.
    let all = library.closure(vec![at], &[]);
    if !hooks.iter().all(|hook| all.contains(hook)) {
        return None;
    }
    let mut roots = library.used_by(text);
    roots.push(at);
    Some(format!("{}\n{text}", library.text_of(&library.closure(roots, &hooks))).into())
}

/// Generated text with the functions it uses put before it. It may use functions of any family, but
/// no bindings.
pub(crate) fn link_text(body: &str) -> String {
    let library = library();
    let roots = library.used_by(body);
    if roots.is_empty() {
        return body.to_string();
    }
    format!("{}\n{body}", library.text_of(&library.closure(roots, &[])))
}

/// Names of all entry points, and the file each is in.
#[cfg(test)]
pub(crate) fn entry_points() -> Vec<(&'static str, &'static str)> {
    let library = library();
    let names = library.by_name.iter();
    names.filter(|(_, at)| library.items[**at].is_entry).map(|((f, n), _)| (FILES[*f].0, *n)).collect()
}

/// Names of the functions that are no entry points, in a file.
#[cfg(test)]
pub(crate) fn functions(file: &str) -> Vec<&'static str> {
    let library = library();
    let names = library.by_name.iter();
    names
        .filter(|((f, _), at)| {
            FILES[*f].0 == file && !library.items[**at].is_entry && library.items[**at].text.contains("fn ")
        })
        .map(|((_, n), _)| *n)
        .collect()
}

/// The top-level declarations of a text: name and text, attributes included, comments before it not.
pub(crate) fn split(text: &str) -> Vec<(&str, &str)> {
    let mut items = Vec::new();
    let bytes = text.as_bytes();
    let (mut start, mut depth, mut at) = (None, 0usize, 0usize);
    while at < bytes.len() {
        if text[at..].starts_with("//") {
            at += text[at..].find('\n').unwrap_or(text.len() - at);
            continue;
        }
        let c = bytes[at];
        if start.is_none() && !c.is_ascii_whitespace() {
            start = Some(at);
        }
        match c {
            b'{' => depth += 1,
            b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        let ends = match c {
            b';' => depth == 0,
            b'}' => depth == 0,
            _ => false,
        };
        if ends && let Some(from) = start.take() {
            let item = &text[from..=at];
            if let Some(name) = declared_name(item) {
                items.push((name, item));
            }
        }
        at += 1;
    }
    items
}

/// The name a declaration introduces: the identifier after its keyword.
fn declared_name(item: &str) -> Option<&str> {
    let mut words = identifiers_in_order(item);
    while let Some(word) = words.next() {
        match word {
            "fn" | "struct" | "const" | "override" | "alias" => return words.next(),
            "var" => {
                return words.find(|w| {
                    !matches!(*w, "storage" | "uniform" | "read" | "read_write" | "workgroup" | "private")
                });
            }
            _ => {}
        }
    }
    None
}

fn identifiers(text: &str) -> Vec<&str> {
    let mut names: Vec<&str> = identifiers_in_order(text).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// Those that a bracket follows: functions that are called, and types that are made.
fn called(text: &str) -> Vec<&str> {
    let is_called = |name: &&str| {
        let end = name.as_ptr() as usize - text.as_ptr() as usize + name.len();
        text[end..].trim_start().starts_with('(')
    };
    let mut names: Vec<&str> = identifiers_in_order(text).filter(is_called).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// Identifiers outside comments. Members after a dot are left out: they are no references.
fn identifiers_in_order(text: &str) -> impl Iterator<Item = &str> {
    text.lines().flat_map(|line| {
        let code = line.split("//").next().unwrap_or("");
        let mut rest = code;
        let mut offset = 0;
        std::iter::from_fn(move || {
            loop {
                let from = rest.find(|c: char| c.is_ascii_alphabetic() || c == '_')?;
                // A letter right after a digit belongs to a number, such as 1u or 0x3f.
                let before = code[..offset + from].chars().next_back();
                let tail = &rest[from..];
                let len = tail.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(tail.len());
                let name = &tail[..len];
                offset += from + len;
                rest = &rest[from + len..];
                if !before.is_some_and(|c| c == '.' || c.is_ascii_digit()) {
                    return Some(name);
                }
            }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_called_is_linked() {
        let body = "// relu_fn(x)\nfn f(sigmoid_fn: f32) -> f32 {\n    let tanh_fn = sigmoid_fn;\n    \
                    return sqrt (tanh_fn) + my_relu_fn(1.0) + leaky_relu_fn (1.0, 2.0);\n}";
        assert_eq!(called(body), ["f", "leaky_relu_fn", "my_relu_fn", "sqrt"]);
        let text = link_text(body);
        assert!(text.contains("fn leaky_relu_fn("), "{text}");
        assert!(!["fn relu_fn(", "fn sigmoid_fn(", "fn tanh_fn("].iter().any(|f| text.contains(f)), "{text}");
    }

    #[test]
    fn the_list_of_files_is_the_folder() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("shaders");
        let mut found = Vec::new();
        for (folder, prefix) in [(root.clone(), ""), (root.join("common"), "common/")] {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.extension().is_some_and(|e| e == "wgsl") {
                    found.push(format!("{prefix}{}", path.file_stem().unwrap().to_str().unwrap()));
                }
            }
        }
        let mut listed: Vec<String> = FILES.iter().map(|(n, _)| n.to_string()).collect();
        listed.sort();
        found.sort();
        assert_eq!(listed, found);
    }

    #[test]
    fn names_are_unique_where_they_must_be() {
        let mut entries: Vec<&str> = entry_points().into_iter().map(|(_, n)| n).collect();
        entries.sort_unstable();
        let all = entries.len();
        entries.dedup();
        assert_eq!(entries.len(), all);
        assert!(!entries.contains(&"main"));
    }

    #[test]
    fn splitting_finds_items_and_ignores_comments() {
        let text = "// fn no() {}\nconst A: u32 = 4u; // B\n@group(0) @binding(0) var<storage, read> x: array<f32>;\n\
                    fn f(a: f32) -> f32 { if (a > 0.) { return A1.b; } return g(a); }";
        let names: Vec<&str> = split(text).into_iter().map(|(n, _)| n).collect();
        assert_eq!(names, ["A", "x", "f"]);
        assert!(identifiers(text).contains(&"g"));
        assert!(!identifiers(text).contains(&"B"));
        assert!(!identifiers(text).contains(&"b"));
    }
}
