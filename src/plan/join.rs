//! Small launches that follow each other become one launch of one workgroup, which does the work of all in order. A GPU
//! needs some microseconds for a launch, whatever it computes, and small steps consist of them: losses and their mean,
//! counts of steps, sums of metrics.
//!
//! A launch moves up to one before it, past launches that it has nothing to do with.

use std::collections::BTreeSet;

use super::{Plan, Task};
use crate::graph::{Source, ValueId};
use crate::op::{Arg, Caps, Dispatch, Kernel, Program};
use crate::wgsl::joined::{self, Member, Part};

/// Tasks that a launch moves past at most: comparing takes time.
const FAR: usize = 512;

/// Members of a launch at most: workgroup memory of all lies side by side.
const MOST: usize = 12;

/// Invocations that one workgroup takes over from several, and iterations that it needs for them: less than a launch is
/// worth.
const INVOCATIONS: usize = 256;
const ITERATIONS: usize = 256;

/// Memory that cannot be told apart: a state in all its versions, or a value and its reshapes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Memory {
    State(usize),
    Value(ValueId),
}

/// What a task touches.
struct Touched {
    reads: BTreeSet<Memory>,
    writes: BTreeSet<Memory>,
}

impl Touched {
    fn has_to_follow(&self, other: &Touched) -> bool {
        !self.reads.is_disjoint(&other.writes)
            || !self.writes.is_disjoint(&other.writes)
            || !self.writes.is_disjoint(&other.reads)
    }
}

/// A launch that one workgroup can do.
#[derive(Clone)]
struct Small {
    dispatch: Dispatch,
    member: Member,
    /// By argument: its memory.
    memory: Vec<Memory>,
    /// Whether it has to wait for those before it in its group.
    follows: bool,
}

impl Small {
    /// The launch of a task, if it is one and small.
    fn of(plan: &Plan, task: &Task, memory: impl Fn(ValueId) -> Memory) -> Option<Self> {
        let [dispatch] = &task.program.dispatches[..] else { return None };
        let [workgroups, 1, 1] = dispatch.grid else { return None };
        if !task.program.scratch.is_empty() || !dispatch.kernel.trusted {
            return None;
        }
        let value = |arg: &Arg| match *arg {
            Arg::Input(i) => plan.reads_of(task).nth(i),
            Arg::Output(i) => plan.outputs_of(task).nth(i),
            _ => None,
        };
        let memory = dispatch.args.iter().map(|a| value(a).map(&memory)).collect::<Option<_>>()?;
        let member = Member::of(&dispatch.kernel.text)?;
        let small = Small { dispatch: dispatch.clone(), member, memory, follows: false };
        let invocations = (workgroups * small.member.workgroup) as usize;
        let is_little = invocations <= INVOCATIONS && small.iterations()? <= ITERATIONS;
        (workgroups == 1 || small.member.is_free && is_little).then_some(small)
    }

    fn part(&self, bindings: Vec<usize>) -> Part<'_> {
        Part {
            text: &self.dispatch.kernel.text,
            member: &self.member,
            workgroups: self.dispatch.grid[0],
            bindings,
            follows: self.follows,
        }
    }

    /// Most iterations of an invocation of the workgroup.
    fn iterations(&self) -> Option<usize> {
        let part = self.part(Vec::new());
        let rounds = part.invocations().div_ceil(part.width()) as usize;
        Some(rounds * (1 + self.dispatch.most_loop_iterations()?))
    }
}

/// A task, or several that are joined, in the making.
struct Group {
    task: Task,
    touched: Touched,
    /// Empty where it cannot be joined.
    small: Vec<Small>,
}

/// The tasks of a plan without slots, joined where that is possible.
pub(super) fn join(plan: &Plan, roots: &[ValueId], caps: &Caps) -> Vec<Task> {
    let memory = |v: ValueId| {
        let root = roots[v as usize];
        match plan.recording.values[root as usize].source {
            Source::State { state, .. } => Memory::State(state),
            _ => Memory::Value(root),
        }
    };
    let mut groups: Vec<Group> = Vec::new();
    for task in &plan.tasks {
        let touched = Touched {
            reads: plan.reads_of(task).map(memory).collect(),
            writes: plan.outputs_of(task).map(memory).collect(),
        };
        let small = Small::of(plan, task, memory).into_iter().collect();
        let group = Group { task: task.clone(), touched, small };
        match partner(&groups, &group, caps) {
            Some(to) => groups[to].take(plan, group),
            None => groups.push(group),
        }
    }
    groups.into_iter().map(Group::finish).collect()
}

/// The group that another goes to: the nearest of those that it can move up to.
fn partner(groups: &[Group], other: &Group, caps: &Caps) -> Option<usize> {
    if other.small.is_empty() {
        return None;
    }
    for at in (groups.len().saturating_sub(FAR)..groups.len()).rev() {
        if groups[at].fits(other, caps) {
            return Some(at);
        }
        if other.touched.has_to_follow(&groups[at].touched) {
            return None;
        }
    }
    None
}

impl Group {
    /// Whether another can be joined to it.
    fn fits(&self, other: &Group, caps: &Caps) -> bool {
        if self.small.is_empty() || self.small.len() >= MOST {
            return false;
        }
        let all: Vec<&Small> = self.small.iter().chain(&other.small).collect();
        // All invocations of the workgroup come to a member's barriers.
        let width = all.iter().map(|s| s.part(Vec::new()).width()).max();
        if all.iter().any(|s| !s.member.is_free && Some(s.member.workgroup) != width) {
            return false;
        }
        let iterations: Option<usize> = all.iter().map(|s| s.iterations()).sum();
        let Some(bindings) = bindings(&all) else { return false };
        bindings.len() <= caps.storage_buffers as usize && iterations.is_some_and(|n| caps.allows(n))
    }

