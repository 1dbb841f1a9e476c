//! Where queries, keys and values lie, and which keys a query sees.

use super::super::{In, Real};
use crate::shape::{DType, Shape, TensorType};

/// How heads lie in the inputs and outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layout {
    /// q `[batch, heads, n, d]`, k `[batch, kv_heads, m, d]`, v `[batch, kv_heads, m, e]`; gives `[batch, heads, n, e]`.
    Heads,
    /// q `[batch, n, heads d]`, k `[batch, m, kv_heads d]`, v `[batch, m, kv_heads e]`; gives `[batch, n, heads e]`.
    Rows {
        /// Heads of queries, and of keys and values.
        heads: [usize; 2],
    },
    /// q, k and v as the columns of one tensor `[batch, n, (heads + 2 kv_heads) d]`; gives `[batch, n, heads d]`.
    Packed {
        /// Heads of queries, and of keys and values.
        heads: [usize; 2],
    },
}

impl Layout {
    /// How many inputs q, k and v are.
    pub(super) fn tensors(self) -> usize {
        if matches!(self, Layout::Packed { .. }) { 1 } else { 3 }
    }

    /// For keys of kernels and messages.
    pub(super) fn is_packed(self) -> bool {
        matches!(self, Layout::Packed { .. })
    }
}

/// Where the vector of a head and a place begins: `offset` + `batch` b + `head` h + `row` i.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Strides {
    pub(super) offset: usize,
    pub(super) batch: usize,
    pub(super) head: usize,
    pub(super) row: usize,
}

impl Strides {
    fn heads(heads: usize, rows: usize, width: usize) -> Self {
        Strides { offset: 0, batch: heads * rows * width, head: rows * width, row: width }
    }

    fn columns(offset: usize, columns: usize, rows: usize, width: usize) -> Self {
        Strides { offset, batch: rows * columns, head: width, row: columns }
    }

    pub(super) fn at(&self, batch: usize, head: usize, row: usize) -> usize {
        self.offset + batch * self.batch + head * self.head + row * self.row
    }
}

/// What is computed from what: extents and places.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Problem {
    pub(super) batch: usize,
    /// Heads of keys and values.
    pub(super) kv_heads: usize,
    /// Heads of queries for each of them.
    pub(super) group: usize,
    /// Queries and keys of a head.
    pub(super) n: usize,
    pub(super) m: usize,
    /// Extents of a key and of a value.
    pub(super) d: usize,
    pub(super) e: usize,
    pub(super) q: Strides,
    pub(super) k: Strides,
    pub(super) v: Strides,
    /// Of the output, and of its cotangent.
    pub(super) o: Strides,
    /// Of the mask, along batch, heads and queries.
    pub(super) mask: Option<[usize; 3]>,
    pub(super) has_lengths: bool,
    pub(super) causal: bool,
    pub(super) scale: f32,
}

/// The largest extent of a head: kernels hold a query, a key and a value of it in registers.
pub(super) const MOST_WIDE: usize = 256;

impl Problem {
    /// Of the first inputs of attention or its gradient.
    pub(super) fn of(op: &super::Attention, inputs: &[TensorType]) -> Result<Self, String> {
        let tensors = op.layout.tensors();
        let expected = tensors + usize::from(op.lengths) + usize::from(op.mask);
        if inputs.len() < expected {
            return Err(format!("takes {expected} inputs, got {}", inputs.len()));
        }
        if let Some(other) = inputs[..tensors].iter().find(|t| t.dtype != DType::F32) {
            return Err(format!("queries, keys and values must be f32, got {other}"));
        }
        let mut problem = Self::of_tensors(op.layout, &inputs[..tensors])?;
        problem.causal = op.causal;
        let Problem { batch, kv_heads, group, n, m, d, e, .. } = problem;
        if d > MOST_WIDE || e > MOST_WIDE {
            return Err(format!("a head has at most {MOST_WIDE} columns, got {}", d.max(e)));
        }
        problem.scale = op.scale.unwrap_or(1.0 / (d as f32).sqrt());
        if !problem.scale.is_finite() {
            return Err(format!("the scale must be a number, got {}", problem.scale));
        }
        if op.lengths {
            let lengths = inputs[tensors];
            if lengths.dtype != DType::U32 || lengths.shape.dims() != [batch] {
                return Err(format!("the lengths must be u32 [{batch}], one for each item, got {lengths}"));
            }
            problem.has_lengths = true;
        }
        if op.mask {
            problem.mask = Some(mask_strides(inputs[expected - 1], [batch, group * kv_heads, n, m])?);
        }
        Ok(problem)
    }

