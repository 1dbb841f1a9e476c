//! Which kernel reduces, and in how many pieces.

use super::{Kind, View};
use crate::error::Result;
use crate::ops::elementwise::{Around, Functions, Walked};
use crate::ops::{AdapterClass, Arg, Caps, Chain, Dispatch, KernelContext, uniform};

/// Invocations of a workgroup.
const WORKGROUP: usize = 64;

/// One launch: which kernel, and in how many pieces each reduction is cut.
#[derive(Debug)]
pub(super) struct Plan {
    view: View,
    entry: &'static str,
    /// Invocations per piece that share the work, and results each of them makes.
    lanes: usize,
    width: usize,
    pub(super) chunks: usize,
    length: usize,
}

impl Plan {
    /// Every reduction in one piece.
    pub(super) fn whole(class: AdapterClass, view: &View) -> Self {
        let View { outer, extent, inner } = *view;
        // A workgroup per row where rows are long, or so few that they leave a GPU idle.
        let in_workgroup =
            class == AdapterClass::Gpu && inner == 1 && (extent >= 256 || extent >= 32 && outer <= 4096);
        // Whole cache lines, where there are lanes enough for them.
        let lines = class != AdapterClass::Gpu && inner % 16 == 0 && outer * inner >= 256;
        let (entry, lanes, width) = if in_workgroup && extent % 4 == 0 {
            ("reduce_rows4_workgroup", WORKGROUP, 1)
        } else if in_workgroup {
            ("reduce_rows_workgroup", WORKGROUP, 1)
        } else if lines {
            ("reduce_columns16", 1, 16)
        } else if inner % 4 == 0 {
            ("reduce_columns4", 1, 4)
        } else if inner == 1 && extent % 4 == 0 {
            ("reduce_rows4", 1, 1)
        } else {
            ("reduce_any", 1, 1)
        };
        Plan { view: *view, entry, lanes, width, chunks: 1, length: extent.max(1) }
    }

    /// Pieces where there is too little to do side by side and much one after the other: a second launch
    /// costs less than it saves.
    pub(super) fn new(caps: &Caps, view: &View) -> Self {
        let class = caps.class;
        let mut plan = Plan::whole(class, view);
        let side_by_side = view.outer * view.inner * plan.lanes / plan.width;
        // Loads that follow each other in one invocation.
        let each = plan.lanes * plan.terms();
        let steps = view.extent / each;
        let (wanted, long, least) = match class {
            AdapterClass::Gpu => (32_768, 64, 16),
            // A step takes 2 ns there, a launch 25 us.
            AdapterClass::Software | AdapterClass::SoftwareLanes8 => (256, 2048, 64),
        };
        // So many that no invocation takes more iterations than it may, some of which a workgroup needs at the end.
        let needed = caps.pieces(
            view.extent,
            each * (caps.max_loop_iterations as usize).saturating_sub(plan.loop_iterations(0)),
        );
        if steps >= long && side_by_side < wanted || needed > 1 {
            let chunks = (wanted / side_by_side.max(1)).min(steps / least).max(needed);
            // Whole vectors to each piece.
            plan.length = view.extent.div_ceil(chunks).next_multiple_of(plan.terms());
            plan.chunks = view.extent.div_ceil(plan.length);
        }
        plan
    }

    /// Terms of a row that an invocation reads at once.
    fn terms(&self) -> usize {
        if matches!(self.entry, "reduce_rows4" | "reduce_rows4_workgroup") { 4 } else { 1 }
    }

    /// Loop iterations for a piece of `length`, at most.
    fn loop_iterations(&self, length: usize) -> usize {
        length.div_ceil(self.lanes * self.terms())
            + if self.lanes > 1 { WORKGROUP.ilog2() as usize } else { 0 }
    }

    /// How the kernel walks over its terms.
    pub(super) fn walked(&self) -> Walked {
        let View { outer, extent, inner } = self.view;
        let (extents, vectors) = match self.entry {
            "reduce_columns4" | "reduce_columns16" => (["p.extent", "(p.inner / 4u)"], Some(2)),
            "reduce_rows4" | "reduce_rows4_workgroup" => (["(p.extent / 4u)", "p.inner"], Some(1)),
            _ => (["p.extent", "p.inner"], None),
        };
        Walked { dims: [outer, extent, inner], extents, vectors }
    }

