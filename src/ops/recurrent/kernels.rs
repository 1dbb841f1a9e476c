//! The launches: one for each time.

use minijinja::{Value, context};

use super::grad::RecurrentGrad;
use super::{CellKind, Extents, Recurrent, Walk};
use crate::error::{Error, Result};
use crate::ops::text::{rendered, vector_type};
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

/// Storage of a launch, in the order of its bindings.
#[derive(Default)]
struct Bindings {
    args: Vec<Arg>,
    described: Vec<Value>,
    key: String,
}

impl Bindings {
    fn add(&mut self, name: &str, ty: &str, arg: Arg) {
        let writes = matches!(arg, Arg::Output(_) | Arg::Scratch(_));
        self.described.push(context! { name, type => ty, writes });
        self.args.push(arg);
        self.key += if writes { "w" } else { "r" };
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
    /// Whether the state past the product is carried on backward.
    fn carries(self) -> bool {
        self.has_lengths || self.cell == CellKind::Gru
    }

    fn kernel(self, bindings: &Bindings) -> Result<Kernel> {
        let Variant { form, cell, is_backward, is_first, is_last, has_lengths, has_dcells } = self;
        let direction = if is_backward { "backward" } else { "forward" };
        let entry = format!("recurrent_{direction}_{}", cell.name());
        let flag = |is: bool, letter: &'static str| if is { letter } else { "" };
        let key = format!(
            "{entry}.{}.{}{}{}{}.{}",
            form.name(),
            flag(is_first, "f"),
            flag(is_last, "l"),
            flag(has_lengths, "n"),
            flag(has_dcells, "c"),
            bindings.key,
        );
        let (rows, broadcast) = match form {
            Form::Tile { rows, broadcast } => (rows, broadcast),
            Form::Plain | Form::Block => (0, false),
        };
        let variant = context! {
            entry => entry.as_str(), bindings => bindings.described.clone(), form => if form.is_plain() { "plain" } else { "" }, rows, broadcast,
            cell => cell.name(), gates => cell.gates(), keeps => cell.keeps_gates(), backward => is_backward,
            first => is_first, last => is_last, lengths => has_lengths, dcells => has_dcells,
            carries => self.carries(), uses_state => self.carries(),
            vectors => !form.is_plain(), wide => if is_backward && !form.is_plain() { 4 } else { 1 },
        };
        rendered(form.file(), key, &entry, variant, None)
    }
}

/// The uniform of a time.
fn uniform(walk: Walk, e: Extents, step: usize) -> Uniform {
    let [row_stride, time_stride] = if walk.batch_first { [e.times, 1] } else { [1, e.batch] };
    let later = walk.time(e, (step + 1).min(e.times - 1));
    uniform! { batch: e.batch, hidden: e.hidden, step, time: walk.time(e, step), row_stride, time_stride, later }
}

/// A kernel that runs at several times, made once.
struct Launch {
    kernel: Kernel,
    workgroups: usize,
    iterations: usize,
}

impl Launch {
    fn at(&self, args: Vec<Arg>, uniform: &Uniform, ctx: &KernelContext<'_>) -> Result<Dispatch> {
        Ok(ctx.launch(self.kernel.clone(), args, uniform, self.workgroups)?.loop_iterations(self.iterations))
    }
}

impl Recurrent {
    pub(super) fn program(&self, ctx: &KernelContext<'_>) -> Result<Program> {
        let walk = self.walk;
        let e = walk.extents(&ctx.inputs[0].shape).map_err(Error::Invalid)?;
        let form = Form::of(e, ctx.caps.class);
        let bytes = 4 * e.batch * e.hidden;
        let mut dispatches = Vec::new();
        if let (true, Some(at)) = (walk.cell.has_cell(), self.places().initial) {
            // Where c is read at every time.
            let size = e.batch * e.hidden;
            let args = [Arg::Input(at + 1), Arg::Output(1)];
            dispatches.push(ctx.launch_over("recurrent_begin", args, &uniform! { size }, size)?);
        }
        let mut kept: Option<Launch> = None;
        for step in 0..e.times {
            let is_first = step == 0 && !walk.has_initial;
            let bindings = self.bindings(form, step, is_first);
            if step <= 1 || kept.is_none() {
                let variant = Variant {
                    form: if is_first { Form::Plain } else { form },
                    cell: walk.cell,
                    is_backward: false,
                    is_first,
                    is_last: false,
                    has_lengths: walk.has_lengths,
                    has_dcells: false,
                };
                kept = Some(Launch {
                    kernel: variant.kernel(&bindings)?,
                    workgroups: variant.form.workgroups(e, false),
                    iterations: if is_first { 0 } else { form.loop_iterations(e.hidden) },
                });
            }
            if let Some(launch) = &kept {
                dispatches.push(launch.at(bindings.args, &uniform(walk, e, step), ctx)?);
            }
        }
        Ok(Program::new(dispatches, vec![bytes; 2]))
    }

