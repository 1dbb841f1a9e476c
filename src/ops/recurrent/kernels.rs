//! The launches: one for each time.

use minijinja::context;

use super::grad::RecurrentGrad;
use super::{CellKind, Extents, Recurrent, Walk};
use crate::error::{Error, Result};
use crate::ops::text::{Binding, args, floats, listed, rendered};
use crate::ops::{AdapterClass, Arg, Dispatch, Kernel, KernelContext, Program, Uniform, uniform};

/// How a time is shared among invocations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// A unit of a row each.
    Plain,
    /// Register tiles of so many rows.
    Tile { rows: usize, broadcast: bool },
    /// Blocks in workgroup memory.
    Block,
}

impl Form {
    fn of(e: Extents, class: AdapterClass) -> Self {
        if !e.hidden.is_multiple_of(4) {
            return Form::Plain;
        }
        // The sums of 32 rows are as many as those of a product's tile. Without a broadcast every row is a load.
        let rows = |most: usize| e.batch.next_power_of_two().clamp(8, most);
        match class {
            AdapterClass::Gpu => Form::Block,
            AdapterClass::Software => Form::Tile { rows: 8, broadcast: false },
            AdapterClass::SoftwareLanes8 => Form::Tile { rows: rows(32), broadcast: true },
        }
    }

    fn file(self) -> &'static str {
        match self {
            Form::Plain => "recurrent",
            Form::Tile { .. } => "software/recurrent_tile",
            Form::Block => "gpu/recurrent_block",
        }
    }

    fn name(self) -> String {
        match self {
            Form::Plain => "plain".into(),
            Form::Tile { rows, broadcast } => format!("tile{rows}{}", if broadcast { "b" } else { "" }),
            Form::Block => "block".into(),
        }
    }

    fn is_plain(self) -> bool {
        self == Form::Plain
    }

    fn workgroups(self, e: Extents, is_backward: bool) -> usize {
        match self {
            Form::Plain => (e.batch * e.hidden).div_ceil(64),
            Form::Tile { rows, .. } => {
                e.batch.div_ceil(rows) * e.hidden.div_ceil(if is_backward { 32 } else { 8 })
            }
            Form::Block => e.batch.div_ceil(16) * e.hidden.div_ceil(if is_backward { 16 } else { 8 }),
        }
    }

    /// Loop iterations of an invocation, for an extent of k.
    fn loop_iterations(self, k: usize) -> usize {
        match self {
            Form::Plain => k,
            // Blocks of rows, and the rows of each.
            Form::Tile { rows, .. } => k.div_ceil(4) + rows / 8 + rows,
            // Eight vectors a step, and the lines of the weights.
            Form::Block => k.div_ceil(32) * (1 + 8 + 2),
        }
    }
}

/// What differs among the launches of an op.
#[derive(Debug, Clone, Copy)]
struct Variant {
    form: Form,
    cell: CellKind,
    is_backward: bool,
    is_first: bool,
    is_last: bool,
    has_lengths: bool,
    has_dcells: bool,
}

impl Variant {
    /// Whether a state is carried past the product: of a row whose sequence has ended, and by a GRU's z.
    fn carries(self) -> bool {
        self.has_lengths || self.cell == CellKind::Gru
    }

    fn kernel(self, bindings: &[Binding]) -> Result<Kernel> {
        let Variant { form, cell, is_backward, is_first, is_last, has_lengths, has_dcells } = self;
        let direction = if is_backward { "backward" } else { "forward" };
        let entry = format!("recurrent_{direction}_{}", cell.name());
        let named = |is: bool, name: &'static str| if is { name } else { "" };
        let key = format!(
            "{entry}.{}{}{}{}{}",
            form.name(),
            named(is_first, ".first"),
            named(is_last, ".last"),
            named(has_lengths, ".lengths"),
            named(has_dcells, ".dcells"),
        );
        let (rows, broadcast) = match form {
            Form::Tile { rows, broadcast } => (rows, broadcast),
            Form::Plain | Form::Block => (0, false),
        };
        let variant = context! {
            entry => entry.as_str(), bindings => listed(bindings), plain => form.is_plain(), rows, broadcast,
            cell => cell.name(), gates => cell.gates(), keeps => cell.keeps_gates(), backward => is_backward,
            first => is_first, last => is_last, lengths => has_lengths, dcells => has_dcells, carries => self.carries(),
            wide => if is_backward && !form.is_plain() { 4 } else { 1 },
        };
        rendered(form.file(), key, &entry, variant, None)
    }

