//! The documentation names what there is.
#![allow(missing_docs, clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: impl AsRef<Path>) -> String {
    std::fs::read_to_string(root().join(path)).unwrap()
}

/// All files under a folder of the crate whose names end in `extension`, relative to the crate.
fn files(folder: &str, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![root().join(folder)];
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.to_str().unwrap().ends_with(extension) {
            found.push(path.strip_prefix(root()).unwrap().to_path_buf());
        }
    }
    found.sort();
    assert!(!found.is_empty());
    found
}

/// The word at the start of a text.
fn word(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len());
    &text[..end]
}

#[test]
fn the_catalogue_names_every_op() {
    let catalogue = read("docs/CATALOGUE.md");
    let names: BTreeSet<&str> = wgrad::cases::registry().iter().map(|case| case.op.name()).collect();
    // In the first column of a table: prose may use a name for something else.
    let missing: Vec<_> = names.iter().filter(|n| !catalogue.contains(&format!("\n| `{n}` |"))).collect();
    assert!(missing.is_empty(), "docs/CATALOGUE.md has no row for {missing:?}");
}

#[test]
fn the_catalogue_names_every_shader_and_entry_point() {
    let catalogue = read("docs/CATALOGUE.md");
    for file in files("shaders", ".wgsl") {
        let name = file.to_str().unwrap().replace('\\', "/");
        let row = format!("\n| `{name}`");
        assert!(catalogue.contains(&row), "docs/CATALOGUE.md has no row of shader files for {name}");
        let text = read(&file);
        for part in text.split("@compute").skip(1) {
            let entry = word(part.split_once("fn ").unwrap().1);
            let is_named = catalogue.contains(&format!("`{entry}`"));
            assert!(is_named, "docs/CATALOGUE.md does not mention `{entry}` of {name}");
        }
        // Functions that kernels are generated around.
        for part in text.split("\nfn ").skip(1).map(word).filter(|f| f.ends_with("_fn")) {
            let is_named = catalogue.contains(&format!("`{part}`"));
            assert!(is_named, "docs/CATALOGUE.md does not mention `{part}` of {name}");
        }
    }
}

/// What stands between backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.lines().flat_map(|line| line.split('`').skip(1).step_by(2))
}

#[test]
fn the_catalogue_names_nothing_that_is_not_there() {
    let catalogue = read("docs/CATALOGUE.md");
    let ops: BTreeSet<&str> = wgrad::cases::registry().iter().map(|case| case.op.name()).collect();
    let mut rows = 0;
    for table in catalogue.split("\n| op |").skip(1) {
        for row in table.lines().skip(2).take_while(|line| line.starts_with('|')) {
            let op = quoted(row.split('|').nth(1).unwrap()).next().unwrap();
            assert!(ops.contains(op), "docs/CATALOGUE.md has a row for `{op}`, and there is no such op");
            rows += 1;
        }
    }
    assert!(rows >= ops.len(), "{rows} rows of {} ops", ops.len());
    let code: String = files("src", ".rs").into_iter().map(read).collect();
    let shaders: String = files("shaders", ".wgsl").into_iter().map(read).collect();
    let words: BTreeSet<&str> = [&code, &shaders]
        .iter()
        .flat_map(|text| text.split(|c: char| !c.is_alphanumeric() && c != '_'))
        .collect();
    for name in quoted(&catalogue) {
        // Types, functions, methods and paths of them: `Mlp`, `Init::Constant(0.0)`, `relu()`, `add_fn`.
        let path = name.split(['(', '<', ' ', '{']).next().unwrap().trim_start_matches('.');
        let is_path = path.split("::").all(|part| !part.is_empty() && word(part) == part);
        let is_item = path.contains("::")
            || path.ends_with("_fn")
            || name.starts_with(&format!("{path}("))
            || (path.len() > 2
                && path.starts_with(|c: char| c.is_ascii_uppercase())
                && path.contains(|c: char| c.is_ascii_lowercase()));
        if is_path && is_item {
            let missing = path.split("::").find(|part| !words.contains(part));
            assert!(
                missing.is_none(),
                "docs/CATALOGUE.md names `{name}`, and there is no `{}`",
                missing.unwrap()
            );
        }
    }
}

#[test]
fn paths_are_those_of_files() {
    for document in files("docs", ".md").iter().map(PathBuf::as_path).chain([Path::new("README.md")]) {
        let text = read(document);
        let is_path =
            |name: &&str| ["src/", "shaders/", "tests/"].iter().any(|folder| name.starts_with(folder));
        let missing: Vec<&str> = quoted(&text).filter(is_path).filter(|p| !root().join(p).exists()).collect();
        assert!(missing.is_empty(), "{} names {missing:?}, and there is no such file", document.display());
    }
}

/// Escaped bars are none of a table's own.
#[test]
fn rows_of_tables_have_all_their_cells() {
    for document in files("docs", ".md").iter().map(PathBuf::as_path).chain([Path::new("README.md")]) {
        let mut cells = None;
        for line in read(document).lines() {
            let count = line.starts_with('|').then(|| line.replace("\\|", "").matches('|').count());
            let is_same = cells.is_none() || count.is_none() || cells == count;
            assert!(is_same, "{}: {line}", document.display());
            cells = count;
        }
    }
}

#[test]
fn the_catalogue_names_every_template() {
    let catalogue = read("docs/CATALOGUE.md");
    for file in files("shaders", ".wgsl.jinja") {
        let name = file.to_str().unwrap().replace('\\', "/");
        assert!(catalogue.contains(&format!("`{name}`")), "docs/CATALOGUE.md does not mention {name}");
        // Its formula, bindings and work come first.
        assert!(read(&file).starts_with("{#\n"), "{name} does not begin with what it computes");
    }
}

#[test]
fn the_readme_names_every_switch() {
    let readme = read("README.md");
    // Those of scripts are listed in src/env.rs, and described there.
    let all = files("src", ".rs").into_iter().filter(|file| !file.ends_with("env.rs"));
    for file in all.chain(files("tests/common", ".rs")) {
        let text = read(&file);
        for part in text.split("WGRAD_").skip(1) {
            let switch = format!("`WGRAD_{}", word(part));
            assert!(readme.contains(&switch), "README.md does not mention {switch}` of {}", file.display());
        }
    }
}
