//! Products with at most eight rows, or eight columns, on GPUs, which take as long as the other matrix takes to read. Their text
//! is `shaders/gpu/matmul_thin.wgsl.jinja`.

use minijinja::context;

use super::kernels::Problem;
use super::{Chain, Extents, Form, Kernel, letters};
use crate::error::Result;
use crate::ops::block::{Along, Block};
use crate::ops::split_k::{SplitK, split_k};
use crate::ops::text::{Epilogue, rendered};
use crate::ops::{Arg, Caps, KernelContext, Kernels, Program, uniform};

/// A product as the kernel has it: A is the operand with few rows, B the other one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Thin {
    a: Along,
    b: Along,
    e: Extents,
    /// Whether A and B changed places.
    turned: bool,
}

/// Rows that an invocation computes at most: half the sums of a workgroup then are the 16 KiB of workgroup memory that WebGPU
/// grants everywhere.
const MOST_ROWS: usize = 8;

/// Numbers of B from which on it is worth a kernel of its own. A GPU that reads 3 TB/s reads as many, 4 MiB, in
/// 1.4 µs, while a launch takes some 4 µs whatever it computes.
const WORTH: usize = 1 << 20;

/// Columns of B from which on the places of a workgroup have some.
const LEAST_COLUMNS: usize = 128;

/// Invocations of a workgroup.
const INVOCATIONS: usize = 256;

/// Loop iterations where results are stored: four for each row.
const STORES: usize = 4 * MOST_ROWS;

impl Thin {
    /// How the kernel has a product, whatever its extents; `None` without few rows or columns.
    fn of(form: Form, e: &Extents) -> Option<Self> {
        let along = |is_k: bool| if is_k { Along::K } else { Along::Lines };
        let [a, b] = [along(form != Form::Tn), along(form == Form::Nt)];
        let turned = e.m > MOST_ROWS || e.n < e.m;
        let (a, b, e) = match turned {
            true => (b, a, Extents { m: e.n, n: e.m, ..*e }),
            false => (a, b, *e),
        };
        // A single row lies along k, whichever way it was meant.
        let a = if e.m == 1 { Along::K } else { a };
        (e.m <= MOST_ROWS).then_some(Thin { a, b, e, turned })
    }

    /// The same for the kernels that are asked for, if it is worth it.
    pub(super) fn chosen(kernels: Kernels, form: Form, e: &Extents) -> Option<Self> {
        let thin = Thin::of(form, e)?;
        let Extents { batch, n, k, .. } = thin.e;
        let is_worth = batch * n * k >= WORTH && n >= LEAST_COLUMNS && k >= thin.step();
        match kernels {
            Kernels::Best => is_worth.then_some(thin),
            Kernels::Thin => Some(thin),
            _ => None,
        }
    }

    /// Places of a workgroup, with four columns each, and invocations that share the k of each. Side by side are 32 vectors of
    /// B, 512 bytes.
    fn places(&self) -> [usize; 2] {
        match self.b {
            Along::Lines => [32, INVOCATIONS / 32],
            Along::K => [INVOCATIONS / 32, 32],
        }
    }

    /// Of k, in an iteration of a workgroup's loop.
    fn step(&self) -> usize {
        4 * self.places()[1]
    }

    /// Workgroups for one split of k.
    fn workgroups(&self) -> usize {
        self.e.batch * self.e.n.div_ceil(4 * self.places()[0])
    }

    /// How many splits k is cut into, and the extent of each: two workgroups for each of 132 multiprocessors, if that leaves
    /// some iterations to each.
    fn splits(&self, caps: &Caps) -> (usize, usize) {
        let (k, step) = (self.e.k, self.step());
        let wanted = Block::two_waves(self.workgroups()).min(k / (2 * step).max(Block::LEAST_SPLIT));
        let most = (caps.max_loop_iterations as usize).saturating_sub(STORES).saturating_mul(step);
        let length = k.div_ceil(wanted.max(caps.pieces(k, most))).next_multiple_of(step);
        (k.div_ceil(length).max(1), length)
    }

    fn loop_iterations(&self, length: usize) -> usize {
        length.div_ceil(self.step()) + STORES
    }

    /// Whether rows of A, B and C are loaded and stored as vectors.
    fn aligned(&self) -> [bool; 3] {
        let Extents { m, n, k, .. } = self.e;
        let of = |along, extent: usize| (if along == Along::K { k } else { extent }).is_multiple_of(4);
        [of(self.a, m), of(self.b, n), !self.turned && n.is_multiple_of(4)]
    }

