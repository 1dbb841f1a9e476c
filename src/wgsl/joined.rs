//! Several kernels of one workgroup as one: their entry points become functions that one entry point calls in order.
//!
//! This works on wgrad's own texts alone. Names of later members that mean something else in an earlier one get the
//! member's number; what is the same in both stands there once. Uniforms are members of one uniform, and each is copied
//! to the private variable that the member's text knows.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use super::access::storage;
use super::half::DIRECTIVE;
use super::{identifiers, identifiers_in_order, split};

/// The entry point of the joined kernel.
pub(crate) const ENTRY: &str = "joined";

/// What a kernel must be to be joined to others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Member {
    /// Invocations of its workgroup.
    pub(crate) workgroup: u32,
    pub(crate) has_barriers: bool,
    /// By storage binding, in the order of their numbers: the type of its elements.
    pub(crate) elements: Vec<String>,
}

/// A member, and which bindings of the joined kernel its own are.
#[derive(Debug)]
pub(crate) struct Part<'a> {
    pub(crate) text: &'a str,
    pub(crate) member: &'a Member,
    pub(crate) bindings: Vec<usize>,
    /// Whether it waits until what the members before it wrote can be read.
    pub(crate) follows: bool,
}

/// Storage bindings of a text by number: name and element.
fn bindings(text: &str) -> Vec<(&str, &str)> {
    let mut all: Vec<(u32, &str, &str)> =
        split(text).into_iter().filter_map(|(_, item)| storage(item)).collect();
    all.sort_unstable();
    all.into_iter().map(|(_, name, element)| (name, element)).collect()
}

/// The entry point: its item, its parameters as pairs of builtin and name, and its body from the brace on.
fn entry(text: &str) -> Option<(&str, Vec<(&str, &str)>, &str)> {
    let (name, item) = split(text).into_iter().find(|(_, item)| item.contains("@compute"))?;
    let (_, rest) = item.split_once(&format!("fn {name}("))?;
    let (parameters, body) = rest.split_once('{')?;
    let (parameters, _) = parameters.rsplit_once(')')?;
    let mut pairs = Vec::new();
    for parameter in parameters.split(',').map(str::trim).filter(|p| !p.is_empty()) {
        // `vec3<u32>` has no comma.
        let (builtin, rest) = parameter.strip_prefix("@builtin(")?.split_once(')')?;
        pairs.push((builtin.trim(), rest.split_once(':')?.0.trim()));
    }
    Some((name, pairs, body))
}

/// A builtin of a grid of one workgroup whose invocations lie along x: its type, and its value by `lane`.
fn builtin(name: &str) -> Option<(&'static str, &'static str)> {
    Some(match name {
        "global_invocation_id" | "local_invocation_id" => ("vec3<u32>", "vec3<u32>(lane, 0u, 0u)"),
        "local_invocation_index" => ("u32", "lane"),
        "workgroup_id" => ("vec3<u32>", "vec3<u32>(0u)"),
        "num_workgroups" => ("vec3<u32>", "vec3<u32>(1u)"),
        _ => return None,
    })
}

impl Member {
    /// `None` for a kernel that cannot be joined: of a workgroup in two dimensions, or that uses subgroups.
    pub(crate) fn of(text: &str) -> Option<Self> {
        let (_, parameters, _) = entry(text)?;
        if text.contains("subgroup") || !parameters.iter().all(|(name, _)| builtin(name).is_some()) {
            return None;
        }
        let size = text.split_once("@workgroup_size(")?.1.split_once(')')?.0;
        let elements = bindings(text).into_iter().map(|(_, element)| element.to_string()).collect();
        Some(Member {
            workgroup: size.trim().parse().ok()?,
            has_barriers: text.contains("Barrier("),
            elements,
        })
    }
}

/// Whether a declaration is a binding.
fn is_binding(item: &str) -> bool {
    item.contains("@binding(")
}

/// `item` with names exchanged. Members of structs keep theirs.
fn renamed(item: &str, names: &BTreeMap<&str, String>) -> String {
    let is_struct = item.starts_with("struct");
    let mut out = String::with_capacity(item.len() + 32);
    let mut at = 0;
    for name in identifiers_in_order(item) {
        let start = name.as_ptr() as usize - item.as_ptr() as usize;
        let end = start + name.len();
        let is_member = is_struct && item[end..].trim_start().starts_with(':');
        if let Some(new) = names.get(name)
            && !is_member
            && !item[..start].ends_with('@')
        {
            out.push_str(&item[at..start]);
            out.push_str(new);
            at = end;
        }
    }
    out.push_str(&item[at..]);
    out
}

