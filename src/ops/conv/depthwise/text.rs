//! The text of the kernel of the forward direction and of the images' gradient.

use std::fmt::Write;

use super::Walk;
use crate::ops::text::vector_type;

pub(super) const PARAMS: &str = "struct Params {
    planes: u32, channels: u32, m: u32, has_bias: u32,
    h: u32, w: u32, oh: u32, ow: u32,
    tiles_x: u32, steps: u32, length: u32, parts: u32,
    lift: i32, lead: i32,
}
";

impl Walk {
    /// The text; with `finishes`, results go through the function `finish`.
    pub(super) fn text(&self, finishes: bool) -> String {
        let Walk { workgroup, schedule: s, strip, kernel: [kh, kw], .. } = self;
        let taps = kh * kw;
        let mut t = String::new();
        let _ = write!(
            t,
            "// Down a strip of {} columns, {} rows of outputs at a time.\n{PARAMS}\n\
             @group(0) @binding(0) var<storage, read> x: array<{}>;\n\
             @group(0) @binding(1) var<storage, read> weight: array<f32>;\n\
             @group(0) @binding(2) var<storage, read> bias: array<f32>;\n\
             @group(0) @binding(3) var<storage, read_write> y: array<{}>;\n\
             @group(0) @binding(4) var<uniform> p: Params;\n\n\
             @compute @workgroup_size({workgroup})\n\
             fn conv2d_depthwise(@builtin(global_invocation_id) global: vec3<u32>,\n    \
             @builtin(num_workgroups) groups: vec3<u32>) {{\n    \
             let id = linear_index(global, groups, {workgroup}u);\n    \
             let tile = id % p.tiles_x;\n    let ox = tile * {}u;\n    \
             let part = id / p.tiles_x % p.parts;\n    \
             let phase = id / (p.tiles_x * p.parts) % {}u;\n    \
             let plane = id / (p.tiles_x * p.parts * {}u);\n    \
             if (plane >= p.planes) {{ return; }}\n    \
             let channel = plane % p.channels;\n    \
             let start = plane / p.m * p.h * p.w;\n    \
             let has_bias = p.has_bias != 0u;\n    \
             let b = select(0.0, bias[select(0u, channel, has_bias)], has_bias);\n",
            strip.columns,
            s.rows.len(),
            vector_type("f32", strip.vector),
            vector_type("f32", self.store),
            strip.columns,
            s.phases,
            s.phases,
        );
        for tap in 0..taps {
            let from = if self.flip { taps - 1 - tap } else { tap };
            let _ = writeln!(t, "    let w{}_{} = weight[channel * {taps}u + {from}u];", tap / kw, tap % kw);
        }
        strip.place(&mut t, "    ");
        strip.declare(&mut t, s.window, "    ");
        let _ = writeln!(
            t,
            "    let first = part * p.length;\n    \
             var iy = i32(phase * {}u + first * {}u) - p.lift;",
            self.stride_y(),
            s.advance
        );
        for slot in 0..s.kept() {
            strip.load(&mut t, slot, &format!("iy + {}", slot * s.spacing), "    ");
        }
        let _ = writeln!(
            t,
            "    let end = min(first + p.length, p.steps);\n    \
             for (var step = first; step < end; step += 1u) {{"
        );
        for slot in s.kept()..s.window {
            strip.load(&mut t, slot, &format!("iy + {}", slot * s.spacing), "        ");
        }
        let _ = writeln!(t, "        iy += {};", s.advance);
        for row in 0..s.rows.len() {
            self.row(&mut t, row, finishes);
        }
        for slot in 0..s.kept() {
            strip.shift(&mut t, slot, slot + s.shift, "        ");
        }
        t.push_str("    }\n}\n");
        t
    }

    /// Rows of the input from one row of outputs to the next.
    fn stride_y(&self) -> usize {
        self.schedule.advance / self.schedule.phases
    }

    /// Sums and stores a row of outputs.
    fn row(&self, t: &mut String, row: usize, finishes: bool) {
        let Walk { schedule: s, strip, kernel: [_, kw], store, .. } = self;
        for column in 0..strip.columns {
            let _ = writeln!(t, "        var c{row}_{column} = b;");
            for [ky, slot] in &s.rows[row] {
                for kx in 0..*kw {
                    let Some(at) = strip.meets(column, kx) else { continue };
                    let value = strip.element(*slot, at);
                    let sum = format!("c{row}_{column}");
                    let _ = writeln!(t, "        {sum} = fma({value}, w{ky}_{kx}, {sum});");
                }
            }
        }
        let _ = write!(
            t,
            "        let oy{row} = i32(phase + step * {}u) + {row} - p.lead;\n        \
             if (u32(oy{row}) < p.oh) {{\n            \
             let to = ((plane * p.oh + u32(oy{row})) * p.ow + ox) / {store}u;\n",
            s.step
        );
        let units = strip.columns / store;
        let tail = self.tail / store;
        for unit in 0..units {
            if unit == tail {
                t.push_str("            if (tile + 1u < p.tiles_x) {\n");
            }
            let parts: Vec<String> = (0..*store).map(|i| format!("c{row}_{}", unit * store + i)).collect();
            let value = format!("{}({})", vector_type("f32", *store), parts.join(", "));
            let at = format!("to + {unit}u");
            let value = if finishes { format!("finish({value}, {at}, 0u)") } else { value };
            let _ = writeln!(t, "            y[{at}] = {value};");
        }
        if tail < units {
            t.push_str("            }\n");
        }
        t.push_str("        }\n");
    }
}