    fn of_tensors(layout: Layout, inputs: &[TensorType]) -> Result<Self, String> {
        let shapes: Vec<Shape> = inputs.iter().map(|t| t.shape).collect();
        let rank = if layout == Layout::Heads { 4 } else { 3 };
        if let Some(other) = shapes.iter().find(|s| s.rank() != rank) {
            let takes = match layout {
                Layout::Heads => {
                    "q [batch, heads, n, d], k [batch, kv_heads, m, d] and v [batch, kv_heads, m, e]"
                }
                Layout::Rows { .. } => {
                    "q [batch, n, heads d], k [batch, m, kv_heads d] and v [batch, m, kv_heads e]"
                }
                Layout::Packed { .. } => "[batch, n, (heads + 2 kv_heads) d]",
            };
            return Err(format!("takes {takes}, got {other}"));
        }
        let q = shapes[0];
        let [batch, heads, kv_heads, n, m, d, e] = match layout {
            Layout::Heads => {
                let (k, v) = (shapes[1], shapes[2]);
                [q.dim(0), q.dim(1), k.dim(1), q.dim(2), k.dim(2), q.dim(3), v.dim(3)]
            }
            Layout::Rows { heads: [heads, kv_heads] } => {
                let (k, v) = (shapes[1], shapes[2]);
                let d = width_of_head("q", q, heads)?;
                width_of_head("k", k, kv_heads)?;
                let e = width_of_head("v", v, kv_heads)?;
                [q.dim(0), heads, kv_heads, q.dim(1), k.dim(1), d, e]
            }
            Layout::Packed { heads: [heads, kv_heads] } => {
                let d = width_of_head("the input", q, heads.saturating_add(kv_heads.saturating_mul(2)))?;
                [q.dim(0), heads, kv_heads, q.dim(1), q.dim(1), d, d]
            }
        };
        if heads == 0 || kv_heads == 0 || !heads.is_multiple_of(kv_heads) {
            return Err(format!("{heads} heads of queries are no multiple of {kv_heads} heads of keys"));
        }
        if let [_, k, v] = shapes[..] {
            let expected = |width: usize| match layout {
                Layout::Heads => [batch, kv_heads, m, width].to_vec(),
                _ => [batch, m, kv_heads * width].to_vec(),
            };
            for (name, shape, width) in [("keys", k, d), ("values", v, e)] {
                if shape.dims() != expected(width) {
                    return Err(format!(
                        "the {name} of queries {q} must have the shape {:?}, got {shape}",
                        expected(width)
                    ));
                }
            }
        }
        let (q, k, v, o) = match layout {
            Layout::Heads => (
                Strides::heads(heads, n, d),
                Strides::heads(kv_heads, m, d),
                Strides::heads(kv_heads, m, e),
                Strides::heads(heads, n, e),
            ),
            Layout::Rows { .. } => (
                Strides::columns(0, heads * d, n, d),
                Strides::columns(0, kv_heads * d, m, d),
                Strides::columns(0, kv_heads * e, m, e),
                Strides::columns(0, heads * e, n, e),
            ),
            Layout::Packed { .. } => {
                let columns = (heads + 2 * kv_heads) * d;
                let part = |first: usize| Strides::columns(first * d, columns, n, d);
                (part(0), part(heads), part(heads + kv_heads), Strides::columns(0, heads * d, n, d))
            }
        };
        let group = heads / kv_heads;
        let (mask, has_lengths, causal, scale) = (None, false, false, 1.0);
        Ok(Problem { batch, kv_heads, group, n, m, d, e, q, k, v, o, mask, has_lengths, causal, scale })
    }

