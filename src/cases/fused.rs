//! Cases of fused ops: what the planner makes of small graphs.

use crate::graph::{Graph, Init, Node, Params, Recording, Var};
use crate::ops::pool::{self, AvgPoolBackward, Layout, MaxPoolBackward};
use crate::ops::{AdapterClass, Caps, Case, Conv2dOptions, Fillings, Kernels, Padding};
use crate::plan::fused;

/// The one fused node of a recording, as a case.
pub(super) fn case_of(name: &str, record: impl for<'g> Fn(&'g Graph)) -> Option<Case> {
    all_of(name, record).into_iter().next()
}

/// All fused nodes of a recording, in order.
pub(super) fn all_of(name: &str, record: impl for<'g> Fn(&'g Graph)) -> Vec<Case> {
    let g = Graph::new();
    record(&g);
    let Ok(recording) = g.finish() else { return Vec::new() };
    let r = fused(recording, &Caps::default_of(AdapterClass::Software));
    r.nodes.iter().filter(|n| n.members.len() > 1).map(|node| case_at(name, &r, node)).collect()
}

/// A node of a recording with what it reads.
fn case_at(name: &str, r: &Recording, node: &Node) -> Case {
    // The old value of a state is read and replaced: one value, in 16 bits too.
    let filling = |v| match node.inputs.iter().filter(|&&other| other == v).count() {
        1 => Fillings::Normal,
        _ => Fillings::Given(vec![0.5, -1.25, 3.0, 0.0, -0.75, 2.5, 1.0]),
    };
    let inputs = node.inputs.iter().map(|&v| (r.values[v as usize].ty, filling(v))).collect();
    Case { name: name.into(), op: node.op.clone(), inputs, gradient: false, exact: false }
}

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |name: &str, record: &dyn for<'g> Fn(&'g Graph)| {
        let made = case_of(name, record);
        // A graph that is not fused is missed by the test that counts these cases.
        cases.extend(made);
    };
    let out = |g: &Graph, y: Var<'_>| g.output("y", y);
    for shape in [&[1][..], &[7], &[6, 8], &[5, 7], &[130, 33], &[2, 3, 4, 5]] {
        let columns = [shape[shape.len() - 1]];
        add(&format!("bias and relu of {shape:?}"), &|g| {
            let y = g.input("x", shape) + g.input("b", columns);
            out(g, y.relu());
        });
        add(&format!("several results of {shape:?}"), &|g| {
            let (x, z) = (g.input("x", shape), g.input("z", shape));
            let sum = x + z;
            let t = (sum * x).tanh();
            g.output("sum", sum);
            g.output("t", t);
            g.output("y", t.sigmoid() * 3.0 - z);
        });
    }
    add("all ways to read", &|g| {
        let (x, rows) = (g.input("x", [6, 4, 8]), g.input("rows", [6, 4, 1]));
        let (columns, middle, one) = (g.input("columns", [8]), g.input("middle", [4, 1]), g.input("one", []));
        out(g, (((x * rows + columns) * middle) - one).leaky_relu(0.1));
    });
    add("constants and attributes", &|g| {
        let x = g.input("x", [9, 3]);
        let y = x.clamp(-0.5, 1.5) * 1e-3 + 7.0;
        out(g, x.greater(g.scalar(0.0)).select(y, g.full([9, 3], -0.25)).leaky_relu(0.3).exp() + -0.375);
    });
    add("a step that is used twice", &|g| {
        let x = g.input("x", [33]);
        let e = x.exp();
        out(g, e * e / (e + 1.0));
    });
    updates(&mut add);
    products(&mut add);
    convolutions(&mut add);
    reductions(&mut add);
    movements(&mut add);
    cases.extend(normalizations());
    cases.extend(gradients_of_pooling());
    cases
}