    fn take(&mut self, plan: &Plan, other: Group) {
        let inputs = plan.reads_of(&self.task).count();
        let outputs = plan.outputs_of(&self.task).count();
        let follows = other.touched.has_to_follow(&self.touched);
        for mut small in other.small {
            for arg in &mut small.dispatch.args {
                match arg {
                    Arg::Input(i) => *i += inputs,
                    Arg::Output(i) => *i += outputs,
                    _ => {}
                }
            }
            small.follows = follows;
            self.small.push(small);
        }
        self.task.nodes.extend(other.task.nodes);
        self.touched.reads.extend(other.touched.reads);
        self.touched.writes.extend(other.touched.writes);
    }

    /// The task, with one launch for all members.
    fn finish(mut self) -> Task {
        let all: Vec<&Small> = self.small.iter().collect();
        if all.len() > 1
            && let Some(bindings) = bindings(&all)
        {
            self.task.program = Program::from(launch(&all, &bindings));
        }
        self.task
    }
}

/// A binding of the joined kernel.
struct Binding {
    arg: Arg,
    memory: Memory,
    element: String,
}

fn is_written(arg: Arg) -> bool {
    matches!(arg, Arg::Output(_))
}

/// The bindings of all: memory that one writes is bound once, as single elements where members see it differently. `None`
/// where that cannot be.
fn bindings(all: &[&Small]) -> Option<Vec<Binding>> {
    let uses = || {
        let of = |s: &'_ &Small| s.dispatch.args.len();
        all.iter().flat_map(move |s| (0..of(s)).map(move |i| (*s, i)))
    };
    let mut bindings: Vec<Binding> = Vec::new();
    for (small, i) in uses() {
        let (arg, memory) = (small.dispatch.args[i], small.memory[i]);
        let element = &small.member.elements[i];
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
            let single = |ty: &str| ty.trim_start_matches("vec4<").trim_end_matches('>').to_string();
            binding.element = single(element);
            if single(&binding.element) != single(element) {
                return None;
            }
        }
    }
    // Who sees vectors there reads and writes whole ones.
    let is_readable = |(s, i): (&Small, usize)| {
        let binding = bindings.iter().find(|b| b.memory == s.memory[i] && fits(b, &s.member.elements[i]));
        binding.is_some_and(|b| {
            b.element == s.member.elements[i] || joined::flat(&s.dispatch.kernel.text, i).is_some()
        })
    };
    uses().all(is_readable).then_some(bindings)
}

/// Whether a member that sees `element`s uses a binding of its memory.
fn fits(binding: &Binding, element: &str) -> bool {
    binding.element == element
        || element.strip_prefix("vec4<").and_then(|e| e.strip_suffix('>')) == Some(&binding.element)
}

fn launch(all: &[&Small], bindings: &[Binding]) -> Dispatch {
    let position = |(memory, element): (&Memory, &String)| {
        let exact = bindings.iter().position(|b| b.memory == *memory && b.element == *element);
        exact
            .or_else(|| bindings.iter().position(|b| b.memory == *memory && fits(b, element)))
            .unwrap_or_default()
    };
    // Vectors that others see as single elements.
    let texts: Vec<String> = all
        .iter()
        .map(|s| {
            let mut text = s.dispatch.kernel.text.to_string();
            for (i, at) in s.memory.iter().zip(&s.member.elements).map(position).enumerate() {
                if bindings[at].element != s.member.elements[i]
                    && let Some(flat) = joined::flat(&text, i)
                {
                    text = flat;
                }
            }
            text
        })
        .collect();
    let parts: Vec<Part<'_>> = all
        .iter()
        .zip(&texts)
        .map(|(s, text)| Part {
            text,
            ..s.part(s.memory.iter().zip(&s.member.elements).map(position).collect())
        })
        .collect();
    let written: Vec<bool> = bindings.iter().map(|b| is_written(b.arg)).collect();
    let text = joined::text(&parts, &written);
    let mut uniform: Vec<u8> = Vec::new();
    for small in all {
        uniform.extend(&small.dispatch.uniform);
        uniform.resize(uniform.len().next_multiple_of(16), 0);
    }
    // All that the text depends on.
    let key = |(s, part): (&&Small, &Part<'_>)| {
        let bound: Vec<String> = part.bindings.iter().map(usize::to_string).collect();
        let waits = if part.follows { "|" } else { "" };
        format!("{waits}{}x{}({})", s.dispatch.kernel.key, part.workgroups, bound.join(","))
    };
    let key = all.iter().zip(&parts).map(key).collect::<Vec<_>>().join(";");
    let types: Vec<&str> = bindings.iter().map(|b| &*b.element).collect();
    let access: String = written.iter().map(|w| if *w { 'w' } else { 'r' }).collect();
    let kernel = Kernel {
        key: format!("joined.{key}.{access}.{}", types.join(",")),
        entry: joined::ENTRY.into(),
        text: text.into(),
        trusted: true,
    };
    let args = bindings.iter().map(|b| b.arg).collect();
    let iterations = all.iter().filter_map(|s| s.iterations()).sum();
    Dispatch::with_bytes(kernel, args, uniform, [1, 1, 1]).loop_iterations(iterations)
}
