//! Slots by lifetime. Tasks run in a fixed order, so all lifetimes are known before the first slot is given out:
//! several greedy packings are tried, and the one that needs the fewest bytes is taken. A slot is one
//! buffer. Values that live at the same time are parts of one slot only if no task writes one of them and reads the
//! other, or writes both in several launches, since wgpu refuses a buffer that one launch reads and writes.

use super::{Location, Plan, Slot};
use crate::graph::ValueId;
use crate::rng::Rng;
use crate::shape::DType;

/// Lives whose spans are compared, at most: that takes time quadratic in them.
const MOST_COMPARED: usize = 4096;

/// What WebGPU asks of the offset of a storage binding, at most.
const ALIGNMENT: usize = 256;

/// Orders that are tried by chance where the best so far is not near what is live, and comparisons of two lives that
/// all of them may take: a tenth of a second or two.
const ATTEMPTS: usize = 200;
const COMPARISONS: usize = 20_000_000;

/// Whose lifetime it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    Value(ValueId),
    /// A scratch buffer of a task.
    Scratch(usize),
}

/// Memory that is wanted from the task `first`, which writes it, to the task `last`, both included.
#[derive(Debug, Clone)]
struct Life {
    owner: Owner,
    first: usize,
    last: usize,
    bytes: usize,
    dtype: DType,
    /// The tasks that read it, in ascending order.
    readers: Vec<usize>,
    /// Whether its task is one launch, so that what that writes may be parts of one buffer.
    is_of_one_launch: bool,
}

impl Life {
    fn overlaps(&self, other: &Life) -> bool {
        self.first <= other.last && other.first <= self.last
    }

    /// Whether a task that writes it also reads the other, or writes it in a launch that may be another: then they cannot
    /// be parts of one buffer.
    fn is_written_beside(&self, other: &Life) -> bool {
        let is_read = other.readers.binary_search(&self.first).is_ok() && self.first != other.first;
        is_read || self.first == other.first && !self.is_of_one_launch
    }
}

/// The bytes of a slot that are taken while `life` lasts, ascending; `None` where it cannot lie in that slot.
fn ranges(lives: &[Life], held: &[Held], life: &Life) -> Option<Vec<(usize, usize)>> {
    let mut ranges = Vec::new();
    for h in held {
        let other = &lives[h.life];
        if other.overlaps(life) {
            if life.is_written_beside(other) || other.is_written_beside(life) {
                return None;
            }
            ranges.push((h.offset, h.offset + other.bytes));
        }
    }
    ranges.sort_unstable();
    Some(ranges)
}

/// A life in a slot.
#[derive(Debug, Clone, Copy)]
struct Held {
    life: usize,
    offset: usize,
}

/// Slots given to lives: the slots, and by life its slot and offset.
struct Colouring {
    slots: Vec<Slot>,
    chosen: Vec<(usize, usize)>,
}

impl Colouring {
    fn bytes(&self) -> usize {
        self.slots.iter().map(|s| s.bytes).sum()
    }

    fn smaller(self, other: Self) -> Self {
        if other.bytes() < self.bytes() { other } else { self }
    }

    /// Gives the lives slots in this order. Each takes the tightest gap of a slot, else lets a slot grow, at most to the
    /// largest life, else takes a new one.
    fn greedy(lives: &[Life], order: &[usize]) -> Self {
        let most = lives.iter().map(|l| l.bytes).max().unwrap_or(0);
        let mut made = Colouring { slots: Vec::new(), chosen: vec![(0, 0); lives.len()] };
        let mut held: Vec<Vec<Held>> = Vec::new();
        for &i in order {
            let life = &lives[i];
            // By bytes that the slot grows, then by bytes of the gap that stay free.
            let mut best = (life.bytes, 0, made.slots.len(), 0);
            for (s, slot) in made.slots.iter().enumerate().filter(|(_, s)| s.dtype == life.dtype) {
                let Some(ranges) = ranges(lives, &held[s], life) else { continue };
                let mut from = 0;
                for (begin, end) in ranges.into_iter().chain([(usize::MAX, 0)]) {
                    let to = from + life.bytes;
                    if to <= begin {
                        let growth = to.saturating_sub(slot.bytes);
                        let free = begin.min(slot.bytes.max(to)) - to;
                        if to <= slot.bytes.max(most) && (growth, free) < (best.0, best.1) {
                            best = (growth, free, s, from);
                        }
                    }
                    from = from.max(end.next_multiple_of(ALIGNMENT));
                }
            }
            let (_, _, s, offset) = best;
            if s == made.slots.len() {
                made.slots.push(Slot { bytes: 0, dtype: life.dtype });
                held.push(Vec::new());
            }
            made.slots[s].bytes = made.slots[s].bytes.max(offset + life.bytes);
            held[s].push(Held { life: i, offset });
            made.chosen[i] = (s, offset);
        }
        made
    }

    /// As [`Colouring::greedy`] in the order of the tasks, which is that of the lives: what ends is handed on, so that
    /// no spans need to be compared.
    fn in_turn(lives: &[Life], tasks: usize) -> Self {
        let mut made = Colouring { slots: Vec::new(), chosen: vec![(0, 0); lives.len()] };
        let mut ending: Vec<Vec<usize>> = vec![Vec::new(); tasks];
        let (mut free, mut next): (Vec<usize>, usize) = (Vec::new(), 0);
        for (i, life) in lives.iter().enumerate() {
            for ended in ending[next..life.first].iter_mut() {
                free.append(ended);
            }
            next = life.first;
            let fits = |&s: &usize| made.slots[free[s]].dtype == life.dtype;
            let size = |&s: &usize| made.slots[free[s]].bytes;
            let tightest = (0..free.len()).filter(fits).filter(|s| size(s) >= life.bytes).min_by_key(size);
            let slot = match tightest.or_else(|| (0..free.len()).filter(fits).max_by_key(size)) {
                Some(at) => free.swap_remove(at),
                None => {
                    made.slots.push(Slot { bytes: 0, dtype: life.dtype });
                    made.slots.len() - 1
                }
            };
            made.slots[slot].bytes = made.slots[slot].bytes.max(life.bytes);
            made.chosen[i] = (slot, 0);
            if let Some(ended) = ending.get_mut(life.last) {
                ended.push(slot);
            }
        }
        made
    }

