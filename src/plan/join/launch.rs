//! The launch of several: what it binds, its key and its text.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Memory, One};
use crate::op::{Arg, Dispatch, Kernel};
use crate::wgsl::joined::{self, Layout, Part};

/// A binding of the joined kernel.
pub(super) struct Binding {
    arg: Arg,
    memory: Memory,
    element: String,
}

fn is_written(arg: Arg) -> bool {
    matches!(arg, Arg::Output(_) | Arg::Scratch(_))
}

/// The bindings of all: memory that one writes is bound once, as single elements where members see it differently. `None`
/// where that cannot be.
pub(super) fn bindings(all: &[&One]) -> Option<Vec<Binding>> {
    let uses = || all.iter().flat_map(|s| (0..s.dispatch.args.len()).map(move |i| (*s, i)));
    let mut bindings: Vec<Binding> = Vec::new();
    for (one, i) in uses() {
        let (arg, memory) = (one.dispatch.args[i], one.memory[i]);
        let element = &one.member.elements[i];
        let writes = uses().any(|(s, k)| s.memory[k] == memory && is_written(s.dispatch.args[k]));
        let same = |b: &&mut Binding| b.memory == memory && (writes || b.element == *element);
        let Some(binding) = bindings.iter_mut().find(same) else {
            bindings.push(Binding { arg, memory, element: element.clone() });
            continue;
        };
        if is_written(arg) {
            binding.arg = arg;
        }
        if binding.element != *element {
            if single(&binding.element) != single(element) {
                return None;
            }
            binding.element = single(element).to_string();
        }
    }
    // Who sees vectors there reads and writes whole ones.
    let can_use = |(one, i): (&One, usize)| {
        let element = &one.member.elements[i];
        let binding = bindings.iter().find(|b| b.memory == one.memory[i] && suits(b, element));
        let is_exact = |b: &Binding| b.element == *element;
        binding.is_some_and(|b| is_exact(b) || joined::flat(&one.dispatch.kernel.text, i).is_some())
    };
    uses().all(can_use).then_some(bindings)
}

/// What vectors of four are made of; of others the type itself.
fn single(element: &str) -> &str {
    element.strip_prefix("vec4<").and_then(|rest| rest.strip_suffix('>')).unwrap_or(element)
}

/// Whether a member that sees `element`s there can use a binding of its memory.
fn suits(binding: &Binding, element: &str) -> bool {
    binding.element == element || binding.element == single(element)
}

/// By key, the texts that were made.
pub(super) type Texts = BTreeMap<String, Arc<str>>;

/// The launch of all.
pub(super) fn launch(layout: Layout, all: &[&One], texts: &mut Texts) -> Dispatch {
    let bindings = match all {
        [one] => return one.dispatch.clone(),
        _ => bindings(all).unwrap_or_default(),
    };
    let position = |(memory, element): (&Memory, &String)| {
        let of_memory = |b: &Binding| b.memory == *memory;
        let exact = bindings.iter().position(|b| of_memory(b) && b.element == *element);
        exact.or_else(|| bindings.iter().position(|b| of_memory(b) && suits(b, element))).unwrap_or_default()
    };
    let bound = |one: &One| one.memory.iter().zip(&one.member.elements).map(position).collect();
    let parts: Vec<Part<'_>> = all.iter().map(|one| one.part(bound(one))).collect();
    let key = key(layout, all, &parts, &bindings);
    let text = texts.entry(key.clone()).or_insert_with(|| text(layout, all, &parts, &bindings).into());
    let kernel = Kernel { key, entry: joined::ENTRY.into(), text: text.clone(), trusted: true };
    // Uniforms of our own are whole vectors, so that members are aligned.
    let uniform = all.iter().flat_map(|one| one.dispatch.uniform.iter().copied()).collect();
    let args = bindings.iter().map(|b| b.arg).collect();
    let iterations = all.iter().map(|s| s.iterations(layout));
    let (workgroups, iterations) = match layout {
        Layout::InOrder => (1, iterations.sum()),
        Layout::SideBySide => {
            let width = parts.iter().map(Part::width).max().unwrap_or(1);
            (parts.iter().map(|p| p.workgroups_of(width)).sum(), iterations.max().unwrap_or_default())
        }
    };
    Dispatch::with_bytes(kernel, args, uniform, [workgroups, 1, 1]).loop_iterations(iterations)
}

/// All that the text depends on.
fn key(layout: Layout, all: &[&One], parts: &[Part<'_>], bindings: &[Binding]) -> String {
    let of_part = |(one, part): (&&One, &Part<'_>)| {
        let bound: Vec<String> = part.bindings.iter().map(usize::to_string).collect();
        let waits = if part.follows { "|" } else { "" };
        format!("{waits}{}x{}({})", one.dispatch.kernel.key, part.workgroups, bound.join(","))
    };
    let of_parts = all.iter().zip(parts).map(of_part).collect::<Vec<_>>().join(";");
    let access: String = bindings.iter().map(|b| if is_written(b.arg) { 'w' } else { 'r' }).collect();
    let types: Vec<&str> = bindings.iter().map(|b| &*b.element).collect();
    let name = if layout == Layout::InOrder { "in_order" } else { "side_by_side" };
    let entries: Vec<&str> =
        all.iter().map(|one| entries(&one.dispatch.kernel.key, &one.dispatch.kernel.entry)).collect();
    format!("{name}[{}].{of_parts}.{access}.{}", entries.join(", "), types.join(","))
}

fn text(layout: Layout, all: &[&One], parts: &[Part<'_>], bindings: &[Binding]) -> String {
    // Vectors that others see as single elements.
    let flat = |(one, part): (&&One, &Part<'_>)| {
        let differs = |i: &usize| bindings[part.bindings[*i]].element != one.member.elements[*i];
        let text = part.text.to_string();
        (0..part.bindings.len()).filter(differs).fold(text, |text, i| joined::flat(&text, i).unwrap_or(text))
    };
    let texts: Vec<String> = all.iter().zip(parts).map(flat).collect();
    let parts: Vec<Part<'_>> =
        parts.iter().zip(&texts).map(|(part, text)| Part { text, ..part.clone() }).collect();
    let written: Vec<bool> = bindings.iter().map(|b| is_written(b.arg)).collect();
    joined::text(layout, &parts, &written)
}

/// What a kernel's key says in brackets: the entry points of those that are joined.
fn in_brackets(key: &str) -> Option<&str> {
    let rest = key.strip_prefix("in_order[").or_else(|| key.strip_prefix("side_by_side["))?;
    Some(rest.split_once(']')?.0)
}

/// A kernel's entry point, or those of the kernels that are joined in it.
fn entries<'a>(key: &'a str, entry: &'a str) -> &'a str {
    in_brackets(key).unwrap_or(entry)
}

/// What a person wants to read of a kernel's key: of joined kernels their names alone.
pub(crate) fn label(key: &str) -> &str {
    match in_brackets(key) {
        Some(_) => key.split_inclusive(']').next().unwrap_or(key),
        None => key,
    }
}