/// The joined kernel; `written`: which of its storage bindings are.
pub(crate) fn text(parts: &[Part<'_>], written: &[bool]) -> String {
    let width = parts.iter().map(|p| p.member.workgroup).max().unwrap_or(1);
    let mut declared = vec![String::new(); written.len()];
    // Names with their texts.
    let mut known: BTreeMap<String, String> = BTreeMap::new();
    let (mut items, mut fields, mut copies, mut calls) =
        (String::new(), String::new(), String::new(), String::new());
    let directive = if parts.iter().any(|p| p.text.starts_with(DIRECTIVE)) { DIRECTIVE } else { "" };
    for (k, part) in parts.iter().enumerate() {
        let text = part.text.strip_prefix(DIRECTIVE).unwrap_or(part.text);
        let all = split(text);
        // Names that mean what they mean already, with all that they use.
        let own: BTreeSet<&str> = all.iter().map(|(name, _)| *name).collect();
        let mut same: BTreeSet<&str> = all
            .iter()
            .filter(|(name, item)| !is_binding(item) && known.get(*name).is_some_and(|text| text == item))
            .map(|(name, _)| *name)
            .collect();
        loop {
            let uses_other = |(name, item): &&(&str, &str)| {
                same.contains(name) && identifiers(item).iter().any(|n| own.contains(n) && !same.contains(n))
            };
            let Some((name, _)) = all.iter().find(uses_other) else { break };
            same.remove(name);
        }
        let mut names: BTreeMap<&str, String> = BTreeMap::new();
        for ((name, element), &binding) in bindings(text).into_iter().zip(&part.bindings) {
            names.insert(name, format!("buffer{binding}"));
            let access = if written[binding] { "read_write" } else { "read" };
            declared[binding] = format!(
                "@group(0) @binding({binding}) var<storage, {access}> buffer{binding}: array<{element}>;\n"
            );
        }
        for (name, _) in &all {
            if !names.contains_key(name)
                && !same.contains(name)
                && (known.contains_key(*name) || *name == ENTRY)
            {
                names.insert(name, format!("{name}_{k}"));
            }
        }
        let Some((entry_name, parameters, body)) = entry(text) else { continue };
        for (name, item) in &all {
            if same.contains(name) || storage(item).is_some() {
                continue;
            }
            let new = names.get(name).cloned().unwrap_or_else(|| name.to_string());
            if *name == entry_name {
                let list: Vec<String> = parameters
                    .iter()
                    .filter_map(|(b, name)| Some(format!("{name}: {}", builtin(b)?.0)))
                    .collect();
                let function = format!("fn {name}({}) {{{body}", list.join(", "));
                let _ = write!(items, "{}\n\n", renamed(&function, &names));
            } else if is_binding(item) {
                let ty = item.rsplit(':').next().unwrap_or_default().trim().trim_end_matches(';').trim();
                let ty = renamed(ty, &names);
                let _ = write!(items, "var<private> {new}: {ty};\n\n");
                let _ = writeln!(fields, "    @align(16) of_{k}: {ty},");
                let _ = writeln!(copies, "    {new} = members.of_{k};");
            } else {
                let _ = write!(items, "{}\n\n", renamed(item, &names));
            }
            known.insert(new, item.to_string());
        }
        if part.follows {
            calls.push_str("    storageBarrier();\n");
        }
        let arguments: Vec<&str> = parameters.iter().filter_map(|(b, _)| Some(builtin(b)?.1)).collect();
        let call = format!("{}({});", names.get(entry_name).map_or(entry_name, |n| n), arguments.join(", "));
        let _ = match part.member.workgroup == width {
            true => writeln!(calls, "    {call}"),
            false => writeln!(calls, "    if (lane < {}u) {{ {call} }}", part.member.workgroup),
        };
    }
    let uniform = match fields.is_empty() {
        true => String::new(),
        false => format!(
            "struct Members {{\n{fields}}}\n\n@group(0) @binding({}) var<uniform> members: Members;\n\n",
            written.len()
        ),
    };
    format!(
        "{directive}{items}{}\n{uniform}@compute @workgroup_size({width})\n\
         fn {ENTRY}(@builtin(local_invocation_index) lane: u32) {{\n{copies}{calls}}}\n",
        declared.concat()
    )
}
