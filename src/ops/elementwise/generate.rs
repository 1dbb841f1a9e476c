//! Kernels of elementwise functions, alone or several in a row: how arguments are read decides the text,
//! shapes do not.

use std::fmt::Write;

use super::chain::NAMES;
use super::{Access, Chain, Elements};
use crate::error::Result;
use crate::ops::{Arg, Caps, Dispatch, Kernel, Program};

/// Invocations of a workgroup.
const WORKGROUP: usize = 64;

impl Access {
    /// As vectors of four are read: what repeats in whole ones is counted in them, what repeats otherwise is read one by one.
    fn in_vectors(self) -> Self {
        match self {
            Access::Suffix(n) if n % 4 == 0 => Access::Suffix(n / 4),
            Access::Prefix(n) if n % 4 == 0 => Access::Prefix(n / 4),
            Access::Suffix(_) | Access::Prefix(_) => Access::General,
            other => other,
        }
    }

    /// Every so many vectors what is read repeats, or changes.
    fn period(self) -> Option<usize> {
        match self {
            Access::Suffix(n) | Access::Prefix(n) => Some(n),
            _ => None,
        }
    }

    fn letter(self) -> char {
        match self {
            Access::Same => 'e',
            Access::Scalar => 's',
            Access::Suffix(_) => 'c',
            Access::Prefix(_) => 'r',
            Access::General => 'g',
        }
    }
}

/// The kernel that computes `chain`, which has no root, and stores the results of steps `results`. An input that is the
/// old value of the state which the only result is stored in is read there: one buffer cannot be bound twice, to be read
/// and to be written.
pub(crate) fn program(name: &str, chain: &Chain, results: &[usize], caps: &Caps) -> Result<Program> {
    let walk = Elements::new(&chain.shape, &chain.inputs);
    let reads: Vec<Access> = walk.access.iter().map(|a| a.in_vectors()).collect();
    let attributes: Vec<f32> =
        chain.steps.iter().filter_map(|s| s.op.pointwise()).flat_map(|f| f.attributes()).collect();
    let text = Text { name, chain, results, reads: &reads, attributes: attributes.len() };
    let letter = |(i, r): (usize, &Access)| if chain.state == Some(i) { 'o' } else { r.letter() };
    let modes: String = reads.iter().enumerate().map(letter).collect();
    let key = match &chain.steps[..] {
        [step] if step.op.name() == name => format!("{name}.{modes}"),
        _ => format!("{name}.{modes}.{}.{results:?}", chain.formula(false)),
    };
    let kernel = Kernel::generated(key, &format!("{name}_kernel"), &text.write());
    let vectors = chain.shape.elements().div_ceil(4);
    let mut args: Vec<Arg> = (0..reads.len()).filter(|&i| chain.state != Some(i)).map(Arg::Input).collect();
    args.extend((0..results.len()).map(Arg::Output));
    let grid = caps.grid(vectors.div_ceil(WORKGROUP))?;
    let strided = reads.iter().filter(|read| **read == Access::General).count();
    let uniform = uniform(&walk, &reads, &attributes);
    // Each of four elements finds its place by a division per axis.
    Ok(Dispatch::with_bytes(kernel, args, uniform, grid)
        .loop_iterations(4 * strided * walk.dims.len())
        .into())
}

/// The uniform; [`Text::params`] declares its twin.
fn uniform(walk: &Elements, reads: &[Access], attributes: &[f32]) -> Vec<u8> {
    let elements: usize = walk.dims.iter().product();
    let mut words = vec![elements as u32, walk.dims.len() as u32, 0, 0];
    words.extend(attributes.iter().map(|x| x.to_bits()));
    words.resize(words.len().next_multiple_of(4), 0);
    if reads.iter().any(|r| r.period().is_some()) {
        words.extend(reads.iter().map(|read| read.period().unwrap_or(1) as u32));
        words.resize(words.len().next_multiple_of(4), 0);
    }
    if reads.contains(&Access::General) {
        for list in [&walk.dims].into_iter().chain(&walk.strides) {
            let end = words.len() + 8;
            words.extend(list.iter().map(|&x| x as u32));
            words.resize(end, 0);
        }
    }
    bytemuck::cast_slice(&words).to_vec()
}

/// What a kernel's text depends on.
struct Text<'a> {
    name: &'a str,
    chain: &'a Chain,
    results: &'a [usize],
    reads: &'a [Access],
    attributes: usize,
}

