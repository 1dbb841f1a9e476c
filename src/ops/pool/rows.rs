//! Fixed windows on software adapters, generated: an invocation computes a whole row, since there each
//! division to find one's place costs more than the window itself. Kernel, stride and dilation are in the
//! text, extents in the uniform.

use std::fmt::Write;

use super::Windows;
use super::window::Axis;
use crate::error::{Error, Result};
use crate::ops::elementwise::FIRST_BINDING;
use crate::ops::text::{component, vector_type};
use crate::ops::{AdapterClass, Arg, Chain, Dispatch, Kernel, KernelContext, Program};
use crate::shape::Shape;

/// What is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pooling {
    Max,
    MaxBackward,
    Average,
    AverageBackward,
}

impl Pooling {
    fn name(self) -> &'static str {
        match self {
            Pooling::Max => "max_pool2d_rows",
            Pooling::MaxBackward => "max_pool2d_backward_rows",
            Pooling::Average => "avg_pool2d_rows",
            Pooling::AverageBackward => "avg_pool2d_backward_rows",
        }
    }

    pub(super) fn is_backward(self) -> bool {
        matches!(self, Pooling::MaxBackward | Pooling::AverageBackward)
    }

    fn is_max(self) -> bool {
        matches!(self, Pooling::Max | Pooling::MaxBackward)
    }

    /// Bindings in order: name, whether it is on the side of the planes (or of the windows), element type,
    /// and whether it is written.
    fn bindings(self) -> &'static [(&'static str, bool, &'static str, bool)] {
        match self {
            Pooling::Max => {
                &[("x", true, "f32", false), ("y", false, "f32", true), ("at", false, "u32", true)]
            }
            Pooling::MaxBackward => {
                &[("y", false, "f32", false), ("at", false, "u32", false), ("x", true, "f32", true)]
            }
            Pooling::Average => &[("x", true, "f32", false), ("y", false, "f32", true)],
            Pooling::AverageBackward => &[("y", false, "f32", false), ("x", true, "f32", true)],
        }
    }
}

/// Uniform of the generated kernels.
#[repr(C)]
#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Params {
    /// Rows of all planes that invocations compute.
    rows: u32,
    h: u32,
    w: u32,
    oh: u32,
    ow: u32,
    top: u32,
    left: u32,
    count_padding: u32,
}

const PARAMS: &str = "struct Params {
    rows: u32, h: u32, w: u32, oh: u32,
    ow: u32, top: u32, left: u32, count_padding: u32,
}
";

/// Invocations of a workgroup.
const WORKGROUP: usize = 32;

/// Elements of a window at most, and windows that can hold one element: the text has a line or two for each.
const LARGEST: usize = 36;

/// A variant of a kernel: what its text depends on.
#[derive(Debug, Clone, Copy)]
struct Rows {
    what: Pooling,
    kernel: [usize; 2],
    stride: [usize; 2],
    dilation: [usize; 2],
    padded: bool,
    /// Elements of a row of the plane that load or store at once, and windows computed together. More than
    /// one only where windows lie side by side without gaps.
    vector: usize,
    windows: usize,
}

/// The kernel for rows; `None` where windows are adaptive or large, where an element may be in many, or where the
/// adapter is no software.
pub(super) fn program(
    what: Pooling,
    windows: &Windows,
    plane: &Shape,
    args: Vec<Arg>,
    (count_padding, chain): (bool, Option<&Chain>),
    ctx: &KernelContext<'_>,
) -> Result<Option<Program>> {
    let Windows::Fixed { kernel, stride, padding, dilation } = *windows else { return Ok(None) };
    if ctx.caps.class == AdapterClass::Gpu {
        return Ok(None);
    }
    let [y, x] = windows.axes(plane).map_err(Error::Invalid)?;
    let mut rows = Rows { what, kernel, stride, dilation, padded: padding != [0; 4], vector: 1, windows: 1 };
    if !rows.is_short() {
        return Ok(None);
    }
    if rows.side_by_side() {
        (rows.vector, rows.windows) = rows.vectors(&x);
    }
    let planes = plane.elements() / (y.extent * x.extent) as usize;
    let each = if what.is_backward() && !rows.side_by_side() { y.extent } else { y.outputs } as usize;
    let params = Params {
        rows: (planes * each) as u32,
        h: y.extent,
        w: x.extent,
        oh: y.outputs,
        ow: x.outputs,
        top: y.before,
        left: x.before,
        count_padding: u32::from(count_padding),
    };
    let iterations = rows.loop_iterations(&[y, x]);
    if !ctx.caps.allows(iterations) {
        return Ok(None);
    }
    let grid = ctx.caps.grid((planes * each).div_ceil(WORKGROUP))?;
    Ok(Some(Dispatch::new(rows.kernel(chain), args, &params, grid).loop_iterations(iterations).into()))
}