    /// Heads of queries.
    pub(super) fn heads(&self) -> usize {
        self.group * self.kv_heads
    }

    /// Queries of all heads that share keys.
    pub(super) fn rows(&self) -> usize {
        self.group * self.n
    }

    /// Sets of keys.
    pub(super) fn matrices(&self) -> usize {
        self.batch * self.kv_heads
    }

    /// Whether vectors of keys and queries, and those of values and outputs, load as `vec4`s.
    pub(super) fn aligned(&self) -> [bool; 2] {
        // A width that four divides makes all strides multiples of it.
        [self.d, self.e].map(|width| width.is_multiple_of(4))
    }

    /// Pairs of a query and a key, without regard to what is seen.
    pub(super) fn pairs(&self) -> usize {
        self.batch * self.heads() * self.n * self.m
    }

    /// How many keys query `i` of an item with so many keys sees.
    pub(super) fn seen(&self, i: usize, length: usize) -> usize {
        if self.causal { length.min((i + 1 + self.m).saturating_sub(self.n)) } else { length }
    }
}

fn width_of_head(name: &str, shape: Shape, heads: usize) -> Result<usize, String> {
    let columns = shape.dim(2);
    if heads == 0 || !columns.is_multiple_of(heads) {
        return Err(format!("the columns of {name}, {shape}, cannot be shared by {heads} heads"));
    }
    Ok(columns / heads)
}

/// Elements from one item, head and query to the next of a mask `[.., n, m]`, 0 where it broadcasts.
fn mask_strides(mask: TensorType, extents: [usize; 4]) -> Result<[usize; 3], String> {
    let [.., m] = extents;
    let rank = mask.shape.rank();
    let mut dims = [1; 4];
    let fits = mask.dtype == DType::F32 && (1..=4).contains(&rank) && {
        dims[4 - rank..].copy_from_slice(mask.shape.dims());
        dims[3] == m && (0..3).all(|axis| dims[axis] == 1 || dims[axis] == extents[axis])
    };
    if !fits {
        return Err(format!(
            "the mask {mask} does not broadcast to {extents:?}, [batch, heads, queries, keys]"
        ));
    }
    let stride = |axis: usize| match dims[axis] {
        1 => 0,
        _ => dims[axis + 1..].iter().product(),
    };
    Ok([0, 1, 2].map(stride))
}

/// Lengths and mask, as formulas read them.
pub(super) struct Seen<'a, T> {
    problem: Problem,
    lengths: Option<&'a [u32]>,
    mask: Option<&'a [T]>,
}

impl<'a, T: Real> Seen<'a, T> {
    /// Of the inputs after q, k and v.
    ///
    /// # Errors
    /// A length above the number of keys.
    pub(super) fn of(problem: &Problem, inputs: &[In<'a, T>]) -> Result<Self, String> {
        let lengths = problem.has_lengths.then(|| inputs[0].u32());
        if let Some(length) = lengths.into_iter().flatten().find(|&&l| l as usize > problem.m) {
            return Err(format!("a length of {length} is above the number of keys, {}", problem.m));
        }
        let mask = problem.mask.map(|_| inputs[usize::from(problem.has_lengths)].f());
        Ok(Seen { problem: *problem, lengths, mask })
    }

    /// Keys of an item.
    pub(super) fn length(&self, batch: usize) -> usize {
        self.lengths.map_or(self.problem.m, |lengths| lengths[batch] as usize)
    }

    /// How many keys a query sees.
    pub(super) fn keys(&self, batch: usize, i: usize) -> usize {
        self.problem.seen(i, self.length(batch))
    }

    /// What the mask adds to the scores of a query.
    pub(super) fn mask(&self, batch: usize, head: usize, i: usize) -> Option<&'a [T]> {
        let [of_batch, of_head, of_row] = self.problem.mask?;
        Some(&self.mask?[batch * of_batch + head * of_head + i * of_row..][..self.problem.m])
    }
}