impl Text<'_> {
    /// The text without the formulas themselves, which the linker adds.
    fn write(&self) -> String {
        let mut t = self.params();
        let (name, mut n) = (self.name, 0);
        for (k, read) in self.reads.iter().enumerate().filter(|&(k, _)| self.chain.state != Some(k)) {
            let element = match read {
                Access::Same | Access::Suffix(_) => "vec4<f32>",
                _ => "f32",
            };
            let _ =
                writeln!(t, "@group(0) @binding({n}) var<storage, read> in_{}: array<{element}>;", NAMES[k]);
            n += 1;
        }
        for i in 0..self.results.len() {
            let (at, out) = (n + i, self.out(i));
            let _ = writeln!(t, "@group(0) @binding({at}) var<storage, read_write> {out}: array<vec4<f32>>;");
        }
        let _ = writeln!(t, "@group(0) @binding({}) var<uniform> p: Params;\n", n + self.results.len());
        if self.reads.contains(&Access::General) {
            t.push_str(
                "// Offset of result element `i` in argument `k`, by its broadcast strides.\n\
                 fn offset(i: u32, k: u32) -> u32 {\n    var rest = min(i, p.elements - 1u);\n    var at = 0u;\n    \
                 for (var axis = p.rank; axis > 0u; axis -= 1u) {\n        let j = axis - 1u;\n        \
                 let extent = p.dims[j / 4u][j % 4u];\n        \
                 at += (rest % extent) * p.strides[2u * k + j / 4u][j % 4u];\n        rest /= extent;\n    }\n    \
                 return at;\n}\n\n",
            );
        }
        t.push_str(&Chain::wrappers(&[self.chain], 4));
        let _ = writeln!(
            t,
            "@compute @workgroup_size({WORKGROUP})\nfn {name}_kernel(@builtin(global_invocation_id) id: vec3<u32>,\n    \
             @builtin(num_workgroups) groups: vec3<u32>) {{\n    let i = linear_index(id, groups, {WORKGROUP}u);\n    \
             if (4u * i >= p.elements) {{ return; }}"
        );
        for (k, read) in self.reads.iter().enumerate() {
            let v = NAMES[k];
            let period = format!("p.periods[{}][{}]", k / 4, k % 4);
            let _ = match read {
                _ if self.chain.state == Some(k) => writeln!(t, "    let {v} = {}[i];", self.out(0)),
                Access::Same => writeln!(t, "    let {v} = in_{v}[i];"),
                Access::Scalar => writeln!(t, "    let {v} = vec4<f32>(in_{v}[0]);"),
                Access::Suffix(_) => writeln!(t, "    let {v} = in_{v}[i % {period}];"),
                Access::Prefix(_) => writeln!(t, "    let {v} = vec4<f32>(in_{v}[i / {period}]);"),
                Access::General => {
                    let part = |j: usize| format!("in_{v}[offset(4u * i + {j}u, {k}u)]");
                    writeln!(t, "    let {v} = vec4<f32>({});", [0, 1, 2, 3].map(part).join(", "))
                }
            };
        }
        t.push_str(&self.chain.body(4, |j, _| format!("p.attributes[{}][{}]", j / 4, j % 4)));
        for (i, step) in self.results.iter().enumerate() {
            let _ = writeln!(t, "    {}[i] = v{step};", self.out(i));
        }
        t.push_str("}\n");
        t
    }

    fn out(&self, i: usize) -> String {
        if self.results.len() == 1 { "out".into() } else { format!("out_{i}") }
    }

    fn params(&self) -> String {
        let mut t = String::from("struct Params {\n    elements: u32, rank: u32,\n");
        if self.attributes > 0 {
            let _ = writeln!(t, "    attributes: array<vec4<f32>, {}>,", self.attributes.div_ceil(4));
        }
        if self.reads.iter().any(|r| r.period().is_some()) {
            let _ = writeln!(t, "    periods: array<vec4<u32>, {}>,", self.reads.len().div_ceil(4));
        }
        if self.reads.contains(&Access::General) {
            let n = 2 * self.reads.len();
            let _ = writeln!(t, "    dims: array<vec4<u32>, 2>, strides: array<vec4<u32>, {n}>,");
        }
        t + "}\n\n"
    }
}