    /// The best of several orders.
    fn best(lives: &[Life], tasks: usize, least: usize) -> Self {
        let first = Colouring::in_turn(lives, tasks);
        if first.bytes() * 20 <= least * 21 || lives.len() > MOST_COMPARED {
            return first;
        }
        let by = |key: &dyn Fn(&Life) -> (usize, usize)| {
            let mut order: Vec<usize> = (0..lives.len()).collect();
            order.sort_by_key(|&i| std::cmp::Reverse(key(&lives[i])));
            Colouring::greedy(lives, &order)
        };
        let length = |l: &Life| l.last.min(tasks) - l.first + 1;
        let others = [
            by(&|l| (l.bytes, length(l))),
            by(&|l| (l.bytes, tasks - l.first)),
            by(&|l| (l.bytes * length(l), l.bytes)),
            by(&|l| (length(l), l.bytes)),
        ];
        let mut best = others.into_iter().fold(first, Colouring::smaller);
        // By size, but not quite.
        let mut rng = Rng::new(0, "slots");
        for attempt in 0..ATTEMPTS.min(COMPARISONS / (lives.len() * lives.len()).max(1)) {
            if best.bytes() * 5 <= least * 6 {
                break;
            }
            let spread = 0.5 * (1 + attempt % 8) as f64;
            let size = |l: &Life| (l.bytes as f64).log2();
            let keys: Vec<f64> = lives.iter().map(|l| size(l) + spread * rng.uniform()).collect();
            let mut order: Vec<usize> = (0..lives.len()).collect();
            order.sort_by(|&a, &b| keys[b].total_cmp(&keys[a]));
            best = best.smaller(Colouring::greedy(lives, &order));
        }
        best
    }
}

/// Gives every value that a task makes a slot, and every task its scratch. Where the slots are `typed`, values of
/// different types have different ones.
pub(super) fn assign(plan: &mut Plan, roots: &[ValueId], typed: bool) {
    let lives = lives(plan, roots, typed);
    plan.live_bytes = live(&lives, plan.tasks.len()).into_iter().max().unwrap_or(0);
    let Colouring { slots, chosen } = Colouring::best(&lives, plan.tasks.len(), plan.live_bytes);
    for (life, (slot, offset)) in lives.iter().zip(chosen) {
        match life.owner {
            Owner::Value(v) => plan.locations[v as usize] = Some(Location::Slot { slot, offset }),
            Owner::Scratch(task) => plan.tasks[task].scratch.push((slot, offset)),
        }
    }
    plan.slots = slots;
}

/// When the values of the tasks and their scratch are wanted, in the order of the tasks.
fn lives(plan: &Plan, roots: &[ValueId], typed: bool) -> Vec<Life> {
    let readers = readers(plan, roots);
    let mut is_output = vec![false; plan.recording.values.len()];
    plan.recording.outputs.iter().for_each(|o| is_output[roots[o.value as usize] as usize] = true);
    let mut lives = Vec::new();
    for (t, task) in plan.tasks.iter().enumerate() {
        let is_of_one_launch = task.program.dispatches.len() == 1;
        for v in plan.outputs_of(task) {
            if plan.locations[v as usize].is_some() {
                continue;
            }
            let ty = plan.recording.values[v as usize].ty;
            let of_value = readers[v as usize].clone();
            // The host reads outputs after the run.
            let last = if is_output[v as usize] { usize::MAX } else { of_value.last().copied().unwrap_or(t) };
            let dtype = if typed { ty.dtype } else { DType::F32 };
            let (owner, bytes) = (Owner::Value(v), ty.bytes());
            lives.push(Life { owner, first: t, last, bytes, dtype, readers: of_value, is_of_one_launch });
        }
        for bytes in task.program.scratch.iter().copied() {
            let bytes = bytes.next_multiple_of(16).max(16);
            let (owner, dtype, readers) = (Owner::Scratch(t), DType::F32, Vec::new());
            lives.push(Life { owner, first: t, last: t, bytes, dtype, readers, is_of_one_launch });
        }
    }
    lives
}

/// The bytes that are live while each task runs, scratch left out.
pub(super) fn profile(plan: &Plan, roots: &[ValueId]) -> Vec<usize> {
    live(&lives(plan, roots, false), plan.tasks.len())
}

/// The bytes that are wanted at once while each task runs.
fn live(lives: &[Life], tasks: usize) -> Vec<usize> {
    let mut live = vec![0; tasks];
    for life in lives {
        let last = life.last.min(tasks - 1);
        live[life.first..=last].iter_mut().for_each(|sum| *sum += life.bytes);
    }
    live
}

/// The tasks that read each value, by its root.
fn readers(plan: &Plan, roots: &[ValueId]) -> Vec<Vec<usize>> {
    let mut readers = vec![Vec::new(); plan.recording.values.len()];
    for (t, task) in plan.tasks.iter().enumerate() {
        for i in plan.inputs_of(task) {
            let of_value: &mut Vec<usize> = &mut readers[roots[i as usize] as usize];
            if of_value.last() != Some(&t) {
                of_value.push(t);
            }
        }
    }
    readers
}