    /// The kernel, which several times may run.
    fn launch(self, e: Extents, bindings: &[Binding]) -> Result<Launch> {
        let k = if self.is_backward { e.gates * e.hidden } else { e.hidden };
        Ok(Launch {
            kernel: self.kernel(bindings)?,
            workgroups: self.form.workgroups(e, self.is_backward),
            iterations: if self.is_first { 0 } else { self.form.loop_iterations(k) },
        })
    }
}

/// The uniform of number `step` of the walk, where number `later` comes after it.
fn uniform(walk: Walk, e: Extents, step: usize, later: usize) -> Uniform {
    let [row_stride, time_stride] = if walk.batch_first { [e.times, 1] } else { [1, e.batch] };
    let [time, later] = [step, later].map(|step| walk.time(e, step.min(e.times - 1)));
    uniform! { batch: e.batch, hidden: e.hidden, step, time, row_stride, time_stride, later }
}

struct Launch {
    kernel: Kernel,
    workgroups: usize,
    iterations: usize,
}

impl Launch {
    fn at(&self, bindings: &[Binding], uniform: &Uniform, ctx: &KernelContext<'_>) -> Result<Dispatch> {
        let launch = ctx.launch(self.kernel.clone(), args(bindings), uniform, self.workgroups)?;
        Ok(launch.loop_iterations(self.iterations))
    }
}

impl Recurrent {
    pub(super) fn program(&self, ctx: &KernelContext<'_>) -> Result<Program> {
        let walk = self.walk;
        let e = walk.extents(&ctx.inputs[0].shape).map_err(Error::Invalid)?;
        let size = e.batch * e.hidden;
        let mut dispatches = Vec::new();
        if let (true, Some(at)) = (walk.cell.has_cell(), self.places().initial) {
            // Where c is read at every time.
            let args = [Arg::Input(at + 1), Arg::Output(1)];
            dispatches.push(ctx.launch_over("recurrent_begin", args, &uniform! { size }, size)?);
        }
        let begin = usize::from(!walk.has_initial);
        for (is_first, steps) in [(true, 0..begin), (false, begin..e.times)] {
            if steps.is_empty() {
                continue;
            }
            let variant = Variant {
                // Without a product there is nothing to share.
                form: if is_first { Form::Plain } else { Form::of(e, ctx.caps.class) },
                cell: walk.cell,
                is_backward: false,
                is_first,
                is_last: false,
                has_lengths: walk.has_lengths,
                has_dcells: false,
            };
            let launch = variant.launch(e, &self.bindings(variant, steps.start))?;
            for step in steps {
                let bindings = self.bindings(variant, step);
                dispatches.push(launch.at(&bindings, &uniform(walk, e, step, step + 1), ctx)?);
            }
        }
        Ok(Program::new(dispatches, vec![4 * size; 2]))
    }

