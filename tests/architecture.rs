//! Modules use what the table in docs/DESIGN.md says, and nothing else.
#![allow(missing_docs, clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

type Uses = BTreeMap<String, BTreeSet<String>>;

/// Pairs of modules that stand beside each other.
const BESIDE: [[&str; 2]; 1] = [["graph", "op"]];

fn names(cell: &str) -> BTreeSet<String> {
    cell.split('`').skip(1).step_by(2).map(String::from).collect()
}

/// The table of the document.
fn documented() -> Uses {
    let text = std::fs::read_to_string("docs/DESIGN.md").unwrap();
    let table = text.lines().skip_while(|line| !line.starts_with("| module |")).skip(2);
    let row = |line: &str| {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").collect();
        (names(cells[0]).pop_first().unwrap(), names(cells.get(2).unwrap_or(&"")))
    };
    table.take_while(|line| line.starts_with('|')).map(row).collect()
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The text without comments and tests.
fn production(text: &str) -> String {
    let is_code = |line: &&str| !line.trim_start().starts_with("//");
    let code: Vec<&str> = text.lines().filter(is_code).collect();
    let mut kept = String::new();
    let mut lines = code.iter();
    while let Some(line) = lines.next() {
        let is_test = line.starts_with("#[cfg(test)]") || line.starts_with("#[cfg(all(test");
        if !is_test {
            kept.push_str(line);
            kept.push('\n');
            continue;
        }
        // The item goes on to the line that closes it.
        let Some(first) = lines.find(|line| !line.starts_with("#[")) else { break };
        if first.ends_with('{') {
            lines.find(|line| **line == "}");
        }
    }
    kept
}

/// What follows each `crate::`: a name, or those of a list.
fn used(code: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for rest in code.split("crate::").skip(1) {
        let is_name = |c: char| c.is_alphanumeric() || c == '_';
        let list = match rest.strip_prefix('{') {
            Some(rest) => rest.split('}').next().unwrap().split(',').collect(),
            None => vec![rest],
        };
        for item in list {
            let item = item.trim();
            found.insert(item[..item.find(|c| !is_name(c)).unwrap_or(item.len())].to_string());
        }
    }
    found
}

/// The modules whose items the crate has at its top, by name: `pub use` of lib.rs.
fn exported() -> BTreeMap<String, String> {
    let text = std::fs::read_to_string("src/lib.rs").unwrap();
    let mut found = BTreeMap::new();
    for statement in text.split("pub use ").skip(1) {
        let statement = statement.split(';').next().unwrap();
        let (module, items) = statement.split_once("::").unwrap();
        for item in items.trim_matches(['{', '}']).split(',').map(str::trim).filter(|item| !item.is_empty()) {
            found.insert(item.to_string(), module.to_string());
        }
    }
    found
}

fn of_code() -> Uses {
    let (mut all, mut uses) = (Vec::new(), Uses::new());
    files(Path::new("src"), &mut all);
    let exported = exported();
    for path in all {
        let inner = path.strip_prefix("src").unwrap();
        let module = inner.iter().next().unwrap().to_string_lossy().trim_end_matches(".rs").to_string();
        let file = path.file_stem().unwrap().to_string_lossy();
        if module == "bin" || module == "lib" || file == "tests" || file.ends_with("_tests") {
            continue;
        }
        let modules = uses.entry(module.clone()).or_default();
        for name in used(&production(&std::fs::read_to_string(&path).unwrap())) {
            let target = exported.get(&name).unwrap_or(&name);
            // Errors and macros of the crate itself are `crate::Error` and the like.
            if *target != module {
                modules.insert(target.clone());
            }
        }
    }
    uses
}

#[test]
fn modules_use_what_the_table_says() {
    let (table, code) = (documented(), of_code());
    assert!(table.len() > 20, "the table of docs/DESIGN.md was not found");
    assert_eq!(table.keys().collect::<Vec<_>>().len(), code.len(), "{:?}\n{:?}", table.keys(), code.keys());
    for (module, modules) in &code {
        let allowed = table.get(module).unwrap_or_else(|| panic!("docs/DESIGN.md does not know `{module}`"));
        let more: Vec<_> = modules.difference(allowed).collect();
        let less: Vec<_> = allowed.difference(modules).collect();
        assert!(more.is_empty(), "`{module}` uses {more:?}, which the table of docs/DESIGN.md does not say");
        assert!(less.is_empty(), "`{module}` uses {less:?} in the table of docs/DESIGN.md alone");
    }
}

#[test]
fn dependencies_point_one_way() {
    let mut left = documented();
    for [a, b] in BESIDE {
        assert!(left[a].contains(b) && left[b].contains(a), "{a} and {b} do not use each other");
        left.get_mut(a).unwrap().remove(b);
        left.get_mut(b).unwrap().remove(a);
    }
    while !left.is_empty() {
        let is_ready = |uses: &BTreeSet<String>| uses.iter().all(|module| !left.contains_key(module));
        let ready: Vec<String> =
            left.iter().filter(|(_, uses)| is_ready(uses)).map(|(module, _)| module.clone()).collect();
        assert!(!ready.is_empty(), "modules that use each other in a circle: {:?}", left.keys());
        ready.iter().for_each(|module| drop(left.remove(module)));
    }
}

#[test]
fn what_a_module_uses_is_found() {
    let code = "use crate::graph::{Var, Graph};\n// crate::nn\nlet x = crate::{rng::Rng, shape};\n\
                #[cfg(test)]\nmod tests {\n    use crate::bench;\n}\nfn f() { crate::files::g() }\n";
    let found: Vec<String> = used(&production(code)).into_iter().collect();
    assert_eq!(found, ["files", "graph", "rng", "shape"]);
}