/// `value` as it is stored at `at`.
fn finished(value: &str, at: &str, finishes: bool) -> String {
    if finishes { format!("finish({value}, {at}, 0u)") } else { value.into() }
}

/// A vector of `values`.
fn vector(element: &str, values: &[String]) -> String {
    if values.len() == 1 {
        return values[0].clone();
    }
    format!("{}({})", vector_type(element, values.len()), values.join(", "))
}

impl Rows {
    /// Whether the text is of bounded length.
    fn is_short(&self) -> bool {
        let is_few = |[a, b]: [usize; 2]| a.saturating_mul(b) <= LARGEST;
        let gathers = self.what.is_backward() && !self.side_by_side();
        is_few(self.kernel) && (!gathers || is_few([self.holders(0), self.holders(1)]))
    }

    /// Whether every element of the plane is in one window at most, and windows leave no gaps.
    fn side_by_side(&self) -> bool {
        self.kernel == self.stride && self.dilation == [1, 1] && !self.padded
    }

    /// The widest vectors, and the most windows, that divide rows.
    fn vectors(&self, x: &Axis) -> (usize, usize) {
        let (w, ow) = (x.extent as usize, x.outputs as usize);
        // What is left of a row beyond its last window gets zeros one by one.
        let has_rest = self.what.is_backward() && ow * self.kernel[1] != w;
        let mut best = (1, 1);
        for vector in [1, 2, 4] {
            for windows in [1, 2, 4] {
                let fits = ow.is_multiple_of(windows)
                    && w.is_multiple_of(vector)
                    && (windows * self.kernel[1]).is_multiple_of(vector)
                    && windows * self.kernel[0] * self.kernel[1] <= 2 * LARGEST;
                if fits && (vector == 1 || !has_rest) {
                    best = best.max((vector, windows));
                }
            }
        }
        best
    }

    /// Turns of an invocation's loops.
    fn loop_iterations(&self, [y, x]: &[Axis; 2]) -> usize {
        let [h, w, oh, ow] = [y.extent, x.extent, y.outputs, x.outputs].map(|n| n as usize);
        match (self.what.is_backward(), self.side_by_side()) {
            (true, false) => w,
            (false, _) => ow.div_ceil(self.windows),
            (true, true) => {
                let [kh, kw] = self.kernel;
                let (beside, below) = ((w - ow * kw).div_ceil(self.vector), (h - oh * kh) * w);
                ow.div_ceil(self.windows) + beside * (1 + kh) + below.div_ceil(self.vector)
            }
        }
    }

    fn kernel(&self, chain: Option<&Chain>) -> Kernel {
        let Rows { what, kernel: [kh, kw], stride: [sy, sx], dilation: [dy, dx], padded, vector, windows } =
            *self;
        let mut key = format!(
            "{}.k{kh}x{kw}s{sy}x{sx}d{dy}x{dx}{}.{vector}.{windows}",
            what.name(),
            if padded { "p" } else { "" }
        );
        let mut text = self.text(chain.is_some());
        if let Some(chain) = chain {
            key += &format!(".then.{}", chain.key(None));
            let finish = chain.finish(vector, FIRST_BINDING, None);
            text = format!("{}{}\n{text}", finish.bindings, finish.functions);
        }
        Kernel::generated(key, what.name(), &text)
    }

    /// The text; with `finishes`, gradients go through the function `finish`.
    fn text(&self, finishes: bool) -> String {
        let mut t = format!("{PARAMS}\n");
        let bindings = self.what.bindings();
        for (i, (name, is_plane, element, is_written)) in bindings.iter().enumerate() {
            let access = if *is_written { "read_write" } else { "read" };
            let ty = vector_type(element, if *is_plane { self.vector } else { self.windows });
            let _ = writeln!(t, "@group(0) @binding({i}) var<storage, {access}> {name}: array<{ty}>;");
        }
        let _ = write!(
            t,
            "@group(0) @binding({}) var<uniform> p: Params;\n\n\
             @compute @workgroup_size({WORKGROUP})\nfn {}(@builtin(global_invocation_id) id: vec3<u32>,\n    \
             @builtin(num_workgroups) groups: vec3<u32>) {{\n    \
             let row = linear_index(id, groups, {WORKGROUP}u);\n    if (row >= p.rows) {{ return; }}\n",
            bindings.len(),
            self.what.name(),
        );
        match (self.what.is_backward(), self.side_by_side()) {
            (false, _) => self.forward(&mut t),
            (true, true) => self.scatter(&mut t, finishes),
            (true, false) => self.gather(&mut t, finishes),
        }
        t.push_str("}\n");
        t
    }

