//! Several kernels as one: their entry points become functions that one entry point calls, in order or side by side.
//!
//! This works on wgrad's own texts alone. Names of later members that mean something else in an earlier one get the
//! member's number; what is the same in both stands there once. Uniforms become members of one.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use super::access::{Form, declares, storage, stored};
use super::half::DIRECTIVE;
use super::template::COMPONENTS;
use super::{identifiers, identifiers_in_order, split};

/// The entry point of the joined kernel.
pub(crate) const ENTRY: &str = "joined";

/// Invocations of a workgroup that free ones are spread over.
pub(crate) const WIDTH: u32 = 64;

/// Names of the joined kernel's own.
const RESERVED: [&str; 3] = [ENTRY, "members", "Members"];

/// How the members of a joined kernel run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Layout {
    /// One workgroup runs them one after another.
    #[default]
    InOrder,
    /// Each has workgroups of its own.
    SideBySide,
}

/// What a kernel must be to be joined to others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Member {
    /// Invocations of its workgroup.
    pub(crate) workgroup: u32,
    /// Whether invocations know nothing of each other but their number: any workgroup can run any of them.
    pub(crate) is_free: bool,
    /// By storage binding, in the order of their numbers: the type of its elements.
    pub(crate) elements: Vec<String>,
    /// Declarations of workgroup memory, and the bytes of each.
    pub(crate) shared: Vec<(String, usize)>,
}

/// A member, and which bindings of the joined kernel its own are.
#[derive(Debug, Clone)]
pub(crate) struct Part<'a> {
    pub(crate) text: &'a str,
    pub(crate) member: &'a Member,
    /// Its workgroups: more than one where its invocations are free.
    pub(crate) workgroups: u32,
    pub(crate) bindings: Vec<usize>,
    /// Whether it waits until what the members before it wrote can be read.
    pub(crate) follows: bool,
}

impl Part<'_> {
    pub(crate) fn invocations(&self) -> u32 {
        self.workgroups * self.member.workgroup
    }

    /// Invocations of a workgroup that it needs, or has use for.
    pub(crate) fn width(&self) -> u32 {
        if self.member.is_free { self.invocations().min(WIDTH) } else { self.member.workgroup }
    }

    /// Workgroups that it takes of a joined kernel whose workgroups have `width` invocations.
    pub(crate) fn workgroups_of(&self, width: u32) -> u32 {
        if self.member.is_free { self.invocations().div_ceil(width) } else { self.workgroups }
    }
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

/// A builtin of a grid along x: its type, and its value by the numbers of the workgroup (`own`), of the invocation in it
/// (`lane`) and in all (`i`).
fn builtin(name: &str, workgroups: u32) -> Option<(&'static str, String)> {
    Some(match name {
        "global_invocation_id" => ("vec3<u32>", "vec3<u32>(i, 0u, 0u)".into()),
        "local_invocation_id" => ("vec3<u32>", "vec3<u32>(lane, 0u, 0u)".into()),
        "local_invocation_index" => ("u32", "lane".into()),
        "workgroup_id" => ("vec3<u32>", "vec3<u32>(own, 0u, 0u)".into()),
        "num_workgroups" => ("vec3<u32>", format!("vec3<u32>({workgroups}u, 1u, 1u)")),
        _ => return None,
    })
}

/// A text's declarations of workgroup memory, which are arrays, and the bytes of each at most.
fn shared(items: &[(&str, &str)]) -> Option<Vec<(String, usize)>> {
    let bytes = |item: &str| {
        let (element, length) = item.split_once("array<")?.1.rsplit_once(',')?;
        let each = match element.trim() {
            "f32" | "u32" => 4,
            "vec2<f32>" => 8,
            "vec4<f32>" => 16,
            // A struct of numbers and vectors.
            other => {
                let (_, fields) =
                    items.iter().find(|(name, item)| *name == other && item.starts_with("struct"))?;
                16 * fields.matches(':').count()
            }
        };
        let length: usize = length.split_once('>')?.0.trim().parse().ok()?;
        Some((each * length).next_multiple_of(16))
    };
    let of_workgroup = items.iter().filter(|(_, item)| item.contains("var<workgroup>"));
    of_workgroup.map(|(_, item)| Some((item.to_string(), bytes(item)?))).collect()
}

/// Bytes of workgroup memory of a kernel joined of these: what is declared alike is one.
pub(crate) fn shared_bytes<'a>(members: impl Iterator<Item = &'a Member>) -> usize {
    members.flat_map(|m| &m.shared).collect::<BTreeSet<_>>().into_iter().map(|(_, bytes)| bytes).sum()
}

