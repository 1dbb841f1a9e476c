//! Kernels around elementwise functions: how arguments are read decides the text, shapes do not.

use std::fmt::Write;

use super::{Access, Walk};
use crate::error::Result;
use crate::ops::{Arg, Dispatch, Kernel, KernelContext, Program};

/// Invocations of a workgroup.
const WORKGROUP: usize = 64;

/// The uniform of every generated kernel; `generated_text` declares its twin.
#[repr(C)]
#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Params {
    /// Elements of the result.
    elements: u32,
    /// Merged axes.
    rank: u32,
    _pad: [u32; 2],
    attributes: [f32; 4],
    /// For suffix and prefix arguments: how often they repeat.
    period: [u32; 4],
    dims: [u32; 8],
    /// Strides of each argument, eight per argument.
    strides: [u32; 24],
}

/// How the generated text reads an argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Read {
    Same,
    Scalar,
    /// Period divisible by 4: whole vectors repeat.
    Suffix4,
    /// Each element serves a multiple of 4.
    Prefix4,
    General,
}

impl Read {
    fn of(access: Access) -> Self {
        match access {
            Access::Same => Read::Same,
            Access::Scalar => Read::Scalar,
            Access::Suffix(n) if n % 4 == 0 => Read::Suffix4,
            Access::Prefix(n) if n % 4 == 0 => Read::Prefix4,
            _ => Read::General,
        }
    }

    fn letter(self) -> char {
        match self {
            Read::Same => 'e',
            Read::Scalar => 's',
            Read::Suffix4 => 'c',
            Read::Prefix4 => 'r',
            Read::General => 'g',
        }
    }
}

pub(super) fn program(name: &str, attributes: &[f32], ctx: &KernelContext<'_>) -> Result<Program> {
    let out = ctx.outputs[0].shape;
    let shapes: Vec<_> = ctx.inputs.iter().map(|i| i.shape).collect();
    let walk = Walk::new(&out, &shapes);
    let mut params = Params {
        elements: out.elements() as u32,
        rank: walk.dims.len() as u32,
        _pad: [0; 2],
        attributes: [0.0; 4],
        period: [1; 4],
        dims: [1; 8],
        strides: [0; 24],
    };
    params.attributes[..attributes.len()].copy_from_slice(attributes);
    for (to, &d) in params.dims.iter_mut().zip(&walk.dims) {
        *to = d as u32;
    }
    let mut reads = Vec::new();
    for (k, access) in walk.access.iter().enumerate() {
        for (axis, &stride) in walk.strides[k].iter().enumerate() {
            params.strides[8 * k + axis] = stride as u32;
        }
        let read = Read::of(*access);
        params.period[k] = match (read, access) {
            (Read::Suffix4 | Read::Prefix4, Access::Suffix(n) | Access::Prefix(n)) => *n as u32 / 4,
            _ => 1,
        };
        reads.push(read);
    }
    let modes: String = reads.iter().map(|r| r.letter()).collect();
    let key = format!("{name}.{modes}");
    let kernel = Kernel::generated(key, &format!("{name}_kernel"), &text(name, attributes.len(), &reads));
    let vectors = out.elements().div_ceil(4);
    let grid = ctx.caps.grid(vectors.div_ceil(WORKGROUP))?;
    let mut args: Vec<Arg> = (0..reads.len()).map(Arg::Input).collect();
    args.push(Arg::Output(0));
    Ok(Dispatch::new(kernel, args, &params, grid).into())
}

/// The kernel's text without the function itself, which the linker adds.
fn text(name: &str, attributes: usize, reads: &[Read]) -> String {
    let mut t = String::new();
    let names = ["a", "b", "c"];
    t.push_str(
        "struct Params {\n    elements: u32, rank: u32,\n    attributes: vec4<f32>,\n    period: vec4<u32>,\n    \
         dims: array<vec4<u32>, 2>,\n    strides: array<vec4<u32>, 6>,\n}\n\n",
    );
    for (k, read) in reads.iter().enumerate() {
        let element = match read {
            Read::Same | Read::Suffix4 => "vec4<f32>",
            _ => "f32",
        };
        let _ = writeln!(t, "@group(0) @binding({k}) var<storage, read> in_{}: array<{element}>;", names[k]);
    }
    let n = reads.len();
    let _ = writeln!(t, "@group(0) @binding({n}) var<storage, read_write> out: array<vec4<f32>>;");
    let _ = writeln!(t, "@group(0) @binding({}) var<uniform> p: Params;\n", n + 1);
    if reads.contains(&Read::General) {
        t.push_str(
            "// Offset of result element `i` in argument `k`, by its broadcast strides.\n\
             fn offset(i: u32, k: u32) -> u32 {\n    var rest = min(i, p.elements - 1u);\n    var at = 0u;\n    \
             for (var axis = p.rank; axis > 0u; axis -= 1u) {\n        let j = axis - 1u;\n        \
             let extent = p.dims[j / 4u][j % 4u];\n        \
             at += (rest % extent) * p.strides[2u * k + j / 4u][j % 4u];\n        rest /= extent;\n    }\n    \
             return at;\n}\n\n",
        );
    }
    let _ = writeln!(
        t,
        "@compute @workgroup_size({WORKGROUP})\nfn {name}_kernel(@builtin(global_invocation_id) id: vec3<u32>,\n    \
         @builtin(num_workgroups) groups: vec3<u32>) {{\n    let i = linear_index(id, groups, {WORKGROUP}u);\n    \
         if (4u * i >= p.elements) {{ return; }}"
    );
    for (k, read) in reads.iter().enumerate() {
        let v = names[k];
        let _ = match read {
            Read::Same => writeln!(t, "    let {v} = in_{v}[i];"),
            Read::Scalar => writeln!(t, "    let {v} = vec4<f32>(in_{v}[0]);"),
            Read::Suffix4 => writeln!(t, "    let {v} = in_{v}[i % p.period[{k}]];"),
            Read::Prefix4 => writeln!(t, "    let {v} = vec4<f32>(in_{v}[i / p.period[{k}]]);"),
            Read::General => {
                let part = |j: usize| format!("in_{v}[offset(4u * i + {j}u, {k}u)]");
                writeln!(t, "    let {v} = vec4<f32>({}, {}, {}, {});", part(0), part(1), part(2), part(3))
            }
        };
    }
    t.push_str("    out[i] = vec4<f32>(\n");
    for component in ["x", "y", "z", "w"] {
        let mut arguments: Vec<String> = names[..n].iter().map(|v| format!("{v}.{component}")).collect();
        arguments.extend((0..attributes).map(|j| format!("p.attributes[{j}]")));
        let _ = writeln!(t, "        {name}_fn({}),", arguments.join(", "));
    }
    t.push_str("    );\n}\n");
    t
}