    /// The padding before a position, to be subtracted.
    fn less(&self, padding: &str) -> String {
        if self.padded { format!(" - {padding}") } else { String::new() }
    }

    /// One row of windows: maxima or averages.
    fn forward(&self, t: &mut String) {
        let Rows { kernel: [kh, kw], stride: [sy, sx], dilation: [dy, dx], padded, windows, .. } = *self;
        t.push_str(
            "    let plane = row / p.oh * p.h * p.w;\n    let oy = row % p.oh;\n    let to = row * p.ow;\n",
        );
        for ky in 0..kh {
            let _ = writeln!(t, "    let y{ky} = oy * {sy}u + {}u{};", ky * dy, self.less("p.top"));
        }
        let _ = writeln!(t, "    for (var ox = 0u; ox < p.ow; ox += {windows}u) {{");
        // The places of maxima, and of loads.
        for kx in (0..windows * kw).filter(|kx| self.what.is_max() || kx.is_multiple_of(self.vector)) {
            let step = kx / kw * sx + kx % kw * dx;
            let _ = writeln!(t, "        let x{kx} = ox * {sx}u + {step}u{};", self.less("p.left"));
        }
        for ky in 0..kh {
            let _ = writeln!(t, "        let row{ky} = y{ky} * p.w;");
            if padded {
                for kx in 0..kw {
                    let _ = write!(
                        t,
                        "        let in{ky}_{kx} = (y{ky} < p.h) & (x{kx} < p.w);\n        \
                         let v{ky}_{kx} = x[select(0u, plane + row{ky} + x{kx}, in{ky}_{kx})];\n"
                    );
                }
                continue;
            }
            // Windows side by side meet neighbours of a row, which load together.
            for first in (0..windows * kw).step_by(self.vector) {
                let at = format!("(plane + row{ky} + x{first}) / {}u", self.vector);
                let _ = writeln!(t, "        let l{ky}_{first} = x[{at}];");
                for i in 0..self.vector {
                    let value = component(&format!("l{ky}_{first}"), self.vector, i);
                    let _ = writeln!(t, "        let v{ky}_{} = {value};", first + i);
                }
            }
        }
        let mut values = Vec::new();
        let mut places = Vec::new();
        for window in 0..windows {
            match self.what.is_max() {
                true => self.largest(t, window),
                false => self.average(t, window),
            }
            values.push(format!("best{window}"));
            places.push(format!("found{window}"));
        }
        let _ = writeln!(t, "        y[(to + ox) / {windows}u] = {};", vector("f32", &values));
        if self.what.is_max() {
            let _ = writeln!(t, "        at[(to + ox) / {windows}u] = {};", vector("u32", &places));
        }
        t.push_str("    }\n");
    }

    /// `best` and `found` of a window: the first of the largest.
    fn largest(&self, t: &mut String, window: usize) {
        let [kh, kw] = self.kernel;
        let elements = (0..kh).flat_map(|ky| (0..kw).map(move |kx| (ky, window * kw + kx)));
        if self.padded {
            // No index is as large: nothing found yet.
            let _ = write!(t, "        var best{window} = 0.0;\n        var found{window} = 0xffffffffu;\n");
        }
        for (i, (ky, kx)) in elements.enumerate() {
            let (value, at) = (format!("v{ky}_{kx}"), format!("row{ky} + x{kx}"));
            if self.padded {
                let _ = writeln!(
                    t,
                    "        let b{window}_{i} = in{ky}_{kx} & ((found{window} == 0xffffffffu) | beats({value}, best{window}));"
                );
            } else if i == 0 {
                let _ = write!(t, "        var best{window} = {value};\n        var found{window} = {at};\n");
                continue;
            } else {
                let _ = writeln!(t, "        let b{window}_{i} = beats({value}, best{window});");
            }
            let _ = write!(
                t,
                "        best{window} = select(best{window}, {value}, b{window}_{i});\n        \
                 found{window} = select(found{window}, {at}, b{window}_{i});\n"
            );
        }
    }