/// States that are set to what elementwise ops make of them and of other values.
fn updates(add: &mut Add<'_>) {
    let state = |g: &Graph, shape: &[usize]| {
        let params = Params::seeded(0);
        g.param(&params.state("s", shape, Init::Constant(0.0))).id
    };
    for shape in [&[1][..], &[7], &[33, 5], &[130, 8]] {
        add(&format!("a state of {shape:?} from its old value"), &|g| {
            let old = Var { graph: g, id: state(g, shape) };
            old.assign(old * 0.75 + g.input("x", shape).square() * 0.25);
        });
        add(&format!("a state of {shape:?} from other values"), &|g| {
            let (x, rate) = (g.input("x", shape), g.input("rate", [1]));
            Var { graph: g, id: state(g, shape) }.assign((x * rate).tanh() - g.input("z", shape));
        });
    }
    add("a state by broadcasting", &|g| {
        let old = Var { graph: g, id: state(g, &[6, 4, 8]) };
        let (rows, columns) = (g.input("rows", [6, 4, 1]), g.input("columns", [8]));
        old.assign(columns * rows - old * g.input("middle", [4, 1]));
    });
    add("a state by one formula", &|g| {
        let old = Var { graph: g, id: state(g, &[9]) };
        old.assign(old.sigmoid());
    });
}

