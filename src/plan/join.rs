//! Launches of one workgroup become one launch, a workgroup that does the work of all in order. A GPU needs some
//! microseconds for a launch, whatever it computes, and small steps consist of them: means of losses, counts of steps,
//! sums of metrics.
//!
//! A launch moves up to one before it, past launches that it has nothing to do with.

use std::collections::BTreeSet;

use super::{Plan, Task};
use crate::graph::{Source, ValueId};
use crate::op::{Arg, Caps, Dispatch, Kernel, Program};
use crate::wgsl::joined::{self, Member};

/// Tasks that a launch moves past at most: comparing takes time.
const FAR: usize = 512;

/// Members of a launch at most: workgroup memory of all lies side by side.
const MOST: usize = 12;

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

/// A launch of one workgroup.
#[derive(Clone)]
struct Small {
    dispatch: Dispatch,
    member: Member,
    /// By argument: its memory.
    memory: Vec<Memory>,
    /// Whether it reads or writes what one before it in the group writes, or writes what one reads.
    follows: bool,
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
        let small = small(plan, task, memory);
        let group = Group { task: task.clone(), touched, small: small.into_iter().collect() };
        match partner(&groups, &group, caps) {
            Some(to) => groups[to].take(plan, group),
            None => groups.push(group),
        }
    }
    groups.into_iter().map(Group::finish).collect()
}

/// The launch of a task that is one workgroup and nothing else.
fn small(plan: &Plan, task: &Task, memory: impl Fn(ValueId) -> Memory) -> Option<Small> {
    let [dispatch] = &task.program.dispatches[..] else { return None };
    if dispatch.grid != [1, 1, 1] || !task.program.scratch.is_empty() || !dispatch.kernel.trusted {
        return None;
    }
    let value = |arg: &Arg| match *arg {
        Arg::Input(i) => plan.reads_of(task).nth(i),
        Arg::Output(i) => plan.outputs_of(task).nth(i),
        _ => None,
    };
    let memory: Vec<Memory> = dispatch.args.iter().map(|a| value(a).map(&memory)).collect::<Option<_>>()?;
    let member = Member::of(&dispatch.kernel.text)?;
    Some(Small { dispatch: dispatch.clone(), member, memory, follows: false })
}

/// The group that another goes to, the nearest of those that it can move up to.
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
        let [new] = &other.small[..] else { return false };
        if self.small.is_empty() || self.small.len() >= MOST {
            return false;
        }
        let all = || self.small.iter().chain([new]);
        // Invocations beside a member wait at no barrier of its.
        let width = all().map(|s| s.member.workgroup).max().unwrap_or(1);
        let waits = all().any(|s| s.member.has_barriers && s.member.workgroup != width);
        let iterations: Option<usize> = all().map(|s| s.dispatch.most_loop_iterations()).sum();
        let (Some(bindings), false) = (bindings(&all().collect::<Vec<_>>()), waits) else { return false };
        // One more is the uniform's.
        bindings.len() < caps.storage_buffers as usize && iterations.is_some_and(|n| caps.allows(n))
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
        if self.small.len() > 1
            && let Some(bindings) = bindings(&self.small.iter().collect::<Vec<_>>())
        {
            self.task.program = Program::from(launch(&self.small, &bindings));
        }
        self.task
    }
}

/// A binding of several members.
struct Binding {
    arg: Arg,
    memory: Memory,
    element: String,
}

/// Whether an argument is written.
fn is_written(arg: Arg) -> bool {
    matches!(arg, Arg::Output(_))
}

/// The bindings of all: memory that one writes is bound once. `None` where two see it as different types.
fn bindings(all: &[&Small]) -> Option<Vec<Binding>> {
    let mut bindings: Vec<Binding> = Vec::new();
    for small in all {
        for ((&arg, &memory), element) in
            small.dispatch.args.iter().zip(&small.memory).zip(&small.member.elements)
        {
            let same = |b: &&mut Binding| b.memory == memory && b.element == *element;
            if let Some(binding) = bindings.iter_mut().find(same) {
                if is_written(arg) {
                    binding.arg = arg;
                }
                continue;
            }
            bindings.push(Binding { arg, memory, element: element.clone() });
        }
    }
    let is_alone = |b: &Binding| bindings.iter().filter(|other| other.memory == b.memory).count() == 1;
    bindings
        .iter()
        .all(|b| {
            !is_written(b.arg) && !bindings.iter().any(|o| o.memory == b.memory && is_written(o.arg))
                || is_alone(b)
        })
        .then_some(bindings)
}

fn launch(all: &[Small], bindings: &[Binding]) -> Dispatch {
    let position = |memory: &Memory, element: &String| {
        bindings.iter().position(|b| b.memory == *memory && b.element == *element).unwrap_or_default()
    };
    let members: Vec<joined::Part<'_>> = all
        .iter()
        .map(|s| joined::Part {
            text: &s.dispatch.kernel.text,
            member: &s.member,
            bindings: s.memory.iter().zip(&s.member.elements).map(|(m, e)| position(m, e)).collect(),
            follows: s.follows,
        })
        .collect();
    let written: Vec<bool> = bindings.iter().map(|b| is_written(b.arg)).collect();
    let text = joined::text(&members, &written);
    let mut uniform: Vec<u8> = Vec::new();
    for small in all {
        uniform.extend(&small.dispatch.uniform);
        uniform.resize(uniform.len().next_multiple_of(16), 0);
    }
    // Which bindings are shared is part of the text.
    let letter = |b: &usize| b.to_string();
    let key = |(s, m): (&Small, &joined::Part<'_>)| {
        let shared: Vec<String> = m.bindings.iter().map(letter).collect();
        format!("{}({}){}", s.dispatch.kernel.key, shared.join(","), if m.follows { "|" } else { "" })
    };
    let key = all.iter().zip(&members).map(key).collect::<Vec<_>>().join(";");
    let written: String = written.iter().map(|w| if *w { 'w' } else { 'r' }).collect();
    let kernel = Kernel {
        key: format!("joined.{key}.{written}"),
        entry: joined::ENTRY.into(),
        text: text.into(),
        trusted: true,
    };
    let args = bindings.iter().map(|b| b.arg).collect();
    let iterations = all.iter().filter_map(|s| s.dispatch.most_loop_iterations()).sum();
    Dispatch::with_bytes(kernel, args, uniform, [1, 1, 1]).loop_iterations(iterations)
}