/// A binding of vectors of four whose memory another member sees as single elements.
struct Flat(&'static str);

impl Flat {
    /// The elements of `name[index]`.
    fn each(target: &str) -> [String; 4] {
        let (name, index) = target.split_once('[').unwrap_or_default();
        let index = index.strip_suffix(']').unwrap_or(index);
        [0, 1, 2, 3].map(|c| format!("{name}[4u * ({index}) + {c}u]"))
    }
}

impl Form for Flat {
    fn element(&self) -> String {
        self.0.to_string()
    }

    fn load(&self, target: &str) -> String {
        format!("vec4<{}>({})", self.0, Flat::each(target).join(", "))
    }

    fn assign(&self, target: &str, component: &str, operator: &str, value: &str) -> Option<String> {
        if !(component.is_empty() && operator.is_empty()) {
            return None;
        }
        let each = Flat::each(target).into_iter().zip(COMPONENTS);
        let stores: String = each.map(|(element, c)| format!(" {element} = four.{c};")).collect();
        Some(format!("{{ let four = {value};{stores} }}"))
    }
}

/// `text` with the storage binding `binding`, of vectors of four, as one of single elements; `None` where it is no such,
/// or used in another way than by whole elements.
pub(crate) fn flat(text: &str, binding: usize) -> Option<String> {
    let (name, element) = bindings(text).get(binding).copied()?;
    let single = ["f32", "u32", "f16"].into_iter().find(|single| element == format!("vec4<{single}>"))?;
    stored(text, &[(name, Flat(single))])
}

impl Member {
    /// `None` for a kernel that cannot be joined: one that uses subgroups, or more than one dimension of its workgroup.
    pub(crate) fn of(text: &str) -> Option<Self> {
        let (_, parameters, _) = entry(text)?;
        if text.contains("subgroup") || !parameters.iter().all(|(name, _)| builtin(name, 1).is_some()) {
            return None;
        }
        let size = text.split_once("@workgroup_size(")?.1.split_once(')')?.0;
        let sizes: Vec<u32> = size.split(',').map(|n| n.trim().parse().ok()).collect::<Option<_>>()?;
        let is_by_axis = |name: &str| matches!(name, "global_invocation_id" | "local_invocation_id");
        if sizes.len() > 1 && parameters.iter().any(|(name, _)| is_by_axis(name)) {
            return None;
        }
        let elements = bindings(text).into_iter().map(|(_, element)| element.to_string()).collect();
        let is_free = !text.contains("var<workgroup>")
            && !text.contains("Barrier(")
            && parameters.iter().all(|(name, _)| matches!(*name, "global_invocation_id" | "num_workgroups"));
        Some(Member { workgroup: sizes.iter().product(), is_free, elements, shared: shared(&split(text))? })
    }
}

/// Whether a declaration is a binding.
fn is_binding(item: &str) -> bool {
    item.contains("@binding(")
}

/// `item` with names exchanged. Members of structs keep theirs.
fn renamed(item: &str, names: &BTreeMap<&str, String>) -> String {
    let is_struct = item.starts_with("struct");
    // A parameter or variable of the same name is something else.
    let is_hidden = |name: &str| item.starts_with("fn ") && declares(item, name);
    let used = identifiers(item).into_iter().filter(|name| names.contains_key(name) && !is_hidden(name));
    let names: BTreeMap<&str, &String> = used.map(|name| (name, &names[name])).collect();
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
pub(crate) fn text(layout: Layout, parts: &[Part<'_>], written: &[bool]) -> String {
    let width = parts.iter().map(Part::width).max().unwrap_or(1);
    let mut joined =
        Joined { layout, width, declared: vec![String::new(); written.len()], ..Joined::default() };
    parts.iter().enumerate().for_each(|(k, part)| joined.add(k, part, written));
    let Joined { items, fields, calls, declared, .. } = joined;
    let directive = if parts.iter().any(|p| p.text.starts_with(DIRECTIVE)) { DIRECTIVE } else { "" };
    let uniform = match fields.is_empty() {
        true => String::new(),
        false => format!(
            "struct Members {{\n{fields}}}\n\n@group(0) @binding({}) var<uniform> members: Members;\n\n",
            written.len()
        ),
    };
    let (parameter, start) = match layout {
        Layout::InOrder => ("", "    let own = 0u;\n"),
        Layout::SideBySide => (", @builtin(workgroup_id) group: vec3<u32>", ""),
    };
    format!(
        "{directive}{items}{}\n{uniform}@compute @workgroup_size({width})\n\
         fn {ENTRY}(@builtin(local_invocation_index) lane: u32{parameter}) {{\n{start}{calls}}}\n",
        declared.concat()
    )
}

/// A joined kernel in the making.
#[derive(Default)]
struct Joined {
    layout: Layout,
    width: u32,
    /// Names of what is declared so far, with the texts they had in their members.
    known: BTreeMap<String, String>,
    items: String,
    /// Storage bindings, and members of the uniform.
    declared: Vec<String>,
    fields: String,
    calls: String,
    /// Side by side: the first workgroup of the next member.
    first: u32,
    /// In order: whether a member so far has workgroup memory.
    has_shared: bool,
}

impl Joined {
    /// Adds member `k`.
    fn add(&mut self, k: usize, part: &Part<'_>, written: &[bool]) {
        let text = part.text.strip_prefix(DIRECTIVE).unwrap_or(part.text);
        let all = split(text);
        let Some((entry_name, parameters, body)) = entry(text) else { return };
        let same = self.same(&all);
        let names = self.names(k, text, &all, &same, part);
        for ((_, element), &binding) in bindings(text).into_iter().zip(&part.bindings) {
            let access = if written[binding] { "read_write" } else { "read" };
            self.declared[binding] = format!(
                "@group(0) @binding({binding}) var<storage, {access}> buffer{binding}: array<{element}>;\n"
            );
        }
        for (name, item) in all.iter().filter(|(name, item)| !same.contains(name) && storage(item).is_none())
        {
            if is_binding(item) {
                let ty = item.rsplit(':').next().unwrap_or_default().trim().trim_end_matches(';').trim();
                let _ = writeln!(self.fields, "    @align(16) of_{k}: {},", renamed(ty, &names));
                continue;
            }
            let item = match *name == entry_name {
                true => {
                    let one = |(b, name): &(&str, &str)| Some(format!("{name}: {}", builtin(b, 1)?.0));
                    let list: Vec<String> = parameters.iter().filter_map(one).collect();
                    format!("fn {name}({}) {{{body}", list.join(", "))
                }
                false => item.to_string(),
            };
            let _ = write!(self.items, "{}\n\n", renamed(&item, &names));
        }
        for (name, item) in all.iter().filter(|(_, item)| !is_binding(item)) {
            self.known.insert(names.get(name).cloned().unwrap_or_else(|| name.to_string()), item.to_string());
        }
        let arguments: Vec<String> =
            parameters.iter().filter_map(|(b, _)| Some(builtin(b, part.workgroups)?.1)).collect();
        let function = names.get(entry_name).map_or(entry_name, |new| new);
        self.call(k, part, &format!("{function}({});", arguments.join(", ")));
    }

    /// Names that mean what they mean already, with all that they use.
    fn same<'t>(&self, all: &[(&'t str, &'t str)]) -> BTreeSet<&'t str> {
        let own: BTreeSet<&str> = all.iter().map(|(name, _)| *name).collect();
        let is_known = |(name, item): &&(&str, &str)| {
            !is_binding(item) && self.known.get(*name).is_some_and(|text| text == item)
        };
        let mut same: BTreeSet<&str> = all.iter().filter(is_known).map(|(name, _)| *name).collect();
        loop {
            let uses_other = |(name, item): &&(&str, &str)| {
                same.contains(name) && identifiers(item).iter().any(|n| own.contains(n) && !same.contains(n))
            };
            let Some((name, _)) = all.iter().find(uses_other) else { return same };
            same.remove(name);
        }
    }

    /// What the names of a member become, where they do not stay.
    fn names<'t>(
        &self,
        k: usize,
        text: &'t str,
        all: &[(&'t str, &'t str)],
        same: &BTreeSet<&str>,
        part: &Part<'_>,
    ) -> BTreeMap<&'t str, String> {
        let of_storage = bindings(text).into_iter().zip(&part.bindings);
        let mut names: BTreeMap<&str, String> =
            of_storage.map(|((name, _), binding)| (name, format!("buffer{binding}"))).collect();
        let is_taken = |name: &str| self.known.contains_key(name) || RESERVED.contains(&name);
        let is_own = |new: &str| all.iter().any(|(name, _)| *name == new);
        for (name, item) in all {
            if item.contains("var<uniform>") {
                names.insert(name, format!("members.of_{k}"));
            } else if !names.contains_key(name) && !same.contains(name) && is_taken(name) {
                let free = |new: &String| !is_taken(new) && !is_own(new);
                let new = (k..).map(|number| format!("{name}_{number}")).find(free).unwrap_or_default();
                names.insert(name, new);
            }
        }
        names
    }

    /// Calls a member.
    fn call(&mut self, k: usize, part: &Part<'_>, call: &str) {
        let (all, width, first) = (part.invocations(), self.width, self.first);
        let _ = match self.layout {
            Layout::InOrder => {
                if part.follows {
                    self.calls.push_str("    storageBarrier();\n");
                }
                // What the one before has in workgroup memory may be what this one has there.
                if self.has_shared && !part.member.is_free {
                    self.calls.push_str("    workgroupBarrier();\n");
                }
                self.has_shared |= !part.member.is_free;
                match all.cmp(&width) {
                    Ordering::Equal => writeln!(self.calls, "    {{ let i = lane; {call} }}"),
                    Ordering::Less => {
                        writeln!(self.calls, "    if (lane < {all}u) {{ let i = lane; {call} }}")
                    }
                    Ordering::Greater => {
                        writeln!(self.calls, "    for (var i = lane; i < {all}u; i += {width}u) {{ {call} }}")
                    }
                }
            }
            Layout::SideBySide => {
                self.first += part.workgroups_of(width);
                let otherwise = if k > 0 { "else " } else { "" };
                let guard = if part.member.is_free { format!("if (i < {all}u) ") } else { String::new() };
                writeln!(
                    self.calls,
                    "    {otherwise}if (group.x < {}u) {{ let own = group.x - {first}u; \
                     let i = own * {width}u + lane; {guard}{{ {call} }} }}",
                    self.first
                )
            }
        };
    }
}

#[cfg(test)]
#[path = "joined_tests.rs"]
mod tests;
