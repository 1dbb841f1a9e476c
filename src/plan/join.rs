//! Several launches become one. A GPU needs some microseconds for a launch, whatever it computes, and small steps consist
//! of them.
//!
//! Launches of one workgroup follow each other in one launch, which does the work of all in order: losses and their mean,
//! counts of steps, sums of metrics. On GPUs launches that have nothing to do with each other, and do not fill the device,
//! run side by side in one: the gradients of a layer's weight and of its input, the parts of a concatenation. A launch
//! moves up to one before it, past launches that it has nothing to do with.

mod launch;

use std::collections::BTreeSet;

pub(crate) use launch::label;
use launch::{Texts, bindings, launch};

use super::{Plan, Task};
use crate::graph::{Source, ValueId};
use crate::op::{AdapterClass, Arg, Caps, Dispatch};
use crate::wgsl::joined::{self, Layout, Member, Part};

/// Tasks that a launch moves past at most.
const FAR: usize = 512;

/// Members of a launch at most.
const MOST: usize = 12;

/// Invocations that one workgroup takes over from several, and iterations that it needs for them: less than a launch is
/// worth.
const INVOCATIONS: usize = 256;
const ITERATIONS: usize = 256;

/// Workgroups side by side, at most, of kernels that fill a multiprocessor with few: the largest GPUs run some hundreds of
/// those at once, and several times as many whose invocations know nothing of each other.
const WORKGROUPS: u32 = 512;
const FREE: u32 = 8;

/// Workgroup memory that wgpu's downlevel adapters have, the least that kernels can count on.
const SHARED: usize = 16_352;

/// Bytes that a launch may write for it to move up, so that its results live longer.
const BYTES: usize = 1 << 21;

/// Memory that cannot be told apart: a state in all its versions, or a value and its reshapes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Memory {
    State(usize),
    Value(ValueId),
    /// Of the first node of a task.
    Scratch(usize, usize),
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

/// A launch that can be part of another.
#[derive(Clone)]
struct One {
    dispatch: Dispatch,
    member: Member,
    /// By argument: its memory.
    memory: Vec<Memory>,
    /// Whether it has to wait for those before it in its launch.
    follows: bool,
}

impl One {
    fn of(dispatch: &Dispatch, task: &Task, plan: &Plan, memory: impl Fn(ValueId) -> Memory) -> Option<Self> {
        let [_, 1, 1] = dispatch.grid else { return None };
        let of = |arg: &Arg| match *arg {
            Arg::Input(i) => plan.reads_of(task).nth(i).map(&memory),
            Arg::Output(i) | Arg::OutputRead(i) => plan.outputs_of(task).nth(i).map(&memory),
            Arg::Scratch(i) | Arg::ScratchRead(i) => Some(Memory::Scratch(task.nodes[0], i)),
        };
        let memory = dispatch.args.iter().map(of).collect::<Option<_>>()?;
        let member = Member::of(&dispatch.kernel.text).filter(|_| dispatch.kernel.trusted)?;
        dispatch.most_loop_iterations()?;
        Some(One { dispatch: dispatch.clone(), member, memory, follows: false })
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

    /// Most iterations of an invocation.
    fn iterations(&self, layout: Layout) -> usize {
        let own = self.dispatch.most_loop_iterations().unwrap_or_default();
        let part = self.part(Vec::new());
        match layout {
            Layout::SideBySide => own,
            Layout::InOrder => part.invocations().div_ceil(part.width()) as usize * (1 + own),
        }
    }

    /// How much of a device it fills, in workgroups that nothing runs beside.
    fn weight(&self) -> u32 {
        self.dispatch.grid[0].div_ceil(if self.member.is_free { FREE } else { 1 })
    }

    /// Whether one workgroup can do it as well.
    fn is_small(&self) -> bool {
        let invocations = self.part(Vec::new()).invocations() as usize;
        let is_little = invocations <= INVOCATIONS && self.iterations(Layout::InOrder) <= ITERATIONS;
        self.dispatch.grid[0] == 1 || self.member.is_free && is_little
    }
}

/// A task, or several that are joined, in the making.
struct Group {
    task: Task,
    touched: Touched,
    /// What its results take.
    bytes: usize,
    /// What the members of its launches are; empty where it cannot be joined.
    launches: Vec<Vec<One>>,
    layout: Layout,
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
    let mut tasks = plan.tasks.clone();
    let mut texts = Texts::new();
    let layouts = match caps.class {
        AdapterClass::Gpu => &[Layout::InOrder, Layout::SideBySide][..],
        // llvmpipe runs a launch in no time, and both sides of a branch.
        AdapterClass::Software | AdapterClass::SoftwareLanes8 => &[Layout::InOrder],
    };
    for &layout in layouts {
        let mut groups: Vec<Group> = Vec::new();
        for task in tasks {
            let group = Group::of(plan, task, layout, memory, caps);
            match group.partner(&groups, caps) {
                Some(to) => groups[to].take(plan, group),
                None => groups.push(group),
            }
        }
        tasks = groups.into_iter().map(|group| group.finish(&mut texts)).collect();
    }
    tasks
}

impl Group {
    fn of(plan: &Plan, task: Task, layout: Layout, memory: impl Fn(ValueId) -> Memory, caps: &Caps) -> Self {
        let touched = Touched {
            reads: plan.reads_of(&task).map(&memory).collect(),
            writes: plan.outputs_of(&task).map(&memory).collect(),
        };
        let one = |d: &Dispatch| Some(vec![One::of(d, &task, plan, &memory)?]);
        let launches: Option<Vec<Vec<One>>> = task.program.dispatches.iter().map(one).collect();
        let is_one = |all: &Vec<Vec<One>>| match layout {
            Layout::InOrder => {
                matches!(&all[..], [one] if one[0].is_small()) && task.program.scratch.is_empty()
            }
            Layout::SideBySide => all.iter().all(|one| one[0].weight() <= WORKGROUPS / 2),
        };
        let mut launches = launches.filter(is_one).unwrap_or_default();
        if layout == Layout::SideBySide && task.program.in_any_order {
            launches = side_by_side(launches, caps);
        }
        let bytes = plan.outputs_of(&task).map(|v| plan.bytes(v) as usize).sum();
        Group { task, touched, bytes, launches, layout }
    }