    /// Whether computing the terms where they are read is no slower than writing them first.
    pub(super) fn suits(&self, chain: &Chain, class: AdapterClass) -> bool {
        // Single elements cost a software adapter twice what they cost in vectors, as the formulas alone read them: of
        // four inputs, a tenth is left of what is saved.
        self.walked().vectors.is_some() || class == AdapterClass::Gpu || chain.inputs.len() <= 4
    }

    /// A launch from `from` to `to`. One that reads the op's input has the prologue, one that writes its output the epilogue.
    pub(super) fn launch(
        &self,
        reduce: (Kind, f32),
        (from, to): (Arg, Arg),
        ctx: &KernelContext<'_>,
    ) -> Result<Dispatch> {
        let View { outer, extent, inner } = self.view;
        let params = uniform! {
            outer, extent, inner, chunks: self.chunks, length: self.length, scale: reduce.1,
        };
        let invocations = outer * self.chunks * inner / self.width * self.lanes;
        let workgroup = if self.width == 16 { 8 } else { WORKGROUP };
        let prologue = ctx.fusion.prologue.map(|(_, chain)| chain).filter(|_| from == Arg::Input(0));
        let epilogue = ctx.fusion.epilogue.filter(|_| to == Arg::Output(0));
        let walked = self.walked();
        let maxima = self.maxima();
        let around = Around {
            prologue: prologue.map(|c| (c, &walked)),
            epilogue: epilogue.map(|c| (c, self.width > 1)),
            functions: (reduce.0 == Kind::Max).then_some(&maxima),
        };
        let mut args = if prologue.is_none() { vec![from, to] } else { vec![to] };
        args.extend(prologue.into_iter().flat_map(|chain| chain.args(ctx.inputs.len())));
        args.extend(epilogue.map(|_| ctx.epilogue_args()).unwrap_or_default());
        let launch =
            ctx.launch(around.kernel(self.entry)?, args, &params, invocations.div_ceil(workgroup))?;
        Ok(launch.loop_iterations(self.loop_iterations(self.length)))
    }

    /// What kernels of maxima put terms together by.
    fn maxima(&self) -> Functions {
        let one = ("combine", "fn combine(a: f32, b: f32) -> f32 { return larger(a, b); }\n");
        let four =
            ("combine4", "fn combine4(a: vec4<f32>, b: vec4<f32>) -> vec4<f32> { return larger4(a, b); }\n");
        let used = match self.entry {
            "reduce_columns4" | "reduce_columns16" => &[four][..],
            "reduce_rows4" | "reduce_rows4_workgroup" => &[one, four],
            _ => &[one],
        };
        let start = ("neutral", "fn neutral() -> f32 { return minus_infinity(); }\n");
        Functions::new("max", [&[start], used].concat())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reductions_are_cut_in_pieces_only_where_it_helps() {
        let chunks = |class, outer, extent, inner| {
            let plan = Plan::new(&Caps::default_of(class), &View { outer, extent, inner });
            assert!(plan.chunks * plan.length >= extent && (plan.chunks - 1) * plan.length < extent);
            (plan.entry, plan.chunks)
        };
        let (gpu, software) = (AdapterClass::Gpu, AdapterClass::Software);
        assert_eq!(chunks(gpu, 1, 64, 1), ("reduce_rows4_workgroup", 1));
        assert_eq!(chunks(gpu, 1, 66, 1), ("reduce_rows_workgroup", 1));
        assert_eq!(chunks(gpu, 100_000, 32, 1), ("reduce_rows4", 1));
        assert_eq!(chunks(software, 64, 64, 128), ("reduce_columns16", 1));
        assert_eq!(chunks(gpu, 64, 32, 128), ("reduce_columns4", 1));
        assert_eq!(chunks(software, 64, 64, 12), ("reduce_columns4", 1));
        // Too few lanes with 16 columns each.
        assert_eq!(chunks(software, 1, 64, 128), ("reduce_columns4", 1));
        assert_eq!(chunks(software, 1, 100, 1), ("reduce_rows4", 1));
        assert_eq!(chunks(software, 4, 33, 3), ("reduce_any", 1));
        for class in [gpu, software] {
            assert!(chunks(class, 1, 1 << 20, 1).1 > 1);
            assert!(chunks(class, 1, 1 << 16, 8).1 > 1);
        }
        assert_eq!(chunks(software, 1, 1 << 20, 1).0, "reduce_rows4");
    }
}