    /// The variant of the kernel, with formulas after it.
    fn kernel(&self, chain: Option<&Chain>) -> Result<Kernel> {
        let rows = self.e.m.next_power_of_two();
        let [wide, deep] = self.places();
        let turned = self.turned;
        let aligned @ [a4, b4, c4] = self.aligned();
        let letter = |along| if along == Along::K { 'k' } else { 'l' };
        let entry = "matmul_thin";
        let key = format!(
            "{entry}.{}{}{rows}.{}{}",
            letter(self.a),
            letter(self.b),
            letters(aligned),
            if turned { ".turned" } else { "" }
        );
        let halves: Vec<usize> = (0..deep.ilog2()).rev().map(|bits| 1 << bits).collect();
        let variant = context! {
            entry, rows, columns => 4 * wide, wide, deep, halves, turned, a4, b4, c4, sums => false,
            a => context! { along => self.a.name() }, b => context! { along => self.b.name() },
            has_epilogue => chain.is_some(),
        };
        let epilogue =
            chain.map(|chain| Epilogue { chain, vector: if c4 { 4 } else { 1 }, columns: chain.columns });
        rendered("gpu/matmul_thin", key, entry, variant, epilogue)
    }
}

/// The launches of C = A B, where that is a thin product.
pub(super) fn launch(problem: &Problem, ctx: &KernelContext<'_>) -> Result<Option<Program>> {
    let &Problem { form, ref e, sums, kernels } = problem;
    let Some(thin) = Thin::chosen(kernels, form, e).filter(|_| !sums) else { return Ok(None) };
    let (splits, length) = thin.splits(ctx.caps);
    let Extents { batch: batches, m, n, k } = thin.e;
    let params = uniform! { m, n, k, batches, splits, length };
    let mut inputs = [Arg::Input(0), Arg::Input(1)];
    if thin.turned {
        inputs.reverse();
    }
    let sizes = [batches * m * n];
    let of = SplitK { columns: e.n, ..SplitK::of(splits, &sizes) };
    let program = split_k(&of, ctx, |to, chain| {
        let args = [&inputs, to].concat();
        let launch = ctx.launch(thin.kernel(chain)?, args, &params, thin.workgroups() * splits)?;
        Ok(launch.loop_iterations(thin.loop_iterations(length)))
    });
    program.map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::AdapterClass;

    fn thin(form: Form, [m, k, n]: [usize; 3]) -> Option<Thin> {
        Thin::chosen(Kernels::Best, form, &Extents { batch: 1, m, n, k })
    }

    #[test]
    fn thin_products_are_chosen_where_the_other_matrix_is_large() {
        for form in [Form::Nn, Form::Nt, Form::Tn] {
            for extents in
                [[1, 4096, 4096], [8, 4096, 4096], [4096, 4096, 8], [1, 1024, 1024], [3, 128, 8192]]
            {
                assert!(thin(form, extents).is_some(), "{form:?}, {extents:?}");
            }
            for extents in
                [[9, 4096, 4096], [8, 1024, 1000], [1, 1 << 20, 1], [1, 1 << 16, 64], [4, 16, 1 << 17]]
            {
                assert!(thin(form, extents).is_none(), "{form:?}, {extents:?}");
            }
        }
        let forced = Thin::chosen(Kernels::Plain, Form::Nn, &Extents { batch: 1, m: 1, n: 4096, k: 4096 });
        assert!(forced.is_none());
    }

    /// Splits and workgroups, and bytes of B that an H100's multiprocessor has under way at least, if its workgroups all load.
    #[test]
    fn two_waves_of_workgroups_read_the_matrix() {
        let caps = Caps::default_of(AdapterClass::Gpu);
        let of = |form, extents| {
            let thin = thin(form, extents).unwrap();
            let (splits, length) = thin.splits(&caps);
            assert!(splits * length >= thin.e.k && (splits - 1) * length < thin.e.k);
            let workgroups = splits * thin.workgroups();
            (splits, workgroups, workgroups * INVOCATIONS * 4 * 16 / 132)
        };
        assert_eq!(of(Form::Nn, [1, 4096, 4096]), (9, 288, 35_746));
        assert_eq!(of(Form::Tn, [8, 4096, 4096]), (9, 288, 35_746));
        assert_eq!(of(Form::Nt, [8, 4096, 4096]), (3, 384, 47_662));
        assert_eq!(of(Form::Nn, [4096, 4096, 1]), (3, 384, 47_662));
        // A vocabulary needs no splits; little is split less than it could be.
        assert_eq!(of(Form::Nt, [1, 768, 50_257]).0, 1);
        assert_eq!(of(Form::Nn, [1, 1024, 1024]), (8, 64, 7943));
    }

    /// Where loops end early, and nowhere else, there are more splits.
    #[test]
    fn loops_are_short_enough() {
        let caps = Caps { max_loop_iterations: 64, ..Caps::default_of(AdapterClass::Software) };
        for (form, extents) in [(Form::Nn, [1, 40_000, 50_000]), (Form::Nt, [8, 100_000, 50_000])] {
            let thin = thin(form, extents).unwrap();
            let (splits, length) = thin.splits(&caps);
            assert!(splits > 1 && caps.allows(thin.loop_iterations(length)));
            assert!(splits * length >= thin.e.k && (splits - 1) * length < thin.e.k);
        }
    }
}