    fn bindings(&self, form: Form, step: usize, is_first: bool) -> Bindings {
        let (walk, places) = (self.walk, self.places());
        let vectors = vector_type("f32", if form.is_plain() { 1 } else { 4 });
        let mut all = Bindings::default();
        all.add("x", "f32", Arg::Input(0));
        if !is_first {
            all.add("weight", &vectors, Arg::Input(1));
        }
        if let Some(at) = places.bias {
            all.add("bias", "f32", Arg::Input(at));
        }
        if let Some(at) = places.lengths {
            all.add("lengths", "u32", Arg::Input(at));
        }
        if !is_first {
            // The state after a time lies in one of two places, and in the other after the next.
            let before = match places.initial {
                Some(at) if step == 0 => Arg::Input(at),
                _ => Arg::ScratchRead((step + 1) % 2),
            };
            all.add("state", &vectors, before);
        }
        all.add("h", "f32", Arg::Output(0));
        all.add("next", "f32", Arg::Scratch(step % 2));
        if walk.cell.has_cell() {
            all.add("cells", "f32", Arg::Output(1));
        }
        if walk.cell.keeps_gates() {
            all.add("kept", "vec4<f32>", Arg::Output(1 + usize::from(walk.cell.has_cell())));
        }
        all
    }
}

impl RecurrentGrad {
    pub(super) fn program(&self, ctx: &KernelContext<'_>) -> Result<Program> {
        let walk = self.walk;
        let e = self.extents(|i| ctx.inputs[i].shape).map_err(Error::Invalid)?;
        let form = Form::of(e, ctx.caps.class);
        let mut dispatches = Vec::new();
        let mut kept: Option<Launch> = None;
        for step in (0..e.times).rev() {
            let is_first = step + 1 == e.times;
            // After the first there is one kernel for all.
            if is_first || step + 2 == e.times {
                kept = Some(self.launch(form, e, [is_first, false])?);
            }
            if let Some(launch) = &kept {
                let args = self.bindings(form, [is_first, false]).args;
                dispatches.push(launch.at(args, &uniform(walk, e, step), ctx)?);
            }
        }
        if walk.has_initial {
            let args = self.bindings(form, [false, true]).args;
            let later = uniform! {
                batch: e.batch, hidden: e.hidden, step: 0_usize, time: 0_usize,
            };
            let [row_stride, time_stride] = if walk.batch_first { [e.times, 1] } else { [1, e.batch] };
            let later = later.and(uniform! { row_stride, time_stride, later: walk.time(e, 0) });
            dispatches.push(self.launch(form, e, [false, true])?.at(args, &later, ctx)?);
        }
        Ok(Program::new(dispatches, vec![2 * 4 * e.batch * e.hidden]))
    }

    fn launch(&self, form: Form, e: Extents, [is_first, is_last]: [bool; 2]) -> Result<Launch> {
        let variant = Variant {
            form,
            cell: self.walk.cell,
            is_backward: true,
            is_first,
            is_last,
            has_lengths: self.walk.has_lengths,
            has_dcells: self.has_dcells,
        };
        // Without a product there is nothing to share.
        let variant = Variant { form: if is_first { Form::Plain } else { form }, ..variant };
        Ok(Launch {
            kernel: variant.kernel(&self.bindings(form, [is_first, is_last]))?,
            workgroups: variant.form.workgroups(e, true),
            iterations: if is_first { 0 } else { form.loop_iterations(e.gates * e.hidden) },
        })
    }

    fn bindings(&self, form: Form, [is_first, is_last]: [bool; 2]) -> Bindings {
        let (walk, places) = (self.walk, self.places());
        let (is_gru, has_cell) = (walk.cell == CellKind::Gru, walk.cell.has_cell());
        let vectors = vector_type("f32", if form.is_plain() || is_first { 1 } else { 4 });
        let mut all = Bindings::default();
        if !is_first {
            all.add("weight", &vectors, Arg::Input(0));
        }
        if !is_last {
            if let Some(at) = places.gates {
                all.add("kept", "vec4<f32>", Arg::Input(at));
            }
            all.add("states", &vectors, Arg::Input(places.states));
            all.add("dh", &vectors, Arg::Input(places.dh));
            if let Some(at) = places.lengths {
                all.add("lengths", "u32", Arg::Input(at));
            }
        }
        if let Some(at) = places.dcells {
            all.add("dcells", &vectors, Arg::Input(at));
        }
        if !(is_last && is_gru) {
            all.add("dx", &vectors, Arg::Output(0));
        }
        if is_gru {
            all.add("du", &vectors, Arg::Output(1));
        }
        if has_cell || is_gru || walk.has_lengths {
            all.add("carry", &vectors, Arg::Scratch(0));
        }
        if is_last {
            let first = 1 + usize::from(is_gru);
            all.add("dfirst", &vectors, Arg::Output(first));
            if has_cell {
                all.add("dfirst_cell", &vectors, Arg::Output(first + 1));
            }
        }
        all
    }
}