type Add<'a> = dyn FnMut(&str, &dyn for<'g> Fn(&'g Graph)) + 'a;

/// What is moved several times, and put together of what is moved: heads of attention and their gradients, by whole vectors and
/// not.
fn movements(add: &mut Add<'_>) {
    for head in [4, 3] {
        let (all, heads) = (6 * head, [2, 5, 2, head]);
        add(&format!("a slice as heads of {head}"), &|g| {
            let part = g.input("x", [2, 5, all]).slice(2, 2 * head, 2 * head);
            g.output("y", part.reshape(heads).permute(&[0, 2, 1, 3]));
        });
        add(&format!("a slice as heads of {head}, transposed"), &|g| {
            let part = g.input("x", [2, 5, all]).slice(2, 4 * head, 2 * head);
            g.output("y", part.reshape(heads).permute(&[0, 2, 3, 1]));
        });
        let back = |x: Var<'_>| x.permute(&[0, 2, 1, 3]).reshape([2, 5, 2 * head]).id;
        add(&format!("gradients of heads of {head}"), &|g| {
            let part = |name, before| {
                let part = Var { graph: g, id: back(g.input(name, [2, 2, 5, head])) };
                part.pad(&[0, 0, before], &[0, 0, 4 * head - before], 0.0)
            };
            g.output("y", part("q", 0) + part("k", 2 * head) + part("v", 4 * head));
        });
        add(&format!("heads of {head} after each other"), &|g| {
            let [a, b] = ["a", "b"].map(|name| Var { graph: g, id: back(g.input(name, [2, 2, 5, head])) });
            g.output("y", a.concat(&[b, g.input("c", [2, 5, 7])], 2));
        });
    }
    add("every second row, transposed and cut", &|g| {
        let rows = g.input("x", [9, 8]).slice_step(0, 1, 4, 2);
        g.output("y", rows.permute(&[1, 0]).slice(0, 3, 5));
    });
    add("parts of a matrix", &|g| {
        let [a, b, c] = [("a", [3, 4]), ("b", [3, 5]), ("c", [4, 9])].map(|(name, dims)| g.input(name, dims));
        let (a, b) = (a.pad(&[0, 0], &[4, 5], 0.0), b.pad(&[0, 4], &[4, 0], 0.0));
        g.output("y", c.pad(&[3, 0], &[0, 0], 0.0) + (a + b));
    });
}

fn products(add: &mut Add<'_>) {
    // Every alignment of the stores; rows and columns beyond a tile.
    for (m, n, k) in [(1, 1, 1), (7, 10, 5), (33, 36, 68), (65, 67, 71), (8, 9, 4), (8, 10, 7), (16, 11, 8)] {
        for form in ["nn", "nt", "tn"] {
            let product = |g: &Graph| -> u32 {
                let x = match form {
                    "nn" => g.input("a", [m, k]).matmul(g.input("b", [k, n])),
                    "nt" => g.input("a", [m, k]).matmul_nt(g.input("b", [n, k])),
                    _ => g.input("a", [k, m]).matmul_tn(g.input("b", [k, n])),
                };
                x.id
            };
            // A bias is read by the column and another factor by the place.
            add(&format!("{form} {m}x{n}x{k}, bias, relu and product"), &|g| {
                let y = Var { graph: g, id: product(g) } + g.input("bias", [n]);
                g.output("y", y.relu() * g.input("r", [m, n]));
            });
            // The store is the same text in every form.
            if form != "nn" {
                continue;
            }
            add(&format!("{form} {m}x{n}x{k}, residual and scale"), &|g| {
                let y = g.input("r", [m, n]) - Var { graph: g, id: product(g) } * g.input("one", []);
                g.output("y", y * 0.125 - g.input("bias", [n]));
            });
        }
    }
    add("a batch of products, tanh", &|g| {
        let y = g.input("a", [3, 9, 5]).matmul(g.input("b", [3, 5, 12])) + g.input("bias", [12]);
        g.output("y", y.tanh() + g.input("r", [3, 9, 12]));
    });
    add("the plain product, relu", &|g| {
        let y = g.input("a", [9, 5]).matmul_by(g.input("b", [5, 13]), Kernels::Plain);
        g.output("y", (y + g.input("bias", [13])).relu() * g.input("r", [9, 13]));
    });
}

fn convolutions(add: &mut Add<'_>) {
    let same = Conv2dOptions { padding: Padding::SameUpper, ..Default::default() };
    let strided = Conv2dOptions { stride: [2, 2], padding: Padding::SameUpper, ..Default::default() };
    let grouped = Conv2dOptions { groups: 2, ..Default::default() };
    let shapes: [(&str, Conv2dOptions, [usize; 4], [usize; 4]); 7] = [
        ("same", same, [2, 3, 8, 8], [16, 3, 3, 3]),
        ("one channel", same, [3, 1, 14, 14], [8, 1, 3, 3]),
        ("odd", same, [2, 5, 7, 9], [10, 5, 3, 3]),
        ("strided", strided, [2, 4, 9, 12], [12, 4, 3, 3]),
        ("grouped", grouped, [2, 8, 10, 10], [24, 4, 3, 3]),
        ("every second pixel", strided, [2, 32, 12, 16], [40, 32, 1, 1]),
        ("tiny", same, [1, 1, 3, 3], [2, 1, 3, 3]),
    ];
    for (name, options, x, w) in shapes {
        let others: &[Kernels] = match name {
            "odd" => &[Kernels::Plain],
            "tiny" | "grouped" => &[Kernels::Tiles],
            _ => &[],
        };
        for &kernels in [Kernels::Best].iter().chain(others) {
            add(&format!("conv2d {name} {kernels:?}, relu and product"), &|g| {
                let (x, w, b) = (g.input("x", x), g.input("w", w), g.input("b", [w[0]]));
                let y = x.conv2d_by(w, Some(b), &options, kernels);
                g.output("y", y.relu() * g.input("r", y.shape()));
            });
            add(&format!("conv2d {name} {kernels:?}, residual and relu"), &|g| {
                let (x, w, b) = (g.input("x", x), g.input("w", w), g.input("b", [w[0]]));
                let y = x.conv2d_by(w, Some(b), &options, kernels);
                g.output("y", (y + g.input("r", y.shape())).relu());
            });
            add(&format!("conv2d_backward_input {name} {kernels:?}, relu_grad"), &|g| {
                let (x, w) = (g.input("x", x), g.input("w", w));
                let dy = g.input("dy", x.conv2d_by(w, None, &options, kernels).shape());
                let dx = x.conv2d_gradient(w, dy, false, &options, kernels);
                // What relu_grad computes, from the public functions; and a sum, which tells one place from another.
                g.output("dx", x.greater(g.scalar(0.0)) * dx + x);
            });
        }
    }
}

/// Formulas before a reduction, and after it: every kernel of it, and every way to read an input.
fn reductions(add: &mut Add<'_>) {
    // Which axis is reduced; its neighbours choose the kernel.
    for (axis, shape) in [
        (0, &[1][..]),
        (0, &[7]),
        (0, &[100_003]),
        (0, &[65_536]),
        (1, &[130, 36]),
        (1, &[63, 255]),
        (1, &[3, 8196]),
        (0, &[5, 7]),
        (0, &[300, 8]),
        (0, &[37, 256]),
        (0, &[4100, 272]),
        (1, &[5, 19, 64]),
        (1, &[3, 13, 4]),
        (1, &[2, 2999, 5]),
    ] {
        let name = format!("axis {axis} of {shape:?}");
        add(&format!("squared differences over {name}"), &|g| {
            let d = g.input("x", shape) - g.input("y", shape);
            g.output("y", d.square().sum(&[axis]));
        });
        add(&format!("largest magnitude over {name}, scaled"), &|g| {
            let largest = (g.input("x", shape) * g.input("one", [])).abs().max(&[axis]);
            g.output("y", largest * g.input("z", largest.shape()) + 0.5);
        });
    }
    // An input along each of the three axes, along two of them, and in other ways.
    for shape in [[6, 10, 8], [6, 10, 5], [40, 100, 16], [6, 12, 1]] {
        let [o, k, j] = shape;
        let ways: [(&str, &[usize]); 6] = [
            ("o", &[o, 1, 1]),
            ("k", &[k, 1]),
            ("j", &[j]),
            ("ok", &[o, k, 1]),
            ("oj", &[o, 1, j]),
            ("kj", &[k, j]),
        ];
        for (way, dims) in ways {
            add(&format!("a mean over axis 1 of {shape:?} by {way}"), &|g| {
                let y = (g.input("x", shape) - g.input("y", dims)).tanh().mean(&[1]);
                g.output("y", (y.square() + 1e-3).sqrt());
            });
        }
    }
    for (shape, dims, axes) in [
        (&[2, 3, 4, 8][..], &[3, 1, 1][..], &[2, 3][..]),
        (&[2, 3, 5, 7], &[3, 1, 1], &[2, 3]),
        (&[2, 3, 4, 8], &[2, 1, 4, 1], &[0]),
        (&[2, 3, 4, 8], &[2, 1, 4, 8], &[0, 1]),
        (&[2, 3, 4, 6], &[2, 1, 4, 6], &[0, 1, 2, 3]),
        (&[2, 3, 4, 8], &[3, 1, 8], &[0, 1, 2, 3]),
    ] {
        add(&format!("a sum over axes {axes:?} of {shape:?} with {dims:?}"), &|g| {
            g.output("y", (g.input("x", shape) * g.input("y", dims)).sum(axes));
        });
    }
    add("a sum of what was reshaped", &|g| {
        g.output("y", (g.input("x", [6, 10]) * g.input("y", [10])).reshape([6, 2, 5]).sum(&[2]));
    });
}

/// Formulas after normalizations and their gradients, in vectors and not.
fn normalizations() -> Vec<Case> {
    let mut cases = Vec::new();
    for x in [&[3, 5, 4, 4][..], &[2, 3, 7, 7], &[9, 6], &[4, 2, 20]] {
        let forward = case_of(&format!("batch_norm of {x:?}, residual and relu"), |g| {
            let [w, b] = ["w", "b"].map(|name| g.input(name, [x[1]]));
            let [y, mean, _] = g.input("x", x).batch_norm(w, b, 1e-3);
            g.output("y", (y + g.input("r", x)).relu());
            g.output("mean", mean);
        });
        let inference = case_of(&format!("batch_norm_inference of {x:?}, relu"), |g| {
            let [w, b, mean, variance] = ["w", "b", "mean", "variance"].map(|name| g.input(name, [x[1]]));
            g.output("y", g.input("x", x).batch_norm_inference(w, b, mean, variance, 1e-3).relu());
        });
        let grad = case_of(&format!("batch_norm_grad of {x:?}, scaled"), |g| {
            let [w, b] = ["w", "b"].map(|name| g.input(name, [x[1]]));
            let x = g.input("x", x);
            let y = x.batch_norm(w, b, 1e-3)[0];
            let dx = g.gradients((y * g.input("dy", x.shape())).sum_all(), &[x])[0];
            g.output("dx", dx * 0.5 + x);
        });
        let variance = Fillings::Uniform(0.1, 3.0);
        cases.extend(forward);
        cases.extend(inference.map(|case| case.fill(4, variance.clone())));
        cases.extend(grad.map(|case| case.fill(3, variance)));
    }
    for x in [&[3, 5, 16][..], &[6, 7], &[70, 12], &[3, 2050]] {
        let w = x.last().copied().unwrap_or(1);
        let forward = case_of(&format!("layer_norm of {x:?}, residual and relu"), |g| {
            let y = g.input("x", x).layer_norm(g.input("w", [w]), g.input("b", [w]), 1e-3);
            g.output("y", (y + g.input("r", x)).relu());
        });
        let grad = case_of(&format!("layer_norm_grad of {x:?}, scaled"), |g| {
            let x = g.input("x", x);
            let y = x.layer_norm(g.input("w", [w]), g.input("b", [w]), 1e-3);
            let dx = g.gradients((y * g.input("dy", x.shape())).sum_all(), &[x])[0];
            g.output("dx", dx * 0.5 + x);
        });
        cases.extend(forward);
        cases.extend(grad.map(|case| case.fill(3, Fillings::Uniform(0.1, 3.0))));
    }
    for (x, log) in [([6, 7], false), ([6, 7], true), ([5, 130], false), ([5, 130], true)] {
        let softmax = |x: Var<'_>| if log { x.log_softmax(1).id } else { x.softmax(1).id };
        let name = if log { "log_softmax" } else { "softmax" };
        // One formula, which would be no group without the softmax.
        cases.extend(case_of(&format!("{name} of {x:?}, scaled by another"), |g| {
            let y = Var { graph: g, id: softmax(g.input("x", x)) };
            g.output("y", y * g.input("r", x));
        }));
        cases.extend(case_of(&format!("{name}_grad of {x:?}, scaled"), |g| {
            let x = g.input("x", x);
            let y = Var { graph: g, id: softmax(x) };
            let dx = g.gradients((y * g.input("dy", x.shape())).sum_all(), &[x])[0];
            g.output("dx", dx * 0.5);
        }));
    }
    cases
}

/// The gradients of pooling with elementwise ops after them, one of which does not keep zeros.
fn gradients_of_pooling() -> Vec<Case> {
    let mut cases = Vec::new();
    for Layout { windows, input, output, index } in pool::layouts() {
        let max = case_of(&format!("max_pool2d_backward {windows:?}, relu_grad"), |g| {
            let at = g.classes("at", output);
            let dx = g.record_one(MaxPoolBackward { windows, input }, &[g.input("dy", output), at]);
            let y = g.input("y", input);
            g.output("dx", y.greater(g.scalar(0.0)) * dx + y);
        });
        cases.extend(max.map(|mut case| {
            case.inputs[1].1 = Fillings::Given(index.clone());
            case
        }));
        cases.extend(case_of(&format!("avg_pool2d_backward {windows:?}, sum"), |g| {
            let backward = AvgPoolBackward { windows, count_padding: false, input };
            let dx = g.record_one(backward, &[g.input("dy", output)]);
            g.output("dx", g.input("more", input) + dx * 2.0 + 1.0);
        }));
    }
    cases
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_graph_is_fused() {
        let names: Vec<String> = super::cases().into_iter().map(|c| c.name).collect();
        // 12 chains and 3 more, 10 updates of states, 28 products and 2, 30 convolutions; 28 + 24 + 7
        // reductions, 12 normalizations of channels, 8 of rows and 8 softmaxes, 66 gradients of pooling, 10 movements.
        assert_eq!(names.len(), 248, "{names:#?}");
    }
}