    fn average(&self, t: &mut String, window: usize) {
        let [kh, kw] = self.kernel;
        let mut terms = Vec::new();
        let inside = |ky: usize, kx: usize| format!("select(0.0, v{ky}_{kx}, in{ky}_{kx})");
        for ky in 0..kh {
            for kx in window * kw..(window + 1) * kw {
                terms.push(if self.padded { inside(ky, kx) } else { format!("v{ky}_{kx}") });
            }
        }
        if self.padded {
            let rows = self.count("p.h", 0, |k| format!("y{k}"));
            let columns = self.count("p.w", 1, |k| format!("x{k}"));
            let _ = writeln!(
                t,
                "        let count = select(({rows}) * ({columns}), {}u, p.count_padding == 1u);",
                kh * kw
            );
        } else {
            let _ = writeln!(t, "        let count{window} = {}u;", kh * kw);
        }
        let count = if self.padded { "count".into() } else { format!("count{window}") };
        let _ = writeln!(t, "        let best{window} = ({}) / f32({count});", terms.join(" + "));
    }

    /// How many positions of a window along `axis` are inside the plane.
    fn count(&self, extent: &str, axis: usize, position: impl Fn(usize) -> String) -> String {
        let kernel = self.kernel[axis];
        // Padding is half of the window at most: the middle is never in it.
        let is_inside = |k: usize| kernel % 2 == 1 && k == kernel / 2;
        let term = |k: usize| match is_inside(k) {
            true => "1u".to_string(),
            false => format!("select(0u, 1u, {} < {extent})", position(k)),
        };
        let terms: Vec<String> = (0..kernel).map(term).collect();
        terms.join(" + ")
    }

    /// The gradient of the elements in one row of windows that lie side by side.
    fn scatter(&self, t: &mut String, finishes: bool) {
        let Rows { what, kernel: [kh, kw], vector: n, windows, .. } = *self;
        let _ = write!(
            t,
            "    let plane = row / p.oh * p.h * p.w;\n    let oy = row % p.oh;\n    let origin = row * p.ow;\n    \
             let first = oy * {kh}u * p.w;\n    \
             for (var ox = 0u; ox < p.ow; ox += {windows}u) {{\n        \
             let d = y[(origin + ox) / {windows}u]{};\n",
            if what.is_max() { String::new() } else { format!(" / {}.0", kh * kw) },
        );
        if what.is_max() {
            let _ = writeln!(t, "        let f = at[(origin + ox) / {windows}u];");
        }
        for ky in 0..kh {
            let _ = writeln!(t, "        let r{ky} = first + {ky}u * p.w + ox * {kw}u;");
            let values: Vec<String> = (0..windows * kw)
                .map(|i| {
                    let d = component("d", windows, i / kw);
                    match what.is_max() {
                        true => {
                            format!("select(0.0, {d}, {} == r{ky} + {i}u)", component("f", windows, i / kw))
                        }
                        false => d,
                    }
                })
                .collect();
            for (j, values) in values.chunks(n).enumerate() {
                let at = format!("(plane + r{ky} + {}u) / {n}u", j * n);
                let value = finished(&self::vector("f32", values), &at, finishes);
                let _ = writeln!(t, "        x[{at}] = {value};");
            }
        }
        // What no window reaches.
        let zero = |at: &str| finished(&format!("{}()", vector_type("f32", n)), at, finishes);
        let (beside, below) = ("plane + first + ky * p.w + ix", format!("(plane + i) / {n}u"));
        t.push_str("    }\n");
        // Rows are in whole vectors only where windows reach their end.
        if n == 1 {
            let _ = write!(
                t,
                "    for (var ix = p.ow * {kw}u; ix < p.w; ix += 1u) {{\n        \
                 for (var ky = 0u; ky < {kh}u; ky += 1u) {{ x[{beside}] = {}; }}\n    }}\n",
                zero(beside),
            );
        }
        let _ = write!(
            t,
            "    if (oy + 1u == p.oh) {{\n        \
             for (var i = first + {kh}u * p.w; i < p.h * p.w; i += {n}u) {{ x[{below}] = {}; }}\n    }}\n",
            zero(&below),
        );
    }

    /// Windows that can hold one position along an axis.
    fn holders(&self, axis: usize) -> usize {
        ((self.kernel[axis] - 1) * self.dilation[axis] + 1).div_ceil(self.stride[axis])
    }