    /// The group that this one can be joined to: the nearest of those that it can move up to.
    fn partner(&self, groups: &[Group], caps: &Caps) -> Option<usize> {
        if self.launches.is_empty() || self.bytes > BYTES {
            return None;
        }
        for at in (groups.len().saturating_sub(FAR)..groups.len()).rev() {
            let follows = self.touched.has_to_follow(&groups[at].touched);
            if (self.layout == Layout::InOrder || !follows) && groups[at].fits(self, caps) {
                return Some(at);
            }
            if follows {
                return None;
            }
        }
        None
    }

    /// Whether another can be joined to it. A state has one writer among them: what the first leaves could not be compared.
    fn fits(&self, other: &Group, caps: &Caps) -> bool {
        if self.launches.is_empty() || !self.touched.writes.is_disjoint(&other.touched.writes) {
            return false;
        }
        self.launches.iter().zip(&other.launches).all(|(own, more)| can_join(own, more, self.layout, caps))
    }

    fn take(&mut self, plan: &Plan, other: Group) {
        let inputs = plan.reads_of(&self.task).count();
        let outputs = plan.outputs_of(&self.task).count();
        let scratch = self.task.program.scratch.len();
        let follows = other.touched.has_to_follow(&self.touched);
        for (at, mut launch) in other.launches.into_iter().enumerate() {
            for one in &mut launch {
                for arg in &mut one.dispatch.args {
                    match arg {
                        Arg::Input(i) => *i += inputs,
                        Arg::Output(i) | Arg::OutputRead(i) => *i += outputs,
                        Arg::Scratch(i) | Arg::ScratchRead(i) => *i += scratch,
                    }
                }
                one.follows = follows;
            }
            match self.launches.get_mut(at) {
                Some(own) => own.append(&mut launch),
                None => self.launches.push(launch),
            }
        }
        self.task.program.in_any_order = false;
        self.task.program.scratch.extend(other.task.program.scratch);
        self.task.nodes.extend(other.task.nodes);
        self.touched.reads.extend(other.touched.reads);
        self.touched.writes.extend(other.touched.writes);
        self.bytes += other.bytes;
    }

    /// The task, with one launch for all members.
    fn finish(mut self, texts: &mut Texts) -> Task {
        let Group { launches, layout, .. } = &self;
        if !launches.is_empty() {
            let dispatch = |all: &Vec<One>| launch(*layout, &all.iter().collect::<Vec<_>>(), texts);
            self.task.program.dispatches = launches.iter().map(dispatch).collect();
        }
        self.task
    }
}

/// Whether one launch can do what two do.
fn can_join(own: &[One], more: &[One], layout: Layout, caps: &Caps) -> bool {
    let all: Vec<&One> = own.iter().chain(more).collect();
    let parts = || all.iter().map(|s| s.part(Vec::new()));
    let width = parts().map(|p| p.width()).max().unwrap_or(1);
    // All invocations of a workgroup come to a member's barriers.
    let is_wide = |s: &&One| s.member.is_free || s.member.workgroup == width;
    let iterations = all.iter().map(|s| s.iterations(layout));
    let (iterations, fits) = match layout {
        Layout::InOrder => (iterations.sum(), true),
        Layout::SideBySide => (
            iterations.max().unwrap_or_default(),
            all.iter().map(|s| s.weight()).sum::<u32>() <= WORKGROUPS
                && parts().map(|p| p.workgroups_of(width)).sum::<u32>() <= caps.max_workgroups,
        ),
    };
    fits && all.len() <= MOST
        && all.iter().all(is_wide)
        && joined::shared_bytes(all.iter().map(|s| &s.member)) <= SHARED
        && caps.allows(iterations)
        && bindings(&all).is_some_and(|b| b.len() <= caps.storage_buffers as usize)
}

/// Launches that have nothing to do with each other, in as few as can be.
fn side_by_side(launches: Vec<Vec<One>>, caps: &Caps) -> Vec<Vec<One>> {
    let mut joined: Vec<Vec<One>> = Vec::new();
    for launch in launches {
        match joined.last_mut() {
            Some(last) if can_join(last, &launch, Layout::SideBySide, caps) => last.extend(launch),
            _ => joined.push(launch),
        }
    }
    joined
}

#[cfg(test)]
#[path = "join_tests.rs"]
mod tests;