    fn bindings(&self, Variant { form, is_first, .. }: Variant, step: usize) -> Vec<Binding> {
        let (walk, places) = (self.walk, self.places());
        let vectors = floats(!form.is_plain());
        let mut all = vec![Binding::new("x", "f32", Arg::Input(0))];
        if !is_first {
            all.push(Binding::new("weight", vectors, Arg::Input(1)));
        }
        all.extend(places.bias.map(|at| Binding::new("bias", "f32", Arg::Input(at))));
        all.extend(places.lengths.map(|at| Binding::new("lengths", "u32", Arg::Input(at))));
        if !is_first {
            // The state after a time lies in one of two places, and in the other after the next.
            let before = match places.initial {
                Some(at) if step == 0 => Arg::Input(at),
                _ => Arg::ScratchRead((step + 1) % 2),
            };
            all.push(Binding::new("state", vectors, before));
        }
        all.push(Binding::new("h", "f32", Arg::Output(0)));
        all.push(Binding::new("next", "f32", Arg::Scratch(step % 2)));
        if walk.cell.has_cell() {
            all.push(Binding::new("cells", "f32", Arg::Output(1)));
        }
        if walk.cell.keeps_gates() {
            let kept = 1 + usize::from(walk.cell.has_cell());
            all.push(Binding::new("kept", "vec4<f32>", Arg::Output(kept)));
        }
        all
    }
}

impl RecurrentGrad {
    pub(super) fn program(&self, ctx: &KernelContext<'_>) -> Result<Program> {
        let walk = self.walk;
        let e = self.extents(|i| ctx.inputs[i].shape).map_err(Error::Invalid)?;
        let variant = |is_first: bool, is_last: bool| Variant {
            form: if is_first { Form::Plain } else { Form::of(e, ctx.caps.class) },
            cell: walk.cell,
            is_backward: true,
            is_first,
            is_last,
            has_lengths: walk.has_lengths,
            has_dcells: self.has_dcells,
        };
        let mut dispatches = Vec::new();
        for (is_first, steps) in [(true, e.times - 1..e.times), (false, 0..e.times - 1)] {
            if steps.is_empty() {
                continue;
            }
            let bindings = self.bindings(variant(is_first, false));
            let launch = variant(is_first, false).launch(e, &bindings)?;
            for step in steps.rev() {
                dispatches.push(launch.at(&bindings, &uniform(walk, e, step, step + 1), ctx)?);
            }
        }
        if walk.has_initial {
            let bindings = self.bindings(variant(false, true));
            let launch = variant(false, true).launch(e, &bindings)?;
            dispatches.push(launch.at(&bindings, &uniform(walk, e, 0, 0), ctx)?);
        }
        Ok(Program::new(dispatches, vec![2 * 4 * e.batch * e.hidden]))
    }

    fn bindings(&self, variant: Variant) -> Vec<Binding> {
        let (places, is_gru) = (self.places(), variant.cell == CellKind::Gru);
        let has_cell = variant.cell.has_cell();
        let vectors = floats(!variant.form.is_plain());
        let mut all = Vec::new();
        if !variant.is_first {
            all.push(Binding::new("weight", vectors, Arg::Input(0)));
        }
        if !variant.is_last {
            all.extend(places.gates.map(|at| Binding::new("kept", "vec4<f32>", Arg::Input(at))));
            all.push(Binding::new("states", vectors, Arg::Input(places.states)));
            all.push(Binding::new("dh", vectors, Arg::Input(places.dh)));
            all.extend(places.lengths.map(|at| Binding::new("lengths", "u32", Arg::Input(at))));
        }
        all.extend(places.dcells.map(|at| Binding::new("dcells", vectors, Arg::Input(at))));
        if !(variant.is_last && is_gru) {
            all.push(Binding::new("dx", vectors, Arg::Output(0)));
        }
        if is_gru {
            all.push(Binding::new("du", vectors, Arg::Output(1)));
        }
        if has_cell || variant.carries() {
            all.push(Binding::new("carry", vectors, Arg::Scratch(0)));
        }
        if variant.is_last {
            let first = 1 + usize::from(is_gru);
            all.push(Binding::new("dfirst", vectors, Arg::Output(first)));
            if has_cell {
                all.push(Binding::new("dfirst_cell", vectors, Arg::Output(first + 1)));
            }
        }
        all
    }
}