    /// `o{letter}{j}` and `in{letter}{j}`: the windows that hold position `at` along an axis.
    fn holding(&self, t: &mut String, axis: usize, at: &str, indent: &str) {
        let (letter, before, outputs) = [("y", "p.top", "p.oh"), ("x", "p.left", "p.ow")][axis];
        let (stride, dilation) = (self.stride[axis], self.dilation[axis]);
        let reach = (self.kernel[axis] - 1) * dilation;
        let padding = if self.padded { format!(" + {before}") } else { String::new() };
        let _ = writeln!(t, "{indent}let u{letter} = {at}{padding};");
        for j in 0..self.holders(axis) {
            let _ = write!(
                t,
                "{indent}let o{letter}{j} = u{letter} / {stride}u - {j}u;\n\
                 {indent}let d{letter}{j} = u{letter} % {stride}u + {}u;\n\
                 {indent}let in{letter}{j} = (o{letter}{j} < {outputs}) & (d{letter}{j} <= {reach}u) & (d{letter}{j} % {dilation}u == 0u);\n",
                j * stride,
            );
        }
        if !self.what.is_max() {
            let (extent, n) = ([("p.h"), ("p.w")][axis], self.kernel[axis]);
            for j in 0..self.holders(axis) {
                if !self.padded {
                    let _ = writeln!(t, "{indent}let count{letter}{j} = {n}u;");
                    continue;
                }
                let position = |k: usize| format!("o{letter}{j} * {stride}u + {}u - {before}", k * dilation);
                let inside = self.count(extent, axis, position);
                let _ = writeln!(
                    t,
                    "{indent}let count{letter}{j} = select({inside}, {n}u, p.count_padding == 1u);"
                );
            }
        }
    }

    /// The gradient of one row of elements, each from the windows that hold it.
    fn gather(&self, t: &mut String, finishes: bool) {
        t.push_str("    let plane = row / p.h * p.oh * p.ow;\n    let iy = row % p.h;\n");
        self.holding(t, 0, "iy", "    ");
        t.push_str("    for (var ix = 0u; ix < p.w; ix += 1u) {\n");
        if self.what.is_max() {
            t.push_str("        let here = iy * p.w + ix;\n");
        }
        self.holding(t, 1, "ix", "        ");
        t.push_str("        var sum = 0.0;\n");
        for j in (0..self.holders(0)).rev() {
            for i in (0..self.holders(1)).rev() {
                let _ = write!(
                    t,
                    "        let in{j}_{i} = iny{j} & inx{i};\n        \
                     let w{j}_{i} = select(0u, plane + oy{j} * p.ow + ox{i}, in{j}_{i});\n"
                );
                let _ = match self.what.is_max() {
                    true => writeln!(
                        t,
                        "        sum += select(0.0, y[w{j}_{i}], in{j}_{i} & (at[w{j}_{i}] == here));"
                    ),
                    false => writeln!(
                        t,
                        "        sum += select(0.0, y[w{j}_{i}] / f32(max(county{j} * countx{i}, 1u)), in{j}_{i});"
                    ),
                };
            }
        }
        let value = finished("sum", "row * p.w + ix", finishes);
        let _ = write!(t, "        x[row * p.w + ix] = {value};\n    }}\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_of_bounded_length_however_far_apart_elements_lie() {
        use Pooling::{Average, AverageBackward, Max, MaxBackward};
        let mut short = 0;
        for what in [Max, MaxBackward, Average, AverageBackward] {
            for (kernel, stride) in
                [([1, 1], 1), ([2, 2], 1), ([3, 3], 2), ([36, 1], 1), ([6, 6], 3), ([7, 7], 7)]
            {
                for dilation in [1, 2, 10, 100, 10_000] {
                    let (stride, dilation) = ([stride; 2], [dilation; 2]);
                    let rows = Rows { what, kernel, stride, dilation, padded: true, vector: 1, windows: 1 };
                    if rows.is_short() {
                        let n = rows.text(false).len();
                        assert!(n < 100_000, "{n} characters: {rows:?}");
                        short += 1;
                    }
                }
            }
        }
        assert!(short > 40, "{short}");
        let far = Rows {
            what: MaxBackward,
            kernel: [2, 2],
            stride: [1, 1],
            dilation: [100, 100],
            padded: false,
            vector: 1,
            windows: 1,
        };
        assert!(!far.is_short() && Rows { what: Max, ..far }.is_short());
    }
}
