//! Slots by lifetime: a greedy colouring in execution order, best fit first.

use super::{Location, Plan, Slot};
use crate::graph::ValueId;
use crate::shape::DType;

struct Pool {
    slots: Vec<Slot>,
    free: Vec<usize>,
}

impl Pool {
    /// A slot of at least `bytes` for `dtype`: the tightest free one, else the largest free one grown,
    /// else a new one.
    fn take(&mut self, bytes: usize, dtype: DType) -> usize {
        let fits = |s: &&usize| self.slots[**s].dtype == dtype;
        let tightest = self.free.iter().filter(fits).filter(|s| self.slots[**s].bytes >= bytes);
        let chosen = tightest.min_by_key(|s| self.slots[**s].bytes).copied();
        let chosen =
            chosen.or_else(|| self.free.iter().filter(fits).max_by_key(|s| self.slots[**s].bytes).copied());
        match chosen {
            Some(slot) => {
                self.free.retain(|s| *s != slot);
                self.slots[slot].bytes = self.slots[slot].bytes.max(bytes);
                slot
            }
            None => {
                self.slots.push(Slot { bytes, dtype });
                self.slots.len() - 1
            }
        }
    }
}

/// Gives every value that a task makes a slot, and every task its scratch.
pub(super) fn assign(plan: &mut Plan, roots: &[ValueId], scratch: impl Fn(usize) -> Vec<usize>) {
    let last = last_uses(plan, roots);
    let mut pool = Pool { slots: Vec::new(), free: Vec::new() };
    let mut live = 0usize;
    let is_output =
        |plan: &Plan, v: ValueId| plan.recording.outputs.iter().any(|o| roots[o.value as usize] == v);
    for t in 0..plan.tasks.len() {
        let nodes = plan.tasks[t].members.clone();
        let outputs: Vec<ValueId> =
            nodes.iter().flat_map(|&n| plan.recording.nodes[n].outputs.clone()).collect();
        let mut dead = Vec::new();
        let mut unused = 0;
        for v in outputs {
            if plan.locations[v as usize].is_some() {
                continue;
            }
            let ty = plan.recording.values[v as usize].ty;
            let slot = if is_output(plan, v) {
                // Read by the host between runs: nobody else's.
                pool.slots.push(Slot { bytes: ty.bytes(), dtype: ty.dtype });
                pool.slots.len() - 1
            } else {
                live += ty.bytes();
                pool.take(ty.bytes(), ty.dtype)
            };
            plan.locations[v as usize] = Some(Location::Slot(slot));
            if last[v as usize].is_none() && !is_output(plan, v) {
                dead.push(slot);
                unused += ty.bytes();
            }
        }
        for &n in &nodes {
            for bytes in scratch(n) {
                let bytes = bytes.next_multiple_of(16).max(16);
                let slot = pool.take(bytes, DType::F32);
                plan.tasks[t].scratch.push(slot);
                live += bytes;
                unused += bytes;
                dead.push(slot);
            }
        }
        plan.live_bytes = plan.live_bytes.max(live);
        live -= unused;
        let mut reads: Vec<ValueId> = nodes
            .iter()
            .flat_map(|&n| plan.recording.nodes[n].inputs.iter().map(|&i| roots[i as usize]))
            .collect();
        reads.sort_unstable();
        reads.dedup();
        for v in reads {
            if let Some(Location::Slot(slot)) = plan.locations[v as usize]
                && last[v as usize] == Some(t)
                && !is_output(plan, v)
            {
                live -= plan.recording.values[v as usize].ty.bytes();
                dead.push(slot);
            }
        }
        pool.free.extend(dead);
    }
    plan.slots = pool.slots;
}

/// The last task that reads each value, by its root.
fn last_uses(plan: &Plan, roots: &[ValueId]) -> Vec<Option<usize>> {
    let mut last = vec![None; plan.recording.values.len()];
    for (t, task) in plan.tasks.iter().enumerate() {
        for &n in &task.members {
            for &i in &plan.recording.nodes[n].inputs {
                last[roots[i as usize] as usize] = Some(t);
            }
        }
    }
    last
}
